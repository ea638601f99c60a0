//! Jobs: work that outlives the statement, the session and the node that began it.
//!
//! ```text
//! /System/"job"/<id>            state: tagged fields, below
//! /System/"job/details"/<id>    what is to be done; does not change
//! /System/"job/progress"/<id>   how far it is, as the job itself writes it down
//! /System/"id/job"              the last id given out
//!
//!  pending ─▶ running ─▶ succeeded
//!     │         │ ├────▶ pause-requested ──▶ paused ─ RESUME ─▶ running
//!     │         │ └────▶ cancel-requested ─▶ canceled
//!     └─────────┴─▶ failed
//! ```
//! PAUSE and CANCEL are requests: the coordinator sees them, stops, and writes down that it did.
//!
//! **Invariant (one-coordinator):** whoever works on a job holds its lease, and writes to its rows only in transactions
//! that find the lease's number unchanged. A lease that has run out is taken over under the next number, so that a
//! coordinator that comes back cannot write any more. What it does outside of the cluster meanwhile must be harmless:
//! names of files are random, and files are only removed under the lease.
//!
//! **Invariant (ended-once):** a job ends in the transaction that makes its work known, where it makes any.
//!
//! **Invariant (each-by-itself):** a record that cannot be read, or a job that cannot be tended, keeps no other job waiting,
//! and no store from collecting garbage.

mod registry;
mod rows;

use hlc::Timestamp;
use keys::NodeId;
use keys::encoding::take_uvarint;
use keys::tagged::{Malformed, Reader, Writer};

use crate::stamp;

pub use registry::{FoundJob, NewJob, Registry, RegistryOptions, Verb};
pub(crate) use registry::{JobContext, Stopped};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    Backup,
    Restore,
}

impl JobKind {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Backup => "BACKUP",
            Self::Restore => "RESTORE",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobStatus {
    Pending,
    Running,
    PauseRequested,
    Paused,
    CancelRequested,
    Canceled,
    Succeeded,
    Failed,
}

impl JobStatus {
    pub(crate) const ALL: [Self; 8] = [
        Self::Pending,
        Self::Running,
        Self::PauseRequested,
        Self::Paused,
        Self::CancelRequested,
        Self::Canceled,
        Self::Succeeded,
        Self::Failed,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::PauseRequested => "pause-requested",
            Self::Paused => "paused",
            Self::CancelRequested => "cancel-requested",
            Self::Canceled => "canceled",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }

    /// Nothing more happens to it.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        match self {
            Self::Canceled | Self::Succeeded | Self::Failed => true,
            Self::Pending | Self::Running | Self::PauseRequested | Self::Paused | Self::CancelRequested => false,
        }
    }

    /// It needs a coordinator.
    #[must_use]
    pub const fn is_active(self) -> bool {
        match self {
            Self::Pending | Self::Running | Self::PauseRequested | Self::CancelRequested => true,
            Self::Paused | Self::Canceled | Self::Succeeded | Self::Failed => false,
        }
    }

    fn number(self) -> u64 {
        Self::ALL.iter().position(|known| *known == self).map_or(0, |at| at as u64)
    }
}

/// Who works on a job, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub node: NodeId,
    pub until: Timestamp,
}

/// Why a job failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobError {
    pub code: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

/// A job's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub id: u64,
    pub kind: JobKind,
    pub status: JobStatus,
    /// The statement, without secrets.
    pub statement: String,
    pub user: u32,
    pub user_name: String,
    pub created: Timestamp,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    /// Of its work, in millionths.
    pub done_ppm: u64,
    pub rows: u64,
    pub bytes: u64,
    pub error: Option<JobError>,
    /// The number of the last lease.
    pub lease_number: u64,
    pub lease: Option<Lease>,
    /// Versions from this time on are kept until it has ended.
    pub protects: Option<Timestamp>,
    /// How often it was begun again after an error that may pass.
    pub retries: u64,
}

/// A job whose record cannot be read: it is damaged, or of a later version. No node works on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableJob {
    pub id: u64,
    pub reason: String,
    /// What it still protects, as far as that can be read.
    pub protects: Option<Timestamp>,
}

impl UnreadableJob {
    fn new(id: u64, bytes: &[u8], error: &Malformed) -> Self {
        let reason = format!("the record of job {id} cannot be read: {error}");
        Self { id, reason, protects: protected(bytes) }
    }
}

/// The field with a tag, whatever the others are.
fn field(mut record: &[u8], wanted: u64) -> Option<&[u8]> {
    loop {
        let (tag, length) = (take_uvarint(&mut record).ok()?, take_uvarint(&mut record).ok()?);
        let (bytes, rest) = record.split_at_checked(usize::try_from(length).ok()?)?;
        if tag == wanted {
            return Some(bytes);
        }
        record = rest;
    }
}

/// A later version writes these two fields as this one does.
fn protected(record: &[u8]) -> Option<Timestamp> {
    let mut number = field(record, 4).unwrap_or(&[0]);
    let status = usize::try_from(take_uvarint(&mut number).ok()?).ok()?;
    if JobStatus::ALL.get(status).is_some_and(|status| status.has_ended()) {
        return None;
    }
    stamp::decode(30, Some(field(record, 30)?)).ok()
}

