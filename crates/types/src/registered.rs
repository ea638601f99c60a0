//! What user-defined types consist of, registered once in the process: types are pointers to it, so that they are `Copy`
//! and compared by a word. A type that consists of something else is another pointer with the same oid. None is let go:
//! there are as many as there were changes of types since the process began.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::RwLock;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::identifier::quote_identifier;

/// What a type is called, and what one of its kind consists of.
#[derive(PartialEq, Eq, Hash)]
pub struct TypeContent<K> {
    /// That of the arrays of it is the next one.
    pub oid: u32,
    pub schema: Box<str>,
    pub name: Box<str>,
    pub array_name: Box<str>,
    pub kind: K,
}

/// Enum types, domains, range types, composite types.
pub trait Kind: Eq + Hash + Send + Sync + Sized + 'static {
    /// Of a type that was read of a descriptor, before the catalog puts it in place.
    fn unresolved() -> Self;
    fn registry() -> &'static Registry<Self>;
    /// Asserts what is always so.
    fn check(&self) {}
    /// What is new is there from now on.
    fn registered(_new: Registered<Self>) {}
}

pub type Registry<K> = RwLock<FxHashMap<&'static TypeContent<K>, Registered<K>>>;

const INTACT: &str = "registering does not panic";

/// A registered type. Equal ones consist of the same.
pub struct Registered<K: 'static>(&'static TypeContent<K>);

impl<K: Kind> Registered<K> {
    #[must_use]
    pub fn of(content: TypeContent<K>) -> Self {
        if let Some(known) = K::registry().read().expect(INTACT).get(&content) {
            return *known;
        }
        content.kind.check();
        let mut contents = K::registry().write().expect(INTACT);
        if let Some(known) = contents.get(&content) {
            return *known;
        }
        let content: &'static TypeContent<K> = Box::leak(Box::new(content));
        let made = Self(content);
        K::registered(made);
        contents.insert(content, made);
        made
    }

    /// A type of which only the oid is known.
    #[must_use]
    pub fn unresolved(oid: u32) -> Self {
        let unnamed = || Box::from("");
        Self::of(TypeContent { oid, schema: unnamed(), name: unnamed(), array_name: unnamed(), kind: K::unresolved() })
    }
}

impl<K> Registered<K> {
    #[must_use]
    pub const fn oid(self) -> u32 {
        self.0.oid
    }

    #[must_use]
    pub const fn array_oid(self) -> u32 {
        self.0.oid + 1
    }

    #[must_use]
    pub const fn content(self) -> &'static TypeContent<K> {
        self.0
    }

    /// As messages spell it: with its schema, unless that is one that is always searched.
    #[must_use]
    pub fn shown(self) -> String {
        self.shown_as(&self.0.name)
    }

    /// As messages spell a type of this name that goes with it.
    #[must_use]
    pub fn shown_as(self, name: &str) -> String {
        shown_in(&self.0.schema, name)
    }
}

/// The name of a type in a schema as messages spell it.
pub(crate) fn shown_in(schema: &str, name: &str) -> String {
    let name = quote_identifier(name);
    if matches!(schema, "public" | "") || schema.starts_with("pg_temp_") {
        return name;
    }
    format!("{}.{name}", quote_identifier(schema))
}

impl<K> Clone for Registered<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Registered<K> {}

impl<K> fmt::Debug for Registered<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.0.name, self.0.oid)
    }
}

impl<K> PartialEq for Registered<K> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl<K> Eq for Registered<K> {}

impl<K> Hash for Registered<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::ptr::hash(self.0, state);
    }
}

impl<K> PartialOrd for Registered<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Registered<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        let place = |ty: &Self| (ty.0.oid, std::ptr::from_ref(ty.0));
        place(self).cmp(&place(other))
    }
}

/// Its oid: what it consists of is in the catalog.
impl<K> Serialize for Registered<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.oid.serialize(serializer)
    }
}

impl<'de, K: Kind> Deserialize<'de> for Registered<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u32::deserialize(deserializer).map(Self::unresolved)
    }
}
