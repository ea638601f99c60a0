//! The catalog at one version of each domain, in memory, immutable: what binding and planning look things up in.
//!
//! **Invariant (names-agree):** the by-name maps hold exactly the objects of the by-id map; upheld by building both
//! in [`CatalogSnapshot::put`] and [`CatalogSnapshot::remove`] and nowhere else.
//!
//! **Invariant (types-of-this-version):** the columns of a snapshot's relations are of the types as this snapshot has
//! them. Stored descriptors have only the oids of user-defined types; relations, and types made of such types, get what
//! these consist of when they are put, and again when a type, or a relation whose rows they hold, is.

mod indexes;
mod map;
mod relation;
mod user_types;

use std::sync::Arc;

use bytes::Bytes;
use keys::Key;
use rustc_hash::FxHashSet;
use types::{SqlError, SqlResult, SqlState, SqlType, relation_of_row_type};

use crate::cluster::Cluster;
pub use self::indexes::NameOwner;
use self::indexes::Indexes;
use self::map::{SharedMap, SharedSets};
pub use self::relation::Relation;
use crate::descriptor::{
    CLUSTER_SETTINGS, Database, Descriptor, INFORMATION_SCHEMA, PG_CATALOG_SCHEMA, Role, Schema,
    TEMPORARY_PREFIX, Table, Type,
};
use crate::privilege::{Privileges, SharedPrivileges};
use crate::routine::{Routine, StoredType};
use crate::statistics::Statistics;
use crate::store::{SHARED_DOMAIN, encode_version, version_key};

/// A user-defined type, as its descriptor and as what expressions are of.
#[derive(Clone, Debug)]
pub struct UserType {
    pub descriptor: Arc<Type>,
    pub ty: SqlType,
}

/// An object as a snapshot had it.
#[derive(Clone, Debug)]
pub struct SeenObject {
    id: u32,
    what: Seen,
}

#[derive(Clone, Debug)]
enum Seen {
    Relation(Relation),
    Type(UserType),
    Routine(Arc<Routine>),
    Nothing,
}

/// Every object by id and by name.
#[derive(Clone, Debug, Default)]
pub struct CatalogSnapshot {
    versions: SharedMap<u32, u64>,
    databases: SharedMap<u32, Arc<Database>>,
    schemas: SharedMap<u32, Arc<Schema>>,
    roles: SharedMap<u32, Arc<Role>>,
    relations: SharedMap<u32, Relation>,
    types: SharedMap<u32, UserType>,
    /// By schema and name; those of arrays among them.
    type_names: SharedMap<(u32, String), u32>,
    routines: SharedMap<u32, Arc<Routine>>,
    /// By schema and name.
    routine_names: SharedSets<(u32, String)>,
    /// The relations that have columns of a type, or of the rows of a relation.
    type_users: SharedSets<u32>,
    /// The types that were made of a type, or of arrays of it.
    made_over: SharedSets<u32>,
    database_names: SharedMap<String, u32>,
    role_names: SharedMap<String, u32>,
    schema_names: SharedMap<(u32, String), u32>,
    indexes: Indexes,
    cluster: Arc<Cluster>,
    statistics: Statistics,
    privileges: SharedPrivileges,
    /// Of a transaction that changes them.
    own_privileges: Option<Arc<Privileges>>,
}

impl CatalogSnapshot {
    /// Grows with every committed change of what a domain holds.
    #[must_use]
    pub fn version_of(&self, domain: u32) -> u64 {
        self.versions.get(&domain).copied().unwrap_or(0)
    }

    /// The version of a database and of what databases share. The snapshots of a node follow one another, so that two
    /// of them that have the same number are the same to a session of this database.
    #[must_use]
    pub fn version(&self, database: u32) -> u64 {
        self.version_of(database) + self.version_of(SHARED_DOMAIN)
    }

    /// The key of a domain's version, and what it holds.
    pub(crate) fn pin(&self, domain: u32) -> (Key, Option<Bytes>) {
        (version_key(domain), self.versions.get(&domain).map(|version| encode_version(*version)))
    }

    /// Where an object belongs.
    pub(crate) fn domain_of(&self, descriptor: &Descriptor) -> u32 {
        let schema = match descriptor {
            Descriptor::Database(_) | Descriptor::Role(_) | Descriptor::Cluster(_) => return SHARED_DOMAIN,
            Descriptor::Schema(it) => return it.database,
            Descriptor::Table(it) => it.schema,
            Descriptor::View(it) => it.schema,
            Descriptor::Sequence(it) => it.schema,
            Descriptor::Type(it) => it.schema,
            Descriptor::Routine(it) => it.schema,
        };
        self.schemas.get(&schema).map_or(SHARED_DOMAIN, |schema| schema.database)
    }

