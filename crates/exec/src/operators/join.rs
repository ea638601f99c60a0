//! Joins that keep the right side in memory: by hash of equal keys, or against every row.
//!
//! Left rows come out in the order they came in, each with its right rows in theirs; unmatched right rows last. A key
//! with a NULL in it matches nothing. Pairs are made and filtered in pieces of about a batch, however many a row has.

use std::sync::Arc;

use async_trait::async_trait;
use plan::{Expr, JoinKind};
use types::{Batch, ColumnVec, Datum, SqlResult, SqlType};

use super::drain;
use super::key_table::KeyTable;
use crate::context::ExecContext;
use crate::eval::{eval_all, eval_shared};
use crate::memory::Reservation;
use crate::operator::{BATCH_ROWS, BoxOperator, Operator};

const NONE: u32 = u32::MAX;

enum Matcher {
    Hash { left_keys: Vec<Expr>, right_keys: Vec<Expr>, table: KeyTable, first: Vec<u32>, next: Vec<u32> },
    Every,
}

/// The right side, with one row of NULLs after its own: what an unmatched left row is paired with.
struct Built {
    rows: Batch,
    count: usize,
    matched: Vec<bool>,
    _memory: Reservation,
}

/// The left batch in hand and how far its pairs have been made.
struct Probe {
    batch: Batch,
    /// First candidate of each row.
    starts: Vec<u32>,
    row: usize,
    /// The next candidate of `row`.
    candidate: u32,
    /// Whether `row` has had a match.
    is_matched: bool,
}

pub(crate) struct Join {
    left: BoxOperator,
    right: BoxOperator,
    left_types: Vec<SqlType>,
    right_types: Vec<SqlType>,
    kind: JoinKind,
    filter: Option<Expr>,
    matcher: Matcher,
    built: Option<Built>,
    probe: Option<Probe>,
    /// The left is done; the next right row to look at.
    rest: Option<usize>,
}

impl Join {
    pub(crate) fn hash(
        left: BoxOperator,
        right: BoxOperator,
        sides: (Vec<SqlType>, Vec<SqlType>),
        (left_keys, right_keys): (Vec<Expr>, Vec<Expr>),
        kind: JoinKind,
        filter: Option<Expr>,
    ) -> Self {
        let table = KeyTable::new(right_keys.iter().map(Expr::ty).collect());
        let matcher = Matcher::Hash { left_keys, right_keys, table, first: Vec::new(), next: Vec::new() };
        Self::new(left, right, sides, matcher, kind, filter)
    }

    pub(crate) fn nested_loop(
        left: BoxOperator,
        right: BoxOperator,
        sides: (Vec<SqlType>, Vec<SqlType>),
        kind: JoinKind,
        filter: Option<Expr>,
    ) -> Self {
        Self::new(left, right, sides, Matcher::Every, kind, filter)
    }

    fn new(
        left: BoxOperator,
        right: BoxOperator,
        (left_types, right_types): (Vec<SqlType>, Vec<SqlType>),
        matcher: Matcher,
        kind: JoinKind,
        filter: Option<Expr>,
    ) -> Self {
        Self { left, right, left_types, right_types, kind, filter, matcher, built: None, probe: None, rest: None }
    }

