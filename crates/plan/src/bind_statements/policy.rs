//! CREATE, ALTER and DROP POLICY. The checks are PostgreSQL's, in its order.

use std::sync::Arc;

use ::types::{SqlError, SqlResult, SqlState};
use catalog::privilege::{Access, acl::PUBLIC, not_owner};
use catalog::{Commented, Policy, PolicyCommand, PolicyExpr, Relation, Table, virtual_tables};
use sqlparser::ast;

use super::{ddl, grant::grantees, of_table::Kind, types::stored_text};
use crate::{
    PlanContext, Security,
    bind::{find_relation, fold, new_policy_expr, no_relation, qualified_name},
    parse::{
        ParsedStatement,
        extras::with_only,
        own::{CreatePolicy, PolicyChange},
    },
    statement::{AlterPolicy, CommentOn, Ddl, PreparedPlan},
};

fn syntax(message: &str) -> SqlError {
    SqlError::new(SqlState::SyntaxError, message)
}

const POLICY: Kind = Kind { name: "policy", drop_tag: "DROP POLICY" };

/// What stands where a policy has its table.
enum On {
    Table(Arc<Table>),
    /// A relation of another kind.
    Other(u32, String),
}

/// # Errors
/// 42P01, 3F000, and 42501 for a catalog.
fn on(name: &ast::ObjectName, context: &PlanContext<'_>) -> SqlResult<On> {
    let (schema, relation) = qualified_name(context, name)?;
    match find_relation(context, schema.as_deref(), &relation)? {
        Some(Relation::Table(table)) if table.materialized.is_none() => return Ok(On::Table(table)),
        Some(other) => return Ok(On::Other(other.id(), other.name().to_owned())),
        None => {}
    }
    if virtual_tables::find(schema.as_deref().unwrap_or("pg_catalog"), &relation).is_some() {
        let is_superuser = |security: Security<'_>| access_of(&security, context).is_superuser(security.user);
        if !context.security.is_none_or(is_superuser) {
            return Err(not_owner("table", &relation));
        }
        let message = format!("permission denied: \"{relation}\" is a system catalog");
        return Err(SqlError::new(SqlState::InsufficientPrivilege, message));
    }
    match schema {
        Some(name) if context.catalog.schema(context.database, &name).is_none() => {
            Err(SqlError::new(SqlState::InvalidSchemaName, format!("schema \"{name}\" does not exist")))
        }
        schema => Err(no_relation(schema.as_deref(), &relation)),
    }
}

fn access_of<'a>(security: &Security<'a>, context: &PlanContext<'a>) -> Access<'a> {
    Access { roles: security.roles, ..context.catalog.access(context.database) }
}

/// # Errors
/// As [`on`], and 42809 for what is no table.
fn table_of(name: &ast::ObjectName, context: &PlanContext<'_>) -> SqlResult<Arc<Table>> {
    match on(name, context)? {
        On::Table(table) => Ok(table),
        On::Other(id, name) => {
            // Whose it is comes first.
            if let Some(security) = context.security {
                access_of(&security, context).check_owner(security.user, id)?;
            }
            Err(SqlError::new(SqlState::WrongObjectType, format!("\"{name}\" is not a table")))
        }
    }
}

/// The policy of a table, or what is said where there is none: the name of what it was looked for on.
fn find(
    name: &ast::Ident,
    table: &ast::ObjectName,
    context: &PlanContext<'_>,
) -> SqlResult<Result<(Arc<Table>, Policy), String>> {
    Ok(match on(table, context)? {
        On::Table(table) => match table.policy_named(&fold(name)) {
            Some(policy) => Ok((table.clone(), policy.clone())),
            None => Err(table.name.clone()),
        },
        On::Other(_, name) => Err(name),
    })
}

/// Ids of roles, none for everybody; whether some were named that are needless.
fn roles(names: &[ast::Ident], context: &PlanContext<'_>) -> SqlResult<(Vec<u32>, bool)> {
    let found = grantees(names, context)?;
    match found.contains(&PUBLIC) {
        true => Ok((Vec::new(), found.len() > 1)),
        false => Ok((found, false)),
    }
}

