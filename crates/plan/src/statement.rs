//! Statements after planning: a query or change to run, a change of the catalog, or a word to the session.

use std::sync::Arc;

use auth::Secret;
use catalog::privilege::{Behavior, Need, ObjectKind, PrivilegeSet};
use catalog::{
    CatalogSnapshot, ClusterSetting, Commented, Index, IndexMethod, IndexRule, Materialized, OnCommit, PartitionStrategy, Policy, PolicyExpr, Routine, Table, Trigger,
    TriggerEnabled, View, ViewOptions, ZoneTarget, descriptor,
};
use keys::zone::{ZoneConfig, ZoneField};
use types::inverted::KeyClass;
use types::{Datum, SqlType};

use crate::{
    dependencies::Dependencies,
    expr::{Expr, RoutineCall},
    plan::{Plan, PlanColumn, RowRules},
};

/// A planned statement, shared by every execution of it.
#[derive(Clone, Debug)]
pub struct PreparedPlan {
    pub kind: StatementKind,
    /// Types of `$1`, `$2`, …
    pub params: Vec<SqlType>,
    /// Result columns; empty when there is no result set.
    pub columns: Vec<PlanColumn>,
    /// WITH queries that are run once, in the order of their numbers.
    pub ctes: Vec<Arc<Plan>>,
    /// The catalog version it was planned against.
    pub catalog_version: u64,
    /// Of the statistics that the choice was made by: under others another plan may be better.
    pub statistics_epoch: u64,
    /// What it looks up in the catalog and depends on.
    pub uses: Arc<[UsedRelation]>,
    /// By which it may be known to be good under other versions as well.
    pub dependencies: Option<Arc<Dependencies>>,
    /// What its user must have the right to: looked at each time that it is executed.
    pub needs: Arc<[Need]>,
    /// It reads or writes what a rule of the audit log chooses.
    pub is_audited: bool,
    /// It holds what was the time when it was made.
    pub reads_clock: bool,
    /// It is good whatever its parameters are: planned with their values it would be no other, or not worth planning.
    pub serves_any_value: bool,
    /// The command tag's first word(s): `SELECT`, `INSERT`, `CREATE TABLE`.
    pub tag: &'static str,
}

/// The catalog version of plans that saw changes which may yet be rolled back: no catalog has it.
pub const UNCOMMITTED: u64 = u64::MAX;

impl PreparedPlan {
    /// Whether it is what planning against this snapshot would be about.
    #[must_use]
    pub fn holds_in(&self, catalog: &CatalogSnapshot, database: u32) -> bool {
        let is_same = |dependencies: &Arc<Dependencies>| dependencies.are_same_in(catalog);
        self.catalog_version == catalog.version(database)
            || self.catalog_version != UNCOMMITTED && self.dependencies.as_ref().is_some_and(is_same)
    }
}

/// A relation that a plan depends on.
#[derive(Clone, Debug)]
pub struct UsedRelation {
    pub id: u32,
    /// Where its descriptor is stored.
    pub descriptor: keys::Key,
}

#[derive(Clone, Debug)]
pub enum StatementKind {
    /// A plan that yields rows or, for changes, a count. `writes`: it may change data.
    Query { plan: Plan, writes: bool },
    Ddl(Box<Ddl>),
    Utility(Box<Utility>),
    /// An empty query string.
    Empty,
}

/// Whether a statement passes over what is there already (IF NOT EXISTS) or is not (IF EXISTS), with a notice.
pub type IfExists = bool;

/// A column as CREATE TABLE or ADD COLUMN gives it; expressions are bound once for their errors and kept as text.
#[derive(Clone, Debug)]
pub struct ColumnSpec {
    pub name: String,
    pub ty: SqlType,
    pub nullable: bool,
    pub default: Option<DefaultSpec>,
}

#[derive(Clone, Debug)]
pub enum DefaultSpec {
    Expr(String),
    /// SERIAL and its kin: a sequence owned by the column and `nextval` as the default.
    Serial,
    Identity { always: bool, options: SequenceOptions },
    Stored(String),
}

