//! Changes of the catalog, in the transaction's own version of it.

use std::sync::Arc;

use builtins::EvalContext;
use catalog::privilege::Need;
use catalog::{CatalogChange, CatalogView, SHARED_DOMAIN, ZoneTarget};
use exec::MemoryBudget;
use plan::plan::InsertMode;
use plan::{PlanContext, PreparedPlan, StatementKind};
use types::{Datum, SqlError, SqlResult, SqlState};

use super::{Completion, Failure, STATEMENT_MEMORY, Session, catalog_error};
use crate::{
    host::{SessionHost, StatementTables},
    session_tables::SessionTables,
    sink::{Severity, Sink},
};

fn no_change() -> SqlError {
    SqlError::internal("a change of the catalog is kept until its transaction ends")
}

impl Session {
    pub(super) async fn ddl(
        &mut self,
        ddl: &plan::Ddl,
        plan: &PreparedPlan,
        params: &[Datum],
        sink: &mut dyn Sink,
    ) -> Result<Completion, Failure> {
        if let plan::Ddl::DropDatabase { name, .. } = ddl {
            self.check_no_prepared(name).await?;
        }
        self.lock_domains(ddl).await?;
        let environment = self.environment();
        let (database, user, search_path, user_name) = (
            self.database,
            environment.user_id,
            environment.view.search_path.clone(),
            environment.view.user.clone(),
        );
        let formatting = self.settings.formatting.clone();
        let catalog_store = self.engine.catalog.clone();
        let host = SessionHost::new(environment.clone());
        let block = self.block.as_mut().expect("a block is open when DDL runs");
        block.txn.begin_statement();
        // What it finds must be so when it commits, at every isolation level.
        let did_bind = block.txn.bind_reads(true);
        block.has_run = true;
        let mut change =
            block.change.take().unwrap_or_else(|| CatalogChange::new(environment.view.catalog.clone()));
        let before = change.snapshot().clone();
        let mut notices = Vec::new();
        let planning = |change: &CatalogChange, body: &mut dyn FnMut(&PlanContext<'_>) -> SqlResult<()>| {
            let catalog = change.snapshot();
            let host = CatalogView {
                catalog: catalog.clone(),
                database,
                search_path: search_path.clone(),
                user: user_name.clone(),
                printers: Some(&plan::PRINTERS),
            };
            let mut formatting = formatting.clone();
            formatting.oid_names = Some(Arc::new(host.clone()));
            let eval = EvalContext { catalog: &host, ..EvalContext::detached(&formatting) };
            let context = PlanContext {
                catalog,
                database,
                search_path: &search_path,
                user: &user_name,
                param_types: &[],
                notes: &plan::PlanNotes::default(),
                eval: &eval,
                formatting: &formatting,
                variables: None,
                transitions: &[],
                names: &[],
                depends_on: None,
                security: None,
            };
            body(&context)
        };
        let session_tables = SessionTables {
            host: &host,
            sessions: &self.engine.sessions,
            prepared: &self.prepared,
            cursors: Vec::new(),
            began: block.began,
        };
        let tables = StatementTables::new(
            &self.engine.catalog,
            &environment.view,
            session_tables,
            block.shared_catalog(),
        );
        let run_formatting = environment.formatting_at(block.began);
        let memory = MemoryBudget::within(STATEMENT_MEMORY, &self.engine.memory);
        let eval = environment.eval(&run_formatting, &host, Some(&memory));
        let outcome = exec::ddl::execute(
            ddl,
            &mut exec::ddl::DdlContext {
                txn: &mut block.txn,
                change: &mut change,
                store: &catalog_store,
                database,
                user,
                temporary: &self.temporary,
                garbage: &mut block.garbage,
                splits: &mut block.splits,
                notices: &mut notices,
                planning: &planning,
                eval: &eval,
                state: &mut self.state,
                virtual_tables: &tables,
                memory: memory.clone(),
                cancel: self.cancel.clone(),
            },
        )
        .await;
        block.txn.bind_reads(did_bind);
        if let Some(schema) = change.snapshot().schema(database, &self.temporary) {
            self.has_temporary = true;
            // It has something to do at the commit, used by then or not.
            let made = outcome.iter().flatten().filter(|table| table.schema == schema.id);
            block.uses.extend(made.map(|table| table.id));
        }
        block.change = Some(change);
        for (code, notice) in notices {
            let severity = if matches!(code, SqlState::Warning | SqlState::InvalidParameterValue | SqlState::PrivilegeNotGranted | SqlState::PrivilegeNotRevoked | SqlState::InvalidGrantOperation) {
                Severity::Warning
            } else {
                Severity::Notice
            };
            self.notice(sink, severity, code, &notice);
        }
        let made = outcome?;
        self.check_unused(plan, &before)?;
        // It is there already: a body may call its own routine.
        if let plan::Ddl::CreateRoutine { routine, body, .. } = ddl
            && routine.aggregate.is_none()
            && self.settings.is_on("check_function_bodies")
        {
            self.check_body(routine, body)?;
        }
        let insert = match (ddl, made) {
            (plan::Ddl::CreateTable(plan::statement::CreateTable { source: Some(source), .. }), Some(table)) => {
                Some(plan::insert_all(&table, source.clone()))
            }
            (plan::Ddl::Refresh(refresh), Some(table)) => match &refresh.source {
                Some(source) => {
                    let mut rules = None;
                    planning(self.block.as_ref().and_then(|block| block.change.as_ref()).ok_or_else(no_change)?, &mut |context| {
                        rules = Some(plan::row_rules(&table, context)?);
                        Ok(())
                    })?;
                    let rules = rules.ok_or_else(no_change)?;
                    let mode = if refresh.concurrently { InsertMode::Replace } else { InsertMode::Fill };
                    Some(plan::fill(&table, source.clone(), rules, mode))
                }
                None => None,
            },
            _ => None,
        };
        if let Some(insert) = insert {
            let is_own = |id: u32| matches!(ddl, plan::Ddl::Refresh(refresh) if refresh.table.id == id);
            let filled = PreparedPlan {
                kind: StatementKind::Query { plan: insert, writes: true },
                params: plan.params.clone(),
                columns: Vec::new(),
                ctes: plan.ctes.clone(),
                catalog_version: plan.catalog_version,
                statistics_epoch: plan.statistics_epoch,
                dependencies: None,
                // The table is the transaction's own.
                uses: plan.uses.iter().filter(|used| !is_own(used.id)).cloned().collect(),
                // The name of the view itself is none that its query looked up.
                needs: plan.needs.iter().filter(|it| !matches!(it, Need::Lookup { .. })).cloned().collect(),
                is_audited: plan.is_audited,
                reads_clock: plan.reads_clock,
                serves_any_value: false,
                tag: "SELECT",
            };
            // What a materialized view reads is read, and what it calls is called, by its owner.
            let around = match ddl {
                plan::Ddl::Refresh(refresh) => Some(self.act_as(refresh.table.owner)?),
                _ => None,
            };
            self.state.is_restricted = around.is_some();
            let outcome = match around.is_some() {
                true => match self.authorize(&filled).await {
                    Ok(()) => self.query(&filled, params, sink, true).await,
                    Err(failure) => Err(failure),
                },
                false => self.query(&filled, params, sink, true).await,
            };
            self.state.is_restricted = false;
            if let Some(around) = around {
                self.restore_settings(around);
            }
            let counts = match outcome {
                // The indexes are made anew with the rows.
                Err(Failure::Sql(error))
                    if error.code() == SqlState::UniqueViolation
                        && matches!(ddl, plan::Ddl::Refresh(refresh) if !refresh.concurrently) =>
                {
                    return Err(exec::ddl::as_new_index(error).into());
                }
                counts => counts?,
            };
            return Ok(Completion::Done(match ddl {
                plan::Ddl::Refresh(_) => plan.tag.to_owned(),
                _ => format!("SELECT {}", counts.affected),
            }));
        }
        // Nothing was made where it was there already.
        let tag = match ddl {
            plan::Ddl::CreateTable(create) if create.source.is_some() && create.materialized.is_some() => "CREATE MATERIALIZED VIEW",
            plan::Ddl::CreateTable(create) if create.source.is_some() => "CREATE TABLE AS",
            _ => plan.tag,
        };
        Ok(Completion::Done(tag.to_owned()))
    }

