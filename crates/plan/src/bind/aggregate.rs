//! Aggregates and what grouping makes of a SELECT's expressions.
//!
//! Every expression of the SELECT is bound over the ungrouped rows first. Then [`Grouping::rewrite`] looks, from the
//! top down, for subexpressions that are group expressions, and puts the group's column in their place. Arguments of
//! subqueries are children like others, so correlated subqueries see group columns too. A column that is left is an
//! error, unless its table's primary key is among the groups: then it becomes a group expression itself, which
//! changes no group.

use std::iter::successors;

use builtins::{AggregateKind, CallTypes};
use sqlparser::ast;
use types::{Datum, SqlError, SqlResult, SqlState, SqlType};

use super::function::argument_list;
use super::same::{same_aggregate, same_expr};
use super::select::check_equality;
use super::{AGGREGATE_BASE, Binder, Clause, GROUP_BASE, GROUPING_BASE, SET_BASE, WINDOW_BASE};
use crate::expr::{AggregateCall, Expr, SortKey, SubqueryKind};
use crate::logical::{Rel, RelNode};
use crate::plan::PlanColumn;
use crate::scope::{Level, Place, Scope};

/// Positions from here on stand for the markers that GROUPING reads.
const MARKER_BASE: usize = GROUP_BASE + (1 << 32);
/// CUBE of more would be a million grouping sets.
const GROUPING_SETS_MAX: usize = 4096;

