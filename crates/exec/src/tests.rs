//! Operators and evaluation against PostgreSQL's rules, over VALUES.

use std::sync::Arc;

use builtins::CallTypes;
use plan::plan::{Callee, FrameBound, FrameUnit, FunctionCall, ProjectItem, SetOpKind, WindowCall, WindowFrame, WindowFunction};
use plan::{Comparison, Expr, JoinKind, Node, Plan, SortKey, Subquery, SubqueryKind};
use types::{CastContext, Datum, SqlState, SqlType};

use crate::memory::MemoryBudget;
use crate::testing::{aggregate, as_ints, ascending, column, int, int_rows, ints, op, plan, run, run_with};

const N: Option<i64> = None;
const fn s(value: i64) -> Option<i64> {
    Some(value)
}

fn project(input: Plan, exprs: Vec<Expr>) -> Plan {
    let types: Vec<SqlType> = exprs.iter().map(Expr::ty).collect();
    plan(Node::Project { input: Box::new(input), exprs }, &types)
}

fn int8s(node: Node, width: usize) -> Plan {
    plan(node, &vec![SqlType::Int8; width])
}

/// A row of booleans of one expression over the rows 1, 0, NULL.
async fn truth(expr: Expr) -> Vec<Option<bool>> {
    let input = ints(&[&[s(1)], &[s(0)], &[N]]);
    run(&project(input, vec![expr])).await.unwrap().iter().map(|row| row[0].as_bool()).collect()
}

#[tokio::test]
async fn three_valued_logic() {
    let is_one = || op("=", column(0), int(1));
    let unknown = || Expr::Const(Datum::Null, SqlType::Bool);
    let yes = || Expr::Const(Datum::Bool(true), SqlType::Bool);
    assert_eq!(truth(is_one()).await, [Some(true), Some(false), None]);
    assert_eq!(truth(Expr::Not(Box::new(is_one()))).await, [Some(false), Some(true), None]);
    assert_eq!(truth(Expr::And(vec![is_one(), unknown()])).await, [None, Some(false), None]);
    assert_eq!(truth(Expr::And(vec![is_one(), yes()])).await, [Some(true), Some(false), None]);
    assert_eq!(truth(Expr::Or(vec![is_one(), unknown()])).await, [Some(true), None, None]);
    assert_eq!(truth(Expr::Or(vec![unknown(), yes()])).await, [Some(true); 3]);
    assert_eq!(truth(Expr::IsNull(Box::new(is_one()))).await, [Some(false), Some(false), Some(true)]);
    let in_list = |negated, list: Vec<Expr>| Expr::InList { expr: Box::new(column(0)), list, negated };
    let null = || Expr::Const(Datum::Null, SqlType::Int8);
    assert_eq!(truth(in_list(false, vec![int(1), null()])).await, [Some(true), None, None]);
    assert_eq!(truth(in_list(true, vec![int(1), null()])).await, [Some(false), None, None]);
    assert_eq!(truth(in_list(true, vec![int(1)])).await, [Some(false), Some(true), None]);
}

/// **lazy-semantics**: what a short circuit skips may not fail, and what it does not skip must.
#[tokio::test]
async fn lazy_semantics_hide_errors_of_skipped_operands() {
    let quotient = || op(">", op("/", int(10), column(0)), int(5));
    let not_zero = || op("<>", column(0), int(0));
    assert_eq!(truth(Expr::And(vec![not_zero(), quotient()])).await, [Some(true), Some(false), None]);
    let guarded = Expr::Case {
        operand: None,
        branches: vec![(not_zero(), op("/", int(10), column(0)))],
        otherwise: None,
        ty: SqlType::Int8,
    };
    let rows = int_rows(&project(ints(&[&[s(0)], &[s(5)]]), vec![guarded])).await;
    assert_eq!(rows, [[N], [s(2)]]);
    let error = run(&project(ints(&[&[s(0)]]), vec![quotient()])).await.unwrap_err();
    assert_eq!(error.code(), SqlState::DivisionByZero);
}

