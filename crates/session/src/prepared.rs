//! Prepared statements after the catalog has changed: they are planned anew, and must still answer what their client
//! was told they would.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use plan::{PreparedPlan, StatementKind, Utility};
use types::{SqlError, SqlResult, SqlType};

use crate::{Prepared, Session, Statement, settings::known::known};

pub(crate) use plan::statement::UNCOMMITTED;

/// Whether it answers a result set, which may be one without columns.
#[must_use]
pub fn yields_rows(plan: &PreparedPlan) -> bool {
    !plan.columns.is_empty() || matches!(plan.kind, StatementKind::Query { .. }) && plan.tag == "SELECT"
}

pub(crate) fn is_execute(plan: &PreparedPlan) -> bool {
    matches!(&plan.kind, StatementKind::Utility(utility) if matches!(**utility, Utility::Execute { .. }))
}

/// The same to a client, though a user-defined type may consist of something else by now.
fn is_alike(old: &SqlType, new: &SqlType) -> bool {
    old == new || (old.user_type().is_some() && old.same_base(new))
}

impl Session {
    /// Fills in the columns of what answers those of something else: a cursor, or a prepared statement.
    pub(crate) fn describe_by_name(&self, plan: &mut PreparedPlan) {
        self.describe_fetch(plan);
        if let StatementKind::Utility(utility) = &plan.kind
            && let Utility::Show(name) = &**utility
            && let Some(known) = known(&name.to_lowercase())
        {
            known.name.clone_into(&mut plan.columns[0].name);
        }
        if let StatementKind::Utility(utility) = &plan.kind
            && let Utility::Execute { name, .. } = &**utility
        {
            plan.catalog_version = UNCOMMITTED;
            if let Ok(prepared) = self.prepared(name)
                && !is_execute(&prepared.plan)
            {
                let mut executed = PreparedPlan::clone(&prepared.plan);
                self.describe_fetch(&mut executed);
                plan.columns = executed.columns;
            }
        }
    }

    /// Whether planning against the catalog as this session sees it would be about the same, also for a role that is subject to the same
    /// policies.
    pub(crate) fn is_current(&self, plan: &PreparedPlan) -> bool {
        // All changes of one transaction share a version.
        if self.has_changed_catalog() {
            return false;
        }
        let catalog = self.catalog();
        plan.holds_in(&catalog, self.database)
            && plan.statistics_epoch == catalog.statistics().epoch()
            && self.holds_row_security(plan)
    }

    /// Whether a prepared statement's plan is what planning it now would be about.
    pub(crate) fn still_holds(&self, prepared: &Prepared) -> bool {
        self.is_current(&prepared.plan) && prepared.scope.has_path_of(&self.environment().scope)
    }

    /// Plans a statement again, with the parameters it has had.
    ///
    /// # Errors
    /// 0A000 when it would not answer the same columns as before, and what is wrong with the statement by now.
    pub(crate) fn plan_again(
        &self,
        statement: &Statement,
        old: &PreparedPlan,
    ) -> SqlResult<Arc<PreparedPlan>> {
        let is_same = |plan: &PreparedPlan| {
            old.params.len() == plan.params.len()
                && old.params.iter().zip(&plan.params).all(|(old, new)| is_alike(old, new))
                && old.columns.len() == plan.columns.len()
                && old
                    .columns
                    .iter()
                    .zip(&plan.columns)
                    .all(|(old, new)| is_alike(&old.ty, &new.ty) && old.name == new.name)
        };
        // What sessions share is counted where they do.
        if !statement.has_plan() {
            self.engine.plans.metrics().replans.fetch_add(1, Relaxed);
        }
        if let Ok(plan) = self.plan_of(statement)
            && is_same(&plan)
        {
            return Ok(plan);
        }
        // Its parameters stay what they were, though the columns they are compared with have become something else.
        let hints: Vec<Option<SqlType>> = old.params.iter().copied().map(Some).collect();
        let plan = self.plan(statement, &hints)?;
        if is_same(&plan) {
            return Ok(Arc::new(plan));
        }
        // Drivers that prepare again after it (asyncpg, pgjdbc) know it by the function.
        Err(SqlError::not_supported("cached plan must not change result type").with_routine("RevalidateCachedQuery"))
    }

    /// A prepared statement, planned against the catalog as it is.
    ///
    /// # Errors
    /// 26000 when there is none of that name, and as [`Session::plan_again`].
    pub fn current(&mut self, name: &str) -> SqlResult<Prepared> {
        let mut prepared = self.prepared(name)?;
        if let Some(statement) = &prepared.statement
            && !self.still_holds(&prepared)
            && self.check_failed(statement).is_ok()
        {
            prepared.plan = match prepared.plan.tag {
                // Another cursor, or statement, of the name may have other columns.
                "FETCH" | "EXECUTE" => self.plan_of(statement)?,
                _ => self.plan_again(statement, &prepared.plan)?,
            };
            prepared.scope = self.environment().scope.clone();
            self.keep_prepared(name, &prepared);
        }
        Ok(prepared)
    }
}
