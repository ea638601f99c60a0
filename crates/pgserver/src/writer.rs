//! The connection's one buffer of answers.
//!
//! **Invariant (flush-once):** answers gather here and are sent when the client waits for them: at Sync, Flush, the end
//! of a query string and an error, and before that only when there are too many.

use crate::stream::Writing;

/// A statement that has answered less than this may still be run again.
pub(crate) const FULL_BYTES: usize = 16 << 10;
/// An idle connection keeps no more.
const KEPT_BYTES: usize = 64 << 10;

pub(crate) struct Writer {
    pub socket: Writing,
    pub out: Vec<u8>,
    /// So much of `out` has been sent.
    sent: usize,
    /// Bytes that were sent before `out` began.
    before: u64,
}

impl Writer {
    pub fn new(socket: Writing) -> Self {
        Self { socket, out: Vec::with_capacity(FULL_BYTES), sent: 0, before: 0 }
    }

    pub fn is_full(&self) -> bool {
        self.out.len() >= FULL_BYTES
    }

    /// Sends all there is. When it is dropped while it waits, what was sent is known, and the rest goes later.
    pub async fn flush(&mut self) -> std::io::Result<()> {
        while self.sent < self.out.len() {
            let sent = self.socket.write(&self.out[self.sent..]).await?;
            if sent == 0 {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            self.sent += sent;
        }
        self.socket.flush().await?;
        self.before += self.out.len() as u64;
        self.sent = 0;
        self.out.clear();
        if self.out.capacity() > KEPT_BYTES {
            self.out = Vec::with_capacity(FULL_BYTES);
        }
        Ok(())
    }

    /// Where the answers stand.
    pub fn mark(&self) -> u64 {
        self.before + self.out.len() as u64
    }

    /// Takes back what came after a mark, if none of it has been sent.
    pub fn rewind(&mut self, mark: u64) -> bool {
        match mark.checked_sub(self.before + self.sent as u64) {
            Some(kept) => {
                self.out.truncate(self.sent + kept as usize);
                true
            }
            None => false,
        }
    }

    /// No more will follow.
    pub async fn shutdown(&mut self) {
        // Whoever does not read any more is not told.
        let _gone = self.socket.shutdown().await;
    }
}
