//! Run-time settings: what SET and SHOW know.
//!
//! Every setting of PostgreSQL 15 is known ([`known`]) and checked as PostgreSQL checks it ([`value`]). Those that have a
//! meaning here take effect; the others are kept and shown.

pub(crate) mod known;
pub(crate) mod value;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustc_hash::FxHashMap;
use types::{ByteaOutput, DateOrder, DateStyle, Formatting, IntervalStyle, SqlError, SqlResult, SqlState, Zone};

use self::known::{Context, Known, REPORTED, known};

/// The modes of a transaction.
pub(crate) const MODES: [&str; 3] =
    ["transaction_isolation", "transaction_read_only", "transaction_deferrable"];

/// Whether it is a mode of the transaction at hand, which has a default of its own.
pub(crate) fn is_mode(name: &str) -> bool {
    MODES.contains(&name)
}

/// Time limits, of which there is one where it is not zero.
const LIMITS: [&str; 4] =
    ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"];

/// A setting as SHOW ALL and `pg_settings` list it.
pub(crate) struct Listed<'a> {
    pub name: &'a str,
    /// None for a setting of an application.
    pub known: Option<&'static Known>,
    pub value: &'a str,
    /// What RESET goes back to.
    pub reset: &'a str,
}

/// Cheap to clone: the values are shared until one is set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Those that are not what PostgreSQL begins with, by name in lower case.
    values: Arc<FxHashMap<String, String>>,
    /// What RESET goes back to, where that is not what PostgreSQL begins with.
    defaults: Arc<FxHashMap<String, String>>,
    limits: [Option<Duration>; LIMITS.len()],
    generation: u64,
    pub formatting: Formatting,
    pub search_path: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            defaults: Arc::default(),
            values: Arc::default(),
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

/// Who sets a setting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The startup packet.
    Client,
    /// SET, and functions.
    Session,
}

