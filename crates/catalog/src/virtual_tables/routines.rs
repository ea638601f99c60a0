//! Routines by users: their rows of `pg_proc` and `pg_aggregate`, and what `pg_get_functiondef` and its kin say of them.

use ::types::{ParameterMode, SqlError, SqlResult, SqlState, SqlType, quote_identifier};

use super::functions::INTERNAL_LANGUAGE;
use super::privileges::acl_of;
use super::row::{Rows, Vector, row};
use super::scope::Scope;
use crate::aggregate::Transitions;
use crate::routine::{
    REFCURSOR_OID, Routine, RoutineKind, RoutineParameter, RoutineVolatility, StoredType,
    TRIGGER_OID,
};
use crate::view::{CatalogView, Class};

fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The oid of a type as `pg_proc` has it. The rows of a relation have none of their own here: they are records.
fn oid_of(ty: StoredType) -> u32 {
    match ty {
        StoredType::Oid { oid, .. } => oid,
        StoredType::Rows { is_array: false, .. } => 2_249,
        StoredType::Rows { is_array: true, .. } => 2_287,
    }
}

/// A type as a signature shows it.
fn shown_type(view: &CatalogView, ty: StoredType) -> String {
    match ty {
        StoredType::Oid { oid: REFCURSOR_OID | TRIGGER_OID, .. } => view.catalog.shown_type(ty),
        StoredType::Oid { oid, .. } => view.format_type(oid, None),
        StoredType::Rows { relation, is_array } => {
            let relation = view.catalog.relation_by_id(relation);
            let name = relation.map_or_else(|| "???".to_owned(), |it| view.shown(Class::Relation(it)));
            if is_array { format!("{name}[]") } else { name }
        }
    }
}

fn default_of(view: &CatalogView, parameter: &RoutineParameter) -> Option<String> {
    let text = parameter.default.as_deref()?;
    // A literal says of which type it is.
    let is_literal = text.len() > 1 && text.starts_with('\'') && text.ends_with('\'') && !text[1..text.len() - 1].contains('\'');
    Some(if is_literal { format!("{text}::{}", shown_type(view, parameter.ty)) } else { text.to_owned() })
}

pub(super) fn pg_proc(view: &Scope<'_>, rows: &mut Rows) {
    for routine in view.routines() {
        let inputs: Vec<u32> = routine.inputs().map(|it| oid_of(it.ty)).collect();
        let has_modes = routine.parameters.iter().any(|it| it.mode != ParameterMode::In);
        let has_names = routine.parameters.iter().any(|it| !it.name.is_empty());
        let variadic = routine.parameters.iter().find(|it| it.mode == ParameterMode::Variadic);
        let element = variadic.and_then(|it| view.catalog.stored_type(it.ty)?.element()).map_or(0, |ty| ty.oid());
        let defaults: Vec<String> = routine.parameters.iter().filter_map(|it| default_of(view, it)).collect();
        let settings: Vec<String> = routine.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        row!(rows, {
            oid: routine.id,
            proname: routine.name.as_str(),
            pronamespace: routine.schema,
            proowner: routine.owner,
            prolang: if routine.aggregate.is_some() { INTERNAL_LANGUAGE } else { routine.language.oid() },
            procost: f64::from(routine.cost),
            prorows: f64::from(routine.rows),
            provariadic: element,
            prosupport: 0,
            prokind: routine.kind.letter(),
            prosecdef: routine.security_definer,
            proleakproof: routine.leakproof,
            proisstrict: routine.strict,
            proretset: routine.returns_set,
            provolatile: routine.volatility.letter(),
            proparallel: routine.parallel,
            pronargs: inputs.len(),
            pronargdefaults: defaults.len(),
            prorettype: oid_of(routine.returns),
            proargtypes: Vector(inputs),
            proallargtypes: has_modes.then(|| routine.parameters.iter().map(|it| oid_of(it.ty)).collect::<Vec<u32>>()),
            proargmodes: has_modes.then(|| routine.parameters.iter().map(|it| it.mode.letter()).collect::<Vec<char>>()),
            proargnames: has_names.then(|| routine.parameters.iter().map(|it| it.name.as_str()).collect::<Vec<&str>>()),
            proargdefaults: (!defaults.is_empty()).then(|| defaults.join(", ")),
            prosrc: if routine.aggregate.is_some() { "aggregate_dummy" } else { routine.body.as_str() },
            proacl: acl_of(view, routine.id),
            proconfig: (!settings.is_empty()).then_some(settings),
        });
    }
}

