//! What tables may have that came later, stored behind them where an index is more than an ordered one, or
//! there is row security.
//!
//! The bytes are fields with tags ([`crate::tagged`]): 2 what makes it partitioned or a partition, 4 what makes it a
//! materialized view, 6 a list of what its indexes are ([`IndexDetails`]), each with the index's id,
//! 8 its row security, 10 its zone configuration and those of its indexes.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::descriptor::Table;
use crate::index_details::IndexDetails;
use crate::partition::Partitioning;
use crate::policy::RowSecurity;
use crate::stored_view::Materialized;
use crate::tagged::{Malformed, Reader, Writer};
use crate::zones::TableZones;

#[derive(Debug, Default, PartialEq)]
pub(crate) struct TableParts {
    partitioning: Option<Partitioning>,
    materialized: Option<Materialized>,
    /// By the ids of the indexes.
    indexes: Vec<(u32, IndexDetails)>,
    security: Option<RowSecurity>,
    zones: Option<TableZones>,
}

impl TableParts {
    /// Whether a table has something that is kept in no other way.
    pub fn are_in(table: &Table) -> bool {
        table.indexes.iter().any(|index| !index.details.is_plain())
            || table.security.as_deref().is_some_and(|security| !security.is_empty())
            || table.zones.is_some()
    }

    pub fn of(table: &Table) -> Self {
        let with_details = table.indexes.iter().filter(|index| !index.details.is_plain());
        Self {
            partitioning: table.partitioning.as_deref().filter(|it| !it.is_empty()).cloned(),
            materialized: table.materialized.as_deref().cloned(),
            indexes: with_details.map(|index| (index.id.get(), index.details.clone())).collect(),
            security: table.security.as_deref().filter(|it| !it.is_empty()).cloned(),
            zones: table.zones.as_deref().map(|zones| zones.of_indexes_in(table)).filter(|it| !it.is_empty()),
        }
    }

    pub fn put_into(self, mut table: Table) -> Table {
        table.partitioning = self.partitioning.map(Arc::new);
        table.materialized = self.materialized.map(Arc::new);
        table.security = self.security.map(Arc::new);
        table.zones = self.zones.map(Arc::new);
        for (id, details) in self.indexes {
            if let Some(index) = table.indexes.iter_mut().find(|index| index.id.get() == id) {
                index.details = details;
            }
        }
        table
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        if let Some(it) = &self.partitioning {
            writer.bytes(2, &it.encode());
        }
        if let Some(it) = &self.materialized {
            writer.bytes(4, &it.encode());
        }
        writer.list(6, self.indexes.iter().map(|(id, details)| details.encode(*id)));
        if let Some(it) = &self.security {
            writer.bytes(8, &it.encode());
        }
        if let Some(it) = &self.zones {
            writer.bytes(10, &it.encode());
        }
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let partitioning = reader.bytes(2)?.map(Partitioning::decode).transpose()?;
        let materialized = reader.bytes(4)?.map(Materialized::decode).transpose()?;
        let indexes = reader.list(6)?.into_iter().map(IndexDetails::decode).collect::<Result<_, _>>()?;
        let security = reader.bytes(8)?.map(RowSecurity::decode).transpose()?;
        let zones = reader.bytes(10)?.map(TableZones::decode).transpose()?;
        reader.finish()?;
        Ok(Self { partitioning, materialized, indexes, security, zones })
    }
}

impl Serialize for TableParts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.encode())
    }
}

impl<'de> Deserialize<'de> for TableParts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <Vec<u8>>::deserialize(deserializer)?;
        Self::decode(&bytes).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use keys::{ColumnId, IndexId};
    use types::inverted::KeyClass;
    use types::{Datum, Direction, NullsOrder, SqlType};

    use super::*;
    use crate::descriptor::{Column, Derived, Descriptor, Index, IndexColumn, IndexConstraint, OnCommit};

    #[test]
    fn golden_table_parts() {
        let details = IndexDetails { inverted: vec![KeyClass::Jsonb], ..IndexDetails::default() };
        let partitioning = Partitioning { parent: Some(1), ..Partitioning::default() };
        let parts = TableParts { partitioning: Some(partitioning), materialized: None, indexes: vec![(7, details)], security: None, zones: None };
        let bytes = parts.encode();
        let shown: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown, "0203020101060706020107040103", "bytes that are stored stay readable");
        assert_eq!(TableParts::decode(&bytes).unwrap(), parts);
        for end in 0..bytes.len() {
            // An error, or fields that are whole.
            let _ = TableParts::decode(&bytes[..end]);
        }
    }

    fn column(id: u32, name: &str, ty: SqlType, nullable: bool) -> Column {
        let id = ColumnId::new(id);
        Column { id, name: name.into(), ty, domain: None, nullable, default: None, missing: Datum::Null, hidden: false }
    }

    fn index(id: u32, oid: u32, name: &str, details: IndexDetails) -> Index {
        let is_primary = id == 1;
        let key = IndexColumn { column: ColumnId::new(id), direction: Direction::Asc, nulls: NullsOrder::Last };
        Index {
            id: IndexId::new(id),
            oid,
            name: name.into(),
            unique: is_primary,
            nulls_not_distinct: false,
            columns: vec![key],
            included: Vec::new(),
            predicate: None,
            constraint: is_primary.then_some(IndexConstraint { oid: oid + 1 }),
            details,
        }
    }

    /// A table as it is stored whose index is an inverted one.
    #[test]
    fn golden_table_with_parts() {
        let inverted = IndexDetails { inverted: vec![KeyClass::Jsonb], ..IndexDetails::default() };
        let table = Table {
            id: 300,
            name: "t".into(),
            schema: 2_200,
            owner: 10,
            columns: vec![column(1, "id", SqlType::Int4, false), column(2, "j", SqlType::Jsonb, true)],
            indexes: vec![index(1, 301, "t_pkey", IndexDetails::default()), index(2, 303, "t_j_idx", inverted)],
            checks: Vec::new(),
            foreign_keys: Vec::new(),
            referenced_by: Vec::new(),
            triggers: Vec::new(),
            next_column: ColumnId::new(3),
            next_index: IndexId::new(3),
            storage: 300,
            comment: None,
            on_commit: OnCommit::PreserveRows,
            comments: Vec::new(),
            materialized: None,
            partitioning: None,
            security: None,
            zones: None,
            codecs: Derived::default(),
        };
        let golden = [
            // The kind, then the table's id, name, schema and owner.
            "0c", "ac02", "0174", "9811", "0a",
            // Columns.
            "02", "01026964020000000000", "02016a180001000000",
            // Indexes.
            "02", "01ad0206745f706b6579010001010001000001ae02", "02af0207745f6a5f6964780000010200010000", "00",
            // What it has none of, the next ids, the storage, and what it has none of.
            "00000000", "03", "03", "ac02", "000000",
            // Its parts.
            "09", "060706020102040103",
        ];
        let descriptor = Descriptor::Table(table);
        let bytes = postcard::to_stdvec(&descriptor).unwrap();
        let shown: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown, golden.concat(), "bytes that are stored stay readable");
        assert_eq!(postcard::from_bytes::<Descriptor>(&bytes).unwrap(), descriptor);
    }
}
