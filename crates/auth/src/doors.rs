//! The problem: a connection costs its client a packet, and the node a socket and buffers. Clients that never show who
//! they are could take every place there is.
//!
//! The idea: two counts. A connection is *at the door* until it has shown who it is, and only then takes a *seat*, of which
//! there are `max_connections`. At the door there is room for so many from one address and so many in all; where there is
//! none, the one that has waited longest gives way. A client that means well is at the door for milliseconds, so it
//! gets in although an attacker from its own address opens thousands a second; one that waits to be timed out does not
//! keep others out.
//!
//! **Invariants**
//! - *strangers-take-no-seat*: what is not authenticated is not counted in `max_connections`.
//! - *oldest-gives-way*: a new connection is always accepted; where too many are unauthenticated, the oldest is closed.
//!
//! Deliberately left out: what an unauthenticated connection may send, its time-out, and how it is closed: the server
//! decides.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// Ends a connection, from wherever it is called.
pub type Ending = Box<dyn Fn() + Send + Sync>;

/// Whose connections are counted together: an address, of IPv6 its network of 64 bits, as a host may have all of one; none
/// for those at a Unix socket.
fn origin(address: Option<IpAddr>) -> Option<IpAddr> {
    match address?.to_canonical() {
        IpAddr::V6(address) => Some(IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))),
        IpAddr::V4(address) => Some(IpAddr::V4(address)),
    }
}

/// What is counted at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoorMetrics {
    /// Connections that have not shown yet who they are.
    pub waiting: usize,
    /// Those that had to give way.
    pub turned_out: u64,
}

/// What ends a connection that gives way, also one whose task is only being started.
#[derive(Default)]
struct Ticket {
    ending: OnceLock<Ending>,
    is_out: AtomicBool,
}

impl Ticket {
    fn turn_out(&self) {
        self.is_out.store(true, Ordering::SeqCst);
        self.end_if_out();
    }

    fn end_if_out(&self) {
        if let Some(end) = self.ending.get().filter(|_| self.is_out.load(Ordering::SeqCst)) {
            end();
        }
    }
}

#[derive(Default)]
struct Waiting {
    next: u64,
    /// By number, the oldest first.
    all: BTreeMap<u64, (Option<IpAddr>, Arc<Ticket>)>,
    of: FxHashMap<Option<IpAddr>, BTreeSet<u64>>,
    is_closed: bool,
}

impl Waiting {
    fn remove(&mut self, number: u64) -> Option<Arc<Ticket>> {
        let (origin, ticket) = self.all.remove(&number)?;
        let numbers = self.of.get_mut(&origin).expect("it is in both");
        numbers.remove(&number);
        if numbers.is_empty() {
            self.of.remove(&origin);
        }
        Some(ticket)
    }

    /// Who gives way to one more of this origin.
    fn in_the_way(&self, origin: Option<IpAddr>, room: usize, room_of_one: usize) -> Option<u64> {
        if let Some(numbers) = self.of.get(&origin).filter(|numbers| numbers.len() >= room_of_one) {
            return numbers.first().copied();
        }
        if self.all.len() < room {
            return None;
        }
        // Of the address with the most unauthenticated connections; of two such, the one with the oldest.
        let most = self.of.values().max_by_key(|numbers| (numbers.len(), Reverse(numbers.first().copied())));
        most.and_then(BTreeSet::first).copied()
    }
}

/// Where connections wait until they have shown who they are.
pub struct Doors {
    waiting: Mutex<Waiting>,
    turned_out: AtomicU64,
    room: usize,
    room_of_one: usize,
}

impl Doors {
    /// With room for so many, half of them of one address.
    #[must_use]
    pub fn new(room: usize) -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::default(),
            turned_out: AtomicU64::new(0),
            room,
            room_of_one: room.div_ceil(2),
        })
    }

    /// Lets a connection wait here, served by what `serve` starts; that answers how to end it. *oldest-gives-way*
    pub fn enter(self: &Arc<Self>, address: Option<IpAddr>, serve: impl FnOnce(AtDoor) -> Ending) {
        let origin = origin(address);
        let ticket = Arc::<Ticket>::default();
        let number = {
            let mut waiting = self.waiting.lock();
            if waiting.is_closed {
                return;
            }
            while let Some(number) = waiting.in_the_way(origin, self.room, self.room_of_one) {
                self.turned_out.fetch_add(1, Ordering::Relaxed);
                if let Some(ticket) = waiting.remove(number) {
                    ticket.turn_out();
                }
            }
            let number = waiting.next;
            waiting.next += 1;
            waiting.all.insert(number, (origin, ticket.clone()));
            waiting.of.entry(origin).or_default().insert(number);
            number
        };
        // Not under the lock: a runtime that ends drops what is given to it, and that takes the lock.
        let ending = serve(AtDoor { doors: self.clone(), number });
        let is_first = ticket.ending.set(ending).is_ok();
        debug_assert!(is_first, "one connection a ticket");
        ticket.end_if_out();
    }

    /// Closes all unauthenticated connections, and accepts no more.
    pub fn close(&self) {
        let mut waiting = self.waiting.lock();
        waiting.is_closed = true;
        waiting.of.clear();
        for (_, ticket) in std::mem::take(&mut waiting.all).into_values() {
            ticket.turn_out();
        }
    }

    #[must_use]
    pub fn metrics(&self) -> DoorMetrics {
        DoorMetrics {
            waiting: self.waiting.lock().all.len(),
            turned_out: self.turned_out.load(Ordering::Relaxed),
        }
    }
}

