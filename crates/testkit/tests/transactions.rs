//! Transactions whose messages come late, twice or not at all: what is acknowledged, and only that, is there.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use hlc::Timestamp;
use keys::{Key, LockStrength, NodeId, RangeDescriptor, RangeId, Span, StoreId, TxnMeta, TxnStatus};
use kv::{DbConfig, Error, Keep, LocalStore, Read, TxnOptions, WaitPolicy};
use parking_lot::Mutex;
use replica::api::{
    BatchRequest, BatchResponse, Header, KvError, PushKind, Request, Response, RetryReason, TxnHeader,
};
use rpc::MemoryConfig;
use store::Store;
use tempfile::TempDir;
use testkit::{
    cluster::{Cluster, Member},
    commands::{end, end_with, get, key, meta, one_node, put, put_nth, send, within, write},
};

fn intent(member: &Member, name: &str) -> storage::LockRecord {
    member.store.engine().lock(key(name).as_bytes()).unwrap().expect("the key has an intent")
}

async fn query(member: &Member, name: &str, seq: u32, txn: &TxnMeta) -> bool {
    let query = Request::QueryIntent { write: write(name, seq), txn: Box::new(txn.clone()), at: txn.write_ts };
    let response = send(member, name, Header::default(), vec![query]).await.unwrap();
    matches!(response.responses[..], [Response::QueryIntent { found: true }])
}

/// The spilled write of a key stood in for the later one that never came.
#[tokio::test(flavor = "multi_thread")]
async fn a_staged_commit_is_not_completed_by_an_older_write_of_the_same_key() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    member.db.split_at(&key("m")).await.unwrap();
    let txn = meta(7, "a", member.db.clock().now());
    let spilled = send(member, "n", within(&txn), vec![put_nth(1, "n", "spilled")]).await.unwrap();
    let txn = spilled.txn.unwrap();
    // The staging record arrives, the new write of "n" does not; the gateway is gone.
    let staged = vec![put_nth(2, "a", "staged"), end_with(true, vec![write("n", 3)])];
    send(member, "a", within(&txn), staged).await.unwrap();
    assert_eq!((get(member, "a").await, get(member, "n").await), (None, None));
    cluster.stop().await;
}

/// Recovery looked for the write and aborted; the write came over an intent of an earlier attempt, where nobody asked what
/// had been read, and completed the list.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_write_over_an_own_intent_goes_above_who_looked_for_it() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    member.db.split_at(&key("m")).await.unwrap();
    let first = meta(7, "a", member.db.clock().now());
    let first = send(member, "n", within(&first), vec![put("n", "of the first attempt")]).await.unwrap().txn.unwrap();
    let txn = TxnMeta { epoch: 1, write_ts: member.db.clock().now(), ..first };
    send(member, "a", within(&txn), vec![put("a", "staged"), end(true, &["n"])]).await.unwrap();
    // Somebody recovers it, after three seconds: "n" is not there.
    assert_eq!(get(member, "a").await, None);
    // Nobody has cleaned "n" up yet.
    let late = send(member, "n", within(&txn), vec![put("n", "late")]).await.unwrap();
    assert!(late.txn.unwrap().write_ts > txn.write_ts, "its coordinator takes it for committed");
    cluster.stop().await;
}

/// newest-write-stays
#[tokio::test(flavor = "multi_thread")]
async fn the_newest_write_stays_and_the_same_one_changes_nothing() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    let txn = meta(7, "n", member.db.clock().now());
    send(member, "n", within(&txn), vec![put_nth(4, "n", "new")]).await.unwrap();
    let at = intent(member, "n").ts;

    // What is asked for is that write and no other.
    assert!(query(member, "n", 4, &txn).await);
    assert!(!query(member, "n", 5, &txn).await);
    assert!(!query(member, "n", 3, &txn).await);
    assert!(!query(member, "n", 4, &TxnMeta { epoch: 1, ..txn.clone() }).await);

    // The queries count as reads, above which a new write would go; the one that is there stays where it is.
    let again = send(member, "n", within(&txn), vec![put_nth(4, "n", "written twice")]).await.unwrap();
    assert_eq!(again.txn.unwrap().write_ts, at);
    let lock = intent(member, "n");
    let value = member.store.engine().provisional_value(key("n").as_bytes(), &lock).unwrap();
    assert_eq!((lock.ts, value.as_deref()), (at, Some(&b"new"[..])));

    // A later one takes its place, and an earlier one that comes after it does not.
    let next = send(member, "n", within(&txn), vec![put_nth(5, "n", "newer")]).await.unwrap().txn.unwrap();
    assert!(next.write_ts > at, "write-above-read");
    let late = send(member, "n", within(&txn), vec![put_nth(4, "n", "new")]).await;
    assert!(matches!(late, Err(KvError::Invalid { .. })), "{late:?}");
    send(member, "n", within(&next), vec![end(true, &[])]).await.unwrap();
    assert_eq!(get(member, "n").await.as_deref(), Some("newer"));
    cluster.stop().await;
}