    pub(crate) fn domain_of_id(&self, id: u32) -> Option<u32> {
        if id == CLUSTER_SETTINGS || self.databases.contains_key(&id) || self.roles.contains_key(&id) {
            return Some(SHARED_DOMAIN);
        }
        if let Some(schema) = self.schemas.get(&id) {
            return Some(schema.database);
        }
        let of_type = || self.types.get(&id).map(|ty| ty.descriptor.schema);
        let of_routine = || self.routines.get(&id).map(|routine| routine.schema);
        let schema = self.relations.get(&id).map(Relation::schema).or_else(of_type).or_else(of_routine)?;
        self.schemas.get(&schema).map(|schema| schema.database)
    }

    /// Whether an object is the same in both.
    #[must_use]
    pub fn has_same(&self, other: &Self, id: u32) -> bool {
        match (self.relations.get(&id), other.relations.get(&id)) {
            (Some(Relation::Table(a)), Some(Relation::Table(b))) => Arc::ptr_eq(a, b) || a == b,
            (Some(Relation::View(a)), Some(Relation::View(b))) => Arc::ptr_eq(a, b) || a == b,
            (Some(Relation::Sequence(a)), Some(Relation::Sequence(b))) => Arc::ptr_eq(a, b) || a == b,
            (None, None) => match (self.types.get(&id), other.types.get(&id)) {
                (Some(a), Some(b)) => a.ty == b.ty && a.descriptor.domain() == b.descriptor.domain(),
                (None, None) => match (self.routines.get(&id), other.routines.get(&id)) {
                    (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
                    _ => false,
                },
                _ => false,
            },
            _ => false,
        }
    }

    /// An object as it is here.
    #[must_use]
    pub fn seen(&self, id: u32) -> SeenObject {
        let what = match (self.relations.get(&id), self.types.get(&id), self.routines.get(&id)) {
            (Some(relation), ..) => Seen::Relation(relation.clone()),
            (None, Some(ty), _) => Seen::Type(ty.clone()),
            (None, None, Some(routine)) => Seen::Routine(routine.clone()),
            (None, None, None) => Seen::Nothing,
        };
        SeenObject { id, what }
    }

    /// Whether an object is here what it was there. One that was read anew counts as another.
    #[must_use]
    pub fn has_still(&self, object: &SeenObject) -> bool {
        match (&object.what, self.seen(object.id).what) {
            (Seen::Relation(a), Seen::Relation(b)) => a.is_same(&b),
            (Seen::Type(a), Seen::Type(b)) => Arc::ptr_eq(&a.descriptor, &b.descriptor) && a.ty == b.ty,
            (Seen::Routine(a), Seen::Routine(b)) => Arc::ptr_eq(a, &b),
            (Seen::Nothing, Seen::Nothing) => true,
            (Seen::Relation(_) | Seen::Type(_) | Seen::Routine(_) | Seen::Nothing, _) => false,
        }
    }

    /// What foreign keys may lead to from a table whose rows are changed: itself, the tables it refers to, those that
    /// refer to it, and so on from these, whose rows may change with it. The rows of a partitioned table are those of its
    /// partitions, and what is said of it holds for them.
    #[must_use]
    pub fn reach_of(&self, table: u32) -> Vec<u32> {
        // The partitions of what is reached from below are not reached with it.
        let mut reached: Vec<(u32, bool)> = vec![(table, false)];
        let mut known: FxHashSet<(u32, bool)> = reached.iter().copied().collect();
        let mut at = 0;
        while let Some((id, is_from_below)) = reached.get(at).copied() {
            at += 1;
            let Some(table) = self.table_by_id(id) else { continue };
            let partitions = table.partitioned().filter(|_| !is_from_below).into_iter().flat_map(|it| &it.partitions);
            let below = partitions.map(|it| (it.id, false));
            let above = table.partition_parent().map(|id| (id, true));
            for next in table.referenced_by.iter().map(|id| (*id, false)).chain(below).chain(above) {
                if !known.contains(&(next.0, false)) && known.insert(next) {
                    reached.push(next);
                }
            }
        }
        let (mut listed, mut referenced) = (FxHashSet::default(), FxHashSet::default());
        let mut ids: Vec<u32> = reached.into_iter().map(|(id, _)| id).filter(|id| listed.insert(*id)).collect();
        for at in 0..ids.len() {
            let Some(table) = self.table_by_id(ids[at]) else { continue };
            for key in &table.foreign_keys {
                let to = key.referenced_table;
                if referenced.insert(to) {
                    // Its rows are those of its partitions.
                    let below = self.table_by_id(to).map(|table| self.descendants_of(table)).unwrap_or_default();
                    let all = std::iter::once(to).chain(below.iter().map(|table| table.id));
                    ids.extend(all.filter(|id| listed.insert(*id)));
                }
            }
        }
        ids
    }

    /// What is known of the tables' contents: not of this version, but of now.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    pub(crate) fn set_statistics(&mut self, statistics: Statistics) {
        self.statistics = statistics;
    }

