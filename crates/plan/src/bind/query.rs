//! Queries: WITH, set operations, VALUES, and the ORDER BY, LIMIT and FOR UPDATE around them.

use std::borrow::Cow;

use sqlparser::ast;
use types::{CastContext, Datum, SqlError, SqlResult, SqlState, SqlType};

use super::assign::open_below;
use super::types::common_type;
use super::{Binder, Clause, fold};
use crate::expr::{Expr, SortKey};
use crate::logical::{Rel, RelNode};
use crate::parse::locking;
use crate::parse::query_clauses::tied_count;
use crate::plan::{LockWait, PlanColumn, RowLock, SetOpKind};
use crate::scope::{Level, Range, RangeColumn, RowOf, Scope};

/// What becomes of output columns whose type nobody determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outputs {
    /// They are text.
    Settled,
    /// They wait for a set operation or an INSERT to say, also under ORDER BY and LIMIT. Those of VALUES do not.
    Open,
}

/// FOR UPDATE or FOR SHARE, of one range or of all.
#[derive(Clone, Debug)]
pub(crate) struct LockRequest {
    pub of: Option<String>,
    pub lock: RowLock,
    /// Asked of the view around: it locks what rows of tables there are.
    pub of_view: bool,
}

/// What a SELECT is asked to lock.
#[derive(Clone, Debug, Default)]
pub(super) struct Locks {
    pub requests: Vec<LockRequest>,
    /// Not all of its rows may be asked for.
    pub is_limited: bool,
}

fn is_null(expr: &ast::Expr) -> bool {
    match expr {
        ast::Expr::Nested(inner) => is_null(inner),
        ast::Expr::Value(value) => matches!(value.value, ast::Value::Null),
        _ => false,
    }
}

/// A computed column.
pub(super) fn computed(name: impl Into<String>, ty: SqlType) -> PlanColumn {
    PlanColumn { name: name.into(), ty, table_oid: 0, attribute: 0 }
}

pub(super) fn project(input: Rel, exprs: Vec<Expr>, columns: Vec<PlanColumn>) -> Rel {
    Rel { node: RelNode::Project { input: Box::new(input), exprs }, columns }
}

pub(super) fn filter(input: Rel, predicate: Expr) -> Rel {
    let columns = input.columns.clone();
    Rel { node: RelNode::Filter { input: Box::new(input), predicate }, columns }
}

pub(super) fn sort(input: Rel, keys: Vec<SortKey>) -> Rel {
    let columns = input.columns.clone();
    Rel { node: RelNode::Sort { input: Box::new(input), keys }, columns }
}

