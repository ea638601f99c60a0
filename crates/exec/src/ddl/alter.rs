//! ALTER.

use std::sync::Arc;

use catalog::privilege::ObjectKind;
use catalog::{Column, ColumnDefault, Commented, Descriptor, Relation, Table, row::IndexCodec};
use plan::statement::{AlterTable, CheckSpec, ColumnSpec, CommentOn, ForeignKeySpec, IndexSpec, SequenceOptions};
use types::{Datum, SqlError, SqlResult, SqlState, SqlType};

use super::{
    RangeChange,
    DdlContext, build_column, build_index, constraint, index_name, new_sequence, partition,
    rewrite::{contains_nulls, for_each_row, has_rows, rewrite},
};

pub(super) async fn table(
    table: &Arc<Table>,
    actions: &[AlterTable],
    only: bool,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    for action in actions {
        let current = ctx.table(table.id)?;
        partition::check(&current, action, only, ctx)?;
        let changes_rows = matches!(
            action,
            AlterTable::AddColumn { .. } | AlterTable::DropColumn { .. } | AlterTable::RenameColumn { .. }
        );
        let texts = changes_rows.then(|| super::composites::KeptTexts::of(table.id, ctx));
        of_all(&current, action, only, ctx).await?;
        if let Some(texts) = texts {
            texts.check(&format!("table \"{}\"", current.name), ctx)?;
        }
    }
    Ok(())
}

pub(super) fn no_column(table: &Table, name: &str) -> SqlError {
    SqlError::new(
        SqlState::UndefinedColumn,
        format!("column \"{name}\" of relation \"{}\" does not exist", table.name),
    )
}

/// An action of a table, and of its partitions where it is one of these as well.
async fn of_all(table: &Arc<Table>, action: &AlterTable, only: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    one(table, action, only, ctx).await?;
    // A key's parts in the partitions go with it.
    let is_alone = only && !matches!(action, AlterTable::DropConstraint { .. });
    if is_alone || !table.is_partitioned() {
        return Ok(());
    }
    for partition in partition::partitions(table) {
        let own = ctx.table(partition)?;
        let action = match action {
            AlterTable::DropColumn { .. }
            | AlterTable::SetDefault { .. }
            | AlterTable::SetNotNull { .. }
            | AlterTable::DropNotNull { .. }
            | AlterTable::SetType { .. }
            | AlterTable::DropExpression { .. }
            | AlterTable::RenameColumn { .. } => action.clone(),
            AlterTable::ValidateConstraint { name } => {
                let of = partition::constraint_oid(table, name);
                match of.and_then(|oid| partition::own_constraint(&own, oid)) {
                    Some(name) => AlterTable::ValidateConstraint { name },
                    None => continue,
                }
            }
            AlterTable::DropConstraint { name, cascade, .. } => {
                // A foreign key has gone from the partitions with the table's.
                let of = partition::constraint_oid(table, name);
                match of.and_then(|oid| partition::own_constraint(&own, oid)) {
                    Some(name) => AlterTable::DropConstraint { name, if_exists: false, cascade: *cascade },
                    None => continue,
                }
            }
            AlterTable::RenameConstraint { from, to } => {
                let of = table.checks.iter().find(|check| check.name == *from);
                match of.and_then(|check| partition::own_constraint(&own, check.oid)) {
                    Some(from) => AlterTable::RenameConstraint { from, to: to.clone() },
                    None => continue,
                }
            }
            // They see to the partitions themselves, or are of the table alone.
            AlterTable::AddColumn { .. }
            | AlterTable::DropIdentity { .. }
            | AlterTable::AddIdentity { .. }
            | AlterTable::SetIdentity { .. }
            | AlterTable::AddIndex(_)
            | AlterTable::AddCheck(_)
            | AlterTable::AddForeignKey(_)
            | AlterTable::AlterConstraint { .. }
            | AlterTable::RenameTo(_)
            | AlterTable::SetSchema(_)
            | AlterTable::OwnerTo(_)
            | AlterTable::SetTriggers { .. }
            | AlterTable::SetRowSecurity(_)
            | AlterTable::AttachPartition { .. }
            | AlterTable::DetachPartition { .. }
            | AlterTable::SplitAt(_)
            | AlterTable::Unsplit(_) => return Ok(()),
        };
        Box::pin(of_all(&own, &action, false, ctx)).await?;
    }
    Ok(())
}

