//! DDL: changes of descriptors and of stored rows in the transaction that asks for them.
//!
//! A change that must touch rows (a new index, a new NOT NULL) reads the table in the same transaction, so that it is
//! seen whole or not at all. Storage that nothing names any more is cleared after the commit.

mod alter;
mod authorize;
mod composites;
mod constraint;
mod create;
mod domains;
mod drop;
mod grant;
mod owned;
mod partition;
mod policy;
mod role;
mod ranges;
mod rewrite;
mod routine;
mod sequence;
mod trigger;
mod types;
mod view;
mod zone;

pub(crate) use grant::change_list;
pub use rewrite::as_new_index;

use std::sync::Arc;

pub use authorize::{authorize, changes_privileges};
use builtins::EvalContext;
use catalog::privilege::ObjectKind;
use catalog::{IndexDetails, IndexMethod, IndexRule, StringClass};
use catalog::{
    CatalogChange, CatalogSnapshot, CatalogStore, Column, ColumnDefault, Commented, Descriptor, Index, IndexColumn, IndexConstraint,
    NameOwner, Relation, Schema, Sequence, Table,
    descriptor::{POSTGRES_ROLE, stored_relation_name},
};
use keys::{ColumnId, IndexId, Span, keyspace};
use plan::statement::{ColumnSpec, Ddl, DefaultSpec, ExcludeOperator, Home, IndexSpec, SequenceOptions};
use ::types::inverted::KeyClass;
use plan::{Expr, PlanContext};
use ::types::{Datum, Direction, NullsOrder, SqlError, SqlResult, SqlState, SqlType};

use crate::context::{CancelFlag, ExecContext, ForeignQueue, SessionState, TxnSlot, VirtualTables};
use crate::error::from_kv;
use crate::memory::MemoryBudget;
use crate::subquery::SubqueryCache;

/// What a statement asks of the ranges of a table.
#[derive(Clone, Debug)]
pub enum RangeChange {
    /// One begins here, and stays so.
    Split(keys::Key),
    /// The boundary here is not kept any more.
    Unsplit(keys::Key),
    /// None within the span is.
    UnsplitAll(Span),
}

/// What a DDL statement works with.
pub struct DdlContext<'a> {
    pub txn: &'a mut TxnSlot,
    pub change: &'a mut CatalogChange,
    pub store: &'a CatalogStore,
    pub database: u32,
    pub user: u32,
    /// The name of the schema of the session's temporary objects, which is made with the first of them.
    pub temporary: &'a str,
    /// Storage to clear once the transaction has committed.
    pub garbage: &'a mut Vec<Span>,
    /// What to do about ranges once it has.
    pub splits: &'a mut Vec<RangeChange>,
    pub notices: &'a mut Vec<(SqlState, String)>,
    /// Calls back with what planning against the catalog as it will be needs.
    pub planning: &'a Planning<'a>,
    /// For what must read and write rows.
    pub eval: &'a EvalContext<'a>,
    pub state: &'a mut SessionState,
    pub virtual_tables: &'a dyn VirtualTables,
    pub memory: MemoryBudget,
    pub cancel: CancelFlag,
}

/// See [`DdlContext::planning`].
pub type Planning<'a> = dyn Fn(&CatalogChange, &mut dyn FnMut(&PlanContext<'_>) -> SqlResult<()>) -> SqlResult<()>
    + Send
    + Sync
    + 'a;

