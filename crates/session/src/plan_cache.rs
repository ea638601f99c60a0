//! Statements that sessions share: a text that comes again is neither parsed nor planned again.
//!
//! ```text
//!  text ──▶ known? ── no ──▶ parsed, and kept from its second sight on
//!             └─ yes ─▶ its plan is of this catalog? ── no ──▶ planned, and left for the others
//!                           └─ yes ─▶ run
//! ```
//! A statement lies in the cache under its text, the types given for its parameters, and the [`Scope`] of the session:
//! all that a plan depends on besides the catalog. The plan itself says of which catalogs it is. What is planned inside a
//! transaction that has changed the catalog, or holds what was the time when it was planned, is not shared.
//!
//! A text that comes once takes no memory: only its hash is remembered. Texts with their values written into them, as the
//! simple protocol has them, are looked up by their [`Template`]. The cache is bounded in bytes, and scan-resistant as S3-FIFO is (Yang et al., SOSP 2023).
//!
//! **Invariant (same-scope-same-plan):** a session takes a plan only from a statement whose scope is its own, and only
//! if the plan is of the catalog ([`plan::PreparedPlan::holds_in`]) and the statistics that the session sees.

use std::{
    hash::{Hash, Hasher},
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwapOption;
use exec::NodeReservation;
use parking_lot::Mutex;
use plan::{ParsedStatement, PreparedPlan};
use quick_cache::{
    DefaultHashBuilder, Equivalent, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};
use rustc_hash::FxHasher;
use smallvec::SmallVec;
use types::{Datum, SqlResult, SqlType};

use crate::{
    Session, session::has_row_security, settings::Settings, statistics::Entry, template::Template, text_size,
};

/// What the statements of the cache may take, by estimate.
const CAPACITY: u64 = 32 << 20;

/// A statement's estimate, syntax tree and plan: 6,000 point reads of 30 bytes were measured at 20 KiB each, 3,000 joins
/// of 110 bytes at 40.
const WEIGHT: u64 = 12 << 10;
const WEIGHT_OF_BYTE: u64 = 256;

/// Longer texts are not kept: they are lists of values, and seldom come again.
const TEXT_MAX: usize = 8 << 10;

/// Few enough that the longest text fits into one.
const SHARDS: usize = 8;
const _: () = assert!(WEIGHT + WEIGHT_OF_BYTE * (TEXT_MAX as u64) < CAPACITY / SHARDS as u64);

/// How many hashes of texts that came once are remembered.
const SEEN: usize = 4096;

/// The settings that planning looks at; the path first, by which names are looked up.
const SETTINGS: [&str; 7] =
    ["search_path", "timezone", "datestyle", "intervalstyle", "bytea_output", "extra_float_digits", "row_security"];

/// What plans depend on besides text and catalog.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    database: u32,
    user: String,
    settings: [String; SETTINGS.len()],
}

impl Scope {
    /// Whether names mean the same under both.
    pub fn has_path_of(&self, other: &Self) -> bool {
        let path = &self.settings[0];
        *path == other.settings[0] && (self.user == other.user || !path.contains("$user"))
    }

    /// `temporary` is the schema of temporary objects of a session that has made some: others' names do not mean those.
    pub fn new(database: u32, user: &str, settings: &Settings, temporary: Option<&str>) -> Self {
        let mut settings = SETTINGS.map(|name| settings.get(name).unwrap_or_default().to_owned());
        if let Some(schema) = temporary {
            settings[0].insert_str(0, &format!("{schema}, "));
        }
        Self { database, user: user.to_owned(), settings }
    }
}

/// A statement, and its plan as long as it holds.
#[derive(Debug)]
pub struct Statement {
    pub(crate) parsed: ParsedStatement,
    /// The types that the client gave for parameters.
    hints: Box<[Option<SqlType>]>,
    scope: Arc<Scope>,
    plan: ArcSwapOption<PreparedPlan>,
    /// The catalog's version and the statistics' number under which this, as a template, was of no use.
    unfit: Mutex<Option<(u64, u64)>>,
    /// What a long one takes of the node's memory.
    _memory: Option<NodeReservation>,
    /// Where its runs are counted.
    pub(crate) entry: ArcSwapOption<Entry>,
}

impl Statement {
    pub(crate) fn has_plan(&self) -> bool {
        self.plan.load().is_some()
    }

    /// Leaves a plan for others, unless there is one of a newer catalog.
    fn keep(&self, plan: &Arc<PreparedPlan>) {
        let age = |plan: &PreparedPlan| (plan.catalog_version, plan.statistics_epoch);
        self.plan.rcu(|known| match known {
            Some(known) if age(known) > age(plan) => Some(known.clone()),
            _ => Some(plan.clone()),
        });
    }
}

/// A statement of a query string of the simple protocol, to be run.
pub struct QueryStatement {
    pub(crate) statement: Arc<Statement>,
    pub(crate) of_template: Option<OfTemplate>,
}

