//! Where the replicas and the lease of a range should be: a function from a picture of the cluster to one move, or none.
//!
//! ```text
//! repair    add what is missing ▸ replace what is lost or leaves ▸ remove what is too many ▸ put right what is misplaced
//! balance   count of replicas ▸ bytes
//! lease     preferences ▸ count of leases ▸ batches in a second
//! ```
//! A place is judged by its zone configuration first, then by how well the replicas are spread over localities, and last by
//! how full the store is: a fuller or emptier store is no reason to spread worse.
//!
//! **Invariants**
//! - *replaced-before-removed*: a voter that is to go leaves when another has taken its place, so that a range never has
//!   fewer live voters for a move than without it. Only voters beyond the configured number just leave, and only while a
//!   quorum of those that stay is healthy.
//! - *spread-stays*: no move makes a range meet its configuration less, or spreads it over localities worse. Moves that put
//!   a range right make it strictly better, so they end.
//! - *no-thrash*: a move for balance is made only where its opposite would not be made afterwards. Counts have a band in which
//!   nothing moves; moves of bytes and of load bring two stores nearer to each other and leave their counts within the band.
//!
//! Left out: it knows nothing of time. Who calls it says which stores count as reachable, and paces the moves.

use std::cmp::Reverse;

use keys::{Locality, NodeId, RangeDescriptor, ReplicaDescriptor, ReplicaKind, SpanConfig, StoreId};
use replica::api::StoreTarget;

use crate::checks::Voter;

/// A store, as far as placing replicas is concerned.
#[derive(Clone, Debug)]
pub(crate) struct StoreState {
    pub node_id: NodeId,
    pub store_id: StoreId,
    pub locality: Locality,
    pub ranges: u64,
    pub leases: u64,
    pub bytes: u64,
    /// Batches in a second.
    pub rate: u64,
    /// It is heard from: replicas and leases may go there.
    pub is_live: bool,
    /// It was silent for so long that others take its place.
    pub is_gone: bool,
    pub leaving: bool,
    /// It keeps its replicas, and is to lead nothing.
    pub draining: bool,
}

impl StoreState {
    fn takes_replicas(&self) -> bool {
        self.is_live && !self.leaving
    }

    fn takes_leases(&self) -> bool {
        self.takes_replicas() && !self.draining
    }

    fn target(&self) -> StoreTarget {
        StoreTarget { node_id: self.node_id, store_id: self.store_id }
    }
}

/// The cluster as one store sees it.
pub(crate) struct Picture {
    stores: Vec<StoreState>,
    has_localities: bool,
    /// Whether it was drawn for long enough to say that a store which is not in it is gone.
    pub is_settled: bool,
}

/// A range, as its leaseholder sees it.
pub(crate) struct RangeState<'a> {
    pub range: &'a RangeDescriptor,
    pub leaseholder: StoreId,
    /// The voters as they were last found; none where that is not known.
    pub voters: Option<&'a [(ReplicaDescriptor, Voter)]>,
    pub config: &'a SpanConfig,
    pub bytes: u64,
    /// Batches in a second.
    pub rate: u64,
    /// Stores that a replica could not be added on lately.
    pub failed: &'a [StoreId],
    /// Whether it has had too many replicas for a while: they may be too many for a moment, for a move.
    pub is_surplus_settled: bool,
}

/// What is to be done about a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    Add(StoreTarget),
    /// Without a store to take its place it just leaves.
    Replace { from: ReplicaDescriptor, to: Option<StoreTarget>, why: Why },
    /// Another voter is to lead.
    Transfer { to: StoreId, why: Why },
}

/// Why a replica or a lease moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its store is silent, or is being decommissioned.
    Going,
    Surplus,
    /// It is not where its configuration wants it, or others are spread better.
    Misplaced,
    Count,
    Bytes,
    Preference,
    Load,
}

