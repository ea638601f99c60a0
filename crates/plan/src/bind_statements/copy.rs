//! COPY.

use std::sync::Arc;

use catalog::privilege::{Access, PrivilegeSet, RelationNeed};
use catalog::{ColumnDefault, Relation, Table, TriggerEvent};
use sqlparser::ast;
use types::{Datum, SqlError, SqlResult, SqlState};

use super::{syntax, utility};
use crate::{
    PlanContext,
    bind::{
        Binder, Clause, NO_COPY_FROM, checked_column, column_default, find_relation, fold, no_relation, qualified_name,
        row_rules, row_security_is_active, without_domains,
    },
    expr::Expr,
    needs::Mention,
    optimize_rel,
    parse::own::{Copy, CopySource, CopyValue},
    plan::PlanColumn,
    scope::Scope,
    statement::{CopyFormat, CopyOptions, PreparedPlan, Utility},
};

pub(super) fn bind(copy: &Copy, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    if copy.on_server {
        return Err(SqlError::not_supported("COPY to or from a file on the server")
            .with_hint("psql's \\copy command reads and writes files of the client."));
    }
    match &copy.source {
        CopySource::Query(query) => {
            if !copy.to {
                return Err(syntax("COPY FROM takes a table, not a query"));
            }
            copy_out(query, copy, context)
        }
        CopySource::Table { name, columns } if copy.to => {
            let table = match relation_of(name, context)? {
                Relation::Table(table) if table.is_partitioned() => {
                    let message = format!("cannot copy from partitioned table \"{}\"", table.name);
                    return Err(SqlError::new(SqlState::WrongObjectType, message)
                        .with_hint("Try the COPY (SELECT ...) TO variant."));
                }
                Relation::Table(table) if table.materialized.is_none() => table,
                other => return Err(cannot_copy("from", &other)),
            };
            let positions = column_positions(&table, columns)?;
            let selected = positions.iter().map(|at| table.columns[*at].id.get()).collect();
            check_privileges(&table, RelationNeed { privileges: PrivilegeSet::SELECT, selected, ..RelationNeed::default() }, context)?;
            let names: Vec<String> = positions
                .into_iter()
                .map(|at| ast::Ident::with_quote('"', &table.columns[at].name).to_string())
                .collect();
            let parsed = crate::parse::parse(&format!("SELECT {} FROM {name}", names.join(", ")))?;
            match parsed.into_iter().next().map(|statement| statement.body) {
                Some(crate::parse::Body::Standard(ast::Statement::Query(query))) => copy_out(&query, copy, context),
                _ => Err(SqlError::internal("a SELECT that was put together is no query")),
            }
        }
        CopySource::Table { name, columns } => match relation_of(name, context)? {
            Relation::Table(table) if table.materialized.is_none() => copy_in(&table, columns, copy, context),
            Relation::View(view) if view.has_instead_of(TriggerEvent::Insert) => {
                copy_in(view.as_table(), columns, copy, context)
            }
            other => Err(cannot_copy("to", &other)),
        },
    }
}

/// Of COPY's table, which privileges are asked for first, and then row security.
fn check_privileges(table: &Table, need: RelationNeed, context: &PlanContext<'_>) -> SqlResult<()> {
    let Some(security) = context.security.filter(|_| table.has_row_security()) else { return Ok(()) };
    let access = Access { roles: security.roles, ..context.catalog.access(context.database) };
    access.check_relation(security.user, &RelationNeed { relation: table.id, ..need })
}

fn relation_of(name: &ast::ObjectName, context: &PlanContext<'_>) -> SqlResult<Relation> {
    let (schema, relation) = qualified_name(context, name)?;
    find_relation(context, schema.as_deref(), &relation)?.ok_or_else(|| no_relation(schema.as_deref(), &relation))
}

fn cannot_copy(direction: &str, relation: &Relation) -> SqlError {
    let message = format!("cannot copy {direction} {} \"{}\"", relation.kind(), relation.name());
    let error = SqlError::new(SqlState::WrongObjectType, message);
    match (direction, relation) {
        ("from", Relation::View(_) | Relation::Table(_)) => error.with_hint("Try the COPY (SELECT ...) TO variant."),
        ("to", Relation::View(_)) => {
            error.with_hint("To enable copying to a view, provide an INSTEAD OF INSERT trigger.")
        }
        _ => error,
    }
}

fn copy_out(query: &ast::Query, copy: &Copy, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    if matches!(*query.body, ast::SetExpr::Merge(_)) {
        return Err(SqlError::not_supported("MERGE not supported in COPY"));
    }
    let (rel, mut binder) = Binder::bind_with(context, None, optimize_rel, |binder| binder.bind_query(query))?;
    let ctes = binder.take_ctes();
    let plan = optimize_rel(rel, context)?;
    let names: Vec<&str> = plan.columns.iter().map(|column: &PlanColumn| column.name.as_str()).collect();
    let options = copy_options(copy, &names)?;
    let mut out = utility(Utility::CopyTo { plan, options }, "COPY", context);
    out.ctes = ctes;
    Ok(out)
}

