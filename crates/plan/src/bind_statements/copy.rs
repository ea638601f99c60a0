//! COPY.

use std::sync::Arc;

use catalog::privilege::access::{EXECUTE_SERVER_PROGRAM, READ_SERVER_FILES, WRITE_SERVER_FILES};
use catalog::privilege::{Access, Need, PrivilegeSet, RelationNeed};
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
    statement::{CopyEncoding, CopyFormat, CopyHeader, CopyOnError, CopyOptions, PreparedPlan, ServerEnd, Utility},
};

pub(super) fn bind(copy: &Copy, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    if copy.to && copy.filter.is_some() {
        return Err(syntax("WHERE clause not allowed with COPY TO"));
    }
    match (&copy.server, copy.to) {
        (None, _) => {}
        (Some(ServerEnd::Program(_)), _) => {
            let what = "COPY to or from an external program";
            context.notes.needs.add(Need::Member { of: EXECUTE_SERVER_PROGRAM, what });
        }
        (Some(ServerEnd::File(_)), false) => {
            context.notes.needs.add(Need::Member { of: READ_SERVER_FILES, what: "COPY from a file" });
        }
        (Some(ServerEnd::File(_)), true) => {
            context.notes.needs.add(Need::Member { of: WRITE_SERVER_FILES, what: "COPY to a file" });
        }
    }
    match &copy.source {
        CopySource::Query(query) => copy_out(query, copy, context),
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
    if super::is_into(&query.body) {
        return Err(SqlError::not_supported("COPY (SELECT INTO) is not supported"));
    }
    let (rel, mut binder) = Binder::bind_with(context, None, optimize_rel, |binder| binder.bind_query(query))?;
    let ctes = binder.take_ctes();
    let plan = optimize_rel(rel, context)?;
    if plan.columns.is_empty() && changes_rows(&query.body) {
        return Err(SqlError::not_supported("COPY query must have a RETURNING clause"));
    }
    let names: Vec<&str> = plan.columns.iter().map(|column: &PlanColumn| column.name.as_str()).collect();
    let options = copy_options(copy, &names, context)?;
    let copy = Utility::CopyTo { plan, options, server: copy.server.clone() };
    let mut out = utility(copy, "COPY", context);
    out.ctes = ctes;
    Ok(out)
}

/// Whether FREEZE is asked for.
fn options_freeze(copy: &Copy) -> bool {
    copy.options.iter().any(|(name, value)| name == "freeze" && switch(name, value) == Ok(true))
}

fn changes_rows(body: &ast::SetExpr) -> bool {
    matches!(body, ast::SetExpr::Insert(_) | ast::SetExpr::Update(_) | ast::SetExpr::Delete(_))
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
    if options_freeze(copy) && table.is_partitioned() {
        return Err(SqlError::not_supported("cannot perform COPY FREEZE on a partitioned table"));
    }
    if row_security_is_active(table, context)? {
        return Err(SqlError::not_supported(NO_COPY_FROM)
            .with_hint("Use INSERT statements instead."));
    }
    let names: Vec<&str> = positions.iter().map(|&at| table.columns[at].name.as_str()).collect();
    let options = copy_options(copy, &names, context)?;
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
    let mut marked = Vec::new();
    if options.default.is_some() {
        for position in &positions {
            let default = column_default(table, *position, context)?;
            let has_default = !matches!(default, Expr::Const(Datum::Null, _));
            marked.push((has_default || table.columns[*position].default.is_some()).then_some(default));
        }
    }
    let row_rules = row_rules(table, context)?;
    let server = copy.server.clone();
    let table = table.clone();
    let copy = Utility::CopyFrom { table, columns: positions, defaults, domains, filter, row_rules, options, marked, server };
    Ok(utility(copy, "COPY", context))
}

/// COPY … WHERE, over the row that would be stored.
fn filter(expr: &ast::Expr, table: &Table, mention: &Mention, context: &PlanContext<'_>) -> SqlResult<Expr> {
    let mut binder = Binder::new(context, None);
    let level = binder.level();
    let scope = Scope::of_range(&level, crate::bind::stored_range(table)).reading(mention.of_table(table));
    let mut bound = binder.with_frame(Clause::CopyWhere, |binder| binder.boolean(expr, &scope, "WHERE"))?;
    if bound.any(&mut |expr| matches!(expr, Expr::Subquery(_))) {
        return Err(SqlError::not_supported("cannot use subquery in COPY FROM WHERE condition"));
    }
    let generated = |expr: &Expr| match expr {
        Expr::Column(at, _) => table.columns.get(*at).filter(|column| matches!(column.default, Some(ColumnDefault::Stored(_)))),
        _ => None,
    };
    let mut found = None;
    bound.any(&mut |expr| {
        found = found.or_else(|| generated(expr));
        found.is_some()
    });
    if let Some(column) = found {
        let message = "generated columns are not supported in COPY FROM WHERE conditions";
        return Err(SqlError::new(SqlState::InvalidColumnReference, message)
            .with_detail(format!("Column \"{}\" is a generated column.", column.name)));
    }
    without_domains(&mut bound);
    Ok(bound)
}

fn column_positions(table: &Arc<Table>, names: &[ast::Ident]) -> SqlResult<Vec<usize>> {
    let is_generated = |position: usize| matches!(table.columns[position].default, Some(ColumnDefault::Stored(_)));
    if names.is_empty() {
        return Ok(table.visible_columns().map(|(position, _)| position).filter(|at| !is_generated(*at)).collect());
    }
    let mut positions: Vec<usize> = Vec::with_capacity(names.len());
    for name in names {
        let name = fold(name);
        let position = table_column(table, &name)?;
        if is_generated(position) {
            let message = format!("column \"{name}\" is a generated column");
            return Err(SqlError::new(SqlState::InvalidColumnReference, message)
                .with_detail("Generated columns cannot be used in COPY."));
        }
        if positions.contains(&position) {
            return Err(SqlError::new(SqlState::DuplicateColumn, format!("column \"{name}\" specified more than once")));
        }
        positions.push(position);
    }
    Ok(positions)
}

fn table_column(table: &Table, name: &str) -> SqlResult<usize> {
    table.column_named(name).map(|(position, _)| position).ok_or_else(|| {
        let message = format!("column \"{name}\" of relation \"{}\" does not exist", table.name);
        SqlError::new(SqlState::UndefinedColumn, message)
    })
}

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::InvalidParameterValue, message)
}

