//! Large objects in backups: entries of three indexes that are no table's, below the database that they belong to.
//!
//! A backup of databases has those of these databases, one of the cluster has all, one of tables has none. They keep their
//! oids, since columns name them by these; the database in their keys is the new one, and roles are mapped by name.
//!
//! **Invariants**
//! - *unseen-until-published*: pages whose object is not stored belong to nothing that can be opened. In a database that
//!   is there already when its objects are restored (`postgres`, of a whole cluster) the objects are stored by the
//!   transaction that publishes the restore, and only their pages before it.
//! - *oids-ahead*: the counter of oids is past those that are restored before the first page is, so that no object that
//!   is made meanwhile gets such an oid by itself.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use catalog::Renumbering;
use catalog::large_object::{self, LargeObject};
use catalog::privilege::PrivilegeRow;
use hlc::Timestamp;
use keys::{Key, Span};
use kv::{Db, Read, ScanOptions, Txn, TxnOptions};
use types::{SqlError, SqlResult, SqlState};

use crate::chain::{Chain, View};
use crate::jobs::Stopped;
use crate::manifest::{IndexSpan, PartSpan};
use crate::tasks::Target;

fn span_of(index: keys::IndexId) -> IndexSpan {
    IndexSpan { storage: large_object::TABLE.get(), index: index.get() }
}

/// The indexes of large objects that a backup has.
pub(crate) fn spans(target: &Target) -> Vec<IndexSpan> {
    match target {
        Target::Cluster | Target::Databases(_) => {
            [large_object::PAGES, large_object::OBJECTS, large_object::COMMENTS].map(span_of).to_vec()
        }
        Target::Tables(_) => Vec::new(),
    }
}

pub(crate) fn is_of_large_objects(of: IndexSpan) -> bool {
    of.storage == large_object::TABLE.get()
}

/// What a backup reads of an index.
pub(crate) fn pieces(of: IndexSpan, target: &Target) -> Vec<PartSpan> {
    match target {
        Target::Databases(ids) if is_of_large_objects(of) => {
            let piece = |id: &u32| {
                let from = Key::from(large_object::of_database(*id));
                let to = from.prefix_end().as_bytes().to_vec();
                PartSpan { of, from: from.as_bytes().to_vec(), to: Some(to) }
            };
            ids.iter().map(piece).collect()
        }
        Target::Cluster | Target::Databases(_) | Target::Tables(_) => vec![PartSpan { of, from: Vec::new(), to: None }],
    }
}

/// Where the large objects of a backup go.
pub(crate) struct Destination {
    /// Old and new ids of the databases that are restored.
    pub databases: BTreeMap<u32, u32>,
    /// Databases that are there already: *unseen-until-published*.
    pub kept: BTreeSet<u32>,
    /// Old and new ids of roles.
    pub roles: BTreeMap<u32, u32>,
    /// Who gets those of roles that do not exist.
    pub user: u32,
    /// Whether owners and grants are restored.
    pub is_trusted: bool,
}

/// What the publishing transaction stores.
#[derive(Default)]
pub(crate) struct Held {
    rows: Vec<(Key, Bytes)>,
    /// The oid that *oids-ahead* is about.
    last_oid: Option<u32>,
}

impl Destination {
    fn is_held(&self, of: IndexSpan, database: u32) -> bool {
        of.index != large_object::PAGES.get() && self.kept.contains(&database)
    }

    fn object(&self, value: &Bytes) -> SqlResult<Bytes> {
        let old = LargeObject::decode(value).map_err(|error| {
            SqlError::new(SqlState::DataCorrupted, format!("a backup holds a damaged large object: {error}"))
        })?;
        if !self.is_trusted {
            return Ok(LargeObject::new(self.user).encode());
        }
        let role = |id: u32| self.roles.get(&id).copied();
        let to = Renumbering { object: &|id| id, role: &role, owner: self.user };
        let acl = to.privileges(&PrivilegeRow { acl: old.acl, ..PrivilegeRow::new(0) }, old.owner).acl;
        Ok(LargeObject { owner: role(old.owner).unwrap_or(self.user), acl }.encode())
    }

    /// A row under its new key; none where its database is not restored.
    fn moved(&self, of: IndexSpan, key: &[u8], value: Bytes) -> SqlResult<Option<(u32, Key, Bytes)>> {
        let Some((database, rest)) = large_object::split_key(key) else {
            return Err(SqlError::new(SqlState::DataCorrupted, "a backup holds a damaged key of a large object"));
        };
        let Some(database) = self.databases.get(&database).copied() else { return Ok(None) };
        let new = Key::from([of.prefix().as_bytes(), &large_object::of_database(database), rest].concat());
        let value = if of.index == large_object::OBJECTS.get() { self.object(&value)? } else { value };
        Ok(Some((database, new, value)))
    }

    /// A row that is written before the restore is published.
    pub fn early_row(&self, of: IndexSpan, key: &[u8], value: Bytes) -> SqlResult<Option<(Key, Bytes)>> {
        let moved = self.moved(of, key, value)?;
        Ok(moved.filter(|(database, ..)| !self.is_held(of, *database)).map(|(_, key, value)| (key, value)))
    }

    /// Reads the objects and their comments.
    pub async fn held(&self, spans: &[IndexSpan], chain: &Chain, view: &View) -> SqlResult<Held> {
        let mut held = Held::default();
        for of in spans.iter().filter(|of| of.index != large_object::PAGES.get()) {
            let mut rows = chain.rows(*of, view, None)?;
            while let Some((key, value)) = rows.next().await? {
                let oid = large_object::split_key(&key).and_then(|(_, rest)| large_object::oid_in(rest));
                if let Some((database, key, value)) = self.moved(*of, &key, value)? {
                    held.last_oid = held.last_oid.max(oid);
                    if self.is_held(*of, database) {
                        held.rows.push((key, value));
                    }
                }
            }
        }
        Ok(held)
    }
}

