//! The durable word on a transaction, filed at its anchor, and what the anchor's leaseholder remembers of running
//! ones: when it last heard of them and who waits for them.
//!
//! A record is there only while somebody may need it: a parallel commit writes one as *staging* and removes it when
//! its intents are resolved; an aborted transaction leaves one so that its coordinator cannot commit later; a prepared one
//! has one until its client ends it (*prepared-stays*, `evaluate/prepared.rs`). A transaction that runs, or that committed in one phase, has none.

use std::time::Duration;

use hlc::Timestamp;
use keys::{Key, SequencedWrite, Span, TxnId, TxnStatus, keyspace};
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

/// How long a transaction lives without a heartbeat, of which there is one a second.
///
/// When a node dies, the rows that its clients had locked stay locked for so long: shorter ends transactions of a node
/// that is only slow, longer holds everybody else up.
pub const TXN_EXPIRY: Duration = Duration::from_secs(3);

/// How long the first heartbeat may take to find a new leaseholder: several are sent in that time, and whoever sends them
/// has learned by then that the one before is gone. A node that dies while it leads the range of its transactions' records
/// would otherwise hold up everybody else for a lease's end and a whole [`TXN_EXPIRY`] after it.
pub(crate) const FOUND_WITHIN: Duration = Duration::from_millis(1500);

/// How long a reported wait counts without being reported again; waiters report every tenth of a second.
pub(crate) const WAIT_MEMORY: Duration = Duration::from_millis(300);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TxnRecord {
    pub status: TxnStatus,
    pub epoch: u32,
    /// Where it commits; of one that is aborted, where it was staged last, or nothing.
    pub ts: Timestamp,
    /// When this was written, by the leaseholder's clock.
    pub at: Timestamp,
    pub in_flight: Vec<SequencedWrite>,
    pub locks: Vec<Span>,
}

impl TxnRecord {
    /// Of an aborted transaction that has no record, or one of an earlier epoch: whether it was staged before, and what
    /// became of that, is not known any more.
    pub fn aborted(epoch: u32, at: Timestamp) -> Self {
        let (in_flight, locks) = (Vec::new(), Vec::new());
        Self { status: TxnStatus::Aborted, epoch, ts: Timestamp::MIN, at, in_flight, locks }
    }

    /// Whether it was staged in this epoch: then that it is aborted was decided of what was staged.
    pub fn was_staged(&self, epoch: u32) -> bool {
        self.epoch == epoch && !self.ts.is_min()
    }
}

/// The anchor and the id in a record's key; nothing for a local key of another kind.
pub(crate) fn parse_key(key: &Key) -> Option<(Key, TxnId)> {
    let (rest, id) = key.as_bytes().split_last_chunk::<16>()?;
    if !rest.ends_with(b"txn-") {
        return None;
    }
    let (anchor, id) = (keyspace::addressing_key(key), TxnId::from_bytes(*id));
    (keyspace::txn_record(&anchor, id) == *key).then_some((anchor, id))
}

#[derive(Default)]
struct Known {
    heard_ns: u64,
    /// Who waits for it, until when that is believed, and who waits for those.
    waiters: FxHashMap<TxnId, (u64, Vec<TxnId>)>,
}

/// The transactions anchored in this range, as far as anybody asked or told.
pub(crate) struct TxnRegistry {
    inner: Mutex<Inner>,
    /// [`TXN_EXPIRY`], and less in tests.
    expiry_ns: u64,
}

#[derive(Default)]
struct Inner {
    /// Nothing is expired that was alive when the lease began and has not had the time to be heard of since.
    lease_start_ns: u64,
    known: FxHashMap<TxnId, Known>,
}

impl TxnRegistry {
    pub fn new(expiry: Duration) -> Self {
        Self { inner: Mutex::default(), expiry_ns: nanos(expiry) }
    }

    /// Forgets everything: another leaseholder may have heard of them since.
    pub fn restart(&self, now_ns: u64) {
        let mut inner = self.inner.lock();
        inner.lease_start_ns = now_ns;
        inner.known.clear();
    }

    /// Others are known elsewhere, and have the time to be heard of here as when a lease begins.
    pub fn give_time(&self, now_ns: u64) {
        self.inner.lock().lease_start_ns = now_ns;
    }

    pub fn heard(&self, txn: TxnId, now_ns: u64) {
        let mut inner = self.inner.lock();
        let known = inner.known.entry(txn).or_default();
        known.heard_ns = known.heard_ns.max(now_ns);
    }

    /// Whether it was heard of under this lease, and not forgotten since.
    pub fn knows(&self, txn: TxnId) -> bool {
        self.inner.lock().known.get(&txn).is_some_and(|known| known.heard_ns > 0)
    }

