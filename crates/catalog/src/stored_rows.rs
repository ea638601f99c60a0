//! The rows of the catalog as bytes, for those that copy them: backups.

use keys::{Key, Span, keyspace};

use crate::descriptor::Descriptor;
use crate::store::{
    CatalogError, DESCRIPTORS, PRIMARY, PRIVILEGES, PRIVILEGES_VERSION, STATISTICS, decode, descriptor_key, row_id, row_key,
};

/// All descriptors.
#[must_use]
pub fn descriptor_span() -> Span {
    Span::prefix(keyspace::index(DESCRIPTORS, PRIMARY))
}

/// Where the statistics of a table's storage are stored.
#[must_use]
pub fn statistics_key(storage: u32) -> Key {
    row_key(STATISTICS, &[u64::from(storage)])
}

/// All that is granted, and its version.
#[must_use]
pub fn privilege_span() -> Span {
    Span::prefix(keyspace::index(PRIVILEGES, PRIMARY))
}

/// What a key of the catalog holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredRow {
    Descriptor(u32),
    Privileges(u32),
}

/// The row of [`descriptor_span`] or [`privilege_span`] that a key is of.
#[must_use]
pub fn stored_row(key: &[u8]) -> Option<StoredRow> {
    if let Some(id) = row_id(DESCRIPTORS, key) {
        return Some(StoredRow::Descriptor(id));
    }
    row_id(PRIVILEGES, key).filter(|id| *id != PRIVILEGES_VERSION).map(StoredRow::Privileges)
}

/// A descriptor as it is stored.
///
/// # Errors
/// `Damaged` for what is none.
pub fn decode_descriptor(id: u32, bytes: &[u8]) -> Result<Descriptor, CatalogError> {
    decode(descriptor_key(id).as_bytes(), bytes)
}
