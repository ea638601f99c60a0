//! What EXPLAIN answers: the plan's own picture, with what was measured.

use exec::ExecStats;
use plan::{
    PreparedPlan, StatementKind,
    explain::{Actual, Measured, explain},
    statement::ExplainOptions,
};

/// The lines for a statement's plan; `measured` is what EXPLAIN ANALYZE has counted, and the microseconds it took.
pub(crate) fn lines(plan: &PreparedPlan, options: ExplainOptions, measured: Option<(ExecStats, i64)>) -> Vec<String> {
    let StatementKind::Query { plan: root, .. } = &plan.kind else {
        return vec!["Utility statements have no plan structure".into()];
    };
    let measured = measured.map(|(stats, micros)| {
        let actual = |node: &exec::NodeStats| Actual {
            startup_ms: node.startup_micros as f64 / 1000.0,
            total_ms: node.micros as f64 / 1000.0,
            rows: node.rows,
            loops: node.loops,
        };
        Measured { nodes: stats.nodes.iter().map(actual).collect(), execution_ms: micros as f64 / 1000.0 }
    });
    explain(root, &plan.ctes, options, measured.as_ref())
}
