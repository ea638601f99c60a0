//! Zone configurations: how many replicas ranges have, where, and how they are kept.
//!
//! A [`ZoneConfig`] says something of some settings and leaves the others to what is around it: an index to its table, a
//! partition to its partitioned table, a table to its database, a database to the default. [`ZoneConfig::over`] lays one over
//! another; [`ZoneConfig::resolve`] gives a [`SpanConfig`], which says everything.
//!
//! ```text
//! constraints        [+region=eu, -zone=eu-1]              of every replica
//!                    {"+region=eu": 2, "+region=us": 1}     of so many; the others may be anywhere
//! lease_preferences  [[+region=eu], [+region=us]]          the first that some replica meets
//! ```

use std::fmt;

use crate::{
    Locality,
    locality::is_name,
    tagged::{Malformed, Reader, Writer},
};

/// Something that is required of a place, or prohibited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    pub is_required: bool,
    pub key: String,
    pub value: String,
}

/// Constraints that hold together, of so many replicas: of all of them where there is no number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraints {
    pub replicas: Option<u32>,
    pub all_of: Vec<Constraint>,
}

/// What a zone says itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneConfig {
    pub num_replicas: Option<u32>,
    pub range_min_bytes: Option<u64>,
    pub range_max_bytes: Option<u64>,
    pub gc_ttl_seconds: Option<u32>,
    pub constraints: Option<Vec<Constraints>>,
    pub lease_preferences: Option<Vec<Vec<Constraint>>>,
}

/// The settings of a zone configuration, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneField {
    RangeMinBytes,
    RangeMaxBytes,
    GcTtlSeconds,
    NumReplicas,
    Constraints,
    LeasePreferences,
}

impl ZoneField {
    pub const ALL: [Self; 6] = [
        Self::RangeMinBytes,
        Self::RangeMaxBytes,
        Self::GcTtlSeconds,
        Self::NumReplicas,
        Self::Constraints,
        Self::LeasePreferences,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RangeMinBytes => "range_min_bytes",
            Self::RangeMaxBytes => "range_max_bytes",
            Self::GcTtlSeconds => "gc.ttlseconds",
            Self::NumReplicas => "num_replicas",
            Self::Constraints => "constraints",
            Self::LeasePreferences => "lease_preferences",
        }
    }

    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }
}

/// What holds of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanConfig {
    pub num_replicas: u32,
    pub range_min_bytes: u64,
    pub range_max_bytes: u64,
    pub gc_ttl_seconds: u32,
    pub constraints: Vec<Constraints>,
    pub lease_preferences: Vec<Vec<Constraint>>,
}

impl From<SpanConfig> for ZoneConfig {
    fn from(config: SpanConfig) -> Self {
        Self {
            num_replicas: Some(config.num_replicas),
            range_min_bytes: Some(config.range_min_bytes),
            range_max_bytes: Some(config.range_max_bytes),
            gc_ttl_seconds: Some(config.gc_ttl_seconds),
            constraints: Some(config.constraints),
            lease_preferences: Some(config.lease_preferences),
        }
    }
}

impl Default for SpanConfig {
    fn default() -> Self {
        Self {
            num_replicas: 3,
            range_min_bytes: 128 << 20,
            range_max_bytes: 512 << 20,
            gc_ttl_seconds: 3_600,
            constraints: Vec::new(),
            lease_preferences: Vec::new(),
        }
    }
}

/// A quorum of more is slower, and no safer.
const REPLICAS_MAX: u32 = 15;
/// A smaller range is all overhead.
const RANGE_MAX_BYTES_MIN: u64 = 64 << 10;

