//! Whether the replicas of a range have the same bytes.
//!
//! The problem: a fault of a disk, of memory or of this program may leave one replica with other bytes than the rest, and
//! nobody notices before that replica leads. The idea: all replicas compute a checksum of their state as of one place in the
//! range's log, and the leaseholder compares.
//!
//! ```text
//! leaseholder ──BeginCheck──▶ every replica's store            all answer, or there is no check
//!      └─ command ComputeChecksum, in the log ──▶ each replica: a snapshot of its engine as it applies it,
//!                                                 read slowly by a task of its own
//! leaseholder ──Checksum?──▶ every store, until all are done   equal, or again; twice the same minority: fenced
//! ```
//!
//! **Invariants**
//! - *one-index*: what is compared is the state as of the same entry of the log. A replica that was not asked, or that comes
//!   to the entry again after a restart, computes nothing.
//! - *majority-stays*: a replica is fenced only while more than half of all replicas agree on other bytes than its own, twice
//!   in a row. Where no such majority is, nothing is changed, and the operator is told.
//! - *fenced-for-good*: a replica that was found to differ is not opened again, also after a restart: `arrivals`.
//!
//! What happens to a fenced replica is what happens to any (`queues`): it leaves its range, and another is made.
//!
//! Deliberately left out: which keys differ. The counts of versions, locks and records are logged.

use std::{
    sync::{
        Arc, Weak,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed},
        },
    },
    time::Duration,
};

use keys::{RangeDescriptor, RangeId, ReplicaDescriptor, ReplicaId, ReplicaKind, StoreId};
use parking_lot::Mutex;
use replica::Replica;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use storage::{Digest, Digesting};
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use crate::store::{Inner, Store, StoreRequest};

/// A check that has taken so long is given up, and what a store has of it is forgotten.
const CHECK_BOUND: Duration = Duration::from_secs(3600);
/// Checks that a store takes part in at one time; more are refused.
const PARTS_MAX: usize = 256;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a replica may take to apply the command.
const APPLY_BOUND: Duration = Duration::from_secs(60);
const PROPOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two questions whether a store is done: at first, and at most.
const ASK_EVERY: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];
/// Pieces that are read in a second.
const PIECES_PER_SECOND: u64 = 8;
/// A range that could not be checked is due again so many times sooner.
const SOONER: u32 = 24;
/// How often it is looked which range is due, at least and at most.
const LOOK_EVERY: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(10)];

/// What a store has of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Part {
    /// The command has not been applied yet.
    Waits,
    Computes,
    Done(Digest),
    Failed(String),
    Unknown,
}

/// How a check of a range has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckOutcome {
    Consistent,
    /// There is one replica, and nothing to compare it with.
    Alone,
    /// These stores had other bytes than most. Their replicas were fenced, but for those in `kept`, which could not be.
    Repaired { differing: Vec<StoreId>, kept: Vec<StoreId> },
    /// The replicas differ, and no majority has the same bytes.
    Undecided,
    /// It could not be checked.
    Skipped { reason: String },
}

/// What was found by a check of all ranges that a store leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    pub total: u64,
    /// Those that were looked at, whatever the outcome.
    pub done: u64,
    /// All outcomes but those of ranges that are consistent or have one replica.
    pub findings: Vec<(RangeId, CheckOutcome)>,
}

/// A check of all ranges that were led here when it was asked for.
#[derive(Default)]
struct Run {
    left: Vec<RangeId>,
    report: CheckReport,
}

pub(crate) struct Consistency {
    /// Checks that this store takes part in.
    parts: Mutex<FxHashMap<(RangeId, u64), (Instant, Part)>>,
    /// The rate is for all of them.
    computing: Arc<Semaphore>,
    /// Of ranges that are led here.
    last: Mutex<FxHashMap<RangeId, (Instant, CheckOutcome)>>,
    run: Mutex<Run>,
    wanted: Arc<Notify>,
    number: AtomicU64,
    checks: AtomicU64,
    differences: AtomicU64,
}

