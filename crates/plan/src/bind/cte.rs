//! WITH: each query is bound once where it is defined, and numbered.
//!
//! A reference gets a copy of the bound query, so that the optimizer sees through it. Queries that change data, that
//! are MATERIALIZED, or that an earlier round of binding saw wanted more than once are *set apart*: planned by
//! themselves, run once, and read by [`RelNode::Cte`]. Of the numbers of queries that are not set apart, nothing reads
//! but the steps of a recursive query that stands in place: it keeps its number for its working table.
//!
//! A query that mentions an enclosing row cannot be run once for the statement; it is always put in place.

use std::sync::Arc;

use rustc_hash::FxHashSet;
use sqlparser::ast;
use types::{SqlError, SqlResult, SqlState};

use super::query::{Outputs, computed};
use super::types::common_type;
use super::recursion::only_select;
use super::{Binder, fold};
use crate::logical::{Rel, RelNode};
use crate::parse::query_clauses::{RecursionClauses, read_recursion};
use crate::plan::{Estimate, Node, Plan, PlanColumn};
use crate::scope::Level;

#[derive(Debug, Default)]
pub(super) struct Ctes {
    /// Numbers that an earlier round found are wanted more than once.
    apart: FxHashSet<usize>,
    entries: Vec<Entry>,
    /// Names in scope, innermost last.
    names: Vec<(String, usize)>,
    /// What is being bound may be bound once more: references copy.
    may_repeat: usize,
}

#[derive(Debug)]
enum State {
    /// It is being bound and cannot be recursive: why not.
    NotRecursive(&'static str),
    /// The first term of a recursive query is being bound.
    Base,
    /// Its recursive term is: references read the working table.
    Step(Vec<PlanColumn>),
    /// Taken by its only reference.
    InPlace(Option<Rel>, Vec<PlanColumn>),
    Apart(Vec<PlanColumn>, Box<Plan>),
}

#[derive(Debug)]
struct Entry {
    name: String,
    state: State,
    references: usize,
    /// It changes data and has no RETURNING.
    is_mute: bool,
    /// Mentions an enclosing row of this level.
    correlated_level: Option<u32>,
    never_apart: bool,
    /// How deep its relations are.
    height: usize,
    clauses: Option<Arc<RecursionClauses>>,
}

impl Ctes {
    pub fn new(apart: FxHashSet<usize>) -> Self {
        Self { apart, ..Self::default() }
    }

    pub fn mark(&self) -> usize {
        self.names.len()
    }

    pub fn forget_names(&mut self, mark: usize) {
        self.names.truncate(mark);
    }

    pub fn hide_names(&mut self) -> Vec<(String, usize)> {
        std::mem::take(&mut self.names)
    }

    pub fn show_names(&mut self, names: Vec<(String, usize)>) {
        self.names = names;
    }

    /// The queries that would have to be repeated.
    pub fn wanted_apart(&self) -> FxHashSet<usize> {
        let wanted = |entry: &Entry| {
            matches!(entry.state, State::InPlace(..))
                && entry.references > 1
                && entry.correlated_level.is_none()
                && !entry.never_apart
        };
        self.entries.iter().enumerate().filter(|(_, entry)| wanted(entry)).map(|(number, _)| number).collect()
    }

    /// Plans by number; an empty one stands where a query is in place. None at all if nothing is set apart.
    pub fn take_plans(&mut self) -> Vec<Arc<Plan>> {
        let entries = std::mem::take(&mut self.entries);
        if !entries.iter().any(|entry| matches!(entry.state, State::Apart(..))) {
            return Vec::new();
        }
        let nothing = || Plan { node: Node::Unit, columns: Vec::new(), estimate: Estimate::default() };
        entries
            .into_iter()
            .map(|entry| match entry.state {
                State::Apart(_, plan) => Arc::new(*plan),
                State::NotRecursive(_) | State::Base | State::Step(_) | State::InPlace(..) => Arc::new(nothing()),
            })
            .collect()
    }
}

/// How often the recursive queries whose recursive terms are being bound had been mentioned.
#[derive(Debug)]
pub(super) struct RecursionMark(Vec<(usize, usize)>);

impl Binder<'_> {
    pub(super) fn recursion_mark(&self) -> RecursionMark {
        let entries = self.ctes.entries.iter().enumerate();
        let steps = entries.filter(|(_, entry)| matches!(entry.state, State::Step(_)));
        RecursionMark(steps.map(|(number, entry)| (number, entry.references)).collect())
    }

