//! Long spans are cut into pieces of about a page, so that several pages are read at the same time.
//!
//! Where to cut is taken from the statistics of the index's first column: the bounds of its histogram, which lie between
//! equally many rows, and values between two bounds where more than a page lies there. Statistics may be old: pieces may
//! then be larger or smaller, and together they are the span all the same.
//!
//! **Invariant (pieces-are-the-span):** the pieces of a span follow each other in its order and cover it without a gap.

use std::collections::VecDeque;

use keys::{Key, Span};
use plan::plan::TableScan;
use types::{Datum, encode_key};

use crate::context::ExecContext;

/// Rows of a piece.
const PIECE_ROWS: f64 = 3000.0;
/// Shorter tables are read page after page.
const ROWS_MIN: f64 = 16_000.0;
/// No more cuts than this: what lies between them is read page after page.
const CUTS_MAX: usize = 10_000;

/// The spans of a scan, cut.
pub(super) fn into_pages(spans: Vec<Span>, scan: &TableScan, ctx: &ExecContext<'_>) -> Vec<Span> {
    let Some(statistics) = ctx.catalog.statistics().table(scan.table.storage) else { return spans };
    let codec = &scan.access().codec;
    if statistics.rows < ROWS_MIN || codec.key_len() == 0 {
        return spans;
    }
    let Some(first) = codec.key_positions().next() else { return spans };
    let Some(column) = statistics.column(scan.table.columns[first].id) else { return spans };
    if column.histogram.len() < 3 {
        return spans;
    }
    let (ty, direction, nulls) = codec.key_column(0);
    let key = |value: &Datum| {
        let mut key = codec.prefix().to_vec();
        encode_key(&mut key, &ty, value, direction, nulls);
        Key::from(key)
    };
    let histogram = &column.histogram[..];
    // No more cuts than CUTS_MAX in all of the index.
    let rows_max = PIECE_ROWS * (CUTS_MAX / histogram.len()).max(1) as f64;
    let rows_between = (statistics.rows / (histogram.len() - 1) as f64).min(rows_max);
    let is_reversed = key(&histogram[0]) > key(&histogram[histogram.len() - 1]);
    let mut pieces = Vec::with_capacity(spans.len());
    for span in spans {
        // Most spans lie between two bounds: only what is near a span is looked at.
        let (low, high) = match is_reversed {
            false => {
                let low = histogram.partition_point(|bound| key(bound) <= span.start);
                (low, histogram.partition_point(|bound| key(bound) < span.end))
            }
            true => {
                let low = histogram.partition_point(|bound| key(bound) >= span.end);
                (low, histogram.partition_point(|bound| key(bound) > span.start))
            }
        };
        let near = histogram.get(low.saturating_sub(1)..(high + 1).min(histogram.len())).unwrap_or_default();
        let mut cuts: Vec<Key> = cut_values(near, rows_between).iter().map(&key).collect();
        cuts.sort_unstable();
        cuts.dedup();
        pieces.extend(cut(span, &cuts, scan.reverse));
    }
    pieces
}

/// The inner bounds of a histogram, and values between all of them.
fn cut_values(histogram: &[Datum], rows_between: f64) -> Vec<Datum> {
    let parts = (rows_between / PIECE_ROWS).ceil().min((CUTS_MAX / histogram.len().max(1)) as f64).max(1.0) as i64;
    let mut cuts = Vec::new();
    for bounds in histogram.windows(2) {
        let [low, high] = bounds else { continue };
        cuts.push(low.clone());
        for part in 1..parts {
            cuts.extend(between(low, high, part, parts));
        }
    }
    cuts
}

/// The value at so many of equally long parts of the way.
fn between(low: &Datum, high: &Datum, part: i64, parts: i64) -> Option<Datum> {
    let at = |low: i64, high: i64| {
        let way = (i128::from(high) - i128::from(low)) * i128::from(part) / i128::from(parts);
        i64::try_from(i128::from(low) + way).ok()
    };
    match (low, high) {
        (Datum::Int(low), Datum::Int(high)) => at(*low, *high).map(Datum::Int),
        (Datum::Date(low), Datum::Date(high)) => {
            i32::try_from(at(i64::from(*low), i64::from(*high))?).ok().map(Datum::Date)
        }
        (Datum::Timestamp(low), Datum::Timestamp(high)) => at(*low, *high).map(Datum::Timestamp),
        (Datum::TimestampTz(low), Datum::TimestampTz(high)) => at(*low, *high).map(Datum::TimestampTz),
        _ => None,
    }
}

/// A span in pieces, in the order in which it is read.
fn cut(span: Span, cuts: &[Key], reverse: bool) -> VecDeque<Span> {
    let inside = cuts.partition_point(|cut| *cut <= span.start)..cuts.partition_point(|cut| *cut < span.end);
    let mut pieces = VecDeque::new();
    let mut start = span.start;
    for cut in cuts.get(inside).unwrap_or_default() {
        let piece = Span::new(std::mem::replace(&mut start, cut.clone()), cut.clone());
        if reverse { pieces.push_front(piece) } else { pieces.push_back(piece) }
    }
    let last = Span::new(start, span.end);
    if reverse { pieces.push_front(last) } else { pieces.push_back(last) }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::from(text.as_bytes())
    }

    #[test]
    fn pieces_cover_the_span_in_its_order() {
        let cuts = ["b", "d", "f", "h"].map(key);
        let pieces = |start: &str, end: &str, reverse| -> Vec<(String, String)> {
            let text = |key: &Key| String::from_utf8(key.as_bytes().to_vec()).unwrap();
            let pieces = cut(Span::new(key(start), key(end)), &cuts, reverse);
            pieces.iter().map(|span| (text(&span.start), text(&span.end))).collect()
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(pieces("c", "g", false), [pair("c", "d"), pair("d", "f"), pair("f", "g")]);
        assert_eq!(pieces("c", "g", true), [pair("f", "g"), pair("d", "f"), pair("c", "d")]);
        assert_eq!(pieces("b", "d", false), [pair("b", "d")]);
        assert_eq!(pieces("x", "y", false), [pair("x", "y")]);
        assert_eq!(pieces("d1", "d2", true), [pair("d1", "d2")]);
        assert_eq!(pieces("a", "z", false).len(), 5);
    }

    #[test]
    fn long_ways_between_bounds_are_cut_again() {
        let bounds = [0, 100, 400].map(Datum::Int);
        assert_eq!(cut_values(&bounds, 100.0), [0, 100].map(Datum::Int));
        assert_eq!(cut_values(&bounds, 12_000.0), [0, 25, 50, 75, 100, 175, 250, 325].map(Datum::Int));
        assert_eq!(between(&Datum::Int(i64::MIN), &Datum::Int(i64::MAX), 1, 2), Some(Datum::Int(-1)));
        assert_eq!(between(&Datum::from("a"), &Datum::from("b"), 1, 2), None);
    }
}
