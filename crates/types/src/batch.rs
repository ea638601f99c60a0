//! What operators hand to each other: columns of equal length.

use std::sync::Arc;

use crate::datum::Datum;
use crate::sql_type::SqlType;
use crate::vector::ColumnVec;

/// Columns of equal length. Columns are shared, so projecting and renaming copy nothing.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    columns: Vec<Arc<ColumnVec>>,
    len: usize,
}

impl Batch {
    /// # Panics
    /// When a column's length is not `len`. The length is given for batches without columns.
    #[must_use]
    pub fn new(columns: Vec<Arc<ColumnVec>>, len: usize) -> Self {
        for column in &columns {
            assert_eq!(column.len(), len, "all columns of a batch have its length");
        }
        Self { columns, len }
    }

    #[must_use]
    pub fn from_columns(columns: Vec<ColumnVec>, len: usize) -> Self {
        Self::new(columns.into_iter().map(Arc::new).collect(), len)
    }

    #[must_use]
    pub fn from_rows(types: &[SqlType], rows: &[Vec<Datum>]) -> Self {
        let mut columns: Vec<ColumnVec> = types.iter().map(|ty| ColumnVec::with_capacity(ty, rows.len())).collect();
        for row in rows {
            for (column, datum) in columns.iter_mut().zip(row) {
                column.push(datum);
            }
        }
        Self::from_columns(columns, rows.len())
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[must_use]
    pub fn columns(&self) -> &[Arc<ColumnVec>] {
        &self.columns
    }

    #[must_use]
    pub fn into_columns(self) -> Vec<Arc<ColumnVec>> {
        self.columns
    }

    #[must_use]
    pub fn column(&self, index: usize) -> &Arc<ColumnVec> {
        &self.columns[index]
    }

    #[must_use]
    pub fn get_datum(&self, column: usize, row: usize) -> Datum {
        self.columns[column].get_datum(row)
    }

    #[must_use]
    pub fn row(&self, row: usize) -> Vec<Datum> {
        self.columns.iter().map(|column| column.get_datum(row)).collect()
    }

    #[must_use]
    pub fn gather(&self, rows: &[u32]) -> Self {
        Self { columns: self.columns.iter().map(|c| Arc::new(c.gather(rows))).collect(), len: rows.len() }
    }

    /// Keeps the selected rows; the whole batch is passed on unchanged.
    #[must_use]
    pub fn filter(self, selection: &[u32]) -> Self {
        let whole = selection.len() == self.len && selection.iter().enumerate().all(|(i, row)| i == *row as usize);
        if whole { self } else { self.gather(selection) }
    }

    #[must_use]
    pub fn slice(&self, from: usize, len: usize) -> Self {
        if from == 0 && len == self.len {
            return self.clone();
        }
        Self { columns: self.columns.iter().map(|c| Arc::new(c.slice(from, len))).collect(), len }
    }

    /// The columns at these positions, shared.
    #[must_use]
    pub fn project(&self, columns: &[usize]) -> Self {
        Self { columns: columns.iter().map(|c| Arc::clone(&self.columns[*c])).collect(), len: self.len }
    }

    /// Appends the rows of a batch of the same types.
    pub fn append(&mut self, other: &Self) {
        if self.columns.is_empty() && self.len == 0 {
            *self = other.clone();
            return;
        }
        assert_eq!(self.columns.len(), other.columns.len(), "batches of one stream have the same columns");
        for (column, more) in self.columns.iter_mut().zip(&other.columns) {
            Arc::make_mut(column).append(more);
        }
        self.len += other.len;
    }

    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.columns.iter().map(|column| column.memory_bytes()).sum()
    }
}
