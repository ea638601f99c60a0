//! INSERT, UPDATE and DELETE; MERGE is `merge`'s.
//!
//! The rows to change come from a bound query like any other: for UPDATE and DELETE the table with its rows locked as
//! they are read, then whatever FROM or USING adds; for INSERT one that yields every column of the table, defaults
//! filled in. Conversions to the columns' types happen there, so that execution only checks and writes. A view stands for
//! the table under it (`through`).

use std::borrow::Cow;
use std::sync::Arc;

use catalog::privilege::PrivilegeSet;
use catalog::{ColumnDefault, PolicyCommand, Relation, Table, TriggerEvent};
use keys::LockStrength;
use sqlparser::ast;
use types::{CastContext, Datum, SqlError, SqlResult, SqlState, SqlType};

use super::assign::{check_no_default, open_below, open_outputs};
use super::domain::as_base;
use super::policy::{Writes, with_policies};
use super::query::{Outputs, computed, filter, project};
use super::select::output_column;
use super::through::{Mentioned, Through, is_default};
use super::target::{Target, Targets, check_updatable};
use super::{Binder, Clause, find_relation, fold, name_parts, no_relation, qualified_name};
use crate::expr::Expr;
use crate::logical::{Rel, RelNode};
use crate::parse::extras::{Overriding, is_only, read_overriding};
use crate::parse::targets::{TargetStep, read_steps};
use crate::plan::{
    Delete, Estimate, Insert, InsertMode, LockWait, Node, Plan, PlanColumn, RowLock, Update,
};
use crate::scope::{Level, Range, Scope};

/// The rows that a statement is about to change.
pub(super) const CHANGE_LOCK: RowLock = RowLock { strength: LockStrength::Update, wait: LockWait::Block, is_above: false };

/// What SET makes of a column so far.
pub(super) struct Changed {
    pub position: usize,
    pub value: Expr,
    /// Parts of it were assigned to, and others may be.
    pub is_part: bool,
}

/// Stands where the optimizer puts the plan of the source.
pub(super) fn no_plan() -> Box<Plan> {
    Box::new(Plan { node: Node::Unit, columns: Vec::new(), estimate: Estimate::default() })
}

