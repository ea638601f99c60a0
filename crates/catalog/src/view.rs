//! The catalog as one session sees it: in one database, under a search path.
//!
//! A *class* is whatever `pg_class` has a row for: tables, views, sequences, indexes, and the catalogs themselves.

use std::fmt::Write as _;
use std::sync::Arc;

use types::{OidNames, SqlError, SqlResult, SqlState, SqlType, quote_identifier, split_identifiers, stack};

use crate::definition::Style;
use crate::descriptor::{Column, ColumnDefault, Index, Schema, Sequence, Table, Type, View};
use crate::policy::PolicyExpr;
use crate::snapshot::{CatalogSnapshot, NameOwner, Relation};
use crate::statistics::TableStatistics;
use crate::text_search;
use crate::trigger::{Trigger, TriggerEvent};
use crate::virtual_tables::{self, VirtualTable};

/// A snapshot with what names are looked up by.
#[derive(Clone, Debug)]
pub struct CatalogView {
    pub catalog: Arc<CatalogSnapshot>,
    pub database: u32,
    pub search_path: Vec<String>,
    pub user: String,
    /// How stored expressions and queries are shown.
    pub printers: Option<&'static Printers>,
}

/// Show stored text as PostgreSQL would, which takes a planner; `None`: it is shown as it is written.
#[derive(Debug)]
pub struct Printers {
    /// An expression over a table's columns; the type is that of the place it stands in.
    pub expr: fn(&CatalogView, &Table, &str, Option<SqlType>, Style) -> Option<String>,
    /// WHEN of a trigger of a table.
    pub condition: fn(&CatalogView, &Arc<Table>, &str, Style) -> Option<String>,
    /// A condition of a policy of a table.
    pub policy: fn(&CatalogView, &Arc<Table>, &PolicyExpr, Style) -> Option<String>,
    /// A view's query, without a semicolon.
    pub view: fn(&CatalogView, &View, Style) -> Option<String>,
    /// What is changed through a view where no trigger does it; `None`: nothing can be.
    pub written_through: fn(&CatalogView, &View) -> Option<WrittenThrough>,
}

/// The built-in type that has this name in `pg_type`.
fn own_name(name: &str) -> Option<SqlType> {
    SqlType::lookup(name).filter(|ty| ty.internal_name() == name)
}

/// What a view's query selects from, for one whose rows can be changed without triggers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenThrough {
    /// The one relation.
    pub relation: u32,
    /// For each column of the view, the place of that of the relation which it is, if it is one.
    pub columns: Vec<Option<usize>>,
}

/// Bits of what can be done to a relation's rows, as `pg_relation_is_updatable` has them.
pub const UPDATE_BIT: u32 = 4;
pub const INSERT_BIT: u32 = 8;
pub const DELETE_BIT: u32 = 16;
const ALL_BITS: u32 = UPDATE_BIT | INSERT_BIT | DELETE_BIT;

