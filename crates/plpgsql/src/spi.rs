//! What a function asks of the database: PostgreSQL's server programming interface, as far as PL/pgSQL needs it.
//!
//! An expression or statement is prepared once and run as often as its place is reached. The values of the variables
//! that it names are its parameters. What only calculates is evaluated by [`Spi::evaluate_simple`], without a future,
//! an allocation or the transaction; everything else goes through [`Spi::execute`] or a portal.

use std::future::Future;

use types::{
    CastContext, Datum, Formatting, SqlError, SqlResult, SqlState, SqlType, can_cast, cast, parse_text,
    to_text,
};

use crate::function::{Function, RaiseLevel, TextKind, VariableConflict, VariableId, VariableKind};
use crate::names::ScopeId;

/// What is to be prepared.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub text: &'a str,
    pub kind: TextKind,
    /// What an assignment's value becomes: a literal of unknown type is read as this type. Other values keep theirs.
    pub wanted: Option<SqlType>,
}

/// A prepared text.
#[derive(Debug)]
pub struct Prepared<P> {
    pub plan: P,
    pub columns: Vec<(String, SqlType)>,
    pub command: Command,
    /// [`Spi::evaluate_simple`] may evaluate it: one row, made without the transaction.
    pub is_simple: bool,
    /// For CALL, what each output parameter of the procedure writes to.
    pub outputs: Vec<CallOutput>,
}

/// The argument of an output parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallOutput {
    pub name: Option<String>,
    /// The parameter that the argument is, if it is nothing else: what [`Variables::resolve`] has answered.
    pub parameter: Option<usize>,
}

/// What a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Select,
    /// SELECT … INTO of SQL, which makes a table.
    SelectInto,
    Insert,
    Update,
    Delete,
    Merge,
    Call,
    /// COPY from or to the client.
    Copy,
    /// BEGIN, COMMIT, SAVEPOINT and their like.
    Transaction,
    Utility,
}

impl Command {
    pub(crate) const fn changes_rows(self) -> bool {
        matches!(self, Self::Insert | Self::Update | Self::Delete | Self::Merge)
    }

    pub(crate) const fn tag(self) -> &'static str {
        match self {
            Self::Select | Self::SelectInto => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Merge => "MERGE",
            Self::Call => "CALL",
            Self::Copy => "COPY",
            Self::Transaction => "BEGIN",
            Self::Utility => "UTILITY",
        }
    }
}

pub type Row = Vec<Datum>;

/// What a statement has done.
#[derive(Debug, Default)]
pub struct Outcome {
    /// No more than were asked for.
    pub rows: Vec<Row>,
    /// Rows returned, or changed.
    pub processed: u64,
}

/// How many rows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It runs to its end; rows are only counted.
    Count,
    /// A query stops after so many rows; a change runs to its end.
    AtMost(usize),
    All,
}

/// How a portal is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortalOptions<'a> {
    /// `None`: a name that no other portal has.
    pub name: Option<&'a str>,
    /// SCROLL, NO SCROLL, or neither.
    pub scroll: Option<bool>,
    /// A loop reads it, which goes on when the transaction ends within it.
    pub is_loop: bool,
}

/// Where a portal goes. Counts may be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Forward(i64),
    Backward(i64),
    Absolute(i64),
    Relative(i64),
    ForwardAll,
    BackwardAll,
}

/// What a portal has given.
#[derive(Debug, Default)]
pub struct Fetched {
    pub columns: Vec<(String, SqlType)>,
    /// None for MOVE.
    pub rows: Vec<Row>,
    /// Rows fetched or passed.
    pub processed: u64,
}

/// The database, as a function sees it. One call has it to itself; calls within the call have it in turn.
pub trait Spi: Send {
    type Plan: Send + Sync;

    /// Plans a text. Names in it that are no columns, and `$n`, are asked of `variables`.
    fn prepare(
        &mut self,
        request: Request<'_>,
        variables: &mut Variables<'_>,
    ) -> impl Future<Output = SqlResult<Prepared<Self::Plan>>> + Send;

    /// Whether a plan still means what its text says.
    fn is_current(&self, plan: &Self::Plan) -> bool;

    /// Evaluates a text that [`Prepared::is_simple`].
    fn evaluate_simple(&mut self, plan: &Self::Plan, values: &[Datum]) -> SqlResult<Datum>;

    fn execute(
        &mut self,
        plan: &Self::Plan,
        values: &[Datum],
        keep: Keep,
    ) -> impl Future<Output = SqlResult<Outcome>> + Send;

    /// Opens a portal; returns its name.
    fn open(
        &mut self,
        plan: &Self::Plan,
        values: &[Datum],
        options: PortalOptions<'_>,
    ) -> impl Future<Output = SqlResult<String>> + Send;

    fn has_portal(&self, name: &str) -> bool;

    /// `keep` is false for MOVE.
    fn fetch(
        &mut self,
        portal: &str,
        direction: Direction,
        keep: bool,
    ) -> impl Future<Output = SqlResult<Fetched>> + Send;

    fn close(&mut self, portal: &str) -> impl Future<Output = SqlResult<()>> + Send;

    /// Subtransactions nest; portals that one has opened end with its rollback.
    fn begin_subtransaction(&mut self) -> impl Future<Output = SqlResult<()>> + Send;