async fn one(table: &Arc<Table>, action: &AlterTable, only: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let mut changed = (**table).clone();
    let position = |name: &str| table.column_named(name).map(|(at, _)| at).ok_or_else(|| no_column(table, name));
    match action {
        AlterTable::AddColumn { column, indexes, checks, foreign_keys, if_not_exists } => {
            if changed.column_named(&column.name).is_some() {
                if *if_not_exists {
                    ctx.exists_already(
                        SqlState::DuplicateColumn,
                        format_args!("column \"{}\" of relation \"{}\"", column.name, table.name),
                    );
                    return Ok(());
                }
                return Err(SqlError::new(
                    SqlState::DuplicateColumn,
                    format!("column \"{}\" of relation \"{}\" already exists", column.name, table.name),
                ));
            }
            add_column(table, column, ctx).await?;
            let spec = partition::column_of_partition(column, &*ctx.table(table.id)?);
            for below in ctx.change.snapshot().descendants_of(table) {
                add_column(&ctx.table(below.id)?, &spec, ctx).await?;
            }
            for spec in indexes {
                add_index(&ctx.table(table.id)?, spec, only, ctx).await?;
            }
            for spec in checks {
                add_check(&ctx.table(table.id)?, spec, ctx).await?;
            }
            for spec in foreign_keys {
                add_foreign_key(&ctx.table(table.id)?, spec, ctx).await?;
            }
        }
        AlterTable::DropColumn { name, if_exists, cascade } => {
            constraint::drop_column(table, name, *if_exists, *cascade, ctx).await?;
        }
        AlterTable::SetDefault { column, expr } => {
            let at = position(column)?;
            let refuse = |kind: &str| {
                SqlError::new(
                    SqlState::SyntaxError,
                    format!("column \"{column}\" of relation \"{}\" is {kind} column", table.name),
                )
            };
            match &changed.columns[at].default {
                Some(ColumnDefault::Identity { .. }) => return Err(refuse("an identity")),
                Some(ColumnDefault::Stored(_)) => return Err(refuse("a generated")),
                Some(ColumnDefault::Expr(_)) | None => {}
            }
            changed.columns[at].default = expr.clone().map(ColumnDefault::Expr);
            ctx.put_table(changed);
            super::create::bind_all(&ctx.table(table.id)?, ctx)?;
        }
        AlterTable::SetNotNull { column } => {
            let at = position(column)?;
            let mut has_null = false;
            for_each_row(table, ctx, |row, _| {
                has_null |= row[at].is_null();
                Ok(())
            })
            .await?;
            if has_null {
                return Err(contains_nulls(table, column));
            }
            changed.columns[at].nullable = false;
            ctx.put_table(changed);
        }
        AlterTable::DropNotNull { column } => {
            let at = position(column)?;
            let id = table.columns[at].id;
            if table.primary_key().is_some_and(|it| it.columns.iter().any(|key| key.column == id)) {
                return Err(SqlError::new(
                    SqlState::InvalidTableDefinition,
                    format!("column \"{column}\" is in a primary key"),
                ));
            }
            changed.columns[at].nullable = true;
            ctx.put_table(changed);
        }
        AlterTable::SetType { column, ty, using } => {
            let at = position(column)?;
            set_type(table, at, *ty, using.as_deref(), ctx).await?;
        }
        AlterTable::DropIdentity { column, if_exists } => {
            let at = position(column)?;
            let Some(ColumnDefault::Identity { sequence, .. }) = changed.columns[at].default else {
                return not_identity(table, column, *if_exists, ctx);
            };
            changed.columns[at].default = None;
            ctx.change.remove(ctx.txn, sequence);
            ctx.put_table(changed);
        }
        AlterTable::DropExpression { column, if_exists } => {
            let at = position(column)?;
            if !matches!(changed.columns[at].default, Some(ColumnDefault::Stored(_))) {
                let text = format!("column \"{column}\" of relation \"{}\" is not a stored generated column", table.name);
                if *if_exists {
                    ctx.notice(format!("{text}, skipping"));
                    return Ok(());
                }
                return Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, text));
            }
            changed.columns[at].default = None;
            ctx.put_table(changed);
        }
        AlterTable::SetIdentity { column, always, options } => {
            let at = position(column)?;
            let Some(ColumnDefault::Identity { sequence, always: before }) = changed.columns[at].default else {
                return not_identity(table, column, false, ctx);
            };
            changed.columns[at].default =
                Some(ColumnDefault::Identity { sequence, always: always.unwrap_or(before) });
            ctx.put_table(changed);
            super::sequence::alter(sequence, options, ctx).await?;
        }
        AlterTable::AddIdentity { column, always, options } => {
            let at = position(column)?;
            let refuse = |text: &str| {
                SqlError::new(
                    SqlState::ObjectNotInPrerequisiteState,
                    format!("column \"{column}\" of relation \"{}\" {text}", table.name),
                )
            };
            match &table.columns[at] {
                column if column.nullable => return Err(refuse("must be declared NOT NULL before identity can be added")),
                Column { default: Some(ColumnDefault::Identity { .. }), .. } => {
                    return Err(refuse("is already an identity column"));
                }
                Column { default: Some(_), .. } => return Err(refuse("already has a default value")),
                _ => {}
            }
            let id = ctx.new_ids(1).await?;
            let (home, name) = super::sequence_name(options, table, column, &[], ctx)?;
            let owned = Some((table.id, table.columns[at].id));
            let options = SequenceOptions { ty: Some(table.columns[at].ty), ..options.clone() };
            let made = new_sequence(id, home, name, table.owner, &options, owned)?;
            ctx.change.put(ctx.txn, Descriptor::Sequence(made));
            ctx.grant_defaults(id, ObjectKind::Sequence, home, table.owner);
            changed.columns[at].default = Some(ColumnDefault::Identity { sequence: id, always: *always });
            ctx.put_table(changed);
        }
        AlterTable::AddIndex(spec) => add_index(table, spec, only, ctx).await?,
        AlterTable::AddCheck(spec) => add_check(table, spec, ctx).await?,
        AlterTable::AddForeignKey(spec) => add_foreign_key(table, spec, ctx).await?,
        AlterTable::AttachPartition { partition, bound } => {
            partition::attach(table.id, partition.id, bound, false, ctx).await?;
        }
        AlterTable::DetachPartition { partition } => partition::detach(table, partition.id, ctx).await?,
        AlterTable::ValidateConstraint { name } => constraint::validate(table, name, ctx).await?,
        AlterTable::AlterConstraint { name, deferrable, initially_deferred } => {
            constraint::alter(table, name, *deferrable, *initially_deferred, ctx)?;
        }
        AlterTable::DropConstraint { name, if_exists, cascade } => {
            constraint::drop_constraint(table, name, *if_exists, *cascade, ctx).await?;
        }
        AlterTable::RenameColumn { from, to } => {
            let (at, _) = table.column_named(from).ok_or_else(|| {
                SqlError::new(SqlState::UndefinedColumn, format!("column \"{from}\" does not exist"))
            })?;
            if table.column_named(to).is_some() {
                return Err(SqlError::new(
                    SqlState::DuplicateColumn,
                    format!("column \"{to}\" of relation \"{}\" already exists", table.name),
                ));
            }
            rename_in_texts(&mut changed, from, to);
            changed.columns[at].name.clone_from(to);
            ctx.put_table(changed);
        }
        AlterTable::RenameConstraint { from, to } => {
            if let Some(check) = changed.checks.iter_mut().find(|check| check.name == *from) {
                check.name.clone_from(to);
            } else if let Some(key) = changed.foreign_keys.iter_mut().find(|key| key.name == *from) {
                key.name.clone_from(to);
            } else if let Some(index) =
                changed.indexes.iter_mut().find(|index| index.constraint.is_some() && index.name == *from)
            {
                index.name.clone_from(to);
            } else if table.trigger_named(from).is_some_and(|trigger| trigger.constraint.is_some()) {
                // The constraint of a trigger has its name.
                return super::trigger::rename(table.id, from, to, ctx);
            } else {
                return Err(SqlError::new(
                    SqlState::UndefinedObject,
                    format!("constraint \"{from}\" for table \"{}\" does not exist", table.name),
                ));
            }
            ctx.put_table(changed);
        }
        AlterTable::RenameTo(to) => rename_relation(table.id, to, ctx)?,
        AlterTable::SetSchema(schema) => move_relation(table.id, *schema, ctx)?,
        AlterTable::OwnerTo(name) => own_relation(table.id, name, ctx)?,
        AlterTable::SetTriggers { name, enabled } => super::trigger::enable(table, name.as_deref(), *enabled, only, ctx)?,
        AlterTable::SetRowSecurity(change) => super::policy::set(table, *change, ctx),
        AlterTable::SplitAt(rows) => {
            let points = split_points(table, rows)?;
            ctx.splits.extend(points.into_iter().map(RangeChange::Split));
        }
        AlterTable::Unsplit(Some(rows)) => {
            let points = split_points(table, rows)?;
            ctx.splits.extend(points.into_iter().map(RangeChange::Unsplit));
        }
        AlterTable::Unsplit(None) => ctx.splits.push(RangeChange::UnsplitAll(super::table_span(table))),
    }
    Ok(())
}

