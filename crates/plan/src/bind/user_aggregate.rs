//! Calls of aggregates by users.
//!
//! Such a call is two expressions: an aggregate that collects the rows of a group ([`builtins::collected_rows`]), with the
//! call's DISTINCT, ORDER BY, FILTER and window; and a call of the aggregate's routine over them, which runs its functions
//! where expressions call routines. So grouping, windows and subqueries know nothing of aggregates by users.

use builtins::{CallTypes, ResolveError};
use catalog::{Routine, RoutineKind};
use sqlparser::ast;
use types::{CastContext, SqlError, SqlResult, SqlState, SqlType};

use super::aggregate::{Written, slot_counts};
use super::function::is_special;
use super::routine::{Named, Resolution};
use super::{Binder, Clause};
use crate::expr::{AggregateCall, Expr, RoutineCall};
use crate::scope::Scope;

fn wrong(message: String) -> SqlError {
    SqlError::new(SqlState::WrongObjectType, message)
}

/// What only aggregates may have is said of a plain function.
fn refuse_modifiers(name: &str, function: &ast::Function, written: &Written<'_>) -> SqlResult<()> {
    let what = match () {
        () if written.is_star => return Err(wrong(format!("{name}(*) specified, but {name} is not an aggregate function"))),
        () if written.distinct => "DISTINCT",
        () if !function.within_group.is_empty() => "WITHIN GROUP",
        () if !written.order.is_empty() => "ORDER BY",
        () if function.filter.is_some() => "FILTER",
        () if function.over.is_some() => {
            let message = format!("OVER specified, but {name} is not a window function nor an aggregate function");
            return Err(wrong(message));
        }
        () => return Ok(()),
    };
    Err(wrong(format!("{what} specified, but {name} is not an aggregate function")))
}

impl Binder<'_> {
    /// A call by a name that aggregates by users have; `None` where a builtin is meant.
    pub(super) fn user_aggregate(
        &mut self,
        found: &Named,
        parts: &[String],
        function: &ast::Function,
        scope: &Scope<'_>,
    ) -> SqlResult<Option<Expr>> {
        let slots = slot_counts(scope.level);
        let name = parts.join(".");
        let written = Written::of(function)?;
        let clause = if function.over.is_some() { Clause::WindowDefinition } else { Clause::AggregateArgument };
        let args = match written.is_star {
            true => Vec::new(),
            false => self.in_clause(clause, |binder| binder.call_arguments(&written.list, scope))?,
        };
        let has_names = args.iter().any(|arg| arg.name.is_some());
        let call = match self.resolve_routine(found, parts, args, RoutineKind::Function)? {
            Resolution::Builtin(args) => {
                let bare = parts.last().map_or("", String::as_str);
                let is_builtin = !builtins::functions(bare).is_empty()
                    || !builtins::aggregates(bare).is_empty()
                    || is_special(bare)
                    || SqlType::lookup(bare).is_some();
                return if is_builtin { Ok(None) } else { Err(self.no_function(&name, &args, ResolveError::None)) };
            }
            Resolution::Routine(call) => call,
        };
        if call.routine.aggregate.is_none() {
            refuse_modifiers(&name, function, &written)?;
            // Its arguments are no aggregate's.
            let args = self.call_arguments(&written.list, scope)?;
            return match self.resolve_routine(found, parts, args, RoutineKind::Function)? {
                Resolution::Routine(call) => self.routine_value(call).map(Some),
                Resolution::Builtin(_) => Ok(None),
            };
        }
        if !function.within_group.is_empty() {
            return Err(wrong(format!("{name} is not an ordered-set aggregate, so it cannot have WITHIN GROUP")));
        }
        if written.list.is_empty() {
            return Err(wrong(format!("{name}(*) must be used to call a parameterless aggregate function")));
        }
        if has_names {
            return Err(SqlError::not_supported("aggregates cannot use named arguments"));
        }
        let order_by = self.in_clause(clause, |binder| binder.sort_keys(written.order, scope))?;
        let RoutineCall { routine, types, args } = call;
        let collected = self.collected(&routine, &types)?;
        let filter = self.aggregate_filter(function, scope)?;
        let known = args.clone();
        let rows = self.finished_aggregate(AggregateCall { args, filter, order_by, ..collected }, &written, &known)?;
        let value = match function.over.is_some() {
            true => self.windowed_aggregate(&name, rows, function, scope)?,
            false => self.placed_aggregate(rows, &slots, scope)?,
        };
        Ok(Some(Expr::Routine(Box::new(RoutineCall { routine, types, args: vec![value] }))))
    }

    /// The aggregate that collects what a call of a routine takes.
    fn collected(&mut self, routine: &Routine, types: &CallTypes) -> SqlResult<AggregateCall> {
        let Some(definition) = &routine.aggregate else {
            return Err(SqlError::internal("a routine without a definition was called as an aggregate"));
        };
        // A function that is replaced is what runs next.
        definition.routines().for_each(|id| self.context.notes.uses(id));
        let steps = self.context.catalog.aggregate_steps(routine, &types.args)?;
        self.context.notes.uses_types_of(steps.state);
        let aggregate = builtins::collected_rows(steps.transition.is_strict());
        let types = CallTypes { args: types.args.clone(), ret: SqlType::RECORD.array_of() };
        Ok(AggregateCall { aggregate, types, args: Vec::new(), distinct: false, filter: None, order_by: Vec::new() })
    }

    /// An argument whose type nothing has determined is text.
    pub(super) fn aggregate_argument(&mut self, arg: Expr, ty: SqlType) -> SqlResult<Expr> {
        let arg = self.coerce(arg, ty, CastContext::Implicit)?;
        self.settle_text(arg)
    }
}
