//! COPY, and what a new row needs: defaults and rules.

use std::sync::Arc;

use catalog::{ColumnDefault, Table};
use sqlparser::ast;
use types::{CastContext, Datum, SqlError, SqlResult, SqlState, SqlType};

use super::{syntax, utility};
use crate::{
    PlanContext,
    bind::{Binder, bind_stored_expr, find_table, fold},
    expr::{Expr, SequenceOp},
    optimize_rel,
    plan::RowRules,
    statement::{CopyFormat, CopyOptions, PreparedPlan, Utility},
};

/// What a column is when INSERT or COPY does not give it.
pub(crate) fn column_default(table: &Table, position: usize, context: &PlanContext<'_>) -> SqlResult<Expr> {
    let column = &table.columns[position];
    Ok(match &column.default {
        _ if column.hidden => Expr::RowId,
        None | Some(ColumnDefault::Stored(_)) => Expr::Const(Datum::Null, column.ty),
        Some(ColumnDefault::Identity { sequence, .. }) => {
            let args = vec![Expr::Const(Datum::Int(i64::from(*sequence)), SqlType::RegClass)];
            cast(Expr::Sequence { op: SequenceOp::NextVal, args }, column.ty)
        }
        Some(ColumnDefault::Expr(text)) => cast(bind_stored_expr(text, table, context)?, column.ty),
    })
}

fn cast(expr: Expr, to: SqlType) -> Expr {
    if expr.ty() == to {
        return expr;
    }
    Expr::Cast { expr: Box::new(expr), to, context: CastContext::Assignment }
}

/// The rules of a table's rows.
pub(crate) fn row_rules(table: &Table, context: &PlanContext<'_>) -> SqlResult<RowRules> {
    let mut rules = RowRules::default();
    for (position, column) in table.columns.iter().enumerate() {
        if let Some(ColumnDefault::Stored(text)) = &column.default {
            rules.generated.push((position, cast(bind_stored_expr(text, table, context)?, column.ty)));
        }
    }
    for check in &table.checks {
        rules.checks.push((check.name.clone(), bind_stored_expr(&check.expr, table, context)?));
    }
    for index in &table.indexes {
        rules.predicates.push(match &index.predicate {
            Some(text) => Some(bind_stored_expr(text, table, context)?),
            None => None,
        });
    }
    Ok(rules)
}

pub(super) fn bind(
    source: &ast::CopySource,
    to: bool,
    target: &ast::CopyTarget,
    options: &[ast::CopyOption],
    legacy: &[ast::CopyLegacyOption],
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    match target {
        ast::CopyTarget::Stdin | ast::CopyTarget::Stdout => {}
        ast::CopyTarget::File { .. } | ast::CopyTarget::Program { .. } => {
            return Err(SqlError::not_supported("COPY to or from a file on the server")
                .with_hint("psql's \\copy command reads and writes files of the client."));
        }
    }
    match source {
        ast::CopySource::Query(query) => {
            if !to {
                return Err(syntax("COPY FROM takes a table, not a query"));
            }
            let (rel, mut binder) =
                Binder::bind_with(context, None, optimize_rel, |binder| binder.bind_query(query))?;
            let ctes = binder.take_ctes();
            let plan = optimize_rel(rel, context)?;
            let options = copy_options(options, legacy, &|_| Err(SqlError::not_supported("FORCE lists over a query")))?;
            let mut out = utility(Utility::CopyTo { plan, options }, "COPY", context);
            out.ctes = ctes;
            Ok(out)
        }
        ast::CopySource::Table { table_name, columns } => {
            let table = find_table(context, table_name)?;
            let positions = column_positions(&table, columns)?;
            let place = |name: &ast::Ident| {
                let name = fold(name);
                positions.iter().position(|&at| table.columns[at].name == name).ok_or_else(|| {
                    SqlError::new(SqlState::UndefinedColumn, format!("column \"{name}\" does not exist"))
                })
            };
            let options = copy_options(options, legacy, &place)?;
            if to {
                let names: Vec<String> =
                    positions.iter().map(|&at| format!("\"{}\"", table.columns[at].name.replace('"', "\"\""))).collect();
                let text = format!("SELECT {} FROM {table_name}", names.join(", "));
                let parsed = crate::parse::parse(&text)?;
                let Some(ast::Statement::Query(query)) = parsed.first().map(|statement| &statement.ast) else {
                    return Err(SqlError::internal("a SELECT that was put together is no query"));
                };
                let (rel, _) = Binder::bind_with(context, None, optimize_rel, |binder| binder.bind_query(query))?;
                let plan = optimize_rel(rel, context)?;
                return Ok(utility(Utility::CopyTo { plan, options }, "COPY", context));
            }
            let mut defaults = Vec::with_capacity(table.columns.len());
            for position in 0..table.columns.len() {
                defaults.push(if positions.contains(&position) {
                    Expr::Const(Datum::Null, table.columns[position].ty)
                } else {
                    column_default(&table, position, context)?
                });
            }
            let row_rules = row_rules(&table, context)?;
            let copy = Utility::CopyFrom { table, columns: positions, defaults, row_rules, options };
            Ok(utility(copy, "COPY", context))
        }
    }
}

