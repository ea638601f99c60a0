//! Whether the replicas that ranges count on are there, and whether those that are here are still counted on.
//!
//! ```text
//! leaseholder ──"how are these of yours?"──▶ stores of its voters     away, none, behind, fenced: the range has too few
//! any replica ──"am I still a member?"────▶ stores of its range       no: it goes (*removed-is-final*)
//! ```
//!
//! A descriptor says who should be there. A voter that was removed and not told holds its span against others, and a
//! range of idle followers sends it nothing it could notice: so it asks. Both questions go for all ranges at once, one
//! message to each store in an interval.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use keys::{NodeId, RangeDescriptor, RangeId, ReplicaDescriptor, ReplicaId, Span};
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::Notify;

use crate::store::{Inner, Store, StoreRequest};

/// A replica that has not applied so many of the leaseholder's entries is behind.
const BEHIND_MAX: u64 = 1_000;
/// Between two looks at replicas that are suspected of having left.
const PAUSE: Duration = Duration::from_millis(500);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Asked about with one message.
const ASKED_AT_ONCE: usize = 4_096;

/// What a store has of a replica that it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Found {
    Here {
        applied: u64,
    },
    /// It waits for its snapshot.
    Waiting,
    /// There is none, and there may be.
    Missing,
    Fenced,
    /// There is none, and there may not be again.
    Left,
}

/// What a store knows of another's replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Standing {
    /// Says its leaseholder.
    Member,
    /// *removed-is-final*
    Left,
    Unknown,
    /// The range is no more: its neighbour has taken it in.
    Merged,
}

/// What a range's leaseholder has of one of its voters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voter {
    Healthy,
    /// It is there, or its store will be: it has the log or a snapshot to take in.
    Behind,
    /// Its store does not answer.
    Away,
    Missing,
    /// Only another can take its place.
    Lost,
}

/// The voters of a range as they were found.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    /// Of the descriptor that names them.
    pub generation: u64,
    pub voters: Vec<(ReplicaDescriptor, Voter)>,
}

impl Health {
    pub fn healthy(&self) -> usize {
        self.voters.iter().filter(|(_, state)| *state == Voter::Healthy).count()
    }
}

#[derive(Default)]
pub(crate) struct Checks {
    /// Of ranges led here.
    health: Mutex<FxHashMap<RangeId, Health>>,
    /// Replicas here that may have left.
    suspects: Mutex<FxHashSet<RangeId>>,
    suspected: Arc<Notify>,
}

pub(crate) fn start(store: &Store) {
    tokio::spawn(run(Arc::downgrade(&store.inner)));
}

async fn run(weak: Weak<Inner>) {
    let Some((interval, suspected)) =
        weak.upgrade().map(|inner| (inner.config.replica_check_interval, inner.checks.suspected.clone()))
    else {
        return;
    };
    // Ranges whose members could not say; then all are asked.
    let mut unsure = FxHashSet::default();
    let mut next = tokio::time::Instant::now() + interval;
    loop {
        let all = tokio::time::timeout_at(next, suspected.notified()).await.is_err();
        let Some(store) = Store::from_weak(&weak) else { return };
        if store.inner.stopping.load(Ordering::Acquire) {
            return;
        }
        let suspects = std::mem::take(&mut *store.inner.checks.suspects.lock());
        if all {
            store.forget_messages();
            store.check_health().await;
            store.check_membership(|_| true, &mut unsure).await;
            next = tokio::time::Instant::now() + interval;
        } else {
            store.check_membership(|range| suspects.contains(&range), &mut unsure).await;
            drop(store);
            tokio::time::sleep(PAUSE.min(interval)).await;
        }
    }
}

type Asked = FxHashMap<NodeId, Vec<(RangeId, ReplicaId)>>;

impl Store {
    /// Has the replica of a range asked soon whether it is still a member.
    pub(crate) fn suspect(&self, range_id: RangeId) {
        let checks = &self.inner.checks;
        checks.suspects.lock().insert(range_id);
        checks.suspected.notify_one();
    }

