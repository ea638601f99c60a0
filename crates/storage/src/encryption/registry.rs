//! The data keys of a store, in a file that the store key seals.
//!
//! ```text
//! DIR/KEYS   | "QKEYS\r\n\x1a" 8 | version u16 | zero 2 | store key id 8 | active data key id 8 | nonce 12 |
//!            | AES-256-GCM of the fields, with all before as associated data | tag 16 | crc32 of all before 4 |
//! fields     2 active id, 4 a list of keys: each fields, 2 id, 4 created, 6 the key, 8 bytes written    (keys::tagged)
//! ```
//!
//! What stands before the fields can be read without the key: it says which key is wanted.
//!
//! **Invariants**
//! - *key-before-file*: a data key is in KEYS, durably, before a file names it.
//! - *whole-or-absent*: KEYS is written to a side file, synced, renamed, and the directory synced.

use keys::tagged::{Malformed, Reader, Writer};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::cipher::{DataKeyId, KEY_BYTES, NoRandomNumbers, random};
use super::store_key::{StoreKey, StoreKeyId};
use crate::StorageError;

pub(super) const KEYS_FILE: &str = "KEYS";
const MAGIC: &[u8; 8] = b"QKEYS\r\n\x1a";
const VERSION: u16 = 1;
const NONCE_BYTES: usize = 12;
/// What stands before the sealed fields.
const CLEAR_BYTES: usize = 40;

/// A data key as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct KeptKey {
    pub id: DataKeyId,
    pub created: u64,
    pub secret: Zeroizing<[u8; KEY_BYTES]>,
    pub written: u64,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Registry {
    pub active: DataKeyId,
    pub keys: Vec<KeptKey>,
}

/// What can be read without the store key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clear {
    pub store_key: StoreKeyId,
    pub active: DataKeyId,
}

fn damaged() -> StorageError {
    StorageError::corruption("the KEYS file is not one of ours or is damaged")
}

fn aead(key: &StoreKey) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key.secret[..]).expect("the key has the cipher's length"))
}

impl Registry {
    pub fn seal(&self, key: &StoreKey) -> Result<Vec<u8>, NoRandomNumbers> {
        Ok(self.seal_with(key, random()?))
    }

    fn seal_with(&self, key: &StoreKey, nonce: [u8; NONCE_BYTES]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 2]);
        bytes.extend(key.id().0);
        bytes.extend(self.active.0.to_le_bytes());
        bytes.extend(nonce);
        let mut fields = Zeroizing::new(self.fields());
        let tag = aead(key)
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&bytes[..]), &mut fields)
            .expect("a registry is not as long as that");
        bytes.extend_from_slice(&fields);
        bytes.extend_from_slice(tag.as_ref());
        let sum = crc32fast::hash(&bytes);
        bytes.extend(sum.to_le_bytes());
        bytes
    }

    fn fields(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.bytes(2, &self.active.0.to_le_bytes());
        writer.list(
            4,
            self.keys.iter().map(|key| {
                let mut writer = Writer::default();
                writer.bytes(2, &key.id.0.to_le_bytes());
                writer.number(4, key.created, 0);
                writer.bytes(6, &key.secret[..]);
                writer.number(8, key.written, 0);
                writer.finish()
            }),
        );
        writer.finish()
    }

    /// # Errors
    /// [`StorageError::StoreKeyWrong`] when it is sealed with another key.
    pub fn open(bytes: &[u8], key: &StoreKey) -> Result<Self, StorageError> {
        let clear = Clear::read(bytes)?;
        if clear.store_key != key.id() {
            return Err(StorageError::StoreKeyWrong { found: clear.store_key, given: key.id() });
        }
        let (head, sealed) = bytes[..bytes.len() - 4].split_at(CLEAR_BYTES);
        let nonce = Nonce::try_assume_unique_for_key(&head[CLEAR_BYTES - NONCE_BYTES..]).map_err(|_| damaged())?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let fields = aead(key).open_in_place(nonce, Aad::from(head), &mut sealed).map_err(|_| damaged())?;
        let registry = Self::from_fields(fields).map_err(|_| damaged())?;
        if registry.keys.iter().any(|key| key.id == registry.active) { Ok(registry) } else { Err(damaged()) }
    }

    fn from_fields(bytes: &[u8]) -> Result<Self, Malformed> {
        fn id(bytes: Option<&[u8]>) -> Result<DataKeyId, Malformed> {
            let bytes = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(Malformed::Bad(2))?;
            Ok(DataKeyId(u64::from_le_bytes(bytes)))
        }
        let mut reader = Reader::new(bytes)?;
        let active = id(reader.bytes(2)?)?;
        let mut keys = Vec::new();
        for item in reader.list(4)? {
            let mut reader = Reader::new(item)?;
            let id = id(reader.bytes(2)?)?;
            let created = reader.number(4, 0)?;
            let secret = reader.bytes(6)?.and_then(|bytes| bytes.try_into().ok()).ok_or(Malformed::Bad(6))?;
            let written = reader.number(8, 0)?;
            reader.finish()?;
            keys.push(KeptKey { id, created, secret: Zeroizing::new(secret), written });
        }
        reader.finish()?;
        Ok(Self { active, keys })
    }
}

