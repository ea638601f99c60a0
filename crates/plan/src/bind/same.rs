//! Whether two bound expressions are the same: same functions over the same columns. GROUP BY, DISTINCT and ORDER BY
//! recognise their expressions by this.

use std::ptr;

use crate::expr::{AggregateCall, Expr, SortKey, SubqueryKind};

pub fn same_expr(a: &Expr, b: &Expr) -> bool {
    match (a, b) {
        (Expr::Column(x, _), Expr::Column(y, _))
        | (Expr::Outer(x, _), Expr::Outer(y, _))
        | (Expr::Param(x, _), Expr::Param(y, _)) => x == y,
        (Expr::Const(x, tx), Expr::Const(y, ty)) => tx == ty && x == y,
        (Expr::Operand(x), Expr::Operand(y)) => x == y,
        (
            Expr::Call { builtin: x, types: tx, args: ax },
            Expr::Call { builtin: y, types: ty, args: ay },
        ) => ptr::eq(*x, *y) && tx == ty && same_list(ax, ay),
        (Expr::And(x), Expr::And(y)) | (Expr::Or(x), Expr::Or(y)) => same_list(x, y),
        (Expr::Row(x, tx), Expr::Row(y, ty)) => tx.same_base(ty) && same_list(x, y),
        (Expr::Field { row: x, at, .. }, Expr::Field { row: y, at: other, .. }) => at == other && same_expr(x, y),
        (Expr::Not(x), Expr::Not(y)) | (Expr::IsNull(x), Expr::IsNull(y)) => same_expr(x, y),
        (Expr::Truth(x, tx), Expr::Truth(y, ty)) => tx == ty && same_expr(x, y),
        (Expr::IsDistinctFrom(x1, x2), Expr::IsDistinctFrom(y1, y2)) => same_expr(x1, y1) && same_expr(x2, y2),
        (
            Expr::Case { operand: px, branches: x, otherwise: ox, ty: tx },
            Expr::Case { operand: py, branches: y, otherwise: oy, ty },
        ) => {
            tx == ty
                && same_option(px.as_deref(), py.as_deref())
                && x.len() == y.len()
                && x.iter().zip(y).all(|(x, y)| same_expr(&x.0, &y.0) && same_expr(&x.1, &y.1))
                && same_option(ox.as_deref(), oy.as_deref())
        }
        (Expr::Coalesce(x, tx), Expr::Coalesce(y, ty))
        | (Expr::Greatest(x, tx), Expr::Greatest(y, ty))
        | (Expr::Least(x, tx), Expr::Least(y, ty)) => tx == ty && same_list(x, y),
        (Expr::NullIf { value: x, equal: ex, .. }, Expr::NullIf { value: y, equal: ey, .. }) => {
            same_expr(x, y) && same_expr(ex, ey)
        }
        (Expr::Cast { expr: x, to: tx, context: cx }, Expr::Cast { expr: y, to: ty, context: cy }) => {
            tx == ty && cx == cy && same_expr(x, y)
        }
        (
            Expr::ToDomain { expr: x, rules: rx, of_elements: ex, .. },
            Expr::ToDomain { expr: y, rules: ry, of_elements: ey, .. },
        ) => rx.domain == ry.domain && ex == ey && same_expr(x, y),
        (
            Expr::InList { expr: x, list: lx, negated: nx },
            Expr::InList { expr: y, list: ly, negated: ny },
        ) => nx == ny && same_expr(x, y) && same_list(lx, ly),
        (
            Expr::AnyAll { left: x, array: ax, comparison: cx, all: bx },
            Expr::AnyAll { left: y, array: ay, comparison: cy, all: by },
        ) => bx == by && ptr::eq(cx.builtin, cy.builtin) && same_expr(x, y) && same_expr(ax, ay),
        (Expr::Array { elements: x, ty: tx }, Expr::Array { elements: y, ty }) => tx == ty && same_list(x, y),
        (
            Expr::Subscript { array: x, subscripts: sx, slice: lx, .. },
            Expr::Subscript { array: y, subscripts: sy, slice: ly, .. },
        ) => {
            lx == ly
                && same_expr(x, y)
                && sx.len() == sy.len()
                && sx.iter().zip(sy).all(|(x, y)| {
                    same_option(x.0.as_ref(), y.0.as_ref()) && same_option(x.1.as_ref(), y.1.as_ref())
                })
        }
        (Expr::Subquery(x), Expr::Subquery(y)) => {
            x.form == y.form && x.ty == y.ty && same_kind(&x.kind, &y.kind) && same_list(&x.arguments, &y.arguments)
        }
        (Expr::Routine(x), Expr::Routine(y)) => {
            !x.is_volatile() && x.routine.id == y.routine.id && x.types == y.types && same_list(&x.args, &y.args)
        }
        // Sequences and row ids are never taken for one another.
        _ => false,
    }
}

fn same_kind(a: &SubqueryKind, b: &SubqueryKind) -> bool {
    match (a, b) {
        (SubqueryKind::Exists, SubqueryKind::Exists)
        | (SubqueryKind::Scalar, SubqueryKind::Scalar)
        | (SubqueryKind::Array, SubqueryKind::Array) => true,
        (
            SubqueryKind::Quantified { left: lx, comparisons: cx, all: ax },
            SubqueryKind::Quantified { left: ly, comparisons: cy, all: ay },
        ) => {
            ax == ay
                && same_list(lx, ly)
                && cx.len() == cy.len()
                && cx.iter().zip(cy).all(|(x, y)| ptr::eq(x.builtin, y.builtin))
        }
        _ => false,
    }
}

pub(crate) fn same_list(a: &[Expr], b: &[Expr]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_expr(a, b))
}

fn same_option(a: Option<&Expr>, b: Option<&Expr>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => same_expr(a, b),
        (None, None) => true,
        _ => false,
    }
}

pub(crate) fn same_keys(a: &[SortKey], b: &[SortKey]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            a.descending == b.descending && a.nulls_first == b.nulls_first && same_expr(&a.expr, &b.expr)
        })
}

pub(crate) fn same_aggregate(a: &AggregateCall, b: &AggregateCall) -> bool {
    ptr::eq(a.aggregate, b.aggregate)
        && a.types == b.types
        && a.distinct == b.distinct
        && same_list(&a.args, &b.args)
        && same_option(a.filter.as_ref(), b.filter.as_ref())
        && same_keys(&a.order_by, &b.order_by)
}
