//! The workloads, a file each: their tables, and one step of a client.

mod bank;
mod counter;
mod list_append;
mod long_fork;
mod monotonic;
mod registers;
mod sequential;
mod sets;
mod write_skew;
mod ycsb;

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use checkers::judges::Workload as Judge;
use parking_lot::Mutex;
use rand::rngs::StdRng;

use crate::{Failure, session::Session, tpcc};

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Transfers between accounts, and reads of all of them at once.
    Bank,
    /// Single reads, writes and compare-and-sets.
    Registers,
    /// Transactions that append to lists and read them.
    ListAppend,
    /// Rows written one a transaction and read in groups.
    LongFork,
    /// Pairs of transactions that each insert if a predicate finds nothing.
    WriteSkew,
    /// Series written part by part, and read backwards.
    Sequential,
    /// The next greatest value of several tables.
    Monotonic,
    /// Unique elements, and whether all of them stay.
    Sets,
    /// One row that all increase by an upsert.
    Counter,
    /// Reads and updates of single rows, some far more often than others.
    Ycsb(Mix),
    /// TPC-C's five transactions at one warehouse.
    Tpcc,
}

/// YCSB's core workloads by their letters: the shares of a hundred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    pub read: u32,
    pub update: u32,
    pub insert: u32,
    pub scan: u32,
    pub read_modify_write: u32,
}

impl Mix {
    /// The mix of a letter from A to F.
    #[must_use]
    pub fn of(letter: char) -> Option<Self> {
        let [read, update, insert, scan, read_modify_write] = match letter.to_ascii_uppercase() {
            'A' => [50, 50, 0, 0, 0],
            'B' => [95, 5, 0, 0, 0],
            'C' => [100, 0, 0, 0, 0],
            'D' => [95, 0, 5, 0, 0],
            'E' => [0, 0, 5, 95, 0],
            'F' => [50, 0, 0, 0, 50],
            _ => return None,
        };
        Some(Self { read, update, insert, scan, read_modify_write })
    }
}

impl Kind {
    /// All but their parameters, by name.
    pub const NAMES: [&'static str; 11] = [
        "bank",
        "registers",
        "list-append",
        "long-fork",
        "write-skew",
        "sequential",
        "monotonic",
        "sets",
        "counter",
        "ycsb",
        "tpcc",
    ];

    #[must_use]
    pub fn of(name: &str, mix: Mix) -> Option<Self> {
        Some(match name {
            "bank" => Self::Bank,
            "registers" => Self::Registers,
            "list-append" => Self::ListAppend,
            "long-fork" => Self::LongFork,
            "write-skew" => Self::WriteSkew,
            "sequential" => Self::Sequential,
            "monotonic" => Self::Monotonic,
            "sets" => Self::Sets,
            "counter" => Self::Counter,
            "ycsb" => Self::Ycsb(mix),
            "tpcc" => Self::Tpcc,
            _ => return None,
        })
    }

    /// What judges its history; none for what is judged by its tables.
    #[must_use]
    pub fn judge(self) -> Option<Judge> {
        Some(match self {
            Self::Bank => Judge::Bank { total: bank::TOTAL, negative: false },
            Self::Registers | Self::Ycsb(_) => Judge::Registers,
            Self::ListAppend => Judge::ListAppend,
            Self::LongFork => Judge::LongFork,
            Self::WriteSkew => Judge::WriteSkew,
            Self::Sequential => Judge::Sequential,
            Self::Monotonic => Judge::Monotonic,
            Self::Sets => Judge::Sets,
            Self::Counter => Judge::Counter,
            Self::Tpcc => return None,
        })
    }

    /// The statements that make its tables.
    #[must_use]
    pub fn tables(self) -> String {
        match self {
            Self::Bank => bank::tables(),
            Self::Registers => registers::TABLES.into(),
            Self::ListAppend => list_append::TABLES.into(),
            Self::LongFork => long_fork::TABLES.into(),
            Self::WriteSkew => write_skew::TABLES.into(),
            Self::Sequential => sequential::TABLES.into(),
            Self::Monotonic => monotonic::TABLES.into(),
            Self::Sets => sets::TABLES.into(),
            Self::Counter => counter::TABLES.into(),
            Self::Ycsb(_) => ycsb::tables(),
            Self::Tpcc => tpcc::tables(),
        }
    }

    /// One thing that a client does.
    pub(crate) async fn step(self, session: &mut Session, random: &mut StdRng, shared: &Shared) {
        match self {
            Self::Bank => bank::step(session, random).await,
            Self::Registers => registers::step(session, random, shared).await,
            Self::ListAppend => list_append::step(session, random, shared).await,
            Self::LongFork => long_fork::step(session, random, shared).await,
            Self::WriteSkew => write_skew::step(session, shared).await,
            Self::Sequential => sequential::step(session, random, shared).await,
            Self::Monotonic => monotonic::step(session, random).await,
            Self::Sets => sets::step(session, shared).await,
            Self::Counter => counter::step(session, random).await,
            Self::Ycsb(mix) => ycsb::step(session, random, shared, mix).await,
            // It has clients of its own.
            Self::Tpcc => {}
        }
    }

    /// What is read when all clients have ended.
    pub(crate) async fn last(self, session: &mut Session) {
        match self {
            Self::Bank => bank::read(session, false).await,
            Self::Monotonic => monotonic::read(session).await,
            Self::Sets => sets::read(session).await,
            Self::Counter => counter::read(session).await,
            Self::ListAppend => list_append::read_all(session).await,
            Self::Registers | Self::LongFork | Self::WriteSkew | Self::Sequential | Self::Ycsb(_) | Self::Tpcc => {}
        }
    }
}

/// What the clients of a run share: numbers that nobody else has had.
pub(crate) struct Shared {
    next: AtomicU64,
    /// The series that were begun last.
    series: Mutex<VecDeque<u64>>,
    read_next: Mutex<Instant>,
}

impl Shared {
    pub fn new() -> Self {
        Self { next: AtomicU64::new(0), series: Mutex::default(), read_next: Mutex::new(Instant::now()) }
    }

    pub fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub fn so_far(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Whether it is time for a large read again.
    pub fn is_due(&self, every: Duration) -> bool {
        let (mut next, now) = (self.read_next.lock(), Instant::now());
        let is_due = *next <= now;
        if is_due {
            *next = now + every;
        }
        is_due
    }
}

/// A number of the server's that must not be negative.
fn unsigned(value: i64) -> Result<u64, Failure> {
    u64::try_from(value).map_err(|_| Failure::Outside(format!("{value} is below zero")))
}

/// A number of ours for the server, whose integers have a sign.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