    /// Refuses a recursive reference made since the mark: it stands within `place`.
    pub(super) fn refuse_recursion(&self, mark: &RecursionMark, place: &str) -> SqlResult<()> {
        for (number, references) in &mark.0 {
            let entry = &self.ctes.entries[*number];
            if entry.references > *references {
                return Err(SqlError::new(
                    SqlState::InvalidRecursion,
                    format!("recursive reference to query \"{}\" must not appear within {place}", entry.name),
                ));
            }
        }
        Ok(())
    }

    /// Whether these items of FROM themselves, and not subqueries among them, name a query whose recursive term is
    /// being bound.
    pub(super) fn reads_itself(&self, from: &[ast::TableWithJoins]) -> bool {
        let is_step = |factor: &ast::TableFactor| match factor {
            ast::TableFactor::Table { name, args: None, .. } => match name.0.as_slice() {
                [part] => part.as_ident().map(fold).is_some_and(|name| {
                    let found = self.ctes.names.iter().rev().find(|(known, _)| *known == name);
                    found.is_some_and(|(_, number)| matches!(self.ctes.entries[*number].state, State::Step(_)))
                }),
                _ => false,
            },
            ast::TableFactor::NestedJoin { table_with_joins, .. } => {
                self.reads_itself(std::slice::from_ref(table_with_joins))
            }
            _ => false,
        };
        from.iter().any(|item| is_step(&item.relation) || item.joins.iter().any(|join| is_step(&join.relation)))
    }

    pub(super) fn with(&mut self, with: &ast::With, level: &Level<'_>) -> SqlResult<()> {
        let mut seen: FxHashSet<String> = FxHashSet::default();
        for cte in &with.cte_tables {
            let (name, clauses) = read_recursion(&cte.alias.name)?;
            if clauses.is_some() && !with.recursive {
                return Err(SqlError::new(SqlState::SyntaxError, "WITH query is not recursive"));
            }
            if seen.contains(&name) {
                return Err(SqlError::new(
                    SqlState::DuplicateAlias,
                    format!("WITH query name \"{name}\" specified more than once"),
                ));
            }
            self.define(cte, &name, with.recursive, clauses, level)?;
            seen.insert(name);
        }
        Ok(())
    }

