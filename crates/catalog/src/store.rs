//! The catalog as it is stored, and how it changes: rows of descriptors and one version number, written in the same
//! transactions as everything else.
//!
//! ```text
//! /Table/1/1/<id>               descriptor (postcard)
//! /Table/2/1/<storage id>       statistics (postcard)
//! /System/"catalog/version"     version, big endian
//! /System/"id/object"           the last id given out
//! ```
//!
//! **Invariant (version-moves):** a transaction that changes a descriptor also raises the version; every transaction
//! checks the version it was planned under together with its first read, and so cannot use an older catalog than its
//! own snapshot holds.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use keys::{ColumnId, IndexId, Key, Span, TableId, keyspace};
use kv::{Db, Read, ScanOptions, Txn, TxnOptions};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::{
    descriptor::{
        DATABASE_OWNER_ROLE, Database, Descriptor, FIRST_USER_ID, INFORMATION_SCHEMA, PG_CATALOG_SCHEMA, POSTGRES_DATABASE, POSTGRES_ROLE,
        PUBLIC_SCHEMA, Role, Schema,
    },
    snapshot::CatalogSnapshot,
    statistics::{Statistics, TableStatistics},
    view::CatalogView,
    virtual_tables::SystemTables,
};

const DESCRIPTORS: TableId = TableId::new(1);
const STATISTICS: TableId = TableId::new(2);
/// Rows of the catalogs that are kept: those of two databases before and after a change.
const SYSTEM_TABLES_KEPT: usize = 4;
const PRIMARY: IndexId = IndexId::new(1);

fn version_key() -> Key {
    keyspace::system("catalog/version")
}

fn descriptor_key(id: u32) -> Key {
    let mut key = keyspace::index(DESCRIPTORS, PRIMARY).as_bytes().to_vec();
    keys::encoding::put_uvarint(&mut key, u64::from(id));
    key.into()
}

fn descriptor_span() -> Span {
    Span::prefix(keyspace::index(DESCRIPTORS, PRIMARY))
}

fn statistics_key(storage: u32) -> Key {
    let mut key = keyspace::index(STATISTICS, PRIMARY).as_bytes().to_vec();
    keys::encoding::put_uvarint(&mut key, u64::from(storage));
    key.into()
}

async fn read_statistics(txn: &mut Txn) -> Result<FxHashMap<u32, Arc<TableStatistics>>, kv::Error> {
    let prefix = keyspace::index(STATISTICS, PRIMARY);
    let mut tables = FxHashMap::default();
    let mut rest = Some(Span::prefix(prefix.clone()));
    while let Some(span) = rest {
        let page = txn.scan(&span, ScanOptions::default()).await?;
        for (key, value) in page.rows.iter() {
            let storage = key
                .strip_prefix(prefix.as_bytes())
                .and_then(|mut rest| keys::encoding::take_uvarint(&mut rest).ok())
                .and_then(|storage| u32::try_from(storage).ok());
            if let (Some(storage), Ok(statistics)) = (storage, postcard::from_bytes(value)) {
                tables.insert(storage, Arc::new(statistics));
            }
        }
        rest = page.resume;
    }
    Ok(tables)
}

fn encode_version(version: u64) -> Bytes {
    Bytes::copy_from_slice(&version.to_be_bytes())
}

/// The catalog of a node: the newest snapshot it has read, and the way to a newer one.
#[derive(Clone)]
pub struct CatalogStore {
    db: Db,
    current: Arc<ArcSwap<CatalogSnapshot>>,
    /// The latest first, at most [`SYSTEM_TABLES_KEPT`].
    system_tables: Arc<Mutex<Vec<Arc<SystemTables>>>>,
    statistics: Statistics,
}

#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error(transparent)]
    Kv(#[from] kv::Error),
    #[error("descriptor {key} is damaged: {reason}")]
    Damaged { key: Key, reason: String },
}

impl kv::AsKvError for CatalogError {
    fn as_kv_error(&self) -> Option<&kv::Error> {
        match self {
            Self::Kv(error) => Some(error),
            Self::Damaged { .. } => None,
        }
    }
}