#[tokio::test]
async fn integer_kernels_find_overflow() {
    for (expr, code) in [
        (op("+", column(0), int(1)), SqlState::NumericValueOutOfRange),
        (op("*", column(0), int(2)), SqlState::NumericValueOutOfRange),
        (op("%", column(0), int(0)), SqlState::DivisionByZero),
    ] {
        let error = run(&project(ints(&[&[s(i64::MAX)]]), vec![expr])).await.unwrap_err();
        assert_eq!(error.code(), code);
    }
    let small = Expr::Cast { expr: Box::new(column(0)), to: SqlType::Int4, context: CastContext::Explicit };
    let sum = op("+", small.clone(), small);
    let error = run(&project(ints(&[&[s(i64::from(i32::MAX))]]), vec![sum])).await.unwrap_err();
    assert_eq!(error.code(), SqlState::NumericValueOutOfRange);
}

fn join(kind: JoinKind, filter: Option<Expr>, by_hash: bool) -> Plan {
    let left = Box::new(ints(&[&[s(1), s(10)], &[s(2), s(20)], &[N, s(30)], &[s(4), s(40)]]));
    let right = Box::new(ints(&[&[s(2), s(200)], &[s(1), s(100)], &[N, s(300)], &[s(1), s(101)], &[s(5), s(500)]]));
    let width = if matches!(kind, JoinKind::Semi | JoinKind::Anti) { 2 } else { 4 };
    if by_hash {
        let (left_keys, right_keys) = (vec![column(0)], vec![column(0)]);
        return int8s(Node::HashJoin { left, right, left_keys, right_keys, kind, filter }, width);
    }
    let mut all = vec![op("=", column(0), column(2))];
    all.extend(filter);
    int8s(Node::NestedLoopJoin { left, right, kind, filter: Some(Expr::And(all)) }, width)
}

#[tokio::test]
async fn joins_of_every_kind_agree_by_hash_and_by_loop() {
    let inner: &[&[Option<i64>]] =
        &[&[s(1), s(10), s(1), s(100)], &[s(1), s(10), s(1), s(101)], &[s(2), s(20), s(2), s(200)]];
    let left: &[&[Option<i64>]] =
        &[inner[0], inner[1], inner[2], &[N, s(30), N, N], &[s(4), s(40), N, N]];
    let right_rest: &[&[Option<i64>]] = &[&[N, N, N, s(300)], &[N, N, s(5), s(500)]];
    let right = [inner, right_rest].concat();
    let full = [left, right_rest].concat();
    for by_hash in [true, false] {
        assert_eq!(int_rows(&join(JoinKind::Inner, None, by_hash)).await, inner);
        assert_eq!(int_rows(&join(JoinKind::Left, None, by_hash)).await, left);
        assert_eq!(int_rows(&join(JoinKind::Right, None, by_hash)).await, right);
        assert_eq!(int_rows(&join(JoinKind::Full, None, by_hash)).await, full);
        assert_eq!(int_rows(&join(JoinKind::Semi, None, by_hash)).await, [[s(1), s(10)], [s(2), s(20)]]);
        assert_eq!(int_rows(&join(JoinKind::Anti, None, by_hash)).await, [[N, s(30)], [s(4), s(40)]]);
        let only_101 = || Some(op("=", column(3), int(101)));
        assert_eq!(int_rows(&join(JoinKind::Semi, only_101(), by_hash)).await, [[s(1), s(10)]]);
        let unmatched = int_rows(&join(JoinKind::Left, only_101(), by_hash)).await;
        assert_eq!(unmatched[0], [s(1), s(10), s(1), s(101)]);
        assert_eq!(unmatched[1], [s(2), s(20), N, N]);
        assert_eq!(unmatched.len(), 4);
    }
}

/// A row whose matches fill several batches is still one row to outer, semi and anti joins.
#[tokio::test]
async fn a_row_with_many_matches_spans_batches() {
    let many: Vec<Vec<Option<i64>>> = (0..5000).map(|n| vec![s(7), s(n)]).collect();
    let many: Vec<&[Option<i64>]> = many.iter().map(Vec::as_slice).collect();
    let build = |kind, filter: Option<Expr>, width| {
        let (left, right) = (Box::new(ints(&[&[s(6)], &[s(7)], &[s(8)]])), Box::new(ints(&many)));
        let (left_keys, right_keys) = (vec![column(0)], vec![column(0)]);
        int8s(Node::HashJoin { left, right, left_keys, right_keys, kind, filter }, width)
    };
    assert_eq!(int_rows(&build(JoinKind::Left, None, 3)).await.len(), 5002);
    let late = || Some(op("=", column(2), int(4999)));
    assert_eq!(int_rows(&build(JoinKind::Semi, late(), 1)).await, [[s(7)]]);
    assert_eq!(int_rows(&build(JoinKind::Anti, late(), 1)).await, [[s(6)], [s(8)]]);
    let rows = int_rows(&build(JoinKind::Left, late(), 3)).await;
    assert_eq!(rows, [[s(6), N, N], [s(7), s(7), s(4999)], [s(8), N, N]]);
}

