//! What statements cost, counted where they end: for `pg_stat_statements`, `pg_stat_database`, and the console.
//!
//! ```text
//!  a statement ends ──▶ the node's latencies, its database's counters     atomics
//!                  └──▶ its fingerprint's entry                           found beside its plan, or by the text's hash
//! ```
//! A statement of the plan cache has its entry at hand. The text of any other is read into its fingerprint and looked up.
//! What it costs: two readings of the clock, a handful of relaxed additions and one mutex that sessions share only if they
//! run the same statement: measured by `cost_of_counting` below.
//!
//! **Invariants**
//! - *counted-once*: a statement that a client sends is counted once, however often it was run again inside; what routines
//!   run is part of the statement that calls them.
//! - *bounded-entries*: there are at most [`ENTRIES_MAX`]; where there would be more, the least used of them go. An entry that
//!   went counts nothing any more: who still has it at hand looks for another.

mod fingerprint;
mod latency;

use std::{
    hash::Hasher,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::{Mutex, RwLock};
use rustc_hash::{FxHashMap, FxHasher};

pub(crate) use fingerprint::{Parameters, fingerprint};
pub use latency::{BUCKETS, quantile_ms};
use latency::bucket_of;

/// As `pg_stat_statements.max`.
pub(crate) const ENTRIES_MAX: usize = 5000;
const SHARDS: usize = 16;
const SHARD_MAX: usize = ENTRIES_MAX / SHARDS;

/// What the statements of a node have cost.
pub struct StatementStatistics {
    /// By fingerprint, user and database, hashed to 64 bits, as PostgreSQL finds them.
    shards: [Mutex<FxHashMap<u64, Arc<Entry>>>; SHARDS],
    databases: RwLock<FxHashMap<u32, Arc<DatabaseCounters>>>,
    latencies: [AtomicU64; BUCKETS],
    statements: AtomicU64,
    errors: AtomicU64,
    rows: AtomicU64,
    /// How often entries had to go.
    dropped: AtomicU64,
    /// When all entries were forgotten last, in microseconds since 2000; 0 for never.
    reset_at: AtomicI64,
}

impl Default for StatementStatistics {
    fn default() -> Self {
        Self {
            shards: Default::default(),
            databases: RwLock::default(),
            latencies: [const { AtomicU64::new(0) }; BUCKETS],
            statements: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            reset_at: AtomicI64::new(0),
        }
    }
}

/// What was counted of one statement.
#[derive(Debug)]
pub(crate) struct Entry {
    pub database: u32,
    pub user: u32,
    pub query_id: i64,
    pub text: Box<str>,
    has_gone: AtomicBool,
    numbers: Mutex<Numbers>,
}

#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    pub calls: u64,
    pub errors: u64,
    pub rows: u64,
    pub total_ns: u64,
    pub min_ns: u64,
    pub max_ns: u64,
    /// Of the calls, in milliseconds: the mean, and the sum of the squares of the distances from it.
    mean: f64,
    squares: f64,
    latencies: [u32; BUCKETS],
    /// Calls and errors; halved whenever entries have to go.
    used: u64,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            calls: 0,
            errors: 0,
            rows: 0,
            total_ns: 0,
            min_ns: 0,
            max_ns: 0,
            mean: 0.0,
            squares: 0.0,
            latencies: [0; BUCKETS],
            used: 0,
        }
    }
}

impl Numbers {
    fn note(&mut self, took_ns: u64, ended: Ended) {
        self.used += 1;
        let Ended::Done { rows, .. } = ended else {
            self.errors += 1;
            return;
        };
        self.min_ns = if self.calls == 0 { took_ns } else { self.min_ns.min(took_ns) };
        self.max_ns = self.max_ns.max(took_ns);
        self.calls += 1;
        self.rows += rows;
        self.total_ns = self.total_ns.saturating_add(took_ns);
        // Welford's way, which does not lose small differences of large numbers.
        let took_ms = took_ns as f64 / 1e6;
        let distance = took_ms - self.mean;
        self.mean += distance / self.calls as f64;
        self.squares += distance * (took_ms - self.mean);
        let bucket = &mut self.latencies[bucket_of(took_ns)];
        *bucket = bucket.saturating_add(1);
    }

    pub fn mean_ms(&self) -> f64 {
        self.mean
    }

    pub fn deviation_ms(&self) -> f64 {
        if self.calls == 0 { 0.0 } else { (self.squares / self.calls as f64).sqrt() }
    }

    fn quantile_ms(&self, share: f64) -> Option<f64> {
        quantile_ms(&self.latencies.map(u64::from), share)
    }
}

impl Entry {
    pub fn numbers(&self) -> Numbers {
        self.numbers.lock().clone()
    }

