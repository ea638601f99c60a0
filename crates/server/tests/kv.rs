//! Transactions over real stores and real connections, without SQL.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use keys::Key;
use kv::{Db, Error, LockStrength, Read, ScanOptions, TxnOptions, WaitPolicy};
use server::{KvNode, NodeConfig};
use tempfile::TempDir;

fn key(name: &str) -> Key {
    let mut bytes = vec![0x10];
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    bytes.into()
}

fn config(dir: &TempDir, name: &str) -> NodeConfig {
    NodeConfig {
        rpc_addr: "127.0.0.1:0".into(),
        sql_addr: "127.0.0.1:0".into(),
        http_addr: "127.0.0.1:0".into(),
        ..NodeConfig::new(dir.path().join(name))
    }
}

async fn put(db: &Db, name: &str, value: &str) {
    // Writing the same value again is harmless, so an unknown outcome is answered by another attempt.
    for attempt in 0.. {
        let mut txn = db.begin(TxnOptions::default());
        txn.put(key(name), Bytes::copy_from_slice(value.as_bytes()));
        match txn.commit().await {
            Ok(_) => return,
            Err(Error::Ambiguous { .. } | Error::Retry { .. }) if attempt < 20 => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn get(db: &Db, name: &str) -> Option<Bytes> {
    let mut txn = db.begin(TxnOptions::default());
    let value = txn.get(&key(name), Read::default()).await.unwrap();
    txn.commit().await.unwrap();
    value
}

fn account(n: usize) -> String {
    format!("account/{n:03}")
}

/// Moves money between random accounts; the sum must not change.
async fn transfers(db: Db, seed: u64, count: usize) -> usize {
    use rand::{Rng, SeedableRng};
    let mut rng = rand::rngs::SmallRng::seed_from_u64(seed);
    let mut restarts = 0;
    for _ in 0..count {
        let (from, to) = (rng.random_range(0..10), rng.random_range(0..10));
        if from == to {
            continue;
        }
        let mut txn = db.begin(TxnOptions::default());
        loop {
            let outcome: Result<(), Error> = async {
                let read = Read { lock: Some(LockStrength::Update), lock_absent: true, ..Read::default() };
                let mut balances = [0i64; 2];
                for (slot, n) in [(0, from), (1, to)] {
                    let value = txn.get(&key(&account(n)), read).await?.expect("accounts are there");
                    balances[slot] = std::str::from_utf8(&value).unwrap().parse().unwrap();
                }
                txn.put(key(&account(from)), Bytes::from((balances[0] - 1).to_string()));
                txn.put(key(&account(to)), Bytes::from((balances[1] + 1).to_string()));
                txn.commit().await.map(|_| ())
            }
            .await;
            match outcome {
                Ok(()) => break,
                Err(error @ (Error::Retry { .. } | Error::Deadlock { .. })) => {
                    restarts += 1;
                    if matches!(error, Error::Deadlock { .. }) {
                        txn = db.begin(TxnOptions::default());
                    } else {
                        txn.restart(&error);
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    restarts
}

async fn sum(db: &Db) -> i64 {
    let mut txn = db.begin(TxnOptions::default());
    let span = keys::Span::new(key("account/"), key("account0"));
    let mut total = 0;
    let mut rest = Some(span);
    while let Some(span) = rest {
        let page = txn.scan(&span, ScanOptions::default()).await.unwrap();
        for (_, value) in page.rows.iter() {
            total += std::str::from_utf8(value).unwrap().parse::<i64>().unwrap();
        }
        rest = page.resume;
    }
    total
}

/// Adds one to each of the keys, each locked where it is read.
async fn increment_in_order(txn: &mut kv::Txn, keys: &[String]) -> Result<(), Error> {
    for name in keys {
        let read = Read { lock: Some(LockStrength::Update), lock_absent: true, ..Read::default() };
        let value = txn.get(&key(name), read).await?;
        let count: u64 = value.map_or(0, |value| std::str::from_utf8(&value).unwrap().parse().unwrap());
        txn.put(key(name), Bytes::from((count + 1).to_string()));
    }
    txn.commit().await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_there_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let config = config(&dir, "one");
    let node = KvNode::start(&config).await.unwrap();
    put(&node.db, "a", "one").await;
    put(&node.db, "b", "two").await;
    assert_eq!(get(&node.db, "a").await.unwrap(), "one");
    assert_eq!(node.db.increment(&keys::keyspace::system("id/x"), 5).await.unwrap(), 5);
    node.stop().await;
    drop(node);

    // What still runs in the background lets go of the directory within moments.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let node = loop {
        assert!(tokio::time::Instant::now() < deadline, "the directory is never let go");
        match KvNode::start(&config).await {
            Ok(node) => break node,
            Err(error) if error.to_string().contains("in use") || error.to_string().contains("lock hold") => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(get(&node.db, "a").await.unwrap(), "one");
    assert_eq!(get(&node.db, "b").await.unwrap(), "two");
    assert_eq!(get(&node.db, "c").await, None);
    assert_eq!(node.db.increment(&keys::keyspace::system("id/x"), 5).await.unwrap(), 10);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_transfers_keep_the_sum_in_one_range_and_across_ranges() {
    let dir = TempDir::new().unwrap();
    let node = KvNode::start(&config(&dir, "one")).await.unwrap();
    for n in 0..10 {
        put(&node.db, &account(n), "100").await;
    }
    for round in 0..2 {
        let workers: Vec<_> = (0..8)
            .map(|worker| tokio::spawn(transfers(node.db.clone(), round * 100 + worker, 40)))
            .collect();
        for worker in workers {
            tokio::time::timeout(Duration::from_secs(60), worker).await.expect("no transfer hangs").unwrap();
        }
        assert_eq!(sum(&node.db).await, 1000);
        // Then the same with the accounts in four ranges.
        for n in [3, 5, 7] {
            node.db.split_at(&key(&account(n))).await.unwrap();
        }
    }
    node.stop().await;
}

/// TPC-B's pattern: many want a few keys, all in the same order, so nobody ever waits in a circle; and nothing that a
/// transaction has locked can change beneath it.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_in_one_order_ends_nobody_and_restarts_nobody() {
    const CLIENTS: u64 = 16;
    const ROUNDS: u64 = 20;
    let dir = TempDir::new().unwrap();
    let node = KvNode::start(&config(&dir, "one")).await.unwrap();
    let clients = (0..CLIENTS).map(|client| {
        let db = node.db.clone();
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                let keys = [format!("own/{client}"), format!("teller/{}", (client + round) % 5), "total".to_owned()];
                increment_in_order(&mut db.begin(TxnOptions::default()), &keys).await?;
            }
            Ok::<(), Error>(())
        })
    });
    for client in futures::future::join_all(clients).await {
        client.unwrap().expect("who holds its locks commits");
    }
    assert_eq!(get(&node.db, "total").await.unwrap(), (CLIENTS * ROUNDS).to_string());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_of_a_transaction_that_wrote_nothing_are_gone_when_it_has_ended() {
    let dir = TempDir::new().unwrap();
    let node = KvNode::start(&config(&dir, "one")).await.unwrap();
    put(&node.db, "a", "one").await;
    let read = Read { lock: Some(LockStrength::Update), wait: kv::WaitPolicy::SkipLocked, ..Read::default() };
    for _ in 0..200 {
        let mut txn = node.db.begin(TxnOptions::default());
        assert_eq!(txn.get(&key("a"), read).await.unwrap().unwrap(), "one");
        txn.commit().await.unwrap();
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn held_as_stored() {
    let dir = TempDir::new().unwrap();
    let mut config = config(&dir, "one");
    config.kv.spill_bytes = 1 << 10;
    let node = KvNode::start(&config).await.unwrap();
    put(&node.db, "a", "one").await;
    let served = || node.db.metrics().batches_local.load(std::sync::atomic::Ordering::Relaxed);
    let (plain, lock) = (Read::default(), Read { lock: Some(LockStrength::NoKeyUpdate), ..Read::default() });
    let mut txn = node.db.begin(TxnOptions::default());
    assert_eq!(txn.get(&key("a"), lock).await.unwrap().unwrap(), "one");
    let before = served();
    assert_eq!(txn.get(&key("a"), lock).await.unwrap().unwrap(), "one");
    assert_eq!(txn.get(&key("a"), plain).await.unwrap().unwrap(), "one");
    // What the transaction writes is read instead, until it is taken back.
    let savepoint = txn.savepoint();
    txn.put(key("a"), Bytes::from_static(b"two"));
    assert_eq!(txn.get(&key("a"), lock).await.unwrap().unwrap(), "one", "the statement began before");
    txn.begin_statement();
    assert_eq!(txn.get(&key("a"), lock).await.unwrap().unwrap(), "two");
    txn.rollback_to(&savepoint);
    txn.release(&savepoint);
    assert_eq!(txn.get(&key("a"), lock).await.unwrap().unwrap(), "one");
    assert_eq!(served(), before, "no request for what is held");
    // A stronger lock must be asked for.
    txn.get(&key("a"), Read { lock: Some(LockStrength::Update), ..Read::default() }).await.unwrap();
    assert_eq!(served(), before + 1);
    // Once the buffer is written out, an intent is what is stored.
    txn.put(key("a"), Bytes::from_static(b"three"));
    txn.put(key("b"), Bytes::from(vec![0; 4 << 10]));
    txn.flush_if_large().await.unwrap();
    txn.begin_statement();
    assert_eq!(txn.get(&key("a"), lock).await.unwrap().unwrap(), "three");
    txn.commit().await.unwrap();
    assert_eq!(get(&node.db, "a").await.unwrap(), "three");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_hold_is_not_looked_at() {
    let dir = TempDir::new().unwrap();
    let node = KvNode::start(&config(&dir, "one")).await.unwrap();
    for name in ["a", "b", "c", "d", "e"] {
        put(&node.db, name, name).await;
    }
    let lock = Read { lock: Some(LockStrength::Update), ..Read::default() };
    let mut holder = node.db.begin(TxnOptions::default());
    for name in ["a", "b", "d"] {
        holder.get(&key(name), lock).await.unwrap();
    }
    let looks = |lock| ScanOptions {
        read: Read { keep: kv::Keep::Never, lock, ..Read::default() },
        max_rows: 1,
        ..ScanOptions::default()
    };
    let span = keys::Span::new(key("a"), key("z"));
    let names = |page: kv::ScanPage| page.rows.iter().map(|(_, value)| value[0]).collect::<Vec<u8>>();
    let mut txn = node.db.begin(TxnOptions::default());
    // As many more are looked at as somebody holds.
    assert_eq!(names(txn.scan(&span, looks(lock.lock)).await.unwrap()), b"c");
    assert_eq!(names(txn.scan(&span, looks(Some(LockStrength::KeyShare))).await.unwrap()), b"c");
    assert_eq!(names(txn.scan(&span, looks(None)).await.unwrap()), b"a");
    assert_eq!(names(holder.scan(&span, looks(lock.lock)).await.unwrap()), b"abcd", "its own are free to it");
    txn.rollback().await;
    holder.rollback().await;
    // Once it may have the lock itself, nobody holds it.
    let mut txn = node.db.begin(TxnOptions::default());
    txn.get(&key("a"), lock).await.unwrap();
    assert_eq!(names(txn.scan(&span, looks(lock.lock)).await.unwrap())[0], b'a');
    txn.rollback().await;
    node.stop().await;
}

/// Of those who look for free rows each gets others, in one request, and holds nothing else of the span.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_free_rows_are_locked_in_one_request() {
    let dir = TempDir::new().unwrap();
    let node = KvNode::start(&config(&dir, "one")).await.unwrap();
    for name in ["a", "b", "c", "d", "e", "f"] {
        put(&node.db, name, name).await;
    }
    let served = || node.db.metrics().batches_local.load(std::sync::atomic::Ordering::Relaxed);
    let lock = Read { lock: Some(LockStrength::Update), wait: WaitPolicy::SkipLocked, ..Read::default() };
    let span = keys::Span::new(key("a"), key("z"));
    let names = |rows: &storage::KvRows| rows.iter().map(|(_, value)| value[0]).collect::<Vec<u8>>();
    let mut holder = node.db.begin(TxnOptions::default());
    holder.get(&key("a"), lock).await.unwrap();
    holder.get(&key("c"), lock).await.unwrap();

    let mut first = node.db.begin(TxnOptions::default());
    let before = served();
    let (rows, left) = first.lock_next(&span, false, lock, 2).await.unwrap().unwrap();
    assert_eq!((names(&rows), served()), (b"bd".to_vec(), before + 1));
    assert_eq!(left, Some(keys::Span::new(key("d").next(), key("z"))), "what stands behind was not locked");
    // Backwards, and as many as there are.
    let mut second = node.db.begin(TxnOptions::default());
    let (rows, left) = second.lock_next(&span, true, lock, 1).await.unwrap().unwrap();
    assert_eq!((names(&rows), left), (b"f".to_vec(), Some(keys::Span::new(key("a"), key("f")))));
    let (rows, left) = second.lock_next(&span, false, lock, 9).await.unwrap().unwrap();
    assert_eq!((names(&rows), left), (b"ef".to_vec(), None), "one's own are free to oneself");
    let mut third = node.db.begin(TxnOptions::default());
    let (rows, left) = third.lock_next(&span, false, lock, 1).await.unwrap().unwrap();
    assert!(rows.is_empty() && left.is_none(), "all are held");
    third.rollback().await;
    // Between the rows nothing is held.
    put(&node.db, "dd", "x").await;

    // What is locked is read: a change of it would be found out, one of what was passed over is none of its business.
    let reads = served();
    assert_eq!(first.get(&key("b"), lock).await.unwrap().unwrap(), "b");
    assert_eq!(served(), reads);
    first.delete(key("b"));
    assert!(first.lock_next(&span, false, lock, 1).await.unwrap().is_none(), "its own writes are in the way");
    holder.put(key("a"), Bytes::from_static(b"A"));
    holder.commit().await.unwrap();
    first.commit().await.unwrap();
    second.commit().await.unwrap();
    // All is free again, and what came in between is there.
    let mut last = node.db.begin(TxnOptions::default());
    let (rows, _) = last.lock_next(&span, false, lock, 9).await.unwrap().unwrap();
    assert_eq!(names(&rows), b"Acdxef");
    last.rollback().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crossed_pair_of_locks_has_one_victim() {
    let dir = TempDir::new().unwrap();
    let node = KvNode::start(&config(&dir, "one")).await.unwrap();
    let lock = Read { lock: Some(LockStrength::Update), lock_absent: true, ..Read::default() };
    let (mut one, mut two) = (node.db.begin(TxnOptions::default()), node.db.begin(TxnOptions::default()));
    one.get(&key("a"), lock).await.unwrap();
    two.get(&key("b"), lock).await.unwrap();
    let first = tokio::spawn(async move {
        let outcome = one.get(&key("b"), lock).await;
        one.rollback().await;
        outcome
    });
    let second = tokio::spawn(async move {
        let outcome = two.get(&key("a"), lock).await;
        two.rollback().await;
        outcome
    });
    let outcomes = [
        tokio::time::timeout(Duration::from_secs(10), first).await.unwrap().unwrap(),
        tokio::time::timeout(Duration::from_secs(10), second).await.unwrap().unwrap(),
    ];
    let victims = outcomes.iter().filter(|outcome| matches!(outcome, Err(Error::Deadlock { .. }))).count();
    assert_eq!(victims, 1, "{outcomes:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_replicate_and_survive_one() {
    let dir = TempDir::new().unwrap();
    let one = KvNode::start(&config(&dir, "one")).await.unwrap();
    put(&one.db, "a", "before").await;
    let join = vec![one.transport.local_addr().to_string()];
    let mut nodes = vec![one];
    for name in ["two", "three"] {
        let config = NodeConfig { join: join.clone(), ..config(&dir, name) };
        nodes.push(KvNode::start(&config).await.unwrap());
    }
    // Up-replication happens by itself.
    tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let descriptor = nodes[0].store.replica(keys::RangeId::new(1)).and_then(|replica| replica.descriptor());
            if descriptor.is_some_and(|descriptor| descriptor.voters().count() == 3) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("three replicas");
    put(&nodes[1].db, "b", "from two").await;
    assert_eq!(get(&nodes[2].db, "a").await.unwrap(), "before");
    assert_eq!(get(&nodes[2].db, "b").await.unwrap(), "from two");

    // The leaseholder goes without a word.
    let first = nodes.remove(0);
    first.transport.shutdown();
    first.store.raft().stop().await;
    let db = nodes[0].db.clone();
    tokio::time::timeout(Duration::from_secs(20), put(&db, "c", "after")).await.expect("another leads");
    assert_eq!(get(&nodes[1].db, "c").await.unwrap(), "after");
    assert_eq!(get(&nodes[1].db, "b").await.unwrap(), "from two");
    drop(first);
    for node in nodes {
        node.store.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_directory_and_a_taken_port_are_said_so() {
    let dir = TempDir::new().unwrap();
    let config_one = config(&dir, "one");
    let node = KvNode::start(&config_one).await.unwrap();
    let error = KvNode::start(&config_one).await.err().unwrap().to_string();
    assert!(error.contains("in use by another process"), "{error}");
    let taken = NodeConfig { rpc_addr: node.transport.local_addr().to_string(), ..config(&dir, "two") };
    let error = KvNode::start(&taken).await.err().unwrap().to_string();
    assert!(error.contains("cannot listen"), "{error}");
    node.stop().await;
    let _kept = Arc::new(node);
}

/// *ahead-is-the-same-page*: page by page, a scan that reads ahead answers what one that does not answers, whatever its
/// transaction writes and others commit between two pages.
#[tokio::test(flavor = "multi_thread")]
async fn ahead_is_the_same_page() {
    let dir = TempDir::new().unwrap();
    let mut config = config(&dir, "one");
    config.kv.spill_bytes = 1 << 10;
    let node = KvNode::start(&config).await.unwrap();
    let name = |n: usize| format!("row/{n:04}");
    let mut load = node.db.begin(TxnOptions::default());
    (0..1000).for_each(|n| load.put(key(&name(n)), Bytes::from(n.to_string())));
    load.commit().await.unwrap();

    let all = keys::Span::new(key("row/"), key("row/9999"));
    for reverse in [false, true] {
        let asked = || node.db.metrics().pages_ahead.load(std::sync::atomic::Ordering::Relaxed);
        let before = asked();
        let options = ScanOptions { max_rows: 100, reverse, ..ScanOptions::default() };
        let mut txn = node.db.begin(TxnOptions::default());
        let mut ahead = kv::ReadAhead::default();
        let (mut seen, mut rest) = (Vec::new(), Some(all.clone()));
        let mut pages = 0;
        while let Some(span) = rest {
            let page = txn.scan_ahead(&span, options, &mut ahead).await.unwrap();
            seen.extend(page.rows.iter().map(|(_, value)| String::from_utf8(value.to_vec()).unwrap()));
            rest = page.resume;
            pages += 1;
            let next = |by: usize| if reverse { 1000 - pages * 100 - by } else { pages * 100 + by - 1 };
            match pages {
                // Of the page that is under way.
                3 => {
                    txn.put(key(&name(next(10))), Bytes::from_static(b"own"));
                    txn.delete(key(&name(next(20))));
                    txn.begin_statement();
                }
                // Others' changes come later than the snapshot.
                5 => put(&node.db, &name(next(30)), "other").await,
                // What was in the buffer is now an intent.
                7 => {
                    txn.put(key(&name(next(40))), Bytes::from(vec![b'x'; 4 << 10]));
                    txn.flush_if_large().await.unwrap();
                    txn.begin_statement();
                }
                _ => {}
            }
        }
        let at = |page: usize, by: usize| if reverse { 1000 - page * 100 - by } else { page * 100 + by - 1 };
        let mut expected: Vec<(usize, String)> = (0..1000).map(|n| (n, n.to_string())).collect();
        expected[at(3, 10)].1 = "own".into();
        expected[at(7, 40)].1 = "x".repeat(4 << 10);
        expected.remove(at(3, 20));
        if reverse {
            expected.reverse();
        }
        let expected: Vec<String> = expected.into_iter().map(|(_, value)| value).collect();
        assert_eq!(seen, expected, "reverse: {reverse}");
        assert!(asked() - before >= 5, "pages were asked for ahead");
        txn.rollback().await;
        put(&node.db, &name(at(5, 30)), &at(5, 30).to_string()).await;
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_spans_are_read_as_one_by_one() {
    let dir = TempDir::new().unwrap();
    let node = KvNode::start(&config(&dir, "one")).await.unwrap();
    let name = |n: usize| format!("row/{n:05}");
    let mut load = node.db.begin(TxnOptions::default());
    (0..5000).for_each(|n| load.put(key(&name(n)), Bytes::from(vec![b'a' + (n % 26) as u8; 40])));
    load.commit().await.unwrap();
    node.db.split_at(&key(&name(2500))).await.unwrap();

    let mut txn = node.db.begin(TxnOptions::default());
    txn.put(key(&name(77)), Bytes::from_static(b"own"));
    txn.delete(key(&name(2501)));
    txn.begin_statement();
    let span = |from: usize, to: usize| keys::Span::new(key(&name(from)), key(&name(to)));
    // Short ones, one that is more than a page, one over two ranges, an empty one, the same one twice.
    let mut spans: Vec<keys::Span> = (0..300).map(|n| span(n * 16, n * 16 + n % 5)).collect();
    spans.extend([span(100, 2300), span(2400, 2600), span(9, 9), span(70, 80), span(70, 80)]);
    let many = txn.scan_many(&spans, Read::default()).await.unwrap();
    assert_eq!(many.len(), spans.len());
    for (span, rows) in spans.iter().zip(&many) {
        let (mut one, mut rest) = (Vec::new(), Some(span.clone()));
        while let Some(left) = rest {
            let page = txn.scan(&left, ScanOptions::default()).await.unwrap();
            one.extend(page.rows.iter().map(|(key, value)| (key.to_vec(), value.to_vec())));
            rest = page.resume;
        }
        let rows: Vec<(Vec<u8>, Vec<u8>)> = rows.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        assert_eq!(rows, one, "{span:?}");
    }
    // As much at once as the reader asks for.
    let mut parts: Vec<Vec<Bytes>> = vec![Vec::new(); spans.len()];
    let mut todo: Vec<(usize, keys::Span)> = spans.iter().cloned().enumerate().collect();
    let mut looks = 0;
    while !todo.is_empty() {
        let (pages, left) = txn.scan_some(todo, spans.len(), 500, Read::default()).await.unwrap();
        parts.iter_mut().zip(&pages).for_each(|(part, page)| {
            part.extend(page.iter().map(|(key, _)| Bytes::copy_from_slice(key)));
        });
        (todo, looks) = (left, looks + 1);
    }
    assert!(looks > 1);
    for (part, whole) in parts.iter().zip(&many) {
        let whole: Vec<Bytes> = whole.iter().map(|(key, _)| Bytes::copy_from_slice(key)).collect();
        assert_eq!(*part, whole);
    }
    // All of it is among the reads: a change by somebody else that a refresh would meet is met.
    put(&node.db, &name(2550), "changed").await;
    txn.put(key("elsewhere"), Bytes::from_static(b"1"));
    assert!(matches!(txn.refresh_to_now().await, Err(Error::Retry { .. })), "reads-tracked");
    txn.rollback().await;
    node.stop().await;
}
