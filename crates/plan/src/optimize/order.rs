//! Which of many inner joins comes first: by dynamic programming over all subsets of a few relations, and by always
//! joining the two parts that leave fewest rows where there are more.
//!
//! Columns that equalities make one are a class, whatever their widths (`smallint = bigint`): one condition of a class
//! joins two parts, whichever of its columns they have, and a constant for one is a constant for all.

use super::{
    Part, cost,
    exprs::{bare_column, cast_to, column_of, comparison, demanded_of, equality, equi_sides, mark, same_key_family, shift},
    method::{self, Choice, Condition, Side, Sides},
    selectivity,
};
use crate::{expr::Expr, logical::Rel};

/// Up to so many relations all orders are compared.
const EXHAUSTIVE: usize = 8;

type Mask = u128;

/// Columns that are equal in every row of the result.
struct Class {
    /// Column and the relation it is of. All have one type: where the columns' own types differ, each is cast to the
    /// widest.
    members: Vec<(Expr, usize)>,
    /// All of them are known to be one value: their conditions leave nothing more to chance.
    is_constant: bool,
}

/// A condition on several relations that is in no class.
struct Other {
    condition: Expr,
    relations: Mask,
    /// For an equality of two sides: each with its relations.
    sides: Option<[(Expr, Mask); 2]>,
}

/// The relations of a tree of inner joins, and what connects them.
pub(super) struct Graph {
    /// Where each relation's columns begin.
    starts: Vec<usize>,
    own: Vec<Vec<Expr>>,
    classes: Vec<Class>,
    others: Vec<Other>,
    /// Conditions without columns.
    constant: Vec<Expr>,
    parts: Vec<Part>,
    /// Pairs of relations that several classes connect, and by how much more rows they leave together than these would if
    /// their columns knew nothing of each other.
    related: Vec<(Mask, f64)>,
}

/// A relation in the order that is wanted of the join, of which so many rows are.
pub(super) struct Driver {
    pub relation: usize,
    pub part: Part,
    pub limit: f64,
}

/// Some relations joined.
#[derive(Clone)]
struct Entry {
    relations: Mask,
    rows: f64,
    startup: f64,
    total: f64,
    tree: Tree,
}

#[derive(Clone)]
enum Tree {
    Leaf(usize),
    /// Indexes of the entries that were joined, and whether the first stays on the left.
    Join(usize, usize, Sides),
}

impl Class {
    fn unify_types(&mut self) {
        let widest = self.members.iter().map(|(member, _)| member.ty()).reduce(|a, b| match (a, b) {
            (a, b) if a.same_base(&b) => a,
            (a, b) if a.is_integer() && b.is_integer() => types::SqlType::Int8,
            (types::SqlType::Float4 | types::SqlType::Float8, _) => types::SqlType::Float8,
            _ => types::SqlType::Text,
        });
        let Some(widest) = widest else { return };
        for (member, _) in &mut self.members {
            let column = std::mem::replace(member, Expr::RowId);
            *member = cast_to(column, widest);
        }
    }
}

impl Graph {
    pub fn new(relations: &[Rel], conditions: Vec<Expr>) -> Self {
        let mut starts = Vec::with_capacity(relations.len());
        let mut width = 0;
        for relation in relations {
            starts.push(width);
            width += relation.columns.len();
        }
        let own = vec![Vec::new(); relations.len()];
        let mut graph =
            Self { starts, own, classes: Vec::new(), others: Vec::new(), constant: Vec::new(), parts: Vec::new(), related: Vec::new() };
        for condition in conditions {
            graph.add(condition);
        }
        graph.classes.iter_mut().for_each(Class::unify_types);
        graph.spread_constants();
        graph
    }

    fn owner(&self, column: usize) -> usize {
        self.starts.partition_point(|start| *start <= column) - 1
    }

    fn relations(&self, expr: &Expr) -> Mask {
        expr.columns_used().iter().fold(0, |mask, column| mask | 1 << self.owner(*column))
    }