    /// False: it has gone, and nothing was counted.
    fn note(&self, took_ns: u64, ended: Ended) -> bool {
        let mut numbers = self.numbers.lock();
        if self.has_gone.load(Relaxed) {
            return false;
        }
        numbers.note(took_ns, ended);
        true
    }
}

/// How a statement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Done { what: Changed, rows: u64 },
    Failed { is_deadlock: bool },
}

/// What the rows of a command tag are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    Inserted,
    Updated,
    Deleted,
    /// To the client.
    Returned,
    Nothing,
}

impl Ended {
    /// By the command tag.
    pub fn by_tag(tag: &str) -> Self {
        let rows = tag.rsplit_once(' ').and_then(|(_, number)| number.parse::<u64>().ok());
        let Some(rows) = rows else { return Self::Done { what: Changed::Nothing, rows: 0 } };
        let what = match tag.as_bytes() {
            [b'I', ..] => Changed::Inserted,
            [b'U', ..] => Changed::Updated,
            [b'D', b'E', b'L', ..] => Changed::Deleted,
            [b'S' | b'F', ..] => Changed::Returned,
            _ => Changed::Nothing,
        };
        Self::Done { what, rows }
    }
}

/// What was counted of the sessions of one database, on this node.
#[derive(Debug, Default)]
pub(crate) struct DatabaseCounters {
    pub commits: AtomicU64,
    pub rollbacks: AtomicU64,
    pub returned: AtomicU64,
    pub inserted: AtomicU64,
    pub updated: AtomicU64,
    pub deleted: AtomicU64,
    pub deadlocks: AtomicU64,
    pub sessions: AtomicU64,
    pub active_ns: AtomicU64,
}

impl DatabaseCounters {
    fn note(&self, took_ns: u64, ended: Ended) {
        self.active_ns.fetch_add(took_ns, Relaxed);
        let (counter, by) = match ended {
            Ended::Failed { is_deadlock: true } => (&self.deadlocks, 1),
            Ended::Failed { is_deadlock: false } | Ended::Done { what: Changed::Nothing, .. } => return,
            Ended::Done { what: Changed::Inserted, rows } => (&self.inserted, rows),
            Ended::Done { what: Changed::Updated, rows } => (&self.updated, rows),
            Ended::Done { what: Changed::Deleted, rows } => (&self.deleted, rows),
            Ended::Done { what: Changed::Returned, rows } => (&self.returned, rows),
        };
        counter.fetch_add(by, Relaxed);
    }
}

/// The counters of a node at one moment.
#[derive(Clone, Debug)]
pub struct Totals {
    pub statements: u64,
    pub errors: u64,
    pub rows: u64,
    pub commits: u64,
    pub rollbacks: u64,
    /// Statements by how long they took: for [`quantile_ms`].
    pub latencies: Vec<u64>,
}

/// One statement of [`StatementStatistics::rows`].
#[derive(Clone, Debug)]
pub struct StatementRow {
    pub database: u32,
    pub user: u32,
    pub query_id: i64,
    /// Without its literals.
    pub text: String,
    pub calls: u64,
    pub errors: u64,
    pub rows: u64,
    pub total_ms: f64,
    pub mean_ms: f64,
    pub max_ms: f64,
    pub p99_ms: Option<f64>,
}

/// Who runs which statement.
#[derive(Clone, Copy)]
pub(crate) struct Whose {
    pub database: u32,
    pub user: u32,
}

fn hash(text: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(text.as_bytes());
    hasher.finish()
}

impl StatementStatistics {
    /// The entry of a statement, by its text without literals; it is made if there is none.
    pub(crate) fn entry(&self, whose: Whose, text: &str) -> Arc<Entry> {
        let query = hash(text);
        let mut hasher = FxHasher::default();
        hasher.write_u64(query);
        hasher.write_u32(whose.database);
        hasher.write_u32(whose.user);
        let key = hasher.finish();
        let mut shard = self.shards[(key >> 32) as usize % SHARDS].lock();
        if let Some(entry) = shard.get(&key) {
            return entry.clone();
        }
        if shard.len() >= SHARD_MAX {
            self.make_room(&mut shard);
        }
        let entry = Arc::new(Entry {
            database: whose.database,
            user: whose.user,
            query_id: query.cast_signed(),
            text: text.into(),
            has_gone: AtomicBool::new(false),
            numbers: Mutex::default(),
        });
        shard.insert(key, entry.clone());
        entry
    }

    /// *bounded-entries*: a tenth go, and what was used long ago counts half from now on.
    fn make_room(&self, shard: &mut FxHashMap<u64, Arc<Entry>>) {
        let halved = |entry: &Entry| {
            let mut numbers = entry.numbers.lock();
            numbers.used /= 2;
            numbers.used
        };
        let mut used: Vec<(u64, u64)> = shard.iter().map(|(key, entry)| (halved(entry), *key)).collect();
        used.sort_unstable();
        for (_, key) in used.into_iter().take(SHARD_MAX.div_ceil(10)) {
            if let Some(entry) = shard.remove(&key) {
                let _until_it_is_marked = entry.numbers.lock();
                entry.has_gone.store(true, Relaxed);
            }
        }
        self.dropped.fetch_add(1, Relaxed);
    }

