//! Statements that are neither queries nor changes of the catalog, one arm each.

use std::sync::Arc;

use plan::{PreparedPlan, StatementKind, Utility};
use types::{Batch, Datum, SqlError, SqlState, SqlType};

use super::{Completion, Failure, Session};
use crate::{
    copy::{CopyIn, CopyPlan},
    cursor::CursorOptions,
    host::SessionHost,
    notify::Act,
    sink::{Severity, Sink, send},
};

impl Session {
    pub(super) async fn utility(
        &mut self,
        utility: &Utility,
        plan: &Arc<PreparedPlan>,
        params: &[Datum],
        sink: &mut dyn Sink,
        describe: bool,
    ) -> Result<Completion, Failure> {
        let done = |tag: &str| Ok(Completion::Done(tag.to_owned()));
        // *lent-and-returned*: the transaction is the statement's that runs the routine.
        let is_of_transaction = matches!(
            utility,
            Utility::Begin(_)
                | Utility::Commit { .. }
                | Utility::Rollback { .. }
                | Utility::Savepoint(_)
                | Utility::ReleaseSavepoint(_)
                | Utility::RollbackTo(_)
        );
        if is_of_transaction && self.within.is_some() {
            return Err(SqlError::new(SqlState::InvalidTransactionTermination, "invalid transaction termination").into());
        }
        match utility {
            Utility::Begin(modes) => {
                match &mut self.block {
                    Some(block) if block.explicit => self.notice(
                        sink,
                        Severity::Warning,
                        SqlState::ActiveSqlTransaction,
                        "there is already a transaction in progress",
                    ),
                    // What ran before in the same query string belongs to it.
                    Some(block) => block.explicit = true,
                    None => self.open_block(true),
                }
                self.set_modes(modes, "transaction", true)?;
                if let Some(as_of) = &modes.as_of {
                    self.begin_as_of(as_of).await?;
                }
                done(plan.tag)
            }
            Utility::Commit { chain } => {
                self.check_end(*chain, "COMMIT", sink)?;
                let modes = chain.then(|| self.modes());
                self.commit().await?;
                self.chain(modes)?;
                done("COMMIT")
            }
            Utility::Rollback { chain } => {
                self.check_end(*chain, "ROLLBACK", sink)?;
                let modes = chain.then(|| self.modes());
                self.rollback().await;
                self.chain(modes)?;
                done("ROLLBACK")
            }
            Utility::PrepareTransaction(gid) => self.prepare_transaction(gid, sink).await,
            Utility::EndPrepared { gid, commit } => {
                self.end_prepared(gid, *commit, plan.tag).await?;
                done(plan.tag)
            }
            Utility::ImportSnapshot(id) => {
                self.import_snapshot(id).await?;
                done(plan.tag)
            }
            Utility::Savepoint(name) => Ok(self.savepoint(name)?),
            Utility::ReleaseSavepoint(name) => Ok(self.release_savepoint(name)?),
            Utility::RollbackTo(name) => {
                self.in_block("ROLLBACK TO SAVEPOINT")?;
                self.rollback_to(name)?;
                done("ROLLBACK")
            }
            Utility::SetTransaction { modes, session: true } => {
                self.set_modes(modes, "default_transaction", false)?;
                done("SET")
            }
            Utility::SetTransaction { modes, session: false } => {
                if self.block.as_ref().is_some_and(|block| block.explicit) {
                    self.set_modes(modes, "transaction", true)?;
                    if let Some(as_of) = &modes.as_of {
                        self.begin_as_of(as_of).await?;
                    }
                } else {
                    self.notice(
                        sink,
                        Severity::Warning,
                        SqlState::NoActiveSqlTransaction,
                        "SET TRANSACTION can only be used in transaction blocks",
                    );
                }
                done("SET")
            }
            Utility::Set { name, value, local } => {
                if matches!(name.to_ascii_lowercase().as_str(), "role" | "session_authorization") {
                    // It may have been made, or granted, on another node.
                    self.know_privileges().await?;
                }
                Ok(self.set_variable(name, value.as_deref(), *local, plan, sink)?)
            }
            Utility::ResetAll => Ok(self.reset_all()?),
            Utility::Show(name) => Ok(self.show(name, plan, sink, describe).await?),
            Utility::ShowAll => Ok(self.show_all(plan, sink, describe).await?),
            Utility::ShowRanges { table, .. } => Ok(self.show_ranges(table, plan, sink, describe).await?),
            Utility::ShowZones(target) => Ok(self.show_zones(*target, plan, sink, describe).await?),
            Utility::Prepare { name, params, statement } => {
                let hints: Vec<Option<SqlType>> = params.iter().map(|ty| Some(*ty)).collect();
                let statement = self.read(statement, &hints)?.pop();
                self.prepare(name, statement).await?;
                if !matches!(self.prepared(name)?.plan.kind, StatementKind::Query { .. }) {
                    self.deallocate(name);
                    return Err(SqlError::new(
                        SqlState::SyntaxError,
                        "only queries and changes can be prepared",
                    )
                    .into());
                }
                let plan = self.prepared(name)?.plan.clone();
                if let Err(failure) = self.check_lookups(&plan).await {
                    self.deallocate(name);
                    return Err(failure);
                }
                if let Some(running) = self.registered.activity.state().text {
                    self.note_source(name, running);
                }
                done("PREPARE")
            }
            Utility::Execute { name, args } => {
                self.has_executed = true;
                self.execute_named(name, args, params, sink, describe).await
            }
            Utility::Deallocate(name) => match name {
                Some(name) => {
                    self.prepared(name)?;
                    self.deallocate(name);
                    done("DEALLOCATE")
                }
                None => {
                    self.prepared = Arc::default();
                    done("DEALLOCATE ALL")
                }
            },
            Utility::CopyFrom { table, columns, defaults, domains, filter, row_rules, options, marked, server } => {
                self.check_writable("COPY FROM")?;
                self.open_for(plan).await?;
                self.resolve_check().await?;
                let filter = filter.as_ref();
                let copy = CopyIn::new(table, columns, &CopyPlan { defaults, marked, domains, filter, rules: row_rules, options });
                match server {
                    Some(end) => Box::pin(self.copy_from_server(copy, end)).await,
                    None => Ok(Completion::CopyIn(Box::new(copy))),
                }
            }
            Utility::CopyTo { plan: source, options, server } => {
                self.open_for(plan).await?;
                let query = PreparedPlan {
                    kind: StatementKind::Query { plan: source.clone(), writes: false },
                    columns: source.columns.clone(),
                    ..(**plan).clone()
                };
                if let Some(end) = server {
                    return Box::pin(self.copy_to_server(&Arc::new(query), params, options, end)).await;
                }
                sink.copy_out(&source.columns, options);
                let counts = self.query(&query, params, sink, false).await?;
                Ok(Completion::CopyOut(format!("COPY {}", counts.rows)))
            }
            Utility::LargeObject { oids, change } => {
                self.check_writable(plan.tag)?;
                self.open_for(plan).await?;
                let mut notices = Vec::new();
                self.with_exec(params, &[], async |ctx| ctx.change_large_objects(oids, change, &mut notices).await).await?;
                for (code, text) in notices {
                    self.notice(sink, Severity::Warning, code, &text);
                }
                done(plan.tag)
            }
            Utility::Explain { plan: inner, analyze, options } => {
                let executed = match &inner.kind {
                    StatementKind::Utility(of) => match &**of {
                        Utility::Execute { name, args } => {
                            let executed = Box::pin(self.named(name, args, params)).await?;
                            self.authorize(&executed.0).await?;
                            Some(executed)
                        }
                        _ => None,
                    },
                    _ => None,
                };
                let (inner, params) = executed.as_ref().map_or((inner, params), |(plan, values)| (plan, values.as_slice()));
                let mut measured = None;
                if *analyze && matches!(inner.kind, StatementKind::Query { .. }) {
                    self.open_for(inner).await?;
                    let before = SessionHost::now_micros(&self.engine.clock);
                    let stats = self.query(inner, params, sink, true).await?.stats.unwrap_or_default();
                    measured = Some((stats, SessionHost::now_micros(&self.engine.clock) - before));
                }
                if describe {
                    sink.columns(&plan.columns);
                }
                let lines = crate::explain::lines(inner, *options, measured);
                let rows: Vec<Vec<Datum>> = lines.into_iter().map(|line| vec![Datum::text(line)]).collect();
                send(
                    sink,
                    &Batch::from_rows(&[SqlType::Text], &rows),
                    0..rows.len(),
                    &self.settings.formatting,
                )
                .await?;
                done("EXPLAIN")
            }
            Utility::Discard(kind) => self.discard(*kind, plan).await,
            Utility::Backup(statement) => self.backup_statement(statement, plan, sink, describe).await,
            Utility::Listen(channel) => {
                self.change_channels(Act::Listen(channel.clone()));
                done(plan.tag)
            }
            Utility::Unlisten(channel) => {
                self.change_channels(channel.clone().map_or(Act::UnlistenAll, Act::Unlisten));
                done(plan.tag)
            }
            Utility::Notify { channel, payload } => {
                self.send_notification(channel, payload)?;
                done(plan.tag)
            }
            Utility::Analyze { tables } | Utility::Vacuum { tables, analyze: true } => {
                let verb = if matches!(utility, Utility::Analyze { .. }) { "analyze" } else { "vacuum" };
                let tables = self.maintained(tables.as_deref(), verb, sink).await?;
                self.analyze(&tables).await?;
                done(plan.tag)
            }
            // Serializable transactions need no lock on the table; who asks for one outside of a block is told so.
            Utility::LockTable { .. } => {
                if self.within.is_none() {
                    self.in_block("LOCK TABLE")?;
                }
                done(plan.tag)
            }
            Utility::SetConstraints { constraints, deferred } => {
                if self.block.as_ref().is_none_or(|block| !block.explicit) {
                    let message = "SET CONSTRAINTS can only be used in transaction blocks";
                    self.notice(sink, Severity::Warning, SqlState::NoActiveSqlTransaction, message);
                    return done(plan.tag);
                }
                let constraints = constraints.as_deref();
                if !*deferred {
                    self.settle_deferred(constraints).await?;
                }
                self.state.deferred.set(constraints, *deferred);
                done(plan.tag)
            }
            Utility::Accepted => {
                // What is accepted without effect would have changed the catalog in PostgreSQL.
                let verb = plan.tag.split(' ').next();
                if matches!(verb, Some("ALTER" | "COMMENT" | "CREATE" | "DROP" | "GRANT" | "REVOKE")) {
                    self.check_writable(plan.tag)?;
                }
                done(plan.tag)
            }
            Utility::Vacuum { tables, .. } => {
                self.maintained(tables.as_deref(), "vacuum", sink).await?;
                done(plan.tag)
            }
            Utility::Call(call) => {
                self.call_procedure(call, plan, params, sink, describe).await?;
                done(plan.tag)
            }
            Utility::Do(body) => {
                self.do_block(body, sink).await?;
                done(plan.tag)
            }
            Utility::DeclareCursor { name, plan, hold, scroll, binary } => {
                let options = CursorOptions { hold: *hold, scroll: *scroll, binary: *binary };
                self.declare_cursor(name, plan, params, options).await
            }
            Utility::Fetch { name, direction, move_only } => {
                self.fetch(name, *direction, *move_only, sink, describe).await
            }
            Utility::CloseCursor(name) => self.close_cursor(name.as_deref()),
        }
    }
}