impl CatalogStore {
    /// Reads the catalog, writing what every cluster begins with if there is none yet.
    ///
    /// # Errors
    /// When the ranges that hold it cannot be reached, or it is damaged.
    pub async fn open(db: Db) -> Result<Self, CatalogError> {
        let current = Arc::new(ArcSwap::from_pointee(CatalogSnapshot::default()));
        let store = Self { db, current, system_tables: Arc::default(), statistics: Statistics::default() };
        loop {
            let mut txn = store.db.begin(TxnOptions::default());
            let outcome = store.load(&mut txn).await;
            match outcome {
                Ok(Some(snapshot)) => {
                    txn.rollback().await;
                    store.current.store(Arc::new(snapshot));
                    store.refresh_statistics().await?;
                    return Ok(store);
                }
                Ok(None) => {
                    for descriptor in first_descriptors() {
                        txn.put(descriptor_key(descriptor.id()), encode(&descriptor));
                    }
                    txn.put(version_key(), encode_version(1));
                    match txn.commit().await {
                        Ok(_) => {}
                        Err(error) if error.is_retryable() => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(CatalogError::Kv(error)) if error.is_retryable() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The rows of the catalogs as a view has them; those of the last few views are kept.
    #[must_use]
    pub fn system_tables(&self, view: &CatalogView) -> Arc<SystemTables> {
        let mut kept = self.system_tables.lock();
        if let Some(at) = kept.iter().position(|tables| tables.is_of(view)) {
            kept[..=at].rotate_right(1);
        } else {
            kept.truncate(SYSTEM_TABLES_KEPT - 1);
            kept.insert(0, Arc::new(SystemTables::new(view.clone())));
        }
        Arc::clone(&kept[0])
    }

    #[must_use]
    pub fn current(&self) -> Arc<CatalogSnapshot> {
        self.current.load_full()
    }

    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Makes a transaction depend on the catalog being at a snapshot's version.
    pub fn pin(&self, txn: &mut Txn, snapshot: &CatalogSnapshot) {
        txn.check_value(version_key(), Some(encode_version(snapshot.version())));
    }

    /// Reads the catalog anew, if it has changed.
    ///
    /// # Errors
    /// As [`CatalogStore::open`].
    pub async fn refresh(&self) -> Result<Arc<CatalogSnapshot>, CatalogError> {
        for _ in 0..100 {
            let mut txn = self.db.begin(TxnOptions::default());
            match self.load(&mut txn).await {
                Ok(Some(snapshot)) => {
                    txn.rollback().await;
                    self.advance(Arc::new(snapshot));
                    break;
                }
                Ok(None) => break,
                Err(CatalogError::Kv(error)) if error.is_retryable() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.current())
    }

    /// Takes a newer snapshot in; an older one changes nothing.
    pub fn advance(&self, snapshot: Arc<CatalogSnapshot>) {
        self.current.rcu(|current| {
            if current.version() >= snapshot.version() { current.clone() } else { snapshot.clone() }
        });
    }

    async fn load(&self, txn: &mut Txn) -> Result<Option<CatalogSnapshot>, CatalogError> {
        let Some(version) = txn.get(&version_key(), Read::default()).await? else { return Ok(None) };
        let version = <[u8; 8]>::try_from(&version[..])
            .map_err(|_| CatalogError::Damaged { key: version_key(), reason: "not a version".into() })?;
        let mut snapshot = CatalogSnapshot::default();
        snapshot.set_statistics(self.statistics.clone());
        snapshot.set_version(u64::from_be_bytes(version));
        let mut rest = Some(descriptor_span());
        while let Some(span) = rest {
            let page = txn.scan(&span, ScanOptions::default()).await?;
            for (key, value) in page.rows.iter() {
                let descriptor = postcard::from_bytes(value)
                    .map_err(|error| CatalogError::Damaged { key: Key::from(key), reason: error.to_string() })?;
                snapshot.put(descriptor);
            }
            rest = page.resume;
        }
        Ok(Some(snapshot))
    }

    /// Keeps what ANALYZE has found, for this node at once and for the others when they look.
    ///
    /// # Errors
    /// When the range that holds it cannot be reached.
    pub async fn save_statistics(&self, storage: u32, statistics: TableStatistics) -> Result<(), kv::Error> {
        let value: Bytes = postcard::to_stdvec(&statistics).expect("statistics are plain data").into();
        let key = statistics_key(storage);
        self.db
            .run(|txn: &mut Txn| {
                let (key, value) = (key.clone(), value.clone());
                Box::pin(async move {
                    txn.put(key, value);
                    Ok::<_, kv::Error>(())
                })
            })
            .await?;
        self.statistics.set(storage, statistics);
        Ok(())
    }

    /// Reads the statistics that other nodes have made.
    ///
    /// # Errors
    /// When the range that holds them cannot be reached. Damaged ones are as good as none.
    pub async fn refresh_statistics(&self) -> Result<(), kv::Error> {
        let tables = self.db.run(|txn: &mut Txn| Box::pin(read_statistics(txn))).await?;
        self.statistics.replace(tables);
        Ok(())
    }

    /// Ids that no object has or had.
    ///
    /// # Errors
    /// When the counter cannot be reached, or is at its end.
    pub async fn allocate_ids(&self, count: u32) -> Result<u32, kv::Error> {
        let last = self.db.increment(&keyspace::system("id/object"), i64::from(count)).await?;
        ids_up_to(last, count).ok_or_else(|| kv::Error::Internal { reason: "all object ids have been given out".into() })
    }
}

/// The first of the `count` ids that end where the counter is. They are never given twice, not even the last.
fn ids_up_to(counter: i64, count: u32) -> Option<u32> {
    let end = u32::try_from(counter).ok()?.checked_add(FIRST_USER_ID)?;
    end.checked_sub(count)
}

fn encode(descriptor: &Descriptor) -> Bytes {
    postcard::to_stdvec(descriptor).expect("descriptors are plain data").into()
}

/// Changes of the catalog inside a transaction: seen by it at once, by others when it commits.
#[derive(Clone, Debug)]
pub struct CatalogChange {
    /// Copied when it is changed while somebody else holds it.
    snapshot: Arc<CatalogSnapshot>,
    base_version: u64,
    changed: bool,
}

impl CatalogChange {
    #[must_use]
    pub fn new(base: Arc<CatalogSnapshot>) -> Self {
        Self { base_version: base.version(), snapshot: base, changed: false }
    }

    /// The catalog with the changes made so far.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<CatalogSnapshot> {
        &self.snapshot
    }

    /// *version-moves*
    fn touch(&mut self, txn: &mut Txn) {
        if !self.changed {
            self.changed = true;
            Arc::make_mut(&mut self.snapshot).set_version(self.base_version + 1);
        }
        txn.put(version_key(), encode_version(self.base_version + 1));
    }

    pub fn put(&mut self, txn: &mut Txn, descriptor: Descriptor) {
        self.touch(txn);
        if let (Some(old), Descriptor::Table(new)) = (self.snapshot.table_by_id(descriptor.id()), &descriptor)
            && old.storage != new.storage
        {
            txn.delete(statistics_key(old.storage));
        }
        txn.put(descriptor_key(descriptor.id()), encode(&descriptor));
        Arc::make_mut(&mut self.snapshot).put(descriptor);
    }

    pub fn remove(&mut self, txn: &mut Txn, id: u32) {
        self.touch(txn);
        if let Some(table) = self.snapshot.table_by_id(id) {
            txn.delete(statistics_key(table.storage));
        }
        txn.delete(descriptor_key(id));
        Arc::make_mut(&mut self.snapshot).remove(id);
    }
}

/// What every cluster has from the start.
pub(crate) fn first_descriptors() -> Vec<Descriptor> {
    let schema = |id, database, name: &str, owner| {
        Descriptor::Schema(Schema { id, database, name: name.into(), owner })
    };
    vec![
        Descriptor::Role(Role {
            id: POSTGRES_ROLE,
            name: "postgres".into(),
            superuser: true,
            login: true,
            create_db: true,
            create_role: true,
        }),
        Descriptor::Role(Role {
            id: DATABASE_OWNER_ROLE,
            name: "pg_database_owner".into(),
            superuser: false,
            login: false,
            create_db: false,
            create_role: false,
        }),
        Descriptor::Database(Database { id: POSTGRES_DATABASE, name: "postgres".into(), owner: POSTGRES_ROLE }),
        schema(PG_CATALOG_SCHEMA, 0, "pg_catalog", POSTGRES_ROLE),
        schema(INFORMATION_SCHEMA, 0, "information_schema", POSTGRES_ROLE),
        schema(PUBLIC_SCHEMA, POSTGRES_DATABASE, "public", DATABASE_OWNER_ROLE),
    ]
}

/// The column that a table without a primary key is given.
pub const ROW_ID_COLUMN: &str = "rowid";

/// The first column id of a new table.
pub const FIRST_COLUMN: ColumnId = ColumnId::new(1);
/// The primary index of every table.
pub const PRIMARY_INDEX: IndexId = IndexId::new(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_not_given_out_again_at_the_end() {
        let most = i64::from(u32::MAX - FIRST_USER_ID);
        assert_eq!(ids_up_to(3, 3), Some(FIRST_USER_ID));
        assert_eq!(ids_up_to(most, 2), Some(u32::MAX - 2));
        assert_eq!([ids_up_to(most + 1, 2), ids_up_to(i64::from(u32::MAX) + 1, 2)], [None, None]);
    }
}
