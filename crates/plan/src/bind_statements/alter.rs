//! ALTER TABLE.

use catalog::{Relation, Table};
use sqlparser::ast;
use types::{SqlError, SqlResult, SqlState};

use super::{
    create::{Constraints, Place, column, constraint},
    ddl, missing_table,
    own::{self, relation_change, skipped},
    view::not_for_kind,
};
use crate::{
    PlanContext,
    bind::{bind_type, find_relation, fold, qualified_name},
    parse::own::{Change, RowSecurityText, TableAction, TriggersText, ViewChange},
    statement::{AlterTable, Ddl, PreparedPlan, RowSecurityChange},
};

pub(super) fn table(
    name: &ast::ObjectName,
    (if_exists, only): (bool, bool),
    given: &[TableAction],
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    const TAG: &str = "ALTER TABLE";
    let (schema, relation_name) = qualified_name(context, name)?;
    let relation = find_relation(context, schema.as_deref(), &relation_name)?;
    let table = match relation {
        Some(catalog::Relation::Table(table)) if table.materialized.is_none() => table,
        Some(other) => {
            let change = match given {
                [action] => change_of_other(&other, action, context)?,
                // Names the first that it cannot be told.
                _ => {
                    let of_each = given.iter().map(|action| change_of_other(&other, action, context));
                    of_each.collect::<SqlResult<Vec<_>>>()?;
                    return Err(SqlError::not_supported("several changes of a view at once are not supported"));
                }
            };
            return Ok(ddl(relation_change(&other, &change, context)?, TAG, context));
        }
        None if if_exists => return Ok(skipped(name, TAG, context)),
        None => return Err(missing_table(name)),
    };
    let mut actions = Vec::new();
    for operation in given {
        match operation {
            TableAction::Standard(operation) => action(operation, &table, context, &mut actions)?,
            TableAction::SetSchema(to) => actions.push(AlterTable::SetSchema(own::schema(to, context)?)),
            TableAction::DropIdentity { column, if_exists } => {
                actions.push(AlterTable::DropIdentity { column: fold(column), if_exists: *if_exists });
            }
            TableAction::DropExpression { column, if_exists } => {
                actions.push(AlterTable::DropExpression { column: fold(column), if_exists: *if_exists });
            }
            TableAction::AddIdentity { column, always, options } => actions.push(AlterTable::AddIdentity {
                column: fold(column),
                always: *always,
                options: own::sequence_options(options, context)?,
            }),
            TableAction::SetIdentity { column, always, options } => actions.push(AlterTable::SetIdentity {
                column: fold(column),
                always: *always,
                options: own::sequence_options(options, context)?,
            }),
            TableAction::Triggers(which, enabled) => {
                let name = match which {
                    TriggersText::Named(name) => Some(fold(name)),
                    TriggersText::All => None,
                };
                actions.push(AlterTable::SetTriggers { name, enabled: *enabled });
            }
            TableAction::RowSecurity(change) => actions.push(AlterTable::SetRowSecurity(match change {
                RowSecurityText::Enable => RowSecurityChange::Enabled(true),
                RowSecurityText::Disable => RowSecurityChange::Enabled(false),
                RowSecurityText::Force => RowSecurityChange::Forced(true),
                RowSecurityText::NoForce => RowSecurityChange::Forced(false),
            })),
            TableAction::SplitAt(values) => {
                actions.push(AlterTable::SplitAt(split_points(&table, values, "SPLIT AT", context)?));
            }
            TableAction::Unsplit(values) => {
                let points = |values: &ast::Query| split_points(&table, values, "UNSPLIT AT", context);
                actions.push(AlterTable::Unsplit(values.as_deref().map(points).transpose()?));
            }
            TableAction::AttachPartition { partition, bound } => {
                actions.push(super::partition::attach(&table, partition, bound, context)?);
            }
            TableAction::DetachPartition { partition, is_finalize, is_concurrent } => {
                actions.push(super::partition::detach(&table, partition, (*is_finalize, *is_concurrent), context)?);
            }
            TableAction::AlterConstraint { name, deferrable, initially_deferred } => {
                let deferred = *initially_deferred == Some(true);
                if deferred && *deferrable == Some(false) {
                    let message = "constraint declared INITIALLY DEFERRED must be DEFERRABLE";
                    return Err(SqlError::new(SqlState::SyntaxError, message));
                }
                actions.push(AlterTable::AlterConstraint {
                    name: fold(name),
                    deferrable: deferred || *deferrable == Some(true),
                    initially_deferred: deferred,
                });
            }
            TableAction::Accepted => {}
        }
    }
    Ok(ddl(Ddl::AlterTable { table, actions, only }, TAG, context))
}

