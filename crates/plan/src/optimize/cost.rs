//! What things cost, in the unit of reading one page in sequence, as PostgreSQL counts.
//!
//! The numbers were weighed against each other on one machine: a row of a scan costs about a tenth of a microsecond,
//! a key of a batch of gets 25 times that, a stretch of keys of its own forty times.

/// Handling a row that comes out of a scan, with its decoding.
pub(super) const PER_ROW: f64 = 0.01;
/// Moving a byte of it.
pub(super) const PER_BYTE: f64 = 0.000_02;
/// Finding a key among others that are asked for together.
pub(super) const PER_GET: f64 = 0.25;
/// Beginning to read a stretch of keys.
pub(super) const PER_SPAN: f64 = 0.4;
/// Evaluating an expression, or handling a row between operators.
pub(super) const PER_OPERATION: f64 = 0.0025;
/// Rows of a table that was never analyzed.
pub(super) const DEFAULT_ROWS: f64 = 1000.0;
/// Different values of a column of which nothing is known.
pub(super) const DEFAULT_DISTINCT: f64 = 200.0;

/// Sorting, of which a limit keeps only the first.
pub(super) fn sort(rows: f64, limit: Option<f64>) -> f64 {
    let kept = limit.map_or(rows, |limit| (2.0 * limit).min(rows));
    rows * (kept + 2.0).log2() * PER_OPERATION * 2.0
}
