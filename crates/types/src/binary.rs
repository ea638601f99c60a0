//! Binary format.
use crate::{Datum, SqlError, SqlResult, SqlType};
pub fn parse_binary(_ty: &SqlType, _input: &[u8]) -> SqlResult<Datum> { Err(SqlError::internal("binary")) }
pub fn write_binary(_ty: &SqlType, _d: &Datum, _out: &mut Vec<u8>) {}
