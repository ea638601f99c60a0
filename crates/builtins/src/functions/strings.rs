//! String and binary string functions. Documentation, sections 9.4 and 9.5.

use md5::{Digest, Md5};
use types::{Datum, SqlError, SqlResult, SqlState, SqlType, quote_identifier};

use crate::EvalContext;
use crate::arguments::{array, bytes, int, text};
use crate::operators::pattern::{escape_character, like, similar_to_regex};
use crate::operators::strings::{cast_to_text, check_length, to_text};
use crate::signature::{ArgType, Builtin, RetType, SetFunction, SetRows};

const TEXT: ArgType = ArgType::T(SqlType::Text);
const BYTEA: ArgType = ArgType::T(SqlType::Bytea);
const NAME: ArgType = ArgType::T(SqlType::Name);
const I4: ArgType = ArgType::T(SqlType::Int4);
const I8: ArgType = ArgType::T(SqlType::Int8);
const R_TEXT: RetType = RetType::T(SqlType::Text);
const R_BYTEA: RetType = RetType::T(SqlType::Bytea);
const R_I4: RetType = RetType::T(SqlType::Int4);
const R_BOOL: RetType = RetType::T(SqlType::Bool);

/// Longest string that a repeating function may make: PostgreSQL's limit on a value.
const RESULT_BYTES_MAX: i64 = 1 << 30;

fn out(value: impl Into<std::sync::Arc<str>>) -> SqlResult<Datum> {
    Ok(Datum::text(value))
}

pub(super) fn count(value: usize) -> SqlResult<Datum> {
    Ok(Datum::Int(i64::try_from(value).unwrap_or(i64::MAX)))
}

/// The half-open range of 0-based positions that `substring(… from start for len)` covers.
pub(super) fn substring_range(start: i64, len: Option<i64>, total: usize) -> SqlResult<(usize, usize)> {
    let end = match len {
        Some(len) if len < 0 => {
            return Err(SqlError::new(SqlState::SubstringError, "negative substring length not allowed"));
        }
        Some(len) => start.saturating_add(len),
        None => i64::MAX,
    };
    let clamp = |position: i64| usize::try_from((position - 1).max(0)).unwrap_or(usize::MAX).min(total);
    let (from, to) = (clamp(start), clamp(end));
    Ok((from, to.max(from)))
}

fn substring(value: &str, start: i64, len: Option<i64>) -> SqlResult<Datum> {
    // ASCII needs no walk over characters.
    if value.is_ascii() {
        let (from, to) = substring_range(start, len, value.len())?;
        return out(&value[from..to]);
    }
    let (from, to) = substring_range(start, len, value.chars().count())?;
    out(value.chars().skip(from).take(to - from).collect::<String>())
}

fn substring_bytes(value: &[u8], start: i64, len: Option<i64>) -> SqlResult<Datum> {
    let (from, to) = substring_range(start, len, value.len())?;
    Ok(Datum::bytes(&value[from..to]))
}

/// Trims any of `set`'s characters from the chosen ends.
fn trim(value: &str, set: &str, left: bool, right: bool) -> SqlResult<Datum> {
    let in_set = |c: char| set.contains(c);
    let value = if left { value.trim_start_matches(in_set) } else { value };
    out(if right { value.trim_end_matches(in_set) } else { value })
}

/// lpad and rpad: fills to, or cuts to, `len` characters.
fn pad(context: &EvalContext<'_>, value: &str, len: i64, fill: &str, at_left: bool) -> SqlResult<Datum> {
    let len = len.max(0);
    if len > RESULT_BYTES_MAX / 4 {
        return Err(SqlError::new(SqlState::ProgramLimitExceeded, "requested length too large"));
    }
    let len = usize::try_from(len).expect("bounded and not negative");
    let have = value.chars().count();
    if have >= len {
        return out(value.chars().take(len).collect::<String>());
    }
    check_length(context, value.len() + (len - have))?;
    let padding: String = if fill.is_empty() { String::new() } else { fill.chars().cycle().take(len - have).collect() };
    out(if at_left { padding + value } else { format!("{value}{padding}") })
}

fn head(value: &str, len: i64) -> &str {
    let total = || value.chars().count() as i64;
    let keep = if len < 0 { total() + len } else { len };
    let keep = usize::try_from(keep.max(0)).unwrap_or(usize::MAX);
    value.char_indices().nth(keep).map_or(value, |(end, _)| &value[..end])
}

fn tail(value: &str, len: i64) -> &str {
    let total = value.chars().count() as i64;
    let skip = if len < 0 { -len } else { total - len };
    let skip = usize::try_from(skip.max(0)).unwrap_or(usize::MAX);
    value.char_indices().nth(skip).map_or("", |(start, _)| &value[start..])
}