impl Clear {
    pub fn read(bytes: &[u8]) -> Result<Self, StorageError> {
        let (body, sum) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
        if u32::from_le_bytes(*sum) != crc32fast::hash(body) {
            return Err(damaged());
        }
        let head = body.first_chunk::<CLEAR_BYTES>().filter(|head| head.starts_with(MAGIC)).ok_or_else(damaged)?;
        let version = u32::from(u16::from_le_bytes([head[8], head[9]]));
        if version != u32::from(VERSION) {
            return Err(StorageError::NewerFormat { found: version, known: VERSION.into() });
        }
        let word = |from: usize| <[u8; 8]>::try_from(&head[from..from + 8]).expect("eight bytes are eight bytes");
        Ok(Self { store_key: StoreKeyId(word(12)), active: DataKeyId(u64::from_le_bytes(word(20))) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> Registry {
        let key = |id, byte| KeptKey { id: DataKeyId(id), created: 300, secret: Zeroizing::new([byte; 32]), written: 9 };
        Registry { active: DataKeyId(2), keys: vec![key(1, 0x11), key(2, 0x22)] }
    }

    fn store_key(byte: u8) -> StoreKey {
        StoreKey::parse(&[byte; 32]).unwrap()
    }

    #[test]
    fn golden_registry() {
        let sealed = registry().seal_with(&store_key(7), [3; 12]);
        assert_eq!(crate::golden::hex(&registry().fields()), GOLDEN_FIELDS);
        assert_eq!(crate::golden::hex(&sealed), GOLDEN_SEALED);
        assert!(Registry::open(&sealed, &store_key(7)).unwrap() == registry());
    }

    const GOLDEN_FIELDS: &str = "02080200000000000000046a34020801000000000000000403f1012c062011111111111111111111111111111111111111111111111111\
         1111111111111108010934020802000000000000000403f1012c0620222222222222222222222222222222222222222222222222222222\
         2222222222080109";
    const GOLDEN_SEALED: &str = "514b4559530d0a1a010000006e2219ac61ddcd52020000000000000003030303030303030303030327f6a1035a285e427a404736df55f7\
         0ded3ce0efb49594742c2f869de5c551a9a0b66c338aeab451df995a149cdff654363502d598932c663d393fb22f3d8069fed73970ada6\
         741149e6b787d0943532d1ace95728416c0fce73f6f551220320e7e012858e4102695eef042b48c13f86b8b74b677e9def2774d4e0ac0f\
         29af70ea24de65dd11515de939";

    #[test]
    fn another_key_is_named_and_damage_is_seen() {
        let sealed = registry().seal(&store_key(7)).unwrap();
        let refused = Registry::open(&sealed, &store_key(8)).err().unwrap();
        assert!(matches!(refused, StorageError::StoreKeyWrong { found, given }
            if found == store_key(7).id() && given == store_key(8).id()));
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            let refused = Registry::open(&damaged, &store_key(7)).err().unwrap();
            assert!(refused.is_corruption(), "byte {at}: {refused}");
            // One that somebody has changed with care is found by the seal.
            let end = damaged.len() - 4;
            let sum = crc32fast::hash(&damaged[..end]);
            damaged[end..].copy_from_slice(&sum.to_le_bytes());
            assert!(Registry::open(&damaged, &store_key(7)).is_err() || at >= end, "byte {at}");
            assert!(Registry::open(&sealed[..at], &store_key(7)).is_err(), "cut at {at}");
        }
        assert!(!sealed.windows(32).any(|window| window == [0x22; 32]), "no key can be read");
    }
}