impl Settings {
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        if let Some(value) = self.values.get(name) {
            return Some(value);
        }
        if let Some(known) = known(name) {
            return Some(&known.default);
        }
        let key = name.to_lowercase();
        if key == name {
            return None;
        }
        self.values.get(&key).map(String::as_str).or_else(|| known(&key).map(|known| known.default.as_str()))
    }

    /// As long as it stays the same, so do the values.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    fn default_of(&self, key: &str) -> Option<&str> {
        self.defaults.get(key).map(String::as_str).or_else(|| known(key).map(|known| known.default.as_str()))
    }

    /// All settings by name, for SHOW ALL and `pg_settings`.
    pub(crate) fn all(&self) -> Vec<Listed<'_>> {
        let listed = known::all().filter(|(_, known)| known.is_listed);
        let own = self.values.iter().filter(|(key, _)| known(key).is_none());
        let mut all: Vec<Listed<'_>> = listed
            .map(|(key, known)| Listed {
                name: known.name,
                known: Some(known),
                value: self.values.get(key).unwrap_or(&known.default),
                reset: self.defaults.get(key).unwrap_or(&known.default),
            })
            .chain(own.map(|(key, value)| Listed {
                name: key,
                known: None,
                value,
                reset: self.defaults.get(key).map_or("", String::as_str),
            }))
            .collect();
        all.sort_unstable_by_key(|listed| listed.name.to_ascii_lowercase());
        all
    }

    /// What a client is told when it connects, and when it changes: always the same names in the same order.
    pub fn reported(&self) -> impl Iterator<Item = (&'static str, &str)> {
        REPORTED.iter().filter_map(|key| {
            let known = known(key)?;
            Some((known.name, self.values.get(*key).unwrap_or(&known.default).as_str()))
        })
    }

    /// A setting from the startup packet: what RESET goes back to.
    ///
    /// # Errors
    /// As [`Settings::set`].
    pub fn set_default(&mut self, name: &str, value: &str) -> SqlResult<()> {
        let key = name.to_lowercase();
        self.set_from(&key, name, value, Source::Client)?;
        let value = self.values.get(&key).cloned().unwrap_or_else(|| value.to_owned());
        Arc::make_mut(&mut self.defaults).insert(key, value);
        Ok(())
    }

    /// # Errors
    /// 42704 for a name nobody knows, 42602 for one that cannot be an application's, 22023 for a value it cannot have,
    /// 55P02 for one that cannot be changed now.
    pub fn set(&mut self, name: &str, value: &str) -> SqlResult<()> {
        self.set_from(&name.to_lowercase(), name, value, Source::Session)
    }

    fn set_from(&mut self, key: &str, name: &str, value: &str, source: Source) -> SqlResult<()> {
        let known = known(key);
        let canonical = match known {
            Some(known) => {
                check_context(known, source)?;
                self.canonical(key, known, value)?
            }
            None => {
                check_name(name)?;
                value.to_owned()
            }
        };
        if let Some(at) = LIMITS.iter().position(|name| *name == key) {
            let millis = known.map_or(0, |known| value::bare(known, &canonical).parse().unwrap_or(0));
            self.limits[at] = (millis > 0).then(|| Duration::from_millis(millis));
        }
        // The running mode follows its default until it is set itself.
        if let Some(mode) = key.strip_prefix("default_").filter(|mode| is_mode(mode))
            && self.get(mode) == self.get(key)
        {
            Arc::make_mut(&mut self.values).insert(mode.to_owned(), canonical.clone());
        }
        Arc::make_mut(&mut self.values).insert(key.to_owned(), canonical);
        self.generation = next_generation();
        Ok(())
    }

    /// A value as it is shown. What formats and names depend on takes effect.
    fn canonical(&mut self, key: &str, known: &Known, value: &str) -> SqlResult<String> {
        let invalid = || {
            let message = format!("invalid value for parameter \"{}\": \"{value}\"", known.name);
            SqlError::new(SqlState::InvalidParameterValue, message)
        };
        Ok(match key {
            "datestyle" => {
                let (style, order) = (self.formatting.date_style, self.formatting.date_order);
                let (style, order) = date_style(value, style, order).map_err(|reason| invalid().with_detail(reason))?;
                (self.formatting.date_style, self.formatting.date_order) = (style, order);
                let style = match style {
                    DateStyle::Iso => "ISO",
                    DateStyle::Sql => "SQL",
                    DateStyle::Postgres => "Postgres",
                    DateStyle::German => "German",
                };
                let order = match order {
                    DateOrder::Mdy => "MDY",
                    DateOrder::Dmy => "DMY",
                    DateOrder::Ymd => "YMD",
                };
                format!("{style}, {order}")
            }
            "intervalstyle" => {
                let name = value::canonical(known, value)?;
                self.formatting.interval_style = match name.as_str() {
                    "postgres_verbose" => IntervalStyle::PostgresVerbose,
                    "sql_standard" => IntervalStyle::SqlStandard,
                    "iso_8601" => IntervalStyle::Iso8601,
                    _ => IntervalStyle::Postgres,
                };
                name
            }
            "bytea_output" => {
                let name = value::canonical(known, value)?;
                self.formatting.bytea_output =
                    if name == "hex" { ByteaOutput::Hex } else { ByteaOutput::Escape };
                name
            }
            "search_path" => {
                self.search_path = parse_list(value);
                value.to_owned()
            }
            "timezone" => {
                self.formatting.zone = Zone::parse(value).map_err(|_| invalid())?;
                self.formatting.zone.name().to_owned()
            }
            "default_text_search_config" => {
                let bare = value.trim().to_lowercase();
                let bare = bare.strip_prefix("pg_catalog.").unwrap_or(&bare);
                let known = builtins::text_search::configuration::configurations();
                let found = known.iter().find(|it| it.name == bare).ok_or_else(invalid)?;
                format!("pg_catalog.{}", found.name)
            }
            "extra_float_digits" => {
                let digits = value::canonical(known, value)?;
                self.formatting.extra_float_digits = digits.parse().map_err(|_| invalid())?;
                digits
            }
            "client_encoding" => encoding(value).map_err(|known| match known {
                Some(name) => SqlError::not_supported(invalid().message().to_owned())
                    .with_detail(format!("Conversion between {name} and UTF8 is not supported.")),
                None => invalid(),
            })?,
            _ => value::canonical(known, value)?,
        })
    }

    /// A setting of so many kilobytes, in bytes.
    pub(crate) fn kilobytes(&self, name: &str) -> usize {
        let Some(known) = known(name) else { return 0 };
        let value = self.values.get(name).unwrap_or(&known.default);
        value::bare(known, value).parse::<usize>().unwrap_or(0).saturating_mul(1024)
    }

    /// Back to what it was when the session began; a mode of the transaction to what transactions begin with.
    ///
    /// # Errors
    /// As [`Settings::set`].
    pub fn reset(&mut self, name: &str) -> SqlResult<()> {
        let key = name.to_lowercase();
        let Some(known) = known(&key) else {
            check_name(name)?;
            match self.defaults.get(&key).cloned() {
                Some(value) => self.set(name, &value)?,
                None => {
                    Arc::make_mut(&mut self.values).remove(&key);
                    self.generation = next_generation();
                }
            }
            return Ok(());
        };
        let value = match is_mode(&key) {
            true => self.get(&format!("default_{key}")).map(str::to_owned),
            false => self.default_of(&key).map(str::to_owned),
        };
        check_context(known, Source::Session)?;
        self.set(name, &value.unwrap_or_default())
    }

    /// # Errors
    /// None: the values from the start are valid.
    pub fn reset_all(&mut self) -> SqlResult<()> {
        // A transaction keeps its modes, and a session its role.
        let keeps = |key: &str| {
            known(key).is_some_and(|known| {
                known.keeps || known.context != Context::User && known.context != Context::Superuser
            })
        };
        let names: Vec<String> =
            self.values.keys().filter(|key| !is_mode(key) && !keeps(key)).cloned().collect();
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

    /// Internal settings that follow from the session's roles.
    pub(crate) fn set_internal(&mut self, key: &str, value: &str) {
        if self.get(key) != Some(value) {
            Arc::make_mut(&mut self.values).insert(key.to_owned(), value.to_owned());
            self.generation = next_generation();
        }
    }
}

