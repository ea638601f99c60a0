//! What each file of a backup begins with, and how it is encrypted.
//!
//! ```text
//! bytes 0..4    "QBAK"
//! byte 4        format, 1
//! byte 5        what it is: see Kind
//! byte 6        0 plain, 1 AES-256-GCM
//! byte 7        0
//! bytes 8..20   nonce, where it is encrypted
//! then          the contents; where they are encrypted, sealed with bytes 0..8 and the file's name authenticated
//! ```
//! The key follows from the passphrase by PBKDF2-HMAC-SHA256 with the salt in the file `ENCRYPTION` of the full backup.
//! Nonces are random: a key seals far fewer than 2^32 files.

use bytes::Bytes;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::{pbkdf2, rand::SecureRandom};
use types::{SqlError, SqlResult, SqlState};

use crate::location::Location;

const MAGIC: &[u8; 4] = b"QBAK";
pub(crate) const FORMAT: u8 = 1;
const HEADER: usize = 8;
/// As OWASP has it for PBKDF2 with SHA-256 in 2023.
const ITERATIONS: u32 = 600_000;
const ITERATIONS_MAX: u32 = 100_000_000;
/// Where the salt lies.
pub(crate) const ENCRYPTION_FILE: &str = "ENCRYPTION";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Manifest = 1,
    Data = 2,
    Checkpoint = 3,
    Encryption = 4,
}

/// A file's key: 32 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct FileKey(pub(crate) [u8; 32]);

impl std::fmt::Debug for FileKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FileKey")
    }
}

fn damaged(file: &str, reason: &str) -> SqlError {
    SqlError::new(SqlState::DataCorrupted, format!("file \"{file}\" of the backup is damaged: {reason}"))
}

fn key_of(key: &FileKey) -> SqlResult<LessSafeKey> {
    let unbound = UnboundKey::new(&AES_256_GCM, &key.0).map_err(|_| SqlError::internal("a key has 32 bytes"))?;
    Ok(LessSafeKey::new(unbound))
}

fn random<const N: usize>() -> SqlResult<[u8; N]> {
    let mut bytes = [0; N];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| SqlError::internal("there are no random numbers"))?;
    Ok(bytes)
}

fn header(kind: Kind, is_sealed: bool) -> [u8; HEADER] {
    let [a, b, c, d] = *MAGIC;
    [a, b, c, d, FORMAT, kind as u8, is_sealed.into(), 0]
}

/// What is authenticated beside the contents.
fn bound_to(header: &[u8], name: &str) -> Vec<u8> {
    [header, name.as_bytes()].concat()
}

/// Contents as a file of this name.
pub(crate) fn seal(kind: Kind, name: &str, contents: &[u8], key: Option<&FileKey>) -> SqlResult<Bytes> {
    let header = header(kind, key.is_some());
    let Some(key) = key else { return Ok([&header[..], contents].concat().into()) };
    let nonce = random::<NONCE_LEN>()?;
    let mut sealed = contents.to_vec();
    let bound = Aad::from(bound_to(&header, name));
    key_of(key)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound, &mut sealed)
        .map_err(|_| SqlError::internal("a file of a backup was not encrypted"))?;
    Ok([&header[..], &nonce, &sealed].concat().into())
}

/// The contents of a file. `shown` is its whole name.
///
/// # Errors
/// XX001 for a damaged one, 0A000 for one of a later format, 22023 where it is encrypted and there is no key.
pub(crate) fn open(kind: Kind, name: &str, shown: &str, file: &Bytes, key: Option<&FileKey>) -> SqlResult<Bytes> {
    let (head, rest) = file.split_at_checked(HEADER).ok_or_else(|| damaged(shown, "it is too short"))?;
    if head[..4] != MAGIC[..] {
        return Err(damaged(shown, "it is no file of a backup"));
    }
    if head[4] > FORMAT {
        return Err(SqlError::not_supported(format!("file \"{shown}\" is of a backup that a later version has made"))
            .with_detail(format!("Its format is {}; {FORMAT} is the latest that is known here.", head[4])));
    }
    if head[4] == 0 || head[5] != kind as u8 || head[6] > 1 || head[7] != 0 {
        return Err(damaged(shown, "its header is wrong"));
    }
    if head[6] == 0 {
        // Nothing that was put in place of a sealed file counts.
        return if key.is_none() { Ok(file.slice(HEADER..)) } else { Err(damaged(shown, "it is not encrypted")) };
    }
    let key = key.ok_or_else(no_passphrase)?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(|| damaged(shown, "it is too short"))?;
    let mut contents = sealed.to_vec();
    let bound = Aad::from(bound_to(head, name));
    let opened = key_of(key)?.open_in_place(Nonce::assume_unique_for_key(*nonce), bound, &mut contents);
    let length = opened.map_err(|_| damaged(shown, "it does not decrypt"))?.len();
    contents.truncate(length);
    Ok(contents.into())
}

