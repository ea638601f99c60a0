//! Isolation levels below serializable: what counts at the commit, and what does not.

use std::time::Duration;

use keys::LockStrength;
use kv::{DbConfig, Error, Isolation, Read, Txn, TxnOptions};
use rpc::MemoryConfig;
use tempfile::TempDir;
use testkit::{
    cluster::{Cluster, Member},
    commands::{get, key, one_node},
};

const WEAK: [Isolation; 2] = [Isolation::ReadCommitted, Isolation::RepeatableRead];

fn begin(member: &Member, isolation: Isolation) -> Txn {
    let mut txn = member.db.begin(TxnOptions::default());
    txn.set_isolation(isolation);
    txn
}

async fn put(member: &Member, name: &str, value: &'static str) {
    let mut txn = member.db.begin(TxnOptions::default());
    txn.put(key(name), value.into());
    txn.commit().await.unwrap();
}

/// What was merely read may change; a serializable transaction depends on it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_seen_does_not_count_at_the_commit() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    // Judged by the commit's own batch, then by a refresh of another range.
    for splits in [false, true] {
        if splits {
            member.db.split_at(&key("m")).await.unwrap();
        }
        for isolation in [Isolation::Serializable, Isolation::RepeatableRead, Isolation::ReadCommitted] {
            let name = format!("w {splits} {isolation:?}");
            put(member, "seen", "one").await;
            let mut txn = begin(member, isolation);
            assert_eq!(txn.get(&key("seen"), Read::default()).await.unwrap().unwrap(), "one");
            txn.put(key(&name), "row".into());
            put(member, "seen", "two").await;
            // It has to commit above whoever saw that its row is not there.
            assert_eq!(get(member, &name).await, None);
            let outcome = txn.commit().await;
            assert_eq!(outcome.is_ok(), isolation != Isolation::Serializable, "{name}: {outcome:?}");
        }
    }
    cluster.stop().await;
}

/// Each statement of READ COMMITTED sees what is committed when it begins; REPEATABLE READ keeps to what it has seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_for_each_statement() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    for isolation in WEAK {
        put(member, "a", "one").await;
        let mut txn = begin(member, isolation);
        assert_eq!(txn.get(&key("a"), Read::default()).await.unwrap().unwrap(), "one");
        put(member, "a", "two").await;
        assert_eq!(txn.get(&key("a"), Read::default()).await.unwrap().unwrap(), "one", "within a statement");
        txn.next_snapshot();
        let later = txn.get(&key("a"), Read::default()).await.unwrap().unwrap();
        assert_eq!(later, if isolation == Isolation::ReadCommitted { "two" } else { "one" });
        txn.rollback().await;
    }
    // A statement that has lost begins again; what was written before it stays.
    let mut txn = begin(member, Isolation::ReadCommitted);
    txn.put(key("before"), "kept".into());
    txn.begin_statement();
    let start = txn.statement_start();
    txn.put(key("lost"), "row".into());
    put(member, "a", "three").await;
    assert!(txn.back_to_statement(&start));
    assert_eq!(txn.get(&key("a"), Read::default()).await.unwrap().unwrap(), "three");
    txn.commit().await.unwrap();
    assert_eq!((get(member, "before").await, get(member, "lost").await), (Some("kept".into()), None));
    let mut txn = begin(member, Isolation::RepeatableRead);
    let start = txn.statement_start();
    assert!(!txn.back_to_statement(&start), "its snapshot is the client's");
    txn.rollback().await;
    cluster.stop().await;
}

/// locked-holds: a lock that is lost with its leaseholder does not let another's change be overwritten.
#[tokio::test(flavor = "multi_thread")]
async fn locked_holds_though_the_lock_is_lost() {
    let dir = TempDir::new().unwrap();
    let cluster = Cluster::start(dir.path(), 1, MemoryConfig::default(), &[0; 3], DbConfig::default()).await;
    let lock = Read { lock: Some(LockStrength::Update), ..Read::default() };
    for isolation in WEAK {
        for changes in [true, false] {
            let member = &cluster.members[0];
            put(member, "row", "one").await;
            let mut txn = begin(member, isolation);
            assert_eq!(txn.get(&key("row"), lock).await.unwrap().unwrap(), "one");
            // Later statements have later snapshots: what was locked is still judged from when it was read.
            for _ in 0..3 {
                txn.next_snapshot();
                txn.get(&key("other"), Read::default()).await.unwrap();
            }
            // Until some lease has moved: its locks stay behind.
            let mut moved = false;
            for _ in 0..50 {
                let Some(leader) = cluster.leader_of(&key("row")) else { continue };
                moved = cluster.transfer_lease(leader, &key("row"), (leader + 1) % 3).await;
                if moved {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert!(moved, "a lease moves");
            if changes {
                put(member, "row", "another's").await;
            }
            txn.next_snapshot();
            txn.put(key("row"), "mine".into());
            let outcome = txn.commit().await;
            if changes {
                assert!(matches!(outcome, Err(Error::Retry { .. })), "{isolation:?}: {outcome:?}");
                assert_eq!(get(member, "row").await.unwrap(), "another's");
            } else {
                outcome.unwrap();
                assert_eq!(get(member, "row").await.unwrap(), "mine");
            }
        }
    }
    cluster.stop().await;
}

/// What is locked is judged from when it was read, and not from an earlier snapshot: others may have changed it before.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_before_it_was_locked_is_no_conflict() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    member.db.split_at(&key("m")).await.unwrap();
    let lock = Read { lock: Some(LockStrength::NoKeyUpdate), ..Read::default() };
    put(member, "a", "one").await;
    put(member, "z", "one").await;
    let mut txn = begin(member, Isolation::ReadCommitted);
    txn.get(&key("a"), lock).await.unwrap();
    put(member, "z", "two").await;
    txn.next_snapshot();
    assert_eq!(txn.get(&key("z"), lock).await.unwrap().unwrap(), "two");
    txn.put(key("a"), "mine".into());
    txn.put(key("z"), "mine".into());
    txn.commit().await.unwrap();
    assert_eq!((get(member, "a").await.unwrap(), get(member, "z").await.unwrap()), ("mine".into(), "mine".into()));
    cluster.stop().await;
}
