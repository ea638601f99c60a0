//! Files of rows: sorted entries of one index, in blocks that are compressed and summed one by one.
//!
//! ```text
//! block:   entries' bytes (4, big endian)  stored bytes (4)  CRC-32 of the stored bytes (4)  stored bytes: zstd of the entries
//! end:     0 (4)  number of entries (8)
//! entry:   length of the key (uvarint)  key behind the index's prefix  wall time (8)  counter (4)
//!          0 for a tombstone, or length of the value + 1 (uvarint)  value
//! ```
//! Keys rise; the versions of one key follow each other, newest first.

use bytes::Bytes;
use hlc::Timestamp;
use keys::encoding::{put_uvarint, take_uvarint};

/// Entries are compressed together up to this.
const BLOCK_BYTES: usize = 256 << 10;
const LEVEL: i32 = 1;
/// What a block may say that it has: a key and a value are bounded by a message.
const BLOCK_BYTES_MAX: usize = 1 << 30;

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub key: Bytes,
    pub ts: Timestamp,
    /// None for a tombstone.
    pub value: Option<Bytes>,
}

#[derive(Default)]
pub(crate) struct BlockWriter {
    out: Vec<u8>,
    block: Vec<u8>,
    entries: u64,
    raw_bytes: u64,
}

impl BlockWriter {
    pub fn push(&mut self, key: &[u8], ts: Timestamp, value: Option<&[u8]>) -> std::io::Result<()> {
        let before = self.block.len();
        put_uvarint(&mut self.block, key.len() as u64);
        self.block.extend_from_slice(key);
        self.block.extend_from_slice(&ts.wall_ns().to_be_bytes());
        self.block.extend_from_slice(&ts.logical().to_be_bytes());
        put_uvarint(&mut self.block, value.map_or(0, |value| value.len() as u64 + 1));
        self.block.extend_from_slice(value.unwrap_or_default());
        self.entries += 1;
        self.raw_bytes += (self.block.len() - before) as u64;
        if self.block.len() >= BLOCK_BYTES { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> std::io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let stored = zstd::bulk::compress(&self.block, LEVEL)?;
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(std::io::Error::other);
        for word in [length(&self.block)?, length(&stored)?, crc32fast::hash(&stored)] {
            self.out.extend_from_slice(&word.to_be_bytes());
        }
        self.out.extend_from_slice(&stored);
        self.block.clear();
        Ok(())
    }

    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Before compression.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// What the file takes by now.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        self.out.len() + self.block.len() / 2
    }

    pub fn finish(mut self) -> std::io::Result<Vec<u8>> {
        self.end_block()?;
        self.out.extend_from_slice(&0_u32.to_be_bytes());
        self.out.extend_from_slice(&self.entries.to_be_bytes());
        Ok(self.out)
    }
}

fn word(input: &mut &[u8]) -> Option<usize> {
    let (word, rest) = input.split_first_chunk::<4>()?;
    *input = rest;
    usize::try_from(u32::from_be_bytes(*word)).ok()
}

fn entry(block: &Bytes, input: &mut &[u8]) -> Option<Entry> {
    let part = |input: &mut &[u8], length: u64| {
        let (part, rest) = input.split_at_checked(usize::try_from(length).ok()?)?;
        *input = rest;
        Some(block.slice_ref(part))
    };
    let length = take_uvarint(input).ok()?;
    let key = part(input, length)?;
    let (wall, rest) = input.split_first_chunk::<8>()?;
    let (logical, rest) = rest.split_first_chunk::<4>()?;
    *input = rest;
    let ts = Timestamp::new(u64::from_be_bytes(*wall), u32::from_be_bytes(*logical));
    let value = match take_uvarint(input).ok()? {
        0 => None,
        length => Some(part(input, length - 1)?),
    };
    Some(Entry { key, ts, value })
}

/// The entries of a file.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read(file: &[u8]) -> Result<Vec<Entry>, &'static str> {
    let (mut input, mut entries) = (file, Vec::new());
    loop {
        let raw = word(&mut input).ok_or("it ends within a block")?;
        if raw == 0 {
            let count = <[u8; 8]>::try_from(input).map_err(|_| "its end is wrong")?;
            return if u64::from_be_bytes(count) == entries.len() as u64 { Ok(entries) } else { Err("entries are missing") };
        }
        let stored = word(&mut input).ok_or("it ends within a block")?;
        let sum = word(&mut input).ok_or("it ends within a block")?;
        let (block, rest) = input.split_at_checked(stored).ok_or("it ends within a block")?;
        input = rest;
        if crc32fast::hash(block) as usize != sum {
            return Err("the checksum of a block does not match");
        }
        if raw > BLOCK_BYTES_MAX {
            return Err("a block is too large");
        }
        let block = zstd::bulk::decompress(block, raw).map_err(|_| "a block does not decompress")?;
        if block.len() != raw {
            return Err("a block has another size");
        }
        let block = Bytes::from(block);
        let mut rest = &block[..];
        while !rest.is_empty() {
            let found = entry(&block, &mut rest).ok_or("an entry is cut off")?;
            if entries.last().is_some_and(|last: &Entry| (&last.key, found.ts) > (&found.key, last.ts)) {
                return Err("entries are out of order");
            }
            entries.push(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall: u64) -> Timestamp {
        Timestamp::new(wall, 0)
    }

    #[test]
    fn entries_come_back() {
        let mut writer = BlockWriter::default();
        let big = vec![7; 300 << 10];
        let rows: Vec<(&[u8], u64, Option<&[u8]>)> =
            vec![(b"", 1, Some(b"")), (b"a", 9, None), (b"a", 2, Some(&big)), (b"b", 5, Some(b"x"))];
        for (key, ts, value) in &rows {
            writer.push(key, at(*ts), *value).unwrap();
        }
        assert_eq!(writer.entries(), 4);
        let file = writer.finish().unwrap();
        let read = super::read(&file).unwrap();
        let read: Vec<_> = read.iter().map(|it| (&it.key[..], it.ts.wall_ns(), it.value.as_deref())).collect();
        assert_eq!(read, rows);
        for at in 0..file.len() {
            let mut bent = file.clone();
            bent[at] ^= 0x10;
            assert!(super::read(&bent).is_err(), "byte {at}");
            assert!(super::read(&file[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn golden_block_of_one_entry() {
        let mut writer = BlockWriter::default();
        writer.push(b"k", Timestamp::new(1, 2), Some(b"v")).unwrap();
        let raw: &[u8] = b"\x01k\0\0\0\0\0\0\0\x01\0\0\0\x02\x02v";
        assert_eq!(writer.block, raw, "bytes of backups stay readable");
        let file = writer.finish().unwrap();
        assert_eq!((&file[..4], &file[file.len() - 12..]), (&[0, 0, 0, 16][..], &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..]));
        assert_eq!(super::read(&file).unwrap().len(), 1);
        assert!(super::read(b"").is_err());
    }

    #[test]
    fn an_order_that_no_writer_makes_is_found() {
        let mut writer = BlockWriter::default();
        writer.push(b"b", at(1), None).unwrap();
        writer.push(b"a", at(1), None).unwrap();
        assert_eq!(super::read(&writer.finish().unwrap()), Err("entries are out of order"));
    }
}
