//! Expressions after binding: every name is a position, every operator a function, every type known.
//!
//! **Invariant (typed):** [`Expr::ty`] is the type of the value that evaluation yields, with the modifier where one is
//! enforced; the arguments of a call have exactly the types its resolution asked for, casts are explicit nodes.

use std::sync::Arc;

use builtins::{Aggregate, Builtin, CallTypes, Volatility};
use catalog::{Routine, RoutineVolatility};
use types::{CastContext, Datum, DomainType, RowType, SqlType};

use crate::large_object::LargeObjectOp;
use crate::bind::innermost;
use crate::logical::Rel;
use crate::plan::Plan;

/// What values of a domain must pass.
#[derive(Debug)]
pub struct DomainRules {
    pub domain: DomainType,
    /// NULL is 23502.
    pub not_null: bool,
    /// In their order: name, and condition over the value, which is column 0. Not true and not NULL is 23514.
    pub checks: Vec<(String, Expr)>,
}

impl DomainRules {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.not_null && self.checks.is_empty()
    }
}

/// `IS [NOT] TRUE` and its kin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TruthTest {
    True,
    False,
    Unknown,
}

/// What a subquery in an expression answers.
#[derive(Clone, Debug)]
pub enum SubqueryKind {
    /// The one value of its one row; NULL without a row; 21000 with more than one.
    Scalar,
    Exists,
    /// `left op ANY (subquery)`, and ALL where `all`. Each comparison takes the left expression at the same position
    /// and the subquery's column at that position; a row of several compares with `=` on each.
    Quantified {
        left: Vec<Expr>,
        comparisons: Vec<Comparison>,
        all: bool,
    },
    /// `ARRAY(subquery)`.
    Array,
}

/// A comparison operator resolved for two types.
#[derive(Clone, Debug)]
pub struct Comparison {
    pub builtin: &'static Builtin,
    pub types: CallTypes,
    /// What the two operands are cast to first.
    pub left_cast: SqlType,
    pub right_cast: SqlType,
}

/// A subquery inside an expression.
#[derive(Clone, Debug)]
pub struct Subquery {
    pub kind: SubqueryKind,
    pub plan: Arc<Plan>,
    /// What `plan` was made of, where a join could take the subquery's place.
    pub source: Option<Arc<Rel>>,
    /// Evaluated in the enclosing row before the plan runs; inside the plan they are `Expr::Outer(slot)`. Empty: the
    /// answer is the same for every row of the statement and is computed once.
    pub arguments: Vec<Expr>,
    pub ty: SqlType,
    /// The same for two of one SELECT that are written alike.
    pub form: u64,
}

/// What advisory lock functions do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdvisoryOp {
    Lock { is_shared: bool, is_try: bool, in_transaction: bool },
    Unlock { is_shared: bool },
    UnlockAll,
}

/// How long `pg_sleep` and its kin sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SleepOp {
    Seconds,
    For,
    Until,
}

/// Functions that wait, or work on what lies outside of the transaction, so they are not ordinary functions: sequences
/// reserve values, advisory locks belong to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceOp {
    Advisory(AdvisoryOp),
    Sleep(SleepOp),
    NextVal,
    /// Of an identity column: who may insert may have it.
    NextIdentity,
    CurrVal,
    SetVal,
    LastVal,
    /// Where it stands: the value given out last, or the first one.
    Position,
    /// Whether it has given out a value.
    IsCalled,
    /// Of the transaction at hand, for others.
    ExportSnapshot,
    LargeObject(LargeObjectOp),
}

