//! BACKUP: all rows as of one time, into files, and then the manifest that names them.
//!
//! ```text
//! 1  the catalog as of the end; the indexes to be read, cut at the bounds of ranges: parts
//! 2  part by part, a few at a time: rows as of the end ─▶ data/<id>       (incremental: versions since the last backup)
//! 3  CHECKPOINT every few seconds: parts that are done, with their files
//! 4  MANIFEST, if there is none yet; then the job has succeeded
//! ```
//! Transactions do not wait for a backup: it reads old versions, which the job protects from garbage collection.
//!
//! **Invariant (manifest-last):** the manifest is written when all files that it names are durable, and never again: where a
//! coordinator finds one, the backup is made. Names of files are random, so that a coordinator that has lost the
//! job overwrites no file of its successor.
//!
//! Versions that an incremental backup needs may have been collected. Then the part is read whole as of the end, and the
//! manifest says so. Ranges in which nothing was collected, those that nothing was written to among them, are never read whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use catalog::{Descriptor, StoredRow};
use futures::{StreamExt, stream};
use hlc::Timestamp;
use keys::tagged::{Malformed, Reader, Writer};
use keys::{Key, Span};
use kv::{Read, ScanOptions, Txn, TxnOptions};
use tokio::time::Instant;
use types::{SqlError, SqlResult, SqlState};
use uuid::Uuid;

use crate::blocks::BlockWriter;
use crate::chain::{Chain, LAYERS};
use crate::envelope::{self, ENCRYPTION_FILE, FileKey, Kind};
use crate::jobs::{JobContext, JobStatus, Stopped};
use crate::large_objects;
use crate::location::{Location, Mode};
use crate::manifest::{FileEntry, IndexSpan, MANIFEST_FILE, Manifest, PartSpan, Revision, sha256};
use crate::select::{self, Objects};
use crate::stamp;
use crate::tasks::{BackupTask, Target};

const CHECKPOINT_FILE: &str = "CHECKPOINT";
/// Parts that are read at one time.
const PARTS_AT_ONCE: usize = 4;
/// What one request answers.
const PAGE_BYTES: u64 = 1 << 20;
/// A file ends when it takes so much, or what is in it did.
const FILE_BYTES: usize = 8 << 20;
const FILE_RAW_BYTES: u64 = 32 << 20;
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);

fn broken(what: &str, error: &Malformed) -> SqlError {
    SqlError::new(SqlState::DataCorrupted, format!("{what} is damaged: {error}"))
}

struct Backup {
    context: JobContext,
    task: BackupTask,
    dir: Location,
    throttle: Throttle,
}

/// The catalog as a backup has it.
struct Content {
    objects: Objects,
    stored: BTreeMap<u32, Bytes>,
    privileges: Vec<(u32, Bytes)>,
    roles: Vec<(u32, String)>,
    spans: BTreeSet<IndexSpan>,
    sequences: Vec<(u32, i64)>,
    statistics: Vec<(u32, Bytes)>,
    /// None where not all of them are there any more.
    revisions: Option<Vec<Revision>>,
}

/// A part of an index, to be read as of the end or, where it was in the backup before, from then on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    span: PartSpan,
    after: Option<Timestamp>,
}

/// What is done.
#[derive(Default)]
struct Progress {
    /// Parts that are left.
    left: Vec<Part>,
    files: Vec<FileEntry>,
    whole: Vec<PartSpan>,
    count: usize,
}