    /// What is granted: not of this version, but of now. A transaction that has changed some sees its own.
    #[must_use]
    pub fn privileges(&self) -> Arc<Privileges> {
        self.own_privileges.clone().unwrap_or_else(|| self.privileges.current())
    }

    pub(crate) fn share_privileges(&mut self, privileges: SharedPrivileges) {
        self.privileges = privileges;
    }

    pub(crate) fn set_own_privileges(&mut self, own: Option<Arc<Privileges>>) {
        self.own_privileges = own;
    }

    pub fn set_version(&mut self, domain: u32, version: u64) {
        self.versions.insert(domain, version);
    }

    /// Adds or replaces an object.
    pub fn put(&mut self, descriptor: Descriptor) {
        self.remove(descriptor.id());
        match descriptor {
            Descriptor::Database(it) => self.put_database(Arc::new(it)),
            Descriptor::Schema(it) => self.put_schema(Arc::new(it)),
            Descriptor::Role(it) => self.put_role(Arc::new(it)),
            Descriptor::Table(it) => self.put_relation(Relation::Table(Arc::new(it))),
            Descriptor::View(it) => self.put_relation(Relation::View(Arc::new(it))),
            Descriptor::Sequence(it) => self.put_relation(Relation::Sequence(Arc::new(it))),
            Descriptor::Cluster(it) => self.cluster = Arc::new(Cluster::new(it)),
            Descriptor::Type(it) => self.put_type(Arc::new(it)),
            Descriptor::Routine(it) => self.put_routine(Arc::new(it)),
        }
    }

    /// Makes an object what it is in another snapshot.
    pub(crate) fn take_from(&mut self, other: &Self, id: u32) {
        self.remove(id);
        if id == CLUSTER_SETTINGS {
            self.cluster = other.cluster.clone();
        } else if let Some(it) = other.databases.get(&id) {
            self.put_database(it.clone());
        } else if let Some(it) = other.schemas.get(&id) {
            self.put_schema(it.clone());
        } else if let Some(it) = other.roles.get(&id) {
            self.put_role(it.clone());
        } else if let Some(it) = other.relations.get(&id) {
            self.put_relation(it.clone());
        } else if let Some(it) = other.types.get(&id) {
            self.put_type(it.descriptor.clone());
        } else if let Some(it) = other.routines.get(&id) {
            self.put_routine(it.clone());
        }
    }

    fn put_routine(&mut self, it: Arc<Routine>) {
        self.routine_names.add((it.schema, it.name.clone()), it.id);
        self.routines.insert(it.id, it);
    }

    fn put_database(&mut self, it: Arc<Database>) {
        self.database_names.insert(it.name.clone(), it.id);
        self.databases.insert(it.id, it);
    }

    fn put_schema(&mut self, it: Arc<Schema>) {
        self.schema_names.insert((it.database, it.name.clone()), it.id);
        let id = it.id;
        self.schemas.insert(id, it);
        let inside = self.types.values().filter(|ty| ty.descriptor.schema == id);
        let inside: Vec<Arc<Type>> = inside.map(|ty| ty.descriptor.clone()).collect();
        inside.into_iter().for_each(|ty| self.put_type(ty));
        let rows = self.type_users.keys().chain(self.made_over.keys());
        let is_inside = |relation: &&u32| self.relations.get(relation).is_some_and(|it| it.schema() == id);
        let rows: Vec<u32> = rows.filter(is_inside).copied().collect();
        rows.into_iter().for_each(|relation| self.type_changed(relation));
    }

