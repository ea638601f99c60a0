//! Reading: the buffer first, then the range, and for scans the two merged.
//!
//! **Invariant (own-writes-are-seen):** a read that is answered saw every write of its transaction to what it read. Where
//! intents of the transaction may lie, that they are still there is known only afterwards: when the transaction is not
//! aborted *after* the read, nobody has removed them before it, for its record says *aborted* before the first intent
//! goes. So the anchor is asked, in the same batch if its range is the one that is read. Transactions that have written
//! no intents, which are nearly all, never ask.

use bytes::Bytes;
use hlc::Timestamp;
use keys::{Key, LockStrength, Span, TxnStatus};
use replica::api::{AbortReason, BatchResponse, Header, Request, Response, WaitPolicy};
use storage::KvRows;

use super::{
    Keep, Read, ReadAhead, ScanOptions, See, Txn,
    ahead::Ahead,
    load::Place,
};
use crate::{
    db::{SendError, unexpected},
    error::{Error, Restart},
    range_cache::CachedRange,
};

/// Where the answer comes from to whether the transaction's own intents were there when it read.
#[derive(Clone, Copy)]
pub(super) enum OwnIntents {
    /// It has none there.
    None,
    AskedInBatch,
    AskApart,
}

/// A page of a scan: rows in order, and what is left of the span.
#[derive(Debug)]
pub struct ScanPage {
    pub rows: KvRows,
    pub resume: Option<Span>,
    /// The span whose rows these are.
    pub covered: Span,
}

/// What [`Txn::lock_first`] has found.
#[derive(Debug, Default)]
pub struct Locked {
    /// Each with its place among the keys.
    pub rows: Vec<(usize, Bytes)>,
    /// How many keys were looked at.
    pub looked_at: usize,
}

/// Keys tried by one request that passes over what is locked.
const LOCK_TRIES: usize = 64;
/// Of the rows that one request finds and locks.
const LOCK_BYTES: u64 = 2 << 20;
/// What is remembered of a transaction's locked rows: as many of them, none of more bytes.
const HELD_ROWS: usize = 16;
const HELD_ROW_BYTES: usize = 4 << 10;

/// The last rows that the transaction has locked, as it read them: reading one again takes no request.
///
/// **Invariant (held-as-stored):** each is among the reads, and is what its range has for this transaction at
/// [`Txn::read_ts`]: no other transaction writes it while it is locked, a refresh finds a row whose lock was lost, and what the
/// transaction itself writes is in the buffer until all of this is forgotten.
#[derive(Default)]
pub(super) struct HeldRows {
    rows: Vec<(Key, LockStrength, Bytes)>,
    oldest: usize,
}

impl HeldRows {
    fn get(&self, key: &Key, lock: Option<LockStrength>) -> Option<&Bytes> {
        let (_, held, value) = self.rows.iter().find(|(held, ..)| held == key)?;
        lock.is_none_or(|lock| lock <= *held).then_some(value)
    }

    fn add(&mut self, key: &Key, lock: LockStrength, value: &Bytes) {
        // Weaker ones leave the row to others to change, in part.
        if lock < LockStrength::NoKeyUpdate || value.len() > HELD_ROW_BYTES {
            return;
        }
        if let Some(row) = self.rows.iter_mut().find(|(held, ..)| held == key) {
            row.1 = row.1.max(lock);
            row.2 = value.clone();
        } else if self.rows.len() < HELD_ROWS {
            self.rows.push((key.clone(), lock, value.clone()));
        } else {
            self.rows[self.oldest] = (key.clone(), lock, value.clone());
            self.oldest = (self.oldest + 1) % HELD_ROWS;
        }
    }

    pub fn clear(&mut self) {
        self.rows.clear();
        self.oldest = 0;
    }
}

/// `lock` is the lock to take, if any.
pub(super) fn point_request(key: &Key, lock: Option<LockStrength>, read: &Read) -> Request {
    match read.keep {
        Keep::Never => Request::Look { span: Span::point(key.clone()), reverse: false, free_for: read.lock },
        Keep::Now | Keep::Presence | Keep::Later => Request::Get { key: key.clone(), lock },
    }
}