#[tokio::test]
async fn grouping_takes_nulls_as_equal_and_everything_as_one_group() {
    let input = || Box::new(ints(&[&[s(1), s(5)], &[N, s(6)], &[s(1), N], &[N, s(7)], &[s(1), s(5)]]));
    let mut distinct = aggregate("count", vec![column(1)]);
    distinct.distinct = true;
    let mut filtered = aggregate("count", vec![]);
    filtered.filter = Some(op(">", column(1), int(5)));
    let aggregates = || {
        vec![
            aggregate("count", vec![]),
            aggregate("count", vec![column(1)]),
            aggregate("max", vec![column(1)]),
            distinct.clone(),
            filtered.clone(),
        ]
    };
    let node = |groups, sets| Node::Aggregate { input: input(), groups, aggregates: aggregates(), sets };
    let by_first = int_rows(&int8s(node(vec![column(0)], None), 6)).await;
    assert_eq!(by_first, [[s(1), s(3), s(2), s(5), s(1), s(0)], [N, s(2), s(2), s(7), s(2), s(2)]]);
    let sets = Some(vec![vec![0], vec![]]);
    let both = int_rows(&int8s(node(vec![column(0)], sets), 6)).await;
    assert_eq!(both[2], [N, s(5), s(4), s(7), s(3), s(2)]);
    let nothing = Box::new(plan(Node::Values { rows: vec![] }, &[SqlType::Int8, SqlType::Int8]));
    let empty = Node::Aggregate { input: nothing, groups: vec![], aggregates: aggregates(), sets: None };
    assert_eq!(int_rows(&int8s(empty, 5)).await, [[s(0), s(0), N, s(0), s(0)]]);
}

#[tokio::test]
async fn aggregates_with_order_and_distinct_see_sorted_arguments() {
    let mut ordered = aggregate("array_agg", vec![column(0)]);
    ordered.order_by = vec![SortKey { expr: column(0), descending: true, nulls_first: true }];
    let mut distinct = aggregate("array_agg", vec![column(0)]);
    distinct.distinct = true;
    let ty = ordered.types.ret;
    let input = Box::new(ints(&[&[s(2)], &[N], &[s(3)], &[s(2)]]));
    let node =
        Node::Aggregate { input, groups: vec![], aggregates: vec![ordered, distinct], sets: None };
    let rows = run(&plan(node, &[ty, ty])).await.unwrap();
    let elements = |datum: &Datum| datum.as_array().unwrap().elements().iter().map(Datum::as_int).collect::<Vec<_>>();
    assert_eq!(elements(&rows[0][0]), [N, s(3), s(2), s(2)]);
    assert_eq!(elements(&rows[0][1]), [s(2), s(3), N]);
}

#[tokio::test]
async fn set_operations_count() {
    let left = || Box::new(ints(&[&[s(1)], &[s(1)], &[N], &[s(2)], &[s(1)], &[N]]));
    let right = || Box::new(ints(&[&[s(1)], &[N], &[s(3)], &[s(1)]]));
    let cases: &[(SetOpKind, bool, &[Option<i64>])] = &[
        (SetOpKind::Union, false, &[s(1), N, s(2), s(3)]),
        (SetOpKind::Union, true, &[s(1), s(1), N, s(2), s(1), N, s(1), N, s(3), s(1)]),
        (SetOpKind::Intersect, false, &[s(1), N]),
        (SetOpKind::Intersect, true, &[s(1), s(1), N]),
        (SetOpKind::Except, false, &[s(2)]),
        (SetOpKind::Except, true, &[s(2), s(1), N]),
    ];
    for (kind, all, expected) in cases {
        let rows = int_rows(&int8s(Node::SetOp { kind: *kind, all: *all, inputs: vec![*left(), *right()] }, 1)).await;
        assert_eq!(rows.concat(), *expected, "{kind:?} all: {all}");
    }
}

