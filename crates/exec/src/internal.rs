//! Statements of our own inside a client's: what foreign keys and ALTER TABLE must ask and change.
//!
//! They are SQL text over qualified names, planned like any other, so that they use the indexes and pass the rules
//! that a client's statement would.

use std::sync::Arc;

use plan::{Node, PlanContext, PreparedPlan, StatementKind};
use types::{Datum, SqlError, SqlResult, SqlType};

use crate::context::{Ctes, ExecContext};
use crate::error::from_kv;
use crate::operator::build;
use crate::subquery::SubqueryCache;

/// An identifier as SQL text, whatever it is made of.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Plans a text in which every name is qualified.
pub(crate) fn prepare(
    sql: &str,
    database: u32,
    params: &[Option<SqlType>],
    ctx: &ExecContext<'_>,
) -> SqlResult<Arc<PreparedPlan>> {
    let statement = plan::parse(sql)?
        .into_iter()
        .next()
        .ok_or_else(|| SqlError::internal("an empty statement of our own"))?;
    let context = PlanContext {
        catalog: ctx.catalog,
        database,
        search_path: &[],
        user: "",
        param_types: params,
        notes: &plan::PlanNotes::default(),
        eval: ctx.eval,
        formatting: ctx.eval.formatting,
        variables: None,
        transitions: &[],
        names: &[],
        depends_on: None,
        // Constraints hold for all rows.
        security: None,
    };
    plan::plan_statement(&statement, &context).map(Arc::new)
}

/// Runs a prepared text and returns its rows. It sees all that the transaction has done so far.
pub(crate) async fn run(
    prepared: &PreparedPlan,
    params: &[Datum],
    ctx: &mut ExecContext<'_>,
) -> SqlResult<Vec<Vec<Datum>>> {
    let StatementKind::Query { plan, .. } = &prepared.kind else {
        return Err(SqlError::internal("a statement of our own is no query"));
    };
    // What it owes is settled by whoever runs it.
    let plan = match &plan.node {
        Node::Finish { input, .. } => input,
        _ => plan,
    };
    let cancel = ctx.cancel.clone();
    let txn = ctx.txn()?;
    txn.begin_statement();
    // Constraints rest on what it finds.
    let did_bind = txn.bind_reads(true);
    txn.look_from_now().await.map_err(from_kv)?;
    let mut inner = ExecContext {
        txn: ctx.txn.as_deref_mut(),
        routines: match &mut ctx.routines {
            Some(routines) => Some(&mut **routines),
            None => None,
        },
        params,
        eval: ctx.eval,
        catalog: ctx.catalog,
        ctes: Ctes::default(),
        cte_plans: &prepared.ctes,
        outer: Vec::new(),
        virtual_tables: ctx.virtual_tables,
        state: &mut *ctx.state,
        database: ctx.database,
        user: ctx.user,
        memory: ctx.memory.clone(),
        cancel,
        read_only: ctx.read_only,
        stats: None,
        affected: 0,
        subqueries: SubqueryCache::default(),
        foreign: std::mem::take(&mut ctx.foreign),
        looked_at: Vec::new(),
        after: std::mem::take(&mut ctx.after),
        transitions: &[],
        have_routines_written: false,
    };
    let mut rows = Vec::new();
    let outcome = async {
        let mut operator = build(plan)?;
        while let Some(batch) = operator.next(&mut inner).await? {
            rows.extend((0..batch.len()).map(|row| batch.row(row)));
        }
        Ok(())
    }
    .await;
    let (foreign, after) = (std::mem::take(&mut inner.foreign), std::mem::take(&mut inner.after));
    let have_routines_written = inner.have_routines_written;
    drop(inner);
    (ctx.foreign, ctx.after) = (foreign, after);
    ctx.have_routines_written |= have_routines_written;
    ctx.txn()?.bind_reads(did_bind);
    outcome.map(|()| rows)
}
