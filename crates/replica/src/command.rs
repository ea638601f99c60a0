//! What goes through the log: the write batch that the leaseholder evaluated, and what else follows from it.
//!
//! ```text
//! byte 0      format, 1
//! bytes 1..9  the lease's term, little endian
//! bytes 9..13 length n of the effect, little endian
//! n bytes     the effect, postcard; nothing for most commands
//! the rest    the write batch
//! ```
//!
//! **Invariant (lease-named):** a command takes effect only in an entry of the term it names; in any other it does
//! nothing on every replica alike.

use bytes::{BufMut, Bytes, BytesMut};
use hlc::Timestamp;
use keys::{RangeDescriptor, Term};
use serde::{Deserialize, Serialize};

const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 13;

/// What every replica does when it applies a command, besides its batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Effect {
    /// The range ends where `right` begins.
    ///
    /// `low_water` is at or above every read of the right half's keys, and every write of them, so far.
    Split { left: RangeDescriptor, right: RangeDescriptor, low_water: Timestamp },
    /// The set of replicas, or what is said of it, has changed.
    Descriptor(RangeDescriptor),
    /// What was superseded before goes, with the batch; nobody reads below any more.
    Gc { threshold: Timestamp },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    pub term: Term,
    pub effect: Option<Effect>,
    pub batch: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a command this program knows")]
pub struct BadCommand;

impl Command {
    #[must_use]
    pub fn encode(term: Term, effect: Option<&Effect>, batch: &[u8]) -> Bytes {
        let effect = effect.map(crate::api::encode).unwrap_or_default();
        let mut out = BytesMut::with_capacity(HEADER_BYTES + effect.len() + batch.len());
        out.put_u8(FORMAT);
        out.put_u64_le(term.get());
        out.put_u32_le(u32::try_from(effect.len()).expect("an effect is two descriptors at most"));
        out.put_slice(&effect);
        out.put_slice(batch);
        out.freeze()
    }

    /// Reads a command; its batch shares memory with `payload`.
    ///
    /// # Errors
    /// When the bytes are damaged, or from a newer program.
    pub fn decode(payload: &Bytes) -> Result<Self, BadCommand> {
        let header: &[u8; HEADER_BYTES] = payload.first_chunk().ok_or(BadCommand)?;
        let [FORMAT, t0, t1, t2, t3, t4, t5, t6, t7, n0, n1, n2, n3] = *header else { return Err(BadCommand) };
        let term = Term::new(u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]));
        let effect_bytes = u32::from_le_bytes([n0, n1, n2, n3]) as usize;
        let effect_end = HEADER_BYTES.checked_add(effect_bytes).filter(|end| *end <= payload.len()).ok_or(BadCommand)?;
        let effect = match effect_bytes {
            0 => None,
            _ => Some(crate::api::decode(&payload[HEADER_BYTES..effect_end]).map_err(|_| BadCommand)?),
        };
        Ok(Self { term, effect, batch: payload.slice(effect_end..) })
    }
}

#[cfg(test)]
mod tests {
    use keys::{Key, RangeId, ReplicaId};

    use super::*;

    fn descriptor() -> RangeDescriptor {
        RangeDescriptor {
            range_id: RangeId::new(7),
            start: Key::from(&b"a"[..]),
            end: Key::from(&b"m"[..]),
            replicas: vec![],
            next_replica_id: ReplicaId::new(4),
            generation: 3,
        }
    }

    #[test]
    fn golden_bytes() {
        let encoded = Command::encode(Term::new(5), None, b"batch");
        assert_eq!(&encoded[..], b"\x01\x05\0\0\0\0\0\0\0\0\0\0\0batch");
        let encoded = Command::encode(Term::new(5), Some(&Effect::Descriptor(descriptor())), b"");
        assert_eq!(&encoded[..], b"\x01\x05\0\0\0\0\0\0\0\x09\0\0\0\x01\x07\x01a\x01m\0\x04\x03");
        let encoded = Command::encode(Term::new(5), Some(&Effect::Gc { threshold: Timestamp::new(9, 1) }), b"");
        assert_eq!(&encoded[..], b"\x01\x05\0\0\0\0\0\0\0\x03\0\0\0\x02\x09\x01");
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let effect = Effect::Split { left: descriptor(), right: descriptor(), low_water: Timestamp::new(9, 1) };
        let encoded = Command::encode(Term::new(1), Some(&effect), b"xy");
        let decoded = Command::decode(&encoded).unwrap();
        assert_eq!((decoded.effect, &decoded.batch[..]), (Some(effect), &b"xy"[..]));
        for end in 0..encoded.len() - 2 {
            assert_eq!(Command::decode(&encoded.slice(..end)), Err(BadCommand), "cut at {end}");
        }
        let mut newer = encoded.to_vec();
        newer[0] = 9;
        assert_eq!(Command::decode(&newer.into()), Err(BadCommand));
    }
}
