//! One SELECT: from rows to groups, windows, sets and outputs, in the order in which SQL evaluates them.

use std::sync::Arc;

use catalog::Table;
use sqlparser::ast;
use types::{Datum, SqlError, SqlResult, SqlState, SqlType};

use super::aggregate::{Grouping, has_aggregate};
use super::expr::{no_range, unnested};
use super::function::argument_list;
use super::names::column_name;
use super::query::{LockRequest, Locks, Outputs, computed, filter, output_position, position_literal, project, sort};
use super::row_locks::{check_locks, locked_above, refuse_locks};
use super::same::same_expr;
use super::window::{place_windows, window_rels};
use super::{Binder, Clause, Frame, GROUPING_BASE, SET_BASE, WINDOW_BASE, fold};
use crate::expr::{Expr, SortKey};
use crate::logical::{Rel, RelNode};
use crate::parse::extras::NO_OUTPUT;
use crate::plan::{FunctionCall, LockWait, PlanColumn, ProjectItem, RowLock};
use crate::scope::{Level, Scope};

/// An output column.
#[derive(Clone, Debug)]
pub(super) struct Output {
    pub name: String,
    pub expr: Expr,
}

/// Everything of a SELECT that is bound over its rows, before grouping moves it.
struct Parts {
    outputs: Vec<Output>,
    having: Option<Expr>,
    order: Vec<SortKey>,
    distinct_on: Option<Vec<Expr>>,
}

impl Parts {
    fn for_each_expr_mut(&mut self, visit: &mut dyn FnMut(&mut Expr)) {
        self.outputs.iter_mut().for_each(|output| visit(&mut output.expr));
        self.having.iter_mut().for_each(&mut *visit);
        self.order.iter_mut().for_each(|key| visit(&mut key.expr));
        self.distinct_on.iter_mut().flatten().for_each(&mut *visit);
    }
}

/// The row of `(row).*`, which the parser was given as a field named `"*"`.
fn expanded_row(expr: &ast::Expr) -> Option<ast::Expr> {
    let ast::Expr::CompoundFieldAccess { root, access_chain } = expr else { return None };
    let (last, before) = access_chain.split_last()?;
    match last {
        ast::AccessExpr::Dot(ast::Expr::Identifier(ident)) if ident.value == "*" && ident.quote_style.is_some() => {}
        _ => return None,
    }
    Some(match before {
        [] => (**root).clone(),
        before => ast::Expr::CompoundFieldAccess { root: root.clone(), access_chain: before.to_vec() },
    })
}