/// Runs a statement; the rows of CREATE TABLE AS are inserted by the caller, into the table returned.
pub async fn execute(ddl: &Ddl, ctx: &mut DdlContext<'_>) -> SqlResult<Option<Arc<Table>>> {
    if !ctx.state.deferred.is_empty() {
        check_settled(ddl, ctx)?;
    }
    match ddl {
        Ddl::CreateTable(create) => return create::table(create, ctx).await,
        Ddl::CreateDatabase { name, owner } => create::database(name, owner.as_deref(), ctx).await?,
        Ddl::CreateSchema { name, if_not_exists, owner } => {
            create::schema(name, *if_not_exists, owner.as_deref(), ctx).await?;
        }
        Ddl::CreateIndex { table, index, if_not_exists, only } => {
            create::index_of_all(table, index, *if_not_exists, *only, ctx).await?;
        }
        Ddl::AttachIndex { table, oid, partition: (partition, own) } => {
            partition::attach_index(table, *oid, (partition, *own), ctx)?;
        }
        Ddl::CreateView { home, view, or_replace } => view::create(*home, view, *or_replace, ctx).await?,
        Ddl::AlterView { id, change } => view::alter(*id, change, ctx)?,
        Ddl::Refresh(refresh) => return view::refresh(refresh, ctx).await,
        Ddl::CreateSequence { home, name, if_not_exists, options } => {
            let schema = ctx.schema_of(*home).await?;
            create::sequence(schema, name, *if_not_exists, options, ctx).await?;
        }
        Ddl::CreateRole { name, options, if_not_exists } => {
            role::create(name, options, *if_not_exists, ctx).await?;
        }
        Ddl::AlterTable { table, actions, only } => alter::table(table, actions, *only, ctx).await?,
        Ddl::AlterSequence { id, options } => sequence::alter(*id, options, ctx).await?,
        Ddl::AlterIndexRename { table, oid, to } => alter::rename_index(table, *oid, to, ctx)?,
        Ddl::AlterDatabaseRename { name, to } => alter::rename_database(name, to, ctx)?,
        Ddl::AlterSchemaRename { name, to } => alter::rename_schema(name, to, ctx)?,
        Ddl::AlterRole { name, options } => role::alter(name, options, ctx)?,
        Ddl::RenameRole { name, to } => role::rename(name, to, ctx)?,
        Ddl::RenameRelation { id, to } => alter::rename_relation(*id, to, ctx)?,
        Ddl::MoveRelation { id, schema } => alter::move_named(*id, *schema, ctx)?,
        Ddl::OwnRelation { id, owner } => alter::own_relation(*id, owner, ctx)?,
        Ddl::DropDatabase { name, if_exists } => drop::database(name, *if_exists, ctx)?,
        Ddl::DropSchema { names, if_exists, cascade } => drop::schemas(names, *if_exists, *cascade, ctx).await?,
        Ddl::DropRelations { ids, missing, cascade, kind } => {
            drop::relations(ids, missing, *cascade, *kind, ctx).await?;
        }
        Ddl::DropIndexes { indexes, missing, .. } => drop::indexes(indexes, missing, ctx)?,
        Ddl::DropRole { names, if_exists } => drop::roles(names, *if_exists, ctx).await?,
        Ddl::CreateEnum { home, name, labels } => types::create_enum(*home, name, labels, ctx).await?,
        Ddl::CreateRange(create) => ranges::create(create, ctx).await?,
        Ddl::CreateDomain(create) => domains::create(create, ctx).await?,
        Ddl::CreateComposite { home, name, attributes } => composites::create(*home, name, attributes, ctx).await?,
        Ddl::AlterComposite { id, changes } => composites::alter(*id, changes, ctx).await?,
        Ddl::AlterDomain { id, change } => domains::alter(*id, change, ctx).await?,
        Ddl::AlterType { id, change } => types::alter(*id, change, ctx).await?,
        Ddl::DropTypes { ids, missing, cascade } => types::drop_types(ids, missing, *cascade, ctx).await?,
        Ddl::CreateRoutine { routine, or_replace, warnings, .. } => {
            ctx.notices.extend(warnings.iter().map(|warning| (SqlState::Warning, warning.clone())));
            routine::create(routine, *or_replace, ctx).await?;
        }
        Ddl::AlterRoutine { id, change } => routine::alter(*id, change, ctx)?,
        Ddl::DropRoutines { ids, missing, cascade } => routine::drop_routines(ids, missing, *cascade, ctx)?,
        Ddl::CreateTrigger { table, trigger, or_replace } => trigger::create(*table, trigger, *or_replace, ctx).await?,
        Ddl::RenameTrigger { table, name, to } => trigger::rename(*table, name, to, ctx)?,
        Ddl::DropTrigger { table, name } => trigger::drop(*table, name, ctx)?,
        Ddl::CreatePolicy { table, policy, has_idle_roles } => policy::create(*table, policy, *has_idle_roles, ctx).await?,
        Ddl::AlterPolicy { table, name, change, has_idle_roles } => {
            policy::alter(*table, name, change, *has_idle_roles, ctx)?;
        }
        Ddl::RenamePolicy { table, name, to } => policy::rename(*table, name, to, ctx)?,
        Ddl::DropPolicy { table, name } => policy::drop(*table, name, ctx)?,
        Ddl::Grant(it) => grant::grant(it, ctx)?,
        Ddl::GrantRoles(it) => grant::roles(it, ctx)?,
        Ddl::DefaultPrivileges(it) => grant::defaults(it, ctx).await?,
        Ddl::ReassignOwned { roles, to } => owned::reassign(roles, *to, ctx).await?,
        Ddl::DropOwned { roles, cascade } => owned::drop_owned(roles, *cascade, ctx).await?,
        Ddl::OwnSchema { id, owner } | Ddl::OwnDatabase { id, owner } => {
            let owner = grant::role_named(owner, ctx)?;
            grant::give(*id, owner, ctx)?;
        }
        Ddl::ConfigureZone { target, change } => zone::configure(*target, change, ctx)?,
        Ddl::SetCluster(setting, value) => role::set_cluster(*setting, value.as_deref(), ctx)?,
        Ddl::Truncate { tables, restart_identity, cascade } => {
            drop::truncate(tables, *restart_identity, *cascade, ctx).await?;
        }
        Ddl::Comment { on, text } => alter::comment(on, text.as_deref(), ctx)?,
        Ddl::Skipped(notice) => ctx.notice(notice),
        Ddl::Accepted => {}
    }
    Ok(None)
}

