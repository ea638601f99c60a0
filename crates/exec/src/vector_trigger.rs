//! `tsvector_update_trigger` and `tsvector_update_trigger_column`: keep a tsvector of other columns of the row.

use builtins::text_search::configuration::{Configuration, configurations, vector_of};
use catalog::text_search::{UPDATE_TRIGGER, UPDATE_TRIGGER_COLUMN};
use catalog::{Column, TriggerEvent, TriggerTiming};
use types::{Datum, SqlError, SqlResult, SqlState, SqlType};

use crate::trigger::TriggerCall;

/// The row that a trigger makes, where its function is one of the two.
pub(crate) fn fire(call: &TriggerCall<'_>) -> Option<SqlResult<Datum>> {
    matches!(call.routine.id, UPDATE_TRIGGER | UPDATE_TRIGGER_COLUMN).then(|| updated(call))
}

/// A visible column, and its place in the row.
fn column<'c>(call: &'c TriggerCall<'_>, name: &str) -> Option<(usize, &'c Column)> {
    let name = name.to_lowercase();
    call.table.columns.iter().filter(|column| !column.hidden).enumerate().find(|(_, column)| column.name == name)
}

fn missing(what: &str, name: &str) -> SqlError {
    SqlError::new(SqlState::UndefinedColumn, format!("{what} \"{name}\" does not exist"))
}

fn mismatch(message: String) -> SqlError {
    SqlError::new(SqlState::DatatypeMismatch, message)
}

fn updated(call: &TriggerCall<'_>) -> SqlResult<Datum> {
    let refuse = |why: &str| Err(SqlError::internal(format!("tsvector_update_trigger: {why}")));
    if !call.trigger.for_each_row {
        return refuse("must be fired for row");
    }
    if call.trigger.timing != TriggerTiming::Before {
        return refuse("must be fired BEFORE event");
    }
    let (TriggerEvent::Insert | TriggerEvent::Update, Some(Datum::Record(row))) = (call.event, &call.new) else {
        return refuse("must be fired for INSERT or UPDATE");
    };
    let [vector, configuration, texts @ ..] = call.trigger.arguments.as_slice() else {
        return refuse("arguments must be tsvector_field, ts_config, text_field1, ...)");
    };
    if texts.is_empty() {
        return refuse("arguments must be tsvector_field, ts_config, text_field1, ...)");
    }
    let (place, of_vector) = column(call, vector).ok_or_else(|| missing("tsvector column", vector))?;
    if of_vector.ty != SqlType::TsVector {
        return Err(mismatch(format!("column \"{vector}\" is not of tsvector type")));
    }
    let oid = match call.routine.id {
        UPDATE_TRIGGER_COLUMN => {
            let (at, of) = column(call, configuration).ok_or_else(|| missing("configuration column", configuration))?;
            if of.ty != SqlType::RegConfig {
                return Err(mismatch(format!("column \"{configuration}\" is not of regconfig type")));
            }
            row[at].as_int().ok_or_else(|| {
                let message = format!("configuration column \"{configuration}\" must not be null");
                SqlError::new(SqlState::NullValueNotAllowed, message)
            })?
        }
        _ => named(configuration)?,
    };
    let known = configurations().iter().find(|it| i64::from(it.oid) == oid);
    let known = known.ok_or_else(|| SqlError::internal(format!("cache lookup failed for text search configuration {oid}")))?;
    let mut fields = row.to_vec();
    fields[place] = vector_of_columns(call, row, texts, &known.configuration)?;
    Datum::record(fields)
}

fn vector_of_columns(
    call: &TriggerCall<'_>,
    row: &[Datum],
    names: &[String],
    configuration: &Configuration,
) -> SqlResult<Datum> {
    let mut words = Vec::new();
    let mut last = 0;
    for name in names {
        let (at, column) = column(call, name).ok_or_else(|| missing("column", name))?;
        if !matches!(column.ty.base(), SqlType::Text | SqlType::Varchar(_) | SqlType::Char(_)) {
            return Err(mismatch(format!("column \"{name}\" is not of a character type")));
        }
        if let Some(text) = row[at].as_str() {
            words.extend(configuration.words(text, &mut last));
        }
    }
    vector_of(words).map(Datum::tsvector)
}

/// The oid of a configuration, which is named with its schema.
fn named(name: &str) -> SqlResult<i64> {
    let parts = types::split_identifiers(name).unwrap_or_default();
    match parts.as_slice() {
        [_] => Err(SqlError::new(
            SqlState::InvalidParameterValue,
            format!("text search configuration name \"{name}\" must be schema-qualified"),
        )),
        [schema, bare] if schema == "pg_catalog" => {
            configurations().iter().find(|it| it.name == bare).map(|it| it.oid.into()).ok_or_else(|| no_configuration(name))
        }
        _ => Err(no_configuration(name)),
    }
}

fn no_configuration(name: &str) -> SqlError {
    SqlError::new(SqlState::UndefinedObject, format!("text search configuration \"{name}\" does not exist"))
}
