//! Who may do what: privileges, the lists that grant them, and the rows that these are stored in.
//!
//! The problem: a grant must be in force on every node when it commits, and must cost no more than a row: it may neither
//! make plans anew nor wait for changes of the schema.
//!
//! The idea: access control lists are rows beside the catalog, under a version of their own ([`rows`]). A node keeps all
//! of them in memory ([`Privileges`]) and reads that one version before each statement of a role that is no superuser.
//! What a role may do follows from the list of the object, its owner and the role's memberships ([`access`]).
//!
//! **Invariants**
//! - *grants-by-id*: lists name roles and objects by their ids, which are never given out twice. A row whose object is
//!   gone counts for nothing.
//! - *options-reach-the-owner*: who grants has the grant option from somebody whose own chain ends at the owner; upheld by
//!   [`acl::Acl::update`].
//!
//! Read in this order: this file, [`acl`], [`rows`], [`access`].

pub mod access;
pub mod acl;
mod functions;
pub mod rows;

use types::{SqlError, SqlState};

pub use access::{Access, Need, Object, RelationNeed};
pub use acl::{Acl, AclError, AclItem, Behavior, Change};
pub use functions::{check_secrets, has_secrets};
pub use rows::{DefaultFor, Membership, PrivilegeRow, Privileges, SharedPrivileges};

/// A set of privileges; the bits are PostgreSQL's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PrivilegeSet(u16);

impl PrivilegeSet {
    pub const NONE: Self = Self(0);
    pub const INSERT: Self = Self(1);
    pub const SELECT: Self = Self(1 << 1);
    pub const UPDATE: Self = Self(1 << 2);
    pub const DELETE: Self = Self(1 << 3);
    pub const TRUNCATE: Self = Self(1 << 4);
    pub const REFERENCES: Self = Self(1 << 5);
    pub const TRIGGER: Self = Self(1 << 6);
    pub const EXECUTE: Self = Self(1 << 7);
    pub const USAGE: Self = Self(1 << 8);
    pub const CREATE: Self = Self(1 << 9);
    pub const TEMPORARY: Self = Self(1 << 10);
    pub const CONNECT: Self = Self(1 << 11);

    /// Each with its letter and its name, in the order of the bits.
    pub const NAMES: [(Self, char, &'static str); 12] = [
        (Self::INSERT, 'a', "INSERT"),
        (Self::SELECT, 'r', "SELECT"),
        (Self::UPDATE, 'w', "UPDATE"),
        (Self::DELETE, 'd', "DELETE"),
        (Self::TRUNCATE, 'D', "TRUNCATE"),
        (Self::REFERENCES, 'x', "REFERENCES"),
        (Self::TRIGGER, 't', "TRIGGER"),
        (Self::EXECUTE, 'X', "EXECUTE"),
        (Self::USAGE, 'U', "USAGE"),
        (Self::CREATE, 'C', "CREATE"),
        (Self::TEMPORARY, 'T', "TEMPORARY"),
        (Self::CONNECT, 'c', "CONNECT"),
    ];

    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// `None` for bits that are no privilege.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Option<Self> {
        if bits < 1 << 12 { Some(Self(bits)) } else { None }
    }

    /// A privilege by its name in any case; `TEMP` is `TEMPORARY`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let name = if name.eq_ignore_ascii_case("temp") { "TEMPORARY" } else { name };
        let found = Self::NAMES.iter().find(|(_, _, known)| known.eq_ignore_ascii_case(name));
        found.map(|(privilege, ..)| *privilege)
    }

    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    #[must_use]
    pub const fn has(self, all_of: Self) -> bool {
        self.0 & all_of.0 == all_of.0
    }

    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The privileges in it, in the order of the bits.
    pub fn each(self) -> impl Iterator<Item = (Self, char, &'static str)> {
        Self::NAMES.into_iter().filter(move |(privilege, ..)| self.has(*privilege))
    }
}

/// What privileges are granted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// Tables and views.
    Table,
    Column,
    Sequence,
    Database,
    Schema,
    Routine,
    Type,
    Language,
}

impl ObjectKind {
    /// All that can be granted on it.
    #[must_use]
    pub const fn all(self) -> PrivilegeSet {
        use PrivilegeSet as P;
        match self {
            Self::Table => {
                let rows = P::INSERT.union(P::SELECT).union(P::UPDATE).union(P::DELETE);
                rows.union(P::TRUNCATE).union(P::REFERENCES).union(P::TRIGGER)
            }
            Self::Column => P::INSERT.union(P::SELECT).union(P::UPDATE).union(P::REFERENCES),
            Self::Sequence => P::SELECT.union(P::UPDATE).union(P::USAGE),
            Self::Database => P::CREATE.union(P::TEMPORARY).union(P::CONNECT),
            Self::Schema => P::USAGE.union(P::CREATE),
            Self::Routine => P::EXECUTE,
            Self::Type | Self::Language => P::USAGE,
        }
    }

    /// What everybody may do as long as nothing is granted or revoked.
    #[must_use]
    pub const fn of_public(self) -> PrivilegeSet {
        use PrivilegeSet as P;
        match self {
            Self::Table | Self::Column | Self::Sequence | Self::Schema => P::NONE,
            Self::Database => P::TEMPORARY.union(P::CONNECT),
            Self::Routine => P::EXECUTE,
            Self::Type | Self::Language => P::USAGE,
        }
    }

    /// As `acldefault` and `pg_default_acl` call it.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Table => 'r',
            Self::Column => 'c',
            Self::Sequence => 'S',
            Self::Database => 'd',
            Self::Schema => 'n',
            Self::Routine => 'f',
            Self::Type => 'T',
            Self::Language => 'l',
        }
    }

    #[must_use]
    pub fn of_letter(letter: char) -> Option<Self> {
        let all = [
            Self::Table,
            Self::Column,
            Self::Sequence,
            Self::Database,
            Self::Schema,
            Self::Routine,
            Self::Type,
            Self::Language,
        ];
        all.into_iter().find(|kind| kind.letter() == letter)
    }
}

/// 42501.
#[must_use]
pub fn denied(what: &str, name: &str) -> SqlError {
    SqlError::new(SqlState::InsufficientPrivilege, format!("permission denied for {what} {name}"))
}

/// 42501.
#[must_use]
pub fn not_owner(what: &str, name: &str) -> SqlError {
    SqlError::new(SqlState::InsufficientPrivilege, format!("must be owner of {what} {name}"))
}
