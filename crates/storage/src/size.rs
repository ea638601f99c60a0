//! How much is in a span, where its middle is, and whether two copies of it are alike.

use hlc::Timestamp;
use keys::{Key, Span};
use rocksdb::Range;

use crate::StorageError;
use crate::engine::{Engine, bounded};
use crate::read::{LockRead, ReadConflict, ReadOptions, decode_version};
use crate::scan::ScanLimits;
use crate::version_key::strip_version;

/// Memtables are counted entry by entry, up to this many: past it the size is an underestimate by at most the
/// memtables, which the next flush mends.
const MEMTABLE_ENTRIES_MAX: usize = 1 << 16;
/// Below this many bytes in files the middle is found by reading everything.
const EXACT_SPLIT_BYTES_MAX: u64 = 8 << 20;
const BISECTIONS_MAX: usize = 64;
const CHECKSUM_PAGE_BYTES: u64 = 1 << 20;

impl Engine {
    /// The bytes of a span's versions: compressed where they lie in files, plus what is still in memtables.
    pub fn approximate_bytes(&self, span: &Span) -> Result<u64, StorageError> {
        if span.is_empty() {
            return Ok(0);
        }
        Ok(self.file_bytes(span.start.as_bytes(), span.end.as_bytes()) + self.memtable_bytes(span)?)
    }

    fn file_bytes(&self, start: &[u8], end: &[u8]) -> u64 {
        self.inner.db.get_approximate_sizes_cf(self.inner.data(), &[Range::new(start, end)]).iter().sum()
    }

    fn memtable_bytes(&self, span: &Span) -> Result<u64, StorageError> {
        let mut read = bounded(span);
        read.set_read_tier(rocksdb::ReadTier::Memtable);
        let mut iter = self.inner.db.raw_iterator_cf_opt(self.inner.data(), read);
        iter.seek_to_first();
        let mut bytes = 0;
        for _ in 0..MEMTABLE_ENTRIES_MAX {
            let Some((key, value)) = iter.item() else { break };
            bytes += (key.len() + value.len()) as u64;
            iter.next();
        }
        iter.status()?;
        Ok(bytes)
    }

