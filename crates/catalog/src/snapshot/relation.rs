//! A relation as a snapshot holds it.

use std::sync::Arc;

use types::SqlType;

use crate::descriptor::{Sequence, Table, View};

/// A table, view or sequence: what shares one name space in a schema.
#[derive(Clone, Debug)]
pub enum Relation {
    Table(Arc<Table>),
    View(Arc<View>),
    Sequence(Arc<Sequence>),
}

impl Relation {
    #[must_use]
    pub fn id(&self) -> u32 {
        match self {
            Self::Table(it) => it.id,
            Self::View(it) => it.id,
            Self::Sequence(it) => it.id,
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Table(it) => &it.name,
            Self::View(it) => &it.name,
            Self::Sequence(it) => &it.name,
        }
    }

    #[must_use]
    pub fn schema(&self) -> u32 {
        match self {
            Self::Table(it) => it.schema,
            Self::View(it) => it.schema,
            Self::Sequence(it) => it.schema,
        }
    }
}

impl Relation {
    /// Ids of what its query reads and calls, if it is a view.
    #[must_use]
    pub fn depends_on(&self) -> &[u32] {
        match self {
            Self::Table(it) => it.materialized.as_ref().map_or(&[], |it| &it.depends_on),
            Self::View(it) => &it.depends_on,
            Self::Sequence(_) => &[],
        }
    }

    /// It as a view, if it has a query.
    #[must_use]
    pub fn as_view(&self) -> Option<Arc<View>> {
        match self {
            Self::Table(it) => it.as_view().map(Arc::new),
            Self::View(it) => Some(it.clone()),
            Self::Sequence(_) => None,
        }
    }

    /// It, as what has triggers and column defaults.
    #[must_use]
    pub fn as_table(&self) -> Option<&Arc<Table>> {
        match self {
            Self::Table(it) => Some(it),
            Self::View(it) => Some(it.as_table()),
            Self::Sequence(_) => None,
        }
    }

    /// What it is, in words.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Table(it) if it.materialized.is_some() => "materialized view",
            Self::Table(_) => "table",
            Self::View(_) => "view",
            Self::Sequence(_) => "sequence",
        }
    }

    /// The types of its columns as they were declared, and as they are stored.
    pub(super) fn for_each_type(&self, visit: &mut dyn FnMut(SqlType)) {
        match self {
            Self::Table(it) => {
                it.columns.iter().for_each(|column| {
                    visit(column.ty);
                    column.domain.into_iter().for_each(&mut *visit);
                });
                it.partitioned().into_iter().flat_map(|it| &it.key).for_each(|key| visit(key.ty));
            }
            Self::View(it) => it.columns.iter().for_each(|(_, ty)| visit(*ty)),
            Self::Sequence(_) => {}
        }
    }

    /// Whether nothing has changed, as far as can be told at once.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Table(a), Self::Table(b)) => Arc::ptr_eq(a, b),
            (Self::View(a), Self::View(b)) => Arc::ptr_eq(a, b),
            (Self::Sequence(a), Self::Sequence(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// The ids of the user-defined types of its columns, and of the relations whose rows they hold.
    pub(super) fn user_types(&self) -> Vec<u32> {
        let mut found = Vec::new();
        self.for_each_type(&mut |ty| ty.for_each_user_type(&mut |oid| found.push(oid)));
        found
    }
}
