//! SHOW RANGES: where the rows of a table are.

use catalog::Table;
use keys::{Key, Span, keyspace};
use plan::PreparedPlan;
use types::{Batch, Datum, SqlResult};

use super::{Completion, Session};
use crate::sink::{Sink, send};

impl Session {
    /// One row for each range with rows of the table, in the order of their keys. A bound that lies outside of the table is
    /// not shown. Neither is any to a role that policies hide rows from: bounds are keys of rows.
    pub(super) async fn show_ranges(
        &mut self,
        table: &Table,
        plan: &PreparedPlan,
        sink: &mut dyn Sink,
        describe: bool,
    ) -> SqlResult<Completion> {
        let db = self.engine.catalog.db().clone();
        let span = Span::prefix(keyspace::table(table.storage_id()));
        let ranges = db.range_stats(&span).await.map_err(|error| exec::kv_error(&error))?;
        let hides_keys = self.is_subject_to_policies(table);
        let bound = |key: &Key| {
            let is_shown = !hides_keys && span.contains(key.as_bytes());
            if is_shown { Datum::text(key.to_string()) } else { Datum::Null }
        };
        let number = |number: u64| Datum::Int(i64::try_from(number).unwrap_or(i64::MAX));
        let mut rows: Vec<Vec<Datum>> = Vec::with_capacity(ranges.len());
        for stats in ranges {
            let range = stats.descriptor;
            let mut stores: Vec<u64> = range.replicas.iter().map(|replica| replica.store_id.get()).collect();
            stores.sort_unstable();
            let stores: Vec<String> = stores.iter().map(u64::to_string).collect();
            rows.push(vec![
                bound(&range.start),
                bound(&range.end),
                number(range.range_id.get()),
                Datum::Float(stats.bytes as f64 / f64::from(1 << 20)),
                number(stats.node.get()),
                Datum::text(format!("{{{}}}", stores.join(","))),
            ]);
        }
        if describe {
            sink.columns(&plan.columns);
        }
        let types: Vec<types::SqlType> = plan.columns.iter().map(|column| column.ty).collect();
        send(sink, &Batch::from_rows(&types, &rows), 0..rows.len(), &self.settings.formatting).await?;
        Ok(Completion::Done("SHOW".to_owned()))
    }
}