impl Progress {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.list(2, self.left.iter().map(|part| {
            let mut inner = Writer::default();
            inner.bytes(2, &part.span.encode());
            if let Some(after) = part.after {
                inner.bytes(4, &stamp::encode(after));
            }
            inner.finish()
        }));
        writer.list(4, self.files.iter().map(FileEntry::encode));
        writer.list(6, self.whole.iter().map(PartSpan::encode));
        writer.number(8, self.count as u64, 0);
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let mut left = Vec::new();
        for item in reader.list(2)? {
            let mut inner = Reader::new(item)?;
            let span = PartSpan::decode(inner.bytes(2)?.ok_or(Malformed::Bad(2))?)?;
            let after = inner.bytes(4)?.map(|bytes| stamp::decode(4, Some(bytes))).transpose()?;
            inner.finish()?;
            left.push(Part { span, after });
        }
        let files = reader.list(4)?.into_iter().map(FileEntry::decode).collect::<Result<_, _>>()?;
        let whole = reader.list(6)?.into_iter().map(PartSpan::decode).collect::<Result<_, _>>()?;
        let count = usize::try_from(reader.number(8, 0)?).map_err(|_| Malformed::Bad(8))?;
        reader.finish()?;
        Ok(Self { left, files, whole, count })
    }

    fn rows(&self, objects: &Objects) -> u64 {
        let primary: BTreeSet<IndexSpan> = objects.values().filter_map(primary_span).collect();
        self.files.iter().filter(|file| primary.contains(&file.of)).map(|file| file.entries).sum()
    }

    fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.raw_bytes).sum()
    }
}

fn primary_span(descriptor: &Descriptor) -> Option<IndexSpan> {
    match descriptor {
        Descriptor::Table(table) => select::spans_of(table).into_iter().next(),
        _ => None,
    }
}

/// Bounds how much is read in a second.
struct Throttle {
    per_second: u64,
    free_at: tokio::sync::Mutex<Instant>,
}

impl Throttle {
    async fn take(&self, bytes: u64) {
        if self.per_second == 0 || bytes == 0 {
            return;
        }
        let until = {
            let mut free_at = self.free_at.lock().await;
            let from = (*free_at).max(Instant::now());
            *free_at = from + Duration::from_secs_f64(bytes as f64 / self.per_second as f64);
            from
        };
        tokio::time::sleep_until(until).await;
    }
}

/// Where a backup goes.
fn directory(task: &BackupTask, mode: Mode) -> SqlResult<Location> {
    let full = Location::open(&task.uri, mode)?.child(&task.path);
    Ok(match &task.layer {
        Some(name) => full.child(LAYERS).child(name),
        None => full,
    })
}

async fn task_of(context: &JobContext) -> Result<BackupTask, Stopped> {
    Ok(BackupTask::decode(&context.details().await?).map_err(|error| broken("a job", &error))?)
}

pub(crate) async fn run(context: &JobContext) -> Result<(), Stopped> {
    let task = task_of(context).await?;
    let dir = directory(&task, Mode::Write)?;
    claim(context, &dir).await?;
    if let Some((made, _)) = Manifest::find(&dir, task.key.as_ref()).await? {
        // *manifest-last*: the answer to whoever made it was lost.
        return succeed(context, &made).await;
    }
    let full = Location::open(&task.uri, Mode::Write)?.child(&task.path);
    let parent = match &task.layer {
        Some(_) => Some(Chain::open(&full, task.key.clone()).await?),
        None => {
            if let Some(file) = &task.encryption {
                full.put(ENCRYPTION_FILE, Bytes::from(file.clone())).await?;
            }
            None
        }
    };
    let throttle = Throttle { per_second: task.rate_limit, free_at: tokio::sync::Mutex::new(Instant::now()) };
    let backup = Backup { context: context.clone(), task, dir, throttle };
    backup.make(&full, parent).await
}

/// Makes the directory this job's. Two backups as of the same time would have the same one: the later is refused, and what
/// is there stays (*own-files-only*).
async fn claim(context: &JobContext, dir: &Location) -> Result<(), Stopped> {
    if context.progress().await?.is_some() {
        return Ok(());
    }
    if !dir.list().await?.is_empty() {
        let message = format!("there is a backup of that time in \"{}\" already", dir.shown(""));
        return Err(SqlError::new(SqlState::DuplicateFile, message).with_hint("Use another location or time.").into());
    }
    context.update(Some(b"claimed".to_vec()), |_| {}).await
}

async fn succeed(context: &JobContext, manifest: &Manifest) -> Result<(), Stopped> {
    let objects = select::decode(manifest.descriptors.iter().map(|(id, bytes)| (*id, &bytes[..])))?;
    let done = Progress { files: manifest.files.clone(), ..Progress::default() };
    let (rows, bytes, context) = (done.rows(&objects), done.bytes(), context.clone());
    let db = context.db().clone();
    db.run(move |txn: &mut Txn| {
        let context = context.clone();
        Box::pin(async move { context.succeed_in(txn, rows, bytes).await })
    })
    .await
}

