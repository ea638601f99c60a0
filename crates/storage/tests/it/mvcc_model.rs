//! Random histories against a model that is too simple to be wrong.

use std::collections::BTreeMap;

use hlc::Timestamp;
use keys::{Key, Span, TxnMeta};
use proptest::prelude::*;
use storage::{Engine, LockRead, LockRecord, ReadConflict, ReadOptions, ScanLimits, WriteBatch};

use crate::support::*;

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// How far above its timestamp a read is uncertain, and up to which local timestamp.
#[derive(Clone, Copy, Debug)]
struct Slack {
    limit: u64,
    local: u64,
}

/// How far the clock lay behind what was written: most often it did not.
fn lag() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(0), 1 => 1..8u64]
}

fn slack() -> impl Strategy<Value = Slack> {
    (0..6u64, 0..8u64).prop_map(|(limit, local)| Slack { limit, local })
}

#[derive(Clone, Debug)]
enum Step {
    Put {
        key: usize,
        at: u64,
        lag: u64,
        value: Option<u8>,
    },
    Intent {
        key: usize,
        at: u64,
        lag: u64,
        txn: u128,
        value: Option<u8>,
    },
    Resolve {
        key: usize,
        commit: Option<u64>,
    },
    Clear {
        from: usize,
        to: usize,
    },
    Flush,
    Get {
        key: usize,
        at: u64,
        slack: Slack,
        txn: Option<(u128, u32)>,
        skip: bool,
    },
    Scan {
        from: usize,
        to: usize,
        at: u64,
        slack: Slack,
        txn: Option<(u128, u32)>,
        max: u64,
        reverse: bool,
        skip: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS.len();
    let at = 1..40u64;
    let value = proptest::option::weighted(0.8, any::<u8>());
    let txn = || proptest::option::of((1..3u128, 0..2u32));
    prop_oneof![
        8 => (key.clone(), at.clone(), lag(), value.clone())
            .prop_map(|(key, at, lag, value)| Step::Put { key, at, lag, value }),
        4 => (key.clone(), at.clone(), lag(), 1..3u128, value)
            .prop_map(|(key, at, lag, txn, value)| Step::Intent { key, at, lag, txn, value }),
        3 => (key.clone(), proptest::option::of(0..5u64)).prop_map(|(key, commit)| Step::Resolve { key, commit }),
        1 => (key.clone(), key.clone()).prop_map(|(from, to)| Step::Clear { from, to }),
        1 => Just(Step::Flush),
        6 => (key.clone(), at.clone(), slack(), txn(), any::<bool>())
            .prop_map(|(key, at, slack, txn, skip)| Step::Get { key, at, slack, txn, skip }),
        6 => (key.clone(), key, at, slack(), txn(), 0..4u64, any::<bool>(), any::<bool>()).prop_map(
            |(from, to, at, slack, txn, max, reverse, skip)| Step::Scan { from, to, at, slack, txn, max, reverse, skip }
        ),
    ]
}

#[derive(Default)]
struct Model {
    /// What was written, and when by the clock.
    versions: BTreeMap<(usize, u64), (Option<u8>, u64)>,
    locks: BTreeMap<usize, (LockRecord, u64)>,
}

#[derive(Debug, PartialEq)]
enum Seen {
    Value(Option<(u8, u64)>),
    Locked,
    Uncertain(u64),
}

impl Model {
    fn newest(&self, key: usize) -> u64 {
        self.versions.range((key, 0)..=(key, u64::MAX)).next_back().map_or(0, |((_, at), _)| *at)
    }

