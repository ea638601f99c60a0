//! A client's connection: startup, then messages in order until it goes.
//!
//! ```text
//!  startup ──▶ ready ── Query ───────────────▶ ready
//!                ├───── Parse, Bind, … Sync ─▶ ready
//!                └───── error in between ────▶ skipping ── Sync ──▶ ready
//! ```
//! What is wrong inside a message is that message's error. Where messages can no longer be told apart, the client is
//! told why and the connection ends.

use std::{future::Future, sync::Arc, time::Duration};

use auth::doors::{AtDoor, Seat};
use audit::Kind;
use catalog::descriptor::POSTGRES_ROLE;
use session::{Activity, CancelFlag, Client, Completion, Ending, Listener, Session, TransactionStatus};
use tokio::{sync::watch, time::Instant};
use types::{SqlError, SqlResult, SqlState};

use crate::{
    authenticate::{Claim, authenticate},
    encode, extended, fastpath,
    frame::{Body, Frame, Reader, protocol},
    registry::Registered,
    server::Shared,
    sink::WireSink,
    startup::{Opening, options, startup},
    stream::{Origin, Reading, Writing},
    writer::Writer,
};

/// How long, and how much, is read from a client that is being let go, so that it reads why.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(1);
const FAREWELL_BYTES_MAX: usize = 64 << 20;

pub(crate) struct Connection {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    /// Where the client is.
    from: Origin,
    shared: Arc<Shared>,
    draining: watch::Receiver<bool>,
    /// The values of settings that the client was told of last, and when they were looked at.
    told: Vec<(&'static str, String)>,
    told_at: u64,
    /// What the client means by its next messages can no longer be known.
    is_lost: bool,
    /// How the client has shown who it is.
    method: Option<&'static str>,
    /// Until the client has shown who it is.
    door: Option<AtDoor>,
    /// Whether its statements compute for long without a pause.
    pub(crate) wary: Wary,
}

/// What the connection's loop goes on with.
enum Event {
    Message(Frame),
    Gone,
    Draining,
    /// Notifications have come, or the session must end because they are lost.
    Notified,
    Overdue(SqlError),
}

/// How long a client may be silent.
struct Idleness {
    in_block: bool,
    limit: Option<Duration>,
}

impl Idleness {
    fn of(session: &Session) -> Self {
        let in_block = session.status() != TransactionStatus::Idle;
        let name = if in_block { "idle_in_transaction_session_timeout" } else { "idle_session_timeout" };
        Self { in_block, limit: session.settings.duration(name) }
    }
}

impl Connection {
    pub fn new(
        (reading, writing): (Reading, Writing),
        from: Origin,
        shared: Arc<Shared>,
        draining: watch::Receiver<bool>,
        door: AtDoor,
    ) -> Self {
        Self {
            reader: Reader::new(reading, shared.engine.memory.clone()),
            writer: Writer::new(writing),
            from,
            shared,
            draining,
            told: Vec::new(),
            told_at: 0,
            is_lost: false,
            method: None,
            door: Some(door),
            wary: Wary::default(),
        }
    }

    /// Serves the client until it goes.
    pub async fn serve(mut self, pid: i32) {
        let outcome = Box::pin(self.talk(pid)).await;
        if let Err(error) = outcome {
            encode::error(&mut self.writer.out, error, "FATAL");
            let farewell = async {
                if self.writer.flush().await.is_ok() {
                    self.writer.shutdown().await;
                    self.reader.discard(FAREWELL_BYTES_MAX).await;
                }
            };
            // Whether it took its time or not, the client goes.
            let _in_time = tokio::time::timeout(FAREWELL_PATIENCE, farewell).await;
        } else if let Ok(Err(error)) = tokio::time::timeout(FAREWELL_PATIENCE, self.writer.flush()).await {
            tracing::debug!(%error, "client gone");
        }
    }

