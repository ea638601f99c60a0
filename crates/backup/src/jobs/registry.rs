//! The jobs of a cluster as a node sees them: it begins those of its sessions, takes over those that have lost their
//! coordinator, renews the leases of those it works on, and tells its store which versions they still read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use catalog::CatalogStore;
use hlc::{Clock, Timestamp};
use keys::keyspace;
use kv::{Db, Read, ScanOptions, Txn, TxnOptions};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::{sync::watch, task::JoinHandle, time::MissedTickBehavior};
use types::{SqlError, SqlResult, SqlState};
use uuid::Uuid;

use super::{Job, JobError, JobKind, JobStatus, Lease, UnreadableJob, rows};
use crate::{export, import};

/// How often a job is begun again after an error that may pass.
const RETRIES_MAX: u64 = 10;
/// Between two attempts, times their number.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Jobs that ended longer ago are forgotten.
const KEPT: Duration = Duration::from_secs(14 * 24 * 3_600);
/// Between two looks for jobs to forget.
const LOOKS_PER_PRUNE: u64 = 600;
/// How long a waiting statement sleeps between two looks, at first and at most.
const WAIT: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(250)];

/// What a node's store is told: as of when protected times were read, and the oldest.
pub type Protect = Arc<dyn Fn(Timestamp, Option<Timestamp>) + Send + Sync>;

pub struct RegistryOptions {
    pub catalog: CatalogStore,
    pub clock: Arc<Clock>,
    /// What backups say they are of.
    pub cluster: Uuid,
    /// How long a coordinator keeps a job without saying that it is there.
    pub lease: Duration,
    /// How often jobs are looked at.
    pub look_every: Duration,
    pub protect: Option<Protect>,
}

impl RegistryOptions {
    #[must_use]
    pub fn new(catalog: CatalogStore, clock: Arc<Clock>) -> Self {
        let (lease, look_every) = (Duration::from_secs(10), Duration::from_secs(1));
        Self { catalog, clock, cluster: Uuid::nil(), lease, look_every, protect: None }
    }
}

/// See the module.
pub struct Registry {
    pub(crate) options: RegistryOptions,
    running: Mutex<FxHashMap<u64, Running>>,
    /// Jobs that were found unreadable, and logged.
    unreadable: Mutex<BTreeSet<u64>>,
    stopped: AtomicBool,
}

struct Running {
    number: u64,
    signal: watch::Sender<Signal>,
    /// Until when the lease is held, as far as is known here.
    until: Timestamp,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Run,
    Pause,
    Cancel,
    /// Another node has the lease.
    Lost,
}

/// Why work on a job ends before it is done.
#[derive(Debug)]
pub(crate) enum Stopped {
    Paused,
    Canceled,
    Lost,
    Kv(kv::Error),
    Sql(SqlError),
}

impl Stopped {
    pub(crate) fn into_sql(self) -> SqlError {
        match self {
            Self::Sql(error) => error,
            Self::Kv(error) => exec::kv_error(&error),
            Self::Paused => SqlError::new(SqlState::ObjectNotInPrerequisiteState, "the job is paused"),
            Self::Canceled => SqlError::new(SqlState::QueryCanceled, "the job was canceled"),
            Self::Lost => SqlError::internal("another node has taken over the job"),
        }
    }
}

impl From<kv::Error> for Stopped {
    fn from(error: kv::Error) -> Self {
        Self::Kv(error)
    }
}

impl From<SqlError> for Stopped {
    fn from(error: SqlError) -> Self {
        Self::Sql(error)
    }
}

impl From<catalog::CatalogError> for Stopped {
    fn from(error: catalog::CatalogError) -> Self {
        match error {
            catalog::CatalogError::Kv(error) => Self::Kv(error),
            damaged @ catalog::CatalogError::Damaged { .. } => {
                Self::Sql(SqlError::new(SqlState::DataCorrupted, damaged.to_string()))
            }
        }
    }
}

impl kv::AsKvError for Stopped {
    fn as_kv_error(&self) -> Option<&kv::Error> {
        match self {
            Self::Kv(error) => Some(error),
            Self::Paused | Self::Canceled | Self::Lost | Self::Sql(_) => None,
        }
    }
}

