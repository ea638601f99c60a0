//! Operators, comparisons and their relatives: LIKE, BETWEEN, IN, ANY and ALL.

use builtins::{CallTypes, ResolveError, Volatility, resolve, resolve_binary_operator};
use sqlparser::ast::{self, BinaryOperator, UnaryOperator};
use types::{CastContext, Datum, SqlError, SqlResult, SqlState, SqlType};

use super::{Binder, Clause};
use crate::expr::{Comparison, Expr};
use crate::scope::Scope;

/// The symbol as `pg_operator` has it; `None` for what is no operator there.
pub(super) fn symbol(op: &BinaryOperator) -> Option<String> {
    Some(match op {
        BinaryOperator::And | BinaryOperator::Or | BinaryOperator::Xor => return None,
        BinaryOperator::NotEq => "<>".to_owned(),
        BinaryOperator::PGBitwiseXor => "#".to_owned(),
        BinaryOperator::PGExp | BinaryOperator::BitwiseXor => "^".to_owned(),
        BinaryOperator::PGCustomBinaryOperator(parts) => parts.last()?.clone(),
        other => other.to_string(),
    })
}

/// Larger values are not computed while binding, which nobody can cancel and no budget counts, and of which a plan would
/// hold on to every one.
const FOLDED_BYTES_MAX: usize = 64 << 10;

fn described(ty: Option<SqlType>) -> String {
    ty.map_or_else(|| "unknown".to_owned(), |ty| ty.base_name())
}

