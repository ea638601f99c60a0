//! Prepared transactions, attacked: by time, by pushers, by late messages of their coordinator, by restarts and leases that
//! move. What was promised is kept. Each test has the name of the invariant that it attacks (`replica`,
//! `evaluate/prepared.rs` and `kept_locks.rs`).

use std::{path::Path, time::Duration};

use hlc::Timestamp;
use keys::{LockStrength, Span, TxnMeta, TxnStatus, keyspace::kept_lock};
use kv::{Db, DbConfig, Error, PreparedTxn, Read, TxnOptions};
use replica::api::{Header, KvError, PushKind, Request, Response};
use rpc::MemoryConfig;
use tempfile::TempDir;
use testkit::{
    cluster::{Cluster, Member, StoreTuning},
    commands::{end, get, key, meta, send, within},
};

/// A transaction lives so long without a heartbeat.
const EXPIRY: Duration = Duration::from_millis(400);

async fn cluster(dir: &Path) -> Cluster {
    let cluster = Cluster::start_over_wires(
        dir,
        11,
        MemoryConfig::default(),
        &[0, 0, 0],
        DbConfig { heartbeat_interval: EXPIRY / 4, ..DbConfig::default() },
        StoreTuning { txn_expiry: EXPIRY, ..StoreTuning::default() },
        |_, transport| transport,
    )
    .await;
    cluster.members[0].db.split_at(&key("m")).await.unwrap();
    cluster
}

/// Once nothing of what came before is under way.
async fn restart(cluster: &mut Cluster, place: usize) {
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.restart(place).await;
}

async fn put(db: &Db, name: &str, value: &str) -> Result<Timestamp, Error> {
    let mut txn = db.begin(TxnOptions::default());
    txn.set_lock_timeout(Some(Duration::from_secs(1)));
    let read = Read { lock: Some(LockStrength::Update), lock_absent: true, ..Read::default() };
    txn.get(&key(name), read).await?;
    txn.put(key(name), value.as_bytes().to_vec().into());
    txn.commit().await
}

/// As often as leases are on their way.
async fn try_put(db: &Db, name: &str, value: &str) -> Result<Timestamp, Error> {
    loop {
        match put(db, name, value).await {
            Err(Error::Retry { .. } | Error::Unavailable { .. } | Error::Ambiguous { .. }) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            outcome => return outcome,
        }
    }
}

