//! ANALYZE: tables are read as of now, apart from the session's transaction unless that has run something else.
//!
//! [`keep_statistics`] does the same by itself for tables that have changed, as PostgreSQL's autovacuum does. A table is
//! read in whole, so the more that takes the longer it is left alone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use catalog::{Relation, Table};
use kv::TxnOptions;
use rustc_hash::FxHashMap;

use super::{Engine, Failure, Session};
use crate::sink::{Severity, Sink};
use types::SqlState;

impl Session {
    /// Of these tables, or of all in the database, those that the user may maintain; others are passed over with a warning.
    pub(super) async fn maintained(
        &mut self,
        tables: Option<&[Arc<Table>]>,
        verb: &str,
        sink: &mut dyn Sink,
    ) -> Result<Vec<Arc<Table>>, Failure> {
        self.know_privileges().await?;
        let environment = self.environment();
        let catalog = &environment.view.catalog;
        let all = || {
            let tables = catalog.relations_of(self.database).filter_map(|relation| match relation {
                Relation::Table(table) => Some(table.clone()),
                Relation::View(_) | Relation::Sequence(_) => None,
            });
            tables.collect()
        };
        let tables: Vec<Arc<Table>> = tables.map_or_else(all, <[_]>::to_vec);
        // The rows of a partitioned table are those of its partitions.
        let (mut given, mut of_others): (Vec<Arc<Table>>, Vec<Arc<Table>>) = (Vec::new(), Vec::new());
        for table in &tables {
            match table.is_partitioned() {
                true => of_others.extend(catalog.leaves_of(table)),
                false => given.push(table.clone()),
            }
        }
        for leaf in of_others {
            if given.iter().all(|known| known.id != leaf.id) {
                given.push(leaf);
            }
        }
        let tables = given;
        let (access, user) = (catalog.access(self.database), environment.user_id);
        let is_every = access.owns(user, self.database);
        let (mut kept, mut skipped) = (Vec::with_capacity(tables.len()), Vec::new());
        for table in tables {
            if is_every || access.owns(user, table.id) { kept.push(table) } else { skipped.push(table) }
        }
        for table in skipped {
            let text = format!("skipping \"{}\" --- only table or database owner can {verb} it", table.name);
            self.notice(sink, Severity::Warning, SqlState::Warning, &text);
        }
        Ok(kept)
    }

    /// Gathers the statistics of tables.
    pub(super) async fn analyze(&mut self, tables: &[Arc<Table>]) -> Result<(), Failure> {
        // A block that other statements of the query string have written in must commit what they wrote.
        // So must what a routine has written that runs it.
        let is_alone =
            self.within.is_none() && self.block.as_ref().is_none_or(|block| !block.explicit && block.answered == 0);
        for table in tables {
            if self.block.is_none() {
                self.open_block(false);
            }
            if let Some(block) = self.block.as_mut().filter(|_| is_alone) {
                // Nobody needs to wait for a reader of the past.
                let as_of = Some(self.engine.clock.now());
                let txn = self.engine.catalog.db().begin(TxnOptions { as_of, ..TxnOptions::default() });
                block.txn = exec::TxnSlot::new(txn);
            }
            let found = self.with_exec(&[], &[], async |ctx| exec::analyze(table, ctx).await).await?;
            self.engine.catalog.save_statistics(table.storage, found).await.map_err(Failure::Kv)?;
        }
        Ok(())
    }
}

/// How often changed tables are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often what other nodes have found is read: every so many looks.
const LOOKS_PER_REFRESH: u32 = 6;
/// A table is left alone for so many times as long as it took to read.
const REST: u32 = 50;

/// Keeps the statistics of changed tables up to date, for as long as it is polled.
pub async fn keep_statistics(engine: Engine) {
    let mut rested: FxHashMap<u32, Instant> = FxHashMap::default();
    for look in 0_u32.. {
        tokio::time::sleep(LOOK_EVERY).await;
        if look % LOOKS_PER_REFRESH == LOOKS_PER_REFRESH - 1
            && let Err(error) = engine.catalog.refresh_statistics().await
        {
            tracing::debug!(%error, "statistics of other nodes were not read");
        }
        rested.retain(|_, until| *until > Instant::now());
        let catalog = engine.catalog.current();
        for storage in catalog.statistics().outdated() {
            if rested.contains_key(&storage) {
                continue;
            }
            let began = Instant::now();
            if let Err(error) = analyze_storage(&engine, storage).await {
                tracing::debug!(%error, storage, "a changed table was not analyzed");
            }
            rested.insert(storage, Instant::now() + began.elapsed() * REST);
        }
    }
}

/// Analyzes the table whose rows lie under this id; without one, nothing is left to be done.
async fn analyze_storage(engine: &Engine, storage: u32) -> types::SqlResult<()> {
    let catalog = engine.catalog.current();
    let table = catalog.relations().find_map(|relation| match relation {
        Relation::Table(table) if table.storage == storage => Some(table.clone()),
        _ => None,
    });
    let database = table.as_ref().and_then(|table| catalog.schema_by_id(table.schema)).map(|schema| schema.database);
    let (Some(table), Some(database)) = (table, database.and_then(|id| catalog.database_by_id(id))) else {
        catalog.statistics().forget_changes(storage);
        return Ok(());
    };
    let mut session = Session::connect(engine.clone(), "postgres", &database.name, 0).await?;
    let outcome = session.analyze(&[table]).await;
    session.rollback().await;
    outcome.map_err(Failure::into_sql)
}