/// The options as they are written, each at most once.
#[derive(Default)]
struct Given<'a> {
    format: Option<CopyFormat>,
    freeze: Option<bool>,
    delimiter: Option<&'a str>,
    null: Option<&'a str>,
    default: Option<&'a str>,
    header: Option<CopyHeader>,
    quote: Option<&'a str>,
    escape: Option<&'a str>,
    force_quote: Option<&'a CopyValue>,
    force_not_null: Option<&'a CopyValue>,
    force_null: Option<&'a CopyValue>,
    encoding: Option<CopyEncoding>,
    ignores_errors: Option<bool>,
    is_verbose: Option<bool>,
}

/// Sets what was not set yet.
fn once<T>(place: &mut Option<T>, value: SqlResult<T>) -> SqlResult<()> {
    if place.is_some() {
        return Err(syntax("conflicting or redundant options"));
    }
    *place = Some(value?);
    Ok(())
}

impl<'a> Given<'a> {
    fn read(copy: &'a Copy) -> SqlResult<Self> {
        let mut given = Self::default();
        for (name, value) in &copy.options {
            match &**name {
                "format" => once(&mut given.format, format_of(name, value))?,
                "freeze" => once(&mut given.freeze, switch(name, value))?,
                "delimiter" => once(&mut given.delimiter, text(name, value))?,
                "null" => once(&mut given.null, text(name, value))?,
                "default" => once(&mut given.default, text(name, value))?,
                "header" => once(&mut given.header, header(value, copy.to))?,
                "quote" => once(&mut given.quote, text(name, value))?,
                "escape" => once(&mut given.escape, text(name, value))?,
                "force_quote" => once(&mut given.force_quote, columns_or_all(name, value))?,
                "force_not_null" => once(&mut given.force_not_null, columns(name, value))?,
                "force_null" => once(&mut given.force_null, columns(name, value))?,
                "encoding" => once(&mut given.encoding, encoding(name, value))?,
                "on_error" => once(&mut given.ignores_errors, on_error(value, copy.to))?,
                "log_verbosity" => once(&mut given.is_verbose, verbosity(value))?,
                _ => return Err(syntax(format!("option \"{name}\" not recognized"))),
            }
        }
        Ok(given)
    }
}

