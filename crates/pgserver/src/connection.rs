//! A client's connection: startup, then messages in order until it goes.
//!
//! **Invariants**
//! - *bounded-before-taken*: the length of a message is checked before memory is taken for it.
//! - *flush-once*: answers gather in one buffer, which is sent when the client waits: at Sync, Flush, and the end of
//!   a query string.

use std::{collections::HashMap, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use pgwire::messages::{
    DecodeContext, PgWireFrontendMessage,
    extendedquery::{Bind, Describe, Execute, Parse},
};
use session::{CancelFlag, Completion, CopyIn, Engine, Prepared, Session, Settings, TransactionStatus};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
};
use types::{Datum, SqlError, SqlResult, SqlState, SqlType, parse_binary, parse_text};

use crate::{encode, sink::WireSink};

/// A message above this is refused.
const MAX_MESSAGE_BYTES: usize = 16 << 20;
const MAX_STARTUP_BYTES: usize = 10_000;

/// The sessions of a node that may be cancelled, by process number and secret.
#[derive(Default)]
pub struct CancelRegistry {
    flags: Mutex<HashMap<(i32, i32), CancelFlag>>,
}

impl CancelRegistry {
    fn cancel(&self, pid: i32, secret: i32) {
        if let Some(flag) = self.flags.lock().get(&(pid, secret)) {
            flag.cancel();
        }
    }
}

struct Portal {
    prepared: Prepared,
    params: Vec<Datum>,
    formats: Vec<i16>,
    /// Rows that a limit has held back, whole messages, and the tag that follows the last.
    held: Option<(Vec<Bytes>, usize, String)>,
}

pub(crate) struct Connection {
    stream: TcpStream,
    input: BytesMut,
    out: BytesMut,
    decode: DecodeContext,
    registry: Arc<CancelRegistry>,
    draining: watch::Receiver<bool>,
}

enum Next {
    Message(PgWireFrontendMessage),
    Closed,
}

fn protocol(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::ProtocolViolation, message)
}

