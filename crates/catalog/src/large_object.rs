//! Large objects as they are stored: rows in the keyspace of the cluster, beside the catalog and not part of it.
//!
//! ```text
//! /Table/10/1/<database>/<oid>           owner and privileges (tagged)
//! /Table/10/2/<database>/<oid>/<page>    bytes of the object from page * 2048 on, at most 2048
//! /Table/10/3/<database>/<oid>           comment
//! /System/"id/large_object"              the last oid given out
//! ```
//! They change without a new version of the catalog: making one is no DDL.
//!
//! **Invariant (pages-in-full):** a page that another follows counts as 2048 bytes; what it does not store of them, and
//! pages that are not stored, are zeros. The last page stored ends where the object ends.

use bytes::Bytes;
use keys::tagged::{Malformed, Reader, Writer};
use keys::{IndexId, Key, Span, TableId, keyspace};
use kv::{Read, ScanOptions, Txn};

use crate::privilege::rows::{put_items, take_items};
use crate::privilege::{Acl, AclItem, PrivilegeSet};

pub const TABLE: TableId = TableId::new(10);
pub const OBJECTS: IndexId = IndexId::new(1);
pub const PAGES: IndexId = IndexId::new(2);
pub const COMMENTS: IndexId = IndexId::new(3);

/// The first oid that is given out; the counter counts from it.
pub const FIRST_OID: i64 = 16_384;

/// How many bytes a page has.
pub const PAGE_BYTES: usize = 2048;

/// All that can be granted on one.
pub const ALL: PrivilegeSet = PrivilegeSet::SELECT.union(PrivilegeSet::UPDATE);

fn prefix(index: IndexId, columns: &[u64]) -> Key {
    let mut key = keyspace::index(TABLE, index).as_bytes().to_vec();
    columns.iter().for_each(|column| keys::encoding::put_uvarint(&mut key, *column));
    key.into()
}

/// The last columns of a key in one of the indexes, behind the database.
fn columns<const N: usize>(index: IndexId, database: u32, key: &[u8]) -> Option<[u64; N]> {
    let prefix = prefix(index, &[u64::from(database)]);
    let mut rest = key.strip_prefix(prefix.as_bytes())?;
    let mut found = [0; N];
    for column in &mut found {
        *column = keys::encoding::take_uvarint(&mut rest).ok()?;
    }
    rest.is_empty().then_some(found)
}

#[must_use]
pub fn object_key(database: u32, oid: u32) -> Key {
    prefix(OBJECTS, &[database.into(), oid.into()])
}

#[must_use]
pub fn page_key(database: u32, oid: u32, page: u64) -> Key {
    prefix(PAGES, &[database.into(), oid.into(), page])
}

#[must_use]
pub fn comment_key(database: u32, oid: u32) -> Key {
    prefix(COMMENTS, &[database.into(), oid.into()])
}

/// The pages of an object, from one on.
#[must_use]
pub fn pages_from(database: u32, oid: u32, page: u64) -> Span {
    let all = Span::prefix(prefix(PAGES, &[database.into(), oid.into()]));
    Span::new(page_key(database, oid, page), all.end)
}

/// Which page of an object a key is of.
#[must_use]
pub fn page_of(database: u32, key: &[u8]) -> Option<u64> {
    columns::<2>(PAGES, database, key).map(|[_, page]| page)
}

/// All that a database has of them.
#[must_use]
pub fn spans_of(database: u32) -> [Span; 3] {
    [OBJECTS, PAGES, COMMENTS].map(|index| Span::prefix(prefix(index, &[database.into()])))
}

/// All that databases with these ids have of them, the second not among them.
#[must_use]
pub fn spans_between(first: u32, end: u32) -> [Span; 3] {
    [OBJECTS, PAGES, COMMENTS].map(|index| Span::new(prefix(index, &[first.into()]), prefix(index, &[end.into()])))
}

/// All pages of a database.
#[must_use]
pub fn pages_of(database: u32) -> Span {
    Span::prefix(prefix(PAGES, &[database.into()]))
}

/// The object that a page is of.
#[must_use]
pub fn object_of_page(database: u32, key: &[u8]) -> Option<u32> {
    columns::<2>(PAGES, database, key).and_then(|[oid, _]| oid_of(oid))
}

/// How keys of a database begin, behind the prefix of an index.
#[must_use]
pub fn of_database(database: u32) -> Vec<u8> {
    let mut out = Vec::new();
    keys::encoding::put_uvarint(&mut out, database.into());
    out
}

/// The database in a key, and what follows it, behind the prefix of an index.
#[must_use]
pub fn split_key(mut key: &[u8]) -> Option<(u32, &[u8])> {
    let database = keys::encoding::take_uvarint(&mut key).ok()?;
    Some((u32::try_from(database).ok()?, key))
}

/// The oid in a key, behind the database.
#[must_use]
pub fn oid_in(mut rest: &[u8]) -> Option<u32> {
    keys::encoding::take_uvarint(&mut rest).ok().and_then(oid_of)
}

/// Where oids are given out.
#[must_use]
pub fn counter_key() -> Key {
    keyspace::system("id/large_object")
}

/// What is known of a large object besides its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LargeObject {
    pub owner: u32,
    /// `None`: nothing was granted or revoked.
    pub acl: Option<Acl>,
}

