//! The events of the audit log, and the form of a line.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Connect,
    /// A login that failed.
    AuthenticationFailed,
    Disconnect,
    Ddl,
    Grant,
    Role,
    Setting,
    /// Tables were read or written that a rule chooses, or would have been.
    Access,
    /// A file begins: its line names the last line of the file before.
    Opened,
    /// The end of a line that was being written when the process ended was taken away.
    Torn,
    /// Lines that could not be written.
    Lost,
}

/// Something to be told. What does not apply is left out of the line.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    pub kind: Kind,
    pub session: i32,
    /// Who has connected, or wanted to.
    pub user: &'a str,
    /// Whose rights the statement ran with.
    pub role: Option<&'a str>,
    pub database: &'a str,
    /// None for the Unix socket.
    pub address: Option<String>,
    /// How the client showed who it is.
    pub method: Option<&'a str>,
    pub statement: Option<&'a str>,
    /// What the statement has run, where that was not itself.
    pub command: Option<&'a str>,
    /// Tables with their schemas.
    pub reads: &'a [String],
    pub writes: &'a [String],
    /// Values of parameters, where they are to be shown.
    pub parameters: Option<&'a [Option<String>]>,
    /// Of the outcome; 00000 where it is good.
    pub sqlstate: &'a str,
}

impl<'a> Event<'a> {
    /// One of which only this is known, and whose outcome is good.
    #[must_use]
    pub fn new(kind: Kind, session: i32, user: &'a str, database: &'a str) -> Self {
        Self {
            kind,
            session,
            user,
            role: None,
            database,
            address: None,
            method: None,
            statement: None,
            command: None,
            reads: &[],
            writes: &[],
            parameters: None,
            sqlstate: "00000",
        }
    }
}

/// The members of a line, in their order. `chain` comes after them.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Line {
    pub seq: u64,
    pub time: String,
    pub node: u64,
    pub event: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Vec<Option<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

impl Line {
    pub fn of(event: &Event<'_>, time: String) -> Self {
        Self {
            time,
            event: Some(event.kind),
            session: Some(event.session),
            user: Some(event.user.to_owned()),
            role: event.role.map(str::to_owned),
            database: Some(event.database.to_owned()),
            address: event.address.clone(),
            method: event.method.map(str::to_owned),
            statement: event.statement.map(str::to_owned),
            command: event.command.map(str::to_owned),
            reads: event.reads.to_vec(),
            writes: event.writes.to_vec(),
            parameters: event.parameters.map(<[_]>::to_vec),
            sqlstate: Some(event.sqlstate.to_owned()),
            ..Self::default()
        }
    }
}
