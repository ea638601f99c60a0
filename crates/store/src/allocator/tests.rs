//! Moves over pictures of clusters: never less available, never worse spread, and they end.

use keys::{RangeId, ReplicaId, zone::{read_constraints, read_preferences}};

use super::*;

fn store(id: u64, locality: &str) -> StoreState {
    StoreState {
        node_id: NodeId::new(id),
        store_id: StoreId::new(id),
        locality: locality.parse().unwrap(),
        ranges: 10,
        leases: 3,
        bytes: 0,
        rate: 0,
        is_live: true,
        is_gone: false,
        leaving: false,
        draining: false,
    }
}

fn stores(localities: &[&str]) -> Vec<StoreState> {
    localities.iter().zip(1..).map(|(locality, id)| store(id, locality)).collect()
}

fn voter(id: u64) -> ReplicaDescriptor {
    let (node_id, store_id) = (NodeId::new(id), StoreId::new(id));
    ReplicaDescriptor { node_id, store_id, replica_id: ReplicaId::new(10 + id), kind: ReplicaKind::Voter }
}

/// A range with all it is judged by.
struct Case {
    range: RangeDescriptor,
    voters: Vec<(ReplicaDescriptor, Voter)>,
    config: SpanConfig,
    leaseholder: u64,
    bytes: u64,
    rate: u64,
    failed: Vec<StoreId>,
}

impl Case {
    fn on(ids: &[u64]) -> Self {
        let replicas: Vec<ReplicaDescriptor> = ids.iter().map(|id| voter(*id)).collect();
        let voters = replicas.iter().map(|voter| (*voter, Voter::Healthy)).collect();
        let range = RangeDescriptor {
            range_id: RangeId::new(1),
            start: b"a".as_slice().into(),
            end: b"b".as_slice().into(),
            replicas,
            next_replica_id: ReplicaId::new(99),
            generation: 1,
        };
        let config = SpanConfig::default();
        Self { range, voters, config, leaseholder: ids[0], bytes: 0, rate: 0, failed: Vec::new() }
    }

    fn constrained(mut self, constraints: &str) -> Self {
        self.config.constraints = read_constraints(constraints).unwrap();
        self
    }

    fn preferring(mut self, preferences: &str) -> Self {
        self.config.lease_preferences = read_preferences(preferences).unwrap();
        self
    }

    fn of(mut self, num_replicas: u32) -> Self {
        self.config.num_replicas = num_replicas;
        self
    }

    fn found(mut self, id: u64, found: Voter) -> Self {
        for it in &mut self.voters {
            if it.0.store_id == StoreId::new(id) {
                it.1 = found;
            }
        }
        self
    }

    fn state(&self) -> RangeState<'_> {
        RangeState {
            range: &self.range,
            leaseholder: StoreId::new(self.leaseholder),
            voters: Some(&self.voters),
            config: &self.config,
            bytes: self.bytes,
            rate: self.rate,
            failed: &self.failed,
            is_surplus_settled: true,
        }
    }

    fn repair(&self, stores: &[StoreState]) -> Option<Move> {
        Picture::new(stores.to_vec()).repair(&self.state())
    }

    fn balance(&self, stores: &[StoreState]) -> Option<Move> {
        Picture::new(stores.to_vec()).balance(&self.state())
    }

    fn lease(&self, stores: &[StoreState]) -> Option<Move> {
        Picture::new(stores.to_vec()).lease(&self.state())
    }

    /// Does what a move says.
    fn apply(&mut self, next: Move) {
        let mut ids: Vec<u64> = self.range.voters().map(|voter| voter.store_id.get()).collect();
        match next {
            Move::Add(to) => ids.push(to.store_id.get()),
            Move::Replace { from, to, .. } => {
                ids.retain(|id| *id != from.store_id.get());
                ids.extend(to.map(|to| to.store_id.get()));
            }
            Move::Transfer { to, .. } => self.leaseholder = to.get(),
        }
        let (config, leaseholder) = (self.config.clone(), self.leaseholder);
        assert!(ids.contains(&leaseholder), "the leaseholder's replica is not moved");
        *self = Self { config, leaseholder, bytes: self.bytes, rate: self.rate, ..Self::on(&ids) };
    }
}

