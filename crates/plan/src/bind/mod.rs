//! Names to positions, types and functions: syntax trees to [`Rel`] and [`Expr`].
//!
//! The problem: SQL's meaning hangs on the catalog and on inference that flows both ways: a literal takes its type
//! from its neighbour, a grouped query changes what a column may be, a subquery reaches into rows outside it.
//!
//! The idea: one pass over the tree, bottom up, with three small states. A [`Scope`] says what names mean; a [`Frame`]
//! of each SELECT collects the aggregates, window functions and set-returning functions that its expressions mention
//! and leaves *placeholders* for them; undetermined literals and parameters stay `Unknown` until a context wants a
//! type. Once a SELECT's expressions are bound, the placeholders are replaced by positions in the nodes that compute
//! them (`aggregate`, `window`, `query`).
//!
//! A placeholder is a column position at or above [`AGGREGATE_BASE`]; **Invariant (no-placeholder-left):** none
//! survives in a bound query, upheld by the replacing functions, which visit every expression of a SELECT.
//!
//! WITH queries are bound where they are defined and put in place of their names. If one turns out to be wanted more
//! than once, the statement is bound again with that query set apart, to be run once: see `cte`.

mod aggregate;
mod assign;
mod called;
mod composite;
mod conflict;
mod cte;
mod dml;
mod domain;
mod expr;
mod from;
mod from_function;
mod implied;
mod function;
mod json_record;
mod text_statistics;
mod literals;
mod merge;
mod names;
mod operators;
mod ordered_set;
mod partition;
mod places;
mod policy;
mod query;
mod recursion;
mod routine;
mod row_locks;
mod sample;
pub(crate) mod same;
mod select;
mod shown;
mod stored;
mod target;
mod subquery;
mod through;
mod trigger;
#[cfg(test)]
mod tests;
mod types;
mod user_aggregate;
mod view;
mod window;

use std::borrow::Cow;
use std::sync::Arc;

use ::types::stack::{DEPTH_MAX, grown, too_deep};
use ::types::{DomainType, Formatting, SqlError, SqlResult, SqlState, SqlType};
use catalog::privilege::Need;
use catalog::{LiteralSettings, NamedRelation, Relation, Table, View, temporary_schema};
use rustc_hash::{FxHashMap, FxHashSet};
use sqlparser::ast::{self, Spanned};

pub use self::called::routines_called;
pub use self::dml::changes_key;
pub use self::same::same_expr;
pub use self::partition::{partition_key, partition_key_columns};
pub(crate) use self::partition::{indexes_below, key_exprs};
pub use self::domain::{checked_column, domain_check, domain_default, domain_rules};
pub(crate) use self::domain::{rel_without_domains, without_domains};
pub use self::policy::{is_row_security_refusal, policy_reads};
pub(crate) use self::policy::{NO_COPY_FROM, new_policy_expr, policy_as_written, row_security_is_active};
pub(crate) use self::routine::{Argument, Resolution};
pub(crate) use self::shown::{ShownQuery, ShownTable};
pub(crate) use self::cte::changes_data;
pub(crate) use self::stored::{bind_as_written, bind_query_as_written, key_expr, stored_range};
pub use self::trigger::{condition as trigger_condition, rename_in_condition, trigger_columns};
pub(crate) use self::trigger::{condition_as_written, condition_of, mentions, place_of};
pub use self::stored::{bind_assigned, bind_stored_expr, column_default, row_rules};
pub(crate) use self::through::{check_option_refusal, written_through};
pub(crate) use self::types::{bind_type, find_type, innermost};
use self::window::WindowRequest;
use crate::PlanContext;
use crate::dependencies::NameKind;
use crate::expr::{AggregateCall, DomainRules, Expr};
use crate::logical::Rel;
use crate::plan::{FunctionCall, Plan};
use crate::scope::{Level, Place, Scope};

