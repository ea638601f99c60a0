//! Random expressions of a wanted type over the columns in scope.

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::rules::{self, Any, Part, Rule, Slot};
use super::schema::Schema;
use super::tree::{Piece, Sort, Tree, text};
use super::types::{self, Type};

/// A column as it is written where it is in scope.
#[derive(Clone, Debug)]
pub struct Visible {
    pub written: String,
    pub of: Type,
}

/// What can be referred to.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    pub columns: Vec<Visible>,
    /// Together they differ in every row; none where that is not known.
    pub unique: Vec<String>,
    /// All are columns of tables.
    pub is_plain: bool,
}

/// What an expression may hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowed {
    pub subqueries: bool,
    pub windows: bool,
    pub aggregates: bool,
}

/// The columns at hand: of the query itself, of the groups of its rows, of queries around it.
pub struct Context<'a> {
    /// Where aggregates take their arguments from; for a query without groups, everything.
    pub rows: &'a Scope,
    /// The keys of groups, if rows are grouped.
    pub groups: Option<&'a Scope>,
    pub outer: &'a [&'a Scope],
    pub allowed: Allowed,
}

pub struct Generator<'a> {
    pub rng: StdRng,
    pub schema: &'a Schema,
    pub next_alias: usize,
    pub next_tie: u32,
    /// WITH queries in scope: name and columns.
    pub with: Vec<(String, Vec<(String, Type)>)>,
}

