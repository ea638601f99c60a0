//! The two directions of a connection, in clear text or encrypted.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::BytesMut;
use certs::Served;
use futures::FutureExt;
use session::Tls;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
        unix,
    },
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Where a client is.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    Host(SocketAddr),
    /// At a Unix socket, as the operating system says that it is.
    Socket {
        /// Its user's name, where that has one.
        user: Option<String>,
        /// It is the user that this process runs as.
        is_owner: bool,
    },
}

impl Origin {
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Host(address) => Some(*address),
            Self::Socket { .. } => None,
        }
    }
}

pub(crate) enum Reading {
    Plain(OwnedReadHalf),
    Socket(unix::OwnedReadHalf),
    Tls(ReadHalf<Box<TlsStream<TcpStream>>>),
    /// Taken to be encrypted, and not come back.
    Gone,
}

pub(crate) enum Writing {
    Plain(OwnedWriteHalf),
    Socket(unix::OwnedWriteHalf),
    Tls(WriteHalf<Box<TlsStream<TcpStream>>>),
    Gone,
}

impl Reading {
    pub async fn read(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read_buf(into).await,
            Self::Socket(socket) => socket.read_buf(into).await,
            Self::Tls(stream) => stream.read_buf(into).await,
            Self::Gone => Ok(0),
        }
    }

    /// What has arrived; none where nothing has.
    pub fn try_read(&mut self, into: &mut BytesMut) -> Option<io::Result<usize>> {
        match self {
            Self::Plain(socket) => read_now(socket.try_read_buf(into)),
            Self::Socket(socket) => read_now(socket.try_read_buf(into)),
            // Whoever reads next says anew whom to wake.
            Self::Tls(stream) => stream.read_buf(into).now_or_never(),
            Self::Gone => Some(Ok(0)),
        }
    }
}

fn read_now(outcome: io::Result<usize>) -> Option<io::Result<usize>> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        outcome => Some(outcome),
    }
}

impl Writing {
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes).await,
            Self::Socket(socket) => socket.write(bytes).await,
            Self::Tls(stream) => stream.write(bytes).await,
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Sends what has been written and encrypted.
    pub async fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(stream) => stream.flush().await,
            Self::Plain(_) | Self::Socket(_) | Self::Gone => Ok(()),
        }
    }

    pub async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.shutdown().await,
            Self::Socket(socket) => socket.shutdown().await,
            Self::Tls(stream) => stream.shutdown().await,
            Self::Gone => Ok(()),
        }
    }
}

/// A connection that is encrypted.
pub(crate) struct Encrypted {
    pub shown: Tls,
    /// Of the server's certificate, for channel binding.
    pub end_point: Option<Vec<u8>>,
    /// Whom the client's certificate is for, where it has shown one that the cluster's CA has signed.
    pub client: Option<ClientCertificate>,
}

pub(crate) struct ClientCertificate {
    pub common_name: Option<String>,
}

/// Encrypts a connection.
///
/// # Errors
/// When the client's side fails, or shows a certificate of another CA.
pub(crate) async fn encrypt(
    reading: &mut Reading,
    writing: &mut Writing,
    served: &Arc<Served>,
) -> io::Result<Encrypted> {
    let halves = (std::mem::replace(reading, Reading::Gone), std::mem::replace(writing, Writing::Gone));
    let (Reading::Plain(one), Writing::Plain(other)) = halves else {
        return Err(io::Error::other("encrypted already"));
    };
    let stream = one.reunite(other).map_err(io::Error::other)?;
    let stream = Box::new(TlsAcceptor::from(served.config.clone()).accept(stream).await?);
    let (_, state) = stream.get_ref();
    let certificate = state.peer_certificates().and_then(<[_]>::first);
    let suite = state.negotiated_cipher_suite();
    let cipher = suite.and_then(|suite| suite.suite().as_str()).unwrap_or_default();
    let encrypted = Encrypted {
        shown: Tls {
            version: match state.protocol_version() {
                Some(certs::rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2".into(),
                _ => "TLSv1.3".into(),
            },
            cipher: cipher_name(cipher),
            bits: if cipher.contains("AES_128") { 128 } else { 256 },
            client_dn: certificate.and_then(|certificate| certs::subject(certificate)),
        },
        end_point: served.end_point.clone(),
        client: certificate
            .map(|certificate| ClientCertificate { common_name: certs::common_name(certificate) }),
    };
    let (one, other) = tokio::io::split(stream);
    *reading = Reading::Tls(one);
    *writing = Writing::Tls(other);
    Ok(encrypted)
}

/// By the name that OpenSSL has for it.
fn cipher_name(name: &str) -> String {
    match name.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => name.trim_start_matches("TLS_").replace("_WITH_", "_").replace('_', "-").replace("AES-", "AES"),
    }
}
