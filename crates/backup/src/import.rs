//! RESTORE: rows under new ids, and then, in one transaction, the objects that they belong to.
//!
//! ```text
//! 1  what is to be restored, and ids for all of it: base .. base + n, given once
//! 2  index by index: rows of the backup ─▶ ranges, under the new ids, all at one time; how far, every few seconds
//! 3  one transaction: names are free ─▶ descriptors, grants, sequences, statistics; the job has succeeded
//! ```
//! **Invariants**
//! - *published-last*: no descriptor names the new ids before all rows are there; nobody can read or write below them.
//! - *loaded-before-published*: all rows are written at times that the job has written down before, below that of the
//!   commit. So a coordinator that has lost the job, and goes on for a while, writes what is there already, beneath
//!   whatever clients have written since.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use catalog::descriptor::FIRST_USER_ID;
use catalog::privilege::PrivilegeRow;
use catalog::{CatalogChange, CatalogSnapshot, Descriptor, Renumbering, SHARED_DOMAIN};
use hlc::Timestamp;
use keys::tagged::{Malformed, Reader, Writer};
use keys::{Key, Span, TableId, keyspace};
use kv::{Txn, TxnOptions};
use tokio::time::Instant;
use types::{SqlError, SqlResult, SqlState};

use crate::chain::{Chain, View};
use crate::jobs::{JobContext, Stopped};
use crate::large_objects::{self, Destination, Held};
use crate::location::{Location, Mode};
use crate::manifest::{IndexSpan, Manifest};
use crate::select;
use crate::stamp;
use crate::tasks::{RestoreTarget, RestoreTask, Target};

/// What goes in one command, and how many are under way.
const BATCH_BYTES: usize = 1 << 20;
const BATCHES_AT_ONCE: usize = 4;
const CHECKPOINT_EVERY: Duration = Duration::from_secs(3);
/// How often the last transaction is tried again.
const PUBLISH_TRIES: usize = 100;

/// How far a restore is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Progress {
    /// The first of the new ids.
    base: u32,
    /// How many there are.
    count: u32,
    /// When rows are written. *loaded-before-published*
    ts: Timestamp,
    /// Indexes that are done.
    done: u64,
    /// Of the next, the last key that is done.
    key: Option<Vec<u8>>,
    rows: u64,
    bytes: u64,
}

impl Progress {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(2, self.base.into(), 0);
        writer.number(4, self.count.into(), 0);
        writer.bytes(6, &stamp::encode(self.ts));
        writer.number(8, self.done, 0);
        if let Some(key) = &self.key {
            writer.bytes(10, key);
        }
        writer.number(12, self.rows, 0);
        writer.number(14, self.bytes, 0);
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let progress = Self {
            base: reader.id(2)?,
            count: reader.id(4)?,
            ts: stamp::decode(6, reader.bytes(6)?)?,
            done: reader.number(8, 0)?,
            key: reader.bytes(10)?.map(<[u8]>::to_vec),
            rows: reader.number(12, 0)?,
            bytes: reader.number(14, 0)?,
        };
        reader.finish()?;
        Ok(progress)
    }
}

fn broken(error: &Malformed) -> SqlError {
    SqlError::new(SqlState::DataCorrupted, format!("a job is damaged: {error}"))
}

fn refused(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::ObjectNotInPrerequisiteState, message)
}

struct Restore<'a> {
    context: &'a JobContext,
    task: RestoreTask,
    chain: Chain,
    view: View,
    /// What is restored: objects as they were.
    chosen: BTreeSet<u32>,
    /// The ids of what is there as it was, and is not made again.
    same: BTreeSet<u32>,
    /// Of large objects, what is made known with the descriptors.
    held: Held,
}

async fn task_of(context: &JobContext) -> Result<RestoreTask, Stopped> {
    Ok(RestoreTask::decode(&context.details().await?).map_err(|error| broken(&error))?)
}

async fn progress_of(context: &JobContext) -> Result<Option<Progress>, Stopped> {
    let found = context.progress().await?;
    Ok(found.map(|bytes| Progress::decode(&bytes)).transpose().map_err(|error| broken(&error))?)
}

