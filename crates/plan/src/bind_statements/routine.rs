//! Functions, procedures, CALL and DO.

use ::types::{ParameterMode, SqlError, SqlResult, SqlState, SqlType};
use catalog::privilege::{Need, PrivilegeSet};
use catalog::{
    Language, Routine, RoutineKind, RoutineParameter, RoutineVolatility, StoredType,
};
use sqlparser::ast;
use std::sync::Arc;

use super::{ddl, new_name, own, setting_text, types::stored_expr, utility};
use crate::{
    PlanContext,
    bind::{Binder, bind_type, fold, name_parts, qualified_name},
    parse::{
        ParsedStatement,
        own::{
            BodyText, Change, CreateRoutine, ParameterText, RoutineChange, RoutineName, RoutineOption, RoutineWord, TypeText,
        },
        position_of,
    },
    plan::PlanColumn,
    statement::{AlterRoutine, CommentOn, Ddl, PreparedPlan, RoutineBody, Utility},
};

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::InvalidFunctionDefinition, message)
}

/// The type that a routine takes or returns. Modifiers are dropped, as PostgreSQL does.
pub(super) fn stored_type(text: &TypeText, context: &PlanContext<'_>) -> SqlResult<StoredType> {
    match text {
        TypeText::OfColumn(name) => {
            let ty = crate::routine::column_type(&name_parts(name)?, context)?;
            Ok(StoredType::of(&ty).base())
        }
        TypeText::Named(name) => {
            if let Some(found) = pseudo_type(name) {
                return found;
            }
            match bind_type(name, context) {
                Ok(ty) => Ok(StoredType::of(&crate::routine::no_domain(ty)?).base()),
                Err(error) if error.code() == SqlState::UndefinedObject => {
                    Err(SqlError::new(SqlState::UndefinedObject, format!("type {name} does not exist")))
                }
                Err(error) => Err(error),
            }
        }
    }
}

/// Types of routines alone.
fn pseudo_type(name: &ast::DataType) -> Option<SqlResult<StoredType>> {
    let word = match name {
        ast::DataType::Custom(name, modifiers) if modifiers.is_empty() => match &name.0[..] {
            [part] => fold(part.as_ident()?),
            [schema, part] if fold(schema.as_ident()?) == "pg_catalog" => fold(part.as_ident()?),
            _ => return None,
        },
        // The parser knows some of them.
        other => other.to_string().to_ascii_lowercase(),
    };
    let refused = |what: &str| {
        let error = SqlError::not_supported(format!("{what} are not supported"));
        Some(Err(error))
    };
    let of = |ty: SqlType| Some(Ok(StoredType::of(&ty)));
    match word.as_str() {
        "void" => Some(Ok(StoredType::VOID)),
        "record" => Some(Ok(StoredType::RECORD)),
        "trigger" => Some(Ok(StoredType::TRIGGER)),
        "refcursor" => Some(Ok(StoredType::REFCURSOR)),
        "anyelement" => of(SqlType::AnyElement),
        "anyarray" => of(SqlType::AnyArray),
        "anynonarray" => of(SqlType::AnyNonArray),
        "anyenum" => of(SqlType::AnyEnum),
        "anyrange" => of(SqlType::AnyRange),
        "anymultirange" => of(SqlType::AnyMultiRange),
        "event_trigger" => refused("event triggers"),
        "anycompatible" | "anycompatiblearray" | "anycompatiblenonarray" | "anycompatiblerange"
        | "anycompatiblemultirange" => refused("routines over compatible types"),
        _ => None,
    }
}

