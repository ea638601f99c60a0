//! A compiled function: what a body means, without anything of the session that runs it.
//!
//! Control flow is a list of [`Op`]s with jumps instead of a tree, so that a loop that only calculates runs without a
//! future for each level of nesting, and an error finds its handler in a stack of addresses. What EXIT, CONTINUE and
//! RETURN leave (loops with a cursor, blocks with a subtransaction) is known when they are compiled and written out
//! before their jump.
//!
//! ```text
//!   BEGIN                          0 Try handler=4
//!     x := 1 / y;                  1 Assign x
//!                                  2 EndTry
//!                                  3 Jump 8
//!   EXCEPTION WHEN others THEN     4 When others, next=7
//!     x := 0;                      5 Assign x
//!                                  6 EndCatch, then Jump 8
//!                                  7 Rethrow
//!   END;                           8
//! ```
//!
//! **Invariant (balanced-unwinding):** at every op the numbers of subtransactions, caught errors and open loops are
//! those of its place in the text, whichever way it was reached.

use std::sync::Arc;

use types::{ParameterMode, SqlState, SqlType};

use crate::names::{Names, ScopeId};

pub(crate) type Pc = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct VariableId(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ExpressionId(pub u32);

impl VariableId {
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl ExpressionId {
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoutineKind {
    Function,
    Procedure,
    /// Its arguments are in [`crate::Trigger`].
    Trigger,
    /// DO.
    Inline,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    pub name: Option<String>,
    pub mode: ParameterMode,
    /// Polymorphic types as this call has settled them.
    pub ty: SqlType,
    /// Its type is refcursor, whose values are text.
    pub is_cursor: bool,
}

impl Parameter {
    pub(crate) const fn is_input(&self) -> bool {
        self.mode.is_input()
    }

    pub(crate) const fn is_output(&self) -> bool {
        self.mode.is_output()
    }
}

/// What a name means that is both a variable and a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VariableConflict {
    /// 42702.
    #[default]
    Error,
    UseVariable,
    UseColumn,
}

/// What CREATE FUNCTION, CREATE PROCEDURE or DO says.
#[derive(Clone, Copy, Debug)]
pub struct Declaration<'a> {
    pub name: &'a str,
    /// As messages show it: `f(integer)`.
    pub signature: &'a str,
    pub kind: RoutineKind,
    pub parameters: &'a [Parameter],
    /// The type of the result, or of a row of it. A record with known fields where there are several output parameters.
    pub returns: SqlType,
    pub returns_set: bool,
    pub body: &'a str,
    /// The settings `plpgsql.variable_conflict` and `plpgsql.print_strict_params`.
    pub variable_conflict: VariableConflict,
    pub print_strict_params: bool,
}

/// A compiled function. Sessions share it; their plans are in [`crate::PlanCache`].
#[derive(Debug)]
pub struct Function {
    pub(crate) name: String,
    pub(crate) signature: String,
    pub(crate) kind: RoutineKind,
    pub(crate) returns: SqlType,
    pub(crate) returns_set: bool,
    /// All parameters in order: what `$n` counts.
    pub(crate) positional: Vec<VariableId>,
    pub(crate) inputs: Vec<VariableId>,
    pub(crate) outputs: Vec<VariableId>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) names: Names,
    pub(crate) expressions: Vec<Expression>,
    pub(crate) code: Vec<Op>,
    /// The statement of each op.
    pub(crate) places: Vec<Place>,
    /// How deep loops are nested.
    pub(crate) loop_depth: usize,
    pub(crate) found: VariableId,
    pub(crate) trigger: Option<TriggerVariables>,
    pub(crate) variable_conflict: VariableConflict,
    pub(crate) print_strict_params: bool,
}

impl Function {
    /// Its name alone.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As messages show it.
    #[must_use]
    pub fn signature(&self) -> &str {
        &self.signature
    }

    /// How many arguments a call has.
    #[must_use]
    pub fn argument_count(&self) -> usize {
        self.inputs.len()
    }