/// Positions from here on stand for aggregates of the SELECT being bound.
pub(crate) const AGGREGATE_BASE: usize = 1 << 40;
/// … for its window functions.
pub(crate) const WINDOW_BASE: usize = 1 << 41;
/// … for its set-returning functions.
pub(crate) const SET_BASE: usize = 1 << 42;
/// … for GROUPING calls.
pub(crate) const GROUPING_BASE: usize = 1 << 43;
/// … for group columns, while a grouped query's expressions are being rewritten.
pub(crate) const GROUP_BASE: usize = 1 << 44;

/// So often views are read in one statement, those that views read included. A view that reads another twice, which
/// reads another twice, would be a statement as large as a power of two.
const VIEWS_MAX: usize = 10_000;

/// Expressions that stand twice in what is bound but once in the text, and columns of joins of joins: nested, they
/// would double with every level.
const COPIES_MAX: usize = 4_000_000;

/// Where an expression stands; decides what it may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clause {
    Select,
    Where,
    JoinOn,
    GroupBy,
    Having,
    OrderBy,
    DistinctOn,
    Limit,
    Values,
    FromFunction,
    Returning,
    Update,
    Default,
    Generated,
    IndexExpression,
    PartitionKey,
    PartitionBound,
    Check,
    AggregateArgument,
    Filter,
    WindowDefinition,
    CallArgument,
    TriggerWhen,
    MergeWhen,
    Policy,
    CopyWhere,
}

impl Clause {
    /// As error messages call it.
    fn name(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Where => "WHERE",
            Self::JoinOn => "JOIN conditions",
            Self::GroupBy => "GROUP BY",
            Self::Having => "HAVING",
            Self::OrderBy => "ORDER BY",
            Self::DistinctOn => "DISTINCT ON",
            Self::Limit => "LIMIT",
            Self::Values => "VALUES",
            Self::FromFunction => "functions in FROM",
            Self::Returning => "RETURNING",
            Self::Update => "UPDATE",
            Self::Default => "DEFAULT expressions",
            Self::Generated => "column generation expressions",
            Self::IndexExpression => "index expressions",
            Self::PartitionKey => "partition key expressions",
            Self::PartitionBound => "partition bound",
            Self::Check => "check constraints",
            Self::AggregateArgument => "aggregate function calls",
            Self::Filter => "FILTER",
            Self::WindowDefinition => "window definitions",
            Self::CallArgument => "CALL arguments",
            Self::TriggerWhen => "trigger WHEN conditions",
            Self::MergeWhen => "MERGE WHEN conditions",
            Self::Policy => "policy expressions",
            Self::CopyWhere => "COPY FROM WHERE conditions",
        }
    }

    fn allows_aggregates(self) -> bool {
        matches!(
            self,
            Self::Select | Self::Having | Self::OrderBy | Self::DistinctOn | Self::WindowDefinition
        )
    }

    fn allows_windows(self) -> bool {
        matches!(self, Self::Select | Self::OrderBy | Self::DistinctOn)
    }

    fn allows_sets(self) -> bool {
        matches!(self, Self::Select | Self::OrderBy | Self::DistinctOn | Self::GroupBy)
    }
}

/// What the expressions of the SELECT being bound ask for besides columns.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Distinguishes frames of one statement.
    pub id: u32,
    pub clause: Clause,
    pub aggregates: Vec<AggregateCall>,
    pub windows: Vec<WindowRequest>,
    pub sets: Vec<FunctionCall>,
    /// The arguments of GROUPING calls.
    pub groupings: Vec<Vec<Expr>>,
    /// What became NULL before grouping was looked at: it has to be grouped by all the same.
    pub dropped: Vec<Expr>,
    pub named_windows: Vec<(String, ast::WindowSpec)>,
    /// The name of the WITH query whose recursive term this is, where SEARCH or CYCLE add columns: they are handed on.
    pub hands_on: Option<String>,
}

impl Frame {
    pub fn new(id: u32, clause: Clause) -> Self {
        Self {
            id,
            clause,
            aggregates: Vec::new(),
            windows: Vec::new(),
            sets: Vec::new(),
            groupings: Vec::new(),
            dropped: Vec::new(),
            named_windows: Vec::new(),
            hands_on: None,
        }
    }
}

