//! Which of the nodes is wrong about the time: each measures how far the others' physical clocks are from its own.
//!
//! One measurement asks a peer for its reading. Between question and answer the peer read its clock at some moment, so
//! its offset lies within half of the round trip around the middle:
//!
//! ```text
//!   here   sent ──────────── got          offset = reading - (sent + got) / 2   ± (got - sent) / 2
//!   there            reading
//! ```
//!
//! A node that is certainly outside of the maximum offset from more than half of the nodes it can ask, itself among
//! those that it agrees with, is the one that is wrong. It has to find so several times in a row.

use std::time::Duration;

/// How many rounds in a row must find the same.
const ROUNDS: u32 = 3;

/// What rounds of measurements have shown.
#[derive(Debug, Default)]
pub struct Offsets {
    rounds_outside: u32,
}

/// How far a peer's clock is from ours for certain, in nanoseconds; positive when it is ahead.
#[must_use]
pub fn certain_offset(sent_ns: u64, reading_ns: u64, round_trip: Duration) -> i64 {
    let trip_ns = i128::try_from(round_trip.as_nanos()).unwrap_or(i128::MAX / 4);
    let middle = i128::from(reading_ns) - i128::from(sent_ns) - trip_ns / 2;
    let certain = (middle.abs() - trip_ns / 2).max(0) * middle.signum();
    i64::try_from(certain).unwrap_or(if certain < 0 { i64::MIN } else { i64::MAX })
}

impl Offsets {
    /// Takes in one round: the certain offsets of all peers that answered. Whether this node is the one that is wrong.
    pub fn round(&mut self, offsets_ns: &[i64], max_offset: Duration) -> bool {
        let max_ns = u64::try_from(max_offset.as_nanos()).unwrap_or(u64::MAX);
        let outside = offsets_ns.iter().filter(|offset| offset.unsigned_abs() > max_ns).count();
        let is_outside = max_ns > 0 && 2 * outside > offsets_ns.len() + 1;
        self.rounds_outside = if is_outside { self.rounds_outside + 1 } else { 0 };
        self.rounds_outside >= ROUNDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_millis(500);
    const MS: i64 = 1_000_000;

    #[test]
    fn a_slow_answer_proves_nothing() {
        let fast = certain_offset(1_000_000_000, 1_600_500_000, Duration::from_millis(1));
        assert_eq!(fast, 599_500_000);
        assert_eq!(certain_offset(1_600_500_000, 1_000_000_000, Duration::from_millis(1)), -600_500_000);
        assert_eq!(certain_offset(1_000_000_000, 1_600_000_000, Duration::from_secs(2)), 0);
    }

    #[test]
    fn the_one_that_is_apart_from_most_is_wrong_and_finds_it_three_times() {
        let mut astray = Offsets::default();
        let far = [600 * MS, 610 * MS];
        assert!(!astray.round(&far, MAX));
        assert!(!astray.round(&far, MAX));
        assert!(!astray.round(&[10 * MS, 610 * MS], MAX), "a round between that says otherwise begins anew");
        assert!(!astray.round(&far, MAX));
        assert!(!astray.round(&far, MAX));
        assert!(astray.round(&far, MAX));
        // Who sees one of two away, or the only other, cannot be told from it.
        let mut sound = Offsets::default();
        for _ in 0..10 {
            assert!(!sound.round(&[-700 * MS, 3 * MS], MAX));
            assert!(!sound.round(&[-700 * MS], MAX));
            assert!(!sound.round(&[], MAX));
        }
    }
}
