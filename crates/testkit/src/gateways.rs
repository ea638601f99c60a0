//! Nodes without a store, for clients to work through: each has a clock and a wire of its own, and may die at any moment,
//! in the middle of a commit too; another takes its place then.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hlc::{Clock, PhysicalClock, SystemClock};
use keys::NodeId;
use kv::{Db, DbConfig, DbOptions};
use rpc::MemoryNetwork;

use crate::{
    cluster::MAX_OFFSET,
    wires::{Struck, Troubles, Wire},
};

/// Numbers of gateways begin here; stores have those below.
const FIRST_ID: u64 = 101;

/// The system's clock, off by so much, and by more or less as time goes on; never past the bound.
struct DriftingClock {
    since: Instant,
    offset_ns: AtomicI64,
    /// Nanoseconds gained in a millisecond.
    drift: AtomicI64,
    bound_ns: i64,
}

impl PhysicalClock for DriftingClock {
    fn now_ns(&self) -> u64 {
        let gained =
            self.drift.load(Ordering::Relaxed) * i64::try_from(self.since.elapsed().as_millis()).unwrap_or(0);
        let off = (self.offset_ns.load(Ordering::Relaxed) + gained).clamp(-self.bound_ns, self.bound_ns);
        SystemClock.now_ns().saturating_add_signed(off)
    }
}

pub struct Gateway {
    pub db: Db,
    pub wire: Arc<Wire>,
    id: NodeId,
    clock: Arc<DriftingClock>,
}

impl Gateway {
    /// Steps its clock.
    pub fn set_offset(&self, offset_ms: i64) {
        self.clock.offset_ns.store(offset_ms * 1_000_000, Ordering::Relaxed);
    }
}

pub struct Gateways {
    network: MemoryNetwork,
    stores: Vec<NodeId>,
    config: DbConfig,
    troubles: Troubles,
    struck: Arc<Struck>,
    /// How far clocks are off, at most.
    skew_ms: i64,
    seed: u64,
    made: AtomicU64,
    slots: Mutex<Vec<Arc<Gateway>>>,
}

pub struct GatewayOptions {
    pub count: usize,
    pub config: DbConfig,
    pub troubles: Troubles,
    pub skew_ms: i64,
    pub seed: u64,
}

impl Gateways {
    #[must_use]
    pub fn new(
        network: MemoryNetwork,
        stores: Vec<NodeId>,
        options: GatewayOptions,
        struck: Arc<Struck>,
    ) -> Self {
        let GatewayOptions { count, config, troubles, skew_ms, seed } = options;
        let made = AtomicU64::new(0);
        let this =
            Self { network, stores, config, troubles, struck, skew_ms, seed, made, slots: Mutex::default() };
        let slots = (0..count).map(|_| this.open()).collect();
        *this.slots.lock().unwrap_or_else(PoisonError::into_inner) = slots;
        this
    }

    fn open(&self) -> Arc<Gateway> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let (id, seed) =
            (NodeId::new(FIRST_ID + number), self.seed.wrapping_mul(1_000_003).wrapping_add(number));
        let spread = |bits: u64, bound: i64| {
            if bound == 0 { 0 } else { (bits % 1000) as i64 * 2 * bound / 1000 - bound }
        };
        let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let drifting = DriftingClock {
            since: Instant::now(),
            offset_ns: AtomicI64::new(spread(mixed >> 20, self.skew_ms) * 1_000_000),
            // Up to 30 ms a second.
            drift: AtomicI64::new(spread(mixed >> 40, if self.skew_ms == 0 { 0 } else { 30_000 })),
            bound_ns: self.skew_ms * 1_000_000,
        };
        let clock = Arc::new(drifting);
        let hybrid = Arc::new(Clock::new(clock.clone(), MAX_OFFSET));
        let transport = self.network.transport(id, hybrid.clone());
        let wire = Wire::new(transport, self.troubles, self.struck.clone(), seed);
        let db = Db::new(DbOptions {
            clock: hybrid,
            node_id: id,
            transport: wire.clone(),
            local: None,
            seed,
            config: self.config.clone(),
        });
        db.set_nodes(self.stores.clone());
        // What had left before it died arrives; what is answered does not.
        let (network, watched) = (self.network.clone(), wire.clone());
        tokio::spawn(async move {
            watched.dead().await;
            tokio::time::sleep(Duration::from_millis(2)).await;
            network.disconnect(id);
        });
        Arc::new(Gateway { db, wire, id, clock })
    }

    /// The gateway of a slot: a new one if the last has died.
    #[must_use]
    pub fn get(&self, slot: usize) -> Arc<Gateway> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slot % slots.len();
        if slots[slot].wire.is_dead() {
            slots[slot] = self.open();
        }
        slots[slot].clone()
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// From here on none is troubled.
    pub fn calm(&self) {
        for gateway in self.slots.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            gateway.wire.calm();
        }
    }

    /// Takes all away.
    pub fn stop(&self) {
        for gateway in self.slots.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            self.network.disconnect(gateway.id);
        }
    }
}