pub(super) fn pg_aggregate(view: &Scope<'_>, rows: &mut Rows) {
    for routine in view.routines() {
        let Some(aggregate) = &routine.aggregate else { continue };
        let catalog = &view.catalog;
        let inputs: Option<Vec<SqlType>> = routine.inputs().map(|it| catalog.stored_type(it.ty)).collect();
        let inputs = inputs.unwrap_or_default();
        let plain = &aggregate.plain;
        let moving = aggregate.moving.as_ref().map(|(moving, _)| moving);
        let state = |of: &Transitions| catalog.stored_type(of.state).unwrap_or(SqlType::Unknown);
        let with_inputs = |of: &Transitions| -> Vec<SqlType> { std::iter::once(state(of)).chain(inputs.iter().copied()).collect() };
        let last = |of: &Transitions| {
            let args = with_inputs(of);
            catalog.support_oid(of.last.as_ref(), if of.last_extra { &args } else { &args[..1] })
        };
        let inverse = aggregate.moving.as_ref().map(|(_, inverse)| inverse);
        let sort_operator = aggregate.sort_operator.as_deref().zip(inputs.first()).and_then(|(symbol, ty)| {
            builtins::resolve_binary_operator(symbol, Some(*ty), Some(*ty)).ok().map(|it| it.chosen.oid)
        });
        row!(rows, {
            aggfnoid: routine.id,
            aggkind: 'n',
            aggnumdirectargs: 0,
            aggtransfn: catalog.support_oid(Some(&plain.transition), &with_inputs(plain)),
            aggfinalfn: last(plain),
            aggcombinefn: catalog.support_oid(aggregate.combine.as_ref(), &[state(plain), state(plain)]),
            aggserialfn: 0,
            aggdeserialfn: 0,
            aggmtransfn: moving.map_or(0, |of| catalog.support_oid(Some(&of.transition), &with_inputs(of))),
            aggminvtransfn: moving.map_or(0, |of| catalog.support_oid(inverse, &with_inputs(of))),
            aggmfinalfn: moving.map_or(0, last),
            aggfinalextra: plain.last_extra,
            aggmfinalextra: moving.is_some_and(|of| of.last_extra),
            aggfinalmodify: plain.last_modify,
            aggmfinalmodify: moving.map_or('r', |of| of.last_modify),
            aggsortop: sort_operator.unwrap_or(0),
            aggtranstype: oid_of(plain.state),
            aggtransspace: plain.state_size,
            aggmtranstype: moving.map_or(0, |of| oid_of(of.state)),
            aggmtransspace: moving.map_or(0, |of| of.state_size),
            agginitval: plain.initial.as_deref(),
            aggminitval: moving.and_then(|of| of.initial.as_deref()),
        });
    }
}

