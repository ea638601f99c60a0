//! Why a transaction did not commit.

use std::fmt;

#[derive(Debug)]
pub enum Failure {
    Server(tokio_postgres::Error),
    /// A connection that gave no answer in time.
    Silent,
    /// A row that must be there is not.
    Missing(&'static str),
    /// The transaction itself found nothing to do, and did nothing.
    Declined(&'static str),
    /// Something outside the server: an address, a file, a schema that is not ours.
    Outside(String),
}

pub type Outcome<T> = Result<T, Failure>;

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Server(error)
    }
}

impl Failure {
    /// The SQLSTATE, if the server gave one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Server(error) => error.code().map(tokio_postgres::error::SqlState::code),
            Self::Silent | Self::Missing(_) | Self::Declined(_) | Self::Outside(_) => None,
        }
    }

    /// A serialization failure or a deadlock: the client runs it again.
    #[must_use]
    pub fn is_retry(&self) -> bool {
        self.code().is_some_and(|code| matches!(code, "40001" | "40P01"))
    }

    /// Whether the connection is of no use any more.
    #[must_use]
    pub fn breaks_connection(&self) -> bool {
        match self {
            Self::Server(_) => self.code().is_none_or(|code| code.starts_with("08") || code.starts_with("57P")),
            Self::Silent => true,
            Self::Missing(_) | Self::Declined(_) | Self::Outside(_) => false,
        }
    }

    /// Whether the outcome of a commit that was answered like this is unknown: the answer was lost, the server says
    /// so (40003), or it was shut down in the middle.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Server(_) => {
                self.code().is_none_or(|code| code == "40003" || code.starts_with("08") || code.starts_with("57P"))
            }
            Self::Silent => true,
            Self::Missing(_) | Self::Declined(_) | Self::Outside(_) => false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(error) => match error.as_db_error() {
                Some(error) => {
                    write!(f, "{}: {} {}", error.code().code(), error.message(), error.detail().unwrap_or_default())
                }
                None => write!(f, "{error}"),
            },
            Self::Silent => f.write_str("no answer in time"),
            Self::Missing(statement) => write!(f, "no row: {statement}"),
            Self::Declined(why) => f.write_str(why),
            Self::Outside(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Failure {}
