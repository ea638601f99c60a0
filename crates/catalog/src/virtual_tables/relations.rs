//! Tables, views, sequences and indexes, and their columns: `pg_class`, `pg_attribute` and what hangs on them.
//!
//! A column's attribute number is its id in the descriptor, so that numbers of dropped columns are not used again.

use ::types::{Array, Datum, SqlType, quote_identifier, row_type_oid};

use super::privileges::{acl_of, column_acl_of};
use super::row::{Cell, Rows, Vector, row};
use super::scope::{Key, Scope, Source};
use super::types::{TypeRow, operator_class, type_row};
use super::VirtualTable;
use crate::definition::EXPRESSIONS_APART;
use crate::descriptor::{Column, Composite, ColumnDefault, Commented, FIRST_USER_ID, Index, POSTGRES_ROLE, Table, Type};
use crate::partition::KeyPart;
use crate::snapshot::Relation;
use crate::view::CatalogView;

pub(super) const TABLES: &[Source] = &[
    Source::of("pg_class", pg_class, &[("oid", Key::Class), ("relname", Key::ClassName), ("relnamespace", Key::Schema), ("reltype", Key::Type)])
        .and_fixed(fixed_classes),
    Source::of("pg_attribute", pg_attribute, &[("attrelid", Key::Class)]).and_fixed(fixed_attributes),
    Source::of("pg_attrdef", pg_attrdef, &[("oid", Key::Default), ("adrelid", Key::Class)]),
    Source::of("pg_sequence", pg_sequence, &[("seqrelid", Key::Class)]),
    Source::of("pg_depend", pg_depend, &[("objid", Key::Object), ("refobjid", Key::Dependents)]),
    Source::of("pg_description", pg_description, &[("objoid", Key::Object)]),
    Source::of("pg_rewrite", pg_rewrite, &[("oid", Key::Rule), ("ev_class", Key::Class)]),
    Source::of("pg_inherits", pg_inherits, &[("inhrelid", Key::Class), ("inhparent", Key::Parent)]),
    Source::of("pg_partitioned_table", pg_partitioned_table, &[("partrelid", Key::Class)]),
];

pub(super) const PG_CLASS: u32 = 1259;
pub(super) const PG_NAMESPACE: u32 = 2615;
const PG_REWRITE: u32 = 2618;
const PG_CONSTRAINT: u32 = 2606;
const PG_TRIGGER: u32 = 2620;
const PG_POLICY: u32 = 3256;
const PG_PROC: u32 = 1255;
const PG_TYPE: u32 = 1247;
const PG_ATTRDEF: u32 = 2604;
pub(super) const HEAP: u32 = 2;
pub(super) const BTREE: u32 = 403;

/// A row of `pg_class`, as far as rows differ.
struct ClassRow<'a> {
    oid: u32,
    name: &'a str,
    schema: u32,
    /// The oid of the type of its rows, if they have one.
    row_type: u32,
    owner: u32,
    kind: char,
    /// `t`: temporary.
    persistence: char,
    /// Of an index: its access method.
    method: u32,
    columns: usize,
    checks: usize,
    has_index: bool,
    has_rules: bool,
    has_triggers: bool,
    has_subclass: bool,
    is_partition: bool,
    bound: Option<String>,
    is_populated: bool,
    /// Whether it is enabled, and forced.
    row_security: (bool, bool),
    /// Of views: `name=value`.
    options: Vec<String>,
    /// Estimated; -1 where nobody has counted yet.
    rows: f64,
    bytes: f64,
    acl: Option<Vec<String>>,
}

impl<'a> ClassRow<'a> {
    fn new(oid: u32, name: &'a str, schema: u32, owner: u32, kind: char, columns: usize) -> Self {
        Self {
            oid,
            name,
            schema,
            row_type: if matches!(kind, 'i' | 'I' | 'c') || oid < FIRST_USER_ID { 0 } else { row_type_oid(oid) },
            owner,
            kind,
            persistence: 'p',
            method: BTREE,
            columns,
            checks: 0,
            has_index: false,
            has_rules: matches!(kind, 'v' | 'm'),
            has_triggers: false,
            has_subclass: false,
            is_partition: false,
            bound: None,
            is_populated: true,
            row_security: (false, false),
            options: Vec::new(),
            rows: if matches!(kind, 'r' | 'i' | 'm' | 'p') { -1.0 } else { 0.0 },
            bytes: 0.0,
            acl: None,
        }
    }