impl Default for Consistency {
    fn default() -> Self {
        Self {
            parts: Mutex::default(),
            computing: Arc::new(Semaphore::new(1)),
            last: Mutex::default(),
            run: Mutex::default(),
            wanted: Arc::default(),
            number: AtomicU64::new(0),
            checks: AtomicU64::new(0),
            differences: AtomicU64::new(0),
        }
    }
}

/// What was found by comparing the replicas of a range once.
enum Compared {
    Equal,
    Minority { differing: Vec<ReplicaDescriptor>, agreed: Digest, check: u64 },
    Undecided,
}

/// *majority-stays*
fn compare(digests: &[(ReplicaDescriptor, Digest)], check: u64) -> Compared {
    let mut votes: FxHashMap<Digest, usize> = FxHashMap::default();
    for (_, digest) in digests {
        *votes.entry(*digest).or_default() += 1;
    }
    if votes.len() == 1 {
        return Compared::Equal;
    }
    match votes.into_iter().find(|(_, count)| 2 * count > digests.len()) {
        Some((agreed, _)) => {
            let differing = digests.iter().filter(|(_, digest)| *digest != agreed).map(|(replica, _)| *replica);
            Compared::Minority { differing: differing.collect(), agreed, check }
        }
        None => Compared::Undecided,
    }
}

pub(crate) fn start(store: &Store) {
    // Numbers of another start, or of another leaseholder, are others.
    store.inner.consistency.number.store(store.inner.clock.peek().wall_ns(), Relaxed);
    tokio::spawn(run(Arc::downgrade(&store.inner)));
}

/// Checks what is due, one range at a time.
async fn run(weak: Weak<Inner>) {
    let Some((interval, wanted)) =
        weak.upgrade().map(|inner| (inner.config.consistency_interval, inner.consistency.wanted.clone()))
    else {
        return;
    };
    let mut due: FxHashMap<RangeId, Instant> = FxHashMap::default();
    let [least, most] = LOOK_EVERY;
    let pause = if interval.is_zero() { most } else { (interval / 100).clamp(least, most) };
    loop {
        let _either = tokio::time::timeout(pause, wanted.notified()).await;
        loop {
            let Some(store) = Store::from_weak(&weak) else { return };
            if store.is_stopping() {
                return;
            }
            if let Some(range_id) = store.next_of_run() {
                let outcome = store.check_range(range_id).await;
                due.insert(range_id, Instant::now() + interval);
                store.note_in_run(range_id, outcome);
                continue;
            }
            if interval.is_zero() || store.inner.draining.load(Acquire) {
                break;
            }
            let Some(range_id) = store.next_due(&mut due, interval) else { break };
            let outcome = store.check_range(range_id).await;
            let again = match &outcome {
                CheckOutcome::Skipped { reason } => {
                    tracing::debug!(range = %range_id, reason, "the range was not checked");
                    interval / SOONER
                }
                CheckOutcome::Consistent
                | CheckOutcome::Alone
                | CheckOutcome::Undecided
                | CheckOutcome::Repaired { .. } => interval,
            };
            due.insert(range_id, Instant::now() + again);
        }
    }
}

/// When in an interval a range's turn is: all are spread over it.
fn offset(range_id: RangeId, interval: Duration) -> Duration {
    const PARTS: u64 = 1024;
    let part = range_id.get().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54;
    interval.mul_f64(part as f64 / PARTS as f64)
}

impl Store {
    fn led(&self) -> Vec<Arc<Replica>> {
        self.replicas().into_iter().filter(|replica| replica.is_leaseholder()).collect()
    }

