//! A client of PostgreSQL's protocol that shows everything an answer says: names and types of columns, the values as
//! text, the command tag, the code of an error. A stock driver hides some of it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How a statement is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Simple,
    /// Parse, Bind, Describe, Execute, Sync; values as text.
    Extended,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub type_oid: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: String,
    pub message: String,
}

/// What came of a statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Option<String>>>,
    pub tag: String,
    pub refusal: Option<Refusal>,
    /// The connection was lost, or nothing came in time.
    pub lost: Option<String>,
}

/// The server ends a statement well before that.
const ANSWER_WITHIN: Duration = Duration::from_secs(40);

pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
}

impl Client {
    pub fn connect(port: u16, database: &str) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), Duration::from_secs(5))?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream, buffer: Vec::new(), start: 0 };
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        for (name, value) in [("user", "postgres"), ("database", database), ("client_encoding", "UTF8")] {
            push_string(&mut body, name);
            push_string(&mut body, value);
        }
        body.push(0);
        let mut message = (body.len() as u32 + 4).to_be_bytes().to_vec();
        message.extend(body);
        client.stream.write_all(&message)?;
        let mut answer = Answer::default();
        client.read_answer(&mut answer)?;
        match answer.refusal {
            Some(refusal) => Err(io::Error::other(refusal.message)),
            None => Ok(client),
        }
    }

    /// The answer to one statement.
    pub fn run(&mut self, sql: &str, protocol: Protocol) -> Answer {
        let sent = self.send(sql, protocol);
        self.finish(sent)
    }

    /// The answer to what was sent.
    pub fn finish(&mut self, sent: io::Result<()>) -> Answer {
        let mut answer = Answer::default();
        if let Err(error) = sent.and_then(|()| self.read_answer(&mut answer)) {
            answer.lost = Some(error.to_string());
        }
        answer
    }

    pub fn send(&mut self, sql: &str, protocol: Protocol) -> io::Result<()> {
        let mut bytes = Vec::new();
        match protocol {
            Protocol::Simple => message(&mut bytes, b'Q', |body| push_string(body, sql)),
            Protocol::Extended => {
                message(&mut bytes, b'P', |body| {
                    push_string(body, "");
                    push_string(body, sql);
                    body.extend([0, 0]);
                });
                message(&mut bytes, b'B', |body| body.extend([0; 8]));
                message(&mut bytes, b'D', |body| body.extend(b"P\0"));
                message(&mut bytes, b'E', |body| body.extend([0; 5]));
                message(&mut bytes, b'S', |_| {});
            }
        }
        self.stream.write_all(&bytes)
    }

    /// Reads up to ReadyForQuery.
    fn read_answer(&mut self, answer: &mut Answer) -> io::Result<()> {
        loop {
            let (kind, body) = self.read_message()?;
            let mut reader = Reader(&body);
            match kind {
                b'Z' => return Ok(()),
                b'T' => {
                    let count = reader.u16()?;
                    answer.columns.clear();
                    for _ in 0..count {
                        let name = reader.string()?;
                        reader.take(6)?;
                        let type_oid = reader.u32()?;
                        reader.take(8)?;
                        answer.columns.push(Column { name, type_oid });
                    }
                }
                b'D' => {
                    let count = reader.u16()?;
                    let mut row = Vec::with_capacity(usize::from(count));
                    for _ in 0..count {
                        let length = reader.u32()?;
                        row.push(match length {
                            u32::MAX => None,
                            length => Some(String::from_utf8_lossy(reader.take(length as usize)?).into_owned()),
                        });
                    }
                    answer.rows.push(row);
                }
                b'C' => answer.tag = reader.string()?,
                b'E' => {
                    let mut refusal = Refusal { code: String::new(), message: String::new() };
                    while let [field, ..] = *reader.0
                        && field != 0
                    {
                        reader.take(1)?;
                        let value = reader.string()?;
                        match field {
                            b'C' => refusal.code = value,
                            b'M' => refusal.message = value,
                            _ => {}
                        }
                    }
                    answer.refusal = Some(refusal);
                }
                b'R' if reader.u32()? != 0 => return Err(io::Error::other("the server wants a password")),
                _ => {}
            }
        }
    }

    fn read_message(&mut self) -> io::Result<(u8, Vec<u8>)> {
        loop {
            let unread = &self.buffer[self.start..];
            if let [kind, a, b, c, d, rest @ ..] = unread {
                let length = (u32::from_be_bytes([*a, *b, *c, *d]) as usize).saturating_sub(4);
                if rest.len() >= length {
                    let message = (*kind, rest[..length].to_vec());
                    self.start += 5 + length;
                    return Ok(message);
                }
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            let mut more = [0; 16 << 10];
            let read = self.stream.read(&mut more)?;
            if read == 0 {
                return Err(io::Error::other("the server closed the connection"));
            }
            self.buffer.extend(&more[..read]);
        }
    }
}

fn push_string(body: &mut Vec<u8>, text: &str) {
    body.extend(text.as_bytes());
    body.push(0);
}

fn message(bytes: &mut Vec<u8>, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    bytes.push(kind);
    let at = bytes.len();
    bytes.extend([0; 4]);
    fill(bytes);
    let length = (bytes.len() - at) as u32;
    bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(|| io::Error::other("a message is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> io::Result<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> io::Result<u32> {
        self.take(4).map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn string(&mut self) -> io::Result<String> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or_else(|| io::Error::other("a text has no end"))?;
        let text = String::from_utf8_lossy(self.take(end)?).into_owned();
        self.take(1)?;
        Ok(text)
    }
}