pub(crate) async fn run(context: &JobContext) -> Result<(), Stopped> {
    let task = task_of(context).await?;
    let full = Location::open(&task.uri, Mode::Read)?.child(&task.path);
    let chain = Chain::open(&full, task.key.clone()).await?;
    let view = chain.at(task.as_of)?;
    let chosen = choose(&task, &view, &chain.layers[view.layers - 1].manifest)?;
    let mut restore = Restore { context, task, chain, view, chosen, same: BTreeSet::new(), held: Held::default() };
    restore.detach()?;
    let catalog = context.registry.options.catalog.refresh().await?;
    restore.reuse(&catalog).await?;
    let mut progress = match progress_of(context).await? {
        Some(found) => {
            // Rows that another coordinator has written lie below the commit of this one.
            context.registry.options.clock.forward(found.ts);
            // The new ids follow from what is made, which must be the same as when rows were written under them.
            if restore.given_ids().len() as u64 != u64::from(found.count) {
                return Err(refused("a type or a function that tables need was changed while they were restored")
                    .with_hint("Restore them again.")
                    .into());
            }
            found
        }
        None => {
            let count = u32::try_from(restore.given_ids().len()).map_err(|_| refused("there are too many objects"))?;
            let base = match count {
                0 => 0,
                count => context.registry.options.catalog.allocate_ids(count).await?,
            };
            let ts = context.registry.options.clock.now();
            Progress { base, count, ts, done: 0, key: None, rows: 0, bytes: 0 }
        }
    };
    restore.check_target(&catalog, &progress)?;
    restore.keep(&progress, 0).await?;
    restore.hold_large_objects(&catalog, &progress).await?;
    restore.load(&mut progress).await?;
    restore.publish(&progress).await
}

/// Frees what a restore that is not to be has written.
pub(crate) async fn clean(context: &JobContext) -> Result<(), Stopped> {
    // A commit whose answer was lost is either seen here, and the job has ended, or fails for this.
    context.update(None, |job| job.retries += 1).await?;
    if context.registry.readable_job(context.id).await?.status.has_ended() {
        return Ok(());
    }
    let Some(progress) = progress_of(context).await? else { return Ok(()) };
    let at = context.registry.options.clock.now();
    large_objects::clear_new(context.db(), progress.base, progress.count, at).await?;
    if task_of(context).await?.target == RestoreTarget::Cluster {
        let catalog = context.registry.options.catalog.refresh().await?;
        for database in kept_databases(&catalog) {
            large_objects::clear_orphans(context.db(), database, at).await?;
        }
    }
    Ok(context.db().clear_span(&Span::new(of_storage(progress.base), of_storage(progress.base + progress.count)), at).await?)
}

fn of_storage(id: u32) -> Key {
    keyspace::table(TableId::new(id))
}

fn missing(what: &str, name: &str) -> SqlError {
    SqlError::new(SqlState::UndefinedObject, format!("{what} \"{name}\" does not exist in the backup"))
}

