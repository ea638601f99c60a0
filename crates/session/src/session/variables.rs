//! Settings: SET, SHOW, RESET and DISCARD, and what a transaction's end does to them.

use std::sync::Arc;

use catalog::CatalogSnapshot;
use plan::{PreparedPlan, statement::DiscardKind};
use types::{Batch, Datum, SqlError, SqlResult, SqlState, SqlType};

use super::{Completion, Failure, Session};
use crate::{
    notify::Act,
    settings::{self, known::Context},
    sink::{Severity, Sink, send},
};

impl Session {
    pub(super) fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> SqlResult<()> {
        let key = name.to_ascii_lowercase();
        // A transaction's mode ends with it, whoever sets it.
        let local = local || settings::is_mode(&key);
        if settings::is_mode(&key) {
            self.check_mode(&key, value)?;
        }
        let in_block = self.block.as_ref().is_some_and(|block| block.explicit);
        let kept = key.strip_prefix("default_").filter(|mode| in_block && settings::is_mode(mode));
        let kept = kept.and_then(|mode| Some((mode.to_owned(), self.settings.get(mode)?.to_owned())));
        let role = self.identity_to_set(&key, value)?;
        let value = role.as_deref().or(value);
        self.keep_settings();
        if !local {
            // It outlives the transaction: what SET LOCAL would go back to is no more.
            self.local.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        } else if self.block.is_some() {
            self.local.push((name.to_owned(), self.settings.get(name).map(str::to_owned)));
        }
        match value {
            Some(value) => self.settings.set(name, value)?,
            None => self.settings.reset(name)?,
        }
        if let Some(name) = &role {
            self.know_role(name);
            // Whoever the session is by now begins without a role of another.
            if key == "session_authorization" {
                self.settings.set("role", "none")?;
            }
            self.show_privileges();
            self.tell_identity(&key);
        }
        // A new default is for transactions to come.
        if let Some((mode, current)) = kept {
            self.settings.set(&mode, &current)?;
            self.local.push((mode, Some(current)));
        }
        if name.eq_ignore_ascii_case("lock_timeout")
            && let Some(block) = &mut self.block
        {
            block.txn.set_lock_timeout(self.settings.duration("lock_timeout"));
        }
        Ok(())
    }

    /// The checked value of a setting that says which role the session acts as; none for other settings. `key` is in lower
    /// case.
    ///
    /// # Errors
    /// 42501 where the session may not be that role, or the setting is for superusers.
    pub(crate) fn identity_to_set(&self, key: &str, value: Option<&str>) -> SqlResult<Option<String>> {
        // Or its body would go back to who called it.
        if self.acting > 0 && matches!(key, "role" | "session_authorization") {
            let message = format!("cannot set parameter \"{key}\" within security-definer function");
            return Err(SqlError::new(SqlState::InsufficientPrivilege, message));
        }
        let needs_superuser =
            settings::known::known(key).is_some_and(|known| matches!(known.context, Context::Superuser | Context::SuperuserBackend));
        if needs_superuser && !self.is_own && !self.roles().role(self.current_user()).is_some_and(|role| role.superuser) {
            let message = format!("permission denied to set parameter \"{key}\"");
            return Err(SqlError::new(SqlState::InsufficientPrivilege, message));
        }
        match key {
            "role" => self.role_to_set(value).map(Some),
            "session_authorization" => self.authorization_to_set(value).map(Some),
            _ => Ok(None),
        }
    }

    /// A setting of the startup packet: what RESET goes back to, save for the role.
    ///
    /// # Errors
    /// As SET.
    pub fn begin_with(&mut self, name: &str, value: &str) -> SqlResult<()> {
        let key = name.to_lowercase();
        if self.identity_to_set(&key, Some(value))?.is_some() {
            return self.set(&key, Some(value), false);
        }
        self.settings.set_default(name, value)
    }

    /// Gives the transaction at hand a mode.
    pub(crate) fn set_mode(&mut self, mode: &str, value: &str) -> SqlResult<()> {
        self.set(mode, Some(value), true)
    }

