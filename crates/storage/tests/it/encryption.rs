//! Encrypted stores: nothing of a row can be found on the disk, whatever is done to them, and the keys change while they are
//! used.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fail::FailScenario;
use keys::{Key, RangeId, Span};
use storage::log::{LogEntry, LogHealth, LogOp, LogStore, LogStoreConfig};
use storage::{
    Engine, EngineConfig, EncryptionConfig, EncryptionStatus, KeySource, Rotation, ScanLimits, StorageError, StoreFiles,
    WriteBatch,
};
use tempfile::TempDir;

use crate::support::*;

/// In every key and every value that the tests write.
const MARKER: &str = "s3cret-marker";
const RANGE: RangeId = RangeId::new(1);
const ROWS: usize = 300;
/// As long as a look at all files is apart from the next.
const MINUTE: Duration = Duration::from_secs(60);

fn key_file(dir: &Path, byte: u8) -> KeySource {
    use std::io::Write;
    let path = dir.join(format!("key{byte}"));
    if !path.exists() {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
        file.write_all(&[byte; 32]).unwrap();
    }
    KeySource::File(path)
}

/// A store in a directory beside its keys.
struct Site {
    root: TempDir,
}

/// It, opened.
struct Open {
    files: StoreFiles,
    engine: Engine,
    log: LogStore,
}

impl Site {
    fn new() -> Self {
        let site = Self { root: tempfile::tempdir().unwrap() };
        std::fs::create_dir(site.dir()).unwrap();
        site
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("store")
    }

    fn config(&self, key: Option<u8>, old: Option<u8>) -> EncryptionConfig {
        let source = |byte| key_file(self.root.path(), byte);
        EncryptionConfig { key: key.map(source), old_key: old.map(source), rotation: Rotation::default() }
    }

    fn files(&self, dir: &Path, key: Option<u8>, old: Option<u8>) -> Result<StoreFiles, StorageError> {
        StoreFiles::open(dir, &self.config(key, old))
    }

    fn open(&self, key: Option<u8>) -> Open {
        open_in(&self.dir(), self.files(&self.dir(), key, None).unwrap())
    }
}

fn open_in(dir: &Path, files: StoreFiles) -> Open {
    let config = EngineConfig { memtable_bytes: 64 << 10, ..EngineConfig::small() };
    let engine = Engine::open_with(dir, &config, &files).unwrap();
    let log_config =
        LogStoreConfig { files: files.clone(), memtable_bytes: 64 << 10, wal_recycle: 2, ..LogStoreConfig::new(dir.join("log")) };
    let (log, found) = LogStore::open(&log_config).unwrap();
    assert_eq!(found.health, LogHealth::Sound);
    Open { files, engine, log }
}

fn name(row: usize) -> String {
    format!("m{row:04}-{MARKER}")
}

fn value(row: usize, round: usize) -> String {
    format!("{MARKER}-{round}-{row:06}").repeat(8)
}

fn durable(log: &LogStore, op: LogOp) {
    let (done, wait) = mpsc::channel();
    log.submit(op, Box::new(move || done.send(()).unwrap()));
    wait.recv().unwrap();
}

impl Open {
    fn write(&self, round: usize) {
        for row in 0..ROWS {
            put(&self.engine, &name(row), round as u64 + 1, Some(&value(row, round)));
        }
        let first = (round * ROWS) as u64 + 1;
        let entries = (first..first + ROWS as u64).map(|index| LogEntry { index, data: Bytes::from(value(index as usize, 0)) });
        // In pieces, so that files of the log are full in between.
        for entry in entries {
            durable(&self.log, LogOp::Append { range_id: RANGE, entries: vec![entry] });
        }
    }

    fn check(&self, rounds: usize) {
        let found = self.engine.scan(&span("m", "n"), &reading(1000, 1000, None), ScanLimits::default()).unwrap();
        assert_eq!(found.rows.len(), ROWS);
        for row in 0..ROWS {
            let expected = value(row, rounds - 1);
            assert_eq!(found.rows.get(row), (name(row).as_bytes(), expected.as_bytes()));
            assert_eq!(get(&self.engine, &name(row), 1000).as_deref(), Some(&expected[..]));
        }
        let last = (rounds * ROWS) as u64;
        let entries = self.log.read(RANGE, 1, last + 1, usize::MAX).unwrap();
        assert_eq!(entries.len(), rounds * ROWS);
        assert!(entries.iter().all(|entry| entry.data == value(entry.index as usize, 0)));
    }