fn add(id: u64) -> Option<Move> {
    Some(Move::Add(store(id, "").target()))
}

fn replace(from: u64, to: Option<u64>, why: Why) -> Option<Move> {
    Some(Move::Replace { from: voter(from), to: to.map(|id| store(id, "").target()), why })
}

fn transfer(to: u64, why: Why) -> Option<Move> {
    Some(Move::Transfer { to: StoreId::new(to), why })
}

#[test]
fn as_many_as_the_nodes_allow() {
    let wanted = |replicas| (1..=6).map(|nodes| wanted_voters(replicas, nodes)).collect::<Vec<_>>();
    assert_eq!(wanted(3), [1, 1, 3, 3, 3, 3]);
    assert_eq!(wanted(5), [1, 1, 3, 3, 5, 5]);
    assert_eq!(wanted(4), [1, 1, 3, 4, 4, 4]);
    assert_eq!(wanted(1), [1; 6]);
}

#[test]
fn new_replicas_are_spread_first_and_go_to_empty_stores_second() {
    let mut all = stores(&["region=a", "region=a", "region=b", "region=b", "region=c"]);
    all[1].ranges = 0;
    all[2].ranges = 50;
    all[4].ranges = 60;
    assert_eq!(Case::on(&[1]).repair(&all), add(4), "of the better spread the emptiest");
    assert_eq!(Case::on(&[1, 4]).repair(&all), add(5), "however full it is");
    all[4].is_live = false;
    assert_eq!(Case::on(&[1, 4]).repair(&all), add(2), "a worse spread is better than too few");
    let mut failed = Case::on(&[1, 4]);
    failed.failed.push(StoreId::new(2));
    assert_eq!(failed.repair(&all), add(3));
}

#[test]
fn constraints_choose_the_stores() {
    let all = stores(&["region=a,zone=1", "region=a,zone=2", "region=b,zone=1", "region=b,zone=2", "region=a,zone=3"]);
    assert_eq!(Case::on(&[1]).constrained("[+region=a]").repair(&all), add(2));
    assert_eq!(Case::on(&[1, 2]).constrained("[+region=a, -zone=3]").repair(&all), None, "nowhere, and not elsewhere");
    let counted = "{+region=a: 2, +region=b: 1}";
    assert_eq!(Case::on(&[1]).constrained(counted).repair(&all), add(3));
    assert_eq!(Case::on(&[1, 3]).constrained(counted).repair(&all), add(2));
}

#[test]
fn misplaced_replicas_are_put_right_one_at_a_time() {
    let all = stores(&["region=a", "region=a", "region=a", "region=b", "region=b", "region=b"]);
    let mut case = Case::on(&[1, 2, 3]).constrained("[+region=b]");
    let mut moves = Vec::new();
    while let Some(next) = case.repair(&all) {
        moves.push(next);
        case.apply(next);
        assert_eq!(case.range.voters().count(), 3, "replaced-before-removed");
        assert!(moves.len() < 10, "{moves:?}");
    }
    let mut ends: Vec<u64> = case.range.voters().map(|voter| voter.store_id.get()).collect();
    ends.sort_unstable();
    assert_eq!(ends, [4, 5, 6]);
    assert_eq!(moves.iter().filter(|it| matches!(it, Move::Transfer { .. })).count(), 1);
}

#[test]
fn what_is_together_is_spread_when_a_region_joins() {
    let all = stores(&["region=a", "region=a", "region=b", "region=c"]);
    assert_eq!(Case::on(&[1, 2, 3]).repair(&all), replace(2, Some(4), Why::Misplaced));
    assert_eq!(Case::on(&[1, 3, 4]).repair(&all), None);
    // With a voter that is not there nothing moves that need not.
    assert_eq!(Case::on(&[1, 2, 3]).found(3, Voter::Away).repair(&all), None);
    assert_eq!(Case::on(&[1, 2, 3]).repair(&stores(&["", "", "", ""])), None);
}

