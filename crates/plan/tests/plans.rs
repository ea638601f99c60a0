//! Plans of queries over tables with known statistics, compared with what is written down in `golden/plans`.
//!
//! A file begins with a paragraph on what it shows; then each query, `----`, and the plan as EXPLAIN shows it.
//! `UPDATE_GOLDEN=1` writes the plans anew: the difference is read as code is.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    sync::LazyLock,
    time::{Duration, Instant},
};

use builtins::EvalContext;
use catalog::{
    CatalogSnapshot, ColumnStatistics, TableStatistics,
    descriptor::{Column, Database, Descriptor, Index, IndexColumn, IndexConstraint, Schema, Table},
};
use catalog::{KeyPart, PartitionBound, PartitionKey, PartitionStrategy, Partitioned, RangeDatum, TABLE_OID_COLUMN};
use keys::{ColumnId, IndexId};
use plan::{PlanContext, StatementKind, Utility, explain::explain};
use types::{Datum, Direction, Formatting, NullsOrder, SqlType};

/// A column's name, type, distinct values and share of NULLs.
type ColumnSketch = (&'static str, &'static str, f64, f64);

/// Index names with the columns; `+` before a unique one. The first is the primary key.
fn table(
    catalog: &mut CatalogSnapshot,
    id: u32,
    name: &str,
    rows: Option<f64>,
    columns: &[ColumnSketch],
    indexes: &[(&str, &[u32])],
) {
    let column = |(number, (name, ty, _, nulls)): (u32, &ColumnSketch)| Column {
        id: ColumnId::new(number),
        name: (*name).to_owned(),
        ty: SqlType::parse_name(ty).unwrap(),
        domain: None,
        nullable: *nulls > 0.0,
        default: None,
        missing: Datum::Null,
        hidden: false,
    };
    let index = |(number, (name, columns)): (u32, &(&str, &[u32]))| Index {
        id: IndexId::new(number),
        oid: id * 100 + number,
        name: name.trim_start_matches('+').to_owned(),
        unique: name.starts_with('+'),
        nulls_not_distinct: false,
        columns: columns
            .iter()
            .map(|column| IndexColumn {
                column: ColumnId::new(*column),
                direction: Direction::Asc,
                nulls: NullsOrder::Last,
            })
            .collect(),
        included: Vec::new(),
        predicate: None,
        constraint: (number == 1).then_some(IndexConstraint { oid: id * 100 + 50 }),
        details: catalog::IndexDetails::default(),
    };
    catalog.put(Descriptor::Table(Table {
        materialized: None,
        partitioning: None,
        security: None,
        zones: None,
        codecs: Default::default(),
        id,
        name: name.to_owned(),
        schema: 2_200,
        owner: 10,
        next_column: ColumnId::new(columns.len() as u32 + 1),
        next_index: IndexId::new(indexes.len() as u32 + 1),
        columns: (1..).zip(columns).map(column).collect(),
        indexes: (1..).zip(indexes).map(index).collect(),
        checks: Vec::new(),
        foreign_keys: Vec::new(),
        referenced_by: Vec::new(),
        triggers: Vec::new(),
        storage: id,
        comment: None,
        on_commit: catalog::OnCommit::default(),
        comments: Vec::new(),
    }));
    let Some(rows) = rows else { return };
    let known = |(number, (_, ty, distinct, null_fraction)): (u32, &ColumnSketch)| {
        // Values from 0 up, all equally common.
        let histogram = match *ty {
            "integer" => {
                (0..=100).map(|bound| Datum::Int((f64::from(bound) * distinct / 100.0) as i64)).collect()
            }
            _ => Vec::new(),
        };
        let average_width = if *ty == "text" { 40.0 } else { 4.0 };
        let known = ColumnStatistics {
            null_fraction: *null_fraction,
            distinct: *distinct,
            common: Vec::new(),
            histogram,
            average_width,
        };
        (ColumnId::new(number), known)
    };
    let columns = (1..).zip(columns).map(known).collect();
    catalog.statistics().set(id, TableStatistics { rows, average_row_bytes: 100.0, columns, ..TableStatistics::default() });
}

