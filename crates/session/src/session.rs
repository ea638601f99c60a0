//! A connection's statements, one after another, and the transaction they run in.
//!
//! ```text
//!  no block ── BEGIN ──▶ in block ── error ──▶ failed ── ROLLBACK ──▶ no block
//! ```
//! Outside a block each statement is a transaction. A statement that loses to another transaction runs again inside
//! the server. When its transaction has answered others before, those are run again as well ([`replay`]), and if they are
//! not answered as before, the client is told 40001.
//!
//! **Invariant (answered-once):** a statement's rows reach the sink of one attempt only; an attempt that is run again
//! has had its rows taken back.

mod analyze;
mod authorize;
mod attempts;
mod audited;
mod block;
mod copy_in;
mod copy_server;
mod counted;
mod ddl;
mod jobs;
mod execute;
mod fastpath;
mod first_password;
mod notify;
mod past;
mod ranges;
mod zones;
mod replay;
mod temporary;
pub(crate) mod two_phase;
mod utility;
mod variables;

pub use analyze::keep_statistics;
pub(crate) use audited::AuditState;
pub(crate) use counted::Counting;
pub(crate) use attempts::{Failure, Run, aborted, has_row_security};
pub use fastpath::FunctionOfOid;
pub use first_password::set_first_password;
pub(crate) use replay::History;
pub use replay::ReplayMetrics;
pub use temporary::drop_leftovers;

use std::sync::Arc;

use catalog::privilege::PrivilegeSet;
use catalog::{CatalogSnapshot, CatalogStore};
use exec::{CancelFlag, NodeMemory, NodeReservation, SessionState};
use parking_lot::Mutex;
use plan::{ParsedStatement, PlanContext, PlanNotes, PreparedPlan, StatementKind, VariableSource};
use rustc_hash::FxHashMap;
use types::{SqlError, SqlResult, SqlState, SqlType};

use self::block::Block;
use crate::{
    access::{Access, Client, ConnectionLimits},
    activity::{Activity, Registered, Sessions},
    cluster::Cluster,
    copy::CopyIn,
    environment::Environment,
    host::SessionHost,
    notify::{Hub, SessionNotify},
    plan_cache::{PlanCache, Scope, Statement},
    portal::{Portals, Running},
    prepared::UNCOMMITTED,
    routine::{Folded, RoutineCache},
    settings::Settings,
    sink::{Severity, Sink},
    statistics::{DatabaseCounters, StatementStatistics},
    text_size::LONG_TEXT_BYTES,
};

pub(crate) const STATEMENT_MEMORY: usize = 1 << 30;

/// What all sessions of a node share.
#[derive(Clone)]
pub struct Engine {
    pub catalog: CatalogStore,
    pub clock: Arc<hlc::Clock>,
    pub seed: u64,
    pub plans: Arc<PlanCache>,
    pub sessions: Arc<Sessions>,
    pub access: Access,
    pub replays: Arc<ReplayMetrics>,
    /// Where there is one.
    pub audit: Option<Arc<audit::AuditLog>>,
    /// What its statements and messages keep.
    pub memory: Arc<NodeMemory>,
    pub limits: ConnectionLimits,
    pub statistics: Arc<StatementStatistics>,
    /// The other nodes, where there may be some.
    pub cluster: Option<Arc<dyn Cluster>>,
    pub hub: Arc<Hub>,
    pub jobs: Arc<backup::Registry>,
    /// Files and programs of the server that statements may use, where it was started with some.
    pub server_files: Option<Arc<exec::server_files::ServerFiles>>,
}

impl Engine {
    #[must_use]
    pub fn new(catalog: CatalogStore, clock: Arc<hlc::Clock>, seed: u64) -> Self {
        let (plans, sessions, replays) = (Arc::default(), Arc::default(), Arc::default());
        let hub = Hub::new(catalog.db());
        let jobs = backup::Registry::new(backup::RegistryOptions::new(catalog.clone(), clock.clone()));
        Self {
            catalog,
            clock,
            seed,
            plans,
            sessions,
            access: Access::default(),
            replays,
            audit: None,
            memory: NodeMemory::unlimited(),
            limits: ConnectionLimits::default(),
            statistics: Arc::default(),
            cluster: None,
            hub,
            jobs,
            server_files: None,
        }
    }
}

