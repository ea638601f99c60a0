//! Aggregate calls WITHIN GROUP: see `builtins` for what their arguments are.

use builtins::{AggregateKind, CallTypes, ResolveError};
use sqlparser::ast;
use types::{CastContext, Datum, SqlError, SqlResult, SqlState, SqlType};

use super::aggregate::ordered;
use super::function::argument_list;
use super::same::same_expr;
use super::{Binder, Clause};
use crate::expr::{AggregateCall, Expr, SortKey};
use crate::scope::Scope;

impl AggregateCall {
    /// The arguments that are the same for all rows of a group.
    pub(super) fn direct_args(&self) -> &[Expr] {
        match self.aggregate.kind {
            AggregateKind::Plain => &[],
            AggregateKind::OrderedSet { direct } => &self.args[..direct],
            AggregateKind::Hypothetical => &self.args[1 + (self.args.len() - 1) / 2..],
        }
    }

    /// The argument that an ORDER BY key is: it is evaluated once for both.
    #[must_use]
    pub fn argument_of_key(&self, at: usize) -> Option<usize> {
        match self.aggregate.kind {
            AggregateKind::Plain => {
                let key = self.order_by.get(at)?;
                self.args.iter().position(|arg| same_expr(arg, &key.expr))
            }
            AggregateKind::OrderedSet { direct } => Some(direct + at),
            AggregateKind::Hypothetical => Some(1 + at),
        }
    }

    /// What an ordered set without rows is still given: its direct arguments, and NULLs to sort. `None` where there is
    /// nothing to give.
    #[must_use]
    pub fn without_rows(&self) -> Option<Self> {
        let AggregateKind::OrderedSet { direct: direct @ 1.. } = self.aggregate.kind else { return None };
        if !self.args[..direct].iter().all(|arg| arg.columns_used().is_empty()) {
            return None;
        }
        let mut call = Self { filter: None, ..self.clone() };
        let keys = call.order_by.iter_mut().map(|key| &mut key.expr);
        for expr in call.args[direct..].iter_mut().chain(keys) {
            *expr = Expr::Const(Datum::Null, expr.ty());
        }
        Some(call)
    }

    /// # Errors
    /// 42803 for a direct argument over a column that is not grouped.
    pub(super) fn check_direct_args(&self, groups: &[Expr], scope: &Scope<'_>) -> SqlResult<()> {
        for arg in self.direct_args() {
            let mut ungrouped = None;
            find_ungrouped(arg, groups, &mut ungrouped);
            if let Some(position) = ungrouped {
                let name = scope.describe(position);
                let message =
                    format!("column \"{name}\" must appear in the GROUP BY clause or be used in an aggregate function");
                let detail = "Direct arguments of an ordered-set aggregate must use only grouped columns.";
                return Err(SqlError::new(SqlState::GroupingError, message).with_detail(detail));
            }
        }
        Ok(())
    }
}

fn find_ungrouped(expr: &Expr, groups: &[Expr], found: &mut Option<usize>) {
    if found.is_some() || groups.iter().any(|group| same_expr(group, expr)) {
        return;
    }
    if let Expr::Column(position, _) = expr {
        *found = Some(*position);
    }
    expr.for_each_child(&mut |child| find_ungrouped(child, groups, found));
}