pub(super) fn point_answer(answer: Option<Response>) -> Result<Option<Bytes>, Error> {
    match answer {
        Some(Response::Get { value }) => Ok(value),
        Some(Response::Scan { rows, .. }) => Ok((!rows.is_empty()).then(|| rows.value_bytes(0))),
        other => Err(unexpected("Get", other.as_ref())),
    }
}

/// What a range has left of its piece of a span, and what lies in other ranges.
fn joined(left: Option<Span>, rest: Option<Span>, reverse: bool) -> Option<Span> {
    match (left, rest) {
        (None, rest) => rest,
        (Some(left), None) => Some(left),
        (Some(left), Some(rest)) if reverse => Some(Span::new(rest.start, left.end)),
        (Some(left), Some(rest)) => Some(Span::new(left.start, rest.end)),
    }
}

impl Txn {
    pub(super) fn visible_seq(&self, see: See) -> u32 {
        match see {
            See::StatementStart => self.statement_seq,
            See::Now => u32::MAX,
        }
    }

    /// What locks to take where a span is read.
    pub(super) fn before_reading(
        &mut self,
        read: &Read,
        span: impl FnOnce() -> Span,
        place: Place,
    ) -> Option<LockStrength> {
        let lock = read.lock.filter(|_| place == Place::Shared && read.keep != Keep::Never)?;
        let span = span();
        self.anchor_at(&span.start);
        // Before it is sent: a lost answer may have taken the lock.
        self.locks.add(span);
        Some(lock)
    }

    /// What was read with [`Keep::Later`] holds at [`Txn::read_ts`], which has not moved since.
    pub fn keep_read(&mut self, span: Span) {
        let place = self.place(&span);
        self.note_read(span, place, Keep::Now, false);
    }

    /// As [`Txn::keep_read`], of what a constraint rests on: it must hold when the transaction commits.
    pub fn keep_bound(&mut self, span: Span) {
        let place = self.place(&span);
        self.note_read(span, place, Keep::Now, true);
    }

    /// *reads-tracked*
    pub(super) fn note_read(&mut self, span: Span, place: Place, keep: Keep, binds: bool) {
        if place == Place::Shared && matches!(keep, Keep::Now | Keep::Presence) {
            self.read_set(binds).whole.add(span);
        }
    }

    /// *reads-tracked*, of one key.
    pub(super) fn note_point(&mut self, key: &Key, is_there: bool, place: Place, read: &Read) {
        let is_locked = read.lock.is_some() && (is_there || read.lock_absent);
        let binds = read.binds || is_locked;
        if is_there && place == Place::Shared && self.is_of_presence(read) {
            self.read_set(binds).present.add_point(key.clone());
        } else {
            // `keep_read` notes the span later, as one without locks.
            let keep = if is_locked && self.keeps_apart() { Keep::Now } else { read.keep };
            self.note_read(Span::point(key.clone()), place, keep, binds);
        }
    }

    /// Reads one key.
    ///
    /// # Errors
    /// See [`Error`]; `Retry` when the transaction's reads cannot be kept.
    pub async fn get(&mut self, key: &Key, read: Read) -> Result<Option<Bytes>, Error> {
        self.ensure_open()?;
        let seq = self.visible_seq(read.see);
        self.buffer.seal_for(seq);
        if let Some(value) = self.buffer.read(key, seq) {
            return Ok(value.cloned());
        }
        let place = self.place_of(key);
        match place {
            Place::Shared => {}
            Place::Unloaded => return Ok(None),
            Place::Loaded => self.finish_loads().await?,
        }
        if let (Some(value), Keep::Now | Keep::Presence | Keep::Later) = (self.held.get(key, read.lock), read.keep) {
            return Ok(Some(value.clone()));
        }
        let lock = self.before_reading(&read, || Span::point(key.clone()), place);
        loop {
            let range = self.db.locate(key.as_bytes()).await?;
            let mut requests = vec![point_request(key, lock, &read)];
            let check = Box::pin(self.with_check(&range, &mut requests)).await?;
            let own = self.ask_anchor(&range, [key].map(|key| Span::point(key.clone())), &mut requests);
            match self.send(&range, &read, 0, 0, requests).await {
                Ok(mut response) => {
                    self.check_not_aborted(own, &mut response).await?;
                    let value = point_answer(response.responses.pop())?;
                    self.note_point(key, value.is_some(), place, &read);
                    if let Some(expected) = check {
                        self.take_check(&mut response, expected)?;
                    }
                    if let (Some(lock), Some(value), Keep::Now) = (lock, &value, read.keep) {
                        self.held.add(key, lock, value);
                    }
                    return Ok(value);
                }
                Err(SendError::Reroute) => {}
                Err(SendError::Kv(error)) => return Err(error.into()),
            }
        }
    }

