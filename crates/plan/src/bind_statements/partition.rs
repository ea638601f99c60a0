//! PARTITION BY, PARTITION OF, ATTACH and DETACH PARTITION.

use std::sync::Arc;

use catalog::{KeyPart, OnCommit, PartitionStrategy, Partitioned, Table};
use sqlparser::ast;
use types::{CastContext, SqlError, SqlResult, SqlState};

use super::create::{Constraints, Place, column_options, constraint, like_column};
use super::types::stored_text;
use super::{ddl, find_index, missing_table, new_home, own::skipped};
use crate::bind::{Binder, Clause, find_table, fold, without_domains};
use crate::expr::Expr;
use crate::parse::ParsedStatement;
use crate::parse::extras::{Like, PartitionBy};
use crate::parse::own::{BoundText, CreatePartition, EndText, PartitionItem};
use crate::scope::Scope;
use crate::statement::{
    AlterTable, BoundSpec, CreateTable, Ddl, EndSpec, Home, PartitionKeySpec, PartitionOf, PartitionSpec, PreparedPlan,
};
use crate::{PlanContext, optimize_rel};

fn definition(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::InvalidTableDefinition, message)
}

/// Whether it is written as a call.
fn is_call(expr: &ast::Expr) -> bool {
    matches!(
        expr,
        ast::Expr::Function(_)
            | ast::Expr::Extract { .. }
            | ast::Expr::Substring { .. }
            | ast::Expr::Overlay { .. }
            | ast::Expr::Position { .. }
            | ast::Expr::Trim { .. }
            | ast::Expr::Ceil { .. }
            | ast::Expr::Floor { .. }
            | ast::Expr::Cast { kind: ast::CastKind::Cast, .. }
    )
}

/// What PARTITION BY says; names are looked up when the table is made.
pub(super) fn spec(by: &PartitionBy, context: &PlanContext<'_>) -> SqlResult<PartitionSpec> {
    let strategy = match fold(&by.strategy).to_lowercase().as_str() {
        "list" => PartitionStrategy::List,
        "range" => PartitionStrategy::Range,
        "hash" => PartitionStrategy::Hash,
        _ => {
            let message = format!("unrecognized partitioning strategy \"{}\"", fold(&by.strategy));
            return Err(SqlError::new(SqlState::InvalidParameterValue, message));
        }
    };
    let part = |expr: &ast::Expr| {
        let mut inner = expr;
        while let ast::Expr::Nested(nested) = inner {
            inner = nested;
        }
        match inner {
            ast::Expr::Identifier(name) => Ok(PartitionKeySpec::Column(fold(name))),
            // Without parentheses only calls stand here.
            _ if !is_call(expr) && !matches!(expr, ast::Expr::Nested(_)) => {
                Err(SqlError::new(SqlState::SyntaxError, format!("syntax error at or near \"{expr}\"")))
            }
            inner => Ok(PartitionKeySpec::Expr(stored_text(inner, context))),
        }
    };
    Ok(PartitionSpec { strategy, key: by.key.iter().map(part).collect::<SqlResult<_>>()? })
}

/// How messages name a part of a key.
fn part_name(table: &Table, part: &KeyPart) -> String {
    match part {
        KeyPart::Column(id) => table.column_position(*id).map_or_else(String::new, |at| table.columns[at].name.clone()),
        KeyPart::Expr(text) => text.clone(),
    }
}

/// A value of a bound, of the type of the key.
fn value(expr: &ast::Expr, place: usize, table: &Table, of: &Partitioned, context: &PlanContext<'_>) -> SqlResult<Expr> {
    let key = of.key.get(place).ok_or_else(|| SqlError::internal("a bound has a value for each part of the key"))?;
    let (bound, _) = Binder::bind_with(context, None, optimize_rel, |binder| {
        let level = binder.level();
        let scope = Scope::empty(&level);
        binder.with_frame(Clause::PartitionBound, |binder| {
            let bound = binder.expr(expr, &scope).map_err(|error| match error.code() {
                SqlState::UndefinedColumn => {
                    SqlError::not_supported("cannot use column reference in partition bound expression")
                }
                _ => error,
            })?;
            if bound.has_subquery() {
                return Err(SqlError::not_supported("cannot use subquery in partition bound"));
            }
            let from = bound.ty();
            binder.coerce(bound, key.ty, CastContext::Assignment).map_err(|error| match error.code() {
                SqlState::DatatypeMismatch | SqlState::CannotCoerce => SqlError::new(
                    SqlState::DatatypeMismatch,
                    format!(
                        "specified value cannot be cast to type {} for column \"{}\"",
                        key.ty,
                        part_name(table, &key.part)
                    ),
                )
                .with_detail(format!("The value is of type {from}.")),
                _ => error,
            })
        })
    })?;
    let mut bound = bound;
    without_domains(&mut bound);
    Ok(bound)
}

