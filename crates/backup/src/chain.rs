//! A full backup and the incremental ones after it, as one: what was there at a time, and the rows of then.
//!
//! ```text
//! URI/2026/11/30-205300.000000/  MANIFEST  ENCRYPTION  data/…
//!                                incrementals/2026-11-30-215300.000000/  MANIFEST  data/…
//! ```
//! A directory without a manifest is a backup that is not finished, or never was.
//!
//! **Invariant (newest-layer-wins):** the value of a key at a time is what the newest layer says that has the key at or
//! before it; a layer that was read whole where the key lies says of it all there is. Layers follow each other without
//! gaps: each names its parent's manifest by its SHA-256.

use std::collections::BTreeMap;

use bytes::Bytes;
use catalog::Descriptor;
use hlc::Timestamp;
use types::{SqlError, SqlResult, SqlState};

use crate::blocks::{self, Entry};
use crate::envelope::{self, FileKey, Kind};
use crate::location::{Location, Mode};
use crate::manifest::{FileEntry, IndexSpan, MANIFEST_FILE, Manifest, sha256};
use crate::select::{self, Objects};
use crate::stamp;
use crate::tasks::Target;

pub(crate) const LAYERS: &str = "incrementals";

/// Which full backup of a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupRef {
    Latest,
    /// As SHOW BACKUPS lists it.
    Path(String),
}

pub(crate) struct Layer {
    pub dir: Location,
    pub manifest: Manifest,
    /// SHA-256 of the manifest's file.
    pub sum: [u8; 32],
}

pub(crate) struct Chain {
    /// The full backup first.
    pub layers: Vec<Layer>,
    pub key: Option<FileKey>,
}

/// What was there at a time.
pub(crate) struct View {
    pub at: Timestamp,
    /// Layers up to the one that has that time.
    pub layers: usize,
    pub objects: Objects,
    /// As they were stored.
    pub stored: BTreeMap<u32, Bytes>,
}

/// The paths of the full backups of a location, oldest first.
async fn full_backups(root: &Location) -> SqlResult<Vec<String>> {
    let names = root.list().await?;
    let full = names.iter().filter_map(|name| name.strip_suffix(MANIFEST_FILE)?.strip_suffix('/'));
    Ok(full.filter(|path| path.split('/').count() == 3).map(str::to_owned).collect())
}

/// The path of a full backup.
///
/// # Errors
/// 58P01 where there is none.
pub(crate) async fn resolve(root: &Location, which: &BackupRef) -> SqlResult<String> {
    let none = |what: String| SqlError::new(SqlState::UndefinedFile, what);
    match which {
        BackupRef::Latest => {
            let latest = full_backups(root).await?.pop();
            latest.ok_or_else(|| none(format!("there is no backup in \"{}\"", root.shown(""))))
        }
        BackupRef::Path(path) => {
            let path = path.trim_matches('/');
            let is_there = path.split('/').count() == 3 && root.child(path).find(MANIFEST_FILE).await?.is_some();
            match is_there {
                true => Ok(path.to_owned()),
                false => Err(none(format!("there is no backup \"{path}\" in \"{}\"", root.shown("")))
                    .with_hint("SHOW BACKUPS IN lists them.")),
            }
        }
    }
}

