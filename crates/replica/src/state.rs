//! What a replica knows of itself, in memory and in the local column family.
//!
//! ```text
//! /Local/RangeId/<id>/desc   the descriptor          changes with the commands that carry it
//! /Local/RangeId/<id>/appl   the applied position    changes with every apply, in the same batch
//! /Local/RangeId/<id>/lwat   the low-water mark      written once, by the split that made the range
//! /Local/RangeId/<id>/gcth   the GC threshold        changes with the commands that remove versions
//! /Local/RangeId/<id>/clrd   the cleared spans       changes with the commands that clear, split, merge and collect
//! /Local/RangeId/<id>/frzn   for which merge it      there between the commands that freeze and thaw
//!                            serves nothing
//! /Local/RangeId/<id>/tomb   the last descriptor     alone, once the range was merged into its neighbour here
//! /Local/Range/<start>/mrgd<id>   a range that was merged into the one that began at `start`
//! /Local/Range/<start>/stck       a statement has set the boundary at `start`
//! ```

use bytes::Bytes;
use hlc::Timestamp;
use keys::{Key, RangeDescriptor, RangeId, Span, keyspace};
use raft::{Applied, LogPosition};
use storage::{Engine, StorageError, WriteBatch};

use crate::{cleared::Cleared, command::Frozen};

pub(crate) fn descriptor_key(range_id: RangeId) -> Key {
    keyspace::range_id_local(range_id, "desc")
}

pub(crate) fn applied_key(range_id: RangeId) -> Key {
    keyspace::range_id_local(range_id, "appl")
}

pub(crate) fn put_descriptor(batch: &mut WriteBatch, descriptor: &RangeDescriptor) {
    batch.put_local(descriptor_key(descriptor.range_id).as_bytes(), &crate::api::encode(descriptor));
}

/// At or above everything served for the range's keys before it was split from another.
pub(crate) fn low_water_key(range_id: RangeId) -> Key {
    keyspace::range_id_local(range_id, "lwat")
}

pub(crate) fn gc_key(range_id: RangeId) -> Key {
    keyspace::range_id_local(range_id, "gcth")
}

/// See [`crate::cleared`].
pub(crate) fn cleared_key(range_id: RangeId) -> Key {
    keyspace::range_id_local(range_id, "clrd")
}

/// See [`crate::merge`].
pub(crate) fn frozen_key(range_id: RangeId) -> Key {
    keyspace::range_id_local(range_id, "frzn")
}

pub(crate) fn load_frozen(engine: &Engine, range_id: RangeId) -> Result<Option<Frozen>, StorageError> {
    let key = frozen_key(range_id);
    let Some(bytes) = engine.get_local(key.as_bytes())? else { return Ok(None) };
    let damaged = |error| StorageError::corruption(format!("{key}: {error}"));
    crate::api::decode(&bytes).map(Some).map_err(damaged)
}

pub(crate) fn put_frozen(batch: &mut WriteBatch, range_id: RangeId, frozen: Option<&Frozen>) {
    match frozen {
        Some(frozen) => batch.put_local(frozen_key(range_id).as_bytes(), &crate::api::encode(frozen)),
        None => batch.delete_local(frozen_key(range_id).as_bytes()),
    }
}

fn tombstone_key(range_id: RangeId) -> Key {
    keyspace::range_id_local(range_id, "tomb")
}

/// Takes the place of all that is filed under the range's id.
pub(crate) fn put_tombstone(batch: &mut WriteBatch, range: &RangeDescriptor) {
    batch.clear_local_span(&Span::prefix(keyspace::range_id_prefix(range.range_id)));
    let (key, value) = tombstone(range);
    batch.put_local(key.as_bytes(), &value);
}

pub(crate) fn tombstone(range: &RangeDescriptor) -> (Key, Bytes) {
    (tombstone_key(range.range_id), crate::api::encode(range))
}

pub(crate) fn put_cleared(batch: &mut WriteBatch, range_id: RangeId, cleared: &Cleared) {
    batch.put_local(cleared_key(range_id).as_bytes(), &crate::api::encode(cleared));
}

pub(crate) fn load_cleared(engine: &Engine, range_id: RangeId) -> Result<Cleared, StorageError> {
    let key = cleared_key(range_id);
    match engine.get_local(key.as_bytes())? {
        None => Ok(Cleared::default()),
        Some(bytes) => {
            crate::api::decode(&bytes).map_err(|error| StorageError::corruption(format!("{key}: {error}")))
        }
    }
}

pub(crate) fn put_timestamp(batch: &mut WriteBatch, key: &Key, ts: Timestamp) {
    batch.put_local(key.as_bytes(), &crate::api::encode(&ts));
}

/// A timestamp of the range, the least where none was ever written.
pub(crate) fn load_timestamp(engine: &Engine, key: &Key) -> Result<Timestamp, StorageError> {
    match engine.get_local(key.as_bytes())? {
        None => Ok(Timestamp::MIN),
        Some(bytes) => {
            crate::api::decode(&bytes).map_err(|error| StorageError::corruption(format!("{key}: {error}")))
        }
    }
}

pub(crate) fn put_applied(batch: &mut WriteBatch, key: &Key, applied: &Applied) {
    batch.put_local(key.as_bytes(), &encode_applied(applied));
}

pub(crate) fn encode_applied(applied: &Applied) -> Bytes {
    crate::api::encode(&(&applied.position, &applied.membership))
}

pub(crate) fn decode_applied(bytes: &[u8]) -> Result<Applied, StorageError> {
    let (position, membership): (Option<LogPosition>, Bytes) = crate::api::decode(bytes)
        .map_err(|error| StorageError::corruption(format!("applied position: {error}")))?;
    Ok(Applied { position, membership })
}