/// Makes tables the partitions of another, by a column of it.
fn partition(
    catalog: &mut CatalogSnapshot,
    parent: u32,
    (strategy, column): (PartitionStrategy, u32),
    partitions: &[(u32, PartitionBound)],
) {
    let mut table = Table::clone(catalog.table_by_id(parent).unwrap());
    for (name, ty) in [(catalog::ROW_ID_COLUMN, SqlType::Int8), (TABLE_OID_COLUMN, SqlType::Oid)] {
        let id = table.next_column;
        table.next_column = id.next();
        table.columns.push(Column {
            id,
            name: name.to_owned(),
            ty,
            domain: None,
            nullable: true,
            default: None,
            missing: Datum::Null,
            hidden: true,
        });
    }
    let ty = table.columns[column as usize - 1].ty;
    let key = PartitionKey { part: KeyPart::Column(ColumnId::new(column)), ty };
    let mut partitioned = Partitioned::new(strategy, vec![key]);
    partitions.iter().for_each(|(id, bound)| partitioned.add(*id, bound.clone()));
    table.partitioning_mut().partitioned = Some(partitioned);
    catalog.put(Descriptor::Table(table));
    for (id, _) in partitions {
        let mut table = Table::clone(catalog.table_by_id(*id).unwrap());
        table.partitioning_mut().parent = Some(parent);
        catalog.put(Descriptor::Table(table));
    }
}

/// `event` by ranges of days, with a default partition; its partition `event_late` by the kind of event.
fn partitioned_tables(catalog: &mut CatalogSnapshot) {
    let columns: &[ColumnSketch] =
        &[("id", "integer", 1_000.0, 0.0), ("day", "integer", 100.0, 0.0), ("kind", "text", 3.0, 0.1), ("n", "integer", 50.0, 0.0)];
    // In another order.
    let others: &[ColumnSketch] =
        &[("n", "integer", 50.0, 0.0), ("kind", "text", 3.0, 0.1), ("day", "integer", 100.0, 0.0), ("id", "integer", 1_000.0, 0.0)];
    let names = ["event", "event_0", "event_100", "event_late", "event_other", "event_late_a", "event_late_rest"];
    for (id, name) in (300..).zip(names) {
        let (columns, key): (&[ColumnSketch], &[u32]) = if id == 302 { (others, &[4, 3]) } else { (columns, &[1, 2]) };
        table(catalog, id, name, Some(1_000.0), columns, &[(&format!("+{name}_pkey"), key)]);
    }
    let ends = |from: i64, to: i64| {
        let end = |value: i64| vec![RangeDatum::Value(Datum::Int(value))];
        PartitionBound::Range(end(from), end(to))
    };
    let late = [(305, PartitionBound::List(vec![Datum::text("a"), Datum::Null])), (306, PartitionBound::Default)];
    partition(catalog, 303, (PartitionStrategy::List, 3), &late);
    let days = [(301, ends(0, 100)), (302, ends(100, 200)), (303, ends(200, 300)), (304, PartitionBound::Default)];
    partition(catalog, 300, (PartitionStrategy::Range, 2), &days);
}

