//! Domains in expressions: where a value becomes one of a domain its rules are put around it, and everywhere else it is a
//! value of the type under it.
//!
//! Binding keeps the domain as an expression's type as long as it can be seen: by `pg_typeof`, in the columns of a
//! view, a cast to what the value is of already. [`Binder::expr`] gives it up, and operators and functions never see one.
//!
//! **Invariant (no-domain-runs):** no type of a planned relation or stored expression is a domain or its arrays: upheld by
//! [`rel_without_domains`] and [`without_domains`], which all of them go through, so that what runs asks types about
//! their form alone.

use std::sync::Arc;

use catalog::{ColumnDefault, DomainCheck, Table, Type};
use types::stack::grown;
use types::{CastContext, Datum, DomainType, SqlError, SqlResult, SqlState, SqlType, domains_exist};

use super::Binder;
use super::stored::{stored, stored_condition, without_subquery};
use crate::PlanContext;
use crate::bind::Clause;
use crate::expr::{AggregateCall, DomainRules, Expr, SortKey};
use crate::logical::{Rel, RelNode};
use crate::plan::{FrameBound, FunctionCall, ProjectItem, WindowCall, WindowFunction};

/// The domains over one another that this one is the last of, itself first.
fn levels<'c>(domain: DomainType, context: &PlanContext<'c>) -> Vec<&'c Arc<Type>> {
    let mut found = Vec::new();
    let mut next = Some(domain);
    while let Some(domain) = next {
        context.notes.uses(domain.oid());
        found.extend(context.catalog.user_type(domain.oid()).map(|it| &it.descriptor));
        next = match domain.over() {
            SqlType::Domain(other) => Some(other),
            _ => None,
        };
    }
    found
}

/// What values of a domain must pass: the rules of what it is over first, those of one domain by their names.
///
/// # Errors
/// As for any expression.
pub fn domain_rules(domain: DomainType, context: &PlanContext<'_>) -> SqlResult<DomainRules> {
    let mut rules = DomainRules { domain, not_null: false, checks: Vec::new() };
    for ty in levels(domain, context).into_iter().rev() {
        let (Some(own), Some(table)) = (ty.domain(), ty.as_table()) else { continue };
        rules.not_null |= own.not_null;
        let mut checks: Vec<&DomainCheck> = own.checks.iter().collect();
        checks.sort_by(|a, b| a.name.cmp(&b.name));
        let bound = &mut rules.checks;
        context.notes.in_rules_of(ty.id, || {
            for check in checks {
                bound.push((check.name.clone(), stored_condition(&check.expr, &table, context)?));
            }
            Ok(())
        })?;
    }
    Ok(rules)
}

/// A condition over a value of a domain, as one that is new is looked at.
///
/// # Errors
/// 42804 where it is no condition, and as for any expression.
pub fn domain_check(text: &str, ty: &Type, context: &PlanContext<'_>) -> SqlResult<Expr> {
    let table = ty.as_table().ok_or_else(|| SqlError::internal("a rule of a type that is no domain"))?;
    let bound = context.notes.in_rules_of(ty.id, || stored_condition(text, &table, context))?;
    if bound.any(&mut |expr| matches!(expr, Expr::Sequence { .. } | Expr::Routine(_))) {
        return Err(SqlError::not_supported("sequences and users' functions are not supported in rules of a domain"));
    }
    Ok(bound)
}

/// What a domain gives columns without a default, as a value of the type under it.
///
/// # Errors
/// 42804 where no assignment cast leads to the type, and as for any expression.
pub fn domain_default(text: &str, ty: &Type, context: &PlanContext<'_>) -> SqlResult<Expr> {
    let table = ty.as_table().ok_or_else(|| SqlError::internal("a default of a type that is no domain"))?;
    let wanted = table.columns[0].ty;
    let bound = stored(text, &table, context, Clause::Default, |binder, bound| binder.assign(bound, &ty.name, wanted));
    let has_column = match &bound {
        Ok(bound) => bound.any(&mut |expr| matches!(expr, Expr::Column(..))),
        Err(error) => error.code() == SqlState::UndefinedColumn,
    };
    if has_column {
        return Err(SqlError::not_supported("cannot use column reference in DEFAULT expression"));
    }
    let bound = without_subquery(bound?, "DEFAULT expression")?;
    if bound.any(&mut |expr| matches!(expr, Expr::Routine(_))) {
        return Err(SqlError::not_supported("users' functions are not supported in the default of a domain"));
    }
    Ok(bound)
}

