//! Queries in, bound trees out.

mod broad;
mod changes;
mod errors;
mod queries;
mod render;
mod triggers;


use builtins::EvalContext;
use catalog::descriptor::{
    Check, Column, ColumnDefault, Database, Descriptor, Index, IndexColumn, IndexConstraint, Schema, Sequence, Table,
    View,
};
use catalog::CatalogSnapshot;
use keys::{ColumnId, IndexId};
use types::{Datum, Direction, Formatting, NullsOrder, SqlError, SqlResult, SqlType};

use super::Binder;
use crate::PlanContext;
use crate::expr::Expr;
use crate::logical::Rel;
use crate::plan::{Estimate, Node, Plan};

fn column(id: u32, name: &str, ty: SqlType, nullable: bool) -> Column {
    let (id, name) = (ColumnId::new(id), name.to_owned());
    Column { id, name, ty, domain: None, nullable, default: None, missing: Datum::Null, hidden: false }
}

fn index(id: u32, name: &str, unique: bool, columns: &[u32], constraint: bool) -> Index {
    let key = |column: &u32| IndexColumn {
        column: ColumnId::new(*column),
        direction: Direction::Asc,
        nulls: NullsOrder::Last,
    };
    Index {
        id: IndexId::new(id),
        oid: 20_000 + id,
        name: name.to_owned(),
        unique,
        nulls_not_distinct: false,
        columns: columns.iter().map(key).collect(),
        included: Vec::new(),
        predicate: None,
        constraint: constraint.then_some(IndexConstraint { oid: 21_000 + id }),
        details: catalog::IndexDetails::default(),
    }
}

fn table(id: u32, name: &str, columns: Vec<Column>, indexes: Vec<Index>) -> Table {
    Table {
        materialized: None,
        partitioning: None,
        security: None,
        zones: None,
        codecs: Default::default(),
        id,
        name: name.to_owned(),
        schema: 2_200,
        owner: 10,
        referenced_by: Vec::new(),
        triggers: Vec::new(),
        next_column: ColumnId::new(columns.len() as u32 + 1),
        next_index: IndexId::new(indexes.len() as u32 + 1),
        columns,
        indexes,
        checks: Vec::new(),
        foreign_keys: Vec::new(),
        storage: id,
        comment: None,
        on_commit: catalog::OnCommit::default(),
        comments: Vec::new(),
    }
}

/// `t(a int primary key, b text, c numeric(10,2), d timestamptz)`, `u(a int, x int8, y text)` without a key,
/// `acct(id identity, email varchar(20) unique, n int default 7 check, twice generated)`, view `v`, sequence `s`.
fn catalog() -> CatalogSnapshot {
    let mut catalog = CatalogSnapshot::default();
    catalog.put(Descriptor::Database(Database { id: 5, name: "postgres".to_owned(), owner: 10 }));
    let schema = |id, database, name: &str| Descriptor::Schema(Schema { id, database, name: name.to_owned(), owner: 10, comment: None });
    catalog.put(schema(11, 0, "pg_catalog"));
    catalog.put(schema(2_200, 5, "public"));
    let numeric = SqlType::parse_name("numeric(10,2)").unwrap();
    catalog.put(Descriptor::Table(table(
        100,
        "t",
        vec![
            column(1, "a", SqlType::Int4, false),
            column(2, "b", SqlType::Text, true),
            column(3, "c", numeric, true),
            column(4, "d", SqlType::TIMESTAMPTZ, true),
        ],
        vec![index(1, "t_pkey", true, &[1], true)],
    )));
    let mut row_id = column(4, "rowid", SqlType::Int8, false);
    row_id.hidden = true;
    catalog.put(Descriptor::Table(table(
        101,
        "u",
        vec![
            column(1, "a", SqlType::Int4, true),
            column(2, "x", SqlType::Int8, true),
            column(3, "y", SqlType::Text, true),
            row_id,
        ],
        vec![index(1, "", true, &[4], false)],
    )));
    let mut id = column(1, "id", SqlType::Int8, false);
    id.default = Some(ColumnDefault::Identity { sequence: 300, always: true });
    let mut n = column(3, "n", SqlType::Int4, true);
    n.default = Some(ColumnDefault::Expr("7".to_owned()));
    let mut twice = column(4, "twice", SqlType::Int4, true);
    twice.default = Some(ColumnDefault::Stored("n * 2".to_owned()));
    let mut acct = table(
        102,
        "acct",
        vec![id, column(2, "email", SqlType::Varchar(Some(20)), false), n, twice],
        vec![index(1, "acct_pkey", true, &[1], true), index(2, "acct_email_key", true, &[2], true)],
    );
    acct.checks.push(Check { oid: 400, name: "n_positive".to_owned(), expr: "n > 0".to_owned(), columns: vec![ColumnId::new(3)], validated: true });
    catalog.put(Descriptor::Table(acct));
    catalog.put(Descriptor::View(View {
        id: 200,
        name: "v".to_owned(),
        schema: 2_200,
        owner: 10,
        columns: vec![("k".to_owned(), SqlType::Int4), ("label".to_owned(), SqlType::Text)],
        query: "SELECT t.a, t.b FROM public.t WHERE t.a > 0".to_owned(),
        path: vec!["public".to_owned()],
        depends_on: vec![100],
        comment: None,
        comments: Vec::new(),
        details: Default::default(),
        table: Default::default(),
    }));
    catalog.put(Descriptor::Sequence(Sequence {
        id: 300,
        name: "s".to_owned(),
        schema: 2_200,
        owner: 10,
        ty: SqlType::Int8,
        start: 1,
        increment: 1,
        min: 1,
        max: i64::MAX,
        cache: 1,
        cycle: false,
        owned_by: None,
        comment: None,
    }));
    catalog
}

