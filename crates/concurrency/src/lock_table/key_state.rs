//! One key of the lock table: its holders, its queue, and the rule of who may go.

use std::collections::VecDeque;
use std::task::Waker;

use hlc::Timestamp;
use keys::{Key, LockStrength, TxnId, TxnMeta};
use smallvec::SmallVec;

use super::{Conflict, LockRow, RowState, Wakers};

#[derive(Default)]
pub(super) struct KeyState {
    pub(super) holders: SmallVec<[Holder; 1]>,
    pub(super) queue: VecDeque<Queued>,
}

/// A transaction's hold: a lock, an intent, or both.
pub(super) struct Holder {
    pub(super) meta: TxnMeta,
    /// Known to this table alone.
    pub(super) lock: Option<LockStrength>,
    pub(super) intent_ts: Option<Timestamp>,
}

/// What a request wants of a key.
#[derive(Clone)]
pub(super) struct Claim {
    pub(super) txn: Option<TxnMeta>,
    pub(super) strength: Option<LockStrength>,
    pub(super) read_ts: Timestamp,
}

pub(super) struct Queued {
    pub(super) id: u64,
    pub(super) claim: Claim,
    pub(super) standing: Standing,
    pub(super) waker: Option<Waker>,
}

pub(super) enum Standing {
    Turn,
    Blocked {
        behind: TxnMeta,
        /// The waiter has heard this name.
        told: bool,
    },
}

impl Holder {
    pub(super) fn new(meta: TxnMeta) -> Self {
        Self { meta, lock: None, intent_ts: None }
    }

    pub(super) fn strength(&self) -> LockStrength {
        match (self.intent_ts, self.lock) {
            (Some(_), _) => LockStrength::Intent,
            (None, Some(lock)) => lock,
            (None, None) => unreachable!("a holder holds something"),
        }
    }

    fn blocks(&self, claim: &Claim) -> bool {
        if claim.txn_id() == Some(self.meta.id) {
            return false;
        }
        match claim.strength {
            None => self.intent_ts.is_some_and(|ts| ts <= claim.read_ts),
            Some(strength) => strength.conflicts_with(self.strength()),
        }
    }
}

impl Claim {
    pub(super) fn txn_id(&self) -> Option<TxnId> {
        self.txn.as_ref().map(|txn| txn.id)
    }

    /// Whether a place in the queue with this claim is also a place for `other`: of the same transaction, and not
    /// weaker. A reader's place, or a sharer's, does not let its transaction write ahead of others.
    pub(super) fn serves(&self, other: &Self) -> bool {
        self.txn.is_some() && self.txn_id() == other.txn_id() && kind(other.strength) <= kind(self.strength)
    }

    /// Whether a place in the queue with this claim holds up `later`, which stands behind it.
    fn reserves_against(&self, later: &Self) -> bool {
        let (Some(txn), Some(ours), Some(theirs)) = (self.txn_id(), self.strength, later.strength) else {
            return false;
        };
        Some(txn) != later.txn_id() && ours.conflicts_with(theirs)
    }
}

/// Strengths that meet others alike are of one kind; a greater kind serves where a lesser is wanted.
fn kind(strength: Option<LockStrength>) -> usize {
    strength.map_or(0, |strength| 1 + strength.rank())
}

impl KeyState {
    pub(super) fn is_empty(&self) -> bool {
        self.holders.is_empty() && self.queue.is_empty()
    }

    pub(super) fn holder_mut(&mut self, txn: TxnId) -> Option<&mut Holder> {
        self.holders.iter_mut().find(|holder| holder.meta.id == txn)
    }

    /// What a claim comes to here. Who has locked the row to change no key of it writes no more than that: those who
    /// share the key stay.
    pub(super) fn settled(&self, mut claim: Claim) -> Claim {
        if claim.strength == Some(LockStrength::Intent) {
            let own = self.holders.iter().find(|holder| Some(holder.meta.id) == claim.txn_id());
            if own.is_some_and(|own| own.lock == Some(LockStrength::NoKeyUpdate)) {
                claim.strength = Some(LockStrength::NoKeyUpdate);
            }
        }
        claim
    }

    fn is_held_by(&self, claim: &Claim) -> bool {
        claim.txn_id().is_some_and(|txn| self.holders.iter().any(|holder| holder.meta.id == txn))
    }

    /// Everyone in the way of a claim whose transaction may have a place in the queue already.
    pub(super) fn conflicts<'a>(&'a self, claim: &'a Claim) -> impl Iterator<Item = Blocker<'a>> {
        let own_place = self.queue.iter().position(|queued| queued.claim.serves(claim));
        self.conflicts_before(claim, own_place.unwrap_or(self.queue.len()))
    }

