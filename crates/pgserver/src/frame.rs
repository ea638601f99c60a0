//! What a client sends, cut into frames and read without copying.
//!
//! ```text
//!  startup packet   | length: i32 | body: length - 4 bytes                 |
//!  any other        | kind: u8    | length: i32 | body: length - 4 bytes   |
//! ```
//! The decoder of the pgwire crate reads past the end of a body that says less than it should, takes invalid UTF-8 for
//! something else, and copies every name; so only its startup messages, which are checked before, are used here.
//!
//! **Invariant (bounded-before-taken):** the length of a frame is checked before memory is taken for it, and memory
//! grows with what has arrived, not with what was announced. A count inside a body takes none. What a connection keeps
//! beyond [`READ_AHEAD_BYTES`] comes out of the node's budget (`exec::memory`): a thousand clients that each send the
//! half of a message are refused, and take the node's memory from nobody.

use std::{convert::Infallible, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use exec::{NodeMemory, NodeReservation};
use session::{CancelFlag, CancelReason};
use types::{SqlError, SqlResult, SqlState};

use crate::stream::Reading;

/// A message above this is refused.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Of a message before the client has shown who it is.
const AUTHENTICATION_BYTES_MAX: usize = 4 << 10;
/// PostgreSQL's own bound.
pub(crate) const STARTUP_BYTES_MAX: usize = 10_000;
/// One read of the socket, and what an idle connection keeps.
const CHUNK_BYTES: usize = 8 << 10;
/// A read with less room than this is not worth its while.
const ROOM_BYTES: usize = 512;
/// So much is read of what follows while a statement runs.
const READ_AHEAD_BYTES: usize = 64 << 10;

pub(crate) fn protocol(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::ProtocolViolation, message)
}

/// A message without its length.
pub(crate) struct Frame {
    pub kind: u8,
    pub body: Bytes,
}

/// The socket's reading half.
pub(crate) struct Reader {
    pub socket: Reading,
    input: BytesMut,
    is_closed: bool,
    /// What a message may have: little, until the client has shown who it is.
    bytes_max: usize,
    memory: Arc<NodeMemory>,
    /// What a long message takes of it.
    reserved: Option<NodeReservation>,
}

impl Reader {
    pub fn new(socket: Reading, memory: Arc<NodeMemory>) -> Self {
        Self {
            socket,
            input: BytesMut::with_capacity(CHUNK_BYTES),
            is_closed: false,
            bytes_max: AUTHENTICATION_BYTES_MAX,
            memory,
            reserved: None,
        }
    }

