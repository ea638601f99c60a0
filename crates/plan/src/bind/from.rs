//! FROM: tables, views, subqueries, functions and the joins between them.
//!
//! A LATERAL item is a level of its own whose parent is the scope to its left; its outer slots become the join's
//! `lateral` expressions. One that mentions nothing of its left is joined like any other.

use std::sync::Arc;

use catalog::virtual_tables::find as find_virtual;
use catalog::privilege::{Need, PrivilegeSet, has_secrets};
use catalog::{Relation, Sequence, Table, VirtualTable};
use sqlparser::ast;
use types::{CastContext, Datum, SqlError, SqlResult, SqlState, SqlType};

use super::operators::conjunction;
use super::query::{Outputs, computed, project};
use super::same::same_expr;
use super::{Binder, Clause, check_name, find_relation, fold, name_parts, no_relation, qualified_name};
use crate::expr::{Expr, SequenceOp};
use crate::logical::{Rel, RelNode};
use crate::needs::Mention;
use crate::parse::extras::is_only;
use crate::plan::{JoinKind, PlanColumn, RowLock};
use crate::scope::{Level, Place, Range, RangeColumn, RowOf, Scope, Visible, shift_columns};

/// So many items of FROM the optimizer orders together; more come in groups anyway.
const JOINED_FROM_LEFT_MAX: usize = 128;

/// A bound item of FROM. `lateral`: the values of its outer slots, over the row to its left.
pub(super) struct Item<'s> {
    pub rel: Rel,
    pub scope: Scope<'s>,
    pub lateral: Option<Vec<Expr>>,
}

/// Where in a scope the items of a join tree begin: to their left are other items of FROM, which LATERAL may mention and
/// ON may not.
#[derive(Clone, Copy, Default)]
struct Own {
    ranges: usize,
    visible: usize,
}

impl Own {
    fn of<'s>(self, scope: &Scope<'s>) -> Scope<'s> {
        let (ranges, visible) = (scope.ranges[self.ranges..].to_vec(), scope.visible[self.visible..].to_vec());
        Scope { level: scope.level, ranges, visible, width: scope.width, reads: scope.reads.clone() }
    }
}

/// A condition of a tree of joins that began to mention what stands beside the tree: only LATERAL may.
fn refuse_beside(level: &Level<'_>, (before, uses): (usize, usize)) -> SqlResult<()> {
    let (Place::LateralTree, Some(beside)) = (level.place, level.parent) else { return Ok(()) };
    let slots = level.slots.borrow();
    let is_of_it = |slot: &&Expr| !matches!(slot, Expr::Outer(..));
    // What LATERAL mentioned before has its slot; nothing else is outside where the query stands in no other.
    let is_used_again = level.outer_uses.get() > uses && beside.level.parent.is_none();
    let again = || slots.iter().find(is_of_it).filter(|_| is_used_again);
    let Some(slot) = slots[before..].iter().find(is_of_it).or_else(again) else { return Ok(()) };
    let is_mentioned = |range: &&Range| range.columns.iter().any(|column| same_expr(slot, &column.expr));
    let name = beside.ranges.iter().find(is_mentioned).map_or("", |range| range.name.as_str());
    let message = format!("invalid reference to FROM-clause entry for table \"{name}\"");
    Err(SqlError::new(SqlState::UndefinedTable, message).with_hint(format!(
        "There is an entry for table \"{name}\", but it cannot be referenced from this part of the query."
    )))
}

/// A join's condition and the columns it merged.
type Condition = (Option<Expr>, Vec<Visible>);

