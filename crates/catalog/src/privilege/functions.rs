//! `has_…_privilege` and `pg_has_role`. Documentation, section 9.26.
//!
//! Each takes an optional role, an object by name or oid, perhaps a column, and a list of privileges, of which one is enough.

use types::{Datum, OidNames, SqlError, SqlResult, SqlState, SqlType};

use super::access::READ_ALL_STATS;
use super::acl::PUBLIC;
use super::{Access, ObjectKind, PrivilegeSet, denied};
use crate::routine::{PLPGSQL_LANGUAGE, SQL_LANGUAGE};
use crate::snapshot::Relation;
use crate::view::{CatalogView, Class};

/// A privilege that is asked for; `option`: whether it may be granted to others.
#[derive(Clone, Copy)]
struct Asked {
    privilege: PrivilegeSet,
    option: bool,
}

fn missing(code: SqlState, what: &str, name: &str) -> SqlError {
    SqlError::new(code, format!("{what} \"{name}\" does not exist"))
}

fn unrecognized(text: &str) -> SqlError {
    SqlError::new(SqlState::InvalidParameterValue, format!("unrecognized privilege type: \"{text}\""))
}

/// Catalogs that superusers read, and nobody else.
const OF_SUPERUSERS: [&str; 5] = ["pg_authid", "pg_hba_file_rules", "pg_ident_file_mappings", "pg_largeobject", "pg_shadow"];
/// Catalogs for those who may read all statistics.
const OF_MONITORS: [&str; 2] = ["pg_backend_memory_contexts", "pg_shmem_allocations"];

/// Whether a catalog is not everybody's to read.
#[must_use]
pub fn has_secrets(name: &str) -> bool {
    OF_SUPERUSERS.contains(&name) || OF_MONITORS.contains(&name)
}

/// Whether a role may not read a catalog that is not everybody's.
fn is_secret(name: &str, role: u32, access: &Access<'_>) -> bool {
    OF_SUPERUSERS.contains(&name) && !access.is_superuser(role)
        || OF_MONITORS.contains(&name) && !access.has_role(role, READ_ALL_STATS)
}

/// Whether a role may read a catalog.
///
/// # Errors
/// 42501 for what would help others to get in.
pub fn check_secrets(name: &str, role: u32, access: &Access<'_>) -> SqlResult<()> {
    if !is_secret(name, role, access) {
        return Ok(());
    }
    let kind = if matches!(name, "pg_authid" | "pg_largeobject") { "table" } else { "view" };
    Err(denied(kind, name))
}

/// # Errors
/// 22023 for what is no privilege of this kind of object.
fn asked(list: &str, kind: ObjectKind) -> SqlResult<Vec<Asked>> {
    const OPTION: &str = " with grant option";
    let one = |text: &str| {
        let text = text.trim();
        let is_option = text.len() > OPTION.len()
            && text.is_char_boundary(text.len() - OPTION.len())
            && text[text.len() - OPTION.len()..].eq_ignore_ascii_case(OPTION);
        let name = if is_option { &text[..text.len() - OPTION.len()] } else { text };
        if kind == ObjectKind::Table && name.eq_ignore_ascii_case("rule") {
            return Ok(Asked { privilege: PrivilegeSet::NONE, option: is_option });
        }
        let known = PrivilegeSet::named(name).filter(|privilege| kind.all().has(*privilege));
        known.map(|privilege| Asked { privilege, option: is_option }).ok_or_else(|| unrecognized(text))
    };
    list.split(',').map(one).collect()
}

/// The role that is asked about, and what else is given.
fn role_and_rest<'a>(view: &CatalogView, args: &'a [Datum], without_role: usize) -> SqlResult<(u32, &'a [Datum])> {
    if args.len() == without_role {
        return Ok((view.catalog.role(&view.user).map_or(PUBLIC, |role| role.id), args));
    }
    let role = match &args[0] {
        Datum::Text(name) if &**name == "public" => PUBLIC,
        Datum::Text(name) => {
            let found = view.catalog.role(name);
            found.ok_or_else(|| missing(SqlState::UndefinedObject, "role", name))?.id
        }
        oid => id_of(oid),
    };
    Ok((role, &args[1..]))
}

fn id_of(datum: &Datum) -> u32 {
    datum.as_int().and_then(|oid| u32::try_from(oid).ok()).unwrap_or(0)
}

