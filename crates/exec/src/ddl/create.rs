//! CREATE.

use std::sync::Arc;

use catalog::privilege::ObjectKind;
use catalog::{
    Check, Column, ColumnDefault, Database, Descriptor, Index, IndexColumn, PRIMARY_INDEX, ROW_ID_COLUMN,
    Schema, Table,
    descriptor::DATABASE_OWNER_ROLE,
};
use keys::{ColumnId, IndexId};
use plan::statement::{CheckSpec, CreateTable, IndexSpec, SequenceOptions};
use types::{Datum, Direction, NullsOrder, SqlError, SqlResult, SqlState, SqlType};

use super::{
    DdlContext, alter, build_column, build_index, computed_column, constraint, index_name, new_sequence, partition,
    rewrite::{fill_index, rewrite},
};

pub(super) async fn table(create: &CreateTable, ctx: &mut DdlContext<'_>) -> SqlResult<Option<Arc<Table>>> {
    let parent = create.partition_of.as_ref().map(|of| ctx.table(of.parent.id)).transpose()?;
    let inherited = parent.as_deref().and_then(partition::primary_spec);
    let schema = ctx.schema_of(create.home).await?;
    if ctx.change.snapshot().name_owner(schema, &create.name).is_some() {
        if create.if_not_exists {
            ctx.exists_already(SqlState::DuplicateTable, format_args!("relation \"{}\"", create.name));
            return Ok(None);
        }
        ctx.check_name_free(schema, &create.name)?;
    }
    ctx.check_type_name_free(schema, &create.name)?;
    // The table, and two ids for each index and one for each check.
    let id = ctx.new_ids(1 + 2 * (create.indexes.len() + 1) + create.checks.len()).await?;
    let mut next = id + 1;
    let mut table = Table {
        codecs: Default::default(),
        id,
        name: create.name.clone(),
        schema,
        owner: ctx.user,
        columns: Vec::new(),
        indexes: Vec::new(),
        checks: Vec::new(),
        foreign_keys: Vec::new(),
        referenced_by: Vec::new(),
        triggers: Vec::new(),
        next_column: ColumnId::new(1),
        next_index: PRIMARY_INDEX,
        storage: id,
        comment: None,
        on_commit: create.on_commit,
        comments: Vec::new(),
        materialized: create.materialized.clone().map(Arc::new),
        partitioning: None,
        security: None,
        zones: None,
    };
    let mut taken = vec![create.name.clone()];
    for spec in &create.columns {
        if table.columns.iter().any(|column| column.name == spec.name) {
            return Err(SqlError::new(
                SqlState::DuplicateColumn,
                format!("column \"{}\" specified more than once", spec.name),
            ));
        }
        let column = build_column(&mut table, spec, &mut taken, ctx).await?;
        table.columns.push(column);
    }
    let primary = create.indexes.iter().find(|spec| spec.primary);
    // Rows may share a key that is looked at later: it does not hold them.
    let (holding, waiting) = (primary.filter(|spec| !spec.deferrable), primary.filter(|spec| spec.deferrable));
    for wanted in waiting.iter().flat_map(|spec| &spec.columns) {
        if let Some(column) = table.columns.iter_mut().find(|column| column.name == wanted.name) {
            column.nullable = false;
        }
    }
    let is_inherited = parent.as_ref().is_some_and(|parent| parent.primary_key().is_some());
    if primary.is_some() && is_inherited {
        let message = format!("multiple primary keys for table \"{}\" are not allowed", create.name);
        return Err(SqlError::new(SqlState::InvalidTableDefinition, message));
    }
    match holding.or(inherited.as_ref()) {
        Some(spec) => {
            for wanted in &spec.columns {
                if let Some(column) = table.columns.iter_mut().find(|column| column.name == wanted.name) {
                    column.nullable = false;
                }
            }
            let name = index_name(spec, &table, &taken, ctx);
            taken.push(name.clone());
            let spec = IndexSpec { constraint: true, ..spec.clone() };
            let index = build_index(&mut table, &spec, name, next, next + 1)?;
            table.indexes.push(index);
        }
        None => add_row_id(&mut table, next),
    }
    if let Some(spec) = &create.partition_by {
        partition::make(&mut table, spec, ctx)?;
    }
    next += 2;
    for spec in create.indexes.iter().filter(|spec| !spec.primary || spec.deferrable) {
        add_computed(&mut table, spec, ctx)?;
        let name = index_name(spec, &table, &taken, ctx);
        if ctx.change.snapshot().name_owner(schema, &name).is_some() || taken.contains(&name) {
            return Err(SqlError::new(SqlState::DuplicateTable, format!("relation \"{name}\" already exists")));
        }
        taken.push(name.clone());
        let index = build_index(&mut table, spec, name, next, next + 1)?;
        partition::check_unique(&table, &index)?;
        table.indexes.push(index);
        next += 2;
    }
    for spec in &create.checks {
        let check = build_check(&table, spec, next);
        table.checks.push(check);
        next += 1;
    }
    ctx.put_table(table);
    ctx.grant_defaults(id, ObjectKind::Table, schema, ctx.user);
    bind_all(&ctx.table(id)?, ctx)?;
    for spec in &create.foreign_keys {
        constraint::add_foreign_key(&ctx.table(id)?, spec, ctx).await?;
    }
    if let Some(of) = &create.partition_of {
        partition::attach(of.parent.id, id, &of.bound, true, ctx).await?;
    }
    ctx.table(id).map(Some)
}