impl Binder<'_> {
    /// The whole FROM clause; no items are one row without columns.
    pub(super) fn from_items<'s>(
        &mut self,
        from: &[ast::TableWithJoins],
        level: &'s Level<'s>,
    ) -> SqlResult<(Rel, Scope<'s>)> {
        let unit = Rel { node: RelNode::Unit, columns: Vec::new() };
        self.from_after((unit, Scope::empty(level)), from, level)
    }

    /// Items joined to the right of what is there already.
    pub(super) fn from_after<'s>(
        &mut self,
        left: (Rel, Scope<'s>),
        from: &[ast::TableWithJoins],
        level: &'s Level<'s>,
    ) -> SqlResult<(Rel, Scope<'s>)> {
        let (rel, mut scope) = left;
        // What stands side by side and mentions nothing of its left is multiplied at the end.
        let mut beside: Vec<Rel> = if matches!(rel.node, RelNode::Unit) { Vec::new() } else { vec![rel] };
        for item in from {
            let reaches_left = item.joins.iter().any(|join| may_be_lateral(&join.relation));
            if (reaches_left || may_be_lateral(&item.relation)) && !scope.ranges.is_empty() && !item.joins.iter().all(keeps_left) {
                let tree = self.tree_beside(item, level, &scope)?;
                if tree.lateral.is_some() {
                    let rel = self.product(std::mem::take(&mut beside))?;
                    let (rel, joined) = self.cross(rel, scope, tree)?;
                    scope = joined;
                    beside.push(rel);
                } else {
                    scope = scope.join(tree.scope)?;
                    beside.push(tree.rel);
                }
                continue;
            }
            if reaches_left && !scope.ranges.is_empty() && item.joins.iter().all(keeps_left) {
                // Its laterals may mention all that is to the left: join one by one.
                let first = self.factor(&item.relation, level, Some(&scope))?;
                let mut rel = self.product(std::mem::take(&mut beside))?;
                let own = Own { ranges: scope.ranges.len(), visible: scope.visible.len() };
                (rel, scope) = self.cross(rel, scope, first)?;
                for join in &item.joins {
                    (rel, scope) = self.join(rel, scope, join, level, own)?;
                }
                beside.push(rel);
                continue;
            }
            let mark = self.recursion_mark();
            let first = self.factor(&item.relation, level, Some(&scope))?;
            if first.lateral.is_some() {
                let mut rel = self.product(std::mem::take(&mut beside))?;
                let own = Own { ranges: scope.ranges.len(), visible: scope.visible.len() };
                (rel, scope) = self.cross(rel, scope, first)?;
                for join in &item.joins {
                    (rel, scope) = self.join(rel, scope, join, level, own)?;
                }
                beside.push(rel);
                continue;
            }
            let (mut tree, mut tree_scope) = (first.rel, first.scope);
            for join in &item.joins {
                use ast::JoinOperator::{FullOuter, Right, RightOuter};
                if matches!(join.join_operator, Right(_) | RightOuter(_) | FullOuter(_)) {
                    self.refuse_recursion(&mark, "an outer join")?;
                }
                (tree, tree_scope) = self.join(tree, tree_scope, join, level, Own::default())?;
            }
            scope = if beside.is_empty() { tree_scope } else { scope.join(tree_scope)? };
            beside.push(tree);
        }
        Ok((self.product(beside)?, scope))
    }

    /// A tree of joins whose laterals may mention what is to its left, as one item: each row there is joined with what the
    /// whole tree gives for it, and not the first item of the tree alone, as the others may keep rows that it has not.
    fn tree_beside<'s>(&mut self, tree: &ast::TableWithJoins, level: &'s Level<'s>, left: &Scope<'s>) -> SqlResult<Item<'s>> {
        let own = self.level_in(left, Place::LateralTree);
        let (rel, scope) = self.nested(1, |binder| binder.from_items(std::slice::from_ref(tree), &own))?;
        let Scope { ranges, visible, width, reads, .. } = scope;
        let slots = own.slots.take();
        let lateral = (!slots.is_empty()).then_some(slots);
        Ok(Item { rel, scope: Scope { level, ranges, visible, width, reads }, lateral })
    }

    /// All rows of each with all rows of the others. Few are joined from the left, as a query would be written with
    /// JOIN; many pair by pair, so that no chain of joins grows with their number.
    fn product(&mut self, mut items: Vec<Rel>) -> SqlResult<Rel> {
        if items.len() > JOINED_FROM_LEFT_MAX {
            while items.len() > 1 {
                self.above(1)?;
                let mut halved = Vec::with_capacity(items.len().div_ceil(2));
                let mut rest = items.into_iter();
                while let Some(left) = rest.next() {
                    halved.push(match rest.next() {
                        Some(right) => self.join_rel(left, right, JoinKind::Inner, None, None)?,
                        None => left,
                    });
                }
                items = halved;
            }
        }
        let mut items = items.into_iter();
        let Some(mut rel) = items.next() else { return Ok(Rel { node: RelNode::Unit, columns: Vec::new() }) };
        for right in items {
            self.above(1)?;
            rel = self.join_rel(rel, right, JoinKind::Inner, None, None)?;
        }
        Ok(rel)
    }

    fn cross<'s>(&mut self, left: Rel, left_scope: Scope<'s>, right: Item<'s>) -> SqlResult<(Rel, Scope<'s>)> {
        if matches!(left.node, RelNode::Unit) && right.lateral.is_none() {
            return Ok((right.rel, right.scope));
        }
        self.above(1)?;
        let scope = left_scope.join(right.scope)?;
        Ok((self.join_rel(left, right.rel, JoinKind::Inner, None, right.lateral)?, scope))
    }

    fn join_rel(
        &mut self,
        left: Rel,
        right: Rel,
        kind: JoinKind,
        on: Option<Expr>,
        lateral: Option<Vec<Expr>>,
    ) -> SqlResult<Rel> {
        let columns: Vec<PlanColumn> = left.columns.iter().chain(&right.columns).cloned().collect();
        self.copies(columns.len())?;
        Ok(Rel { node: RelNode::Join { left: Box::new(left), right: Box::new(right), kind, on, lateral }, columns })
    }

    fn join<'s>(
        &mut self,
        left: Rel,
        left_scope: Scope<'s>,
        join: &ast::Join,
        level: &'s Level<'s>,
        own: Own,
    ) -> SqlResult<(Rel, Scope<'s>)> {
        use ast::JoinOperator as Op;
        let none = ast::JoinConstraint::None;
        let (kind, constraint) = match &join.join_operator {
            Op::Join(constraint) | Op::Inner(constraint) => (JoinKind::Inner, constraint),
            Op::Left(constraint) | Op::LeftOuter(constraint) => (JoinKind::Left, constraint),
            Op::Right(constraint) | Op::RightOuter(constraint) => (JoinKind::Right, constraint),
            Op::FullOuter(constraint) => (JoinKind::Full, constraint),
            Op::CrossJoin(ast::JoinConstraint::None) => (JoinKind::Inner, &none),
            other => {
                return Err(SqlError::new(SqlState::SyntaxError, format!("{other:?} is no join of this language")));
            }
        };
        let is_cross = matches!(join.join_operator, Op::CrossJoin(_));
        if !is_cross && matches!(constraint, ast::JoinConstraint::None) {
            return Err(SqlError::new(SqlState::SyntaxError, "a join needs ON, USING or NATURAL"));
        }
        let mark = self.recursion_mark();
        let right = match kind {
            JoinKind::Right | JoinKind::Full => match self.factor(&join.relation, level, None) {
                Ok(right) => right,
                // Something is not known without the rows to the left: what it is of those is refused below.
                Err(error) => match self.factor(&join.relation, level, Some(&left_scope)) {
                    Ok(right) if right.lateral.is_some() => right,
                    _ => return Err(error),
                },
            },
            _ => self.factor(&join.relation, level, Some(&left_scope))?,
        };
        if matches!(kind, JoinKind::Left | JoinKind::Full) {
            self.refuse_recursion(&mark, "an outer join")?;
        }
        if let Some(slots) = &right.lateral
            && matches!(kind, JoinKind::Right | JoinKind::Full)
        {
            let is_mentioned = |range: &&Range| range.columns.iter().any(|column| slots.iter().any(|slot| same_expr(slot, &column.expr)));
            let name = left_scope.ranges.iter().find(is_mentioned).map_or("", |range| range.name.as_str());
            let message = format!("invalid reference to FROM-clause entry for table \"{name}\"");
            return Err(SqlError::new(SqlState::InvalidColumnReference, message)
                .with_detail("The combining JOIN type must be INNER or LEFT for a LATERAL reference."));
        }
        let merges = matches!(constraint, ast::JoinConstraint::Using(_) | ast::JoinConstraint::Natural);
        let visible = |scope: &Scope<'_>| if merges { scope.visible.clone() } else { Vec::new() };
        let (left_visible, right_visible) = (visible(&left_scope), visible(&right.scope));
        let shift = left_scope.width;
        let mut scope = left_scope.join(right.scope)?;
        let (on, merged) = match constraint {
            ast::JoinConstraint::None => (None, Vec::new()),
            ast::JoinConstraint::On(expr) => {
                let on = if own.ranges == 0 {
                    let before = (level.slots.borrow().len(), level.outer_uses.get());
                    let on = self.with_frame(Clause::JoinOn, |binder| binder.boolean(expr, &scope, "JOIN/ON"))?;
                    refuse_beside(level, before)?;
                    on
                } else {
                    let inside = own.of(&scope);
                    self.with_frame(Clause::JoinOn, |binder| binder.boolean(expr, &inside, "JOIN/ON"))?
                };
                (Some(on), Vec::new())
            }
            ast::JoinConstraint::Using(names) => {
                let names = names
                    .iter()
                    .map(|name| Ok(name_parts(name)?.pop().unwrap_or_default()))
                    .collect::<SqlResult<Vec<_>>>()?;
                self.merge(kind, &names, &left_visible, &right_visible, shift)?
            }
            ast::JoinConstraint::Natural => {
                let names: Vec<String> = left_visible
                    .iter()
                    .map(|column| column.name.clone())
                    .filter(|name| right_visible.iter().any(|column| column.name == *name))
                    .collect();
                self.merge(kind, &names, &left_visible, &right_visible, shift)?
            }
        };
        // Both sides of USING are read, whichever is shown.
        if merges {
            on.iter().for_each(|on| scope.mark(on));
        }
        if !merged.is_empty() {
            let names: Vec<String> = merged.iter().map(|column| column.name.clone()).collect();
            let rest = scope.visible.drain(..).filter(|column| !names.contains(&column.name));
            scope.visible = merged.into_iter().chain(rest.collect::<Vec<_>>()).collect();
        }
        self.above(1)?;
        Ok((self.join_rel(left, right.rel, kind, on, right.lateral)?, scope))
    }

    /// USING: equality of the columns of these names, and the columns that stand for both.
    fn merge(
        &mut self,
        kind: JoinKind,
        names: &[String],
        left: &[Visible],
        right: &[Visible],
        shift: usize,
    ) -> SqlResult<Condition> {
        let find = |columns: &[Visible], name: &str, side: &str| {
            let mut found = columns.iter().filter(|column| column.name == name);
            let first = found.next().ok_or_else(|| {
                SqlError::new(
                    SqlState::UndefinedColumn,
                    format!("column \"{name}\" specified in USING clause does not exist in {side} table"),
                )
            })?;
            if found.next().is_some() {
                return Err(SqlError::new(
                    SqlState::AmbiguousColumn,
                    format!("common column name \"{name}\" appears more than once in {side} table"),
                ));
            }
            Ok(first.expr.clone())
        };
        let mut conditions = Vec::with_capacity(names.len());
        let mut merged = Vec::with_capacity(names.len());
        for name in names {
            let left = find(left, name, "left")?;
            let mut right = find(right, name, "right")?;
            shift_columns(&mut right, shift);
            conditions.push(self.binary("=", left.clone(), right.clone())?);
            let ty = super::types::common_type(&[left.ty(), right.ty()], "JOIN/USING")?;
            let expr = match kind {
                JoinKind::Right => self.coerce(right, ty, CastContext::Implicit)?,
                JoinKind::Full => {
                    let left = self.coerce(left, ty, CastContext::Implicit)?;
                    let right = self.coerce(right, ty, CastContext::Implicit)?;
                    Expr::Coalesce(vec![left, right], ty)
                }
                _ => self.coerce(left, ty, CastContext::Implicit)?,
            };
            merged.push(Visible { name: name.clone(), expr });
        }
        let on = if conditions.is_empty() { None } else { Some(conjunction(conditions)) };
        Ok((on, merged))
    }

    pub(super) fn factor<'s>(
        &mut self,
        factor: &ast::TableFactor,
        level: &'s Level<'s>,
        left: Option<&Scope<'s>>,
    ) -> SqlResult<Item<'s>> {
        match factor {
            ast::TableFactor::Table { name, alias, args: None, sample: None, version: None, .. } => {
                let bound = self.named(name, alias.as_ref(), level);
                bound.map_err(|error| match error.code() {
                    // What policies refuse has no place in the statement.
                    SqlState::InvalidObjectDefinition => error,
                    _ if super::policy::is_row_security_refusal(&error) => error,
                    _ => self.at(error, name),
                })
            }
            ast::TableFactor::Table { name, alias, args: None, sample: Some(sample), version: None, .. } => {
                let (ast::TableSampleKind::BeforeTableAlias(sample) | ast::TableSampleKind::AfterTableAlias(sample)) = sample;
                let item = self.named(name, alias.as_ref(), level).map_err(|error| self.at(error, name))?;
                self.sampled(item, sample, level)
            }
            ast::TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } => {
                let bound = self.function_item(name, &args.args, *with_ordinality, alias.as_ref(), level, left);
                bound.map_err(|error| self.at_function(error, name))
            }
            ast::TableFactor::Function { name, args, alias, with_ordinality, .. } => {
                let bound = self.function_item(name, args, *with_ordinality, alias.as_ref(), level, left);
                bound.map_err(|error| self.at_function(error, name))
            }
            ast::TableFactor::UNNEST { alias, array_exprs, with_offset: false, with_ordinality, .. } => {
                let args: Vec<Vec<ast::FunctionArg>> = array_exprs
                    .iter()
                    .map(|expr| vec![ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr.clone()))])
                    .collect();
                let unnest = ["unnest".to_owned()];
                let calls: Vec<(&[String], Vec<&ast::FunctionArg>)> =
                    args.iter().map(|args| (&unnest[..], args.iter().collect())).collect();
                self.set_functions(&calls, *with_ordinality, "unnest", alias.as_ref(), level, left)
            }
            ast::TableFactor::Derived { sample: Some(_), .. } => {
                Err(SqlError::new(SqlState::SyntaxError, "syntax error at or near \"TABLESAMPLE\""))
            }
            ast::TableFactor::Derived { lateral, subquery, alias, sample: None } => {
                let own;
                let (rel, slots) = match left.filter(|left| *lateral && !left.ranges.is_empty()) {
                    Some(left) => {
                        own = self.level_in(left, Place::LateralQuery);
                        let rel = self.query(subquery, &own, Outputs::Settled)?;
                        (rel, own.slots.take())
                    }
                    None => (self.query(subquery, level, Outputs::Settled)?, Vec::new()),
                };
                let Some(name) = alias.as_ref().map(|alias| fold(&alias.name)) else {
                    let what = if matches!(*subquery.body, ast::SetExpr::Values(_)) { "VALUES" } else { "subquery" };
                    let error =
                        SqlError::new(SqlState::SyntaxError, format!("{what} in FROM must have an alias"));
                    let example = if what == "VALUES" { "VALUES ..." } else { "SELECT ..." };
                    let error = error.with_hint(format!("For example, FROM ({example}) [AS] foo."));
                    return Err(self.at_parenthesis(error, subquery.as_ref()));
                };
                let range = named_range(&name, &rel.columns, None, alias.as_ref())?;
                let lateral = (!slots.is_empty()).then_some(slots);
                Ok(Item { rel, scope: Scope::of_range(level, range), lateral })
            }
            ast::TableFactor::NestedJoin { table_with_joins, alias } => {
                let inside = std::slice::from_ref(&**table_with_joins);
                let (rel, mut scope, lateral) = match left.filter(|left| !left.ranges.is_empty() && holds_lateral(table_with_joins)) {
                    Some(left) => {
                        let Item { rel, scope, lateral } = self.tree_beside(table_with_joins, level, left)?;
                        (rel, scope, lateral)
                    }
                    None => {
                        let (rel, scope) = self.nested(1, |binder| binder.from_items(inside, level))?;
                        (rel, scope, None)
                    }
                };
                if let Some(alias) = alias {
                    check_name(&alias.name)?;
                    let columns = scope
                        .visible
                        .iter()
                        .enumerate()
                        .map(|(at, it)| RangeColumn {
                            name: alias.columns.get(at).map_or_else(|| it.name.clone(), |column| fold(&column.name)),
                            expr: it.expr.clone(),
                            hidden: false,
                        })
                        .collect::<Vec<_>>();
                    check_alias_count(alias, columns.len())?;
                    scope.visible =
                        columns.iter().map(|it| Visible { name: it.name.clone(), expr: it.expr.clone() }).collect();
                    scope.ranges = vec![Range { name: fold(&alias.name), schema: None, table: None, catalog_oid: None, columns, row_of: RowOf::Nothing }];
                }
                Ok(Item { rel, scope, lateral })
            }
            other => Err(SqlError::not_supported(format!("this item of FROM is not supported: {other}"))),
        }
    }

    /// `TABLE name`.
    pub(super) fn whole_table(&mut self, name: &ast::ObjectName, level: &Level<'_>) -> SqlResult<Rel> {
        let item = self.named(name, None, level)?;
        let outputs: Vec<_> = item.scope.visible.iter().collect();
        outputs.iter().for_each(|it| item.scope.mark(&it.expr));
        let columns = outputs
            .iter()
            .map(|it| match &it.expr {
                Expr::Column(at, _) => PlanColumn { name: it.name.clone(), ..item.rel.columns[*at].clone() },
                other => computed(it.name.clone(), other.ty()),
            })
            .collect();
        let exprs = outputs.iter().map(|it| it.expr.clone()).collect();
        Ok(project(item.rel, exprs, columns))
    }

    fn named<'s>(
        &mut self,
        name: &ast::ObjectName,
        alias: Option<&ast::TableAlias>,
        level: &'s Level<'s>,
    ) -> SqlResult<Item<'s>> {
        let (schema, relation) = qualified_name(self.context, name)?;
        let shown = alias.map_or_else(|| relation.clone(), |alias| fold(&alias.name));
        if schema.is_none() {
            if let Some(rel) = self.cte_reference(&relation, level)? {
                let own = rel.columns.len() - self.added_columns(&relation);
                let range = range_of(&shown, &rel.columns, &|at| at >= own, alias)?;
                return Ok(Item { rel, scope: Scope::of_range(level, range), lateral: None });
            }
            if let Some(transition) = self.context.transitions.iter().find(|transition| transition.name == relation) {
                let visible = transition.table.visible_columns();
                let columns: Vec<PlanColumn> = visible.map(|(_, column)| computed(column.name.clone(), column.ty)).collect();
                let range = named_range(&shown, &columns, None, alias)?;
                let rel = Rel { node: RelNode::Transition(relation), columns };
                return Ok(Item { rel, scope: Scope::of_range(level, range), lateral: None });
            }
        }
        // The catalog's own tables come first in the search, unless the path says otherwise.
        let found = match find_relation(self.context, schema.as_deref(), &relation)? {
            _ if self.virtual_first(schema.as_deref(), &relation) => None,
            found => found,
        };
        if let Some(found) = &found {
            self.note_named(schema.as_deref(), &relation, found);
        }
        match found {
            Some(Relation::Table(table)) => {
                let lock = self.lock_for(&shown);
                if lock.is_some() && table.materialized.is_some() {
                    let message = format!("cannot lock rows in materialized view \"{}\"", table.name);
                    return Err(SqlError::new(SqlState::WrongObjectType, message));
                }
                let mention = self.mention(table.id, PrivilegeSet::SELECT);
                if lock.is_some() {
                    mention.needs(PrivilegeSet::UPDATE);
                }
                let reads = mention.of_table(&table);
                let is_empty = table.is_partitioned() && is_only(name);
                let (rel, range) = self.table_rel(table.clone(), &shown, schema, lock, alias)?;
                let rel = self.visible_rows(rel, &table, lock.is_some())?;
                let rel = if is_empty { no_rows(rel) } else { rel };
                return Ok(Item { rel, scope: Scope::of_range(level, range).reading(reads), lateral: None });
            }
            Some(Relation::View(view)) => {
                let lock = self.lock_for(&shown);
                let mention = self.mention(view.id, PrivilegeSet::SELECT);
                if lock.is_some() {
                    mention.needs(PrivilegeSet::UPDATE);
                }
                let rel = self.view(&view, lock)?;
                let mut range = self.view_range(&view, &shown, &rel.columns, alias)?;
                range.schema = self.schema_name(view.schema).filter(|_| alias.is_none());
                range.row_of = RowOf::Relation(view.id);
                let reads = mention.of_width(rel.columns.len());
                return Ok(Item { rel, scope: Scope::of_range(level, range).reading(reads), lateral: None });
            }
            Some(Relation::Sequence(sequence)) => {
                self.mention(sequence.id, PrivilegeSet::SELECT);
                let rel = sequence_rel(&sequence);
                let mut range = named_range(&shown, &rel.columns, None, alias)?;
                range.schema = self.schema_name(sequence.schema).filter(|_| alias.is_none());
                return Ok(Item { rel, scope: Scope::of_range(level, range), lateral: None });
            }
            None => {}
        }
        match self.virtual_table(schema.as_deref(), &relation) {
            Some(table) => {
                let columns: Vec<PlanColumn> = table
                    .columns
                    .iter()
                    .enumerate()
                    .map(|(at, (name, ty))| PlanColumn {
                        name: (*name).to_owned(),
                        ty: *ty,
                        table_oid: table.oid,
                        attribute: attribute(at),
                    })
                    .collect();
                let mut range = named_range(&shown, &columns, None, alias)?;
                range.schema = Some(table.schema.to_owned()).filter(|_| alias.is_none());
                range.catalog_oid = Some(table.oid);
                self.context.notes.needs.add(Need::Shown);
                if has_secrets(table.name) {
                    self.context.notes.needs.add(Need::Secrets(table.name));
                }
                let rel = Rel { node: RelNode::Virtual(table), columns };
                Ok(Item { rel, scope: Scope::of_range(level, range), lateral: None })
            }
            None => Err(no_relation(schema.as_deref(), &relation)),
        }
    }

    /// A relation is read or changed, with the privileges of the view around it or of the statement's user.
    pub(super) fn mention(&self, relation: u32, privileges: PrivilegeSet) -> Mention {
        self.context.notes.needs.mention(relation, self.acting, privileges)
    }

    /// A relation is changed through the view that `top` mentions.
    pub(super) fn mention_below(&self, relation: u32, top: &Mention) -> Mention {
        self.context.notes.needs.mention_below(relation, self.acting, top)
    }

    pub(super) fn schema_name(&self, id: u32) -> Option<String> {
        self.context.catalog.schema_by_id(id).map(|schema| schema.name.clone())
    }

    /// A table of `catalog::virtual_tables`, by the same search as others.
    fn virtual_table(&self, schema: Option<&str>, name: &str) -> Option<&'static VirtualTable> {
        match schema {
            Some(schema) => find_virtual(schema, name),
            None => self.search_names().iter().find_map(|schema| find_virtual(schema, name)),
        }
    }

    /// Whether a virtual table hides whatever else has this name.
    fn virtual_first(&self, schema: Option<&str>, name: &str) -> bool {
        let is_kept = || self.context.names.iter().any(|kept| kept.schema.is_none() && kept.name == name);
        if schema.is_some() || is_kept() {
            return false;
        }
        for id in
            self.context.catalog.search_schemas(self.context.database, self.context.search_path, self.context.user)
        {
            if self.context.catalog.relation(id, name).is_some() {
                return false;
            }
            let schema = self.schema_name(id);
            if schema.is_some_and(|schema| find_virtual(&schema, name).is_some()) {
                return true;
            }
        }
        false
    }

    fn search_names(&self) -> Vec<String> {
        let ids =
            self.context.catalog.search_schemas(self.context.database, self.context.search_path, self.context.user);
        let mut names: Vec<String> = ids.into_iter().filter_map(|id| self.schema_name(id)).collect();
        if !self.context.search_path.iter().any(|name| name == "pg_catalog") {
            names.insert(0, "pg_catalog".to_owned());
        }
        names
    }

    pub(super) fn table_rel(
        &mut self,
        table: Arc<Table>,
        shown: &str,
        schema: Option<String>,
        lock: Option<RowLock>,
        alias: Option<&ast::TableAlias>,
    ) -> SqlResult<(Rel, Range)> {
        let columns: Vec<PlanColumn> = table
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| PlanColumn {
                name: column.name.clone(),
                ty: column.declared(),
                table_oid: table.id,
                attribute: attribute(at),
            })
            .collect();
        let mut range = match self.columns_as_named(table.id) {
            None => named_range(shown, &columns, Some(&table), alias)?,
            Some(known) => {
                let named = |at: usize| known.iter().find(|(id, _)| *id == table.columns[at].id.get());
                let mut renamed = columns.clone();
                for (at, column) in renamed.iter_mut().enumerate() {
                    named(at).into_iter().for_each(|(_, name)| column.name.clone_from(name));
                }
                range_of(shown, &renamed, &|at| table.columns[at].hidden || named(at).is_none(), alias)?
            }
        };
        if alias.is_none() {
            range.schema = schema.or_else(|| self.schema_name(table.schema));
        }
        range.table = Some((Arc::clone(&table), 0));
        Ok((Rel { node: RelNode::Table { table, lock }, columns }, range))
    }
}

