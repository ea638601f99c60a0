//! Random tables, views and their rows. Each table has `id int4 primary key`, so that an order over its rows can be total.

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::expression::Generator;
use super::tree::{Piece, Sort, Tree, list, text, tied};
use super::types::{self, Type};

#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub of: Type,
    /// It may be given a value.
    pub is_written: bool,
}

#[derive(Clone, Debug)]
pub struct Table {
    pub name: String,
    /// The first is `id`, the key, unless it is a view.
    pub columns: Vec<Column>,
    pub is_view: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Schema {
    pub tables: Vec<Table>,
    /// The statements that make it, in order.
    pub setup: Vec<Tree>,
    /// Its tables have rows enough that indexes are worth a use.
    pub is_large: bool,
}

impl Schema {
    /// The schema of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut schema = Self::default();
        schema.is_large = rng.random_bool(0.3);
        let count = rng.random_range(2..=4);
        for number in 0..count {
            schema.add_table(number, &mut rng);
        }
        for number in 0..count {
            schema.add_indexes(number, &mut rng);
        }
        for number in 0..rng.random_range(0..=2) {
            schema.add_view(number, &mut rng);
        }
        schema
    }

    fn add_table(&mut self, number: usize, rng: &mut StdRng) {
        let name = format!("t{number}");
        let tie = number as u32 + 1;
        let mut columns = vec![Column { name: "id".into(), of: Type::Int4, is_written: true }];
        let mut definitions = vec![Tree::leaf(Sort::Clause, "id int4 primary key")];
        for position in 1..=rng.random_range(4..=8) {
            let of = *types::ALL.choose(rng).expect("not empty");
            let name = format!("c{position}");
            let generated = (position > 2 && rng.random_bool(0.06)).then(|| generated(&columns)).flatten();
            let mut pieces = vec![text(format!("{name} {}", of.declared(rng)))];
            match generated {
                Some((of, expression)) => {
                    pieces = vec![text(format!("{name} {} generated always as ({expression}) stored", of.name()))];
                    columns.push(Column { name, of, is_written: false });
                }
                None => {
                    if rng.random_bool(0.15) {
                        pieces.push(Piece::Optional(Tree::leaf(Sort::Clause, format!(" default {}", of.value(rng)))));
                    }
                    if of == Type::Int4 && rng.random_bool(0.2) {
                        pieces.push(Piece::Optional(Tree::leaf(Sort::Clause, format!(" check ({name} > -1000 or {name} < -100000)"))));
                    }
                    columns.push(Column { name, of, is_written: true });
                }
            }
            definitions.push(Tree::clause("", pieces));
        }
        if number > 0 && rng.random_bool(0.6) {
            let action = ["", " on delete cascade", " on delete set null", " on update cascade on delete cascade"].choose(rng).expect("not empty");
            let other = rng.random_range(0..number);
            definitions.push(Tree::leaf(Sort::Clause, format!("ref int4 references t{other}{action}")));
            columns.push(Column { name: "ref".into(), of: Type::Int4, is_written: true });
        }
        let written: Vec<&Column> = columns.iter().filter(|column| column.is_written).collect();
        let rows = match rng.random_range(0..10) {
            0 => 0,
            1 => 40,
            _ => rng.random_range(1..=14),
        };
        let rows: Vec<Tree> = (0..rows)
            .map(|row| {
                let values = written.iter().map(|column| {
                    let value = match column.name.as_str() {
                        "id" => row.to_string(),
                        // Not every table has so many rows: the referenced one's first row exists unless it is empty.
                        "ref" => if rng.random_bool(0.3) { "null".into() } else { format!("(select id from t{} order by id limit 1 offset {})", self.referenced(&definitions), rng.random_range(0..4)) },
                        _ if rng.random_bool(0.18) => "null".into(),
                        _ => column.of.value(rng),
                    };
                    Tree::leaf(Sort::Clause, value)
                });
                Tree::clause("", vec![text("("), tied(values.collect(), ", ", 1, tie), text(")")])
            })
            .collect();
        let names = written.iter().map(|column| Tree::leaf(Sort::Clause, column.name.clone())).collect();
        let create = vec![text(format!("create table {name} (")), tied(definitions, ", ", 1, tie), text(")")];
        let mut insert = vec![text(format!("insert into {name} ("))];
        // Generated columns stand in the table's list alone, and so the lists are not of one length.
        let has_generated = written.len() < columns.len();
        insert.push(tied(names, ", ", 1, tie));
        insert.extend([text(") values "), list(rows.clone(), ", ", 1)]);
        let create = if has_generated { untie(create) } else { create };
        let insert = if has_generated { untie(insert) } else { insert };
        self.setup.push(Tree::new(Sort::Statement, "create table", create));
        if !rows.is_empty() {
            self.setup.push(Tree::new(Sort::Statement, "insert rows", insert));
        }
        if self.is_large {
            self.setup.push(more_rows(&name, &columns));
        }
        self.tables.push(Table { name, columns, is_view: false });
    }