#[derive(Clone, Debug)]
pub enum Expr {
    /// A column of the input row, by position.
    Column(usize, SqlType),
    /// A value of the enclosing query's row, by its slot in [`Subquery::arguments`].
    Outer(usize, SqlType),
    /// What the nearest simple CASE or NULLIF around it has evaluated. Binding puts it into their comparisons alone.
    Operand(SqlType),
    /// `$n`, counted from 0.
    Param(usize, SqlType),
    Const(Datum, SqlType),
    Call {
        builtin: &'static Builtin,
        types: CallTypes,
        args: Vec<Expr>,
    },
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    IsNull(Box<Expr>),
    Truth(Box<Expr>, TruthTest),
    /// NULLs compare as equal values. Both sides have one type.
    IsDistinctFrom(Box<Expr>, Box<Expr>),
    /// A simple CASE has an operand: its conditions compare it as [`Expr::Operand`], so it is evaluated once.
    Case {
        operand: Option<Box<Expr>>,
        branches: Vec<(Expr, Expr)>,
        otherwise: Option<Box<Expr>>,
        ty: SqlType,
    },
    Coalesce(Vec<Expr>, SqlType),
    /// NULL when `equal` holds, `value` otherwise; `equal` compares the value as [`Expr::Operand`].
    NullIf {
        value: Box<Expr>,
        equal: Box<Expr>,
        ty: SqlType,
    },
    Greatest(Vec<Expr>, SqlType),
    Least(Vec<Expr>, SqlType),
    Cast {
        expr: Box<Expr>,
        to: SqlType,
        context: CastContext,
    },
    /// The value, which must pass the rules of a domain; `of_elements`: each element of it.
    ToDomain {
        expr: Box<Expr>,
        rules: Arc<DomainRules>,
        of_elements: bool,
        context: CastContext,
        ty: SqlType,
    },
    /// `expr IN (list)`; all of one type, so a hash set of the constants can answer.
    InList {
        expr: Box<Expr>,
        list: Vec<Expr>,
        negated: bool,
    },
    /// `left op ANY|ALL (array)`.
    AnyAll {
        left: Box<Expr>,
        array: Box<Expr>,
        comparison: Comparison,
        all: bool,
    },
    Array {
        elements: Vec<Expr>,
        ty: SqlType,
    },
    /// `array[i][j]`, with slices where an upper bound is given.
    Subscript {
        array: Box<Expr>,
        subscripts: Vec<(Option<Expr>, Option<Expr>)>,
        slice: bool,
        ty: SqlType,
    },
    /// A row and its record type.
    Row(Vec<Expr>, SqlType),
    /// A field of a record, by position.
    Field {
        row: Box<Expr>,
        at: usize,
        ty: SqlType,
    },
    /// A row, array or jsonb value with a part of it replaced.
    Assign(Box<PartAssignment>),
    Subquery(Box<Subquery>),
    Sequence {
        op: SequenceOp,
        args: Vec<Expr>,
    },
    /// A fresh row id for a table without a primary key.
    RowId,
    /// A function by a user, which runs in the transaction.
    Routine(Box<RoutineCall>),
}

/// What `SET c.f = v`, `SET a[1] = v` and `SET j['k'] = v` make of a column.
#[derive(Clone, Debug)]
pub struct PartAssignment {
    /// The whole. NULL stands for a row of NULLs, an empty array, an empty object.
    pub container: Expr,
    pub part: Part,
    /// Its new value. What is there so far is its [`Expr::Operand`].
    pub value: Expr,
    pub ty: SqlType,
}

#[derive(Clone, Debug)]
pub enum Part {
    /// Of a row, by position.
    Field(usize),
    /// Of an array, by integers.
    Element(Vec<Expr>),
    /// `[lower:upper]` of an array; a bound that is left out is the array's own.
    Slice(Vec<(Option<Expr>, Option<Expr>)>),
    /// Of a jsonb value, by texts; those that were written as numbers are marked.
    Member(Vec<(Expr, bool)>),
}

impl Part {
    fn for_each_expr<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        match self {
            Self::Field(_) => {}
            Self::Element(list) => list.iter().for_each(visit),
            Self::Slice(bounds) => bounds.iter().flat_map(|(lower, upper)| [lower, upper]).flatten().for_each(visit),
            Self::Member(path) => path.iter().map(|(step, _)| step).for_each(visit),
        }
    }

    fn for_each_expr_mut(&mut self, visit: &mut dyn FnMut(&mut Expr)) {
        match self {
            Self::Field(_) => {}
            Self::Element(list) => list.iter_mut().for_each(visit),
            Self::Slice(bounds) => bounds.iter_mut().flat_map(|(lower, upper)| [lower, upper]).flatten().for_each(visit),
            Self::Member(path) => path.iter_mut().map(|(step, _)| step).for_each(visit),
        }
    }
}