/// A small shop: `customer`, `orders`, `item`, `product` and `stock` are analyzed, `fresh` is not; `s1` to `s12` make a chain.
static CATALOG: LazyLock<CatalogSnapshot> = LazyLock::new(|| {
    let mut catalog = CatalogSnapshot::default();
    catalog.put(Descriptor::Database(Database { id: 5, name: "postgres".to_owned(), owner: 10 }));
    let schema = |id, database, name: &str| Schema { id, database, name: name.to_owned(), owner: 10, comment: None };
    catalog.put(Descriptor::Schema(schema(11, 0, "pg_catalog")));
    catalog.put(Descriptor::Schema(schema(2_200, 5, "public")));
    table(
        &mut catalog,
        101,
        "customer",
        Some(10_000.0),
        &[("id", "integer", 10_000.0, 0.0), ("region", "integer", 50.0, 0.0), ("name", "text", 9_000.0, 0.1)],
        &[("+customer_pkey", &[1])],
    );
    table(
        &mut catalog,
        102,
        "orders",
        Some(100_000.0),
        &[
            ("id", "integer", 100_000.0, 0.0),
            ("customer_id", "integer", 10_000.0, 0.0),
            ("day", "integer", 1_000.0, 0.0),
            ("note", "text", 50_000.0, 0.5),
        ],
        &[("+orders_pkey", &[1]), ("orders_customer", &[2, 3]), ("orders_day", &[3])],
    );
    table(
        &mut catalog,
        103,
        "item",
        Some(500_000.0),
        &[
            ("order_id", "integer", 100_000.0, 0.0),
            ("line", "integer", 10.0, 0.0),
            ("product_id", "integer", 1_000.0, 0.2),
            ("quantity", "integer", 100.0, 0.0),
        ],
        &[("+item_pkey", &[1, 2]), ("item_product", &[3])],
    );
    table(
        &mut catalog,
        104,
        "product",
        Some(1_000.0),
        &[("id", "integer", 1_000.0, 0.0), ("name", "text", 1_000.0, 0.0), ("price", "integer", 200.0, 0.0)],
        &[("+product_pkey", &[1]), ("+product_name", &[2])],
    );
    table(
        &mut catalog,
        105,
        "fresh",
        None,
        &[("id", "integer", 0.0, 0.0), ("a", "integer", 0.0, 0.5), ("b", "text", 0.0, 0.5)],
        &[("+fresh_pkey", &[1]), ("fresh_a", &[2])],
    );
    table(
        &mut catalog,
        106,
        "stock",
        Some(100_000.0),
        &[
            ("warehouse", "smallint", 10.0, 0.0),
            ("product", "integer", 10_000.0, 0.0),
            ("code", "varchar", 90_000.0, 0.0),
            ("quantity", "integer", 100.0, 0.0),
        ],
        &[("+stock_pkey", &[1, 2]), ("stock_code", &[3]), ("stock_quantity", &[1, 4])],
    );
    for number in 1..=12 {
        table(
            &mut catalog,
            200 + number,
            &format!("s{number}"),
            Some(10.0 * f64::from(number)),
            &[("a", "integer", 10.0, 0.0), ("b", "integer", 10.0, 0.0), ("c", "text", 10.0, 0.1)],
            &[(&format!("+s{number}_pkey"), &[1])],
        );
    }
    partitioned_tables(&mut catalog);
    catalog
});

fn with_context<T>(catalog: &CatalogSnapshot, run: impl FnOnce(&PlanContext<'_>) -> T) -> T {
    let formatting = Formatting::default();
    let eval = EvalContext::detached(&formatting);
    let search_path = ["public".to_owned()];
    run(&PlanContext {
        catalog,
        database: 5,
        search_path: &search_path,
        user: "postgres",
        param_types: &[],
        notes: &plan::PlanNotes::default(),
        eval: &eval,
        formatting: &formatting,
        variables: None,
        transitions: &[],
        names: &[],
        depends_on: None,
        security: None,
    })
}

fn plan_of(sql: &str) -> String {
    let statement = plan::parse(sql).unwrap().remove(0);
    let planned = match with_context(&CATALOG, |context| plan::plan_statement(&statement, context)) {
        Ok(planned) => planned,
        Err(error) => return format!("ERROR: {error}"),
    };
    let (inner, options) = match &planned.kind {
        StatementKind::Utility(utility) => match &**utility {
            Utility::Explain { plan, options, .. } => (plan.clone(), *options),
            other => panic!("no query: {other:?}"),
        },
        _ => panic!("the statements of golden files begin with EXPLAIN"),
    };
    let StatementKind::Query { plan: root, .. } = &inner.kind else { panic!("{sql} is no query") };
    explain(root, &inner.ctes, options, None).join("\n")
}

fn check(name: &str) {
    // Tests run in their package; where it was built may be another clone.
    let path = Path::new("tests/golden/plans").join(name);
    let known = fs::read_to_string(&path).unwrap();
    let mut blocks = known.split("\n\n");
    let mut found = blocks.next().unwrap().trim_end().to_owned();
    for block in blocks.filter(|block| !block.trim().is_empty()) {
        let sql = block.split("\n----").next().unwrap().trim();
        write!(found, "\n\n{sql}\n----\n{}", plan_of(sql)).unwrap();
    }
    found.push('\n');
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, found).unwrap();
    } else {
        assert_eq!(found, known, "{name}: UPDATE_GOLDEN=1 writes it anew");
    }
}