impl Access<'_> {
    /// Which of `wanted` a role may grant on an object as a whole.
    #[must_use]
    pub fn options_of(&self, role: u32, id: u32, wanted: PrivilegeSet) -> PrivilegeSet {
        let Some(object) = self.object(id) else { return PrivilegeSet::NONE };
        self.acl(id, &object).options_of(role, object.owner, wanted, &|role, of| self.has_role(role, of))
    }

    fn has(&self, role: u32, id: u32, asked: Asked) -> bool {
        let found = match asked.option {
            true => self.options_of(role, id, asked.privilege),
            false => self.privileges_of(role, id, asked.privilege),
        };
        !asked.privilege.is_empty() && found == asked.privilege
    }

    fn has_on_column(&self, role: u32, id: u32, column: u32, asked: Asked) -> bool {
        let row = self.privileges.row(id);
        let Some(acl) = row.and_then(|row| row.column(column)) else { return false };
        let has_role = |role, of| self.has_role(role, of);
        let owner = self.object(id).map_or(PUBLIC, |object| object.owner);
        let found = match asked.option {
            true => acl.options_of(role, owner, asked.privilege, &has_role),
            false => acl.privileges_of(role, asked.privilege, &has_role),
        };
        found == asked.privilege
    }
}

impl CatalogView {
    /// Answers the function of this name; NULL where there is no such object.
    pub(crate) fn privilege(&self, function: &str, args: &[Datum]) -> SqlResult<Datum> {
        let is_column = function == "has_column_privilege";
        let (role, rest) = role_and_rest(self, args, if is_column { 3 } else { 2 })?;
        let list = rest.last().and_then(Datum::as_str).unwrap_or("");
        let object = &rest[0];
        let access = self.catalog.access(self.database);
        if function == "pg_has_role" {
            return self.has_role(&access, role, object, list);
        }
        let kind = match function {
            "has_table_privilege" => ObjectKind::Table,
            "has_column_privilege" | "has_any_column_privilege" => ObjectKind::Column,
            "has_sequence_privilege" => ObjectKind::Sequence,
            "has_schema_privilege" => ObjectKind::Schema,
            "has_database_privilege" => ObjectKind::Database,
            "has_function_privilege" => ObjectKind::Routine,
            "has_type_privilege" => ObjectKind::Type,
            "has_language_privilege" => ObjectKind::Language,
            // Of what there is none of, nothing is known but that superusers may do anything.
            _ => return Ok(Datum::Bool(access.is_superuser(role))),
        };
        let Some(id) = self.object_id(kind, object)? else {
            asked(list, kind)?;
            return Ok(Datum::Null);
        };
        let column = if is_column { self.column_id(id, &rest[1])? } else { None };
        let asked = asked(list, kind)?;
        if is_column && column.is_none() && !is_catalog(self, id) {
            return Ok(Datum::Null);
        }
        if is_catalog(self, id) {
            return Ok(Datum::Bool(asked.iter().any(|it| self.has_on_catalog(&access, role, id, *it))));
        }
        let has = |it: &Asked| {
            access.has(role, id, *it)
                || match (kind, column) {
                    (ObjectKind::Column, Some(column)) => access.has_on_column(role, id, column, *it),
                    (ObjectKind::Column, None) => {
                        let row = access.privileges.row(id);
                        let columns = row.map_or(&[][..], |row| &row.columns);
                        columns.iter().any(|(column, _)| access.has_on_column(role, id, *column, *it))
                    }
                    _ => false,
                }
        };
        Ok(Datum::Bool(asked.iter().any(has)))
    }

    /// Everybody reads the catalogs, but for those with secrets in them; only superusers own them.
    fn has_on_catalog(&self, access: &Access<'_>, role: u32, id: u32, asked: Asked) -> bool {
        let name = self.class(id).map_or("", |class| match class {
            Class::Virtual(table) => table.name,
            Class::Relation(_) | Class::Index(..) | Class::Composite(_) => "",
        });
        // `rule` is none that there is any more.
        if asked.privilege.is_empty() {
            return false;
        }
        let is_secret = is_secret(name, role, access);
        let reads = asked.privilege == PrivilegeSet::SELECT && !asked.option && !is_secret;
        access.is_superuser(role) || reads
    }

