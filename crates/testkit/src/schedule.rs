//! What a seed stands for: how many of which clients, which faults, and how often.
//!
//! Every schedule has one main concern, for some faults only show where little else goes on, and others, drawn, beside
//! it. What a schedule asks for must strike: a run in which it did not is a failure.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::SmallRng};
use replica::TXN_EXPIRY;
use rpc::{MemoryConfig, MemoryOrder};

use crate::wires::Troubles;

/// What a schedule is mainly about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// Transactions that spill, and coordinators that die or are slow in the middle of a commit.
    Coordinators,
    /// Ranges that split and merge while a follower is away and logs are cut, leases that move, links that break.
    Ranges,
    /// Few clients, each hearing of what another has done, on nodes whose clocks disagree and step.
    Clocks,
    /// Spans that are cleared under readers.
    Clearing,
}

/// One seed's schedule.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub seed: u64,
    pub concern: Concern,
    pub load: Duration,
    /// What must have succeeded how often, if it comes to that in a while, before a run ends: a busy machine does less in
    /// the same time.
    pub enough: (&'static str, u64),
    pub wires: MemoryConfig,
    /// Of clients' gateways.
    pub troubles: Troubles,
    /// Of what stores ask of each other for transactions: pushes, recovery, resolution.
    pub store_troubles: Troubles,
    pub gateways: usize,
    pub list_clients: usize,
    /// Who reads much and writes nothing.
    pub scan_clients: usize,
    /// Keys that lists are written at at one time.
    pub window: u32,
    pub bank_clients: usize,
    pub register_clients: usize,
    pub tables: bool,
    /// How far clocks are off true time, at most.
    pub skew_ms: i64,
    pub clocks_step: bool,
    pub splits: bool,
    pub merges: bool,
    pub leases_move: bool,
    pub links_break: bool,
    pub links_slow: bool,
    /// How long a transaction lives without a heartbeat: the shorter, the more of them are taken for dead.
    pub txn_expiry: Duration,
    /// How long a gateway tries to reach a range.
    pub gateways_try: Duration,
    /// Stores stop for a while, or their disks do.
    pub stores_stall: bool,
    pub follower_lags: bool,
    /// Of a transaction: it writes its buffer out before it commits.
    pub spills: f64,
}

/// Clocks may be 500 ms apart; this leaves room for what elapses.
const MAX_SKEW_MS: i64 = 235;

