//! The keyring as RocksDB's file system calls it: `cpp/encrypted_fs.cc` over a table of functions.
//!
//! Buffers are passed whole, so a block costs one call. A panic in one of these functions ends the process.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Arc;

use librocksdb_sys::rocksdb_env_t;

use super::cipher::{FileCipher, Header};
use super::keyring::Keyring;
use crate::StorageError;

const PLAIN: c_int = 0;
const ENCRYPTED: c_int = 1;
const UNFINISHED: c_int = 2;
const REFUSED: c_int = 3;

/// The C++ side has the same as `QuorateCiphers`.
#[repr(C)]
struct Calls {
    context: *mut c_void,
    create: unsafe extern "C" fn(*mut c_void, *mut u8, usize) -> *mut c_void,
    open: unsafe extern "C" fn(*mut c_void, *const u8, usize, *mut *mut c_void, *mut c_char, usize) -> c_int,
    encrypt: unsafe extern "C" fn(*const c_void, u64, *mut u8, usize),
    decrypt: unsafe extern "C" fn(*const c_void, u64, *mut u8, usize),
    close: unsafe extern "C" fn(*mut c_void),
    release: unsafe extern "C" fn(*mut c_void),
}

unsafe extern "C" {
    fn quorate_encrypted_env(calls: *const Calls, reason: *mut c_char, reason_bytes: usize) -> *mut rocksdb_env_t;
}

/// An environment whose files are encrypted with the keys of a ring.
///
/// # Errors
/// When the RocksDB that is linked is not the one that this was compiled for.
pub(super) fn encrypted(keyring: Arc<Keyring>) -> Result<rocksdb::Env, StorageError> {
    let context: *mut c_void = Arc::into_raw(keyring).cast_mut().cast();
    let calls = Calls { context, create, open, encrypt, decrypt, close, release };
    let mut reason = [0_u8; 256];
    // SAFETY: the table is copied. The context is a count of the ring, which `release` gives back when the last file of the
    // environment is closed. The buffer is ours for as many bytes.
    let env = unsafe { quorate_encrypted_env(&calls, reason.as_mut_ptr().cast(), reason.len()) };
    if env.is_null() {
        // SAFETY: the count was not taken.
        drop(unsafe { Arc::from_raw(context.cast::<Keyring>()) });
        let text = CStr::from_bytes_until_nul(&reason).unwrap_or_default();
        return Err(StorageError::Rocks { what: text.to_string_lossy().into_owned() });
    }
    // SAFETY: the environment is ours, and is handed over as a whole.
    Ok(unsafe { rocksdb::Env::from_raw(env) })
}

fn boxed(cipher: FileCipher) -> *mut c_void {
    Box::into_raw(Box::new(cipher)).cast()
}

unsafe extern "C" fn create(context: *mut c_void, header: *mut u8, header_bytes: usize) -> *mut c_void {
    // SAFETY: the context is a keyring until `release`; the header is the caller's for so many bytes.
    let (keyring, header) = unsafe { (&*context.cast::<Keyring>(), std::slice::from_raw_parts_mut(header, header_bytes)) };
    match keyring.begin() {
        Ok(cipher) => {
            cipher.write_header(header);
            boxed(cipher)
        }
        Err(_) => std::ptr::null_mut(),
    }
}

unsafe extern "C" fn open(
    context: *mut c_void,
    bytes: *const u8,
    size: usize,
    cipher: *mut *mut c_void,
    reason: *mut c_char,
    reason_bytes: usize,
) -> c_int {
    // SAFETY: as for `create`; an empty slice of C++ may have no address.
    let (keyring, bytes) = unsafe {
        (&*context.cast::<Keyring>(), if size == 0 { &[][..] } else { std::slice::from_raw_parts(bytes, size) })
    };
    let found = Header::parse(bytes).and_then(|header| Ok((header, keyring.cipher_of(header)?)));
    match found {
        Ok((Header::Plain, _)) => PLAIN,
        Ok((_, Some(found))) => {
            // SAFETY: the caller's variable.
            unsafe { *cipher = boxed(found) };
            ENCRYPTED
        }
        Ok((_, None)) => UNFINISHED,
        Err(text) => {
            let length = text.len().min(reason_bytes.saturating_sub(1));
            // SAFETY: the caller's buffer, which is zero and has a byte more than is written.
            unsafe { std::ptr::copy_nonoverlapping(text.as_ptr().cast(), reason, length) };
            REFUSED
        }
    }
}

unsafe extern "C" fn encrypt(cipher: *const c_void, offset: u64, data: *mut u8, size: usize) {
    // SAFETY: a cipher from `create` or `open`, and the caller's buffer.
    unsafe { (*cipher.cast::<FileCipher>()).encrypt(offset, std::slice::from_raw_parts_mut(data, size)) }
}

unsafe extern "C" fn decrypt(cipher: *const c_void, offset: u64, data: *mut u8, size: usize) {
    // SAFETY: likewise.
    unsafe { (*cipher.cast::<FileCipher>()).decrypt(offset, std::slice::from_raw_parts_mut(data, size)) }
}

unsafe extern "C" fn close(cipher: *mut c_void) {
    // SAFETY: a cipher from `create` or `open`, which nobody has after this.
    drop(unsafe { Box::from_raw(cipher.cast::<FileCipher>()) });
}

unsafe extern "C" fn release(context: *mut c_void) {
    // SAFETY: the count that `encrypted` took.
    drop(unsafe { Arc::from_raw(context.cast::<Keyring>()) });
}