    async fn talk(&mut self, pid: i32) -> SqlResult<()> {
        let limit = Instant::now() + self.shared.listen.authentication_timeout;
        let shared = self.shared.clone();
        // A Unix socket needs no encryption.
        let certs = shared.listen.certs.as_deref().filter(|_| self.from.address().is_some());
        let opened = startup(&mut self.reader, &mut self.writer, &shared.registry, certs);
        let Ok(opening) = tokio::time::timeout_at(limit, opened).await else { return Ok(()) };
        let Some(opening) = opening? else { return Ok(()) };
        // Before anything is computed for it; whether there is a seat is decided once it has shown who it is.
        if shared.seats.is_full() {
            return Err(too_many());
        }
        let begun = tokio::time::timeout_at(limit, self.begin(pid, &opening)).await;
        let begun = begun.unwrap_or_else(|_| {
            Err(SqlError::new(SqlState::QueryCanceled, "canceling authentication due to timeout"))
        });
        match &begun {
            Ok(Some(_)) => self.tell(Kind::Connect, pid, &opening, None),
            Ok(None) => {}
            Err(error) => self.tell(Kind::AuthenticationFailed, pid, &opening, Some(error)),
        }
        let Some((mut session, _registered, _seat)) = begun? else { return Ok(()) };
        let outcome = self.messages(&mut session).await;
        session.close().await;
        self.tell(Kind::Disconnect, pid, &opening, outcome.as_ref().err());
        outcome
    }

    /// Tells the audit log, if there is one.
    fn tell(&self, kind: Kind, session: i32, opening: &Opening, error: Option<&SqlError>) {
        if self.shared.engine.audit.is_none() {
            return;
        }
        let user = opening.parameters.get("user").map_or("", String::as_str);
        let state = error.map(SqlError::code);
        let database = opening.parameters.get("database").map_or(user, String::as_str);
        self.shared.engine.tell(&audit::Event {
            address: self.from.address().map(|address| address.to_string()),
            method: self.method,
            sqlstate: state.as_ref().map_or("00000", SqlState::code),
            ..audit::Event::new(kind, session, user, database)
        });
    }

    /// Lets the client in; none when it has gone.
    async fn begin(
        &mut self,
        pid: i32,
        opening: &Opening,
    ) -> SqlResult<Option<(Session, Registered, Seat)>> {
        let Opening { parameters, encrypted } = opening;
        let user = parameters.get("user").filter(|user| !user.is_empty()).ok_or_else(|| {
            SqlError::new(
                SqlState::InvalidAuthorizationSpecification,
                "no PostgreSQL user name specified in startup packet",
            )
        })?;
        let database = parameters.get("database").unwrap_or(user);
        let (engine, to) = (self.shared.engine.clone(), self.shared.local_addr);
        let claim = Claim { user, database, from: &self.from, to, encrypted: encrypted.as_ref() };
        let shown_by = authenticate(&claim, &engine, &mut self.reader, &mut self.writer).await?;
        if shown_by.is_none() {
            return Ok(None);
        }
        self.method = shown_by;
        // The first superuser can end that others are refused.
        let is_first = engine.catalog.current().role(user).is_some_and(|role| role.id == POSTGRES_ROLE);
        if !is_first {
            engine.may_tell()?;
        }
        let Some(seat) = self.shared.seats.take() else { return Err(too_many()) };
        if self.door.take().is_some_and(|door| !door.leave()) {
            return Ok(None);
        }
        self.reader.trust();
        let client = Client {
            address: self.from.address(),
            tls: encrypted.as_ref().map(|encrypted| encrypted.shown.clone()),
            is_crowded: seat.is_reserved,
        };
        let mut session = Session::connect_from(engine, user, database, pid, client).await?;
        if let Some(text) = parameters.get("options") {
            for (name, value) in options(text)? {
                session.begin_with(&name, &value)?;
            }
        }
        for (name, value) in parameters {
            if !matches!(name.as_str(), "user" | "database" | "options" | "replication")
                && !name.starts_with("_pq_.")
            {
                session.begin_with(name, value)?;
            }
        }
        let secret: i32 = rand::random();
        let registered = self.shared.registry.register(pid, secret, session.cancel_flag());
        encode::authentication_ok(&mut self.writer.out);
        self.tell_settings(&session);
        encode::backend_key(&mut self.writer.out, pid, secret);
        self.ready(&session);
        Ok(Some((session, registered, seat)))
    }

