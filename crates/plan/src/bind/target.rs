//! What INSERT, UPDATE and DELETE change: a table, or the one under a view, and which of its columns get which values.

use std::sync::Arc;

use catalog::{ColumnDefault, Table, TriggerEvent};
use types::{SqlError, SqlResult, SqlState};

use super::stored::{column_default, row_rules};
use super::through::{Mentioned, Place, Through, ThroughColumn, column_refusal};
use super::{Binder, without_domains};
use crate::expr::Expr;
use crate::needs::Reads;
use crate::parse::targets::TargetStep;
use crate::plan::{CheckOption, RowRules};
use crate::scope::Range;

/// What a statement changes: a table, or the one under a view.
pub(super) struct Target {
    pub table: Arc<Table>,
    /// Of a view.
    pub columns: Option<Vec<ThroughColumn>>,
    /// The relation that the statement names.
    pub name: String,
    pub id: u32,
    pub event: TriggerEvent,
    pub checks: Vec<(String, Expr)>,
    /// The relation that the statement names, and those under it down to the table.
    pub mentions: Vec<Mentioned>,
}

impl Target {
    /// The columns that values are given for without a list of columns: of a view their places in it, else in the table.
    pub(super) fn all_columns(&self) -> Vec<usize> {
        match &self.columns {
            Some(columns) => (0..columns.len()).collect(),
            None => self.table.visible_columns().map(|(position, _)| position).collect(),
        }
    }

    pub(super) fn place(&self, column: usize) -> Place {
        match &self.columns {
            Some(columns) => columns[column].place.clone(),
            None => Place::Column(column),
        }
    }

    /// The statement gives values for these columns.
    pub(super) fn inserts(&self, columns: &[usize]) {
        self.mentions.iter().for_each(|it| it.mention.inserts_ids(columns.iter().filter_map(|at| it.ids[*at])));
    }

    /// The statement changes this column.
    pub(super) fn updates(&self, column: usize) {
        self.mentions.iter().for_each(|it| it.mention.updates_ids(it.ids[column]));
    }

    /// The statement reads this column.
    pub(super) fn selects(&self, column: usize) {
        // What a view reads below is noted where its query is bound.
        if let Some(Mentioned { mention, ids }) = self.mentions.first() {
            ids[column].into_iter().for_each(|id| mention.select(id));
        }
    }

    /// What expressions over the table's row read of the relation that the statement names.
    pub(super) fn reads(&self) -> Vec<Reads> {
        let Some(named) = self.mentions.first() else { return Vec::new() };
        vec![match &self.columns {
            None => named.mention.of_table(&self.table),
            Some(columns) => {
                let values = columns.iter().zip(&named.ids).filter_map(|(it, id)| Some((it.value.clone(), (*id)?)));
                named.mention.of_values(values.collect())
            }
        }]
    }

    pub(super) fn position(&self, place: &Place) -> SqlResult<usize> {
        match place {
            Place::Column(position) => Ok(*position),
            Place::Nowhere { view, column, reason } => Err(column_refusal(self.event, view, column, reason)),
        }
    }

    /// A view as the range of a row of its table.
    pub(super) fn range(&self, binder: &mut Binder<'_>, shown: &str) -> SqlResult<Range> {
        match &self.columns {
            None => binder.table_rel(Arc::clone(&self.table), shown, None, None, None).map(|(_, range)| range),
            Some(columns) => {
                let (rel, _) = binder.table_rel(Arc::clone(&self.table), shown, None, None, None)?;
                Through { table: self.table.clone(), rel, columns: columns.clone(), checks: Vec::new(), mentions: Vec::new() }
                    .range(shown, None)
            }
        }
    }

    /// What `SET c = DEFAULT` makes of a column. Of a view, its own default counts, and not those below it.
    pub(super) fn update_default(&self, position: usize, binder: &mut Binder<'_>) -> SqlResult<Expr> {
        let is_of = |column: &&ThroughColumn| matches!(column.place, Place::Column(at) if at == position);
        match self.columns.iter().flatten().find(is_of) {
            Some(ThroughColumn { default: Some((view, _)), .. }) if view.id == self.id => {
                check_updatable(&self.table.columns[position])?;
                self.default(position, binder)
            }
            Some(_) if self.table.id != self.id => {
                let column = &self.table.columns[position];
                check_updatable(column)?;
                let null = Expr::Const(types::Datum::Null, column.ty);
                binder.coerce(null, column.declared(), types::CastContext::Assignment)
            }
            Some(_) | None => self.default(position, binder),
        }
    }

    /// What INSERT makes of a column that nothing is given for.
    pub(super) fn default(&self, position: usize, binder: &Binder<'_>) -> SqlResult<Expr> {
        let is_of = |column: &&ThroughColumn| matches!(column.place, Place::Column(at) if at == position);
        let of_view = self.columns.iter().flatten().filter(is_of).find_map(|column| column.default.as_ref());
        match of_view.filter(|_| !binder.is_overridden(&self.table, position)) {
            Some((view, at)) => {
                binder.check_insertable(&self.table, position)?;
                column_default(view, *at, binder.context)
            }
            None => column_default(&self.table, position, binder.context),
        }
    }

    /// What new rows must pass, the views' conditions among it.
    pub(super) fn rules(&self, binder: &Binder<'_>) -> SqlResult<Arc<RowRules>> {
        let mut rules = row_rules(&self.table, binder.context)?;
        if !self.checks.is_empty() {
            let checks = self.checks.iter().cloned().map(|(view, mut condition)| {
                without_domains(&mut condition);
                CheckOption { view, condition }
            });
            Arc::make_mut(&mut rules).check_options = checks.collect();
        }
        Ok(rules)
    }
}

/// The columns that INSERT gives values for, in the order of the values.
#[derive(Debug, Default)]
pub(super) struct Targets {
    /// As [`Target::all_columns`].
    pub columns: Vec<usize>,
    /// From each column to the part of it that the value is for.
    pub steps: Vec<Vec<TargetStep>>,
    pub are_listed: bool,
}

impl Targets {
    /// Without a list of columns, values may be given for the first ones only.
    pub(super) fn for_width(&self, width: usize, target: &Target) -> SqlResult<Vec<usize>> {
        let refuse = |message: &str| Err(SqlError::new(SqlState::SyntaxError, message));
        if width > self.columns.len() {
            return refuse("INSERT has more expressions than target columns");
        }
        if width < self.columns.len() && self.are_listed {
            return refuse("INSERT has more target columns than expressions");
        }
        let mut positions: Vec<usize> = Vec::with_capacity(width);
        let mut whole: Vec<bool> = Vec::with_capacity(width);
        for (column, steps) in self.columns[..width].iter().zip(&self.steps) {
            let position = target.position(&target.place(*column))?;
            // Two columns of a view may be one of its table.
            let is_whole = steps.is_empty();
            if positions.iter().zip(&whole).any(|(known, known_whole)| *known == position && (is_whole || *known_whole)) {
                return Err(assigned_twice(&target.table.columns[position].name));
            }
            positions.push(position);
            whole.push(is_whole);
        }
        target.inserts(&self.columns[..width]);
        Ok(positions)
    }
}

pub(super) fn assigned_twice(column: &str) -> SqlError {
    SqlError::new(SqlState::SyntaxError, format!("multiple assignments to same column \"{column}\""))
}

pub(super) fn check_updatable(column: &catalog::Column) -> SqlResult<()> {
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
