//! MERGE: the target's rows are joined with those of the source, and the first WHEN that applies says what becomes of
//! each.
//!
//! The source of the plan yields the target's columns, then the source's. A row without a match has NULLs for the
//! target, which its primary key tells from a row of it.

use std::sync::Arc;

use catalog::privilege::PrivilegeSet;
use catalog::{Relation, Table, TriggerEvent};
use sqlparser::ast;
use types::{SqlError, SqlResult, SqlState};

use super::dml::{CHANGE_LOCK, no_plan};
use super::policy::{Writes, with_policies};
use super::query::project;
use super::target::Target;
use super::through::Mentioned;
use super::{Binder, Clause, find_relation, fold, name_parts, no_relation, qualified_name};
use crate::expr::Expr;
use crate::logical::{Rel, RelNode};
use crate::parse::extras::read_overriding;
use crate::plan::{JoinKind, Merge, MergeAction, MergeWhen, PlanColumn};
use crate::scope::{Level, Scope};

fn syntax(message: &str) -> SqlError {
    SqlError::new(SqlState::SyntaxError, message)
}

fn is_matched(clause: &ast::MergeClause) -> SqlResult<bool> {
    match clause.clause_kind {
        ast::MergeClauseKind::Matched => Ok(true),
        ast::MergeClauseKind::NotMatched => Ok(false),
        ast::MergeClauseKind::NotMatchedBySource | ast::MergeClauseKind::NotMatchedByTarget => {
            Err(syntax("syntax error at or near \"BY\""))
        }
    }
}

/// The privileges that the actions need, besides those on columns.
fn privileges(merge: &ast::Merge) -> Vec<PrivilegeSet> {
    let of = |clause: &ast::MergeClause| match &clause.action {
        ast::MergeAction::Insert(_) => Some(PrivilegeSet::INSERT),
        ast::MergeAction::Update(_) => Some(PrivilegeSet::UPDATE),
        ast::MergeAction::Delete { .. } => Some(PrivilegeSet::DELETE),
        ast::MergeAction::DoNothing { .. } => None,
    };
    merge.clauses.iter().filter_map(of).collect()
}

/// What the action for a row that is not there says of the target.
fn out_of_reach(error: SqlError, target: &str) -> SqlError {
    if error.message() != format!("missing FROM-clause entry for table \"{target}\"") {
        return error;
    }
    let message = format!("invalid reference to FROM-clause entry for table \"{target}\"");
    let new = SqlError::new(SqlState::UndefinedTable, message).with_hint(format!(
        "There is an entry for table \"{target}\", but it cannot be referenced from this part of the query."
    ));
    match error.position {
        Some(position) => new.with_position(position),
        None => new,
    }
}

