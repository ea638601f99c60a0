//! How a node that has no certificate yet asks for one: one question and one answer, on a connection of its own kind.
//!
//! The caller shows no certificate, and trusts whoever shows the CA that its token names. It may say nothing but this
//! one question, of which the length is checked before memory is taken for it: *bounded-before-taken*. What question and
//! answer mean is the matter of who registers.
//!
//! **Invariant (answers-end):** what a question has begun goes on to its end, whether or not whoever asked still waits: it
//! may have used up a token, and has to give that back. So many are answered at a time; a caller counts among them once its
//! question is here, and until then waits at the door as any other.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use certs::rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
};
use tokio_rustls::TlsConnector;

use crate::stream::{JOINING, server_name};

/// A request for a certificate, with names and a token.
const QUESTION_BYTES_MAX: usize = 16 << 10;
/// Certificates, and the nodes of the cluster.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long an answer may take.
pub(crate) const ENROL_TIMEOUT: Duration = Duration::from_secs(20);
/// Questions that are answered at a time; others are cut off.
pub(crate) const ENROLLING_MAX: usize = 8;

/// Answers nodes that have no certificate.
#[async_trait]
pub trait Enrolment: Send + Sync + 'static {
    /// `from` is where the caller is.
    async fn enrol(&self, from: SocketAddr, question: Bytes) -> Bytes;
}

async fn read(stream: &mut (impl AsyncRead + Unpin), max: usize) -> io::Result<Bytes> {
    let length = stream.read_u32_le().await? as usize;
    if length > max {
        return Err(io::Error::other(format!("{length} bytes are over the bound of {max}")));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes.into())
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_le_bytes()).await?;
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// What a node asks.
pub(crate) async fn question(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    read(stream, QUESTION_BYTES_MAX).await
}

/// Answers it. *answers-end*
pub(crate) async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    from: SocketAddr,
    enrolment: Arc<dyn Enrolment>,
    question: Bytes,
    permit: OwnedSemaphorePermit,
) -> io::Result<()> {
    let answering = tokio::spawn(async move {
        let answer = enrolment.enrol(from, question).await;
        drop(permit);
        answer
    });
    let answer = answering.await.map_err(io::Error::other)?;
    write(&mut stream, &answer).await?;
    stream.shutdown().await
}

/// Asks a node, which must be one that `config` trusts. Nothing is sent to any other.
///
/// # Errors
/// When it cannot be reached, is not trusted, or does not answer in time.
pub async fn enrol(address: &str, mut config: ClientConfig, question: &[u8]) -> io::Result<Bytes> {
    config.alpn_protocols = vec![JOINING.to_vec()];
    let asked = async {
        let stream = TcpStream::connect(address).await?;
        let mut stream = TlsConnector::from(Arc::new(config)).connect(server_name(address)?, stream).await?;
        write(&mut stream, question).await?;
        read(&mut stream, ANSWER_BYTES_MAX).await
    };
    tokio::time::timeout(ENROL_TIMEOUT, asked).await.map_err(|_| io::Error::other("no answer in time"))?
}
