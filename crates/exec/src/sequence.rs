//! Sequences: counters outside of transactions, as PostgreSQL has it: a value once given is used up.
//!
//! ```text
//! /Table/3/1/<id>   how far the next value lies from the start
//! ```
//! A value is taken by adding the increment; the range's leaseholder reserves some more with it and gives them out from
//! memory, so that not each is a command in its log, and skips what is left of them when its lease ends, as PostgreSQL does
//! when it crashes; `setval` sets the counter, in one write that is never repeated: if its outcome is unknown the client
//! gets 40003. A counter at 0 has given nothing out.

use std::sync::Arc;

use keys::{IndexId, Key, TableId, keyspace};
use plan::SequenceOp;
use rustc_hash::FxHashMap;
use types::{Datum, SqlError, SqlResult, SqlState};

use catalog::privilege::{Access, PrivilegeSet, denied};
use catalog::{CatalogSnapshot, Relation, Sequence};

use crate::error::from_kv;

/// Values that are reserved with one: as many as PostgreSQL logs at a time.
const AHEAD: u32 = 31;

/// What a session remembers of sequences.
#[derive(Clone, Debug, Default)]
pub struct SequenceState {
    /// Shared with how a transaction that may be run again has found it.
    current: Arc<FxHashMap<u32, i64>>,
    last: Option<u32>,
}

#[must_use]
pub fn sequence_key(id: u32) -> Key {
    let mut key = keyspace::index(TableId::new(3), IndexId::new(1)).as_bytes().to_vec();
    keys::encoding::put_uvarint(&mut key, u64::from(id));
    key.into()
}

impl SequenceState {
    /// DISCARD SEQUENCES.
    pub fn clear(&mut self) {
        self.current = Arc::default();
        self.last = None;
    }

    pub(crate) async fn call(
        &mut self,
        op: SequenceOp,
        args: &[Datum],
        (catalog, database, user): (&CatalogSnapshot, u32, u32),
        db: &kv::Db,
    ) -> SqlResult<Datum> {
        if op == SequenceOp::LastVal {
            let value = self.last.and_then(|id| self.current.get(&id));
            if let Some(id) = self.last.filter(|_| value.is_some()) {
                check_allowed(op, id, &catalog.access(database), user)?;
            }
            return value.map(|value| Datum::Int(*value)).ok_or_else(|| {
                SqlError::new(
                    SqlState::ObjectNotInPrerequisiteState,
                    "lastval is not yet defined in this session",
                )
            });
        }
        let Some(id) = args.first().and_then(Datum::as_int).and_then(|id| u32::try_from(id).ok()) else {
            return Ok(Datum::Null);
        };
        let Some(Relation::Sequence(sequence)) = catalog.relation_by_id(id) else {
            return Err(SqlError::new(
                SqlState::WrongObjectType,
                format!("relation with OID {id} is not a sequence"),
            ));
        };
        if !catalog.role_by_id(user).is_some_and(|role| role.superuser) {
            check_allowed(op, id, &catalog.access(database), user)?;
        }
        match op {
            SequenceOp::NextVal | SequenceOp::NextIdentity => {
                let value = next_value(sequence, db).await?;
                Arc::make_mut(&mut self.current).insert(id, value);
                self.last = Some(id);
                Ok(Datum::Int(value))
            }
            SequenceOp::CurrVal => self.current.get(&id).map(|value| Datum::Int(*value)).ok_or_else(|| {
                SqlError::new(
                    SqlState::ObjectNotInPrerequisiteState,
                    format!("currval of sequence \"{}\" is not yet defined in this session", sequence.name),
                )
            }),
            SequenceOp::SetVal => {
                let Some(value) = args.get(1).and_then(Datum::as_int) else { return Ok(Datum::Null) };
                let is_called = args.get(2).and_then(Datum::as_bool).unwrap_or(true);
                if value < sequence.min || value > sequence.max {
                    return Err(SqlError::new(
                        SqlState::NumericValueOutOfRange,
                        format!(
                            "setval: value {value} is out of bounds for sequence \"{}\" ({}..{})",
                            sequence.name, sequence.min, sequence.max
                        ),
                    ));
                }
                set_value(sequence, value, is_called, db).await?;
                if is_called {
                    Arc::make_mut(&mut self.current).insert(id, value);
                }
                Ok(Datum::Int(value))
            }
            SequenceOp::Position => {
                let past = db.increment(&sequence_key(id), 0).await.map_err(from_kv)?;
                let bound = if sequence.increment > 0 { sequence.max } else { sequence.min };
                let given = if past == 0 { sequence.increment } else { past };
                Ok(Datum::Int(value_at(sequence, given).unwrap_or(bound)))
            }
            SequenceOp::IsCalled => {
                let past = db.increment(&sequence_key(id), 0).await.map_err(from_kv)?;
                Ok(Datum::Bool(past != 0))
            }
            SequenceOp::LastVal => unreachable!("answered above"),
            SequenceOp::Sleep(_) | SequenceOp::Advisory(_) | SequenceOp::ExportSnapshot | SequenceOp::LargeObject(_) => {
                Err(SqlError::internal("no function of sequences"))
            }
        }
    }
}