/// The objects to restore.
fn choose(task: &RestoreTask, view: &View, manifest: &Manifest) -> SqlResult<BTreeSet<u32>> {
    let objects = &view.objects;
    match &task.target {
        RestoreTarget::Cluster => match manifest.target {
            Target::Cluster => Ok(select::all(objects)),
            Target::Databases(_) | Target::Tables(_) => Err(refused("the backup is not of a whole cluster")
                .with_hint("RESTORE DATABASE or RESTORE TABLE can restore what is in it.")),
        },
        RestoreTarget::Databases(names) => {
            let mut ids = Vec::new();
            for name in names {
                let is_named = |it: &&Descriptor| matches!(it, Descriptor::Database(database) if database.name == *name);
                let found = objects.values().find(is_named).ok_or_else(|| missing("database", name))?;
                let is_whole = match &manifest.target {
                    Target::Cluster => true,
                    Target::Databases(whole) => whole.contains(&found.id()),
                    Target::Tables(_) => false,
                };
                if !is_whole {
                    return Err(refused(format!("the backup does not have all of database \"{name}\""))
                        .with_hint("RESTORE TABLE can restore the tables that are in it."));
                }
                ids.push(found.id());
            }
            Ok(select::in_databases(objects, &ids))
        }
        RestoreTarget::Tables(names) => {
            let mut ids = Vec::new();
            for wanted in names {
                let is_meant = |it: &&Descriptor| {
                    let Descriptor::Table(table) = it else { return false };
                    let schema = objects.get(&table.schema);
                    let database = select::database_of(objects, it).and_then(|id| objects.get(&id));
                    table.name == wanted.name
                        && matches!(schema, Some(Descriptor::Schema(schema)) if schema.name == wanted.schema)
                        && wanted.database.as_ref().is_none_or(|name| {
                            matches!(database, Some(Descriptor::Database(database)) if database.name == *name)
                        })
                };
                let found: Vec<u32> = objects.values().filter(is_meant).map(Descriptor::id).collect();
                match found[..] {
                    [id] => ids.push(id),
                    [] => {
                        let message = format!("table \"{}.{}\" does not exist in the backup", wanted.schema, wanted.name);
                        return Err(SqlError::new(SqlState::UndefinedTable, message));
                    }
                    _ => {
                        return Err(refused(format!("table \"{}.{}\" is in several databases of the backup", wanted.schema, wanted.name))
                            .with_hint("Write its database before it."));
                    }
                }
            }
            Ok(select::of_tables(objects, &ids))
        }
    }
}

