//! What a store does without being asked: tells others where it is, splits what has grown or serves much or has more than
//! one configuration, merges what is small, replicates what has too few replicas, moves what is in the wrong place, puts others in the place of those that are lost, publishes descriptors, drops versions that nobody
//! needs.
//!
//! Each queue looks over the ranges this store leads, and does a little at a time. An idle store wakes once in an
//! interval and finds nothing to do.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use futures::stream::{FuturesUnordered, StreamExt};
use keys::{Key, RangeId, Span, StoreId};
use replica::{
    Replica,
    api::{BatchRequest, BatchResponse, Header, KvError, Request, Response},
};
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior},
};

use crate::{
    allocator::{Move, Why, wanted_voters},
    checks::Voter,
    merge_queue::{merge_if_small, split_if_busy},
    nodes::{NodeInfo, nodes_from_bytes},
    placement::Look,
    store::{Inner, Protections, Store, StoreRequest},
    work::WorkKind,
};

const HELLO_EVERY: Duration = Duration::from_secs(2);
/// Ranges that are looked after at one time. What takes long, such as a large snapshot, keeps one of these places, and
/// its range is passed over until it is done: an admin command broken off half way would be no safer.
const AT_ONCE: usize = 16;
/// Replicas being added at one time: each may wait long for its snapshot, and other ranges are to be split and tidied.
pub(crate) const ADDING_AT_ONCE: usize = 4;
/// How long no replica is asked of a store that one could not be added on.
const PASSED_OVER: Duration = Duration::from_secs(10);

/// A range with too many replicas may be on its way to other stores.
const SURPLUS_FOR: Duration = Duration::from_secs(10);

pub(crate) fn start(store: &Store) {
    let weak = Arc::downgrade(&store.inner);
    tokio::spawn(every(weak.clone(), HELLO_EVERY, |store| async move { say_hello(&store).await }));
    tokio::spawn(run_queues(weak));
}

pub(crate) async fn every<F>(weak: Weak<Inner>, interval: Duration, body: impl Fn(Store) -> F)
where
    F: Future<Output = ()>,
{
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(store) = Store::from_weak(&weak) else { return };
        if store.inner.stopping.load(Ordering::Acquire) {
            return;
        }
        body(store).await;
    }
}

impl Store {
    /// Says which versions are read on: from now on garbage is collected below what that allows.
    pub fn protect(&self, protections: Protections) {
        *self.inner.protections.lock() = Some(protections);
    }

    /// How many voters of a range that this store leads are there and have nearly all of the log, if that is known.
    #[must_use]
    pub fn healthy_voters(&self, range: &keys::RangeDescriptor) -> Option<u64> {
        self.health(range).map(|health| health.healthy() as u64)
    }

    /// How many voters a range should have.
    #[must_use]
    pub fn wanted_voters(&self, range: &keys::RangeDescriptor) -> u64 {
        let configured = self.zone_of(range).map_or_else(|| self.most_replicas(), |zone| zone.config.num_replicas);
        self.wanted_replicas(configured) as u64
    }

    /// How many voters a range should have that is configured to have so many.
    #[must_use]
    pub(crate) fn wanted_replicas(&self, configured: u32) -> usize {
        wanted_voters(configured, self.nodes().all().len())
    }

    /// This node as it is now.
    #[must_use]
    pub fn describe(&self) -> NodeInfo {
        let replicas = self.replicas();
        let rows = Span::new(keys::keyspace::table_data_start(), Key::MAX);
        let (bytes, under_replicated) = (self.inner.engine.approximate_bytes(&rows), self.under_replicated());
        let mut info = self.inner.info.lock();
        info.bytes = bytes.unwrap_or(info.bytes);
        info.under_replicated = under_replicated;
        info.as_of_ns = self.inner.clock.peek().wall_ns();
        info.ranges = replicas.len() as u64;
        let led = || replicas.iter().filter(|replica| replica.is_leaseholder());
        info.leases = led().count() as u64;
        info.parts.batches_per_second = led().map(|replica| replica.rate()).sum();
        info.parts.draining = self.inner.draining.load(Ordering::Acquire);
        info.clone()
    }
}

pub(crate) async fn say_hello(store: &Store) {
    let own = store.describe();
    store.learn_nodes(vec![own.clone()]);
    let known = store.nodes().all();
    let others = known.iter().filter(|node| node.node_id != own.node_id).map(|node| {
        let request = StoreRequest::Hello { from: own.clone(), known: known.clone() };
        async move { store.ask(node.node_id, &request, Duration::from_secs(2)).await }
    });
    for answer in futures::future::join_all(others).await.into_iter().flatten() {
        if let Ok(infos) = nodes_from_bytes(&answer, |infos: &mut Vec<NodeInfo>| infos.iter_mut().collect()) {
            store.learn_nodes(infos);
        }
    }
}

