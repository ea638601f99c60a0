//! A deadlock costs one of its members and no more: the others get what they wait for, and commit.

use std::time::Duration;

use futures::future::join_all;
use keys::LockStrength;
use kv::{Error, Read, TxnOptions};
use tempfile::TempDir;
use testkit::{
    cluster::Member,
    commands::{key, one_node},
};
use tokio::sync::Barrier;

const WITHIN: Duration = Duration::from_secs(30);

/// Each of so many transactions holds a key of its own and then wants the next one's; how many committed, and how many were
/// ended to break the circle.
async fn circle(member: &Member, round: usize, members: usize) -> (usize, usize) {
    let all_hold = Barrier::new(members);
    let name = |n: usize| key(&format!("circle {round} {}", n % members));
    let mut rows = member.db.begin(TxnOptions::default());
    for n in 0..members {
        rows.put(name(n), "row".into());
    }
    rows.commit().await.unwrap();
    let read = Read { lock: Some(LockStrength::Update), ..Read::default() };
    let one = async |n: usize| {
        let mut txn = member.db.begin(TxnOptions::default());
        // It has a record to be looked up by, which who has written nothing has not.
        txn.put(key(&format!("own {round} {n}")), "kept".into());
        txn.get(&name(n), read).await.unwrap();
        all_hold.wait().await;
        let outcome = match txn.get(&name(n + 1), read).await {
            Ok(_) => txn.commit().await.map(drop),
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            txn.rollback().await;
        }
        outcome
    };
    let outcomes = tokio::time::timeout(WITHIN, join_all((0..members).map(one))).await.expect("the circle is broken");
    let ended = outcomes.iter().filter(|outcome| matches!(outcome, Err(Error::Deadlock { .. }))).count();
    (outcomes.iter().filter(|outcome| outcome.is_ok()).count(), ended)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_ends_one_of_its_members() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    for round in 0..4 {
        assert_eq!(circle(&cluster.members[0], round, 2).await, (1, 1), "round {round}");
    }
    cluster.stop().await;
}
