//! The data keys at hand: which one new files get, when it is replaced, and when old ones go.
//!
//! **Invariants**
//! - *key-before-file*: a new key becomes the active one after KEYS with it is durable.
//! - *keys-in-use-stay*: a key that is not the active one is dropped when no open file has it and two looks at all files, one
//!   after the other, have found none that names it, nor a third after the removal of files was made durable. A file that is
//!   begun holds its key until it is closed, and names it from its first byte; none is begun with a key that is not active.
//!   Where a header cannot be read none is dropped.
//!
//! Lock order: `tending`, then `ring`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};

use super::cipher::{DataKey, DataKeyId, FileCipher, Header, NoRandomNumbers};
use super::registry::{KEYS_FILE, KeptKey, Registry};
use super::store_key::StoreKey;
use super::usage::{Usage, sync_disks};
use crate::StorageError;
use crate::format::write_file_durably;

/// How often all files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// SST files whose key is older than so many times the age at which keys are replaced are written anew.
const AGES_MAX: u32 = 5;
/// What is written down of a key's use is ahead of it by this part of what is allowed, so that it need not be written often.
const BOUND_PARTS: u64 = 16;

/// When a data key is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    pub after: Duration,
    pub after_bytes: u64,
}

impl Default for Rotation {
    /// A terabyte under one key is far from where blocks of its stream could be told from random ones.
    fn default() -> Self {
        Self { after: Duration::from_secs(7 * 24 * 3600), after_bytes: 1 << 40 }
    }
}

/// What a store's encryption is like at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncryptionMetrics {
    pub data_keys: u64,
    /// Since the start.
    pub rotations: u64,
    /// Written with the active data key.
    pub active_key_bytes: u64,
    /// Seconds since the epoch.
    pub active_key_created: u64,
    /// In files that are still in the clear, as of the last look.
    pub plaintext_bytes: u64,
}

#[derive(Clone)]
struct Ring {
    active: Arc<DataKey>,
    all: BTreeMap<DataKeyId, Arc<DataKey>>,
}

#[derive(Default)]
struct Tending {
    looked_at: Option<SystemTime>,
    /// Named by no file at the last look.
    unused: BTreeSet<DataKeyId>,
    /// What KEYS says was written with the active key.
    bound: u64,
}

pub(super) struct Keyring {
    dir: PathBuf,
    store_key: StoreKey,
    rotation: Rotation,
    ring: RwLock<Ring>,
    tending: Mutex<Tending>,
    rotations: AtomicU64,
    plaintext_bytes: AtomicU64,
    /// SST files that are to be written anew, as of the last look.
    stale: AtomicU64,
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn no_random_numbers(dir: &Path) -> impl Fn(NoRandomNumbers) -> StorageError {
    move |error| StorageError::io("make keys for", dir, error.into())
}

impl Keyring {
    /// For a store that has no KEYS yet.
    pub fn create(dir: &Path, store_key: StoreKey, rotation: Rotation, now: SystemTime) -> Result<Self, StorageError> {
        let key = DataKey::generate(seconds(now)).map_err(no_random_numbers(dir))?;
        let keyring = Self::of(dir, store_key, rotation, Arc::new(key), Vec::new());
        let (ring, mut tending) = (keyring.ring.read().clone(), Tending::default());
        keyring.save(&ring, &mut tending)?;
        keyring.tending.lock().bound = tending.bound;
        Ok(keyring)
    }

    /// What KEYS holds, sealed with `store_key`.
    pub fn load(dir: &Path, bytes: &[u8], store_key: StoreKey, rotation: Rotation) -> Result<Self, StorageError> {
        let registry = Registry::open(bytes, &store_key)?;
        Self::kept(dir, registry, store_key, rotation)
    }

    /// What KEYS holds, sealed with `old`, from now on with `new`. With a new data key: who had the old store key may know
    /// the others.
    pub fn reseal(
        dir: &Path,
        bytes: &[u8],
        old: &StoreKey,
        new: StoreKey,
        rotation: Rotation,
        now: SystemTime,
    ) -> Result<Self, StorageError> {
        let registry = Registry::open(bytes, old)?;
        let keyring = Self::kept(dir, registry, new, rotation)?;
        keyring.rotate(&mut keyring.tending.lock(), now)?;
        tracing::info!(from = %old.id(), to = %keyring.store_key.id(), "the store has another key");
        Ok(keyring)
    }

