//! The node's clock and its disk; the node's clock and those of the others.
//!
//! **Invariant (astray-stops):** a node whose physical clock is certainly further than the maximum offset from those of
//! most nodes that answer learns so within seconds, and whoever runs it stops it: its reads could miss what others have
//! acknowledged. Readings are asked for past the check that refuses messages of such a node, or it would never hear.

use std::{
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use hlc::{Clock, Offsets, certain_offset};
use keys::NodeId;
use rpc::{Lane, RpcError, Service, Transport, services};
use storage::{ClockFile, StorageError};
use tokio::time::{Instant, MissedTickBehavior};

use crate::{Store, store::Inner};

/// How often the others are asked for their readings, and how long an answer may take.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
const MEASURE_PATIENCE: Duration = Duration::from_millis(900);

/// Binds the clock to the bound in the store's directory (*clock-durable*). Takes no time, unless the physical clock has
/// been set back since the bound was written: then until it is near the bound again.
///
/// # Errors
/// When the bound cannot be read or written.
pub async fn keep_clock(clock: &Clock, dir: &Path) -> Result<(), StorageError> {
    let (file, found_ns) = ClockFile::open(dir)?;
    let mut told = false;
    loop {
        let wait = clock.wait_before(found_ns);
        if wait.is_zero() {
            break;
        }
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(
                seconds = wait.as_secs_f64(),
                "the clock of this machine is behind what this store has seen: waiting until it has caught up"
            );
        }
        // It may be set right at any time.
        tokio::time::sleep(wait.min(Duration::from_millis(100))).await;
    }
    // A disk that hangs must not take all threads of the node with it: who steps aside for it needs one.
    clock.wait_aside(|wait| raft::blocking(wait));
    clock.keep_bound(Box::new(file), found_ns);
    Ok(())
}

/// Tells others what this node's physical clock says.
pub(crate) struct ClockService {
    pub clock: Arc<Clock>,
}

#[async_trait]
impl Service for ClockService {
    async fn call(&self, _from: NodeId, _payload: Bytes) -> Result<Bytes, RpcError> {
        Ok(Bytes::copy_from_slice(&self.clock.physical_now_ns().to_le_bytes()))
    }
}

/// How far a node's clock is away from ours for certain; none when it does not answer.
async fn measure(clock: Arc<Clock>, transport: Arc<dyn Transport>, node: NodeId) -> Option<i64> {
    let (sent_ns, began) = (clock.physical_now_ns(), Instant::now());
    let answer =
        transport.call(node, Lane::Control, services::CLOCK, Bytes::new(), MEASURE_PATIENCE).await.ok()?;
    let reading_ns = u64::from_le_bytes(answer.get(..8)?.try_into().ok()?);
    Some(certain_offset(sent_ns, reading_ns, began.elapsed()))
}

/// Ends when this node's clock is the one that is wrong, with what there is to say about it; or when the store stops.
pub(crate) async fn astray(store: Weak<Inner>) -> Option<String> {
    let mut offsets = Offsets::default();
    let mut ticks = tokio::time::interval(MEASURE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let measured = {
            let store = Store::from_weak(&store).filter(|store| !store.is_stopping())?;
            let inner = &store.inner;
            let others =
                inner.nodes.all().into_iter().map(|info| info.node_id).filter(|id| *id != inner.node_id);
            let asks = others.map(|id| measure(inner.clock.clone(), inner.transport.clone(), id));
            (join_all(asks.collect::<Vec<_>>()), inner.clock.max_offset())
        };
        let (asks, max_offset) = measured;
        let found: Vec<i64> = asks.await.into_iter().flatten().collect();
        if offsets.round(&found, max_offset) {
            let outside = found.iter().filter(|ns| u128::from(ns.unsigned_abs()) > max_offset.as_nanos());
            let worst_ms =
                outside.clone().map(|ns| -ns / 1_000_000).max_by_key(|ms| ms.abs()).unwrap_or_default();
            return Some(format!(
                "the clock of this machine is {worst_ms:+} ms off those of {} of {} other nodes, and at most {} ms are \
                 allowed",
                outside.count(),
                found.len(),
                max_offset.as_millis(),
            ));
        }
    }
}
