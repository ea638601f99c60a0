//! A plan's nodes as EXPLAIN names them.

use std::sync::Arc;

use types::inverted::KeyQuestion;
use types::stack::grown;

use super::{Actual, Measured, expr::Names};
use crate::{
    Expr, bind::same::same_expr,
    plan::{EntryCondition, EntryTerm, Estimate, IndexSpan, JoinKind, LockWait, LookupValues, Node, Plan, ProjectItem, SetOpKind, TableScan},
};

/// What a line of details says.
#[derive(Clone, Debug)]
pub(crate) enum Detail {
    One(String),
    List(Vec<String>),
}

impl Detail {
    pub fn text(&self) -> String {
        match self {
            Self::One(text) => text.clone(),
            Self::List(list) => list.join(", "),
        }
    }

    pub(super) fn value(&self) -> super::Value<'_> {
        match self {
            Self::One(text) => super::Value::Text(text.clone()),
            Self::List(list) => super::Value::List(list.clone()),
        }
    }
}

/// A node as it is shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    /// PostgreSQL's name of the kind of node.
    pub kind: String,
    /// How the title differs from it: `Hash Left Join`, `Seq Scan on t`.
    title: Option<String>,
    pub properties: Vec<(&'static str, String)>,
    pub details: Vec<(&'static str, Detail)>,
    pub estimate: Estimate,
    pub actual: Option<Actual>,
    /// Rows that a filter shown here has thrown away.
    pub removed: Option<u64>,
    /// No node of the plan: nothing was measured of it.
    pub is_made_up: bool,
    pub children: Vec<Tree>,
    /// CTEs and subplans, with what they are called.
    pub named: Vec<(String, Tree)>,
    /// Names of the columns it yields.
    outputs: Vec<String>,
}

impl Tree {
    pub fn new(plan: &Plan, ctes: &[Arc<Plan>], measured: Option<&Measured>) -> Self {
        let mut builder = Builder { next: 0, measured, subplans: Vec::new(), qualify: table_count(plan) > 1 };
        let mut tree = builder.tree(plan);
        // What runs beside the plan was not counted node by node.
        builder.measured = None;
        for (number, cte) in ctes.iter().enumerate() {
            tree.named.push((format!("CTE {}", number + 1), builder.tree(cte)));
        }
        let mut shown = 0;
        while let Some(subplan) = builder.subplans.get(shown).cloned() {
            shown += 1;
            let mut below = builder.tree(&subplan);
            below.made_up();
            tree.named.push((format!("SubPlan {shown}"), below));
        }
        tree
    }

    pub fn title(&self) -> &str {
        self.title.as_deref().unwrap_or(&self.kind)
    }

    fn of(kind: impl Into<String>, children: Vec<Tree>) -> Self {
        Self { kind: kind.into(), children, ..Self::default() }
    }

    fn detail(&mut self, name: &'static str, value: Option<String>) {
        self.details.extend(value.map(|value| (name, Detail::One(value))));
    }

    fn made_up(&mut self) {
        self.is_made_up = true;
        self.children.iter_mut().for_each(Tree::made_up);
        self.named.iter_mut().for_each(|(_, below)| below.made_up());
    }
}

fn table_count(plan: &Plan) -> usize {
    let own = match &plan.node {
        Node::TableScan(_)
        | Node::VirtualScan { .. }
        | Node::TransitionScan { .. }
        | Node::CteScan { .. }
        | Node::FunctionScan { .. } => 1,
        Node::LookupJoin { .. } => 1,
        _ => 0,
    };
    own + inputs(plan).into_iter().map(|input| grown(|| table_count(input))).sum::<usize>()
}

/// The plans below, in the order in which `exec` numbers them.
fn inputs(plan: &Plan) -> Vec<&Plan> {
    match &plan.node {
        Node::Unit
        | Node::Values { .. }
        | Node::TableScan(_)
        | Node::VirtualScan { .. }
        | Node::TransitionScan { .. }
        | Node::FunctionScan { .. }
        | Node::CteScan { .. } => Vec::new(),
        Node::LookupJoin { left, .. } => vec![left],
        Node::HashJoin { left, right, .. }
        | Node::NestedLoopJoin { left, right, .. } => vec![left, right],
        Node::SetOp { inputs, .. } => inputs.iter().collect(),
        Node::Append(append) => append.inputs.iter().collect(),
        Node::Apply { left, right, .. } => vec![left, right],
        Node::RecursiveUnion { base, step, .. } => vec![base, step],
        Node::Filter { input, .. }
        | Node::Project { input, .. }
        | Node::Finish { input, .. }
        | Node::ProjectSet { input, .. }
        | Node::Aggregate { input, .. }
        | Node::Window { input, .. }
        | Node::Distinct { input, .. }
        | Node::Sort { input, .. }
        | Node::Limit { input, .. } => vec![input],
        Node::LockRows(lock) => vec![&lock.input],
        Node::Insert(insert) => vec![&insert.source],
        Node::Update(update) => vec![&update.source],
        Node::Delete(delete) => vec![&delete.source],
        Node::Merge(merge) => vec![&merge.source],
    }
}

fn join_word(kind: JoinKind) -> &'static str {
    match kind {
        JoinKind::Inner => "Inner",
        JoinKind::Left => "Left",
        JoinKind::Right => "Right",
        JoinKind::Full => "Full",
        JoinKind::Semi => "Semi",
        JoinKind::Anti => "Anti",
    }
}