    /// Tells the client of settings that are not what it was told last.
    fn tell_settings(&mut self, session: &Session) {
        let now = session.settings.generation();
        if self.told_at == now {
            return;
        }
        self.told_at = now;
        for (at, (name, value)) in session.settings.reported().enumerate() {
            match self.told.get_mut(at) {
                Some((_, told)) if told == value => continue,
                Some((_, told)) => value.clone_into(told),
                None => self.told.push((name, value.to_owned())),
            }
            encode::parameter_status(&mut self.writer.out, name, value);
        }
    }

    fn ready(&mut self, session: &Session) {
        let status = match session.status() {
            TransactionStatus::Idle => b'I',
            TransactionStatus::InBlock => b'T',
            TransactionStatus::Failed => b'E',
        };
        encode::ready(&mut self.writer.out, status);
        session.rest();
    }

    /// Tells the client of notifications, where it is in no block.
    ///
    /// # Errors
    /// When the session must end because some are lost.
    fn tell_notifications(&mut self, session: &Session, listener: &Listener) -> SqlResult<()> {
        listener.check()?;
        if session.status() == TransactionStatus::Idle {
            for notification in listener.take()? {
                encode::notification(
                    &mut self.writer.out,
                    notification.pid,
                    &notification.channel,
                    &notification.payload,
                );
            }
        }
        Ok(())
    }

    /// An error that is not the connection's end.
    pub(crate) async fn error(&mut self, session: &mut Session, error: SqlError) {
        let error = session.fail(error).await;
        // The end of the session is told instead.
        if session.activity().is_ending() {
            return;
        }
        encode::error(&mut self.writer.out, error, "ERROR");
    }

    async fn messages(&mut self, session: &mut Session) -> SqlResult<()> {
        // After an error in the extended protocol, everything up to Sync is passed over.
        let mut skipping = false;
        let mut is_ready = true;
        let activity = session.activity();
        let listener = session.listener();
        // Since when the client is waited for: notifications are not its doing.
        let mut silent_since = None;
        loop {
            let mut has_failed = false;
            let frame = match self.reader.buffered()? {
                Some(frame) => frame,
                None => {
                    if is_ready && self.writer.flush().await.is_err() {
                        return Ok(());
                    }
                    let since = *silent_since.get_or_insert_with(Instant::now);
                    match self.wait((Idleness::of(session), since), (&activity, &listener), is_ready).await? {
                        Event::Message(frame) => frame,
                        Event::Gone => return Ok(()),
                        Event::Notified => {
                            self.tell_notifications(session, &listener)?;
                            continue;
                        }
                        Event::Draining => return Err(terminated()),
                        Event::Overdue(error) => return Err(error),
                    }
                }
            };
            silent_since = None;
            is_ready = false;
            match frame.kind {
                b'X' => return Ok(()),
                b'S' => {
                    skipping = false;
                    if let Err(error) = session.end_implicit().await {
                        self.error(session, error).await;
                    }
                    is_ready = true;
                }
                _ if skipping => {}
                b'Q' => {
                    if let Err(error) = self.query(session, &frame.body).await {
                        self.error(session, error).await;
                    }
                    is_ready = true;
                }
                b'F' => {
                    if let Err(error) = fastpath::call(self, session, &frame.body).await {
                        self.error(session, error).await;
                    }
                    is_ready = true;
                }
                b'p' => return Err(protocol("a password was not asked for")),
                // Data that was on its way when a COPY failed.
                b'c' | b'd' | b'f' => {}
                b'H' => {
                    if self.writer.flush().await.is_err() {
                        return Ok(());
                    }
                }
                kind => {
                    if let Err(error) = self.extended(session, kind, &frame.body).await {
                        self.error(session, error).await;
                        skipping = true;
                        has_failed = true;
                    }
                }
            }
            drop(frame);
            self.reader.shrink();
            if activity.is_ending() {
                return Err(terminated());
            }
            if self.is_lost {
                return Err(protocol("terminating connection because protocol synchronization was lost"));
            }
            if is_ready {
                self.tell_settings(session);
                self.tell_notifications(session, &listener)?;
                self.ready(session);
            }
            // A client may wait for the error before it sends Sync.
            if (is_ready || has_failed || self.writer.is_full()) && self.writer.flush().await.is_err() {
                return Ok(());
            }
        }
    }

