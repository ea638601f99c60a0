//! A transport whose calls meet with trouble at telling moments: what goes wrong is drawn for each call as it is sent,
//! so that a commit of several messages breaks between any two of them.
//!
//! ```text
//! slow        the call arrives late, so that what was sent after it overtakes it
//! late        the resolution of what a transaction has left comes late: others meet it, after its end was decided
//! stalled     it arrives about when its transaction is taken for dead, and everything sent a few milliseconds later waits as long, heartbeats too
//! refused     nothing reaches that node for a while, and the caller is told so
//! unanswered  it is executed, and the connection breaks before the answer
//! death       it is lost, and nothing is sent or heard any more
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use keys::{NodeId, TxnId};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use replica::api::{BatchRequest, Request};
use rpc::{Lane, RpcError, Service, ServiceId, Transport};
use tokio::{sync::watch, time::Instant};

/// How much likelier trouble is for a batch that writes: reads are more, and break less.
const WRITES_WEIGH: f64 = 6.0;
/// And for one that belongs to a commit whose record has just been sent: there is nothing before it that breaks as much.
const COMMITS_WEIGH: f64 = 30.0;
/// What is sent so long after the record of a commit, of the same transaction, belongs to that commit.
const COMMIT_LASTS: Duration = Duration::from_millis(20);

/// How often each trouble comes, of one call of a client's lane; of one that writes, [`WRITES_WEIGH`] times as often.
#[derive(Clone, Copy, Debug, Default)]
pub struct Troubles {
    pub slow: f64,
    /// How late, at most.
    pub slow_ms: u64,
    /// Of a resolution, whatever else is drawn.
    pub late_resolve: f64,
    pub stall: f64,
    /// About as long as it takes for others to take its transactions for dead.
    pub stall_ms: u64,
    pub refuse: f64,
    /// How long, at most.
    pub refuse_ms: u64,
    pub unanswered: f64,
    pub death: f64,
}

/// How often each kind of fault struck.
#[derive(Debug, Default)]
pub struct Struck(Mutex<BTreeMap<&'static str, u64>>);

impl Struck {
    pub fn note(&self, what: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
    }

    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Default)]
struct State {
    is_calm: bool,
    /// Everything sent from `.0` on leaves at `.1`.
    stalled: Option<(Instant, Instant)>,
    refused: HashMap<NodeId, Instant>,
    /// Whose record was sent last, and when.
    committing: Option<(TxnId, Instant)>,
}

impl State {
    /// How much likelier trouble is for a batch.
    fn weigh(&mut self, batch: &BatchRequest, now: Instant) -> f64 {
        let txn = batch.header.txn.as_ref().map(|txn| txn.meta.id);
        let stages = |request: &Request| matches!(request, Request::EndTxn { in_flight, .. } if !in_flight.is_empty());
        if batch.requests.iter().any(stages) {
            self.committing = txn.map(|txn| (txn, now));
            return WRITES_WEIGH;
        }
        if !batch.requests.iter().any(Request::is_write) {
            return 1.0;
        }
        let belongs = self.committing.is_some_and(|(of, at)| Some(of) == txn && now - at < COMMIT_LASTS);
        if belongs { COMMITS_WEIGH } else { WRITES_WEIGH }
    }
}

fn resolves(batch: &BatchRequest) -> bool {
    batch.requests.iter().any(|request| matches!(request, Request::ResolveSpan { .. }))
}

/// The troubled transport of one node. Only the lane of clients' requests is troubled, but for stalls.
pub struct Wire {
    inner: Arc<dyn Transport>,
    troubles: Troubles,
    struck: Arc<Struck>,
    rng: Mutex<SmallRng>,
    state: Mutex<State>,
    death: watch::Sender<bool>,
}

enum Fate {
    Goes,
    Late(Instant),
    Refused,
    Unanswered,
    Lost,
}

impl Wire {
    #[must_use]
    pub fn new(inner: Arc<dyn Transport>, troubles: Troubles, struck: Arc<Struck>, seed: u64) -> Arc<Self> {
        let rng = Mutex::new(SmallRng::seed_from_u64(seed));
        Arc::new(Self {
            inner,
            troubles,
            struck,
            rng,
            state: Mutex::default(),
            death: watch::Sender::new(false),
        })
    }

    /// From here on nothing goes wrong any more.
    pub fn calm(&self) {
        self.state().is_calm = true;
    }

    /// The node is gone: nothing it sends arrives, and it hears nothing.
    pub fn die(&self) {
        if !self.death.send_replace(true) {
            self.struck.note("gateway killed");
        }
    }

    #[must_use]
    pub fn is_dead(&self) -> bool {
        *self.death.borrow()
    }