/// # Errors
/// 55006 where changed rows of what is to be altered are yet to be looked at by foreign keys.
fn check_settled(ddl: &Ddl, ctx: &DdlContext<'_>) -> SqlResult<()> {
    let (ids, verb) = match ddl {
        Ddl::AlterTable { table, .. } => (vec![table.id], "ALTER TABLE"),
        Ddl::CreateIndex { table, .. } => (vec![table.id], "CREATE INDEX"),
        Ddl::DropTrigger { table, .. } => (vec![*table], "DROP TRIGGER"),
        Ddl::Refresh(refresh) => (vec![refresh.table.id], "REFRESH MATERIALIZED VIEW"),
        Ddl::Truncate { tables, .. } => (tables.iter().map(|table| table.id).collect(), "TRUNCATE"),
        Ddl::DropRelations { ids, .. } => (ids.clone(), "DROP TABLE"),
        Ddl::DropSchema { names, cascade: true, .. } => {
            let schemas: Vec<u32> = names.iter().filter_map(|name| ctx.schema_named(name)).collect();
            (ctx.tables_where(|table| schemas.contains(&table.schema)), "DROP TABLE")
        }
        // Columns of them go as well.
        Ddl::DropTypes { ids, cascade: true, .. } => {
            let is_of = |column: &catalog::Column| column.declared().user_type().is_some_and(|id| ids.contains(&id));
            (ctx.tables_where(|table| table.columns.iter().any(is_of)), "ALTER TABLE")
        }
        _ => return Ok(()),
    };
    for id in partition::with_descendants(&ids, ctx.change.snapshot()) {
        if let Some(table) = ctx.change.snapshot().table_by_id(id) {
            ctx.state.deferred.check_settled(id, &table.name, verb)?;
        }
    }
    Ok(())
}

