//! Zone configurations: what each object says of how its keys are kept, and which keys that are.
//!
//! ```text
//! index  ▸  table or partition  ▸  the partitioned table  ▸  database  ▸  default        the nearest that says something holds
//! ```
//! Those of tables and their indexes are stored with the table, those of databases and the default with the settings of the
//! cluster. [`CatalogSnapshot::zone_spans`] says what the stores have to know.

use keys::{IndexId, Span, TableId, ZoneConfig, keyspace};

use crate::{
    descriptor::Table,
    snapshot::{CatalogSnapshot, Relation},
    tagged::{Malformed, Reader, Writer},
};

/// What can have a configuration of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneTarget {
    Default,
    Database(u32),
    /// A table, or a partition.
    Table(u32),
    /// Of a table, by its oid.
    Index { table: u32, oid: u32 },
}

/// What a table and its indexes say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableZones {
    pub table: ZoneConfig,
    pub indexes: Vec<(IndexId, ZoneConfig)>,
}

/// What the cluster and its databases say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterZones {
    pub default: ZoneConfig,
    pub databases: Vec<(u32, ZoneConfig)>,
}

fn set<K: PartialEq>(zones: &mut Vec<(K, ZoneConfig)>, key: K, zone: ZoneConfig) {
    zones.retain(|(known, _)| *known != key);
    if !zone.is_empty() {
        zones.push((key, zone));
    }
}

fn get<K: PartialEq>(zones: &[(K, ZoneConfig)], key: &K) -> ZoneConfig {
    zones.iter().find(|(known, _)| known == key).map(|(_, zone)| zone.clone()).unwrap_or_default()
}

/// Fields with tags: 2 an id, 4 its configuration.
fn encode_of(id: u32, zone: &ZoneConfig) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.number(2, id.into(), 0);
    writer.bytes(4, &zone.encode());
    writer.finish()
}

fn decode_of(bytes: &[u8]) -> Result<(u32, ZoneConfig), Malformed> {
    let mut reader = Reader::new(bytes)?;
    let id = reader.id(2)?;
    let zone = ZoneConfig::decode(reader.bytes(4)?.unwrap_or_default())?;
    reader.finish()?;
    Ok((id, zone))
}

impl TableZones {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty() && self.indexes.is_empty()
    }

    pub fn set_index(&mut self, index: IndexId, zone: ZoneConfig) {
        set(&mut self.indexes, index, zone);
    }

    /// Those that are of indexes which the table has.
    #[must_use]
    pub fn of_indexes_in(&self, table: &Table) -> Self {
        let has = |id: IndexId| table.indexes.iter().any(|index| index.id == id);
        let indexes = self.indexes.iter().filter(|(id, _)| has(*id)).cloned().collect();
        Self { table: self.table.clone(), indexes }
    }

    /// Fields with tags: 2 of the table, 4 list of its indexes'.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        if !self.table.is_empty() {
            writer.bytes(2, &self.table.encode());
        }
        writer.list(4, self.indexes.iter().map(|(id, zone)| encode_of(id.get(), zone)));
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let table = reader.bytes(2)?.map(ZoneConfig::decode).transpose()?.unwrap_or_default();
        let indexes = reader.list(4)?.into_iter().map(decode_of).collect::<Result<Vec<_>, _>>()?;
        reader.finish()?;
        Ok(Self { table, indexes: indexes.into_iter().map(|(id, zone)| (IndexId::new(id), zone)).collect() })
    }
}

impl ClusterZones {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    #[must_use]
    pub fn database(&self, id: u32) -> ZoneConfig {
        get(&self.databases, &id)
    }

    pub fn set_database(&mut self, id: u32, zone: ZoneConfig) {
        set(&mut self.databases, id, zone);
    }