impl Binder<'_> {
    /// An aggregate call belongs to the nearest query whose columns it mentions, or else to the one it stands in.
    /// There it is computed; the subqueries in between are given its value as they are given columns.
    pub(super) fn aggregate(&mut self, name: &str, function: &ast::Function, scope: &Scope<'_>) -> SqlResult<Expr> {
        let slots = slot_counts(scope.level);
        let call = self.aggregate_call(name, function, scope)?;
        self.placed_aggregate(call, &slots, scope)
    }

    /// The value of an aggregate call, computed where it belongs.
    pub(super) fn placed_aggregate(
        &mut self,
        mut call: AggregateCall,
        slots: &[usize],
        scope: &Scope<'_>,
    ) -> SqlResult<Expr> {
        let crossed = lift(&mut call, scope.level, slots);
        let refused = |message: String| Err(SqlError::new(SqlState::GroupingError, message));
        let owner = match crossed.last().map(|level| level.place) {
            None => self.frame()?,
            Some(Place::Expression(frame)) => self
                .frames
                .get_mut(frame)
                .ok_or_else(|| SqlError::internal("a subquery stands in no query"))?,
            Some(Place::LateralQuery | Place::LateralTree) => {
                return refused("aggregate functions are not allowed in FROM clause of their own query level".to_owned());
            }
            Some(Place::LateralFunction | Place::Outermost) => {
                return refused(format!("aggregate functions are not allowed in {}", Clause::FromFunction.name()));
            }
        };
        if owner.clause == Clause::AggregateArgument || call_exprs(&mut call).into_iter().any(|it| has_aggregate(it)) {
            return refused("aggregate function calls cannot be nested".to_owned());
        }
        if !owner.clause.allows_aggregates() {
            return refused(format!("aggregate functions are not allowed in {}", owner.clause.name()));
        }
        let ty = call.types.ret;
        let aggregates = &mut owner.aggregates;
        let position = aggregates.iter().position(|known| same_aggregate(known, &call)).unwrap_or_else(|| {
            aggregates.push(call);
            aggregates.len() - 1
        });
        let value = Expr::Column(AGGREGATE_BASE + position, ty);
        Ok(crossed.iter().rev().fold(value, |value, level| level.outer(value)))
    }

    /// The call with its modifiers; the same for window aggregates.
    pub(super) fn aggregate_call(
        &mut self,
        name: &str,
        function: &ast::Function,
        scope: &Scope<'_>,
    ) -> SqlResult<AggregateCall> {
        if !function.within_group.is_empty() {
            return self.ordered_set_call(name, function, scope);
        }
        let clause =
            if function.over.is_some() { self.frame()?.clause } else { Clause::AggregateArgument };
        let call = Written::of(function)?;
        let Written { distinct, order, ref list, is_star } = call;
        if list.is_empty() && name == "count" {
            return Err(SqlError::new(
                SqlState::WrongObjectType,
                "count(*) must be used to call a parameterless aggregate function",
            ));
        }
        let (args, order_by) = self.in_clause(clause, |binder| {
            let args = if is_star { Vec::new() } else { binder.argument_exprs(name, list, scope)? };
            let order_by = binder.sort_keys(order, scope)?;
            Ok((args, order_by))
        })?;
        let types: Vec<Option<SqlType>> = args.iter().map(|arg| self.known_type(arg)).collect();
        let resolved = builtins::resolve_aggregate(name, &types)
            .map_err(|error| self.no_function(name, &args, error))?;
        // ORDER BY beside DISTINCT knows the arguments as they were written.
        let written: Vec<Expr> = match distinct && !order_by.is_empty() {
            true => args.iter().filter(|arg| self.known_type(arg).is_some()).cloned().collect(),
            false => Vec::new(),
        };
        let args = args
            .into_iter()
            .zip(&resolved.args)
            .map(|(arg, ty)| self.aggregate_argument(arg, *ty))
            .collect::<SqlResult<Vec<_>>>()?;
        let filter = self.aggregate_filter(function, scope)?;
        if resolved.chosen.kind != AggregateKind::Plain {
            let message = format!("WITHIN GROUP is required for ordered-set aggregate {name}");
            return Err(SqlError::new(SqlState::WrongObjectType, message));
        }
        let types = CallTypes { args: resolved.args, ret: resolved.ret };
        let bound = AggregateCall { aggregate: resolved.chosen, types, args, distinct, filter, order_by };
        self.finished_aggregate(bound, &call, &written)
    }

    pub(super) fn aggregate_filter(&mut self, function: &ast::Function, scope: &Scope<'_>) -> SqlResult<Option<Expr>> {
        match &function.filter {
            Some(filter) => self.in_clause(Clause::Filter, |binder| binder.boolean(filter, scope, "FILTER")).map(Some),
            None => Ok(None),
        }
    }

    /// A call with its DISTINCT checked; `known`: its arguments as they were written.
    pub(super) fn finished_aggregate(
        &self,
        call: AggregateCall,
        written: &Written<'_>,
        known: &[Expr],
    ) -> SqlResult<AggregateCall> {
        if written.distinct {
            call.args.iter().try_for_each(|arg| check_equality(arg.ty()))?;
            let is_argument = |key: &SortKey| call.args.iter().chain(known).any(|arg| same_expr(arg, &key.expr));
            if !call.order_by.iter().all(is_argument) {
                return Err(SqlError::new(
                    SqlState::InvalidColumnReference,
                    "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list",
                ));
            }
        }
        Ok(AggregateCall { distinct: written.distinct, ..call })
    }

    /// ORDER BY over a scope, without the output names that a SELECT's own ORDER BY knows.
    pub(super) fn sort_keys(&mut self, keys: &[ast::OrderByExpr], scope: &Scope<'_>) -> SqlResult<Vec<SortKey>> {
        keys.iter()
            .map(|key| {
                let expr = self.settled(&key.expr, scope)?;
                self.sort_key(expr, &key.options)
            })
            .collect()
    }

    pub(super) fn sort_key(&mut self, expr: Expr, options: &ast::OrderByOptions) -> SqlResult<SortKey> {
        let descending = match &options.sort {
            None | Some(ast::OrderBySort::Asc) => false,
            Some(ast::OrderBySort::Desc) => true,
            Some(ast::OrderBySort::Using(operator)) => {
                return self.sort_by_operator(expr, &operator.to_string(), options.nulls_first);
            },
        };
        ordered(&expr)?;
        let nulls_first = options.nulls_first.unwrap_or(descending);
        Ok(SortKey { expr, descending, nulls_first })
    }

    fn sort_by_operator(&mut self, expr: Expr, operator: &str, nulls_first: Option<bool>) -> SqlResult<SortKey> {
        ordered(&expr)?;
        let descending = if operator.contains('>') {
            true
        } else if operator.contains('<') {
            false
        } else {
            return Err(SqlError::new(
                SqlState::WrongObjectType,
                format!("operator {operator} is not a valid ordering operator"),
            ));
        };
        Ok(SortKey { expr, descending, nulls_first: nulls_first.unwrap_or(descending) })
    }

    /// `GROUPING(a, b)`: a bit for each argument, set where the row's grouping set leaves it out.
    pub(super) fn grouping(&mut self, function: &ast::Function, scope: &Scope<'_>) -> SqlResult<Expr> {
        if !self.frame()?.clause.allows_aggregates() {
            let clause = self.frame()?.clause.name();
            return Err(SqlError::new(
                SqlState::GroupingError,
                format!("grouping operations are not allowed in {clause}"),
            ));
        }
        let args = self.arguments("grouping", function, scope)?;
        if args.is_empty() || args.len() > 31 {
            return Err(SqlError::new(SqlState::TooManyArguments, "GROUPING must have fewer than 32 arguments"));
        }
        let groupings = &mut self.frame()?.groupings;
        groupings.push(args);
        Ok(Expr::Column(GROUPING_BASE + groupings.len() - 1, SqlType::Int4))
    }
}

