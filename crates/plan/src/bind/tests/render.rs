//! Bound trees as one line of text, for tests to compare.

use std::fmt::Write;

use types::{Formatting, to_text};

use crate::expr::{AggregateCall, Expr, SortKey, SubqueryKind, TruthTest};
use crate::logical::{Rel, RelNode};
use crate::plan::{FrameBound, FunctionCall, ProjectItem, WindowFunction};

pub(super) fn list(exprs: &[Expr]) -> String {
    exprs.iter().map(expr).collect::<Vec<_>>().join(", ")
}

fn symbol(builtin: &'static builtins::Builtin) -> String {
    builtins::all_operators()
        .find(|operator| std::ptr::eq(&raw const operator.function, builtin))
        .map_or_else(|| builtin.name().to_owned(), |operator| operator.symbol.to_owned())
}

pub(super) fn expr(it: &Expr) -> String {
    match it {
        Expr::Column(position, _) => format!("#{position}"),
        Expr::Outer(slot, _) => format!("outer{slot}"),
        Expr::Param(number, ty) => format!("${}:{ty}", number + 1),
        Expr::Operand(_) => "it".to_owned(),
        Expr::Const(value, ty) if value.is_null() => format!("null:{ty}"),
        Expr::Const(value, ty) => format!("{}:{ty}", to_text(ty, value, &Formatting::default())),
        Expr::Call { builtin, args, .. } => format!("{}({})", symbol(builtin), list(args)),
        Expr::And(parts) => format!("and({})", list(parts)),
        Expr::Or(parts) => format!("or({})", list(parts)),
        Expr::Not(inner) => format!("not({})", expr(inner)),
        Expr::IsNull(inner) => format!("isnull({})", expr(inner)),
        Expr::Truth(inner, TruthTest::True) => format!("istrue({})", expr(inner)),
        Expr::Truth(inner, TruthTest::False) => format!("isfalse({})", expr(inner)),
        Expr::Truth(inner, TruthTest::Unknown) => format!("isunknown({})", expr(inner)),
        Expr::IsDistinctFrom(left, right) => format!("distinct({}, {})", expr(left), expr(right)),
        Expr::Case { operand, branches, otherwise, .. } => {
            let mut out = String::from("case");
            if let Some(operand) = operand {
                write!(out, " {}", expr(operand)).unwrap();
            }
            for (condition, value) in branches {
                write!(out, " when {} then {}", expr(condition), expr(value)).unwrap();
            }
            if let Some(value) = otherwise {
                write!(out, " else {}", expr(value)).unwrap();
            }
            out
        }
        Expr::Coalesce(parts, _) => format!("coalesce({})", list(parts)),
        Expr::NullIf { value, equal, .. } => format!("nullif({}, {})", expr(value), expr(equal)),
        Expr::Greatest(parts, _) => format!("greatest({})", list(parts)),
        Expr::Least(parts, _) => format!("least({})", list(parts)),
        Expr::Cast { expr: inner, to, .. } => format!("{}::{to}", expr(inner)),
        Expr::ToDomain { expr: inner, rules, .. } => format!("{}::{}", expr(inner), rules.domain.shown()),
        Expr::InList { expr: inner, list: items, negated } => {
            format!("{}({} in {})", if *negated { "not" } else { "" }, expr(inner), list(items))
        }
        Expr::AnyAll { left, array, comparison, all } => format!(
            "{}({} {} {})",
            if *all { "all" } else { "any" },
            expr(left),
            symbol(comparison.builtin),
            expr(array)
        ),
        Expr::Array { elements, .. } => format!("array[{}]", list(elements)),
        Expr::Subscript { array, subscripts, .. } => format!("{}[{}]", expr(array), subscripts.len()),
        Expr::Assign(it) => format!("assign({}, {:?}, {})", expr(&it.container), it.part, expr(&it.value)),
        Expr::Field { row, at, .. } => format!("({}).{}", expr(row), at + 1),
        Expr::Row(fields, _) => format!("row({})", list(fields)),
        Expr::Subquery(subquery) => {
            let kind = match &subquery.kind {
                SubqueryKind::Scalar => "scalar".to_owned(),
                SubqueryKind::Exists => "exists".to_owned(),
                SubqueryKind::Array => "array".to_owned(),
                SubqueryKind::Quantified { left, comparisons, all } => format!(
                    "{} {} {}",
                    list(left),
                    symbol(comparisons[0].builtin),
                    if *all { "all" } else { "any" }
                ),
            };
            format!("subquery({kind}; {})", list(&subquery.arguments))
        }
        Expr::Routine(call) => format!("{}({})", call.routine.name, list(&call.args)),
        Expr::Sequence { op, args } => format!("{op:?}({})", list(args)),
        Expr::RowId => "rowid".to_owned(),
    }
}

