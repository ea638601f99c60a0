//! How much memory a statement may keep.
//!
//! **Invariant (budgeted):** an operator that keeps rows beyond the batch in hand holds a [`Reservation`] of about
//! their bytes; dropping the operator gives them back. Large values count while they are made ([`Made`]). Nothing spills to disk yet: a statement that needs more than
//! its budget fails with 53200 instead of taking the node down.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use types::{Datum, SqlError, SqlResult, SqlState};

#[derive(Debug)]
struct Counter {
    used: AtomicUsize,
    limit: usize,
}

/// The budget of one statement; clones share it.
#[derive(Debug, Clone)]
pub struct MemoryBudget(Arc<Counter>);

impl MemoryBudget {
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Counter { used: AtomicUsize::new(0), limit }))
    }

    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(usize::MAX)
    }

    #[must_use]
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// A reservation of nothing, to grow.
    #[must_use]
    pub fn reservation(&self) -> Reservation {
        Reservation { budget: self.clone(), bytes: 0 }
    }

    fn take(&self, bytes: usize) -> SqlResult<()> {
        let before = self.0.used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.0.limit {
            self.0.used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(SqlError::new(SqlState::OutOfMemory, "out of memory").with_detail(format!(
                "The statement keeps {before} bytes and asked for {bytes} more; its limit is {} bytes.",
                self.0.limit
            )));
        }
        Ok(())
    }
}

/// Bytes counted against a budget until dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: MemoryBudget,
    bytes: usize,
}

impl Reservation {
    pub fn grow(&mut self, bytes: usize) -> SqlResult<()> {
        self.budget.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Counts exactly this much from now on.
    pub fn resize(&mut self, bytes: usize) -> SqlResult<()> {
        if bytes > self.bytes {
            self.grow(bytes - self.bytes)
        } else {
            self.budget.0.used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
            self.bytes = bytes;
            Ok(())
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What is counted at once: small values cost a batch nothing.
const STEP_BYTES: usize = 1 << 20;

/// The values of one column while they are made: a batch of a thousand rows may hold a thousand large ones. Counted
/// against the budget until the column is done; from then on whoever keeps it counts it.
pub(crate) struct Made<'a> {
    budget: Option<&'a MemoryBudget>,
    limit: usize,
    counted: usize,
    uncounted: usize,
}

impl<'a> Made<'a> {
    /// No more than `limit` bytes may be made, whatever the budget has left.
    pub(crate) fn new(budget: Option<&'a MemoryBudget>, limit: usize) -> Self {
        Self { budget, limit, counted: 0, uncounted: 0 }
    }

    /// # Errors
    /// 53200.
    pub(crate) fn add(&mut self, value: &Datum) -> SqlResult<()> {
        match value {
            Datum::Text(text) | Datum::Json(text) => self.grow(text.len()),
            Datum::Bytes(bytes) => self.grow(bytes.len()),
            Datum::Jsonb(_) | Datum::Array(_) | Datum::Record(_) | Datum::Range(_) | Datum::MultiRange(_) => {
                self.grow(value.heap_bytes())
            }
            _ => Ok(()),
        }
    }

    /// As [`Made::add`] of `count` equal values.
    pub(crate) fn add_many(&mut self, value: &Datum, count: usize) -> SqlResult<()> {
        self.grow(value.heap_bytes().saturating_mul(count))
    }

    fn grow(&mut self, bytes: usize) -> SqlResult<()> {
        self.uncounted = self.uncounted.saturating_add(bytes);
        if self.uncounted < STEP_BYTES {
            return Ok(());
        }
        if self.counted.saturating_add(self.uncounted) > self.limit {
            return Err(SqlError::new(SqlState::OutOfMemory, "out of memory"));
        }
        if let Some(budget) = self.budget {
            budget.take(self.uncounted)?;
        }
        self.counted += std::mem::take(&mut self.uncounted);
        Ok(())
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if let Some(budget) = self.budget {
            budget.0.used.fetch_sub(self.counted, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgeted_values_count_while_they_are_made() {
        let budget = MemoryBudget::new(5 << 20);
        let value = Datum::text("x".repeat(2 << 20));
        let mut made = Made::new(Some(&budget), usize::MAX);
        made.add(&value).unwrap();
        made.add(&value).unwrap();
        assert_eq!(budget.used(), 4 << 20);
        assert_eq!(made.add(&value).unwrap_err().code(), SqlState::OutOfMemory);
        drop(made);
        assert_eq!(budget.used(), 0);
        assert!(Made::new(Some(&budget), usize::MAX).add_many(&value, 3).is_err());
        assert!(Made::new(None, 1 << 20).add(&value).is_err());
    }

    #[test]
    fn budgeted_bytes_come_back_when_dropped() {
        let budget = MemoryBudget::new(100);
        let mut first = budget.reservation();
        first.grow(60).unwrap();
        let mut second = budget.reservation();
        assert_eq!(second.grow(41).unwrap_err().code(), SqlState::OutOfMemory);
        second.grow(40).unwrap();
        drop(first);
        second.resize(100).unwrap();
        second.resize(10).unwrap();
        assert_eq!(budget.used(), 10);
        drop(second);
        assert_eq!(budget.used(), 0);
    }
}
