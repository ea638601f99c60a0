//! Writing: one line at a time, files of a bounded size, and what happens when the disk is full.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use parking_lot::Mutex;

use crate::{
    chain::{CURRENT, Link, START, files, hex, name_of, seal, unseal},
    event::{Event, Kind, Line},
};

/// Events that wait to be written while nothing can be, at most.
const WAITING_MAX: usize = 10_000;

/// What becomes of events that cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// They wait, and until they are written nothing more is done that would have to be told.
    #[default]
    Block,
    /// They are counted.
    Drop,
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub dir: PathBuf,
    pub node: u64,
    /// A file that has grown to this is left, and the next one begun.
    pub file_bytes_max: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: its last line is none of an audit log; move the file away", .0.display())]
    Damaged(PathBuf),
    #[error("{}: another process writes there", .0.display())]
    InUse(PathBuf),
}

impl AuditError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |error| Self::Io { path, error }
    }
}

/// The log of a node, shared by its sessions.
#[derive(Debug)]
pub struct AuditLog {
    settings: Settings,
    state: Mutex<State>,
    is_failing: AtomicBool,
    written: AtomicU64,
    dropped: AtomicU64,
    /// Held as long as the log is open.
    _lock: File,
}

#[derive(Debug)]
struct State {
    file: Option<File>,
    /// The number of the file's first line.
    first: u64,
    /// Of whole lines in the file.
    bytes: u64,
    seq: u64,
    link: Link,
    waiting: Vec<Line>,
    lost: u64,
    /// Bytes that were taken away when the log was opened, to be told.
    torn: u64,
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

impl AuditLog {
    /// Opens the log, and goes on where it has ended.
    ///
    /// # Errors
    /// When it cannot be read or written, or is not what this has written.
    pub fn open(settings: Settings) -> Result<Self, AuditError> {
        let dir = &settings.dir;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(AuditError::at(dir))?;
        let lock_path = dir.join("lock");
        let lock = options().open(&lock_path).map_err(AuditError::at(&lock_path))?;
        lock.try_lock().map_err(|_| AuditError::InUse(dir.clone()))?;
        let mut state =
            State { file: None, first: 1, bytes: 0, seq: 0, link: START, waiting: Vec::new(), lost: 0, torn: 0 };
        let current = dir.join(CURRENT);
        for path in files(dir).map_err(AuditError::at(dir))?.iter().rev() {
            let bytes = fs::read(path).map_err(AuditError::at(path))?;
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            if *path == current {
                state.torn = (bytes.len() - whole) as u64;
                state.bytes = whole as u64;
            }
            let mut lines = bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let Some(first) = lines.next() else { continue };
            let last = lines.next_back().unwrap_or(first);
            let end = |line: &[u8]| Some((seq_of(line)?, unseal(std::str::from_utf8(line).ok()?)?.1));
            let damaged = || AuditError::Damaged(path.clone());
            (state.seq, state.link) = end(last).ok_or_else(damaged)?;
            state.first = match *path == current {
                true => end(first).ok_or_else(damaged)?.0,
                false => state.seq + 1,
            };
            break;
        }
        let log = Self {
            settings,
            state: Mutex::new(state),
            is_failing: AtomicBool::new(false),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            _lock: lock,
        };
        log.state.lock().make_ready(&log.settings).map_err(AuditError::at(&current))?;
        Ok(log)
    }

