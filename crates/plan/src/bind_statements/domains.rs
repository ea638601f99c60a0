//! CREATE and ALTER DOMAIN.

use sqlparser::ast;
use types::{SqlError, SqlResult, SqlState, SqlType};

use super::{ddl, new_home, types::{altered, stored_expr}};
use crate::{
    PlanContext,
    bind::{bind_type, fold, name_parts},
    parse::own::DomainChange,
    statement::{AlterDomain, CreateDomain, Ddl, DomainCheckSpec, PreparedPlan},
};

fn syntax(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::SyntaxError, message)
}

fn impossible(option: &ast::ColumnOption) -> SqlError {
    match option {
        ast::ColumnOption::Unique(_) => syntax("unique constraints not possible for domains"),
        ast::ColumnOption::PrimaryKey(_) => syntax("primary key constraints not possible for domains"),
        ast::ColumnOption::ForeignKey(_) => syntax("foreign key constraints not possible for domains"),
        ast::ColumnOption::Generated { .. } => SqlError::not_supported("specifying GENERATED not supported for domains"),
        other => syntax(format!("syntax error at or near \"{other}\"")),
    }
}

fn check(option: &ast::ColumnOptionDef, context: &PlanContext<'_>) -> SqlResult<DomainCheckSpec> {
    let ast::ColumnOption::Check(check) = &option.option else { return Err(impossible(&option.option)) };
    let name = option.name.as_ref().or(check.name.as_ref()).map(fold);
    Ok(DomainCheckSpec { name, expr: stored_expr(&check.expr, None, context), not_valid: false })
}

/// The type that a domain may be over.
fn over(ty: &ast::DataType, context: &PlanContext<'_>) -> SqlResult<SqlType> {
    let found = bind_type(ty, context)?;
    if found.is_pseudo() {
        let message = format!("\"{}\" is not a valid base type for a domain", found.base_name());
        return Err(SqlError::new(SqlState::DatatypeMismatch, message));
    }
    Ok(found)
}

pub(super) fn create(
    name: &ast::ObjectName,
    ty: &ast::DataType,
    options: &[ast::ColumnOptionDef],
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let (home, name) = new_home(context, name, false)?;
    let over = over(ty, context)?;
    let mut made = CreateDomain { home, name, over, not_null: false, default: None, checks: Vec::new() };
    let mut nullable = None;
    for option in options {
        match &option.option {
            ast::ColumnOption::Null | ast::ColumnOption::NotNull => {
                let is_null = matches!(option.option, ast::ColumnOption::Null);
                if nullable.is_some_and(|known| known != is_null) {
                    return Err(syntax("conflicting NULL/NOT NULL constraints"));
                }
                nullable = Some(is_null);
            }
            ast::ColumnOption::Default(expr) => {
                if made.default.replace(stored_expr(expr, Some(over), context)).is_some() {
                    return Err(syntax("multiple default expressions"));
                }
            }
            ast::ColumnOption::Collation(name) => check_collation(name, over)?,
            _ => made.checks.push(check(option, context)?),
        }
    }
    made.not_null = nullable == Some(false);
    Ok(ddl(Ddl::CreateDomain(made), "CREATE DOMAIN", context))
}

/// There is one collation, by several names.
pub(super) fn check_collation(name: &ast::ObjectName, over: SqlType) -> SqlResult<()> {
    let name = name_parts(name)?.pop().unwrap_or_default();
    let base = over.base();
    if !base.element().unwrap_or(base).is_string() {
        let message = format!("collations are not supported by type {}", over.base_name());
        return Err(SqlError::new(SqlState::DatatypeMismatch, message));
    }
    match name.as_str() {
        "C" | "POSIX" | "default" | "ucs_basic" | "C.UTF-8" | "c" | "posix" => Ok(()),
        _ => {
            let message = format!("collation \"{name}\" for encoding \"UTF8\" does not exist");
            Err(SqlError::new(SqlState::UndefinedObject, message))
        }
    }
}

/// The oid of the domain that ALTER is about.
pub(super) fn domain_id(name: &ast::ObjectName, context: &PlanContext<'_>) -> SqlResult<u32> {
    match altered(name, context)? {
        SqlType::Domain(domain) => Ok(domain.oid()),
        other => Err(SqlError::new(SqlState::WrongObjectType, format!("{} is not a domain", other.base_name()))),
    }
}

pub(super) fn alter(name: &ast::ObjectName, change: &DomainChange, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    let id = domain_id(name, context)?;
    let change = match change {
        DomainChange::Default(expr) => {
            let ty = altered(name, context)?;
            AlterDomain::SetDefault(expr.as_ref().map(|expr| stored_expr(expr, Some(ty), context)))
        }
        DomainChange::NotNull(yes) => AlterDomain::SetNotNull(*yes),
        DomainChange::Add { option, not_valid } => match &option.option {
            ast::ColumnOption::NotNull | ast::ColumnOption::Null | ast::ColumnOption::Default(_) => {
                return Err(syntax(format!("syntax error at or near \"{}\"", option.option)));
            }
            _ => AlterDomain::AddCheck(DomainCheckSpec { not_valid: *not_valid, ..check(option, context)? }),
        },
        DomainChange::Validate(name) => AlterDomain::ValidateConstraint(fold(name)),
        DomainChange::Drop { name, if_exists } => {
            AlterDomain::DropConstraint { name: fold(name), if_exists: *if_exists }
        }
        DomainChange::RenameConstraint { from, to } => {
            AlterDomain::RenameConstraint { from: fold(from), to: fold(to) }
        }
    };
    Ok(ddl(Ddl::AlterDomain { id, change }, "ALTER DOMAIN", context))
}