/// record-moves-forward: a message of an attempt that is over replaced the record of the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_staged_record_is_not_replaced_by_an_earlier_one() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    member.db.split_at(&key("m")).await.unwrap();
    let first = meta(7, "a", member.db.clock().now());
    let second = TxnMeta { epoch: 1, write_ts: first.write_ts.add_ns(1000), ..first.clone() };
    send(member, "a", within(&second), vec![end(true, &["n"])]).await.unwrap();
    let late = send(member, "a", within(&first), vec![end(true, &["x"])]).await;
    assert!(matches!(late, Err(KvError::Invalid { .. })), "{late:?}");
    // The same list again is the same record; another one needs a later timestamp.
    send(member, "a", within(&second), vec![end(true, &["n"])]).await.unwrap();
    let other = send(member, "a", within(&second), vec![end(true, &["x"])]).await;
    assert!(matches!(other, Err(KvError::Retry { to, .. }) if to > second.write_ts), "{other:?}");
    cluster.stop().await;
}

/// A store that refuses what the test wants it to, before it is executed.
struct Refusing {
    store: Store,
    refuses: Box<dyn Fn(&BatchRequest) -> bool + Send + Sync>,
    /// How often it was asked.
    batches: Mutex<usize>,
}

#[async_trait]
impl LocalStore for Refusing {
    fn store_id(&self) -> StoreId {
        self.store.store_id()
    }

    fn has_range(&self, range_id: RangeId) -> bool {
        self.store.replica(range_id).is_some()
    }

    fn is_away(&self, store: StoreId) -> bool {
        self.store.raft().liveness().is_away(store)
    }

    async fn send(&self, batch: &BatchRequest) -> Result<BatchResponse, KvError> {
        if (self.refuses)(batch) {
            *self.batches.lock() += 1;
            if *self.batches.lock() > 1 {
                return Err(KvError::DiskFull { reason: "refused by the test".into() });
            }
        }
        self.store.send(batch).await
    }
}

/// What the record of a transaction anchored at "a" says.
async fn status(member: &Member, txn: &TxnMeta) -> TxnStatus {
    let push =
        Request::PushTxn { pushee: Box::new(txn.clone()), pusher: None, dependents: Vec::new(), kind: PushKind::Query };
    let response = send(member, "a", Header::default(), vec![push]).await.unwrap();
    match &response.responses[..] {
        [Response::PushTxn(pushed)] => pushed.status,
        other => panic!("{other:?}"),
    }
}

/// The first attempt brought the write, above its record; the second one's record found it there, and the coordinator was
/// told that the write was refused.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_fails_over_intents_of_an_earlier_one_is_ended_before_it_is_told() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    member.db.split_at(&key("m")).await.unwrap();
    assert_eq!(get(member, "n").await, None);
    member.db.set_local(Arc::new(Refusing {
        store: member.store.clone(),
        // The writes of "n", but for the first batch with them.
        refuses: Box::new(|batch| {
            batch.requests.iter().any(|it| matches!(it, Request::Put { key: put, .. } if *put == key("n")))
        }),
        batches: Mutex::new(0),
    }));
    let mut txn = member.db.begin(TxnOptions::default());
    txn.put(key("a"), "1".into());
    txn.put(key("n"), "1".into());
    // Somebody whose clock is ahead has read "n": it lands above the record.
    let reader = meta(2, "n", member.db.clock().now().add_ns(300_000_000));
    send(member, "n", within(&reader), vec![Request::Get { key: key("n"), lock: None }]).await.unwrap();
    let failed = txn.commit().await;
    assert!(matches!(failed, Err(Error::DiskFull { .. })), "{failed:?}");
    let meta = TxnMeta { id: txn.id(), ..meta(0, "a", txn.read_ts()) };
    assert_eq!(status(member, &meta).await, TxnStatus::Aborted, "no-dirty-ack");
    assert_eq!((get(member, "a").await, get(member, "n").await), (None, None));
    cluster.stop().await;
}

/// A store where a commit's first record is refused, and its second is recovered, and what was written resolved, before the
/// second message with the write of "n" is executed.
struct Overtaken {
    store: Store,
    /// So many records and writes of "n" have come.
    records: Mutex<usize>,
    writes: Mutex<usize>,
    /// Whether the record is removed as well.
    forgets: bool,
}

impl Overtaken {
    async fn batch(&self, key: &Key, requests: Vec<Request>) -> BatchResponse {
        self.batch_with(Header::default(), key, requests).await
    }

