//! Random queries: WITH, set operations, VALUES, SELECT with all its clauses, joins of all kinds, subqueries.
//!
//! An answer must not depend on the order in which rows are met. LIMIT therefore comes with an ORDER BY over every column,
//! DISTINCT ON with one over unique columns, and the shrinker takes both away together or not at all.

use rand::seq::IndexedRandom;

use super::expression::{Allowed, Context, Generator, Scope, Visible};
use super::tree::{Piece, Sort, Tree, list, text, tied};
use super::types::{self, Type};

pub struct Query {
    pub tree: Tree,
    pub columns: Vec<(String, Type)>,
    /// It ends with an ORDER BY of its own.
    is_ordered: bool,
}

type Columns = Vec<(String, Type)>;

impl Generator<'_> {
    /// A query; of these types if any are wanted.
    pub fn query(&mut self, outer: &[&Scope], wanted: Option<&[Type]>, depth: usize) -> Query {
        self.query_named(outer, wanted, depth, true)
    }

    /// A query as a statement: its columns may be without names of their own.
    pub fn top_query(&mut self, depth: usize) -> Tree {
        let named = self.chance(0.5);
        self.query_named(&[], None, depth, named).tree
    }

    fn query_named(&mut self, outer: &[&Scope], wanted: Option<&[Type]>, depth: usize, named: bool) -> Query {
        let mut pieces = Vec::new();
        let before = self.with.len();
        if depth > 1 && self.chance(0.15) {
            pieces.push(Piece::Optional(self.with_clause(depth)));
        }
        let tie = self.tie();
        let body = self.body(outer, wanted, depth, named, tie);
        self.with.truncate(before);
        let count = body.columns.len();
        let comparable: Vec<usize> = (1..=count).filter(|position| body.columns[position - 1].1.is_comparable()).collect();
        pieces.push(Piece::Tree(body.tree));
        if !body.is_ordered && !comparable.is_empty() && self.chance(0.4) {
            let keys: Vec<Tree> = comparable
                .iter()
                .map(|position| {
                    let direction = self.pick(&["", "", " desc", " nulls first", " desc nulls last"]);
                    Tree::leaf(Sort::Clause, format!("{position}{direction}"))
                })
                .collect();
            let is_total = comparable.len() == count;
            let limited = is_total && self.chance(0.4);
            let least = if limited { keys.len() } else { 1 };
            let mut order = vec![text(" order by "), list(keys, ", ", least)];
            if limited {
                order.push(text(self.pick(&[" limit 3", " limit 1", " limit 0", " limit 5 offset 1", " offset 2", " fetch first 2 rows only", " limit all"])));
            }
            pieces.push(Piece::Optional(Tree::clause("order by", order)));
        }
        Query { tree: Tree::new(Sort::Query(count), "", pieces), columns: body.columns, is_ordered: true }
    }

    fn with_clause(&mut self, depth: usize) -> Tree {
        if self.chance(0.3) {
            return self.recursive(depth);
        }
        let mut items = Vec::new();
        for _ in 0..=self.below(2) {
            let query = self.query(&[], None, depth - 1);
            let name = self.alias("w");
            let kept = self.pick(&["", "", "materialized ", "not materialized "]);
            let head = Tree::clause("with", vec![text(format!("{name} as {kept}(")), Piece::Tree(query.tree), text(")")]);
            items.push(head);
            self.with.push((name, query.columns));
        }
        Tree::clause("with", vec![text("with "), list(items, ", ", 1), text(" ")])
    }

    fn recursive(&mut self, depth: usize) -> Tree {
        let name = self.alias("r");
        let of = self.pick(&[Type::Int4, Type::Text, Type::Numeric, Type::Int4Array, Type::Jsonb, Type::Date]);
        let nothing = Scope::default();
        let none = Context { rows: &nothing, groups: None, outer: &[], allowed: Allowed::default() };
        let start = self.expression(of, &none, 1);
        let columns = vec![("n".to_owned(), Type::Int4), ("x".to_owned(), of)];
        let scope = scope_of(&name, &columns);
        let context = Context { rows: &scope, groups: None, outer: &[], allowed: Allowed::default() };
        let step = self.expression(of, &context, depth.min(2));
        let cast = of.name();
        let all = self.pick(&["all ", "all ", ""]);
        self.with.push((name.clone(), columns));
        Tree::clause("with recursive", vec![
            text(format!("with recursive {name}(n, x) as (select 1, (")),
            Piece::Tree(start),
            text(format!(")::{cast} union {all}select {name}.n + 1, (")),
            Piece::Tree(step),
            text(format!(")::{cast} from {name} where {name}.n < 4) ")),
        ])
    }

    fn body(&mut self, outer: &[&Scope], wanted: Option<&[Type]>, depth: usize, named: bool, tie: u32) -> Query {
        if depth > 1 && self.chance(0.13) {
            return self.set_operation(outer, wanted, depth, named, tie);
        }
        if self.chance(0.05) {
            return self.values(wanted, named, tie);
        }
        self.select(outer, wanted, depth, named, tie)
    }

    fn wanted(&mut self, wanted: Option<&[Type]>) -> Vec<Type> {
        match wanted {
            Some(types) => types.to_vec(),
            None => (0..=self.below(3)).map(|_| self.pick(types::ALL)).collect(),
        }
    }

    fn set_operation(&mut self, outer: &[&Scope], wanted: Option<&[Type]>, depth: usize, named: bool, tie: u32) -> Query {
        let types = self.wanted(wanted);
        let left = self.body(outer, Some(&types), depth - 1, named, tie);
        let mut others = types.clone();
        if self.chance(0.2) {
            let position = self.below(others.len());
            others[position] = related(others[position]);
        }
        let right = self.body(outer, Some(&others), depth - 1, named, tie);
        let has_equality = types.iter().all(|of| of.is_comparable());
        let operation = if has_equality {
            self.pick(&["union all", "union all", "union", "intersect", "except", "intersect all", "except all"])
        } else {
            "union all"
        };
        let (left_tree, right_tree) = (parenthesised(left.tree), parenthesised(right.tree));
        let pieces = vec![Piece::Tree(left_tree), text(format!(" {operation} ")), Piece::Tree(right_tree)];
        Query { tree: Tree::new(Sort::Query(types.len()), operation, pieces), columns: left.columns, is_ordered: false }
    }

    fn values(&mut self, wanted: Option<&[Type]>, named: bool, tie: u32) -> Query {
        let types = self.wanted(wanted);
        let nothing = Scope::default();
        let context = Context { rows: &nothing, groups: None, outer: &[], allowed: Allowed::default() };
        let rows = (0..=self.below(3)).map(|_| {
            let values = types.iter().map(|of| self.expression(*of, &context, 1)).collect();
            Tree::clause("", vec![text("("), tied(values, ", ", 1, tie), text(")")])
        });
        let rows = rows.collect();
        let names: Columns = types.iter().enumerate().map(|(position, of)| (format!("column{}", position + 1), *of)).collect();
        let pieces = vec![text("values "), list(rows, ", ", 1)];
        let tree = Tree::new(Sort::Query(types.len()), "values", pieces);
        if !named {
            return Query { tree, columns: names, is_ordered: false };
        }
        let alias = self.alias("s");
        let pieces = vec![text("select * from ("), Piece::Tree(tree), text(format!(") {alias}"))];
        Query { tree: Tree::new(Sort::Query(types.len()), "", pieces), columns: names, is_ordered: false }
    }

    pub fn select(&mut self, outer: &[&Scope], wanted: Option<&[Type]>, depth: usize, named: bool, tie: u32) -> Query {
        let (from, scope) = self.from(outer, depth);
        let own_where = Context { rows: &scope, groups: None, outer, allowed: Allowed { subqueries: true, ..Allowed::default() } };
        let mut rest = vec![Piece::Optional(Tree::clause("", vec![text(" from "), Piece::Tree(from)]))];
        if self.chance(0.5) {
            let found = if self.chance(0.4) { self.indexable(&scope) } else { None };
            let condition = found.unwrap_or_else(|| self.expression(Type::Bool, &own_where, depth.min(3)));
            rest.push(Piece::Optional(Tree::clause("where", vec![text(" where "), Piece::Tree(condition)])));
        }
        let is_grouped = self.chance(0.3);
        let mut groups = Scope::default();
        if is_grouped {
            rest.extend(self.group_by(&scope, &own_where, &mut groups));
        }
        let allowed = Allowed { subqueries: depth > 1, windows: self.chance(0.3), aggregates: is_grouped };
        let context = Context { rows: &scope, groups: is_grouped.then_some(&groups), outer, allowed };
        let types = match wanted {
            Some(types) => types.to_vec(),
            None => (0..=self.below(3)).map(|_| self.any_type(&context)).collect(),
        };
        if is_grouped && self.chance(0.3) {
            let allowed = Allowed { windows: false, ..allowed };
            let having = Context { rows: &scope, groups: Some(&groups), outer, allowed };
            let condition = self.expression(Type::Bool, &having, 2);
            rest.push(Piece::Optional(Tree::clause("having", vec![text(" having "), Piece::Tree(condition)])));
        }
        let mut columns = Vec::with_capacity(types.len());
        let items: Vec<Tree> = types
            .iter()
            .map(|of| {
                let expression = self.expression(*of, &context, depth.min(3));
                let mut pieces = vec![Piece::Tree(expression)];
                let name = self.alias("x");
                if named || self.chance(0.1) {
                    pieces.push(text(format!(" as {name}")));
                }
                columns.push((name, *of));
                Tree::clause("", pieces)
            })
            .collect();
        let has_equality = types.iter().all(|of| of.is_comparable());
        let mut pieces = vec![text("select ")];
        let mut is_ordered = false;
        if has_equality && self.chance(0.12) {
            pieces.push(Piece::Optional(Tree::leaf(Sort::Clause, "distinct ")));
        } else if !is_grouped && !scope.unique.is_empty() && self.chance(0.05) {
            // Which row of each stays is said by the order, which therefore stays too.
            let of = self.comparable_type(&context);
            let key = self.column_or_literal(of, &Context { rows: &scope, groups: None, outer: &[], allowed: Allowed::default() }).print();
            if scope.columns.iter().any(|column| column.written == key) {
                pieces.push(text(format!("distinct on ({key}) ")));
                rest.push(text(format!(" order by {key}, {}", scope.unique.join(", "))));
                is_ordered = true;
            }
        }
        if !is_ordered && !is_grouped && !scope.unique.is_empty() && pieces.len() == 1 && self.chance(0.1) {
            // The first rows in the order of a column, which an index may have.
            let column = self.pick(&scope.columns.iter().filter(|column| column.of.is_comparable()).collect::<Vec<_>>());
            let (direction, limit) = (self.pick(&["", " desc", " nulls first"]), self.pick(&["1", "3", "10"]));
            rest.push(text(format!(" order by {}{direction}, {} limit {limit}", column.written, scope.unique.join(", "))));
            is_ordered = true;
        }
        pieces.push(tied(items, ", ", 1, tie));
        pieces.extend(rest);
        Query { tree: Tree::new(Sort::Query(types.len()), "", pieces), columns, is_ordered }
    }

    /// A condition that an index over a column may serve.
    fn indexable(&mut self, scope: &Scope) -> Option<Tree> {
        let columns: Vec<&Visible> = scope.columns.iter().filter(|column| column.of.is_comparable()).collect();
        let sort = Sort::Expression(Type::Bool);
        let one = |generator: &mut Self| {
            let column = *columns.choose(&mut generator.rng)?;
            let other = *columns.choose(&mut generator.rng)?;
            let (name, of) = (&column.written, column.of);
            let mut value = || of.literal(&mut generator.rng);
            let (first, second, third) = (value(), value(), value());
            let comparison = generator.pick(&["=", "=", "<", "<=", ">", ">="]);
            let written = match generator.below(9) {
                0 => format!("{name} in ({first}, {second}, {third})"),
                1 => format!("{name} between {first} and {second}"),
                2 => format!("{name} is null"),
                3 => format!("{name} = any (array[{first}, {second}]::{}[])", of.name()).replace("[][]", "[]"),
                4 if of == Type::Text => format!("{name} like {}", generator.pick(&["'a%'", "'ab_'", "'c%2'", "'z%'"])),
                5 => format!("({name}, {}) {comparison} ({first}, {})", other.written, other.of.literal(&mut generator.rng)),
                6 => format!("({name} {comparison} {first} or {name} = {second})"),
                7 => format!("{name} is not null and {name} {comparison} {first}"),
                _ => format!("{name} {comparison} {first}"),
            };
            Some(Tree::leaf(sort, written))
        };
        let first = one(self)?;
        if self.chance(0.6) {
            return Some(first);
        }
        let second = one(self)?;
        let word = self.pick(&[" and ", " or ", " and not "]);
        Some(Tree::new(sort, "", vec![text("("), Piece::Tree(first), text(")"), text(word), text("("), Piece::Tree(second), text(")")]))
    }

    /// GROUP BY and the scope of its keys; nothing for one group of all rows.
    fn group_by(&mut self, scope: &Scope, context: &Context<'_>, groups: &mut Scope) -> Vec<Piece> {
        let mut keys: Vec<Tree> = Vec::new();
        for _ in 0..self.below(4) {
            let of = self.comparable_type(context);
            let columns: Vec<&Visible> = scope.columns.iter().filter(|column| column.of == of).collect();
            let key = match columns.choose(&mut self.rng) {
                Some(column) if self.chance(0.75) => Tree::leaf(Sort::Expression(of), column.written.clone()),
                _ => {
                    let context = Context { rows: scope, groups: None, outer: &[], allowed: Allowed::default() };
                    self.expression(of, &context, 1)
                }
            };
            let written = key.print();
            // A constant would be the position of a column, or refused.
            if !scope.columns.iter().any(|column| written.contains(&column.written)) {
                continue;
            }
            groups.columns.push(Visible { written, of });
            keys.push(key);
        }
        groups.is_plain = scope.is_plain;
        if keys.is_empty() {
            return Vec::new();
        }
        let written: Vec<String> = groups.columns.iter().map(|column| column.written.clone()).collect();
        let kind = self.below(10);
        if kind < 7 {
            groups.unique = written;
            return vec![Piece::Optional(Tree::clause("group by", vec![text(" group by "), list(keys, ", ", 1)]))];
        }
        for key in &written {
            groups.columns.push(Visible { written: format!("grouping({key})"), of: Type::Int4 });
        }
        let (label, pieces) = match kind {
            7 => ("rollup", vec![text(" group by rollup ("), list(keys, ", ", 1), text(")")]),
            8 => ("cube", vec![text(" group by cube ("), list(keys, ", ", 1), text(")")]),
            _ => {
                let sets = keys.into_iter().map(|key| Tree::clause("", vec![text("("), Piece::Tree(key), text(")")]));
                let mut sets: Vec<Tree> = sets.collect();
                sets.push(Tree::leaf(Sort::Clause, "()"));
                sets.push(Tree::leaf(Sort::Clause, format!("({})", written.join(", "))));
                ("grouping sets", vec![text(" group by grouping sets ("), list(sets, ", ", 1), text(")")])
            }
        };
        vec![Piece::Optional(Tree::clause(label, pieces))]
    }

    fn from(&mut self, outer: &[&Scope], depth: usize) -> (Tree, Scope) {
        let (mut tree, mut scope) = self.from_item(depth);
        let joins = match self.below(10) {
            5.. if self.schema.is_large => 1,
            0..=4 => 0,
            5..=7 => 1,
            _ => 2,
        };
        for _ in 0..joins {
            (tree, scope) = self.join(tree, scope, outer, depth);
        }
        (tree, scope)
    }

    fn join(&mut self, left: Tree, left_scope: Scope, outer: &[&Scope], depth: usize) -> (Tree, Scope) {
        let lateral = depth > 1 && self.chance(0.12);
        let (right, right_scope) = if lateral {
            let mut scopes = outer.to_vec();
            scopes.push(&left_scope);
            let alias = self.alias("l");
            let query = self.query(&scopes, None, depth - 1);
            let scope = scope_of(&alias, &query.columns);
            (Tree::new(Sort::From, "lateral", vec![text("lateral ("), Piece::Tree(query.tree), text(format!(") {alias}"))]), scope)
        } else {
            self.from_item(depth)
        };
        let kind = match self.below(10) {
            8.. if self.schema.is_large => "join",
            0..=2 => "join",
            3..=5 => "left join",
            6 if !lateral => "right join",
            7 if !lateral => "full join",
            8 => "cross join",
            9 => ",",
            _ => "left join",
        };
        let condition = match kind {
            "cross join" | "," if !self.schema.is_large => None,
            "full join" => Some(self.equality(&left_scope, &right_scope).unwrap_or_else(|| Tree::leaf(Sort::Clause, "true"))),
            _ if self.schema.is_large || self.chance(0.65) => self.equality(&left_scope, &right_scope),
            _ => None,
        };
        let is_on_id = !left_scope.unique.is_empty() && !right_scope.unique.is_empty() && left_scope.unique.len() == 1;
        let mut scope = left_scope;
        scope.columns.extend(right_scope.columns);
        scope.is_plain &= right_scope.is_plain;
        if scope.unique.is_empty() || right_scope.unique.is_empty() {
            scope.unique.clear();
        } else {
            scope.unique.extend(right_scope.unique);
        }
        let mut pieces = vec![Piece::Tree(left), text(if kind == "," { ", ".to_owned() } else { format!(" {kind} ") }), Piece::Tree(right)];
        if !matches!(kind, "cross join" | ",") {
            if is_on_id && self.chance(0.12) {
                pieces.push(text(" using (id)"));
            } else {
                pieces.push(text(" on "));
                let context = Context { rows: &scope, groups: None, outer, allowed: Allowed { subqueries: depth > 1, ..Allowed::default() } };
                pieces.push(match condition {
                    Some(condition) if kind == "full join" || self.chance(0.8) => Piece::Tree(condition),
                    Some(condition) => {
                        let more = self.expression(Type::Bool, &context, 1);
                        let both = vec![Piece::Tree(condition), text(" and "), Piece::Tree(more)];
                        Piece::Tree(Tree::new(Sort::Expression(Type::Bool), "", both))
                    }
                    None => Piece::Tree(self.expression(Type::Bool, &context, depth.min(2))),
                });
            }
        }
        let label = if lateral { "lateral" } else { kind };
        (Tree::new(Sort::From, label, pieces), scope)
    }

    /// A column of one side equals a column of the other.
    fn equality(&mut self, left: &Scope, right: &Scope) -> Option<Tree> {
        let pairs: Vec<(&Visible, &Visible)> = left
            .columns
            .iter()
            .flat_map(|column| right.columns.iter().map(move |other| (column, other)))
            .filter(|(column, other)| column.of == other.of && column.of.is_comparable())
            .collect();
        let (column, other) = pairs.choose(&mut self.rng)?;
        Some(Tree::leaf(Sort::Expression(Type::Bool), format!("{} = {}", column.written, other.written)))
    }

    fn from_item(&mut self, depth: usize) -> (Tree, Scope) {
        let kind = self.below(100);
        if kind < 12 && depth > 1 {
            let alias = self.alias("s");
            let query = self.query(&[], None, depth - 1);
            let scope = scope_of(&alias, &query.columns);
            return (Tree::new(Sort::From, "", vec![text("("), Piece::Tree(query.tree), text(format!(") {alias}"))]), scope);
        }
        if kind < 30 && !self.with.is_empty() {
            let (name, columns) = self.with.choose(&mut self.rng).expect("not empty").clone();
            let alias = self.alias("c");
            return (Tree::leaf(Sort::From, format!("{name} {alias}")), scope_of(&alias, &columns));
        }
        if kind < 40 {
            return self.from_function();
        }
        let tables = &self.schema.tables;
        let Some(table) = tables.choose(&mut self.rng) else { return self.from_function() };
        let alias = self.alias("a");
        let columns: Columns = table.columns.iter().map(|column| (column.name.clone(), column.of)).collect();
        let mut scope = scope_of(&alias, &columns);
        if !table.is_view {
            scope.unique = vec![format!("{alias}.id")];
            scope.is_plain = true;
        }
        (Tree::leaf(Sort::From, format!("{} {alias}", table.name)), scope)
    }

    fn from_function(&mut self) -> (Tree, Scope) {
        let alias = self.alias("f");
        let int = |name: &str| (name.to_owned(), Type::Int4);
        let (written, columns) = match self.below(8) {
            0 | 1 => (format!("generate_series(1, {}) {alias}(g)", 1 + self.below(4)), vec![int("g")]),
            2 => (format!("unnest(array[3, 1, null, 2]) with ordinality {alias}(g, o)"), vec![int("g"), ("o".into(), Type::Int8)]),
            3 => (format!("(values (1, 'a'), (2, null), (3, 'abc')) {alias}(g, y)"), vec![int("g"), ("y".into(), Type::Text)]),
            4 => (format!("jsonb_each('{{\"a\": 1, \"b\": [true]}}') {alias}"), vec![("key".into(), Type::Text), ("value".into(), Type::Jsonb)]),
            5 => (format!("regexp_split_to_table('a,b,,c', ',') {alias}(y)"), vec![("y".into(), Type::Text)]),
            6 => (
                format!("generate_series('2020-01-30'::timestamp, '2020-02-02', '1 day') {alias}(z)"),
                vec![("z".into(), Type::Timestamp)],
            ),
            _ => (
                format!("jsonb_to_recordset('[{{\"p\": 1, \"q\": \"x\"}}, {{\"p\": null}}]') {alias}(p int4, q text)"),
                vec![int("p"), ("q".into(), Type::Text)],
            ),
        };
        (Tree::leaf(Sort::From, written), scope_of(&alias, &columns))
    }

    /// A subquery of one column and at most one row.
    pub fn scalar_subquery(&mut self, of: Type, context: &Context<'_>, depth: usize) -> Tree {
        let own = &plain(context.groups.unwrap_or(context.rows));
        let mut outer = context.outer.to_vec();
        outer.push(own);
        let (from, scope) = self.from_item(depth - 1);
        let inner = Context { rows: &scope, groups: None, outer: &outer, allowed: Allowed::default() };
        let mut pieces = vec![text("(select ")];
        if scope.unique.len() == 1 && self.chance(0.5) {
            let item = self.expression(of, &inner, 1);
            let key = self.expression(Type::Int4, &Context { rows: own, groups: None, outer: context.outer, allowed: Allowed::default() }, 1);
            pieces.extend([Piece::Tree(item), text(" from "), Piece::Tree(from), text(format!(" where {} = ", scope.unique[0])), Piece::Tree(key)]);
        } else {
            let nothing = Scope::default();
            let allowed = Allowed { aggregates: true, ..Allowed::default() };
            let grouped = Context { rows: &scope, groups: Some(&nothing), outer: &[], allowed };
            // Without an aggregate it would have as many rows as the table.
            let item = self.expression(of, &grouped, 2);
            let condition = self.expression(Type::Bool, &inner, 1);
            let condition = Tree::clause("where", vec![text(" where "), Piece::Tree(condition)]);
            pieces.extend([text("case when count(*) >= 0 then "), Piece::Tree(item), text(" end from "), Piece::Tree(from), Piece::Optional(condition)]);
        }
        pieces.push(text(")"));
        Tree::new(Sort::Expression(of), "scalar subquery", pieces)
    }

    pub fn subquery_condition(&mut self, context: &Context<'_>, depth: usize) -> Tree {
        let own = &plain(context.groups.unwrap_or(context.rows));
        let mut outer = context.outer.to_vec();
        outer.push(own);
        let sort = Sort::Expression(Type::Bool);
        let inner = Context { rows: context.rows, groups: context.groups, outer: context.outer, allowed: Allowed::default() };
        let kind = self.below(6);
        if kind < 2 {
            let query = self.query(&outer, None, depth - 1);
            let word = self.pick(&["exists (", "not exists ("]);
            return Tree::new(sort, "exists", vec![text(word), Piece::Tree(query.tree), text(")")]);
        }
        if kind == 5 {
            let (first, second) = (self.comparable_type(&inner), self.comparable_type(&inner));
            let (left, right) = (self.expression(first, &inner, 1), self.expression(second, &inner, 1));
            let query = self.query(&outer, Some(&[first, second]), depth - 1);
            let word = self.pick(&[") in (", ") not in ("]);
            let pieces = vec![text("(("), Piece::Tree(left), text(", "), Piece::Tree(right), text(word), Piece::Tree(query.tree), text("))")];
            return Tree::new(sort, "row in", pieces);
        }
        let of = self.comparable_type(&inner);
        let left = self.expression(of, &inner, 1);
        let query = self.query(&outer, Some(&[of]), depth - 1);
        let word = match kind {
            2 => " in (",
            3 => " not in (",
            _ => self.pick(&[" = any (", " <> all (", " < all (", " >= any ("]),
        };
        Tree::new(sort, "in", vec![text("("), Piece::Tree(left), text(word), Piece::Tree(query.tree), text("))")])
    }
}

fn scope_of(alias: &str, columns: &[(String, Type)]) -> Scope {
    let columns = columns.iter().map(|(name, of)| Visible { written: format!("{alias}.{name}"), of: *of }).collect();
    Scope { columns, unique: Vec::new(), is_plain: false }
}

/// Without GROUPING, which belongs to its own level.
fn plain(scope: &Scope) -> Scope {
    let columns = scope.columns.iter().filter(|column| !column.written.starts_with("grouping(")).cloned().collect();
    Scope { columns, unique: scope.unique.clone(), is_plain: scope.is_plain }
}

fn parenthesised(tree: Tree) -> Tree {
    Tree::new(tree.sort, "", vec![text("("), Piece::Tree(tree), text(")")])
}

/// A type that the other side of a set operation may have instead.
fn related(of: Type) -> Type {
    match of {
        Type::Int2 | Type::Int8 => Type::Int4,
        Type::Int4 => Type::Int8,
        Type::Numeric => Type::Int4,
        Type::Float8 => Type::Numeric,
        Type::Float4 => Type::Float8,
        Type::Varchar | Type::Char => Type::Text,
        Type::Timestamp | Type::Timestamptz => Type::Date,
        of => of,
    }
}
