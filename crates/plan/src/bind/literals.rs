//! Literals: numbers, strings, typed strings, intervals, parameters.

use sqlparser::ast;
use types::{Bits, CastContext, Datum, Numeric, SqlError, SqlResult, SqlState, SqlType};

use super::Binder;
use crate::expr::Expr;
use crate::variables::{VariableConflict, ambiguous};

/// An integer literal is the smallest of int4, int8 and numeric that holds it; others are numeric.
fn number(text: &str) -> SqlResult<Expr> {
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    let radix = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => Some(16),
        Some("0o") => Some(8),
        Some("0b") => Some(2),
        _ => None,
    };
    let integer = match radix {
        Some(radix) => i64::from_str_radix(&digits[2..], radix).ok(),
        None => digits.parse::<i64>().ok(),
    };
    if let Some(value) = integer {
        let ty = if i32::try_from(value).is_ok() { SqlType::Int4 } else { SqlType::Int8 };
        return Ok(Expr::Const(Datum::Int(value), ty));
    }
    let invalid = || SqlError::new(SqlState::SyntaxError, format!("syntax error at or near \"{text}\""));
    if radix.is_some() {
        return Err(invalid());
    }
    let value = Numeric::parse(&digits).map_err(|_| invalid())?;
    Ok(Expr::Const(Datum::Numeric(value), SqlType::NUMERIC))
}

/// Of as many bits as are written.
fn bit_string(bits: SqlResult<Bits>) -> SqlResult<Expr> {
    Ok(Expr::Const(Datum::bits(bits?), SqlType::BIT))
}

pub(super) fn unknown(text: impl Into<std::sync::Arc<str>>) -> Expr {
    Expr::Const(Datum::text(text), SqlType::Unknown)
}

