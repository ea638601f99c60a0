//! Queries bound to be shown and not run: the definitions of views.

use sqlparser::ast;
use types::SqlResult;

use super::{Binder, Clause, find_relation, fold, name_parts, qualified_name};
use crate::PlanContext;
use crate::expr::{AggregateCall, Expr, SortKey};
use crate::parse::extras::is_only;

/// A SELECT over tables, in parts.
pub(crate) struct ShownQuery {
    pub distinct: bool,
    pub outputs: Vec<(String, Expr)>,
    pub from: Vec<(ShownTable, Vec<ShownJoin>)>,
    pub filter: Option<Expr>,
    pub groups: Vec<Expr>,
    pub having: Option<Expr>,
    pub order: Vec<SortKey>,
    pub limit: Option<Expr>,
    pub offset: Option<Expr>,
    /// What the positions from `AGGREGATE_BASE` on stand for.
    pub aggregates: Vec<AggregateCall>,
    /// The names of the row's columns: of what they are, and their own.
    pub columns: Vec<(String, String)>,
}

pub(crate) struct ShownTable {
    /// The oid of the table, view or catalog.
    pub oid: u32,
    /// It is meant without its partitions.
    pub only: bool,
    /// What it is called in the query, if that is not its own name.
    pub alias: Option<String>,
    /// The alias, or its own name.
    pub shown: String,
}

pub(crate) struct ShownJoin {
    pub kind: &'static str,
    pub table: ShownTable,
    pub on: Option<Expr>,
    pub using: Vec<String>,
}

/// A join before its condition is bound, which may mention all tables.
type OpenJoin<'q> = (&'static str, ShownTable, Option<&'q ast::Expr>, Vec<String>);

fn table(factor: &ast::TableFactor, context: &PlanContext<'_>) -> Option<ShownTable> {
    let ast::TableFactor::Table { name, alias, args: None, with_ordinality: false, sample: None, .. } = factor else {
        return None;
    };
    let (schema, relation) = qualified_name(context, name).ok()?;
    let found = find_relation(context, schema.as_deref(), &relation).ok()??;
    let alias = match alias {
        Some(alias) if !alias.columns.is_empty() => return None,
        // By its name as it is now, which need not be the one that was written.
        Some(alias) => Some(fold(&alias.name)).filter(|alias| alias != found.name()),
        None => None,
    };
    let shown = alias.clone().unwrap_or_else(|| found.name().to_owned());
    Some(ShownTable { oid: found.id(), only: is_only(name), alias, shown })
}

fn join<'q>(join: &'q ast::Join, context: &PlanContext<'_>) -> Option<OpenJoin<'q>> {
    use ast::JoinOperator as Op;
    let (kind, constraint) = match &join.join_operator {
        Op::Join(constraint) | Op::Inner(constraint) => ("JOIN", constraint),
        Op::Left(constraint) | Op::LeftOuter(constraint) => ("LEFT JOIN", constraint),
        Op::Right(constraint) | Op::RightOuter(constraint) => ("RIGHT JOIN", constraint),
        Op::FullOuter(constraint) => ("FULL JOIN", constraint),
        Op::CrossJoin(constraint) => ("CROSS JOIN", constraint),
        _ => return None,
    };
    let table = table(&join.relation, context)?;
    match constraint {
        ast::JoinConstraint::On(on) => Some((kind, table, Some(on), Vec::new())),
        ast::JoinConstraint::Using(names) => {
            let names = names.iter().map(|name| name_parts(name).ok()?.pop()).collect::<Option<_>>()?;
            Some((kind, table, None, names))
        }
        ast::JoinConstraint::None => Some((kind, table, None, Vec::new())),
        ast::JoinConstraint::Natural => None,
    }
}

impl Binder<'_> {
    /// `None` for queries of other forms.
    pub(crate) fn shown_query(&mut self, query: &ast::Query) -> SqlResult<Option<ShownQuery>> {
        let ast::SetExpr::Select(select) = query.body.as_ref() else { return Ok(None) };
        let is_plain = query.with.is_none()
            && query.fetch.is_none()
            && query.locks.is_empty()
            && select.named_window.is_empty()
            && matches!(select.distinct, None | Some(ast::Distinct::Distinct));
        let open: Option<Vec<_>> = select
            .from
            .iter()
            .map(|item| {
                let joins = item.joins.iter().map(|it| join(it, self.context)).collect::<Option<Vec<_>>>()?;
                Some((table(&item.relation, self.context)?, joins))
            })
            .collect();
        let (true, Some(open)) = (is_plain, open) else { return Ok(None) };
        let (limit, offset) = match &query.limit_clause {
            None => (None, None),
            Some(ast::LimitClause::LimitOffset { limit, offset, limit_by }) if limit_by.is_empty() => {
                (limit.as_ref(), offset.as_ref().map(|offset| &offset.value))
            }
            Some(_) => return Ok(None),
        };
        let order = super::query::order_exprs(query.order_by.as_ref())?;
        let level = self.level();
        self.with_frame(Clause::Select, |binder| {
            let (rel, scope) = binder.from_items(&select.from, &level)?;
            let mut from = Vec::with_capacity(open.len());
            for (first, open) in open {
                let mut joins = Vec::with_capacity(open.len());
                for (kind, table, on, using) in open {
                    let on = on.map(|on| binder.boolean(on, &scope, "JOIN/ON")).transpose()?;
                    joins.push(ShownJoin { kind, table, on, using });
                }
                from.push((first, joins));
            }
            let filter = select.selection.as_ref().map(|expr| binder.boolean(expr, &scope, "WHERE")).transpose()?;
            let outputs = binder.outputs(&select.projection, &scope, true)?;
            let (grouping, _) = binder.group_by(&select.group_by, &outputs, &scope)?;
            let having = select.having.as_ref().map(|expr| binder.boolean(expr, &scope, "HAVING")).transpose()?;
            let mut keys = Vec::with_capacity(order.len());
            for item in order {
                let expr = binder.output_or_expr(&item.expr, &outputs, &scope, "ORDER BY")?;
                keys.push(binder.sort_key(expr, &item.options)?);
            }
            let limit = limit.map(|limit| binder.expr(limit, &scope)).transpose()?;
            let offset = offset.map(|offset| binder.expr(offset, &scope)).transpose()?;
            let mut columns = vec![(String::new(), String::new()); scope.width];
            // Under the names that relations and columns have now.
            let tables = from.iter().flat_map(|(first, joins)| {
                std::iter::once(first).chain(joins.iter().map(|join: &ShownJoin| &join.table))
            });
            for (range, table) in scope.ranges.iter().zip(tables) {
                for column in &range.columns {
                    if let Expr::Column(position, _) = column.expr {
                        columns[position] = (table.shown.clone(), rel.columns[position].name.clone());
                    }
                }
            }
            let frame = binder.frame()?;
            if !frame.windows.is_empty() || !frame.sets.is_empty() || !frame.groupings.is_empty() || grouping.sets.is_some()
            {
                return Ok(None);
            }
            Ok(Some(ShownQuery {
                distinct: select.distinct.is_some(),
                outputs: outputs.into_iter().map(|output| (output.name, output.expr)).collect(),
                from,
                filter,
                groups: grouping.groups,
                having,
                order: keys,
                limit,
                offset,
                aggregates: std::mem::take(&mut frame.aggregates),
                columns,
            }))
        })
    }
}
