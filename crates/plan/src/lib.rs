//! SQL text to physical plan, in four steps that read one another's output and nothing else:
//!
//! ```text
//! text --parse--> ParsedStatement --bind--> Rel, Ddl, Utility --optimize--> Plan
//! ```
//!
//! [`parse`] cuts a query string into statements, binding (`bind`) gives every name a position and every operator a
//! function, and the optimizer decides how to get what the bound query asks for.
//!
//! This is the only crate that knows the parser's syntax trees. It reads the catalog and writes nothing; a plan
//! belongs to the catalogs in which what it was made of is the same ([`PreparedPlan::holds_in`]).

mod any_value;
pub mod backup;
mod bind;
mod bind_statements;
mod copy_options;
mod dependencies;
pub mod explain;
pub mod expr;
mod large_object;
pub mod logical;
mod needs;
mod optimize;
pub mod parse;
mod parse_cursor;
pub mod plan;
mod print;
mod print_query;
pub mod pruning;
mod scope;
pub mod routine;
pub mod statement;
mod variables;

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use builtins::EvalContext;
use catalog::CatalogSnapshot;
use sqlparser::ast;
use types::{Formatting, SqlError, SqlResult, SqlState, SqlType, stack::deep};

pub use bind::{
    bind_assigned, bind_stored_expr, changes_key, checked_column, column_default, domain_check, domain_default, domain_rules,
    is_row_security_refusal, partition_key, partition_key_columns, policy_reads, rename_in_condition, routines_called, row_rules, same_expr, trigger_columns, trigger_condition,
};
pub use bind_statements::check_parameter_defaults;
pub use dependencies::Dependencies;
pub use expr::{
    AdvisoryOp, AggregateCall, Comparison, DomainRules, Expr, Part, PartAssignment, RoutineCall, SequenceOp, SleepOp, SortKey, Subquery, SubqueryKind,
    TruthTest,
};
pub use large_object::LargeObjectOp;
pub use parse::{NO_LABEL, ParsedStatement, parse, rename_column, rename_label};
pub use plan::{CatalogLookup, JoinKind, LookupValues, Node, Plan, PlanColumn, Transition};
pub use print::PRINTERS;
pub use variables::{VariableConflict, VariableSource};
pub use statement::{Ddl, PreparedPlan, StatementKind, UsedRelation, Utility};

use bind::Binder;
use dependencies::NameLookup;
use logical::{Rel, RelNode};
use parse::Body;

/// What planning depends on besides the text.
#[derive(Clone, Copy)]
pub struct PlanContext<'a> {
    pub catalog: &'a CatalogSnapshot,
    pub database: u32,
    pub search_path: &'a [String],
    pub user: &'a str,
    /// The types that the client's Parse message gave for parameters.
    pub param_types: &'a [Option<SqlType>],
    pub notes: &'a PlanNotes,
    /// For computing constants.
    pub eval: &'a EvalContext<'a>,
    pub formatting: &'a Formatting,
    /// Of the routine's body that the statement stands in.
    pub variables: Option<&'a dyn VariableSource>,
    /// Of the trigger that the routine runs for.
    pub transitions: &'a [Transition],
    /// Of the view whose query is bound: *names-by-id*.
    pub names: &'a [catalog::NamedRelation],
    /// Of the view or policy whose text is bound: among the routines here alone its calls are looked for, so that none that
    /// was made later takes the place of what a call meant (*calls-by-id*).
    pub depends_on: Option<&'a [u32]>,
    /// For whom policies are in force; none for statements of our own.
    pub security: Option<Security<'a>>,
}

impl PlanContext<'_> {
    /// Whether rules of the audit log choose something that a plan with these needs reads or writes, whoever runs it.
    pub(crate) fn is_audited(&self, needs: &[catalog::privilege::Need]) -> bool {
        !self.catalog.cluster().audit.is_empty() && !self.catalog.audited(self.database, needs, &|_| true).is_empty()
    }
}

/// Who a statement is planned for, as far as row security goes.
#[derive(Clone, Copy)]
pub struct Security<'a> {
    /// Who is a superuser: of now, where the catalog is of a transaction's beginning.
    pub roles: &'a CatalogSnapshot,
    pub user: u32,
    /// The setting `row_security`.
    pub is_on: bool,
}

/// What comes to light while a statement is planned.
#[derive(Debug, Default)]
pub struct PlanNotes {
    /// A constant was read that is another at another time: `'now'`, `'today'`.
    pub reads_clock: Cell<bool>,
    /// Plans of one query are being compared: what is part of it is planned one way.
    pub(crate) compares_ways: Cell<bool>,
    /// The relations and types that were looked up by name.
    relations: RefCell<Vec<u32>>,
    /// What names in the statement's text meant.
    names: RefCell<Vec<NameLookup>>,
    /// The oid that a name had is part of it.
    pub(crate) holds_oids: Cell<bool>,
    /// The domains whose rules are being bound.
    domains: RefCell<Vec<u32>>,
    /// What the statement needs the right to.
    pub(crate) needs: needs::Needs,
}