impl Binder<'_> {
    pub(super) fn value(&mut self, value: &ast::ValueWithSpan) -> SqlResult<Expr> {
        use ast::Value;
        let bound = match &value.value {
            Value::Number(text, _) => number(text),
            Value::SingleQuotedString(text)
            | Value::EscapedStringLiteral(text)
            | Value::UnicodeStringLiteral(text)
            | Value::NationalStringLiteral(text) => Ok(unknown(text.as_str())),
            Value::DollarQuotedString(text) => Ok(unknown(text.value.as_str())),
            Value::Boolean(value) => Ok(Expr::Const(Datum::Bool(*value), SqlType::Bool)),
            Value::Null => Ok(Expr::Const(Datum::Null, SqlType::Unknown)),
            Value::Placeholder(name) => self.param(name),
            Value::HexStringLiteral(digits) => bit_string(Bits::from_hex(digits)),
            Value::SingleQuotedByteStringLiteral(digits) => bit_string(Bits::from_binary(digits)),
            other => Err(SqlError::new(SqlState::SyntaxError, format!("syntax error at or near \"{other}\""))),
        };
        bound.map_err(|error| self.at(error, value))
    }

    fn param(&mut self, name: &str) -> SqlResult<Expr> {
        let number: usize = name
            .strip_prefix('$')
            .and_then(|digits| digits.parse().ok())
            .filter(|number| (1..=65_535).contains(number))
            .ok_or_else(|| SqlError::new(SqlState::UndefinedParameter, format!("there is no parameter {name}")))?;
        if let Some(variables) = self.context.variables {
            let found = variables.positional(number);
            let (at, ty) = found.ok_or_else(|| {
                SqlError::new(SqlState::UndefinedParameter, format!("there is no parameter {name}"))
            })?;
            return Ok(self.variable_param(at, ty));
        }
        if self.params.len() < number {
            self.params.resize(number, None);
        }
        match self.params[number - 1] {
            Some(ty) if ty.is_domain() => self.to_domain(Expr::Param(number - 1, ty.base()), ty, CastContext::Implicit),
            known => Ok(Expr::Param(number - 1, known.unwrap_or(SqlType::Unknown))),
        }
    }

    /// A variable of the routine around, which is a parameter of this type.
    fn variable_param(&mut self, at: usize, ty: SqlType) -> Expr {
        if self.params.len() <= at {
            self.params.resize(at + 1, None);
        }
        self.params[at] = Some(ty);
        Expr::Param(at, ty)
    }

    /// The variable of the routine around that a name means.
    ///
    /// # Errors
    /// As [`crate::VariableSource::resolve`].
    pub(super) fn variable(&mut self, parts: &[&str], is_column: bool) -> SqlResult<Option<Expr>> {
        let Some(variables) = self.context.variables else { return Ok(None) };
        if let Some((at, ty)) = variables.resolve(parts, is_column)? {
            return Ok(Some(self.variable_param(at, ty)));
        }
        // A field of one that is a row.
        let Some((field, of)) = parts.split_last().filter(|(_, of)| !of.is_empty()) else { return Ok(None) };
        let found = variables.resolve(of, true)?;
        let Some((at, ty)) = found else { return Ok(None) };
        let Some(row) = ty.row_type() else { return Ok(None) };
        let Some(place) = row.position(field) else { return Ok(None) };
        let record = self.variable_param(at, ty);
        Ok(Some(Expr::Field { row: Box::new(record), at: place, ty: row.fields[place].1 }))
    }

    /// What a name means that may be a column and may be a variable.
    ///
    /// # Errors
    /// 42702 where it is both and neither comes first.
    pub(super) fn column_or_variable(
        &mut self,
        parts: &[&str],
        column: SqlResult<Option<Expr>>,
    ) -> SqlResult<Option<Expr>> {
        let Some(variables) = self.context.variables else { return column };
        let conflict = variables.conflict();
        match column {
            Ok(Some(column)) if conflict == VariableConflict::UseColumn => Ok(Some(column)),
            Ok(Some(column)) => match self.variable(parts, true)? {
                Some(variable) if conflict == VariableConflict::UseVariable => Ok(Some(variable)),
                Some(_) => Err(ambiguous(&parts.join("."))),
                None => Ok(Some(column)),
            },
            Ok(None) => self.variable(parts, false),
            // A range without such a column, or more than one with it.
            Err(error) => match self.variable(parts, true)? {
                Some(variable)
                    if conflict == VariableConflict::UseVariable || error.code() == SqlState::UndefinedColumn =>
                {
                    Ok(Some(variable))
                }
                _ => Err(error),
            },
        }
    }

    /// `date '2024-01-01'`.
    pub(super) fn typed_string(&mut self, typed: &ast::TypedString) -> SqlResult<Expr> {
        let ty = self.named_type(&typed.data_type)?;
        let value = self.value(&typed.value)?;
        let literal = self.coerce(value, ty, CastContext::Explicit).and_then(|value| match &typed.data_type {
            ast::DataType::Interval { fields, precision } => {
                self.fit_interval(value, interval_modifier(fields.as_ref(), *precision))
            }
            _ => Ok(value),
        });
        literal.map_err(|error| self.at(error, &typed.value))
    }

    /// `interval '1' day`: a bare number takes the last field as its unit, and fields behind it are dropped.
    pub(super) fn interval(&mut self, interval: &ast::Interval) -> SqlResult<Expr> {
        let ast::Expr::Value(value) = &*interval.value else {
            return Err(SqlError::new(SqlState::SyntaxError, "an interval literal needs a string"));
        };
        let bound = self.value(value)?;
        let Expr::Const(Datum::Text(text), SqlType::Unknown) = &bound else {
            return self.coerce(bound, SqlType::Interval, CastContext::Explicit);
        };
        let (first, last) = (interval.leading_field.as_ref(), interval.last_field.as_ref());
        let (written, text) = (text, with_units(text, first, last));
        let precision = interval.fractional_seconds_precision.or(interval.leading_precision);
        let modifier = match (first, precision) {
            (None, None) => -1,
            (first, precision) => {
                let mask = first.map_or(Some(0x7fff), |first| fields_mask(first, last));
                let mask = mask.ok_or_else(|| {
                    let field = last.or(first).map_or_else(String::new, ToString::to_string);
                    SqlError::new(SqlState::SyntaxError, format!("syntax error at or near \"{field}\""))
                })?;
                mask << 16 | precision.map_or(0xffff, |digits| i64::try_from(digits.min(6)).expect("at most six"))
            }
        };
        let literal = self.coerce(unknown(text.as_str()), SqlType::Interval, CastContext::Explicit);
        let literal = literal.map_err(|error| as_written(error, &text, written)).and_then(|value| self.fit_interval(value, modifier));
        literal.map_err(|error| self.at(error, value))
    }

    /// What `interval day to hour` and `interval(1)` keep of a value.
    pub(super) fn fit_interval(&mut self, value: Expr, modifier: i64) -> SqlResult<Expr> {
        if modifier == -1 {
            return Ok(value);
        }
        self.function_call("interval", vec![value, Expr::Const(Datum::Int(modifier), SqlType::Int4)])
    }

    /// The value of a bound constant, for places that need one while planning.
    pub(crate) fn constant(expr: &Expr) -> Option<&Datum> {
        match expr {
            Expr::Const(value, _) => Some(value),
            _ => None,
        }
    }
}

