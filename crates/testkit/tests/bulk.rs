//! Transactions that write many keys: sent in one piece, locked as a list, and as isolated as those that write one.

use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

use hlc::Timestamp;
use keys::{Key, LockStrength, Span, TxnMeta};
use kv::{Db, DbConfig, Error, Keep, Read, ScanOptions, See, Txn, TxnOptions};
use replica::api::{Header, KvError, Request, Response};
use rpc::MemoryConfig;
use tempfile::TempDir;
use testkit::{
    cluster::{Cluster, Member},
    commands::{end_with, get, key, meta, one_node, put_many, send, within, write},
};

const ROWS: usize = 600;
/// Transactions that change half of them.
const LARGE: usize = 5;

fn row(n: usize) -> Key {
    key(&format!("r{n:05}"))
}

fn rows_span() -> Span {
    Span::new(key("r"), key("s"))
}

async fn fill(db: &Db, value: &'static str) {
    let mut txn = db.begin(TxnOptions::default());
    (0..ROWS).for_each(|n| txn.put(row(n), value.into()));
    txn.commit().await.unwrap();
}

/// The rows by their numbers, and what they hold.
async fn rows(db: &Db) -> Vec<(usize, String)> {
    let mut txn = db.begin(TxnOptions::default());
    let (mut found, mut rest) = (Vec::new(), Some(rows_span()));
    while let Some(span) = rest {
        let page = txn.scan(&span, ScanOptions::default()).await.unwrap();
        found.extend(page.rows.iter().map(|(key, value)| {
            let number = std::str::from_utf8(&key[2..]).unwrap().parse().unwrap();
            (number, String::from_utf8(value.to_vec()).unwrap())
        }));
        rest = page.resume;
    }
    found
}

/// Waits for what others do; it fails only when it does not happen at all.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), waiting).await.is_ok(), "{what}");
}

/// How often a batch has waited for a lock.
fn lock_waits(cluster: &Cluster) -> u64 {
    let replicas = cluster.members.iter().flat_map(|member| member.store.replicas());
    replicas.map(|replica| replica.metrics().lock_waits.load(Ordering::Relaxed)).sum()
}

/// Whether a packed command over all rows is evaluated or agreed on right now.
fn executes_many(member: &Member) -> bool {
    let mut latches = member.store.replicas().into_iter().flat_map(|replica| replica.latches().rows());
    latches.any(|latch| latch.keys == Some(ROWS) && latch.behind.is_empty())
}

/// Increments the rows with even numbers as a statement does: locks them, and writes.
async fn increment_evens(db: &Db) -> Result<Timestamp, Error> {
    let mut txn = db.begin(TxnOptions::default());
    let evens: Vec<Key> = (0..ROWS).step_by(2).map(row).collect();
    let read = Read { lock: Some(LockStrength::Update), ..Read::default() };
    for keys in evens.chunks(100) {
        let found = txn.get_many(keys, read).await?;
        for (key, value) in keys.iter().zip(found) {
            txn.put(key.clone(), (number_of(value) + 1).to_string().into());
        }
    }
    txn.commit().await
}

fn number_of(value: Option<bytes::Bytes>) -> u64 {
    value.map_or(0, |value| std::str::from_utf8(&value).unwrap().parse().unwrap())
}

