//! What ANALYZE found out about tables, as the nodes of a cluster share it.
//!
//! Statistics are no part of the catalog's version: they change what a plan costs, never what it means. They lie beside
//! the descriptors under the id of a table's storage, so that TRUNCATE leaves them behind with the rows, and reach
//! transactions neither through the version they check nor through anything they read.
//!
//! **Invariant (advice-only):** nothing but an estimate may depend on what is here; it may be old, or missing.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use keys::ColumnId;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use types::Datum;

/// Statistics of one column, from ANALYZE.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct ColumnStatistics {
    pub null_fraction: f64,
    /// Different values in the whole table, NULL not counted.
    pub distinct: f64,
    /// Most common values and their share of all rows, the most common first.
    pub common: Vec<(Datum, f64)>,
    /// Bounds of buckets with about equally many rows, without the common values.
    pub histogram: Vec<Datum>,
    /// Bytes, of values that are not NULL.
    pub average_width: f64,
}

#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct TableStatistics {
    pub rows: f64,
    pub average_row_bytes: f64,
    /// Microseconds since 2000, for `pg_stat_all_tables`.
    pub analyzed_at: i64,
    pub columns: Vec<(ColumnId, ColumnStatistics)>,
    /// Columns that an index begins with, two or more: how many different values they have together.
    #[serde(skip)]
    pub groups: Vec<ColumnGroup>,
}

/// How many different values some columns have together, rows with a NULL among them not counted.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct ColumnGroup {
    /// In the order of their ids.
    pub columns: Vec<ColumnId>,
    pub distinct: f64,
}

impl TableStatistics {
    /// The stored form: the groups stand behind everything else, where older programs do not look.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = postcard::to_stdvec(self).expect("statistics are plain data");
        bytes.extend(postcard::to_stdvec(&self.groups).expect("statistics are plain data"));
        bytes
    }

    /// None where it is damaged. What an older program has stored has no groups.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (mut statistics, rest): (Self, &[u8]) = postcard::take_from_bytes(bytes).ok()?;
        if !rest.is_empty() {
            statistics.groups = postcard::from_bytes(rest).ok()?;
        }
        Some(statistics)
    }

    #[must_use]
    pub fn column(&self, id: ColumnId) -> Option<&ColumnStatistics> {
        self.columns.iter().find(|(column, _)| *column == id).map(|(_, statistics)| statistics)
    }
}

#[derive(Debug, Default)]
struct Shared {
    tables: ArcSwap<FxHashMap<u32, Arc<TableStatistics>>>,
    /// Moves with every change of `tables`: plans made under another number may have become poor.
    epoch: AtomicU64,
    /// Rows written by this node since the statistics were made, by storage id.
    changes: Mutex<FxHashMap<u32, u64>>,
}

/// A node's statistics, shared by all its snapshots of the catalog. Tables are named by their storage ids.
#[derive(Clone, Debug, Default)]
pub struct Statistics(Arc<Shared>);

impl Statistics {
    #[must_use]
    pub fn table(&self, storage: u32) -> Option<Arc<TableStatistics>> {
        self.0.tables.load().get(&storage).cloned()
    }

    /// Moves whenever any statistics do.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.0.epoch.load(Ordering::Acquire)
    }

    pub fn set(&self, storage: u32, statistics: TableStatistics) {
        let statistics = Arc::new(statistics);
        self.0.tables.rcu(|tables| {
            let mut tables = FxHashMap::clone(tables);
            tables.insert(storage, statistics.clone());
            tables
        });
        self.0.changes.lock().remove(&storage);
        self.0.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// What the cluster has, in place of what was known here.
    pub(crate) fn replace(&self, tables: FxHashMap<u32, Arc<TableStatistics>>) {
        if **self.0.tables.load() != tables {
            self.0.tables.store(Arc::new(tables));
            self.0.epoch.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// A statement has written so many rows of a table.
    pub fn note_changes(&self, storage: u32, rows: u64) {
        if rows > 0 {
            *self.0.changes.lock().entry(storage).or_default() += rows;
        }
    }

    /// Storage ids of tables of which this node has written so many rows that their statistics are no longer theirs:
    /// PostgreSQL's rule for autovacuum, 50 rows and a tenth of the table.
    #[must_use]
    pub fn outdated(&self) -> Vec<u32> {
        let tables = self.0.tables.load();
        let changes = self.0.changes.lock();
        let limit = |storage: &u32| tables.get(storage).map_or(50.0, |known| 50.0 + 0.1 * known.rows);
        changes.iter().filter(|(storage, rows)| **rows as f64 > limit(storage)).map(|(storage, _)| *storage).collect()
    }

    /// The table is gone, or cannot be analyzed: its changes are of no interest.
    pub fn forget_changes(&self, storage: u32) {
        self.0.changes.lock().remove(&storage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_read_with_groups_and_without() {
        let columns = vec![(ColumnId::new(1), ColumnStatistics { distinct: 3.0, ..ColumnStatistics::default() })];
        let groups = vec![ColumnGroup { columns: vec![ColumnId::new(1), ColumnId::new(2)], distinct: 7.0 }];
        let old = TableStatistics { rows: 10.0, analyzed_at: 5, columns, ..TableStatistics::default() };
        let old_bytes = postcard::to_stdvec(&old).unwrap();
        assert_eq!(TableStatistics::decode(&old_bytes), Some(old.clone()));
        let new = TableStatistics { groups, ..old.clone() };
        let bytes = new.encode();
        assert_eq!(TableStatistics::decode(&bytes), Some(new));
        // An older program.
        assert_eq!(postcard::from_bytes::<TableStatistics>(&bytes).ok(), Some(old));
        assert_eq!(bytes[old_bytes.len()..], [1, 2, 1, 2, 0, 0, 0, 0, 0, 0, 0x1c, 0x40]);
        assert_eq!(TableStatistics::decode(&bytes[..3]), None);
    }

    #[test]
    fn a_tenth_of_the_rows_and_fifty_make_statistics_old() {
        let statistics = Statistics::default();
        statistics.note_changes(7, 50);
        assert!(statistics.outdated().is_empty());
        statistics.note_changes(7, 1);
        assert_eq!(statistics.outdated(), [7]);
        statistics.set(7, TableStatistics { rows: 1000.0, ..TableStatistics::default() });
        statistics.note_changes(7, 150);
        assert!(statistics.outdated().is_empty(), "the changes were counted anew, and the table is larger");
        statistics.note_changes(7, 1);
        assert_eq!(statistics.outdated(), [7]);
    }

    #[test]
    fn the_epoch_moves_only_with_the_statistics() {
        let statistics = Statistics::default();
        let before = statistics.epoch();
        statistics.replace(FxHashMap::default());
        assert_eq!(statistics.epoch(), before);
        statistics.set(7, TableStatistics::default());
        assert!(statistics.epoch() > before);
    }
}
