//! What a backup says of itself: of when it is, of what, and in which files.
//!
//! ```text
//! envelope (kind 1), then: tagged fields, then SHA-256 of them (32 bytes)
//!   2 cluster   4 start (0 for a full one)   6 end   8 revision history   10 target: kind   12 its ids
//!   14 descriptors   16 privileges   18 names of roles   20 files   22 spans   24 spans that were read whole
//!   26 sequences   28 statistics   30 revisions of descriptors   33 version of the program   34 SHA-256 of the parent's file
//! ```
//! A *span* is an index of a table's storage. A file holds entries of one.

use bytes::Bytes;
use hlc::Timestamp;
use keys::encoding::{put_uvarint, take_uvarint};
use keys::tagged::{Malformed, Reader, Writer};
use keys::{IndexId, Key, TableId, keyspace};
use sha2::{Digest, Sha256};
use types::{SqlError, SqlResult, SqlState};
use uuid::Uuid;

use crate::envelope::{self, FileKey, Kind};
use crate::location::Location;
use crate::stamp;
use crate::tasks::Target;

pub(crate) const MANIFEST_FILE: &str = "MANIFEST";

/// An index of a table's storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct IndexSpan {
    pub storage: u32,
    pub index: u32,
}

impl IndexSpan {
    pub fn prefix(self) -> Key {
        keyspace::index(TableId::new(self.storage), IndexId::new(self.index))
    }
}

/// A part of an index by what its keys have behind the prefix, from the first to before the second; none for no bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartSpan {
    pub of: IndexSpan,
    pub from: Vec<u8>,
    pub to: Option<Vec<u8>>,
}

impl PartSpan {
    pub fn contains(&self, key: &[u8]) -> bool {
        self.from.as_slice() <= key && self.to.as_deref().is_none_or(|to| key < to)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(2, self.of.storage.into(), 0);
        writer.number(4, self.of.index.into(), 0);
        if !self.from.is_empty() {
            writer.bytes(6, &self.from);
        }
        if let Some(to) = &self.to {
            writer.bytes(8, to);
        }
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let of = IndexSpan { storage: reader.id(2)?, index: reader.id(4)? };
        let from = reader.bytes(6)?.unwrap_or_default().to_vec();
        let to = reader.bytes(8)?.map(<[u8]>::to_vec);
        reader.finish()?;
        Ok(Self { of, from, to })
    }
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileEntry {
    pub name: String,
    pub size: u64,
    /// Of the whole file.
    pub sha256: [u8; 32],
    pub of: IndexSpan,
    pub first: Vec<u8>,
    pub last: Vec<u8>,
    pub entries: u64,
    /// Of its entries before compression.
    pub raw_bytes: u64,
}

impl FileEntry {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.text(2, &self.name);
        writer.number(4, self.size, 0);
        writer.bytes(6, &self.sha256);
        writer.number(8, self.of.storage.into(), 0);
        writer.number(10, self.of.index.into(), 0);
        writer.bytes(12, &self.first);
        writer.bytes(14, &self.last);
        writer.number(16, self.entries, 0);
        writer.number(18, self.raw_bytes, 0);
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let entry = Self {
            name: reader.text(2)?,
            size: reader.number(4, 0)?,
            sha256: reader.bytes(6)?.and_then(|sum| sum.try_into().ok()).ok_or(Malformed::Bad(6))?,
            of: IndexSpan { storage: reader.id(8)?, index: reader.id(10)? },
            first: reader.bytes(12)?.unwrap_or_default().to_vec(),
            last: reader.bytes(14)?.unwrap_or_default().to_vec(),
            entries: reader.number(16, 0)?,
            raw_bytes: reader.number(18, 0)?,
        };
        reader.finish()?;
        Ok(entry)
    }
}

/// A descriptor, or that there was none any more, from a time on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Revision {
    pub at: Timestamp,
    pub id: u32,
    pub bytes: Option<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub cluster: Uuid,
    /// What came after it is in the backup; of a full one, all.
    pub start: Option<Timestamp>,
    pub end: Timestamp,
    /// All versions between `start` and `end` are in it.
    pub has_history: bool,
    pub target: Target,
    /// As they were stored at `end`, by id.
    pub descriptors: Vec<(u32, Bytes)>,
    pub privileges: Vec<(u32, Bytes)>,
    pub roles: Vec<(u32, String)>,
    /// In the order of their spans and keys.
    pub files: Vec<FileEntry>,
    pub spans: Vec<IndexSpan>,
    /// What the files of an incremental backup have of these is all of it.
    pub whole: Vec<PartSpan>,
    /// How far the next value of each lies from its start.
    pub sequences: Vec<(u32, i64)>,
    /// By storage.
    pub statistics: Vec<(u32, Bytes)>,
    pub revisions: Vec<Revision>,
    pub version: String,
    /// Of the file of the manifest that an incremental backup follows.
    pub parent: Option<[u8; 32]>,
}