#[tokio::test]
async fn sorting_is_stable_puts_nulls_where_asked_and_stops_at_its_limit() {
    let input = || Box::new(ints(&[&[s(2), s(1)], &[N, s(2)], &[s(1), s(3)], &[s(2), s(4)], &[N, s(5)]]));
    let sort = |descending, nulls_first, limit: Option<i64>| {
        let keys = vec![SortKey { expr: column(0), descending, nulls_first }];
        int8s(Node::Sort { input: input(), keys, limit: limit.map(|limit| Box::new(int(limit))) }, 2)
    };
    let second = |rows: Vec<Vec<Option<i64>>>| rows.iter().map(|row| row[1].unwrap()).collect::<Vec<_>>();
    assert_eq!(second(int_rows(&sort(false, false, None)).await), [3, 1, 4, 2, 5]);
    assert_eq!(second(int_rows(&sort(true, true, None)).await), [2, 5, 1, 4, 3]);
    assert_eq!(second(int_rows(&sort(true, false, Some(2))).await), [1, 4]);

    let many: Vec<Vec<Option<i64>>> = (0..20_000).map(|n| vec![s(n * 7919 % 20_000)]).collect();
    let many: Vec<&[Option<i64>]> = many.iter().map(Vec::as_slice).collect();
    let top = Node::Sort { input: Box::new(ints(&many)), keys: vec![ascending(column(0))], limit: Some(Box::new(int(3))) };
    assert_eq!(int_rows(&int8s(top, 1)).await.concat(), [s(0), s(1), s(2)]);
}

#[tokio::test]
async fn limits_take_null_as_none_and_refuse_negatives() {
    let limit = |limit: Option<Datum>, offset: Option<Datum>| {
        let count = |datum: Option<Datum>| datum.map(|datum| Expr::Const(datum, SqlType::Int8));
        let input = Box::new(ints(&[&[s(1)], &[s(2)], &[s(3)]]));
        int8s(Node::Limit { input, limit: count(limit), offset: count(offset), ties: Vec::new() }, 1)
    };
    assert_eq!(int_rows(&limit(Some(1.into()), Some(1.into()))).await, [[s(2)]]);
    assert_eq!(int_rows(&limit(Some(Datum::Null), Some(Datum::Null))).await.len(), 3);
    assert_eq!(int_rows(&limit(Some(0.into()), None)).await.len(), 0);
    let error = run(&limit(Some((-1).into()), None)).await.unwrap_err();
    assert_eq!(error.code(), SqlState::InvalidRowCountInLimitClause);
    let error = run(&limit(None, Some((-1).into()))).await.unwrap_err();
    assert_eq!(error.code(), SqlState::InvalidRowCountInResultOffsetClause);
}

#[tokio::test]
async fn distinct_on_keeps_the_first_row() {
    let input = Box::new(ints(&[&[s(1), s(9)], &[s(1), s(8)], &[N, s(7)], &[N, s(6)]]));
    let rows = int_rows(&int8s(Node::Distinct { input, on: Some(vec![column(0)]) }, 2)).await;
    assert_eq!(rows, [[s(1), s(9)], [N, s(7)]]);
}

fn subquery(kind: SubqueryKind, plan: Plan, arguments: Vec<Expr>, ty: SqlType) -> Expr {
    Expr::Subquery(Box::new(Subquery { kind, plan: Arc::new(plan), source: None, arguments, ty, form: 0 }))
}

fn quantified(symbol: &str, all: bool, plan: Plan) -> Expr {
    let Expr::Call { builtin, types, .. } = op(symbol, column(0), int(0)) else { unreachable!() };
    let comparison = Comparison { builtin, types, left_cast: SqlType::Int8, right_cast: SqlType::Int8 };
    let kind = SubqueryKind::Quantified { left: vec![column(0)], comparisons: vec![comparison], all };
    subquery(kind, plan, vec![], SqlType::Bool)
}

