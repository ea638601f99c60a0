//! CREATE VIEW, CREATE MATERIALIZED VIEW, REFRESH, and what only views can be told.

use ::types::{SqlError, SqlResult, SqlState, SqlType};
use catalog::privilege::Need;
use catalog::{CheckOption, LiteralSettings, Materialized, Relation, View, ViewDetails, ViewOptions};
use sqlparser::ast;

use super::create::stored_type;
use super::types::stored_text;
use super::{ddl, new_home, new_name};
use crate::{
    PlanContext,
    bind::{Binder, changes_data, check_option_refusal, find_relation, fold, no_relation, qualified_name},
    expr::Expr,
    logical::Rel,
    optimize_rel,
    parse::{
        ParsedStatement,
        own::{CreateView, Refresh, ViewChange, ViewKind, ViewOption},
    },
    statement::{AlterTable, AlterView, ColumnSpec, CreateTable, Ddl, Home, PreparedPlan, Refresh as RefreshSpec},
};

fn syntax(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::SyntaxError, message)
}

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::InvalidParameterValue, message)
}

/// What options say, on top of what they were.
fn options(given: &[ViewOption], mut known: ViewOptions) -> SqlResult<ViewOptions> {
    for ViewOption { name, value } in given {
        let flag = || match value.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("true" | "on" | "yes" | "1" | "t" | "y") => Ok(Some(true)),
            Some("false" | "off" | "no" | "0" | "f" | "n") => Ok(Some(false)),
            Some(_) => {
                let shown = value.as_deref().unwrap_or_default();
                Err(invalid(format!("invalid value for boolean option \"{name}\": {shown}")))
            }
        };
        match name.as_str() {
            "security_barrier" => known.security_barrier = flag()?,
            "security_invoker" => known.security_invoker = flag()?,
            "check_option" => {
                known.check_option = Some(match value.as_deref().map(str::to_ascii_lowercase).as_deref() {
                    Some("local") => CheckOption::Local,
                    Some("cascaded") => CheckOption::Cascaded,
                    _ => {
                        let shown = value.as_deref().unwrap_or("true");
                        return Err(invalid(format!("invalid value for enum option \"check_option\": {shown}"))
                            .with_detail("Valid values are \"local\" and \"cascaded\"."));
                    }
                });
            }
            other => return Err(invalid(format!("unrecognized parameter \"{other}\""))),
        }
    }
    Ok(known)
}

fn reset(given: &[ViewOption], mut known: ViewOptions) -> SqlResult<ViewOptions> {
    for ViewOption { name, value } in given {
        if value.is_some() {
            return Err(syntax("RESET must not include values for parameters"));
        }
        match name.as_str() {
            "security_barrier" => known.security_barrier = None,
            "security_invoker" => known.security_invoker = None,
            "check_option" => known.check_option = None,
            // As in PostgreSQL, what is not there is reset.
            _ => {}
        }
    }
    Ok(known)
}

/// # Errors
/// 0A000 where WITH CHECK OPTION is asked of a view that rows are not changed through.
fn check_check_option(view: &View, context: &PlanContext<'_>) -> SqlResult<()> {
    if view.details.options.check_option.is_none() {
        return Ok(());
    }
    match check_option_refusal(view, context)? {
        None => Ok(()),
        Some(reason) => {
            let message = "WITH CHECK OPTION is supported only on automatically updatable views";
            Err(SqlError::not_supported(message).with_hint(reason))
        }
    }
}

/// `CREATE RECURSIVE VIEW v (a) AS query` is `CREATE VIEW v (a) AS WITH RECURSIVE v (a) AS (query) SELECT a FROM v`.
fn recursive(create: &CreateView) -> SqlResult<Box<ast::Query>> {
    if create.columns.is_empty() {
        return Err(syntax("syntax error at or near \"AS\""));
    }
    let name = create.name.0.last().map(ToString::to_string).unwrap_or_default();
    let columns = create.columns.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let text = format!("WITH RECURSIVE {name} ({columns}) AS ({}) SELECT {columns} FROM {name}", create.query);
    match crate::parse::parse(&text)?.into_iter().next().map(|parsed| parsed.body) {
        Some(crate::parse::Body::Standard(ast::Statement::Query(query))) => Ok(query),
        _ => Err(SqlError::internal("a query that was put together is none")),
    }
}

/// The names and types of a query's columns, as the view calls them.
fn columns(create: &CreateView, rel: &Rel) -> SqlResult<Vec<(String, SqlType)>> {
    if create.columns.len() > rel.columns.len() {
        return Err(match create.kind {
            ViewKind::Plain { .. } => syntax("CREATE VIEW specifies more column names than columns"),
            ViewKind::Materialized { .. } => syntax("too many column names were specified"),
        });
    }
    let mut found: Vec<(String, SqlType)> = Vec::with_capacity(rel.columns.len());
    for (at, column) in rel.columns.iter().enumerate() {
        let name = create.columns.get(at).map_or_else(|| column.name.clone(), fold);
        if found.iter().any(|(known, _)| *known == name) {
            let message = format!("column \"{name}\" specified more than once");
            return Err(SqlError::new(SqlState::DuplicateColumn, message));
        }
        let ty = stored_type(&name, column.ty)?;
        found.push((name, ty));
    }
    Ok(found)
}

