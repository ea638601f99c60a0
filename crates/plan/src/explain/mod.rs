//! EXPLAIN: a plan as PostgreSQL would show it.
//!
//! Some nodes of ours are none of PostgreSQL's and are shown as what they stand for: a filter is a line of the node
//! below it, a projection is nothing, a lookup join is a nested loop over an index scan, and the built side of a hash
//! join stands below a Hash.

mod expr;
mod formats;
mod tree;

use types::stack::{deep, grown};

use crate::{
    plan::{Estimate, Plan},
    statement::{ExplainFormat, ExplainOptions},
};

pub(crate) use tree::Tree;
use formats::Value;

/// What EXPLAIN ANALYZE has counted of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Actual {
    /// Milliseconds of all loops until the first row.
    pub startup_ms: f64,
    /// Milliseconds of all loops.
    pub total_ms: f64,
    pub rows: u64,
    pub loops: u64,
}

/// What was measured while the plan ran: nodes in pre-order, and the whole in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    pub nodes: Vec<Actual>,
    pub execution_ms: f64,
}

/// The lines EXPLAIN answers with; in JSON's format one value over several lines.
#[must_use]
pub fn explain(
    plan: &Plan,
    ctes: &[std::sync::Arc<Plan>],
    options: ExplainOptions,
    measured: Option<&Measured>,
) -> Vec<String> {
    deep(|| lines(plan, ctes, options, measured))
}

fn lines(
    plan: &Plan,
    ctes: &[std::sync::Arc<Plan>],
    options: ExplainOptions,
    measured: Option<&Measured>,
) -> Vec<String> {
    let tree = Tree::new(plan, ctes, measured);
    match options.format {
        ExplainFormat::Text => {
            let mut lines = Vec::new();
            text(&tree, 0, true, options, measured.is_some(), &mut lines);
            if let Some(measured) = measured {
                lines.push(format!("Execution Time: {:.3} ms", measured.execution_ms));
            }
            lines
        }
        ExplainFormat::Json | ExplainFormat::Yaml | ExplainFormat::Xml => {
            let mut query = vec![("Plan", Value::Group(group(&tree, options, measured.is_some())))];
            if let Some(measured) = measured {
                query.push(("Execution Time", Value::Bare(format!("{:.3}", measured.execution_ms))));
            }
            vec![formats::document(&query, options.format)]
        }
    }
}

fn figures(tree: &Tree, options: ExplainOptions, is_measured: bool) -> String {
    let mut out = String::new();
    if options.costs {
        // A sum over no columns is -0.
        let Estimate { startup_cost, total_cost, rows, width } = tree.estimate;
        let width = width + 0.0;
        out.push_str(&format!("  (cost={startup_cost:.2}..{total_cost:.2} rows={rows:.0} width={width:.0})"));
    }
    if !is_measured || tree.is_made_up {
        return out;
    }
    match tree.actual {
        Some(actual) if actual.loops > 0 => {
            let (startup, total, rows) = per_loop(actual);
            let loops = actual.loops;
            if options.timing {
                out.push_str(&format!(" (actual time={startup:.3}..{total:.3} rows={rows:.0} loops={loops})"));
            } else {
                out.push_str(&format!(" (actual rows={rows:.0} loops={loops})"));
            }
        }
        _ => out.push_str(" (never executed)"),
    }
    out
}

fn per_loop(actual: Actual) -> (f64, f64, f64) {
    let loops = actual.loops.max(1) as f64;
    (actual.startup_ms / loops, actual.total_ms / loops, (actual.rows as f64 / loops).round())
}

fn text(tree: &Tree, indent: usize, is_top: bool, options: ExplainOptions, is_measured: bool, out: &mut Vec<String>) {
    let pad = " ".repeat(indent);
    let arrow = if is_top { "" } else { "->  " };
    out.push(format!("{pad}{arrow}{}{}", tree.title(), figures(tree, options, is_measured)));
    let inner = if is_top { 2 } else { indent + 6 };
    let pad = " ".repeat(inner);
    for (name, value) in &tree.details {
        out.push(format!("{pad}{name}: {}", value.text()));
    }
    if let Some(removed) = tree.removed.filter(|_| is_measured) {
        out.push(format!("{pad}Rows Removed by Filter: {removed}"));
    }
    for (name, below) in &tree.named {
        out.push(format!("{pad}{name}"));
        grown(|| text(below, inner + 2, false, options, is_measured, out));
    }
    for child in &tree.children {
        grown(|| text(child, inner, false, options, is_measured, out));
    }
}

/// A node as the formats for programs show it.
fn group(tree: &Tree, options: ExplainOptions, is_measured: bool) -> Vec<(&str, Value<'_>)> {
    let mut fields = vec![("Node Type", Value::Text(tree.kind.to_string()))];
    let bare = |text: String| Value::Bare(text);
    let is_of_kind = |name: &str| matches!(name, "Strategy" | "Partial Mode" | "Operation" | "Command");
    let properties = |of_kind: bool| {
        let wanted = tree.properties.iter().filter(move |(name, _)| is_of_kind(name) == of_kind);
        wanted.map(|(name, value)| (*name, Value::Text(value.clone())))
    };
    fields.extend(properties(true));
    fields.push(("Parallel Aware", bare("false".to_owned())));
    fields.push(("Async Capable", bare("false".to_owned())));
    fields.extend(properties(false));
    if options.costs {
        let Estimate { startup_cost, total_cost, rows, width } = tree.estimate;
        fields.push(("Startup Cost", bare(format!("{startup_cost:.2}"))));
        fields.push(("Total Cost", bare(format!("{total_cost:.2}"))));
        fields.push(("Plan Rows", bare(format!("{rows:.0}"))));
        fields.push(("Plan Width", bare(format!("{:.0}", width + 0.0))));
    }
    if is_measured && !tree.is_made_up {
        let actual = tree.actual.unwrap_or_default();
        let (startup, total, rows) = per_loop(actual);
        if options.timing {
            fields.push(("Actual Startup Time", bare(format!("{startup:.3}"))));
            fields.push(("Actual Total Time", bare(format!("{total:.3}"))));
        }
        fields.push(("Actual Rows", bare(format!("{rows:.0}"))));
        fields.push(("Actual Loops", bare(actual.loops.to_string())));
    }
    fields.extend(tree.details.iter().map(|(name, value)| (&**name, value.value())));
    if let Some(removed) = tree.removed.filter(|_| is_measured) {
        fields.push(("Rows Removed by Filter", bare(removed.to_string())));
    }
    if !tree.children.is_empty() || !tree.named.is_empty() {
        let below = tree.named.iter().map(|(_, below)| below).chain(&tree.children);
        let groups = below.map(|child| grown(|| group(child, options, is_measured))).collect();
        fields.push(("Plans", Value::Groups(groups)));
    }
    fields
}
