//! The physical plan: a tree that `exec` runs as it stands.
//!
//! **Invariant (columns-in-order):** [`Plan::columns`] describes exactly the columns of the batches a node yields, in
//! order; the expressions of a node refer to the concatenated columns of its inputs, left first.

use std::sync::{Arc, OnceLock};

use builtins::{Builtin, CallTypes, Volatility};
use catalog::{Routine, RoutineVolatility, Table, VirtualTable, row::Access};
use keys::LockStrength;
use rustc_hash::FxHashMap;
use types::{CompositeType, Datum, RowType, SqlType};
use types::inverted::KeyQuestion;
use types::stack::grown;

use crate::expr::{AggregateCall, Expr, SortKey};
use crate::pruning::PruneNode;

#[derive(Clone, Debug, PartialEq)]
pub struct PlanColumn {
    pub name: String,
    pub ty: SqlType,
    /// The table and attribute number it comes from unchanged; 0 otherwise. RowDescription shows them.
    pub table_oid: u32,
    pub attribute: i16,
}

#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Estimate {
    pub rows: f64,
    pub width: f64,
    pub startup_cost: f64,
    pub total_cost: f64,
}

#[derive(Debug)]
pub struct Plan {
    pub node: Node,
    pub columns: Vec<PlanColumn>,
    pub estimate: Estimate,
}

impl Clone for Plan {
    fn clone(&self) -> Self {
        grown(|| Self { node: self.node.clone(), columns: self.columns.clone(), estimate: self.estimate })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
    /// Left rows with a match; only the left's columns.
    Semi,
    /// Left rows without a match; only the left's columns.
    Anti,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetOpKind {
    Union,
    Intersect,
    Except,
}

/// FOR UPDATE and its kin, and what UPDATE and DELETE take where they read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowLock {
    pub strength: LockStrength,
    pub wait: LockWait,
    /// The rows are locked above ([`Node::LockRows`]): what reads them only looks for them.
    pub is_above: bool,
}

/// The later ones win where several are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockWait {
    Block,
    Skip,
    Error,
}

/// A table whose rows are locked by [`Node::LockRows`].
#[derive(Clone, Debug)]
pub struct LockedTable {
    pub table: Arc<Table>,
    pub lock: RowLock,
    /// Where the columns of its primary key are, in the order of the key.
    pub key: Vec<usize>,
}

/// A stretch of an index: equal leading columns, then at most one bounded column. Its expressions do not depend on
/// the scanned row. A value that is NULL makes the span empty.
#[derive(Clone, Debug, Default)]
pub struct IndexSpan {
    /// One for each leading key column, cast to the column's type; `None` for IS NULL.
    pub equal: Vec<Option<Expr>>,
    /// The place in `equal` whose value is an array: the span stands for one with each of its elements.
    pub any_of: Option<usize>,
    /// On the key column after those: the value and whether it is included. In the column's own order, that is:
    /// `lower` bounds values from below whatever the index direction.
    pub lower: Option<(Expr, bool)>,
    pub upper: Option<(Expr, bool)>,
    /// A range bound excludes NULLs even where there is only one bound; set for every span with `lower` or `upper`,
    /// and for IS NOT NULL.
    pub not_null: bool,
}

#[derive(Clone, Debug)]
pub struct TableScan {
    pub table: Arc<Table>,
    /// Position in `table.indexes`; 0 is the primary one.
    pub index: usize,
    /// Empty: the whole index. Sorted and made disjoint when they are evaluated.
    pub spans: Vec<IndexSpan>,
    /// Output columns, as positions in `table.columns`.
    pub columns: Vec<usize>,
    /// Over the output columns.
    pub filter: Option<Expr>,
    pub reverse: bool,
    pub lock: Option<RowLock>,
    /// The index's entries do not hold all columns: each row is fetched from the primary index.
    pub fetch_rows: bool,
    /// More rows than this will not be asked for.
    pub limit_hint: Option<u64>,
    /// Every span names one key of a unique index in full.
    pub point: bool,
    /// Which rows are read: those that an inverted index finds. The scan is over the primary index then, without spans.
    pub entries: Option<Arc<EntryScan>>,
    pub access: OnceLock<Access>,
}