/// The parameters, checked as PostgreSQL checks them, and the type that the outputs make.
fn parameters(
    create: &CreateRoutine,
    context: &PlanContext<'_>,
) -> SqlResult<(Vec<RoutineParameter>, Option<StoredType>)> {
    let plural = if create.kind == RoutineKind::Procedure { "procedures" } else { "functions" };
    let mut found: Vec<RoutineParameter> = Vec::with_capacity(create.parameters.len());
    let (mut has_variadic, mut has_default) = (false, false);
    for parameter in &create.parameters {
        let ty = stored_type(&parameter.ty, context)?;
        if parameter.is_set {
            return Err(invalid(format!("{plural} cannot accept set arguments")));
        }
        if ty == StoredType::VOID || ty == StoredType::TRIGGER {
            let shown = context.catalog.shown_type(ty);
            return Err(invalid(format!("SQL function arguments cannot have type {shown}")).into_plpgsql(create, &shown));
        }
        let is_input = parameter.mode.is_input();
        if has_variadic && is_input {
            return Err(invalid("VARIADIC parameter must be the last input parameter"));
        }
        if parameter.mode == ParameterMode::Variadic {
            has_variadic = true;
            let array = context.catalog.stored_type(ty);
            if !array.is_some_and(|ty| ty.is_array() || ty == SqlType::AnyArray) {
                return Err(invalid("VARIADIC parameter must be an array"));
            }
        }
        let name = parameter.name.as_ref().map(fold).unwrap_or_default();
        let is_pure_input = |mode: ParameterMode| matches!(mode, ParameterMode::In | ParameterMode::Variadic);
        let is_pure_output = |mode: ParameterMode| matches!(mode, ParameterMode::Out | ParameterMode::Table);
        let clashes = found.iter().any(|known| {
            let apart = is_pure_input(known.mode) && is_pure_output(parameter.mode)
                || is_pure_output(known.mode) && is_pure_input(parameter.mode);
            !name.is_empty() && known.name == name && !apart
        });
        if clashes {
            return Err(invalid(format!("parameter name \"{name}\" used more than once")));
        }
        let default = match &parameter.default {
            Some(_) if !is_input => {
                return Err(invalid("only input parameters can have default values"));
            }
            Some(tree) => {
                has_default = true;
                Some(stored_expr(tree, context.catalog.stored_type(ty), context))
            }
            None if has_default && is_input => {
                return Err(invalid("input parameters after one with a default value must also have defaults"));
            }
            None if has_default && parameter.mode == ParameterMode::Out && create.kind == RoutineKind::Procedure => {
                return Err(invalid("procedure OUT parameters cannot appear after one with a default value"));
            }
            None => None,
        };
        found.push(RoutineParameter { name, mode: parameter.mode, ty, default });
    }
    let mut outputs = found.iter().filter(|it| it.mode.is_output());
    let returns = match (outputs.next(), outputs.next()) {
        (None, _) => None,
        (Some(only), None) if create.kind == RoutineKind::Function => Some(only.ty),
        _ => Some(StoredType::RECORD),
    };
    Ok((found, returns))
}

trait IntoPlpgsql {
    fn into_plpgsql(self, create: &CreateRoutine, ty: &str) -> Self;
}

impl IntoPlpgsql for SqlError {
    /// The same refusal in the words of the routine's language.
    fn into_plpgsql(self, create: &CreateRoutine, ty: &str) -> Self {
        let is_plpgsql = create.options.iter().any(|option| {
            matches!(option, RoutineOption::Language(language) if fold(language) == "plpgsql")
        });
        match is_plpgsql {
            true => SqlError::not_supported(format!("PL/pgSQL functions cannot accept type {ty}")),
            false => self,
        }
    }
}

fn returned(
    create: &CreateRoutine,
    outputs: Option<StoredType>,
    context: &PlanContext<'_>,
) -> SqlResult<(StoredType, bool)> {
    match (&create.returns, outputs) {
        (Some((ty, is_set)), outputs) => {
            let ty = stored_type(ty, context)?;
            match outputs.filter(|wanted| *wanted != ty) {
                Some(wanted) => Err(invalid(format!(
                    "function result type must be {} because of OUT parameters",
                    context.catalog.shown_type(wanted)
                ))),
                None => Ok((ty, *is_set)),
            }
        }
        (None, Some(ty)) => Ok((ty, create.returns_table)),
        (None, None) if create.kind == RoutineKind::Procedure => Ok((StoredType::VOID, false)),
        (None, None) => Err(invalid("function result type must be specified")),
    }
}

/// What the options say, on top of what a routine is.
struct Options<'o> {
    language: Option<&'o ast::Ident>,
    body: Option<&'o BodyText>,
}

fn conflicting() -> SqlError {
    SqlError::new(SqlState::SyntaxError, "conflicting or redundant options")
}

/// A value of SET as one text.
fn setting_value(name: &str, values: &[ast::Expr]) -> String {
    let texts: Vec<String> = values.iter().map(setting_text).collect();
    match name {
        "search_path" | "temp_tablespaces" | "session_preload_libraries" | "local_preload_libraries" => {
            let quoted: Vec<String> = texts.iter().map(|text| ::types::quote_identifier(text)).collect();
            quoted.join(", ")
        }
        _ => texts.join(", "),
    }
}