/// The descriptor of a range, if the engine has state of it.
///
/// # Errors
/// When the engine fails or the record is damaged.
pub fn stored_range(engine: &Engine, range_id: RangeId) -> Result<Option<RangeDescriptor>, StorageError> {
    let Some(bytes) = engine.get_local(descriptor_key(range_id).as_bytes())? else { return Ok(None) };
    let damaged = |error| StorageError::corruption(format!("descriptor of {range_id}: {error}"));
    crate::api::decode(&bytes).map(Some).map_err(damaged)
}

/// Whether a local record that a snapshot brings can be read when the range is opened over it.
pub(crate) fn check_record(range: &RangeDescriptor, key: &[u8], value: &[u8]) -> Result<(), StorageError> {
    let is = |own: Key| own.as_bytes() == key;
    let sound = if is(descriptor_key(range.range_id)) {
        crate::api::decode::<RangeDescriptor>(value).is_ok_and(|found| found == *range)
    } else if is(low_water_key(range.range_id)) || is(gc_key(range.range_id)) {
        crate::api::decode::<Timestamp>(value).is_ok()
    } else if is(cleared_key(range.range_id)) {
        crate::api::decode::<Cleared>(value).is_ok()
    } else if is(frozen_key(range.range_id)) {
        crate::api::decode::<Frozen>(value).is_ok()
    } else {
        true
    };
    if sound { Ok(()) } else { Err(StorageError::corruption("a record of the range is damaged")) }
}

/// The descriptors of all ranges the engine has state of.
///
/// # Errors
/// When the engine fails or a record is damaged.
pub fn stored_ranges(engine: &Engine) -> Result<Vec<RangeDescriptor>, StorageError> {
    descriptors(engine, b"desc")
}

/// The last descriptors of the ranges whose replicas here were merged into their neighbours.
///
/// # Errors
/// When the engine fails or a record is damaged.
pub fn merged_ranges(engine: &Engine) -> Result<Vec<RangeDescriptor>, StorageError> {
    descriptors(engine, b"tomb")
}

fn descriptors(engine: &Engine, item: &[u8]) -> Result<Vec<RangeDescriptor>, StorageError> {
    let from = keyspace::range_id_prefix(RangeId::new(0));
    let to = keyspace::range_id_prefix(RangeId::new(u64::MAX)).prefix_end();
    let mut found = Vec::new();
    for (key, value) in engine.scan_local(&Span::new(from, to))? {
        if key.as_bytes().ends_with(item) {
            let descriptor: RangeDescriptor = crate::api::decode(&value)
                .map_err(|error| StorageError::corruption(format!("range descriptor {key}: {error}")))?;
            found.push(descriptor);
        }
    }
    Ok(found)
}

/// Writes the state of a range that begins: its descriptor and where its log starts.
pub fn put_new_range(batch: &mut WriteBatch, descriptor: &RangeDescriptor, applied: &Applied) {
    put_descriptor(batch, descriptor);
    put_applied(batch, &applied_key(descriptor.range_id), applied);
}

/// What replicas may differ in: the members as Raft has them are encoded as they came, by the log or by a snapshot.
#[must_use]
pub fn is_own_record(range_id: RangeId, key: &[u8]) -> bool {
    key == applied_key(range_id).as_bytes()
}

/// Everything local that goes with a range: what a snapshot carries and what a removal clears.
#[must_use]
pub fn local_spans(descriptor: &RangeDescriptor) -> [Span; 2] {
    [Span::prefix(keyspace::range_id_prefix(descriptor.range_id)), keyspace::range_local_span(&descriptor.span())]
}

#[cfg(test)]
mod tests {
    use keys::{NodeId, ReplicaDescriptor, ReplicaId, ReplicaKind, StoreId, Term};

    use super::*;
    use crate::api::MergeInto;

    /// Stores have these bytes on disk.
    #[test]
    fn golden_records() {
        let descriptor = RangeDescriptor {
            range_id: RangeId::new(7),
            start: Key::MIN,
            end: Key::from(&b"m"[..]),
            replicas: vec![ReplicaDescriptor {
                node_id: NodeId::new(1),
                store_id: StoreId::new(2),
                replica_id: ReplicaId::new(3),
                kind: ReplicaKind::Learner,
            }],
            next_replica_id: ReplicaId::new(4),
            generation: 300,
        };
        let encoded = crate::api::encode(&descriptor);
        assert_eq!(encoded.escape_ascii().to_string(), r"\x07\x00\x01m\x01\x01\x02\x03\x01\x04\xac\x02");
        let position = LogPosition { term: Term::new(5), index: 300 };
        let applied = Applied { position: Some(position), membership: Bytes::from_static(b"members") };
        assert_eq!(encode_applied(&applied).escape_ascii().to_string(), r"\x01\x05\xac\x02\x07members");
        assert_eq!(decode_applied(&encode_applied(&applied)).unwrap().position, Some(position));
        let into = MergeInto { left: RangeId::new(7), start: Key::from(&b"a"[..]), generation: 300 };
        let frozen = Frozen { into, low_water: hlc::Timestamp::new(9, 1) };
        assert_eq!(crate::api::encode(&frozen).escape_ascii().to_string(), r"\x07\x01a\xac\x02\t\x01");
        let merged = keyspace::merged_range(&Key::from(&b"a"[..]), RangeId::new(9));
        assert!(merged.as_bytes().ends_with(b"mrgd\0\0\0\0\0\0\0\x09"), "{merged:?}");
        let mut cleared = Cleared::default();
        assert!(cleared.add(&descriptor.span(), hlc::Timestamp::new(9, 1)).is_min());
        assert_eq!(crate::api::encode(&cleared).escape_ascii().to_string(), r"\x01\x00\x01m\t\x01");
    }
}