    fn next_due(&self, due: &mut FxHashMap<RangeId, Instant>, interval: Duration) -> Option<RangeId> {
        let now = Instant::now();
        let led: rustc_hash::FxHashSet<RangeId> = self.led().iter().map(|replica| replica.range_id()).collect();
        due.retain(|range_id, _| led.contains(range_id));
        self.inner.consistency.last.lock().retain(|range_id, _| led.contains(range_id));
        for range_id in led {
            due.entry(range_id).or_insert_with(|| now + offset(range_id, interval));
        }
        due.iter().filter(|(_, at)| **at <= now).min_by_key(|(_, at)| **at).map(|(range_id, _)| *range_id)
    }

    fn next_of_run(&self) -> Option<RangeId> {
        self.inner.consistency.run.lock().left.pop()
    }

    fn note_in_run(&self, range_id: RangeId, outcome: CheckOutcome) {
        let mut run = self.inner.consistency.run.lock();
        run.report.done += 1;
        if !matches!(outcome, CheckOutcome::Consistent | CheckOutcome::Alone) {
            run.report.findings.push((range_id, outcome));
        }
    }

    /// Has all ranges checked that this store leads now, as soon as it can. One that is under way is gone on with.
    pub(crate) fn begin_run(&self) -> CheckReport {
        let mut run = self.inner.consistency.run.lock();
        if run.report.done == run.report.total {
            let left: Vec<RangeId> = self.led().iter().map(|replica| replica.range_id()).collect();
            run.report = CheckReport { total: left.len() as u64, ..CheckReport::default() };
            run.left = left;
            self.inner.consistency.wanted.notify_one();
        }
        run.report.clone()
    }

    pub(crate) fn run_report(&self) -> CheckReport {
        self.inner.consistency.run.lock().report.clone()
    }

    /// The last check of a range that is led here: how long ago, and what was found.
    #[must_use]
    pub fn last_check(&self, range_id: RangeId) -> Option<(Duration, CheckOutcome)> {
        let last = self.inner.consistency.last.lock();
        last.get(&range_id).map(|(at, outcome)| (at.elapsed(), outcome.clone()))
    }

    /// Checks of ranges led here that came to a result, and those that found a difference.
    #[must_use]
    pub fn check_counts(&self) -> (u64, u64) {
        let consistency = &self.inner.consistency;
        (consistency.checks.load(Relaxed), consistency.differences.load(Relaxed))
    }

    /// Compares the replicas of a range that this store leads, and has those fenced that differ from most.
    pub async fn check_range(&self, range_id: RangeId) -> CheckOutcome {
        let outcome = self.check_twice(range_id).await.unwrap_or_else(|reason| CheckOutcome::Skipped { reason });
        let consistency = &self.inner.consistency;
        match &outcome {
            CheckOutcome::Consistent => {
                consistency.checks.fetch_add(1, Relaxed);
            }
            CheckOutcome::Repaired { differing, kept } => {
                consistency.checks.fetch_add(1, Relaxed);
                consistency.differences.fetch_add(1, Relaxed);
                tracing::error!(range = %range_id, ?differing, ?kept, "replicas had other bytes than most, and were fenced");
            }
            CheckOutcome::Undecided => {
                consistency.checks.fetch_add(1, Relaxed);
                consistency.differences.fetch_add(1, Relaxed);
                tracing::error!(range = %range_id, "the replicas differ, and no majority has the same bytes");
            }
            CheckOutcome::Alone | CheckOutcome::Skipped { .. } => {}
        }
        consistency.last.lock().insert(range_id, (Instant::now(), outcome.clone()));
        outcome
    }