    /// A statement that has called the routine at hand goes on with what it was planned over.
    ///
    /// # Errors
    /// 55006 when that was changed.
    fn check_unused(&self, plan: &PreparedPlan, before: &catalog::CatalogSnapshot) -> SqlResult<()> {
        if self.in_use.is_empty() {
            return Ok(());
        }
        let after = self.catalog();
        let mut used = self.in_use.iter().flat_map(|used| used.iter());
        let Some(changed) = used.find(|used| !before.has_same(&after, used.id)) else { return Ok(()) };
        let name = before.relation_by_id(changed.id).map_or("", |relation| relation.name());
        let message = format!("cannot {} \"{name}\" because it is being used by active queries in this session", plan.tag);
        Err(SqlError::new(SqlState::ObjectInUse, message))
    }

    /// *version-moves*: other changes wait for the end of this transaction.
    async fn lock_domains(&mut self, ddl: &plan::Ddl) -> Result<(), Failure> {
        let catalog = self.catalog();
        let dropped = match ddl {
            plan::Ddl::DropDatabase { name, .. } => catalog.database(name).map(|database| database.id),
            _ => None,
        };
        let domains = match ddl {
            // Lists are beside the catalog.
            plan::Ddl::Grant(_) | plan::Ddl::GrantRoles(_) | plan::Ddl::DefaultPrivileges(_) => [None, None],
            plan::Ddl::ReassignOwned { .. } | plan::Ddl::DropOwned { .. } => [Some(SHARED_DOMAIN), Some(self.database)],
            plan::Ddl::OwnDatabase { .. }
            | plan::Ddl::CreateDatabase { .. }
            | plan::Ddl::DropDatabase { .. }
            | plan::Ddl::AlterDatabaseRename { .. }
            | plan::Ddl::CreateRole { .. }
            | plan::Ddl::AlterRole { .. }
            | plan::Ddl::RenameRole { .. }
            | plan::Ddl::DropRole { .. }
            | plan::Ddl::SetCluster(..) => [Some(SHARED_DOMAIN), dropped],
            plan::Ddl::ConfigureZone { target: ZoneTarget::Default | ZoneTarget::Database(_), .. } => {
                [Some(SHARED_DOMAIN), None]
            }
            plan::Ddl::Accepted | plan::Ddl::Skipped(_) => [None, None],
            _ => [Some(self.database), None],
        };
        let Some(block) = &mut self.block else { return Ok(()) };
        // What is logged is part of plans, and those of every database have to be made anew.
        let everywhere: Vec<u32> = match ddl {
            plan::Ddl::SetCluster(setting, _) if setting.is_of_audit() => {
                catalog.databases().map(|database| database.id).collect()
            }
            _ => Vec::new(),
        };
        for domain in domains.into_iter().flatten().chain(everywhere) {
            if block.locked.contains(&domain) {
                continue;
            }
            // While it waits for another transaction it can be cancelled.
            let locking = self.engine.catalog.lock_domain(&mut block.txn, &catalog, domain);
            tokio::select! {
                biased;
                outcome = locking => outcome.map_err(Failure::Kv)?,
                error = self.cancel.cancelled() => return Err(error.into()),
            }
            block.locked.push(domain);
        }
        if exec::ddl::changes_privileges(ddl, &catalog, self.database, self.environment().user_id) {
            self.lock_privileges().await?;
        }
        Ok(())
    }

    /// Others that grant or revoke wait for the end of this transaction.
    async fn lock_privileges(&mut self) -> Result<(), Failure> {
        let Some(block) = &mut self.block else { return Ok(()) };
        if block.locked.contains(&catalog::PRIVILEGES_DOMAIN) {
            return Ok(());
        }
        let before = self.engine.catalog.privileges_version();
        let locking = self.engine.catalog.lock_privileges(&mut block.txn);
        tokio::select! {
            biased;
            outcome = locking => outcome.map_err(|error| match error {
                catalog::CatalogError::Kv(error) => Failure::Kv(error),
                damaged => Failure::Sql(catalog_error(damaged)),
            })?,
            error = self.cancel.cancelled() => return Err(error.into()),
        }
        block.locked.push(catalog::PRIVILEGES_DOMAIN);
        // Roles may be others by now.
        if before != self.engine.catalog.privileges_version() {
            let newest = self.engine.catalog.refresh().await.map_err(catalog_error)?;
            if block.change.is_none() && newest.version(self.database) != block.snapshot.version(self.database) {
                return Err(Failure::Kv(super::block::catalog_changed()));
            }
        }
        Ok(())
    }
}
