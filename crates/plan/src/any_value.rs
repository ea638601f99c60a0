//! Which plans are good whatever their parameters are: with the values known, planning would choose no other that is worth
//! the planning. These read few rows, by keys, for each value that there is: a value that is far more common than others
//! (by the statistics) makes another plan better, and so do bounds and partitions, which values would narrow. Queries within
//! expressions are not looked at: whoever asks has none.

use catalog::ColumnStatistics;

use crate::{
    PlanContext,
    plan::{IndexSpan, Node, Plan, TableScan},
};

/// What a plan reads by a key that is not unique may be so many rows in the worst case.
const FEW_ROWS: f64 = 1000.0;

pub(crate) fn serves_any_value(plan: &Plan, context: &PlanContext<'_>) -> bool {
    let all = |plans: &[&Plan]| plans.iter().all(|plan| serves_any_value(plan, context));
    match &plan.node {
        Node::Unit | Node::Values { .. } => true,
        Node::TableScan(scan) => reads_few(scan, context),
        Node::LookupJoin { left, scan, keys, .. } => {
            let index = &scan.table.indexes[scan.index];
            index.unique && keys.len() == index.columns.len() && all(&[left])
        }
        Node::HashJoin { left, right, .. } | Node::NestedLoopJoin { left, right, .. } => all(&[left, right]),
        Node::Filter { input, .. }
        | Node::Project { input, .. }
        | Node::Sort { input, .. }
        | Node::Limit { input, .. }
        | Node::Aggregate { input, sets: None, .. } => all(&[input]),
        Node::LockRows(lock) => all(&[&lock.input]),
        Node::Insert(insert) => all(&[&insert.source]),
        Node::Update(update) => all(&[&update.source]),
        Node::Delete(delete) => all(&[&delete.source]),
        Node::Finish { input, ctes } => ctes.is_empty() && all(&[input]),
        Node::Aggregate { sets: Some(_), .. }
        | Node::VirtualScan { .. }
        | Node::FunctionScan { .. }
        | Node::Apply { .. }
        | Node::ProjectSet { .. }
        | Node::Window { .. }
        | Node::Distinct { .. }
        | Node::SetOp { .. }
        | Node::Append(_)
        | Node::TransitionScan { .. }
        | Node::CteScan { .. }
        | Node::RecursiveUnion { .. }
        | Node::Merge(_) => false,
    }
}

fn reads_few(scan: &TableScan, context: &PlanContext<'_>) -> bool {
    scan.point || (!scan.spans.is_empty() && scan.spans.iter().all(|span| is_narrow(scan, span, context)))
}

fn is_narrow(scan: &TableScan, span: &IndexSpan, context: &PlanContext<'_>) -> bool {
    if span.equal.is_empty() || span.any_of.is_some() {
        return false;
    }
    // Where nothing is known of the table, values would not have told more.
    let Some(statistics) = context.catalog.statistics().table(scan.table.storage) else { return true };
    let equal = scan.table.indexes[scan.index].columns.iter().take(span.equal.len());
    let share = equal.map(|column| statistics.column(column.column).map_or(1.0, largest_share)).fold(1.0, f64::min);
    statistics.rows * share <= FEW_ROWS
}

/// The share of all rows that the most common value of a column has.
fn largest_share(column: &ColumnStatistics) -> f64 {
    match column.common.first() {
        Some((_, share)) => *share,
        None => 1.0 / column.distinct.max(1.0),
    }
}
