//! Reading the tables that are made when read: by a column's value where a filter gives one.

use catalog::VirtualTable;
use types::SqlType;

use super::{comparison, conjunction, cost, make};
use crate::{
    expr::Expr,
    plan::{Estimate, Node, Plan, PlanColumn},
};

/// Rows of a catalog, for want of better knowledge.
const ROWS: f64 = 1000.0;
const ROWS_FOUND: f64 = 3.0;

pub(super) fn plan_virtual(table: &'static VirtualTable, columns: Vec<PlanColumn>, mut filters: Vec<Expr>) -> Plan {
    let lookup = take_lookup(&mut filters);
    let read = if lookup.is_some() { ROWS_FOUND } else { ROWS };
    let share: f64 = filters.iter().map(cost::selectivity).product();
    let estimate = Estimate {
        rows: (read * share).max(1.0),
        width: table.columns.len() as f64 * 8.0,
        startup_cost: 0.0,
        total_cost: read * cost::PER_ROW,
    };
    let all = (0..table.columns.len()).collect();
    make(Node::VirtualScan { table, columns: all, lookup, filter: conjunction(filters) }, columns, estimate)
}

/// Takes a filter that the rows can be looked up by out of the others: its column and its value. Columns are positions
/// in the table's definition.
pub(super) fn take_lookup(filters: &mut Vec<Expr>) -> Option<(usize, Expr)> {
    let (at, lookup) = filters.iter().enumerate().find_map(|(at, filter)| Some((at, lookup(filter)?)))?;
    filters.remove(at);
    Some(lookup)
}

/// Whether values of the two types are looked up alike: oids and their kin are integers, names are texts.
fn is_alike(a: &SqlType, b: &SqlType) -> bool {
    let number = |ty: &SqlType| ty.is_integer() || ty.is_reg() || *ty == SqlType::Oid;
    let text = |ty: &SqlType| {
        matches!(ty, SqlType::Text | SqlType::Varchar(None) | SqlType::Name | SqlType::QuotedChar)
    };
    (number(a) && number(b)) || (text(a) && text(b))
}

fn column_of(expr: &Expr) -> Option<(usize, SqlType)> {
    match expr {
        Expr::Column(position, ty) => Some((*position, *ty)),
        Expr::Cast { expr, to, .. } if is_alike(&expr.ty(), to) => column_of(expr),
        _ => None,
    }
}

fn lookup(filter: &Expr) -> Option<(usize, Expr)> {
    let Expr::Call { builtin, args, .. } = filter else { return None };
    let [left, right] = &args[..] else { return None };
    if comparison(builtin)? != "=" {
        return None;
    }
    let ((position, ty), value) = match (column_of(left), column_of(right)) {
        (Some(found), None) => (found, right),
        (None, Some(found)) => (found, left),
        _ => return None,
    };
    let usable = value.is_row_independent() && !value.has_subquery() && is_alike(&ty, &value.ty());
    usable.then(|| (position, value.clone()))
}
