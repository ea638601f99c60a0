//! Run-time settings: what SET and SHOW know.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustc_hash::FxHashMap;
use types::{ByteaOutput, DateOrder, Formatting, IntervalStyle, SqlError, SqlResult, SqlState, Zone};

/// Settings with their values from the start. Those a client is told of in ParameterStatus are marked.
const DEFAULTS: &[(&str, &str, bool)] = &[
    ("application_name", "", true),
    ("bytea_output", "hex", false),
    ("check_function_bodies", "on", false),
    ("client_encoding", "UTF8", true),
    ("client_min_messages", "notice", false),
    ("datestyle", "ISO, MDY", true),
    ("default_table_access_method", "heap", false),
    ("default_tablespace", "", false),
    ("default_toast_compression", "pglz", false),
    ("default_transaction_deferrable", "off", false),
    ("default_transaction_isolation", "serializable", false),
    ("default_transaction_read_only", "off", true),
    ("extra_float_digits", "1", false),
    ("idle_in_transaction_session_timeout", "0", false),
    ("idle_session_timeout", "0", false),
    ("in_hot_standby", "off", true),
    ("integer_datetimes", "on", true),
    ("intervalstyle", "postgres", true),
    ("is_superuser", "on", true),
    ("jit", "off", false),
    ("lc_collate", "C", false),
    ("lc_ctype", "C", false),
    ("lc_messages", "C", false),
    ("lc_monetary", "C", false),
    ("lc_numeric", "C", false),
    ("lc_time", "C", false),
    ("lock_timeout", "0", false),
    ("max_identifier_length", "63", false),
    ("max_index_keys", "32", false),
    ("row_security", "on", false),
    ("search_path", "\"$user\", public", false),
    ("server_encoding", "UTF8", true),
    ("server_version", "15.0", true),
    ("server_version_num", "150000", false),
    ("session_authorization", "postgres", true),
    ("standard_conforming_strings", "on", true),
    ("statement_timeout", "0", false),
    ("synchronize_seqscans", "off", false),
    ("synchronous_commit", "on", false),
    ("timezone", "UTC", true),
    ("transaction_deferrable", "off", false),
    ("transaction_isolation", "serializable", false),
    ("transaction_read_only", "off", false),
    ("work_mem", "4MB", false),
    ("xmloption", "content", false),
];

const FIXED: &[&str] = &[
    "in_hot_standby", "integer_datetimes", "is_superuser", "lc_collate", "lc_ctype", "max_identifier_length",
    "max_index_keys", "server_encoding", "server_version", "server_version_num",
];

/// Whether it says what the server is, and cannot be set.
pub(crate) fn is_fixed(name: &str) -> bool {
    FIXED.contains(&name.to_lowercase().as_str())
}

/// The modes of a transaction.
pub(crate) const MODES: [&str; 3] = ["transaction_isolation", "transaction_read_only", "transaction_deferrable"];

/// Whether it is a mode of the transaction at hand, which has a default of its own.
pub(crate) fn is_mode(name: &str) -> bool {
    MODES.contains(&name)
}

/// How clients know a name that is kept in lower case.
fn shown_name(name: &str) -> &str {
    match name {
        "datestyle" => "DateStyle",
        "intervalstyle" => "IntervalStyle",
        "timezone" => "TimeZone",
        other => other,
    }
}

/// Time limits, of which there is one where it is not zero.
const LIMITS: [&str; 4] =
    ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"];

/// Cheap to clone: the values are shared until one is set.
#[derive(Clone, Debug)]
pub struct Settings {
    values: Arc<FxHashMap<String, String>>,
    defaults: Arc<FxHashMap<String, String>>,
    limits: [Option<Duration>; LIMITS.len()],
    generation: u64,
    pub formatting: Formatting,
    pub search_path: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        let values: FxHashMap<String, String> =
            DEFAULTS.iter().map(|(name, value, _)| ((*name).to_owned(), (*value).to_owned())).collect();
        let values = Arc::new(values);
        Self {
            defaults: values.clone(),
            values,
            limits: Default::default(),
            generation: next_generation(),
            formatting: Formatting::default(),
            search_path: vec!["$user".into(), "public".into()],
        }
    }
}

/// No two changes of any session's settings share a generation, so that one that is rolled back to is recognized.
fn next_generation() -> u64 {
    static GENERATIONS: AtomicU64 = AtomicU64::new(1);
    GENERATIONS.fetch_add(1, Ordering::Relaxed)
}

