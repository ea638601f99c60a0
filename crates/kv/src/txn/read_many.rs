//! Reads of many keys at a time.

use std::sync::Arc;

use bytes::Bytes;
use keys::{Key, KeyList, LockStrength, Span};
use replica::api::{Request, Response, WaitPolicy};
use storage::KvRows;

use super::{
    Keep, Read, ScanOptions, Txn,
    load::Place,
    read::{point_answer, point_request},
};
use crate::{
    db::{SendError, unexpected},
    error::Error,
    range_cache::CachedRange,
};

/// So many keys of one range are read in one pass, where locks are taken.
const MANY: usize = 128;
/// As many without locks.
const MANY_UNLOCKED: usize = 8;
/// Spans in one batch, and how much of each is read at once.
const SPANS: usize = 128;
const SPAN_ROWS: u64 = 1024;
const SPAN_BYTES: u64 = 64 << 10;

impl Txn {
    /// Reads many keys, one batch for each range they lie in. The answers are in the order of the keys.
    ///
    /// # Errors
    /// As [`Txn::get`].
    pub async fn get_many(&mut self, keys: &[Key], read: Read) -> Result<Vec<Option<Bytes>>, Error> {
        self.ensure_open()?;
        let seq = self.visible_seq(read.see);
        self.buffer.seal_for(seq);
        let mut values: Vec<Option<Bytes>> = vec![None; keys.len()];
        let mut todo: Vec<usize> = Vec::with_capacity(keys.len());
        // What a statement over many rows has written lies behind what it reads.
        let hull = keys.iter().min().zip(keys.iter().max()).map(|(first, last)| Span::new(first.clone(), last.next()));
        let has_written = hull.is_some_and(|hull| self.buffer.shows(&hull, seq));
        if has_written {
            self.buffer.note_keys();
        }
        for (position, key) in keys.iter().enumerate() {
            match if has_written && self.buffer.may_have(key) { self.buffer.read(key, seq) } else { None } {
                Some(value) => values[position] = value.cloned(),
                None => todo.push(position),
            }
        }
        // Empty where all is shared.
        let mut places = Vec::new();
        if self.loads.is_some() {
            places.extend(keys.iter().map(|key| self.place_of(key)));
            todo.retain(|&position| places[position] != Place::Unloaded);
            if todo.iter().any(|&position| places[position] == Place::Loaded) {
                self.finish_loads().await?;
            }
        }
        let place = |position: usize| places.get(position).copied().unwrap_or(Place::Shared);
        while let Some(&first) = todo.first() {
            let range = self.db.locate(keys[first].as_bytes()).await?;
            let (here, rest): (Vec<usize>, Vec<usize>) =
                todo.iter().partition(|&&position| range.descriptor.contains_key(keys[position].as_bytes()));
            let may_pass = read.wait != WaitPolicy::SkipLocked && read.keep != Keep::Never && self.loads.is_none();
            if may_pass && here.len() >= if read.lock.is_some() { MANY } else { MANY_UNLOCKED } {
                let left = self.get_in_one_pass(&range, keys, here, read, &mut values).await?;
                todo = [left, rest].concat();
                continue;
            }
            let mut requests: Vec<Request> = Vec::with_capacity(here.len());
            for &position in &here {
                let key = &keys[position];
                let lock = self.before_reading(&read, || Span::point(key.clone()), place(position));
                requests.push(point_request(key, lock, &read));
            }
            let check = Box::pin(self.with_check(&range, &mut requests)).await?;
            let spans = here.iter().map(|&position| Span::point(keys[position].clone()));
            let own = self.ask_anchor(&range, spans, &mut requests);
            match self.send(&range, &read, 0, 0, requests).await {
                Ok(mut response) => {
                    self.check_not_aborted(own, &mut response).await?;
                    let answers = response.responses.split_off(usize::from(check.is_some()));
                    for (&position, answer) in here.iter().zip(answers) {
                        let value = point_answer(Some(answer))?;
                        self.note_point(&keys[position], value.is_some(), place(position), &read);
                        values[position] = value;
                    }
                    if let Some(expected) = check {
                        self.take_check(&mut response, expected)?;
                    }
                    todo = rest;
                }
                Err(SendError::Reroute) => {}
                Err(SendError::Kv(error)) => return Err(error.into()),
            }
        }
        Ok(values)
    }

