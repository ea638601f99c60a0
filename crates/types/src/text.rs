//! The text format: what clients type and see.

use std::borrow::Cow;
use std::sync::Arc;

use crate::array::{Array, Dimension, MAX_DIMENSIONS};
use crate::datetime;
use crate::datum::Datum;
use crate::error::{SqlError, SqlResult, SqlState, raise};
use crate::formatting::{ByteaOutput, Formatting};
use crate::json::{self, Json};
use crate::numeric::Numeric;
use crate::sql_type::SqlType;

/// The longest identifier, in bytes.
pub const MAX_NAME_BYTES: usize = 63;

fn blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

/// Reads a value as its type's input function does, modifiers included.
pub fn parse_text(ty: &SqlType, input: &str, formatting: &Formatting) -> SqlResult<Datum> {
    Ok(match ty {
        SqlType::Bool => Datum::Bool(parse_bool(input)?),
        SqlType::Int2 => Datum::Int(parse_int(input, "smallint", i64::from(i16::MIN), i64::from(i16::MAX))?),
        SqlType::Int4 => Datum::Int(parse_int(input, "integer", i64::from(i32::MIN), i64::from(i32::MAX))?),
        SqlType::Int8 => Datum::Int(parse_int(input, "bigint", i64::MIN, i64::MAX)?),
        SqlType::Float4 => Datum::Float(parse_float4(input)?),
        SqlType::Float8 => Datum::Float(parse_float8(input)?),
        SqlType::Numeric(modifier) => Datum::Numeric(Numeric::parse(input)?.apply_modifier(*modifier)?),
        SqlType::Text | SqlType::Unknown | SqlType::PgNodeTree => Datum::text(input),
        SqlType::Varchar(length) => Datum::Text(fit_varchar(input, *length, false)?),
        SqlType::Char(length) => Datum::Text(fit_char(input, *length, false)?),
        SqlType::QuotedChar => Datum::text(&*quoted_char(input)),
        SqlType::Name => Datum::text(cut_name(input)),
        SqlType::Bytea => Datum::bytes(parse_bytea(input)?),
        SqlType::Date => Datum::Date(datetime::parse_date(input, formatting)?),
        SqlType::Time(precision) => Datum::Time(datetime::parse_time(input, *precision, formatting)?),
        SqlType::TimeTz(precision) => Datum::TimeTz(datetime::parse_timetz(input, *precision, formatting)?),
        SqlType::Timestamp(precision) => {
            Datum::Timestamp(datetime::parse_timestamp(input, *precision, formatting)?)
        }
        SqlType::TimestampTz(precision) => {
            Datum::TimestampTz(datetime::parse_timestamptz(input, *precision, formatting)?)
        }
        SqlType::Interval => Datum::Interval(datetime::parse_interval(input)?),
        SqlType::Uuid => Datum::Uuid(parse_uuid(input)?),
        SqlType::Json => {
            json::validate(input)?;
            Datum::Json(input.into())
        }
        SqlType::Jsonb => Datum::Jsonb(Arc::new(Json::parse(input)?)),
        SqlType::Oid => Datum::Int(parse_oid(input, "oid")?),
        SqlType::Xid => Datum::Int(parse_oid(input, "xid")?),
        reg if reg.is_reg() => Datum::Int(parse_reg(reg, input, formatting)?),
        SqlType::Int2Vector | SqlType::OidVector => parse_vector(ty, input, formatting)?,
        SqlType::Array(element) => Datum::Array(Arc::new(parse_array(&element.get(), input, formatting)?)),
        SqlType::Void => Datum::text(""),
        other => {
            return Err(SqlError::not_supported(format!("cannot accept a value of type {}", other.base_name())));
        }
    })
}

