//! Time zones: names of the IANA database, abbreviations, fixed offsets.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::calendar::{Civil, MICROS_PER_SECOND, UNIX_EPOCH_DAYS};
use crate::error::{SqlError, SqlResult, SqlState, raise};

/// Seconds from 1970 to 2000.
const EPOCH_SHIFT_SECONDS: i64 = -UNIX_EPOCH_DAYS * 86_400;
/// 400 Gregorian years, a whole number of weeks: rules repeat after them.
const CYCLE_SECONDS: i64 = 146_097 * 86_400;
/// Where the database of zones ends for us: beyond it years are folded back by cycles.
const LAST_FOLDED_YEAR: i64 = 9000;
/// PostgreSQL's bound: 15:59:59 either way.
const MAX_OFFSET_SECONDS: i32 = 16 * 3600 - 1;

/// A rule that turns instants into local times. Cheap to clone.
#[derive(Clone)]
pub struct Zone {
    rule: Rule,
    name: Arc<str>,
}

#[derive(Clone)]
enum Rule {
    /// Seconds east of Greenwich.
    Fixed(i32),
    Named(TimeZone),
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name)
    }
}

/// Abbreviation, seconds east. The common part of PostgreSQL's Default set.
const ABBREVIATIONS: &[(&str, i32)] = &[
    ("utc", 0), ("gmt", 0), ("z", 0), ("zulu", 0), ("ut", 0), ("uct", 0), ("wet", 0), ("west", 3600),
    ("bst", 3600), ("cet", 3600), ("met", 3600), ("mez", 3600), ("cest", 7200), ("mest", 7200), ("mesz", 7200),
    ("cetdst", 7200), ("eet", 7200), ("sast", 7200), ("eest", 10_800), ("msk", 10_800), ("msd", 14_400),
    ("eat", 10_800), ("pkt", 18_000), ("ict", 25_200), ("cct", 28_800), ("hkt", 28_800), ("awst", 28_800),
    ("sgt", 28_800), ("pht", 28_800), ("jst", 32_400), ("kst", 32_400), ("acst", 34_200), ("acdt", 37_800),
    ("aest", 36_000), ("aedt", 39_600), ("nzst", 43_200), ("nzdt", 46_800), ("est", -18_000), ("edt", -14_400),
    ("cst", -21_600), ("cdt", -18_000), ("mst", -25_200), ("mdt", -21_600), ("pst", -28_800), ("pdt", -25_200),
    ("akst", -32_400), ("akdt", -28_800), ("hst", -36_000), ("ast", -14_400), ("adt", -10_800),
    ("nst", -12_600), ("ndt", -9_000), ("brt", -10_800), ("brst", -7_200), ("art", -10_800), ("clt", -10_800),
];

impl Zone {
    #[must_use]
    pub fn utc() -> Self {
        Self { rule: Rule::Fixed(0), name: "UTC".into() }
    }

    /// A fixed offset, in seconds east.
    #[must_use]
    pub fn fixed(east: i32) -> Self {
        let mut name = b"<".to_vec();
        write_offset(east, &mut name);
        name.push(b'>');
        write_offset(-east, &mut name);
        Self { rule: Rule::Fixed(east), name: String::from_utf8_lossy(&name).into() }
    }

    /// What `SET TIME ZONE` and `AT TIME ZONE` accept: an IANA name, an abbreviation, or an offset, where a bare
    /// number or `+3` in `SET` counts hours east, as PostgreSQL's docs warn, but `UTC+3` is POSIX: west.
    pub fn parse(name: &str) -> SqlResult<Self> {
        let unknown =
            || SqlError::new(SqlState::InvalidParameterValue, format!("time zone \"{name}\" not recognized"));
        let trimmed = name.trim();
        if let Ok(hours) = trimmed.parse::<f64>() {
            let east = (hours * 3600.0).round();
            if !east.is_finite() || east.abs() > f64::from(MAX_OFFSET_SECONDS) {
                return Err(unknown());
            }
            return Ok(Self::fixed(east as i32));
        }
        if trimmed.starts_with(['+', '-'])
            && let Ok(Some(east)) = parse_offset(trimmed)
        {
            // A POSIX offset without a name: west is positive.
            return Ok(Self { rule: Rule::Fixed(-east), name: trimmed.into() });
        }
        if let Some(zone) = Self::by_name(trimmed) {
            return Ok(zone);
        }
        // POSIX: letters and an offset, west positive: `UTC+3`, `EST5`, or a full rule `EST5EDT,M3.2.0,M11.1.0`.
        if let Ok(rule) = TimeZone::posix(trimmed) {
            return Ok(Self { rule: Rule::Named(rule), name: trimmed.into() });
        }
        Err(unknown())
    }

