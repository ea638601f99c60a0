//! INSERT, UPDATE and DELETE.
//!
//! The rows to change come from a bound query like any other: for UPDATE and DELETE the table with its rows locked as
//! they are read, then whatever FROM or USING adds; for INSERT one that yields every column of the table, defaults
//! filled in. Conversions to the columns' types happen there, so that execution only checks and writes.

use std::sync::Arc;

use catalog::{ColumnDefault, Table, TriggerEvent, TriggerTiming};
use keys::LockStrength;
use sqlparser::ast;
use types::{SqlError, SqlResult, SqlState, SqlType};

use super::expr::unnested;
use super::query::{Outputs, computed, filter, project};
use super::select::output_column;
use super::implied::implies;
use super::same::same_expr;
use super::stored::{column_default, key_expr, row_rules};
use super::{Binder, Clause, find_table, fold, name_parts};
use crate::expr::Expr;
use crate::logical::{Rel, RelNode};
use crate::parse::extras::{ConflictTarget, Overriding, read_conflict, read_overriding};
use crate::plan::{
    ConflictUpdate, Delete, Estimate, Insert, LockWait, Node, OnConflict, Plan, PlanColumn, RowLock, Update,
};
use crate::scope::{Level, Scope};

/// The rows that a statement is about to change.
const CHANGE_LOCK: RowLock = RowLock { strength: LockStrength::Update, wait: LockWait::Block, is_above: false };

/// The columns that INSERT gives values for, in the order of the values.
#[derive(Debug, Default)]
struct Targets {
    positions: Vec<usize>,
    are_listed: bool,
}

impl Targets {
    /// Without a list of columns, values may be given for the first ones only.
    fn for_width(&self, width: usize) -> SqlResult<&[usize]> {
        let refuse = |message: &str| Err(SqlError::new(SqlState::SyntaxError, message));
        if width > self.positions.len() {
            return refuse("INSERT has more expressions than target columns");
        }
        if width < self.positions.len() && self.are_listed {
            return refuse("INSERT has more target columns than expressions");
        }
        Ok(&self.positions[..width])
    }
}

/// Stands where the optimizer puts the plan of the source.
fn no_plan() -> Box<Plan> {
    Box::new(Plan { node: Node::Unit, columns: Vec::new(), estimate: Estimate::default() })
}

fn no_arbiter() -> SqlError {
    SqlError::new(
        SqlState::InvalidColumnReference,
        "there is no unique or exclusion constraint matching the ON CONFLICT specification",
    )
}

