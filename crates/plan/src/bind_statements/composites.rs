//! CREATE TYPE … AS, and ALTER TYPE of the attributes of a composite type.

use catalog::Type;
use sqlparser::ast;
use types::{SqlError, SqlResult, SqlState, SqlType};

use super::{create::stored_type, ddl, domains::check_collation, new_home};
use crate::{
    PlanContext,
    bind::{bind_type, check_name, find_type, fold, name_parts, no_relation},
    parse::own::{AttributeChange, AttributeText},
    statement::{AlterComposite, AttributeSpec, CommentOn, Ddl, PreparedPlan},
};

fn attribute(text: &AttributeText, context: &PlanContext<'_>) -> SqlResult<AttributeSpec> {
    check_name(&text.name)?;
    let name = fold(&text.name);
    let ty = stored_type(&name, bind_type(&text.ty, context)?)?;
    if let Some(collation) = &text.collation {
        check_collation(collation, ty)?;
    }
    Ok(AttributeSpec { name, ty })
}

pub(super) fn create(name: &ast::ObjectName, list: &[AttributeText], context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    let (home, name) = new_home(context, name, false)?;
    let mut attributes: Vec<AttributeSpec> = Vec::with_capacity(list.len());
    for text in list {
        let made = attribute(text, context)?;
        if attributes.iter().any(|known| known.name == made.name) {
            let message = format!("column \"{}\" specified more than once", made.name);
            return Err(SqlError::new(SqlState::DuplicateColumn, message));
        }
        attributes.push(made);
    }
    Ok(ddl(Ddl::CreateComposite { home, name, attributes }, "CREATE TYPE", context))
}

/// A composite type that CREATE TYPE made; `None` where the name means nothing, or something else.
fn made<'c>(name: &ast::ObjectName, context: &PlanContext<'c>) -> SqlResult<Option<&'c Type>> {
    let Some(SqlType::Composite(of)) = find_type(name, context)? else { return Ok(None) };
    Ok(context.catalog.user_type(of.oid()).map(|it| &*it.descriptor))
}

pub(super) fn alter(name: &ast::ObjectName, changes: &[AttributeChange], context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    let Some(ty) = made(name, context)? else {
        let parts = name_parts(name)?;
        let shown = parts.join(".");
        return Err(match find_type(name, context)? {
            Some(SqlType::Composite(_)) => {
                let message = format!("\"{}\" is not a composite type", parts.last().map_or("", String::as_str));
                SqlError::new(SqlState::WrongObjectType, message)
            }
            _ => no_relation(None, &shown),
        });
    };
    let changes = changes.iter().map(|change| {
        Ok(match change {
            AttributeChange::Add(text) => AlterComposite::Add(attribute(text, context)?),
            AttributeChange::Drop { name, if_exists, cascade } => {
                AlterComposite::Drop { name: fold(name), if_exists: *if_exists, cascade: *cascade }
            }
            AttributeChange::SetType(text) => AlterComposite::SetType(attribute(text, context)?),
            AttributeChange::Rename { from, to } => {
                check_name(to)?;
                AlterComposite::Rename { from: fold(from), to: fold(to) }
            }
        })
    });
    let changes = changes.collect::<SqlResult<_>>()?;
    Ok(ddl(Ddl::AlterComposite { id: ty.id, changes }, "ALTER TYPE", context))
}

/// The attribute that COMMENT ON COLUMN is about; `None` where the name is of no composite type.
pub(super) fn commented(name: &ast::ObjectName, attribute: &str, context: &PlanContext<'_>) -> SqlResult<Option<CommentOn>> {
    let Some(ty) = made(name, context)? else { return Ok(None) };
    let Some(composite) = ty.composite() else { return Ok(None) };
    let at = composite.position(attribute).ok_or_else(|| {
        let message = format!("column \"{attribute}\" of relation \"{}\" does not exist", ty.name);
        SqlError::new(SqlState::UndefinedColumn, message)
    })?;
    Ok(Some(CommentOn::Attribute { ty: ty.id, attribute: composite.attributes[at].id }))
}