/// What stands between the parentheses of an aggregate call.
pub(super) struct Written<'f> {
    pub distinct: bool,
    pub order: &'f [ast::OrderByExpr],
    pub list: Vec<&'f ast::FunctionArg>,
    /// `*` for all of it.
    pub is_star: bool,
}

impl<'f> Written<'f> {
    /// # Errors
    /// 0A000 for clauses that no aggregate has here.
    pub fn of(function: &'f ast::Function) -> SqlResult<Self> {
        let mut distinct = false;
        let mut order: &[ast::OrderByExpr] = &[];
        if let ast::FunctionArguments::List(list) = &function.args {
            distinct = list.duplicate_treatment == Some(ast::DuplicateTreatment::Distinct);
            for clause in &list.clauses {
                match clause {
                    ast::FunctionArgumentClause::OrderBy(keys) => order = keys,
                    other => {
                        return Err(SqlError::not_supported(format!("{other} is not supported in an aggregate call")));
                    }
                }
            }
        }
        let list = argument_list(function)?;
        let is_star = matches!(list.as_slice(), [ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Wildcard)]);
        if is_star && distinct {
            return Err(SqlError::new(SqlState::SyntaxError, "syntax error at or near \"*\""));
        }
        Ok(Self { distinct, order, list, is_star })
    }
}

/// How many outer values each level takes, from this one outwards.
pub(super) fn slot_counts(level: &Level<'_>) -> Vec<usize> {
    let levels = successors(Some(level), |level| level.parent.map(|parent| parent.level));
    levels.map(|level| level.slots.borrow().len()).collect()
}

fn call_exprs(call: &mut AggregateCall) -> Vec<&mut Expr> {
    let order = call.order_by.iter_mut().map(|key| &mut key.expr);
    call.args.iter_mut().chain(&mut call.filter).chain(order).collect()
}

pub(super) fn has_aggregate(expr: &Expr) -> bool {
    expr.any(&mut |it| matches!(it, Expr::Column(at, _) if (AGGREGATE_BASE..WINDOW_BASE).contains(at)))
}

/// Moves a call outwards while it mentions outer values alone; the levels it leaves. They forget the slots that were
/// taken for it: `slots` is how many each had before.
fn lift<'l, 's>(call: &mut AggregateCall, level: &'l Level<'s>, slots: &[usize]) -> Vec<&'l Level<'s>> {
    let mut crossed = Vec::new();
    let mut here = level;
    loop {
        let (mut is_local, mut is_outer) = (false, false);
        for expr in call_exprs(call) {
            is_local |= expr.any(&mut |it| matches!(it, Expr::Column(..)));
            is_outer |= expr.any(&mut |it| matches!(it, Expr::Outer(..)));
        }
        let Some(parent) = here.parent.filter(|_| is_outer && !is_local) else { return crossed };
        let mut values = here.slots.borrow_mut();
        call_exprs(call).into_iter().for_each(|expr| replace_outer(expr, &values));
        values.truncate(slots.get(crossed.len()).copied().unwrap_or(0));
        drop(values);
        crossed.push(here);
        here = parent.level;
    }
}

/// Puts the values of the outer slots in their place.
fn replace_outer(expr: &mut Expr, values: &[Expr]) {
    if let Expr::Outer(slot, _) = expr {
        *expr = values[*slot].clone();
        return;
    }
    expr.for_each_child_mut(&mut |child| replace_outer(child, values));
}