#[test]
fn access_paths() {
    check("access_paths");
}

#[test]
fn index_conditions() {
    check("index_conditions");
}

#[test]
fn equivalence_classes() {
    check("equivalence_classes");
}

#[test]
fn column_pruning() {
    check("column_pruning");
}

#[test]
fn order_and_limit() {
    check("order_and_limit");
}

#[test]
fn join_order() {
    check("join_order");
}

#[test]
fn join_methods() {
    check("join_methods");
}

#[test]
fn subqueries_as_joins() {
    check("subqueries_as_joins");
}

#[test]
fn partitions() {
    check("partitions");
}

#[test]
fn explain_shapes() {
    check("explain_shapes");
}

/// Far more than any of these takes on a busy machine, and far less than work that doubles with every level.
const BLOW_UP: Duration = Duration::from_secs(30);

#[track_caller]
fn check_no_blow_up(catalog: &CatalogSnapshot, sql: &str) {
    let before = Instant::now();
    with_context(catalog, |context| {
        let statement = plan::parse(sql).unwrap().remove(0);
        plan::plan_statement(&statement, context).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    });
    let took = before.elapsed();
    assert!(took < BLOW_UP, "{took:?} for {sql}");
}

/// Sixty tables in a chain, and in a star.
#[test]
fn many_tables_are_planned_at_once() {
    let mut catalog = CatalogSnapshot::default();
    catalog.put(Descriptor::Database(Database { id: 5, name: "postgres".to_owned(), owner: 10 }));
    catalog.put(Descriptor::Schema(Schema { id: 2_200, database: 5, name: "public".to_owned(), owner: 10, comment: None }));
    let names: Vec<String> = (1..=60).map(|number| format!("t{number}")).collect();
    for (id, name) in (300..).zip(&names) {
        let columns: &[ColumnSketch] = &[("a", "integer", 10.0, 0.0), ("b", "integer", 10.0, 0.1)];
        table(&mut catalog, id, name, Some(10.0), columns, &[("+key", &[1])]);
    }
    let chain = |number: usize| format!("t{}.b = t{}.a", number, number + 1);
    let star = |number: usize| format!("t1.b = t{}.a", number + 1);
    for condition in [&chain as &dyn Fn(usize) -> String, &star] {
        let conditions: Vec<String> = (1..60).map(condition).collect();
        let sql = format!("EXPLAIN SELECT t1.a FROM {} WHERE {}", names.join(", "), conditions.join(" AND "));
        check_no_blow_up(&catalog, &sql);
    }
}

/// A query in a query, thirty times over: what may be planned two ways is planned once a level, not twice.
#[test]
fn nested_limits_are_planned_once() {
    let within: [&dyn Fn(&str) -> String; 5] = [
        &|inner| format!("SELECT s.a FROM ({inner}) s JOIN s2 ON s2.b = s.a ORDER BY s.a LIMIT 5"),
        &|inner| format!("SELECT s.a FROM ({inner}) s LEFT JOIN s2 ON s2.b = s.a ORDER BY s.a LIMIT 5"),
        &|inner| {
            format!(
                "SELECT s.a FROM (SELECT a FROM ({inner}) r) s JOIN s2 ON s2.b = s.a ORDER BY s.a LIMIT 5"
            )
        },
        &|inner| {
            format!(
                "SELECT s2.a FROM s2 LEFT JOIN ({inner}) s ON s.a = s2.a LEFT JOIN s3 ON s3.b = s2.a ORDER BY s2.a LIMIT 5"
            )
        },
        &|inner| format!("SELECT max(s2.a) AS a FROM s2 WHERE s2.b IN ({inner})"),
    ];
    for within in within {
        let mut sql = "SELECT a FROM s1 ORDER BY a LIMIT 5".to_owned();
        for _ in 0..30 {
            sql = within(&sql);
        }
        check_no_blow_up(&CATALOG, &format!("EXPLAIN {sql}"));
    }
}