/// What makes a statement of a template.
pub(crate) struct OfTemplate {
    pub plan: Arc<PreparedPlan>,
    pub values: Vec<Datum>,
    /// As the client has sent it.
    pub text: Arc<str>,
}

/// The statements of a query string; mostly one.
pub type Statements = SmallVec<[Arc<Statement>; 1]>;

#[derive(Default)]
pub struct PlanCacheMetrics {
    pub hits: AtomicU64,
    pub misses: AtomicU64,
    /// Plans made again because the catalog, statistics or policies were others.
    pub replans: AtomicU64,
}

/// The statements that the sessions of a node share.
pub struct PlanCache {
    statements: Cache<Known, Arc<Statement>, Weight>,
    /// By hash modulo length: the hash of a text that came and was not kept.
    seen: Box<[AtomicU64]>,
    metrics: PlanCacheMetrics,
}

impl Default for PlanCache {
    fn default() -> Self {
        let options = OptionsBuilder::new()
            .estimated_items_capacity((CAPACITY / (2 * WEIGHT)) as usize)
            .weight_capacity(CAPACITY)
            .shards(SHARDS)
            .build()
            .expect("all that is asked for is given");
        let (hashes, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self {
            statements: Cache::with_options(options, Weight, hashes, lifecycle),
            seen: (0..SEEN).map(|_| AtomicU64::new(0)).collect(),
            metrics: PlanCacheMetrics::default(),
        }
    }
}

impl PlanCache {
    #[must_use]
    pub fn metrics(&self) -> &PlanCacheMetrics {
        &self.metrics
    }

    /// Statements kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The statements of a text.
    ///
    /// # Errors
    /// As [`plan::parse`].
    fn read(&self, text: &str, hints: &[Option<SqlType>], scope: &Arc<Scope>) -> SqlResult<Statements> {
        if text.len() > TEXT_MAX {
            return parse(text, hints, scope);
        }
        let key = Key { text, hints, scope };
        if let Some(statement) = self.statements.get(&key) {
            self.metrics.hits.fetch_add(1, Relaxed);
            return Ok(Statements::from_iter([statement]));
        }
        self.metrics.misses.fetch_add(1, Relaxed);
        let statements = parse(text, hints, scope)?;
        if let [statement] = &*statements
            && statement.parsed.is_worth_sharing()
            && self.has_seen(&key)
        {
            self.statements.insert(Known(statement.clone()), statement.clone());
        }
        Ok(statements)
    }

    /// The statement of a template: one that has come before and reads as one statement.
    fn read_template(&self, template: &Template, scope: &Arc<Scope>) -> Option<Arc<Statement>> {
        let hints = template.hints();
        let key = Key { text: &template.text, hints: &hints, scope };
        if let Some(statement) = self.statements.get(&key) {
            return Some(statement);
        }
        if !self.has_seen(&key) {
            return None;
        }
        let [statement] = parse(&template.text, &hints, scope).ok()?.into_inner().ok()?;
        if statement.parsed.is_worth_sharing() {
            self.statements.insert(Known(statement.clone()), statement.clone());
        }
        Some(statement)
    }

    /// Whether the text came before; remembers that it has come.
    fn has_seen(&self, key: &Key<'_>) -> bool {
        let mut hasher = FxHasher::default();
        key.hash(&mut hasher);
        // Zero stands for none.
        let hash = hasher.finish() | 1;
        self.seen[(hash >> 1) as usize % SEEN].swap(hash, Relaxed) == hash
    }
}

fn parse(text: &str, hints: &[Option<SqlType>], scope: &Arc<Scope>) -> SqlResult<Statements> {
    let statement = |parsed| {
        Arc::new(Statement {
            parsed,
            hints: hints.into(),
            scope: scope.clone(),
            plan: ArcSwapOption::empty(),
            unfit: Mutex::default(),
            _memory: None,
            entry: ArcSwapOption::empty(),
        })
    };
    Ok(plan::parse(text)?.into_iter().map(statement).collect())
}

/// What a statement is found by.
#[derive(PartialEq, Eq, Hash)]
struct Key<'a> {
    text: &'a str,
    hints: &'a [Option<SqlType>],
    scope: &'a Scope,
}

/// A statement of the cache, as its own key.
#[derive(Clone)]
struct Known(Arc<Statement>);

impl Known {
    fn key(&self) -> Key<'_> {
        Key { text: self.0.parsed.source(), hints: &self.0.hints, scope: &self.0.scope }
    }
}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Known {}

impl Equivalent<Known> for Key<'_> {
    fn equivalent(&self, known: &Known) -> bool {
        *self == known.key()
    }
}

#[derive(Clone)]
struct Weight;

impl Weighter<Known, Arc<Statement>> for Weight {
    fn weight(&self, _key: &Known, statement: &Arc<Statement>) -> u64 {
        WEIGHT + WEIGHT_OF_BYTE * statement.parsed.source().len() as u64
    }
}

impl Deref for Statement {
    type Target = ParsedStatement;

    fn deref(&self) -> &ParsedStatement {
        &self.parsed
    }
}