    /// Takes in a snapshot with other rows, beside those that are there.
    fn ingest(&self) {
        let (_dir, source) = fresh();
        for row in 0..ROWS {
            put(&source, &format!("t{}", name(row)), 1, Some(&value(row, 0)));
        }
        let spans = [span("t", "u")];
        let chunks: Vec<Bytes> =
            source.snapshot().chunks(spans.to_vec(), vec![]).collect::<Result<_, _>>().unwrap();
        self.engine.ingest(chunks.into_iter(), &spans, &[], &[]).unwrap();
        let found = self.engine.scan(&spans[0], &reading(1000, 1000, None), ScanLimits::default()).unwrap();
        assert_eq!(found.rows.len(), ROWS);
    }

    fn close(self) {
        self.log.close();
    }
}

fn files_of(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_of(&path, found) } else { found.push(path) }
    }
}

/// The files in which the marker stands.
fn readable(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    files_of(dir, &mut files);
    files.retain(|path| {
        // One that is gone holds nothing.
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes())
    });
    files
}

fn status(dir: &Path) -> EncryptionStatus {
    EncryptionStatus::read(dir).unwrap()
}

#[test]
fn no_row_can_be_found_on_the_disk() {
    let site = Site::new();
    let dir = site.dir();
    let open = site.open(Some(1));
    let look = |when: &str| assert_eq!(readable(&dir), Vec::<PathBuf>::new(), "{when}");
    for round in 0..3 {
        open.write(round);
        look("after writes");
        open.engine.flush().unwrap();
        look("after a flush");
    }
    open.check(3);
    open.ingest();
    look("after an ingest");
    open.engine.compact_all();
    look("after a compaction");
    let path = dir.join("spooled");
    std::io::Write::write_all(&mut open.files.create(&path).unwrap(), &value(1, 1).repeat(2000).into_bytes()).unwrap();
    look("after a file of our own");
    let mut back = String::new();
    std::io::Read::read_to_string(&mut open.files.open_file(&path).unwrap(), &mut back).unwrap();
    assert_eq!(back, value(1, 1).repeat(2000));
    std::fs::remove_file(path).unwrap();
    // The disk of a machine that lost its power, with the log as it was.
    let copy = crash(&site.root);
    let at = copy.path().join("store");
    open.close();
    let crashed = open_in(&at, site.files(&at, Some(1), None).unwrap());
    crashed.write(3);
    crashed.check(4);
    assert_eq!(readable(&at), Vec::<PathBuf>::new());
    let found = status(&dir);
    assert_eq!((found.usage.plaintext.files, found.usage.damaged.files), (0, 0), "{found:?}");
    assert_eq!(found.usage.by_key.len(), 1);

    // The search finds it where it can be read.
    let plain = Site::new();
    let open = plain.open(None);
    open.write(0);
    open.engine.flush().unwrap();
    let found = readable(&plain.dir());
    for part in ["state", "log"] {
        assert!(found.iter().any(|path| path.starts_with(plain.dir().join(part))), "{part}: {found:?}");
    }
    assert!(status(&plain.dir()).keys.is_none());
}

#[test]
fn a_store_is_not_opened_without_its_key() {
    let site = Site::new();
    let open = site.open(Some(1));
    open.write(0);
    open.close();
    let contents = || {
        let mut files = Vec::new();
        files_of(&site.dir(), &mut files);
        files.sort();
        files.into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect::<Vec<_>>()
    };
    let before = contents();
    let refused = |key, old| site.files(&site.dir(), key, old).err().unwrap();
    assert!(matches!(refused(None, None), StorageError::StoreKeyMissing { .. }));
    assert!(matches!(refused(Some(2), None), StorageError::StoreKeyWrong { .. }));
    assert!(matches!(refused(Some(2), Some(3)), StorageError::StoreKeyWrong { .. }));
    assert!(contents() == before, "nothing is touched");
    // Ciphertext is no store.
    let error = Engine::open(&site.dir(), &EngineConfig::small()).err().unwrap();
    assert!(error.is_corruption(), "{error}");
    site.open(Some(1)).check(1);
}