/// The keys of rows, or of prefixes of such, of the primary index.
fn split_points(table: &Table, rows: &[Vec<types::Datum>]) -> SqlResult<Vec<keys::Key>> {
    let codec = IndexCodec::new(table, table.primary());
    let point = |row: &Vec<types::Datum>| {
        if row.is_empty() || row.len() > codec.key_len() {
            return Err(SqlError::new(
                SqlState::InvalidParameterValue,
                format!("a split point of \"{}\" has 1 to {} values", table.name, codec.key_len()),
            ));
        }
        let mut key = codec.prefix().to_vec();
        for (place, datum) in row.iter().enumerate() {
            codec.put_key_column(&mut key, place, datum);
        }
        Ok(key.into())
    };
    rows.iter().map(point).collect()
}

fn not_identity(table: &Table, column: &str, if_exists: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let text = format!("column \"{column}\" of relation \"{}\" is not an identity column", table.name);
    if if_exists {
        ctx.notice(format!("{text}, skipping"));
        return Ok(());
    }
    Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, text))
}

/// A new index of a table, if there is one since, in its partitions.
pub(super) async fn follow_index(before: &Arc<Table>, only: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    if only || !before.is_partitioned() {
        return Ok(());
    }
    let table = ctx.table(before.id)?;
    let is_known = |oid: u32| before.indexes.iter().any(|index| index.oid == oid);
    for index in table.indexes.iter().filter(|index| !is_known(index.oid)) {
        for below in partition::partitions(&table) {
            partition::index_for_partition(&table, index.oid, below, true, ctx).await?;
        }
    }
    Ok(())
}

