//! What other stores and the log say, as functions of bytes: for fuzz targets.

use bytes::Bytes;

use crate::codec::{decode_append, decode_entry, decode_message, entry_position};

/// A message between stores, with the entries in it.
pub fn message(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok((_, _, body)) = decode_message(bytes.clone()) {
        let _damaged = decode_append(body);
    }
    let _damaged = decode_append(bytes);
}

/// An entry of the log.
pub fn entry(bytes: &[u8]) {
    let _damaged = entry_position(1, bytes);
    let _damaged = decode_entry(1, Bytes::copy_from_slice(bytes));
}
