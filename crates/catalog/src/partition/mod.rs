//! Partitioned tables: what the catalog holds of them, and of the tables that are their partitions.
//!
//! A partitioned table has columns, indexes and constraints as any table, and no rows: each row is in the one partition
//! whose bound it lies within. A partition is a table like any other, with storage of its own, or partitioned in its turn. Two
//! hidden columns of a partitioned table say of a row that is read through it which partition it is in (`tableoid`) and, where
//! the partition has no primary key, its row id there. Their bytes are fields with tags ([`crate::tagged`]), behind
//! those of the table.
//!
//! **Invariants**
//! - *bounds-apart*: no two partitions of a table have bounds that a row could lie within both ([`Partitioned::check_new`]).
//! - *bounds-with-parent*: the bounds are kept in the descriptor of the partitioned table, so that routing a row depends
//!   on that descriptor alone; a partition knows its parent's id. Bounds stay in their order, the default partition last.
//! - *parts-follow*: an index, constraint or trigger of a partition that is listed in [`Partitioning::parts`] is that of the
//!   parent's, and changes and goes with it.
//!
//! Read in this order: this, [`bounds`], [`hash`], [`shown`].

mod bounds;
mod hash;
mod shown;

use std::sync::Arc;

use keys::ColumnId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use types::{Datum, SqlType};

pub use bounds::KeySet;
pub(crate) use shown::constraint_text;

use crate::descriptor::{Column, Derived, Index, Table};
use crate::snapshot::CatalogSnapshot;
use crate::store::ROW_ID_COLUMN;
use crate::tagged::{Malformed, Reader, Writer};

/// The hidden column of a partitioned table that says which partition a row is in.
pub const TABLE_OID_COLUMN: &str = "tableoid";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionStrategy {
    List,
    Range,
    Hash,
}

impl PartitionStrategy {
    /// As `partstrat` has it.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::List => 'l',
            Self::Range => 'r',
            Self::Hash => 'h',
        }
    }

    /// As PARTITION BY names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Range => "range",
            Self::Hash => "hash",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum KeyPart {
    Column(ColumnId),
    /// SQL text of an expression over the table's columns.
    Expr(String),
}

/// What rows are routed by.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionKey {
    pub part: KeyPart,
    pub ty: SqlType,
}

/// An end of a range in one column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RangeDatum {
    MinValue,
    Value(Datum),
    MaxValue,
}

/// New kinds come last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PartitionBound {
    /// NULL may be among the values.
    List(Vec<Datum>),
    /// From the first, included, to the second, not included.
    Range(Vec<RangeDatum>, Vec<RangeDatum>),
    Hash { modulus: u32, remainder: u32 },
    Default,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Partition {
    /// Of the table.
    pub id: u32,
    pub bound: PartitionBound,
}

/// What makes a table a partitioned one.
#[derive(Clone, Debug, PartialEq)]
pub struct Partitioned {
    pub strategy: PartitionStrategy,
    pub key: Vec<PartitionKey>,
    /// In the order of their bounds.
    pub partitions: Vec<Partition>,
    lookup: Derived<bounds::Lookup>,
}

impl Partitioned {
    #[must_use]
    pub fn new(strategy: PartitionStrategy, key: Vec<PartitionKey>) -> Self {
        Self { strategy, key, partitions: Vec::new(), lookup: Derived::default() }
    }

    /// Adds a partition in its place; its bound was checked.
    pub fn add(&mut self, id: u32, bound: PartitionBound) {
        let at = self.partitions.partition_point(|known| !self.is_before(&bound, &known.bound));
        self.partitions.insert(at, Partition { id, bound });
        self.lookup = Derived::default();
    }

    /// Takes a partition out.
    pub fn remove(&mut self, id: u32) {
        self.partitions.retain(|known| known.id != id);
        self.lookup = Derived::default();
    }

    /// The default partition.
    #[must_use]
    pub fn default_partition(&self) -> Option<usize> {
        let last = self.partitions.len().checked_sub(1)?;
        (self.partitions[last].bound == PartitionBound::Default).then_some(last)
    }

