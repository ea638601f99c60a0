//! The functions whose answers are in the catalog: `pg_get_indexdef`, `pg_table_is_visible`, `has_table_privilege` and
//! their kin. Documentation, section 9.26.

use std::sync::Arc;

use builtins::CatalogFunctions;
use types::{Array, Datum, OidNames, SqlError, SqlResult, SqlState, SqlType, quote_identifier};

use crate::definition::{self, EXPRESSIONS_APART, Style};
use crate::descriptor::{Column, ColumnDefault, Commented, DATABASE_OWNER_ROLE, Schema, Table};
use crate::policy::Policy;
use crate::privilege::acl::PUBLIC;
use crate::snapshot::{Relation, temporary_schema};
use crate::view::{CatalogView, Class};
use crate::virtual_tables;

/// The arguments of a call. Strict functions are not called with NULLs.
struct Args<'a>(&'a [Datum]);

impl Args<'_> {
    fn oid(&self, at: usize) -> u32 {
        self.0.get(at).and_then(Datum::as_int).and_then(|oid| u32::try_from(oid).ok()).unwrap_or(0)
    }

    fn text(&self, at: usize) -> &str {
        self.0.get(at).and_then(Datum::as_str).unwrap_or("")
    }

    fn is_true(&self, at: usize) -> bool {
        self.0.get(at).and_then(Datum::as_bool).unwrap_or(false)
    }

    fn style(&self, at: usize) -> Style {
        if self.is_true(at) { Style::Pretty } else { Style::Plain }
    }
}

/// The number of the only encoding.
const UTF8: u32 = 6;

pub(crate) fn format_type(oid: u32, modifier: Option<i64>) -> String {
    let typmod = modifier.and_then(|it| i32::try_from(it).ok()).unwrap_or(-1);
    match SqlType::from_oid(oid, typmod) {
        _ if oid == 0 => "-".to_owned(),
        None => "???".to_owned(),
        Some(SqlType::Char(None)) if modifier.is_none() => "character".to_owned(),
        Some(ty) if modifier.is_none() => ty.base_name(),
        Some(ty) => ty.name(),
    }
}

/// In the largest unit that leaves two digits or more, rounded.
fn pretty_size(bytes: i64) -> String {
    if bytes.unsigned_abs() < 10 * 1024 {
        return format!("{bytes} bytes");
    }
    // In halves of a unit, so that one division both scales and prepares the rounding.
    let mut halves = bytes / (1024 / 2);
    for unit in ["kB", "MB", "GB", "TB"] {
        if halves.abs() < 20 * 1024 - 1 {
            return format!("{} {unit}", (halves + halves.signum()) / 2);
        }
        halves /= 1024;
    }
    format!("{} PB", (halves + halves.signum()) / 2)
}

fn optional(text: Option<impl Into<std::sync::Arc<str>>>) -> Datum {
    text.map_or(Datum::Null, Datum::text)
}

