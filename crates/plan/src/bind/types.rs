//! Type names, and making expressions into values of a type.
//!
//! A string literal or parameter whose type nobody has said yet is a constant or parameter of type `Unknown`; the
//! first context that wants a type gives it one, by [`Binder::coerce`].

use sqlparser::ast;
use types::{CastContext, Datum, SqlError, SqlResult, SqlState, SqlType, can_cast, cast, fit_modifier, parse_text};
use types::datetime::depends_on_now;

use super::domain::as_base;
use super::{Binder, qualified_name};
use crate::PlanContext;
use crate::dependencies::NameKind;
use crate::expr::Expr;

/// The type a type name means.
///
/// # Errors
/// 42704 when there is no such type, 22023 for a modifier out of range.
pub(crate) fn bind_type(name: &ast::DataType, context: &PlanContext<'_>) -> SqlResult<SqlType> {
    match name {
        ast::DataType::Interval { .. } => Ok(SqlType::Interval),
        ast::DataType::Array(
            ast::ArrayElemTypeDef::SquareBracket(element, _)
            | ast::ArrayElemTypeDef::AngleBracket(element)
            | ast::ArrayElemTypeDef::Parenthesis(element)
            | ast::ArrayElemTypeDef::Qualified(element, _),
        ) => {
            let element = bind_type(element, context)?;
            if matches!(element, SqlType::Domain(_)) && element.base().is_array() {
                let message = format!("arrays of domain {}, which is over an array, are not supported", element.base_name());
                return Err(SqlError::not_supported(message));
            }
            Ok(if element.is_array() { element } else { element.array_of() })
        }
        ast::DataType::Custom(name, modifiers) => {
            let words: Vec<String> = name
                .0
                .iter()
                .map(|part| match part.as_ident() {
                    Some(ident) if ident.quote_style.is_some() && matches!(&*ident.value, "char" | "bit") => {
                        format!("\"{}\"", ident.value)
                    }
                    Some(ident) => super::fold(ident),
                    None => part.to_string(),
                })
                .collect();
            let mut text = words.join(".");
            if !modifiers.is_empty() {
                text = format!("{text}({})", modifiers.join(","));
            }
            let is_folded = |part: &ast::ObjectNamePart| {
                part.as_ident().is_none_or(|ident| ident.quote_style.is_none() || ident.value == ident.value.to_lowercase())
            };
            let built_in = if name.0.iter().all(is_folded) { SqlType::parse_name(&text) } else { Err(no_type(&text)) };
            match built_in {
                Err(error) if error.code() == SqlState::UndefinedObject => {
                    let Some(found) = find_type(name, context)? else { return Err(no_type(&words.join("."))) };
                    if modifiers.is_empty() {
                        return Ok(found);
                    }
                    let message = format!("type modifier is not allowed for type \"{}\"", words.join("."));
                    Err(SqlError::new(SqlState::SyntaxError, message))
                }
                known => known,
            }
        }
        // The parser knows names of types that PostgreSQL does not.
        other => {
            let text = other.to_string();
            SqlType::parse_name(&text).or_else(|error| {
                let name = ast::ObjectName::from(vec![ast::Ident::new(text.to_ascii_lowercase())]);
                find_type(&name, context)?.ok_or(error)
            })
        }
    }
}

fn no_type(name: &str) -> SqlError {
    SqlError::new(SqlState::UndefinedObject, format!("type \"{name}\" does not exist"))
}

/// A user-defined type, through the search path unless a schema is given.
///
/// # Errors
/// 3F000 when there is no such schema.
pub(crate) fn find_type(name: &ast::ObjectName, context: &PlanContext<'_>) -> SqlResult<Option<SqlType>> {
    let catalog = context.catalog;
    let (schema, name) = qualified_name(context, name)?;
    let found = match &schema {
        _ if let Some(oid) = catalog::descriptor::read_stored_type_name(schema.as_deref(), &name) => {
            catalog.type_by_oid(oid, -1)
        }
        Some(schema) => {
            let found = catalog.schema(context.database, schema).ok_or_else(|| {
                SqlError::new(SqlState::InvalidSchemaName, format!("schema \"{schema}\" does not exist"))
            })?;
            catalog.type_or_rows_named(found.id, &name)
        }
        None => {
            let schemas = catalog.search_schemas(context.database, context.search_path, context.user);
            let mut named = schemas.into_iter().filter_map(|schema| catalog.type_or_rows_named(schema, &name));
            let first = named.next();
            // In stored text the one that was meant, whatever comes before it by now.
            let is_meant = |ty: &SqlType| {
                context.depends_on.is_none_or(|ids| ty.user_type().is_some_and(|id| ids.contains(&id)))
            };
            first.filter(is_meant).or_else(|| named.find(is_meant)).or(first)
        }
    };
    NameKind::Type.note(context, schema.as_deref(), &name);
    if let Some(made) = found.and_then(|ty| ty.user_type()) {
        context.notes.uses(made);
    }
    Ok(found)
}