    /// The number of the table that a column `ref` among these definitions refers to.
    fn referenced(&self, definitions: &[Tree]) -> usize {
        let last = definitions.last().map(Tree::print).unwrap_or_default();
        let after = last.split_once("references t").map_or("0", |(_, after)| after);
        after.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    fn add_indexes(&mut self, number: usize, rng: &mut StdRng) {
        let table = &self.tables[number];
        // An index over jsonb is refused: its order has no encoding as a key.
        let is_indexed = |column: &&Column| column.of.is_comparable() && column.of != Type::Jsonb;
        let indexed: Vec<&Column> = table.columns[1..].iter().filter(is_indexed).collect();
        for index in 0..rng.random_range(0..=3) {
            let Some(column) = indexed.choose(rng) else { break };
            let name = &column.name;
            let mut keys = vec![Tree::leaf(Sort::Clause, match (rng.random_range(0..6), column.of) {
                (0, Type::Text) => format!("lower({name})"),
                (0, Type::Int4) => format!("({name} + 1)"),
                (1, _) => format!("{name} desc"),
                (2, _) => format!("{name} nulls first"),
                _ => name.clone(),
            })];
            if rng.random_bool(0.4) {
                let second = indexed.choose(rng).expect("not empty");
                if second.name != *name {
                    keys.push(Tree::leaf(Sort::Clause, second.name.clone()));
                }
            }
            let mut pieces = vec![text(format!("create index i{number}_{index} on {} (", table.name)), list(keys, ", ", 1), text(")")];
            if rng.random_bool(0.15) {
                pieces.push(Piece::Optional(Tree::leaf(Sort::Clause, format!(" where {name} is not null"))));
            }
            self.setup.push(Tree::new(Sort::Statement, "create index", pieces));
        }
    }

    fn add_view(&mut self, number: usize, rng: &mut StdRng) {
        let seed = rng.random();
        let mut generator = Generator::new(self, seed);
        let query = generator.query(&[], None, 2);
        let name = format!("v{number}");
        let columns: Vec<Column> =
            query.columns.iter().map(|(name, of)| Column { name: name.clone(), of: *of, is_written: false }).collect();
        self.setup.push(Tree::new(Sort::Statement, "create view", vec![text(format!("create view {name} as ")), Piece::Tree(query.tree)]));
        self.tables.push(Table { name, columns, is_view: true });
    }
}

/// Rows in numbers, whose values repeat in periods that have no common divisor.
fn more_rows(name: &str, columns: &[Column]) -> Tree {
    let written: Vec<&Column> = columns.iter().filter(|column| column.is_written && column.name != "ref").collect();
    let names: Vec<&str> = written.iter().map(|column| column.name.as_str()).collect();
    let values = written.iter().enumerate().map(|(position, column)| match column.name.as_str() {
        "id" => "1000 + g".to_owned(),
        _ => column.of.of_number(&format!("(g * {} % {})", [7, 11, 13, 17][position % 4], [10, 23, 53, 97][position / 2 % 4])),
    });
    let values: Vec<String> = values.collect();
    let select = format!("insert into {name} ({}) select {} from generate_series(1, {LARGE_ROWS}) g", names.join(", "), values.join(", "));
    Tree::leaf(Sort::Statement, select)
}

const LARGE_ROWS: usize = 200;

/// An expression over one of the columns, and its type.
fn generated(columns: &[Column]) -> Option<(Type, String)> {
    let column = columns.last().filter(|column| column.is_written)?;
    let name = &column.name;
    match column.of {
        Type::Int4 => Some((Type::Int8, format!("{name}::int8 * 2"))),
        Type::Text => Some((Type::Text, format!("upper({name})"))),
        Type::Numeric => Some((Type::Numeric, format!("round({name}, 1)"))),
        _ => None,
    }
}

fn untie(mut pieces: Vec<Piece>) -> Vec<Piece> {
    let untie_list = |list: &mut super::tree::List| {
        if list.tie != 0 {
            list.tie = 0;
            list.least = list.items.len();
        }
    };
    for piece in &mut pieces {
        if let Piece::List(list) = piece {
            untie_list(list);
            for item in &mut list.items {
                item.for_each_list(&mut |list| untie_list(list));
            }
        }
    }
    pieces
}