impl DdlContext<'_> {
    fn schema_named(&self, name: &str) -> Option<u32> {
        self.change.snapshot().schema(self.database, name).map(|schema| schema.id)
    }

    /// The tables of the database of which this holds.
    fn tables_where(&self, holds: impl Fn(&Table) -> bool) -> Vec<u32> {
        let relations = self.change.snapshot().relations_of(self.database);
        let of = relations.filter_map(|relation| match relation {
            Relation::Table(table) if holds(table) => Some(table.id),
            _ => None,
        });
        of.collect()
    }

    fn notice(&mut self, text: impl Into<String>) {
        self.notices.push((SqlState::SuccessfulCompletion, text.into()));
    }

    /// IF NOT EXISTS of what does; the code is that of the error it would be.
    fn exists_already(&mut self, code: SqlState, what: impl std::fmt::Display) {
        self.notices.push((code, format!("{what} already exists, skipping")));
    }

    /// Plans against the catalog as it is by now in this transaction.
    fn plan<T>(&self, make: impl FnOnce(&PlanContext<'_>) -> SqlResult<T>) -> SqlResult<T> {
        let (mut make, mut made) = (Some(make), None);
        (self.planning)(self.change, &mut |context| {
            if let Some(make) = make.take() {
                made = Some(make(context)?);
            }
            Ok(())
        })?;
        Ok(made.expect("planning calls back or fails"))
    }

    /// Whether what `find` finds in the schemas of the search path, first to last, is what has this id.
    fn is_visible(&self, id: u32, find: impl Fn(&CatalogSnapshot, u32) -> Option<u32>) -> bool {
        let found = self.plan(|context| {
            let schemas = context.catalog.search_schemas(context.database, context.search_path, context.user);
            Ok(schemas.into_iter().find_map(|schema| find(context.catalog, schema)))
        });
        found.is_ok_and(|found| found == Some(id))
    }

    /// A name as messages have it, with its schema where that is needed.
    fn shown(&self, schema: u32, name: &str, is_visible: bool) -> String {
        match self.change.snapshot().schema_by_id(schema).filter(|_| !is_visible) {
            Some(schema) => format!("{}.{name}", quote(&schema.name)),
            None => name.to_owned(),
        }
    }

    /// The name of a relation as messages have it.
    fn shown_relation(&self, id: u32, schema: u32, name: &str) -> String {
        let find = |catalog: &CatalogSnapshot, schema| catalog.relation(schema, name).map(Relation::id);
        self.shown(schema, &quote(name), self.is_visible(id, find))
    }

    /// A stored expression over a table as it will be.
    fn bind(&self, text: &str, table: &Table) -> SqlResult<Expr> {
        self.plan(|context| plan::bind_stored_expr(text, table, context))
    }

    /// Gives `body` what running a plan needs.
    async fn with_exec<T>(
        &mut self,
        body: impl AsyncFnOnce(&mut ExecContext<'_>) -> SqlResult<T>,
    ) -> SqlResult<T> {
        let catalog = self.change.snapshot().clone();
        self.txn.begin_statement();
        let mut exec = ExecContext {
            txn: Some(&mut *self.txn),
            routines: None,
            params: &[],
            eval: self.eval,
            catalog: &catalog,
            ctes: Default::default(),
            cte_plans: &[],
            outer: Vec::new(),
            virtual_tables: self.virtual_tables,
            state: &mut *self.state,
            database: self.database,
            user: self.user,
            memory: self.memory.clone(),
            cancel: self.cancel.clone(),
            read_only: false,
            stats: None,
            affected: 0,
            subqueries: SubqueryCache::default(),
            foreign: ForeignQueue::default(),
            looked_at: Vec::new(),
            after: Default::default(),
            transitions: &[],
            have_routines_written: false,
        };
        body(&mut exec).await
    }

    /// The schema that a new relation goes to.
    async fn schema_of(&mut self, home: Home) -> SqlResult<u32> {
        if let Home::Schema(id) = home {
            return Ok(id);
        }
        if let Some(schema) = self.change.snapshot().schema(self.database, self.temporary) {
            return Ok(schema.id);
        }
        let id = self.new_ids(1).await?;
        let name = self.temporary.to_owned();
        let schema = Schema { id, database: self.database, name, owner: POSTGRES_ROLE, comment: None };
        self.change.put(self.txn, Descriptor::Schema(schema));
        Ok(id)
    }

    fn is_temporary(&self, table: &Table) -> bool {
        self.change.snapshot().is_temporary(table.schema)
    }

    async fn new_ids(&self, count: usize) -> SqlResult<u32> {
        self.store.allocate_ids(count as u32).await.map_err(from_kv)
    }

    /// The table as it is by now in this transaction.
    fn table(&self, id: u32) -> SqlResult<Arc<Table>> {
        self.change.snapshot().table_by_id(id).cloned().ok_or_else(|| {
            SqlError::new(SqlState::UndefinedTable, format!("relation with OID {id} does not exist"))
        })
    }

    /// Puts a table as it is to be. What it stores where it stored nothing before is the transaction's own until that
    /// commits: new storage has a new id, and a new index in storage that is there has one too.
    fn put_table(&mut self, mut table: Table) {
        let comments = std::mem::take(&mut table.comments);
        table.comments = comments.into_iter().filter(|(on, _)| table.has_part(*on)).collect();
        let is_gone = |part: &(u32, u32)| !table.has_part(Commented::Part(part.0));
        if table.partitioning.as_ref().is_some_and(|it| it.parts.iter().any(is_gone)) {
            let mut parts = std::mem::take(&mut table.partitioning_mut().parts);
            parts.retain(|part| table.has_part(Commented::Part(part.0)));
            table.partitioning_mut().parts = parts;
        }
        let before =
            self.change.snapshot().table_by_id(table.id).filter(|before| before.storage == table.storage);
        for index in &table.indexes {
            if before.is_none_or(|before| before.indexes.iter().all(|known| known.id != index.id)) {
                self.txn.add_private(index_span(&table, index.id));
            }
        }
        self.change.put(self.txn, Descriptor::Table(table));
    }

    fn check_name_free(&self, schema: u32, name: &str) -> SqlResult<()> {
        if self.change.snapshot().name_owner(schema, name).is_some() {
            return Err(SqlError::new(
                SqlState::DuplicateTable,
                format!("relation \"{name}\" already exists"),
            ));
        }
        Ok(())
    }

    /// PostgreSQL's default names: the parts joined, a number where the name is taken.
    fn free_name(&self, schema: u32, parts: &[&str], taken: &[String]) -> String {
        let base = parts.join("_");
        let mut name = base.clone();
        let mut number = 0;
        while self.change.snapshot().name_owner(schema, &name).is_some() || taken.contains(&name) {
            number += 1;
            name = format!("{base}{number}");
        }
        name
    }
}

/// The hidden column that holds an expression for indexes over it.
fn computed_column<'t>(table: &'t Table, text: &str) -> Option<&'t Column> {
    table.columns.iter().find(|column| {
        column.hidden && matches!(&column.default, Some(ColumnDefault::Stored(known)) if known == text)
    })
}