/// A connection that waits, until this is dropped.
pub struct AtDoor {
    doors: Arc<Doors>,
    number: u64,
}

impl AtDoor {
    /// It has shown who it is; false when it had to give way before.
    #[must_use]
    pub fn leave(self) -> bool {
        self.doors.waiting.lock().remove(self.number).is_some()
    }
}

impl Drop for AtDoor {
    fn drop(&mut self) {
        self.doors.waiting.lock().remove(self.number);
    }
}

/// The places of clients that have shown who they are.
pub struct Seats {
    taken: Arc<AtomicUsize>,
    max: usize,
    reserved: usize,
}

/// One of them, free again when dropped.
pub struct Seat {
    taken: Arc<AtomicUsize>,
    /// It is one of the last, which are for superusers.
    pub is_reserved: bool,
}

impl Seats {
    #[must_use]
    pub fn new(max: usize, reserved: usize) -> Self {
        Self { taken: Arc::default(), max, reserved }
    }

    #[must_use]
    pub fn is_full(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= self.max
    }

    #[must_use]
    pub fn take(&self) -> Option<Seat> {
        let taking = |taken: usize| (taken < self.max).then_some(taken + 1);
        let before = self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, taking).ok()?;
        Some(Seat { taken: self.taken.clone(), is_reserved: before + self.reserved >= self.max })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn oldest_gives_way() {
        let doors = Doors::new(4);
        assert_eq!((doors.room, doors.room_of_one), (4, 2));
        let (ended, seen) = mpsc::channel();
        let at = |text: &str| text.parse::<IpAddr>().ok();
        let mut waiting = Vec::new();
        let mut enter = |number: u32, address: &str| {
            let ended = ended.clone();
            doors.enter(at(address), |door| {
                waiting.push(door);
                Box::new(move || ended.send(number).unwrap())
            });
            let gone: Vec<u32> = seen.try_iter().collect();
            gone
        };
        assert_eq!(enter(0, "10.0.0.1"), [0_u32; 0]);
        assert_eq!(enter(1, "::ffff:10.0.0.1"), [0_u32; 0]);
        assert_eq!(enter(2, "10.0.0.1"), [0], "too many of one address");
        assert_eq!(enter(3, "2001:db8::1"), [0_u32; 0]);
        assert_eq!(enter(4, "2001:db8::2"), [0_u32; 0]);
        assert_eq!(enter(5, "2001:db8::3"), [3], "of one network");
        assert_eq!(enter(6, "10.0.0.9"), [1], "of whoever has most, the oldest");
        assert_eq!(doors.metrics(), DoorMetrics { waiting: 4, turned_out: 3 });
        let left: Vec<bool> = waiting.drain(..).map(AtDoor::leave).collect();
        assert_eq!(left.iter().filter(|left| **left).count(), 4, "{left:?}");
        assert!(!left[0] && left[6]);
        assert_eq!(doors.metrics().waiting, 0);
        let mut enter = |number: u32| {
            let ended = ended.clone();
            doors.enter(None, |door| {
                waiting.push(door);
                Box::new(move || ended.send(number).unwrap())
            });
        };
        enter(7);
        doors.close();
        enter(8);
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), [7]);
        assert_eq!(waiting.len(), 1, "nobody enters once it is closed");
        assert_eq!(origin(at("2001:db8::1")), origin(at("2001:db8::ffff")));
    }

    /// The connection may have to give way before it has said how it is ended.
    #[test]
    fn who_gives_way_while_it_enters_is_ended() {
        let doors = Doors::new(2);
        let (ended, seen) = mpsc::channel();
        let mut kept = Vec::new();
        doors.enter(None, |door| {
            doors.enter(None, |other| {
                kept.push(other);
                Box::new(|| {})
            });
            kept.push(door);
            Box::new(move || ended.send(()).unwrap())
        });
        assert_eq!(seen.try_iter().count(), 1);
    }

    #[test]
    fn strangers_take_no_seat() {
        let seats = Seats::new(3, 1);
        let taken = [(); 3].map(|()| seats.take().unwrap());
        assert_eq!(taken.each_ref().map(|seat| seat.is_reserved), [false, false, true]);
        assert!(seats.is_full() && seats.take().is_none());
        drop(taken);
        assert!(!seats.is_full());
    }
}
