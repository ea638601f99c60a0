//! Whether the current user may run a statement: looked at each time, before it has done or locked anything.
//!
//! A plan carries what it needs ([`PreparedPlan::needs`]); what a statement needs beyond that is said here, kind by kind,
//! by matches that leave none out. [`Session::open_for`] is how plans come to run, and asks here.
//!
//! **Invariant (granted-now):** what is granted is known as of the statement's start, on whatever node it was granted or
//! revoked, also within a transaction whose snapshot is older. The first superuser needs no grants, and causes no
//! read, save where views of others read for it.

use catalog::descriptor::POSTGRES_ROLE;
use catalog::RowSecurityState;
use catalog::privilege::{Access, Need, PrivilegeSet, denied};
use plan::{PreparedPlan, StatementKind, Utility};
use types::{SqlError, SqlResult, SqlState};

use super::{Failure, Session, catalog_error, has_row_security};

/// What a statement needs beside what was noted while it was bound.
enum Beyond<'a> {
    Nothing,
    Ddl(&'a plan::Ddl),
    /// Any of these privileges on each of the tables.
    AnyOf { tables: &'a [(u32, Option<u32>)], any_of: PrivilegeSet },
}

fn beyond(kind: &StatementKind) -> Beyond<'_> {
    match kind {
        StatementKind::Query { .. } | StatementKind::Empty => Beyond::Nothing,
        StatementKind::Ddl(ddl) => Beyond::Ddl(ddl),
        StatementKind::Utility(utility) => match &**utility {
            Utility::LockTable { tables, any_of } | Utility::ShowRanges { tables, any_of, .. } => Beyond::AnyOf { tables, any_of: *any_of },
            // Settings and roles are looked at where they are set.
            Utility::Set { .. }
            | Utility::ResetAll
            | Utility::Show(_)
            | Utility::ShowAll
            | Utility::ShowZones(_)
            | Utility::SetTransaction { .. }
            | Utility::SetConstraints { .. }
            | Utility::Discard(_)
            | Utility::Listen(_)
            | Utility::Unlisten(_)
            | Utility::Notify { .. }
            // Owners of what is backed up are looked at when it is.
            | Utility::Backup(_)
            // Transactions, and what is the session's own.
            | Utility::Begin(_)
            | Utility::Commit { .. }
            | Utility::Rollback { .. }
            | Utility::Savepoint(_)
            | Utility::ReleaseSavepoint(_)
            | Utility::RollbackTo(_)
            | Utility::ImportSnapshot(_)
            | Utility::PrepareTransaction(_)
            // Whose transaction it is is looked at when it is found.
            | Utility::EndPrepared { .. }
            | Utility::Prepare { .. }
            | Utility::Deallocate(_)
            | Utility::Fetch { .. }
            | Utility::CloseCursor(_)
            // Binding has noted all: tables, columns, routines.
            | Utility::DeclareCursor { .. }
            | Utility::CopyFrom { .. }
            | Utility::CopyTo { .. }
            | Utility::Explain { .. }
            // Of whom it is is looked at when it is read.
            | Utility::LargeObject { .. }
            | Utility::Call(_)
            // What they run is looked at when it is run.
            | Utility::Execute { .. }
            | Utility::Do(_)
            // Tables of others are passed over.
            | Utility::Analyze { .. }
            | Utility::Vacuum { .. }
            | Utility::Accepted => Beyond::Nothing,
        },
    }
}

impl Session {
    /// Says whether the current user may run a plan, and tells the audit log what it is about to read and write.
    ///
    /// # Errors
    /// 42501.
    pub(crate) async fn authorize(&mut self, plan: &PreparedPlan) -> Result<(), Failure> {
        if self.is_own {
            return Ok(());
        }
        let outcome = self.check_needs(plan).await;
        if plan.is_audited {
            self.tell_access(plan, &outcome)?;
        }
        outcome
    }