    fn push(self, rows: &mut Rows) {
        let stored = matches!(self.kind, 'r' | 'i' | 'S' | 'm');
        let access_method = match self.kind {
            'r' | 'm' => HEAP,
            'i' | 'I' => self.method,
            _ => 0,
        };
        row!(rows, {
            oid: self.oid,
            relname: self.name,
            relnamespace: self.schema,
            reltype: self.row_type,
            reloftype: 0,
            relowner: self.owner,
            relam: access_method,
            relfilenode: if stored { self.oid } else { 0 },
            reltablespace: 0,
            relpages: (self.bytes / 8192.0).ceil() as i64,
            reltuples: self.rows,
            relallvisible: 0,
            reltoastrelid: 0,
            relhasindex: self.has_index,
            relisshared: false,
            relpersistence: self.persistence,
            relkind: self.kind,
            relnatts: self.columns,
            relchecks: self.checks,
            relhasrules: self.has_rules,
            relhastriggers: self.has_triggers,
            relhassubclass: self.has_subclass,
            relrowsecurity: self.row_security.0,
            relforcerowsecurity: self.row_security.1,
            relispopulated: self.is_populated,
            relreplident: if matches!(self.kind, 'r' | 'm' | 'p') { 'd' } else { 'n' },
            relispartition: self.is_partition,
            relrewrite: 0,
            relfrozenxid: 0,
            relminmxid: 0,
            reloptions: option_array(self.options),
            relacl: self.acl,
            relpartbound: self.bound,
        });
    }
}

fn option_array(options: Vec<String>) -> Option<Datum> {
    let options: Vec<Datum> = options.into_iter().map(Datum::text).collect();
    (!options.is_empty()).then(|| Datum::Array(Array::from_elements(options).into()))
}

/// Indexes that have a name: the index over a hidden row id is nobody's business.
pub(super) fn named_indexes(table: &Table) -> impl Iterator<Item = &Index> {
    table.indexes.iter().filter(|index| !index.name.is_empty())
}

/// Whether a table has triggers: those on either side of a foreign key have, as PostgreSQL has triggers on them.
pub(super) fn has_triggers(table: &Table) -> bool {
    !(table.triggers.is_empty() && table.foreign_keys.is_empty() && table.referenced_by.is_empty())
}

fn fixed_classes(rows: &mut Rows) {
    for table in super::all() {
        ClassRow::new(table.oid, table.name, table.schema_id(), POSTGRES_ROLE, table.kind, table.columns.len()).push(rows);
    }
}