    /// Whether intents of the transaction may lie where it reads, and then the question for its anchor, behind the reads
    /// of the batch if that has the anchor. *own-writes-are-seen*
    pub(super) fn ask_anchor(
        &self,
        range: &CachedRange,
        read: impl IntoIterator<Item = Span>,
        requests: &mut Vec<Request>,
    ) -> OwnIntents {
        if self.intents.is_empty() || !read.into_iter().any(|span| self.intents.overlaps(&span)) {
            return OwnIntents::None;
        }
        if !range.descriptor.contains_key(self.meta.anchor.as_bytes()) {
            return OwnIntents::AskApart;
        }
        requests.push(self.is_it_aborted());
        OwnIntents::AskedInBatch
    }

    fn is_it_aborted(&self) -> Request {
        let anchor = self.meta.anchor.clone();
        Request::HeartbeatTxn { anchor, txn_id: self.meta.id, min_ts: self.meta.min_ts }
    }

    /// What was read is right if the transaction is not aborted now. *own-writes-are-seen*
    pub(super) async fn check_not_aborted(&mut self, own: OwnIntents, response: &mut BatchResponse) -> Result<(), Error> {
        let answer = match own {
            OwnIntents::None => return Ok(()),
            OwnIntents::AskedInBatch => response.responses.pop(),
            OwnIntents::AskApart => {
                let question = vec![self.is_it_aborted()];
                self.db.send_keyed(&self.meta.anchor, Header::default(), question).await?.responses.pop()
            }
        };
        match answer {
            Some(Response::HeartbeatTxn { status: TxnStatus::Aborted }) => {
                self.is_doomed = true;
                Err(Error::Retry {
                    reason: Restart::Aborted(AbortReason::HeartbeatMissing),
                    at_least: Timestamp::MIN,
                })
            }
            Some(Response::HeartbeatTxn { .. }) => Ok(()),
            other => Err(unexpected("HeartbeatTxn", other.as_ref())),
        }
    }

    /// Reads one key as its range has it, whatever this transaction has written over it.
    pub(super) async fn get_stored(
        &mut self,
        key: &Key,
        lock: Option<LockStrength>,
    ) -> Result<Option<Bytes>, Error> {
        let read = Read { lock, lock_absent: true, ..Read::default() };
        let lock = self.before_reading(&read, || Span::point(key.clone()), Place::Shared);
        let value = self.get_alone(key, lock).await?;
        self.reads.whole.add_point(key.clone());
        Ok(value)
    }

    /// Reads one key in the snapshot without depending on it: others may write it later.
    pub(super) async fn get_untracked(&mut self, key: &Key) -> Result<Option<Bytes>, Error> {
        self.get_alone(key, None).await
    }

    async fn get_alone(&mut self, key: &Key, lock: Option<LockStrength>) -> Result<Option<Bytes>, Error> {
        let read = Read { lock, lock_absent: true, ..Read::default() };
        loop {
            let range = self.db.locate(key.as_bytes()).await?;
            let requests = vec![Request::Get { key: key.clone(), lock }];
            match self.send(&range, &read, 0, 0, requests).await {
                Ok(mut response) => {
                    return match response.responses.pop() {
                        Some(Response::Get { value }) => Ok(value),
                        other => Err(unexpected("Get", other.as_ref())),
                    };
                }
                Err(SendError::Reroute) => {}
                Err(SendError::Kv(error)) => return Err(error.into()),
            }
        }
    }