fn keys(keys: &[SortKey]) -> String {
    let one = |key: &SortKey| {
        let nulls = if key.nulls_first == key.descending {
            ""
        } else if key.nulls_first {
            " nulls first"
        } else {
            " nulls last"
        };
        format!("{}{}{nulls}", expr(&key.expr), if key.descending { " desc" } else { "" })
    };
    keys.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn aggregate(call: &AggregateCall) -> String {
    let mut out = format!(
        "{}({}{}",
        call.aggregate.signature.name,
        if call.distinct { "distinct " } else { "" },
        list(&call.args)
    );
    if !call.order_by.is_empty() {
        write!(out, " order {}", keys(&call.order_by)).unwrap();
    }
    out.push(')');
    if let Some(filter) = &call.filter {
        write!(out, " filter {}", expr(filter)).unwrap();
    }
    out
}

fn function(call: &FunctionCall) -> String {
    format!("{}({})", call.name(), list(&call.args))
}

fn bound(it: &FrameBound) -> String {
    match it {
        FrameBound::UnboundedPreceding => "start".to_owned(),
        FrameBound::Preceding(offset) => format!("-{}", expr(offset)),
        FrameBound::CurrentRow => "row".to_owned(),
        FrameBound::Following(offset) => format!("+{}", expr(offset)),
        FrameBound::UnboundedFollowing => "end".to_owned(),
    }
}

pub(super) fn rel(it: &Rel) -> String {
    let option = |prefix: &str, value: &Option<Expr>| value.as_ref().map_or_else(String::new, |it| format!("{prefix}{}", expr(it)));
    match &it.node {
        RelNode::Unit => "unit".to_owned(),
        RelNode::Values(rows) => {
            let rows: Vec<String> = rows.iter().map(|row| format!("[{}]", list(row))).collect();
            format!("values({})", rows.join(" "))
        }
        RelNode::Table { table, lock } => match lock {
            Some(lock) if lock.is_above => format!("{}?", table.name),
            Some(lock) => format!("{}!{:?}{:?}", table.name, lock.strength, lock.wait),
            None => table.name.clone(),
        },
        RelNode::Virtual(table) => format!("virtual {}", table.name),
        RelNode::Function { calls, with_ordinality } => {
            let calls: Vec<String> = calls.iter().map(function).collect();
            format!("{}{}", calls.join(" & "), if *with_ordinality { " ordinality" } else { "" })
        }
        RelNode::Cte(number) => format!("cte{number}"),
        RelNode::Transition(name) => format!("transition {name}"),
        RelNode::Join { left, right, kind, on, lateral } => {
            let lateral = lateral.as_ref().map_or_else(String::new, |args| format!(" lateral[{}]", list(args)));
            let kind = format!("{kind:?}").to_lowercase();
            format!("{kind}({}, {}{}{lateral})", rel(left), rel(right), option("; ", on))
        }
        RelNode::Filter { input, predicate } => format!("filter({}; {})", rel(input), expr(predicate)),
        RelNode::Barrier(input) => format!("barrier({})", rel(input)),
        RelNode::Project { input, exprs } => format!("project({}; {})", rel(input), list(exprs)),
        RelNode::ProjectSet { input, items } => {
            let items: Vec<String> = items
                .iter()
                .map(|item| match item {
                    ProjectItem::Scalar(it) => expr(it),
                    ProjectItem::Set(call) => function(call),
                })
                .collect();
            format!("sets({}; {})", rel(input), items.join(", "))
        }
        RelNode::Aggregate { input, groups, aggregates, sets } => {
            let calls: Vec<String> = aggregates.iter().map(aggregate).collect();
            let sets = sets.as_ref().map_or_else(String::new, |sets| format!("; sets {sets:?}"));
            format!("aggregate({}; {}; {}{sets})", rel(input), list(groups), calls.join(", "))
        }
        RelNode::Window { input, partition_by, order_by, calls } => {
            let calls: Vec<String> = calls
                .iter()
                .map(|call| {
                    let mut name = match &call.function {
                        WindowFunction::Aggregate(call) => aggregate(call),
                        other => format!("{other:?}({})", list(&call.args)),
                    };
                    if let Some(frame) = &call.frame {
                        write!(name, " {:?} {}..{}", frame.unit, bound(&frame.start), bound(&frame.end)).unwrap();
                    }
                    name
                })
                .collect();
            format!("window({}; by {}; order {}; {})", rel(input), list(partition_by), keys(order_by), calls.join(", "))
        }
        RelNode::Distinct { input, on } => match on {
            None => format!("distinct({})", rel(input)),
            Some(on) => format!("distinct({}; on {})", rel(input), list(on)),
        },
        RelNode::Sort { input, keys: order } => format!("sort({}; {})", rel(input), keys(order)),
        RelNode::Limit { input, limit, offset, ties } => {
            let ties = if ties.is_empty() { String::new() } else { format!("; ties {}", keys(ties)) };
            format!("limit({}{}{}{ties})", rel(input), option("; ", limit), option("; offset ", offset))
        }
        RelNode::LockRows { input, tables, again } => {
            let tables: Vec<String> =
                tables.iter().map(|(_, table, lock)| format!("{}!{:?}{:?}", table.name, lock.strength, lock.wait)).collect();
            let again = again.as_ref().map_or_else(String::new, |again| format!("; again {}", list(again)));
            format!("lock({}; {}{again})", rel(input), tables.join(", "))
        }
        RelNode::SetOp { kind, all, inputs } => {
            let kind = format!("{kind:?}").to_lowercase();
            let inputs: Vec<String> = inputs.iter().map(rel).collect();
            format!("{kind}{}({})", if *all { "all" } else { "" }, inputs.join(", "))
        }
        RelNode::RecursiveUnion { cte, base, step, all } => {
            format!("recursive{}{cte}({}, {})", if *all { "all" } else { "" }, rel(base), rel(step))
        }
        RelNode::Insert { insert, source } => {
            let mut out = format!("insert({}; {}", insert.table.name, rel(source));
            if let Some(conflict) = &insert.on_conflict {
                write!(out, "; conflict {:?}", conflict.arbiters).unwrap();
                if let Some(update) = &conflict.update {
                    write!(out, " set {}{}", assignments(&update.assignments), option(" where ", &update.filter)).unwrap();
                }
            }
            returning(&mut out, insert.returning.as_deref());
            out + ")"
        }
        RelNode::Update { update, source } => {
            let mut out = format!("update({}; {}; {}", update.table.name, rel(source), assignments(&update.assignments));
            returning(&mut out, update.returning.as_deref());
            out + ")"
        }
        RelNode::Delete { delete, source } => {
            let mut out = format!("delete({}; {}", delete.table.name, rel(source));
            returning(&mut out, delete.returning.as_deref());
            out + ")"
        }
        RelNode::Merge { merge, source } => format!("merge({}; {}; {} whens)", merge.table.name, rel(source), merge.whens.len()),
    }
}

fn assignments(list: &[(usize, Expr)]) -> String {
    list.iter().map(|(at, value)| format!("{at}={}", expr(value))).collect::<Vec<_>>().join(", ")
}

fn returning(out: &mut String, exprs: Option<&[Expr]>) {
    if let Some(exprs) = exprs {
        write!(out, "; returning {}", list(exprs)).unwrap();
    }
}
