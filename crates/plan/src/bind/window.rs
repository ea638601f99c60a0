//! Window functions: each call asks for a partitioning and an ordering; calls that ask for the same share a node.


use sqlparser::ast;
use types::{CastContext, Datum, SqlError, SqlResult, SqlState, SqlType, TypeCategory, can_cast};

use super::same::{same_keys, same_list};
use super::{Binder, Clause, SET_BASE, WINDOW_BASE, fold};
use crate::expr::{AggregateCall, Expr, SortKey};
use crate::logical::{Rel, RelNode};
use crate::parse::extras;
use crate::plan::{FrameBound, FrameExclude, FrameUnit, PlanColumn, WindowCall, WindowFrame, WindowFunction};
use crate::scope::Scope;

/// A window call as a SELECT's expressions asked for it.
#[derive(Debug)]
pub(crate) struct WindowRequest {
    pub name: String,
    pub call: WindowCall,
    pub partition_by: Vec<Expr>,
    pub order_by: Vec<SortKey>,
}

impl WindowRequest {
    /// Every expression in it.
    pub fn for_each_expr_mut(&mut self, visit: &mut dyn FnMut(&mut Expr)) {
        self.call.args.iter_mut().for_each(&mut *visit);
        if let WindowFunction::Aggregate(call) = &mut self.call.function {
            call.args.iter_mut().for_each(&mut *visit);
            call.filter.iter_mut().for_each(&mut *visit);
            call.order_by.iter_mut().for_each(|key| visit(&mut key.expr));
        }
        self.partition_by.iter_mut().for_each(&mut *visit);
        self.order_by.iter_mut().for_each(|key| visit(&mut key.expr));
    }
}

/// What aggregates have elsewhere and not over windows.
fn check_plain(call: &AggregateCall) -> SqlResult<()> {
    if call.distinct {
        return Err(SqlError::not_supported("DISTINCT is not implemented for window functions"));
    }
    if !call.order_by.is_empty() {
        return Err(SqlError::not_supported("aggregate ORDER BY is not implemented for window functions"));
    }
    Ok(())
}

pub(super) fn is_window_only(name: &str) -> bool {
    function_named(name).is_some()
}

fn function_named(name: &str) -> Option<WindowFunction> {
    Some(match name {
        "row_number" => WindowFunction::RowNumber,
        "rank" => WindowFunction::Rank,
        "dense_rank" => WindowFunction::DenseRank,
        "percent_rank" => WindowFunction::PercentRank,
        "cume_dist" => WindowFunction::CumeDist,
        "ntile" => WindowFunction::Ntile,
        "lag" => WindowFunction::Lag,
        "lead" => WindowFunction::Lead,
        "first_value" => WindowFunction::FirstValue,
        "last_value" => WindowFunction::LastValue,
        "nth_value" => WindowFunction::NthValue,
        _ => return None,
    })
}