#[tokio::test]
async fn quantified_subqueries_know_nulls() {
    let empty = || plan(Node::Values { rows: vec![] }, &[SqlType::Int8]);
    let ones = || ints(&[&[s(1)], &[s(3)]]);
    let with_null = || ints(&[&[s(1)], &[N]]);
    assert_eq!(truth(quantified("=", false, ones())).await, [Some(true), Some(false), None]);
    assert_eq!(truth(quantified("=", false, with_null())).await, [Some(true), None, None]);
    assert_eq!(truth(quantified("=", false, empty())).await, [Some(false); 3]);
    assert_eq!(truth(quantified("<>", true, ones())).await, [Some(false), Some(true), None]);
    assert_eq!(truth(quantified("<>", true, with_null())).await, [Some(false), None, None]);
    assert_eq!(truth(quantified("<>", true, empty())).await, [Some(true); 3]);
    assert_eq!(truth(quantified("<", true, ones())).await, [Some(false), Some(true), None]);
}

#[tokio::test]
async fn scalar_subqueries_are_null_without_a_row_and_fail_with_two() {
    let scalar = |plan, arguments| subquery(SubqueryKind::Scalar, plan, arguments, SqlType::Int8);
    let input = || ints(&[&[s(1)], &[s(2)], &[s(1)], &[N]]);
    let correlated = project(
        plan(Node::Filter {
            input: Box::new(ints(&[&[s(1), s(100)], &[s(3), s(300)]])),
            predicate: op("=", column(0), Expr::Outer(0, SqlType::Int8)),
        }, &[SqlType::Int8; 2]),
        vec![column(1)],
    );
    let rows = int_rows(&project(input(), vec![scalar(correlated, vec![column(0)])])).await;
    assert_eq!(rows.concat(), [s(100), N, s(100), N]);
    let error = run(&project(input(), vec![scalar(ints(&[&[s(1)], &[s(2)]]), vec![])])).await.unwrap_err();
    assert_eq!(error.code(), SqlState::CardinalityViolation);
    // Not evaluated, so not failing.
    let skipped = Expr::Coalesce(vec![column(0), scalar(ints(&[&[s(1)], &[s(2)]]), vec![])], SqlType::Int8);
    assert_eq!(int_rows(&project(ints(&[&[s(5)]]), vec![skipped])).await, [[s(5)]]);
}

/// **frame-balance** is asserted by the test context after every run, failed ones too.
#[tokio::test]
async fn lateral_runs_once_a_row() {
    let lateral = |kind, width| {
        let right = Arc::new(int8s(
            Node::Filter {
                input: Box::new(ints(&[&[s(1)], &[s(2)], &[s(3)]])),
                predicate: op("<", column(0), Expr::Outer(0, SqlType::Int8)),
            },
            1,
        ));
        let left = Box::new(ints(&[&[s(1)], &[s(3)], &[N]]));
        int8s(Node::Apply { left, right, arguments: vec![column(0)], kind, filter: None }, width)
    };
    assert_eq!(int_rows(&lateral(JoinKind::Inner, 2)).await, [[s(3), s(1)], [s(3), s(2)]]);
    assert_eq!(int_rows(&lateral(JoinKind::Left, 2)).await, [[s(1), N], [s(3), s(1)], [s(3), s(2)], [N, N]]);
    assert_eq!(int_rows(&lateral(JoinKind::Semi, 1)).await, [[s(3)]]);
    assert_eq!(int_rows(&lateral(JoinKind::Anti, 1)).await, [[s(1)], [N]]);
}

fn series(limit: Option<i64>, all: bool) -> (Plan, Vec<Arc<Plan>>) {
    let read = || int8s(Node::CteScan { cte: 0 }, 1);
    let step = project(
        int8s(Node::Filter { input: Box::new(read()), predicate: op(">", column(0), int(0)) }, 1),
        vec![if all { op("+", column(0), int(1)) } else { op("%", op("+", column(0), int(1)), int(5)) }],
    );
    let recursive = int8s(
        Node::RecursiveUnion { cte: 0, base: Box::new(ints(&[&[s(1)], &[s(2)]])), step: Box::new(step), all },
        1,
    );
    let limit = Node::Limit { input: Box::new(read()), limit: limit.map(int), offset: None, ties: Vec::new() };
    (int8s(limit, 1), vec![Arc::new(recursive)])
}