    #[must_use]
    pub const fn returns_set(&self) -> bool {
        self.returns_set
    }

    pub(crate) fn expression(&self, id: ExpressionId) -> &Expression {
        &self.expressions[id.index()]
    }

    pub(crate) fn variable(&self, id: VariableId) -> &Variable {
        &self.variables[id.index()]
    }
}

/// Where an op comes from, for the context of errors.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    pub line: u32,
    /// The statement as contexts name it, or what the function is at; empty outside of all.
    pub what: &'static str,
}

#[derive(Clone, Debug)]
pub(crate) struct Variable {
    pub name: String,
    pub kind: VariableKind,
    pub constant: bool,
    pub not_null: bool,
    pub default: Option<ExpressionId>,
    /// It may hold the name of a portal.
    pub is_cursor: bool,
    pub cursor: Option<Arc<CursorDeclaration>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum VariableKind {
    Scalar(SqlType),
    /// A row of any type, or of this one.
    Record(SqlType),
    /// What a CASE compares: of the type of whatever is assigned.
    Any,
}

/// `c CURSOR (p type) FOR query`
#[derive(Clone, Debug)]
pub(crate) struct CursorDeclaration {
    pub query: ExpressionId,
    pub arguments: Vec<VariableId>,
    pub scroll: Option<bool>,
}

/// The variables that a trigger's function has, in the order of [`crate::Trigger`]'s fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TriggerVariables {
    pub new: VariableId,
    pub old: VariableId,
    /// The first of those named `tg_…`; the others follow.
    pub first: VariableId,
}

/// How a text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextKind {
    /// What may stand after SELECT, with one column and at most one row.
    Expression,
    /// The right side of an assignment: as an expression.
    Assignment,
    /// Any statement.
    Statement,
}

/// A text that the database executes.
#[derive(Clone, Debug)]
pub(crate) struct Expression {
    pub text: String,
    pub kind: TextKind,
    pub scope: ScopeId,
    /// What stands before the text where it is shown: `x := `.
    pub prefix: String,
}

impl Expression {
    /// The line of context that PostgreSQL adds to an error in it.
    pub fn context(&self) -> String {
        let Self { prefix, text, .. } = self;
        match self.kind {
            TextKind::Expression => format!("SQL expression \"{text}\""),
            TextKind::Assignment => format!("PL/pgSQL assignment \"{prefix}{text}\""),
            TextKind::Statement => format!("SQL statement \"{text}\""),
        }
    }
}

/// What is assigned to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub variable: VariableId,
    pub path: Box<[Step]>,
}

