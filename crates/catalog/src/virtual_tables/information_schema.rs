//! The information schema's view of schemas, tables, columns, views, sequences and roles. SQL standard, part 11.

use ::types::{Datum, DomainType, SqlType};

use super::privileges::Seer;
use super::relations::composites;
use super::row::{Rows, YesNo, row};
use super::scope::{Key, Scope, Source};
use super::types::type_row;
use crate::definition::Style;
use crate::descriptor::{Column, ColumnDefault, TEMPORARY_PREFIX, Table, View};
use crate::snapshot::Relation;
use crate::trigger::TriggerEvent;
use crate::view::{CatalogView, DELETE_BIT, INSERT_BIT, UPDATE_BIT};

const OF_TABLES: &[(&str, Key)] = &[("table_schema", Key::SchemaName), ("table_name", Key::ClassName)];
const OF_DOMAINS: &[(&str, Key)] = &[("domain_schema", Key::SchemaName), ("domain_name", Key::TypeName)];

pub(super) const TABLES: &[Source] = &[
    Source::whole("information_schema_catalog_name", information_schema_catalog_name),
    Source::whole("schemata", schemata),
    Source::of("tables", tables, OF_TABLES),
    Source::of("columns", columns, OF_TABLES),
    Source::of("views", views, OF_TABLES),
    Source::of("view_table_usage", view_table_usage, &[("view_schema", Key::SchemaName), ("view_name", Key::ClassName)]),
    Source::of("sequences", sequences, &[("sequence_schema", Key::SchemaName), ("sequence_name", Key::ClassName)]),
    Source::whole("character_sets", character_sets),
    Source::of("element_types", element_types, &[("object_schema", Key::SchemaName), ("object_name", Key::ClassName)]),
    Source::of("domains", domains, OF_DOMAINS),
    Source::of("domain_constraints", domain_constraints, OF_DOMAINS),
    Source::of("domain_udt_usage", domain_udt_usage, OF_DOMAINS),
    Source::of("column_domain_usage", column_domain_usage, OF_TABLES),
    Source::of("attributes", attributes, &[("udt_schema", Key::SchemaName), ("udt_name", Key::TypeName)]),
    Source::of(
        "user_defined_types",
        user_defined_types,
        &[("user_defined_type_schema", Key::SchemaName), ("user_defined_type_name", Key::TypeName)],
    ),
];

fn information_schema_catalog_name(view: &Scope<'_>, rows: &mut Rows) {
    row!(rows, { catalog_name: view.database_name() });
}

fn schemata(view: &Scope<'_>, rows: &mut Rows) {
    let seer = Seer::new(view);
    for schema in view.schemas().into_iter().filter(|schema| seer.sees_schema(schema.id)) {
        row!(rows, {
            catalog_name: view.database_name(),
            schema_name: &schema.name,
            schema_owner: view.role_name(schema.owner),
        });
    }
}

fn tables(view: &Scope<'_>, rows: &mut Rows) {
    let mut push = |schema: &str, name: &str, is_table: bool, is_insertable: bool| {
        let kind = if schema.starts_with(TEMPORARY_PREFIX) { "LOCAL TEMPORARY" } else { "BASE TABLE" };
        row!(rows, {
            table_catalog: view.database_name(),
            table_schema: schema,
            table_name: name,
            table_type: if is_table { kind } else { "VIEW" },
            is_insertable_into: YesNo(is_insertable),
            is_typed: YesNo(false),
        });
    };
    for table in view.catalogs() {
        push(table.schema, table.name, table.kind == 'r', table.kind == 'r');
    }
    let seer = Seer::new(view);
    for relation in view.relations() {
        let is_table = match relation {
            Relation::Table(it) if it.materialized.is_none() => true,
            Relation::View(_) => false,
            Relation::Table(_) | Relation::Sequence(_) => continue,
        };
        if !seer.sees_relation(relation) {
            continue;
        }
        let is_insertable = is_table || view.updatable(relation.id(), false, None) & INSERT_BIT != 0;
        push(view.schema_name(relation.schema()), relation.name(), is_table, is_insertable);
    }
}

