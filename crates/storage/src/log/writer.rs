//! The one thread that writes the log.

use std::sync::{Arc, atomic::Ordering};

use crossbeam_channel::{Receiver, TryRecvError};
use rocksdb::{DB, WriteBatch, WriteOptions};

use super::{Completion, LogMetrics, LogOp, keys, stall::Progress, tail::Tails, watermark::Watermark};
use crate::{StorageError, fatal};

/// A batch is closed at about this size: what waits longer waits for less.
const BATCH_BYTES: usize = 8 << 20;

const UNWRITABLE: &str = "the log cannot be written";

pub(super) enum Message {
    /// Operations that are written together, and their number.
    Ops(Vec<(LogOp, Completion)>, u64),
    Stop,
}

pub(super) struct Writer {
    pub db: Arc<DB>,
    pub tails: Arc<Tails>,
    pub metrics: Arc<LogMetrics>,
    pub watermark: Watermark,
    pub progress: Arc<Progress>,
    pub waiting: Receiver<Message>,
    #[cfg(test)]
    pub hook: Option<Hook>,
}

/// Tests watch and hold the writer here.
#[cfg(test)]
pub(super) type Hook = Box<dyn FnMut(Step) + Send>;

#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    BeforeWrite,
    Synced,
}

/// A completion that panics must not leave a process behind whose log stands still.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("quorate: the log's writer panicked, the process ends");
            std::process::abort();
        }
    }
}

impl Writer {
    pub fn run(mut self) {
        let _guard = AbortOnPanic;
        let mut stopping = false;
        let mut upto = 0;
        let mut gathered: Vec<(LogOp, Completion)> = Vec::new();
        while !stopping {
            match self.waiting.recv() {
                Ok(Message::Ops(ops, number)) => {
                    upto = number;
                    gathered.extend(ops);
                }
                Ok(Message::Stop) | Err(_) => stopping = true,
            }
            let mut bytes: usize = gathered.iter().map(|(op, _)| size(op)).sum();
            while bytes < BATCH_BYTES {
                match self.waiting.try_recv() {
                    Ok(Message::Ops(ops, number)) => {
                        upto = number;
                        bytes += ops.iter().map(|(op, _)| size(op)).sum::<usize>();
                        gathered.extend(ops);
                    }
                    Ok(Message::Stop) | Err(TryRecvError::Disconnected) => {
                        stopping = true;
                        break;
                    }
                    Err(TryRecvError::Empty) => break,
                }
            }
            if gathered.is_empty() {
                continue;
            }
            match self.write(&gathered) {
                Ok(Durable(true)) => self.tails.synced(upto),
                // Nothing here was an append.
                Ok(Durable(false)) => {}
                Err(error) => fatal::stop(UNWRITABLE, &error),
            }
            fail::fail_point!("log::before_ack");
            // *durable-before-ack*
            for (_, done) in gathered.drain(..) {
                done();
            }
        }
        if let Err(error) = self.watermark.sync() {
            fatal::stop(UNWRITABLE, &error);
        }
    }

    fn write(&mut self, ops: &[(LogOp, Completion)]) -> Result<Durable, StorageError> {
        debug_assert!(!ops.is_empty(), "the writer waits for something to write");
        let mut batch = WriteBatch::default();
        let mut sync = false;
        let mut entry_count = 0;
        for (op, _) in ops {
            sync |= op.needs_sync();
            entry_count += add(&mut batch, op);
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync && !planted::is_on(planted::Bug::SyncSkipped));
        let progress = self.progress.clone();
        let _under_way = progress.begin();
        fail::fail_point!("log::before_write");
        #[cfg(test)]
        self.at(Step::BeforeWrite);
        let bytes = batch.size_in_bytes() as u64;
        self.db.write_opt(batch, &options)?;
        if sync {
            fail::fail_point!("log::after_sync");
            #[cfg(test)]
            self.at(Step::Synced);
            self.watermark.advance(self.db.latest_sequence_number())?;
            self.metrics.syncs.fetch_add(1, Ordering::Relaxed);
        }
        self.metrics.batches.fetch_add(1, Ordering::Relaxed);
        self.metrics.operations.fetch_add(ops.len() as u64, Ordering::Relaxed);
        self.metrics.entries.fetch_add(entry_count, Ordering::Relaxed);
        self.metrics.bytes.fetch_add(bytes, Ordering::Relaxed);
        let bucket = (ops.len().ilog2() as usize).min(self.metrics.batch_sizes.len() - 1);
        self.metrics.batch_sizes[bucket].fetch_add(1, Ordering::Relaxed);
        Ok(Durable(sync))
    }

    #[cfg(test)]
    fn at(&mut self, step: Step) {
        if let Some(hook) = &mut self.hook {
            hook(step);
        }
    }
}

/// Whether a write was synced.
struct Durable(bool);

fn size(op: &LogOp) -> usize {
    match op {
        LogOp::Append { entries, .. } => entries.iter().map(|entry| entry.data.len() + 32).sum(),
        LogOp::SaveVote { vote, .. } => vote.len() + 16,
        LogOp::SaveCommitted { committed, .. } => committed.len() + 16,
        LogOp::Purge { last, .. } => last.len() + 32,
        LogOp::PutMeta { key, value } => key.len() + value.len() + 8,
        LogOp::Truncate { .. } | LogOp::RemoveGroup { .. } => 64,
    }
}

/// Adds an operation to the batch; answers the number of entries it appends.
fn add(batch: &mut WriteBatch, op: &LogOp) -> u64 {
    match op {
        LogOp::Append { range_id, entries } => {
            for entry in entries {
                batch.put(keys::entry(*range_id, entry.index), &entry.data);
            }
            return entries.len() as u64;
        }
        LogOp::SaveVote { range_id, vote } => batch.put(keys::vote(*range_id), vote),
        LogOp::SaveCommitted { range_id, committed } => batch.put(keys::committed(*range_id), committed),
        LogOp::Truncate { range_id, after } => {
            batch.delete_range(keys::entry(*range_id, after + 1), keys::entry(*range_id, u64::MAX));
        }
        LogOp::Purge { range_id, up_to, last } => {
            batch.delete_range(keys::entry(*range_id, 0), keys::entry(*range_id, up_to + 1));
            let mut value = up_to.to_be_bytes().to_vec();
            value.extend_from_slice(last);
            batch.put(keys::purged(*range_id), value);
        }
        LogOp::PutMeta { key, value } => batch.put(keys::meta(key), value),
        LogOp::RemoveGroup { range_id } => {
            batch.delete_range(keys::entry(*range_id, 0), keys::entry(*range_id, u64::MAX));
            batch.delete(keys::vote(*range_id));
            batch.delete(keys::committed(*range_id));
            batch.delete(keys::purged(*range_id));
        }
    }
    0
}
