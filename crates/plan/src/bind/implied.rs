//! Whether one condition follows from another, as far as their forms show it: what a partial index's predicate asks.

use std::cmp::Ordering;

use types::Datum;

use super::same::same_expr;
use crate::expr::{Expr, TruthTest};
use crate::optimize::{commuted, comparison};

/// Whether `wanted` is true wherever `given` is.
pub(crate) fn implies(given: &Expr, wanted: &Expr) -> bool {
    match (given, wanted) {
        (given, Expr::And(parts)) => parts.iter().all(|part| implies(given, part)),
        (Expr::Or(arms), wanted) => arms.iter().all(|arm| implies(arm, wanted)),
        (given, Expr::Or(arms)) => arms.iter().any(|arm| implies(given, arm)),
        (Expr::And(parts), wanted) => parts.iter().any(|part| implies(part, wanted)),
        (given, wanted) => same_expr(given, wanted) || follows(given, wanted),
    }
}

/// Of two conditions without AND and OR at their top.
fn follows(given: &Expr, wanted: &Expr) -> bool {
    if let Expr::Not(inner) = wanted
        && let Expr::IsNull(tested) = &**inner
    {
        return is_not_null_where(given, tested);
    }
    // `b`, `b = true` and `b IS TRUE` are one.
    if let (Some(a), Some(b)) = (as_true(given), as_true(wanted)) {
        return same_expr(a, b);
    }
    let (Some((a, op_a, bound_a, ty_a)), Some((b, op_b, bound_b, ty_b))) = (bound(given), bound(wanted)) else {
        return false;
    };
    if !same_expr(a, b) || !ty_a.same_base(&ty_b) {
        return false;
    }
    let order = types::compare(&ty_a, bound_a, bound_b);
    match (op_a, op_b) {
        ("=", "=") => order == Ordering::Equal,
        ("=", "<") => order == Ordering::Less,
        ("<", "<") | ("<", "<=") | ("<=", "<=") | ("=", "<=") => order != Ordering::Greater,
        ("<=", "<") => order == Ordering::Less,
        ("=", ">") | (">=", ">") => order == Ordering::Greater,
        (">", ">") | (">", ">=") | (">=", ">=") | ("=", ">=") => order != Ordering::Less,
        ("=", "<>") => order != Ordering::Equal,
        ("<", "<>") => order != Ordering::Greater,
        ("<=", "<>") => order == Ordering::Less,
        (">", "<>") => order != Ordering::Less,
        (">=", "<>") => order == Ordering::Greater,
        _ => false,
    }
}

/// A comparison with a constant, the constant on the right.
fn bound(expr: &Expr) -> Option<(&Expr, &'static str, &Datum, types::SqlType)> {
    let Expr::Call { builtin, args, .. } = expr else { return None };
    let symbol = comparison(builtin)?;
    match &args[..] {
        [left, Expr::Const(value, ty)] if !value.is_null() => Some((left, symbol, value, *ty)),
        [Expr::Const(value, ty), right] if !value.is_null() => {
            let mirrored = commuted(symbol);
            Some((right, mirrored, value, *ty))
        }
        _ => None,
    }
}

fn as_true(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::Truth(inner, TruthTest::True) => Some(inner),
        Expr::Column(_, types::SqlType::Bool) => Some(expr),
        _ => match bound(expr)? {
            (inner, "=", Datum::Bool(true), _) => Some(inner),
            _ => None,
        },
    }
}

/// Whether `tested` cannot be NULL where `given` is true: it is an argument of something that is NULL of NULLs.
fn is_not_null_where(given: &Expr, tested: &Expr) -> bool {
    if same_expr(given, tested) {
        return true;
    }
    match given {
        Expr::Call { builtin, args, .. } if builtin.strict && !builtin.is_set_returning() => {
            args.iter().any(|arg| is_not_null_where(arg, tested))
        }
        Expr::Cast { expr, .. } | Expr::Truth(expr, TruthTest::True | TruthTest::False) => is_not_null_where(expr, tested),
        Expr::Not(inner) if !matches!(**inner, Expr::IsNull(_)) => is_not_null_where(inner, tested),
        Expr::InList { expr, negated: false, .. } => is_not_null_where(expr, tested),
        _ => false,
    }
}