    async fn batch_with(&self, header: Header, key: &Key, requests: Vec<Request>) -> BatchResponse {
        let replicas = self.store.replicas();
        let holds = |range: &RangeDescriptor| range.contains_key(key.as_bytes());
        let range = replicas.iter().find(|replica| replica.descriptor().is_some_and(|range| holds(&range))).unwrap();
        let header = Header { range_id: range.range_id(), ..header };
        range.send(&BatchRequest { header, requests }).await.unwrap()
    }

    async fn recover(&self, txn: &TxnMeta) {
        let staged_at = loop {
            let push =
                Request::PushTxn { pushee: Box::new(txn.clone()), pusher: None, dependents: Vec::new(), kind: PushKind::Query };
            match &self.batch(&txn.anchor, vec![push]).await.responses[..] {
                [Response::PushTxn(pushed)] if pushed.status == TxnStatus::Staging => break pushed.commit_ts,
                _ => tokio::task::yield_now().await,
            }
        };
        let txn = TxnMeta { write_ts: staged_at, ..txn.clone() };
        let query = Request::QueryIntent { write: write("n", 2), txn: Box::new(txn.clone()), at: staged_at };
        let found = self.batch(&key("n"), vec![query]).await;
        assert!(matches!(found.responses[..], [Response::QueryIntent { found: true }]), "the first attempt brought it");
        self.batch(&txn.anchor, vec![Request::RecoverTxn { txn: Box::new(txn.clone()), committed: true }]).await;
        for name in ["a", "n"] {
            let (span, status) = (Span::point(key(name)), TxnStatus::Committed);
            let resolve = Request::ResolveSpan { span, txn: Box::new(txn.clone()), status, commit_ts: staged_at };
            self.batch(&key(name), vec![resolve]).await;
        }
        if self.forgets {
            let forget = Request::ForgetTxn { anchor: txn.anchor.clone(), txn_id: txn.id };
            self.batch(&txn.anchor, vec![forget]).await;
        }
        // What the transaction has read does not hold any more where the write comes to lie.
        let changed = self.batch(&key("r"), vec![put("r", "changed")]).await;
        let header = Header { ts: changed.now, ..Header::default() };
        self.batch_with(header, &key("n"), vec![Request::Get { key: key("n"), lock: None }]).await;
    }
}

fn is_next(count: &Mutex<usize>, nth: usize) -> bool {
    *count.lock() += 1;
    *count.lock() == nth
}

#[async_trait]
impl LocalStore for Overtaken {
    fn store_id(&self) -> StoreId {
        self.store.store_id()
    }

    fn has_range(&self, range_id: RangeId) -> bool {
        self.store.replica(range_id).is_some()
    }

    fn is_away(&self, store: StoreId) -> bool {
        self.store.raft().liveness().is_away(store)
    }

    async fn send(&self, batch: &BatchRequest) -> Result<BatchResponse, KvError> {
        let stages = |it: &Request| matches!(it, Request::EndTxn { in_flight, .. } if !in_flight.is_empty());
        let writes = |it: &Request| matches!(it, Request::Put { key: put, .. } if *put == key("n"));
        if batch.requests.iter().any(stages) && is_next(&self.records, 1) {
            let to = batch.header.txn.as_ref().unwrap().meta.write_ts.add_ns(1000);
            return Err(KvError::Retry { reason: RetryReason::WritePushed, to });
        }
        if batch.requests.iter().any(writes) && is_next(&self.writes, 2) {
            self.recover(&batch.header.txn.as_ref().unwrap().meta).await;
        }
        self.store.send(batch).await
    }
}

/// The first attempt brought the write, the second one's record made it a commit, which was recovered; the write that came
/// again after that landed above the record, by which the coordinator took its commit for refuted.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_lands_again_over_its_own_commit_does_not_refute_it() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    member.db.split_at(&key("m")).await.unwrap();
    for (forgets, value) in [(false, "1"), (true, "2")] {
        let (store, records, writes) = (member.store.clone(), Mutex::default(), Mutex::default());
        member.db.set_local(Arc::new(Overtaken { store, records, writes, forgets }));
        let mut txn = member.db.begin(TxnOptions::default());
        txn.get(&key("r"), Read::default()).await.unwrap();
        txn.put(key("a"), value.into());
        txn.put(key("n"), value.into());
        let outcome = txn.commit().await;
        if forgets {
            assert!(matches!(outcome, Err(Error::Ambiguous { .. })), "no-dirty-ack: {outcome:?}");
        } else {
            assert!(outcome.is_ok(), "no-dirty-ack: {outcome:?}");
        }
        assert_eq!(get(member, "a").await.as_deref(), Some(value));
        assert_eq!(get(member, "n").await.as_deref(), Some(value));
    }
    cluster.stop().await;
}