/// What a column of a domain is when nothing is given for it and it has no default of its own.
pub(super) fn absent_value(table: &Table, position: usize, context: &PlanContext<'_>) -> SqlResult<Expr> {
    let column = &table.columns[position];
    let null = Expr::Const(Datum::Null, column.ty);
    let Some(declared) = column.domain.filter(|_| !matches!(column.default, Some(ColumnDefault::Stored(_)))) else {
        return Ok(null);
    };
    let value = match declared {
        SqlType::Domain(domain) => match context.catalog.user_type(domain.oid()).map(|it| &it.descriptor) {
            Some(ty) if let Some(text) = ty.domain().and_then(|own| own.default.as_deref()) => {
                domain_default(text, ty, context)?
            }
            _ => null,
        },
        _ => null,
    };
    let mut value = Binder::new(context, None).coerce(value, declared, CastContext::Assignment)?;
    without_domains(&mut value);
    Ok(value)
}

/// A column of a row that is about to be written, with the rules of its domain around it; `None` where there are none.
///
/// # Errors
/// As [`domain_rules`].
pub fn checked_column(table: &Table, position: usize, context: &PlanContext<'_>) -> SqlResult<Option<Expr>> {
    let column = &table.columns[position];
    let Some(declared) = column.domain else { return Ok(None) };
    let value = Expr::Column(position, column.ty);
    let mut value = Binder::new(context, None).coerce(value, declared, CastContext::Assignment)?;
    without_domains(&mut value);
    Ok(matches!(value, Expr::ToDomain { .. }).then_some(value))
}

/// The same value, said to be of another type; only where both are stored alike.
fn retype(expr: &mut Expr, to: SqlType) {
    match expr {
        Expr::Column(_, ty)
        | Expr::Outer(_, ty)
        | Expr::Param(_, ty)
        | Expr::Operand(ty)
        | Expr::Const(_, ty)
        | Expr::Coalesce(_, ty)
        | Expr::Greatest(_, ty)
        | Expr::Least(_, ty)
        | Expr::Case { ty, .. }
        | Expr::NullIf { ty, .. }
        | Expr::Array { ty, .. }
        | Expr::Row(_, ty)
        | Expr::Field { ty, .. }
        | Expr::Subscript { ty, .. }
        | Expr::ToDomain { ty, .. } => *ty = to,
        Expr::Subquery(subquery) => subquery.ty = to,
        Expr::Assign(assign) => assign.ty = to,
        Expr::Call { types, .. } => types.ret = to,
        // Of these none is of a domain.
        Expr::Cast { .. }
        | Expr::And(_)
        | Expr::Or(_)
        | Expr::Not(_)
        | Expr::IsNull(_)
        | Expr::Truth(..)
        | Expr::IsDistinctFrom(..)
        | Expr::InList { .. }
        | Expr::AnyAll { .. }
        | Expr::Sequence { .. }
        | Expr::Routine(_)
        | Expr::RowId => {}
    }
}

/// A value of a domain as one of the type under it.
pub(super) fn as_base(mut expr: Expr) -> Expr {
    let ty = expr.ty();
    if ty.is_domain() {
        retype(&mut expr, ty.base());
    }
    expr
}

impl Binder<'_> {
    /// A value as one of a domain, or an array as one of values of a domain.
    pub(super) fn to_domain(&mut self, expr: Expr, to: SqlType, context: CastContext) -> SqlResult<Expr> {
        let (domain, of_elements) = match (to, to.element()) {
            (SqlType::Domain(domain), _) => (domain, false),
            (_, Some(SqlType::Domain(domain))) => (domain, true),
            _ => return Err(SqlError::internal("a domain is asked for that is none")),
        };
        let under = if of_elements { domain.under().array_of() } else { domain.under() };
        let inner = match expr {
            // ParameterDescription has the oid of the domain.
            Expr::Param(number, SqlType::Unknown) if self.params[number].is_none_or(|known| known == to) => {
                self.params[number] = Some(to);
                let param = Expr::Param(number, to.base());
                if under.is_domain() { self.coerce(param, under, context)? } else { param }
            }
            expr => self.coerce(expr, under, context)?,
        };
        let rules = match self.domains.get(&domain) {
            Some(known) => known.clone(),
            None => {
                let rules = Arc::new(domain_rules(domain, self.context)?);
                self.domains.insert(domain, rules.clone());
                rules
            }
        };
        let inner = Box::new(as_base(inner));
        Ok(Expr::ToDomain { expr: inner, rules, of_elements, context, ty: to })
    }
}

/// Upholds *no-domain-runs* of an expression.
pub(crate) fn without_domains(expr: &mut Expr) {
    if domains_exist() {
        grown(|| strip(expr));
    }
}

fn strip(expr: &mut Expr) {
    expr.for_each_child_mut(&mut |child| grown(|| strip(child)));
    let ty = expr.ty();
    if ty.is_domain() {
        retype(expr, ty.base());
    }
    match expr {
        Expr::ToDomain { expr: inner, rules, .. } if rules.is_empty() => {
            let inner = std::mem::replace(&mut **inner, Expr::RowId);
            *expr = inner;
        }
        Expr::Subquery(subquery) => {
            if let Some(source) = &mut subquery.source {
                strip_rel(Arc::make_mut(source));
            }
        }
        _ => {}
    }
}