fn parse_bool(input: &str) -> SqlResult<bool> {
    let word = input.trim_matches(blank).to_ascii_lowercase();
    let prefix_of = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
    if prefix_of("true", 1) || prefix_of("yes", 1) || word == "on" || word == "1" {
        Ok(true)
    } else if prefix_of("false", 1) || prefix_of("no", 1) || prefix_of("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(raise::invalid_syntax("boolean", input))
    }
}

fn parse_int(input: &str, type_name: &str, min: i64, max: i64) -> SqlResult<i64> {
    let trimmed = input.trim_matches(blank);
    let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(raise::invalid_syntax(type_name, input));
    }
    trimmed
        .parse::<i64>()
        .ok()
        .filter(|value| (min..=max).contains(value))
        .ok_or_else(|| raise::value_out_of_range(type_name, input))
}

/// Unsigned, but a negative number is taken modulo 2^32, as C's strtoul does.
fn parse_oid(input: &str, type_name: &str) -> SqlResult<i64> {
    let value = parse_int(input, type_name, i64::from(i32::MIN), i64::from(u32::MAX))?;
    Ok(if value < 0 { value + (1 << 32) } else { value })
}

fn parse_reg(ty: &SqlType, input: &str, formatting: &Formatting) -> SqlResult<i64> {
    let name = input.trim_matches(blank);
    if name == "-" {
        return Ok(0);
    }
    if !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()) {
        return parse_oid(name, "oid");
    }
    match &formatting.oid_names {
        Some(names) => Ok(i64::from(names.lookup(ty, name)?)),
        None if *ty == SqlType::RegType => Ok(i64::from(SqlType::parse_name(name)?.oid())),
        None => Err(SqlError::not_supported(format!(
            "names of type {} cannot be resolved without a catalog",
            ty.base_name()
        ))),
    }
}

fn float_words(input: &str) -> Option<f64> {
    let (sign, word) = match input.as_bytes().first() {
        Some(b'-') => (-1.0, &input[1..]),
        Some(b'+') => (1.0, &input[1..]),
        _ => (1.0, input),
    };
    if input.eq_ignore_ascii_case("nan") {
        Some(f64::NAN)
    } else if word.eq_ignore_ascii_case("infinity") || word.eq_ignore_ascii_case("inf") {
        Some(sign * f64::INFINITY)
    } else {
        None
    }
}

fn is_float_syntax(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'))
}

/// A written digit other than zero, before the exponent: then a result of zero is an underflow.
fn has_nonzero_digit(text: &str) -> bool {
    text.bytes().take_while(|b| !matches!(b, b'e' | b'E')).any(|b| (b'1'..=b'9').contains(&b))
}

fn parse_float8(input: &str) -> SqlResult<f64> {
    let text = input.trim_matches(blank);
    if let Some(special) = float_words(text) {
        return Ok(special);
    }
    let value: f64 = text
        .parse()
        .ok()
        .filter(|_| is_float_syntax(text))
        .ok_or_else(|| raise::invalid_syntax("double precision", input))?;
    if value.is_infinite() || (value == 0.0 && has_nonzero_digit(text)) {
        return Err(SqlError::new(
            SqlState::NumericValueOutOfRange,
            format!("\"{text}\" is out of range for type double precision"),
        ));
    }
    Ok(value)
}

fn parse_float4(input: &str) -> SqlResult<f64> {
    let text = input.trim_matches(blank);
    if let Some(special) = float_words(text) {
        return Ok(special);
    }
    let value: f32 =
        text.parse().ok().filter(|_| is_float_syntax(text)).ok_or_else(|| raise::invalid_syntax("real", input))?;
    if value.is_infinite() || (value == 0.0 && has_nonzero_digit(text)) {
        return Err(SqlError::new(
            SqlState::NumericValueOutOfRange,
            format!("\"{text}\" is out of range for type real"),
        ));
    }
    Ok(f64::from(value))
}

fn refuse_long(what: &str, length: u32) -> SqlError {
    SqlError::new(SqlState::StringDataRightTruncation, format!("value too long for type {what}({length})"))
}