#[derive(Clone, Debug, Default)]
pub struct SequenceOptions {
    pub ty: Option<SqlType>,
    pub start: Option<i64>,
    pub increment: Option<i64>,
    /// `Some(None)`: NO MINVALUE.
    pub min: Option<Option<i64>>,
    pub max: Option<Option<i64>>,
    pub cache: Option<i64>,
    pub cycle: Option<bool>,
    /// `Some(None)`: OWNED BY NONE.
    pub owned_by: Option<Option<(u32, String)>>,
    pub restart: Option<Option<i64>>,
    /// SEQUENCE NAME of an identity column: its schema and name.
    pub name: Option<(u32, String)>,
}

/// What COMMENT ON names.
#[derive(Clone, Debug)]
pub enum CommentOn {
    Schema(String),
    Type(u32),
    /// A constraint of a domain.
    DomainCheck { domain: u32, name: String },
    Routine(u32),
    /// Of a composite type.
    Attribute { ty: u32, attribute: keys::ColumnId },
    Relation(u32),
    Part { relation: u32, on: Commented },
}

#[derive(Clone, Debug, Default)]
pub struct IndexSpec {
    /// `None`: PostgreSQL's default name is made.
    pub name: Option<String>,
    pub unique: bool,
    pub nulls_not_distinct: bool,
    pub primary: bool,
    /// It stands for a constraint (UNIQUE, PRIMARY KEY) and not for CREATE INDEX.
    pub constraint: bool,
    pub columns: Vec<IndexColumnSpec>,
    pub included: Vec<String>,
    pub predicate: Option<String>,
    pub method: IndexMethod,
    /// Of a constraint: DEFERRABLE, and INITIALLY DEFERRED.
    pub deferrable: bool,
    pub initially_deferred: bool,
    /// Of EXCLUDE: the operator of each column.
    pub exclude: Vec<ExcludeOperator>,
}

impl IndexSpec {
    /// With what an index is beside an ordered one; its columns are given in the order of its keys.
    #[must_use]
    pub fn with_details_of(mut self, index: &Index) -> Self {
        self.columns = index.declared_order().into_iter().filter_map(|place| self.columns.get(place).cloned()).collect();
        self.method = index.method();
        if index.is_inverted() {
            for (column, class) in self.columns.iter_mut().zip(&index.details.inverted) {
                // Directions are those of ordered indexes.
                column.nulls_first = None;
                column.class = (*class == KeyClass::JsonbPath).then(|| "jsonb_path_ops".to_owned());
            }
        }
        for (column, place) in self.columns.iter_mut().zip(index.declared_order()) {
            if let Some(name) = index.string_class(place).name() {
                column.class = Some(name.to_owned());
            }
        }
        self.deferrable = index.details.deferrable;
        self.initially_deferred = index.details.initially_deferred;
        match index.details.rule {
            None => {}
            Some(IndexRule::Unique | IndexRule::PrimaryKey) => self.unique = true,
            Some(IndexRule::Exclude { overlaps, .. }) => {
                let place = overlaps.and_then(|place| usize::try_from(place).ok());
                let operator = |at| if place == Some(at) { ExcludeOperator::Overlap } else { ExcludeOperator::Equal };
                self.exclude = (0..self.columns.len()).map(operator).collect();
            }
        }
        self
    }
}

/// What two rows may not have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExcludeOperator {
    Equal,
    Overlap,
}

#[derive(Clone, Debug, Default)]
pub struct IndexColumnSpec {
    /// Of an expression: how it is shown.
    pub name: String,
    /// An expression's text, and what stands for it in the index's own name.
    pub expr: Option<(String, String)>,
    pub descending: bool,
    pub nulls_first: Option<bool>,
    /// The operator class that it names.
    pub class: Option<String>,
}

#[derive(Clone, Debug)]
pub struct CheckSpec {
    pub name: Option<String>,
    pub expr: String,
    pub columns: Vec<String>,
    /// NOT VALID: rows that are there are not looked at.
    pub not_valid: bool,
}

