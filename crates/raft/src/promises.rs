//! Store liveness as a pure state machine: what a store promised its peers and what they promised it.
//!
//! A store asks each peer for *support*: a promise, until an expiration, not to help anyone depose what this store
//! leads. Support is for an *epoch* of the asking store. A peer whose promise has run out may withdraw it, and from
//! then on refuses that epoch for ever: the asker must go on under a higher one, under which none of its leaderships
//! are fortified yet.
//!
//! Time is the hybrid logical clock's, and expirations are compared with it on both sides. The asker counts support
//! only below the expiration by its own clock; a withdrawal happens only above it by the peer's clock, and whoever is
//! elected thanks to it has heard of that clock. So what the old leader serves lies below, what the new one does lies
//! above.
//!
//! **Invariants**
//! - *promise-never-broken*: no support is withdrawn before its expiration, whatever restarts in between.
//! - *epoch-monotonic*: a store's epoch never falls, and a withdrawn epoch is never supported again.

use hlc::Timestamp;
use keys::StoreId;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

/// A promise to a peer, as it is on disk: `expiration` there is an upper bound of all that was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    pub epoch: u64,
    pub expiration: Timestamp,
    /// Epochs below this one are not supported any more.
    pub min_epoch: u64,
    /// Until when the epochs before `epoch` bind: the asker went on to a new one, but may have counted on them.
    pub prior: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Heartbeat {
    pub from: StoreId,
    /// Whom it is meant for: the store behind an address may have been replaced.
    pub to: StoreId,
    pub epoch: u64,
    pub expiration: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Supported { epoch: u64, expiration: Timestamp },
    Withdrawn { min_epoch: u64 },
    /// Heard, but the asker does not hear this store: nothing is promised until it does (*heard-both-ways*).
    Unheard,
}

/// What this store promised others.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    peers: FxHashMap<StoreId, Known>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    promise: Promise,
    /// What the disk says: at or above the promise.
    durable: Promise,
}

/// How far ahead of the promise the disk is written, so that not every heartbeat costs a sync.
const AHEAD_NS: u64 = 3_000_000_000;

/// What must be on disk before an answer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Save {
    pub peer: StoreId,
    pub promise: Promise,
}

impl Promises {
    pub fn recover(found: impl IntoIterator<Item = (StoreId, Promise)>) -> Self {
        let peers = found.into_iter().map(|(peer, promise)| (peer, Known { promise, durable: promise })).collect();
        Self { peers }
    }

    /// Answers a heartbeat. The answer may leave once `Save`, if there is one, is durable.
    pub fn heartbeat(&mut self, heartbeat: Heartbeat) -> (Answer, Option<Save>) {
        let known = self.peers.entry(heartbeat.from).or_default();
        let promise = &mut known.promise;
        if heartbeat.epoch < promise.min_epoch || heartbeat.epoch < promise.epoch {
            let min_epoch = promise.min_epoch.max(promise.epoch);
            return (Answer::Withdrawn { min_epoch }, None);
        }
        if promise.epoch != 0 && heartbeat.epoch > promise.epoch {
            promise.prior = promise.prior.max(promise.expiration);
        }
        promise.epoch = heartbeat.epoch;
        promise.expiration = promise.expiration.max(heartbeat.expiration);
        let answer = Answer::Supported { epoch: promise.epoch, expiration: promise.expiration };
        let covered = known.durable.epoch == promise.epoch && known.durable.expiration >= promise.expiration;
        if covered {
            return (answer, None);
        }
        let bound = Promise { expiration: promise.expiration.add_ns(AHEAD_NS), ..*promise };
        (answer, Some(Save { peer: heartbeat.from, promise: bound }))
    }

    pub fn saved(&mut self, save: Save) {
        let known = self.peers.entry(save.peer).or_default();
        if save.promise.epoch > known.durable.epoch || save.promise.expiration > known.durable.expiration {
            known.durable = save.promise;
        }
    }

    /// The epoch supported now, if any is.
    pub fn supports(&self, peer: StoreId, now: Timestamp) -> Option<u64> {
        let promise = self.peers.get(&peer)?.promise;
        let stands = promise.epoch >= promise.min_epoch && promise.epoch > 0 && now <= promise.expiration;
        stands.then_some(promise.epoch)
    }

    /// The first expiration that is not over.
    pub fn first_expiry(&self, now: Timestamp) -> Option<Timestamp> {
        let promises = self.peers.values().map(|known| known.promise);
        promises.flat_map(|it| [it.expiration, it.prior]).filter(|expiration| *expiration >= now).min()
    }

    /// Whether a promise under `epoch` still forbids opposing what the peer leads.
    pub fn binds(&self, peer: StoreId, epoch: u64, now: Timestamp) -> bool {
        let Some(promise) = self.peers.get(&peer).map(|known| known.promise) else { return false };
        if promise.epoch > epoch { now <= promise.prior } else { self.supports(peer, now) == Some(epoch) }
    }

