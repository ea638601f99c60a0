//! Transactions that append to lists and read them, for [`checkers::list_append`]. Some write their buffer out and write the
//! same keys again, some roll back to savepoints.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use checkers::{
    Operation, Outcome,
    list_append::{self, Element, Micro},
};
use keys::{Key, Span};
use kv::{Db, Error, LockStrength, Read, ScanOptions, Txn, TxnOptions};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{Ended, judge_error, key};
use crate::run::Run;

/// The keys move on after so many appends for each, so that no list grows for ever.
const APPENDS_A_KEY: u64 = 20;
/// Keys that one scan reads.
const SCANNED: u32 = 12;
/// The first process of the history that is a scanner.
const SCANNERS: u64 = 1000;

#[must_use]
pub fn list_key(n: u32) -> Key {
    key(b'l', &[n])
}

fn number_of(key: &[u8]) -> u32 {
    u32::from_be_bytes(key[2..6].try_into().expect("a list's key ends with its number"))
}

fn decode(value: Option<&[u8]>) -> Vec<Element> {
    let mut rest = value.unwrap_or_default();
    let mut list = Vec::with_capacity(rest.len() / 8);
    while rest.len() >= 8 {
        list.push(rest.get_u64());
    }
    list
}

fn encode(list: &[Element]) -> Bytes {
    let mut out = BytesMut::with_capacity(list.len() * 8);
    for element in list {
        out.extend_from_slice(&element.to_be_bytes());
    }
    out.freeze()
}

/// The first of the keys that are written now.
#[must_use]
pub fn base(run: &Run) -> u32 {
    let window = run.schedule.window;
    let moved = run.elements_so_far() / (APPENDS_A_KEY * u64::from(window));
    u32::try_from(moved).unwrap_or(u32::MAX) * window / 2
}

/// Runs transactions until told to stop. Every attempt is one of the history, the failed ones too.
pub async fn client(run: Arc<Run>, slot: usize, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    while !run.is_over() {
        let gateway = run.gateways.get(slot);
        let mut txn = gateway.db.begin(TxnOptions::default());
        txn.set_lock_timeout(Some(Duration::from_secs(3)));
        for _ in 0..5 {
            let began = run.now();
            let mut attempt = Attempt { ops: Vec::new(), committing: false };
            let ended = tokio::select! {
                biased;
                () = gateway.wire.dead() => None,
                outcome = attempt.run(&run, &mut txn, &mut rng) => Some(outcome),
            };
            let ended = match ended {
                None => Ended::Cut { committing: attempt.committing },
                Some(Ok(())) => Ended::Committed,
                Some(Err(error)) => Ended::Failed(error),
            };
            let told = if let Ended::Failed(error) = &ended { error.to_string() } else { String::new() };
            let (process, outcome, returned) = (slot as u64, ended.outcome(), run.now());
            let what = attempt.ops;
            run.record(Operation { process, invoked: began, returned, outcome, what, error: told });
            let Ended::Failed(error) = ended else { break };
            judge_error(&run, &error);
            // Who was told so hears nothing more of it, and nobody cleans up.
            if run.schedule.troubles.refuse > 0.0 && rng.random_bool(0.5) {
                gateway.wire.die();
                break;
            }
            if !matches!(error, Error::Retry { .. }) {
                break;
            }
            txn.restart(&error);
        }
        drop(txn);
        if gateway.wire.is_dead() {
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..100))).await;
        }
    }
}