/// A job that a statement asks for.
pub struct NewJob {
    pub kind: JobKind,
    /// The statement, without secrets.
    pub statement: String,
    pub user: u32,
    pub user_name: String,
    pub details: Vec<u8>,
    pub protects: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Pause,
    Resume,
    Cancel,
}

impl Verb {
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Pause => "PAUSE JOB",
            Self::Resume => "RESUME JOB",
            Self::Cancel => "CANCEL JOB",
        }
    }

    const fn participle(self) -> &'static str {
        match self {
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Cancel => "canceled",
        }
    }

    /// The status that it leads to from another; none where it cannot be.
    fn apply(self, status: JobStatus) -> Option<JobStatus> {
        use JobStatus as S;
        match (self, status) {
            (Self::Pause, S::Pending | S::Running) => Some(S::PauseRequested),
            (Self::Pause, S::PauseRequested | S::Paused) => Some(status),
            (Self::Resume, S::Paused) => Some(S::Running),
            (Self::Resume, S::Pending | S::Running) => Some(status),
            (Self::Cancel, S::Pending | S::Running | S::PauseRequested | S::Paused) => Some(S::CancelRequested),
            (Self::Cancel, S::CancelRequested | S::Canceled) => Some(status),
            (Self::Pause, S::CancelRequested | S::Canceled | S::Succeeded | S::Failed)
            | (Self::Resume, S::PauseRequested | S::CancelRequested | S::Canceled | S::Succeeded | S::Failed)
            | (Self::Cancel, S::Succeeded | S::Failed) => None,
        }
    }
}

pub(crate) fn unknown_job(id: u64) -> SqlError {
    SqlError::new(SqlState::UndefinedObject, format!("job with ID {id} does not exist"))
}

fn unreadable(job: &UnreadableJob) -> SqlError {
    let hint = format!("CANCEL JOB {} removes it.", job.id);
    SqlError::new(SqlState::DataCorrupted, job.reason.clone()).with_hint(hint)
}

async fn read_job(txn: &mut Txn, id: u64) -> Result<Job, Stopped> {
    match txn.get(&rows::job(id), Read::default()).await? {
        Some(bytes) => Job::read(id, &bytes).map_err(|job| unreadable(&job).into()),
        None => Err(unknown_job(id).into()),
    }
}

/// A job, or that its record cannot be read.
pub type FoundJob = Result<Job, UnreadableJob>;

/// From when on a job needs versions.
fn protects(job: &FoundJob) -> Option<Timestamp> {
    match job {
        Ok(job) => job.protects.filter(|_| !job.status.has_ended()),
        Err(job) => job.protects,
    }
}

impl Registry {
    #[must_use]
    pub fn new(options: RegistryOptions) -> Arc<Self> {
        Arc::new(Self { options, running: Mutex::default(), unreadable: Mutex::default(), stopped: AtomicBool::new(false) })
    }

    pub(crate) fn db(&self) -> &Db {
        self.options.catalog.db()
    }

