//! The definitions of views as text, laid out as `pg_get_viewdef` lays them out: each output, join and clause on a line
//! of its own.
//!
//! Deliberately left out: WITH, set operations, subqueries in FROM, windows; views with those are shown as they were
//! written.

use std::fmt::Write as _;

use catalog::{CatalogView, View, definition::Style};
use sqlparser::ast;
use types::quote_identifier;

use crate::bind::{AGGREGATE_BASE, ShownQuery, ShownTable, as_kept, bind_query_as_written, of_view};
use crate::expr::{Expr, SortKey};
use crate::parse::Body;
use crate::parse::query_clauses::as_written;
use crate::print::{Casts, Printer, with_context};

/// A view's query without a semicolon.
#[must_use]
pub(crate) fn print_view(view: &CatalogView, definition: &View, style: Style) -> Option<String> {
    print_select(view, definition, style).or_else(|| as_written(&definition.query).map(|query| format!(" {query}")))
}

fn print_select(view: &CatalogView, definition: &View, style: Style) -> Option<String> {
    let statement = crate::parse::parse(&definition.query).ok()?.into_iter().next()?;
    let Body::Standard(ast::Statement::Query(query)) = &statement.body else { return None };
    with_context(view, |context| {
        let formatting = as_kept(definition.details.literals.as_ref(), context).ok()?;
        let shown = bind_query_as_written(query, &of_view(definition, &formatting, context)).ok()??;
        let names = |position: usize| {
            let (range, column) = shown.columns.get(position).filter(|(_, column)| !column.is_empty())?;
            Some(format!("{}.{}", quote_identifier(range), quote_identifier(column)))
        };
        let printer =
            Printer { names: &names, aggregates: &shown.aggregates, style, indent: 8, formatting: context.formatting };
        let mut out = String::new();
        QueryPrinter { view, shown: &shown, printer }.query(&mut out, &definition.columns)?;
        Some(out)
    })
}

struct QueryPrinter<'a> {
    view: &'a CatalogView,
    shown: &'a ShownQuery,
    printer: Printer<'a>,
}

impl QueryPrinter<'_> {
    fn query(&self, out: &mut String, columns: &[(String, types::SqlType)]) -> Option<()> {
        out.push_str(if self.shown.distinct { " SELECT DISTINCT " } else { " SELECT " });
        for (at, ((_, expr), (name, _))) in self.shown.outputs.iter().zip(columns).enumerate() {
            if at > 0 {
                out.push_str(",\n    ");
            }
            self.printer.expr(out, expr, Casts::All)?;
            let own = match expr {
                Expr::Column(position, _) => self.shown.columns.get(*position).map(|(_, column)| column.as_str()),
                _ => Some("?column?"),
            };
            if own != Some(name) {
                let _ = write!(out, " AS {}", quote_identifier(name));
            }
        }
        self.from(out)?;
        self.clause(out, "\n  WHERE ", self.shown.filter.as_ref())?;
        for (at, group) in self.shown.groups.iter().enumerate() {
            out.push_str(if at == 0 { "\n  GROUP BY " } else { ", " });
            self.item(out, group)?;
        }
        self.clause(out, "\n HAVING ", self.shown.having.as_ref())?;
        for (at, SortKey { expr, descending, nulls_first }) in self.shown.order.iter().enumerate() {
            out.push_str(if at == 0 { "\n  ORDER BY " } else { ", " });
            self.item(out, expr)?;
            out.push_str(match (descending, nulls_first) {
                (false, false) => "",
                (false, true) => " NULLS FIRST",
                (true, true) => " DESC",
                (true, false) => " DESC NULLS LAST",
            });
        }
        self.clause(out, "\n OFFSET ", self.shown.offset.as_ref())?;
        self.clause(out, "\n LIMIT ", self.shown.limit.as_ref())
    }

    fn clause(&self, out: &mut String, word: &str, expr: Option<&Expr>) -> Option<()> {
        if let Some(expr) = expr {
            out.push_str(word);
            self.printer.expr(out, expr, Casts::Written)?;
        }
        Some(())
    }

    fn from(&self, out: &mut String) -> Option<()> {
        let plain = self.printer.style == Style::Plain;
        for (at, (first, joins)) in self.shown.from.iter().enumerate() {
            out.push_str(if at == 0 { "\n   FROM " } else { ",\n    " });
            if plain {
                out.push_str(&"(".repeat(joins.len()));
            }
            self.table(out, first)?;
            for join in joins {
                let _ = write!(out, "\n     {} ", join.kind);
                self.table(out, &join.table)?;
                if let Some(on) = &join.on {
                    out.push_str(if plain { " ON (" } else { " ON " });
                    self.printer.expr(out, on, Casts::Written)?;
                    if plain {
                        out.push(')');
                    }
                }
                if !join.using.is_empty() {
                    let names: Vec<String> = join.using.iter().map(|name| quote_identifier(name)).collect();
                    let _ = write!(out, " USING ({})", names.join(", "));
                }
                if plain {
                    out.push(')');
                }
            }
        }
        Some(())
    }

    fn table(&self, out: &mut String, table: &ShownTable) -> Option<()> {
        if table.only {
            out.push_str("ONLY ");
        }
        out.push_str(&self.view.shown(self.view.class(table.oid)?));
        if let Some(alias) = &table.alias {
            let _ = write!(out, " {}", quote_identifier(alias));
        }
        Some(())
    }

    /// Of GROUP BY and ORDER BY: whatever could be taken for something else stands in parentheses.
    fn item(&self, out: &mut String, expr: &Expr) -> Option<()> {
        let is_call = match expr {
            Expr::Column(position, _) if *position < AGGREGATE_BASE => return self.printer.expr(out, expr, Casts::All),
            Expr::Column(..) => true,
            Expr::Call { builtin, .. } => !crate::print::is_operator(builtin),
            _ => false,
        };
        let enclosed = is_call || self.printer.style == Style::Pretty;
        if enclosed {
            out.push('(');
        }
        self.printer.expr(out, expr, Casts::All)?;
        if enclosed {
            out.push(')');
        }
        Some(())
    }
}
