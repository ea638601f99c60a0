//! What keeps the pulses apart from everything else: a thread, a runtime of its own on it, and the service that answers.

use std::{io, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use keys::NodeId;
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

use crate::{RpcError, Service};

/// How often a peer's pulse is felt.
pub(crate) const PULSE_EVERY: Duration = Duration::from_millis(400);
/// A peer that does not answer for so long is taken for gone.
pub(crate) const SILENCE: Duration = Duration::from_millis(1500);
/// How long the pulse of a peer that is gone is felt for, so that whoever has a choice learns that it is back.
pub(crate) const MISSED_FOR: Duration = Duration::from_secs(60);

/// Ends when it is dropped, with every task on it.
pub(crate) struct PulseThread {
    pub handle: Handle,
    _running: oneshot::Sender<()>,
}

impl PulseThread {
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel::<()>();
        std::thread::Builder::new().name("pulse".into()).spawn(move || {
            // An error is how it ends.
            let _dropped = runtime.block_on(ended);
        })?;
        Ok(Self { handle, _running: running })
    }
}

/// Answers a heartbeat.
pub(crate) struct Pulse;

#[async_trait]
impl Service for Pulse {
    async fn call(&self, _from: NodeId, _payload: Bytes) -> Result<Bytes, RpcError> {
        Ok(Bytes::new())
    }
}
