//! One file's cipher, and the header that says which it is.
//!
//! ```text
//! header:  | magic 8 | version u16 | cipher u16 | header length u32 | data key id 8 | initialization vector 16 |
//!          | crc32 of all before 4 | zero up to 4096 |                                            little endian
//! ```
//!
//! AES-256 in counter mode: the block at offset `16 n` of the file is xored with the encryption of `vector + n`, so any part
//! of a file is read and written by itself. Offsets count the header, which is not encrypted.
//!
//! **Invariants**
//! - *vector-once*: a vector is drawn at random for each file that is begun, also for one whose name or blocks another had.
//!   No byte of a key's stream is used for two texts.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aes::Aes256Enc;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper, StreamCipherSeek};
use ctr::{CtrCore, flavors};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

/// A multiple of the page, so that what RocksDB aligns stays aligned. `cpp/encrypted_fs.cc` has the same.
pub(crate) const HEADER_BYTES: usize = 4096;
/// Of a header, what is not zero.
const FIELDS_BYTES: usize = 44;
/// As much of a file as says what it is.
pub(crate) const PEEK_BYTES: usize = 64;
const MAGIC: &[u8; 8] = b"\x89QENC\r\n\x1a";
const VERSION: u16 = 1;
const AES_256_CTR: u16 = 1;
pub(crate) const KEY_BYTES: usize = 32;
const VECTOR_BYTES: usize = 16;

const _: () = assert!(FIELDS_BYTES <= PEEK_BYTES && PEEK_BYTES <= HEADER_BYTES);

/// Which data key: drawn at random, so that no two are alike, whatever becomes of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataKeyId(pub(super) u64);

impl fmt::Display for DataKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The system has no random numbers to give.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoRandomNumbers;

impl From<NoRandomNumbers> for std::io::Error {
    fn from(_: NoRandomNumbers) -> Self {
        Self::other("the system gives no random numbers")
    }
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], NoRandomNumbers> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomNumbers)?;
    Ok(bytes)
}

/// What files are encrypted with.
pub(crate) struct DataKey {
    pub id: DataKeyId,
    /// Seconds since the epoch.
    pub created: u64,
    pub secret: Zeroizing<[u8; KEY_BYTES]>,
    /// Bytes that were encrypted with it; after a restart a little more than that.
    pub written: AtomicU64,
    aes: Aes256Enc,
}

impl DataKey {
    pub fn new(id: DataKeyId, created: u64, secret: Zeroizing<[u8; KEY_BYTES]>, written: u64) -> Self {
        let aes = Aes256Enc::new((&*secret).into());
        Self { id, created, secret, written: AtomicU64::new(written), aes }
    }

    pub fn generate(created: u64) -> Result<Self, NoRandomNumbers> {
        let id = DataKeyId(u64::from_le_bytes(random()?));
        Ok(Self::new(id, created, Zeroizing::new(random()?), 0))
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "data key {}", self.id)
    }
}

/// How one file is encrypted.
#[derive(Debug)]
pub(crate) struct FileCipher {
    key: Arc<DataKey>,
    vector: [u8; VECTOR_BYTES],
}

impl FileCipher {
    /// For a file that is begun: *vector-once*.
    pub fn begin(key: Arc<DataKey>) -> Result<Self, NoRandomNumbers> {
        Ok(Self { key, vector: random()? })
    }

    pub fn of(key: Arc<DataKey>, vector: [u8; VECTOR_BYTES]) -> Self {
        Self { key, vector }
    }

    pub fn write_header(&self, header: &mut [u8]) {
        let (fields, rest) = header.split_at_mut(FIELDS_BYTES);
        fields[..8].copy_from_slice(MAGIC);
        fields[8..10].copy_from_slice(&VERSION.to_le_bytes());
        fields[10..12].copy_from_slice(&AES_256_CTR.to_le_bytes());
        fields[12..16].copy_from_slice(&(HEADER_BYTES as u32).to_le_bytes());
        fields[16..24].copy_from_slice(&self.key.id.0.to_le_bytes());
        fields[24..40].copy_from_slice(&self.vector);
        let sum = crc32fast::hash(&fields[..40]);
        fields[40..].copy_from_slice(&sum.to_le_bytes());
        rest.fill(0);
    }

    /// Encrypts what is to stand at `offset`.
    pub fn encrypt(&self, offset: u64, data: &mut [u8]) {
        self.key.written.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.apply(offset, data);
    }

    /// Decrypts what stands at `offset`.
    pub fn decrypt(&self, offset: u64, data: &mut [u8]) {
        self.apply(offset, data);
    }

    fn apply(&self, offset: u64, data: &mut [u8]) {
        let core = CtrCore::<&Aes256Enc, flavors::Ctr128BE>::inner_iv_init(&self.key.aes, (&self.vector).into());
        let mut stream = StreamCipherCoreWrapper::from_core(core);
        stream.seek(offset);
        stream.apply_keystream(data);
    }
}

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    Plain,
    /// A crash came while the header was written: the file holds nothing.
    Unfinished,
    Encrypted {
        key: DataKeyId,
        vector: [u8; VECTOR_BYTES],
    },
}