    fn define(
        &mut self,
        cte: &ast::Cte,
        name: &str,
        recursive: bool,
        clauses: Option<RecursionClauses>,
        level: &Level<'_>,
    ) -> SqlResult<()> {
        let number = self.ctes.entries.len();
        let never_apart = matches!(cte.materialized, Some(ast::CteAsMaterialized::NotMaterialized));
        if self.query_depth > 1 && changes_data(&cte.query.body) {
            return Err(SqlError::not_supported(
                "WITH clause containing a data-modifying statement must be at the top level",
            ));
        }
        if matches!(*cte.query.body, ast::SetExpr::Merge(_)) {
            return Err(SqlError::not_supported("MERGE not supported in WITH query"));
        }
        self.ctes.entries.push(Entry {
            name: name.to_owned(),
            state: State::Base,
            references: 0,
            is_mute: false,
            correlated_level: None,
            never_apart,
            height: 0,
            clauses: clauses.map(Arc::new),
        });
        let is_searched = self.ctes.entries[number].clauses.is_some();
        let uses = level.outer_uses.get();
        let locks = std::mem::take(&mut self.row_locks);
        // It counts where it is read.
        let beside = std::mem::take(&mut self.height);
        let bound = match cte.query.body.as_ref() {
            ast::SetExpr::SetOperation { left, op: ast::SetOperator::Union, set_quantifier, right } if recursive => {
                self.recursive(cte, name, number, level, left, *set_quantifier, right)
            }
            _ if is_searched => Err(SqlError::new(SqlState::SyntaxError, "WITH query is not recursive")),
            body if recursive => {
                let why = if changes_data(body) {
                    "must not contain data-modifying statements"
                } else {
                    "does not have the form non-recursive-term UNION [ALL] recursive-term"
                };
                self.ctes.entries[number].state = State::NotRecursive(why);
                let mark = self.ctes.mark();
                self.ctes.names.push((name.to_owned(), number));
                let bound = self.query(&cte.query, level, Outputs::Settled);
                self.ctes.forget_names(mark);
                bound.and_then(|rel| renamed(rel, cte, name))
            }
            _ => self.query(&cte.query, level, Outputs::Settled).and_then(|rel| renamed(rel, cte, name)),
        };
        self.row_locks = locks;
        let height = std::mem::replace(&mut self.height, beside);
        let rel = bound?;
        let changes = is_change(&rel.node);
        let entry = &mut self.ctes.entries[number];
        // References from inside are the recursion's own.
        entry.references = 0;
        entry.is_mute = changes && rel.columns.is_empty();
        entry.height = height;
        if level.outer_uses.get() > uses {
            entry.correlated_level = Some(level.id);
        }
        let correlated = entry.correlated_level.is_some();
        let apart = changes
            || !correlated
                && !never_apart
                && (matches!(cte.materialized, Some(ast::CteAsMaterialized::Materialized))
                    || self.ctes.apart.contains(&number));
        let state = if apart {
            let columns = rel.columns.clone();
            State::Apart(columns, Box::new(self.plan_of(rel)?))
        } else {
            let columns = rel.columns.clone();
            State::InPlace(Some(rel), columns)
        };
        self.ctes.entries[number].state = state;
        self.ctes.names.push((name.to_owned(), number));
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn recursive(
        &mut self,
        cte: &ast::Cte,
        name: &str,
        number: usize,
        level: &Level<'_>,
        left: &ast::SetExpr,
        quantifier: ast::SetQuantifier,
        right: &ast::SetExpr,
    ) -> SqlResult<Rel> {
        let mark = self.ctes.mark();
        if let Some(with) = &cte.query.with {
            self.with(with, level)?;
        }
        self.ctes.names.push((name.to_owned(), number));
        self.ctes.may_repeat += 1;
        let bound = self.recursive_terms(cte, name, number, level, left, quantifier, right);
        self.ctes.may_repeat -= 1;
        self.ctes.forget_names(mark);
        bound
    }

    #[allow(clippy::too_many_arguments)]
    fn recursive_terms(
        &mut self,
        cte: &ast::Cte,
        name: &str,
        number: usize,
        level: &Level<'_>,
        left: &ast::SetExpr,
        quantifier: ast::SetQuantifier,
        right: &ast::SetExpr,
    ) -> SqlResult<Rel> {
        super::query::refuse_locked_term(left)?;
        super::query::refuse_locked_term(right)?;
        let counts: Vec<usize> = self.ctes.entries.iter().map(|entry| entry.references).collect();
        let clauses = self.ctes.entries[number].clauses.clone();
        let (left, right) = match clauses {
            None => (left, right),
            Some(_) => (only_select(left, "left")?, only_select(right, "right")?),
        };
        let base = self.at_level(|binder| binder.set_expr(left, level, Outputs::Settled))?;
        let mut base = renamed(base, cte, name)?;
        let names: Vec<String> = base.columns.iter().map(|column| column.name.clone()).collect();
        if let Some(clauses) = &clauses {
            base = self.recursion_base(base, clauses, level)?;
            self.hands_on = Some(name.to_owned());
        }
        self.ctes.entries[number].state =
            State::Step(base.columns.iter().map(|column| computed(column.name.clone(), column.ty)).collect());
        let mut step = self.at_level(|binder| binder.set_expr(right, level, Outputs::Open))?;
        let references = self.ctes.entries[number].references;
        if references == 0 && clauses.is_some() {
            return Err(SqlError::new(SqlState::SyntaxError, "WITH query is not recursive"));
        }
        if references == 0 {
            // Not recursive after all: bind it as the union it is, ORDER BY and LIMIT included.
            self.ctes.names.pop();
            for (entry, count) in self.ctes.entries.iter_mut().zip(counts) {
                entry.references = count;
            }
            let rel = self.query(&cte.query, level, Outputs::Settled)?;
            self.ctes.names.push((name.to_owned(), number));
            return renamed(rel, cte, name);
        }
        if references > 1 {
            return Err(SqlError::new(
                SqlState::InvalidRecursion,
                format!("recursive reference to query \"{name}\" must not appear more than once"),
            ));
        }
        let (mut has_limit, mut has_offset) = (cte.query.fetch.is_some(), false);
        match &cte.query.limit_clause {
            Some(ast::LimitClause::LimitOffset { limit, offset, .. }) => {
                has_limit |= limit.is_some();
                has_offset = offset.is_some();
            }
            Some(ast::LimitClause::OffsetCommaLimit { .. }) => has_limit = true,
            None => {}
        }
        let unsupported = [(cte.query.order_by.is_some(), "ORDER BY"), (has_offset, "OFFSET"), (has_limit, "LIMIT")];
        if let Some((_, clause)) = unsupported.iter().find(|(given, _)| *given) {
            return Err(SqlError::not_supported(format!("{clause} in a recursive query is not implemented")));
        }
        if !cte.query.locks.is_empty() {
            return Err(SqlError::not_supported("FOR UPDATE/SHARE in a recursive query is not implemented"));
        }
        if base.columns.len() != step.columns.len() {
            return Err(SqlError::new(
                SqlState::SyntaxError,
                "each UNION query must have the same number of columns",
            ));
        }
        if let Some(clauses) = &clauses {
            step = self.recursion_step(step, clauses, &names, level)?;
        }
        for (at, (base, step)) in base.columns.iter().zip(&step.columns).enumerate().take(names.len()) {
            let overall = common_type(&[base.ty, step.ty], "UNION")?;
            if !overall.same_base(&base.ty) {
                return Err(SqlError::new(
                    SqlState::DatatypeMismatch,
                    format!(
                        "recursive query \"{name}\" column {} has type {} in non-recursive term but type {} overall",
                        at + 1,
                        base.ty.base_name(),
                        overall.base_name()
                    ),
                )
                .with_hint("Cast the output of the non-recursive term to the correct type."));
            }
        }
        let types: Vec<_> = base.columns.iter().map(|column| column.ty).collect();
        let step = self.coerce_outputs(step, &types)?;
        let columns = base.columns.iter().map(|column| computed(column.name.clone(), column.ty)).collect();
        let all = quantifier == ast::SetQuantifier::All;
        self.above(1)?;
        let node = RelNode::RecursiveUnion { cte: number, base: Box::new(base), step: Box::new(step), all };
        Ok(Rel { node, columns })
    }

    /// How many columns of the query of this name are found by no star: those that SEARCH and CYCLE add, within the
    /// recursive term.
    pub(super) fn added_columns(&self, name: &str) -> usize {
        let found = self.ctes.names.iter().rev().find(|(known, _)| known == name);
        let entry = found.map(|(_, number)| &self.ctes.entries[*number]);
        match entry {
            Some(Entry { state: State::Step(_), clauses: Some(clauses), .. }) => clauses.added().len(),
            _ => 0,
        }
    }

    /// The query that a WITH gave this name, if one is in scope.
    pub(super) fn cte_reference(&mut self, name: &str, level: &Level<'_>) -> SqlResult<Option<Rel>> {
        let Some((_, number)) = self.ctes.names.iter().rev().find(|(known, _)| known == name) else {
            return Ok(None);
        };
        let number = *number;
        let may_repeat = self.ctes.may_repeat > 0;
        let entry = &mut self.ctes.entries[number];
        entry.references += 1;
        let read = |columns: &[PlanColumn]| Rel { node: RelNode::Cte(number), columns: columns.to_vec() };
        if entry.is_mute {
            return Err(SqlError::not_supported(format!("WITH query \"{name}\" does not have a RETURNING clause")));
        }
        match &mut entry.state {
            State::NotRecursive(why) => {
                Err(SqlError::new(SqlState::InvalidRecursion, format!("recursive query \"{name}\" {why}")))
            }
            State::Base => Err(SqlError::new(
                SqlState::InvalidRecursion,
                format!("recursive reference to query \"{name}\" must not appear within its non-recursive term"),
            )),
            State::Step(columns) | State::Apart(columns, _) => Ok(Some(read(columns))),
            State::InPlace(rel, columns) => {
                if entry.correlated_level.is_some_and(|home| home != level.id) {
                    return Err(SqlError::not_supported(format!(
                        "WITH query \"{name}\" refers to an enclosing query and is read from within another subquery"
                    )));
                }
                // The round will be repeated with this query set apart. A copy of a copy of a copy would only grow.
                let is_copied = entry.correlated_level.is_some() || entry.never_apart;
                if entry.references > 1 && !is_copied {
                    return Ok(Some(read(columns)));
                }
                let height = entry.height;
                let taken = if is_copied || may_repeat { rel.clone() } else { rel.take() };
                let Some(taken) = taken else { return Err(SqlError::internal("a WITH query was taken twice")) };
                self.height = self.height.max(height);
                if is_copied {
                    self.copies(height)?;
                }
                Ok(Some(taken))
            }
        }
    }
}

/// INSERT, UPDATE or DELETE, in parentheses or not.
pub(crate) fn changes_data(body: &ast::SetExpr) -> bool {
    matches!(
        body,
        ast::SetExpr::Insert(_) | ast::SetExpr::Update(_) | ast::SetExpr::Delete(_) | ast::SetExpr::Merge(_)
    )
}

fn is_change(node: &RelNode) -> bool {
    matches!(
        node,
        RelNode::Insert { .. } | RelNode::Update { .. } | RelNode::Delete { .. } | RelNode::Merge { .. }
    )
}

/// The columns under the names that the WITH item gives them.
fn renamed(mut rel: Rel, cte: &ast::Cte, name: &str) -> SqlResult<Rel> {
    if cte.alias.columns.len() > rel.columns.len() {
        return Err(SqlError::new(
            SqlState::InvalidColumnReference,
            format!(
                "WITH query \"{name}\" has {} columns available but {} columns specified",
                rel.columns.len(),
                cte.alias.columns.len()
            ),
        ));
    }
    for (column, alias) in rel.columns.iter_mut().zip(&cte.alias.columns) {
        column.name = fold(&alias.name);
    }
    Ok(rel)
}
