//! Rows.
use crate::{ColumnVec, Datum, SqlType};
use keys::ColumnId;
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("row value is damaged at byte {at}")]
pub struct RowError { pub at: usize }
#[derive(Debug, Clone)]
pub struct WantedColumn { pub id: ColumnId, pub ty: SqlType, pub slot: usize, pub missing: Datum }
pub struct RowEncoder { out: Vec<u8> }
impl RowEncoder {
    pub fn new() -> Self { Self { out: Vec::new() } }
    /// Ids must rise. NULL is left out.
    pub fn push(&mut self, _id: ColumnId, _ty: &SqlType, _d: &Datum) {}
    /// For columns whose absence means something other than NULL.
    pub fn push_null(&mut self, _id: ColumnId) {}
    pub fn finish(self) -> Vec<u8> { self.out }
}
pub struct RowDecoder { wanted: Vec<WantedColumn> }
impl RowDecoder {
    pub fn new(wanted: Vec<WantedColumn>) -> Self { Self { wanted } }
    /// Appends one row: wanted column i goes to `columns[wanted.slot]`.
    pub fn decode_into(&self, _row: &[u8], _columns: &mut [ColumnVec]) -> Result<(), RowError> { let _ = &self.wanted; Ok(()) }
    /// Sets `row_out[slot]`.
    pub fn decode_datums(&self, _row: &[u8], _out: &mut [Datum]) -> Result<(), RowError> { Ok(()) }
}