impl Header {
    /// Reads the first [`PEEK_BYTES`] of a file, or all of a shorter one.
    ///
    /// # Errors
    /// Says what is wrong with a header.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let shown = bytes.len().min(MAGIC.len());
        if bytes.is_empty() || bytes[..shown] != MAGIC[..shown] {
            return Ok(Self::Plain);
        }
        let Some(fields) = bytes.first_chunk::<FIELDS_BYTES>() else { return Ok(Self::Unfinished) };
        let number = |from: usize| u16::from_le_bytes([fields[from], fields[from + 1]]);
        let (body, sum) = fields.split_at(FIELDS_BYTES - 4);
        if crc32fast::hash(body).to_le_bytes() != sum {
            return Err("the header of an encrypted file is damaged".into());
        }
        if (number(8), number(10), &body[12..16]) != (VERSION, AES_256_CTR, &(HEADER_BYTES as u32).to_le_bytes()[..]) {
            return Err(format!("encrypted in a way of a later version ({}, {})", number(8), number(10)));
        }
        let mut id = [0; 8];
        id.copy_from_slice(&body[16..24]);
        let mut vector = [0; VECTOR_BYTES];
        vector.copy_from_slice(&body[24..40]);
        Ok(Self::Encrypted { key: DataKeyId(u64::from_le_bytes(id)), vector })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn key(secret: &str) -> Arc<DataKey> {
        let secret: [u8; KEY_BYTES] = bytes(secret).try_into().unwrap();
        Arc::new(DataKey::new(DataKeyId(0x0102_0304_0506_0708), 0, Zeroizing::new(secret), 0))
    }

    const SECRET: &str = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";

    /// NIST SP 800-38A, F.5.5 and F.5.6: CTR-AES256.
    #[test]
    fn vectors_of_nist() {
        let vector: [u8; 16] = bytes("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff").try_into().unwrap();
        let cipher = FileCipher::of(key(SECRET), vector);
        let plain = bytes(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
             30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
        );
        let sealed = bytes(
            "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5\
             2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6",
        );
        let mut data = plain.clone();
        cipher.encrypt(0, &mut data);
        assert_eq!(data, sealed);
        cipher.decrypt(0, &mut data);
        assert_eq!(data, plain);
        // Block by block, and from the middle of one.
        for (from, to) in [(16, 32), (48, 64), (5, 37), (63, 64), (7, 7)] {
            let mut part = sealed[from..to].to_vec();
            cipher.decrypt(from as u64, &mut part);
            assert_eq!(part, plain[from..to], "{from}..{to}");
        }
    }

    /// Written at once or in pieces, read at once or anywhere: the same bytes.
    #[test]
    fn any_part_by_itself() {
        let cipher = FileCipher::begin(key(SECRET)).unwrap();
        let start = HEADER_BYTES as u64;
        let plain: Vec<u8> = (0..100_003_u32).map(|n| (n * 7 % 251) as u8).collect();
        let mut whole = plain.clone();
        cipher.encrypt(start, &mut whole);
        let mut state = 12345_u64;
        let mut chance = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let (mut pieces, mut at) = (Vec::new(), 0);
        while at < plain.len() {
            let to = (at + 1 + chance(5000)).min(plain.len());
            let mut piece = plain[at..to].to_vec();
            cipher.encrypt(start + at as u64, &mut piece);
            pieces.extend(piece);
            at = to;
        }
        assert!(pieces == whole);
        for _ in 0..500 {
            let from = chance(plain.len());
            let to = from + chance(plain.len() - from + 1);
            let mut part = whole[from..to].to_vec();
            cipher.decrypt(start + from as u64, &mut part);
            assert!(part == plain[from..to], "{from}..{to}");
        }
        // Far into a large file the counter carries over.
        let mut far = *b"far";
        cipher.encrypt(u64::from(u32::MAX) * 64 + 9, &mut far);
        cipher.decrypt(u64::from(u32::MAX) * 64 + 9, &mut far);
        assert_eq!(&far, b"far");
        let other = FileCipher::begin(key(SECRET)).unwrap();
        let mut again = plain[..64].to_vec();
        other.encrypt(start, &mut again);
        assert_ne!(again, whole[..64], "*vector-once*");
    }

    #[test]
    fn golden_header() {
        let cipher = FileCipher::of(key(SECRET), [0xaa; 16]);
        let mut header = [1; HEADER_BYTES];
        cipher.write_header(&mut header);
        let fields = "8951454e430d0a1a01000100001000000807060504030201aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        assert_eq!(crate::golden::hex(&header[..40]), fields);
        assert_eq!(header[40..44], crc32fast::hash(&header[..40]).to_le_bytes());
        assert_eq!(header[44..], [0; HEADER_BYTES - 44]);
        let parsed = Header::parse(&header[..PEEK_BYTES]);
        assert_eq!(parsed, Ok(Header::Encrypted { key: DataKeyId(0x0102_0304_0506_0708), vector: [0xaa; 16] }));
    }

    #[test]
    fn what_a_file_begins_with() {
        let mut header = [0; HEADER_BYTES];
        FileCipher::begin(key(SECRET)).unwrap().write_header(&mut header);
        for cut in 1..FIELDS_BYTES {
            assert_eq!(Header::parse(&header[..cut]), Ok(Header::Unfinished), "{cut} bytes");
        }
        for plain in [&b""[..], b"M", b"MANIFEST-000001\n", &[0; 64], b"\x89PNG\r\n\x1a\n"] {
            assert_eq!(Header::parse(plain), Ok(Header::Plain));
        }
        for at in 8..FIELDS_BYTES {
            let mut damaged = header;
            damaged[at] ^= 1;
            assert!(Header::parse(&damaged[..PEEK_BYTES]).unwrap_err().contains("damaged"), "byte {at}");
        }
        let mut later = header;
        later[8] = 2;
        let sum = crc32fast::hash(&later[..40]);
        later[40..44].copy_from_slice(&sum.to_le_bytes());
        assert!(Header::parse(&later[..PEEK_BYTES]).unwrap_err().contains("later version"));
    }
}
