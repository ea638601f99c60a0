//! EXPLAIN: a plan as PostgreSQL would show it.
//!
//! Some nodes of ours are none of PostgreSQL's and are shown as what they stand for: a filter is a line of the node
//! below it, a projection is nothing, a lookup join is a nested loop over an index scan, and the built side of a hash
//! join stands below a Hash.

mod expr;
mod tree;

use types::stack::{deep, grown};

use crate::{
    plan::{Estimate, Plan},
    statement::{ExplainFormat, ExplainOptions},
};

pub(crate) use tree::Tree;

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
        ExplainFormat::Json => {
            let mut out = "[\n  {\n    \"Plan\": ".to_owned();
            json(&tree, 4, options, measured.is_some(), &mut out);
            if let Some(measured) = measured {
                out.push_str(&format!(",\n    \"Execution Time\": {:.3}", measured.execution_ms));
            }
            out.push_str("\n  }\n]");
            vec![out]
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

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn json(tree: &Tree, indent: usize, options: ExplainOptions, is_measured: bool, out: &mut String) {
    let pad = " ".repeat(indent + 2);
    let mut fields: Vec<(String, String)> = vec![("Node Type".into(), quoted(&tree.kind))];
    fields.extend(tree.properties.iter().map(|(name, value)| ((*name).to_owned(), quoted(value))));
    if options.costs {
        let Estimate { startup_cost, total_cost, rows, width } = tree.estimate;
        fields.push(("Startup Cost".into(), format!("{startup_cost:.2}")));
        fields.push(("Total Cost".into(), format!("{total_cost:.2}")));
        fields.push(("Plan Rows".into(), format!("{rows:.0}")));
        fields.push(("Plan Width".into(), format!("{:.0}", width + 0.0)));
    }
    if is_measured && !tree.is_made_up {
        let actual = tree.actual.unwrap_or_default();
        let (startup, total, rows) = per_loop(actual);
        if options.timing {
            fields.push(("Actual Startup Time".into(), format!("{startup:.3}")));
            fields.push(("Actual Total Time".into(), format!("{total:.3}")));
        }
        fields.push(("Actual Rows".into(), format!("{rows:.0}")));
        fields.push(("Actual Loops".into(), actual.loops.to_string()));
    }
    fields.extend(tree.details.iter().map(|(name, value)| ((*name).to_owned(), value.json())));
    if let Some(removed) = tree.removed.filter(|_| is_measured) {
        fields.push(("Rows Removed by Filter".into(), removed.to_string()));
    }
    out.push_str("{\n");
    for (at, (name, value)) in fields.iter().enumerate() {
        let comma = if at == 0 { "" } else { ",\n" };
        out.push_str(&format!("{comma}{pad}{}: {value}", quoted(name)));
    }
    if !tree.children.is_empty() || !tree.named.is_empty() {
        out.push_str(&format!(",\n{pad}\"Plans\": [\n"));
        let inner = " ".repeat(indent + 4);
        let below = tree.named.iter().map(|(_, below)| below).chain(&tree.children);
        for (at, child) in below.enumerate() {
            out.push_str(if at == 0 { &inner } else { ",\n" });
            if at > 0 {
                out.push_str(&inner);
            }
            grown(|| json(child, indent + 4, options, is_measured, out));
        }
        out.push_str(&format!("\n{pad}]"));
    }
    out.push_str(&format!("\n{}}}", " ".repeat(indent)));
}
