//! CREATE, ALTER and DROP of functions, procedures and aggregates.

use std::sync::Arc;

use catalog::privilege::ObjectKind;
use catalog::{CatalogSnapshot, Descriptor, Relation, Routine, RoutineKind, RoutineParameter, StoredType, Table, Trigger};
use plan::statement::AlterRoutine;
use plan::{Expr, PlanContext};
use ::types::{ParameterMode, SqlError, SqlResult, SqlState};

use super::{DdlContext, drop::drop_relation, trigger};

/// As messages name it: `function f(integer)`.
pub(super) fn shown(routine: &Routine, ctx: &DdlContext<'_>) -> String {
    let kind = match routine.kind {
        // As in PostgreSQL, an aggregate is a function to messages about dependencies.
        RoutineKind::Function | RoutineKind::Aggregate => "function",
        RoutineKind::Procedure => "procedure",
    };
    let inputs = routine.input_types();
    let find = |catalog: &CatalogSnapshot, schema| catalog.routine(schema, &routine.name, &inputs).map(|it| it.id);
    let signature = ctx.change.snapshot().signature(routine).replace(", ", ",");
    format!("{kind} {}", ctx.shown(routine.schema, &signature, ctx.is_visible(routine.id, find)))
}

fn routine_of(id: u32, ctx: &DdlContext<'_>) -> SqlResult<Routine> {
    ctx.change.snapshot().routine_by_id(id).map(|it| Routine::clone(it)).ok_or_else(|| {
        SqlError::new(SqlState::UndefinedFunction, format!("function with OID {id} does not exist"))
    })
}

fn exists(name: &str) -> SqlError {
    let message = format!("function \"{name}\" already exists with same argument types");
    SqlError::new(SqlState::DuplicateFunction, message)
}

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::InvalidFunctionDefinition, message)
}

pub(super) async fn create(routine: &Routine, or_replace: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let mut made = routine.clone();
    let known = ctx.change.snapshot().routine(made.schema, &made.name, &made.input_types()).cloned();
    match known {
        Some(_) if !or_replace => return Err(exists(&made.name)),
        Some(known) => {
            check_replaced(&known, &made, ctx)?;
            (made.id, made.owner) = (known.id, known.owner);
            made.comment.clone_from(&known.comment);
        }
        None => {
            made.id = ctx.new_ids(1).await?;
            made.owner = ctx.user;
            ctx.grant_defaults(made.id, ObjectKind::Routine, made.schema, made.owner);
        }
    }
    ctx.change.put(ctx.txn, Descriptor::Routine(made));
    Ok(())
}

/// What CREATE OR REPLACE may not change.
fn check_replaced(known: &Routine, made: &Routine, ctx: &DdlContext<'_>) -> SqlResult<()> {
    if known.kind != made.kind {
        let kind = match known.kind {
            RoutineKind::Procedure => "procedure",
            RoutineKind::Function => "function",
            RoutineKind::Aggregate => "ordinary aggregate function",
        };
        let article = if known.kind == RoutineKind::Aggregate { "an" } else { "a" };
        return Err(SqlError::new(SqlState::WrongObjectType, "cannot change routine kind")
            .with_detail(format!("\"{}\" is {article} {kind}.", known.name)));
    }
    let (kind, drop) = match known.kind {
        RoutineKind::Procedure => ("procedure", "DROP PROCEDURE"),
        RoutineKind::Function => ("function", "DROP FUNCTION"),
        RoutineKind::Aggregate => ("function", "DROP AGGREGATE"),
    };
    let hint = format!("Use {drop} {} first.", ctx.change.snapshot().signature(known));
    if known.returns != made.returns || known.returns_set != made.returns_set {
        let message = match known.kind {
            RoutineKind::Procedure => "cannot change whether a procedure has output parameters",
            RoutineKind::Function | RoutineKind::Aggregate => "cannot change return type of existing function",
        };
        return Err(invalid(message).with_hint(hint));
    }
    let outputs = |routine: &Routine| -> Vec<(String, StoredType)> {
        routine.outputs().map(|it| (it.name.clone(), it.ty)).collect()
    };
    if made.returns == StoredType::RECORD && outputs(known) != outputs(made) {
        return Err(invalid(format!("cannot change return type of existing {kind}"))
            .with_detail("Row type defined by OUT parameters is different.")
            .with_hint(hint));
    }
    let inputs = |routine: &Routine| -> Vec<RoutineParameter> { routine.inputs().cloned().collect() };
    for (known, made) in inputs(known).iter().zip(&inputs(made)) {
        if !known.name.is_empty() && known.name != made.name {
            return Err(invalid(format!("cannot change name of input parameter \"{}\"", known.name)).with_hint(hint));
        }
        if known.default.is_some() && made.default.is_none() {
            return Err(invalid("cannot remove parameter defaults from existing function").with_hint(hint));
        }
        debug_assert!(made.mode != ParameterMode::Out, "inputs are compared");
    }
    Ok(())
}

