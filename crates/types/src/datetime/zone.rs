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
    /// An abbreviation, in capitals, as the zone used it at the time.
    Abbreviation(TimeZone, Arc<str>),
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

/// Abbreviation, seconds east: those of PostgreSQL's Default set that mean one offset, whatever the date.
#[rustfmt::skip]
const ABBREVIATIONS: &[(&str, i32)] = &[
    ("eat", 10_800), ("sast", 7200), ("wat", 3600), ("act", -18_000), ("akdt", -28_800), ("akst", -32_400),
    ("bot", -14_400), ("bra", -10_800), ("brst", -7200), ("brt", -10_800), ("cot", -18_000), ("cdt", -18_000),
    ("clst", -10_800), ("cst", -21_600), ("edt", -14_400), ("egst", 0), ("egt", -3600), ("est", -18_000),
    ("fnt", -7200), ("fnst", -3600), ("gft", -10_800), ("mdt", -21_600), ("mst", -25_200), ("ndt", -9000),
    ("nft", -12_600), ("nst", -12_600), ("pet", -18_000), ("pdt", -25_200), ("pmdt", -7200), ("pmst", -10_800),
    ("pst", -28_800), ("pyst", -10_800), ("uyst", -7200), ("uyt", -10_800), ("wgst", -7200), ("wgt", -10_800),
    ("ddut", 36_000), ("aft", 16_200), ("almt", 21_600), ("almst", 25_200), ("amt", -14_400), ("bdt", 21_600),
    ("bnt", 28_800), ("bort", 28_800), ("btt", 21_600), ("cct", 28_800), ("hkt", 28_800), ("ict", 25_200),
    ("idt", 10_800), ("irt", 12_600), ("ist", 7200), ("jayt", 32_400), ("jst", 32_400), ("kdt", 36_000),
    ("kgst", 21_600), ("kst", 32_400), ("mmt", 23_400), ("myt", 28_800), ("npt", 20_700), ("pht", 28_800),
    ("pkt", 18_000), ("pkst", 21_600), ("tjt", 18_000), ("ulast", 32_400), ("uzst", 21_600), ("uzt", 18_000),
    ("xjt", 21_600), ("yekst", 21_600), ("adt", -10_800), ("ast", -14_400), ("azost", 0), ("azot", -3600),
    ("acsst", 37_800), ("acdt", 37_800), ("acst", 34_200), ("acwst", 31_500), ("aesst", 39_600), ("aedt", 39_600),
    ("aest", 36_000), ("awsst", 32_400), ("awst", 28_800), ("cadt", 37_800), ("cast", 34_200), ("lhst", 37_800),
    ("ligt", 36_000), ("nzt", 43_200), ("sadt", 37_800), ("wadt", 28_800), ("wast", 25_200), ("wdt", 32_400),
    ("gmt", 0), ("uct", 0), ("ut", 0), ("utc", 0), ("z", 0), ("zulu", 0), ("bst", 3600), ("bdst", 7200),
    ("cest", 7200), ("cet", 3600), ("cetdst", 7200), ("eest", 10_800), ("eet", 7200), ("eetdst", 10_800),
    ("fet", 10_800), ("mest", 7200), ("mesz", 7200), ("met", 3600), ("metdst", 7200), ("mez", 3600), ("msd", 14_400),
    ("wet", 0), ("wetdst", 3600), ("cxt", 25_200), ("mut", 14_400), ("must", 18_000), ("mvt", 18_000),
    ("ret", 14_400), ("sct", 14_400), ("tft", 18_000), ("chadt", 49_500), ("chast", 45_900), ("chut", 36_000),
    ("fjst", 46_800), ("fjt", 43_200), ("galt", -21_600), ("gamt", -32_400), ("gilt", 43_200), ("hst", -36_000),
    ("mart", -34_200), ("mht", 43_200), ("mpt", 36_000), ("nzdt", 46_800), ("nzst", 43_200), ("pgt", 36_000),
    ("pont", 39_600), ("pwt", 32_400), ("taht", -36_000), ("tot", 46_800), ("trut", 36_000), ("tvt", 43_200),
    ("vut", 39_600), ("wakt", 43_200), ("wft", 43_200), ("yapt", 36_000),
];