impl Restore<'_> {
    fn is_of_tables(&self) -> bool {
        matches!(self.task.target, RestoreTarget::Tables(_))
    }

    /// Takes tables out of what they were part of, where that is not restored with them.
    fn detach(&mut self) -> SqlResult<()> {
        if !self.is_of_tables() {
            return Ok(());
        }
        let chosen = &self.chosen;
        let mut names = BTreeMap::new();
        for (id, it) in &self.view.objects {
            if let Descriptor::Table(table) = it {
                names.insert(*id, table.name.clone());
            }
        }
        for id in chosen {
            match self.view.objects.get_mut(id) {
                Some(Descriptor::Table(table)) => {
                    let outside = table.foreign_keys.iter().find(|key| !chosen.contains(&key.referenced_table));
                    if let Some(key) = outside.filter(|_| !self.task.skip_missing_foreign_keys) {
                        let other = names.get(&key.referenced_table).map_or("", String::as_str);
                        let message = format!("cannot restore table \"{}\" without referenced table \"{other}\"", table.name);
                        return Err(refused(message).with_hint("Restore both, or use the option skip_missing_foreign_keys."));
                    }
                    table.foreign_keys.retain(|key| chosen.contains(&key.referenced_table));
                    table.referenced_by.retain(|id| chosen.contains(id));
                    if let Some(partitioning) = &mut table.partitioning
                        && partitioning.parent.is_some_and(|parent| !chosen.contains(&parent))
                    {
                        let partitioning = std::sync::Arc::make_mut(partitioning);
                        partitioning.parent = None;
                        partitioning.parts.clear();
                    }
                }
                Some(Descriptor::Sequence(sequence)) => {
                    if sequence.owned_by.is_some_and(|(table, _)| !chosen.contains(&table)) {
                        sequence.owned_by = None;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Types and routines that tables need are not made again where they are there as they were.
    async fn reuse(&mut self, catalog: &CatalogSnapshot) -> Result<(), Stopped> {
        if !self.is_of_tables() {
            return Ok(());
        }
        let mut same = Vec::new();
        for id in &self.chosen {
            let Some(it @ (Descriptor::Type(_) | Descriptor::Routine(_))) = self.view.objects.get(id) else { continue };
            let schema = it.schema().and_then(|schema| catalog.schema_by_id(schema));
            if schema.is_none_or(|schema| schema.database != self.task.database) {
                continue;
            }
            let stored = self.context.db().get(&catalog::descriptor_key(*id)).await?;
            if stored.is_some() && stored.as_ref() == self.view.stored.get(id) {
                same.push(*id);
                self.same.extend(it.defines().into_iter().flat_map(|(first, more)| first..=first + more));
            }
        }
        self.chosen.retain(|id| !same.contains(id));
        Ok(())
    }

    fn objects(&self) -> impl Iterator<Item = &Descriptor> {
        self.chosen.iter().filter_map(|id| self.view.objects.get(id))
    }

    /// In a whole cluster, what every cluster has keeps its ids.
    fn keeps(&self, id: u32) -> bool {
        self.task.target == RestoreTarget::Cluster && id < FIRST_USER_ID
    }

    /// The ids that get others, in their order.
    fn given_ids(&self) -> Vec<u32> {
        let mut ids: BTreeSet<u32> = BTreeSet::new();
        for it in self.objects() {
            ids.extend(it.defines().into_iter().flat_map(|(first, more)| first..=first + more));
        }
        // Rows of the list of grants have ids of their own where they are defaults.
        ids.extend(self.default_privileges().map(|row| row.id));
        ids.retain(|id| !self.keeps(*id));
        ids.into_iter().collect()
    }

    fn manifest(&self) -> &Manifest {
        &self.chain.layers[self.view.layers - 1].manifest
    }

    fn privileges(&self) -> impl Iterator<Item = PrivilegeRow> {
        self.manifest().privileges.iter().filter_map(|(id, bytes)| PrivilegeRow::decode(*id, bytes).ok())
    }

    fn default_privileges(&self) -> impl Iterator<Item = PrivilegeRow> {
        self.privileges().filter(|row| row.default.is_some_and(|default| self.chosen.contains(&default.database)))
    }

    /// Old ids and new ones.
    fn ids(&self, progress: &Progress) -> BTreeMap<u32, u32> {
        (progress.base..).zip(self.given_ids()).map(|(new, old)| (old, new)).collect()
    }

    /// Whether what is to be restored may be, as far as can be seen before its rows are.
    fn check_target(&self, catalog: &CatalogSnapshot, progress: &Progress) -> SqlResult<()> {
        self.new_descriptors(catalog, progress).map(|_| ())
    }

    async fn keep(&self, progress: &Progress, done_ppm: u64) -> Result<(), Stopped> {
        let (rows, bytes) = (progress.rows, progress.bytes);
        self.context
            .update(Some(progress.encode()), move |job| (job.rows, job.bytes, job.done_ppm) = (rows, bytes, done_ppm))
            .await
    }

    fn large_object_spans(&self) -> Vec<IndexSpan> {
        // Those of a backup that an earlier version has made are not in it.
        let spans = large_objects::spans(&self.manifest().target).into_iter();
        spans.filter(|of| !self.is_of_tables() && self.manifest().spans.contains(of)).collect()
    }

    fn destination(&self, catalog: &CatalogSnapshot, progress: &Progress) -> Destination {
        let ids = self.ids(progress);
        let databases = self.objects().filter_map(|it| match it {
            Descriptor::Database(database) => Some((database.id, ids.get(&database.id).copied().unwrap_or(database.id))),
            _ => None,
        });
        let is_cluster = self.task.target == RestoreTarget::Cluster;
        Destination {
            databases: databases.collect(),
            kept: if is_cluster { kept_databases(catalog) } else { BTreeSet::new() },
            roles: self.roles(catalog, &ids),
            user: self.task.user,
            is_trusted: self.is_trusted(catalog),
        }
    }

    /// *unseen-until-published*, *oids-ahead*
    async fn hold_large_objects(&mut self, catalog: &CatalogSnapshot, progress: &Progress) -> Result<(), Stopped> {
        let destination = self.destination(catalog, progress);
        large_objects::check_none(self.context.db(), &destination.kept).await?;
        self.held = destination.held(&self.large_object_spans(), &self.chain, &self.view).await?;
        Ok(self.held.advance_oids(self.context.db()).await?)
    }

    /// The indexes whose rows are restored, with whether those are the table's rows. Those of large objects come last.
    fn indexes(&self) -> Vec<(IndexSpan, bool)> {
        let mut indexes = Vec::new();
        for it in self.objects() {
            if let Descriptor::Table(table) = it {
                indexes.extend(select::spans_of(table).into_iter().enumerate().map(|(at, of)| (of, at == 0)));
            }
        }
        indexes.extend(self.large_object_spans().into_iter().map(|of| (of, false)));
        indexes
    }

    async fn load(&self, progress: &mut Progress) -> Result<(), Stopped> {
        let (ids, indexes) = (self.ids(progress), self.indexes());
        let catalog = self.context.registry.options.catalog.refresh().await?;
        let destination = self.destination(&catalog, progress);
        let mut written = Instant::now();
        while let Some((of, is_primary)) = usize::try_from(progress.done).ok().and_then(|done| indexes.get(done)).copied() {
            let is_large_object = large_objects::is_of_large_objects(of);
            let storage = if is_large_object { Some(of.storage) } else { ids.get(&of.storage).copied() };
            let storage = storage.ok_or_else(|| SqlError::internal("the storage of a table has no new id"))?;
            let prefix = IndexSpan { storage, index: of.index }.prefix();
            let place = |key: &[u8], value: Bytes| match is_large_object {
                true => destination.early_row(of, key, value),
                false => Ok(Some((Key::from([prefix.as_bytes(), key].concat()), value))),
            };
            let mut rows = self.chain.rows(of, &self.view, progress.key.as_deref())?;
            loop {
                self.context.check()?;
                let (mut batches, mut last, mut count, mut bytes) = (Vec::new(), None, 0, 0);
                while batches.len() < BATCHES_AT_ONCE {
                    let (mut batch, mut size) = (Vec::new(), 0);
                    while size < BATCH_BYTES
                        && let Some((key, value)) = rows.next().await?
                    {
                        if let Some((new, value)) = place(&key[..], value)? {
                            size += new.as_bytes().len() + value.len();
                            batch.push((new, Some(value)));
                        }
                        last = Some(key);
                    }
                    if batch.is_empty() {
                        break;
                    }
                    (count, bytes) = (count + batch.len() as u64, bytes + size as u64);
                    batches.push(batch);
                }
                let Some(last) = last else { break };
                self.ingest(&batches, progress).await?;
                progress.key = Some(last.to_vec());
                progress.rows += if is_primary { count } else { 0 };
                progress.bytes += bytes;
                if written.elapsed() >= CHECKPOINT_EVERY {
                    self.keep(progress, (progress.done * 1_000_000) / indexes.len() as u64).await?;
                    written = Instant::now();
                }
            }
            (progress.done, progress.key) = (progress.done + 1, None);
        }
        self.keep(progress, 999_999).await
    }

    async fn ingest(&self, batches: &[Vec<(Key, Option<Bytes>)>], progress: &mut Progress) -> Result<(), Stopped> {
        for _ in 0..PUBLISH_TRIES {
            let db = self.context.db();
            let written = futures::future::try_join_all(batches.iter().map(|batch| db.ingest(progress.ts, batch))).await;
            match written {
                Ok(_) => return Ok(()),
                // Versions of that time may be collected by now. *loaded-before-published*: the new time is written down first.
                Err(kv::Error::Retry { at_least, .. }) => {
                    let clock = &self.context.registry.options.clock;
                    clock.forward(at_least);
                    progress.ts = clock.now();
                    self.keep(progress, 0).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(SqlError::internal("rows of a restore were refused again and again").into())
    }

    /// The descriptors to be, in an order in which they can be put.
    fn new_descriptors(&self, catalog: &CatalogSnapshot, progress: &Progress) -> SqlResult<Vec<Descriptor>> {
        let ids = self.ids(progress);
        let target = match &self.task.target {
            RestoreTarget::Tables(_) => Some(self.task.database),
            RestoreTarget::Cluster => {
                check_empty(catalog)?;
                None
            }
            RestoreTarget::Databases(_) => None,
        };
        // Schemas that tables go to are there already.
        let mut homes: BTreeMap<u32, u32> = BTreeMap::new();
        if let Some(database) = target {
            if catalog.database_by_id(database).is_none() {
                return Err(SqlError::new(SqlState::InvalidCatalogName, "the database to restore into does not exist"));
            }
            for schema in self.objects().filter_map(Descriptor::schema) {
                let Some(Descriptor::Schema(old)) = self.view.objects.get(&schema) else { continue };
                let found = catalog.schema(database, &old.name).filter(|found| found.database == database);
                let found = found.ok_or_else(|| {
                    SqlError::new(SqlState::InvalidSchemaName, format!("schema \"{}\" does not exist", old.name))
                        .with_hint("Make it in the database that is restored into.")
                })?;
                homes.insert(schema, found.id);
            }
        }
        self.check_complete(&homes)?;
        let object = |id: u32| ids.get(&id).or_else(|| homes.get(&id)).copied().unwrap_or(id);
        let roles = self.roles(catalog, &ids);
        let role = |id: u32| roles.get(&id).copied();
        let to = Renumbering { object: &object, role: &role, owner: self.task.user };
        let mut new: Vec<Descriptor> = Vec::new();
        for it in self.objects() {
            let mut it = it.clone();
            if let Descriptor::Table(table) = &it
                && let Some(id) = table.policies().iter().flat_map(|policy| &policy.roles).find(|id| role(**id).is_none())
            {
                let name = self.manifest().roles.iter().find(|(known, _)| known == id).map_or("", |(_, name)| name);
                return Err(SqlError::new(SqlState::UndefinedObject, format!("role \"{name}\" does not exist"))
                    .with_detail(format!("A policy of table \"{}\" is for it.", table.name)));
            }
            if self.keeps(it.id()) && matches!(it, Descriptor::Role(_)) {
                continue;
            }
            to.descriptor(&mut it);
            if !self.is_trusted(catalog) {
                it.set_owner(self.task.user);
            }
            if let (Descriptor::Database(database), Some(name)) = (&mut it, &self.task.new_name) {
                database.name.clone_from(name);
            }
            new.push(it);
        }
        new.sort_by_key(|it| (rank(it), it.id()));
        for it in &new {
            if !self.keeps(it.id()) {
                check_free(it, catalog)?;
            }
        }
        Ok(new)
    }

    /// Where roles go: by name, or with the others of a cluster.
    fn roles(&self, catalog: &CatalogSnapshot, ids: &BTreeMap<u32, u32>) -> BTreeMap<u32, u32> {
        let known = |(id, name): &(u32, String)| {
            let of_cluster = self.task.target == RestoreTarget::Cluster && *id >= FIRST_USER_ID;
            let new = if of_cluster { ids.get(id).copied() } else { catalog.role(name).map(|role| role.id) };
            Some((*id, new?))
        };
        let mut roles: BTreeMap<u32, u32> = self.manifest().roles.iter().filter_map(known).collect();
        // Those that every cluster has are no descriptors.
        roles.extend(catalog::privilege::access::PREDEFINED.iter().map(|(id, _)| (*id, *id)));
        roles
    }

    /// That nothing refers to what is neither restored nor there.
    fn check_complete(&self, homes: &BTreeMap<u32, u32>) -> SqlResult<()> {
        let defined: BTreeSet<u32> =
            self.objects().flat_map(|it| it.defines().into_iter().flat_map(|(first, more)| first..=first + more)).collect();
        for it in self.objects() {
            let is_known = |id: &u32| {
                *id < FIRST_USER_ID
                    || defined.contains(id)
                    || homes.contains_key(id)
                    || self.same.contains(id)
            };
            let Some(id) = select::ids_in(it).into_iter().find(|id| !is_known(id)) else { continue };
            let name = match it {
                Descriptor::Table(table) => &table.name,
                Descriptor::View(view) => &view.name,
                Descriptor::Type(ty) => &ty.name,
                Descriptor::Routine(routine) => &routine.name,
                Descriptor::Sequence(_) | Descriptor::Schema(_) | Descriptor::Database(_) | Descriptor::Role(_) | Descriptor::Cluster(_) => continue,
            };
            let other = match self.view.objects.get(&id) {
                Some(Descriptor::Table(table)) => table.name.clone(),
                Some(Descriptor::View(view)) => view.name.clone(),
                Some(Descriptor::Type(ty)) => ty.name.clone(),
                Some(Descriptor::Routine(routine)) => routine.name.clone(),
                Some(Descriptor::Sequence(sequence)) => sequence.name.clone(),
                _ => format!("object {id}"),
            };
            return Err(refused(format!("cannot restore \"{name}\" without \"{other}\", on which it depends"))
                .with_hint("Restore both, or the whole database."));
        }
        Ok(())
    }

    /// *published-last*
    async fn publish(&self, progress: &Progress) -> Result<(), Stopped> {
        let store = &self.context.registry.options.catalog;
        let mut txn = self.context.db().begin(TxnOptions::default());
        for _ in 0..PUBLISH_TRIES {
            let catalog = store.refresh().await?;
            let outcome = match self.try_publish(&mut txn, catalog, progress).await {
                Ok(change) => match txn.commit().await {
                    Ok(at) => {
                        assert!(at > progress.ts, "loaded-before-published");
                        store.advance(&change);
                        if let Err(error) = store.refresh_statistics().await {
                            tracing::debug!(%error, "statistics of a restore were not read");
                        }
                        return Ok(());
                    }
                    Err(error) => Err(Stopped::Kv(error)),
                },
                Err(error) => Err(error),
            };
            match outcome {
                Err(Stopped::Kv(error)) if error.is_retryable() => txn.restart(&error),
                Err(error) => {
                    txn.rollback().await;
                    return Err(error);
                }
                Ok(()) => {}
            }
            self.context.check()?;
        }
        txn.rollback().await;
        Err(SqlError::internal("the catalog went on changing").into())
    }

    async fn try_publish(
        &self,
        txn: &mut Txn,
        catalog: std::sync::Arc<CatalogSnapshot>,
        progress: &Progress,
    ) -> Result<CatalogChange, Stopped> {
        let store = &self.context.registry.options.catalog;
        let domains = match &self.task.target {
            RestoreTarget::Tables(_) => vec![self.task.database],
            RestoreTarget::Databases(_) => vec![SHARED_DOMAIN],
            RestoreTarget::Cluster => {
                let databases = catalog.databases().map(|database| database.id);
                std::iter::once(SHARED_DOMAIN).chain(databases).collect()
            }
        };
        for domain in domains {
            store.lock_domain(txn, &catalog, domain).await?;
        }
        store.lock_privileges(txn).await?;
        let ids = self.ids(progress);
        let new = self.new_descriptors(&catalog, progress)?;
        let mut change = CatalogChange::new(catalog.clone());
        for it in new {
            change.put(txn, it);
        }
        self.put_privileges(txn, &catalog, &ids, &mut change);
        self.held.put(txn).await?;
        for (id, value) in &self.manifest().sequences {
            if let Some(new) = ids.get(id).filter(|_| self.chosen.contains(id)) {
                txn.put(exec::sequence::sequence_key(*new), Bytes::copy_from_slice(&value.to_be_bytes()));
            }
        }
        for (storage, bytes) in &self.manifest().statistics {
            if let Some(new) = ids.get(storage) {
                txn.put(catalog::statistics_key(*new), bytes.clone());
            }
        }
        self.context.succeed_in(txn, progress.rows, progress.bytes).await?;
        Ok(change)
    }

    /// What others own and have granted is a superuser's to bring back: a directory of files may say anything.
    fn is_trusted(&self, catalog: &CatalogSnapshot) -> bool {
        catalog.role_by_id(self.task.user).is_some_and(|role| role.superuser)
    }

    fn put_privileges(&self, txn: &mut Txn, catalog: &CatalogSnapshot, ids: &BTreeMap<u32, u32>, change: &mut CatalogChange) {
        if !self.is_trusted(catalog) {
            return;
        }
        let roles = self.roles(catalog, ids);
        let object = |id: u32| ids.get(&id).copied().unwrap_or(id);
        let role = |id: u32| roles.get(&id).copied();
        let to = Renumbering { object: &object, role: &role, owner: self.task.user };
        let is_cluster = self.task.target == RestoreTarget::Cluster;
        for row in self.privileges() {
            let is_default = row.default.is_some();
            let is_of = match row.default {
                // What a role that is not here would have granted counts for nobody.
                Some(default) => self.chosen.contains(&default.database) && role(default.role).is_some(),
                None => self.chosen.contains(&row.id) || is_cluster,
            };
            if !is_of {
                continue;
            }
            let owner = match row.default {
                Some(default) => default.role,
                None => self.view.objects.get(&row.id).and_then(Descriptor::owner).unwrap_or(row.id),
            };
            let mut new = to.privileges(&row, owner);
            // Rows of roles are by the ids of these.
            if is_cluster && !is_default && let Some(id) = role(row.id) {
                new.id = id;
            }
            if !new.is_empty() {
                change.put_privileges(txn, new);
            }
        }
    }
}

/// Databases that every cluster has, which keep their ids.
fn kept_databases(catalog: &CatalogSnapshot) -> BTreeSet<u32> {
    catalog.databases().map(|database| database.id).filter(|id| *id < FIRST_USER_ID).collect()
}

/// The order in which descriptors are put: what others refer to first.
fn rank(descriptor: &Descriptor) -> u8 {
    match descriptor {
        Descriptor::Role(_) | Descriptor::Cluster(_) => 0,
        Descriptor::Database(_) => 1,
        Descriptor::Schema(_) => 2,
        Descriptor::Type(_) => 3,
        Descriptor::Routine(_) => 4,
        Descriptor::Sequence(_) => 5,
        Descriptor::Table(_) => 6,
        Descriptor::View(_) => 7,
    }
}

fn check_empty(catalog: &CatalogSnapshot) -> SqlResult<()> {
    let is_empty = catalog.databases().count() <= 1
        && catalog.relations().next().is_none()
        && catalog.types().next().is_none()
        && catalog.routines().next().is_none()
        && catalog.roles().all(|role| role.id < FIRST_USER_ID);
    if is_empty {
        return Ok(());
    }
    Err(refused("a whole cluster can be restored only into an empty one")
        .with_hint("RESTORE DATABASE and RESTORE TABLE restore parts of it."))
}

/// # Errors
/// Where something else has the name of what is to be.
fn check_free(new: &Descriptor, catalog: &CatalogSnapshot) -> SqlResult<()> {
    let taken = |code: SqlState, what: &str, name: &str| Err(SqlError::new(code, format!("{what} \"{name}\" already exists")));
    let relation = |schema: u32, name: &str| match catalog.name_owner(schema, name) {
        Some(_) => taken(SqlState::DuplicateTable, "relation", name),
        None => Ok(()),
    };
    match new {
        Descriptor::Database(it) => match catalog.database(&it.name) {
            Some(_) => Err(SqlError::new(SqlState::DuplicateDatabase, format!("database \"{}\" already exists", it.name))
                .with_hint("Give it another name with new_db_name.")),
            None => Ok(()),
        },
        Descriptor::Table(it) => {
            relation(it.schema, &it.name)?;
            it.indexes.iter().filter(|index| !index.name.is_empty()).try_for_each(|index| relation(it.schema, &index.name))
        }
        Descriptor::View(it) => relation(it.schema, &it.name),
        Descriptor::Sequence(it) => relation(it.schema, &it.name),
        Descriptor::Type(it) => match it.names().iter().find(|(_, name)| catalog.type_oid_named(it.schema, name).is_some()) {
            Some((_, name)) => taken(SqlState::DuplicateObject, "type", name),
            None => Ok(()),
        },
        Descriptor::Routine(it) => match catalog.routine(it.schema, &it.name, &it.input_types()) {
            Some(_) => Err(SqlError::new(
                SqlState::DuplicateFunction,
                format!("function \"{}\" already exists with same argument types", it.name),
            )),
            None => Ok(()),
        },
        Descriptor::Schema(_) | Descriptor::Role(_) | Descriptor::Cluster(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_comes_back() {
        let progress = Progress {
            base: 20_000,
            count: 7,
            ts: Timestamp::new(3, 1),
            done: 2,
            key: Some(b"k".to_vec()),
            rows: 5,
            bytes: 6,
        };
        assert_eq!(Progress::decode(&progress.encode()).unwrap(), progress);
    }
}
