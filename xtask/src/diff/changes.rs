//! Random INSERT, UPDATE and DELETE, alone, in WITH, and in transactions with savepoints.
//!
//! A row is changed at most once by a statement: UPDATE … FROM and DELETE … USING join by the other table's key.

use super::expression::{Allowed, Context, Generator, Scope, Visible};
use super::schema::{Column, Table};
use super::tree::{Piece, Sort, Tree, list, text, tied};
use super::types::Type;

impl Generator<'_> {
    /// Statements of one transaction, and after them the tables as they are then.
    pub fn transaction(&mut self) -> Vec<Tree> {
        let mut statements = vec![self.change()];
        if self.chance(0.35) {
            statements.push(Tree::leaf(Sort::Statement, "savepoint s"));
            statements.push(self.change());
            if self.chance(0.3) {
                statements.push(self.top_query(2));
            }
            statements.push(Tree::leaf(Sort::Statement, self.pick(&["rollback to s", "rollback to s", "release s"])));
            if self.chance(0.5) {
                statements.push(self.change());
            }
        }
        let tables = self.schema.tables.iter().filter(|table| !table.is_view);
        statements.extend(tables.map(|table| Tree::leaf(Sort::Statement, format!("select * from {} order by id", table.name))));
        statements
    }

    fn change(&mut self) -> Tree {
        let tables: Vec<&Table> = self.schema.tables.iter().filter(|table| !table.is_view).collect();
        let table = self.pick(&tables).clone();
        match self.below(20) {
            0..=7 => self.insert(&table),
            8..=12 => self.update(&table),
            13..=16 => self.delete(&table),
            17 | 18 => self.change_in_with(&table),
            _ => Tree::leaf(Sort::Statement, format!("truncate {} cascade", table.name)),
        }
    }

    fn scope(table: &Table, alias: &str) -> Scope {
        let columns = table.columns.iter().map(|column| Visible { written: format!("{alias}.{}", column.name), of: column.of });
        Scope { columns: columns.collect(), unique: vec![format!("{alias}.id")], is_plain: true }
    }

    fn insert(&mut self, table: &Table) -> Tree {
        let tie = self.tie();
        let mut columns: Vec<&Column> = table.columns.iter().filter(|column| column.is_written).collect();
        while columns.len() > 2 && self.chance(0.4) {
            let position = 1 + self.below(columns.len() - 1);
            columns.remove(position);
        }
        let names = columns.iter().map(|column| Tree::leaf(Sort::Clause, column.name.clone())).collect();
        let mut pieces = vec![text(format!("insert into {} as d (", table.name)), tied(names, ", ", 1, tie), text(") ")];
        let nothing = Scope::default();
        let none = Context { rows: &nothing, groups: None, outer: &[], allowed: Allowed { subqueries: true, ..Allowed::default() } };
        let is_select = self.chance(0.3);
        if is_select {
            let types: Vec<Type> = columns.iter().map(|column| column.of).collect();
            let query = self.select(&[], Some(&types), 2, true, tie);
            pieces.push(Piece::Tree(query.tree));
        } else {
            let rows = (0..=self.below(3)).map(|_| {
                let values = columns.iter().map(|column| match column.name.as_str() {
                    "id" if self.chance(0.8) => Tree::leaf(Sort::Clause, self.pick(&["0", "1", "3", "100", "101", "102", "103", "104"])),
                    _ if self.chance(0.06) => Tree::leaf(Sort::Clause, "default"),
                    _ if self.chance(0.5) => Tree::leaf(Sort::Expression(column.of), column.of.value(&mut self.rng)),
                    _ => self.expression(column.of, &none, 2),
                });
                Tree::clause("", vec![text("("), tied(values.collect(), ", ", 1, tie), text(")")])
            });
            pieces.extend([text("values "), list(rows.collect(), ", ", 1)]);
        }
        // Which of two rows of a query comes first, and stays, is not promised.
        if !is_select && self.chance(0.5) {
            let conflict = self.on_conflict(table);
            pieces.push(Piece::Optional(conflict));
        }
        let scope = Self::scope(table, "d");
        let returning = self.returning(&scope);
        pieces.extend(returning);
        Tree::new(Sort::Statement, "insert", pieces)
    }

    fn on_conflict(&mut self, table: &Table) -> Tree {
        if self.chance(0.35) {
            return Tree::leaf(Sort::Clause, self.pick(&[" on conflict do nothing", " on conflict (id) do nothing"]));
        }
        let mut scope = Self::scope(table, "d");
        scope.columns.extend(Self::scope(table, "excluded").columns);
        let context = Context { rows: &scope, groups: None, outer: &[], allowed: Allowed { subqueries: true, ..Allowed::default() } };
        let mut pieces = vec![text(" on conflict (id) do update set "), self.assignments(table, &context)];
        if self.chance(0.3) {
            let condition = self.expression(Type::Bool, &context, 2);
            pieces.push(Piece::Optional(Tree::clause("where", vec![text(" where "), Piece::Tree(condition)])));
        }
        Tree::clause("on conflict do update", pieces)
    }

    fn assignments(&mut self, table: &Table, context: &Context<'_>) -> Piece {
        let mut columns: Vec<&Column> = table.columns[1..].iter().filter(|column| column.is_written && column.name != "ref").collect();
        let mut sets = Vec::new();
        while !columns.is_empty() && (sets.is_empty() || self.chance(0.4)) {
            let position = self.below(columns.len());
            let column = columns.remove(position);
            let value = self.expression(column.of, context, 2);
            sets.push(match columns.pop() {
                Some(second) if self.chance(0.15) => {
                    let other = self.expression(second.of, context, 1);
                    let pieces = vec![
                        text(format!("({}, {}) = row(", column.name, second.name)),
                        Piece::Tree(value),
                        text(", "),
                        Piece::Tree(other),
                        text(")"),
                    ];
                    Tree::clause("", pieces)
                }
                second => {
                    columns.extend(second);
                    Tree::clause("", vec![text(format!("{} = ", column.name)), Piece::Tree(value)])
                }
            });
        }
        if sets.is_empty() {
            sets.push(Tree::leaf(Sort::Clause, "id = d.id"));
        }
        list(sets, ", ", 1)
    }

    fn returning(&mut self, scope: &Scope) -> Option<Piece> {
        if self.chance(0.5) {
            return None;
        }
        if self.chance(0.3) {
            return Some(Piece::Optional(Tree::leaf(Sort::Clause, " returning *")));
        }
        let context = Context { rows: scope, groups: None, outer: &[], allowed: Allowed { subqueries: true, ..Allowed::default() } };
        let items = (0..=self.below(2)).map(|_| {
            let of = self.any_type(&context);
            self.expression(of, &context, 2)
        });
        let items = items.collect();
        Some(Piece::Optional(Tree::clause("returning", vec![text(" returning "), list(items, ", ", 1)])))
    }

    /// Another table whose row is found by its key, and the condition that finds it.
    fn other_table(&mut self, scope: &mut Scope) -> Option<(String, String)> {
        if !self.chance(0.3) {
            return None;
        }
        let tables: Vec<&Table> = self.schema.tables.iter().filter(|table| !table.is_view).collect();
        let other = self.pick(&tables);
        let keys: Vec<String> =
            scope.columns.iter().filter(|column| column.of == Type::Int4).map(|column| column.written.clone()).collect();
        let position = self.below(keys.len());
        scope.columns.extend(Self::scope(other, "o").columns);
        Some((format!("{} o", other.name), format!("o.id = {}", keys[position])))
    }

    fn where_clause(&mut self, scope: &Scope, joined: Option<&str>) -> Option<Piece> {
        let context = Context { rows: scope, groups: None, outer: &[], allowed: Allowed { subqueries: true, ..Allowed::default() } };
        let condition = self.expression(Type::Bool, &context, 3);
        match joined {
            Some(joined) => {
                let more = Tree::clause("", vec![text(" and "), Piece::Tree(condition)]);
                Some(Piece::Tree(Tree::clause("where", vec![text(format!(" where {joined}")), Piece::Optional(more)])))
            }
            None if self.chance(0.15) => None,
            None => Some(Piece::Optional(Tree::clause("where", vec![text(" where "), Piece::Tree(condition)]))),
        }
    }

    fn update(&mut self, table: &Table) -> Tree {
        let mut scope = Self::scope(table, "d");
        let other = self.other_table(&mut scope);
        let context = Context { rows: &scope, groups: None, outer: &[], allowed: Allowed { subqueries: true, ..Allowed::default() } };
        let mut pieces = vec![text(format!("update {} d set ", table.name)), self.assignments(table, &context)];
        if let Some((from, _)) = &other {
            pieces.push(text(format!(" from {from}")));
        }
        pieces.extend(self.where_clause(&scope, other.as_ref().map(|(_, joined)| joined.as_str())));
        pieces.extend(self.returning(&scope));
        Tree::new(Sort::Statement, "update", pieces)
    }

    fn delete(&mut self, table: &Table) -> Tree {
        let mut scope = Self::scope(table, "d");
        let other = self.other_table(&mut scope);
        let mut pieces = vec![text(format!("delete from {} d", table.name))];
        if let Some((using, _)) = &other {
            pieces.push(text(format!(" using {using}")));
        }
        pieces.extend(self.where_clause(&scope, other.as_ref().map(|(_, joined)| joined.as_str())));
        pieces.extend(self.returning(&scope));
        Tree::new(Sort::Statement, "delete", pieces)
    }

    /// A change in a WITH query, read by the query after it, which still sees the tables as they were.
    fn change_in_with(&mut self, table: &Table) -> Tree {
        let name = self.alias("w");
        let mut change = match self.below(3) {
            0 => self.insert(table),
            1 => self.update(table),
            _ => self.delete(table),
        };
        change.pieces.retain(|piece| !matches!(piece, Piece::Optional(tree) if tree.print().starts_with(" returning")));
        change.pieces.push(text(" returning d.*"));
        let columns: Vec<(String, Type)> = table.columns.iter().map(|column| (column.name.clone(), column.of)).collect();
        self.with.push((name.clone(), columns));
        let body = self.top_query(2);
        self.with.pop();
        let pieces = vec![text(format!("with {name} as (")), Piece::Tree(change), text(") "), Piece::Tree(body)];
        Tree::new(Sort::Statement, "change in with", pieces)
    }
}