impl CatalogFunctions for CatalogView {
    fn call(&self, name: &str, args: &[Datum]) -> SqlResult<Datum> {
        let a = Args(args);
        let reg = |ty: &SqlType| self.lookup(ty, a.text(0)).map_or(Datum::Null, |oid| Datum::Int(oid.into()));
        Ok(match name {
            "pg_get_indexdef" => self.index_definition(&a),
            "pg_get_constraintdef" => optional(definition::constraint(self, a.oid(0), a.style(1))),
            "pg_get_triggerdef" => optional(definition::trigger(self, a.oid(0), a.style(1))),
            "pg_get_expr" => {
                let class = self.class(a.oid(1));
                let table = class.as_ref().and_then(Class::table);
                // What its names mean is kept beside it.
                if let Some(table) = self.catalog.table_by_id(a.oid(1))
                    && let Some(expr) = table.policies().iter().flat_map(Policy::exprs).find(|it| it.text == a.text(0))
                {
                    return Ok(Datum::text(self.policy_expr(table, expr, a.style(2))));
                }
                let shown = a.text(0).split(EXPRESSIONS_APART).map(|text| match table {
                    // Of a partition: its bound is no expression.
                    _ if text == "DEFAULT" || text.starts_with("FOR VALUES ") => text.to_owned(),
                    Some(table) => self.expr(table, text, a.style(2)),
                    None => a.style(2).expr(text),
                });
                Datum::text(shown.collect::<Vec<_>>().join(", "))
            }
            "pg_get_viewdef" => {
                // A number instead of a flag: the width to wrap at.
                let pretty = a.is_true(1) || matches!(args.get(1), Some(Datum::Int(_)));
                let style = if pretty { Style::Pretty } else { Style::Plain };
                match &args[0] {
                Datum::Text(name) => optional(self.view_definition(self.require_class(name)?.oid(), style)),
                _ => optional(self.view_definition(a.oid(0), style)),
                }
            }
            "format_type" => Datum::text(self.format_type(a.oid(0), args[1].as_int())),
            "pg_encoding_to_char" => Datum::text(if a.oid(0) == UTF8 { "UTF8" } else { "" }),
            "pg_char_to_encoding" => {
                let is_utf8 = a.text(0).eq_ignore_ascii_case("utf8") || a.text(0).eq_ignore_ascii_case("utf-8");
                Datum::Int(if is_utf8 { UTF8.into() } else { -1 })
            }
            "pg_size_pretty" => Datum::text(pretty_size(match &args[0] {
                Datum::Numeric(size) => size.to_i64("bigint")?,
                size => size.as_int().unwrap_or(0),
            })),
            "acldefault" => self.default_privileges(a.text(0), a.oid(1))?,
            "pg_get_serial_sequence" => self.serial_sequence(a.text(0), a.text(1))?,
            "pg_get_userbyid" => Datum::text(self.role_name(a.oid(0))),
            "pg_get_function_arguments" | "pg_get_function_identity_arguments" => {
                let with_defaults = name == "pg_get_function_arguments";
                let of_routine = virtual_tables::routine_arguments(self, a.oid(0), with_defaults);
                optional(of_routine.or_else(|| virtual_tables::function_arguments(a.oid(0), ", ")))
            }
            "pg_get_function_result" => {
                let of_routine = virtual_tables::routine_result(self, a.oid(0));
                optional(of_routine.or_else(|| virtual_tables::function_result(a.oid(0))))
            }
            "pg_get_functiondef" => optional(virtual_tables::routine_definition(self, a.oid(0))?),
            // Nothing of these kinds can be made yet.
            "pg_get_ruledef" | "pg_get_function_sqlbody"
            | "pg_get_statisticsobjdef" | "pg_get_statisticsobjdef_columns" => Datum::Null,
            "pg_get_partkeydef" => {
                let table = self.catalog.table_by_id(a.oid(0));
                optional(table.and_then(|table| Some(table.partitioned()?.definition(self, table))))
            }
            "pg_get_partition_constraintdef" => {
                let table = self.catalog.table_by_id(a.oid(0));
                optional(table.and_then(|table| crate::partition::constraint_text(self, table)))
            }
            "pg_partition_root" => self.partition_ancestors(a.oid(0)).pop().map_or(Datum::Null, |oid| Datum::Int(oid.into())),
            "pg_partition_ancestors" => {
                let found = self.partition_ancestors(a.oid(0)).into_iter().map(|oid| Datum::Int(oid.into()));
                Datum::Array(Array::from_elements(found.collect()).into())
            }
            "pg_partition_tree" => {
                let rows = self.partition_tree(a.oid(0)).into_iter().map(|(id, parent, is_leaf, level)| {
                    let parent = parent.map_or(Datum::Null, |id| Datum::Int(id.into()));
                    Datum::Record([Datum::Int(id.into()), parent, Datum::Bool(is_leaf), Datum::Int(level)].into())
                });
                Datum::Array(Array::from_elements(rows.collect()).into())
            }
            "pg_table_is_visible" => self.class(a.oid(0)).map_or(Datum::Null, |it| Datum::Bool(self.is_visible(it))),
            "pg_type_is_visible" => self.type_is_visible(a.oid(0)).map_or(Datum::Null, Datum::Bool),
            "pg_function_is_visible" => {
                let of_builtin = || virtual_tables::function_name(a.oid(0)).map(|_| true);
                let is_visible = virtual_tables::routine_is_visible(self, a.oid(0)).or_else(of_builtin);
                is_visible.map_or(Datum::Null, Datum::Bool)
            }
            // What there is of these is in pg_catalog, which is always searched.
            _ if name.ends_with("_is_visible") => Datum::Bool(true),
            "obj_description" => optional(self.comment(a.oid(0))),
            "col_description" => optional(self.column_comment(a.oid(0), a.oid(1))),
            "shobj_description" => Datum::Null,
            "to_regclass" => reg(&SqlType::RegClass),
            "to_regtype" => reg(&SqlType::RegType),
            "to_regproc" => reg(&SqlType::RegProc),
            "to_regnamespace" => reg(&SqlType::RegNamespace),
            "to_regrole" => reg(&SqlType::RegRole),
            "pg_has_role" => self.privilege(name, args)?,
            _ if name.starts_with("has_") => self.privilege(name, args)?,
            "row_security_active" => self.row_security_active(&args[0])?,
            "pg_relation_size" | "pg_table_size" => self.size(a.oid(0), false),
            "pg_indexes_size" => match (self.size(a.oid(0), true), self.size(a.oid(0), false)) {
                (Datum::Int(all), Datum::Int(table)) => Datum::Int(all - table),
                _ => Datum::Null,
            },
            "pg_total_relation_size" => self.size(a.oid(0), true),
            "pg_database_size" => {
                let database = match &args[0] {
                    Datum::Text(name) => self.catalog.database(name),
                    _ => self.catalog.database_by_id(a.oid(0)),
                };
                let database = database.ok_or_else(|| {
                    SqlError::new(SqlState::InvalidCatalogName, format!("database \"{}\" does not exist", a.text(0)))
                })?;
                let sizes = self.catalog.relations_of(database.id).map(|it| self.size(it.id(), true));
                Datum::Int(sizes.filter_map(|size| size.as_int()).sum())
            }
            "pg_tablespace_size" => Datum::Int(0),
            "pg_tablespace_location" => Datum::text(""),
            "pg_relation_is_publishable" => {
                Datum::Bool(self.class(a.oid(0)).is_some_and(|class| class.table().is_some()))
            }
            // Bits of INSERT, UPDATE and DELETE: 8, 4 and 16.
            "pg_relation_is_updatable" => {
                Datum::Int(self.updatable(a.oid(0), a.is_true(1), None).into())
            }
            "pg_column_is_updatable" => {
                let place = a.0.get(1).and_then(Datum::as_int).and_then(|number| usize::try_from(number).ok()?.checked_sub(1));
                let with_triggers = a.is_true(2);
                let needed = crate::view::UPDATE_BIT | crate::view::DELETE_BIT;
                let can = |place| self.updatable(a.oid(0), with_triggers, Some(place)) & needed == needed;
                Datum::Bool(place.is_some_and(can))
            }
            "pg_get_function_arg_default" => Datum::Null,
            "pg_my_temp_schema" => {
                let name = temporary_schema(&self.search_path);
                let schema = name.and_then(|name| self.catalog.schema(self.database, name));
                Datum::Int(schema.map_or(0, |schema| i64::from(schema.id)))
            }
            "pg_is_other_temp_schema" => {
                let schema = self.catalog.schema_by_id(a.oid(0)).filter(|schema| schema.is_temporary());
                Datum::Bool(schema.is_some_and(|it| temporary_schema(&self.search_path) != Some(it.name.as_str())))
            }
            "pg_filenode_relation" => Datum::Null,
            other => return Err(SqlError::not_supported(format!("function {other} is not supported"))),
        })
    }
}

