//! Names that are no columns: the variables of a routine's body, as binding sees them.
//!
//! A column comes first unless the body says otherwise; a variable becomes a parameter. Whoever answers numbers the
//! parameters, the same name always alike: a statement may be bound more than once.

use types::{SqlError, SqlResult, SqlState, SqlType};

/// What a name means that is both a column and a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VariableConflict {
    /// 42702.
    Error,
    UseVariable,
    UseColumn,
}

/// Whoever knows the variables around a statement.
pub trait VariableSource {
    /// The parameter that a name of one or more parts is, counted from 0. `is_column`: it is a column as well.
    ///
    /// # Errors
    /// 42703 and 55000 for a field that a record does not have.
    fn resolve(&self, parts: &[&str], is_column: bool) -> SqlResult<Option<(usize, SqlType)>>;

    /// What `$number` is.
    fn positional(&self, number: usize) -> Option<(usize, SqlType)>;

    fn conflict(&self) -> VariableConflict;
}

pub(crate) fn ambiguous(name: &str) -> SqlError {
    SqlError::new(SqlState::AmbiguousColumn, format!("column reference \"{name}\" is ambiguous"))
        .with_detail("It could refer to either a PL/pgSQL variable or a table column.")
}