/// What is wrong with a zone configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadZone {
    #[error("at least one replica is required")]
    NoReplica,
    #[error("at least 3 replicas are required for multi-replica configurations")]
    TwoReplicas,
    #[error("at most {REPLICAS_MAX} replicas are possible")]
    ManyReplicas,
    #[error("RangeMaxBytes {0} less than minimum allowed {RANGE_MAX_BYTES_MIN}")]
    SmallRange(u64),
    #[error("RangeMinBytes {0} is greater than or equal to RangeMaxBytes {1}")]
    Bounds(u64, u64),
    #[error("GC.TTLSeconds 0 less than minimum allowed 1")]
    NoTtl,
    #[error("the number of replicas specified in constraints ({0}) cannot be greater than the number of replicas configured for the zone ({1})")]
    Counts(u64, u32),
    #[error("constraints must apply to at least one replica")]
    NoneOf,
    #[error("\"{0}\" is not a constraint: it is +KEY=VALUE or -KEY=VALUE")]
    Constraint(String),
    #[error("expected {expected} at \"{at}\"")]
    Syntax { expected: &'static str, at: String },
}

impl Constraint {
    #[must_use]
    pub fn is_met(&self, place: &Locality) -> bool {
        place.has(&self.key, &self.value) == self.is_required
    }

    fn parse(text: &str) -> Result<Self, BadZone> {
        let bad = || BadZone::Constraint(text.to_owned());
        let (is_required, rest) = match text.split_at_checked(1) {
            Some(("+", rest)) => (true, rest),
            Some(("-", rest)) => (false, rest),
            _ => return Err(bad()),
        };
        let (key, value) = rest.split_once('=').ok_or_else(bad)?;
        if !is_name(key) || !is_name(value) {
            return Err(bad());
        }
        Ok(Self { is_required, key: key.to_owned(), value: value.to_owned() })
    }
}

/// Whether a place meets all of these.
#[must_use]
pub fn meets(place: &Locality, all_of: &[Constraint]) -> bool {
    all_of.iter().all(|constraint| constraint.is_met(place))
}

impl SpanConfig {
    /// How many replicas are missing from where they must be, or are where they must not be.
    #[must_use]
    pub fn misplaced(&self, places: &[&Locality]) -> u32 {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let missing = self.constraints.iter().map(|it| {
            let there = places.iter().filter(|place| meets(place, &it.all_of)).count();
            match it.replicas {
                None => count(places.len() - there),
                Some(wanted) => wanted.saturating_sub(count(there)),
            }
        });
        missing.sum()
    }

    /// Whether replicas at these places can be part of what is wanted: of those that are still to come enough are left for
    /// the numbers that are not there yet.
    #[must_use]
    pub fn allows(&self, places: &[&Locality]) -> bool {
        let to_come = u64::from(self.num_replicas).saturating_sub(places.len() as u64);
        let mut missing = 0;
        for it in &self.constraints {
            let there = places.iter().filter(|place| meets(place, &it.all_of)).count() as u64;
            match it.replicas {
                None if there < places.len() as u64 => return false,
                None => {}
                Some(wanted) => missing += u64::from(wanted).saturating_sub(there),
            }
        }
        missing <= to_come
    }

    /// The rank of the first lease preference that a place meets; the number of them where it meets none.
    #[must_use]
    pub fn lease_rank(&self, place: &Locality) -> usize {
        let met = self.lease_preferences.iter().position(|all_of| meets(place, all_of));
        met.unwrap_or(self.lease_preferences.len())
    }
}

impl ZoneConfig {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What it says, and where it says nothing what another does.
    #[must_use]
    pub fn over(&self, below: &Self) -> Self {
        Self {
            num_replicas: self.num_replicas.or(below.num_replicas),
            range_min_bytes: self.range_min_bytes.or(below.range_min_bytes),
            range_max_bytes: self.range_max_bytes.or(below.range_max_bytes),
            gc_ttl_seconds: self.gc_ttl_seconds.or(below.gc_ttl_seconds),
            constraints: self.constraints.clone().or_else(|| below.constraints.clone()),
            lease_preferences: self.lease_preferences.clone().or_else(|| below.lease_preferences.clone()),
        }
    }