/// Bytes of the first `length` characters, when there are more.
fn cut_at(text: &str, length: u32) -> Option<usize> {
    let length = length as usize;
    if text.len() <= length {
        return None;
    }
    text.char_indices().nth(length).map(|(at, _)| at)
}

/// Blanks beyond the length are dropped in silence; other characters only by an explicit cast.
pub(crate) fn fit_varchar(text: &str, length: Option<u32>, truncate: bool) -> SqlResult<Arc<str>> {
    let Some((length, cut)) = length.and_then(|length| Some((length, cut_at(text, length)?))) else {
        return Ok(text.into());
    };
    if !truncate && text[cut..].bytes().any(|b| b != b' ') {
        return Err(refuse_long("character varying", length));
    }
    Ok(text[..cut].into())
}

/// As [`fit_varchar`], and padded with blanks.
pub(crate) fn fit_char(text: &str, length: Option<u32>, truncate: bool) -> SqlResult<Arc<str>> {
    let Some(length) = length else { return Ok(text.into()) };
    if let Some(cut) = cut_at(text, length) {
        if !truncate && text[cut..].bytes().any(|b| b != b' ') {
            return Err(refuse_long("character", length));
        }
        return Ok(text[..cut].into());
    }
    let missing = (length as usize).saturating_sub(text.chars().count());
    if missing == 0 {
        return Ok(text.into());
    }
    let mut padded = String::with_capacity(text.len() + missing);
    padded.push_str(text);
    padded.extend(std::iter::repeat_n(' ', missing));
    Ok(padded.into())
}

/// `"char"` holds one byte: the first of the text, a byte above 127 spelled `\ooo` on input and output.
pub(crate) fn quoted_char(text: &str) -> Cow<'_, str> {
    let byte = match text.as_bytes() {
        [] => return Cow::Borrowed(""),
        [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7'] => (a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'),
        [byte, ..] if byte.is_ascii() => return Cow::Borrowed(&text[..1]),
        [byte, ..] => *byte,
    };
    match byte {
        0 => Cow::Borrowed(""),
        1..=0x7f => Cow::Owned((byte as char).to_string()),
        _ => Cow::Owned(format!("\\{byte:03o}")),
    }
}

/// Names longer than 63 bytes are cut at a character's end.
pub(crate) fn cut_name(text: &str) -> &str {
    if text.len() <= MAX_NAME_BYTES {
        return text;
    }
    let end = (0..=MAX_NAME_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

pub fn parse_bytea(input: &str) -> SqlResult<Vec<u8>> {
    if let Some(hex) = input.strip_prefix("\\x") {
        let mut out = Vec::with_capacity(hex.len() / 2);
        let mut high: Option<u8> = None;
        for c in hex.chars() {
            if high.is_none() && blank(c) {
                continue;
            }
            let digit = c.to_digit(16).ok_or_else(|| {
                raise::invalid_parameter(format!("invalid hexadecimal digit: \"{c}\""))
            })? as u8;
            match high.take() {
                None => high = Some(digit),
                Some(high) => out.push(high << 4 | digit),
            }
        }
        if high.is_some() {
            return Err(raise::invalid_parameter("invalid hexadecimal data: odd number of digits"));
        }
        return Ok(out);
    }
    let bytes = input.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        match bytes.get(at + 1..) {
            Some([b'\\', ..]) => {
                out.push(b'\\');
                at += 2;
            }
            Some([a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                at += 4;
            }
            _ => {
                return Err(SqlError::new(
                    SqlState::InvalidTextRepresentation,
                    "invalid input syntax for type bytea",
                ));
            }
        }
    }
    Ok(out)
}

/// Hex digits in pairs, with a hyphen allowed after every fourth digit, and braces around.
fn parse_uuid(input: &str) -> SqlResult<[u8; 16]> {
    let invalid = || raise::invalid_syntax("uuid", input);
    let body = match input.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}').ok_or_else(invalid)?,
        None => input,
    };
    let mut uuid = [0_u8; 16];
    let mut digits = 0;
    for (i, c) in body.bytes().enumerate() {
        if c == b'-' && digits % 4 == 0 && digits > 0 && digits < 32 && body.as_bytes()[i - 1] != b'-' {
            continue;
        }
        let digit = (c as char).to_digit(16).ok_or_else(invalid)? as u8;
        if digits == 32 {
            return Err(invalid());
        }
        uuid[digits / 2] |= if digits % 2 == 0 { digit << 4 } else { digit };
        digits += 1;
    }
    if digits == 32 { Ok(uuid) } else { Err(invalid()) }
}

