//! Every setting that PostgreSQL 15 knows: recorded from its `pg_settings`, in `known.tsv`, with `transaction_replay_limit`,
//! which is ours.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use super::value::Unit;

/// What values a setting takes.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Bool,
    Int { min: i64, max: i64 },
    Real { min: f64, max: f64 },
    Text,
    Enum(Vec<&'static str>),
}

/// Who may change it, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    Internal,
    Postmaster,
    Sighup,
    SuperuserBackend,
    Backend,
    Superuser,
    User,
}

#[derive(Debug)]
pub(crate) struct Known {
    pub name: &'static str,
    pub unit: Unit,
    /// As `pg_settings` has it; empty for none.
    pub unit_name: &'static str,
    pub kind: Kind,
    pub context: Context,
    pub context_name: &'static str,
    /// As SHOW shows it.
    pub default: String,
    pub min: &'static str,
    pub max: &'static str,
    pub category: &'static str,
    pub short_desc: &'static str,
    pub extra_desc: &'static str,
    /// In SHOW ALL and `pg_settings`.
    pub is_listed: bool,
    /// RESET ALL leaves it alone.
    pub keeps: bool,
}

impl Known {
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Bool => "bool",
            Kind::Int { .. } => "integer",
            Kind::Real { .. } => "real",
            Kind::Text => "string",
            Kind::Enum(_) => "enum",
        }
    }
}

/// Where this server differs from what PostgreSQL begins with, as SHOW shows it.
const DEFAULTS: &[(&str, &str)] = &[
    ("client_encoding", "UTF8"),
    ("data_directory_mode", "0700"),
    ("default_text_search_config", "pg_catalog.english"),
    ("default_transaction_isolation", "serializable"),
    ("enable_partitionwise_aggregate", "off"),
    ("jit", "off"),
    ("lc_messages", "C"),
    ("log_file_mode", "0600"),
    ("log_timezone", "UTC"),
    ("max_connections", "1000"),
    ("max_prepared_transactions", "1000"),
    ("max_stack_depth", "2MB"),
    ("server_encoding", "UTF8"),
    ("server_version", "15.0"),
    ("server_version_num", "150000"),
    ("synchronize_seqscans", "off"),
    ("timezone", "UTC"),
    ("timezone_abbreviations", "Default"),
    ("transaction_isolation", "serializable"),
    ("unix_socket_permissions", "0777"),
];

/// What clients are told of in ParameterStatus.
pub(super) const REPORTED: [&str; 13] = [
    "application_name",
    "client_encoding",
    "datestyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "intervalstyle",
    "is_superuser",
    "server_encoding",
    "server_version",
    "session_authorization",
    "standard_conforming_strings",
    "timezone",
];

/// Their values are lists of names.
pub(crate) const NAME_LISTS: [&str; 5] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
];

/// Shown to superusers and members of `pg_read_all_settings`: they say where files are.
const HIDDEN: [&str; 20] = [
    "config_file",
    "data_directory",
    "dynamic_library_path",
    "external_pid_file",
    "hba_file",
    "ident_file",
    "jit_provider",
    "krb_server_keyfile",
    "log_directory",
    "log_filename",
    "primary_conninfo",
    "session_preload_libraries",
    "shared_preload_libraries",
    "ssl_ciphers",
    "ssl_dh_params_file",
    "ssl_ecdh_curve",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "ssl_passphrase_command",
    "unix_socket_directories",
];

/// Whether not everybody may see a setting.
pub(crate) fn is_hidden(name: &str) -> bool {
    HIDDEN.iter().any(|hidden| hidden.eq_ignore_ascii_case(name))
}

/// By name in lower case.
static ALL: LazyLock<FxHashMap<String, Known>> = LazyLock::new(|| {
    include_str!("known.tsv").lines().map(|line| (line_name(line).to_lowercase(), read(line))).collect()
});

/// A setting by its name in lower case.
pub(crate) fn known(key: &str) -> Option<&'static Known> {
    ALL.get(key)
}

pub(crate) fn all() -> impl Iterator<Item = (&'static str, &'static Known)> {
    ALL.iter().map(|(key, known)| (key.as_str(), known))
}

fn line_name(line: &str) -> &str {
    line.split('\t').next().unwrap_or_default()
}

/// name, unit, kind, context, default, min, max, enum values, category, short and long description, flags.
fn read(line: &'static str) -> Known {
    let fields: Vec<&'static str> = line.split('\t').collect();
    let [
        name,
        unit_name,
        kind,
        context_name,
        boot,
        min,
        max,
        values,
        category,
        short_desc,
        extra_desc,
        flags,
    ] = fields[..]
    else {
        panic!("a setting has twelve fields: {line}");
    };
    let number = |text: &str| text.parse::<i64>().expect("a recorded bound is a number");
    let real = |text: &str| text.parse::<f64>().expect("a recorded bound is a number");
    let kind = match kind {
        "bool" => Kind::Bool,
        "integer" => Kind::Int { min: number(min), max: number(max) },
        "real" => Kind::Real { min: real(min), max: real(max) },
        "enum" => Kind::Enum(values.split(',').collect()),
        _ => Kind::Text,
    };
    let context = match context_name {
        "internal" => Context::Internal,
        "postmaster" => Context::Postmaster,
        "sighup" => Context::Sighup,
        "superuser-backend" => Context::SuperuserBackend,
        "backend" => Context::Backend,
        "superuser" => Context::Superuser,
        _ => Context::User,
    };
    let unit = Unit::named(unit_name);
    let own = DEFAULTS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    let default = match (own, &kind) {
        (Some((_, value)), _) => (*value).to_owned(),
        (None, Kind::Int { .. }) => unit.show_int(number(boot)),
        (None, Kind::Real { .. }) => unit.show_real(real(boot)),
        (None, _) => boot.to_owned(),
    };
    Known {
        name,
        unit,
        unit_name,
        kind,
        context,
        context_name,
        default,
        min,
        max,
        category,
        short_desc,
        extra_desc,
        is_listed: !flags.contains("NO_SHOW_ALL"),
        keeps: flags.contains("NO_RESET_ALL"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_valid_default() {
        assert!(all().count() >= 354);
        // Internal settings, which cannot be set, have values of our own.
        for (key, known) in all().filter(|(_, known)| known.context != Context::Internal) {
            let stored = super::super::value::canonical(known, &known.default);
            assert_eq!(stored.ok().as_ref(), Some(&known.default), "{key}");
        }
        assert!(REPORTED.iter().chain(&NAME_LISTS).all(|name| known(name).is_some()));
        assert!(DEFAULTS.iter().all(|(name, _)| known(name).is_some()));
    }
}