impl Session {
    /// The statements of a query string; `hints` are the types that a client has given for parameters.
    ///
    /// # Errors
    /// 42601 with the position of the first offending token.
    pub fn read(&self, text: &str, hints: &[Option<SqlType>]) -> SqlResult<Statements> {
        let scope = &self.environment().scope;
        let Some(memory) = text_size::reserve(&self.engine.memory, text)? else {
            return self.engine.plans.read(text, hints, scope);
        };
        let mut statements = exec::aside(|| self.engine.plans.read(text, hints, scope))?;
        if let Some(statement) = statements.first_mut().and_then(Arc::get_mut) {
            statement._memory = Some(memory);
        }
        Ok(statements)
    }

    /// The statements of a query string of the simple protocol: as [`Session::read`], but one whose plan is known but for
    /// its literals is not parsed.
    ///
    /// # Errors
    /// As [`Session::read`].
    pub fn read_query(&self, text: &str) -> SqlResult<SmallVec<[QueryStatement; 1]>> {
        if let Some(statement) = self.read_by_template(text) {
            return Ok(SmallVec::from_iter([statement]));
        }
        let statements = self.read(text, &[])?;
        Ok(statements.into_iter().map(|statement| QueryStatement { statement, of_template: None }).collect())
    }

    fn read_by_template(&self, text: &str) -> Option<QueryStatement> {
        if text.len() > TEXT_MAX || self.has_changed_catalog() || !self.settings.is_on("standard_conforming_strings") {
            return None;
        }
        let template = Template::of(text)?;
        let plans = &self.engine.plans;
        let environment = self.environment();
        let statement = plans.read_template(&template, &environment.scope)?;
        let now = (environment.view.catalog.version(self.database), environment.view.catalog.statistics().epoch());
        if *statement.unfit.lock() == Some(now) {
            return None;
        }
        // What was the time when it was planned is another in the next text.
        let fits = |plan: &Arc<PreparedPlan>| {
            plan.serves_any_value && !plan.reads_clock && !has_row_security(plan) && template.fits(plan)
        };
        let plan = self.plan_of(&statement).ok().filter(fits);
        let Some(plan) = plan else {
            *statement.unfit.lock() = Some(now);
            return None;
        };
        let values = template.values(&plan, &self.settings.formatting)?;
        plans.metrics.hits.fetch_add(1, Relaxed);
        Some(QueryStatement { statement, of_template: Some(OfTemplate { plan, values, text: text.into() }) })
    }

    /// A statement's plan, another session's where it may be: *same-scope-same-plan*.
    pub(crate) fn plan_of(&self, statement: &Statement) -> SqlResult<Arc<PreparedPlan>> {
        let is_shared = statement.parsed.is_worth_sharing()
            && !self.has_changed_catalog()
            && *self.environment().scope == *statement.scope;
        if is_shared && let Some(plan) = statement.plan.load_full() {
            if self.is_current(&plan) {
                return Ok(plan);
            }
            self.engine.plans.metrics.replans.fetch_add(1, Relaxed);
        }
        let plan = Arc::new(self.plan(&statement.parsed, &statement.hints)?);
        if is_shared && !plan.reads_clock {
            statement.keep(&plan);
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(user: &str) -> Arc<Scope> {
        Arc::new(Scope::new(5, user, &Settings::default(), None))
    }

    #[test]
    fn a_text_is_kept_from_its_second_sight_on() {
        let cache = PlanCache::default();
        let read = |text: &str, user: &str| cache.read(text, &[], &scope(user)).unwrap().remove(0);
        for number in 0..1000 {
            read(&format!("SELECT {number}"), "a");
        }
        assert_eq!(cache.len(), 0, "texts that come once take nothing");
        let [_, second, third] = [(); 3].map(|()| read("SELECT $1", "a"));
        assert!(Arc::ptr_eq(&second, &third));
        assert!(!Arc::ptr_eq(&third, &read("SELECT $1", "b")), "another user's");
        let hinted = |ty| cache.read("SELECT $1", &[Some(ty)], &scope("a")).unwrap().remove(0);
        assert!(!Arc::ptr_eq(&third, &hinted(SqlType::Int4)), "other types");
        for _ in 0..3 {
            read("CREATE TABLE t (a int)", "a");
            assert_eq!(cache.read("SELECT 1; SELECT 2", &[], &scope("a")).unwrap().len(), 2);
        }
        assert_eq!((cache.len(), cache.metrics().hits.load(Relaxed)), (1, 1), "neither definitions nor lists of statements");
    }

    #[test]
    fn the_cache_is_bounded() {
        let cache = PlanCache::default();
        let filler = "x".repeat(TEXT_MAX - 100);
        for number in 0..200 {
            for _ in 0..2 {
                cache.read(&format!("SELECT '{number} {filler}'"), &[], &scope("a")).unwrap();
            }
        }
        let weight = WEIGHT + WEIGHT_OF_BYTE * filler.len() as u64;
        let most = CAPACITY / weight;
        assert!((most / 2..=most).contains(&(cache.len() as u64)), "{} statements", cache.len());
    }
}