impl LargeObject {
    #[must_use]
    pub const fn new(owner: u32) -> Self {
        Self { owner, acl: None }
    }

    /// Who may do what with it.
    #[must_use]
    pub fn acl(&self) -> Acl {
        let owners = AclItem { grantee: self.owner, grantor: self.owner, privileges: ALL, options: PrivilegeSet::NONE };
        self.acl.clone().unwrap_or_else(|| Acl(vec![owners]))
    }

    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::default();
        writer.number(2, self.owner.into(), 0);
        writer.flag(4, self.acl.is_some());
        if let Some(acl) = self.acl.as_ref().filter(|acl| !acl.0.is_empty()) {
            let mut bytes = Vec::new();
            put_items(&mut bytes, acl);
            writer.bytes(6, &bytes);
        }
        writer.finish().into()
    }

    /// # Errors
    /// For bytes that are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let owner = u32::try_from(reader.number(2, 0)?).map_err(|_| Malformed::Bad(2))?;
        let has_acl = reader.flag(4)?;
        let acl = take_items(reader.bytes(6)?.unwrap_or_default(), 6)?;
        reader.finish()?;
        Ok(Self { owner, acl: has_acl.then_some(acl) })
    }
}

async fn scan_all(
    txn: &mut Txn,
    span: Span,
    mut row: impl FnMut(&[u8], &[u8]) -> bool,
) -> Result<(), kv::Error> {
    let mut rest = Some(span);
    while let Some(span) = rest {
        let page = txn.scan(&span, ScanOptions { read: Read::default(), max_bytes: 1 << 20, ..ScanOptions::default() }).await?;
        for (key, value) in page.rows.iter() {
            if !row(key, value) {
                return Ok(());
            }
        }
        rest = page.resume;
    }
    Ok(())
}

fn oid_of(column: u64) -> Option<u32> {
    u32::try_from(column).ok()
}

/// The large objects of a database, in the order of their oids.
///
/// # Errors
/// As a read.
pub async fn all(txn: &mut Txn, database: u32) -> Result<Vec<(u32, LargeObject)>, kv::Error> {
    let mut found = Vec::new();
    let [span, ..] = spans_of(database);
    scan_all(txn, span, |key, value| {
        let oid = columns::<1>(OBJECTS, database, key).and_then(|[oid]| oid_of(oid));
        if let (Some(oid), Ok(object)) = (oid, LargeObject::decode(value)) {
            found.push((oid, object));
        }
        true
    })
    .await?;
    Ok(found)
}

/// The comments on those of a database.
///
/// # Errors
/// As a read.
pub async fn comments(txn: &mut Txn, database: u32) -> Result<Vec<(u32, String)>, kv::Error> {
    let mut found = Vec::new();
    let [_, _, span] = spans_of(database);
    scan_all(txn, span, |key, value| {
        if let Some(oid) = columns::<1>(COMMENTS, database, key).and_then(|[oid]| oid_of(oid)) {
            found.push((oid, String::from_utf8_lossy(value).into_owned()));
        }
        true
    })
    .await?;
    Ok(found)
}

/// A page: its object, its number, and its bytes.
pub type Page = (u32, u64, Bytes);

/// All pages of a database, in order; `None` when they have more than so many bytes.
///
/// # Errors
/// As a read.
pub async fn pages(txn: &mut Txn, database: u32, bytes_max: usize) -> Result<Option<Vec<Page>>, kv::Error> {
    let (mut found, mut bytes) = (Vec::new(), 0_usize);
    let [_, span, _] = spans_of(database);
    scan_all(txn, span, |key, value| {
        bytes += value.len() + size_of::<Page>();
        if let Some([oid, page]) = columns::<2>(PAGES, database, key)
            && let Some(oid) = oid_of(oid)
        {
            found.push((oid, page, Bytes::copy_from_slice(value)));
        }
        bytes <= bytes_max
    })
    .await?;
    Ok((bytes <= bytes_max).then_some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let mut object = LargeObject::new(16_400);
        let bytes = object.encode();
        assert_eq!(LargeObject::decode(&bytes).unwrap(), object);
        object.acl = Some(Acl(Vec::new()));
        assert_eq!(LargeObject::decode(&object.encode()).unwrap(), object);
        assert_ne!(object.encode(), bytes);
        object.acl = Some(LargeObject::new(7).acl());
        assert_eq!(LargeObject::decode(&object.encode()).unwrap(), object);
        assert!(LargeObject::decode(&[2]).is_err());
        assert_eq!(LargeObject::new(10).encode()[..], [2, 1, 10]);
    }

    #[test]
    fn keys_sort_as_pages() {
        let keys = [page_key(5, 1, 0), page_key(5, 1, 1), page_key(5, 1, 300), page_key(5, 2, 0), page_key(6, 1, 0)];
        assert!(keys.is_sorted());
        assert_eq!(page_of(5, keys[2].as_bytes()), Some(300));
        assert_eq!(page_of(6, keys[2].as_bytes()), None);
        assert!(pages_of(5).contains(keys[3].as_bytes()) && !pages_of(5).contains(keys[4].as_bytes()));
        assert_eq!(object_of_page(5, keys[3].as_bytes()), Some(2));
        assert!(pages_from(5, 1, 1).contains(keys[2].as_bytes()) && !pages_from(5, 1, 1).contains(keys[3].as_bytes()));
    }
}