/// Every stored expression must bind against the table as it is now.
pub(super) fn bind_all(table: &Arc<Table>, ctx: &DdlContext<'_>) -> SqlResult<()> {
    for check in &table.checks {
        let bound = ctx.bind(&check.expr, table)?;
        if !bound.ty().same_base(&SqlType::Bool) {
            return Err(SqlError::new(
                SqlState::DatatypeMismatch,
                format!("argument of CHECK must be type boolean, not type {}", bound.ty()),
            ));
        }
    }
    ctx.plan(|context| {
        for position in 0..table.columns.len() {
            plan::column_default(table, position, context)?;
        }
        check_rules(table, &*plan::row_rules(table, context)?)
    })
}

/// What is computed from a row and kept stays what it was: it may depend on the row's own columns alone.
fn check_rules(table: &Table, rules: &plan::plan::RowRules) -> SqlResult<()> {
    let refuse = |message: String| Err(SqlError::new(SqlState::InvalidObjectDefinition, message));
    let is_generated = |at: &usize| {
        let column = &table.columns[*at];
        !column.hidden && matches!(column.default, Some(ColumnDefault::Stored(_)))
    };
    for (position, expr) in &rules.generated {
        if table.columns[*position].hidden {
            if !expr.is_immutable() {
                return refuse("functions in index expression must be marked IMMUTABLE".into());
            }
            continue;
        }
        if let Some(other) = expr.columns_used().into_iter().find(is_generated) {
            let name = &table.columns[other].name;
            let message = format!("cannot use generated column \"{name}\" in column generation expression");
            return Err(SqlError::new(SqlState::InvalidObjectDefinition, message)
                .with_detail("A generated column cannot reference another generated column."));
        }
        if !expr.is_immutable() {
            return refuse("generation expression is not immutable".into());
        }
    }
    if rules.predicates.iter().flatten().any(|predicate| !predicate.is_immutable()) {
        return refuse("functions in index predicate must be marked IMMUTABLE".into());
    }
    Ok(())
}

pub(super) fn add_row_id(table: &mut Table, oid: u32) {
    // A partitioned table has it whatever its primary key is.
    let known = table.row_id_position().map(|at| table.columns[at].id);
    let id = known.unwrap_or(table.next_column);
    if known.is_none() {
        table.next_column = id.next();
        table.columns.push(Column {
            id,
            name: ROW_ID_COLUMN.into(),
            ty: SqlType::Int8,
            domain: None,
            nullable: false,
            default: None,
            missing: Datum::Null,
            hidden: true,
        });
    }
    table.indexes.push(Index {
        id: PRIMARY_INDEX,
        oid,
        name: String::new(),
        unique: true,
        nulls_not_distinct: false,
        columns: vec![IndexColumn { column: id, direction: Direction::Asc, nulls: NullsOrder::Last }],
        included: Vec::new(),
        predicate: None,
        constraint: None,
        details: catalog::IndexDetails::default(),
    });
    table.next_index = table.next_index.max(PRIMARY_INDEX.next());
}

pub(super) fn build_check(table: &Table, spec: &CheckSpec, oid: u32) -> Check {
    let mentioned: Vec<&String> = spec.columns.iter().filter(|name| table.column_named(name).is_some()).collect();
    let name = spec.name.clone().unwrap_or_else(|| {
        let base = match &mentioned[..] {
            [only] => format!("{}_{only}_check", table.name),
            _ => format!("{}_check", table.name),
        };
        let mut name = base.clone();
        let mut number = 0;
        while table.checks.iter().any(|check| check.name == name) {
            number += 1;
            name = format!("{base}{number}");
        }
        name
    });
    let columns = spec
        .columns
        .iter()
        .filter_map(|name| table.column_named(name).map(|(_, column)| column.id))
        .collect();
    Check { oid, name, expr: spec.expr.clone(), columns, validated: !spec.not_valid }
}

/// An index of a table, and of its partitions.
pub(super) async fn index_of_all(
    table: &Arc<Table>,
    spec: &IndexSpec,
    if_not_exists: bool,
    only: bool,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    let before = ctx.table(table.id)?;
    index(table, spec, if_not_exists, ctx).await?;
    alter::follow_index(&before, only, ctx).await
}