impl Connection {
    pub fn new(stream: TcpStream, registry: Arc<CancelRegistry>, draining: watch::Receiver<bool>) -> Self {
        Self {
            stream,
            input: BytesMut::with_capacity(8 << 10),
            out: BytesMut::with_capacity(8 << 10),
            decode: DecodeContext::default(),
            registry,
            draining,
        }
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).await?;
            self.out.clear();
        }
        Ok(())
    }

    /// *bounded-before-taken*
    fn check_length(&self) -> SqlResult<()> {
        let startup = self.decode.awaiting_frontend_ssl || self.decode.awaiting_frontend_startup;
        let (at, max) = if startup { (0, MAX_STARTUP_BYTES) } else { (1, MAX_MESSAGE_BYTES) };
        let Some(length) = self.input.get(at..at + 4) else { return Ok(()) };
        let length = i32::from_be_bytes(length.try_into().expect("four bytes were taken"));
        match usize::try_from(length) {
            Ok(length) if (4..=max).contains(&length) => Ok(()),
            _ => Err(protocol(format!("invalid message length {length}"))
                .with_detail(format!("A message may have 4 to {max} bytes."))),
        }
    }

    async fn read(&mut self) -> SqlResult<Next> {
        loop {
            self.check_length()?;
            let decoded = PgWireFrontendMessage::decode(&mut self.input, &self.decode)
                .map_err(|error| protocol(format!("invalid message: {error}")))?;
            if let Some(message) = decoded {
                return Ok(Next::Message(message));
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return Ok(Next::Closed),
                Ok(_) => {}
            }
        }
    }

    /// Serves the client until it goes.
    pub async fn serve(mut self, engine: Engine, pid: i32) {
        if let Err(error) = self.talk(engine, pid).await {
            encode::error(&mut self.out, error, "FATAL");
        }
        let flushed = self.flush().await;
        if let Err(error) = flushed {
            tracing::debug!(%error, "client gone");
        }
    }

    async fn talk(&mut self, engine: Engine, pid: i32) -> SqlResult<()> {
        let Some(parameters) = self.startup().await? else { return Ok(()) };
        let user = parameters.get("user").cloned().ok_or_else(|| {
            SqlError::new(
                SqlState::InvalidAuthorizationSpecification,
                "no PostgreSQL user name specified in startup packet",
            )
        })?;
        let database = parameters.get("database").cloned().unwrap_or_else(|| user.clone());
        let mut session = Session::connect(engine, &user, &database, pid).await?;
        for (name, value) in &parameters {
            if !matches!(name.as_str(), "user" | "database" | "options" | "replication") && !name.starts_with("_pq_.") {
                session.settings.set_default(name, value)?;
            }
        }
        let secret: i32 = rand::random();
        encode::authentication_ok(&mut self.out);
        for (name, value) in session.settings.reported() {
            encode::parameter_status(&mut self.out, name, value);
        }
        encode::backend_key(&mut self.out, pid, secret);
        encode::ready(&mut self.out, b'I');
        self.registry.flags.lock().insert((pid, secret), session.cancel_flag());
        let outcome = self.messages(&mut session).await;
        self.registry.flags.lock().remove(&(pid, secret));
        session.rollback().await;
        outcome
    }

    async fn startup(&mut self) -> SqlResult<Option<std::collections::BTreeMap<String, String>>> {
        loop {
            match self.read().await? {
                Next::Closed => return Ok(None),
                Next::Message(PgWireFrontendMessage::SslNegotiation(kind)) => {
                    use pgwire::messages::SslNegotiationMetaMessage as Kind;
                    match kind {
                        // No certificates here yet: the client may go on without.
                        Kind::PostgresSsl(_) | Kind::PostgresGss(_) => {
                            self.out.extend_from_slice(b"N");
                            self.flush().await.map_err(|error| protocol(error.to_string()))?;
                        }
                        _ => self.decode.awaiting_frontend_ssl = false,
                    }
                }
                Next::Message(PgWireFrontendMessage::CancelRequest(request)) => {
                    if let pgwire::messages::startup::SecretKey::I32(secret) = request.secret_key {
                        self.registry.cancel(request.pid, secret);
                    }
                    return Ok(None);
                }
                Next::Message(PgWireFrontendMessage::Startup(startup)) => {
                    if startup.protocol_number_major != 3 {
                        return Err(SqlError::not_supported(format!(
                            "protocol version {}.{}",
                            startup.protocol_number_major, startup.protocol_number_minor
                        )));
                    }
                    self.decode.awaiting_frontend_startup = false;
                    return Ok(Some(startup.parameters));
                }
                Next::Message(_) => return Err(protocol("a startup message is expected")),
            }
        }
    }

    fn ready(&mut self, session: &Session) {
        let status = match session.status() {
            TransactionStatus::Idle => b'I',
            TransactionStatus::InBlock => b'T',
            TransactionStatus::Failed => b'E',
        };
        encode::ready(&mut self.out, status);
    }

    async fn messages(&mut self, session: &mut Session) -> SqlResult<()> {
        let mut portals: HashMap<String, Portal> = HashMap::new();
        // After an error in the extended protocol, everything up to Sync is passed over.
        let mut skipping = false;
        loop {
            if self.input.is_empty() {
                if self.flush().await.is_err() {
                    return Ok(());
                }
                if *self.draining.borrow() && session.status() == TransactionStatus::Idle {
                    return Err(SqlError::new(
                        SqlState::AdminShutdown,
                        "terminating connection due to administrator command",
                    ));
                }
            }
            let mut draining = self.draining.clone();
            let idle = session.status() == TransactionStatus::Idle && self.input.is_empty();
            let next = tokio::select! {
                next = self.read() => next?,
                changed = draining.changed(), if idle => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    continue;
                }
            };
            let Next::Message(message) = next else { return Ok(()) };
            match message {
                PgWireFrontendMessage::Terminate(_) => return Ok(()),
                PgWireFrontendMessage::Query(query) => {
                    skipping = false;
                    portals.remove("");
                    if let Err(error) = self.query(session, &query.query).await {
                        encode::error(&mut self.out, error, "ERROR");
                    }
                    if session.status() == TransactionStatus::Idle {
                        portals.clear();
                    }
                    self.ready(session);
                    if self.flush().await.is_err() {
                        return Ok(());
                    }
                }
                PgWireFrontendMessage::Sync(_) => {
                    skipping = false;
                    if session.status() == TransactionStatus::Idle {
                        portals.clear();
                    }
                    self.ready(session);
                    if self.flush().await.is_err() {
                        return Ok(());
                    }
                }
                PgWireFrontendMessage::Flush(_) => {
                    if self.flush().await.is_err() {
                        return Ok(());
                    }
                }
                _ if skipping => {}
                PgWireFrontendMessage::Parse(parse) => {
                    skipping = self.answer(parse_message(session, parse).await, b'1');
                }
                PgWireFrontendMessage::Bind(bind) => {
                    let bound = bind_message(session, bind, &mut portals);
                    skipping = self.answer(bound, b'2');
                }
                PgWireFrontendMessage::Describe(describe) => {
                    if let Err(error) = self.describe(session, &describe, &portals) {
                        encode::error(&mut self.out, error, "ERROR");
                        skipping = true;
                    }
                }
                PgWireFrontendMessage::Execute(execute) => {
                    if let Err(error) = self.execute(session, &execute, &mut portals).await {
                        encode::error(&mut self.out, error, "ERROR");
                        skipping = true;
                    }
                }
                PgWireFrontendMessage::Close(close) => {
                    let name = close.name.unwrap_or_default();
                    if close.target_type == b'S' {
                        session.deallocate(&name);
                    } else {
                        portals.remove(&name);
                    }
                    encode::empty(&mut self.out, b'3');
                }
                // Data that was on its way when a COPY failed.
                PgWireFrontendMessage::CopyData(_)
                | PgWireFrontendMessage::CopyDone(_)
                | PgWireFrontendMessage::CopyFail(_) => {}
                _ => return Err(protocol("a message that is not expected here")),
            }
        }
    }

    /// Writes a short answer or an error; whether it was an error.
    fn answer(&mut self, outcome: SqlResult<()>, kind: u8) -> bool {
        match outcome {
            Ok(()) => {
                encode::empty(&mut self.out, kind);
                false
            }
            Err(error) => {
                encode::error(&mut self.out, error, "ERROR");
                true
            }
        }
    }

    async fn query(&mut self, session: &mut Session, text: &str) -> SqlResult<()> {
        let statements = plan::parse(text)?;
        if statements.is_empty() {
            encode::empty(&mut self.out, b'I');
            return Ok(());
        }
        for statement in &statements {
            let formatting = session.settings.formatting.clone();
            let mut out = std::mem::take(&mut self.out);
            let mut sink = WireSink::new(&mut out, formatting);
            // COPY TO announces itself differently from a result set.
            sink.copy = copy_out_options(session, statement);
            let outcome = session.run(statement, &mut sink).await;
            drop(sink);
            self.out = out;
            self.complete(session, outcome?).await?;
        }
        Ok(())
    }

    async fn complete(&mut self, session: &mut Session, completion: Completion) -> SqlResult<()> {
        match completion {
            Completion::Empty => encode::empty(&mut self.out, b'I'),
            Completion::Done(tag) => encode::command_complete(&mut self.out, &tag),
            Completion::CopyOut(tag) => {
                encode::empty(&mut self.out, b'c');
                encode::command_complete(&mut self.out, &tag);
            }
            Completion::CopyIn(copy) => {
                let tag = self.copy_in(session, *copy).await?;
                encode::command_complete(&mut self.out, &tag);
            }
        }
        Ok(())
    }

    async fn copy_in(&mut self, session: &mut Session, mut copy: CopyIn) -> SqlResult<String> {
        encode::copy_response(&mut self.out, b'G', copy.column_count());
        self.flush().await.map_err(|error| protocol(error.to_string()))?;
        loop {
            match self.read().await? {
                Next::Closed => return Err(session.copy_failed("the connection was closed").await),
                Next::Message(PgWireFrontendMessage::CopyData(data)) => {
                    session.copy_data(&mut copy, &data.data).await?;
                }
                Next::Message(PgWireFrontendMessage::CopyDone(_)) => return session.copy_done(&mut copy).await,
                Next::Message(PgWireFrontendMessage::CopyFail(fail)) => {
                    return Err(session.copy_failed(&fail.message).await);
                }
                Next::Message(PgWireFrontendMessage::Sync(_) | PgWireFrontendMessage::Flush(_)) => {}
                Next::Message(_) => {
                    return Err(session.copy_failed("a message that is no COPY data").await);
                }
            }
        }
    }

    fn describe(
        &mut self,
        session: &Session,
        describe: &Describe,
        portals: &HashMap<String, Portal>,
    ) -> SqlResult<()> {
        let name = describe.name.as_deref().unwrap_or_default();
        if describe.target_type == b'S' {
            let prepared = session.prepared(name)?;
            encode::parameter_description(&mut self.out, &prepared.plan.params);
            self.describe_columns(&prepared, &[]);
            return Ok(());
        }
        let portal = portals.get(name).ok_or_else(|| no_portal(name))?;
        self.describe_columns(&portal.prepared, &portal.formats);
        Ok(())
    }

    fn describe_columns(&mut self, prepared: &Prepared, formats: &[i16]) {
        if prepared.plan.columns.is_empty() {
            encode::empty(&mut self.out, b'n');
        } else {
            encode::row_description(&mut self.out, &prepared.plan.columns, formats);
        }
    }

    async fn execute(
        &mut self,
        session: &mut Session,
        execute: &Execute,
        portals: &mut HashMap<String, Portal>,
    ) -> SqlResult<()> {
        let name = execute.name.as_deref().unwrap_or_default();
        let portal = portals.get_mut(name).ok_or_else(|| no_portal(name))?;
        let limit = usize::try_from(execute.max_rows).unwrap_or(0);
        if portal.held.is_none() {
            let formatting = session.settings.formatting.clone();
            let mut out = std::mem::take(&mut self.out);
            let start = out.len();
            let mut sink = WireSink::new(&mut out, formatting);
            sink.describe = false;
            sink.formats.clone_from(&portal.formats);
            sink.types = portal.prepared.plan.columns.iter().map(|column| column.ty).collect();
            if let Some(statement) = &portal.prepared.statement {
                sink.copy = copy_out_options(session, statement);
            }
            let prepared = portal.prepared.clone();
            let params = std::mem::take(&mut portal.params);
            let outcome = session.run_prepared(&prepared, &params, &mut sink).await;
            let rows = sink.rows;
            drop(sink);
            self.out = out;
            portal.params = params;
            let completion = outcome?;
            match completion {
                Completion::Done(tag) if limit > 0 && rows as usize > limit => {
                    // The answer is here; what is over the limit waits for the next Execute.
                    let all = self.out.split_off(start).freeze();
                    portal.held = Some((split_messages(all), 0, tag));
                }
                other => return self.complete(session, other).await,
            }
        }
        let Some((messages, next, tag)) = &mut portal.held else { return Ok(()) };
        let end = if limit == 0 { messages.len() } else { (*next + limit).min(messages.len()) };
        for message in &messages[*next..end] {
            self.out.extend_from_slice(message);
        }
        *next = end;
        if end < messages.len() {
            encode::empty(&mut self.out, b's');
        } else {
            encode::command_complete(&mut self.out, tag);
        }
        Ok(())
    }
}