impl From<VariableId> for Target {
    fn from(variable: VariableId) -> Self {
        Self { variable, path: Box::default() }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Field(String),
    Index(ExpressionId),
    Slice { lower: Option<ExpressionId>, upper: Option<ExpressionId> },
}

/// Where a row goes.
#[derive(Clone, Debug)]
pub(crate) enum Into {
    /// All of it into a record.
    Record(VariableId),
    /// Each column into a variable of its own.
    Row(Box<[Target]>),
}

/// What opens a portal.
#[derive(Clone, Debug)]
pub(crate) enum RowSource {
    Query(ExpressionId),
    Dynamic {
        query: ExpressionId,
        using: Box<[ExpressionId]>,
    },
    /// A bound cursor, its arguments as the columns of a query.
    Cursor {
        variable: VariableId,
        arguments: Option<ExpressionId>,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Jump(Pc),
    /// NULL is not true.
    JumpUnless {
        condition: ExpressionId,
        to: Pc,
    },
    /// Gives a variable its default on the entry of its block.
    Initialize(VariableId),
    Assign {
        target: Target,
        value: ExpressionId,
    },
    /// Evaluates what a CASE compares.
    CaseValue {
        variable: VariableId,
        value: ExpressionId,
    },
    CaseNotFound,
    ForInit {
        slot: usize,
        lower: ExpressionId,
        upper: ExpressionId,
        step: Option<ExpressionId>,
        reverse: bool,
    },
    ForNext {
        slot: usize,
        variable: VariableId,
        exit: Pc,
    },
    RowsInit {
        slot: usize,
        source: RowSource,
    },
    RowsNext {
        slot: usize,
        into: Into,
        exit: Pc,
    },
    EachInit {
        slot: usize,
        array: ExpressionId,
        slice: usize,
        into: Target,
    },
    EachNext {
        slot: usize,
        into: Target,
        exit: Pc,
    },
    /// Ends a FOR or FOREACH, however it is left.
    EndLoop {
        slot: usize,
    },
    Try {
        handler: Pc,
        loop_depth: usize,
    },
    EndTry,
    When {
        conditions: Box<[Condition]>,
        state: VariableId,
        message: VariableId,
        next: Pc,
    },
    EndCatch,
    /// No handler wants the error.
    Rethrow,
    /// RETURN with a value: it is kept until the function's end.
    SetReturn(Returned),
    Return,
    /// The function's text has come to its end.
    End,
    ReturnNext(Returned),
    ReturnQuery(RowSource),
    Perform(ExpressionId),
    Sql {
        statement: ExpressionId,
        into: Option<Into>,
        strict: bool,
    },
    Call {
        statement: ExpressionId,
    },
    Execute {
        query: ExpressionId,
        using: Box<[ExpressionId]>,
        into: Option<Into>,
        strict: bool,
    },
    GetDiagnostics {
        stacked: bool,
        items: Box<[(Target, Diagnostic)]>,
    },
    Raise(Box<Raise>),
    Assert {
        condition: ExpressionId,
        message: Option<ExpressionId>,
    },
    Open {
        cursor: VariableId,
        source: RowSource,
        scroll: Option<bool>,
    },
    Fetch {
        cursor: VariableId,
        direction: FetchDirection,
        into: Option<Into>,
    },
    Close {
        cursor: VariableId,
    },
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Returned {
    Expression(ExpressionId),
    /// A variable as it is; a record may be unassigned.
    Variable(VariableId),
    /// The output parameters.
    Outputs,
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// All but `query_canceled` and `assert_failure`.
    Others,
    /// A state; one that ends in three zeros means its class.
    State(SqlState),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchCount {
    Rows(i64),
    All,
    /// Evaluated.
    Expression(ExpressionId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchDirection {
    Forward(FetchCount),
    Backward(FetchCount),
    Absolute(FetchCount),
    Relative(FetchCount),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Diagnostic {
    RowCount,
    Context,
    ErrorContext,
    ErrorDetail,
    ErrorHint,
    ReturnedSqlState,
    ColumnName,
    ConstraintName,
    DatatypeName,
    MessageText,
    TableName,
    SchemaName,
}

/// How loud a RAISE is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaiseLevel {
    Debug,
    Log,
    Info,
    Notice,
    Warning,
    Exception,
}

#[derive(Clone, Debug)]
pub(crate) struct Raise {
    pub level: RaiseLevel,
    /// RAISE without anything: the error that is being handled.
    pub again: bool,
    pub condition: Option<(String, SqlState)>,
    /// Parts of the message between the parameters.
    pub message: Option<Vec<String>>,
    pub parameters: Vec<ExpressionId>,
    pub options: Vec<(RaiseOption, ExpressionId)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RaiseOption {
    Errcode,
    Message,
    Detail,
    Hint,
    Column,
    Constraint,
    Datatype,
    Table,
    Schema,
}

impl RaiseOption {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Errcode => "ERRCODE",
            Self::Message => "MESSAGE",
            Self::Detail => "DETAIL",
            Self::Hint => "HINT",
            Self::Column => "COLUMN",
            Self::Constraint => "CONSTRAINT",
            Self::Datatype => "DATATYPE",
            Self::Table => "TABLE",
            Self::Schema => "SCHEMA",
        }
    }
}
