//! Which conditions tell nothing of the values that they are given but their own answer: comparisons of plain types do, what
//! may fail with a value in its message, or calls a user's function, does not.
//!
//! PostgreSQL's `proleakproof` says which functions do; what is called without columns cannot tell of any.

use types::SqlType;

use super::exprs::comparison;
use crate::expr::{Comparison, Expr};

/// Functions, beside comparisons, whose every form is leakproof. In their order.
const FUNCTIONS: [&str; 6] = ["md5", "sha224", "sha256", "sha384", "sha512", "starts_with"];

/// Types whose comparisons are leakproof: those that never fail and look at nothing else.
fn is_plain(ty: &SqlType) -> bool {
    match ty {
        SqlType::Bool
        | SqlType::QuotedChar
        | SqlType::Name
        | SqlType::Int2
        | SqlType::Int4
        | SqlType::Int8
        | SqlType::Text
        | SqlType::Varchar(_)
        | SqlType::Char(_)
        | SqlType::Oid
        | SqlType::Xid
        | SqlType::Float4
        | SqlType::Float8
        | SqlType::Bytea
        | SqlType::Date
        | SqlType::Time(_)
        | SqlType::TimeTz(_)
        | SqlType::Timestamp(_)
        | SqlType::TimestampTz(_)
        | SqlType::Interval
        | SqlType::Inet
        | SqlType::Cidr
        | SqlType::MacAddr
        | SqlType::MacAddr8
        | SqlType::Bit(_)
        | SqlType::VarBit(_)
        | SqlType::Money
        | SqlType::PgLsn
        | SqlType::Xid8
        | SqlType::Uuid
        | SqlType::OidVector => true,
        other => other.is_reg(),
    }
}

/// Casts that cannot fail and change nothing that a message could show.
fn is_plain_cast(from: &SqlType, to: &SqlType) -> bool {
    let is_text = |ty: &SqlType| matches!(ty, SqlType::Text | SqlType::Varchar(_) | SqlType::Name);
    let is_unbounded = |ty: &SqlType| matches!(ty, SqlType::Text | SqlType::Varchar(None) | SqlType::Name);
    let is_float = |ty: &SqlType| matches!(ty, SqlType::Float4 | SqlType::Float8);
    let is_oid = |ty: &SqlType| *ty == SqlType::Oid || ty.is_reg();
    if from == to {
        return true;
    }
    match to {
        SqlType::Int2 | SqlType::Int4 | SqlType::Int8 if from.is_integer() => to.typlen() >= from.typlen(),
        SqlType::Int4 => *from == SqlType::Bool,
        SqlType::Int8 => is_oid(from),
        SqlType::Bool => *from == SqlType::Int4,
        SqlType::Float4 => from.is_integer(),
        SqlType::Float8 => from.is_integer() || is_float(from),
        to if *to == SqlType::NUMERIC => from.is_integer() || is_float(from),
        to if is_unbounded(to) => is_text(from),
        to if is_oid(to) => is_oid(from) || *from == SqlType::Int2,
        SqlType::Inet => *from == SqlType::Cidr,
        to => from.same_base(to) && to.typmod() < 0,
    }
}

fn is_plain_comparison(by: &Comparison, left: SqlType, right: SqlType) -> bool {
    comparison(by.builtin).is_some()
        && is_plain(&by.left_cast)
        && is_plain(&by.right_cast)
        && is_plain_cast(&left, &by.left_cast)
        && is_plain_cast(&right, &by.right_cast)
}

/// Whether an expression tells nothing of the columns in it but its value.
pub(super) fn is_leakproof(expr: &Expr) -> bool {
    let is_own = match expr {
        Expr::Column(..)
        | Expr::Outer(..)
        | Expr::Operand(_)
        | Expr::Param(..)
        | Expr::Const(..)
        | Expr::And(_)
        | Expr::Or(_)
        | Expr::Not(_)
        | Expr::IsNull(_)
        | Expr::Truth(..)
        | Expr::Case { .. }
        | Expr::NullIf { .. }
        | Expr::Coalesce(..)
        | Expr::Array { .. }
        | Expr::Row(..)
        | Expr::Field { .. }
        | Expr::Subscript { .. } => true,
        Expr::IsDistinctFrom(left, right) => is_plain(&left.ty()) && is_plain(&right.ty()),
        Expr::Greatest(_, ty) | Expr::Least(_, ty) => is_plain(ty),
        Expr::InList { expr, .. } => is_plain(&expr.ty()),
        Expr::AnyAll { left, array, comparison, .. } => {
            array.ty().element().is_some_and(|element| is_plain_comparison(comparison, left.ty(), element))
        }
        Expr::Call { builtin, types, .. } => match comparison(builtin) {
            Some(_) => types.args.iter().all(is_plain),
            None => FUNCTIONS.binary_search(&builtin.name()).is_ok(),
        },
        Expr::Cast { expr, to, .. } => is_plain_cast(&expr.ty(), to),
        Expr::Routine(call) => call.routine.leakproof,
        Expr::ToDomain { .. } | Expr::Assign(_) | Expr::Subquery(_) | Expr::Sequence { .. } | Expr::RowId => false,
    };
    // What is given no column has none to tell of.
    if !is_own {
        return !expr.runs_queries() && !expr.any(&mut |part| matches!(part, Expr::Column(..) | Expr::Outer(..) | Expr::Operand(_)));
    }
    let mut all = true;
    expr.for_each_child(&mut |child| all = all && is_leakproof(child));
    all
}

#[cfg(test)]
mod tests {
    use types::CastContext;

    use super::*;

    fn call(symbol: &str, left: Expr, right: Expr) -> Expr {
        let found = builtins::resolve_binary_operator(symbol, Some(left.ty()), Some(right.ty())).unwrap();
        let types = builtins::CallTypes { args: found.args.clone(), ret: found.ret };
        Expr::Call { builtin: &found.chosen.function, types, args: vec![left, right] }
    }

    #[test]
    fn comparisons_of_plain_types_tell_nothing() {
        let number = || Expr::Column(0, SqlType::Int4);
        let text = || Expr::Column(1, SqlType::Text);
        let amount = || Expr::Column(2, SqlType::NUMERIC);
        let one = || Expr::Const(types::Datum::Int(1), SqlType::Int4);
        assert!(is_leakproof(&call("=", number(), one())));
        assert!(is_leakproof(&call("<", text(), text())));
        assert!(!is_leakproof(&call("=", amount(), amount())), "numeric comparisons are not on the list");
        assert!(!is_leakproof(&call("/", one(), number())), "it may fail");
        assert!(is_leakproof(&call("/", one(), one())), "no column can be told of");
        let cast = |to| Expr::Cast { expr: Box::new(text()), to, context: CastContext::Explicit };
        assert!(!is_leakproof(&cast(SqlType::Int4)), "its error shows the value");
        assert!(is_leakproof(&cast(SqlType::VARCHAR)));
        let widened = Expr::Cast { expr: Box::new(number()), to: SqlType::Int8, context: CastContext::Implicit };
        assert!(is_leakproof(&Expr::And(vec![Expr::IsNull(Box::new(widened)), call("=", number(), one())])));
        assert!(!is_leakproof(&Expr::Or(vec![call("=", number(), one()), call(">", call("/", one(), number()), one())])));
    }

    #[test]
    fn the_list_is_in_order() {
        assert!(FUNCTIONS.is_sorted());
    }
}
