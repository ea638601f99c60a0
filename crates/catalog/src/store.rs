//! The catalog as it is stored, and how it changes: rows of descriptors and version numbers, written in the same
//! transactions as everything else.
//!
//! ```text
//! /Table/1/1/<id>                  descriptor (postcard)
//! /Table/2/1/<storage id>          statistics (postcard, then that of the groups of columns)
//! /Table/4/1/<domain>              version, big endian
//! /Table/5/1/<domain>/<version>    ids of what this version changed (postcard); none: more than are listed
//! /Table/7/1/<id>                  what is granted: see [`crate::privilege::rows`]
//! /System/"id/object"              the last id given out
//! ```
//! A *domain* is a database; what databases share (roles, databases, built-in schemas) is [`SHARED_DOMAIN`]. Each has a
//! version of its own, so that DDL in one database is of no account in another.
//!
//! **Invariant (version-moves):** a transaction that changes a descriptor also raises its domain's version, and holds an
//! exclusive lock on that version's key from before it looks at the catalog until it ends.
//!
//! **Invariant (planned-as-stored):** a transaction looks at its database's version in its own snapshot, together with
//! its first read: it is the version that its statements were planned under. From then on it depends on the descriptors
//! of what it uses ([`kv::Txn::depend_on`]) and on no others. So a statement never runs under an older descriptor than
//! the one in force when its transaction commits, and DDL on other tables does not disturb it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use keys::{ColumnId, IndexId, Key, Span, TableId, keyspace};
use kv::{Db, Read, ScanOptions, Txn, TxnOptions};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use uuid::Uuid;

use crate::{
    cluster::ClusterSettings,
    descriptor::{
        CLUSTER_SETTINGS, DATABASE_OWNER_ROLE, Database, Descriptor, FIRST_USER_ID, INFORMATION_SCHEMA, PG_CATALOG_SCHEMA,
        POSTGRES_DATABASE, POSTGRES_ROLE, PUBLIC_SCHEMA, Role, Schema,
    },
    privilege::{PrivilegeRow, Privileges, SharedPrivileges, access::PREDEFINED},
    snapshot::CatalogSnapshot,
    statistics::{Statistics, TableStatistics},
    stored_rows::{descriptor_span, privilege_span, statistics_key},
    view::CatalogView,
    virtual_tables::SystemTables,
};

pub(crate) const DESCRIPTORS: TableId = TableId::new(1);
pub(crate) const STATISTICS: TableId = TableId::new(2);
const VERSIONS: TableId = TableId::new(4);
const CHANGES: TableId = TableId::new(5);
pub(crate) const PRIVILEGES: TableId = TableId::new(7);
/// In place of an id: the version of privileges, and the domain that their changes are listed under.
pub(crate) const PRIVILEGES_VERSION: u32 = 0;
pub const PRIVILEGES_DOMAIN: u32 = u32::MAX;
/// What all databases share.
pub const SHARED_DOMAIN: u32 = 0;
/// A node that is at most so many versions behind reads what has changed, and not all of the catalog.
const CHANGES_KEPT: u64 = 64;
/// A version that changes more does not list what.
const LISTED_MAX: usize = 64;
/// Rows of the catalogs that are kept: those of two databases before and after a change.
const SYSTEM_TABLES_KEPT: usize = 4;
pub(crate) const PRIMARY: IndexId = IndexId::new(1);

/// The key of a row of the store's own tables.
pub(crate) fn row_key(table: TableId, columns: &[u64]) -> Key {
    let mut key = keyspace::index(table, PRIMARY).as_bytes().to_vec();
    columns.iter().for_each(|column| keys::encoding::put_uvarint(&mut key, *column));
    key.into()
}

/// The first column of such a row.
pub(crate) fn row_id(table: TableId, key: &[u8]) -> Option<u32> {
    let prefix = keyspace::index(table, PRIMARY);
    let mut rest = key.strip_prefix(prefix.as_bytes())?;
    keys::encoding::take_uvarint(&mut rest).ok().and_then(|id| u32::try_from(id).ok())
}

pub(crate) fn version_key(domain: u32) -> Key {
    row_key(VERSIONS, &[u64::from(domain)])
}