fn parse_vector(ty: &SqlType, input: &str, formatting: &Formatting) -> SqlResult<Datum> {
    let element = ty.element().expect("vector types have elements");
    let elements = input
        .split_ascii_whitespace()
        .map(|item| parse_text(&element, item, formatting))
        .collect::<SqlResult<Vec<Datum>>>()?;
    Ok(Datum::Array(Arc::new(Array::with_lower_bound(elements, 0))))
}

/// `{1,2,NULL}`, `{{a,"b c"},{d,e}}`, `[0:1]={1,2}`.
fn parse_array(element: &SqlType, input: &str, formatting: &Formatting) -> SqlResult<Array> {
    ArrayReader { element, input, at: 0, formatting }.read()
}

struct ArrayReader<'a> {
    element: &'a SqlType,
    input: &'a str,
    at: usize,
    formatting: &'a Formatting,
}

impl ArrayReader<'_> {
    fn malformed(&self, detail: &str) -> SqlError {
        SqlError::new(
            SqlState::InvalidTextRepresentation,
            format!("malformed array literal: \"{}\"", self.input),
        )
        .with_detail(detail)
    }

    fn peek(&self) -> Option<u8> {
        self.input.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|b| blank(b as char)) {
            self.at += 1;
        }
    }

    fn read(mut self) -> SqlResult<Array> {
        self.skip_blanks();
        let given = self.bounds()?;
        if self.peek() != Some(b'{') {
            return Err(self.malformed(if given.is_empty() {
                "Array value must start with \"{\" or dimension information."
            } else {
                "Array contents must start with \"{\"."
            }));
        }
        let mut lengths: Vec<Option<usize>> = Vec::new();
        let mut elements = Vec::new();
        self.level(0, &mut lengths, &mut elements)?;
        self.skip_blanks();
        if self.at < self.input.len() {
            return Err(self.malformed("Junk after closing right brace."));
        }
        if elements.is_empty() {
            return Ok(Array::default());
        }
        let lengths: Vec<u32> = lengths.into_iter().map(|length| length.unwrap_or(0) as u32).collect();
        let dimensions: Vec<Dimension> = if given.is_empty() {
            lengths.iter().map(|length| Dimension { length: *length, lower_bound: 1 }).collect()
        } else {
            if given.len() != lengths.len() || given.iter().zip(&lengths).any(|(d, l)| d.length != *l) {
                return Err(self.malformed("Specified array dimensions do not match array contents."));
            }
            given
        };
        Array::with_dimensions(&dimensions, elements)
    }

    /// `[l:u][n]=` before the braces.
    fn bounds(&mut self) -> SqlResult<Vec<Dimension>> {
        let mut dimensions = Vec::new();
        while self.peek() == Some(b'[') {
            let close = self.input[self.at..].find(']').ok_or_else(|| self.malformed("Missing \"]\" after array dimensions."))?;
            let body = &self.input[self.at + 1..self.at + close];
            let number = |text: &str| {
                text.trim().parse::<i32>().map_err(|_| self.malformed("\"[\" must introduce explicitly-specified array dimensions."))
            };
            let (low, high) = match body.split_once(':') {
                Some((low, high)) => (number(low)?, number(high)?),
                None => (1, number(body)?),
            };
            if high < low {
                return Err(SqlError::new(
                    SqlState::ArraySubscriptError,
                    "upper bound cannot be less than lower bound",
                ));
            }
            if dimensions.len() == MAX_DIMENSIONS {
                return Err(self.too_deep());
            }
            dimensions.push(Dimension { length: (i64::from(high) - i64::from(low) + 1) as u32, lower_bound: low });
            self.at += close + 1;
            self.skip_blanks();
        }
        if !dimensions.is_empty() {
            if self.peek() != Some(b'=') {
                return Err(self.malformed("Missing \"=\" after array dimensions."));
            }
            self.at += 1;
            self.skip_blanks();
        }
        Ok(dimensions)
    }

    fn too_deep(&self) -> SqlError {
        SqlError::new(
            SqlState::ProgramLimitExceeded,
            format!("number of array dimensions ({}) exceeds the maximum allowed ({MAX_DIMENSIONS})", MAX_DIMENSIONS + 1),
        )
    }

    /// One pair of braces. All siblings must have the same length, and elements stand at one depth only.
    fn level(&mut self, depth: usize, lengths: &mut Vec<Option<usize>>, elements: &mut Vec<Datum>) -> SqlResult<()> {
        const RAGGED: &str = "Multidimensional arrays must have sub-arrays with matching dimensions.";
        if depth == MAX_DIMENSIONS {
            return Err(self.too_deep());
        }
        if lengths.len() == depth {
            if !elements.is_empty() {
                return Err(self.malformed(RAGGED));
            }
            lengths.push(None);
        }
        self.at += 1;
        let mut count = 0;
        self.skip_blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                self.skip_blanks();
                if self.peek() == Some(b'{') {
                    self.level(depth + 1, lengths, elements)?;
                } else {
                    if lengths.len() > depth + 1 {
                        return Err(self.malformed(RAGGED));
                    }
                    let element = self.element()?;
                    elements.push(element);
                }
                count += 1;
                self.skip_blanks();
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b'}') => {
                        self.at += 1;
                        break;
                    }
                    None => return Err(self.malformed("Unexpected end of input.")),
                    Some(_) => return Err(self.malformed("Unexpected array element.")),
                }
            }
        }
        match lengths[depth] {
            None => lengths[depth] = Some(count),
            Some(length) if length == count => {}
            Some(_) => return Err(self.malformed(RAGGED)),
        }
        Ok(())
    }

    fn element(&mut self) -> SqlResult<Datum> {
        let mut text = String::new();
        let bytes = self.input.as_bytes();
        if self.peek() == Some(b'"') {
            self.at += 1;
            loop {
                let rest = &self.input[self.at..];
                let stop = rest.find(['"', '\\']).ok_or_else(|| self.malformed("Unexpected end of input."))?;
                text.push_str(&rest[..stop]);
                self.at += stop + 1;
                if bytes[self.at - 1] == b'"' {
                    break;
                }
                let escaped = self.input[self.at..]
                    .chars()
                    .next()
                    .ok_or_else(|| self.malformed("Unexpected end of input."))?;
                text.push(escaped);
                self.at += escaped.len_utf8();
            }
            return parse_text(self.element, &text, self.formatting);
        }
        let mut escaped_end = 0;
        loop {
            let Some(c) = self.input[self.at..].chars().next() else {
                return Err(self.malformed("Unexpected end of input."));
            };
            match c {
                ',' | '}' => break,
                '{' => return Err(self.malformed("Unexpected \"{\" character.")),
                '"' => return Err(self.malformed("Unexpected array element.")),
                '\\' => {
                    self.at += 1;
                    let escaped = self.input[self.at..]
                        .chars()
                        .next()
                        .ok_or_else(|| self.malformed("Unexpected end of input."))?;
                    text.push(escaped);
                    self.at += escaped.len_utf8();
                    escaped_end = text.len();
                }
                c => {
                    text.push(c);
                    self.at += c.len_utf8();
                }
            }
        }
        // Blanks at the end do not count, unless escaped.
        let kept = text.trim_end_matches(blank).len().max(escaped_end);
        text.truncate(kept);
        if text.is_empty() {
            let found = self.peek().map_or(' ', |b| b as char);
            return Err(self.malformed(&format!("Unexpected \"{found}\" character.")));
        }
        if escaped_end == 0 && text.eq_ignore_ascii_case("null") {
            return Ok(Datum::Null);
        }
        parse_text(self.element, &text, self.formatting)
    }
}