fn position(haystack: &str, needle: &str) -> SqlResult<Datum> {
    count(haystack.find(needle).map_or(0, |at| haystack[..at].chars().count() + 1))
}

/// The collation is C: other letters than ASCII's have no case, here and in `upper` and `lower`.
fn init_cap(value: &str) -> String {
    let mut in_word = false;
    let mut result = String::with_capacity(value.len());
    for c in value.chars() {
        result.push(if in_word { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() });
        in_word = c.is_ascii_alphanumeric();
    }
    result
}

fn translate(value: &str, from: &str, to: &str) -> String {
    let to: Vec<char> = to.chars().collect();
    let map = |c: char| match from.chars().position(|f| f == c) {
        None => Some(c),
        Some(at) => to.get(at).copied(),
    };
    value.chars().filter_map(map).collect()
}

fn split_part(value: &str, delimiter: &str, n: i64) -> SqlResult<Datum> {
    if n == 0 {
        return Err(SqlError::new(SqlState::InvalidParameterValue, "field position must not be zero"));
    }
    if delimiter.is_empty() {
        return out(if n == 1 || n == -1 { value } else { "" });
    }
    let at = usize::try_from(n.unsigned_abs() - 1).unwrap_or(usize::MAX);
    let field = if n > 0 { value.split(delimiter).nth(at) } else { value.rsplit(delimiter).nth(at) };
    out(field.unwrap_or(""))
}

fn repeat(context: &EvalContext<'_>, value: &str, times: i64) -> SqlResult<Datum> {
    let times = times.max(0);
    if (value.len() as i64).saturating_mul(times) >= RESULT_BYTES_MAX {
        return Err(SqlError::new(SqlState::ProgramLimitExceeded, "requested length too large"));
    }
    let times = usize::try_from(times).expect("not negative");
    check_length(context, value.len().saturating_mul(times))?;
    out(value.repeat(times))
}

fn overlay(value: &str, new: &str, start: i64, len: i64) -> SqlResult<Datum> {
    if start < 1 {
        return Err(SqlError::new(SqlState::SubstringError, "negative substring length not allowed"));
    }
    if i32::try_from(start.saturating_add(len)).is_err() {
        return Err(SqlError::new(SqlState::NumericValueOutOfRange, "integer out of range"));
    }
    let before = value.chars().take(usize::try_from(start - 1).unwrap_or(usize::MAX));
    let rest = usize::try_from((start - 1).saturating_add(len).max(0)).unwrap_or(usize::MAX);
    out(before.chain(new.chars()).chain(value.chars().skip(rest)).collect::<String>())
}

fn overlay_bytes(value: &[u8], new: &[u8], start: i64, len: i64) -> SqlResult<Datum> {
    if start < 1 {
        return Err(SqlError::new(SqlState::SubstringError, "negative substring length not allowed"));
    }
    let Some(end) = i32::try_from(start.saturating_add(len)).ok() else {
        return Err(SqlError::new(SqlState::NumericValueOutOfRange, "integer out of range"));
    };
    let before = usize::try_from(start - 1).unwrap_or(usize::MAX).min(value.len());
    let rest = usize::try_from(i64::from(end) - 1).unwrap_or(0).min(value.len());
    Ok(Datum::Bytes([&value[..before], new, &value[rest..]].concat().into()))
}

/// `\\`, `\XXXX`, `\+XXXXXX`, `\uXXXX` and `\UXXXXXXXX` become characters; two surrogates make one.
fn unicode_escapes(value: &str) -> SqlResult<Datum> {
    let invalid = |what: &str| SqlError::new(SqlState::SyntaxError, what);
    let mut read = String::with_capacity(value.len());
    let mut rest = value;
    let mut high: Option<u32> = None;
    while let Some(first) = rest.chars().next() {
        if first != '\\' {
            if high.is_some() {
                return Err(invalid("invalid Unicode surrogate pair"));
            }
            read.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let after = &rest[1..];
        if after.starts_with('\\') && high.is_none() {
            read.push('\\');
            rest = &after[1..];
            continue;
        }
        let (skipped, digits) = match after.as_bytes().first() {
            Some(b'+') => (1, 6),
            Some(b'u') => (1, 4),
            Some(b'U') => (1, 8),
            _ => (0, 4),
        };
        let hex = after.get(skipped..skipped + digits).filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let Some(code) = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok()) else {
            let error = invalid("invalid Unicode escape");
            return Err(error.with_hint("Unicode escapes must be \\XXXX, \\+XXXXXX, \\uXXXX, or \\UXXXXXXXX."));
        };
        let code = match (high.take(), code) {
            (Some(high), 0xdc00..=0xdfff) => 0x10000 + ((high - 0xd800) << 10) + (code - 0xdc00),
            (Some(_), _) | (None, 0xdc00..=0xdfff) => return Err(invalid("invalid Unicode surrogate pair")),
            (None, 0xd800..=0xdbff) => {
                high = Some(code);
                rest = &after[skipped + digits..];
                continue;
            }
            (None, code) => code,
        };
        let character = char::from_u32(code).filter(|character| *character != '\0');
        let character =
            character.ok_or_else(|| SqlError::new(SqlState::InvalidParameterValue, "invalid Unicode code point"))?;
        read.push(character);
        rest = &after[skipped + digits..];
    }
    if high.is_some() {
        return Err(invalid("invalid Unicode surrogate pair"));
    }
    out(read)
}

