//! Catalogs that are not about the catalog: what this session is and how it is set, and the other sessions of the node.
//!
//! `pg_locks` shows the rows that are locked in the whole cluster.
//!
//! Deliberately left out: the sessions of other nodes.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use builtins::Host;
use catalog::privilege::access::READ_ALL_STATS;
use catalog::{VirtualRows, VirtualTable};
use keys::TxnId;
use types::{Array, Datum, SqlType};

use rustc_hash::FxHashMap;

use crate::access::without_passwords;
use crate::activity::{Activity, Sessions};
use crate::cluster::{RowLock, SessionOf};
use crate::host::SessionHost;
use crate::portal::OpenCursor;
use crate::session::Prepared;
use crate::settings::{Listed, known::Kind, value::bare};
use crate::statistics::Entry;

pub(crate) struct SessionTables<'a> {
    pub host: &'a SessionHost,
    pub sessions: &'a Sessions,
    pub prepared: &'a FxHashMap<String, Prepared>,
    pub cursors: Vec<OpenCursor>,
    /// When the transaction began, microseconds since 2000.
    pub began: i64,
}

impl SessionTables<'_> {
    /// `None`: not one of these tables.
    pub fn rows(&self, table: &'static VirtualTable) -> Option<Arc<VirtualRows>> {
        if table.schema != "pg_catalog" {
            return None;
        }
        let rows = match table.name {
            "pg_settings" => settings_rows(table, self.host),
            "pg_stat_activity" => {
                self.sessions.all().iter().map(|activity| self.activity(table, activity)).collect()
            }
            "pg_stat_statements" => self.statements(table),
            "pg_stat_statements_info" => {
                let (dropped, reset_at) = self.host.environment.statistics.info();
                vec![table.row([("dealloc", count(dropped)), ("stats_reset", reset_at.map_or(Datum::Null, Datum::TimestampTz))])]
            }
            "pg_stat_database" => self.databases(table),
            "pg_stat_ssl" => self.sessions.all().iter().map(|activity| encryption(table, activity)).collect(),
            "pg_hba_file_rules" => self.hba_rules(table),
            "pg_ident_file_mappings" => self.ident_mappings(table),
            "pg_prepared_statements" => self.prepared_statements(table),
            "pg_cursors" => self.cursors.iter().map(|cursor| cursor.row(table)).collect(),
            _ => return None,
        };
        Some(Arc::new(VirtualRows::new(rows)))
    }

    fn activity(&self, table: &'static VirtualTable, activity: &Activity) -> Vec<Datum> {
        let state = activity.state();
        let is_own = activity.pid == self.host.backend_pid();
        // What was set in the transaction at hand is not known to others yet.
        let application = match is_own {
            true => self.host.settings().get("application_name").unwrap_or_default().to_owned(),
            false => state.application.clone(),
        };
        let time = |micros: Option<i64>| micros.map_or(Datum::Null, Datum::TimestampTz);
        let environment = &self.host.environment;
        let role = environment.view.catalog.role(&activity.user).map(|role| role.id);
        let access = environment.view.catalog.access(environment.view.database);
        let sees = |role: u32| access.has_role(environment.user_id, role);
        if !sees(role.unwrap_or(0)) && !sees(READ_ALL_STATS) {
            return table.row([
                ("datid", Datum::Int(activity.database.into())),
                ("datname", Datum::text(activity.database_name.as_str())),
                ("pid", Datum::Int(activity.pid.into())),
                ("usesysid", role.map_or(Datum::Null, |id| Datum::Int(id.into()))),
                ("usename", Datum::text(activity.user.as_str())),
                ("application_name", Datum::text(application)),
                ("query", Datum::text("<insufficient privilege>")),
            ]);
        }
        table.row([
            ("datid", Datum::Int(activity.database.into())),
            ("datname", Datum::text(activity.database_name.as_str())),
            ("pid", Datum::Int(activity.pid.into())),
            ("usesysid", role.map_or(Datum::Null, |id| Datum::Int(id.into()))),
            ("usename", Datum::text(activity.user.as_str())),
            ("application_name", Datum::text(application)),
            ("backend_start", Datum::TimestampTz(activity.began)),
            (
                "xact_start",
                if is_own { Datum::TimestampTz(self.began) } else { time(state.transaction_began) },
            ),
            ("query_start", time(state.statement_began)),
            ("state_change", Datum::TimestampTz(state.changed)),
            ("wait_event_type", if state.is_active { Datum::Null } else { Datum::text("Client") }),
            ("wait_event", if state.is_active { Datum::Null } else { Datum::text("ClientRead") }),
            ("state", Datum::text(state.name())),
            ("query", Datum::text(&*without_passwords(state.text.as_deref().unwrap_or_default()))),
            ("backend_type", Datum::text("client backend")),
        ])
    }

    /// Those of this node. What is not counted here (blocks, planning, just-in-time compiling) is 0, as in PostgreSQL when it
    /// does not count it.
    fn statements(&self, table: &'static VirtualTable) -> Vec<Vec<Datum>> {
        let environment = &self.host.environment;
        let access = environment.view.catalog.access(environment.view.database);
        let sees_all = access.has_role(environment.user_id, READ_ALL_STATS);
        let zero = |ty: &SqlType| match ty {
            SqlType::Int8 => Datum::Int(0),
            SqlType::Float8 => Datum::Float(0.0),
            SqlType::Numeric(_) => Datum::from(types::Numeric::ZERO),
            _ => Datum::Null,
        };
        let zeros: Vec<Datum> = table.columns.iter().map(|(_, ty)| zero(ty)).collect();
        let row = |entry: Arc<Entry>| {
            let numbers = entry.numbers();
            if numbers.calls == 0 {
                return None;
            }
            let is_shown = sees_all || access.has_role(environment.user_id, entry.user);
            let shown = |datum: Datum| if is_shown { datum } else { Datum::Null };
            let ms = |ns: u64| Datum::Float(ns as f64 / 1e6);
            let query = if is_shown { &*entry.text } else { "<insufficient privilege>" };
            let given = table.row([
                ("userid", Datum::Int(entry.user.into())),
                ("dbid", Datum::Int(entry.database.into())),
                ("toplevel", Datum::Bool(true)),
                ("queryid", shown(Datum::Int(entry.query_id))),
                ("query", Datum::text(query)),
                ("calls", count(numbers.calls)),
                ("total_exec_time", ms(numbers.total_ns)),
                ("min_exec_time", ms(numbers.min_ns)),
                ("max_exec_time", ms(numbers.max_ns)),
                ("mean_exec_time", Datum::Float(numbers.mean_ms())),
                ("stddev_exec_time", Datum::Float(numbers.deviation_ms())),
                ("rows", count(numbers.rows)),
            ]);
            let filled = given.into_iter().zip(&zeros).enumerate().map(|(at, (given, zero))| {
                if given.is_null() && table.columns[at].0 != "queryid" { zero.clone() } else { given }
            });
            Some(filled.collect())
        };
        environment.statistics.entries().into_iter().filter_map(row).collect()
    }

    /// Of this node; times are in milliseconds.
    fn databases(&self, table: &'static VirtualTable) -> Vec<Vec<Datum>> {
        let environment = &self.host.environment;
        let sessions = self.sessions.all();
        let row = |id: u32, name: Option<&str>| {
            let open = sessions.iter().filter(|session| session.database == id).count();
            let counters = environment.statistics.database(id);
            let of = |counter: &AtomicU64| count(counter.load(Relaxed));
            let mut row = table.row([
                ("datid", Datum::Int(id.into())),
                ("datname", name.map_or(Datum::Null, Datum::text)),
                ("numbackends", Datum::Int(open as i64)),
                ("xact_commit", of(&counters.commits)),
                ("xact_rollback", of(&counters.rollbacks)),
                ("tup_returned", of(&counters.returned)),
                ("tup_inserted", of(&counters.inserted)),
                ("tup_updated", of(&counters.updated)),
                ("tup_deleted", of(&counters.deleted)),
                ("deadlocks", of(&counters.deadlocks)),
                ("sessions", of(&counters.sessions)),
                ("active_time", Datum::Float(counters.active_ns.load(Relaxed) as f64 / 1e6)),
            ]);
            for (at, (column, ty)) in table.columns.iter().enumerate() {
                // No checksums: those are NULL in PostgreSQL, too.
                if row[at].is_null() && !matches!(*column, "datname" | "checksum_failures") {
                    row[at] = match ty {
                        SqlType::Int8 => Datum::Int(0),
                        SqlType::Float8 => Datum::Float(0.0),
                        _ => Datum::Null,
                    };
                }
            }
            row
        };
        let shared = std::iter::once(row(0, None));
        shared.chain(environment.view.catalog.databases().map(|database| row(database.id, Some(&database.name)))).collect()
    }

    /// The rows of the cluster that are locked, or waited for, and the transactions of this node's sessions.
    pub fn locks(&self, table: &'static VirtualTable, locks: &[RowLock]) -> Vec<Vec<Datum>> {
        let of = |session: Option<SessionOf>| match session {
            Some(it) => (format!("{}/{}", it.node, it.pid), if it.is_here { Datum::Int(it.pid.into()) } else { Datum::Null }),
            None => ("-1/0".to_owned(), Datum::Null),
        };
        let row = |lock: &RowLock| {
            let (virtual_transaction, pid) = of(lock.session);
            let id = |id: Option<u32>| id.map_or(Datum::Null, |id| Datum::Int(id.into()));
            table.row([
                ("locktype", Datum::text(if lock.is_advisory { "advisory" } else { "tuple" })),
                ("database", id(lock.database)),
                ("relation", id(lock.table)),
                ("virtualtransaction", Datum::text(virtual_transaction)),
                ("pid", pid),
                ("mode", Datum::text(lock.mode)),
                ("granted", Datum::Bool(lock.is_held)),
                ("fastpath", Datum::Bool(false)),
            ])
        };
        // As each transaction of PostgreSQL has itself locked.
        let own = |(pid, _): (i32, TxnId)| {
            let id = format!("{}/{pid}", self.host.environment.store.db().node_id().get());
            table.row([
                ("locktype", Datum::text("virtualxid")),
                ("virtualxid", Datum::text(id.as_str())),
                ("virtualtransaction", Datum::text(id.as_str())),
                ("pid", Datum::Int(pid.into())),
                ("mode", Datum::text("ExclusiveLock")),
                ("granted", Datum::Bool(true)),
                ("fastpath", Datum::Bool(true)),
            ])
        };
        locks.iter().map(row).chain(self.sessions.transactions().into_iter().map(own)).collect()
    }

    fn hba_rules(&self, table: &'static VirtualTable) -> Vec<Vec<Datum>> {
        let texts = |texts: Vec<&str>| {
            Datum::Array(Array::from_elements(texts.into_iter().map(Datum::text).collect()).into())
        };
        let environment = &self.host.environment;
        let rules = environment.access.rules(&environment.view.catalog);
        let row = |rule: &auth::hba::Rule| {
            let (address, mask) = rule.address();
            let options = rule.options();
            table.row([
                ("line_number", Datum::Int(rule.line as i64)),
                ("type", Datum::text(rule.kind())),
                ("database", texts(rule.databases().collect())),
                ("user_name", texts(rule.users().collect())),
                ("address", address.map_or(Datum::Null, Datum::text)),
                ("netmask", mask.map_or(Datum::Null, Datum::text)),
                ("auth_method", Datum::text(rule.method.name())),
                ("options", if options.is_empty() { Datum::Null } else { texts(options.iter().map(String::as_str).collect()) }),
            ])
        };
        rules.iter().map(row).collect()
    }

    fn ident_mappings(&self, table: &'static VirtualTable) -> Vec<Vec<Datum>> {
        let row = |mapping: &auth::ident::Mapping| {
            table.row([
                ("line_number", Datum::Int(mapping.line as i64)),
                ("map_name", Datum::text(mapping.map.as_str())),
                ("sys_name", Datum::text(mapping.system_name())),
                ("pg_username", Datum::text(mapping.role.as_str())),
            ])
        };
        self.host.environment.view.catalog.cluster().mappings.iter().map(row).collect()
    }

    fn prepared_statements(&self, table: &'static VirtualTable) -> Vec<Vec<Datum>> {
        let mut named: Vec<_> = self.prepared.iter().filter(|(name, _)| !name.is_empty()).collect();
        named.sort_unstable_by_key(|(name, _)| name.as_str());
        let row = |(name, prepared): (&String, &Prepared)| {
            let types = prepared.plan.params.iter().map(|ty| Datum::Int(ty.oid().into())).collect();
            table.row([
                ("name", Datum::text(name.as_str())),
                ("statement", Datum::text(&*prepared.source)),
                ("prepare_time", Datum::TimestampTz(prepared.made)),
                ("parameter_types", Datum::Array(Array::from_elements(types).into())),
                ("from_sql", Datum::Bool(prepared.is_from_sql)),
                ("generic_plans", Datum::Int(0)),
                ("custom_plans", Datum::Int(0)),
            ])
        };
        named.into_iter().map(row).collect()
    }
}