impl Binder<'_> {
    pub(super) fn select(
        &mut self,
        select: &ast::Select,
        order: &[ast::OrderByExpr],
        level: &Level<'_>,
        outputs: Outputs,
        locks: Locks,
    ) -> SqlResult<Rel> {
        let Locks { requests: locks, is_limited } = locks;
        refuse_foreign(select)?;
        if select.into.is_some() {
            return Err(SqlError::not_supported("SELECT INTO is not supported: use CREATE TABLE AS"));
        }
        let hands_on = self.hands_on.take();
        let outer_locks = std::mem::replace(&mut self.row_locks, locks.clone());
        let from = self.from_items(&select.from, level);
        self.row_locks = Vec::new();
        let id = self.next_id();
        self.frames.push(Frame { hands_on, ..Frame::new(id, Clause::Select) });
        let bound = from.and_then(|(mut rel, scope)| {
            check_locks(&locks, &scope)?;
            let above = locked_above(&mut rel, is_limited)?;
            self.select_over(select, order, rel, &scope, outputs, (&locks[..], above))
        });
        self.frames.pop();
        self.row_locks = outer_locks;
        bound
    }

    fn select_over(
        &mut self,
        select: &ast::Select,
        order: &[ast::OrderByExpr],
        mut rel: Rel,
        scope: &Scope<'_>,
        outputs: Outputs,
        (locks, above): (&[LockRequest], Vec<(usize, Arc<Table>, RowLock)>),
    ) -> SqlResult<Rel> {
        let mut conditions = Vec::new();
        for ast::NamedWindowDefinition(name, definition) in &select.named_window {
            let spec = match definition {
                ast::NamedWindowExpr::WindowSpec(spec) => spec.clone(),
                ast::NamedWindowExpr::NamedWindow(base) => ast::WindowSpec {
                    window_name: Some(base.clone()),
                    partition_by: Vec::new(),
                    order_by: Vec::new(),
                    window_frame: None,
                },
            };
            self.frame()?.named_windows.push((fold(name), spec));
        }
        if let Some(selection) = &select.selection {
            let predicate =
                self.in_clause(Clause::Where, |binder| binder.boolean(selection, scope, "WHERE"))?;
            if !above.is_empty() {
                conditions.push(predicate.clone());
            }
            rel = filter(rel, predicate);
        }
        let is_distinct = matches!(select.distinct, Some(ast::Distinct::Distinct | ast::Distinct::On(_)));
        let settle = outputs == Outputs::Settled || is_distinct;
        let mut bound = self.outputs(&select.projection, scope, settle)?;
        if let Some(name) = self.frame()?.hands_on.take() {
            bound.extend(added_columns(scope, &name)?);
        }
        let (mut grouping, is_grouped) = self.group_by(&select.group_by, &bound, scope)?;
        let having = match &select.having {
            Some(having) => {
                Some(self.in_clause(Clause::Having, |binder| binder.boolean(having, scope, "HAVING"))?)
            }
            None => None,
        };
        let mut keys = Vec::with_capacity(order.len());
        for item in order {
            let find = |binder: &mut Self| binder.output_or_expr(&item.expr, &bound, scope, "ORDER BY");
            let mut expr = self.in_clause(Clause::OrderBy, find)?;
            if expr.ty() == SqlType::Unknown {
                for output in bound.iter_mut().filter(|output| same_expr(&output.expr, &expr)) {
                    output.expr = self.settle_text(output.expr.clone())?;
                }
                expr = self.settle_text(expr)?;
            }
            keys.push(self.sort_key(expr, &item.options)?);
        }
        let order = keys;
        let distinct_on = match &select.distinct {
            Some(ast::Distinct::On(exprs)) => Some(
                exprs
                    .iter()
                    .map(|expr| {
                        self.in_clause(Clause::DistinctOn, |binder| {
                            binder.output_or_expr(expr, &bound, scope, "SELECT DISTINCT ON")
                        })
                    })
                    .collect::<SqlResult<Vec<_>>>()?,
            ),
            _ => None,
        };
        let mut parts = Parts { outputs: bound, having, order, distinct_on };

        let frame = self.frame()?;
        let aggregates = std::mem::take(&mut frame.aggregates);
        let mut windows = std::mem::take(&mut frame.windows);
        let window_count = windows.len();
        let mut sets = std::mem::take(&mut frame.sets);
        grouping.calls = std::mem::take(&mut frame.groupings);
        let mut dropped = std::mem::take(&mut frame.dropped);
        // An output that is NULL may be what is grouped by.
        if grouping.groups.iter().any(|group| matches!(group, Expr::Const(Datum::Null, _))) {
            dropped.clear();
        }
        let is_grouped =
            is_grouped || !aggregates.is_empty() || parts.having.is_some() || !grouping.calls.is_empty();
        if !aggregates.is_empty() && self.reads_itself(&select.from) {
            return Err(SqlError::new(
                SqlState::InvalidRecursion,
                "aggregate functions are not allowed in a recursive query's recursive term",
            ));
        }
        let has_groups = !matches!(&select.group_by, ast::GroupByExpr::Expressions(groups, _) if groups.is_empty());
        refuse_locks(locks, select, (has_groups, is_grouped), !windows.is_empty(), !sets.is_empty())?;

        if is_grouped {
            if grouping.groups.iter().any(|group| {
                group.any(&mut |it| matches!(it, Expr::Column(at, _) if (SET_BASE..GROUPING_BASE).contains(at)))
            }) {
                return Err(SqlError::not_supported("set-returning functions in GROUP BY are not supported"));
            }
            for call in &aggregates {
                let checked = call.check_direct_args(&grouping.groups, scope);
                checked.map_err(|error| self.at_ungrouped(error, select))?;
            }
            let mut failed = None;
            let mut rewrite = |expr: &mut Expr| {
                if failed.is_none() {
                    failed = grouping.rewrite(expr, scope).err();
                }
            };
            parts.for_each_expr_mut(&mut rewrite);
            dropped.iter_mut().for_each(&mut rewrite);
            windows.iter_mut().for_each(|window| window.for_each_expr_mut(&mut rewrite));
            sets.iter_mut().for_each(|set| set.args.iter_mut().for_each(&mut rewrite));
            if let Some(error) = failed {
                return Err(self.at_ungrouped(error, select));
            }
            parts.for_each_expr_mut(&mut |expr| grouping.finish(expr));
            windows.iter_mut().for_each(|window| window.for_each_expr_mut(&mut |expr| grouping.finish(expr)));
            sets.iter_mut().for_each(|set| set.args.iter_mut().for_each(|arg| grouping.finish(arg)));
            rel = grouping.into_rel(rel, aggregates);
            if let Some(having) = parts.having.take() {
                rel = filter(rel, having);
            }
        }
        if !windows.is_empty() {
            let (windowed, positions) = window_rels(rel, windows);
            rel = windowed;
            parts.for_each_expr_mut(&mut |expr| place_windows(expr, &positions));
            sets.iter_mut().for_each(|set| set.args.iter_mut().for_each(|arg| place_windows(arg, &positions)));
        }
        if !sets.is_empty() {
            let width = rel.columns.len();
            rel = project_set(rel, sets);
            parts.for_each_expr_mut(&mut |expr| place_sets(expr, width));
        }
        // WHERE, groups, HAVING, sets, locks; the outputs, DISTINCT, ORDER BY and what they need beside the outputs.
        self.above(9 + window_count)?;
        if !above.is_empty() {
            // Above the sort, or rows that are never asked for would be locked.
            if !parts.order.is_empty() {
                rel = sort(rel, std::mem::take(&mut parts.order));
            }
            let looks = above.iter().all(|(.., lock)| lock.is_above && lock.wait == LockWait::Skip);
            let columns = rel.columns.clone();
            let again = looks.then_some(conditions);
            rel = Rel { node: RelNode::LockRows { input: Box::new(rel), tables: above, again }, columns };
        }
        finish_select(rel, parts, select.distinct.as_ref())
    }

    /// The select list, stars expanded.
    pub(super) fn outputs(
        &mut self,
        items: &[ast::SelectItem],
        scope: &Scope<'_>,
        settle: bool,
    ) -> SqlResult<Vec<Output>> {
        let mut outputs = Vec::with_capacity(items.len());
        for item in items {
            match item {
                ast::SelectItem::UnnamedExpr(ast::Expr::Identifier(name)) if name.value == NO_OUTPUT => {}
                ast::SelectItem::UnnamedExpr(expr) if expanded_row(expr).is_some() => {
                    let row = expanded_row(expr).expect("was just found");
                    let row = self.expr(&row, scope)?;
                    for (name, field) in self.fields_of(row)? {
                        let expr = if settle { self.settle_text(field)? } else { field };
                        outputs.push(Output { name, expr });
                    }
                }
                ast::SelectItem::UnnamedExpr(expr) => {
                    let bound = self.declared_expr(expr, scope)?;
                    let bound = if settle { self.settle_text(bound)? } else { bound };
                    outputs.push(Output { name: column_name(expr), expr: bound });
                }
                ast::SelectItem::ExprWithAlias { expr, alias } => {
                    let bound = self.declared_expr(expr, scope)?;
                    let bound = if settle { self.settle_text(bound)? } else { bound };
                    outputs.push(Output { name: fold(alias), expr: bound });
                }
                ast::SelectItem::Wildcard(options) => {
                    plain_star(options)?;
                    if scope.ranges.is_empty() {
                        return Err(SqlError::new(
                            SqlState::SyntaxError,
                            "SELECT * with no tables specified is not valid",
                        ));
                    }
                    scope.visible.iter().for_each(|it| scope.mark(&it.expr));
                    outputs.extend(
                        scope.visible.iter().map(|it| Output { name: it.name.clone(), expr: it.expr.clone() }),
                    );
                }
                ast::SelectItem::QualifiedWildcard(
                    ast::SelectItemQualifiedWildcardKind::ObjectName(name),
                    options,
                ) => {
                    plain_star(options)?;
                    let mut parts = super::name_parts(name)?;
                    let last = parts.pop().unwrap_or_default();
                    let schema = parts.pop();
                    let Err(missing) = self.range_star(scope, schema.as_deref(), &last, &mut outputs) else {
                        continue;
                    };
                    let names: Vec<&str> = schema.as_deref().into_iter().chain([last.as_str()]).collect();
                    let record = self.variable(&names, false)?.ok_or(missing)?;
                    let fields = self.fields_of(record)?;
                    outputs.extend(fields.into_iter().map(|(name, expr)| Output { name, expr }));
                }
                ast::SelectItem::QualifiedWildcard(..) | ast::SelectItem::ExprWithAliases { .. } => {
                    return Err(SqlError::not_supported("expansion of a composite value is not supported"));
                }
            }
        }
        Ok(outputs)
    }

    fn range_star(
        &self,
        scope: &Scope<'_>,
        schema: Option<&str>,
        name: &str,
        outputs: &mut Vec<Output>,
    ) -> SqlResult<()> {
        let mut here = Some(scope);
        let mut levels: Vec<&Level<'_>> = Vec::new();
        while let Some(current) = here {
            if let Some(range) = current.range(schema, name)? {
                for column in range.columns.iter().filter(|column| !column.hidden) {
                    current.mark(&column.expr);
                    // From the level it belongs to inwards, slot by slot.
                    let expr = levels.iter().rev().fold(column.expr.clone(), |value, level| level.outer(value));
                    outputs.push(Output { name: column.name.clone(), expr });
                }
                return Ok(());
            }
            levels.push(current.level);
            here = current.level.parent;
        }
        Err(no_range(name, scope))
    }

    /// ORDER BY and DISTINCT ON: an output by name or position before an expression over the rows.
    pub(super) fn output_or_expr(
        &mut self,
        expr: &ast::Expr,
        outputs: &[Output],
        scope: &Scope<'_>,
        clause: &str,
    ) -> SqlResult<Expr> {
        if let Some(literal) = position_literal(expr) {
            let at = output_position(&literal, outputs.len(), clause)?;
            return Ok(outputs[at].expr.clone());
        }
        if let ast::Expr::Identifier(ident) = expr {
            let name = fold(ident);
            let mut named = outputs.iter().filter(|output| output.name == name);
            if let Some(first) = named.next() {
                if named.any(|other| !same_expr(&other.expr, &first.expr)) {
                    let error = SqlError::new(SqlState::AmbiguousColumn, format!("{clause} \"{name}\" is ambiguous"));
                    return Err(self.at(error, expr));
                }
                return Ok(first.expr.clone());
            }
        }
        self.settled(expr, scope)
    }

    pub(super) fn group_by(
        &mut self,
        group_by: &ast::GroupByExpr,
        outputs: &[Output],
        scope: &Scope<'_>,
    ) -> SqlResult<(Grouping, bool)> {
        let mut grouping = Grouping::default();
        let exprs = match group_by {
            ast::GroupByExpr::Expressions(exprs, modifiers) if modifiers.is_empty() => exprs,
            _ => return Err(SqlError::not_supported("this form of GROUP BY is not supported")),
        };
        let is_sets =
            |expr: &ast::Expr| matches!(expr, ast::Expr::GroupingSets(_) | ast::Expr::Cube(_) | ast::Expr::Rollup(_));
        let has_sets = exprs.iter().any(is_sets);
        for expr in exprs {
            if !has_sets {
                self.plain_groups(&mut grouping, expr, outputs, scope)?;
                continue;
            }
            let item = self.grouping_item(&mut grouping, expr, outputs, scope)?;
            grouping.cross(&item)?;
        }
        Ok((grouping, !exprs.is_empty()))
    }

    fn plain_groups(
        &mut self,
        grouping: &mut Grouping,
        expr: &ast::Expr,
        outputs: &[Output],
        scope: &Scope<'_>,
    ) -> SqlResult<Vec<usize>> {
        if let ast::Expr::Tuple(items) = unnested(expr) {
            let mut groups = Vec::new();
            for item in items {
                groups.extend(self.plain_groups(grouping, item, outputs, scope)?);
            }
            return Ok(groups);
        }
        let bound = self.group_expr(expr, outputs, scope)?;
        if has_aggregate(&bound) {
            let error = SqlError::new(SqlState::GroupingError, "aggregate functions are not allowed in GROUP BY");
            return Err(self.at(error, expr));
        }
        if bound.any(&mut |it| matches!(it, Expr::Column(at, _) if (WINDOW_BASE..SET_BASE).contains(at))) {
            return Err(SqlError::new(SqlState::WindowingError, "window functions are not allowed in GROUP BY"));
        }
        check_equality(bound.ty()).map_err(|error| self.at(error, expr))?;
        Ok(vec![grouping.group(bound)])
    }

    /// GROUP BY: a column of the rows before an output of that name.
    fn group_expr(&mut self, expr: &ast::Expr, outputs: &[Output], scope: &Scope<'_>) -> SqlResult<Expr> {
        if let Some(literal) = position_literal(expr) {
            return Ok(outputs[output_position(&literal, outputs.len(), "GROUP BY")?].expr.clone());
        }
        if let ast::Expr::Identifier(ident) = expr {
            let name = fold(ident);
            if !scope.visible.iter().any(|column| column.name == name) {
                if let Some(output) = outputs.iter().find(|output| output.name == name) {
                    return Ok(output.expr.clone());
                }
            }
        }
        self.in_clause(Clause::GroupBy, |binder| binder.settled(expr, scope))
    }

    /// The grouping sets that one item of GROUP BY stands for.
    fn grouping_item(
        &mut self,
        grouping: &mut Grouping,
        expr: &ast::Expr,
        outputs: &[Output],
        scope: &Scope<'_>,
    ) -> SqlResult<Vec<Vec<usize>>> {
        let mut lists = |binder: &mut Self, lists: &[Vec<ast::Expr>]| -> SqlResult<Vec<Vec<usize>>> {
            lists
                .iter()
                .map(|list| {
                    let mut groups = Vec::new();
                    for expr in list {
                        groups.extend(binder.plain_groups(grouping, expr, outputs, scope)?);
                    }
                    Ok(groups)
                })
                .collect()
        };
        match expr {
            ast::Expr::GroupingSets(sets) => {
                // A set may itself be a ROLLUP or CUBE.
                let mut all = Vec::new();
                for set in sets {
                    match set.as_slice() {
                        [inner @ (ast::Expr::Rollup(_) | ast::Expr::Cube(_) | ast::Expr::GroupingSets(_))] => {
                            all.extend(self.grouping_item(grouping, inner, outputs, scope)?);
                        }
                        [inner] if of_sets(inner).is_some() => {
                            let inner = of_sets(inner).expect("was just found");
                            all.extend(self.grouping_item(grouping, &inner, outputs, scope)?);
                        }
                        list => {
                            let mut groups = Vec::new();
                            for expr in list {
                                groups.extend(self.plain_groups(grouping, expr, outputs, scope)?);
                            }
                            all.push(groups);
                        }
                    }
                }
                Ok(all)
            }
            ast::Expr::Rollup(parts) => {
                let parts = lists(self, parts)?;
                Ok((0..=parts.len()).rev().map(|count| parts[..count].concat()).collect())
            }
            ast::Expr::Cube(parts) => {
                let parts = lists(self, parts)?;
                if parts.len() > 12 {
                    return Err(SqlError::new(SqlState::StatementTooComplex, "CUBE is limited to 12 elements"));
                }
                let masks = (0..1_usize << parts.len()).rev();
                let pick = |mask: usize| {
                    let count = parts.len();
                    (0..count).filter(move |at| mask & (1 << (count - 1 - at)) != 0)
                };
                Ok(masks.map(|mask| pick(mask).flat_map(|at| parts[at].clone()).collect()).collect())
            }
            other => Ok(vec![self.plain_groups(grouping, other, outputs, scope)?]),
        }
    }
}