pub(super) fn ordered(expr: &Expr) -> SqlResult<()> {
    let ty = expr.ty();
    if ty.is_row() || ty.is_ordered() {
        return Ok(());
    }
    Err(SqlError::new(
        SqlState::UndefinedFunction,
        format!("could not identify an ordering operator for type {}", ty.base_name()),
    )
    .with_hint("Use an explicit ordering operator or modify the query."))
}

/// GROUP BY as it was bound, and the rewriting of expressions above it.
#[derive(Debug, Default)]
pub(super) struct Grouping {
    pub groups: Vec<Expr>,
    pub sets: Option<Vec<Vec<usize>>>,
    /// The groups that GROUPING asks about.
    markers: Vec<usize>,
    /// The arguments of GROUPING calls, by their placeholders.
    pub calls: Vec<Vec<Expr>>,
}

impl Grouping {
    /// The group for an expression, added unless it is there.
    pub fn group(&mut self, expr: Expr) -> usize {
        self.groups.iter().position(|known| same_expr(known, &expr)).unwrap_or_else(|| {
            self.groups.push(expr);
            self.groups.len() - 1
        })
    }

    /// Combines another item of GROUP BY: every set so far with every set of the item.
    pub fn cross(&mut self, item: &[Vec<usize>]) -> SqlResult<()> {
        let before = self.sets.take().unwrap_or_else(|| vec![Vec::new()]);
        if before.len() * item.len() > GROUPING_SETS_MAX {
            return Err(SqlError::new(
                SqlState::StatementTooComplex,
                format!("too many grouping sets present (maximum {GROUPING_SETS_MAX})"),
            ));
        }
        let mut sets = Vec::with_capacity(before.len() * item.len());
        for left in &before {
            for right in item {
                let mut set = left.clone();
                set.extend(right.iter().filter(|group| !left.contains(group)));
                set.sort_unstable();
                set.dedup();
                sets.push(set);
            }
        }
        self.sets = Some(sets);
        Ok(())
    }

    /// Puts group columns in place of group expressions.
    ///
    /// # Errors
    /// 42803 for a column that is not grouped.
    pub fn rewrite(&mut self, expr: &mut Expr, scope: &Scope<'_>) -> SqlResult<()> {
        self.rewrite_at(expr, false, scope)
    }

    /// `is_inside`: a subquery asks for the value.
    fn rewrite_at(&mut self, expr: &mut Expr, is_inside: bool, scope: &Scope<'_>) -> SqlResult<()> {
        if !matches!(expr, Expr::Const(..) | Expr::Param(..)) {
            if let Some(group) = self.groups.iter().position(|known| same_expr(known, expr)) {
                *expr = Expr::Column(GROUP_BASE + group, expr.ty());
                return Ok(());
            }
        }
        if let Expr::Column(position, ty) = expr {
            let (position, ty) = (*position, *ty);
            if (GROUPING_BASE..GROUP_BASE).contains(&position) {
                *expr = self.grouping_value(position - GROUPING_BASE)?;
                return Ok(());
            }
            if position >= AGGREGATE_BASE {
                return Ok(());
            }
            if self.sets.is_none() && self.depends_on_group(position, scope) {
                self.groups.push(Expr::Column(position, ty));
                *expr = Expr::Column(GROUP_BASE + self.groups.len() - 1, ty);
                return Ok(());
            }
            let name = scope.describe(position);
            return Err(SqlError::new(
                SqlState::GroupingError,
                if is_inside {
                    format!("subquery uses ungrouped column \"{name}\" from outer query")
                } else {
                    format!("column \"{name}\" must appear in the GROUP BY clause or be used in an aggregate function")
                },
            ));
        }
        if let Expr::Subquery(subquery) = expr {
            if let SubqueryKind::Quantified { left, .. } = &mut subquery.kind {
                left.iter_mut().try_for_each(|it| self.rewrite_at(it, is_inside, scope))?;
            }
            return subquery.arguments.iter_mut().try_for_each(|it| self.rewrite_at(it, true, scope));
        }
        let mut failed = None;
        expr.for_each_child_mut(&mut |child| {
            if failed.is_none() {
                failed = self.rewrite_at(child, is_inside, scope).err();
            }
        });
        failed.map_or(Ok(()), Err)
    }