/// newest-write-stays: the commit was resolved, and a copy of an earlier write of the key, on its way all the time, landed
/// above it; whoever resolved the commit once more moved that to where the newest write was.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_lands_above_its_commit_is_not_part_of_it() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    let txn = meta(7, "k", member.db.clock().now());
    send(member, "k", within(&txn), vec![put_nth(5, "k", "spilled")]).await.unwrap();
    let answer = send(member, "k", within(&txn), vec![put_nth(9, "k", "newest"), end(true, &[])]).await.unwrap();
    let commit_ts = answer.txn.unwrap().write_ts;
    let resolve = || Request::ResolveSpan {
        span: Span::point(key("k")),
        txn: Box::new(txn.clone()),
        status: TxnStatus::Committed,
        commit_ts,
    };
    send(member, "k", Header::default(), vec![resolve()]).await.unwrap();
    let late = send(member, "k", within(&txn), vec![put_nth(5, "k", "spilled")]).await.unwrap();
    assert!(late.txn.unwrap().write_ts > commit_ts, "write-above-write");
    send(member, "k", Header::default(), vec![resolve()]).await.unwrap();
    assert_eq!(get(member, "k").await.as_deref(), Some("newest"));
    cluster.stop().await;
}

/// It was settled as aborted at its anchor, which was split off before it arrived: there was no record where it came to.
#[tokio::test(flavor = "multi_thread")]
async fn a_one_phase_commit_that_was_settled_does_not_take_effect_behind_a_split() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    let txn = meta(7, "n", member.db.clock().now());
    assert_eq!(get(member, "a").await, None);
    let replicas = member.store.replicas();
    let holds = |range: &RangeDescriptor| range.contains_key(key("a").as_bytes());
    let replica = replicas.iter().find(|replica| replica.descriptor().is_some_and(|range| holds(&range))).unwrap();
    let generation = replica.descriptor().unwrap().generation;
    let header = |txn| Header { range_id: replica.range_id(), generation, can_forward: true, ..within(txn) };
    let commit = |txn| {
        let end = Request::EndTxn {
            commit: true,
            locks: Vec::new(),
            in_flight: Vec::new(),
            one_phase: true,
            reads: Vec::new(),
            present: Vec::new(),
        };
        BatchRequest { header: header(txn), requests: vec![put("a", "late"), end] }
    };
    let settle = Request::SettleCommit { txn: Box::new(txn.clone()), range_id: replica.range_id(), sent: txn.write_ts };
    let answer = send(member, "n", Header::default(), vec![settle]).await.unwrap();
    assert!(matches!(answer.responses[..], [Response::SettleCommit { status: TxnStatus::Aborted, .. }]), "{answer:?}");
    member.db.split_at(&key("m")).await.unwrap();
    let late = replica.send(&commit(&txn)).await;
    assert!(matches!(late, Err(KvError::RangeMismatch { .. })), "no-dirty-ack: {late:?}");
    assert_eq!(get(member, "a").await, None);
    cluster.stop().await;
}

/// Its gateway was told that it could not be rolled back, and left what it had written to others.
#[tokio::test(flavor = "multi_thread")]
async fn who_would_abort_a_recovered_commit_is_told_that_it_is_committed() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    member.db.split_at(&key("m")).await.unwrap();
    assert_eq!(get(member, "n").await, None);
    let txn = meta(7, "a", member.db.clock().now());
    send(member, "a", within(&txn), vec![put("a", "1"), end(true, &["n"])]).await.unwrap();
    send(member, "n", within(&txn), vec![put("n", "1")]).await.unwrap();
    let recover = Request::RecoverTxn { txn: Box::new(txn.clone()), committed: true };
    send(member, "a", Header::default(), vec![recover]).await.unwrap();
    let answer = send(member, "a", within(&txn), vec![end(false, &[])]).await.unwrap();
    let committed = Response::EndTxn { status: TxnStatus::Committed, commit_ts: txn.write_ts, was_staged: true };
    assert_eq!(answer.responses, [committed]);
    cluster.stop().await;
}

