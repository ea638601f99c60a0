//! The keys of the log's own RocksDB. Pinned by a golden test.
//!
//! ```text
//! 'c' range    committed position        'p' range    index of the last purged entry, then what was said of it
//! 'e' range index   entry                'v' range    vote
//! 'm' name     fact of the store
//! ```

use keys::RangeId;

pub(super) enum Stored<'a> {
    Entry(RangeId, u64),
    Vote(RangeId),
    Committed(RangeId),
    Purged(RangeId),
    Meta(&'a [u8]),
}

/// Entries lie from here...
pub(super) const ENTRIES: &[u8] = b"e";
/// ...to here.
pub(super) const AFTER_ENTRIES: &[u8] = b"f";

pub(super) fn entry(range_id: RangeId, index: u64) -> [u8; 17] {
    let mut key = [0; 17];
    key[0] = b'e';
    key[1..9].copy_from_slice(&range_id.get().to_be_bytes());
    key[9..].copy_from_slice(&index.to_be_bytes());
    key
}

fn of_range(tag: u8, range_id: RangeId) -> [u8; 9] {
    let mut key = [0; 9];
    key[0] = tag;
    key[1..].copy_from_slice(&range_id.get().to_be_bytes());
    key
}

pub(super) fn vote(range_id: RangeId) -> [u8; 9] {
    of_range(b'v', range_id)
}

pub(super) fn committed(range_id: RangeId) -> [u8; 9] {
    of_range(b'c', range_id)
}

pub(super) fn purged(range_id: RangeId) -> [u8; 9] {
    of_range(b'p', range_id)
}

pub(super) fn meta(name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + name.len());
    key.push(b'm');
    key.extend_from_slice(name);
    key
}

pub(super) fn parse(key: &[u8]) -> Option<Stored<'_>> {
    let (&tag, rest) = key.split_first()?;
    let range = |bytes: &[u8]| Some(RangeId::new(u64::from_be_bytes(bytes.try_into().ok()?)));
    match tag {
        b'e' => {
            let (id, index) = rest.split_at_checked(8)?;
            Some(Stored::Entry(range(id)?, u64::from_be_bytes(index.try_into().ok()?)))
        }
        b'v' => Some(Stored::Vote(range(rest)?)),
        b'c' => Some(Stored::Committed(range(rest)?)),
        b'p' => Some(Stored::Purged(range(rest)?)),
        b'm' => Some(Stored::Meta(rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_keys() {
        assert_eq!(&entry(RangeId::new(258), 3), b"e\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x03");
        assert_eq!(&vote(RangeId::new(1)), b"v\0\0\0\0\0\0\0\x01");
        assert_eq!(&committed(RangeId::new(1)), b"c\0\0\0\0\0\0\0\x01");
        assert_eq!(&purged(RangeId::new(1)), b"p\0\0\0\0\0\0\0\x01");
        assert_eq!(meta(b"node"), b"mnode");
        assert!(parse(b"e\0").is_none() && parse(b"x12345678").is_none() && parse(b"").is_none());
    }
}