async fn add_index(table: &Arc<Table>, spec: &IndexSpec, only: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let before = ctx.table(table.id)?;
    if spec.primary && !only {
        // What is in a primary key is not NULL, in the partitions as well.
        for below in ctx.change.snapshot().descendants_of(table) {
            for column in spec.columns.iter().filter(|column| below.column_named(&column.name).is_some_and(|it| it.1.nullable)) {
                let below = ctx.table(below.id)?;
                let action = AlterTable::SetNotNull { column: column.name.clone() };
                Box::pin(one(&below, &action, true, ctx)).await?;
            }
        }
    }
    add_index_alone(table, spec, ctx).await?;
    follow_index(&before, only, ctx).await
}

async fn add_check(table: &Arc<Table>, spec: &CheckSpec, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let oid = constraint::add_check(table, spec, ctx).await?;
    partition::check_for_partitions(&ctx.table(table.id)?, oid, spec, ctx).await
}

async fn add_foreign_key(table: &Arc<Table>, spec: &ForeignKeySpec, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    constraint::add_foreign_key(table, spec, ctx).await?;
    let table = ctx.table(table.id)?;
    let Some(key) = table.foreign_keys.last() else { return Ok(()) };
    for below in partition::partitions(&table) {
        // Its rows were looked at with the table's.
        partition::key_for_partition(&table, key.oid, below, true, ctx).await?;
    }
    Ok(())
}

