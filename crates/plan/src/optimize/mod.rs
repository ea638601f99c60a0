//! From what a query asks for to how it is got: filters go down to where their columns are, columns that nobody needs
//! are not read, subqueries become joins, joins are ordered by what they leave, tables are read through the index that
//! costs least.
//!
//! Each relation is planned for a [`Want`] (columns, order, limit) and becomes a [`Part`]: a plan that says which of
//! the relation's columns it yields, in whatever order that came about. Only where somebody outside looks are the
//! columns put in the relation's order.
//!
//! Read in this order: [`query`], [`access`], [`bounds`], [`entries`], [`join`], [`order`], [`method`], [`decorrelate`], [`scalar`], [`locking`],
//! [`selectivity`];
//! [`partition`];
//! [`catalogs`].
//!
//! **Invariant (barriers-hold):** of the conditions above a [`RelNode::Barrier`](crate::logical::RelNode::Barrier) only
//! those go below it, into scans, index spans, the pruning of partitions or lookups, that tell nothing of the rows that
//! they turn away ([`leakproof`]). The rule is kept at the one place where conditions pass it (`query`), and where a join
//! looks rows up in a table behind one (`method`).
//!
//! **Invariant (same-answer):** a rewrite keeps the multiset of rows; filters do not move into the null-supplying side
//! of an outer join, nor past anything that counts or limits rows.

mod access;
mod bounds;
mod catalogs;
mod cost;
mod decorrelate;
mod entries;
mod exprs;
mod join;
mod leakproof;
mod locking;
mod method;
mod order;
mod partition;
mod query;
mod scalar;
mod selectivity;

use types::SqlResult;

use crate::{
    PlanContext,
    expr::Expr,
    logical::Rel,
    plan::{Estimate, Node, Plan, PlanColumn},
};

pub(crate) use exprs::{commuted, comparison};
pub(crate) use scalar::source_of;
use exprs::conjunction;

/// Chooses a plan.
///
/// # Errors
/// None today; binding has found what is wrong with a query.
pub(crate) fn optimize(rel: Rel, context: &PlanContext<'_>) -> SqlResult<Plan> {
    let columns = rel.columns.clone();
    let want = Want::all(columns.len());
    Ok(query::plan_rel(rel, Vec::new(), want, context)?.settle(columns))
}

/// A column of ORDER BY, by its position in the relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OrderKey {
    column: usize,
    descending: bool,
    nulls_first: bool,
}

/// What is asked of a relation.
#[derive(Clone, Debug)]
struct Want {
    /// For each of its columns, whether somebody looks at it.
    needed: Vec<bool>,
    /// The order that would save a sort; it need not be kept.
    order: Vec<OrderKey>,
    /// About how many rows will be asked for, once they come in `order`.
    limit: Option<f64>,
}

impl Want {
    fn all(width: usize) -> Self {
        Self::columns(vec![true; width])
    }

    fn columns(needed: Vec<bool>) -> Self {
        Self { needed, order: Vec::new(), limit: None }
    }

    /// Asks for the order and limit that are wanted of `exprs`, which are computed from this relation: whether all of the
    /// order is of columns that are passed on as they are.
    fn take_order(&mut self, wanted: &Self, exprs: &[Expr]) -> bool {
        let key = |key: &OrderKey| match &exprs[key.column] {
            Expr::Column(column, _) => Some(OrderKey { column: *column, ..*key }),
            _ => None,
        };
        let Some(order) = wanted.order.iter().map(key).collect() else { return false };
        self.order = order;
        self.limit = wanted.limit;
        true
    }
}

/// What is known of a column.
#[derive(Clone, Copy, Debug)]
struct Fact {
    distinct: Option<f64>,
    nullable: bool,
    width: f64,
}

impl Fact {
    fn unknown(column: &PlanColumn) -> Self {
        Self { distinct: None, nullable: true, width: access::default_width(&column.ty) }
    }
}

/// A column of a plan that is none of the relation's.
const EXTRA: usize = usize::MAX;

/// A planned relation.
#[derive(Clone, Debug)]
struct Part {
    plan: Plan,
    /// For each column of the plan, its position in the relation or `EXTRA`; the needed ones are all there, once.
    columns: Vec<usize>,
    /// Of the plan's columns.
    facts: Vec<Fact>,
    /// Rows come in the order that was wanted.
    ordered: bool,
    /// For a table read as such.
    base: Option<Box<access::Base>>,
    /// For a table of the catalogs read as such.
    made: Option<Box<catalogs::MadeBase>>,
}

impl Part {
    /// A plan with all of the relation's columns in their order.
    fn whole(plan: Plan) -> Self {
        let facts = plan.columns.iter().map(Fact::unknown).collect();
        let columns = (0..plan.columns.len()).collect();
        Self { plan, columns, facts, ordered: false, base: None, made: None }
    }

    fn rows(&self) -> f64 {
        self.plan.estimate.rows
    }

    /// Where a column of the relation is.
    fn place(&self, column: usize) -> usize {
        self.columns.iter().position(|known| *known == column).expect("columns-in-order: a needed column is planned")
    }

    fn fact(&self, column: usize) -> Option<&Fact> {
        self.columns.iter().position(|known| *known == column).map(|place| &self.facts[place])
    }

    /// An expression over the relation's columns as one over the plan's.
    fn placed(&self, mut expr: Expr) -> Expr {
        exprs::remap(&mut expr, &|column| self.place(column));
        expr
    }

    /// The plan with the relation's columns, all of them in their order and no others.
    fn settle(self, columns: Vec<PlanColumn>) -> Plan {
        let is_whole = self.columns.len() == columns.len() && self.columns.iter().enumerate().all(|(at, of)| at == *of);
        if is_whole {
            return Plan { columns, ..self.plan };
        }
        let exprs = (0..columns.len()).map(|column| Expr::Column(self.place(column), columns[column].ty)).collect();
        let width = (0..columns.len()).map(|column| self.facts[self.place(column)].width).sum();
        let estimate = Estimate { width, ..self.plan.estimate };
        make(Node::Project { input: Box::new(self.plan), exprs }, columns, estimate)
    }

    fn settled(self, columns: Vec<PlanColumn>) -> Self {
        let facts = (0..columns.len()).map(|column| self.facts[self.place(column)]).collect();
        let ordered = self.ordered;
        let plan = self.settle(columns);
        Self { columns: (0..plan.columns.len()).collect(), plan, facts, ordered, base: None, made: None }
    }

    /// The same columns under conditions over the relation.
    fn filtered(mut self, filters: Vec<Expr>) -> Self {
        if filters.is_empty() {
            return self;
        }
        let share = selectivity::all(&filters, &selectivity::Nothing);
        let filters = filters.into_iter().map(|filter| self.placed(filter)).collect();
        let input = self.plan;
        let estimate = Estimate {
            rows: (input.estimate.rows * share).max(1.0),
            total_cost: input.estimate.total_cost + input.estimate.rows * cost::PER_OPERATION,
            ..input.estimate
        };
        let columns = input.columns.clone();
        let predicate = conjunction(filters).expect("there are filters");
        self.plan = make(Node::Filter { input: Box::new(input), predicate }, columns, estimate);
        (self.base, self.made) = (None, None);
        self
    }
}

fn make(node: Node, columns: Vec<PlanColumn>, estimate: Estimate) -> Plan {
    Plan { node, columns, estimate }
}