    fn put_role(&mut self, it: Arc<Role>) {
        self.role_names.insert(it.name.clone(), it.id);
        self.roles.insert(it.id, it);
    }

    fn put_relation(&mut self, relation: Relation) {
        let id = relation.id();
        let relation = self.with_types(relation);
        for ty in relation.user_types() {
            self.type_users.add(ty, id);
        }
        self.indexes.add(&relation);
        self.relations.insert(id, relation);
        self.type_changed(id);
    }

    /// Takes an object out; nothing happens when there is none.
    pub fn remove(&mut self, id: u32) {
        if let Some(it) = self.databases.remove(&id) {
            self.database_names.remove(&it.name);
        } else if let Some(it) = self.schemas.remove(&id) {
            self.schema_names.remove(&(it.database, it.name.clone()));
        } else if let Some(it) = self.roles.remove(&id) {
            self.role_names.remove(&it.name);
        } else if let Some(UserType { descriptor: it, .. }) = self.types.remove(&id) {
            for (_, name) in it.names() {
                self.type_names.remove(&(it.schema, name.to_owned()));
            }
            for under in it.made_of().into_iter().filter_map(|part| part.user_type()) {
                self.made_over.take(&under, id);
            }
            self.indexes.take_domain(&it);
        } else if let Some(it) = self.routines.remove(&id) {
            self.routine_names.take(&(it.schema, it.name.clone()), id);
        } else if let Some(it) = self.relations.remove(&id) {
            for ty in it.user_types() {
                self.type_users.take(&ty, id);
            }
            self.indexes.take(&it);
        }
    }

    #[must_use]
    pub fn database(&self, name: &str) -> Option<&Arc<Database>> {
        self.database_names.get(name).and_then(|id| self.databases.get(id))
    }

    #[must_use]
    pub fn database_by_id(&self, id: u32) -> Option<&Arc<Database>> {
        self.databases.get(&id)
    }

    #[must_use]
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    #[must_use]
    pub fn role(&self, name: &str) -> Option<&Arc<Role>> {
        self.role_names.get(name).and_then(|id| self.roles.get(id))
    }

    #[must_use]
    pub fn role_by_id(&self, id: u32) -> Option<&Arc<Role>> {
        self.roles.get(&id)
    }

    /// A schema of the database, or one that all databases see.
    #[must_use]
    pub fn schema(&self, database: u32, name: &str) -> Option<&Arc<Schema>> {
        let id = self
            .schema_names
            .get(&(database, name.to_owned()))
            .or_else(|| self.schema_names.get(&(0, name.to_owned())))?;
        self.schemas.get(id)
    }

    #[must_use]
    pub fn schema_by_id(&self, id: u32) -> Option<&Arc<Schema>> {
        self.schemas.get(&id)
    }

    #[must_use]
    pub fn relation_by_id(&self, id: u32) -> Option<&Relation> {
        self.relations.get(&id)
    }

    #[must_use]
    pub fn table_by_id(&self, id: u32) -> Option<&Arc<Table>> {
        match self.relations.get(&id) {
            Some(Relation::Table(table)) => Some(table),
            Some(Relation::View(_) | Relation::Sequence(_)) | None => None,
        }
    }

    /// The table that an index, a constraint or a trigger belongs to; a view, seen as a table, has triggers too.
    #[must_use]
    pub fn table_of_part(&self, oid: u32) -> Option<&Arc<Table>> {
        self.indexes.part_owners.get(&oid).and_then(|owner| self.relations.get(owner)).and_then(Relation::as_table)
    }

    /// What has an index, a constraint, a trigger or a policy: a relation, or a domain.
    #[must_use]
    pub fn owner_of_part(&self, oid: u32) -> Option<u32> {
        self.indexes.part_owners.get(&oid).copied()
    }

    /// What has constraints, triggers or policies of a name.
    pub fn part_owners_named(&self, name: &str) -> impl Iterator<Item = u32> {
        self.indexes.part_names.ids(name)
    }

    /// The relations that depend on something, save for what is about the types of their columns; oldest first.
    #[must_use]
    pub fn dependents_of(&self, id: u32) -> Vec<&Relation> {
        self.oldest_first(self.indexes.dependents.ids(&id))
    }

    /// The relations whose stored text names a type of one of these oids, oldest first.
    #[must_use]
    pub fn naming(&self, oids: impl Iterator<Item = u32>) -> Vec<&Relation> {
        self.oldest_first(oids.flat_map(|oid| self.indexes.naming.ids(&oid)))
    }

