//! What comes before the first query: encryption, cancel requests, the startup packet.

use std::collections::BTreeMap;

use bytes::BytesMut;
use certs::NodeCerts;
use pgwire::messages::{DecodeContext, Message, startup::Startup};
use types::{SqlError, SqlResult, SqlState};

use crate::{
    encode,
    frame::{Body, Reader, protocol},
    registry::CancelRegistry,
    stream::{Encrypted, encrypt},
    writer::Writer,
};

const CANCEL_CODE: i32 = 80_877_102;
const SSL_CODE: i32 = 80_877_103;
const GSS_CODE: i32 = 80_877_104;

/// How a connection begins.
pub(crate) struct Opening {
    pub parameters: BTreeMap<String, String>,
    pub encrypted: Option<Encrypted>,
}

/// Reads up to the startup packet and answers its parameters; none when there is nothing more to be served. A connection
/// is encrypted when the client asks for it and the node has certificates.
///
/// # Errors
/// FATAL: what is wrong with the packets.
pub(crate) async fn startup(
    reader: &mut Reader,
    writer: &mut Writer,
    registry: &CancelRegistry,
    certs: Option<&NodeCerts>,
) -> SqlResult<Option<Opening>> {
    let (mut ssl_answered, mut gss_refused) = (false, false);
    let mut encrypted = None;
    loop {
        let Some(mut packet) = reader.startup().await? else { return Ok(None) };
        let mut body = Body::new(&packet);
        let code = body.i32().map_err(|_| protocol("invalid length of startup packet"))?;
        match code {
            CANCEL_CODE => {
                let (pid, secret) = (body.i32()?, body.i32()?);
                registry.cancel(pid, secret);
                return Ok(None);
            }
            SSL_CODE if !ssl_answered => {
                ssl_answered = true;
                if let Some(certs) = certs {
                    writer.out.push(b'S');
                    if writer.flush().await.is_err() {
                        return Ok(None);
                    }
                    // Whoever is in between could have sent it, and it would be taken for the client's.
                    if reader.has_input() {
                        return Err(protocol("received unencrypted data after SSL request").with_detail(
                            "This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.",
                        ));
                    }
                    match encrypt(&mut reader.socket, &mut writer.socket, &certs.current()).await {
                        Ok(made) => encrypted = Some(made),
                        Err(error) => {
                            tracing::info!(%error, "a connection could not be encrypted");
                            return Ok(None);
                        }
                    }
                    continue;
                }
            }
            GSS_CODE if !gss_refused => gss_refused = true,
            _ => {
                let parameters = parameters(&mut packet, code, &mut writer.out)?;
                return Ok(Some(Opening { parameters, encrypted }));
            }
        }
        // The client may go on without.
        writer.out.push(b'N');
        if writer.flush().await.is_err() {
            return Ok(None);
        }
    }
}

/// What a startup packet says behind its version; what is not known of it is answered in `out`.
pub(crate) fn parameters(packet: &mut BytesMut, version: i32, out: &mut Vec<u8>) -> SqlResult<BTreeMap<String, String>> {
    let (major, minor) = (version >> 16, version & 0xffff);
    if major != 3 {
        return Err(SqlError::not_supported(format!(
            "unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0"
        )));
    }
    // The last value ends with a zero byte, and so does the list.
    if packet.len() != 5 && !packet.ends_with(b"\0\0") || packet.last() != Some(&0) {
        return Err(protocol("invalid startup packet layout: expected terminator as last byte"));
    }
    let length = packet.len() + 4;
    let startup = Startup::decode_body(packet, length, &DecodeContext::default())
        .map_err(|error| protocol(format!("invalid startup packet: {error}")))?;
    let unknown: Vec<&str> =
        startup.parameters.keys().filter(|name| name.starts_with("_pq_.")).map(String::as_str).collect();
    if minor > 0 || !unknown.is_empty() {
        encode::negotiate_protocol_version(out, &unknown);
    }
    Ok(startup.parameters)
}

/// Settings that the `options` parameter gives: `-c name=value` and `--name=value`, where `\` escapes blanks.
///
/// # Errors
/// 42601 for anything else.
pub(crate) fn options(text: &str) -> SqlResult<Vec<(String, String)>> {
    let mut words = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => words.last_mut().expect("there is a last word").extend(chars.next()),
            c if c.is_ascii_whitespace() => words.push(String::new()),
            c => words.last_mut().expect("there is a last word").push(c),
        }
    }
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            Some("") => words.next(),
            Some(rest) => Some(rest.to_owned()),
            None => None,
        };
        let Some((name, value)) = setting.as_deref().and_then(|setting| setting.split_once('=')) else {
            return Err(SqlError::new(
                SqlState::SyntaxError,
                format!("invalid command-line argument for server process: {word}"),
            ));
        };
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_like_a_command_line() {
        let found = options(r"-c search_path=a\ b --lock-timeout=5s  -cgeqo=off").unwrap();
        let expected = [("search_path", "a b"), ("lock_timeout", "5s"), ("geqo", "off")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(options("-x").is_err() && options("-c").is_err());
        assert!(options("").unwrap().is_empty());
    }
}