/// Upholds *no-domain-runs* of what is about to be planned.
pub(crate) fn rel_without_domains(rel: &mut Rel) {
    if domains_exist() {
        strip_rel(rel);
    }
}

fn strip_all<'e>(exprs: impl IntoIterator<Item = &'e mut Expr>) {
    exprs.into_iter().for_each(strip);
}

fn strip_keys(keys: &mut [SortKey]) {
    strip_all(keys.iter_mut().map(|key| &mut key.expr));
}

fn strip_calls(calls: &mut [FunctionCall]) {
    calls.iter_mut().for_each(|call| strip_all(&mut call.args));
}

fn strip_aggregates<'e>(calls: impl IntoIterator<Item = &'e mut AggregateCall>) {
    for call in calls {
        strip_all(call.args.iter_mut().chain(&mut call.filter));
        strip_keys(&mut call.order_by);
    }
}

fn strip_window(call: &mut WindowCall) {
    call.ty = call.ty.base();
    strip_all(&mut call.args);
    if let WindowFunction::Aggregate(aggregate) = &mut call.function {
        strip_aggregates([aggregate]);
    }
    for bound in call.frame.iter_mut().flat_map(|frame| [&mut frame.start, &mut frame.end]) {
        if let FrameBound::Preceding(expr) | FrameBound::Following(expr) = bound {
            strip(expr);
        }
    }
}

fn strip_rel(rel: &mut Rel) {
    grown(|| strip_node(rel));
}

fn strip_node(rel: &mut Rel) {
    rel.columns.iter_mut().for_each(|column| column.ty = column.ty.base());
    match &mut rel.node {
        RelNode::Unit
        | RelNode::Table { .. }
        | RelNode::Virtual(_)
        | RelNode::Cte(_)
        | RelNode::Transition(_) => {}
        RelNode::Values(rows) => rows.iter_mut().for_each(|row| strip_all(row)),
        RelNode::Function { calls, .. } => strip_calls(calls),
        RelNode::Join { left, right, on, lateral, .. } => {
            strip_rel(left);
            strip_rel(right);
            strip_all(on.iter_mut().chain(lateral.iter_mut().flatten()));
        }
        RelNode::Barrier(input) => strip_rel(input),
        RelNode::Filter { input, predicate } => {
            strip_rel(input);
            strip(predicate);
        }
        RelNode::Project { input, exprs } => {
            strip_rel(input);
            strip_all(exprs);
        }
        RelNode::ProjectSet { input, items } => {
            strip_rel(input);
            for item in items {
                match item {
                    ProjectItem::Scalar(expr) => strip(expr),
                    ProjectItem::Set(call) => strip_all(&mut call.args),
                }
            }
        }
        RelNode::Aggregate { input, groups, aggregates, .. } => {
            strip_rel(input);
            strip_all(groups);
            strip_aggregates(aggregates);
        }
        RelNode::Window { input, partition_by, order_by, calls } => {
            strip_rel(input);
            strip_all(partition_by);
            strip_keys(order_by);
            calls.iter_mut().for_each(strip_window);
        }
        RelNode::Distinct { input, on } => {
            strip_rel(input);
            strip_all(on.iter_mut().flatten());
        }
        RelNode::Sort { input, keys } => {
            strip_rel(input);
            strip_keys(keys);
        }
        RelNode::Limit { input, limit, offset, ties } => {
            strip_rel(input);
            strip_keys(ties);
            strip_all(limit.iter_mut().chain(offset));
        }
        RelNode::LockRows { input, again, .. } => {
            strip_rel(input);
            strip_all(again.iter_mut().flatten());
        }
        RelNode::SetOp { inputs, .. } => inputs.iter_mut().for_each(strip_rel),
        RelNode::RecursiveUnion { base, step, .. } => {
            strip_rel(base);
            strip_rel(step);
        }
        RelNode::Insert { insert, source } => {
            strip_rel(source);
            if let Some(update) = insert.on_conflict.as_mut().and_then(|it| it.update.as_mut()) {
                strip_all(update.assignments.iter_mut().map(|(_, value)| value).chain(&mut update.filter));
            }
            strip_all(insert.returning.iter_mut().flatten());
        }
        RelNode::Update { update, source } => {
            strip_rel(source);
            strip_all(update.assignments.iter_mut().map(|(_, value)| value));
            strip_all(update.returning.iter_mut().flatten());
        }
        RelNode::Delete { delete, source } => {
            strip_rel(source);
            strip_all(delete.returning.iter_mut().flatten());
        }
        RelNode::Merge { merge, source } => {
            strip_rel(source);
            merge.whens.iter_mut().for_each(|when| when.for_each_expr_mut(&mut |expr| strip_all([expr])));
        }
    }
}