    fn oldest_first(&self, ids: impl Iterator<Item = u32>) -> Vec<&Relation> {
        let mut ids: Vec<u32> = ids.collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().filter_map(|id| self.relations.get(&id)).collect()
    }

    /// The relations in a schema, oldest first.
    #[must_use]
    pub fn relations_in(&self, schema: u32) -> Vec<&Relation> {
        self.oldest_first(self.indexes.in_schema.ids(&schema))
    }

    /// In all databases.
    #[must_use]
    pub fn relation_count(&self) -> usize {
        self.relations.len()
    }

    #[must_use]
    pub fn name_owner(&self, schema: u32, name: &str) -> Option<NameOwner> {
        self.indexes.names.get(&(schema, name.to_owned())).copied()
    }

    #[must_use]
    pub fn relation(&self, schema: u32, name: &str) -> Option<&Relation> {
        match self.name_owner(schema, name)? {
            NameOwner::Relation(id) => self.relations.get(&id),
            NameOwner::Index { .. } => None,
        }
    }

    /// A user-defined type, by its oid.
    #[must_use]
    pub fn user_type(&self, oid: u32) -> Option<&UserType> {
        self.types.get(&oid)
    }

    /// The type of this oid: built in, user-defined, or the arrays of one.
    #[must_use]
    pub fn type_by_oid(&self, oid: u32, typmod: i32) -> Option<SqlType> {
        // There are no arrays of a domain over an array.
        let has_arrays = |ty: &SqlType| !matches!(ty, SqlType::Domain(_)) || !ty.base().is_array();
        let of_array = || self.types.get(&oid.checked_sub(1)?).map(|it| it.ty).filter(has_arrays).map(SqlType::array_of);
        let of_multirange = || {
            let multirange = |it: &UserType| it.ty.range_type().map(SqlType::MultiRange);
            let of_arrays = || self.range_of(oid.checked_sub(1)?).and_then(multirange).map(SqlType::array_of);
            self.range_of(oid).and_then(multirange).or_else(of_arrays)
        };
        if let Some(relation) = relation_of_row_type(oid) {
            let rows = self.row_type_of(relation)?;
            return Some(if rows.oid() == oid { rows } else { rows.array_of() });
        }
        let known = SqlType::from_oid(oid, typmod).or_else(|| self.types.get(&oid).map(|it| it.ty));
        known.or_else(of_array).or_else(of_multirange)
    }

    /// A user-defined type in this schema, or the arrays of one.
    #[must_use]
    pub fn type_named(&self, schema: u32, name: &str) -> Option<SqlType> {
        self.type_by_oid(*self.type_names.get(&(schema, name.to_owned()))?, -1)
    }

    /// The oid of what [`CatalogSnapshot::type_named`] finds.
    #[must_use]
    pub fn type_oid_named(&self, schema: u32, name: &str) -> Option<u32> {
        self.type_names.get(&(schema, name.to_owned())).copied()
    }

    /// The user-defined types of a relation's columns.
    #[must_use]
    pub fn types_used_by(&self, relation: u32) -> Vec<u32> {
        self.relations.get(&relation).map_or_else(Vec::new, Relation::user_types)
    }

    /// The relations that have columns of a type, oldest first.
    #[must_use]
    pub fn type_users(&self, oid: u32) -> Vec<&Relation> {
        let users = self.type_users.ids(&oid);
        let mut users: Vec<&Relation> = users.filter_map(|id| self.relations.get(&id)).collect();
        users.sort_unstable_by_key(|relation| relation.id());
        users
    }

    pub fn types(&self) -> impl Iterator<Item = &UserType> {
        self.types.values()
    }

    /// The types that were made in a database, oldest first.
    #[must_use]
    pub fn types_of(&self, database: u32) -> Vec<&Arc<Type>> {
        let is_of = |it: &&Arc<Type>| self.schemas.get(&it.schema).is_some_and(|schema| schema.database == database);
        let mut types: Vec<&Arc<Type>> = self.types.values().map(|it| &it.descriptor).filter(is_of).collect();
        types.sort_unstable_by_key(|it| it.id);
        types
    }

    #[must_use]
    pub fn routine_by_id(&self, id: u32) -> Option<&Arc<Routine>> {
        self.routines.get(&id).or_else(|| crate::text_search::trigger_function(id))
    }

