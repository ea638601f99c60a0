//! What may be done to partitioned tables and to partitions by ALTER TABLE.

use std::sync::Arc;

use catalog::{ColumnDefault, Table};
use plan::statement::{AlterTable, ColumnSpec, DefaultSpec};
use types::{SqlError, SqlResult};

use super::super::DdlContext;
use super::{constraint_oid, definition, partitions, wrong_kind};

const NOT_ONLY: &str = "Do not specify the ONLY keyword.";

/// A new column of a partitioned table, as its partitions have it: what the table draws from, they draw from.
pub(in crate::ddl) fn column_of_partition(spec: &ColumnSpec, table: &Table) -> ColumnSpec {
    let mut own = spec.clone();
    if let Some((_, made)) = table.column_named(&spec.name) {
        own.nullable = made.nullable;
        own.default = match (&made.default, &spec.default) {
            (Some(ColumnDefault::Expr(text)), _) => Some(DefaultSpec::Expr(text.clone())),
            (Some(ColumnDefault::Identity { .. }), _) => None,
            (_, default) => default.clone(),
        };
    }
    own
}

/// The columns of a table's partition key, by name.
pub(in crate::ddl) fn key_columns(table: &Table, ctx: &DdlContext<'_>) -> SqlResult<Vec<String>> {
    let places = ctx.plan(|context| plan::partition_key_columns(table, context))?;
    Ok(places.into_iter().map(|at| table.columns[at].name.clone()).collect())
}

/// # Errors
/// Where an action would change a partition apart from its parent, a partitioned table apart from its partitions, or a
/// partition key.
pub(in crate::ddl) fn check(table: &Arc<Table>, action: &AlterTable, only: bool, ctx: &DdlContext<'_>) -> SqlResult<()> {
    if table.partitioning.is_none() {
        return Ok(());
    }
    let has_column = |name: &str| table.column_named(name).is_some();
    if let Some(parent) = table.partition_parent() {
        let refuse = |verb: &str, name: &str| Err(definition(format!("cannot {verb} inherited column \"{name}\"")));
        match action {
            AlterTable::AddColumn { .. } => return Err(wrong_kind("cannot add column to a partition")),
            AlterTable::DropColumn { name, .. } if has_column(name) => return refuse("drop", name),
            AlterTable::RenameColumn { from, .. } if has_column(from) => return refuse("rename", from),
            AlterTable::SetType { column, .. } if has_column(column) => return refuse("alter", column),
            AlterTable::DropExpression { column, .. } if has_column(column) => {
                return Err(definition("cannot drop generation expression from inherited column"));
            }
            AlterTable::DropNotNull { column } => {
                let parent = ctx.table(parent)?;
                if parent.column_named(column).is_some_and(|(_, column)| !column.nullable) {
                    return Err(definition(format!("column \"{column}\" is marked NOT NULL in parent table")));
                }
            }
            AlterTable::DropConstraint { name, .. } => {
                if constraint_oid(table, name).and_then(|oid| table.parent_part(oid)).is_some() {
                    let message = format!("cannot drop inherited constraint \"{name}\" of relation \"{}\"", table.name);
                    return Err(definition(message));
                }
            }
            AlterTable::RenameConstraint { from, .. } => {
                // Keys may have names of their own.
                let check = table.checks.iter().find(|check| check.name == *from);
                if check.is_some_and(|check| table.parent_part(check.oid).is_some()) {
                    return Err(definition(format!("cannot rename inherited constraint \"{from}\"")));
                }
            }
            _ => {}
        }
    }
    if !table.is_partitioned() {
        return Ok(());
    }
    if let AlterTable::SplitAt(_) | AlterTable::Unsplit(_) = action {
        return Err(wrong_kind(format!("\"{}\" is partitioned: its partitions can be split", table.name)));
    }
    let key_change = match action {
        AlterTable::DropColumn { name, .. } => Some(("drop", name)),
        AlterTable::SetType { column, .. } => Some(("alter", column)),
        _ => None,
    };
    if let Some((verb, name)) = key_change {
        for below in std::iter::once(table.clone()).chain(ctx.change.snapshot().descendants_of(table)) {
            if below.is_partitioned() && key_columns(&below, ctx)?.contains(name) {
                let message = format!(
                    "cannot {verb} column \"{name}\" because it is part of the partition key of relation \"{}\"",
                    below.name
                );
                return Err(definition(message));
            }
        }
    }
    if let AlterTable::AddForeignKey(key) = action
        && (only || key.not_valid)
    {
        let to = key.referenced_table.map_or_else(|| Ok(table.clone()), |id| ctx.table(id))?;
        let on = format!("foreign key on partitioned table \"{}\" referencing relation \"{}\"", table.name, to.name);
        return Err(if only {
            wrong_kind(format!("cannot use ONLY for {on}"))
        } else {
            wrong_kind(format!("cannot add NOT VALID {on}"))
                .with_detail("This feature is not yet supported on partitioned tables.")
        });
    }
    if partitions(table).is_empty() {
        return Ok(());
    }
    if let AlterTable::AddColumn { column: ColumnSpec { default: Some(DefaultSpec::Identity { .. }), .. }, .. } = action {
        let message = "cannot recursively add identity column to table that has child tables";
        return Err(definition(message));
    }
    if !only {
        return Ok(());
    }
    let kept = |message: &str| Err(definition(message).with_hint(NOT_ONLY));
    match action {
        AlterTable::AddColumn { .. } => Err(definition("column must be added to child tables too")),
        AlterTable::AddCheck(_) => Err(definition("constraint must be added to child tables too")),
        AlterTable::SetNotNull { column } => {
            let lacks = |below: &Arc<Table>| below.column_named(column).is_some_and(|(_, column)| column.nullable);
            match ctx.change.snapshot().descendants_of(table).iter().any(lacks) {
                true => kept("constraint must be added to child tables too"),
                false => Ok(()),
            }
        }
        AlterTable::AddIndex(spec) if spec.primary => {
            let lacks = |table: &Table| {
                spec.columns.iter().any(|key| table.column_named(&key.name).is_some_and(|(_, column)| column.nullable))
            };
            match lacks(table) && ctx.change.snapshot().descendants_of(table).iter().any(|below| lacks(below)) {
                true => kept("constraint must be added to child tables too"),
                false => Ok(()),
            }
        }
        AlterTable::DropNotNull { .. } => {
            kept("cannot remove constraint from only the partitioned table when partitions exist")
        }
        AlterTable::DropConstraint { name, .. } if table.checks.iter().any(|check| check.name == *name) => {
            kept("cannot remove constraint from only the partitioned table when partitions exist")
        }
        AlterTable::DropColumn { .. } => kept("cannot drop column from only the partitioned table when partitions exist"),
        AlterTable::RenameColumn { from, .. } => {
            Err(definition(format!("inherited column \"{from}\" must be renamed in child tables too")))
        }
        AlterTable::RenameConstraint { from, .. } if table.checks.iter().any(|check| check.name == *from) => {
            Err(definition(format!("inherited constraint \"{from}\" must be renamed in child tables too")))
        }
        AlterTable::DropExpression { .. } => {
            Err(SqlError::not_supported("ALTER TABLE / DROP EXPRESSION must be applied to child tables too"))
        }
        AlterTable::SetType { column, .. } => {
            Err(definition(format!("type of inherited column \"{column}\" must be changed in child tables too")))
        }
        _ => Ok(()),
    }
}
