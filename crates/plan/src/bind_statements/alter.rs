//! ALTER TABLE and ALTER INDEX.

use sqlparser::ast;
use types::{SqlError, SqlResult, SqlState};

use super::{
    create::{Constraints, column, constraint, sequence_list},
    ddl, find_index, missing_table,
};
use crate::{
    PlanContext,
    bind::{bind_type, find_relation, find_table, fold, qualified_name},
    statement::{AlterTable, Ddl, PreparedPlan},
};

pub(super) fn table(alter: &ast::AlterTable, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    let (schema, name) = qualified_name(context, &alter.name)?;
    let relation = find_relation(context, schema.as_deref(), &name)?;
    let table = match relation {
        Some(catalog::Relation::Table(table)) => table,
        Some(other) => {
            // Views and sequences are renamed by ALTER TABLE as well.
            if let [ast::AlterTableOperation::RenameTable { table_name }] = &alter.operations[..] {
                let to = rename_target(table_name, context)?;
                return Ok(ddl(Ddl::RenameRelation { id: other.id(), to }, "ALTER TABLE", context));
            }
            return Err(SqlError::new(SqlState::WrongObjectType, format!("\"{name}\" is not a table")));
        }
        None if alter.if_exists => return Ok(ddl(Ddl::Accepted, "ALTER TABLE", context)),
        None => return Err(missing_table(&alter.name)),
    };
    let mut actions = Vec::new();
    for operation in &alter.operations {
        action(operation, context, &mut actions)?;
    }
    Ok(ddl(Ddl::AlterTable { table, actions }, "ALTER TABLE", context))
}

/// SPLIT AT VALUES: each row is a prefix of the primary key.
pub(super) fn split_at(
    name: &ast::ObjectName,
    values: &ast::Query,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let table = find_table(context, name)?;
    let ast::SetExpr::Values(values) = &*values.body else {
        return Err(SqlError::new(SqlState::SyntaxError, "SPLIT AT takes VALUES"));
    };
    let types: Vec<types::SqlType> =
        table.key_positions(table.primary()).map(|position| table.columns[position].ty).collect();
    let mut rows = Vec::new();
    for row in &values.rows {
        let mut datums = Vec::new();
        for (expr, ty) in row.iter().zip(&types) {
            let expr = super::free_expr(expr, context)?;
            let crate::expr::Expr::Const(datum, from) = expr else {
                return Err(SqlError::new(SqlState::FeatureNotSupported, "split points are constants"));
            };
            datums.push(types::cast(datum, &from, ty, types::CastContext::Explicit, context.formatting)?);
        }
        if row.len() > types.len() {
            return Err(SqlError::new(
                SqlState::InvalidParameterValue,
                format!("the primary key of \"{}\" has {} columns", table.name, types.len()),
            ));
        }
        rows.push(datums);
    }
    Ok(ddl(Ddl::AlterTable { table, actions: vec![AlterTable::SplitAt(rows)] }, "ALTER TABLE", context))
}

fn rename_target(name: &ast::RenameTableNameKind, context: &PlanContext<'_>) -> SqlResult<String> {
    let (ast::RenameTableNameKind::As(name) | ast::RenameTableNameKind::To(name)) = name;
    Ok(qualified_name(context, name)?.1)
}

fn is_cascade(behavior: Option<&ast::DropBehavior>) -> bool {
    matches!(behavior, Some(ast::DropBehavior::Cascade))
}

fn action(
    operation: &ast::AlterTableOperation,
    context: &PlanContext<'_>,
    out: &mut Vec<AlterTable>,
) -> SqlResult<()> {
    use ast::AlterTableOperation as O;
    match operation {
        O::AddConstraint { constraint: given, .. } => {
            let mut made = Constraints::default();
            constraint(given, &mut made)?;
            out.extend(made.indexes.into_iter().map(AlterTable::AddIndex));
            out.extend(made.checks.into_iter().map(AlterTable::AddCheck));
        }
        O::AddColumn { if_not_exists, column_def, .. } => {
            let mut made = Constraints::default();
            let column = column(column_def, &mut made)?;
            out.push(AlterTable::AddColumn {
                column,
                indexes: made.indexes,
                checks: made.checks,
                if_not_exists: *if_not_exists,
            });
        }
        O::DropConstraint { if_exists, name, drop_behavior } => out.push(AlterTable::DropConstraint {
            name: fold(name),
            if_exists: *if_exists,
            cascade: is_cascade(drop_behavior.as_ref()),
        }),
        O::DropColumn { column_names, if_exists, drop_behavior, .. } => {
            out.extend(column_names.iter().map(|name| AlterTable::DropColumn {
                name: fold(name),
                if_exists: *if_exists,
                cascade: is_cascade(drop_behavior.as_ref()),
            }));
        }
        O::RenameColumn { old_column_name, new_column_name } => {
            out.push(AlterTable::RenameColumn { from: fold(old_column_name), to: fold(new_column_name) });
        }
        O::RenameTable { table_name } => out.push(AlterTable::RenameTo(rename_target(table_name, context)?)),
        O::RenameConstraint { old_name, new_name } => {
            out.push(AlterTable::RenameConstraint { from: fold(old_name), to: fold(new_name) });
        }
        O::AlterColumn { column_name, op } => {
            let column = fold(column_name);
            out.push(match op {
                ast::AlterColumnOperation::SetNotNull => AlterTable::SetNotNull { column },
                ast::AlterColumnOperation::DropNotNull => AlterTable::DropNotNull { column },
                ast::AlterColumnOperation::SetDefault { value } => {
                    AlterTable::SetDefault { column, expr: Some(value.to_string()) }
                }
                ast::AlterColumnOperation::DropDefault => AlterTable::SetDefault { column, expr: None },
                ast::AlterColumnOperation::SetDataType { data_type, using, .. } => AlterTable::SetType {
                    column,
                    ty: bind_type(data_type)?,
                    using: using.as_ref().map(ToString::to_string),
                },
                ast::AlterColumnOperation::AddGenerated { generated_as, sequence_options } => AlterTable::AddIdentity {
                    column,
                    always: matches!(generated_as, Some(ast::GeneratedAs::Always)),
                    options: sequence_list(sequence_options.as_deref().unwrap_or_default())?,
                },
            });
        }
        O::OwnerTo { new_owner } => out.push(AlterTable::OwnerTo(match new_owner {
            ast::Owner::Ident(name) => fold(name),
            _ => context.user.to_owned(),
        })),
        other => return Err(SqlError::not_supported(format!("ALTER TABLE ... {other}"))),
    }
    Ok(())
}

pub(super) fn index(
    name: &ast::ObjectName,
    operation: &ast::AlterIndexOperation,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let ast::AlterIndexOperation::RenameIndex { index_name } = operation;
    let Some((table, oid)) = find_index(context, name)? else {
        return Err(SqlError::new(SqlState::UndefinedObject, format!("index \"{name}\" does not exist")));
    };
    let (_, to) = qualified_name(context, index_name)?;
    Ok(ddl(Ddl::AlterIndexRename { table, oid, to }, "ALTER INDEX", context))
}