fn character(code: i64) -> SqlResult<Datum> {
    if code < 0 {
        return Err(SqlError::new(SqlState::InvalidParameterValue, "character number must be positive"));
    }
    if code == 0 {
        return Err(SqlError::new(SqlState::ProgramLimitExceeded, "null character not permitted"));
    }
    let c = u32::try_from(code).ok().and_then(char::from_u32);
    if code > i64::from(u32::from(char::MAX)) {
        let message = format!("requested character too large for encoding: {code}");
        return Err(SqlError::new(SqlState::ProgramLimitExceeded, message));
    }
    let refused = || SqlError::new(SqlState::ProgramLimitExceeded, format!("requested character not valid for encoding: {code}"));
    out(c.ok_or_else(refused)?.to_string())
}

fn hex(data: &[u8]) -> String {
    data.iter().fold(String::with_capacity(data.len() * 2), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).expect("a digit below 16"));
        }
        text
    })
}

fn unhex(value: &str) -> SqlResult<Vec<u8>> {
    let refused = |message: String| SqlError::new(SqlState::InvalidParameterValue, message);
    let mut digits = Vec::with_capacity(value.len());
    for c in value.chars().filter(|c| !c.is_whitespace()) {
        let digit = c.to_digit(16).ok_or_else(|| refused(format!("invalid hexadecimal digit: \"{c}\"")))?;
        digits.push(digit as u8);
    }
    if digits.len() % 2 == 1 {
        return Err(refused("invalid hexadecimal data: odd number of digits".into()));
    }
    Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64_LINE: usize = 76;

fn base64(data: &[u8]) -> String {
    let mut text = String::with_capacity(data.len() * 4 / 3 + data.len() / 57 + 4);
    let mut column = 0;
    for chunk in data.chunks(3) {
        if column == BASE64_LINE {
            text.push('\n');
            column = 0;
        }
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = BASE64[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
        column += 4;
    }
    text
}

fn unbase64(value: &str) -> SqlResult<Vec<u8>> {
    let refused = |message: String| SqlError::new(SqlState::InvalidParameterValue, message);
    let (mut word, mut bits, mut data) = (0_u32, 0, Vec::with_capacity(value.len() * 3 / 4));
    for c in value.chars().filter(|c| !c.is_whitespace()) {
        if c == '=' {
            break;
        }
        let digit = BASE64.iter().position(|d| char::from(*d) == c);
        let digit = digit.ok_or_else(|| refused(format!("invalid symbol \"{c}\" found while decoding base64 sequence")))?;
        word = word << 6 | digit as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            data.push((word >> bits) as u8);
            word &= (1 << bits) - 1;
        }
    }
    Ok(data)
}

fn escape_bytes(data: &[u8]) -> String {
    let mut text = String::new();
    for byte in data {
        match byte {
            b'\\' => text.push_str("\\\\"),
            0 | 0x80.. => text.push_str(&format!("\\{byte:03o}")),
            printable => text.push(char::from(*printable)),
        }
    }
    text
}

fn encode(data: &[u8], format: &str) -> SqlResult<Datum> {
    match format.to_ascii_lowercase().as_str() {
        "hex" => out(hex(data)),
        "base64" => out(base64(data)),
        "escape" => out(escape_bytes(data)),
        _ => Err(SqlError::new(SqlState::InvalidParameterValue, format!("unrecognized encoding: \"{format}\""))),
    }
}

fn decode(value: &str, format: &str) -> SqlResult<Datum> {
    match format.to_ascii_lowercase().as_str() {
        "hex" => unhex(value).map(Datum::bytes),
        "base64" => unbase64(value).map(Datum::bytes),
        "escape" => {
            let unescaped = types::text::parse_bytea(value)?;
            Ok(Datum::bytes(unescaped))
        }
        _ => Err(SqlError::new(SqlState::InvalidParameterValue, format!("unrecognized encoding: \"{format}\""))),
    }
}

fn quote_literal(value: &str) -> String {
    let quoted = value.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// format(): `%s`, `%I`, `%L`, with positions and widths.
fn format_text(context: &EvalContext<'_>, template: &str, args: &[Option<String>]) -> SqlResult<String> {
    let refused = |message: &str| SqlError::new(SqlState::InvalidParameterValue, message);
    let mut result = String::new();
    let mut next = 0;
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            result.push(c);
            continue;
        }
        let number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut value: Option<usize> = None;
            while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                value = Some(value.unwrap_or(0).saturating_mul(10).saturating_add(digit as usize));
                chars.next();
            }
            value
        };
        let mut width = number(&mut chars);
        let mut at = None;
        if width.is_some() && chars.peek() == Some(&'$') {
            chars.next();
            at = width.take();
            if at == Some(0) {
                return Err(refused("format specifies argument 0, but arguments are numbered from 1"));
            }
        }
        let left = chars.next_if_eq(&'-').is_some();
        if width.is_none() {
            width = number(&mut chars);
        }
        let conversion = chars.next().ok_or_else(|| refused("unterminated format() type specifier"))?;
        if conversion == '%' {
            result.push('%');
            continue;
        }
        if !matches!(conversion, 's' | 'I' | 'L') {
            return Err(refused(&format!("unrecognized format() type specifier \"{conversion}\"")));
        }
        let index = at.map_or(next, |at| at - 1);
        next = index + 1;
        let arg = args.get(index).ok_or_else(|| refused("too few arguments for format()"))?;
        let shown = match (conversion, arg) {
            ('s', arg) => arg.clone().unwrap_or_default(),
            ('I', Some(name)) => quote_identifier(name),
            ('I', None) => return Err(SqlError::new(SqlState::NullValueNotAllowed, "null values cannot be formatted as an SQL identifier")),
            ('L', Some(value)) => quote_literal(value),
            ('L', None) => "NULL".to_owned(),
            (other, _) => unreachable!("the specifier {other} was refused before"),
        };
        let padding = width.unwrap_or(0).saturating_sub(shown.chars().count());
        check_length(context, result.len().saturating_add(padding).saturating_add(shown.len()))?;
        let padding = " ".repeat(padding);
        if left { result.extend([shown, padding]) } else { result.extend([padding, shown]) }
    }
    Ok(result)
}