#[derive(Clone, Debug)]
pub struct ForeignKeySpec {
    pub name: Option<String>,
    pub columns: Vec<String>,
    /// `None`: the table that is being made.
    pub referenced_table: Option<u32>,
    /// Empty: the primary key.
    pub referenced_columns: Vec<String>,
    pub on_delete: ReferentialAction,
    pub on_update: ReferentialAction,
    pub not_valid: bool,
    pub deferrable: bool,
    pub initially_deferred: bool,
}

#[derive(Clone, Debug)]
pub struct CreateTable {
    pub home: Home,
    pub name: String,
    pub if_not_exists: IfExists,
    pub columns: Vec<ColumnSpec>,
    pub indexes: Vec<IndexSpec>,
    pub checks: Vec<CheckSpec>,
    pub foreign_keys: Vec<ForeignKeySpec>,
    /// Of a temporary one.
    pub on_commit: OnCommit,
    /// CREATE TABLE AS: rows to insert, of `columns`' types.
    pub source: Option<Plan>,
    /// What makes it a materialized view.
    pub materialized: Option<Materialized>,
    pub partition_by: Option<PartitionSpec>,
    pub partition_of: Option<PartitionOf>,
}

/// PARTITION BY.
#[derive(Clone, Debug)]
pub struct PartitionSpec {
    pub strategy: PartitionStrategy,
    pub key: Vec<PartitionKeySpec>,
}

#[derive(Clone, Debug)]
pub enum PartitionKeySpec {
    Column(String),
    /// SQL text.
    Expr(String),
}

/// PARTITION OF. The columns of the new table are those of the other, with what is said of them.
#[derive(Clone, Debug)]
pub struct PartitionOf {
    pub parent: Arc<Table>,
    pub bound: BoundSpec,
}

/// The values of a bound are computed when it is made; they are of the types of the key.
#[derive(Clone, Debug)]
pub enum BoundSpec {
    Default,
    List(Vec<Expr>),
    Range(Vec<EndSpec>, Vec<EndSpec>),
    Hash { modulus: u32, remainder: u32 },
}

#[derive(Clone, Debug)]
pub enum EndSpec {
    Min,
    Max,
    Value(Expr),
}

#[derive(Clone, Debug)]
pub enum AlterTable {
    AddColumn {
        column: ColumnSpec,
        indexes: Vec<IndexSpec>,
        checks: Vec<CheckSpec>,
        foreign_keys: Vec<ForeignKeySpec>,
        if_not_exists: bool,
    },
    DropColumn { name: String, if_exists: bool, cascade: bool },
    SetDefault { column: String, expr: Option<String> },
    SetNotNull { column: String },
    DropNotNull { column: String },
    /// `using` is SQL text over the old row.
    SetType { column: String, ty: SqlType, using: Option<String> },
    DropIdentity { column: String, if_exists: bool },
    AddIdentity { column: String, always: bool, options: SequenceOptions },
    /// SET GENERATED and the options of the sequence.
    SetIdentity { column: String, always: Option<bool>, options: SequenceOptions },
    /// A generated column keeps its values and becomes an ordinary one.
    DropExpression { column: String, if_exists: bool },
    AddIndex(IndexSpec),
    AddCheck(CheckSpec),
    AddForeignKey(ForeignKeySpec),
    ValidateConstraint { name: String },
    /// Of a foreign key.
    AlterConstraint { name: String, deferrable: bool, initially_deferred: bool },
    DropConstraint { name: String, if_exists: bool, cascade: bool },
    RenameColumn { from: String, to: String },
    RenameConstraint { from: String, to: String },
    RenameTo(String),
    SetSchema(u32),
    OwnerTo(String),
    /// ENABLE and DISABLE TRIGGER; `None`: all.
    SetTriggers { name: Option<String>, enabled: TriggerEnabled },
    SetRowSecurity(RowSecurityChange),
    AttachPartition { partition: Arc<Table>, bound: BoundSpec },
    DetachPartition { partition: Arc<Table> },
    /// SPLIT AT VALUES: each row is a prefix of the primary key.
    SplitAt(Vec<Vec<Datum>>),
    /// UNSPLIT AT VALUES, or ALL where there are none.
    Unsplit(Option<Vec<Vec<Datum>>>),
}

