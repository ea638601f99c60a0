//! How privileges are stored, and all of them as a node keeps them in memory.
//!
//! ```text
//! /Table/7/1/<id>                a row: what is granted on an object, who is member of a role, a default
//! /Table/7/1/0                   the version, big endian
//! /Table/5/1/<domain>/<version>  ids of what this version changed, as for descriptors
//! ```
//! Ids are those of objects, of roles, and of defaults (which have ids of their own): all are given out by one counter.
//!
//! Bytes: fields with tags ([`crate::tagged`]).

use std::sync::Arc;

use arc_swap::ArcSwap;
use keys::encoding::{put_uvarint, take_uvarint};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{Acl, AclItem, ObjectKind, PrivilegeSet};
use crate::tagged::{Malformed, Reader, Writer};

/// A role that is a member of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    pub member: u32,
    pub grantor: u32,
    /// It may grant the role to others.
    pub admin: bool,
}

/// What ALTER DEFAULT PRIVILEGES is about: objects of a kind that a role makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultFor {
    pub database: u32,
    pub role: u32,
    /// 0: in all schemas.
    pub schema: u32,
    pub kind: ObjectKind,
}

/// What is stored under one id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrivilegeRow {
    pub id: u32,
    /// None as long as the initial list holds.
    pub acl: Option<Acl>,
    /// Of columns, by their ids; of views, by their numbers.
    pub columns: Vec<(u32, Acl)>,
    /// Of a role.
    pub members: Vec<Membership>,
    /// A role that has its memberships' privileges only when it acts as them.
    pub no_inherit: bool,
    /// BYPASSRLS of a role.
    pub bypasses_row_security: bool,
    /// `acl` is the default for objects of this kind.
    pub default: Option<DefaultFor>,
}

pub(crate) fn put_items(out: &mut Vec<u8>, acl: &Acl) {
    for item in &acl.0 {
        for number in [item.grantee, item.grantor, item.privileges.bits().into(), item.options.bits().into()] {
            put_uvarint(out, number.into());
        }
    }
}

fn take_number(bytes: &mut &[u8], tag: u64) -> Result<u32, Malformed> {
    let number = take_uvarint(bytes).map_err(|_| Malformed::Bad(tag))?;
    u32::try_from(number).map_err(|_| Malformed::Bad(tag))
}

fn take_set(bytes: &mut &[u8], tag: u64) -> Result<PrivilegeSet, Malformed> {
    let bits = u16::try_from(take_number(bytes, tag)?).ok();
    bits.and_then(PrivilegeSet::from_bits).ok_or(Malformed::Bad(tag))
}

pub(crate) fn take_items(mut bytes: &[u8], tag: u64) -> Result<Acl, Malformed> {
    let mut items = Vec::new();
    while !bytes.is_empty() {
        items.push(AclItem {
            grantee: take_number(&mut bytes, tag)?,
            grantor: take_number(&mut bytes, tag)?,
            privileges: take_set(&mut bytes, tag)?,
            options: take_set(&mut bytes, tag)?,
        });
    }
    Ok(Acl(items))
}

impl PrivilegeRow {
    #[must_use]
    pub fn new(id: u32) -> Self {
        Self { id, ..Self::default() }
    }