/// 42704.
pub(crate) fn unrecognized(name: &str) -> SqlError {
    SqlError::new(SqlState::UndefinedObject, format!("unrecognized configuration parameter \"{name}\""))
}

fn check_context(known: &Known, source: Source) -> SqlResult<()> {
    let when = match known.context {
        Context::Internal => "",
        Context::Postmaster => " without restarting the server",
        Context::Sighup => " now",
        Context::SuperuserBackend | Context::Backend if source == Source::Session => {
            let message = format!("parameter \"{}\" cannot be set after connection start", known.name);
            return Err(SqlError::new(SqlState::CantChangeRuntimeParam, message));
        }
        _ => return Ok(()),
    };
    let message = format!("parameter \"{}\" cannot be changed{when}", known.name);
    Err(SqlError::new(SqlState::CantChangeRuntimeParam, message))
}

/// Names with a dot belong to applications.
fn check_name(name: &str) -> SqlResult<()> {
    if !name.contains('.') {
        return Err(unrecognized(name));
    }
    let is_identifier = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii())
    };
    if name.split('.').all(is_identifier) {
        return Ok(());
    }
    Err(SqlError::new(SqlState::InvalidName, format!("invalid configuration parameter name \"{name}\""))
        .with_detail("Custom parameter names must be two or more simple identifiers separated by dots."))
}

/// The name of an encoding that text comes and goes in; otherwise whether PostgreSQL knows another of that name.
fn encoding(value: &str) -> Result<String, Option<&'static str>> {
    let spelled: String =
        value.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    let others: [(&str, &[&str]); 8] = [
        ("LATIN1", &["latin1", "iso88591"]),
        ("LATIN2", &["latin2", "iso88592"]),
        ("LATIN9", &["latin9", "iso885915"]),
        ("WIN1250", &["win1250", "windows1250"]),
        ("WIN1251", &["win1251", "win", "windows1251"]),
        ("WIN1252", &["win1252", "windows1252"]),
        ("SJIS", &["sjis", "shiftjis", "mskanji", "win932", "windows932"]),
        ("EUC_JP", &["eucjp"]),
    ];
    match spelled.as_str() {
        "utf8" | "unicode" => Ok("UTF8".to_owned()),
        // Nothing is converted: bytes are what they are in the database.
        "sqlascii" => Ok("SQL_ASCII".to_owned()),
        other => Err(others.iter().find(|(_, spellings)| spellings.contains(&other)).map(|(name, _)| *name)),
    }
}

/// The style and order that a `DateStyle` asks for; what is not said stays. The detail of the error otherwise.
fn date_style(value: &str, style: DateStyle, order: DateOrder) -> Result<(DateStyle, DateOrder), String> {
    let (mut new_style, mut new_order) = (None, None);
    let mut is_german = false;
    let conflict = || "Conflicting \"datestyle\" specifications.".to_owned();
    for word in value.split(',').flat_map(str::split_whitespace) {
        let lower = word.to_ascii_lowercase();
        let (asked_style, asked_order) = match lower.as_str() {
            "iso" => (Some(DateStyle::Iso), None),
            "sql" => (Some(DateStyle::Sql), None),
            "german" => (Some(DateStyle::German), None),
            "ymd" => (None, Some(DateOrder::Ymd)),
            "mdy" | "us" => (None, Some(DateOrder::Mdy)),
            "dmy" => (None, Some(DateOrder::Dmy)),
            // Fills in what nothing else asks for.
            "default" => {
                new_style = new_style.or(Some(DateStyle::default()));
                new_order = new_order.or(Some(DateOrder::default()));
                continue;
            }
            other if other.starts_with("postgres") => (Some(DateStyle::Postgres), None),
            other if other.starts_with("euro") => (None, Some(DateOrder::Dmy)),
            other if other.starts_with("noneuro") => (None, Some(DateOrder::Mdy)),
            other => return Err(format!("Unrecognized key word: \"{other}\".")),
        };
        if let Some(asked) = asked_style {
            is_german |= asked == DateStyle::German;
            if new_style.replace(asked).is_some_and(|known| known != asked) {
                return Err(conflict());
            }
        }
        if let Some(asked) = asked_order
            && new_order.replace(asked).is_some_and(|known| known != asked)
        {
            return Err(conflict());
        }
    }
    let order = new_order.unwrap_or(if is_german { DateOrder::Dmy } else { order });
    Ok((new_style.unwrap_or(style), order))
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
        .filter(|part| !part.is_empty())
        .collect()
}