fn ends(end: &[EndText], table: &Table, of: &Partitioned, word: &str, context: &PlanContext<'_>) -> SqlResult<Vec<EndSpec>> {
    if end.len() != of.key.len() {
        return Err(definition(format!("{word} must specify exactly one value per partitioning column")));
    }
    let mut infinite = None;
    let mut specs = Vec::with_capacity(end.len());
    for (place, end) in end.iter().enumerate() {
        let kind = match end {
            EndText::Min => Some("MINVALUE"),
            EndText::Max => Some("MAXVALUE"),
            EndText::Value(_) => None,
        };
        if let Some(infinite) = infinite
            && kind != Some(infinite)
        {
            let message = format!("every bound following {infinite} must also be {infinite}");
            return Err(SqlError::new(SqlState::DatatypeMismatch, message));
        }
        infinite = infinite.or(kind);
        specs.push(match end {
            EndText::Min => EndSpec::Min,
            EndText::Max => EndSpec::Max,
            EndText::Value(expr) => EndSpec::Value(value(expr, place, table, of, context)?),
        });
    }
    Ok(specs)
}

/// The bound of a partition of a table.
fn bound(text: &BoundText, table: &Table, of: &Partitioned, context: &PlanContext<'_>) -> SqlResult<BoundSpec> {
    let wrong = || Err(definition(format!("invalid bound specification for a {} partition", of.strategy.name())));
    match (text, of.strategy) {
        (BoundText::Default, PartitionStrategy::Hash) => {
            Err(definition("a hash-partitioned table may not have a default partition"))
        }
        (BoundText::Default, PartitionStrategy::List | PartitionStrategy::Range) => Ok(BoundSpec::Default),
        (BoundText::In(values), PartitionStrategy::List) => {
            let values = values.iter().map(|expr| value(expr, 0, table, of, context));
            Ok(BoundSpec::List(values.collect::<SqlResult<_>>()?))
        }
        (BoundText::FromTo(from, to), PartitionStrategy::Range) => {
            let from = ends(from, table, of, "FROM", context)?;
            Ok(BoundSpec::Range(from, ends(to, table, of, "TO", context)?))
        }
        (BoundText::With(options), PartitionStrategy::Hash) => hash_bound(options),
        (BoundText::In(_) | BoundText::FromTo(..) | BoundText::With(_), _) => wrong(),
    }
}

fn hash_bound(options: &[(ast::Ident, i64)]) -> SqlResult<BoundSpec> {
    let (mut modulus, mut remainder) = (None, None);
    for (name, number) in options {
        let name = fold(name);
        let before = match name.as_str() {
            "modulus" => modulus.replace(*number),
            "remainder" => remainder.replace(*number),
            _ => {
                let message = format!("unrecognized hash partition bound specification \"{name}\"");
                return Err(SqlError::new(SqlState::SyntaxError, message));
            }
        };
        if before.is_some() {
            let message = format!("{name} for hash partition provided more than once");
            return Err(SqlError::new(SqlState::DuplicateObject, message));
        }
    }
    let missing = |what: &str| SqlError::new(SqlState::SyntaxError, format!("{what} for hash partition must be specified"));
    let modulus = modulus.ok_or_else(|| missing("modulus"))?;
    let remainder = remainder.ok_or_else(|| missing("remainder"))?;
    let Some(modulus) = i32::try_from(modulus).ok().filter(|it| *it > 0) else {
        return Err(definition("modulus for hash partition must be an integer value greater than zero"));
    };
    let Some(remainder) = i32::try_from(remainder).ok().filter(|it| *it >= 0) else {
        return Err(definition("remainder for hash partition must be an integer value greater than or equal to zero"));
    };
    if remainder >= modulus {
        return Err(definition("remainder for hash partition must be less than modulus"));
    }
    Ok(BoundSpec::Hash { modulus: modulus.unsigned_abs(), remainder: remainder.unsigned_abs() })
}

