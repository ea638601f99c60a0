//! *fifo-fair* and *no-lost-wakeup* of the lock table, against a model that spells the rules out over plain lists.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use concurrency::{Acquired, LockRequest, LockTable, WaitOutcome, Waiter};
use keys::{LockStrength, Span, TxnId, TxnMeta};
use proptest::prelude::*;

use crate::{Flag, key, poll, strength, ts, txn, txn_id};

const KEY_COUNT: u8 = 3;

#[derive(Clone, Copy, Debug)]
struct Claim {
    key: u8,
    /// 0 is no transaction.
    txn: u8,
    strength: Option<LockStrength>,
    read_ts: u64,
}

#[derive(Clone, Debug)]
enum Op {
    Acquire { key: u8, txn: u8, strength: LockStrength },
    Enqueue(Claim),
    Leave(usize),
    Release { key: u8, txn: u8 },
    Discover { key: u8, txn: u8, ts: u64 },
    IntentRemoved { key: u8, txn: u8 },
    Push { txn: u8, ts: u64 },
    Finish { txn: u8 },
    Split { at: u8 },
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    let (key, txn) = (0..KEY_COUNT, 1..5u8);
    let claim = (key.clone(), 0..5u8, prop::option::weighted(0.8, strength()), 1..20u64)
        .prop_map(|(key, txn, strength, read_ts)| Claim { key, txn, strength, read_ts });
    prop_oneof![
        8 => (key.clone(), txn.clone(), strength())
            .prop_map(|(key, txn, strength)| Op::Acquire { key, txn, strength }),
        10 => claim.prop_map(Op::Enqueue),
        4 => (0..20usize).prop_map(Op::Leave),
        4 => (key.clone(), txn.clone()).prop_map(|(key, txn)| Op::Release { key, txn }),
        2 => (key.clone(), txn.clone(), 1..20u64).prop_map(|(key, txn, ts)| Op::Discover { key, txn, ts }),
        1 => (key, txn.clone()).prop_map(|(key, txn)| Op::IntentRemoved { key, txn }),
        1 => (txn.clone(), 1..20u64).prop_map(|(txn, ts)| Op::Push { txn, ts }),
        1 => txn.prop_map(|txn| Op::Finish { txn }),
        1 => (0..KEY_COUNT).prop_map(|at| Op::Split { at }),
        1 => Just(Op::Clear),
    ]
}

#[derive(Clone, Copy)]
struct Holder {
    key: u8,
    txn: u8,
    lock: Option<LockStrength>,
    intent: Option<u64>,
}

struct Waiting {
    claim: Claim,
    waiter: Waiter,
    flag: Arc<Flag>,
    /// Its last poll was pending.
    sleeps: bool,
    /// Still has its place.
    is_queued: bool,
}

#[derive(Default)]
struct Model {
    holders: Vec<Holder>,
    /// Everyone waiting, on all keys; those on one key in order of its queue.
    queue: Vec<Waiting>,
}

fn collide(a: Option<LockStrength>, b: Option<LockStrength>) -> bool {
    a.zip(b).is_some_and(|(a, b)| a.conflicts_with(b))
}

fn serves(place: &Claim, wanted: &Claim) -> bool {
    let rank = |claim: &Claim| claim.strength.map(LockStrength::rank);
    place.key == wanted.key && place.txn == wanted.txn && wanted.txn != 0 && rank(place) >= rank(wanted)
}

impl Model {
    fn holds(&self, key: u8, txn: u8) -> bool {
        self.holders.iter().any(|h| h.key == key && h.txn == txn)
    }

    /// A holder of NO KEY UPDATE writes no key column.
    fn settled(&self, mut claim: Claim) -> Claim {
        let own = self.holders.iter().find(|h| h.key == claim.key && h.txn == claim.txn);
        if claim.strength == Some(LockStrength::Intent)
            && own.is_some_and(|own| own.lock == Some(LockStrength::NoKeyUpdate))
        {
            claim.strength = Some(LockStrength::NoKeyUpdate);
        }
        claim
    }

    fn blockers(&self, claim: &Claim, place: usize) -> BTreeSet<TxnId> {
        let holders = self.holders.iter().filter(|h| {
            let collides = match claim.strength {
                None => h.intent.is_some_and(|ts| ts <= claim.read_ts),
                Some(_) => collide(claim.strength, h.intent.map(|_| LockStrength::Intent).or(h.lock)),
            };
            h.key == claim.key && h.txn != claim.txn && collides
        });
        let mut blockers: BTreeSet<_> = holders.map(|h| txn_id(h.txn)).collect();
        if !self.holds(claim.key, claim.txn) && claim.strength.is_some() {
            for ahead in self.queue.iter().take(place).filter(|w| w.is_queued).map(|w| &w.claim) {
                let collides = collide(ahead.strength, claim.strength);
                if ahead.key == claim.key && ahead.txn != 0 && ahead.txn != claim.txn && collides {
                    blockers.insert(txn_id(ahead.txn));
                }
            }
        }
        blockers
    }