/// Makes the plan of a subquery or WITH query.
pub(crate) type Optimize = fn(Rel, &PlanContext<'_>) -> SqlResult<Plan>;

pub(crate) struct Binder<'a> {
    pub context: &'a PlanContext<'a>,
    pub optimize: Optimize,
    /// Types of the parameters, as far as they are known.
    pub params: Vec<Option<SqlType>>,
    /// The whole query string, while the tree at hand has positions in it.
    source: Option<Arc<str>>,
    frames: Vec<Frame>,
    ctes: cte::Ctes,
    /// Ids of the views around what is being bound.
    views: Vec<u32>,
    /// Ids of the tables whose policies are being bound.
    policies: Vec<u32>,
    /// The owner of the view that is being bound: what it reads is read with the owner's privileges.
    acting: Option<u32>,
    /// How many views were bound.
    view_count: usize,
    /// How many queries are around what is being bound.
    query_depth: usize,
    /// How deeply what is being bound is nested in the statement: queries and expressions, chains by their length.
    depth: usize,
    /// How deep the relations are that were bound so far at this level and below: see [`Binder::at_level`].
    height: usize,
    /// What binding has made so far that the text does not bound: copies of expressions, columns of joins.
    copied: usize,
    /// FOR UPDATE and its kin, for the tables of the FROM being bound.
    row_locks: Vec<query::LockRequest>,
    /// Of the SELECT that comes next: see [`Frame::hands_on`].
    hands_on: Option<String>,
    /// Of the INSERT being bound.
    overriding: Option<crate::parse::extras::Overriding>,
    /// The last number that a level or a frame was given.
    next_level: u32,
    /// How much of subqueries was read for their forms: see [`Binder::form`].
    form_bytes: usize,
    /// Nothing is computed while binding: for expressions that are to be shown.
    keeps_form: bool,
    /// The rules of the domains that values were made into.
    domains: FxHashMap<DomainType, Arc<DomainRules>>,
    /// Ids of the relations that were read and the types that were named: views keep them as their dependencies.
    pub depends_on: Vec<u32>,
    /// The names of those relations, where a view is made of the query.
    pub names: Option<Vec<NamedRelation>>,
}

/// What does not fit its column is found when the value is there, which is at no place of the statement.
fn is_of_length(error: &SqlError) -> bool {
    error.code() == SqlState::StringDataRightTruncation || error.message() == "numeric field overflow"
}

/// PostgreSQL's identifiers: folded to lower case unless quoted.
pub(crate) fn fold(ident: &ast::Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        // As in PostgreSQL with an encoding of several bytes, letters beyond ASCII stay.
        None => ident.value.to_ascii_lowercase(),
    }
}

/// What PostgreSQL's grammar takes as no name of a column or table: reserved words, and those of functions and types.
const RESERVED: [&str; 100] = [
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization", "binary", "both",
    "case", "cast", "check", "collate", "collation", "column", "concurrently", "constraint", "create", "cross",
    "current_catalog", "current_date", "current_role", "current_schema", "current_time", "current_timestamp",
    "current_user", "default", "deferrable", "desc", "distinct", "do", "else", "end", "except", "false", "fetch",
    "for", "foreign", "freeze", "from", "full", "grant", "group", "having", "ilike", "in", "initially", "inner",
    "intersect", "into", "is", "isnull", "join", "lateral", "leading", "left", "like", "limit", "localtime",
    "localtimestamp", "natural", "not", "notnull", "null", "offset", "on", "only", "or", "order", "outer", "overlaps",
    "placing", "primary", "references", "returning", "right", "select", "session_user", "similar", "some",
    "symmetric", "table", "tablesample", "then", "to", "trailing", "true", "union", "unique", "user", "using",
    "variadic", "verbose", "when", "where", "window", "with",
];

/// A name of a column or table that is being given.
pub(crate) fn check_name(ident: &ast::Ident) -> SqlResult<()> {
    let is_reserved = || RESERVED.binary_search(&ident.value.to_ascii_lowercase().as_str()).is_ok();
    if ident.quote_style.is_none() && is_reserved() {
        let message = format!("syntax error at or near \"{}\"", ident.value);
        return Err(SqlError::new(SqlState::SyntaxError, message));
    }
    Ok(())
}