    /// Whether nothing was heard of the transaction for as long as one lives without, nor within [`FOUND_WITHIN`] of a new lease; it
    /// began at `min_ts`.
    pub fn is_expired(&self, txn: TxnId, min_ts: Timestamp, now_ns: u64) -> bool {
        let inner = self.inner.lock();
        let heard = inner.known.get(&txn).map_or(0, |known| known.heard_ns);
        let last = heard.max(min_ts.wall_ns());
        now_ns.saturating_sub(last) > self.expiry_ns
            && now_ns.saturating_sub(inner.lease_start_ns) > nanos(FOUND_WITHIN).min(self.expiry_ns)
    }

    /// Notes that `waiter` waits for `txn`, and `behind` for `waiter`.
    pub fn waits(&self, txn: TxnId, waiter: TxnId, behind: Vec<TxnId>, now_ns: u64) {
        let mut inner = self.inner.lock();
        let until = now_ns + nanos(WAIT_MEMORY);
        inner.known.entry(txn).or_default().waiters.insert(waiter, (until, behind));
        if inner.known.len() > 10_000 {
            let horizon = now_ns.saturating_sub(2 * self.expiry_ns);
            inner.known.retain(|_, known| {
                known.waiters.retain(|_, (until, _)| *until > now_ns);
                known.heard_ns > horizon || !known.waiters.is_empty()
            });
        }
    }

    /// Everybody known to wait for `txn`, directly or not.
    pub fn dependents(&self, txn: TxnId, now_ns: u64) -> Vec<TxnId> {
        let mut inner = self.inner.lock();
        let mut found: FxHashSet<TxnId> = FxHashSet::default();
        let mut todo = vec![txn];
        while let Some(next) = todo.pop() {
            let Some(known) = inner.known.get_mut(&next) else { continue };
            known.waiters.retain(|_, (until, _)| *until > now_ns);
            for (waiter, (_, behind)) in &known.waiters {
                for id in std::iter::once(waiter).chain(behind) {
                    if found.insert(*id) {
                        todo.push(*id);
                    }
                }
            }
        }
        found.into_iter().collect()
    }

    pub fn forget(&self, txn: TxnId) {
        self.inner.lock().known.remove(&txn);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txn(n: u128) -> TxnId {
        TxnId::from_random(n)
    }

    #[test]
    fn a_new_lease_leaves_the_living_the_time_to_be_heard_of() {
        let registry = TxnRegistry::new(TXN_EXPIRY);
        let began = Timestamp::new(1, 0);
        let expiry = nanos(TXN_EXPIRY);
        registry.heard(txn(1), 10);
        assert!(registry.is_expired(txn(1), began, 11 + expiry));
        let lease_start = 11 + expiry;
        registry.restart(lease_start);
        assert!(!registry.is_expired(txn(1), began, lease_start + nanos(FOUND_WITHIN)));
        // Who has not been heard of by then is gone: it is not given all of an expiry again.
        assert!(registry.is_expired(txn(1), began, lease_start + nanos(FOUND_WITHIN) + 1));
        registry.heard(txn(1), lease_start + 1);
        assert!(!registry.is_expired(txn(1), began, lease_start + nanos(FOUND_WITHIN) + 1));
    }

    /// Stores have these bytes on disk.
    #[test]
    fn golden_bytes() {
        let record = TxnRecord {
            status: TxnStatus::Prepared,
            epoch: 2,
            ts: Timestamp::new(9, 1),
            at: Timestamp::new(10, 0),
            in_flight: Vec::new(),
            locks: vec![Span::point(Key::from(&b"a"[..]))],
        };
        let bytes = crate::api::encode(&record);
        assert_eq!(bytes.escape_ascii().to_string(), r"\x04\x02\t\x01\n\x00\x00\x01\x01a\x02a\xff");
        assert_eq!(crate::api::decode::<TxnRecord>(&bytes).unwrap(), record);
    }

    #[test]
    fn dependents_are_followed_through() {
        let registry = TxnRegistry::new(TXN_EXPIRY);
        registry.waits(txn(1), txn(2), vec![txn(3)], 0);
        registry.waits(txn(3), txn(4), vec![], 0);
        let mut dependents = registry.dependents(txn(1), 1);
        dependents.sort();
        let mut expected = vec![txn(2), txn(3), txn(4)];
        expected.sort();
        assert_eq!(dependents, expected);
        assert!(registry.dependents(txn(1), nanos(WAIT_MEMORY) + 1).is_empty());
    }
}