impl Held {
    /// *oids-ahead*
    pub async fn advance_oids(&self, db: &Db) -> Result<(), kv::Error> {
        let Some(last) = self.last_oid else { return Ok(()) };
        let wanted = i64::from(last) - large_object::FIRST_OID + 1;
        let key = large_object::counter_key();
        let stored = db.get(&key).await?;
        let now = stored.as_deref().and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()).map_or(0, i64::from_be_bytes);
        if now < wanted {
            db.increment(&key, wanted - now).await?;
        }
        Ok(())
    }

    /// # Errors
    /// 42710 where there is such an object by now.
    pub async fn put(&self, txn: &mut Txn) -> Result<(), Stopped> {
        for (key, value) in &self.rows {
            if txn.get(key, Read::default()).await?.is_some() {
                let message = "a large object that is restored exists already";
                return Err(SqlError::new(SqlState::DuplicateObject, message).into());
            }
            txn.put(key.clone(), value.clone());
        }
        Ok(())
    }
}

/// # Errors
/// 55000 where a database has large objects.
pub(crate) async fn check_none(db: &Db, databases: &BTreeSet<u32>) -> Result<(), Stopped> {
    let mut txn = db.begin(TxnOptions::default());
    for database in databases {
        if !large_object::all(&mut txn, *database).await?.is_empty() {
            txn.rollback().await;
            let message = "a whole cluster can be restored only into an empty one";
            return Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, message)
                .with_detail("There are large objects.")
                .into());
        }
    }
    txn.rollback().await;
    Ok(())
}

/// Frees what a restore that is not to be has written of databases with these new ids.
pub(crate) async fn clear_new(db: &Db, base: u32, count: u32, at: Timestamp) -> Result<(), kv::Error> {
    for span in large_object::spans_between(base, base + count) {
        db.clear_span(&span, at).await?;
    }
    Ok(())
}

/// Frees the pages of a database that belong to no object.
pub(crate) async fn clear_orphans(db: &Db, database: u32, at: Timestamp) -> Result<(), kv::Error> {
    let mut txn = db.begin(TxnOptions::default());
    let known: BTreeSet<u32> = large_object::all(&mut txn, database).await?.into_iter().map(|(oid, _)| oid).collect();
    let mut rest = Some(large_object::pages_of(database));
    let mut orphans: Vec<Span> = Vec::new();
    while let Some(span) = rest {
        let page = txn.scan(&span, ScanOptions { max_rows: 1, ..ScanOptions::default() }).await?;
        let first = page.rows.iter().next().and_then(|(key, _)| large_object::object_of_page(database, key));
        rest = match first {
            Some(oid) => {
                let pages = large_object::pages_from(database, oid, 0);
                let after = Span::new(pages.end.clone(), span.end);
                orphans.extend((!known.contains(&oid)).then_some(pages));
                (after.start < after.end).then_some(after)
            }
            None => page.resume,
        };
    }
    txn.rollback().await;
    for span in orphans {
        db.clear_span(&span, at).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(is_trusted: bool) -> Destination {
        Destination {
            databases: BTreeMap::from([(300, 400), (5, 5)]),
            kept: BTreeSet::from([5]),
            roles: BTreeMap::from([(20, 21)]),
            user: 10,
            is_trusted,
        }
    }

    fn behind(of: IndexSpan, key: &Key) -> Vec<u8> {
        key.as_bytes().strip_prefix(of.prefix().as_bytes()).expect("a key of the index").to_vec()
    }

    #[test]
    fn rows_go_to_the_new_database_and_the_new_owner() {
        let (objects, pages) = (span_of(large_object::OBJECTS), span_of(large_object::PAGES));
        let object = |owner: u32| LargeObject::new(owner).encode();
        let old = behind(objects, &large_object::object_key(300, 16_400));
        for (owner, is_trusted, expected) in [(20, true, 21), (30, true, 10), (20, false, 10)] {
            let moved = destination(is_trusted).early_row(objects, &old, object(owner)).unwrap().expect("restored");
            assert_eq!(moved, (large_object::object_key(400, 16_400), object(expected)));
        }
        let other = behind(objects, &large_object::object_key(301, 16_400));
        assert_eq!(destination(true).early_row(objects, &other, object(20)).unwrap(), None);
        // *unseen-until-published*
        let kept = behind(objects, &large_object::object_key(5, 16_400));
        assert_eq!(destination(true).early_row(objects, &kept, object(20)).unwrap(), None);
        let page = behind(pages, &large_object::page_key(5, 16_400, 3));
        let moved = destination(true).early_row(pages, &page, "x".into()).unwrap();
        assert_eq!(moved, Some((large_object::page_key(5, 16_400, 3), "x".into())));
        assert_eq!(destination(true).early_row(objects, b"", object(20)).unwrap_err().code(), SqlState::DataCorrupted);
    }

    #[test]
    fn a_backup_of_databases_reads_their_parts() {
        let of = span_of(large_object::PAGES);
        let found = pieces(of, &Target::Databases(vec![300]));
        let key = |database| behind(of, &large_object::page_key(database, 1, 0));
        assert!(found.len() == 1 && found[0].contains(&key(300)) && !found[0].contains(&key(301)) && !found[0].contains(&key(299)));
        assert_eq!(pieces(of, &Target::Cluster), [PartSpan { of, from: Vec::new(), to: None }]);
        assert!(spans(&Target::Tables(vec![1])).is_empty());
    }
}