/// Something with a row in `pg_class`.
#[derive(Clone, Copy, Debug)]
pub enum Class<'a> {
    Relation(&'a Relation),
    Index(&'a Table, &'a Index),
    Virtual(&'static VirtualTable),
    Composite(&'a Type),
}

impl Class<'_> {
    #[must_use]
    pub fn oid(&self) -> u32 {
        match self {
            Self::Relation(it) => it.id(),
            Self::Index(_, index) => index.oid,
            Self::Virtual(it) => it.oid,
            Self::Composite(it) => it.class_id(),
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Relation(it) => it.name(),
            Self::Index(_, index) => &index.name,
            Self::Virtual(it) => it.name,
            Self::Composite(it) => &it.name,
        }
    }

    #[must_use]
    pub fn schema(&self) -> u32 {
        match self {
            Self::Relation(it) => it.schema(),
            Self::Index(table, _) => table.schema,
            Self::Virtual(it) => it.schema_id(),
            Self::Composite(it) => it.schema,
        }
    }

    #[must_use]
    pub fn table(&self) -> Option<&Table> {
        match self {
            Self::Relation(Relation::Table(table)) => Some(table),
            _ => None,
        }
    }
}

impl CatalogView {
    #[must_use]
    pub fn class(&self, oid: u32) -> Option<Class<'_>> {
        if let Some(relation) = self.catalog.relation_by_id(oid) {
            return Some(Class::Relation(relation));
        }
        let of_index = self.index(oid).map(|(table, index)| Class::Index(table, index));
        of_index.or_else(|| virtual_tables::find_by_oid(oid).map(Class::Virtual)).or_else(|| {
            let made = self.catalog.user_type(oid.checked_sub(2)?)?;
            made.descriptor.composite().map(|_| Class::Composite(&made.descriptor))
        })
    }

    /// An index that has a name, and its table.
    #[must_use]
    pub fn index(&self, oid: u32) -> Option<(&Arc<Table>, &Index)> {
        let table = self.catalog.table_of_part(oid)?;
        let index = table.indexes.iter().find(|index| index.oid == oid && !index.name.is_empty())?;
        Some((table, index))
    }

    #[must_use]
    pub fn class_in(&self, schema: u32, name: &str) -> Option<Class<'_>> {
        match self.catalog.name_owner(schema, name) {
            Some(NameOwner::Relation(id)) => self.catalog.relation_by_id(id).map(Class::Relation),
            Some(NameOwner::Index { oid, .. }) => self.class(oid),
            None => {
                let composite = self.catalog.type_named(schema, name).and_then(|ty| ty.composite());
                if let Some(made) = composite.and_then(|it| self.catalog.user_type(it.oid())) {
                    return Some(Class::Composite(&made.descriptor));
                }
                let schema = self.catalog.schema_by_id(schema).filter(|schema| schema.database == 0)?;
                virtual_tables::find(&schema.name, name).map(Class::Virtual)
            }
        }
    }

    #[must_use]
    pub fn search_schemas(&self) -> Vec<u32> {
        self.catalog.search_schemas(self.database, &self.search_path, &self.user)
    }

    /// The class that a possibly qualified name means.
    #[must_use]
    pub fn class_named(&self, name: &str) -> Option<Class<'_>> {
        match &split_identifiers(name)?[..] {
            [name] => self.search_schemas().into_iter().find_map(|schema| self.class_in(schema, name)),
            [.., schema, name] => self.class_in(self.catalog.schema(self.database, schema)?.id, name),
            [] => None,
        }
    }

    /// As [`CatalogView::class_named`].
    ///
    /// # Errors
    /// 42P01 when there is none.
    pub fn require_class(&self, name: &str) -> SqlResult<Class<'_>> {
        self.class_named(name)
            .ok_or_else(|| SqlError::new(SqlState::UndefinedTable, format!("relation \"{name}\" does not exist")))
    }

    /// Whether the class is what its bare name means.
    #[must_use]
    pub fn is_visible(&self, class: Class<'_>) -> bool {
        let found = self.search_schemas().into_iter().find_map(|schema| self.class_in(schema, class.name()));
        found.is_some_and(|found| found.oid() == class.oid())
    }

    /// The type of a name as `regtype` reads it.
    ///
    /// # Errors
    /// 42704 when there is none, 3F000 when there is no such schema.
    pub fn type_named(&self, text: &str) -> SqlResult<SqlType> {
        let builtin = SqlType::parse_name(text);
        let element = text.trim().strip_suffix("[]").map(str::trim_end);
        let found = match split_identifiers(element.unwrap_or(text)).as_deref() {
            _ if builtin.is_ok() => return builtin,
            // A quoted name is the type's own.
            Some([schema, name]) if schema == "pg_catalog" => own_name(name),
            Some([name]) if text.trim_start().starts_with('"') && own_name(name).is_some() => own_name(name),
            Some([name]) => self.search_schemas().into_iter().find_map(|schema| self.catalog.type_or_rows_named(schema, name)),
            Some([schema, name]) => {
                let found = self.catalog.schema(self.database, schema).ok_or_else(|| {
                    SqlError::new(SqlState::InvalidSchemaName, format!("schema \"{schema}\" does not exist"))
                })?;
                self.catalog.type_or_rows_named(found.id, name)
            }
            _ => None,
        };
        match found {
            Some(ty) => Ok(if element.is_some() { ty.array_of() } else { ty }),
            None => builtin,
        }
    }

    /// Whether a user-defined type is what its bare name means.
    fn is_type_visible(&self, ty: SqlType) -> bool {
        let name = ty.internal_name();
        let mut schemas = self.search_schemas().into_iter();
        schemas.find_map(|schema| self.catalog.type_or_rows_named(schema, &name)).is_some_and(|found| found.same_base(&ty))
    }

    /// Whether the bare name of a type means it; none when there is no such type.
    #[must_use]
    pub fn type_is_visible(&self, oid: u32) -> Option<bool> {
        let ty = self.catalog.type_by_oid(oid, -1)?;
        Some(ty.user_type().is_none() || self.is_type_visible(ty))
    }

    /// A type as `format_type` shows it.
    #[must_use]
    pub fn format_type(&self, oid: u32, modifier: Option<i64>) -> String {
        let Some(ty) = self.catalog.type_by_oid(oid, -1).filter(|ty| ty.user_type().is_some()) else {
            return crate::functions::format_type(oid, modifier);
        };
        let element = ty.element().unwrap_or(ty);
        let mut shown = quote_identifier(&element.internal_name());
        if !self.is_type_visible(element) {
            shown = format!("{}.{shown}", quote_identifier(self.type_schema(element)));
        }
        if ty.is_array() { format!("{shown}[]") } else { shown }
    }

    /// The schema of a type.
    #[must_use]
    pub fn type_schema(&self, ty: SqlType) -> &str {
        let Some(id) = ty.user_type() else { return "pg_catalog" };
        let schema = self.catalog.user_type(id).map(|it| it.descriptor.schema);
        let schema = schema.or_else(|| self.catalog.relation_by_id(id).map(Relation::schema));
        schema.map_or("pg_catalog", |schema| self.schema_name(schema))
    }

    #[must_use]
    pub fn schema_name(&self, id: u32) -> &str {
        self.catalog.schema_by_id(id).map_or("", |schema| &schema.name)
    }

    /// `schema.name`, quoted.
    #[must_use]
    pub fn qualified(&self, class: Class<'_>) -> String {
        format!("{}.{}", quote_identifier(self.schema_name(class.schema())), quote_identifier(class.name()))
    }

    /// The name, quoted, with its schema where it is not what the bare name means.
    #[must_use]
    pub fn shown(&self, class: Class<'_>) -> String {
        if self.is_visible(class) { quote_identifier(class.name()) } else { self.qualified(class) }
    }

    #[must_use]
    pub fn role_name(&self, id: u32) -> String {
        self.catalog.role_by_id(id).map_or_else(|| format!("unknown (OID={id})"), |role| role.name.clone())
    }

    /// The name of the database the session is in.
    #[must_use]
    pub fn database_name(&self) -> &str {
        self.catalog.database_by_id(self.database).map_or("", |database| &database.name)
    }

    /// The schemas of this database, those that all databases see among them.
    pub fn schemas(&self) -> impl Iterator<Item = &Schema> {
        let all = self.catalog.schemas().map(|schema| &**schema);
        all.filter(|schema| schema.database == 0 || schema.database == self.database)
    }

    /// A stored expression, as `pg_get_expr` shows it.
    #[must_use]
    pub fn expr(&self, table: &Table, text: &str, style: Style) -> String {
        let printed = self.printers.and_then(|it| (it.expr)(self, table, text, None, style));
        printed.unwrap_or_else(|| style.expr(text))
    }

    /// WHEN of a trigger.
    #[must_use]
    pub fn trigger_condition(&self, table: &Arc<Table>, text: &str, style: Style) -> String {
        let printed = self.printers.and_then(|it| (it.condition)(self, table, text, style));
        printed.unwrap_or_else(|| style.expr(text))
    }

    /// A condition of a policy, as `pg_get_expr` shows it.
    #[must_use]
    pub fn policy_expr(&self, table: &Arc<Table>, expr: &PolicyExpr, style: Style) -> String {
        let printed = self.printers.and_then(|it| (it.policy)(self, table, expr, style));
        printed.unwrap_or_else(|| style.expr(&expr.text))
    }

    /// What can be done to the rows of a relation: `column` is one of a view that must be there for it, by its place.
    #[must_use]
    pub fn updatable(&self, relation: u32, with_triggers: bool, column: Option<usize>) -> u32 {
        self.updatable_within(relation, with_triggers, column.map(|at| vec![at]), 0)
    }

    fn updatable_within(&self, relation: u32, with_triggers: bool, of: Option<Vec<usize>>, depth: usize) -> u32 {
        let view = match self.catalog.relation_by_id(relation) {
            Some(Relation::Table(table)) => return if table.materialized.is_some() { 0 } else { ALL_BITS },
            Some(Relation::View(view)) => view,
            Some(Relation::Sequence(_)) => return 0,
            None => return if virtual_tables::find_by_oid(relation).is_some_and(|it| it.kind == 'r') { ALL_BITS } else { 0 },
        };
        let by_trigger = |event, bit| if with_triggers && view.has_instead_of(event) { bit } else { 0 };
        let by_triggers = by_trigger(TriggerEvent::Insert, INSERT_BIT)
            | by_trigger(TriggerEvent::Update, UPDATE_BIT)
            | by_trigger(TriggerEvent::Delete, DELETE_BIT);
        // A view that is over itself cannot be read either.
        let is_circular = depth > self.catalog.relation_count();
        let through = self.printers.filter(|_| by_triggers != ALL_BITS && !is_circular);
        let Some(through) = through.and_then(|it| (it.written_through)(self, view)) else { return by_triggers };
        let is_meant = |at: &usize| of.as_ref().is_none_or(|of| of.contains(at));
        let columns: Vec<usize> =
            (0..through.columns.len()).filter(is_meant).filter_map(|at| through.columns[at]).collect();
        let mut bits = if columns.is_empty() { DELETE_BIT } else { ALL_BITS };
        if self.catalog.table_by_id(through.relation).is_none_or(|table| table.materialized.is_some()) {
            bits &= stack::grown(|| self.updatable_within(through.relation, with_triggers, Some(columns), depth + 1));
        }
        by_triggers | bits
    }

    /// A trigger of this database, and its table.
    #[must_use]
    pub fn trigger(&self, oid: u32) -> Option<(&Arc<Table>, &Trigger)> {
        let table = self.catalog.table_of_part(oid)?;
        Some((table, table.triggers.iter().find(|trigger| trigger.oid == oid)?))
    }

    /// An expression of a domain.
    #[must_use]
    pub fn domain_expr(&self, ty: &Type, text: &str, style: Style) -> String {
        let printed = ty.as_table().map(|table| self.expr(&table, text, style));
        printed.unwrap_or_else(|| text.to_owned())
    }

    /// What a domain gives columns that have no default of their own.
    #[must_use]
    pub fn domain_default(&self, ty: &Type) -> Option<String> {
        let domain = ty.domain()?;
        let text = domain.default.as_deref()?;
        let table = ty.as_table()?;
        let printed = self.printers.and_then(|it| (it.expr)(self, &table, text, Some(domain.over.base()), Style::Plain));
        Some(printed.unwrap_or_else(|| text.to_owned()))
    }

    /// What `pg_attrdef` keeps of a column: its default, or what it is generated from.
    #[must_use]
    pub fn column_default(&self, table: &Table, column: &Column) -> Option<String> {
        let (text, ty) = match column.default.as_ref().filter(|default| !default.is_null())? {
            ColumnDefault::Identity { .. } => return None,
            ColumnDefault::Stored(text) | ColumnDefault::Expr(text) => (text, column.ty),
        };
        let printed = self.printers.and_then(|it| (it.expr)(self, table, text, Some(ty), Style::Plain));
        Some(printed.unwrap_or_else(|| text.clone()))
    }

    /// The oids of the functions that a name means, builtins and others.
    fn functions_named(&self, name: &str, bare: &dyn Fn() -> SqlResult<String>) -> SqlResult<Vec<u32>> {
        let parts = split_identifiers(name).unwrap_or_default();
        let mut found = virtual_tables::routines_named(self, &parts);
        let is_builtin = parts.len() == 1 || parts.first().is_some_and(|schema| schema == "pg_catalog");
        if is_builtin || found.is_empty() {
            found.extend(virtual_tables::functions_named(&bare()?));
        }
        Ok(found)
    }

    /// What ANALYZE found out about a table.
    #[must_use]
    pub fn statistics(&self, table: &Table) -> Option<Arc<TableStatistics>> {
        self.catalog.statistics().table(table.storage)
    }

    /// Whether a sequence is the inside of an identity column.
    #[must_use]
    pub fn is_identity_sequence(&self, sequence: &Sequence) -> bool {
        let Some((table, column)) = sequence.owned_by else { return false };
        self.catalog.table_by_id(table).is_some_and(|table| {
            table.column_position(column).is_some_and(|at| {
                matches!(table.columns[at].default, Some(ColumnDefault::Identity { .. }))
            })
        })
    }

    /// The relations of this database, oldest first.
    #[must_use]
    pub fn relations(&self) -> Vec<&Relation> {
        let mut all: Vec<&Relation> = self.catalog.relations_of(self.database).collect();
        all.sort_unstable_by_key(|relation| relation.id());
        all
    }

    /// Tables, and views as tables: what has triggers and defaults of columns.
    pub fn tables_and_views(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.relations().into_iter().filter_map(Relation::as_table)
    }

    /// Materialized views are among them.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.relations().into_iter().filter_map(|relation| match relation {
            Relation::Table(table) => Some(table),
            Relation::View(_) | Relation::Sequence(_) => None,
        })
    }
}