/// … ROW LEVEL SECURITY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowSecurityChange {
    Enabled(bool),
    Forced(bool),
}

/// REFRESH MATERIALIZED VIEW.
#[derive(Clone, Debug)]
pub struct Refresh {
    pub table: Arc<Table>,
    /// Only what differs is changed, so that others read on.
    pub concurrently: bool,
    /// The view's query; none WITH NO DATA.
    pub source: Option<Plan>,
}

/// A change of a view that tables do not know.
#[derive(Clone, Debug)]
pub enum AlterView {
    RenameColumn { from: String, to: String },
    /// SQL text for a column, by its number.
    SetDefault { column: u32, text: Option<String> },
    SetOptions(ViewOptions),
}

/// Where a new relation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    Schema(u32),
    /// Among the session's temporary objects, whose schema may have to be made.
    Temporary,
}

/// A range type to be made.
#[derive(Clone, Debug)]
pub struct CreateRange {
    pub home: Home,
    pub name: String,
    pub subtype: SqlType,
    /// `None`: the name follows from that of the range type.
    pub multirange_name: Option<String>,
    pub subtype_diff: Option<u32>,
}

/// A change of the catalog. Names are resolved to ids where the object must exist.
#[derive(Clone, Debug)]
pub enum Ddl {
    CreateDatabase { name: String, owner: Option<String> },
    DropDatabase { name: String, if_exists: IfExists },
    AlterDatabaseRename { name: String, to: String },
    CreateSchema { name: String, if_not_exists: IfExists, owner: Option<String> },
    DropSchema { names: Vec<String>, if_exists: IfExists, cascade: bool },
    AlterSchemaRename { name: String, to: String },
    CreateTable(CreateTable),
    /// `only`: ONLY, not its partitions.
    AlterTable { table: Arc<Table>, actions: Vec<AlterTable>, only: bool },
    /// Every name resolved; the missing ones of IF EXISTS are in `missing` for their notices.
    DropRelations { kind: RelationKind, ids: Vec<u32>, missing: Vec<String>, cascade: bool },
    CreateIndex { table: Arc<Table>, index: IndexSpec, if_not_exists: IfExists, only: bool },
    /// An index of a partition becomes one of the partitioned table's index.
    AttachIndex { table: Arc<Table>, oid: u32, partition: (Arc<Table>, u32) },
    DropIndexes { indexes: Vec<(Arc<Table>, u32)>, missing: Vec<String>, cascade: bool },
    AlterIndexRename { table: Arc<Table>, oid: u32, to: String },
    /// Its id and schema are made up; its owner is whoever makes it.
    CreateView { home: Home, view: Box<View>, or_replace: bool },
    AlterView { id: u32, change: AlterView },
    /// New rows for a materialized view.
    Refresh(Box<Refresh>),
    RenameRelation { id: u32, to: String },
    MoveRelation { id: u32, schema: u32 },
    OwnRelation { id: u32, owner: String },
    CreateSequence { home: Home, name: String, if_not_exists: IfExists, options: SequenceOptions },
    AlterSequence { id: u32, options: SequenceOptions },
    Truncate { tables: Vec<Arc<Table>>, restart_identity: bool, cascade: bool },
    CreateRole { name: String, options: RoleOptions, if_not_exists: IfExists },
    AlterRole { name: String, options: RoleOptions },
    RenameRole { name: String, to: String },
    DropRole { names: Vec<String>, if_exists: IfExists },
    Grant(Grant),
    GrantRoles(GrantRoles),
    DefaultPrivileges(DefaultPrivileges),
    ReassignOwned { roles: Vec<u32>, to: u32 },
    DropOwned { roles: Vec<u32>, cascade: bool },
    OwnSchema { id: u32, owner: String },
    OwnDatabase { id: u32, owner: String },
    /// SET CLUSTER SETTING; none: its default.
    SetCluster(ClusterSetting, Option<String>),
    ConfigureZone { target: ZoneTarget, change: ZoneChange },
    CreateEnum { home: Home, name: String, labels: Vec<String> },
    CreateRange(CreateRange),
    CreateDomain(CreateDomain),
    AlterDomain { id: u32, change: AlterDomain },
    CreateComposite { home: Home, name: String, attributes: Vec<AttributeSpec> },
    AlterComposite { id: u32, changes: Vec<AlterComposite> },
    AlterType { id: u32, change: AlterType },
    DropTypes { ids: Vec<u32>, missing: Vec<String>, cascade: bool },
    /// Its id is made up; its owner is whoever makes it.
    /// `warnings`: parts of its definition that have no effect.
    CreateRoutine { routine: Box<Routine>, or_replace: bool, body: RoutineBody, warnings: Vec<String> },
    AlterRoutine { id: u32, change: AlterRoutine },
    DropRoutines { ids: Vec<u32>, missing: Vec<String>, cascade: bool },
    /// Its oid is made up, or that of the one it replaces.
    CreateTrigger { table: u32, trigger: Box<Trigger>, or_replace: bool },
    RenameTrigger { table: u32, name: String, to: String },
    DropTrigger { table: u32, name: String },
    /// Its oid is made up. `has_idle_roles`: PUBLIC makes the other roles that were named needless.
    CreatePolicy { table: u32, policy: Box<Policy>, has_idle_roles: bool },
    AlterPolicy { table: u32, name: String, change: AlterPolicy, has_idle_roles: bool },
    RenamePolicy { table: u32, name: String, to: String },
    DropPolicy { table: u32, name: String },
    Comment { on: CommentOn, text: Option<String> },
    /// IF EXISTS of what does not; the notice that says so.
    Skipped(String),
    /// Storage parameters and others with nothing to do here.
    Accepted,
}

