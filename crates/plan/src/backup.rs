//! BACKUP, RESTORE and jobs, as the session runs them.

/// What BACKUP names, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupTargets {
    Cluster,
    Databases(Vec<u32>),
    Tables(Vec<u32>),
}

#[derive(Clone, Debug)]
pub struct Backup {
    pub targets: BackupTargets,
    /// As messages name them: `DATABASE a, b`.
    pub shown: String,
    pub uri: String,
    /// INTO LATEST IN: an incremental one.
    pub append: bool,
    /// AS OF SYSTEM TIME, as it was written.
    pub as_of: Option<String>,
    pub revision_history: bool,
    pub passphrase: Option<String>,
    /// Bytes a second; 0 for no bound.
    pub rate_limit: u64,
    pub detached: bool,
}

/// Which of a location's backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupChoice {
    Latest,
    Path(String),
}

/// A backup that is there.
#[derive(Clone, Debug)]
pub struct NamedBackup {
    pub choice: BackupChoice,
    pub uri: String,
    pub passphrase: Option<String>,
}

/// What RESTORE names: it need not exist here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreTargets {
    Cluster,
    Databases(Vec<String>),
    /// Database, schema and name.
    Tables(Vec<(Option<String>, String, String)>),
}

#[derive(Clone, Debug)]
pub struct Restore {
    pub targets: RestoreTargets,
    pub shown: String,
    pub from: NamedBackup,
    pub as_of: Option<String>,
    pub new_name: Option<String>,
    /// Where tables go.
    pub database: u32,
    pub skip_missing_foreign_keys: bool,
    pub detached: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobVerb {
    Pause,
    Resume,
    Cancel,
}

/// A statement of this module.
#[derive(Clone, Debug)]
pub enum BackupStatement {
    Backup(Backup),
    Restore(Restore),
    ShowBackups { uri: String },
    ShowBackup(NamedBackup),
    Verify(NamedBackup),
    /// None: all.
    ShowJobs(Option<u64>),
    Control { verb: JobVerb, id: u64 },
}
