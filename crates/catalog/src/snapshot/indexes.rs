//! What relations are found by besides their ids: names, parts, schemas, what they depend on.
//!
//! **Invariant (indexed-alike):** what [`Indexes::add`] adds for a relation, [`Indexes::take`] takes away for the same.

use super::map::{SharedMap, SharedSets};
use super::relation::Relation;
use crate::descriptor::{ColumnDefault, Table, Type, named_relations};
use crate::partition::KeyPart;

/// Who a name in a schema belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameOwner {
    Relation(u32),
    /// An index of this table.
    Index {
        table: u32,
        oid: u32,
    },
}

#[derive(Clone, Debug, Default)]
pub(super) struct Indexes {
    /// Tables, views, sequences and indexes share one name space in a schema; an index maps to its table.
    pub names: SharedMap<(u32, String), NameOwner>,
    /// The relations in a schema.
    pub in_schema: SharedSets<u32>,
    /// The tables of indexes and constraints, by the oids of these; the domains of constraints.
    pub part_owners: SharedMap<u32, u32>,
    /// The same by the names of constraints, triggers and policies.
    pub part_names: SharedSets<String>,
    /// The relations that depend on something: views on what they read, tables on what their triggers and policies call
    /// and on what their defaults name, sequences on their tables.
    pub dependents: SharedSets<u32>,
    /// The relations whose stored text names a type, by its oid there.
    pub naming: SharedSets<u32>,
}

impl Indexes {
    pub fn add(&mut self, relation: &Relation) {
        let id = relation.id();
        self.names.insert((relation.schema(), relation.name().to_owned()), NameOwner::Relation(id));
        self.in_schema.add(relation.schema(), id);
        depended_on(relation).into_iter().for_each(|on| self.dependents.add(on, id));
        for_each_text(relation, &mut |text| named_types(text).for_each(|oid| self.naming.add(oid, id)));
        if let Relation::View(view) = relation {
            for trigger in &view.details.triggers {
                self.part_owners.insert(trigger.oid, id);
                self.part_names.add(trigger.name.clone(), id);
            }
        }
        if let Relation::Table(table) = relation {
            parts(table).for_each(|part| self.part_owners.insert(part, id));
            part_names(table).for_each(|name| self.part_names.add(name.to_owned(), id));
            for index in table.indexes.iter().filter(|index| !index.name.is_empty()) {
                let owner = NameOwner::Index { table: id, oid: index.oid };
                self.names.insert((table.schema, index.name.clone()), owner);
            }
        }
    }

    pub fn take(&mut self, relation: &Relation) {
        let id = relation.id();
        self.names.remove(&(relation.schema(), relation.name().to_owned()));
        self.in_schema.take(&relation.schema(), id);
        depended_on(relation).into_iter().for_each(|on| self.dependents.take(&on, id));
        for_each_text(relation, &mut |text| named_types(text).for_each(|oid| self.naming.take(&oid, id)));
        if let Relation::View(view) = relation {
            for trigger in &view.details.triggers {
                self.part_owners.remove(&trigger.oid);
                self.part_names.take(&trigger.name, id);
            }
        }
        if let Relation::Table(table) = relation {
            for part in parts(table) {
                self.part_owners.remove(&part);
            }
            part_names(table).for_each(|name| self.part_names.take(name, id));
            for index in &table.indexes {
                self.names.remove(&(table.schema, index.name.clone()));
            }
        }
    }

    /// The constraints of a domain.
    pub fn add_domain(&mut self, ty: &Type) {
        for check in ty.domain().map_or(&[][..], |domain| &domain.checks) {
            self.part_owners.insert(check.oid, ty.id);
            self.part_names.add(check.name.clone(), ty.id);
        }
    }

    pub fn take_domain(&mut self, ty: &Type) {
        for check in ty.domain().map_or(&[][..], |domain| &domain.checks) {
            self.part_owners.remove(&check.oid);
            self.part_names.take(&check.name, ty.id);
        }
    }
}

