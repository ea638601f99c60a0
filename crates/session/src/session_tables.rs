//! Catalogs that are not about the catalog: what this session is and how it is set.
//!
//! Other sessions' activity is their own nodes' to tell, and is left out.

use std::sync::Arc;

use builtins::Host;
use catalog::{VirtualRows, VirtualTable};
use types::Datum;

use crate::host::SessionHost;
use crate::settings::{self, Settings};

pub(crate) struct SessionTables<'a> {
    pub host: &'a SessionHost,
    pub database: u32,
    pub user: u32,
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
            "pg_settings" => settings_rows(table, &self.host.settings()),
            "pg_stat_activity" => vec![self.activity(table)],
            _ => return None,
        };
        Some(Arc::new(VirtualRows::new(rows)))
    }

    fn activity(&self, table: &'static VirtualTable) -> Vec<Datum> {
        let host = self.host;
        table.row([
            ("datid", Datum::Int(self.database.into())),
            ("datname", Datum::text(host.current_database())),
            ("pid", Datum::Int(host.backend_pid().into())),
            ("usesysid", Datum::Int(self.user.into())),
            ("usename", Datum::text(host.session_user())),
            ("application_name", Datum::text(host.settings().get("application_name").unwrap_or_default())),
            ("client_addr", host.client_address().map_or(Datum::Null, Datum::text)),
            ("xact_start", Datum::TimestampTz(self.began)),
            ("state", Datum::text("active")),
            ("backend_type", Datum::text("client backend")),
        ])
    }
}

fn settings_rows(table: &'static VirtualTable, settings: &Settings) -> Vec<Vec<Datum>> {
    let all = settings.all();
    let row = |(name, value): &(String, String)| {
        let reset = settings.default_of(name).unwrap_or_default();
        let kind = kind_of(reset);
        table.row([
            ("name", Datum::text(name.as_str())),
            ("setting", Datum::text(value.as_str())),
            ("category", Datum::text(if name.contains('.') { "Customized Options" } else { "Client Connection Defaults" })),
            ("short_desc", Datum::text("")),
            ("context", Datum::text(if settings::is_fixed(name) { "internal" } else { "user" })),
            ("vartype", Datum::text(kind)),
            ("source", Datum::text(if value == reset { "default" } else { "session" })),
            ("boot_val", Datum::text(reset)),
            ("reset_val", Datum::text(reset)),
            ("pending_restart", Datum::Bool(false)),
        ])
    };
    all.iter().map(row).collect()
}

fn kind_of(value: &str) -> &'static str {
    match value {
        "on" | "off" => "bool",
        number if number.parse::<i64>().is_ok() => "integer",
        _ => "string",
    }
}