impl OidNames for CatalogView {
    fn name(&self, ty: &SqlType, oid: u32) -> Option<String> {
        match ty {
            SqlType::RegClass => self.class(oid).map(|class| self.shown(class)),
            SqlType::RegType => self.catalog.type_by_oid(oid, -1).map(|_| self.format_type(oid, None)),
            SqlType::RegNamespace => self.catalog.schema_by_id(oid).map(|it| quote_identifier(&it.name)),
            SqlType::RegConfig => text_search::configuration_name(oid).map(quote_identifier),
            SqlType::RegDictionary => text_search::dictionary_name(oid).map(quote_identifier),
            SqlType::RegRole => self.catalog.role_by_id(oid).map(|it| quote_identifier(&it.name)),
            SqlType::RegProc => virtual_tables::routine_name(self, oid, false)
                .or_else(|| virtual_tables::function_name(oid).map(quote_identifier)),
            SqlType::RegProcedure if self.catalog.routine_by_id(oid).is_some() => {
                virtual_tables::routine_name(self, oid, true)
            }
            SqlType::RegProcedure => {
                let name = virtual_tables::function_name(oid)?;
                let mut shown = quote_identifier(name);
                let _ = write!(shown, "({})", virtual_tables::function_arguments(oid, ",")?);
                Some(shown)
            }
            _ => None,
        }
    }