/// Increments a row, as often as it takes.
async fn increment(db: &Db, n: usize) {
    loop {
        let mut txn = db.begin(TxnOptions::default());
        let read = Read { lock: Some(LockStrength::Update), ..Read::default() };
        let attempt = async {
            let found = number_of(txn.get(&row(n), read).await?);
            txn.put(row(n), (found + 1).to_string().into());
            txn.commit().await
        };
        match attempt.await {
            Ok(_) => return,
            Err(Error::Retry { .. } | Error::Deadlock { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_update_beside_point_writes_loses_none_of_them() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let db = cluster.members[0].db.clone();
    fill(&db, "0").await;
    let writers = (0..4_usize).map(|writer| {
        let db = db.clone();
        tokio::spawn(async move {
            for round in 0..50 {
                // Most are rows that the others change too.
                let n = (writer * 149 + round * 7) % ROWS;
                increment(&db, if round % 3 == 0 { n } else { n & !1 }).await;
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    for _ in 0..LARGE {
        while let Err(error) = increment_evens(&db).await {
            assert!(matches!(error, Error::Retry { .. } | Error::Deadlock { .. }), "{error}");
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let left = rows(&db).await;
    assert_eq!(left.len(), ROWS);
    let sum: usize = left.iter().map(|(_, value)| value.parse::<usize>().unwrap()).sum();
    assert_eq!(sum, 4 * 50 + LARGE * ROWS / 2);
    cluster.stop().await;
}

/// A point write waits for the lock on its row, which is one of many, and for no other.
#[tokio::test(flavor = "multi_thread")]
async fn who_wants_one_of_many_locked_rows_waits_for_it_alone() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let db = cluster.members[0].db.clone();
    fill(&db, "0").await;
    let evens: Vec<Key> = (0..ROWS).step_by(2).map(row).collect();
    let read = Read { lock: Some(LockStrength::Update), ..Read::default() };
    let mut bulk = db.begin(TxnOptions::default());
    assert!(bulk.get_many(&evens, read).await.unwrap().iter().all(Option::is_some));
    increment(&db, 301).await;
    let before = lock_waits(&cluster);
    let waits = tokio::spawn({
        let db = db.clone();
        async move { increment(&db, 300).await }
    });
    until("it waits for the row", || lock_waits(&cluster) > before).await;
    assert!(!waits.is_finished(), "the row is locked");
    evens.iter().for_each(|key| bulk.put(key.clone(), "7".into()));
    bulk.commit().await.unwrap();
    waits.await.unwrap();
    let found = rows(&db).await;
    assert_eq!([&found[300].1, &found[301].1, &found[302].1].map(String::as_str), ["8", "1", "7"]);
    // The other way round: many rows, one of which somebody holds.
    let mut point = db.begin(TxnOptions::default());
    point.get(&row(42), read).await.unwrap();
    let before = lock_waits(&cluster);
    let waits = tokio::spawn({
        let db = db.clone();
        async move {
            let mut txn = db.begin(TxnOptions::default());
            (0..ROWS).for_each(|n| txn.put(row(n), "9".into()));
            txn.commit().await.unwrap();
        }
    });
    until("it waits for the row", || lock_waits(&cluster) > before).await;
    assert!(!waits.is_finished(), "one of the rows is locked");
    point.put(row(42), "8".into());
    point.commit().await.unwrap();
    waits.await.unwrap();
    assert!(rows(&db).await.iter().all(|(_, value)| value == "9"));
    cluster.stop().await;
}

/// write-above-read, for one of many keys, and a refresh that fails because of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_many_keys_that_cannot_move_up_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    fill(&member.db, "0").await;
    for changes in [false, true] {
        let mut txn = member.db.begin(TxnOptions::default());
        txn.get(&key("checked"), Read::default()).await.unwrap();
        (0..ROWS).for_each(|n| txn.put(row(n), format!("{changes}").into()));
        if changes {
            let mut other = member.db.begin(TxnOptions::default());
            other.put(key("checked"), "changed".into());
            other.commit().await.unwrap();
        }
        // Somebody has read one of them above.
        let reader = meta(2, "x", member.db.clock().now().add_ns(200_000_000));
        let one = vec![Request::Get { key: row(333), lock: None }];
        send(member, "r00333", within(&reader), one).await.unwrap();
        match txn.commit().await {
            Ok(commit_ts) => assert!(!changes && commit_ts > reader.write_ts, "write-above-read"),
            Err(error) => assert!(changes && matches!(error, Error::Retry { .. }), "{error}"),
        }
        assert!(rows(&member.db).await.iter().all(|(_, value)| value == "false"));
    }
    // Started over, it commits.
    let mut txn = member.db.begin(TxnOptions::default());
    txn.start_over();
    (0..ROWS).for_each(|n| txn.put(row(n), "again".into()));
    txn.commit().await.unwrap();
    assert!(rows(&member.db).await.iter().all(|(_, value)| value == "again"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_of_many_writes_counts_and_savepoints_cut_them() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let db = &cluster.members[0].db;
    let mut txn = db.begin(TxnOptions::default());
    for value in ["first", "second"] {
        (0..ROWS).for_each(|n| txn.put(row(n), value.into()));
    }
    (0..ROWS).step_by(3).for_each(|n| txn.delete(row(n)));
    (0..ROWS).step_by(6).for_each(|n| txn.put(row(n), "third".into()));
    let savepoint = txn.savepoint();
    (0..2 * ROWS).for_each(|n| txn.put(row(n), "cut".into()));
    (0..ROWS).for_each(|n| txn.delete(row(n)));
    txn.rollback_to(&savepoint);
    txn.release(&savepoint);
    (0..ROWS).step_by(100).for_each(|n| txn.put(row(n), "last".into()));
    txn.commit().await.unwrap();
    let expected = (0..ROWS).filter_map(|n| match n {
        n if n % 100 == 0 => Some((n, "last".to_owned())),
        n if n % 6 == 0 => Some((n, "third".to_owned())),
        n if n % 3 == 0 => None,
        n => Some((n, "second".to_owned())),
    });
    assert!(rows(db).await.into_iter().eq(expected));
    cluster.stop().await;
}

/// Whoever has the old range in its cache is told, and sends each half to its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_split_between_many_writes_and_their_commit() {
    let dir = TempDir::new().unwrap();
    for (value, packed_writes_min) in [("packed", 1), ("one by one", usize::MAX)] {
        let config = DbConfig { packed_writes_min, ..DbConfig::default() };
        let cluster = Cluster::start(&dir.path().join(value), 3, MemoryConfig::default(), &[0; 3], config).await;
        let (here, there) = (&cluster.members[0].db, &cluster.members[1].db);
        fill(here, "before").await;
        assert_eq!(rows(there).await.len(), ROWS);
        // The second time they are of two ranges already.
        for at in [300, 100] {
            let value = format!("{value} {at}");
            let mut txn = there.begin(TxnOptions::default());
            (0..ROWS).for_each(|n| txn.put(row(n), value.clone().into()));
            here.split_at(&row(at)).await.unwrap();
            txn.commit().await.unwrap();
            assert!(rows(here).await.iter().all(|(_, found)| *found == value));
        }
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leaseholder_dies_in_the_middle_of_a_commit_of_many_keys() {
    let dir = TempDir::new().unwrap();
    // Nothing tells the gateway over this network that its peer is gone, and a commit may wait for locks.
    let config = DbConfig {
        rpc_timeout: Duration::from_secs(2),
        wait_timeout: Duration::from_secs(3),
        ..DbConfig::default()
    };
    for (round, is_held) in [true, false, false].into_iter().enumerate() {
        let dir = dir.path().join(round.to_string());
        let cluster = Cluster::start(&dir, 5, MemoryConfig::default(), &[0; 3], config.clone()).await;
        let leader = cluster.leader_of(&row(0)).expect("the range is led");
        let db = cluster.members[(leader + 1) % 3].db.clone();
        fill(&db, "before").await;
        until("that was all", || !executes_many(&cluster.members[leader])).await;
        // Without the logs of the followers the command is agreed on for as long as the leader lives.
        let hold = |is_held: bool| {
            let others = cluster.members.iter().enumerate().filter(|(place, _)| *place != leader);
            others.for_each(|(_, other)| other.store.log().hold_writes(is_held));
        };
        hold(is_held);
        let commit = tokio::spawn({
            let db = db.clone();
            async move {
                let mut txn = db.begin(TxnOptions::default());
                (0..ROWS).for_each(|n| txn.put(row(n), "after".into()));
                txn.commit().await
            }
        });
        let arrived = || executes_many(&cluster.members[leader]) || commit.is_finished();
        until("the command reaches the leaseholder", arrived).await;
        assert!(!is_held || !commit.is_finished(), "no-dirty-ack");
        cluster.kill(leader).await;
        hold(false);
        let outcome = commit.await.unwrap();
        let found: BTreeSet<String> = rows(&db).await.into_iter().map(|(_, value)| value).collect();
        let all_or_nothing = found.len() == 1;
        assert!(all_or_nothing, "{outcome:?}: {found:?}");
        if outcome.is_ok() {
            assert!(found.contains("after"), "no-dirty-ack");
        } else if !matches!(outcome, Err(Error::Ambiguous { .. })) {
            assert!(found.contains("before"), "an error means that nothing is there: {outcome:?}");
        }
        cluster.stop().await;
    }
}

const NAMES: [&str; 4] = ["n1", "n2", "n3", "n4"];

async fn written(member: &Member) -> Vec<Option<String>> {
    let mut found = Vec::new();
    for name in NAMES {
        found.push(get(member, name).await);
    }
    found
}

/// The staging record lists writes that came in one piece: recovery finds each, or misses one.
#[tokio::test(flavor = "multi_thread")]
async fn a_parallel_commit_of_packed_writes_is_recovered_either_way() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    member.db.split_at(&key("m")).await.unwrap();
    for (n, arrives) in [(7, true), (8, false)] {
        let value = if arrives { "committed" } else { "aborted" };
        let mut txn = meta(n, "a", member.db.clock().now());
        let names = if arrives { &NAMES[..] } else { &NAMES[..3] };
        let written_at = send(member, "n1", within(&txn), vec![put_many(3, names, value)]).await.unwrap();
        // The commit is staged where the writes are, or above.
        txn.write_ts = written_at.txn.unwrap().write_ts;
        let in_flight = NAMES.iter().map(|name| write(name, 3)).collect();
        send(member, "a", within(&txn), vec![put_many(3, &["a", "b"], value), end_with(true, in_flight)]).await.unwrap();
        // The gateway is gone: after three seconds somebody decides.
        assert!(written(member).await.iter().all(|found| found.as_deref() == Some("committed")), "{value}");
        assert_eq!(get(member, "b").await.as_deref(), Some("committed"), "{value}");
    }
    cluster.stop().await;
}

/// newest-write-stays
#[tokio::test(flavor = "multi_thread")]
async fn the_same_packed_writes_again_change_nothing() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    let txn = meta(7, "n1", member.db.clock().now());
    let at = |name: &str| member.store.engine().lock(key(name).as_bytes()).unwrap().expect("it has an intent").ts;
    send(member, "n1", within(&txn), vec![put_many(4, &NAMES, "new")]).await.unwrap();
    let first = at("n2");
    let again = send(member, "n1", within(&txn), vec![put_many(4, &NAMES, "twice")]).await.unwrap();
    assert_eq!(again.responses, [Response::Write { keys: 4 }]);
    assert_eq!((again.txn.unwrap().write_ts, at("n2")), (first, first));
    // A later one of some takes their place, and all of the earlier one that comes late are refused.
    let next = TxnMeta { write_ts: member.db.clock().now(), ..txn.clone() };
    send(member, "n1", within(&next), vec![put_many(5, &NAMES[1..3], "newer")]).await.unwrap();
    let late = send(member, "n1", within(&next), vec![put_many(4, &NAMES, "new")]).await;
    assert!(matches!(late, Err(KvError::Invalid { .. })), "{late:?}");
    send(member, "n1", within(&next), vec![end_with(true, Vec::new())]).await.unwrap();
    assert_eq!(written(member).await, ["new", "newer", "newer", "new"].map(|value| Some(value.to_owned())));
    // Somebody else's intent on one of them is waited for.
    let holder = meta(8, "n3", member.db.clock().now());
    send(member, "n3", within(&holder), vec![put_many(1, &["n3"], "of another")]).await.unwrap();
    let mut writer: Txn = member.db.begin(TxnOptions::default());
    NAMES.iter().for_each(|name| writer.put(key(name), "last".into()));
    (0..ROWS).for_each(|n| writer.put(row(n), "last".into()));
    let before = lock_waits(&cluster);
    let commit = tokio::spawn(async move { writer.commit().await });
    until("it waits for the intent", || lock_waits(&cluster) > before).await;
    assert!(!commit.is_finished());
    let header = within(&holder);
    send(member, "n3", header, vec![end_with(true, Vec::new())]).await.unwrap();
    let committed = Request::ResolveSpan {
        span: Span::point(key("n3")),
        txn: Box::new(holder.clone()),
        status: keys::TxnStatus::Committed,
        commit_ts: holder.write_ts,
    };
    send(member, "n3", Header::default(), vec![committed]).await.unwrap();
    commit.await.unwrap().unwrap();
    assert!(written(member).await.iter().all(|found| found.as_deref() == Some("last")));
    let mut reader = member.db.begin(TxnOptions::default());
    let own = reader.get(&row(5), Read { see: See::Now, ..Read::default() }).await.unwrap();
    assert_eq!(own.as_deref(), Some(&b"last"[..]));
    cluster.stop().await;
}

/// Reads all rows in a snapshot, as a statement looks for the rows that it changes.
async fn look(txn: &mut Txn) {
    let options = ScanOptions { read: Read { keep: Keep::Later, ..Read::default() }, ..ScanOptions::default() };
    let page = txn.scan(&rows_span(), options).await.unwrap();
    assert_eq!((page.rows.len(), page.resume), (ROWS, None));
}

fn lock_later() -> Read {
    Read { lock: Some(LockStrength::Update), keep: Keep::Later, ..Read::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_locked_as_they_were_read() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let db = cluster.members[0].db.clone();
    fill(&db, "0").await;
    let evens: Vec<Key> = (0..ROWS).step_by(2).map(row).collect();
    let mut bulk = db.begin(TxnOptions::default());
    look(&mut bulk).await;
    let at = bulk.read_ts();
    assert_eq!(bulk.lock_many(&evens, lock_later()).await.unwrap(), vec![true; evens.len()]);
    assert_eq!(bulk.read_ts(), at);
    // One that is not among them is free, one that is is waited for.
    increment(&db, 301).await;
    let before = lock_waits(&cluster);
    let waits = tokio::spawn({
        let db = db.clone();
        async move { increment(&db, 300).await }
    });
    until("it waits for the row", || lock_waits(&cluster) > before).await;
    evens.iter().for_each(|key| bulk.put(key.clone(), "7".into()));
    bulk.commit().await.unwrap();
    waits.await.unwrap();
    let found = rows(&db).await;
    assert_eq!([&found[300].1, &found[301].1, &found[302].1].map(String::as_str), ["8", "1", "7"]);
    // What the transaction itself has written is there, or not, as it says.
    let mut own = db.begin(TxnOptions::default());
    look(&mut own).await;
    own.delete(row(100));
    let is_there = own.lock_many(&evens, Read { see: See::Now, ..lock_later() }).await.unwrap();
    assert!((0..evens.len()).all(|n| is_there[n] == (n != 50)));
    cluster.stop().await;
}

/// written-is-known: what was written since the rows were read is met, by locks as by reads, also while it is provisional.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_have_changed_since_are_not_locked_as_they_were_read() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    let db = member.db.clone();
    fill(&db, "0").await;
    let all: Vec<Key> = (0..ROWS).map(row).collect();
    for deletes in [false, true] {
        let mut bulk = db.begin(TxnOptions::default());
        look(&mut bulk).await;
        let at = bulk.read_ts();
        let mut other = db.begin(TxnOptions::default());
        match deletes {
            true => other.delete(row(17)),
            false => other.put(row(17), "changed".into()),
        }
        other.commit().await.unwrap();
        // It has moved up for the row, or must begin anew; it never goes on below the change.
        match bulk.lock_many(&all, lock_later()).await {
            Ok(is_there) => {
                assert!(bulk.read_ts() > at);
                assert!((0..ROWS).all(|n| is_there[n] == !(deletes && n == 17)));
            }
            Err(error) => assert!(matches!(error, Error::Retry { .. }), "{error}"),
        }
    }
    fill(&db, "1").await;
    // An intent of somebody else's: it is waited for, and read again.
    let mut bulk = db.begin(TxnOptions::default());
    look(&mut bulk).await;
    let holder = meta(8, "r00040", db.clock().now());
    send(member, "r00040", within(&holder), vec![put_many(1, &["r00040"], "of another")]).await.unwrap();
    let before = lock_waits(&cluster);
    let locking = tokio::spawn(async move {
        let at = bulk.read_ts();
        bulk.lock_many(&all, lock_later()).await.map(|_| bulk.read_ts() > at)
    });
    until("it waits for the intent", || lock_waits(&cluster) > before).await;
    assert!(!locking.is_finished());
    send(member, "r00040", within(&holder), vec![end_with(true, Vec::new())]).await.unwrap();
    let committed = Request::ResolveSpan {
        span: Span::point(key("r00040")),
        txn: Box::new(holder.clone()),
        status: keys::TxnStatus::Committed,
        commit_ts: holder.write_ts,
    };
    send(member, "r00040", Header::default(), vec![committed]).await.unwrap();
    match locking.await.unwrap() {
        Ok(has_moved) => assert!(has_moved),
        Err(error) => assert!(matches!(error, Error::Retry { .. }), "{error}"),
    }
    cluster.stop().await;
}

/// Many rows of which one is locked: whoever wants them waits in its queue.
#[tokio::test(flavor = "multi_thread")]
async fn who_locks_many_rows_waits_for_the_one_that_is_held() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let db = cluster.members[0].db.clone();
    fill(&db, "0").await;
    let all: Vec<Key> = (0..ROWS).map(row).collect();
    for reads in [false, true] {
        let mut point = db.begin(TxnOptions::default());
        point.get(&row(42), Read { lock: Some(LockStrength::Update), ..Read::default() }).await.unwrap();
        let mut bulk = db.begin(TxnOptions::default());
        look(&mut bulk).await;
        let before = lock_waits(&cluster);
        let locking = tokio::spawn({
            let all = all.clone();
            async move {
                match reads {
                    true => bulk.get_many(&all, lock_later()).await.map(|found| found.len()),
                    false => bulk.lock_many(&all, lock_later()).await.map(|found| found.len()),
                }
            }
        });
        until("it waits for the row", || lock_waits(&cluster) > before).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!locking.is_finished());
        assert!(lock_waits(&cluster) < before + 10, "it waits, and does not ask again and again");
        point.rollback().await;
        assert_eq!(locking.await.unwrap().unwrap(), ROWS);
    }
    cluster.stop().await;
}
