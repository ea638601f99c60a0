//! CREATE, ALTER and DROP TRIGGER. The checks are PostgreSQL's, in its order.

use std::sync::Arc;

use ::types::{SqlError, SqlResult, SqlState};
use catalog::privilege::Need;
use catalog::{
    ColumnDefault, Commented, ConstraintTrigger, Relation, Routine, RoutineKind, Table, Trigger, TriggerEnabled,
    TriggerEvent, TriggerEvents, TriggerTiming, virtual_tables,
};
use sqlparser::ast;

use super::{ddl, find_index, of_table::Kind, types::stored_expr};
use crate::{
    PlanContext,
    bind::{condition_of, find_relation, fold, mentions, name_parts, no_relation, place_of, qualified_name},
    parse::{
        ParsedStatement, node_position,
        own::{ConstraintWord, CreateTrigger, Transition, TriggerChange},
    },
    statement::{CommentOn, Ddl, PreparedPlan},
};

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::InvalidObjectDefinition, message)
}

fn syntax(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::SyntaxError, message)
}

fn wrong_type(message: impl Into<String>, detail: &str) -> SqlError {
    SqlError::new(SqlState::WrongObjectType, message).with_detail(detail)
}

const TRIGGER: Kind = Kind { name: "trigger", drop_tag: "DROP TRIGGER" };

fn no_system_catalogs(name: &str) -> SqlError {
    let message = format!("permission denied: \"{name}\" is a system catalog");
    SqlError::new(SqlState::InsufficientPrivilege, message)
}

/// What stands where a trigger has its table.
enum On {
    Relation(Relation),
    Index(String),
    Catalog(String),
}

/// # Errors
/// 42P01 and 3F000.
fn on(name: &ast::ObjectName, context: &PlanContext<'_>) -> SqlResult<On> {
    let (schema, relation) = qualified_name(context, name)?;
    if let Some(found) = find_relation(context, schema.as_deref(), &relation)? {
        return Ok(On::Relation(found));
    }
    if find_index(context, name)?.is_some() {
        return Ok(On::Index(relation));
    }
    if virtual_tables::find(schema.as_deref().unwrap_or("pg_catalog"), &relation).is_some() {
        return Ok(On::Catalog(relation));
    }
    match schema {
        Some(name) if context.catalog.schema(context.database, &name).is_none() => {
            Err(SqlError::new(SqlState::InvalidSchemaName, format!("schema \"{name}\" does not exist")))
        }
        schema => Err(no_relation(schema.as_deref(), &relation)),
    }
}

/// The trigger of a table, or what is said where there is none: the name of what it was looked for on.
fn find(
    name: &ast::Ident,
    table: &ast::ObjectName,
    context: &PlanContext<'_>,
) -> SqlResult<Result<(Arc<Table>, Trigger), String>> {
    Ok(match on(table, context)? {
        On::Relation(relation) => {
            let found = relation.as_table().and_then(|it| Some((it.clone(), it.trigger_named(&fold(name))?.clone())));
            found.ok_or_else(|| relation.name().to_owned())
        }
        On::Index(name) | On::Catalog(name) => Err(name),
    })
}

pub(super) fn drop(
    name: &ast::Ident,
    table: &ast::ObjectName,
    if_exists: bool,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let made = |(table, trigger): (Arc<Table>, Trigger)| Ddl::DropTrigger { table: table.id, name: trigger.name };
    TRIGGER.drop(&fold(name), find(name, table, context), if_exists, made, context)
}

pub(super) fn alter(
    name: &ast::Ident,
    table: &ast::ObjectName,
    change: &TriggerChange,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    const TAG: &str = "ALTER TRIGGER";
    match on(table, context)? {
        On::Relation(Relation::Sequence(it)) => return Err(no_triggers_on(&it.name, "sequences")),
        On::Index(name) => return Err(no_triggers_on(&name, "indexes")),
        On::Catalog(name) => return Err(no_system_catalogs(&name)),
        On::Relation(Relation::Table(_) | Relation::View(_)) => {}
    }
    let (table, trigger) = find(name, table, context)?.map_err(|on| TRIGGER.missing(&fold(name), &on))?;
    let change = match change {
        TriggerChange::Rename(to) => Ddl::RenameTrigger { table: table.id, name: trigger.name, to: fold(to) },
        TriggerChange::Accepted => {
            context.notes.needs.always(Need::Owner(table.id));
            Ddl::Accepted
        }
    };
    Ok(ddl(change, TAG, context))
}

