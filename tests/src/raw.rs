//! A client of the protocol that says exactly what it is told to, well-formed or not.

use std::{net::SocketAddr, time::Duration};

use server::Node;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A message of either side: its kind and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub kind: u8,
    pub body: Vec<u8>,
}

impl Message {
    /// A field of an error or a notice.
    #[must_use]
    pub fn field(&self, kind: u8) -> Option<String> {
        let mut fields = self.body.split(|byte| *byte == 0).filter(|field| !field.is_empty());
        let field = fields.find(|field| field[0] == kind)?;
        Some(String::from_utf8_lossy(&field[1..]).into_owned())
    }

    /// The values of a row.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn values(&self) -> Vec<Option<Vec<u8>>> {
        assert_eq!(self.kind, b'D', "a row: {self:?}");
        let mut rest = &self.body[2..];
        let mut values = Vec::new();
        while !rest.is_empty() {
            let length = i32::from_be_bytes(rest[..4].try_into().expect("four bytes"));
            rest = &rest[4..];
            values.push(usize::try_from(length).ok().map(|length| {
                let (value, tail) = rest.split_at(length);
                rest = tail;
                value.to_vec()
            }));
        }
        values
    }

    /// The only value of a row, as text.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8(self.values()[0].clone().expect("not NULL")).expect("text")
    }

    /// A command tag.
    #[must_use]
    pub fn tag(&self) -> String {
        assert_eq!(self.kind, b'C', "a command tag: {self:?}");
        String::from_utf8_lossy(self.body.strip_suffix(b"\0").unwrap_or(&self.body)).into_owned()
    }
}

/// The kinds of messages, a letter each.
#[must_use]
pub fn kinds(messages: &[Message]) -> String {
    messages.iter().map(|message| char::from(message.kind)).collect()
}

/// A message's bytes.
#[must_use]
pub fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// A startup packet's bytes.
#[must_use]
pub fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = (3_i32 << 16).to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    body.push(0);
    let mut bytes = (body.len() as i32 + 4).to_be_bytes().to_vec();
    bytes.extend_from_slice(&body);
    bytes
}

#[must_use]
pub fn query(text: &str) -> Vec<u8> {
    frame(b'Q', format!("{text}\0").as_bytes())
}

#[must_use]
pub fn parse(name: &str, text: &str, types: &[u32]) -> Vec<u8> {
    let mut body = format!("{name}\0{text}\0").into_bytes();
    body.extend_from_slice(&(types.len() as i16).to_be_bytes());
    types.iter().for_each(|oid| body.extend_from_slice(&oid.to_be_bytes()));
    frame(b'P', &body)
}

/// All parameters and all results in one format.
#[must_use]
pub fn bind(portal: &str, statement: &str, params: &[Option<&[u8]>], format: i16) -> Vec<u8> {
    let mut body = format!("{portal}\0{statement}\0").into_bytes();
    body.extend_from_slice(&1_i16.to_be_bytes());
    body.extend_from_slice(&format.to_be_bytes());
    body.extend_from_slice(&(params.len() as i16).to_be_bytes());
    for param in params {
        match param {
            None => body.extend_from_slice(&(-1_i32).to_be_bytes()),
            Some(value) => {
                body.extend_from_slice(&(value.len() as i32).to_be_bytes());
                body.extend_from_slice(value);
            }
        }
    }
    body.extend_from_slice(&1_i16.to_be_bytes());
    body.extend_from_slice(&format.to_be_bytes());
    frame(b'B', &body)
}

#[must_use]
pub fn describe(kind: u8, name: &str) -> Vec<u8> {
    frame(b'D', &[&[kind], name.as_bytes(), b"\0"].concat())
}

#[must_use]
pub fn execute(portal: &str, limit: i32) -> Vec<u8> {
    frame(b'E', &[portal.as_bytes(), b"\0", &limit.to_be_bytes()].concat())
}

#[must_use]
pub fn sync() -> Vec<u8> {
    frame(b'S', b"")
}