fn apply<'o>(
    options: &'o [RoutineOption],
    routine: &mut Routine,
    context: &PlanContext<'_>,
) -> SqlResult<Options<'o>> {
    let mut found = Options { language: None, body: None };
    let mut seen: Vec<&'static str> = Vec::new();
    let is_procedure = routine.kind == RoutineKind::Procedure;
    for option in options {
        let (key, is_of_functions) = match option {
            RoutineOption::Language(_) => ("language", false),
            RoutineOption::Body(_) => ("as", false),
            RoutineOption::SecurityDefiner(_) => ("security", false),
            RoutineOption::Volatility(_) => ("volatility", true),
            RoutineOption::Strict(_) => ("strict", true),
            RoutineOption::Leakproof(_) => ("leakproof", true),
            RoutineOption::Parallel(_) => ("parallel", true),
            RoutineOption::Cost(_) => ("cost", true),
            RoutineOption::Rows(_) => ("rows", true),
            _ => ("", false),
        };
        if is_procedure && is_of_functions {
            return Err(invalid("invalid attribute in procedure definition"));
        }
        if !key.is_empty() && seen.contains(&key) {
            return Err(conflicting());
        }
        seen.push(key);
        match option {
            RoutineOption::Language(name) => found.language = Some(name),
            RoutineOption::Body(text) => found.body = Some(text),
            RoutineOption::Volatility(volatility) => routine.volatility = *volatility,
            RoutineOption::Strict(strict) => routine.strict = *strict,
            RoutineOption::SecurityDefiner(definer) => routine.security_definer = *definer,
            RoutineOption::Leakproof(leakproof) => routine.leakproof = *leakproof,
            RoutineOption::Parallel(word) => {
                routine.parallel = match fold(word).as_str() {
                    "safe" => 's',
                    "restricted" => 'r',
                    "unsafe" => 'u',
                    _ => {
                        let message = "parameter \"parallel\" must be SAFE, RESTRICTED, or UNSAFE";
                        return Err(SqlError::new(SqlState::SyntaxError, message));
                    }
                };
            }
            RoutineOption::Cost(cost) if *cost <= 0.0 => {
                return Err(SqlError::new(SqlState::InvalidParameterValue, "COST must be positive"));
            }
            RoutineOption::Cost(cost) => routine.cost = *cost as f32,
            RoutineOption::Rows(rows) if *rows <= 0.0 => {
                return Err(SqlError::new(SqlState::InvalidParameterValue, "ROWS must be positive"));
            }
            RoutineOption::Rows(_) if !routine.returns_set => {
                let message = "ROWS is not applicable when function does not return a set";
                return Err(SqlError::new(SqlState::InvalidParameterValue, message));
            }
            RoutineOption::Rows(rows) => routine.rows = *rows as f32,
            RoutineOption::Set { name, value } => {
                let name = name_parts(name)?.join(".");
                routine.settings.retain(|(known, _)| *known != name);
                if let Some(values) = value {
                    let value = setting_value(&name, values);
                    routine.settings.push((name, value));
                }
            }
            RoutineOption::SetFromCurrent(name) => {
                let name = name_parts(name)?.join(".");
                let value = context.eval.host.setting(&name).ok_or_else(|| {
                    let message = format!("unrecognized configuration parameter \"{name}\"");
                    SqlError::new(SqlState::UndefinedObject, message)
                })?;
                routine.settings.retain(|(known, _)| *known != name);
                routine.settings.push((name, value));
            }
            RoutineOption::ResetAll => routine.settings.clear(),
            RoutineOption::Unsupported(what) => {
                return Err(SqlError::not_supported(format!("{what} are not supported"))
                    .with_hint("Write the body as a string, in the language sql or plpgsql."));
            }
        }
    }
    Ok(found)
}