pub(super) fn comment(
    name: &ast::Ident,
    table: &ast::ObjectName,
    text: Option<&str>,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let (table, trigger) = find(name, table, context)?.map_err(|on| TRIGGER.missing(&fold(name), &on))?;
    let on = CommentOn::Part { relation: table.id, on: Commented::Part(trigger.oid) };
    Ok(ddl(Ddl::Comment { on, text: text.map(str::to_owned) }, "COMMENT", context))
}

fn no_triggers_on(name: &str, kinds: &str) -> SqlError {
    let detail = format!("This operation is not supported for {kinds}.");
    wrong_type(format!("relation \"{name}\" cannot have triggers"), &detail)
}

/// The events of a trigger, each once.
fn events(create: &CreateTrigger) -> SqlResult<TriggerEvents> {
    let mut found = TriggerEvents::default();
    for (event, word) in &create.events {
        if found.has(*event) {
            return Err(syntax(format!("duplicate trigger events specified at or near \"{word}\"")));
        }
        found = found.with(*event);
    }
    Ok(found)
}

/// What the words after the table of a constraint trigger come to.
fn deferrability(words: &[ConstraintWord]) -> SqlResult<ConstraintTrigger> {
    for end in 1..=words.len() {
        let has = |word| words[..end].contains(&word);
        if has(ConstraintWord::NotDeferrable) && has(ConstraintWord::InitiallyDeferred) {
            return Err(syntax("constraint declared INITIALLY DEFERRED must be DEFERRABLE"));
        }
        if has(ConstraintWord::NotDeferrable) && has(ConstraintWord::Deferrable)
            || has(ConstraintWord::InitiallyImmediate) && has(ConstraintWord::InitiallyDeferred)
        {
            return Err(syntax("conflicting constraint properties"));
        }
    }
    for (word, shown) in [(ConstraintWord::NotValid, "NOT VALID"), (ConstraintWord::NoInherit, "NO INHERIT")] {
        if words.contains(&word) {
            return Err(SqlError::not_supported(format!("TRIGGER constraints cannot be marked {shown}")));
        }
    }
    let initially_deferred = words.contains(&ConstraintWord::InitiallyDeferred);
    let deferrable = initially_deferred || words.contains(&ConstraintWord::Deferrable);
    Ok(ConstraintTrigger { deferrable, initially_deferred, from: None })
}

/// The table that a trigger of this kind may be on.
fn table_of(create: &CreateTrigger, events: TriggerEvents, context: &PlanContext<'_>) -> SqlResult<Arc<Table>> {
    match on(&create.table, context)? {
        On::Relation(Relation::Table(table)) if table.materialized.is_some() => {
            Err(no_triggers_on(&table.name, "materialized views"))
        }
        On::Relation(Relation::Table(table)) => {
            if create.timing == TriggerTiming::InsteadOf {
                let message = format!("\"{}\" is a table", table.name);
                return Err(wrong_type(message, "Tables cannot have INSTEAD OF triggers."));
            }
            Ok(table)
        }
        On::Relation(Relation::View(view)) => {
            let refuse = |detail: &str| Err(wrong_type(format!("\"{}\" is a view", view.name), detail));
            if create.timing != TriggerTiming::InsteadOf && create.for_each_row {
                return refuse("Views cannot have row-level BEFORE or AFTER triggers.");
            }
            if events.has(TriggerEvent::Truncate) {
                return refuse("Views cannot have TRUNCATE triggers.");
            }
            if create.timing == TriggerTiming::InsteadOf {
                check_instead_of(create)?;
            }
            if !create.transitions.is_empty() {
                return refuse("Triggers on views cannot have transition tables.");
            }
            Ok(view.as_table().clone())
        }
        On::Relation(Relation::Sequence(it)) => Err(no_triggers_on(&it.name, "sequences")),
        On::Index(name) => Err(SqlError::new(SqlState::WrongObjectType, format!("\"{name}\" is an index"))),
        On::Catalog(name) => Err(no_system_catalogs(&name)),
    }
}

fn check_instead_of(create: &CreateTrigger) -> SqlResult<()> {
    if !create.for_each_row {
        return Err(SqlError::not_supported("INSTEAD OF triggers must be FOR EACH ROW"));
    }
    if create.condition.is_some() {
        return Err(SqlError::not_supported("INSTEAD OF triggers cannot have WHEN conditions"));
    }
    if !create.columns.is_empty() {
        return Err(SqlError::not_supported("INSTEAD OF triggers cannot have column lists"));
    }
    Ok(())
}