pub(super) static FUNCTIONS: &[Builtin] = &[
    Builtin::pure("length", 1317, &[TEXT], R_I4, |_, _, a| count(text(&a[0]).chars().count())),
    Builtin::pure("char_length", 1381, &[TEXT], R_I4, |_, _, a| count(text(&a[0]).chars().count())),
    Builtin::pure("character_length", 1369, &[TEXT], R_I4, |_, _, a| count(text(&a[0]).chars().count())),
    Builtin::pure("length", 2010, &[BYTEA], R_I4, |_, _, a| count(bytes(&a[0]).len())),
    Builtin::pure("octet_length", 1374, &[TEXT], R_I4, |_, _, a| count(text(&a[0]).len())),
    Builtin::pure("octet_length", 1375, &[ArgType::T(SqlType::BPCHAR)], R_I4, |_, _, a| count(text(&a[0]).len())),
    Builtin::pure("octet_length", 720, &[BYTEA], R_I4, |_, _, a| count(bytes(&a[0]).len())),
    Builtin::pure("bit_length", 1811, &[TEXT], R_I4, |_, _, a| count(text(&a[0]).len() * 8)),
    Builtin::pure("bit_length", 1810, &[BYTEA], R_I4, |_, _, a| count(bytes(&a[0]).len() * 8)),
    Builtin::pure("lower", 870, &[TEXT], R_TEXT, |_, _, a| out(text(&a[0]).to_ascii_lowercase())),
    Builtin::pure("upper", 871, &[TEXT], R_TEXT, |_, _, a| out(text(&a[0]).to_ascii_uppercase())),
    Builtin::pure("initcap", 872, &[TEXT], R_TEXT, |_, _, a| out(init_cap(text(&a[0])))),
    Builtin::pure("substring", 937, &[TEXT, I4], R_TEXT, |_, _, a| substring(text(&a[0]), int(&a[1]), None)),
    Builtin::pure("substring", 936, &[TEXT, I4, I4], R_TEXT, |_, _, a| substring(text(&a[0]), int(&a[1]), Some(int(&a[2])))),
    Builtin::pure("substr", 883, &[TEXT, I4], R_TEXT, |_, _, a| substring(text(&a[0]), int(&a[1]), None)),
    Builtin::pure("substr", 877, &[TEXT, I4, I4], R_TEXT, |_, _, a| substring(text(&a[0]), int(&a[1]), Some(int(&a[2])))),
    Builtin::pure("substring", 2013, &[BYTEA, I4], R_BYTEA, |_, _, a| substring_bytes(bytes(&a[0]), int(&a[1]), None)),
    Builtin::pure("substring", 2012, &[BYTEA, I4, I4], R_BYTEA, |_, _, a| substring_bytes(bytes(&a[0]), int(&a[1]), Some(int(&a[2])))),
    Builtin::pure("substr", 2086, &[BYTEA, I4], R_BYTEA, |_, _, a| substring_bytes(bytes(&a[0]), int(&a[1]), None)),
    Builtin::pure("substr", 2085, &[BYTEA, I4, I4], R_BYTEA, |_, _, a| substring_bytes(bytes(&a[0]), int(&a[1]), Some(int(&a[2])))),
    Builtin::pure("btrim", 2015, &[BYTEA, BYTEA], R_BYTEA, |_, _, a| Ok(trim_bytes(bytes(&a[0]), bytes(&a[1]), true, true))),
    Builtin::pure("ltrim", 6195, &[BYTEA, BYTEA], R_BYTEA, |_, _, a| Ok(trim_bytes(bytes(&a[0]), bytes(&a[1]), true, false))),
    Builtin::pure("rtrim", 6196, &[BYTEA, BYTEA], R_BYTEA, |_, _, a| Ok(trim_bytes(bytes(&a[0]), bytes(&a[1]), false, true))),
    Builtin::pure("position", 2014, &[BYTEA, BYTEA], R_I4, |_, _, a| {
        let found = memchr::memmem::find(bytes(&a[0]), bytes(&a[1]));
        count(found.map_or(0, |at| at + 1))
    }),
    Builtin::pure("get_byte", 721, &[BYTEA, I4], R_I4, |_, _, a| {
        Ok(Datum::Int(i64::from(bytes(&a[0])[index_of(bytes(&a[0]).len(), int(&a[1]))?])))
    }),
    Builtin::pure("set_byte", 722, &[BYTEA, I4, I4], R_BYTEA, |_, _, a| {
        let mut changed = bytes(&a[0]).to_vec();
        let at = index_of(changed.len(), int(&a[1]))?;
        changed[at] = int(&a[2]) as u8;
        Ok(Datum::bytes(changed))
    }),
    Builtin::pure("convert_from", 1714, &[BYTEA, NAME], R_TEXT, |_, _, a| {
        utf8_only(text(&a[1]), "source")?;
        let refused = || SqlError::new(SqlState::CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\"");
        out(std::str::from_utf8(bytes(&a[0])).ok().filter(|text| !text.contains('\0')).ok_or_else(refused)?)
    }),
    Builtin::pure("convert_to", 1717, &[TEXT, NAME], R_BYTEA, |_, _, a| {
        utf8_only(text(&a[1]), "destination")?;
        Ok(Datum::bytes(text(&a[0]).as_bytes()))
    }),
    Builtin::pure("format", 3540, &[TEXT], R_TEXT, |context, _, a| out(format_text(context, text(&a[0]), &[])?)).stable(),
    Builtin::pure("quote_literal", 1285, &[ArgType::AnyElement], R_TEXT, |context, types, a| {
        out(quote_literal(&cast_to_text(context, &types.args[0], &a[0])?))
    })
    .stable(),
    Builtin::pure("quote_nullable", 1290, &[ArgType::AnyElement], R_TEXT, |context, types, a| {
        out(if a[0].is_null() { "NULL".to_owned() } else { quote_literal(&cast_to_text(context, &types.args[0], &a[0])?) })
    })
    .null_aware()
    .stable(),
    Builtin::pure("string_to_table", 6160, &[TEXT, TEXT], R_TEXT, table_only).null_aware().returning_set(SetFunction {
        columns: &[],
        eval: |_, _, a| Ok(rows_of(split_to_array(a, None))),
    }),
    Builtin::pure("string_to_table", 6161, &[TEXT, TEXT, TEXT], R_TEXT, table_only).null_aware().returning_set(SetFunction {
        columns: &[],
        eval: |_, _, a| Ok(rows_of(split_to_array(a, a[2].as_str()))),
    }),
    Builtin::pure("btrim", 885, &[TEXT], R_TEXT, |_, _, a| trim(text(&a[0]), " ", true, true)),
    Builtin::pure("btrim", 884, &[TEXT, TEXT], R_TEXT, |_, _, a| trim(text(&a[0]), text(&a[1]), true, true)),
    Builtin::pure("ltrim", 881, &[TEXT], R_TEXT, |_, _, a| trim(text(&a[0]), " ", true, false)),
    Builtin::pure("ltrim", 875, &[TEXT, TEXT], R_TEXT, |_, _, a| trim(text(&a[0]), text(&a[1]), true, false)),
    Builtin::pure("rtrim", 882, &[TEXT], R_TEXT, |_, _, a| trim(text(&a[0]), " ", false, true)),
    Builtin::pure("rtrim", 876, &[TEXT, TEXT], R_TEXT, |_, _, a| trim(text(&a[0]), text(&a[1]), false, true)),
    Builtin::pure("lpad", 879, &[TEXT, I4], R_TEXT, |context, _, a| pad(context, text(&a[0]), int(&a[1]), " ", true)),
    Builtin::pure("lpad", 873, &[TEXT, I4, TEXT], R_TEXT, |context, _, a| pad(context, text(&a[0]), int(&a[1]), text(&a[2]), true)),
    Builtin::pure("rpad", 880, &[TEXT, I4], R_TEXT, |context, _, a| pad(context, text(&a[0]), int(&a[1]), " ", false)),
    Builtin::pure("rpad", 874, &[TEXT, I4, TEXT], R_TEXT, |context, _, a| pad(context, text(&a[0]), int(&a[1]), text(&a[2]), false)),
    Builtin::pure("left", 3060, &[TEXT, I4], R_TEXT, |_, _, a| out(head(text(&a[0]), int(&a[1])))),
    Builtin::pure("right", 3061, &[TEXT, I4], R_TEXT, |_, _, a| out(tail(text(&a[0]), int(&a[1])))),
    Builtin::pure("reverse", 3062, &[TEXT], R_TEXT, |_, _, a| out(text(&a[0]).chars().rev().collect::<String>())),
    Builtin::pure("repeat", 1622, &[TEXT, I4], R_TEXT, |context, _, a| repeat(context, text(&a[0]), int(&a[1]))),
    Builtin::pure("replace", 2087, &[TEXT, TEXT, TEXT], R_TEXT, |context, _, a| {
        let (value, from) = (text(&a[0]), text(&a[1]));
        if from.is_empty() {
            return Ok(a[0].clone());
        }
        let to = text(&a[2]);
        if to.len() > from.len() {
            let grows = to.len() - from.len();
            check_length(context, value.len().saturating_add(value.matches(from).count().saturating_mul(grows)))?;
        }
        out(value.replace(from, to))
    }),
    Builtin::pure("translate", 878, &[TEXT, TEXT, TEXT], R_TEXT, |_, _, a| out(translate(text(&a[0]), text(&a[1]), text(&a[2])))),
    Builtin::pure("position", 849, &[TEXT, TEXT], R_I4, |_, _, a| position(text(&a[0]), text(&a[1]))),
    Builtin::pure("strpos", 868, &[TEXT, TEXT], R_I4, |_, _, a| position(text(&a[0]), text(&a[1]))),
    Builtin::pure("starts_with", 23_696, &[TEXT, TEXT], R_BOOL, |_, _, a| Ok(Datum::Bool(text(&a[0]).starts_with(text(&a[1]))))),
    Builtin::pure("split_part", 2088, &[TEXT, TEXT, I4], R_TEXT, |_, _, a| split_part(text(&a[0]), text(&a[1]), int(&a[2]))),
    Builtin::pure("overlay", 1405, &[TEXT, TEXT, I4], R_TEXT, |_, _, a| {
        overlay(text(&a[0]), text(&a[1]), int(&a[2]), text(&a[1]).chars().count() as i64)
    }),
    Builtin::pure("overlay", 1404, &[TEXT, TEXT, I4, I4], R_TEXT, |_, _, a| overlay(text(&a[0]), text(&a[1]), int(&a[2]), int(&a[3]))),
    Builtin::pure("overlay", 752, &[BYTEA, BYTEA, I4], R_BYTEA, |_, _, a| {
        overlay_bytes(bytes(&a[0]), bytes(&a[1]), int(&a[2]), bytes(&a[1]).len() as i64)
    }),
    Builtin::pure("overlay", 749, &[BYTEA, BYTEA, I4, I4], R_BYTEA, |_, _, a| {
        overlay_bytes(bytes(&a[0]), bytes(&a[1]), int(&a[2]), int(&a[3]))
    }),
    Builtin::pure("unistr", 6198, &[TEXT], R_TEXT, |_, _, a| unicode_escapes(text(&a[0]))),
    Builtin::pure("ascii", 1620, &[TEXT], R_I4, |_, _, a| Ok(Datum::Int(text(&a[0]).chars().next().map_or(0, |c| i64::from(u32::from(c)))))),
    Builtin::pure("chr", 1621, &[I4], R_TEXT, |_, _, a| character(int(&a[0]))),
    Builtin::pure("md5", 2311, &[TEXT], R_TEXT, |_, _, a| out(hex(&Md5::digest(text(&a[0]).as_bytes())))),
    Builtin::pure("md5", 2321, &[BYTEA], R_TEXT, |_, _, a| out(hex(&Md5::digest(bytes(&a[0]))))),
    Builtin::pure("encode", 1946, &[BYTEA, TEXT], R_TEXT, |_, _, a| encode(bytes(&a[0]), text(&a[1]))),
    Builtin::pure("decode", 1947, &[TEXT, TEXT], R_BYTEA, |_, _, a| decode(text(&a[0]), text(&a[1]))),
    Builtin::pure("to_hex", 2089, &[I4], R_TEXT, |_, _, a| out(format!("{:x}", int(&a[0]) as i32))),
    Builtin::pure("to_hex", 2090, &[I8], R_TEXT, |_, _, a| out(format!("{:x}", int(&a[0])))),
    Builtin::pure("quote_ident", 1282, &[TEXT], R_TEXT, |_, _, a| out(quote_identifier(text(&a[0])))),
    Builtin::pure("quote_literal", 1283, &[TEXT], R_TEXT, |_, _, a| out(quote_literal(text(&a[0])))),
    Builtin::pure("quote_nullable", 1289, &[TEXT], R_TEXT, |_, _, a| {
        out(if a[0].is_null() { "NULL".to_owned() } else { quote_literal(text(&a[0])) })
    })
    .null_aware(),
    Builtin::pure("concat", 3058, &[ArgType::Any], R_TEXT, |context, types, a| {
        let mut joined = String::new();
        for (value, ty) in a.iter().zip(&types.args).filter(|(value, _)| !value.is_null()) {
            let text = to_text(context, ty, value)?;
            check_length(context, joined.len() + text.len())?;
            joined.push_str(&text);
        }
        out(joined)
    })
    .variadic()
    .null_aware()
    .stable(),
    Builtin::pure("concat_ws", 3059, &[TEXT, ArgType::Any], R_TEXT, |context, types, a| {
        if a[0].is_null() {
            return Ok(Datum::Null);
        }
        let mut parts = Vec::new();
        for (value, ty) in a.iter().zip(&types.args).skip(1).filter(|(value, _)| !value.is_null()) {
            parts.push(to_text(context, ty, value)?);
        }
        joined(context, &parts, text(&a[0]))
    })
    .variadic()
    .null_aware()
    .stable(),
    Builtin::pure("format", 3539, &[TEXT, ArgType::Any], R_TEXT, |context, types, a| {
        if a[0].is_null() {
            return Ok(Datum::Null);
        }
        let mut args = Vec::new();
        for (value, ty) in a.iter().zip(&types.args).skip(1) {
            args.push(if value.is_null() { None } else { Some(to_text(context, ty, value)?) });
        }
        out(format_text(context, text(&a[0]), &args)?)
    })
    .variadic()
    .null_aware()
    .stable(),
    Builtin::pure("like_escape", 1637, &[TEXT, TEXT, TEXT], R_BOOL, |_, _, a| {
        like(text(&a[0]), text(&a[1]), escape_character(text(&a[2]))?).map(Datum::Bool)
    }),
    Builtin::pure("similar_to_escape", 1987, &[TEXT], R_TEXT, |_, _, a| out(similar_to_regex(text(&a[0]), Some('\\'))?)),
    Builtin::pure("similar_to_escape", 1986, &[TEXT, TEXT], R_TEXT, |_, _, a| {
        out(similar_to_regex(text(&a[0]), escape_character(text(&a[1]))?)?)
    }),
    Builtin::pure("array_to_string", 395, &[ArgType::AnyArray, TEXT], R_TEXT, |context, types, a| {
        join_array(context, &types.args[0], &a[0], text(&a[1]), None)
    })
    .stable(),
    Builtin::pure("array_to_string", 384, &[ArgType::AnyArray, TEXT, TEXT], R_TEXT, |context, types, a| {
        if a[0].is_null() || a[1].is_null() {
            return Ok(Datum::Null);
        }
        join_array(context, &types.args[0], &a[0], text(&a[1]), a[2].as_str())
    })
    .null_aware()
    .stable(),
    Builtin::pure("string_to_array", 394, &[TEXT, TEXT], RetType::T(SqlType::TEXT_ARRAY), |_, _, a| Ok(split_to_array(a, None))).null_aware(),
    Builtin::pure("string_to_array", 376, &[TEXT, TEXT, TEXT], RetType::T(SqlType::TEXT_ARRAY), |_, _, a| {
        Ok(split_to_array(a, a[2].as_str()))
    })
    .null_aware(),
];

