//! How much memory a statement may keep.
//!
//! **Invariant (budgeted):** an operator that keeps rows beyond the batch in hand holds a [`Reservation`] of about
//! their bytes; dropping the operator gives them back. Large values count while they are made ([`Made`]). Nothing spills to disk yet: a statement that needs more than
//! its budget fails with 53200 instead of taking the node down.
//!
//! **Invariant (node-budgeted):** what the statements and messages of a node keep together is counted as well
//! ([`NodeMemory`]): many that are within their own budgets must not take the node down either. A statement takes from
//! the node in steps of [`NODE_STEP_BYTES`] and gives all of it back at its end, so that small ones cost nothing here.
//! What its transaction has written outlives it: the session counts that after each statement, and each piece of a COPY.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use builtins::ValueMemory;
use parking_lot::Mutex;
use types::{ColumnVec, Datum, SqlError, SqlResult, SqlState};

/// A statement below this takes nothing from the node, and any other so much at a time.
const NODE_STEP_BYTES: usize = 256 << 10;

/// What the statements and the messages of a node may keep together.
#[derive(Debug)]
pub struct NodeMemory {
    used: AtomicUsize,
    limit: usize,
    refused: AtomicUsize,
}

impl NodeMemory {
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), limit, refused: AtomicUsize::new(0) })
    }

    #[must_use]
    pub fn unlimited() -> Arc<Self> {
        Self::new(usize::MAX)
    }

    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How often somebody asked for more than there was.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> SqlResult<()> {
        // What is refused is never counted: others would be refused because of it.
        let within = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.limit);
        let Err(before) = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within) else { return Ok(()) };
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(SqlError::new(SqlState::OutOfMemory, "out of memory").with_detail(format!(
            "The statements of this node keep {before} bytes and asked for {bytes} more; together they may have {} bytes.",
            self.limit
        )))
    }

    fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes bytes that belong to no statement's budget.
    ///
    /// # Errors
    /// 53200.
    pub fn reserve(self: &Arc<Self>, bytes: usize) -> SqlResult<NodeReservation> {
        let mut reservation = NodeReservation { node: self.clone(), bytes: 0 };
        reservation.resize(bytes)?;
        Ok(reservation)
    }
}

/// Bytes of the node's, given back when dropped.
#[derive(Debug)]
pub struct NodeReservation {
    node: Arc<NodeMemory>,
    bytes: usize,
}

