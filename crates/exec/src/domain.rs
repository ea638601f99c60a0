//! Whether values may be those of a domain.

use plan::DomainRules;
use types::{Datum, SqlError, SqlResult, SqlState};

use crate::eval::{EvalScope, eval_row};

/// # Errors
/// 23502 and 23514.
pub(crate) fn check_value(rules: &DomainRules, value: &Datum, scope: &EvalScope<'_>) -> SqlResult<()> {
    if rules.not_null && value.is_null() {
        let message = format!("domain {} does not allow null values", rules.domain.shown());
        return Err(of_domain(SqlError::new(SqlState::NotNullViolation, message), rules));
    }
    for (name, condition) in &rules.checks {
        if eval_row(condition, std::slice::from_ref(value), scope)?.as_bool() == Some(false) {
            let message = format!("value for domain {} violates check constraint \"{name}\"", rules.domain.shown());
            return Err(of_domain(SqlError::new(SqlState::CheckViolation, message), rules).with_constraint(name));
        }
    }
    Ok(())
}

#[cold]
fn of_domain(error: SqlError, rules: &DomainRules) -> SqlError {
    let content = rules.domain.content();
    error.with_schema(&*content.schema).with_datatype(&*content.name)
}