pub(super) async fn index(
    table: &Arc<Table>,
    spec: &IndexSpec,
    if_not_exists: bool,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    let table = ctx.table(table.id)?;
    let name = index_name(spec, &table, &[], ctx);
    if ctx.change.snapshot().name_owner(table.schema, &name).is_some() {
        if if_not_exists {
            ctx.exists_already(SqlState::DuplicateTable, format_args!("relation \"{name}\""));
            return Ok(());
        }
        ctx.check_name_free(table.schema, &name)?;
    }
    let oid = ctx.new_ids(2).await?;
    let mut changed = (*table).clone();
    // Not merely the next of the table's: an attempt that was rolled back may have left entries under that.
    changed.next_index = changed.next_index.max(IndexId::new(oid));
    let computes = add_computed(&mut changed, spec, ctx)?;
    let index = build_index(&mut changed, spec, name, oid, oid + 1)?;
    partition::check_unique(&changed, &index)?;
    changed.indexes.push(index);
    if computes {
        // The rows get the new column.
        return rewrite(&table, changed, None, ctx).await;
    }
    ctx.put_table(changed);
    let table = ctx.table(table.id)?;
    bind_all(&table, ctx)?;
    fill_index(&table, table.indexes.len() - 1, ctx).await
}

/// Hidden columns for the expressions of an index that the table does not hold yet; whether there were such.
fn add_computed(table: &mut Table, spec: &IndexSpec, ctx: &DdlContext<'_>) -> SqlResult<bool> {
    let mut computes = false;
    for wanted in &spec.columns {
        let Some((text, _)) = &wanted.expr else { continue };
        if computed_column(table, text).is_some() {
            continue;
        }
        let bound = ctx.bind(text, table)?;
        if !bound.is_immutable() {
            return Err(SqlError::new(
                SqlState::InvalidObjectDefinition,
                "functions in index expression must be marked IMMUTABLE",
            ));
        }
        let id = table.next_column;
        table.next_column = id.next();
        table.columns.push(Column {
            id,
            name: wanted.name.clone(),
            ty: bound.ty(),
            domain: None,
            nullable: true,
            default: Some(ColumnDefault::Stored(text.clone())),
            missing: Datum::Null,
            hidden: true,
        });
        computes = true;
    }
    Ok(computes)
}

pub(super) async fn database(name: &str, owner: Option<&str>, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    if ctx.change.snapshot().database(name).is_some() {
        return Err(SqlError::new(SqlState::DuplicateDatabase, format!("database \"{name}\" already exists")));
    }
    let id = ctx.new_ids(2).await?;
    let owner = owner.map_or(Ok(ctx.user), |owner| super::grant::role_named(owner, ctx))?;
    ctx.change.put(ctx.txn, Descriptor::Database(Database { id, name: name.into(), owner }));
    let schema = Schema { id: id + 1, database: id, name: "public".into(), owner: DATABASE_OWNER_ROLE, comment: None };
    ctx.change.put(ctx.txn, Descriptor::Schema(schema));
    Ok(())
}

pub(super) async fn schema(
    name: &str,
    if_not_exists: bool,
    owner: Option<&str>,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    if ctx.change.snapshot().schema(ctx.database, name).is_some() {
        if if_not_exists {
            ctx.exists_already(SqlState::DuplicateSchema, format_args!("schema \"{name}\""));
            return Ok(());
        }
        return Err(SqlError::new(SqlState::DuplicateSchema, format!("schema \"{name}\" already exists")));
    }
    if name.starts_with("pg_") {
        return Err(SqlError::new(SqlState::ReservedName, format!("unacceptable schema name \"{name}\""))
            .with_detail("The prefix \"pg_\" is reserved for system schemas."));
    }
    let id = ctx.new_ids(1).await?;
    let owner = owner.map_or(Ok(ctx.user), |owner| super::grant::role_named(owner, ctx))?;
    let schema = Schema { id, database: ctx.database, name: name.into(), owner, comment: None };
    ctx.change.put(ctx.txn, Descriptor::Schema(schema));
    ctx.grant_defaults(id, ObjectKind::Schema, 0, owner);
    Ok(())
}

pub(super) async fn sequence(
    schema: u32,
    name: &str,
    if_not_exists: bool,
    options: &SequenceOptions,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    if ctx.change.snapshot().name_owner(schema, name).is_some() {
        if if_not_exists {
            ctx.exists_already(SqlState::DuplicateTable, format_args!("relation \"{name}\""));
            return Ok(());
        }
        ctx.check_name_free(schema, name)?;
    }
    ctx.check_type_name_free(schema, name)?;
    let id = ctx.new_ids(1).await?;
    let owned_by = super::sequence::owner(options, (schema, ctx.user), ctx)?.flatten();
    let made = new_sequence(id, schema, name.into(), ctx.user, options, owned_by)?;
    ctx.change.put(ctx.txn, Descriptor::Sequence(made));
    ctx.grant_defaults(id, ObjectKind::Sequence, schema, ctx.user);
    Ok(())
}