impl CatalogView {
    /// A partition, or a partitioned table, with what it is a partition of, up to the outermost; also of indexes.
    fn partition_ancestors(&self, oid: u32) -> Vec<u32> {
        let mut found = Vec::new();
        if let Some(table) = self.catalog.table_by_id(oid) {
            if table.partitioning.is_some() {
                found.push(oid);
                found.extend(self.catalog.ancestors_of(table).iter().map(|table| table.id));
            }
        } else if let Some((table, index)) = self.index(oid) {
            let mut at = index.oid;
            let is_of_any = table.is_partitioned() || table.parent_part(at).is_some();
            found.extend(is_of_any.then_some(at));
            for above in std::iter::once(table).chain(&self.catalog.ancestors_of(table)) {
                let Some(parent) = above.parent_part(at) else { break };
                found.push(parent);
                at = parent;
            }
        }
        found
    }

    /// A table or index with all below it: the oid, the parent's, whether none can be below, and how deep it is.
    fn partition_tree(&self, oid: u32) -> Vec<(u32, Option<u32>, bool, i64)> {
        let mut found = Vec::new();
        if let Some(table) = self.catalog.table_by_id(oid).filter(|table| table.partitioning.is_some()) {
            // PostgreSQL's order: level by level.
            let mut level = vec![(table.clone(), table.partition_parent())];
            let mut depth = 0;
            while !level.is_empty() {
                found.extend(level.iter().map(|(table, parent)| (table.id, *parent, !table.is_partitioned(), depth)));
                let below = level.iter().flat_map(|(table, _)| {
                    self.catalog.partitions_of(table).map(|it| (it.clone(), Some(table.id))).collect::<Vec<_>>()
                });
                level = below.collect();
                depth += 1;
            }
        } else if let Some((table, index)) = self.index(oid)
            && (table.is_partitioned() || table.parent_part(index.oid).is_some())
        {
            let mut level = vec![(table.clone(), index.oid, table.parent_part(index.oid))];
            let mut depth = 0;
            while !level.is_empty() {
                found.extend(level.iter().map(|(table, oid, parent)| (*oid, *parent, !table.is_partitioned(), depth)));
                let below = level.iter().flat_map(|(table, oid, _)| {
                    let own = |it: &Arc<Table>| it.part_of(*oid).map(|own| (it.clone(), own, Some(*oid)));
                    self.catalog.partitions_of(table).filter_map(own).collect::<Vec<_>>()
                });
                level = below.collect();
                depth += 1;
            }
        }
        found
    }