/// Its staged commit was recovered, told to readers and removed; then its coordinator, or a pusher that came late, found no
/// record and left an aborted one: by that, the coordinator told its client that nothing was committed.
#[tokio::test(flavor = "multi_thread")]
async fn aborted_when_staged_is_not_said_of_a_commit_that_was_recovered_and_removed() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    member.db.split_at(&key("m")).await.unwrap();
    assert_eq!(get(member, "n").await, None);
    let aborted = |was_staged| [Response::EndTxn { status: TxnStatus::Aborted, commit_ts: Timestamp::MIN, was_staged }];
    let stage_and_recover = async |id, committed| {
        let txn = meta(id, "a", member.db.clock().now());
        send(member, "a", within(&txn), vec![end(true, &["n"])]).await.unwrap();
        let recover = Request::RecoverTxn { txn: Box::new(txn.clone()), committed };
        send(member, "a", Header::default(), vec![recover]).await.unwrap();
        txn
    };
    let forget = async |txn: &TxnMeta| {
        let forget = Request::ForgetTxn { anchor: txn.anchor.clone(), txn_id: txn.id };
        send(member, "a", Header::default(), vec![forget]).await.unwrap();
    };

    // The answer to the first is lost, and it is asked again.
    let txn = stage_and_recover(7, true).await;
    forget(&txn).await;
    for _ in 0..2 {
        let answer = send(member, "a", within(&txn), vec![end(false, &[])]).await.unwrap();
        assert_eq!(answer.responses, aborted(false));
    }

    let txn = stage_and_recover(8, true).await;
    forget(&txn).await;
    let push =
        Request::PushTxn { pushee: Box::new(txn.clone()), pusher: None, dependents: Vec::new(), kind: PushKind::Abort };
    send(member, "a", Header::default(), vec![push]).await.unwrap();
    let answer = send(member, "a", within(&txn), vec![end(false, &[])]).await.unwrap();
    assert_eq!(answer.responses, aborted(false));
    // Nor is it said to somebody else who was recovering it too, and comes late: he would remove what it wrote.
    let recover = Request::RecoverTxn { txn: Box::new(txn), committed: true };
    let answer = send(member, "a", Header::default(), vec![recover]).await.unwrap();
    let pending = Response::RecoverTxn { status: TxnStatus::Pending, commit_ts: Timestamp::MIN };
    assert_eq!(answer.responses, [pending]);

    // What recovery has judged is certain, also when it is asked for twice.
    let txn = stage_and_recover(9, false).await;
    for _ in 0..2 {
        let answer = send(member, "a", within(&txn), vec![end(false, &[])]).await.unwrap();
        assert_eq!(answer.responses, aborted(true));
    }

    // So is what its coordinator has ended itself.
    let txn = meta(10, "a", member.db.clock().now());
    send(member, "a", within(&txn), vec![end(true, &["n"])]).await.unwrap();
    for _ in 0..2 {
        let answer = send(member, "a", within(&txn), vec![end(false, &[])]).await.unwrap();
        assert!(matches!(answer.responses[..], [Response::EndTxn { status: TxnStatus::Aborted, was_staged: true, .. }]));
    }
    cluster.stop().await;
}

/// judged-by-its-own-epoch: its staged record was being recovered while it started over and committed; by that commit the
/// writes of the attempt before, which its client had been told is aborted, were resolved as committed.
#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_that_comes_late_commits_nothing_of_an_attempt_that_was_given_up() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    member.db.split_at(&key("m")).await.unwrap();
    assert_eq!(get(member, "n").await, None);
    // The first attempt has written `b`, and never comes to write `n`.
    let first = meta(7, "a", member.db.clock().now());
    let stage = vec![put("a", "1"), put("b", "1"), end(true, &["n"])];
    send(member, "a", within(&first), stage).await.unwrap();
    let second = TxnMeta { epoch: 1, write_ts: member.db.clock().now(), ..first.clone() };
    send(member, "a", within(&second), vec![put("a", "2"), end(true, &[])]).await.unwrap();
    // Somebody has asked for `n` before that, and now says how the first ended.
    let recover = Request::RecoverTxn { txn: Box::new(first.clone()), committed: false };
    let answer = send(member, "a", Header::default(), vec![recover]).await.unwrap();
    let Response::RecoverTxn { status, commit_ts } = answer.responses[0] else { panic!("{:?}", answer.responses) };
    if status != TxnStatus::Pending {
        let span = Span::new(key("a"), key("c"));
        let resolve = Request::ResolveSpan { span, txn: Box::new(first), status, commit_ts };
        send(member, "a", Header::default(), vec![resolve]).await.unwrap();
    }
    assert_eq!(get(member, "b").await, None, "it was never committed");
    assert_eq!(get(member, "a").await.as_deref(), Some("2"));
    cluster.stop().await;
}

