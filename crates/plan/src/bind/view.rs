//! Views in FROM: a view's query in the view's place, and the names that it was made with (*names-by-id*).

use catalog::{NamedRelation, Relation, View};
use sqlparser::ast;
use types::stack::too_deep;
use types::{SqlError, SqlResult, SqlState, SqlType};

use super::from::{attribute, named_range, range_of};
use super::query::{LockRequest, Outputs};
use super::{Binder, VIEWS_MAX};
use crate::logical::{Rel, RelNode};
use crate::parse::Body;
use crate::plan::{PlanColumn, RowLock};
use crate::scope::Range;

impl Binder<'_> {
    /// Keeps what a name means, for a view that is being made.
    pub(super) fn note_named(&mut self, schema: Option<&str>, name: &str, relation: &Relation) {
        self.depends_on.push(relation.id());
        let Some(names) = &mut self.names else { return };
        if names.iter().any(|known| known.name == name && known.schema.as_deref() == schema) {
            return;
        }
        let columns = match relation {
            Relation::Table(table) => table.visible_columns().map(|(_, it)| (it.id.get(), it.name.clone())).collect(),
            Relation::View(view) => (1..).zip(view.columns.iter().map(|(name, _)| name.clone())).collect(),
            Relation::Sequence(_) => Vec::new(),
        };
        names.push(NamedRelation { schema: schema.map(str::to_owned), name: name.to_owned(), id: relation.id(), columns });
    }

    /// How the columns of a relation were called when the view was made whose query is bound.
    pub(super) fn columns_as_named(&self, relation: u32) -> Option<&[(u32, String)]> {
        let known = self.context.names.iter().find(|named| named.id == relation);
        known.map(|named| named.columns.as_slice())
    }

    /// The range of a view.
    pub(super) fn view_range(
        &self,
        view: &View,
        shown: &str,
        columns: &[PlanColumn],
        alias: Option<&ast::TableAlias>,
    ) -> SqlResult<Range> {
        let Some(known) = self.columns_as_named(view.id) else { return named_range(shown, columns, None, alias) };
        let mut renamed = columns.to_vec();
        for (column, (_, name)) in renamed.iter_mut().zip(known) {
            column.name.clone_from(name);
        }
        // Columns that came later are not there for it.
        range_of(shown, &renamed, &|at| at >= known.len(), alias)
    }

    /// Binds what is in a view's query. It sees no names of the statement.
    pub(super) fn in_view<T>(
        &mut self,
        view: &View,
        bind: impl FnOnce(&mut Binder<'_>, &ast::Query) -> SqlResult<T>,
    ) -> SqlResult<T> {
        if self.views.contains(&view.id) {
            return Err(SqlError::new(
                SqlState::InvalidObjectDefinition,
                format!("infinite recursion detected in rules for relation \"{}\"", view.name),
            ));
        }
        self.view_count += 1;
        if self.view_count > VIEWS_MAX {
            return Err(too_deep());
        }
        let query = stored_query(view)?;
        self.views.push(view.id);
        // What it reads is read as its owner, or as whoever asks.
        let is_invokers = view.details.options.security_invoker == Some(true);
        let acting = std::mem::replace(&mut self.acting, (!is_invokers).then_some(view.owner));
        let noted = self.context.notes.needs.mark();
        let locks = std::mem::take(&mut self.row_locks);
        let hidden = self.ctes.hide_names();
        let (depends_on, names) = (self.depends_on.len(), self.names.take());
        let bound = self.within(view, |binder| bind(binder, &query));
        self.depends_on.truncate(depends_on);
        self.names = names;
        self.ctes.show_names(hidden);
        self.row_locks = locks;
        self.acting = acting;
        self.context.notes.needs.forget_lookups_since(noted);
        self.views.pop();
        bound
    }

    /// Keeps conditions that could tell of a relation's other rows above it.
    pub(super) fn barrier(&mut self, rel: Rel) -> SqlResult<Rel> {
        self.above(1)?;
        let columns = rel.columns.clone();
        Ok(Rel { node: RelNode::Barrier(Box::new(rel)), columns })
    }

    /// A view's query in the view's place. `lock`: that of its rows, which are those of tables if the query is simple.
    pub(crate) fn view(&mut self, view: &View, lock: Option<RowLock>) -> SqlResult<Rel> {
        let mut rel = self.in_view(view, |binder, query| {
            binder.row_locks.extend(lock.map(|lock| LockRequest { of: None, lock, of_view: true }));
            let level = binder.level();
            binder.query(query, &level, Outputs::Settled)
        })?;
        if rel.columns.len() != view.columns.len() {
            return Err(no_longer_matches(view));
        }
        let types: Vec<SqlType> = view.columns.iter().map(|(_, ty)| *ty).collect();
        rel = self.coerce_outputs(rel, &types)?;
        for (at, (column, (name, ty))) in rel.columns.iter_mut().zip(&view.columns).enumerate() {
            *column = PlanColumn { name: name.clone(), ty: *ty, table_oid: view.id, attribute: attribute(at) };
        }
        if view.details.options.security_barrier == Some(true) {
            return self.barrier(rel);
        }
        Ok(rel)
    }
}

/// The query of a view as it is stored.
///
/// # Errors
/// XX000 where it is none.
fn stored_query(view: &View) -> SqlResult<Box<ast::Query>> {
    let damaged = || SqlError::internal(format!("the stored query of view \"{}\" is no query", view.name));
    let statement = crate::parse::parse(&view.query)?.into_iter().next().ok_or_else(damaged)?;
    match statement.body {
        Body::Standard(ast::Statement::Query(query)) => Ok(query),
        Body::Standard(_) | Body::Own(_) => Err(damaged()),
    }
}

pub(super) fn no_longer_matches(view: &View) -> SqlError {
    let message = format!("view \"{}\" no longer matches the relations it reads", view.name);
    SqlError::new(SqlState::InvalidTableDefinition, message)
}