    /// Tells of something that has happened, or is about to.
    pub fn record(&self, event: &Event<'_>, on_failure: OnFailure) {
        let line = Line::of(event, now());
        let mut state = self.state.lock();
        // They come first, whatever happens to this one.
        if !state.waiting.is_empty() {
            self.write_waiting(&mut state);
        }
        if on_failure == OnFailure::Block && state.waiting.len() < WAITING_MAX {
            state.waiting.push(line);
            if state.waiting.len() == 1 {
                self.write_waiting(&mut state);
            }
            return;
        }
        let is_written = state.waiting.is_empty() && state.write(&self.settings, line).is_ok();
        self.is_failing.store(!is_written, Relaxed);
        if is_written {
            self.written.fetch_add(1, Relaxed);
        } else {
            state.lost += 1;
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    fn write_waiting(&self, state: &mut State) {
        let mut written = 0;
        let mut is_failing = false;
        while let Some(line) = state.waiting.get(written).cloned() {
            if state.write(&self.settings, line).is_err() {
                is_failing = true;
                break;
            }
            written += 1;
        }
        state.waiting.drain(..written);
        self.written.fetch_add(written as u64, Relaxed);
        if !is_failing && state.lost > 0 {
            is_failing = state.make_ready(&self.settings).is_err();
        }
        self.is_failing.store(is_failing, Relaxed);
    }

    /// Whether something may be done that would have to be told: not while earlier events wait.
    #[must_use]
    pub fn may_go_on(&self, on_failure: OnFailure) -> bool {
        if !self.is_failing.load(Relaxed) || on_failure == OnFailure::Drop {
            return true;
        }
        self.write_waiting(&mut self.state.lock());
        !self.is_failing.load(Relaxed)
    }

    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    options
}

fn seq_of(line: &[u8]) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(line).ok()?.get("seq")?.as_u64()
}

impl State {
    /// Before a line: the file ends with a whole line, and events that are due before it are written.
    fn make_ready(&mut self, settings: &Settings) -> io::Result<()> {
        let current = settings.dir.join(CURRENT);
        if self.file.is_some() && self.bytes >= settings.file_bytes_max {
            self.leave(&settings.dir)?;
        }
        if self.file.is_none() {
            let file = options().open(&current)?;
            match file.metadata()?.len() {
                // The file was moved or removed: the next line begins a new one.
                0 => self.bytes = 0,
                length if length < self.bytes => {
                    return Err(io::Error::other("it was made shorter by another; move it away"));
                }
                // What was being written when it failed, or when the process ended.
                _ => file.set_len(self.bytes)?,
            }
            self.file = Some(file);
        }
        if self.bytes == 0 {
            self.first = self.seq + 1;
            let previous = Some(hex(&self.link));
            self.append(settings, Line { event: Some(Kind::Opened), previous, ..Line::default() })?;
        }
        if self.torn > 0 {
            self.append(settings, Line { event: Some(Kind::Torn), count: Some(self.torn), ..Line::default() })?;
            self.torn = 0;
        }
        // They came after those that wait.
        if self.lost > 0 && self.waiting.is_empty() {
            self.append(settings, Line { event: Some(Kind::Lost), count: Some(self.lost), ..Line::default() })?;
            self.lost = 0;
        }
        Ok(())
    }

    fn write(&mut self, settings: &Settings, line: Line) -> io::Result<()> {
        self.make_ready(settings)?;
        self.append(settings, line)
    }

    fn append(&mut self, settings: &Settings, mut line: Line) -> io::Result<()> {
        line.seq = self.seq + 1;
        line.node = settings.node;
        if line.time.is_empty() {
            line.time = now();
        }
        let text = serde_json::to_string(&line).map_err(io::Error::other)?;
        let (mut text, link) = seal(&self.link, &text);
        text.push('\n');
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        if let Err(error) = file.write_all(text.as_bytes()) {
            // A part of it may be there: the file is opened anew, and cut.
            self.file = None;
            return Err(error);
        }
        self.seq = line.seq;
        self.link = link;
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// The file is as long as it should become.
    fn leave(&mut self, dir: &Path) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.sync_all()?;
        }
        let current = dir.join(CURRENT);
        match fs::rename(&current, dir.join(name_of(self.first))) {
            Ok(()) => (self.file, self.bytes) = (None, 0),
            // The file was moved or removed. Where the directory is gone, this fails as well.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (self.file, self.bytes) = (Some(options().create_new(true).open(&current)?), 0);
            }
            Err(error) => return Err(error),
        }
        File::open(dir)?.sync_all()
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        if let Some(file) = &self.state.get_mut().file {
            // An error while closing has no one to go to.
            let _synced = file.sync_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::verify::{Fault, Mark, verify, verify_with};

    fn settings(dir: &Path) -> Settings {
        Settings { dir: dir.to_owned(), node: 3, file_bytes_max: 1 << 20 }
    }

    fn event(statement: &str) -> Event<'_> {
        Event {
            role: Some("r"),
            address: Some("127.0.0.1:5".into()),
            statement: Some(statement),
            ..Event::new(Kind::Ddl, 7, "u", "d")
        }
    }

    fn record_under(log: &AuditLog, count: usize, on_failure: OnFailure) {
        for at in 0..count {
            log.record(&event(&format!("CREATE TABLE \"a\nb{at}\" ()")), on_failure);
        }
    }

    fn record(log: &AuditLog, count: usize) {
        record_under(log, count, OnFailure::Block);
    }