    /// A statement has ended. `at_hand` is its entry, if it is known; `find` looks for it.
    pub(crate) fn note(
        &self,
        database: &DatabaseCounters,
        at_hand: Option<&Entry>,
        find: impl FnOnce() -> Arc<Entry>,
        took_ns: u64,
        ended: Ended,
    ) {
        self.statements.fetch_add(1, Relaxed);
        match ended {
            Ended::Done { rows, .. } => {
                self.latencies[bucket_of(took_ns)].fetch_add(1, Relaxed);
                if rows > 0 {
                    self.rows.fetch_add(rows, Relaxed);
                }
            }
            Ended::Failed { .. } => {
                self.errors.fetch_add(1, Relaxed);
            }
        }
        database.note(took_ns, ended);
        if !at_hand.is_some_and(|entry| entry.note(took_ns, ended)) {
            // It may go at the same moment: then this one is not counted.
            let _counted = find().note(took_ns, ended);
        }
    }

    /// A statement that was counted has given more rows to its client.
    pub(crate) fn note_rows(&self, database: &DatabaseCounters, entry: &Entry, rows: u64) {
        self.rows.fetch_add(rows, Relaxed);
        database.returned.fetch_add(rows, Relaxed);
        entry.numbers.lock().rows += rows;
    }

    /// The counters of a database.
    pub(crate) fn database(&self, id: u32) -> Arc<DatabaseCounters> {
        if let Some(known) = self.databases.read().get(&id) {
            return known.clone();
        }
        self.databases.write().entry(id).or_default().clone()
    }