    /// An IANA name or an abbreviation.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("utc") {
            return Some(Self::utc());
        }
        if let Ok(zone) = TimeZone::get(name) {
            let canonical: Arc<str> = zone.iana_name().unwrap_or(name).into();
            let rule = match zone.to_fixed_offset() {
                Ok(offset) => Rule::Fixed(offset.seconds()),
                Err(_) => Rule::Named(zone),
            };
            return Some(Self { rule, name: canonical });
        }
        Self::by_abbreviation(name)
    }

    #[must_use]
    pub fn by_abbreviation(name: &str) -> Option<Self> {
        let (_, east) = ABBREVIATIONS.iter().find(|(short, _)| name.eq_ignore_ascii_case(short))?;
        Some(Self { rule: Rule::Fixed(*east), name: name.to_ascii_uppercase().into() })
    }

    /// Whether the offset is the same on all dates.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        matches!(self.rule, Rule::Fixed(_))
    }

    /// For `SHOW timezone`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The abbreviation in force at an instant, for `to_char`'s TZ.
    #[must_use]
    pub fn abbreviation_at(&self, utc: i64) -> String {
        match &self.rule {
            Rule::Fixed(_) if self.name.starts_with('<') => {
                let mut out = Vec::new();
                write_offset(self.offset_at(utc), &mut out);
                String::from_utf8_lossy(&out).into_owned()
            }
            Rule::Fixed(_) => self.name.to_string(),
            Rule::Named(zone) => {
                zone.to_offset_info(instant(folded(utc).0)).abbreviation().to_owned()
            }
        }
    }

    /// Seconds east of Greenwich at an instant (microseconds since 2000-01-01 UTC).
    #[must_use]
    pub fn offset_at(&self, utc: i64) -> i32 {
        match &self.rule {
            Rule::Fixed(east) => *east,
            Rule::Named(zone) => zone.to_offset(instant(folded(utc).0)).seconds(),
        }
    }

    /// Seconds east of Greenwich at a local time. Where local time was skipped or repeated, PostgreSQL takes the
    /// standard time's offset: that before a gap, that after a fold.
    #[must_use]
    pub fn offset_at_local(&self, local: i64) -> i32 {
        match &self.rule {
            Rule::Fixed(east) => *east,
            Rule::Named(zone) => {
                let civil = Civil::from_micros(folded(local).0 * MICROS_PER_SECOND);
                let datetime = DateTime::new(
                    civil.year as i16,
                    civil.month as i8,
                    civil.day as i8,
                    civil.hour() as i8,
                    civil.minute() as i8,
                    civil.second() as i8,
                    0,
                )
                .expect("years are folded into the database's span");
                let offset: Offset = match zone.to_ambiguous_timestamp(datetime).offset() {
                    AmbiguousOffset::Unambiguous { offset } => offset,
                    AmbiguousOffset::Gap { before, .. } => before,
                    AmbiguousOffset::Fold { after, .. } => after,
                };
                offset.seconds()
            }
        }
    }

    /// The local time of an instant. Infinities stay.
    pub fn to_local(&self, utc: i64) -> SqlResult<i64> {
        if utc == i64::MIN || utc == i64::MAX {
            return Ok(utc);
        }
        utc.checked_add(i64::from(self.offset_at(utc)) * MICROS_PER_SECOND)
            .ok_or_else(|| raise::datetime_out_of_range("timestamp"))
    }

    /// The instant of a local time. Infinities stay.
    pub fn to_utc(&self, local: i64) -> SqlResult<i64> {
        if local == i64::MIN || local == i64::MAX {
            return Ok(local);
        }
        local
            .checked_sub(i64::from(self.offset_at_local(local)) * MICROS_PER_SECOND)
            .ok_or_else(|| raise::datetime_out_of_range("timestamp"))
    }
}

/// Seconds since 2000 brought into the years that the zone database knows, and the shift taken away.
fn folded(micros: i64) -> (i64, i64) {
    let seconds = micros.div_euclid(MICROS_PER_SECOND);
    let last = (LAST_FOLDED_YEAR - 2000) / 400 * CYCLE_SECONDS;
    if seconds < last {
        return (seconds, 0);
    }
    let cycles = (seconds - last) / CYCLE_SECONDS + 1;
    (seconds - cycles * CYCLE_SECONDS, cycles * CYCLE_SECONDS)
}

