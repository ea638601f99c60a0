//! User-defined types, and how stored text names them.

use sqlparser::ast;
use types::{CompositeType, RangeType, SqlError, SqlResult, SqlState, SqlType};

use super::{ddl, new_home, own};
use crate::{
    PlanContext,
    bind::{Binder, find_type, fold, name_parts},
    parse::{
        own::{Change, EnumChange, Side},
        with_constant_literals, with_stored_relations, with_stored_types,
    },
    statement::{AlterType, CommentOn, Ddl, PreparedPlan},
};

/// A query or expression as the catalog keeps it: user-defined types, and relations where they are values, are named by
/// their oids, so that they can be renamed and moved.
pub(super) fn stored_text(node: &impl ToString, context: &PlanContext<'_>) -> String {
    let resolve = |name: &ast::ObjectName| {
        let is_built_in = matches!(&name.0[..], [part] if SqlType::parse_name(&part.to_string()).is_ok());
        if is_built_in { None } else { find_type(name, context).ok()?.map(|ty| ty.oid()) }
    };
    let relation = |name: &str| {
        let id = Binder::new(context, None).relation_oid(name).ok().flatten()?;
        u32::try_from(id).ok().filter(|id| *id != 0)
    };
    with_stored_relations(&with_stored_types(&node.to_string(), &resolve), &relation)
}

/// An expression as the catalog keeps it, whose literals mean what they mean now. `ty`: what its value is assigned to.
pub(super) fn stored_expr(node: &impl ToString, ty: Option<SqlType>, context: &PlanContext<'_>) -> String {
    with_constant_literals(&stored_text(node, context), ty, context.formatting)
}

pub(super) fn create_enum(name: &ast::ObjectName, labels: &[String], context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    let (home, name) = new_home(context, name, false)?;
    Ok(ddl(Ddl::CreateEnum { home, name, labels: labels.to_vec() }, "CREATE TYPE", context))
}

fn shown(name: &ast::ObjectName) -> SqlResult<String> {
    Ok(name_parts(name)?.join("."))
}

/// A user-defined type, not the arrays of one; `None` when there is none.
fn made_type(name: &ast::ObjectName, context: &PlanContext<'_>) -> SqlResult<Option<SqlType>> {
    let text = shown(name)?;
    match SqlType::parse_name(&text) {
        Ok(built_in) => Ok(Some(built_in)),
        Err(_) => find_type(name, context),
    }
}

/// The type that ALTER is about.
pub(super) fn altered(name: &ast::ObjectName, context: &PlanContext<'_>) -> SqlResult<SqlType> {
    made_type(name, context)?.ok_or_else(|| {
        let message = format!("type \"{}\" does not exist", name_parts(name).unwrap_or_default().join("."));
        SqlError::new(SqlState::UndefinedObject, message)
    })
}

pub(super) fn alter_enum(
    name: &ast::ObjectName,
    change: &EnumChange,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let ty = altered(name, context)?;
    let SqlType::Enum(of) = ty else {
        return Err(SqlError::new(SqlState::WrongObjectType, format!("{} is not an enum", ty.base_name())));
    };
    let change = match change.clone() {
        EnumChange::Add { label, if_not_exists, place } => {
            let (before, after) = match place {
                Some((Side::Before, other)) => (Some(other), None),
                Some((Side::After, other)) => (None, Some(other)),
                None => (None, None),
            };
            AlterType::AddValue { label, if_not_exists, before, after }
        }
        EnumChange::Rename { from, to } => AlterType::RenameValue { from, to },
    };
    Ok(ddl(Ddl::AlterType { id: of.oid(), change }, "ALTER TYPE", context))
}