/// # Errors
/// 42883 for types whose values cannot be told apart.
pub(super) fn check_equality(ty: SqlType) -> SqlResult<()> {
    fn lacks_equality(ty: SqlType) -> bool {
        match ty {
            SqlType::Json => true,
            geometric if geometric.is_geometric() => true,
            SqlType::Domain(it) => lacks_equality(it.over()),
            SqlType::Composite(it) => it.attributes().iter().any(|attribute| lacks_equality(attribute.ty)),
            other => other.element().is_some_and(lacks_equality),
        }
    }
    if !lacks_equality(ty) {
        return Ok(());
    }
    let message = format!("could not identify an equality operator for type {}", ty.base_name());
    Err(SqlError::new(SqlState::UndefinedFunction, message))
}

/// The outputs, with what DISTINCT and ORDER BY need beside them for as long as they need it.
fn finish_select(rel: Rel, parts: Parts, distinct: Option<&ast::Distinct>) -> SqlResult<Rel> {
    let Parts { outputs, order, distinct_on, .. } = parts;
    let output_count = outputs.len();
    let mut columns: Vec<PlanColumn> = Vec::with_capacity(output_count);
    let mut exprs: Vec<Expr> = Vec::with_capacity(output_count);
    for output in outputs {
        columns.push(output_column(&output, &rel));
        exprs.push(output.expr);
    }
    let plain_distinct = matches!(distinct, Some(ast::Distinct::Distinct));
    if plain_distinct {
        for column in &columns {
            check_equality(column.ty)?;
        }
    }
    // The position of an expression among the outputs, behind which new ones are put.
    let place = |expr: Expr, exprs: &mut Vec<Expr>, columns: &mut Vec<PlanColumn>| {
        let ty = expr.ty();
        let at = exprs.iter().position(|known| same_expr(known, &expr)).unwrap_or_else(|| {
            exprs.push(expr);
            columns.push(computed("?column?", ty));
            exprs.len() - 1
        });
        Expr::Column(at, ty)
    };
    let mut keys = Vec::with_capacity(order.len());
    for key in order {
        let expr = place(key.expr, &mut exprs, &mut columns);
        if plain_distinct && matches!(expr, Expr::Column(at, _) if at >= output_count) {
            return Err(SqlError::new(
                SqlState::InvalidColumnReference,
                "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
            ));
        }
        keys.push(SortKey { expr, ..key });
    }
    let on: Option<Vec<Expr>> =
        distinct_on.map(|on| on.into_iter().map(|expr| place(expr, &mut exprs, &mut columns)).collect());
    if let Some(on) = &on {
        let initial = keys.iter().take_while(|key| on.iter().any(|expr| same_expr(expr, &key.expr))).count();
        let covered = on.iter().filter(|expr| keys[..initial].iter().any(|key| same_expr(&key.expr, expr))).count();
        if initial < keys.len() && covered < on.len() {
            return Err(SqlError::new(
                SqlState::InvalidColumnReference,
                "SELECT DISTINCT ON expressions must match initial ORDER BY expressions",
            ));
        }
    }
    let has_extras = exprs.len() > output_count;
    let mut rel = project(rel, exprs, columns);
    if plain_distinct {
        let columns = rel.columns.clone();
        rel = Rel { node: RelNode::Distinct { input: Box::new(rel), on: None }, columns };
    }
    if !keys.is_empty() {
        rel = sort(rel, keys);
    }
    if on.is_some() {
        let columns = rel.columns.clone();
        rel = Rel { node: RelNode::Distinct { input: Box::new(rel), on }, columns };
    }
    if has_extras {
        let columns: Vec<PlanColumn> = rel.columns[..output_count].to_vec();
        let exprs = columns.iter().enumerate().map(|(at, column)| Expr::Column(at, column.ty)).collect();
        rel = project(rel, exprs, columns);
    }
    Ok(rel)
}

