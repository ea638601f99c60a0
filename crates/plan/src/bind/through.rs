//! Changing rows through views: an INSERT, UPDATE or DELETE of a view is one of the table under it.
//!
//! The idea: a simple view is a name for columns of one relation. Its query is bound over that relation's row, level by level
//! down to a table, so that a column of the view becomes an expression over the table's row, and the views' conditions become
//! filters of the rows that are read. What is assigned to a column goes to the column that it is. A view with an INSTEAD OF
//! trigger for the event is as good as a table: its rows are given to the trigger.
//!
//! PostgreSQL's `rewriteHandler.c` says which views are simple, in which order that is found out, and with which words.

use std::sync::Arc;

use catalog::privilege::PrivilegeSet;
use catalog::{CatalogView, CheckOption, Relation, Table, TriggerEvent, View, WrittenThrough};
use sqlparser::ast;
use types::stack::{DEPTH_MAX, deep, too_deep};
use types::{CastContext, SqlError, SqlResult, SqlState, SqlType};

use super::expr::unnested;
use super::from::{named_range, no_rows};
use super::query::filter;
use super::view::no_longer_matches;
use super::{Binder, Clause, find_relation, fold, qualified_name};
use crate::PlanContext;
use crate::expr::Expr;
use crate::logical::Rel;
use crate::needs::Mention;
use crate::parse::extras::is_only;
use crate::plan::{PlanColumn, RowLock};
use crate::print::with_context;
use crate::scope::{Range, RangeColumn, Scope};

const NOT_ONE_RELATION: &str = "Views that do not select from a single table or view are not automatically updatable.";
const NOT_A_COLUMN: &str = "View columns that are not columns of their base relation are not updatable.";
const WHOLE_ROW: &str = "View columns that return whole-row references are not updatable.";
const SYSTEM_COLUMN: &str = "View columns that refer to system columns are not updatable.";

/// Where the value of a view's column goes.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// To this column of the table.
    Column(usize),
    /// Nowhere: the view that says so, its column, and why.
    Nowhere { view: String, column: String, reason: &'static str },
}

#[derive(Clone, Debug)]
pub(super) struct ThroughColumn {
    pub name: String,
    /// Over the table's row.
    pub value: Expr,
    pub place: Place,
    /// What INSERT gives it by default, as the view says: the view, and the place of the column in it.
    pub default: Option<(Arc<Table>, usize)>,
}

/// The table under a view.
pub(super) struct Through {
    /// A view as a table, where its triggers change the rows.
    pub table: Arc<Table>,
    /// The table's rows that are in the view, all columns.
    pub rel: Rel,
    /// Of the view.
    pub columns: Vec<ThroughColumn>,
    /// WITH CHECK OPTION, innermost first: the views' names, and conditions over the table's row.
    pub checks: Vec<(String, Expr)>,
    /// The view, and the relations under it down to the table.
    pub mentions: Vec<Mentioned>,
}

/// A relation that is changed, or through which that is done. Each needs the privileges by itself: of the statement's user
/// the one that it names, of a view's owner the one under the view. As in PostgreSQL, the owner needs to read what the view
/// reads only where the statement reads.
pub(super) struct Mentioned {
    pub mention: Mention,
    /// Which of its columns are those of the relation that the statement names.
    pub ids: Vec<Option<u32>>,
}

impl Mentioned {
    pub fn of_table(mention: Mention, table: &Table) -> Self {
        Self { mention, ids: table.columns.iter().map(|column| Some(column.id.get())).collect() }
    }

    fn of_view(mention: Mention, view: &View) -> Self {
        Self { mention, ids: (1..).take(view.columns.len()).map(Some).collect() }
    }
}