fn trim_bytes(value: &[u8], set: &[u8], left: bool, right: bool) -> Datum {
    let kept = |byte: &u8| !set.contains(byte);
    let from = if left { value.iter().position(kept).unwrap_or(value.len()) } else { 0 };
    let to = if right { value.iter().rposition(kept).map_or(from, |at| at + 1) } else { value.len() };
    Datum::bytes(&value[from..to.max(from)])
}

fn index_of(len: usize, index: i64) -> SqlResult<usize> {
    usize::try_from(index).ok().filter(|at| *at < len).ok_or_else(|| {
        let message = format!("index {index} out of valid range, 0..{}", len as i64 - 1);
        SqlError::new(SqlState::ArraySubscriptError, message)
    })
}

/// All text is UTF-8; conversions from and to other encodings are left out.
fn utf8_only(encoding: &str, role: &str) -> SqlResult<()> {
    if encoding.eq_ignore_ascii_case("utf8") || encoding.eq_ignore_ascii_case("utf-8") {
        return Ok(());
    }
    Err(SqlError::new(SqlState::InvalidParameterValue, format!("invalid {role} encoding name \"{encoding}\"")))
}

fn table_only(_: &crate::EvalContext<'_>, _: &crate::CallTypes, _: &[Datum]) -> SqlResult<Datum> {
    Err(SqlError::internal("a set-returning function was called as a scalar"))
}

