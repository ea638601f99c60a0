//! Times as they are stored, and the time that a backup is of.

use std::time::Duration;

use hlc::{Clock, Timestamp};
use keys::tagged::Malformed;

/// A time as it is stored: nanoseconds since 1970 and a counter, big endian.
pub(crate) fn encode(ts: Timestamp) -> Vec<u8> {
    [&ts.wall_ns().to_be_bytes()[..], &ts.logical().to_be_bytes()].concat()
}

pub(crate) fn decode(tag: u64, bytes: Option<&[u8]>) -> Result<Timestamp, Malformed> {
    let (wall, rest) = bytes.and_then(|bytes| bytes.split_first_chunk::<8>()).ok_or(Malformed::Bad(tag))?;
    let logical: [u8; 4] = rest.try_into().map_err(|_| Malformed::Bad(tag))?;
    Ok(Timestamp::new(u64::from_be_bytes(*wall), u32::from_be_bytes(logical)))
}

/// A time at which a backup has all that was acknowledged before the call, on any node: waits until clocks are past it.
/// Whole microseconds, as SQL shows times.
pub async fn backup_time(clock: &Clock) -> Timestamp {
    let latest = clock.now().wall_ns().saturating_add(clock.max_offset_ns());
    let at = Timestamp::new(latest.div_ceil(1_000).saturating_mul(1_000), 0);
    loop {
        let now = clock.now();
        if now > at {
            return at;
        }
        let left = at.wall_ns().saturating_sub(now.wall_ns());
        tokio::time::sleep(Duration::from_nanos(left) + Duration::from_micros(50)).await;
    }
}

/// Microseconds between 1970 and 2000.
const PG_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// As SQL has it: microseconds since 2000.
pub(crate) fn micros(ts: Timestamp) -> i64 {
    i64::try_from(ts.wall_ns() / 1_000).unwrap_or(i64::MAX).saturating_sub(PG_EPOCH_MICROS)
}

/// The name of a directory: `2026/11/30-205300.123456`, and for incremental backups the same with dashes.
pub(crate) fn name(ts: Timestamp, separator: char) -> String {
    let micros = ts.wall_ns() / 1_000;
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}{separator}{month:02}{separator}{day:02}-{hour:02}{minute:02}{second:02}.{fraction:06}")
}

/// The date that lies so many days after 1970-01-01, by the proleptic Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    // Years are counted from March, so that a leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day_of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dates() {
        for (seconds, expected) in [
            (0, "1970/01/01-000000.000000"),
            (951_782_399, "2000/02/28-235959.000000"),
            (951_782_400, "2000/02/29-000000.000000"),
            (1_796_083_200, "2026/12/01-000000.000000"),
            (4_107_542_400, "2100/03/01-000000.000000"),
        ] {
            assert_eq!(name(Timestamp::new(seconds * 1_000_000_000, 0), '/'), expected);
        }
        assert_eq!(name(Timestamp::new(1_234_567, 0), '-'), "1970-01-01-000000.001234");
    }

    #[test]
    fn times_are_kept_whole() {
        let ts = Timestamp::new(1_764_500_000_123_456_789, 7);
        assert_eq!(decode(2, Some(&encode(ts))).unwrap(), ts);
        assert!(decode(2, Some(&encode(ts)[1..])).is_err() && decode(2, None).is_err());
        assert_eq!(micros(Timestamp::new(946_684_800_000_001_000, 0)), 1);
    }
}