impl Through {
    /// The view's columns under a name.
    pub fn range(&self, shown: &str, alias: Option<&ast::TableAlias>) -> SqlResult<Range> {
        let plain = |it: &ThroughColumn| PlanColumn { name: it.name.clone(), ty: it.value.ty(), table_oid: 0, attribute: 0 };
        let columns: Vec<PlanColumn> = self.columns.iter().map(plain).collect();
        let mut range = named_range(shown, &columns, None, alias)?;
        for (column, of) in range.columns.iter_mut().zip(&self.columns) {
            column.expr = of.value.clone();
        }
        Ok(range)
    }
}

fn refusal(event: TriggerEvent, view: &View, reason: &str) -> SqlError {
    let (verb, doing) = match event {
        TriggerEvent::Insert => ("insert into", "inserting into"),
        TriggerEvent::Delete => ("delete from", "deleting from"),
        TriggerEvent::Update | TriggerEvent::Truncate => ("update", "updating"),
    };
    let event = event.name();
    let hint = format!(
        "To enable {doing} the view, provide an INSTEAD OF {event} trigger or an unconditional ON {event} DO INSTEAD rule."
    );
    let message = format!("cannot {verb} view \"{}\"", view.name);
    SqlError::new(SqlState::ObjectNotInPrerequisiteState, message).with_detail(reason).with_hint(hint)
}

/// Of a column that no value can be given for.
pub(super) fn column_refusal(event: TriggerEvent, view: &str, column: &str, reason: &str) -> SqlError {
    let verb = if event == TriggerEvent::Insert { "insert into" } else { "update" };
    let message = format!("cannot {verb} column \"{column}\" of view \"{view}\"");
    SqlError::not_supported(message).with_detail(reason)
}

/// Why a query is no simple one, as far as its form says.
fn form_refusal(query: &ast::Query) -> Option<&'static str> {
    let ast::SetExpr::Select(select) = query.body.as_ref() else {
        return Some(match query.body.as_ref() {
            ast::SetExpr::SetOperation { .. } => {
                "Views containing UNION, INTERSECT, or EXCEPT are not automatically updatable."
            }
            _ => NOT_ONE_RELATION,
        });
    };
    let is_grouped = !matches!(&select.group_by, ast::GroupByExpr::Expressions(groups, _) if groups.is_empty());
    Some(match () {
        () if select.distinct.as_ref().is_some_and(|it| *it != ast::Distinct::All) => {
            "Views containing DISTINCT are not automatically updatable."
        }
        () if is_grouped => "Views containing GROUP BY are not automatically updatable.",
        () if select.having.is_some() => "Views containing HAVING are not automatically updatable.",
        () if query.with.is_some() => "Views containing WITH are not automatically updatable.",
        () if query.limit_clause.is_some() || query.fetch.is_some() => {
            "Views containing LIMIT or OFFSET are not automatically updatable."
        }
        () => return None,
    })
}

/// The only relation that a SELECT reads, if it is one by name.
fn only_relation(select: &ast::Select) -> Option<(&ast::ObjectName, Option<&ast::TableAlias>)> {
    match select.from.as_slice() {
        [ast::TableWithJoins { relation: ast::TableFactor::Table { name, alias, args: None, sample: None, .. }, joins }]
            if joins.is_empty() =>
        {
            Some((name, alias.as_ref()))
        }
        _ => None,
    }
}

/// Puts the values of columns in their places.
fn substitute(expr: &mut Expr, columns: &[Expr]) {
    if let Expr::Column(position, _) = expr {
        *expr = columns[*position].clone();
        return;
    }
    expr.for_each_child_mut(&mut |child| substitute(child, columns));
}

/// The same, as long as what comes of it is not too large: views over views can double it with each level.
///
/// # Errors
/// 54001.
fn substitute_small(expr: &mut Expr, columns: &[Expr]) -> SqlResult<()> {
    let mut size = 0;
    let is_large = expr.any(&mut |part| {
        size += match part {
            Expr::Column(position, _) => columns[*position].size_up_to(DEPTH_MAX),
            _ => 1,
        };
        size > DEPTH_MAX
    });
    if is_large {
        return Err(too_deep());
    }
    substitute(expr, columns);
    Ok(())
}