impl Binder<'_> {
    pub(super) fn query(&mut self, query: &ast::Query, level: &Level<'_>, outputs: Outputs) -> SqlResult<Rel> {
        self.at_level(|binder| binder.query_node(query, level, outputs))
    }

    fn query_node(&mut self, query: &ast::Query, level: &Level<'_>, outputs: Outputs) -> SqlResult<Rel> {
        if query.for_clause.is_some() || query.format_clause.is_some() || !query.pipe_operators.is_empty() {
            return Err(SqlError::new(SqlState::SyntaxError, format!("syntax error in \"{query}\"")));
        }
        if query.with.as_ref().is_some_and(|with| with.recursive) && matches!(*query.body, ast::SetExpr::Merge(_)) {
            return Err(SqlError::new(SqlState::SyntaxError, "WITH RECURSIVE is not supported for MERGE statement"));
        }
        let mark = self.ctes.mark();
        self.query_depth += 1;
        let bound = match &query.with {
            Some(with) => self.with(with, level),
            None => Ok(()),
        };
        let bound = bound.and_then(|()| self.query_body(query, level, outputs));
        self.query_depth -= 1;
        self.ctes.forget_names(mark);
        bound
    }

    fn query_body(&mut self, query: &ast::Query, level: &Level<'_>, outputs: Outputs) -> SqlResult<Rel> {
        let mut locks = Self::lock_requests(&query.locks);
        locks.extend(self.row_locks.iter().filter(|lock| lock.of.is_none()).cloned());
        let order = order_exprs(query.order_by.as_ref())?;
        let rel = match query.body.as_ref() {
            ast::SetExpr::Select(select) => {
                let is_limited = query.limit_clause.is_some() || query.fetch.is_some();
                self.select(select, order, level, outputs, Locks { requests: locks, is_limited })?
            }
            ast::SetExpr::Query(inner) if order.is_empty() && query.locks.is_empty() => {
                // Parentheses alone are no level of their own.
                let depth = usize::from(query.with.is_none());
                self.query_depth -= depth;
                let bound = self.query(inner, level, outputs);
                self.query_depth += depth;
                bound?
            }
            body => {
                if let Some(lock) = query.locks.first() {
                    let name = locking::name_of(locking::read(lock).strength);
                    return Err(SqlError::not_supported(match body {
                        ast::SetExpr::Values(_) => format!("{name} cannot be applied to VALUES"),
                        _ => format!("{name} is not allowed with UNION/INTERSECT/EXCEPT"),
                    }));
                }
                let outputs = if order.is_empty() { outputs } else { Outputs::Settled };
                let rel = self.set_expr(body, level, outputs)?;
                let open_names = matches!(body, ast::SetExpr::Values(_));
                if order.is_empty() { rel } else { self.order_columns(rel, order, level, open_names)? }
            }
        };
        self.limit(rel, query, level)
    }

    fn lock_requests(clauses: &[ast::LockClause]) -> Vec<LockRequest> {
        let mut requests = Vec::with_capacity(clauses.len());
        for clause in clauses {
                let locking::Locking { strength, of } = locking::read(clause);
                let wait = match clause.nonblock {
                    None => LockWait::Block,
                    Some(ast::NonBlock::Nowait) => LockWait::Error,
                    Some(ast::NonBlock::SkipLocked) => LockWait::Skip,
                };
                let lock = RowLock { strength, wait, is_above: false };
                if of.is_empty() {
                    requests.push(LockRequest { of: None, lock, of_view: false });
                }
                requests.extend(of.into_iter().map(|name| LockRequest { of: Some(name), lock, of_view: false }));
        }
        requests
    }

    /// How the rows of a range are to be locked.
    pub(super) fn lock_for(&self, range: &str) -> Option<RowLock> {
        let named = |of: &Option<String>| of.as_ref().is_none_or(|of| of == range);
        let mut locks = self.row_locks.iter().filter(|request| named(&request.of)).map(|request| request.lock);
        let first = locks.next()?;
        // Several clauses on one table: the strongest, and the shortest wait.
        Some(locks.fold(first, |known, lock| RowLock {
            strength: known.strength.max(lock.strength),
            wait: known.wait.max(lock.wait),
            is_above: false,
        }))
    }

    fn limit(&mut self, rel: Rel, query: &ast::Query, level: &Level<'_>) -> SqlResult<Rel> {
        let (mut limit, mut offset) = match &query.limit_clause {
            None => (None, None),
            Some(ast::LimitClause::LimitOffset { limit, offset, limit_by }) if limit_by.is_empty() => {
                (limit.as_ref(), offset.as_ref().map(|offset| &offset.value))
            }
            Some(_) => return Err(SqlError::new(SqlState::SyntaxError, "LIMIT #,# syntax is not supported")
                .with_hint("Use separate LIMIT and OFFSET clauses.")),
        };
        let one = ast::Expr::value(ast::Value::Number("1".to_owned(), false));
        if let Some(fetch) = &query.fetch {
            if limit.is_some() {
                return Err(SqlError::new(SqlState::SyntaxError, "syntax error at or near \"FETCH\""));
            }
            if fetch.percent {
                return Err(SqlError::new(SqlState::SyntaxError, "syntax error at or near \"PERCENT\""));
            }
            limit = Some(fetch.quantity.as_ref().unwrap_or(&one));
        }
        let mut has_ties = query.fetch.as_ref().is_some_and(|fetch| fetch.with_ties);
        if let Some(count) = limit.and_then(tied_count) {
            limit = Some(count);
            has_ties = true;
        }
        let is_all = |expr: &&ast::Expr| matches!(expr, ast::Expr::Identifier(ident) if fold(ident) == "all");
        limit = limit.filter(|expr| !is_all(expr));
        if let Some(expr) = offset {
            if is_all(&expr) {
                offset = None;
            }
        }
        let is_null = limit.is_some_and(is_null);
        let limit = self.row_count(limit, level, "LIMIT")?;
        let offset = self.row_count(offset, level, "OFFSET")?;
        if has_ties {
            if is_null {
                let message = "row count cannot be null in FETCH FIRST ... WITH TIES clause";
                return Err(SqlError::new(SqlState::InvalidRowCountInLimitClause, message));
            }
            return self.with_ties(rel, limit, offset, query);
        }
        if limit.is_none() && offset.is_none() {
            return Ok(rel);
        }
        self.above(1)?;
        let columns = rel.columns.clone();
        Ok(Rel { node: RelNode::Limit { input: Box::new(rel), limit, offset, ties: Vec::new() }, columns })
    }

    /// FETCH … WITH TIES: rows like the last one, by the keys that they are sorted by, are taken too.
    fn with_ties(
        &mut self,
        rel: Rel,
        limit: Option<Expr>,
        offset: Option<Expr>,
        query: &ast::Query,
    ) -> SqlResult<Rel> {
        if query.order_by.is_none() {
            let message = "WITH TIES cannot be specified without ORDER BY clause";
            return Err(SqlError::new(SqlState::SyntaxError, message));
        }
        if query.locks.iter().any(|lock| matches!(lock.nonblock, Some(ast::NonBlock::SkipLocked))) {
            let message = "SKIP LOCKED and WITH TIES options cannot be used together";
            return Err(SqlError::new(SqlState::SyntaxError, message));
        }
        // The order may be by columns that are dropped above it.
        let columns = rel.columns.clone();
        let (sorted, dropping) = match rel.node {
            RelNode::Project { input, exprs } if matches!(input.node, RelNode::Sort { .. } | RelNode::Distinct { .. } | RelNode::LockRows { .. }) => {
                (*input, Some(exprs))
            }
            node => (Rel { node, columns: columns.clone() }, None),
        };
        let mut below = &sorted;
        let keys = loop {
            match &below.node {
                RelNode::Sort { keys, .. } => break keys.clone(),
                // What locks the rows leaves their order and their columns as they are.
                RelNode::Distinct { input, .. } | RelNode::LockRows { input, .. } => below = input,
                _ => return Err(SqlError::not_supported("WITH TIES is not supported where rows are locked")),
            }
        };
        self.above(1)?;
        let kept = sorted.columns.clone();
        let rel = Rel { node: RelNode::Limit { input: Box::new(sorted), limit, offset, ties: keys }, columns: kept };
        Ok(match dropping {
            Some(exprs) => project(rel, exprs, columns),
            None => rel,
        })
    }

    fn row_count(&mut self, expr: Option<&ast::Expr>, level: &Level<'_>, clause: &str) -> SqlResult<Option<Expr>> {
        let Some(expr) = expr else { return Ok(None) };
        let scope = Scope::empty(level);
        let bound = self.with_frame(Clause::Limit, |binder| {
            let bound = binder.expr(expr, &scope)?;
            binder.coerce(bound, SqlType::Int8, CastContext::Assignment)
        });
        let bound = bound.map_err(|error| match error.code() {
            SqlState::UndefinedColumn => SqlError::new(
                SqlState::InvalidColumnReference,
                format!("argument of {clause} must not contain variables"),
            ),
            _ => error,
        })?;
        match &bound {
            Expr::Const(Datum::Null, _) => Ok(None),
            Expr::Const(Datum::Int(count), _) if *count < 0 => {
                let code = if clause == "LIMIT" {
                    SqlState::InvalidRowCountInLimitClause
                } else {
                    SqlState::InvalidRowCountInResultOffsetClause
                };
                Err(SqlError::new(code, format!("{clause} must not be negative")))
            }
            _ => Ok(Some(bound)),
        }
    }

    pub(super) fn set_expr(
        &mut self,
        body: &ast::SetExpr,
        level: &Level<'_>,
        outputs: Outputs,
    ) -> SqlResult<Rel> {
        match body {
            ast::SetExpr::Select(select) => self.select(select, &[], level, outputs, Locks::default()),
            ast::SetExpr::Query(query) => self.query(query, level, outputs),
            ast::SetExpr::Values(values) => self.values(values, level),
            ast::SetExpr::SetOperation { .. } => self.set_chain(body, level),
            ast::SetExpr::Table(table) => {
                let part = |name: &Option<String>| name.clone().map(|name| ast::Ident::new(name.to_ascii_lowercase()));
                let parts: Vec<ast::Ident> =
                    part(&table.schema_name).into_iter().chain(part(&table.table_name)).collect();
                self.whole_table(&ast::ObjectName::from(parts), level)
            }
            ast::SetExpr::Insert(statement)
            | ast::SetExpr::Update(statement)
            | ast::SetExpr::Delete(statement) => self.change(statement, level),
            ast::SetExpr::Merge(ast::Statement::Merge(merge)) => self.merge_rows(merge, level),
            ast::SetExpr::Merge(_) => Err(SqlError::internal("a MERGE is none")),
        }
    }

    /// `a UNION b UNION c …` leans to the left as far as it is long: its spine is walked without recursion.
    fn set_chain(&mut self, body: &ast::SetExpr, level: &Level<'_>) -> SqlResult<Rel> {
        let mut spine = Vec::new();
        let mut leftmost = body;
        while let ast::SetExpr::SetOperation { left, op, set_quantifier, right } = leftmost {
            spine.push((op, set_quantifier, &**right));
            leftmost = left;
        }
        let operand = |binder: &mut Self, body| {
            refuse_locked_term(body)?;
            binder.at_level(|binder| binder.set_expr(body, level, Outputs::Open))
        };
        let left_mark = self.recursion_mark();
        let mut bound = operand(self, leftmost)?;
        while let Some((op, quantifier, right)) = spine.pop() {
            let (kind, name) = match op {
                ast::SetOperator::Union => (SetOpKind::Union, "UNION"),
                ast::SetOperator::Intersect => (SetOpKind::Intersect, "INTERSECT"),
                ast::SetOperator::Except | ast::SetOperator::Minus => (SetOpKind::Except, "EXCEPT"),
            };
            let all = match quantifier {
                ast::SetQuantifier::All => true,
                ast::SetQuantifier::Distinct | ast::SetQuantifier::None => false,
                other => {
                    return Err(SqlError::new(SqlState::SyntaxError, format!("syntax error at or near \"{other}\"")));
                }
            };
            if all && kind != SetOpKind::Union {
                self.refuse_recursion(&left_mark, name)?;
            }
            let mark = self.recursion_mark();
            let right = operand(self, right)?;
            if kind == SetOpKind::Except || all && kind == SetOpKind::Intersect {
                self.refuse_recursion(&mark, name)?;
            }
            bound = self.set_operation(kind, name, all, bound, right)?;
        }
        Ok(bound)
    }

    pub(super) fn set_operation(
        &mut self,
        kind: SetOpKind,
        name: &str,
        all: bool,
        left: Rel,
        right: Rel,
    ) -> SqlResult<Rel> {
        if left.columns.len() != right.columns.len() {
            return Err(SqlError::new(
                SqlState::SyntaxError,
                format!("each {name} query must have the same number of columns"),
            ));
        }
        let types = left
            .columns
            .iter()
            .zip(&right.columns)
            .map(|(left, right)| common_type(&[left.ty, right.ty], name))
            .collect::<SqlResult<Vec<_>>>()?;
        if !(all && kind == SetOpKind::Union) {
            types.iter().try_for_each(|ty| super::select::check_equality(*ty))?;
        }
        let mut left = self.operand(left, &types)?;
        let right = self.operand(right, &types)?;
        // One more input of the same UNION. What UNION leaves of equal rows is the same however they are brought together.
        if let RelNode::SetOp { kind: SetOpKind::Union, all: known, inputs } = &mut left.node
            && kind == SetOpKind::Union
            && *known == all
        {
            inputs.push(right);
            return Ok(left);
        }
        self.above(1)?;
        let columns = left.columns.iter().zip(types).map(|(column, ty)| computed(column.name.clone(), ty)).collect();
        Ok(Rel { node: RelNode::SetOp { kind, all, inputs: vec![left, right] }, columns })
    }

    /// An operand of a set operation with outputs of these types.
    fn operand(&mut self, mut rel: Rel, types: &[SqlType]) -> SqlResult<Rel> {
        let open = open_below(&mut rel);
        if open.iter().all(Option::is_none) {
            return self.coerce_outputs(rel, types);
        }
        let exprs = open
            .into_iter()
            .enumerate()
            .map(|(at, open)| {
                let value = open.unwrap_or_else(|| Expr::Column(at, rel.columns[at].ty));
                self.coerce(value, types[at], CastContext::Implicit)
            })
            .collect::<SqlResult<Vec<_>>>()?;
        self.above(1)?;
        let columns = rel.columns.iter().zip(types).map(|(column, ty)| computed(column.name.clone(), *ty)).collect();
        Ok(project(rel, exprs, columns))
    }

    /// Makes the output columns be of these types, inside the nodes that compute them where that is the same.
    pub(super) fn coerce_outputs(&mut self, rel: Rel, types: &[SqlType]) -> SqlResult<Rel> {
        self.convert_outputs(rel, types, &mut |binder, expr, ty, _| binder.coerce(expr, ty, CastContext::Implicit))
    }

    /// As [`Binder::coerce_outputs`] with a conversion of one's own, which also gets the column's position.
    pub(super) fn convert_outputs(
        &mut self,
        mut rel: Rel,
        types: &[SqlType],
        convert: &mut dyn FnMut(&mut Self, Expr, SqlType, usize) -> SqlResult<Expr>,
    ) -> SqlResult<Rel> {
        if rel.columns.iter().zip(types).all(|(column, ty)| column.ty == *ty) {
            return Ok(rel);
        }
        match &mut rel.node {
            RelNode::Project { exprs, .. } => {
                for (position, expr) in exprs.iter_mut().enumerate().take(types.len()) {
                    let ty = types[position];
                    let value = std::mem::replace(expr, Expr::RowId);
                    *expr = convert(self, value, ty, position)?;
                    let column = &mut rel.columns[position];
                    if column.ty != ty && !column.ty.same_base(&ty) {
                        (column.table_oid, column.attribute) = (0, 0);
                    }
                    column.ty = ty;
                }
                return Ok(rel);
            }
            RelNode::Values(rows) => {
                for row in rows {
                    for (position, expr) in row.iter_mut().enumerate().take(types.len()) {
                        let value = std::mem::replace(expr, Expr::RowId);
                        *expr = convert(self, value, types[position], position)?;
                    }
                }
                for (column, ty) in rel.columns.iter_mut().zip(types) {
                    column.ty = *ty;
                }
                return Ok(rel);
            }
            _ => {}
        }
        let mut columns = rel.columns.clone();
        let exprs = types
            .iter()
            .enumerate()
            .map(|(position, ty)| {
                let column = &mut columns[position];
                let expr = Expr::Column(position, column.ty);
                if !column.ty.same_base(ty) {
                    (column.table_oid, column.attribute) = (0, 0);
                }
                column.ty = *ty;
                convert(self, expr, *ty, position)
            })
            .collect::<SqlResult<Vec<_>>>()?;
        self.above(1)?;
        Ok(project(rel, exprs, columns))
    }

    pub(super) fn values(&mut self, values: &ast::Values, level: &Level<'_>) -> SqlResult<Rel> {
        let scope = Scope::empty(level);
        let mut rows: Vec<Vec<Expr>> = Vec::with_capacity(values.rows.len());
        for row in &values.rows {
            let row = self.without_stars(&row.content, &scope)?;
            if rows.first().is_some_and(|first| first.len() != row.len()) {
                return Err(SqlError::new(SqlState::SyntaxError, "VALUES lists must all be the same length"));
            }
            rows.push(self.with_frame(Clause::Values, |binder| binder.exprs(row.iter(), &scope))?);
        }
        let width = rows.first().map_or(0, Vec::len);
        self.values_of(rows, width)
    }

    /// A row of VALUES with the fields of `r.*` in its place.
    pub(super) fn without_stars<'e>(
        &mut self,
        row: &'e [ast::Expr],
        scope: &Scope<'_>,
    ) -> SqlResult<Cow<'e, [ast::Expr]>> {
        if !row.iter().any(|expr| matches!(expr, ast::Expr::QualifiedWildcard(..))) {
            return Ok(Cow::Borrowed(row));
        }
        let mut exprs = Vec::with_capacity(row.len());
        for expr in row {
            let ast::Expr::QualifiedWildcard(name, _) = expr else {
                exprs.push(expr.clone());
                continue;
            };
            let names = super::name_parts(name)?;
            let parts: Vec<&str> = names.iter().map(String::as_str).collect();
            let record = match self.variable(&parts, false)? {
                Some(record) => record,
                None => self.whole_row(&names, scope)?,
            };
            let of: Vec<ast::Ident> = names.iter().map(|name| ast::Ident::with_quote('"', name.as_str())).collect();
            for (field, _) in self.fields_of(record)? {
                let field = ast::Ident::with_quote('"', field);
                exprs.push(ast::Expr::CompoundIdentifier(of.iter().cloned().chain([field]).collect()));
            }
        }
        Ok(Cow::Owned(exprs))
    }

    fn values_of(&mut self, mut rows: Vec<Vec<Expr>>, width: usize) -> SqlResult<Rel> {
        let mut columns = Vec::with_capacity(width);
        for position in 0..width {
            let types: Vec<SqlType> =
                rows.iter().map(|row| self.known_type(&row[position]).unwrap_or(SqlType::Unknown)).collect();
            let ty = common_type(&types, "VALUES")?;
            for row in &mut rows {
                let value = std::mem::replace(&mut row[position], Expr::RowId);
                row[position] = self.coerce(value, ty, CastContext::Implicit)?;
            }
            columns.push(computed(format!("column{}", position + 1), ty));
        }
        Ok(Rel { node: RelNode::Values(rows), columns })
    }

    /// ORDER BY of a set operation or VALUES: its columns by name or position; expressions only over VALUES.
    fn order_columns(
        &mut self,
        rel: Rel,
        order: &[ast::OrderByExpr],
        level: &Level<'_>,
        open_names: bool,
    ) -> SqlResult<Rel> {
        let columns = rel.columns.iter().enumerate().map(|(position, column)| RangeColumn {
            name: column.name.clone(),
            expr: Expr::Column(position, column.ty),
            hidden: false,
        });
        let range = Range { name: String::new(), schema: None, table: None, catalog_oid: None, columns: columns.collect(), row_of: RowOf::Nothing };
        let scope = Scope::of_range(level, range);
        let mut keys = Vec::with_capacity(order.len());
        for item in order {
            let expr = match position_literal(&item.expr) {
                Some(position) => {
                    let at = output_position(&position, rel.columns.len(), "ORDER BY")?;
                    Expr::Column(at, rel.columns[at].ty)
                }
                None if open_names || matches!(item.expr, ast::Expr::Identifier(_)) => {
                    self.with_frame(Clause::Values, |binder| binder.settled(&item.expr, &scope))?
                }
                None => {
                    return Err(SqlError::not_supported("invalid UNION/INTERSECT/EXCEPT ORDER BY clause")
                        .with_detail("Only result column names can be used, not expressions or functions.")
                        .with_hint(
                            "Add the expression/function to every SELECT, or move the UNION into a FROM clause.",
                        ));
                }
            };
            keys.push(self.sort_key(expr, &item.options)?);
        }
        self.above(1)?;
        Ok(sort(rel, keys))
    }
}