    /// The epoch last supported, whether or not it still is.
    #[cfg(test)]
    pub fn last_epoch(&self, peer: StoreId) -> u64 {
        self.peers.get(&peer).map_or(0, |known| known.promise.epoch)
    }

    /// Withdraws support for `epoch` if its promise has run out. `Ok` when it does not stand (once what it returns is
    /// durable), `Err` while it does.
    pub fn withdraw(&mut self, peer: StoreId, epoch: u64, now: Timestamp) -> Result<Option<Save>, Timestamp> {
        let known = self.peers.entry(peer).or_default();
        let promise = &mut known.promise;
        if promise.epoch > epoch && now <= promise.prior {
            return Err(promise.prior);
        }
        if promise.epoch > epoch || promise.min_epoch > epoch {
            return Ok(None);
        }
        // Of an epoch not promised yet, too: withdrawing it would take the promise to the one before along.
        if now <= promise.expiration {
            return Err(promise.expiration);
        }
        promise.min_epoch = epoch + 1;
        known.durable.min_epoch = promise.min_epoch;
        Ok(Some(Save { peer, promise: Promise { min_epoch: promise.min_epoch, ..known.durable } }))
    }
}

/// What others promised this store.
#[derive(Debug)]
pub(crate) struct Requests {
    pub epoch: u64,
}

