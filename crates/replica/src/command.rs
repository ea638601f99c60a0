//! What goes through the log: the write batch that the leaseholder evaluated, and what else follows from it.
//!
//! ```text
//! byte 0      format, 1; 2 for a one-phase commit
//! bytes 1..9  the lease's term, little endian
//! bytes 9..13 length n of the effect, little endian
//! n bytes     the effect, postcard; nothing for most commands
//! 28 bytes    in format 2: the transaction's id, and where it commits (8 bytes and 4, little endian)
//! the rest    the write batch
//! ```
//!
//! **Invariant (lease-named):** a command takes effect only in an entry of the term it names; in any other it does
//! nothing on every replica alike.

use bytes::{BufMut, Bytes, BytesMut};
use hlc::Timestamp;
use keys::{RangeDescriptor, Span, Term, TxnId};
use serde::{Deserialize, Serialize};

use crate::api::MergeInto;

const FORMAT: u8 = 1;
const FORMAT_ONE_PHASE: u8 = 2;
const HEADER_BYTES: usize = 13;
const ONE_PHASE_BYTES: usize = 28;

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
    /// What the batch removes is refused to those who read at or below `at`.
    Clear { span: Span, at: Timestamp },
    /// The range serves nothing more until a merge is decided.
    Freeze(Frozen),
    /// It does again, if it is frozen for this attempt: that did not merge it.
    Thaw(MergeInto),
    /// The range takes in its right-hand neighbour, if its generation is still the attempt's.
    Merge(Box<Merge>),
    /// Changes nothing: a store that was asked to take part in this check computes a checksum of the range as of here.
    ComputeChecksum { check: u64 },
}

/// What a range remembers while it is frozen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frozen {
    pub into: MergeInto,
    /// At or above everything that was read or written in the range.
    pub low_water: Timestamp,
}

/// A merge; see [`crate::merge`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Merge {
    pub into: MergeInto,
    /// The merged range.
    pub left: RangeDescriptor,
    /// The range taken in, as it was when it froze.
    pub right: RangeDescriptor,
    /// What a replica of it must have applied.
    pub index: u64,
    /// At or above everything that was read or written in it.
    pub low_water: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    pub term: Term,
    pub effect: Option<Effect>,
    /// The transaction that this commits in one phase, and where.
    pub one_phase: Option<(TxnId, Timestamp)>,
    pub batch: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a command this program knows")]
pub struct BadCommand;

impl Command {
    #[must_use]
    pub fn encode(
        term: Term,
        effect: Option<&Effect>,
        one_phase: Option<(TxnId, Timestamp)>,
        batch: &[u8],
    ) -> Bytes {
        let effect = effect.map(crate::api::encode).unwrap_or_default();
        let mut out = BytesMut::with_capacity(HEADER_BYTES + effect.len() + ONE_PHASE_BYTES + batch.len());
        out.put_u8(if one_phase.is_some() { FORMAT_ONE_PHASE } else { FORMAT });
        out.put_u64_le(term.get());
        out.put_u32_le(u32::try_from(effect.len()).expect("an effect is two descriptors at most"));
        out.put_slice(&effect);
        if let Some((txn, ts)) = one_phase {
            out.put_slice(txn.as_bytes());
            out.put_u64_le(ts.wall_ns());
            out.put_u32_le(ts.logical());
        }
        out.put_slice(batch);
        out.freeze()
    }