impl Chain {
    /// # Errors
    /// 58030 and XX001 where files are missing or damaged.
    pub async fn open(full: &Location, key: Option<FileKey>) -> SqlResult<Self> {
        let missing = || SqlError::new(SqlState::IoError, format!("file \"{}\" of the backup is missing", full.shown(MANIFEST_FILE)));
        let (manifest, sum) = Manifest::find(full, key.as_ref()).await?.ok_or_else(missing)?;
        let mut layers = vec![Layer { dir: full.clone(), manifest, sum }];
        let dir = full.child(LAYERS);
        let mut later = Vec::new();
        for name in dir.list().await? {
            let Some(name) = name.strip_suffix(MANIFEST_FILE).and_then(|name| name.strip_suffix('/')) else { continue };
            let dir = dir.child(name);
            if let Some((manifest, sum)) = Manifest::find(&dir, key.as_ref()).await? {
                later.push(Layer { dir, manifest, sum });
            }
        }
        later.sort_by_key(|layer| layer.manifest.end);
        for layer in later {
            let last = &layers[layers.len() - 1];
            // Of two that were made at the same time after the same one, one counts.
            if layer.manifest.parent == Some(last.sum) && layer.manifest.start == Some(last.manifest.end) {
                layers.push(layer);
            }
        }
        Ok(Self { layers, key })
    }

    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.layers[self.layers.len() - 1].manifest.end
    }

    /// What was there at a time; without one, at the end.
    ///
    /// # Errors
    /// 22023 for a time that the backup does not know.
    pub fn at(&self, as_of: Option<Timestamp>) -> SqlResult<View> {
        let at = as_of.unwrap_or_else(|| self.end());
        let refused = |detail: String| {
            SqlError::new(SqlState::InvalidParameterValue, "the backup does not cover the time that was asked for")
                .with_detail(detail)
                .with_hint("SHOW BACKUP lists the times; with revision_history those between are covered as well.")
        };
        let Some(place) = self.layers.iter().position(|layer| layer.manifest.end >= at) else {
            return Err(refused("It is after the end of the last incremental backup.".into()));
        };
        let layer = &self.layers[place].manifest;
        let known = |manifest: &Manifest| -> BTreeMap<u32, Bytes> { manifest.descriptors.iter().cloned().collect() };
        let mut stored = known(layer);
        if layer.end != at {
            if place == 0 {
                return Err(refused("It is before the end of the full backup.".into()));
            }
            if !layer.has_history {
                return Err(refused("It is between two backups, and the later one has no history.".into()));
            }
            stored = known(&self.layers[place - 1].manifest);
            for revision in layer.revisions.iter().filter(|revision| revision.at <= at) {
                match &revision.bytes {
                    Some(bytes) => stored.insert(revision.id, bytes.clone()),
                    None => stored.remove(&revision.id),
                };
            }
        }
        let objects = select::decode(stored.iter().map(|(id, bytes)| (*id, &bytes[..])))?;
        Ok(View { at, layers: place + 1, objects, stored })
    }

    /// The rows of an index at a view's time, in the order of their keys, from a key on.
    ///
    /// # Errors
    /// 22023 where the history of the index has a gap at that time.
    pub fn rows(&self, of: IndexSpan, view: &View, after: Option<&[u8]>) -> SqlResult<Rows<'_>> {
        let newest = &self.layers[view.layers - 1].manifest;
        if newest.end != view.at && newest.whole.iter().any(|part| part.of == of) {
            return Err(SqlError::new(SqlState::InvalidParameterValue, "the backup has no history of a table for that time")
                .with_detail("Older versions had been removed when the incremental backup was made.")
                .with_hint("Make incremental backups at shorter intervals."));
        }
        let cursors = self.layers[..view.layers].iter().map(|layer| {
            let is_left = |file: &&FileEntry| file.of == of && after.is_none_or(|after| file.last.as_slice() > after);
            let files: Vec<&FileEntry> = layer.manifest.files.iter().filter(is_left).collect();
            Cursor { layer, files: files.into_iter(), entries: Vec::new().into_iter(), next: None }
        });
        Ok(Rows { chain: self, of, at: view.at, cursors: cursors.collect(), after: after.map(<[u8]>::to_vec) })
    }
}

/// Reads a file, and looks at all its sums.
///
/// # Errors
/// 58030 where it is missing, XX001 where it is damaged; both with its name.
pub(crate) async fn read_file(dir: &Location, file: &FileEntry, key: Option<&FileKey>) -> SqlResult<Vec<Entry>> {
    let bytes = dir.get(&file.name).await?;
    let (file, shown, key) = (file.clone(), dir.shown(&file.name), key.cloned());
    let reading = tokio::task::spawn_blocking(move || {
        let damaged = |reason: &str| {
            SqlError::new(SqlState::DataCorrupted, format!("file \"{shown}\" of the backup is damaged: {reason}"))
        };
        if bytes.len() as u64 != file.size {
            return Err(damaged("it has another size"));
        }
        if sha256(&bytes) != file.sha256 {
            return Err(damaged("its checksum does not match"));
        }
        let contents = envelope::open(Kind::Data, &file.name, &shown, &bytes, key.as_ref())?;
        let entries = blocks::read(&contents).map_err(damaged)?;
        let bounds = entries.first().zip(entries.last()).map(|(first, last)| (&first.key[..], &last.key[..]));
        if entries.len() as u64 != file.entries || bounds.is_some_and(|it| it != (&file.first[..], &file.last[..])) {
            return Err(damaged("it is not what the manifest says"));
        }
        Ok(entries)
    });
    reading.await.map_err(|error| SqlError::internal(format!("reading a file of a backup: {error}")))?
}