fn instant(seconds_since_2000: i64) -> Timestamp {
    Timestamp::from_second(seconds_since_2000 + EPOCH_SHIFT_SECONDS).expect("years are folded into the database's span")
}

/// `+05`, `-08:30`, `+0530`, `+05:30:15`: seconds east as written. `None`: not of this form.
pub fn parse_offset(text: &str) -> SqlResult<Option<i32>> {
    let Some(digits) = text.strip_prefix(['+', '-']) else { return Ok(None) };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit() || b == b':') {
        return Ok(None);
    }
    let parts: Vec<&str> = digits.split(':').collect();
    let mut numbers = [0_i32; 3];
    if parts.len() > 3 {
        return Ok(None);
    }
    if parts.len() == 1 && digits.len() > 2 {
        // hmm, hhmm or hhmmss
        let Ok(packed) = digits.parse::<i32>() else { return Ok(None) };
        numbers = if digits.len() > 4 {
            [packed / 10_000, packed / 100 % 100, packed % 100]
        } else {
            [packed / 100, packed % 100, 0]
        };
    } else {
        for (number, part) in numbers.iter_mut().zip(parts) {
            let Ok(value) = part.parse() else { return Ok(None) };
            *number = value;
        }
    }
    let [hours, minutes, seconds] = numbers;
    if hours > 15 || minutes > 59 || seconds > 59 {
        return Err(SqlError::new(
            SqlState::InvalidTimeZoneDisplacementValue,
            format!("time zone displacement out of range: \"{text}\""),
        ));
    }
    let total = hours * 3600 + minutes * 60 + seconds;
    Ok(Some(if text.starts_with('-') { -total } else { total }))
}

/// `+05`, `+05:30`, `-04:56:02`.
pub fn write_offset(east: i32, out: &mut Vec<u8>) {
    out.push(if east < 0 { b'-' } else { b'+' });
    let east = east.unsigned_abs();
    let mut two = |n: u32| out.extend_from_slice(&[b'0' + (n / 10) as u8, b'0' + (n % 10) as u8]);
    two(east / 3600);
    if !east.is_multiple_of(3600) {
        let (minutes, seconds) = (east / 60 % 60, east % 60);
        out.push(b':');
        let mut two = |n: u32| out.extend_from_slice(&[b'0' + (n / 10) as u8, b'0' + (n % 10) as u8]);
        two(minutes);
        if seconds != 0 {
            out.push(b':');
            out.extend_from_slice(&[b'0' + (seconds / 10) as u8, b'0' + (seconds % 10) as u8]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datetime::calendar::{MICROS_PER_DAY, MICROS_PER_HOUR, days_of};

    #[test]
    fn gaps_and_folds_prefer_standard_time() {
        let zone = Zone::parse("America/New_York").unwrap();
        let local = |day: i64, hour: i64| days_of(2024, if day == 10 { 3 } else { 11 }, day) * MICROS_PER_DAY + hour * MICROS_PER_HOUR;
        assert_eq!(zone.offset_at_local(local(10, 2)), -5 * 3600, "skipped hour");
        assert_eq!(zone.offset_at_local(local(3, 1)), -5 * 3600, "repeated hour");
        assert_eq!(zone.offset_at_local(local(10, 4)), -4 * 3600);
    }

    #[test]
    fn far_years_follow_the_rules_of_today() {
        let zone = Zone::parse("Europe/Berlin").unwrap();
        for year in [2024, 9999, 20_000, 290_000] {
            assert_eq!(zone.offset_at(days_of(year, 7, 1) * MICROS_PER_DAY), 7200, "{year}");
            assert_eq!(zone.offset_at_local(days_of(year, 1, 1) * MICROS_PER_DAY), 3600, "{year}");
        }
        assert_eq!(zone.offset_at(days_of(-4712, 1, 1) * MICROS_PER_DAY), 3208, "local mean time");
    }

    #[test]
    fn spellings() {
        assert_eq!(Zone::parse("+3").unwrap().offset_at(0), 10_800);
        assert_eq!(Zone::parse("-3.5").unwrap().offset_at(0), -12_600);
        assert_eq!(Zone::parse("utc").unwrap().name(), "UTC");
        assert_eq!(Zone::parse("pst").unwrap().offset_at(0), -28_800);
        assert_eq!(Zone::parse("UTC+3").unwrap().offset_at(0), -10_800, "POSIX counts west");
        assert_eq!(Zone::parse("Mars/Olympus").unwrap_err().code(), SqlState::InvalidParameterValue);
    }
}
