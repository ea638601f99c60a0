//! Ranges that merge, whatever happens meanwhile: no key is served by both or by neither, and what one of them has
//! promised the merged range keeps.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use hlc::Timestamp;
use keys::{Key, RangeDescriptor, RangeId, Span};
use kv::{Read, TxnOptions};
use replica::api::{BatchRequest, Header, KvError, MergeInto, Request, Response};
use tempfile::TempDir;
use testkit::{
    cluster::{Cluster, Member, StoreTuning},
    commands::{get, key, meta, put, send, tuned, until, within, write_row as write},
};

const FIRST: RangeId = RangeId::new(1);

async fn cluster(dir: &TempDir, nodes: usize) -> Cluster {
    tuned(dir, nodes, StoreTuning::default()).await
}

fn range(member: &Member, range_id: RangeId) -> Option<RangeDescriptor> {
    member.store.replica(range_id)?.descriptor().map(|range| (*range).clone())
}

/// The range of a key, as its leaseholder has it.
fn led(cluster: &Cluster, at: &str) -> Option<RangeDescriptor> {
    cluster.led(&key(at)).map(|(range, _)| range)
}

async fn leader(cluster: &Cluster, at: &str) -> usize {
    until("somebody leads", async || cluster.leader_of(&key(at)).is_some()).await;
    cluster.leader_of(&key(at)).expect("as just seen")
}

async fn split(cluster: &Cluster, by: usize, at: &str) -> RangeId {
    cluster.members[by].db.split_at(&key(at)).await.unwrap();
    until("the right half is led", async || cluster.leader_of(&key(at)).is_some()).await;
    until("it is everywhere", async || {
        let right = led(cluster, at).map(|range| range.range_id);
        right.is_some_and(|right| cluster.members.iter().filter(|it| range(it, right).is_some()).count() >= cluster.members.len().min(3))
    })
    .await;
    led(cluster, at).expect("as just seen").range_id
}

