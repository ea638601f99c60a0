//! Rows of virtual tables, written column by column with their names.

use std::sync::Arc;

use keys::ColumnId;
use types::{Array, Datum, SqlType};

use super::VirtualTable;

/// The rows of a table as they are made.
#[derive(Debug)]
pub struct Rows {
    table: &'static VirtualTable,
    rows: Vec<Vec<Datum>>,
}

impl Rows {
    #[must_use]
    pub fn new(table: &'static VirtualTable) -> Self {
        Self { table, rows: Vec::new() }
    }

    /// A row with values at some positions and NULL at the others.
    pub fn push<const N: usize>(&mut self, positions: &[usize; N], values: [Datum; N]) {
        let mut row = vec![Datum::Null; self.table.columns.len()];
        for (position, value) in positions.iter().zip(values) {
            row[*position] = value;
        }
        self.rows.push(row);
    }

    /// Where the columns of these names are.
    #[must_use]
    pub fn positions<const N: usize>(&self, names: [&str; N]) -> [usize; N] {
        names.map(|name| {
            let position = self.table.position(name);
            position.unwrap_or_else(|| panic!("{} has no column {name}", self.table.name))
        })
    }

    #[must_use]
    pub fn finish(self) -> Vec<Vec<Datum>> {
        self.rows
    }
}

/// Adds a row: `row!(rows, { oid: 1, relname: "t" })`. Columns that are not named are NULL.
macro_rules! row {
    ($rows:expr, { $($column:ident: $value:expr),* $(,)? }) => {{
        const COUNT: usize = [$(stringify!($column)),*].len();
        static POSITIONS: std::sync::OnceLock<[usize; COUNT]> = std::sync::OnceLock::new();
        let positions = POSITIONS.get_or_init(|| $rows.positions([$(stringify!($column)),*]));
        $rows.push(positions, [$($crate::virtual_tables::row::Cell::datum($value)),*]);
    }};
}
pub(crate) use row;

/// A Rust value as a column's.
pub trait Cell {
    fn datum(self) -> Datum;
}

impl Cell for Datum {
    fn datum(self) -> Datum {
        self
    }
}

impl Cell for bool {
    fn datum(self) -> Datum {
        Datum::Bool(self)
    }
}

impl Cell for i64 {
    fn datum(self) -> Datum {
        Datum::Int(self)
    }
}

impl Cell for i32 {
    fn datum(self) -> Datum {
        Datum::Int(self.into())
    }
}

impl Cell for u32 {
    fn datum(self) -> Datum {
        Datum::Int(self.into())
    }
}

impl Cell for usize {
    fn datum(self) -> Datum {
        Datum::Int(self as i64)
    }
}

/// An attribute number.
impl Cell for ColumnId {
    fn datum(self) -> Datum {
        Datum::Int(self.get().into())
    }
}

impl Cell for f64 {
    fn datum(self) -> Datum {
        Datum::Float(self)
    }
}

impl Cell for char {
    fn datum(self) -> Datum {
        let mut buffer = [0; 4];
        Datum::text(&*self.encode_utf8(&mut buffer))
    }
}

impl Cell for &str {
    fn datum(self) -> Datum {
        Datum::text(self)
    }
}

impl Cell for &String {
    fn datum(self) -> Datum {
        Datum::text(self.as_str())
    }
}

impl Cell for String {
    fn datum(self) -> Datum {
        Datum::text(self)
    }
}

impl<T: Cell> Cell for Option<T> {
    fn datum(self) -> Datum {
        self.map_or(Datum::Null, Cell::datum)
    }
}

/// An array from 1.
impl<T: Cell> Cell for Vec<T> {
    fn datum(self) -> Datum {
        Datum::Array(Arc::new(Array::from_elements(self.into_iter().map(Cell::datum).collect())))
    }
}

/// An `int2vector` or `oidvector`, which count from 0.
pub struct Vector<T>(pub Vec<T>);

impl<T: Cell> Cell for Vector<T> {
    fn datum(self) -> Datum {
        let elements = self.0.into_iter().map(Cell::datum).collect();
        Datum::Array(Arc::new(Array::with_lower_bound(elements, 0)))
    }
}

/// `YES` and `NO` of the information schema.
pub struct YesNo(pub bool);

impl Cell for YesNo {
    fn datum(self) -> Datum {
        Datum::text(if self.0 { "YES" } else { "NO" })
    }
}

/// A type's oid.
impl Cell for SqlType {
    fn datum(self) -> Datum {
        Datum::Int(self.oid().into())
    }
}
