//! What a builtin is: signature, properties and implementation in one static value.

use smallvec::SmallVec;
use types::{Datum, SqlResult, SqlType};

use crate::EvalContext;

/// A parameter's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgType {
    T(SqlType),
    /// Anything, each argument by itself (`"any"`).
    Any,
    /// One type, the same for every `AnyElement` and the element of every `AnyArray` of the call.
    AnyElement,
    AnyArray,
    /// As `AnyElement`, arrays excluded.
    AnyNonArray,
    /// As `AnyElement`, enum types only.
    AnyEnum,
    /// A range type, the same for every `AnyRange` of the call, over what every `AnyElement` is.
    AnyRange,
    /// The multirange type of that.
    AnyMultiRange,
}

impl ArgType {
    /// The parameter that takes a value of this type; a polymorphic type stands for itself.
    #[must_use]
    pub fn taking(ty: SqlType) -> Self {
        match ty {
            SqlType::AnyElement => Self::AnyElement,
            SqlType::AnyArray => Self::AnyArray,
            SqlType::AnyNonArray => Self::AnyNonArray,
            SqlType::AnyEnum => Self::AnyEnum,
            SqlType::AnyRange => Self::AnyRange,
            SqlType::AnyMultiRange => Self::AnyMultiRange,
            SqlType::Any => Self::Any,
            ty => Self::T(ty),
        }
    }
}

/// A result's type, fixed or from the arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetType {
    T(SqlType),
    /// The type that the polymorphic arguments agreed on.
    AnyElement,
    /// The array over it.
    AnyArray,
    /// As `AnyElement`.
    AnyEnum,
    /// The range type that the arguments are of, or are multiranges of.
    AnyRange,
    AnyMultiRange,
    /// The type of this argument.
    SameAs(usize),
}

/// `pg_proc.provolatile`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volatility {
    /// Same arguments, same result, for ever: may be folded while planning.
    Immutable,
    /// Same result within one statement.
    Stable,
    Volatile,
}

/// The types a call was resolved to; modifiers as far as known.
#[derive(Debug, Clone, PartialEq)]
pub struct CallTypes {
    pub args: SmallVec<[SqlType; 4]>,
    pub ret: SqlType,
}

/// The name, arguments and result that overload resolution sees.
#[derive(Debug, Clone, Copy)]
pub struct Signature {
    pub name: &'static str,
    /// The last one repeats when `variadic`.
    pub args: &'static [ArgType],
    /// How many of `args`, from the end, may be left out: their defaults are the implementation's.
    pub optional_count: usize,
    pub variadic: bool,
    pub ret: RetType,
}

/// A scalar or set-returning function, or what stands behind an operator.
#[derive(Debug)]
pub struct Builtin {
    pub signature: Signature,
    /// PostgreSQL's oid where it has one that clients know; otherwise assigned by position.
    pub oid: u32,
    pub strict: bool,
    pub volatility: Volatility,
    pub eval: fn(&EvalContext<'_>, &CallTypes, &[Datum]) -> SqlResult<Datum>,
    /// For set-returning functions; `eval` is then not called.
    pub set: Option<SetFunction>,
}

/// How a set-returning function is called.
#[derive(Debug)]
pub struct SetFunction {
    /// Output columns; an empty type list means one column of the result type.
    pub columns: &'static [(&'static str, SqlType)],
    pub eval: fn(&EvalContext<'_>, &CallTypes, &[Datum]) -> SqlResult<SetRows>,
}

/// Rows of a call, each with as many datums as the function has output columns. They are made when they are asked for
/// where they can be more than the arguments hold: a series may have no end that anybody waits for.
pub struct SetRows(Box<dyn Iterator<Item = SqlResult<Vec<Datum>>> + Send>);

impl SetRows {
    /// Rows of one column.
    pub(crate) fn of_values(values: impl Iterator<Item = SqlResult<Datum>> + Send + 'static) -> Self {
        Self(Box::new(values.map(|value| Ok(vec![value?]))))
    }

    /// The one row of a function that returns no set.
    #[must_use]
    pub fn once(value: Datum) -> Self {
        Self::of_values(std::iter::once(Ok(value)))
    }
}

impl FromIterator<Vec<Datum>> for SetRows {
    fn from_iter<I: IntoIterator<Item = Vec<Datum>>>(rows: I) -> Self {
        let rows: Vec<Vec<Datum>> = rows.into_iter().collect();
        Self(Box::new(rows.into_iter().map(Ok)))
    }
}

impl Iterator for SetRows {
    type Item = SqlResult<Vec<Datum>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl Builtin {
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.signature.name
    }

    #[must_use]
    pub fn is_set_returning(&self) -> bool {
        self.set.is_some()
    }

