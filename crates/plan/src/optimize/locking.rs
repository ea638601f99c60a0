//! Rows that are locked above the scan that finds them, the first of them only as many as are asked for.

use std::sync::Arc;

use catalog::Table;
use types::SqlResult;

use super::{
    EXTRA, Part, Want,
    exprs::{conjunction, mark},
    make,
    query::plan_rel,
};
use crate::{
    PlanContext,
    expr::Expr,
    logical::Rel,
    plan::{LockRows, LockedTable, Node, Plan, ReadAgain, RowLock},
};

/// Plans the locking of rows. One row that is named by its key is locked where it is read.
pub(super) fn plan_lock_rows(
    input: Rel,
    tables: Vec<(usize, Arc<Table>, RowLock)>,
    again: Option<Vec<Expr>>,
    mut want: Want,
    context: &PlanContext<'_>,
) -> SqlResult<Part> {
    for (start, table, _) in &tables {
        table.key_positions(table.primary()).for_each(|column| want.needed[start + column] = true);
    }
    again.iter().flatten().for_each(|condition| mark(condition, &mut want.needed));
    let mut part = plan_rel(input, Vec::new(), want, context)?;
    if let Node::TableScan(scan) = &mut part.plan.node
        && scan.point
        && scan.index == 0
        && scan.spans.len() == 1
        && scan.filter.is_none()
        && let Some(lock) = scan.lock.filter(|lock| lock.is_above)
    {
        Arc::make_mut(scan).lock = Some(RowLock { is_above: false, ..lock });
        return Ok(part);
    }
    drop_extras(&mut part);
    let tables = tables
        .into_iter()
        .map(|(start, table, lock)| {
            let key = table.key_positions(table.primary()).map(|column| part.place(start + column)).collect();
            LockedTable { key, table, lock }
        })
        .collect();
    let again = again.map(|conditions| ReadAgain {
        // The only table's columns are the relation's.
        columns: part.columns.clone(),
        condition: conjunction(conditions.into_iter().map(|condition| part.placed(condition)).collect()),
    });
    let (columns, estimate) = (part.plan.columns.clone(), part.plan.estimate);
    let node = Node::LockRows(Arc::new(LockRows { input: Box::new(part.plan), tables, again, limit: None }));
    Ok(Part { plan: make(node, columns, estimate), base: None, made: None, ..part })
}

/// Columns that are none of the relation's are not looked at again.
fn drop_extras(part: &mut Part) {
    if !part.columns.contains(&EXTRA) {
        return;
    }
    let kept: Vec<usize> = (0..part.columns.len()).filter(|at| part.columns[*at] != EXTRA).collect();
    let columns: Vec<_> = kept.iter().map(|at| part.plan.columns[*at].clone()).collect();
    let exprs = kept.iter().zip(&columns).map(|(at, column)| Expr::Column(*at, column.ty)).collect();
    let estimate = part.plan.estimate;
    let input = std::mem::replace(&mut part.plan, make(Node::Unit, Vec::new(), estimate));
    part.plan = make(Node::Project { input: Box::new(input), exprs }, columns, estimate);
    part.facts = kept.iter().map(|at| part.facts[*at]).collect();
    part.columns = kept.iter().map(|at| part.columns[*at]).collect();
}

/// A limit above: no more rows are locked at once than it lets through. `None` where that cannot be told before.
pub(super) fn limit_locks(plan: &mut Plan, limit: Option<&Expr>) {
    match &mut plan.node {
        Node::Project { input, .. } => limit_locks(input, limit),
        Node::LockRows(lock) => Arc::make_mut(lock).limit = limit.cloned().map(Box::new),
        _ => {}
    }
}