fn copy_in(
    table: &Arc<Table>,
    columns: &[ast::Ident],
    copy: &Copy,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let positions = column_positions(table, columns)?;
    let mention = context.notes.needs.mention(table.id, None, PrivilegeSet::INSERT);
    mention.inserts(table, &positions);
    let inserted = positions.iter().map(|at| table.columns[*at].id.get()).collect();
    check_privileges(table, RelationNeed { privileges: PrivilegeSet::INSERT, inserted, ..RelationNeed::default() }, context)?;
    if row_security_is_active(table, context)? {
        return Err(SqlError::not_supported(NO_COPY_FROM)
            .with_hint("Use INSERT statements instead."));
    }
    let names: Vec<&str> = positions.iter().map(|&at| table.columns[at].name.as_str()).collect();
    let options = copy_options(copy, &names)?;
    let mut defaults = Vec::with_capacity(table.columns.len());
    for position in 0..table.columns.len() {
        defaults.push(if positions.contains(&position) {
            Expr::Const(Datum::Null, table.columns[position].ty)
        } else {
            column_default(table, position, context)?
        });
    }
    let mut domains = Vec::new();
    for position in &positions {
        domains.extend(checked_column(table, *position, context)?);
    }
    let filter = match &copy.filter {
        None => None,
        Some(expr) => Some(filter(expr, table, &mention, context)?),
    };
    let row_rules = row_rules(table, context)?;
    let copy = Utility::CopyFrom { table: table.clone(), columns: positions, defaults, domains, filter, row_rules, options };
    Ok(utility(copy, "COPY", context))
}

/// COPY … WHERE, over the row that would be stored.
fn filter(expr: &ast::Expr, table: &Table, mention: &Mention, context: &PlanContext<'_>) -> SqlResult<Expr> {
    let mut binder = Binder::new(context, None);
    let level = binder.level();
    let scope = Scope::of_range(&level, crate::bind::stored_range(table)).reading(mention.of_table(table));
    let mut bound = binder.with_frame(Clause::Where, |binder| binder.boolean(expr, &scope, "WHERE"))?;
    without_domains(&mut bound);
    Ok(bound)
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

fn copy_options(copy: &Copy, columns: &[&str]) -> SqlResult<CopyOptions> {
    let invalid = |message: String| SqlError::new(SqlState::InvalidParameterValue, message);
    let mut format = CopyFormat::Text;
    for (name, value) in &copy.options {
        if let ("format", CopyValue::Text(value)) = (&**name, value) {
            format = match value.to_lowercase().as_str() {
                "text" => CopyFormat::Text,
                "csv" => CopyFormat::Csv,
                "binary" => CopyFormat::Binary,
                _ => return Err(invalid(format!("COPY format \"{value}\" not recognized"))),
            };
        }
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
    let mut escape = None;
    for (name, value) in &copy.options {
        if !csv && matches!(&**name, "quote" | "escape" | "force_quote" | "force_not_null" | "force_null") {
            let shown = name.replace('_', " ");
            return Err(SqlError::not_supported(format!("COPY {shown} available only in CSV mode")));
        }
        match &**name {
            "format" | "encoding" => {}
            "freeze" => found.freeze = switch(name, value)?,
            "header" => found.header = matches!(value, CopyValue::Text(text) if text.eq_ignore_ascii_case("match")) || switch(name, value)?,
            "delimiter" => found.delimiter = byte(name, value)?,
            "quote" => found.quote = byte(name, value)?,
            "escape" => escape = Some(byte(name, value)?),
            "null" => found.null = text(name, value)?.to_owned(),
            "force_quote" => found.force_quote = places(name, value, columns)?,
            "force_not_null" => found.force_not_null = places(name, value, columns)?,
            "force_null" => found.force_null = places(name, value, columns)?,
            _ => return Err(syntax(format!("option \"{name}\" not recognized"))),
        }
    }
    found.escape = escape.unwrap_or(found.quote);
    if csv && found.quote == found.delimiter {
        return Err(invalid("COPY delimiter and quote must be different".into()));
    }
    Ok(found)
}

fn text<'a>(name: &str, value: &'a CopyValue) -> SqlResult<&'a str> {
    match value {
        CopyValue::Text(text) => Ok(text),
        CopyValue::None | CopyValue::Names(_) | CopyValue::All => Err(syntax(format!("{name} requires a parameter"))),
    }
}

fn byte(name: &str, value: &CopyValue) -> SqlResult<u8> {
    match text(name, value)?.as_bytes() {
        [byte] => Ok(*byte),
        _ => Err(SqlError::not_supported(format!("COPY {name} must be a single one-byte character"))),
    }
}

fn switch(name: &str, value: &CopyValue) -> SqlResult<bool> {
    match value {
        CopyValue::None => Ok(true),
        CopyValue::Text(text) => match text.to_lowercase().as_str() {
            "true" | "on" | "1" => Ok(true),
            "false" | "off" | "0" => Ok(false),
            _ => Err(syntax(format!("{name} requires a Boolean value"))),
        },
        CopyValue::Names(_) | CopyValue::All => Err(syntax(format!("{name} requires a Boolean value"))),
    }
}

/// Places among the columns of the data.
fn places(name: &str, value: &CopyValue, columns: &[&str]) -> SqlResult<Vec<usize>> {
    match value {
        CopyValue::All => Ok((0..columns.len()).collect()),
        CopyValue::Names(names) => names
            .iter()
            .map(|wanted| {
                let wanted = fold(wanted);
                columns.iter().position(|known| *known == wanted).ok_or_else(|| {
                    let shown = name.replace('_', " ").to_uppercase();
                    SqlError::new(
                        SqlState::InvalidColumnReference,
                        format!("{shown} column \"{wanted}\" not referenced by COPY"),
                    )
                })
            })
            .collect(),
        CopyValue::None | CopyValue::Text(_) => Err(syntax(format!("argument to option \"{name}\" must be a list of column names"))),
    }
}