/// The parts of a name, folded.
pub(crate) fn name_parts(name: &ast::ObjectName) -> SqlResult<Vec<String>> {
    let only = usize::from(crate::parse::extras::is_only(name));
    name.0[only..]
        .iter()
        .map(|part| {
            part.as_ident().map(fold).ok_or_else(|| {
                SqlError::new(SqlState::SyntaxError, format!("syntax error at or near \"{part}\""))
            })
        })
        .collect()
}

/// A name of one or two parts: schema and object.
pub(crate) fn qualified_name(
    context: &PlanContext<'_>,
    name: &ast::ObjectName,
) -> SqlResult<(Option<String>, String)> {
    let mut parts = name_parts(name)?;
    let last = parts.pop().expect("the parser yields no empty name");
    let schema = |name: Option<String>| match name {
        Some(name) if name == "pg_temp" => Some(temporary_schema(context.search_path).map_or(name, str::to_owned)),
        name => name,
    };
    match parts.len() {
        0 => Ok((None, last)),
        1 => Ok((schema(parts.pop()), last)),
        2 => {
            let current = context.catalog.database_by_id(context.database).map(|it| it.name.as_str());
            if current == Some(parts[0].as_str()) {
                return Ok((schema(parts.pop()), last));
            }
            Err(SqlError::not_supported(format!(
                "cross-database references are not implemented: \"{}.{}.{last}\"",
                parts[0], parts[1]
            )))
        }
        _ => Err(SqlError::new(
            SqlState::SyntaxError,
            format!("improper qualified name (too many dotted names): {name}"),
        )),
    }
}

/// A relation by name, through the search path unless a schema is given.
pub(crate) fn find_relation(
    context: &PlanContext<'_>,
    schema: Option<&str>,
    name: &str,
) -> SqlResult<Option<Relation>> {
    let named = context.names.iter().find(|named| named.name == name && named.schema.as_deref() == schema);
    let found = match schema {
        // *names-by-id*
        _ if let Some(known) = named.and_then(|named| context.catalog.relation_by_id(named.id)) => Some(known.clone()),
        Some(schema_name) => {
            let schema = context.catalog.schema(context.database, schema_name);
            schema.and_then(|schema| context.catalog.relation(schema.id, name)).cloned()
        }
        None => context
            .catalog
            .search_schemas(context.database, context.search_path, context.user)
            .into_iter()
            .find_map(|schema| context.catalog.relation(schema, name))
            .cloned(),
    };
    if named.is_none() {
        NameKind::Relation.note(context, schema, name);
    }
    if let Some(relation) = &found {
        context.notes.uses(relation.id());
        note_lookup(context, relation.schema(), schema.is_none().then_some(name));
        // Statements of our own have no such schema, and name any.
        let own = temporary_schema(context.search_path);
        let is_others = own.is_some_and(|own| schema.is_some_and(|name| name != own));
        if is_others && context.catalog.is_temporary(relation.schema()) {
            return Err(SqlError::not_supported("cannot access temporary tables of other sessions"));
        }
    }
    Ok(found)
}

/// How the literals of stored text are read: as when it was made.
///
/// # Errors
/// 22023 where the time zone of then is not known any more.
pub(crate) fn as_kept<'a>(kept: Option<&LiteralSettings>, context: &PlanContext<'a>) -> SqlResult<Cow<'a, Formatting>> {
    Ok(match kept {
        Some(kept) => Cow::Owned(kept.within(context.formatting)?),
        None => Cow::Borrowed(context.formatting),
    })
}

/// What the query of a view is bound with; `formatting` is of [`as_kept`].
pub(crate) fn of_view<'a>(view: &'a View, formatting: &'a Formatting, context: &PlanContext<'a>) -> PlanContext<'a> {
    PlanContext {
        search_path: &view.path,
        names: &view.details.names,
        depends_on: Some(&view.depends_on),
        formatting,
        variables: None,
        transitions: &[],
        ..*context
    }
}