/// How rows are found by the entries of an inverted index. A filter looks at each of them again.
#[derive(Clone, Debug)]
pub struct EntryScan {
    /// Position in `table.indexes`.
    pub index: usize,
    pub condition: EntryCondition,
}

#[derive(Clone, Debug)]
pub enum EntryCondition {
    Term(EntryTerm),
    All(Vec<EntryCondition>),
    Any(Vec<EntryCondition>),
}

/// What is asked of a column of an inverted index.
#[derive(Clone, Debug)]
pub struct EntryTerm {
    /// The column's place in the key.
    pub place: usize,
    pub question: KeyQuestion,
    /// It does not depend on the scanned row.
    pub value: Expr,
}

impl TableScan {
    /// How its rows are read, worked out by the first execution for all that follow.
    #[must_use]
    pub fn access(&self) -> &Access {
        self.access.get_or_init(|| Access::new(&self.table, self.index, &self.columns, self.fetch_rows))
    }
}

#[derive(Clone, Debug)]
pub struct Insert {
    pub table: Arc<Table>,
    /// Yields one column for each of `table.columns`, in their order and types, defaults filled in; generated ones
    /// are NULL there.
    pub source: Box<Plan>,
    pub row_rules: Arc<RowRules>,
    pub on_conflict: Option<OnConflict>,
    /// Over the new row (`table.columns`).
    pub returning: Option<Vec<Expr>>,
    pub mode: InsertMode,
}

/// What an INSERT makes of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertMode {
    /// It has the rows besides its own.
    Add,
    /// It has new storage, which the statement does not read: its rows leave memory while more are made. CREATE TABLE AS, REFRESH.
    Fill,
    /// It has the rows alone: those it has already stay, others go. REFRESH … CONCURRENTLY.
    Replace,
}

/// What every new version of a row must pass; expressions over `table.columns`.
#[derive(Clone, Debug, Default)]
pub struct RowRules {
    pub generated: Vec<(usize, Expr)>,
    /// Name and condition; not true and not NULL is 23514.
    pub checks: Vec<(String, Expr)>,
    /// For each index, its predicate if it is partial.
    pub predicates: Vec<Option<Expr>>,
    /// Foreign keys of the table that a new row is checked against, by their place in `Table::foreign_keys`.
    pub references: Vec<usize>,
    /// Foreign keys of others that refer to the table.
    pub referenced_by: Vec<Reference>,
    /// None where the table has no triggers.
    pub triggers: Option<Arc<TriggerRules>>,
    /// Of the policies that are in force for who writes; none where none are.
    pub policies: Option<Arc<PolicyRules>>,
    /// Of the views that the statement writes through, in the order in which they are looked at, when the row is written.
    pub check_options: Vec<CheckOption>,
    /// Of a partition: what its bound says of its rows.
    pub partition: Option<Arc<PartitionCheck>>,
    /// Of a partitioned table: where its rows are.
    pub partitions: Option<Arc<PartitionRules>>,
}

/// What the policies of a table say of rows that a statement writes. What is not true is 42501.
#[derive(Clone, Debug, Default)]
pub struct PolicyRules {
    /// The table's name.
    pub table: String,
    /// Of rows that come.
    pub insert: Vec<PolicyCheck>,
    /// Of what rows become.
    pub update: Vec<PolicyCheck>,
    /// Of the row that ON CONFLICT DO UPDATE changes, as it was.
    pub conflict: Vec<PolicyCheck>,
    /// Of rows that MERGE updates and deletes, as they were.
    pub merge_update: Vec<PolicyCheck>,
    pub merge_delete: Vec<PolicyCheck>,
}