/// The oids of a table's indexes, constraints, triggers and policies.
fn parts(table: &Table) -> impl Iterator<Item = u32> {
    let indexes =
        table.indexes.iter().flat_map(|it| [Some(it.oid), it.constraint.map(|constraint| constraint.oid)]);
    let checks = table.checks.iter().map(|it| it.oid);
    let triggers = table.triggers.iter().map(|it| it.oid);
    let policies = table.policies().iter().map(|it| it.oid);
    let keys = table.foreign_keys.iter().map(|it| it.oid);
    indexes.flatten().chain(checks).chain(keys).chain(triggers).chain(policies)
}

/// The names of a table's constraints, triggers and policies.
fn part_names(table: &Table) -> impl Iterator<Item = &str> {
    let indexes = table.indexes.iter().filter(|it| it.constraint.is_some()).map(|it| &it.name);
    let checks = table.checks.iter().map(|it| &it.name);
    let keys = table.foreign_keys.iter().map(|it| &it.name);
    let triggers = table.triggers.iter().map(|it| &it.name);
    let policies = table.policies().iter().map(|it| &it.name);
    indexes.chain(checks).chain(keys).chain(triggers).chain(policies).map(String::as_str)
}

/// What a relation depends on, save for the types of its columns.
fn depended_on(relation: &Relation) -> Vec<u32> {
    let mut on = relation.depends_on().to_vec();
    if let Some(table) = relation.as_table() {
        on.extend(table.policies().iter().flat_map(|policy| policy.exprs()).flat_map(|expr| expr.depends_on.iter().copied()));
        on.extend(table.triggers.iter().map(|trigger| trigger.routine));
        on.extend(table.triggers.iter().filter_map(|trigger| trigger.constraint?.from));
    }
    if let Relation::Table(table) = relation {
        for default in table.columns.iter().filter_map(|column| column.default.as_ref()) {
            match default {
                ColumnDefault::Identity { sequence, .. } => on.push(*sequence),
                ColumnDefault::Expr(text) => on.extend(named_relations(text)),
                ColumnDefault::Stored(_) => {}
            }
        }
    }
    if let Relation::Sequence(sequence) = relation {
        on.extend(sequence.owned_by.map(|(table, _)| table));
    }
    on
}

/// Every text that a relation keeps.
fn for_each_text(relation: &Relation, visit: &mut dyn FnMut(&str)) {
    if let Some(view) = relation.as_view() {
        visit(&view.query);
    }
    let Some(table) = relation.as_table() else { return };
    for column in &table.columns {
        match &column.default {
            Some(ColumnDefault::Expr(text) | ColumnDefault::Stored(text)) => visit(text),
            Some(ColumnDefault::Identity { .. }) | None => {}
        }
    }
    table.checks.iter().for_each(|check| visit(&check.expr));
    table.indexes.iter().filter_map(|index| index.predicate.as_deref()).for_each(&mut *visit);
    table.triggers.iter().filter_map(|trigger| trigger.condition.as_deref()).for_each(&mut *visit);
    table.policies().iter().flat_map(|policy| policy.exprs()).for_each(|expr| visit(&expr.text));
    for key in table.partitioned().into_iter().flat_map(|it| &it.key) {
        if let KeyPart::Expr(text) = &key.part {
            visit(text);
        }
    }
}

/// The oids in a text by which it names types: see [`crate::descriptor::stored_type_name`].
fn named_types(text: &str) -> impl Iterator<Item = u32> {
    text.split("\"#").skip(1).filter_map(|rest| rest.split('"').next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::stored_type_name;

    #[test]
    fn types_that_a_text_names_are_found() {
        let text = format!("'a'::{} = b OR c::{}[] = d", stored_type_name(17_000), stored_type_name(42));
        assert_eq!(named_types(&text).collect::<Vec<_>>(), [17_000, 42]);
        assert_eq!(named_types("\"#x\" \"#\" 'it''s'").count(), 0);
    }
}