/// Views, materialized ones among them, and sequences are told some things by ALTER TABLE as well.
fn change_of_other(relation: &Relation, action: &TableAction, context: &PlanContext<'_>) -> SqlResult<Change> {
    use ast::AlterTableOperation as O;
    let is_sequence = matches!(relation, Relation::Sequence(_));
    let refuse = |action: &str| match is_sequence {
        true => Err(not_a_table(relation.name())),
        false => Err(not_for_kind(relation, action)),
    };
    let operation = match action {
        TableAction::SetSchema(to) => return Ok(Change::Schema(to.clone())),
        TableAction::Accepted => return Ok(Change::Accepted),
        TableAction::Standard(operation) => &**operation,
        TableAction::DropIdentity { .. } => return refuse("ALTER COLUMN ... DROP IDENTITY"),
        TableAction::DropExpression { .. } => return refuse("ALTER COLUMN ... DROP EXPRESSION"),
        TableAction::AddIdentity { .. } => return refuse("ALTER COLUMN ... ADD IDENTITY"),
        TableAction::SetIdentity { .. } => return refuse("ALTER COLUMN ... SET"),
        TableAction::Triggers(which, enabled) => {
            let verb = if *enabled == catalog::TriggerEnabled::Disabled { "DISABLE" } else { "ENABLE" };
            let all = if matches!(which, TriggersText::All) { " ALL" } else { "" };
            return refuse(&format!("{verb} TRIGGER{all}"));
        }
        TableAction::RowSecurity(change) => {
            return refuse(match change {
                RowSecurityText::Enable => "ENABLE ROW SECURITY",
                RowSecurityText::Disable => "DISABLE ROW SECURITY",
                RowSecurityText::Force => "FORCE ROW SECURITY",
                RowSecurityText::NoForce => "NO FORCE ROW SECURITY",
            });
        }
        TableAction::AlterConstraint { .. } => return refuse("ALTER CONSTRAINT"),
        TableAction::AttachPartition { .. } => return refuse("ATTACH PARTITION"),
        TableAction::DetachPartition { .. } => return refuse("DETACH PARTITION"),
        TableAction::SplitAt(_) | TableAction::Unsplit(_) => return Err(not_a_table(relation.name())),
    };
    Ok(match operation {
        O::RenameTable { table_name } => {
            Change::Rename(ast::Ident::with_quote('"', rename_target(table_name, context)?))
        }
        O::OwnerTo { new_owner: ast::Owner::Ident(owner) } => Change::Owner(owner.clone()),
        O::RenameColumn { old_column_name, new_column_name } if !is_sequence => {
            Change::View(ViewChange::RenameColumn { from: old_column_name.clone(), to: new_column_name.clone() })
        }
        O::AlterColumn { column_name, op } => match op {
            ast::AlterColumnOperation::SetDefault { value } if !is_sequence => {
                Change::View(ViewChange::Default { column: column_name.clone(), expr: Some(value.clone()) })
            }
            ast::AlterColumnOperation::DropDefault if !is_sequence => {
                Change::View(ViewChange::Default { column: column_name.clone(), expr: None })
            }
            ast::AlterColumnOperation::SetNotNull => return refuse("ALTER COLUMN ... SET NOT NULL"),
            ast::AlterColumnOperation::DropNotNull => return refuse("ALTER COLUMN ... DROP NOT NULL"),
            ast::AlterColumnOperation::SetDataType { .. } => return refuse("ALTER COLUMN ... SET DATA TYPE"),
            _ => return refuse("ALTER COLUMN ... SET DEFAULT"),
        },
        O::AddColumn { .. } => return refuse("ADD COLUMN"),
        O::DropColumn { .. } => return refuse("DROP COLUMN"),
        O::AddConstraint { .. } => return refuse("ADD CONSTRAINT"),
        O::DropConstraint { .. } => return refuse("DROP CONSTRAINT"),
        O::ValidateConstraint { .. } => return refuse("VALIDATE CONSTRAINT"),
        _ => return Err(not_a_table(relation.name())),
    })
}