/// A partitioned table without its partitions has no rows.
pub(super) fn no_rows(rel: Rel) -> Rel {
    super::query::filter(rel, Expr::Const(Datum::Bool(false), SqlType::Bool))
}

/// The one row of a sequence. Values are given out one by one: none is logged ahead.
fn sequence_rel(sequence: &Sequence) -> Rel {
    let read = |op| {
        let oid = Expr::Const(Datum::Int(sequence.id.into()), SqlType::RegClass);
        Expr::Sequence { op, args: vec![oid] }
    };
    let exprs = vec![
        read(SequenceOp::Position),
        Expr::Const(Datum::Int(0), SqlType::Int8),
        read(SequenceOp::IsCalled),
    ];
    let names = ["last_value", "log_cnt", "is_called"].into_iter().zip(&exprs).enumerate();
    let columns = names
        .map(|(at, (name, expr))| PlanColumn {
            name: name.to_owned(),
            ty: expr.ty(),
            table_oid: sequence.id,
            attribute: attribute(at),
        })
        .collect();
    project(Rel { node: RelNode::Unit, columns: Vec::new() }, exprs, columns)
}

/// Attribute numbers count from 1.
pub(super) fn attribute(position: usize) -> i16 {
    i16::try_from(position + 1).unwrap_or(i16::MAX)
}

