//! Errors as SQL sees them: a five-character state, a sentence, and the fields PostgreSQL's clients look for.

use std::fmt;

macro_rules! sql_states {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// The SQLSTATEs of PostgreSQL under its condition names, and those that a user's function chooses.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum SqlState {
            $($(#[$doc])* $name,)*
            /// None of the above: RAISE in a function may send any.
            Other(OtherState),
        }

        impl SqlState {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            #[must_use]
            pub const fn code(&self) -> &str {
                match self {
                    $(Self::$name => $code,)*
                    Self::Other(other) => other.as_str(),
                }
            }

            /// The condition name, as PL/pgSQL's `EXCEPTION WHEN` would spell it but in our case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                    Self::Other(_) => "Other",
                }
            }
        }
    };
}

sql_states! {
    SuccessfulCompletion = "00000",
    Warning = "01000",
    NullValueEliminatedInSetFunction = "01003",
    StringDataRightTruncationWarning = "01004",
    PrivilegeNotRevoked = "01006",
    PrivilegeNotGranted = "01007",
    ImplicitZeroBitPadding = "01008",
    DynamicResultSetsReturned = "0100C",
    DeprecatedFeature = "01P01",
    NoData = "02000",
    NoAdditionalDynamicResultSetsReturned = "02001",
    SqlStatementNotYetComplete = "03000",
    ConnectionException = "08000",
    SqlClientUnableToEstablishConnection = "08001",
    ConnectionDoesNotExist = "08003",
    ServerRejectedConnection = "08004",
    ConnectionFailure = "08006",
    TransactionResolutionUnknown = "08007",
    ProtocolViolation = "08P01",
    TriggeredActionException = "09000",
    FeatureNotSupported = "0A000",
    InvalidTransactionInitiation = "0B000",
    LocatorException = "0F000",
    InvalidLocatorSpecification = "0F001",
    InvalidGrantor = "0L000",
    InvalidGrantOperation = "0LP01",
    InvalidRoleSpecification = "0P000",
    DiagnosticsException = "0Z000",
    StackedDiagnosticsAccessedWithoutActiveHandler = "0Z002",
    CaseNotFound = "20000",
    CardinalityViolation = "21000",
    DataException = "22000",
    StringDataRightTruncation = "22001",
    NullValueNoIndicatorParameter = "22002",
    NumericValueOutOfRange = "22003",
    NullValueNotAllowed = "22004",
    InvalidXmlDocument = "2200M",
    InvalidXmlContent = "2200N",
    InvalidXmlComment = "2200S",
    InvalidXmlProcessingInstruction = "2200T",
    InvalidIndicatorParameterValue = "22010",
    SubstringError = "22011",
    ErrorInAssignment = "22005",
    InvalidDatetimeFormat = "22007",
    DatetimeFieldOverflow = "22008",
    InvalidTimeZoneDisplacementValue = "22009",
    EscapeCharacterConflict = "2200B",
    InvalidUseOfEscapeCharacter = "2200C",
    InvalidEscapeOctet = "2200D",
    ZeroLengthCharacterString = "2200F",
    MostSpecificTypeMismatch = "2200G",
    SequenceGeneratorLimitExceeded = "2200H",
    NotAnXmlDocument = "2200L",
    DivisionByZero = "22012",
    InvalidPrecedingOrFollowingSize = "22013",
    InvalidArgumentForNtile = "22014",
    IntervalFieldOverflow = "22015",
    InvalidArgumentForNthValue = "22016",
    InvalidCharacterValueForCast = "22018",
    InvalidEscapeCharacter = "22019",
    InvalidRegularExpression = "2201B",
    InvalidArgumentForLogarithm = "2201E",
    InvalidArgumentForPowerFunction = "2201F",
    InvalidArgumentForWidthBucket = "2201G",
    InvalidRowCountInLimitClause = "2201W",
    InvalidRowCountInResultOffsetClause = "2201X",
    CharacterNotInRepertoire = "22021",
    IndicatorOverflow = "22022",
    InvalidParameterValue = "22023",
    UnterminatedCString = "22024",
    InvalidEscapeSequence = "22025",
    StringDataLengthMismatch = "22026",
    TrimError = "22027",
    ArraySubscriptError = "2202E",
    InvalidTablesampleRepeat = "2202G",
    InvalidTablesampleArgument = "2202H",
    DuplicateJsonObjectKeyValue = "22030",
    InvalidArgumentForSqlJsonDatetimeFunction = "22031",
    InvalidJsonText = "22032",
    InvalidSqlJsonSubscript = "22033",
    MoreThanOneSqlJsonItem = "22034",
    NoSqlJsonItem = "22035",
    NonNumericSqlJsonItem = "22036",
    NonUniqueKeysInAJsonObject = "22037",
    SingletonSqlJsonItemRequired = "22038",
    SqlJsonArrayNotFound = "22039",
    SqlJsonMemberNotFound = "2203A",
    SqlJsonNumberNotFound = "2203B",
    SqlJsonObjectNotFound = "2203C",
    TooManyJsonArrayElements = "2203D",
    TooManyJsonObjectMembers = "2203E",
    SqlJsonScalarRequired = "2203F",
    SqlJsonItemCannotBeCastToTargetType = "2203G",
    FloatingPointException = "22P01",
    InvalidTextRepresentation = "22P02",
    InvalidBinaryRepresentation = "22P03",
    BadCopyFileFormat = "22P04",
    UntranslatableCharacter = "22P05",
    NonstandardUseOfEscapeCharacter = "22P06",
    IntegrityConstraintViolation = "23000",
    RestrictViolation = "23001",
    NotNullViolation = "23502",
    ForeignKeyViolation = "23503",
    UniqueViolation = "23505",
    CheckViolation = "23514",
    ExclusionViolation = "23P01",
    InvalidCursorState = "24000",
    InvalidTransactionState = "25000",
    ActiveSqlTransaction = "25001",
    BranchTransactionAlreadyActive = "25002",
    InappropriateAccessModeForBranchTransaction = "25003",
    InappropriateIsolationLevelForBranchTransaction = "25004",
    NoActiveSqlTransactionForBranchTransaction = "25005",
    ReadOnlySqlTransaction = "25006",
    SchemaAndDataStatementMixingNotSupported = "25007",
    HeldCursorRequiresSameIsolationLevel = "25008",
    NoActiveSqlTransaction = "25P01",
    InFailedSqlTransaction = "25P02",
    IdleInTransactionSessionTimeout = "25P03",
    InvalidSqlStatementName = "26000",
    TriggeredDataChangeViolation = "27000",
    InvalidAuthorizationSpecification = "28000",
    InvalidPassword = "28P01",
    DependentPrivilegeDescriptorsStillExist = "2B000",
    DependentObjectsStillExist = "2BP01",
    InvalidTransactionTermination = "2D000",
    SqlRoutineException = "2F000",
    ModifyingSqlDataNotPermitted = "2F002",
    ProhibitedSqlStatementAttempted = "2F003",
    ReadingSqlDataNotPermitted = "2F004",
    FunctionExecutedNoReturnStatement = "2F005",
    InvalidCursorName = "34000",
    ExternalRoutineException = "38000",
    ContainingSqlNotPermitted = "38001",
    ExternalModifyingSqlDataNotPermitted = "38002",
    ExternalProhibitedSqlStatementAttempted = "38003",
    ExternalReadingSqlDataNotPermitted = "38004",
    InvalidSqlstateReturned = "39001",
    ExternalNullValueNotAllowed = "39004",
    TriggerProtocolViolated = "39P01",
    SrfProtocolViolated = "39P02",
    EventTriggerProtocolViolated = "39P03",
    SavepointException = "3B000",
    InvalidSavepointSpecification = "3B001",
    ExternalRoutineInvocationException = "39000",
    InvalidCatalogName = "3D000",
    InvalidSchemaName = "3F000",
    TransactionRollback = "40000",
    SerializationFailure = "40001",
    TransactionIntegrityConstraintViolation = "40002",
    StatementCompletionUnknown = "40003",
    DeadlockDetected = "40P01",
    SyntaxErrorOrAccessRuleViolation = "42000",
    InsufficientPrivilege = "42501",
    SyntaxError = "42601",
    InvalidName = "42602",
    InvalidColumnDefinition = "42611",
    NameTooLong = "42622",
    DuplicateColumn = "42701",
    AmbiguousColumn = "42702",
    UndefinedColumn = "42703",
    UndefinedObject = "42704",
    DuplicateObject = "42710",
    DuplicateAlias = "42712",
    DuplicateFunction = "42723",
    AmbiguousFunction = "42725",
    GroupingError = "42803",
    DatatypeMismatch = "42804",
    WrongObjectType = "42809",
    InvalidForeignKey = "42830",
    CannotCoerce = "42846",
    UndefinedFunction = "42883",
    GeneratedAlways = "428C9",
    ReservedName = "42939",
    UndefinedTable = "42P01",
    UndefinedParameter = "42P02",
    DuplicateCursor = "42P03",
    DuplicateDatabase = "42P04",
    DuplicatePreparedStatement = "42P05",
    DuplicateSchema = "42P06",
    DuplicateTable = "42P07",
    AmbiguousParameter = "42P08",
    AmbiguousAlias = "42P09",
    InvalidColumnReference = "42P10",
    InvalidCursorDefinition = "42P11",
    InvalidDatabaseDefinition = "42P12",
    InvalidFunctionDefinition = "42P13",
    InvalidPreparedStatementDefinition = "42P14",
    InvalidSchemaDefinition = "42P15",
    InvalidTableDefinition = "42P16",
    InvalidObjectDefinition = "42P17",
    IndeterminateDatatype = "42P18",
    InvalidRecursion = "42P19",
    WindowingError = "42P20",
    CollationMismatch = "42P21",
    IndeterminateCollation = "42P22",
    WithCheckOptionViolation = "44000",
    InsufficientResources = "53000",
    DiskFull = "53100",
    OutOfMemory = "53200",
    TooManyConnections = "53300",
    ConfigurationLimitExceeded = "53400",
    ProgramLimitExceeded = "54000",
    StatementTooComplex = "54001",
    TooManyColumns = "54011",
    TooManyArguments = "54023",
    ObjectNotInPrerequisiteState = "55000",
    ObjectInUse = "55006",
    CantChangeRuntimeParam = "55P02",
    LockNotAvailable = "55P03",
    UnsafeNewEnumValueUsage = "55P04",
    OperatorIntervention = "57000",
    QueryCanceled = "57014",
    AdminShutdown = "57P01",
    CrashShutdown = "57P02",
    CannotConnectNow = "57P03",
    DatabaseDropped = "57P04",
    IdleSessionTimeout = "57P05",
    SystemError = "58000",
    IoError = "58030",
    UndefinedFile = "58P01",
    DuplicateFile = "58P02",
    SnapshotTooOld = "72000",
    ConfigFileError = "F0000",
    LockFileExists = "F0001",
    PlpgsqlError = "P0000",
    RaiseException = "P0001",
    NoDataFound = "P0002",
    TooManyRows = "P0003",
    AssertFailure = "P0004",
    InternalError = "XX000",
    DataCorrupted = "XX001",
    IndexCorrupted = "XX002",
}

