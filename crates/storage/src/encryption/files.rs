//! Files that are written by us and not by RocksDB, and may have rows in them: snapshots on their way, the marker of an
//! ingest.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use super::StoreFiles;
use super::cipher::{FileCipher, HEADER_BYTES, Header, PEEK_BYTES};
use crate::StorageError;

/// What is encrypted at a time.
const PIECE_BYTES: usize = 64 << 10;

/// A file that is read or written from its beginning to its end.
pub struct StoreFile {
    file: File,
    cipher: Option<FileCipher>,
    /// Where the next byte stands, the header counted.
    at: u64,
    piece: Vec<u8>,
}

impl StoreFiles {
    /// A new, empty file.
    pub fn create(&self, path: &Path) -> io::Result<StoreFile> {
        let cipher = self.keyring().map(|keyring| keyring.begin()).transpose()?;
        let mut file = File::create(path)?;
        let mut at = 0;
        if let Some(cipher) = &cipher {
            let mut header = [0; HEADER_BYTES];
            cipher.write_header(&mut header);
            file.write_all(&header)?;
            at = HEADER_BYTES as u64;
        }
        Ok(StoreFile { file, cipher, at, piece: Vec::new() })
    }

    pub fn open_file(&self, path: &Path) -> io::Result<StoreFile> {
        let mut file = File::open(path)?;
        let Some(keyring) = self.keyring() else { return Ok(StoreFile { file, cipher: None, at: 0, piece: Vec::new() }) };
        let mut header = Vec::with_capacity(HEADER_BYTES);
        (&mut file).take(HEADER_BYTES as u64).read_to_end(&mut header)?;
        let peek = &header[..header.len().min(PEEK_BYTES)];
        let cipher = Header::parse(peek).and_then(|header| keyring.cipher_of(header)).map_err(io::Error::other)?;
        // A plain one is read from its beginning.
        let file = if cipher.is_some() { file } else { File::open(path)? };
        Ok(StoreFile { file, cipher, at: HEADER_BYTES as u64, piece: Vec::new() })
    }

    /// The contents of a small file that are to be `bytes` when it is read with [`StoreFiles::unseal`]. The cipher is to be
    /// held until the file is there: *keys-in-use-stay*.
    pub(crate) fn seal(&self, bytes: Vec<u8>) -> Result<(Vec<u8>, Option<FileCipher>), StorageError> {
        let Some(keyring) = self.keyring() else { return Ok((bytes, None)) };
        let cipher = keyring.begin().map_err(|error| StorageError::io("encrypt", "a small file", error.into()))?;
        let mut sealed = vec![0; HEADER_BYTES];
        cipher.write_header(&mut sealed);
        sealed.extend_from_slice(&bytes);
        cipher.encrypt(HEADER_BYTES as u64, &mut sealed[HEADER_BYTES..]);
        Ok((sealed, Some(cipher)))
    }

    pub(crate) fn unseal(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>, StorageError> {
        let Some(keyring) = self.keyring() else { return Ok(bytes) };
        let peek = &bytes[..bytes.len().min(PEEK_BYTES)];
        let cipher = Header::parse(peek).and_then(|header| keyring.cipher_of(header)).map_err(StorageError::corruption)?;
        let Some(cipher) = cipher else { return Ok(bytes) };
        let mut body = bytes.split_off(HEADER_BYTES.min(bytes.len()));
        cipher.decrypt(HEADER_BYTES as u64, &mut body);
        Ok(body)
    }
}

impl Write for StoreFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(cipher) = &self.cipher else { return self.file.write(bytes) };
        let bytes = &bytes[..bytes.len().min(PIECE_BYTES)];
        self.piece.clear();
        self.piece.extend_from_slice(bytes);
        cipher.encrypt(self.at, &mut self.piece);
        self.file.write_all(&self.piece)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Read for StoreFile {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(bytes)?;
        if let Some(cipher) = &self.cipher {
            cipher.decrypt(self.at, &mut bytes[..read]);
            self.at += read as u64;
        }
        Ok(read)
    }
}
