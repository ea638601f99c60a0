//! What commands do to a machine over a real engine.

use async_trait::async_trait;
use keys::{NodeId, ReplicaDescriptor, ReplicaKind, StoreId};
use raft::LogPosition;
use storage::EngineConfig;

use super::*;
use crate::{
    Inheritance,
    api::{KvError, StoreTarget},
};

const RANGE: RangeId = RangeId::new(1);

/// A store with nothing else in it.
struct Alone;

#[async_trait]
impl ReplicaHost for Alone {
    fn splitting(&self, _right: &RangeDescriptor) -> RightHalf {
        RightHalf::Here
    }

    fn split_applied(&self, _left: &RangeDescriptor, _right: &RangeDescriptor, _inherit: Inheritance) {}

    fn merge(
        &self,
        _right: &RangeDescriptor,
        write: &mut dyn FnMut() -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        write()
    }

    fn supersede(
        &self,
        _range: &RangeDescriptor,
        write: &mut dyn FnMut(&[RangeDescriptor]) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        write(&[])
    }

    async fn catch_up(&self, _left: &RangeDescriptor, _right: &RangeDescriptor, _index: u64) -> Result<(), KvError> {
        Ok(())
    }

    fn covering(&self, _key: &Key) -> Option<RangeDescriptor> {
        None
    }

    fn reserve(&self, _descriptor: &RangeDescriptor) -> Option<Admitted> {
        None
    }

    fn neighbour(&self, _start: &Key) -> Option<RangeDescriptor> {
        None
    }

    fn compute_checksum(&self, _range: &RangeDescriptor, _check: u64) {}

    async fn prepare_replica(
        &self,
        _target: StoreTarget,
        range_id: RangeId,
        _replica_id: ReplicaId,
    ) -> Result<(), KvError> {
        Err(KvError::RangeNotFound { range_id })
    }

    async fn remove_replica(&self, _target: StoreTarget, _range_id: RangeId, _replica_id: ReplicaId) {}

    fn fenced(&self, _range_id: RangeId, _reason: &str) {}

    fn corrupted(&self, _range_id: RangeId, _error: &StorageError) {}
}

fn descriptor(generation: u64) -> RangeDescriptor {
    RangeDescriptor {
        range_id: RANGE,
        start: Key::MIN,
        end: Key::MAX,
        replicas: vec![ReplicaDescriptor {
            node_id: NodeId::new(1),
            store_id: StoreId::new(1),
            replica_id: ReplicaId::new(1),
            kind: ReplicaKind::Voter,
        }],
        next_replica_id: ReplicaId::new(2),
        generation,
    }
}

fn machine(dir: &std::path::Path) -> Machine {
    let engine = Engine::open(dir, &EngineConfig::small()).unwrap();
    let range = descriptor(1);
    let mut batch = WriteBatch::new();
    state::put_new_range(&mut batch, &range, &first_applied(&range));
    engine.apply(&batch).unwrap();
    Machine::load(RANGE, engine, Arc::new(Alone)).unwrap()
}

/// Applies an effect as the next entry of the log: whether it took effect.
fn apply(machine: &Machine, index: u64, effect: &Effect) -> bool {
    let term = Term::new(1);
    let command = Command::encode(term, Some(effect), None, &[]);
    let position = LogPosition { term, index: FIRST_INDEX + index };
    let outcomes = machine.apply(&[Committed { position, payload: CommittedPayload::Command(command) }]).unwrap();
    outcomes[0][..] == [APPLIED]
}

/// Nothing is made of a descriptor that was changed meanwhile, by the log alone: whatever its proposer held.
#[test]
fn generation_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let machine = machine(dir.path());
    assert!(apply(&machine, 1, &Effect::Descriptor(descriptor(2))));
    for (index, stale) in [(2, 2), (3, 1), (4, 4)] {
        assert!(!apply(&machine, index, &Effect::Descriptor(descriptor(stale))), "{stale}");
    }
    let split = |generation: u64| {
        let at = Key::from(&b"m"[..]);
        let left = RangeDescriptor { end: at.clone(), ..descriptor(generation) };
        let right = RangeDescriptor { range_id: RangeId::new(2), start: at, ..descriptor(generation) };
        Effect::Split { left, right, low_water: Timestamp::MIN }
    };
    assert!(!apply(&machine, 5, &split(2)));
    assert_eq!(machine.descriptor().map(|now| (now.generation, now.end.clone())), Some((2, Key::MAX)));
    assert!(state::stored_range(&machine.engine, RangeId::new(2)).unwrap().is_none());
    assert!(apply(&machine, 6, &split(3)));
    assert!(!apply(&machine, 7, &split(3)));
    let stored = state::stored_range(&machine.engine, RANGE).unwrap();
    assert_eq!(stored.map(|now| (now.generation, now.end)), Some((3, Key::from(&b"m"[..]))));
}