    /// Ranges led here that have fewer healthy voters than they should.
    #[must_use]
    pub fn under_replicated(&self) -> u64 {
        let Some(zones) = self.zones() else { return 0 };
        let health = self.inner.checks.health.lock();
        let lacks = |(range_id, health): &(&RangeId, &Health)| {
            let led = self.replica(**range_id).filter(|replica| replica.is_leaseholder());
            let range = led.and_then(|replica| replica.descriptor());
            range.is_some_and(|range| health.healthy() < self.wanted_replicas(zones.at(&range.start).config.num_replicas))
        };
        health.iter().filter(lacks).count() as u64
    }

    pub(crate) fn health(&self, range: &RangeDescriptor) -> Option<Health> {
        let health = self.inner.checks.health.lock();
        health.get(&range.range_id).filter(|health| health.generation == range.generation).cloned()
    }

    pub(crate) fn how_are(&self, replicas: &[(RangeId, ReplicaId)], spans: &[Span]) -> Vec<Found> {
        let asked = replicas.iter().zip(spans);
        asked.map(|((range_id, replica_id), span)| self.how_is(*range_id, *replica_id, span)).collect()
    }

    pub(crate) fn how_is(&self, range_id: RangeId, replica_id: ReplicaId, span: &Span) -> Found {
        if self.has_left(range_id, replica_id) {
            return Found::Left;
        }
        if self.inner.fenced.lock().get(&range_id).is_some_and(|fenced| fenced.replica_id == replica_id) {
            return Found::Fenced;
        }
        match self.replica(range_id).filter(|replica| replica.replica_id() == replica_id) {
            // *split-replayed-first*: nobody may speak for what its log says.
            None if self.is_never_replayed(range_id, span) => Found::Fenced,
            None => Found::Missing,
            Some(replica) if replica.descriptor().is_none() => Found::Waiting,
            Some(replica) => Found::Here { applied: replica.group().applied_index() },
        }
    }

    pub(crate) fn are_members(&self, replicas: &[(RangeId, ReplicaId)]) -> Vec<Standing> {
        let standing = |(range_id, replica_id): &(RangeId, ReplicaId)| {
            if self.is_merged(*range_id) {
                return Standing::Merged;
            }
            let Some(replica) = self.replica(*range_id) else { return Standing::Unknown };
            match replica.descriptor() {
                // A replica that has left itself may still name it.
                Some(range) if range.replica(*replica_id).is_some() => {
                    if replica.is_leaseholder() {
                        Standing::Member
                    } else {
                        Standing::Unknown
                    }
                }
                Some(range) if *replica_id < range.next_replica_id => Standing::Left,
                Some(_) | None => Standing::Unknown,
            }
        };
        replicas.iter().map(standing).collect()
    }

    /// Asks every store at once, in pieces; those that do not answer are left out.
    async fn ask_all<A: DeserializeOwned>(
        &self,
        asked: Asked,
        request: impl Fn(Vec<(RangeId, ReplicaId)>) -> StoreRequest,
    ) -> Vec<((RangeId, ReplicaId), A)> {
        let pieces = asked.into_iter().flat_map(|(node, replicas)| {
            replicas.chunks(ASKED_AT_ONCE).map(|piece| (node, piece.to_vec())).collect::<Vec<_>>()
        });
        let asks = pieces.map(|(node, replicas)| {
            let request = request(replicas.clone());
            async move {
                let answer = self.ask(node, &request, ANSWER_TIMEOUT).await.ok()?;
                let answers: Vec<A> = postcard::from_bytes(&answer).ok()?;
                (answers.len() == replicas.len())
                    .then(|| replicas.into_iter().zip(answers).collect::<Vec<_>>())
            }
        });
        futures::future::join_all(asks).await.into_iter().flatten().flatten().collect()
    }