/// How an output is described: a column passed through keeps its table.
pub(super) fn output_column(output: &Output, rel: &Rel) -> PlanColumn {
    match &output.expr {
        Expr::Column(position, ty) if *position < rel.columns.len() => {
            PlanColumn { name: output.name.clone(), ty: *ty, ..rel.columns[*position].clone() }
        }
        other => computed(output.name.clone(), other.ty()),
    }
}

/// ProjectSet over `input`: its columns, then one for each set.
fn project_set(input: Rel, sets: Vec<FunctionCall>) -> Rel {
    let mut columns = input.columns.clone();
    let mut items: Vec<ProjectItem> = columns
        .iter()
        .enumerate()
        .map(|(position, column)| ProjectItem::Scalar(Expr::Column(position, column.ty)))
        .collect();
    for call in sets {
        columns.push(computed(call.name(), call.value_type()));
        items.push(ProjectItem::Set(call));
    }
    Rel { node: RelNode::ProjectSet { input: Box::new(input), items }, columns }
}

/// ROLLUP and CUBE among grouping sets, which the parser takes for calls.
fn of_sets(expr: &ast::Expr) -> Option<ast::Expr> {
    let ast::Expr::Function(function) = expr else { return None };
    let name = function.name.to_string().to_ascii_lowercase();
    if !matches!(name.as_str(), "rollup" | "cube") {
        return None;
    }
    let list = argument_list(function).ok()?;
    let parts = list.into_iter().map(|arg| match arg {
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(ast::Expr::Tuple(items))) => Some(items.clone()),
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(item)) => Some(vec![unnested(item).clone()]),
        ast::FunctionArg::Unnamed(_) | ast::FunctionArg::Named { .. } | ast::FunctionArg::ExprNamed { .. } => None,
    });
    let parts = parts.collect::<Option<Vec<_>>>()?;
    Some(if name == "cube" { ast::Expr::Cube(parts) } else { ast::Expr::Rollup(parts) })
}