/// The fields of an interval in their order, with their bits.
fn interval_fields() -> [(ast::DateTimeField, i64); 6] {
    use ast::DateTimeField as Field;
    use types::datetime::interval_field::{DAY, HOUR, MINUTE, MONTH, SECOND, YEAR};
    [
        (Field::Year, YEAR),
        (Field::Month, MONTH),
        (Field::Day, DAY),
        (Field::Hour, HOUR),
        (Field::Minute, MINUTE),
        (Field::Second, SECOND),
    ]
}

/// The fields from one to another.
fn fields_mask(first: &ast::DateTimeField, last: Option<&ast::DateTimeField>) -> Option<i64> {
    let fields = interval_fields();
    let place = |field: &ast::DateTimeField| fields.iter().position(|(known, _)| known == field);
    let (from, to) = (place(first)?, place(last.unwrap_or(first))?);
    let is_of_years = |place: usize| place < 2;
    if from > to || is_of_years(from) != is_of_years(to) {
        return None;
    }
    Some(fields[from..=to].iter().fold(0, |mask, (_, bit)| mask | bit))
}

/// The text of an interval with the units that its fields give to bare numbers: the last one is of the last field, and
/// one before hours is of days.
fn with_units(text: &str, first: Option<&ast::DateTimeField>, last: Option<&ast::DateTimeField>) -> String {
    use ast::DateTimeField as Field;
    let Some(unit) = last.or(first) else { return text.to_owned() };
    let parts: Vec<&str> = text.split_whitespace().collect();
    match parts.as_slice() {
        [days, number] if is_number(days) && is_number(number) && *unit == Field::Hour => {
            format!("{days} day {number} {unit}")
        }
        // Two numbers in a row are of no field otherwise: nothing reads this.
        [.., before, number] if is_number(before) && is_number(number) => format!("{text} ?"),
        [.., number] if is_number(number) => format!("{} {unit}", parts.join(" ")),
        // Minutes and seconds, where hours and minutes would be read.
        [before @ .., time]
            if first == Some(&Field::Minute)
                && last == Some(&Field::Second)
                && time.bytes().filter(|byte| *byte == b':').count() == 1 =>
        {
            let at = usize::from(time.starts_with(['-', '+']));
            let (sign, time) = time.split_at(at);
            let time = format!("{sign}0:{time}");
            before.iter().copied().chain([time.as_str()]).collect::<Vec<_>>().join(" ")
        }
        _ => text.to_owned(),
    }
}

fn is_number(part: &str) -> bool {
    let digits = part.strip_prefix(['-', '+']).unwrap_or(part);
    digits.bytes().any(|byte| byte.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && digits.bytes().filter(|byte| *byte == b'.').count() <= 1
}

/// An error about the text as it was written.
fn as_written(error: SqlError, read: &str, written: &str) -> SqlError {
    match error.message().strip_suffix(&format!("\"{read}\"")) {
        Some(message) => SqlError::new(error.code(), format!("{message}\"{written}\"")),
        None => error,
    }
}

/// The number that `pg_attribute.atttypmod` has for an interval's fields and precision; -1 for all of them.
pub(super) fn interval_modifier(fields: Option<&ast::IntervalFields>, precision: Option<u64>) -> i64 {
    use ast::IntervalFields as Fields;
    use types::datetime::interval_field::{DAY, HOUR, MINUTE, MONTH, SECOND, YEAR};
    if fields.is_none() && precision.is_none() {
        return -1;
    }
    let mask = match fields {
        None => 0x7fff,
        Some(Fields::Year) => YEAR,
        Some(Fields::Month) => MONTH,
        Some(Fields::Day) => DAY,
        Some(Fields::Hour) => HOUR,
        Some(Fields::Minute) => MINUTE,
        Some(Fields::Second) => SECOND,
        Some(Fields::YearToMonth) => YEAR | MONTH,
        Some(Fields::DayToHour) => DAY | HOUR,
        Some(Fields::DayToMinute) => DAY | HOUR | MINUTE,
        Some(Fields::DayToSecond) => DAY | HOUR | MINUTE | SECOND,
        Some(Fields::HourToMinute) => HOUR | MINUTE,
        Some(Fields::HourToSecond) => HOUR | MINUTE | SECOND,
        Some(Fields::MinuteToSecond) => MINUTE | SECOND,
    };
    mask << 16 | precision.map_or(0xffff, |digits| i64::try_from(digits.min(6)).expect("at most six"))
}