fn put_int(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends the text form. A NULL writes nothing: where NULL is spelled, the caller spells it.
pub fn write_text(ty: &SqlType, datum: &Datum, formatting: &Formatting, out: &mut Vec<u8>) {
    match datum {
        Datum::Null => {}
        Datum::Bool(value) => out.push(if *value { b't' } else { b'f' }),
        Datum::Int(value) if ty.is_reg() => write_reg(ty, *value, formatting, out),
        Datum::Int(value) => put_int(out, *value),
        Datum::Float(value) if *ty == SqlType::Float4 => write_float4(*value as f32, formatting.extra_float_digits, out),
        Datum::Float(value) => write_float8(*value, formatting.extra_float_digits, out),
        Datum::Numeric(value) => value.write(out),
        Datum::Text(value) | Datum::Json(value) => out.extend_from_slice(value.as_bytes()),
        Datum::Bytes(value) => write_bytea(value, formatting.bytea_output, out),
        Datum::Date(days) => datetime::write_date(*days, out),
        Datum::Time(micros) => datetime::write_time(*micros, out),
        Datum::TimeTz(time) => datetime::write_timetz(*time, out),
        Datum::Timestamp(timestamp) => datetime::write_timestamp(*timestamp, out),
        Datum::TimestampTz(timestamp) => datetime::write_timestamptz(*timestamp, &formatting.zone, out),
        Datum::Interval(interval) => datetime::write_interval(*interval, formatting.interval_style, out),
        Datum::Uuid(uuid) => write_uuid(uuid, out),
        Datum::Jsonb(value) => value.write(out),
        Datum::Array(array) => match ty {
            SqlType::Int2Vector | SqlType::OidVector => {
                for (i, element) in array.elements().iter().enumerate() {
                    if i > 0 {
                        out.push(b' ');
                    }
                    write_text(&SqlType::Int8, element, formatting, out);
                }
            }
            _ => write_array(&ty.element().unwrap_or(SqlType::Text), array, formatting, out),
        },
        Datum::Record(fields) => write_record(fields, formatting, out),
    }
}

/// The text form as a string.
#[must_use]
pub fn to_text(ty: &SqlType, datum: &Datum, formatting: &Formatting) -> String {
    let mut out = Vec::new();
    write_text(ty, datum, formatting, &mut out);
    String::from_utf8(out).expect("every text form is UTF-8")
}

fn write_reg(ty: &SqlType, oid: i64, formatting: &Formatting, out: &mut Vec<u8>) {
    if oid == 0 {
        out.push(b'-');
        return;
    }
    let named = formatting.oid_names.as_ref().and_then(|names| names.name(ty, oid as u32)).or_else(|| {
        (*ty == SqlType::RegType).then(|| Some(SqlType::from_oid(oid as u32, -1)?.name())).flatten()
    });
    match named {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => put_int(out, oid),
    }
}

fn write_special_float(value: f64, out: &mut Vec<u8>) -> bool {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    } else {
        return false;
    }
    true
}