    fn add(&mut self, mut condition: Expr) {
        let relations = self.relations(&condition);
        match relations.count_ones() {
            0 => return self.constant.push(condition),
            1 => {
                let relation = relations.trailing_zeros() as usize;
                shift(&mut condition, -(self.starts[relation] as isize));
                return self.own[relation].push(condition);
            }
            _ => {}
        }
        if let Expr::Or(arms) = &condition {
            for relation in (0..self.starts.len()).filter(|relation| relations & (1 << relation) != 0) {
                let is_of_it = |part: &Expr| self.relations(part) == 1 << relation;
                if let Some(mut demanded) = demanded_of(arms, &is_of_it) {
                    shift(&mut demanded, -(self.starts[relation] as isize));
                    self.own[relation].push(demanded);
                }
            }
        }
        let sides = equi_sides(&condition, &|column| self.owner(column));
        match sides {
            Some((a, left, b, right)) if column_of(&left).is_some() && column_of(&right).is_some() => {
                self.unite((bare_column(left), a), (bare_column(right), b));
            }
            sides => {
                let sides = sides.map(|(_, left, _, right)| {
                    let (in_left, in_right) = (self.relations(&left), self.relations(&right));
                    [(left, in_left), (right, in_right)]
                });
                self.others.push(Other { condition, relations, sides });
            }
        }
    }