/// The checks are in PostgreSQL's order.
fn copy_options(copy: &Copy, names: &[&str], context: &PlanContext<'_>) -> SqlResult<CopyOptions> {
    let given = Given::read(copy)?;
    let format = given.format.unwrap_or(CopyFormat::Text);
    let (is_csv, is_binary) = (format == CopyFormat::Csv, format == CopyFormat::Binary);
    for (name, is_given) in [
        ("DELIMITER", given.delimiter.is_some()), ("NULL", given.null.is_some()), ("DEFAULT", given.default.is_some()),
    ] {
        if is_binary && is_given {
            return Err(syntax(format!("cannot specify {name} in BINARY mode")));
        }
    }
    let mut found = CopyOptions::new(format);
    if let Some(delimiter) = given.delimiter {
        found.delimiter = byte("delimiter", delimiter)?;
    }
    let breaks_line = |text: &str| text.contains(['\r', '\n']);
    if matches!(found.delimiter, b'\r' | b'\n') {
        return Err(invalid("COPY delimiter cannot be newline or carriage return"));
    }
    if let Some(null) = given.null {
        null.clone_into(&mut found.null);
    }
    if breaks_line(&found.null) {
        return Err(invalid("COPY null representation cannot use newline or carriage return"));
    }
    if given.default.is_some_and(breaks_line) {
        return Err(invalid("COPY default representation cannot use newline or carriage return"));
    }
    let is_reserved = matches!(found.delimiter, b'\\' | b'.' | b'a'..=b'z' | b'0'..=b'9');
    if !is_csv && is_reserved {
        return Err(invalid(format!("COPY delimiter cannot be \"{}\"", char::from(found.delimiter))));
    }
    found.header = given.header.unwrap_or_default();
    if is_binary && found.header != CopyHeader::Absent {
        return Err(SqlError::not_supported("cannot specify HEADER in BINARY mode"));
    }
    let only_csv = |name: &str| Err(SqlError::not_supported(format!("COPY {name} available only in CSV mode")));
    if let Some(quote) = given.quote {
        if !is_csv {
            return only_csv("quote");
        }
        found.quote = byte("quote", quote)?;
    }
    if is_csv && found.quote == found.delimiter {
        return Err(invalid("COPY delimiter and quote must be different"));
    }
    found.escape = found.quote;
    if let Some(escape) = given.escape {
        if !is_csv {
            return only_csv("escape");
        }
        found.escape = byte("escape", escape)?;
    }
    for (name, value, is_for_from) in [
        ("force quote", given.force_quote, false), ("force not null", given.force_not_null, true),
        ("force null", given.force_null, true),
    ] {
        if value.is_none() {
            continue;
        }
        if !is_csv {
            return only_csv(name);
        }
        if copy.to == is_for_from {
            let direction = if is_for_from { "FROM" } else { "TO" };
            return Err(SqlError::not_supported(format!("COPY {name} only available using COPY {direction}")));
        }
    }
    check_marks(&found, given.default, copy)?;
    found.default = given.default.map(str::to_owned);
    let places = |name: &str, value: Option<&CopyValue>| match value {
        Some(value) => places(name, value, names, copy, context),
        None => Ok(Vec::new()),
    };
    found.force_quote = places("FORCE_QUOTE", given.force_quote)?;
    found.force_not_null = places("FORCE_NOT_NULL", given.force_not_null)?;
    found.force_null = places("FORCE_NULL", given.force_null)?;
    found.freeze = given.freeze.unwrap_or(false);
    found.encoding = given.encoding.unwrap_or_default();
    if given.ignores_errors == Some(true) {
        if is_binary {
            return Err(syntax("only ON_ERROR STOP is allowed in BINARY mode"));
        }
        found.on_error = CopyOnError::Ignore { verbose: given.is_verbose.unwrap_or(false) };
    }
    Ok(found)
}