    /// Of bytes that are here already.
    #[cfg(feature = "fuzzing")]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let mut reader = Self::new(Reading::Gone, NodeMemory::unlimited());
        reader.input.extend_from_slice(bytes);
        reader.trust();
        reader
    }

    /// The client has shown who it is.
    pub fn trust(&mut self) {
        self.bytes_max = MESSAGE_BYTES_MAX;
    }

    /// The length that stands `at` bytes into the input, itself included, if it has arrived.
    fn length(&self, at: usize, max: usize) -> SqlResult<Option<usize>> {
        let Some(bytes) = self.input.get(at..at + 4) else { return Ok(None) };
        let length = i32::from_be_bytes(bytes.try_into().expect("four bytes were taken"));
        match usize::try_from(length) {
            Ok(length) if length < 4 => {}
            Ok(length) if length <= max => return Ok(Some(length)),
            Ok(_) => {
                return Err(SqlError::new(SqlState::ProgramLimitExceeded, format!("message of {length} bytes is too long"))
                    .with_detail(format!("A message may have {max} bytes.")));
            }
            Err(_) => {}
        }
        Err(protocol("invalid message length").with_detail(format!("The length is given as {length}.")))
    }

    /// The next message, if all of it is here.
    ///
    /// # Errors
    /// FATAL: what follows cannot be read.
    pub fn buffered(&mut self) -> SqlResult<Option<Frame>> {
        let Some(kind) = self.input.first().copied() else { return Ok(None) };
        if !matches!(kind, b'B' | b'C' | b'D' | b'E' | b'F' | b'H' | b'P' | b'Q' | b'S' | b'X' | b'c' | b'd' | b'f' | b'p') {
            return Err(protocol(format!("invalid frontend message type {kind}")));
        }
        match self.length(1, self.bytes_max)? {
            Some(length) if self.input.len() > length => {
                let mut body = self.input.split_to(1 + length);
                body.advance(5);
                Ok(Some(Frame { kind, body: body.freeze() }))
            }
            _ => Ok(None),
        }
    }

    /// The next message; none when the client has gone.
    ///
    /// # Errors
    /// As [`Reader::buffered`].
    pub async fn next(&mut self) -> SqlResult<Option<Frame>> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(Some(frame));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// The body of a startup packet; none when the client has gone.
    ///
    /// # Errors
    /// FATAL, as [`Reader::buffered`].
    pub async fn startup(&mut self) -> SqlResult<Option<BytesMut>> {
        loop {
            if let Some(length) = self.length(0, STARTUP_BYTES_MAX)?
                && self.input.len() >= length
            {
                let mut packet = self.input.split_to(length);
                packet.advance(4);
                return Ok(Some(packet));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Reads once. Nothing is lost when it is dropped while it waits.
    async fn fill(&mut self) -> SqlResult<bool> {
        if self.is_closed {
            return Ok(false);
        }
        self.make_room()?;
        self.is_closed = !matches!(self.socket.read(&mut self.input).await, Ok(read) if read > 0);
        Ok(!self.is_closed)
    }

    /// Whether a message has begun to arrive.
    pub fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Whether the message that comes next is Sync, as far as it has arrived.
    pub fn is_sync_next(&mut self) -> bool {
        if self.input.is_empty() {
            // It may have been cut off by the end of a read.
            if self.make_room().is_ok()
                && let Some(Ok(0)) = self.socket.try_read(&mut self.input)
            {
                self.is_closed = true;
            }
        }
        self.input.first() == Some(&b'S')
    }

    /// What is here doubles at most: *bounded-before-taken*. As long as there is room the buffer is kept, even when the
    /// message at hand still holds on to a part of it.
    ///
    /// # Errors
    /// FATAL, 53200: the node has no memory for so long a message now.
    fn make_room(&mut self) -> SqlResult<()> {
        if self.input.capacity() - self.input.len() < ROOM_BYTES {
            let room = self.input.len().max(CHUNK_BYTES);
            let bytes = self.input.len() + room;
            if bytes > READ_AHEAD_BYTES {
                match &mut self.reserved {
                    Some(reserved) => reserved.resize(bytes)?,
                    None => self.reserved = Some(self.memory.reserve(bytes)?),
                }
            }
            self.input.reserve(room);
        }
        Ok(())
    }

    /// Gives back what a long message took.
    pub fn shrink(&mut self) {
        // The capacity is what is left behind the last message, and the buffer is kept whole for the least of it: so what
        // was counted is given back only once another has taken its place.
        let is_long = self.reserved.is_some() || self.input.capacity() > READ_AHEAD_BYTES;
        if is_long && self.input.len() <= READ_AHEAD_BYTES {
            let mut kept = BytesMut::with_capacity(self.input.len().max(CHUNK_BYTES));
            kept.extend_from_slice(&self.input);
            self.input = kept;
            self.reserved = None;
        }
    }

    /// Reads ahead while a statement runs, and stops it when its client has gone without having sent more.
    pub async fn watch(&mut self, running: &CancelFlag) -> Infallible {
        while self.input.len() < READ_AHEAD_BYTES {
            match self.fill().await {
                Ok(true) => {}
                Ok(false) if self.input.is_empty() => {
                    running.cancel(CancelReason::ClientGone);
                    break;
                }
                // Whoever reads the next message finds it out.
                Ok(false) | Err(_) => break,
            }
        }
        std::future::pending().await
    }

    /// Reads what was on its way when the connection was given up, so that the client gets to read why.
    pub async fn discard(&mut self, bytes_max: usize) {
        let mut total = 0;
        while total < bytes_max {
            self.input.clear();
            if !matches!(self.fill().await, Ok(true)) {
                return;
            }
            total += self.input.len();
        }
    }
}

/// A body, read from its start.
pub(crate) struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn take(&mut self, count: usize) -> SqlResult<&'a [u8]> {
        let (head, tail) =
            self.0.split_at_checked(count).ok_or_else(|| protocol("insufficient data left in message"))?;
        self.0 = tail;
        Ok(head)
    }

    pub fn u8(&mut self) -> SqlResult<u8> {
        Ok(self.take(1)?[0])
    }

    pub fn i16(&mut self) -> SqlResult<i16> {
        Ok(i16::from_be_bytes(self.take(2)?.try_into().expect("two bytes were taken")))
    }

    /// A count of things that follow.
    pub fn count(&mut self) -> SqlResult<usize> {
        Ok(usize::from(self.i16()? as u16))
    }

    pub fn i32(&mut self) -> SqlResult<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into().expect("four bytes were taken")))
    }

    /// A string that ends with a zero byte.
    pub fn string(&mut self) -> SqlResult<&'a str> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or_else(|| protocol("invalid string in message"))?;
        let text = utf8(&self.0[..end])?;
        self.0 = &self.0[end + 1..];
        Ok(text)
    }

    /// Nothing may be left.
    pub fn end(&self) -> SqlResult<()> {
        if self.0.is_empty() { Ok(()) } else { Err(protocol("invalid message format")) }
    }
}