struct Cursor<'a> {
    layer: &'a Layer,
    files: std::vec::IntoIter<&'a FileEntry>,
    entries: std::vec::IntoIter<Entry>,
    next: Option<Entry>,
}

impl Cursor<'_> {
    async fn fill(&mut self, key: Option<&FileKey>) -> SqlResult<()> {
        while self.next.is_none() {
            self.next = self.entries.next();
            if self.next.is_none() {
                let Some(file) = self.files.next() else { return Ok(()) };
                self.entries = read_file(&self.layer.dir, file, key).await?.into_iter();
            }
        }
        Ok(())
    }

    /// Takes the entries of a key: the newest at or before a time, if it has one.
    async fn take(&mut self, wanted: &[u8], at: Timestamp, key: Option<&FileKey>) -> SqlResult<Option<Entry>> {
        let mut found = None;
        loop {
            self.fill(key).await?;
            match &self.next {
                Some(next) if next.key == wanted => {}
                Some(_) | None => return Ok(found),
            }
            if let Some(entry) = self.next.take().filter(|entry| entry.ts <= at && found.is_none()) {
                found = Some(entry);
            }
        }
    }
}

/// See [`Chain::rows`].
pub(crate) struct Rows<'a> {
    chain: &'a Chain,
    of: IndexSpan,
    at: Timestamp,
    cursors: Vec<Cursor<'a>>,
    after: Option<Vec<u8>>,
}

impl Rows<'_> {
    /// The next row: its key behind the prefix, and its value.
    pub async fn next(&mut self) -> SqlResult<Option<(Bytes, Bytes)>> {
        let key = self.chain.key.as_ref();
        loop {
            for cursor in &mut self.cursors {
                cursor.fill(key).await?;
            }
            let Some(next) = self.cursors.iter().filter_map(|cursor| Some(cursor.next.as_ref()?.key.clone())).min() else {
                return Ok(None);
            };
            // *newest-layer-wins*
            let (mut value, mut is_decided) = (None, false);
            for cursor in self.cursors.iter_mut().rev() {
                let found = cursor.take(&next, self.at, key).await?;
                if is_decided {
                    continue;
                }
                let is_whole = || cursor.layer.manifest.whole.iter().any(|part| part.of == self.of && part.contains(&next));
                if found.is_some() || is_whole() {
                    (value, is_decided) = (found.and_then(|entry| entry.value), true);
                }
            }
            let is_left = self.after.as_ref().is_none_or(|after| next[..] > after[..]);
            if let Some(value) = value.filter(|_| is_left) {
                return Ok(Some((next, value)));
            }
        }
    }
}

/// A line of SHOW BACKUP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectLine {
    pub database: Option<String>,
    pub schema: Option<String>,
    pub name: String,
    pub kind: &'static str,
    pub is_full: bool,
    /// Microseconds since 2000.
    pub start: Option<i64>,
    pub end: i64,
    /// Of a table: bytes before compression, and entries of its primary index.
    pub size: Option<u64>,
    pub rows: Option<u64>,
    pub is_cluster: bool,
}


/// What VERIFY BACKUP has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub layers: u64,
    pub files: u64,
    pub entries: u64,
    pub bytes: u64,
}

/// The full backups of a location, oldest first.
///
/// # Errors
/// See [`Location::open`].
pub async fn list_backups(uri: &str) -> SqlResult<Vec<String>> {
    full_backups(&Location::open(uri, Mode::Read)?).await
}

async fn open(uri: &str, which: &BackupRef, passphrase: Option<&str>) -> SqlResult<(String, Chain)> {
    let root = Location::open(uri, Mode::Read)?;
    let path = resolve(&root, which).await?;
    let full = root.child(&path);
    let key = envelope::find_key(&full, passphrase).await?;
    Ok((path, Chain::open(&full, key).await?))
}

/// The path and the key of a backup, and what it is of.
///
/// # Errors
/// Where it cannot be read.
pub async fn find_backup(uri: &str, which: &BackupRef, passphrase: Option<&str>) -> SqlResult<(String, Option<FileKey>, Target)> {
    let (path, chain) = open(uri, which, passphrase).await?;
    Ok((path, chain.key.clone(), chain.layers[0].manifest.target.clone()))
}

/// Whether a full backup can be made in a location; its directory is made where it is not there.
///
/// # Errors
/// See [`Location::open`].
pub fn check_location(uri: &str) -> SqlResult<()> {
    Location::open(uri, Mode::Write).map(|_| ())
}