    async fn check_twice(&self, range_id: RangeId) -> Result<CheckOutcome, String> {
        let led = self.replica(range_id).filter(|replica| replica.is_leaseholder());
        let replica = led.ok_or("it is not led here")?;
        let range = replica.descriptor().ok_or("it has no state here")?;
        if range.replicas.len() == 1 {
            return Ok(CheckOutcome::Alone);
        }
        let first = match self.compare_replicas(&replica, &range).await? {
            Compared::Equal => return Ok(CheckOutcome::Consistent),
            Compared::Undecided => Vec::new(),
            Compared::Minority { differing, .. } => differing,
        };
        // *majority-stays*
        match self.compare_replicas(&replica, &range).await? {
            Compared::Equal => Err("the replicas differed once, and then no more".to_owned()),
            Compared::Undecided => Ok(CheckOutcome::Undecided),
            Compared::Minority { differing, agreed, check } => {
                let both: Vec<ReplicaDescriptor> = differing.into_iter().filter(|it| first.contains(it)).collect();
                if both.is_empty() {
                    return Ok(CheckOutcome::Undecided);
                }
                Ok(self.fence_minority(&replica, &range, both, agreed, check).await)
            }
        }
    }

    /// Those of others first; then, if it is among them, this store gives its lease to one that agrees with most.
    async fn fence_minority(
        &self,
        replica: &Arc<Replica>,
        range: &RangeDescriptor,
        differing: Vec<ReplicaDescriptor>,
        agreed: Digest,
        check: u64,
    ) -> CheckOutcome {
        let mut kept = Vec::new();
        let is_own = |it: &ReplicaDescriptor| it.store_id == self.inner.store_id;
        let (own, others): (Vec<ReplicaDescriptor>, Vec<_>) = differing.iter().copied().partition(is_own);
        for other in others {
            let (range_id, replica_id) = (range.range_id, other.replica_id);
            let request = StoreRequest::FenceReplica { range_id, replica_id, check, agreed };
            if let Err(error) = self.ask(other.node_id, &request, ANSWER_TIMEOUT).await {
                tracing::error!(range = %range_id, replica = %other, %error, "a replica that differs was not fenced");
                kept.push(other.store_id);
            }
        }
        for own in own {
            for heir in range.voters().filter(|voter| !differing.contains(voter)) {
                match replica.give_lease_to(heir.store_id).await {
                    Ok(()) => break,
                    Err(error) => tracing::warn!(range = %range.range_id, %heir, %error, "the lease was not given away"),
                }
            }
            if let Err(reason) = self.fence_differing(range.range_id, own.replica_id, check, agreed).await {
                tracing::error!(range = %range.range_id, reason, "the own replica differs, and was not fenced");
                kept.push(own.store_id);
            }
        }
        CheckOutcome::Repaired { differing: differing.iter().map(|it| it.store_id).collect(), kept }
    }

    async fn compare_replicas(&self, replica: &Arc<Replica>, range: &RangeDescriptor) -> Result<Compared, String> {
        if let Some(learner) = range.replicas.iter().find(|it| it.kind == ReplicaKind::Learner) {
            return Err(format!("{learner} is a learner"));
        }
        let range_id = range.range_id;
        let check = self.inner.consistency.number.fetch_add(1, Relaxed);
        let begin = |to: &ReplicaDescriptor| {
            let (request, to) = (StoreRequest::BeginCheck { range_id, replica_id: to.replica_id, check }, *to);
            async move {
                let answer = self.ask(to.node_id, &request, ANSWER_TIMEOUT).await;
                answer.map(drop).map_err(|error| format!("{} takes no part: {error}", to.store_id))
            }
        };
        futures::future::try_join_all(range.replicas.iter().map(begin)).await?;
        let proposed = tokio::time::timeout(PROPOSE_TIMEOUT, replica.propose_check(check)).await;
        proposed.map_err(|_| "the check was not agreed on in time")?.map_err(|error| error.to_string())?;
        let digest = |of: &ReplicaDescriptor| {
            let of = *of;
            async move { self.digest_of(range_id, &of, check).await.map(|digest| (of, digest)) }
        };
        let digests = range.replicas.iter().map(digest);
        let digests: Vec<(ReplicaDescriptor, Digest)> = futures::future::try_join_all(digests).await?;
        let compared = compare(&digests, check);
        if !matches!(compared, Compared::Equal) {
            for (replica, Digest { sha256, counts, bytes }) in &digests {
                let [first, second, third, fourth, ..] = *sha256;
                let (sum, [versions, locks, records]) = (u32::from_be_bytes([first, second, third, fourth]), *counts);
                tracing::warn!(range = %range_id, %replica, sum, versions, locks, records, bytes, "the replicas differ");
            }
        }
        Ok(compared)
    }

