//! One group's log inside the store's log.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use bytes::Bytes;
use keys::RangeId;
use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};
use parking_lot::Mutex;
use storage::log::{GroupLog, LogEntry, LogOp, LogStore, ignore};

use crate::{
    codec::{decode_entry, encode_entry, entry_position},
    types::{LogPosition, RaftEntry, RaftLogId, RaftVote, Types},
};

/// What one message or one apply carries at most.
const READ_BYTES: usize = 4 << 20;

#[derive(Clone)]
pub(crate) struct GroupLogStorage {
    range_id: RangeId,
    log: LogStore,
    state: Arc<Mutex<State>>,
}

struct State {
    vote: Option<RaftVote>,
    committed: Option<RaftLogId>,
    purged: Option<RaftLogId>,
    last: Option<RaftLogId>,
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &Option<Bytes>) -> io::Result<Option<T>> {
    match bytes {
        None => Ok(None),
        Some(bytes) => postcard::from_bytes(bytes).map(Some).map_err(io::Error::other),
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Bytes {
    postcard::to_stdvec(value).expect("log positions and votes are plain data").into()
}

impl GroupLogStorage {
    /// The log of a group as it was recovered; none for one that is new here.
    pub fn new(range_id: RangeId, log: LogStore, found: Option<&GroupLog>) -> io::Result<Self> {
        let mut state = State { vote: None, committed: None, purged: None, last: None };
        if let Some(found) = found {
            state.vote = decode(&found.vote)?;
            state.committed = decode(&found.committed)?;
            state.purged = decode(&found.purged)?;
            state.last = match &found.last_entry {
                Some(entry) => Some(entry_position(found.last, entry).map_err(io::Error::other)?.to_raft()),
                None => state.purged,
            };
        }
        Ok(Self { range_id, log, state: Arc::new(Mutex::new(state)) })
    }

    /// Brings the log in line with a state machine that a snapshot has carried past it.
    ///
    /// 1. A follower holds entries of a leader that was deposed; a snapshot that ends among them is installed.
    /// 2. The process dies before openraft has removed them.
    /// 3. Here, the entry where the snapshot ends is another one: it and all after it were never agreed on.
    pub fn reconcile(&self, applied: Option<LogPosition>) -> io::Result<()> {
        let Some(applied) = applied.map(LogPosition::to_raft) else { return Ok(()) };
        let (purged, last) = {
            let state = self.state.lock();
            (state.purged, state.last)
        };
        if last.is_none_or(|last| last.index < applied.index) {
            return Ok(());
        }
        if self.term_at(applied.index)?.is_none_or(|found| found == applied) {
            return Ok(());
        }
        tracing::warn!(range = %self.range_id, %applied, "entries behind an installed snapshot are removed");
        let after = purged.map_or(0, |purged| purged.index);
        self.log.submit(LogOp::Truncate { range_id: self.range_id, after }, ignore());
        self.state.lock().last = purged;
        Ok(())
    }

    /// What another group over the same log would find there, of one that has no entries: its vote.
    pub fn as_found(&self) -> GroupLog {
        let vote = self.state.lock().vote.as_ref().map(encode);
        GroupLog { vote, ..GroupLog::empty(self.range_id) }
    }

    /// The vote as it is on disk.
    pub fn vote(&self) -> Option<RaftVote> {
        self.state.lock().vote
    }

    /// The last entry appended, or purged if there is none after.
    pub fn last(&self) -> Option<RaftLogId> {
        let state = self.state.lock();
        state.last.or(state.purged)
    }

    async fn durable(&self, op: LogOp) -> io::Result<()> {
        let (done, wait) = futures::channel::oneshot::channel();
        self.log.submit(op, Box::new(move || { let _unheard = done.send(()); }));
        wait.await.map_err(|_| io::Error::other("the log is closed"))
    }

    fn read(&self, from: u64, to: u64, max_bytes: usize) -> io::Result<Vec<RaftEntry>> {
        let entries = self.log.read(self.range_id, from, to, max_bytes).map_err(io::Error::other)?;
        entries
            .into_iter()
            .map(|entry| decode_entry(entry.index, entry.data).map_err(io::Error::other))
            .collect()
    }

    fn term_at(&self, index: u64) -> io::Result<Option<RaftLogId>> {
        match self.log.entry(self.range_id, index).map_err(io::Error::other)? {
            None => Ok(None),
            Some(entry) => Ok(Some(entry_position(index, &entry).map_err(io::Error::other)?.to_raft())),
        }
    }
}

impl RaftLogReader<Types> for GroupLogStorage {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<RaftEntry>> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        self.read(from, to, usize::MAX)
    }

    async fn read_vote(&mut self) -> io::Result<Option<RaftVote>> {
        Ok(self.vote())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<RaftEntry>> {
        self.read(start, end, READ_BYTES)
    }
}

impl RaftLogStorage<Types> for GroupLogStorage {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let state = self.state.lock();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last.or(state.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> io::Result<()> {
        self.durable(LogOp::SaveVote { range_id: self.range_id, vote: encode(vote) }).await?;
        self.state.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> io::Result<()> {
        // Kept in memory, and on disk with whatever is synced next at each hundredth entry: it only saves replay.
        let Some(committed) = committed else { return Ok(()) };
        let before = self.state.lock().committed.replace(committed);
        if before.is_none_or(|before| committed.index / 128 > before.index / 128) {
            let op = LogOp::SaveCommitted { range_id: self.range_id, committed: encode(&committed) };
            self.log.submit(op, ignore());
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<RaftLogId>> {
        Ok(self.state.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut last = None;
        let entries: Vec<LogEntry> = entries
            .into_iter()
            .map(|entry| {
                last = Some(entry.log_id);
                LogEntry { index: entry.log_id.index, data: encode_entry(&entry) }
            })
            .collect();
        if last.is_some() {
            self.state.lock().last = last;
        }
        let op = LogOp::Append { range_id: self.range_id, entries };
        self.log.submit(op, Box::new(move || callback.io_completed(Ok(()))));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<RaftLogId>) -> io::Result<()> {
        let after = last_log_id.map_or(0, |id| id.index);
        // What follows in the queue is synced after this is, so nobody needs to wait for it.
        self.log.submit(LogOp::Truncate { range_id: self.range_id, after }, ignore());
        self.state.lock().last = last_log_id;
        Ok(())
    }

    async fn purge(&mut self, log_id: RaftLogId) -> io::Result<()> {
        let op = LogOp::Purge { range_id: self.range_id, up_to: log_id.index, last: encode(&log_id) };
        self.log.submit(op, ignore());
        let mut state = self.state.lock();
        state.purged = Some(log_id);
        if state.last.is_none_or(|last| last.index <= log_id.index) {
            state.last = Some(log_id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use keys::Term;
    use openraft::EntryPayload;
    use storage::log::LogStoreConfig;

    use super::*;
    use crate::types::Payload;

    const RANGE: RangeId = RangeId::new(3);

    fn at(term: u64, index: u64) -> LogPosition {
        LogPosition { term: Term::new(term), index }
    }

    /// Entries 1 to 4, the last two of term 2.
    async fn open() -> (tempfile::TempDir, GroupLogStorage) {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = LogStore::open(&LogStoreConfig::new(dir.path())).unwrap();
        let log = GroupLogStorage::new(RANGE, store, None).unwrap();
        let entries = [at(1, 1), at(1, 2), at(2, 3), at(2, 4)].map(|position| LogEntry {
            index: position.index,
            data: encode_entry(&RaftEntry {
                log_id: position.to_raft(),
                payload: EntryPayload::Normal(Payload::default()),
            }),
        });
        log.durable(LogOp::Append { range_id: RANGE, entries: entries.into() }).await.unwrap();
        log.state.lock().last = Some(at(2, 4).to_raft());
        (dir, log)
    }

    #[tokio::test]
    async fn a_tail_that_an_installed_snapshot_contradicts_is_removed() {
        let (_dir, mut log) = open().await;
        log.reconcile(Some(at(3, 3))).unwrap();
        assert_eq!(log.get_log_state().await.unwrap().last_log_id, None);
        assert!(log.read(0, 10, usize::MAX).unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_tail_that_goes_on_from_what_is_applied_stays() {
        for applied in [None, Some(at(1, 2)), Some(at(2, 3)), Some(at(2, 4)), Some(at(3, 9))] {
            let (_dir, log) = open().await;
            log.reconcile(applied).unwrap();
            assert_eq!(log.read(0, 10, usize::MAX).unwrap().len(), 4, "{applied:?}");
        }
    }
}
