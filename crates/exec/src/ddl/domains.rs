//! CREATE and ALTER DOMAIN.
//!
//! A new rule is put to the values that tables hold already: those of columns of the domain, and of domains over it.

use std::sync::Arc;

use catalog::{Descriptor, Domain, DomainCheck, Relation, Table, Type, TypeKind, };
use plan::{
    Expr,
    statement::{AlterDomain, CreateDomain, DomainCheckSpec},
};
use types::{Datum, SqlError, SqlResult, SqlState, SqlType};

use super::{DdlContext, rewrite::for_each_row, types::type_of};
use crate::eval::eval_row;

pub(super) async fn create(spec: &CreateDomain, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let schema = ctx.schema_of(spec.home).await?;
    ctx.make_type_name_free(schema, &spec.name)?;
    let id = ctx.new_ids(2 + spec.checks.len()).await?;
    let inherited = match spec.over {
        SqlType::Domain(over) => {
            let known = ctx.change.snapshot().user_type(over.oid());
            known.and_then(|it| it.descriptor.domain()).and_then(|domain| domain.default.clone())
        }
        _ => None,
    };
    let mut checks: Vec<DomainCheck> = Vec::with_capacity(spec.checks.len());
    for (check, oid) in spec.checks.iter().zip(id + 2..) {
        checks.push(named_check(&spec.name, check, oid, &checks)?);
    }
    let default = spec.default.clone().or(inherited).filter(|text| !is_null(text));
    let domain = Domain { over: spec.over, not_null: spec.not_null, default, checks };
    let made = ctx.new_type(id, schema, &spec.name, TypeKind::Domain(domain));
    put_bound(made, ctx)
}

fn is_null(text: &str) -> bool {
    text.eq_ignore_ascii_case("null")
}

/// A check by its spec, under a name that no other of the domain has.
fn named_check(domain: &str, spec: &DomainCheckSpec, oid: u32, others: &[DomainCheck]) -> SqlResult<DomainCheck> {
    let is_taken = |name: &str| others.iter().any(|other| other.name == name);
    let name = match &spec.name {
        Some(name) if is_taken(name) => {
            let message = format!("constraint \"{name}\" for domain \"{domain}\" already exists");
            return Err(SqlError::new(SqlState::DuplicateObject, message));
        }
        Some(name) => name.clone(),
        None => {
            let base = format!("{domain}_check");
            let mut names = std::iter::once(base.clone()).chain((1..).map(|number| format!("{base}{number}")));
            names.find(|name| !is_taken(name)).unwrap_or(base)
        }
    };
    Ok(DomainCheck { oid, name, expr: spec.expr.clone(), validated: !spec.not_valid, comment: None })
}

/// Puts a domain whose expressions mean something.
fn put_bound(ty: Type, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let id = ty.id;
    ctx.change.put(ctx.txn, Descriptor::Type(ty));
    let ty = type_of(id, ctx)?;
    ctx.plan(|context| {
        let Some(domain) = ty.domain() else { return Ok(()) };
        for check in &domain.checks {
            plan::domain_check(&check.expr, &ty, context)?;
        }
        domain.default.iter().try_for_each(|text| plan::domain_default(text, &ty, context).map(drop))
    })
}

pub(super) async fn alter(id: u32, change: &AlterDomain, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let mut ty = type_of(id, ctx)?;
    let name = ty.name.clone();
    let TypeKind::Domain(domain) = &mut ty.kind else {
        return Err(SqlError::new(SqlState::WrongObjectType, format!("{name} is not a domain")));
    };
    let at = |checks: &[DomainCheck], name: &str| checks.iter().position(|check| check.name == *name);
    let missing = |constraint: &str| format!("constraint \"{constraint}\" of domain \"{name}\" does not exist");
    match change {
        AlterDomain::SetDefault(text) => domain.default = text.clone().filter(|text| !is_null(text)),
        AlterDomain::SetNotNull(yes) => {
            if domain.not_null == *yes {
                return Ok(());
            }
            domain.not_null = *yes;
            if *yes {
                let of_nulls = |table: &Table, column: &str| {
                    let message = format!("column \"{column}\" of table \"{}\" contains null values", table.name);
                    SqlError::new(SqlState::NotNullViolation, message)
                };
                put_to_stored(id, &Rule::NotNull, &of_nulls, ctx).await?;
            }
        }
        AlterDomain::AddCheck(spec) => {
            let oid = ctx.new_ids(1).await?;
            let check = named_check(&name, spec, oid, &domain.checks)?;
            let text = check.expr.clone();
            domain.checks.push(check);
            put_bound(ty, ctx)?;
            return if spec.not_valid { check_seen(id, ctx) } else { validate(id, &text, ctx).await };
        }
        AlterDomain::ValidateConstraint(constraint) => {
            let at = at(&domain.checks, constraint)
                .ok_or_else(|| SqlError::new(SqlState::UndefinedObject, missing(constraint)))?;
            if domain.checks[at].validated {
                return Ok(());
            }
            domain.checks[at].validated = true;
            let text = domain.checks[at].expr.clone();
            validate(id, &text, ctx).await?;
        }
        AlterDomain::DropConstraint { name: constraint, if_exists } => match at(&domain.checks, constraint) {
            Some(at) => {
                domain.checks.remove(at);
            }
            None if *if_exists => {
                ctx.notice(format!("{}, skipping", missing(constraint)));
                return Ok(());
            }
            None => return Err(SqlError::new(SqlState::UndefinedObject, missing(constraint))),
        },
        AlterDomain::RenameConstraint { from, to } => {
            let refuse = |code, constraint: &str, what: &str| {
                Err(SqlError::new(code, format!("constraint \"{constraint}\" for domain {name} {what}")))
            };
            let Some(found) = at(&domain.checks, from) else {
                return refuse(SqlState::UndefinedObject, from, "does not exist");
            };
            if at(&domain.checks, to).is_some() {
                return refuse(SqlState::DuplicateObject, to, "already exists");
            }
            domain.checks[found].name.clone_from(to);
        }
    }
    put_bound(ty, ctx)
}