/// The names of the old and the new transition table.
fn transition_tables(create: &CreateTrigger, events: TriggerEvents) -> SqlResult<(Option<String>, Option<String>)> {
    let (mut old, mut new) = (None, None);
    for Transition { is_new, is_table, name } in &create.transitions {
        if !is_table {
            let message = "ROW variable naming in the REFERENCING clause is not supported";
            return Err(SqlError::not_supported(message)
                .with_hint("Use OLD TABLE or NEW TABLE for naming transition tables."));
        }
        if create.timing != TriggerTiming::After {
            return Err(invalid("transition table name can only be specified for an AFTER trigger"));
        }
        if events.has(TriggerEvent::Truncate) {
            return Err(SqlError::not_supported("TRUNCATE triggers with transition tables are not supported"));
        }
        if events.iter().count() > 1 {
            let message = "transition tables cannot be specified for triggers with more than one event";
            return Err(SqlError::not_supported(message));
        }
        if !create.columns.is_empty() {
            let message = "transition tables cannot be specified for triggers with column lists";
            return Err(SqlError::not_supported(message));
        }
        let (word, of, other, place) = match is_new {
            true => ("NEW", "an INSERT or UPDATE", TriggerEvent::Insert, &mut new),
            false => ("OLD", "a DELETE or UPDATE", TriggerEvent::Delete, &mut old),
        };
        if !events.has(TriggerEvent::Update) && !events.has(other) {
            return Err(invalid(format!("{word} TABLE can only be specified for {of} trigger")));
        }
        if place.replace(fold(name)).is_some() {
            return Err(invalid(format!("{word} TABLE cannot be specified multiple times")));
        }
    }
    if old.is_some() && old == new {
        return Err(invalid("OLD TABLE name and NEW TABLE name cannot be the same"));
    }
    Ok((old, new))
}

/// WHEN as text, checked for what it may say at this trigger.
fn condition(
    create: &CreateTrigger,
    table: &Arc<Table>,
    events: TriggerEvents,
    parsed: &ParsedStatement,
    context: &PlanContext<'_>,
) -> SqlResult<Option<String>> {
    let Some(tree) = &create.condition else { return Ok(None) };
    condition_of(table, tree, Some(parsed.source.clone()), context)?;
    let text = stored_expr(tree, None, context);
    let named = mentions(table, &text, context)?;
    let (names_old, names_new) = (named.whole_old || !named.old.is_empty(), named.whole_new || !named.new.is_empty());
    let at = |error: SqlError, row: &str, is_meant: &dyn Fn(Option<&str>) -> bool| {
        let place = node_position(&parsed.source, tree).and_then(|start| {
            let rest: String = parsed.source.chars().skip(start - 1).collect();
            Some(start + place_of(&rest, row, is_meant)?)
        });
        match place {
            Some(place) => error.with_position(place),
            None => error,
        }
    };
    let cannot = |what: &str, which: &str, row: &str| {
        let error = invalid(format!("{what} trigger's WHEN condition cannot reference {which}"));
        Err(at(error, row, &|_| true))
    };
    if !create.for_each_row && (names_old || names_new) {
        return cannot("statement", "column values", if names_old { "old" } else { "new" });
    }
    if names_old && events.has(TriggerEvent::Insert) {
        return cannot("INSERT", "OLD values", "old");
    }
    if names_new && events.has(TriggerEvent::Delete) {
        return cannot("DELETE", "NEW values", "new");
    }
    if create.timing == TriggerTiming::Before {
        let is_generated = |at: usize| {
            let column = &table.columns[at];
            !column.hidden && matches!(column.default, Some(ColumnDefault::Stored(_)))
        };
        let refuse = |detail: String, column: Option<&str>| {
            let error = invalid("BEFORE trigger's WHEN condition cannot reference NEW generated columns");
            Err(at(error.with_detail(detail), "new", &|named| named == column))
        };
        if named.whole_new && (0..table.columns.len()).any(is_generated) {
            return refuse("A whole-row reference is used and the table contains generated columns.".into(), None);
        }
        if let Some(at) = named.new.iter().copied().find(|at| is_generated(*at)) {
            let name = &table.columns[at].name;
            return refuse(format!("Column \"{name}\" is a generated column."), Some(name.as_str()));
        }
    }
    Ok(Some(text))
}

