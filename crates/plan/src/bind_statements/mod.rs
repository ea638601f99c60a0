//! Statements that are no queries: DDL, transactions, settings, COPY, EXPLAIN.

mod aggregate;
mod alter;
mod backup;
mod composites;
mod copy;
mod create;
mod cursor;
mod domains;
mod grant;
mod into;
mod of_table;
mod own;
mod partition;
mod policy;
mod ranges;
mod routine;
mod trigger;
mod types;
mod view;
mod zone;

pub use routine::check_parameter_defaults;

use std::sync::Arc;

use catalog::{NameOwner, Relation, Table, temporary_schema};
use sqlparser::ast;
use ::types::{Datum, Formatting, SqlError, SqlResult, SqlState, SqlType, Zone};

use crate::{
    PlanContext,
    bind::{
        Binder, bind_type, check_name, find_relation, find_table, fold, name_parts, no_relation, qualified_name,
        without_domains,
    },
    expr::Expr,
    optimize_rel,
    parse::{Body, ParsedStatement},
    plan::PlanColumn,
    statement::{
        Ddl, DiscardKind, ExplainFormat, ExplainOptions, Home, IsolationLevel, PreparedPlan, RelationKind,
        StatementKind, TransactionModes, Utility,
    },
};

pub(crate) use into::{is_into, select_into};
pub(crate) use own::bind as bind_own;

fn syntax(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::SyntaxError, message)
}

fn prepared(kind: StatementKind, tag: &'static str, context: &PlanContext<'_>) -> PreparedPlan {
    let needs: Arc<[_]> = context.notes.needs.all().into();
    PreparedPlan {
        kind,
        params: Vec::new(),
        columns: Vec::new(),
        ctes: Vec::new(),
        catalog_version: context.catalog.version(context.database),
        statistics_epoch: context.catalog.statistics().epoch(),
        // What COPY brings in has foreign keys as well.
        uses: context.notes.used(true, context.catalog),
        dependencies: None,
        is_audited: context.is_audited(&needs),
        needs,
        reads_clock: context.notes.reads_clock.get(),
        serves_any_value: false,
        tag,
    }
}

fn utility(utility: Utility, tag: &'static str, context: &PlanContext<'_>) -> PreparedPlan {
    prepared(StatementKind::Utility(Box::new(utility)), tag, context)
}

/// What a change of the catalog binds is kept and not executed, save for what fills a new table.
fn ddl(ddl: Ddl, tag: &'static str, context: &PlanContext<'_>) -> PreparedPlan {
    let is_run = match &ddl {
        Ddl::CreateTable(create) => create.source.is_some(),
        Ddl::Refresh(refresh) => refresh.source.is_some(),
        _ => false,
    };
    let mut plan = prepared(StatementKind::Ddl(Box::new(ddl)), tag, context);
    if !is_run {
        plan.needs = context.notes.needs.of_definition().into();
    }
    plan
}

fn text_columns(names: &[&str]) -> Vec<PlanColumn> {
    names
        .iter()
        .map(|name| PlanColumn { name: (*name).to_owned(), ty: SqlType::Text, table_oid: 0, attribute: 0 })
        .collect()
}

/// What SHOW RANGES shows.
fn ranges_columns() -> Vec<PlanColumn> {
    let types = [SqlType::Text, SqlType::Text, SqlType::Int8, SqlType::Float8, SqlType::Int8, SqlType::Text];
    let mut columns =
        text_columns(&["start_key", "end_key", "range_id", "range_size_mb", "lease_holder", "replicas"]);
    columns.iter_mut().zip(types).for_each(|(column, ty)| column.ty = ty);
    columns
}

