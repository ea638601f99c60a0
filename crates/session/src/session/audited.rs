//! What the audit log is told of statements: those that change objects, roles, privileges or the cluster's settings, and
//! the reads and writes of tables that rules choose.
//!
//! - Changes are told when they have ended, with their outcome, each time that a client runs one; those that a routine runs,
//!   too, under the client's statement. What happens to the transaction afterwards is not told.
//! - Reads and writes are told where a plan is opened, before it has read or written anything, once for each statement of
//!   the client's, and once more when its transaction is run again: 00000 says that they were permitted, 42501 that they
//!   were not.
//!
//! **Invariant (told-before-done):** no row of a chosen table is read or written for a client before the log has the line,
//! unless it cannot be written and the operator prefers to lose it (`sql.audit.on_failure`).

use std::{borrow::Cow, sync::Arc};

use audit::{Access, AuditLog, Event, Kind, OnFailure, Whom};
use catalog::{Audited, ClusterSetting};
use plan::{PreparedPlan, StatementKind, Utility};
use types::{Datum, SqlError, SqlResult, SqlState};

use super::{Completion, Engine, Failure, Run, Session};
use crate::access::without_passwords;
use crate::plan_cache::Statement;

/// What a session knows of the statement at hand, while there is a log.
#[derive(Default)]
pub(crate) struct AuditState {
    /// The client's statement, where it is none of a template.
    statement: Option<Arc<Statement>>,
    /// Its text, where it is.
    text: Option<Arc<str>>,
    /// As what it is told when it ends, if it is.
    told_kind: Option<Kind>,
    /// It is run again for a replay: what it changes was told before.
    is_replaying: bool,
    /// What it was told to be permitted to do with tables so far.
    accessed: Vec<(u32, Access)>,
    parameters: Option<Vec<Option<String>>>,
}

/// A statement that is to be told of.
pub(super) struct Told {
    kind: Kind,
    statement: String,
    /// Before the statement: it may change it.
    role: String,
}

impl AuditState {
    /// Of a statement that is run again for a replay.
    pub(super) fn of_replayed(run: &Run<'_>) -> Self {
        Self {
            statement: Some(run.statement.clone()),
            text: run.text.cloned(),
            is_replaying: true,
            ..Self::default()
        }
    }
}

impl Engine {
    /// Tells of something; nothing where there is no log.
    pub fn tell(&self, event: &Event<'_>) {
        if let Some(log) = &self.audit {
            log.record(event, self.audit_on_failure());
        }
    }

    fn audit_on_failure(&self) -> OnFailure {
        self.catalog.current().cluster().settings.parts.audit_on_failure
    }

    /// # Errors
    /// 58030 while earlier events cannot be written, and nothing more may be done that would have to be told.
    pub fn may_tell(&self) -> SqlResult<()> {
        match &self.audit {
            Some(log) if !log.may_go_on(self.audit_on_failure()) => {
                Err(SqlError::new(SqlState::IoError, "could not write to the audit log"))
            }
            _ => Ok(()),
        }
    }
}

fn sqlstate<'a>(state: &'a Option<SqlState>) -> &'a str {
    state.as_ref().map_or("00000", SqlState::code)
}

impl Session {
    /// The log, where what the session does is told at all.
    fn audit_log(&self) -> Option<&AuditLog> {
        self.engine.audit.as_deref().filter(|_| !self.is_own && self.pid != 0)
    }

    /// A statement's text as the log shows it.
    fn shown(&self, text: &str) -> String {
        if !self.engine.catalog.current().cluster().settings.parts.audit_shows_values {
            return audit::redact(text);
        }
        match without_passwords(text) {
            // It has the word.
            Cow::Owned(_) if audit::may_hide_password(text) => audit::redact(text),
            shown => shown.into_owned(),
        }
    }

    /// Whether a statement is to be told of. Without a log nothing is looked at.
    ///
    /// # Errors
    /// As [`Engine::may_tell`].
    pub(super) fn to_be_told(&mut self, run: &Run<'_>) -> SqlResult<Option<Told>> {
        if self.engine.audit.is_none() {
            return Ok(None);
        }
        let (statement, text) = (Some(run.statement.clone()), run.text.cloned());
        self.audit = AuditState { statement, text, ..AuditState::default() };
        let text = run.text.map_or(run.statement.text.as_str(), |text| text);
        if self.audit_log().is_none() || !audit::is_worth_a_look(text) {
            return Ok(None);
        }
        let redacted = audit::redact(text);
        let Some(kind) = audit::kind_of(&redacted) else { return Ok(None) };
        if !self.is_way_out(kind, &redacted) {
            self.engine.may_tell()?;
        }
        self.audit.told_kind = Some(kind);
        Ok(Some(Told { kind, statement: self.shown(text), role: self.current_user().to_owned() }))
    }

    /// Whether a statement may end that nothing is done while the log cannot be written: a superuser's choice of what happens
    /// then. It waits to be told like the rest.
    fn is_way_out(&self, kind: Kind, redacted: &str) -> bool {
        if kind != Kind::Setting || !audit::is_of_setting(redacted, ClusterSetting::AuditOnFailure.name()) {
            return false;
        }
        self.roles().role(self.current_user()).is_some_and(|role| role.superuser)
    }

    pub(super) fn tell(&self, told: &Told, outcome: &SqlResult<Completion>) {
        let state = outcome.as_ref().err().map(SqlError::code);
        self.engine.tell(&Event {
            role: Some(&told.role),
            statement: Some(&told.statement),
            sqlstate: sqlstate(&state),
            ..self.event(told.kind)
        });
    }