/// How a statement ended.
pub enum Completion {
    /// With this command tag.
    Done(String),
    /// The text was empty.
    Empty,
    /// It waits for data from the client.
    CopyIn(Box<CopyIn>),
    /// COPY TO: the rows went to the sink; this is the tag.
    CopyOut(String),
    /// As many rows as were asked for went to the sink; the rest waits in the portal.
    Suspended,
}

/// When a transaction that no BEGIN has opened is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the statement: nothing else belongs to it.
    WithStatement,
    /// By [`Session::end_implicit`]: others of the same query string, or before the same Sync, may follow.
    Later,
}

/// A named statement.
#[derive(Clone)]
pub struct Prepared {
    pub statement: Option<Arc<Statement>>,
    pub plan: Arc<PreparedPlan>,
    /// That it was planned in.
    pub(crate) scope: Arc<Scope>,
    /// The text that has prepared it.
    pub(crate) source: Arc<str>,
    /// By PREPARE, and not by the protocol.
    pub(crate) is_from_sql: bool,
    /// When, in microseconds since 2000.
    pub(crate) made: i64,
    /// What it takes of the node's memory, where a session has many.
    pub(crate) _memory: Option<Arc<NodeReservation>>,
}

/// A session's first prepared statements are not counted; each later one by about what its plan takes.
const UNCOUNTED_PREPARED: usize = 100;
const PREPARED_BYTES: usize = 16 << 10;
/// Of each byte of its text.
const PREPARED_TEXT: usize = 8;

pub struct Session {
    pub(crate) engine: Engine,
    pub settings: Settings,
    pub(crate) database: u32,
    pub(crate) database_name: String,
    /// The user that has connected.
    pub(crate) authenticated: String,
    authenticated_id: u32,
    /// How many routines and queries are running as the role that owns them.
    pub(crate) acting: usize,
    /// A statement of the session's own is running, which asks for no privilege.
    pub(crate) is_own: bool,
    pub(crate) pid: i32,
    pub(crate) block: Option<Block>,
    /// Copied when it is changed while a statement looks at it.
    prepared: Arc<FxHashMap<String, Prepared>>,
    pub(crate) state: SessionState,
    /// The schema of its temporary objects, once it has made some.
    pub(crate) temporary: String,
    pub(crate) has_temporary: bool,
    cancel: CancelFlag,
    registered: Registered,
    /// Of its database.
    pub(crate) counters: Arc<DatabaseCounters>,
    /// Values from before SET LOCAL, to go back to.
    local: Vec<(String, Option<String>)>,
    pub(crate) portals: Portals,
    /// Left by a query that has stopped at its limit, for its portal.
    pub(crate) suspended: Option<Box<Running>>,
    /// The environment of the last statement.
    pub(crate) environment: Mutex<Option<Arc<Environment>>>,
    /// The statement at hand has ended a transaction from within: it cannot be run again.
    pub(crate) has_ended_one: bool,
    /// What functions have said that the statement at hand calls, until its client can be told.
    pub(crate) notices: Vec<(Severity, SqlError)>,
    /// The bodies that it has run, with their plans.
    pub(crate) routines: RoutineCache,
    /// How many calls of routines are around what runs now.
    pub(crate) depth: usize,
    /// In a function that is not volatile: where the statement began that calls it, whose view of the data it shares.
    pub(crate) frozen: Option<kv::StatementMark>,
    /// In a routine: whether it may end the transaction.
    pub(crate) within: Option<bool>,
    /// What the plan that was opened last uses, and those that have called the routines around what runs now.
    pub(crate) opened: Option<Arc<[plan::statement::UsedRelation]>>,
    pub(crate) in_use: Vec<Arc<[plan::statement::UsedRelation]>>,
    /// What the trigger names whose function is running.
    pub(crate) transitions: Arc<[plan::Transition]>,
    /// What is granted has been looked at for the statement at hand.
    pub(crate) knows_privileges: bool,
    /// The ids of the roles that it has acted as, by the names that it knows them by: another role may have the name later.
    pub(crate) known_roles: Vec<(String, u32)>,
    /// The state of the aggregate by a user that ran last in the statement at hand.
    pub(crate) folded: Option<Folded>,
    /// What the notices of the statement at hand have taken so far.
    pub(crate) noticed_bytes: usize,
    /// Portals that loops of running routines read: they outlive the transactions that those end.
    pub(crate) loops: Vec<String>,
    /// What the statement at hand means for a replay of its transaction.
    pub(crate) trace: replay::Trace,
    /// Whether what the statement at hand answers depends on the names that objects have.
    pub(crate) shows_names: bool,
    /// It has run prepared statements by their names.
    pub(crate) has_executed: bool,
    pub(crate) audit: AuditState,
    /// What it listens to, and what its transaction has sent.
    pub(crate) notify: Arc<SessionNotify>,
}