/// The parameters as a declaration has them.
fn arguments(view: &CatalogView, routine: &Routine, with_defaults: bool) -> String {
    let shown = routine.parameters.iter().filter(|it| it.mode != ParameterMode::Table).map(|parameter| {
        let mode = match parameter.mode {
            ParameterMode::In if routine.kind == RoutineKind::Procedure => "IN ",
            ParameterMode::In | ParameterMode::Table => "",
            ParameterMode::Out => "OUT ",
            ParameterMode::InOut => "INOUT ",
            ParameterMode::Variadic => "VARIADIC ",
        };
        let name = match parameter.name.as_str() {
            "" => String::new(),
            name => format!("{} ", quote_identifier(name)),
        };
        let default = default_of(view, parameter).filter(|_| with_defaults);
        let default = default.map_or_else(String::new, |text| format!(" DEFAULT {text}"));
        format!("{mode}{name}{}{default}", shown_type(view, parameter.ty))
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// What stands after RETURNS; none for a procedure.
fn result(view: &CatalogView, routine: &Routine) -> Option<String> {
    if routine.kind == RoutineKind::Procedure {
        return None;
    }
    let columns: Vec<String> = routine
        .parameters
        .iter()
        .filter(|it| it.mode == ParameterMode::Table)
        .map(|it| format!("{} {}", quote_identifier(&it.name), shown_type(view, it.ty)))
        .collect();
    if !columns.is_empty() {
        return Some(format!("TABLE({})", columns.join(", ")));
    }
    let ty = shown_type(view, routine.returns);
    Some(if routine.returns_set { format!("SETOF {ty}") } else { ty })
}

fn definition(view: &CatalogView, routine: &Routine) -> String {
    let kind = if routine.kind == RoutineKind::Procedure { "PROCEDURE" } else { "FUNCTION" };
    let mut text = format!(
        "CREATE OR REPLACE {kind} {}.{}({})\n",
        quote_identifier(view.schema_name(routine.schema)),
        quote_identifier(&routine.name),
        arguments(view, routine, true)
    );
    if let Some(result) = result(view, routine) {
        text.push_str(&format!(" RETURNS {result}\n"));
    }
    text.push_str(&format!(" LANGUAGE {}\n", routine.language.name()));
    let mut options = String::new();
    match routine.volatility {
        RoutineVolatility::Volatile => {}
        RoutineVolatility::Stable => options.push_str(" STABLE"),
        RoutineVolatility::Immutable => options.push_str(" IMMUTABLE"),
    }
    match routine.parallel {
        's' => options.push_str(" PARALLEL SAFE"),
        'r' => options.push_str(" PARALLEL RESTRICTED"),
        _ => {}
    }
    for (is_so, word) in [
        (routine.strict, " STRICT"),
        (routine.security_definer, " SECURITY DEFINER"),
        (routine.leakproof, " LEAKPROOF"),
    ] {
        if is_so {
            options.push_str(word);
        }
    }
    if routine.cost != 100.0 {
        options.push_str(&format!(" COST {}", routine.cost));
    }
    if routine.returns_set && routine.rows != 1000.0 {
        options.push_str(&format!(" ROWS {}", routine.rows));
    }
    if !options.is_empty() {
        text.push_str(&options);
        text.push('\n');
    }
    for (name, value) in &routine.settings {
        let values: Vec<String> = match name.as_str() {
            // A list of names.
            "search_path" => {
                value.split(',').map(|it| quote_literal(&it.trim().trim_matches('"').replace("\"\"", "\""))).collect()
            }
            _ => vec![quote_literal(value)],
        };
        text.push_str(&format!(" SET {} TO {}\n", quote_identifier(name), values.join(", ")));
    }
    let mut tag = format!("${}", kind.to_lowercase());
    while routine.body.contains(&tag) {
        tag.push('x');
    }
    tag.push('$');
    text.push_str(&format!("AS {tag}{}{tag}\n", routine.body));
    text
}

fn find(view: &CatalogView, oid: u32) -> Option<&Routine> {
    view.catalog.routine_by_id(oid).map(|routine| &**routine)
}

pub(crate) fn routine_arguments(view: &CatalogView, oid: u32, with_defaults: bool) -> Option<String> {
    find(view, oid).map(|routine| arguments(view, routine, with_defaults))
}

pub(crate) fn routine_result(view: &CatalogView, oid: u32) -> Option<String> {
    result(view, find(view, oid)?)
}

/// # Errors
/// 42809 for an aggregate.
pub(crate) fn routine_definition(view: &CatalogView, oid: u32) -> SqlResult<Option<String>> {
    match find(view, oid) {
        Some(routine) if routine.kind == RoutineKind::Aggregate => {
            let message = format!("\"{}\" is an aggregate function", routine.name);
            Err(SqlError::new(SqlState::WrongObjectType, message))
        }
        found => Ok(found.map(|routine| definition(view, routine))),
    }
}

/// Its name, with the schema where the bare name means another; and the types of its inputs.
pub(crate) fn routine_name(view: &CatalogView, oid: u32, with_types: bool) -> Option<String> {
    let routine = find(view, oid)?;
    let name = quote_identifier(&routine.name);
    let name = match is_visible(view, oid) {
        Some(true) => name,
        _ => format!("{}.{name}", quote_identifier(view.schema_name(routine.schema))),
    };
    if !with_types {
        return Some(name);
    }
    let types: Vec<String> = routine.inputs().map(|it| shown_type(view, it.ty)).collect();
    Some(format!("{name}({})", types.join(",")))
}

/// Whether its bare name means it; none when there is no such routine.
pub(crate) fn is_visible(view: &CatalogView, oid: u32) -> Option<bool> {
    let routine = find(view, oid)?;
    let inputs = routine.input_types();
    let mut schemas = view.search_schemas().into_iter();
    let found = schemas.find_map(|schema| view.catalog.routine(schema, &routine.name, &inputs));
    Some(found.is_some_and(|found| found.id == oid))
}

/// The routines that a possibly qualified name means, those of all schemas of the path.
pub(crate) fn routines_named(view: &CatalogView, parts: &[String]) -> Vec<u32> {
    let of = |schema: u32, name: &str| view.catalog.routines_named(schema, name).map(|it| it.id).collect::<Vec<u32>>();
    match parts {
        [name] => view.search_schemas().into_iter().flat_map(|schema| of(schema, name)).collect(),
        [schema, name] => view.catalog.schema(view.database, schema).map_or_else(Vec::new, |it| of(it.id, name)),
        _ => Vec::new(),
    }
}
