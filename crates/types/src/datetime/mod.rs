//! Dates, times and intervals: microseconds and days counted from 2000-01-01, as PostgreSQL stores them.
//!
//! Reading order: [`calendar`] (days to years), [`zone`] (instants to local times), [`parse`] and [`write`] (text),
//! [`arithmetic`], [`interval`], [`fields`] (extract and trunc), [`pattern`] (to_char and back).
//!
//! `timestamp AT TIME ZONE z` is [`zone::Zone::to_utc`], `timestamptz AT TIME ZONE z` is [`zone::Zone::to_local`].

pub mod arithmetic;
pub mod calendar;
pub mod fields;
pub mod interval;
pub mod parse;
pub mod pattern;
pub mod write;
pub mod zone;

#[cfg(test)]
mod tests;

pub use arithmetic::{
    check_timestamp, date_add, date_bin, date_diff, date_to_timestamp, interval_to_time, is_infinite,
    is_infinite_date, make_date, make_time, make_timestamp, round_micros, time_add, timestamp_add, timestamp_age,
    timestamp_diff, timestamp_from_epoch, timestamp_sub, timestamp_to_date, timestamptz_add, timestamptz_age,
    timestamptz_sub, timetz_add, timetz_at_zone,
};
pub use fields::{date_part, extract, interval_trunc, timestamp_trunc, timestamptz_trunc};
pub(crate) use interval::signed_alike;
pub use interval::{
    interval_add, interval_div, interval_field, interval_mul, interval_neg, interval_sub, justify_days, justify_hours,
    justify_interval, make_interval, parse_interval, write_interval,
};
pub use parse::{depends_on_now, parse_date, parse_time, parse_timestamp, parse_timestamptz, parse_timetz};
pub use pattern::{numeric_to_char, to_char, to_date, to_number, to_timestamp};
pub use write::{write_date, write_time, write_timestamp, write_timestamptz, write_timetz};