/// A call of a routine, its arguments of the types that it takes.
#[derive(Clone, Debug)]
pub struct RoutineCall {
    pub routine: Arc<Routine>,
    /// Polymorphic types as this call has settled them; the type of a row where it returns a set.
    pub types: CallTypes,
    /// One for each input.
    pub args: Vec<Expr>,
}

impl RoutineCall {
    #[must_use]
    pub fn is_volatile(&self) -> bool {
        self.routine.volatility == RoutineVolatility::Volatile
    }
}

impl Expr {
    /// ROW(…), whose fields have no names of their own.
    #[must_use]
    pub fn row(fields: Vec<Expr>) -> Self {
        let ty = SqlType::record_of(RowType::unnamed(fields.iter().map(|field| field.ty().base())));
        Self::Row(fields, ty)
    }

    #[must_use]
    pub fn ty(&self) -> SqlType {
        match self {
            Self::Column(_, ty)
            | Self::Outer(_, ty)
            | Self::Param(_, ty)
            | Self::Operand(ty)
            | Self::Const(_, ty)
            | Self::Coalesce(_, ty)
            | Self::Greatest(_, ty)
            | Self::Least(_, ty)
            | Self::Case { ty, .. }
            | Self::NullIf { ty, .. }
            | Self::Array { ty, .. }
            | Self::Row(_, ty)
            | Self::Field { ty, .. }
            | Self::Subscript { ty, .. }
            | Self::ToDomain { ty, .. } => *ty,
            Self::Call { types, .. } => types.ret,
            Self::Routine(call) => call.types.ret,
            Self::Cast { to, .. } => *to,
            Self::Subquery(subquery) => subquery.ty,
            Self::Assign(assign) => assign.ty,
            Self::And(_)
            | Self::Or(_)
            | Self::Not(_)
            | Self::IsNull(_)
            | Self::Truth(..)
            | Self::IsDistinctFrom(..)
            | Self::InList { .. }
            | Self::AnyAll { .. } => SqlType::Bool,
            Self::Sequence { op: SequenceOp::IsCalled, .. } => SqlType::Bool,
            Self::Sequence { op: SequenceOp::Sleep(_), .. } => SqlType::Void,
            Self::Sequence { op: SequenceOp::ExportSnapshot, .. } => SqlType::Text,
            Self::Sequence { op: SequenceOp::LargeObject(op), .. } => op.result(),
            Self::Sequence { op: SequenceOp::Advisory(op), .. } => match op {
                AdvisoryOp::Lock { is_try: false, .. } | AdvisoryOp::UnlockAll => SqlType::Void,
                AdvisoryOp::Lock { .. } | AdvisoryOp::Unlock { .. } => SqlType::Bool,
            },
            Self::Sequence { .. } | Self::RowId => SqlType::Int8,
        }
    }

