//! Catalogs that are not about the catalog: what this session is and how it is set, and the other sessions of the node.
//!
//! Deliberately left out: the sessions of other nodes.

use std::sync::Arc;

use builtins::Host;
use catalog::privilege::access::READ_ALL_STATS;
use catalog::{VirtualRows, VirtualTable};
use types::{Array, Datum};

use rustc_hash::FxHashMap;

use crate::access::without_passwords;
use crate::activity::{Activity, Sessions};
use crate::host::SessionHost;
use crate::portal::OpenCursor;
use crate::session::Prepared;
use crate::settings::{Listed, known::Kind, value::bare};

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