    fn unite(&mut self, a: (Expr, usize), b: (Expr, usize)) {
        let has = |class: &Class, of: &Expr| class.members.iter().any(|(member, _)| column_of(member) == column_of(of));
        let of_a = self.classes.iter().position(|class| has(class, &a.0));
        let of_b = self.classes.iter().position(|class| has(class, &b.0));
        match (of_a, of_b) {
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) => {
                let class = self.classes.swap_remove(a.max(b));
                self.classes[a.min(b)].members.extend(class.members);
            }
            (Some(at), None) => self.classes[at].members.push(b),
            (None, Some(at)) => self.classes[at].members.push(a),
            (None, None) => self.classes.push(Class { members: vec![a, b], is_constant: false }),
        }
    }

    /// What holds for one column of a class inside its relation holds for all; two columns of one relation are equal
    /// there already.
    fn spread_constants(&mut self) {
        for class in &mut self.classes {
            let columns: Vec<(Expr, usize)> =
                class.members.iter().map(|(member, relation)| (bare_column(member.clone()), *relation)).collect();
            let local = |column: &Expr, relation: usize| {
                column_of(column).map_or(usize::MAX, |column| column - self.starts[relation])
            };
            let mut constants: Vec<Expr> = Vec::new();
            for (column, relation) in &columns {
                let at = local(column, *relation);
                constants.extend(self.own[*relation].iter().filter_map(|condition| constant_on(condition, at)).cloned());
            }
            class.is_constant = !constants.is_empty();
            let mut seen: Vec<(usize, Expr)> = Vec::new();
            for (column, relation) in &columns {
                let at = local(column, *relation);
                let here = Expr::Column(at, column.ty());
                let own = &mut self.own[*relation];
                if !own.iter().any(|condition| constant_on(condition, at).is_some()) {
                    own.extend(constants.iter().filter_map(|value| equality(here.clone(), value.clone())));
                }
                if let Some((_, first)) = seen.iter().find(|(of, _)| of == relation) {
                    own.extend(equality(first.clone(), here));
                } else {
                    seen.push((*relation, here));
                }
            }
        }
    }

    /// Marks the columns that joining looks at.
    pub fn mark_needed(&self, needed: &mut [bool]) {
        for class in &self.classes {
            class.members.iter().for_each(|(member, _)| mark(member, needed));
        }
        self.others.iter().for_each(|other| mark(&other.condition, needed));
        self.constant.iter().for_each(|condition| mark(condition, needed));
    }

    /// Where a relation's columns begin, and the conditions on it alone, over its own columns.
    pub fn take_own(&mut self, relation: usize) -> (usize, Vec<Expr>) {
        (self.starts[relation], std::mem::take(&mut self.own[relation]))
    }

    /// The relations, planned, in their order.
    pub fn push(&mut self, part: Part) {
        self.parts.push(part);
    }

    /// The joined relations, and the conditions that are still to be looked at. With a `driver`, a relation planned in
    /// the order that is wanted, the others may follow it row by row until a limit is reached.
    pub fn join(mut self, driver: Option<Driver>) -> (Part, Vec<Expr>) {
        assert!(self.parts.len() == self.starts.len(), "every relation has been planned");
        self.related = self.related_pairs();
        let mut entries = if self.parts.len() <= EXHAUSTIVE { self.exhaustive() } else { self.greedy() };
        if let Some(driver) = driver {
            let last = entries.last().expect("there are relations");
            let known = last.total + cost::sort(last.rows, Some(driver.limit));
            let limit = driver.limit;
            let unordered = std::mem::replace(&mut self.parts[driver.relation], driver.part);
            let sides = Sides::Kept { share: limit / last.rows };
            let driven = self.driven(driver.relation, sides);
            let last = driven.last().expect("there are relations");
            if sides.reached(last.startup, last.total) < known {
                entries = driven;
            } else {
                self.parts[driver.relation] = unordered;
            }
        }
        let mut parts: Vec<Option<Part>> = std::mem::take(&mut self.parts).into_iter().map(Some).collect();
        let part = self.build(&entries, entries.len() - 1, &mut parts);
        (part, self.constant)
    }

    fn leaf(&self, relation: usize) -> Entry {
        let estimate = self.parts[relation].plan.estimate;
        Entry {
            relations: 1 << relation,
            rows: estimate.rows,
            startup: estimate.startup_cost,
            total: estimate.total_cost,
            tree: Tree::Leaf(relation),
        }
    }

    fn distinct(&self, expr: &Expr, relations: Mask) -> f64 {
        match relations.count_ones() {
            1 => method::distinct(&self.parts[relations.trailing_zeros() as usize], expr),
            _ => cost::DEFAULT_DISTINCT,
        }
    }

    fn related_pairs(&self) -> Vec<(Mask, f64)> {
        let pairs = (0..self.parts.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
        pairs.filter_map(|(a, b)| self.relation_of(a, b).map(|factor| (1 << a | 1 << b, factor))).collect()
    }

    /// The values of several columns of a table seldom meet in all combinations: those of a key, or of columns that an index
    /// begins with, are counted together.
    fn relation_of(&self, a: usize, b: usize) -> Option<f64> {
        let member = |class: &Class, of: usize| class.members.iter().find(|(_, relation)| *relation == of).map(|(it, _)| it.clone());
        let shared: Vec<[Expr; 2]> = (self.classes.iter().filter(|class| !class.is_constant))
            .filter_map(|class| Some([member(class, a)?, member(class, b)?]))
            .collect();
        if shared.len() < 2 {
            return None;
        }
        let apart: f64 = shared.iter().map(|[in_a, in_b]| self.distinct(in_a, 1 << a).max(self.distinct(in_b, 1 << b))).product();
        let together = |of: usize, side: usize| {
            let base = self.parts[of].base.as_deref()?;
            let columns: Option<Vec<usize>> = shared.iter().map(|pair| Some(column_of(&pair[side])? - base.start)).collect();
            base.distinct_together(&columns?).map(|distinct| distinct.min(self.parts[of].rows()))
        };
        let at_most = |of: usize, side: usize| -> f64 {
            let product: f64 = shared.iter().map(|pair| self.distinct(&pair[side], 1 << of)).product();
            together(of, side).unwrap_or_else(|| product.min(self.parts[of].rows())).max(1.0)
        };
        if together(a, 0).is_none() && together(b, 1).is_none() {
            return None;
        }
        let met = at_most(a, 0).max(at_most(b, 1));
        (met < apart).then_some(apart / met)
    }

    /// Rows that the join of some relations leaves, however they are joined.
    fn rows(&self, relations: Mask) -> f64 {
        let mut rows = 1.0;
        for (at, part) in self.parts.iter().enumerate() {
            if relations & (1 << at) != 0 {
                rows *= part.rows();
            }
        }
        for class in self.classes.iter().filter(|class| !class.is_constant) {
            // Of the columns' distinct values all but the fewest are met by chance.
            let mut fewest = f64::MAX;
            let mut seen: Mask = 0;
            for (member, relation) in &class.members {
                let of = 1 << relation;
                if relations & of == 0 || seen & of != 0 {
                    continue;
                }
                seen |= of;
                let distinct = self.distinct(member, of);
                if fewest < f64::MAX {
                    rows /= distinct.max(fewest);
                    fewest = fewest.min(distinct);
                } else {
                    fewest = distinct;
                }
            }
        }
        rows *= self.related.iter().filter(|(pair, _)| pair & !relations == 0).map(|(_, factor)| factor).product::<f64>();
        for other in self.others.iter().filter(|other| other.relations & !relations == 0) {
            rows *= match &other.sides {
                Some([(a, in_a), (b, in_b)]) => 1.0 / self.distinct(a, *in_a).max(self.distinct(b, *in_b)),
                None => selectivity::all(std::slice::from_ref(&other.condition), &selectivity::Nothing),
            };
        }
        rows.max(1.0)
    }

    /// Equalities between two parts, the left's side on the left.
    fn keys(&self, left: Mask, right: Mask) -> Vec<(&Expr, &Expr)> {
        let mut keys = Vec::new();
        for class in &self.classes {
            let of = |mask: Mask| class.members.iter().find(|(_, relation)| mask & (1 << relation) != 0);
            if let (Some((a, _)), Some((b, _))) = (of(left), of(right)) {
                keys.push((a, b));
            }
        }
        for other in &self.others {
            let Some([(a, in_a), (b, in_b)]) = &other.sides else { continue };
            if in_a & !left == 0 && in_b & !right == 0 {
                keys.push((a, b));
            } else if in_a & !right == 0 && in_b & !left == 0 {
                keys.push((b, a));
            }
        }
        keys
    }

    fn connects(&self, left: Mask, right: Mask) -> bool {
        let class = |class: &Class| {
            let meets = |mask: Mask| class.members.iter().any(|(_, relation)| mask & (1 << relation) != 0);
            meets(left) && meets(right)
        };
        let other = |other: &Other| {
            let both = left | right;
            other.relations & !both == 0 && other.relations & left != 0 && other.relations & right != 0
        };
        self.classes.iter().any(class) || self.others.iter().any(other)
    }

    fn side(&self, entry: &Entry) -> Side<'_> {
        let (base, made) = match entry.tree {
            Tree::Leaf(relation) => (self.parts[relation].base.as_deref(), self.parts[relation].made.as_deref()),
            Tree::Join(..) => (None, None),
        };
        Side { rows: entry.rows, startup: entry.startup, total: entry.total, base, made }
    }

    fn choice(&self, left: &Entry, right: &Entry, rows: f64, sides: Sides) -> Choice {
        let keys = self.keys(left.relations, right.relations);
        method::choose(self.side(left), self.side(right), crate::plan::JoinKind::Inner, &keys, rows, sides)
    }

    fn exhaustive(&self) -> Vec<Entry> {
        let count = self.parts.len();
        // By mask; the empty set has a place and is never looked at.
        let mut entries: Vec<Entry> = Vec::with_capacity(1 << count);
        entries.push(self.leaf(0));
        for relations in 1_usize..1 << count {
            if relations.is_power_of_two() {
                entries.push(self.leaf(relations.trailing_zeros() as usize));
                continue;
            }
            let rows = self.rows(relations as Mask);
            let mut best: Option<(bool, Entry)> = None;
            let mut left = (relations - 1) & relations;
            while left > 0 {
                let right = relations & !left;
                if left > right {
                    let (a, b) = (&entries[left], &entries[right]);
                    // Each with each only where nothing connects.
                    let far = !self.connects(left as Mask, right as Mask);
                    let known = best.as_ref();
                    if known.is_none_or(|(known_far, _)| *known_far || !far) {
                        let choice = self.choice(a, b, rows, Sides::Free);
                        let better = known.is_none_or(|(known_far, known)| {
                            (*known_far && !far) || (*known_far == far && choice.total < known.total)
                        });
                        if better {
                            let tree = Tree::Join(left, right, Sides::Free);
                            let Choice { startup, total, .. } = choice;
                            best = Some((far, Entry { relations: relations as Mask, rows, startup, total, tree }));
                        }
                    }
                }
                left = (left - 1) & relations;
            }
            let (_, entry) = best.expect("two relations can be joined");
            entries.push(entry);
        }
        entries
    }

    /// The other relations joined to one after another, those first that leave fewest rows.
    fn driven(&self, driver: usize, sides: Sides) -> Vec<Entry> {
        let mut entries = vec![self.leaf(driver)];
        let mut left = 0;
        let mut open: Vec<usize> = (0..self.parts.len()).filter(|relation| *relation != driver).collect();
        while !open.is_empty() {
            let known = entries[left].relations;
            let key = |relation: &usize| (!self.connects(known, 1 << relation), self.rows(known | 1 << relation));
            let next = (0..open.len())
                .map(|at| (at, key(&open[at])))
                .min_by(|(_, a), (_, b)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
            let Some((at, (_, rows))) = next else { break };
            entries.push(self.leaf(open.swap_remove(at)));
            let right = entries.len() - 1;
            let Choice { startup, total, .. } = self.choice(&entries[left], &entries[right], rows, sides);
            let relations = known | entries[right].relations;
            entries.push(Entry { relations, rows, startup, total, tree: Tree::Join(left, right, sides) });
            left = entries.len() - 1;
        }
        entries
    }

    fn greedy(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = (0..self.parts.len()).map(|relation| self.leaf(relation)).collect();
        let mut open: Vec<usize> = (0..entries.len()).collect();
        /// Two open entries that could be joined next.
        struct Pair {
            far: bool,
            rows: f64,
            left: usize,
            right: usize,
        }
        let pair = |entries: &[Entry], left: usize, right: usize| {
            let (a, b) = (entries[left].relations, entries[right].relations);
            let far = !self.connects(a, b);
            // What nothing connects is multiplied, which needs no counting.
            let rows = if far { entries[left].rows * entries[right].rows } else { self.rows(a | b) };
            Pair { far, rows, left, right }
        };
        let mut pairs: Vec<Pair> = Vec::new();
        for (at, &left) in open.iter().enumerate() {
            pairs.extend(open[..at].iter().map(|&right| pair(&entries, left, right)));
        }
        while open.len() > 1 {
            let best = pairs
                .iter()
                .min_by(|a, b| a.far.cmp(&b.far).then(a.rows.total_cmp(&b.rows)))
                .expect("two open entries make a pair");
            let (left, right, rows) = (best.left, best.right, best.rows);
            let Choice { startup, total, .. } = self.choice(&entries[left], &entries[right], rows, Sides::Free);
            let relations = entries[left].relations | entries[right].relations;
            entries.push(Entry { relations, rows, startup, total, tree: Tree::Join(left, right, Sides::Free) });
            let joined = entries.len() - 1;
            open.retain(|at| *at != left && *at != right);
            pairs.retain(|pair| ![pair.left, pair.right].iter().any(|at| *at == left || *at == right));
            pairs.extend(open.iter().map(|&other| pair(&entries, joined, other)));
            open.push(joined);
        }
        entries
    }

    fn build(&self, entries: &[Entry], at: usize, parts: &mut [Option<Part>]) -> Part {
        let entry = &entries[at];
        let (left, right, sides) = match entry.tree {
            Tree::Leaf(relation) => return parts[relation].take().expect("a relation is joined once"),
            Tree::Join(left, right, sides) => (left, right, sides),
        };
        let (a, b) = (entries[left].relations, entries[right].relations);
        let keys = self
            .keys(a, b)
            .into_iter()
            .map(|(left, right)| Condition { left: left.clone(), right: right.clone() })
            .collect();
        let is_rest = |other: &&Other| {
            let is_key = other.sides.as_ref().is_some_and(|[(_, left), (_, right)]| {
                (left & !a == 0 && right & !b == 0) || (left & !b == 0 && right & !a == 0)
            });
            let both = a | b;
            !is_key && other.relations & !both == 0 && other.relations & !a != 0 && other.relations & !b != 0
        };
        let rest = self.others.iter().filter(is_rest).map(|other| other.condition.clone()).collect();
        let (left, right) = (self.build(entries, left, parts), self.build(entries, right, parts));
        method::join(left, right, crate::plan::JoinKind::Inner, keys, rest, entry.rows, sides)
    }
}

/// What a condition says a column is equal to, if that is the same for every row.
fn constant_on(condition: &Expr, column: usize) -> Option<&Expr> {
    let Expr::Call { builtin, args, .. } = condition else { return None };
    let [a, b] = &args[..] else { return None };
    if comparison(builtin) != Some("=") {
        return None;
    }
    let (of, value) = match (column_of(a), column_of(b)) {
        (Some(of), None) => (of, b),
        (None, Some(of)) => (of, a),
        _ => return None,
    };
    let is_constant = value.is_row_independent() && !value.runs_queries();
    (of == column && is_constant && same_key_family(&value.ty(), &bare_type(a, b, of))).then_some(value)
}

/// The own type of the column that one of two sides is.
fn bare_type(a: &Expr, b: &Expr, column: usize) -> types::SqlType {
    let side = if column_of(a) == Some(column) { a } else { b };
    bare_column(side.clone()).ty()
}