/// What the standard asks of a type beyond its name.
#[derive(Default)]
struct TypeFacts {
    /// In characters, and in bytes.
    length: Option<i64>,
    octets: Option<i64>,
    precision: Option<i64>,
    radix: Option<i64>,
    scale: Option<i64>,
    datetime_precision: Option<i64>,
}

const BYTES_OF_CHARACTER: i64 = 4;
const OCTETS_MAX: i64 = 1 << 30;
const DEFAULT_FRACTION: u8 = 6;

impl TypeFacts {
    fn of(ty: SqlType) -> Self {
        let number = |precision, radix, scale| Self {
            precision: Some(precision),
            radix: Some(radix),
            scale,
            ..Self::default()
        };
        match ty {
            SqlType::Int2 => number(16, 2, Some(0)),
            SqlType::Int4 => number(32, 2, Some(0)),
            SqlType::Int8 => number(64, 2, Some(0)),
            SqlType::Float4 => number(24, 2, None),
            SqlType::Float8 => number(53, 2, None),
            SqlType::Numeric(Some(modifier)) => {
                number(i64::from(modifier.precision), 10, Some(i64::from(modifier.scale)))
            }
            SqlType::Numeric(None) => Self { radix: Some(10), ..Self::default() },
            SqlType::Varchar(Some(length)) | SqlType::Char(Some(length)) => Self {
                length: Some(length.into()),
                octets: Some(i64::from(length) * BYTES_OF_CHARACTER),
                ..Self::default()
            },
            SqlType::Text | SqlType::Varchar(None) | SqlType::Char(None) => {
                Self { octets: Some(OCTETS_MAX), ..Self::default() }
            }
            SqlType::Date => Self { datetime_precision: Some(0), ..Self::default() },
            SqlType::Time(precision)
            | SqlType::TimeTz(precision)
            | SqlType::Timestamp(precision)
            | SqlType::TimestampTz(precision) => {
                let precision = precision.unwrap_or(DEFAULT_FRACTION);
                Self { datetime_precision: Some(precision.into()), ..Self::default() }
            }
            SqlType::Interval => Self { datetime_precision: Some(DEFAULT_FRACTION.into()), ..Self::default() },
            _ => Self::default(),
        }
    }
}

/// Adds a row with what the standard asks of a type, in the columns that every table has for it.
macro_rules! typed_row {
    ($rows:expr, $facts:expr, { $($column:ident: $value:expr),* $(,)? }) => {
        row!($rows, {
            $($column: $value,)*
            character_maximum_length: $facts.length,
            character_octet_length: $facts.octets,
            numeric_precision: $facts.precision,
            numeric_precision_radix: $facts.radix,
            numeric_scale: $facts.scale,
            datetime_precision: $facts.datetime_precision,
        })
    };
}

fn data_type(ty: SqlType) -> String {
    let row = type_row(ty);
    match ty {
        SqlType::Domain(_) => "USER-DEFINED".to_owned(),
        _ if row.element != 0 && row.length == -1 => "ARRAY".to_owned(),
        SqlType::Char(_) => "character".to_owned(),
        _ if ty.user_type().is_some() => "USER-DEFINED".to_owned(),
        ty => ty.base_name(),
    }
}

/// A column of anything that has columns.
struct AnyColumn<'a> {
    schema: &'a str,
    table: &'a str,
    name: &'a str,
    number: i64,
    /// What a domain is over.
    ty: SqlType,
    domain: Option<DomainType>,
    nullable: bool,
    of_table: bool,
    /// Catalogs compare text by bytes.
    of_catalog: bool,
    /// Of a table or view: it, and the column itself.
    column: Option<(&'a Table, &'a Column)>,
    /// What has the column.
    relation: u32,
}

/// What a domain was made over, and the domain.
fn seen_through(ty: SqlType) -> (SqlType, Option<DomainType>) {
    match ty {
        SqlType::Domain(domain) => (domain.over(), Some(domain)),
        other => (other, None),
    }
}

fn is_not_null(view: &CatalogView, domain: DomainType) -> bool {
    let found = view.catalog.user_type(domain.oid()).and_then(|it| it.descriptor.domain());
    found.is_some_and(|domain| domain.not_null)
}