pub(super) fn alter(
    tag: &'static str,
    name: &ast::ObjectName,
    change: &Change,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let ty = altered(name, context)?;
    let id = match (ty, ty.user_type()) {
        (SqlType::Enum(_) | SqlType::Domain(_) | SqlType::Range(_), Some(id)) => id,
        (SqlType::Composite(of), Some(_)) if of.relation().is_some() => return Err(is_row_type(of)),
        (SqlType::Composite(of), Some(_)) => of.oid(),
        (SqlType::MultiRange(_), Some(_)) => {
            let message = format!("multirange type {} cannot be altered apart from its range type", ty.base_name());
            return Err(SqlError::not_supported(message));
        }
        (_, Some(_)) => {
            let element = ty.element().unwrap_or(ty).base_name();
            let message = format!("cannot alter array type {}", ty.base_name());
            let hint = format!("You can alter type {element}, which will alter the array type as well.");
            return Err(SqlError::new(SqlState::WrongObjectType, message).with_hint(hint));
        }
        _ => return Err(SqlError::not_supported(format!("type {} cannot be altered", ty.base_name()))),
    };
    let change = match change {
        Change::Rename(to) => AlterType::RenameTo(fold(to)),
        Change::Schema(to) => AlterType::SetSchema(own::schema(to, context)?),
        Change::Owner(to) => AlterType::OwnerTo(own::role(to, context)?),
        Change::View(_) => return Err(own::of_views()),
        Change::Accepted => {
            context.notes.needs.always(catalog::privilege::Need::Owner(id));
            return Ok(ddl(Ddl::Accepted, tag, context));
        }
    };
    Ok(ddl(Ddl::AlterType { id, change }, tag, context))
}

/// ALTER TYPE of the row type of a table or view.
fn is_row_type(of: CompositeType) -> SqlError {
    let message = format!("{} is a table's row type", of.shown());
    SqlError::new(SqlState::WrongObjectType, message).with_hint("Use ALTER TABLE instead.")
}

/// DROP TYPE, or DROP DOMAIN, which takes domains alone.
pub(super) fn drop(
    tag: &'static str,
    if_exists: bool,
    names: &[ast::ObjectName],
    cascade: bool,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let refuse = |message: String| SqlError::new(SqlState::DependentObjectsStillExist, message);
    let (mut ids, mut missing) = (Vec::new(), Vec::new());
    for name in names {
        let found = match made_type(name, context) {
            Err(error) if if_exists && error.code() == SqlState::InvalidSchemaName => {
                let name = name_parts(name)?.into_iter().next().unwrap_or_default();
                missing.push(format!("schema \"{name}\""));
                continue;
            }
            found => found?,
        };
        match found {
            None if if_exists => missing.push(format!("type \"{}\"", shown(name)?)),
            None => {
                let message = format!("type \"{}\" does not exist", shown(name)?);
                return Err(SqlError::new(SqlState::UndefinedObject, message));
            }
            Some(ty) if tag == "DROP DOMAIN" && !matches!(ty, SqlType::Domain(_)) => {
                let message = format!("\"{}\" is not a domain", shown(name)?);
                return Err(SqlError::new(SqlState::WrongObjectType, message));
            }
            Some(SqlType::Enum(of)) => ids.push(of.oid()),
            Some(SqlType::Domain(of)) => ids.push(of.oid()),
            Some(SqlType::Range(RangeType::Made(of))) => ids.push(of.oid()),
            Some(SqlType::Composite(of)) => match of.relation().and_then(|id| context.catalog.relation_by_id(id)) {
                None => ids.push(of.oid()),
                Some(relation) => {
                    let (what, name) = (relation.kind(), of.shown());
                    return Err(refuse(format!("cannot drop type {name} because {what} {name} requires it"))
                        .with_hint(format!("You can drop {what} {name} instead.")));
                }
            },
            Some(ty) => {
                let name = ty.base_name();
                let needed_by = match ty {
                    SqlType::MultiRange(of) => SqlType::Range(of),
                    other => other.element().unwrap_or(other),
                };
                let element = needed_by.base_name();
                return Err(match ty.user_type() {
                    Some(_) => refuse(format!("cannot drop type {name} because type {element} requires it"))
                        .with_hint(format!("You can drop type {element} instead.")),
                    None => refuse(format!("cannot drop type {name} because it is required by the database system")),
                });
            }
        }
    }
    Ok(ddl(Ddl::DropTypes { ids, missing, cascade }, tag, context))
}

/// What a comment is on; nothing where the type is built in.
pub(super) fn comment_on(name: &ast::ObjectName, context: &PlanContext<'_>) -> SqlResult<Option<CommentOn>> {
    let ty = altered(name, context)?;
    if matches!(ty, SqlType::MultiRange(RangeType::Made(_))) {
        return Err(SqlError::not_supported(format!("comments on multirange type {} are not supported", ty.base_name())));
    }
    match ty {
        SqlType::Composite(of) if of.relation().is_some() => {
            Err(SqlError::not_supported(format!("comments on the row type {} are not supported", of.shown())))
        }
        _ => Ok(ty.user_type().map(CommentOn::Type)),
    }
}