#[derive(Clone, Debug)]
pub struct PolicyCheck {
    /// The restrictive policy that it is of.
    pub policy: Option<String>,
    /// Over `table.columns`.
    pub condition: Expr,
}

/// What new rows of a partition must pass beside its rules: they must belong to it.
#[derive(Clone, Debug)]
pub struct PartitionCheck {
    /// From the partition up.
    pub levels: Vec<PartitionLevel>,
}

#[derive(Clone, Debug)]
pub struct PartitionLevel {
    pub parent: Arc<Table>,
    /// The parent's key over the partition's columns.
    pub key: Vec<Expr>,
    /// The partition of the parent that the row must belong to.
    pub child: u32,
}

/// Where the rows of a partitioned table go, and by which rules they are changed there.
#[derive(Clone, Debug)]
pub struct PartitionRules {
    pub root: RouteNode,
    /// The partitions that hold rows.
    pub leaves: Vec<LeafRules>,
    /// Their places, by their ids.
    pub places: FxHashMap<u32, usize>,
}

/// A partitioned table on the way of a row.
#[derive(Clone, Debug)]
pub struct RouteNode {
    pub table: Arc<Table>,
    /// Its key over the columns of the table that the statement names.
    pub key: Vec<Expr>,
    /// For each partition, in their order.
    pub branches: Vec<Branch>,
}

#[derive(Clone, Debug)]
pub enum Branch {
    /// Its place among the leaves.
    Leaf(usize),
    Node(RouteNode),
}

#[derive(Clone, Debug)]
pub struct LeafRules {
    pub table: Arc<Table>,
    pub rules: Arc<RowRules>,
    /// For each of its columns, the place of that column in the table that the statement names.
    pub from_root: Vec<Option<usize>>,
    /// The other way round.
    pub to_root: Vec<Option<usize>>,
    /// For each index of the table that the statement names, the place of its own that is one of it.
    pub indexes: Vec<Option<usize>>,
}

/// WITH CHECK OPTION of a view: new rows are rows of it.
#[derive(Clone, Debug)]
pub struct CheckOption {
    pub view: String,
    /// Over `table.columns`; what is not true is 44000.
    pub condition: Expr,
}

/// The triggers of a table, as changes of its rows fire them.
#[derive(Clone, Debug)]
pub struct TriggerRules {
    /// Of NEW and OLD: the table's visible columns.
    pub row_type: SqlType,
    /// In the order in which they fire.
    pub list: Vec<TriggerRule>,
    /// Columns of domains with their rules around them, over the row: for what a BEFORE trigger has changed.
    pub domains: Vec<Expr>,
}

#[derive(Clone, Debug)]
pub struct TriggerRule {
    /// Its place in `Table::triggers`.
    pub at: usize,
    pub routine: Arc<Routine>,
    /// WHEN, over the columns of the old row followed by those of the new one.
    pub when: Option<Expr>,
}

/// The rows that a statement has changed, under the name that a trigger has for them.
#[derive(Clone, Debug)]
pub struct Transition {
    pub name: String,
    pub table: Arc<Table>,
    /// Each a record of the table's visible columns.
    pub rows: Arc<Vec<Datum>>,
}

/// A foreign key seen from the table it refers to.
#[derive(Clone, Debug)]
pub struct Reference {
    pub from: Arc<Table>,
    /// Its place in the referring table's foreign keys.
    pub key: usize,
    /// The table that it refers to, where the row is in a partition of that.
    pub root: Option<Arc<ReferenceRoot>>,
}

/// A partitioned table that a foreign key refers to.
#[derive(Clone, Debug)]
pub struct ReferenceRoot {
    pub table: Arc<Table>,
    /// For each of its columns, the place of that column in the partition.
    pub columns: Vec<Option<usize>>,
}

/// The rows of partitions, one partition after the other.
#[derive(Clone, Debug)]
pub struct Append {
    /// All of the same columns.
    pub inputs: Vec<Plan>,
    /// Which of them are read, where that is known when the statement runs.
    pub pruning: Option<Arc<PruneNode>>,
}