impl<'a> Generator<'a> {
    pub fn new(schema: &'a Schema, seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), schema, next_alias: 0, next_tie: 1000, with: Vec::new() }
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    pub fn below(&mut self, count: usize) -> usize {
        self.rng.random_range(0..count)
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        *from.choose(&mut self.rng).expect("something to pick from")
    }

    pub fn alias(&mut self, prefix: &str) -> String {
        self.next_alias += 1;
        format!("{prefix}{}", self.next_alias)
    }

    pub fn tie(&mut self) -> u32 {
        self.next_tie += 1;
        self.next_tie
    }

    /// A type that an expression may well have: one of a column in scope, more often than not.
    pub fn any_type(&mut self, context: &Context<'_>) -> Type {
        let columns = &context.groups.unwrap_or(context.rows).columns;
        if self.chance(0.7)
            && let Some(column) = columns.choose(&mut self.rng)
        {
            return column.of;
        }
        self.pick(types::ALL)
    }

    pub fn comparable_type(&mut self, context: &Context<'_>) -> Type {
        loop {
            let of = self.any_type(context);
            if of.is_comparable() {
                return of;
            }
        }
    }

    pub fn expression(&mut self, of: Type, context: &Context<'_>, depth: usize) -> Tree {
        let sort = Sort::Expression(of);
        if depth == 0 || self.chance(0.2) {
            return self.column_or_literal(of, context);
        }
        if context.allowed.aggregates && context.groups.is_some() && self.chance(0.3)
            && let Some(aggregate) = self.aggregate(of, context, depth)
        {
            return aggregate;
        }
        if context.allowed.windows && self.chance(0.25)
            && let Some(window) = self.window(of, context, depth)
        {
            return window;
        }
        if context.allowed.subqueries && depth > 1 && self.chance(0.1) {
            return match of {
                Type::Bool if self.chance(0.75) => self.subquery_condition(context, depth),
                _ => self.scalar_subquery(of, context, depth),
            };
        }
        let fitting: Vec<&'static Rule> = rules::SCALARS.iter().filter(|rule| fits(rule, of)).collect();
        let own: Vec<&'static Rule> = fitting.iter().copied().filter(|rule| rule.result == Some(of)).collect();
        let rule = if !own.is_empty() && self.chance(0.75) { self.pick(&own) } else { self.pick(&fitting) };
        let pieces = self.fill(rule, of, context, depth - 1);
        Tree::new(sort, rule.template, pieces)
    }

    pub fn column_or_literal(&mut self, of: Type, context: &Context<'_>) -> Tree {
        let sort = Sort::Expression(of);
        let literal = if self.chance(0.2) { None } else { self.column(of, context) };
        let written = literal.unwrap_or_else(|| of.literal(&mut self.rng));
        Tree::leaf(sort, written)
    }

    fn column(&mut self, of: Type, context: &Context<'_>) -> Option<String> {
        let own = context.groups.unwrap_or(context.rows);
        let scopes: Vec<&Scope> = match context.outer.len() {
            0 => vec![own],
            _ if self.chance(0.7) => vec![own],
            _ => context.outer.to_vec(),
        };
        let fitting: Vec<&Visible> = scopes.iter().flat_map(|scope| &scope.columns).filter(|column| column.of == of).collect();
        fitting.choose(&mut self.rng).map(|column| column.written.clone())
    }

    /// The pieces of a rule with expressions in its slots.
    fn fill(&mut self, rule: &'static Rule, of: Type, context: &Context<'_>, depth: usize) -> Vec<Piece> {
        let same = match (rule.result, rule.any) {
            (None, _) => of,
            (Some(_), Any::Comparable) => self.comparable_type(context),
            (Some(_), _) => self.any_type(context),
        };
        let type_of = |slot: Slot| match slot {
            Slot::Of(of) => of,
            Slot::Same => same,
        };
        let mut pieces = Vec::with_capacity(rule.parts.len());
        for part in &rule.parts {
            pieces.push(match part {
                Part::Text(own) => text(*own),
                Part::Expression(slot) => Piece::Tree(self.expression(type_of(*slot), context, depth)),
                Part::Column(slot) => Piece::Tree(self.plain_column(type_of(*slot), context)),
                Part::Choice(choices) => text(self.pick(choices)),
                Part::Again(position) => Piece::Again(*position),
            });
        }
        pieces
    }

    /// Nothing stands for it, lest sums over floats become inexact.
    fn plain_column(&mut self, of: Type, context: &Context<'_>) -> Tree {
        let fitting: Vec<&Visible> = context.rows.columns.iter().filter(|column| column.of == of && !column.written.contains('(')).collect();
        match fitting.choose(&mut self.rng) {
            // Those of tables alone: what a subquery computes may be inexact.
            Some(column) if context.rows.is_plain => Tree::leaf(Sort::Clause, column.written.clone()),
            _ => Tree::leaf(Sort::Clause, format!("{}::{}", self.below(9), of.name())),
        }
    }

    fn aggregate(&mut self, of: Type, context: &Context<'_>, depth: usize) -> Option<Tree> {
        let ordered = self.chance(0.3);
        let rules = if ordered { &rules::ORDERED_AGGREGATES } else { &rules::AGGREGATES };
        let fitting: Vec<&'static Rule> = rules.iter().filter(|rule| fits(rule, of)).collect();
        let rule = *fitting.choose(&mut self.rng)?;
        let inner = Context { rows: context.rows, groups: None, outer: &[], allowed: Allowed::default() };
        let mut pieces = self.fill(rule, of, &inner, (depth - 1).min(1));
        if self.chance(0.25) {
            let condition = self.expression(Type::Bool, &inner, 1);
            let filter = Tree::clause("filter", vec![text(" filter (where "), Piece::Tree(condition), text(")")]);
            pieces.push(Piece::Optional(filter));
        }
        Some(Tree::new(Sort::Expression(of), rule.template, pieces))
    }

    /// Rows of a window are in a total order where the answer depends on it: that of the unique columns, which stay.
    fn window(&mut self, of: Type, context: &Context<'_>, depth: usize) -> Option<Tree> {
        let own = context.groups.unwrap_or(context.rows);
        let has_total = !own.unique.is_empty();
        let kind = self.below(if has_total { 3 } else { 2 });
        let rules = match kind {
            0 => &rules::PEER_WINDOWS,
            1 => &rules::AGGREGATES,
            _ => &rules::ROW_WINDOWS,
        };
        let fitting: Vec<&'static Rule> =
            rules.iter().filter(|rule| fits(rule, of) && !rule.template.contains("distinct")).collect();
        let rule = *fitting.choose(&mut self.rng)?;
        let inner = Context {
            rows: context.rows,
            groups: context.groups,
            outer: context.outer,
            allowed: Allowed { windows: false, subqueries: false, aggregates: context.groups.is_some() },
        };
        // The arguments of an aggregate that runs over groups are keys of groups.
        let arguments = match (kind, context.groups) {
            (1, Some(groups)) => Context { rows: groups, groups: None, outer: &[], allowed: Allowed::default() },
            _ => Context { rows: inner.rows, groups: inner.groups, outer: inner.outer, allowed: inner.allowed },
        };
        let mut pieces = self.fill(rule, of, &arguments, (depth - 1).min(1));
        if kind == 1 && self.chance(0.15) {
            let condition = self.expression(Type::Bool, &arguments, 1);
            pieces.push(Piece::Optional(Tree::clause("filter", vec![text(" filter (where "), Piece::Tree(condition), text(")")])));
        }
        pieces.push(text(" over ("));
        if self.chance(0.5) {
            let key = self.comparable_type(&inner);
            let key = self.expression(key, &inner, 1);
            pieces.push(Piece::Optional(Tree::clause("partition by", vec![text("partition by "), Piece::Tree(key), text(" ")])));
        }
        let is_total = kind == 2 || has_total && self.chance(0.5);
        let unique = if is_total { own.unique.join(", ") } else { String::new() };
        let direction = self.pick(&["", " desc", " nulls first", " desc nulls last"]);
        let key = match self.pick(&[0, 1, 2]) {
            0 if !is_total => None,
            0 => None,
            1 => Some(self.expression(Type::Int4, &inner, 1)),
            _ => {
                let of = self.comparable_type(&inner);
                Some(self.expression(of, &inner, 1))
            }
        };
        let is_offset_of_integers = matches!(&key, Some(key) if key.sort == Sort::Expression(Type::Int4)) && !is_total;
        match key {
            Some(key) if is_total => {
                let key = Tree::clause("", vec![Piece::Tree(key), text(format!("{direction}, "))]);
                pieces.extend([text("order by "), Piece::Optional(key), text(unique)]);
            }
            Some(key) => {
                pieces.push(Piece::Optional(Tree::clause("order by", vec![text("order by "), Piece::Tree(key), text(direction)])));
            }
            None if is_total => pieces.push(text(format!("order by {unique}"))),
            None => {}
        }
        if kind != 0 && self.chance(0.5) {
            let bounds = if is_offset_of_integers && self.chance(0.5) {
                self.pick(&["range between 2 preceding and 1 following", "range between unbounded preceding and 3 preceding", "range 1 preceding"])
            } else if is_total {
                self.pick(&[
                    "rows between 1 preceding and 1 following",
                    "rows between unbounded preceding and 1 preceding",
                    "rows between current row and unbounded following",
                    "rows 2 preceding",
                    "rows between 2 following and 3 following",
                    "groups between 1 preceding and current row",
                    "groups between unbounded preceding and 1 following exclude current row",
                    "rows between 1 preceding and 2 following exclude current row",
                    "rows between unbounded preceding and unbounded following exclude ties",
                    "range between current row and unbounded following exclude group",
                ])
            } else {
                self.pick(&["range between unbounded preceding and unbounded following", "range between current row and unbounded following"])
            };
            pieces.push(Piece::Optional(Tree::leaf(Sort::Clause, format!(" {bounds}"))));
        }
        pieces.push(text(")"));
        // A clause in front of a label tells windows from plain aggregates in the summary.
        let inner = Tree::new(Sort::Clause, rule.template, pieces);
        Some(Tree::new(Sort::Expression(of), "over", vec![Piece::Tree(inner)]))
    }
}

fn fits(rule: &Rule, of: Type) -> bool {
    match (rule.result, rule.any) {
        (Some(result), _) => result == of,
        (None, Any::Comparable) => of.is_comparable(),
        (None, _) => true,
    }
}
