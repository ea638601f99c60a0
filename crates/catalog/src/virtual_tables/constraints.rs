//! `pg_index`, `pg_constraint`, and what follows from them.

use ::types::{Direction, NullsOrder, SqlType};
use keys::ColumnId;

use super::relations::named_indexes;
use super::row::{Rows, Vector, row};
use super::scope::{Key, Scope, Source};
use super::types::{index_class, type_row};
use crate::definition::EXPRESSIONS_APART;
use crate::descriptor::{ColumnDefault, Domain, Index, ReferentialAction, Table, Type};
use crate::index_details::IndexRule;

pub(super) const TABLES: &[Source] = &[
    Source::of("pg_index", pg_index, &[("indexrelid", Key::Class), ("indrelid", Key::Class)]),
    Source::of(
        "pg_constraint",
        pg_constraint,
        &[
            ("oid", Key::Part),
            ("conname", Key::PartName),
            ("connamespace", Key::Schema),
            ("conrelid", Key::Class),
            ("contypid", Key::Type),
            ("conindid", Key::IndexOfKeys),
            ("confrelid", Key::References),
        ],
    ),
];

fn column_type(table: &Table, id: ColumnId) -> SqlType {
    let position = table.column_position(id).expect("an index is dropped with the last of its columns");
    table.columns[position].ty
}

/// Key columns, then included ones.
pub(super) fn index_columns(index: &Index) -> impl Iterator<Item = ColumnId> + '_ {
    let keys = index.declared_order().into_iter().map(|place| index.columns[place].column);
    keys.chain(index.included.iter().copied())
}

/// The expression whose values a hidden column holds for an index.
fn computed(table: &Table, id: ColumnId) -> Option<&str> {
    let column = &table.columns[table.column_position(id)?];
    match &column.default {
        Some(ColumnDefault::Stored(text)) if column.hidden => Some(text),
        _ => None,
    }
}

/// An expression has the number 0, and stands in `indexprs`.
fn key_number(table: &Table, id: ColumnId) -> u32 {
    if computed(table, id).is_some() { 0 } else { id.get() }
}

pub(super) fn is_primary(table: &Table, index: &Index) -> bool {
    table.is_primary_key(index)
}

fn pg_index(view: &Scope<'_>, rows: &mut Rows) {
    for table in view.tables() {
        for index in named_indexes(table) {
            let keys: Vec<usize> = index.declared_order();
            let types = keys.iter().map(|place| column_type(table, index.columns[*place].column));
            let classes = keys.iter().map(|place| index_class(index, *place, column_type(table, index.columns[*place].column)));
            let options = keys.iter().map(|place| &index.columns[*place]).map(|key| {
                i32::from(key.direction == Direction::Desc) | i32::from(key.nulls == NullsOrder::First) << 1
            });
            let exprs: Vec<&str> = keys.iter().filter_map(|place| computed(table, index.columns[*place].column)).collect();
            let exprs = (!exprs.is_empty()).then(|| exprs.join(EXPRESSIONS_APART));
            row!(rows, {
                indexrelid: index.oid,
                indrelid: table.id,
                indnatts: index_columns(index).count(),
                indnkeyatts: index.columns.len(),
                indisunique: index.is_declared_unique(),
                indnullsnotdistinct: index.nulls_not_distinct,
                indisprimary: is_primary(table, index),
                indisexclusion: index.is_exclusion(),
                indimmediate: !index.details.deferrable,
                indisclustered: false,
                indisvalid: !table.is_partitioned() || view.catalog.is_index_valid(table, index),
                indcheckxmin: false,
                indisready: true,
                indislive: true,
                indisreplident: false,
                indkey: Vector(index_columns(index).map(|id| key_number(table, id)).collect()),
                indcollation: Vector(types.map(|ty| type_row(ty).collation).collect()),
                indclass: Vector(classes.collect()),
                indoption: Vector(options.collect()),
                indexprs: exprs.as_ref(),
                indpred: index.predicate.as_ref(),
            });
        }
    }
}

/// What a constraint has of the table that its table is a partition of.
#[derive(Clone, Copy, Default)]
struct Inherited {
    /// The constraint there; checks do not name it.
    parent: Option<u32>,
    is_inherited: bool,
    /// A foreign key that partitions have as well.
    is_of_partitioned: bool,
}

/// A row of `pg_constraint`, as far as rows differ.
struct Constraint<'a> {
    oid: u32,
    name: &'a str,
    /// `c`, `f`, `p`, `t` or `u`.
    kind: char,
    index: u32,
    deferrable: bool,
    deferred: bool,
    validated: bool,
    columns: Vec<ColumnId>,
    /// Of EXCLUDE: the operators.
    operators: Vec<u32>,
    /// The other table of a foreign key, its columns, ON UPDATE and ON DELETE.
    references: Option<(u32, Vec<ColumnId>, char, char)>,
    expr: Option<&'a String>,
}