impl Binder<'_> {
    /// INSERT, UPDATE or DELETE, on its own or in WITH.
    pub(super) fn change(&mut self, statement: &ast::Statement, level: &Level<'_>) -> SqlResult<Rel> {
        match statement {
            ast::Statement::Insert(insert) => self.insert(insert, level),
            ast::Statement::Update(update) => self.update(update, level),
            ast::Statement::Delete(delete) => self.delete(delete, level),
            ast::Statement::Merge(merge) => self.merge_rows(merge, level),
            other => Err(SqlError::not_supported(format!("this statement is not supported here: {other}"))),
        }
    }

    fn insert(&mut self, insert: &ast::Insert, level: &Level<'_>) -> SqlResult<Rel> {
        let foreign = insert.or.is_some()
            || insert.ignore
            || insert.overwrite
            || insert.replace_into
            || insert.priority.is_some()
            || insert.partitioned.is_some()
            || insert.insert_alias.is_some()
            || insert.output.is_some()
            || !insert.assignments.is_empty()
            || !insert.after_columns.is_empty()
            || insert.multi_table_insert_type.is_some();
        let ast::TableObject::TableName(name) = &insert.table else {
            return Err(SqlError::new(SqlState::SyntaxError, "INSERT needs the name of a table"));
        };
        if foreign {
            return Err(SqlError::new(SqlState::SyntaxError, "this form of INSERT is not part of the language"));
        }
        let (name, overriding) = read_overriding(name);
        self.overriding = overriding;
        let alias = insert.table_alias.as_ref().map(|alias| fold(&alias.alias));
        let (target, _, _) = self.target_of(&name, TriggerEvent::Insert, alias.as_deref(), None)?;
        let targets = self.insert_targets(&target, &insert.columns)?;
        let source = match &insert.source {
            None => self.full_rows(&target, vec![Vec::new()], &Targets::default(), level)?,
            Some(query) => match query.body.as_ref() {
                ast::SetExpr::Values(values) if is_bare(query) => {
                    let scope = Scope::empty(level);
                    let rows: Vec<Cow<'_, [ast::Expr]>> =
                        values.rows.iter().map(|row| self.without_stars(&row.content, &scope)).collect::<SqlResult<_>>()?;
                    let listed = rows.iter().map(|row| row.iter().collect()).collect();
                    match (self.full_rows(&target, listed, &targets, level), rows.as_slice()) {
                        // One row of VALUES is as good as a SELECT, whose list may hold sets.
                        (Err(error), [row]) if error.message() == SETS_IN_VALUES && targets.steps.iter().all(Vec::is_empty) => {
                            let given = targets.columns.iter().zip(row.iter()).filter(|(_, value)| !is_default(value));
                            let (columns, values): (Vec<usize>, Vec<&ast::Expr>) = given.unzip();
                            let steps = vec![Vec::new(); columns.len()];
                            let targets = Targets { columns, steps, are_listed: true };
                            self.query_rows(&target, &as_select(&values)?, &targets, level)?
                        }
                        (rel, _) => rel?,
                    }
                }
                _ => self.query_rows(&target, query, &targets, level)?,
            },
        };
        let shown = alias.unwrap_or_else(|| target.name.clone());
        let on_conflict = match &insert.on {
            None => None,
            Some(ast::OnInsert::OnConflict(conflict)) => Some(self.on_conflict(&target, &shown, conflict, level)?),
            Some(_) => {
                return Err(SqlError::new(SqlState::SyntaxError, "ON DUPLICATE KEY is not part of the language"));
            }
        };
        let (rel, _) = self.table_rel(Arc::clone(&target.table), &shown, None, None, None)?;
        let range = target.range(self, &shown)?;
        let scope = Scope { width: rel.columns.len(), ..Scope::of_range(level, range) }.reading_all(target.reads());
        let (returning, columns) = self.returning(insert.returning.as_deref(), &scope, &rel)?;
        let mut row_rules = target.rules(self)?;
        let may_update = on_conflict.as_ref().is_some_and(|conflict| conflict.update.is_some());
        with_policies(&mut row_rules, self.policy_rules(&target, Writes::Insert { may_update })?);
        let insert = Insert { table: target.table, source: no_plan(), row_rules, on_conflict, returning, mode: InsertMode::Add };
        Ok(Rel { node: RelNode::Insert { insert: Box::new(insert), source: Box::new(source) }, columns })
    }

    /// The columns that INSERT names, or all there are.
    pub(super) fn insert_targets(&self, target: &Target, names: &[ast::ObjectName]) -> SqlResult<Targets> {
        if names.is_empty() {
            let columns = target.all_columns();
            return Ok(Targets { steps: vec![Vec::new(); columns.len()], columns, are_listed: false });
        }
        let mut columns = Vec::with_capacity(names.len());
        let mut steps: Vec<Vec<TargetStep>> = Vec::with_capacity(names.len());
        for name in names {
            let column = self.target_column(target, name)?;
            let own = read_steps(name)?;
            let is_same = |(known, steps): (&usize, &Vec<TargetStep>)| *known == column && (own.is_empty() || steps.is_empty());
            if columns.iter().zip(&steps).any(is_same) {
                let name_of = name_parts(name)?.into_iter().next().unwrap_or_default();
                let message = format!("column \"{name_of}\" specified more than once");
                return Err(self.at(SqlError::new(SqlState::DuplicateColumn, message), name));
            }
            columns.push(column);
            steps.push(own);
        }
        Ok(Targets { columns, steps, are_listed: true })
    }

    /// The place in the table of a column that SET names.
    fn changed_column(&self, target: &Target, name: &ast::ObjectName) -> SqlResult<usize> {
        let column = self.target_column(target, name)?;
        target.updates(column);
        target.position(&target.place(column))
    }

    /// A column of the relation that the statement names: as [`Target::all_columns`].
    pub(super) fn target_column(&self, target: &Target, name: &ast::ObjectName) -> SqlResult<usize> {
        let parts = name_parts(name)?;
        let column = parts.first().map(String::as_str).unwrap_or_default();
        let found = match &target.columns {
            Some(columns) => columns.iter().position(|known| known.name == column),
            None => target.table.column_named(column).map(|(position, _)| position),
        };
        match found {
            Some(column) => Ok(column),
            None => {
                let error = SqlError::new(
                    SqlState::UndefinedColumn,
                    format!("column \"{column}\" of relation \"{}\" does not exist", target.name),
                );
                Err(self.at(error, name))
            }
        }
    }

    /// The relation that a statement changes, with its rows and the range of its columns over them. `lock`: that of the rows.
    fn target_of(
        &mut self,
        name: &ast::ObjectName,
        event: TriggerEvent,
        shown: Option<&str>,
        read: Option<(RowLock, Option<&ast::TableAlias>)>,
    ) -> SqlResult<(Target, Rel, Range)> {
        let (schema, relation) = qualified_name(self.context, name)?;
        let (lock, alias) = (read.map(|(lock, _)| lock), read.and_then(|(_, alias)| alias));
        let shown = shown.unwrap_or(&relation);
        let found = find_relation(self.context, schema.as_deref(), &relation).map_err(|error| self.at(error, name))?;
        let refuse = |what: &str| {
            let message = format!("cannot change {what} \"{relation}\"");
            Err(SqlError::new(SqlState::WrongObjectType, message))
        };
        let privilege = match event {
            TriggerEvent::Insert => PrivilegeSet::INSERT,
            TriggerEvent::Update => PrivilegeSet::UPDATE,
            TriggerEvent::Delete => PrivilegeSet::DELETE,
            TriggerEvent::Truncate => PrivilegeSet::TRUNCATE,
        };
        match found {
            Some(Relation::Table(table)) if table.materialized.is_some() => refuse("materialized view"),
            Some(Relation::Table(table)) => {
                let mention = self.mention(table.id, privilege);
                let (rel, range) = self.table_rel(Arc::clone(&table), shown, None, lock, alias)?;
                let rel = if table.is_partitioned() && is_only(name) { super::from::no_rows(rel) } else { rel };
                let target = Target {
                    name: table.name.clone(),
                    id: table.id,
                    mentions: vec![Mentioned::of_table(mention, &table)],
                    table,
                    columns: None,
                    event,
                    checks: Vec::new(),
                };
                Ok((target, rel, range))
            }
            Some(Relation::View(view)) => {
                let mention = self.mention(view.id, privilege);
                let through = self.through(&view, event, lock, false, (&mention, mention.clone()))?;
                let mut range = through.range(shown, alias)?;
                if alias.is_none() {
                    range.schema = self.context.catalog.schema_by_id(view.schema).map(|schema| schema.name.clone());
                }
                let Through { table, rel, columns, checks, mentions } = through;
                let (name, id) = (view.name.clone(), view.id);
                Ok((Target { table, columns: Some(columns), name, id, event, checks, mentions }, rel, range))
            }
            Some(Relation::Sequence(_)) => refuse("sequence"),
            None => Err(self.at(no_relation(schema.as_deref(), &relation), name)),
        }
    }

    /// A value for a column that the statement gives; what is generated cannot be given.
    pub(super) fn check_insertable(&self, table: &Table, position: usize) -> SqlResult<()> {
        let column = &table.columns[position];
        let refuse = |detail: &str| {
            SqlError::new(
                SqlState::GeneratedAlways,
                format!("cannot insert a non-DEFAULT value into column \"{}\"", column.name),
            )
            .with_detail(format!("Column \"{}\" is {detail}.", column.name))
        };
        match &column.default {
            Some(ColumnDefault::Stored(_)) => Err(refuse("a generated column")),
            Some(ColumnDefault::Identity { always: true, .. }) if self.overriding != Some(Overriding::System) => {
                Err(refuse("an identity column defined as GENERATED ALWAYS")
                    .with_hint("Use OVERRIDING SYSTEM VALUE to override."))
            }
            _ => Ok(()),
        }
    }

    /// OVERRIDING USER VALUE: what is given for an identity column does not count.
    pub(super) fn is_overridden(&self, table: &Table, position: usize) -> bool {
        self.overriding == Some(Overriding::User)
            && matches!(table.columns[position].default, Some(ColumnDefault::Identity { .. }))
    }

    fn full_rows(
        &mut self,
        target: &Target,
        rows: Vec<Vec<&ast::Expr>>,
        targets: &Targets,
        level: &Level<'_>,
    ) -> SqlResult<Rel> {
        let bound = self.bound_rows(target, rows, targets, &Scope::empty(level))?;
        let columns = target.table.columns.iter().map(|column| computed(column.name.clone(), column.ty)).collect();
        Ok(Rel { node: RelNode::Values(bound), columns })
    }

    /// Rows of values as rows of the table, what is not given filled in.
    pub(super) fn bound_rows(
        &mut self,
        target: &Target,
        rows: Vec<Vec<&ast::Expr>>,
        targets: &Targets,
        scope: &Scope<'_>,
    ) -> SqlResult<Vec<Vec<Expr>>> {
        let width = rows.first().map_or(0, Vec::len);
        let table = &target.table;
        let (targets, steps) = (targets.for_width(width, target)?, &targets.steps);
        let is_given = |row: &Vec<&ast::Expr>, place: usize, position: usize| {
            row.get(place).is_some_and(|expr| !is_default(expr) && !self.is_overridden(table, position))
        };
        let mut given = vec![false; table.columns.len()];
        for (place, position) in targets.iter().enumerate() {
            given[*position] = rows.iter().all(|row| is_given(row, place, *position));
        }
        let defaults = self.defaults(target, &given)?;
        let mut bound = Vec::with_capacity(rows.len());
        for row in rows {
            if row.len() != width {
                return Err(SqlError::new(SqlState::SyntaxError, "VALUES lists must all be the same length"));
            }
            let mut full = defaults.clone();
            for ((expr, position), steps) in row.into_iter().zip(&targets).zip(steps) {
                check_no_default(expr, steps)?;
                if is_default(expr) || self.is_overridden(table, *position) {
                    continue;
                }
                self.check_insertable(table, *position)?;
                let column = &table.columns[*position];
                let value = self.with_frame(Clause::Values, |binder| {
                    if !steps.is_empty() {
                        let before = std::mem::replace(&mut full[*position], Expr::RowId);
                        let value = &mut |binder: &mut Binder<'_>| binder.declared_expr(expr, scope);
                        return binder.with_part(as_base(before), column, steps, scope, value);
                    }
                    let value = binder.declared_expr(expr, scope)?;
                    binder.assign(value, &column.name, column.declared())
                });
                full[*position] = value.map_err(|error| self.at(error, expr))?;
            }
            bound.push(full);
        }
        Ok(bound)
    }

    fn query_rows(
        &mut self,
        target: &Target,
        query: &ast::Query,
        targets: &Targets,
        level: &Level<'_>,
    ) -> SqlResult<Rel> {
        let mut rel = self.query(query, level, Outputs::Open)?;
        let table = &target.table;
        let (targets, steps) = (targets.for_width(rel.columns.len(), target)?, &targets.steps);
        let open = open_below(&mut rel);
        if steps.iter().any(|steps| !steps.is_empty()) {
            return self.query_parts(target, rel, &targets, steps, (level, open));
        }
        let mut types: Vec<SqlType> = targets.iter().map(|position| table.columns[*position].declared()).collect();
        for (ty, _) in types.iter_mut().zip(&open).filter(|(_, open)| open.is_some()) {
            *ty = SqlType::Text;
        }
        for position in &targets {
            if !self.is_overridden(table, *position) {
                self.check_insertable(table, *position)?;
            }
        }
        let rel = self.convert_outputs(rel, &types, &mut |binder, expr, ty, at| match open.get(at) {
            Some(Some(_)) => Ok(expr),
            _ => binder.assign(expr, &table.columns[targets[at]].name, ty),
        })?;
        let mut given = vec![false; table.columns.len()];
        targets.iter().for_each(|position| given[*position] = !self.is_overridden(table, *position));
        let mut exprs = self.defaults(target, &given)?;
        for ((at, position), open) in targets.iter().enumerate().zip(open) {
            if !self.is_overridden(table, *position) {
                let column = &table.columns[*position];
                exprs[*position] = match open {
                    Some(literal) => self.assign(literal, &column.name, column.declared())?,
                    None => Expr::Column(at, types[at]),
                };
            }
        }
        let columns = table.columns.iter().map(|column| computed(column.name.clone(), column.ty)).collect();
        Ok(project(rel, exprs, columns))
    }

    /// As [`Binder::query_rows`], where some of the values are for parts of columns.
    fn query_parts(
        &mut self,
        target: &Target,
        rel: Rel,
        targets: &[usize],
        steps: &[Vec<TargetStep>],
        (level, below): (&Level<'_>, Vec<Option<Expr>>),
    ) -> SqlResult<Rel> {
        let table = &target.table;
        let mut given = vec![false; table.columns.len()];
        targets.iter().for_each(|position| given[*position] = !self.is_overridden(table, *position));
        let mut exprs = self.defaults(target, &given)?;
        let (rel, mut open) = open_outputs(rel, steps);
        open.iter_mut().zip(below).for_each(|(open, below)| *open = open.take().or(below));
        let rel = self.settle_outputs(rel)?;
        let scope = Scope::empty(level);
        for (at, (position, steps)) in targets.iter().zip(steps).enumerate() {
            if self.is_overridden(table, *position) {
                continue;
            }
            self.check_insertable(table, *position)?;
            let column = &table.columns[*position];
            let given = open[at].take().unwrap_or_else(|| Expr::Column(at, rel.columns[at].ty));
            exprs[*position] = if steps.is_empty() {
                self.assign(given, &column.name, column.declared())?
            } else {
                let before = std::mem::replace(&mut exprs[*position], Expr::RowId);
                self.with_frame(Clause::Values, |binder| {
                    binder.with_part(as_base(before), column, steps, &scope, &mut |_: &mut Binder<'_>| Ok(given.clone()))
                })?
            };
        }
        let columns = table.columns.iter().map(|column| computed(column.name.clone(), column.ty)).collect();
        Ok(project(rel, exprs, columns))
    }

    /// Outputs of undetermined types are text.
    fn settle_outputs(&mut self, rel: Rel) -> SqlResult<Rel> {
        let settled = |ty: SqlType| if ty == SqlType::Unknown { SqlType::Text } else { ty };
        let types: Vec<SqlType> = rel.columns.iter().map(|column| settled(column.ty)).collect();
        self.convert_outputs(rel, &types, &mut |binder, expr, ty, _| binder.coerce(expr, ty, CastContext::Assignment))
    }

    /// A value for each column that the statement does not give: what computes others is not called, and not asked for. A
    /// default that a view has for a column that goes nowhere is a mistake.
    fn defaults(&self, target: &Target, given: &[bool]) -> SqlResult<Vec<Expr>> {
        for column in target.columns.iter().flatten().filter(|column| column.default.is_some()) {
            target.position(&column.place)?;
        }
        let of = |position: usize| match given[position] {
            true => Ok(Expr::Const(Datum::Null, target.table.columns[position].ty)),
            false => target.default(position, self),
        };
        (0..target.table.columns.len()).map(of).collect()
    }

    /// SET, with each value cast to its column's type.
    pub(super) fn assignments(
        &mut self,
        target: &Target,
        list: &[ast::Assignment],
        scope: &Scope<'_>,
    ) -> SqlResult<Vec<(usize, Expr)>> {
        let mut made: Vec<Changed> = Vec::with_capacity(list.len());
        for assignment in list {
            match &assignment.target {
                ast::AssignmentTarget::ColumnName(name) => {
                    let (position, steps) = (self.changed_column(target, name)?, read_steps(name)?);
                    self.assigned(target, (position, &steps), &assignment.value, scope, &mut made)?;
                }
                ast::AssignmentTarget::Tuple(names) => {
                    self.row_assignment(target, names, &assignment.value, scope, &mut made)?;
                }
            }
        }
        Ok(made.into_iter().map(|it| (it.position, it.value)).collect())
    }

    /// One target with its value.
    fn assigned(
        &mut self,
        target: &Target,
        (position, steps): (usize, &[TargetStep]),
        expr: &ast::Expr,
        scope: &Scope<'_>,
        made: &mut Vec<Changed>,
    ) -> SqlResult<()> {
        check_no_default(expr, steps)?;
        let is_part = !steps.is_empty();
        let value = &mut |binder: &mut Binder<'_>| match is_part {
            true => binder.declared_expr(expr, scope),
            false => binder.assigned_whole(target, position, expr, scope),
        };
        self.add_assignment(target, (position, steps), made, scope, value).map_err(|error| self.at(error, expr))
    }

    fn assigned_whole(&mut self, target: &Target, position: usize, expr: &ast::Expr, scope: &Scope<'_>) -> SqlResult<Expr> {
        let column = &target.table.columns[position];
        if is_default(expr) {
            return target.update_default(position, self);
        }
        check_updatable(column)?;
        let value = self.with_frame(Clause::Update, |binder| {
            let value = binder.declared_expr(expr, scope)?;
            binder.assign(value, &column.name, column.declared())
        });
        value.map_err(|error| self.at(error, expr))
    }

    fn row_assignment(
        &mut self,
        target: &Target,
        names: &[ast::ObjectName],
        value: &ast::Expr,
        scope: &Scope<'_>,
        made: &mut Vec<Changed>,
    ) -> SqlResult<()> {
        let targets = names.iter().map(|name| Ok((self.changed_column(target, name)?, read_steps(name)?)));
        let targets = targets.collect::<SqlResult<Vec<(usize, Vec<TargetStep>)>>>()?;
        let table = &target.table;
        let mismatch = || SqlError::new(SqlState::SyntaxError, "number of columns does not match number of values");
        let fields: Vec<&ast::Expr> = match value {
            ast::Expr::Subquery(query) => {
                let values = self.with_frame(Clause::Update, |binder| {
                    binder.row_subquery(query, targets.len(), scope, |_, _| {
                        SqlError::new(SqlState::SyntaxError, "number of columns does not match number of values")
                    })
                })?;
                for ((position, steps), value) in targets.iter().zip(values) {
                    let column = &table.columns[*position];
                    check_updatable(column)?;
                    let value = &mut |binder: &mut Binder<'_>| match steps.is_empty() {
                        true => binder.assign(value.clone(), &column.name, column.declared()),
                        false => Ok(value.clone()),
                    };
                    self.add_assignment(target, (*position, steps), made, scope, value)?;
                }
                return Ok(());
            }
            ast::Expr::Tuple(items) => items.iter().collect(),
            ast::Expr::Nested(inner) => vec![inner],
            ast::Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("row") => {
                super::function::argument_list(function)?
                    .into_iter()
                    .map(|arg| match arg {
                        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Ok(expr),
                        _ => Err(mismatch()),
                    })
                    .collect::<SqlResult<_>>()?
            }
            other if targets.len() == 1 => vec![other],
            _ => {
                return Err(SqlError::not_supported(
                    "source for a multiple-column UPDATE item must be a sub-SELECT or ROW() expression",
                ));
            }
        };
        if fields.len() != targets.len() {
            return Err(mismatch());
        }
        for ((position, steps), expr) in targets.iter().zip(fields) {
            self.assigned(target, (*position, steps), expr, scope, made)?;
        }
        Ok(())
    }

    /// The table of UPDATE or DELETE with its rows locked, and its scope.
    fn target<'s>(
        &mut self,
        factor: &ast::TableFactor,
        event: TriggerEvent,
        level: &'s Level<'s>,
    ) -> SqlResult<(Target, Rel, Scope<'s>)> {
        let ast::TableFactor::Table { name, alias, args: None, .. } = factor else {
            return Err(SqlError::new(SqlState::SyntaxError, "only a table can be changed"));
        };
        let shown = alias.as_ref().map(|alias| fold(&alias.name));
        let (target, rel, range) =
            self.target_of(name, event, shown.as_deref(), Some((CHANGE_LOCK, alias.as_ref())))?;
        let scope = Scope { width: rel.columns.len(), ..Scope::of_range(level, range) }.reading_all(target.reads());
        Ok((target, rel, scope))
    }

    fn update(&mut self, update: &ast::Update, level: &Level<'_>) -> SqlResult<Rel> {
        let foreign = update.or.is_some()
            || !update.order_by.is_empty()
            || update.limit.is_some()
            || update.output.is_some()
            || !update.table.joins.is_empty();
        let from: &[ast::TableWithJoins] = match &update.from {
            None => &[],
            Some(ast::UpdateTableFromKind::AfterSet(from)) => from,
            Some(ast::UpdateTableFromKind::BeforeSet(_)) => {
                return Err(SqlError::new(SqlState::SyntaxError, "FROM stands behind SET"));
            }
        };
        if foreign {
            return Err(SqlError::new(SqlState::SyntaxError, "this form of UPDATE is not part of the language"));
        }
        let (target, rel, scope) = self.target(&update.table.relation, TriggerEvent::Update, level)?;
        let (mut rel, scope) = self.from_after((rel, scope), from, level)?;
        let assignments = self.assignments(&target, &update.assignments, &scope)?;
        let table = &target.table;
        // A trigger may change any column before the row is written.
        let is_before = super::partition::is_before_update;
        let moves_rows = super::partition::changes_key_of_partitions(table, &assignments, self.context)?;
        if !changes_key(table, &assignments) && !moves_rows && !table.triggers.iter().any(is_before) {
            weaken_lock(&mut rel);
        }
        let (mut source, returning, columns) =
            self.changed_rows(rel, &scope, update.selection.as_ref(), update.returning.as_deref())?;
        self.changeable_rows(&mut source, &target, PolicyCommand::Update)?;
        let mut row_rules = target.rules(self)?;
        with_policies(&mut row_rules, self.policy_rules(&target, Writes::Update)?);
        let update = Update { table: target.table, source: no_plan(), assignments, row_rules, returning };
        Ok(Rel { node: RelNode::Update { update: Box::new(update), source: Box::new(source) }, columns })
    }

    fn delete(&mut self, delete: &ast::Delete, level: &Level<'_>) -> SqlResult<Rel> {
        let from = match &delete.from {
            ast::FromTable::WithFromKeyword(from) | ast::FromTable::WithoutKeyword(from) => from,
        };
        let foreign = !delete.tables.is_empty()
            || !delete.order_by.is_empty()
            || delete.limit.is_some()
            || delete.output.is_some();
        let [item] = from.as_slice() else {
            return Err(SqlError::new(SqlState::SyntaxError, "DELETE takes one table"));
        };
        if foreign || !item.joins.is_empty() {
            return Err(SqlError::new(SqlState::SyntaxError, "this form of DELETE is not part of the language"));
        }
        let (target, rel, scope) = self.target(&item.relation, TriggerEvent::Delete, level)?;
        let (rel, scope) = self.from_after((rel, scope), delete.using.as_deref().unwrap_or_default(), level)?;
        let (mut source, returning, columns) =
            self.changed_rows(rel, &scope, delete.selection.as_ref(), delete.returning.as_deref())?;
        self.changeable_rows(&mut source, &target, PolicyCommand::Delete)?;
        let row_rules = target.rules(self)?;
        let delete = Delete { table: target.table, source: no_plan(), row_rules, returning };
        Ok(Rel { node: RelNode::Delete { delete: Box::new(delete), source: Box::new(source) }, columns })
    }

    #[allow(clippy::type_complexity)]
    fn changed_rows(
        &mut self,
        rel: Rel,
        scope: &Scope<'_>,
        selection: Option<&ast::Expr>,
        returning: Option<&[ast::SelectItem]>,
    ) -> SqlResult<(Rel, Option<Vec<Expr>>, Vec<PlanColumn>)> {
        let (returning, columns) = self.returning(returning, scope, &rel)?;
        let rel = match selection {
            None => rel,
            Some(expr) => {
                let predicate = self.with_frame(Clause::Where, |binder| binder.boolean(expr, scope, "WHERE"))?;
                filter(rel, predicate)
            }
        };
        Ok((rel, returning, columns))
    }

    #[allow(clippy::type_complexity)]
    fn returning(
        &mut self,
        items: Option<&[ast::SelectItem]>,
        scope: &Scope<'_>,
        rel: &Rel,
    ) -> SqlResult<(Option<Vec<Expr>>, Vec<PlanColumn>)> {
        let Some(items) = items else { return Ok((None, Vec::new())) };
        let outputs = self.with_frame(Clause::Returning, |binder| binder.outputs(items, scope, true))?;
        let columns = outputs.iter().map(|output| output_column(output, rel)).collect();
        Ok((Some(outputs.into_iter().map(|output| output.expr).collect()), columns))
    }
}