impl Binder<'_> {
    /// A call with its arguments cast to what its resolution asked for, and computed now if it is constant.
    pub(super) fn call(
        &mut self,
        builtin: &'static builtins::Builtin,
        args: Vec<Expr>,
        wanted: &[SqlType],
        ret: SqlType,
    ) -> SqlResult<Expr> {
        let args = args
            .into_iter()
            .zip(wanted)
            .map(|(arg, ty)| self.coerce(arg, *ty, CastContext::Implicit))
            .collect::<SqlResult<Vec<_>>>()?;
        // The modifiers that the arguments really have are of use to some functions.
        let types = CallTypes { args: wanted.iter().copied().collect(), ret };
        // A strict function of NULL is not called, so that what its other arguments would have failed with never is.
        if !self.keeps_form && builtin.strict && !builtin.is_set_returning() && args.iter().any(|arg| matches!(arg, Expr::Const(Datum::Null, _))) {
            self.drop_args(args);
            return Ok(Expr::Const(Datum::Null, ret));
        }
        let constant = !self.keeps_form && args.iter().all(|arg| matches!(arg, Expr::Const(..)));
        if constant && builtin.volatility == Volatility::Immutable && !builtin.is_set_returning() {
            let values: Vec<Datum> =
                args.iter().filter_map(Self::constant).cloned().collect();
            // An error is the statement's only if it gets to evaluate this.
            if let Ok(value) = builtin.call(self.context.eval, &types, &values)
                && value.heap_bytes() <= FOLDED_BYTES_MAX
            {
                return Ok(Expr::Const(value, ret));
            }
        }
        Ok(Expr::Call { builtin, types, args })
    }

    /// Keeps what reads columns for the check of grouping.
    fn drop_args(&mut self, args: Vec<Expr>) {
        let Some(frame) = self.frames.last_mut() else { return };
        if matches!(frame.clause, Clause::Select | Clause::Having | Clause::OrderBy | Clause::DistinctOn) {
            let reads = |arg: &Expr| arg.any(&mut |it| matches!(it, Expr::Column(..)));
            frame.dropped.extend(args.into_iter().filter(reads));
        }
    }

    pub(super) fn binary(&mut self, symbol: &str, left: Expr, right: Expr) -> SqlResult<Expr> {
        let (left_type, right_type) = (self.known_type(&left), self.known_type(&right));
        // Values of composite types are compared as wholes: NULLs in them are equal.
        if let (Expr::Row(_, SqlType::Record(_)), Expr::Row(_, SqlType::Record(_))) = (&left, &right) {
            return self.compare_rows(symbol, left, right);
        }
        // Strings of whatever type are put together as text.
        let as_text = |ty: Option<SqlType>| match ty {
            Some(SqlType::Varchar(_) | SqlType::Char(_) | SqlType::Name) if symbol == "||" => Some(SqlType::Text),
            other => other,
        };
        let mut resolved = match (as_text(left_type), as_text(right_type)) {
            (left @ Some(SqlType::Text), right @ Some(SqlType::Text)) => resolve_binary_operator(symbol, left, right),
            _ => resolve_binary_operator(symbol, left_type, right_type),
        };
        if left_type.is_none() && right_type.is_none() && resolved.is_err() {
            // Two unknown literals are strings before they are anything else.
            let text = Some(SqlType::Text);
            resolved = resolve_binary_operator(symbol, text, text).or(resolved);
        }
        if unlike_arrays(symbol, left_type, right_type) {
            return Err(no_operator(symbol, &[left_type, right_type], ResolveError::None));
        }
        let resolved = resolved.map_err(|error| no_operator(symbol, &[left_type, right_type], error))?;
        self.call(&resolved.chosen.function, vec![left, right], &resolved.args, resolved.ret)
    }

    pub(super) fn prefix(&mut self, symbol: &str, operand: Expr) -> SqlResult<Expr> {
        let ty = self.known_type(&operand);
        // A sign on an unknown literal is a sign on a number.
        let resolved = resolve(builtins::prefix_operators(symbol), &[ty]);
        let resolved = resolved.map_err(|error| {
            let (code, what) = failure(error);
            SqlError::new(code, format!("operator {what}: {symbol} {}", described(ty))).with_hint(HINT_OPERATOR)
        })?;
        self.call(&resolved.chosen.function, vec![operand], &resolved.args, resolved.ret)
    }

    pub(super) fn unary(&mut self, op: UnaryOperator, operand: &ast::Expr, scope: &Scope<'_>) -> SqlResult<Expr> {
        if op == UnaryOperator::Not {
            let operand = self.expr(operand, scope)?;
            return Ok(Expr::Not(Box::new(self.condition(operand, "NOT")?)));
        }
        // A sign binds more tightly than any other operator; the parser behind puts powers first.
        if let (UnaryOperator::Minus | UnaryOperator::Plus, ast::Expr::BinaryOp { left, op: power, right }) = (op, operand)
            && matches!(power, BinaryOperator::PGExp | BinaryOperator::BitwiseXor)
        {
            let base = self.unary(op, left, scope)?;
            let exponent = self.expr(right, scope)?;
            return self.binary("^", base, exponent);
        }
        if op == UnaryOperator::Minus {
            // The smallest integers have no positive counterpart: read the sign with the digits.
            if let ast::Expr::Value(value) = operand {
                if let ast::Value::Number(digits, long) = &value.value {
                    let negative = ast::Value::Number(format!("-{digits}"), *long);
                    if !digits.starts_with("0x") && !digits.starts_with("0b") && !digits.starts_with("0o") {
                        return self.value(&ast::ValueWithSpan { value: negative, span: value.span });
                    }
                }
            }
        }
        let symbol = match op {
            UnaryOperator::PGSquareRoot => "|/".to_owned(),
            UnaryOperator::PGCubeRoot => "||/".to_owned(),
            UnaryOperator::PGAbs => "@".to_owned(),
            UnaryOperator::BitwiseNot => "~".to_owned(),
            other => other.to_string(),
        };
        let operand = self.expr(operand, scope)?;
        self.prefix(&symbol, operand)
    }

    /// A comparison resolved but not applied, for ANY, ALL and subqueries.
    pub(super) fn comparison(
        &self,
        symbol: &str,
        left: Option<SqlType>,
        right: Option<SqlType>,
    ) -> SqlResult<Comparison> {
        if unlike_arrays(symbol, left, right) {
            return Err(no_operator(symbol, &[left, right], ResolveError::None));
        }
        let resolved =
            resolve_binary_operator(symbol, left, right).map_err(|error| no_operator(symbol, &[left, right], error))?;
        if resolved.ret != SqlType::Bool {
            return Err(SqlError::new(
                SqlState::WrongObjectType,
                "op ANY/ALL (array) requires operator to yield boolean",
            ));
        }
        let (left_cast, right_cast) = (resolved.args[0], resolved.args[1]);
        let types = CallTypes { args: resolved.args, ret: resolved.ret };
        Ok(Comparison { builtin: &resolved.chosen.function, types, left_cast, right_cast })
    }

    /// Row-wise comparison: `=` and `<>` on every column, the orderings by the first that differs.
    fn compare_rows(&mut self, symbol: &str, left: Expr, right: Expr) -> SqlResult<Expr> {
        let (Expr::Row(left, _), Expr::Row(right, _)) = (left, right) else {
            return Err(SqlError::internal("a comparison of rows was given no rows"));
        };
        if left.len() != right.len() {
            return Err(SqlError::new(SqlState::SyntaxError, "unequal number of entries in row expressions"));
        }
        if left.is_empty() {
            return Err(SqlError::not_supported("cannot compare rows of zero length"));
        }
        match symbol {
            "=" | "<>" => {
                let parts = left
                    .into_iter()
                    .zip(right)
                    .map(|(left, right)| self.binary(symbol, left, right))
                    .collect::<SqlResult<Vec<_>>>()?;
                Ok(if symbol == "=" { conjunction(parts) } else { disjunction(parts) })
            }
            "<" | "<=" | ">" | ">=" => {
                let strict = &symbol[..1];
                let count = left.len();
                let mut result: Option<Expr> = None;
                // From the last column: strictly less, or equal and the rest decides.
                for (position, (left, right)) in left.into_iter().zip(right).enumerate().rev() {
                    let op = if position + 1 == count { symbol } else { strict };
                    let (left_again, right_again) = (self.copy(&left)?, self.copy(&right)?);
                    let here = self.binary(op, left_again, right_again)?;
                    result = Some(match result {
                        None => here,
                        Some(rest) => {
                            let equal = self.binary("=", left, right)?;
                            Expr::Or(vec![here, Expr::And(vec![equal, rest])])
                        }
                    });
                }
                result.ok_or_else(|| SqlError::internal("a row comparison without columns"))
            }
            _ => Err(SqlError::not_supported(format!("operator {symbol} is not supported on rows"))),
        }
    }

    pub(super) fn distinct_from(&mut self, left: Expr, right: Expr) -> SqlResult<Expr> {
        if let (Expr::Row(left, _), Expr::Row(right, _)) = (&left, &right) {
            if left.len() == right.len() {
                let parts = left.iter().cloned().zip(right.iter().cloned());
                let parts = parts.map(|(l, r)| self.distinct_from(l, r)).collect::<SqlResult<Vec<_>>>()?;
                return Ok(disjunction(parts));
            }
        }
        let comparison = self.comparison("=", self.known_type(&left), self.known_type(&right))?;
        if comparison.left_cast.is_geometric() {
            return self.geometric_distinct_from(left, right);
        }
        let (mut left, mut right) = (
            self.coerce(left, comparison.left_cast, CastContext::Implicit)?,
            self.coerce(right, comparison.right_cast, CastContext::Implicit)?,
        );
        if !left.ty().same_base(&right.ty()) && !(left.ty().is_row() && right.ty().is_row()) {
            let (both, _) = self.unify(vec![left, right], "IS DISTINCT FROM")?;
            let mut both = both.into_iter();
            left = both.next().expect("unify keeps the number of expressions");
            right = both.next().expect("unify keeps the number of expressions");
        }
        Ok(Expr::IsDistinctFrom(Box::new(left), Box::new(right)))
    }

    /// By the operator, and by which of them is NULL where it has no answer.
    fn geometric_distinct_from(&mut self, left: Expr, right: Expr) -> SqlResult<Expr> {
        let nulls = [&left, &right].map(|side| self.copy(side).map(|side| Expr::IsNull(Box::new(side))));
        let [left_null, right_null] = nulls;
        let both_null = conjunction(vec![left_null?, right_null?]);
        let equal = self.binary("=", left, right)?;
        let answers = [equal, both_null].map(|same| Expr::Not(Box::new(same)));
        Ok(Expr::Coalesce(answers.into(), SqlType::Bool))
    }

    /// LIKE and ILIKE are operators; with an escape character of their own they are a function.
    pub(super) fn like(
        &mut self,
        symbol: &str,
        expr: Expr,
        pattern: Expr,
        escape: Option<Expr>,
    ) -> SqlResult<Expr> {
        let Some(escape) = escape else { return self.binary(symbol, expr, pattern) };
        let mut args = vec![expr, pattern, escape];
        if symbol.ends_with('*') {
            args = args.into_iter().map(|arg| self.function_call("lower", vec![arg])).collect::<SqlResult<_>>()?;
        }
        let found = self.function_call("like_escape", args)?;
        Ok(if symbol.starts_with('!') { Expr::Not(Box::new(found)) } else { found })
    }

    pub(super) fn similar(&mut self, negated: bool, expr: Expr, pattern: Expr, escape: Option<Expr>) -> SqlResult<Expr> {
        let args = std::iter::once(pattern).chain(escape).collect();
        let pattern = self.function_call("similar_to_escape", args)?;
        self.binary(if negated { "!~" } else { "~" }, expr, pattern)
    }

    pub(super) fn between(&mut self, negated: bool, expr: Expr, low: Expr, high: Expr) -> SqlResult<Expr> {
        let again = self.copy(&expr)?;
        if negated {
            let below = self.binary("<", again, low)?;
            let above = self.binary(">", expr, high)?;
            return Ok(disjunction(vec![below, above]));
        }
        let lower = self.binary(">=", again, low)?;
        let upper = self.binary("<=", expr, high)?;
        Ok(conjunction(vec![lower, upper]))
    }

    /// OVERLAPS, which is a function of the catalog's.
    pub(super) fn overlaps(&mut self, args: Vec<Expr>) -> SqlResult<Expr> {
        self.function_call("overlaps", args).map_err(|error| {
            let message = error.message().replacen("function overlaps(", "function pg_catalog.overlaps(", 1);
            let named = SqlError::new(error.code(), message);
            match &error.hint {
                Some(hint) => named.with_hint(hint.clone()),
                None => named,
            }
        })
    }

    /// Between the two bounds, whichever is the lower one.
    pub(super) fn between_symmetric(
        &mut self,
        negated: bool,
        (expr, first, second): (&ast::Expr, &ast::Expr, &ast::Expr),
        scope: &Scope<'_>,
    ) -> SqlResult<Expr> {
        let (expr, first, second) = (self.expr(expr, scope)?, self.expr(first, scope)?, self.expr(second, scope)?);
        let copies = (self.copy(&expr)?, self.copy(&first)?, self.copy(&second)?);
        let forth = self.between(negated, copies.0, copies.1, copies.2)?;
        let back = self.between(negated, expr, second, first)?;
        Ok(if negated { conjunction(vec![forth, back]) } else { disjunction(vec![forth, back]) })
    }

    /// `IN (list)`: one hashable list when all is of one type, a chain of comparisons otherwise.
    pub(super) fn in_list(&mut self, expr: Expr, list: Vec<Expr>, negated: bool) -> SqlResult<Expr> {
        // PostgreSQL makes an array of constants alone, and none of a single one.
        let shown_apart =
            self.keeps_form && (list.len() == 1 || list.iter().any(|item| !item.columns_used().is_empty()));
        let is_row = |item: &Expr| matches!(item, Expr::Row(_, SqlType::Record(_)));
        let scalar = !shown_apart && !is_row(&expr) && !list.iter().any(is_row);
        if scalar {
            let all: Vec<Expr> = std::iter::once(expr.clone()).chain(list.iter().cloned()).collect();
            let are_alike = |ty: SqlType| !ty.is_array() || all.iter().all(|it| it.ty() == SqlType::Unknown || it.ty().same_base(&ty));
            if let Ok(ty) = self.common_type(&all, "IN")
                && are_alike(ty)
            {
                let comparison = self.comparison("=", Some(ty), Some(ty))?;
                let ty = comparison.left_cast;
                // Geometric values are equal by area or length: only the operator knows.
                if ty.same_base(&comparison.right_cast) && !ty.is_geometric() {
                    let expr = Box::new(self.coerce(expr, ty, CastContext::Implicit)?);
                    let list = list
                        .into_iter()
                        .map(|item| self.coerce(item, ty, CastContext::Implicit))
                        .collect::<SqlResult<Vec<_>>>()?;
                    return Ok(Expr::InList { expr, list, negated });
                }
            }
        }
        let symbol = if negated { "<>" } else { "=" };
        let parts = list
            .into_iter()
            .map(|item| {
                let expr = self.copy(&expr)?;
                self.binary(symbol, expr, item)
            })
            .collect::<SqlResult<Vec<_>>>()?;
        Ok(if negated { conjunction(parts) } else { disjunction(parts) })
    }

    /// `left op ANY (array)`.
    pub(super) fn any_all_array(&mut self, symbol: &str, left: Expr, array: Expr, all: bool) -> SqlResult<Expr> {
        let left_type = self.known_type(&left);
        let array = match self.known_type(&array) {
            Some(_) => array,
            None => {
                let element = left_type.unwrap_or(SqlType::Text);
                let element = if matches!(element, SqlType::Varchar(_)) { SqlType::Text } else { element.without_typmod() };
                self.settle(array, element.array_of(), CastContext::Implicit)?
            }
        };
        let Some(element) = array.ty().element() else {
            return Err(SqlError::new(
                SqlState::WrongObjectType,
                "op ANY/ALL (array) requires array on right side",
            ));
        };
        let comparison = self.comparison(symbol, left_type, Some(element))?;
        let left = Box::new(self.coerce(left, comparison.left_cast, CastContext::Implicit)?);
        let array = if element.same_base(&comparison.right_cast) {
            array
        } else {
            self.coerce(array, comparison.right_cast.array_of(), CastContext::Implicit)?
        };
        Ok(Expr::AnyAll { left, array: Box::new(self.fold_array(array)), comparison, all })
    }
}