    fn event(&self, kind: Kind) -> Event<'_> {
        Event {
            address: self.registered.activity.client.address.map(|address| address.to_string()),
            ..Event::new(kind, self.pid, &self.authenticated, &self.database_name)
        }
    }

    /// The client's statement, as the log shows it.
    fn told_text(&self) -> Option<String> {
        match (&self.audit.text, &self.audit.statement) {
            (Some(text), _) => Some(self.shown(text)),
            (None, Some(statement)) => Some(self.shown(&statement.text)),
            (None, None) => None,
        }
    }

    /// Whether a change of the catalog is one that a routine makes, or a query: the client's statement is not told by
    /// itself then.
    ///
    /// # Errors
    /// As [`Engine::may_tell`].
    pub(super) fn is_change_within(&self) -> SqlResult<bool> {
        // Only what the client's statement does itself is told with it: it may call what does something else.
        let is_told = self.audit.told_kind.is_some() && self.depth == 0;
        if self.audit_log().is_none() || self.audit.is_replaying || is_told {
            return Ok(false);
        }
        self.engine.may_tell()?;
        Ok(true)
    }

    pub(super) fn tell_change_within(&self, plan: &PreparedPlan, outcome: &Result<Completion, Failure>) {
        let state = match outcome {
            Ok(_) => None,
            Err(Failure::Sql(error)) => Some(error.code()),
            // It is run again.
            Err(Failure::Kv(_)) => return,
        };
        let text = self.told_text();
        self.engine.tell(&Event {
            role: Some(self.current_user()),
            statement: text.as_deref(),
            command: Some(plan.tag),
            sqlstate: sqlstate(&state),
            ..self.event(audit::kind_of(plan.tag).unwrap_or(Kind::Ddl))
        });
    }

    /// The session acts as another role from now on, by other means than a statement that is told.
    pub(super) fn tell_identity(&self, setting: &str) {
        let is_told = self.audit.told_kind == Some(Kind::Role) && self.depth == 0;
        if self.audit_log().is_none() || self.audit.is_replaying || is_told {
            return;
        }
        let text = self.told_text();
        let command = if setting == "role" { "SET ROLE" } else { "SET SESSION AUTHORIZATION" };
        self.engine.tell(&Event {
            role: Some(self.current_user()),
            statement: text.as_deref(),
            command: Some(command),
            ..self.event(Kind::Role)
        });
    }

    /// The values that a plan is run with, for what is told of it.
    pub(super) fn note_parameters(&mut self, plan: &PreparedPlan, params: &[Datum]) {
        let shows_values = self.engine.catalog.current().cluster().settings.parts.audit_shows_values;
        if params.is_empty() || !shows_values || self.audit_log().is_none() {
            return;
        }
        let formatting = &self.settings.formatting;
        let text = |(datum, ty): (&Datum, &types::SqlType)| {
            (!datum.is_null()).then(|| types::to_text(ty, datum, formatting))
        };
        self.audit.parameters = Some(params.iter().zip(&plan.params).map(text).collect());
    }

    /// Tells of the tables that a plan is about to read and write, as far as rules choose them and they were not told for
    /// the same statement.
    ///
    /// # Errors
    /// As [`Engine::may_tell`].
    pub(super) fn tell_access(&mut self, plan: &PreparedPlan, outcome: &Result<(), Failure>) -> SqlResult<()> {
        let state = match outcome {
            Ok(()) => None,
            Err(Failure::Sql(error)) => Some(error.code()),
            // It is planned anew.
            Err(Failure::Kv(_)) => return Ok(()),
        };
        let only_shows = matches!(&plan.kind, StatementKind::Utility(utility)
            if matches!(&**utility, Utility::Explain { analyze: false, .. } | Utility::Prepare { .. }));
        if only_shows || self.audit_log().is_none() {
            return Ok(());
        }
        let mut audited = self.chosen(plan);
        for it in &mut audited {
            let told = self.audit.accessed.iter().filter(|(relation, _)| *relation == it.relation);
            it.access = told.fold(it.access, |access, (_, told)| access.without(*told));
        }
        audited.retain(|it| !it.access.is_none());
        if audited.is_empty() {
            return Ok(());
        }
        // What is refused may be permitted later in the statement.
        if state.is_none() {
            self.engine.may_tell()?;
            self.audit.accessed.extend(audited.iter().map(|it| (it.relation, it.access)));
        }
        let names = |is_meant: fn(Access) -> bool| -> Vec<String> {
            audited.iter().filter(|it| is_meant(it.access)).map(|it| it.name.clone()).collect()
        };
        let (reads, writes) = (names(|access| access.reads), names(|access| access.writes));
        let text = self.told_text();
        self.engine.tell(&Event {
            role: Some(self.current_user()),
            statement: text.as_deref(),
            reads: &reads,
            writes: &writes,
            parameters: self.audit.parameters.as_deref(),
            sqlstate: sqlstate(&state),
            ..self.event(Kind::Access)
        });
        // It may have been this line that could not be written.
        if state.is_none() {
            self.engine.may_tell()?;
        }
        Ok(())
    }

    /// What rules choose of a plan for the current user and the one who has connected.
    fn chosen(&self, plan: &PreparedPlan) -> Vec<Audited> {
        let environment = self.environment();
        let catalog = &environment.view.catalog;
        let newest = self.roles();
        let access = newest.access(self.database);
        let users = [environment.user_id, self.authenticated_id];
        let is_meant = |whom: &Whom| match whom {
            Whom::All => true,
            Whom::Role(name) => newest.role(name).is_some_and(|role| users.contains(&role.id)),
            Whom::Members(name) => newest
                .role(name)
                .is_some_and(|role| users.iter().any(|user| *user == role.id || access.is_plain_member(*user, role.id))),
        };
        catalog.audited(self.database, &plan.needs, &is_meant)
    }
}