fn each_column(view: &Scope<'_>, mut f: impl FnMut(AnyColumn<'_>)) {
    for table in view.catalogs() {
        for (number, ((name, ty), not_null)) in (1..).zip(table.columns.iter().zip(&table.not_null)) {
            f(AnyColumn {
                schema: table.schema,
                table: table.name,
                name,
                number,
                ty: *ty,
                domain: None,
                nullable: !not_null,
                of_table: table.kind == 'r',
                of_catalog: true,
                column: None,
                relation: table.oid,
            });
        }
    }
    let seer = Seer::new(view);
    for relation in view.relations().into_iter().filter(|relation| seer.sees_relation(relation)) {
        let (schema, table) = (view.schema_name(relation.schema()), relation.name());
        match relation {
            Relation::Table(it) if it.materialized.is_some() => {}
            Relation::Table(it) => {
                for (_, column) in it.visible_columns().filter(|(_, column)| seer.sees_column(it.id, column.id.get())) {
                    let (ty, domain) = seen_through(column.declared());
                    let is_required = domain.is_some_and(|domain| is_not_null(view, domain));
                    f(AnyColumn {
                        schema,
                        table,
                        name: &column.name,
                        number: column.id.get().into(),
                        ty,
                        domain,
                        nullable: column.nullable && !is_required,
                        of_table: true,
                        of_catalog: false,
                        column: Some((&**it, column)),
                        relation: it.id,
                    });
                }
            }
            Relation::View(it) => {
                let table = it.as_table();
                let columns = (1..).zip(it.columns.iter().zip(&table.columns));
                let seen = columns.filter(|(number, _)| seer.sees_column(it.id, *number as u32));
                for (number, ((name, declared), column)) in seen {
                    let (ty, domain) = seen_through(*declared);
                    let is_required = domain.is_some_and(|domain| is_not_null(view, domain));
                    f(AnyColumn {
                        schema,
                        table: &table.name,
                        name,
                        number,
                        ty,
                        domain,
                        nullable: !is_required,
                        of_table: false,
                        of_catalog: false,
                        column: Some((&**table, column)),
                        relation: it.id,
                    });
                }
            }
            Relation::Sequence(_) => {}
        }
    }
}

fn is_column_updatable(view: &CatalogView, column: &AnyColumn<'_>) -> bool {
    let place = usize::try_from(column.number).ok().and_then(|number| number.checked_sub(1));
    let needed = UPDATE_BIT | DELETE_BIT;
    !column.of_catalog && place.is_some_and(|place| view.updatable(column.relation, false, Some(place)) & needed == needed)
}

fn columns(view: &Scope<'_>, rows: &mut Rows) {
    each_column(view, |it| {
        let facts = TypeFacts::of(it.ty);
        let default = it.column.and_then(|(table, column)| view.column_default(table, column));
        let identity = match it.column.and_then(|(_, column)| column.default.as_ref()) {
            Some(ColumnDefault::Identity { sequence, always }) => Some((*sequence, *always)),
            _ => None,
        };
        let sequence = identity.and_then(|(id, _)| match view.catalog.relation_by_id(id) {
            Some(Relation::Sequence(sequence)) => Some(sequence),
            _ => None,
        });
        let is_generated = matches!(it.column.map(|(_, column)| &column.default), Some(Some(ColumnDefault::Stored(_))));
        let (default, generated) = if is_generated { (None, default) } else { (default, None) };
        // A collation other than the default one: names', and those of the catalogs' columns.
        let has_collation = type_row(it.ty).collation != 0;
        let is_c = has_collation && (it.of_catalog || type_row(it.ty).collation == 950);
        let collation = |name: &str| if is_c { Datum::text(name) } else { Datum::Null };
        typed_row!(rows, facts, {
            table_catalog: view.database_name(),
            table_schema: it.schema,
            table_name: it.table,
            column_name: it.name,
            ordinal_position: it.number,
            column_default: default,
            is_nullable: YesNo(it.nullable),
            data_type: data_type(it.ty),
            collation_catalog: collation(view.database_name()),
            collation_schema: collation("pg_catalog"),
            collation_name: collation("C"),
            domain_catalog: it.domain.map(|_| view.database_name()),
            domain_schema: it.domain.map(|domain| view.type_schema(SqlType::Domain(domain))),
            domain_name: it.domain.map(|domain| &*domain.content().name),
            udt_catalog: view.database_name(),
            udt_schema: view.type_schema(it.ty),
            udt_name: it.ty.internal_name(),
            dtd_identifier: it.number.to_string(),
            is_self_referencing: YesNo(false),
            is_identity: YesNo(identity.is_some()),
            identity_generation: identity.map(|(_, always)| if always { "ALWAYS" } else { "BY DEFAULT" }),
            identity_start: sequence.map(|it| it.start.to_string()),
            identity_increment: sequence.map(|it| it.increment.to_string()),
            identity_maximum: sequence.map(|it| it.max.to_string()),
            identity_minimum: sequence.map(|it| it.min.to_string()),
            identity_cycle: YesNo(sequence.is_some_and(|it| it.cycle)),
            is_generated: if is_generated { "ALWAYS" } else { "NEVER" },
            generation_expression: generated,
            is_updatable: YesNo(it.of_table || is_column_updatable(view, &it)),
        });
    });
}

