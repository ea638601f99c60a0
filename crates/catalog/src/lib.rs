//! The catalog.

pub mod descriptor;
mod snapshot;
pub mod virtual_tables;

pub use descriptor::{
    Check, Column, ColumnDefault, ColumnStatistics, Database, Descriptor, ForeignKey, Index, IndexColumn,
    IndexConstraint, ReferentialAction, Role, Schema, Sequence, Table, TableStatistics, View,
};
pub use snapshot::{CatalogSnapshot, NameOwner, Relation};
pub use virtual_tables::VirtualTable;
