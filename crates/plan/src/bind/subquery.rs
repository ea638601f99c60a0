//! Subqueries in expressions: each is a plan of its own, called with the outer values it mentions.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use sqlparser::ast;
use types::stack::deep;
use types::{CastContext, Datum, SqlError, SqlResult, SqlState, SqlType};

use super::Binder;
use super::expr::unnested;
use super::function::argument_list;
use super::query::{Outputs, project};
use crate::expr::{Expr, Subquery, SubqueryKind};
use crate::logical::{Rel, RelNode};
use crate::optimize::source_of;
use crate::plan::{Plan, PlanColumn};
use crate::scope::{Place, Scope};

/// So much of subqueries is read for their forms in one statement.
const FORM_BYTES_MAX: usize = 16 << 20;

/// Counts what it is given.
#[derive(Default)]
struct CountingHasher {
    inner: DefaultHasher,
    bytes: usize,
}

impl Hasher for CountingHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.inner.write(bytes);
    }

    fn finish(&self) -> u64 {
        self.inner.finish()
    }
}

impl Binder<'_> {
    /// As [`Binder::subplan_of`], with what was planned.
    fn subplan_and_source(
        &mut self,
        query: &ast::Query,
        scope: &Scope<'_>,
    ) -> SqlResult<(Plan, Arc<Rel>, Vec<Expr>)> {
        let mut source = None;
        let keep = |rel: Rel| {
            source = Some(Arc::new(rel.clone()));
            Ok(rel)
        };
        let (plan, arguments) = self.subplan_of(scope, query, keep)?;
        Ok((plan, source.expect("the subquery has been bound"), arguments))
    }

    /// Binds and plans a query below `scope`, as `shape` makes it; also the values of its outer slots.
    fn subplan_of(
        &mut self,
        scope: &Scope<'_>,
        query: &ast::Query,
        shape: impl FnOnce(Rel) -> SqlResult<Rel>,
    ) -> SqlResult<(Plan, Vec<Expr>)> {
        let locks = std::mem::take(&mut self.row_locks);
        let place = Place::Expression(self.frames.len().saturating_sub(1));
        let level = self.level_in(scope, place);
        let mark = self.recursion_mark();
        let bound = self.query(query, &level, Outputs::Settled);
        self.row_locks = locks;
        let bound = bound?;
        self.refuse_recursion(&mark, "a subquery")?;
        let plan = self.plan_of(shape(bound)?)?;
        let arguments = level.slots.take();
        Ok((plan, arguments))
    }

    fn subquery(kind: SubqueryKind, plan: Plan, arguments: Vec<Expr>, ty: SqlType, form: u64) -> Expr {
        Expr::Subquery(Box::new(Subquery { kind, plan: Arc::new(plan), source: None, arguments, ty, form }))
    }

    /// A number for what a subquery says and where; `column` is the one of its columns that is wanted. Where too much
    /// has been read for that already, a number of its own: queries within queries are read once for each around them.
    fn form(&mut self, query: &ast::Query, column: usize) -> u64 {
        let select = self.frames.last().map_or(0, |frame| frame.id);
        let mut hasher = CountingHasher::default();
        if self.form_bytes > FORM_BYTES_MAX {
            (select, self.next_id()).hash(&mut hasher);
        } else {
            deep(|| (select, column, query).hash(&mut hasher));
            self.form_bytes += hasher.bytes;
        }
        hasher.finish()
    }

    pub(super) fn scalar_subquery(&mut self, query: &ast::Query, scope: &Scope<'_>) -> SqlResult<Expr> {
        let (mut declared, mut source) = (None, None);
        let note = |rel: Rel| {
            declared = rel.columns.first().map(|column| column.ty);
            source = source_of(&rel);
            Ok(rel)
        };
        let (plan, arguments) = self.subplan_of(scope, query, note)?;
        // What is the same for every row is asked once as it is.
        let source = source.filter(|_| !arguments.is_empty());
        let ty = only_column(&plan.columns)?;
        // A domain, which nothing that is planned knows.
        let ty = declared.filter(|declared| declared.base() == ty).unwrap_or(ty);
        let (kind, plan, form) = (SubqueryKind::Scalar, Arc::new(plan), self.form(query, 0));
        Ok(Expr::Subquery(Box::new(Subquery { kind, plan, source, arguments, ty, form })))
    }

    /// One scalar subquery for each column: how a subquery serves as a row. `mismatch`: of how many columns there are, and how
    /// many are wanted.
    pub(super) fn row_subquery(
        &mut self,
        query: &ast::Query,
        count: usize,
        scope: &Scope<'_>,
        mismatch: fn(usize, usize) -> SqlError,
    ) -> SqlResult<Vec<Expr>> {
        (0..count)
            .map(|position| {
                let mut declared = None;
                let pick = |rel: Rel| {
                    if rel.columns.len() != count {
                        return Err(mismatch(rel.columns.len(), count));
                    }
                    let column = rel.columns[position].clone();
                    declared = Some(column.ty);
                    let expr = Expr::Column(position, column.ty);
                    Ok(project(rel, vec![expr], vec![column]))
                };
                let (plan, arguments) = self.subplan_of(scope, query, pick)?;
                let ty = only_column(&plan.columns)?;
                let ty = declared.filter(|declared| declared.base() == ty).unwrap_or(ty);
                let form = self.form(query, position);
                Ok(Self::subquery(SubqueryKind::Scalar, plan, arguments, ty, form))
            })
            .collect()
    }

    pub(super) fn exists(&mut self, query: &ast::Query, scope: &Scope<'_>) -> SqlResult<Expr> {
        let mut source = None;
        let keep = |mut rel: Rel| {
            forget_outputs(&mut rel);
            source = Some(Arc::new(rel.clone()));
            Ok(rel)
        };
        let (plan, arguments) = self.subplan_of(scope, query, keep)?;
        let plan = Arc::new(plan);
        let form = self.form(query, 0);
        let subquery = Subquery { kind: SubqueryKind::Exists, plan, source, arguments, ty: SqlType::Bool, form };
        Ok(Expr::Subquery(Box::new(subquery)))
    }

    pub(super) fn array_subquery(&mut self, query: &ast::Query, scope: &Scope<'_>) -> SqlResult<Expr> {
        let (plan, source, arguments) = self.subplan_and_source(query, scope)?;
        let ty = only_column(&plan.columns)?;
        let ty = if ty.is_array() { ty } else { ty.array_of() };
        let form = self.form(query, 0);
        let (plan, source) = (Arc::new(plan), Some(source));
        Ok(Expr::Subquery(Box::new(Subquery { kind: SubqueryKind::Array, plan, source, arguments, ty, form })))
    }

    /// `left op ANY|ALL (query)`; `IN` is `= ANY`.
    pub(super) fn quantified(
        &mut self,
        left: &ast::Expr,
        symbol: &str,
        query: &ast::Query,
        all: bool,
        scope: &Scope<'_>,
    ) -> SqlResult<Expr> {
        let left = match self.expr(unnested(left), scope)? {
            Expr::Row(fields, _) => fields,
            other => vec![other],
        };
        if left.len() > 1 {
            match (symbol, all) {
                ("=", false) => {}
                ("<>", true) => {
                    let found = self.quantified_over(left, "=", query, false, scope)?;
                    return Ok(Expr::Not(Box::new(found)));
                }
                _ => {
                    return Err(SqlError::not_supported(format!(
                        "rows cannot be compared with the rows of a subquery by {symbol} here"
                    )));
                }
            }
        }
        self.quantified_over(left, symbol, query, all, scope)
    }

    fn quantified_over(
        &mut self,
        left: Vec<Expr>,
        symbol: &str,
        query: &ast::Query,
        all: bool,
        scope: &Scope<'_>,
    ) -> SqlResult<Expr> {
        let (plan, source, arguments) = self.subplan_and_source(query, scope)?;
        if plan.columns.len() != left.len() {
            return Err(unlike_columns(plan.columns.len(), left.len()));
        }
        let mut comparisons = Vec::with_capacity(left.len());
        let mut casted = Vec::with_capacity(left.len());
        for (expr, column) in left.into_iter().zip(&plan.columns) {
            let comparison = self.comparison(symbol, self.known_type(&expr), Some(column.ty))?;
            casted.push(self.settle(expr, comparison.left_cast, CastContext::Implicit)?);
            comparisons.push(comparison);
        }
        let kind = SubqueryKind::Quantified { left: casted, comparisons, all };
        let (plan, source) = (Arc::new(plan), Some(source));
        let form = self.form(query, 0);
        Ok(Expr::Subquery(Box::new(Subquery { kind, plan, source, arguments, ty: SqlType::Bool, form })))
    }
}