pub(super) async fn add_index_alone(table: &Arc<Table>, spec: &IndexSpec, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    if spec.primary { add_primary_key(table, spec, ctx).await } else { super::create::index(table, spec, false, ctx).await }
}

/// A new column. One whose old rows all have the same value touches no row; others move the table.
async fn add_column(table: &Arc<Table>, spec: &ColumnSpec, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    super::composites::check_parts(table.id, &table.name, &[spec.ty], ctx)?;
    let mut changed = (**table).clone();
    let mut made = build_column(&mut changed, spec, &mut Vec::new(), ctx).await?;
    let constant = match &made.default {
        None if made.domain.is_none() => Some(Datum::Null),
        // What a domain has to say of it is asked of each row, and of none where there are none.
        None | Some(ColumnDefault::Expr(_)) if made.domain.is_some() => {
            changed.columns.push(made.clone());
            let value = ctx.plan(|context| plan::column_default(&changed, changed.columns.len() - 1, context))?;
            changed.columns.pop();
            constant_value(&value, &made.ty, ctx.eval.formatting)?
        }
        Some(ColumnDefault::Expr(text)) => constant_value(&ctx.bind(text, table)?, &made.ty, ctx.eval.formatting)?,
        _ => None,
    };
    if constant.as_ref().is_none_or(|value| !value.is_null()) {
        super::composites::check_rows_unused(table, ctx)?;
    }
    // A value that holds rows is not kept beside the rows of the table, where it could not follow changes of its type.
    match constant.filter(|value| value.is_null() || !made.ty.holds_rows()) {
        Some(value) => {
            let lacks_value = value.is_null() && !made.nullable;
            made.missing = value;
            changed.columns.push(made);
            ctx.put_table(changed);
            super::create::bind_all(&ctx.table(table.id)?, ctx)?;
            if lacks_value && has_rows(table, ctx).await? {
                return Err(contains_nulls(table, &spec.name));
            }
            Ok(())
        }
        None => {
            changed.columns.push(made);
            rewrite(table, changed, None, ctx).await
        }
    }
}

async fn set_type(
    table: &Arc<Table>,
    at: usize,
    ty: SqlType,
    using: Option<&str>,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    let column = &table.columns[at];
    super::composites::check_parts(table.id, &table.name, &[ty], ctx)?;
    super::composites::check_stored(&column.name, ty, ctx)?;
    super::composites::check_rows_unused(table, ctx)?;
    if let Some(view) = super::drop::views_over(table, column.id, ctx)?.first() {
        return Err(SqlError::not_supported("cannot alter type of a column used by a view or rule").with_detail(format!(
            "rule _RETURN on view {} depends on column \"{}\"",
            view.name, column.name
        )));
    }
    if let Some((of, policy)) = super::policy::over_column(table, column.id, ctx)?.first() {
        let message = "cannot alter type of a column used in a policy definition";
        let on = super::policy::shown(policy, of, ctx);
        return Err(SqlError::not_supported(message).with_detail(format!("{on} depends on column \"{}\"", column.name)));
    }
    if let Some(trigger) = super::trigger::over_columns(table, &[column.id], ctx)?.first() {
        let message = "cannot alter type of a column used in a trigger definition";
        let on = super::trigger::shown(trigger, table, ctx);
        return Err(SqlError::not_supported(message).with_detail(format!("{on} depends on column \"{}\"", column.name)));
    }
    let mut changed = (**table).clone();
    changed.columns[at].declare(ty);
    for index in &mut changed.indexes {
        for place in 0..index.columns.len() {
            if index.columns[place].column == column.id {
                super::check_index_type(index, place, &ty.base())?;
            }
        }
    }
    // Widening changes no stored byte.
    let base = ty.base();
    let same = column.ty.same_base(&base) && (base.typmod() < 0 || base.typmod() == column.ty.typmod());
    let widens = !ty.is_domain() && same || (column.ty.is_integer() && ty.is_integer() && column.ty.typlen() <= ty.typlen());
    if widens && using.is_none() {
        ctx.put_table(changed);
        return super::create::bind_all(&ctx.table(table.id)?, ctx);
    }
    let text = using.map_or_else(|| crate::internal::quoted(&column.name), str::to_owned);
    let converted = ctx.plan(|context| plan::bind_assigned(&text, table, &column.name, ty, context));
    let converted = converted.map_err(|error| match (error.code(), using) {
        (SqlState::DatatypeMismatch, None) => SqlError::new(
            SqlState::DatatypeMismatch,
            format!("column \"{}\" cannot be cast automatically to type {ty}", column.name),
        )
        .with_hint(format!("You might need to specify \"USING {}::{ty}\".", super::quote(&column.name))),
        (SqlState::DatatypeMismatch, Some(_)) => SqlError::new(
            SqlState::DatatypeMismatch,
            format!("result of USING clause for column \"{}\" cannot be cast automatically to type {ty}", column.name),
        )
        .with_hint("You might need to add an explicit cast."),
        _ => error,
    })?;
    // The value of rows from before ADD COLUMN is written out by the move.
    changed.columns[at].missing = Datum::Null;
    rewrite(table, changed, Some((column.id, converted)), ctx).await
}