/// CONFIGURE ZONE.
#[derive(Clone, Debug)]
pub enum ZoneChange {
    Discard,
    /// `cleared`: left to what is around it from now on.
    Set { set: ZoneConfig, cleared: Vec<ZoneField> },
}

/// What ALTER POLICY gives: what it does not stays.
#[derive(Clone, Debug)]
pub struct AlterPolicy {
    /// Ids; empty for everybody.
    pub roles: Option<Vec<u32>>,
    pub using: Option<PolicyExpr>,
    pub check: Option<PolicyExpr>,
}

/// GRANT and REVOKE of privileges.
#[derive(Clone, Debug)]
pub struct Grant {
    pub is_grant: bool,
    /// WITH GRANT OPTION, and REVOKE GRANT OPTION FOR.
    pub option: bool,
    pub targets: Vec<GrantTarget>,
    /// 0 for everybody.
    pub grantees: Vec<u32>,
    pub granted_by: Option<u32>,
    pub behavior: Behavior,
    /// For what does not have all of the privileges that are named.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct GrantTarget {
    pub id: u32,
    /// On the whole.
    pub privileges: PrivilegeSet,
    /// ALL: those that cannot be granted are passed over.
    pub is_all: bool,
    /// Column ids, each with its name and the privileges on it.
    pub columns: Vec<(u32, String, PrivilegeSet)>,
}

/// GRANT and REVOKE of roles.
#[derive(Clone, Debug)]
pub struct GrantRoles {
    pub is_grant: bool,
    /// WITH ADMIN OPTION, and REVOKE ADMIN OPTION FOR.
    pub admin: bool,
    pub roles: Vec<u32>,
    pub members: Vec<u32>,
    pub granted_by: Option<u32>,
}

/// ALTER DEFAULT PRIVILEGES.
#[derive(Clone, Debug)]
pub struct DefaultPrivileges {
    /// Whose new objects; none: the current user's.
    pub roles: Vec<u32>,
    /// None: in all.
    pub schemas: Vec<u32>,
    pub kind: ObjectKind,
    pub is_grant: bool,
    pub option: bool,
    pub privileges: PrivilegeSet,
    pub grantees: Vec<u32>,
    pub behavior: Behavior,
}

