//! CREATE TYPE … AS RANGE.

use sqlparser::ast;
use types::{SqlError, SqlResult, SqlState, SqlType};

use super::{ddl, domains::check_collation, new_home};
use crate::{
    PlanContext,
    bind::{bind_type, fold, name_parts},
    parse::own::RangeAttribute,
    statement::{CreateRange, Ddl, PreparedPlan},
};

fn wrong(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::SyntaxError, message)
}

pub(super) fn create(
    name: &ast::ObjectName,
    attributes: &[(ast::Ident, RangeAttribute)],
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let (home, name) = new_home(context, name, false)?;
    let (mut subtype, mut names) = (None, Vec::<(String, &ast::ObjectName)>::new());
    for (key, value) in attributes {
        let key = fold(key);
        let is_known = matches!(
            key.as_str(),
            "subtype" | "subtype_opclass" | "collation" | "canonical" | "subtype_diff" | "multirange_type_name"
        );
        if !is_known {
            return Err(wrong(format!("type attribute \"{key}\" not recognized")));
        }
        match value {
            RangeAttribute::Type(_) if subtype.is_some() => return Err(wrong("conflicting or redundant options")),
            RangeAttribute::Type(ty) => subtype = Some(bind_type(ty, context)?),
            RangeAttribute::Name(_) if names.iter().any(|(known, _)| *known == key) => {
                return Err(wrong("conflicting or redundant options"));
            }
            RangeAttribute::Name(value) => names.push((key, value)),
        }
    }
    let given = |key: &str| names.iter().find(|(known, _)| known == key).map(|(_, value)| *value);
    let subtype = subtype.ok_or_else(|| wrong("type attribute \"subtype\" is required"))?.without_typmod();
    check_subtype(subtype)?;
    if given("canonical").is_some() {
        return Err(SqlError::not_supported("range types with a canonical function are not supported"));
    }
    if let Some(opclass) = given("subtype_opclass") {
        let parts = name_parts(opclass)?;
        if !parts.last().is_some_and(|name| catalog::is_operator_class(name)) {
            let message = format!("operator class \"{}\" does not exist for access method \"btree\"", parts.join("."));
            return Err(SqlError::new(SqlState::UndefinedObject, message));
        }
    }
    if let Some(collation) = given("collation") {
        if !subtype.is_string() {
            let message = "range collation specified but subtype does not support collation";
            return Err(SqlError::new(SqlState::WrongObjectType, message));
        }
        check_collation(collation, subtype)?;
    }
    let subtype_diff = given("subtype_diff").map(|function| difference(function, subtype)).transpose()?;
    let multirange_name = match given("multirange_type_name") {
        None => None,
        Some(other) => {
            // A name that the grammar has for a built-in type means that.
            if let [ast::ObjectNamePart::Identifier(word)] = &other.0[..]
                && word.quote_style.is_none()
                && let Some(built_in) = SqlType::lookup(&word.value).map(|ty| ty.internal_name())
                && built_in != fold(word)
            {
                let message = format!("type \"{built_in}\" already exists");
                return Err(SqlError::new(SqlState::DuplicateObject, message));
            }
            let (other_home, other) = new_home(context, other, false)?;
            if other_home != home {
                return Err(SqlError::not_supported("a range type and its multirange type must be in one schema"));
            }
            Some(other)
        }
    };
    let create = CreateRange { home, name, subtype, multirange_name, subtype_diff };
    Ok(ddl(Ddl::CreateRange(create), "CREATE TYPE", context))
}

/// Ranges over ranges are nested at most so deep: the quotes in their text double with every level.
const DEPTH_MAX: usize = 8;

/// How many range types are within one another.
fn depth(ty: SqlType) -> usize {
    match (ty.element(), ty.range_type()) {
        (Some(element), _) => depth(element),
        (None, Some(of)) => 1 + depth(of.subtype()),
        (None, None) => 0,
    }
}

fn check_subtype(subtype: SqlType) -> SqlResult<()> {
    if depth(subtype) >= DEPTH_MAX {
        let message = format!("ranges over ranges cannot be nested more than {DEPTH_MAX} levels deep");
        return Err(SqlError::new(SqlState::StatementTooComplex, message));
    }
    let shown = subtype.base_name();
    let innermost = subtype.element().unwrap_or(subtype);
    if subtype.is_domain() || matches!(innermost, SqlType::Composite(_)) {
        return Err(SqlError::not_supported(format!("ranges over type {shown} are not supported")));
    }
    if innermost.is_pseudo() {
        return Err(SqlError::new(SqlState::DatatypeMismatch, format!("range subtype cannot be {shown}")));
    }
    if !subtype.is_ordered() {
        let message = format!("data type {shown} has no default operator class for access method \"btree\"");
        return Err(SqlError::new(SqlState::UndefinedObject, message).with_hint(
            "You must specify an operator class for the range type or define a default operator class for the subtype.",
        ));
    }
    Ok(())
}

/// The function that tells how far apart two values of the subtype are.
fn difference(function: &ast::ObjectName, subtype: SqlType) -> SqlResult<u32> {
    let parts = name_parts(function)?;
    let name = parts.join(".");
    let bare = parts.last().map_or("", String::as_str);
    let found = builtins::resolve(builtins::functions(bare), &[Some(subtype), Some(subtype)]);
    let Ok(found) = found else {
        let shown = subtype.base_name();
        let message = format!("function {name}({shown}, {shown}) does not exist");
        return Err(SqlError::new(SqlState::UndefinedFunction, message));
    };
    if found.ret != SqlType::Float8 {
        let message = format!("range subtype diff function {name} must return type double precision");
        return Err(SqlError::new(SqlState::InvalidObjectDefinition, message));
    }
    Ok(found.chosen.oid)
}
