//! Assignment to parts of columns: `SET c.f = v`, `SET a[1].f = v`, `INSERT INTO t (c.f, a[2:3]) …`.
//!
//! A target is a column and steps from it to a part. The column's new value is the old one with that part replaced
//! ([`Expr::Assign`]), part within part; several targets in one column are replaced one after another. INSERT begins with NULL.

use sqlparser::ast;
use types::{CastContext, Datum, SqlError, SqlResult, SqlState, SqlType};

use super::dml::Changed;
use super::domain::as_base;
use super::target::{Target, assigned_twice, check_updatable};
use super::through::is_default;
use super::{Binder, Clause, fold};
use crate::expr::{Expr, Part, PartAssignment};
use crate::logical::{Rel, RelNode};
use crate::parse::targets::TargetStep;
use crate::plan::PlanColumn;
use crate::scope::Scope;

fn mismatch(message: String) -> SqlError {
    SqlError::new(SqlState::DatatypeMismatch, message)
}

/// Binds what is assigned, at the end of the steps.
type Value<'v> = &'v mut dyn FnMut(&mut Binder<'_>) -> SqlResult<Expr>;

/// DEFAULT is for whole columns.
pub(super) fn check_no_default(value: &ast::Expr, steps: &[TargetStep]) -> SqlResult<()> {
    match steps.last().filter(|_| is_default(value)) {
        None => Ok(()),
        Some(TargetStep::Field(_)) => Err(SqlError::not_supported("cannot set a subfield to DEFAULT")),
        Some(TargetStep::Subscripts(_)) => Err(SqlError::not_supported("cannot set an array element to DEFAULT")),
    }
}

impl Binder<'_> {
    /// The value of a column in which the part that the steps lead to is replaced.
    pub(super) fn with_part(
        &mut self,
        container: Expr,
        column: &catalog::Column,
        steps: &[TargetStep],
        scope: &Scope<'_>,
        value: Value<'_>,
    ) -> SqlResult<Expr> {
        self.part(container, column.declared(), (&column.name, &column.name), steps, scope, value)
    }

    /// `names`: of the column, and of what the next step is from.
    fn part(
        &mut self,
        container: Expr,
        declared: SqlType,
        names: (&str, &str),
        steps: &[TargetStep],
        scope: &Scope<'_>,
        value: Value<'_>,
    ) -> SqlResult<Expr> {
        let Some((step, rest)) = steps.split_first() else { return value(self) };
        let ty = declared.base();
        let (column, named) = names;
        let (part, value) = match step {
            TargetStep::Field(field) => {
                let field = fold(field);
                let refuse = |code, why: String| {
                    let message = format!("cannot assign to field \"{field}\" of column \"{column}\" because {why}");
                    Err(SqlError::new(code, message))
                };
                let shown = ty.base_name();
                let Some(row) = ty.composite() else {
                    return refuse(SqlState::DatatypeMismatch, format!("its type {shown} is not a composite type"));
                };
                let Some(at) = row.row().position(&field) else {
                    return refuse(SqlState::UndefinedColumn, format!("there is no such column in data type {shown}"));
                };
                let wanted = row.attributes()[at].ty;
                let made = self.part(Expr::Operand(wanted.base()), wanted, (column, &field), rest, scope, value)?;
                let made = self.assign_as(made, wanted, &|from| {
                    format!("subfield \"{field}\" is of type {} but expression is of type {}", wanted.base_name(), from.base_name())
                })?;
                (Part::Field(at), made)
            }
            TargetStep::Subscripts(list) => {
                let (part, wanted) = self.subscripted_part(ty, list, scope)?;
                let made = self.part(Expr::Operand(wanted.base()), wanted, names, rest, scope, value)?;
                let made = self.assign_as(made, wanted, &|from| {
                    let (wanted, from) = (wanted.base_name(), from.base_name());
                    format!("subscripted assignment to \"{named}\" requires type {wanted} but expression is of type {from}")
                })?;
                (part, made)
            }
        };
        let made = Expr::Assign(Box::new(PartAssignment { container, part, value: as_base(value), ty }));
        if declared.is_domain() { self.coerce(made, declared, CastContext::Assignment) } else { Ok(made) }
    }

    /// The part of an array or a jsonb value, and its type.
    fn subscripted_part(&mut self, ty: SqlType, list: &[ast::Subscript], scope: &Scope<'_>) -> SqlResult<(Part, SqlType)> {
        if ty == SqlType::Jsonb {
            let mut path = Vec::with_capacity(list.len());
            for subscript in list {
                let ast::Subscript::Index { index } = subscript else {
                    return Err(mismatch("jsonb subscript does not support slices".to_owned()));
                };
                path.push(self.jsonb_subscript(index, scope)?);
            }
            return Ok((Part::Member(path), ty));
        }
        let Some(element) = ty.element().filter(|_| ty.is_array()) else {
            let message = format!("cannot subscript type {} because it does not support subscripting", ty.base_name());
            return Err(mismatch(message));
        };
        let (bounds, is_slice) = self.array_subscripts(list.iter(), scope)?;
        if is_slice {
            return Ok((Part::Slice(bounds), ty));
        }
        Ok((Part::Element(bounds.into_iter().filter_map(|(index, _)| index).collect()), element))
    }

    /// What SET makes of a column, added to what it makes of others.
    pub(super) fn add_assignment(
        &mut self,
        target: &Target,
        (position, steps): (usize, &[TargetStep]),
        made: &mut Vec<Changed>,
        scope: &Scope<'_>,
        value: Value<'_>,
    ) -> SqlResult<()> {
        let column = &target.table.columns[position];
        let before = made.iter().position(|it| it.position == position);
        if steps.is_empty() || before.is_some_and(|at| !made[at].is_part) {
            if before.is_some() {
                return Err(assigned_twice(&column.name));
            }
            let value = value(self)?;
            made.push(Changed { position, value, is_part: false });
            return Ok(());
        }
        let container = match before {
            Some(at) => std::mem::replace(&mut made[at].value, Expr::RowId),
            None => Expr::Column(position, column.ty),
        };
        let value = self.with_frame(Clause::Update, |binder| binder.with_part(as_base(container), column, steps, scope, value))?;
        check_updatable(column)?;
        match before {
            Some(at) => made[at].value = value,
            None => made.push(Changed { position, value, is_part: true }),
        }
        Ok(())
    }
}

