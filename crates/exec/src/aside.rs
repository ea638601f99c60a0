//! Work that computes for long without a pause, kept from holding up the other tasks of its thread.
//!
//! A node has as many threads for its clients as there are processors. A statement that keeps one of them busy is no
//! matter for others as long as another thread takes over what waits there: tokio does that for work that is announced.
//! The announcement costs microseconds, so only what may take longer is announced.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs what may take longer than a moment, so that other tasks go on meanwhile.
pub fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