/// The version of a commit that was pushed up lay above what the reader had seen of the node's clock, and was taken for
/// one that came later.
#[tokio::test(flavor = "multi_thread")]
async fn an_intent_that_commits_higher_stays_uncertain_to_who_began_after_it_was_written() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    member.db.split_at(&key("m")).await.unwrap();
    assert_eq!(get(member, "z").await, None);
    let observed = member.db.clock().now();
    let writer = meta(1, "a", member.db.clock().now());
    send(member, "z", within(&writer), vec![put("z", "acknowledged")]).await.unwrap();
    // What a reader observes where "z" is led, by a node that has not heard of the commit yet.
    let now = member.db.clock().now();
    // Pushed by a read at the anchor, whose node's clock is 300 ms ahead.
    let pushed = TxnMeta { write_ts: writer.write_ts.add_ns(300_000_000), ..writer.clone() };
    send(member, "a", within(&pushed), vec![put("a", "1"), end(true, &["z"])]).await.unwrap();
    send(member, "a", within(&pushed), vec![end(true, &[])]).await.unwrap();
    let read = |at: Timestamp, observed: Timestamp| {
        let reader = TxnHeader {
            meta: meta(2, "z", at),
            read_ts: at,
            uncertainty_limit: at.add_ns(500_000_000),
            observed: Some((NodeId::new(1), observed)),
        };
        let header = Header { txn: Some(reader), ..Header::default() };
        send(member, "z", header, vec![Request::Get { key: key("z"), lock: None }])
    };
    let found = read(now, now).await;
    assert!(matches!(found, Err(KvError::Retry { reason: RetryReason::Uncertain, .. })), "stale: {found:?}");
    // One that had looked at the clock before need not see it, though it lies within its uncertainty.
    let found = read(now, observed).await.unwrap();
    assert_eq!(found.responses, [Response::Get { value: None }]);
    cluster.stop().await;
}

/// The same of a commit in one phase that goes above a read.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_above_the_clock_is_seen_by_who_begins_after_it() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    assert_eq!(get(member, "k").await, None);
    let ahead = meta(2, "k", member.db.clock().now().add_ns(400_000_000));
    send(member, "k", within(&ahead), vec![Request::Get { key: key("k"), lock: None }]).await.unwrap();
    let mut writer = member.db.begin(TxnOptions::default());
    writer.put(key("k"), "acknowledged".into());
    assert!(writer.commit().await.unwrap() > ahead.write_ts);
    assert_eq!(get(member, "k").await.as_deref(), Some("acknowledged"));
    cluster.stop().await;
}

/// own-writes-are-seen: it read its table as if it had written nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_whose_intents_are_gone_is_told_when_it_reads() {
    for anchor in ["a", "n"] {
        let dir = TempDir::new().unwrap();
        // No heartbeat tells it meanwhile.
        let config = DbConfig { spill_bytes: 0, heartbeat_interval: Duration::from_secs(600), ..DbConfig::default() };
        let cluster = Cluster::start(dir.path(), 1, MemoryConfig::default(), &[0], config).await;
        let member = &cluster.members[0];
        member.db.split_at(&key("m")).await.unwrap();
        assert_eq!(get(member, "n").await, None);
        let mut txn = member.db.begin(TxnOptions::default());
        txn.put(key(anchor), "spilled".into());
        txn.put(key("n"), "spilled".into());
        txn.flush_if_large().await.unwrap();
        txn.begin_statement();
        assert_eq!(txn.get(&key("n"), Read::default()).await.unwrap().as_deref(), Some(&b"spilled"[..]));
        // It is chosen as the victim of a deadlock, and the pusher that waits for "n" resolves its intent.
        let holder = intent(member, "n").txn;
        let push =
            Request::PushTxn { pushee: Box::new(holder), pusher: None, dependents: Vec::new(), kind: PushKind::Abort };
        send(member, anchor, Header::default(), vec![push]).await.unwrap();
        assert_eq!(get(member, "n").await, None);
        let read = txn.get(&key("n"), Read::default()).await;
        assert!(matches!(read, Err(Error::Retry { .. })), "anchored at {anchor}: {read:?}");
        let read = txn.get_many(&[key("n"), key("o")], Read::default()).await;
        assert!(matches!(read, Err(Error::Retry { .. })), "anchored at {anchor}: {read:?}");
        let read = txn.scan(&keys::Span::new(key("m"), key("z")), kv::ScanOptions::default()).await;
        assert!(matches!(read, Err(Error::Retry { .. })), "anchored at {anchor}: {read:?}");
        cluster.stop().await;
    }
}

/// reads-tracked: any change of a row that it must only find there restarted a transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_must_only_be_there_may_change_and_not_go() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    let write = async |value: Option<&'static str>| {
        let mut other = member.db.begin(TxnOptions::default());
        match value {
            Some(value) => other.put(key("parent"), value.into()),
            None => other.delete(key("parent")),
        }
        other.commit().await.unwrap();
    };
    let read = Read { keep: Keep::Presence, ..Read::default() };
    // Judged by the commit's own batch, then by a refresh of another range.
    for (round, splits) in [false, true].into_iter().enumerate() {
        if splits {
            member.db.split_at(&key("m")).await.unwrap();
        }
        for (meanwhile, commits) in [(vec![Some("two"), Some("three")], true), (vec![None, Some("again")], false)] {
            write(Some("one")).await;
            let child = format!("child {round} {commits}");
            let mut txn = member.db.begin(TxnOptions::default());
            assert_eq!(txn.get_many(&[key("parent")], read).await.unwrap(), [Some("one".into())]);
            txn.put(key(&child), "row".into());
            for value in meanwhile {
                write(value).await;
            }
            // It has to commit above whoever saw that its row is not there.
            assert_eq!(get(member, &child).await, None);
            let outcome = txn.commit().await;
            assert_eq!(outcome.is_ok(), commits, "{child}: {outcome:?}");
            assert_eq!(get(member, &child).await.is_some(), commits);
        }
        // That it was not there is all there is to depend on.
        write(None).await;
        let mut txn = member.db.begin(TxnOptions::default());
        assert_eq!(txn.get(&key("parent"), read).await.unwrap(), None);
        let child = format!("orphan {round}");
        txn.put(key(&child), "row".into());
        write(Some("late")).await;
        assert_eq!(get(member, &child).await, None);
        assert!(matches!(txn.commit().await, Err(Error::Retry { .. })));
    }
    cluster.stop().await;
}