#[derive(Clone, Debug)]
pub struct CreateDomain {
    pub home: Home,
    pub name: String,
    pub over: SqlType,
    pub not_null: bool,
    /// SQL text, as is that of the checks.
    pub default: Option<String>,
    pub checks: Vec<DomainCheckSpec>,
}

#[derive(Clone, Debug)]
pub struct DomainCheckSpec {
    pub name: Option<String>,
    pub expr: String,
    pub not_valid: bool,
}

/// A change of a domain that other types do not know.
#[derive(Clone, Debug)]
pub enum AlterDomain {
    SetDefault(Option<String>),
    SetNotNull(bool),
    AddCheck(DomainCheckSpec),
    ValidateConstraint(String),
    DropConstraint { name: String, if_exists: IfExists },
    RenameConstraint { from: String, to: String },
}

/// An attribute of a composite type.
#[derive(Clone, Debug)]
pub struct AttributeSpec {
    pub name: String,
    pub ty: SqlType,
}

/// A change of the attributes of a composite type.
#[derive(Clone, Debug)]
pub enum AlterComposite {
    Add(AttributeSpec),
    Drop { name: String, if_exists: IfExists, cascade: bool },
    SetType(AttributeSpec),
    Rename { from: String, to: String },
}

/// A change of a routine.
#[derive(Clone, Debug)]
pub enum AlterRoutine {
    RenameTo(String),
    SetSchema(u32),
    OwnerTo(String),
    /// With other properties, of the same name and arguments. `says_leakproof`: LEAKPROOF is among what was said, also where
    /// it was so before.
    Become { changed: Box<Routine>, says_leakproof: bool },
}

