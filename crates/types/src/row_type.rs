//! Types of rows: the names and types of a record's fields.
//!
//! A row type is registered once in the process and [`super::SqlType::Record`] holds its number, as PostgreSQL numbers
//! the record types that a session uses. Equal types have one number, so there are as many as the statements
//! of the process have shapes. Numbers mean nothing outside of the process and are never stored: no column is a record. What
//! has a name is a composite type ([`crate::composite_type`]).

use std::sync::{Arc, LazyLock, RwLock};

use rustc_hash::FxHashMap;

use crate::sql_type::SqlType;

/// The fields of a row in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowType {
    /// The composite type that it is of, as messages name it.
    pub table: Option<Arc<str>>,
    pub fields: Vec<(Arc<str>, SqlType)>,
}

impl RowType {
    /// Fields `f1`, `f2`, … as ROW(…) names them.
    #[must_use]
    pub fn unnamed(types: impl IntoIterator<Item = SqlType>) -> Self {
        let fields = types.into_iter().enumerate();
        Self { table: None, fields: fields.map(|(at, ty)| (format!("f{}", at + 1).into(), ty)).collect() }
    }

    /// The field of this name.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|(known, _)| &**known == name)
    }
}

/// A registered row type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct RowTypeId(u32);

#[derive(Default)]
struct Registry {
    types: Vec<Arc<RowType>>,
    numbers: FxHashMap<Arc<RowType>, RowTypeId>,
}

static REGISTRY: LazyLock<RwLock<Registry>> = LazyLock::new(RwLock::default);

impl RowTypeId {
    /// The number of a row type, given on its first use.
    #[must_use]
    pub fn of(row_type: RowType) -> Self {
        const INTACT: &str = "registering a row type does not panic";
        if let Some(id) = REGISTRY.read().expect(INTACT).numbers.get(&row_type) {
            return *id;
        }
        let mut registry = REGISTRY.write().expect(INTACT);
        if let Some(id) = registry.numbers.get(&row_type) {
            return *id;
        }
        let row_type = Arc::new(row_type);
        let id = Self(u32::try_from(registry.types.len()).expect("fewer than 2^32 row types"));
        registry.types.push(row_type.clone());
        registry.numbers.insert(row_type, id);
        id
    }

    #[must_use]
    pub fn get(self) -> Arc<RowType> {
        let registry = REGISTRY.read().expect("registering a row type does not panic");
        registry.types.get(self.0 as usize).cloned().unwrap_or_else(|| Arc::new(RowType::unnamed([])))
    }

    pub(crate) const fn number(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_number(number: u32) -> Self {
        Self(number)
    }
}

impl SqlType {
    /// A record whose fields are known.
    #[must_use]
    pub fn record_of(row_type: RowType) -> Self {
        Self::Record(Some(RowTypeId::of(row_type)))
    }

    /// The fields of a record or composite type, where they are known.
    #[must_use]
    pub fn row_type(&self) -> Option<Arc<RowType>> {
        match self {
            Self::Record(Some(id)) => Some(id.get()),
            Self::Composite(it) => Some(it.row().clone()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_row_types_have_one_number() {
        let row = || RowType::unnamed([SqlType::Int4, SqlType::Text]);
        let ty = SqlType::record_of(row());
        assert_eq!(ty, SqlType::record_of(row()));
        assert_ne!(ty, SqlType::record_of(RowType::unnamed([SqlType::Int4])));
        assert_eq!(*ty.row_type().unwrap(), row());
        assert_eq!(ty.array_of().element(), Some(ty), "an array keeps its elements' row type");
        assert!(ty.same_base(&SqlType::RECORD));
    }
}