    /// Forgets statements: of this user, this database, this query; none is any.
    pub(crate) fn reset(&self, user: Option<u32>, database: Option<u32>, query: Option<i64>, now: i64) {
        let is_meant = |entry: &Entry| {
            user.is_none_or(|it| it == entry.user)
                && database.is_none_or(|it| it == entry.database)
                && query.is_none_or(|it| it == entry.query_id)
        };
        for shard in &self.shards {
            shard.lock().retain(|_, entry| {
                let goes = is_meant(entry);
                if goes {
                    let _until_it_is_marked = entry.numbers.lock();
                    entry.has_gone.store(true, Relaxed);
                }
                !goes
            });
        }
        if user.is_none() && database.is_none() && query.is_none() {
            self.dropped.store(0, Relaxed);
            self.reset_at.store(now, Relaxed);
        }
    }

    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        self.shards.iter().flat_map(|shard| shard.lock().values().cloned().collect::<Vec<_>>()).collect()
    }

    /// How often entries had to go, and when all were forgotten last.
    pub(crate) fn info(&self) -> (u64, Option<i64>) {
        let reset_at = self.reset_at.load(Relaxed);
        (self.dropped.load(Relaxed), (reset_at != 0).then_some(reset_at))
    }

    /// Those that have taken most of the time, first.
    #[must_use]
    pub fn rows(&self, limit: usize) -> Vec<StatementRow> {
        let mut entries: Vec<(Arc<Entry>, u64)> =
            self.entries().into_iter().map(|entry| { let total = entry.numbers.lock().total_ns; (entry, total) }).collect();
        entries.sort_by_key(|(_, total)| std::cmp::Reverse(*total));
        let row = |(entry, _): (Arc<Entry>, u64)| {
            let numbers = entry.numbers();
            StatementRow {
                database: entry.database,
                user: entry.user,
                query_id: entry.query_id,
                text: entry.text.to_string(),
                calls: numbers.calls,
                errors: numbers.errors,
                rows: numbers.rows,
                total_ms: numbers.total_ns as f64 / 1e6,
                mean_ms: numbers.mean_ms(),
                max_ms: numbers.max_ns as f64 / 1e6,
                p99_ms: numbers.quantile_ms(0.99).map(|found| found.min(numbers.max_ns as f64 / 1e6)),
            }
        };
        entries.into_iter().take(limit).map(row).collect()
    }

    /// The counters as they stand.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let databases = self.databases.read();
        let sum = |of: fn(&DatabaseCounters) -> &AtomicU64| databases.values().map(|it| of(it).load(Relaxed)).sum();
        Totals {
            statements: self.statements.load(Relaxed),
            errors: self.errors.load(Relaxed),
            rows: self.rows.load(Relaxed),
            commits: sum(|it| &it.commits),
            rollbacks: sum(|it| &it.rollbacks),
            latencies: self.latencies.iter().map(|count| count.load(Relaxed)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOSE: Whose = Whose { database: 5, user: 10 };

    fn run(statistics: &StatementStatistics, text: &str, took_ns: u64, tag: &str) {
        let database = statistics.database(WHOSE.database);
        statistics.note(&database, None, || statistics.entry(WHOSE, text), took_ns, Ended::by_tag(tag));
    }

    #[test]
    fn what_is_counted_adds_up() {
        let statistics = StatementStatistics::default();
        for (took, tag) in [(1_000_000, "UPDATE 2"), (3_000_000, "UPDATE 4"), (5_000_000, "UPDATE 0")] {
            run(&statistics, "UPDATE t", took, tag);
        }
        run(&statistics, "SELECT $1", 2_000_000, "SELECT 1");
        run(&statistics, "BEGIN", 1000, "BEGIN");
        let rows = statistics.rows(10);
        let [update, ..] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((update.text.as_str(), update.calls, update.rows), ("UPDATE t", 3, 6));
        assert!((update.mean_ms - 3.0).abs() < 1e-9 && (update.max_ms - 5.0).abs() < 1e-9, "{update:?}");
        let entry = statistics.entry(WHOSE, "UPDATE t");
        assert!((entry.numbers().deviation_ms() - (8.0_f64 / 3.0).sqrt()).abs() < 1e-9);
        let totals = statistics.totals();
        assert_eq!((totals.statements, totals.rows, totals.errors), (5, 7, 0));
        let database = statistics.database(WHOSE.database);
        assert_eq!((database.updated.load(Relaxed), database.returned.load(Relaxed)), (6, 1));
    }

    #[test]
    fn bounded_entries() {
        let statistics = StatementStatistics::default();
        for number in 0..3 * ENTRIES_MAX {
            run(&statistics, "SELECT often", 1000, "SELECT 1");
            run(&statistics, &format!("SELECT a{number}"), 1000, "SELECT 1");
        }
        let rows = statistics.rows(usize::MAX);
        assert!(rows.len() <= ENTRIES_MAX, "{}", rows.len());
        let often = rows.iter().find(|row| row.text == "SELECT often").expect("what is used stays");
        assert_eq!(often.calls, 3 * ENTRIES_MAX as u64);
        assert!(statistics.info().0 > 0);
    }

    #[test]
    fn an_entry_that_went_counts_nothing() {
        let statistics = StatementStatistics::default();
        let entry = statistics.entry(WHOSE, "SELECT 1");
        statistics.reset(None, None, None, 7);
        let database = statistics.database(WHOSE.database);
        statistics.note(&database, Some(&entry), || statistics.entry(WHOSE, "SELECT 1"), 1, Ended::by_tag("SELECT 1"));
        assert_eq!((entry.numbers().calls, statistics.rows(1)[0].calls), (0, 1));
        assert_eq!(statistics.info(), (0, Some(7)));
        statistics.reset(Some(11), None, None, 8);
        assert_eq!(statistics.rows(9).len(), 1, "another user's");
    }

    #[test]
    fn tags_say_what_was_done() {
        let done = |what, rows| Ended::Done { what, rows };
        for (tag, expected) in [
            ("INSERT 0 3", done(Changed::Inserted, 3)),
            ("UPDATE 2", done(Changed::Updated, 2)),
            ("DELETE 1", done(Changed::Deleted, 1)),
            ("SELECT 5", done(Changed::Returned, 5)),
            ("FETCH 4", done(Changed::Returned, 4)),
            ("COPY 9", done(Changed::Nothing, 9)),
            ("BEGIN", done(Changed::Nothing, 0)),
            ("CREATE TABLE", done(Changed::Nothing, 0)),
        ] {
            assert_eq!(Ended::by_tag(tag), expected, "{tag}");
        }
    }

    /// Printed, not judged: `cargo nextest run -p session cost_of_counting --no-capture`.
    #[test]
    fn cost_of_counting() {
        let statistics = StatementStatistics::default();
        let database = statistics.database(WHOSE.database);
        let entry = statistics.entry(WHOSE, "SELECT a FROM t WHERE b = $1");
        let each = |what: &str, body: &dyn Fn()| {
            let begun = std::time::Instant::now();
            (0..100_000).for_each(|_| body());
            println!("{what}: {} ns", begun.elapsed().as_nanos() / 100_000);
        };
        let ended = Ended::by_tag("SELECT 1");
        each("with its entry at hand", &|| {
            statistics.note(&database, Some(&entry), || unreachable!("it is there"), 70_000, ended);
        });
        each("by its text", &|| {
            let find = || statistics.entry(WHOSE, &fingerprint("SELECT a FROM t WHERE b = 17", Parameters::Renumbered));
            statistics.note(&database, None, find, 70_000, ended);
        });
    }
}