/// Reads much, at nodes whose clocks are ahead of others' too: whoever writes there meanwhile is pushed up, has to look
/// whether what it read still holds, and tries to commit again.
pub async fn scanner(run: Arc<Run>, slot: usize, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    while !run.is_over() {
        let gateway = run.gateways.get(slot + rng.random_range(0..3));
        let mut txn = gateway.db.begin(TxnOptions::default());
        txn.set_lock_timeout(Some(Duration::from_millis(300)));
        let began = run.now();
        let mut attempt = Attempt { ops: Vec::new(), committing: false };
        let (base, window) = (base(&run), run.schedule.window);
        let from = base + rng.random_range(0..window);
        let to = (base + window).min(from + (window / 4).max(SCANNED));
        let outcome = tokio::select! {
            biased;
            () = gateway.wire.dead() => None,
            outcome = attempt.scan(&mut txn, &mut rng, from, to, 50) => Some(outcome),
        };
        if let Some(Ok(())) = outcome
            && txn.commit().await.is_ok()
        {
            run.succeeded("scan");
            run.record(Operation {
                process: SCANNERS + slot as u64,
                invoked: began,
                returned: run.now(),
                outcome: Outcome::Ok,
                what: attempt.ops,
                error: String::new(),
            });
        }
        if let Some(Err(error)) = outcome {
            judge_error(&run, &error);
        }
        let pause = rng.random_range(0..40);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

struct Attempt {
    ops: Vec<Micro>,
    committing: bool,
}

impl Attempt {
    async fn run(&mut self, run: &Run, txn: &mut Txn, rng: &mut SmallRng) -> Result<(), Error> {
        let spills = rng.random_bool(run.schedule.spills);
        let mut written = Vec::new();
        self.some(run, txn, rng, &mut written).await?;
        if spills {
            txn.flush_if_large().await?;
            run.struck.note("transaction spilled");
            self.some(run, txn, rng, &mut written).await?;
        } else if rng.random_bool(0.2) {
            let (kept, savepoint) = (self.ops.len(), txn.savepoint());
            self.some(run, txn, rng, &mut written.clone()).await?;
            if rng.random_bool(0.6) {
                txn.rollback_to(&savepoint);
                // What was read of others meanwhile was theirs all the same, but lies under what is gone.
                self.ops.truncate(kept);
                run.struck.note("rolled back to a savepoint");
            }
            txn.release(&savepoint);
        }
        if rng.random_bool(0.05) {
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..60))).await;
        }
        self.committing = true;
        txn.commit().await?;
        run.succeeded("list transaction");
        Ok(())
    }

    async fn some(
        &mut self,
        run: &Run,
        txn: &mut Txn,
        rng: &mut SmallRng,
        written: &mut Vec<u32>,
    ) -> Result<(), Error> {
        let (base, window) = (base(run), run.schedule.window);
        // What was written out before is written again more often than what is still in memory.
        let (before, again) = (written.len(), if written.is_empty() { 0.3 } else { 0.7 });
        for _ in 0..rng.random_range(1..=4) {
            let lock = rng.random_bool(0.4).then_some(LockStrength::Update);
            // Statements see what those before them wrote.
            txn.begin_statement();
            let known = if before > 0 { before } else { written.len() };
            let again = (known > 0 && rng.random_bool(again)).then(|| written[rng.random_range(0..known)]);
            let n = again.unwrap_or_else(|| base + rng.random_range(0..window));
            match rng.random_range(0..10) {
                0 => {
                    let from = base + rng.random_range(0..window);
                    self.scan(txn, rng, from, (base + window).min(from + SCANNED), 4).await?;
                }
                1..=2 => {
                    let value = txn.get(&list_key(n), Read { lock, ..Read::default() }).await?;
                    self.ops.push(Micro::Read(u64::from(n), Some(decode(value.as_deref()))));
                }
                _ => {
                    let value = txn.get(&list_key(n), Read { lock, ..Read::default() }).await?;
                    let mut list = decode(value.as_deref());
                    self.ops.push(Micro::Read(u64::from(n), Some(list.clone())));
                    let element = run.next_element();
                    list.push(element);
                    txn.put(list_key(n), encode(&list));
                    written.push(n);
                    self.ops.push(Micro::Append(u64::from(n), element));
                }
            }
        }
        Ok(())
    }

    /// Page by page.
    async fn scan(
        &mut self,
        txn: &mut Txn,
        rng: &mut SmallRng,
        from: u32,
        to: u32,
        page: u64,
    ) -> Result<(), Error> {
        let mut rest = Some(Span::new(list_key(from), list_key(to)));
        let mut found = BTreeMap::new();
        while let Some(span) = rest {
            let reverse = rng.random_bool(0.3);
            let options = ScanOptions { max_rows: rng.random_range(0..page), reverse, ..ScanOptions::default() };
            let page = txn.scan(&span, options).await?;
            for (key, value) in page.rows.iter() {
                found.insert(number_of(key), decode(Some(value)));
            }
            rest = page.resume;
        }
        for n in from..to {
            self.ops.push(Micro::Read(u64::from(n), Some(found.remove(&n).unwrap_or_default())));
        }
        Ok(())
    }
}

/// The lists as they are in the end.
///
/// # Errors
/// When they cannot be read.
pub async fn read_all(db: &Db) -> Result<BTreeMap<list_append::Key, Vec<Element>>, Error> {
    let mut txn = db.begin(TxnOptions::default());
    let mut lists = BTreeMap::new();
    let mut rest = Some(super::span(b'l', &[]));
    while let Some(span) = rest {
        let page = txn.scan(&span, ScanOptions::default()).await?;
        for (key, value) in page.rows.iter() {
            lists.insert(u64::from(number_of(key)), decode(Some(value)));
        }
        rest = page.resume;
    }
    Ok(lists)
}