    /// Fields with tags: 2 the default, 4 list of the databases'.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        if !self.default.is_empty() {
            writer.bytes(2, &self.default.encode());
        }
        writer.list(4, self.databases.iter().map(|(id, zone)| encode_of(*id, zone)));
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let default = reader.bytes(2)?.map(ZoneConfig::decode).transpose()?.unwrap_or_default();
        let databases = reader.list(4)?.into_iter().map(decode_of).collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(Self { default, databases })
    }
}

impl CatalogSnapshot {
    /// What a target says itself.
    #[must_use]
    pub fn own_zone(&self, target: ZoneTarget) -> ZoneConfig {
        let of_cluster = || &self.cluster().settings.parts.zones;
        let zones = |table: u32| self.table_by_id(table).and_then(|table| table.zones.as_deref());
        match target {
            ZoneTarget::Default => of_cluster().default.clone(),
            ZoneTarget::Database(id) => of_cluster().database(id),
            ZoneTarget::Table(id) => zones(id).map(|zones| zones.table.clone()).unwrap_or_default(),
            ZoneTarget::Index { table, oid } => {
                let index = self.table_by_id(table).and_then(|table| table.indexes.iter().find(|index| index.oid == oid));
                let zones = zones(table).zip(index);
                zones.map(|(zones, index)| get(&zones.indexes, &index.id)).unwrap_or_default()
            }
        }
    }

    /// What holds where a target says nothing.
    #[must_use]
    pub fn zone_above(&self, target: ZoneTarget) -> Option<ZoneTarget> {
        match target {
            ZoneTarget::Default => None,
            ZoneTarget::Database(_) => Some(ZoneTarget::Default),
            ZoneTarget::Index { table, .. } => Some(ZoneTarget::Table(table)),
            ZoneTarget::Table(id) => Some(self.table_by_id(id).map_or(ZoneTarget::Default, |table| {
                let parent = table.partitioning.as_ref().and_then(|it| it.parent);
                let database = self.schema_by_id(table.schema).map_or(0, |schema| schema.database);
                parent.map_or(ZoneTarget::Database(database), ZoneTarget::Table)
            })),
        }
    }

    /// The target and those above it, the nearest first.
    fn zone_chain(&self, target: ZoneTarget) -> impl Iterator<Item = ZoneTarget> {
        std::iter::successors(Some(target), |target| self.zone_above(*target))
    }

    /// What holds of a target, as far as anything is said.
    #[must_use]
    pub fn zone_of(&self, target: ZoneTarget) -> ZoneConfig {
        self.zone_chain(target).fold(ZoneConfig::default(), |zone, above| zone.over(&self.own_zone(above)))
    }

    /// The nearest target that says something: what a target's configuration is read from.
    #[must_use]
    pub fn zone_source(&self, target: ZoneTarget) -> ZoneTarget {
        self.zone_chain(target).find(|above| !self.own_zone(*above).is_empty()).unwrap_or(ZoneTarget::Default)
    }

    /// Everything that says something, the widest first, by name.
    #[must_use]
    pub fn configured_zones(&self, database: u32) -> Vec<ZoneTarget> {
        let mut databases: Vec<_> = self.databases().collect();
        databases.sort_by(|one, two| one.name.cmp(&two.name));
        let databases = databases.into_iter().map(|it| ZoneTarget::Database(it.id));
        let mut tables: Vec<_> = self.relations_of(database).filter_map(zoned).collect();
        tables.sort_by(|one, two| (&one.name, one.id).cmp(&(&two.name, two.id)));
        let tables = tables.into_iter().flat_map(|table| {
            let indexes = table.indexes.iter().map(|index| ZoneTarget::Index { table: table.id, oid: index.oid });
            std::iter::once(ZoneTarget::Table(table.id)).chain(indexes)
        });
        let all = std::iter::once(ZoneTarget::Default).chain(databases).chain(tables);
        all.filter(|target| *target == ZoneTarget::Default || !self.own_zone(*target).is_empty()).collect()
    }