/// What the queues remember of a range between two rounds.
#[derive(Default)]
struct Memory {
    published: u64,
    proposals: u64,
    wrote_at: Option<Instant>,
    gc_at: Option<Instant>,
    /// When it is next looked at whether it can be merged.
    merge_at: Option<Instant>,
    /// Stores that a replica could not be added on, and when.
    failed: Vec<(StoreId, Instant)>,
    /// Since when it has had more replicas than it is configured to.
    surplus_since: Option<Instant>,
    /// Above which it was last looked at whether it is to be split.
    range_max_bytes: u64,
}

/// A range being looked after on a task of its own: it may hold latches, so it must go on whatever the loop awaits,
/// and its panic is its own. It ends with the loop; what must not be broken off runs on by itself.
struct Alone(JoinHandle<Memory>);

impl Drop for Alone {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run_queues(weak: Weak<Inner>) {
    let mut memory: FxHashMap<RangeId, Memory> = FxHashMap::default();
    let mut at_work = FuturesUnordered::new();
    let mut under_care: FxHashSet<RangeId> = FxHashSet::default();
    let mut todo: VecDeque<RangeId> = VecDeque::new();
    let Some(interval) = weak.upgrade().map(|inner| inner.config.queue_interval) else { return };
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        while at_work.len() < AT_ONCE
            && let Some(range_id) = todo.pop_front()
        {
            let Some(store) = Store::from_weak(&weak) else { return };
            let draining = store.inner.draining.load(Ordering::Acquire);
            let led = store.replica(range_id).filter(|replica| !draining && replica.is_leaseholder());
            if let Some(replica) = led
                && under_care.insert(range_id)
            {
                let remembered = memory.remove(&range_id).unwrap_or_default();
                at_work.push(async move {
                    let mut alone = Alone(tokio::spawn(look_after_alone(store, replica, remembered)));
                    let remembered = (&mut alone.0).await.unwrap_or_else(|error| {
                        tracing::error!(range = %range_id, %error, "looking after the range failed");
                        Memory::default()
                    });
                    (range_id, remembered)
                });
            }
        }
        tokio::select! {
            Some((range_id, remembered)) = at_work.next() => {
                under_care.remove(&range_id);
                memory.insert(range_id, remembered);
                continue;
            }
            _ = ticks.tick() => {}
        }
        let Some(store) = Store::from_weak(&weak) else { return };
        if store.inner.stopping.load(Ordering::Acquire) {
            return;
        }
        store.inner.engine.tend();
        // Otherwise the round before goes on.
        if todo.is_empty() {
            memory.retain(|range_id, _| store.replica(*range_id).is_some());
            store.tidy_merge_queue();
            todo.extend(store.replicas().iter().map(|replica| replica.range_id()));
        }
    }
}

async fn look_after_alone(store: Store, replica: Arc<Replica>, mut memory: Memory) -> Memory {
    if let Err(error) = look_after(&store, &replica, &mut memory).await {
        tracing::debug!(range = %replica.range_id(), %error, "queue");
    }
    memory
}

async fn look_after(store: &Store, replica: &Arc<Replica>, memory: &mut Memory) -> Result<(), KvError> {
    let Some(descriptor) = replica.descriptor() else { return Ok(()) };
    // It serves nothing, so that nothing else can be done about it.
    if let Some(merged) = replica.settle_freeze().await? {
        if merged {
            let left = store.leave_merged(replica.range_id()).await;
            left.map_err(|error| KvError::Internal { reason: error.to_string() })?;
        }
        return Ok(());
    }
    if memory.published != descriptor.generation {
        store.inner.outbound.update_meta(vec![(*descriptor).clone()]).await?;
        memory.published = descriptor.generation;
    }
    repair(store, replica, &descriptor, memory).await?;
    let Some(descriptor) = replica.descriptor() else { return Ok(()) };
    let Some(zone) = store.zone_of(&descriptor) else { return Ok(()) };
    if let Some(at) = store.zones().and_then(|zones| zones.border_within(&descriptor)) {
        let work = store.work().begin(WorkKind::Split, descriptor.range_id, None);
        tracing::info!(range = %descriptor.range_id, %at, "splitting a range where another configuration begins");
        admin(replica, Request::Split { at }).await?;
        work.done();
        return Ok(());
    }
    memory.failed.retain(|(_, at)| at.elapsed() < PASSED_OVER);
    let is_surplus = descriptor.voters().count() as u64 > u64::from(zone.config.num_replicas);
    memory.surplus_since = is_surplus.then(|| memory.surplus_since.unwrap_or_else(Instant::now));
    let is_surplus_settled = memory.surplus_since.is_some_and(|at| at.elapsed() >= SURPLUS_FOR);
    let look = Look::at(store, replica, &descriptor, &zone, &memory.failed, is_surplus_settled);
    let is_leaving = store.inner.info.lock().leaving;
    let next = match look.repair() {
        // Its leases are handed over below.
        None if is_leaving => None,
        None => {
            // Where nothing is wrong: what is even stays so, and is made even a little at a time.
            let next = look.balance().or_else(|| look.lease());
            next.filter(|next| matches!(next, Move::Transfer { why: Why::Preference, .. }) || store.inner.take_turn_to_balance())
        }
        some => some,
    };
    drop(look);
    if let Some(next) = next
        && make_move(store, replica, next, memory).await?
    {
        return Ok(());
    }
    // Its replica goes when another leads the range.
    if is_leaving && descriptor.voters().count() > 1 {
        store.hand_over(replica).await;
        return Ok(());
    }
    let proposals = replica.metrics().proposals.load(Ordering::Relaxed);
    let wrote = proposals != memory.proposals;
    memory.proposals = proposals;
    if wrote || memory.range_max_bytes != zone.config.range_max_bytes {
        memory.range_max_bytes = zone.config.range_max_bytes;
        split_if_large(store, replica, zone.config.range_max_bytes).await?;
        if wrote {
            memory.wrote_at = Some(Instant::now());
        }
    }
    split_if_busy(store, replica).await?;
    if memory.merge_at.is_none_or(|at| at <= Instant::now()) && merge_if_small(store, replica).await {
        memory.merge_at = Some(Instant::now() + store.inner.config.merge_interval);
    }
    tidy_up(store, replica, memory, zone.gc_after).await
}