fn domains(view: &Scope<'_>, rows: &mut Rows) {
    for (ty, domain) in super::constraints::domains(view) {
        let over = domain.over;
        let facts = TypeFacts::of(over);
        typed_row!(rows, facts, {
            domain_catalog: view.database_name(),
            domain_schema: view.schema_name(ty.schema),
            domain_name: &ty.name,
            data_type: data_type(over),
            domain_default: view.domain_default(ty),
            udt_catalog: view.database_name(),
            udt_schema: view.type_schema(over),
            udt_name: over.internal_name(),
            dtd_identifier: "1",
        });
    }
}

fn attributes(view: &Scope<'_>, rows: &mut Rows) {
    for (ty, composite) in composites(view) {
        for it in &composite.attributes {
            let facts = TypeFacts::of(it.ty.base());
            typed_row!(rows, facts, {
                udt_catalog: view.database_name(),
                udt_schema: view.schema_name(ty.schema),
                udt_name: &ty.name,
                attribute_name: &it.name,
                ordinal_position: it.id,
                is_nullable: YesNo(true),
                data_type: data_type(it.ty),
                attribute_udt_catalog: view.database_name(),
                attribute_udt_schema: view.type_schema(it.ty),
                attribute_udt_name: it.ty.internal_name(),
                dtd_identifier: it.id.get().to_string(),
                is_derived_reference_attribute: YesNo(false),
            });
        }
    }
}

fn user_defined_types(view: &Scope<'_>, rows: &mut Rows) {
    for (ty, _) in composites(view) {
        row!(rows, {
            user_defined_type_catalog: view.database_name(),
            user_defined_type_schema: view.schema_name(ty.schema),
            user_defined_type_name: &ty.name,
            user_defined_type_category: "STRUCTURED",
            is_instantiable: YesNo(true),
        });
    }
}

fn domain_constraints(view: &Scope<'_>, rows: &mut Rows) {
    for (ty, domain) in super::constraints::domains(view) {
        for check in &domain.checks {
            row!(rows, {
                constraint_catalog: view.database_name(),
                constraint_schema: view.schema_name(ty.schema),
                constraint_name: &check.name,
                domain_catalog: view.database_name(),
                domain_schema: view.schema_name(ty.schema),
                domain_name: &ty.name,
                is_deferrable: YesNo(false),
                initially_deferred: YesNo(false),
            });
        }
    }
}

fn domain_udt_usage(view: &Scope<'_>, rows: &mut Rows) {
    for (ty, domain) in super::constraints::domains(view) {
        let over = domain.over;
        row!(rows, {
            udt_catalog: view.database_name(),
            udt_schema: view.type_schema(over),
            udt_name: over.internal_name(),
            domain_catalog: view.database_name(),
            domain_schema: view.schema_name(ty.schema),
            domain_name: &ty.name,
        });
    }
}

fn column_domain_usage(view: &Scope<'_>, rows: &mut Rows) {
    each_column(view, |it| {
        let Some(domain) = it.domain else { return };
        row!(rows, {
            domain_catalog: view.database_name(),
            domain_schema: view.type_schema(SqlType::Domain(domain)),
            domain_name: &*domain.content().name,
            table_catalog: view.database_name(),
            table_schema: it.schema,
            table_name: it.table,
            column_name: it.name,
        });
    });
}