/// A name was found in a schema; `unqualified`: by the search path.
pub(crate) fn note_lookup(context: &PlanContext<'_>, schema: u32, unqualified: Option<&str>) {
    let is_everyones = context.catalog.schema_by_id(schema).is_none_or(|schema| schema.database == 0 || schema.is_temporary());
    if !is_everyones {
        context.notes.needs.add(Need::Lookup { schema, missing: unqualified.map(str::to_owned) });
    }
}

/// The columns of a table or view, which are the fields of its row type.
pub(crate) fn relation_columns(
    context: &PlanContext<'_>,
    schema: Option<&str>,
    name: &str,
) -> SqlResult<Option<Vec<(String, SqlType)>>> {
    Ok(match find_relation(context, schema, name)? {
        Some(Relation::Table(table)) => {
            Some(table.columns.iter().filter(|it| !it.hidden).map(|it| (it.name.clone(), it.ty)).collect())
        }
        Some(Relation::View(view)) => Some(view.columns.iter().map(|(name, ty)| (name.clone(), ty.base())).collect()),
        Some(Relation::Sequence(_)) | None => None,
    })
}

/// 42P01.
pub(crate) fn no_relation(schema: Option<&str>, name: &str) -> SqlError {
    let name = schema.map_or_else(|| name.to_owned(), |schema| format!("{schema}.{name}"));
    SqlError::new(SqlState::UndefinedTable, format!("relation \"{name}\" does not exist"))
}

/// The table a statement changes.
///
/// # Errors
/// 42P01 when it does not exist, 42809 when it is no table.
pub(crate) fn find_table(context: &PlanContext<'_>, name: &ast::ObjectName) -> SqlResult<Arc<Table>> {
    let (schema, relation) = qualified_name(context, name)?;
    match find_relation(context, schema.as_deref(), &relation)? {
        Some(Relation::Table(table)) => Ok(table),
        Some(Relation::View(_) | Relation::Sequence(_)) => {
            Err(SqlError::new(SqlState::WrongObjectType, format!("\"{relation}\" is not a table")))
        }
        None => Err(no_relation(schema.as_deref(), &relation)),
    }
}

impl<'a> Binder<'a> {
    pub fn new(context: &'a PlanContext<'a>, source: Option<Arc<str>>) -> Self {
        Self {
            context,
            optimize: crate::optimize_rel,
            // Of type `unknown` is as good as not said.
            params: context.param_types.iter().map(|ty| ty.filter(|ty| *ty != SqlType::Unknown)).collect(),
            source,
            frames: Vec::new(),
            ctes: cte::Ctes::new(FxHashSet::default()),
            views: Vec::new(),
            policies: Vec::new(),
            acting: None,
            view_count: 0,
            query_depth: 0,
            depth: 0,
            height: 0,
            copied: 0,
            row_locks: Vec::new(),
            hands_on: None,
            overriding: None,
            next_level: 0,
            form_bytes: 0,
            keeps_form: false,
            domains: FxHashMap::default(),
            depends_on: Vec::new(),
            names: None,
        }
    }

    /// Binds with a fresh binder, and again as long as WITH queries turn out to be wanted more than once.
    pub fn bind_with<T>(
        context: &'a PlanContext<'a>,
        source: Option<Arc<str>>,
        optimize: Optimize,
        bind: impl Fn(&mut Binder<'a>) -> SqlResult<T>,
    ) -> SqlResult<(T, Binder<'a>)> {
        let mut apart = FxHashSet::default();
        let noted = context.notes.needs.mark();
        loop {
            context.notes.needs.forget_since(noted);
            let mut binder = Binder::new(context, source.clone());
            binder.optimize = optimize;
            binder.ctes = cte::Ctes::new(apart.clone());
            let bound = bind(&mut binder)?;
            let wanted = binder.ctes.wanted_apart();
            if wanted.is_subset(&apart) {
                return Ok((bound, binder));
            }
            apart.extend(wanted);
        }
    }

    /// The types of all parameters; undetermined ones are text.
    pub fn param_types(&self) -> Vec<SqlType> {
        self.params.iter().map(|ty| ty.unwrap_or(SqlType::Text)).collect()
    }

    /// The plans of the WITH queries that were set apart.
    pub fn take_ctes(&mut self) -> Vec<Arc<Plan>> {
        self.ctes.take_plans()
    }

    /// A level of the statement's own.
    pub(crate) fn level(&mut self) -> Level<'static> {
        Level::new(None, self.next_id(), Place::Outermost)
    }

