//! SEARCH and CYCLE of recursive WITH queries: columns that each row gets beside its own.
//!
//! SEARCH adds one that rows can be ordered by: DEPTH FIRST the array of the rows on the way to it, BREADTH FIRST how
//! many there are, before the row. CYCLE adds a mark and such an array; a row that is among those before it is marked,
//! and nothing is looked for from there.
//!
//! The first term has the columns at their start. The recursive term's SELECT hands on those of the row that it came
//! from, and they are computed over its output: **Invariant (added-columns-last):** they stand behind the query's own,
//! in its terms, in the working table and in the result.

use sqlparser::ast;
use types::{Datum, SqlError, SqlResult, SqlState, SqlType};

use super::query::{computed, filter, project};
use super::{Binder, Clause};
use crate::expr::Expr;
use crate::logical::Rel;
use crate::parse::query_clauses::{Cycle, RecursionClauses, Search};
use crate::scope::{Level, Scope};

impl RecursionClauses {
    /// The names of the columns that are added.
    pub(super) fn added(&self) -> Vec<&str> {
        let search = self.search.iter().map(|search| search.sequence.as_str());
        search.chain(self.cycle.iter().flat_map(|cycle| [cycle.mark.as_str(), cycle.path.as_str()])).collect()
    }

    /// # Errors
    /// 42601 for a name that is not there, or there already.
    fn check(&self, own: &[String]) -> SqlResult<()> {
        let refuse = |message: String| Err(SqlError::new(SqlState::SyntaxError, message));
        let check_columns = |columns: &[String], clause: &str| {
            for (at, column) in columns.iter().enumerate() {
                if !own.contains(column) {
                    return refuse(format!("{clause} column \"{column}\" not in WITH query column list"));
                }
                if columns[..at].contains(column) {
                    return Err(SqlError::new(
                        SqlState::DuplicateColumn,
                        format!("{clause} column \"{column}\" specified more than once"),
                    ));
                }
            }
            Ok(())
        };
        let check_new = |name: &String, what: &str| match own.contains(name) {
            true => refuse(format!("{what} column name \"{name}\" already used in WITH query column list")),
            false => Ok(()),
        };
        if let Some(search) = &self.search {
            check_columns(&search.columns, "search")?;
            check_new(&search.sequence, "search sequence")?;
        }
        if let Some(cycle) = &self.cycle {
            check_columns(&cycle.columns, "cycle")?;
            check_new(&cycle.mark, "cycle mark")?;
            check_new(&cycle.path, "cycle path")?;
            if cycle.mark == cycle.path {
                return refuse("cycle mark column name and cycle path column name are the same".to_owned());
            }
            if let Some(search) = &self.search {
                for (name, what) in [(&cycle.mark, "cycle mark"), (&cycle.path, "cycle path")] {
                    if search.sequence == *name {
                        return refuse(format!("search sequence column name and {what} column name are the same"));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The SELECT that a term of the UNION consists of.
pub(super) fn only_select<'a>(term: &'a ast::SetExpr, side: &str) -> SqlResult<&'a ast::SetExpr> {
    let mut inner = term;
    while let ast::SetExpr::Query(query) = inner
        && query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
    {
        inner = &query.body;
    }
    match inner {
        ast::SetExpr::Select(_) => Ok(inner),
        // The first term may be anything but a UNION of its own.
        ast::SetExpr::Values(_) if side == "left" => Ok(inner),
        _ => Err(SqlError::new(
            SqlState::SyntaxError,
            format!("with a SEARCH or CYCLE clause, the {side} side of the UNION must be a SELECT"),
        )),
    }
}

/// The row of some columns.
fn row_of(columns: &[String], rel: &Rel) -> SqlResult<Expr> {
    let fields = columns.iter().map(|name| {
        let at = rel.columns.iter().position(|column| column.name == *name);
        let at = at.ok_or_else(|| SqlError::internal("a column of SEARCH or CYCLE is gone"))?;
        Ok(Expr::Column(at, rel.columns[at].ty.base()))
    });
    Ok(Expr::row(fields.collect::<SqlResult<_>>()?))
}

fn alone(row: Expr) -> Expr {
    let ty = row.ty().array_of();
    Expr::Array { elements: vec![row], ty }
}

fn int8(value: i64) -> Expr {
    Expr::Const(Datum::Int(value), SqlType::Int8)
}

impl Binder<'_> {
    /// The first term with the columns at their start.
    pub(super) fn recursion_base(&mut self, rel: Rel, clauses: &RecursionClauses, level: &Level<'_>) -> SqlResult<Rel> {
        let names: Vec<String> = rel.columns.iter().map(|column| column.name.clone()).collect();
        clauses.check(&names)?;
        let mut values = Vec::new();
        if let Some(Search { breadth_first, columns, .. }) = &clauses.search {
            let row = row_of(columns, &rel)?;
            values.push(match (breadth_first, row) {
                (true, Expr::Row(fields, _)) => Expr::row(std::iter::once(int8(0)).chain(fields).collect()),
                (_, row) => alone(row),
            });
        }
        if let Some(cycle) = &clauses.cycle {
            let (_, otherwise) = self.cycle_marks(cycle, level)?;
            values.push(otherwise);
            values.push(alone(row_of(&cycle.columns, &rel)?));
        }
        let own = names.len();
        self.with_added(rel, own, clauses, values)
    }

    /// The recursive term, whose SELECT has handed on the columns of the row that it came from behind its own.
    pub(super) fn recursion_step(
        &mut self,
        mut rel: Rel,
        clauses: &RecursionClauses,
        names: &[String],
        level: &Level<'_>,
    ) -> SqlResult<Rel> {
        let added = clauses.added().len();
        let width = rel.columns.len() - added;
        for (column, name) in rel.columns.iter_mut().zip(names).take(width) {
            column.name.clone_from(name);
        }
        let column = |at: usize| Expr::Column(at, rel.columns[at].ty);
        let mut values = Vec::new();
        let mut at = width;
        if let Some(Search { breadth_first, columns, .. }) = &clauses.search {
            let row = row_of(columns, &rel)?;
            let before = column(at);
            at += 1;
            values.push(match (breadth_first, row) {
                (true, Expr::Row(fields, _)) => {
                    let depth = self.fields_of(before)?.into_iter().next().map(|(_, depth)| depth);
                    let depth = depth.ok_or_else(|| SqlError::internal("a place in a search has no depth"))?;
                    let deeper = self.binary("+", depth, int8(1))?;
                    Expr::row(std::iter::once(deeper).chain(fields).collect())
                }
                (_, row) => self.binary("||", before, row)?,
            });
        }
        let mut goes_on = None;
        if let Some(cycle) = &clauses.cycle {
            let (mark, path) = (column(at), column(at + 1));
            let (on, otherwise) = self.cycle_marks(cycle, level)?;
            let ty = on.ty();
            let row = row_of(&cycle.columns, &rel)?;
            let is_known = self.any_all_array("=", row.clone(), path.clone(), false)?;
            goes_on = Some(self.binary("<>", mark, on.clone())?);
            values.push(Expr::Case {
                operand: None,
                branches: vec![(is_known, on)],
                otherwise: Some(Box::new(otherwise)),
                ty,
            });
            values.push(self.binary("||", path, row)?);
        }
        if let Some(goes_on) = goes_on {
            self.above(1)?;
            rel = filter(rel, goes_on);
        }
        self.with_added(rel, width, clauses, values)
    }

    /// The first columns of a term, which are its own, and the others computed.
    fn with_added(&mut self, rel: Rel, own: usize, clauses: &RecursionClauses, values: Vec<Expr>) -> SqlResult<Rel> {
        let mut columns = rel.columns[..own].to_vec();
        let mut exprs: Vec<Expr> = columns.iter().enumerate().map(|(at, column)| Expr::Column(at, column.ty)).collect();
        for (name, value) in clauses.added().into_iter().zip(values) {
            columns.push(computed(name, value.ty()));
            exprs.push(value);
        }
        self.above(1)?;
        Ok(project(rel, exprs, columns))
    }

    /// The values of the mark: for a row that was met before, and for others.
    fn cycle_marks(&mut self, cycle: &Cycle, level: &Level<'_>) -> SqlResult<(Expr, Expr)> {
        let Some((on, otherwise)) = &cycle.values else {
            let value = |value| Expr::Const(Datum::Bool(value), SqlType::Bool);
            return Ok((value(true), value(false)));
        };
        let scope = Scope::empty(level);
        let values = self.without_source(|binder| {
            binder.with_frame(Clause::Values, |binder| Ok(vec![binder.expr(on, &scope)?, binder.expr(otherwise, &scope)?]))
        })?;
        let (values, _) = self.unify(values, "CYCLE")?;
        let [on, otherwise] = <[Expr; 2]>::try_from(values).map_err(|_| SqlError::internal("a mark has two values"))?;
        Ok((on, otherwise))
    }
}
