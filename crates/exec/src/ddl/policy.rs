//! CREATE, ALTER and DROP POLICY, and what happens to policies when what they name goes.

use std::sync::Arc;

use catalog::{CatalogSnapshot, Policy, PolicyExpr, Relation, Table};
use keys::ColumnId;
use plan::statement::{AlterPolicy, RowSecurityChange};
use types::{SqlError, SqlResult, SqlState};

use super::{DdlContext, quote};

fn missing(name: &str, table: &Table) -> SqlError {
    let message = format!("policy \"{name}\" for table \"{}\" does not exist", table.name);
    SqlError::new(SqlState::UndefinedObject, message)
}

fn exists(name: &str, table: &Table) -> SqlError {
    let message = format!("policy \"{name}\" for table \"{}\" already exists", table.name);
    SqlError::new(SqlState::DuplicateObject, message)
}

fn place(table: &Table, name: &str) -> Result<usize, usize> {
    table.policies().binary_search_by(|known| known.name.as_str().cmp(name))
}

/// As messages name it: `policy p on table t`.
pub(super) fn shown(policy: &Policy, table: &Table, ctx: &DdlContext<'_>) -> String {
    let find = |catalog: &CatalogSnapshot, schema| catalog.relation(schema, &table.name).map(Relation::id);
    let on = ctx.shown(table.schema, &quote(&table.name), ctx.is_visible(table.id, find));
    format!("policy {} on table {on}", policy.name)
}

fn warn_of_idle_roles(has_idle_roles: bool, ctx: &mut DdlContext<'_>) {
    if has_idle_roles {
        ctx.notices.push((SqlState::InvalidParameterValue, "ignoring specified roles other than PUBLIC".to_owned()));
    }
}

pub(super) async fn create(id: u32, spec: &Policy, has_idle_roles: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    warn_of_idle_roles(has_idle_roles, ctx);
    let table = ctx.table(id)?;
    let Err(at) = place(&table, &spec.name) else { return Err(exists(&spec.name, &table)) };
    let mut changed = Table::clone(&table);
    changed.security_mut().policies.insert(at, Policy { oid: ctx.new_ids(1).await?, ..spec.clone() });
    ctx.put_table(changed);
    Ok(())
}

pub(super) fn alter(
    id: u32,
    name: &str,
    change: &AlterPolicy,
    has_idle_roles: bool,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    warn_of_idle_roles(has_idle_roles, ctx);
    let table = ctx.table(id)?;
    let at = place(&table, name).map_err(|_| missing(name, &table))?;
    let mut changed = Table::clone(&table);
    let policy = &mut changed.security_mut().policies[at];
    let AlterPolicy { roles, using, check } = change;
    roles.iter().for_each(|roles| policy.roles.clone_from(roles));
    policy.using = using.clone().or(policy.using.take());
    policy.check = check.clone().or(policy.check.take());
    ctx.put_table(changed);
    Ok(())
}

pub(super) fn rename(id: u32, name: &str, to: &str, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let table = ctx.table(id)?;
    if place(&table, to).is_ok() {
        return Err(exists(to, &table));
    }
    let at = place(&table, name).map_err(|_| missing(name, &table))?;
    let mut changed = Table::clone(&table);
    let policies = &mut changed.security_mut().policies;
    policies[at].name = to.to_owned();
    policies.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    ctx.put_table(changed);
    Ok(())
}

pub(super) fn drop(id: u32, name: &str, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let table = ctx.table(id)?;
    let at = place(&table, name).map_err(|_| missing(name, &table))?;
    remove(id, table.policies()[at].oid, ctx);
    Ok(())
}

/// ENABLE, DISABLE, FORCE and NO FORCE ROW LEVEL SECURITY.
pub(super) fn set(table: &Table, change: RowSecurityChange, ctx: &mut DdlContext<'_>) {
    let mut changed = table.clone();
    let security = changed.security_mut();
    match change {
        RowSecurityChange::Enabled(enabled) => security.enabled = enabled,
        RowSecurityChange::Forced(forced) => security.forced = forced,
    }
    ctx.put_table(changed);
}

/// The policies that a predicate holds for, oldest first, and their tables.
pub(super) fn policies_where(
    is_meant: impl FnMut(&Arc<Table>, &Policy) -> bool,
    ctx: &DdlContext<'_>,
) -> Vec<(Arc<Table>, Policy)> {
    policies_among(ctx.change.snapshot().relations_of(ctx.database), is_meant)
}

/// The policies that read or call something, as [`policies_where`].
pub(super) fn policies_over(id: u32, ctx: &DdlContext<'_>) -> Vec<(Arc<Table>, Policy)> {
    policies_among(ctx.change.snapshot().dependents_of(id).into_iter(), |_, policy| policy.depends_on(id))
}