/// Cuts a run of messages into single ones.
fn split_messages(mut all: Bytes) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while all.len() >= 5 {
        let length = i32::from_be_bytes([all[1], all[2], all[3], all[4]]) as usize;
        messages.push(all.split_to(1 + length));
    }
    debug_assert!(!all.has_remaining(), "whole messages were written");
    messages
}

fn no_portal(name: &str) -> SqlError {
    SqlError::new(SqlState::InvalidCursorName, format!("portal \"{name}\" does not exist"))
}

/// The options of a COPY TO, if the statement is one.
fn copy_out_options(session: &Session, statement: &plan::ParsedStatement) -> Option<plan::statement::CopyOptions> {
    if statement.tag() != "COPY" {
        return None;
    }
    match session.plan(statement, &[]).ok()?.kind {
        plan::StatementKind::Utility(utility) => match *utility {
            plan::Utility::CopyTo { options, .. } => Some(options),
            _ => None,
        },
        _ => None,
    }
}

async fn parse_message(session: &mut Session, parse: Parse) -> SqlResult<()> {
    let mut statements = plan::parse(&parse.query)?;
    if statements.len() > 1 {
        return Err(SqlError::new(
            SqlState::SyntaxError,
            "cannot insert multiple commands into a prepared statement",
        ));
    }
    let hints = parse.type_oids.iter().map(|oid| SqlType::from_oid(*oid, -1)).collect();
    session.prepare(&parse.name.unwrap_or_default(), statements.pop(), hints).await
}