    /// The columns of the key that are columns of the table as such.
    pub fn key_columns(&self) -> impl Iterator<Item = ColumnId> + '_ {
        self.key.iter().filter_map(|key| match key.part {
            KeyPart::Column(id) => Some(id),
            KeyPart::Expr(_) => None,
        })
    }

    /// The texts of the expressions in the key.
    pub fn for_each_expression(&mut self, visit: &mut dyn FnMut(&mut String)) {
        for key in &mut self.key {
            if let KeyPart::Expr(text) = &mut key.part {
                visit(text);
            }
        }
    }

    #[must_use]
    pub fn has_expressions(&self) -> bool {
        self.key.iter().any(|key| matches!(key.part, KeyPart::Expr(_)))
    }

    /// With types as a snapshot has them, and labels of enum types as these have them now.
    pub(crate) fn resolve(&mut self, resolve: &dyn Fn(SqlType) -> SqlType) {
        for (place, key) in self.key.iter_mut().enumerate() {
            key.ty = resolve(key.ty);
            let ty = key.ty;
            let relabel = |datum: &mut Datum| {
                if let Some(labelled) = ty.with_labels(datum.clone()) {
                    *datum = labelled;
                }
            };
            for partition in &mut self.partitions {
                match &mut partition.bound {
                    PartitionBound::List(values) => values.iter_mut().for_each(relabel),
                    PartitionBound::Range(from, to) => {
                        for end in [from.get_mut(place), to.get_mut(place)].into_iter().flatten() {
                            if let RangeDatum::Value(datum) = end {
                                relabel(datum);
                            }
                        }
                    }
                    PartitionBound::Hash { .. } | PartitionBound::Default => {}
                }
            }
        }
        self.lookup = Derived::default();
    }
}

/// What a table has that is partitioned, a partition, or both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Partitioning {
    pub partitioned: Option<Partitioned>,
    /// The table that it is a partition of.
    pub parent: Option<u32>,
    /// Oids of its indexes, constraints and triggers, each with the oid of the parent's that it is: *parts-follow*.
    pub parts: Vec<(u32, u32)>,
}

impl Partitioning {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(2, self.parent.unwrap_or(0).into(), 0);
        writer.list(4, self.parts.iter().map(|(own, parents)| [own.to_be_bytes(), parents.to_be_bytes()].concat()));
        if let Some(it) = &self.partitioned {
            let strategy = match it.strategy {
                PartitionStrategy::List => 1,
                PartitionStrategy::Range => 2,
                PartitionStrategy::Hash => 3,
            };
            writer.number(6, strategy, 0);
            writer.list(8, it.key.iter().map(PartitionKey::encode));
            writer.list(10, it.partitions.iter().map(Partition::encode));
        }
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let parent = Some(reader.id(2)?).filter(|id| *id != 0);
        let pair = |bytes: &[u8]| {
            let (own, parents) = bytes.split_at_checked(4).ok_or(Malformed::Bad(4))?;
            let id = |bytes: &[u8]| Ok(u32::from_be_bytes(bytes.try_into().map_err(|_| Malformed::Bad(4))?));
            Ok((id(own)?, id(parents)?))
        };
        let parts = reader.list(4)?.into_iter().map(pair).collect::<Result<_, _>>()?;
        let strategy = match reader.number(6, 0)? {
            0 => None,
            1 => Some(PartitionStrategy::List),
            2 => Some(PartitionStrategy::Range),
            3 => Some(PartitionStrategy::Hash),
            _ => return Err(Malformed::Bad(6)),
        };
        let key = reader.list(8)?.into_iter().map(PartitionKey::decode).collect::<Result<_, _>>()?;
        let partitions = reader.list(10)?.into_iter().map(Partition::decode).collect::<Result<_, _>>()?;
        reader.finish()?;
        let partitioned = strategy.map(|strategy| Partitioned { strategy, key, partitions, lookup: Derived::default() });
        Ok(Self { partitioned, parent, parts })
    }
}

/// Plain data that has a stable form of its own.
fn plain<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data has a form")
}

fn read_plain<'a, T: Deserialize<'a>>(tag: u64, bytes: Option<&'a [u8]>) -> Result<T, Malformed> {
    postcard::from_bytes(bytes.ok_or(Malformed::Bad(tag))?).map_err(|_| Malformed::Bad(tag))
}

impl PartitionKey {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        match &self.part {
            KeyPart::Column(id) => writer.number(2, id.get().into(), 0),
            KeyPart::Expr(text) => writer.text(4, text),
        }
        writer.bytes(6, &plain(&self.ty));
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let part = match (reader.id(2)?, reader.text(4)?) {
            (0, text) if !text.is_empty() => KeyPart::Expr(text),
            (id, text) if id != 0 && text.is_empty() => KeyPart::Column(ColumnId::new(id)),
            _ => return Err(Malformed::Bad(2)),
        };
        let ty = read_plain(6, reader.bytes(6)?)?;
        reader.finish()?;
        Ok(Self { part, ty })
    }
}

impl Partition {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(2, self.id.into(), 0);
        writer.bytes(4, &plain(&self.bound));
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let partition = Self { id: reader.id(2)?, bound: read_plain(4, reader.bytes(4)?)? };
        reader.finish()?;
        Ok(partition)
    }
}

impl Serialize for Partitioning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.encode())
    }
}

impl<'de> Deserialize<'de> for Partitioning {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <Vec<u8>>::deserialize(deserializer)?;
        Self::decode(&bytes).map_err(serde::de::Error::custom)
    }
}

impl Table {
    #[must_use]
    pub fn partitioned(&self) -> Option<&Partitioned> {
        self.partitioning.as_ref()?.partitioned.as_ref()
    }

