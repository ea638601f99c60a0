//! What functions may ask of the session, and where the rows of the catalogs come from.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use builtins::{Host, Signal};
use catalog::large_object::{self, LargeObject};
use catalog::privilege::access::SIGNAL_BACKEND;
use catalog::{CatalogSnapshot, CatalogStore, CatalogView, SystemTables, VirtualLookup, VirtualRead, VirtualRows, VirtualTable};
use futures::future::BoxFuture;
use keys::TxnId;
use parking_lot::Mutex;
use types::{Array, Datum, SqlError, SqlResult, SqlState};

use crate::{
    cluster::{Cluster, RowLock},
    environment::Environment,
    session::two_phase,
    session_tables::SessionTables,
    settings::Settings,
};

/// Microseconds between 1970 and 2000.
pub(crate) const PG_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The session as functions see it: values as of the statement's start; settings changed by functions are collected.
pub(crate) struct SessionHost {
    pub environment: Arc<Environment>,
    pub changed: Mutex<Vec<(String, String, bool)>>,
    /// Seeded when first asked.
    random: Mutex<Option<rand::rngs::SmallRng>>,
    /// What the cluster has answered last, and when: a statement asks for many rows, and a loop of a routine waits for
    /// another answer.
    locks: Mutex<Option<(Instant, Arc<[RowLock]>)>>,
}

/// So long the locks of the cluster are taken to be as they were.
const LOCKS_FOR: Duration = Duration::from_secs(1);

impl SessionHost {
    pub fn new(environment: Arc<Environment>) -> Self {
        Self { environment, changed: Mutex::default(), random: Mutex::new(None), locks: Mutex::new(None) }
    }

    pub fn settings(&self) -> &Settings {
        &self.environment.settings
    }

    /// The locks of the cluster, as of a moment ago.
    fn locks_of(&self, cluster: &dyn Cluster) -> Option<Arc<[RowLock]>> {
        let known = self.locks.lock().clone();
        if let Some((_, locks)) = known.filter(|(asked, _)| asked.elapsed() < LOCKS_FOR) {
            return Some(locks);
        }
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        // There is no other way to wait in a function, and only a thread of several may.
        if runtime.runtime_flavor() != tokio::runtime::RuntimeFlavor::MultiThread {
            return None;
        }
        let found: Arc<[RowLock]> = tokio::task::block_in_place(|| runtime.block_on(cluster.row_locks())).into();
        *self.locks.lock() = Some((Instant::now(), found.clone()));
        Some(found)
    }

    pub fn now_micros(clock: &hlc::Clock) -> i64 {
        Self::micros_of(clock.physical_now_ns())
    }

    /// Microseconds since 2000, of a reading of the clock.
    pub fn micros_of(physical_ns: u64) -> i64 {
        i64::try_from(physical_ns / 1000).unwrap_or(i64::MAX) - PG_EPOCH_MICROS
    }
}