/// A column's new name in the expressions that the table keeps as text.
fn rename_in_texts(table: &mut Table, from: &str, to: &str) {
    let rename = |text: &mut String| *text = plan::rename_column(text, from, to);
    table.checks.iter_mut().for_each(|check| rename(&mut check.expr));
    table.indexes.iter_mut().filter_map(|index| index.predicate.as_mut()).for_each(rename);
    for column in &mut table.columns {
        if let Some(ColumnDefault::Stored(text)) = &mut column.default {
            rename(text);
        }
    }
    if table.is_partitioned()
        && let Some(of) = &mut table.partitioning_mut().partitioned
    {
        of.for_each_expression(&mut |text| rename(text));
    }
    for text in table.triggers.iter_mut().filter_map(|trigger| trigger.condition.as_mut()) {
        *text = plan::rename_in_condition(text, from, to);
    }
}

/// A table's rows move under their new key; the hidden row id goes.
async fn add_primary_key(
    table: &Arc<Table>,
    spec: &plan::statement::IndexSpec,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    if table.primary_key().is_some() {
        return Err(SqlError::new(
            SqlState::InvalidTableDefinition,
            format!("multiple primary keys for table \"{}\" are not allowed", table.name),
        ));
    }
    if spec.deferrable {
        // Rows keep their row ids: they may share such a key for a while.
        for wanted in &spec.columns {
            let table = ctx.table(table.id)?;
            if table.column_named(&wanted.name).is_some_and(|(_, column)| column.nullable) {
                let action = AlterTable::SetNotNull { column: wanted.name.clone() };
                Box::pin(one(&table, &action, true, ctx)).await?;
            }
        }
        return super::create::index(table, spec, false, ctx).await;
    }
    let ids = ctx.new_ids(2).await?;
    let mut changed = (**table).clone();
    // A partitioned table keeps it for the rows of its partitions.
    let hidden = table.row_id_position().filter(|_| !table.is_partitioned());
    for wanted in &spec.columns {
        let Some(column) = changed.columns.iter_mut().find(|column| column.name == wanted.name) else {
            return Err(no_column(table, &wanted.name));
        };
        column.nullable = false;
    }
    let name = index_name(spec, table, &[], ctx);
    ctx.check_name_free(table.schema, &name)?;
    let spec = plan::statement::IndexSpec { constraint: true, ..spec.clone() };
    let primary = build_index(&mut changed, &spec, name, ids, ids + 1)?;
    changed.indexes[0] = primary;
    partition::check_unique(&changed, changed.primary())?;
    if let Some(hidden) = hidden {
        changed.columns.remove(hidden);
    }
    rewrite(table, changed, None, ctx).await
}

/// The value of a constant; texts of times are read by the session's settings.
fn constant_value(
    expr: &plan::Expr,
    ty: &types::SqlType,
    formatting: &types::Formatting,
) -> SqlResult<Option<Datum>> {
    match expr {
        plan::Expr::Const(datum, from) => {
            types::cast(datum.clone(), from, ty, types::CastContext::Assignment, formatting).map(Some)
        }
        _ => Ok(None),
    }
}