    #[must_use]
    pub fn is_partitioned(&self) -> bool {
        self.partitioned().is_some()
    }

    /// The table that it is a partition of.
    #[must_use]
    pub fn partition_parent(&self) -> Option<u32> {
        self.partitioning.as_ref()?.parent
    }

    /// The index, constraint or trigger of the parent that one of its own is.
    #[must_use]
    pub fn parent_part(&self, oid: u32) -> Option<u32> {
        let parts = &self.partitioning.as_ref()?.parts;
        parts.iter().find(|(own, _)| *own == oid).map(|(_, parents)| *parents)
    }

    /// Its own index, constraint or trigger that is one of the parent's.
    #[must_use]
    pub fn part_of(&self, parents: u32) -> Option<u32> {
        let parts = &self.partitioning.as_ref()?.parts;
        parts.iter().find(|(_, known)| *known == parents).map(|(own, _)| *own)
    }

    /// Its own index that is one of the parent's, by its place.
    #[must_use]
    pub fn index_of_parent(&self, parents: &Index) -> Option<usize> {
        let own = self.part_of(parents.oid)?;
        self.indexes.iter().position(|index| index.oid == own)
    }

    pub fn partitioning_mut(&mut self) -> &mut Partitioning {
        Arc::make_mut(self.partitioning.get_or_insert_default())
    }

    /// The place of the hidden column that says which partition a row is in.
    #[must_use]
    pub fn table_oid_position(&self) -> Option<usize> {
        self.partitioned()?;
        self.columns.iter().position(|column| column.hidden && column.name == TABLE_OID_COLUMN)
    }

    /// The place of the row id.
    #[must_use]
    pub fn row_id_position(&self) -> Option<usize> {
        self.columns.iter().position(is_row_id)
    }

    /// For each of its columns, the place of the column of `other` that means the same where rows go from one to the
    /// other: names say so for visible ones, and the row id is the row id.
    #[must_use]
    pub fn columns_from(&self, other: &Self) -> Vec<Option<usize>> {
        let place = |column: &Column| match () {
            () if is_row_id(column) => other.row_id_position(),
            () if column.hidden => None,
            () => other.column_named(&column.name).map(|(at, _)| at),
        };
        self.columns.iter().map(place).collect()
    }
}

fn is_row_id(column: &Column) -> bool {
    column.hidden && column.default.is_none() && column.name == ROW_ID_COLUMN
}

impl CatalogSnapshot {
    /// The partitions of a table, in the order of their bounds.
    pub fn partitions_of<'a>(&'a self, table: &'a Table) -> impl Iterator<Item = &'a Arc<Table>> {
        let partitions = table.partitioned().into_iter().flat_map(|it| &it.partitions);
        partitions.filter_map(|it| self.table_by_id(it.id))
    }

    /// The partitions of a table and theirs, each behind its parent.
    #[must_use]
    pub fn descendants_of(&self, table: &Table) -> Vec<Arc<Table>> {
        let mut found = Vec::new();
        // Last in, first out: what is pushed comes out in order.
        let mut left: Vec<&Arc<Table>> = self.partitions_of(table).collect();
        left.reverse();
        while let Some(next) = left.pop() {
            found.push(next.clone());
            let mut below: Vec<&Arc<Table>> = self.partitions_of(next).collect();
            below.reverse();
            left.extend(below);
        }
        found
    }

    /// The partitions that hold the rows of a table, in the order of their bounds.
    #[must_use]
    pub fn leaves_of(&self, table: &Table) -> Vec<Arc<Table>> {
        let mut found = self.descendants_of(table);
        found.retain(|table| !table.is_partitioned());
        found
    }

    /// The table that a table is a partition of, the one which that is a partition of, and so on.
    #[must_use]
    pub fn ancestors_of(&self, table: &Table) -> Vec<Arc<Table>> {
        let mut found: Vec<Arc<Table>> = Vec::new();
        let mut next = table.partition_parent();
        while let Some(parent) = next.and_then(|id| self.table_by_id(id)) {
            found.push(parent.clone());
            next = parent.partition_parent();
        }
        found
    }

    /// Whether all partitions have an index of a partitioned table; until then it is not valid.
    #[must_use]
    pub fn is_index_valid(&self, table: &Table, index: &Index) -> bool {
        self.partitions_of(table).all(|partition| match partition.index_of_parent(index) {
            Some(at) => self.is_index_valid(partition, &partition.indexes[at]),
            None => false,
        })
    }

    /// A table's bound, and its parent.
    #[must_use]
    pub fn bound_of(&self, table: &Table) -> Option<(&Arc<Table>, &PartitionBound)> {
        let parent = self.table_by_id(table.partition_parent()?)?;
        let partition = parent.partitioned()?.partitions.iter().find(|it| it.id == table.id)?;
        Some((parent, &partition.bound))
    }
}

#[cfg(test)]
mod tests;