/// # Errors
/// 42501.
fn check_allowed(op: SequenceOp, id: u32, access: &Access<'_>, user: u32) -> SqlResult<()> {
    use PrivilegeSet as P;
    let any_of = match op {
        SequenceOp::NextVal => P::USAGE.union(P::UPDATE),
        SequenceOp::CurrVal | SequenceOp::LastVal => P::USAGE.union(P::SELECT),
        SequenceOp::SetVal => P::UPDATE,
        // Reading a sequence is looked at as reading a relation is.
        SequenceOp::NextIdentity
        | SequenceOp::Position
        | SequenceOp::IsCalled
        | SequenceOp::Sleep(_)
        | SequenceOp::ExportSnapshot
        | SequenceOp::LargeObject(_)
        | SequenceOp::Advisory(_) => return Ok(()),
    };
    if access.privileges_of(user, id, any_of).is_empty() {
        let name = access.object(id).map_or_else(String::new, |object| object.name);
        return Err(denied("sequence", &name));
    }
    Ok(())
}

async fn next_value(sequence: &Sequence, db: &kv::Db) -> SqlResult<i64> {
    let (step, start) = (i128::from(sequence.increment), i128::from(sequence.start));
    // Where the counter stands when the last value was given; one that goes round has no last.
    let until = match (sequence.cycle, step > 0) {
        (true, true) => i64::MAX,
        (true, false) => i64::MIN,
        (false, is_rising) => {
            let last = i128::from(if is_rising { sequence.max } else { sequence.min });
            (last - start + step).clamp(i64::MIN.into(), i64::MAX.into()) as i64
        }
    };
    let key = sequence_key(sequence.id);
    let past = db.increment_ahead(&key, sequence.increment, AHEAD, until).await.map_err(from_kv)?;
    value_at(sequence, past)
}

/// The value that was given when the counter came to stand here.
fn value_at(sequence: &Sequence, past: i64) -> SqlResult<i64> {
    let value = i128::from(sequence.start) + i128::from(past) - i128::from(sequence.increment);
    let (min, max) = (i128::from(sequence.min), i128::from(sequence.max));
    if (min..=max).contains(&value) {
        return Ok(value as i64);
    }
    if sequence.cycle {
        return Ok(in_cycle(sequence, value) as i64);
    }
    let (which, bound) =
        if sequence.increment > 0 { ("maximum", sequence.max) } else { ("minimum", sequence.min) };
    Err(SqlError::new(
        SqlState::SequenceGeneratorLimitExceeded,
        format!("nextval: reached {which} value of sequence \"{}\" ({bound})", sequence.name),
    ))
}

/// A value past one end as one after the other end.
fn in_cycle(sequence: &Sequence, value: i128) -> i128 {
    let (min, max) = (i128::from(sequence.min), i128::from(sequence.max));
    if (min..=max).contains(&value) {
        return value;
    }
    let step = i128::from(sequence.increment.unsigned_abs());
    let span = (max - min) / step + 1;
    if sequence.increment > 0 {
        min + ((value - max - 1) / step % span) * step
    } else {
        max - ((min - value - 1) / step % span) * step
    }
}

/// The value that follows the last one under another increment; before any was given out, the first.
pub(crate) async fn next_after(sequence: &Sequence, increment: i64, db: &kv::Db) -> SqlResult<i128> {
    let past = db.increment(&sequence_key(sequence.id), 0).await.map_err(from_kv)?;
    let next = i128::from(sequence.start) + i128::from(past);
    if past == 0 {
        return Ok(next);
    }
    let (step, min, max) =
        (i128::from(sequence.increment), i128::from(sequence.min), i128::from(sequence.max));
    let last = next - step;
    // Past the end nothing was given: the counter went on at every attempt, unless it goes round.
    let beyond = if step > 0 { (last - max).max(0) } else { (min - last).max(0) };
    let attempts = (beyond + step.abs() - 1) / step.abs();
    let last = if sequence.cycle { in_cycle(sequence, last) } else { last - attempts * step };
    Ok(last + i128::from(increment))
}

/// Moves the counter so that `next` comes next.
pub(crate) async fn set_next(sequence: &Sequence, next: i128, db: &kv::Db) -> SqlResult<()> {
    let wanted = i64::try_from(next - i128::from(sequence.start))
        .map_err(|_| SqlError::new(SqlState::NumericValueOutOfRange, "setval: value out of range"))?;
    db.set_counter(&sequence_key(sequence.id), wanted).await.map_err(from_kv)
}

/// Moves the counter so that the next value follows `value`, or is it.
pub(crate) async fn set_value(
    sequence: &Sequence,
    value: i64,
    is_called: bool,
    db: &kv::Db,
) -> SqlResult<()> {
    let step = if is_called { i128::from(sequence.increment) } else { 0 };
    set_next(sequence, i128::from(value) + step, db).await
}
