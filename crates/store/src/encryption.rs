//! What an encrypted store does without being asked: its data keys are replaced when they are due, and files that are still
//! in the clear, or under a key that is old, are written anew.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    queues::every,
    store::{Inner, Store},
};

/// How often it is looked whether files are to be written anew: that takes as long as it takes.
const REWRITE_EVERY: Duration = Duration::from_secs(5);

pub(crate) fn start(store: &Store) {
    if !store.inner.files.is_encrypted() {
        return;
    }
    let weak = Arc::downgrade(&store.inner);
    let tend = |inner: &Inner| {
        if let Err(error) = inner.files.tend(now(inner)) {
            tracing::error!(%error, "the data keys at hand stay");
        }
    };
    tokio::spawn(every(weak.clone(), store.inner.config.queue_interval, move |store| apart(store, tend)));
    let rewrite = |inner: &Inner| {
        let go_on = || !inner.stopping.load(Ordering::Acquire);
        let rewritten = inner.engine.rewrite_stale(now(inner), go_on);
        if let Err(error) = rewritten.and_then(|()| inner.log.rewrite_stale(now(inner), go_on)) {
            tracing::error!(%error, "files that are to be encrypted anew");
        }
    };
    tokio::spawn(every(weak, REWRITE_EVERY, move |store| apart(store, rewrite)));
}

fn now(inner: &Inner) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(inner.clock.peek().wall_ns())
}

/// On a thread that may wait for the disk.
async fn apart(store: Store, work: impl FnOnce(&Inner) + Send + 'static) {
    let done = tokio::task::spawn_blocking(move || work(&store.inner)).await;
    if let Err(error) = done {
        tracing::error!(%error, "looking after an encrypted store");
    }
}
