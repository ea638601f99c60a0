//! Messages to the client, written straight into the connection's buffer.

use plan::PlanColumn;
use session::{binary_value, text_value};
use types::{Batch, Formatting, SqlError, SqlResult, SqlState, SqlType};

fn put_i16(out: &mut Vec<u8>, value: i16) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_i32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

/// How many columns or parameters there are: never more than a count can say, which the planner sees to.
fn put_count(out: &mut Vec<u8>, count: usize) {
    put_i16(out, u16::try_from(count).unwrap_or(u16::MAX) as i16);
}

/// Writes a length, after what `body` writes, in front of it.
fn sized(out: &mut Vec<u8>, counts_itself: bool, body: impl FnOnce(&mut Vec<u8>)) -> bool {
    let at = out.len();
    put_i32(out, 0);
    body(out);
    let length = out.len() - at - if counts_itself { 0 } else { 4 };
    let Ok(length) = i32::try_from(length) else { return false };
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    true
}

fn message(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    let fits = sized(out, true, body);
    assert!(fits, "only rows, which are checked, can be so long");
}

pub(crate) fn authentication_ok(out: &mut Vec<u8>) {
    message(out, b'R', |out| put_i32(out, 0));
}

/// Asks for a password, by one of these mechanisms.
pub(crate) fn authentication_sasl(out: &mut Vec<u8>, mechanisms: &[&str]) {
    message(out, b'R', |out| {
        put_i32(out, 10);
        mechanisms.iter().for_each(|mechanism| put_string(out, mechanism));
        out.push(0);
    });
}

/// AuthenticationSASLContinue (11) and AuthenticationSASLFinal (12).
pub(crate) fn authentication_sasl_data(out: &mut Vec<u8>, code: i32, data: &str) {
    message(out, b'R', |out| {
        put_i32(out, code);
        out.extend_from_slice(data.as_bytes());
    });
}

/// The newest protocol is 3.0, and these options are not known.
pub(crate) fn negotiate_protocol_version(out: &mut Vec<u8>, unknown: &[&str]) {
    message(out, b'v', |out| {
        put_i32(out, 3 << 16);
        put_i32(out, unknown.len() as i32);
        for option in unknown {
            put_string(out, option);
        }
    });
}

pub(crate) fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    message(out, b'S', |out| {
        put_string(out, name);
        put_string(out, value);
    });
}

pub(crate) fn backend_key(out: &mut Vec<u8>, pid: i32, secret: i32) {
    message(out, b'K', |out| {
        put_i32(out, pid);
        put_i32(out, secret);
    });
}

pub(crate) fn notification(out: &mut Vec<u8>, pid: i32, channel: &str, payload: &str) {
    message(out, b'A', |out| {
        put_i32(out, pid);
        put_string(out, channel);
        put_string(out, payload);
    });
}

pub(crate) fn ready(out: &mut Vec<u8>, status: u8) {
    message(out, b'Z', |out| out.push(status));
}

/// A message without a body.
pub(crate) fn empty(out: &mut Vec<u8>, kind: u8) {
    message(out, kind, |_| {});
}

pub(crate) fn command_complete(out: &mut Vec<u8>, tag: &str) {
    message(out, b'C', |out| put_string(out, tag));
}

pub(crate) fn parameter_description(out: &mut Vec<u8>, types: &[SqlType]) {
    message(out, b't', |out| {
        put_count(out, types.len());
        for ty in types {
            out.extend_from_slice(&shown_type(*ty).oid().to_be_bytes());
        }
    });
}

/// What is still unknown after binding is shown as text.
fn shown_type(ty: SqlType) -> SqlType {
    if ty == SqlType::Unknown { SqlType::Text } else { ty }
}

pub(crate) fn row_description(out: &mut Vec<u8>, columns: &[PlanColumn], formats: &[i16]) {
    message(out, b'T', |out| {
        put_count(out, columns.len());
        for (at, column) in columns.iter().enumerate() {
            put_string(out, &column.name);
            out.extend_from_slice(&column.table_oid.to_be_bytes());
            put_i16(out, column.attribute);
            let ty = shown_type(column.ty);
            out.extend_from_slice(&ty.oid().to_be_bytes());
            put_i16(out, ty.typlen());
            put_i32(out, ty.typmod());
            put_i16(out, format_of(formats, at));
        }
    });
}

/// The format of a column by Bind's rules: none is text for all, one is for all.
pub(crate) fn format_of(formats: &[i16], at: usize) -> i16 {
    match formats {
        [] => 0,
        [all] => *all,
        each => each.get(at).copied().unwrap_or(0),
    }
}

/// A row as DataRow has it: a count, and each value behind its length.
fn values<'a>(
    out: &mut Vec<u8>,
    batch: &Batch,
    row: usize,
    types: impl ExactSizeIterator<Item = &'a SqlType>,
    formats: &[i16],
    formatting: &Formatting,
) -> SqlResult<()> {
    put_count(out, types.len());
    for (at, ty) in types.enumerate() {
        let column = &batch.columns()[at];
        if column.is_null(row) {
            put_i32(out, -1);
            continue;
        }
        let mut outcome = Ok(());
        let fits = sized(out, false, |out| {
            if format_of(formats, at) == 1 {
                binary_value(out, column, row, ty);
            } else {
                outcome = text_value(out, column, row, ty, formatting);
            }
        });
        outcome?;
        if !fits {
            return Err(too_long());
        }
    }
    Ok(())
}