/// A change of a type.
#[derive(Clone, Debug)]
pub enum AlterType {
    /// `before` or `after` another; at the end without either.
    AddValue { label: String, if_not_exists: IfExists, before: Option<String>, after: Option<String> },
    RenameValue { from: String, to: String },
    RenameTo(String),
    SetSchema(u32),
    OwnerTo(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    Table,
    View,
    MaterializedView,
    Sequence,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleOptions {
    pub superuser: Option<bool>,
    pub login: Option<bool>,
    pub create_db: Option<bool>,
    pub create_role: Option<bool>,
    /// PASSWORD NULL takes it away.
    pub password: Option<Option<Secret>>,
    pub valid_until: Option<String>,
    pub connection_limit: Option<i64>,
    pub inherit: Option<bool>,
    /// BYPASSRLS.
    pub bypass_row_security: Option<bool>,
    /// Without effect.
    pub replication: Option<bool>,
    /// Names of roles that a new one becomes a member of.
    pub in_roles: Vec<String>,
    /// Members of a new one; of the second, such as may grant it.
    pub members: Vec<String>,
    pub admins: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsolationLevel {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TransactionModes {
    pub isolation: Option<IsolationLevel>,
    pub read_only: Option<bool>,
    pub deferrable: Option<bool>,
    /// AS OF SYSTEM TIME, as it was written.
    pub as_of: Option<String>,
}

/// What is said of large objects.
#[derive(Clone, Debug)]
pub enum LargeObjectChange {
    /// To a role.
    Owner(u32),
    Comment(Option<String>),
    /// The targets of `grant` are empty.
    Grant { grant: Box<Grant>, privileges: PrivilegeSet, is_all: bool },
}

#[derive(Clone, Debug)]
pub enum Utility {
    Begin(TransactionModes),
    Commit { chain: bool },
    Rollback { chain: bool },
    Savepoint(String),
    ReleaseSavepoint(String),
    RollbackTo(String),
    SetTransaction { modes: TransactionModes, session: bool },
    /// SET TRANSACTION SNAPSHOT.
    ImportSnapshot(String),
    PrepareTransaction(String),
    EndPrepared { gid: String, commit: bool },
    /// `value: None` is SET ... TO DEFAULT and RESET.
    Set { name: String, value: Option<Vec<String>>, local: bool },
    ResetAll,
    Show(String),
    ShowAll,
    Prepare { name: String, params: Vec<SqlType>, statement: String },
    Execute { name: String, args: Vec<Expr> },
    /// `None`: ALL.
    Deallocate(Option<String>),
    /// DECLARE name CURSOR FOR: the query's plan.
    DeclareCursor { name: String, plan: Arc<PreparedPlan>, hold: bool, scroll: Scroll, binary: bool },
    Fetch { name: String, direction: FetchDirection, move_only: bool },
    CloseCursor(Option<String>),
    CopyFrom {
        table: Arc<Table>,
        /// Positions in `table.columns` that the input gives, in its order.
        columns: Vec<usize>,
        /// A value for every other column, over no row; for given ones NULL stands here.
        defaults: Vec<Expr>,
        /// Given columns with the rules of their domains around them, over the row.
        domains: Vec<Expr>,
        /// Rows for which it is not true are passed over.
        filter: Option<Expr>,
        row_rules: Arc<RowRules>,
        options: CopyOptions,
        /// With the option DEFAULT: what it stands for in each of `columns`, where that has a default.
        marked: Vec<Option<Expr>>,
        server: Option<ServerEnd>,
    },
    CopyTo { plan: Plan, options: CopyOptions, server: Option<ServerEnd> },
    LargeObject { oids: Vec<u32>, change: LargeObjectChange },
    Explain { plan: Arc<PreparedPlan>, analyze: bool, options: ExplainOptions },
    /// `None`: every table of the database.
    Analyze { tables: Option<Vec<Arc<Table>>> },
    Vacuum { tables: Option<Vec<Arc<Table>>>, analyze: bool },
    /// Transactions are serializable without it: the tables exist, one may lock them, and that is all. `any_of`: the
    /// privileges that allow it.
    LockTable { tables: Vec<(u32, Option<u32>)>, any_of: PrivilegeSet },
    /// By oid; `None`: all.
    SetConstraints { constraints: Option<Vec<u32>>, deferred: bool },
    /// SHOW RANGES FROM TABLE; `tables` and `any_of` as in LOCK TABLE.
    ShowRanges { table: Arc<Table>, tables: Vec<(u32, Option<u32>)>, any_of: PrivilegeSet },
    /// `None`: ALL.
    ShowZones(Option<ZoneTarget>),
    Discard(DiscardKind),
    Listen(String),
    /// `None`: from all.
    Unlisten(Option<String>),
    Notify { channel: String, payload: String },
    /// BACKUP, RESTORE, and jobs.
    Backup(Box<crate::backup::BackupStatement>),
    /// DO, in PL/pgSQL.
    Do(RoutineBody),
    /// CALL; what its output parameters become is its one row.
    Call(RoutineCall),
    /// CHECKPOINT, CLUSTER, REINDEX and others that need nothing here.
    Accepted,
}

/// The body of a routine in the text of a statement.
#[derive(Clone, Debug)]
pub struct RoutineBody {
    pub text: Arc<str>,
    /// How many characters of the query string come before it, where it stands there as it is.
    pub offset: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscardKind {
    All,
    Plans,
    Sequences,
    Temp,
}

/// Whether a cursor goes backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scroll {
    No,
    /// Nothing was said: as long as its rows so far are few.
    IfSmall,
    Yes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchDirection {
    Forward(u64),
    ForwardAll,
    Backward(u64),
    BackwardAll,
    Absolute(i64),
    Relative(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExplainFormat {
    Text,
    Json,
    Yaml,
    Xml,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExplainOptions {
    pub format: ExplainFormat,
    pub costs: bool,
    pub timing: bool,
    pub verbose: bool,
}

impl Default for ExplainOptions {
    fn default() -> Self {
        Self { format: ExplainFormat::Text, costs: true, timing: true, verbose: false }
    }
}

pub use crate::copy_options::{CopyEncoding, CopyFormat, CopyHeader, CopyOnError, CopyOptions, ServerEnd};

/// The kind of referential action, re-exported for DDL that names it.
pub use descriptor::ReferentialAction;