/// What `(a, b)` and `ROW(a, b)` consist of.
pub(super) fn row_fields(expr: &ast::Expr) -> Option<Vec<&ast::Expr>> {
    match unnested(expr) {
        ast::Expr::Tuple(fields) => Some(fields.iter().collect()),
        ast::Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("row") => {
            let list = argument_list(function).ok()?;
            list.into_iter()
                .map(|arg| match arg {
                    ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(expr),
                    ast::FunctionArg::Unnamed(_) | ast::FunctionArg::Named { .. } | ast::FunctionArg::ExprNamed { .. } => None,
                })
                .collect()
        }
        _ => None,
    }
}

/// Of a subquery that is compared with a row.
pub(super) fn unlike_columns(found: usize, wanted: usize) -> SqlError {
    let what = if found > wanted { "many" } else { "few" };
    SqlError::new(SqlState::SyntaxError, format!("subquery has too {what} columns"))
}

fn only_column(columns: &[PlanColumn]) -> SqlResult<SqlType> {
    match columns {
        [column] => Ok(column.ty),
        _ => Err(SqlError::new(SqlState::SyntaxError, "subquery must return only one column")),
    }
}

/// EXISTS asks whether there is a row: what the row would hold is not evaluated, nor in which order it would come or how often.
fn forget_outputs(rel: &mut Rel) {
    while let RelNode::Sort { input, .. } | RelNode::Distinct { input, .. } = &mut rel.node {
        let unit = Rel { node: RelNode::Unit, columns: Vec::new() };
        *rel = std::mem::replace(&mut **input, unit);
    }
    if let RelNode::Project { input, exprs } = &mut rel.node {
        for expr in exprs {
            *expr = Expr::Const(Datum::Null, expr.ty());
        }
        forget_outputs(input);
    }
}
