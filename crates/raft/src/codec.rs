//! Entries and messages as bytes. A command's payload is never encoded anew: it is copied once into a message, and
//! what is read shares the message's memory.
//!
//! ```text
//! entry     kind (0 command, 1 blank, 2 membership), term u64 little endian, the rest
//! message   kind, range u64, to u64, from u64, little endian, then the body
//! append    length u32 of a postcard head {vote, previous, committed}, the head, then for each entry: length u32,
//!           index u64, entry
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use keys::{RangeId, ReplicaId};
use openraft::{EntryPayload, raft::AppendEntriesRequest};

use crate::types::{LogPosition, Payload, RaftEntry, Types};
use keys::Term;

const COMMAND: u8 = 0;
const BLANK: u8 = 1;
const MEMBERSHIP: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bytes that are no {0} of this protocol")]
pub(crate) struct Damaged(pub &'static str);

fn put_entry(out: &mut BytesMut, entry: &RaftEntry) {
    let kind = match &entry.payload {
        EntryPayload::Normal(_) => COMMAND,
        EntryPayload::Blank => BLANK,
        EntryPayload::Membership(_) => MEMBERSHIP,
    };
    out.put_u8(kind);
    out.put_u64_le(entry.log_id.leader_id.term);
    match &entry.payload {
        EntryPayload::Normal(payload) => out.put_slice(&payload.0),
        EntryPayload::Blank => {}
        EntryPayload::Membership(membership) => {
            out.put_slice(&postcard::to_stdvec(membership).expect("members are plain data"));
        }
    }
}

pub(crate) fn encode_entry(entry: &RaftEntry) -> Bytes {
    let size = match &entry.payload {
        EntryPayload::Normal(payload) => payload.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 64,
    };
    let mut out = BytesMut::with_capacity(9 + size);
    put_entry(&mut out, entry);
    out.freeze()
}

pub(crate) fn decode_entry(index: u64, mut bytes: Bytes) -> Result<RaftEntry, Damaged> {
    if bytes.len() < 9 {
        return Err(Damaged("entry"));
    }
    let kind = bytes.get_u8();
    let term = Term::new(bytes.get_u64_le());
    let payload = match kind {
        COMMAND => EntryPayload::Normal(Payload(bytes)),
        BLANK => EntryPayload::Blank,
        MEMBERSHIP => EntryPayload::Membership(postcard::from_bytes(&bytes).map_err(|_| Damaged("entry"))?),
        _ => return Err(Damaged("entry")),
    };
    Ok(RaftEntry { log_id: LogPosition { term, index }.to_raft(), payload })
}

/// Only the position: what a log's last entry is asked for.
pub(crate) fn entry_position(index: u64, bytes: &[u8]) -> Result<LogPosition, Damaged> {
    let term = bytes.get(1..9).ok_or(Damaged("entry"))?;
    let term = u64::from_le_bytes(term.try_into().expect("eight bytes were taken"));
    Ok(LogPosition { term: Term::new(term), index })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Append,
    Vote,
    /// Would you vote for me?
    PreVote,
    /// Promise not to vote against me while you support my store.
    Fortify,
    /// I give up leading: forget that promise, and you (if named) campaign.
    Yield,
    SnapshotChunk,
    SnapshotEnd,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::Append,
            Self::Vote,
            Self::PreVote,
            Self::Fortify,
            Self::Yield,
            Self::SnapshotChunk,
            Self::SnapshotEnd,
        ]
        .get(usize::from(byte))
        .copied()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub range: RangeId,
    pub to: ReplicaId,
    pub from: ReplicaId,
}

const ADDRESS_BYTES: usize = 25;

fn begin(kind: Kind, address: Address, capacity: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(ADDRESS_BYTES + capacity);
    out.put_u8(kind as u8);
    out.put_u64_le(address.range.get());
    out.put_u64_le(address.to.get());
    out.put_u64_le(address.from.get());
    out
}

pub(crate) fn message<T: serde::Serialize>(kind: Kind, address: Address, body: &T) -> Bytes {
    let body = postcard::to_stdvec(body).expect("messages are plain data");
    let mut out = begin(kind, address, body.len());
    out.put_slice(&body);
    out.freeze()
}

/// A message whose body is bytes after a postcard head.
pub(crate) fn message_with_bytes<T: serde::Serialize>(kind: Kind, address: Address, head: &T, bytes: &[u8]) -> Bytes {
    let head = postcard::to_stdvec(head).expect("messages are plain data");
    let mut out = begin(kind, address, 4 + head.len() + bytes.len());
    out.put_u32_le(u32::try_from(head.len()).expect("a head is small"));
    out.put_slice(&head);
    out.put_slice(bytes);
    out.freeze()
}

