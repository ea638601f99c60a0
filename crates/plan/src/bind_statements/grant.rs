//! GRANT and REVOKE, ALTER DEFAULT PRIVILEGES, REASSIGN OWNED and DROP OWNED: names become ids, words privileges.

use catalog::privilege::acl::PUBLIC;
use catalog::privilege::{Behavior, ObjectKind, PrivilegeSet};
use catalog::routine::{PLPGSQL_LANGUAGE, SQL_LANGUAGE};
use catalog::{Relation, RoutineKind};
use sqlparser::ast;
use types::{SqlError, SqlResult, SqlState};

use super::{ddl, own, routine, utility};
use crate::{
    PlanContext,
    bind::{find_relation, find_type, fold, no_relation, qualified_name},
    parse::own::{Grant as GrantText, GrantOn, GrantRoles as GrantRolesText, Privileged, RoutineWord},
    statement::{Ddl, DefaultPrivileges, Grant, GrantRoles, GrantTarget, LargeObjectChange, PreparedPlan, Utility},
};

fn invalid(message: String) -> SqlError {
    SqlError::new(SqlState::InvalidGrantOperation, message)
}

pub(super) fn no_database(name: &str) -> SqlError {
    SqlError::new(SqlState::InvalidCatalogName, format!("database \"{name}\" does not exist"))
}

/// A role that exists; everybody is none.
pub(super) fn role(name: &ast::Ident, context: &PlanContext<'_>) -> SqlResult<u32> {
    let folded = fold(name);
    let is_word = name.quote_style.is_none();
    let named = match folded.as_str() {
        "current_user" | "current_role" if is_word => context.user.to_owned(),
        "session_user" if is_word => context.eval.host.session_user(),
        _ => folded,
    };
    let found = context.catalog.role(&named);
    let missing = || SqlError::new(SqlState::UndefinedObject, format!("role \"{named}\" does not exist"));
    found.map(|role| role.id).ok_or_else(missing)
}

fn roles_of(names: &[ast::Ident], context: &PlanContext<'_>) -> SqlResult<Vec<u32>> {
    names.iter().map(|name| role(name, context)).collect()
}

/// Roles, or everybody.
pub(super) fn grantees(names: &[ast::Ident], context: &PlanContext<'_>) -> SqlResult<Vec<u32>> {
    let of = |name: &ast::Ident| match name.quote_style {
        None if name.value.eq_ignore_ascii_case("public") => Ok(PUBLIC),
        _ => role(name, context),
    };
    names.iter().map(of).collect()
}

fn behavior(cascade: bool) -> Behavior {
    if cascade { Behavior::Cascade } else { Behavior::Restrict }
}

fn kind_name(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Table => "table",
        ObjectKind::Column => "column",
        ObjectKind::Sequence => "sequence",
        ObjectKind::Database => "database",
        ObjectKind::Schema => "schema",
        ObjectKind::Routine => "function",
        ObjectKind::Type => "type",
        ObjectKind::Language => "language",
    }
}

fn privilege(name: &ast::Ident) -> SqlResult<PrivilegeSet> {
    let folded = fold(name);
    PrivilegeSet::named(&folded).ok_or_else(|| {
        SqlError::new(SqlState::SyntaxError, format!("unrecognized privilege type \"{folded}\""))
    })
}

/// The names of privileges as errors have them.
fn first_name(set: PrivilegeSet) -> &'static str {
    set.each().next().map_or("", |(_, _, name)| name)
}

/// What is asked for, on the whole and on columns.
struct Asked<'a> {
    whole: PrivilegeSet,
    is_all: bool,
    /// Empty privileges: all of a column.
    columns: Vec<(PrivilegeSet, &'a [ast::Ident])>,
}

fn asked(privileges: &Privileged) -> SqlResult<Asked<'_>> {
    let mut found = Asked { whole: PrivilegeSet::NONE, is_all: false, columns: Vec::new() };
    match privileges {
        Privileged::All(columns) if columns.is_empty() => found.is_all = true,
        Privileged::All(columns) => found.columns.push((PrivilegeSet::NONE, columns)),
        Privileged::These(listed) => {
            for it in listed {
                let privilege = privilege(&it.name)?;
                match &it.columns[..] {
                    [] => found.whole = found.whole.union(privilege),
                    columns => found.columns.push((privilege, columns)),
                }
            }
        }
    }
    Ok(found)
}