/// A column of an index, how it gives keys to an inverted one, and the class that orders its strings.
type FoundColumn = (IndexColumn, Option<KeyClass>, StringClass);

fn index_columns(table: &Table, spec: &IndexSpec) -> SqlResult<Vec<FoundColumn>> {
    spec.columns
        .iter()
        .map(|wanted| {
            let column = match &wanted.expr {
                Some((text, _)) => computed_column(table, text),
                None => table.column_named(&wanted.name).map(|(_, column)| column),
            };
            let column = column.ok_or_else(|| {
                let named = if spec.constraint { " named in key" } else { "" };
                SqlError::new(
                    SqlState::UndefinedColumn,
                    format!("column \"{}\"{named} does not exist", wanted.name),
                )
            })?;
            let class = match spec.method {
                IndexMethod::Gin => Some(key_class(wanted.class.as_deref(), &column.ty)?),
                IndexMethod::Btree | IndexMethod::Gist => None,
            };
            if class.is_none() && !column.ty.key_encodable() {
                return Err(no_class(&column.ty, spec.method));
            }
            let direction = if wanted.descending { Direction::Desc } else { Direction::Asc };
            let nulls_first = wanted.nulls_first.unwrap_or(wanted.descending);
            let nulls = if nulls_first { NullsOrder::First } else { NullsOrder::Last };
            let named = wanted.class.as_deref().filter(|_| class.is_none()).and_then(StringClass::from_name).unwrap_or_default();
            check_string_class(named, column.ty)?;
            Ok((IndexColumn { column: column.id, direction, nulls }, class, named))
        })
        .collect()
}

/// # Errors
/// 42804 for strings of another type, and what is no string.
fn check_string_class(class: StringClass, ty: SqlType) -> SqlResult<()> {
    if class.accepts(ty) {
        return Ok(());
    }
    let name = class.name().unwrap_or_default();
    let message = format!("operator class \"{name}\" does not accept data type {ty}");
    Err(SqlError::new(SqlState::DatatypeMismatch, message))
}

