//! Tables that are written, read page by page, and cleared while they are read: a reader that began before gets every
//! row or an error.

use std::{sync::Arc, time::Duration};

use keys::Key;
use kv::{Db, Error, Read, TxnOptions};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::sync::mpsc;

use super::{PATIENCE, judge_error, key, number, scan_all, span};
use crate::run::Run;

pub async fn client(run: Arc<Run>, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    for table in 0.. {
        if run.is_over() {
            return;
        }
        let rows = rng.random_range(30..120);
        let gateway = run.gateways.get(rng.random_range(0..run.gateways.count()));
        let outcome = tokio::select! {
            biased;
            () = gateway.wire.dead() => continue,
            outcome = tokio::time::timeout(PATIENCE, fill(&gateway.db, table, rows)) => outcome,
        };
        match outcome {
            Ok(Ok(())) => read_and_clear(&run, table, rows, &mut rng).await,
            Ok(Err(error)) => judge_error(&run, &error),
            Err(_) => {}
        }
    }
}

async fn fill(db: &Db, table: u32, rows: u32) -> Result<(), Error> {
    let mut txn = db.begin(TxnOptions::default());
    for row in 0..rows {
        txn.put(key(b't', &[table, row]), number(u64::from(row) + 1));
        if row % 50 == 49 {
            txn.flush_if_large().await?;
        }
    }
    txn.commit().await.map(drop)
}

fn any_db(run: &Run, rng: &mut SmallRng) -> Db {
    run.cluster.members[rng.random_range(0..run.cluster.members.len())].db.clone()
}

/// What stands for the table in a catalog: written when it is dropped.
fn dropped(table: u32) -> Key {
    key(b'd', &[table])
}

/// Drops the table, and clears what it held.
async fn clear(db: &Db, table: u32) -> Result<(), Error> {
    let mut txn = db.begin(TxnOptions::default());
    txn.put(dropped(table), number(1));
    let at = txn.commit().await?;
    db.clear_span(&span(b't', &[table]), at).await
}

async fn read_and_clear(run: &Arc<Run>, table: u32, rows: u32, rng: &mut SmallRng) {
    let (begun, mut all_begun) = mpsc::channel::<()>(1);
    let mut readers = Vec::new();
    for _ in 0..3 {
        let (run, db, begun) = (run.clone(), any_db(run, rng), begun.clone());
        let mut rng = SmallRng::seed_from_u64(rng.random());
        readers.push(tokio::spawn(async move {
            let mut begun = Some(begun);
            let mut txn = db.begin(TxnOptions::default());
            let (began, mut pauses) = (txn.read_ts(), SmallRng::seed_from_u64(rng.random()));
            let pages = || rng.random_range(3..20);
            let pause = || Duration::from_millis(pauses.random_range(0..20));
            let scan = async {
                // Refreshed with the rest when the transaction moves up: it stays below the drop.
                txn.get(&dropped(table), Read::default()).await?;
                scan_all(&mut txn, span(b't', &[table]), pages, pause, || drop(begun.take())).await
            };
            let Ok(Ok(found)) = tokio::time::timeout(PATIENCE, scan).await else { return };
            if txn.commit().await.is_err() {
                return;
            }
            run.succeeded("table read");
            if found.len() != rows as usize {
                let seen = found.len();
                run.fault(format!(
                    "missed rows: {seen} of {rows} of table {table}, cleared under a reader at {began}"
                ));
            }
        }));
    }
    drop(begun);
    // Each reader has had its first page, or has ended.
    let _nobody_left = all_begun.recv().await;
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..60))).await;
    let reading = readers.iter().any(|reader| !reader.is_finished());
    if let Ok(Ok(())) = tokio::time::timeout(PATIENCE, clear(&any_db(run, rng), table)).await
        && reading
    {
        run.struck.note("table cleared under a reader");
    }
    for reader in readers {
        // Its panic is noted by the run.
        let _ended = reader.await;
    }
}
