//! CREATE TABLE, INDEX, VIEW, SEQUENCE.

use sqlparser::ast;
use types::{SqlError, SqlResult, SqlState, SqlType};

use super::{ddl, new_name};
use crate::{
    PlanContext,
    bind::{Binder, bind_type, find_table, fold, name_parts, qualified_name},
    optimize_rel,
    statement::{
        CheckSpec, ColumnSpec, CreateTable, Ddl, DefaultSpec, IndexColumnSpec, IndexSpec, PreparedPlan,
        SequenceOptions,
    },
};

fn not_yet(what: &str) -> SqlError {
    SqlError::not_supported(what)
}

/// What a column definition says besides the column itself.
#[derive(Default)]
pub(super) struct Constraints {
    pub indexes: Vec<IndexSpec>,
    pub checks: Vec<CheckSpec>,
}

fn key_column(name: &str) -> IndexColumnSpec {
    IndexColumnSpec { name: name.to_owned(), descending: false, nulls_first: None }
}

/// SERIAL and its kin are no types of their own.
fn serial_type(name: &ast::DataType) -> Option<SqlType> {
    let ast::DataType::Custom(name, _) = name else { return None };
    match name.to_string().to_lowercase().as_str() {
        "smallserial" | "serial2" => Some(SqlType::Int2),
        "serial" | "serial4" => Some(SqlType::Int4),
        "bigserial" | "serial8" => Some(SqlType::Int8),
        _ => None,
    }
}