#[derive(Clone, Debug)]
pub struct OnConflict {
    /// Positions in `table.indexes` of the unique indexes that arbitrate; `None`: all of them (DO NOTHING only).
    pub arbiters: Option<Vec<usize>>,
    /// `None` is DO NOTHING.
    pub update: Option<ConflictUpdate>,
}

/// DO UPDATE: expressions over the existing row's columns followed by those of `excluded`.
#[derive(Clone, Debug)]
pub struct ConflictUpdate {
    pub assignments: Vec<(usize, Expr)>,
    pub filter: Option<Expr>,
}

#[derive(Clone, Debug)]
pub struct Update {
    pub table: Arc<Table>,
    /// Yields `table.columns` of the row to change, then whatever else FROM brought.
    pub source: Box<Plan>,
    /// Column position and its new value over the source's columns, cast to the column's type.
    pub assignments: Vec<(usize, Expr)>,
    pub row_rules: Arc<RowRules>,
    /// Over the new row followed by the rest of the source's columns.
    pub returning: Option<Vec<Expr>>,
}

#[derive(Clone, Debug)]
pub struct Delete {
    pub table: Arc<Table>,
    /// As for [`Update`].
    pub source: Box<Plan>,
    pub row_rules: Arc<RowRules>,
    /// Over the source's columns.
    pub returning: Option<Vec<Expr>>,
}

#[derive(Clone, Debug)]
pub struct Merge {
    pub table: Arc<Table>,
    /// Yields `table.columns`, NULLs where no row matches, then what the source brought.
    pub source: Box<Plan>,
    /// The first that applies is carried out.
    pub whens: Vec<MergeWhen>,
    pub row_rules: Arc<RowRules>,
}

/// WHEN [NOT] MATCHED; expressions over the source's columns.
#[derive(Clone, Debug)]
pub struct MergeWhen {
    pub is_matched: bool,
    pub condition: Option<Expr>,
    pub action: MergeAction,
}

#[derive(Clone, Debug)]
pub enum MergeAction {
    Nothing,
    /// A value for each column of the table, generated ones NULL.
    Insert(Vec<Expr>),
    Update(Vec<(usize, Expr)>),
    Delete,
}

impl MergeWhen {
    pub fn for_each_expr_mut(&mut self, visit: &mut dyn FnMut(&mut Expr)) {
        self.condition.iter_mut().for_each(&mut *visit);
        match &mut self.action {
            MergeAction::Nothing | MergeAction::Delete => {}
            MergeAction::Insert(values) => values.iter_mut().for_each(visit),
            MergeAction::Update(assignments) => assignments.iter_mut().for_each(|(_, value)| visit(value)),
        }
    }
}

/// Only the rows of a virtual table whose column, by its position there, has one of these values.
#[derive(Clone, Debug)]
pub struct CatalogLookup {
    pub column: usize,
    pub values: LookupValues,
}

/// They depend on no row.
#[derive(Clone, Debug)]
pub enum LookupValues {
    One(Expr),
    Among(Vec<Expr>),
    /// The elements of an array.
    AnyOf(Expr),
}

/// A set-returning function in FROM.
#[derive(Clone, Debug)]
pub struct FunctionCall {
    pub callee: Callee,
    pub types: CallTypes,
    pub args: Vec<Expr>,
}

/// What is called for its rows.
#[derive(Clone, Debug)]
pub enum Callee {
    Builtin(&'static Builtin),
    Routine(Arc<Routine>),
}

impl FunctionCall {
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.callee {
            Callee::Builtin(builtin) => builtin.name(),
            Callee::Routine(routine) => &routine.name,
        }
    }

    #[must_use]
    pub fn is_volatile(&self) -> bool {
        match &self.callee {
            Callee::Builtin(builtin) => builtin.volatility == Volatility::Volatile,
            Callee::Routine(routine) => routine.volatility == RoutineVolatility::Volatile,
        }
    }