    /// Leaves a setting to what is around it.
    pub fn clear(&mut self, field: ZoneField) {
        match field {
            ZoneField::RangeMinBytes => self.range_min_bytes = None,
            ZoneField::RangeMaxBytes => self.range_max_bytes = None,
            ZoneField::GcTtlSeconds => self.gc_ttl_seconds = None,
            ZoneField::NumReplicas => self.num_replicas = None,
            ZoneField::Constraints => self.constraints = None,
            ZoneField::LeasePreferences => self.lease_preferences = None,
        }
    }

    /// A setting as a statement gives it; none where nothing is said.
    #[must_use]
    pub fn shown(&self, field: ZoneField) -> Option<String> {
        let quoted = |text: String| format!("'{text}'");
        match field {
            ZoneField::RangeMinBytes => self.range_min_bytes.map(|it| it.to_string()),
            ZoneField::RangeMaxBytes => self.range_max_bytes.map(|it| it.to_string()),
            ZoneField::GcTtlSeconds => self.gc_ttl_seconds.map(|it| it.to_string()),
            ZoneField::NumReplicas => self.num_replicas.map(|it| it.to_string()),
            ZoneField::Constraints => self.constraints.as_deref().map(shown_constraints).map(quoted),
            ZoneField::LeasePreferences => self.lease_preferences.as_deref().map(shown_preferences).map(quoted),
        }
    }

    /// What it says, and the defaults for the rest.
    #[must_use]
    pub fn resolve(&self, defaults: &SpanConfig) -> SpanConfig {
        let range_max_bytes = self.range_max_bytes.unwrap_or(defaults.range_max_bytes);
        // A bound that is not configured follows the other one.
        let range_min_bytes = self.range_min_bytes.unwrap_or(defaults.range_min_bytes.min(range_max_bytes / 4));
        SpanConfig {
            num_replicas: self.num_replicas.unwrap_or(defaults.num_replicas),
            range_min_bytes,
            range_max_bytes,
            gc_ttl_seconds: self.gc_ttl_seconds.unwrap_or(defaults.gc_ttl_seconds),
            constraints: self.constraints.clone().unwrap_or_else(|| defaults.constraints.clone()),
            lease_preferences: self.lease_preferences.clone().unwrap_or_else(|| defaults.lease_preferences.clone()),
        }
    }

    /// Whether it can hold: laid over what is around it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, defaults: &SpanConfig) -> Result<(), BadZone> {
        let config = self.resolve(defaults);
        match config.num_replicas {
            0 => return Err(BadZone::NoReplica),
            2 => return Err(BadZone::TwoReplicas),
            many if many > REPLICAS_MAX => return Err(BadZone::ManyReplicas),
            _ => {}
        }
        if config.range_max_bytes < RANGE_MAX_BYTES_MIN {
            return Err(BadZone::SmallRange(config.range_max_bytes));
        }
        if config.range_min_bytes >= config.range_max_bytes {
            return Err(BadZone::Bounds(config.range_min_bytes, config.range_max_bytes));
        }
        if config.gc_ttl_seconds == 0 {
            return Err(BadZone::NoTtl);
        }
        if config.constraints.iter().any(|it| it.replicas == Some(0)) {
            return Err(BadZone::NoneOf);
        }
        let counted: u64 = config.constraints.iter().filter_map(|it| it.replicas).map(u64::from).sum();
        if counted > u64::from(config.num_replicas) {
            return Err(BadZone::Counts(counted, config.num_replicas));
        }
        Ok(())
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        // None is one less than the least.
        writer.number(2, self.num_replicas.map_or(0, |it| u64::from(it) + 1), 0);
        writer.number(4, self.range_min_bytes.map_or(0, |it| it.saturating_add(1)), 0);
        writer.number(6, self.range_max_bytes.map_or(0, |it| it.saturating_add(1)), 0);
        writer.number(8, self.gc_ttl_seconds.map_or(0, |it| u64::from(it) + 1), 0);
        writer.text(10, &self.constraints.as_deref().map(shown_constraints).unwrap_or_default());
        writer.text(12, &self.lease_preferences.as_deref().map(shown_preferences).unwrap_or_default());
        writer.finish()
    }

    /// # Errors
    /// For bytes that no zone configuration was encoded to.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let small = |number: u64, tag| match number.checked_sub(1) {
            None => Ok(None),
            Some(it) => u32::try_from(it).map(Some).map_err(|_| Malformed::Bad(tag)),
        };
        let num_replicas = small(reader.number(2, 0)?, 2)?;
        let range_min_bytes = reader.number(4, 0)?.checked_sub(1);
        let range_max_bytes = reader.number(6, 0)?.checked_sub(1);
        let gc_ttl_seconds = small(reader.number(8, 0)?, 8)?;
        let (constraints, preferences) = (reader.text(10)?, reader.text(12)?);
        reader.finish()?;
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let constraints = some(&constraints).map(|text| read_constraints(&text)).transpose();
        let preferences = some(&preferences).map(|text| read_preferences(&text)).transpose();
        Ok(Self {
            num_replicas,
            range_min_bytes,
            range_max_bytes,
            gc_ttl_seconds,
            constraints: constraints.map_err(|_| Malformed::Bad(10))?,
            lease_preferences: preferences.map_err(|_| Malformed::Bad(12))?,
        })
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}={}", if self.is_required { '+' } else { '-' }, self.key, self.value)
    }
}