fn pg_class(view: &Scope<'_>, rows: &mut Rows) {
    for relation in view.relations() {
        let persistence = if view.catalog.is_temporary(relation.schema()) { 't' } else { 'p' };
        match relation {
            Relation::Table(it) => {
                let columns = it.visible_columns().count();
                let (rows_known, bytes) = match it.is_partitioned() {
                    true => (rows_of_partitions(view, it), 0.0),
                    false => view
                        .statistics(it)
                        .map_or((None, 0.0), |it| (Some(it.rows), it.rows * it.average_row_bytes)),
                };
                let bound = view.catalog.bound_of(it).and_then(|(parent, bound)| Some(parent.partitioned()?.bound_text(bound)));
                let kind = match (&it.materialized, it.is_partitioned()) {
                    (Some(_), _) => 'm',
                    (None, true) => 'p',
                    (None, false) => 'r',
                };
                ClassRow {
                    checks: it.checks.len(),
                    has_index: named_indexes(it).next().is_some(),
                    has_triggers: has_triggers(it),
                    rows: rows_known.unwrap_or(-1.0),
                    bytes,
                    acl: acl_of(view, it.id),
                    persistence,
                    is_populated: it.is_populated(),
                    row_security: it.security.as_deref().map_or((false, false), |it| (it.enabled, it.forced)),
                    has_subclass: it.partitioned().is_some_and(|it| !it.partitions.is_empty()),
                    is_partition: it.partition_parent().is_some(),
                    bound,
                    ..ClassRow::new(it.id, &it.name, it.schema, it.owner, kind, columns)
                }
                .push(rows);
                for index in named_indexes(it) {
                    let columns = index.columns.len() + index.included.len();
                    let counted = ClassRow {
                        rows: if it.is_partitioned() { 0.0 } else { rows_known.unwrap_or(0.0) },
                        persistence,
                        method: index.method().oid(),
                        is_partition: it.parent_part(index.oid).is_some(),
                        has_subclass: view.catalog.partitions_of(it).any(|part| part.index_of_parent(index).is_some()),
                        ..ClassRow::new(index.oid, &index.name, it.schema, it.owner, if it.is_partitioned() { 'I' } else { 'i' }, columns)
                    };
                    counted.push(rows);
                }
            }
            Relation::View(it) => {
                let columns = it.columns.len();
                let row = ClassRow::new(it.id, &it.name, it.schema, it.owner, 'v', columns);
                let has_triggers = !it.details.triggers.is_empty();
                let (acl, options) = (acl_of(view, it.id), it.details.options.shown());
                ClassRow { persistence, has_triggers, options, acl, ..row }.push(rows);
            }
            Relation::Sequence(it) => {
                let columns = SEQUENCE_COLUMNS.len();
                let row = ClassRow::new(it.id, &it.name, it.schema, it.owner, 'S', columns);
                ClassRow { rows: 1.0, persistence, acl: acl_of(view, it.id), ..row }.push(rows);
            }
        }
    }
    for (ty, composite) in composites(view) {
        let persistence = if view.catalog.is_temporary(ty.schema) { 't' } else { 'p' };
        let row = ClassRow::new(ty.class_id(), &ty.name, ty.schema, ty.owner, 'c', composite.attributes.len());
        ClassRow { persistence, row_type: ty.id, ..row }.push(rows);
    }
}

/// The composite types of a database, oldest first.
pub(super) fn composites<'a>(view: &Scope<'a>) -> impl Iterator<Item = (&'a Type, &'a Composite)> + use<'a> {
    view.types().into_iter().filter_map(|ty| Some((&**ty, ty.composite()?)))
}

/// The rows of a partitioned table, once all partitions were counted.
fn rows_of_partitions(view: &CatalogView, table: &Table) -> Option<f64> {
    view.catalog.leaves_of(table).iter().map(|leaf| view.statistics(leaf).map(|it| it.rows)).sum()
}

/// Partitions, and their indexes that are those of the partitioned tables' indexes.
fn pg_inherits(view: &Scope<'_>, rows: &mut Rows) {
    let mut push = |child: u32, parent: u32| {
        row!(rows, { inhrelid: child, inhparent: parent, inhseqno: 1, inhdetachpending: false });
    };
    for table in view.tables() {
        let Some(parent) = table.partition_parent() else { continue };
        push(table.id, parent);
        for index in named_indexes(table) {
            table.parent_part(index.oid).into_iter().for_each(|of| push(index.oid, of));
        }
    }
}

fn pg_partitioned_table(view: &Scope<'_>, rows: &mut Rows) {
    for table in view.tables() {
        let Some(partitioned) = table.partitioned() else { continue };
        let number = |part: &KeyPart| match part {
            KeyPart::Column(id) => id.get(),
            KeyPart::Expr(_) => 0,
        };
        let exprs: Vec<&str> = partitioned
            .key
            .iter()
            .filter_map(|key| match &key.part {
                KeyPart::Column(_) => None,
                KeyPart::Expr(text) => Some(text.as_str()),
            })
            .collect();
        let default = partitioned.default_partition().map_or(0, |at| partitioned.partitions[at].id);
        let types = partitioned.key.iter().map(|key| key.ty);
        row!(rows, {
            partrelid: table.id,
            partstrat: partitioned.strategy.letter(),
            partnatts: partitioned.key.len(),
            partdefid: default,
            partattrs: Vector(partitioned.key.iter().map(|key| number(&key.part)).collect()),
            partclass: Vector(types.clone().map(|ty| operator_class(ty).map_or(0, |class| class.oid)).collect()),
            partcollation: Vector(types.map(|ty| type_row(ty).collation).collect()),
            partexprs: (!exprs.is_empty()).then(|| exprs.join(EXPRESSIONS_APART)),
        });
    }
}