    /// Evaluates with *strict-null* upheld.
    pub fn call(&self, context: &EvalContext<'_>, types: &CallTypes, args: &[Datum]) -> SqlResult<Datum> {
        if self.strict && args.iter().any(Datum::is_null) {
            return Ok(Datum::Null);
        }
        (self.eval)(context, types, args)
    }
}

/// An operator: a symbol over a builtin. Its signature is the function's.
#[derive(Debug)]
pub struct Operator {
    pub symbol: &'static str,
    pub oid: u32,
    pub function: Builtin,
    /// The symbol that means the same with the operands exchanged.
    pub commutator: Option<&'static str>,
    /// The symbol that means the opposite.
    pub negator: Option<&'static str>,
}

/// What the arguments of an aggregate are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AggregateKind {
    Plain,
    /// So many direct ones, then those of WITHIN GROUP, in whose order rows come.
    OrderedSet { direct: usize },
    /// How the keys are ordered, the keys, and what stands for a row that is not there.
    Hypothetical,
}

/// An aggregate function.
#[derive(Debug)]
pub struct Aggregate {
    pub kind: AggregateKind,
    pub signature: Signature,
    pub oid: u32,
    /// Rows with a NULL argument are not added.
    pub strict: bool,
    pub new: fn(&CallTypes) -> Box<dyn Accumulator>,
}

/// The state of one group of an aggregate.
pub trait Accumulator: Send + Sync {
    /// Adds one row's arguments.
    fn add(&mut self, context: &EvalContext<'_>, args: &[Datum]) -> SqlResult<()>;
    /// Takes a row out that was added (moving windows). False where it cannot: then nothing has changed.
    fn remove(&mut self, _context: &EvalContext<'_>, _args: &[Datum]) -> SqlResult<bool> {
        Ok(false)
    }
    /// The result over what was added; may be called once more after further rows (running windows).
    fn finish(&self, context: &EvalContext<'_>) -> SqlResult<Datum>;
    /// Heap bytes held, for memory accounting.
    fn memory_bytes(&self) -> usize;
}

impl Builtin {
    /// A strict immutable function of fixed types.
    pub(crate) const fn pure(
        name: &'static str,
        oid: u32,
        args: &'static [ArgType],
        ret: RetType,
        eval: fn(&EvalContext<'_>, &CallTypes, &[Datum]) -> SqlResult<Datum>,
    ) -> Self {
        let signature = Signature { name, args, optional_count: 0, variadic: false, ret };
        Self { signature, oid, strict: true, volatility: Volatility::Immutable, eval, set: None }
    }

    pub(crate) const fn stable(mut self) -> Self {
        self.volatility = Volatility::Stable;
        self
    }

    pub(crate) const fn volatile(mut self) -> Self {
        self.volatility = Volatility::Volatile;
        self
    }

    /// Called with NULL arguments too.
    pub(crate) const fn null_aware(mut self) -> Self {
        self.strict = false;
        self
    }

    pub(crate) const fn optional(mut self, count: usize) -> Self {
        self.signature.optional_count = count;
        self
    }

    pub(crate) const fn variadic(mut self) -> Self {
        self.signature.variadic = true;
        self
    }

    pub(crate) const fn returning_set(mut self, set: SetFunction) -> Self {
        self.set = Some(set);
        self
    }
}

impl Operator {
    /// Whether this is one of the six comparisons and its answers are those of [`types::compare`]. The geometric types' are
    /// not: they compare areas, lengths and counts of points. Nor is that of a transaction's number with an integer, whose
    /// sign counts for nothing.
    #[must_use]
    pub fn is_comparison(&self) -> bool {
        let is_of_signed = matches!(self.function.signature.args, [ArgType::T(SqlType::Xid), ArgType::T(SqlType::Int4)]);
        matches!(self.symbol, "=" | "<>" | "<" | "<=" | ">" | ">=") && !self.is_geometric() && !is_of_signed
    }

    /// Whether an operand is of one of the geometric types.
    #[must_use]
    pub fn is_geometric(&self) -> bool {
        self.function.signature.args.iter().any(|arg| matches!(arg, ArgType::T(ty) if ty.is_geometric()))
    }

    pub(crate) const fn new(symbol: &'static str, oid: u32, function: Builtin) -> Self {
        Self { symbol, oid, function, commutator: None, negator: None }
    }

    pub(crate) const fn commutes_with(mut self, symbol: &'static str) -> Self {
        self.commutator = Some(symbol);
        self
    }

    pub(crate) const fn negated_by(mut self, symbol: &'static str) -> Self {
        self.negator = Some(symbol);
        self
    }
}