fn joined<T: fmt::Display>(items: &[T], between: &str) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

/// As [`read_constraints`] reads them.
#[must_use]
pub fn shown_constraints(constraints: &[Constraints]) -> String {
    let counted = |it: &Constraints| it.replicas.map(|count| format!("\"{}\": {count}", joined(&it.all_of, ",")));
    let counted: Option<Vec<String>> = constraints.iter().map(counted).collect();
    match counted {
        Some(counted) if !counted.is_empty() => format!("{{{}}}", counted.join(", ")),
        _ => format!("[{}]", constraints.iter().map(|it| joined(&it.all_of, ", ")).collect::<Vec<_>>().join(", ")),
    }
}

/// As [`read_preferences`] reads them.
#[must_use]
pub fn shown_preferences(preferences: &[Vec<Constraint>]) -> String {
    let each: Vec<String> = preferences.iter().map(|all_of| format!("[{}]", joined(all_of, ", "))).collect();
    format!("[{}]", each.join(", "))
}

/// # Errors
/// For what is neither a list of constraints nor numbers of replicas by constraints.
pub fn read_constraints(text: &str) -> Result<Vec<Constraints>, BadZone> {
    let mut input = Input { rest: text };
    let constraints = if input.take('{') {
        let mut counted = Vec::new();
        while !input.take('}') {
            if !counted.is_empty() {
                input.expect(',', "',' or '}'")?;
            }
            let all_of = input.conjunction()?;
            input.expect(':', "':'")?;
            counted.push(Constraints { replicas: Some(input.number()?), all_of });
        }
        counted
    } else {
        let all_of = input.list()?;
        if all_of.is_empty() { Vec::new() } else { vec![Constraints { replicas: None, all_of }] }
    };
    input.end()?;
    Ok(constraints)
}

/// # Errors
/// For what is no list of lists of constraints.
pub fn read_preferences(text: &str) -> Result<Vec<Vec<Constraint>>, BadZone> {
    let mut input = Input { rest: text };
    let mut preferences = Vec::new();
    input.expect('[', "'['")?;
    while !input.take(']') {
        if !preferences.is_empty() {
            input.expect(',', "',' or ']'")?;
        }
        preferences.push(input.list()?);
    }
    input.end()?;
    Ok(preferences)
}

/// The text of constraints, read from its start.
struct Input<'a> {
    rest: &'a str,
}