    #[test]
    fn lines_are_chained_across_starts_and_files() {
        let dir = TempDir::new().unwrap();
        for _ in 0..3 {
            let log = AuditLog::open(Settings { file_bytes_max: 2000, ..settings(dir.path()) }).unwrap();
            record(&log, 20);
            assert_eq!((log.written(), log.dropped()), (20, 0));
        }
        let found = files(dir.path()).unwrap();
        assert!(found.len() > 5, "{found:?}");
        let verified = verify(dir.path()).unwrap();
        assert_eq!((verified.files, verified.first, verified.torn), (found.len(), 1, 0));
        assert_eq!(verified.last, 60 + found.len() as u64, "each file begins with a line of its own");
        // Old files may be taken away, others not.
        fs::remove_file(&found[0]).unwrap();
        assert!(verify(dir.path()).unwrap().first > 1);
        fs::remove_file(&found[2]).unwrap();
        assert!(matches!(verify(dir.path()), Err(Fault::Broken { line: 1, .. })));
    }

    #[test]
    fn whatever_is_changed_is_found() {
        let dir = TempDir::new().unwrap();
        record(&AuditLog::open(settings(dir.path())).unwrap(), 5);
        let path = dir.path().join(CURRENT);
        let good = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = good.lines().collect();
        let without = |at: usize| [&lines[..at], &lines[at + 1..]].concat().join("\n") + "\n";
        let swapped = [lines[0], lines[2], lines[1], lines[3], lines[4], lines[5]].join("\n") + "\n";
        for (bad, line) in [
            (good.replace("nb2", "nb9"), 4),
            (good.replacen("\"node\":3", "\"node\":4", 1), 1),
            (without(0), 1),
            (without(3), 4),
            (swapped, 2),
            (good.replacen(lines[2], &format!("{}\n{}", lines[2], lines[2]), 1), 4),
            (good.replacen(lines[2], "", 1), 3),
            (good.replacen(lines[2], "{}", 1), 3),
        ] {
            fs::write(&path, &bad).unwrap();
            match verify(dir.path()) {
                Err(Fault::Broken { line: found, .. }) => assert_eq!(found, line, "{bad}"),
                other => panic!("{other:?}: {bad}"),
            }
        }
        for end in 0..good.len() {
            fs::write(&path, &good[..end]).unwrap();
            assert!(verify(dir.path()).is_ok(), "the end of a log may be missing");
        }
    }

    /// A log that was chained anew, or has lost its end, is not the one of which a line was kept.
    #[test]
    fn a_line_that_is_known_is_expected() {
        let dir = TempDir::new().unwrap();
        let log = AuditLog::open(Settings { file_bytes_max: 700, ..settings(dir.path()) }).unwrap();
        record(&log, 2);
        let early = verify(dir.path()).unwrap().end().unwrap();
        record(&log, 18);
        drop(log);
        let end = verify(dir.path()).unwrap().end().unwrap();
        assert_eq!(end.to_string().parse::<Mark>().unwrap(), end);
        for mark in [early, end] {
            assert_eq!(verify_with(dir.path(), Some(mark)).unwrap().end(), Some(end));
        }
        for text in ["", "1", "1:", "0:", ":00", "1:zz", format!("0:{}", hex(&START)).as_str(), format!("x{end}").as_str()] {
            assert!(text.parse::<Mark>().is_err(), "{text}");
        }
        let other: Mark = format!("5:{}", hex(&START)).parse().unwrap();
        assert!(matches!(verify_with(dir.path(), Some(other)), Err(Fault::Broken { .. })));
        let found = files(dir.path()).unwrap();
        fs::remove_file(found.last().unwrap()).unwrap();
        assert!(verify(dir.path()).is_ok());
        assert!(matches!(verify_with(dir.path(), Some(end)), Err(Fault::EndsBefore(_))));
        for file in &found[..4] {
            fs::remove_file(file).unwrap();
        }
        assert!(matches!(verify_with(dir.path(), Some(early)), Err(Fault::Gone(_))));
    }

    #[test]
    fn a_torn_line_is_taken_away_and_told() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join(CURRENT);
        record(&AuditLog::open(settings(dir.path())).unwrap(), 3);
        let good = fs::read(&path).unwrap();
        for end in [1, good.len() / 2, good.len() - 1] {
            fs::write(&path, &good[..end]).unwrap();
            assert!(verify(dir.path()).unwrap().torn > 0);
            record(&AuditLog::open(settings(dir.path())).unwrap(), 1);
            assert_eq!(verify(dir.path()).unwrap().torn, 0);
            assert!(fs::read_to_string(&path).unwrap().contains("\"event\":\"torn\""), "{end}");
        }
    }