pub(super) fn create(
    create: &CreatePartition,
    parsed: &ParsedStatement,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    const TAG: &str = "CREATE TABLE";
    let (home, name) = new_home(context, &create.name, create.temporary)?;
    let parent = find_table(context, &create.parent)?;
    let Some(partitioned) = parent.partitioned() else {
        let message = format!("\"{}\" is not partitioned", parent.name);
        return Err(SqlError::new(SqlState::InvalidObjectDefinition, message));
    };
    let is_temporary = context.catalog.is_temporary(parent.schema);
    let kinds = match (is_temporary, home == Home::Temporary) {
        (false, true) => Some(("temporary", "permanent")),
        (true, false) => Some(("permanent", "temporary")),
        (true, true) | (false, false) => None,
    };
    if let Some((own, other)) = kinds {
        let message = format!("cannot create a {own} relation as partition of {other} relation \"{}\"", parent.name);
        return Err(SqlError::new(SqlState::WrongObjectType, message));
    }
    let on_commit = match &create.on_commit {
        Some(_) if home != Home::Temporary => {
            let message = "ON COMMIT can only be used on temporary tables";
            return Err(SqlError::new(SqlState::InvalidTableDefinition, message));
        }
        None | Some(ast::OnCommit::PreserveRows) => OnCommit::PreserveRows,
        Some(ast::OnCommit::DeleteRows) => OnCommit::DeleteRows,
        Some(ast::OnCommit::Drop) => OnCommit::Drop,
    };
    let place = Place { context, table: &name, new_in: Some(home) };
    let all = Like {
        table: create.parent.clone(),
        place: 0,
        defaults: true,
        constraints: false,
        identity: false,
        generated: true,
        indexes: false,
    };
    let visible = parent.visible_columns();
    let mut columns: Vec<_> = visible.map(|(_, column)| like_column(column, &all, context.catalog)).collect();
    let mut constraints = Constraints::default();
    let mut named: Vec<String> = Vec::new();
    for item in &create.items {
        match item {
            PartitionItem::Constraint(item) => constraint(item, &place, &mut constraints)?,
            PartitionItem::Column { name, options } => {
                let name = fold(name);
                let Some(spec) = columns.iter_mut().find(|spec| spec.name == name) else {
                    let message = format!("column \"{name}\" does not exist");
                    return Err(SqlError::new(SqlState::UndefinedColumn, message));
                };
                if named.contains(&name) {
                    let message = format!("column \"{name}\" specified more than once");
                    return Err(SqlError::new(SqlState::DuplicateColumn, message));
                }
                // NULL takes nothing away that the parent says.
                let is_nullable = spec.nullable;
                column_options(options, &place, spec, &mut constraints)?;
                spec.nullable &= is_nullable;
                named.push(name);
            }
        }
    }
    let partition_by = parsed.extras.partition_by.as_ref().map(|by| spec(by, context)).transpose()?;
    let bound = bound(&create.bound, &parent, partitioned, context)?;
    let create = CreateTable {
        home,
        name,
        if_not_exists: create.if_not_exists,
        columns,
        indexes: constraints.indexes,
        checks: constraints.checks,
        foreign_keys: constraints.foreign_keys,
        on_commit,
        source: None,
        materialized: None,
        partition_by,
        partition_of: Some(PartitionOf { parent, bound }),
    };
    Ok(ddl(Ddl::CreateTable(create), TAG, context))
}

fn not_partitioned(table: &Table) -> SqlError {
    SqlError::new(SqlState::InvalidObjectDefinition, format!("table \"{}\" is not partitioned", table.name))
}

pub(super) fn attach(
    table: &Arc<Table>,
    partition: &ast::ObjectName,
    text: &BoundText,
    context: &PlanContext<'_>,
) -> SqlResult<AlterTable> {
    let partition = super::own::plain_table(partition, context)?;
    let partitioned = table.partitioned().ok_or_else(|| not_partitioned(table))?;
    let bound = bound(text, table, partitioned, context)?;
    Ok(AlterTable::AttachPartition { partition, bound })
}

pub(super) fn detach(
    table: &Arc<Table>,
    partition: &ast::ObjectName,
    (is_finalize, is_concurrent): (bool, bool),
    context: &PlanContext<'_>,
) -> SqlResult<AlterTable> {
    let partitioned = table.partitioned().ok_or_else(|| not_partitioned(table))?;
    let partition = super::own::plain_table(partition, context)?;
    if is_concurrent && partitioned.default_partition().is_some() {
        let message = "cannot detach partitions concurrently when a default partition exists";
        return Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, message));
    }
    if is_finalize {
        // DETACH is done at once here.
        let message = format!("cannot finalize detach of \"{}\": it is not being detached", partition.name);
        return Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, message));
    }
    Ok(AlterTable::DetachPartition { partition })
}

pub(super) fn attach_index(
    name: &ast::ObjectName,
    if_exists: bool,
    partition: &ast::ObjectName,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    const TAG: &str = "ALTER INDEX";
    let Some((table, oid)) = find_index(context, name)? else {
        return if if_exists { Ok(skipped(name, TAG, context)) } else { Err(missing_table(name)) };
    };
    let partition = find_index(context, partition)?.ok_or_else(|| missing_table(partition))?;
    if !table.is_partitioned() {
        let index = table.indexes.iter().find(|index| index.oid == oid).map_or("", |index| &index.name);
        let message = format!("ALTER action ATTACH PARTITION cannot be performed on relation \"{index}\"");
        return Err(SqlError::new(SqlState::WrongObjectType, message)
            .with_detail("This operation is not supported for indexes."));
    }
    Ok(ddl(Ddl::AttachIndex { table, oid, partition }, TAG, context))
}