impl Binder<'_> {
    pub(super) fn merge_rows(&mut self, merge: &ast::Merge, level: &Level<'_>) -> SqlResult<Rel> {
        let ast::TableFactor::Table { name, alias, args: None, .. } = &merge.table else {
            return Err(syntax("only a table can be changed"));
        };
        if merge.output.is_some() {
            return Err(syntax("syntax error at or near \"RETURNING\""));
        }
        if merge.clauses.is_empty() {
            return Err(syntax("syntax error at end of input"));
        }
        let (name, overriding) = read_overriding(name);
        self.overriding = overriding;
        let table = self.merged_table(&name)?;
        let shown = alias.as_ref().map_or_else(|| table.name.clone(), |alias| fold(&alias.name));
        let privileges = privileges(merge);
        let mention = self.mention(table.id, privileges.first().copied().unwrap_or(PrivilegeSet::SELECT));
        privileges.iter().for_each(|privilege| mention.needs(*privilege));
        // Rows that no action changes are not locked.
        let changes = |it: &PrivilegeSet| *it == PrivilegeSet::UPDATE || *it == PrivilegeSet::DELETE;
        let lock = privileges.iter().any(changes).then_some(CHANGE_LOCK);
        let (target_rel, range) = self.table_rel(Arc::clone(&table), &shown, None, lock, alias.as_ref())?;
        let target = Target {
            name: table.name.clone(),
            id: table.id,
            mentions: vec![Mentioned::of_table(mention, &table)],
            table: Arc::clone(&table),
            columns: None,
            event: TriggerEvent::Update,
            checks: Vec::new(),
        };
        let width = target_rel.columns.len();
        let target_scope = Scope { width, ..Scope::of_range(level, range) }.reading_all(target.reads());
        let from = ast::TableWithJoins { relation: merge.source.clone(), joins: Vec::new() };
        let source = self.from_items(std::slice::from_ref(&from), level);
        let (source_rel, source_scope) = source.map_err(|error| out_of_reach(error, &shown))?;
        if source_scope.ranges.iter().any(|range| range.name == shown) {
            let message = format!("name \"{shown}\" specified more than once");
            return Err(SqlError::new(SqlState::DuplicateAlias, message)
                .with_detail("The name is used both as MERGE target table and data source."));
        }
        // Of a row that is not there nothing can be read.
        let unmatched = Scope { width, ..Scope::empty(level) }.join(source_scope.clone())?;
        let joined = source_scope.clone().join(target_scope.clone())?;
        let on = self.with_frame(Clause::JoinOn, |binder| binder.boolean(&merge.on, &joined, "JOIN/ON"))?;
        let matched = target_scope.join(source_scope)?;
        let mut whens: Vec<MergeWhen> = Vec::with_capacity(merge.clauses.len());
        for clause in &merge.clauses {
            let is_matched = is_matched(clause)?;
            if whens.iter().any(|when| when.is_matched == is_matched && when.condition.is_none()) {
                return Err(syntax("unreachable WHEN clause specified after unconditional WHEN clause"));
            }
            let scope = if is_matched { &matched } else { &unmatched };
            let condition = clause.predicate.as_ref().map(|expr| {
                self.with_frame(Clause::MergeWhen, |binder| binder.boolean(expr, scope, "WHEN"))
            });
            let condition = condition.transpose().map_err(|error| out_of_reach(error, &shown))?;
            let action = self.merge_action(&target, &clause.action, scope);
            let action = action.map_err(|error| out_of_reach(error, &shown))?;
            whens.push(MergeWhen { is_matched, condition, action });
        }
        // From the source's rows to the target's, by an index where there is one, and in the order of the source.
        let kind = if whens.iter().any(|when| !when.is_matched) { JoinKind::Left } else { JoinKind::Inner };
        self.above(3)?;
        let target_rel = self.merged_rows(target_rel, &target)?;
        let columns: Vec<PlanColumn> = source_rel.columns.iter().chain(&target_rel.columns).cloned().collect();
        let of_source = source_rel.columns.len();
        let (left, right) = (Box::new(source_rel), Box::new(target_rel));
        let joined = Rel { node: RelNode::Join { left, right, kind, on: Some(on), lateral: None }, columns };
        let order = (of_source..joined.columns.len()).chain(0..of_source);
        let (exprs, columns) =
            order.map(|at| (Expr::Column(at, joined.columns[at].ty), joined.columns[at].clone())).unzip();
        let source = project(joined, exprs, columns);
        let mut row_rules = target.rules(self)?;
        with_policies(&mut row_rules, self.policy_rules(&target, Writes::Merge)?);
        let merge = Merge { table, source: no_plan(), whens, row_rules };
        let node = RelNode::Merge { merge: Box::new(merge), source: Box::new(source) };
        Ok(Rel { node, columns: Vec::new() })
    }

    fn merged_table(&self, name: &ast::ObjectName) -> SqlResult<Arc<Table>> {
        let (schema, relation) = qualified_name(self.context, name)?;
        let found = find_relation(self.context, schema.as_deref(), &relation).map_err(|error| self.at(error, name))?;
        let what = match found {
            Some(Relation::Table(table)) if table.materialized.is_some() => "materialized views",
            Some(Relation::Table(table)) => return Ok(table),
            Some(Relation::View(_)) => "views",
            Some(Relation::Sequence(_)) => "sequences",
            None => return Err(self.at(no_relation(schema.as_deref(), &relation), name)),
        };
        Err(SqlError::not_supported(format!("cannot execute MERGE on relation \"{relation}\""))
            .with_detail(format!("This operation is not supported for {what}.")))
    }

    fn merge_action(
        &mut self,
        target: &Target,
        action: &ast::MergeAction,
        scope: &Scope<'_>,
    ) -> SqlResult<MergeAction> {
        match action {
            ast::MergeAction::DoNothing { .. } => Ok(MergeAction::Nothing),
            ast::MergeAction::Delete { .. } => Ok(MergeAction::Delete),
            ast::MergeAction::Update(update) => {
                let ast::MergeUpdateKind::Set(assignments) = &update.kind else {
                    return Err(syntax("syntax error at or near \"*\""));
                };
                if update.update_predicate.is_some() || update.delete_predicate.is_some() {
                    return Err(syntax("syntax error at or near \"WHERE\""));
                }
                Ok(MergeAction::Update(self.assignments(target, assignments, scope)?))
            }
            ast::MergeAction::Insert(insert) => {
                let ast::MergeInsertKind::Values(values) = &insert.kind else {
                    return Err(syntax("syntax error at or near \"*\""));
                };
                let [row] = values.rows.as_slice() else {
                    return Err(syntax("syntax error at or near \",\""));
                };
                if insert.insert_predicate.is_some() {
                    return Err(syntax("syntax error at or near \"WHERE\""));
                }
                for name in &insert.columns {
                    if name_parts(name)?.len() > 1 {
                        return Err(syntax("syntax error at or near \".\""));
                    }
                }
                let targets = self.insert_targets(target, &insert.columns)?;
                let rows = self.bound_rows(target, vec![row.content.iter().collect()], &targets, scope)?;
                let row = rows.into_iter().next().ok_or_else(|| SqlError::internal("MERGE inserts no row"))?;
                Ok(MergeAction::Insert(row))
            }
        }
    }
}