fn no_class(ty: &SqlType, method: IndexMethod) -> SqlError {
    let message = format!("data type {ty} has no default operator class for access method \"{}\"", method.name());
    SqlError::new(SqlState::UndefinedObject, message).with_hint(
        "You must specify an operator class for the index or define a default operator class for the data type.",
    )
}

/// How a column of an inverted index gives keys: by the operator class that is named, or by its type. Types that are ordered give
/// themselves, as with btree_gin.
fn key_class(named: Option<&str>, ty: &SqlType) -> SqlResult<KeyClass> {
    let by_type = match ty {
        SqlType::Jsonb => Some(KeyClass::Jsonb),
        SqlType::TsVector => Some(KeyClass::TsVector),
        ty if ty.is_array() && ty.key_encodable() => Some(KeyClass::Array),
        ty if ty.key_encodable() => Some(KeyClass::Whole),
        _ => None,
    };
    let class = match named {
        None => return by_type.ok_or_else(|| no_class(ty, IndexMethod::Gin)),
        Some("jsonb_ops") => KeyClass::Jsonb,
        Some("jsonb_path_ops") => KeyClass::JsonbPath,
        Some("array_ops") => KeyClass::Array,
        Some("tsvector_ops") => KeyClass::TsVector,
        Some(name) if name.ends_with("_trgm_ops") || catalog::is_operator_class(name) => KeyClass::Whole,
        Some(name) => {
            let message = format!("operator class \"{name}\" does not exist for access method \"gin\"");
            return Err(SqlError::new(SqlState::UndefinedObject, message));
        }
    };
    let is_of_type = match class {
        KeyClass::Jsonb | KeyClass::JsonbPath => by_type == Some(KeyClass::Jsonb),
        KeyClass::Array | KeyClass::TsVector | KeyClass::Whole => by_type == Some(class),
    };
    if !is_of_type {
        let ty = ty.without_typmod();
        let message = format!("operator class \"{}\" does not accept data type {ty}", named.unwrap_or_default());
        return Err(SqlError::new(SqlState::DatatypeMismatch, message));
    }
    Ok(class)
}

/// A column of an index becomes of another type.
fn check_index_type(index: &mut Index, place: usize, ty: &SqlType) -> SqlResult<()> {
    check_string_class(index.string_class(place), *ty)?;
    let Some(before) = index.details.inverted.get(place).copied() else {
        let is_overlapping = matches!(index.details.rule, Some(IndexRule::Exclude { overlaps: Some(_), .. }))
            && place + 1 == index.columns.len();
        let is_range = matches!(ty, SqlType::Range(_));
        return if ty.key_encodable() && (is_range || !is_overlapping) { Ok(()) } else { Err(no_class(ty, index.method())) };
    };
    let named = (before == KeyClass::JsonbPath).then_some("jsonb_path_ops");
    let class = key_class(named, ty)?;
    if class == KeyClass::Whole && before != KeyClass::Whole {
        return Err(no_class(ty, IndexMethod::Gin));
    }
    index.details.inverted[place] = class;
    Ok(())
}

/// What an index is beside an ordered one, and its columns in the order of its keys.
fn index_details(
    table: &Table,
    spec: &IndexSpec,
    found: Vec<FoundColumn>,
) -> SqlResult<(Vec<IndexColumn>, IndexDetails)> {
    let classes: Option<Vec<KeyClass>> = found.iter().map(|(_, class, _)| *class).collect();
    let mut string_classes: Vec<StringClass> = found.iter().map(|(.., class)| *class).collect();
    let mut columns: Vec<IndexColumn> = found.into_iter().map(|(column, ..)| column).collect();
    let mut details = IndexDetails {
        // An index over ordered types alone is an ordered one.
        inverted: classes.filter(|classes| classes.iter().any(|class| *class != KeyClass::Whole)).unwrap_or_default(),
        rule: None,
        deferrable: spec.deferrable,
        initially_deferred: spec.initially_deferred,
        string_classes: Vec::new(),
    };
    if !spec.exclude.is_empty() {
        let overlaps = exclude_columns(table, spec, &mut columns)?;
        if let Some(place) = overlaps.and_then(|place| usize::try_from(place).ok()) {
            string_classes[place..].rotate_left(1);
        }
        details.rule = Some(IndexRule::Exclude { method: spec.method, overlaps });
    } else if spec.deferrable {
        details.rule = Some(if spec.primary { IndexRule::PrimaryKey } else { IndexRule::Unique });
    }
    if string_classes.iter().any(|class| *class != StringClass::Default) {
        details.string_classes = string_classes;
    }
    Ok((columns, details))
}