fn not_a_table(name: &str) -> SqlError {
    SqlError::new(SqlState::WrongObjectType, format!("\"{name}\" is not a table"))
}

/// The VALUES of SPLIT AT and UNSPLIT AT: each row is a prefix of the primary key.
fn split_points(
    table: &Table,
    values: &ast::Query,
    action: &str,
    context: &PlanContext<'_>,
) -> SqlResult<Vec<Vec<types::Datum>>> {
    let ast::SetExpr::Values(values) = &*values.body else {
        return Err(SqlError::new(SqlState::SyntaxError, format!("{action} takes VALUES")));
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
    Ok(rows)
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
    table: &catalog::Table,
    context: &PlanContext<'_>,
    out: &mut Vec<AlterTable>,
) -> SqlResult<()> {
    use ast::AlterTableOperation as O;
    let place = Place { context, table: &table.name, new_in: None };
    match operation {
        O::AddConstraint { constraint: ast::TableConstraint::Check(check), .. } if check.no_inherit && table.is_partitioned() => {
            return Err(super::create::no_inherit(&table.name));
        }
        O::AddConstraint { constraint: given, not_valid } => {
            let mut made = Constraints::default();
            constraint(given, &place, &mut made)?;
            if *not_valid {
                if let Some(index) = made.indexes.first() {
                    let kind = match index.exclude.is_empty() {
                        false => "EXCLUDE",
                        true if index.primary => "PRIMARY KEY",
                        true => "UNIQUE",
                    };
                    return Err(SqlError::not_supported(format!("{kind} constraints cannot be marked NOT VALID")));
                }
                made.not_valid();
            }
            out.extend(made.indexes.into_iter().map(AlterTable::AddIndex));
            out.extend(made.checks.into_iter().map(AlterTable::AddCheck));
            out.extend(made.foreign_keys.into_iter().map(AlterTable::AddForeignKey));
        }
        O::AddColumn { if_not_exists, column_def, .. } => {
            let mut made = Constraints::default();
            let column = column(column_def, &place, &mut made)?;
            out.push(AlterTable::AddColumn {
                column,
                indexes: made.indexes,
                checks: made.checks,
                foreign_keys: made.foreign_keys,
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
                    let ty = table.column_named(&column).map(|(_, column)| column.ty);
                    AlterTable::SetDefault { column, expr: Some(super::types::stored_expr(value, ty, context)) }
                }
                ast::AlterColumnOperation::DropDefault => AlterTable::SetDefault { column, expr: None },
                ast::AlterColumnOperation::SetDataType { data_type, using, .. } => AlterTable::SetType {
                    column,
                    ty: super::create::stored_type(&fold(column_name), bind_type(data_type, context)?)?,
                    using: using.as_ref().map(ToString::to_string),
                },
                ast::AlterColumnOperation::AddGenerated { .. } => {
                    return Err(SqlError::internal("ADD GENERATED is read by this crate's own reader"));
                }
            });
        }
        O::OwnerTo { new_owner } => out.push(AlterTable::OwnerTo(match new_owner {
            ast::Owner::Ident(name) => own::role(name, context)?,
            _ => context.user.to_owned(),
        })),
        O::ValidateConstraint { name } => out.push(AlterTable::ValidateConstraint { name: fold(name) }),
        other => return Err(SqlError::not_supported(format!("ALTER TABLE ... {other}"))),
    }
    Ok(())
}
