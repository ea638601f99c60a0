//! LATERAL: the right side runs again for each left row, which it sees as its Outer slots.

use std::sync::Arc;

use async_trait::async_trait;
use plan::{Expr, JoinKind, Plan};
use types::{Batch, ColumnVec, Datum, SqlError, SqlResult, SqlType};

use crate::context::ExecContext;
use crate::eval::{eval_all, eval_filter};
use crate::operator::{BATCH_ROWS, BoxOperator, Builder, Operator, column_types};

struct Current {
    batch: Batch,
    arguments: Vec<Arc<ColumnVec>>,
    row: usize,
    /// The right side of `row`, once started.
    right: Option<BoxOperator>,
    is_matched: bool,
}

pub(crate) struct Apply {
    left: BoxOperator,
    right: Arc<Plan>,
    builder: Builder,
    arguments: Vec<Expr>,
    kind: JoinKind,
    filter: Option<Expr>,
    right_types: Vec<SqlType>,
    current: Option<Current>,
    is_done: bool,
}

impl Apply {
    pub(crate) fn new(
        left: BoxOperator,
        right: Arc<Plan>,
        builder: Builder,
        arguments: Vec<Expr>,
        kind: JoinKind,
        filter: Option<Expr>,
    ) -> SqlResult<Self> {
        if matches!(kind, JoinKind::Right | JoinKind::Full) {
            return Err(SqlError::internal("the right side of a lateral join cannot be the outer one"));
        }
        let right_types = column_types(&right);
        Ok(Self { left, right, builder, arguments, kind, filter, right_types, current: None, is_done: false })
    }

    fn yields_right(&self) -> bool {
        !matches!(self.kind, JoinKind::Semi | JoinKind::Anti)
    }

    /// Pulls the right side of the row in hand once; what comes of it.
    async fn step(&mut self, current: &mut Current, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        let mut right = match current.right.take() {
            Some(right) => right,
            None => self.builder.clone().build(&self.right)?,
        };
        ctx.outer.push(current.arguments.iter().map(|column| column.get_datum(current.row)).collect());
        let pulled = right.next(ctx).await;
        ctx.outer.pop();
        let row = current.row as u32;
        let Some(found) = pulled? else {
            let is_unmatched = !std::mem::take(&mut current.is_matched);
            current.row += 1;
            if !is_unmatched || !matches!(self.kind, JoinKind::Left | JoinKind::Anti) {
                return Ok(None);
            }
            let mut columns = current.batch.gather(&[row]).into_columns();
            if self.yields_right() {
                columns.extend(self.right_types.iter().map(|ty| Arc::new(ColumnVec::repeat(ty, &Datum::Null, 1))));
            }
            return Ok(Some(Batch::new(columns, 1)));
        };
        let mut columns = current.batch.gather(&vec![row; found.len()]).into_columns();
        columns.extend(found.columns().iter().cloned());
        let mut pairs = Batch::new(columns, found.len());
        if let Some(filter) = &self.filter {
            pairs = eval_filter(filter, pairs, ctx).await?;
        }
        current.is_matched |= !pairs.is_empty();
        if !self.yields_right() && current.is_matched {
            current.is_matched = false;
            current.row += 1;
            return Ok((self.kind == JoinKind::Semi).then(|| current.batch.gather(&[row])));
        }
        current.right = Some(right);
        Ok((self.yields_right() && !pairs.is_empty()).then_some(pairs))
    }
}

#[async_trait]
impl Operator for Apply {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        let mut out = Batch::default();
        while !self.is_done && out.len() < BATCH_ROWS {
            ctx.cancel.checkpoint().await?;
            let mut current = match self.current.take() {
                Some(current) if current.row < current.batch.len() => current,
                _ => match self.left.next(ctx).await? {
                    Some(batch) => {
                        let arguments = eval_all(&self.arguments, &batch, ctx).await?;
                        self.current = Some(Current { batch, arguments, row: 0, right: None, is_matched: false });
                        continue;
                    }
                    None => {
                        self.is_done = true;
                        break;
                    }
                },
            };
            let piece = self.step(&mut current, ctx).await?;
            self.current = Some(current);
            if let Some(piece) = piece {
                out.append(&piece);
            }
        }
        Ok((!out.is_empty()).then_some(out))
    }
}