    /// How many columns it yields.
    #[must_use]
    pub fn width(&self) -> usize {
        match &self.callee {
            Callee::Builtin(builtin) => builtin.set.as_ref().map_or(1, |set| set.columns.len().max(1)),
            Callee::Routine(_) => self.types.ret.row_type().map_or(1, |row| row.fields.len()),
        }
    }

    /// The row type that its values are taken apart by where it stands in FROM: a builtin that yields values of a composite type.
    #[must_use]
    pub fn taken_apart(&self) -> Option<CompositeType> {
        match &self.callee {
            Callee::Builtin(builtin) if builtin.set.as_ref().is_some_and(|set| set.columns.len() < 2) => {
                self.value_type().composite()
            }
            Callee::Builtin(_) | Callee::Routine(_) => None,
        }
    }

    /// The type of what it yields as one value.
    #[must_use]
    pub fn value_type(&self) -> SqlType {
        let Callee::Builtin(builtin) = &self.callee else { return self.types.ret };
        match builtin.set.as_ref().map(|set| set.columns) {
            Some([(_, ty)]) if !ty.is_pseudo() => *ty,
            Some([] | [_]) | None => self.types.ret,
            Some(many) => {
                let fields = many.iter().map(|(name, ty)| (Arc::from(*name), self.column_type(*ty)));
                SqlType::record_of(RowType { table: None, fields: fields.collect() })
            }
        }
    }

    /// The type of an output column that the function declares as `declared`.
    #[must_use]
    pub fn column_type(&self, declared: SqlType) -> SqlType {
        match declared {
            SqlType::AnyElement => self.types.args.first().and_then(SqlType::element).unwrap_or(SqlType::Text),
            other => other,
        }
    }
}

/// An output column of ProjectSet.
#[derive(Clone, Debug)]
pub enum ProjectItem {
    Scalar(Expr),
    Set(FunctionCall),
}

/// A window function over one partitioning and ordering.
#[derive(Clone, Debug)]
pub struct WindowCall {
    pub function: WindowFunction,
    pub args: Vec<Expr>,
    pub ty: SqlType,
    pub frame: Option<WindowFrame>,
}

#[derive(Clone, Debug)]
pub enum WindowFunction {
    Aggregate(AggregateCall),
    RowNumber,
    Rank,
    DenseRank,
    PercentRank,
    CumeDist,
    Ntile,
    Lag,
    Lead,
    FirstValue,
    LastValue,
    NthValue,
}

#[derive(Clone, Debug)]
pub struct WindowFrame {
    pub unit: FrameUnit,
    pub start: FrameBound,
    pub end: FrameBound,
    pub exclude: FrameExclude,
}

/// What EXCLUDE takes out of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FrameExclude {
    #[default]
    NoOthers,
    CurrentRow,
    /// The current row and its peers.
    Group,
    /// Its peers alone.
    Ties,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameUnit {
    Rows,
    Range,
    Groups,
}

#[derive(Clone, Debug)]
pub enum FrameBound {
    UnboundedPreceding,
    Preceding(Expr),
    CurrentRow,
    Following(Expr),
    UnboundedFollowing,
}

#[derive(Clone, Debug)]
pub struct LockRows {
    pub input: Box<Plan>,
    pub tables: Vec<LockedTable>,
    /// Where rows that others hold are passed over, what was read before is no more than a hint: of each locked row
    /// these columns of its table are read again, and it must pass the condition over them still.
    pub again: Option<ReadAgain>,
    /// At most so many rows are wanted; NULL and none for all.
    pub limit: Option<Box<Expr>>,
}

#[derive(Clone, Debug)]
pub struct ReadAgain {
    /// For each column of the input, its position in `table.columns`.
    pub columns: Vec<usize>,
    /// Over the input's columns.
    pub condition: Option<Expr>,
}

