//! The connections of a node that can be told to stop what they do.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use session::{CancelFlag, CancelReason};

/// The sessions of a node that may be cancelled, by process number and secret.
#[derive(Default)]
pub struct CancelRegistry {
    sessions: Mutex<HashMap<i32, (i32, CancelFlag)>>,
}

/// Takes a session out again when it ends, however it ends.
pub(crate) struct Registered {
    registry: Arc<CancelRegistry>,
    pid: i32,
}

impl CancelRegistry {
    pub(crate) fn register(self: &Arc<Self>, pid: i32, secret: i32, flag: CancelFlag) -> Registered {
        self.sessions.lock().insert(pid, (secret, flag));
        Registered { registry: self.clone(), pid }
    }

    /// Stops the running statement of a session. Whoever asks is not told whether there was one.
    pub(crate) fn cancel(&self, pid: i32, secret: i32) {
        if let Some((known, flag)) = self.sessions.lock().get(&pid)
            && *known == secret
        {
            flag.cancel(CancelReason::Request);
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.sessions.lock().remove(&self.pid);
    }
}
