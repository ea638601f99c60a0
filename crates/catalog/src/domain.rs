//! What the catalog holds of a domain beyond what it holds of any type.

use keys::{ColumnId, IndexId};
use serde::{Deserialize, Serialize};
use types::{Datum, SqlType};

use crate::descriptor::{Column, Derived, OnCommit, Table, Type, TypeKind};

/// A type under another name, and the rules for its values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Domain {
    /// What it was made over: a domain as well, perhaps.
    pub over: SqlType,
    pub not_null: bool,
    /// SQL text of what a column without a default of its own has; that of the domain under it, unless it has its own.
    pub default: Option<String>,
    pub checks: Vec<DomainCheck>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DomainCheck {
    pub oid: u32,
    pub name: String,
    /// SQL text over [`VALUE`].
    pub expr: String,
    /// Holds of every value; NOT VALID of new ones only.
    pub validated: bool,
    pub comment: Option<String>,
}

/// The name of the value in the expressions of a domain.
pub const VALUE: &str = "value";

impl Type {
    #[must_use]
    pub const fn domain(&self) -> Option<&Domain> {
        match &self.kind {
            TypeKind::Domain(domain) => Some(domain),
            TypeKind::Enum(_) | TypeKind::Range(_) | TypeKind::Composite(_) => None,
        }
    }

    /// A domain as the table that its expressions are over: without a name, and with the value for its only column.
    #[must_use]
    pub fn as_table(&self) -> Option<Table> {
        let mut value = Column {
            id: ColumnId::new(1),
            name: VALUE.to_owned(),
            ty: SqlType::Unknown,
            domain: None,
            nullable: true,
            default: None,
            missing: Datum::Null,
            hidden: false,
        };
        value.declare(self.domain()?.over);
        Some(Table {
            id: self.id,
            name: String::new(),
            schema: self.schema,
            owner: self.owner,
            columns: vec![value],
            indexes: Vec::new(),
            checks: Vec::new(),
            foreign_keys: Vec::new(),
            referenced_by: Vec::new(),
            triggers: Vec::new(),
            next_column: ColumnId::new(2),
            next_index: IndexId::new(1),
            storage: self.id,
            comment: None,
            on_commit: OnCommit::default(),
            comments: Vec::new(),
            materialized: None,
            partitioning: None,
            security: None,
            zones: None,
            codecs: Derived::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::Descriptor;

    /// As stores have them: the type under a domain, NOT NULL, the default, and the checks.
    #[test]
    fn golden_domain() {
        let check = DomainCheck { oid: 302, name: "c".into(), expr: "value > 0".into(), validated: true, comment: None };
        let domain = Domain { over: SqlType::Varchar(Some(5)), not_null: true, default: Some("7".into()), checks: vec![check] };
        let made = Type {
            id: 300,
            name: "d".into(),
            array_name: "_d".into(),
            schema: 2_200,
            owner: 10,
            comment: None,
            kind: TypeKind::Domain(domain),
        };
        let stored = postcard::to_stdvec(&Descriptor::Type(made.clone())).unwrap();
        let expected = [
            &[7, 0xac, 2, 1, b'd', 2, b'_', b'd', 0x98, 0x11, 10, 0][..],
            &[1, 8, 1, 5, 1, 1, 1, b'7', 1, 0xae, 2, 1, b'c', 9],
            b"value > 0",
            &[1, 0],
        ];
        assert_eq!(stored, expected.concat());
        assert_eq!(postcard::from_bytes::<Descriptor>(&stored).unwrap(), Descriptor::Type(made));
    }

    #[test]
    fn a_column_keeps_its_domain_beside_what_is_stored() {
        let over = SqlType::Numeric(None);
        let content = types::TypeContent {
            oid: 310,
            schema: "s".into(),
            name: "d".into(),
            array_name: "_d".into(),
            kind: types::Over(over),
        };
        let domain = SqlType::Domain(types::DomainType::of(content));
        let kind = TypeKind::Domain(Domain { over: domain.array_of(), not_null: false, default: None, checks: Vec::new() });
        let (name, array_name) = ("list".into(), "_list".into());
        let list = Type { id: 312, name, array_name, schema: 1, owner: 10, comment: None, kind };
        let mut value = list.as_table().unwrap().columns.remove(0);
        assert_eq!((value.ty, value.declared()), (over.array_of(), domain.array_of()));
        value.declare(SqlType::Int4);
        assert_eq!((value.ty, value.domain), (SqlType::Int4, None));
    }
}
