//! Reading the tables that are made when read: by a column's value where a filter gives one.

use catalog::VirtualTable;
use types::SqlType;

use super::{
    Part, Want, access, cost,
    exprs::{comparison, conjunction, mark, remap},
    make, selectivity,
};
use crate::{
    expr::Expr,
    plan::{Estimate, Node, PlanColumn},
};

/// Rows of a catalog, for want of better knowledge.
const ROWS: f64 = 1000.0;
const ROWS_FOUND: f64 = 3.0;

pub(super) fn plan_virtual(
    table: &'static VirtualTable,
    columns: Vec<PlanColumn>,
    mut filters: Vec<Expr>,
    mut want: Want,
) -> Part {
    let lookup = take_lookup(&mut filters);
    filters.iter().for_each(|filter| mark(filter, &mut want.needed));
    let read: Vec<usize> = (0..columns.len()).filter(|column| want.needed[*column]).collect();
    let place = |column: usize| read.binary_search(&column).expect("the filter's columns are read");
    let found = if lookup.is_some() { ROWS_FOUND } else { ROWS };
    let share = selectivity::all(&filters, &selectivity::Nothing);
    filters.iter_mut().for_each(|filter| remap(filter, &place));
    let plan_columns: Vec<PlanColumn> = read.iter().map(|column| columns[*column].clone()).collect();
    let estimate = Estimate {
        rows: (found * share).max(1.0),
        width: plan_columns.iter().map(|column| access::default_width(&column.ty)).sum(),
        startup_cost: 0.0,
        total_cost: found * cost::PER_ROW,
    };
    let node = Node::VirtualScan { table, columns: read.clone(), lookup, filter: conjunction(filters) };
    Part { columns: read, ..Part::whole(make(node, plan_columns, estimate)) }
}

/// Takes a filter that the rows can be looked up by out of the others: its column and its value. Columns are positions
/// in the table's definition.
fn take_lookup(filters: &mut Vec<Expr>) -> Option<(usize, Expr)> {
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
    let usable = value.is_row_independent() && !value.runs_queries() && is_alike(&ty, &value.ty());
    usable.then(|| (position, value.clone()))
}
