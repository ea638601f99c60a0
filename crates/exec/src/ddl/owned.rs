//! What a role owns and is granted: REASSIGN OWNED, DROP OWNED, and why it cannot be dropped.

use catalog::Relation;
use catalog::privilege::{Acl, ObjectKind, PrivilegeRow};
use catalog::descriptor::{DATABASE_OWNER_ROLE, POSTGRES_ROLE};
use types::{SqlError, SqlResult, SqlState};

use super::{DdlContext, drop::drop_relation, grant, quote};

/// So many things are listed one by one.
const LISTED_MAX: usize = 100;

/// The objects of the database that a role owns, oldest first; databases only with `shared`.
fn owned_here(role: u32, shared: bool, ctx: &DdlContext<'_>) -> Vec<u32> {
    let catalog = ctx.change.snapshot();
    let owner = |relation: &Relation| match relation {
        Relation::Table(it) => it.owner,
        Relation::View(it) => it.owner,
        Relation::Sequence(it) => it.owner,
    };
    let mut ids: Vec<u32> = Vec::new();
    ids.extend(catalog.relations_of(ctx.database).filter(|it| owner(it) == role).map(Relation::id));
    ids.extend(catalog.types_of(ctx.database).into_iter().filter(|it| it.owner == role).map(|it| it.id));
    ids.extend(catalog.routines_of(ctx.database).into_iter().filter(|it| it.owner == role).map(|it| it.id));
    let is_own = |it: &&std::sync::Arc<catalog::Schema>| it.database == ctx.database && it.owner == role;
    ids.extend(catalog.schemas().filter(is_own).filter(|it| !it.is_temporary()).map(|it| it.id));
    if shared {
        ids.extend(catalog.databases().filter(|it| it.owner == role).map(|it| it.id));
    }
    ids.sort_unstable();
    ids
}

fn refuse_system(roles: &[u32], what: &str, ctx: &DdlContext<'_>) -> SqlResult<()> {
    let is_system = |role: &&u32| matches!(**role, POSTGRES_ROLE | DATABASE_OWNER_ROLE);
    let Some(role) = roles.iter().find(is_system) else { return Ok(()) };
    let name = ctx.change.snapshot().role_by_id(*role).map_or("", |role| role.name.as_str());
    let message = format!("cannot {what} objects owned by role {name} because they are required by the database system");
    Err(SqlError::new(SqlState::DependentObjectsStillExist, message))
}

pub(super) async fn reassign(roles: &[u32], to: u32, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    refuse_system(roles, "reassign ownership of", ctx)?;
    for role in roles {
        for id in owned_here(*role, true, ctx) {
            grant::give(id, to, ctx)?;
        }
    }
    crate::large_object::reassign(ctx.txn, ctx.database, roles, to).await
}

pub(super) async fn drop_owned(roles: &[u32], cascade: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    refuse_system(roles, "drop", ctx)?;
    for role in roles {
        revoke_all(*role, ctx)?;
        super::policy::forget_role(*role, ctx);
    }
    let ids: Vec<u32> = roles.iter().flat_map(|role| owned_here(*role, false, ctx)).collect();
    let schemas: Vec<String> = ids
        .iter()
        .filter_map(|id| ctx.change.snapshot().schema_by_id(*id).map(|schema| schema.name.clone()))
        .collect();
    let dropped = drop_all(&ids, cascade, ctx).await;
    dropped.map_err(|error| match error.code() {
        SqlState::DependentObjectsStillExist if ids.len() > 1 => several(error),
        _ => error,
    })?;
    super::drop::schemas(&schemas, true, cascade, ctx).await?;
    crate::large_object::drop_owned(ctx.txn, ctx.database, roles).await
}

/// As PostgreSQL says it of several objects.
fn several(error: SqlError) -> SqlError {
    let message = "cannot drop desired object(s) because other objects depend on them";
    let mut made = SqlError::new(SqlState::DependentObjectsStillExist, message);
    let fields = error.into_fields();
    if let Some(detail) = fields.detail {
        made = made.with_detail(detail);
    }
    match fields.hint {
        Some(hint) => made.with_hint(hint),
        None => made,
    }
}