/// Many keys in one pass are what they are one by one, and are locked likewise.
#[tokio::test(flavor = "multi_thread")]
async fn many_keys_are_read_and_locked_in_one_pass() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    let row = |n: u32| key(&format!("row {n:05}"));
    let mut txn = member.db.begin(TxnOptions::default());
    (0..600).filter(|n| n % 3 != 1).for_each(|n| txn.put(row(n), format!("value {n}").into()));
    // More than one answer holds.
    (600..610).for_each(|n| txn.put(row(n), vec![7; 3 << 20].into()));
    txn.commit().await.unwrap();
    member.db.split_at(&row(300)).await.unwrap();

    // Out of order, and some of them twice.
    let wanted: Vec<u32> = (0..611).map(|n| n * 389 % 611).chain(611..620).chain(5..10).collect();
    let keys: Vec<keys::Key> = wanted.iter().map(|n| row(*n)).collect();
    let mut txn = member.db.begin(TxnOptions::default());
    txn.put(row(3), "its own".into());
    txn.begin_statement();
    let locking = Read { lock: Some(LockStrength::Update), ..Read::default() };
    for read in [Read::default(), locking] {
        let found = txn.get_many(&keys, read).await.unwrap();
        for (n, value) in wanted.iter().zip(found) {
            match n {
                3 => assert_eq!(value, Some("its own".into())),
                0..600 if n % 3 == 1 => assert_eq!(value, None, "{n}"),
                0..600 => assert_eq!(value, Some(format!("value {n}").into()), "{n}"),
                600..610 => assert_eq!(value.map(|value| value.len()), Some(3 << 20), "{n}"),
                _ => assert_eq!(value, None, "{n}"),
            }
        }
    }
    let mut other = member.db.begin(TxnOptions::default());
    let at_once = Read { lock: Some(LockStrength::Share), wait: WaitPolicy::Error, ..Read::default() };
    for n in [0, 302, 597, 609] {
        let refused = other.get(&row(n), at_once).await;
        assert!(matches!(refused, Err(Error::LockNotAvailable { .. })), "{n}: {refused:?}");
    }
    // No row, no lock.
    assert_eq!(other.get(&row(301), at_once).await.unwrap(), None);
    let refused = other.get_many(&keys, at_once).await;
    assert!(matches!(refused, Err(Error::LockNotAvailable { .. })), "{refused:?}");
    txn.rollback().await;
    // What was written meanwhile moves who locks, not who reads what was there.
    let mut reader = member.db.begin(TxnOptions::default());
    reader.get(&row(0), Read::default()).await.unwrap();
    let mut writer = member.db.begin(TxnOptions::default());
    writer.put(row(302), "newer".into());
    writer.commit().await.unwrap();
    let small: Vec<keys::Key> = (0..600).map(row).collect();
    let before = reader.read_ts();
    assert_eq!(reader.get_many(&small, Read::default()).await.unwrap()[302], Some("value 302".into()));
    assert_eq!(reader.read_ts(), before);
    let mut locker = member.db.begin(TxnOptions { as_of: None, ..TxnOptions::default() });
    assert_eq!(locker.get_many(&small, locking).await.unwrap()[302], Some("newer".into()));
    cluster.stop().await;
}