    /// Reads those of the keys at `here`, which lie in one range, in one pass over them; what is left to read.
    async fn get_in_one_pass(
        &mut self,
        range: &Arc<CachedRange>,
        keys: &[Key],
        mut here: Vec<usize>,
        read: Read,
        values: &mut [Option<Bytes>],
    ) -> Result<Vec<usize>, Error> {
        here.sort_by(|a, b| keys[*a].cmp(&keys[*b]));
        let mut sorted: Vec<Key> = here.iter().map(|&position| keys[position].clone()).collect();
        sorted.dedup();
        let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else { return Ok(here) };
        let hull = Span::new(first.clone(), last.next());
        let lock = self.before_reading(&read, || hull.clone(), Place::Shared);
        let mut requests = vec![Request::GetMany { keys: sorted, lock }];
        let check = Box::pin(self.with_check(range, &mut requests)).await?;
        let own = self.ask_anchor(range, [hull], &mut requests);
        let mut response = match self.send(range, &read, 0, 0, requests).await {
            Ok(response) => response,
            Err(SendError::Reroute) => return Ok(here),
            Err(SendError::Kv(error)) => return Err(error.into()),
        };
        self.check_not_aborted(own, &mut response).await?;
        let (rows, resume) = match response.responses.pop() {
            Some(Response::Scan { rows, resume }) => (rows, resume),
            other => return Err(unexpected("Scan", other.as_ref())),
        };
        // What is left begins with the first key that was not looked at.
        let is_looked_at = |position: &usize| resume.as_ref().is_none_or(|resume| keys[*position] < resume.start);
        let left = here.split_off(here.partition_point(is_looked_at));
        let mut row = 0;
        for position in here {
            let key = keys[position].as_bytes();
            while row < rows.len() && rows.get(row).0 < key {
                row += 1;
            }
            let is_there = row < rows.len() && rows.get(row).0 == key;
            self.note_point(&keys[position], is_there, Place::Shared, &read);
            values[position] = is_there.then(|| rows.value_bytes(row));
        }
        if let Some(expected) = check {
            if response.responses.is_empty() {
                return Err(unexpected("Get", None));
            }
            self.take_check(&mut response, expected)?;
        }
        Ok(left)
    }

    /// Locks rows that were read in this snapshot, by keys in their order. Answers for each whether it is still there: a row
    /// that others have changed meanwhile is read again, and the snapshot has moved then, or the statement is to begin anew.
    ///
    /// # Errors
    /// As [`Txn::get`].
    pub async fn lock_many(&mut self, keys: &[Key], read: Read) -> Result<Vec<bool>, Error> {
        self.ensure_open()?;
        let seq = self.visible_seq(read.see);
        self.buffer.seal_for(seq);
        let mut locked = Vec::with_capacity(keys.len());
        if let Some(lock) = self.locks_as_read(keys, &read, seq)
            && let (Some(first), Some(last)) = (keys.first(), keys.last())
        {
            let hull = Span::new(first.clone(), last.next());
            let range = self.db.locate(first.as_bytes()).await?;
            if range.descriptor.contains_key(last.as_bytes()) {
                self.before_reading(&read, || hull.clone(), Place::Shared);
                let list: KeyList = keys.iter().map(Key::as_bytes).collect();
                let mut requests = vec![Request::LockMany { keys: list, lock }];
                let check = Box::pin(self.with_check(&range, &mut requests)).await?;
                let own = self.ask_anchor(&range, [hull], &mut requests);
                match self.send(&range, &read, 0, 0, requests).await {
                    Ok(mut response) => {
                        self.check_not_aborted(own, &mut response).await?;
                        match response.responses.pop() {
                            Some(Response::Done) => locked.resize(keys.len(), true),
                            Some(Response::Scan { rows, resume }) => {
                                // What is left begins with the first key that was not looked at.
                                let is_looked_at = |key: &Key| resume.as_ref().is_none_or(|resume| *key < resume.start);
                                let looked_at = &keys[..keys.partition_point(is_looked_at)];
                                let mut row = 0;
                                for key in looked_at {
                                    let is_there = row < rows.len() && rows.get(row).0 == key.as_bytes();
                                    row += usize::from(is_there);
                                    locked.push(is_there);
                                }
                            }
                            other => return Err(unexpected("LockMany", other.as_ref())),
                        }
                        for (key, is_there) in keys.iter().zip(&locked) {
                            self.note_point(key, *is_there, Place::Shared, &read);
                        }
                        if let Some(expected) = check {
                            if response.responses.is_empty() {
                                return Err(unexpected("Get", None));
                            }
                            self.take_check(&mut response, expected)?;
                        }
                    }
                    Err(SendError::Reroute) => {}
                    Err(SendError::Kv(error)) => return Err(error.into()),
                }
            }
        }
        let rest = match &keys[locked.len()..] {
            [] => return Ok(locked),
            [only] => vec![self.get(only, read).await?],
            many => self.get_many(many, read).await?,
        };
        locked.extend(rest.iter().map(Option::is_some));
        Ok(locked)
    }

