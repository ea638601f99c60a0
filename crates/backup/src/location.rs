//! Where backups lie: a directory, named by a URI, whose files are written once and whole.
//!
//! This is the only module that knows object stores. A file is there under its name when all of it is, and durable when the
//! call returns.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, local::LocalFileSystem, path::Path};
use types::{SqlError, SqlResult, SqlState};

/// Schemes of clouds, which this build does not speak to.
const CLOUDS: [&str; 7] = ["s3", "gs", "gcs", "azblob", "azure", "http", "https"];

/// Whether a directory may have to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Read,
    Write,
}

/// A directory, or one below it.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    store: Arc<dyn ObjectStore>,
    /// Between slashes, without one at an end.
    below: String,
    /// The URI without secrets.
    shown: String,
}

fn bad_uri(uri: &str, reason: &str) -> SqlError {
    SqlError::new(SqlState::InvalidParameterValue, format!("invalid backup location \"{}\": {reason}", without_secrets(uri)))
}

/// A URI as it may be shown: parameters are keys more often than not.
#[must_use]
pub fn without_secrets(uri: &str) -> String {
    match uri.split_once('?') {
        Some((plain, _)) => format!("{plain}?redacted"),
        None => uri.to_owned(),
    }
}

impl Location {
    /// # Errors
    /// 22023 for what is no location, 0A000 for one that cannot be reached, 58030 where the directory cannot be opened.
    pub fn open(uri: &str, mode: Mode) -> SqlResult<Self> {
        let Some((scheme, rest)) = uri.split_once("://") else {
            return Err(bad_uri(uri, "it has no scheme")
                .with_hint("Backups are kept in directories that all nodes share: file:///path."));
        };
        if CLOUDS.contains(&scheme) {
            return Err(SqlError::not_supported(format!("backups in {scheme}:// locations are not supported"))
                .with_hint("Backups are kept in directories that all nodes share: file:///path."));
        }
        if scheme != "file" {
            return Err(bad_uri(uri, "its scheme is not known"));
        }
        if rest.contains(['?', '#']) {
            return Err(bad_uri(uri, "a directory takes no parameters"));
        }
        if !rest.starts_with('/') {
            return Err(bad_uri(uri, "the path must be absolute (file:///path)"));
        }
        if rest.split('/').any(|part| part == "..") {
            return Err(bad_uri(uri, "the path must not have \"..\" in it"));
        }
        let dir = std::path::Path::new(rest);
        let failed = |verb: &str, error: &dyn std::fmt::Display| {
            SqlError::new(SqlState::IoError, format!("could not {verb} directory \"{rest}\": {error}"))
        };
        if mode == Mode::Write {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true);
            // All that the cluster has is in there, verifiers of passwords among it.
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(dir).map_err(|error| failed("create", &error))?;
        } else if !dir.is_dir() {
            return Err(SqlError::new(SqlState::UndefinedFile, format!("backup location \"{uri}\" does not exist")));
        }
        let store = LocalFileSystem::new_with_prefix(dir).map_err(|error| failed("open", &error))?.with_fsync(true);
        Ok(Self { store: Arc::new(store), below: String::new(), shown: uri.trim_end_matches('/').to_owned() })
    }

    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        let below = if self.below.is_empty() { name.to_owned() } else { format!("{}/{name}", self.below) };
        Self { store: self.store.clone(), below, shown: self.shown.clone() }
    }

    /// A file as messages name it.
    #[must_use]
    pub fn shown(&self, name: &str) -> String {
        [self.shown.as_str(), &self.below, name].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    }

    fn path(&self, name: &str) -> SqlResult<Path> {
        let whole = if self.below.is_empty() { name.to_owned() } else { format!("{}/{name}", self.below) };
        Path::parse(&whole).map_err(|error| bad_uri(&self.shown(name), &error.to_string()))
    }

    fn failed(&self, verb: &str, name: &str, error: &object_store::Error) -> SqlError {
        SqlError::new(SqlState::IoError, format!("could not {verb} file \"{}\": {error}", self.shown(name)))
    }

    /// Writes a file, which takes the place of one that is there.
    pub async fn put(&self, name: &str, bytes: Bytes) -> SqlResult<()> {
        let path = self.path(name)?;
        self.store.put(&path, bytes.into()).await.map_err(|error| self.failed("write", name, &error))?;
        Ok(())
    }

    /// Writes a file unless there is one of this name; whether it was written.
    pub async fn put_new(&self, name: &str, bytes: Bytes) -> SqlResult<bool> {
        let path = self.path(name)?;
        match self.store.put_opts(&path, bytes.into(), PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(self.failed("write", name, &error)),
        }
    }

    /// None where there is no such file.
    pub async fn find(&self, name: &str) -> SqlResult<Option<Bytes>> {
        let path = self.path(name)?;
        let found = match self.store.get(&path).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        match found {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", name, &error)),
        }
    }

    /// # Errors
    /// 58030 where there is no such file as well.
    pub async fn get(&self, name: &str) -> SqlResult<Bytes> {
        self.find(name).await?.ok_or_else(|| {
            SqlError::new(SqlState::IoError, format!("file \"{}\" of the backup is missing", self.shown(name)))
        })
    }

    /// The names of all files below, relative to here, in their order.
    pub async fn list(&self) -> SqlResult<Vec<String>> {
        let prefix = (!self.below.is_empty()).then(|| Path::from(self.below.as_str()));
        let found: Result<Vec<_>, _> = self.store.list(prefix.as_ref()).try_collect().await;
        let found = found.map_err(|error| self.failed("list", "", &error))?;
        let skip = if self.below.is_empty() { 0 } else { self.below.len() + 1 };
        let mut names: Vec<String> =
            found.iter().filter_map(|object| object.location.as_ref().get(skip..).map(str::to_owned)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// A file that is not there is no error.
    pub async fn delete(&self, name: &str) -> SqlResult<()> {
        match self.store.delete(&self.path(name)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("delete", name, &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_that_are_none() {
        for (uri, code, message) in [
            ("/tmp/x", "22023", "it has no scheme"),
            ("ftp://h/x", "22023", "its scheme is not known"),
            ("file://host/x", "22023", "must be absolute"),
            ("file:///a/../b", "22023", "\"..\""),
            ("file:///a?b=c", "22023", "no parameters"),
            ("s3://bucket/x?AWS_SECRET_ACCESS_KEY=k", "0A000", "s3://"),
            ("file:///nonexistent/q", "58P01", "does not exist"),
        ] {
            let error = Location::open(uri, Mode::Read).expect_err(uri);
            assert_eq!(error.code().code(), code, "{uri}");
            assert!(error.message().contains(message), "{uri}: {}", error.message());
            assert!(!error.message().contains("=k"), "{}", error.message());
        }
    }

    #[tokio::test]
    async fn files_are_written_once_and_listed() {
        let dir = tempfile::tempdir().unwrap();
        let root = Location::open(&format!("file://{}/new", dir.path().display()), Mode::Write).unwrap();
        let child = root.child("2026/11");
        assert!(child.put_new("MANIFEST", "a".into()).await.unwrap());
        assert!(!child.put_new("MANIFEST", "b".into()).await.unwrap());
        child.put("data/1", "c".into()).await.unwrap();
        assert_eq!(child.get("MANIFEST").await.unwrap(), "a");
        assert_eq!(root.list().await.unwrap(), ["2026/11/MANIFEST", "2026/11/data/1"]);
        assert_eq!(child.list().await.unwrap(), ["MANIFEST", "data/1"]);
        child.delete("data/1").await.unwrap();
        child.delete("data/1").await.unwrap();
        assert_eq!(child.find("data/1").await.unwrap(), None);
        assert!(child.get("data/1").await.unwrap_err().message().contains("2026/11/data/1\" of the backup is missing"));
    }
}