/// The letter of ReadyForQuery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    Idle,
    InBlock,
    Failed,
}

impl Session {
    /// A session of the node itself.
    ///
    /// # Errors
    /// As [`Session::connect_from`].
    pub async fn connect(engine: Engine, user: &str, database: &str, pid: i32) -> SqlResult<Self> {
        Self::connect_from(engine, user, database, pid, Client::default()).await
    }

    /// A session of a client that has shown who it is.
    ///
    /// # Errors
    /// 3D000 or 28000 when there is no such database or role, or the role may not log in; 53300 when there are too many
    /// sessions already.
    pub async fn connect_from(
        engine: Engine,
        user: &str,
        database: &str,
        pid: i32,
        client: Client,
    ) -> SqlResult<Self> {
        let mut catalog = engine.catalog.current();
        if catalog.database(database).is_none() || catalog.role(user).is_none() {
            catalog = engine.catalog.refresh().await.map_err(catalog_error)?;
        }
        let invalid = |message| SqlError::new(SqlState::InvalidAuthorizationSpecification, message);
        let Some(role) = catalog.role(user) else {
            return Err(invalid(format!("role \"{user}\" does not exist")));
        };
        if !role.login && pid != 0 {
            return Err(invalid(format!("role \"{user}\" is not permitted to log in")));
        }
        if client.is_crowded && !role.superuser {
            return Err(SqlError::new(
                SqlState::TooManyConnections,
                "remaining connection slots are reserved for non-replication superuser connections",
            ));
        }
        let Some(found) = catalog.database(database) else {
            return Err(SqlError::new(
                SqlState::InvalidCatalogName,
                format!("database \"{database}\" does not exist"),
            ));
        };
        let may_connect = catalog.access(found.id).privileges_of(role.id, found.id, PrivilegeSet::CONNECT);
        if may_connect.is_empty() {
            let message = format!("permission denied for database \"{database}\"");
            return Err(SqlError::new(SqlState::InsufficientPrivilege, message)
                .with_detail("User does not have CONNECT privilege."));
        }
        let mut settings = Settings::default();
        settings.set_default("session_authorization", user)?;
        settings.set_internal("is_superuser", if role.superuser { "on" } else { "off" });
        let temporary = temporary::new_schema_name(engine.catalog.db());
        let cancel = CancelFlag::default();
        let now = SessionHost::now_micros(&engine.clock);
        if engine.access == Access::Encrypted {
            settings.set_internal("ssl", "on");
        }
        if engine.limits != ConnectionLimits::default() {
            settings.set_internal("max_connections", &engine.limits.max.to_string());
            settings.set_internal("superuser_reserved_connections", &engine.limits.superuser_reserved.to_string());
        }
        let registered = engine.sessions.register(pid, (found.id, database), user, client, now, cancel.clone());
        // Of this node: the others' are not counted.
        let limit = usize::try_from(role.connection_limit).ok().filter(|_| pid != 0 && !role.superuser);
        if limit.is_some_and(|limit| engine.sessions.count_of(user) > limit) {
            let message = format!("too many connections for role \"{user}\"");
            return Err(SqlError::new(SqlState::TooManyConnections, message));
        }
        let counters = engine.statistics.database(found.id);
        let engine_files = engine.server_files.clone();
        if pid != 0 {
            counters.sessions.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(Self {
            counters,
            database: found.id,
            database_name: database.to_owned(),
            authenticated: user.to_owned(),
            authenticated_id: role.id,
            acting: 0,
            is_own: false,
            engine,
            settings,
            pid,
            block: None,
            prepared: Arc::default(),
            state: SessionState { files: engine_files, ..SessionState::default() },
            temporary,
            has_temporary: false,
            cancel,
            registered,
            local: Vec::new(),
            portals: Portals::default(),
            suspended: None,
            environment: Mutex::default(),
            has_ended_one: false,
            within: None,
            notices: Vec::new(),
            routines: RoutineCache::default(),
            depth: 0,
            frozen: None,
            loops: Vec::new(),
            trace: replay::Trace::Kept,
            shows_names: false,
            has_executed: false,
            audit: AuditState::default(),
            notify: Arc::default(),
            opened: None,
            in_use: Vec::new(),
            transitions: Arc::default(),
            folded: None,
            noticed_bytes: 0,
            knows_privileges: false,
            known_roles: vec![(user.to_owned(), role.id)],
        })
    }

    /// Stops the running statement when it is set.
    #[must_use]
    pub fn cancel_flag(&self) -> CancelFlag {
        self.cancel.clone()
    }

    /// As other sessions see this one.
    #[must_use]
    pub fn activity(&self) -> Arc<Activity> {
        self.registered.activity.clone()
    }

    /// The session has answered, and waits for its client.
    pub fn rest(&self) {
        let application = self.settings.get("application_name").unwrap_or_default();
        self.registered.activity.rest(
            self.status(),
            application,
            SessionHost::now_micros(&self.engine.clock),
        );
    }

    #[must_use]
    pub fn status(&self) -> TransactionStatus {
        match &self.block {
            Some(block) if block.explicit && block.failed => TransactionStatus::Failed,
            Some(block) if block.explicit => TransactionStatus::InBlock,
            Some(_) | None => TransactionStatus::Idle,
        }
    }

    pub(crate) fn catalog(&self) -> Arc<CatalogSnapshot> {
        match &self.block {
            Some(block) => match &block.change {
                Some(change) => change.snapshot().clone(),
                None => block.snapshot.clone(),
            },
            None => self.engine.catalog.current(),
        }
    }

    /// Plans a statement against the catalog as this session sees it.
    ///
    /// # Errors
    /// What is wrong with the statement.
    pub fn plan(&self, statement: &ParsedStatement, hints: &[Option<SqlType>]) -> SqlResult<PreparedPlan> {
        self.plan_among(statement, hints, None)
    }

    /// As [`Session::plan`], of a statement in a routine's body.
    pub(crate) fn plan_among(
        &self,
        statement: &ParsedStatement,
        hints: &[Option<SqlType>],
        variables: Option<&dyn VariableSource>,
    ) -> SqlResult<PreparedPlan> {
        self.planning(hints, variables, |context| {
            let planned = || plan::plan_statement(statement, context);
            let is_long = statement.source().len() > LONG_TEXT_BYTES;
            let mut plan = if is_long { exec::aside(planned) } else { planned() }?;
            if self.has_changed_catalog() {
                plan.catalog_version = UNCOMMITTED;
            }
            self.describe_by_name(&mut plan);
            Ok(plan)
        })
    }

    /// Gives `body` what planning needs to know of the session.
    pub(crate) fn planning<T>(
        &self,
        hints: &[Option<SqlType>],
        variables: Option<&dyn VariableSource>,
        body: impl FnOnce(&PlanContext<'_>) -> SqlResult<T>,
    ) -> SqlResult<T> {
        let environment = self.environment();
        let host = SessionHost::new(environment.clone());
        let now = SessionHost::now_micros(&self.engine.clock);
        let formatting = environment.formatting_at(self.block.as_ref().map_or(now, |block| block.began));
        let eval = environment.eval(&formatting, &host, None);
        let notes = PlanNotes::default();
        let roles = match self.has_changed_catalog() {
            true => environment.view.catalog.clone(),
            false => self.engine.catalog.current(),
        };
        let security = plan::Security {
            roles: &roles,
            user: environment.user_id,
            is_on: self.settings.is_on("row_security"),
        };
        // What they consist of may have changed since the client named them.
        let hints: Vec<Option<SqlType>> =
            hints.iter().map(|ty| ty.map(|ty| environment.view.catalog.resolve(ty))).collect();
        let context = PlanContext {
            catalog: &environment.view.catalog,
            database: self.database,
            search_path: &environment.view.search_path,
            user: &environment.view.user,
            param_types: &hints,
            notes: &notes,
            eval: &eval,
            formatting: &formatting,
            variables,
            transitions: &self.transitions,
            names: &[],
            depends_on: None,
            security: (!self.is_own).then_some(security),
        };
        body(&context)
    }

    /// The type of this oid; it may have been made on another node.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn type_of_oid(&mut self, oid: u32) -> SqlResult<Option<SqlType>> {
        if let Some(ty) = self.catalog().type_by_oid(oid, -1) {
            return Ok(Some(ty));
        }
        self.refresh_catalog().await?;
        Ok(self.catalog().type_by_oid(oid, -1))
    }

    pub(crate) fn has_changed_catalog(&self) -> bool {
        self.block.as_ref().is_some_and(|block| block.change.is_some())
    }

    /// The settings of text output, with names for oids.
    #[must_use]
    pub fn formatting(&self) -> types::Formatting {
        self.environment().formatting.clone()
    }

    /// Prepares a statement under a name; an empty name is replaced silently.
    ///
    /// # Errors
    /// 42P05 when the name is taken, and what is wrong with the statement.
    pub async fn prepare(&mut self, name: &str, statement: Option<Arc<Statement>>) -> SqlResult<()> {
        if !name.is_empty() && self.prepared.contains_key(name) {
            return Err(SqlError::new(
                SqlState::DuplicatePreparedStatement,
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        self.renew_snapshot();
        let plan = match &statement {
            Some(statement) => {
                self.check_failed(statement)?;
                match self.plan_of(statement) {
                    Ok(plan) => plan,
                    // What it names may have been made on another node.
                    Err(first) => {
                        self.refresh_catalog().await?;
                        let is_refusal = plan::is_row_security_refusal(&first);
                        if is_refusal && self.engine.catalog.refresh_privileges().await.is_err() {
                            return Err(first);
                        }
                        self.plan_of(statement).map_err(|_| first)?
                    }
                }
            }
            None => Arc::new(empty_plan()),
        };
        let source =
            statement.as_ref().map_or_else(|| Arc::from(""), |statement| statement.source_text().clone());
        let made = SessionHost::now_micros(&self.engine.clock);
        let scope = self.environment().scope.clone();
        let memory = if name.is_empty() || self.prepared.len() < UNCOUNTED_PREPARED {
            None
        } else {
            Some(Arc::new(self.engine.memory.reserve(PREPARED_BYTES + PREPARED_TEXT * source.len())?))
        };
        Arc::make_mut(&mut self.prepared)
            .insert(name.to_owned(), Prepared { statement, plan, scope, source, is_from_sql: false, made, _memory: memory });
        Ok(())
    }

    /// Reads the newest catalog, and goes on under it. An open transaction that cannot, for what it has used or read is
    /// another there, stays with its own.
    async fn refresh_catalog(&mut self) -> SqlResult<()> {
        let before = self.catalog().version(self.database);
        let newest = self.engine.catalog.refresh().await.map_err(catalog_error)?;
        if self.block.is_some() && newest.version(self.database) > before {
            let _goes_on = self.take_newest_catalog().await?;
        }
        Ok(())
    }

    /// # Errors
    /// 26000 when there is none of that name.
    pub fn prepared(&self, name: &str) -> SqlResult<Prepared> {
        self.prepared.get(name).cloned().ok_or_else(|| {
            let message = match name {
                "" => "unnamed prepared statement does not exist".to_owned(),
                name => format!("prepared statement \"{name}\" does not exist"),
            };
            SqlError::new(SqlState::InvalidSqlStatementName, message)
        })
    }

    /// PREPARE has made it, by this text.
    pub(crate) fn note_source(&mut self, name: &str, source: Arc<str>) {
        if let Some(prepared) = Arc::make_mut(&mut self.prepared).get_mut(name) {
            prepared.source = source;
            prepared.is_from_sql = true;
        }
    }

    pub(crate) fn keep_prepared(&mut self, name: &str, prepared: &Prepared) {
        Arc::make_mut(&mut self.prepared).insert(name.to_owned(), prepared.clone());
    }

    pub fn deallocate(&mut self, name: &str) {
        let is_there = self.prepared.contains_key(name);
        if is_there {
            Arc::make_mut(&mut self.prepared).remove(name);
        }
        // Another may get the name before an EXECUTE is run again. Without one of those no replay asks for names.
        if is_there && self.has_executed {
            self.forbid_replay();
        }
    }

    /// Forgets what asked the statement before to stop, and sets the limit on this one's time.
    pub(crate) fn start_clock(&mut self) {
        self.cancel.reset(self.settings.duration("statement_timeout"));
    }

    /// # Errors
    /// 57014 once the statement is to stop.
    pub(crate) fn check_cancelled(&self) -> SqlResult<()> {
        self.cancel.check()
    }

    pub(crate) fn stop_clock(&mut self) {
        self.cancel.reset(None);
    }

    /// Tells the client what functions have said.
    pub fn tell_notices(&mut self, sink: &mut dyn Sink) {
        for (severity, notice) in self.notices.drain(..) {
            sink.notice(severity, notice);
        }
    }

    /// A notice, if the client wants to hear of such.
    fn notice(&self, sink: &mut dyn Sink, severity: Severity, code: SqlState, text: &str) {
        if self.wants(severity) {
            sink.notice(severity, SqlError::new(code, text));
        }
    }

    /// Whether the client wants to hear of what is so loud.
    pub(crate) fn wants(&self, severity: Severity) -> bool {
        match self.settings.get("client_min_messages") {
            Some("warning") => severity >= Severity::Warning,
            Some("error" | "fatal" | "panic") => severity >= Severity::Info,
            Some("log") => severity >= Severity::Log,
            Some(name) if name.starts_with("debug") => true,
            _ => severity >= Severity::Notice,
        }
    }
}

fn catalog_error(error: catalog::CatalogError) -> SqlError {
    match error {
        catalog::CatalogError::Kv(error) => exec::kv_error(&error),
        damaged => SqlError::new(SqlState::DataCorrupted, damaged.to_string()),
    }
}

fn empty_plan() -> PreparedPlan {
    PreparedPlan {
        kind: StatementKind::Empty,
        params: Vec::new(),
        columns: Vec::new(),
        ctes: Vec::new(),
        catalog_version: 0,
        statistics_epoch: 0,
        dependencies: None,
        uses: Arc::default(),
        needs: Arc::default(),
        is_audited: false,
        reads_clock: false,
        serves_any_value: false,
        tag: "",
    }
}