/// The spans of many reads were joined over tables that lie between them, where nothing was read.
#[tokio::test(flavor = "multi_thread")]
async fn many_reads_do_not_cover_the_tables_between() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    let row = |table: u32, n: u32| {
        let prefix = keys::keyspace::index(keys::TableId::new(table), keys::IndexId::new(1));
        keys::Key::from([prefix.as_bytes(), &n.to_be_bytes()].concat())
    };
    let mut txn = member.db.begin(TxnOptions::default());
    for table in [20_000, 30_000, 40_000] {
        txn.get(&row(table - 1, 1), Read::default()).await.unwrap();
        let keys: Vec<keys::Key> = (0..4000).map(|n| row(table, n * 7)).collect();
        txn.get_many(&keys, Read::default()).await.unwrap();
    }
    txn.put(row(50_000, 1), "row".into());
    let mut other = member.db.begin(TxnOptions::default());
    for table in [19_999, 25_000, 29_999, 35_000, 39_999, 45_000] {
        other.put(row(table, 1_000_000), "of a table between".into());
    }
    other.put(row(20_000, 1_000_000), "far from what was read".into());
    other.commit().await.unwrap();
    let mut reader = member.db.begin(TxnOptions::default());
    assert_eq!(reader.get(&row(50_000, 1), Read::default()).await.unwrap(), None);
    txn.commit().await.unwrap();
    cluster.stop().await;
}

/// It was set by adding the difference, again for each answer that was lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_counter_is_set_once() {
    let dir = TempDir::new().unwrap();
    let second = Duration::from_secs(1);
    let config = DbConfig { rpc_timeout: second, wait_timeout: second, ..DbConfig::default() };
    let cluster = Cluster::start(dir.path(), 1, MemoryConfig::default(), &[0; 3], config).await;
    let leader = cluster.leader_of(&key("c")).expect("the range is led");
    let (leader, gateway) = (&cluster.members[leader], (leader + 1) % 3);
    let db = &cluster.members[gateway].db;
    assert_eq!(db.increment(&key("c"), 2).await.unwrap(), 2);
    db.set_counter(&key("c"), 40).await.unwrap();
    assert_eq!(db.increment(&key("c"), 1).await.unwrap(), 41);
    // What the gateway sends arrives, what it is answered does not.
    cluster.network.partition(leader.db.node_id(), NodeId::new(gateway as u64 + 1));
    let set = db.set_counter(&key("c"), 7).await;
    assert!(matches!(set, Err(Error::Ambiguous { .. })), "{set:?}");
    assert_eq!(leader.db.increment(&key("c"), 0).await.unwrap(), 7);
    cluster.stop().await;
}

/// given-once: values are given out of what the leaseholder has reserved, and leases move.
#[tokio::test(flavor = "multi_thread")]
async fn a_counter_gives_each_value_once_and_in_order_whoever_leads() {
    let dir = TempDir::new().unwrap();
    let cluster = Cluster::start(dir.path(), 1, MemoryConfig::default(), &[0; 3], DbConfig::default()).await;
    let counter = key("c");
    let proposals = |place: usize| -> u64 {
        let replicas = cluster.members[place].store.replicas();
        replicas.iter().map(|replica| replica.metrics().proposals.load(std::sync::atomic::Ordering::Relaxed)).sum()
    };
    let (mut last, mut judged) = (0, 0);
    for round in 0..6_usize {
        // Whoever is to lead does when it has an answer.
        let first = cluster.members[round % 3].db.increment_ahead(&counter, 3, 31, 100_000).await.unwrap();
        assert!(first > last && first % 3 == 0, "{first} comes after {last}");
        last = first;
        let Some(leader) = cluster.leader_of(&counter) else { continue };
        let (before, mut skipped) = (proposals(leader), 0);
        for at in 1..40_usize {
            let value = cluster.members[(round + at) % 3].db.increment_ahead(&counter, 3, 31, 100_000).await.unwrap();
            assert!(value > last && value % 3 == 0, "{value} comes after {last}");
            skipped += value - last - 3;
            last = value;
        }
        let stands = cluster.members[0].db.increment(&counter, 0).await.unwrap();
        if cluster.leader_of(&counter) == Some(leader) {
            judged += 1;
            assert_eq!(stands, last);
            assert_eq!(skipped, 0, "under one lease");
            assert!(proposals(leader) - before < 20, "most come from memory");
        }
        cluster.transfer_lease(leader, &counter, (leader + 1) % 3).await;
    }
    assert!(judged > 0, "some lease lasts");
    // What is set is what counts from then on, also at the very value that was reserved.
    for value in [5, last + 93, 100_000 - 3] {
        cluster.members[1].db.set_counter(&counter, value).await.unwrap();
        assert_eq!(cluster.members[2].db.increment_ahead(&counter, 3, 31, 100_000).await.unwrap(), value + 3);
        assert_eq!(cluster.members[0].db.increment_ahead(&counter, 3, 31, 100_000).await.unwrap(), value + 6);
    }
    // Nothing is reserved past the end, and counting down reserves downwards.
    cluster.members[0].db.set_counter(&counter, 10).await.unwrap();
    let down = cluster.members[0].db.increment_ahead(&counter, -4, 31, 0).await.unwrap();
    assert_eq!((down, cluster.members[1].db.increment_ahead(&counter, -4, 31, 0).await.unwrap()), (6, 2));
    cluster.stop().await;
}
