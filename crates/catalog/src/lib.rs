//! The problem: every statement asks the catalog a dozen questions, so it must be in memory; but it must be the same
//! catalog everywhere, and change together with the data it describes.
//!
//! The idea: the whole catalog is one immutable snapshot with a version for each database. Transactions look at the
//! version of theirs, and depend on the descriptors of what they use like on any other key, so that schema and data are
//! serialized together; a change is an ordinary transaction that writes both.
//!
//! Read in this order: [`descriptor`], [`CatalogSnapshot`], [`CatalogStore`], [`row`], [`statistics`]; then what
//! clients see of it: [`CatalogView`], [`virtual_tables`].
//!
//! **Invariants**: *names-agree* and *types-of-this-version* ([`CatalogSnapshot`]), *version-moves* and *planned-as-stored* ([`CatalogStore`]), *composite-value-kept*
//! ([`row`]), *names-by-id* and *calls-by-id* (`stored_view`), *rules-are-not-unique* (`index_details`), *read-before-stored* (`cluster`), *decided-now* (`policy`), *bounds-apart*, *bounds-with-parent* and *parts-follow* ([`partition`]), *all-ids-mapped* (`renumber`).
//!
//! Deliberately left out: plans.

mod aggregate;
mod audited;
mod cluster;
pub mod definition;
pub mod descriptor;
mod composite;
mod domain;
mod functions;
mod index_details;
pub mod large_object;
mod literals;
pub mod partition;
mod policy;
pub mod privilege;
mod range_type;
mod renumber;
pub mod routine;
pub mod row;
mod snapshot;
pub mod statistics;
mod store;
mod stored_rows;
mod stored_view;
mod table_parts;
pub mod text_search;
pub mod trigger;
mod view;
pub mod virtual_tables;
mod zones;

use keys::tagged;

pub use aggregate::{AggregateDefinition, Step, Steps, SupportFunction, Transitions, support_builtin};
pub use audited::Audited;
pub use cluster::{Cluster, ClusterParts, ClusterSetting, ClusterSettings};
pub use descriptor::{
    Attribute, Check, Column, ColumnDefault, Commented, Composite, Database, Descriptor, Domain, DomainCheck, ForeignKey, Index,
    IndexColumn, IndexConstraint, Label, OnCommit, RangeOf, ReferentialAction, Role, Schema, Sequence, Table, Type, TypeKind, View,
};
pub use index_details::{IndexDetails, IndexMethod, IndexRule, StringClass};
pub use literals::LiteralSettings;
pub use partition::{
    KeyPart, KeySet, Partition, PartitionBound, PartitionKey, PartitionStrategy, Partitioned, Partitioning, RangeDatum,
    TABLE_OID_COLUMN,
};
pub use policy::{Policy, PolicyCommand, PolicyExpr, RowSecurity, RowSecurityState};
pub use renumber::Renumbering;
pub use routine::{
    Language, Routine, RoutineKind, RoutineParameter, RoutineVolatility, StoredType,
};
pub use snapshot::{CatalogSnapshot, NameOwner, Relation, SeenObject, UserType, temporary_schema};
pub use statistics::{ColumnGroup, ColumnStatistics, Statistics, TableStatistics};
pub use store::{
    CatalogChange, CatalogError, CatalogStore, FIRST_COLUMN, PRIMARY_INDEX, PRIVILEGES_DOMAIN, ROW_ID_COLUMN, SHARED_DOMAIN,
    descriptor_key,
};
pub use stored_rows::{StoredRow, decode_descriptor, descriptor_span, privilege_span, statistics_key, stored_row};
pub use stored_view::{CheckOption, Materialized, NamedRelation, ViewDetails, ViewOptions};
pub use trigger::{ConstraintTrigger, Trigger, TriggerEnabled, TriggerEvent, TriggerEvents, TriggerTiming};
pub use view::{CatalogView, Class, DELETE_BIT, INSERT_BIT, Printers, UPDATE_BIT, WrittenThrough};
pub use zones::{ClusterZones, TableZones, ZoneTarget};
pub use virtual_tables::{SystemTables, VirtualChunk, VirtualLookup, VirtualRead, VirtualRows, VirtualTable, is_operator_class};