impl Job {
    #[must_use]
    pub fn fraction(&self) -> f64 {
        self.done_ppm as f64 / 1e6
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(2, self.kind as u64, 0);
        writer.number(4, self.status.number(), 0);
        writer.text(6, &self.statement);
        writer.number(8, self.user.into(), 0);
        writer.text(10, &self.user_name);
        writer.bytes(12, &stamp::encode(self.created));
        for (tag, at) in [(14, self.started), (16, self.finished)] {
            if let Some(at) = at {
                writer.bytes(tag, &stamp::encode(at));
            }
        }
        writer.number(18, self.done_ppm, 0);
        writer.number(20, self.rows, 0);
        writer.number(22, self.bytes, 0);
        if let Some(error) = &self.error {
            let mut inner = Writer::default();
            inner.text(2, &error.code);
            inner.text(4, &error.message);
            inner.text(6, error.detail.as_deref().unwrap_or_default());
            inner.text(8, error.hint.as_deref().unwrap_or_default());
            writer.bytes(24, &inner.finish());
        }
        writer.number(26, self.lease_number, 0);
        if let Some(lease) = self.lease {
            let mut bytes = stamp::encode(lease.until);
            bytes.extend_from_slice(&lease.node.get().to_be_bytes());
            writer.bytes(28, &bytes);
        }
        if let Some(at) = self.protects {
            writer.bytes(30, &stamp::encode(at));
        }
        writer.number(32, self.retries, 0);
        writer.finish()
    }

    /// The record of a job.
    pub(crate) fn read(id: u64, bytes: &[u8]) -> Result<Self, UnreadableJob> {
        Self::decode(id, bytes).map_err(|error| UnreadableJob::new(id, bytes, &error))
    }

    fn decode(id: u64, bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let kind = match reader.number(2, 0)? {
            0 => JobKind::Backup,
            1 => JobKind::Restore,
            _ => return Err(Malformed::Bad(2)),
        };
        let status = usize::try_from(reader.number(4, 0)?).ok().and_then(|at| JobStatus::ALL.get(at).copied());
        let status = status.ok_or(Malformed::Bad(4))?;
        let (statement, user, user_name) = (reader.text(6)?, reader.id(8)?, reader.text(10)?);
        let created = stamp::decode(12, reader.bytes(12)?)?;
        let time = |tag: u64, bytes: Option<&[u8]>| bytes.map(|bytes| stamp::decode(tag, Some(bytes))).transpose();
        let (started, finished) = (time(14, reader.bytes(14)?)?, time(16, reader.bytes(16)?)?);
        let (done_ppm, rows, bytes) = (reader.number(18, 0)?, reader.number(20, 0)?, reader.number(22, 0)?);
        let error = match reader.bytes(24)? {
            None => None,
            Some(bytes) => {
                let mut inner = Reader::new(bytes)?;
                let (code, message) = (inner.text(2)?, inner.text(4)?);
                let some = |text: String| Some(text).filter(|text| !text.is_empty());
                let (detail, hint) = (some(inner.text(6)?), some(inner.text(8)?));
                inner.finish()?;
                Some(JobError { code, message, detail, hint })
            }
        };
        let lease_number = reader.number(26, 0)?;
        let lease = match reader.bytes(28)? {
            None => None,
            Some(bytes) => {
                let (until, node) = bytes.split_at_checked(12).ok_or(Malformed::Bad(28))?;
                let node = u64::from_be_bytes(node.try_into().map_err(|_| Malformed::Bad(28))?);
                Some(Lease { until: stamp::decode(28, Some(until))?, node: NodeId::new(node) })
            }
        };
        let protects = time(30, reader.bytes(30)?)?;
        let retries = reader.number(32, 0)?;
        reader.finish()?;
        Ok(Self {
            id,
            kind,
            status,
            statement,
            user,
            user_name,
            created,
            started,
            finished,
            done_ppm,
            rows,
            bytes,
            error,
            lease_number,
            lease,
            protects,
            retries,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_of_a_job() {
        let at = |ns| Timestamp::new(ns, 1);
        let job = Job {
            id: 7,
            kind: JobKind::Restore,
            status: JobStatus::Running,
            statement: "RESTORE".into(),
            user: 10,
            user_name: "u".into(),
            created: at(1),
            started: Some(at(2)),
            finished: None,
            done_ppm: 500_000,
            rows: 3,
            bytes: 4,
            error: Some(JobError { code: "XX001".into(), message: "m".into(), detail: None, hint: Some("h".into()) }),
            lease_number: 2,
            lease: Some(Lease { node: NodeId::new(3), until: at(9) }),
            protects: Some(at(1)),
            retries: 1,
        };
        let bytes = job.encode();
        assert_eq!(Job::decode(7, &bytes).unwrap(), job);
        let shown: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown, include_str!("job.golden").trim(), "bytes that are stored stay readable");
        for end in 0..bytes.len() {
            // An error, or fields that are whole.
            let _ = Job::decode(7, &bytes[..end]);
        }
    }

    #[test]
    fn a_record_of_a_later_version_still_protects() {
        let record = |status: JobStatus, at: Option<u64>| {
            let mut writer = Writer::default();
            writer.number(4, status.number(), 0);
            writer.bytes(5, b"may be skipped");
            writer.bytes(12, &stamp::encode(Timestamp::new(1, 0)));
            if let Some(at) = at {
                writer.bytes(30, &stamp::encode(Timestamp::new(at, 0)));
            }
            writer.bytes(100, b"not known here");
            writer.finish()
        };
        for (status, at, expected) in [
            (JobStatus::Pending, Some(8), Some(8)),
            (JobStatus::Paused, Some(9), Some(9)),
            (JobStatus::Running, None, None),
            (JobStatus::Succeeded, Some(9), None),
        ] {
            let unreadable = Job::read(3, &record(status, at)).expect_err("a field is not known");
            assert_eq!((unreadable.id, unreadable.protects), (3, expected.map(|at| Timestamp::new(at, 0))));
        }
        let damaged = Job::read(3, b"\xff\xff nonsense").expect_err("no fields");
        assert_eq!(damaged.protects, None);
        assert!(damaged.reason.starts_with("the record of job 3 cannot be read: "), "{}", damaged.reason);
    }
}