/// A SQLSTATE without a name: five digits or upper-case letters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OtherState([u8; 5]);

impl OtherState {
    const fn as_str(&self) -> &str {
        match std::str::from_utf8(&self.0) {
            Ok(code) => code,
            Err(_) => unreachable!(),
        }
    }
}

impl SqlState {
    /// The state with this code; `None` unless it is five digits or upper-case letters.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        if let Some(known) = Self::ALL.iter().copied().find(|state| state.code() == code) {
            return Some(known);
        }
        let bytes = <[u8; 5]>::try_from(code.as_bytes()).ok()?;
        let is_well_formed = bytes.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
        is_well_formed.then_some(Self::Other(OtherState(bytes)))
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.code(), self.name())
    }
}

/// What an error carries. Reached through [`SqlError`], which dereferences to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlErrorFields {
    pub code: SqlState,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// Where in the statement's text, in characters, from 1.
    pub position: Option<usize>,
    pub schema: Option<String>,
    pub table: Option<String>,
    pub column: Option<String>,
    pub constraint: Option<String>,
    pub datatype: Option<String>,
    /// Where it arose: lines from the innermost call outwards.
    pub context: Option<String>,
    /// The text that [`Self::internal_position`] is in: a statement of a function's body, or the body.
    pub internal_query: Option<String>,
    /// In characters, from 1.
    pub internal_position: Option<usize>,
    /// PostgreSQL's name of the function that raised it, where drivers tell errors of one code apart by it.
    pub routine: Option<&'static str>,
}