/// The fewest replicas that a store may be off the mean by.
const BAND_MIN: u64 = 2;
const LEASE_BAND_MIN: u64 = 5;
/// Stores whose bytes differ by less are even.
const BYTES_MIN: u64 = 256 << 20;
/// Stores that serve little are even.
const RATE_MIN: u64 = 200;

/// How many voters a range should have where there are so many nodes.
pub(crate) fn wanted_voters(num_replicas: u32, nodes: usize) -> usize {
    let configured = usize::try_from(num_replicas).unwrap_or(usize::MAX).max(1);
    // Two copies need both nodes to be up.
    let possible = if nodes >= 3 { nodes } else { 1 };
    match configured.min(possible) {
        // An even number tolerates no more failures than one less.
        fewer if fewer < configured && fewer % 2 == 0 => fewer - 1,
        wanted => wanted,
    }
}

/// A store's share of what is spread evenly.
fn mean(of: impl Iterator<Item = u64>) -> Option<u64> {
    let (sum, count) = of.fold((0_u64, 0_u64), |(sum, count), it| (sum.saturating_add(it), count + 1));
    sum.checked_div(count)
}

/// How well places meet a configuration and are spread: more is better.
type Merit = (Reverse<u32>, u64);

fn merit(config: &SpanConfig, places: &[&Locality]) -> Merit {
    let pairs = places.iter().enumerate().flat_map(|(at, one)| places[at + 1..].iter().map(move |two| one.diversity(two)));
    (Reverse(config.misplaced(places)), pairs.sum())
}

/// How many voters a range is configured to have. What leaves without a replacement is judged by it, and not by how many are
/// wanted: that falls where nodes are unknown.
fn configured(state: &RangeState<'_>) -> usize {
    usize::try_from(state.config.num_replicas).unwrap_or(usize::MAX).max(1)
}

impl Picture {
    pub fn new(stores: Vec<StoreState>) -> Self {
        let has_localities = stores.iter().any(|store| !store.locality.is_empty());
        Self { stores, has_localities, is_settled: true }
    }

    fn store(&self, id: StoreId) -> Option<&StoreState> {
        self.stores.iter().find(|store| store.store_id == id)
    }

    fn place(&self, id: StoreId) -> &Locality {
        static NOWHERE: std::sync::LazyLock<Locality> = std::sync::LazyLock::new(Locality::default);
        self.store(id).map_or(&NOWHERE, |store| &store.locality)
    }

    /// Whether some store has so many more bytes than others that ranges may move for it.
    pub fn do_bytes_differ(&self) -> bool {
        let live = || self.stores.iter().filter(|store| store.takes_replicas()).map(|store| store.bytes);
        let (least, most) = (live().min().unwrap_or(0), live().max().unwrap_or(0));
        most - least > BYTES_MIN
    }

