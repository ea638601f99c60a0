//! Hand-built plans over VALUES, and a context without data to run them in.

use std::sync::Arc;

use builtins::{CallTypes, EvalContext, resolve_binary_operator};
use catalog::{CatalogSnapshot, VirtualLookup, VirtualRead, VirtualTable};
use futures::future::BoxFuture;
use plan::plan::Estimate;
use plan::{AggregateCall, Expr, Node, Plan, PlanColumn, SortKey};
use types::{Datum, Formatting, SqlResult, SqlType};

use crate::context::{CancelFlag, Ctes, ExecContext, SessionState, VirtualTables};
use crate::memory::MemoryBudget;
use crate::operator::build;
use crate::subquery::SubqueryCache;

struct NoTables;

impl VirtualTables for NoTables {
    fn read(&self, table: &'static VirtualTable, lookup: Option<VirtualLookup>) -> SqlResult<VirtualRead> {
        Ok(VirtualRead::of(table, Arc::default(), lookup))
    }

    fn look_at_versions<'a>(
        &'a self,
        _table: &'static VirtualTable,
        _txn: &'a mut kv::Txn,
    ) -> BoxFuture<'a, Result<(), kv::Error>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

pub(crate) fn plan(node: Node, types: &[SqlType]) -> Plan {
    let columns = types
        .iter()
        .enumerate()
        .map(|(number, ty)| PlanColumn { name: format!("c{number}"), ty: *ty, table_oid: 0, attribute: 0 })
        .collect();
    Plan { node, columns, estimate: Estimate::default() }
}

/// VALUES of 64-bit integers.
pub(crate) fn ints(rows: &[&[Option<i64>]]) -> Plan {
    let width = rows.first().map_or(1, |row| row.len());
    let rows = rows
        .iter()
        .map(|row| row.iter().map(|value| Expr::Const(Datum::from(*value), SqlType::Int8)).collect())
        .collect();
    plan(Node::Values { rows }, &vec![SqlType::Int8; width])
}

pub(crate) fn column(position: usize) -> Expr {
    Expr::Column(position, SqlType::Int8)
}

pub(crate) fn int(value: i64) -> Expr {
    Expr::Const(Datum::Int(value), SqlType::Int8)
}

pub(crate) fn op(symbol: &str, left: Expr, right: Expr) -> Expr {
    let resolved = resolve_binary_operator(symbol, Some(left.ty()), Some(right.ty())).ok().unwrap();
    let types = CallTypes { args: resolved.args.clone(), ret: resolved.ret };
    Expr::Call { builtin: &resolved.chosen.function, types, args: vec![left, right] }
}

pub(crate) fn aggregate(name: &str, args: Vec<Expr>) -> AggregateCall {
    let args_types: Vec<Option<SqlType>> = args.iter().map(|arg| Some(arg.ty())).collect();
    let resolved = builtins::resolve_aggregate(name, &args_types).ok().unwrap();
    let types = CallTypes { args: resolved.args.clone(), ret: resolved.ret };
    AggregateCall {
        aggregate: resolved.chosen,
        types,
        args,
        distinct: false,
        filter: None,
        order_by: Vec::new(),
    }
}

pub(crate) fn ascending(expr: Expr) -> SortKey {
    SortKey { expr, descending: false, nulls_first: false }
}

/// All rows of a plan, and the memory it still holds afterwards.
pub(crate) async fn run_with(
    plan: &Plan,
    ctes: &[Arc<Plan>],
    memory: MemoryBudget,
    params: &[Datum],
) -> SqlResult<Vec<Vec<Datum>>> {
    let formatting = Formatting::default();
    let eval = EvalContext::detached(&formatting);
    let catalog = Arc::new(CatalogSnapshot::default());
    let mut state = SessionState::default();
    let mut ctx = ExecContext {
        txn: None,
        routines: None,
        params,
        eval: &eval,
        catalog: &catalog,
        ctes: Ctes::default(),
        cte_plans: ctes,
        outer: Vec::new(),
        virtual_tables: &NoTables,
        state: &mut state,
        database: 0,
        user: catalog::descriptor::POSTGRES_ROLE,
        memory,
        cancel: CancelFlag::default(),
        read_only: false,
        stats: None,
        affected: 0,
        subqueries: SubqueryCache::default(),
        foreign: crate::context::ForeignQueue::default(),
        looked_at: Vec::new(),
        after: Default::default(),
        transitions: &[],
        have_routines_written: false,
    };
    let mut operator = build(plan)?;
    let mut rows = Vec::new();
    let outcome = loop {
        match operator.next(&mut ctx).await {
            Ok(Some(batch)) => {
                assert_eq!(batch.columns().len(), plan.columns.len(), "columns-in-order");
                rows.extend((0..batch.len()).map(|row| batch.row(row)));
            }
            Ok(None) => break Ok(rows),
            Err(error) => break Err(error),
        }
    };
    assert!(ctx.outer.is_empty(), "frame-balance: a frame was left behind");
    outcome
}

pub(crate) async fn run(plan: &Plan) -> SqlResult<Vec<Vec<Datum>>> {
    run_with(plan, &[], MemoryBudget::unlimited(), &[]).await
}

/// Rows as optional integers, for comparison.
pub(crate) async fn int_rows(plan: &Plan) -> Vec<Vec<Option<i64>>> {
    as_ints(run(plan).await.unwrap())
}

pub(crate) fn as_ints(rows: Vec<Vec<Datum>>) -> Vec<Vec<Option<i64>>> {
    rows.iter().map(|row| row.iter().map(Datum::as_int).collect()).collect()
}