    /// What holds of keys in general, and of those of tables for which something else is said: spans in the order of their
    /// keys, none overlapping another. Neighbours of which the same holds are one span, so that small tables of one database
    /// may share a range.
    #[must_use]
    pub fn zone_spans(&self) -> (ZoneConfig, Vec<(Span, ZoneConfig)>) {
        let default = self.own_zone(ZoneTarget::Default);
        let zones = &self.cluster().settings.parts.zones;
        let tables = || self.relations().filter_map(stored);
        if zones.databases.is_empty() && tables().all(|table| table.zones.is_none() && table.partitioning.is_none()) {
            return (default, Vec::new());
        }
        let mut tables: Vec<&Table> = tables().filter(|table| !table.is_partitioned()).collect();
        tables.sort_by_key(|table| table.storage);
        let mut spans: Vec<(Span, ZoneConfig)> = Vec::new();
        // Whether what comes next follows the last span, with no keys of others in between.
        let mut follows = false;
        for table in tables {
            for (span, zone) in self.spans_of(table) {
                if zone == default {
                    follows = false;
                    continue;
                }
                match spans.last_mut().filter(|(_, last)| follows && *last == zone) {
                    Some((last, _)) => last.end = span.end,
                    None => spans.push((span, zone)),
                }
                follows = true;
            }
        }
        (default, spans)
    }

    /// The spans of a table, and what holds of each.
    fn spans_of(&self, table: &Table) -> Vec<(Span, ZoneConfig)> {
        let whole = Span::prefix(keyspace::table(TableId::new(table.storage)));
        let around = self.zone_of(ZoneTarget::Table(table.id));
        let mut indexes: Vec<(IndexId, &ZoneConfig)> = Vec::new();
        if let Some(zones) = table.zones.as_deref() {
            indexes.extend(zones.indexes.iter().map(|(id, zone)| (*id, zone)));
        }
        indexes.retain(|(id, _)| table.indexes.iter().any(|index| index.id == *id));
        indexes.sort_by_key(|(id, _)| id.get());
        let mut spans = Vec::new();
        let mut start = whole.start;
        for (id, zone) in indexes {
            let own = Span::prefix(keyspace::index(TableId::new(table.storage), id));
            if start < own.start {
                spans.push((Span::new(start, own.start.clone()), around.clone()));
            }
            start = own.end.clone();
            spans.push((own, zone.over(&around)));
        }
        if start < whole.end {
            spans.push((Span::new(start, whole.end), around));
        }
        spans
    }
}

fn stored(relation: &Relation) -> Option<&Table> {
    match relation {
        Relation::Table(table) => Some(table),
        Relation::View(_) | Relation::Sequence(_) => None,
    }
}

fn zoned(relation: &Relation) -> Option<&Table> {
    stored(relation).filter(|table| table.zones.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn golden_zones() {
        let five = ZoneConfig { num_replicas: Some(5), ..ZoneConfig::default() };
        let mut tables = TableZones { table: five.clone(), indexes: Vec::new() };
        tables.set_index(IndexId::new(2), five.clone());
        let bytes = tables.encode();
        assert_eq!(hex(&bytes), "02030201060409080201020403020106", "bytes that are stored stay readable");
        assert_eq!(TableZones::decode(&bytes), Ok(tables.clone()));
        let mut cluster = ClusterZones { default: five.clone(), databases: Vec::new() };
        cluster.set_database(5, five);
        let bytes = cluster.encode();
        assert_eq!(hex(&bytes), "02030201060409080201050403020106", "bytes that are stored stay readable");
        assert_eq!(ClusterZones::decode(&bytes), Ok(cluster.clone()));
        for end in 0..bytes.len() {
            // An error, or fields that are whole.
            let _ = (ClusterZones::decode(&bytes[..end]), TableZones::decode(&bytes[..end]));
        }
        cluster.set_database(5, ZoneConfig::default());
        assert!(cluster.databases.is_empty());
        tables.set_index(IndexId::new(2), ZoneConfig::default());
        assert!(tables.indexes.is_empty() && !tables.is_empty());
    }
}
