//! A point on the hybrid logical time line, and its twelve-byte ordered encoding.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Length of [`Timestamp::to_bytes`].
pub const ENCODED_TIMESTAMP_BYTES: usize = 12;

/// A hybrid logical timestamp: nanoseconds since the Unix epoch, then a counter for events within one of them.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp {
    wall_ns: u64,
    logical: u32,
}

impl Timestamp {
    /// Below every timestamp a clock gives out; stands for "none yet".
    pub const MIN: Self = Self { wall_ns: 0, logical: 0 };
    pub const MAX: Self = Self { wall_ns: u64::MAX, logical: u32::MAX };

    #[must_use]
    pub const fn new(wall_ns: u64, logical: u32) -> Self {
        Self { wall_ns, logical }
    }

    #[must_use]
    pub const fn wall_ns(self) -> u64 {
        self.wall_ns
    }

    #[must_use]
    pub const fn logical(self) -> u32 {
        self.logical
    }

    #[must_use]
    pub fn is_min(self) -> bool {
        self == Self::MIN
    }

    /// The smallest timestamp above this one.
    #[must_use]
    pub fn next(self) -> Self {
        match self.logical.checked_add(1) {
            Some(logical) => Self { wall_ns: self.wall_ns, logical },
            None => Self { wall_ns: self.wall_ns.saturating_add(1), logical: 0 },
        }
    }

    /// The greatest timestamp below this one; [`Timestamp::MIN`] stays where it is.
    #[must_use]
    pub fn prev(self) -> Self {
        match (self.logical.checked_sub(1), self.wall_ns) {
            (Some(logical), wall_ns) => Self { wall_ns, logical },
            (None, 0) => Self::MIN,
            (None, wall_ns) => Self { wall_ns: wall_ns - 1, logical: u32::MAX },
        }
    }

    /// This timestamp moved `nanos` into the future, with its counter kept.
    #[must_use]
    pub fn add_ns(self, nanos: u64) -> Self {
        Self { wall_ns: self.wall_ns.saturating_add(nanos), logical: self.logical }
    }

    /// This timestamp moved `nanos` into the past, with its counter kept.
    #[must_use]
    pub fn sub_ns(self, nanos: u64) -> Self {
        Self { wall_ns: self.wall_ns.saturating_sub(nanos), logical: self.logical }
    }

    /// Big-endian, so byte order is time order.
    #[must_use]
    pub fn to_bytes(self) -> [u8; ENCODED_TIMESTAMP_BYTES] {
        let mut bytes = [0; ENCODED_TIMESTAMP_BYTES];
        bytes[..8].copy_from_slice(&self.wall_ns.to_be_bytes());
        bytes[8..].copy_from_slice(&self.logical.to_be_bytes());
        bytes
    }

    #[must_use]
    pub fn from_bytes(bytes: [u8; ENCODED_TIMESTAMP_BYTES]) -> Self {
        let (wall, logical) = bytes.split_at(8);
        Self {
            wall_ns: u64::from_be_bytes(wall.try_into().expect("the first eight of twelve bytes")),
            logical: u32::from_be_bytes(logical.try_into().expect("the last four of twelve bytes")),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s,{}", self.wall_ns / 1_000_000_000, self.wall_ns % 1_000_000_000, self.logical)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_and_prev_are_inverse_and_adjacent() {
        for t in [Timestamp::new(5, 0), Timestamp::new(5, 7), Timestamp::new(5, u32::MAX)] {
            assert!(t < t.next());
            assert_eq!(t.next().prev(), t);
        }
        assert_eq!(Timestamp::new(5, u32::MAX).next(), Timestamp::new(6, 0));
        assert_eq!(Timestamp::MIN.prev(), Timestamp::MIN);
    }

    #[test]
    fn bytes_keep_order_and_come_back() {
        let rising = [
            Timestamp::MIN,
            Timestamp::new(0, 1),
            Timestamp::new(1, 0),
            Timestamp::new(255, 9),
            Timestamp::new(256, 0),
            Timestamp::MAX,
        ];
        for pair in rising.windows(2) {
            assert!(pair[0].to_bytes() < pair[1].to_bytes());
        }
        for t in rising {
            assert_eq!(Timestamp::from_bytes(t.to_bytes()), t);
        }
    }
}