impl PlanNotes {
    /// Binds rules of a domain, in which the domain may not be met again: that would have no end.
    ///
    /// # Errors
    /// 0A000, and what `bind` says.
    pub(crate) fn in_rules_of<T>(&self, domain: u32, bind: impl FnOnce() -> SqlResult<T>) -> SqlResult<T> {
        if self.domains.borrow().contains(&domain) {
            let message = "a check constraint of a domain that leads to the domain again is not supported";
            return Err(SqlError::not_supported(message));
        }
        self.domains.borrow_mut().push(domain);
        let bound = bind();
        self.domains.borrow_mut().pop();
        bound
    }

    pub(crate) fn uses(&self, relation: u32) {
        let mut relations = self.relations.borrow_mut();
        if !relations.contains(&relation) {
            relations.push(relation);
        }
    }

    /// The user-defined types that a type is made of, those of a record's fields among them.
    pub(crate) fn uses_types_of(&self, ty: SqlType) {
        ty.for_each_user_type(&mut |id| self.uses(id));
        if let (SqlType::Record(_), Some(row)) = (ty, ty.row_type()) {
            row.fields.iter().for_each(|(_, field)| self.uses_types_of(*field));
        }
    }

    pub(crate) fn looked_up(&self, name: NameLookup) {
        let mut names = self.names.borrow_mut();
        if !names.contains(&name) {
            names.push(name);
        }
    }

    /// What a plan was made of; none where that cannot be told apart from the rest of the catalog.
    fn dependencies(&self, uses: &[UsedRelation], context: &PlanContext<'_>) -> Option<Arc<Dependencies>> {
        // What rules of the audit log choose depends on more than what was looked up.
        let is_audited = !context.catalog.cluster().audit.is_empty();
        let is_known = !is_audited && !self.holds_oids.get() && context.variables.is_none() && context.transitions.is_empty();
        is_known.then(|| Arc::new(Dependencies::new(context, uses, self.names.take())))
    }

    /// The relations that a plan depends on; where it writes, with those that foreign keys may lead to.
    fn used(&self, writes: bool, catalog: &CatalogSnapshot) -> Arc<[UsedRelation]> {
        let mut ids = self.relations.borrow().clone();
        if writes {
            ids = ids.into_iter().flat_map(|id| catalog.reach_of(id)).collect();
        }
        // What their columns' types consist of is in descriptors of its own.
        let types: Vec<u32> = ids.iter().flat_map(|id| catalog.types_used_by(*id)).collect();
        if writes || !types.is_empty() {
            ids.extend(types);
            ids.sort_unstable();
            ids.dedup();
        }
        ids.into_iter().map(|id| UsedRelation { id, descriptor: catalog::descriptor_key(id) }).collect()
    }
}

/// PostgreSQL's bound, far below what a protocol message can count.
const TARGETS_MAX: usize = 1664;

/// Plans a statement.
///
/// # Errors
/// What PostgreSQL reports before it begins to execute: unknown names, types that do not fit, misplaced clauses.
pub fn plan_statement(statement: &ParsedStatement, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    deep(|| plan_body(statement, context))
}

fn plan_body(statement: &ParsedStatement, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    match &statement.body {
        Body::Standard(ast::Statement::Query(query)) if bind_statements::is_into(&query.body) => {
            bind_statements::select_into(query, statement, context)
        }
        Body::Standard(
            query @ (ast::Statement::Query(_)
            | ast::Statement::Insert(_)
            | ast::Statement::Update(_)
            | ast::Statement::Delete(_)
            | ast::Statement::Merge(_)),
        ) => plan_query(query, statement, context),
        Body::Standard(other) => bind_statements::bind(other, statement, context),
        Body::Own(own) => bind_statements::bind_own(own, statement, context),
    }
}