#[test]
fn what_goes_is_replaced_before_it_leaves() {
    let mut all = stores(&["region=a", "region=b", "region=c", "region=c"]);
    all[2].is_gone = true;
    all[2].is_live = false;
    let case = Case::on(&[1, 2, 3]).found(3, Voter::Away);
    assert_eq!(case.repair(&all), replace(3, Some(4), Why::Going));
    assert_eq!(case.repair(&all[..3]), None, "nobody can take its place");
    // Without a quorum nothing is decided.
    assert_eq!(Case::on(&[1, 2, 3]).found(3, Voter::Away).found(2, Voter::Away).repair(&all), None);
    all[1].leaving = true;
    assert_eq!(Case::on(&[1, 2, 4]).repair(&all), None, "no live store is left");
}

#[test]
fn what_is_too_much_leaves_and_a_quorum_stays() {
    let all = stores(&["region=a", "region=a", "region=b", "region=c", "region=c"]);
    assert_eq!(Case::on(&[1, 2, 3, 4]).repair(&all), replace(2, None, Why::Surplus), "what is missed least");
    assert_eq!(Case::on(&[1, 2, 3, 4]).found(4, Voter::Away).repair(&all), replace(4, None, Why::Surplus), "dead ones first");
    let two_away = Case::on(&[1, 2, 3, 4]).found(4, Voter::Away).found(3, Voter::Away);
    assert_eq!(two_away.repair(&all), None);
    assert_eq!(Case::on(&[1, 3, 4]).of(5).repair(&all[..4]), None, "four nodes are three replicas");
    assert_eq!(Case::on(&[1, 3, 4]).of(5).repair(&all), add(2));
    let case = Case::on(&[1, 2, 3, 4]);
    let passing = RangeState { is_surplus_settled: false, ..case.state() };
    assert_eq!(Picture::new(all).repair(&passing), None, "it may be on its way");
}

/// A healthy voter on a leaving store does not leave where a majority of the rest would not be healthy: it is replaced.
#[test]
fn what_is_going_leaves_a_quorum() {
    let mut all = stores(&["", "", "", "", "", ""]);
    all[4].leaving = true;
    let case = Case::on(&[1, 2, 3, 4, 5]).found(3, Voter::Away).found(4, Voter::Away);
    assert_eq!(case.repair(&all), replace(5, Some(6), Why::Going));
    assert_eq!(Case::on(&[1, 2, 3, 5]).repair(&all), replace(5, None, Why::Going));
    all[2].is_gone = true;
    assert_eq!(case.repair(&all), replace(3, None, Why::Going), "what is away is missed least");
}

/// A node that was just started does not know all others: who is not known is not gone, and as many replicas as are configured
/// stay.
#[test]
fn an_unknown_store_is_not_gone_at_once() {
    let known = stores(&["", ""]);
    let case = Case::on(&[1, 2, 3]).found(3, Voter::Away);
    let young = Picture { is_settled: false, ..Picture::new(known.clone()) };
    assert_eq!(young.repair(&case.state()), None);
    assert_eq!(Picture::new(known).repair(&case.state()), None, "nobody could take its place");
}

#[test]
fn a_draining_store_takes_no_leases() {
    let mut all = stores(&["region=a", "region=b", "region=b"]);
    (all[0].leases, all[1].leases) = (300, 0);
    let lease = |all: &[StoreState]| Case::on(&[1, 2, 3]).lease(all);
    assert_eq!(lease(&all), transfer(2, Why::Count));
    all[1].draining = true;
    assert_eq!(lease(&all), transfer(3, Why::Count));
    let preferred = Case::on(&[1, 2]).preferring("[[+region=b]]");
    assert_eq!(preferred.lease(&all), None);
}

/// A leaving store gives its only replicas away too.
#[test]
fn the_only_replica_leaves_with_its_store() {
    let mut all = stores(&["", ""]);
    all[0].leaving = true;
    let mut case = Case::on(&[1]).of(1);
    assert_eq!(case.repair(&all), add(2));
    case.apply(case.repair(&all).unwrap());
    case.leaseholder = 2;
    assert_eq!(case.repair(&all), replace(1, None, Why::Going));
}

