//! Bytes that change on disk: whoever reads them is told, and never gets another answer than the right one.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use keys::RangeId;
use storage::log::{LogEntry, LogHealth, LogOp, LogStore, LogStoreConfig, ignore};
use storage::{Engine, ReadConflict, ReadOptions, ScanLimits, StorageError};

use crate::support::*;

const ROWS: usize = 500;

fn name(row: usize) -> String {
    format!("m{row:04}")
}

fn value(row: usize) -> String {
    format!("{row:08}").repeat(20)
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|it| it == extension)).collect();
    found.sort();
    found
}

fn flip(path: &Path, at: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

/// The rows as far as the engine gives any; the error where it does not.
fn read_all(engine: &Engine) -> Result<(), StorageError> {
    let newest = ReadOptions::at(ts(9));
    let storage = |error| match error {
        ReadConflict::Storage(error) => error,
        other => panic!("{other}"),
    };
    let found = engine.scan(&span("m", "n"), &newest, ScanLimits::default()).map_err(storage)?;
    assert_eq!(found.rows.len(), ROWS);
    for row in 0..ROWS {
        assert_eq!(found.rows.get(row), (name(row).as_bytes(), value(row).as_bytes()));
        let (found, _) = engine.get(name(row).as_bytes(), &newest).map_err(storage)?.expect("the row is there");
        assert_eq!(&found[..], value(row).as_bytes());
    }
    Ok(())
}

#[test]
fn damaged_state_files_are_fenced() {
    let (dir, engine) = fresh();
    for row in 0..ROWS {
        put(&engine, &name(row), 1, Some(&value(row)));
    }
    engine.flush().unwrap();
    drop(engine);
    let sst = |dir: &Path| {
        let by_size = |path: &PathBuf| std::fs::metadata(path).unwrap().len();
        files(&dir.join("state"), "sst").into_iter().max_by_key(by_size).unwrap()
    };
    let length = std::fs::metadata(sst(dir.path())).unwrap().len();
    let mut fenced = 0;
    for step in 0..40 {
        let copy = crash(&dir);
        let at = length * step / 40 + step;
        flip(&sst(copy.path()), at);
        let engine = Engine::open(copy.path(), &storage::EngineConfig::small());
        // Some bytes mean nothing: padding, properties nobody asks for.
        if let Err(error) = engine.and_then(|engine| read_all(&engine)) {
            assert!(error.is_corruption(), "byte {at} of {length}: {error}");
            fenced += 1;
        }
    }
    assert!(fenced >= 30, "{fenced} of 40 were noticed");
    for manifest in std::fs::read_dir(dir.path().join("state")).unwrap() {
        let path = manifest.unwrap().path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("MANIFEST")) {
            flip(&path, 100);
        }
    }
    let refused = Engine::open(dir.path(), &storage::EngineConfig::small()).err().expect("refused");
    assert!(refused.is_corruption(), "{refused}");
}

#[test]
fn damaged_logs_are_suspect_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let (log, _) = LogStore::open(&LogStoreConfig::new(&live)).unwrap();
    for index in 1..=200 {
        let data = Bytes::from(vec![index as u8; 100]);
        let entries = vec![LogEntry { index, data }];
        log.submit(LogOp::Append { range_id: RangeId::new(1), entries }, ignore());
    }
    log.close();
    drop(log);
    let wal = files(&live.join("rocks"), "log").pop().unwrap();
    let length = std::fs::metadata(&wal).unwrap().len();
    for step in 0..20 {
        let copy = dir.path().join(format!("copy{step}"));
        copy_dir(&live, &copy).unwrap();
        flip(&copy.join("rocks").join(wal.file_name().unwrap()), length * step / 20 + step);
        match LogStore::open(&LogStoreConfig::new(&copy)) {
            Ok((_, found)) => {
                assert!(matches!(found.health, LogHealth::Suspect { .. }), "step {step}: {:?}", found.health);
            }
            Err(error) => assert!(error.is_corruption(), "step {step}: {error}"),
        }
    }
}