    /// Calls `visit` on the direct children; the plans of subqueries are not entered, their arguments are.
    pub fn for_each_child<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        match self {
            Self::Column(..)
            | Self::Outer(..)
            | Self::Param(..)
            | Self::Operand(_)
            | Self::Const(..)
            | Self::RowId => {}
            Self::Call { args, .. } | Self::Sequence { args, .. } => args.iter().for_each(visit),
            Self::Routine(call) => call.args.iter().for_each(visit),
            Self::And(list)
            | Self::Or(list)
            | Self::Coalesce(list, _)
            | Self::Greatest(list, _)
            | Self::Least(list, _)
            | Self::Row(list, _)
            | Self::Array { elements: list, .. } => list.iter().for_each(visit),
            Self::Not(expr)
            | Self::IsNull(expr)
            | Self::Truth(expr, _)
            | Self::Cast { expr, .. }
            | Self::ToDomain { expr, .. }
            | Self::Field { row: expr, .. } => {
                visit(expr)
            }
            Self::IsDistinctFrom(left, right) => {
                visit(left);
                visit(right);
            }
            Self::Case { operand, branches, otherwise, .. } => {
                if let Some(operand) = operand {
                    visit(operand);
                }
                for (condition, value) in branches {
                    visit(condition);
                    visit(value);
                }
                if let Some(value) = otherwise {
                    visit(value);
                }
            }
            Self::NullIf { value, equal, .. } => {
                visit(value);
                visit(equal);
            }
            Self::InList { expr, list, .. } => {
                visit(expr);
                list.iter().for_each(visit);
            }
            Self::AnyAll { left, array, .. } => {
                visit(left);
                visit(array);
            }
            Self::Subscript { array, subscripts, .. } => {
                visit(array);
                for (lower, upper) in subscripts {
                    lower.iter().for_each(&mut *visit);
                    upper.iter().for_each(&mut *visit);
                }
            }
            Self::Assign(assign) => {
                visit(&assign.container);
                assign.part.for_each_expr(visit);
                visit(&assign.value);
            }
            Self::Subquery(subquery) => {
                if let SubqueryKind::Quantified { left, .. } = &subquery.kind {
                    left.iter().for_each(&mut *visit);
                }
                subquery.arguments.iter().for_each(visit);
            }
        }
    }

    /// As [`Expr::for_each_child`], to change them.
    pub fn for_each_child_mut(&mut self, visit: &mut dyn FnMut(&mut Expr)) {
        match self {
            Self::Column(..)
            | Self::Outer(..)
            | Self::Param(..)
            | Self::Operand(_)
            | Self::Const(..)
            | Self::RowId => {}
            Self::Call { args, .. } | Self::Sequence { args, .. } => args.iter_mut().for_each(visit),
            Self::Routine(call) => call.args.iter_mut().for_each(visit),
            Self::And(list)
            | Self::Or(list)
            | Self::Coalesce(list, _)
            | Self::Greatest(list, _)
            | Self::Least(list, _)
            | Self::Row(list, _)
            | Self::Array { elements: list, .. } => list.iter_mut().for_each(visit),
            Self::Not(expr)
            | Self::IsNull(expr)
            | Self::Truth(expr, _)
            | Self::Cast { expr, .. }
            | Self::ToDomain { expr, .. }
            | Self::Field { row: expr, .. } => {
                visit(expr)
            }
            Self::IsDistinctFrom(left, right) => {
                visit(left);
                visit(right);
            }
            Self::Case { operand, branches, otherwise, .. } => {
                if let Some(operand) = operand {
                    visit(operand);
                }
                for (condition, value) in branches {
                    visit(condition);
                    visit(value);
                }
                if let Some(value) = otherwise {
                    visit(value);
                }
            }
            Self::NullIf { value, equal, .. } => {
                visit(value);
                visit(equal);
            }
            Self::InList { expr, list, .. } => {
                visit(expr);
                list.iter_mut().for_each(visit);
            }
            Self::AnyAll { left, array, .. } => {
                visit(left);
                visit(array);
            }
            Self::Subscript { array, subscripts, .. } => {
                visit(array);
                for (lower, upper) in subscripts {
                    lower.iter_mut().for_each(&mut *visit);
                    upper.iter_mut().for_each(&mut *visit);
                }
            }
            Self::Assign(assign) => {
                visit(&mut assign.container);
                assign.part.for_each_expr_mut(visit);
                visit(&mut assign.value);
            }
            Self::Subquery(subquery) => {
                if let SubqueryKind::Quantified { left, .. } = &mut subquery.kind {
                    left.iter_mut().for_each(&mut *visit);
                }
                subquery.arguments.iter_mut().for_each(visit);
            }
        }
    }

    /// Whether the predicate holds for this node or any below it.
    pub fn any(&self, predicate: &mut dyn FnMut(&Expr) -> bool) -> bool {
        if predicate(self) {
            return true;
        }
        let mut found = false;
        self.for_each_child(&mut |child| found = found || child.any(predicate));
        found
    }

    /// How many nodes it has, counted up to a bound.
    #[must_use]
    pub fn size_up_to(&self, bound: usize) -> usize {
        let mut size = 0;
        self.any(&mut |_| {
            size += 1;
            size > bound
        });
        size
    }

    /// The value is the same whatever the input row: no column, and nothing volatile.
    #[must_use]
    pub fn is_row_independent(&self) -> bool {
        !self.any(&mut |expr| match expr {
            Expr::Column(..) | Expr::Sequence { .. } | Expr::RowId => true,
            Expr::Call { builtin, .. } => builtin.volatility == Volatility::Volatile,
            Expr::Routine(call) => call.is_volatile(),
            _ => false,
        })
    }

    /// The value is the same for the same columns whenever it is computed, in whatever session.
    #[must_use]
    pub fn is_immutable(&self) -> bool {
        !self.any(&mut |expr| match expr {
            Expr::Sequence { .. } | Expr::RowId | Expr::Subquery(_) => true,
            Expr::Call { builtin, .. } => builtin.volatility != Volatility::Immutable,
            Expr::Routine(call) => call.routine.volatility != RoutineVolatility::Immutable,
            Expr::Cast { expr, to, .. } => !is_immutable_cast(&expr.ty(), to),
            Expr::ToDomain { rules, .. } => rules.checks.iter().any(|(_, check)| !check.is_immutable()),
            _ => false,
        })
    }

    #[must_use]
    pub fn has_subquery(&self) -> bool {
        self.any(&mut |expr| matches!(expr, Expr::Subquery(_)))
    }

    /// Whether something in it must be waited for: a subquery, or a routine, which may run queries.
    #[must_use]
    pub fn runs_queries(&self) -> bool {
        self.any(&mut |expr| matches!(expr, Expr::Subquery(_) | Expr::Routine(_)))
    }

    /// Highest column position used, for checks.
    #[must_use]
    pub fn columns_used(&self) -> Vec<usize> {
        fn walk(expr: &Expr, out: &mut Vec<usize>) {
            if let Expr::Column(position, _) = expr {
                out.push(*position);
            }
            expr.for_each_child(&mut |child| walk(child, out));
        }
        let mut out = Vec::new();
        walk(self, &mut out);
        out.sort_unstable();
        out.dedup();
        out
    }
}