pub(super) fn rename_relation(id: u32, to: &str, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let Some(relation) = ctx.change.snapshot().relation_by_id(id).cloned() else { return Ok(()) };
    ctx.check_name_free(relation.schema(), to)?;
    ctx.check_type_name_free(relation.schema(), to)?;
    let renamed = match relation {
        Relation::Table(it) => Descriptor::Table(Table { name: to.into(), ..(*it).clone() }),
        Relation::View(it) => Descriptor::View(catalog::View { name: to.into(), ..(*it).clone() }),
        Relation::Sequence(it) => Descriptor::Sequence(catalog::Sequence { name: to.into(), ..(*it).clone() }),
    };
    ctx.change.put(ctx.txn, renamed);
    Ok(())
}

/// As [`move_relation`], of what a statement names: a sequence that goes with a table is not moved alone.
pub(super) fn move_named(id: u32, schema: u32, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    if let Some(Relation::Sequence(sequence)) = ctx.change.snapshot().relation_by_id(id)
        && let Some((table, _)) = sequence.owned_by
    {
        let detail = format!("Sequence \"{}\" is linked to table \"{}\".", sequence.name, ctx.table(table)?.name);
        return Err(SqlError::not_supported("cannot move an owned sequence into another schema").with_detail(detail));
    }
    move_relation(id, schema, ctx)
}

pub(super) fn move_relation(id: u32, schema: u32, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let Some(relation) = ctx.change.snapshot().relation_by_id(id).cloned() else { return Ok(()) };
    if relation.schema() == schema {
        return Ok(());
    }
    let is_temporary = |schema| ctx.change.snapshot().is_temporary(schema);
    if is_temporary(schema) != is_temporary(relation.schema()) {
        return Err(SqlError::not_supported("cannot move objects into or out of temporary schemas"));
    }
    ctx.check_name_free(schema, relation.name())?;
    ctx.check_type_name_free(schema, relation.name())?;
    let moved = match relation {
        Relation::Table(it) => {
            for index in it.indexes.iter().filter(|index| !index.name.is_empty()) {
                ctx.check_name_free(schema, &index.name)?;
            }
            for sequence in super::drop::owned_sequences(it.id, ctx) {
                move_relation(sequence, schema, ctx)?;
            }
            Descriptor::Table(Table { schema, ..(*it).clone() })
        }
        Relation::View(it) => Descriptor::View(catalog::View { schema, ..(*it).clone() }),
        Relation::Sequence(it) => Descriptor::Sequence(catalog::Sequence { schema, ..(*it).clone() }),
    };
    ctx.change.put(ctx.txn, moved);
    Ok(())
}

pub(super) fn own_relation(id: u32, owner: &str, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let Some(relation) = ctx.change.snapshot().relation_by_id(id).cloned() else { return Ok(()) };
    let owner = super::grant::role_named(owner, ctx)?;
    if let Relation::Sequence(sequence) = &relation
        && let Some((table, _)) = sequence.owned_by
        && sequence.owner != owner
    {
        let name = ctx.table(table)?.name.clone();
        let message = format!("cannot change owner of sequence \"{}\"", sequence.name);
        return Err(SqlError::not_supported(message)
            .with_detail(format!("Sequence \"{}\" is linked to table \"{name}\".", sequence.name)));
    }
    give_relation(&relation, owner, ctx)
}

/// Gives a relation to another role, with the sequences that go with it.
pub(super) fn give_relation(relation: &Relation, owner: u32, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let (before, owned) = match relation.clone() {
        Relation::Table(it) => (it.owner, Descriptor::Table(Table { owner, ..(*it).clone() })),
        Relation::View(it) => (it.owner, Descriptor::View(catalog::View { owner, ..(*it).clone() })),
        Relation::Sequence(it) => (it.owner, Descriptor::Sequence(catalog::Sequence { owner, ..(*it).clone() })),
    };
    if before == owner {
        return Ok(());
    }
    ctx.change.put(ctx.txn, owned);
    ctx.grants_to_owner(relation.id(), before, owner);
    for sequence in super::drop::owned_sequences(relation.id(), ctx) {
        if let Some(sequence) = ctx.change.snapshot().relation_by_id(sequence).cloned() {
            give_relation(&sequence, owner, ctx)?;
        }
    }
    Ok(())
}

