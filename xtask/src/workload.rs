//! TPC-B over pgbench's tables that survives lost connections and remembers what it was told.
//!
//! pgbench ends a client whose connection breaks, and keeps no record. Here each transaction writes a tag of its own
//! into `pgbench_history.filler`, and its outcome is one of three:
//!
//! - *acknowledged*: COMMIT was answered, so the row must be there for ever;
//! - *maybe*: the connection broke, or the server said 40003, after COMMIT was sent: the row may be there or not;
//! - *refused*: anything else; the row must not be there.
//!
//! The same tag goes into a second table, of other ranges: a transaction is there in both or in neither. Some write a row
//! twice, so that what was written out early is written again.
//!
//! Deliberately left out: rates. This load is for finding losses; `pgbench` measures.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{runtime::Runtime, task::JoinHandle, time::timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, Statement};

use crate::command::{Error, IoContext, Result};

/// A transaction that takes longer is given up; its connection is closed.
const PATIENCE: Duration = Duration::from_secs(20);
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
const BETWEEN_CONNECTS: Duration = Duration::from_millis(20);

/// Its keys lie anywhere, so that it is in many ranges once it has grown.
const TAGS: &str = "CREATE TABLE IF NOT EXISTS load_tags (tag text PRIMARY KEY, delta int NOT NULL)";

/// What became of the transactions so far.
#[derive(Default)]
pub struct Record {
    pub acknowledged: HashSet<String>,
    /// With what the client was told instead.
    pub maybe: HashMap<String, String>,
    /// How often each SQLSTATE came, and `lost` and `late` for connections.
    pub errors: HashMap<String, u64>,
    /// By node: when the last acknowledged transaction began.
    pub last_begun: Vec<Option<Instant>>,
}

struct Shared {
    stop: AtomicBool,
    tags: AtomicU64,
    record: Mutex<Record>,
}

/// Clients that go on until [`Load::stop`].
pub struct Load {
    runtime: Runtime,
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

/// How a transaction ended that was not acknowledged.
enum Ended {
    Refused(String),
    Maybe(String),
}

impl Load {
    /// Starts `clients` for the nodes in turn.
    pub fn start(nodes: &[SocketAddr], clients: usize, scale: u32, seed: u64) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("starting the load's thread")?;
        let table = async { connect_only(nodes[0]).await?.batch_execute(TAGS).await };
        let made: std::result::Result<_, tokio_postgres::Error> = runtime.block_on(table);
        made.map_err(|error| Error::Failed { command: format!("making the table of tags: {error:?}") })?;
        let record = Record { last_begun: vec![None; nodes.len()], ..Record::default() };
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), tags: AtomicU64::new(0), record: Mutex::new(record) });
        let clients = (0..clients)
            .map(|number| {
                let node = number % nodes.len();
                let client = TpcB {
                    shared: shared.clone(),
                    node,
                    address: nodes[node],
                    scale: scale.cast_signed(),
                    random: StdRng::seed_from_u64(seed.wrapping_add(number as u64)),
                };
                runtime.spawn(client.run())
            })
            .collect();
        Ok(Self { runtime, shared, clients })
    }

    /// Looks at the record, with the load stopped while it does.
    pub fn look<T>(&self, at: impl FnOnce(&mut Record) -> T) -> T {
        at(&mut self.shared.record.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets each client finish its transaction, and gives the whole record.
    pub fn stop(mut self) -> Result<Record> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            let ended = self.runtime.block_on(client);
            ended.map_err(|error| Error::Failed { command: format!("a client of the load: {error}") })?;
        }
        Ok(self.look(std::mem::take))
    }
}

impl Record {
    fn acknowledge(&mut self, node: usize, begun: Instant, tag: String) {
        self.last_begun[node] = self.last_begun[node].max(Some(begun));
        self.acknowledged.insert(tag);
    }
}

struct TpcB {
    shared: Arc<Shared>,
    node: usize,
    address: SocketAddr,
    scale: i32,
    random: StdRng,
}

struct Statements {
    update_account: Statement,
    read_account: Statement,
    update_teller: Statement,
    update_branch: Statement,
    insert_history: Statement,
    insert_tag: Statement,
}