/// The place at which the column was declared that may not overlap; it becomes the last.
fn exclude_columns(table: &Table, spec: &IndexSpec, columns: &mut Vec<IndexColumn>) -> SqlResult<Option<u32>> {
    let mut overlapping = (0..columns.len()).filter(|at| spec.exclude.get(*at) == Some(&ExcludeOperator::Overlap));
    let (Some(at), others) = (overlapping.next(), overlapping.count()) else { return Ok(None) };
    if others > 0 {
        return Err(SqlError::not_supported("exclusion constraints with several columns WITH && are not supported"));
    }
    let column = columns.remove(at);
    let ty = table.column_position(column.column).map_or(SqlType::Unknown, |at| table.columns[at].ty);
    if !matches!(ty, SqlType::Range(_)) {
        return Err(match ty {
            SqlType::Array(_) | SqlType::MultiRange(_) => {
                SqlError::not_supported(format!("exclusion constraints WITH && over {ty} are not supported"))
            }
            ty => SqlError::new(SqlState::UndefinedFunction, format!("operator does not exist: {ty} && {ty}")),
        });
    }
    columns.push(column);
    Ok(u32::try_from(at).ok())
}

/// An index of a table by its spec; the name may have been made up by then.
fn build_index(
    table: &mut Table,
    spec: &IndexSpec,
    name: String,
    oid: u32,
    constraint_oid: u32,
) -> SqlResult<Index> {
    let found = index_columns(table, spec)?;
    let (columns, details) = index_details(table, spec, found)?;
    let included = spec
        .included
        .iter()
        .map(|name| {
            table.column_named(name).map(|(_, column)| column.id).ok_or_else(|| {
                SqlError::new(SqlState::UndefinedColumn, format!("column \"{name}\" does not exist"))
            })
        })
        .collect::<SqlResult<Vec<ColumnId>>>()?;
    let id = table.next_index;
    table.next_index = id.next();
    Ok(Index {
        id,
        oid,
        name,
        unique: (spec.unique || spec.primary) && details.rule.is_none(),
        nulls_not_distinct: spec.nulls_not_distinct,
        columns,
        included,
        predicate: spec.predicate.clone(),
        constraint: spec.constraint.then_some(IndexConstraint { oid: constraint_oid }),
        details,
    })
}

fn index_name(spec: &IndexSpec, table: &Table, taken: &[String], ctx: &DdlContext<'_>) -> String {
    if let Some(name) = &spec.name {
        return name.clone();
    }
    if spec.primary {
        return ctx.free_name(table.schema, &[&table.name, "pkey"], taken);
    }
    let included = spec.included.iter().map(String::as_str);
    let columns =
        spec.columns.iter().map(|column| column.expr.as_ref().map_or(&*column.name, |(_, label)| label));
    // Those of the same name, as expressions often are, are numbered.
    let mut columns_named: Vec<String> = Vec::new();
    for column in columns.chain(included) {
        let mut names = std::iter::once(column.to_owned()).chain((1..).map(|number| format!("{column}{number}")));
        columns_named.extend(names.find(|name| !columns_named.contains(name)));
    }
    let mut parts = vec![table.name.as_str()];
    parts.extend(columns_named.iter().map(String::as_str));
    parts.push(match spec.constraint {
        true if !spec.exclude.is_empty() => "excl",
        true => "key",
        false => "idx",
    });
    ctx.free_name(table.schema, &parts, taken)
}