pub(super) fn alter(id: u32, change: &AlterRoutine, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let mut routine = routine_of(id, ctx)?;
    match change {
        AlterRoutine::RenameTo(name) => {
            if ctx.change.snapshot().routine(routine.schema, name, &routine.input_types()).is_some() {
                let schema = ctx.change.snapshot().schema_by_id(routine.schema).map_or("", |schema| &schema.name);
                let signature = ctx.change.snapshot().signature_of(name, &routine.input_types());
                let message = format!("function {signature} already exists in schema \"{schema}\"");
                return Err(SqlError::new(SqlState::DuplicateFunction, message));
            }
            check_not_named(&routine, ctx)?;
            routine.name.clone_from(name);
        }
        AlterRoutine::SetSchema(schema) => {
            if routine.schema == *schema {
                return Ok(());
            }
            if ctx.change.snapshot().routine(*schema, &routine.name, &routine.input_types()).is_some() {
                let name = ctx.change.snapshot().schema_by_id(*schema).map_or("", |schema| &schema.name);
                let signature = ctx.change.snapshot().signature(&routine);
                let message = format!("function {signature} already exists in schema \"{name}\"");
                return Err(SqlError::new(SqlState::DuplicateFunction, message));
            }
            check_not_named(&routine, ctx)?;
            routine.schema = *schema;
        }
        AlterRoutine::OwnerTo(owner) => {
            let owner = super::grant::role_named(owner, ctx)?;
            return super::grant::give(id, owner, ctx);
        }
        AlterRoutine::Become { changed, .. } => {
            let Routine { schema, name, owner, comment, .. } = routine;
            routine = Routine { schema, name, owner, comment, ..Routine::clone(changed) };
        }
    }
    ctx.change.put(ctx.txn, Descriptor::Routine(routine));
    Ok(())
}

/// Stored text names a routine as it was written: where it does, the routine keeps its name.
fn check_not_named(routine: &Routine, ctx: &DdlContext<'_>) -> SqlResult<()> {
    match dependents(routine.id, ctx)?.iter().find(|it| it.names_it()) {
        None => Ok(()),
        Some(dependent) => {
            let message = format!("cannot rename or move {} because {} uses it", shown(routine, ctx), dependent.shown());
            Err(SqlError::not_supported(message).with_hint("Drop what uses it first, and make it anew."))
        }
    }
}

/// What a routine cannot be dropped without.
enum Dependent {
    /// What it is, and its name.
    View { id: u32, shown: String },
    Aggregate { id: u32, shown: String },
    Default { table: Arc<Table>, column: String },
    /// Which calls it, or names it in WHEN.
    Trigger { table: Arc<Table>, oid: u32, shown: String, names_it: bool },
    Policy { table: Arc<Table>, oid: u32, shown: String },
}

impl Dependent {
    fn shown(&self) -> String {
        match self {
            Self::View { shown, .. } | Self::Aggregate { shown, .. } => shown.clone(),
            Self::Default { table, column } => format!("default value for column {column} of table {}", table.name),
            Self::Trigger { shown, .. } | Self::Policy { shown, .. } => shown.clone(),
        }
    }

    /// Whether its text does.
    fn names_it(&self) -> bool {
        match self {
            Self::View { .. } | Self::Default { .. } | Self::Policy { .. } => true,
            Self::Trigger { names_it, .. } => *names_it,
            Self::Aggregate { .. } => false,
        }
    }
}

fn calls(expr: &Expr, id: u32) -> bool {
    expr.any(&mut |expr| matches!(expr, Expr::Routine(call) if call.routine.id == id))
}