impl TpcB {
    async fn run(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            match timeout(CONNECT_PATIENCE, connect(self.address)).await {
                Ok(Ok((client, statements))) => self.work(client, &statements).await,
                // The node is down, or not ready to plan yet.
                Ok(Err(_)) | Err(_) => tokio::time::sleep(BETWEEN_CONNECTS).await,
            }
        }
    }

    /// Transactions, until the connection is of no more use.
    async fn work(&mut self, mut client: Client, statements: &Statements) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let tag = format!("t{}", self.shared.tags.fetch_add(1, Ordering::Relaxed));
            let mut is_committing = false;
            let transaction = self.transaction(&mut client, statements, &tag, &mut is_committing);
            let outcome = match timeout(PATIENCE, transaction).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(judge(&error, is_committing)),
                Err(_) if is_committing => Err(Ended::Maybe("late".into())),
                Err(_) => Err(Ended::Refused("late".into())),
            };
            let mut record = self.shared.record.lock().unwrap_or_else(PoisonError::into_inner);
            let reason = match outcome {
                Ok(()) => {
                    record.acknowledge(self.node, begun, tag);
                    continue;
                }
                Err(Ended::Maybe(reason)) => {
                    record.maybe.insert(tag, reason.clone());
                    reason
                }
                Err(Ended::Refused(reason)) => reason,
            };
            let is_over = reason == "late" || client.is_closed();
            *record.errors.entry(reason).or_default() += 1;
            if is_over {
                return;
            }
        }
    }

    async fn transaction(
        &mut self,
        client: &mut Client,
        statements: &Statements,
        tag: &str,
        is_committing: &mut bool,
    ) -> std::result::Result<(), tokio_postgres::Error> {
        let account = self.random.random_range(1..=100_000 * self.scale);
        let teller = self.random.random_range(1..=10 * self.scale);
        let branch = self.random.random_range(1..=self.scale);
        let delta = self.random.random_range(-5000..=5000);
        // Dropped unfinished, it rolls back.
        let transaction = client.transaction().await?;
        transaction.execute(&statements.update_account, &[&delta, &account]).await?;
        transaction.query_one(&statements.read_account, &[&account]).await?;
        transaction.execute(&statements.update_teller, &[&delta, &teller]).await?;
        transaction.execute(&statements.update_branch, &[&delta, &branch]).await?;
        transaction.execute(&statements.insert_tag, &[&tag, &delta]).await?;
        transaction.execute(&statements.insert_history, &[&teller, &branch, &account, &delta, &tag]).await?;
        if self.random.random_bool(0.3) {
            // Away and back: the account holds the same, in a later write.
            for delta in [1, -1] {
                transaction.execute(&statements.update_account, &[&delta, &account]).await?;
            }
        }
        *is_committing = true;
        transaction.commit().await
    }
}

/// What an error means for the transaction.
fn judge(error: &tokio_postgres::Error, is_committing: bool) -> Ended {
    let reason = error.code().map_or("lost", SqlState::code).to_owned();
    // A server that answers a COMMIT with an error says that nothing was done, but for 40003, whose meaning is that it
    // does not know, and for the class 57, with which it goes away.
    let is_unknown = match error.code() {
        None => true,
        Some(code) => *code == SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN || code.code().starts_with("57"),
    };
    if is_committing && is_unknown { Ended::Maybe(reason) } else { Ended::Refused(reason) }
}

async fn connect(address: SocketAddr) -> std::result::Result<(Client, Statements), tokio_postgres::Error> {
    let client = connect_only(address).await?;
    let statements = Statements {
        update_account: client.prepare("UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2").await?,
        read_account: client.prepare("SELECT abalance FROM pgbench_accounts WHERE aid = $1").await?,
        update_teller: client.prepare("UPDATE pgbench_tellers SET tbalance = tbalance + $1 WHERE tid = $2").await?,
        update_branch: client.prepare("UPDATE pgbench_branches SET bbalance = bbalance + $1 WHERE bid = $2").await?,
        insert_history: client
            .prepare(
                "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime, filler) \
                 VALUES ($1, $2, $3, $4, CURRENT_TIMESTAMP, $5)",
            )
            .await?,
        insert_tag: client.prepare("INSERT INTO load_tags (tag, delta) VALUES ($1, $2)").await?,
    };
    Ok((client, statements))
}

pub async fn connect_only(address: SocketAddr) -> std::result::Result<Client, tokio_postgres::Error> {
    let text = format!("host={} port={} user=postgres dbname=postgres", address.ip(), address.port());
    let (client, connection) = tokio_postgres::connect(&text, NoTls).await?;
    tokio::spawn(async move {
        // Ends with the client or the node; the client's next call tells of it.
        let _ended = connection.await;
    });
    Ok(client)
}

