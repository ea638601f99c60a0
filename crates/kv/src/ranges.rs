//! Boundaries of ranges that are kept, and what is known of ranges: for statements about them.

use futures::{StreamExt, TryStreamExt};
use keys::{Key, Span};
use replica::api::{Header, KvError, RangeStats, Request, Response};

use crate::{
    db::{Db, unexpected},
    error::Error,
};

/// Ranges asked about at one time.
const AT_ONCE: usize = 16;

impl Db {
    /// Has a range begin at `at` and stay so, until it is given up.
    ///
    /// # Errors
    /// As [`Db::split_at`].
    pub async fn split_and_keep(&self, at: &Key) -> Result<(), Error> {
        self.keep_split(at, true).await?;
        self.split_at(at).await
    }

    /// Says whether ranges may not be merged across `at`.
    ///
    /// # Errors
    /// When the range cannot be reached.
    pub async fn keep_split(&self, at: &Key, keep: bool) -> Result<(), Error> {
        let mut attempts = 0;
        loop {
            let request = vec![Request::KeepSplit { at: at.clone(), keep }];
            match self.send_keyed(at, Header::default(), request).await {
                Ok(_) => return Ok(()),
                // Saying it twice changes nothing.
                Err(KvError::Ambiguous { .. }) if attempts < 5 => attempts += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Gives up all boundaries within the span that are kept.
    ///
    /// # Errors
    /// When a range cannot be reached; some may have been given up then.
    pub async fn give_up_splits(&self, span: &Span) -> Result<(), Error> {
        for range in self.ranges_in(span).await? {
            if span.contains(range.start.as_bytes()) {
                self.keep_split(&range.start, false).await?;
            }
        }
        Ok(())
    }

    /// What is known of the ranges that overlap the span, by those that lead them, in order.
    ///
    /// # Errors
    /// When one cannot be reached.
    pub async fn range_stats(&self, span: &Span) -> Result<Vec<RangeStats>, Error> {
        let ranges = self.ranges_in(span).await?;
        let asks = ranges.into_iter().map(|range| {
            let at = range.start.max(span.start.clone());
            async move {
                match self.admin(&at, Request::RangeStats).await? {
                    Response::RangeStats(stats) => Ok(*stats),
                    other => Err(unexpected("RangeStats", Some(&other))),
                }
            }
        });
        futures::stream::iter(asks.collect::<Vec<_>>()).buffered(AT_ONCE).try_collect().await
    }
}