impl Settings {
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        if let Some(value) = self.values.get(name) {
            return Some(value);
        }
        self.values.get(&name.to_lowercase()).map(String::as_str)
    }

    /// As long as it stays the same, so do the values.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What RESET goes back to.
    #[must_use]
    pub fn default_of(&self, name: &str) -> Option<&str> {
        self.defaults.get(&name.to_lowercase()).map(String::as_str)
    }

    /// All settings by name, for SHOW ALL.
    #[must_use]
    pub fn all(&self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> =
            self.values.iter().map(|(name, value)| (shown_name(name).to_owned(), value.clone())).collect();
        all.sort();
        all
    }

    /// What a client is told when it connects, and when it changes: always the same names in the same order.
    pub fn reported(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let reported = DEFAULTS.iter().filter(|(.., reported)| *reported);
        reported.map(|(name, value, _)| (shown_name(name), self.get(name).unwrap_or(value)))
    }

    /// A setting from the startup packet: what RESET goes back to.
    ///
    /// # Errors
    /// As [`Settings::set`].
    pub fn set_default(&mut self, name: &str, value: &str) -> SqlResult<()> {
        self.set(name, value)?;
        let key = name.to_lowercase();
        let value = self.values.get(&key).cloned().unwrap_or_else(|| value.to_owned());
        Arc::make_mut(&mut self.defaults).insert(key, value);
        Ok(())
    }

    /// # Errors
    /// 42704 for a name nobody knows, 22023 for a value it cannot have, 55P02 for one that cannot be changed.
    pub fn set(&mut self, name: &str, value: &str) -> SqlResult<()> {
        let key = name.to_lowercase();
        let known = self.values.contains_key(&key);
        // Names with a dot belong to applications.
        if !known && !key.contains('.') {
            return Err(SqlError::new(
                SqlState::UndefinedObject,
                format!("unrecognized configuration parameter \"{name}\""),
            ));
        }
        if FIXED.contains(&key.as_str()) {
            return Err(SqlError::new(
                SqlState::CantChangeRuntimeParam,
                format!("parameter \"{name}\" cannot be changed"),
            ));
        }
        let invalid = || {
            SqlError::new(
                SqlState::InvalidParameterValue,
                format!("invalid value for parameter \"{}\": \"{value}\"", shown_name(&key)),
            )
        };
        let mut canonical = None;
        match key.as_str() {
            "datestyle" => {
                let order = date_order(value, self.formatting.date_order).ok_or_else(invalid)?;
                self.formatting.date_order = order;
                canonical = Some(match order {
                    DateOrder::Mdy => "ISO, MDY",
                    DateOrder::Dmy => "ISO, DMY",
                    DateOrder::Ymd => "ISO, YMD",
                });
            }
            "intervalstyle" => {
                let (style, name) = interval_style(value).ok_or_else(invalid)?;
                self.formatting.interval_style = style;
                canonical = Some(name);
            }
            "bytea_output" => {
                let is_hex = value.eq_ignore_ascii_case("hex");
                if !is_hex && !value.eq_ignore_ascii_case("escape") {
                    return Err(invalid());
                }
                self.formatting.bytea_output = if is_hex { ByteaOutput::Hex } else { ByteaOutput::Escape };
            }
            "search_path" => self.search_path = parse_list(value),
            "timezone" => {
                self.formatting.zone = Zone::parse(value).map_err(|_| invalid())?;
                canonical = Some(self.formatting.zone.name());
            }
            "extra_float_digits" => {
                self.formatting.extra_float_digits = value.parse().map_err(|_| invalid())?;
            }
            "client_encoding" if !matches!(value.to_uppercase().replace('-', "").as_str(), "UTF8" | "UNICODE" | "SQL_ASCII") => {
                return Err(invalid().with_hint("Only UTF8 is spoken here."));
            }
            "client_encoding" => canonical = Some("UTF8"),
            "transaction_read_only" | "transaction_deferrable" | "default_transaction_read_only"
            | "default_transaction_deferrable" => {
                let is_on = parse_bool(value).ok_or_else(|| {
                    let message = format!("parameter \"{key}\" requires a Boolean value");
                    SqlError::new(SqlState::InvalidParameterValue, message)
                })?;
                canonical = Some(if is_on { "on" } else { "off" });
            }
            limit => {
                if let Some(at) = LIMITS.iter().position(|name| *name == limit) {
                    let millis = parse_millis(value).ok_or_else(invalid)?;
                    self.limits[at] = (millis > 0).then(|| Duration::from_millis(millis));
                }
            }
        }
        let value = canonical.unwrap_or(value).to_owned();
        let values = Arc::make_mut(&mut self.values);
        // A transaction's mode is the default as long as nobody has said otherwise.
        if let Some(mode) = key.strip_prefix("default_").filter(|mode| is_mode(mode))
            && values.get(mode) == values.get(&key)
        {
            values.insert(mode.to_owned(), value.clone());
        }
        values.insert(key, value);
        self.generation = next_generation();
        Ok(())
    }

    /// Back to what it was when the session began; a mode of the transaction to what transactions begin with.
    ///
    /// # Errors
    /// As [`Settings::set`].
    pub fn reset(&mut self, name: &str) -> SqlResult<()> {
        let key = name.to_lowercase();
        let value = match is_mode(&key) {
            true => self.get(&format!("default_{key}")).map(str::to_owned),
            false => self.defaults.get(&key).cloned(),
        };
        let Some(value) = value else {
            Arc::make_mut(&mut self.values).remove(&key);
            return Ok(());
        };
        if FIXED.contains(&key.as_str()) {
            return Ok(());
        }
        self.set(name, &value)
    }

    /// # Errors
    /// None: the values from the start are valid.
    pub fn reset_all(&mut self) -> SqlResult<()> {
        // A transaction keeps its modes.
        let names: Vec<String> = self.values.keys().filter(|name| !is_mode(name)).cloned().collect();
        names.iter().try_for_each(|name| self.reset(name))
    }

    /// Whether a setting that is a switch is on.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        self.get(name) == Some("on")
    }

    /// A time limit; none when it is off.
    #[must_use]
    pub fn duration(&self, name: &str) -> Option<Duration> {
        LIMITS.iter().position(|known| *known == name).and_then(|at| self.limits[at])
    }
}

