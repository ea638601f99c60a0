//! Temporary objects: relations in a schema of the session's own, the first of its search path.
//!
//! The schema is made with the first of them, and dropped with all in it when the session ends. It is named after the node
//! and the moment, so that what a node leaves behind when it stops is known as such when it starts again
//! ([`drop_leftovers`]).

use std::time::Duration;

use catalog::{OnCommit, Relation, descriptor::POSTGRES_ROLE, descriptor::TEMPORARY_PREFIX};
use types::{SqlError, SqlResult, quote_identifier};

use super::{Ending, Engine, Failure, Session};
use crate::cursor::Nowhere;

/// How long the end of a session waits for its temporary objects to be dropped.
const PATIENCE: Duration = Duration::from_secs(10);

fn prefix(db: &kv::Db) -> String {
    format!("{TEMPORARY_PREFIX}{}_", db.node_id().get())
}

pub(super) fn new_schema_name(db: &kv::Db) -> String {
    // No two readings of a node's clock are the same.
    let now = db.clock().now();
    format!("{}{:x}_{:x}", prefix(db), now.wall_ns(), now.logical())
}

impl Session {
    /// The search path with the schema of temporary objects, which need not be there yet, before all others.
    pub(crate) fn path(&self) -> Vec<String> {
        std::iter::once(&self.temporary).chain(&self.settings.search_path).cloned().collect()
    }

    /// ON COMMIT, for the temporary tables that the transaction has used.
    pub(super) async fn settle_temporary(&mut self) -> Result<(), Failure> {
        let Some(block) = self.block.as_ref().filter(|_| self.has_temporary) else { return Ok(()) };
        let catalog = self.catalog();
        let Some(schema) = catalog.schema(self.database, &self.temporary).map(|schema| schema.id) else {
            return Ok(());
        };
        let mut used = block.uses.clone();
        used.sort_unstable();
        used.dedup();
        let (mut emptied, mut dropped) = (Vec::new(), Vec::new());
        for id in used {
            let Some(Relation::Table(table)) = catalog.relation_by_id(id) else { continue };
            if table.schema != schema {
                continue;
            }
            let name = format!("pg_temp.{}", quote_identifier(&table.name));
            match table.on_commit {
                OnCommit::PreserveRows => {}
                // Who has written nothing has left no rows there.
                OnCommit::DeleteRows if !block.txn.has_writes() => {}
                OnCommit::DeleteRows => emptied.push(name),
                OnCommit::Drop => dropped.push(name),
            }
        }
        if !emptied.is_empty() {
            self.run_own(&format!("TRUNCATE {}", emptied.join(", "))).await?;
        }
        if !dropped.is_empty() {
            self.run_own(&format!("DROP TABLE {} CASCADE", dropped.join(", "))).await?;
        }
        Ok(())
    }

    /// A statement of the session's own, in the transaction that is open or in one that it opens.
    async fn run_own(&mut self, text: &str) -> Result<(), Failure> {
        let statement = self.read(text, &[])?.pop().ok_or_else(|| SqlError::internal("a statement reads as none"))?;
        let plan = self.plan_of(&statement)?;
        // Whoever acts by now: these are the session's objects, and no user's code runs here.
        self.is_own = true;
        let done = self.execute_within(&plan, &[], &mut Nowhere).await.map(drop);
        self.is_own = false;
        done
    }

    fn drop_text(&self) -> String {
        format!("DROP SCHEMA IF EXISTS {} CASCADE", quote_identifier(&self.temporary))
    }

    /// DISCARD TEMP.
    pub(super) async fn discard_temporary(&mut self) -> Result<(), Failure> {
        if self.has_temporary {
            self.run_own(&self.drop_text()).await?;
        }
        Ok(())
    }

    /// The client has gone: rolls back, and drops the temporary objects.
    pub async fn close(&mut self) {
        self.rollback().await;
        if !self.has_temporary {
            return;
        }
        let dropped = tokio::time::timeout(PATIENCE, self.drop_schema()).await;
        match dropped {
            Ok(Ok(())) => self.has_temporary = false,
            Ok(Err(error)) => tracing::warn!(%error, schema = %self.temporary, "temporary objects are left"),
            Err(_) => tracing::warn!(schema = %self.temporary, "temporary objects are left"),
        }
    }

    async fn drop_schema(&mut self) -> SqlResult<()> {
        // Its client's, which may forbid changes or cut them short.
        self.settings.reset_all()?;
        let Some(statement) = self.read(&self.drop_text(), &[])?.pop() else { return Ok(()) };
        self.is_own = true;
        let done = self.run(&statement, &mut Nowhere, Ending::WithStatement).await.map(drop);
        self.is_own = false;
        done
    }
}

/// Drops the temporary objects that sessions of this node had when it stopped. To be called before it takes clients; the
/// future may be run later.
pub fn drop_leftovers(engine: Engine) -> impl Future<Output = ()> + Send {
    let catalog = engine.catalog.current();
    let prefix = prefix(engine.catalog.db());
    let left: Vec<(u32, String)> = catalog
        .schemas()
        .filter(|schema| schema.name.starts_with(&prefix))
        .map(|schema| (schema.database, schema.name.clone()))
        .collect();
    async move {
        for (database, schema) in left {
            let names = catalog.database_by_id(database).zip(catalog.role_by_id(POSTGRES_ROLE));
            let Some((database, user)) = names else { continue };
            let dropped = async {
                let mut session = Session::connect(engine.clone(), &user.name, &database.name, 0).await?;
                session.temporary.clone_from(&schema);
                session.drop_schema().await
            };
            if let Err(error) = dropped.await {
                tracing::warn!(%error, %schema, "temporary objects of an earlier start are left");
            }
        }
    }
}