/// A range of one replica moves by having two for a while.
#[test]
fn the_only_replica_moves() {
    let all = stores(&["region=a", "region=b"]);
    let mut case = Case::on(&[1]).of(1).constrained("[+region=b]");
    assert_eq!(case.repair(&all), add(2));
    case.apply(case.repair(&all).unwrap());
    assert_eq!(case.repair(&all), transfer(2, Why::Surplus));
    case.apply(case.repair(&all).unwrap());
    assert_eq!(case.repair(&all), replace(1, None, Why::Surplus));
    case.apply(case.repair(&all).unwrap());
    assert_eq!(case.repair(&all), None);
}

#[test]
fn counts_are_evened_out_within_a_band() {
    let mut all = stores(&["", "", "", ""]);
    assert_eq!(Case::on(&[1, 2, 3]).balance(&all), None);
    (all[1].ranges, all[3].ranges) = (14, 0);
    assert_eq!(Case::on(&[1, 2, 3]).balance(&all), replace(2, Some(4), Why::Count));
    assert_eq!(Case::on(&[2, 1, 3]).balance(&all), replace(3, Some(4), Why::Count), "not the leaseholder's own");
    all[3].ranges = 8;
    assert_eq!(Case::on(&[1, 2, 3]).balance(&all), None, "it is within the band");
    all[3].ranges = 0;
    assert_eq!(Case::on(&[1, 2, 3]).found(1, Voter::Behind).balance(&all), None, "of ranges that lack nothing");
}

#[test]
fn balance_keeps_the_spread() {
    let mut all = stores(&["region=a", "region=b", "region=c", "region=a", "region=b"]);
    (all[3].ranges, all[4].ranges, all[1].ranges) = (0, 1, 20);
    // The emptiest is where the leaseholder is.
    assert_eq!(Case::on(&[1, 2, 3]).balance(&all), replace(2, Some(5), Why::Count));
    all[4].is_live = false;
    assert_eq!(Case::on(&[1, 2, 3]).balance(&all), None);
    let mut apart = stores(&["region=a", "region=a", "region=a", "region=b"]);
    apart[3].ranges = 0;
    assert_eq!(Case::on(&[1, 2, 3]).constrained("[+region=a]").balance(&apart), None);
}

#[test]
fn bytes_are_evened_out_where_counts_are_even() {
    let mut all = stores(&["", "", "", ""]);
    for (store, gib) in all.iter_mut().zip([4_u64, 10, 4, 2]) {
        store.bytes = gib << 30;
    }
    let mut case = Case { bytes: 1 << 30, ..Case::on(&[1, 2, 3]) };
    assert_eq!(case.balance(&all), replace(2, Some(4), Why::Bytes));
    case.bytes = 5 << 30;
    assert_eq!(case.balance(&all), None, "the other store would be the heavy one then");
    case.bytes = 1 << 30;
    all[3].ranges = 12;
    assert_eq!(case.balance(&all), None, "counts would move one back");
}

#[test]
fn leases_follow_preferences_counts_and_load() {
    let mut all = stores(&["region=a", "region=b", "region=c"]);
    let case = Case::on(&[1, 2, 3]);
    assert_eq!(case.lease(&all), None);
    let preferring = || Case::on(&[1, 2, 3]).preferring("[[+region=x], [+region=c], [+region=b]]");
    assert_eq!(preferring().lease(&all), transfer(3, Why::Preference));
    assert_eq!(preferring().found(3, Voter::Behind).lease(&all), transfer(2, Why::Preference));
    all[0].leases = 20;
    all[2].leases = 2;
    assert_eq!(case.lease(&all), transfer(3, Why::Count));
    assert_eq!(Case::on(&[1, 2, 3]).preferring("[[+region=a]]").lease(&all), None, "preferences come first");
    all[0].leases = 9;
    assert_eq!(case.lease(&all), None, "within the band");
    all[0].rate = 3_000;
    let busy = |rate| Case { rate, ..Case::on(&[1, 2, 3]) }.lease(&all);
    assert_eq!(busy(500), transfer(2, Why::Load));
    assert_eq!([busy(0), busy(2_000)], [None, None], "one hot range stays where it is");
}