    fn see(&self, key: usize, at: u64, slack: Slack, txn: Option<&TxnMeta>, skip: bool) -> Seen {
        let (limit, local_limit) = (at + slack.limit, at + slack.local);
        let concerns = |standing: u64, written: u64| standing <= at || standing <= limit && written <= local_limit;
        let mut provisional = None;
        if let Some((lock, standing)) = self.locks.get(&key) {
            match txn {
                Some(txn) if txn.id == lock.txn.id && txn.epoch == lock.txn.epoch => {
                    let (value, _) = self.versions[&(key, *standing)];
                    return Seen::Value(value.map(|value| (value, *standing)));
                }
                Some(txn) if txn.id == lock.txn.id => {}
                _ if !skip && concerns(*standing, self.versions[&(key, *standing)].1) => return Seen::Locked,
                _ => {}
            }
            provisional = Some(*standing);
        }
        let committed = self.versions.range((key, 0)..=(key, limit)).rev();
        let mut committed = committed.filter(|((_, standing), (_, written))| {
            Some(*standing) != provisional && concerns(*standing, *written)
        });
        match committed.next().map(|((_, standing), (value, _))| (*standing, *value)) {
            Some((existing, _)) if existing > at => Seen::Uncertain(existing),
            Some((existing, value)) => Seen::Value(value.map(|value| (value, existing))),
            None => Seen::Value(None),
        }
    }
}

fn run(steps: Vec<Step>) {
    let (_dir, engine) = fresh();
    let mut model = Model::default();
    for step in steps {
        take(&engine, &mut model, &step);
    }
}

fn take(engine: &Engine, model: &mut Model, step: &Step) {
    match *step {
        Step::Put { key, at, lag, value } => {
            // As the replica above does it: never beneath a lock, nor over a version.
            if model.locks.contains_key(&key) || model.versions.contains_key(&(key, at)) {
                return;
            }
            let mut batch = WriteBatch::new();
            let written = at.saturating_sub(lag);
            let bytes = value.as_ref().map(std::slice::from_ref);
            batch.put_version_from(KEYS[key].as_bytes(), ts(at), Some(ts(written)), bytes);
            engine.apply(&batch).unwrap();
            model.versions.insert((key, at), (value, written));
        }
        Step::Intent { key, at, lag, txn: id, value } => {
            let mut batch = WriteBatch::new();
            if let Some((lock, standing)) = model.locks.get(&key) {
                if lock.txn != txn(id, 0) {
                    return;
                }
                batch.clear_version(KEYS[key].as_bytes(), lock.ts);
                model.versions.remove(&(key, *standing));
            }
            let at = at.max(model.newest(key) + 1);
            let written = at.saturating_sub(lag);
            let local_ts = (lag > 0).then_some(ts(written));
            let lock = LockRecord { txn: txn(id, 0), ts: ts(at), tombstone: value.is_none(), seq: 0, local_ts };
            batch.put_intent(KEYS[key].as_bytes(), &lock, value.as_ref().map(std::slice::from_ref));
            engine.apply(&batch).unwrap();
            model.versions.insert((key, at), (value, written));
            model.locks.insert(key, (lock, at));
        }
        Step::Resolve { key, commit } => {
            let Some((lock, standing)) = model.locks.remove(&key) else { return };
            resolve(engine, KEYS[key], &lock, commit.map(|later| standing + later));
            let value = model.versions.remove(&(key, standing)).unwrap();
            if let Some(later) = commit {
                model.versions.insert((key, standing + later), value);
            }
        }
        Step::Clear { from, to } => {
            let mut batch = WriteBatch::new();
            batch.clear_span(&span(KEYS[from], KEYS[to]));
            engine.apply(&batch).unwrap();
            model.versions.retain(|(key, _), _| !(from..to).contains(key));
            model.locks.retain(|key, _| !(from..to).contains(key));
        }
        Step::Flush => engine.flush().unwrap(),
        Step::Get { key, at, slack, txn: reader, skip } => {
            let reader = reader.map(|(id, epoch)| txn(id, epoch));
            let options = options(at, slack, reader.as_ref(), skip);
            let seen = match engine.get(KEYS[key].as_bytes(), &options) {
                Ok(value) => Seen::Value(value.map(|(value, ts)| (value[0], ts.wall_ns()))),
                Err(ReadConflict::Locked(_)) => Seen::Locked,
                Err(ReadConflict::Uncertain { existing, .. }) => Seen::Uncertain(existing.wall_ns()),
                Err(ReadConflict::Storage(error)) => panic!("{error}"),
            };
            assert_eq!(seen, model.see(key, at, slack, reader.as_ref(), skip), "{step:?}");
            let newest = engine.latest_version_ts(KEYS[key].as_bytes()).unwrap().map_or(0, Timestamp::wall_ns);
            assert_eq!(newest, model.newest(key), "newest-is-newest: {step:?}");
        }
        Step::Scan { from, to, at, slack, txn: reader, max, reverse, skip } => {
            let reader = reader.map(|(id, epoch)| txn(id, epoch));
            let options = options(at, slack, reader.as_ref(), skip);
            let wanted: Vec<usize> = (from..to).filter(|key| reverse || key % 2 == 0).collect();
            sorted_keys_agree(engine, model, &wanted, &options, |key| {
                model.see(key, at, slack, reader.as_ref(), skip)
            });
            let limits = ScanLimits { max_keys: max, max_bytes: 0, reverse };
            let actual = engine.scan(&span(KEYS[from], KEYS[to]), &options, limits);

            let mut keys: Vec<usize> = (from..to).collect();
            if reverse {
                keys.reverse();
            }
            let (mut rows, mut locked, mut uncertain) = (Vec::new(), Vec::new(), None);
            for key in keys {
                if max != 0 && (rows.len() + locked.len()) as u64 >= max {
                    break;
                }
                match model.see(key, at, slack, reader.as_ref(), skip) {
                    Seen::Value(Some((value, _))) => rows.push((KEYS[key].as_bytes().to_vec(), vec![value])),
                    Seen::Value(None) => {}
                    Seen::Locked => locked.push(self::key(KEYS[key])),
                    Seen::Uncertain(existing) => {
                        uncertain = Some(existing);
                        break;
                    }
                }
            }
            match actual {
                Err(ReadConflict::Locked(found)) => {
                    let found: Vec<Key> = found.into_iter().map(|(key, _)| key).collect();
                    assert_eq!(found, locked, "{step:?}");
                }
                Err(ReadConflict::Uncertain { existing, .. }) => {
                    assert!(locked.is_empty());
                    assert_eq!(Some(existing.wall_ns()), uncertain, "{step:?}");
                }
                Err(ReadConflict::Storage(error)) => panic!("{error}"),
                Ok(page) => {
                    assert!(locked.is_empty() && uncertain.is_none(), "{step:?}");
                    let found: Vec<_> = page.rows.iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
                    assert_eq!(found, rows, "{step:?}");
                    assert!(page.resume.is_some() || max == 0 || found.len() as u64 <= max);
                }
            }
        }
    }
}

/// What one pass over keys finds, up to the first that stands in the way.
fn sorted_keys_agree(
    engine: &Engine,
    model: &Model,
    wanted: &[usize],
    options: &ReadOptions<'_>,
    see: impl Fn(usize) -> Seen,
) {
    let keys: Vec<Key> = wanted.iter().map(|at| key(KEYS[*at])).collect();
    let mut rows = Vec::new();
    let mut stopped = None;
    for at in wanted {
        match see(*at) {
            Seen::Value(value) => rows.extend(value.map(|(value, _)| (KEYS[*at].as_bytes().to_vec(), vec![value]))),
            other => {
                stopped = Some(other);
                break;
            }
        }
    }
    match engine.get_sorted(&keys, options, usize::MAX) {
        Ok((found, looked_at)) => {
            let found: Vec<_> = found.iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
            assert_eq!((found, looked_at, stopped), (rows, keys.len(), None));
        }
        Err(ReadConflict::Locked(_)) => assert_eq!(stopped, Some(Seen::Locked)),
        Err(ReadConflict::Uncertain { existing, .. }) => {
            assert_eq!(stopped, Some(Seen::Uncertain(existing.wall_ns())));
        }
        Err(ReadConflict::Storage(error)) => panic!("{error}"),
    }
    let newest = engine.latest_version_among(keys.iter().map(Key::as_bytes)).unwrap().map_or(0, Timestamp::wall_ns);
    assert_eq!(newest, wanted.iter().map(|at| model.newest(*at)).max().unwrap_or(0));
}

fn options(at: u64, slack: Slack, txn: Option<&TxnMeta>, skip: bool) -> ReadOptions<'_> {
    let locks = if skip { LockRead::Skip } else { LockRead::Check };
    let (uncertainty_limit, local_limit) = (ts(at + slack.limit), ts(at + slack.local));
    ReadOptions { ts: ts(at), uncertainty_limit, local_limit, txn, locks }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reads_agree_with_the_model(steps in proptest::collection::vec(step(), 1..250)) {
        run(steps);
    }
}