pub(super) fn rename_index(table: &Arc<Table>, oid: u32, to: &str, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let table = ctx.table(table.id)?;
    ctx.check_name_free(table.schema, to)?;
    let mut changed = (*table).clone();
    for index in changed.indexes.iter_mut().filter(|index| index.oid == oid) {
        index.name = to.into();
    }
    ctx.put_table(changed);
    Ok(())
}

pub(super) fn rename_database(name: &str, to: &str, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let Some(database) = ctx.change.snapshot().database(name).cloned() else {
        return Err(SqlError::new(SqlState::InvalidCatalogName, format!("database \"{name}\" does not exist")));
    };
    if ctx.change.snapshot().database(to).is_some() {
        return Err(SqlError::new(SqlState::DuplicateDatabase, format!("database \"{to}\" already exists")));
    }
    ctx.change.put(ctx.txn, Descriptor::Database(catalog::Database { name: to.into(), ..(*database).clone() }));
    Ok(())
}

pub(super) fn rename_schema(name: &str, to: &str, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let Some(schema) = ctx.change.snapshot().schema(ctx.database, name).cloned() else {
        return Err(SqlError::new(SqlState::InvalidSchemaName, format!("schema \"{name}\" does not exist")));
    };
    if ctx.change.snapshot().schema(ctx.database, to).is_some() {
        return Err(SqlError::new(SqlState::DuplicateSchema, format!("schema \"{to}\" already exists")));
    }
    if to.starts_with("pg_") {
        return Err(SqlError::new(SqlState::ReservedName, format!("unacceptable schema name \"{to}\""))
            .with_detail("The prefix \"pg_\" is reserved for system schemas."));
    }
    super::view::rename_schema(name, to, ctx);
    super::policy::rename_schema(name, to, ctx);
    ctx.change.put(ctx.txn, Descriptor::Schema(catalog::Schema { name: to.into(), ..(*schema).clone() }));
    Ok(())
}

pub(super) fn comment(on: &CommentOn, text: Option<&str>, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let text = text.filter(|text| !text.is_empty()).map(str::to_owned);
    let put = |comments: &mut Vec<(Commented, String)>, part: Commented| {
        comments.retain(|(known, _)| *known != part);
        comments.extend(text.clone().map(|text| (part, text)));
    };
    let (relation, part) = match on {
        CommentOn::Schema(name) => {
            if let Some(schema) = ctx.change.snapshot().schema(ctx.database, name).cloned() {
                ctx.change.put(ctx.txn, Descriptor::Schema(catalog::Schema { comment: text, ..(*schema).clone() }));
            }
            return Ok(());
        }
        CommentOn::Routine(id) => return super::routine::comment(*id, text, ctx),
        CommentOn::Type(id) => return super::types::comment(*id, text, ctx),
        CommentOn::DomainCheck { domain, name } => return super::domains::comment(*domain, name, text, ctx),
        CommentOn::Attribute { ty, attribute } => return super::composites::comment(*ty, *attribute, text, ctx),
        CommentOn::Relation(relation) => (*relation, None),
        CommentOn::Part { relation, on } => (*relation, Some(*on)),
    };
    match ctx.change.snapshot().relation_by_id(relation).cloned() {
        Some(Relation::Table(it)) => {
            let mut table = (*it).clone();
            match part {
                None => table.comment = text,
                Some(part) => put(&mut table.comments, part),
            }
            ctx.put_table(table);
        }
        Some(Relation::View(it)) => {
            let mut view = (*it).clone();
            match part {
                None => view.comment = text,
                Some(part) => put(&mut view.comments, part),
            }
            ctx.change.put(ctx.txn, Descriptor::View(view));
        }
        Some(Relation::Sequence(it)) => {
            let sequence = catalog::Sequence { comment: text, ..(*it).clone() };
            ctx.change.put(ctx.txn, Descriptor::Sequence(sequence));
        }
        None => {}
    }
    Ok(())
}