/// What values of a type are made of: of arrays and ranges, what these are over.
pub(crate) fn innermost(ty: SqlType) -> SqlType {
    match (ty.element(), ty.range_type()) {
        (Some(element), _) => innermost(element),
        (None, Some(of)) => innermost(of.subtype()),
        (None, None) => ty,
    }
}

/// Whether values of a type hold oids that their texts give the names of.
fn holds_oids(ty: SqlType) -> bool {
    let inner = innermost(ty.base());
    if inner != ty {
        return holds_oids(inner);
    }
    ty.is_reg() || ty.row_type().is_some_and(|row| row.fields.iter().any(|(_, field)| holds_oids(*field)))
}

/// Whether converting between the two gives the same result whatever the session's settings.
fn cast_is_immutable(from: &SqlType, to: &SqlType) -> bool {
    let depends = |ty: &SqlType| {
        ty.is_reg() || matches!(ty, SqlType::TimestampTz(_) | SqlType::TimeTz(_) | SqlType::Record(_) | SqlType::Composite(_) | SqlType::Enum(_))
    };
    let temporal = |ty: &SqlType| matches!(ty, SqlType::Date | SqlType::Timestamp(_) | SqlType::Time(_) | SqlType::Interval);
    let base = |ty: &SqlType| innermost(*ty);
    let (from, to) = (&base(from), &base(to));
    !depends(from) && !depends(to) && !(from.is_string() && temporal(to)) && !(temporal(from) && to.is_string())
}