    fn lookup(&self, ty: &SqlType, name: &str) -> SqlResult<u32> {
        let missing = |code, what: &str| SqlError::new(code, format!("{what} \"{name}\" does not exist"));
        let bare = || match split_identifiers(name).as_deref() {
            Some([name]) => Ok(name.clone()),
            Some([schema, name]) if schema == "pg_catalog" => Ok(name.clone()),
            _ => Err(SqlError::new(SqlState::InvalidName, format!("invalid name syntax: \"{name}\""))),
        };
        match ty {
            SqlType::RegClass => self.require_class(name).map(|class| class.oid()),
            SqlType::RegType => self.type_named(name).map(|ty| ty.oid()),
            SqlType::RegNamespace => {
                let schema = self.catalog.schema(self.database, &bare()?);
                schema.map(|it| it.id).ok_or_else(|| missing(SqlState::InvalidSchemaName, "schema"))
            }
            SqlType::RegConfig => {
                let found = text_search::configuration_named(&bare()?);
                found.ok_or_else(|| missing(SqlState::UndefinedObject, "text search configuration"))
            }
            SqlType::RegDictionary => {
                let found = text_search::dictionary_named(&bare()?);
                found.ok_or_else(|| missing(SqlState::UndefinedObject, "text search dictionary"))
            }
            SqlType::RegRole => {
                let role = self.catalog.role(&bare()?);
                role.map(|it| it.id).ok_or_else(|| missing(SqlState::UndefinedObject, "role"))
            }
            SqlType::RegProc => match self.functions_named(name, &bare)?[..] {
                [] => Err(missing(SqlState::UndefinedFunction, "function")),
                [oid] => Ok(oid),
                _ => Err(SqlError::new(
                    SqlState::AmbiguousFunction,
                    format!("more than one function named \"{name}\""),
                )),
            },
            SqlType::RegProcedure => {
                let unknown = || missing(SqlState::UndefinedFunction, "function");
                let (called, args) = name.trim().strip_suffix(')').and_then(|it| it.split_once('(')).ok_or_else(unknown)?;
                let called = split_identifiers(called).and_then(|parts| parts.last().cloned()).ok_or_else(unknown)?;
                let args = args.split(',').filter(|it| !it.trim().is_empty()).map(|name| self.type_named(name));
                let args: Vec<String> = args.map(|ty| ty.map(|ty| ty.name())).collect::<SqlResult<_>>()?;
                let wanted = args.join(",");
                let is_wanted = |oid: &u32| {
                    let routine = self.catalog.routine_by_id(*oid);
                    let inputs = routine.map(|it| it.inputs().map(|it| self.catalog.shown_type(it.ty)).collect::<Vec<_>>());
                    inputs.is_some_and(|inputs| inputs.join(",") == wanted)
                };
                let parts = name.trim().split_once('(').and_then(|(name, _)| split_identifiers(name)).unwrap_or_default();
                if let Some(found) = virtual_tables::routines_named(self, &parts).into_iter().find(is_wanted) {
                    return Ok(found);
                }
                let mut named = virtual_tables::functions_named(&called).into_iter();
                named
                    .find(|oid| virtual_tables::function_arguments(*oid, ",").is_some_and(|it| it == wanted))
                    .ok_or_else(unknown)
            }
            other => Err(SqlError::not_supported(format!("names of type {other}"))),
        }
    }
}