/// Moves a replica or the lease; false where others are being moved, and it is to be tried again later.
async fn make_move(store: &Store, replica: &Arc<Replica>, next: Move, memory: &mut Memory) -> Result<bool, KvError> {
    let range_id = replica.range_id();
    let (kind, request, target) = match next {
        Move::Add(to) => {
            (WorkKind::Replicate, Request::ChangeReplicas { add: vec![to], remove: vec![] }, Some(to.store_id))
        }
        Move::Replace { from, to, why } => {
            let kind = match why {
                Why::Going => WorkKind::Replace,
                Why::Surplus => WorkKind::Remove,
                Why::Misplaced | Why::Count | Why::Bytes | Why::Preference | Why::Load => WorkKind::Balance,
            };
            let request = Request::ChangeReplicas { add: to.into_iter().collect(), remove: vec![from.replica_id] };
            (kind, request, to.map(|to| to.store_id))
        }
        Move::Transfer { to, .. } => (WorkKind::Lease, Request::TransferLease { to }, Some(to)),
    };
    let is_transfer = kind == WorkKind::Lease;
    let permit = if is_transfer { None } else { store.inner.adding.try_acquire().ok() };
    if permit.is_none() && !is_transfer {
        return Ok(false);
    }
    tracing::info!(range = %range_id, ?next, "moving a replica or the lease");
    let work = store.work().begin(kind, range_id, target);
    if let Err(error) = admin(replica, request).await {
        tracing::warn!(range = %range_id, ?next, %error, "the move was not made");
        memory.failed.extend(target.filter(|_| !is_transfer).map(|store| (store, Instant::now())));
        return Err(error);
    }
    work.done();
    Ok(true)
}

/// Rounds go on after the last write until what it superseded has become garbage as well.
async fn tidy_up(
    store: &Store,
    replica: &Arc<Replica>,
    memory: &mut Memory,
    after: Duration,
) -> Result<(), KvError> {
    let every = store.inner.config.gc_interval;
    let now = Instant::now();
    let begins = memory.gc_at.is_none();
    if !begins && memory.wrote_at.is_none_or(|at| now > at + after + 2 * every) {
        return Ok(());
    }
    if memory.gc_at.is_some_and(|at| now < at) {
        return Ok(());
    }
    memory.gc_at = Some(now + every);
    let kept_ns = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
    let aged = store.inner.clock.peek().sub_ns(kept_ns);
    // *protected-stays*
    let threshold = match *store.inner.protections.lock() {
        Some(protections) => protections.limit(kept_ns).min(aged),
        None if store.inner.config.gc_awaits_protections => return Ok(()),
        None => aged,
    };
    let work = store.work().begin(WorkKind::Collect, replica.range_id(), None);
    if replica.tidy_records().await? > 0 {
        memory.wrote_at = Some(now);
    }
    let mut rest = replica.descriptor().map(|descriptor| descriptor.span());
    while let Some(span) = rest {
        let response = admin(replica, Request::Gc { span, threshold }).await?;
        rest = response.responses.into_iter().find_map(|response| match response {
            Response::Gc { resume, .. } => resume,
            _ => None,
        });
    }
    work.done();
    Ok(())
}

