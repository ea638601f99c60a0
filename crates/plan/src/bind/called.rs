//! Which routines the stored expressions of a table call: what it cannot be without besides what it names by id.
//!
//! Stored text names routines, it has no ids of them; binding it in the catalog at hand says which are meant. A text that
//! cannot be bound calls nothing that is there.

use std::collections::BTreeSet;
use std::sync::Arc;

use catalog::{CatalogSnapshot, CatalogView, ColumnDefault, Table};
use types::SqlResult;

use super::stored::{stored_condition, stored_value};
use super::trigger;
use crate::PlanContext;
use crate::expr::Expr;

/// The ids of the routines that defaults, generated columns, index expressions, checks, predicates and the conditions of
/// triggers call.
#[must_use]
pub fn routines_called(table: &Arc<Table>, catalog: &Arc<CatalogSnapshot>, database: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    if !catalog.has_routines() {
        return found;
    }
    let view = CatalogView {
        catalog: catalog.clone(),
        database,
        search_path: vec!["$user".to_owned(), "public".to_owned()],
        user: String::new(),
        printers: None,
    };
    crate::print::with_context(&view, |context| {
        let mut add = |bound: SqlResult<Expr>| {
            let Ok(bound) = bound else { return };
            bound.any(&mut |expr| {
                if let Expr::Routine(call) = expr {
                    found.insert(call.routine.id);
                }
                false
            });
        };
        in_texts(table, context, &mut add);
    });
    found
}

fn in_texts(table: &Arc<Table>, context: &PlanContext<'_>, add: &mut dyn FnMut(SqlResult<Expr>)) {
    for (position, column) in table.columns.iter().enumerate() {
        match &column.default {
            Some(ColumnDefault::Expr(text) | ColumnDefault::Stored(text)) => add(stored_value(text, table, position, context)),
            Some(ColumnDefault::Identity { .. }) | None => {}
        }
    }
    let predicates = table.indexes.iter().filter_map(|index| index.predicate.as_deref());
    for text in table.checks.iter().map(|check| check.expr.as_str()).chain(predicates) {
        add(stored_condition(text, table, context));
    }
    for text in table.triggers.iter().filter_map(|trigger| trigger.condition.as_deref()) {
        add(trigger::condition(table, text, context));
    }
}