/// Removes what a backup that is not to be has written.
///
/// **Invariant (own-files-only):** only the holder of the job's lease does so, in a directory that the job has claimed.
pub(crate) async fn clean(context: &JobContext) -> Result<(), Stopped> {
    context.update(None, |_| {}).await?;
    if context.progress().await?.is_none() {
        return Ok(());
    }
    let task = task_of(context).await?;
    let dir = directory(&task, Mode::Write)?;
    dir.delete(MANIFEST_FILE).await?;
    for name in dir.list().await? {
        dir.delete(&name).await?;
    }
    Ok(())
}

/// All rows of a span as a transaction sees them.
async fn scan_all(txn: &mut Txn, span: Span) -> Result<Vec<(Vec<u8>, Bytes)>, kv::Error> {
    let (mut rows, mut rest) = (Vec::new(), Some(span));
    while let Some(span) = rest {
        let page = txn.scan(&span, ScanOptions { max_bytes: PAGE_BYTES, ..ScanOptions::default() }).await?;
        for at in 0..page.rows.len() {
            rows.push((page.rows.key_bytes(at).to_vec(), page.rows.value_bytes(at)));
        }
        rest = page.resume;
    }
    Ok(rows)
}

impl Backup {
    async fn make(&self, full: &Location, parent: Option<Chain>) -> Result<(), Stopped> {
        let before = parent.as_ref().map(|chain| chain.layers.last().expect("a chain has a full backup"));
        let mut content = self.content(before.map(|layer| &layer.manifest)).await?;
        let mut progress = match self.checkpoint().await? {
            Some(found) => found,
            None => {
                let known: BTreeSet<IndexSpan> = before.iter().flat_map(|layer| layer.manifest.spans.iter().copied()).collect();
                let left = self.parts(&content, &known, before.map(|layer| layer.manifest.end)).await?;
                Progress { count: left.len(), left, ..Progress::default() }
            }
        };
        self.read_parts(&mut progress, &content.objects).await?;
        self.advance_sequences(&mut content).await?;
        let manifest = self.manifest(content, progress, before.map(|layer| (layer.manifest.end, layer.sum)));
        self.context.check()?;
        let sealed = manifest.seal(self.task.key.as_ref())?;
        let own = sha256(&sealed);
        let made = match self.dir.put_new(MANIFEST_FILE, sealed).await? {
            true => manifest,
            false => {
                let missing = || SqlError::internal("a manifest that was there is not");
                Manifest::find(&self.dir, self.task.key.as_ref()).await?.ok_or_else(missing)?.0
            }
        };
        if self.task.layer.is_some() {
            let chain = Chain::open(full, self.task.key.clone()).await?;
            if chain.layers.iter().all(|layer| layer.sum != own && layer.manifest != made) {
                let message = "another incremental backup was made at the same time";
                return Err(SqlError::new(SqlState::ObjectInUse, message).with_hint("Make this one again.").into());
            }
        }
        let kept: BTreeSet<&str> = made.files.iter().map(|file| file.name.as_str()).collect();
        for name in self.dir.list().await? {
            if name == CHECKPOINT_FILE || name.starts_with("data/") && !kept.contains(name.as_str()) {
                self.dir.delete(&name).await?;
            }
        }
        let outcome = succeed(&self.context, &made).await;
        if let Err(Stopped::Lost) = &outcome {
            // Another coordinator may have given the job up, and removed its files, before the manifest was here.
            let job = self.context.registry.readable_job(self.context.id).await?;
            if job.status.has_ended() && job.status != JobStatus::Succeeded {
                self.dir.delete(MANIFEST_FILE).await?;
            }
        }
        outcome
    }