fn expr(
    tree: Option<&ast::Expr>,
    table: &Arc<Table>,
    parsed: &ParsedStatement,
    context: &PlanContext<'_>,
) -> SqlResult<Option<PolicyExpr>> {
    let Some(tree) = tree else { return Ok(None) };
    let bound = new_policy_expr(tree, table, Some(parsed.source.clone()), context)?;
    Ok(Some(PolicyExpr { text: with_only(&stored_text(tree, context)), ..bound }))
}

pub(super) fn create(create: &CreatePolicy, parsed: &ParsedStatement, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    let permissive = match create.kind.as_ref().map(fold).as_deref() {
        None | Some("permissive") => true,
        Some("restrictive") => false,
        Some(other) => {
            let error = SqlError::new(SqlState::SyntaxError, format!("unrecognized row security option \"{other}\""));
            return Err(error.with_hint("Only PERMISSIVE or RESTRICTIVE policies are supported currently."));
        }
    };
    let is_read = matches!(create.command, PolicyCommand::Select | PolicyCommand::Delete);
    if is_read && create.check.is_some() {
        return Err(syntax("WITH CHECK cannot be applied to SELECT or DELETE"));
    }
    if create.command == PolicyCommand::Insert && create.using.is_some() {
        return Err(syntax("only WITH CHECK expression allowed for INSERT"));
    }
    let (roles, has_idle_roles) = roles(&create.roles, context)?;
    let table = table_of(&create.table, context)?;
    let policy = Policy {
        oid: 0,
        name: fold(&create.name),
        command: create.command,
        permissive,
        roles,
        using: expr(create.using.as_ref(), &table, parsed, context)?,
        check: expr(create.check.as_ref(), &table, parsed, context)?,
    };
    let create = Ddl::CreatePolicy { table: table.id, policy: Box::new(policy), has_idle_roles };
    Ok(ddl(create, "CREATE POLICY", context))
}

pub(super) fn alter(
    name: &ast::Ident,
    table: &ast::ObjectName,
    if_exists: bool,
    change: &PolicyChange,
    parsed: &ParsedStatement,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    const TAG: &str = "ALTER POLICY";
    let table = match table_of(table, context) {
        Err(error)
            if if_exists && matches!(error.code(), SqlState::UndefinedTable | SqlState::InvalidSchemaName) =>
        {
            return Ok(ddl(Ddl::Skipped(format!("{}, skipping", error.message())), TAG, context));
        }
        table => table?,
    };
    let name = fold(name);
    let (given, using, check) = match change {
        PolicyChange::Rename(to) => {
            return Ok(ddl(Ddl::RenamePolicy { table: table.id, name, to: fold(to) }, TAG, context));
        }
        PolicyChange::Alter { roles, using, check } => (roles, using.as_ref(), check.as_ref()),
    };
    let (roles, has_idle_roles) = roles(given, context)?;
    let using = expr(using, &table, parsed, context)?;
    let check = expr(check, &table, parsed, context)?;
    let policy = table.policy_named(&name).ok_or_else(|| POLICY.missing(&name, &table.name))?;
    if matches!(policy.command, PolicyCommand::Select | PolicyCommand::Delete) && check.is_some() {
        return Err(syntax("only USING expression allowed for SELECT, DELETE"));
    }
    if policy.command == PolicyCommand::Insert && using.is_some() {
        return Err(syntax("only WITH CHECK expression allowed for INSERT"));
    }
    let change = AlterPolicy { roles: (!given.is_empty()).then_some(roles), using, check };
    Ok(ddl(Ddl::AlterPolicy { table: table.id, name, change, has_idle_roles }, TAG, context))
}

pub(super) fn drop(
    name: &ast::Ident,
    table: &ast::ObjectName,
    if_exists: bool,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let made = |(table, policy): (Arc<Table>, Policy)| Ddl::DropPolicy { table: table.id, name: policy.name };
    POLICY.drop(&fold(name), find(name, table, context), if_exists, made, context)
}

pub(super) fn comment(
    name: &ast::Ident,
    table: &ast::ObjectName,
    text: Option<&str>,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let (table, policy) = find(name, table, context)?.map_err(|on| POLICY.missing(&fold(name), &on))?;
    let on = CommentOn::Part { relation: table.id, on: Commented::Part(policy.oid) };
    Ok(ddl(Ddl::Comment { on, text: text.map(str::to_owned) }, "COMMENT", context))
}
