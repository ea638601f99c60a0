//! How a version of a key is named in RocksDB.
//!
//! ```text
//! | user key (any length, prefix-free) | 8 bytes: !wall, top bit clear | 4 bytes: !logical |
//! ```
//!
//! Both parts of the timestamp are inverted, so that RocksDB's byte order puts a key's versions **newest-first**:
//! a seek to (key, t) lands on what a reader at t must see. The top bit of the wall time is dropped: it is zero
//! until the year 2262, and without it no suffix starts with a byte above 0x7f. That makes the bounds of a span,
//! plain user keys, bounds of its versions as well: `key ++ 0xff` is above every version of `key`.

use hlc::Timestamp;
use smallvec::SmallVec;

/// Length of the timestamp behind the user key.
pub const VERSION_SUFFIX_BYTES: usize = 12;

const WALL_MAX: u64 = u64::MAX >> 1;

/// An encoded version key; on the stack for keys of usual length.
pub(crate) type VersionKey = SmallVec<[u8; 96]>;

fn suffix(ts: Timestamp) -> [u8; VERSION_SUFFIX_BYTES] {
    // Above what can be encoded stands for "the newest there is", as in `Timestamp::MAX`.
    if ts.wall_ns() > WALL_MAX {
        return [0; VERSION_SUFFIX_BYTES];
    }
    let mut out = [0; VERSION_SUFFIX_BYTES];
    out[..8].copy_from_slice(&(WALL_MAX - ts.wall_ns()).to_be_bytes());
    out[8..].copy_from_slice(&(!ts.logical()).to_be_bytes());
    out
}

pub(crate) fn encode(key: &[u8], ts: Timestamp) -> VersionKey {
    let mut out = VersionKey::with_capacity(key.len() + VERSION_SUFFIX_BYTES);
    out.extend_from_slice(key);
    out.extend_from_slice(&suffix(ts));
    out
}

/// Replaces what `out` holds.
pub(crate) fn encode_into(out: &mut VersionKey, key: &[u8], ts: Timestamp) {
    out.clear();
    out.extend_from_slice(key);
    out.extend_from_slice(&suffix(ts));
}

/// The user key and the timestamp of a version; `None` if it is too short to be one.
pub(crate) fn decode(version_key: &[u8]) -> Option<(&[u8], Timestamp)> {
    let (key, suffix) = version_key.split_last_chunk::<VERSION_SUFFIX_BYTES>()?;
    let (wall, logical) = suffix.split_at(8);
    let wall = u64::from_be_bytes(wall.try_into().expect("the first eight of twelve bytes"));
    let logical = u32::from_be_bytes(logical.try_into().expect("the last four of twelve bytes"));
    Some((key, Timestamp::new(WALL_MAX.checked_sub(wall)?, !logical)))
}

/// What RocksDB builds its prefix filters from: the user key.
pub(crate) fn strip_version(version_key: &[u8]) -> &[u8] {
    &version_key[..version_key.len().saturating_sub(VERSION_SUFFIX_BYTES)]
}

pub(crate) fn has_version(version_key: &[u8]) -> bool {
    version_key.len() >= VERSION_SUFFIX_BYTES
}

#[cfg(test)]
mod tests {
    use keys::Key;

    use super::*;

    #[test]
    fn golden_bytes() {
        let ts = Timestamp::new(0x18d0_1122_3344_5566, 7);
        assert_eq!(
            encode(b"ab", ts).as_slice(),
            [b'a', b'b', 0x67, 0x2f, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99, 0xff, 0xff, 0xff, 0xf8]
        );
        assert_eq!(
            encode(b"", Timestamp::MIN).as_slice(),
            [0x7f, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]
        );
        assert_eq!(encode(b"", Timestamp::MAX).as_slice(), [0; 12]);
    }

    #[test]
    fn newest_first() {
        let falling = [
            Timestamp::MAX,
            Timestamp::new(256, 0),
            Timestamp::new(255, 9),
            Timestamp::new(255, 8),
            Timestamp::MIN,
        ];
        for pair in falling.windows(2) {
            assert!(
                encode(b"k", pair[0]) < encode(b"k", pair[1]),
                "newest-first: {} before {}",
                pair[0],
                pair[1]
            );
        }
        for ts in &falling[1..] {
            assert_eq!(decode(&encode(b"k", *ts)), Some((&b"k"[..], *ts)));
        }
    }

    #[test]
    fn span_bounds_are_bounds_of_versions() {
        let key = Key::from(&b"ab"[..]);
        for ts in [Timestamp::MIN, Timestamp::new(1 << 62, 0), Timestamp::MAX] {
            let version = encode(key.as_bytes(), ts);
            assert!(version.as_slice() > key.as_bytes());
            assert!(version.as_slice() < key.next().as_bytes());
        }
    }
}
