//! EXPLAIN's text, in PostgreSQL's shape.

use plan::{
    JoinKind, Node, Plan, PreparedPlan, StatementKind,
    plan::TableScan,
    statement::ExplainOptions,
};

/// The lines of a plan.
pub(crate) fn lines(plan: &PreparedPlan, options: ExplainOptions) -> Vec<String> {
    let mut out = Vec::new();
    match &plan.kind {
        StatementKind::Query { plan: root, .. } => {
            node(root, 0, options, &mut out);
            for (number, cte) in plan.ctes.iter().enumerate() {
                out.push(format!("  CTE {number}"));
                node(cte, 2, options, &mut out);
            }
        }
        StatementKind::Ddl(_) | StatementKind::Utility(_) | StatementKind::Empty => {
            out.push("Utility statements have no plan structure".into());
        }
    }
    out
}

fn scan_name(scan: &TableScan) -> String {
    let table = &scan.table;
    let index = &table.indexes[scan.index];
    if scan.spans.is_empty() && scan.index == 0 {
        return format!("Seq Scan on {}", table.name);
    }
    let name = if index.name.is_empty() { format!("{}_rowid", table.name) } else { index.name.clone() };
    let kind = if scan.fetch_rows { "Index Scan" } else { "Index Only Scan" };
    let kind = if scan.index == 0 { "Index Scan" } else { kind };
    format!("{kind} using {name} on {}", table.name)
}

fn node(plan: &Plan, depth: usize, options: ExplainOptions, out: &mut Vec<String>) {
    let join = |kind: &JoinKind| match kind {
        JoinKind::Inner => "",
        JoinKind::Left => " Left",
        JoinKind::Right => " Right",
        JoinKind::Full => " Full",
        JoinKind::Semi => " Semi",
        JoinKind::Anti => " Anti",
    };
    let (name, inputs): (String, Vec<&Plan>) = match &plan.node {
        Node::Unit => ("Result".into(), vec![]),
        Node::Values { .. } => ("Values Scan".into(), vec![]),
        Node::TableScan(scan) => (scan_name(scan), vec![]),
        Node::VirtualScan { table, .. } => (format!("Seq Scan on {}", table.name), vec![]),
        Node::FunctionScan { calls, .. } => {
            let name = calls.first().map_or("", |call| call.builtin.name());
            (format!("Function Scan on {name}"), vec![])
        }
        Node::LookupJoin { left, scan, kind, .. } => {
            (format!("Lookup{} Join ({})", join(kind), scan_name(scan)), vec![left])
        }
        Node::HashJoin { left, right, kind, .. } => (format!("Hash{} Join", join(kind)), vec![left, right]),
        Node::NestedLoopJoin { left, right, kind, .. } => {
            let name = if *kind == JoinKind::Inner { "Nested Loop".into() } else { format!("Nested Loop{} Join", join(kind)) };
            (name, vec![left, right])
        }
        Node::Apply { left, right, .. } => ("Nested Loop".into(), vec![left, right]),
        Node::Filter { input, .. } => ("Filter".into(), vec![input]),
        Node::Project { input, .. } | Node::Finish { input, .. } => return node(input, depth, options, out),
        Node::ProjectSet { input, .. } => ("ProjectSet".into(), vec![input]),
        Node::Aggregate { input, groups, .. } => {
            (if groups.is_empty() { "Aggregate" } else { "HashAggregate" }.into(), vec![input])
        }
        Node::Window { input, .. } => ("WindowAgg".into(), vec![input]),
        Node::Distinct { input, .. } => ("Unique".into(), vec![input]),
        Node::Sort { input, .. } => ("Sort".into(), vec![input]),
        Node::Limit { input, .. } => ("Limit".into(), vec![input]),
        Node::SetOp { left, right, .. } => ("SetOp".into(), vec![left, right]),
        Node::CteScan { cte } => (format!("CTE Scan on {cte}"), vec![]),
        Node::RecursiveUnion { base, step, .. } => ("Recursive Union".into(), vec![base, step]),
        Node::Insert(insert) => (format!("Insert on {}", insert.table.name), vec![&insert.source]),
        Node::Update(update) => (format!("Update on {}", update.table.name), vec![&update.source]),
        Node::Delete(delete) => (format!("Delete on {}", delete.table.name), vec![&delete.source]),
        Node::Append { inputs } => ("Append".into(), inputs.iter().collect()),
    };
    let indent = if depth == 0 { String::new() } else { format!("{}->  ", "      ".repeat(depth)[..depth * 6 - 4].to_owned()) };
    let estimate = plan.estimate;
    let costs = if options.costs {
        format!(
            "  (cost={:.2}..{:.2} rows={:.0} width={:.0})",
            estimate.startup_cost, estimate.total_cost, estimate.rows, estimate.width
        )
    } else {
        String::new()
    };
    out.push(format!("{indent}{name}{costs}"));
    for input in inputs {
        node(input, depth + 1, options, out);
    }
}