/// The values that SET gives, as one text: those of a list are names, quoted where they must be.
pub(crate) fn joined(key: &str, values: &[String]) -> SqlResult<String> {
    if known::NAME_LISTS.contains(&key) {
        let is_plain = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        let quoted = values.iter().map(|name| match is_plain(name) {
            true => name.clone(),
            false => format!("\"{}\"", name.replace('"', "\"\"")),
        });
        return Ok(quoted.collect::<Vec<_>>().join(", "));
    }
    if values.len() > 1
        && !matches!(
            key,
            "datestyle"
                | "log_destination"
                | "listen_addresses"
                | "synchronous_standby_names"
                | "unix_socket_directories"
        )
    {
        let message = format!("SET {key} takes only one argument");
        return Err(SqlError::new(SqlState::InvalidParameterValue, message));
    }
    Ok(values.join(", "))
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
        let code = |settings: &mut Settings, name, value| settings.set(name, value).unwrap_err().code();
        assert_eq!(code(&mut settings, "nonsense", "1"), SqlState::UndefinedObject);
        assert_eq!(code(&mut settings, "1a.b", "1"), SqlState::InvalidName);
        for fixed in ["server_version", "max_connections", "fsync", "log_connections"] {
            assert_eq!(code(&mut settings, fixed, "off"), SqlState::CantChangeRuntimeParam, "{fixed}");
        }
        settings.set_default("log_connections", "on").unwrap();
        for (name, value) in
            [("TimeZone", "Nowhere/Else"), ("lock_timeout", "2 moons"), ("work_mem", "1"), ("jit", "2")]
        {
            assert_eq!(code(&mut settings, name, value), SqlState::InvalidParameterValue, "{name}");
        }
        settings.set("lock_timeout", "2s").unwrap();
        assert_eq!(settings.duration("lock_timeout"), Some(Duration::from_secs(2)));
        let generation = settings.generation();
        settings.set("DateStyle", "iso, dmy").unwrap();
        assert!(settings.generation() != generation && settings.formatting.date_order == DateOrder::Dmy);
        assert!(settings.reported().any(|reported| reported == ("DateStyle", "ISO, DMY")));
        for (value, shown) in [
            ("postgres", "Postgres, DMY"), ("German", "German, DMY"), ("us sql", "SQL, MDY"), ("european", "SQL, DMY"),
            ("default", "ISO, MDY"), ("postgresql, ymd", "Postgres, YMD"),
        ] {
            settings.set("datestyle", value).unwrap();
            assert_eq!(settings.get("datestyle"), Some(shown), "{value}");
        }
        assert_eq!(code(&mut settings, "datestyle", "iso, sql"), SqlState::InvalidParameterValue);
        settings.set("datestyle", "iso, dmy").unwrap();
        settings.set("IntervalStyle", "iso_8601").unwrap();
        assert!(
            settings.set("intervalstyle", "roman").is_err() && settings.set("bytea_output", "x").is_err()
        );
        settings.set("default_transaction_isolation", "read committed").unwrap();
        assert_eq!(settings.get("transaction_isolation"), Some("read committed"));
        for spelling in ["utf-8", "UTF8", "Unicode", "utf_8"] {
            settings.set("client_encoding", spelling).unwrap();
            assert_eq!(settings.get("client_encoding"), Some("UTF8"));
        }
        assert_eq!(code(&mut settings, "client_encoding", "latin-1"), SqlState::FeatureNotSupported);
        assert_eq!(code(&mut settings, "client_encoding", "morse"), SqlState::InvalidParameterValue);
        settings.reset_all().unwrap();
        assert_eq!(settings.get("transaction_isolation"), Some("serializable"));
        assert_eq!(settings.search_path, ["$user", "public"]);
        assert_eq!(settings.duration("lock_timeout"), None);
    }

    #[test]
    fn lists_of_names_are_quoted() {
        let names = ["a", "B c", "$user"].map(str::to_owned);
        assert_eq!(joined("search_path", &names).unwrap(), "a, \"B c\", \"$user\"");
        assert_eq!(joined("work_mem", &names).unwrap_err().code(), SqlState::InvalidParameterValue);
    }
}
