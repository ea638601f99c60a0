//! How many bytes a group's log holds, and where it would have to begin to hold fewer, without a word for each entry.

use std::collections::VecDeque;

/// A new piece begins when the last one has as much.
const PIECE_BYTES: u64 = 256 << 10;

/// Entries up to one, and what they take together.
struct Piece {
    last: u64,
    bytes: u64,
}

/// The bytes of a log, in pieces from its first entry to its last.
#[derive(Default)]
pub(super) struct Sizes {
    pieces: VecDeque<Piece>,
    total: u64,
}

impl Sizes {
    /// Entries up to `last` that were there before.
    pub fn found(last: u64, bytes: u64) -> Self {
        let pieces = if bytes == 0 { VecDeque::new() } else { VecDeque::from([Piece { last, bytes }]) };
        Self { pieces, total: bytes }
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    pub fn append(&mut self, index: u64, bytes: usize) {
        let bytes = bytes as u64;
        self.total += bytes;
        match self.pieces.back_mut().filter(|piece| piece.bytes < PIECE_BYTES) {
            Some(piece) => (piece.last, piece.bytes) = (index, piece.bytes + bytes),
            None => self.pieces.push_back(Piece { last: index, bytes }),
        }
    }

    /// Drops what is above `after`; of a piece that is cut, its share by the number of entries.
    pub fn truncate(&mut self, first: u64, after: u64) {
        while let Some(piece) = self.pieces.pop_back() {
            if piece.last <= after {
                self.pieces.push_back(piece);
                return;
            }
            let before = self.pieces.back().map_or(first.saturating_sub(1), |piece| piece.last);
            let kept = share(&piece, before, after);
            self.total -= piece.bytes - kept;
            if kept > 0 {
                self.pieces.push_back(Piece { last: after, bytes: kept });
                return;
            }
        }
    }

    /// Drops what is up to and with `up_to`, of a log that began at `first`.
    pub fn purge(&mut self, first: u64, up_to: u64) {
        let mut before = first.saturating_sub(1);
        while let Some(piece) = self.pieces.pop_front() {
            let gone = share(&piece, before, up_to);
            self.total -= gone;
            if piece.last > up_to {
                self.pieces.push_front(Piece { bytes: piece.bytes - gone, ..piece });
                return;
            }
            before = piece.last;
        }
    }

    /// The last entry that must go for the rest to be no more than `bytes`.
    pub fn last_beyond(&self, first: u64, bytes: u64) -> Option<u64> {
        let mut excess = self.total.checked_sub(bytes).filter(|excess| *excess > 0)?;
        let mut before = first.saturating_sub(1);
        for piece in &self.pieces {
            if excess <= piece.bytes {
                let entries = piece.last.saturating_sub(before);
                let cut = u128::from(entries) * u128::from(excess) / u128::from(piece.bytes.max(1));
                // At least one, or nothing would ever go.
                return Some(before + u64::try_from(cut).unwrap_or(entries).clamp(1, entries.max(1)));
            }
            excess -= piece.bytes;
            before = piece.last;
        }
        self.pieces.back().map(|piece| piece.last)
    }
}

/// What of a piece, whose first entry follows `before`, is at or below `upto`.
fn share(piece: &Piece, before: u64, upto: u64) -> u64 {
    if upto >= piece.last {
        return piece.bytes;
    }
    let (entries, below) = (piece.last.saturating_sub(before), upto.saturating_sub(before));
    let bytes = u128::from(piece.bytes) * u128::from(below) / u128::from(entries.max(1));
    u64::try_from(bytes).unwrap_or(piece.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries 1 to 1,024 of 1 KiB each.
    fn log() -> Sizes {
        let mut sizes = Sizes::default();
        (1..=1024).for_each(|index| sizes.append(index, 1 << 10));
        sizes
    }

    #[test]
    fn what_is_dropped_is_not_counted() {
        let mut sizes = log();
        assert_eq!(sizes.total(), 1 << 20);
        sizes.truncate(1, 1000);
        assert_eq!(sizes.total(), 1000 << 10);
        sizes.purge(1, 300);
        assert_eq!(sizes.total(), 700 << 10);
        sizes.append(1001, 1 << 10);
        assert_eq!(sizes.total(), 701 << 10);
        sizes.purge(301, 1001);
        assert_eq!((sizes.total(), sizes.pieces.len()), (0, 0));
        sizes.append(1002, 5);
        sizes.truncate(1002, 0);
        assert_eq!((sizes.total(), sizes.pieces.len()), (0, 0));
    }

    #[test]
    fn a_log_is_cut_where_the_rest_fits() {
        let sizes = log();
        assert_eq!(sizes.last_beyond(1, 1 << 20), None);
        assert_eq!(sizes.last_beyond(1, 600 << 10), Some(424));
        assert_eq!(sizes.last_beyond(1, 0), Some(1024));
        // Of what was found at the start only the sum is known.
        let found = Sizes::found(2000, 1 << 20);
        assert_eq!(found.last_beyond(1001, 1 << 19), Some(1500));
    }
}
