//! A range's data as of one moment, cut into pieces for the network.
//!
//! ```text
//! chunk:  | crc32 of the rest 4 | family 1 | key length varint, key, value length varint, value ... |
//! ```
//!
//! Keys rise within a chunk, and over the chunks of one span. A chunk stays within [`CHUNK_BYTES_MAX`] unless a
//! single record is larger.

use std::sync::Arc;

use bytes::Bytes;
use keys::{Key, Span};

use crate::StorageError;
use crate::engine::{Engine, LockRecord, bounded};
use crate::read::RawIterator;
use crate::version_key::{has_version, strip_version};
use crate::write::{DATA_FAMILY, LOCAL_FAMILY, LOCK_FAMILY, take_slice};

pub(crate) const CHUNK_BYTES_MAX: usize = 4 << 20;
const CHUNK_HEADER_BYTES: usize = 5;
const LENGTHS_BYTES_MAX: usize = 10;

/// All of an engine at one moment, for as long as it is kept.
#[derive(Clone)]
pub struct EngineSnapshot {
    held: Arc<Held>,
}

struct Held {
    /// Borrows from `engine` in truth; dropped first, as the fields stand in this order.
    snapshot: rocksdb::Snapshot<'static>,
    engine: Engine,
}

impl Engine {
    #[must_use]
    pub fn snapshot(&self) -> EngineSnapshot {
        let snapshot = self.inner.db.snapshot();
        // SAFETY: the snapshot borrows the database inside `Arc<Inner>`, which does not move and which `engine`
        // keeps alive for longer than the snapshot: `Held` drops its fields in order.
        let snapshot: rocksdb::Snapshot<'static> = unsafe { std::mem::transmute(snapshot) };
        EngineSnapshot { held: Arc::new(Held { snapshot, engine: self.clone() }) }
    }
}

impl EngineSnapshot {
    pub fn get_local(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let value = self.held.snapshot.get_pinned_cf(self.held.engine.inner.local(), key)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// The versions and locks of `spans` and the local records of `local_spans`, in chunks for [`Engine::ingest`].
    #[must_use]
    pub fn chunks(&self, spans: Vec<Span>, local_spans: Vec<Span>) -> SnapshotChunks {
        let families = [(DATA_FAMILY, &spans), (LOCK_FAMILY, &spans), (LOCAL_FAMILY, &local_spans)];
        let mut parts = Vec::new();
        for (family, spans) in families {
            parts.extend(spans.iter().filter(|span| !span.is_empty()).map(|span| (family, span.clone())));
        }
        // Taken from the back.
        parts.reverse();
        SnapshotChunks { snapshot: self.clone(), parts }
    }

    /// At the first record of a span, which is read past the cache.
    fn records(&self, family: u32, span: &Span) -> RawIterator<'_> {
        let inner = &self.held.engine.inner;
        let mut read = bounded(span);
        read.set_snapshot(&self.held.snapshot);
        read.fill_cache(false);
        let mut iter = inner.db.raw_iterator_cf_opt(inner.family(family_name(family)), read);
        iter.seek_to_first();
        iter
    }