/// Rows written before are read, and what is on the disk in the clear goes.
#[test]
fn a_store_is_encrypted_as_it_is_used() {
    let site = Site::new();
    let open = site.open(None);
    open.write(0);
    open.engine.flush().unwrap();
    open.write(1);
    open.engine.flush().unwrap();
    open.close();
    assert!(!readable(&site.dir()).is_empty());
    let open = site.open(Some(1));
    open.check(2);
    open.write(2);
    open.check(3);
    open.files.tend(SystemTime::now()).unwrap();
    assert!(open.files.metrics().unwrap().plaintext_bytes > 0);
    open.engine.rewrite_stale(SystemTime::now(), || true).unwrap();
    open.log.rewrite_stale(SystemTime::now(), || true).unwrap();
    open.check(3);
    open.close();
    drop(open_again_and_close(&site));
    assert_eq!(readable(&site.dir()), Vec::<PathBuf>::new());
    let usage = status(&site.dir()).usage;
    assert_eq!(usage.plaintext.bytes, 0, "{usage:?}");
}

/// Files that nothing needs go when RocksDB is closed or opened.
fn open_again_and_close(site: &Site) -> PathBuf {
    let open = site.open(Some(1));
    open.check(3);
    open.close();
    site.dir()
}

#[test]
fn data_keys_change_under_writes() {
    let site = Site::new();
    let open = site.open(Some(1));
    let mut now = SystemTime::now();
    let week = Rotation::default().after;
    let (_, first) = status(&site.dir()).keys.unwrap();
    let mut seen = Vec::new();
    for round in 0..4 {
        let writes = std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                open.write(round);
                open.engine.flush().unwrap();
            });
            now += week;
            open.files.tend(now).unwrap();
            writing.join()
        });
        writes.unwrap();
        open.files.tend(now).unwrap();
        open.check(round + 1);
        let (_, active) = status(&site.dir()).keys.unwrap();
        assert!(!seen.contains(&active), "a key of its own");
        seen.push(active);
    }
    assert_eq!(open.files.metrics().unwrap().rotations, 4);
    assert!(status(&site.dir()).usage.by_key.len() > 1, "files with several keys");
    // What comes out of a compaction has the active key, and keys that no file names go after two looks.
    open.engine.compact_all();
    // Between these two no file is begun.
    for _key in 0..2 {
        now += week;
        open.files.tend(now).unwrap();
    }
    let before = open.files.metrics().unwrap().data_keys;
    for _look in 0..3 {
        now += MINUTE;
        open.files.tend(now).unwrap();
    }
    let after = open.files.metrics().unwrap().data_keys;
    assert!(after < before, "{after} of {before} keys are left");
    open.check(4);
    open.close();
    let open = site.open(Some(1));
    open.check(4);
    // Files with a key that is old by far are written anew, those of the log too.
    now += week * 6;
    open.files.tend(now).unwrap();
    now += MINUTE;
    open.files.tend(now).unwrap();
    open.engine.rewrite_stale(now, || true).unwrap();
    open.log.rewrite_stale(now, || true).unwrap();
    let found = status(&site.dir());
    let tables = |dir: &str| {
        let entries = std::fs::read_dir(site.dir().join(dir)).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|it| it == "sst")).collect::<Vec<_>>()
    };
    let (_, active) = found.keys.unwrap();
    for path in tables("state").into_iter().chain(tables("log/rocks")) {
        let bytes = std::fs::read(&path).unwrap();
        let id = u64::from_le_bytes(bytes[16..24].try_into().unwrap());
        assert_eq!(format!("{id:016x}"), active.to_string(), "{}", path.display());
    }
    open.check(4);
    assert_eq!(readable(&site.dir()), Vec::<PathBuf>::new());
    open.close();
    // What is left of the start before goes at this one.
    let open = site.open(Some(1));
    let usage = status(&site.dir()).usage;
    assert!(!usage.by_key.contains_key(&first), "{first} is named by none: {usage:?}");
    for _look in 0..3 {
        now += MINUTE;
        open.files.tend(now).unwrap();
    }
    open.check(4);
    open.close();
    site.open(Some(1)).check(4);
}