async fn drop_all(ids: &[u32], cascade: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    // A type may hold rows of a table, and a table values of a type: tables are dropped with the types at hand, which then are free.
    let (types, others): (Vec<u32>, Vec<u32>) = ids.iter().partition(|id| ctx.change.snapshot().user_type(**id).is_some());
    for id in &others {
        let catalog = ctx.change.snapshot();
        let is_owned_sequence = match catalog.relation_by_id(*id) {
            Some(Relation::Sequence(sequence)) => sequence.owned_by.is_some_and(|(table, _)| ids.contains(&table)),
            _ => false,
        };
        if is_owned_sequence {
            continue;
        }
        if catalog.relation_by_id(*id).is_some() {
            super::composites::release_rows(*id, ids, cascade, ctx).await?;
            drop_relation(*id, ids, cascade, ctx)?;
        } else if catalog.routine_by_id(*id).is_some() {
            super::routine::drop_routines(&[*id], &[], cascade, ctx)?;
        }
    }
    let types: Vec<u32> = types.into_iter().filter(|id| ctx.change.snapshot().user_type(*id).is_some()).collect();
    super::types::drop_types(&types, &[], cascade, ctx).await
}

/// Takes a role off all lists of this database and of what databases share, and its defaults with it.
fn revoke_all(role: u32, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let privileges = ctx.change.snapshot().privileges();
    for row in privileges.rows() {
        if let Some(default) = &row.default {
            if default.database == ctx.database && default.role == role {
                ctx.change.put_privileges(ctx.txn, PrivilegeRow::new(row.id));
                continue;
            }
            if default.database != ctx.database {
                continue;
            }
        } else if !is_here(row.id, ctx) {
            continue;
        }
        let owner = ctx.access().object(row.id).map(|object| object.owner);
        if owner == Some(role) {
            continue;
        }
        let without = |acl: &Acl| {
            let kept = acl.0.iter().filter(|item| item.grantee != role && item.grantor != role);
            Acl(kept.copied().collect())
        };
        let mut changed = PrivilegeRow { acl: row.acl.as_ref().map(without), ..PrivilegeRow::clone(row) };
        changed.columns.iter_mut().for_each(|(_, acl)| *acl = without(acl));
        changed.columns.retain(|(_, acl)| !acl.0.is_empty());
        if changed != **row {
            ctx.change.put_privileges(ctx.txn, changed);
        }
    }
    Ok(())
}

/// Whether an object is of this database, or shared.
fn is_here(id: u32, ctx: &DdlContext<'_>) -> bool {
    let catalog = ctx.change.snapshot();
    let Some(object) = ctx.access().object(id) else { return false };
    let schema = match object.kind {
        ObjectKind::Database | ObjectKind::Language => return true,
        ObjectKind::Schema => id,
        _ => object.schema,
    };
    catalog.schema_by_id(schema).is_some_and(|schema| schema.database == ctx.database)
}

fn database_of(id: u32, ctx: &DdlContext<'_>) -> Option<u32> {
    let object = ctx.access().object(id)?;
    let schema = if object.kind == ObjectKind::Schema { id } else { object.schema };
    ctx.change.snapshot().schema_by_id(schema).map(|schema| schema.database)
}

/// As messages name it: `table t`, `function f(integer)`.
fn shown(id: u32, ctx: &DdlContext<'_>) -> String {
    let catalog = ctx.change.snapshot();
    if let Some(routine) = catalog.routine_by_id(id) {
        return super::routine::shown(routine, ctx);
    }
    if let Some(relation) = catalog.relation_by_id(id) {
        let find = |catalog: &catalog::CatalogSnapshot, schema| catalog.relation(schema, relation.name()).map(Relation::id);
        let name = ctx.shown(relation.schema(), &quote(relation.name()), ctx.is_visible(id, find));
        return format!("{} {name}", relation.kind());
    }
    ctx.access().object(id).map_or_else(String::new, |object| format!("{} {}", object.what, object.name))
}

