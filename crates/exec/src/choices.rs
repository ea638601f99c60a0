//! CASE and COALESCE over whole columns.
//!
//! Each branch is evaluated for the rows that come to it alone, so nothing is computed, and nothing fails, for a row
//! that another branch answers: *lazy-semantics* holds without a second evaluation.

use std::sync::Arc;

use plan::Expr;
use types::{Batch, ColumnVec, Primitive, SqlType};

use crate::eval::EvalScope;
use crate::vectorized::{GaveUp, Operand, eval, operand};

/// The rows of a batch that have no value yet, and the values of the others.
struct Choice<'b, 's> {
    batch: &'b Batch,
    scope: &'b EvalScope<'s>,
    /// Rows without a value.
    open: Vec<u32>,
    /// All values that were made, and for each row of the batch which one is its own.
    values: ColumnVec,
    places: Vec<u32>,
}

impl<'b, 's> Choice<'b, 's> {
    fn new(ty: &SqlType, batch: &'b Batch, scope: &'b EvalScope<'s>) -> Self {
        let len = batch.len();
        let open = (0..len as u32).collect();
        Self { batch, scope, open, values: ColumnVec::with_capacity(ty, len), places: vec![0; len] }
    }

    /// An expression over some rows. Columns that it does not read are not copied.
    fn over(&self, expr: &Expr, rows: &[u32]) -> Batch {
        if rows.len() == self.batch.len() {
            return self.batch.clone();
        }
        let used = expr.columns_used();
        let unused = Arc::new(ColumnVec::Bool(Primitive::from_values(vec![false; rows.len()])));
        let column = |(at, column): (usize, &Arc<ColumnVec>)| match used.contains(&at) {
            true => Arc::new(column.gather(rows)),
            false => Arc::clone(&unused),
        };
        Batch::new(self.batch.columns().iter().enumerate().map(column).collect(), rows.len())
    }

    /// Gives rows, which are open, the values of an expression.
    fn give(&mut self, rows: &[u32], value: &Expr) -> Result<(), GaveUp> {
        let first = self.values.len() as u32;
        match operand(value, &self.over(value, rows), self.scope)? {
            Operand::Value(datum, _) => {
                self.values.push(&datum);
                rows.iter().for_each(|row| self.places[*row as usize] = first);
            }
            Operand::Column(column) => {
                self.values.append(&column);
                self.number(rows, first);
            }
        }
        Ok(())
    }

    fn number(&mut self, rows: &[u32], first: u32) {
        for (value, row) in (first..).zip(rows) {
            self.places[*row as usize] = value;
        }
    }

    /// Takes these places of the open rows out of them: their rows.
    fn close(&mut self, found: &[u32]) -> Vec<u32> {
        let mut closed = Vec::with_capacity(found.len());
        let mut found = found.iter().copied().peekable();
        let mut at = 0;
        self.open.retain(|row| {
            let is_found = found.next_if_eq(&at).is_some();
            at += 1;
            if is_found {
                closed.push(*row);
            }
            !is_found
        });
        closed
    }

    /// The rows that are open yet have NULL.
    fn finish(mut self) -> Result<ColumnVec, GaveUp> {
        if !self.open.is_empty() {
            let first = self.values.len() as u32;
            self.values.push_null();
            self.open.iter().for_each(|row| self.places[*row as usize] = first);
        }
        let column = self.values.gather(&self.places);
        self.scope.made().add_column(&column).map_err(|_| GaveUp)?;
        Ok(column)
    }
}

/// `CASE WHEN … THEN … ELSE … END`.
pub(crate) fn case(
    branches: &[(Expr, Expr)],
    otherwise: Option<&Expr>,
    ty: &SqlType,
    batch: &Batch,
    scope: &EvalScope<'_>,
) -> Result<ColumnVec, GaveUp> {
    let mut choice = Choice::new(ty, batch, scope);
    for (condition, value) in branches {
        if choice.open.is_empty() {
            break;
        }
        let found = eval(condition, &choice.over(condition, &choice.open), scope)?.true_rows();
        if !found.is_empty() {
            let rows = choice.close(&found);
            choice.give(&rows, value)?;
        }
    }
    if let Some(value) = otherwise
        && !choice.open.is_empty()
    {
        let rows = std::mem::take(&mut choice.open);
        choice.give(&rows, value)?;
    }
    choice.finish()
}

pub(crate) fn coalesce(
    list: &[Expr],
    ty: &SqlType,
    batch: &Batch,
    scope: &EvalScope<'_>,
) -> Result<ColumnVec, GaveUp> {
    let mut choice = Choice::new(ty, batch, scope);
    for value in list {
        if choice.open.is_empty() {
            break;
        }
        let column = eval(value, &choice.over(value, &choice.open), scope)?;
        let found: Vec<u32> = (0..column.len() as u32).filter(|row| !column.is_null(*row as usize)).collect();
        let rows = choice.close(&found);
        let first = choice.values.len() as u32;
        choice.values.append(&column.gather(&found));
        choice.number(&rows, first);
    }
    choice.finish()
}