/// An error for the client. One pointer wide, so that a `Result` of a datum stays small.
#[derive(Clone, PartialEq, Eq)]
pub struct SqlError(Box<SqlErrorFields>);

pub type SqlResult<T> = Result<T, SqlError>;

impl SqlError {
    #[must_use]
    #[cold]
    pub fn new(code: SqlState, message: impl Into<String>) -> Self {
        Self(Box::new(SqlErrorFields {
            code,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            schema: None,
            table: None,
            column: None,
            constraint: None,
            datatype: None,
            context: None,
            internal_query: None,
            internal_position: None,
            routine: None,
        }))
    }

    /// 0A000.
    #[must_use]
    pub fn not_supported(what: impl Into<String>) -> Self {
        Self::new(SqlState::FeatureNotSupported, what)
    }

    /// XX000: our bug, reported rather than hidden.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(SqlState::InternalError, message)
    }

    #[must_use]
    pub fn without_detail(mut self) -> Self {
        self.0.detail = None;
        self
    }

    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn with_position(mut self, position: usize) -> Self {
        self.0.position = Some(position);
        self
    }

    #[must_use]
    pub fn with_schema(mut self, schema: impl Into<String>) -> Self {
        self.0.schema = Some(schema.into());
        self
    }

    #[must_use]
    pub fn with_table(mut self, table: impl Into<String>) -> Self {
        self.0.table = Some(table.into());
        self
    }

    #[must_use]
    pub fn with_column(mut self, column: impl Into<String>) -> Self {
        self.0.column = Some(column.into());
        self
    }

    #[must_use]
    pub fn with_constraint(mut self, constraint: impl Into<String>) -> Self {
        self.0.constraint = Some(constraint.into());
        self
    }

    #[must_use]
    pub fn with_datatype(mut self, datatype: impl Into<String>) -> Self {
        self.0.datatype = Some(datatype.into());
        self
    }

    /// Adds a line to the context: what the code that raised it was called by.
    #[must_use]
    pub fn with_context(mut self, line: &str) -> Self {
        match &mut self.0.context {
            Some(context) => {
                context.push('\n');
                context.push_str(line);
            }
            none => *none = Some(line.to_owned()),
        }
        self
    }

    /// A position in a text that the client has not sent.
    #[must_use]
    pub fn with_internal_position(mut self, query: impl Into<String>, position: usize) -> Self {
        self.0.internal_query = Some(query.into());
        self.0.internal_position = Some(position);
        self
    }

    #[must_use]
    pub fn with_routine(mut self, routine: &'static str) -> Self {
        self.0.routine = Some(routine);
        self
    }

    /// The same error, in a text that the client has not sent.
    #[must_use]
    pub fn moved_inside(mut self, query: impl Into<String>, position: usize) -> Self {
        self.0.position = None;
        self.with_internal_position(query, position)
    }

    /// The same error, in the text that the client has sent.
    #[must_use]
    pub fn moved_outside(mut self, position: usize) -> Self {
        self.0.internal_query = None;
        self.0.internal_position = None;
        self.with_position(position)
    }

    #[must_use]
    pub fn code(&self) -> SqlState {
        self.0.code
    }

    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    #[must_use]
    pub fn into_fields(self) -> SqlErrorFields {
        *self.0
    }
}