    async fn build(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Built> {
        let mut memory = ctx.memory.reservation();
        let rows = match drain(self.right.as_mut(), &mut memory, ctx).await? {
            Some(rows) => rows,
            None => Batch::from_rows(&self.right_types, &[]),
        };
        let count = rows.len();
        if let Matcher::Hash { right_keys, table, first, next, .. } = &mut self.matcher {
            let keys = eval_all(right_keys, &rows, ctx).await?;
            let has_key = |row: usize| !keys.iter().any(|key| key.is_null(row));
            let numbers = table.insert(&keys, count, has_key, |_| {});
            // Chains in the rows' order: built from the end.
            first.resize(table.len(), NONE);
            next.resize(count, NONE);
            for (row, number) in numbers.into_iter().enumerate().rev() {
                if number != NONE {
                    next[row] = std::mem::replace(&mut first[number as usize], row as u32);
                }
            }
            memory.grow(table.memory_bytes() + 4 * (first.len() + next.len()))?;
        }
        let mut columns = rows.into_columns();
        for column in &mut columns {
            Arc::make_mut(column).push_null();
        }
        Ok(Built { rows: Batch::new(columns, count + 1), count, matched: vec![false; count], _memory: memory })
    }

    async fn start_probe(&mut self, batch: Batch, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        let len = batch.len();
        let starts = match &self.matcher {
            Matcher::Hash { left_keys, table, first, .. } => {
                let keys = eval_all(left_keys, &batch, ctx).await?;
                let mut numbers = table.find(&keys, len, |row| !keys.iter().any(|key| key.is_null(row)));
                for number in &mut numbers {
                    *number = first.get(*number as usize).copied().unwrap_or(NONE);
                }
                numbers
            }
            Matcher::Every => {
                let is_empty = self.built.as_ref().is_none_or(|built| built.count == 0);
                vec![if is_empty { NONE } else { 0 }; len]
            }
        };
        let candidate = starts.first().copied().unwrap_or(NONE);
        self.probe = Some(Probe { batch, starts, row: 0, candidate, is_matched: false });
        Ok(())
    }

    fn after(&self, candidate: u32, count: usize) -> u32 {
        match &self.matcher {
            Matcher::Hash { next, .. } => next[candidate as usize],
            Matcher::Every if candidate as usize + 1 < count => candidate + 1,
            Matcher::Every => NONE,
        }
    }

    /// One piece of the left batch in hand; `None` when it is used up.
    async fn piece(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        let Some(mut probe) = self.probe.take_if(|probe| probe.row < probe.batch.len()) else { return Ok(None) };
        let mut built = self.built.take().expect("the right side is built before the first left batch");
        let first_row = probe.row;
        let was_matched = probe.is_matched;
        let (mut left, mut right) = (Vec::with_capacity(BATCH_ROWS), Vec::with_capacity(BATCH_ROWS));
        // One match is enough for these, unless a filter may refuse the first.
        let one_is_enough = matches!(self.kind, JoinKind::Semi | JoinKind::Anti) && self.filter.is_none();
        while probe.row < probe.batch.len() && left.len() < BATCH_ROWS {
            if probe.candidate == NONE {
                probe.row += 1;
                probe.candidate = probe.starts.get(probe.row).copied().unwrap_or(NONE);
                continue;
            }
            left.push(probe.row as u32);
            right.push(probe.candidate);
            probe.candidate = if one_is_enough { NONE } else { self.after(probe.candidate, built.count) };
        }
        if let Some(filter) = &self.filter
            && !left.is_empty()
        {
            let mut columns = probe.batch.gather(&left).into_columns();
            columns.extend(built.rows.gather(&right).into_columns());
            let pairs = Batch::new(columns, left.len());
            let keep = eval_shared(filter, &pairs, ctx).await?.true_rows();
            (left, right) =
                keep.iter().map(|pair| (left[*pair as usize], right[*pair as usize])).unzip();
        }
        if matches!(self.kind, JoinKind::Right | JoinKind::Full) {
            for row in &right {
                built.matched[*row as usize] = true;
            }
        }
        // Rows finished in this piece: from `first_row` up to where the probe stands now.
        let mut pairs = left.iter().zip(&right).peekable();
        let (mut out_left, mut out_right) = (Vec::with_capacity(left.len()), Vec::with_capacity(left.len()));
        for row in first_row..=probe.row {
            let mut is_matched = row == first_row && was_matched;
            let had_match = is_matched;
            while let Some((_, right)) = pairs.next_if(|(left, _)| **left as usize == row) {
                is_matched = true;
                if !matches!(self.kind, JoinKind::Semi | JoinKind::Anti) {
                    out_left.push(row as u32);
                    out_right.push(*right);
                }
            }
            if self.kind == JoinKind::Semi && is_matched && !had_match {
                out_left.push(row as u32);
            }
            if row == probe.row {
                probe.is_matched = is_matched;
            } else if !is_matched {
                match self.kind {
                    JoinKind::Left | JoinKind::Full => {
                        out_left.push(row as u32);
                        out_right.push(built.count as u32);
                    }
                    JoinKind::Anti => out_left.push(row as u32),
                    JoinKind::Inner | JoinKind::Right | JoinKind::Semi => {}
                }
            }
        }
        let mut columns = probe.batch.gather(&out_left).into_columns();
        if !matches!(self.kind, JoinKind::Semi | JoinKind::Anti) {
            columns.extend(built.rows.gather(&out_right).into_columns());
        }
        self.probe = Some(probe);
        self.built = Some(built);
        Ok(Some(Batch::new(columns, out_left.len())))
    }

    /// Right rows that nothing matched.
    fn rest(&mut self) -> Option<Batch> {
        let (Some(built), Some(at)) = (&self.built, &mut self.rest) else { return None };
        let mut rows = Vec::new();
        while *at < built.count && rows.len() < BATCH_ROWS {
            if !built.matched[*at] {
                rows.push(*at as u32);
            }
            *at += 1;
        }
        if rows.is_empty() {
            return None;
        }
        let nulls = |ty: &SqlType| Arc::new(ColumnVec::repeat(ty, &Datum::Null, rows.len()));
        let mut columns: Vec<Arc<ColumnVec>> = self.left_types.iter().map(nulls).collect();
        columns.extend(built.rows.gather(&rows).into_columns());
        Some(Batch::new(columns, rows.len()))
    }
}

#[async_trait]
impl Operator for Join {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        if self.built.is_none() {
            let built = self.build(ctx).await?;
            // Nothing on the right: nothing comes of the left either.
            if built.count == 0 && !matches!(self.kind, JoinKind::Left | JoinKind::Full | JoinKind::Anti) {
                self.rest = Some(0);
            }
            self.built = Some(built);
        }
        while self.rest.is_none() {
            ctx.cancel.checkpoint().await?;
            if let Some(batch) = self.piece(ctx).await? {
                if !batch.is_empty() {
                    return Ok(Some(batch));
                }
                continue;
            }
            match self.left.next(ctx).await? {
                Some(batch) => self.start_probe(batch, ctx).await?,
                None => self.rest = Some(0),
            }
        }
        ctx.cancel.checkpoint().await?;
        Ok(match self.kind {
            JoinKind::Right | JoinKind::Full => self.rest(),
            _ => None,
        })
    }
}