pub fn write_float8(value: f64, extra_digits: i32, out: &mut Vec<u8>) {
    if write_special_float(value, out) {
        return;
    }
    if extra_digits > 0 {
        put_shortest(ryu::Buffer::new().format_finite(value), 15, out);
    } else {
        put_general(value, (15 + extra_digits).max(1) as usize, out);
    }
}

pub fn write_float4(value: f32, extra_digits: i32, out: &mut Vec<u8>) {
    if write_special_float(f64::from(value), out) {
        return;
    }
    if extra_digits > 0 {
        put_shortest(ryu::Buffer::new().format_finite(value), 6, out);
    } else {
        put_general(f64::from(value), (6 + extra_digits).max(1) as usize, out);
    }
}

/// Turns the shortest digits into PostgreSQL's layout: plain from 10^-4 up to 10^`plain_digits`, else `d.ddde+xx`.
fn put_shortest(text: &str, plain_digits: i32, out: &mut Vec<u8>) {
    let (sign, body) = text.strip_prefix('-').map_or(("", text), |body| ("-", body));
    let (mantissa, exponent) = body.split_once('e').unwrap_or((body, "0"));
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = [0_u8; 40];
    let mut count = 0;
    // Position of the decimal point, counted from the first digit that is kept.
    let mut point = integer.len() as i32 + exponent;
    for digit in integer.bytes().chain(fraction.bytes()) {
        if count == 0 && digit == b'0' {
            point -= 1;
            continue;
        }
        digits[count] = digit;
        count += 1;
    }
    while count > 0 && digits[count - 1] == b'0' {
        count -= 1;
    }
    let digits = &digits[..count];
    out.extend_from_slice(sign.as_bytes());
    if digits.is_empty() {
        out.push(b'0');
        return;
    }
    put_digits(digits, point, (-3..=plain_digits).contains(&point), out);
}