impl std::ops::Deref for SqlError {
    type Target = SqlErrorFields;

    fn deref(&self) -> &SqlErrorFields {
        &self.0
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.0.message, self.0.code)
    }
}

impl fmt::Debug for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqlError({}: {}", self.0.code, self.0.message)?;
        if let Some(detail) = &self.0.detail {
            write!(f, "; detail: {detail}")?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for SqlError {}

/// The errors that several modules of this crate raise, in PostgreSQL's words.
pub(crate) mod raise {
    use super::{SqlError, SqlState};

    #[cold]
    pub fn invalid_syntax(type_name: &str, input: &str) -> SqlError {
        SqlError::new(
            SqlState::InvalidTextRepresentation,
            format!("invalid input syntax for type {type_name}: \"{input}\""),
        )
    }

    #[cold]
    pub fn value_out_of_range(type_name: &str, input: &str) -> SqlError {
        SqlError::new(
            SqlState::NumericValueOutOfRange,
            format!("value \"{input}\" is out of range for type {type_name}"),
        )
    }

    #[cold]
    pub fn out_of_range(what: &str) -> SqlError {
        SqlError::new(SqlState::NumericValueOutOfRange, format!("{what} out of range"))
    }

    #[cold]
    pub fn division_by_zero() -> SqlError {
        SqlError::new(SqlState::DivisionByZero, "division by zero")
    }

    #[cold]
    pub fn datetime_out_of_range(what: &str) -> SqlError {
        SqlError::new(SqlState::DatetimeFieldOverflow, format!("{what} out of range"))
    }

    #[cold]
    pub fn invalid_parameter(message: impl Into<String>) -> SqlError {
        SqlError::new(SqlState::InvalidParameterValue, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_well_formed() {
        let mut seen = std::collections::BTreeSet::new();
        for state in SqlState::ALL {
            let code = state.code();
            assert!(code.len() == 5 && code.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()), "{code}");
            assert!(seen.insert(code), "{code} stands twice");
            assert_eq!(SqlState::from_code(code), Some(*state));
        }
        let other = SqlState::from_code("U0001").unwrap();
        assert_eq!((other.code(), other.name()), ("U0001", "Other"));
        assert_eq!([SqlState::from_code("u0001"), SqlState::from_code("U001")], [None, None]);
    }

    #[test]
    fn context_is_told_from_the_inside_out() {
        let error = SqlError::internal("").with_context("f").with_context("g");
        assert_eq!(error.context.as_deref(), Some("f\ng"));
    }

    #[test]
    fn an_error_is_one_pointer() {
        assert_eq!(size_of::<SqlError>(), size_of::<usize>());
        assert_eq!(size_of::<SqlResult<()>>(), size_of::<usize>());
    }
}
