//! Reads of many keys at a time.

use std::sync::Arc;

use bytes::Bytes;
use keys::{Key, Span};
use replica::api::{Request, Response, WaitPolicy};

use super::{
    Keep, Read, Txn,
    load::Place,
    read::{point_answer, point_request},
};
use crate::{
    db::{SendError, unexpected},
    error::Error,
    range_cache::CachedRange,
};

/// So many keys of one range are read in one pass.
const MANY: usize = 128;

impl Txn {
    /// Reads many keys, one batch for each range they lie in. The answers are in the order of the keys.
    ///
    /// # Errors
    /// As [`Txn::get`].
    pub async fn get_many(&mut self, keys: &[Key], read: Read) -> Result<Vec<Option<Bytes>>, Error> {
        self.ensure_open()?;
        let seq = self.visible_seq(read.see);
        let mut values: Vec<Option<Bytes>> = vec![None; keys.len()];
        let mut todo: Vec<usize> = Vec::with_capacity(keys.len());
        for (position, key) in keys.iter().enumerate() {
            match self.buffer.read(key.as_bytes(), seq) {
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
            if may_pass && here.len() >= MANY {
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
}