fn with_id(id: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 5);
    put_uvarint(&mut out, id.into());
    out.extend_from_slice(bytes);
    out
}

fn take_id(tag: u64, mut bytes: &[u8]) -> Result<(u32, &[u8]), Malformed> {
    let id = take_uvarint(&mut bytes).ok().and_then(|id| u32::try_from(id).ok()).ok_or(Malformed::Bad(tag))?;
    Ok((id, bytes))
}

fn rows(tag: u64, items: Vec<&[u8]>) -> Result<Vec<(u32, Bytes)>, Malformed> {
    items.into_iter().map(|item| take_id(tag, item).map(|(id, bytes)| (id, Bytes::copy_from_slice(bytes)))).collect()
}

impl Manifest {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.bytes(2, self.cluster.as_bytes());
        if let Some(start) = self.start {
            writer.bytes(4, &stamp::encode(start));
        }
        writer.bytes(6, &stamp::encode(self.end));
        writer.flag(8, self.has_history);
        let (kind, ids) = self.target.parts();
        writer.number(10, kind, 0);
        writer.list(12, ids.iter().map(|id| with_id(*id, b"")));
        writer.list(14, self.descriptors.iter().map(|(id, bytes)| with_id(*id, bytes)));
        writer.list(16, self.privileges.iter().map(|(id, bytes)| with_id(*id, bytes)));
        writer.list(18, self.roles.iter().map(|(id, name)| with_id(*id, name.as_bytes())));
        writer.list(20, self.files.iter().map(FileEntry::encode));
        writer.list(22, self.spans.iter().map(|of| PartSpan { of: *of, from: Vec::new(), to: None }.encode()));
        writer.list(24, self.whole.iter().map(PartSpan::encode));
        writer.list(26, self.sequences.iter().map(|(id, value)| with_id(*id, &value.to_be_bytes())));
        writer.list(28, self.statistics.iter().map(|(id, bytes)| with_id(*id, bytes)));
        writer.list(30, self.revisions.iter().map(|it| {
            let mut bytes = stamp::encode(it.at);
            bytes.push(it.bytes.is_some().into());
            bytes.extend_from_slice(it.bytes.as_deref().unwrap_or_default());
            with_id(it.id, &bytes)
        }));
        writer.text(33, &self.version);
        if let Some(parent) = &self.parent {
            writer.bytes(34, parent);
        }
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let cluster = reader.bytes(2)?.and_then(|bytes| Uuid::from_slice(bytes).ok()).ok_or(Malformed::Bad(2))?;
        let start = reader.bytes(4)?.map(|bytes| stamp::decode(4, Some(bytes))).transpose()?;
        let end = stamp::decode(6, reader.bytes(6)?)?;
        let has_history = reader.flag(8)?;
        let kind = reader.number(10, 0)?;
        let ids = reader.list(12)?.into_iter().map(|item| Ok(take_id(12, item)?.0)).collect::<Result<Vec<u32>, Malformed>>()?;
        let target = Target::of_parts(kind, ids).ok_or(Malformed::Bad(10))?;
        let descriptors = rows(14, reader.list(14)?)?;
        let privileges = rows(16, reader.list(16)?)?;
        let text = |(id, bytes): (u32, Bytes)| String::from_utf8(bytes.to_vec()).map(|name| (id, name)).map_err(|_| Malformed::Bad(18));
        let roles = rows(18, reader.list(18)?)?.into_iter().map(text).collect::<Result<_, _>>()?;
        let files = reader.list(20)?.into_iter().map(FileEntry::decode).collect::<Result<_, _>>()?;
        let spans = reader.list(22)?.into_iter().map(|item| Ok(PartSpan::decode(item)?.of)).collect::<Result<_, Malformed>>()?;
        let whole = reader.list(24)?.into_iter().map(PartSpan::decode).collect::<Result<_, _>>()?;
        let value = |(id, bytes): (u32, Bytes)| {
            <[u8; 8]>::try_from(&bytes[..]).map(|bytes| (id, i64::from_be_bytes(bytes))).map_err(|_| Malformed::Bad(26))
        };
        let sequences = rows(26, reader.list(26)?)?.into_iter().map(value).collect::<Result<_, _>>()?;
        let statistics = rows(28, reader.list(28)?)?;
        let revision = |(id, bytes): (u32, Bytes)| {
            let (at, rest) = bytes.split_at_checked(12).ok_or(Malformed::Bad(30))?;
            let (is_there, rest) = rest.split_first().ok_or(Malformed::Bad(30))?;
            let value = (*is_there != 0).then(|| bytes.slice_ref(rest));
            Ok(Revision { at: stamp::decode(30, Some(at))?, id, bytes: value })
        };
        let revisions = rows(30, reader.list(30)?)?.into_iter().map(revision).collect::<Result<_, Malformed>>()?;
        let version = reader.text(33)?;
        let parent = reader.bytes(34)?.map(|sum| sum.try_into().map_err(|_| Malformed::Bad(34))).transpose()?;
        reader.finish()?;
        Ok(Self {
            cluster,
            start,
            end,
            has_history,
            target,
            descriptors,
            privileges,
            roles,
            files,
            spans,
            whole,
            sequences,
            statistics,
            revisions,
            version,
            parent,
        })
    }

    /// As the file `MANIFEST`.
    pub fn seal(&self, key: Option<&FileKey>) -> SqlResult<Bytes> {
        let mut contents = self.encode();
        let sum = sha256(&contents);
        contents.extend_from_slice(&sum);
        envelope::seal(Kind::Manifest, MANIFEST_FILE, &contents, key)
    }

    /// Reads the manifest of a directory, with the SHA-256 of its file; none where there is none.
    pub async fn find(dir: &Location, key: Option<&FileKey>) -> SqlResult<Option<(Self, [u8; 32])>> {
        let Some(file) = dir.find(MANIFEST_FILE).await? else { return Ok(None) };
        let shown = dir.shown(MANIFEST_FILE);
        let contents = envelope::open(Kind::Manifest, MANIFEST_FILE, &shown, &file, key)?;
        let damaged = |reason: &str| {
            SqlError::new(SqlState::DataCorrupted, format!("file \"{shown}\" of the backup is damaged: {reason}"))
        };
        let (fields, sum) = contents.split_last_chunk::<32>().ok_or_else(|| damaged("it is too short"))?;
        if sha256(fields) != *sum {
            return Err(damaged("its checksum does not match"));
        }
        let manifest = Self::decode(fields).map_err(|error| match error {
            Malformed::Unknown(_) => {
                SqlError::not_supported(format!("file \"{shown}\" is of a backup that a later version has made"))
            }
            error @ (Malformed::Short | Malformed::Order(_) | Malformed::Bad(_)) => damaged(&error.to_string()),
        })?;
        Ok(Some((manifest, sha256(&file))))
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn manifest() -> Manifest {
        let at = |wall| Timestamp::new(wall, 0);
        let of = IndexSpan { storage: 20_000, index: 1 };
        Manifest {
            cluster: Uuid::from_bytes([7; 16]),
            start: Some(at(1)),
            end: at(2),
            has_history: true,
            target: Target::Databases(vec![300]),
            descriptors: vec![(300, "d".into())],
            privileges: vec![(300, "p".into())],
            roles: vec![(10, "r".into())],
            files: vec![FileEntry {
                name: "data/1-1".into(),
                size: 3,
                sha256: [1; 32],
                of,
                first: b"a".to_vec(),
                last: b"b".to_vec(),
                entries: 2,
                raw_bytes: 9,
            }],
            spans: vec![of],
            whole: vec![PartSpan { of, from: b"a".to_vec(), to: None }],
            sequences: vec![(301, -5)],
            statistics: vec![(20_000, "s".into())],
            revisions: vec![
                Revision { at: at(1), id: 300, bytes: None },
                Revision { at: at(2), id: 300, bytes: Some("n".into()) },
            ],
            version: "0.1.0".into(),
            parent: Some([2; 32]),
        }
    }

    #[test]
    fn golden_bytes_of_a_manifest() {
        let bytes = manifest().encode();
        assert_eq!(Manifest::decode(&bytes).unwrap(), manifest());
        let shown: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown, include_str!("manifest.golden").trim(), "bytes of backups stay readable");
        for end in 0..bytes.len() {
            // An error, or fields that are whole.
            let _ = Manifest::decode(&bytes[..end]);
        }
    }

    #[tokio::test]
    async fn a_flipped_byte_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let root = Location::open(&format!("file://{}", dir.path().display()), crate::location::Mode::Write).unwrap();
        let file = manifest().seal(None).unwrap();
        for at in (0..file.len()).step_by(7) {
            let mut bent = file.to_vec();
            bent[at] ^= 4;
            root.put(MANIFEST_FILE, bent.into()).await.unwrap();
            let error = Manifest::find(&root, None).await.expect_err("damaged");
            assert!(matches!(error.code().code(), "XX001" | "0A000" | "22023"), "byte {at}: {error}");
        }
    }
}