    fn kept(dir: &Path, registry: Registry, store_key: StoreKey, rotation: Rotation) -> Result<Self, StorageError> {
        let mut active = None;
        let mut others = Vec::new();
        for kept in registry.keys {
            let key = Arc::new(DataKey::new(kept.id, kept.created, kept.secret, kept.written));
            if kept.id == registry.active { active = Some(key) } else { others.push(key) }
        }
        let active = active.ok_or_else(|| StorageError::corruption("the KEYS file names an active key that it does not have"))?;
        Ok(Self::of(dir, store_key, rotation, active, others))
    }

    fn of(dir: &Path, store_key: StoreKey, rotation: Rotation, active: Arc<DataKey>, others: Vec<Arc<DataKey>>) -> Self {
        let bound = active.written.load(Ordering::Relaxed);
        let all = others.into_iter().chain([active.clone()]).map(|key| (key.id, key)).collect();
        Self {
            dir: dir.to_owned(),
            store_key,
            rotation,
            ring: RwLock::new(Ring { active, all }),
            tending: Mutex::new(Tending { bound, ..Tending::default() }),
            rotations: AtomicU64::new(0),
            plaintext_bytes: AtomicU64::new(0),
            stale: AtomicU64::new(0),
        }
    }

    /// Writes KEYS, durably.
    fn save(&self, ring: &Ring, tending: &mut Tending) -> Result<(), StorageError> {
        let mut bound = 0;
        let kept = ring.all.values().map(|key| {
            let mut written = key.written.load(Ordering::Relaxed);
            if key.id == ring.active.id {
                written += self.rotation.after_bytes / BOUND_PARTS;
                bound = written;
            }
            KeptKey { id: key.id, created: key.created, secret: key.secret.clone(), written }
        });
        let registry = Registry { keys: kept.collect(), active: ring.active.id };
        let sealed = registry.seal(&self.store_key).map_err(no_random_numbers(&self.dir))?;
        fail::fail_point!("keyring::before_save", |_| Err(StorageError::Rocks { what: "stopped at keyring::before_save".into() }));
        write_file_durably(&self.dir.join(KEYS_FILE), &sealed)?;
        fail::fail_point!("keyring::saved", |_| Err(StorageError::Rocks { what: "stopped at keyring::saved".into() }));
        tending.bound = bound;
        Ok(())
    }

    fn rotate(&self, tending: &mut Tending, now: SystemTime) -> Result<(), StorageError> {
        let key = Arc::new(DataKey::generate(seconds(now)).map_err(no_random_numbers(&self.dir))?);
        let mut next = self.ring.read().clone();
        next.all.insert(key.id, key.clone());
        next.active = key;
        // *key-before-file*
        self.save(&next, tending)?;
        let (id, count) = (next.active.id, next.all.len());
        *self.ring.write() = next;
        self.rotations.fetch_add(1, Ordering::Relaxed);
        tracing::info!(%id, count, "files are encrypted with a new data key");
        Ok(())
    }

    pub fn tend(&self, now: SystemTime) -> Result<(), StorageError> {
        let mut tending = self.tending.lock();
        let active = self.ring.read().active.clone();
        let written = active.written.load(Ordering::Relaxed);
        let age = Duration::from_secs(seconds(now).saturating_sub(active.created));
        drop(active);
        if age >= self.rotation.after || written >= self.rotation.after_bytes {
            self.rotate(&mut tending, now)?;
        } else if written > tending.bound {
            let ring = self.ring.read().clone();
            self.save(&ring, &mut tending)?;
        }
        let due = tending.looked_at.is_none_or(|at| now.duration_since(at).is_ok_and(|since| since >= LOOK_EVERY));
        if due {
            tending.looked_at = Some(now);
            self.look(&mut tending, now)?;
        }
        Ok(())
    }