impl Schedule {
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let concern = match seed % 4 {
            0 => Concern::Clearing,
            1 => Concern::Coordinators,
            2 => Concern::Ranges,
            _ => Concern::Clocks,
        };
        let is = |concern_of: Concern| concern == concern_of;
        let order = if rng.random_bool(0.5) { MemoryOrder::Any } else { MemoryOrder::PerLane };
        let max_delay = Duration::from_micros(rng.random_range(300..3000));
        let loss = if is(Concern::Ranges) && rng.random_bool(0.3) { 0.0005 } else { 0.0 };
        let mut schedule = Self {
            seed,
            concern,
            load: Duration::from_millis(3500),
            enough: ("", 0),
            wires: MemoryConfig {
                min_delay: Duration::from_micros(50),
                max_delay,
                loss,
                order,
                silence: Some(Duration::from_secs(2)),
            },
            troubles: Troubles::default(),
            store_troubles: Troubles::default(),
            gateways: 4,
            list_clients: 6,
            scan_clients: usize::from(rng.random_bool(0.3)),
            window: 12,
            bank_clients: 2,
            register_clients: 1,
            tables: is(Concern::Clearing) || rng.random_bool(0.15),
            skew_ms: if rng.random_bool(0.6) { rng.random_range(20..MAX_SKEW_MS) } else { 0 },
            clocks_step: false,
            splits: is(Concern::Ranges) || rng.random_bool(0.4),
            merges: is(Concern::Ranges),
            leases_move: is(Concern::Ranges) || rng.random_bool(0.3),
            links_break: is(Concern::Ranges) && rng.random_bool(0.5),
            links_slow: is(Concern::Clocks) || rng.random_bool(0.25),
            txn_expiry: if rng.random_bool(0.5) { TXN_EXPIRY } else { Duration::from_millis(rng.random_range(400..1500)) },
            gateways_try: Duration::from_secs(10),
            stores_stall: false,
            follower_lags: is(Concern::Ranges) || rng.random_bool(0.1),
            spills: rng.random_range(0.1..0.6),
        };
        schedule.merges |= schedule.splits && seed.is_multiple_of(3);
        schedule.clocks_step = schedule.skew_ms > 0 && rng.random_bool(0.5);
        match concern {
            Concern::Coordinators => {
                schedule.load = Duration::from_secs(4);
                schedule.gateways = 16;
                schedule.list_clients = 20;
                schedule.enough = ("list transaction", 500);
                // What dies holds its keys for as long as it lives without a heartbeat: if that is long, or there are few
                // keys, nearly all are held nearly always, and nobody comes to a commit.
                let expiry_ms = if rng.random_bool(0.9) { rng.random_range(250..700) } else { 3000 };
                schedule.txn_expiry = Duration::from_millis(expiry_ms);
                schedule.window = if expiry_ms < 1000 { rng.random_range(80..400) } else { rng.random_range(400..1200) };
                schedule.scan_clients = rng.random_range(0..3);
                schedule.spills = rng.random_range(0.4..0.8);
                schedule.troubles = Troubles {
                    slow: rng.random_range(0.0..0.03),
                    slow_ms: 120,
                    stall: rng.random_range(0.0..0.004),
                    stall_ms: expiry_ms * 9 / 10,
                    refuse: rng.random_range(0.0..0.006),
                    refuse_ms: 1000,
                    unanswered: rng.random_range(0.0..0.002),
                    death: rng.random_range(0.001..0.004),
                    late_resolve: 0.0,
                };
                // Small, so that a commit fails while part of it is done.
                schedule.gateways_try = Duration::from_millis(rng.random_range(100..700));
                if rng.random_bool(0.6) {
                    schedule.store_troubles = Troubles {
                        slow: rng.random_range(0.0..0.1),
                        slow_ms: expiry_ms,
                        // What has been decided of a transaction is done late: what it still sends meets what it left.
                        late_resolve: rng.random_range(0.0..0.7),
                        unanswered: 0.005,
                        ..Troubles::default()
                    };
                }
            }
            Concern::Ranges => {
                schedule.troubles.death = if rng.random_bool(0.5) { 0.001 } else { 0.0 };
                schedule.stores_stall = rng.random_bool(0.4);
            }
            // Nearly still: what a node has not heard yet, it has not heard.
            Concern::Clocks => {
                schedule.load = Duration::from_secs(5);
                schedule.register_clients = 2;
                schedule.enough = ("register written", 150);
                schedule.skew_ms = rng.random_range(150..MAX_SKEW_MS);
                schedule.clocks_step = true;
                schedule.list_clients = 0;
                schedule.bank_clients = 0;
                schedule.tables = false;
                schedule.follower_lags = false;
                schedule.splits = false;
                schedule.merges = false;
                schedule.leases_move = true;
                schedule.links_break = true;
                schedule.spills = 0.8;
            }
            Concern::Clearing => {
                schedule.list_clients = 2;
                schedule.spills = 0.3;
            }
        }
        schedule
    }

    /// What must have succeeded at least once.
    #[must_use]
    pub fn must_succeed(&self) -> Vec<&'static str> {
        let dies = self.concern == Concern::Coordinators;
        let of = [
            (self.list_clients > 0, "list transaction"),
            // One client or two whose gateways die in the middle may come to nothing.
            (self.bank_clients > 0 && !dies, "transfer"),
            (self.bank_clients > 0 && !dies, "audit"),
            (!dies, "register written"),
            (!dies, "register read"),
        ];
        of.into_iter().filter(|(is_asked, _)| *is_asked).map(|(_, name)| name).collect()
    }

    /// What must have struck by the end.
    #[must_use]
    pub fn asked_for(&self) -> Vec<&'static str> {
        let of = [
            (self.splits || self.follower_lags, "range split"),
            (self.merges, "ranges merged"),
            (self.leases_move, "lease moved"),
            (self.links_break, "link cut"),
            (self.links_slow, "link slow"),
            (self.stores_stall, "store stalled"),
            (self.follower_lags, "log cut under a follower that was away"),
            (self.clocks_step, "clock stepped"),
            (self.tables, "table cleared under a reader"),
            (self.concern == Concern::Coordinators, "gateway killed"),
            (self.list_clients > 3 && self.spills > 0.3, "transaction spilled"),
        ];
        of.into_iter().filter(|(is_asked, _)| *is_asked).map(|(_, name)| name).collect()
    }
}