impl Host for SessionHost {
    fn blocking_pids(&self, pid: i32) -> Vec<i32> {
        let environment = &self.environment;
        let txn = environment.sessions.transactions().into_iter().find(|(its, _)| *its == pid).map(|(_, txn)| txn);
        let (Some(txn), Some(cluster)) = (txn, &environment.cluster) else { return Vec::new() };
        let Some(locks) = self.locks_of(&**cluster) else { return Vec::new() };
        let behind: Vec<TxnId> = locks.iter().filter(|lock| lock.txn == Some(txn)).filter_map(|lock| lock.behind).collect();
        // One of another node has no number that would say who it is here, like a prepared transaction in PostgreSQL.
        let pid_of = |txn: &TxnId| {
            let session = locks.iter().filter(|lock| lock.txn == Some(*txn)).find_map(|lock| lock.session);
            session.filter(|session| session.is_here).map_or(0, |session| session.pid)
        };
        let mut pids: Vec<i32> = behind.iter().map(pid_of).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    fn reset_statements(&self, user: u32, database: u32, query: i64) -> SqlResult<()> {
        let environment = &self.environment;
        let is_superuser = environment.view.catalog.role_by_id(environment.user_id).is_some_and(|role| role.superuser);
        if !is_superuser {
            let message = "permission denied for function pg_stat_statements_reset";
            return Err(SqlError::new(SqlState::InsufficientPrivilege, message));
        }
        let of = |id: u32| (id != 0).then_some(id);
        environment.statistics.reset(of(user), of(database), (query != 0).then_some(query), self.clock_timestamp());
        Ok(())
    }

    fn clock_timestamp(&self) -> i64 {
        Self::now_micros(&self.environment.clock)
    }

    fn random_bits(&self) -> u64 {
        use rand::{Rng, SeedableRng};
        self.random.lock().get_or_insert_with(|| rand::rngs::SmallRng::seed_from_u64(rand::random())).random()
    }

    fn current_user(&self) -> String {
        self.environment.view.user.clone()
    }

    fn session_user(&self) -> String {
        self.settings().get("session_authorization").unwrap_or_default().to_owned()
    }

    fn current_database(&self) -> String {
        self.environment.database.clone()
    }

    fn current_schemas(&self, include_implicit: bool) -> Vec<String> {
        let named = &self.environment.schemas;
        let is_implicit = include_implicit && !named.iter().any(|name| name == "pg_catalog");
        let view = &self.environment.view;
        let temporary = catalog::temporary_schema(&view.search_path)
            .filter(|name| include_implicit && view.catalog.schema(view.database, name).is_some());
        let implicit = temporary.into_iter().chain(is_implicit.then_some("pg_catalog")).map(str::to_owned);
        implicit.chain(named.iter().cloned()).collect()
    }

    fn setting(&self, name: &str) -> Option<String> {
        let changed = self.changed.lock();
        let new = changed.iter().rev().find(|(known, ..)| known.eq_ignore_ascii_case(name));
        new.map(|(_, value, _)| value.clone()).or_else(|| self.settings().get(name).map(str::to_owned))
    }

    fn check_examines(&self, name: &str) -> SqlResult<()> {
        self.environment.check_examines(name)
    }

    fn set_setting(&self, name: &str, value: &str, is_local: bool) -> SqlResult<String> {
        let mut settings = self.settings().clone();
        settings.set(name, value)?;
        let shown = settings.get(name).unwrap_or(value).to_owned();
        self.changed.lock().push((name.to_owned(), shown.clone(), is_local));
        Ok(shown)
    }

    fn backend_pid(&self) -> i32 {
        self.environment.pid
    }

    fn version(&self) -> String {
        format!("PostgreSQL 15.0 (Quorate {})", env!("CARGO_PKG_VERSION"))
    }

    fn client_address(&self) -> Option<String> {
        None
    }

    fn notify(&self, channel: &str, payload: &str) -> SqlResult<()> {
        crate::notify::check(channel, payload)?;
        self.environment.notify.pending.send(channel, payload);
        Ok(())
    }

    fn listening_channels(&self) -> Vec<String> {
        self.environment.notify.listener.channels().into_iter().collect()
    }

    fn notification_queue_usage(&self) -> f64 {
        self.environment.hub.usage()
    }

    fn signal(&self, pid: i32, signal: Signal) -> SqlResult<bool> {
        let Some(activity) = self.environment.sessions.get(pid) else { return Ok(false) };
        let catalog = &self.environment.view.catalog;
        let is_superuser = |name: &str| catalog.role(name).is_some_and(|role| role.superuser);
        let own = self.environment.user_id;
        let access = catalog.access(self.environment.view.database);
        let whose = catalog.role(&activity.user).map_or(0, |role| role.id);
        let may_signal =
            access.has_role(own, whose) || access.has_role(own, SIGNAL_BACKEND) && !is_superuser(&activity.user);
        if whose != own && !access.is_superuser(own) && (is_superuser(&activity.user) || !may_signal) {
            let (what, whom) = match signal {
                Signal::Cancel => ("cancel", "query"),
                Signal::Terminate => ("terminate", "process"),
            };
            let message = match is_superuser(&activity.user) {
                true => format!("must be a superuser to {what} superuser {whom}"),
                false => format!(
                    "must be a member of the role whose {whom} is being {} or member of pg_signal_backend",
                    if signal == Signal::Cancel { "canceled" } else { "terminated" }
                ),
            };
            return Err(SqlError::new(SqlState::InsufficientPrivilege, message));
        }
        if let Some(own) = self.environment.sessions.get(self.environment.pid) {
            own.note_signal();
        }
        match signal {
            Signal::Cancel => activity.cancel(),
            Signal::Terminate => activity.terminate(),
        }
        Ok(true)
    }
}

/// The rows of the catalogs as a statement sees them.
pub(crate) struct StatementTables<'a> {
    store: &'a CatalogStore,
    view: &'a CatalogView,
    session: SessionTables<'a>,
    tables: OnceLock<Arc<SystemTables>>,
    /// That the transaction began under; none where nobody else can change what databases share.
    shared: Option<Arc<CatalogSnapshot>>,
    /// Read before their rows are asked for.
    prepared: OnceLock<Vec<kv::PreparedTxn>>,
    locks: OnceLock<Vec<RowLock>>,
    /// What tables about large objects show.
    large: OnceLock<Vec<Vec<Datum>>>,
    pages: OnceLock<SqlResult<Vec<Vec<Datum>>>>,
    comments: OnceLock<Vec<(u32, String)>>,
    /// `shared` has been looked at: a join may read a table for each of many rows.
    looked_at: OnceLock<()>,
}

