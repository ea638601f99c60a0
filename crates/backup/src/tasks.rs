//! What jobs are asked to do, as it is kept with them.

use hlc::Timestamp;
use keys::tagged::{Malformed, Reader, Writer};

use crate::envelope::FileKey;
use crate::stamp;

/// What is backed up, by ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Cluster,
    Databases(Vec<u32>),
    Tables(Vec<u32>),
}

impl Target {
    pub(crate) fn parts(&self) -> (u64, &[u32]) {
        match self {
            Self::Cluster => (0, &[]),
            Self::Databases(ids) => (1, ids),
            Self::Tables(ids) => (2, ids),
        }
    }

    pub(crate) fn of_parts(kind: u64, ids: Vec<u32>) -> Option<Self> {
        match kind {
            0 => Some(Self::Cluster),
            1 => Some(Self::Databases(ids)),
            2 => Some(Self::Tables(ids)),
            _ => None,
        }
    }
}

/// A backup to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupTask {
    pub uri: String,
    /// Of the full backup, below the URI.
    pub path: String,
    /// The name of the incremental one.
    pub layer: Option<String>,
    pub end: Timestamp,
    pub target: Target,
    pub revision_history: bool,
    pub key: Option<FileKey>,
    /// What the file with the salt is to hold, of a full one.
    pub encryption: Option<Vec<u8>>,
    /// Bytes a second that are read; 0 for no bound.
    pub rate_limit: u64,
}

/// What is restored, by the names that it had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreTarget {
    Cluster,
    Databases(Vec<String>),
    /// With the schema, and the database where it was given.
    Tables(Vec<TableName>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    pub database: Option<String>,
    pub schema: String,
    pub name: String,
}

/// A backup to be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreTask {
    pub uri: String,
    pub path: String,
    pub as_of: Option<Timestamp>,
    pub target: RestoreTarget,
    /// What the database is to be called.
    pub new_name: Option<String>,
    /// Where tables go.
    pub database: u32,
    pub skip_missing_foreign_keys: bool,
    pub key: Option<FileKey>,
    pub user: u32,
}

fn read_key(tag: u64, bytes: Option<&[u8]>) -> Result<Option<FileKey>, Malformed> {
    bytes.map(|bytes| bytes.try_into().map(FileKey).map_err(|_| Malformed::Bad(tag))).transpose()
}

fn text(tag: u64, bytes: &[u8]) -> Result<String, Malformed> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed::Bad(tag))
}

impl BackupTask {
    /// A full backup, plain, in a directory named after its time.
    #[must_use]
    pub fn full(uri: &str, end: Timestamp, target: Target) -> Self {
        Self {
            uri: uri.to_owned(),
            path: stamp::name(end, '/'),
            layer: None,
            end,
            target,
            revision_history: false,
            key: None,
            encryption: None,
            rate_limit: 0,
        }
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.text(2, &self.uri);
        writer.text(4, &self.path);
        writer.text(6, self.layer.as_deref().unwrap_or_default());
        writer.bytes(8, &stamp::encode(self.end));
        let (kind, ids) = self.target.parts();
        writer.number(10, kind, 0);
        writer.list(12, ids.iter().map(|id| id.to_be_bytes().to_vec()));
        writer.flag(14, self.revision_history);
        if let Some(key) = &self.key {
            writer.bytes(16, &key.0);
        }
        if let Some(file) = &self.encryption {
            writer.bytes(18, file);
        }
        writer.number(20, self.rate_limit, 0);
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let task = Self {
            uri: reader.text(2)?,
            path: reader.text(4)?,
            layer: Some(reader.text(6)?).filter(|name| !name.is_empty()),
            end: stamp::decode(8, reader.bytes(8)?)?,
            target: {
                let kind = reader.number(10, 0)?;
                let id = |bytes: &[u8]| bytes.try_into().map(u32::from_be_bytes).map_err(|_| Malformed::Bad(12));
                let ids = reader.list(12)?.into_iter().map(id).collect::<Result<_, _>>()?;
                Target::of_parts(kind, ids).ok_or(Malformed::Bad(10))?
            },
            revision_history: reader.flag(14)?,
            key: read_key(16, reader.bytes(16)?)?,
            encryption: reader.bytes(18)?.map(<[u8]>::to_vec),
            rate_limit: reader.number(20, 0)?,
        };
        reader.finish()?;
        Ok(task)
    }
}