fn is_default(expr: &ast::Expr) -> bool {
    matches!(expr, ast::Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}

impl Binder<'_> {
    /// INSERT, UPDATE or DELETE, on its own or in WITH.
    pub(super) fn change(&mut self, statement: &ast::Statement, level: &Level<'_>) -> SqlResult<Rel> {
        match statement {
            ast::Statement::Insert(insert) => self.insert(insert, level),
            ast::Statement::Update(update) => self.update(update, level),
            ast::Statement::Delete(delete) => self.delete(delete, level),
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
        let table = find_table(self.context, &name).map_err(|error| self.at(error, &name))?;
        let targets = Targets {
            positions: self.insert_targets(&table, &insert.columns)?,
            are_listed: !insert.columns.is_empty(),
        };
        let source = match &insert.source {
            None => self.full_rows(&table, vec![Vec::new()], &Targets::default(), level)?,
            Some(query) => match query.body.as_ref() {
                ast::SetExpr::Values(values) if is_bare(query) => {
                    let rows = values.rows.iter().map(|row| row.content.iter().collect()).collect();
                    self.full_rows(&table, rows, &targets, level)?
                }
                _ => self.query_rows(&table, query, &targets, level)?,
            },
        };
        let shown = insert.table_alias.as_ref().map_or_else(|| table.name.clone(), |alias| fold(&alias.alias));
        let on_conflict = match &insert.on {
            None => None,
            Some(ast::OnInsert::OnConflict(conflict)) => Some(self.on_conflict(&table, &shown, conflict, level)?),
            Some(_) => {
                return Err(SqlError::new(SqlState::SyntaxError, "ON DUPLICATE KEY is not part of the language"));
            }
        };
        let (rel, range) = self.table_rel(Arc::clone(&table), &shown, None, None, None)?;
        let scope = Scope::of_range(level, range);
        let (returning, columns) = self.returning(insert.returning.as_deref(), &scope, &rel)?;
        let row_rules = row_rules(&table, self.context)?;
        let insert = Insert { table, source: no_plan(), row_rules, on_conflict, returning };
        Ok(Rel { node: RelNode::Insert { insert: Box::new(insert), source: Box::new(source) }, columns })
    }

    /// The positions that INSERT names, or all visible ones.
    fn insert_targets(&self, table: &Table, names: &[ast::ObjectName]) -> SqlResult<Vec<usize>> {
        if names.is_empty() {
            return Ok(table.visible_columns().map(|(position, _)| position).collect());
        }
        let mut targets = Vec::with_capacity(names.len());
        for name in names {
            let position = self.target_column(table, name)?;
            if targets.contains(&position) {
                let error = SqlError::new(
                    SqlState::DuplicateColumn,
                    format!("column \"{}\" specified more than once", table.columns[position].name),
                );
                return Err(self.at(error, name));
            }
            targets.push(position);
        }
        Ok(targets)
    }

    fn target_column(&self, table: &Table, name: &ast::ObjectName) -> SqlResult<usize> {
        let parts = name_parts(name)?;
        let column = parts.first().map(String::as_str).unwrap_or_default();
        match table.column_named(column) {
            Some((position, _)) if parts.len() == 1 => Ok(position),
            Some(_) => Err(SqlError::not_supported("assigning to a field of a composite column is not supported")),
            None => {
                let error = SqlError::new(
                    SqlState::UndefinedColumn,
                    format!("column \"{column}\" of relation \"{}\" does not exist", table.name),
                );
                Err(self.at(error, name))
            }
        }
    }

    /// A value for a column that the statement gives; what is generated cannot be given.
    fn check_insertable(&self, table: &Table, position: usize) -> SqlResult<()> {
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
    fn is_overridden(&self, table: &Table, position: usize) -> bool {
        self.overriding == Some(Overriding::User)
            && matches!(table.columns[position].default, Some(ColumnDefault::Identity { .. }))
    }

    fn full_rows(
        &mut self,
        table: &Arc<Table>,
        rows: Vec<Vec<&ast::Expr>>,
        targets: &Targets,
        level: &Level<'_>,
    ) -> SqlResult<Rel> {
        let scope = Scope::empty(level);
        let width = rows.first().map_or(0, Vec::len);
        let targets = targets.for_width(width)?;
        let defaults = self.defaults(table)?;
        let mut bound = Vec::with_capacity(rows.len());
        for row in rows {
            if row.len() != width {
                return Err(SqlError::new(SqlState::SyntaxError, "VALUES lists must all be the same length"));
            }
            let mut full = defaults.clone();
            for (expr, position) in row.into_iter().zip(targets) {
                if is_default(unnested(expr)) || self.is_overridden(table, *position) {
                    continue;
                }
                self.check_insertable(table, *position)?;
                let column = &table.columns[*position];
                let value = self.with_frame(Clause::Values, |binder| {
                    let value = binder.declared_expr(expr, &scope)?;
                    binder.assign(value, &column.name, column.declared())
                });
                full[*position] = value.map_err(|error| self.at(error, expr))?;
            }
            bound.push(full);
        }
        let columns = table.columns.iter().map(|column| computed(column.name.clone(), column.ty)).collect();
        Ok(Rel { node: RelNode::Values(bound), columns })
    }

    fn query_rows(
        &mut self,
        table: &Arc<Table>,
        query: &ast::Query,
        targets: &Targets,
        level: &Level<'_>,
    ) -> SqlResult<Rel> {
        let rel = self.query(query, level, Outputs::Open)?;
        let targets = targets.for_width(rel.columns.len())?;
        let types: Vec<SqlType> = targets.iter().map(|position| table.columns[*position].declared()).collect();
        for position in targets {
            if !self.is_overridden(table, *position) {
                self.check_insertable(table, *position)?;
            }
        }
        let rel = self.convert_outputs(rel, &types, &mut |binder, expr, ty, at| {
            binder.assign(expr, &table.columns[targets[at]].name, ty)
        })?;
        let mut exprs = self.defaults(table)?;
        for (at, position) in targets.iter().enumerate() {
            if !self.is_overridden(table, *position) {
                exprs[*position] = Expr::Column(at, types[at]);
            }
        }
        let columns = table.columns.iter().map(|column| computed(column.name.clone(), column.ty)).collect();
        Ok(project(rel, exprs, columns))
    }

    fn defaults(&self, table: &Table) -> SqlResult<Vec<Expr>> {
        (0..table.columns.len()).map(|position| column_default(table, position, self.context)).collect()
    }

    fn on_conflict(
        &mut self,
        table: &Arc<Table>,
        shown: &str,
        conflict: &ast::OnConflict,
        level: &Level<'_>,
    ) -> SqlResult<OnConflict> {
        let arbiters = match &conflict.conflict_target {
            None => None,
            Some(ast::ConflictTarget::Columns(names)) => Some(match read_conflict(names)? {
                None => self.arbiters(table, names)?,
                Some(target) => self.inferred(table, &target, level)?,
            }),
            Some(ast::ConflictTarget::OnConstraint(name)) => {
                let name = name_parts(name)?.pop().unwrap_or_default();
                let found = table.indexes.iter().position(|index| index.constraint.is_some() && index.name == name);
                let found = found.ok_or_else(|| {
                    SqlError::new(
                        SqlState::UndefinedObject,
                        format!("constraint \"{name}\" for table \"{}\" does not exist", table.name),
                    )
                })?;
                Some(vec![found])
            }
        };
        let update = match &conflict.action {
            ast::OnConflictAction::DoNothing => None,
            ast::OnConflictAction::DoUpdate(update) => {
                if arbiters.is_none() {
                    return Err(SqlError::new(
                        SqlState::SyntaxError,
                        "ON CONFLICT DO UPDATE requires inference specification or constraint name",
                    )
                    .with_hint("For example, ON CONFLICT (column_name)."));
                }
                let (_, existing) = self.table_rel(Arc::clone(table), shown, None, None, None)?;
                let (_, excluded) = self.table_rel(Arc::clone(table), "excluded", None, None, None)?;
                let mut excluded = Scope::of_range(level, excluded);
                // Only by its name.
                excluded.visible.clear();
                let scope = Scope::of_range(level, existing).join(excluded)?;
                let assignments = self.assignments(table, &update.assignments, &scope)?;
                let filter = match &update.selection {
                    None => None,
                    Some(expr) => {
                        Some(self.with_frame(Clause::Where, |binder| binder.boolean(expr, &scope, "WHERE"))?)
                    }
                };
                Some(ConflictUpdate { assignments, filter })
            }
        };
        Ok(OnConflict { arbiters, update })
    }

    /// The unique indexes over exactly these columns.
    fn arbiters(&self, table: &Table, names: &[ast::Ident]) -> SqlResult<Vec<usize>> {
        let mut wanted = Vec::with_capacity(names.len());
        for name in names {
            wanted.push(self.target_column(table, &ast::ObjectName::from(vec![name.clone()]))?);
        }
        wanted.sort_unstable();
        wanted.dedup();
        let matches = |index: &catalog::Index| {
            let mut keys: Vec<usize> = table.key_positions(index).collect();
            keys.sort_unstable();
            keys.dedup();
            index.unique && index.predicate.is_none() && keys == wanted
        };
        let found: Vec<usize> =
            table.indexes.iter().enumerate().filter(|(_, index)| matches(index)).map(|(at, _)| at).collect();
        if found.is_empty() { Err(no_arbiter()) } else { Ok(found) }
    }

    /// The unique indexes over exactly these expressions that hold every row for which the predicate is true.
    fn inferred(&mut self, table: &Arc<Table>, target: &ConflictTarget, level: &Level<'_>) -> SqlResult<Vec<usize>> {
        let scope = Scope::of_range(level, super::stored_range(table));
        let (keys, predicate) = self.with_frame(Clause::Check, |binder| {
            let mut keys = Vec::with_capacity(target.exprs.len());
            for expr in &target.exprs {
                let bound = binder.expr(unnested(expr), &scope)?;
                keys.push(binder.settle_text(bound)?);
            }
            let predicate = target.predicate.as_ref().map(|expr| binder.boolean(expr, &scope, "WHERE")).transpose()?;
            Ok((keys, predicate))
        })?;
        let mut found = Vec::new();
        for (at, index) in table.indexes.iter().enumerate().filter(|(_, index)| index.unique) {
            let mut columns = Vec::new();
            for position in table.key_positions(index) {
                columns.push(key_expr(table, position, self.context)?);
            }
            let covers = match &index.predicate {
                None => true,
                Some(text) => {
                    let kept = super::bind_stored_expr(text, table, self.context)?;
                    predicate.as_ref().is_some_and(|given| implies(given, &kept))
                }
            };
            let is_over = columns.len() == keys.len()
                && columns.iter().all(|column| keys.iter().any(|key| same_expr(key, column)));
            if covers && is_over {
                found.push(at);
            }
        }
        if found.is_empty() { Err(no_arbiter()) } else { Ok(found) }
    }

    /// SET, with each value cast to its column's type.
    fn assignments(
        &mut self,
        table: &Table,
        list: &[ast::Assignment],
        scope: &Scope<'_>,
    ) -> SqlResult<Vec<(usize, Expr)>> {
        let mut bound: Vec<(usize, Expr)> = Vec::with_capacity(list.len());
        for assignment in list {
            let pairs = match &assignment.target {
                ast::AssignmentTarget::ColumnName(name) => {
                    let position = self.target_column(table, name)?;
                    vec![(position, self.assigned(table, position, &assignment.value, scope)?)]
                }
                ast::AssignmentTarget::Tuple(names) => self.row_assignment(table, names, &assignment.value, scope)?,
            };
            for (position, value) in pairs {
                let column = &table.columns[position];
                if bound.iter().any(|(known, _)| *known == position) {
                    return Err(SqlError::new(
                        SqlState::SyntaxError,
                        format!("multiple assignments to same column \"{}\"", column.name),
                    ));
                }
                bound.push((position, value));
            }
        }
        Ok(bound)
    }

    fn assigned(&mut self, table: &Table, position: usize, expr: &ast::Expr, scope: &Scope<'_>) -> SqlResult<Expr> {
        let column = &table.columns[position];
        if is_default(unnested(expr)) {
            return column_default(table, position, self.context);
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
        table: &Table,
        names: &[ast::ObjectName],
        value: &ast::Expr,
        scope: &Scope<'_>,
    ) -> SqlResult<Vec<(usize, Expr)>> {
        let positions = names.iter().map(|name| self.target_column(table, name)).collect::<SqlResult<Vec<_>>>()?;
        let mismatch = || SqlError::new(SqlState::SyntaxError, "number of columns does not match number of values");
        let fields: Vec<&ast::Expr> = match value {
            ast::Expr::Subquery(query) => {
                let values = self.with_frame(Clause::Update, |binder| {
                    binder.row_subquery(query, positions.len(), scope)
                })?;
                let mut pairs = Vec::with_capacity(positions.len());
                for (position, value) in positions.into_iter().zip(values) {
                    let column = &table.columns[position];
                    check_updatable(column)?;
                    pairs.push((position, self.assign(value, &column.name, column.declared())?));
                }
                return Ok(pairs);
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
            other if positions.len() == 1 => vec![other],
            _ => {
                return Err(SqlError::not_supported(
                    "source for a multiple-column UPDATE item must be a sub-SELECT or ROW() expression",
                ));
            }
        };
        if fields.len() != positions.len() {
            return Err(mismatch());
        }
        positions
            .into_iter()
            .zip(fields)
            .map(|(position, expr)| Ok((position, self.assigned(table, position, expr, scope)?)))
            .collect()
    }

    /// The table of UPDATE or DELETE with its rows locked, and its scope.
    fn target<'s>(
        &mut self,
        factor: &ast::TableFactor,
        level: &'s Level<'s>,
    ) -> SqlResult<(Arc<Table>, Rel, Scope<'s>)> {
        let ast::TableFactor::Table { name, alias, args: None, .. } = factor else {
            return Err(SqlError::new(SqlState::SyntaxError, "only a table can be changed"));
        };
        let table = find_table(self.context, name).map_err(|error| self.at(error, name))?;
        let shown = alias.as_ref().map_or_else(|| table.name.clone(), |alias| fold(&alias.name));
        let (rel, range) = self.table_rel(Arc::clone(&table), &shown, None, Some(CHANGE_LOCK), alias.as_ref())?;
        Ok((table, rel, Scope::of_range(level, range)))
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
        let (table, rel, scope) = self.target(&update.table.relation, level)?;
        let (mut rel, scope) = self.from_after((rel, scope), from, level)?;
        let assignments = self.assignments(&table, &update.assignments, &scope)?;
        // A trigger may change any column before the row is written.
        let is_before = |trigger: &catalog::Trigger| {
            trigger.timing == TriggerTiming::Before && trigger.for_each_row && trigger.events.has(TriggerEvent::Update)
        };
        if !changes_key(&table, &assignments) && !table.triggers.iter().any(is_before) {
            weaken_lock(&mut rel);
        }
        let (source, returning, columns) =
            self.changed_rows(rel, &scope, update.selection.as_ref(), update.returning.as_deref())?;
        let row_rules = row_rules(&table, self.context)?;
        let update = Update { table, source: no_plan(), assignments, row_rules, returning };
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
        let (table, rel, scope) = self.target(&item.relation, level)?;
        let (rel, scope) = self.from_after((rel, scope), delete.using.as_deref().unwrap_or_default(), level)?;
        let (source, returning, columns) =
            self.changed_rows(rel, &scope, delete.selection.as_ref(), delete.returning.as_deref())?;
        let row_rules = row_rules(&table, self.context)?;
        let delete = Delete { table, source: no_plan(), row_rules, returning };
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
        RelNode::Join { left, .. } => weaken_lock(left),
        _ => {}
    }
}

/// VALUES with nothing around it.
fn is_bare(query: &ast::Query) -> bool {
    query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && query.locks.is_empty()
}

fn check_updatable(column: &catalog::Column) -> SqlResult<()> {
    let detail = match &column.default {
        Some(ColumnDefault::Stored(_)) => "a generated column",
        Some(ColumnDefault::Identity { always: true, .. }) => "an identity column defined as GENERATED ALWAYS",
        _ => return Ok(()),
    };
    Err(SqlError::new(
        SqlState::GeneratedAlways,
        format!("column \"{}\" can only be updated to DEFAULT", column.name),
    )
    .with_detail(format!("Column \"{}\" is {detail}.", column.name)))
}