    /// Asks how the voters of the ranges led here fare.
    pub(crate) async fn check_health(&self) {
        let mut led = Vec::new();
        let mut asked = Asked::default();
        let mut spans: FxHashMap<RangeId, Span> = FxHashMap::default();
        for replica in self.replicas().into_iter().filter(|replica| replica.is_leaseholder()) {
            let Some(range) = replica.descriptor() else { continue };
            for voter in range.voters() {
                asked.entry(voter.node_id).or_default().push((range.range_id, voter.replica_id));
            }
            spans.insert(range.range_id, range.span());
            led.push((replica, range));
        }
        let how_are = |replicas: Vec<(RangeId, ReplicaId)>| {
            let spans = replicas.iter().map(|(range_id, _)| spans[range_id].clone()).collect();
            StoreRequest::HowAre { replicas, spans }
        };
        let answers = self.ask_all::<Found>(asked, how_are).await;
        let answers: FxHashMap<(RangeId, ReplicaId), Found> = answers.into_iter().collect();
        let health = led.into_iter().map(|(replica, range)| {
            let last = replica.group().applied_index();
            let state = |voter: &ReplicaDescriptor| match answers.get(&(range.range_id, voter.replica_id)) {
                Some(Found::Here { applied }) if applied.saturating_add(BEHIND_MAX) >= last => Voter::Healthy,
                Some(Found::Here { .. } | Found::Waiting) => Voter::Behind,
                Some(Found::Missing) => Voter::Missing,
                Some(Found::Left | Found::Fenced) => Voter::Lost,
                None => Voter::Away,
            };
            let voters = range.voters().map(|voter| (*voter, state(voter))).collect();
            (range.range_id, Health { generation: range.generation, voters })
        });
        let health: FxHashMap<RangeId, Health> = health.collect();
        *self.inner.checks.health.lock() = health;
    }

    /// Asks whether replicas here are still members, and removes those that are not.
    async fn check_membership(&self, which: impl Fn(RangeId) -> bool, unsure: &mut FxHashSet<RangeId>) {
        let opened = self.replicas().into_iter().filter(|replica| !replica.is_leaseholder());
        let mut own: Vec<(RangeId, ReplicaId, Option<RangeDescriptor>)> = opened
            .map(|replica| {
                let range = replica.descriptor().map(|range| (*range).clone());
                (replica.range_id(), replica.replica_id(), range)
            })
            .collect();
        let fenced = self.inner.fenced.lock().clone();
        own.extend(
            fenced.into_iter().map(|(range_id, fenced)| (range_id, fenced.replica_id, fenced.descriptor())),
        );
        own.retain(|(range_id, ..)| which(*range_id));
        if own.is_empty() {
            return;
        }
        let everyone: Vec<NodeId> = self.nodes().all().into_iter().map(|node| node.node_id).collect();
        let mut asked = Asked::default();
        for (range_id, replica_id, range) in &own {
            let members = match range {
                Some(range) if !unsure.contains(range_id) => {
                    range.replicas.iter().map(|it| it.node_id).collect()
                }
                Some(_) | None => everyone.clone(),
            };
            for node in members.into_iter().filter(|node| *node != self.inner.node_id) {
                asked.entry(node).or_default().push((*range_id, *replica_id));
            }
        }
        let answers = self.ask_all::<Standing>(asked, |replicas| StoreRequest::AreMembers { replicas }).await;
        let said = |standing: Standing| -> FxHashSet<(RangeId, ReplicaId)> {
            answers.iter().filter(|(_, found)| *found == standing).map(|(replica, _)| *replica).collect()
        };
        let (members, left, merged) = (said(Standing::Member), said(Standing::Left), said(Standing::Merged));
        for (range_id, replica_id, _) in own {
            if left.contains(&(range_id, replica_id)) {
                tracing::info!(range = %range_id, replica = %replica_id, "it has left its range, and was not told");
                if let Err(error) = self.remove_replica(range_id, replica_id).await {
                    tracing::error!(range = %range_id, %error, "a replica that has left its range stays");
                }
            } else if merged.contains(&(range_id, replica_id)) {
                if let Err(error) = self.leave_merged(range_id).await {
                    tracing::error!(range = %range_id, %error, "a replica whose range was merged stays");
                }
            } else if members.contains(&(range_id, replica_id)) {
                unsure.remove(&range_id);
            } else {
                unsure.insert(range_id);
            }
        }
        unsure.retain(|range_id| {
            self.replica(*range_id).is_some() || self.inner.fenced.lock().contains_key(range_id)
        });
    }
}