    async fn digest_of(&self, range_id: RangeId, of: &ReplicaDescriptor, check: u64) -> Result<Digest, String> {
        let [mut pause, longest] = ASK_EVERY;
        let (began, until, mut unheard) = (Instant::now(), Instant::now() + CHECK_BOUND, 0);
        while Instant::now() < until && !self.is_stopping() {
            let answer = self.ask(of.node_id, &StoreRequest::Checksum { range_id, check }, ANSWER_TIMEOUT).await;
            let part = answer.map_err(|error| error.to_string());
            match part.and_then(|bytes| postcard::from_bytes(&bytes).map_err(|error| error.to_string())) {
                Ok(Part::Done(digest)) => return Ok(digest),
                Ok(Part::Failed(reason)) => return Err(format!("{}: {reason}", of.store_id)),
                Ok(Part::Unknown) => return Err(format!("{} has forgotten the check", of.store_id)),
                // It may have come past the command by a snapshot.
                Ok(Part::Waits) if began.elapsed() > APPLY_BOUND => {
                    return Err(format!("{} has not come to the check in time", of.store_id));
                }
                Ok(Part::Waits | Part::Computes) => unheard = 0,
                Err(reason) if unheard >= 3 => return Err(format!("{}: {reason}", of.store_id)),
                Err(_) => unheard += 1,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
        Err(format!("{} is not done in time", of.store_id))
    }

    /// See [`StoreRequest::BeginCheck`].
    pub(crate) fn begin_check(&self, range_id: RangeId, replica_id: ReplicaId, check: u64) -> Result<(), String> {
        let here = self.replica(range_id).filter(|replica| replica.replica_id() == replica_id);
        if here.is_none_or(|replica| replica.descriptor().is_none()) {
            return Err(format!("{replica_id} of {range_id} is not here"));
        }
        let mut parts = self.inner.consistency.parts.lock();
        parts.retain(|_, (since, _)| since.elapsed() < CHECK_BOUND);
        // What an earlier check of the range has left is asked for no more.
        parts.retain(|(of, _), (_, part)| *of != range_id || *part == Part::Computes);
        if parts.len() >= PARTS_MAX {
            return Err("it takes part in too many checks".to_owned());
        }
        parts.insert((range_id, check), (Instant::now(), Part::Waits));
        Ok(())
    }

    pub(crate) fn part_of(&self, range_id: RangeId, check: u64) -> Part {
        let parts = self.inner.consistency.parts.lock();
        parts.get(&(range_id, check)).map_or(Part::Unknown, |(_, part)| part.clone())
    }

    fn set_part(&self, key: (RangeId, u64), part: Part) {
        if let Some((_, known)) = self.inner.consistency.parts.lock().get_mut(&key) {
            *known = part;
        }
    }

    /// See `ReplicaHost::compute_checksum`: *one-index*.
    pub(crate) fn compute_checksum(&self, range: &RangeDescriptor, check: u64) {
        let key = (range.range_id, check);
        match self.inner.consistency.parts.lock().get_mut(&key) {
            Some((_, part)) if *part == Part::Waits => *part = Part::Computes,
            Some(_) | None => return,
        }
        let digesting = self.inner.engine.snapshot().digest(&range.span(), &replica::local_spans(range));
        tokio::spawn(compute(Arc::downgrade(&self.inner), key, digesting));
    }

    /// Fences a replica here that has other bytes than most, as long as it is the one that was compared.
    pub(crate) async fn fence_differing(
        &self,
        range_id: RangeId,
        replica_id: ReplicaId,
        check: u64,
        agreed: Digest,
    ) -> Result<(), String> {
        match self.part_of(range_id, check) {
            Part::Done(digest) if digest != agreed => {}
            other => return Err(format!("what is known of that check here is no difference: {other:?}")),
        }
        if self.replica(range_id).is_none_or(|replica| replica.replica_id() != replica_id) {
            return Err(format!("{replica_id} of {range_id} is not here"));
        }
        let fenced = self.fence_for_good(range_id, replica_id, "it has other bytes than most replicas of its range");
        fenced.await.map_err(|error| error.to_string())
    }
}

/// Reads a replica's state piece by piece, at the rate that all checks of the store share.
async fn compute(weak: Weak<Inner>, key: (RangeId, u64), mut digesting: Digesting) {
    let Some((computing, rate)) = weak
        .upgrade()
        .map(|inner| (inner.consistency.computing.clone(), inner.config.consistency_bytes_per_second.max(1)))
    else {
        return;
    };
    let Ok(_permit) = computing.acquire_owned().await else { return };
    let piece = (rate / PIECES_PER_SECOND).max(1);
    loop {
        if weak.upgrade().is_none_or(|inner| inner.stopping.load(Acquire)) {
            return;
        }
        let next = Instant::now() + Duration::from_secs(1) / PIECES_PER_SECOND as u32;
        let stepped = tokio::task::spawn_blocking(move || {
            let step = digesting.step(piece, |record| replica::is_own_record(key.0, record));
            (digesting, step)
        });
        let part = match stepped.await {
            Ok((rest, Ok(None))) => {
                digesting = rest;
                tokio::time::sleep_until(next).await;
                continue;
            }
            Ok((_, Ok(Some(digest)))) => Part::Done(digest),
            Ok((_, Err(error))) => {
                if let Some(store) = Store::from_weak(&weak).filter(|_| error.is_corruption()) {
                    store.fence(key.0, &error.to_string());
                }
                Part::Failed(error.to_string())
            }
            Err(error) => Part::Failed(error.to_string()),
        };
        if let Some(store) = Store::from_weak(&weak) {
            store.set_part(key, part);
        }
        return;
    }
}

#[cfg(test)]
mod tests {
    use keys::NodeId;

    use super::*;

    fn compared(sums: &[u8]) -> Option<Vec<u64>> {
        let replica = |n: u64| ReplicaDescriptor {
            node_id: NodeId::new(n),
            store_id: StoreId::new(n),
            replica_id: ReplicaId::new(n),
            kind: ReplicaKind::Voter,
        };
        let digest = |sum: u8| Digest { sha256: [sum; 32], counts: [0; 3], bytes: 0 };
        let digests: Vec<_> = (1..).zip(sums).map(|(n, sum)| (replica(n), digest(*sum))).collect();
        match compare(&digests, 1) {
            Compared::Equal => Some(Vec::new()),
            Compared::Minority { differing, .. } => Some(differing.iter().map(|it| it.store_id.get()).collect()),
            Compared::Undecided => None,
        }
    }

    #[test]
    fn majority_stays() {
        assert_eq!(compared(&[1, 1, 1]), Some(vec![]));
        assert_eq!(compared(&[1, 2, 1]), Some(vec![2]));
        assert_eq!(compared(&[2, 1, 1]), Some(vec![1]));
        assert_eq!(compared(&[1, 2, 3]), None);
        assert_eq!(compared(&[1, 2]), None);
        assert_eq!(compared(&[1, 1, 2, 2]), None);
        assert_eq!(compared(&[1, 2, 1, 3, 1]), Some(vec![2, 4]));
    }

    #[test]
    fn ranges_are_spread_over_the_interval() {
        let interval = Duration::from_secs(1000);
        let offsets: Vec<Duration> = (1..=100).map(|n| offset(RangeId::new(n), interval)).collect();
        assert!(offsets.iter().all(|it| *it < interval));
        assert!((0..10).all(|tenth| offsets.iter().any(|it| it.as_secs() / 100 == tenth)), "{offsets:?}");
    }
}
