//! Expressions as PostgreSQL's EXPLAIN shows them: operators in parentheses, constants with their types.

use std::sync::Arc;

use types::{Datum, Formatting, SqlType, stack::grown, to_text};

use crate::print::{called, compared_with};
use crate::{
    AggregateCall, Expr, SortKey, SubqueryKind, TruthTest,
    plan::{FunctionCall, Plan},
};

/// Names for what expressions refer to, and the subplans met on the way.
pub(super) struct Names<'a> {
    /// Of the columns the expressions see.
    pub columns: &'a [String],
    pub subplans: &'a mut Vec<Arc<Plan>>,
}

fn symbol(builtin: &'static builtins::Builtin) -> Option<&'static str> {
    builtins::all_operators()
        .find(|operator| std::ptr::eq(&raw const operator.function, builtin))
        .map(|operator| operator.symbol)
}

fn literal(value: &Datum, ty: &SqlType) -> String {
    let text = to_text(ty, value, &Formatting::default());
    match value {
        Datum::Null => format!("NULL::{}", ty.name()),
        Datum::Bool(value) => value.to_string(),
        Datum::Int(value) if *value >= 0 && ty.is_integer() => text,
        Datum::Numeric(_) | Datum::Float(_) if !text.starts_with('-') => match ty {
            SqlType::Numeric(_) => text,
            _ => format!("'{text}'::{}", ty.name()),
        },
        _ => format!("'{}'::{}", text.replace('\'', "''"), ty.name()),
    }
}

impl Names<'_> {
    pub fn list(&mut self, exprs: &[Expr]) -> String {
        exprs.iter().map(|expr| self.expr(expr)).collect::<Vec<_>>().join(", ")
    }

    fn joined(&mut self, exprs: &[Expr], word: &str) -> String {
        let parts: Vec<String> = exprs.iter().map(|expr| self.expr(expr)).collect();
        format!("({})", parts.join(word))
    }

    /// A key of a sort or a group: in parentheses only where it is an operator.
    pub fn key(&mut self, key: &SortKey) -> String {
        let mut text = self.expr(&key.expr);
        if key.descending {
            text.push_str(" DESC");
        }
        match (key.descending, key.nulls_first) {
            (false, true) => text.push_str(" NULLS FIRST"),
            (true, false) => text.push_str(" NULLS LAST"),
            _ => {}
        }
        text
    }

    pub fn call(&mut self, call: &FunctionCall) -> String {
        format!("{}({})", call.name(), self.list(&call.args))
    }

    pub fn aggregate(&mut self, call: &AggregateCall) -> String {
        let args = if call.args.is_empty() { "*".to_owned() } else { self.list(&call.args) };
        let distinct = if call.distinct { "DISTINCT " } else { "" };
        let mut text = format!("{}({distinct}{args}", call.aggregate.signature.name);
        if !call.order_by.is_empty() {
            let keys: Vec<String> = call.order_by.iter().map(|key| self.key(key)).collect();
            text.push_str(&format!(" ORDER BY {}", keys.join(", ")));
        }
        text.push(')');
        if let Some(filter) = &call.filter {
            text.push_str(&format!(" FILTER (WHERE {})", self.expr(filter)));
        }
        text
    }

    pub fn expr(&mut self, expr: &Expr) -> String {
        grown(|| self.expr_node(expr))
    }

    fn expr_node(&mut self, expr: &Expr) -> String {
        match expr {
            Expr::Column(position, _) => {
                self.columns.get(*position).cloned().unwrap_or_else(|| format!("column{}", position + 1))
            }
            Expr::Outer(slot, _) => format!("${slot}"),
            Expr::Param(number, _) => format!("${}", number + 1),
            Expr::Operand(_) => "CASE_TEST_EXPR".to_owned(),
            Expr::Const(value, ty) => literal(value, ty),
            Expr::Call { builtin, args, types } => match (symbol(builtin), &args[..]) {
                (Some(symbol), [left, right]) => format!("({} {symbol} {})", self.expr(left), self.expr(right)),
                (Some(symbol), [only]) => format!("({symbol} {})", self.expr(only)),
                _ => format!("{}({})", called(builtin, types), self.list(args)),
            },
            Expr::And(list) => self.joined(list, " AND "),
            Expr::Or(list) => self.joined(list, " OR "),
            Expr::Not(inner) => match &**inner {
                Expr::IsNull(inner) => format!("({} IS NOT NULL)", self.expr(inner)),
                inner => format!("(NOT {})", self.expr(inner)),
            },
            Expr::IsNull(inner) => format!("({} IS NULL)", self.expr(inner)),
            Expr::Truth(inner, test) => {
                let word = match test {
                    TruthTest::True => "TRUE",
                    TruthTest::False => "FALSE",
                    TruthTest::Unknown => "UNKNOWN",
                };
                format!("({} IS {word})", self.expr(inner))
            }
            Expr::IsDistinctFrom(left, right) => {
                format!("({} IS DISTINCT FROM {})", self.expr(left), self.expr(right))
            }
            Expr::Case { operand, branches, otherwise, ty } => {
                let mut text = "CASE".to_owned();
                if let Some(operand) = operand {
                    text.push_str(&format!(" {}", self.expr(operand)));
                }
                for (condition, value) in branches {
                    let condition = operand.as_ref().and_then(|_| compared_with(condition)).unwrap_or(condition);
                    text.push_str(&format!(" WHEN {} THEN {}", self.expr(condition), self.expr(value)));
                }
                let otherwise = otherwise.as_ref().map_or_else(|| literal(&Datum::Null, ty), |value| self.expr(value));
                text.push_str(&format!(" ELSE {otherwise} END"));
                text
            }
            Expr::Coalesce(list, _) => format!("COALESCE({})", self.list(list)),
            Expr::Greatest(list, _) => format!("GREATEST({})", self.list(list)),
            Expr::Least(list, _) => format!("LEAST({})", self.list(list)),
            Expr::NullIf { value, equal, .. } => {
                let other = compared_with(equal).unwrap_or(equal);
                format!("NULLIF({}, {})", self.expr(value), self.expr(other))
            }
            Expr::Cast { expr, to, .. } => {
                let text = self.expr(expr);
                let is_open = matches!(**expr, Expr::Column(..) | Expr::Param(..) | Expr::Outer(..));
                if is_open { format!("({text})::{}", to.name()) } else { format!("{text}::{}", to.name()) }
            }
            Expr::ToDomain { expr, rules, of_elements, .. } => {
                format!("({})::{}{}", self.expr(expr), rules.domain.shown(), if *of_elements { "[]" } else { "" })
            }
            Expr::InList { expr, list, negated } => {
                let (symbol, word) = if *negated { ("<>", "ALL") } else { ("=", "ANY") };
                format!("({} {symbol} {word} ({}))", self.expr(expr), self.array(list, &expr.ty()))
            }
            Expr::AnyAll { left, array, comparison, all } => {
                let word = if *all { "ALL" } else { "ANY" };
                let symbol = symbol(comparison.builtin).unwrap_or("=");
                format!("({} {symbol} {word} ({}))", self.expr(left), self.expr(array))
            }
            Expr::Array { elements, .. } => format!("ARRAY[{}]", self.list(elements)),
            Expr::Subscript { array, subscripts, .. } => {
                let mut text = self.expr(array);
                for (lower, upper) in subscripts {
                    let lower = lower.as_ref().map(|it| self.expr(it)).unwrap_or_default();
                    let upper = upper.as_ref().map(|it| format!(":{}", self.expr(it))).unwrap_or_default();
                    text.push_str(&format!("[{lower}{upper}]"));
                }
                text
            }
            Expr::Field { row, at, .. } => match row.ty().row_type().and_then(|it| it.fields.get(*at).cloned()) {
                Some((name, _)) => format!("({}).{}", self.expr(row), types::quote_identifier(&name)),
                None => format!("({}).f{}", self.expr(row), at + 1),
            },
            Expr::Row(fields, _) => format!("ROW({})", self.list(fields)),
            // As in PostgreSQL, what is assigned is shown for the whole.
            Expr::Assign(assign) => self.expr(&assign.value),
            Expr::Subquery(subquery) => {
                self.subplans.push(subquery.plan.clone());
                let number = self.subplans.len();
                match &subquery.kind {
                    SubqueryKind::Quantified { .. } => format!("(hashed SubPlan {number})"),
                    SubqueryKind::Exists | SubqueryKind::Scalar | SubqueryKind::Array => format!("(SubPlan {number})"),
                }
            }
            Expr::Routine(call) => format!("{}({})", call.routine.name, self.list(&call.args)),
            Expr::Sequence { op, args } => format!("{}({})", format!("{op:?}").to_lowercase(), self.list(args)),
            Expr::RowId => "rowid()".to_owned(),
        }
    }

    pub fn array(&mut self, list: &[Expr], ty: &SqlType) -> String {
        let constants: Option<Vec<String>> = list
            .iter()
            .map(|item| match item {
                Expr::Const(value, ty) => Some(to_text(ty, value, &Formatting::default())),
                _ => None,
            })
            .collect();
        match constants {
            Some(values) => format!("'{{{}}}'::{}[]", values.join(",").replace('\'', "''"), ty.name()),
            None => format!("ARRAY[{}]", self.list(list)),
        }
    }
}