pub(super) fn create(
    create: &CreateView,
    parsed: &ParsedStatement,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let (home, name) = match create.kind {
        ViewKind::Plain { temporary, .. } => new_home(context, &create.name, temporary)?,
        ViewKind::Materialized { .. } => {
            let (schema, name) = new_name(context, &create.name)?;
            (Home::Schema(schema), name)
        }
    };
    let is_recursive = matches!(create.kind, ViewKind::Plain { recursive: true, .. });
    let query = if is_recursive { recursive(create)? } else { create.query.clone() };
    let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
    if ctes.into_iter().any(|cte| changes_data(&cte.query.body)) {
        return Err(SqlError::not_supported(match create.kind {
            ViewKind::Plain { .. } => "views must not contain data-modifying statements in WITH",
            ViewKind::Materialized { .. } => "materialized views must not use data-modifying statements in WITH",
        }));
    }
    let source = (!is_recursive).then(|| parsed.source.clone());
    // The query of a plain view is kept and not run: whose policies are in force is known where it is read.
    let unsecured = PlanContext { security: None, ..*context };
    let context = if matches!(create.kind, ViewKind::Plain { .. }) { &unsecured } else { context };
    let (rel, mut binder) = Binder::bind_with(context, source, optimize_rel, |binder| {
        binder.names = Some(Vec::new());
        let rel = binder.bind_query(&query)?;
        match binder.params.is_empty() {
            true => Ok(rel),
            false => Err(SqlError::new(SqlState::UndefinedParameter, "there is no parameter $1")),
        }
    })?;
    let columns = columns(create, &rel)?;
    let role = |name: &String| if name == "$user" { context.user.to_owned() } else { name.clone() };
    let path: Vec<String> = context.search_path.iter().map(role).collect();
    let text = crate::parse::extras::with_only(&stored_text(&query, context));
    let literals = Some(LiteralSettings::of(context.formatting));
    let (depends_on, names) = (std::mem::take(&mut binder.depends_on), binder.names.take().unwrap_or_default());
    match create.kind {
        ViewKind::Plain { or_replace, .. } => {
            let mut options = options(&create.options, ViewOptions::default())?;
            if let Some(check) = parsed.extras.check_option {
                options.check_option = Some(check);
            }
            let view = View {
                id: 0,
                name,
                schema: 0,
                owner: 0,
                columns,
                query: text,
                path,
                depends_on,
                comment: None,
                comments: Vec::new(),
                details: ViewDetails { names, options, literals, ..ViewDetails::default() },
                table: Default::default(),
            };
            check_check_option(&view, context)?;
            Ok(ddl(Ddl::CreateView { home, view: Box::new(view), or_replace }, "CREATE VIEW", context))
        }
        ViewKind::Materialized { if_not_exists } => {
            if parsed.extras.check_option.is_some() {
                return Err(syntax("syntax error at or near \"CHECK\""));
            }
            let is_temporary = |id: &u32| {
                let found = context.catalog.relation_by_id(*id);
                found.is_some_and(|found| context.catalog.is_temporary(found.schema()))
            };
            if depends_on.iter().any(is_temporary) {
                let message = "materialized views must not use temporary tables or views";
                return Err(SqlError::not_supported(message));
            }
            let is_populated = !parsed.extras.no_data;
            let ctes = binder.take_ctes();
            let spec = |(name, ty): (String, SqlType)| ColumnSpec { name, ty, nullable: true, default: None };
            let create = CreateTable {
                home,
                name,
                if_not_exists,
                columns: columns.into_iter().map(spec).collect(),
                indexes: Vec::new(),
                checks: Vec::new(),
                foreign_keys: Vec::new(),
                on_commit: catalog::OnCommit::PreserveRows,
                source: is_populated.then(|| optimize_rel(rel, context)).transpose()?,
                materialized: Some(Materialized { query: text, path, depends_on, names, is_populated, literals }),
                partition_by: None,
                partition_of: None,
            };
            let tag = if is_populated { "SELECT" } else { "CREATE MATERIALIZED VIEW" };
            let mut plan = ddl(Ddl::CreateTable(create), tag, context);
            plan.ctes = ctes;
            Ok(plan)
        }
    }
}