    fn lease_until(&self) -> Timestamp {
        self.options.clock.now().add_ns(u64::try_from(self.options.lease.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Looks after jobs for as long as it is polled.
    pub async fn run(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(self.options.look_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for look in 0_u64.. {
            ticks.tick().await;
            if self.stopped.load(Ordering::Acquire) {
                return;
            }
            if let Err(error) = self.look(look % LOOKS_PER_PRUNE == LOOKS_PER_PRUNE - 1).await {
                tracing::debug!(error = %error.into_sql(), "jobs were not looked at");
            }
            self.drop_expired();
        }
    }

    /// Stops what runs here; other nodes go on with it.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        for (_, running) in self.running.lock().drain() {
            running.task.abort();
        }
    }

    async fn look(self: &Arc<Self>, prune: bool) -> Result<(), Stopped> {
        let now = self.options.clock.now();
        let found = self.jobs_as_of(Some(now)).await?;
        if let Some(protect) = &self.options.protect {
            protect(now, found.iter().filter_map(protects).min());
        }
        self.log_unreadable(&found);
        let jobs: Vec<&Job> = found.iter().filter_map(|job| job.as_ref().ok()).collect();
        for job in jobs.iter().filter(|job| job.status.is_active()) {
            // *each-by-itself*
            if let Err(error) = self.look_at(job, now).await {
                tracing::debug!(job = job.id, error = %error.into_sql(), "a job was not looked at");
            }
        }
        if prune {
            let kept = now.sub_ns(u64::try_from(KEPT.as_nanos()).unwrap_or(u64::MAX));
            for job in jobs.iter().filter(|job| job.status.has_ended() && job.finished.is_some_and(|at| at < kept)) {
                self.forget(job.id).await?;
            }
        }
        Ok(())
    }

    async fn look_at(self: &Arc<Self>, job: &Job, now: Timestamp) -> Result<(), Stopped> {
        let here = self.running.lock().get(&job.id).map(|running| (running.number, running.task.is_finished()));
        match here {
            Some((number, _)) if number != job.lease_number => self.signal(job.id, Signal::Lost),
            Some((_, false)) => self.tend(job).await?,
            Some((_, true)) | None => {
                self.running.lock().remove(&job.id);
                let is_free = job.lease.is_none_or(|lease| lease.until < now);
                if is_free && let Some(number) = self.claim(job.id).await? {
                    tracing::info!(job = job.id, "took over a job");
                    self.start(job.id, job.kind, number);
                }
            }
        }
        Ok(())
    }

    /// Once for each.
    fn log_unreadable(&self, found: &[FoundJob]) {
        let unreadable = found.iter().filter_map(|job| job.as_ref().err());
        let mut known = self.unreadable.lock();
        for job in unreadable.clone().filter(|job| !known.contains(&job.id)) {
            tracing::error!(job = job.id, reason = %job.reason, "a job was skipped: its record cannot be read");
        }
        *known = unreadable.map(|job| job.id).collect();
    }

    async fn forget(&self, id: u64) -> Result<(), Stopped> {
        self.db()
            .run(move |txn: &mut Txn| {
                Box::pin(async move {
                    for key in [rows::job(id), rows::details(id), rows::progress(id)] {
                        txn.delete(key);
                    }
                    Ok::<(), Stopped>(())
                })
            })
            .await
    }

    /// Passes requests on to the work, and keeps its lease.
    async fn tend(&self, job: &Job) -> Result<(), Stopped> {
        match job.status {
            JobStatus::PauseRequested => self.signal(job.id, Signal::Pause),
            JobStatus::CancelRequested => self.signal(job.id, Signal::Cancel),
            JobStatus::Pending | JobStatus::Running => {}
            JobStatus::Paused | JobStatus::Canceled | JobStatus::Succeeded | JobStatus::Failed => return Ok(()),
        }
        let (number, until, node) = (job.lease_number, self.lease_until(), self.db().node_id());
        let renewed = self.change(job.id, None, move |job| {
            if job.lease_number != number {
                return Err(Stopped::Lost);
            }
            if job.status.is_active() {
                job.lease = Some(Lease { node, until });
            }
            Ok(())
        });
        match renewed.await {
            Ok(()) => {
                if let Some(running) = self.running.lock().get_mut(&job.id) {
                    running.until = until;
                }
                Ok(())
            }
            Err(Stopped::Lost) => {
                self.signal(job.id, Signal::Lost);
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    /// A lease that could not be renewed in time may be another node's.
    fn drop_expired(&self) {
        let now = self.options.clock.now();
        for running in self.running.lock().values().filter(|running| running.until < now) {
            running.signal.send_replace(Signal::Lost);
        }
    }

    fn signal(&self, id: u64, signal: Signal) {
        if let Some(running) = self.running.lock().get(&id) {
            running.signal.send_replace(signal);
        }
    }

    /// Takes the lease of a job that nobody holds: its number then.
    async fn claim(&self, id: u64) -> Result<Option<u64>, Stopped> {
        let (now, until, node) = (self.options.clock.now(), self.lease_until(), self.db().node_id());
        self.change(id, None, move |job| {
            let is_free = job.lease.is_none_or(|lease| lease.until < now);
            if !job.status.is_active() || !is_free {
                return Ok(None);
            }
            job.lease_number += 1;
            job.lease = Some(Lease { node, until });
            Ok(Some(job.lease_number))
        })
        .await
    }

    /// Changes a job's state, and its progress, in one transaction.
    async fn change<T: Send + 'static>(
        &self,
        id: u64,
        progress: Option<Vec<u8>>,
        change: impl Fn(&mut Job) -> Result<T, Stopped> + Send + Sync + 'static,
    ) -> Result<T, Stopped> {
        let (change, progress) = (Arc::new(change), progress.map(Bytes::from));
        self.db()
            .run(move |txn: &mut Txn| {
                let (change, progress) = (change.clone(), progress.clone());
                Box::pin(async move {
                    let before = read_job(txn, id).await?;
                    let mut job = before.clone();
                    let answer = change(&mut job)?;
                    put(txn, &before, &job, progress);
                    Ok::<T, Stopped>(answer)
                })
            })
            .await
    }

    /// Writes a job down and begins to work on it here.
    ///
    /// # Errors
    /// When its rows cannot be written.
    pub async fn create(self: &Arc<Self>, new: NewJob) -> SqlResult<u64> {
        let kv = |error: kv::Error| exec::kv_error(&error);
        let id = self.db().increment(&keyspace::system("id/job"), 1).await.map_err(kv)?;
        let id = u64::try_from(id).map_err(|_| SqlError::internal("all ids of jobs have been given out"))?;
        let until = self.lease_until();
        let job = Job {
            id,
            kind: new.kind,
            status: JobStatus::Pending,
            statement: new.statement,
            user: new.user,
            user_name: new.user_name,
            created: self.options.clock.now(),
            started: None,
            finished: None,
            done_ppm: 0,
            rows: 0,
            bytes: 0,
            error: None,
            lease_number: 1,
            lease: Some(Lease { node: self.db().node_id(), until }),
            protects: new.protects,
            retries: 0,
        };
        let (state, details): (Bytes, Bytes) = (job.encode().into(), new.details.into());
        let written = self.db().run(move |txn: &mut Txn| {
            let (state, details) = (state.clone(), details.clone());
            Box::pin(async move {
                txn.put(rows::job(id), state);
                txn.put(rows::details(id), details);
                Ok::<(), kv::Error>(())
            })
        });
        written.await.map_err(kv)?;
        self.start(id, job.kind, 1);
        Ok(id)
    }

    fn start(self: &Arc<Self>, id: u64, kind: JobKind, number: u64) {
        if self.stopped.load(Ordering::Acquire) {
            return;
        }
        let (signal, signals) = watch::channel(Signal::Run);
        let context = JobContext { registry: self.clone(), id, number, signals };
        let task = tokio::spawn(work(context, kind));
        self.running.lock().insert(id, Running { number, signal, until: self.lease_until(), task });
    }

    /// PAUSE, RESUME and CANCEL.
    ///
    /// # Errors
    /// 42704 where there is no such job, 55000 where it is not in a state for that.
    pub async fn control(&self, id: u64, verb: Verb) -> SqlResult<()> {
        if verb == Verb::Cancel && self.job(id).await?.is_err() {
            // No node runs it, and its files cannot be known.
            return self.forget(id).await.map_err(Stopped::into_sql);
        }
        let changed = self.change(id, None, move |job| {
            let Some(status) = verb.apply(job.status) else {
                let what = format!("job with status {} cannot be {}", job.status.name(), verb.participle());
                return Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, what).into());
            };
            let was_paused = job.status == JobStatus::Paused;
            job.status = status;
            if was_paused && status != JobStatus::Paused {
                // Whoever looks first takes it.
                job.lease = None;
            }
            Ok(status)
        });
        match changed.await.map_err(Stopped::into_sql)? {
            JobStatus::PauseRequested => self.signal(id, Signal::Pause),
            JobStatus::CancelRequested => self.signal(id, Signal::Cancel),
            _ => {}
        }
        Ok(())
    }

    /// # Errors
    /// 42704.
    pub async fn job(&self, id: u64) -> SqlResult<FoundJob> {
        let found = self.db().get(&rows::job(id)).await.map_err(|error| exec::kv_error(&error))?;
        Ok(Job::read(id, &found.ok_or_else(|| unknown_job(id))?))
    }

    /// # Errors
    /// 42704, and XX001 where its record cannot be read.
    pub async fn readable_job(&self, id: u64) -> SqlResult<Job> {
        self.job(id).await?.map_err(|job| unreadable(&job))
    }

    /// All jobs, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn jobs(&self) -> SqlResult<Vec<FoundJob>> {
        self.jobs_as_of(None).await.map_err(Stopped::into_sql)
    }

    async fn jobs_as_of(&self, as_of: Option<Timestamp>) -> Result<Vec<FoundJob>, Stopped> {
        let mut jobs = Vec::new();
        let as_of = Some(as_of.unwrap_or_else(|| self.options.clock.now()));
        let mut txn = self.db().begin(TxnOptions { as_of, ..TxnOptions::default() });
        let prefix = rows::jobs().start;
        let mut rest = Some(rows::jobs());
        while let Some(span) = rest {
            let page = txn.scan(&span, ScanOptions::default()).await?;
            for (key, value) in page.rows.iter() {
                let id = key.strip_prefix(prefix.as_bytes()).and_then(|id| <[u8; 8]>::try_from(id).ok());
                if let Some(id) = id {
                    jobs.push(Job::read(u64::from_be_bytes(id), value));
                }
            }
            rest = page.resume;
        }
        txn.rollback().await;
        Ok(jobs)
    }

    /// Whether a job reads what was there before a time. Where none does, its storage may go.
    ///
    /// # Errors
    /// When jobs cannot be read.
    pub async fn is_protected(&self, at: Timestamp) -> SqlResult<bool> {
        let jobs = self.jobs().await?;
        Ok(jobs.iter().filter_map(protects).any(|protected| protected < at))
    }

    /// Waits until a job has ended, or is paused.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn wait(&self, id: u64) -> SqlResult<Job> {
        let [mut pause, longest] = WAIT;
        loop {
            let job = self.readable_job(id).await?;
            if job.status.has_ended() || job.status == JobStatus::Paused {
                return Ok(job);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }
}

/// What a job that has ended was to do is forgotten: there are keys in it.
fn put(txn: &mut Txn, before: &Job, job: &Job, progress: Option<Bytes>) {
    if job != before {
        txn.put(rows::job(job.id), job.encode().into());
    }
    if job.status.has_ended() && !before.status.has_ended() {
        txn.delete(rows::details(job.id));
        txn.delete(rows::progress(job.id));
    } else if let Some(progress) = progress {
        txn.put(rows::progress(job.id), progress);
    }
}

/// What the work on a job has of it.
#[derive(Clone)]
pub(crate) struct JobContext {
    pub registry: Arc<Registry>,
    pub id: u64,
    /// Of the lease.
    pub number: u64,
    signals: watch::Receiver<Signal>,
}

impl JobContext {
    pub(crate) fn db(&self) -> &Db {
        self.registry.db()
    }

    /// # Errors
    /// Where the work has to stop. To be called often.
    pub(crate) fn check(&self) -> Result<(), Stopped> {
        match *self.signals.borrow() {
            Signal::Run => Ok(()),
            Signal::Pause => Err(Stopped::Paused),
            Signal::Cancel => Err(Stopped::Canceled),
            Signal::Lost => Err(Stopped::Lost),
        }
    }

    pub(crate) async fn details(&self) -> Result<Bytes, Stopped> {
        let found = self.db().get(&rows::details(self.id)).await?;
        found.ok_or_else(|| SqlError::internal(format!("job {} has no details", self.id)).into())
    }

    pub(crate) async fn progress(&self) -> Result<Option<Bytes>, Stopped> {
        Ok(self.db().get(&rows::progress(self.id)).await?)
    }

    /// *one-coordinator*
    ///
    /// # Errors
    /// `Lost` where another node has the job by now.
    pub(crate) async fn update(
        &self,
        progress: Option<Vec<u8>>,
        change: impl Fn(&mut Job) + Send + Sync + 'static,
    ) -> Result<(), Stopped> {
        let number = self.number;
        self.registry
            .change(self.id, progress, move |job| {
                if job.lease_number != number {
                    return Err(Stopped::Lost);
                }
                change(job);
                Ok(())
            })
            .await
    }

    /// Ends the job within a transaction: *ended-once*.
    pub(crate) async fn succeed_in(&self, txn: &mut Txn, rows: u64, bytes: u64) -> Result<(), Stopped> {
        let before = read_job(txn, self.id).await?;
        if before.lease_number != self.number {
            return Err(Stopped::Lost);
        }
        match before.status {
            JobStatus::CancelRequested => return Err(Stopped::Canceled),
            JobStatus::PauseRequested => return Err(Stopped::Paused),
            JobStatus::Pending
            | JobStatus::Running
            | JobStatus::Paused
            | JobStatus::Canceled
            | JobStatus::Succeeded
            | JobStatus::Failed => {}
        }
        let mut job = before.clone();
        (job.status, job.finished, job.lease) = (JobStatus::Succeeded, Some(self.registry.options.clock.now()), None);
        (job.done_ppm, job.rows, job.bytes) = (1_000_000, rows, bytes);
        put(txn, &before, &job, None);
        Ok(())
    }
}

/// What may be gone when it is done again.
fn may_pass(error: &SqlError) -> bool {
    matches!(
        error.code(),
        SqlState::SerializationFailure
            | SqlState::StatementCompletionUnknown
            | SqlState::CannotConnectNow
            | SqlState::DeadlockDetected
            | SqlState::LockNotAvailable
    )
}

async fn attempt(context: &JobContext, kind: JobKind) -> Result<(), Stopped> {
    context.check()?;
    let now = context.registry.options.clock.now();
    context
        .update(None, move |job| {
            if job.status == JobStatus::Pending {
                job.status = JobStatus::Running;
            }
            job.started.get_or_insert(now);
        })
        .await?;
    match kind {
        JobKind::Backup => export::run(context).await,
        JobKind::Restore => import::run(context).await,
    }
}

async fn clean(context: &JobContext, kind: JobKind) {
    let outcome = match kind {
        JobKind::Backup => export::clean(context).await,
        JobKind::Restore => import::clean(context).await,
    };
    if let Err(error) = outcome {
        tracing::warn!(job = context.id, error = %error.into_sql(), "what a job left behind stays");
    }
}

async fn work(context: JobContext, kind: JobKind) {
    let mut tries = 0;
    let outcome = loop {
        let outcome = match attempt(&context, kind).await {
            Err(Stopped::Kv(error)) => Err(Stopped::Sql(exec::kv_error(&error))),
            other => other,
        };
        match &outcome {
            Err(Stopped::Sql(error)) if may_pass(error) && tries < RETRIES_MAX => {
                tracing::warn!(job = context.id, %error, "a job begins again");
                tries += 1;
                tokio::time::sleep(RETRY_AFTER * u32::try_from(tries).unwrap_or(u32::MAX)).await;
                if let Err(Stopped::Lost) = context.update(None, |job| job.retries += 1).await {
                    break Err(Stopped::Lost);
                }
            }
            _ => break outcome,
        }
    };
    let now = context.registry.options.clock.now();
    let end = |status: JobStatus, error: Option<JobError>| {
        context.update(None, move |job| {
            // It may have ended in a commit whose answer was lost.
            if !job.status.has_ended() {
                job.lease = None;
                // A CANCEL that came after the PAUSE is not lost: whoever looks first takes the job, and cancels it.
                if status == JobStatus::Paused && job.status == JobStatus::CancelRequested {
                    return;
                }
                job.status = status;
                job.error.clone_from(&error);
                job.finished = status.has_ended().then_some(now);
            }
        })
    };
    let ended = match outcome {
        Ok(()) | Err(Stopped::Lost) => return,
        Err(Stopped::Paused) => end(JobStatus::Paused, None).await,
        Err(Stopped::Canceled) => {
            clean(&context, kind).await;
            end(JobStatus::Canceled, None).await
        }
        Err(other) => {
            let error = other.into_sql();
            tracing::warn!(job = context.id, %error, "a job failed");
            clean(&context, kind).await;
            let (code, message) = (error.code().code().to_owned(), error.message().to_owned());
            let (detail, hint) = (error.detail.clone(), error.hint.clone());
            end(JobStatus::Failed, Some(JobError { code, message, detail, hint })).await
        }
    };
    if let Err(error) = ended {
        // Another node takes it over, and comes to the same end.
        tracing::warn!(job = context.id, error = %error.into_sql(), "the end of a job was not written down");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_asked_of_a_job_in_each_state() {
        use JobStatus as S;
        let applied = |verb: Verb| S::ALL.map(|status| verb.apply(status));
        let (pause, cancel) = (Some(S::PauseRequested), Some(S::CancelRequested));
        assert_eq!(applied(Verb::Pause), [pause, pause, pause, Some(S::Paused), None, None, None, None]);
        assert_eq!(applied(Verb::Resume), [Some(S::Pending), Some(S::Running), None, Some(S::Running), None, None, None, None]);
        assert_eq!(applied(Verb::Cancel), [cancel, cancel, cancel, cancel, cancel, Some(S::Canceled), None, None]);
    }
}