impl Requests {
    /// Takes an answer in. `Some(epoch)`: go on under this one, once it is durable.
    pub fn answer(&self, answer: Answer) -> Outcome {
        match answer {
            Answer::Supported { epoch, expiration } if epoch == self.epoch => Outcome::Supported(expiration),
            Answer::Supported { .. } => Outcome::Stale,
            Answer::Withdrawn { min_epoch } if min_epoch > self.epoch => Outcome::NewEpoch(min_epoch),
            Answer::Withdrawn { .. } | Answer::Unheard => Outcome::Stale,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Supported(Timestamp),
    NewEpoch(u64),
    Stale,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKER: StoreId = StoreId::new(1);

    fn at(ns: u64) -> Timestamp {
        Timestamp::new(ns, 0)
    }

    fn beat(epoch: u64, expiration: u64) -> Heartbeat {
        Heartbeat { from: ASKER, to: StoreId::new(2), epoch, expiration: at(expiration) }
    }

    #[test]
    fn epoch_monotonic() {
        let mut promises = Promises::default();
        let (answer, save) = promises.heartbeat(beat(1, 100));
        assert_eq!(answer, Answer::Supported { epoch: 1, expiration: at(100) });
        promises.saved(save.unwrap());
        assert_eq!(promises.withdraw(ASKER, 1, at(100)), Err(at(100)));
        assert!(promises.withdraw(ASKER, 1, at(101)).unwrap().is_some());
        assert_eq!(promises.heartbeat(beat(1, 500)).0, Answer::Withdrawn { min_epoch: 2 });
        assert_eq!(Requests { epoch: 1 }.answer(Answer::Withdrawn { min_epoch: 2 }), Outcome::NewEpoch(2));
        assert_eq!(promises.heartbeat(beat(2, 500)).0, Answer::Supported { epoch: 2, expiration: at(500) });
        assert_eq!(promises.supports(ASKER, at(500)), Some(2));
        assert_eq!(promises.supports(ASKER, at(501)), None);
    }

    /// 1. A leads with B and C; C promised epoch 5 until 100, and A's lease counts on that.
    /// 2. B withdraws, so A goes on under epoch 6 and says so to C.
    /// 3. C still may not vote against A before 100 is over, nor after a restart.
    #[test]
    fn an_epoch_given_up_binds_until_it_expires() {
        let mut promises = Promises::default();
        promises.heartbeat(beat(5, 100));
        let (_, save) = promises.heartbeat(beat(6, 110));
        let save = save.unwrap();
        promises.saved(save);
        assert!(promises.binds(ASKER, 5, at(100)));
        assert_eq!(promises.withdraw(ASKER, 5, at(100)), Err(at(100)));
        let mut restarted = Promises::recover([(ASKER, save.promise)]);
        assert_eq!(restarted.withdraw(ASKER, 5, at(100)), Err(at(100)));
        assert!(!promises.binds(ASKER, 5, at(101)));
        assert_eq!(promises.withdraw(ASKER, 5, at(101)), Ok(None));
        assert!(promises.binds(ASKER, 6, at(110)));
    }

    /// Every expiration ever answered is kept, of epochs given up too: over random heartbeats under old and new
    /// epochs, lost saves, withdrawals, and restarts of the promiser.
    #[test]
    fn promise_never_broken_for_any_epoch_answered() {
        use rand::{Rng, SeedableRng, rngs::SmallRng};
        for seed in 0..3000 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut disk: FxHashMap<StoreId, Promise> = FxHashMap::default();
            let mut promises = Promises::default();
            let mut answered: FxHashMap<u64, Timestamp> = FxHashMap::default();
            let (mut epoch, mut now) = (1u64, 1_000u64);
            for _ in 0..200 {
                match rng.random_range(0..6) {
                    0 => now += rng.random_range(0..2_500_000_000),
                    1 => epoch += 1,
                    2 | 3 => {
                        let until = now + rng.random_range(0..2_000_000_000);
                        let asked = epoch - rng.random_range(0..2).min(epoch - 1);
                        let (answer, save) = promises.heartbeat(beat(asked, until));
                        if let Some(save) = save {
                            if rng.random_bool(0.2) {
                                promises = Promises::recover(disk.clone());
                                continue;
                            }
                            disk.insert(save.peer, save.promise);
                            promises.saved(save);
                        }
                        match answer {
                            Answer::Supported { epoch, expiration } => {
                                let longest = answered.entry(epoch).or_default();
                                *longest = expiration.max(*longest);
                            }
                            Answer::Withdrawn { min_epoch } => epoch = epoch.max(min_epoch),
                            Answer::Unheard => unreachable!("promises do not know who hears whom"),
                        }
                    }
                    4 => promises = Promises::recover(disk.clone()),
                    _ => {
                        let of = rng.random_range(1..=epoch);
                        if let Ok(save) = promises.withdraw(ASKER, of, at(now)) {
                            let counted = answered.get(&of).copied().unwrap_or_default();
                            assert!(counted < at(now), "promise-never-broken: seed {seed}, epoch {of}");
                            if let Some(save) = save {
                                disk.insert(save.peer, save.promise);
                            }
                        }
                    }
                }
                for (&of, &until) in &answered {
                    if at(now) <= until {
                        assert!(promises.binds(ASKER, of, at(now)), "promise-never-broken: seed {seed}, epoch {of}");
                    }
                }
            }
        }
    }

    #[test]
    fn not_every_heartbeat_is_a_sync() {
        let mut promises = Promises::default();
        let mut saves = 0;
        for n in 0..100 {
            let (_, save) = promises.heartbeat(beat(1, 2_000_000_000 + n * 400_000_000));
            if let Some(save) = save {
                saves += 1;
                promises.saved(save);
            }
        }
        assert!((10..=15).contains(&saves), "{saves} syncs");
    }

    /// A history of heartbeats, clock steps, withdrawals and restarts of both sides: support that the asker counts on
    /// by its clock is never withdrawn by the promiser's.
    #[test]
    fn promise_never_broken() {
        use rand::{Rng, SeedableRng, rngs::SmallRng};
        for seed in 0..2000 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut disk: FxHashMap<StoreId, Promise> = FxHashMap::default();
            let mut promises = Promises::default();
            let mut requests = Requests { epoch: 1 };
            let mut counted: Option<(u64, Timestamp)> = None;
            let (mut asker_clock, mut promiser_clock) = (1_000u64, 1_000u64);
            for _ in 0..200 {
                match rng.random_range(0..6) {
                    0 => asker_clock += rng.random_range(0..3_000_000_000),
                    1 => promiser_clock += rng.random_range(0..3_000_000_000),
                    2 => {
                        // A heartbeat carries the asker's clock to the promiser, the answer carries it back.
                        promiser_clock = promiser_clock.max(asker_clock);
                        let expiration = asker_clock + 2_000_000_000;
                        let (answer, save) = promises.heartbeat(beat(requests.epoch, expiration));
                        if let Some(save) = save {
                            // A crash before the save: no answer leaves.
                            if rng.random_bool(0.1) {
                                promises = Promises::recover(disk.clone());
                                continue;
                            }
                            disk.insert(save.peer, save.promise);
                            promises.saved(save);
                        }
                        if rng.random_bool(0.2) {
                            continue;
                        }
                        asker_clock = asker_clock.max(promiser_clock);
                        match requests.answer(answer) {
                            Outcome::Supported(expiration) => counted = Some((requests.epoch, expiration)),
                            Outcome::NewEpoch(epoch) => {
                                requests.epoch = epoch;
                                counted = None;
                            }
                            Outcome::Stale => {}
                        }
                    }
                    3 => {
                        let epoch = promises.last_epoch(ASKER);
                        if let Ok(Some(save)) = promises.withdraw(ASKER, epoch, at(promiser_clock)) {
                            disk.insert(save.peer, save.promise);
                            if let Some((counted_epoch, expiration)) = counted
                                && counted_epoch == epoch
                            {
                                assert!(expiration < at(promiser_clock), "seed {seed}: withdrawn while counted on");
                            }
                        }
                    }
                    4 => promises = Promises::recover(disk.clone()),
                    _ => {
                        requests.epoch += 1;
                        counted = None;
                    }
                }
                if let Some((epoch, expiration)) = counted
                    && at(promiser_clock) <= expiration
                {
                    assert_eq!(promises.supports(ASKER, at(promiser_clock)), Some(epoch), "seed {seed}");
                }
            }
        }
    }
}