    /// Whether the user is subject to the policies of a table, whatever the setting `row_security` says.
    fn row_security_active(&self, relation: &Datum) -> SqlResult<Datum> {
        let oid = match relation {
            Datum::Text(name) => self.require_class(name)?.oid(),
            oid => oid.as_int().and_then(|oid| u32::try_from(oid).ok()).unwrap_or(0),
        };
        let user = self.catalog.role(&self.user).map_or(PUBLIC, |role| role.id);
        let is_active = self.catalog.table_by_id(oid).is_some_and(|table| {
            self.catalog.access(self.database).row_security(user, table).is_subject()
        });
        Ok(Datum::Bool(is_active))
    }

    fn index_definition(&self, a: &Args<'_>) -> Datum {
        let Some((table, index)) = self.index(a.oid(0)) else { return Datum::Null };
        match a.oid(1) {
            0 => Datum::text(definition::index(self, table, index, a.style(2))),
            place => Datum::text(definition::index_column(self, table, index, place as usize, a.style(2)).unwrap_or_default()),
        }
    }

    /// The query of a view, as `pg_get_viewdef` spells it.
    pub(crate) fn view_definition(&self, oid: u32, style: Style) -> Option<String> {
        let view = self.catalog.relation_by_id(oid)?.as_view()?;
        let printed = self.printers.and_then(|it| (it.view)(self, &view, style));
        Some(format!("{};", printed.unwrap_or_else(|| format!(" {}", view.query))))
    }

    fn comment(&self, oid: u32) -> Option<String> {
        if let Some(schema) = self.catalog.schema_by_id(oid) {
            return schema_comment(schema).map(str::to_owned);
        }
        if let Some(ty) = self.catalog.user_type(oid) {
            return ty.descriptor.comment.clone();
        }
        if let Some(routine) = self.catalog.routine_by_id(oid) {
            return routine.comment.clone();
        }
        match self.catalog.relation_by_id(oid) {
            Some(Relation::Table(table)) => table.comment.clone(),
            Some(Relation::View(view)) => view.comment.clone(),
            Some(Relation::Sequence(sequence)) => sequence.comment.clone(),
            None => match self.catalog.table_of_part(oid) {
                Some(table) => comment_on(&table.comments, Commented::Part(oid)),
                None => {
                    let types = self.catalog.types_of(self.database);
                    let mut checks = types.into_iter().filter_map(|ty| ty.domain()).flat_map(|domain| &domain.checks);
                    checks.find(|check| check.oid == oid)?.comment.clone()
                }
            },
        }
    }

    /// By the number of the column, from 1.
    fn column_comment(&self, oid: u32, number: u32) -> Option<String> {
        let Some(relation) = self.catalog.relation_by_id(oid) else {
            let made = self.catalog.user_type(oid.checked_sub(2)?)?;
            let mut attributes = made.descriptor.composite()?.attributes.iter();
            return attributes.find(|attribute| attribute.id.get() == number)?.comment.clone();
        };
        match relation {
            Relation::Table(table) => {
                let column = table.columns.get(usize::try_from(number).ok()?.checked_sub(1)?)?;
                comment_on(&table.comments, Commented::Column(column.id))
            }
            Relation::View(view) => comment_on(&view.comments, Commented::Column(keys::ColumnId::new(number))),
            Relation::Sequence(_) => None,
        }
    }

    fn serial_sequence(&self, table: &str, column: &str) -> SqlResult<Datum> {
        let class = self.require_class(table)?;
        let Some(table) = class.table() else { return Ok(Datum::Null) };
        let (_, column) = table.column_named(column).ok_or_else(|| no_column(column, &table.name))?;
        Ok(optional(self.owned_sequence(table, column).map(|sequence| {
            format!("{}.{}", quote_identifier(self.schema_name(sequence.schema)), quote_identifier(&sequence.name))
        })))
    }