impl<'a> Input<'a> {
    fn syntax<T>(&self, expected: &'static str) -> Result<T, BadZone> {
        Err(BadZone::Syntax { expected, at: self.rest.to_owned() })
    }

    fn take(&mut self, what: char) -> bool {
        let after = self.rest.trim_start().strip_prefix(what);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn expect(&mut self, what: char, expected: &'static str) -> Result<(), BadZone> {
        if self.take(what) { Ok(()) } else { self.syntax(expected) }
    }

    fn end(&mut self) -> Result<(), BadZone> {
        if self.rest.trim().is_empty() { Ok(()) } else { self.syntax("the end") }
    }

    /// What comes before one of these characters.
    fn until(&mut self, ends: &[char]) -> &'a str {
        let at = self.rest.find(ends).unwrap_or(self.rest.len());
        let (found, rest) = self.rest.split_at(at);
        self.rest = rest;
        found.trim()
    }

    /// `[+region=eu, -zone=a]`
    fn list(&mut self) -> Result<Vec<Constraint>, BadZone> {
        self.expect('[', "'['")?;
        let mut all_of = Vec::new();
        while !self.take(']') {
            if !all_of.is_empty() {
                self.expect(',', "',' or ']'")?;
            }
            all_of.push(self.constraint(&[',', ']'])?);
        }
        Ok(all_of)
    }

    fn constraint(&mut self, ends: &[char]) -> Result<Constraint, BadZone> {
        let is_quoted = self.take('"');
        let text = self.until(if is_quoted { &['"'] } else { ends });
        if is_quoted {
            self.expect('"', "'\"'")?;
        }
        Constraint::parse(text)
    }

    /// `"+region=eu,+zone=a"`, with quotes or without.
    fn conjunction(&mut self) -> Result<Vec<Constraint>, BadZone> {
        let is_quoted = self.take('"');
        let text = self.until(if is_quoted { &['"'] } else { &[':', '}'] });
        if is_quoted {
            self.expect('"', "'\"'")?;
        }
        text.split(',').map(|part| Constraint::parse(part.trim())).collect()
    }

