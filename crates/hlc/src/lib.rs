//! The problem: transactions on many nodes need one order of time, and the nodes' clocks disagree.
//!
//! A hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014) pairs physical nanoseconds with a
//! counter. It never runs backwards, it passes every timestamp it has been shown, and it stays within the
//! configured offset of physical time.
//!
//! **Invariants**
//! - *clock-monotonic*: two calls of [`Clock::now`] on one clock return increasing timestamps; upheld here.
//! - *clock-causal*: after [`Clock::update`] with `t`, [`Clock::now`] is above `t`; upheld here, relied on by
//!   every message between nodes.
//! - *clock-bounded*: a remote timestamp further ahead than the offset bound is refused and not adopted, so one
//!   sick clock cannot drag the others along.
//!
//! HAZARD: correctness of reads across nodes assumes that physical clocks differ by less than
//! [`Clock::max_offset`]. The transport measures offsets, and a node that finds itself outside stops.
//!
//! Deliberately left out: any I/O, and sleeping. A [`PhysicalClock`] comes in from outside.

mod clock;
mod timestamp;

pub use clock::{Clock, ClockOffsetError, ManualClock, PhysicalClock, SystemClock};
pub use timestamp::{ENCODED_TIMESTAMP_BYTES, Timestamp};