async fn merge(cluster: &Cluster, by: usize, at: &str) -> RangeDescriptor {
    let mut last = None;
    until("somebody leads", async || led(cluster, at).is_some()).await;
    let before = led(cluster, at).expect("as just seen");
    for _ in 0..60 {
        match cluster.members[by].db.admin(&key(at), Request::Merge).await {
            Ok(Response::Merged { descriptor }) => return *descriptor,
            other => last = Some(other),
        }
        // The answer may have been lost.
        if let Some(now) = led(cluster, at).filter(|now| now.end > before.end) {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no merge: {last:?}");
}

/// What is wrong with the ranges of a cluster; nothing in the end.
async fn fault_in(cluster: &Cluster) -> Option<String> {
    let alive: Vec<&Member> = cluster.members.iter().filter(|member| !member.has_stopped()).collect();
    let ranges = match alive[0].db.ranges_in(&Span::new(Key::MIN, Key::MAX)).await {
        Ok(ranges) => ranges,
        Err(error) => return Some(error.to_string()),
    };
    let mut next = Key::MIN;
    for range in &ranges {
        if range.start != next {
            return Some(format!("{range} does not begin at {next}: {ranges:?}"));
        }
        next = range.end.clone();
    }
    let ts = alive[0].db.clock().now();
    for member in &alive {
        let own = |range: &&RangeDescriptor| range.replica_on_store(member.store.store_id()).is_some();
        let wanted: BTreeSet<String> = ranges.iter().filter(own).map(ToString::to_string).collect();
        let stored = replica::stored_ranges(member.store.engine()).unwrap();
        let stored: BTreeSet<String> = stored.iter().map(ToString::to_string).collect();
        let opened = member.store.replicas().into_iter().filter_map(|replica| replica.descriptor());
        let opened: BTreeSet<String> = opened.map(|range| range.to_string()).collect();
        if stored != wanted || opened != wanted {
            return Some(format!("{} has {stored:?}, open {opened:?}, of {wanted:?}", member.store.store_id()));
        }
    }
    for range in &ranges {
        let sums: BTreeSet<u64> =
            alive.iter().filter(|it| range.replica_on_store(it.store.store_id()).is_some())
                .map(|member| member.store.engine().checksum(&range.span(), ts).unwrap()).collect();
        if sums.len() > 1 {
            return Some(format!("the replicas of {range} differ"));
        }
    }
    None
}

async fn whole(cluster: &Cluster) {
    let mut fault = None;
    let look = async {
        loop {
            fault = fault_in(cluster).await;
            if fault.is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), look).await;
    assert!(ended.is_ok(), "{fault:?}");
}

/// Holds all that come to a fail point.
struct Held {
    point: &'static str,
    reached: Arc<AtomicBool>,
    let_go: Arc<AtomicBool>,
}

impl Held {
    fn at(point: &'static str) -> Self {
        let (reached, let_go) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (seen, may_go) = (reached.clone(), let_go.clone());
        fail::cfg_callback(point, move || {
            seen.store(true, Ordering::Release);
            tokio::task::block_in_place(|| {
                while !may_go.load(Ordering::Acquire) {
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        })
        .unwrap();
        Self { point, reached, let_go }
    }

    async fn reached(&self) {
        until(self.point, async || self.reached.load(Ordering::Acquire)).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        fail::remove(self.point);
        self.let_go.store(true, Ordering::Release);
    }
}

async fn fill(member: &Member) {
    for name in ["a1", "a2", "p1", "p2"] {
        write(member, name, "before").await;
    }
}

async fn all_there(member: &Member, value: &str) {
    for name in ["a1", "a2", "p1", "p2"] {
        assert_eq!(get(member, name).await.as_deref(), Some(value), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn neighbours_become_one_range_again_and_again() {
    let dir = TempDir::new().unwrap();
    let mut cluster = cluster(&dir, 3).await;
    fill(&cluster.members[0]).await;
    for round in 0..3 {
        let right = split(&cluster, round % 3, "m").await;
        write(&cluster.members[1], "p1", "split").await;
        let merged = merge(&cluster, (round + 1) % 3, "a").await;
        assert_eq!((merged.range_id, merged.end), (FIRST, Key::MAX));
        for member in &cluster.members {
            assert_eq!(get(member, "p1").await.as_deref(), Some("split"));
        }
        write(&cluster.members[2], "p1", "before").await;
        whole(&cluster).await;
        // It never comes again, and who asks for it is told where to go.
        let header = Header { range_id: right, ..Header::default() };
        let batch = BatchRequest { header, requests: vec![Request::Get { key: key("p1"), lock: None }] };
        let answer = cluster.members[0].store.send(&batch).await;
        assert!(matches!(answer, Err(KvError::RangeMismatch { ref descriptors, .. }) if descriptors[0].range_id == FIRST), "{answer:?}");
    }
    all_there(&cluster.members[0], "before").await;
    for place in 0..3 {
        cluster.restart(place).await;
    }
    all_there(&cluster.members[1], "before").await;
    whole(&cluster).await;
    // In the middle of others.
    for at in ["c", "e", "g", "i"] {
        split(&cluster, 0, at).await;
    }
    let merged = merge(&cluster, 0, "e").await;
    assert_eq!((merged.start, merged.end), (key("e"), key("i")));
    whole(&cluster).await;
    cluster.stop().await;
}

/// The crash comes while the cluster stands at a step of a merge.
async fn crash_at(point: &'static str, place: Option<usize>) {
    let scenario = fail::FailScenario::setup();
    let dir = TempDir::new().unwrap();
    let mut cluster = cluster(&dir, 3).await;
    fill(&cluster.members[0]).await;
    split(&cluster, 0, "m").await;
    let led_by = leader(&cluster, "a").await;
    let held = Held::at(point);
    let db = cluster.members[led_by].db.clone();
    let merging = tokio::spawn(async move { db.admin(&key("a"), Request::Merge).await.map(drop) });
    held.reached().await;
    // The leaseholder that merges, another, or all.
    let struck: Vec<usize> = match place {
        Some(offset) => vec![(led_by + offset) % 3],
        None => vec![0, 1, 2],
    };
    for place in &struck {
        let mut kill = std::pin::pin!(cluster.kill(*place));
        // What is held does not end by itself.
        if tokio::time::timeout(Duration::from_millis(300), &mut kill).await.is_err() {
            held.let_go.store(true, Ordering::Release);
            kill.await;
        }
    }
    drop(held);
    let _whatever = tokio::time::timeout(Duration::from_secs(15), merging).await;
    for place in &struck {
        cluster.restart(*place).await;
    }
    all_there(&cluster.members[0], "before").await;
    for name in ["a1", "a2", "p1", "p2"] {
        write(&cluster.members[1], name, "after").await;
    }
    whole(&cluster).await;
    // Whatever became of that attempt, another comes through.
    if led(&cluster, "p1").is_some_and(|range| range.range_id != FIRST) {
        merge(&cluster, 2, "a").await;
    }
    all_there(&cluster.members[2], "after").await;
    whole(&cluster).await;
    cluster.stop().await;
    scenario.teardown();
}

macro_rules! crashes {
    ($($name:ident: $point:literal, $place:expr;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
        async fn $name() {
            crash_at($point, $place).await;
        })*
    };
}

crashes! {
    the_leaseholder_dies_before_the_freeze: "merge::before_freeze", Some(0);
    the_leaseholder_dies_after_the_freeze: "merge::after_freeze", Some(0);
    the_leaseholder_dies_after_the_catch_up: "merge::after_catch_up", Some(0);
    the_leaseholder_dies_after_it_proposed: "merge::after_propose", Some(0);
    a_follower_dies_after_the_freeze: "merge::after_freeze", Some(1);
    a_follower_dies_after_the_catch_up: "merge::after_catch_up", Some(2);
    all_die_before_the_freeze: "merge::before_freeze", None;
    all_die_after_the_freeze: "merge::after_freeze", None;
    all_die_after_the_catch_up: "merge::after_catch_up", None;
    all_die_after_it_was_proposed: "merge::after_propose", None;
    all_die_when_it_is_applied: "merge::before_apply", None;
    all_die_before_the_old_log_is_removed: "merge::replica_closed", None;
}

/// *reads-remembered*: a write of an earlier time than a read that the right-hand range served goes above it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_write_below_a_read_of_the_merged_range_is_pushed() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, 3).await;
    fill(&cluster.members[0]).await;
    split(&cluster, 0, "m").await;
    let left = leader(&cluster, "a").await;
    // Served by another node than the one that leads afterwards.
    let other = (left + 1) % 3;
    until("another leads the right-hand range", async || {
        cluster.transfer_lease(0, &key("p1"), other).await;
        cluster.leader_of(&key("p1")) == Some(other)
    })
    .await;
    let early = cluster.members[0].db.clock().now();
    assert_eq!(get(&cluster.members[other], "p3").await, None);
    let read_at = cluster.members[other].db.clock().now();
    merge(&cluster, left, "a").await;
    let place = leader(&cluster, "p1").await;
    let response = send(&cluster.members[place], "p3", within(&meta(7, "p3", early)), vec![put("p3", "late")]).await;
    let written = response.unwrap().txn.expect("it has one").write_ts;
    assert!(written > early && written >= read_at.max(early), "{written} after a read at {read_at}");
    cluster.stop().await;
}

/// *frozen-serves-nothing*, also by handles from before.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_old_range_serves_nothing_after_the_merge() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, 3).await;
    fill(&cluster.members[0]).await;
    let right = split(&cluster, 0, "m").await;
    write(&cluster.members[0], "p1", "split").await;
    let past = cluster.members[0].db.clock().now();
    let old: Vec<_> = cluster.members.iter().map(|member| member.store.replica(right).expect("it is there")).collect();
    merge(&cluster, 0, "a").await;
    write(&cluster.members[0], "p1", "after").await;
    for (place, replica) in old.iter().enumerate() {
        for ts in [Timestamp::MIN, past] {
            let header = Header { range_id: right, ts, ..Header::default() };
            let get = Request::Get { key: key("p1"), lock: None };
            let answer = replica.send(&BatchRequest { header: header.clone(), requests: vec![get] }).await;
            assert!(answer.is_err(), "{place}: {answer:?}");
            let put = Request::Put { key: key("p1"), value: b"lost".to_vec().into(), seq: 1 };
            let answer = replica.send(&BatchRequest { header, requests: vec![put] }).await;
            assert!(answer.is_err(), "{place}: {answer:?}");
        }
    }
    drop(old);
    // Versions from before are read through the merged range.
    let mut txn = cluster.members[1].db.begin(TxnOptions { as_of: Some(past), ..TxnOptions::default() });
    let value = txn.get(&key("p1"), Read::default()).await.unwrap();
    assert_eq!(value.as_deref(), Some(&b"split"[..]));
    assert_eq!(get(&cluster.members[2], "p1").await.as_deref(), Some("after"));
    cluster.stop().await;
}

/// Its neighbour is never heard of again: whoever leads it asks, and thaws it. *one-decision*
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_abandoned_merge_thaws() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, 3).await;
    fill(&cluster.members[0]).await;
    let right = split(&cluster, 0, "m").await;
    let left = led(&cluster, "a").expect("it is led");
    let into = MergeInto { left: left.range_id, start: left.start.clone(), generation: left.generation };
    let freeze = || Request::Freeze { at: key("m"), into: Box::new(into.clone()) };
    let answer = cluster.members[0].db.admin(&key("m"), freeze()).await.unwrap();
    assert!(matches!(answer, Response::Frozen(ref frozen) if frozen.descriptor.range_id == right), "{answer:?}");
    // Served again within the time that a client waits.
    write(&cluster.members[1], "p1", "after").await;
    assert_eq!(get(&cluster.members[2], "p1").await.as_deref(), Some("after"));
    let now = led(&cluster, "a").expect("it is led");
    assert!(now.generation > left.generation, "the attempt is ruled out: {now}");
    // One that comes late is void, and ends as well.
    cluster.members[0].db.admin(&key("m"), freeze()).await.unwrap();
    write(&cluster.members[1], "p2", "after").await;
    merge(&cluster, 0, "a").await;
    whole(&cluster).await;
    cluster.stop().await;
}

/// A follower that is away cannot catch up: nothing is merged, and both ranges serve.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_merged_while_a_replica_is_away() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, 3).await;
    fill(&cluster.members[0]).await;
    split(&cluster, 0, "m").await;
    let left = leader(&cluster, "a").await;
    let away = (left + 1) % 3;
    until("those that stay lead", async || {
        cluster.transfer_lease(left, &key("p1"), left).await;
        cluster.leader_of(&key("p1")) == Some(left)
    })
    .await;
    cluster.isolate(away);
    let refused = cluster.members[left].db.admin(&key("a"), Request::Merge).await;
    assert!(matches!(refused, Err(KvError::Invalid { .. })), "{refused:?}");
    for name in ["a1", "p1"] {
        write(&cluster.members[left], name, "after").await;
    }
    cluster.network.heal_all();
    merge(&cluster, left, "a").await;
    whole(&cluster).await;
    assert_eq!(get(&cluster.members[away], "p1").await.as_deref(), Some("after"));
    cluster.stop().await;
}

/// A new leaseholder of the frozen range does not thaw it while the merge is under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_change_of_lease_does_not_thaw() {
    let scenario = fail::FailScenario::setup();
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, 3).await;
    fill(&cluster.members[0]).await;
    let right = split(&cluster, 0, "m").await;
    let left = leader(&cluster, "a").await;
    let held = Held::at("merge::after_freeze");
    let db = cluster.members[left].db.clone();
    let merging = tokio::spawn(async move { db.admin(&key("a"), Request::Merge).await });
    held.reached().await;
    let leads = |place: usize| cluster.members[place].store.replica(right).is_some_and(|it| it.is_leaseholder());
    let led_by = (0..3).find(|place| leads(*place)).expect("somebody leads it");
    let next = (led_by + 1) % 3;
    let old = cluster.members[led_by].store.replica(right).expect("it leads");
    let to = range(&cluster.members[next], right).unwrap();
    let to = to.replica_on_store(cluster.members[next].store.store_id()).unwrap().replica_id;
    until("another leads it", async || {
        let _maybe = old.group().transfer_leader(to).await;
        leads(next)
    })
    .await;
    // Time for its queue to ask.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let frozen = |place: usize| cluster.members[place].store.replica(right).is_some_and(|it| it.machine().frozen().is_some());
    assert!((0..3).all(frozen), "it stays frozen until the merge is decided");
    drop(held);
    // Its outcome may have been lost; it has one.
    let _outcome = tokio::time::timeout(Duration::from_secs(20), merging).await.expect("it ends");
    until("it is one range, or serves again", async || !(0..3).any(frozen)).await;
    if led(&cluster, "p1").is_none_or(|range| range.range_id != FIRST) {
        merge(&cluster, 0, "a").await;
    }
    all_there(&cluster.members[next], "before").await;
    whole(&cluster).await;
    cluster.stop().await;
    scenario.teardown();
}

/// A follower is cut off after it has caught up: it comes to the merge by its log, or by a snapshot from after it, which
/// finds the old replica in its place.
async fn a_follower_comes_later(by_snapshot: bool) {
    let scenario = fail::FailScenario::setup();
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, 3).await;
    fill(&cluster.members[0]).await;
    let right = split(&cluster, 0, "m").await;
    let left = leader(&cluster, "a").await;
    let (away, third) = ((left + 1) % 3, (left + 2) % 3);
    until("those that stay lead", async || {
        cluster.transfer_lease(left, &key("p1"), left).await;
        cluster.leader_of(&key("p1")) == Some(left)
    })
    .await;
    let held = Held::at("merge::after_catch_up");
    let db = cluster.members[left].db.clone();
    let merging = tokio::spawn(async move { db.admin(&key("a"), Request::Merge).await });
    held.reached().await;
    cluster.isolate(away);
    drop(held);
    merging.await.unwrap().expect("two are enough to decide");
    for n in 0..20 {
        write(&cluster.members[left], &format!("p{n}"), "after").await;
    }
    assert!(cluster.members[away].store.replica(right).is_some(), "it is kept for its merge");
    if by_snapshot {
        for place in [left, third] {
            let store = &cluster.members[place].store;
            store.engine().flush().unwrap();
            let replica = store.replica(FIRST).expect("it is there");
            replica.group().truncate_log(replica.group().applied_index()).await;
        }
    }
    // Asks whether it is a member: the others have merged it, and here it is still needed.
    tokio::time::sleep(Duration::from_millis(700)).await;
    cluster.network.heal_all();
    whole(&cluster).await;
    assert!(cluster.members[away].store.replica(right).is_none());
    let mut stopped = Vec::new();
    for place in 0..3 {
        stopped.push(cluster.members[place].store.fenced());
    }
    assert_eq!(stopped, [0, 0, 0], "no replica had to be given up");
    cluster.isolate(third);
    write(&cluster.members[left], "p-last", "after").await;
    assert_eq!(get(&cluster.members[left], "p19").await.as_deref(), Some("after"));
    cluster.stop().await;
    scenario.teardown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_follower_comes_to_the_merge_by_its_log() {
    a_follower_comes_later(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_follower_passes_the_merge_by_snapshot() {
    a_follower_comes_later(true).await;
}

/// A counter that lay in both ranges one after the other gives no value twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_counter_gives_no_value_twice_over_split_and_merge() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, 3).await;
    let counter = key("p-counter");
    let mut given = BTreeSet::new();
    for round in 0..3 {
        for place in 0..6 {
            let value = cluster.members[place % 3].db.increment_ahead(&counter, 1, 32, i64::MAX).await.unwrap();
            assert!(given.insert(value), "{value} was given twice in round {round}");
        }
        if round % 2 == 0 {
            split(&cluster, 0, "m").await;
        } else {
            merge(&cluster, 0, "a").await;
        }
    }
    assert!(given.iter().next_back() < Some(&1000));
    cluster.stop().await;
}

/// What was cleared and collected in the right-hand range is refused by the merged one, and by whoever leads it next.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cleared_is_refused_after_the_merge() {
    let dir = TempDir::new().unwrap();
    let mut cluster = cluster(&dir, 3).await;
    fill(&cluster.members[0]).await;
    split(&cluster, 0, "m").await;
    let past = cluster.members[0].db.clock().now();
    cluster.members[0].db.clear_span(&Span::new(key("p"), key("q")), cluster.members[0].db.clock().now()).await.unwrap();
    merge(&cluster, 0, "a").await;
    for round in 0..2 {
        let mut txn = cluster.members[1].db.begin(TxnOptions { as_of: Some(past), ..TxnOptions::default() });
        let value = txn.get(&key("p1"), Read::default()).await;
        assert!(matches!(value, Err(kv::Error::SnapshotTooOld { .. })), "{value:?}");
        drop(txn);
        if round == 0 {
            for place in 0..3 {
                cluster.restart(place).await;
            }
        }
    }
    cluster.stop().await;
}

/// The queue merges what is small and left alone, but not over a boundary that a statement has set.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn small_neighbours_merge_by_themselves() {
    let dir = TempDir::new().unwrap();
    let cluster = tuned(&dir, 3, StoreTuning { merges: true, ..StoreTuning::default() }).await;
    fill(&cluster.members[0]).await;
    for at in ["c", "e", "g", "i", "k"] {
        cluster.members[0].db.split_at(&key(at)).await.unwrap();
    }
    cluster.members[0].db.split_and_keep(&key("m")).await.unwrap();
    until("two are left", async || {
        let ranges = cluster.members[0].db.ranges_in(&Span::new(Key::MIN, Key::MAX)).await;
        ranges.is_ok_and(|ranges| ranges.len() == 2 && ranges[1].start == key("m"))
    })
    .await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    whole(&cluster).await;
    assert_eq!(cluster.members[0].db.ranges_in(&Span::new(Key::MIN, Key::MAX)).await.unwrap().len(), 2);
    let why = cluster.members.iter().find_map(|member| member.store.unmerged(FIRST));
    assert!(why.is_some(), "it is told why");
    cluster.members[0].db.keep_split(&key("m"), false).await.unwrap();
    until("one is left", async || {
        let ranges = cluster.members[0].db.ranges_in(&Span::new(Key::MIN, Key::MAX)).await;
        ranges.is_ok_and(|ranges| ranges.len() == 1)
    })
    .await;
    all_there(&cluster.members[1], "before").await;
    whole(&cluster).await;
    cluster.stop().await;
}