    /// Whether the column's table has its whole declared primary key among the groups.
    fn depends_on_group(&self, position: usize, scope: &Scope<'_>) -> bool {
        scope.ranges.iter().any(|range| {
            let Some((table, first)) = &range.table else { return false };
            if !(*first..first + table.columns.len()).contains(&position) || !table.has_declared_primary_key() {
                return false;
            }
            let mut keys = table.key_positions(table.primary());
            keys.all(|key| {
                self.groups.iter().any(|group| matches!(group, Expr::Column(at, _) if *at == first + key))
            })
        })
    }

    fn grouping_value(&mut self, call: usize) -> SqlResult<Expr> {
        let args = self.calls[call].clone();
        let mut bits = Vec::with_capacity(args.len());
        for arg in &args {
            let group = self.groups.iter().position(|known| same_expr(known, arg)).ok_or_else(|| {
                SqlError::new(
                    SqlState::GroupingError,
                    "arguments to GROUPING must be grouping expressions of the associated query level",
                )
            })?;
            let marker = self.markers.iter().position(|known| *known == group).unwrap_or_else(|| {
                self.markers.push(group);
                self.markers.len() - 1
            });
            bits.push(Expr::IsNull(Box::new(Expr::Column(MARKER_BASE + marker, SqlType::Bool))));
        }
        let int = |value: i64| Expr::Const(Datum::Int(value), SqlType::Int4);
        let count = bits.len();
        let weighted = bits.into_iter().enumerate().map(|(at, bit)| Expr::Case {
            operand: None,
            branches: vec![(bit, int(1 << (count - 1 - at)))],
            otherwise: Some(Box::new(int(0))),
            ty: SqlType::Int4,
        });
        let add = builtins::resolve_binary_operator("+", Some(SqlType::Int4), Some(SqlType::Int4))
            .map_err(|_| SqlError::internal("there is no addition of integers"))?;
        let types = CallTypes { args: add.args.clone(), ret: add.ret };
        weighted
            .reduce(|left, right| Expr::Call {
                builtin: &add.chosen.function,
                types: types.clone(),
                args: vec![left, right],
            })
            .ok_or_else(|| SqlError::internal("GROUPING without arguments"))
    }

    /// Turns the placeholders of [`Grouping::rewrite`] into the positions of the Aggregate node's columns.
    pub fn finish(&self, expr: &mut Expr) {
        if let Expr::Column(position, _) = expr {
            let groups = self.groups.len();
            *position = match *position {
                at if at >= MARKER_BASE => groups + (at - MARKER_BASE),
                at if at >= GROUP_BASE => at - GROUP_BASE,
                at if (AGGREGATE_BASE..WINDOW_BASE).contains(&at) => groups + self.markers.len() + (at - AGGREGATE_BASE),
                at => {
                    debug_assert!((WINDOW_BASE..GROUPING_BASE).contains(&at) && SET_BASE > WINDOW_BASE);
                    at
                }
            };
        }
        expr.for_each_child_mut(&mut |child| self.finish(child));
    }

    /// The node, once everything above was rewritten.
    pub fn into_rel(mut self, input: Rel, aggregates: Vec<AggregateCall>) -> Rel {
        let group_count = self.groups.len();
        if let Some(sets) = &mut self.sets {
            for (at, group) in self.markers.iter().enumerate() {
                for set in sets.iter_mut().filter(|set| set.contains(group)) {
                    set.push(group_count + at);
                }
            }
        }
        let marker = Expr::Const(Datum::Bool(true), SqlType::Bool);
        self.groups.extend(self.markers.iter().map(|_| marker.clone()));
        let column = |name: &str, ty| PlanColumn { name: name.to_owned(), ty, table_oid: 0, attribute: 0 };
        let groups = self.groups.iter().map(|group| match group {
            Expr::Column(position, _) => input.columns[*position].clone(),
            other => column("group", other.ty()),
        });
        let calls = aggregates.iter().map(|call| column(call.aggregate.signature.name, call.types.ret));
        let columns = groups.chain(calls).collect();
        let node = RelNode::Aggregate { input: Box::new(input), groups: self.groups, aggregates, sets: self.sets };
        Rel { node, columns }
    }
}
