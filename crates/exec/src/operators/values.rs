//! Sources of rows that are no tables: one empty row, VALUES, tables made when read.

use std::sync::Arc;

use async_trait::async_trait;
use catalog::{VirtualChunk, VirtualLookup, VirtualRead, VirtualTable};
use plan::{CatalogLookup, Expr, LookupValues};
use smallvec::SmallVec;
use types::{Batch, ColumnVec, Datum, SqlError, SqlResult, SqlType};

use crate::context::ExecContext;
use crate::error::from_kv;
use crate::eval::{eval_filter, eval_row, eval_scalar, needs_transaction};
use crate::operator::{BATCH_ROWS, Operator};

#[derive(Default)]
pub(crate) struct Unit {
    is_done: bool,
}

#[async_trait]
impl Operator for Unit {
    async fn next(&mut self, _ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        Ok((!std::mem::replace(&mut self.is_done, true)).then(|| Batch::new(Vec::new(), 1)))
    }
}

pub(crate) struct Values {
    rows: Vec<Vec<Expr>>,
    types: Vec<SqlType>,
    at: usize,
}

impl Values {
    pub(crate) fn new(rows: Vec<Vec<Expr>>, types: Vec<SqlType>) -> Self {
        Self { rows, types, at: 0 }
    }
}

#[async_trait]
impl Operator for Values {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        ctx.cancel.checkpoint().await?;
        let to = (self.at + BATCH_ROWS).min(self.rows.len());
        if self.at == to {
            return Ok(None);
        }
        let rows = &self.rows[self.at..to];
        self.at = to;
        let mut columns: Vec<ColumnVec> =
            self.types.iter().map(|ty| ColumnVec::with_capacity(ty, rows.len())).collect();
        for row in rows {
            for (expr, column) in row.iter().zip(&mut columns) {
                match expr {
                    Expr::Const(datum, _) => column.push(datum),
                    expr if needs_transaction(expr) => column.push(&eval_scalar(expr, ctx).await?),
                    expr => column.push(&eval_row(expr, &[], &ctx.scope())?),
                }
            }
        }
        Ok(Some(Batch::from_columns(columns, rows.len())))
    }
}

pub(crate) struct VirtualScan {
    table: &'static VirtualTable,
    columns: Vec<usize>,
    lookup: Option<CatalogLookup>,
    filter: Option<Expr>,
    types: Vec<SqlType>,
    read: Option<VirtualRead>,
    /// Rows of it that have not been given out.
    chunk: Option<VirtualChunk>,
    at: usize,
}

impl VirtualScan {
    pub(crate) fn new(
        table: &'static VirtualTable,
        columns: Vec<usize>,
        lookup: Option<CatalogLookup>,
        filter: Option<Expr>,
        types: Vec<SqlType>,
    ) -> Self {
        Self { table, columns, lookup, filter, types, read: None, chunk: None, at: 0 }
    }

    async fn begin(&self, ctx: &mut ExecContext<'_>) -> SqlResult<VirtualRead> {
        // No key is read for these rows: another node may have changed the catalog that they are of.
        if let Some(txn) = ctx.txn.as_deref_mut() {
            ctx.virtual_tables.look_at_versions(self.table, txn).await.map_err(from_kv)?;
        }
        let lookup = match &self.lookup {
            None => None,
            Some(lookup) => {
                let mut values = SmallVec::new();
                match &lookup.values {
                    LookupValues::One(value) => values.push(eval_scalar(value, ctx).await?),
                    LookupValues::Among(list) => {
                        for value in list {
                            values.push(eval_scalar(value, ctx).await?);
                        }
                    }
                    LookupValues::AnyOf(array) => {
                        if let Datum::Array(array) = eval_scalar(array, ctx).await? {
                            values.extend(array.elements().iter().cloned());
                        }
                    }
                }
                values.retain(|value: &mut Datum| !value.is_null());
                Some(VirtualLookup { column: lookup.column, values })
            }
        };
        ctx.virtual_tables.read(self.table, lookup)
    }
}

#[async_trait]
impl Operator for VirtualScan {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        ctx.cancel.checkpoint().await?;
        if self.read.is_none() {
            self.read = Some(self.begin(ctx).await?);
        }
        let read = self.read.as_mut().expect("begun just now");
        while self.chunk.as_ref().is_none_or(|chunk| self.at == chunk.len()) {
            // Making rows takes its time where there are many.
            ctx.cancel.checkpoint().await?;
            self.chunk = read.next_chunk();
            self.at = 0;
            if self.chunk.is_none() {
                return Ok(None);
            }
        }
        let chunk = self.chunk.as_ref().expect("there are rows left in it");
        let to = (self.at + BATCH_ROWS).min(chunk.len());
        let len = to - self.at;
        let mut columns: Vec<ColumnVec> =
            self.types.iter().map(|ty| ColumnVec::with_capacity(ty, len)).collect();
        for at in self.at..to {
            let row = chunk.row(at);
            for (position, column) in self.columns.iter().zip(&mut columns) {
                column.push(&row[*position]);
            }
        }
        self.at = to;
        let batch = Batch::from_columns(columns, len);
        Ok(Some(match &self.filter {
            Some(filter) => eval_filter(filter, batch, ctx).await?,
            None => batch,
        }))
    }
}

/// The rows that a statement has changed, in its trigger.
pub(crate) struct TransitionScan {
    name: String,
    types: Vec<SqlType>,
    rows: Option<Arc<Vec<Datum>>>,
    at: usize,
}

impl TransitionScan {
    pub(crate) fn new(name: String, types: Vec<SqlType>) -> Self {
        Self { name, types, rows: None, at: 0 }
    }
}

#[async_trait]
impl Operator for TransitionScan {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        ctx.cancel.checkpoint().await?;
        if self.rows.is_none() {
            let found = ctx.transitions.iter().find(|transition| transition.name == self.name);
            let missing = || SqlError::internal(format!("no trigger names its rows \"{}\" here", self.name));
            self.rows = Some(found.ok_or_else(missing)?.rows.clone());
        }
        let rows = self.rows.as_ref().expect("found just now");
        let to = (self.at + BATCH_ROWS).min(rows.len());
        if self.at == to {
            return Ok(None);
        }
        let len = to - self.at;
        let mut columns: Vec<ColumnVec> = self.types.iter().map(|ty| ColumnVec::with_capacity(ty, len)).collect();
        for row in &rows[self.at..to] {
            let Datum::Record(fields) = row else { return Err(SqlError::internal("a trigger's rows are records")) };
            for (field, column) in fields.iter().zip(&mut columns) {
                column.push(field);
            }
        }
        self.at = to;
        Ok(Some(Batch::from_columns(columns, len)))
    }
}
