//! Taking in a snapshot: many megabytes that must replace what is there, all or nothing.
//!
//! ```text
//! 1  DIR/ingest/*.sst   the new contents as RocksDB files, synced
//! 2  DIR/ingest/MARKER  names them and the spans to clear, synced: from here on the snapshot is decided
//! 3  clear the spans, flush
//! 4  ingest the files (RocksDB copies them), one by one
//! 5  remove MARKER, then the rest
//! ```
//!
//! **Invariants**
//! - *ingest-all-or-nothing*: a crash before 2 leaves the old contents; after it, [`Engine::open`] repeats 3 to 5,
//!   which may be done any number of times, before anyone can read. No fail point in between changes that.
//!
//! While an ingest runs, its spans hold neither the old contents nor the new: the caller serves no reads of them
//! and applies no commands to them.

use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hlc::Timestamp;
use keys::{Key, Span};
use rocksdb::{IngestExternalFileOptions, Options, SstFileWriter};
use serde::{Deserialize, Serialize};

use crate::engine::{Engine, LOCAL};
use crate::format::{sync_dir, write_file_durably};
use crate::snapshot::{family_name, open_chunk};
use crate::read::decode_version;
use crate::write::{DATA_FAMILY, LOCAL_FAMILY};
use crate::{StorageError, WriteBatch};

const MARKER_FILE: &str = "MARKER";
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What was decided to happen.
#[derive(Serialize, Deserialize)]
struct Marker {
    clear: Vec<Span>,
    local_clear: Vec<Span>,
    /// In the order of ingestion: of two files with the same key, the later wins.
    files: Vec<IngestFile>,
}

#[derive(Serialize, Deserialize)]
struct IngestFile {
    family: String,
    name: String,
}

/// Stops here, as a crash would, when a test asks for it.
macro_rules! crash_point {
    ($name:literal) => {
        fail::fail_point!($name, |_| Err(StorageError::Rocks { what: concat!("stopped at ", $name).into() }))
    };
}

impl Engine {
    /// Replaces the versions and locks of `clear` and the local records of `local_clear` by those in `chunks`, which
    /// must lie within, and then writes `extra_local`. Durable when it returns.
    pub fn ingest(
        &self,
        chunks: impl Iterator<Item = Bytes>,
        clear: &[Span],
        local_clear: &[Span],
        extra_local: &[(Key, Bytes)],
    ) -> Result<(), StorageError> {
        let _one_at_a_time = self.inner.ingesting.lock();
        // One that failed half-way is decided all the same.
        finish_decided(self)?;
        let dir = ingest_dir(self);
        std::fs::create_dir_all(&dir).map_err(|e| StorageError::io("create", &dir, e))?;
        sync_dir(&self.inner.dir)?;

        let (files, newest) = match write_files(self, &dir, chunks, clear, local_clear, extra_local) {
            Ok(written) => written,
            Err(error) => {
                // The disk may be full of them.
                if let Err(left) = remove_dir(&dir) {
                    tracing::warn!(error = %left, "files of an ingest that failed");
                }
                return Err(error);
            }
        };
        sync_dir(&dir)?;
        crash_point!("ingest::files_written");
        let marker = Marker { clear: clear.to_vec(), local_clear: local_clear.to_vec(), files };
        let (sealed, _held) = self.inner.files.seal(encode(&marker))?;
        write_file_durably(&dir.join(MARKER_FILE), &sealed)?;
        crash_point!("ingest::decided");
        complete(self, &dir, &marker, Some(newest))
    }
}

/// Finishes an ingest that was decided, and removes what is left of one that was not.
pub(crate) fn recover(engine: &Engine) -> Result<(), StorageError> {
    let _one_at_a_time = engine.inner.ingesting.lock();
    finish_decided(engine)
}