impl Binder<'_> {
    /// As [`bind_type`]; what is being bound depends on the type.
    pub(super) fn named_type(&mut self, name: &ast::DataType) -> SqlResult<SqlType> {
        let ty = bind_type(name, self.context)?;
        self.depends_on.extend(ty.user_type());
        Ok(ty)
    }

    /// Gives an undetermined literal or parameter its type; leaves anything else alone.
    pub(crate) fn settle(&mut self, expr: Expr, ty: SqlType, context: CastContext) -> SqlResult<Expr> {
        let ty = ty.base();
        match expr {
            Expr::Const(Datum::Null, SqlType::Unknown) => Ok(Expr::Const(Datum::Null, ty)),
            Expr::Const(Datum::Text(text), SqlType::Unknown) => {
                if matches!(ty, SqlType::Unknown | SqlType::Any) {
                    return Ok(Expr::Const(Datum::Text(text), ty));
                }
                if ty == SqlType::RegClass {
                    if let Some(oid) = self.relation_oid(&text)? {
                        return Ok(Expr::Const(Datum::Int(oid), ty));
                    }
                }
                if ty == SqlType::RECORD {
                    return Err(SqlError::not_supported("input of anonymous composite types is not implemented"));
                }
                if ty.row_type().is_none() && ty.is_pseudo() && ty != SqlType::Void {
                    return Err(SqlError::not_supported(format!("input of type {} is not supported", ty.base_name())));
                }
                let value = parse_text(&ty.without_typmod(), &text, self.context.formatting)?;
                if holds_oids(ty) {
                    self.context.notes.holds_oids.set(true);
                }
                if depends_on_now(&ty, &text) {
                    self.context.notes.reads_clock.set(true);
                }
                let value = if ty.typmod() == -1 { value } else { fit_modifier(value, &ty, context)? };
                Ok(Expr::Const(value, ty))
            }
            Expr::Param(number, SqlType::Unknown) => {
                let base = ty.without_typmod();
                let known = match self.params[number] {
                    Some(known) => known,
                    None => {
                        self.params[number] = Some(base);
                        base
                    }
                };
                let param = Expr::Param(number, known.base());
                if known.base() == ty { Ok(param) } else { self.coerce(param, ty, context) }
            }
            // An array of undetermined elements follows the wanted element type.
            Expr::Array { elements, ty: SqlType::Unknown } => {
                let element = ty.element().unwrap_or(SqlType::Text);
                let elements = elements
                    .into_iter()
                    .map(|it| {
                        let nested = matches!(it, Expr::Array { .. });
                        self.coerce(it, if nested { ty } else { element }, context)
                    })
                    .collect::<SqlResult<Vec<_>>>()?;
                let ty = if ty.is_array() { ty } else { element.array_of() };
                Ok(self.fold_array(Expr::Array { elements, ty }))
            }
            other => Ok(other),
        }
    }

    /// What nobody determined is text.
    pub(crate) fn settle_text(&mut self, expr: Expr) -> SqlResult<Expr> {
        if expr.ty() == SqlType::Unknown { self.settle(expr, SqlType::Text, CastContext::Implicit) } else { Ok(expr) }
    }

    /// `expr` as a `to`. `context` says what is permitted, and what happens to values that are too long.
    ///
    /// # Errors
    /// 42846 when there is no cast in this context.
    pub(crate) fn coerce(&mut self, expr: Expr, to: SqlType, context: CastContext) -> SqlResult<Expr> {
        let given = expr.ty();
        if to.is_domain() {
            return if given == to { Ok(expr) } else { self.to_domain(expr, to, context) };
        }
        let expr = as_base(expr);
        if given.is_domain() && self.keeps_form && context == CastContext::Explicit && expr.ty() == to {
            return Ok(Expr::Cast { expr: Box::new(expr), to, context });
        }
        let expr = self.settle(expr, to, context)?;
        let from = expr.ty();
        if from == to || to == SqlType::Any {
            return Ok(expr);
        }
        match (from, to) {
            (SqlType::Record(_), SqlType::Composite(of)) => return self.to_composite(expr, of, context),
            // A record keeps what is known of it.
            (SqlType::Record(_) | SqlType::Composite(_), SqlType::Record(_)) => return Ok(expr),
            _ => {}
        }
        if from.same_base(&to) && to.typmod() == -1 {
            // The value stays what it is; only the promise about its length is dropped.
            return Ok(expr);
        }
        let permitted = from.same_base(&to) || can_cast(&from, &to).is_some_and(|least| allows(context, least));
        if !permitted {
            return Err(SqlError::new(
                SqlState::CannotCoerce,
                format!("cannot cast type {} to {}", from.base_name(), to.base_name()),
            ));
        }
        if let (Expr::Const(value, _), false) = (&expr, self.keeps_form) {
            if cast_is_immutable(&from, &to) {
                if let Ok(value) = cast(value.clone(), &from, &to, context, self.context.formatting) {
                    return Ok(Expr::Const(value, to));
                }
            }
        }
        Ok(Expr::Cast { expr: Box::new(expr), to, context })
    }

    /// An array of constants as a constant.
    pub(super) fn fold_array(&self, array: Expr) -> Expr {
        if self.keeps_form { array } else { fold_array(array) }
    }

    /// The one type of several expressions: PostgreSQL's documentation, section 10.5. `what` is named in the error.
    pub(crate) fn common_type(&self, exprs: &[Expr], what: &str) -> SqlResult<SqlType> {
        let types = exprs.iter().map(|expr| self.declared_type(expr).unwrap_or(SqlType::Unknown));
        let types: Vec<SqlType> = types.collect();
        common_type(&types, what)
    }

    /// Makes all of one type.
    pub(crate) fn unify(&mut self, exprs: Vec<Expr>, what: &str) -> SqlResult<(Vec<Expr>, SqlType)> {
        let ty = self.common_type(&exprs, what)?;
        // The shown type of what is made alike has no length.
        let ty = if self.keeps_form { ty.without_typmod() } else { ty };
        let exprs =
            exprs.into_iter().map(|expr| self.coerce(expr, ty, CastContext::Implicit)).collect::<SqlResult<_>>()?;
        Ok((exprs, ty))
    }

    /// The type that decides about operators and functions; `None` for what is still undetermined.
    pub(crate) fn known_type(&self, expr: &Expr) -> Option<SqlType> {
        self.declared_type(expr).map(SqlType::base)
    }

    fn declared_type(&self, expr: &Expr) -> Option<SqlType> {
        match expr {
            Expr::Param(number, SqlType::Unknown) => self.params[*number],
            other => Some(other.ty()).filter(|ty| *ty != SqlType::Unknown),
        }
    }

    /// A condition: boolean, or an error that names the clause.
    pub(crate) fn condition(&mut self, expr: Expr, clause: &str) -> SqlResult<Expr> {
        let expr = as_base(self.settle(expr, SqlType::Bool, CastContext::Implicit)?);
        if expr.ty() == SqlType::Bool {
            return Ok(expr);
        }
        Err(SqlError::new(
            SqlState::DatatypeMismatch,
            format!("argument of {clause} must be type boolean, not type {}", expr.ty().base_name()),
        ))
    }

    /// An assignment to a column.
    ///
    /// # Errors
    /// 42804 in PostgreSQL's words.
    pub(crate) fn assign(&mut self, expr: Expr, column: &str, to: SqlType) -> SqlResult<Expr> {
        self.assign_as(expr, to, &|from| {
            let (to, from) = (to.base_name(), from.base_name());
            format!("column \"{column}\" is of type {to} but expression is of type {from}")
        })
    }

    /// As [`Binder::assign`]; the message of the error depends on the type of the value.
    pub(super) fn assign_as(&mut self, expr: Expr, to: SqlType, mismatch: &dyn Fn(SqlType) -> String) -> SqlResult<Expr> {
        let expr = if to.is_domain() { expr } else { self.settle(expr, to, CastContext::Assignment)? };
        let from = expr.ty();
        let (bare, wanted) = (from.base(), to.base());
        let is_open = to.is_domain() && from == SqlType::Unknown;
        let casts = || can_cast(&bare, &wanted).is_some_and(|least| allows(CastContext::Assignment, least));
        if is_open || bare.same_base(&wanted) || casts() {
            return self.coerce(expr, to, CastContext::Assignment);
        }
        Err(SqlError::new(SqlState::DatatypeMismatch, mismatch(from)).with_hint("You will need to rewrite or cast the expression."))
    }
}