pub(super) fn create(
    create: &CreateRoutine,
    parsed: &ParsedStatement,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let (schema, name) = new_name(context, &create.name)?;
    let tag = if create.kind == RoutineKind::Procedure { "CREATE PROCEDURE" } else { "CREATE FUNCTION" };
    let mut routine = Routine {
        id: 0,
        schema,
        name,
        owner: 0,
        kind: create.kind,
        parameters: Vec::new(),
        returns: StoredType::VOID,
        returns_set: create.returns_table || create.returns.as_ref().is_some_and(|(_, is_set)| *is_set),
        language: Language::Sql,
        body: String::new(),
        volatility: RoutineVolatility::Volatile,
        strict: false,
        security_definer: false,
        leakproof: false,
        parallel: 'u',
        cost: 100.0,
        rows: 0.0,
        settings: Vec::new(),
        comment: None,
        aggregate: None,
    };
    if routine.returns_set {
        routine.rows = 1000.0;
    }
    let options = apply(&create.options, &mut routine, context)?;
    let Some(text) = options.body else { return Err(invalid("no function body specified")) };
    let language = options.language.ok_or_else(|| invalid("no language specified"))?;
    routine.language = match fold(language).as_str() {
        "sql" => Language::Sql,
        "plpgsql" => Language::PlPgSql,
        name @ ("c" | "internal") => {
            let message = format!("functions in language \"{name}\" are not supported");
            return Err(SqlError::not_supported(message).with_hint("Write them in sql or plpgsql."));
        }
        name => return Err(no_language(name)),
    };
    let (parameters, outputs) = parameters(create, context)?;
    routine.parameters = parameters;
    (routine.returns, routine.returns_set) = returned(create, outputs, context)?;
    check_polymorphic(&routine, context)?;
    if routine.is_trigger() && routine.language == Language::Sql {
        return Err(invalid("SQL functions cannot return type trigger"));
    }
    check_parameter_defaults(&routine, context)?;
    routine.body.clone_from(&text.text);
    let body = body(text, parsed);
    let routine = Box::new(routine);
    Ok(ddl(Ddl::CreateRoutine { routine, or_replace: create.or_replace, body, warnings: Vec::new() }, tag, context))
}

fn check_polymorphic(routine: &Routine, context: &PlanContext<'_>) -> SqlResult<()> {
    let is_range = |ty: StoredType| {
        matches!(context.catalog.stored_type(ty), Some(SqlType::AnyRange | SqlType::AnyMultiRange))
    };
    // Several range types may be over one type: only a range says of which a range is.
    let mut ranges = routine.outputs().map(|parameter| parameter.ty).chain([routine.returns]).filter(|ty| is_range(*ty));
    if let Some(result) = ranges.next()
        && !routine.inputs().any(|parameter| is_range(parameter.ty))
    {
        let shown = context.catalog.shown_type(result);
        return Err(invalid("cannot determine result data type").with_detail(format!(
            "A result of type {shown} requires at least one input of type anyrange or anymultirange."
        )));
    }
    if routine.inputs().any(|parameter| parameter.ty.is_polymorphic()) {
        let outputs = routine.outputs().filter(|parameter| parameter.ty.is_polymorphic()).count();
        if outputs > 0 && routine.has_row_of_outputs() {
            return Err(SqlError::not_supported("several output parameters of polymorphic types are not supported"));
        }
        return Ok(());
    }
    let mut results = routine.outputs().map(|parameter| parameter.ty).chain([routine.returns]);
    let Some(result) = results.find(|ty| ty.is_polymorphic()) else { return Ok(()) };
    let shown = context.catalog.shown_type(result);
    Err(invalid("cannot determine result data type").with_detail(format!(
        "A result of type {shown} requires at least one input of type anyelement, anyarray, anynonarray, anyenum, anyrange, or anymultirange."
    )))
}

/// Defaults are values of their parameters' types.
///
/// # Errors
/// As for any expression.
pub fn check_parameter_defaults(routine: &Routine, context: &PlanContext<'_>) -> SqlResult<()> {
    for parameter in &routine.parameters {
        let (Some(text), Some(ty)) = (&parameter.default, context.catalog.stored_type(parameter.ty)) else { continue };
        Binder::new(context, None).parameter_default(text, ty, routine.schema)?;
    }
    Ok(())
}

