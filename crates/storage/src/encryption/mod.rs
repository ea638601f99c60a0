//! The problem: whoever gets hold of a disk, or of a copy of one, must not find rows on it.
//!
//! The idea: every file of the store that may have data in it is encrypted as a whole, with a *data key* that the file's
//! header names. The data keys lie in one file, KEYS, which is sealed with the *store key*; that one comes from outside at each
//! start and is not kept. Data keys are replaced by age and by size: files that are begun later have the new one.
//!
//! ```text
//! --encryption-key-file ──▶ store key ──▶ KEYS: data keys             store_key, registry, keyring
//!                                            │ one for each file
//!  RocksDB ──▶ cpp/encrypted_fs.cc ──▶ env ──┤
//!  spool, MARKER ──▶ files ──────────────────┴──▶ header, AES-256-CTR    cipher
//! ```
//!
//! A file without a header was written in the clear. It can be read, and is written anew before long; see `rewrite`. So a
//! store can be encrypted that was not from its beginning.
//!
//! **Invariants**
//! - *key-before-file*: see `registry`. *vector-once*: see `cipher`.
//! - *keys-in-use-stay*: a data key is dropped only when no file names it; see `keyring`.
//! - *no-data-in-the-clear*: LOCK, FORMAT, CLOCK, WATERMARK and KEYS are the files of a store that are not encrypted: they
//!   have numbers in them and no keys or values of rows.
//!
//! Deliberately left out: counter mode keeps secrets, it does not show who has changed a file. RocksDB's checksums find
//! damage, not malice.

mod cipher;
mod env;
mod files;
mod keyring;
mod registry;
mod rewrite;
mod store_key;
mod usage;

pub use cipher::DataKeyId;
pub use files::StoreFile;
pub use keyring::{EncryptionMetrics, Rotation};
pub use store_key::{KeySource, StoreKeyId};
pub use usage::{FileBytes, Usage};

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use registry::{Clear, KEYS_FILE};

use self::keyring::Keyring;
use crate::StorageError;

/// What a store is encrypted with, if it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncryptionConfig {
    pub key: Option<KeySource>,
    /// The key that the store had until now, where `key` is to take its place.
    pub old_key: Option<KeySource>,
    pub rotation: Rotation,
}

/// How the files of a store are read and written: as they are, or encrypted. Clones share it.
#[derive(Clone, Default)]
pub struct StoreFiles {
    encryption: Option<Encryption>,
}

#[derive(Clone)]
struct Encryption {
    keyring: Arc<Keyring>,
    env: rocksdb::Env,
}

impl std::fmt::Debug for StoreFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.encryption.is_some() { "encrypted" } else { "plain" })
    }
}

impl StoreFiles {
    /// Nothing is encrypted.
    #[must_use]
    pub fn plain() -> Self {
        Self::default()
    }

    /// Gets the keys of the store in `dir`, or makes the first ones. Where the key that is given is not the store's, nothing
    /// is touched. The caller holds the [`crate::DirLock`] of the directory.
    ///
    /// # Errors
    /// When the store is encrypted and the key is missing or is another, or cannot be had.
    pub fn open(dir: &Path, config: &EncryptionConfig) -> Result<Self, StorageError> {
        let found = read_keys(dir)?;
        let Some(source) = &config.key else {
            return match found {
                None => Ok(Self::plain()),
                Some(bytes) => Err(StorageError::StoreKeyMissing { found: Clear::read(&bytes)?.store_key }),
            };
        };
        let key = source.read()?;
        let now = SystemTime::now();
        let keyring = match found {
            None => Keyring::create(dir, key, config.rotation, now)?,
            Some(bytes) => match (Clear::read(&bytes)?.store_key == key.id(), &config.old_key) {
                (true, _) | (false, None) => Keyring::load(dir, &bytes, key, config.rotation)?,
                (false, Some(old)) => Keyring::reseal(dir, &bytes, &old.read()?, key, config.rotation, now)?,
            },
        };
        let keyring = Arc::new(keyring);
        let env = env::encrypted(keyring.clone())?;
        usage::remove_plain_logs(dir)?;
        usage::remove_old_files(dir, keyring.active())?;
        Ok(Self { encryption: Some(Encryption { keyring, env }) })
    }

    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.encryption.is_some()
    }

    /// Has a RocksDB write its files this way.
    pub(crate) fn configure(&self, options: &mut rocksdb::Options) {
        if let Some(encryption) = &self.encryption {
            options.set_env(&encryption.env);
        }
    }

    fn keyring(&self) -> Option<&Arc<Keyring>> {
        self.encryption.as_ref().map(|encryption| &encryption.keyring)
    }

    /// Replaces the data key if it is due, and drops those that no file names. To be called every second or so.
    ///
    /// # Errors
    /// When KEYS cannot be written: the keys at hand stay.
    pub fn tend(&self, now: SystemTime) -> Result<(), StorageError> {
        self.keyring().map_or(Ok(()), |keyring| keyring.tend(now))
    }

    /// `None` for a store that is not encrypted.
    #[must_use]
    pub fn metrics(&self) -> Option<EncryptionMetrics> {
        self.keyring().map(|keyring| keyring.metrics())
    }
}

fn read_keys(dir: &Path) -> Result<Option<Vec<u8>>, StorageError> {
    let path = dir.join(KEYS_FILE);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::io("read", path, error)),
    }
}

/// What can be said of a store without its key, also while a node uses it.
#[derive(Clone, Debug)]
pub struct EncryptionStatus {
    /// The store key and the active data key; `None` for a store that is not encrypted.
    pub keys: Option<(StoreKeyId, DataKeyId)>,
    pub usage: Usage,
}

impl EncryptionStatus {
    /// # Errors
    /// When the directory cannot be read, or KEYS is damaged.
    pub fn read(dir: &Path) -> Result<Self, StorageError> {
        // An error for what is no directory, which would look like an empty store.
        std::fs::read_dir(dir).map_err(|error| StorageError::io("read", dir, error))?;
        let clear = read_keys(dir)?.map(|bytes| Clear::read(&bytes)).transpose()?;
        Ok(Self { keys: clear.map(|clear| (clear.store_key, clear.active)), usage: Usage::read(dir)? })
    }
}
