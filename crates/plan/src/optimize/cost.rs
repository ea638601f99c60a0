//! What things cost, in the unit of reading one page in sequence, as PostgreSQL counts; and how many rows pass.

use crate::{expr::Expr, optimize::comparison};

/// Handling a row that comes out of a scan, with its decoding.
pub(super) const PER_ROW: f64 = 0.01;
/// Finding a key.
pub(super) const PER_SEEK: f64 = 0.05;
/// Evaluating an expression.
pub(super) const PER_OPERATION: f64 = 0.0025;
/// Rows of a table that was never analyzed.
pub(super) const DEFAULT_ROWS: f64 = 1000.0;

pub(super) fn sort(rows: f64) -> f64 {
    rows * (rows + 2.0).log2() * PER_OPERATION * 2.0
}

/// The share of rows a condition lets through, where nothing better is known.
pub(super) fn selectivity(expr: &Expr) -> f64 {
    match expr {
        Expr::Call { builtin, .. } => match comparison(builtin) {
            Some("=") => 0.005,
            Some("<>") => 0.995,
            Some(_) => 1.0 / 3.0,
            None => 0.25,
        },
        Expr::InList { list, negated: false, .. } => (0.005 * list.len() as f64).min(0.5),
        Expr::InList { .. } => 0.9,
        Expr::IsNull(_) => 0.005,
        Expr::And(list) => list.iter().map(selectivity).product(),
        Expr::Or(list) => 1.0 - list.iter().map(|item| 1.0 - selectivity(item)).product::<f64>(),
        Expr::Not(inner) => 1.0 - selectivity(inner),
        _ => 0.5,
    }
}