fn change_key(domain: u32, version: u64) -> Key {
    row_key(CHANGES, &[u64::from(domain), version])
}

/// Where an object's descriptor is stored.
#[must_use]
pub fn descriptor_key(id: u32) -> Key {
    row_key(DESCRIPTORS, &[u64::from(id)])
}

async fn read_statistics(txn: &mut Txn) -> Result<FxHashMap<u32, Arc<TableStatistics>>, kv::Error> {
    let mut tables = FxHashMap::default();
    let mut rest = Some(Span::prefix(keyspace::index(STATISTICS, PRIMARY)));
    while let Some(span) = rest {
        let page = txn.scan(&span, ScanOptions::default()).await?;
        for (key, value) in page.rows.iter() {
            if let (Some(storage), Some(statistics)) = (row_id(STATISTICS, key), TableStatistics::decode(value)) {
                tables.insert(storage, Arc::new(statistics));
            }
        }
        rest = page.resume;
    }
    Ok(tables)
}

pub(crate) fn encode_version(version: u64) -> Bytes {
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
    privileges: SharedPrivileges,
}

fn privilege_key(id: u32) -> Key {
    row_key(PRIVILEGES, &[u64::from(id)])
}

fn decode_privileges(id: u32, key: &Key, value: &[u8]) -> Result<PrivilegeRow, CatalogError> {
    PrivilegeRow::decode(id, value)
        .map_err(|error| CatalogError::Damaged { key: key.clone(), reason: error.to_string() })
}