    /// The roles as of now, or as this transaction has changed them.
    pub(crate) fn roles(&self) -> Arc<CatalogSnapshot> {
        if self.has_changed_catalog() { self.catalog() } else { self.engine.catalog.current() }
    }

    /// The role that SET ROLE asks for; `none` is the session's own.
    fn role_to_set(&self, value: Option<&str>) -> SqlResult<String> {
        let name = value.unwrap_or("none");
        if name == "none" {
            return Ok(name.to_owned());
        }
        let catalog = self.roles();
        if catalog.role(name).is_none() {
            return Err(no_role(name));
        }
        let own = self.settings.get("session_authorization").unwrap_or_default();
        let (own_id, id) = (self.id_of_role(own, &catalog), catalog.role(name).map_or(0, |role| role.id));
        if !catalog.access(self.database).is_member(own_id, id) {
            let message = format!("permission denied to set role \"{name}\"");
            return Err(SqlError::new(SqlState::InsufficientPrivilege, message));
        }
        Ok(name.to_owned())
    }

    /// The user that SET SESSION AUTHORIZATION asks for; by default the one who has connected.
    fn authorization_to_set(&self, value: Option<&str>) -> SqlResult<String> {
        let name = value.unwrap_or(&self.authenticated);
        let catalog = self.roles();
        let Some(role) = catalog.role(name) else { return Err(no_role(name)) };
        // Names may be those of others by now.
        let is_superuser = || catalog.role_by_id(self.authenticated_id).is_some_and(|role| role.superuser);
        if role.id != self.authenticated_id && !is_superuser() {
            return Err(SqlError::new(
                SqlState::InsufficientPrivilege,
                "permission denied to set session authorization",
            ));
        }
        Ok(name.to_owned())
    }

    /// Clients are told whether the current user is a superuser.
    pub(super) fn show_privileges(&mut self) {
        let is_superuser = self.catalog().role(self.current_user()).is_some_and(|role| role.superuser);
        self.settings.set_internal("is_superuser", if is_superuser { "on" } else { "off" });
    }

    /// Whose privileges count, and who owns what is made.
    pub(crate) fn current_user(&self) -> &str {
        match self.settings.get("role") {
            Some(role) if role != "none" => role,
            _ => self.settings.get("session_authorization").unwrap_or(&self.authenticated),
        }
    }

    /// Before settings are changed: a rollback goes back to what they are.
    pub(crate) fn keep_settings(&mut self) {
        if let Some(block) = &mut self.block
            && block.settings.is_none()
        {
            block.settings = Some(self.settings.clone());
        }
    }

    pub(super) fn end_local_settings(&mut self) {
        let local = std::mem::take(&mut self.local);
        let has_roles =
            local.iter().any(|(name, _)| matches!(name.as_str(), "role" | "session_authorization"));
        for (name, value) in local.into_iter().rev() {
            let restored = match value {
                // The next transaction begins with the modes that are the default by now.
                Some(value) if !settings::is_mode(&name) => self.settings.set(&name, &value),
                _ => self.settings.reset(&name),
            };
            debug_assert!(restored.is_ok(), "a value that was set can be set again");
        }
        if has_roles {
            self.show_privileges();
        }
    }

    /// SET, and RESET of one setting.
    pub(super) fn set_variable(
        &mut self,
        name: &str,
        value: Option<&[String]>,
        local: bool,
        plan: &PreparedPlan,
        sink: &mut dyn Sink,
    ) -> SqlResult<Completion> {
        let text = value.map(|values| settings::joined(&name.to_ascii_lowercase(), values)).transpose()?;
        self.identity_to_set(&name.to_ascii_lowercase(), text.as_deref())?;
        if local && !self.block.as_ref().is_some_and(|block| block.explicit) {
            self.notice(
                sink,
                Severity::Warning,
                SqlState::NoActiveSqlTransaction,
                "SET LOCAL can only be used in transaction blocks",
            );
            match &text {
                Some(text) => self.settings.clone().set(name, text)?,
                None => self.settings.clone().reset(name)?,
            }
            return Ok(Completion::Done(plan.tag.to_owned()));
        }
        // Outside a block its transaction is this statement.
        if settings::is_mode(&name.to_ascii_lowercase()) && self.block.is_none() {
            text.map_or(Ok(()), |text| self.settings.clone().set(name, &text))?;
            return Ok(Completion::Done(plan.tag.to_owned()));
        }
        self.set(name, text.as_deref(), local)?;
        Ok(Completion::Done(plan.tag.to_owned()))
    }