/// Tries a query until the node answers it.
pub fn await_query(address: SocketAddr, query: &str, within: Duration) -> Result {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting a thread")?;
    let answered = async {
        loop {
            if let Ok(client) = connect_only(address).await
                && client.simple_query(query).await.is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    runtime
        .block_on(async { timeout(within, answered).await })
        .map_err(|_| Error::Failed { command: format!("waiting for an answer to {query} of {address}") })
}

/// What a node answers when all is quiet: the four sums, and how often each tag is in the history.
pub struct Books {
    /// Of `abalance`, `tbalance`, `bbalance` and the history's `delta`.
    pub sums: [i64; 4],
    pub tags: HashMap<String, u64>,
    /// Those of the second table.
    pub seconds: HashSet<String>,
}

async fn sums(client: &Client) -> std::result::Result<[i64; 4], tokio_postgres::Error> {
    let mut sums = [0; 4];
    let parts = [("abalance", "accounts"), ("tbalance", "tellers"), ("bbalance", "branches"), ("delta", "history")];
    for (sum, (column, table)) in sums.iter_mut().zip(parts) {
        let query = format!("SELECT coalesce(sum({column}), 0)::bigint FROM pgbench_{table}");
        *sum = client.query_one(&query, &[]).await?.get(0);
    }
    Ok(sums)
}

/// Reads the sums of [`Books`] through one node.
pub fn read_sums(address: SocketAddr) -> Result<[i64; 4]> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting a thread")?;
    let read = async { sums(&connect_only(address).await?).await };
    let outcome: std::result::Result<_, tokio_postgres::Error> = runtime.block_on(read);
    outcome.map_err(|error| Error::Failed { command: format!("reading the sums on {address}: {error:?}") })
}

/// Reads the books through one node.
pub fn read_books(address: SocketAddr) -> Result<Books> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting a thread")?;
    let read = async {
        let client = connect_only(address).await?;
        let sums = sums(&client).await?;
        let mut tags = HashMap::new();
        for row in client.query("SELECT filler FROM pgbench_history", &[]).await? {
            // A char(22): padded with blanks.
            let filler: &str = row.get(0);
            *tags.entry(filler.trim_end().to_owned()).or_default() += 1;
        }
        let seconds = client.query("SELECT tag FROM load_tags", &[]).await?;
        let seconds = seconds.iter().map(|row| row.get(0)).collect();
        Ok(Books { sums, tags, seconds })
    };
    let outcome: std::result::Result<Books, tokio_postgres::Error> = runtime.block_on(read);
    outcome.map_err(|error| Error::Failed { command: format!("reading the books on {address}: {error:?}") })
}

impl Books {
    /// What is wrong with them, given what the clients were told: one line each, nothing when all is well.
    pub fn audit(&self, record: &Record) -> Vec<String> {
        let mut faults = Vec::new();
        if self.sums.iter().any(|sum| *sum != self.sums[0]) {
            faults.push(format!("the sums differ: {:?}", self.sums));
        }
        let lost = record.acknowledged.iter().filter(|tag| !self.tags.contains_key(*tag)).count();
        if lost > 0 {
            faults.push(format!("{lost} acknowledged rows are lost"));
        }
        let doubled = self.tags.values().filter(|count| **count > 1).count();
        if doubled > 0 {
            faults.push(format!("{doubled} rows are there more than once"));
        }
        let expected = |tag: &String| record.acknowledged.contains(tag) || record.maybe.contains_key(tag);
        let partly = self.tags.keys().filter(|tag| !self.seconds.contains(*tag)).count()
            + self.seconds.iter().filter(|tag| !self.tags.contains_key(*tag)).count();
        if partly > 0 {
            faults.push(format!("{partly} transactions are there in part"));
        }
        let refused = self.tags.keys().filter(|tag| !expected(tag)).count();
        if refused > 0 {
            faults.push(format!("{refused} rows are there whose transactions were refused"));
        }
        faults
    }
}

impl Books {
    /// Of the transactions whose clients were told nothing certain: for each thing they were told, how many are there and
    /// how many are not.
    pub fn count_maybes(&self, record: &Record) -> BTreeMap<String, (u64, u64)> {
        let mut counts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for (tag, told) in &record.maybe {
            let (there, not_there) = counts.entry(told.clone()).or_default();
            if self.tags.contains_key(tag) { *there += 1 } else { *not_there += 1 }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books(sums: [i64; 4], tags: &[(&str, u64)]) -> Books {
        let seconds = tags.iter().map(|(tag, _)| (*tag).to_owned()).collect();
        Books { sums, tags: tags.iter().map(|(tag, count)| ((*tag).to_owned(), *count)).collect(), seconds }
    }

    #[test]
    fn each_kind_of_fault_is_seen() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<HashSet<_>>();
        let maybe = HashMap::from([("m".to_owned(), "40003".to_owned())]);
        let record = Record { acknowledged: names(&["a", "b"]), maybe, ..Record::default() };
        let check = |books: Books, expected: &[&str]| assert_eq!(books.audit(&record), expected);
        check(books([5; 4], &[("a", 1), ("b", 1)]), &[]);
        check(books([5; 4], &[("a", 1), ("b", 1), ("m", 1)]), &[]);
        check(books([5, 5, 5, 6], &[("a", 1), ("b", 1)]), &["the sums differ: [5, 5, 5, 6]"]);
        check(books([5; 4], &[("a", 1)]), &["1 acknowledged rows are lost"]);
        check(books([5; 4], &[("a", 1), ("b", 2)]), &["1 rows are there more than once"]);
        let torn = Books { seconds: names(&["a"]), ..books([5; 4], &[("a", 1), ("b", 1)]) };
        check(torn, &["1 transactions are there in part"]);
        let counts = |books: Books| books.count_maybes(&record)["40003"];
        assert_eq!((counts(books([5; 4], &[])), counts(books([5; 4], &[("m", 1)]))), ((0, 1), (1, 0)));
        check(books([5; 4], &[("a", 1), ("b", 1), ("r", 1)]), &["1 rows are there whose transactions were refused"]);
    }
}
