//! Money that moves between accounts in different ranges: whoever sees all of them sees the same sum.

use std::{sync::Arc, time::Duration};

use kv::{Db, Error, LockStrength, Read, Txn, TxnOptions};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{as_number, judge_error, key, number, scan_all, span};
use crate::run::Run;

const ACCOUNTS: u32 = 8;
const OPENED_WITH: u64 = 1000;

/// Opens the accounts.
///
/// # Errors
/// As a commit.
pub async fn open(db: &Db) -> Result<(), Error> {
    let mut txn = db.begin(TxnOptions::default());
    for account in 0..ACCOUNTS {
        txn.put(key(b'b', &[account]), number(OPENED_WITH));
    }
    txn.commit().await.map(drop)
}

pub async fn client(run: Arc<Run>, slot: usize, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    while !run.is_over() {
        let gateway = run.gateways.get(slot);
        let mut txn = gateway.db.begin(TxnOptions::default());
        txn.set_lock_timeout(Some(Duration::from_secs(3)));
        let audits = rng.random_bool(0.4);
        let outcome = tokio::select! {
            biased;
            () = gateway.wire.dead() => continue,
            outcome = async { if audits { audit(&run, &mut txn).await } else { transfer(&run, &mut txn, &mut rng).await } } => outcome,
        };
        if let Err(error) = outcome {
            judge_error(&run, &error);
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..10))).await;
    }
}

async fn transfer(run: &Arc<Run>, txn: &mut Txn, rng: &mut SmallRng) -> Result<(), Error> {
    let from = rng.random_range(0..ACCOUNTS);
    let to = (from + rng.random_range(1..ACCOUNTS)) % ACCOUNTS;
    let mut held = [0; 2];
    for (held, account) in held.iter_mut().zip([from, to]) {
        let lock = rng.random_bool(0.7).then_some(LockStrength::Update);
        *held =
            as_number(txn.get(&key(b'b', &[account]), Read { lock, ..Read::default() }).await?.as_deref());
    }
    let amount = rng.random_range(0..=held[0].min(50));
    txn.put(key(b'b', &[from]), number(held[0] - amount));
    if rng.random_bool(run.schedule.spills) {
        txn.flush_if_large().await?;
    }
    txn.put(key(b'b', &[to]), number(held[1] + amount));
    txn.commit().await?;
    run.succeeded("transfer");
    Ok(())
}

async fn audit(run: &Arc<Run>, txn: &mut Txn) -> Result<(), Error> {
    let rows = scan_all(txn, span(b'b', &[]), || 3, || Duration::ZERO, || {}).await?;
    txn.commit().await?;
    let sum: u64 = rows.iter().map(|(_, value)| as_number(Some(value))).sum();
    if sum != u64::from(ACCOUNTS) * OPENED_WITH {
        run.fault(format!("bank: the accounts hold {sum}: {rows:?}"));
    }
    run.succeeded("audit");
    Ok(())
}

/// The accounts, when all is quiet.
///
/// # Errors
/// As a read.
pub async fn audit_the_end(run: &Arc<Run>, db: &Db) -> Result<(), Error> {
    audit(run, &mut db.begin(TxnOptions::default())).await
}