/// Ranges on other stores follow their neighbours.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_neighbour_on_other_stores_is_brought_together_first() {
    let dir = TempDir::new().unwrap();
    let cluster = tuned(&dir, 4, StoreTuning { merges: true, ..StoreTuning::default() }).await;
    fill(&cluster.members[0]).await;
    cluster.members[0].db.split_and_keep(&key("m")).await.unwrap();
    until("it is led", async || led(&cluster, "p1").is_some_and(|range| range.voters().count() == 3)).await;
    let right = led(&cluster, "p1").unwrap();
    let spare = cluster.members.iter().find(|it| right.replica_on_store(it.store.store_id()).is_none()).unwrap();
    let add = replica::api::StoreTarget { node_id: spare.db.node_id(), store_id: spare.store.store_id() };
    until("it has moved", async || {
        let Some(now) = led(&cluster, "p1") else { return false };
        let Some(place) = cluster.leader_of(&key("p1")) else { return false };
        let own = cluster.members[place].store.store_id();
        let Some(goes) = now.voters().find(|it| it.store_id != own) else { return false };
        if now.replica_on_store(add.store_id).is_some() {
            return true;
        }
        let request = Request::ChangeReplicas { add: vec![add], remove: vec![goes.replica_id] };
        cluster.members[0].db.admin(&key("p1"), request).await.is_ok()
    })
    .await;
    cluster.members[0].db.keep_split(&key("m"), false).await.unwrap();
    until("they are one", async || led(&cluster, "p1").is_some_and(|range| range.start == Key::MIN)).await;
    all_there(&cluster.members[0], "before").await;
    whole(&cluster).await;
    cluster.stop().await;
}

