//! How two parts are joined: by hash, by looking rows up in an index, or each with each; and which side is which.

use std::sync::{Arc, OnceLock};

use super::{
    EXTRA, Fact, Part,
    access::{Base, equal_constant, lookup_index},
    catalogs::{self, MadeBase},
    cost,
    exprs::{column_of, conjunction, equality, remap, same_key_family, shift},
    leakproof::is_leakproof,
    make, partition::lookup_plan, selectivity,
};
use crate::{
    expr::Expr,
    plan::{Estimate, JoinKind, Node, PlanColumn, TableScan},
};

const HASH_BUILD: f64 = 0.015;
const HASH_PROBE: f64 = 0.005;

/// `left = right` over the columns of one side each, with one type.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub left: Expr,
    pub right: Expr,
}

/// A side as far as costs go.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub rows: f64,
    pub startup: f64,
    pub total: f64,
    pub base: Option<&'a Base>,
    pub made: Option<&'a MadeBase>,
}

impl<'a> Side<'a> {
    pub fn of(part: &'a Part) -> Self {
        let Estimate { rows, startup_cost: startup, total_cost: total, .. } = part.plan.estimate;
        Self { rows, startup, total, base: part.base.as_deref(), made: part.made.as_deref() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Hash,
    Lookup,
    NestedLoop,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub method: Method,
    /// The sides change places.
    pub swapped: bool,
    pub startup: f64,
    pub total: f64,
}

/// A join kind with its sides exchanged.
fn mirrored(kind: JoinKind) -> Option<JoinKind> {
    match kind {
        JoinKind::Inner => Some(JoinKind::Inner),
        JoinKind::Left => Some(JoinKind::Right),
        JoinKind::Right => Some(JoinKind::Left),
        JoinKind::Full => Some(JoinKind::Full),
        JoinKind::Semi | JoinKind::Anti => None,
    }
}

/// How rows of a table are looked up for the rows of another side.
struct LookupPath {
    index: usize,
    /// For each leading column of the index, what gives its value.
    columns: Vec<(usize, LookupKey)>,
    /// At most one row is found.
    point: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LookupKey {
    /// The other side of this join key.
    Join(usize),
    /// The constant that this filter of the table compares the column with.
    Filter(usize),
}

/// The index a lookup goes through: the one most of whose leading columns are join keys or known constants.
fn lookup_path(base: &Base, keys: &[(&Expr, &Expr)]) -> Option<LookupPath> {
    let mut columns = Vec::with_capacity(keys.len());
    let mut sources = Vec::with_capacity(keys.len());
    for (at, (from, to)) in keys.iter().enumerate() {
        let column = column_of(to)? - base.start;
        if !same_key_family(&from.ty(), &base.table.columns[column].ty) {
            return None;
        }
        columns.push(column);
        sources.push(LookupKey::Join(at));
    }
    for (at, filter) in base.filters.iter().enumerate() {
        if let Some((column, _)) = equal_constant(filter, &base.table)
            && !columns.contains(&column)
        {
            columns.push(column);
            sources.push(LookupKey::Filter(at));
        }
    }
    let (index, places) = lookup_index(&base.table, &columns, keys.len())?;
    let chosen = &base.table.indexes[index];
    let point = chosen.unique && places.len() == chosen.columns.len();
    let columns = places.into_iter().map(|place| (columns[place], sources[place])).collect();
    Some(LookupPath { index, columns, point })
}

/// What looking up the rows of `right` for each row of `left` costs.
fn lookup_cost(left: &Side<'_>, right: &Side<'_>, keys: &[(&Expr, &Expr)]) -> Option<f64> {
    if let Some(made) = right.made {
        return Some(left.total + left.rows * made.lookup_cost(keys)?);
    }
    let base = right.base?;
    let path = lookup_path(base, keys)?;
    let columns: Vec<usize> = path.columns.iter().map(|(column, _)| *column).collect();
    let matches = base.rows() * base.equal_share(&columns);
    let fetches = base.fetches(path.index, &base.read_columns(&base.filters));
    // Partitions are read by operators that are made for each row.
    let own = if base.partitions.is_some() { cost::PER_GET } else { 0.0 };
    let seek = (if path.point { cost::PER_GET } else { cost::PER_SPAN } + own) * base.lookups(&columns);
    let fetch = if fetches { cost::PER_GET } else { 0.0 };
    let operations = (base.filters.len() + 1) as f64 * cost::PER_OPERATION;
    Some(left.total + left.rows * (seek + matches * (base.row_cost(base.table.primary()) + fetch + operations)))
}

/// Whether the sides of a join may be exchanged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sides {
    Free,
    /// The left's rows come out in their order, and of the join's rows about this share is asked for.
    Kept { share: f64 },
}

impl Sides {
    /// What of a cost counts.
    pub fn reached(self, startup: f64, total: f64) -> f64 {
        match self {
            Self::Free => total,
            Self::Kept { share } => startup + (total - startup) * share.min(1.0),
        }
    }
}

/// The cheapest way; `rows` come out.
pub(super) fn choose(
    left: Side<'_>,
    right: Side<'_>,
    kind: JoinKind,
    keys: &[(&Expr, &Expr)],
    rows: f64,
    sides: Sides,
) -> Choice {
    let out = rows * cost::PER_OPERATION;
    let mut best: Option<Choice> = None;
    let mut consider = |choice: Choice| {
        let reached = |choice: &Choice| sides.reached(choice.startup, choice.total);
        if best.is_none_or(|known| reached(&choice) < reached(&known)) {
            best = Some(choice);
        }
    };
    // Every row of a side that is read for others to choose from is locked.
    let locked: f64 = [left, right]
        .iter()
        .filter(|side| side.base.is_some_and(Base::locks))
        .map(|side| side.rows * cost::PER_GET)
        .sum();
    let turned: Vec<(&Expr, &Expr)> = keys.iter().map(|(left, right)| (*right, *left)).collect();
    for (swapped, kind, left, right, keys) in
        [(false, Some(kind), left, right, keys), (true, mirrored(kind), right, left, &turned[..])]
    {
        let Some(kind) = kind.filter(|_| !swapped || sides == Sides::Free) else { continue };
        if keys.is_empty() {
            let pairs = left.rows * right.rows * cost::PER_OPERATION;
            let total = left.total + right.total + right.rows * HASH_BUILD + pairs + locked;
            consider(Choice { method: Method::NestedLoop, swapped, startup: left.startup + right.total, total: total + out });
            continue;
        }
        let startup = left.startup + right.total + right.rows * HASH_BUILD;
        let total = left.total + right.total + right.rows * HASH_BUILD + left.rows * HASH_PROBE + out + locked;
        consider(Choice { method: Method::Hash, swapped, startup, total });
        if matches!(kind, JoinKind::Inner | JoinKind::Left | JoinKind::Semi | JoinKind::Anti)
            && let Some(total) = lookup_cost(&left, &right, keys)
        {
            consider(Choice { method: Method::Lookup, swapped, startup: left.startup, total: total + out });
        }
    }
    best.expect("there is always a way to join")
}

/// Columns and facts of a join, left first.
pub(super) struct Joined {
    pub columns: Vec<usize>,
    pub facts: Vec<Fact>,
    all: Vec<usize>,
    kind: JoinKind,
}

impl Joined {
    pub fn new(left: &Part, right: &Part, kind: JoinKind) -> Self {
        let mut all = left.columns.clone();
        all.extend(&right.columns);
        let mut facts = left.facts.clone();
        facts.extend(&right.facts);
        let mut columns = all.clone();
        if matches!(kind, JoinKind::Semi | JoinKind::Anti) {
            columns.truncate(left.columns.len());
            facts.truncate(left.columns.len());
        }
        for (at, fact) in facts.iter_mut().enumerate() {
            let is_left = at < left.columns.len();
            fact.nullable |= match kind {
                JoinKind::Left => !is_left,
                JoinKind::Right => is_left,
                JoinKind::Full => true,
                _ => false,
            };
        }
        Self { columns, facts, all, kind }
    }

    pub fn width(&self) -> f64 {
        self.facts.iter().map(|fact| fact.width).sum()
    }

    /// A condition over the pairs.
    pub fn placed(&self, mut expr: Expr) -> Expr {
        remap(&mut expr, &|column| {
            self.all.iter().position(|known| *known == column).expect("columns-in-order: the condition's columns are joined")
        });
        expr
    }

    pub fn plan_columns(&self, left: &Part, right: &Part) -> Vec<PlanColumn> {
        let mut columns = left.plan.columns.clone();
        if !matches!(self.kind, JoinKind::Semi | JoinKind::Anti) {
            columns.extend(right.plan.columns.iter().cloned());
        }
        columns
    }

    pub fn part(self, plan: crate::plan::Plan) -> Part {
        Part { plan, columns: self.columns, facts: self.facts, ordered: false, base: None, made: None }
    }
}

/// How many different values an expression over a part has.
pub(super) fn distinct(part: &Part, expr: &Expr) -> f64 {
    let known = column_of(expr).and_then(|column| part.fact(column)).and_then(|fact| fact.distinct);
    known.unwrap_or(cost::DEFAULT_DISTINCT).min(part.rows()).max(1.0)
}

/// How many rows a join leaves.
pub(super) fn join_rows(left: &Part, right: &Part, kind: JoinKind, keys: &[Condition], rest: &[Expr]) -> f64 {
    let rest = selectivity::all(rest, &selectivity::Nothing);
    let mut share = rest;
    let mut matched = rest;
    for key in keys {
        let (a, b) = (distinct(left, &key.left), distinct(right, &key.right));
        share /= a.max(b);
        matched = matched.min((b / a).min(1.0));
    }
    let inner = left.rows() * right.rows() * share;
    let rows = match kind {
        JoinKind::Inner => inner,
        JoinKind::Left => inner.max(left.rows()),
        JoinKind::Right => inner.max(right.rows()),
        JoinKind::Full => inner.max(left.rows()).max(right.rows()),
        JoinKind::Semi => left.rows() * matched.min(1.0),
        JoinKind::Anti => left.rows() * (1.0 - matched).max(0.05),
    };
    rows.max(1.0)
}

/// Joins two parts whose columns are counted together. `keys` have the left's columns on their left.
pub(super) fn join(
    left: Part,
    right: Part,
    kind: JoinKind,
    keys: Vec<Condition>,
    rest: Vec<Expr>,
    rows: f64,
    sides: Sides,
) -> Part {
    let tells_nothing = rest.iter().all(is_leakproof) && keys.iter().all(|key| is_leakproof(&key.left) && is_leakproof(&key.right));
    let (left, right) = if tells_nothing { (left, right) } else { (before_others(left), before_others(right)) };
    let pairs: Vec<(&Expr, &Expr)> = keys.iter().map(|key| (&key.left, &key.right)).collect();
    let choice = choose(Side::of(&left), Side::of(&right), kind, &pairs, rows, sides);
    let ordered = left.ordered && sides != Sides::Free;
    if kind == JoinKind::Semi
        && sides == Sides::Free
        && rest.is_empty()
        && !keys.is_empty()
        && let Some(part) = from_the_right(&left, &right, &keys, rows, choice.total)
    {
        return part;
    }
    let (left, right, kind, keys) = if choice.swapped {
        let turn = |key: Condition| Condition { left: key.right, right: key.left };
        let kind = mirrored(kind).expect("only a kind with a mirror image is turned around");
        (right, left, kind, keys.into_iter().map(turn).collect())
    } else {
        (left, right, kind, keys)
    };
    let joined = Joined::new(&left, &right, kind);
    let estimate =
        Estimate { rows, width: joined.width(), startup_cost: choice.startup, total_cost: choice.total };
    if choice.method == Method::Lookup {
        return Part { ordered, ..lookup(left, &right, kind, &keys, rest, estimate) };
    }
    let plan_columns = joined.plan_columns(&left, &right);
    let filter = conjunction(rest.into_iter().map(|condition| joined.placed(condition)).collect());
    let left_keys: Vec<Expr> = keys.iter().map(|key| left.placed(key.left.clone())).collect();
    let right_keys = keys.iter().map(|key| right.placed(key.right.clone())).collect();
    let (left, right) = (Box::new(left.plan), Box::new(right.plan));
    let node = match choice.method {
        Method::Hash => Node::HashJoin { left, right, left_keys, right_keys, kind, filter },
        Method::NestedLoop | Method::Lookup => Node::NestedLoopJoin { left, right, kind, filter },
    };
    Part { ordered, ..joined.part(make(node, plan_columns, estimate)) }
}

/// *barriers-hold*: what is behind one is read by itself, and not by looking rows up under all conditions at once.
fn before_others(part: Part) -> Part {
    let base = part.base.filter(|base| !base.is_behind_barrier);
    Part { base, ..part }
}

/// The rows of `right`'s table that an index has for each row of `left`.
fn lookup(
    left: Part,
    right: &Part,
    kind: JoinKind,
    keys: &[Condition],
    rest: Vec<Expr>,
    estimate: Estimate,
) -> Part {
    if let Some(made) = &right.made {
        return catalogs::lookup(left, right, made, kind, keys, rest, estimate);
    }
    let base = right.base.as_ref().expect("only a table is looked up in");
    let start = base.start;
    let pairs: Vec<(&Expr, &Expr)> = keys.iter().map(|key| (&key.left, &key.right)).collect();
    let path = lookup_path(base, &pairs).expect("the choice has found it");
    let is_key = |key: LookupKey| path.columns.iter().any(|(_, of)| *of == key);
    let columns = base.read_columns(&base.filters);
    let mut all = left.columns.clone();
    all.extend(columns.iter().map(|column| column + start));
    let place = |column: usize| {
        all.iter().position(|known| *known == column).expect("columns-in-order: the condition's columns are looked up")
    };
    // Keys that the index does not begin with are conditions on what it finds; so are the table's own.
    let mut conditions = rest;
    for (at, key) in keys.iter().enumerate() {
        if !is_key(LookupKey::Join(at)) {
            conditions.extend(equality(key.left.clone(), key.right.clone()));
        }
    }
    for (_, filter) in base.filters.iter().enumerate().filter(|(at, _)| !is_key(LookupKey::Filter(*at))) {
        let mut filter = filter.clone();
        shift(&mut filter, start as isize);
        conditions.push(filter);
    }
    conditions.iter_mut().for_each(|condition| remap(condition, &place));
    if let Some(partitions) = &base.partitions {
        let argument = |(_, key): &(usize, LookupKey)| match key {
            LookupKey::Join(at) => left.placed(keys[*at].left.clone()),
            LookupKey::Filter(at) => {
                let (_, value) = equal_constant(&base.filters[*at], &base.table).expect("the path was made of such filters");
                value.clone()
            }
        };
        let arguments: Vec<Expr> = path.columns.iter().map(argument).collect();
        let outer = |(slot, (column, _)): (usize, &(usize, LookupKey))| (*column, Expr::Outer(slot, arguments[slot].ty()));
        let values: Vec<(usize, Expr)> = path.columns.iter().enumerate().map(outer).collect();
        let right = Arc::new(lookup_plan(base, partitions, path.index, path.point, &values, &columns));
        let mut plan_columns = left.plan.columns.clone();
        let mut facts = left.facts.clone();
        if matches!(kind, JoinKind::Semi | JoinKind::Anti) {
            all.truncate(left.columns.len());
        } else {
            plan_columns.extend(right.columns.iter().cloned());
            facts.extend(columns.iter().map(|column| {
                let fact = base.fact(*column);
                Fact { nullable: fact.nullable || kind == JoinKind::Left, ..fact }
            }));
        }
        let filter = conjunction(conditions);
        let node = Node::Apply { left: Box::new(left.plan), right, arguments, kind, filter };
        return Part { plan: make(node, plan_columns, estimate), columns: all, facts, ordered: false, base: None, made: None };
    }
    let scan = Arc::new(TableScan {
        table: base.table.clone(),
        index: path.index,
        spans: Vec::new(),
        filter: None,
        reverse: false,
        lock: base.lock,
        fetch_rows: base.fetches(path.index, &columns),
        limit_hint: None,
        point: path.point,
        columns: columns.clone(),
        entries: None,
        access: OnceLock::new(),
    });
    let lookup_key = |key: &LookupKey| match key {
        LookupKey::Join(at) => left.placed(keys[*at].left.clone()),
        LookupKey::Filter(at) => {
            let (_, value) = equal_constant(&base.filters[*at], &base.table).expect("the path was made of such filters");
            value.clone()
        }
    };
    let lookup_keys = path.columns.iter().map(|(_, key)| lookup_key(key)).collect();
    let mut plan_columns = left.plan.columns.clone();
    let mut facts = left.facts.clone();
    if matches!(kind, JoinKind::Semi | JoinKind::Anti) {
        all.truncate(left.columns.len());
    } else {
        plan_columns.extend(columns.iter().map(|column| base.columns[*column].clone()));
        facts.extend(columns.iter().map(|column| {
            let fact = base.fact(*column);
            Fact { nullable: fact.nullable || kind == JoinKind::Left, ..fact }
        }));
    }
    let filter = conjunction(conditions);
    let node = Node::LookupJoin { left: Box::new(left.plan), scan, keys: lookup_keys, kind, filter };
    Part { plan: make(node, plan_columns, estimate), columns: all, facts, ordered: false, base: None, made: None }
}

/// A semijoin from its right side: the different keys there, each looked up on the left. None where it would cost more.
fn from_the_right(left: &Part, right: &Part, keys: &[Condition], rows: f64, known: f64) -> Option<Part> {
    let (base, made) = (left.base.as_deref(), left.made.as_deref());
    if base.is_none() && made.is_none() {
        return None;
    }
    let distinct = keys.iter().map(|key| distinct(right, &key.right)).product::<f64>().min(right.rows());
    let unique_cost = right.plan.estimate.total_cost + right.rows() * HASH_BUILD;
    let from = Side { rows: distinct, startup: unique_cost, total: unique_cost, base: None, made: None };
    let turned: Vec<(&Expr, &Expr)> = keys.iter().map(|key| (&key.right, &key.left)).collect();
    let to = Side { base, made, ..Side::of(left) };
    let total = lookup_cost(&from, &to, &turned)? + rows * cost::PER_OPERATION;
    // Rows that are locked as they are read are read by their keys: others are left alone.
    if total >= known && !base.is_some_and(Base::locks) {
        return None;
    }
    let groups: Vec<Expr> = keys.iter().map(|key| right.placed(key.right.clone())).collect();
    let plan_columns: Vec<PlanColumn> = keys
        .iter()
        .map(|key| PlanColumn { name: "key".into(), ty: key.right.ty(), table_oid: 0, attribute: 0 })
        .collect();
    let facts: Vec<Fact> = plan_columns.iter().map(Fact::unknown).collect();
    let width = facts.iter().map(|fact| fact.width).sum();
    let estimate = Estimate { rows: distinct, width, startup_cost: unique_cost, total_cost: unique_cost };
    let input = Box::new(right.plan.clone());
    let node = Node::Aggregate { input, groups, aggregates: Vec::new(), sets: None };
    // Columns that nobody above knows, counted behind all others.
    let first = usize::MAX / 2;
    let unique = Part {
        plan: make(node, plan_columns, estimate),
        columns: (first..first + keys.len()).collect(),
        facts,
        ordered: false,
        base: None, made: None,
    };
    let turned: Vec<Condition> = keys
        .iter()
        .enumerate()
        .map(|(at, key)| Condition { left: Expr::Column(first + at, key.right.ty()), right: key.left.clone() })
        .collect();
    let estimate = Estimate { rows, width: 0.0, startup_cost: unique_cost, total_cost: total };
    let mut part = lookup(unique, left, JoinKind::Inner, &turned, Vec::new(), estimate);
    for column in part.columns.iter_mut().filter(|column| **column >= first) {
        *column = EXTRA;
    }
    part.plan.estimate.width = part.facts.iter().map(|fact| fact.width).sum();
    Some(part)
}