impl Constraint<'_> {
    fn push(self, table: &Table, rows: &mut Rows) {
        let parent = table.parent_part(self.oid);
        let is_of_partitioned = self.kind == 'f' && table.is_partitioned();
        let inherited = Inherited { parent: parent.filter(|_| self.kind != 'c'), is_inherited: parent.is_some(), is_of_partitioned };
        self.push_for((table.schema, table.id, 0), inherited, rows);
    }

    /// Of a table or a domain: its schema, and the oid of the one or the other.
    fn push_for(self, (schema, table, domain): (u32, u32, u32), inherited: Inherited, rows: &mut Rows) {
        let referenced = self.references.as_ref();
        row!(rows, {
            oid: self.oid,
            conname: self.name,
            connamespace: schema,
            contype: self.kind,
            condeferrable: self.deferrable,
            condeferred: self.deferred,
            convalidated: self.validated,
            conrelid: table,
            contypid: domain,
            conindid: self.index,
            conparentid: inherited.parent.unwrap_or(0),
            confrelid: referenced.map_or(0, |it| it.0),
            confupdtype: referenced.map_or(' ', |it| it.2),
            confdeltype: referenced.map_or(' ', |it| it.3),
            confmatchtype: if referenced.is_some() { 's' } else { ' ' },
            conislocal: !inherited.is_inherited,
            coninhcount: i32::from(inherited.is_inherited),
            connoinherit: self.kind != 'c' && !inherited.is_inherited && !inherited.is_of_partitioned,
            conkey: (!self.columns.is_empty()).then_some(self.columns),
            confkey: self.references.map(|it| it.1),
            conexclop: (!self.operators.is_empty()).then_some(self.operators),
            conbin: self.expr,
        });
    }
}

/// The operators of EXCLUDE, in the order of declaration.
fn exclude_operators(table: &Table, index: &Index) -> Vec<u32> {
    let Some(IndexRule::Exclude { overlaps, .. }) = index.details.rule else { return Vec::new() };
    let last = index.columns.len().saturating_sub(1);
    let operators = index.declared_order().into_iter().map(|place| {
        let symbol = if overlaps.is_some() && place == last { "&&" } else { "=" };
        let ty = column_type(table, index.columns[place].column);
        let found = builtins::resolve_binary_operator(symbol, Some(ty), Some(ty));
        found.map_or(0, |found| found.chosen.oid)
    });
    operators.collect()
}

fn action_letter(action: ReferentialAction) -> char {
    match action {
        ReferentialAction::NoAction => 'a',
        ReferentialAction::Restrict => 'r',
        ReferentialAction::Cascade => 'c',
        ReferentialAction::SetNull => 'n',
        ReferentialAction::SetDefault => 'd',
    }
}

/// The index of the other table that a foreign key rests on.
pub(super) fn referenced_index<'a>(referenced: &'a Table, columns: &[ColumnId]) -> Option<&'a Index> {
    named_indexes(referenced).find(|index| {
        let keys = || index.columns.iter().map(|key| key.column);
        index.is_declared_unique() && index.columns.len() == columns.len() && keys().all(|key| columns.contains(&key))
    })
}

/// The domains of a database.
pub(super) fn domains<'a>(view: &Scope<'a>) -> impl Iterator<Item = (&'a Type, &'a Domain)> + use<'a> {
    view.types().into_iter().filter_map(|ty| Some((&**ty, ty.domain()?)))
}

fn pg_constraint(view: &Scope<'_>, rows: &mut Rows) {
    for (ty, domain) in domains(view) {
        for check in &domain.checks {
            let row = Constraint {
                oid: check.oid,
                name: &check.name,
                kind: 'c',
                index: 0,
                deferrable: false,
                deferred: false,
                validated: check.validated,
                columns: Vec::new(),
                operators: Vec::new(),
                references: None,
                expr: Some(&check.expr),
            };
            row.push_for((ty.schema, 0, ty.id), Inherited::default(), rows);
        }
    }
    for table in view.tables() {
        for index in &table.indexes {
            let Some(constraint) = &index.constraint else { continue };
            let row = Constraint {
                oid: constraint.oid,
                name: &index.name,
                kind: match () {
                    () if index.is_exclusion() => 'x',
                    () if is_primary(table, index) => 'p',
                    () => 'u',
                },
                index: index.oid,
                deferrable: index.details.deferrable,
                deferred: index.details.initially_deferred,
                validated: true,
                columns: index.declared_order().into_iter().map(|place| index.columns[place].column).collect(),
                operators: exclude_operators(table, index),
                references: None,
                expr: None,
            };
            row.push(table, rows);
        }
        for check in &table.checks {
            let row = Constraint {
                oid: check.oid,
                name: &check.name,
                kind: 'c',
                index: 0,
                deferrable: false,
                deferred: false,
                validated: check.validated,
                columns: check.columns.clone(),
                operators: Vec::new(),
                references: None,
                expr: Some(&check.expr),
            };
            row.push(table, rows);
        }
        for trigger in &table.triggers {
            let Some(constraint) = trigger.constraint else { continue };
            let row = Constraint {
                oid: trigger.oid,
                name: &trigger.name,
                kind: 't',
                index: 0,
                deferrable: constraint.deferrable,
                deferred: constraint.initially_deferred,
                validated: true,
                columns: Vec::new(),
                operators: Vec::new(),
                references: None,
                expr: None,
            };
            row.push(table, rows);
        }
        for key in &table.foreign_keys {
            let referenced = view.catalog.table_by_id(key.referenced_table);
            let index = referenced.and_then(|it| referenced_index(it, &key.referenced_columns));
            let row = Constraint {
                oid: key.oid,
                name: &key.name,
                kind: 'f',
                index: index.map_or(0, |it| it.oid),
                deferrable: key.deferrable,
                deferred: key.initially_deferred,
                validated: key.validated,
                columns: key.columns.clone(),
                operators: Vec::new(),
                references: Some((
                    key.referenced_table,
                    key.referenced_columns.clone(),
                    action_letter(key.on_update),
                    action_letter(key.on_delete),
                )),
                expr: None,
            };
            row.push(table, rows);
        }
    }
}
