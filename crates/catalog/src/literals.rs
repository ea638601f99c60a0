//! How the literals of stored text were read when it was written: `'01/02/2020'::date` goes on to mean the day that it
//! meant then, whatever session reads it, and `'today'` stays the day of then. Bytes are fields with tags
//! ([`crate::tagged`]).

use types::{DateOrder, Formatting, IntervalStyle, SqlResult, Zone};

use crate::tagged::{Malformed, Reader, Writer};

/// What the input of values depends on beside the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiteralSettings {
    /// As [`Zone::parse`] reads it.
    pub zone: String,
    pub date_order: DateOrder,
    pub interval_style: IntervalStyle,
    /// What `'now'` is; microseconds since 2000-01-01 UTC.
    pub now: i64,
}

const ORDERS: [DateOrder; 3] = [DateOrder::Mdy, DateOrder::Dmy, DateOrder::Ymd];
const STYLES: [IntervalStyle; 4] =
    [IntervalStyle::Postgres, IntervalStyle::PostgresVerbose, IntervalStyle::SqlStandard, IntervalStyle::Iso8601];

/// The place of a value among all, as it is stored.
fn number_of<T: PartialEq>(all: &[T], value: &T) -> u64 {
    all.iter().position(|known| known == value).map_or(0, |at| at as u64)
}

fn numbered<T: Copy>(all: &[T], tag: u64, number: u64) -> Result<T, Malformed> {
    usize::try_from(number).ok().and_then(|at| all.get(at)).copied().ok_or(Malformed::Bad(tag))
}

impl LiteralSettings {
    #[must_use]
    pub fn of(formatting: &Formatting) -> Self {
        Self {
            zone: formatting.zone.name().to_owned(),
            date_order: formatting.date_order,
            interval_style: formatting.interval_style,
            now: formatting.now,
        }
    }

    /// A session's settings with these in their place; how values are shown stays the session's.
    ///
    /// # Errors
    /// 22023 where the zone is not known any more.
    pub fn within(&self, formatting: &Formatting) -> SqlResult<Formatting> {
        let zone = match formatting.zone.name() == self.zone {
            true => formatting.zone.clone(),
            false => Zone::parse(&self.zone)?,
        };
        let Self { zone: _, date_order, interval_style, now } = *self;
        Ok(Formatting { zone, date_order, interval_style, now, ..formatting.clone() })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.text(2, &self.zone);
        writer.number(4, number_of(&ORDERS, &self.date_order), 0);
        writer.number(6, number_of(&STYLES, &self.interval_style), 0);
        writer.bytes(8, &self.now.to_be_bytes());
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let settings = Self {
            zone: reader.text(2)?,
            date_order: numbered(&ORDERS, 4, reader.number(4, 0)?)?,
            interval_style: numbered(&STYLES, 6, reader.number(6, 0)?)?,
            now: {
                let bytes: Option<[u8; 8]> = reader.bytes(8)?.and_then(|bytes| bytes.try_into().ok());
                i64::from_be_bytes(bytes.ok_or(Malformed::Bad(8))?)
            },
        };
        reader.finish()?;
        Ok(settings)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// For the golden bytes of what holds them.
    pub(crate) fn sample() -> LiteralSettings {
        let (date_order, interval_style) = (DateOrder::Dmy, IntervalStyle::SqlStandard);
        LiteralSettings { zone: "Europe/Berlin".into(), date_order, interval_style, now: -2 }
    }

    #[test]
    fn all_settings_are_read_back() {
        for zone in [Zone::utc(), Zone::fixed(-12_600), Zone::parse("Europe/Berlin").unwrap(), Zone::parse("EST5EDT").unwrap()] {
            for (date_order, interval_style) in ORDERS.into_iter().cycle().zip(STYLES) {
                let then = Formatting { zone: zone.clone(), date_order, interval_style, now: -5, ..Formatting::default() };
                let kept = LiteralSettings::decode(&LiteralSettings::of(&then).encode()).unwrap();
                let read = kept.within(&Formatting::default()).unwrap();
                let at = 700_000_000_000_000;
                assert_eq!(
                    (read.zone.offset_at(at), read.date_order, read.interval_style, read.now),
                    (zone.offset_at(at), date_order, interval_style, -5)
                );
            }
        }
    }
}