    fn manifest(&self, content: Content, mut progress: Progress, parent: Option<(Timestamp, [u8; 32])>) -> Manifest {
        progress.files.sort_by(|a, b| (a.of, &a.first).cmp(&(b.of, &b.first)));
        let has_history = self.task.revision_history && parent.is_some() && content.revisions.is_some();
        Manifest {
            cluster: self.context.registry.options.cluster,
            start: parent.map(|(end, _)| end),
            end: self.task.end,
            has_history,
            target: self.task.target.clone(),
            descriptors: content.stored.into_iter().collect(),
            privileges: content.privileges,
            roles: content.roles,
            files: progress.files,
            spans: content.spans.into_iter().collect(),
            whole: if parent.is_some() { progress.whole } else { Vec::new() },
            sequences: content.sequences,
            statistics: content.statistics,
            revisions: content.revisions.filter(|_| has_history).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            parent: parent.map(|(_, sum)| sum),
        }
    }

    async fn checkpoint(&self) -> Result<Option<Progress>, Stopped> {
        let Some(file) = self.dir.find(CHECKPOINT_FILE).await? else { return Ok(None) };
        let shown = self.dir.shown(CHECKPOINT_FILE);
        let contents = envelope::open(Kind::Checkpoint, CHECKPOINT_FILE, &shown, &file, self.task.key.as_ref())?;
        Ok(Some(Progress::decode(&contents).map_err(|error| broken(&format!("file \"{shown}\""), &error))?))
    }

    /// The catalog as of the end.
    async fn content(&self, before: Option<&Manifest>) -> Result<Content, Stopped> {
        let db = self.context.db();
        let mut txn = db.begin(TxnOptions { as_of: Some(self.task.end), ..TxnOptions::default() });
        let mut stored = BTreeMap::new();
        for (key, value) in scan_all(&mut txn, catalog::descriptor_span()).await? {
            if let Some(StoredRow::Descriptor(id)) = catalog::stored_row(&key) {
                stored.insert(id, value);
            }
        }
        let all = select::decode(stored.iter().map(|(id, bytes)| (*id, &bytes[..])))?;
        let (_, wanted) = self.task.target.parts();
        if wanted.iter().any(|id| !all.contains_key(id)) {
            let message = "what is to be backed up does not exist as of that time";
            return Err(SqlError::new(SqlState::UndefinedObject, message).into());
        }
        let chosen = match &self.task.target {
            Target::Cluster => select::all(&all),
            Target::Databases(ids) => select::in_databases(&all, ids),
            Target::Tables(ids) => select::with_homes(&all, select::of_tables(&all, ids)),
        };
        let revisions = match before.filter(|_| self.task.revision_history) {
            Some(before) => self.revisions(before.end).await?.map(|all| self.own_revisions(all, &chosen, before)),
            None => None,
        };
        let is_cluster = self.task.target == Target::Cluster;
        let mut privileges = Vec::new();
        for (key, value) in scan_all(&mut txn, catalog::privilege_span()).await? {
            if let Some(StoredRow::Privileges(id)) = catalog::stored_row(&key) {
                let row = catalog::privilege::PrivilegeRow::decode(id, &value).map_err(|error| broken("the catalog", &error))?;
                let is_of = row.default.is_some_and(|default| chosen.contains(&default.database));
                if is_cluster || chosen.contains(&id) || is_of {
                    privileges.push((id, value));
                }
            }
        }
        let role = |descriptor: &Descriptor| match descriptor {
            Descriptor::Role(role) => Some((role.id, role.name.clone())),
            _ => None,
        };
        let roles = all.values().filter_map(role).collect();
        let (mut sequences, mut statistics, mut spans) = (Vec::new(), Vec::new(), BTreeSet::new());
        for descriptor in chosen.iter().filter_map(|id| all.get(id)) {
            match descriptor {
                Descriptor::Sequence(sequence) => {
                    let found = txn.get(&exec::sequence::sequence_key(sequence.id), Read::default()).await?;
                    let value = found.as_deref().and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
                    sequences.push((sequence.id, value.map_or(0, i64::from_be_bytes)));
                }
                Descriptor::Table(table) => {
                    spans.extend(select::spans_of(table));
                    if let Some(found) = txn.get(&catalog::statistics_key(table.storage), Read::default()).await? {
                        statistics.push((table.storage, found));
                    }
                }
                _ => {}
            }
        }
        spans.extend(large_objects::spans(&self.task.target));
        // Indexes that were there meanwhile, and are not any more.
        for revision in revisions.iter().flatten() {
            let Some(bytes) = &revision.bytes else { continue };
            if let Ok(Descriptor::Table(table)) = catalog::decode_descriptor(revision.id, bytes) {
                spans.extend(select::spans_of(&table));
            }
        }
        txn.rollback().await;
        let objects: Objects = all.into_iter().filter(|(id, _)| chosen.contains(id)).collect();
        stored.retain(|id, _| chosen.contains(id));
        Ok(Content { objects, stored, privileges, roles, spans, sequences, statistics, revisions })
    }