    fn object_id(&self, kind: ObjectKind, object: &Datum) -> SqlResult<Option<u32>> {
        let Datum::Text(name) = object else {
            let id = id_of(object);
            let exists = match kind {
                ObjectKind::Table | ObjectKind::Column | ObjectKind::Sequence => self.class(id).is_some(),
                ObjectKind::Type => self.catalog.type_by_oid(id, -1).is_some(),
                ObjectKind::Routine => {
                    self.catalog.routine_by_id(id).is_some() || crate::virtual_tables::function_name(id).is_some()
                }
                ObjectKind::Schema | ObjectKind::Database | ObjectKind::Language => {
                    self.catalog.access(self.database).object(id).is_some_and(|object| object.kind == kind)
                }
            };
            return Ok(exists.then_some(id));
        };
        Ok(Some(match kind {
            ObjectKind::Table | ObjectKind::Column => self.require_class(name)?.oid(),
            ObjectKind::Sequence => {
                let class = self.require_class(name)?;
                if !matches!(class, Class::Relation(Relation::Sequence(_))) {
                    let message = format!("\"{}\" is not a sequence", class.name());
                    return Err(SqlError::new(SqlState::WrongObjectType, message));
                }
                class.oid()
            }
            ObjectKind::Schema => {
                let found = self.catalog.schema(self.database, name);
                found.ok_or_else(|| missing(SqlState::InvalidSchemaName, "schema", name))?.id
            }
            ObjectKind::Database => {
                let found = self.catalog.database(name);
                found.ok_or_else(|| missing(SqlState::InvalidCatalogName, "database", name))?.id
            }
            ObjectKind::Routine => self.lookup(&SqlType::RegProcedure, name)?,
            ObjectKind::Type => self.lookup(&SqlType::RegType, name)?,
            ObjectKind::Language => match &**name {
                "sql" => SQL_LANGUAGE,
                "plpgsql" => PLPGSQL_LANGUAGE,
                name => return Err(missing(SqlState::UndefinedObject, "language", name)),
            },
        }))
    }

    fn column_id(&self, id: u32, column: &Datum) -> SqlResult<Option<u32>> {
        let class = self.class(id);
        let name = class.as_ref().map_or("", |class| class.name());
        let named = |column: &str| {
            let message = format!("column \"{column}\" of relation \"{name}\" does not exist");
            SqlError::new(SqlState::UndefinedColumn, message)
        };
        let count = |number: i64, width: usize| {
            usize::try_from(number).is_ok_and(|at| (1..=width).contains(&at)).then(|| u32::try_from(number).unwrap_or(0))
        };
        Ok(match (&class, column) {
            (Some(Class::Relation(Relation::Table(table))), Datum::Text(column)) => {
                Some(table.column_named(column).ok_or_else(|| named(column))?.1.id.get())
            }
            (Some(Class::Relation(Relation::Table(table))), number) => {
                let found = table.columns.iter().find(|it| !it.hidden && Some(i64::from(it.id.get())) == number.as_int());
                found.map(|column| column.id.get())
            }
            (Some(Class::Relation(Relation::View(view))), Datum::Text(column)) => {
                let at = view.columns.iter().position(|(known, _)| **known == **column);
                Some(u32::try_from(at.ok_or_else(|| named(column))? + 1).unwrap_or(0))
            }
            (Some(Class::Relation(Relation::View(view))), number) => {
                number.as_int().and_then(|number| count(number, view.columns.len()))
            }
            (Some(Class::Virtual(table)), Datum::Text(column)) => {
                Some(table.position(column).ok_or_else(|| named(column))? as u32 + 1)
            }
            _ => None,
        })
    }

    fn has_role(&self, access: &Access<'_>, role: u32, of: &Datum, list: &str) -> SqlResult<Datum> {
        let of = match of {
            Datum::Text(name) => {
                let found = self.catalog.role(name);
                found.ok_or_else(|| missing(SqlState::UndefinedObject, "role", name))?.id
            }
            oid => id_of(oid),
        };
        let mut has_any = false;
        for text in list.split(',').map(str::trim) {
            has_any |= match text.to_ascii_lowercase().as_str() {
                "usage" => access.has_role(role, of),
                "member" => access.is_member(role, of),
                "usage with grant option" | "usage with admin option" | "member with grant option"
                | "member with admin option" => access.is_admin(role, of),
                _ => return Err(unrecognized(text)),
            };
        }
        Ok(Datum::Bool(has_any))
    }
}

fn is_catalog(view: &CatalogView, id: u32) -> bool {
    matches!(view.class(id), Some(Class::Virtual(_)))
}