    /// Locks rows in the order of `keys` until `wanted` of them are locked. Under SKIP LOCKED what others hold is passed
    /// over, and the transaction depends only on the rows it is given.
    ///
    /// # Errors
    /// As [`Txn::get`].
    pub async fn lock_first(&mut self, keys: &[Key], read: Read, wanted: usize) -> Result<Locked, Error> {
        self.ensure_open()?;
        let seq = self.visible_seq(read.see);
        self.buffer.seal_for(seq);
        let skips = read.wait == WaitPolicy::SkipLocked;
        let mut found = Locked::default();
        while found.looked_at < keys.len() && found.rows.len() < wanted {
            let at = found.looked_at;
            if let Some(own) = self.buffer.read(&keys[at], seq) {
                found.rows.extend(own.map(|value| (at, value.clone())));
                found.looked_at += 1;
                continue;
            }
            let range = self.db.locate(keys[at].as_bytes()).await?;
            let missing = wanted - found.rows.len();
            let most = if skips { missing.max(LOCK_TRIES) } else { missing };
            let is_here = |key: &&Key| {
                range.descriptor.contains_key(key.as_bytes()) && self.buffer.read(key, seq).is_none()
            };
            let run: Vec<Key> = keys[at..].iter().take(most).take_while(is_here).cloned().collect();
            let reading = Read { keep: if skips { Keep::Later } else { read.keep }, ..read };
            let mut requests = Vec::with_capacity(run.len());
            if let (true, Some(first), Some(last)) = (skips, run.iter().min(), run.iter().max()) {
                // One span for all that may be locked: few of them are.
                let span = Span::new(first.clone(), last.next());
                let place = self.place(&span);
                let lock = self.before_reading(&reading, || span, place);
                requests.extend(run.iter().map(|key| Request::Get { key: key.clone(), lock }));
            } else {
                for key in &run {
                    let place = self.place_of(key);
                    let lock = self.before_reading(&reading, || Span::point(key.clone()), place);
                    requests.push(Request::Get { key: key.clone(), lock });
                }
            }
            let check = Box::pin(self.with_check(&range, &mut requests)).await?;
            let own = match self.ask_anchor(&range, run.iter().cloned().map(Span::point), &mut requests) {
                // Keys that are tried once more are read after all else in the batch.
                OwnIntents::AskedInBatch if skips => {
                    requests.pop();
                    OwnIntents::AskApart
                }
                own => own,
            };
            let max = if skips { missing as u64 } else { 0 };
            let mut response = match self.send(&range, &reading, max, 0, requests).await {
                Ok(response) => response,
                Err(SendError::Reroute) => continue,
                Err(SendError::Kv(error)) => return Err(error.into()),
            };
            self.check_not_aborted(own, &mut response).await?;
            if let Some(expected) = check {
                self.take_check(&mut response, expected)?;
            }
            let before = found.rows.len();
            found.looked_at = at + run.len();
            for (place, answer) in response.responses.into_iter().enumerate() {
                let value = point_answer(Some(answer))?;
                if value.is_some() || !skips {
                    let (key, of) = (&run[place], self.place_of(&run[place]));
                    self.note_point(key, value.is_some(), of, &Read { keep: Keep::Now, ..read });
                }
                if let Some(value) = value {
                    if let (Some(lock), Place::Shared) = (read.lock, self.place_of(&run[place])) {
                        self.held.add(&run[place], lock, &value);
                    }
                    found.rows.push((at + place, value));
                    // What stands behind the last that was wanted was not tried.
                    if skips && found.rows.len() - before == missing {
                        found.looked_at = at + place + 1;
                        break;
                    }
                }
            }
        }
        Ok(found)
    }