/// Where the next incremental backup of a location goes: the path of its full one, its own name, and the key.
///
/// # Errors
/// Where there is no full backup, or one of something else.
pub async fn plan_layer(
    uri: &str,
    passphrase: Option<&str>,
    target: &Target,
    end: Timestamp,
) -> SqlResult<(String, String, Option<FileKey>)> {
    let (path, chain) = open(uri, &BackupRef::Latest, passphrase).await?;
    if chain.layers[0].manifest.target != *target {
        return Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, "the latest backup is of something else")
            .with_detail(format!("The backup is \"{path}\"."))
            .with_hint("An incremental backup names what the full one does."));
    }
    if end <= chain.end() {
        return Err(SqlError::new(SqlState::InvalidParameterValue, "the latest backup is later than this one would be"));
    }
    Ok((path, stamp::name(end, '-'), chain.key))
}

fn kind(descriptor: &Descriptor) -> &'static str {
    match descriptor {
        Descriptor::Database(_) => "database",
        Descriptor::Schema(_) => "schema",
        Descriptor::Role(_) => "role",
        Descriptor::Table(table) if table.materialized.is_some() => "materialized view",
        Descriptor::Table(_) => "table",
        Descriptor::View(_) => "view",
        Descriptor::Sequence(_) => "sequence",
        Descriptor::Cluster(_) => "cluster settings",
        Descriptor::Type(_) => "type",
        Descriptor::Routine(_) => "routine",
    }
}

fn name(descriptor: &Descriptor) -> &str {
    match descriptor {
        Descriptor::Database(it) => &it.name,
        Descriptor::Schema(it) => &it.name,
        Descriptor::Role(it) => &it.name,
        Descriptor::Table(it) => &it.name,
        Descriptor::View(it) => &it.name,
        Descriptor::Sequence(it) => &it.name,
        Descriptor::Cluster(_) => "",
        Descriptor::Type(it) => &it.name,
        Descriptor::Routine(it) => &it.name,
    }
}

/// The objects of a backup, layer by layer.
///
/// # Errors
/// Where it cannot be read.
pub async fn show_backup(uri: &str, which: &BackupRef, passphrase: Option<&str>) -> SqlResult<Vec<ObjectLine>> {
    let (_, chain) = open(uri, which, passphrase).await?;
    let mut lines = Vec::new();
    for Layer { manifest, .. } in &chain.layers {
        let objects = select::decode(manifest.descriptors.iter().map(|(id, bytes)| (*id, &bytes[..])))?;
        for descriptor in objects.values() {
            let database = select::database_of(&objects, descriptor).and_then(|id| objects.get(&id));
            let database = database.filter(|_| !matches!(descriptor, Descriptor::Database(_)));
            let schema = descriptor.schema().and_then(|id| objects.get(&id));
            let of_table = match descriptor {
                Descriptor::Table(table) => Some(table),
                _ => None,
            };
            let sum = |is_primary: bool, value: fn(&FileEntry) -> u64| {
                let table = of_table?;
                let primary = table.primary().id.get();
                let is_of = |file: &&FileEntry| file.of.storage == table.storage && (!is_primary || file.of.index == primary);
                Some(manifest.files.iter().filter(is_of).map(value).sum())
            };
            lines.push(ObjectLine {
                database: database.map(|it| name(it).to_owned()),
                schema: schema.map(|it| name(it).to_owned()),
                name: name(descriptor).to_owned(),
                kind: kind(descriptor),
                is_full: manifest.start.is_none(),
                start: manifest.start.map(stamp::micros),
                end: stamp::micros(manifest.end),
                size: sum(false, |file| file.raw_bytes),
                rows: sum(true, |file| file.entries),
                is_cluster: manifest.target == Target::Cluster,
            });
        }
    }
    Ok(lines)
}

/// Reads all of a backup and looks at every sum and every entry.
///
/// # Errors
/// 58030 and XX001 with the name of the file.
pub async fn verify_backup(uri: &str, which: &BackupRef, passphrase: Option<&str>) -> SqlResult<(String, Verified)> {
    let (path, chain) = open(uri, which, passphrase).await?;
    let mut verified = Verified::default();
    for Layer { dir, manifest, .. } in &chain.layers {
        select::decode(manifest.descriptors.iter().map(|(id, bytes)| (*id, &bytes[..])))?;
        verified.layers += 1;
        for file in &manifest.files {
            let entries = read_file(dir, file, chain.key.as_ref()).await?;
            verified.files += 1;
            verified.entries += entries.len() as u64;
            verified.bytes += file.size;
        }
    }
    Ok((path, verified))
}