fn dependents(id: u32, ctx: &DdlContext<'_>) -> SqlResult<Vec<Dependent>> {
    let Some(name) = ctx.change.snapshot().routine_by_id(id).map(|routine| routine.name.clone()) else {
        return Ok(Vec::new());
    };
    let mut relations: Vec<&Relation> = ctx.change.snapshot().relations_of(ctx.database).collect();
    relations.sort_unstable_by_key(|relation| relation.id());
    let mut found = Vec::new();
    for relation in relations {
        match relation {
            relation if relation.depends_on().contains(&id) => {
                let shown = format!("{} {}", relation.kind(), relation.name());
                found.push(Dependent::View { id: relation.id(), shown });
            }
            Relation::Table(table) => {
                for (at, column) in table.visible_columns() {
                    let Some(catalog::ColumnDefault::Expr(text)) = &column.default else { continue };
                    // Only what has the name at all is looked at. What cannot be read counts as a user of it.
                    let uses = text.to_lowercase().contains(&name.to_lowercase())
                        && ctx
                            .plan(|context: &PlanContext<'_>| plan::column_default(table, at, context))
                            .map_or(true, |expr| calls(&expr, id));
                    if uses {
                        found.push(Dependent::Default { table: table.clone(), column: column.name.clone() });
                    }
                }
            }
            _ => {}
        }
    }
    let consists_of = |routine: &Routine| routine.aggregate.as_ref().is_some_and(|it| it.routines().any(|part| part == id));
    let mut aggregates: Vec<&Arc<Routine>> = ctx.change.snapshot().routines().filter(|it| consists_of(it)).collect();
    aggregates.sort_unstable_by_key(|it| it.id);
    found.extend(aggregates.into_iter().map(|it| Dependent::Aggregate { id: it.id, shown: shown(it, ctx) }));
    let names_it = |table: &Arc<Table>, trigger: &Trigger| {
        let Some(text) = &trigger.condition else { return false };
        text.to_lowercase().contains(&name.to_lowercase())
            && ctx
                .plan(|context: &PlanContext<'_>| plan::trigger_condition(table, text, context))
                .map_or(true, |expr| calls(&expr, id))
    };
    let uses = |table: &Arc<Table>, trigger: &Trigger| trigger.routine == id || names_it(table, trigger);
    for (table, trigger) in trigger::triggers_where(uses, ctx) {
        let (shown, names_it) = (trigger::shown(&trigger, &table, ctx), names_it(&table, &trigger));
        found.push(Dependent::Trigger { table, oid: trigger.oid, shown, names_it });
    }
    for (table, policy) in super::policy::policies_over(id, ctx) {
        let shown = super::policy::shown(&policy, &table, ctx);
        found.push(Dependent::Policy { table, oid: policy.oid, shown });
    }
    Ok(found)
}

pub(super) fn drop_routines(
    ids: &[u32],
    missing: &[String],
    cascade: bool,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    for notice in missing {
        ctx.notice(notice.as_str());
    }
    for id in ids {
        drop_one(*id, cascade, ctx)?;
    }
    Ok(())
}

pub(super) fn drop_one(id: u32, cascade: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let Some(routine) = ctx.change.snapshot().routine_by_id(id).cloned() else { return Ok(()) };
    let what = shown(&routine, ctx);
    let dependents = dependents(id, ctx)?;
    if !cascade && !dependents.is_empty() {
        let lines: Vec<String> = dependents.iter().map(|it| format!("{} depends on {what}", it.shown())).collect();
        let message = format!("cannot drop {what} because other objects depend on it");
        return Err(SqlError::new(SqlState::DependentObjectsStillExist, message)
            .with_detail(lines.join("\n"))
            .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
    }
    for dependent in dependents {
        ctx.notice(format!("drop cascades to {}", dependent.shown()));
        match dependent {
            Dependent::View { id, .. } if ctx.change.snapshot().relation_by_id(id).is_some() => {
                drop_relation(id, &[], true, ctx)?;
            }
            Dependent::View { .. } => {}
            Dependent::Aggregate { id, .. } => drop_one(id, true, ctx)?,
            Dependent::Default { table, column } => {
                let mut changed = Table::clone(&*ctx.table(table.id)?);
                for column in changed.columns.iter_mut().filter(|known| known.name == column) {
                    column.default = None;
                }
                ctx.put_table(changed);
            }
            Dependent::Trigger { table, oid, .. } => {
                trigger::remove(table.id, oid, ctx);
            }
            Dependent::Policy { table, oid, .. } => {
                super::policy::remove(table.id, oid, ctx);
            }
        }
    }
    ctx.change.remove(ctx.txn, id);
    Ok(())
}

/// The routines that take or return what a predicate holds for.
fn routines_over(is_meant: impl Fn(StoredType) -> bool, ctx: &DdlContext<'_>) -> Vec<Arc<Routine>> {
    let uses = |routine: &&Arc<Routine>| {
        is_meant(routine.returns)
            || routine.parameters.iter().any(|parameter| is_meant(parameter.ty))
            || routine.aggregate.as_ref().is_some_and(|it| it.states().any(&is_meant))
    };
    let mut found: Vec<Arc<Routine>> = ctx.change.snapshot().routines().filter(uses).cloned().collect();
    found.sort_unstable_by_key(|routine| routine.id);
    found
}

/// Routines over the rows of a relation, or the values of a type, that is going: they forbid it, or go with it.
pub(super) fn release_routines(
    what: &str,
    is_meant: impl Fn(StoredType) -> bool,
    cascade: bool,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    let found = routines_over(is_meant, ctx);
    if let (false, Some(first)) = (cascade, found.first()) {
        let message = format!("cannot drop {what} because other objects depend on it");
        let ty = what.split_once(' ').map_or(what, |(_, name)| name);
        return Err(SqlError::new(SqlState::DependentObjectsStillExist, message)
            .with_detail(format!("{} depends on type {ty}", shown(first, ctx)))
            .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
    }
    for routine in found {
        ctx.notice(format!("drop cascades to {}", shown(&routine, ctx)));
        drop_one(routine.id, true, ctx)?;
    }
    Ok(())
}

pub(super) fn comment(id: u32, text: Option<String>, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let mut routine = routine_of(id, ctx)?;
    routine.comment = text;
    ctx.change.put(ctx.txn, Descriptor::Routine(routine));
    Ok(())
}
