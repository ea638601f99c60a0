//! A transport whose calls meet with trouble at telling moments: what goes wrong is drawn for each call as it is sent,
//! so that a commit of several messages breaks between any two of them.
//!
//! ```text
//! slow        the call arrives late, so that what was sent after it overtakes it
//! stalled     it arrives after seconds, and everything sent a few milliseconds later waits as long
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
use keys::NodeId;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use replica::api::{BatchRequest, Request};
use rpc::{Lane, RpcError, Service, ServiceId, Transport};
use tokio::{sync::watch, time::Instant};

/// How much likelier trouble is for a batch that writes: reads are more, and break less.
const WRITES_WEIGH: f64 = 6.0;

/// How often each trouble comes, of one call of a client's lane; of one that writes, [`WRITES_WEIGH`] times as often.
#[derive(Clone, Copy, Debug, Default)]
pub struct Troubles {
    pub slow: f64,
    pub stall: f64,
    pub refuse: f64,
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
}

/// The troubled transport of one node. Only the lane of clients' requests is troubled.
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
        if lane != Lane::Client {
            return Fate::Goes;
        }
        let now = Instant::now();
        let mut state = self.state();
        if let Some((from, until)) = state.stalled
            && (from..until).contains(&now)
        {
            return Fate::Late(until);
        }
        if state.refused.get(&to).is_some_and(|until| now < *until) {
            return Fate::Refused;
        }
        if state.is_calm {
            return Fate::Goes;
        }
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let writes = replica::api::decode::<BatchRequest>(payload)
            .is_ok_and(|batch| batch.requests.iter().any(Request::is_write));
        let mut drawn = rng.random_range(0.0..1.0) / if writes { WRITES_WEIGH } else { 1.0 };
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
            let length = || Duration::from_millis(3100);
            let late = now + length() + Duration::from_millis(rng.random_range(0..1500));
            let others = now + length() + Duration::from_millis(rng.random_range(0..1500));
            // What belongs together is sent at once: the rest of it passes.
            state.stalled = Some((now + Duration::from_millis(rng.random_range(1..20)), others));
            self.struck.note("message stalled");
            return Fate::Late(late);
        }
        if strikes(self.troubles.refuse) {
            state.refused.insert(to, now + Duration::from_millis(rng.random_range(300..1500)));
            self.struck.note("connection refused");
            return Fate::Refused;
        }
        if strikes(self.troubles.unanswered) {
            self.struck.note("answer lost");
            return Fate::Unanswered;
        }
        if strikes(self.troubles.slow) {
            self.struck.note("message slow");
            return Fate::Late(now + Duration::from_millis(rng.random_range(5..120)));
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