/// Whether a cast that needs at least `least` may be used in `context`.
pub(crate) fn allows(context: CastContext, least: CastContext) -> bool {
    let rank = |context: CastContext| match context {
        CastContext::Implicit => 0,
        CastContext::Assignment => 1,
        CastContext::Explicit => 2,
    };
    rank(context) >= rank(least)
}

/// The type that UNION, CASE, VALUES and the like settle on.
pub(crate) fn common_type(types: &[SqlType], what: &str) -> SqlResult<SqlType> {
    // Of one domain alone they stay that; what is undetermined is not.
    if let Some(domain) = types.first().filter(|first| first.is_domain() && types.iter().all(|ty| ty == *first)) {
        return Ok(*domain);
    }
    let mut known = types.iter().copied().filter(|ty| *ty != SqlType::Unknown).map(SqlType::base);
    let Some(mut chosen) = known.next() else { return Ok(SqlType::Text) };
    // What is undetermined becomes a value of the type of any length.
    if types.contains(&SqlType::Unknown) {
        chosen = chosen.without_typmod();
    }
    for ty in known {
        if ty == chosen {
            continue;
        }
        if ty.same_base(&chosen) {
            chosen = chosen.without_typmod();
            continue;
        }
        if ty.category() != chosen.category() {
            return Err(SqlError::new(
                SqlState::DatatypeMismatch,
                format!("{what} types {} and {} cannot be matched", chosen.base_name(), ty.base_name()),
            ));
        }
        let casts = |from: &SqlType, to: &SqlType| matches!(can_cast(from, to), Some(CastContext::Implicit));
        if !chosen.is_preferred() && casts(&chosen, &ty) && !casts(&ty, &chosen) {
            chosen = ty.without_typmod();
        } else if casts(&ty, &chosen) {
            chosen = chosen.without_typmod();
        } else {
            return Err(SqlError::new(
                SqlState::CannotCoerce,
                format!("{what} could not convert type {} to {}", ty.base_name(), chosen.base_name()),
            ));
        }
    }
    Ok(chosen)
}

/// An array of constants is a constant.
fn fold_array(expr: Expr) -> Expr {
    let Expr::Array { elements, ty } = &expr else { return expr };
    let Some(element) = ty.element() else { return expr };
    let mut values = Vec::with_capacity(elements.len());
    for item in elements {
        match item {
            Expr::Const(value, given) if given.same_base(&element) => values.push(value.clone()),
            _ => return expr,
        }
    }
    Expr::Const(Datum::Array(std::sync::Arc::new(types::Array::from_elements(values))), *ty)
}