pub(crate) const SEQUENCE_COLUMNS: [(&str, SqlType); 3] =
    [("last_value", SqlType::Int8), ("log_cnt", SqlType::Int8), ("is_called", SqlType::Bool)];

/// A row of `pg_attribute`.
#[derive(Default)]
struct Attribute<'a> {
    class: u32,
    name: &'a str,
    number: i64,
    not_null: bool,
    has_default: bool,
    has_missing: bool,
    /// `a`, `d`, or nothing.
    identity: &'a str,
    /// `s`, or nothing.
    generated: &'a str,
    acl: Option<Vec<String>>,
    /// Of a partition: the parent has it.
    is_inherited: bool,
}

impl Attribute<'_> {
    fn push(self, ty: SqlType, rows: &mut Rows) {
        let TypeRow { length, by_value, align, storage, collation, .. } = *type_row(ty);
        // Catalogs compare byte by byte.
        let collation = if collation == 950 || self.class >= FIRST_USER_ID || collation == 0 { collation } else { 950 };
        row!(rows, {
            attrelid: self.class,
            attname: self.name,
            atttypid: ty,
            attstattarget: -1,
            attlen: length,
            attnum: self.number,
            attndims: i32::from(ty.is_array()),
            attcacheoff: -1,
            atttypmod: ty.typmod(),
            attbyval: by_value,
            attalign: align,
            attstorage: storage,
            attcompression: "",
            attnotnull: self.not_null,
            atthasdef: self.has_default,
            atthasmissing: self.has_missing,
            attidentity: self.identity,
            attgenerated: self.generated,
            attisdropped: false,
            attislocal: !self.is_inherited,
            attinhcount: i32::from(self.is_inherited),
            attcollation: collation,
            attacl: self.acl,
        });
    }
}

fn virtual_attributes(table: &VirtualTable, rows: &mut Rows) {
    for (number, ((name, ty), not_null)) in (1..).zip(table.columns.iter().zip(&table.not_null)) {
        Attribute { class: table.oid, name, number, not_null: *not_null, ..Attribute::default() }.push(*ty, rows);
    }
}

fn fixed_attributes(rows: &mut Rows) {
    super::all().for_each(|table| virtual_attributes(table, rows));
}

fn pg_attribute(view: &Scope<'_>, rows: &mut Rows) {
    for relation in view.relations() {
        match relation {
            Relation::Table(table) => {
                for (_, column) in table.visible_columns() {
                    let acl = column_acl_of(view, table.id, column.id.get());
                    Attribute { acl, ..table_attribute(table, column) }.push(column.declared(), rows);
                }
                for index in named_indexes(table) {
                    let ids = index.columns.iter().map(|key| key.column).chain(index.included.iter().copied());
                    for (number, id) in (1..).zip(ids) {
                        if let Some(position) = table.column_position(id) {
                            let column = &table.columns[position];
                            Attribute { class: index.oid, name: &column.name, number, ..Attribute::default() }
                                .push(column.declared(), rows);
                        }
                    }
                }
            }
            Relation::View(it) => {
                for (number, (name, ty)) in (1..).zip(&it.columns) {
                    let has_default = it.details.defaults.iter().any(|(of, _)| i64::from(*of) == number);
                    let acl = column_acl_of(view, it.id, number as u32);
                    Attribute { class: it.id, name, number, has_default, acl, ..Attribute::default() }.push(*ty, rows);
                }
            }
            Relation::Sequence(it) => {
                for (number, (name, ty)) in (1..).zip(SEQUENCE_COLUMNS) {
                    Attribute { class: it.id, name, number, not_null: true, ..Attribute::default() }.push(ty, rows);
                }
            }
        }
    }
    for (ty, composite) in composites(view) {
        for it in &composite.attributes {
            Attribute { class: ty.class_id(), name: &it.name, number: it.id.get().into(), ..Attribute::default() }.push(it.ty, rows);
        }
    }
}

fn table_attribute<'a>(table: &Table, column: &'a Column) -> Attribute<'a> {
    let (has_default, identity, generated) = match &column.default {
        None => (false, "", ""),
        Some(default @ ColumnDefault::Expr(_)) => (!default.is_null(), "", ""),
        Some(ColumnDefault::Stored(_)) => (true, "", "s"),
        Some(ColumnDefault::Identity { always: true, .. }) => (false, "a", ""),
        Some(ColumnDefault::Identity { always: false, .. }) => (false, "d", ""),
    };
    Attribute {
        class: table.id,
        name: &column.name,
        number: column.id.get().into(),
        not_null: !column.nullable,
        has_default,
        has_missing: !column.missing.is_null(),
        identity,
        generated,
        acl: None,
        is_inherited: table.partition_parent().is_some(),
    }
}