/// The columns that SEARCH and CYCLE add to the rows of a WITH query, where its recursive term reads it.
fn added_columns(scope: &Scope<'_>, name: &str) -> SqlResult<Vec<Output>> {
    let ranges = scope.ranges.iter().filter(|range| range.table.is_none());
    let added = ranges.flat_map(|range| range.columns.iter().filter(|column| column.hidden));
    let outputs: Vec<Output> = added.map(|it| Output { name: it.name.clone(), expr: it.expr.clone() }).collect();
    if outputs.is_empty() {
        return Err(SqlError::not_supported(format!(
            "with a SEARCH or CYCLE clause, the recursive reference to WITH query \"{name}\" must be at the top level of \
             its right-hand SELECT"
        )));
    }
    Ok(outputs)
}

fn place_sets(expr: &mut Expr, width: usize) {
    if let Expr::Column(position, _) = expr {
        if (SET_BASE..GROUPING_BASE).contains(position) {
            *position = width + (*position - SET_BASE);
        }
    }
    expr.for_each_child_mut(&mut |child| place_sets(child, width));
}

fn plain_star(options: &ast::WildcardAdditionalOptions) -> SqlResult<()> {
    if options.opt_ilike.is_none()
        && options.opt_exclude.is_none()
        && options.opt_except.is_none()
        && options.opt_replace.is_none()
        && options.opt_rename.is_none()
        && options.opt_alias.is_none()
    {
        return Ok(());
    }
    Err(SqlError::new(SqlState::SyntaxError, "syntax error after \"*\""))
}

/// Parts of other dialects that the parser reads.
fn refuse_foreign(select: &ast::Select) -> SqlResult<()> {
    let foreign = select.top.is_some()
        || !select.lateral_views.is_empty()
        || select.prewhere.is_some()
        || !select.connect_by.is_empty()
        || !select.cluster_by.is_empty()
        || !select.distribute_by.is_empty()
        || !select.sort_by.is_empty()
        || select.qualify.is_some()
        || select.exclude.is_some()
        || select.value_table_mode.is_some()
        || select.flavor != ast::SelectFlavor::Standard;
    if foreign {
        return Err(SqlError::new(SqlState::SyntaxError, "this form of SELECT is not part of the language"));
    }
    Ok(())
}
