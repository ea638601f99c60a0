//! Expressions, node by node.

use std::sync::Arc;

use sqlparser::ast::{self, BinaryOperator};
use types::{CastContext, Datum, SqlError, SqlResult, SqlState, SqlType};

use super::domain::as_base;
use super::operators::{conjunction, symbol};
use super::subquery::{row_fields, unlike_columns};
use super::{Binder, fold};
use crate::expr::{Expr, TruthTest};
use crate::parse::query_clauses::symmetric_bound;
use crate::scope::Scope;

/// Parentheses mean nothing to a bound expression.
pub(super) fn unnested(mut expr: &ast::Expr) -> &ast::Expr {
    while let ast::Expr::Nested(inner) = expr {
        expr = inner;
    }
    expr
}

impl Binder<'_> {
    /// An expression; undetermined literals stay so, and what is of a domain is a value of the type under it.
    pub(crate) fn expr(&mut self, expr: &ast::Expr, scope: &Scope<'_>) -> SqlResult<Expr> {
        self.declared_expr(expr, scope).map(as_base)
    }

    /// As [`Binder::expr`]; what is of a domain says so.
    pub(crate) fn declared_expr(&mut self, expr: &ast::Expr, scope: &Scope<'_>) -> SqlResult<Expr> {
        let expr = unnested(expr);
        self.nested(1, |binder| binder.expr_node(expr, scope).map_err(|error| binder.at_cause(error, expr)))
    }

    /// An expression of some determined type.
    pub(crate) fn settled(&mut self, expr: &ast::Expr, scope: &Scope<'_>) -> SqlResult<Expr> {
        let bound = self.declared_expr(expr, scope)?;
        self.settle_text(bound)
    }

    pub(crate) fn boolean(&mut self, expr: &ast::Expr, scope: &Scope<'_>, clause: &str) -> SqlResult<Expr> {
        let bound = self.expr(expr, scope)?;
        self.condition(bound, clause).map_err(|error| self.at(error, expr))
    }

    pub(super) fn exprs<'e>(
        &mut self,
        list: impl IntoIterator<Item = &'e ast::Expr>,
        scope: &Scope<'_>,
    ) -> SqlResult<Vec<Expr>> {
        list.into_iter().map(|item| self.expr(item, scope)).collect()
    }

    #[allow(clippy::too_many_lines)]
    fn expr_node(&mut self, expr: &ast::Expr, scope: &Scope<'_>) -> SqlResult<Expr> {
        use ast::Expr as Ast;
        let option = |expr: &Option<Box<ast::Expr>>| expr.as_deref().cloned();
        match expr {
            Ast::Nested(inner) => self.declared_expr(inner, scope),
            Ast::Value(value) => self.value(value),
            Ast::TypedString(typed) => self.typed_string(typed),
            Ast::Interval(interval) => self.interval(interval),
            Ast::Identifier(ident) => self.identifier(ident, scope),
            Ast::CompoundIdentifier(parts) => self.compound(parts, scope),
            Ast::QualifiedWildcard(name, _) => self.whole_row(&super::name_parts(name)?, scope),
            Ast::BinaryOp { .. } => self.binary_chain(expr, scope),
            Ast::UnaryOp { op, expr } => self.unary(*op, expr, scope),
            Ast::IsNull(inner) => self.null_test(inner, false, scope),
            Ast::IsNotNull(inner) => self.null_test(inner, true, scope),
            Ast::IsTrue(inner) => self.truth_test(inner, TruthTest::True, false, scope),
            Ast::IsNotTrue(inner) => self.truth_test(inner, TruthTest::True, true, scope),
            Ast::IsFalse(inner) => self.truth_test(inner, TruthTest::False, false, scope),
            Ast::IsNotFalse(inner) => self.truth_test(inner, TruthTest::False, true, scope),
            Ast::IsUnknown(inner) => self.truth_test(inner, TruthTest::Unknown, false, scope),
            Ast::IsNotUnknown(inner) => self.truth_test(inner, TruthTest::Unknown, true, scope),
            Ast::IsDistinctFrom(left, right) => {
                let (left, right) = (self.expr(left, scope)?, self.expr(right, scope)?);
                self.distinct_from(left, right)
            }
            Ast::IsNotDistinctFrom(left, right) => {
                let (left, right) = (self.expr(left, scope)?, self.expr(right, scope)?);
                Ok(Expr::Not(Box::new(self.distinct_from(left, right)?)))
            }
            Ast::Between { expr, negated, low, high } => {
                if let Some(low) = symmetric_bound(low) {
                    return self.between_symmetric(*negated, (expr, low, high), scope);
                }
                let (expr, low, high) = (self.expr(expr, scope)?, self.expr(low, scope)?, self.expr(high, scope)?);
                self.between(*negated, expr, low, high)
            }
            Ast::InList { expr, list, negated } => {
                let expr = self.expr(expr, scope)?;
                let list = self.exprs(list, scope)?;
                self.in_list(expr, list, *negated)
            }
            Ast::InSubquery { expr, subquery, negated } => {
                let found = self.quantified(expr, "=", subquery, false, scope)?;
                Ok(if *negated { Expr::Not(Box::new(found)) } else { found })
            }
            Ast::Exists { subquery, negated } => {
                let found = self.exists(subquery, scope)?;
                Ok(if *negated { Expr::Not(Box::new(found)) } else { found })
            }
            Ast::Subquery(query) => self.scalar_subquery(query, scope),
            Ast::AnyOp { left, compare_op, right, .. } => self.any_all(left, compare_op, right, false, scope),
            Ast::AllOp { left, compare_op, right } => self.any_all(left, compare_op, right, true, scope),
            Ast::Like { negated, any, expr, pattern, escape_char } => {
                let op = if *negated { "!~~" } else { "~~" };
                self.like_node(op, *any, expr, pattern, option(escape_char).as_ref(), scope)
            }
            Ast::ILike { negated, any, expr, pattern, escape_char } => {
                let op = if *negated { "!~~*" } else { "~~*" };
                self.like_node(op, *any, expr, pattern, option(escape_char).as_ref(), scope)
            }
            Ast::SimilarTo { negated, expr, pattern, escape_char } => {
                let (expr, pattern) = (self.expr(expr, scope)?, self.expr(pattern, scope)?);
                let escape = escape_char.as_deref().map(|escape| self.expr(escape, scope)).transpose()?;
                self.similar(*negated, expr, pattern, escape)
            }
            Ast::Cast { kind: ast::CastKind::Cast | ast::CastKind::DoubleColon, expr, data_type, .. } => {
                let to = self.named_type(data_type)?;
                let inner = match unnested(expr) {
                    // The cast says what the elements of ARRAY[…] are.
                    Ast::Array(array) if to.is_array() => self.array_elements(&array.elem, Some(to), scope)?,
                    other => self.declared_expr(other, scope)?,
                };
                let value = self.explicit_cast(inner, to)?;
                match data_type {
                    ast::DataType::Interval { fields, precision } => {
                        self.fit_interval(value, super::literals::interval_modifier(fields.as_ref(), *precision))
                    }
                    _ => Ok(value),
                }
            }
            Ast::AtTimeZone { timestamp, time_zone } => {
                let (timestamp, zone) = (self.expr(timestamp, scope)?, self.expr(time_zone, scope)?);
                self.function_call("timezone", vec![zone, timestamp])
            }
            Ast::Extract { field, expr, .. } => {
                let field = field.to_string();
                let field = super::literals::unknown(field.trim_matches(['\'', '"']).to_ascii_lowercase());
                let expr = self.expr(expr, scope)?;
                self.function_call("extract", vec![field, expr])
            }
            Ast::Ceil { expr, field } => self.rounding("ceil", expr, field, scope),
            Ast::Floor { expr, field } => self.rounding("floor", expr, field, scope),
            Ast::Position { expr, r#in } => {
                let (what, within) = (self.expr(expr, scope)?, self.expr(r#in, scope)?);
                let is_bits = [&within, &what].iter().any(|it| {
                    self.known_type(it).is_some_and(|ty| matches!(ty, SqlType::Bit(_) | SqlType::VarBit(_)))
                });
                self.function_call(if is_bits { "position" } else { "strpos" }, vec![within, what])
            }
            Ast::Substring { expr, substring_from, substring_for, .. } => {
                let mut args = vec![self.expr(expr, scope)?];
                match (substring_from, substring_for) {
                    (None, None) => {}
                    (Some(from), None) => args.push(self.expr(from, scope)?),
                    (None, Some(count)) => {
                        args.push(Expr::Const(Datum::Int(1), SqlType::Int4));
                        args.push(self.expr(count, scope)?);
                    }
                    (Some(from), Some(count)) => {
                        args.push(self.expr(from, scope)?);
                        args.push(self.expr(count, scope)?);
                    }
                }
                self.function_call("substring", args)
            }
            Ast::Trim { trim_where, trim_what, expr, trim_characters } => {
                let name = match trim_where {
                    None | Some(ast::TrimWhereField::Both) => "btrim",
                    Some(ast::TrimWhereField::Leading) => "ltrim",
                    Some(ast::TrimWhereField::Trailing) => "rtrim",
                };
                let mut args = vec![self.expr(expr, scope)?];
                for characters in trim_what.as_deref().into_iter().chain(trim_characters.iter().flatten()) {
                    args.push(self.expr(characters, scope)?);
                }
                self.function_call(name, args)
            }
            Ast::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let mut args = self.exprs([&**expr, overlay_what, overlay_from], scope)?;
                if let Some(count) = overlay_for {
                    args.push(self.expr(count, scope)?);
                }
                self.function_call("overlay", args)
            }
            Ast::Collate { expr, collation } => {
                let name = collation.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.clone());
                match name.as_deref() {
                    Some("C" | "POSIX" | "default" | "ucs_basic" | "C.UTF-8" | "c" | "posix") => {
                        let bound = self.expr(expr, scope)?;
                        let base = |ty: SqlType| ty.element().unwrap_or(ty);
                        match self.known_type(&bound).filter(|ty| !base(*ty).is_string()) {
                            None => Ok(bound),
                            Some(ty) => Err(SqlError::new(
                                SqlState::DatatypeMismatch,
                                format!("collations are not supported by type {}", ty.base_name()),
                            )),
                        }
                    }
                    _ => Err(SqlError::new(
                        SqlState::UndefinedObject,
                        format!("collation {collation} for encoding \"UTF8\" does not exist"),
                    )),
                }
            }
            Ast::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), scope)
            }
            Ast::Function(function) => self.function(function, scope),
            Ast::Tuple(items) => Ok(Expr::row(self.row_fields(items, scope)?)),
            Ast::Array(array) => self.array(&array.elem, scope),
            Ast::CompoundFieldAccess { root, access_chain } => self.access(root, access_chain, scope),
            other => Err(SqlError::not_supported(format!("this expression is not supported: {other}"))),
        }
    }

    pub(super) fn row_fields(&mut self, items: &[ast::Expr], scope: &Scope<'_>) -> SqlResult<Vec<Expr>> {
        self.exprs(items, scope)
    }

    fn identifier(&mut self, ident: &ast::Ident, scope: &Scope<'_>) -> SqlResult<Expr> {
        let name = fold(ident);
        let is_keyword = ident.quote_style.is_none();
        let column = match scope.column(&name) {
            Ok(None) => self.row_of_item(&name, scope),
            found => found,
        };
        // A word of the language is no variable.
        let column = match &column {
            Ok(None) if is_keyword && super::RESERVED.binary_search(&name.as_str()).is_ok() => column,
            _ => self.column_or_variable(&[&name], column),
        };
        if let Some(found) = column? {
            return Ok(found);
        }
        match name.as_str() {
            "current_role" | "current_schema" | "current_catalog" | "session_user" | "user" | "current_user"
            | "current_date" | "current_time" | "current_timestamp" | "localtime" | "localtimestamp"
                if is_keyword =>
            {
                return self.function_call(&name, Vec::new());
            }
            "tableoid" | "ctid" | "xmin" | "xmax" | "cmin" | "cmax" => {
                let mut tables = scope.ranges.iter().filter(|range| range.table.is_some());
                if let (Some(range), None) = (tables.next(), tables.next()) {
                    if let Some(found) = scope.qualified(None, &range.name.clone(), &name)? {
                        return Ok(found);
                    }
                }
            }
            "default" if is_keyword => {
                return Err(SqlError::new(SqlState::SyntaxError, "DEFAULT is not allowed in this context"));
            }
            _ => {}
        }
        Err(SqlError::new(SqlState::UndefinedColumn, format!("column \"{name}\" does not exist")))
    }

    fn compound(&mut self, parts: &[ast::Ident], scope: &Scope<'_>) -> SqlResult<Expr> {
        let names: Vec<String> = parts.iter().map(fold).collect();
        let found = match names.as_slice() {
            [range, column] => (None, range, column),
            [schema, range, column] => (Some(schema.as_str()), range, column),
            [database, schema, range, column] => {
                let current = self.context.catalog.database_by_id(self.context.database);
                if current.is_none_or(|current| current.name != *database) {
                    return Err(SqlError::not_supported(format!(
                        "cross-database references are not implemented: {}",
                        names.join(".")
                    )));
                }
                (Some(schema.as_str()), range, column)
            }
            _ => {
                return Err(SqlError::new(
                    SqlState::SyntaxError,
                    format!("improper qualified name (too many dotted names): {}", names.join(".")),
                ));
            }
        };
        let (schema, range, column) = found;
        let qualified = scope.qualified(schema, range, column);
        let parts: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = match self.column_or_variable(&parts, qualified) {
            Err(error) if error.code() == SqlState::UndefinedColumn => {
                let called = match self.row_of_item(range, scope)? {
                    Some(row) => self.method(column, &row)?,
                    None => None,
                };
                Some(called.ok_or(error)?)
            }
            found => found?,
        };
        if let Some(found) = found {
            return Ok(found);
        }
        Err(no_range(range, scope))
    }

    fn binary_node(
        &mut self,
        left: &ast::Expr,
        op: &BinaryOperator,
        right: &ast::Expr,
        scope: &Scope<'_>,
    ) -> SqlResult<Expr> {
        match op {
            BinaryOperator::And | BinaryOperator::Or => {
                let clause = if *op == BinaryOperator::And { "AND" } else { "OR" };
                // Long chains lean to the left: walk them without recursion.
                let mut operands = vec![right];
                let mut rest = left;
                while let ast::Expr::BinaryOp { left, op: inner, right } = rest {
                    if inner != op {
                        break;
                    }
                    operands.push(right);
                    rest = left;
                }
                operands.push(rest);
                let mut parts = Vec::with_capacity(operands.len());
                for operand in operands.into_iter().rev() {
                    match (self.boolean(operand, scope, clause)?, op) {
                        (Expr::And(inner), BinaryOperator::And) | (Expr::Or(inner), BinaryOperator::Or) => {
                            parts.extend(inner);
                        }
                        (part, _) => parts.push(part),
                    }
                }
                Ok(if *op == BinaryOperator::And { Expr::And(parts) } else { Expr::Or(parts) })
            }
            BinaryOperator::Overlaps => {
                let (left, right) = (self.expr(left, scope)?, self.expr(right, scope)?);
                match (left, right) {
                    (Expr::Row(left, _), Expr::Row(right, _)) if left.len() == 2 && right.len() == 2 => {
                        self.overlaps(left.into_iter().chain(right).collect())
                    }
                    _ => Err(SqlError::new(SqlState::SyntaxError, "wrong number of parameters for OVERLAPS")),
                }
            }
            _ => {
                let Some(symbol) = symbol(op) else {
                    return Err(SqlError::not_supported(format!("operator {op} is not supported")));
                };
                // `(a, b) = (SELECT …)` is a comparison with a row of the subquery.
                if let (Some(fields), ast::Expr::Subquery(query)) = (row_fields(left), unnested(right)) {
                    let left = Expr::row(self.exprs(fields.iter().copied(), scope)?);
                    let right = Expr::row(self.row_subquery(query, fields.len(), scope, unlike_columns)?);
                    return self.binary(&symbol, left, right);
                }
                let (left, right) = (self.expr(left, scope)?, self.expr(right, scope)?);
                self.binary(&symbol, left, right)
            }
        }
    }

    /// `a + b + c + …` leans to the left as far as it is long: its spine is walked without recursion.
    fn binary_chain(&mut self, expr: &ast::Expr, scope: &Scope<'_>) -> SqlResult<Expr> {
        let mut spine = Vec::new();
        let mut leftmost = expr;
        while let ast::Expr::BinaryOp { left, op, right } = leftmost {
            if symbol(op).is_none() {
                break;
            }
            self.check_operator_schema(op)?;
            spine.push((op, &**right, leftmost));
            leftmost = left;
            if !matches!(unnested(leftmost), ast::Expr::BinaryOp { .. }) || matches!(op, BinaryOperator::Overlaps) {
                break;
            }
        }
        let length = spine.len();
        let Some((first_op, first_right, first)) = spine.pop() else {
            let ast::Expr::BinaryOp { left, op, right } = expr else {
                return Err(SqlError::internal("a chain of operators is not one"));
            };
            return self.binary_node(left, op, right, scope);
        };
        let mut value = self
            .nested(length, |binder| binder.binary_node(leftmost, first_op, first_right, scope))
            .map_err(|error| self.at_cause(error, first))?;
        while let Some((op, right, node)) = spine.pop() {
            let Some(symbol) = symbol(op) else {
                return Err(SqlError::internal("a chain of operators holds something else"));
            };
            let right = self.nested(spine.len() + 1, |binder| binder.expr(right, scope))?;
            value = self.binary(&symbol, value, right).map_err(|error| self.at_cause(error, node))?;
        }
        Ok(value)
    }

    /// `OPERATOR(schema.=)`: all operators are in pg_catalog.
    fn check_operator_schema(&self, op: &BinaryOperator) -> SqlResult<()> {
        let BinaryOperator::PGCustomBinaryOperator(parts) = op else { return Ok(()) };
        let [schema, symbol] = parts.as_slice() else { return Ok(()) };
        if schema == "pg_catalog" {
            return Ok(());
        }
        if self.context.catalog.schema(self.context.database, schema).is_none() {
            return Err(SqlError::new(SqlState::InvalidSchemaName, format!("schema \"{schema}\" does not exist")));
        }
        Err(SqlError::new(SqlState::UndefinedFunction, format!("operator does not exist: {schema}.{symbol}")))
    }

    fn null_test(&mut self, inner: &ast::Expr, negated: bool, scope: &Scope<'_>) -> SqlResult<Expr> {
        let inner = self.settled(inner, scope)?;
        let test = |expr: Expr| {
            let is_null = Expr::IsNull(Box::new(expr));
            if negated { Expr::Not(Box::new(is_null)) } else { is_null }
        };
        match inner {
            Expr::Row(fields, _) if fields.is_empty() => Ok(Expr::Const(Datum::Bool(true), SqlType::Bool)),
            Expr::Row(fields, _) => {
                let fields = fields.into_iter().map(|field| self.settle_text(field)).collect::<SqlResult<Vec<_>>>()?;
                Ok(conjunction(fields.into_iter().map(test).collect()))
            }
            other => match other.ty().row_type() {
                Some(_) if other.ty().composite().is_some_and(|ty| ty.attributes().is_empty()) => {
                    Ok(Expr::Const(Datum::Bool(true), SqlType::Bool))
                }
                // A row that is a value, evaluated once.
                Some(row) if !row.fields.is_empty() => {
                    let field = |(at, (_, ty)): (usize, &(Arc<str>, SqlType))| {
                        test(Expr::Field { row: Box::new(Expr::Operand(other.ty())), at, ty: *ty })
                    };
                    let fields = row.fields.iter().enumerate().map(field).collect();
                    let bool = |value| Expr::Const(Datum::Bool(value), SqlType::Bool);
                    Ok(Expr::Case {
                        branches: vec![(conjunction(fields), bool(true))],
                        otherwise: Some(Box::new(bool(false))),
                        ty: SqlType::Bool,
                        operand: Some(Box::new(other)),
                    })
                }
                _ => Ok(test(other)),
            },
        }
    }

    fn truth_test(
        &mut self,
        inner: &ast::Expr,
        which: TruthTest,
        negated: bool,
        scope: &Scope<'_>,
    ) -> SqlResult<Expr> {
        let clause = match (which, negated) {
            (TruthTest::True, false) => "IS TRUE",
            (TruthTest::True, true) => "IS NOT TRUE",
            (TruthTest::False, false) => "IS FALSE",
            (TruthTest::False, true) => "IS NOT FALSE",
            (TruthTest::Unknown, false) => "IS UNKNOWN",
            (TruthTest::Unknown, true) => "IS NOT UNKNOWN",
        };
        let test = Expr::Truth(Box::new(self.boolean(inner, scope, clause)?), which);
        Ok(if negated { Expr::Not(Box::new(test)) } else { test })
    }

    fn like_node(
        &mut self,
        op: &str,
        any: bool,
        expr: &ast::Expr,
        pattern: &ast::Expr,
        escape: Option<&ast::Expr>,
        scope: &Scope<'_>,
    ) -> SqlResult<Expr> {
        let (expr, pattern) = (self.expr(expr, scope)?, self.expr(pattern, scope)?);
        if any {
            return self.any_all_array(op, expr, pattern, false);
        }
        let escape = escape.map(|escape| self.expr(escape, scope)).transpose()?;
        self.like(op, expr, pattern, escape)
    }

    fn any_all(
        &mut self,
        left: &ast::Expr,
        op: &BinaryOperator,
        right: &ast::Expr,
        all: bool,
        scope: &Scope<'_>,
    ) -> SqlResult<Expr> {
        let symbol = symbol(op)
            .ok_or_else(|| SqlError::new(SqlState::SyntaxError, format!("operator {op} cannot be used with ANY or ALL")))?;
        if let ast::Expr::Subquery(query) = unnested(right) {
            return self.quantified(left, &symbol, query, all, scope);
        }
        let (left, array) = (self.expr(left, scope)?, self.expr(right, scope)?);
        self.any_all_array(&symbol, left, array, all)
    }

    pub(super) fn explicit_cast(&mut self, expr: Expr, to: SqlType) -> SqlResult<Expr> {
        // ARRAY[…]::type[] casts the elements, so that undetermined ones need no detour.
        if let (Expr::Array { elements, ty }, Some(element)) = (&expr, to.element()) {
            if *ty == SqlType::Unknown || !ty.same_base(&to) {
                let elements = elements
                    .iter()
                    .cloned()
                    .map(|item| {
                        let nested = matches!(item, Expr::Array { .. }) || item.ty().is_array();
                        self.explicit_cast(item, if nested { to } else { element })
                    })
                    .collect::<SqlResult<Vec<_>>>()?;
                return Ok(self.fold_array(Expr::Array { elements, ty: to }));
            }
        }
        let from = self.known_type(&expr);
        let is_length_cast = from.is_some_and(|from| from.same_base(&to) && to.typmod() != -1 && from != to);
        let bound = self.coerce(expr, to, CastContext::Explicit)?;
        // A cast to the bare type drops the modifier from what is known.
        match bound {
            Expr::Const(value, _) if !is_length_cast => Ok(Expr::Const(value, to)),
            other => Ok(other),
        }
    }

    fn rounding(
        &mut self,
        name: &str,
        expr: &ast::Expr,
        field: &ast::CeilFloorKind,
        scope: &Scope<'_>,
    ) -> SqlResult<Expr> {
        if !matches!(field, ast::CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime)) {
            return Err(SqlError::new(SqlState::SyntaxError, format!("{name} takes one argument")));
        }
        let expr = self.expr(expr, scope)?;
        self.function_call(name, vec![expr])
    }

    fn case(
        &mut self,
        operand: Option<&ast::Expr>,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&ast::Expr>,
        scope: &Scope<'_>,
    ) -> SqlResult<Expr> {
        let set_count = self.frames.last().map_or(0, |frame| frame.sets.len());
        let operand = operand.map(|operand| self.settled(operand, scope)).transpose()?;
        let mut tests = Vec::with_capacity(conditions.len());
        let mut values = Vec::with_capacity(conditions.len() + 1);
        for branch in conditions {
            let test = match &operand {
                Some(operand) => {
                    let value = self.expr(&branch.condition, scope)?;
                    // Compared with NULL nothing is evaluated.
                    let is_null = !self.keeps_form && matches!(operand, Expr::Const(Datum::Null, _));
                    let operand = if is_null { operand.clone() } else { Expr::Operand(operand.ty()) };
                    self.binary("=", operand, value)?
                }
                None => self.boolean(&branch.condition, scope, "CASE/WHEN")?,
            };
            tests.push(test);
            values.push(self.declared_expr(&branch.result, scope)?);
        }
        let has_else = otherwise.is_some();
        if let Some(otherwise) = otherwise {
            // Of types that cast to each other the first is taken, and ELSE counts as the first.
            values.insert(0, self.declared_expr(otherwise, scope)?);
        }
        if self.frames.last().map_or(0, |frame| frame.sets.len()) > set_count {
            return Err(SqlError::not_supported("set-returning functions are not allowed in CASE")
                .with_hint("You might be able to move the set-returning function into a LATERAL FROM item."));
        }
        // The NULL of a missing ELSE is of no domain.
        let values = if has_else { values } else { values.into_iter().map(as_base).collect() };
        let (mut values, ty) = self.unify(values, "CASE")?;
        let otherwise = has_else.then(|| Box::new(values.remove(0)));
        let operand = operand.map(Box::new);
        Ok(Expr::Case { operand, branches: tests.into_iter().zip(values).collect(), otherwise, ty })
    }

    /// ARRAY[…]: of undetermined elements, an array of text.
    pub(super) fn array(&mut self, items: &[ast::Expr], scope: &Scope<'_>) -> SqlResult<Expr> {
        if has_empty_array(items) {
            let message = "cannot determine type of empty array";
            return Err(SqlError::new(SqlState::IndeterminateDatatype, message)
                .with_hint("Explicitly cast to the desired type, for example ARRAY[]::integer[]."));
        }
        let array = self.array_elements(items, None, scope)?;
        self.settle(array, SqlType::TEXT_ARRAY, CastContext::Implicit)
    }

    /// ARRAY[…] whose elements stay undetermined where they are. `wanted`: the array type that it is cast to, which elements of
    /// different types are cast to one by one.
    fn array_elements(&mut self, items: &[ast::Expr], wanted: Option<SqlType>, scope: &Scope<'_>) -> SqlResult<Expr> {
        let mut elements = Vec::with_capacity(items.len());
        for item in items {
            elements.push(match unnested(item) {
                ast::Expr::Array(array) => self.array_elements(&array.elem, wanted, scope)?,
                other => self.declared_expr(other, scope)?,
            });
        }
        let undetermined = |expr: &Expr| matches!(expr.ty(), SqlType::Unknown);
        if elements.iter().all(undetermined) {
            // Whatever wants this array says what its elements are.
            return Ok(Expr::Array { elements, ty: SqlType::Unknown });
        }
        let is_mixed = elements.windows(2).any(|pair| pair[0].ty() != pair[1].ty());
        if let Some((to, element)) = wanted.filter(|_| is_mixed).and_then(|to| Some((to, to.element()?))) {
            let is_nested = elements.iter().any(|item| matches!(item, Expr::Array { .. }) || item.ty().is_array());
            let of = if is_nested { to } else { element };
            let elements = elements.into_iter().map(|item| self.explicit_cast(item, of)).collect::<SqlResult<Vec<_>>>()?;
            return Ok(self.fold_array(Expr::Array { elements, ty: to }));
        }
        let (mut elements, mut ty) = self.unify(elements, "ARRAY")?;
        if matches!(ty, SqlType::Domain(_)) && ty.base().is_array() {
            // There are no arrays of a domain over an array: it is an array of more dimensions.
            elements = elements.into_iter().map(as_base).collect();
            ty = ty.base();
        }
        let ty = if ty.is_array() { ty } else { ty.array_of() };
        Ok(self.fold_array(Expr::Array { elements, ty }))
    }

    fn access(&mut self, root: &ast::Expr, chain: &[ast::AccessExpr], scope: &Scope<'_>) -> SqlResult<Expr> {
        // `t.a[1]` arrives as a root `t` with a field and a subscript.
        let mut names = Vec::new();
        if let ast::Expr::Identifier(first) = root {
            names.push(first.clone());
            for link in chain {
                match link {
                    ast::AccessExpr::Dot(ast::Expr::Identifier(ident)) => names.push(ident.clone()),
                    _ => break,
                }
            }
        }
        let (mut value, chain) = if names.len() > 1 {
            (self.compound(&names, scope)?, &chain[names.len() - 1..])
        } else {
            (self.declared_expr(root, scope)?, chain)
        };
        let mut subscripts = Vec::new();
        for link in chain {
            match link {
                ast::AccessExpr::Subscript(subscript) => subscripts.push(subscript),
                ast::AccessExpr::Dot(ast::Expr::Identifier(field)) => {
                    if !subscripts.is_empty() {
                        value = self.subscripted(value, &std::mem::take(&mut subscripts), scope)?;
                    }
                    value = self.field(as_base(value), &fold(field))?;
                }
                ast::AccessExpr::Dot(other) => {
                    let message = format!("syntax error at or near \"{other}\"");
                    return Err(SqlError::new(SqlState::SyntaxError, message));
                }
            }
        }
        if subscripts.is_empty() { Ok(value) } else { self.subscripted(value, &subscripts, scope) }
    }

    fn subscripted(&mut self, mut value: Expr, subscripts: &[&ast::Subscript], scope: &Scope<'_>) -> SqlResult<Expr> {
        let declared = value.ty();
        value = as_base(value);
        if value.ty() == SqlType::Jsonb {
            let mut args = vec![value];
            for subscript in subscripts {
                let ast::Subscript::Index { index } = subscript else {
                    return Err(SqlError::new(SqlState::DatatypeMismatch, "jsonb subscript does not support slices"));
                };
                args.push(self.jsonb_subscript(index, scope)?.0);
            }
            return self.function_call("jsonb_extract_path", args);
        }
        value = self.settle_text(value)?;
        if let (SqlType::Name, [ast::Subscript::Index { index }]) = (value.ty(), subscripts) {
            // A name is an array of characters, counted from 0.
            let index = self.expr(index, scope)?;
            let one = Expr::Const(Datum::Int(1), SqlType::Int4);
            let place = self.binary("+", index, one.clone())?;
            let character = self.function_call("substr", vec![value, place, one])?;
            return self.coerce(character, SqlType::QuotedChar, CastContext::Assignment);
        }
        let Some(element) = value.ty().element() else {
            return Err(SqlError::new(
                SqlState::DatatypeMismatch,
                format!("cannot subscript type {} because it does not support subscripting", value.ty().base_name()),
            ));
        };
        let (bound, slice) = self.array_subscripts(subscripts.iter().copied(), scope)?;
        let (whole, element) = match declared.element().filter(SqlType::is_domain) {
            Some(of_domain) => (declared, of_domain),
            None => (value.ty(), element),
        };
        let ty = if slice { whole } else { element };
        Ok(Expr::Subscript { array: Box::new(value), subscripts: bound, slice, ty })
    }

    /// A subscript of a jsonb value as text, and whether it was a number.
    pub(super) fn jsonb_subscript(&mut self, index: &ast::Expr, scope: &Scope<'_>) -> SqlResult<(Expr, bool)> {
        let index = self.expr(index, scope)?;
        Ok(match self.known_type(&index) {
            Some(SqlType::Int2 | SqlType::Int4) => (self.coerce(index, SqlType::Text, CastContext::Explicit)?, true),
            None => (self.settle_text(index)?, false),
            Some(ty) if ty.is_string() => (self.coerce(index, SqlType::Text, CastContext::Explicit)?, false),
            Some(ty) => {
                let message = format!("subscript type {} is not supported", ty.base_name());
                let hint = "jsonb subscript must be coercible to either integer or text.";
                return Err(SqlError::new(SqlState::DatatypeMismatch, message).with_hint(hint));
            }
        })
    }

    /// Subscripts of an array, and whether any of them is a slice.
    #[allow(clippy::type_complexity)]
    pub(super) fn array_subscripts<'e>(
        &mut self,
        subscripts: impl Iterator<Item = &'e ast::Subscript> + Clone,
        scope: &Scope<'_>,
    ) -> SqlResult<(Vec<(Option<Expr>, Option<Expr>)>, bool)> {
        let slice = subscripts.clone().any(|it| matches!(it, ast::Subscript::Slice { .. }));
        let mut bound = Vec::new();
        for subscript in subscripts {
            let one = |binder: &mut Self, expr: &ast::Expr| {
                let index = binder.expr(expr, scope)?;
                binder.coerce(index, SqlType::Int4, CastContext::Assignment)
            };
            bound.push(match subscript {
                // Beside a slice, one subscript counts from 1.
                ast::Subscript::Index { index } if slice => {
                    (Some(Expr::Const(Datum::Int(1), SqlType::Int4)), Some(one(self, index)?))
                }
                ast::Subscript::Index { index } => (Some(one(self, index)?), None),
                ast::Subscript::Slice { lower_bound, upper_bound, .. } => (
                    lower_bound.as_ref().map(|expr| one(self, expr)).transpose()?,
                    upper_bound.as_ref().map(|expr| one(self, expr)).transpose()?,
                ),
            });
        }
        Ok((bound, slice))
    }
}

/// Whether there is an array without elements among these: `ARRAY[[]]`.
fn has_empty_array(items: &[ast::Expr]) -> bool {
    let is_one = |item: &ast::Expr| matches!(unnested(item), ast::Expr::Array(array) if has_empty_array(&array.elem));
    items.is_empty() || items.iter().any(is_one)
}

/// There is no such item in FROM, or it has an alias and is known by that alone.
pub(super) fn no_range(name: &str, scope: &Scope<'_>) -> SqlError {
    let aliased = scope.ranges.iter().find(|it| it.table.as_ref().is_some_and(|(table, _)| table.name == *name));
    match aliased {
        Some(it) => {
            SqlError::new(SqlState::UndefinedTable, format!("invalid reference to FROM-clause entry for table \"{name}\""))
                .with_hint(format!("Perhaps you meant to reference the table alias \"{}\".", it.name))
        }
        None => SqlError::new(SqlState::UndefinedTable, format!("missing FROM-clause entry for table \"{name}\"")),
    }
}