    /// Reads a command; its batch shares memory with `payload`.
    ///
    /// # Errors
    /// When the bytes are damaged, or from a newer program.
    pub fn decode(payload: &Bytes) -> Result<Self, BadCommand> {
        let header: &[u8; HEADER_BYTES] = payload.first_chunk().ok_or(BadCommand)?;
        let [format, t0, t1, t2, t3, t4, t5, t6, t7, n0, n1, n2, n3] = *header;
        if format != FORMAT && format != FORMAT_ONE_PHASE {
            return Err(BadCommand);
        }
        let term = Term::new(u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]));
        let effect_bytes = u32::from_le_bytes([n0, n1, n2, n3]) as usize;
        let effect_end = HEADER_BYTES.checked_add(effect_bytes).filter(|end| *end <= payload.len()).ok_or(BadCommand)?;
        let effect = match effect_bytes {
            0 => None,
            _ => Some(crate::api::decode(&payload[HEADER_BYTES..effect_end]).map_err(|_| BadCommand)?),
        };
        if format == FORMAT {
            return Ok(Self { term, effect, one_phase: None, batch: payload.slice(effect_end..) });
        }
        let named: &[u8; ONE_PHASE_BYTES] = payload[effect_end..].first_chunk().ok_or(BadCommand)?;
        let (id, ts) = named.split_first_chunk::<16>().ok_or(BadCommand)?;
        let (wall, logical) = ts.split_first_chunk::<8>().ok_or(BadCommand)?;
        let logical = u32::from_le_bytes(logical.try_into().map_err(|_| BadCommand)?);
        let one_phase = Some((TxnId::from_bytes(*id), Timestamp::new(u64::from_le_bytes(*wall), logical)));
        Ok(Self { term, effect, one_phase, batch: payload.slice(effect_end + ONE_PHASE_BYTES..) })
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
        let encoded = Command::encode(Term::new(5), None, None, b"batch");
        assert_eq!(&encoded[..], b"\x01\x05\0\0\0\0\0\0\0\0\0\0\0batch");
        let encoded = Command::encode(Term::new(5), Some(&Effect::Descriptor(descriptor())), None, b"");
        assert_eq!(&encoded[..], b"\x01\x05\0\0\0\0\0\0\0\x09\0\0\0\x01\x07\x01a\x01m\0\x04\x03");
        let encoded = Command::encode(Term::new(5), Some(&Effect::Gc { threshold: Timestamp::new(9, 1) }), None, b"");
        assert_eq!(&encoded[..], b"\x01\x05\0\0\0\0\0\0\0\x03\0\0\0\x02\x09\x01");
        let clear = Effect::Clear { span: descriptor().span(), at: Timestamp::new(9, 1) };
        let encoded = Command::encode(Term::new(5), Some(&clear), None, b"");
        assert_eq!(&encoded[..], b"\x01\x05\0\0\0\0\0\0\0\x07\0\0\0\x03\x01a\x01m\x09\x01");
        let into = MergeInto { left: RangeId::new(7), start: Key::from(&b"a"[..]), generation: 3 };
        let freeze = Effect::Freeze(Frozen { into: into.clone(), low_water: Timestamp::new(9, 1) });
        let encoded = Command::encode(Term::new(5), Some(&freeze), None, b"");
        assert_eq!(&encoded[..], b"\x01\x05\0\0\0\0\0\0\0\x07\0\0\0\x04\x07\x01a\x03\x09\x01");
        let encoded = Command::encode(Term::new(5), Some(&Effect::Thaw(into.clone())), None, b"");
        assert_eq!(&encoded[..], b"\x01\x05\0\0\0\0\0\0\0\x05\0\0\0\x05\x07\x01a\x03");
        let (left, right, low_water) = (descriptor(), descriptor(), Timestamp::new(9, 1));
        let merge = Effect::Merge(Box::new(Merge { into, left, right, index: 300, low_water }));
        let encoded = Command::encode(Term::new(5), Some(&merge), None, b"");
        let golden = b"\x01\x05\0\0\0\0\0\0\0\x19\0\0\0\x06\x07\x01a\x03\x07\x01a\x01m\0\x04\x03\x07\x01a\x01m\0\x04\x03\xac\x02\x09\x01";
        assert_eq!(&encoded[..], golden);
        let encoded = Command::encode(Term::new(5), Some(&Effect::ComputeChecksum { check: 300 }), None, b"");
        assert_eq!(&encoded[..], b"\x01\x05\0\0\0\0\0\0\0\x03\0\0\0\x07\xac\x02");
        let one_phase = Some((TxnId::from_bytes(*b"sixteen bytes id"), Timestamp::new(9, 1)));
        let encoded = Command::encode(Term::new(5), None, one_phase, b"batch");
        let golden = b"\x02\x05\0\0\0\0\0\0\0\0\0\0\0sixteen bytes id\x09\0\0\0\0\0\0\0\x01\0\0\0batch";
        assert_eq!(&encoded[..], golden);
        let decoded = Command::decode(&encoded).unwrap();
        assert_eq!((decoded.one_phase, &decoded.batch[..]), (one_phase, &b"batch"[..]));
        assert_eq!(Command::decode(&encoded.slice(..40)), Err(BadCommand));
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let effect = Effect::Split { left: descriptor(), right: descriptor(), low_water: Timestamp::new(9, 1) };
        let encoded = Command::encode(Term::new(1), Some(&effect), None, b"xy");
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