/// A plan that only keeps its columns: what subqueries become here is not what is tested.
fn shape_only(rel: Rel, _: &PlanContext<'_>) -> SqlResult<Plan> {
    assert_no_placeholder(&rel);
    Ok(Plan { node: Node::Unit, columns: rel.columns, estimate: Estimate::default() })
}

/// Invariant *no-placeholder-left*, by the look of the text.
fn assert_no_placeholder(rel: &Rel) {
    let text = render::rel(rel);
    for piece in text.split('#').skip(1) {
        let digits: String = piece.chars().take_while(char::is_ascii_digit).collect();
        assert!(digits.parse::<usize>().unwrap() < super::AGGREGATE_BASE, "a placeholder is left in {text}");
    }
}

struct Bound {
    rel: Rel,
    params: Vec<SqlType>,
    cte_count: usize,
}

fn with_context<T>(run: impl FnOnce(&PlanContext<'_>) -> T) -> T {
    let catalog = catalog();
    let formatting = Formatting::default();
    let eval = EvalContext::detached(&formatting);
    let search_path = ["$user".to_owned(), "public".to_owned()];
    run(&PlanContext {
        catalog: &catalog,
        database: 5,
        search_path: &search_path,
        user: "postgres",
        param_types: &[],
        notes: &crate::PlanNotes::default(),
        eval: &eval,
        formatting: &formatting,
        variables: None,
        transitions: &[],
        names: &[],
        depends_on: None,
        security: None,
    })
}

fn bind(sql: &str) -> SqlResult<Bound> {
    with_context(|context| {
        let statement = crate::parse::parse(sql)?.into_iter().next().expect("a statement");
        let source = Some(statement.source.clone());
        let (rel, mut binder) =
            Binder::bind_with(context, source, shape_only, |binder| {
                let crate::parse::Body::Standard(query) = &statement.body else { unreachable!("{sql} is no query") };
                binder.bind_statement(query)
            })?;
        assert_no_placeholder(&rel);
        let ctes = binder.take_ctes();
        Ok(Bound { rel, params: binder.param_types(), cte_count: ctes.len() })
    })
}

#[track_caller]
fn check(sql: &str, expected: &str) {
    match bind(sql) {
        Ok(bound) => assert_eq!(render::rel(&bound.rel), expected, "{sql}"),
        Err(error) => panic!("{sql}: {error:?}"),
    }
}

#[track_caller]
fn check_expr(sql: &str, expected: &str) {
    let bound = bind(&format!("SELECT {sql}")).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let crate::logical::RelNode::Project { exprs, .. } = &bound.rel.node else { panic!("{sql}: no projection") };
    assert_eq!(render::list(exprs), expected, "{sql}");
}

#[track_caller]
fn names(sql: &str) -> Vec<String> {
    let bound = bind(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    bound.rel.columns.into_iter().map(|column| column.name).collect()
}

#[track_caller]
fn fails(sql: &str) -> SqlError {
    match bind(sql) {
        Ok(bound) => panic!("{sql} was bound: {}", render::rel(&bound.rel)),
        Err(error) => error,
    }
}

#[track_caller]
fn check_error(sql: &str, code: &str, message: &str) {
    let error = fails(sql);
    assert_eq!((error.code().code(), error.message()), (code, message), "{sql}");
}

#[test]
fn stored_expressions_are_over_the_tables_columns() {
    with_context(|context| {
        let table = context.catalog.table_by_id(100).unwrap();
        let bound = super::bind_stored_expr("a > 1 AND b IS NOT NULL", table, context).unwrap();
        assert_eq!(render::expr(&bound), "and(>(#0, 1:integer), not(isnull(#1)))");
        let Expr::And(_) = bound else { panic!("a conjunction") };
    });
}