pub(super) fn refresh(name: &ast::ObjectName, refresh: Refresh, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    const TAG: &str = "REFRESH MATERIALIZED VIEW";
    if refresh.concurrently && refresh.no_data {
        return Err(syntax("CONCURRENTLY and WITH NO DATA options cannot be used together"));
    }
    let (schema, relation) = qualified_name(context, name)?;
    let found = find_relation(context, schema.as_deref(), &relation)?;
    let found = found.ok_or_else(|| no_relation(schema.as_deref(), &relation))?;
    let Relation::Table(table) = &found else {
        let message = format!("\"{relation}\" is not a table or materialized view");
        return Err(SqlError::new(SqlState::WrongObjectType, message));
    };
    let Some(view) = found.as_view() else {
        return Err(SqlError::not_supported(format!("\"{relation}\" is not a materialized view")));
    };
    if refresh.concurrently {
        check_concurrently(table, context)?;
    }
    let (source, ctes) = match refresh.no_data {
        true => (None, Vec::new()),
        false => {
            let (rel, mut binder) =
                Binder::bind_with(context, None, optimize_rel, |binder| binder.view(&view, None))?;
            (Some(optimize_rel(rel, context)?), binder.take_ctes())
        }
    };
    let spec = RefreshSpec { table: table.clone(), concurrently: refresh.concurrently, source };
    let mut plan = ddl(Ddl::Refresh(Box::new(spec)), TAG, context);
    plan.ctes = ctes;
    Ok(plan)
}

/// # Errors
/// 0A000 where there is nothing to compare with, 55000 where rows cannot be told from each other.
fn check_concurrently(table: &catalog::Table, context: &PlanContext<'_>) -> SqlResult<()> {
    if !table.is_populated() {
        let message = "CONCURRENTLY cannot be used when the materialized view is not populated";
        return Err(SqlError::not_supported(message));
    }
    let is_usable = |index: &&catalog::Index| {
        let is_plain = |at: usize| !table.columns[at].hidden;
        index.unique && index.predicate.is_none() && table.key_positions(index).all(is_plain)
    };
    if table.indexes.iter().any(|index| is_usable(&index)) {
        return Ok(());
    }
    let schema = context.catalog.schema_by_id(table.schema).map_or("", |schema| &schema.name);
    let name = format!("{}.{}", ::types::quote_identifier(schema), ::types::quote_identifier(&table.name));
    let message = format!("cannot refresh materialized view \"{name}\" concurrently");
    Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, message)
        .with_hint("Create a unique index with no WHERE clause on one or more columns of the materialized view."))
}

/// What PostgreSQL says where a relation of another kind would need what was asked.
pub(super) fn not_for_kind(relation: &Relation, action: &str) -> SqlError {
    let message = format!("ALTER action {action} cannot be performed on relation \"{}\"", relation.name());
    let detail = format!("This operation is not supported for {}s.", relation.kind());
    SqlError::new(SqlState::WrongObjectType, message).with_detail(detail)
}

pub(super) fn change(relation: &Relation, change: &ViewChange, context: &PlanContext<'_>) -> SqlResult<Ddl> {
    if let (Relation::Table(table), ViewChange::RenameColumn { from, to }) = (relation, change) {
        let rename = AlterTable::RenameColumn { from: fold(from), to: fold(to) };
        return Ok(Ddl::AlterTable { table: table.clone(), actions: vec![rename], only: false });
    }
    let Relation::View(view) = relation else {
        return Ok(match change {
            ViewChange::SetOptions(_) | ViewChange::ResetOptions(_) => {
                context.notes.needs.always(Need::Owner(relation.id()));
                Ddl::Accepted
            }
            _ => return Err(not_for_kind(relation, "ALTER COLUMN ... SET DEFAULT")),
        });
    };
    let change = match change {
        ViewChange::RenameColumn { from, to } => AlterView::RenameColumn { from: fold(from), to: fold(to) },
        ViewChange::Default { column, expr } => {
            let name = fold(column);
            let at = view.columns.iter().position(|(known, _)| *known == name).ok_or_else(|| {
                let message = format!("column \"{name}\" of relation \"{}\" does not exist", view.name);
                SqlError::new(SqlState::UndefinedColumn, message)
            })?;
            let text = expr.as_ref().map(|expr| stored_text(expr, context));
            if let Some(text) = &text {
                check_default(view, at, text, context)?;
            }
            AlterView::SetDefault { column: u32::try_from(at + 1).unwrap_or(u32::MAX), text }
        }
        ViewChange::SetOptions(given) => AlterView::SetOptions(options(given, view.details.options)?),
        ViewChange::ResetOptions(given) => AlterView::SetOptions(reset(given, view.details.options)?),
    };
    if let AlterView::SetOptions(options) = &change {
        let mut changed = View::clone(view);
        changed.details.options = *options;
        check_check_option(&changed, context)?;
    }
    Ok(Ddl::AlterView { id: view.id, change })
}

/// A default is an expression over no row that can be assigned to the column.
fn check_default(view: &View, at: usize, text: &str, context: &PlanContext<'_>) -> SqlResult<()> {
    let mut table = catalog::Table::clone(view.as_table());
    table.columns[at].default = Some(catalog::ColumnDefault::Expr(text.to_owned()));
    let bound = crate::bind::column_default(&table, at, context).map(drop::<Expr>);
    bound.map_err(|error| match error.code() {
        SqlState::UndefinedColumn => SqlError::not_supported("cannot use column reference in DEFAULT expression"),
        _ => error,
    })
}