    /// Whether it says nothing: then it is not stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::new(self.id)
    }

    #[must_use]
    pub fn column(&self, column: u32) -> Option<&Acl> {
        self.columns.iter().find(|(known, _)| *known == column).map(|(_, acl)| acl)
    }

    pub fn set_column(&mut self, column: u32, acl: Acl) {
        self.columns.retain(|(known, _)| *known != column);
        if !acl.0.is_empty() {
            self.columns.push((column, acl));
            self.columns.sort_unstable_by_key(|(column, _)| *column);
        }
    }

    /// All lists in it.
    pub fn acls(&self) -> impl Iterator<Item = &Acl> {
        self.acl.iter().chain(self.columns.iter().map(|(_, acl)| acl))
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.flag(2, self.acl.is_some());
        if let Some(acl) = self.acl.as_ref().filter(|acl| !acl.0.is_empty()) {
            let mut bytes = Vec::new();
            put_items(&mut bytes, acl);
            writer.bytes(4, &bytes);
        }
        writer.list(6, self.columns.iter().map(|(column, acl)| {
            let mut bytes = Vec::new();
            put_uvarint(&mut bytes, (*column).into());
            put_items(&mut bytes, acl);
            bytes
        }));
        writer.list(8, self.members.iter().map(|it| {
            let mut bytes = Vec::new();
            [it.member, it.grantor, it.admin.into()].into_iter().for_each(|number| put_uvarint(&mut bytes, number.into()));
            bytes
        }));
        writer.flag(10, self.no_inherit);
        if let Some(default) = &self.default {
            let mut bytes = Vec::new();
            let numbers = [default.database, default.role, default.schema, u32::from(default.kind.letter())];
            numbers.into_iter().for_each(|number| put_uvarint(&mut bytes, number.into()));
            writer.bytes(12, &bytes);
        }
        writer.flag(14, self.bypasses_row_security);
        writer.finish()
    }

    /// # Errors
    /// For what [`PrivilegeRow::encode`] has not written.
    pub fn decode(id: u32, bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let has_acl = reader.flag(2)?;
        let acl = take_items(reader.bytes(4)?.unwrap_or_default(), 4)?;
        let mut columns = Vec::new();
        for mut item in reader.list(6)? {
            let column = take_number(&mut item, 6)?;
            columns.push((column, take_items(item, 6)?));
        }
        let mut members = Vec::new();
        for mut item in reader.list(8)? {
            members.push(Membership {
                member: take_number(&mut item, 8)?,
                grantor: take_number(&mut item, 8)?,
                admin: take_number(&mut item, 8)? != 0,
            });
        }
        let no_inherit = reader.flag(10)?;
        let default = match reader.bytes(12)? {
            None => None,
            Some(mut bytes) => Some(DefaultFor {
                database: take_number(&mut bytes, 12)?,
                role: take_number(&mut bytes, 12)?,
                schema: take_number(&mut bytes, 12)?,
                kind: char::from_u32(take_number(&mut bytes, 12)?)
                    .and_then(ObjectKind::of_letter)
                    .ok_or(Malformed::Bad(12))?,
            }),
        };
        let bypasses_row_security = reader.flag(14)?;
        reader.finish()?;
        Ok(Self { id, acl: has_acl.then_some(acl), columns, members, no_inherit, bypasses_row_security, default })
    }
}

/// All that is granted in a cluster, at one version.
#[derive(Clone, Debug, Default)]
pub struct Privileges {
    pub(crate) version: u64,
    rows: FxHashMap<u32, Arc<PrivilegeRow>>,
    /// The roles that a role is a member of.
    memberships: FxHashMap<u32, SmallVec<[u32; 4]>>,
    /// Ids of the rows that are defaults.
    defaults: Vec<u32>,
}

impl Privileges {
    /// Grows with every change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    #[must_use]
    pub fn row(&self, id: u32) -> Option<&Arc<PrivilegeRow>> {
        self.rows.get(&id)
    }

    pub fn rows(&self) -> impl Iterator<Item = &Arc<PrivilegeRow>> {
        self.rows.values()
    }

    #[must_use]
    pub fn memberships(&self, member: u32) -> &[u32] {
        self.memberships.get(&member).map_or(&[], |roles| roles)
    }

    /// The defaults of a database, oldest first.
    pub fn defaults(&self) -> impl Iterator<Item = (&DefaultFor, &Arc<PrivilegeRow>)> {
        self.defaults.iter().filter_map(|id| {
            let row = self.rows.get(id)?;
            Some((row.default.as_ref()?, row))
        })
    }

    #[must_use]
    pub fn inherits(&self, role: u32) -> bool {
        self.rows.get(&role).is_none_or(|row| !row.no_inherit)
    }