/// Binds a statement that is no query.
pub(crate) fn bind(
    tree: &ast::Statement,
    statement: &ParsedStatement,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    use ast::Statement as S;
    let whole = statement;
    Ok(match tree {
        S::StartTransaction { modes, begin, .. } => {
            let tag = if *begin { "BEGIN" } else { "START TRANSACTION" };
            utility(Utility::Begin(transaction_modes(modes, statement)), tag, context)
        }
        S::Commit { chain, .. } => utility(Utility::Commit { chain: *chain }, "COMMIT", context),
        S::Rollback { chain, savepoint: None } => {
            utility(Utility::Rollback { chain: *chain }, "ROLLBACK", context)
        }
        S::Rollback { savepoint: Some(name), .. } => {
            utility(Utility::RollbackTo(fold(name)), "ROLLBACK", context)
        }
        S::Savepoint { name } => utility(Utility::Savepoint(fold(name)), "SAVEPOINT", context),
        S::ReleaseSavepoint { name } => utility(Utility::ReleaseSavepoint(fold(name)), "RELEASE", context),
        S::Set(set) => bind_set(set, statement, context)?,
        S::ShowVariable { variable } => bind_show(variable, context),
        S::Reset(reset) => match &reset.reset {
            ast::Reset::ALL => utility(Utility::ResetAll, "RESET", context),
            ast::Reset::SessionAuthorization => {
                let name = "session_authorization".into();
                utility(Utility::Set { name, value: None, local: false }, "RESET", context)
            }
            ast::Reset::ConfigurationParameter(name) => {
                let name = name_parts(name)?.join(".");
                utility(Utility::Set { name, value: None, local: false }, "RESET", context)
            }
        },
        S::CreateExtension(create) => create_extension(&fold(&create.name), create.if_not_exists, context)?,
        S::DropExtension(drop) => {
            let names: Vec<String> = drop.names.iter().map(fold).collect();
            drop_extension(&names, drop.if_exists, context)?
        }
        S::Discard { object_type } => {
            let (kind, tag) = match object_type {
                ast::DiscardObject::ALL => (DiscardKind::All, "DISCARD ALL"),
                ast::DiscardObject::PLANS => (DiscardKind::Plans, "DISCARD PLANS"),
                ast::DiscardObject::SEQUENCES => (DiscardKind::Sequences, "DISCARD SEQUENCES"),
                ast::DiscardObject::TEMP => (DiscardKind::Temp, "DISCARD TEMP"),
            };
            utility(Utility::Discard(kind), tag, context)
        }
        S::Prepare { name, data_types, statement } => {
            let params = data_types.iter().map(|ty| bind_type(ty, context)).collect::<SqlResult<_>>()?;
            let text = crate::parse::prepared_text(&whole.text).unwrap_or_else(|| statement.to_string());
            utility(Utility::Prepare { name: fold(name), params, statement: text }, "PREPARE", context)
        }
        S::Execute { name: Some(name), parameters, .. } => {
            let name = name_parts(name)?.join(".");
            let args = parameters.iter().map(|expr| free_expr(expr, context)).collect::<SqlResult<_>>()?;
            utility(Utility::Execute { name, args }, "EXECUTE", context)
        }
        S::Deallocate { name, .. } => {
            let all = name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all");
            utility(Utility::Deallocate((!all).then(|| fold(name))), "DEALLOCATE", context)
        }
        S::Declare { stmts } => cursor::declare(stmts, statement, context)?,
        S::Fetch { name, direction, position, .. } => cursor::fetch(name, direction, position, context)?,
        S::Close { cursor } => cursor::close(cursor, context),
        S::Explain { statement: inner, analyze, verbose, options, format, .. } => {
            bind_explain(inner, *analyze, *verbose, options.as_deref(), format.as_ref(), statement, context)?
        }
        S::Vacuum(vacuum) => {
            let tables = match &vacuum.table_name {
                Some(name) => Some(vec![find_table(context, name)?]),
                None => None,
            };
            utility(Utility::Vacuum { tables, analyze: false }, "VACUUM", context)
        }
        S::Analyze(analyze) => {
            let tables = match &analyze.table_name {
                Some(name) => Some(vec![find_table(context, name)?]),
                None => None,
            };
            utility(Utility::Analyze { tables }, "ANALYZE", context)
        }
        S::Call(function) => routine::call(function, context)?,
        S::CreateTable(create) => create::table(create, &statement.extras, context)?,
        S::CreateIndex(create) => create::index(create, statement.extras.only, context)?,
        S::CreateSchema { schema_name, if_not_exists, .. } => {
            let (name, owner) = match schema_name {
                ast::SchemaName::Simple(name) => (name_parts(name)?.join("."), None),
                ast::SchemaName::UnnamedAuthorization(owner) => (fold(owner), Some(fold(owner))),
                ast::SchemaName::NamedAuthorization(name, owner) => {
                    (name_parts(name)?.join("."), Some(fold(owner)))
                }
            };
            let create = Ddl::CreateSchema { name, if_not_exists: *if_not_exists, owner };
            ddl(create, "CREATE SCHEMA", context)
        }
        S::Drop { object_type: ast::ObjectType::Index, if_exists, names, cascade, .. } => {
            drop_indexes((*if_exists, statement.extras.concurrently), names, *cascade, context)?
        }
        S::Drop { object_type, if_exists, names, cascade, .. } => {
            bind_drop(*object_type, *if_exists, names, *cascade, context)?
        }
        S::Truncate(truncate) => {
            let mut tables = Vec::new();
            for target in &truncate.table_names {
                let table = own::plain_table(&target.name, context)?;
                if table.is_partitioned() && (target.only || crate::parse::extras::is_only(&target.name)) {
                    let hint = "Do not specify the ONLY keyword, or use TRUNCATE ONLY on the partitions directly.";
                    let message = "cannot truncate only a partitioned table";
                    return Err(SqlError::new(SqlState::WrongObjectType, message).with_hint(hint));
                }
                tables.push(table);
            }
            let restart_identity = matches!(truncate.identity, Some(ast::TruncateIdentityOption::Restart));
            let cascade = matches!(truncate.cascade, Some(ast::CascadeOption::Cascade));
            ddl(Ddl::Truncate { tables, restart_identity, cascade }, "TRUNCATE TABLE", context)
        }
        other => {
            let text = other.to_string();
            let what = text.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
            return Err(SqlError::not_supported(format!("{what} is not supported")));
        }
    })
}

