//! The extended protocol: statements prepared, bound to parameters, described and run, each by a message.

use session::{Completion, Ending, Formats, Session};
use types::{Datum, SqlError, SqlResult, SqlState, SqlType, parse_binary, parse_text};

use crate::{
    connection::{Connection, watched},
    encode,
    frame::{Body, protocol, utf8},
    sink::WireSink,
};

pub(crate) async fn parse(connection: &mut Connection, session: &mut Session, body: &[u8]) -> SqlResult<()> {
    let mut body = Body::new(body);
    let (name, text) = (body.string()?, body.string()?);
    let count = body.count()?;
    let mut hints = Vec::new();
    for _ in 0..count {
        let oid = body.i32()? as u32;
        let ty = if oid == 0 { None } else { session.type_of_oid(oid).await? };
        if oid != 0 && ty.is_none() {
            return Err(SqlError::new(SqlState::UndefinedObject, format!("type with OID {oid} does not exist")));
        }
        hints.push(ty.filter(|ty| *ty != SqlType::Unknown));
    }
    body.end()?;
    let mut statements = session.read(text, &hints)?;
    if statements.len() > 1 {
        return Err(SqlError::new(
            SqlState::SyntaxError,
            "cannot insert multiple commands into a prepared statement",
        ));
    }
    session.prepare(name, statements.pop()).await?;
    encode::empty(&mut connection.writer.out, b'1');
    Ok(())
}

pub(crate) fn formats(body: &mut Body<'_>) -> SqlResult<Formats> {
    let count = body.count()?;
    let mut formats = Formats::new();
    for _ in 0..count {
        match body.i16()? {
            format @ (0 | 1) => formats.push(format),
            other => return Err(SqlError::new(SqlState::InvalidParameterValue, format!("unsupported format code: {other}"))),
        }
    }
    Ok(formats)
}

pub(crate) fn bind(connection: &mut Connection, session: &mut Session, body: &[u8]) -> SqlResult<()> {
    let mut body = Body::new(body);
    let (portal, name) = (body.string()?, body.string()?);
    let given_formats = formats(&mut body)?;
    let given = body.count()?;
    if given_formats.len() > 1 && given_formats.len() != given {
        return Err(protocol(format!(
            "bind message has {} parameter formats but {given} parameters",
            given_formats.len()
        )));
    }
    let prepared = session.current(name)?;
    let wanted = &prepared.plan.params;
    if given != wanted.len() {
        return Err(protocol(format!(
            "bind message supplies {given} parameters, but prepared statement \"{name}\" requires {}",
            wanted.len()
        )));
    }
    // Names of relations and the like are looked up where the session looks.
    let is_named = |ty: &SqlType| ty.is_reg() || ty.element().is_some_and(|element| element.is_reg());
    let with_names = wanted.iter().any(is_named).then(|| session.formatting());
    let formatting = with_names.as_ref().unwrap_or(&session.settings.formatting);
    let mut params = Vec::with_capacity(wanted.len());
    for (at, ty) in wanted.iter().enumerate() {
        let length = body.i32()?;
        params.push(match usize::try_from(length) {
            Ok(length) => {
                let bytes = body.take(length)?;
                match encode::format_of(&given_formats, at) {
                    0 => parse_text(ty, utf8(bytes)?, formatting)?,
                    _ => parse_binary(ty, bytes)?,
                }
            }
            Err(_) if length == -1 => Datum::Null,
            Err(_) => return Err(protocol("insufficient data left in message")),
        });
    }
    let formats = formats(&mut body)?;
    body.end()?;
    let columns = prepared.plan.columns.len();
    if formats.len() > 1 && formats.len() != columns {
        return Err(protocol(format!(
            "bind message has {} result formats but query has {columns} columns",
            formats.len()
        )));
    }
    session.bind(portal, prepared, params, formats)?;
    encode::empty(&mut connection.writer.out, b'2');
    Ok(())
}

pub(crate) fn describe(connection: &mut Connection, session: &mut Session, body: &[u8]) -> SqlResult<()> {
    let mut body = Body::new(body);
    let (kind, name) = (body.u8()?, body.string()?);
    body.end()?;
    let out = &mut connection.writer.out;
    match kind {
        b'S' => {
            let prepared = session.current(name)?;
            encode::parameter_description(out, &prepared.plan.params);
            columns(out, &prepared.plan, &[]);
        }
        b'P' => {
            let portal = session.portal(name)?;
            columns(out, &portal.prepared.plan, &portal.formats);
        }
        other => return Err(protocol(format!("invalid DESCRIBE message subtype {other}"))),
    }
    Ok(())
}

fn columns(out: &mut Vec<u8>, plan: &plan::PreparedPlan, formats: &[i16]) {
    if session::yields_rows(plan) {
        encode::row_description(out, &plan.columns, formats);
    } else {
        encode::empty(out, b'n');
    }
}

pub(crate) async fn execute(connection: &mut Connection, session: &mut Session, body: &[u8]) -> SqlResult<()> {
    let mut body = Body::new(body);
    let (name, limit) = (body.string()?, body.i32()?);
    body.end()?;
    // A limit below one is none.
    let limit = usize::try_from(limit).unwrap_or(0);
    let portal = session.portal(name)?;
    let (plan, formats) = (portal.prepared.plan.clone(), portal.formats.clone());
    // With Sync at hand nothing else can belong to the transaction, which is then committed at once, and run again if
    // that fails.
    let ending = if connection.reader.is_sync_next() { Ending::WithStatement } else { Ending::Later };
    let flag = session.cancel_flag();
    let mut sink = WireSink::for_portal(&mut connection.writer, plan, &formats);
    let running = session.execute_portal(name, limit, &mut sink, ending);
    let completion = watched(&mut connection.reader, &mut connection.wary, &flag, running).await?;
    if matches!(completion, Completion::CopyOut(_)) {
        sink.end_copy();
    }
    connection.complete(session, completion).await
}

pub(crate) fn close(connection: &mut Connection, session: &mut Session, body: &[u8]) -> SqlResult<()> {
    let mut body = Body::new(body);
    let (kind, name) = (body.u8()?, body.string()?);
    body.end()?;
    match kind {
        b'S' => session.deallocate(name),
        b'P' => session.close_portal(name),
        other => return Err(protocol(format!("invalid CLOSE message subtype {other}"))),
    }
    encode::empty(&mut connection.writer.out, b'3');
    Ok(())
}