/// A store that stops does not wait for what it has begun, and has all that was written at its next start.
#[test]
fn background_work_ends_with_the_store() {
    let site = Site::new();
    let open = site.open(Some(1));
    open.write(0);
    open.engine.flush().unwrap();
    open.write(1);
    std::thread::scope(|scope| {
        scope.spawn(|| open.engine.compact_all());
        open.log.close();
        open.engine.stop_background_work();
        open.log.stop_background_work();
    });
    // It is not begun any more, and nobody waits for it; what is there can be read.
    open.engine.compact_all();
    open.files.tend(SystemTime::now()).unwrap();
    open.engine.rewrite_stale(SystemTime::now(), || true).unwrap();
    open.log.rewrite_stale(SystemTime::now(), || true).unwrap();
    open.check(2);
    open.close();
    site.open(Some(1)).check(2);
}

#[test]
fn a_data_key_is_replaced_when_much_was_written_with_it() {
    let site = Site::new();
    let rotation = Rotation { after_bytes: 1 << 20, ..Rotation::default() };
    let config = EncryptionConfig { rotation, ..site.config(Some(1), None) };
    let files = StoreFiles::open(&site.dir(), &config).unwrap();
    let open = open_in(&site.dir(), files.clone());
    files.tend(SystemTime::now()).unwrap();
    assert_eq!(files.metrics().unwrap().rotations, 0);
    let write = |bytes: usize| {
        let mut file = files.create(&site.dir().join("spooled")).unwrap();
        std::io::Write::write_all(&mut file, &vec![7; bytes]).unwrap();
    };
    write(2 << 20);
    files.tend(SystemTime::now()).unwrap();
    assert_eq!(files.metrics().unwrap().rotations, 1);
    assert!(files.metrics().unwrap().active_key_bytes < 1 << 20);
    // What was written is not forgotten by a restart: it counts as the bound that was written down.
    write(200 << 10);
    files.tend(SystemTime::now()).unwrap();
    let written = files.metrics().unwrap().active_key_bytes;
    open.close();
    drop(files);
    let files = StoreFiles::open(&site.dir(), &config).unwrap();
    assert!(files.metrics().unwrap().active_key_bytes >= written);
}

/// Another store key, cut short at each step: the store opens with one of the two keys, and with both given always.
#[test]
fn a_store_key_is_replaced_at_once_or_not_at_all() {
    let scenario = FailScenario::setup();
    let site = Site::new();
    let open = site.open(Some(1));
    open.write(0);
    open.engine.flush().unwrap();
    open.close();
    let before = status(&site.dir()).keys.unwrap();
    let copies = tempfile::tempdir().unwrap();
    // The disk as it is at a step.
    let mut taken = Vec::new();
    for (step, is_new) in [("format::before_rename", false), ("format::before_sync", true)] {
        let (from, to) = (site.dir(), copies.path().join(step));
        let to_take = to.clone();
        fail::cfg_callback(step, move || copy_dir(&from, &to_take).unwrap()).unwrap();
        taken.push((to, is_new));
    }
    for (step, is_new) in [("keyring::before_save", false), ("keyring::saved", true)] {
        let to = copies.path().join(step);
        copy_dir(&site.dir(), &to).unwrap();
        fail::cfg(step, "return").unwrap();
        let stopped = site.files(&to, Some(2), Some(1)).err().unwrap();
        assert!(stopped.to_string().contains(step), "{stopped}");
        fail::remove(step);
        // The callbacks have seen the other directory only.
        taken.push((to, is_new));
    }
    drop(site.files(&site.dir(), Some(2), Some(1)).unwrap());
    fail::remove("format::before_rename");
    fail::remove("format::before_sync");
    for (dir, is_new) in taken {
        let what = dir.display();
        let (right, wrong) = if is_new { (2, 1) } else { (1, 2) };
        let refused = site.files(&dir, Some(wrong), None).err().unwrap();
        assert!(matches!(refused, StorageError::StoreKeyWrong { .. }), "{what}: {refused}");
        let open = open_in(&dir, site.files(&dir, Some(right), None).unwrap());
        open.check(1);
        open.close();
        let open = open_in(&dir, site.files(&dir, Some(2), Some(1)).unwrap());
        open.check(1);
        open.close();
    }
    // Who had the old store key may know the old data keys.
    let after = status(&site.dir()).keys.unwrap();
    assert!(after.0 != before.0 && after.1 != before.1, "{before:?} {after:?}");
    // The old key's file may be gone by now.
    std::fs::remove_file(site.root.path().join("key1")).unwrap();
    let config = EncryptionConfig {
        old_key: Some(KeySource::File(site.root.path().join("key1"))),
        ..site.config(Some(2), None)
    };
    open_in(&site.dir(), StoreFiles::open(&site.dir(), &config).unwrap()).check(1);
    scenario.teardown();
}