#[tokio::test]
async fn recursion_ends_when_nothing_is_new_or_nobody_reads_on() {
    let (plan, ctes) = series(None, false);
    let rows = run_with(&plan, &ctes, MemoryBudget::unlimited(), &[]).await.unwrap();
    assert_eq!(as_ints(rows).concat(), [s(1), s(2), s(3), s(4), s(0)]);
    let (plan, ctes) = series(Some(6), true);
    let rows = run_with(&plan, &ctes, MemoryBudget::unlimited(), &[]).await.unwrap();
    assert_eq!(as_ints(rows).concat(), [s(1), s(2), s(2), s(3), s(3), s(4)]);
}

/// **budgeted**: over its budget a statement fails, and what it held is given back.
#[tokio::test]
async fn budgeted_operators_fail_cleanly() {
    let many: Vec<Vec<Option<i64>>> = (0..50_000).map(|n| vec![s(n)]).collect();
    let many: Vec<&[Option<i64>]> = many.iter().map(Vec::as_slice).collect();
    let input = || Box::new(ints(&many));
    let nodes = [
        Node::Sort { input: input(), keys: vec![ascending(column(0))], limit: None },
        Node::Distinct { input: input(), on: None },
        Node::SetOp { kind: SetOpKind::Intersect, all: false, inputs: vec![*input(), *input()] },
        Node::Window { input: input(), partition_by: vec![], order_by: vec![], calls: vec![] },
    ];
    for node in nodes {
        let budget = MemoryBudget::new(100_000);
        let error = run_with(&int8s(node, 1), &[], budget.clone(), &[]).await.unwrap_err();
        assert_eq!(error.code(), SqlState::OutOfMemory);
        assert_eq!(budget.used(), 0);
    }
}

fn window(calls: Vec<WindowCall>) -> Plan {
    let input = Box::new(ints(&[
        &[s(1), s(10)], &[s(2), s(20)], &[s(1), s(10)], &[s(1), s(30)], &[s(1), N], &[s(1), s(20)],
    ]));
    let types: Vec<SqlType> = [SqlType::Int8; 2].into_iter().chain(calls.iter().map(|call| call.ty)).collect();
    let node = Node::Window { input, partition_by: vec![column(0)], order_by: vec![ascending(column(1))], calls };
    plan(node, &types)
}

async fn window_column(function: WindowFunction, args: Vec<Expr>, frame: Option<WindowFrame>) -> Vec<Option<i64>> {
    let ty = match &function {
        WindowFunction::Aggregate(call) => call.types.ret,
        _ => SqlType::Int8,
    };
    int_rows(&window(vec![WindowCall { function, args, ty, frame }])).await.iter().map(|row| row[2]).collect()
}

#[tokio::test]
async fn window_functions_rank_and_look_around() {
    use WindowFunction::{CumeDist, DenseRank, Lag, Lead, Ntile, PercentRank, Rank, RowNumber};
    let partitioned = |five: [Option<i64>; 5], one| [five.as_slice(), &[one]].concat();
    assert_eq!(window_column(RowNumber, vec![], None).await, partitioned([s(1), s(2), s(3), s(4), s(5)], s(1)));
    assert_eq!(window_column(Rank, vec![], None).await, partitioned([s(1), s(1), s(3), s(4), s(5)], s(1)));
    assert_eq!(window_column(DenseRank, vec![], None).await, partitioned([s(1), s(1), s(2), s(3), s(4)], s(1)));
    assert_eq!(window_column(Ntile, vec![int(2)], None).await, partitioned([s(1), s(1), s(1), s(2), s(2)], s(1)));
    assert_eq!(window_column(Lag, vec![column(1)], None).await, partitioned([N, s(10), s(10), s(20), s(30)], N));
    let lead = vec![column(1), int(2), int(-1)];
    assert_eq!(window_column(Lead, lead, None).await, partitioned([s(20), s(30), N, s(-1), s(-1)], s(-1)));
    let floats = |function| WindowCall { function, args: vec![], ty: SqlType::Float8, frame: None };
    let rows = run(&window(vec![floats(PercentRank), floats(CumeDist)])).await.unwrap();
    let column = |at: usize| rows.iter().map(|row| row[at].as_float().unwrap()).collect::<Vec<_>>();
    assert_eq!(column(2), [0.0, 0.0, 0.5, 0.75, 1.0, 0.0]);
    assert_eq!(column(3), [0.4, 0.4, 0.6, 0.8, 1.0, 1.0]);
    let call = WindowCall { function: Ntile, args: vec![int(0)], ty: SqlType::Int8, frame: None };
    assert_eq!(run(&window(vec![call])).await.unwrap_err().code(), SqlState::InvalidArgumentForNtile);
}