/// Takes the literals and parameters of no type out from under ORDER BY and LIMIT, where nothing but the output reads them.
pub(super) fn open_below(rel: &mut Rel) -> Vec<Option<Expr>> {
    let is_open = |column: &PlanColumn| column.ty == SqlType::Unknown;
    if !rel.columns.iter().any(is_open) || matches!(&rel.node, RelNode::Values(_)) {
        return vec![None; rel.columns.len()];
    }
    (0..rel.columns.len()).map(|at| if is_open(&rel.columns[at]) { open_at(rel, at, true) } else { None }).collect()
}

fn open_at(rel: &mut Rel, at: usize, is_top: bool) -> Option<Expr> {
    let taken = match &mut rel.node {
        RelNode::Limit { input, .. } | RelNode::Sort { input, .. } => open_at(input, at, false)?,
        RelNode::Project { input, exprs } => match &mut exprs[at] {
            Expr::Column(below, ty @ SqlType::Unknown) => {
                let taken = open_at(input, *below, false)?;
                *ty = SqlType::Text;
                taken
            }
            // At the top it is converted where it is.
            literal @ (Expr::Const(_, SqlType::Unknown) | Expr::Param(_, SqlType::Unknown)) if !is_top => {
                std::mem::replace(literal, Expr::Const(Datum::Null, SqlType::Text))
            }
            _ => return None,
        },
        _ => return None,
    };
    rel.columns[at].ty = SqlType::Text;
    Some(taken)
}

/// Literals and parameters among the outputs of a query that are for parts of columns: they are of the types of these.
pub(super) fn open_outputs(mut rel: Rel, steps: &[Vec<TargetStep>]) -> (Rel, Vec<Option<Expr>>) {
    let mut open = vec![None; steps.len()];
    if let RelNode::Project { exprs, .. } = &mut rel.node {
        for (at, expr) in exprs.iter_mut().enumerate().take(steps.len()).filter(|(at, _)| !steps[*at].is_empty()) {
            if matches!(expr, Expr::Const(_, SqlType::Unknown) | Expr::Param(_, SqlType::Unknown)) {
                open[at] = Some(std::mem::replace(expr, Expr::Const(Datum::Null, SqlType::Text)));
                rel.columns[at].ty = SqlType::Text;
            }
        }
    }
    (rel, open)
}