/// Those that mean what the abbreviation meant in a zone at the time.
#[rustfmt::skip]
const ABBREVIATIONS_OF_ZONES: &[(&str, &str)] = &[
    ("art", "America/Argentina/Buenos_Aires"), ("arst", "America/Argentina/Buenos_Aires"),
    ("clt", "America/Santiago"), ("gyt", "America/Guyana"), ("pyt", "America/Asuncion"), ("vet", "America/Caracas"),
    ("davt", "Antarctica/Davis"), ("mawt", "Antarctica/Mawson"), ("amst", "Asia/Yerevan"), ("anast", "Asia/Anadyr"),
    ("anat", "Asia/Anadyr"), ("azst", "Asia/Baku"), ("azt", "Asia/Baku"), ("gest", "Asia/Tbilisi"),
    ("get", "Asia/Tbilisi"), ("irkst", "Asia/Irkutsk"), ("irkt", "Asia/Irkutsk"), ("kgt", "Asia/Bishkek"),
    ("krast", "Asia/Krasnoyarsk"), ("krat", "Asia/Krasnoyarsk"), ("lkt", "Asia/Colombo"), ("magst", "Asia/Magadan"),
    ("magt", "Asia/Magadan"), ("novst", "Asia/Novosibirsk"), ("novt", "Asia/Novosibirsk"), ("omsst", "Asia/Omsk"),
    ("omst", "Asia/Omsk"), ("petst", "Asia/Kamchatka"), ("pett", "Asia/Kamchatka"), ("sgt", "Asia/Singapore"),
    ("tmt", "Asia/Ashgabat"), ("ulat", "Asia/Ulaanbaatar"), ("vlast", "Asia/Vladivostok"),
    ("vlat", "Asia/Vladivostok"), ("yakst", "Asia/Yakutsk"), ("yakt", "Asia/Yakutsk"), ("yekt", "Asia/Yekaterinburg"),
    ("fkst", "Atlantic/Stanley"), ("fkt", "Atlantic/Stanley"), ("lhdt", "Australia/Lord_Howe"),
    ("msk", "Europe/Moscow"), ("volt", "Europe/Volgograd"), ("iot", "Indian/Chagos"), ("ckt", "Pacific/Rarotonga"),
    ("easst", "Pacific/Easter"), ("east", "Pacific/Easter"), ("kost", "Pacific/Kosrae"),
    ("lint", "Pacific/Kiritimati"), ("nut", "Pacific/Niue"), ("tkt", "Pacific/Fakaofo"),
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
        // As an offset's own name is shown; the database does not read one with minutes.
        if let Some((_, offset)) = trimmed.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
            let signed = if offset.starts_with(['+', '-']) { offset.to_owned() } else { format!("+{offset}") };
            if let Ok(Some(west)) = parse_offset(&signed) {
                return Ok(Self { rule: Rule::Fixed(-west), name: trimmed.into() });
            }
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
        let shown: Arc<str> = name.to_ascii_uppercase().into();
        if let Some((_, east)) = ABBREVIATIONS.iter().find(|(short, _)| name.eq_ignore_ascii_case(short)) {
            return Some(Self { rule: Rule::Fixed(*east), name: shown });
        }
        let (_, zone) = ABBREVIATIONS_OF_ZONES.iter().find(|(short, _)| name.eq_ignore_ascii_case(short))?;
        let zone = TimeZone::get(zone).ok()?;
        Some(Self { rule: Rule::Abbreviation(zone, shown.clone()), name: shown })
    }

    /// What a value and AT TIME ZONE mean by a name: an abbreviation before a zone of the same name, so that CET knows no
    /// summer time.
    #[must_use]
    pub fn in_value(name: &str) -> Option<Self> {
        Self::by_abbreviation(name).or_else(|| Self::by_name(name))
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
                self.name[1..].split('>').next().unwrap_or_default().to_owned()
            }
            // A zone of the database that never had another offset.
            Rule::Fixed(_) if self.name.contains('/') => match TimeZone::get(&self.name) {
                Ok(zone) => zone.to_offset_info(instant(folded(utc).0)).abbreviation().to_owned(),
                Err(_) => self.name.to_string(),
            },
            Rule::Fixed(_) | Rule::Abbreviation(..) => self.name.to_string(),
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
            Rule::Abbreviation(zone, short) => meaning(zone, short, instant(folded(utc).0)),
        }
    }

    /// Seconds east of Greenwich at a local time. Where local time was skipped or repeated, PostgreSQL takes the
    /// standard time's offset: that before a gap, that after a fold.
    #[must_use]
    pub fn offset_at_local(&self, local: i64) -> i32 {
        match &self.rule {
            Rule::Fixed(east) => *east,
            Rule::Abbreviation(zone, short) => {
                let named = Self { rule: Rule::Named(zone.clone()), name: self.name.clone() };
                let seconds = folded(local).0 - i64::from(named.offset_at_local(local));
                meaning(zone, short, instant(seconds))
            }
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

/// Seconds east of Greenwich that an abbreviation meant in a zone: then, or the last time before, or the first after.
fn meaning(zone: &TimeZone, short: &str, at: Timestamp) -> i32 {
    let now = zone.to_offset_info(at);
    if now.abbreviation() == short {
        return now.offset().seconds();
    }
    let before = zone.preceding(at).find(|change| change.abbreviation() == short);
    let found = before.or_else(|| zone.following(at).take(1000).find(|change| change.abbreviation() == short));
    found.map_or(now.offset(), |change| change.offset()).seconds()
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
        let half_past = Zone::fixed(10 * 3600 + 1800);
        assert_eq!(half_past.name(), "<+10:30>-10:30");
        let again = Zone::parse(half_past.name()).unwrap();
        assert_eq!((again.offset_at(0), again.abbreviation_at(0).as_str()), (37_800, "+10:30"));
        assert_eq!(Zone::parse("utc").unwrap().name(), "UTC");
        assert_eq!(Zone::parse("pst").unwrap().offset_at(0), -28_800);
        assert_eq!(Zone::parse("UTC+3").unwrap().offset_at(0), -10_800, "POSIX counts west");
        assert_eq!(Zone::parse("Mars/Olympus").unwrap_err().code(), SqlState::InvalidParameterValue);
    }
}