/// What stands for NULL and for a default can be told from all else, and from each other.
fn check_marks(options: &CopyOptions, default: Option<&str>, copy: &Copy) -> SqlResult<()> {
    let is_csv = options.format == CopyFormat::Csv;
    let mut marks = vec![("NULL", &*options.null)];
    if let Some(default) = default {
        if copy.to {
            return Err(SqlError::not_supported("COPY DEFAULT only available using COPY FROM"));
        }
        marks.push(("DEFAULT", default));
    }
    for (name, mark) in marks {
        if options.format != CopyFormat::Binary && mark.bytes().any(|byte| byte == options.delimiter) {
            let whose = if name == "NULL" { "COPY delimiter" } else { "COPY delimiter character" };
            return Err(SqlError::not_supported(format!("{whose} must not appear in the {name} specification")));
        }
        if is_csv && mark.bytes().any(|byte| byte == options.quote) {
            let message = format!("CSV quote character must not appear in the {name} specification");
            return Err(SqlError::not_supported(message));
        }
    }
    if default == Some(&*options.null) {
        return Err(SqlError::not_supported("NULL specification and DEFAULT specification cannot be the same"));
    }
    Ok(())
}

fn format_of(name: &str, value: &CopyValue) -> SqlResult<CopyFormat> {
    match text(name, value)? {
        "text" => Ok(CopyFormat::Text),
        "csv" => Ok(CopyFormat::Csv),
        "binary" => Ok(CopyFormat::Binary),
        other => Err(invalid(format!("COPY format \"{other}\" not recognized"))),
    }
}

fn header(value: &CopyValue, to: bool) -> SqlResult<CopyHeader> {
    if matches!(value, CopyValue::Text(text) if text.eq_ignore_ascii_case("match")) {
        if to {
            return Err(SqlError::not_supported("cannot use \"match\" with HEADER in COPY TO"));
        }
        return Ok(CopyHeader::Match);
    }
    match switch("header", value) {
        Ok(true) => Ok(CopyHeader::Present),
        Ok(false) => Ok(CopyHeader::Absent),
        Err(_) => Err(syntax("header requires a Boolean value or \"match\"")),
    }
}

fn encoding(name: &str, value: &CopyValue) -> SqlResult<CopyEncoding> {
    let written = text(name, value)?;
    // Names are compared by their letters and digits.
    let plain: String = written.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    match &*plain {
        "utf8" | "unicode" | "sqlascii" => Ok(CopyEncoding::Utf8),
        "latin1" | "iso88591" => Ok(CopyEncoding::Latin1),
        known if ENCODINGS.contains(&known) => {
            Err(SqlError::not_supported(format!("conversion between {} and UTF8 is not supported", written.to_uppercase()))
                .with_hint("COPY knows UTF8 and LATIN1."))
        }
        _ => Err(invalid(format!("argument to option \"{name}\" must be a valid encoding name"))),
    }
}

