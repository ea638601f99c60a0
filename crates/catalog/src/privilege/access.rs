//! Whether a role may do something: its memberships, the owners of objects, and their lists.

use std::sync::Arc;

use types::{SqlError, SqlResult, SqlState};

use super::acl::PUBLIC;
use super::{Acl, ObjectKind, PrivilegeSet, Privileges, check_secrets, denied, not_owner};
use crate::policy::RowSecurityState;
use crate::descriptor::{DATABASE_OWNER_ROLE, POSTGRES_ROLE, Schema};
use crate::routine::{PLPGSQL_LANGUAGE, RoutineKind, SQL_LANGUAGE};
use crate::snapshot::{CatalogSnapshot, Relation};

/// The roles that may read, and write, whatever there is.
pub const READ_ALL_DATA: u32 = 6_181;
pub const WRITE_ALL_DATA: u32 = 6_182;
pub const MONITOR: u32 = 3_373;
pub const READ_ALL_SETTINGS: u32 = 3_374;
pub const READ_ALL_STATS: u32 = 3_375;
pub const SIGNAL_BACKEND: u32 = 4_200;
pub const CHECKPOINT: u32 = 4_544;
pub const READ_SERVER_FILES: u32 = 4_569;
pub const WRITE_SERVER_FILES: u32 = 4_570;
pub const EXECUTE_SERVER_PROGRAM: u32 = 4_571;

/// The roles that every cluster has, beside `postgres` and [`DATABASE_OWNER_ROLE`].
pub const PREDEFINED: [(u32, &str); 11] = [
    (MONITOR, "pg_monitor"),
    (READ_ALL_SETTINGS, "pg_read_all_settings"),
    (READ_ALL_STATS, "pg_read_all_stats"),
    (3_377, "pg_stat_scan_tables"),
    (CHECKPOINT, "pg_checkpoint"),
    (READ_SERVER_FILES, "pg_read_server_files"),
    (WRITE_SERVER_FILES, "pg_write_server_files"),
    (EXECUTE_SERVER_PROGRAM, "pg_execute_server_program"),
    (SIGNAL_BACKEND, "pg_signal_backend"),
    (READ_ALL_DATA, "pg_read_all_data"),
    (WRITE_ALL_DATA, "pg_write_all_data"),
];

/// `pg_monitor` is a member of these from the start.
const OF_MONITOR: [u32; 3] = [READ_ALL_SETTINGS, READ_ALL_STATS, 3_377];

/// An object, as far as privileges on it are concerned.
#[derive(Clone, Debug)]
pub struct Object {
    pub kind: ObjectKind,
    /// As messages call it: `table`, `view`.
    pub what: &'static str,
    pub name: String,
    pub owner: u32,
    /// 0 where it is in none.
    pub schema: u32,
}

/// What a plan needs of a relation: the privileges on it as a whole, or on each of these columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelationNeed {
    pub relation: u32,
    /// Whose privileges count: those of the owner of the view around it, or the current user's.
    pub role: Option<u32>,
    pub privileges: PrivilegeSet,
    /// Column ids; those of a view are numbered from 1.
    pub selected: Vec<u32>,
    pub inserted: Vec<u32>,
    pub updated: Vec<u32>,
}

/// What a plan needs, looked at each time that it is executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    Relation(RelationNeed),
    /// A name was looked up in a schema. Where it was not written with the schema, what the role may not see is not there.
    Lookup { schema: u32, missing: Option<String> },
    /// Privileges of the current user on an object as a whole.
    Object { id: u32, privileges: PrivilegeSet },
    /// Looked at while it runs: which sequence a call means is known then.
    Sequences,
    /// The current user owns the object.
    Owner(u32),
    OwnerOfIndex { table: u32, name: String },
    /// The current user may change this role.
    CreateRole { of: u32 },
    /// The current user has a role that allows `what`.
    Member { of: u32, what: &'static str },
    /// It shows what is granted.
    Shown,
    /// It reads a catalog that is not everybody's, even if no row of it is asked for in the end.
    Secrets(&'static str),
    /// Whether the role, or the current user, was subject to the policies of a table when the plan was made (*decided-now*):
    /// where that has changed, it is another plan that must run.
    RowSecurity { relation: u32, role: Option<u32>, state: RowSecurityState },
}

/// The catalog and what is granted in it.
#[derive(Debug)]
pub struct Access<'a> {
    pub catalog: &'a CatalogSnapshot,
    /// Who is a superuser: of now, where `catalog` is of a transaction's beginning.
    pub roles: &'a CatalogSnapshot,
    pub privileges: Arc<Privileges>,
    /// Whose owner has the role `pg_database_owner`.
    pub database: u32,
}