async fn find(db: &Db, gid: &str) -> Option<PreparedTxn> {
    loop {
        match db.find_prepared(gid).await {
            Ok(found) => return found,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn end_prepared(db: &Db, gid: &str, commit: bool) -> bool {
    let found = find(db, gid).await.expect("it is prepared");
    loop {
        match db.end_prepared(&found, commit).await {
            Ok(ended) => return ended,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn is_held(outcome: &Result<Timestamp, Error>) -> bool {
    matches!(outcome, Err(Error::LockTimeout { .. }))
}

async fn status(member: &Member, meta: &TxnMeta, kind: PushKind) -> TxnStatus {
    let push = Request::PushTxn { pushee: Box::new(meta.clone()), pusher: None, dependents: Vec::new(), kind };
    let response = send(member, "a", Header::default(), vec![push]).await.unwrap();
    match &response.responses[..] {
        [Response::PushTxn(pushed)] => pushed.status,
        other => panic!("{other:?}"),
    }
}

/// No pusher, no late message, no garbage collection and no restart ends it.
#[tokio::test(flavor = "multi_thread")]
async fn prepared_stays() {
    let dir = TempDir::new().unwrap();
    let mut cluster = cluster(dir.path()).await;
    for name in ["a", "n"] {
        put(&cluster.members[0].db, name, "old").await.unwrap();
    }
    let mut txn = cluster.members[0].db.begin(TxnOptions::default());
    let (id, before) = (txn.id(), txn.read_ts());
    // Its anchor.
    txn.get(&key("a"), Read { lock: Some(LockStrength::Update), ..Read::default() }).await.unwrap();
    for name in ["a", "n"] {
        txn.put(key(name), name.as_bytes().to_vec().into());
    }
    let at = txn.prepare("g", b"info").await.unwrap().expect("the name is free");
    drop(txn);
    // The name is taken, and nobody else's.
    let mut other = cluster.members[1].db.begin(TxnOptions::default());
    other.put(key("z"), b"z".to_vec().into());
    assert_eq!(other.prepare("g", b"").await.unwrap(), None);
    drop(other);
    assert!(is_held(&put(&cluster.members[1].db, "a", "other").await), "a writer waits");
    // Who reads below passes.
    let mut below = cluster.members[2].db.begin(TxnOptions { as_of: Some(before), ..TxnOptions::default() });
    assert_eq!(below.get(&key("a"), Read::default()).await.unwrap().as_deref(), Some(&b"old"[..]));

    // Versions from before are garbage by now, and it has long expired.
    tokio::time::sleep(Duration::from_secs(9)).await;
    let leader = cluster.leader_of(&key("a")).expect("the range is led");
    let member = &cluster.members[leader];
    let lock = member.store.engine().lock(key("a").as_bytes()).unwrap().expect("the intent is there");
    let meta = lock.txn;
    assert_eq!(meta.id, id);
    assert_eq!(meta.anchor, key("a"));
    for kind in [PushKind::Query, PushKind::Abort] {
        assert_eq!(status(member, &meta, kind).await, TxnStatus::Prepared);
    }
    let late = send(member, "a", within(&meta), vec![end(false, &[])]).await.unwrap();
    assert!(matches!(late.responses[..], [Response::EndTxn { status: TxnStatus::Prepared, .. }]), "{late:?}");
    let commit = send(member, "a", within(&meta), vec![end(true, &[])]).await;
    assert!(matches!(commit, Err(KvError::Invalid { .. })), "it is committed by its name alone: {commit:?}");
    let recovered = Request::RecoverTxn { txn: Box::new(TxnMeta { write_ts: at, ..meta.clone() }), committed: false };
    let forgotten = Request::ForgetTxn { anchor: meta.anchor.clone(), txn_id: id };
    for request in [recovered, forgotten] {
        send(member, "a", Header::default(), vec![request]).await.unwrap();
    }
    assert_eq!(status(member, &meta, PushKind::Query).await, TxnStatus::Prepared);
    for place in 0..3 {
        restart(&mut cluster, place).await;
        assert!(is_held(&try_put(&cluster.members[(place + 1) % 3].db, "n", "other").await), "after a restart");
    }
    let db = cluster.members[2].db.clone();
    assert_eq!(find(&db, "g").await.map(|found| (found.id(), found.info)), Some((id, b"info".to_vec().into())));
    assert!(end_prepared(&db, "g", true).await);
    assert!(find(&db, "g").await.is_none(), "its name is free");
    for member in &cluster.members {
        assert_eq!((get(member, "a").await.as_deref(), get(member, "n").await.as_deref()), (Some("a"), Some("n")));
    }
    cluster.stop().await;
}

/// What it has read holds where it commits, whatever is written meanwhile, and by whichever leaseholder.
#[tokio::test(flavor = "multi_thread")]
async fn prepared_as_read() {
    let dir = TempDir::new().unwrap();
    let mut cluster = cluster(dir.path()).await;
    for name in ["r", "w"] {
        put(&cluster.members[0].db, name, "old").await.unwrap();
    }
    let mut txn = cluster.members[0].db.begin(TxnOptions::default());
    assert_eq!(txn.get(&key("r"), Read::default()).await.unwrap().as_deref(), Some(&b"old"[..]));
    txn.put(key("w"), b"new".to_vec().into());
    let at = txn.prepare("g", b"").await.unwrap().expect("the name is free");
    let leader = cluster.leader_of(&key("r")).expect("the range is led");
    restart(&mut cluster, leader).await;
    let db = cluster.members[(leader + 1) % 3].db.clone();
    let written = try_put(&db, "r", "later").await.unwrap();
    assert!(written > at, "prepared-as-read");
    assert!(end_prepared(&db, "g", true).await);
    let mut seen = db.begin(TxnOptions { as_of: Some(at), ..TxnOptions::default() });
    let (r, w) = (seen.get(&key("r"), Read::default()).await.unwrap(), seen.get(&key("w"), Read::default()).await.unwrap());
    assert_eq!((r.as_deref(), w.as_deref()), (Some(&b"old"[..]), Some(&b"new"[..])), "prepared-as-read");

    // And where it does not hold any more, it is not prepared.
    let mut txn = db.begin(TxnOptions::default());
    txn.get(&key("r"), Read::default()).await.unwrap();
    txn.put(key("w"), b"newest".to_vec().into());
    try_put(&db, "r", "last").await.unwrap();
    // Above what was read.
    assert!(try_put(&db, "w", "other").await.is_ok());
    assert!(matches!(txn.prepare("h", b"").await, Err(Error::Retry { .. })), "what it has read was changed");
    drop(txn);
    assert!(find(&db, "h").await.is_none());
    assert_eq!(get(&cluster.members[0], "w").await.as_deref(), Some("other"));
    cluster.stop().await;
}

/// A row that it has locked and not written is locked at every leaseholder.
#[tokio::test(flavor = "multi_thread")]
async fn prepared_keeps_locks() {
    let dir = TempDir::new().unwrap();
    let mut cluster = cluster(dir.path()).await;
    for name in ["l", "s"] {
        put(&cluster.members[0].db, name, "old").await.unwrap();
    }
    let mut txn = cluster.members[0].db.begin(TxnOptions::default());
    for (name, strength) in [("l", LockStrength::Update), ("s", LockStrength::Share)] {
        txn.get(&key(name), Read { lock: Some(strength), ..Read::default() }).await.unwrap();
    }
    let id = txn.id();
    txn.prepare("g", b"").await.unwrap().expect("the name is free");
    drop(txn);
    let share = async |db: Db| loop {
        let mut txn = db.begin(TxnOptions::default());
        txn.set_lock_timeout(Some(Duration::from_secs(1)));
        match txn.get(&key("s"), Read { lock: Some(LockStrength::Share), ..Read::default() }).await {
            Ok(_) => break true,
            Err(Error::LockTimeout { .. }) => break false,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    for round in 0..3 {
        match round {
            0 => {}
            1 => {
                let leader = cluster.leader_of(&key("l")).expect("the range is led");
                cluster.transfer_lease(leader, &key("l"), (leader + 1) % 3).await;
            }
            _ => {
                cluster.members[0].db.split_at(&key("p")).await.unwrap();
                for place in 0..3 {
                    restart(&mut cluster, place).await;
                }
            }
        }
        let db = cluster.members[round].db.clone();
        for name in ["l", "s"] {
            assert!(is_held(&try_put(&db, name, "other").await), "prepared-keeps-locks: {name} in round {round}");
        }
        assert!(share(db).await, "it shares what it has locked FOR SHARE");
        assert_eq!(get(&cluster.members[round], "l").await.as_deref(), Some("old"), "reads pass");
    }
    let db = cluster.members[1].db.clone();
    assert!(end_prepared(&db, "g", false).await);
    for name in ["l", "s"] {
        assert!(try_put(&db, name, "other").await.is_ok(), "free after ROLLBACK PREPARED");
    }
    // What was written down for it is gone.
    let leader = cluster.leader_of(&key("l")).expect("the range is led");
    for name in ["l", "s"] {
        let filed = keys::keyspace::kept_lock(&key(name), id);
        assert_eq!(cluster.members[leader].store.engine().get_local(filed.as_bytes()).unwrap(), None);
    }
    cluster.stop().await;
}

/// A record that an attempt left behind which was given up is in nobody's way: not in that of who has the row after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_lock_that_is_out_of_date_displaces_none() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(dir.path()).await;
    let db = cluster.members[0].db.clone();
    for name in ["a", "b"] {
        put(&db, name, "old").await.unwrap();
    }
    // It has locked both rows and written that down, and its node dies before it is prepared.
    let leader = cluster.leader_of(&key("a")).expect("the range is led");
    let member = &cluster.members[leader];
    let dead = meta(1, "a", db.clock().now());
    let lock = |name: &str| Request::Get { key: key(name), lock: Some(LockStrength::Update) };
    send(member, "a", within(&dead), vec![lock("a"), lock("b")]).await.unwrap();
    let spans = ["a", "b"].map(|name| Span::point(key(name))).to_vec();
    send(member, "a", within(&dead), vec![Request::KeepLocks { spans }]).await.unwrap();
    let is_kept = |member: &Member, name: &str, id| {
        member.store.engine().get_local(kept_lock(&key(name), id).as_bytes()).unwrap().is_some()
    };
    assert!(is_kept(member, "a", dead.id) && is_kept(member, "b", dead.id));
    // Who waits for one of the rows finds that it is dead; the other is free as well then.
    tokio::time::sleep(2 * EXPIRY).await;
    try_put(&db, "a", "new").await.unwrap();
    let mut txn = db.begin(TxnOptions::default());
    txn.get(&key("b"), Read { lock: Some(LockStrength::Update), ..Read::default() }).await.unwrap();
    let id = txn.id();
    txn.prepare("g", b"").await.unwrap().expect("the name is free");
    drop(txn);
    assert!(is_kept(member, "b", id) && !is_kept(member, "b", dead.id), "what is out of date is gone");
    cluster.transfer_lease(leader, &key("b"), (leader + 1) % 3).await;
    assert!(is_held(&try_put(&db, "b", "other").await), "prepared-keeps-locks");
    assert!(end_prepared(&db, "g", true).await);
    try_put(&db, "b", "other").await.unwrap();
    cluster.stop().await;
}

/// Who dies before it has prepared leaves a name that others may have.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_free_when_its_transaction_never_was_prepared() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(dir.path()).await;
    let db = cluster.members[0].db.clone();
    for round in 0..20_u64 {
        let mut txn = db.begin(TxnOptions::default());
        txn.put(key("a"), b"a".to_vec().into());
        // Cut short somewhere on its way.
        let cut = tokio::time::timeout(Duration::from_micros(300 * round), txn.prepare("g", b"")).await;
        drop(txn);
        if let Some(found) = find(&db, "g").await {
            // It was on its way to be prepared, and was, though nobody heard of it.
            assert!(cut.is_err() || matches!(cut, Ok(Ok(Some(_)))), "{cut:?}");
            db.end_prepared(&found, round % 2 == 0).await.unwrap();
        }
    }
    tokio::time::sleep(2 * EXPIRY).await;
    let mut txn = db.begin(TxnOptions::default());
    txn.put(key("a"), b"last".to_vec().into());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while txn.prepare("g", b"").await.unwrap().is_none() {
        assert!(tokio::time::Instant::now() < deadline, "the name is free again");
        tokio::time::sleep(Duration::from_millis(100)).await;
        if let Some(found) = find(&db, "g").await {
            db.end_prepared(&found, false).await.unwrap();
        }
        txn = db.begin(TxnOptions::default());
        txn.put(key("a"), b"last".to_vec().into());
    }
    assert!(end_prepared(&db, "g", true).await);
    assert_eq!(get(&cluster.members[0], "a").await.as_deref(), Some("last"));
    cluster.stop().await;
}