/// A new data key, cut short at each step.
#[test]
fn a_data_key_is_kept_before_it_is_used() {
    let scenario = FailScenario::setup();
    let week = Rotation::default().after;
    for step in ["keyring::before_save", "keyring::saved"] {
        let site = Site::new();
        let open = site.open(Some(1));
        fail::cfg(step, "return").unwrap();
        open.files.tend(SystemTime::now() + week).unwrap_err();
        fail::remove(step);
        open.write(0);
        let copy = crash(&site.root);
        let at = copy.path().join("store");
        let crashed = open_in(&at, site.files(&at, Some(1), None).unwrap());
        let mut batch = WriteBatch::new();
        batch.put_local(b"\x01i", MARKER.as_bytes());
        crashed.engine.apply(&batch).unwrap();
        assert_eq!(crashed.log.bounds(RANGE), Some((1, ROWS as u64)));
        open.files.tend(SystemTime::now() + week).unwrap();
        open.write(1);
        open.check(2);
    }
    scenario.teardown();
}

/// A crash may leave a file without its header, or with a part of it; a file under a key that nobody has is an error.
#[test]
fn headers_that_are_not_whole() {
    let site = Site::new();
    let open = site.open(Some(1));
    open.write(0);
    open.engine.flush().unwrap();
    open.close();
    let manifest = std::fs::read_dir(site.dir().join("state")).unwrap().map(|entry| entry.unwrap().path());
    let manifest = manifest.into_iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with("MANIFEST"));
    let header = std::fs::read(manifest.unwrap()).unwrap()[..64].to_vec();
    for length in [0, 3, 30, 44, 64] {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(&site.dir(), copy.path()).unwrap();
        // As a WAL that was begun when the power went.
        std::fs::write(copy.path().join("log/rocks/999990.log"), &header[..length]).unwrap();
        let open = open_in(copy.path(), site.files(copy.path(), Some(1), None).unwrap());
        open.check(1);
        open.write(1);
        open.check(2);
        open.close();
    }
    let table = || {
        let tables = std::fs::read_dir(site.dir().join("state")).unwrap().map(|entry| entry.unwrap().path());
        tables.into_iter().find(|path| path.extension().is_some_and(|it| it == "sst")).unwrap()
    };
    let path = table();
    let whole = std::fs::read(&path).unwrap();
    for (at, expected) in [(20, "damaged"), (2, "")] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        let files = site.files(&site.dir(), Some(1), None).unwrap();
        let read = Engine::open_with(&site.dir(), &EngineConfig::small(), &files).and_then(|engine| {
            let found = engine.scan(&Span::new(Key::from(&b"m"[..]), Key::from(&b"n"[..])), &reading(9, 9, None), ScanLimits::default());
            found.map(drop).map_err(|conflict| match conflict {
                storage::ReadConflict::Storage(error) => error,
                other => panic!("{other}"),
            })
        });
        let error = read.unwrap_err();
        assert!(error.is_corruption() && error.to_string().contains(expected), "byte {at}: {error}");
    }
    std::fs::write(&path, whole).unwrap();
    site.open(Some(1)).check(1);
}