/// Arrays are compared with arrays of the same type alone.
fn unlike_arrays(symbol: &str, left: Option<SqlType>, right: Option<SqlType>) -> bool {
    let compares = matches!(symbol, "=" | "<>" | "<" | "<=" | ">" | ">=" | "@>" | "<@" | "&&");
    match (left.and_then(|ty| ty.element()), right.and_then(|ty| ty.element())) {
        (Some(left), Some(right)) => compares && !left.same_base(&right),
        _ => false,
    }
}

const HINT_OPERATOR: &str =
    "No operator matches the given name and argument types. You might need to add explicit type casts.";

fn failure(error: ResolveError) -> (SqlState, &'static str) {
    match error {
        ResolveError::None => (SqlState::UndefinedFunction, "does not exist"),
        ResolveError::Indeterminate | ResolveError::Ambiguous => (SqlState::AmbiguousFunction, "is not unique"),
    }
}

fn no_operator(symbol: &str, types: &[Option<SqlType>], error: ResolveError) -> SqlError {
    if error == ResolveError::Indeterminate {
        return super::function::indeterminate();
    }
    let (code, what) = failure(error);
    let text = format!("{} {symbol} {}", described(types[0]), described(types[1]));
    SqlError::new(code, format!("operator {what}: {text}")).with_hint(match error {
        ResolveError::None => HINT_OPERATOR,
        ResolveError::Indeterminate | ResolveError::Ambiguous => {
            "Could not choose a best candidate operator. You might need to add explicit type casts."
        }
    })
}

pub(crate) fn conjunction(mut parts: Vec<Expr>) -> Expr {
    if parts.len() == 1 { parts.swap_remove(0) } else { Expr::And(parts) }
}

pub(crate) fn disjunction(mut parts: Vec<Expr>) -> Expr {
    if parts.len() == 1 { parts.swap_remove(0) } else { Expr::Or(parts) }
}