/// A row of a batch as DataRow, in the formats that Bind asked for: none is text for all, one is for all.
///
/// # Errors
/// 54000 when it is too long for a message; nothing is left of it then.
pub fn data_row<'a>(
    out: &mut Vec<u8>,
    batch: &Batch,
    row: usize,
    types: impl ExactSizeIterator<Item = &'a SqlType>,
    formats: &[i16],
    formatting: &Formatting,
) -> SqlResult<()> {
    fallible(out, b'D', |out| values(out, batch, row, types, formats, formatting))
}

/// A message whose body can be too long, or fail; nothing is left of it then.
pub(crate) fn fallible(
    out: &mut Vec<u8>,
    kind: u8,
    body: impl FnOnce(&mut Vec<u8>) -> SqlResult<()>,
) -> SqlResult<()> {
    let at = out.len();
    out.push(kind);
    let mut outcome = Ok(());
    let fits = sized(out, true, |out| outcome = body(out));
    if !fits && outcome.is_ok() {
        outcome = Err(too_long());
    }
    if outcome.is_err() {
        out.truncate(at);
    }
    outcome
}

/// A value as bytes.
pub(crate) type Value = Vec<u8>;

/// FunctionCallResponse.
pub(crate) fn function_result(out: &mut Vec<u8>, value: Option<&[u8]>) -> SqlResult<()> {
    fallible(out, b'V', |out| {
        match value {
            None => put_i32(out, -1),
            Some(value) => {
                put_i32(out, i32::try_from(value.len()).map_err(|_| too_long())?);
                out.extend_from_slice(value);
            }
        }
        Ok(())
    })
}

fn too_long() -> SqlError {
    SqlError::new(SqlState::ProgramLimitExceeded, "a row is too long for a message")
}

/// CopyInResponse and CopyOutResponse.
pub(crate) fn copy_response(out: &mut Vec<u8>, kind: u8, column_count: usize, format: i16) {
    message(out, kind, |out| {
        out.push(format as u8);
        put_count(out, column_count);
        for _ in 0..column_count {
            put_i16(out, format);
        }
    });
}

fn fields(out: &mut Vec<u8>, error: SqlError, severity: &str) {
    let state = error.code();
    let all = error.into_fields();
    let mut field = |kind: u8, text: &str| {
        out.push(kind);
        // A zero byte would end the field, and the rest would be taken for others.
        match text.contains('\0') {
            true => put_string(out, &text.replace('\0', "")),
            false => put_string(out, text),
        }
    };
    field(b'S', severity);
    field(b'V', severity);
    field(b'C', state.code());
    field(b'M', &all.message);
    for (kind, text) in [
        (b'D', &all.detail),
        (b'H', &all.hint),
        (b's', &all.schema),
        (b't', &all.table),
        (b'c', &all.column),
        (b'd', &all.datatype),
        (b'n', &all.constraint),
        (b'q', &all.internal_query),
        (b'W', &all.context),
    ] {
        if let Some(text) = text {
            field(kind, text);
        }
    }
    if let Some(routine) = all.routine {
        field(b'R', routine);
    }
    if let Some(position) = all.position {
        field(b'P', itoa::Buffer::new().format(position));
    }
    if let Some(position) = all.internal_position {
        field(b'p', itoa::Buffer::new().format(position));
    }
    out.push(0);
}

pub(crate) fn error(out: &mut Vec<u8>, error: SqlError, severity: &str) {
    message(out, b'E', |out| fields(out, error, severity));
}

pub(crate) fn notice(out: &mut Vec<u8>, notice: SqlError, severity: &str) {
    message(out, b'N', |out| fields(out, notice, severity));
}

#[cfg(test)]
mod tests {
    use types::Datum;

    use super::*;

    #[test]
    fn golden_messages() {
        let mut out = Vec::new();
        ready(&mut out, b'I');
        command_complete(&mut out, "SELECT 1");
        assert_eq!(&out[..], b"Z\0\0\0\x05IC\0\0\0\x0dSELECT 1\0");
        out.clear();
        let types = [SqlType::Int4, SqlType::Text];
        let batch = Batch::from_rows(&types, &[vec![Datum::Int(7), Datum::Null]]);
        let formatting = Formatting::default();
        data_row(&mut out, &batch, 0, types.iter(), &[1, 0], &formatting).unwrap();
        assert_eq!(&out[..], b"D\0\0\0\x12\0\x02\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff");
    }

    #[test]
    fn what_fails_leaves_nothing_behind() {
        let mut out = b"before".to_vec();
        assert!(fallible(&mut out, b'D', |_| Err(too_long())).is_err());
        assert_eq!(out, b"before");
        error(&mut out, SqlError::new(SqlState::SyntaxError, "a\0Mb"), "ERROR");
        assert!(out.ends_with(b"MaMb\0\0"), "a zero byte does not begin another field");
    }
}
