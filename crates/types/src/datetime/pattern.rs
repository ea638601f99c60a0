//! Patterns.
use super::zone::Zone;
use crate::{Datum, Numeric, SqlError, SqlResult, SqlType};
pub fn to_char(_ty: &SqlType, _v: &Datum, _pattern: &str, _z: &Zone) -> SqlResult<String> { Err(SqlError::internal("to_char")) }
pub fn to_timestamp(_text: &str, _pattern: &str, _z: &Zone) -> SqlResult<i64> { Err(SqlError::internal("to_char")) }
pub fn to_date(_text: &str, _pattern: &str) -> SqlResult<i32> { Err(SqlError::internal("to_char")) }
pub fn numeric_to_char(_v: &Numeric, _pattern: &str) -> SqlResult<String> { Err(SqlError::internal("to_char")) }
pub fn to_number(_text: &str, _pattern: &str) -> SqlResult<Numeric> { Err(SqlError::internal("to_char")) }