    /// Looks at all files, and drops the keys that have no use: *keys-in-use-stay*.
    fn look(&self, tending: &mut Tending, now: SystemTime) -> Result<(), StorageError> {
        // Before the files are looked at: a key that no open file has now is on its way to none.
        let idle: BTreeSet<DataKeyId> = {
            let ring = self.ring.read();
            let old = ring.all.values().filter(|key| key.id != ring.active.id && Arc::strong_count(key) == 1);
            old.map(|key| key.id).collect()
        };
        let usage = Usage::read(&self.dir)?;
        self.plaintext_bytes.store(usage.plaintext.bytes, Ordering::Relaxed);
        let is_stale = |id: &Option<DataKeyId>| id.is_none_or(|id| self.is_old(id, now));
        let stale = usage.tables.iter().filter(|(id, _)| is_stale(id)).map(|(_, files)| files).sum();
        self.stale.store(stale, Ordering::Relaxed);
        let unused: BTreeSet<DataKeyId> = if usage.damaged.files > 0 {
            BTreeSet::new()
        } else {
            idle.into_iter().filter(|id| !usage.by_key.contains_key(id)).collect()
        };
        let mut dropped: Vec<DataKeyId> = unused.intersection(&tending.unused).copied().collect();
        tending.unused = unused;
        if dropped.is_empty() {
            return Ok(());
        }
        // A file that was removed may be there again after a power cut, until the disk knows of it.
        sync_disks(&self.dir)?;
        let usage = Usage::read(&self.dir)?;
        dropped.retain(|id| usage.damaged.files == 0 && !usage.by_key.contains_key(id));
        if dropped.is_empty() {
            return Ok(());
        }
        let mut next = self.ring.read().clone();
        next.all.retain(|id, _| !dropped.contains(id));
        self.save(&next, tending)?;
        let (count, left) = (dropped.len(), next.all.len());
        *self.ring.write() = next;
        tracing::info!(count, left, "data keys that no file names were dropped");
        Ok(())
    }

    /// Whether files of a key are to be written anew.
    fn is_old(&self, id: DataKeyId, now: SystemTime) -> bool {
        let ring = self.ring.read();
        let age = |key: &DataKey| Duration::from_secs(seconds(now).saturating_sub(key.created));
        id != ring.active.id && ring.all.get(&id).is_some_and(|key| age(key) >= self.rotation.after.saturating_mul(AGES_MAX))
    }

    /// Whether a file is to be written anew, by its header.
    pub fn is_stale(&self, header: Header, now: SystemTime) -> bool {
        match header {
            Header::Plain => true,
            Header::Unfinished => false,
            Header::Encrypted { key, .. } => self.is_old(key, now),
        }
    }

    /// Whether the last look has found files that are to be written anew.
    pub fn has_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed) > 0
    }

    pub fn active(&self) -> DataKeyId {
        self.ring.read().active.id
    }

    /// The cipher of a file that is begun.
    pub fn begin(&self) -> Result<FileCipher, NoRandomNumbers> {
        let active = self.ring.read().active.clone();
        FileCipher::begin(active)
    }

    /// The cipher of a file with this header; `None` for one that is not encrypted.
    ///
    /// # Errors
    /// When there is no such data key.
    pub fn cipher_of(&self, header: Header) -> Result<Option<FileCipher>, String> {
        match header {
            Header::Plain | Header::Unfinished => Ok(None),
            Header::Encrypted { key: id, vector } => match self.ring.read().all.get(&id) {
                Some(key) => Ok(Some(FileCipher::of(key.clone(), vector))),
                None => Err(format!("it is encrypted with data key {id}, which {KEYS_FILE} does not have")),
            },
        }
    }

    pub fn metrics(&self) -> EncryptionMetrics {
        let ring = self.ring.read();
        EncryptionMetrics {
            data_keys: ring.all.len() as u64,
            rotations: self.rotations.load(Ordering::Relaxed),
            active_key_bytes: ring.active.written.load(Ordering::Relaxed),
            active_key_created: ring.active.created,
            plaintext_bytes: self.plaintext_bytes.load(Ordering::Relaxed),
        }
    }
}