    /// A key with about half the span's bytes below it: the first of its right half. Versions of a key stay together,
    /// and a row is one key, so no row is cut. `None` if there are not two keys.
    pub fn split_key(&self, span: &Span) -> Result<Option<Key>, StorageError> {
        if span.is_empty() {
            return Ok(None);
        }
        let in_files = self.file_bytes(span.start.as_bytes(), span.end.as_bytes());
        if in_files > EXACT_SPLIT_BYTES_MAX {
            let found = self.split_by_bisection(span, in_files)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        self.split_by_reading(span)
    }

    fn split_by_reading(&self, span: &Span) -> Result<Option<Key>, StorageError> {
        let mut total = 0;
        self.walk(span, |_, bytes| {
            total += bytes;
            true
        })?;
        let (mut below, mut first, mut middle) = (0, None, None);
        self.walk(span, |key, bytes| {
            let first = first.get_or_insert_with(|| key.to_vec());
            if first.as_slice() != key {
                // The last key is better than none, where the first alone outweighs the rest.
                middle = Some(Key::from(key));
                if below >= total / 2 {
                    return false;
                }
            }
            below += bytes;
            true
        })?;
        Ok(middle)
    }

    /// Shows every version's user key and size until `visit` has seen enough.
    fn walk(&self, span: &Span, mut visit: impl FnMut(&[u8], u64) -> bool) -> Result<(), StorageError> {
        let mut read = bounded(span);
        read.fill_cache(false);
        let mut iter = self.inner.db.raw_iterator_cf_opt(self.inner.data(), read);
        iter.seek_to_first();
        while let Some((raw, value)) = iter.item() {
            let (key, _) = decode_version(raw)?;
            if !visit(key, (raw.len() + value.len()) as u64) {
                return Ok(());
            }
            iter.next();
        }
        iter.status()?;
        Ok(())
    }

    /// Narrows down on the middle by the sizes RocksDB estimates, without reading what lies between.
    fn split_by_bisection(&self, span: &Span, total: u64) -> Result<Option<Key>, StorageError> {
        let mut iter = self.inner.db.raw_iterator_cf_opt(self.inner.data(), bounded(span));
        iter.seek_to_first();
        let Some(first) = iter.key().map(|raw| strip_version(raw).to_vec()) else {
            iter.status()?;
            return Ok(None);
        };
        let start = span.start.as_bytes();
        let (mut low, mut high) = (first.clone(), span.end.as_bytes().to_vec());
        let mut best: Option<(u64, Key)> = None;
        for _ in 0..BISECTIONS_MAX {
            let middle = midpoint(&low, &high);
            if middle <= low || middle >= high {
                break;
            }
            iter.seek(&middle);
            let Some(key) = iter.key().map(strip_version).filter(|key| *key < high.as_slice()) else {
                iter.status()?;
                high = middle;
                continue;
            };
            let below = self.file_bytes(start, key);
            let distance = below.abs_diff(total / 2);
            if key > first.as_slice() && best.as_ref().is_none_or(|(least, _)| distance < *least) {
                best = Some((distance, Key::from(key)));
            }
            if distance < total / 32 {
                break;
            }
            if below < total / 2 {
                low = key.to_vec();
            } else {
                high = middle;
            }
        }
        Ok(best.map(|(_, key)| key))
    }

    /// A fingerprint of the rows of `span` visible at `ts`: the same for equal contents, however many old versions
    /// each copy still has. The upper half is a CRC, the lower half the number of rows.
    pub fn checksum(&self, span: &Span, ts: Timestamp) -> Result<u64, StorageError> {
        let options = ReadOptions { locks: LockRead::Skip, ..ReadOptions::at(ts) };
        let limits = ScanLimits { max_keys: 0, max_bytes: CHECKSUM_PAGE_BYTES, reverse: false };
        let mut hasher = crc32fast::Hasher::new();
        let mut rows: u32 = 0;
        let mut rest = Some(span.clone());
        while let Some(span) = rest {
            let page = match self.scan(&span, &options, limits) {
                Ok(page) => page,
                Err(ReadConflict::Storage(error)) => return Err(error),
                Err(ReadConflict::Locked(_) | ReadConflict::Uncertain { .. }) => {
                    unreachable!("locks are skipped and nothing is uncertain")
                }
            };
            for (key, value) in page.rows.iter() {
                hasher.update(&(key.len() as u32).to_le_bytes());
                hasher.update(key);
                hasher.update(&(value.len() as u32).to_le_bytes());
                hasher.update(value);
                rows = rows.wrapping_add(1);
            }
            rest = page.resume;
        }
        Ok(u64::from(hasher.finalize()) << 32 | u64::from(rows))
    }
}

/// Half way between two byte strings, read as fractions.
fn midpoint(low: &[u8], high: &[u8]) -> Vec<u8> {
    let length = low.len().max(high.len()) + 1;
    let digit = |bytes: &[u8], i: usize| u16::from(bytes.get(i).copied().unwrap_or(0));
    let mut sum = vec![0u16; length];
    let mut carry = 0;
    for i in (0..length).rev() {
        let digits = digit(low, i) + digit(high, i) + carry;
        sum[i] = digits & 0xff;
        carry = digits >> 8;
    }
    let mut out = Vec::with_capacity(length);
    let mut remainder = carry;
    for digit in sum {
        let value = remainder << 8 | digit;
        out.push((value >> 1) as u8);
        remainder = value & 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn midpoint_lies_between() {
        for (low, high) in
            [(&b"a"[..], &b"b"[..]), (b"", &[0xff, 0xff]), (&[0xff], &[0xff, 0x01]), (b"abc", b"abcd")]
        {
            let middle = midpoint(low, high);
            assert!(low < middle.as_slice() && middle.as_slice() < high, "{low:?} {middle:?} {high:?}");
        }
    }
}