pub(super) fn comment(id: u32, constraint: &str, text: Option<String>, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let mut ty = type_of(id, ctx)?;
    let name = ty.name.clone();
    let check = match &mut ty.kind {
        TypeKind::Domain(domain) => domain.checks.iter_mut().find(|check| check.name == *constraint),
        TypeKind::Enum(_) | TypeKind::Range(_) | TypeKind::Composite(_) => None,
    };
    let Some(check) = check else {
        let message = format!("constraint \"{constraint}\" for domain {name} does not exist");
        return Err(SqlError::new(SqlState::UndefinedObject, message));
    };
    check.comment = text;
    ctx.change.put(ctx.txn, Descriptor::Type(ty));
    Ok(())
}

/// A rule that stored values are not asked is one for new values, which those in rows are not.
///
/// # Errors
/// 0A000
fn check_seen(id: u32, ctx: &DdlContext<'_>) -> SqlResult<()> {
    for relation in ctx.change.snapshot().type_users(id) {
        let Relation::Table(table) = relation else { continue };
        let columns = table.visible_columns().filter(|(_, column)| column.declared().is_made_of(id));
        for (_, column) in columns {
            super::composites::check_stored(&column.name, column.declared(), ctx)?;
        }
    }
    Ok(())
}

/// What stored values are asked.
enum Rule {
    NotNull,
    Check(Expr),
}

async fn validate(id: u32, text: &str, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let ty = type_of(id, ctx)?;
    let condition = ctx.plan(|context| plan::domain_check(text, &ty, context))?;
    let violated = |table: &Table, column: &str| {
        let table = &table.name;
        let message = format!("column \"{column}\" of table \"{table}\" contains values that violate the new constraint");
        SqlError::new(SqlState::CheckViolation, message)
    };
    put_to_stored(id, &Rule::Check(condition), &violated, ctx).await
}

/// Puts a rule to the values of a domain that tables hold.
///
/// # Errors
/// What `violated` says, and 0A000 where a column holds values of the domain in arrays.
async fn put_to_stored(
    id: u32,
    rule: &Rule,
    violated: &(dyn Fn(&Table, &str) -> SqlError + Sync),
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    let snapshot = ctx.change.snapshot().clone();
    let mut columns: Vec<(Arc<Table>, usize)> = Vec::new();
    for relation in snapshot.type_users(id) {
        let Relation::Table(table) = relation else { continue };
        for (at, column) in table.visible_columns() {
            let declared = column.declared();
            if !declared.is_made_of(id) {
                continue;
            }
            if !is_over(declared, id) {
                let name = snapshot.user_type(id).map_or("", |it| &it.descriptor.name);
                let message = format!("cannot alter type \"{name}\" because column \"{}.{}\" uses it", table.name, column.name);
                return Err(SqlError::not_supported(message));
            }
            columns.push((table.clone(), at));
        }
    }
    for (table, at) in columns {
        for_each_row(&table, ctx, |row, scope| {
            let value = &row[at];
            let holds = match rule {
                Rule::NotNull => !value.is_null(),
                Rule::Check(condition) => {
                    let value: &[Datum] = std::slice::from_ref(value);
                    eval_row(condition, value, scope)?.as_bool() != Some(false)
                }
            };
            if holds {
                return Ok(());
            }
            let schema = snapshot.schema_by_id(table.schema).map_or("", |schema| &schema.name);
            let error = violated(&table, &table.columns[at].name);
            Err(error.with_schema(schema).with_table(&*table.name).with_column(&*table.columns[at].name))
        })
        .await?;
    }
    Ok(())
}

/// Whether values of the type are themselves values of a domain.
fn is_over(ty: SqlType, id: u32) -> bool {
    match ty {
        SqlType::Domain(domain) => domain.oid() == id || is_over(domain.over(), id),
        _ => false,
    }
}