pub(crate) fn split_head<T: serde::de::DeserializeOwned>(mut body: Bytes) -> Result<(T, Bytes), Damaged> {
    if body.len() < 4 {
        return Err(Damaged("message"));
    }
    let length = body.get_u32_le() as usize;
    if length > body.len() {
        return Err(Damaged("message"));
    }
    let head = body.split_to(length);
    let head = postcard::from_bytes(&head).map_err(|_| Damaged("message"))?;
    Ok((head, body))
}

pub(crate) fn decode_message(mut bytes: Bytes) -> Result<(Kind, Address, Bytes), Damaged> {
    if bytes.len() < ADDRESS_BYTES {
        return Err(Damaged("message"));
    }
    let kind = Kind::from_byte(bytes.get_u8()).ok_or(Damaged("message"))?;
    let range = RangeId::new(bytes.get_u64_le());
    let to = ReplicaId::new(bytes.get_u64_le());
    let from = ReplicaId::new(bytes.get_u64_le());
    Ok((kind, Address { range, to, from }, bytes))
}

pub(crate) fn encode_append(address: Address, request: &AppendEntriesRequest<Types>) -> Bytes {
    let head = (&request.vote, &request.prev_log_id, &request.leader_commit);
    let head = postcard::to_stdvec(&head).expect("messages are plain data");
    let size: usize = request
        .entries
        .iter()
        .map(|entry| match &entry.payload {
            EntryPayload::Normal(payload) => payload.0.len() + 32,
            EntryPayload::Blank | EntryPayload::Membership(_) => 256,
        })
        .sum();
    let mut out = begin(Kind::Append, address, 4 + head.len() + size);
    out.put_u32_le(u32::try_from(head.len()).expect("a head is small"));
    out.put_slice(&head);
    for entry in &request.entries {
        let length_at = out.len();
        out.put_u32_le(0);
        out.put_u64_le(entry.log_id.index);
        let start = out.len();
        put_entry(&mut out, entry);
        let length = u32::try_from(out.len() - start).expect("commands are bounded far below");
        out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }
    out.freeze()
}

pub(crate) fn decode_append(body: Bytes) -> Result<AppendEntriesRequest<Types>, Damaged> {
    let ((vote, prev_log_id, leader_commit), mut rest) = split_head(body)?;
    let mut entries = Vec::new();
    while rest.has_remaining() {
        if rest.len() < 12 {
            return Err(Damaged("append"));
        }
        let length = rest.get_u32_le() as usize;
        let index = rest.get_u64_le();
        if length > rest.len() {
            return Err(Damaged("append"));
        }
        entries.push(decode_entry(index, rest.split_to(length))?);
    }
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, payload: &'static [u8]) -> RaftEntry {
        let log_id = LogPosition { term: Term::new(3), index }.to_raft();
        RaftEntry { log_id, payload: EntryPayload::Normal(Payload(Bytes::from_static(payload))) }
    }

    #[test]
    fn golden_entry() {
        let encoded = encode_entry(&entry(9, b"abc"));
        assert_eq!(&encoded[..], b"\0\x03\0\0\0\0\0\0\0abc");
        assert_eq!(entry_position(9, &encoded), Ok(LogPosition { term: Term::new(3), index: 9 }));
        assert_eq!(decode_entry(9, encoded).unwrap(), entry(9, b"abc"));
        assert!(decode_entry(1, Bytes::from_static(b"\x07aaaaaaaa")).is_err());
        assert!(decode_entry(1, Bytes::from_static(b"\0a")).is_err());
    }

    #[test]
    fn appends_come_back_and_truncations_are_refused() {
        let request = AppendEntriesRequest {
            vote: crate::types::RaftVote::new_committed(3, 1),
            prev_log_id: Some(LogPosition { term: Term::new(2), index: 8 }.to_raft()),
            entries: vec![entry(9, b"abc"), entry(10, b"")],
            leader_commit: None,
        };
        let address = Address { range: RangeId::new(1), to: ReplicaId::new(2), from: ReplicaId::new(3) };
        let bytes = encode_append(address, &request);
        let (kind, found, body) = decode_message(bytes.clone()).unwrap();
        assert_eq!((kind, found), (Kind::Append, address));
        let decoded = decode_append(body.clone()).unwrap();
        assert_eq!(format!("{decoded:?}"), format!("{request:?}"));
        let whole = body.len();
        for end in 0..whole {
            if let Ok(shorter) = decode_append(body.slice(..end)) {
                assert!(shorter.entries.len() < 2, "cut at {end} of {whole}");
            }
        }
    }
}
