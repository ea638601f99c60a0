//! What a client sends, as functions of bytes: for fuzz targets, with the readers that connections use.

use bytes::BytesMut;
use types::{Formatting, SqlType, parse_binary, parse_text};

use crate::{
    extended::formats,
    frame::{Body, Reader, utf8},
    startup::{options, parameters},
};

/// A startup packet without its length.
pub fn startup(bytes: &[u8]) {
    let Some((version, rest)) = bytes.split_first_chunk::<4>() else { return };
    let mut packet = BytesMut::from(rest);
    let Ok(parameters) = parameters(&mut packet, i32::from_be_bytes(*version), &mut Vec::new()) else { return };
    if let Some(text) = parameters.get("options") {
        let _refused = options(text);
    }
}

/// Messages of a client that is let in, of any kind, in their frames.
pub fn messages(bytes: &[u8]) {
    let mut reader = Reader::of_bytes(bytes);
    while let Ok(Some(frame)) = reader.buffered() {
        let mut body = Body::new(&frame.body);
        let _refused = match frame.kind {
            b'Q' | b'E' | b'f' => body.string().and_then(|_| body.i32()).map(drop),
            b'P' => parse(&mut body),
            b'B' => bind(&mut body),
            b'D' | b'C' => body.u8().and_then(|_| body.string()).map(drop),
            _ => body.end(),
        };
    }
}

fn parse(body: &mut Body<'_>) -> types::SqlResult<()> {
    body.string()?;
    body.string()?;
    for _ in 0..body.count()? {
        body.i32()?;
    }
    body.end()
}

fn bind(body: &mut Body<'_>) -> types::SqlResult<()> {
    body.string()?;
    body.string()?;
    formats(body)?;
    for _ in 0..body.count()? {
        if let Ok(length) = usize::try_from(body.i32()?) {
            body.take(length)?;
        }
    }
    formats(body)?;
    body.end()
}

/// A parameter: the number of its type, its format, its value.
pub fn value(bytes: &[u8]) {
    let Some((oid, rest)) = bytes.split_first_chunk::<4>() else { return };
    let Some((format, value)) = rest.split_first() else { return };
    let Some(ty) = SqlType::from_oid(u32::from_be_bytes(*oid) % 5000, -1) else { return };
    match format % 2 {
        0 => {
            let _refused = utf8(value).and_then(|text| parse_text(&ty, text, &Formatting::default()));
        }
        _ => {
            let _refused = parse_binary(&ty, value);
        }
    }
}