fn decode_version(key: &Key, value: Option<&Bytes>) -> Result<u64, CatalogError> {
    let Some(value) = value else { return Ok(0) };
    let bytes = <[u8; 8]>::try_from(&**value);
    let bytes = bytes.map_err(|_| CatalogError::Damaged { key: key.clone(), reason: "not a version".into() })?;
    Ok(u64::from_be_bytes(bytes))
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
        let (statistics, privileges) = (Statistics::default(), SharedPrivileges::default());
        let store = Self { db, current, system_tables: Arc::default(), statistics, privileges };
        loop {
            let mut txn = store.db.begin(TxnOptions::default());
            let outcome = store.load(&mut txn).await;
            match outcome {
                Ok(Some(snapshot)) => {
                    txn.rollback().await;
                    store.current.store(Arc::new(snapshot));
                    store.refresh_statistics().await?;
                    store.read_privileges().await?;
                    return Ok(store);
                }
                Ok(None) => {
                    for descriptor in first_descriptors() {
                        txn.put(descriptor_key(descriptor.id()), encode(&descriptor));
                    }
                    for domain in [SHARED_DOMAIN, POSTGRES_DATABASE] {
                        txn.put(version_key(domain), encode_version(1));
                    }
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

    /// Makes a transaction depend on its database being at a snapshot's version: *planned-as-stored*.
    pub fn pin(&self, txn: &mut Txn, snapshot: &CatalogSnapshot, database: u32) {
        let (key, version) = snapshot.pin(database);
        txn.check_value(key, version);
    }

    /// Looks whether a snapshot is the newest as a transaction sees it, also in what databases share.
    ///
    /// # Errors
    /// As a read; `Retry` when it is not.
    pub async fn look_at_versions(&self, txn: &mut Txn, snapshot: &CatalogSnapshot) -> Result<(), kv::Error> {
        txn.resolve_check().await?;
        let (key, version) = snapshot.pin(SHARED_DOMAIN);
        txn.look_at(&key, version.as_ref()).await
    }

    /// Before a transaction changes anything in a domain: others have to wait, and the snapshot must be the newest.
    ///
    /// # Errors
    /// As a locking read; `Retry` when there is a newer one. The lock is held then.
    pub async fn lock_domain(
        &self,
        txn: &mut Txn,
        snapshot: &CatalogSnapshot,
        domain: u32,
    ) -> Result<(), kv::Error> {
        let (key, version) = snapshot.pin(domain);
        txn.hold_value(&key, version.as_ref()).await
    }

    /// Reads what has changed in the catalog since the snapshot at hand.
    ///
    /// # Errors
    /// As [`CatalogStore::open`].
    pub async fn refresh(&self) -> Result<Arc<CatalogSnapshot>, CatalogError> {
        self.read_privileges().await?;
        self.refresh_descriptors().await
    }

    async fn refresh_descriptors(&self) -> Result<Arc<CatalogSnapshot>, CatalogError> {
        for _ in 0..100 {
            let base = self.current();
            let mut txn = self.db.begin(TxnOptions::default());
            match self.load_newer(&mut txn, &base).await {
                Ok(None) => break,
                Ok(Some(newer)) => {
                    txn.rollback().await;
                    let before = self.current.compare_and_swap(&base, Arc::new(newer));
                    // What another has put there meanwhile may be newer still.
                    if Arc::ptr_eq(&before, &base) {
                        break;
                    }
                }
                Err(CatalogError::Kv(error)) if error.is_retryable() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.current())
    }

    /// The catalog as a transaction in the past sees it; none where there was none yet.
    ///
    /// # Errors
    /// As [`CatalogStore::open`].
    pub async fn as_of(&self, txn: &mut Txn) -> Result<Option<Arc<CatalogSnapshot>>, CatalogError> {
        let current = self.current();
        let versions = Self::versions(txn).await?;
        let is_current = |(domain, version): &(u32, u64)| current.version_of(*domain) == *version;
        if !versions.is_empty() && versions.iter().all(is_current) {
            return Ok(Some(current));
        }
        Ok(self.load(txn).await?.map(Arc::new))
    }

    /// Makes what is granted known here, as of now. Roles may have changed with it.
    ///
    /// # Errors
    /// As [`CatalogStore::open`].
    pub async fn refresh_privileges(&self) -> Result<(), CatalogError> {
        if self.read_privileges().await? {
            self.refresh_descriptors().await?;
        }
        Ok(())
    }

    /// Of what is known here.
    #[must_use]
    pub fn privileges_version(&self) -> u64 {
        self.privileges.current().version()
    }

    /// Whether there were newer ones.
    async fn read_privileges(&self) -> Result<bool, CatalogError> {
        let key = privilege_key(PRIVILEGES_VERSION);
        let newest = decode_version(&key, self.db.get(&key).await?.as_ref())?;
        if newest <= self.privileges.current().version() {
            return Ok(false);
        }
        for _ in 0..100 {
            let base = self.privileges.current();
            let mut txn = self.db.begin(TxnOptions::default());
            match Self::load_privileges(&mut txn, &base).await {
                Ok(newer) => {
                    txn.rollback().await;
                    self.privileges.advance(&Arc::new(newer));
                    break;
                }
                Err(CatalogError::Kv(error)) if error.is_retryable() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    async fn load_privileges(txn: &mut Txn, base: &Privileges) -> Result<Privileges, CatalogError> {
        let key = privilege_key(PRIVILEGES_VERSION);
        let version = decode_version(&key, txn.get(&key, Read::default()).await?.as_ref())?;
        let steps = version.saturating_sub(base.version());
        let listed = if steps <= CHANGES_KEPT { Self::listed_ids(txn, PRIVILEGES_DOMAIN, base.version(), version).await? } else { None };
        let mut privileges;
        match listed {
            Some(ids) => {
                privileges = base.clone();
                let keys: Vec<Key> = ids.iter().map(|id| privilege_key(*id)).collect();
                let values = txn.get_many(&keys, Read::default()).await?;
                for ((id, key), value) in ids.into_iter().zip(&keys).zip(values) {
                    privileges.put(match value {
                        Some(value) => decode_privileges(id, key, &value)?,
                        None => PrivilegeRow::new(id),
                    });
                }
            }
            None => {
                privileges = Privileges::default();
                let mut rest = Some(privilege_span());
                while let Some(span) = rest {
                    let page = txn.scan(&span, ScanOptions::default()).await?;
                    for (key, value) in page.rows.iter() {
                        let Some(id) = row_id(PRIVILEGES, key).filter(|id| *id != PRIVILEGES_VERSION) else { continue };
                        privileges.put(decode_privileges(id, &Key::from(key), value)?);
                    }
                    rest = page.resume;
                }
            }
        }
        privileges.version = version;
        Ok(privileges)
    }

    /// The ids that the versions after `from` have changed; none where not all are listed.
    async fn listed_ids(txn: &mut Txn, domain: u32, from: u64, to: u64) -> Result<Option<Vec<u32>>, CatalogError> {
        let keys: Vec<Key> = (from + 1..=to).map(|version| change_key(domain, version)).collect();
        let mut ids = Vec::new();
        for value in txn.get_many(&keys, Read::default()).await? {
            match value.as_deref().map(postcard::from_bytes::<Vec<u32>>) {
                Some(Ok(listed)) if !listed.is_empty() => ids.extend(listed),
                _ => return Ok(None),
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(Some(ids))
    }

    /// Before a transaction grants anything: others that do have to wait, and what is known here is the newest.
    ///
    /// # Errors
    /// As a locking read.
    pub async fn lock_privileges(&self, txn: &mut Txn) -> Result<(), CatalogError> {
        let key = privilege_key(PRIVILEGES_VERSION);
        for _ in 0..100 {
            let known = self.privileges.current().version();
            let expected = (known > 0).then(|| encode_version(known));
            match txn.hold_value(&key, expected.as_ref()).await {
                Ok(()) => return Ok(()),
                // The lock is held: no other transaction changes them.
                Err(kv::Error::Retry { reason: kv::Restart::CheckedValueChanged, .. }) => {
                    if !self.read_privileges().await? {
                        break;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(kv::Error::Retry { reason: kv::Restart::CheckedValueChanged, at_least: txn.read_ts() }.into())
    }

    /// Takes in a change that has been committed. Where the snapshot is not the one before the change, it has been read
    /// since, or will be.
    pub fn advance(&self, change: &CatalogChange) {
        if let Some(change) = &change.privileges {
            self.privileges.advance(&change.privileges);
        }
        if change.domains.is_empty() {
            return;
        }
        self.current.rcu(|current| change.after(current).unwrap_or_else(|| current.clone()));
    }

    async fn versions(txn: &mut Txn) -> Result<Vec<(u32, u64)>, CatalogError> {
        let mut versions = Vec::new();
        let mut rest = Some(Span::prefix(keyspace::index(VERSIONS, PRIMARY)));
        while let Some(span) = rest {
            let page = txn.scan(&span, ScanOptions::default()).await?;
            for (key, value) in page.rows.iter() {
                let read = row_id(VERSIONS, key).zip(<[u8; 8]>::try_from(value).ok());
                let (domain, version) = read.ok_or_else(|| CatalogError::Damaged {
                    key: Key::from(key),
                    reason: "not a version".into(),
                })?;
                versions.push((domain, u64::from_be_bytes(version)));
            }
            rest = page.resume;
        }
        Ok(versions)
    }

    /// The catalog as a transaction sees it; none where it is no newer.
    async fn load_newer(
        &self,
        txn: &mut Txn,
        base: &CatalogSnapshot,
    ) -> Result<Option<CatalogSnapshot>, CatalogError> {
        let versions = Self::versions(txn).await?;
        let newer: Vec<(u32, u64)> =
            versions.into_iter().filter(|(domain, version)| *version > base.version_of(*domain)).collect();
        if newer.is_empty() {
            return Ok(None);
        }
        let Some(ids) = Self::changed_ids(txn, base, &newer).await? else { return self.load(txn).await };
        let keys: Vec<Key> = ids.iter().map(|id| descriptor_key(*id)).collect();
        let values = txn.get_many(&keys, Read::default()).await?;
        let mut snapshot = base.clone();
        for ((id, key), value) in ids.into_iter().zip(keys).zip(values) {
            match value {
                Some(value) => snapshot.put(decode(key.as_bytes(), &value)?),
                None => snapshot.remove(id),
            }
        }
        for (domain, version) in newer {
            snapshot.set_version(domain, version);
        }
        Ok(Some(snapshot))
    }

    /// What has changed up to these versions; none where not all of it is listed.
    async fn changed_ids(
        txn: &mut Txn,
        base: &CatalogSnapshot,
        newer: &[(u32, u64)],
    ) -> Result<Option<Vec<u32>>, CatalogError> {
        let mut ids = Vec::new();
        for (domain, version) in newer {
            let from = base.version_of(*domain);
            if version - from > CHANGES_KEPT {
                return Ok(None);
            }
            match Self::listed_ids(txn, *domain, from, *version).await? {
                Some(listed) => ids.extend(listed),
                None => return Ok(None),
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(Some(ids))
    }

    async fn load(&self, txn: &mut Txn) -> Result<Option<CatalogSnapshot>, CatalogError> {
        let versions = Self::versions(txn).await?;
        if versions.is_empty() {
            return Ok(None);
        }
        let mut snapshot = CatalogSnapshot::default();
        snapshot.set_statistics(self.statistics.clone());
        snapshot.share_privileges(self.privileges.clone());
        for role in PREDEFINED {
            snapshot.put(Descriptor::Role(Role::new(role.0, role.1)));
        }
        for (domain, version) in versions {
            snapshot.set_version(domain, version);
        }
        let mut rest = Some(descriptor_span());
        while let Some(span) = rest {
            let page = txn.scan(&span, ScanOptions::default()).await?;
            for (key, value) in page.rows.iter() {
                snapshot.put(decode(key, value)?);
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
        let value: Bytes = statistics.encode().into();
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
        ids_up_to(last, count)
            .ok_or_else(|| kv::Error::Internal { reason: "all object ids have been given out".into() })
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

pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<Descriptor, CatalogError> {
    postcard::from_bytes(value)
        .map_err(|error| CatalogError::Damaged { key: Key::from(key), reason: error.to_string() })
}

/// Changes of the catalog inside a transaction: seen by it at once, by others when it commits.
#[derive(Clone, Debug)]
pub struct CatalogChange {
    base: Arc<CatalogSnapshot>,
    /// Copied when it is changed while somebody else holds it.
    snapshot: Arc<CatalogSnapshot>,
    domains: Vec<DomainChange>,
    privileges: Option<PrivilegesChange>,
}

/// What a transaction has granted and revoked.
#[derive(Clone, Debug)]
struct PrivilegesChange {
    privileges: Arc<Privileges>,
    ids: Vec<u32>,
}

/// What changes in a domain.
#[derive(Clone, Debug)]
struct DomainChange {
    domain: u32,
    version: u64,
    ids: Vec<u32>,
}

impl CatalogChange {
    #[must_use]
    pub fn new(base: Arc<CatalogSnapshot>) -> Self {
        Self { snapshot: base.clone(), base, domains: Vec::new(), privileges: None }
    }

    /// The catalog with the changes made so far.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<CatalogSnapshot> {
        &self.snapshot
    }

    /// *version-moves*
    fn touch(&mut self, txn: &mut Txn, domain: u32, id: u32) {
        let at = self.domains.iter().position(|change| change.domain == domain).unwrap_or_else(|| {
            let version = self.base.version_of(domain) + 1;
            Arc::make_mut(&mut self.snapshot).set_version(domain, version);
            txn.put(version_key(domain), encode_version(version));
            if let Some(old) = version.checked_sub(CHANGES_KEPT) {
                txn.delete(change_key(domain, old));
            }
            self.domains.push(DomainChange { domain, version, ids: Vec::new() });
            self.domains.len() - 1
        });
        let change = &mut self.domains[at];
        if change.ids.contains(&id) {
            return;
        }
        change.ids.push(id);
        list_change(txn, domain, change.version, &change.ids);
    }

    /// Raises the versions of all databases for the cluster's settings, so that plans are made anew on every node. The
    /// domains are locked.
    pub fn raise_databases(&mut self, txn: &mut Txn) {
        let databases: Vec<u32> = self.snapshot.databases().map(|database| database.id).collect();
        for database in databases {
            self.touch(txn, database, CLUSTER_SETTINGS);
        }
    }

    /// Grants, revokes, makes a role a member: the row as it is to be. The lock of [`CatalogStore::lock_privileges`] is held.
    pub fn put_privileges(&mut self, txn: &mut Txn, row: PrivilegeRow) {
        let change = self.privileges.get_or_insert_with(|| {
            let mut privileges = Privileges::clone(&self.base.privileges());
            privileges.version += 1;
            txn.put(privilege_key(PRIVILEGES_VERSION), encode_version(privileges.version));
            if let Some(old) = privileges.version.checked_sub(CHANGES_KEPT) {
                txn.delete(change_key(PRIVILEGES_DOMAIN, old));
            }
            PrivilegesChange { privileges: Arc::new(privileges), ids: Vec::new() }
        });
        if !change.ids.contains(&row.id) {
            change.ids.push(row.id);
            list_change(txn, PRIVILEGES_DOMAIN, change.privileges.version, &change.ids);
        }
        match row.is_empty() {
            true => txn.delete(privilege_key(row.id)),
            false => txn.put(privilege_key(row.id), row.encode().into()),
        }
        Arc::make_mut(&mut change.privileges).put(row);
        Arc::make_mut(&mut self.snapshot).set_own_privileges(Some(change.privileges.clone()));
    }

    /// *grants-by-id*: what was granted on an object that is gone counts for nothing, and its row goes without a new version.
    fn forget_privileges(&mut self, txn: &mut Txn, id: u32) {
        if self.snapshot.privileges().row(id).is_some() {
            txn.delete(privilege_key(id));
        }
    }

    pub fn put(&mut self, txn: &mut Txn, descriptor: Descriptor) {
        self.touch(txn, self.snapshot.domain_of(&descriptor), descriptor.id());
        if let (Some(old), Descriptor::Table(new)) = (self.snapshot.table_by_id(descriptor.id()), &descriptor)
            && old.storage != new.storage
        {
            txn.delete(statistics_key(old.storage));
        }
        txn.put(descriptor_key(descriptor.id()), encode(&descriptor));
        Arc::make_mut(&mut self.snapshot).put(descriptor);
    }

    pub fn remove(&mut self, txn: &mut Txn, id: u32) {
        let Some(domain) = self.snapshot.domain_of_id(id) else { return };
        self.touch(txn, domain, id);
        if let Some(table) = self.snapshot.table_by_id(id) {
            txn.delete(statistics_key(table.storage));
        }
        self.forget_privileges(txn, id);
        txn.delete(descriptor_key(id));
        Arc::make_mut(&mut self.snapshot).remove(id);
    }

    /// A snapshot with the change, where it is at the versions that the change was made upon.
    fn after(&self, current: &Arc<CatalogSnapshot>) -> Option<Arc<CatalogSnapshot>> {
        if Arc::ptr_eq(current, &self.base) {
            let mut next = self.snapshot.clone();
            if self.privileges.is_some() {
                Arc::make_mut(&mut next).set_own_privileges(None);
            }
            if next.has_new_labels() {
                Arc::make_mut(&mut next).commit_labels();
            }
            return Some(next);
        }
        let is_next = |change: &&DomainChange| current.version_of(change.domain) + 1 == change.version;
        let mut next: Option<CatalogSnapshot> = None;
        for change in self.domains.iter().filter(is_next) {
            let next = next.get_or_insert_with(|| CatalogSnapshot::clone(current));
            change.ids.iter().for_each(|id| next.take_from(&self.snapshot, *id));
            next.set_version(change.domain, change.version);
        }
        next.map(|mut next| {
            next.commit_labels();
            Arc::new(next)
        })
    }
}

/// Lists what a version has changed so far; nothing where that is too much.
fn list_change(txn: &mut Txn, domain: u32, version: u64, ids: &[u32]) {
    if ids.len() <= LISTED_MAX + 1 {
        let listed = if ids.len() > LISTED_MAX { &[][..] } else { ids };
        let listed = postcard::to_stdvec(listed).expect("ids are plain data");
        txn.put(change_key(domain, version), listed.into());
    }
}

/// What every cluster has from the start.
pub(crate) fn first_descriptors() -> Vec<Descriptor> {
    let schema = |id, database, name: &str, owner| {
        Descriptor::Schema(Schema { id, database, name: name.into(), owner, comment: None })
    };
    vec![
        Descriptor::Role(Role {
            id: POSTGRES_ROLE,
            name: "postgres".into(),
            superuser: true,
            login: true,
            create_db: true,
            create_role: true,
            password: None,
            valid_until: None,
            connection_limit: -1,
        }),
        Descriptor::Role(Role::new(DATABASE_OWNER_ROLE, "pg_database_owner")),
        Descriptor::Database(Database {
            id: POSTGRES_DATABASE,
            name: "postgres".into(),
            owner: POSTGRES_ROLE,
        }),
        Descriptor::Cluster(ClusterSettings { secret: Uuid::new_v4().into_bytes(), ..ClusterSettings::default() }),
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