    /// The lock, where many keys may be locked without being read again: none of them was written by the transaction itself.
    fn locks_as_read(&self, keys: &[Key], read: &Read, seq: u32) -> Option<LockStrength> {
        let lock = read.lock.filter(|_| keys.len() >= MANY)?;
        let (first, last) = (keys.first()?, keys.last()?);
        let may_pass = read.wait != WaitPolicy::SkipLocked
            && read.keep != Keep::Never
            && !read.lock_absent
            && self.loads.is_none()
            && keys.is_sorted_by(|a, b| a < b)
            && !self.buffer.shows(&Span::new(first.clone(), last.next()), seq);
        may_pass.then_some(lock)
    }

    /// Reads all rows of many spans, batch by batch. The answers are in the order of the spans.
    ///
    /// # Errors
    /// As [`Txn::get`].
    pub async fn scan_many(&mut self, spans: &[Span], read: Read) -> Result<Vec<KvRows>, Error> {
        let todo: Vec<(usize, Span)> = spans.iter().cloned().enumerate().collect();
        let (answers, _) = self.scan_some(todo, spans.len(), usize::MAX, read).await?;
        Ok(answers)
    }

    /// As [`Txn::scan_many`], until about `enough` rows have been read. The spans come with the places of their answers, of
    /// which there are `places`; what is left of them is answered as well.
    ///
    /// # Errors
    /// As [`Txn::get`].
    pub async fn scan_some(
        &mut self,
        spans: Vec<(usize, Span)>,
        places: usize,
        enough: usize,
        read: Read,
    ) -> Result<(Vec<KvRows>, Vec<(usize, Span)>), Error> {
        self.ensure_open()?;
        let options = ScanOptions { read, max_rows: SPAN_ROWS, max_bytes: SPAN_BYTES, reverse: false };
        let in_batches =
            read.lock.is_none() && self.loads.is_none() && matches!(read.keep, Keep::Now | Keep::Presence | Keep::Later);
        let seq = self.visible_seq(read.see);
        self.buffer.seal_for(seq);
        let mut answers = vec![KvRows::default(); places];
        let mut read_rows = 0;
        // What is left to read, the last first.
        let mut todo: Vec<(usize, Span)> = spans.into_iter().filter(|(_, span)| !span.is_empty()).rev().collect();
        while read_rows < enough
            && let Some((at, first)) = todo.pop()
        {
            let range = self.db.locate(first.start.as_bytes()).await?;
            let is_inside = |span: &Span| {
                range.descriptor.contains_key(span.start.as_bytes()) && span.end <= range.descriptor.end
            };
            if !in_batches || !is_inside(&first) {
                let page = self.scan(&first, options).await?;
                read_rows += page.rows.len();
                answers[at].extend(&page.rows);
                todo.extend(page.resume.map(|rest| (at, rest)));
                continue;
            }
            let mut here = vec![(at, first)];
            while here.len() < SPANS && todo.last().is_some_and(|(_, span)| is_inside(span)) {
                here.extend(todo.pop());
            }
            let mut requests: Vec<Request> = (here.iter())
                .map(|(_, span)| Request::Scan { span: span.clone(), reverse: false, lock: None })
                .collect();
            let check = Box::pin(self.with_check(&range, &mut requests)).await?;
            let own = self.ask_anchor(&range, here.iter().map(|(_, span)| span.clone()), &mut requests);
            let mut response = match self.send(&range, &read, SPAN_ROWS, SPAN_BYTES, requests).await {
                Ok(response) => response,
                Err(SendError::Reroute) => {
                    todo.extend(here.into_iter().rev());
                    continue;
                }
                Err(SendError::Kv(error)) => return Err(error.into()),
            };
            self.check_not_aborted(own, &mut response).await?;
            let pages = response.responses.split_off(usize::from(check.is_some()));
            if pages.len() != here.len() {
                return Err(unexpected("Scan", pages.first()));
            }
            let mut left = Vec::new();
            for ((at, span), page) in here.into_iter().zip(pages) {
                let (rows, resume) = match page {
                    Response::Scan { rows, resume } => (rows, resume),
                    other => return Err(unexpected("Scan", Some(&other))),
                };
                let covered = Span::new(span.start, resume.as_ref().map_or(span.end, |resume| resume.start.clone()));
                self.note_read(covered.clone(), Place::Shared, read.keep, read.binds);
                let rows = if self.buffer.shows(&covered, seq) { self.merge(&covered, &rows, options) } else { rows };
                read_rows += rows.len();
                answers[at].extend(&rows);
                left.extend(resume.map(|rest| (at, rest)));
            }
            todo.extend(left.into_iter().rev());
            if let Some(expected) = check {
                self.take_check(&mut response, expected)?;
            }
        }
        todo.reverse();
        Ok((answers, todo))
    }
}