const ACCOUNTS: u32 = 16;
const OPENED_WITH: u32 = 100;

fn account(n: u32) -> String {
    format!("{}{n:02}", char::from(b'a' + u8::try_from(n).unwrap_or(0)))
}

fn amount(value: Option<&[u8]>) -> u32 {
    value.and_then(|value| std::str::from_utf8(value).ok()).and_then(|text| text.parse().ok()).expect("an amount")
}

fn count(counts: &[AtomicU64; 4], what: usize) {
    counts[what].fetch_add(1, Ordering::Relaxed);
}

/// Moves money between two accounts, in whatever ranges they are.
async fn transfer(db: &kv::Db, from: u32, to: u32) -> Result<(), kv::Error> {
    let mut txn = db.begin(TxnOptions::default());
    txn.set_lock_timeout(Some(Duration::from_secs(2)));
    let work = async {
        let held = amount(txn.get(&key(&account(from)), Read::default()).await?.as_deref());
        let had = amount(txn.get(&key(&account(to)), Read::default()).await?.as_deref());
        let moved = held.min(7);
        txn.put(key(&account(from)), (held - moved).to_string().into_bytes().into());
        txn.put(key(&account(to)), (had + moved).to_string().into_bytes().into());
        txn.commit().await.map(drop)
    };
    let done = work.await;
    if done.is_err() {
        txn.rollback().await;
    }
    done
}