    /// Sequences take no part in transactions: one that began before the end and commits at that time may have drawn values
    /// later. So each is at least as far as it is when all rows have been read, or a restored one would give them again.
    async fn advance_sequences(&self, content: &mut Content) -> Result<(), Stopped> {
        for (id, value) in &mut content.sequences {
            let Some(Descriptor::Sequence(sequence)) = content.objects.get(&*id) else { continue };
            let found = self.context.db().get(&exec::sequence::sequence_key(*id)).await?;
            let Some(bytes) = found.as_deref().and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()) else { continue };
            let now = i64::from_be_bytes(bytes);
            *value = if sequence.increment < 0 { now.min(*value) } else { now.max(*value) };
        }
        Ok(())
    }

    /// What has changed in the catalog since a time; none where that is not known any more.
    async fn revisions(&self, since: Timestamp) -> Result<Option<Vec<Revision>>, Stopped> {
        let (mut revisions, mut rest) = (Vec::new(), Some(catalog::descriptor_span()));
        while let Some(span) = rest {
            let changes = match self.context.db().changes(&span, since, self.task.end, PAGE_BYTES).await {
                Ok(changes) => changes,
                Err(kv::Error::SnapshotTooOld { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            for (at, version) in changes.versions.iter().enumerate() {
                let (key, _) = changes.rows.get(at);
                if let Some(StoredRow::Descriptor(id)) = catalog::stored_row(key) {
                    let bytes = (!version.is_tombstone).then(|| changes.rows.value_bytes(at));
                    revisions.push(Revision { at: version.ts, id, bytes });
                }
            }
            rest = changes.resume;
        }
        revisions.sort_by_key(|revision| (revision.at, revision.id));
        Ok(Some(revisions))
    }

    /// Those of what is backed up: what is, what was at the last backup, and what was made and dropped in the databases since.
    /// Others are nothing that who asked for the backup may have: roles with their passwords are among them.
    fn own_revisions(&self, all: Vec<Revision>, chosen: &BTreeSet<u32>, before: &Manifest) -> Vec<Revision> {
        let mut own: BTreeSet<u32> = chosen.iter().copied().chain(before.descriptors.iter().map(|(id, _)| *id)).collect();
        match &self.task.target {
            Target::Cluster => return all,
            Target::Tables(_) => {}
            // Schemas first, then what is in them.
            Target::Databases(_) => {
                for is_schema in [true, false] {
                    for revision in &all {
                        let Some(bytes) = &revision.bytes else { continue };
                        let Ok(descriptor) = catalog::decode_descriptor(revision.id, bytes) else { continue };
                        let home = match &descriptor {
                            Descriptor::Schema(it) => Some(it.database).filter(|_| is_schema && !it.is_temporary()),
                            other => other.schema().filter(|_| !is_schema),
                        };
                        if home.is_some_and(|home| own.contains(&home)) {
                            own.insert(revision.id);
                        }
                    }
                }
            }
        }
        all.into_iter().filter(|revision| own.contains(&revision.id)).collect()
    }

    /// The indexes, cut at the bounds of ranges.
    async fn parts(&self, content: &Content, known: &BTreeSet<IndexSpan>, since: Option<Timestamp>) -> Result<Vec<Part>, Stopped> {
        let mut parts = Vec::new();
        for piece in content.spans.iter().flat_map(|of| large_objects::pieces(*of, &self.task.target)) {
            let of = piece.of;
            let after = since.filter(|_| known.contains(&of));
            let (prefix, span) = Self::span(&piece);
            let mut from = piece.from;
            for range in self.context.db().ranges_in(&span).await? {
                let cut = range.end.as_bytes().strip_prefix(prefix.as_bytes()).filter(|_| range.end < span.end);
                let to = cut.map(<[u8]>::to_vec);
                parts.push(Part { span: PartSpan { of, from, to: to.clone().or_else(|| piece.to.clone()) }, after });
                let Some(to) = to else { break };
                from = to;
            }
        }
        Ok(parts)
    }

    async fn read_parts(&self, progress: &mut Progress, objects: &Objects) -> Result<(), Stopped> {
        let todo = progress.left.clone();
        let mut reading = stream::iter(todo.into_iter().map(|part| async move {
            let outcome = self.read_part(&part).await;
            (part, outcome)
        }))
        .buffer_unordered(PARTS_AT_ONCE);
        let mut written = Instant::now();
        while let Some((part, outcome)) = reading.next().await {
            let (files, is_whole) = outcome?;
            progress.files.extend(files);
            progress.whole.extend(is_whole.then(|| part.span.clone()));
            progress.left.retain(|left| *left != part);
            if written.elapsed() >= CHECKPOINT_EVERY {
                self.write_checkpoint(progress, objects).await?;
                written = Instant::now();
            }
        }
        self.write_checkpoint(progress, objects).await
    }

    async fn write_checkpoint(&self, progress: &Progress, objects: &Objects) -> Result<(), Stopped> {
        let key = self.task.key.as_ref();
        self.context.check()?;
        let sealed = envelope::seal(Kind::Checkpoint, CHECKPOINT_FILE, &progress.encode(), key)?;
        let (rows, bytes) = (progress.rows(objects), progress.bytes());
        let done = progress.count.saturating_sub(progress.left.len()) as u64;
        let done_ppm = (done * 1_000_000).checked_div(progress.count as u64).unwrap_or(1_000_000).min(999_999);
        // First, so that one who has lost the job writes no checkpoint.
        self.context.update(None, move |job| (job.rows, job.bytes, job.done_ppm) = (rows, bytes, done_ppm)).await?;
        Ok(self.dir.put(CHECKPOINT_FILE, sealed).await?)
    }

    /// The files of a part, and whether it had to be read whole.
    async fn read_part(&self, part: &Part) -> Result<(Vec<FileEntry>, bool), Stopped> {
        if let Some(after) = part.after {
            match self.read_changes(part, after).await {
                Err(Stopped::Kv(kv::Error::SnapshotTooOld { .. })) => {}
                other => return Ok((other?, false)),
            }
        }
        // What an index had before it came into a backup is not known either.
        Ok((self.read_whole(part).await?, true))
    }

    fn span(part: &PartSpan) -> (Key, Span) {
        let prefix = part.of.prefix();
        let behind = |suffix: &[u8]| Key::from([prefix.as_bytes(), suffix].concat());
        let end = part.to.as_deref().map_or_else(|| prefix.prefix_end(), behind);
        let span = Span::new(behind(&part.from), end);
        (prefix, span)
    }

    async fn read_whole(&self, part: &Part) -> Result<Vec<FileEntry>, Stopped> {
        let (prefix, span) = Self::span(&part.span);
        let mut txn = self.context.db().begin(TxnOptions { as_of: Some(self.task.end), ..TxnOptions::default() });
        let mut files = Files::new(self, part.span.of);
        let mut rest = Some(span);
        while let Some(span) = rest {
            self.context.check()?;
            let page = txn.scan(&span, ScanOptions { max_bytes: PAGE_BYTES, ..ScanOptions::default() }).await?;
            for (key, value) in page.rows.iter() {
                files.push(&key[prefix.as_bytes().len()..], self.task.end, Some(value)).await?;
            }
            self.throttle.take(page.rows.byte_size() as u64).await;
            rest = page.resume;
        }
        txn.rollback().await;
        files.finish().await
    }

    async fn read_changes(&self, part: &Part, after: Timestamp) -> Result<Vec<FileEntry>, Stopped> {
        let (prefix, span) = Self::span(&part.span);
        let mut files = Files::new(self, part.span.of);
        let mut rest = Some(span);
        let mut last: Vec<u8> = Vec::new();
        let mut is_first = true;
        while let Some(span) = rest {
            self.context.check()?;
            let page = self.context.db().changes(&span, after, self.task.end, PAGE_BYTES).await?;
            for ((key, value), version) in page.rows.iter().zip(&page.versions) {
                let key = &key[prefix.as_bytes().len()..];
                let is_same = !is_first && key == last.as_slice();
                // Newest first: without history no other counts.
                if self.task.revision_history || !is_same {
                    files.push(key, version.ts, (!version.is_tombstone).then_some(value)).await?;
                }
                if !is_same {
                    last.clear();
                    last.extend_from_slice(key);
                    is_first = false;
                }
            }
            self.throttle.take(page.rows.byte_size() as u64).await;
            rest = page.resume;
        }
        files.finish().await
    }
}

/// The files of a part, while they are written.
struct Files<'a> {
    backup: &'a Backup,
    of: IndexSpan,
    writer: BlockWriter,
    first: Vec<u8>,
    last: Vec<u8>,
    done: Vec<FileEntry>,
}

impl<'a> Files<'a> {
    fn new(backup: &'a Backup, of: IndexSpan) -> Self {
        Self { backup, of, writer: BlockWriter::default(), first: Vec::new(), last: Vec::new(), done: Vec::new() }
    }

    async fn push(&mut self, key: &[u8], ts: Timestamp, value: Option<&[u8]>) -> Result<(), Stopped> {
        // The versions of a key are in one file.
        let is_full = self.writer.stored_bytes() >= FILE_BYTES || self.writer.raw_bytes() >= FILE_RAW_BYTES;
        if is_full && self.last != key {
            self.end_file().await?;
        }
        if self.writer.entries() == 0 {
            self.first = key.to_vec();
        }
        self.last.clear();
        self.last.extend_from_slice(key);
        self.writer.push(key, ts, value).map_err(|error| compressing(&error))?;
        Ok(())
    }

    async fn end_file(&mut self) -> Result<(), Stopped> {
        let writer = std::mem::take(&mut self.writer);
        if writer.entries() == 0 {
            return Ok(());
        }
        let name = format!("data/{}", Uuid::new_v4().simple());
        let (entries, raw_bytes) = (writer.entries(), writer.raw_bytes());
        let (key, sealed_name): (Option<FileKey>, Arc<str>) = (self.backup.task.key.clone(), name.as_str().into());
        let sealing = tokio::task::spawn_blocking(move || {
            let contents = writer.finish().map_err(|error| compressing(&error))?;
            let sealed = envelope::seal(Kind::Data, &sealed_name, &contents, key.as_ref())?;
            let sum = sha256(&sealed);
            Ok::<_, SqlError>((sealed, sum))
        });
        let (sealed, sum) = sealing.await.map_err(|error| SqlError::internal(format!("writing a backup: {error}")))??;
        let size = sealed.len() as u64;
        self.backup.dir.put(&name, sealed).await?;
        let (first, last) = (std::mem::take(&mut self.first), self.last.clone());
        self.done.push(FileEntry { name, size, sha256: sum, of: self.of, first, last, entries, raw_bytes });
        Ok(())
    }

    async fn finish(mut self) -> Result<Vec<FileEntry>, Stopped> {
        self.end_file().await?;
        Ok(self.done)
    }
}

fn compressing(error: &std::io::Error) -> SqlError {
    SqlError::internal(format!("compressing a backup: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_comes_back() {
        let manifest = crate::manifest::tests::manifest();
        let progress = Progress {
            left: vec![Part { span: manifest.whole[0].clone(), after: Some(Timestamp::new(3, 0)) }],
            files: manifest.files.clone(),
            whole: manifest.whole,
            count: 4,
        };
        let read = Progress::decode(&progress.encode()).unwrap();
        assert_eq!((read.left, read.files, read.whole, read.count), (progress.left, progress.files, progress.whole, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_read_in_a_second_is_bounded() {
        let began = Instant::now();
        let throttle = Throttle { per_second: 1_000, free_at: tokio::sync::Mutex::new(began) };
        for _ in 0..5 {
            throttle.take(500).await;
        }
        assert_eq!(began.elapsed(), Duration::from_secs(2));
        Throttle { per_second: 0, free_at: tokio::sync::Mutex::new(began) }.take(u64::MAX).await;
        assert_eq!(began.elapsed(), Duration::from_secs(2));
    }
}
