//! Messages to the client, written straight into the connection's buffer.

use bytes::{BufMut, BytesMut};
use plan::PlanColumn;
use types::{Batch, Datum, Formatting, SqlError, SqlType, write_binary, write_text};

fn message(out: &mut BytesMut, kind: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    let at = out.len();
    out.put_i32(0);
    body(out);
    let length = (out.len() - at) as i32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

fn cstr(out: &mut BytesMut, text: &str) {
    out.put_slice(text.as_bytes());
    out.put_u8(0);
}

pub(crate) fn authentication_ok(out: &mut BytesMut) {
    message(out, b'R', |out| out.put_i32(0));
}

pub(crate) fn parameter_status(out: &mut BytesMut, name: &str, value: &str) {
    message(out, b'S', |out| {
        cstr(out, name);
        cstr(out, value);
    });
}

pub(crate) fn backend_key(out: &mut BytesMut, pid: i32, secret: i32) {
    message(out, b'K', |out| {
        out.put_i32(pid);
        out.put_i32(secret);
    });
}

pub(crate) fn ready(out: &mut BytesMut, status: u8) {
    message(out, b'Z', |out| out.put_u8(status));
}

/// A message without a body.
pub(crate) fn empty(out: &mut BytesMut, kind: u8) {
    message(out, kind, |_| {});
}

pub(crate) fn command_complete(out: &mut BytesMut, tag: &str) {
    message(out, b'C', |out| cstr(out, tag));
}

pub(crate) fn parameter_description(out: &mut BytesMut, types: &[SqlType]) {
    message(out, b't', |out| {
        out.put_i16(types.len() as i16);
        for ty in types {
            out.put_u32(ty.oid());
        }
    });
}

pub(crate) fn row_description(out: &mut BytesMut, columns: &[PlanColumn], formats: &[i16]) {
    message(out, b'T', |out| {
        out.put_i16(columns.len() as i16);
        for (at, column) in columns.iter().enumerate() {
            cstr(out, &column.name);
            out.put_u32(column.table_oid);
            out.put_i16(column.attribute);
            // What is still unknown after binding is shown as text.
            let ty = if column.ty == SqlType::Unknown { SqlType::Text } else { column.ty };
            out.put_u32(ty.oid());
            out.put_i16(ty.typlen());
            out.put_i32(ty.typmod());
            out.put_i16(format_of(formats, at));
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

/// A row of a batch as DataRow.
pub(crate) fn data_row(
    out: &mut BytesMut,
    scratch: &mut Vec<u8>,
    batch: &Batch,
    row: usize,
    types: &[SqlType],
    formats: &[i16],
    formatting: &Formatting,
) {
    message(out, b'D', |out| {
        out.put_i16(types.len() as i16);
        for (column, ty) in types.iter().enumerate() {
            let datum = batch.get_datum(column, row);
            if matches!(datum, Datum::Null) {
                out.put_i32(-1);
                continue;
            }
            scratch.clear();
            if format_of(formats, column) == 1 {
                write_binary(ty, &datum, scratch);
            } else {
                write_text(ty, &datum, formatting, scratch);
            }
            out.put_i32(scratch.len() as i32);
            out.put_slice(scratch);
        }
    });
}

/// CopyInResponse and CopyOutResponse.
pub(crate) fn copy_response(out: &mut BytesMut, kind: u8, column_count: usize) {
    message(out, kind, |out| {
        out.put_u8(0);
        out.put_i16(column_count as i16);
        for _ in 0..column_count {
            out.put_i16(0);
        }
    });
}

pub(crate) fn copy_data(out: &mut BytesMut, line: &[u8]) {
    message(out, b'd', |out| out.put_slice(line));
}

fn fields(out: &mut BytesMut, error: SqlError, severity: &str) {
    let code = error.code().code();
    let all = error.into_fields();
    let mut field = |kind: u8, text: &str| {
        out.put_u8(kind);
        cstr(out, text);
    };
    field(b'S', severity);
    field(b'V', severity);
    field(b'C', code);
    field(b'M', &all.message);
    if let Some(text) = &all.detail {
        field(b'D', text);
    }
    if let Some(text) = &all.hint {
        field(b'H', text);
    }
    if let Some(position) = all.position {
        field(b'P', &position.to_string());
    }
    for (kind, text) in [
        (b's', &all.schema),
        (b't', &all.table),
        (b'c', &all.column),
        (b'd', &all.datatype),
        (b'n', &all.constraint),
    ] {
        if let Some(text) = text {
            field(kind, text);
        }
    }
    out.put_u8(0);
}

pub(crate) fn error(out: &mut BytesMut, error: SqlError, severity: &str) {
    message(out, b'E', |out| fields(out, error, severity));
}

pub(crate) fn notice(out: &mut BytesMut, text: &str) {
    message(out, b'N', |out| {
        for (kind, text) in [(b'S', "NOTICE"), (b'V', "NOTICE"), (b'C', "00000"), (b'M', text)] {
            out.put_u8(kind);
            cstr(out, text);
        }
        out.put_u8(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_messages() {
        let mut out = BytesMut::new();
        ready(&mut out, b'I');
        command_complete(&mut out, "SELECT 1");
        assert_eq!(&out[..], b"Z\0\0\0\x05IC\0\0\0\x0dSELECT 1\0");
        out.clear();
        let batch = Batch::from_rows(&[SqlType::Int4, SqlType::Text], &[vec![Datum::Int(7), Datum::Null]]);
        let types = [SqlType::Int4, SqlType::Text];
        data_row(&mut out, &mut Vec::new(), &batch, 0, &types, &[1, 0], &Formatting::default());
        assert_eq!(&out[..], b"D\0\0\0\x12\0\x02\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff");
    }
}