fn new_sequence(
    id: u32,
    schema: u32,
    name: String,
    owner: u32,
    options: &SequenceOptions,
    owned_by: Option<(u32, ColumnId)>,
) -> SqlResult<Sequence> {
    let ty = options.ty.unwrap_or(SqlType::Int8);
    let (low, high) = match ty {
        SqlType::Int2 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        SqlType::Int4 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    };
    let increment = options.increment.unwrap_or(1);
    let invalid = |message: String| SqlError::new(SqlState::InvalidParameterValue, message);
    if increment == 0 {
        return Err(invalid("INCREMENT must not be zero".into()));
    }
    let (min, max) = if increment > 0 { (1, high) } else { (low, -1) };
    let min = options.min.flatten().unwrap_or(min);
    let max = options.max.flatten().unwrap_or(max);
    if min >= max {
        return Err(invalid(format!("MINVALUE ({min}) must be less than MAXVALUE ({max})")));
    }
    let start = options.start.unwrap_or(if increment > 0 { min } else { max });
    if start < min {
        return Err(invalid(format!("START value ({start}) cannot be less than MINVALUE ({min})")));
    }
    if start > max {
        return Err(invalid(format!("START value ({start}) cannot be greater than MAXVALUE ({max})")));
    }
    Ok(Sequence {
        id,
        name,
        schema,
        owner,
        ty,
        start,
        increment,
        min,
        max,
        cache: options.cache.unwrap_or(1),
        cycle: options.cycle.unwrap_or(false),
        owned_by,
        comment: None,
    })
}

/// Where the sequence of a column goes, and its name: what SEQUENCE NAME says, or PostgreSQL's default.
fn sequence_name(
    options: &SequenceOptions,
    table: &Table,
    column: &str,
    taken: &[String],
    ctx: &DdlContext<'_>,
) -> SqlResult<(u32, String)> {
    match &options.name {
        None => Ok((table.schema, ctx.free_name(table.schema, &[&table.name, column, "seq"], taken))),
        Some((schema, name)) => {
            ctx.check_name_free(*schema, name)?;
            Ok((*schema, name.clone()))
        }
    }
}

/// A column with its default; a serial's sequence is made beside it.
async fn build_column(
    table: &mut Table,
    spec: &ColumnSpec,
    taken: &mut Vec<String>,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<Column> {
    composites::check_stored(&spec.name, spec.ty, ctx)?;
    let id = table.next_column;
    table.next_column = id.next();
    let mut nullable = spec.nullable;
    let default = match &spec.default {
        None => None,
        Some(DefaultSpec::Expr(text)) => Some(ColumnDefault::Expr(text.clone())),
        Some(DefaultSpec::Stored(text)) => Some(ColumnDefault::Stored(text.clone())),
        Some(serial @ (DefaultSpec::Serial | DefaultSpec::Identity { .. })) => {
            nullable = false;
            let mut options = match serial {
                DefaultSpec::Identity { options, .. } => options.clone(),
                _ => SequenceOptions::default(),
            };
            options.ty = Some(spec.ty.base());
            let sequence = ctx.new_ids(1).await?;
            let (home, name) = sequence_name(&options, table, &spec.name, taken, ctx)?;
            taken.push(name.clone());
            let made = new_sequence(
                sequence,
                home,
                name.clone(),
                table.owner,
                &options,
                Some((table.id, id)),
            )?;
            ctx.change.put(ctx.txn, Descriptor::Sequence(made));
            ctx.grant_defaults(sequence, ObjectKind::Sequence, home, table.owner);
            Some(match serial {
                DefaultSpec::Identity { always, .. } => ColumnDefault::Identity { sequence, always: *always },
                _ => ColumnDefault::Expr(format!("nextval({})", stored_relation_name(sequence))),
            })
        }
    };
    Ok(Column {
        id,
        name: spec.name.clone(),
        ty: spec.ty.base(),
        domain: spec.ty.is_domain().then_some(spec.ty),
        nullable,
        default,
        missing: Datum::Null,
        hidden: false,
    })
}

/// An identifier as SQL text.
pub(crate) fn quote(name: &str) -> String {
    let plain = name.chars().next().is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// All storage of a table.
fn table_span(table: &Table) -> Span {
    Span::prefix(keyspace::table(table.storage_id()))
}

fn index_span(table: &Table, index: IndexId) -> Span {
    Span::prefix(keyspace::index(table.storage_id(), index))
}

/// Whose index a name is.
fn is_index(owner: NameOwner) -> bool {
    matches!(owner, NameOwner::Index { .. })
}