/// What a view selects from, one level down.
enum Base {
    Table(Arc<Table>, Rel, Range, Mention),
    View(Arc<View>, Range, Mention),
}

/// A simple view, bound over the relation under it.
struct Simple {
    base: Base,
    filter: Option<Expr>,
    /// Over the row of the relation under it: of a table all columns, of a view its columns.
    outputs: Vec<Expr>,
    /// Why a value for a column would go nowhere.
    reasons: Vec<Option<&'static str>>,
}

impl Binder<'_> {
    /// A view's query over the one relation that it reads; `Err` inside: why it is no simple one. Stands in the view
    /// ([`Binder::in_view`]). `top`: the statement's mention of the view that it names.
    fn simple(
        &mut self,
        view: &View,
        query: &ast::Query,
        lock: Option<RowLock>,
        top: &Mention,
    ) -> SqlResult<Result<Simple, &'static str>> {
        if let Some(reason) = form_refusal(query) {
            return Ok(Err(reason));
        }
        let ast::SetExpr::Select(select) = query.body.as_ref() else { return Ok(Err(NOT_ONE_RELATION)) };
        let level = self.level();
        let Some(base) = self.base_of(select, lock, top)? else {
            // What it computes is said first.
            let computed = self.with_frame(Clause::Select, |binder| {
                let (_, scope) = binder.from_items(&select.from, &level)?;
                binder.outputs(&select.projection, &scope, true)?;
                Ok(frame_refusal(binder.frame()?))
            })?;
            return Ok(Err(computed.unwrap_or(NOT_ONE_RELATION)));
        };
        let (range, reads) = match &base {
            Base::Table(table, _, range, mention) => (range, mention.of_table(table)),
            Base::View(view, range, mention) => (range, mention.of_width(view.columns.len())),
        };
        let scope = Scope::of_range(&level, range.clone()).reading(reads);
        let condition = |binder: &mut Self, expr| binder.with_frame(Clause::Where, |binder| binder.boolean(expr, &scope, "WHERE"));
        let filter = select.selection.as_ref().map(|expr| condition(self, expr)).transpose()?;
        let bound = self.with_frame(Clause::Select, |binder| {
            let outputs = binder.outputs(&select.projection, &scope, true)?;
            Ok(match frame_refusal(binder.frame()?) {
                Some(reason) => Err(reason),
                None => Ok(outputs),
            })
        })?;
        let bound = match bound {
            Ok(bound) => bound,
            Err(reason) => return Ok(Err(reason)),
        };
        if bound.len() != view.columns.len() {
            return Err(no_longer_matches(view));
        }
        let mut outputs = Vec::with_capacity(bound.len());
        let mut reasons = Vec::with_capacity(bound.len());
        for (output, (_, ty)) in bound.into_iter().zip(&view.columns) {
            let named = output.name == "tableoid" && matches!(output.expr, Expr::Const(..));
            let value = if output.expr.ty() == *ty { output.expr } else { self.coerce(output.expr, *ty, CastContext::Implicit)? };
            reasons.push(match &value {
                Expr::Column(at, _) if matches!(&base, Base::Table(table, ..) if table.table_oid_position() == Some(*at)) => {
                    Some(SYSTEM_COLUMN)
                }
                Expr::Column(..) => None,
                Expr::Row(_, SqlType::Composite(_)) => Some(WHOLE_ROW),
                _ if named => Some(SYSTEM_COLUMN),
                _ => Some(NOT_A_COLUMN),
            });
            outputs.push(value);
        }
        Ok(Ok(Simple { base, filter, outputs, reasons }))
    }

    /// The one table or view that a SELECT reads; `None` where there is no such.
    fn base_of(&mut self, select: &ast::Select, lock: Option<RowLock>, top: &Mention) -> SqlResult<Option<Base>> {
        let Some((name, alias)) = only_relation(select) else { return Ok(None) };
        let (schema, relation) = qualified_name(self.context, name)?;
        let shown = alias.map_or_else(|| relation.clone(), |alias| fold(&alias.name));
        Ok(match find_relation(self.context, schema.as_deref(), &relation)? {
            Some(Relation::Table(table)) if table.materialized.is_none() => {
                let (rel, range) = self.table_rel(table.clone(), &shown, schema, lock, alias)?;
                let rel = if table.is_partitioned() && is_only(name) { no_rows(rel) } else { rel };
                let mention = self.mention_below(table.id, top);
                Some(Base::Table(table, rel, range, mention))
            }
            Some(Relation::View(view)) => {
                let column = |(name, ty): &(String, types::SqlType)| PlanColumn {
                    name: name.clone(),
                    ty: *ty,
                    table_oid: 0,
                    attribute: 0,
                };
                let columns: Vec<PlanColumn> = view.columns.iter().map(column).collect();
                let mut range = self.view_range(&view, &shown, &columns, alias)?;
                range.schema = self.schema_name(view.schema).filter(|_| alias.is_none());
                let mention = self.mention_below(view.id, top);
                Some(Base::View(view, range, mention))
            }
            Some(Relation::Table(_) | Relation::Sequence(_)) | None => None,
        })
    }

    /// The table that a change of a view is one of. `lock`: that of the rows that are read; `is_cascaded`: a view above has
    /// a check option that holds for all under it.
    ///
    /// # Errors
    /// 55000 where there is none.
    pub(super) fn through(
        &mut self,
        view: &Arc<View>,
        event: TriggerEvent,
        lock: Option<RowLock>,
        is_cascaded: bool,
        (top, mention): (&Mention, Mention),
    ) -> SqlResult<Through> {
        let own = Mentioned::of_view(mention, view);
        if view.has_instead_of(event) {
            let noted = self.context.notes.needs.mark();
            let rel = self.view(view, None)?;
            // New rows are given to the trigger without a look at those that are there.
            if event == TriggerEvent::Insert {
                self.context.notes.needs.forget_since(noted);
            }
            let columns = view.columns.iter().enumerate().map(|(at, (name, ty))| ThroughColumn {
                name: name.clone(),
                value: Expr::Column(at, *ty),
                place: Place::Column(at),
                default: None,
            });
            let (columns, mentions) = (columns.collect(), vec![own]);
            return Ok(Through { table: view.as_table().clone(), rel, columns, checks: Vec::new(), mentions });
        }
        self.in_view(view, |binder, query| {
            let Simple { base, filter: condition, outputs, reasons } = match binder.simple(view, query, lock, top)? {
                Ok(simple) => simple,
                Err(reason) => return Err(refusal(event, view, reason)),
            };
            if event != TriggerEvent::Delete && reasons.iter().all(Option::is_some) {
                let reason = "Views that have no updatable columns are not automatically updatable.";
                return Err(refusal(event, view, reason));
            }
            let option = view.details.options.check_option;
            let is_cascaded = is_cascaded || option == Some(CheckOption::Cascaded);
            let mut through = match base {
                Base::Table(table, rel, range, mention) => {
                    let column = |(at, it): (usize, RangeColumn)| ThroughColumn {
                        name: it.name,
                        value: it.expr,
                        place: Place::Column(at),
                        default: None,
                    };
                    let columns = range.columns.into_iter().enumerate().map(column).collect();
                    let mentions = vec![Mentioned::of_table(mention, &table)];
                    Through { table, rel, columns, checks: Vec::new(), mentions }
                }
                Base::View(inner, _, mention) => binder.through(&inner, event, lock, is_cascaded, (top, mention))?,
            };
            for below in &mut through.mentions {
                let id = |value: &Expr| match value {
                    Expr::Column(position, _) => below.ids[*position],
                    _ => None,
                };
                below.ids = outputs.iter().map(id).collect();
            }
            through.mentions.insert(0, own);
            let under: Vec<Expr> = through.columns.iter().map(|column| column.value.clone()).collect();
            let mut columns = Vec::with_capacity(outputs.len());
            let defaults = view.as_table();
            for (at, ((mut value, reason), (name, _))) in outputs.into_iter().zip(reasons).zip(&view.columns).enumerate() {
                let inner = match &value {
                    Expr::Column(position, _) => Some(&through.columns[*position]),
                    _ => None,
                };
                let own_default = defaults.columns[at].default.is_some().then(|| (defaults.clone(), at));
                let default = own_default.or_else(|| inner.and_then(|inner| inner.default.clone()));
                let place = match (reason, inner) {
                    (None, Some(inner)) => inner.place.clone(),
                    (reason, _) => {
                        let reason = reason.unwrap_or(NOT_A_COLUMN);
                        Place::Nowhere { view: view.name.clone(), column: name.clone(), reason }
                    }
                };
                substitute_small(&mut value, &under)?;
                columns.push(ThroughColumn { name: name.clone(), value, place, default });
            }
            if let Some(mut condition) = condition {
                substitute_small(&mut condition, &under)?;
                if option.is_some() || is_cascaded {
                    through.checks.push((view.name.clone(), condition.clone()));
                }
                through.rel = filter(through.rel, condition);
            }
            if view.details.options.security_barrier == Some(true) {
                through.rel = binder.barrier(through.rel)?;
            }
            through.columns = columns;
            Ok(through)
        })
    }
}