/// More versions than a scan steps over, so that it seeks: forward, reverse and from within.
#[test]
fn long_histories_are_sought_through() {
    let (_dir, engine) = fresh();
    for name in KEYS {
        for at in 1..100 {
            put(&engine, name, at, Some(&format!("{name}{at}")));
        }
    }
    for at in [1, 2, 50, 98, 99, 200] {
        for reverse in [false, true] {
            let limits = ScanLimits { reverse, ..Default::default() };
            let page = engine.scan(&Span::all(), &ReadOptions::at(ts(at)), limits).unwrap();
            let mut expected = KEYS.map(|name| format!("{name}{}", at.min(99)));
            if reverse {
                expected.reverse();
            }
            let found: Vec<_> =
                page.rows.iter().map(|(_, v)| String::from_utf8(v.to_vec()).unwrap()).collect();
            assert_eq!(found, expected);
        }
    }
    let keys = KEYS.map(key);
    let (found, looked_at) = engine.get_sorted(&keys, &ReadOptions::at(ts(50)), 2).unwrap();
    // The first to pass the bound is the last.
    assert_eq!((found.len(), looked_at), (1, 1));
    let (found, _) = engine.get_sorted(&keys, &ReadOptions::at(ts(50)), usize::MAX).unwrap();
    assert!(found.iter().zip(KEYS).all(|((_, value), name)| value == format!("{name}50").as_bytes()));
    let none = engine.has_version_in(&Span::all(), ts(99), Timestamp::MAX, None).unwrap();
    assert_eq!(none, None);
}