/// A connection.
pub struct Raw {
    stream: TcpStream,
    input: Vec<u8>,
    /// From BackendKeyData.
    pub key: Option<Vec<u8>>,
    /// What the server has said of its settings.
    pub settings: Vec<(String, String)>,
}

impl Raw {
    /// Connects, and says nothing yet.
    ///
    /// # Panics
    /// When the node does not listen.
    pub async fn open(node: &Node) -> Self {
        Self::open_at(node.sql_addr()).await
    }

    /// # Panics
    /// When nothing listens there.
    pub async fn open_at(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a server listens");
        Self { stream, input: Vec::new(), key: None, settings: Vec::new() }
    }

    /// Connects as the administrator, up to the first ReadyForQuery.
    ///
    /// # Panics
    /// When the node does not take it.
    pub async fn connect(node: &Node) -> Self {
        Self::connect_at(node.sql_addr()).await
    }

    /// As [`Raw::connect`], to another database.
    ///
    /// # Panics
    /// When the node does not take it.
    pub async fn connect_to(node: &Node, database: &str) -> Self {
        Self::connect_as(node.sql_addr(), database).await
    }

    /// # Panics
    /// When the server does not take it.
    pub async fn connect_at(address: SocketAddr) -> Self {
        Self::connect_as(address, "postgres").await
    }

    async fn connect_as(address: SocketAddr, database: &str) -> Self {
        let mut raw = Self::open_at(address).await;
        raw.send(&startup(&[("user", "postgres"), ("database", database)])).await;
        let answer = raw.until_ready().await;
        assert_eq!(answer.first().map(|message| message.kind), Some(b'R'), "{answer:?}");
        raw
    }

    /// Sends bytes; a server that has hung up is found out when it is read from.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _gone = self.stream.write_all(bytes).await;
    }

    async fn fill(&mut self) -> bool {
        let mut chunk = [0; 16 << 10];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut chunk))
            .await
            .expect("the server answers in time");
        match read {
            Ok(read) if read > 0 => {
                self.input.extend_from_slice(&chunk[..read]);
                true
            }
            _ => false,
        }
    }

    /// One byte that is no message: the answer to SSLRequest.
    ///
    /// # Panics
    /// When there is none.
    pub async fn byte(&mut self) -> u8 {
        while self.input.is_empty() {
            assert!(self.fill().await, "the server has hung up");
        }
        self.input.remove(0)
    }

    /// The next message; none when the server has hung up.
    ///
    /// # Panics
    /// When it takes too long.
    pub async fn receive(&mut self) -> Option<Message> {
        loop {
            if self.input.len() >= 5 {
                let length = i32::from_be_bytes(self.input[1..5].try_into().expect("four bytes")) as usize;
                if self.input.len() > length {
                    let body = self.input[5..=length].to_vec();
                    let message = Message { kind: self.input[0], body };
                    self.input.drain(..=length);
                    self.note(&message);
                    return Some(message);
                }
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// As [`Raw::receive`], waiting so long at most.
    pub async fn receive_within(&mut self, timeout: Duration) -> Option<Option<Message>> {
        tokio::time::timeout(timeout, self.receive()).await.ok()
    }

    fn note(&mut self, message: &Message) {
        match message.kind {
            b'K' => self.key = Some(message.body.clone()),
            b'S' => {
                let mut words = message
                    .body
                    .split(|byte| *byte == 0)
                    .map(|word| String::from_utf8_lossy(word).into_owned());
                let (name, value) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                self.settings.retain(|(known, _)| *known != name);
                self.settings.push((name, value));
            }
            _ => {}
        }
    }

    /// Messages up to and with ReadyForQuery, or up to the end of the connection.
    pub async fn until_ready(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(message) = self.receive().await {
            let is_last = message.kind == b'Z';
            messages.push(message);
            if is_last {
                break;
            }
        }
        messages
    }

    /// Sends messages and answers what comes back, up to ReadyForQuery.
    pub async fn ask(&mut self, messages: &[Vec<u8>]) -> Vec<Message> {
        self.send(&messages.concat()).await;
        self.until_ready().await
    }

    /// What a setting is, as far as the server has told.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}
