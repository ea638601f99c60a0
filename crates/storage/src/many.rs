//! Many keys at once, in their order, in one pass of an iterator: to the next key a few steps cost a tenth of what a
//! search does.

use hlc::Timestamp;
use keys::{Key, Span};

use crate::engine::Engine;
use crate::newest::Newest;
use crate::read::{
    Found, ReadConflict, ReadOptions, STEPS_BEFORE_SEEK, answer_of, decode_version, find_visible, version_value,
};
use crate::readers::Reader;
use crate::{KvRows, StorageError, version_key};

impl Engine {
    /// The rows of `keys` that a reader sees, and how many of the keys were looked at: past `max_bytes` it stops. The
    /// keys are in order, none twice.
    pub fn get_sorted(
        &self,
        keys: &[Key],
        options: &ReadOptions<'_>,
        max_bytes: usize,
    ) -> Result<(KvRows, usize), ReadConflict> {
        debug_assert!(keys.is_sorted_by(|a, b| a < b), "keys in order");
        let mut rows = KvRows::new();
        let mut looked_at = 0;
        let Some(span) = Span::hull(keys) else { return Ok((rows, 0)) };
        let inner = &*self.inner;
        let index = inner.locks.read();
        // An iterator made before the index is let go of sees nothing provisional of the other keys: *locks-indexed*.
        let locked: Vec<&Key> = match index.overlaps(&span) {
            false => Vec::new(),
            true => keys.iter().filter(|key| index.contains(key.as_bytes())).collect(),
        };
        // Before the index is let go of: later the newest may be provisional.
        let newest: Vec<Option<Newest>> = keys.iter().map(|key| inner.newest.get(key.as_bytes()).ok()).collect();
        let mut pass = Pass::new(inner.ordered_reader()?);
        drop(index);
        for (key, newest) in keys.iter().zip(newest) {
            if rows.byte_size() > max_bytes {
                break;
            }
            looked_at += 1;
            let is_locked = locked.binary_search(&key).is_ok();
            let known = match newest.filter(|_| !is_locked) {
                Some(newest) => answer_of(&newest, key.as_bytes(), options)?,
                None => None,
            };
            let value = if let Some(answer) = known {
                answer.map(|(value, _)| value)
            } else if is_locked {
                self.get(key.as_bytes(), options)?.map(|(value, _)| value)
            } else {
                match pass.find(key.as_bytes(), options, &mut rows) {
                    Err(ReadConflict::Storage(error)) if error.is_skipping() => {
                        pass.restart();
                        self.get(key.as_bytes(), options)?.map(|(value, _)| value)
                    }
                    outcome => {
                        outcome?;
                        None
                    }
                }
            };
            if let Some(value) = value {
                rows.push(key.as_bytes(), &value);
            }
        }
        rows.freeze();
        Ok((rows, looked_at))
    }

    /// The timestamp of the newest version that any of the keys has, committed or provisional, value or tombstone. The
    /// keys are in order.
    pub fn latest_version_among<'k>(
        &self,
        keys: impl Iterator<Item = &'k [u8]>,
    ) -> Result<Option<Timestamp>, StorageError> {
        let mut newest = None;
        let mut pass = Pass::new(self.inner.ordered_reader()?);
        for key in keys {
            let found = match pass.approach(key, Timestamp::MAX) {
                Err(error) if error.is_skipping() => {
                    pass.restart();
                    self.latest_version_ts(key)?
                }
                found => found?,
            };
            newest = newest.max(found);
        }
        Ok(newest)
    }

    /// Whether anything in the span may be held provisionally.
    #[must_use]
    pub fn may_have_locks(&self, span: &Span) -> bool {
        self.inner.locks.read().overlaps(span)
    }
}

/// An iterator on its way through keys in order.
struct Pass<'e> {
    versions: Reader<'e>,
    started: bool,
}

impl<'e> Pass<'e> {
    fn new(versions: Reader<'e>) -> Self {
        Self { versions, started: false }
    }

    /// The next key is searched for.
    fn restart(&mut self) {
        self.started = false;
    }

    /// Goes to the first version of a key that is not above `limit`, or to one before it of the same key; its time, if
    /// there is one.
    fn approach(&mut self, key: &[u8], limit: Timestamp) -> Result<Option<Timestamp>, StorageError> {
        if !self.started {
            self.versions.seek(version_key::encode(key, limit));
            self.started = true;
        }
        let mut steps = 0;
        while self.versions.key().is_some_and(|raw| raw < key) {
            if steps == STEPS_BEFORE_SEEK {
                self.versions.seek(version_key::encode(key, limit));
                break;
            }
            self.versions.next();
            steps += 1;
        }
        let Some(raw) = self.versions.key() else {
            self.versions.status()?;
            return Ok(None);
        };
        let (user_key, ts) = decode_version(raw)?;
        Ok((user_key == key).then_some(ts))
    }

    /// Adds what a reader sees of a key.
    fn find(&mut self, key: &[u8], options: &ReadOptions<'_>, rows: &mut KvRows) -> Result<(), ReadConflict> {
        if self.approach(key, options.limit())?.is_none() {
            return Ok(());
        }
        match find_visible(&mut self.versions, key, options, None)? {
            Found::Nothing => {}
            Found::Uncertain(existing) => return Err(ReadConflict::Uncertain { existing, key: Key::from(key) }),
            Found::Version(_) => {
                let stored = self.versions.value().expect("the iterator stands on a version");
                if let Some(value) = version_value(stored)? {
                    rows.push(key, value);
                }
            }
        }
        Ok(())
    }
}
