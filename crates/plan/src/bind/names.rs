//! What an output column is called when nobody says.

use sqlparser::ast;
use types::SqlType;

use super::fold;

/// The name, and how good it is: a cast's type only names what nothing better does.
fn figure(expr: &ast::Expr) -> (u8, String) {
    use ast::Expr as Ast;
    let named = |name: &str| (2, name.to_owned());
    match expr {
        Ast::Identifier(ident) => (2, fold(ident)),
        Ast::CompoundIdentifier(parts) => (2, parts.last().map(fold).unwrap_or_default()),
        Ast::Nested(inner) => figure(inner),
        Ast::Collate { expr, .. } => figure(expr),
        Ast::CompoundFieldAccess { root, access_chain } => {
            let field = access_chain.iter().rev().find_map(|link| match link {
                ast::AccessExpr::Dot(Ast::Identifier(ident)) => Some((2, fold(ident))),
                _ => None,
            });
            field.unwrap_or_else(|| figure(root))
        }
        Ast::Function(function) => {
            let name = function.name.0.last().and_then(|part| part.as_ident()).map(fold).unwrap_or_default();
            (2, name)
        }
        Ast::Cast { expr, data_type, .. } => {
            let inner = figure(expr);
            if inner.0 > 1 { inner } else { (1, type_name(data_type)) }
        }
        Ast::TypedString(typed) => (1, type_name(&typed.data_type)),
        Ast::Interval(_) => (1, "interval".to_owned()),
        Ast::Case { else_result, .. } => match else_result.as_deref().map(figure) {
            Some((strength, name)) if strength > 1 => (strength, name),
            _ => (1, "case".to_owned()),
        },
        Ast::Exists { negated: false, .. } => named("exists"),
        Ast::Subquery(query) => match query.body.as_ref() {
            // Whatever its column is called, be it for want of a better name.
            ast::SetExpr::Select(select) => match select.projection.first() {
                Some(ast::SelectItem::UnnamedExpr(expr)) => (2, column_name(expr)),
                Some(ast::SelectItem::ExprWithAlias { alias, .. }) => (2, fold(alias)),
                _ => (0, String::new()),
            },
            _ => (0, String::new()),
        },
        Ast::BinaryOp { op: ast::BinaryOperator::Overlaps, .. } => named("overlaps"),
        Ast::Array(_) => named("array"),
        Ast::Tuple(_) => named("row"),
        Ast::AtTimeZone { .. } => named("timezone"),
        Ast::Extract { .. } => named("extract"),
        Ast::Ceil { .. } => named("ceil"),
        Ast::Floor { .. } => named("floor"),
        Ast::Position { .. } => named("position"),
        Ast::Substring { shorthand, .. } => named(if *shorthand { "substr" } else { "substring" }),
        Ast::Overlay { .. } => named("overlay"),
        Ast::Trim { trim_where, .. } => named(match trim_where {
            None | Some(ast::TrimWhereField::Both) => "btrim",
            Some(ast::TrimWhereField::Leading) => "ltrim",
            Some(ast::TrimWhereField::Trailing) => "rtrim",
        }),
        _ => (0, String::new()),
    }
}

fn type_name(name: &ast::DataType) -> String {
    let known = |text: &str| {
        SqlType::parse_name(text).map_or_else(|_| text.to_ascii_lowercase(), |ty| match ty.element() {
            Some(element) if ty.is_array() => element.internal_name(),
            _ => ty.internal_name(),
        })
    };
    match name {
        ast::DataType::Interval { .. } => "interval".to_owned(),
        ast::DataType::Array(
            ast::ArrayElemTypeDef::SquareBracket(element, _)
            | ast::ArrayElemTypeDef::AngleBracket(element)
            | ast::ArrayElemTypeDef::Parenthesis(element)
            | ast::ArrayElemTypeDef::Qualified(element, _),
        ) => type_name(element),
        // A user-defined type is called by the last part of its name.
        ast::DataType::Custom(name, _) => match name.0.last().and_then(ast::ObjectNamePart::as_ident) {
            Some(ident) if ident.quote_style.is_none() => known(&ident.value),
            Some(ident) => ident.value.clone(),
            None => known(&name.to_string()),
        },
        other => known(&other.to_string()),
    }
}

pub(super) fn column_name(expr: &ast::Expr) -> String {
    match figure(expr) {
        (0, _) => "?column?".to_owned(),
        (_, name) => name,
    }
}