fn bind_message(session: &Session, bind: Bind, portals: &mut HashMap<String, Portal>) -> SqlResult<()> {
    let name = bind.portal_name.unwrap_or_default();
    if !name.is_empty() && portals.contains_key(&name) {
        return Err(SqlError::new(SqlState::DuplicateCursor, format!("portal \"{name}\" already exists")));
    }
    let statement = bind.statement_name.unwrap_or_default();
    let prepared = session.prepared(&statement)?;
    let wanted = &prepared.plan.params;
    if bind.parameters.len() != wanted.len() {
        return Err(protocol(format!(
            "bind message supplies {} parameters, but prepared statement \"{statement}\" requires {}",
            bind.parameters.len(),
            wanted.len()
        )));
    }
    let mut params = Vec::with_capacity(wanted.len());
    for (at, (value, ty)) in bind.parameters.iter().zip(wanted).enumerate() {
        params.push(match value {
            None => Datum::Null,
            Some(bytes) => match encode::format_of(&bind.parameter_format_codes, at) {
                0 => {
                    let text = std::str::from_utf8(bytes).map_err(|_| {
                        SqlError::new(
                            SqlState::CharacterNotInRepertoire,
                            "invalid byte sequence for encoding \"UTF8\"",
                        )
                    })?;
                    parse_text(ty, text, &session.settings.formatting)?
                }
                1 => parse_binary(ty, bytes)?,
                other => return Err(protocol(format!("unsupported format code: {other}"))),
            },
        });
    }
    portals.insert(name, Portal { prepared, params, formats: bind.result_column_format_codes, held: None });
    Ok(())
}

/// Whether a setting is one that clients are told of.
#[must_use]
pub fn is_reported(name: &str) -> bool {
    Settings::reported_name(name).is_some()
}