    /// The routines of a name in a schema.
    pub fn routines_named(&self, schema: u32, name: &str) -> impl Iterator<Item = &Arc<Routine>> {
        let mut ids: Vec<u32> = match self.routines.is_empty() {
            true => Vec::new(),
            false => self.routine_names.ids(&(schema, name.to_owned())).collect(),
        };
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.routines.get(&id))
    }

    /// The routine of a name in a schema that takes these types.
    #[must_use]
    pub fn routine(&self, schema: u32, name: &str, inputs: &[StoredType]) -> Option<&Arc<Routine>> {
        self.routines_named(schema, name).find(|routine| routine.input_types() == inputs)
    }

    #[must_use]
    pub fn has_routines(&self) -> bool {
        !self.routines.is_empty()
    }

    pub fn routines(&self) -> impl Iterator<Item = &Arc<Routine>> {
        self.routines.values()
    }

    /// The routines of a database, oldest first.
    #[must_use]
    pub fn routines_of(&self, database: u32) -> Vec<&Arc<Routine>> {
        let is_of = |it: &&Arc<Routine>| self.schemas.get(&it.schema).is_some_and(|schema| schema.database == database);
        let mut routines: Vec<&Arc<Routine>> = self.routines.values().filter(is_of).collect();
        routines.sort_unstable_by_key(|routine| routine.id);
        routines
    }

    pub fn databases(&self) -> impl Iterator<Item = &Arc<Database>> {
        self.databases.values()
    }

    pub fn schemas(&self) -> impl Iterator<Item = &Arc<Schema>> {
        self.schemas.values()
    }

    pub fn roles(&self) -> impl Iterator<Item = &Arc<Role>> {
        self.roles.values()
    }

    pub fn relations(&self) -> impl Iterator<Item = &Relation> {
        self.relations.values()
    }

    /// Objects of one database: its own schemas' and none of the built-in ones.
    pub fn relations_of(&self, database: u32) -> impl Iterator<Item = &Relation> {
        self.relations.values().filter(move |it| {
            self.schemas.get(&it.schema()).is_some_and(|schema| schema.database == database)
        })
    }

    #[must_use]
    pub fn is_temporary(&self, schema: u32) -> bool {
        self.schemas.get(&schema).is_some_and(|schema| schema.is_temporary())
    }

    /// The schemas of a search path, that of temporary objects and `pg_catalog` first unless they are named, as PostgreSQL
    /// searches them (chapter 5.9.3). Names of schemas that do not exist are passed over.
    #[must_use]
    pub fn search_schemas(&self, database: u32, search_path: &[String], user: &str) -> Vec<u32> {
        let mut ids = Vec::with_capacity(search_path.len() + 1);
        let temporary = temporary_schema(search_path);
        let temporary_id = temporary.and_then(|name| self.schema(database, name)).map(|schema| schema.id);
        if !search_path.iter().any(|name| name == "pg_temp") {
            ids.extend(temporary_id);
        }
        if !search_path.iter().any(|name| name == "pg_catalog") {
            ids.push(PG_CATALOG_SCHEMA);
        }
        for name in &search_path[usize::from(temporary.is_some())..] {
            let name = if name == "$user" { user } else { name };
            if name == "pg_temp" {
                ids.extend(temporary_id);
            } else if let Some(schema) = self.schema(database, name) {
                ids.push(schema.id);
            }
        }
        ids
    }

    /// Where CREATE without a schema puts things.
    ///
    /// # Errors
    /// 3F000 when no schema of the search path exists.
    pub fn creation_schema(&self, database: u32, search_path: &[String], user: &str) -> SqlResult<u32> {
        search_path[usize::from(temporary_schema(search_path).is_some())..]
            .iter()
            .map(|name| if name == "$user" { user } else { name })
            .filter_map(|name| self.schema(database, name))
            .map(|schema| schema.id)
            .find(|id| *id != PG_CATALOG_SCHEMA && *id != INFORMATION_SCHEMA)
            .ok_or_else(|| {
                SqlError::new(SqlState::InvalidSchemaName, "no schema has been selected to create in")
            })
    }
}

/// The schema of a session's temporary objects, which may not be there yet: a session's path begins with it.
#[must_use]
pub fn temporary_schema(search_path: &[String]) -> Option<&str> {
    search_path.first().map(String::as_str).filter(|name| name.starts_with(TEMPORARY_PREFIX))
}