    /// Returns when the node is gone.
    pub async fn dead(&self) {
        let mut death = self.death.subscribe();
        // The sender is `self`'s, so it cannot be gone before.
        let _dead = death.wait_for(|is_dead| *is_dead).await;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self, to: NodeId, lane: Lane, payload: &Bytes) -> Fate {
        if self.is_dead() {
            return Fate::Lost;
        }
        let now = Instant::now();
        let mut state = self.state();
        // As of a process that stands still: others take its transactions for dead.
        if let Some((from, until)) = state.stalled
            && (from..until).contains(&now)
        {
            return Fate::Late(until);
        }
        if lane != Lane::Client {
            return Fate::Goes;
        }
        if state.refused.get(&to).is_some_and(|until| now < *until) {
            return Fate::Refused;
        }
        if state.is_calm {
            return Fate::Goes;
        }
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = replica::api::decode::<BatchRequest>(payload).ok();
        let slow_ms = self.troubles.slow_ms.max(6);
        if batch.as_ref().is_some_and(resolves) && rng.random_bool(self.troubles.late_resolve) {
            self.struck.note("resolution late");
            return Fate::Late(now + Duration::from_millis(rng.random_range(5..slow_ms)));
        }
        let weight = batch.map_or(1.0, |batch| state.weigh(&batch, now));
        let mut drawn = rng.random_range(0.0..1.0) / weight;
        let mut strikes = |chance: f64| {
            drawn -= chance;
            drawn < 0.0 && drawn >= -chance
        };
        if strikes(self.troubles.death) {
            drop((rng, state));
            self.die();
            return Fate::Lost;
        }
        if strikes(self.troubles.stall) {
            let ms = self.troubles.stall_ms.max(2);
            let late = now + Duration::from_millis(rng.random_range(ms..ms * 3 / 2));
            let others = now + Duration::from_millis(rng.random_range(ms..ms * 3 / 2));
            // What belongs together is sent at once: the rest of it passes.
            state.stalled = Some((now + Duration::from_millis(rng.random_range(1..20)), others));
            self.struck.note("message stalled");
            return Fate::Late(late);
        }
        if strikes(self.troubles.refuse) {
            state.refused.insert(to, now + Duration::from_millis(rng.random_range(50..self.troubles.refuse_ms.max(51))));
            self.struck.note("connection refused");
            return Fate::Refused;
        }
        if strikes(self.troubles.unanswered) {
            self.struck.note("answer lost");
            return Fate::Unanswered;
        }
        if strikes(self.troubles.slow) {
            self.struck.note("message slow");
            return Fate::Late(now + Duration::from_millis(rng.random_range(5..slow_ms)));
        }
        Fate::Goes
    }
}

#[async_trait]
impl Transport for Wire {
    async fn call(
        &self,
        to: NodeId,
        lane: Lane,
        service: ServiceId,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, RpcError> {
        let no_answer = || RpcError::NoAnswer { to: to.to_string(), after: timeout };
        match self.draw(to, lane, &payload) {
            Fate::Goes => self.inner.call(to, lane, service, payload, timeout).await,
            Fate::Unanswered => {
                let _heard_by_nobody = self.inner.call(to, lane, service, payload, timeout).await;
                Err(no_answer())
            }
            Fate::Refused => {
                Err(RpcError::Unreachable { to: to.to_string(), reason: "connection refused".into() })
            }
            Fate::Lost => {
                tokio::time::sleep(timeout).await;
                Err(no_answer())
            }
            Fate::Late(at) => {
                let inner = self.inner.clone();
                // It is under way: a caller that does not wait any more does not call it back.
                let exchange = tokio::spawn(async move {
                    tokio::time::sleep_until(at).await;
                    inner.call(to, lane, service, payload, timeout).await
                });
                match tokio::time::timeout(timeout, exchange).await {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(_)) | Err(_) => Err(no_answer()),
                }
            }
        }
    }

    async fn call_address(
        &self,
        address: &str,
        service: ServiceId,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, RpcError> {
        self.inner.call_address(address, service, payload, timeout).await
    }

    fn register(&self, service: ServiceId, handler: Arc<dyn Service>) {
        self.inner.register(service, handler);
    }

    fn is_reachable(&self, node: NodeId) -> bool {
        self.inner.is_reachable(node)
    }

    fn spawn_urgent(&self, task: BoxFuture<'static, ()>) {
        self.inner.spawn_urgent(task);
    }

    fn set_address(&self, node: NodeId, address: String) {
        self.inner.set_address(node, address);
    }

    fn address(&self, node: NodeId) -> Option<String> {
        self.inner.address(node)
    }

    fn local_node(&self) -> Option<NodeId> {
        self.inner.local_node()
    }

    fn set_local_node(&self, node: NodeId) {
        self.inner.set_local_node(node);
    }
}