#[derive(Clone, Debug)]
pub enum Node {
    /// One row without columns.
    Unit,
    Values { rows: Vec<Vec<Expr>> },
    TableScan(Arc<TableScan>),
    /// A table of the catalogs or of the cluster's state, made when read. Columns are positions in its definition.
    /// `lookup`: only some of its rows are made.
    VirtualScan {
        table: &'static VirtualTable,
        columns: Vec<usize>,
        lookup: Option<CatalogLookup>,
        filter: Option<Expr>,
    },
    FunctionScan { calls: Vec<FunctionCall>, with_ordinality: bool },
    /// For each left row the rows of an index with this key: `keys` over the left's columns, cast to the leading key
    /// columns' types. The filter sees left then right columns.
    LookupJoin { left: Box<Plan>, scan: Arc<TableScan>, keys: Vec<Expr>, kind: JoinKind, filter: Option<Expr> },
    /// `left_keys[i]` over the left's columns equals `right_keys[i]` over the right's own; one type each. The right is
    /// built.
    HashJoin {
        left: Box<Plan>,
        right: Box<Plan>,
        left_keys: Vec<Expr>,
        right_keys: Vec<Expr>,
        kind: JoinKind,
        filter: Option<Expr>,
    },
    NestedLoopJoin { left: Box<Plan>, right: Box<Plan>, kind: JoinKind, filter: Option<Expr> },
    /// LATERAL: the right runs again for each left row, with `arguments` (over the left's columns) as its Outer slots.
    Apply { left: Box<Plan>, right: Arc<Plan>, arguments: Vec<Expr>, kind: JoinKind, filter: Option<Expr> },
    Filter { input: Box<Plan>, predicate: Expr },
    Project { input: Box<Plan>, exprs: Vec<Expr> },
    ProjectSet { input: Box<Plan>, items: Vec<ProjectItem> },
    /// Group columns first, then one column for each aggregate. Without groups there is always one row. `sets`: for
    /// GROUPING SETS, which of the groups take part; the others are NULL.
    Aggregate {
        input: Box<Plan>,
        groups: Vec<Expr>,
        aggregates: Vec<AggregateCall>,
        sets: Option<Vec<Vec<usize>>>,
    },
    /// The input's columns, then one for each call.
    Window { input: Box<Plan>, partition_by: Vec<Expr>, order_by: Vec<SortKey>, calls: Vec<WindowCall> },
    /// The first row of each group of equal rows, or of equal `on` values.
    Distinct { input: Box<Plan>, on: Option<Vec<Expr>> },
    Sort { input: Box<Plan>, keys: Vec<SortKey>, limit: Option<Box<Expr>> },
    /// `ties`: rows behind the last one are taken too while they are equal to it by these keys.
    Limit { input: Box<Plan>, limit: Option<Expr>, offset: Option<Expr>, ties: Vec<SortKey> },
    /// Locks the rows of tables that the input's rows are made of, as the rows are asked for: what is locked by others is
    /// waited for, passed over or refused. The input's columns.
    LockRows(Arc<LockRows>),
    /// UNION has two inputs or more, the others two.
    SetOp { kind: SetOpKind, all: bool, inputs: Vec<Plan> },
    Append(Append),
    /// The rows of the [`Transition`] of this name.
    TransitionScan { name: String },
    /// Reads a CTE of [`crate::PreparedPlan::ctes`], run once and kept.
    CteScan { cte: usize },
    /// WITH RECURSIVE: `step` reads what the last round yielded through `CteScan { cte }`.
    RecursiveUnion { cte: usize, base: Box<Plan>, step: Box<Plan>, all: bool },
    Insert(Insert),
    Update(Update),
    Delete(Delete),
    Merge(Merge),
    /// The end of a statement that changes data: WITH queries that change some run to their end, read or not, and
    /// foreign keys are looked at.
    Finish { input: Box<Plan>, ctes: Vec<usize> },
}