/// What it shows is neither the catalog's nor the session's.
const PREPARED_XACTS: &str = "pg_prepared_xacts";
/// What it shows is of the whole cluster.
const LOCKS: &str = "pg_locks";

/// What they show is kept beside the catalog.
const LARGE_OBJECTS: &str = "pg_largeobject_metadata";
const LARGE_OBJECT_PAGES: &str = "pg_largeobject";
const COMMENTS: &str = "pg_description";
/// So much of the pages of large objects is shown at a time.
const PAGES_BYTES_MAX: usize = 64 << 20;

/// Tables about what databases share.
const SHARED_TABLES: [&str; 8] =
    ["pg_authid", "pg_database", "pg_hba_file_rules", "pg_ident_file_mappings", "pg_roles", "pg_shadow", "pg_tablespace", "pg_user"];

impl<'a> StatementTables<'a> {
    pub fn new(
        store: &'a CatalogStore,
        view: &'a CatalogView,
        session: SessionTables<'a>,
        shared: Option<Arc<CatalogSnapshot>>,
    ) -> Self {
        let (prepared, locks, looked_at) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let (large, pages, comments) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { store, view, session, tables: OnceLock::new(), shared, prepared, locks, large, pages, comments, looked_at }
    }

    async fn large_objects(&self, table: &'static VirtualTable, txn: &mut kv::Txn) -> Result<Vec<Vec<Datum>>, kv::Error> {
        let name = |role: u32| {
            let found = self.view.catalog.role_by_id(role);
            found.map_or_else(|| role.to_string(), |role| types::quote_identifier(&role.name))
        };
        let all = large_object::all(txn, self.view.database).await?;
        let row = |(oid, object): (u32, LargeObject)| {
            let items = object.acl.map(|acl| acl.texts(&name).into_iter().map(Datum::text).collect());
            let acl = items.map_or(Datum::Null, |items| Datum::Array(Array::from_elements(items).into()));
            let (oid, owner) = (Datum::Int(oid.into()), Datum::Int(object.owner.into()));
            table.row([("oid", oid), ("lomowner", owner), ("lomacl", acl)])
        };
        Ok(all.into_iter().map(row).collect())
    }

    async fn large_object_pages(
        &self,
        table: &'static VirtualTable,
        txn: &mut kv::Txn,
    ) -> Result<SqlResult<Vec<Vec<Datum>>>, kv::Error> {
        let Some(pages) = large_object::pages(txn, self.view.database, PAGES_BYTES_MAX).await? else {
            return Ok(Err(SqlError::new(SqlState::ProgramLimitExceeded, "large objects have too many pages to be shown")
                .with_hint("Read them with lo_get().")));
        };
        let row = |(oid, page, data): large_object::Page| {
            let page = Datum::Int(i64::try_from(page).unwrap_or(i64::MAX));
            table.row([("loid", Datum::Int(oid.into())), ("pageno", page), ("data", Datum::bytes(&*data))])
        };
        Ok(Ok(pages.into_iter().map(row).collect()))
    }