impl CatalogSnapshot {
    /// What may be done in a database.
    #[must_use]
    pub fn access(&self, database: u32) -> Access<'_> {
        Access { catalog: self, roles: self, privileges: self.privileges(), database }
    }
}

/// A schema that everybody may look into from the start.
#[must_use]
pub fn is_first_schema(schema: &Schema) -> bool {
    schema.database == 0 || schema.owner == DATABASE_OWNER_ROLE && schema.name == "public"
}

impl Access<'_> {
    #[must_use]
    pub fn is_superuser(&self, role: u32) -> bool {
        self.roles.role_by_id(role).is_some_and(|role| role.superuser)
    }

    /// A role by membership: with `inherited`, only where it has the privileges without acting as it.
    fn reaches(&self, role: u32, of: u32, inherited: bool) -> bool {
        if role == of {
            return true;
        }
        let database_owner = self.catalog.database_by_id(self.database).map(|database| database.owner);
        let mut reached = vec![role];
        let mut at = 0;
        while let Some(member) = reached.get(at).copied() {
            at += 1;
            if inherited && !self.privileges.inherits(member) {
                continue;
            }
            let of_monitor = if member == MONITOR { &OF_MONITOR[..] } else { &[] };
            let owned = (database_owner == Some(member)).then_some(DATABASE_OWNER_ROLE);
            let roles = self.privileges.memberships(member).iter().chain(of_monitor).copied().chain(owned);
            for known in roles {
                if known == of {
                    return true;
                }
                if !reached.contains(&known) {
                    reached.push(known);
                }
            }
        }
        false
    }

    /// Whether a role has all privileges of another.
    #[must_use]
    pub fn has_role(&self, role: u32, of: u32) -> bool {
        role == of || self.is_superuser(role) || self.reaches(role, of, true)
    }

    /// Whether a role is a member of another and may act as it.
    #[must_use]
    pub fn is_member(&self, role: u32, of: u32) -> bool {
        role == of || self.is_superuser(role) || self.reaches(role, of, false)
    }

    /// As [`Access::is_member`], but nothing comes from being a superuser.
    #[must_use]
    pub fn is_plain_member(&self, role: u32, of: u32) -> bool {
        self.reaches(role, of, false)
    }

    /// Whether a role may grant another.
    #[must_use]
    pub fn is_admin(&self, role: u32, of: u32) -> bool {
        if self.is_superuser(role) {
            return true;
        }
        let members = self.privileges.row(of).map_or(&[][..], |row| &row.members);
        members.iter().any(|it| it.admin && self.reaches(role, it.member, false))
    }

    /// An object by its id; none of a kind that nothing is granted on.
    #[must_use]
    pub fn object(&self, id: u32) -> Option<Object> {
        let catalog = self.catalog;
        if let Some(relation) = catalog.relation_by_id(id) {
            let (kind, owner) = match relation {
                Relation::Table(it) => (ObjectKind::Table, it.owner),
                Relation::View(it) => (ObjectKind::Table, it.owner),
                Relation::Sequence(it) => (ObjectKind::Sequence, it.owner),
            };
            let what = relation.kind();
            return Some(Object { kind, what, name: relation.name().to_owned(), owner, schema: relation.schema() });
        }
        if let Some(it) = catalog.schema_by_id(id) {
            let (kind, name) = (ObjectKind::Schema, it.name.clone());
            return Some(Object { kind, what: "schema", name, owner: it.owner, schema: 0 });
        }
        if let Some(it) = catalog.database_by_id(id) {
            let (kind, name) = (ObjectKind::Database, it.name.clone());
            return Some(Object { kind, what: "database", name, owner: it.owner, schema: 0 });
        }
        if let Some(it) = catalog.routine_by_id(id) {
            let what = match it.kind {
                RoutineKind::Function => "function",
                RoutineKind::Procedure => "procedure",
                RoutineKind::Aggregate => "aggregate",
            };
            let (kind, name) = (ObjectKind::Routine, it.name.clone());
            return Some(Object { kind, what, name, owner: it.owner, schema: it.schema });
        }
        if let Some(it) = catalog.user_type(id) {
            let (kind, name) = (ObjectKind::Type, it.ty.base_name().to_string());
            let it = &it.descriptor;
            return Some(Object { kind, what: "type", name, owner: it.owner, schema: it.schema });
        }
        let name = match id {
            SQL_LANGUAGE => "sql",
            PLPGSQL_LANGUAGE => "plpgsql",
            _ => return None,
        };
        let kind = ObjectKind::Language;
        Some(Object { kind, what: "language", name: name.to_owned(), owner: POSTGRES_ROLE, schema: 0 })
    }

    /// An object's list: what was granted, or what holds as long as nothing was.
    #[must_use]
    pub fn acl(&self, id: u32, object: &Object) -> Acl {
        if let Some(acl) = self.privileges.row(id).and_then(|row| row.acl.as_ref()) {
            return acl.clone();
        }
        self.initial_acl(id, object)
    }

    /// The list that an object has as long as nothing was granted.
    #[must_use]
    pub fn initial_acl(&self, id: u32, object: &Object) -> Acl {
        let mut acl = Acl::initial(object.kind, object.owner);
        if self.catalog.schema_by_id(id).is_some_and(|schema| is_first_schema(schema)) {
            let (grantor, options) = (object.owner, PrivilegeSet::NONE);
            acl.0.push(super::AclItem { grantee: PUBLIC, grantor, privileges: PrivilegeSet::USAGE, options });
        }
        acl
    }

    /// Which of `wanted` a role has on an object as a whole.
    #[must_use]
    pub fn privileges_of(&self, role: u32, id: u32, wanted: PrivilegeSet) -> PrivilegeSet {
        if self.is_superuser(role) {
            return wanted;
        }
        // What has no list (catalogs, built-in functions and types) is everybody's.
        let Some(object) = self.object(id) else { return wanted };
        let is_own_temporary = object.kind == ObjectKind::Schema && self.catalog.is_temporary(id);
        if is_own_temporary {
            return wanted;
        }
        let found = match self.privileges.row(id).and_then(|row| row.acl.as_ref()) {
            Some(acl) => acl.privileges_of(role, wanted, &|role, of| self.has_role(role, of)),
            None => {
                let mut found = object.kind.of_public().common(wanted);
                if self.catalog.schema_by_id(id).is_some_and(|schema| is_first_schema(schema)) {
                    found = found.union(PrivilegeSet::USAGE.common(wanted));
                }
                if found != wanted && self.has_role(role, object.owner) {
                    found = found.union(object.kind.all().common(wanted));
                }
                found
            }
        };
        if found == wanted { found } else { found.union(self.predefined(role, object.kind, wanted.without(found))) }
    }

    /// What a role has by being a member of those that may read or write everything.
    fn predefined(&self, role: u32, kind: ObjectKind, wanted: PrivilegeSet) -> PrivilegeSet {
        use PrivilegeSet as P;
        let (readers, writers) = match kind {
            ObjectKind::Table | ObjectKind::Column => (P::SELECT, P::INSERT.union(P::UPDATE).union(P::DELETE)),
            ObjectKind::Sequence => (P::SELECT, P::NONE),
            ObjectKind::Schema => (P::USAGE, P::USAGE),
            ObjectKind::Database | ObjectKind::Routine | ObjectKind::Type | ObjectKind::Language => return P::NONE,
        };
        let mut found = P::NONE;
        for (of, set) in [(READ_ALL_DATA, readers), (WRITE_ALL_DATA, writers)] {
            let set = set.common(wanted);
            if !set.is_empty() && self.reaches(role, of, true) {
                found = found.union(set);
            }
        }
        found
    }

    /// Which of `wanted` a role has on a column by the column's own list.
    #[must_use]
    pub fn column_privileges_of(&self, role: u32, id: u32, column: u32, wanted: PrivilegeSet) -> PrivilegeSet {
        let row = self.privileges.row(id);
        let acl = row.and_then(|row| row.column(column));
        let has_role = |role, of| self.has_role(role, of);
        acl.map_or(PrivilegeSet::NONE, |acl| acl.privileges_of(role, wanted, &has_role))
    }

    /// Whether a role has a privilege on each of these columns, or where there are none, on any.
    fn has_on_columns(&self, role: u32, id: u32, columns: &[u32], privilege: PrivilegeSet) -> bool {
        let has = |column: u32| self.column_privileges_of(role, id, column, privilege) == privilege;
        match columns {
            [] => self.has_on_any_column(role, id, privilege),
            columns => columns.iter().all(|column| has(*column)),
        }
    }

    #[must_use]
    pub fn has_on_any_column(&self, role: u32, id: u32, privilege: PrivilegeSet) -> bool {
        let Some(row) = self.privileges.row(id) else { return false };
        let exists = |column: u32| match self.catalog.table_by_id(id) {
            Some(table) => table.columns.iter().any(|known| known.id.get() == column),
            None => true,
        };
        let has = |column: u32| self.column_privileges_of(role, id, column, privilege) == privilege;
        row.columns.iter().any(|(column, _)| exists(*column) && has(*column))
    }

    /// Whether a role may read these columns: messages show no values of others.
    #[must_use]
    pub fn reads(&self, role: u32, id: u32, columns: &[u32]) -> bool {
        // Its values may be of rows that the role may not see.
        if self.catalog.table_by_id(id).is_some_and(|table| self.row_security(role, table).is_subject()) {
            return false;
        }
        let select = PrivilegeSet::SELECT;
        self.privileges_of(role, id, select) == select
            || !columns.is_empty() && self.has_on_columns(role, id, columns, select)
    }

    /// Whether a role owns an object, itself or by membership.
    #[must_use]
    pub fn owns(&self, role: u32, id: u32) -> bool {
        self.object(id).is_none_or(|object| self.has_role(role, object.owner))
    }

    /// # Errors
    /// 42501.
    pub fn check_owner(&self, role: u32, id: u32) -> SqlResult<()> {
        match self.object(id) {
            Some(object) if !self.has_role(role, object.owner) => Err(not_owner(object.what, &object.name)),
            _ => Ok(()),
        }
    }

    /// # Errors
    /// 42501 where the role has not all of these privileges on the object as a whole.
    pub fn check(&self, role: u32, id: u32, wanted: PrivilegeSet) -> SqlResult<()> {
        if self.privileges_of(role, id, wanted) == wanted {
            return Ok(());
        }
        let object = self.object(id);
        let (what, name) = object.as_ref().map_or(("relation", ""), |object| (object.what, &object.name));
        Err(denied(what, name))
    }

    /// # Errors
    /// 42501 where the role may not make something in the schema.
    pub fn check_create_in(&self, role: u32, schema: u32) -> SqlResult<()> {
        self.check(role, schema, PrivilegeSet::CREATE)
    }

    /// # Errors
    /// 42501 where the role may not give things to another.
    pub fn check_member(&self, role: u32, of: u32) -> SqlResult<()> {
        if self.is_member(role, of) {
            return Ok(());
        }
        let name = self.catalog.role_by_id(of).map_or("", |role| role.name.as_str());
        Err(SqlError::new(SqlState::InsufficientPrivilege, format!("must be member of role \"{name}\"")))
    }

    /// # Errors
    /// 42501.
    pub fn check_relation(&self, user: u32, need: &RelationNeed) -> SqlResult<()> {
        const BY_COLUMN: PrivilegeSet =
            PrivilegeSet::SELECT.union(PrivilegeSet::INSERT).union(PrivilegeSet::UPDATE);
        let role = need.role.unwrap_or(user);
        let missing = need.privileges.without(self.privileges_of(role, need.relation, need.privileges));
        let has = |privilege: PrivilegeSet, columns: &[u32]| {
            missing.common(privilege).is_empty() || self.has_on_columns(role, need.relation, columns, privilege)
        };
        let is_allowed = missing.without(BY_COLUMN).is_empty()
            && has(PrivilegeSet::SELECT, &need.selected)
            && has(PrivilegeSet::INSERT, &need.inserted)
            && has(PrivilegeSet::UPDATE, &need.updated);
        if is_allowed {
            return Ok(());
        }
        let object = self.object(need.relation);
        let (what, name) = object.as_ref().map_or(("table", ""), |object| (object.what, &object.name));
        Err(denied(what, name))
    }

    /// Whether row security is what a plan was made for; `is_on`: the setting `row_security`.
    #[must_use]
    pub fn holds_row_security(&self, user: u32, needs: &[Need], is_on: bool) -> bool {
        needs.iter().all(|need| match need {
            Need::RowSecurity { relation, role, state } => {
                let now = self.catalog.table_by_id(*relation).map(|table| self.row_security(role.unwrap_or(user), table));
                now.is_some_and(|now| now == *state && (is_on || !now.is_subject()))
            }
            Need::Relation(_)
            | Need::Lookup { .. }
            | Need::Object { .. }
            | Need::Owner(_)
            | Need::OwnerOfIndex { .. }
            | Need::CreateRole { .. }
            | Need::Member { .. }
            | Need::Sequences
            | Need::Secrets(_)
            | Need::Shown => true,
        })
    }

    fn check_may_change_role(&self, user: u32, role: u32) -> SqlResult<()> {
        let refused = |message: &str| Err(SqlError::new(SqlState::InsufficientPrivilege, message));
        if self.is_superuser(user) {
            return Ok(());
        }
        if self.is_superuser(role) {
            return refused("must be superuser");
        }
        match self.catalog.role_by_id(user) {
            Some(role) if role.create_role => Ok(()),
            _ => refused("must have CREATEROLE privilege"),
        }
    }

    /// # Errors
    /// 42501, and 42P01 for a name in a schema that the user may not look into.
    pub fn check_needs(&self, user: u32, needs: &[Need]) -> SqlResult<()> {
        for need in needs {
            match need {
                Need::Relation(need) => self.check_relation(user, need)?,
                Need::Object { id, privileges } => self.check(user, *id, *privileges)?,
                Need::Owner(id) => self.check_owner(user, *id)?,
                Need::OwnerOfIndex { table, name } => match self.object(*table) {
                    Some(object) if !self.has_role(user, object.owner) => return Err(not_owner("index", name)),
                    _ => {}
                },
                Need::CreateRole { of } => self.check_may_change_role(user, *of)?,
                Need::Member { of, what } => {
                    if !self.has_role(user, *of) {
                        let role = PREDEFINED.iter().find(|(id, _)| id == of).map_or("", |(_, name)| *name);
                        let message = format!("must be superuser or have privileges of {role} to {what}");
                        let error = SqlError::new(SqlState::InsufficientPrivilege, message);
                        return Err(match what.starts_with("COPY") {
                            true => error.with_hint(
                                "Anyone can COPY to stdout or from stdin. psql's \\copy command also works for anyone.",
                            ),
                            false => error,
                        });
                    }
                }
                Need::Secrets(name) => check_secrets(name, user, self)?,
                Need::Sequences | Need::Shown | Need::RowSecurity { .. } => {}
                Need::Lookup { schema, missing } => {
                    if self.privileges_of(user, *schema, PrivilegeSet::USAGE).is_empty() {
                        return Err(match missing {
                            Some(name) => {
                                SqlError::new(SqlState::UndefinedTable, format!("relation \"{name}\" does not exist"))
                            }
                            None => denied("schema", &self.object(*schema).map_or_else(String::new, |it| it.name)),
                        });
                    }
                }
            }
        }
        Ok(())
    }
}