    /// Under SKIP LOCKED, locks the first rows of a span without a conflicting lock, `wanted` of them at most: in one request, where
    /// [`Txn::scan`] and [`Txn::lock_first`] take two. Answers them and what is left of the span, or none where the
    /// transaction itself has written there.
    ///
    /// # Errors
    /// As [`Txn::get`].
    pub async fn lock_next(
        &mut self,
        span: &Span,
        reverse: bool,
        read: Read,
        wanted: u64,
    ) -> Result<Option<(KvRows, Option<Span>)>, Error> {
        self.ensure_open()?;
        assert!(read.wait == WaitPolicy::SkipLocked && wanted > 0, "rows that others hold are passed over");
        let place = self.place(span);
        self.buffer.seal_for(u32::MAX);
        if place != Place::Shared || self.buffer.touches(span) || self.intents.overlaps(span) {
            return Ok(None);
        }
        loop {
            let (range, piece, rest) = self.first_piece(span, reverse).await?;
            let reading = Read { keep: Keep::Later, ..read };
            let (before, at, was_free) = (self.locks.clone(), self.read_ts, self.may_leave_snapshot());
            let Some(lock) = self.before_reading(&reading, || piece.clone(), place) else { return Ok(None) };
            let mut requests = vec![Request::LockFirst { span: piece, reverse, lock }];
            let check = Box::pin(self.with_check(&range, &mut requests)).await?;
            let mut response = match self.send(&range, &reading, wanted, LOCK_BYTES, requests).await {
                Ok(response) => response,
                Err(SendError::Reroute) => continue,
                Err(SendError::Kv(error)) => return Err(error.into()),
            };
            let (rows, left) = match response.responses.pop() {
                Some(Response::Scan { rows, resume }) => (rows, resume),
                other => return Err(unexpected("Scan", other.as_ref())),
            };
            // It is known now what was locked of the span, if it was asked for once.
            if was_free || self.read_ts == at {
                self.locks = before;
            }
            for row in 0..rows.len() {
                let key = Key::from(rows.key_bytes(row));
                self.locks.add_point(key.clone());
                self.note_read(Span::point(key.clone()), place, Keep::Now, true);
                self.held.add(&key, lock, &rows.value_bytes(row));
            }
            if let Some(expected) = check {
                self.take_check(&mut response, expected)?;
            }
            return Ok(Some((rows, joined(left, rest, reverse))));
        }
    }

    /// Reads one page of a span. Go on with `resume` until there is none.
    ///
    /// # Errors
    /// As [`Txn::get`].
    pub async fn scan(&mut self, span: &Span, options: ScanOptions) -> Result<ScanPage, Error> {
        self.scan_page(span, options, None).await
    }

    /// As [`Txn::scan`], page by page with the same `ahead`: the next page is read while the caller works on this one.
    ///
    /// # Errors
    /// As [`Txn::get`].
    pub async fn scan_ahead(
        &mut self,
        span: &Span,
        options: ScanOptions,
        ahead: &mut ReadAhead,
    ) -> Result<ScanPage, Error> {
        self.scan_page(span, options, Some(ahead)).await
    }

    async fn scan_page(
        &mut self,
        span: &Span,
        options: ScanOptions,
        mut ahead: Option<&mut ReadAhead>,
    ) -> Result<ScanPage, Error> {
        self.ensure_open()?;
        if span.is_empty() {
            return Ok(ScanPage { rows: KvRows::default(), resume: None, covered: span.clone() });
        }
        let place = self.place(span);
        let seq = self.visible_seq(options.read.see);
        self.buffer.seal_for(seq);
        if place == Place::Unloaded {
            let rows = self.merge(span, &KvRows::default(), options);
            return Ok(ScanPage { rows, resume: None, covered: span.clone() });
        }
        if self.loads.as_ref().is_some_and(|loads| loads.may_be_in(span)) {
            self.finish_loads().await?;
        }
        loop {
            let (range, piece, rest) = self.first_piece(span, options.reverse).await?;
            let taken = match &mut ahead {
                Some(ahead) => self.take_ahead(ahead, &piece, options).await,
                None => Ahead::Nothing,
            };
            let lock = self.before_reading(&options.read, || piece.clone(), place);
            let (check, sent) = match taken {
                Ahead::Answer(response) => (None, Ok(response)),
                Ahead::Nothing => {
                    let (span, reverse) = (piece.clone(), options.reverse);
                    let mut requests = vec![match options.read.keep {
                        Keep::Never => Request::Look { span, reverse, free_for: options.read.lock },
                        Keep::Now | Keep::Presence | Keep::Later => Request::Scan { span, reverse, lock },
                    }];
                    let check = Box::pin(self.with_check(&range, &mut requests)).await?;
                    let own = self.ask_anchor(&range, [&piece].map(Span::clone), &mut requests);
                    let mut sent = self.send(&range, &options.read, options.max_rows, options.max_bytes, requests).await;
                    if let Ok(response) = &mut sent {
                        self.check_not_aborted(own, response).await?;
                    }
                    (check, sent)
                }
            };
            let mut response = match sent {
                Ok(response) => response,
                Err(SendError::Reroute) => continue,
                Err(SendError::Kv(error)) => return Err(error.into()),
            };
            let (rows, left) = match response.responses.pop() {
                Some(Response::Scan { rows, resume }) => (rows, resume),
                other => return Err(unexpected("Scan", other.as_ref())),
            };
            // What the range left over was not read.
            let covered = match (&left, options.reverse) {
                (None, _) => piece,
                (Some(left), false) => Span::new(piece.start, left.start.clone()),
                (Some(left), true) => Span::new(left.end.clone(), piece.end),
            };
            let binds = options.read.binds;
            if let (Some(_), true, Place::Shared) = (lock, self.keeps_apart(), place) {
                // What is locked is rows: others may insert between them.
                for row in 0..rows.len() {
                    self.note_point(&Key::from(rows.key_bytes(row)), true, place, &Read { keep: Keep::Now, ..options.read });
                }
            }
            self.note_read(covered.clone(), place, options.read.keep, binds);
            if let Some(expected) = check {
                if response.responses.is_empty() {
                    return Err(unexpected("Get", None));
                }
                self.take_check(&mut response, expected)?;
            }
            if let Some(ahead) = &mut ahead {
                self.ask_ahead(ahead, &range, left.as_ref(), options);
            }
            let resume = joined(left, rest, options.reverse);
            let rows = if self.buffer.shows(&covered, seq) {
                self.merge(&covered, &rows, options)
            } else {
                rows
            };
            return Ok(ScanPage { rows, resume, covered });
        }
    }