    async fn extended(&mut self, session: &mut Session, kind: u8, body: &[u8]) -> SqlResult<()> {
        match kind {
            b'P' => extended::parse(self, session, body).await,
            b'B' => extended::bind(self, session, body),
            b'D' => extended::describe(self, session, body),
            b'E' => extended::execute(self, session, body).await,
            b'C' => extended::close(self, session, body),
            other => Err(protocol(format!("invalid frontend message type {other}"))),
        }
    }

    /// Waits for a message, for the node's end, or for the client's time to be over.
    async fn wait(
        &mut self,
        (idleness, since): (Idleness, Instant),
        (activity, listener): (&Activity, &Listener),
        is_ready: bool,
    ) -> SqlResult<Event> {
        let is_waiting = is_ready && !self.reader.has_input();
        let may_drain = is_waiting && !idleness.in_block;
        let limit = idleness.limit.filter(|_| is_waiting);
        if may_drain && *self.draining.borrow() {
            return Ok(Event::Draining);
        }
        let overdue = async {
            match limit {
                Some(limit) => tokio::time::sleep_until(since + limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            frame = self.reader.next() => Ok(frame?.map_or(Event::Gone, Event::Message)),
            _ = self.draining.changed(), if may_drain => Ok(Event::Draining),
            () = activity.ended() => Ok(Event::Draining),
            () = overdue => Ok(Event::Overdue(if idleness.in_block {
                SqlError::new(
                    SqlState::IdleInTransactionSessionTimeout,
                    "terminating connection due to idle-in-transaction timeout",
                )
            } else {
                SqlError::new(SqlState::IdleSessionTimeout, "terminating connection due to idle-session timeout")
            })),
            // Last: where more and more of them come, the client's time is over all the same.
            () = listener.arrived(idleness.in_block), if is_waiting => Ok(Event::Notified),
        }
    }

    async fn query(&mut self, session: &mut Session, body: &[u8]) -> SqlResult<()> {
        let mut body = Body::new(body);
        let text = body.string()?;
        body.end()?;
        session.deallocate("");
        session.close_portal("");
        let statements = session.read_query(text)?;
        if statements.is_empty() {
            encode::empty(&mut self.writer.out, b'I');
            return Ok(());
        }
        for (at, statement) in statements.iter().enumerate() {
            let ending = if at + 1 == statements.len() { Ending::WithStatement } else { Ending::Later };
            let flag = session.cancel_flag();
            let mut sink = WireSink::for_query(&mut self.writer);
            let running = session.run_query(statement, &mut sink, ending);
            let completion = watched(&mut self.reader, &mut self.wary, &flag, running).await?;
            if matches!(completion, Completion::CopyOut(_)) {
                sink.end_copy();
            }
            self.complete(session, completion).await?;
        }
        session.end_implicit().await
    }

    pub(crate) async fn complete(&mut self, session: &mut Session, completion: Completion) -> SqlResult<()> {
        match completion {
            Completion::Empty => encode::empty(&mut self.writer.out, b'I'),
            Completion::Suspended => encode::empty(&mut self.writer.out, b's'),
            Completion::Done(tag) | Completion::CopyOut(tag) => {
                encode::command_complete(&mut self.writer.out, &tag);
            }
            Completion::CopyIn(copy) => {
                let tag = self.copy_in(session, *copy).await?;
                encode::command_complete(&mut self.writer.out, &tag);
            }
        }
        Ok(())
    }

    async fn copy_in(&mut self, session: &mut Session, mut copy: session::CopyIn) -> SqlResult<String> {
        encode::copy_response(&mut self.writer.out, b'G', copy.column_count(), i16::from(copy.is_binary()));
        // A client that is gone is noticed when it is read from.
        let _gone = self.writer.flush().await;
        loop {
            let frame = match self.reader.next().await {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    let error = SqlError::new(
                        SqlState::ConnectionFailure,
                        "unexpected EOF on client connection with an open transaction",
                    );
                    return Err(session.copy_failed(error).await);
                }
                // The next read ends the connection over it.
                Err(error) => return Err(session.copy_failed(error).await),
            };
            match frame.kind {
                b'd' => {
                    let outcome = session.copy_data(&mut copy, &frame.body).await;
                    session.tell_notices(&mut WireSink::for_query(&mut self.writer));
                    outcome?;
                }
                b'c' => {
                    let outcome = session.copy_done(&mut copy).await;
                    session.tell_notices(&mut WireSink::for_query(&mut self.writer));
                    return outcome;
                }
                b'f' => {
                    let reason = Body::new(&frame.body).string().unwrap_or_default().to_owned();
                    let error =
                        SqlError::new(SqlState::QueryCanceled, format!("COPY from stdin failed: {reason}"));
                    return Err(session.copy_failed(error).await);
                }
                // A client may have sent these after the COPY, not knowing that it would be one.
                b'S' | b'H' => {}
                kind => {
                    self.is_lost = true;
                    let error =
                        protocol(format!("unexpected message type 0x{kind:02X} during COPY from stdin"));
                    return Err(session.copy_failed(error).await);
                }
            }
        }
    }
}

fn too_many() -> SqlError {
    SqlError::new(SqlState::TooManyConnections, "sorry, too many clients already")
}

fn terminated() -> SqlError {
    SqlError::new(SqlState::AdminShutdown, "terminating connection due to administrator command")
}

/// Whether the statements of a connection compute for long without a pause.
///
/// To hand over what waits behind a statement costs as much as a short statement, so it is done for those of a connection
/// that has had a long poll, until as many polls in a row as [`WARY_POLLS`] were short.
#[derive(Default)]
pub(crate) struct Wary {
    polls: u8,
}

/// A poll that takes so long keeps a thread from others. Statements pause after less where they can.
const LONG_POLL: Duration = Duration::from_millis(8);
const WARY_POLLS: u8 = 16;

impl Wary {
    fn polled(&mut self, took: Duration) {
        self.polls = if took > LONG_POLL { WARY_POLLS } else { self.polls.saturating_sub(1) };
    }
}

/// Runs a statement, so that another thread takes over what waits behind it where the connection is known for long polls.
async fn considerate<T>(wary: &mut Wary, running: impl Future<Output = T>) -> T {
    let mut running = std::pin::pin!(running);
    std::future::poll_fn(|context| {
        let began = std::time::Instant::now();
        let poll = || running.as_mut().poll(context);
        let polled =
            if wary.polls > 0 { exec::poll_aside(began, poll) } else { exec::poll_turn(began, poll) };
        wary.polled(began.elapsed());
        polled
    })
    .await
}

/// Runs a statement while its client is watched.
pub(crate) async fn watched<T>(
    reader: &mut Reader,
    wary: &mut Wary,
    flag: &CancelFlag,
    running: impl Future<Output = T>,
) -> T {
    // A statement that computes uses up what a task may do in one go, and would leave the watch nothing of it.
    let watch = tokio::task::unconstrained(reader.watch(flag));
    tokio::select! {
        biased;
        outcome = considerate(wary, running) => outcome,
        never = watch => match never {},
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_wary_from_a_long_poll_until_enough_short_ones() {
        let mut wary = Wary::default();
        wary.polled(Duration::from_millis(1));
        assert_eq!(wary.polls, 0);
        wary.polled(LONG_POLL + Duration::from_millis(1));
        for _ in 1..WARY_POLLS {
            wary.polled(Duration::ZERO);
        }
        assert_eq!(wary.polls, 1, "not yet");
        wary.polled(LONG_POLL * 2);
        assert_eq!(wary.polls, WARY_POLLS, "from the last long one");
        (0..WARY_POLLS).for_each(|_| wary.polled(Duration::ZERO));
        assert_eq!(wary.polls, 0);
    }
}