fn count(number: u64) -> Datum {
    Datum::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

fn encryption(table: &'static VirtualTable, activity: &Activity) -> Vec<Datum> {
    let tls = activity.client.tls.as_ref();
    let text = |text: Option<&String>| text.map_or(Datum::Null, |text| Datum::text(text.as_str()));
    table.row([
        ("pid", Datum::Int(activity.pid.into())),
        ("ssl", Datum::Bool(tls.is_some())),
        ("version", text(tls.map(|tls| &tls.version))),
        ("cipher", text(tls.map(|tls| &tls.cipher))),
        ("bits", tls.map_or(Datum::Null, |tls| Datum::Int(tls.bits.into()))),
        ("client_dn", text(tls.and_then(|tls| tls.client_dn.as_ref()))),
    ])
}

fn settings_rows(table: &'static VirtualTable, host: &SessionHost) -> Vec<Vec<Datum>> {
    let text_or_null = |text: &str| if text.is_empty() { Datum::Null } else { Datum::text(text) };
    let row = |listed: &Listed<'_>| {
        let source = if listed.value != listed.reset {
            "session"
        } else if listed.known.is_some_and(|known| known.default != listed.reset) {
            "client"
        } else {
            "default"
        };
        let Some(known) = listed.known else {
            return table.row([
                ("name", Datum::text(listed.name)),
                ("setting", Datum::text(listed.value)),
                ("category", Datum::text("Customized Options")),
                ("context", Datum::text("user")),
                ("vartype", Datum::text("string")),
                ("source", Datum::text("session")),
                ("boot_val", Datum::Null),
                ("reset_val", text_or_null(listed.reset)),
                ("pending_restart", Datum::Bool(false)),
            ]);
        };
        let values = match &known.kind {
            Kind::Enum(values) => Datum::Array(
                Array::from_elements(values.iter().map(|value| Datum::text(*value)).collect()).into(),
            ),
            _ => Datum::Null,
        };
        table.row([
            ("name", Datum::text(known.name)),
            ("setting", Datum::text(bare(known, listed.value))),
            ("unit", text_or_null(known.unit_name)),
            ("category", Datum::text(known.category)),
            ("short_desc", Datum::text(known.short_desc)),
            ("extra_desc", text_or_null(known.extra_desc)),
            ("context", Datum::text(known.context_name)),
            ("vartype", Datum::text(known.kind_name())),
            ("source", Datum::text(source)),
            ("min_val", text_or_null(known.min)),
            ("max_val", text_or_null(known.max)),
            ("enumvals", values),
            ("boot_val", Datum::text(bare(known, &known.default))),
            ("reset_val", Datum::text(bare(known, listed.reset))),
            ("pending_restart", Datum::Bool(false)),
        ])
    };
    let settings = host.settings().all();
    settings.iter().filter(|listed| host.environment.may_examine(listed.name)).map(row).collect()
}