impl Binder<'_> {
    pub(super) fn window_function(
        &mut self,
        name: &str,
        function: &ast::Function,
        scope: &Scope<'_>,
    ) -> SqlResult<Expr> {
        self.check_window_allowed()?;
        let is_within = |it: &&builtins::Aggregate| it.kind != builtins::AggregateKind::Plain;
        if !function.within_group.is_empty() || builtins::aggregates(name).iter().any(is_within) {
            let message = format!("OVER is not supported for ordered-set aggregate {name}");
            return Err(SqlError::not_supported(message));
        }
        let (partition_by, order_by, frame) = self.window_of(function, scope)?;
        let (function, args, ty) = if builtins::aggregates(name).is_empty() {
            let Some(which) = function_named(name) else {
                return Err(SqlError::new(
                    SqlState::WrongObjectType,
                    format!("OVER specified, but {name} is not a window function nor an aggregate function"),
                ));
            };
            if function.filter.is_some() {
                return Err(SqlError::not_supported("FILTER is not implemented for non-aggregate window functions"));
            }
            let args = self.in_clause(Clause::WindowDefinition, |binder| binder.arguments(name, function, scope))?;
            let (args, ty) = self.window_arguments(name, &which, args)?;
            (which, args, ty)
        } else {
            let call =
                self.in_clause(Clause::WindowDefinition, |binder| binder.aggregate_call(name, function, scope))?;
            check_plain(&call)?;
            let ty = call.types.ret;
            (WindowFunction::Aggregate(call), Vec::new(), ty)
        };
        self.window_request(name, WindowCall { function, args, ty, frame }, partition_by, order_by)
    }

    /// An aggregate call that is bound already, over the window of its function.
    pub(super) fn windowed_aggregate(
        &mut self,
        name: &str,
        call: AggregateCall,
        function: &ast::Function,
        scope: &Scope<'_>,
    ) -> SqlResult<Expr> {
        self.check_window_allowed()?;
        let (partition_by, order_by, frame) = self.window_of(function, scope)?;
        check_plain(&call)?;
        let ty = call.types.ret;
        let call = WindowCall { function: WindowFunction::Aggregate(call), args: Vec::new(), ty, frame };
        self.window_request(name, call, partition_by, order_by)
    }

    fn window_request(
        &mut self,
        name: &str,
        call: WindowCall,
        partition_by: Vec<Expr>,
        order_by: Vec<SortKey>,
    ) -> SqlResult<Expr> {
        let ty = call.ty;
        let windows = &mut self.frame()?.windows;
        windows.push(WindowRequest { name: name.to_owned(), call, partition_by, order_by });
        Ok(Expr::Column(WINDOW_BASE + windows.len() - 1, ty))
    }

    fn check_window_allowed(&mut self) -> SqlResult<()> {
        let clause = self.frame()?.clause;
        if matches!(clause, Clause::WindowDefinition) {
            return Err(SqlError::new(SqlState::WindowingError, "window functions are not allowed in window definitions"));
        }
        if !clause.allows_windows() {
            return Err(match clause {
                Clause::AggregateArgument => {
                    let message = "aggregate function calls cannot contain window function calls";
                    SqlError::new(SqlState::GroupingError, message)
                }
                other => {
                    let message = format!("window functions are not allowed in {}", other.name());
                    SqlError::new(SqlState::WindowingError, message)
                }
            });
        }
        Ok(())
    }

    #[allow(clippy::type_complexity)]
    fn window_of(
        &mut self,
        function: &ast::Function,
        scope: &Scope<'_>,
    ) -> SqlResult<(Vec<Expr>, Vec<SortKey>, Option<WindowFrame>)> {
        if function.null_treatment.is_some() {
            return Err(SqlError::not_supported("IGNORE NULLS and RESPECT NULLS are not supported"));
        }
        let Some(over) = &function.over else {
            return Err(SqlError::internal("a window function without a window"));
        };
        self.in_clause(Clause::WindowDefinition, |binder| {
            let spec = match over {
                ast::WindowType::WindowSpec(spec) => binder.merged_window(spec)?,
                ast::WindowType::NamedWindow(name) => binder.named_window(name)?,
            };
            binder.window_spec(&spec, scope)
        })
    }

    fn named_window(&mut self, name: &ast::Ident) -> SqlResult<ast::WindowSpec> {
        let name = fold(name);
        let found = self.frame()?.named_windows.iter().find(|(known, _)| *known == name).map(|(_, spec)| spec.clone());
        let spec = found.ok_or_else(|| {
            SqlError::new(SqlState::UndefinedObject, format!("window \"{name}\" does not exist"))
        })?;
        self.merged_window(&spec)
    }

    /// `OVER (w ORDER BY …)`: what `w` says and what is added.
    fn merged_window(&mut self, spec: &ast::WindowSpec) -> SqlResult<ast::WindowSpec> {
        let Some(given) = &spec.window_name else { return Ok(spec.clone()) };
        let (base, rest) = extras::read_window_name(given);
        let Some(base) = base else { return Ok(spec.clone()) };
        let name = fold(&base);
        let base = self.named_window(&base)?;
        let refuse = |what: &str| {
            Err(SqlError::new(SqlState::WindowingError, format!("cannot override {what} of window \"{name}\"")))
        };
        if !spec.partition_by.is_empty() {
            return refuse("PARTITION BY clause");
        }
        if !spec.order_by.is_empty() && !base.order_by.is_empty() {
            return refuse("ORDER BY clause");
        }
        if base.window_frame.is_some() {
            return Err(SqlError::new(
                SqlState::WindowingError,
                format!("cannot copy window \"{name}\" because it has a frame clause"),
            ));
        }
        let order_by = if spec.order_by.is_empty() { base.order_by } else { spec.order_by.clone() };
        Ok(ast::WindowSpec {
            window_name: rest,
            partition_by: base.partition_by,
            order_by,
            window_frame: spec.window_frame.clone(),
        })
    }

    #[allow(clippy::type_complexity)]
    fn window_spec(
        &mut self,
        spec: &ast::WindowSpec,
        scope: &Scope<'_>,
    ) -> SqlResult<(Vec<Expr>, Vec<SortKey>, Option<WindowFrame>)> {
        let partition_by =
            spec.partition_by.iter().map(|expr| self.settled(expr, scope)).collect::<SqlResult<Vec<_>>>()?;
        let order_by = self.sort_keys(&spec.order_by, scope)?;
        let frame = match &spec.window_frame {
            Some(frame) => {
                let exclude = spec.window_name.as_ref().map(extras::read_exclude).unwrap_or_default();
                Some(WindowFrame { exclude, ..self.window_frame(frame, &order_by, scope)? })
            }
            None => None,
        };
        Ok((partition_by, order_by, frame))
    }

    fn window_frame(
        &mut self,
        frame: &ast::WindowFrame,
        order_by: &[SortKey],
        scope: &Scope<'_>,
    ) -> SqlResult<WindowFrame> {
        use ast::WindowFrameBound as Bound;
        let unit = match frame.units {
            ast::WindowFrameUnits::Rows => FrameUnit::Rows,
            ast::WindowFrameUnits::Range => FrameUnit::Range,
            ast::WindowFrameUnits::Groups => FrameUnit::Groups,
        };
        let refuse = |message: &str| Err(SqlError::new(SqlState::WindowingError, message));
        if unit == FrameUnit::Groups && order_by.is_empty() {
            return refuse("GROUPS mode requires an ORDER BY clause");
        }
        let end = frame.end_bound.clone().unwrap_or(Bound::CurrentRow);
        match (&frame.start_bound, &end) {
            (Bound::Following(None), _) => return refuse("frame start cannot be UNBOUNDED FOLLOWING"),
            (_, Bound::Preceding(None)) => return refuse("frame end cannot be UNBOUNDED PRECEDING"),
            (Bound::CurrentRow, Bound::Preceding(_)) => {
                return refuse("frame starting from current row cannot have preceding rows");
            }
            (Bound::Following(_), Bound::Preceding(_) | Bound::CurrentRow) => {
                return refuse("frame starting from following row cannot end with current row");
            }
            _ => {}
        }
        let bound = |bound: &Bound, binder: &mut Self| -> SqlResult<FrameBound> {
            Ok(match bound {
                Bound::CurrentRow => FrameBound::CurrentRow,
                Bound::Preceding(None) => FrameBound::UnboundedPreceding,
                Bound::Following(None) => FrameBound::UnboundedFollowing,
                Bound::Preceding(Some(offset)) => {
                    FrameBound::Preceding(binder.frame_offset(offset, unit, order_by, scope)?)
                }
                Bound::Following(Some(offset)) => {
                    FrameBound::Following(binder.frame_offset(offset, unit, order_by, scope)?)
                }
            })
        };
        let start = bound(&frame.start_bound, self)?;
        let end = bound(&end, self)?;
        Ok(WindowFrame { unit, start, end, exclude: FrameExclude::NoOthers })
    }

    fn frame_offset(
        &mut self,
        offset: &ast::Expr,
        unit: FrameUnit,
        order_by: &[SortKey],
        scope: &Scope<'_>,
    ) -> SqlResult<Expr> {
        let offset = self.expr(offset, scope)?;
        if offset.any(&mut |it| matches!(it, Expr::Column(..))) {
            let unit = match unit {
                FrameUnit::Rows => "ROWS",
                FrameUnit::Range => "RANGE",
                FrameUnit::Groups => "GROUPS",
            };
            let message = format!("argument of {unit} must not contain variables");
            return Err(SqlError::new(SqlState::InvalidColumnReference, message));
        }
        if unit != FrameUnit::Range {
            return self.coerce(offset, SqlType::Int8, CastContext::Assignment);
        }
        let [key] = order_by else {
            return Err(SqlError::new(
                SqlState::WindowingError,
                "RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY column",
            ));
        };
        let key = key.expr.ty();
        let refused = format!("RANGE with offset PRECEDING/FOLLOWING is not supported for column type {}", key.base_name());
        // What the offset may be, and what it is where it runs.
        let (taken, wanted) = match key.category() {
            TypeCategory::Numeric if key.is_integer() => (SqlType::Int8, SqlType::Int8),
            TypeCategory::Numeric if key == SqlType::Float4 => (SqlType::Float8, SqlType::Float4),
            TypeCategory::Numeric => (key.without_typmod(), key.without_typmod()),
            TypeCategory::DateTime | TypeCategory::Timespan => (SqlType::Interval, SqlType::Interval),
            _ => return Err(SqlError::not_supported(refused)),
        };
        if let Some(given) = self.known_type(&offset)
            && !given.same_base(&taken)
            && can_cast(&given, &taken) != Some(CastContext::Implicit)
        {
            let message = format!("{refused} and offset type {}", given.base_name());
            return Err(SqlError::not_supported(message).with_hint("Cast the offset value to an appropriate type."));
        }
        let offset = self.coerce(offset, taken, CastContext::Implicit)?;
        self.coerce(offset, wanted, CastContext::Assignment)
    }

    /// An argument of a window function as a value of `wanted`; a type that does not fit means that there is no such function.
    fn fitting(&mut self, name: &str, args: &[Expr], arg: Expr, wanted: SqlType) -> SqlResult<Expr> {
        let fits = self
            .known_type(&arg)
            .is_none_or(|given| given.same_base(&wanted) || can_cast(&given, &wanted) == Some(CastContext::Implicit));
        if !fits {
            return Err(self.no_function(name, args, builtins::ResolveError::None));
        }
        self.coerce(arg, wanted, CastContext::Implicit)
    }

    /// A value of a type that something has determined.
    fn determined(&self, value: Expr) -> SqlResult<Expr> {
        if self.known_type(&value).is_none() { Err(super::function::indeterminate()) } else { Ok(value) }
    }

    fn window_arguments(
        &mut self,
        name: &str,
        which: &WindowFunction,
        mut args: Vec<Expr>,
    ) -> SqlResult<(Vec<Expr>, SqlType)> {
        let range = match which {
            WindowFunction::RowNumber
            | WindowFunction::Rank
            | WindowFunction::DenseRank
            | WindowFunction::PercentRank
            | WindowFunction::CumeDist => 0..=0,
            WindowFunction::Ntile | WindowFunction::FirstValue | WindowFunction::LastValue => 1..=1,
            WindowFunction::Lag | WindowFunction::Lead => 1..=3,
            WindowFunction::NthValue => 2..=2,
            WindowFunction::Aggregate(_) => return Err(SqlError::internal("an aggregate is bound elsewhere")),
        };
        if !range.contains(&args.len()) {
            return Err(self.no_function(name, &args, builtins::ResolveError::None));
        }
        let given = args.clone();
        Ok(match which {
            WindowFunction::PercentRank | WindowFunction::CumeDist => (args, SqlType::Float8),
            WindowFunction::Ntile => {
                let count = self.fitting(name, &given, args.remove(0), SqlType::Int4)?;
                (vec![count], SqlType::Int4)
            }
            WindowFunction::FirstValue | WindowFunction::LastValue | WindowFunction::NthValue => {
                let value = self.determined(args.remove(0))?;
                let ty = value.ty();
                let mut bound = vec![value];
                for count in args {
                    bound.push(self.fitting(name, &given, count, SqlType::Int4)?);
                }
                (bound, ty)
            }
            WindowFunction::Lag | WindowFunction::Lead => {
                let default = (args.len() == 3).then(|| args.pop().expect("three arguments were counted"));
                let offset = match args.len() {
                    2 => args.pop().expect("two arguments were counted"),
                    _ => Expr::Const(Datum::Int(1), SqlType::Int4),
                };
                // With a default the two determine each other.
                let value = if default.is_some() { args.remove(0) } else { self.determined(args.remove(0))? };
                let offset = self.fitting(name, &given, offset, SqlType::Int4)?;
                match default {
                    None => {
                        let ty = value.ty();
                        (vec![value, offset], ty)
                    }
                    Some(default) => {
                        let no_common = |error: SqlError| match error.code() {
                            SqlState::DatatypeMismatch | SqlState::CannotCoerce => None,
                            _ => Some(error),
                        };
                        let (both, ty) = match self.unify(vec![value, default], name) {
                            Ok(both) => both,
                            Err(error) => {
                                let missing = self.no_function(name, &given, builtins::ResolveError::None);
                                return Err(no_common(error).unwrap_or(missing));
                            }
                        };
                        let [value, default] = <[Expr; 2]>::try_from(both)
                            .map_err(|_| SqlError::internal("unify changed the number of expressions"))?;
                        (vec![value, offset, default], ty)
                    }
                }
            }
            _ => (args, SqlType::Int8),
        })
    }

}

