//! Casts.
use crate::{Datum, Formatting, SqlError, SqlResult, SqlType};
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CastContext { Implicit, Assignment, Explicit }
pub fn can_cast(_from: &SqlType, _to: &SqlType) -> Option<CastContext> { None }
pub fn cast(_d: Datum, _from: &SqlType, _to: &SqlType, _c: CastContext, _f: &Formatting) -> SqlResult<Datum> { Err(SqlError::internal("cast")) }