/// Whether a cast depends on no setting: times as text have DateStyle, and those with a zone the session's. The text of an
/// enum's value may change.
fn is_immutable_cast(from: &SqlType, to: &SqlType) -> bool {
    // PostgreSQL takes what reads and prints ranges for stable, whatever they are over.
    let is_range = |ty: &SqlType| ty.element().unwrap_or(*ty).range_type().is_some();
    if is_range(from) != is_range(to) {
        return false;
    }
    let base = |ty: &SqlType| innermost(*ty);
    let (from, to) = (base(from), base(to));
    let is_zoned = |ty: &SqlType| matches!(ty, SqlType::TimestampTz(_));
    let is_dated = |ty: &SqlType| matches!(ty, SqlType::Date | SqlType::Timestamp(_) | SqlType::TimestampTz(_));
    let is_time = |ty: &SqlType| matches!(ty, SqlType::Time(_) | SqlType::TimeTz(_));
    let is_text = |ty: &SqlType| ty.is_string() || matches!(ty, SqlType::Name | SqlType::QuotedChar);
    match (from, to) {
        (SqlType::Enum(_), to) if !matches!(to, SqlType::Enum(_)) => false,
        (from, SqlType::Enum(_)) if !matches!(from, SqlType::Enum(_)) => false,
        (from, to) if is_text(&from) => !is_dated(&to) && !is_time(&to),
        (from, to) if is_text(&to) => !is_dated(&from),
        (SqlType::Time(_), SqlType::TimeTz(_)) => false,
        (from, to) if is_dated(&from) && (is_dated(&to) || is_time(&to)) => is_zoned(&from) == is_zoned(&to),
        _ => true,
    }
}

/// One aggregate of an Aggregate or Window node.
#[derive(Clone, Debug)]
pub struct AggregateCall {
    pub aggregate: &'static Aggregate,
    pub types: CallTypes,
    pub args: Vec<Expr>,
    pub distinct: bool,
    pub filter: Option<Expr>,
    pub order_by: Vec<SortKey>,
}

#[derive(Clone, Debug)]
pub struct SortKey {
    pub expr: Expr,
    pub descending: bool,
    pub nulls_first: bool,
}