    async fn check_needs(&mut self, plan: &PreparedPlan) -> Result<(), Failure> {
        let beyond = beyond(&plan.kind);
        if plan.needs.is_empty() && matches!(beyond, Beyond::Nothing) {
            return Ok(());
        }
        let environment = self.environment();
        let (catalog, user) = (&environment.view.catalog, environment.user_id);
        let is_superuser = catalog.role_by_id(user).is_some_and(|role| role.superuser);
        // The first superuser stays one; others may have been made ordinary roles on another node.
        let is_of_others = |need: &Need| match need {
            Need::Shown => true,
            // What a view reads is read as its owner, whoever asks.
            Need::Relation(need) => need.role.is_some_and(|role| role != POSTGRES_ROLE),
            Need::RowSecurity { role, state, .. } => depends_on_grants(user, *role, state),
            Need::Lookup { .. }
            | Need::Object { .. }
            | Need::Owner(_)
            | Need::OwnerOfIndex { .. }
            | Need::CreateRole { .. }
            | Need::Member { .. }
            | Need::Secrets(_)
            | Need::Sequences => false,
        };
        if is_superuser && user == POSTGRES_ROLE && !plan.needs.iter().any(is_of_others) {
            return Ok(());
        }
        self.know_privileges().await?;
        if !self.holds_row_security(plan) {
            // Planned anew, for what is so now.
            return Err(Failure::Kv(super::block::catalog_changed()));
        }
        let newest = if self.has_changed_catalog() { catalog.clone() } else { self.engine.catalog.current() };
        let access = Access { roles: &newest, ..catalog.access(self.database) };
        access.check_needs(user, &plan.needs)?;
        if access.is_superuser(user) {
            return Ok(());
        }
        match beyond {
            Beyond::Nothing => Ok(()),
            Beyond::Ddl(ddl) => Ok(exec::ddl::authorize(ddl, catalog, self.database, user)?),
            Beyond::AnyOf { tables, any_of } => Ok(check_any(&access, user, tables, any_of)?),
        }
    }

    /// What PREPARE looks up in schemas: the rest is looked at when it is executed.
    ///
    /// # Errors
    /// 42501.
    pub(super) async fn check_lookups(&mut self, plan: &PreparedPlan) -> Result<(), Failure> {
        if self.is_own {
            return Ok(());
        }
        let environment = self.environment();
        self.know_privileges().await?;
        let lookups: Vec<Need> = plan.needs.iter().filter(|need| matches!(need, Need::Lookup { .. })).cloned().collect();
        let access = environment.view.catalog.access(self.database);
        Ok(access.check_needs(environment.user_id, &lookups)?)
    }

    /// Whether it must be known what is granted now before a plan with policies is taken.
    pub(crate) fn must_know_policies(&self, plan: &PreparedPlan) -> bool {
        if !has_row_security(plan) {
            return false;
        }
        let user = self.environment().user_id;
        plan.needs.iter().any(|need| match need {
            Need::RowSecurity { role, state, .. } => depends_on_grants(user, *role, state),
            Need::Relation(_)
            | Need::Lookup { .. }
            | Need::Object { .. }
            | Need::Owner(_)
            | Need::OwnerOfIndex { .. }
            | Need::CreateRole { .. }
            | Need::Member { .. }
            | Need::Secrets(_)
            | Need::Sequences
            | Need::Shown => false,
        })
    }

    /// Whether the current user, and the owners of views, are subject to the policies that a plan was made with
    /// (*decided-now*).
    pub(crate) fn holds_row_security(&self, plan: &PreparedPlan) -> bool {
        // Almost no plan has any.
        if !has_row_security(plan) {
            return true;
        }
        let environment = self.environment();
        let catalog = &environment.view.catalog;
        let newest = if self.has_changed_catalog() { catalog.clone() } else { self.engine.catalog.current() };
        let access = Access { roles: &newest, ..catalog.access(self.database) };
        access.holds_row_security(environment.user_id, &plan.needs, self.settings.is_on("row_security"))
    }

    /// Whether policies of a table hide rows from the current user, by what is granted as far as it is known.
    pub(super) fn is_subject_to_policies(&self, table: &catalog::Table) -> bool {
        let environment = self.environment();
        let catalog = &environment.view.catalog;
        let newest = if self.has_changed_catalog() { catalog.clone() } else { self.engine.catalog.current() };
        let access = Access { roles: &newest, ..catalog.access(self.database) };
        access.row_security(environment.user_id, table).is_subject()
    }

    /// *granted-now*: once for a statement of the client's, whatever it calls.
    pub(crate) async fn know_privileges(&mut self) -> Result<(), Failure> {
        if !self.knows_privileges {
            self.engine.catalog.refresh_privileges().await.map_err(catalog_error)?;
            self.knows_privileges = true;
        }
        Ok(())
    }
}

/// Whether what a plan was made for may be another answer by now: not that the first superuser, who stays one, is exempt.
fn depends_on_grants(user: u32, role: Option<u32>, state: &RowSecurityState) -> bool {
    state.is_subject() || role.unwrap_or(user) != POSTGRES_ROLE
}

fn check_any(access: &Access<'_>, user: u32, tables: &[(u32, Option<u32>)], any_of: PrivilegeSet) -> SqlResult<()> {
    for (table, role) in tables {
        if access.privileges_of(role.unwrap_or(user), *table, any_of).is_empty() {
            let object = access.object(*table);
            let object = object.ok_or_else(|| SqlError::new(SqlState::UndefinedTable, "relation does not exist"))?;
            return Err(denied(object.what, &object.name));
        }
    }
    Ok(())
}