#[tokio::test]
async fn window_frames() {
    use FrameBound::{CurrentRow, Following, Preceding, UnboundedFollowing, UnboundedPreceding};
    let count = || WindowFunction::Aggregate(aggregate("count", vec![]));
    let frame = |unit, start, end| Some(WindowFrame { unit, start, end, exclude: Default::default() });
    let cases = [
        // Without a clause: up to the last peer.
        (None, [2, 2, 3, 4, 5]),
        (frame(FrameUnit::Rows, UnboundedPreceding, CurrentRow), [1, 2, 3, 4, 5]),
        (frame(FrameUnit::Rows, Preceding(int(1)), Following(int(1))), [2, 3, 3, 3, 2]),
        (frame(FrameUnit::Rows, Following(int(1)), Following(int(2))), [2, 2, 2, 1, 0]),
        (frame(FrameUnit::Rows, Preceding(int(3)), Preceding(int(2))), [0, 0, 1, 2, 2]),
        (frame(FrameUnit::Groups, Preceding(int(1)), CurrentRow), [2, 2, 3, 2, 2]),
        (frame(FrameUnit::Groups, Preceding(int(2)), Preceding(int(1))), [0, 0, 2, 3, 2]),
        (frame(FrameUnit::Range, Preceding(int(10)), CurrentRow), [2, 2, 3, 2, 1]),
        (frame(FrameUnit::Range, CurrentRow, Following(int(10))), [3, 3, 2, 1, 1]),
        (frame(FrameUnit::Range, Preceding(int(i64::MAX)), Following(int(i64::MAX))), [4, 4, 4, 4, 1]),
        (frame(FrameUnit::Range, CurrentRow, UnboundedFollowing), [5, 5, 3, 2, 1]),
    ];
    for (frame, expected) in cases {
        let name = format!("{frame:?}");
        let counts: Vec<i64> = window_column(count(), vec![], frame).await.into_iter().flatten().take(5).collect();
        assert_eq!(counts, expected, "{name}");
    }
    let last = window_column(WindowFunction::LastValue, vec![column(1)], None).await;
    assert_eq!(last[..5], [s(10), s(10), s(20), s(30), N]);
    let second = window_column(WindowFunction::NthValue, vec![column(1), int(2)], None).await;
    assert_eq!(second, [s(10), s(10), s(10), s(10), s(10), N]);
    let negative = frame(FrameUnit::Rows, Preceding(int(-1)), CurrentRow);
    let call = WindowCall { function: count(), args: vec![], ty: SqlType::Int8, frame: negative };
    assert_eq!(run(&window(vec![call])).await.unwrap_err().code(), SqlState::InvalidPrecedingOrFollowingSize);
}

/// A series without an end that anybody lives to see costs what is asked of it.
#[tokio::test]
async fn a_series_is_made_as_far_as_it_is_read() {
    let endless = |from: i64| {
        let types = [Some(SqlType::Int8); 2];
        let resolved = builtins::resolve(builtins::functions("generate_series"), &types).ok().unwrap();
        let types = CallTypes { args: resolved.args, ret: resolved.ret };
        FunctionCall { callee: Callee::Builtin(resolved.chosen), types, args: vec![int(from), int(i64::MAX)] }
    };
    let limit = |input: Plan, width| {
        let (limit, offset) = (Some(int(2)), Some(int(5000)));
        int8s(Node::Limit { input: Box::new(input), limit, offset, ties: Vec::new() }, width)
    };
    let calls = vec![endless(1), endless(100)];
    let scan = int8s(Node::FunctionScan { calls, with_ordinality: true }, 3);
    assert_eq!(int_rows(&limit(scan, 3)).await, [[s(5001), s(5100), s(5001)], [s(5002), s(5101), s(5002)]]);
    let input = Box::new(ints(&[&[s(7)], &[s(8)]]));
    let items = vec![ProjectItem::Scalar(column(0)), ProjectItem::Set(endless(1))];
    let listed = int8s(Node::ProjectSet { input, items }, 2);
    assert_eq!(int_rows(&limit(listed, 2)).await, [[s(7), s(5001)], [s(7), s(5002)]]);
}