/// The function that takes nothing and returns a trigger.
fn function(name: &ast::ObjectName, context: &PlanContext<'_>) -> SqlResult<Arc<Routine>> {
    let catalog = context.catalog;
    let (schema, bare) = qualified_name(context, name)?;
    let shown = name_parts(name)?.join(".");
    let no_trigger = || Err(invalid(format!("function {shown} must return type trigger")));
    let schemas = match &schema {
        None => catalog.search_schemas(context.database, context.search_path, context.user),
        Some(schema) => match catalog.schema(context.database, schema) {
            Some(schema) => vec![schema.id],
            None => {
                let message = format!("schema \"{schema}\" does not exist");
                return Err(SqlError::new(SqlState::InvalidSchemaName, message));
            }
        },
    };
    let may_be_builtin = schema.as_deref().is_none_or(|schema| schema == "pg_catalog");
    if may_be_builtin && builtins::functions(&bare).iter().any(|it| it.signature.args.is_empty()) {
        return no_trigger();
    }
    if let Some(routine) = catalog::text_search::trigger_function_named(&bare).filter(|_| may_be_builtin) {
        return Ok(Arc::clone(routine));
    }
    let mut found = schemas.into_iter().filter_map(|schema| catalog.routine(schema, &bare, &[]));
    match found.find(|routine| routine.kind == RoutineKind::Function) {
        Some(routine) if routine.is_trigger() => {
            context.notes.uses(routine.id);
            Ok(routine.clone())
        }
        Some(_) => no_trigger(),
        None => Err(SqlError::new(SqlState::UndefinedFunction, format!("function {shown}() does not exist"))),
    }
}

fn columns(create: &CreateTrigger, table: &Table) -> SqlResult<Vec<keys::ColumnId>> {
    let mut found = Vec::with_capacity(create.columns.len());
    for name in create.columns.iter().map(fold) {
        let Some((_, column)) = table.column_named(&name) else {
            let message = format!("column \"{name}\" of relation \"{}\" does not exist", table.name);
            return Err(SqlError::new(SqlState::UndefinedColumn, message));
        };
        if found.contains(&column.id) {
            return Err(SqlError::new(SqlState::DuplicateColumn, format!("column \"{name}\" specified more than once")));
        }
        found.push(column.id);
    }
    Ok(found)
}

/// # Errors
/// 42710 where there is a trigger of the name that may not be replaced.
fn check_name(create: &CreateTrigger, name: &str, table: &Table) -> SqlResult<()> {
    let refuse = |what: &str| {
        let message = format!("trigger \"{name}\" for relation \"{}\" {what}", table.name);
        Err(SqlError::new(SqlState::DuplicateObject, message))
    };
    match table.trigger_named(name) {
        Some(_) if !create.or_replace => refuse("already exists"),
        Some(known) if known.constraint.is_some() => refuse("is a constraint trigger"),
        _ => Ok(()),
    }
}

pub(super) fn create(
    create: &CreateTrigger,
    parsed: &ParsedStatement,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    if create.or_replace && create.constraint.is_some() {
        return Err(SqlError::not_supported("CREATE OR REPLACE CONSTRAINT TRIGGER is not supported"));
    }
    let events = events(create)?;
    let mut constraint = create.constraint.as_deref().map(deferrability).transpose()?;
    let table = table_of(create, events, context)?;
    if let (Some(constraint), Some(from)) = (&mut constraint, &create.from) {
        constraint.from = Some(match on(from, context)? {
            On::Relation(found) => found.id(),
            On::Index(name) => {
                return Err(SqlError::new(SqlState::WrongObjectType, format!("\"{name}\" is an index")));
            }
            On::Catalog(name) => return Err(no_system_catalogs(&name)),
        });
    }
    if events.has(TriggerEvent::Truncate) {
        if create.for_each_row {
            return Err(SqlError::not_supported("TRUNCATE FOR EACH ROW triggers are not supported"));
        }
        if create.transitions.is_empty() {
            return Err(SqlError::not_supported("TRUNCATE triggers are not supported"));
        }
    }
    if create.for_each_row && !create.transitions.is_empty() {
        if table.is_partitioned() {
            let detail = "ROW triggers with transition tables are not supported on partitioned tables.";
            let message = format!("\"{}\" is a partitioned table", table.name);
            return Err(SqlError::not_supported(message).with_detail(detail));
        }
        if table.partition_parent().is_some() {
            return Err(SqlError::not_supported("ROW triggers with transition tables are not supported on partitions"));
        }
    }
    let (old_table, new_table) = transition_tables(create, events)?;
    let condition = condition(create, &table, events, parsed, context)?;
    let function = function(&create.function, context)?;
    let name = fold(&create.name);
    check_name(create, &name, &table)?;
    let trigger = Trigger {
        oid: 0,
        name,
        routine: function.id,
        timing: create.timing,
        for_each_row: create.for_each_row,
        events,
        columns: columns(create, &table)?,
        condition,
        arguments: create.arguments.clone(),
        old_table,
        new_table,
        constraint,
        enabled: TriggerEnabled::Origin,
    };
    let made = Ddl::CreateTrigger { table: table.id, trigger: Box::new(trigger), or_replace: create.or_replace };
    Ok(ddl(made, "CREATE TRIGGER", context))
}