struct Builder<'a> {
    next: usize,
    measured: Option<&'a Measured>,
    subplans: Vec<Arc<Plan>>,
    /// Columns are shown with their tables' names.
    qualify: bool,
}

impl Builder<'_> {
    fn names<'n>(&'n mut self, columns: &'n [String]) -> Names<'n> {
        Names { columns, subplans: &mut self.subplans }
    }

    fn condition(&mut self, columns: &[String], expr: Option<&Expr>) -> Option<String> {
        expr.map(|expr| self.names(columns).expr(expr))
    }

    fn tree(&mut self, plan: &Plan) -> Tree {
        grown(|| self.tree_of(plan))
    }

    fn tree_of(&mut self, plan: &Plan) -> Tree {
        let actual = self.measured.map(|measured| measured.nodes.get(self.next).copied().unwrap_or_default());
        self.next += 1;
        let mut tree = self.node(plan);
        tree.estimate = plan.estimate;
        if let (Node::Filter { .. }, Some(below), Some(own)) = (&plan.node, tree.actual, actual) {
            tree.removed = Some(tree.removed.unwrap_or(0) + below.rows.saturating_sub(own.rows) / own.loops.max(1));
        }
        tree.actual = actual;
        if tree.outputs.is_empty() {
            tree.outputs = plan.columns.iter().map(|column| column.name.clone()).collect();
        }
        tree
    }

    fn node(&mut self, plan: &Plan) -> Tree {
        let mut children: Vec<Tree> = inputs(plan).into_iter().map(|input| self.tree(input)).collect();
        let columns: Vec<String> = children.iter().flat_map(|child| child.outputs.iter().cloned()).collect();
        match &plan.node {
            Node::Filter { predicate, .. } => {
                let mut tree = children.pop().expect("a filter has an input");
                let text = self.names(&columns).expr(predicate);
                match tree.details.iter_mut().find(|(name, _)| *name == "Filter") {
                    Some((_, Detail::One(known))) => *known = format!("({known} AND {text})"),
                    _ => tree.detail("Filter", Some(text)),
                }
                tree
            }
            Node::Project { exprs, .. } => {
                let mut tree = children.pop().expect("a projection has an input");
                let mut names = self.names(&columns);
                tree.outputs = exprs.iter().map(|expr| names.expr(expr)).collect();
                tree
            }
            Node::Finish { .. } => children.pop().expect("what changes data comes before its end"),
            Node::TableScan(scan) => self.scan(scan, None),
            Node::VirtualScan { table, lookup, filter, .. } => {
                let mut tree = Tree::of("Seq Scan", children);
                tree.title = Some(format!("Seq Scan on {}", table.name));
                tree.properties.push(("Relation Name", table.name.to_owned()));
                tree.outputs = plan.columns.iter().map(|column| self.qualified(table.name, &column.name)).collect();
                if let Some(lookup) = lookup {
                    let mut names = self.names(&[]);
                    let values = match &lookup.values {
                        LookupValues::One(value) => names.expr(value),
                        LookupValues::AnyOf(array) => format!("ANY ({})", names.expr(array)),
                        LookupValues::Among(list) => {
                            let list: Vec<String> = list.iter().map(|value| names.expr(value)).collect();
                            format!("ANY (ARRAY[{}])", list.join(", "))
                        }
                    };
                    tree.detail("Index Cond", Some(format!("({} = {values})", table.columns[lookup.column].0)));
                }
                let filter = self.condition(&tree.outputs, filter.as_ref());
                tree.detail("Filter", filter);
                tree
            }
            Node::TransitionScan { name } => {
                let mut tree = Tree::of("Named Tuplestore Scan", children);
                tree.title = Some("Named Tuplestore Scan".to_owned());
                tree.outputs = plan.columns.iter().map(|column| self.qualified(name, &column.name)).collect();
                tree
            }
            Node::LookupJoin { left, scan, keys, kind, filter } => {
                let mut names = self.names(&columns);
                let keys: Vec<String> = keys.iter().map(|key| names.expr(key)).collect();
                let mut right = self.scan(scan, Some(&keys));
                right.made_up();
                let matches = (plan.estimate.rows / left.estimate.rows.max(1.0)).max(1.0);
                let each = (plan.estimate.total_cost - left.estimate.total_cost) / left.estimate.rows.max(1.0);
                let width = (plan.estimate.width - left.estimate.width).max(0.0);
                right.estimate = Estimate { rows: matches, width, startup_cost: 0.0, total_cost: each.max(0.0) };
                let mut pairs = columns;
                pairs.extend(right.outputs.iter().cloned());
                let filter = self.condition(&pairs, filter.as_ref());
                children.push(right);
                let mut tree = join("Nested Loop", *kind, children);
                tree.detail("Join Filter", filter);
                tree.outputs = join_outputs(*kind, pairs, plan.columns.len());
                tree
            }
            Node::HashJoin { left_keys, right_keys, kind, filter, .. } => {
                let built = children.pop().expect("a join has two inputs");
                let (left, right) = (children[0].outputs.clone(), built.outputs.clone());
                let mut hash = Tree::of("Hash", Vec::new());
                let Estimate { total_cost, .. } = built.estimate;
                hash.estimate = Estimate { startup_cost: total_cost, ..built.estimate };
                hash.actual = built.actual;
                hash.children.push(built);
                children.push(hash);
                let pairs: Vec<String> = left_keys
                    .iter()
                    .zip(right_keys)
                    .map(|(a, b)| format!("({} = {})", self.names(&left).expr(a), self.names(&right).expr(b)))
                    .collect();
                let mut tree = join("Hash Join", *kind, children);
                let conditions = pairs.join(" AND ");
                tree.detail("Hash Cond", Some(if pairs.len() > 1 { format!("({conditions})") } else { conditions }));
                let filter = self.condition(&columns, filter.as_ref());
                tree.detail("Join Filter", filter);
                tree.outputs = join_outputs(*kind, columns, plan.columns.len());
                tree
            }
            Node::NestedLoopJoin { kind, filter, .. } | Node::Apply { kind, filter, .. } => {
                let mut tree = join("Nested Loop", *kind, children);
                let filter = self.condition(&columns, filter.as_ref());
                tree.detail("Join Filter", filter);
                tree.outputs = join_outputs(*kind, columns, plan.columns.len());
                tree
            }
            _ => self.other(plan, children, columns),
        }
    }

    fn other(&mut self, plan: &Plan, children: Vec<Tree>, columns: Vec<String>) -> Tree {
        let changed = |operation: &str, table: &str, children| {
            let mut tree = Tree::of("ModifyTable", children);
            tree.title = Some(format!("{operation} on {table}"));
            tree.properties = vec![("Operation", operation.to_owned()), ("Relation Name", table.to_owned())];
            tree
        };
        match &plan.node {
            Node::Unit => Tree::of("Result", children),
            Node::Values { rows } if rows.is_empty() => {
                let mut tree = Tree::of("Result", children);
                tree.detail("One-Time Filter", Some("false".to_owned()));
                tree
            }
            Node::Values { rows } if rows.len() == 1 => Tree::of("Result", children),
            Node::Values { .. } => {
                let mut tree = Tree::of("Values Scan", children);
                tree.title = Some("Values Scan on \"*VALUES*\"".to_owned());
                tree
            }
            Node::FunctionScan { calls, .. } => {
                let mut tree = Tree::of("Function Scan", children);
                let name = calls.first().map_or("", |call| call.name());
                tree.title = Some(format!("Function Scan on {name}"));
                tree.properties.push(("Function Name", name.to_owned()));
                let mut names = self.names(&columns);
                // Only for the subplans in it; PostgreSQL shows the call itself only when asked for more.
                calls.iter().for_each(|call| drop(names.call(call)));
                tree
            }
            Node::ProjectSet { items, .. } => {
                let mut tree = Tree::of("ProjectSet", children);
                let mut names = self.names(&columns);
                tree.outputs = items
                    .iter()
                    .map(|item| match item {
                        ProjectItem::Scalar(expr) => names.expr(expr),
                        ProjectItem::Set(call) => names.call(call),
                    })
                    .collect();
                tree
            }
            Node::Aggregate { groups, aggregates, sets, .. } => {
                let (kind, strategy, title) = match (groups.is_empty(), sets) {
                    (true, None) => ("Aggregate", "Plain", "Aggregate"),
                    (_, None) => ("Aggregate", "Hashed", "HashAggregate"),
                    (_, Some(_)) => ("Aggregate", "Mixed", "MixedAggregate"),
                };
                let mut tree = Tree::of(kind, children);
                tree.title = Some(title.to_owned());
                tree.properties.push(("Strategy", strategy.to_owned()));
                let mut names = self.names(&columns);
                let keys: Vec<String> = groups.iter().map(|group| names.expr(group)).collect();
                tree.outputs = keys.clone();
                tree.outputs.extend(aggregates.iter().map(|call| names.aggregate(call)));
                if !keys.is_empty() {
                    tree.details.push(("Group Key", Detail::List(keys)));
                }
                tree
            }
            Node::Window { calls, .. } => {
                let mut tree = Tree::of("WindowAgg", children);
                let first = columns.len();
                tree.outputs = columns;
                let own = plan.columns.get(first..).unwrap_or_default();
                tree.outputs.extend(own.iter().zip(calls).map(|(column, _)| column.name.clone()));
                tree
            }
            Node::Distinct { .. } => {
                let mut tree = Tree::of("Unique", children);
                tree.outputs = columns;
                tree
            }
            Node::Sort { keys, .. } => {
                let mut tree = Tree::of("Sort", children);
                let mut names = self.names(&columns);
                let keys = keys.iter().map(|key| names.key(key)).collect();
                tree.details.push(("Sort Key", Detail::List(keys)));
                tree.outputs = columns;
                tree
            }
            Node::LockRows(_) => {
                let mut tree = Tree::of("LockRows", children);
                tree.outputs = columns;
                tree
            }
            Node::Limit { limit, offset, .. } => {
                let mut tree = Tree::of("Limit", children);
                let mut names = self.names(&columns);
                // For the subplans in them.
                limit.iter().chain(offset).for_each(|expr| drop(names.expr(expr)));
                tree.outputs = columns;
                tree
            }
            Node::SetOp { kind: SetOpKind::Union, all, .. } => {
                let mut append = Tree::of("Append", children);
                append.outputs = plan.columns.iter().map(|column| column.name.clone()).collect();
                if *all {
                    return append;
                }
                append.estimate = plan.estimate;
                append.is_made_up = true;
                let mut tree = Tree::of("Aggregate", vec![append]);
                tree.title = Some("HashAggregate".to_owned());
                tree.properties.push(("Strategy", "Hashed".to_owned()));
                let keys = plan.columns.iter().map(|column| column.name.clone()).collect();
                tree.details.push(("Group Key", Detail::List(keys)));
                tree
            }
            Node::Append(_) => {
                let mut tree = Tree::of("Append", children);
                tree.outputs = plan.columns.iter().map(|column| column.name.clone()).collect();
                tree
            }
            Node::SetOp { kind, all, .. } => {
                let command = if *kind == SetOpKind::Intersect { "Intersect" } else { "Except" };
                let command = if *all { format!("{command} All") } else { command.to_owned() };
                let mut tree = Tree::of("SetOp", children);
                tree.title = Some(format!("HashSetOp {command}"));
                tree.properties = vec![("Strategy", "Hashed".to_owned()), ("Command", command)];
                tree
            }
            Node::CteScan { cte } => {
                let mut tree = Tree::of("CTE Scan", children);
                tree.title = Some(format!("CTE Scan on {}", cte + 1));
                tree.properties.push(("CTE Name", (cte + 1).to_string()));
                tree
            }
            Node::RecursiveUnion { .. } => Tree::of("Recursive Union", children),
            Node::Insert(insert) => changed("Insert", &insert.table.name, children),
            Node::Update(update) => changed("Update", &update.table.name, children),
            Node::Delete(delete) => changed("Delete", &delete.table.name, children),
            Node::Merge(merge) => changed("Merge", &merge.table.name, children),
            _ => unreachable!("shown by the caller"),
        }
    }

    fn qualified(&self, table: &str, column: &str) -> String {
        if self.qualify { format!("{table}.{column}") } else { column.to_owned() }
    }

    /// A scan; or, with `keys`, what a lookup reads for each row on its left.
    fn scan(&mut self, scan: &TableScan, keys: Option<&[String]>) -> Tree {
        let table = &scan.table;
        let entries = scan.entries.as_deref();
        let index = &table.indexes[entries.map_or(scan.index, |entries| entries.index)];
        let is_whole = scan.spans.is_empty() && keys.is_none() && entries.is_none();
        let is_sequential = scan.index == 0 && is_whole && !scan.reverse;
        let kind = match (is_sequential, scan.index == 0 || scan.fetch_rows) {
            (true, _) => "Seq Scan",
            (false, true) => "Index Scan",
            (false, false) => "Index Only Scan",
        };
        let mut tree = Tree::of(kind, Vec::new());
        let direction = if scan.reverse { " Backward" } else { "" };
        tree.title = Some(if is_sequential {
            format!("{kind} on {}", table.name)
        } else {
            tree.properties.push(("Scan Direction", if scan.reverse { "Backward" } else { "Forward" }.to_owned()));
            // A table without a declared key has an index that nobody has named.
            let name = if index.name.is_empty() { format!("{}_rowid", table.name) } else { index.name.clone() };
            tree.properties.push(("Index Name", name.clone()));
            format!("{kind}{direction} using {name} on {}", table.name)
        });
        tree.properties.push(("Relation Name", table.name.clone()));
        let name = |column: usize| table.columns[column].name.clone();
        tree.outputs = scan.columns.iter().map(|column| self.qualified(&table.name, &name(*column))).collect();
        let key_names: Vec<String> = table.key_positions(index).map(name).collect();
        let condition = match (keys, entries) {
            (_, Some(entries)) => Some(self.entries(&key_names, &entries.condition)),
            (Some(keys), None) => {
                let pairs = key_names.iter().zip(keys).map(|(name, key)| format!("({name} = {key})"));
                all_of(pairs.collect())
            }
            (None, None) => self.spans(&key_names, &scan.spans),
        };
        tree.detail("Index Cond", condition);
        // A scan's own condition can only mean its own table.
        let own: Vec<String> = scan.columns.iter().map(|column| name(*column)).collect();
        let filter = self.condition(&own, scan.filter.as_ref());
        tree.detail("Filter", filter);
        if let Some(lock) = scan.lock
            && lock.wait == LockWait::Skip
        {
            tree.detail("Locking", Some("SKIP LOCKED".to_owned()));
        }
        tree
    }

    fn entries(&mut self, keys: &[String], condition: &EntryCondition) -> String {
        let (parts, word) = match condition {
            EntryCondition::Term(EntryTerm { place, question, value }) => {
                let symbol = match question {
                    KeyQuestion::Contains => "@>",
                    KeyQuestion::ContainedBy => "<@",
                    KeyQuestion::Overlaps => "&&",
                    KeyQuestion::Equals => "=",
                    KeyQuestion::HasKey => "?",
                    KeyQuestion::HasAnyKey => "?|",
                    KeyQuestion::HasAllKeys => "?&",
                    KeyQuestion::Matches => "@@",
                };
                return format!("({} {symbol} {})", keys[*place], self.names(&[]).expr(value));
            }
            EntryCondition::All(parts) => (parts, " AND "),
            EntryCondition::Any(parts) => (parts, " OR "),
        };
        let parts: Vec<String> = parts.iter().map(|part| self.entries(keys, part)).collect();
        format!("({})", parts.join(word))
    }

    fn spans(&mut self, keys: &[String], spans: &[IndexSpan]) -> Option<String> {
        let first = spans.first()?;
        let mut parts = Vec::new();
        let mut names = self.names(&[]);
        for (at, key) in keys.iter().enumerate().take(first.equal.len()) {
            let mut values: Vec<&Expr> = Vec::new();
            for value in spans.iter().filter_map(|span| span.equal[at].as_ref()) {
                if !values.iter().any(|known| same_expr(known, value)) {
                    values.push(value);
                }
            }
            parts.push(match &values[..] {
                [array] if first.any_of == Some(at) => format!("({key} = ANY ({}))", names.expr(array)),
                [] => format!("({key} IS NULL)"),
                [only] => format!("({key} = {})", names.expr(only)),
                [one, ..] => {
                    let ty = one.ty();
                    let list: Vec<Expr> = values.into_iter().cloned().collect();
                    format!("({key} = ANY ({}))", names.array(&list, &ty))
                }
            });
        }
        if let Some(key) = keys.get(first.equal.len()) {
            for (bound, symbols) in [(&first.lower, [">", ">="]), (&first.upper, ["<", "<="])] {
                if let Some((value, inclusive)) = bound {
                    parts.push(format!("({key} {} {})", symbols[usize::from(*inclusive)], names.expr(value)));
                }
            }
            if first.not_null && first.lower.is_none() && first.upper.is_none() {
                parts.push(format!("({key} IS NOT NULL)"));
            }
        }
        all_of(parts)
    }
}

fn all_of(mut parts: Vec<String>) -> Option<String> {
    match parts.len() {
        0 => None,
        1 => parts.pop(),
        _ => Some(format!("({})", parts.join(" AND "))),
    }
}

fn join(kind: &'static str, join: JoinKind, children: Vec<Tree>) -> Tree {
    let word = join_word(join);
    let mut tree = Tree::of(kind, children);
    tree.title = (join != JoinKind::Inner).then(|| match kind {
        "Hash Join" => format!("Hash {word} Join"),
        kind => format!("{kind} {word} Join"),
    });
    tree.properties.push(("Join Type", word.to_owned()));
    tree
}

fn join_outputs(kind: JoinKind, mut columns: Vec<String>, width: usize) -> Vec<String> {
    if matches!(kind, JoinKind::Semi | JoinKind::Anti) {
        columns.truncate(width);
    }
    columns
}