/// Defaults are parts of their columns; those who ask for oids are given ones that no object has, and that are
/// different as long as table ids stay below a million.
fn default_oid(table: &Table, column: &Column) -> u32 {
    0x8000_0000 | (table.id.wrapping_shl(11) | column.id.get() & 0x7ff) & 0x7fff_ffff
}

/// A view's rule, likewise.
fn rule_oid(view: u32) -> u32 {
    0x8000_0000 | view.wrapping_shl(11) & 0x7fff_ffff
}

fn defaults<'a>(view: &'a Scope<'a>) -> impl Iterator<Item = (&'a Table, &'a Column, String)> {
    view.tables_and_views().flat_map(move |table| {
        let columns = table.visible_columns();
        columns.filter_map(move |(_, column)| Some((&**table, column, view.column_default(table, column)?)))
    })
}

fn pg_attrdef(view: &Scope<'_>, rows: &mut Rows) {
    for (table, column, text) in defaults(view) {
        row!(rows, { oid: default_oid(table, column), adrelid: table.id, adnum: column.id, adbin: text });
    }
}

fn pg_sequence(view: &Scope<'_>, rows: &mut Rows) {
    for relation in view.relations() {
        if let Relation::Sequence(it) = relation {
            row!(rows, {
                seqrelid: it.id,
                seqtypid: it.ty,
                seqstart: it.start,
                seqincrement: it.increment,
                seqmax: it.max,
                seqmin: it.min,
                seqcache: it.cache,
                seqcycle: it.cycle,
            });
        }
    }
}

/// The catalog that has an object which stored text depends on.
fn class_of(view: &CatalogView, id: u32) -> u32 {
    match view.catalog.user_type(id) {
        Some(_) => PG_TYPE,
        None if view.catalog.routine_by_id(id).is_some() => PG_PROC,
        None => PG_CLASS,
    }
}

/// Which default, view or policy needs what, and which sequence and index goes with which column.
fn pg_depend(view: &Scope<'_>, rows: &mut Rows) {
    let mut push = |class: u32, object: u32, on_class: u32, on: u32, column: u32, kind: char| {
        row!(rows, {
            classid: class,
            objid: object,
            objsubid: 0,
            refclassid: on_class,
            refobjid: on,
            refobjsubid: column,
            deptype: kind,
        });
    };
    for (table, column, text) in defaults(view) {
        let oid = default_oid(table, column);
        push(PG_ATTRDEF, oid, PG_CLASS, table.id, column.id.get(), 'a');
        if let Some(sequence) = view.owned_sequence(table, column) {
            if text.contains(&quote_identifier(&sequence.name).replace('\'', "''")) {
                push(PG_ATTRDEF, oid, PG_CLASS, sequence.id, 0, 'n');
            }
        }
    }
    for relation in view.relations() {
        match relation {
            Relation::Sequence(sequence) => {
                let Some((table, column)) = sequence.owned_by else { continue };
                let kind = if view.is_identity_sequence(sequence) { 'i' } else { 'a' };
                push(PG_CLASS, sequence.id, PG_CLASS, table, column.get(), kind);
            }
            Relation::View(_) => {}
            Relation::Table(table) => {
                for index in named_indexes(table).filter(|index| index.constraint.is_none()) {
                    for key in &index.columns {
                        push(PG_CLASS, index.oid, PG_CLASS, table.id, key.column.get(), 'a');
                    }
                }
            }
        }
        if let Relation::View(_) | Relation::Table(_) = relation
            && let Some(it) = relation.as_view()
        {
            push(PG_REWRITE, rule_oid(it.id), PG_CLASS, it.id, 0, 'i');
            for on in &it.depends_on {
                push(PG_REWRITE, rule_oid(it.id), class_of(view, *on), *on, 0, 'n');
            }
        }
        if let Relation::Table(table) = relation {
            for policy in table.policies() {
                push(PG_POLICY, policy.oid, PG_CLASS, table.id, 0, 'a');
                let mut on: Vec<u32> = policy.exprs().flat_map(|expr| expr.depends_on.iter().copied()).collect();
                on.sort_unstable();
                on.dedup();
                on.into_iter().for_each(|id| push(PG_POLICY, policy.oid, class_of(view, id), id, 0, 'n'));
            }
        }
        for (table, trigger) in relation.as_table().into_iter().flat_map(|it| it.triggers.iter().map(move |trigger| (it, trigger))) {
            push(PG_TRIGGER, trigger.oid, PG_PROC, trigger.routine, 0, 'n');
            push(PG_TRIGGER, trigger.oid, PG_CLASS, table.id, 0, 'a');
            if let Some(from) = trigger.constraint.and_then(|it| it.from) {
                push(PG_TRIGGER, trigger.oid, PG_CLASS, from, 0, 'a');
            }
            for column in &trigger.columns {
                push(PG_TRIGGER, trigger.oid, PG_CLASS, table.id, column.get(), 'n');
            }
        }
    }
}