fn put_digits(digits: &[u8], point: i32, plain: bool, out: &mut Vec<u8>) {
    if !plain {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        let exponent = point - 1;
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        if exponent.abs() < 10 {
            out.push(b'0');
        }
        put_int(out, i64::from(exponent.abs()));
    } else if point <= 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + (-point) as usize, b'0');
        out.extend_from_slice(digits);
    } else if point as usize >= digits.len() {
        out.extend_from_slice(digits);
        out.resize(out.len() + point as usize - digits.len(), b'0');
    } else {
        let (integer, fraction) = digits.split_at(point as usize);
        out.extend_from_slice(integer);
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
}

/// C's `%.{precision}g`.
fn put_general(value: f64, precision: usize, out: &mut Vec<u8>) {
    let text = format!("{value:.*e}", precision - 1);
    let (mantissa, exponent) = text.split_once('e').expect("the exponent form has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |body| ("-", body));
    let digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    let kept = digits.iter().rposition(|b| *b != b'0').map_or(0, |last| last + 1);
    out.extend_from_slice(sign.as_bytes());
    if kept == 0 {
        out.push(b'0');
        return;
    }
    put_digits(&digits[..kept], exponent + 1, (-4..precision as i32).contains(&exponent), out);
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn write_bytea(value: &[u8], style: ByteaOutput, out: &mut Vec<u8>) {
    match style {
        ByteaOutput::Hex => {
            out.reserve(2 + value.len() * 2);
            out.extend_from_slice(b"\\x");
            for byte in value {
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        ByteaOutput::Escape => {
            for byte in value {
                match byte {
                    b'\\' => out.extend_from_slice(b"\\\\"),
                    0x20..=0x7e => out.push(*byte),
                    byte => out.extend_from_slice(&[
                        b'\\',
                        b'0' + (byte >> 6),
                        b'0' + (byte >> 3 & 7),
                        b'0' + (byte & 7),
                    ]),
                }
            }
        }
    }
}

fn write_uuid(uuid: &[u8; 16], out: &mut Vec<u8>) {
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

fn write_array(element: &SqlType, array: &Array, formatting: &Formatting, out: &mut Vec<u8>) {
    if array.is_empty() {
        out.extend_from_slice(b"{}");
        return;
    }
    let dimensions = array.dimensions();
    if dimensions.iter().any(|d| d.lower_bound != 1) {
        for d in dimensions {
            let upper = i64::from(d.lower_bound) + i64::from(d.length) - 1;
            out.extend_from_slice(format!("[{}:{upper}]", d.lower_bound).as_bytes());
        }
        out.push(b'=');
    }
    let mut elements = array.elements().iter();
    write_level(element, dimensions, &mut elements, formatting, out);
}

fn write_level<'a>(
    element: &SqlType,
    dimensions: &[Dimension],
    elements: &mut impl Iterator<Item = &'a Datum>,
    formatting: &Formatting,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    for i in 0..dimensions[0].length {
        if i > 0 {
            out.push(b',');
        }
        if dimensions.len() > 1 {
            write_level(element, &dimensions[1..], elements, formatting, out);
            continue;
        }
        match elements.next().expect("array-shape: as many elements as the dimensions say") {
            Datum::Null => out.extend_from_slice(b"NULL"),
            datum => {
                let start = out.len();
                write_text(element, datum, formatting, out);
                let text = &out[start..];
                let must_quote = text.is_empty()
                    || text.eq_ignore_ascii_case(b"null")
                    || text.iter().any(|b| matches!(b, b'"' | b'\\' | b'{' | b'}' | b',') || blank(*b as char));
                if must_quote {
                    let text = out.split_off(start);
                    out.push(b'"');
                    for byte in text {
                        if matches!(byte, b'"' | b'\\') {
                            out.push(b'\\');
                        }
                        out.push(byte);
                    }
                    out.push(b'"');
                }
            }
        }
    }
    out.push(b'}');
}

/// `(1,"a b",)`: the fields' types are those their datums imply.
fn write_record(fields: &[Datum], formatting: &Formatting, out: &mut Vec<u8>) {
    out.push(b'(');
    for (i, field) in fields.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        if field.is_null() {
            continue;
        }
        let start = out.len();
        write_text(&field.implied_type(), field, formatting, out);
        let text = &out[start..];
        let must_quote = text.is_empty()
            || text.iter().any(|b| matches!(b, b'"' | b'\\' | b'(' | b')' | b',') || blank(*b as char));
        if must_quote {
            let text = out.split_off(start);
            out.push(b'"');
            for byte in text {
                if matches!(byte, b'"' | b'\\') {
                    out.push(byte);
                }
                out.push(byte);
            }
            out.push(b'"');
        }
    }
    out.push(b')');
}

impl Datum {
    /// The widest type a datum of this variant can have: for fields of records, whose types are not kept.
    #[must_use]
    pub fn implied_type(&self) -> SqlType {
        match self {
            Self::Null => SqlType::Unknown,
            Self::Bool(_) => SqlType::Bool,
            Self::Int(_) => SqlType::Int8,
            Self::Float(_) => SqlType::Float8,
            Self::Numeric(_) => SqlType::NUMERIC,
            Self::Text(_) => SqlType::Text,
            Self::Bytes(_) => SqlType::Bytea,
            Self::Date(_) => SqlType::Date,
            Self::Time(_) => SqlType::TIME,
            Self::TimeTz(_) => SqlType::TIMETZ,
            Self::Timestamp(_) => SqlType::TIMESTAMP,
            Self::TimestampTz(_) => SqlType::TIMESTAMPTZ,
            Self::Interval(_) => SqlType::Interval,
            Self::Uuid(_) => SqlType::Uuid,
            Self::Json(_) => SqlType::Json,
            Self::Jsonb(_) => SqlType::Jsonb,
            Self::Array(array) => array
                .elements()
                .iter()
                .find(|element| !element.is_null())
                .map_or(SqlType::Text, Self::implied_type)
                .array_of(),
            Self::Record(_) => SqlType::Record,
        }
    }
}

#[cfg(test)]
mod tests;