fn transaction_modes(modes: &[ast::TransactionMode], statement: &ParsedStatement) -> TransactionModes {
    let mut found =
        TransactionModes { deferrable: statement.extras.deferrable, as_of: statement.extras.as_of.clone(), ..TransactionModes::default() };
    for mode in modes {
        match mode {
            ast::TransactionMode::AccessMode(access) => {
                found.read_only = Some(matches!(access, ast::TransactionAccessMode::ReadOnly));
            }
            ast::TransactionMode::IsolationLevel(level) => {
                found.isolation = Some(match level {
                    ast::TransactionIsolationLevel::ReadUncommitted => IsolationLevel::ReadUncommitted,
                    ast::TransactionIsolationLevel::ReadCommitted => IsolationLevel::ReadCommitted,
                    ast::TransactionIsolationLevel::RepeatableRead => IsolationLevel::RepeatableRead,
                    ast::TransactionIsolationLevel::Serializable
                    | ast::TransactionIsolationLevel::Snapshot => IsolationLevel::Serializable,
                });
            }
        }
    }
    found
}

/// What every database has from the start, and so cannot be made or dropped.
const BUILT_IN_EXTENSION: &str = "plpgsql";

/// Extensions whose functions are always there: all of `uuid-ossp` and `pg_stat_statements`, and of `pgcrypto` those of hashes
/// and random bytes. Making and dropping them changes nothing.
const EXTENSIONS_OF_BUILTINS: [&str; 3] = ["uuid-ossp", "pgcrypto", "pg_stat_statements"];

fn create_extension(name: &str, if_not_exists: bool, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    if name == BUILT_IN_EXTENSION {
        let exists = format!("extension \"{name}\" already exists");
        if if_not_exists {
            return Ok(ddl(Ddl::Skipped(format!("{exists}, skipping")), "CREATE EXTENSION", context));
        }
        return Err(SqlError::new(SqlState::DuplicateObject, exists));
    }
    if EXTENSIONS_OF_BUILTINS.contains(&name) {
        let there = format!("the functions of extension \"{name}\" are built in, skipping");
        return Ok(ddl(Ddl::Skipped(there), "CREATE EXTENSION", context));
    }
    let file = format!("/usr/share/postgresql/15/extension/{name}.control");
    Err(SqlError::not_supported(format!("extension \"{name}\" is not available"))
        .with_detail(format!("Could not open extension control file \"{file}\": No such file or directory."))
        .with_hint("The extension must first be installed on the system where PostgreSQL is running."))
}