fn rows_of(array: Datum) -> SetRows {
    let elements = array.as_array().map_or(&[][..], types::Array::elements);
    elements.iter().map(|element| vec![element.clone()]).collect()
}

fn join_array(
    context: &crate::EvalContext<'_>,
    ty: &SqlType,
    value: &Datum,
    delimiter: &str,
    null: Option<&str>,
) -> SqlResult<Datum> {
    let element = ty.element().expect("an array argument has an element type");
    let mut parts = Vec::new();
    for item in array(value).elements() {
        match (item.is_null(), null) {
            (true, None) => {}
            (true, Some(shown)) => parts.push(shown.to_owned()),
            (false, _) => parts.push(to_text(context, &element, item)?),
        }
    }
    joined(context, &parts, delimiter)
}

fn joined(context: &EvalContext<'_>, parts: &[String], delimiter: &str) -> SqlResult<Datum> {
    let delimiters = parts.len().saturating_sub(1).saturating_mul(delimiter.len());
    check_length(context, delimiters.saturating_add(parts.iter().map(String::len).sum()))?;
    out(parts.join(delimiter))
}

/// A NULL delimiter splits into characters.
fn split_to_array(a: &[Datum], null: Option<&str>) -> Datum {
    if a[0].is_null() {
        return Datum::Null;
    }
    let value = text(&a[0]);
    let parts: Vec<String> = match a[1].as_str() {
        _ if value.is_empty() => Vec::new(),
        None => value.chars().map(String::from).collect(),
        Some("") => vec![value.to_owned()],
        Some(delimiter) => value.split(delimiter).map(str::to_owned).collect(),
    };
    let datum = |part: String| if null == Some(part.as_str()) { Datum::Null } else { Datum::text(part) };
    Datum::Array(types::Array::from_elements(parts.into_iter().map(datum).collect()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::eval_function;

    fn t(value: &str) -> (SqlType, Datum) {
        (SqlType::Text, Datum::text(value))
    }

    fn i(value: i64) -> (SqlType, Datum) {
        (SqlType::Int4, Datum::Int(value))
    }

    fn check(name: &str, args: &[(SqlType, Datum)], expected: &str) {
        let got = eval_function(name, args).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(got.as_str(), Some(expected), "{name}({args:?})");
    }

    #[test]
    fn strings_are_cut_as_postgresql_cuts_them() {
        check("substring", &[t("abcdef"), i(0), i(3)], "ab");
        check("substring", &[t("abcdef"), i(-1)], "abcdef");
        check("substring", &[t("日本語"), i(2), i(1)], "本");
        check("left", &[t("abcdef"), i(-2)], "abcd");
        check("right", &[t("abcdef"), i(-2)], "cdef");
        check("lpad", &[t("hi"), i(5), t("xy")], "xyxhi");
        check("rpad", &[t("hello"), i(2)], "he");
        check("split_part", &[t("a,b,c"), t(","), i(-1)], "c");
        check("split_part", &[t("a,b,c"), t(","), i(4)], "");
        check("overlay", &[t("Txxxxas"), t("hom"), i(2), i(4)], "Thomas");
        check("initcap", &[t("hi THOMAS")], "Hi Thomas");
        check("translate", &[t("12345"), t("143"), t("ax")], "a2x5");
        check("format", &[t("%s %I %L%% %1$s"), t("a"), t("B c"), t("it's")], "a \"B c\" 'it''s'% a");
        // An argument without a number is the one after the last named.
        eval_function("format", &[t("%2$s %I"), t("a"), t("b")]).expect_err("there is no third argument");
    }

    #[test]
    fn encodings_come_back() {
        check("md5", &[t("")], "d41d8cd98f00b204e9800998ecf8427e");
        for data in [&b""[..], b"a", b"ab", b"abc", &[0, 255, 128, 7]] {
            assert_eq!(unbase64(&base64(data)).as_deref(), Ok(data));
            assert_eq!(unhex(&hex(data)).as_deref(), Ok(data));
        }
    }

    #[test]
    fn a_result_too_large_is_refused_before_it_is_made() {
        eval_function("repeat", &[t("abc"), (SqlType::Int4, Datum::Int(i64::from(i32::MAX)))]).expect_err("6 GiB");
    }
}