/// Whether an UPDATE may change what rows of other tables can refer to: a column of a unique index over columns of all
/// rows.
#[must_use]
pub fn changes_key(table: &Table, assignments: &[(usize, Expr)]) -> bool {
    let is_assigned = |position: usize| {
        let column = &table.columns[position];
        let is_computed = !column.hidden && matches!(column.default, Some(ColumnDefault::Stored(_)));
        let changes = |value: &Expr| !matches!(value, Expr::Column(from, _) if *from == position);
        is_computed || assignments.iter().any(|(to, value)| *to == position && changes(value))
    };
    let is_key = |index: &&catalog::Index| index.unique && index.predicate.is_none();
    table.indexes.iter().filter(is_key).any(|index| table.key_positions(index).any(is_assigned))
}

/// The table of an UPDATE, first of all that is joined, is locked against changes but not against those who refer to it.
fn weaken_lock(rel: &mut Rel) {
    match &mut rel.node {
        RelNode::Table { lock: Some(lock), .. } => lock.strength = LockStrength::NoKeyUpdate,
        RelNode::Join { left: input, .. } | RelNode::Filter { input, .. } | RelNode::Barrier(input) => weaken_lock(input),
        _ => {}
    }
}

const SETS_IN_VALUES: &str = "set-returning functions are not allowed in VALUES";

/// `SELECT` with these outputs.
fn as_select(outputs: &[&ast::Expr]) -> SqlResult<ast::Query> {
    let no_query = || SqlError::internal("a SELECT is no query");
    let parsed = crate::parse::parse("SELECT 1")?.into_iter().next().ok_or_else(no_query)?;
    let crate::parse::Body::Standard(ast::Statement::Query(mut query)) = parsed.body else { return Err(no_query()) };
    let ast::SetExpr::Select(select) = query.body.as_mut() else { return Err(no_query()) };
    select.projection = outputs.iter().map(|output| ast::SelectItem::UnnamedExpr((*output).clone())).collect();
    Ok(*query)
}

/// VALUES with nothing around it.
fn is_bare(query: &ast::Query) -> bool {
    query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && query.locks.is_empty()
}