    /// The range at the near end of the span, its piece, and what lies in other ranges.
    async fn first_piece(
        &self,
        span: &Span,
        reverse: bool,
    ) -> Result<(std::sync::Arc<crate::range_cache::CachedRange>, Span, Option<Span>), Error> {
        if !reverse {
            let range = self.db.locate(span.start.as_bytes()).await?;
            assert!(range.descriptor.contains_key(span.start.as_bytes()), "located-holds-key");
            let end = span.end.clone().min(range.descriptor.end.clone());
            let rest = (end < span.end).then(|| Span::new(end.clone(), span.end.clone()));
            return Ok((range, Span::new(span.start.clone(), end), rest));
        }
        // Backwards the near end is the last range that overlaps the span: walk there by its descriptors. Few spans
        // cross more than one range, and the walk is over cached descriptors.
        let mut range = self.db.locate(span.start.as_bytes()).await?;
        while range.descriptor.end < span.end {
            range = self.db.locate(range.descriptor.end.as_bytes()).await?;
        }
        let start = span.start.clone().max(range.descriptor.start.clone());
        let rest = (span.start < start).then(|| Span::new(span.start.clone(), start.clone()));
        Ok((range, Span::new(start, span.end.clone()), rest))
    }

    /// Rows of the range with the buffer's writes laid over them.
    pub(super) fn merge(&self, covered: &Span, rows: &KvRows, options: ScanOptions) -> KvRows {
        let seq = self.visible_seq(options.read.see);
        let own: Vec<(&Key, Option<&Bytes>)> = if options.reverse {
            self.buffer.range(covered, seq).rev().collect()
        } else {
            self.buffer.range(covered, seq).collect()
        };
        let mut merged = KvRows::default();
        let mut own = own.into_iter().peekable();
        let before = |a: &[u8], b: &[u8]| if options.reverse { a > b } else { a < b };
        for (key, value) in rows.iter() {
            while let Some((own_key, own_value)) = own.next_if(|(own_key, _)| before(own_key.as_bytes(), key)) {
                if let Some(own_value) = own_value {
                    merged.push(own_key.as_bytes(), own_value);
                }
            }
            match own.next_if(|(own_key, _)| own_key.as_bytes() == key) {
                Some((_, Some(own_value))) => merged.push(key, own_value),
                Some((_, None)) => {}
                None => merged.push(key, value),
            }
        }
        for (own_key, own_value) in own {
            if let Some(own_value) = own_value {
                merged.push(own_key.as_bytes(), own_value);
            }
        }
        merged
    }
}