    /// Stores that a replica of the range may be added on.
    fn spare<'a>(&'a self, state: &'a RangeState<'_>) -> impl Iterator<Item = &'a StoreState> {
        self.stores.iter().filter(|store| {
            store.takes_replicas()
                && state.range.replica_on_store(store.store_id).is_none()
                && !state.failed.contains(&store.store_id)
        })
    }

    /// The places of the voters, without one of them.
    fn places_without(&self, state: &RangeState<'_>, without: Option<StoreId>) -> Vec<&Locality> {
        let voters = state.range.voters().filter(|voter| Some(voter.store_id) != without);
        voters.map(|voter| self.place(voter.store_id)).collect()
    }

    /// The best store for a replica beside those at `places`.
    fn best_target(&self, state: &RangeState<'_>, places: &[&Locality]) -> Option<StoreTarget> {
        let before = state.config.misplaced(places);
        let judged = self.spare(state).filter_map(|store| {
            let with: Vec<&Locality> = places.iter().copied().chain([&store.locality]).collect();
            let merit = merit(state.config, &with);
            (state.config.allows(&with) || merit.0.0 < before).then_some((merit, store))
        });
        let best = judged.max_by_key(|(merit, store)| (*merit, Reverse((store.ranges, store.store_id))));
        best.map(|(_, store)| store.target())
    }

    /// What a range lacks, has too much of, or has in the wrong place.
    pub fn repair(&self, state: &RangeState<'_>) -> Option<Move> {
        self.missing(state).or_else(|| self.going(state)).or_else(|| self.surplus(state)).or_else(|| self.misplaced(state))
    }

    /// A store for a range that should have more replicas; or one whose replica is a learner left half way: adding it goes on
    /// with it, or takes it out where it does not come up.
    fn missing(&self, state: &RangeState<'_>) -> Option<Move> {
        if let Some(learner) = state.range.replicas.iter().find(|replica| replica.kind == ReplicaKind::Learner) {
            return Some(Move::Add(StoreTarget { node_id: learner.node_id, store_id: learner.store_id }));
        }
        if state.range.voters().count() >= self.wanted(state) {
            return None;
        }
        self.best_target(state, &self.places_without(state, None)).map(Move::Add)
    }

    fn wanted(&self, state: &RangeState<'_>) -> usize {
        wanted_voters(state.config.num_replicas, self.stores.len())
    }

    /// A voter that others cannot count on any more: its store is being decommissioned, or gone for good as far as can be
    /// told. *replaced-before-removed*
    fn going(&self, state: &RangeState<'_>) -> Option<Move> {
        let voters = state.voters?;
        if healthy(voters) <= voters.len() / 2 {
            return None;
        }
        let is_going = |(voter, found): &&(ReplicaDescriptor, Voter)| {
            let store = self.store(voter.store_id);
            let is_gone = *found == Voter::Away && store.map_or(self.is_settled, |store| store.is_gone);
            voter.store_id != state.leaseholder && (is_gone || store.is_some_and(|store| store.leaving))
        };
        // The only replica moves by being one of two for a while.
        if let [(only, _)] = voters
            && self.store(only.store_id).is_some_and(|store| store.leaving)
        {
            return self.best_target(state, &self.places_without(state, Some(only.store_id))).map(Move::Add);
        }
        let (from, found) = *voters.iter().filter(is_going).max_by_key(|(_, found)| *found == Voter::Away)?;
        let left = healthy(voters) - usize::from(found == Voter::Healthy);
        if voters.len() > configured(state) && left > (voters.len() - 1) / 2 {
            return Some(Move::Replace { from, to: None, why: Why::Going });
        }
        let to = self.best_target(state, &self.places_without(state, Some(from.store_id)))?;
        Some(Move::Replace { from, to: Some(to), why: Why::Going })
    }

    /// The voter that is missed least of a range that has more than it is configured to.
    fn surplus(&self, state: &RangeState<'_>) -> Option<Move> {
        let voters = state.voters?;
        if voters.len() <= configured(state) || !state.is_surplus_settled || healthy(voters) <= voters.len() / 2 {
            return None;
        }
        let (from, found) = *voters.iter().max_by_key(|(voter, found)| {
            let without = merit(state.config, &self.places_without(state, Some(voter.store_id)));
            let is_other = voter.store_id != state.leaseholder;
            (*found != Voter::Healthy, without, is_other, self.store(voter.store_id).map(|store| store.ranges), voter.store_id)
        })?;
        if from.store_id == state.leaseholder {
            return self.yield_lease(state, voters, Why::Surplus);
        }
        let left = healthy(voters) - usize::from(found == Voter::Healthy);
        (left > (voters.len() - 1) / 2).then_some(Move::Replace { from, to: None, why: Why::Surplus })
    }

    /// The swap that makes a range meet its configuration better, or spreads it better. *spread-stays*
    fn misplaced(&self, state: &RangeState<'_>) -> Option<Move> {
        if !self.has_localities && state.config.constraints.is_empty() {
            return None;
        }
        let voters = self.settled_voters(state)?;
        let before = merit(state.config, &self.places_without(state, None));
        // Of the stores at one place the emptiest will do.
        let mut spare: Vec<&StoreState> = self.spare(state).collect();
        spare.sort_by(|one, two| (&one.locality, one.ranges, one.store_id).cmp(&(&two.locality, two.ranges, two.store_id)));
        spare.dedup_by(|one, two| one.locality == two.locality);
        let mut best: Option<((Merit, bool, Reverse<u64>), ReplicaDescriptor, StoreTarget)> = None;
        for (voter, _) in voters {
            let others = self.places_without(state, Some(voter.store_id));
            for store in &spare {
                let with: Vec<&Locality> = others.iter().copied().chain([&store.locality]).collect();
                let after = merit(state.config, &with);
                let key = (after, voter.store_id != state.leaseholder, Reverse(store.ranges));
                if after > before && best.as_ref().is_none_or(|(known, ..)| key > *known) {
                    best = Some((key, *voter, store.target()));
                }
            }
        }
        let (_, from, to) = best?;
        if from.store_id != state.leaseholder {
            return Some(Move::Replace { from, to: Some(to), why: Why::Misplaced });
        }
        // Its own replica is to move: another leads first. The only one is one of two for a while, which is one too many.
        if voters.len() == 1 { Some(Move::Add(to)) } else { self.yield_lease(state, voters, Why::Misplaced) }
    }

    /// Lets the voter lead that is the best of the others.
    fn yield_lease(&self, state: &RangeState<'_>, voters: &[(ReplicaDescriptor, Voter)], why: Why) -> Option<Move> {
        let others = self.lease_targets(state, voters).into_iter();
        let to = others.min_by_key(|(rank, store)| (*rank, store.leases, store.store_id))?.1.store_id;
        Some(Move::Transfer { to, why })
    }

    /// The voters of a range that lacks nothing and has nothing too much.
    fn settled_voters<'a>(&self, state: &RangeState<'a>) -> Option<&'a [(ReplicaDescriptor, Voter)]> {
        let voters = state.voters?;
        (healthy(voters) == voters.len() && voters.len() == self.wanted(state)).then_some(voters)
    }

    /// A replica on a store that has more than its share, where another store has less: a node that is new takes its part.
    /// Not the leaseholder's own, which is where the requests are. *no-thrash*
    pub fn balance(&self, state: &RangeState<'_>) -> Option<Move> {
        let voters = self.settled_voters(state)?;
        // Others cannot take its replicas, however empty they are.
        let eligible = |store: &&StoreState| store.takes_replicas() && state.config.allows(&[&store.locality]);
        let all = || self.stores.iter().filter(eligible);
        let mean_ranges = mean(all().map(|store| store.ranges))?;
        let band = (mean_ranges / 20).max(BAND_MIN);
        let before = merit(state.config, &self.places_without(state, None));
        let keeps_spread = |from: StoreId, to: &StoreState| {
            let mut with = self.places_without(state, Some(from));
            with.push(&to.locality);
            merit(state.config, &with) >= before
        };
        let mut from: Vec<(ReplicaDescriptor, &StoreState)> = voters
            .iter()
            .filter(|(voter, _)| voter.store_id != state.leaseholder)
            .filter_map(|(voter, _)| Some((*voter, self.store(voter.store_id)?)))
            .collect();
        from.sort_by_key(|(_, store)| Reverse((store.ranges, store.store_id)));
        // Many stores choose at one time, from the same picture: their ranges' numbers spread them over what is empty.
        let choose = |mut fit: Vec<&StoreState>| {
            fit.sort_by_key(|store| (store.ranges, store.store_id));
            let at = usize::try_from(state.range.range_id.get()).unwrap_or(0).checked_rem(fit.len())?;
            Some(fit[at].target())
        };
        for (voter, full) in from.iter().filter(|(_, store)| store.ranges > mean_ranges) {
            let is_fit = |store: &&StoreState| {
                store.ranges + band < mean_ranges && eligible(store) && keeps_spread(full.store_id, store)
            };
            if let Some(to) = choose(self.spare(state).filter(is_fit).collect()) {
                return Some(Move::Replace { from: *voter, to: Some(to), why: Why::Count });
            }
        }
        let mean_bytes = mean(all().map(|store| store.bytes))?;
        let bytes_band = (mean_bytes / 10).max(BYTES_MIN);
        let bytes = state.bytes;
        let is_heavy = |store: &StoreState| store.bytes > mean_bytes.saturating_add(bytes_band) && store.ranges + band > mean_ranges;
        for (voter, heavy) in from.iter().filter(|(_, store)| bytes > 0 && is_heavy(store)) {
            let is_fit = |store: &&StoreState| {
                // Nearer to each other, and neither is then one that counts would move something to or from.
                let is_nearer = store.bytes.saturating_add(bytes.saturating_mul(2)) < heavy.bytes;
                is_nearer
                    && store.bytes < mean_bytes
                    && store.ranges < mean_ranges + band
                    && eligible(store)
                    && keeps_spread(heavy.store_id, store)
            };
            if let Some(to) = choose(self.spare(state).filter(is_fit).collect()) {
                return Some(Move::Replace { from: *voter, to: Some(to), why: Why::Bytes });
            }
        }
        None
    }

    /// Voters that may lead, with their ranks among the lease preferences.
    fn lease_targets(&self, state: &RangeState<'_>, voters: &[(ReplicaDescriptor, Voter)]) -> Vec<(usize, &StoreState)> {
        let may_lead = |(voter, found): &(ReplicaDescriptor, Voter)| {
            let store = self.store(voter.store_id).filter(|store| store.takes_leases())?;
            let is_other = voter.store_id != state.leaseholder && *found == Voter::Healthy;
            is_other.then(|| (state.config.lease_rank(&store.locality), store))
        };
        voters.iter().filter_map(may_lead).collect()
    }

    /// Whether another voter should lead: where the configuration prefers it, or where it has more to do than its share.
    /// *no-thrash*
    pub fn lease(&self, state: &RangeState<'_>) -> Option<Move> {
        let others = self.lease_targets(state, state.voters?);
        let own = self.store(state.leaseholder)?;
        let rank = state.config.lease_rank(&own.locality);
        let preferred = others.iter().filter(|(theirs, _)| *theirs < rank);
        if let Some((_, store)) = preferred.min_by_key(|(theirs, store)| (*theirs, store.leases, store.store_id)) {
            return Some(Move::Transfer { to: store.store_id, why: Why::Preference });
        }
        let live = || self.stores.iter().filter(|store| store.takes_leases());
        let mean_leases = mean(live().map(|store| store.leases))?;
        let band = (mean_leases / 20).max(LEASE_BAND_MIN);
        let equals = || others.iter().filter(|(theirs, _)| *theirs == rank).map(|(_, store)| *store);
        // Where the stores of its ranges are all about the mean it is the difference that counts: leases go by such stores to
        // those with which it shares no range.
        let has_more = |store: &&StoreState| {
            (own.leases > mean_leases + band && store.leases < mean_leases) || own.leases > store.leases + 2 * band
        };
        if let Some(store) = equals().filter(has_more).min_by_key(|store| (store.leases, store.store_id)) {
            return Some(Move::Transfer { to: store.store_id, why: Why::Count });
        }
        let mean_rate = mean(live().map(|store| store.rate))?;
        let is_busy = own.rate > mean_rate + (mean_rate / 5).max(RATE_MIN);
        if state.rate == 0 || !is_busy || own.leases + band <= mean_leases {
            return None;
        }
        let calmer = equals().filter(|store| {
            let is_calmer = store.rate.saturating_add(state.rate.saturating_mul(2)) < own.rate;
            is_calmer && store.leases < mean_leases + band && store.leases + 2 <= own.leases + 2 * band
        });
        let calmest = calmer.min_by_key(|store| (store.rate, store.store_id))?;
        Some(Move::Transfer { to: calmest.store_id, why: Why::Load })
    }
}

fn healthy(voters: &[(ReplicaDescriptor, Voter)]) -> usize {
    voters.iter().filter(|(_, found)| *found == Voter::Healthy).count()
}

#[cfg(test)]
mod tests;
