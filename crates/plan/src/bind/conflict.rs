//! ON CONFLICT: which unique indexes decide whether a row is there already, and what is done then.

use catalog::Table;
use sqlparser::ast;
use types::{SqlError, SqlResult, SqlState};

use super::expr::unnested;
use super::implied::implies;
use super::same::same_expr;
use super::stored::key_expr;
use super::target::Target;
use super::through::Place;
use super::{Binder, Clause, name_parts};
use crate::parse::extras::{ConflictTarget, read_conflict};
use crate::plan::{ConflictUpdate, OnConflict};
use crate::scope::{Level, Scope};

fn no_arbiter() -> SqlError {
    SqlError::new(
        SqlState::InvalidColumnReference,
        "there is no unique or exclusion constraint matching the ON CONFLICT specification",
    )
}

impl Binder<'_> {
    pub(super) fn on_conflict(
        &mut self,
        target: &Target,
        shown: &str,
        conflict: &ast::OnConflict,
        level: &Level<'_>,
    ) -> SqlResult<OnConflict> {
        let table = &target.table;
        let arbiters = match &conflict.conflict_target {
            None => None,
            Some(ast::ConflictTarget::Columns(names)) => Some(match read_conflict(names)? {
                None => self.arbiters(target, names)?,
                Some(exprs) => self.inferred(target, &exprs, level)?,
            }),
            Some(ast::ConflictTarget::OnConstraint(name)) => {
                let name = name_parts(name)?.pop().unwrap_or_default();
                let is_meant = |index: &catalog::Index| index.constraint.is_some() && index.name == name;
                // A view has none of its own.
                let found = table.indexes.iter().position(|index| target.columns.is_none() && is_meant(index));
                let found = found.ok_or_else(|| {
                    SqlError::new(
                        SqlState::UndefinedObject,
                        format!("constraint \"{name}\" for table \"{}\" does not exist", target.name),
                    )
                })?;
                let is_update = matches!(conflict.action, ast::OnConflictAction::DoUpdate(_));
                if is_update && table.indexes[found].is_exclusion() {
                    let message = "ON CONFLICT DO UPDATE not supported with exclusion constraints";
                    return Err(SqlError::new(SqlState::WrongObjectType, message));
                }
                Some(vec![found])
            }
        };
        // What says which rows are in conflict is read; of a view, what is named is.
        for at in arbiters.iter().flatten().filter(|_| target.columns.is_none()) {
            let keys = table.key_positions(&table.indexes[*at]).filter(|at| !table.columns[*at].hidden);
            keys.for_each(|position| target.selects(position));
        }
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
                let width = table.columns.len();
                let (existing, excluded) = (target.range(self, shown)?, target.range(self, "excluded")?);
                let mut excluded = Scope { width, ..Scope::of_range(level, excluded) };
                // Only by its name.
                excluded.visible.clear();
                let existing = Scope { width, ..Scope::of_range(level, existing) }.reading_all(target.reads());
                let scope = existing.join(excluded.reading_all(target.reads()))?;
                let assignments = self.assignments(target, &update.assignments, &scope)?;
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

    /// Whether an index says of every row whether there is one like it: all partitions must have it.
    fn is_arbiter(&self, table: &Table, index: &catalog::Index) -> bool {
        !table.is_partitioned() || self.context.catalog.is_index_valid(table, index)
    }

    /// The unique indexes over exactly these columns.
    fn arbiters(&self, target: &Target, names: &[ast::Ident]) -> SqlResult<Vec<usize>> {
        let table = &target.table;
        let mut wanted = Vec::with_capacity(names.len());
        for name in names {
            let column = self.target_column(target, &ast::ObjectName::from(vec![name.clone()]))?;
            target.selects(column);
            match target.place(column) {
                Place::Column(position) => wanted.push(position),
                Place::Nowhere { .. } => return Err(no_arbiter()),
            }
        }
        wanted.sort_unstable();
        wanted.dedup();
        let matches = |index: &catalog::Index| {
            let mut keys: Vec<usize> = table.key_positions(index).collect();
            keys.sort_unstable();
            keys.dedup();
            index.is_declared_unique() && index.predicate.is_none() && keys == wanted && self.is_arbiter(table, index)
        };
        let found: Vec<usize> =
            table.indexes.iter().enumerate().filter(|(_, index)| matches(index)).map(|(at, _)| at).collect();
        if found.is_empty() { Err(no_arbiter()) } else { Ok(found) }
    }

    /// The unique indexes over exactly these expressions that hold every row for which the predicate is true.
    fn inferred(&mut self, of: &Target, target: &ConflictTarget, level: &Level<'_>) -> SqlResult<Vec<usize>> {
        let table = &of.table;
        let range = match of.columns {
            None => super::stored_range(table),
            Some(_) => of.range(self, &of.name)?,
        };
        let scope = Scope { width: table.columns.len(), ..Scope::of_range(level, range) }.reading_all(of.reads());
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
        for (at, index) in table.indexes.iter().enumerate().filter(|(_, index)| index.is_declared_unique()) {
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
            if covers && is_over && self.is_arbiter(table, index) {
                found.push(at);
            }
        }
        if found.is_empty() { Err(no_arbiter()) } else { Ok(found) }
    }
}