    #[test]
    fn one_process_writes() {
        let dir = TempDir::new().unwrap();
        let _log = AuditLog::open(settings(dir.path())).unwrap();
        assert!(matches!(AuditLog::open(settings(dir.path())), Err(AuditError::InUse(_))));
    }

    /// Stands for a full disk: no file can be opened for writing.
    fn fail(log: &AuditLog) {
        log.state.lock().file = None;
        let path = log.settings.dir.join(CURRENT);
        fs::rename(&path, log.settings.dir.join("away")).unwrap();
        fs::create_dir(path).unwrap();
    }

    fn mend(log: &AuditLog) {
        let path = log.settings.dir.join(CURRENT);
        fs::remove_dir(&path).unwrap();
        fs::rename(log.settings.dir.join("away"), path).unwrap();
    }

    /// A file that is moved or removed takes its lines along; logging goes on in a new one.
    #[test]
    fn a_file_that_was_taken_away_is_begun_anew() {
        for (file_bytes_max, reopens) in [(1, false), (1 << 20, true)] {
            let dir = TempDir::new().unwrap();
            let log = AuditLog::open(Settings { file_bytes_max, ..settings(dir.path()) }).unwrap();
            record(&log, 2);
            fs::remove_file(dir.path().join(CURRENT)).unwrap();
            if reopens {
                log.state.lock().file = None;
            }
            record(&log, 2);
            assert!(log.may_go_on(OnFailure::Block));
            assert_eq!(log.written(), 4);
            let text = fs::read_to_string(dir.path().join(CURRENT)).unwrap();
            assert!(text.contains("\"event\":\"opened\""), "{text}");
        }
    }

    #[test]
    fn a_file_that_was_made_shorter_is_not_filled_up() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join(CURRENT);
        let log = AuditLog::open(settings(dir.path())).unwrap();
        record(&log, 2);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(10).unwrap();
        log.state.lock().file = None;
        record(&log, 1);
        assert!(!log.may_go_on(OnFailure::Block));
        assert_eq!(fs::read(&path).unwrap().len(), 10);
        fs::remove_file(&path).unwrap();
        assert!(log.may_go_on(OnFailure::Block));
        assert_eq!((log.written(), verify(dir.path()).unwrap().last), (3, 5));
    }

    /// With either policy, lines are in the order of what they tell of.
    #[test]
    fn what_waits_comes_first() {
        let dir = TempDir::new().unwrap();
        let log = AuditLog::open(Settings { file_bytes_max: 1 << 30, ..settings(dir.path()) }).unwrap();
        fail(&log);
        record(&log, WAITING_MAX + 2);
        assert_eq!((log.written(), log.dropped()), (0, 2));
        record_under(&log, 1, OnFailure::Drop);
        assert_eq!((log.written(), log.dropped()), (0, 3));
        mend(&log);
        record_under(&log, 1, OnFailure::Drop);
        assert_eq!((log.written(), log.dropped()), (WAITING_MAX as u64 + 1, 3));
        let text = fs::read_to_string(dir.path().join(CURRENT)).unwrap();
        let lost = text.lines().position(|line| line.contains("\"event\":\"lost\"")).unwrap();
        assert_eq!((lost, text.lines().count()), (WAITING_MAX + 1, WAITING_MAX + 3));
        assert!(text.lines().nth(lost).unwrap().contains("\"count\":3"));
        verify(dir.path()).unwrap();
    }

    #[test]
    fn what_cannot_be_written_waits_or_is_counted() {
        for on_failure in [OnFailure::Block, OnFailure::Drop] {
            let dir = TempDir::new().unwrap();
            let log = AuditLog::open(settings(dir.path())).unwrap();
            record_under(&log, 2, on_failure);
            fail(&log);
            record_under(&log, 3, on_failure);
            assert_eq!(log.may_go_on(on_failure), on_failure == OnFailure::Drop);
            mend(&log);
            assert!(log.may_go_on(on_failure));
            record_under(&log, 1, on_failure);
            let (written, dropped, told) = match on_failure {
                OnFailure::Block => (6, 0, false),
                OnFailure::Drop => (3, 3, true),
            };
            assert_eq!((log.written(), log.dropped()), (written, dropped));
            let text = fs::read_to_string(dir.path().join(CURRENT)).unwrap();
            assert_eq!(text.contains("\"event\":\"lost\"") && text.contains("\"count\":3"), told);
            assert_eq!(verify(dir.path()).unwrap().torn, 0);
        }
    }
}