impl Asked<'_> {
    /// # Errors
    /// 0LP01 for a privilege that objects of the kind do not have.
    fn of(&self, kind: ObjectKind, what: &str) -> SqlResult<PrivilegeSet> {
        if self.is_all {
            return Ok(kind.all());
        }
        let wrong = self.whole.without(kind.all());
        if wrong.is_empty() {
            return Ok(self.whole);
        }
        Err(invalid(format!("invalid privilege type {} for {what}", first_name(wrong))))
    }

    /// On the columns of a relation.
    fn columns_of(&self, relation: &Relation) -> SqlResult<Vec<(u32, String, PrivilegeSet)>> {
        let mut found: Vec<(u32, String, PrivilegeSet)> = Vec::new();
        for (privileges, names) in &self.columns {
            let all = ObjectKind::Column.all();
            let wrong = privileges.without(all);
            if !wrong.is_empty() {
                return Err(invalid(format!("invalid privilege type {} for column", first_name(wrong))));
            }
            let privileges = if privileges.is_empty() { all } else { *privileges };
            for name in *names {
                let name = fold(name);
                // Who reads any column reads it.
                if name == "tableoid" && matches!(relation, Relation::Table(_)) {
                    continue;
                }
                let missing = || {
                    let message = format!("column \"{name}\" of relation \"{}\" does not exist", relation.name());
                    SqlError::new(SqlState::UndefinedColumn, message)
                };
                let id = match relation {
                    Relation::Table(table) => table.column_named(&name).map(|(_, column)| column.id.get()),
                    Relation::View(view) => {
                        let at = view.columns.iter().position(|(known, _)| *known == name);
                        at.and_then(|at| u32::try_from(at + 1).ok())
                    }
                    Relation::Sequence(_) => None,
                };
                let id = id.ok_or_else(missing)?;
                match found.iter_mut().find(|(known, ..)| *known == id) {
                    Some((_, _, known)) => *known = known.union(privileges),
                    None => found.push((id, name, privileges)),
                }
            }
        }
        Ok(found)
    }
}

fn named_relation(name: &ast::ObjectName, context: &PlanContext<'_>) -> SqlResult<Relation> {
    let (schema, relation) = qualified_name(context, name)?;
    if let Some(found) = find_relation(context, schema.as_deref(), &relation)? {
        return Ok(found);
    }
    if super::find_index(context, name)?.is_some() {
        return Err(SqlError::new(SqlState::WrongObjectType, format!("\"{relation}\" is an index")));
    }
    let in_catalogs = ["pg_catalog", "information_schema"];
    let is_catalog = |known: &&str| {
        schema.as_deref().is_none_or(|schema| schema == *known) && catalog::virtual_tables::find(known, &relation).is_some()
    };
    if in_catalogs.iter().any(|known| is_catalog(&known)) {
        return Err(SqlError::not_supported("privileges on system catalogs cannot be changed"));
    }
    Err(no_relation(schema.as_deref(), &relation))
}

fn named_schema(name: &ast::Ident, context: &PlanContext<'_>) -> SqlResult<u32> {
    own::schema(name, context)
}