/// The order that a `DateStyle` asks for; how dates are shown is always ISO.
fn date_order(value: &str, mut order: DateOrder) -> Option<DateOrder> {
    for word in value.split([',', ' ']).filter(|word| !word.is_empty()) {
        match word.to_ascii_lowercase().as_str() {
            "iso" | "sql" | "german" => {}
            "mdy" | "us" | "noneuro" | "noneuropean" | "postgres" => order = DateOrder::Mdy,
            "dmy" | "euro" | "european" => order = DateOrder::Dmy,
            "ymd" => order = DateOrder::Ymd,
            "default" => order = DateOrder::default(),
            _ => return None,
        }
    }
    Some(order)
}

fn interval_style(value: &str) -> Option<(IntervalStyle, &'static str)> {
    Some(match value.to_ascii_lowercase().as_str() {
        "postgres" => (IntervalStyle::Postgres, "postgres"),
        "postgres_verbose" => (IntervalStyle::PostgresVerbose, "postgres_verbose"),
        "sql_standard" => (IntervalStyle::SqlStandard, "sql_standard"),
        "iso_8601" => (IntervalStyle::Iso8601, "iso_8601"),
        _ => return None,
    })
}

fn parse_list(value: &str) -> Vec<String> {
    value
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| match part.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None => part.trim_matches('\'').to_lowercase(),
        })
        .collect()
}

/// A switch: any beginning of a word that can be no other's.
fn parse_bool(value: &str) -> Option<bool> {
    Some(match value.trim().to_ascii_lowercase().as_str() {
        "t" | "tr" | "tru" | "true" | "y" | "ye" | "yes" | "on" | "1" => true,
        "f" | "fa" | "fal" | "fals" | "false" | "n" | "no" | "of" | "off" | "0" => false,
        _ => return None,
    })
}

fn parse_millis(value: &str) -> Option<u64> {
    let value = value.trim();
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim();
    let number: u64 = digits.parse().ok()?;
    let factor = match value[digits.len()..].trim() {
        "" | "ms" => 1,
        "d" => 86_400_000,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_and_go_back() {
        let mut settings = Settings::default();
        settings.set("search_path", "\"Odd\", app").unwrap();
        assert_eq!(settings.search_path, ["Odd", "app"]);
        settings.set("my.flag", "1").unwrap();
        assert_eq!(settings.get("MY.FLAG"), Some("1"));
        assert!(settings.set("nonsense", "1").is_err());
        assert!(settings.set("server_version", "16").is_err());
        assert!(settings.set("TimeZone", "Nowhere/Else").is_err());
        settings.set("lock_timeout", "2s").unwrap();
        assert_eq!(settings.duration("lock_timeout"), Some(Duration::from_secs(2)));
        assert!(settings.set("lock_timeout", "2 moons").is_err());
        let generation = settings.generation();
        settings.set("DateStyle", "iso, dmy").unwrap();
        assert!(settings.generation() != generation && settings.formatting.date_order == DateOrder::Dmy);
        assert!(settings.reported().any(|reported| reported == ("DateStyle", "ISO, DMY")));
        settings.set("IntervalStyle", "iso_8601").unwrap();
        assert!(settings.set("intervalstyle", "roman").is_err() && settings.set("bytea_output", "x").is_err());
        settings.set("default_transaction_isolation", "read committed").unwrap();
        assert_eq!(settings.get("transaction_isolation"), Some("read committed"));
        settings.reset_all().unwrap();
        assert_eq!(settings.get("transaction_isolation"), Some("serializable"));
        assert_eq!(settings.search_path, ["$user", "public"]);
        assert_eq!(settings.duration("lock_timeout"), None);
    }
}