    pub(crate) fn level_in<'s>(&mut self, parent: &'s Scope<'s>, place: Place) -> Level<'s> {
        Level::new(Some(parent), self.next_id(), place)
    }

    fn next_id(&mut self) -> u32 {
        self.next_level += 1;
        self.next_level
    }

    /// One level of nesting, or `levels` of them at once.
    ///
    /// # Errors
    /// 54001 beyond [`DEPTH_MAX`].
    pub(crate) fn nested<T>(
        &mut self,
        levels: usize,
        bind: impl FnOnce(&mut Self) -> SqlResult<T>,
    ) -> SqlResult<T> {
        if self.depth + levels > DEPTH_MAX {
            return Err(too_deep());
        }
        self.depth += levels;
        let bound = grown(|| bind(self));
        self.depth -= levels;
        bound
    }

    /// Binds a relation of its own, such as a query: whatever stands in it counts towards its height, and it counts
    /// towards that of what it stands in.
    ///
    /// # Errors
    /// 54001 when it becomes higher than [`DEPTH_MAX`].
    pub(crate) fn at_level<T>(&mut self, bind: impl FnOnce(&mut Self) -> SqlResult<T>) -> SqlResult<T> {
        let beside = std::mem::take(&mut self.height);
        let bound = self.nested(1, bind).and_then(|bound| self.above(1).map(|()| bound));
        self.height = self.height.max(beside);
        bound
    }

    /// Some nodes were put above the relations bound so far.
    pub(crate) fn above(&mut self, nodes: usize) -> SqlResult<()> {
        self.height += nodes;
        if self.height > DEPTH_MAX { Err(too_deep()) } else { Ok(()) }
    }

    /// Counts what was copied.
    ///
    /// # Errors
    /// 54001 beyond [`COPIES_MAX`].
    pub(crate) fn copies(&mut self, count: usize) -> SqlResult<()> {
        self.copied += count;
        if self.copied > COPIES_MAX { Err(too_deep()) } else { Ok(()) }
    }

    /// A copy of an expression that is needed twice.
    pub(crate) fn copy(&mut self, expr: &Expr) -> SqlResult<Expr> {
        self.copies(expr.size_up_to(COPIES_MAX))?;
        Ok(expr.clone())
    }

    /// Puts the place of `node` into an error that has none yet.
    pub(crate) fn at(&self, error: SqlError, node: &impl Spanned) -> SqlError {
        let Some(source) = &self.source else { return error };
        if error.position.is_some() || error.code() == SqlState::StatementTooComplex || is_of_length(&error) {
            return error;
        }
        match crate::parse::node_position(source, node) {
            Some(position) => error.with_position(position),
            None => error,
        }
    }

    pub(crate) fn frame(&mut self) -> SqlResult<&mut Frame> {
        self.frames
            .last_mut()
            .ok_or_else(|| SqlError::internal("an expression was bound outside of any statement"))
    }

    /// Binds with the current SELECT's frame in another clause.
    pub(crate) fn in_clause<T>(
        &mut self,
        clause: Clause,
        bind: impl FnOnce(&mut Self) -> SqlResult<T>,
    ) -> SqlResult<T> {
        let before = std::mem::replace(&mut self.frame()?.clause, clause);
        let bound = bind(self);
        self.frame()?.clause = before;
        bound
    }

    /// Binds with a new frame, for a clause that has neither aggregates nor windows.
    pub(crate) fn with_frame<T>(
        &mut self,
        clause: Clause,
        bind: impl FnOnce(&mut Self) -> SqlResult<T>,
    ) -> SqlResult<T> {
        let id = self.next_id();
        self.frames.push(Frame::new(id, clause));
        let bound = bind(self);
        self.frames.pop();
        bound
    }

    /// Binds with trees whose spans are not positions in the statement.
    pub(crate) fn without_source<T>(&mut self, bind: impl FnOnce(&mut Self) -> SqlResult<T>) -> SqlResult<T> {
        let source = self.source.take();
        let bound = bind(self);
        self.source = source;
        bound
    }