fn policies_among<'a>(
    relations: impl Iterator<Item = &'a Relation>,
    mut is_meant: impl FnMut(&Arc<Table>, &Policy) -> bool,
) -> Vec<(Arc<Table>, Policy)> {
    let mut found = Vec::new();
    for relation in relations {
        let Relation::Table(table) = relation else { continue };
        let meant = table.policies().iter().filter(|policy| is_meant(table, policy));
        found.extend(meant.map(|policy| (table.clone(), policy.clone())));
    }
    found.sort_unstable_by_key(|(_, policy)| policy.oid);
    found
}

/// Takes a policy off its table, if it is there still.
pub(super) fn remove(table: u32, oid: u32, ctx: &mut DdlContext<'_>) -> bool {
    let Ok(table) = ctx.table(table) else { return false };
    if table.policies().iter().all(|policy| policy.oid != oid) {
        return false;
    }
    let mut changed = Table::clone(&table);
    changed.security_mut().policies.retain(|policy| policy.oid != oid);
    ctx.put_table(changed);
    true
}

/// Policies of other tables that read a relation which is going: they forbid it, or go with it.
pub(super) fn release(id: u32, going: &[u32], what: &str, cascade: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let mut found = policies_over(id, ctx);
    found.retain(|(table, _)| !going.contains(&table.id));
    release_all(&found, what, cascade, ctx)
}

/// Policies that read a column of a table which is going: they forbid it, or go with it.
pub(super) fn release_column(table: &Arc<Table>, column: ColumnId, what: &str, cascade: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let found = over_column(table, column, ctx)?;
    release_all(&found, what, cascade, ctx)
}

fn release_all(found: &[(Arc<Table>, Policy)], what: &str, cascade: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    if !cascade && !found.is_empty() {
        let line = |(table, policy): &(Arc<Table>, Policy)| format!("{} depends on {what}", shown(policy, table, ctx));
        let lines: Vec<String> = found.iter().map(line).collect();
        let message = format!("cannot drop {what} because other objects depend on it");
        return Err(SqlError::new(SqlState::DependentObjectsStillExist, message)
            .with_detail(lines.join("\n"))
            .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
    }
    for (table, policy) in found {
        let gone = shown(policy, table, ctx);
        if remove(table.id, policy.oid, ctx) {
            ctx.notice(format!("drop cascades to {gone}"));
        }
    }
    Ok(())
}

/// The policies that read a column of a table: its own, and those of other tables whose subqueries do.
///
/// # Errors
/// Those of binding a policy: one that cannot be bound may read the column, and is not dropped unasked.
pub(super) fn over_column(
    table: &Arc<Table>,
    column: ColumnId,
    ctx: &DdlContext<'_>,
) -> SqlResult<Vec<(Arc<Table>, Policy)>> {
    let reads = |of: &Arc<Table>, expr: &PolicyExpr| {
        let may_read = of.id == table.id || expr.depends_on.contains(&table.id);
        match may_read {
            true => ctx.plan(|context| plan::policy_reads(of, expr, (table.id, column.get()), context)),
            false => Ok(false),
        }
    };
    let mut failed = None;
    let reads_any = |of: &Arc<Table>, policy: &Policy| {
        policy.exprs().any(|expr| match reads(of, expr) {
            Ok(reads) => reads,
            Err(error) => {
                failed.get_or_insert(error.with_context(&format!("{} cannot be read", shown(policy, of, ctx))));
                false
            }
        })
    };
    let found = policies_where(reads_any, ctx);
    failed.map_or(Ok(found), Err)
}

/// A role is none of those that policies are for any more; one that was for it alone goes.
pub(super) fn forget_role(role: u32, ctx: &mut DdlContext<'_>) {
    for (table, policy) in policies_where(|_, policy| policy.roles.contains(&role), ctx) {
        let is_alone = policy.roles.iter().all(|of| *of == role);
        if is_alone {
            remove(table.id, policy.oid, ctx);
            continue;
        }
        let Ok(table) = ctx.table(table.id) else { continue };
        let mut changed = Table::clone(&table);
        let policies = changed.security_mut().policies.iter_mut();
        policies.filter(|known| known.oid == policy.oid).for_each(|known| known.roles.retain(|of| *of != role));
        ctx.put_table(changed);
    }
}

/// A schema's new name in the search paths that policies were made under.
pub(super) fn rename_schema(from: &str, to: &str, ctx: &mut DdlContext<'_>) {
    let is_named = |policy: &Policy| policy.exprs().any(|expr| expr.path.iter().any(|name| name == from));
    let mut tables: Vec<u32> =
        policies_where(|_, policy| is_named(policy), ctx).into_iter().map(|(table, _)| table.id).collect();
    tables.dedup();
    for id in tables {
        let Ok(table) = ctx.table(id) else { continue };
        let mut changed = Table::clone(&table);
        let exprs = changed.security_mut().policies.iter_mut().flat_map(Policy::exprs_mut);
        for name in exprs.flat_map(|expr| &mut expr.path).filter(|name| name.as_str() == from) {
            to.clone_into(name);
        }
        ctx.put_table(changed);
    }
}