fn no_passphrase() -> SqlError {
    SqlError::new(SqlState::InvalidParameterValue, "the backup is encrypted").with_hint("Give its encryption_passphrase.")
}

/// Derives a key. It takes a while, by design.
fn derive(passphrase: &str, salt: &[u8], iterations: u32) -> FileKey {
    let iterations = std::num::NonZeroU32::new(iterations).unwrap_or(std::num::NonZeroU32::MIN);
    let mut key = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, passphrase.as_bytes(), &mut key);
    FileKey(key)
}

async fn derive_aside(passphrase: &str, salt: Vec<u8>, iterations: u32) -> SqlResult<FileKey> {
    let passphrase = passphrase.to_owned();
    tokio::task::spawn_blocking(move || derive(&passphrase, &salt, iterations))
        .await
        .map_err(|error| SqlError::internal(format!("deriving a key: {error}")))
}

/// What says that a passphrase is the right one: sealed with the key in `ENCRYPTION`.
const PROOF: &[u8] = b"quorate backup";

/// A new key for a passphrase, and the file that it can be found with again.
///
/// ```text
/// envelope (kind 4, plain), then: salt 16 bytes, iterations 4 bytes big endian, an envelope (kind 4, sealed) of a known text
/// ```
pub async fn new_key(passphrase: &str) -> SqlResult<(FileKey, Bytes)> {
    let salt = random::<16>()?;
    let key = derive_aside(passphrase, salt.to_vec(), ITERATIONS).await?;
    let proof = seal(Kind::Encryption, ENCRYPTION_FILE, PROOF, Some(&key))?;
    let contents = [&salt[..], &ITERATIONS.to_be_bytes(), &proof].concat();
    Ok((key, seal(Kind::Encryption, ENCRYPTION_FILE, &contents, None)?))
}

/// The key of a full backup, by its passphrase.
///
/// # Errors
/// 22023 where there is no passphrase for an encrypted one, or one for another, and 28P01 where it is the wrong one.
pub(crate) async fn find_key(full: &Location, passphrase: Option<&str>) -> SqlResult<Option<FileKey>> {
    let Some(file) = full.find(ENCRYPTION_FILE).await? else {
        return match passphrase {
            None => Ok(None),
            Some(_) => Err(SqlError::new(SqlState::InvalidParameterValue, "the backup is not encrypted")),
        };
    };
    let passphrase = passphrase.ok_or_else(no_passphrase)?;
    let shown = full.shown(ENCRYPTION_FILE);
    let contents = open(Kind::Encryption, ENCRYPTION_FILE, &shown, &file, None)?;
    let short = || damaged(&shown, "it is too short");
    let (salt, rest) = contents.split_first_chunk::<16>().ok_or_else(short)?;
    let (iterations, _) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let proof = contents.slice(20..);
    let iterations = u32::from_be_bytes(*iterations);
    if iterations == 0 || iterations > ITERATIONS_MAX {
        return Err(damaged(&shown, "its number of iterations is wrong"));
    }
    let key = derive_aside(passphrase, salt.to_vec(), iterations).await?;
    match open(Kind::Encryption, ENCRYPTION_FILE, &shown, &proof, Some(&key)) {
        Ok(found) if found == PROOF => Ok(Some(key)),
        Ok(_) | Err(_) => {
            Err(SqlError::new(SqlState::InvalidPassword, "the encryption passphrase is not that of the backup"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_envelope() {
        let file = seal(Kind::Manifest, "MANIFEST", b"x", None).unwrap();
        assert_eq!(&file[..], b"QBAK\x01\x01\0\0x");
    }

    #[test]
    fn files_are_read_as_what_they_are() {
        let key = derive("p", b"salt", 2);
        for key in [None, Some(&key)] {
            let file = seal(Kind::Data, "data/1", b"contents", key).unwrap();
            let read = |name: &str, file: &Bytes, key| open(Kind::Data, name, "f", file, key);
            assert_eq!(read("data/1", &file, key).unwrap(), "contents");
            assert!(open(Kind::Manifest, "data/1", "f", &file, key).is_err(), "of another kind");
            for at in 0..file.len() {
                let mut bent = file.to_vec();
                bent[at] ^= 1;
                let opened = read("data/1", &bent.into(), key);
                // What is plain has sums of its own.
                assert!(opened.is_err() || key.is_none() && at >= HEADER, "byte {at}");
            }
        }
        let file = seal(Kind::Data, "data/1", b"contents", Some(&key)).unwrap();
        assert!(open(Kind::Data, "data/2", "f", &file, Some(&key)).is_err(), "under another name");
        assert_eq!(open(Kind::Data, "data/1", "f", &file, None).unwrap_err().code().code(), "22023");
    }

    #[test]
    fn later_formats_are_refused() {
        let mut file = seal(Kind::Manifest, "MANIFEST", b"x", None).unwrap().to_vec();
        file[4] = FORMAT + 1;
        let error = open(Kind::Manifest, "MANIFEST", "f", &file.into(), None).unwrap_err();
        assert_eq!(error.code().code(), "0A000");
    }
}