pub(super) fn order_exprs(order_by: Option<&ast::OrderBy>) -> SqlResult<&[ast::OrderByExpr]> {
    match order_by.map(|order| &order.kind) {
        None => Ok(&[]),
        Some(ast::OrderByKind::Expressions(exprs)) => Ok(exprs),
        Some(ast::OrderByKind::All(_)) => {
            Err(SqlError::new(SqlState::SyntaxError, "syntax error at or near \"ALL\""))
        }
    }
}

/// An integer literal stands for an output column in GROUP BY, ORDER BY and DISTINCT ON.
pub(super) fn position_literal(expr: &ast::Expr) -> Option<Cow<'_, str>> {
    match expr {
        ast::Expr::Value(value) => match &value.value {
            ast::Value::Number(digits, _) => Some(Cow::Borrowed(digits)),
            // No number, and no position either.
            ast::Value::SingleQuotedString(_) | ast::Value::Null | ast::Value::Boolean(_) => Some(Cow::Borrowed("")),
            _ => None,
        },
        // A sign belongs to the number; no position has a negative one.
        ast::Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => match position_literal(expr) {
            Some(digits) if digits.parse::<u32>().is_ok() => Some(Cow::Owned(format!("-{digits}"))),
            other => other,
        },
        _ => None,
    }
}

pub(super) fn output_position(literal: &str, count: usize, clause: &str) -> SqlResult<usize> {
    let Ok(position) = literal.parse::<i32>() else {
        return Err(SqlError::new(SqlState::SyntaxError, format!("non-integer constant in {clause}")));
    };
    if let Some(at) = usize::try_from(position).ok().and_then(|at| at.checked_sub(1)).filter(|at| *at < count) {
        return Ok(at);
    }
    Err(SqlError::new(
        SqlState::InvalidColumnReference,
        format!("{clause} position {position} is not in select list"),
    ))
}

/// A term of a set operation locks no rows.
pub(super) fn refuse_locked_term(term: &ast::SetExpr) -> SqlResult<()> {
    match term {
        ast::SetExpr::Query(query) => match query.locks.first() {
            Some(lock) => Err(SqlError::not_supported(format!(
                "{} is not allowed with UNION/INTERSECT/EXCEPT",
                locking::name_of(locking::read(lock).strength)
            ))),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}