/// Window nodes above `input` for all requests; also each request's position.
pub(super) fn window_rels(input: Rel, requests: Vec<WindowRequest>) -> (Rel, Vec<usize>) {
    let mut rel = input;
    let mut positions = vec![0; requests.len()];
    let mut rest: Vec<(usize, WindowRequest)> = requests.into_iter().enumerate().collect();
    while !rest.is_empty() {
        let first = &rest[0].1;
        let same = |it: &WindowRequest| {
            same_list(&it.partition_by, &first.partition_by) && same_keys(&it.order_by, &first.order_by)
        };
        // The first is its own, though a sequence in it is the same as no other, itself included.
        let shared: Vec<bool> = rest.iter().enumerate().map(|(at, (_, it))| at == 0 || same(it)).collect();
        let mut taken = Vec::new();
        let mut left = Vec::new();
        for (request, shared) in rest.into_iter().zip(shared) {
            if shared { taken.push(request) } else { left.push(request) }
        }
        rest = left;
        let mut columns = rel.columns.clone();
        let mut calls = Vec::with_capacity(taken.len());
        let mut window = None;
        for (at, request) in taken {
            positions[at] = columns.len();
            columns.push(PlanColumn { name: request.name, ty: request.call.ty, table_oid: 0, attribute: 0 });
            calls.push(request.call);
            window.get_or_insert((request.partition_by, request.order_by));
        }
        let (partition_by, order_by) = window.expect("the first request shares its window with itself");
        let node = RelNode::Window { input: Box::new(rel), partition_by, order_by, calls };
        rel = Rel { node, columns };
    }
    (rel, positions)
}

/// Puts positions in place of the placeholders of window functions.
pub(super) fn place_windows(expr: &mut Expr, positions: &[usize]) {
    if let Expr::Column(position, _) = expr {
        if (WINDOW_BASE..SET_BASE).contains(position) {
            *position = positions[*position - WINDOW_BASE];
        }
    }
    expr.for_each_child_mut(&mut |child| place_windows(child, positions));
}