pub(crate) async fn admin(replica: &Arc<Replica>, request: Request) -> Result<BatchResponse, KvError> {
    let header = Header { range_id: replica.range_id(), ..Header::default() };
    replica.send(&BatchRequest { header, requests: vec![request] }).await
}

/// Looks after voters that are not there. One that is missing is made; one that failed, or whose store may not open it
/// again, leaves the range while a quorum of the others is healthy, and another is added as where one is missing: under
/// a new number, as what the old one voted for is forgotten with its log.
async fn repair(
    store: &Store,
    replica: &Arc<Replica>,
    range: &keys::RangeDescriptor,
    memory: &mut Memory,
) -> Result<(), KvError> {
    let Some(health) = store.health(range) else { return Ok(()) };
    for (voter, _) in health.voters.iter().filter(|(_, state)| *state == Voter::Missing) {
        let request =
            StoreRequest::PrepareReplica { range_id: range.range_id, replica_id: voter.replica_id, is_new: false };
        if let Err(error) = store.ask(voter.node_id, &request, Duration::from_secs(2)).await {
            tracing::debug!(range = %range.range_id, %voter, %error, "a missing replica is not made");
        }
    }
    let lost = |(voter, state): &&(keys::ReplicaDescriptor, Voter)| {
        *state == Voter::Lost && voter.replica_id != replica.replica_id()
    };
    let Some((voter, _)) = health.voters.iter().find(lost) else { return Ok(()) };
    if health.healthy() <= health.voters.len() / 2 || health.voters.len() == 1 {
        return Ok(());
    }
    tracing::warn!(range = %range.range_id, %voter, "a lost replica leaves its range");
    let work = store.work().begin(WorkKind::Remove, range.range_id, None);
    admin(replica, Request::ChangeReplicas { add: vec![], remove: vec![voter.replica_id] }).await?;
    work.done();
    // Others first: what failed there may fail again.
    memory.failed.push((voter.store_id, Instant::now()));
    Ok(())
}

async fn split_if_large(store: &Store, replica: &Arc<Replica>, max_bytes: u64) -> Result<(), KvError> {
    let Some(descriptor) = replica.descriptor() else { return Ok(()) };
    let engine = &store.inner.engine;
    let internal = |error: storage::StorageError| KvError::Internal { reason: error.to_string() };
    // What is the system's stays together: only tables are split.
    let mut span = descriptor.span();
    if span.start < keys::keyspace::table_data_start() {
        span.start = keys::keyspace::table_data_start();
    }
    if engine.approximate_bytes(&span).map_err(internal)? <= max_bytes {
        return Ok(());
    }
    let Some(at) = engine.split_key(&span).map_err(internal)? else { return Ok(()) };
    if at <= span.start {
        return Ok(());
    }
    let work = store.work().begin(WorkKind::Split, descriptor.range_id, None);
    admin(replica, Request::Split { at }).await?;
    work.done();
    Ok(())
}

#[cfg(test)]
mod tests {
    use hlc::Timestamp;
    use keys::NodeId;

    use super::*;
    use crate::store::tests::Site;

    #[test]
    fn garbage_is_older_than_what_is_protected_and_than_what_is_known() {
        let at = |wall| Timestamp::new(wall, 0);
        let limit = |oldest| Protections { as_of: at(1_000), oldest }.limit(600);
        assert_eq!([limit(None), limit(Some(at(300))), limit(Some(at(900)))], [at(400), at(300), at(400)]);
    }

    /// A few snapshots that nobody takes in would stop the splits and the garbage collection of all ranges.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_range_that_waits_for_its_turn_to_be_replicated_is_tidied() {
        let site = Site::leading();
        let running = site.start().await;
        let published = site.outbound.published.notified();
        tokio::time::timeout(Duration::from_secs(20), published).await.expect("the store leads the range");
        let store = running.0.clone();
        let turns = store.inner.adding.try_acquire_many(ADDING_AT_ONCE as u32).expect("nothing is being added");
        for id in 2..=3 {
            let (node_id, store_id) = (NodeId::new(id), StoreId::new(id));
            store.learn_nodes(vec![NodeInfo { node_id, store_id, ..store.describe() }]);
        }
        let replica = store.replica(RangeId::new(1)).expect("the first range is here");
        let generation = replica.descriptor().map(|descriptor| descriptor.generation).expect("it has begun");
        let mut memory = Memory { published: generation, ..Memory::default() };
        look_after(&store, &replica, &mut memory).await.unwrap();
        assert!(memory.gc_at.is_some());
        assert!(memory.failed.is_empty());
        assert_eq!(replica.descriptor().map(|descriptor| descriptor.generation), Some(generation));
        drop(turns);
        drop((replica, store));
        site.stop(running).await;
    }
}