    #[must_use]
    pub fn bypasses_row_security(&self, role: u32) -> bool {
        self.rows.get(&role).is_some_and(|row| row.bypasses_row_security)
    }

    /// A row as it is to be; an empty one is taken out.
    pub fn put(&mut self, row: PrivilegeRow) {
        let id = row.id;
        let before = self.rows.remove(&id);
        let members_before = before.as_ref().map_or(&[][..], |row| &row.members[..]);
        for it in members_before.iter().filter(|it| !row.members.iter().any(|new| new.member == it.member)) {
            if let Some(roles) = self.memberships.get_mut(&it.member) {
                roles.retain(|role| *role != id);
            }
        }
        for it in &row.members {
            let roles = self.memberships.entry(it.member).or_default();
            if !roles.contains(&id) {
                roles.push(id);
            }
        }
        self.defaults.retain(|known| *known != id);
        if row.default.is_some() {
            self.defaults.push(id);
            self.defaults.sort_unstable();
        }
        if !row.is_empty() {
            self.rows.insert(id, Arc::new(row));
        }
    }
}

/// A node's privileges, shared by all its snapshots of the catalog: they are of now, not of the snapshot's version.
#[derive(Clone, Debug, Default)]
pub struct SharedPrivileges(Arc<ArcSwap<Privileges>>);

impl SharedPrivileges {
    #[must_use]
    pub fn current(&self) -> Arc<Privileges> {
        self.0.load_full()
    }

    /// Replaces the cached rows by newer ones; older ones change nothing.
    pub(crate) fn advance(&self, newer: &Arc<Privileges>) {
        self.0.rcu(|known| if known.version < newer.version { newer.clone() } else { known.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_privileges() {
        let item = AclItem { grantee: 300, grantor: 10, privileges: PrivilegeSet::SELECT, options: PrivilegeSet::NONE };
        let row = PrivilegeRow {
            id: 400,
            acl: Some(Acl(vec![item])),
            columns: vec![(2, Acl(vec![AclItem { grantee: 0, ..item }]))],
            members: vec![Membership { member: 301, grantor: 10, admin: true }],
            no_inherit: true,
            bypasses_row_security: true,
            default: Some(DefaultFor { database: 5, role: 10, schema: 0, kind: ObjectKind::Table }),
        };
        let bytes = row.encode();
        let expected = [
            &[2, 1, 1, 4, 6, 241, 1, 44, 10, 2, 0, 6, 6, 5, 2, 0, 10, 2, 0][..],
            &[8, 6, 5, 241, 1, 45, 10, 1, 10, 1, 1, 12, 4, 5, 10, 0, b'r', 14, 1, 1],
        ];
        assert_eq!(bytes, expected.concat());
        assert_eq!(PrivilegeRow::decode(400, &bytes), Ok(row));
        let revoked = PrivilegeRow { acl: Some(Acl::default()), ..PrivilegeRow::new(1) };
        assert_eq!(PrivilegeRow::decode(1, &revoked.encode()), Ok(revoked), "nothing granted is not the initial list");
        for end in 0..bytes.len() {
            let _ = PrivilegeRow::decode(400, &bytes[..end]);
        }
    }

    #[test]
    fn memberships_follow_their_rows() {
        let mut all = Privileges::default();
        let member = |member| Membership { member, grantor: 10, admin: false };
        all.put(PrivilegeRow { members: vec![member(1), member(2)], ..PrivilegeRow::new(100) });
        all.put(PrivilegeRow { members: vec![member(2)], ..PrivilegeRow::new(101) });
        assert_eq!((all.memberships(1), all.memberships(2)), (&[100][..], &[100, 101][..]));
        all.put(PrivilegeRow { members: vec![member(1)], ..PrivilegeRow::new(100) });
        assert_eq!((all.memberships(1), all.memberships(2)), (&[100][..], &[101][..]));
        all.put(PrivilegeRow::new(100));
        assert!(all.row(100).is_none() && all.memberships(1).is_empty());
    }
}