/// The words of an expression, among which are the columns that it mentions.
fn mentioned(expr: &ast::Expr) -> Vec<String> {
    use sqlparser::{dialect::PostgreSqlDialect, tokenizer::{Token, Tokenizer}};
    let text = expr.to_string();
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, &text).tokenize().unwrap_or_default();
    let mut names: Vec<String> = tokens
        .into_iter()
        .filter_map(|token| match token {
            Token::Word(word) if word.quote_style.is_some() => Some(word.value),
            Token::Word(word) => Some(word.value.to_lowercase()),
            _ => None,
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

pub(super) fn column(def: &ast::ColumnDef, out: &mut Constraints) -> SqlResult<ColumnSpec> {
    let name = fold(&def.name);
    let serial = serial_type(&def.data_type);
    let ty = match serial {
        Some(ty) => ty,
        None => bind_type(&def.data_type)?,
    };
    let mut spec = ColumnSpec { name: name.clone(), ty, nullable: true, default: serial.map(|_| DefaultSpec::Serial) };
    for option in &def.options {
        let given = option.name.as_ref().map(fold);
        match &option.option {
            ast::ColumnOption::Null => spec.nullable = true,
            ast::ColumnOption::NotNull => spec.nullable = false,
            ast::ColumnOption::Default(expr) => spec.default = Some(DefaultSpec::Expr(expr.to_string())),
            ast::ColumnOption::PrimaryKey(key) => {
                spec.nullable = false;
                out.indexes.push(IndexSpec {
                    name: given.or_else(|| key.name.as_ref().map(fold)),
                    unique: true,
                    primary: true,
                    constraint: true,
                    columns: vec![key_column(&name)],
                    included: Vec::new(),
                    predicate: None,
                });
            }
            ast::ColumnOption::Unique(key) => out.indexes.push(IndexSpec {
                name: given.or_else(|| key.name.as_ref().map(fold)),
                unique: true,
                primary: false,
                constraint: true,
                columns: vec![key_column(&name)],
                included: Vec::new(),
                predicate: None,
            }),
            ast::ColumnOption::Check(check) => out.checks.push(CheckSpec {
                name: given.or_else(|| check.name.as_ref().map(fold)),
                expr: check.expr.to_string(),
                columns: mentioned(&check.expr),
            }),
            ast::ColumnOption::Generated { generated_as, sequence_options, generation_expr, .. } => {
                spec.default = Some(match (generated_as, generation_expr) {
                    (_, Some(expr)) => DefaultSpec::Stored(expr.to_string()),
                    (kind, None) => DefaultSpec::Identity {
                        always: matches!(kind, ast::GeneratedAs::Always),
                        options: sequence_list(sequence_options.as_deref().unwrap_or_default())?,
                    },
                });
            }
            ast::ColumnOption::ForeignKey(_) => return Err(not_yet("foreign keys")),
            ast::ColumnOption::Collation(_) | ast::ColumnOption::Comment(_) => {}
            other => return Err(not_yet(&format!("column option {other}"))),
        }
    }
    Ok(spec)
}

fn index_columns(columns: &[ast::IndexColumn]) -> SqlResult<Vec<IndexColumnSpec>> {
    columns
        .iter()
        .map(|column| {
            let ast::Expr::Identifier(name) = &column.column.expr else {
                return Err(not_yet("indexes over expressions"));
            };
            let options = &column.column.options;
            Ok(IndexColumnSpec {
                name: fold(name),
                descending: matches!(options.sort, Some(ast::OrderBySort::Desc)),
                nulls_first: options.nulls_first,
            })
        })
        .collect()
}

/// A table constraint as what it makes.
pub(super) fn constraint(constraint: &ast::TableConstraint, out: &mut Constraints) -> SqlResult<()> {
    match constraint {
        ast::TableConstraint::Unique(key) => out.indexes.push(IndexSpec {
            name: key.name.as_ref().map(fold),
            unique: true,
            primary: false,
            constraint: true,
            columns: index_columns(&key.columns)?,
            included: key.include.iter().map(fold).collect(),
            predicate: None,
        }),
        ast::TableConstraint::PrimaryKey(key) => out.indexes.push(IndexSpec {
            name: key.name.as_ref().map(fold),
            unique: true,
            primary: true,
            constraint: true,
            columns: index_columns(&key.columns)?,
            included: key.include.iter().map(fold).collect(),
            predicate: None,
        }),
        ast::TableConstraint::Check(check) => out.checks.push(CheckSpec {
            name: check.name.as_ref().map(fold),
            expr: check.expr.to_string(),
            columns: mentioned(&check.expr),
        }),
        ast::TableConstraint::ForeignKey(_) => return Err(not_yet("foreign keys")),
        other => return Err(not_yet(&format!("constraint {other}"))),
    }
    Ok(())
}

pub(super) fn table(create: &ast::CreateTable, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    if create.temporary {
        return Err(not_yet("temporary tables"));
    }
    if create.like.is_some() {
        return Err(not_yet("CREATE TABLE ... LIKE"));
    }
    if create.partition_by.is_some() {
        return Err(not_yet("partitioned tables"));
    }
    let (schema, name) = new_name(context, &create.name)?;
    let mut constraints = Constraints::default();
    let mut columns = Vec::with_capacity(create.columns.len());
    for def in &create.columns {
        columns.push(column(def, &mut constraints)?);
    }
    for item in &create.constraints {
        constraint(item, &mut constraints)?;
    }
    if constraints.indexes.iter().filter(|index| index.primary).count() > 1 {
        return Err(SqlError::new(
            SqlState::InvalidTableDefinition,
            format!("multiple primary keys for table \"{name}\" are not allowed"),
        ));
    }
    let mut source = None;
    let mut ctes = Vec::new();
    let mut tag = "CREATE TABLE";
    if let Some(query) = &create.query {
        let (rel, mut binder) = Binder::bind_with(context, None, optimize_rel, |binder| binder.bind_query(query))?;
        ctes = binder.take_ctes();
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        columns = rel
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| ColumnSpec {
                name: names.get(at).cloned().unwrap_or_else(|| column.name.clone()),
                ty: column.ty,
                nullable: true,
                default: None,
            })
            .collect();
        source = Some(optimize_rel(rel, context)?);
        tag = "SELECT";
    }
    let create = CreateTable {
        schema,
        name,
        if_not_exists: create.if_not_exists,
        columns,
        indexes: constraints.indexes,
        checks: constraints.checks,
        source,
    };
    let mut plan = ddl(Ddl::CreateTable(create), tag, context);
    plan.ctes = ctes;
    Ok(plan)
}

pub(super) fn index(create: &ast::CreateIndex, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    let table = find_table(context, &create.table_name)?;
    let name = match &create.name {
        Some(name) => Some(qualified_name(context, name)?.1),
        None => None,
    };
    let index = IndexSpec {
        name,
        unique: create.unique,
        primary: false,
        constraint: false,
        columns: index_columns(&create.columns)?,
        included: create.include.iter().map(fold).collect(),
        predicate: create.predicate.as_ref().map(ToString::to_string),
    };
    Ok(ddl(Ddl::CreateIndex { table, index, if_not_exists: create.if_not_exists }, "CREATE INDEX", context))
}

pub(super) fn view(create: &ast::CreateView, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    if create.materialized || create.temporary {
        return Err(not_yet("materialized and temporary views"));
    }
    let (schema, name) = new_name(context, &create.name)?;
    let (rel, binder) = Binder::bind_with(context, None, optimize_rel, |binder| binder.bind_query(&create.query))?;
    let columns = rel
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let name = create.columns.get(at).map_or_else(|| column.name.clone(), |given| fold(&given.name));
            (name, column.ty)
        })
        .collect();
    let view = Ddl::CreateView {
        schema,
        name,
        columns,
        query: create.query.to_string(),
        depends_on: binder.depends_on.clone(),
        or_replace: create.or_replace,
    };
    Ok(ddl(view, "CREATE VIEW", context))
}