    /// Everyone in the way of a claim that stands at `place` in the queue.
    pub(super) fn conflicts_before<'a>(
        &'a self,
        claim: &'a Claim,
        place: usize,
    ) -> impl Iterator<Item = Blocker<'a>> {
        let holders = self
            .holders
            .iter()
            .filter(|holder| holder.blocks(claim))
            .map(|holder| Blocker { txn: &holder.meta, strength: holder.strength() });
        let ahead_count = if self.is_held_by(claim) { 0 } else { place };
        let ahead = self.queue.iter().take(ahead_count).filter(|queued| queued.claim.reserves_against(claim));
        holders.chain(ahead.filter_map(|queued| {
            let txn = queued.claim.txn.as_ref()?;
            Some(Blocker { txn, strength: queued.claim.strength? })
        }))
    }

    /// Puts a waiter where it belongs: at the end, or for a holder that wants more, behind its like at the front.
    pub(super) fn enqueue(&mut self, id: u64, claim: Claim) -> Wakers {
        let place = if self.is_held_by(&claim) {
            self.queue.iter().take_while(|queued| self.is_held_by(&queued.claim)).count()
        } else {
            self.queue.len()
        };
        self.queue.insert(place, Queued { id, claim, standing: Standing::Turn, waker: None });
        let wakers = self.restand();
        // Who it stands behind is what the caller asks first; only a change of that is news.
        if let Some(Queued { standing: Standing::Blocked { told, .. }, .. }) = self.queue.get_mut(place) {
            *told = true;
        }
        wakers
    }

    /// Works out every waiter's standing anew, and returns the wakers of those that have news.
    ///
    /// One walk, so a long queue costs its length: of the waiters passed, the first two transactions of each rank
    /// suffice to name one that is not the waiter's own.
    pub(super) fn restand(&mut self) -> Wakers {
        let mut wakers = Wakers::new();
        // Of at least each rank.
        let mut ahead_of: [Ahead; 4] = Default::default();
        for index in 0..self.queue.len() {
            let claim = &self.queue[index].claim;
            let ahead = match claim.strength {
                None => None,
                Some(_) if self.is_held_by(claim) => None,
                Some(strength) => ahead_of[LockStrength::Update.rank() - strength.rank()].other_than(claim.txn_id()),
            };
            let holder = self.holders.iter().find(|holder| holder.blocks(claim)).map(|holder| &holder.meta);
            let behind = holder.or_else(|| ahead.and_then(|place| self.queue[place].claim.txn.as_ref()));
            let behind = behind.cloned();
            if let (Some(txn), Some(strength)) = (claim.txn_id(), claim.strength) {
                ahead_of[..=strength.rank()].iter_mut().for_each(|ahead| ahead.pass(index, txn));
            }
            if self.queue[index].stand(behind) {
                wakers.extend(self.queue[index].waker.take());
            }
        }
        wakers
    }

    pub(super) fn rows(&self, key: &Key) -> Vec<LockRow> {
        let held = self.holders.iter().map(|holder| LockRow {
            key: key.clone(),
            txn: Some(holder.meta.clone()),
            strength: Some(holder.strength()),
            state: RowState::Held,
        });
        let queued = self.queue.iter().map(|queued| LockRow {
            key: key.clone(),
            txn: queued.claim.txn.clone(),
            strength: queued.claim.strength,
            state: match &queued.standing {
                Standing::Turn => RowState::Turn,
                Standing::Blocked { behind, .. } => RowState::Waiting { behind: behind.id },
            },
        });
        held.chain(queued).collect()
    }
}

impl Queued {
    /// Takes a new standing; whether that is news to the waiter.
    fn stand(&mut self, behind: Option<TxnMeta>) -> bool {
        let is_news = match (&self.standing, &behind) {
            (Standing::Turn, None) => false,
            (Standing::Blocked { behind: old, told }, Some(new)) if old.id == new.id => {
                // NB: a name not heard yet stays news, but its waker is gone or has been woken for it already.
                self.standing = Standing::Blocked { behind: new.clone(), told: *told };
                return false;
            }
            _ => true,
        };
        self.standing = match behind {
            None => Standing::Turn,
            Some(behind) => Standing::Blocked { behind, told: false },
        };
        is_news
    }
}

/// Somebody in the way.
pub(super) struct Blocker<'a> {
    pub(super) txn: &'a TxnMeta,
    pub(super) strength: LockStrength,
}

impl Blocker<'_> {
    pub(super) fn conflict(&self, key: &Key) -> Conflict {
        Conflict { key: key.clone(), holder: self.txn.clone(), strength: self.strength }
    }
}

/// The places of the first waiters passed, of two different transactions.
#[derive(Default)]
struct Ahead {
    first: Option<(usize, TxnId)>,
    second: Option<(usize, TxnId)>,
}

impl Ahead {
    fn pass(&mut self, place: usize, txn: TxnId) {
        match self.first {
            None => self.first = Some((place, txn)),
            Some((_, first)) if first != txn && self.second.is_none() => self.second = Some((place, txn)),
            Some(_) => {}
        }
    }

    fn other_than(&self, txn: Option<TxnId>) -> Option<usize> {
        let other = |entry: &(usize, TxnId)| Some(entry.1) != txn;
        self.first.filter(other).or(self.second.filter(other)).map(|(place, _)| place)
    }
}