fn drop_extension(names: &[String], if_exists: bool, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    if names.iter().all(|name| EXTENSIONS_OF_BUILTINS.contains(&name.as_str())) {
        let there = format!("the functions of extension \"{}\" are built in, skipping", names.join("\", \""));
        return Ok(ddl(Ddl::Skipped(there), "DROP EXTENSION", context));
    }
    let missing = names.iter().find(|name| *name != BUILT_IN_EXTENSION);
    match missing {
        Some(name) if if_exists => {
            let notice = format!("extension \"{name}\" does not exist, skipping");
            Ok(ddl(Ddl::Skipped(notice), "DROP EXTENSION", context))
        }
        Some(name) => {
            Err(SqlError::new(SqlState::UndefinedObject, format!("extension \"{name}\" does not exist")))
        }
        None => Err(SqlError::new(
            SqlState::DependentObjectsStillExist,
            format!(
                "cannot drop extension {BUILT_IN_EXTENSION} because it is required by the database system"
            ),
        )),
    }
}

/// A value of SET as text: names, strings and numbers alike.
fn setting_text(expr: &ast::Expr) -> String {
    match expr {
        // `SET TIME ZONE INTERVAL '+01:30' HOUR TO MINUTE`: so far east.
        ast::Expr::Interval(interval) => {
            let text = setting_text(&interval.value);
            let unit = interval.leading_field.as_ref().filter(|_| text.trim().parse::<f64>().is_ok());
            let text = unit.map_or_else(|| text.clone(), |unit| format!("{text} {unit}"));
            match ::types::parse_text(&SqlType::Interval, &text, &Formatting::default()) {
                Ok(Datum::Interval(it)) => {
                    it.micros.checked_div(1_000_000).and_then(|it| i32::try_from(it).ok())
                }
                _ => None,
            }
            .map_or(text, |east| Zone::fixed(east).name().to_owned())
        }
        ast::Expr::Identifier(name) => fold(name),
        ast::Expr::CompoundIdentifier(parts) => parts.iter().map(fold).collect::<Vec<_>>().join("."),
        ast::Expr::Value(value) => match &value.value {
            ast::Value::SingleQuotedString(text) | ast::Value::DoubleQuotedString(text) => text.clone(),
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}

/// A zone is so many hours and minutes from UTC, not months or days.
fn refuse_calendar_zone(value: &ast::Expr) -> SqlResult<()> {
    let ast::Expr::Interval(interval) = value else { return Ok(()) };
    let formatting = Formatting::default();
    if let Ok(datum @ Datum::Interval(it)) = ::types::parse_text(&SqlType::Interval, &setting_text(&interval.value), &formatting)
        && (it.months != 0 || it.days != 0)
    {
        let text = ::types::to_text(&SqlType::Interval, &datum, &formatting);
        return Err(SqlError::new(
            SqlState::InvalidParameterValue,
            format!("invalid value for parameter \"TimeZone\": \"INTERVAL '{text}'\""),
        ));
    }
    Ok(())
}

fn bind_set(
    set: &ast::Set,
    statement: &ParsedStatement,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let assign = |name: String, value: Option<Vec<String>>, local: bool| {
        utility(Utility::Set { name, value, local }, "SET", context)
    };
    Ok(match set {
        ast::Set::SingleAssignment { scope, variable, values, .. } => {
            let local = matches!(scope, Some(ast::ContextModifier::Local));
            let name = name_parts(variable)?.join(".");
            let is_default = matches!(&values[..], [ast::Expr::Identifier(word)] if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("default"));
            let values = (!is_default).then(|| values.iter().map(setting_text).collect());
            assign(name, values, local)
        }
        ast::Set::SetTimeZone { local, value } => {
            let value = match value {
                ast::Expr::Identifier(word)
                    if word.quote_style.is_none()
                        && ["default", "local"].contains(&word.value.to_lowercase().as_str()) =>
                {
                    None
                }
                value => {
                    refuse_calendar_zone(value)?;
                    Some(vec![setting_text(value)])
                }
            };
            assign("timezone".into(), value, *local)
        }
        ast::Set::SetNames { charset_name, .. } => {
            assign("client_encoding".into(), Some(vec![charset_name.value.clone()]), false)
        }
        ast::Set::SetNamesDefault {} => assign("client_encoding".into(), None, false),
        ast::Set::SetTransaction { snapshot: Some(id), .. } => {
            let ast::Value::SingleQuotedString(id) = &id.value else {
                return Err(SqlError::new(SqlState::SyntaxError, format!("syntax error at or near \"{id}\"")));
            };
            utility(Utility::ImportSnapshot(id.clone()), "SET", context)
        }
        ast::Set::SetTransaction { session: true, .. } if statement.extras.as_of.is_some() => {
            return Err(SqlError::not_supported("AS OF SYSTEM TIME is of one transaction, and no characteristic of a session"));
        }
        ast::Set::SetTransaction { modes, session, .. } => {
            let modes = transaction_modes(modes, statement);
            utility(Utility::SetTransaction { modes, session: *session }, "SET", context)
        }
        ast::Set::SetRole { context_modifier, role_name } => {
            let local = matches!(context_modifier, Some(ast::ContextModifier::Local));
            assign("role".into(), Some(vec![role_name.as_ref().map_or_else(|| "none".into(), fold)]), local)
        }
        ast::Set::SetSessionAuthorization(param) => {
            let local = matches!(param.scope, ast::ContextModifier::Local);
            let value = match &param.kind {
                ast::SetSessionAuthorizationParamKind::Default => None,
                ast::SetSessionAuthorizationParamKind::User(name) => Some(vec![fold(name)]),
            };
            assign("session_authorization".into(), value, local)
        }
        other => return Err(SqlError::not_supported(format!("{other}"))),
    })
}

fn bind_show(variable: &[ast::Ident], context: &PlanContext<'_>) -> PreparedPlan {
    let words: Vec<String> = variable.iter().map(|word| word.value.to_lowercase()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut plan = match &words[..] {
        ["all"] => {
            let mut plan = utility(Utility::ShowAll, "SHOW", context);
            plan.columns = text_columns(&["name", "setting", "description"]);
            return plan;
        }
        ["time", "zone"] => utility(Utility::Show("timezone".into()), "SHOW", context),
        ["session", "authorization"] => {
            utility(Utility::Show("session_authorization".into()), "SHOW", context)
        }
        ["transaction", "isolation", "level"] => {
            utility(Utility::Show("transaction_isolation".into()), "SHOW", context)
        }
        _ => utility(Utility::Show(words.join(".")), "SHOW", context),
    };
    let name = match &plan.kind {
        StatementKind::Utility(utility) => match &**utility {
            Utility::Show(name) => name.clone(),
            _ => String::new(),
        },
        _ => String::new(),
    };
    plan.columns = text_columns(&[&name]);
    plan
}

/// An expression over no row.
fn free_expr(expr: &ast::Expr, context: &PlanContext<'_>) -> SqlResult<Expr> {
    let (expr, _) = Binder::bind_with(context, None, optimize_rel, |binder| {
        let level = binder.level();
        let scope = crate::scope::Scope::empty(&level);
        let mut bound = binder.bind_scalar(expr, &scope)?;
        without_domains(&mut bound);
        Ok(bound)
    })?;
    Ok(expr)
}

fn bind_explain(
    inner: &ast::Statement,
    analyze: bool,
    verbose: bool,
    options: Option<&[ast::UtilityOption]>,
    format: Option<&ast::AnalyzeFormatKind>,
    statement: &ParsedStatement,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let mut analyze = analyze;
    let mut explain = ExplainOptions { verbose, ..ExplainOptions::default() };
    let (mut timing, mut wal) = (false, false);
    for option in options.unwrap_or_default() {
        let name = fold(&option.name);
        let argument = option.arg.as_ref().map(setting_text);
        let on = || match argument.as_deref().map(str::to_lowercase).as_deref() {
            None | Some("on" | "true" | "1") => Ok(true),
            Some("off" | "false" | "0") => Ok(false),
            Some(_) => Err(syntax(format!("{name} requires a Boolean value"))),
        };
        match name.as_str() {
            "analyze" => analyze = on()?,
            "verbose" => explain.verbose = on()?,
            "costs" => explain.costs = on()?,
            "timing" => {
                explain.timing = on()?;
                timing = explain.timing;
            }
            "wal" => wal = on()?,
            "buffers" | "settings" | "summary" => drop(on()?),
            "format" => {
                explain.format = match argument.as_deref() {
                    None => return Err(syntax("format requires a parameter")),
                    Some("text") => ExplainFormat::Text,
                    Some("json") => ExplainFormat::Json,
                    Some("yaml") => ExplainFormat::Yaml,
                    Some("xml") => ExplainFormat::Xml,
                    Some(other) => {
                        let message = format!("unrecognized value for EXPLAIN option \"format\": \"{other}\"");
                        return Err(SqlError::new(SqlState::InvalidParameterValue, message));
                    }
                };
            }
            other => return Err(syntax(format!("unrecognized EXPLAIN option \"{other}\""))),
        }
    }
    if let Some((_, name)) = [(wal, "WAL"), (timing, "TIMING")].iter().find(|(given, _)| *given && !analyze) {
        let message = format!("EXPLAIN option {name} requires ANALYZE");
        return Err(SqlError::new(SqlState::InvalidParameterValue, message));
    }
    if format.is_some_and(|format| format.to_string().to_lowercase().contains("json")) {
        explain.format = ExplainFormat::Json;
    }
    let inner = ParsedStatement {
        body: Body::Standard(inner.clone()),
        text: statement.text.clone(),
        offset: statement.offset,
        source: statement.source.clone(),
        extras: statement.extras.clone(),
        notices: Vec::new(),
    };
    let plan = Arc::new(crate::plan_statement(&inner, context)?);
    let mut out =
        utility(Utility::Explain { plan: plan.clone(), analyze, options: explain }, "EXPLAIN", context);
    out.params.clone_from(&plan.params);
    out.columns = text_columns(&["QUERY PLAN"]);
    Ok(out)
}

fn bind_drop(
    object: ast::ObjectType,
    if_exists: bool,
    names: &[ast::ObjectName],
    cascade: bool,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let kind = match object {
        ast::ObjectType::Table => RelationKind::Table,
        ast::ObjectType::View => RelationKind::View,
        ast::ObjectType::Sequence => RelationKind::Sequence,
        ast::ObjectType::Type => return types::drop("DROP TYPE", if_exists, names, cascade, context),
        ast::ObjectType::Schema => {
            let names = names.iter().map(|name| Ok(name_parts(name)?.join("."))).collect::<SqlResult<_>>()?;
            return Ok(ddl(Ddl::DropSchema { names, if_exists, cascade }, "DROP SCHEMA", context));
        }
        ast::ObjectType::Database => {
            let name = name_parts(&names[0])?.join(".");
            return Ok(ddl(Ddl::DropDatabase { name, if_exists }, "DROP DATABASE", context));
        }
        ast::ObjectType::Role | ast::ObjectType::User => {
            let names = names.iter().map(|name| Ok(name_parts(name)?.join("."))).collect::<SqlResult<_>>()?;
            return Ok(ddl(Ddl::DropRole { names, if_exists }, "DROP ROLE", context));
        }
        other => return Err(SqlError::not_supported(format!("DROP {other}"))),
    };
    drop_relations(kind, if_exists, names, cascade, context)
}

fn kind_of(relation: &Relation) -> RelationKind {
    match relation {
        Relation::Table(it) if it.materialized.is_some() => RelationKind::MaterializedView,
        Relation::Table(_) => RelationKind::Table,
        Relation::View(_) => RelationKind::View,
        Relation::Sequence(_) => RelationKind::Sequence,
    }
}

fn drop_relations(
    kind: RelationKind,
    if_exists: bool,
    names: &[ast::ObjectName],
    cascade: bool,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let (tag, what) = match kind {
        RelationKind::Table => ("DROP TABLE", "table"),
        RelationKind::View => ("DROP VIEW", "view"),
        RelationKind::MaterializedView => ("DROP MATERIALIZED VIEW", "materialized view"),
        RelationKind::Sequence => ("DROP SEQUENCE", "sequence"),
    };
    let mut ids = Vec::new();
    let mut missing = Vec::new();
    for name in names {
        let (schema, relation) = qualified_name(context, name)?;
        match find_relation(context, schema.as_deref(), &relation)? {
            None if if_exists => missing.push(relation),
            None => {
                return Err(SqlError::new(
                    SqlState::UndefinedTable,
                    format!("{what} \"{relation}\" does not exist"),
                ));
            }
            Some(found) => {
                if kind_of(&found) != kind {
                    let message = format!("\"{relation}\" is not a {what}");
                    let found = found.kind();
                    let hint = format!("Use DROP {} to remove a {found}.", found.to_uppercase());
                    return Err(SqlError::new(SqlState::WrongObjectType, message).with_hint(hint));
                }
                ids.push(found.id());
            }
        }
    }
    Ok(ddl(Ddl::DropRelations { kind, ids, missing, cascade }, tag, context))
}

/// An index by name, through the search path.
fn find_index(context: &PlanContext<'_>, name: &ast::ObjectName) -> SqlResult<Option<(Arc<Table>, u32)>> {
    let (schema, index) = qualified_name(context, name)?;
    let schemas = match schema {
        Some(schema) => {
            context.catalog.schema(context.database, &schema).map(|it| vec![it.id]).unwrap_or_default()
        }
        None => context.catalog.search_schemas(context.database, context.search_path, context.user),
    };
    for schema in schemas {
        if let Some(NameOwner::Index { table, oid }) = context.catalog.name_owner(schema, &index)
            && let Some(table) = context.catalog.table_by_id(table)
        {
            return Ok(Some((table.clone(), oid)));
        }
    }
    Ok(None)
}

fn drop_indexes(
    (if_exists, concurrently): (bool, bool),
    names: &[ast::ObjectName],
    cascade: bool,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let mut indexes = Vec::new();
    let mut missing = Vec::new();
    for name in names {
        match find_index(context, name)? {
            Some((table, _)) if concurrently && table.is_partitioned() => {
                let message = format!("cannot drop partitioned index \"{name}\" concurrently");
                return Err(SqlError::not_supported(message));
            }
            Some(found) => indexes.push(found),
            None if if_exists => missing.push(name.to_string()),
            None => {
                return Err(SqlError::new(
                    SqlState::UndefinedObject,
                    format!("index \"{name}\" does not exist"),
                ));
            }
        }
    }
    Ok(ddl(Ddl::DropIndexes { indexes, missing, cascade }, "DROP INDEX", context))
}

/// Where a new relation goes, and its name.
fn new_name(context: &PlanContext<'_>, name: &ast::ObjectName) -> SqlResult<(u32, String)> {
    let (schema, relation) = qualified_name(context, name)?;
    if let Some(last) = name.0.last().and_then(ast::ObjectNamePart::as_ident) {
        check_name(last)?;
    }
    let schema = match schema {
        Some(name) => {
            context
                .catalog
                .schema(context.database, &name)
                .ok_or_else(|| {
                    SqlError::new(SqlState::InvalidSchemaName, format!("schema \"{name}\" does not exist"))
                })?
                .id
        }
        None => context.catalog.creation_schema(context.database, context.search_path, context.user)?,
    };
    Ok((schema, relation))
}

/// Where a new relation goes, which may be temporary, and its name.
fn new_home(context: &PlanContext<'_>, name: &ast::ObjectName, temporary: bool) -> SqlResult<(Home, String)> {
    let (schema, relation) = qualified_name(context, name)?;
    let is_own = |name: &str| name == "pg_temp" || temporary_schema(context.search_path) == Some(name);
    // The path begins with the schema that is there without being named.
    let is_first = || context.search_path.get(1).is_some_and(|name| name == "pg_temp");
    if schema.as_deref().map_or_else(|| temporary || is_first(), is_own) {
        if let Some(last) = name.0.last().and_then(ast::ObjectNamePart::as_ident) {
            check_name(last)?;
        }
        return Ok((Home::Temporary, relation));
    }
    if temporary {
        let message = "cannot create temporary relation in non-temporary schema";
        return Err(SqlError::new(SqlState::InvalidTableDefinition, message));
    }
    new_name(context, name).map(|(schema, name)| (Home::Schema(schema), name))
}

fn missing_table(name: &ast::ObjectName) -> SqlError {
    let shown = name_parts(name).map_or_else(|_| name.to_string(), |parts| parts.join("."));
    no_relation(None, &shown)
}