    /// Shows the records of a span in order, until `seen` says that it is enough: what is left of the span then.
    pub(crate) fn each(
        &self,
        family: u32,
        span: &Span,
        mut seen: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<Option<Span>, StorageError> {
        let mut iter = self.records(family, span);
        while let Some((key, value)) = iter.item() {
            let is_enough = !seen(key, value);
            iter.next();
            if is_enough {
                let rest = iter.key().map(|key| Span::new(Key::from(key), span.end.clone()));
                iter.status()?;
                return Ok(rest);
            }
        }
        iter.status()?;
        Ok(None)
    }

    fn chunk(&self, family: u32, span: &Span) -> Result<(Vec<u8>, Option<Span>), StorageError> {
        let mut iter = self.records(family, span);
        let mut out = vec![0, 0, 0, 0, family as u8];
        while let Some((key, value)) = iter.item() {
            let size = out.len() + key.len() + value.len() + LENGTHS_BYTES_MAX;
            if size > CHUNK_BYTES_MAX && out.len() > CHUNK_HEADER_BYTES {
                return Ok((seal(out), Some(Span::new(Key::from(key), span.end.clone()))));
            }
            push_slice(&mut out, key);
            push_slice(&mut out, value);
            iter.next();
        }
        iter.status()?;
        Ok((seal(out), None))
    }
}

/// The chunks of a snapshot. It keeps the snapshot, and between two chunks nothing else.
pub struct SnapshotChunks {
    snapshot: EngineSnapshot,
    parts: Vec<(u32, Span)>,
}

impl Iterator for SnapshotChunks {
    type Item = Result<Bytes, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (family, span) = self.parts.pop()?;
            match self.snapshot.chunk(family, &span) {
                Err(error) => {
                    self.parts.clear();
                    return Some(Err(error));
                }
                Ok((chunk, rest)) => {
                    self.parts.extend(rest.map(|rest| (family, rest)));
                    if chunk.len() > CHUNK_HEADER_BYTES {
                        return Some(Ok(chunk.into()));
                    }
                }
            }
        }
    }
}

/// Whether a chunk has come as it was sent, and can be taken in where `spans` and `local_spans` are replaced. `record`
/// looks at each local record.
///
/// # Errors
/// When it is damaged, or has what [`Engine::ingest`] would refuse.
pub fn check_chunk(
    chunk: &[u8],
    span: &Span,
    local_spans: &[Span],
    mut record: impl FnMut(&[u8], &[u8]) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let (family, mut records) = open_chunk(chunk)?;
    while let Some((key, value)) = records.next_record()? {
        let within = match family {
            DATA_FAMILY => has_version(key) && !value.is_empty() && span.contains(strip_version(key)),
            LOCAL_FAMILY => local_spans.iter().any(|span| span.contains(key)),
            _ => span.contains(key) && LockRecord::decode(value).is_ok(),
        };
        if !within {
            return Err(StorageError::corruption("a snapshot has what does not belong to its range"));
        }
        if family == LOCAL_FAMILY {
            record(key, value)?;
        }
    }
    Ok(())
}

/// The family and the records of a chunk.
pub(crate) fn open_chunk(chunk: &[u8]) -> Result<(u32, ChunkRecords<'_>), StorageError> {
    let damaged = || StorageError::corruption("a snapshot chunk was damaged on its way");
    let (crc, body) = chunk.split_first_chunk::<4>().ok_or_else(damaged)?;
    if u32::from_le_bytes(*crc) != crc32fast::hash(body) {
        return Err(damaged());
    }
    let (&family, rest) = body.split_first().ok_or_else(damaged)?;
    let family = u32::from(family);
    if !(DATA_FAMILY..=LOCAL_FAMILY).contains(&family) {
        return Err(damaged());
    }
    Ok((family, ChunkRecords { rest }))
}

/// A key of the family and its value.
pub(crate) type ChunkRecord<'a> = (&'a [u8], &'a [u8]);

pub(crate) struct ChunkRecords<'a> {
    rest: &'a [u8],
}

impl<'a> ChunkRecords<'a> {
    pub(crate) fn next_record(&mut self) -> Result<Option<ChunkRecord<'a>>, StorageError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = take_slice(&mut self.rest);
        let value = take_slice(&mut self.rest);
        match (key, value) {
            (Some(key), Some(value)) => Ok(Some((key, value))),
            _ => Err(StorageError::corruption("a snapshot chunk ends within a record")),
        }
    }
}

pub(crate) fn family_name(family: u32) -> &'static str {
    match family {
        DATA_FAMILY => crate::engine::DATA,
        LOCK_FAMILY => crate::engine::LOCK,
        _ => crate::engine::LOCAL,
    }
}

fn seal(mut chunk: Vec<u8>) -> Vec<u8> {
    let crc = crc32fast::hash(&chunk[4..]);
    chunk[..4].copy_from_slice(&crc.to_le_bytes());
    chunk
}

fn push_slice(out: &mut Vec<u8>, slice: &[u8]) {
    let mut length = slice.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(slice);
}