    /// Names mean what they meant when the view was made, in a text that has no positions in the statement's.
    fn within<T>(&mut self, view: &View, bind: impl FnOnce(&mut Binder<'_>) -> SqlResult<T>) -> SqlResult<T> {
        let formatting = as_kept(view.details.literals.as_ref(), self.context)?;
        self.in_context(&of_view(view, &formatting, self.context), bind)
    }

    /// Names are looked up in these schemas, in a text that has no positions in the statement's.
    fn with_path<T>(&mut self, path: &[String], bind: impl FnOnce(&mut Binder<'_>) -> SqlResult<T>) -> SqlResult<T> {
        self.in_context(&PlanContext { search_path: path, names: &[], depends_on: None, variables: None, ..*self.context }, bind)
    }

    fn in_context<T>(
        &mut self,
        context: &PlanContext<'_>,
        bind: impl FnOnce(&mut Binder<'_>) -> SqlResult<T>,
    ) -> SqlResult<T> {
        let mut inner = Binder::new(context, None);
        inner.optimize = self.optimize;
        self.swap_state(&mut inner);
        let bound = bind(&mut inner);
        self.swap_state(&mut inner);
        bound
    }

    /// Exchanges what binding has come to so far: all but where names are looked up, and the source.
    fn swap_state(&mut self, other: &mut Binder<'_>) {
        // Named one by one, so that a new field is not forgotten.
        let Binder {
            context: _,
            optimize: _,
            params,
            source: _,
            frames,
            ctes,
            views,
            policies,
            acting,
            view_count,
            query_depth,
            depth,
            height,
            copied,
            row_locks,
            hands_on,
            overriding,
            next_level,
            form_bytes,
            keeps_form,
            // Bound in the path that it was bound in.
            domains: _,
            depends_on,
            names,
        } = self;
        std::mem::swap(params, &mut other.params);
        std::mem::swap(frames, &mut other.frames);
        std::mem::swap(ctes, &mut other.ctes);
        std::mem::swap(views, &mut other.views);
        std::mem::swap(policies, &mut other.policies);
        std::mem::swap(acting, &mut other.acting);
        std::mem::swap(view_count, &mut other.view_count);
        std::mem::swap(query_depth, &mut other.query_depth);
        std::mem::swap(depth, &mut other.depth);
        std::mem::swap(height, &mut other.height);
        std::mem::swap(copied, &mut other.copied);
        std::mem::swap(row_locks, &mut other.row_locks);
        std::mem::swap(hands_on, &mut other.hands_on);
        std::mem::swap(overriding, &mut other.overriding);
        std::mem::swap(next_level, &mut other.next_level);
        std::mem::swap(form_bytes, &mut other.form_bytes);
        std::mem::swap(keeps_form, &mut other.keeps_form);
        std::mem::swap(depends_on, &mut other.depends_on);
        std::mem::swap(names, &mut other.names);
    }

    /// An expression on its own, over a scope; what a statement other than a query has.
    pub fn bind_scalar(&mut self, expr: &ast::Expr, scope: &Scope<'_>) -> SqlResult<Expr> {
        self.with_frame(Clause::Values, |binder| {
            let expr = binder.expr(expr, scope)?;
            binder.settle_text(expr)
        })
    }

    /// A whole query, outermost or for a statement that contains one.
    pub fn bind_query(&mut self, query: &ast::Query) -> SqlResult<Rel> {
        let level = self.level();
        self.query(query, &level, query::Outputs::Settled)
    }

    /// A query or a change of data.
    pub fn bind_statement(&mut self, statement: &ast::Statement) -> SqlResult<Rel> {
        match statement {
            ast::Statement::Query(query) => self.bind_query(query),
            other => {
                let level = self.level();
                self.query_depth += 1;
                let bound = self.change(other, &level);
                self.query_depth -= 1;
                bound
            }
        }
    }

    /// The plan of a part that runs by itself.
    pub(crate) fn plan_of(&self, rel: Rel) -> SqlResult<Plan> {
        (self.optimize)(rel, self.context)
    }
}
