//! FunctionCall: a function is run by its oid, as libpq does for large objects.
//!
//! ```text
//!  FunctionCall          | oid: i32 | formats | count: i16 | length: i32 (-1 for NULL), bytes | … | format: i16 |
//!  FunctionCallResponse  | length: i32 (-1 for NULL), bytes |
//! ```
//! It runs as a SELECT of that function with parameters, so that transactions, privileges and time limits are those of any
//! statement.

use std::ops::Range;

use plan::PlanColumn;
use session::{FunctionOfOid, Session, Severity, Sink};
use types::{Batch, Datum, Formatting, SqlError, SqlResult, SqlState, SqlType, parse_binary, parse_text};

use crate::{
    connection::{Connection, watched},
    encode::{self, Value},
    extended::formats,
    frame::{Body, protocol, utf8},
};

/// Calls the function and writes what it answers.
pub(crate) async fn call(connection: &mut Connection, session: &mut Session, body: &[u8]) -> SqlResult<()> {
    let mut body = Body::new(body);
    let oid = body.i32()? as u32;
    // Before anything is looked up: a failed transaction knows no functions.
    session.check_not_failed()?;
    let function = session.function_of_oid(oid).await?;
    let args = arguments(&mut body, &function, session)?;
    let format = body.i16()?;
    body.end()?;
    if !matches!(format, 0 | 1) {
        return Err(SqlError::new(SqlState::InvalidParameterValue, format!("unsupported format code: {format}")));
    }
    let flag = session.cancel_flag();
    let mut sink = OneValue { ty: function.result, format, value: None, notices: Vec::new() };
    let running = session.call_by_message(&function, args, &mut sink);
    watched(&mut connection.reader, &mut connection.wary, &flag, running).await?;
    let OneValue { value, notices, .. } = sink;
    let out = &mut connection.writer.out;
    for (severity, notice) in notices {
        encode::notice(out, notice, severity.name());
    }
    encode::function_result(out, value.as_deref())?;
    session.end_implicit().await
}

fn arguments(body: &mut Body<'_>, function: &FunctionOfOid, session: &Session) -> SqlResult<Vec<Datum>> {
    let given_formats = formats(body)?;
    let given = body.count()?;
    if given != function.args.len() {
        let message =
            format!("function call message contains {given} arguments but function requires {}", function.args.len());
        return Err(protocol(message));
    }
    if given_formats.len() > 1 && given_formats.len() != given {
        let message = format!(
            "function call message contains {} argument formats but {given} arguments",
            given_formats.len()
        );
        return Err(protocol(message));
    }
    let formatting = session.formatting();
    let mut args = Vec::with_capacity(given);
    for (at, ty) in function.args.iter().enumerate() {
        let length = body.i32()?;
        args.push(match usize::try_from(length) {
            Ok(length) => {
                let bytes = body.take(length)?;
                match encode::format_of(&given_formats, at) {
                    0 => parse_text(ty, utf8(bytes)?, &formatting)?,
                    _ => parse_binary(ty, bytes)?,
                }
            }
            Err(_) if length == -1 => Datum::Null,
            Err(_) => return Err(protocol(format!("invalid argument size {length} in function call message"))),
        });
    }
    Ok(args)
}

/// Keeps the value of the one row.
struct OneValue {
    ty: SqlType,
    format: i16,
    value: Option<Value>,
    notices: Vec<(Severity, SqlError)>,
}

impl Sink for OneValue {
    fn columns(&mut self, _columns: &[PlanColumn]) {}

    fn rows(&mut self, batch: &Batch, rows: Range<usize>, formatting: &Formatting) -> SqlResult<usize> {
        if let Some(column) = batch.columns().first()
            && !rows.is_empty()
            && !column.is_null(rows.start)
        {
            let mut value = Vec::new();
            match self.format {
                1 => session::binary_value(&mut value, column, rows.start, &self.ty),
                _ => session::text_value(&mut value, column, rows.start, &self.ty, formatting)?,
            }
            self.value = Some(value);
        }
        Ok(rows.end)
    }

    fn notice(&mut self, severity: Severity, notice: SqlError) {
        self.notices.push((severity, notice));
    }

    fn rewind(&mut self, _mark: u64) -> bool {
        self.value = None;
        self.notices.clear();
        true
    }
}