    fn release_subtransaction(&mut self) -> impl Future<Output = SqlResult<()>> + Send;

    fn rollback_subtransaction(&mut self) -> impl Future<Output = SqlResult<()>> + Send;

    /// Whether the transaction can go on from a savepoint after this error.
    fn may_catch(&self, _error: &SqlError) -> bool {
        true
    }

    /// COMMIT; 2D000 where the call may not end its transaction. A new one begins at once.
    fn commit(&mut self, chain: bool) -> impl Future<Output = SqlResult<()>> + Send;

    fn rollback(&mut self, chain: bool) -> impl Future<Output = SqlResult<()>> + Send;

    /// A message for the client and the log.
    fn notice(&mut self, level: RaiseLevel, notice: SqlError);

    /// Takes a row of a set-returning function's result.
    fn return_row(&mut self, row: Row) -> SqlResult<()>;

    /// As values are printed and read.
    fn formatting(&self) -> &Formatting;

    /// 57014 when the statement has been cancelled.
    fn check_interrupts(&mut self) -> SqlResult<()>;

    /// The lines of context of those who have called this function.
    fn callers_context(&self) -> Option<String>;

    /// Makes a value one of another type, as an assignment does: by a cast if there is one, else by its text.
    fn coerce(&mut self, value: Datum, from: &SqlType, to: &SqlType) -> SqlResult<Datum> {
        if from == to || value.is_null() {
            return Ok(value);
        }
        let formatting = self.formatting();
        match can_cast(from, to) {
            Some(CastContext::Implicit | CastContext::Assignment) => {
                cast(value, from, to, CastContext::Assignment, formatting)
            }
            _ => {
                let text = to_text(from, &value, formatting);
                let value = parse_text(to, &text, formatting)?;
                types::fit_modifier(value, to, CastContext::Assignment)
            }
        }
    }
}

/// What a parameter of a prepared text is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ParameterSource {
    Variable(VariableId),
    Field {
        record: VariableId,
        at: usize,
    },
    /// A value of EXECUTE … USING.
    Using(usize),
}

/// The variables that a text may name.
pub struct Variables<'a> {
    pub(crate) names: Option<(&'a Function, ScopeId)>,
    /// Of the function's variables as they are now; of the values of USING where there is no function.
    pub(crate) types: &'a [SqlType],
    pub(crate) parameters: Vec<(ParameterSource, SqlType)>,
}

impl Variables<'_> {
    /// What a name means that is both a variable and a column.
    #[must_use]
    pub fn conflict(&self) -> VariableConflict {
        self.names.map_or(VariableConflict::UseColumn, |(function, _)| function.variable_conflict)
    }

    fn parameter(&mut self, source: ParameterSource, ty: SqlType) -> (usize, SqlType) {
        let found = self.parameters.iter().position(|(known, _)| *known == source);
        let at = found.unwrap_or_else(|| {
            self.parameters.push((source, ty));
            self.parameters.len() - 1
        });
        (at, ty)
    }

    /// The parameter, counted from 0, that a name means, and its type: a variable, a field of a record, with a block's
    /// label before it or not. `is_column`: it names a column as well, so that a missing field is no error.
    ///
    /// # Errors
    /// 42703 for a field that the record does not have, 55000 for one of a record without a value.
    pub fn resolve(&mut self, parts: &[&str], is_column: bool) -> SqlResult<Option<(usize, SqlType)>> {
        let Some((function, scope)) = self.names else { return Ok(None) };
        let Some((id, used)) = function.names.lookup(scope, parts) else { return Ok(None) };
        let variable = function.variable(id);
        let ty = self.types[id.index()];
        let is_record = matches!(variable.kind, VariableKind::Record(_));
        match parts.get(used..).unwrap_or_default() {
            [] => Ok(Some(self.parameter(ParameterSource::Variable(id), ty))),
            [field] if is_record => {
                let Some(row) = ty.row_type() else {
                    return if is_column { Ok(None) } else { Err(unassigned(&variable.name)) };
                };
                match row.position(field) {
                    Some(at) => {
                        let ty = row.fields[at].1;
                        Ok(Some(self.parameter(ParameterSource::Field { record: id, at }, ty)))
                    }
                    None if is_column => Ok(None),
                    None => Err(no_field(&variable.name, field)),
                }
            }
            _ => Ok(None),
        }
    }

    /// The parameter that `$n` is.
    pub fn positional(&mut self, number: usize) -> Option<(usize, SqlType)> {
        let at = number.checked_sub(1)?;
        match self.names {
            Some((function, _)) => {
                let id = *function.positional.get(at)?;
                let ty = self.types[id.index()];
                Some(self.parameter(ParameterSource::Variable(id), ty))
            }
            None => {
                let ty = *self.types.get(at)?;
                Some(self.parameter(ParameterSource::Using(at), ty))
            }
        }
    }
}

pub(crate) fn unassigned(record: &str) -> SqlError {
    SqlError::new(SqlState::ObjectNotInPrerequisiteState, format!("record \"{record}\" is not assigned yet"))
        .with_detail("The tuple structure of a not-yet-assigned record is indeterminate.")
}

pub(crate) fn no_field(record: &str, field: &str) -> SqlError {
    SqlError::new(SqlState::UndefinedColumn, format!("record \"{record}\" has no field \"{field}\""))
}