fn number(expr: &ast::Expr) -> SqlResult<i64> {
    expr.to_string().replace(' ', "").parse().map_err(|_| {
        SqlError::new(SqlState::SyntaxError, format!("a whole number is expected instead of {expr}"))
    })
}

pub(super) fn sequence_list(options: &[ast::SequenceOptions]) -> SqlResult<SequenceOptions> {
    let mut found = SequenceOptions::default();
    for option in options {
        match option {
            ast::SequenceOptions::IncrementBy(expr, _) => found.increment = Some(number(expr)?),
            ast::SequenceOptions::MinValue(value) => found.min = Some(value.as_ref().map(number).transpose()?),
            ast::SequenceOptions::MaxValue(value) => found.max = Some(value.as_ref().map(number).transpose()?),
            ast::SequenceOptions::StartWith(expr, _) => found.start = Some(number(expr)?),
            ast::SequenceOptions::Cache(expr) => found.cache = Some(number(expr)?),
            // The parser's flag says that NO was written.
            ast::SequenceOptions::Cycle(no) => found.cycle = Some(!*no),
        }
    }
    Ok(found)
}

pub(super) fn sequence(
    name: &ast::ObjectName,
    if_not_exists: bool,
    data_type: Option<&ast::DataType>,
    options: &[ast::SequenceOptions],
    owned_by: Option<&ast::ObjectName>,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let (schema, name) = new_name(context, name)?;
    let mut options = sequence_list(options)?;
    options.ty = data_type.map(bind_type).transpose()?;
    if let Some(owner) = owned_by
        && !owner.to_string().eq_ignore_ascii_case("none")
    {
        let mut parts = name_parts(owner)?;
        let column = parts.pop().unwrap_or_default();
        let table_name = ast::ObjectName::from(parts.into_iter().map(|part| ast::Ident::with_quote('"', part)).collect::<Vec<_>>());
        let table = find_table(context, &table_name)?;
        options.owned_by = Some(Some((table.id, column)));
    }
    Ok(ddl(Ddl::CreateSequence { schema, name, if_not_exists, options }, "CREATE SEQUENCE", context))
}