/// Text from a client.
///
/// # Errors
/// 22021 where it is not UTF-8, or holds a zero byte.
pub(crate) fn utf8(bytes: &[u8]) -> SqlResult<&str> {
    let invalid = |at: usize| {
        let shown: Vec<String> = bytes[at..].iter().take(1).map(|byte| format!("0x{byte:02x}")).collect();
        SqlError::new(
            SqlState::CharacterNotInRepertoire,
            format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" ")),
        )
    };
    let text = std::str::from_utf8(bytes).map_err(|error| invalid(error.valid_up_to()))?;
    match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => Err(invalid(at)),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A byte of the next message keeps all of the buffer of the one before.
    #[test]
    fn what_a_long_message_took_is_counted_until_it_is_gone() {
        let memory = NodeMemory::new(8 << 20);
        let mut reader = Reader::new(Reading::Gone, memory.clone());
        reader.trust();
        let body = vec![b'x'; 1 << 20];
        let length = i32::try_from(body.len() + 4).unwrap().to_be_bytes();
        for piece in [&b"Q"[..], &length[..], &body[..], &b"S\0"[..]] {
            for chunk in piece.chunks(ROOM_BYTES) {
                reader.make_room().unwrap();
                reader.input.extend_from_slice(chunk);
            }
        }
        assert!(memory.used() > 1 << 20);
        let frame = reader.buffered().unwrap().unwrap();
        assert_eq!(frame.body.len(), body.len());
        assert!(reader.buffered().unwrap().is_none() && memory.used() > 1 << 20);
        drop(frame);
        reader.shrink();
        assert_eq!((memory.used(), &reader.input[..]), (0, &b"S\0"[..]));
        assert!(reader.input.capacity() <= READ_AHEAD_BYTES);
    }

    #[test]
    fn bodies_end_where_they_end() {
        let mut body = Body::new(b"ab\0\x00\x02\xff");
        assert_eq!(body.string().unwrap(), "ab");
        assert_eq!(body.count().unwrap(), 2);
        assert!(body.end().is_err());
        assert!(body.i16().is_err());
        assert_eq!(body.u8().unwrap(), 255);
        assert!(body.end().is_ok() && body.string().is_err());
        assert_eq!(utf8(b"a\xffb").unwrap_err().code(), SqlState::CharacterNotInRepertoire);
        assert_eq!(utf8(b"a\0b").unwrap_err().message(), "invalid byte sequence for encoding \"UTF8\": 0x00");
    }
}