async fn audit(db: &kv::Db) -> Result<u32, kv::Error> {
    let mut txn = db.begin(TxnOptions::default());
    let (mut left, mut seen, mut sum) = (Some(Span::new(key("a"), key("z"))), 0, 0);
    while let Some(span) = left {
        let page = txn.scan(&span, kv::ScanOptions::default()).await?;
        seen += page.rows.len();
        sum += (0..page.rows.len()).map(|row| amount(Some(page.rows.get(row).1))).sum::<u32>();
        left = page.resume;
    }
    txn.commit().await?;
    assert_eq!(seen, ACCOUNTS as usize, "every account is seen once");
    Ok(sum)
}

/// A bank over ranges that split and merge all the time, while one node after the other is killed and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bank_over_ranges_that_split_and_merge_under_kills() {
    let dir = TempDir::new().unwrap();
    let mut cluster = cluster(&dir, 3).await;
    for n in 0..ACCOUNTS {
        write(&cluster.members[0], &account(n), &OPENED_WITH.to_string()).await;
    }
    let counts: Arc<[AtomicU64; 4]> = Arc::default();
    for round in 0..6_usize {
        let victim = round % 3;
        let survivors = [(victim + 1) % 3, (victim + 2) % 3];
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for (worker, place) in survivors.into_iter().cycle().take(6).enumerate() {
            let (db, stop, counts) = (cluster.members[place].db.clone(), stop.clone(), counts.clone());
            let mut n = u32::try_from(worker * 31 + round * 7).unwrap();
            tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Acquire) {
                    n = n.wrapping_mul(1_103_515_245).wrapping_add(12_345);
                    let (from, by) = ((n >> 8) % ACCOUNTS, 1 + (n >> 16) % (ACCOUNTS - 1));
                    match worker {
                        0 | 1 => {
                            let at = key(&account((n >> 8) % ACCOUNTS));
                            if worker == 0 {
                                if matches!(tokio::time::timeout(Duration::from_secs(3), db.split_at(&at)).await, Ok(Ok(()))) {
                                    count(&counts, 0);
                                }
                            } else if matches!(
                                tokio::time::timeout(Duration::from_secs(8), db.admin(&at, Request::Merge)).await,
                                Ok(Ok(_))
                            ) {
                                count(&counts, 1);
                            }
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        2 => match tokio::time::timeout(Duration::from_secs(10), audit(&db)).await {
                            Ok(Ok(sum)) => {
                                assert_eq!(sum, ACCOUNTS * OPENED_WITH);
                                count(&counts, 2);
                            }
                            Ok(Err(_)) | Err(_) => {}
                        },
                        _ => {
                            let moved = transfer(&db, from, (from + by) % ACCOUNTS);
                            if matches!(tokio::time::timeout(Duration::from_secs(10), moved).await, Ok(Ok(()))) {
                                count(&counts, 3);
                            }
                        }
                    }
                }
            }));
        }
        tokio::time::sleep(Duration::from_millis(1200)).await;
        cluster.kill(victim).await;
        tokio::time::sleep(Duration::from_millis(800)).await;
        cluster.restart(victim).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        stop.store(true, Ordering::Release);
        for task in tasks {
            task.await.unwrap();
        }
        let mut sum = None;
        until("it can be audited", async || {
            sum = audit(&cluster.members[victim].db).await.ok();
            sum.is_some()
        })
        .await;
        assert_eq!(sum, Some(ACCOUNTS * OPENED_WITH), "in round {round}");
    }
    whole(&cluster).await;
    let [splits, merges, audits, transfers] = [0, 1, 2, 3].map(|what: usize| counts[what].load(Ordering::Relaxed));
    println!("splits {splits}, merges {merges}, audits {audits}, transfers {transfers}");
    assert!(splits > 5 && merges > 5 && audits > 5 && transfers > 20, "{splits} {merges} {audits} {transfers}");
    cluster.stop().await;
}