fn plan_query(
    query: &ast::Statement,
    statement: &ParsedStatement,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let source = Some(statement.source.clone());
    let (rel, mut binder) = Binder::bind_with(context, source, optimize_rel, |binder| {
        binder.bind_statement(query)
    })?;
    let ctes = binder.take_ctes();
    let is_write = |node: &RelNode| {
        matches!(
            node,
            RelNode::Insert { .. } | RelNode::Update { .. } | RelNode::Delete { .. } | RelNode::Merge { .. }
        )
    };
    let writes = is_write(&rel.node) || ctes.iter().any(|cte| is_write_plan(&cte.node));
    let mut columns = rel.columns.clone();
    columns.iter_mut().for_each(|column| column.ty = column.ty.sent());
    if columns.len() > TARGETS_MAX {
        return Err(SqlError::new(
            SqlState::TooManyColumns,
            format!("target lists can have at most {TARGETS_MAX} entries"),
        ));
    }
    let mut plan = optimize_rel(rel, context)?;
    if writes {
        plan = finish(plan, &ctes);
    }
    let params = binder.param_types();
    // The client may have named types by their oids.
    params.iter().chain(columns.iter().map(|column| &column.ty)).for_each(|ty| context.notes.uses_types_of(*ty));
    let needs: std::sync::Arc<[_]> = context.notes.needs.all().into();
    let serves_any_value = !params.is_empty() && ctes.is_empty() && any_value::serves_any_value(&plan, context);
    let uses = context.notes.used(writes, context.catalog);
    Ok(PreparedPlan {
        kind: StatementKind::Query { plan, writes },
        params,
        columns,
        ctes,
        catalog_version: context.catalog.version(context.database),
        statistics_epoch: context.catalog.statistics().epoch(),
        dependencies: context.notes.dependencies(&uses, context),
        uses,
        is_audited: context.is_audited(&needs),
        needs,
        reads_clock: context.notes.reads_clock.get(),
        serves_any_value,
        tag: statement.tag(),
    })
}

/// A statement that changes data, with what its end asks for.
fn finish(plan: Plan, ctes: &[std::sync::Arc<Plan>]) -> Plan {
    let ctes = ctes
        .iter()
        .enumerate()
        .filter(|(_, cte)| is_write_plan(&cte.node))
        .map(|(number, _)| number)
        .collect();
    let (columns, estimate) = (plan.columns.clone(), plan.estimate);
    Plan { node: Node::Finish { input: Box::new(plan), ctes }, columns, estimate }
}

fn is_write_plan(node: &Node) -> bool {
    matches!(node, Node::Insert(_) | Node::Update(_) | Node::Delete(_) | Node::Merge(_))
}

/// Every row of a plan put into a table that was made for it: CREATE TABLE AS.
#[must_use]
pub fn insert_all(table: &std::sync::Arc<catalog::Table>, source: Plan) -> Plan {
    let row_rules =
        plan::RowRules { predicates: vec![None; table.indexes.len()], ..plan::RowRules::default() };
    fill(table, source, row_rules.into(), plan::InsertMode::Fill)
}

/// A plan's rows put into a table.
#[must_use]
pub fn fill(
    table: &std::sync::Arc<catalog::Table>,
    source: Plan,
    row_rules: Arc<plan::RowRules>,
    mode: plan::InsertMode,
) -> Plan {
    let mut given = 0..;
    let value = |column: &catalog::Column| match &column.default {
        Some(catalog::ColumnDefault::Stored(_)) if column.hidden => Expr::Const(types::Datum::Null, column.ty),
        _ if column.hidden => Expr::RowId,
        _ => Expr::Column(given.next().unwrap_or_default(), column.ty),
    };
    let exprs = table.columns.iter().map(value).collect();
    let columns = table
        .columns
        .iter()
        .map(|column| PlanColumn { name: column.name.clone(), ty: column.ty, table_oid: 0, attribute: 0 })
        .collect();
    let estimate = source.estimate;
    let rows = Plan { node: Node::Project { input: Box::new(source), exprs }, columns, estimate };
    let insert = plan::Insert {
        table: table.clone(),
        source: Box::new(rows),
        row_rules,
        on_conflict: None,
        returning: None,
        mode,
    };
    Plan { node: Node::Insert(insert), columns: Vec::new(), estimate }
}

/// Whether a view's stored query can still be bound to what it yields.
///
/// # Errors
/// What binding it fails with.
pub fn check_view(view: &catalog::View, context: &PlanContext<'_>) -> SqlResult<()> {
    Binder::bind_with(context, None, |rel, _| Ok(bound_alone(rel)), |binder| binder.view(view, None)).map(drop)
}

/// Whether a view reads a column of a relation that it names.
///
/// # Errors
/// As [`check_view`].
pub fn view_reads(view: &catalog::View, (relation, column): (u32, u32), context: &PlanContext<'_>) -> SqlResult<bool> {
    let needs = &context.notes.needs;
    let noted = needs.mark();
    let bound = check_view(view, context);
    let reads = needs.reads_since(noted, relation, column);
    needs.forget_since(noted);
    bound.map(|()| reads)
}

/// In place of a plan, where only binding is asked for.
fn bound_alone(rel: Rel) -> Plan {
    Plan { node: Node::Unit, columns: rel.columns, estimate: plan::Estimate::default() }
}

/// The optimizer, as binding and planning call it.
pub(crate) fn optimize_rel(mut rel: Rel, context: &PlanContext<'_>) -> SqlResult<Plan> {
    bind::rel_without_domains(&mut rel);
    optimize::optimize(rel, context)
}
