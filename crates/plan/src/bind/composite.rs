//! Rows and values of composite types in expressions: their fields, whole rows of what is in FROM, and records that become values
//! of a type.

use std::sync::Arc;

use catalog::RoutineKind;
use types::{CastContext, CompositeType, Datum, RowType, SqlError, SqlResult, SqlState, SqlType};

use super::Binder;
use super::routine::{Argument, Resolution};
use crate::expr::Expr;
use crate::scope::{RowOf, Scope};

/// A field of a row: of one that is written out, what stands there.
pub(super) fn field_of(row: Expr, at: usize, ty: SqlType) -> Expr {
    match row {
        Expr::Row(mut fields, _) if at < fields.len() => fields.swap_remove(at),
        row => Expr::Field { row: Box::new(row), at, ty },
    }
}

/// The type of a record of this many fields: that of the relation whose row it is, if it has as many still.
fn of_width(ty: Option<SqlType>, width: usize) -> Option<SqlType> {
    ty.filter(|ty| ty.row_type().is_some_and(|row| row.fields.len() == width))
}

impl Binder<'_> {
    /// A field of a row by name.
    pub(super) fn field(&mut self, row: Expr, name: &str) -> SqlResult<Expr> {
        let ty = row.ty();
        if !ty.is_row() {
            let message = format!(
                "column notation .{name} applied to type {}, which is not a composite type",
                self.known_type(&row).map_or_else(|| "unknown".to_owned(), |ty| ty.base_name())
            );
            return Err(SqlError::new(SqlState::WrongObjectType, message));
        }
        let is_known = ty.row_type().is_some_and(|row| row.position(name).is_some());
        if !is_known && let Some(called) = self.method(name, &row)? {
            return Ok(called);
        }
        let undefined = |message: String| Err(SqlError::new(SqlState::UndefinedColumn, message));
        let Some(row_type) = ty.row_type() else {
            return undefined(format!("could not identify column \"{name}\" in record data type"));
        };
        let Some(at) = row_type.position(name) else {
            return undefined(match &row_type.table {
                Some(table) if is_whole_row(&row) => format!("column {table}.{name} does not exist"),
                Some(table) => format!("column \"{name}\" not found in data type {table}"),
                None => format!("could not identify column \"{name}\" in record data type"),
            });
        };
        Ok(field_of(row, at, declared_field(ty, &row_type, at)))
    }

    /// A field of the only argument of what looks like a call: `f(c)` for `(c).f`.
    pub(super) fn field_called(&mut self, name: &str, args: &[Expr]) -> Option<Expr> {
        let [row] = args else { return None };
        let at = row.ty().row_type()?.position(name)?;
        let ty = row.ty();
        Some(field_of(row.clone(), at, declared_field(ty, &*ty.row_type()?, at)))
    }

    /// `t.f` for `f(t)`, where a user's function takes the row; `None` where there is none.
    pub(super) fn method(&mut self, name: &str, row: &Expr) -> SqlResult<Option<Expr>> {
        let parts = [name.to_owned()];
        let Some(found) = self.routines_of(&parts).filter(|_| row.ty().composite().is_some()) else { return Ok(None) };
        let args = vec![Argument { name: None, expr: row.clone() }];
        match self.resolve_routine(&found, &parts, args, RoutineKind::Function) {
            Ok(Resolution::Routine(call)) if call.routine.kind == RoutineKind::Function => self.routine_value(call).map(Some),
            Ok(Resolution::Routine(_) | Resolution::Builtin(_)) | Err(_) => Ok(None),
        }
    }

    /// All fields of a row, with their names: `(row).*`.
    pub(super) fn fields_of(&mut self, row: Expr) -> SqlResult<Vec<(String, Expr)>> {
        let ty = row.ty();
        let Some(row_type) = ty.row_type() else {
            let message = match ty {
                SqlType::Record(_) => "record type has not been registered".to_owned(),
                other => format!("type {} is not composite", other.base_name()),
            };
            return Err(SqlError::new(SqlState::WrongObjectType, message));
        };
        let fields = row_type.fields.iter().enumerate();
        let field = |(at, (name, _)): (usize, &(Arc<str>, SqlType))| {
            (name.to_string(), field_of(row.clone(), at, declared_field(ty, &row_type, at)))
        };
        Ok(fields.map(field).collect())
    }

    /// The row of a table or another item of FROM, by its name; `None` where there is no such item.
    pub(super) fn row_of_item(&mut self, name: &str, scope: &Scope<'_>) -> SqlResult<Option<Expr>> {
        let Some((fields, of)) = scope.whole_row(name)? else { return Ok(None) };
        let of = match of {
            RowOf::Relation(id) => {
                self.context.notes.uses(id);
                self.context.catalog.row_type_of(id)
            }
            RowOf::Type(ty) => Some(ty),
            RowOf::Nothing => None,
        };
        let ty = of_width(of, fields.len()).unwrap_or_else(|| {
            let fields = fields.iter().map(|(name, value)| (Arc::from(name.as_str()), value.ty().base()));
            SqlType::record_of(RowType { table: None, fields: fields.collect() })
        });
        Ok(Some(Expr::Row(fields.into_iter().map(|(_, value)| value).collect(), ty)))
    }

    /// As [`Binder::row_of_item`].
    ///
    /// # Errors
    /// 42P01 where there is no such item.
    pub(super) fn whole_row(&mut self, names: &[String], scope: &Scope<'_>) -> SqlResult<Expr> {
        let name = names.last().map_or("", String::as_str);
        if let Some(row) = self.row_of_item(name, scope)? {
            return Ok(row);
        }
        let parts: Vec<&str> = names.iter().map(String::as_str).collect();
        let variable = self.variable(&parts, true)?.filter(|variable| variable.ty().is_row());
        variable.ok_or_else(|| {
            SqlError::new(SqlState::UndefinedTable, format!("missing FROM-clause entry for table \"{name}\""))
        })
    }

    /// A record as a value of a composite type, field by field.
    ///
    /// # Errors
    /// 42846 where it has not as many fields, or not such.
    pub(super) fn to_composite(&mut self, expr: Expr, of: CompositeType, context: CastContext) -> SqlResult<Expr> {
        let (from, to) = (expr.ty(), SqlType::Composite(of));
        let refused = || {
            SqlError::new(SqlState::CannotCoerce, format!("cannot cast type {} to {}", from.base_name(), to.base_name()))
        };
        let Some(given) = from.row_type() else { return Err(refused()) };
        let wanted = of.attributes();
        if given.fields.len() != wanted.len() {
            let what = if given.fields.len() < wanted.len() { "few" } else { "many" };
            return Err(refused().with_detail(format!("Input has too {what} columns.")));
        }
        let Expr::Row(fields, _) = expr else {
            return Ok(Expr::Cast { expr: Box::new(expr), to, context });
        };
        let mut made = Vec::with_capacity(fields.len());
        for (at, (field, attribute)) in fields.into_iter().zip(wanted).enumerate() {
            let shown = self.known_type(&field).map_or_else(|| "unknown".to_owned(), |ty| ty.base_name());
            made.push(self.coerce(field, attribute.ty, context).map_err(|error| match error.code() {
                SqlState::CannotCoerce => {
                    let to = attribute.ty.base_name();
                    refused().with_detail(format!("Cannot cast type {shown} to {to} in column {}.", at + 1))
                }
                _ => error,
            })?);
        }
        let constant = |field: &Expr| matches!(field, Expr::Const(..));
        if !self.keeps_form && made.iter().all(constant) {
            let values = made.into_iter().filter_map(|field| match field {
                Expr::Const(value, _) => Some(value),
                _ => None,
            });
            return Ok(Expr::Const(Datum::record(values.collect())?, to));
        }
        Ok(Expr::Row(made, to))
    }
}

/// Whether it is the row of an item of FROM, rather than a value that was made.
fn is_whole_row(row: &Expr) -> bool {
    let is_column = |field: &Expr| matches!(field, Expr::Column(..) | Expr::Outer(..));
    matches!(row, Expr::Row(fields, _) if !fields.is_empty() && fields.iter().all(is_column))
}

/// A field's type as it was declared, or the type under a domain: a value that was made while a statement runs was not put to the
/// rules of domains in it, and is where it is written to a column of one.
pub(super) fn declared_field(ty: SqlType, row: &RowType, at: usize) -> SqlType {
    let declared = ty.composite().and_then(|of| of.attributes().get(at)).map(|attribute| attribute.ty);
    let ty = declared.or_else(|| row.fields.get(at).map(|(_, ty)| *ty)).unwrap_or(SqlType::Unknown);
    if ty.is_domain() { ty.base() } else { ty }
}