/// Why a query is no simple one, as far as what it computes says.
fn frame_refusal(frame: &super::Frame) -> Option<&'static str> {
    match () {
        () if !frame.aggregates.is_empty() || !frame.groupings.is_empty() => {
            Some("Views that return aggregate functions are not automatically updatable.")
        }
        () if !frame.windows.is_empty() => Some("Views that return window functions are not automatically updatable."),
        () if !frame.sets.is_empty() => {
            Some("Views that return set-returning functions are not automatically updatable.")
        }
        () => None,
    }
}

/// Why a query cannot have WITH CHECK OPTION.
///
/// # Errors
/// As for any query.
pub(crate) fn check_option_refusal(view: &View, context: &PlanContext<'_>) -> SqlResult<Option<&'static str>> {
    let (simple, _) = Binder::bind_with(context, None, crate::optimize_rel, |binder| {
        let top = binder.mention(view.id, PrivilegeSet::NONE);
        binder.in_view(view, |binder, query| Ok(binder.simple(view, query, None, &top)?.map(|simple| simple.reasons)))
    })?;
    Ok(match simple {
        Ok(reasons) if reasons.iter().all(Option::is_some) => {
            Some("Views that have no updatable columns are not automatically updatable.")
        }
        Ok(_) => None,
        Err(reason) => Some(reason),
    })
}

/// What is changed through a view, for the catalogs.
pub(crate) fn written_through(view: &CatalogView, of: &View) -> Option<WrittenThrough> {
    deep(|| {
        with_context(view, |context| {
            let (simple, _) = Binder::bind_with(context, None, crate::optimize_rel, |binder| {
                let top = binder.mention(of.id, PrivilegeSet::NONE);
                binder.in_view(of, |binder, query| binder.simple(of, query, None, &top))
            })
            .ok()?;
            let simple = simple.ok()?;
            let relation = match &simple.base {
                Base::Table(table, ..) => table.id,
                Base::View(view, ..) => view.id,
            };
            let place = |value: &Expr| match value {
                Expr::Column(position, _) => Some(*position),
                _ => None,
            };
            Some(WrittenThrough { relation, columns: simple.outputs.iter().map(place).collect() })
        })
    })
}

/// Whether an expression is DEFAULT.
pub(super) fn is_default(expr: &ast::Expr) -> bool {
    matches!(unnested(expr), ast::Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}