    /// RESET ALL.
    pub(super) fn reset_all(&mut self) -> SqlResult<Completion> {
        self.keep_settings();
        self.local.retain(|(name, _)| settings::is_mode(name));
        // The transaction at hand keeps its modes: new defaults are for those to come.
        let modes = self.block.as_ref().is_some_and(|block| block.explicit).then(|| self.modes());
        self.settings.reset_all()?;
        for (mode, value) in modes.into_iter().flatten() {
            self.settings.set(mode, &value)?;
            self.local.push((mode.to_owned(), Some(value)));
        }
        Ok(Completion::Done("RESET".to_owned()))
    }

    /// SHOW of one setting.
    pub(super) async fn show(
        &mut self,
        name: &str,
        plan: &PreparedPlan,
        sink: &mut dyn Sink,
        describe: bool,
    ) -> SqlResult<Completion> {
        let value = self.settings.get(name).map(str::to_owned).ok_or_else(|| settings::unrecognized(name))?;
        self.environment().check_examines(name)?;
        if describe {
            sink.columns(&plan.columns);
        }
        let row = Batch::from_rows(&[SqlType::Text], &[vec![Datum::text(value)]]);
        send(sink, &row, 0..1, &self.settings.formatting).await?;
        Ok(Completion::Done("SHOW".to_owned()))
    }

    pub(super) async fn show_all(
        &mut self,
        plan: &PreparedPlan,
        sink: &mut dyn Sink,
        describe: bool,
    ) -> SqlResult<Completion> {
        if describe {
            sink.columns(&plan.columns);
        }
        let environment = self.environment();
        let rows: Vec<Vec<Datum>> = self
            .settings
            .all()
            .into_iter()
            .filter(|listed| environment.may_examine(listed.name))
            .filter_map(|listed| {
                let known = listed.known?;
                Some(vec![Datum::text(listed.name), Datum::text(listed.value), Datum::text(known.short_desc)])
            })
            .collect();
        send(sink, &Batch::from_rows(&[SqlType::Text; 3], &rows), 0..rows.len(), &self.settings.formatting)
            .await?;
        Ok(Completion::Done("SHOW".to_owned()))
    }

    /// DISCARD.
    pub(super) async fn discard(&mut self, kind: DiscardKind, plan: &PreparedPlan) -> Result<Completion, Failure> {
        match kind {
            DiscardKind::All => {
                // Neither cursors nor prepared statements come back with a rollback.
                if self.block.as_ref().is_some_and(|block| block.explicit || block.answered > 0) {
                    return Err(SqlError::new(
                        SqlState::ActiveSqlTransaction,
                        "DISCARD ALL cannot run inside a transaction block",
                    )
                    .into());
                }
                self.portals.clear();
                self.prepared = Arc::default();
                self.state.sequences.clear();
                self.state.advisory.unlock_all().await;
                if self.notify.listener.is_listening() {
                    self.change_channels(Act::UnlistenAll);
                }
                self.discard_temporary().await?;
                self.set("session_authorization", None, false)?;
                self.settings.reset_all()?;
            }
            DiscardKind::Sequences => self.state.sequences.clear(),
            DiscardKind::Temp => self.discard_temporary().await?,
            DiscardKind::Plans => {}
        }
        Ok(Completion::Done(plan.tag.to_owned()))
    }
}

fn no_role(name: &str) -> SqlError {
    SqlError::new(SqlState::InvalidParameterValue, format!("role \"{name}\" does not exist"))
}