    /// The sequence that belongs to a column.
    pub(crate) fn owned_sequence(&self, table: &Table, column: &Column) -> Option<&crate::descriptor::Sequence> {
        if let Some(ColumnDefault::Identity { sequence, .. }) = &column.default {
            return match self.catalog.relation_by_id(*sequence) {
                Some(Relation::Sequence(sequence)) => Some(sequence),
                _ => None,
            };
        }
        self.catalog.dependents_of(table.id).into_iter().find_map(|relation| match relation {
            Relation::Sequence(it) if it.owned_by == Some((table.id, column.id)) => Some(&**it),
            _ => None,
        })
    }

    /// What owner and public may do with an object of a kind that nobody has granted anything on, as access control
    /// items. Documentation, section 5.7, table 5.2.
    fn default_privileges(&self, kind: &str, owner: u32) -> SqlResult<Datum> {
        let (owners, publics) = match kind {
            "c" => ("", ""),
            "r" => ("arwdDxt", ""),
            "s" => ("rwU", ""),
            "d" => ("CTc", "Tc"),
            "f" => ("X", "X"),
            "l" | "T" => ("U", "U"),
            "L" => ("rw", ""),
            "n" => ("UC", ""),
            "p" => ("sA", ""),
            "t" => ("C", ""),
            "F" | "S" => ("U", ""),
            other => {
                return Err(SqlError::new(
                    SqlState::InvalidParameterValue,
                    format!("unrecognized object type abbreviation: {other}"),
                ));
            }
        };
        let grantor = quote_identifier(&self.role_name(owner));
        let items = [("", publics), (grantor.as_str(), owners)].into_iter().filter(|(_, rights)| !rights.is_empty());
        let items = items.map(|(grantee, rights)| Datum::text(format!("{grantee}={rights}/{grantor}")));
        Ok(Datum::Array(Array::from_elements(items.collect()).into()))
    }

    /// As far as statistics tell, in bytes; NULL when there is no such class.
    fn size(&self, oid: u32, with_indexes: bool) -> Datum {
        let bytes = |table: &Table, indexes: usize| {
            // An entry of an index is taken for half a row.
            let known = self.statistics(table);
            known.map_or(0.0, |it| it.rows * it.average_row_bytes * (1.0 + indexes as f64 / 2.0))
        };
        match self.class(oid) {
            Some(Class::Relation(Relation::Table(table))) => {
                let indexes = if with_indexes { table.indexes.len() - 1 } else { 0 };
                Datum::Int(bytes(table, indexes) as i64)
            }
            Some(Class::Index(table, index)) if index.id != table.primary().id => {
                Datum::Int((bytes(table, 1) - bytes(table, 0)) as i64)
            }
            Some(_) => Datum::Int(0),
            None => Datum::Null,
        }
    }
}

fn comment_on(comments: &[(Commented, String)], on: Commented) -> Option<String> {
    comments.iter().find(|(known, _)| *known == on).map(|(_, text)| text.clone())
}

/// What the schemas that are there from the start are for.
pub(crate) fn schema_comment(schema: &Schema) -> Option<&str> {
    match schema.name.as_str() {
        _ if schema.comment.is_some() => schema.comment.as_deref(),
        "public" if schema.owner == DATABASE_OWNER_ROLE => Some("standard public schema"),
        "pg_catalog" => Some("system catalog schema"),
        _ => None,
    }
}

fn no_column(column: &str, table: &str) -> SqlError {
    SqlError::new(
        SqlState::UndefinedColumn,
        format!("column \"{column}\" of relation \"{table}\" does not exist"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_spelled_with_and_without_modifiers() {
        assert_eq!(format_type(1043, Some(24)), "character varying(20)");
        assert_eq!(format_type(1043, None), "character varying");
        assert_eq!(format_type(1042, Some(-1)), "bpchar");
        assert_eq!(format_type(1042, None), "character");
        assert_eq!(format_type(1231, Some(655_366)), "numeric(10,2)[]");
        assert_eq!(format_type(0, None), "-");
        assert_eq!(format_type(99_999, None), "???");
    }

    #[test]
    fn sizes_are_in_units_of_two_digits() {
        let check = |bytes: i64, shown: &str| assert_eq!(pretty_size(bytes), shown);
        check(0, "0 bytes");
        check(10_239, "10239 bytes");
        check(-10_240, "-10 kB");
        check(10_240, "10 kB");
        check(10_751, "10 kB");
        check(10_752, "11 kB");
        check(10_485_247, "10239 kB");
        check(10_485_248, "10 MB");
        check(1 << 40, "1024 GB");
        check(i64::MAX, "8192 PB");
    }
}
