//! What the statements of a session share until a setting or the catalog changes: names resolved, formats chosen. It is
//! made once and not for every statement, which would cost more than a point read.

use std::sync::Arc;

use builtins::{EvalContext, ValueMemory};
use catalog::{CatalogSnapshot, CatalogStore, CatalogView, privilege::access::READ_ALL_SETTINGS};
use exec::MemoryBudget;
use types::{Formatting, SqlError, SqlResult, SqlState};

use crate::{
    access::Access, activity::Sessions, cluster::Cluster, host::SessionHost, notify::{Hub, SessionNotify}, plan_cache::Scope, session::Session,
    settings::{Settings, known},
    statistics::StatementStatistics,
};

pub(crate) struct Environment {
    pub view: Arc<CatalogView>,
    /// The current user's.
    pub user_id: u32,
    /// With names for oids; its `now` is the statement's to fill in.
    pub formatting: Formatting,
    pub settings: Settings,
    pub database: String,
    /// Those of the search path that exist.
    pub schemas: Vec<String>,
    /// What its plans depend on.
    pub scope: Arc<Scope>,
    pub pid: i32,
    /// All of the node.
    pub sessions: Arc<Sessions>,
    pub statistics: Arc<StatementStatistics>,
    pub cluster: Option<Arc<dyn Cluster>>,
    pub access: Access,
    pub clock: Arc<hlc::Clock>,
    pub store: CatalogStore,
    pub notify: Arc<SessionNotify>,
    pub hub: Arc<Hub>,
}

impl Environment {
    /// The formats of a transaction that began at `now`, microseconds since 2000.
    pub fn formatting_at(&self, now: i64) -> Formatting {
        Formatting { now, ..self.formatting.clone() }
    }

    /// What a statement that begins now is evaluated with, in a transaction of [`Environment::formatting_at`].
    pub fn eval<'a>(
        &'a self,
        formatting: &'a Formatting,
        host: &'a SessionHost,
        memory: Option<&'a MemoryBudget>,
    ) -> EvalContext<'a> {
        EvalContext {
            transaction_timestamp: formatting.now,
            statement_timestamp: SessionHost::now_micros(&self.clock),
            formatting,
            host,
            catalog: &*self.view,
            memory: memory.map(|memory| memory as &dyn ValueMemory),
        }
    }

    /// Whether the current user may see a setting.
    pub fn may_examine(&self, name: &str) -> bool {
        !known::is_hidden(name)
            || self.view.catalog.access(self.view.database).has_role(self.user_id, READ_ALL_SETTINGS)
    }

    /// # Errors
    /// 42501 where the current user may not see a setting.
    pub fn check_examines(&self, name: &str) -> SqlResult<()> {
        if self.may_examine(name) {
            return Ok(());
        }
        let name = known::known(&name.to_lowercase()).map_or(name, |known| known.name);
        let message = format!("must be superuser or have privileges of pg_read_all_settings to examine \"{name}\"");
        Err(SqlError::new(SqlState::InsufficientPrivilege, message))
    }

    fn is_of(&self, catalog: &Arc<CatalogSnapshot>, settings: &Settings) -> bool {
        Arc::ptr_eq(&self.view.catalog, catalog) && self.settings.generation() == settings.generation()
    }
}

impl Session {
    /// The id of a role that the session acts as; 0, which may do nothing, when it is gone. Another that has got its name is
    /// not it.
    pub(crate) fn id_of_role(&self, name: &str, catalog: &CatalogSnapshot) -> u32 {
        match self.known_roles.iter().find(|(known, _)| known == name) {
            Some((_, id)) => {
                let known = catalog.role_by_id(*id).is_some() || self.engine.catalog.current().role_by_id(*id).is_some();
                if known { *id } else { 0 }
            }
            None => catalog.role(name).map_or(0, |role| role.id),
        }
    }

    /// The session acts as a role from now on.
    pub(crate) fn know_role(&mut self, name: &str) {
        let Some(id) = self.roles().role(name).map(|role| role.id) else { return };
        match self.known_roles.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = id,
            None => self.known_roles.push((name.to_owned(), id)),
        }
    }

    /// The environment of a statement that begins now.
    pub(crate) fn environment(&self) -> Arc<Environment> {
        let catalog = self.catalog();
        let mut kept = self.environment.lock();
        if let Some(known) = &*kept
            && known.is_of(&catalog, &self.settings)
        {
            return Arc::clone(known);
        }
        let user = self.current_user();
        let exists = |name: &str| catalog.schema(self.database, name).is_some();
        let mut schemas: Vec<String> = Vec::new();
        for name in &self.settings.search_path {
            let name = if name == "$user" { user } else { name.as_str() };
            if exists(name) && !schemas.iter().any(|known| known == name) {
                schemas.push(name.to_owned());
            }
        }
        let view = Arc::new(CatalogView {
            catalog,
            database: self.database,
            search_path: self.path(),
            user: self.current_user().to_owned(),
            printers: Some(&plan::PRINTERS),
        });
        let formatting = Formatting { oid_names: Some(view.clone()), ..self.settings.formatting.clone() };
        let made = Arc::new(Environment {
            formatting,
            settings: self.settings.clone(),
            database: self.database_name.clone(),
            schemas,
            scope: Arc::new(Scope::new(
                self.database,
                self.current_user(),
                &self.settings,
                self.has_temporary.then_some(self.temporary.as_str()),
            )),
            user_id: self.id_of_role(self.current_user(), &view.catalog),
            pid: self.pid,
            sessions: self.engine.sessions.clone(),
            statistics: self.engine.statistics.clone(),
            cluster: self.engine.cluster.clone(),
            access: self.engine.access,
            clock: self.engine.clock.clone(),
            store: self.engine.catalog.clone(),
            notify: self.notify.clone(),
            hub: self.engine.hub.clone(),
            view,
        });
        *kept = Some(Arc::clone(&made));
        made
    }
}
