//! ALTER SEQUENCE.

use std::sync::Arc;

use catalog::{Column, ColumnDefault, Descriptor, Relation, Table};
use keys::ColumnId;
use plan::statement::SequenceOptions;
use types::{SqlError, SqlResult, SqlState};

use super::{DdlContext, alter::no_column, new_sequence};
use crate::sequence;

/// OWNED BY of a sequence in a schema and of a role: the table and column, or none; `None` where it says nothing.
///
/// # Errors
/// 55000 where the table is in another schema or of another role.
pub(super) fn owner(
    options: &SequenceOptions,
    (schema, role): (u32, u32),
    ctx: &DdlContext<'_>,
) -> SqlResult<Option<Option<(u32, ColumnId)>>> {
    Ok(match &options.owned_by {
        None => None,
        Some(None) => Some(None),
        Some(Some((table, column))) => {
            let table = ctx.table(*table)?;
            let refused = |same: &str| {
                let message = format!("sequence must {same} as table it is linked to");
                SqlError::new(SqlState::ObjectNotInPrerequisiteState, message)
            };
            if table.owner != role {
                return Err(refused("have same owner"));
            }
            if table.schema != schema {
                return Err(refused("be in same schema"));
            }
            let (_, column) = table.column_named(column).ok_or_else(|| no_column(&table, column))?;
            Some(Some((table.id, column.id)))
        }
    })
}

/// The identity column that draws from a sequence.
pub(super) fn identity_of(sequence: u32, ctx: &DdlContext<'_>) -> Option<(Arc<Table>, String)> {
    ctx.change.snapshot().dependents_of(sequence).into_iter().find_map(|relation| {
        let Relation::Table(table) = relation else { return None };
        let is_its = |column: &&Column| {
            matches!(&column.default, Some(ColumnDefault::Identity { sequence: known, .. }) if *known == sequence)
        };
        table.columns.iter().find(is_its).map(|column| (table.clone(), column.name.clone()))
    })
}

/// Changes a sequence. Its counter is no part of the transaction, in PostgreSQL neither: a rollback brings back the
/// options only.
pub(super) async fn alter(id: u32, options: &SequenceOptions, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let Some(Relation::Sequence(old)) = ctx.change.snapshot().relation_by_id(id).cloned() else {
        return Err(SqlError::new(SqlState::UndefinedTable, format!("sequence with OID {id} does not exist")));
    };
    let merged = SequenceOptions {
        ty: options.ty.or(Some(old.ty)),
        start: options.start.or(Some(old.start)),
        increment: options.increment.or(Some(old.increment)),
        min: options.min.or(Some(Some(old.min))),
        max: options.max.or(Some(Some(old.max))),
        cache: options.cache.or(Some(old.cache)),
        cycle: options.cycle.or(Some(old.cycle)),
        owned_by: None,
        restart: None,
        name: None,
    };
    let mut made = new_sequence(id, old.schema, old.name.clone(), old.owner, &merged, old.owned_by)?;
    made.comment.clone_from(&old.comment);
    if let Some(owner) = owner(options, (old.schema, old.owner), ctx)? {
        if let Some((table, _)) = identity_of(id, ctx) {
            return Err(SqlError::not_supported("cannot change ownership of identity sequence")
                .with_detail(format!("Sequence \"{}\" is linked to table \"{}\".", old.name, table.name)));
        }
        made.owned_by = owner;
    }
    let db = ctx.store.db();
    let next = match options.restart {
        Some(value) => i128::from(value.unwrap_or(made.start)),
        None => sequence::next_after(&old, made.increment, db).await?,
    };
    let bound = match options.restart {
        Some(_) => next,
        None => next - i128::from(made.increment),
    };
    let out_of = |than: &str, which: &str, limit: i64| {
        SqlError::new(
            SqlState::InvalidParameterValue,
            format!("RESTART value ({bound}) cannot be {than} than {which} ({limit})"),
        )
    };
    let was_called = options.restart.is_some() || next != i128::from(old.start);
    if was_called && bound > i128::from(made.max) {
        return Err(out_of("greater", "MAXVALUE", made.max));
    }
    if was_called && bound < i128::from(made.min) {
        return Err(out_of("less", "MINVALUE", made.min));
    }
    sequence::set_next(&made, next, db).await?;
    ctx.change.put(ctx.txn, Descriptor::Sequence(made));
    Ok(())
}