    fn own_place(&self, claim: &Claim) -> usize {
        let own = self.queue.iter().position(|w| w.is_queued && serves(&w.claim, claim));
        own.unwrap_or(self.queue.len())
    }

    fn hold(&mut self, key: u8, txn: u8, lock: Option<LockStrength>, intent: Option<u64>) {
        if !self.holds(key, txn) {
            self.holders.push(Holder { key, txn, lock: None, intent: None });
        }
        let holder = self.holders.iter_mut().find(|h| h.key == key && h.txn == txn).expect("just made");
        holder.lock = holder.lock.max(lock);
        holder.intent = intent.or(holder.intent);
    }

    fn enqueue(&mut self, waiting: Waiting) {
        let key = waiting.claim.key;
        let mut place = self.queue.len();
        if self.holds(key, waiting.claim.txn) {
            let outsider = |w: &Waiting| w.is_queued && w.claim.key == key && !self.holds(key, w.claim.txn);
            place = self.queue.iter().position(outsider).unwrap_or(place);
        }
        self.queue.insert(place, waiting);
    }
}

struct Pair {
    table: LockTable,
    model: Model,
    /// Timestamps of the transactions' intents, which only rise.
    txns: Vec<TxnMeta>,
}

impl Pair {
    fn apply(&mut self, op: Op) {
        let Self { table, model, txns } = self;
        match op {
            Op::Acquire { key: k, txn: t, strength } => {
                let claim = model.settled(Claim { key: k, txn: t, strength: Some(strength), read_ts: 0 });
                let blockers = model.blockers(&claim, model.own_place(&claim));
                let meta = &txns[usize::from(t)];
                match table.acquire(&key(k), meta, strength) {
                    Acquired::Blocked(conflict) => {
                        assert!(blockers.contains(&conflict.holder.id), "blocked by nobody in the way")
                    }
                    Acquired::Acquired => {
                        assert!(blockers.is_empty(), "fifo-fair: overtook {blockers:?}");
                        match strength {
                            LockStrength::Intent => model.hold(k, t, None, Some(meta.write_ts.wall_ns())),
                            lock => model.hold(k, t, Some(lock), None),
                        }
                        for w in &mut model.queue {
                            w.is_queued &= w.claim.strength.is_none() || !serves(&claim, &w.claim);
                        }
                    }
                }
            }
            Op::Enqueue(claim) => {
                let meta = (claim.txn != 0).then(|| &txns[usize::from(claim.txn)]);
                let waiter = table.enqueue(&LockRequest {
                    key: &key(claim.key),
                    txn: meta,
                    strength: claim.strength,
                    read_ts: ts(claim.read_ts),
                });
                let flag = Arc::new(Flag::default());
                let claim = model.settled(claim);
                model.enqueue(Waiting { claim, waiter, flag, sleeps: false, is_queued: true });
            }
            Op::Leave(n) if !model.queue.is_empty() => drop(model.queue.remove(n % model.queue.len())),
            Op::Leave(_) => {}
            Op::Release { key: k, txn: t } => {
                table.release(&key(k), txn_id(t));
                model.holders.retain(|h| h.key != k || h.txn != t);
            }
            Op::Discover { key: k, txn: t, ts: wall } => {
                table.add_discovered(&key(k), &txns[usize::from(t)], ts(wall));
                model.hold(k, t, None, Some(wall));
            }
            Op::IntentRemoved { key: k, txn: t } => {
                table.intent_removed(&key(k), txn_id(t));
                for h in model.holders.iter_mut().filter(|h| h.key == k && h.txn == t) {
                    h.intent = None;
                }
                model.holders.retain(|h| h.lock.is_some() || h.intent.is_some());
            }
            Op::Push { txn: t, ts: wall } => {
                let meta = &mut txns[usize::from(t)];
                meta.write_ts = meta.write_ts.max(ts(wall));
                table.update_txn(meta);
                for h in model.holders.iter_mut().filter(|h| h.txn == t) {
                    h.intent = h.intent.map(|ts| ts.max(meta.write_ts.wall_ns()));
                }
            }
            Op::Finish { txn: t } => {
                table.txn_finished(txn_id(t));
                model.holders.retain(|h| h.txn != t);
                model.queue.iter_mut().for_each(|w| w.is_queued &= w.claim.txn != t);
            }
            Op::Split { at } => {
                table.split_off(&key(at));
                model.queue.iter_mut().for_each(|w| w.is_queued &= w.claim.key < at);
                model.holders.retain(|h| h.key < at);
            }
            Op::Clear => {
                table.clear();
                model.holders.clear();
                model.queue.iter_mut().for_each(|w| w.is_queued = false);
            }
        }
    }