/// Elements of array columns. `dtd_identifier` ties them to `columns`.
fn element_types(view: &Scope<'_>, rows: &mut Rows) {
    each_column(view, |it| {
        let Some(element) = it.ty.element() else { return };
        row!(rows, {
            object_catalog: view.database_name(),
            object_schema: it.schema,
            object_name: it.table,
            object_type: if it.of_table { "TABLE" } else { "VIEW" },
            collection_type_identifier: it.number.to_string(),
            data_type: data_type(element),
            udt_catalog: view.database_name(),
            udt_schema: view.type_schema(element),
            udt_name: element.internal_name(),
            dtd_identifier: format!("a{}", it.number),
        });
    });
}

fn views(view: &Scope<'_>, rows: &mut Rows) {
    let mut push = |schema: &str, name: &str, definition: Option<String>, made: Option<&View>| {
        let bits = made.map_or(0, |it| view.updatable(it.id, false, None));
        let fires = |event| YesNo(made.is_some_and(|it| it.has_instead_of(event)));
        let check = made.and_then(|it| it.details.options.check_option).map_or("NONE".to_owned(), |it| it.name().to_uppercase());
        row!(rows, {
            table_catalog: view.database_name(),
            table_schema: schema,
            table_name: name,
            view_definition: definition,
            check_option: check,
            is_updatable: YesNo(bits & (UPDATE_BIT | DELETE_BIT) == UPDATE_BIT | DELETE_BIT),
            is_insertable_into: YesNo(bits & INSERT_BIT != 0),
            is_trigger_updatable: fires(TriggerEvent::Update),
            is_trigger_deletable: fires(TriggerEvent::Delete),
            is_trigger_insertable_into: fires(TriggerEvent::Insert),
        });
    };
    for table in view.catalogs().into_iter().filter(|table| table.kind == 'v') {
        push(table.schema, table.name, None, None);
    }
    let seer = Seer::new(view);
    for relation in view.relations() {
        if let Relation::View(it) = relation
            && seer.sees_relation(relation)
        {
            // Only its owner sees what it consists of.
            let definition = seer.owns(it.id).then(|| view.view_definition(it.id, Style::Plain)).flatten();
            push(view.schema_name(it.schema), &it.name, definition, Some(it.as_ref()));
        }
    }
}

fn view_table_usage(view: &Scope<'_>, rows: &mut Rows) {
    for relation in view.relations() {
        let Relation::View(it) = relation else { continue };
        for on in it.depends_on.iter().filter_map(|on| view.catalog.relation_by_id(*on)) {
            row!(rows, {
                view_catalog: view.database_name(),
                view_schema: view.schema_name(it.schema),
                view_name: &it.name,
                table_catalog: view.database_name(),
                table_schema: view.schema_name(on.schema()),
                table_name: on.name(),
            });
        }
    }
}

/// Sequences of identity columns are left out, as the standard has it.
fn sequences(view: &Scope<'_>, rows: &mut Rows) {
    for relation in view.relations() {
        let Relation::Sequence(it) = relation else { continue };
        if view.is_identity_sequence(it) || !Seer::new(view).sees_relation(relation) {
            continue;
        }
        row!(rows, {
            sequence_catalog: view.database_name(),
            sequence_schema: view.schema_name(it.schema),
            sequence_name: &it.name,
            data_type: it.ty.base_name(),
            numeric_precision: TypeFacts::of(it.ty).precision,
            numeric_precision_radix: 2,
            numeric_scale: 0,
            start_value: it.start.to_string(),
            minimum_value: it.min.to_string(),
            maximum_value: it.max.to_string(),
            increment: it.increment.to_string(),
            cycle_option: YesNo(it.cycle),
        });
    }
}

fn character_sets(view: &Scope<'_>, rows: &mut Rows) {
    row!(rows, {
        character_set_name: "UTF8",
        character_repertoire: "UCS",
        form_of_use: "UTF8",
        default_collate_catalog: view.database_name(),
        default_collate_schema: "pg_catalog",
        default_collate_name: "C",
    });
}