/// The routine that a statement names; `None` where there is none.
///
/// # Errors
/// 42725 where there are several, 42809 for one of another kind.
pub(super) fn find(
    word: RoutineWord,
    name: &RoutineName,
    context: &PlanContext<'_>,
) -> SqlResult<Result<Arc<Routine>, SqlError>> {
    let catalog = context.catalog;
    let (schema, bare) = qualified_name(context, &name.name)?;
    let shown = name_parts(&name.name)?.join(".");
    let schemas = match &schema {
        Some(schema) => match catalog.schema(context.database, schema) {
            Some(schema) => vec![schema.id],
            None => {
                let message = format!("schema \"{schema}\" does not exist");
                return Ok(Err(SqlError::new(SqlState::InvalidSchemaName, message)));
            }
        },
        None => catalog.search_schemas(context.database, context.search_path, context.user),
    };
    let inputs = match &name.arguments {
        None => None,
        Some(arguments) => {
            let is_input = |argument: &&ParameterText| argument.mode.is_input();
            let read = |ty: &TypeText| match word {
                RoutineWord::Aggregate => super::aggregate::input_type(ty, context),
                RoutineWord::Function | RoutineWord::Procedure | RoutineWord::Routine => stored_type(ty, context),
            };
            let types = arguments.iter().filter(is_input).map(|argument| read(&argument.ty));
            match types.collect::<SqlResult<Vec<StoredType>>>() {
                Ok(types) => Some(types),
                Err(error) => return Ok(Err(error)),
            }
        }
    };
    let kind_fits = |routine: &Routine| match word {
        RoutineWord::Routine => true,
        // As in PostgreSQL, an aggregate is found among functions.
        RoutineWord::Function => routine.kind != RoutineKind::Procedure,
        RoutineWord::Aggregate => routine.kind == RoutineKind::Aggregate,
        RoutineWord::Procedure => routine.kind == RoutineKind::Procedure,
    };
    let what = word.name();
    for schema in schemas {
        let mut named: Vec<&Arc<Routine>> = catalog.routines_named(schema, &bare).collect();
        if let Some(inputs) = &inputs {
            named.retain(|routine| routine.input_types() == *inputs);
            if let Some(found) = named.first().filter(|routine| !kind_fits(routine)) {
                let message = match word {
                    RoutineWord::Aggregate => format!("function {} is not an aggregate", catalog.signature(found)),
                    RoutineWord::Procedure => format!("{} is not a procedure", catalog.signature(found)),
                    RoutineWord::Function | RoutineWord::Routine => format!("{} is not a function", catalog.signature(found)),
                };
                return Err(SqlError::new(SqlState::WrongObjectType, message));
            }
        } else {
            named.retain(|routine| kind_fits(routine));
        }
        match named[..] {
            [] => {}
            [found] => return Ok(Ok(found.clone())),
            _ => {
                return Err(SqlError::new(SqlState::AmbiguousFunction, format!("{what} name \"{bare}\" is not unique"))
                    .with_hint(format!("Specify the argument list to select the {what} unambiguously.")));
            }
        }
    }
    let message = match &inputs {
        Some(inputs) => {
            let types: Vec<String> = inputs.iter().map(|ty| catalog.shown_type(*ty)).collect();
            match types.is_empty() && word == RoutineWord::Aggregate {
                true => format!("{what} {shown}(*) does not exist"),
                false => format!("{what} {shown}({}) does not exist", types.join(", ")),
            }
        }
        None => format!("could not find a {what} named \"{shown}\""),
    };
    Ok(Err(SqlError::new(SqlState::UndefinedFunction, message)))
}

fn tag_of(word: RoutineWord, verb: &str) -> &'static str {
    match (verb, word) {
        ("ALTER", RoutineWord::Function) => "ALTER FUNCTION",
        ("ALTER", RoutineWord::Procedure) => "ALTER PROCEDURE",
        ("ALTER", RoutineWord::Routine) => "ALTER ROUTINE",
        ("ALTER", RoutineWord::Aggregate) => "ALTER AGGREGATE",
        (_, RoutineWord::Aggregate) => "DROP AGGREGATE",
        (_, RoutineWord::Function) => "DROP FUNCTION",
        (_, RoutineWord::Procedure) => "DROP PROCEDURE",
        (_, RoutineWord::Routine) => "DROP ROUTINE",
    }
}

fn is_aggregate(routine: &Routine) -> SqlError {
    SqlError::new(SqlState::WrongObjectType, format!("\"{}\" is an aggregate function", routine.name))
}