fn check_alias_count(alias: &ast::TableAlias, count: usize) -> SqlResult<()> {
    if alias.columns.len() <= count {
        return Ok(());
    }
    Err(SqlError::new(
        SqlState::InvalidColumnReference,
        format!(
            "table \"{}\" has {count} columns available but {} columns specified",
            fold(&alias.name),
            alias.columns.len()
        ),
    ))
}

/// A range over a row of its own; an alias may rename the leading columns.
pub(super) fn named_range(
    name: &str,
    columns: &[PlanColumn],
    table: Option<&Table>,
    alias: Option<&ast::TableAlias>,
) -> SqlResult<Range> {
    range_of(name, columns, &|at| table.is_some_and(|table| table.columns[at].hidden), alias)
}

pub(super) fn range_of(
    name: &str,
    columns: &[PlanColumn],
    is_hidden: &dyn Fn(usize) -> bool,
    alias: Option<&ast::TableAlias>,
) -> SqlResult<Range> {
    if let Some(alias) = alias {
        check_name(&alias.name)?;
    }
    let mut renamed = alias.map(|alias| alias.columns.as_slice()).unwrap_or_default().iter();
    if let Some(alias) = alias {
        check_alias_count(alias, (0..columns.len()).filter(|at| !is_hidden(*at)).count())?;
    }
    let columns = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let hidden = is_hidden(at);
            let new_name = if hidden { None } else { renamed.next() };
            RangeColumn {
                name: new_name.map_or_else(|| column.name.clone(), |it| fold(&it.name)),
                expr: Expr::Column(at, column.ty),
                hidden,
            }
        })
        .collect();
    Ok(Range { name: name.to_owned(), schema: None, table: None, catalog_oid: None, columns, row_of: RowOf::Nothing })
}

fn may_be_lateral(factor: &ast::TableFactor) -> bool {
    match factor {
        ast::TableFactor::Derived { lateral, .. } => *lateral,
        ast::TableFactor::Function { .. } | ast::TableFactor::UNNEST { .. } => true,
        ast::TableFactor::Table { args, .. } => args.is_some(),
        _ => false,
    }
}

fn holds_lateral(tree: &ast::TableWithJoins) -> bool {
    let holds = |factor: &ast::TableFactor| match factor {
        ast::TableFactor::NestedJoin { table_with_joins, .. } => holds_lateral(table_with_joins),
        other => may_be_lateral(other),
    };
    holds(&tree.relation) || tree.joins.iter().any(|join| holds(&join.relation))
}

/// The joins that may be attached to a longer left side without changing their result.
fn keeps_left(join: &ast::Join) -> bool {
    use ast::JoinOperator as Op;
    let constraint = match &join.join_operator {
        Op::Join(constraint) | Op::Inner(constraint) | Op::Left(constraint) | Op::LeftOuter(constraint) => constraint,
        Op::CrossJoin(constraint) => constraint,
        _ => return false,
    };
    matches!(constraint, ast::JoinConstraint::On(_) | ast::JoinConstraint::None)
}