    fn compare(&mut self) {
        let Self { table, model, txns } = self;
        for place in 0..model.queue.len() {
            let Waiting { claim, waiter, is_queued, .. } = &model.queue[place];
            let expected = if *is_queued { model.blockers(claim, place) } else { BTreeSet::new() };
            let blockers: BTreeSet<_> = waiter.blockers().into_iter().map(|txn| txn.id).collect();
            assert_eq!(blockers, expected, "fifo-fair: {claim:?} at {place}");
            let behind = waiter.holder().map(|txn| txn.id);
            assert_eq!(behind.is_none(), expected.is_empty(), "no-lost-wakeup: {claim:?} at {place}");

            let waiting = &mut model.queue[place];
            let is_woken = waiting.flag.take();
            let outcome = poll(&mut waiting.waiter, &waiting.flag);
            if waiting.sleeps && outcome.is_ready() {
                assert!(is_woken, "no-lost-wakeup: {:?} has news and sleeps", waiting.claim);
            }
            match outcome {
                Poll::Ready(WaitOutcome::Turn) => assert!(expected.is_empty(), "fifo-fair: a turn too early"),
                Poll::Ready(WaitOutcome::HolderChanged { holder }) => {
                    assert_eq!(Some(holder.id), behind);
                    assert!(poll(&mut waiting.waiter, &waiting.flag).is_pending(), "told once");
                }
                Poll::Pending => assert!(!expected.is_empty(), "no-lost-wakeup: nothing is in its way"),
            }
            waiting.sleeps = !expected.is_empty();
        }
        let stats = table.stats();
        assert_eq!(stats.holder_count, model.holders.len());
        assert_eq!(stats.waiter_count, model.queue.iter().filter(|w| w.is_queued).count());
        for t in 1..5 {
            let mut expected = BTreeSet::new();
            for k in 0..KEY_COUNT {
                let claim = Claim { key: k, txn: t, strength: Some(LockStrength::Update), read_ts: 0 };
                let blockers = model.blockers(&claim, model.own_place(&claim));
                expected.extend(blockers.into_iter().map(|blocker| (key(k), blocker)));
            }
            let strength = Some(LockStrength::Update);
            let met = table.check_span(&Span::all(), Some(&txns[usize::from(t)]), strength, ts(0));
            let met: BTreeSet<_> =
                met.into_iter().map(|conflict| (conflict.key, conflict.holder.id)).collect();
            assert_eq!(met, expected, "what stops transaction {t} from locking all");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]
    #[test]
    fn fifo_fair(ops in prop::collection::vec(op(), 1..60)) {
        let mut pair = Pair { table: LockTable::new(), model: Model::default(), txns: (0..5).map(txn).collect() };
        for op in ops {
            pair.apply(op);
            pair.compare();
        }
        let Pair { table, model, .. } = pair;
        drop(model);
        for t in 1..5 {
            table.txn_finished(txn_id(t));
        }
        prop_assert_eq!(table.rows(), []);
        prop_assert_eq!(table.stats(), Default::default());
    }
}

#[test]
fn a_turn_reserves_the_key_until_it_is_given_up() {
    let table = LockTable::new();
    let request = |n: u8| (txn(n), key(0));
    let exclusive = Some(LockStrength::Update);
    let enqueue = |n: u8| {
        let (txn, key) = request(n);
        table.enqueue(&LockRequest { key: &key, txn: Some(&txn), strength: exclusive, read_ts: ts(0) })
    };
    assert_eq!(table.acquire(&key(0), &txn(1), LockStrength::Update), Acquired::Acquired);
    let first = enqueue(2);
    table.release(&key(0), txn_id(1));
    assert_eq!(first.holder(), None, "free to go");
    let mut second = enqueue(3);
    assert_eq!(second.holder().map(|txn| txn.id), Some(txn_id(2)), "fifo-fair: the key is reserved");
    assert!(matches!(table.acquire(&key(0), &txn(4), LockStrength::Share), Acquired::Blocked(_)));
    let flag = Arc::new(Flag::default());
    assert!(poll(&mut second, &flag).is_pending());
    drop(first);
    assert!(flag.0.load(Ordering::SeqCst), "no-lost-wakeup");
    assert_eq!(poll(&mut second, &flag), Poll::Ready(WaitOutcome::Turn));
}