    /// What `pg_description` has beside the catalog.
    fn comment_rows(&self, table: &'static VirtualTable) -> Vec<Vec<Datum>> {
        let comments = self.comments.get().map(Vec::as_slice).unwrap_or_default();
        let class = catalog::virtual_tables::find("pg_catalog", LARGE_OBJECT_PAGES).map_or(0, |table| table.oid);
        let row = |(oid, text): &(u32, String)| {
            table.row([
                ("objoid", Datum::Int((*oid).into())),
                ("classoid", Datum::Int(class.into())),
                ("objsubid", Datum::Int(0)),
                ("description", Datum::text(text.as_str())),
            ])
        };
        comments.iter().map(row).collect()
    }

    /// # Errors
    /// 42501 for what would help others to get in.
    fn check_secrets(&self, table: &VirtualTable) -> SqlResult<()> {
        let catalog = &self.view.catalog;
        let user = self.session.host.environment.user_id;
        catalog::privilege::check_secrets(table.name, user, &catalog.access(self.view.database))
    }
}

impl exec::VirtualTables for StatementTables<'_> {
    fn read(&self, table: &'static VirtualTable, lookup: Option<VirtualLookup>) -> SqlResult<VirtualRead> {
        self.check_secrets(table)?;
        if table.name == PREPARED_XACTS {
            let prepared = self.prepared.get().map(Vec::as_slice).unwrap_or_default();
            let rows = Arc::new(VirtualRows::new(two_phase::rows(table, prepared, &self.view.catalog)?));
            return Ok(VirtualRead::of(table, rows, lookup));
        }
        if table.name == LOCKS {
            let locks = self.locks.get().map(Vec::as_slice).unwrap_or_default();
            let rows = Arc::new(VirtualRows::new(self.session.locks(table, locks)));
            return Ok(VirtualRead::of(table, rows, lookup));
        }
        if matches!(table.name, LARGE_OBJECTS | LARGE_OBJECT_PAGES) {
            let rows = match table.name {
                LARGE_OBJECTS => self.large.get().cloned().unwrap_or_default(),
                _ => self.pages.get().cloned().unwrap_or_else(|| Ok(Vec::new()))?,
            };
            return Ok(VirtualRead::of(table, Arc::new(VirtualRows::new(rows)), lookup));
        }
        if table.name == COMMENTS && self.comments.get().is_some_and(|comments| !comments.is_empty()) {
            let rows = Arc::new(VirtualRows::new(self.comment_rows(table)));
            let tables = self.tables.get_or_init(|| self.store.system_tables(self.view));
            return Ok(tables.read(table, lookup).and(rows));
        }
        if let Some(rows) = self.session.rows(table) {
            return Ok(VirtualRead::of(table, rows, lookup));
        }
        Ok(self.tables.get_or_init(|| self.store.system_tables(self.view)).read(table, lookup))
    }

    fn look_at_versions<'b>(
        &'b self,
        table: &'static VirtualTable,
        txn: &'b mut kv::Txn,
    ) -> BoxFuture<'b, Result<(), kv::Error>> {
        Box::pin(async move {
            if table.name == PREPARED_XACTS && self.prepared.get().is_none() {
                let found = txn.db().prepared_txns().await?;
                self.prepared.get_or_init(|| found);
            }
            if table.name == LOCKS
                && self.locks.get().is_none()
                && let Some(cluster) = &self.session.host.environment.cluster
            {
                let found = cluster.row_locks().await;
                self.locks.get_or_init(|| found);
            }
            if table.name == LARGE_OBJECTS && self.large.get().is_none() {
                let found = self.large_objects(table, txn).await?;
                self.large.get_or_init(|| found);
            }
            if table.name == LARGE_OBJECT_PAGES && self.pages.get().is_none() {
                let found = self.large_object_pages(table, txn).await?;
                self.pages.get_or_init(|| found);
            }
            if table.name == COMMENTS && self.comments.get().is_none() {
                let found = large_object::comments(txn, self.view.database).await?;
                self.comments.get_or_init(|| found);
            }
            match &self.shared {
                Some(snapshot) if SHARED_TABLES.contains(&table.name) && self.looked_at.get().is_none() => {
                    self.store.look_at_versions(txn, snapshot).await?;
                    self.looked_at.get_or_init(|| ());
                    Ok(())
                }
                _ => txn.resolve_check().await,
            }
        })
    }
}
