//! Expressions taken apart and moved to where their columns are.

use std::sync::LazyLock;

use builtins::{Builtin, CallTypes, Volatility};
use rustc_hash::FxHashMap;
use types::{CastContext, Datum, SqlType};

use crate::{PlanContext, bind::same::same_expr, expr::Expr};

/// Comparison operators by the functions behind them.
static COMPARISONS: LazyLock<FxHashMap<usize, &'static str>> = LazyLock::new(|| {
    builtins::all_operators()
        .filter(|operator| operator.is_comparison())
        .map(|operator| (std::ptr::from_ref(&operator.function) as usize, operator.symbol))
        .collect()
});

/// The symbol of a comparison, if the function is one.
pub(crate) fn comparison(builtin: &'static Builtin) -> Option<&'static str> {
    COMPARISONS.get(&(std::ptr::from_ref(builtin) as usize)).copied()
}

/// The comparison that means the same with its sides exchanged.
pub(crate) fn commuted(symbol: &'static str) -> &'static str {
    match symbol {
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        same => same,
    }
}

/// The conjuncts of a predicate. What every arm of an OR demands is one of its own: `a AND b OR a AND c` is
/// `a AND (b OR c)`, so that a join's key is found though each arm repeats it.
pub(super) fn conjuncts(predicate: Expr, out: &mut Vec<Expr>) {
    match predicate {
        Expr::And(list) => list.into_iter().for_each(|item| conjuncts(item, out)),
        Expr::Or(arms) if matches!(arms.first(), Some(Expr::And(_))) => factored(arms, out),
        other => out.push(other),
    }
}

fn factored(arms: Vec<Expr>, out: &mut Vec<Expr>) {
    let mut arms: Vec<Vec<Expr>> = arms
        .into_iter()
        .map(|arm| {
            let mut parts = Vec::new();
            conjuncts(arm, &mut parts);
            parts
        })
        .collect();
    let is_common = |part: &Expr, arms: &[Vec<Expr>]| {
        !is_volatile(part) && arms.iter().all(|arm| arm.iter().any(|other| same_expr(other, part)))
    };
    let mut at = 0;
    while at < arms[0].len() {
        if !is_common(&arms[0][at], &arms[1..]) {
            at += 1;
            continue;
        }
        let common = arms[0].remove(at);
        arms[1..].iter_mut().for_each(|arm| arm.retain(|part| !same_expr(part, &common)));
        out.push(common);
    }
    // An arm that demands nothing else makes the rest of the OR true.
    if arms.iter().all(|arm| !arm.is_empty()) {
        out.push(Expr::Or(arms.into_iter().filter_map(conjunction).collect()));
    }
}

/// What an OR over several relations demands of one of them: `(a.x = 1 AND b.y = 1) OR (a.x = 2 AND b.y = 2)` lets no row
/// of `a` through but where `x` is 1 or 2. None where an arm demands nothing of it.
pub(super) fn demanded_of(arms: &[Expr], is_of_it: &dyn Fn(&Expr) -> bool) -> Option<Expr> {
    let demanded = |arm: &Expr| {
        let parts = match arm {
            Expr::And(parts) => &parts[..],
            one => std::slice::from_ref(one),
        };
        let own = |part: &&Expr| is_of_it(part) && !is_volatile(part) && !part.runs_queries();
        conjunction(parts.iter().filter(own).cloned().collect())
    };
    arms.iter().map(demanded).collect::<Option<Vec<Expr>>>().map(Expr::Or)
}

pub(super) fn conjunction(mut list: Vec<Expr>) -> Option<Expr> {
    match list.len() {
        0 => None,
        1 => list.pop(),
        _ => Some(Expr::And(list)),
    }
}

/// Every column moved by `by`.
pub(super) fn shift(expr: &mut Expr, by: isize) {
    remap(expr, &|column| column.checked_add_signed(by).expect("columns are moved to where they are"));
}

/// Every column replaced by what `map` says of its position.
pub(super) fn remap(expr: &mut Expr, map: &dyn Fn(usize) -> usize) {
    if let Expr::Column(position, _) = expr {
        *position = map(*position);
    }
    expr.for_each_child_mut(&mut |child| remap(child, map));
}

/// Larger expressions are not put in place of columns: nested queries that each use a column twice would make them
/// double with every level.
const SUBSTITUTED_SIZE_MAX: usize = 2000;

/// Whether an expression stays of a sane size when its columns are replaced.
pub(super) fn may_substitute(expr: &Expr, with: &[Expr]) -> bool {
    let mut size = expr.size_up_to(SUBSTITUTED_SIZE_MAX);
    let is_small = |size: usize| size <= SUBSTITUTED_SIZE_MAX;
    // A column may take the place of another whatever the size.
    let mut grows = false;
    for_each_column(expr, &mut |column| {
        if is_small(size) && !matches!(with[column], Expr::Column(..) | Expr::Const(..)) {
            grows = true;
            size += with[column].size_up_to(SUBSTITUTED_SIZE_MAX);
        }
    });
    !grows || is_small(size)
}

/// Every column replaced by an expression.
pub(super) fn substitute(expr: &mut Expr, with: &[Expr]) {
    if let Expr::Column(position, _) = expr {
        *expr = with[*position].clone();
        return;
    }
    expr.for_each_child_mut(&mut |child| substitute(child, with));
}

/// Calls `visit` with every column position, as often as it occurs.
pub(super) fn for_each_column(expr: &Expr, visit: &mut dyn FnMut(usize)) {
    if let Expr::Column(position, _) = expr {
        visit(*position);
    }
    expr.for_each_child(&mut |child| for_each_column(child, visit));
}

/// Marks the columns of an expression.
pub(super) fn mark(expr: &Expr, marks: &mut [bool]) {
    for_each_column(expr, &mut |column| marks[column] = true);
}

pub(super) fn is_volatile(expr: &Expr) -> bool {
    expr.any(&mut |expr| match expr {
        Expr::Sequence { .. } | Expr::RowId => true,
        Expr::Call { builtin, .. } => builtin.volatility == Volatility::Volatile,
        Expr::Routine(call) => call.is_volatile(),
        _ => false,
    })
}

/// Whether a condition cannot be true where all the columns that `is_null` names are NULL.
pub(super) fn rejects_null(condition: &Expr, is_null: &dyn Fn(usize) -> bool) -> bool {
    match condition {
        Expr::And(list) => list.iter().any(|item| rejects_null(item, is_null)),
        Expr::Or(list) => list.iter().all(|item| rejects_null(item, is_null)),
        Expr::Not(inner) => match &**inner {
            Expr::IsNull(inner) => becomes_null(inner, is_null),
            inner => becomes_null(inner, is_null),
        },
        Expr::Truth(inner, _) => matches!(condition, Expr::Truth(_, crate::expr::TruthTest::True | crate::expr::TruthTest::False))
            && becomes_null(inner, is_null),
        other => becomes_null(other, is_null),
    }
}

/// Whether a value is NULL where all the columns that `is_null` names are.
pub(super) fn becomes_null(expr: &Expr, is_null: &dyn Fn(usize) -> bool) -> bool {
    match expr {
        Expr::Column(position, _) => is_null(*position),
        Expr::Call { builtin, args, .. } => builtin.strict && args.iter().any(|arg| becomes_null(arg, is_null)),
        Expr::Cast { expr, .. } | Expr::Not(expr) => becomes_null(expr, is_null),
        Expr::InList { expr, .. } => becomes_null(expr, is_null),
        _ => false,
    }
}

/// A condition's value where it is known now.
pub(super) fn known_truth(condition: &Expr, context: &PlanContext<'_>) -> Option<bool> {
    let truth = |datum: &Datum| matches!(datum, Datum::Bool(true));
    match condition {
        Expr::Const(datum, _) => Some(truth(datum)),
        Expr::IsNull(tested) => match &**tested {
            Expr::Const(datum, _) => Some(datum.is_null()),
            _ => None,
        },
        Expr::Not(inner) => match &**inner {
            // Never NULL itself.
            Expr::IsNull(_) => known_truth(inner, context).map(|is_null| !is_null),
            _ => None,
        },
        Expr::Call { builtin, types, args } if builtin.volatility == Volatility::Immutable => {
            let values: Option<Vec<Datum>> = args
                .iter()
                .map(|arg| match arg {
                    Expr::Const(datum, _) => Some(datum.clone()),
                    _ => None,
                })
                .collect();
            // What fails is left to fail when it is run.
            builtin.call(context.eval, types, &values?).ok().map(|datum| truth(&datum))
        }
        _ => None,
    }
}

/// `left = right`, with both brought to one type; none where there is no such operator.
pub(super) fn equality(left: Expr, right: Expr) -> Option<Expr> {
    let resolved = builtins::resolve_binary_operator("=", Some(left.ty()), Some(right.ty())).ok()?;
    let types = CallTypes { args: resolved.args.clone(), ret: resolved.ret };
    let args = vec![cast_to(left, resolved.args[0]), cast_to(right, resolved.args[1])];
    Some(Expr::Call { builtin: &resolved.chosen.function, types, args })
}

pub(super) fn cast_to(expr: Expr, to: SqlType) -> Expr {
    if expr.ty().same_base(&to) {
        return expr;
    }
    Expr::Cast { expr: Box::new(expr), to, context: CastContext::Implicit }
}

/// Types whose equal values have the same key bytes.
pub(super) fn same_key_family(a: &SqlType, b: &SqlType) -> bool {
    let text = |ty: &SqlType| matches!(ty, SqlType::Text | SqlType::Varchar(_) | SqlType::Name);
    let float = |ty: &SqlType| matches!(ty, SqlType::Float4 | SqlType::Float8);
    a.same_base(b) || (a.is_integer() && b.is_integer()) || (text(a) && text(b)) || (float(a) && float(b))
}

/// A cast that gives back an equal value with the same key bytes, whatever it is given.
fn keeps_key(from: &SqlType, to: &SqlType) -> bool {
    match to {
        SqlType::Int2 | SqlType::Int4 | SqlType::Int8 => from.is_integer() && to.typlen() >= from.typlen(),
        SqlType::Float8 => matches!(from, SqlType::Float4 | SqlType::Float8),
        SqlType::Text | SqlType::Varchar(None) => matches!(from, SqlType::Text | SqlType::Varchar(_) | SqlType::Name),
        to => from == to,
    }
}

/// The column behind an expression, looking through casts that change nothing a key would see.
pub(super) fn column_of(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Column(position, _) => Some(*position),
        Expr::Cast { expr, to, .. } if keeps_key(&expr.ty(), to) => column_of(expr),
        _ => None,
    }
}

/// The column that [`column_of`] finds, without the casts around it.
pub(super) fn bare_column(expr: Expr) -> Expr {
    match expr {
        Expr::Cast { expr, to, .. } if keeps_key(&expr.ty(), &to) => bare_column(*expr),
        other => other,
    }
}

/// `a = b` with `a` over one side and `b` over another, as `side` numbers the columns: each with its side. Both have
/// one type, as a join's keys must.
pub(super) fn equi_sides(condition: &Expr, side: &dyn Fn(usize) -> usize) -> Option<(usize, Expr, usize, Expr)> {
    let Expr::Call { builtin, args, .. } = condition else { return None };
    if comparison(builtin) != Some("=") {
        return None;
    }
    let [a, b] = &args[..] else { return None };
    if is_volatile(condition) || condition.runs_queries() {
        return None;
    }
    let only_side = |expr: &Expr| {
        let used = expr.columns_used();
        let first = side(*used.first()?);
        used.iter().all(|column| side(*column) == first).then_some(first)
    };
    let (of_a, of_b) = (only_side(a)?, only_side(b)?);
    let common = match (a.ty(), b.ty()) {
        (a, b) if a.same_base(&b) => a,
        (a, b) if a.is_integer() && b.is_integer() => SqlType::Int8,
        (SqlType::Float4 | SqlType::Float8, SqlType::Float4 | SqlType::Float8) => SqlType::Float8,
        _ => return None,
    };
    (of_a != of_b).then(|| (of_a, cast_to(a.clone(), common), of_b, cast_to(b.clone(), common)))
}