pub(super) fn drop(
    word: RoutineWord,
    names: &[RoutineName],
    if_exists: bool,
    cascade: bool,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let (mut ids, mut missing) = (Vec::new(), Vec::new());
    for name in names {
        match find(word, name, context)? {
            Ok(found) => {
                if found.kind == RoutineKind::Aggregate && word == RoutineWord::Function {
                    return Err(is_aggregate(&found).with_hint("Use DROP AGGREGATE to drop aggregate functions."));
                }
                ids.push(found.id);
            }
            Err(error) if if_exists => {
                let shown = name_parts(&name.name)?.join(".");
                missing.push(match (error.code(), &name.arguments) {
                    (SqlState::UndefinedFunction, None) => format!("{} {shown}() does not exist, skipping", word.name()),
                    _ => format!("{}, skipping", error.message()),
                });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(ddl(Ddl::DropRoutines { ids, missing, cascade }, tag_of(word, "DROP"), context))
}

pub(super) fn alter(
    word: RoutineWord,
    name: &RoutineName,
    change: &RoutineChange,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let routine = find(word, name, context)??;
    let tag = tag_of(word, "ALTER");
    let change = match change {
        RoutineChange::Named(Change::Rename(to)) => AlterRoutine::RenameTo(fold(to)),
        RoutineChange::Named(Change::Schema(to)) => AlterRoutine::SetSchema(own::schema(to, context)?),
        RoutineChange::Named(Change::Owner(to)) => AlterRoutine::OwnerTo(own::role(to, context)?),
        RoutineChange::Named(Change::View(_)) => return Err(own::of_views()),
        RoutineChange::Named(Change::Accepted) => {
            context.notes.needs.always(Need::Owner(routine.id));
            return Ok(ddl(Ddl::Accepted, tag, context));
        }
        RoutineChange::Options(_) if routine.kind == RoutineKind::Aggregate => return Err(is_aggregate(&routine)),
        RoutineChange::Options(options) => {
            let mut changed = Routine::clone(&routine);
            apply(options, &mut changed, context)?;
            let says_leakproof = options.iter().any(|option| matches!(option, RoutineOption::Leakproof(true)));
            AlterRoutine::Become { changed: Box::new(changed), says_leakproof }
        }
    };
    Ok(ddl(Ddl::AlterRoutine { id: routine.id, change }, tag, context))
}

pub(super) fn comment(
    word: RoutineWord,
    name: &RoutineName,
    text: Option<&str>,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    // A builtin's comment is its own.
    if let Ok(parts) = name_parts(&name.name)
        && !context.catalog.has_routines()
        && parts.last().is_some_and(|name| !builtins::functions(name).is_empty())
    {
        return Ok(ddl(Ddl::Accepted, "COMMENT", context));
    }
    let routine = find(word, name, context)??;
    let on = CommentOn::Routine(routine.id);
    Ok(ddl(Ddl::Comment { on, text: text.map(str::to_owned) }, "COMMENT", context))
}

/// CALL.
pub(super) fn call(function: &ast::Function, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    let (call, binder) = Binder::bind_with(context, None, crate::optimize_rel, |binder| binder.procedure_call(function))?;
    let columns = match call.types.ret.row_type() {
        Some(row) if call.routine.has_row_of_outputs() => row
            .fields
            .iter()
            .map(|(name, ty)| PlanColumn { name: name.to_string(), ty: *ty, table_oid: 0, attribute: 0 })
            .collect(),
        _ => Vec::new(),
    };
    let params = binder.param_types();
    Ok(PreparedPlan { columns, params, ..utility(Utility::Call(call), "CALL", context) })
}

fn body(body: &BodyText, parsed: &ParsedStatement) -> RoutineBody {
    let offset = body.at.map(|(start, quotes)| position_of(&parsed.source, start) - 1 + quotes);
    RoutineBody { text: body.text.as_str().into(), offset }
}

pub(super) fn no_language(name: &str) -> SqlError {
    let error = SqlError::new(SqlState::UndefinedObject, format!("language \"{name}\" does not exist"));
    match name {
        "plperl" | "plperlu" | "plpython3u" | "pltcl" | "pltclu" | "plpythonu" => {
            error.with_hint("Use CREATE EXTENSION to load the language into the database.")
        }
        _ => error,
    }
}

pub(super) fn do_block(
    language: Option<&ast::Ident>,
    text: &BodyText,
    parsed: &ParsedStatement,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    match language.map_or_else(|| "plpgsql".to_owned(), fold).as_str() {
        "plpgsql" => {
            let id = catalog::routine::PLPGSQL_LANGUAGE;
            context.notes.needs.add(Need::Object { id, privileges: PrivilegeSet::USAGE });
            Ok(utility(Utility::Do(body(text, parsed)), "DO", context))
        }
        name @ ("sql" | "c" | "internal") => {
            let message = format!("language \"{name}\" does not support inline code execution");
            Err(SqlError::not_supported(message))
        }
        name => Err(no_language(name)),
    }
}