/// A cluster of which the stores' numbers follow from its ranges.
struct Simulated {
    stores: Vec<StoreState>,
    ranges: Vec<Case>,
}

impl Simulated {
    fn new(localities: &[String], ranges: usize) -> Self {
        let all: Vec<StoreState> = localities.iter().zip(1..).map(|(locality, id)| store(id, locality)).collect();
        // All of them begin on the first stores.
        let ranges = (0..ranges as u64).map(|number| {
            let mut case = Case { bytes: (1 + number % 7) << 26, rate: number % 50, ..Case::on(&[1]) };
            case.range.range_id = RangeId::new(number + 1);
            case
        });
        let mut simulated = Self { stores: all, ranges: ranges.collect() };
        simulated.count();
        simulated
    }

    fn count(&mut self) {
        for store in &mut self.stores {
            let id = store.store_id;
            let here = || self.ranges.iter().filter(move |case| case.range.replica_on_store(id).is_some());
            let led = || self.ranges.iter().filter(move |case| case.leaseholder == id.get());
            (store.ranges, store.bytes) = (here().count() as u64, here().map(|case| case.bytes).sum());
            (store.leases, store.rate) = (led().count() as u64, led().map(|case| case.rate).sum());
        }
    }

    /// Each store repairs all of its ranges and makes one move for balance, all of them by one picture; answers how many.
    fn round(&mut self) -> usize {
        let picture = Picture::new(self.stores.clone());
        let mut has_moved: Vec<u64> = Vec::new();
        let mut moves = 0;
        for case in &mut self.ranges {
            let (number, owner) = (case.range.range_id, case.leaseholder);
            let may_balance = !has_moved.contains(&owner);
            let next = picture.repair(&case.state()).or_else(|| {
                let next = may_balance.then(|| picture.balance(&case.state()).or_else(|| picture.lease(&case.state())));
                next.flatten().inspect(|_| has_moved.push(owner))
            });
            if let Some(next) = next {
                let (before, voters) = (merit_of(&picture, case), case.range.voters().count());
                case.apply(next);
                case.range.range_id = number;
                assert!(case.range.voters().count() >= voters.min(3), "replaced-before-removed");
                assert!(voters < 3 || merit_of(&picture, case) >= before, "spread-stays");
                moves += 1;
            }
        }
        self.count();
        moves
    }

    fn settle(&mut self) -> usize {
        let mut moves = 0;
        for _ in 0..2_000 {
            match self.round() {
                0 => return moves,
                some => moves += some,
            }
        }
        panic!("it does not end: no-thrash");
    }
}

fn merit_of(picture: &Picture, case: &Case) -> Merit {
    merit(&case.config, &picture.places_without(&case.state(), None))
}

#[test]
fn a_cluster_comes_to_rest_and_takes_new_nodes_in() {
    let localities: Vec<String> = (0..12).map(|n| format!("region={},zone={}", n % 3, n % 6)).collect();
    let mut cluster = Simulated::new(&localities, 300);
    cluster.settle();
    let spread = 3 * Locality::DIVERSITY_MAX;
    let picture = Picture::new(cluster.stores.clone());
    for case in &cluster.ranges {
        assert_eq!(merit_of(&picture, case), (Reverse(0), spread), "a voter in each region");
    }
    let bounds = |of: &dyn Fn(&StoreState) -> u64, stores: &[StoreState]| {
        let all = || stores.iter().map(of);
        (all().min().unwrap_or(0), all().max().unwrap_or(0))
    };
    let (least, most) = bounds(&|store| store.ranges, &cluster.stores);
    assert!(least >= 65 && most <= 90, "{least} to {most}");
    let (least, most) = bounds(&|store| store.leases, &cluster.stores);
    assert!(most - least <= 15, "{least} to {most}");
    for n in 0..3 {
        cluster.stores.push(store(13 + n, &format!("region={n},zone=9")));
    }
    cluster.count();
    let moves = cluster.settle();
    let (least, most) = bounds(&|store| store.ranges, &cluster.stores);
    assert!(least >= 48 && most <= 75, "{least} to {most}");
    assert!(moves < 400, "no more than what the new ones take, and some: {moves}");
}