impl NodeReservation {
    /// Counts exactly this much from now on.
    ///
    /// # Errors
    /// 53200; what was counted stays.
    pub fn resize(&mut self, bytes: usize) -> SqlResult<()> {
        match bytes.checked_sub(self.bytes) {
            // Whatever others have asked for meanwhile.
            Some(0) => {}
            Some(more) => self.node.take(more)?,
            None => self.node.give(self.bytes - bytes),
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for NodeReservation {
    fn drop(&mut self) {
        self.node.give(self.bytes);
    }
}

#[derive(Debug)]
struct Counter {
    used: AtomicUsize,
    limit: usize,
    /// What the node has granted; `used` beyond it by a step asks for more.
    granted: AtomicUsize,
    node: Option<Mutex<NodeReservation>>,
}

impl Counter {
    /// *node-budgeted*
    fn check_node(&self, used: usize) -> SqlResult<()> {
        let Some(node) = &self.node else { return Ok(()) };
        if used <= self.granted.load(Ordering::Relaxed).saturating_add(NODE_STEP_BYTES) {
            return Ok(());
        }
        let mut reservation = node.lock();
        let wanted = used.next_multiple_of(NODE_STEP_BYTES);
        if wanted > self.granted.load(Ordering::Relaxed) {
            reservation.resize(wanted)?;
            self.granted.store(wanted, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The budget of one statement; clones share it.
#[derive(Debug, Clone)]
pub struct MemoryBudget(Arc<Counter>);

impl MemoryBudget {
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self::of(limit, None)
    }

    /// Of a statement of a node.
    #[must_use]
    pub fn within(limit: usize, node: &Arc<NodeMemory>) -> Self {
        Self::of(limit, Some(Mutex::new(NodeReservation { node: node.clone(), bytes: 0 })))
    }

    fn of(limit: usize, node: Option<Mutex<NodeReservation>>) -> Self {
        Self(Arc::new(Counter { used: AtomicUsize::new(0), limit, granted: AtomicUsize::new(0), node }))
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
        let checked = self.0.check_node(before + bytes);
        if checked.is_err() {
            self.0.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        checked
    }
}

impl ValueMemory for MemoryBudget {
    fn fits(&self, bytes: usize) -> SqlResult<()> {
        // Counted for a moment, so that the node is asked as well.
        self.take(bytes)?;
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
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
            Datum::Text(text) | Datum::Json(text) => self.grow_by_copy(text.len()),
            Datum::Bytes(bytes) => self.grow_by_copy(bytes.len()),
            Datum::Jsonb(_)
            | Datum::Array(_)
            | Datum::Record(_)
            | Datum::Range(_)
            | Datum::MultiRange(_)
            | Datum::Bits(_)
            | Datum::TsVector(_)
            | Datum::TsQuery(_)
            | Datum::JsonPath(_)
            | Datum::Geometry(_) => self.grow(value.heap_bytes()),
            _ => Ok(()),
        }
    }

    /// As [`Made::add`] of `count` equal values.
    pub(crate) fn add_many(&mut self, value: &Datum, count: usize) -> SqlResult<()> {
        self.grow(value.heap_bytes().saturating_mul(count))
    }

    /// As [`Made::add`] of every value of a column that takes memory by itself.
    pub(crate) fn add_column(&mut self, column: &ColumnVec) -> SqlResult<()> {
        match column {
            ColumnVec::Text(_) | ColumnVec::Bytes(_) | ColumnVec::Datum(_) => self.grow(column.memory_bytes()),
            ColumnVec::Bool(_) | ColumnVec::Int(..) | ColumnVec::Float(_) | ColumnVec::Decimal(_) => Ok(()),
        }
    }

    /// The column has a copy; until it is made the value is there as well.
    fn grow_by_copy(&mut self, bytes: usize) -> SqlResult<()> {
        self.grow(bytes)?;
        match self.budget {
            Some(budget) if bytes >= STEP_BYTES => budget.fits(bytes),
            _ => Ok(()),
        }
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
        let budget = MemoryBudget::new(7 << 20);
        let value = Datum::text("x".repeat(2 << 20));
        let mut made = Made::new(Some(&budget), usize::MAX);
        made.add(&value).unwrap();
        made.add(&value).unwrap();
        assert_eq!(budget.used(), 4 << 20);
        assert!(budget.fits(3 << 20).is_ok() && budget.fits(4 << 20).is_err());
        assert_eq!(made.add(&value).unwrap_err().code(), SqlState::OutOfMemory);
        drop(made);
        assert_eq!(budget.used(), 0);
        assert!(Made::new(Some(&budget), usize::MAX).add_many(&value, 4).is_err());
        assert!(Made::new(None, 1 << 20).add(&value).is_err());
    }

    #[test]
    fn node_budgeted_statements_share_what_there_is() {
        let node = NodeMemory::new(8 << 20);
        let budgets = [0; 3].map(|_| MemoryBudget::within(usize::MAX, &node));
        let [mut first, mut second, mut small] = budgets.each_ref().map(MemoryBudget::reservation);
        small.grow(NODE_STEP_BYTES).unwrap();
        assert_eq!(node.used(), 0, "small statements cost nothing here");
        first.grow(5 << 20).unwrap();
        assert_eq!(node.used(), 5 << 20);
        let refused = second.grow(4 << 20).unwrap_err();
        assert_eq!(refused.code(), SqlState::OutOfMemory);
        assert_eq!((node.refused(), budgets[1].used()), (1, 0));
        second.grow(3 << 20).unwrap();
        assert_eq!(node.used(), 8 << 20);
        assert!(node.reserve(1).is_err());
        assert!(node.reserve(usize::MAX).is_err(), "the sum is more than can be counted");
        assert_eq!(node.used(), 8 << 20);
        drop(first);
        let [one, two, _] = budgets;
        drop(one);
        assert_eq!(node.used(), 3 << 20, "given back at the statement's end");
        let mut message = node.reserve(5 << 20).unwrap();
        assert!(message.resize(6 << 20).is_err());
        message.resize(1 << 20).unwrap();
        drop((message, second));
        drop(two);
        assert_eq!(node.used(), 0);
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