impl Binder<'_> {
    pub(super) fn ordered_set_call(
        &mut self,
        name: &str,
        function: &ast::Function,
        scope: &Scope<'_>,
    ) -> SqlResult<AggregateCall> {
        if let ast::FunctionArguments::List(list) = &function.args {
            if list.duplicate_treatment == Some(ast::DuplicateTreatment::Distinct) {
                return Err(SqlError::new(SqlState::SyntaxError, "cannot use DISTINCT with WITHIN GROUP"));
            }
            if !list.clauses.is_empty() {
                let message = "cannot use multiple ORDER BY clauses with WITHIN GROUP";
                return Err(SqlError::new(SqlState::SyntaxError, message));
            }
        }
        let list = argument_list(function)?;
        let (direct, keys) = self.in_clause(Clause::AggregateArgument, |binder| {
            let direct = binder.argument_exprs(name, &list, scope)?;
            let keys: Vec<Expr> =
                function.within_group.iter().map(|key| binder.expr(&key.expr, scope)).collect::<SqlResult<_>>()?;
            Ok((direct, keys))
        })?;
        let mut call = match builtins::hypothetical_aggregate(name) {
            Some(aggregate) => self.hypothetical(aggregate, direct, keys, &function.within_group)?,
            None => self.ordered_set(name, direct, keys, &function.within_group)?,
        };
        if let Some(filter) = &function.filter {
            call.filter = Some(self.in_clause(Clause::Filter, |binder| binder.boolean(filter, scope, "FILTER"))?);
        }
        Ok(call)
    }

    /// A call WITHIN GROUP of what is no aggregate.
    pub(super) fn ordered_call(&mut self, name: &str, function: &ast::Function, scope: &Scope<'_>) -> SqlResult<Expr> {
        let list = argument_list(function)?;
        let mut args = self.argument_exprs(name, &list, scope)?;
        for key in &function.within_group {
            args.push(self.expr(&key.expr, scope)?);
        }
        self.resolve_call(name, &args)?;
        let message = format!("WITHIN GROUP specified, but {name} is not an aggregate function");
        Err(SqlError::new(SqlState::WrongObjectType, message))
    }

    fn ordered_set(
        &mut self,
        name: &str,
        direct: Vec<Expr>,
        keys: Vec<Expr>,
        order: &[ast::OrderByExpr],
    ) -> SqlResult<AggregateCall> {
        let direct_count = direct.len();
        let args: Vec<Expr> = direct.into_iter().chain(keys).collect();
        let types: Vec<Option<SqlType>> = args.iter().map(|arg| self.known_type(arg)).collect();
        let resolved =
            builtins::resolve_aggregate(name, &types).map_err(|error| self.no_function(name, &args, error))?;
        match resolved.chosen.kind {
            AggregateKind::OrderedSet { direct } if direct == direct_count => {}
            AggregateKind::Plain => {
                let message = format!("{name} is not an ordered-set aggregate, so it cannot have WITHIN GROUP");
                return Err(SqlError::new(SqlState::WrongObjectType, message));
            }
            AggregateKind::OrderedSet { .. } | AggregateKind::Hypothetical => {
                return Err(self.no_function(name, &args, ResolveError::None));
            }
        }
        let args = args.into_iter().zip(&resolved.args).map(|(arg, ty)| {
            let arg = self.coerce(arg, *ty, CastContext::Implicit)?;
            self.settle_text(arg)
        });
        let args = args.collect::<SqlResult<Vec<_>>>()?;
        let keys = args[direct_count..].to_vec().into_iter().zip(order);
        let order_by = keys.map(|(key, order)| self.sort_key(key, &order.options)).collect::<SqlResult<_>>()?;
        let types = CallTypes { args: resolved.args, ret: resolved.ret };
        Ok(AggregateCall { aggregate: resolved.chosen, types, args, distinct: false, filter: None, order_by })
    }

    fn hypothetical(
        &mut self,
        aggregate: &'static builtins::Aggregate,
        direct: Vec<Expr>,
        keys: Vec<Expr>,
        order: &[ast::OrderByExpr],
    ) -> SqlResult<AggregateCall> {
        let name = aggregate.signature.name;
        if direct.len() != keys.len() {
            let hint = format!(
                "To use the hypothetical-set aggregate {name}, the number of hypothetical direct arguments (here {}) must \
                 match the number of ordering columns (here {}).",
                direct.len(),
                keys.len()
            );
            let args: Vec<Expr> = direct.into_iter().chain(keys).collect();
            return Err(self.no_function(name, &args, ResolveError::None).with_hint(hint));
        }
        let (mut rows, mut wanted) = (Vec::with_capacity(keys.len()), Vec::with_capacity(keys.len()));
        for (key, direct) in keys.into_iter().zip(direct) {
            let (pair, _) = self.unify(vec![key, direct], "WITHIN GROUP")?;
            let mut pair = pair.into_iter();
            rows.extend(pair.next());
            wanted.extend(pair.next());
        }
        let order_by: Vec<SortKey> =
            rows.iter().zip(order).map(|(key, order)| self.sort_key(key.clone(), &order.options)).collect::<SqlResult<_>>()?;
        rows.iter().try_for_each(ordered)?;
        let flags = order_by.iter().map(|key| builtins::key_flags(key.descending, key.nulls_first));
        let mut args = vec![Expr::Const(Datum::text(flags.collect::<String>()), SqlType::Text)];
        args.extend(rows.into_iter().chain(wanted));
        let types = args.iter().map(Expr::ty).collect();
        // The others count rows, whatever their order.
        let order_by = if name == "dense_rank" { order_by } else { Vec::new() };
        let ret = match aggregate.signature.ret {
            builtins::RetType::T(ty) => ty,
            _ => return Err(SqlError::internal("a hypothetical place has no type")),
        };
        let types = CallTypes { args: types, ret };
        Ok(AggregateCall { aggregate, types, args, distinct: false, filter: None, order_by })
    }
}