impl RestoreTask {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.text(2, &self.uri);
        writer.text(4, &self.path);
        if let Some(at) = self.as_of {
            writer.bytes(6, &stamp::encode(at));
        }
        match &self.target {
            RestoreTarget::Cluster => {}
            RestoreTarget::Databases(names) => writer.list(8, names.iter().map(|name| name.clone().into_bytes())),
            RestoreTarget::Tables(names) => writer.list(10, names.iter().map(|it| {
                let mut inner = Writer::default();
                inner.text(2, it.database.as_deref().unwrap_or_default());
                inner.text(4, &it.schema);
                inner.text(6, &it.name);
                inner.finish()
            })),
        }
        writer.text(12, self.new_name.as_deref().unwrap_or_default());
        writer.number(14, self.database.into(), 0);
        writer.flag(16, self.skip_missing_foreign_keys);
        if let Some(key) = &self.key {
            writer.bytes(18, &key.0);
        }
        writer.number(20, self.user.into(), 0);
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let (uri, path) = (reader.text(2)?, reader.text(4)?);
        let as_of = reader.bytes(6)?.map(|bytes| stamp::decode(6, Some(bytes))).transpose()?;
        let databases = reader.list(8)?.into_iter().map(|bytes| text(8, bytes)).collect::<Result<Vec<_>, _>>()?;
        let mut tables = Vec::new();
        for item in reader.list(10)? {
            let mut inner = Reader::new(item)?;
            let database = Some(inner.text(2)?).filter(|name| !name.is_empty());
            tables.push(TableName { database, schema: inner.text(4)?, name: inner.text(6)? });
            inner.finish()?;
        }
        let target = match (databases.is_empty(), tables.is_empty()) {
            (true, true) => RestoreTarget::Cluster,
            (false, true) => RestoreTarget::Databases(databases),
            (true, false) => RestoreTarget::Tables(tables),
            (false, false) => return Err(Malformed::Bad(10)),
        };
        let task = Self {
            uri,
            path,
            as_of,
            target,
            new_name: Some(reader.text(12)?).filter(|name| !name.is_empty()),
            database: reader.id(14)?,
            skip_missing_foreign_keys: reader.flag(16)?,
            key: read_key(18, reader.bytes(18)?)?,
            user: reader.id(20)?,
        };
        reader.finish()?;
        Ok(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_come_back() {
        let backup = BackupTask {
            uri: "file:///b".into(),
            path: "2026/11/30-1".into(),
            layer: Some("x".into()),
            end: Timestamp::new(7, 0),
            target: Target::Tables(vec![300, 16_384]),
            revision_history: true,
            key: Some(FileKey([3; 32])),
            encryption: Some(vec![1]),
            rate_limit: 9,
        };
        assert_eq!(BackupTask::decode(&backup.encode()).unwrap(), backup);
        for target in [
            RestoreTarget::Cluster,
            RestoreTarget::Databases(vec!["d".into()]),
            RestoreTarget::Tables(vec![TableName { database: None, schema: "s".into(), name: "t".into() }]),
        ] {
            let restore = RestoreTask {
                uri: "file:///b".into(),
                path: "p".into(),
                as_of: Some(Timestamp::new(8, 1)),
                target,
                new_name: Some("n".into()),
                database: 5,
                skip_missing_foreign_keys: true,
                key: None,
                user: 10,
            };
            assert_eq!(RestoreTask::decode(&restore.encode()).unwrap(), restore);
        }
    }
}
