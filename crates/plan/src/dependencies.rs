//! Whether a plan still is what planning its statement again would give, though the catalog has changed since.
//!
//! A change of the catalog is mostly about objects that a plan has nothing to do with. A plan depends on the objects that
//! were looked up for it and on what the names in its text meant. If these are the same in another snapshot, so is the plan.
//!
//! **Invariant (same-meaning):** whatever planning reads of a catalog is among the dependencies, or the plan has none and is
//! of one version alone. Names in views, policies and the like are bound by id and need no second look.
//!
//! Deliberately left out: roles, databases and schemas that all databases see; a plan is of one version of these.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use catalog::{CatalogSnapshot, Routine, SHARED_DOMAIN, SeenObject, temporary_schema};

use crate::{PlanContext, statement::UsedRelation};

/// A name that was looked up, and what it meant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NameLookup {
    kind: NameKind,
    schema: Option<String>,
    name: String,
    path: Arc<[String]>,
    found: Found,
}

/// What a name means in a catalog.
#[derive(Clone, Debug)]
enum Found {
    /// By its id.
    Object(Option<u32>),
    /// A call's candidates. Which of them is meant depends on all of each: its types, names and defaults.
    Routines(Vec<Arc<Routine>>),
}

impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Object(a), Self::Object(b)) => a == b,
            (Self::Routines(a), Self::Routines(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b)),
            (Self::Object(_) | Self::Routines(_), _) => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameKind {
    Relation,
    Type,
    /// All routines of the name in the path.
    Routine,
}

impl NameKind {
    fn lookup(
        self,
        catalog: &CatalogSnapshot,
        database: u32,
        user: &str,
        schema: Option<&str>,
        name: &str,
        path: &[String],
    ) -> Found {
        if self == Self::Routine && !catalog.has_routines() {
            return Found::Routines(Vec::new());
        }
        let schemas: Vec<u32> = match schema {
            Some(schema) => catalog.schema(database, schema).map(|it| it.id).into_iter().collect(),
            None => catalog.search_schemas(database, path, user),
        };
        let mut each = schemas.into_iter();
        match self {
            Self::Relation => {
                Found::Object(each.find_map(|schema| catalog.relation(schema, name).map(catalog::Relation::id)))
            }
            Self::Type => Found::Object(each.find_map(|schema| catalog.type_or_rows_named(schema, name).map(|ty| ty.oid()))),
            Self::Routine => {
                let mut routines = Vec::new();
                each.for_each(|schema| routines.extend(catalog.routines_named(schema, name).cloned()));
                Found::Routines(routines)
            }
        }
    }

    pub fn note(self, context: &PlanContext<'_>, schema: Option<&str>, name: &str) {
        // *names-by-id*, *calls-by-id*
        if context.depends_on.is_some() {
            return;
        }
        let schema = match schema {
            Some("pg_temp") => temporary_schema(context.search_path).or(schema),
            _ => schema,
        };
        let found = self.lookup(context.catalog, context.database, context.user, schema, name, context.search_path);
        context.notes.looked_up(NameLookup {
            kind: self,
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
            path: context.search_path.into(),
            found,
        });
    }
}

/// What a plan was made of.
#[derive(Debug)]
pub struct Dependencies {
    database: u32,
    user: String,
    /// Of what databases share.
    shared: u64,
    objects: Vec<SeenObject>,
    names: Vec<NameLookup>,
    /// The last other version under which all of it was the same.
    same_in: AtomicU64,
}

impl Dependencies {
    pub(crate) fn new(context: &PlanContext<'_>, uses: &[UsedRelation], names: Vec<NameLookup>) -> Self {
        Self {
            database: context.database,
            user: context.user.to_owned(),
            shared: context.catalog.version_of(SHARED_DOMAIN),
            objects: uses.iter().map(|used| context.catalog.seen(used.id)).collect(),
            names,
            same_in: AtomicU64::new(0),
        }
    }

    pub(crate) fn are_same_in(&self, catalog: &CatalogSnapshot) -> bool {
        let version = catalog.version(self.database);
        if self.same_in.load(Relaxed) == version {
            return true;
        }
        let means_the_same = |it: &NameLookup| {
            let schema = it.schema.as_deref();
            it.kind.lookup(catalog, self.database, &self.user, schema, &it.name, &it.path) == it.found
        };
        let are_same = catalog.version_of(SHARED_DOMAIN) == self.shared
            && self.objects.iter().all(|object| catalog.has_still(object))
            && self.names.iter().all(means_the_same);
        if are_same {
            self.same_in.store(version, Relaxed);
        }
        are_same
    }
}