fn pg_description(view: &Scope<'_>, rows: &mut Rows) {
    for schema in view.schemas() {
        if let Some(comment) = crate::functions::schema_comment(schema) {
            row!(rows, { objoid: schema.id, classoid: PG_NAMESPACE, objsubid: 0, description: comment });
        }
    }
    for ty in view.types() {
        if let Some(comment) = &ty.comment {
            row!(rows, { objoid: ty.id, classoid: PG_TYPE, objsubid: 0, description: comment });
        }
        for check in ty.domain().map_or(&[][..], |domain| &domain.checks) {
            if let Some(comment) = &check.comment {
                row!(rows, { objoid: check.oid, classoid: PG_CONSTRAINT, objsubid: 0, description: comment });
            }
        }
        for attribute in ty.composite().map_or(&[][..], |composite| &composite.attributes) {
            if let Some(comment) = &attribute.comment {
                row!(rows, { objoid: ty.class_id(), classoid: PG_CLASS, objsubid: attribute.id, description: comment });
            }
        }
    }
    for relation in view.relations() {
        let (oid, comment) = match relation {
            Relation::Table(it) => (it.id, &it.comment),
            Relation::View(it) => (it.id, &it.comment),
            Relation::Sequence(it) => (it.id, &it.comment),
        };
        if let Some(comment) = comment {
            row!(rows, { objoid: oid, classoid: PG_CLASS, objsubid: 0, description: comment });
        }
        let comments = match relation {
            Relation::Table(it) => &it.comments[..],
            Relation::View(it) => &it.comments[..],
            Relation::Sequence(_) => &[],
        };
        for (on, comment) in comments {
            let (object, class, number) = match (on, relation) {
                (Commented::Column(id), Relation::Table(table)) => {
                    (oid, PG_CLASS, table.column_position(*id).map_or(0, |at| at + 1))
                }
                (Commented::Column(id), _) => (oid, PG_CLASS, usize::try_from(id.get()).unwrap_or(0)),
                (Commented::Part(part), Relation::Table(table)) if table.indexes.iter().any(|it| it.oid == *part) => {
                    (*part, PG_CLASS, 0)
                }
                (Commented::Part(part), Relation::Table(table)) if table.triggers.iter().any(|it| it.oid == *part) => {
                    (*part, PG_TRIGGER, 0)
                }
                (Commented::Part(part), Relation::Table(table)) if table.policies().iter().any(|it| it.oid == *part) => {
                    (*part, PG_POLICY, 0)
                }
                (Commented::Part(part), Relation::View(_)) => (*part, PG_TRIGGER, 0),
                (Commented::Part(part), _) => (*part, PG_CONSTRAINT, 0),
            };
            row!(rows, { objoid: object, classoid: class, objsubid: number, description: comment });
        }
    }
}

fn pg_rewrite(view: &Scope<'_>, rows: &mut Rows) {
    for relation in view.relations() {
        if let Some(it) = relation.as_view() {
            row!(rows, {
                oid: rule_oid(it.id),
                rulename: "_RETURN",
                ev_class: it.id,
                ev_type: '1',
                ev_enabled: 'O',
                is_instead: true,
                ev_qual: "<>",
                ev_action: it.query.as_str().datum(),
            });
        }
    }
}