/// What keeps a role from being dropped: what it owns and what it is granted here, and how much elsewhere.
///
/// # Errors
/// 2BP01.
pub(super) fn check_free(
    role: u32,
    name: &str,
    large_objects: &[(u32, String)],
    ctx: &DdlContext<'_>,
) -> SqlResult<()> {
    let catalog = ctx.change.snapshot();
    let mut lines: Vec<String> = Vec::new();
    for id in owned_here(role, true, ctx) {
        lines.push(format!("owner of {}", shown(id, ctx)));
    }
    let mut elsewhere: Vec<(String, usize)> = Vec::new();
    let mut note = |database: u32| {
        let name = catalog.database_by_id(database).map_or_else(String::new, |it| it.name.clone());
        match elsewhere.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => elsewhere.push((name, 1)),
        }
    };
    for database in catalog.databases().filter(|database| database.id != ctx.database) {
        let relations = catalog.relations_of(database.id).filter(|relation| match relation {
            Relation::Table(it) => it.owner == role,
            Relation::View(it) => it.owner == role,
            Relation::Sequence(it) => it.owner == role,
        });
        let types = catalog.types_of(database.id).into_iter().filter(|it| it.owner == role);
        let routines = catalog.routines_of(database.id).into_iter().filter(|it| it.owner == role);
        let schemas = catalog.schemas().filter(|it| it.database == database.id && it.owner == role);
        (0..relations.count() + types.count() + routines.count() + schemas.count()).for_each(|_| note(database.id));
    }
    let privileges = catalog.privileges();
    let mut rows: Vec<_> = privileges.rows().filter(|row| row.acls().any(|acl| acl.roles().any(|it| it == role))).collect();
    rows.sort_unstable_by_key(|row| row.id);
    for row in rows {
        if let Some(default) = &row.default {
            // The object was dropped.
            let is_gone = catalog.database_by_id(default.database).is_none()
                || default.schema != 0 && catalog.schema_by_id(default.schema).is_none();
            if is_gone {
                continue;
            }
            if default.database != ctx.database {
                note(default.database);
                continue;
            }
            let what = match default.kind {
                ObjectKind::Table => "relations",
                ObjectKind::Sequence => "sequences",
                ObjectKind::Routine => "functions",
                ObjectKind::Schema => "schemas",
                _ => "types",
            };
            let of = catalog.role_by_id(default.role).map_or("", |role| role.name.as_str());
            let place = match catalog.schema_by_id(default.schema) {
                Some(schema) => format!(" in schema {}", schema.name),
                None => String::new(),
            };
            let how = if default.role == role { "owner of" } else { "privileges for" };
            lines.push(format!("{how} default privileges on new {what} belonging to role {of}{place}"));
            continue;
        }
        // A row of a dropped object has no effect.
        let Some(object) = ctx.access().object(row.id) else { continue };
        if object.owner == role {
            continue;
        }
        match database_of(row.id, ctx) {
            Some(database) if database != ctx.database && database != 0 => note(database),
            _ => {
                let on_whole = row.acl.iter().any(|acl| acl.roles().any(|it| it == role));
                if on_whole {
                    lines.push(format!("privileges for {}", shown(row.id, ctx)));
                }
                for (column, acl) in &row.columns {
                    if acl.roles().any(|it| it == role) {
                        let name = column_name(row.id, *column, ctx);
                        if name.is_empty() {
                            continue;
                        }
                        lines.push(format!("privileges for column {name} of {}", shown(row.id, ctx)));
                    }
                }
            }
        }
    }
    for (table, policy) in super::policy::policies_where(|_, policy| policy.roles.contains(&role), ctx) {
        lines.push(format!("target of {}", super::policy::shown(&policy, &table, ctx)));
    }
    for database in catalog.databases().filter(|database| database.id != ctx.database) {
        let tables = catalog.relations_of(database.id).filter_map(|relation| match relation {
            Relation::Table(table) => Some(table),
            Relation::View(_) | Relation::Sequence(_) => None,
        });
        let policies = tables.flat_map(|table| table.policies()).filter(|policy| policy.roles.contains(&role));
        policies.for_each(|_| note(database.id));
    }
    for (database, reason) in large_objects {
        if *database == ctx.database { lines.push(reason.clone()) } else { note(*database) }
    }
    for (database, count) in elsewhere {
        let objects = if count == 1 { "1 object".to_owned() } else { format!("{count} objects") };
        lines.push(format!("{objects} in database {database}"));
    }
    if lines.is_empty() {
        return Ok(());
    }
    if lines.len() > LISTED_MAX {
        let more = lines.len() - LISTED_MAX;
        lines.truncate(LISTED_MAX);
        lines.push(format!("and {more} other objects (see server log for list)"));
    }
    let message = format!("role \"{name}\" cannot be dropped because some objects depend on it");
    Err(SqlError::new(SqlState::DependentObjectsStillExist, message).with_detail(lines.join("\n")))
}

fn column_name(relation: u32, column: u32, ctx: &DdlContext<'_>) -> String {
    let found = match ctx.change.snapshot().relation_by_id(relation) {
        Some(Relation::Table(table)) => {
            table.columns.iter().find(|known| known.id.get() == column).map(|column| column.name.clone())
        }
        Some(Relation::View(view)) => {
            let at = usize::try_from(column).ok().and_then(|number| number.checked_sub(1));
            at.and_then(|at| view.columns.get(at)).map(|(name, _)| name.clone())
        }
        Some(Relation::Sequence(_)) | None => None,
    };
    found.unwrap_or_default()
}

/// Memberships end with the role, as does what is stored of it.
pub(super) fn forget(role: u32, ctx: &mut DdlContext<'_>) {
    let privileges = ctx.change.snapshot().privileges();
    for of in privileges.memberships(role) {
        let mut row = ctx.privilege_row(*of);
        row.members.retain(|it| it.member != role);
        ctx.change.put_privileges(ctx.txn, row);
    }
    ctx.change.put_privileges(ctx.txn, PrivilegeRow::new(role));
}