/// PostgreSQL's other encodings.
const ENCODINGS: [&str; 52] = [
    "abc", "alt", "big5", "eucjis2004", "eucjp", "euccn", "euckr", "euctw", "gb18030", "gbk", "iso885910", "iso885913",
    "iso885914", "iso885915", "iso885916", "iso88592", "iso88593", "iso88594", "iso88595", "iso88596", "iso88597",
    "iso88598", "iso88599", "johab", "koi8", "koi8r", "koi8u", "latin10", "latin2", "latin3", "latin4", "latin5", "latin6",
    "latin7", "latin8", "latin9", "muleinternal", "mskanji", "shiftjis", "shiftjis2004", "sjis", "tcvn", "uhc",
    "win", "win1250", "win1251", "win1252", "win1256", "win1257", "win1258", "win866", "windows1252",
];

fn on_error(value: &CopyValue, to: bool) -> SqlResult<bool> {
    if to {
        return Err(invalid("COPY ON_ERROR cannot be used with COPY TO"));
    }
    match text("on_error", value)? {
        known if known.eq_ignore_ascii_case("stop") => Ok(false),
        known if known.eq_ignore_ascii_case("ignore") => Ok(true),
        other => Err(invalid(format!("COPY ON_ERROR \"{other}\" not recognized"))),
    }
}

fn verbosity(value: &CopyValue) -> SqlResult<bool> {
    match text("log_verbosity", value)? {
        known if known.eq_ignore_ascii_case("default") => Ok(false),
        known if known.eq_ignore_ascii_case("verbose") => Ok(true),
        other => Err(invalid(format!("COPY LOG_VERBOSITY \"{other}\" not recognized"))),
    }
}

fn text<'a>(name: &str, value: &'a CopyValue) -> SqlResult<&'a str> {
    match value {
        CopyValue::Text(text) => Ok(text),
        CopyValue::None | CopyValue::Names(_) | CopyValue::All => Err(syntax(format!("{name} requires a parameter"))),
    }
}

fn byte(name: &str, text: &str) -> SqlResult<u8> {
    match text.as_bytes() {
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

fn columns<'a>(name: &str, value: &'a CopyValue) -> SqlResult<&'a CopyValue> {
    match value {
        CopyValue::Names(_) => Ok(value),
        CopyValue::All | CopyValue::None | CopyValue::Text(_) => {
            Err(invalid(format!("argument to option \"{name}\" must be a list of column names")))
        }
    }
}

fn columns_or_all<'a>(name: &str, value: &'a CopyValue) -> SqlResult<&'a CopyValue> {
    if matches!(value, CopyValue::All) { Ok(value) } else { columns(name, value) }
}

/// Places among the columns of the data.
fn places(
    name: &str,
    value: &CopyValue,
    columns: &[&str],
    copy: &Copy,
    context: &PlanContext<'_>,
) -> SqlResult<Vec<usize>> {
    match value {
        CopyValue::All => Ok((0..columns.len()).collect()),
        CopyValue::Names(names) => names
            .iter()
            .map(|wanted| {
                let wanted = fold(wanted);
                columns.iter().position(|known| *known == wanted).ok_or_else(|| not_referenced(name, &wanted, copy, context))
            })
            .collect(),
        CopyValue::None | CopyValue::Text(_) => Ok(Vec::new()),
    }
}

fn not_referenced(option: &str, column: &str, copy: &Copy, context: &PlanContext<'_>) -> SqlError {
    let message = match &copy.source {
        CopySource::Query(_) => {
            return SqlError::new(SqlState::UndefinedColumn, format!("column \"{column}\" does not exist"));
        }
        CopySource::Table { name, .. } => {
            let table = relation_of(name, context).ok().and_then(|found| match found {
                Relation::Table(table) => Some(table),
                Relation::View(_) | Relation::Sequence(_) => None,
            });
            if let Some(Err(error)) = table.map(|table| table_column(&table, column)) {
                return error;
            }
            format!("{option} column \"{column}\" not referenced by COPY")
        }
    };
    SqlError::new(SqlState::InvalidColumnReference, message)
}
