//! HTTP as far as tests need it: one request a connection, over a socket on loopback.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// In lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Sends a request, with these headers besides the usual ones.
///
/// # Panics
/// When there is no answer that can be read.
pub async fn request(at: SocketAddr, method: &str, path: &str, host: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(at).await.expect("the port is open");
    let kind = "Content-Type: application/json";
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await.expect("the request is taken");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head of an answer"));
    }
    let head = String::from_utf8(head).expect("a head is text");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.expect("as much as was announced");
    Answer {
        status: status.expect("a status"),
        headers,
        body: String::from_utf8(body).expect("a body of text"),
    }
}

/// GET, by the address.
pub async fn get(at: SocketAddr, path: &str) -> Answer {
    request(at, "GET", path, &at.to_string(), "").await
}