/// What is granted on, each with its kind; relations with themselves.
fn targets(on: &GrantOn, asked: &Asked<'_>, warnings: &mut Vec<String>, context: &PlanContext<'_>) -> SqlResult<Vec<GrantTarget>> {
    let catalog = context.catalog;
    let whole = |id: u32, kind: ObjectKind| -> SqlResult<GrantTarget> {
        if !asked.columns.is_empty() {
            return Err(invalid("column privileges are only valid for relations".to_owned()));
        }
        let privileges = asked.of(kind, kind_name(kind))?;
        Ok(GrantTarget { id, privileges, is_all: asked.is_all, columns: Vec::new() })
    };
    let mut targets = Vec::new();
    match on {
        GrantOn::Tables(names) => {
            let either = ObjectKind::Table.all().union(ObjectKind::Sequence.all());
            let wrong = asked.whole.without(either);
            if !wrong.is_empty() {
                return Err(invalid(format!("invalid privilege type {} for relation", first_name(wrong))));
            }
            for name in names {
                let relation = named_relation(name, context)?;
                let privileges = match &relation {
                    // As PostgreSQL before it had sequences of their own in GRANT.
                    Relation::Sequence(sequence) if !asked.is_all => {
                        let all = ObjectKind::Sequence.all();
                        if !asked.whole.without(all).is_empty() {
                            let name = &sequence.name;
                            warnings.push(format!("sequence \"{name}\" only supports USAGE, SELECT, and UPDATE privileges"));
                        }
                        asked.whole.common(all)
                    }
                    Relation::Sequence(_) => ObjectKind::Sequence.all(),
                    Relation::Table(_) | Relation::View(_) => asked.of(ObjectKind::Table, "table")?,
                };
                let columns = asked.columns_of(&relation)?;
                targets.push(GrantTarget { id: relation.id(), privileges, is_all: asked.is_all, columns });
            }
        }
        GrantOn::Sequences(names) => {
            if !asked.columns.is_empty() {
                return Err(invalid("column privileges are only valid for relations".to_owned()));
            }
            for name in names {
                let relation = named_relation(name, context)?;
                if !matches!(relation, Relation::Sequence(_)) {
                    let message = format!("\"{}\" is not a sequence", relation.name());
                    return Err(SqlError::new(SqlState::WrongObjectType, message));
                }
                targets.push(whole(relation.id(), ObjectKind::Sequence)?);
            }
        }
        GrantOn::Schemas(names) => {
            for name in names {
                targets.push(whole(named_schema(name, context)?, ObjectKind::Schema)?);
            }
        }
        GrantOn::Databases(names) => {
            for name in names {
                let name = fold(name);
                let found = catalog.database(&name).ok_or_else(|| no_database(&name))?;
                targets.push(whole(found.id, ObjectKind::Database)?);
            }
        }
        GrantOn::Languages(names) => {
            for name in names {
                let name = fold(name);
                let id = match name.as_str() {
                    "sql" => SQL_LANGUAGE,
                    "plpgsql" => PLPGSQL_LANGUAGE,
                    "c" | "internal" => {
                        let message = format!("language \"{name}\" is not trusted");
                        return Err(SqlError::new(SqlState::WrongObjectType, message).with_detail(
                            "GRANT and REVOKE are not allowed on untrusted languages, because only superusers can use untrusted languages.",
                        ));
                    }
                    _ => {
                        let message = format!("language \"{name}\" does not exist");
                        return Err(SqlError::new(SqlState::UndefinedObject, message));
                    }
                };
                targets.push(whole(id, ObjectKind::Language)?);
            }
        }
        GrantOn::Types(names) | GrantOn::Domains(names) => {
            let wants_domain = matches!(on, GrantOn::Domains(_));
            for name in names {
                let is_domain = |id: u32| catalog.user_type(id).is_some_and(|ty| ty.ty.is_domain());
                let found = find_type(name, context)?;
                let id = found.filter(|ty| !ty.is_array() && ty.composite().is_none_or(|of| of.relation().is_none())).and_then(|ty| ty.user_type());
                match id {
                    Some(id) if !wants_domain || is_domain(id) => targets.push(whole(id, ObjectKind::Type)?),
                    _ if wants_domain => {
                        let message = format!("\"{name}\" is not a domain");
                        return Err(SqlError::new(SqlState::WrongObjectType, message));
                    }
                    _ if found.is_some_and(|ty| ty.is_array()) => {
                        return Err(SqlError::new(SqlState::InvalidGrantOperation, "cannot set privileges of array types")
                            .with_hint("Set the privileges of the element type instead."));
                    }
                    _ if found.is_some() || types::SqlType::parse_name(&name.to_string()).is_ok() => {
                        return Err(SqlError::not_supported("privileges on built-in types cannot be changed"));
                    }
                    _ => {
                        let message = format!("type \"{name}\" does not exist");
                        return Err(SqlError::new(SqlState::UndefinedObject, message));
                    }
                }
            }
        }
        GrantOn::Routines { word, names } => {
            for name in names {
                let found = routine::find(*word, name, context)?.map_err(|error| {
                    let bare = name.name.0.last().and_then(|part| part.as_ident()).map(fold).unwrap_or_default();
                    match builtins::functions(&bare).is_empty() {
                        true => error,
                        false => SqlError::not_supported("privileges on built-in functions cannot be changed"),
                    }
                })?;
                let what = match word {
                    RoutineWord::Function => "function",
                    RoutineWord::Procedure => "procedure",
                    RoutineWord::Routine => "routine",
                    RoutineWord::Aggregate => "aggregate",
                };
                asked.of(ObjectKind::Routine, what)?;
                targets.push(whole(found.id, ObjectKind::Routine)?);
            }
        }
        GrantOn::AllIn { kind, word, schemas } => {
            for name in schemas {
                let schema = named_schema(name, context)?;
                let mut ids: Vec<u32> = match kind {
                    ObjectKind::Routine => {
                        let routines = catalog.routines().filter(|routine| routine.schema == schema);
                        let fits = |kind: RoutineKind| match word {
                            RoutineWord::Routine => true,
                            RoutineWord::Function => kind != RoutineKind::Procedure,
                            RoutineWord::Aggregate => kind == RoutineKind::Aggregate,
                            RoutineWord::Procedure => kind == RoutineKind::Procedure,
                        };
                        routines.filter(|routine| fits(routine.kind)).map(|routine| routine.id).collect()
                    }
                    _ => {
                        let is_meant = |relation: &&Relation| {
                            let is_sequence = matches!(relation, Relation::Sequence(_));
                            relation.schema() == schema && is_sequence == (*kind == ObjectKind::Sequence)
                        };
                        catalog.relations().filter(is_meant).map(Relation::id).collect()
                    }
                };
                ids.sort_unstable();
                for id in ids {
                    targets.push(whole(id, *kind)?);
                }
            }
            asked.of(*kind, kind_name(*kind))?;
        }
        GrantOn::Future(_) => return Err(SqlError::internal("defaults are bound by themselves")),
        GrantOn::LargeObjects(_) => return Err(SqlError::internal("large objects are no part of the catalog")),
        GrantOn::Unsupported(what) => {
            return Err(SqlError::not_supported(format!("privileges on a {what} are not supported")));
        }
    }
    Ok(targets)
}

