//! Conversion of values from one type to another.
//!
//! A cast is two steps, as in PostgreSQL: the value is brought to the target's base type, then fitted into the
//! target's modifier. Only the second step depends on the context: an explicit cast to `varchar(3)` cuts what is too
//! long, storing into a `varchar(3)` column refuses it.
//!
//! Which pairs of types have a cast, and where it may happen unasked, is [`paths`]; how values change is [`convert`].

mod convert;
mod paths;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::array::Array;
use crate::datetime::round_micros;
use crate::datum::{Datum, TimeTz};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::formatting::Formatting;
use crate::sql_type::SqlType;
use crate::text::{check_text_size, field_type, fit_char, fit_varchar, parse_text, to_text};
use paths::{Path, path};

/// Where a cast happens; a cast allowed in one context is allowed in those after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CastContext {
    /// Unasked, in any expression.
    Implicit,
    /// Unasked, when a value is stored into a column.
    Assignment,
    /// Written by `CAST` or `::`.
    Explicit,
}

/// The first context in which `from` becomes `to`; `None` when there is no cast at all.
#[must_use]
pub fn can_cast(from: &SqlType, to: &SqlType) -> Option<CastContext> {
    path(from, to).map(|(_, context)| context)
}

/// Whether `pg_cast` lists the cast, rather than it following from what the types are.
#[must_use]
pub fn is_listed_cast(from: &SqlType, to: &SqlType) -> bool {
    paths::listed(from, to).is_some()
}

/// Converts a value of type `from`. Whether `context` permits it is the planner's question, asked once of
/// [`can_cast`]; here the context only decides what happens to values that do not fit a length.
pub fn cast(
    datum: Datum,
    from: &SqlType,
    to: &SqlType,
    context: CastContext,
    formatting: &Formatting,
) -> SqlResult<Datum> {
    if datum.is_null() || from == to {
        return Ok(datum);
    }
    let Some((path, _)) = path(from, to) else {
        return Err(SqlError::new(
            SqlState::CannotCoerce,
            format!("cannot cast type {} to {}", from.base_name(), to.base_name()),
        ));
    };
    let base = match path {
        Path::Same => datum,
        Path::Convert => convert::convert(datum, from, to, formatting)?,
        Path::Elements => {
            let (from, to) = (from.element().expect("both have elements"), to.element().expect("both have elements"));
            // Elements are fitted one by one on the way.
            return map_array(datum, |element| cast(element.clone(), &from, &to, context, formatting));
        }
        Path::Fields => return cast_fields(datum, from, to, context, formatting),
        Path::Text => through_text(datum, from, to, formatting)?,
    };
    fit_modifier(base, to, context)
}

/// A row as a row of another type: its fields as those at the same places.
fn cast_fields(
    datum: Datum,
    from: &SqlType,
    to: &SqlType,
    context: CastContext,
    formatting: &Formatting,
) -> SqlResult<Datum> {
    let (Datum::Record(fields), Some(wanted)) = (&datum, to.row_type()) else { return Ok(datum) };
    if fields.len() != wanted.fields.len() {
        let message = format!("cannot cast type {} to {}", from.base_name(), to.base_name());
        let what = if fields.len() < wanted.fields.len() { "few" } else { "many" };
        return Err(SqlError::new(SqlState::CannotCoerce, message).with_detail(format!("Input has too {what} columns.")));
    }
    let given = from.row_type();
    let fields = fields.iter().zip(&wanted.fields).enumerate();
    let fields = fields.map(|(at, (field, (_, to)))| {
        cast(field.clone(), &field_type(given.as_deref(), at, field), to, context, formatting)
    });
    Ok(Datum::Record(fields.collect::<SqlResult<Vec<_>>>()?.into()))
}

fn map_array(datum: Datum, f: impl FnMut(&Datum) -> SqlResult<Datum>) -> SqlResult<Datum> {
    match datum {
        Datum::Array(array) => Ok(Datum::Array(Arc::new(Array::try_map(&array, f)?))),
        other => Ok(other),
    }
}

/// What `from` prints, read as `to` without its modifier.
fn through_text(datum: Datum, from: &SqlType, to: &SqlType, formatting: &Formatting) -> SqlResult<Datum> {
    let text: Arc<str> = match datum {
        Datum::Text(text) | Datum::Json(text) => text,
        other => {
            check_text_size(&other)?;
            to_text(from, &other, formatting).into()
        }
    };
    match to {
        SqlType::Text | SqlType::Varchar(_) | SqlType::Char(_) => Ok(Datum::Text(text)),
        SqlType::Name => Ok(convert::cut_to_name(text)),
        other => parse_text(&other.without_typmod(), &text, formatting),
    }
}

/// Fits a value of `to`'s base type into `to`'s modifier: lengths, precision and scale, fractions of a second.
pub fn fit_modifier(datum: Datum, to: &SqlType, context: CastContext) -> SqlResult<Datum> {
    if to.typmod() == -1 {
        return Ok(datum);
    }
    let truncate = context == CastContext::Explicit;
    Ok(match (datum, to) {
        (Datum::Text(text), SqlType::Varchar(Some(length))) if text.len() <= *length as usize => Datum::Text(text),
        (Datum::Text(text), SqlType::Varchar(length)) => Datum::Text(fit_varchar(&text, *length, truncate)?),
        (Datum::Text(text), SqlType::Char(length)) => Datum::Text(fit_char(&text, *length, truncate)?),
        (Datum::Bits(bits), SqlType::Bit(Some(length))) => Datum::bits(bits.fitted(*length, false, truncate)?),
        (Datum::Bits(bits), SqlType::VarBit(Some(length))) => Datum::bits(bits.fitted(*length, true, truncate)?),
        (Datum::Numeric(value), SqlType::Numeric(modifier)) => Datum::Numeric(value.apply_modifier(*modifier)?),
        (Datum::Time(micros), SqlType::Time(precision)) => Datum::Time(round_micros(micros, *precision)),
        (Datum::TimeTz(time), SqlType::TimeTz(precision)) => {
            Datum::TimeTz(TimeTz { micros: round_micros(time.micros, *precision), west: time.west })
        }
        (Datum::Timestamp(micros), SqlType::Timestamp(precision)) => {
            Datum::Timestamp(round_micros(micros, *precision))
        }
        (Datum::TimestampTz(micros), SqlType::TimestampTz(precision)) => {
            Datum::TimestampTz(round_micros(micros, *precision))
        }
        (array @ Datum::Array(_), SqlType::Array(element)) => {
            let element = element.get();
            map_array(array, |datum| fit_modifier(datum.clone(), &element, context))?
        }
        (other, _) => other,
    })
}
