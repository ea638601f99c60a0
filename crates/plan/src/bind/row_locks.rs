//! FOR UPDATE and its kin: what they may stand beside, and where in a plan rows are locked.

use std::sync::Arc;

use catalog::Table;
use sqlparser::ast;
use types::{SqlError, SqlResult, SqlState};

use super::query::LockRequest;
use crate::logical::{Rel, RelNode};
use crate::parse::locking;
use crate::plan::{JoinKind, LockWait, RowLock};
use crate::scope::Scope;

/// The tables that a SELECT locks, with the positions of their first columns, if that is to be done above: where fewer
/// rows may be asked for than are found, those that others hold are passed over, or a policy with a subquery hides rows. The
/// others are locked as they are read.
pub(super) fn locked_above(rel: &mut Rel, is_limited: bool) -> SqlResult<Vec<(usize, Arc<Table>, RowLock)>> {
    fn visit(
        rel: &mut Rel,
        (start, nullable): (usize, bool),
        each: &mut dyn FnMut(usize, &Arc<Table>, &mut Option<RowLock>, bool),
    ) {
        match &mut rel.node {
            RelNode::Table { table, lock } if lock.is_some() => each(start, table, lock, nullable),
            // The rows of a table that the role may see.
            RelNode::Barrier(input) => match &mut input.node {
                RelNode::Filter { input, .. } => visit(input, (start, nullable), each),
                _ => visit(input, (start, nullable), each),
            },
            // A subquery of the nullable side; elsewhere it locks its own.
            RelNode::Project { input, .. } | RelNode::Filter { input, .. } if nullable => visit(input, (start, true), each),
            RelNode::Join { left, right, kind, .. } => {
                let width = left.columns.len();
                let left_nullable = matches!(kind, JoinKind::Right | JoinKind::Full);
                let right_nullable = matches!(kind, JoinKind::Left | JoinKind::Full);
                visit(left, (start, nullable || left_nullable), each);
                visit(right, (start + width, nullable || right_nullable), each);
            }
            _ => {}
        }
    }
    let mut tables: Vec<(usize, Arc<Table>, RowLock)> = Vec::new();
    let (mut refused, mut passes_over_all) = (None, None);
    visit(rel, (0, false), &mut |start, table, lock, nullable| {
        if let Some(lock) = lock {
            // The rows of a partitioned table are locked where its partitions are read.
            if !table.is_partitioned() {
                tables.push((start, Arc::clone(table), *lock));
            } else if is_limited && lock.wait == LockWait::Skip {
                passes_over_all = Some(lock.strength);
            }
            refused = refused.or(nullable.then_some(lock.strength));
        }
    });
    if let Some(strength) = refused {
        let message = format!("{} cannot be applied to the nullable side of an outer join", locking::name_of(strength));
        return Err(SqlError::not_supported(message));
    }
    // All rows would be locked, so that others would pass over them.
    if let Some(strength) = passes_over_all {
        let message = format!("{} SKIP LOCKED with LIMIT is not supported for partitioned tables", locking::name_of(strength));
        return Err(SqlError::not_supported(message));
    }
    if !is_limited && tables.iter().all(|(.., lock)| lock.wait != LockWait::Skip) && !hides_above_scan(rel) {
        return Ok(Vec::new());
    }
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let is_alone = matches!(rel.node, RelNode::Table { .. });
    tables.iter_mut().for_each(|(.., lock)| lock.is_above = is_alone);
    visit(rel, (0, false), &mut |_, table, lock, _| {
        if !table.is_partitioned() {
            *lock = lock.map(|lock| RowLock { is_above: true, ..lock }).filter(|_| is_alone);
        }
    });
    Ok(tables)
}

/// Whether a policy's condition hides rows of a table that is locked, and is computed above the scan that reads them: they
/// would be locked all the same.
fn hides_above_scan(rel: &Rel) -> bool {
    match &rel.node {
        RelNode::Barrier(input) => match &input.node {
            RelNode::Filter { input, predicate } => {
                matches!(&input.node, RelNode::Table { table, lock: Some(_) } if !table.is_partitioned())
                    && predicate.runs_queries()
            }
            _ => false,
        },
        RelNode::Join { left, right, .. } => hides_above_scan(left) || hides_above_scan(right),
        _ => false,
    }
}

pub(super) fn check_locks(locks: &[LockRequest], scope: &Scope<'_>) -> SqlResult<()> {
    for lock in locks {
        if let Some(of) = &lock.of {
            if !scope.ranges.iter().any(|range| range.name == *of) {
                return Err(SqlError::new(
                    SqlState::UndefinedTable,
                    format!(
                        "relation \"{of}\" in {} clause not found in FROM clause",
                        locking::name_of(lock.lock.strength)
                    ),
                ));
            }
        }
    }
    Ok(())
}

pub(super) fn refuse_locks(
    locks: &[LockRequest],
    select: &ast::Select,
    (has_groups, is_grouped): (bool, bool),
    has_windows: bool,
    has_sets: bool,
) -> SqlResult<()> {
    let Some(first) = locks.iter().find(|request| !request.of_view) else { return Ok(()) };
    let reason = if select.distinct.as_ref().is_some_and(|it| *it != ast::Distinct::All) {
        "DISTINCT clause"
    } else if has_groups {
        "GROUP BY clause"
    } else if select.having.is_some() {
        "HAVING clause"
    } else if is_grouped {
        "aggregate functions"
    } else if has_windows {
        "window functions"
    } else if has_sets {
        "set-returning functions in the target list"
    } else {
        return Ok(());
    };
    let name = locking::name_of(first.lock.strength);
    Err(SqlError::not_supported(format!("{name} is not allowed with {reason}")))
}