pub(super) fn grant(text: &GrantText, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    let tag = if text.is_grant { "GRANT" } else { "REVOKE" };
    let asked = asked(&text.privileges)?;
    let mut warnings = Vec::new();
    let grantees = grantees(&text.roles, context)?;
    let large_objects = match &text.on {
        GrantOn::LargeObjects(oids) => Some(oids),
        _ => None,
    };
    let targets = match large_objects {
        Some(_) => Vec::new(),
        None => targets(&text.on, &asked, &mut warnings, context)?,
    };
    let grant = Grant {
        is_grant: text.is_grant,
        option: text.option,
        targets,
        grantees,
        granted_by: text.granted_by.as_ref().map(|name| role(name, context)).transpose()?,
        behavior: behavior(text.cascade),
        warnings,
    };
    if let Some(oids) = large_objects {
        if !asked.columns.is_empty() {
            return Err(invalid("column privileges are only valid for relations".to_owned()));
        }
        let all = catalog::large_object::ALL;
        let wrong = asked.whole.without(all);
        if !wrong.is_empty() {
            return Err(invalid(format!("invalid privilege type {} for large object", first_name(wrong))));
        }
        let privileges = if asked.is_all { all } else { asked.whole };
        let change = LargeObjectChange::Grant { grant: Box::new(grant), privileges, is_all: asked.is_all };
        return Ok(utility(Utility::LargeObject { oids: oids.clone(), change }, tag, context));
    }
    Ok(ddl(Ddl::Grant(grant), tag, context))
}

pub(super) fn roles(text: &GrantRolesText, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    let tag = if text.is_grant { "GRANT ROLE" } else { "REVOKE ROLE" };
    let grant = GrantRoles {
        is_grant: text.is_grant,
        admin: text.admin,
        roles: roles_of(&text.roles, context)?,
        members: roles_of(&text.members, context)?,
        granted_by: text.granted_by.as_ref().map(|name| role(name, context)).transpose()?,
    };
    Ok(ddl(Ddl::GrantRoles(grant), tag, context))
}

pub(super) fn defaults(
    for_roles: &[ast::Ident],
    schemas: &[ast::Ident],
    text: &GrantText,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let GrantOn::Future(kind) = text.on else { return Err(SqlError::internal("no defaults")) };
    let asked = asked(&text.privileges)?;
    if !asked.columns.is_empty() {
        return Err(invalid("default privileges cannot be set for columns".to_owned()));
    }
    let what = match kind {
        ObjectKind::Table => "relation",
        other => kind_name(other),
    };
    let privileges = asked.of(kind, what)?;
    if kind == ObjectKind::Schema && !schemas.is_empty() {
        return Err(invalid("cannot use IN SCHEMA clause when using GRANT/REVOKE ON SCHEMAS".to_owned()));
    }
    let defaults = DefaultPrivileges {
        roles: roles_of(for_roles, context)?,
        schemas: schemas.iter().map(|name| own::schema(name, context)).collect::<SqlResult<_>>()?,
        kind,
        is_grant: text.is_grant,
        option: text.option,
        privileges,
        grantees: grantees(&text.roles, context)?,
        behavior: behavior(text.cascade),
    };
    Ok(ddl(Ddl::DefaultPrivileges(defaults), "ALTER DEFAULT PRIVILEGES", context))
}

pub(super) fn reassign_owned(names: &[ast::Ident], to: &ast::Ident, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    let change = Ddl::ReassignOwned { roles: roles_of(names, context)?, to: role(to, context)? };
    Ok(ddl(change, "REASSIGN OWNED", context))
}

pub(super) fn drop_owned(names: &[ast::Ident], cascade: bool, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    Ok(ddl(Ddl::DropOwned { roles: roles_of(names, context)?, cascade }, "DROP OWNED", context))
}
