//! Names of exported snapshots. A name says all there is to know, so that a transaction on any node can read in it, as long
//! as versions of then are kept.
//!
//! ```text
//! 18B2C5A5F1E4A2C0-00000003-5-SW      time - logical - database - level: S, R or C - W, or O for read only
//! ```

use std::fmt;

use hlc::Timestamp;
use kv::Isolation;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportedSnapshot {
    pub ts: Timestamp,
    pub database: u32,
    pub isolation: Isolation,
    pub read_only: bool,
}

impl fmt::Display for ExportedSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.isolation {
            Isolation::Serializable => 'S',
            Isolation::RepeatableRead => 'R',
            Isolation::ReadCommitted => 'C',
        };
        let access = if self.read_only { 'O' } else { 'W' };
        let (wall, logical) = (self.ts.wall_ns(), self.ts.logical());
        write!(f, "{wall:016X}-{logical:08X}-{}-{level}{access}", self.database)
    }
}

impl ExportedSnapshot {
    /// None for what is no name of a snapshot.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        let mut parts = id.split('-');
        let (wall, logical, database, modes) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let ts = Timestamp::new(u64::from_str_radix(wall, 16).ok()?, u32::from_str_radix(logical, 16).ok()?);
        let (isolation, read_only) = match modes {
            "SW" => (Isolation::Serializable, false),
            "SO" => (Isolation::Serializable, true),
            "RW" => (Isolation::RepeatableRead, false),
            "RO" => (Isolation::RepeatableRead, true),
            "CW" => (Isolation::ReadCommitted, false),
            "CO" => (Isolation::ReadCommitted, true),
            _ => return None,
        };
        let found = Self { ts, database: database.parse().ok()?, isolation, read_only };
        // As it was written, and nothing that comes to the same.
        (found.to_string() == id).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_and_nothing_else_is_one() {
        for isolation in [Isolation::Serializable, Isolation::RepeatableRead, Isolation::ReadCommitted] {
            for read_only in [true, false] {
                let ts = Timestamp::new(1_764_500_000_123_456_789, 3);
                let snapshot = ExportedSnapshot { ts, database: 5, isolation, read_only };
                assert_eq!(ExportedSnapshot::parse(&snapshot.to_string()), Some(snapshot));
            }
        }
        let ts = Timestamp::new(1, 2);
        let snapshot = ExportedSnapshot { ts, database: 7, isolation: Isolation::Serializable, read_only: true };
        assert_eq!(snapshot.to_string(), "0000000000000001-00000002-7-SO");
        for wrong in ["", "x", "1-2-7-SO", "0000000000000001-00000002-7-S", "0000000000000001-00000002-7-SO-1"] {
            assert_eq!(ExportedSnapshot::parse(wrong), None, "{wrong}");
        }
    }
}
