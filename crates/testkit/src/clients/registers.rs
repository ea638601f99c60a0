//! Pairs of registers in two ranges, written together with rising numbers: whoever begins after a number was acknowledged
//! sees it or a later one, in either register, by whatever node and its clock; and never one that was refused.
//!
//! Between the writer's first word and its commit others read what it is about to write, on nodes whose clocks are
//! ahead: its commit is pushed up, above what the nodes of the other range may have heard of.

use std::{
    collections::{HashSet, VecDeque},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use checkers::Outcome;
use futures::future::join_all;
use hlc::Timestamp;
use keys::Key;
use kv::{Db, Read, TxnOptions};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use storage::{Engine, LockRead, ReadOptions};

use super::{Ended, PATIENCE, as_number, judge_error, key, number};
use crate::run::Run;

/// How long a reader waits: what it does not see it says nothing of.
const READ_PATIENCE: Duration = Duration::from_secs(1);
/// The same where every store is asked at once, some of which cannot answer.
const ROUND_PATIENCE: Duration = Duration::from_millis(600);
/// How long a reader that is to push may take.
const PUSH_PATIENCE: Duration = Duration::from_millis(200);
/// Behind the registers. No key may begin with another (*prefix-free*): the newest version of the shorter one is not
/// found then, and what is written over it again, late, takes its place.
const FIRST_ANCHOR: u32 = 1000;
/// Writes and reads that a fault is told with.
const STEPS_TOLD: usize = 24;
/// Versions of a register that a fault is told with, of each store.
const VERSIONS_TOLD: usize = 4;

pub async fn client(run: Arc<Run>, pair: u32, seed: u64) {
    let mut pair = Pair {
        keys: [key(b'a', &[pair]), key(b'z', &[pair])],
        anchors: [key(b'a', &[FIRST_ANCHOR + pair]), key(b'z', &[FIRST_ANCHOR + pair])],
        acknowledged: 0,
        next: 1,
        refused: HashSet::new(),
        unknown: HashSet::new(),
        steps: VecDeque::new(),
        rng: SmallRng::seed_from_u64(seed),
        run,
    };
    while !pair.run.is_over() {
        pair.round().await;
        let pause = pair.rng.random_range(0..40);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

struct Pair {
    run: Arc<Run>,
    keys: [Key; 2],
    /// Written too by some of its transactions, before the others: one in the range of each register.
    anchors: [Key; 2],
    acknowledged: u64,
    next: u64,
    refused: HashSet<u64>,
    /// The outcome of these is unknown: they may be committed later than what was acknowledged since.
    unknown: HashSet<u64>,
    /// What was done last, for whoever reads of a fault.
    steps: VecDeque<String>,
    rng: SmallRng,
}

impl Pair {
    async fn round(&mut self) {
        let value = self.next;
        self.next += 1;
        let (ended, how) = self.write(value).await;
        self.note(format!("{value} written by {how}: {ended:?}"));
        match &ended {
            Ended::Committed => {
                self.acknowledged = value;
                self.run.succeeded("register written");
            }
            Ended::Failed(error) => judge_error(&self.run, error),
            Ended::Cut { .. } => {}
        }
        match ended.outcome() {
            Outcome::Ok => {}
            Outcome::Fail => {
                self.refused.insert(value);
            }
            Outcome::Info => {
                self.unknown.insert(value);
            }
        }
        // At once on every store, before they have heard of it from each other; then by anybody.
        let members = self.run.cluster.members.iter().map(|member| member.db.clone()).collect();
        self.read(members, ROUND_PATIENCE).await;
        if self.rng.random_bool(0.5) {
            let db = self.any_db();
            self.read(vec![db], READ_PATIENCE).await;
        }
    }

    /// A store's own handle, or a gateway's.
    fn any_db(&mut self) -> Db {
        let members = &self.run.cluster.members;
        if self.rng.random_bool(0.6) {
            members[self.rng.random_range(0..members.len())].db.clone()
        } else {
            self.run.gateways.get(self.rng.random_range(0..self.run.gateways.count())).db.clone()
        }
    }

    /// How it ended, and what is known of how it went.
    async fn write(&mut self, value: u64) -> (Ended, String) {
        let slot = self.rng.random_range(0..self.run.gateways.count());
        let gateway = self.run.gateways.get(slot);
        let mut txn = gateway.db.begin(TxnOptions::default());
        txn.set_lock_timeout(Some(Duration::from_secs(3)));
        let mut committing = false;
        // Its record is with the second: nothing but the resolution of its intents tells the first where it commits.
        let elsewhere = self.rng.random_bool(0.8);
        let (first, second) = if self.rng.random_bool(0.5) { (0, 1) } else { (1, 0) };
        let spills = self.rng.random_bool(self.run.schedule.spills);
        let pushes = self.rng.random_bool(0.7);
        let pause = Duration::from_millis(self.rng.random_range(0..15));
        let ahead = self.any_db();
        let mut how = format!(
            "gateway {slot} at {}, register {first} first, anchored elsewhere {elsewhere}, spills {spills}, pushed {pushes}",
            txn.read_ts()
        );
        let body = async {
            if elsewhere {
                txn.put(self.anchors[second].clone(), number(value));
            }
            txn.put(self.keys[first].clone(), number(value));
            if spills {
                txn.flush_if_large().await?;
                tokio::time::sleep(pause).await;
            }
            if pushes {
                let mut reader = ahead.begin(TxnOptions::default());
                let read = reader.get(&self.keys[second], Read::default());
                let _pushed_or_not = tokio::time::timeout(PUSH_PATIENCE, read).await;
            }
            txn.put(self.keys[second].clone(), number(value));
            committing = true;
            txn.commit().await
        };
        let outcome = tokio::select! {
            biased;
            () = gateway.wire.dead() => None,
            outcome = tokio::time::timeout(PATIENCE, body) => Some(outcome),
        };
        let ended = match outcome {
            Some(Ok(Ok(commit_ts))) => {
                let _infallible = write!(how, ", committed at {commit_ts}");
                Ended::Committed
            }
            Some(Ok(Err(error))) => Ended::Failed(error),
            Some(Err(_)) | None => Ended::Cut { committing },
        };
        (ended, how)
    }

    fn note(&mut self, step: String) {
        if self.steps.len() == STEPS_TOLD {
            self.steps.pop_front();
        }
        self.steps.push_back(step);
    }

    /// What each store has of the registers, and what was done last.
    fn circumstances(&self) -> String {
        let mut told = String::new();
        for (place, member) in self.run.cluster.members.iter().enumerate() {
            for (register, key) in self.keys.iter().enumerate() {
                let _infallible =
                    write!(told, "\n  store {} register {register}: {}", place + 1, stored(member.store.engine(), key));
            }
        }
        for step in &self.steps {
            let _infallible = write!(told, "\n  {step}");
        }
        told
    }

    async fn read(&mut self, by: Vec<Db>, patience: Duration) {
        let floor = self.acknowledged;
        let reads: Vec<_> = by.into_iter().map(|db| read_one(db, self.drawn_keys(), patience)).collect();
        for (how, seen) in join_all(reads).await.into_iter().flatten() {
            self.run.succeeded("register read");
            self.note(format!("read {seen:?} {how}"));
            self.judge(&seen, floor, &how);
            // A transaction of its own: nobody else may go back behind what one has seen.
            self.acknowledged = seen.iter().copied().fold(self.acknowledged, u64::max);
        }
    }

    fn drawn_keys(&mut self) -> Vec<Key> {
        let mut keys = self.keys.to_vec();
        if self.rng.random_bool(0.5) {
            keys.reverse();
        }
        if self.rng.random_bool(0.7) {
            keys.truncate(1);
        }
        keys
    }

    fn judge(&self, seen: &[u64], floor: u64, how: &str) {
        if let Some(stale) = seen.iter().find(|seen| **seen < floor && !self.unknown.contains(*seen)) {
            self.run.fault(format!(
                "stale read: {stale} in a register where {floor} was acknowledged before, {how}{}",
                self.circumstances()
            ));
        }
        if let Some(refused) = seen.iter().find(|seen| self.refused.contains(*seen)) {
            self.run.fault(format!("invented: {refused} is in a register though it was refused, {how}{}", self.circumstances()));
        }
        if seen.iter().any(|it| *it != seen[0]) {
            self.run.fault(format!("torn: registers written together hold {seen:?}, {how}{}", self.circumstances()));
        }
    }
}

/// Who read at what time, and what; nothing if it took too long.
async fn read_one(db: Db, keys: Vec<Key>, patience: Duration) -> Option<(String, Vec<u64>)> {
    let mut txn = db.begin(TxnOptions::default());
    let how = format!("by node {} at {}", db.node_id(), txn.read_ts());
    let body = async {
        let mut seen = Vec::new();
        for key in &keys {
            seen.push(as_number(txn.get(key, Read::default()).await?.as_deref()));
        }
        txn.commit().await?;
        Ok::<_, kv::Error>(seen)
    };
    match tokio::time::timeout(patience, body).await {
        Ok(Ok(seen)) => Some((how, seen)),
        Ok(Err(_)) | Err(_) => None,
    }
}

/// The newest versions of a key, and who holds it provisionally.
fn stored(engine: &Engine, key: &Key) -> String {
    let mut told = match engine.lock(key.as_bytes()) {
        Ok(Some(lock)) => format!("{:?} of {:?};", lock.ts, lock.txn),
        Ok(None) => String::new(),
        Err(error) => format!("{error};"),
    };
    let mut ts = Timestamp::MAX;
    for _ in 0..VERSIONS_TOLD {
        let options = ReadOptions { locks: LockRead::Skip, ..ReadOptions::at(ts) };
        match engine.get(key.as_bytes(), &options) {
            Ok(Some((value, at))) => {
                let _infallible = write!(told, " {} at {at}", as_number(Some(&value)));
                ts = at.prev();
            }
            Ok(None) => break,
            Err(error) => {
                let _infallible = write!(told, " {error}");
                break;
            }
        }
    }
    told
}