fn finish_decided(engine: &Engine) -> Result<(), StorageError> {
    let dir = ingest_dir(engine);
    let path = dir.join(MARKER_FILE);
    match std::fs::read(&path) {
        Ok(bytes) => {
            tracing::info!(dir = %dir.display(), "finishing an ingest that was interrupted");
            complete(engine, &dir, &decode(&engine.inner.files.unseal(bytes)?)?, None)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => remove_dir(&dir),
        Err(error) => Err(StorageError::io("read", path, error)),
    }
}

/// Steps 3 to 5. `newest` is the latest timestamp in the files, where it is known.
fn complete(engine: &Engine, dir: &Path, marker: &Marker, newest: Option<Timestamp>) -> Result<(), StorageError> {
    let inner = &engine.inner;
    // *written-is-known*
    match newest {
        Some(newest) => marker.clear.iter().for_each(|span| inner.written.add_span(span, newest)),
        None => inner.written.forget(),
    }
    let mut batch = WriteBatch::new();
    for span in &marker.clear {
        batch.clear_span(span);
    }
    for span in &marker.local_clear {
        batch.clear_local_span(span);
    }
    engine.apply(&batch)?;
    engine.flush()?;
    crash_point!("ingest::cleared");

    let mut options = IngestExternalFileOptions::default();
    // Copied, not moved: until the marker is gone, all of it may have to be done again.
    options.set_move_files(false);
    for file in &marker.files {
        let family = inner
            .db
            .cf_handle(&file.family)
            .ok_or_else(|| StorageError::corruption("an ingest names an unknown family"))?;
        // What is known of the newest versions does not outlast what comes in past the batches.
        let _until_it_is_in = inner.newest.begin_all();
        inner.db.ingest_external_file_cf_opts(family, &options, vec![dir.join(&file.name)])?;
        crash_point!("ingest::one_file");
    }
    engine.index_locks_of(&marker.clear)?;
    crash_point!("ingest::all_files");

    let path = dir.join(MARKER_FILE);
    std::fs::remove_file(&path).map_err(|e| StorageError::io("remove", path, e))?;
    sync_dir(dir)?;
    crash_point!("ingest::undecided");
    remove_dir(dir)
}

fn write_files(
    engine: &Engine,
    dir: &Path,
    chunks: impl Iterator<Item = Bytes>,
    clear: &[Span],
    local_clear: &[Span],
    extra_local: &[(Key, Bytes)],
) -> Result<(Vec<IngestFile>, Timestamp), StorageError> {
    let mut files = Vec::new();
    let mut newest = Timestamp::MIN;
    let families: Vec<Options> =
        (DATA_FAMILY..=LOCAL_FAMILY).map(|family| engine.inner.family_options(family_name(family))).collect();
    let mut open: Option<OpenFile<'_>> = None;
    for chunk in chunks {
        let (family, mut records) = open_chunk(&chunk)?;
        while let Some((key, value)) = records.next_record()? {
            let (user_key, spans) = match family {
                DATA_FAMILY => {
                    let (user_key, ts) = decode_version(key)?;
                    newest = newest.max(ts);
                    (user_key, clear)
                }
                LOCAL_FAMILY => (key, local_clear),
                _ => (key, clear),
            };
            if !spans.iter().any(|span| span.contains(user_key)) {
                return Err(StorageError::corruption("a snapshot has a key outside the spans it replaces"));
            }
            // A file's keys rise; spans may come in any order.
            if open
                .as_ref()
                .is_some_and(|file| file.family != family || file.is_full() || file.last.as_slice() >= key)
            {
                files.extend(open.take().map(OpenFile::finish).transpose()?);
            }
            let file = match &mut open {
                Some(file) => file,
                None => {
                    let options = &families[(family - DATA_FAMILY) as usize];
                    open.insert(OpenFile::create(dir, family, files.len(), options)?)
                }
            };
            file.put(key, value)?;
        }
    }
    files.extend(open.take().map(OpenFile::finish).transpose()?);

    let mut extra: Vec<&(Key, Bytes)> = extra_local.iter().collect();
    extra.sort_by(|a, b| a.0.cmp(&b.0));
    if !extra.is_empty() {
        let options = &families[(LOCAL_FAMILY - DATA_FAMILY) as usize];
        let mut file = OpenFile::create(dir, LOCAL_FAMILY, files.len(), options)?;
        for (key, value) in extra {
            file.put(key.as_bytes(), value)?;
        }
        debug_assert_eq!(family_name(LOCAL_FAMILY), LOCAL);
        files.push(file.finish()?);
    }
    Ok((files, newest))
}

struct OpenFile<'a> {
    family: u32,
    name: String,
    path: PathBuf,
    writer: SstFileWriter<'a>,
    last: Vec<u8>,
}

impl<'a> OpenFile<'a> {
    fn create(dir: &Path, family: u32, number: usize, options: &'a Options) -> Result<Self, StorageError> {
        let name = format!("{number:06}.sst");
        let path = dir.join(&name);
        let writer = SstFileWriter::create(options);
        writer.open(&path)?;
        Ok(Self { family, name, path, writer, last: Vec::new() })
    }

    fn is_full(&self) -> bool {
        self.writer.file_size() >= FILE_BYTES_MAX
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StorageError> {
        self.writer.put(key, value)?;
        self.last.clear();
        self.last.extend_from_slice(key);
        Ok(())
    }

    fn finish(mut self) -> Result<IngestFile, StorageError> {
        self.writer.finish()?;
        File::open(&self.path)
            .and_then(|file| file.sync_all())
            .map_err(|e| StorageError::io("sync", &self.path, e))?;
        Ok(IngestFile { family: family_name(self.family).to_owned(), name: self.name })
    }
}

fn ingest_dir(engine: &Engine) -> PathBuf {
    engine.inner.dir.join("ingest")
}

fn remove_dir(dir: &Path) -> Result<(), StorageError> {
    match std::fs::remove_dir_all(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StorageError::io("remove", dir, error)),
    }
}

fn encode(marker: &Marker) -> Vec<u8> {
    let mut bytes = postcard::to_allocvec(marker).expect("a marker always encodes");
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Result<Marker, StorageError> {
    let damaged = || StorageError::corruption("the marker of an ingest is damaged");
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
    if u32::from_le_bytes(*crc) != crc32fast::hash(body) {
        return Err(damaged());
    }
    postcard::from_bytes(body).map_err(|_| damaged())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_marker() {
        let span = |start: &str, end: &str| Span::new(Key::from(start.as_bytes()), Key::from(end.as_bytes()));
        let marker = Marker {
            clear: vec![span("a", "b")],
            local_clear: vec![span("\x01i", "\x01j")],
            files: vec![IngestFile { family: "data".into(), name: "000000.sst".into() }],
        };
        assert_eq!(crate::golden::hex(&encode(&marker)), "01016101620102016902016a0104646174610a3030303030302e737374daa4a505");
        let read = decode(&encode(&marker)).unwrap();
        assert_eq!((read.clear, read.files[0].name.as_str()), (marker.clear, "000000.sst"));
    }
}