fn column_positions(table: &Arc<Table>, names: &[ast::Ident]) -> SqlResult<Vec<usize>> {
    if names.is_empty() {
        let given = table.visible_columns().filter(|(_, column)| !matches!(column.default, Some(ColumnDefault::Stored(_))));
        return Ok(given.map(|(position, _)| position).collect());
    }
    names
        .iter()
        .map(|name| {
            let name = fold(name);
            table.column_named(&name).map(|(position, _)| position).ok_or_else(|| {
                SqlError::new(
                    SqlState::UndefinedColumn,
                    format!("column \"{name}\" of relation \"{}\" does not exist", table.name),
                )
            })
        })
        .collect()
}

fn copy_options(
    options: &[ast::CopyOption],
    legacy: &[ast::CopyLegacyOption],
    place: &dyn Fn(&ast::Ident) -> SqlResult<usize>,
) -> SqlResult<CopyOptions> {
    let mut format = CopyFormat::Text;
    for option in options {
        if let ast::CopyOption::Format(name) = option {
            format = match name.value.to_lowercase().as_str() {
                "text" => CopyFormat::Text,
                "csv" => CopyFormat::Csv,
                "binary" => CopyFormat::Binary,
                other => {
                    return Err(SqlError::new(
                        SqlState::InvalidParameterValue,
                        format!("COPY format \"{other}\" not recognized"),
                    ));
                }
            };
        }
    }
    if legacy.iter().any(|option| matches!(option, ast::CopyLegacyOption::Csv(_))) {
        format = CopyFormat::Csv;
    }
    if legacy.iter().any(|option| matches!(option, ast::CopyLegacyOption::Binary)) {
        format = CopyFormat::Binary;
    }
    let csv = format == CopyFormat::Csv;
    let mut found = CopyOptions {
        format,
        delimiter: if csv { b',' } else { b'\t' },
        null: if csv { String::new() } else { "\\N".into() },
        header: false,
        quote: b'"',
        escape: b'"',
        force_quote: Vec::new(),
        force_not_null: Vec::new(),
        force_null: Vec::new(),
        freeze: false,
    };
    let byte = |what: &str, c: char| {
        u8::try_from(c).ok().filter(u8::is_ascii).ok_or_else(|| {
            SqlError::new(SqlState::InvalidParameterValue, format!("COPY {what} must be a single one-byte character"))
        })
    };
    let places = |names: &[ast::Ident]| names.iter().map(place).collect::<SqlResult<Vec<usize>>>();
    let mut escape = None;
    for option in options {
        match option {
            ast::CopyOption::Format(_) | ast::CopyOption::Encoding(_) => {}
            ast::CopyOption::Freeze(freeze) => found.freeze = *freeze,
            ast::CopyOption::Delimiter(c) => found.delimiter = byte("delimiter", *c)?,
            ast::CopyOption::Null(text) => found.null.clone_from(text),
            ast::CopyOption::Header(header) => found.header = *header,
            ast::CopyOption::Quote(c) => found.quote = byte("quote", *c)?,
            ast::CopyOption::Escape(c) => escape = Some(byte("escape", *c)?),
            ast::CopyOption::ForceQuote(names) => found.force_quote = places(names)?,
            ast::CopyOption::ForceNotNull(names) => found.force_not_null = places(names)?,
            ast::CopyOption::ForceNull(names) => found.force_null = places(names)?,
        }
    }
    for option in legacy {
        match option {
            ast::CopyLegacyOption::Delimiter(c) => found.delimiter = byte("delimiter", *c)?,
            ast::CopyLegacyOption::Null(text) => found.null.clone_from(text),
            ast::CopyLegacyOption::Header => found.header = true,
            ast::CopyLegacyOption::Csv(options) => {
                for option in options {
                    match option {
                        ast::CopyLegacyCsvOption::Header => found.header = true,
                        ast::CopyLegacyCsvOption::Quote(c) => found.quote = byte("quote", *c)?,
                        ast::CopyLegacyCsvOption::Escape(c) => escape = Some(byte("escape", *c)?),
                        ast::CopyLegacyCsvOption::ForceQuote(names) => found.force_quote = places(names)?,
                        ast::CopyLegacyCsvOption::ForceNotNull(names) => found.force_not_null = places(names)?,
                    }
                }
            }
            _ => {}
        }
    }
    found.escape = escape.unwrap_or(found.quote);
    Ok(found)
}