    fn number(&mut self) -> Result<u32, BadZone> {
        match self.until(&[',', '}']).parse() {
            Ok(number) => Ok(number),
            Err(_) => self.syntax("a number of replicas"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Locality {
        text.parse().unwrap()
    }

    fn with(constraints: &str, num_replicas: u32) -> SpanConfig {
        let constraints = read_constraints(constraints).unwrap();
        SpanConfig { num_replicas, constraints, ..SpanConfig::default() }
    }

    #[test]
    fn constraints_are_read_and_shown() {
        for text in ["[]", "[+region=eu]", "[+region=eu, -zone=eu-1]", "{\"+region=eu\": 2, \"+region=us,-zone=x\": 1}"] {
            assert_eq!(shown_constraints(&read_constraints(text).unwrap()), text);
        }
        for (text, shown) in [
            ("{}", "[]"),
            (" [ +region=eu ,\"-zone=a\"]", "[+region=eu, -zone=a]"),
            ("{+region=eu: 1,'x'", ""),
            ("{+region=eu: 1, +region=us: 2}", "{\"+region=eu\": 1, \"+region=us\": 2}"),
        ] {
            match read_constraints(text) {
                Ok(read) => assert_eq!(shown_constraints(&read), shown),
                Err(_) => assert_eq!(shown, ""),
            }
        }
        for text in ["", "[", "[+region]", "[region=eu]", "{+region=eu}", "{+region=eu: x}", "[+region=eu] x", "[+region=eu -zone=a]"] {
            assert!(read_constraints(text).is_err(), "{text}");
        }
        for text in ["[]", "[[+region=eu], [+region=us, -zone=a]]"] {
            assert_eq!(shown_preferences(&read_preferences(text).unwrap()), text);
        }
        assert!(read_preferences("[+region=eu]").is_err());
    }

    #[test]
    fn golden_zone_config() {
        let zone = ZoneConfig {
            num_replicas: Some(5),
            range_min_bytes: Some(0),
            range_max_bytes: Some(1 << 20),
            gc_ttl_seconds: Some(600),
            constraints: Some(read_constraints("[+r=a]").unwrap()),
            lease_preferences: Some(Vec::new()),
        };
        let bytes = zone.encode();
        let shown: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(shown.starts_with("020106") && shown.contains("0a065b2b723d615d") && shown.ends_with("0c025b5d"), "{shown}");
        assert_eq!(ZoneConfig::decode(&bytes), Ok(zone));
        assert_eq!(ZoneConfig::decode(&[]), Ok(ZoneConfig::default()));
        for end in 0..bytes.len() {
            // An error, or fields that are whole.
            let _ = ZoneConfig::decode(&bytes[..end]);
        }
    }

    #[test]
    fn a_configuration_says_what_it_says_and_leaves_the_rest() {
        let table = ZoneConfig { num_replicas: Some(5), ..ZoneConfig::default() };
        let database = ZoneConfig { num_replicas: Some(3), gc_ttl_seconds: Some(60), ..ZoneConfig::default() };
        let resolved = table.over(&database).resolve(&SpanConfig::default());
        assert_eq!((resolved.num_replicas, resolved.gc_ttl_seconds), (5, 60));
        // The lower bound, not configured, follows the upper one.
        let small = ZoneConfig { range_max_bytes: Some(1 << 20), ..ZoneConfig::default() };
        assert_eq!(small.resolve(&SpanConfig::default()).range_min_bytes, 256 << 10);
    }

    #[test]
    fn what_cannot_hold_is_refused() {
        let check = |zone: ZoneConfig| zone.check(&SpanConfig::default()).map_err(|error| error.to_string());
        let replicas = |count| check(ZoneConfig { num_replicas: Some(count), ..ZoneConfig::default() });
        assert_eq!(replicas(0).unwrap_err(), "at least one replica is required");
        assert_eq!(replicas(2).unwrap_err(), "at least 3 replicas are required for multi-replica configurations");
        assert!(replicas(16).is_err() && replicas(1).is_ok() && replicas(4).is_ok());
        let constraints = |text| check(ZoneConfig { constraints: Some(read_constraints(text).unwrap()), ..ZoneConfig::default() });
        assert!(constraints("{+region=a: 2, +region=b: 2}").unwrap_err().contains("(4)"));
        assert!(constraints("{+region=a: 0}").is_err());
        let bounds = |min, max| {
            check(ZoneConfig { range_min_bytes: Some(min), range_max_bytes: Some(max), ..ZoneConfig::default() })
        };
        assert!(bounds(0, 1).is_err() && bounds(1 << 30, 1 << 30).is_err() && bounds(0, 1 << 20).is_ok());
        assert!(check(ZoneConfig { gc_ttl_seconds: Some(0), ..ZoneConfig::default() }).is_err());
    }

    #[test]
    fn places_are_judged_by_constraints() {
        let (eu, us) = (place("region=eu"), place("region=us"));
        let all = with("[+region=eu]", 3);
        assert_eq!(all.misplaced(&[&eu, &us, &us]), 2);
        assert!(all.allows(&[&eu]) && !all.allows(&[&eu, &us]));
        let counted = with("{+region=eu: 2}", 3);
        assert_eq!(counted.misplaced(&[&us, &us, &eu]), 1);
        // One may be anywhere, the second must not.
        assert!(counted.allows(&[&us]) && !counted.allows(&[&us, &us]));
        let preferences = read_preferences("[[+region=us], [+region=eu]]").unwrap();
        let config = SpanConfig { lease_preferences: preferences, ..SpanConfig::default() };
        assert_eq!([config.lease_rank(&us), config.lease_rank(&eu), config.lease_rank(&place(""))], [0, 1, 2]);
    }
}
