//! What the catalog holds of a composite type beyond what it holds of any type.
//!
//! A composite type has three oids: its own, that of arrays of it, and that of its row in `pg_class`. The row types of tables and
//! views have no descriptor: they follow from the relation ([`CatalogSnapshot::row_type_of`]).
//!
//! Bytes: fields with tags ([`crate::tagged`]).

use std::sync::Arc;

use keys::ColumnId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use types::{CompositeType, SqlType, row_type_oid};

use crate::descriptor::{Type, TypeKind};
use crate::snapshot::{CatalogSnapshot, Relation};
use crate::tagged::{Malformed, Reader, Writer};

#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Its number. That of a dropped attribute is not used again.
    pub id: ColumnId,
    pub name: String,
    /// As it was declared: a domain, perhaps.
    pub ty: SqlType,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Composite {
    /// In the order of their numbers.
    pub attributes: Vec<Attribute>,
    /// The number of the next one.
    pub next: ColumnId,
}

impl Attribute {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(2, self.id.get().into(), 0);
        writer.text(4, &self.name);
        writer.bytes(6, &postcard::to_stdvec(&self.ty).expect("types are plain data"));
        if let Some(comment) = &self.comment {
            writer.bytes(9, comment.as_bytes());
        }
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let (id, name) = (ColumnId::new(reader.id(2)?), reader.text(4)?);
        let ty = reader.bytes(6)?.and_then(|bytes| postcard::from_bytes(bytes).ok()).ok_or(Malformed::Bad(6))?;
        let comment = reader.bytes(9)?.map(|bytes| String::from_utf8(bytes.to_vec())).transpose();
        let comment = comment.map_err(|_| Malformed::Bad(9))?;
        reader.finish()?;
        Ok(Self { id, name, ty, comment })
    }
}

impl Composite {
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.attributes.iter().position(|attribute| attribute.name == name)
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.list(2, self.attributes.iter().map(Attribute::encode));
        writer.number(4, self.next.get().into(), 1);
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let attributes = reader.list(2)?.into_iter().map(Attribute::decode).collect::<Result<_, _>>()?;
        let next = u32::try_from(reader.number(4, 1)?).map_err(|_| Malformed::Bad(4))?;
        reader.finish()?;
        Ok(Self { attributes, next: ColumnId::new(next) })
    }
}

impl Serialize for Composite {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.encode())
    }
}

impl<'de> Deserialize<'de> for Composite {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <Vec<u8>>::deserialize(deserializer)?;
        Self::decode(&bytes).map_err(serde::de::Error::custom)
    }
}

impl Type {
    #[must_use]
    pub const fn composite(&self) -> Option<&Composite> {
        match &self.kind {
            TypeKind::Composite(composite) => Some(composite),
            TypeKind::Enum(_) | TypeKind::Domain(_) | TypeKind::Range(_) => None,
        }
    }

    /// The oid of the row in `pg_class` of a composite type.
    #[must_use]
    pub const fn class_id(&self) -> u32 {
        self.id + 2
    }
}

impl CatalogSnapshot {
    /// The type of a relation's rows.
    #[must_use]
    pub fn row_type_of(&self, relation: u32) -> Option<SqlType> {
        let relation = self.relation_by_id(relation)?;
        let attribute = |id: ColumnId, name: &str, ty: SqlType| types::Attribute { id, name: name.into(), ty };
        let attributes = match relation {
            Relation::Table(table) => {
                table.visible_columns().map(|(_, column)| attribute(column.id, &column.name, column.declared())).collect()
            }
            Relation::View(view) => {
                let columns = (1..).zip(&view.columns);
                columns.map(|(number, (name, ty))| attribute(ColumnId::new(number), name, *ty)).collect()
            }
            Relation::Sequence(_) => {
                let columns = (1..).zip(crate::virtual_tables::SEQUENCE_COLUMNS);
                columns.map(|(number, (name, ty))| attribute(ColumnId::new(number), name, ty)).collect()
            }
        };
        let schema = self.schema_by_id(relation.schema()).map_or("", |schema| &schema.name);
        let (name, oid) = (relation.name(), row_type_oid(relation.id()));
        Some(SqlType::Composite(CompositeType::make(oid, schema, name, &format!("_{name}"), attributes)))
    }

    /// What columns, attributes or domains may hold the rows of a relation in.
    #[must_use]
    pub fn has_row_users(&self, relation: u32) -> bool {
        !self.type_users(relation).is_empty() || self.types_made_of(relation).next().is_some()
    }

    /// The type or row type of a name in a schema.
    #[must_use]
    pub fn type_or_rows_named(&self, schema: u32, name: &str) -> Option<SqlType> {
        self.type_named(schema, name).or_else(|| {
            if let Some(relation) = self.relation(schema, name) {
                return self.row_type_of(relation.id());
            }
            let element = self.relation(schema, name.strip_prefix('_')?)?;
            self.row_type_of(element.id()).map(SqlType::array_of)
        })
    }

    pub(crate) fn composite_of(&self, it: &Type, composite: &Composite) -> SqlType {
        let schema = self.schema_by_id(it.schema).map_or("", |schema| &schema.name);
        let attributes = composite.attributes.iter().map(|attribute| types::Attribute {
            id: attribute.id,
            name: Arc::from(attribute.name.as_str()),
            ty: attribute.ty,
        });
        SqlType::Composite(CompositeType::make(it.id, schema, &it.name, &it.array_name, attributes.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::{Descriptor, Schema};

    fn made(attributes: Vec<Attribute>, next: u32) -> Type {
        let kind = TypeKind::Composite(Composite { attributes, next: ColumnId::new(next) });
        let (name, array_name) = ("c".into(), "_c".into());
        Type { id: 300, name, array_name, schema: 2_200, owner: 10, comment: None, kind }
    }

    fn attribute(id: u32, name: &str, ty: SqlType, comment: Option<&str>) -> Attribute {
        Attribute { id: ColumnId::new(id), name: name.into(), ty, comment: comment.map(str::to_owned) }
    }

    /// As stores have them: the attributes, each with its number, name, type and comment, and the next number.
    #[test]
    fn golden_composite() {
        let list = vec![
            attribute(1, "a", SqlType::Int4, None),
            attribute(3, "b", SqlType::Varchar(Some(5)), Some("hm")),
        ];
        let stored = postcard::to_stdvec(&Descriptor::Type(made(list.clone(), 4))).unwrap();
        let expected = [
            &[7, 0xac, 2, 1, b'c', 2, b'_', b'c', 0x98, 0x11, 10, 0][..],
            // The kind, then the length of its fields.
            &[3, 31, 2, 26],
            &[9, 2, 1, 1, 4, 1, b'a', 6, 1, 2],
            &[15, 2, 1, 3, 4, 1, b'b', 6, 3, 8, 1, 5, 9, 2, b'h', b'm'],
            &[4, 1, 4],
        ];
        assert_eq!(stored, expected.concat());
        assert_eq!(postcard::from_bytes::<Descriptor>(&stored).unwrap(), Descriptor::Type(made(list, 4)));
    }

    /// *types-of-this-version*: what is over a type follows it.
    #[test]
    fn types_over_a_type_follow_it() {
        let mut catalog = CatalogSnapshot::default();
        let public = Schema { id: 2_200, database: 5, name: "public".into(), owner: 10, comment: None };
        catalog.put(Descriptor::Schema(public));
        catalog.put(Descriptor::Type(made(vec![attribute(1, "a", SqlType::Int4, None)], 2)));
        let inner = catalog.type_named(2_200, "c").unwrap();
        let outer = Type { id: 310, name: "o".into(), array_name: "_o".into(), ..made(vec![attribute(1, "c", inner.array_of(), None)], 2) };
        // As it is read: by oids.
        let outer: Descriptor = postcard::from_bytes(&postcard::to_stdvec(&Descriptor::Type(outer)).unwrap()).unwrap();
        catalog.put(outer);
        let field = |catalog: &CatalogSnapshot| catalog.type_named(2_200, "o").unwrap().composite().unwrap().attributes()[0].ty;
        assert_eq!(field(&catalog), inner.array_of());
        let list = vec![attribute(1, "a", SqlType::Int4, None), attribute(2, "b", SqlType::Text, None)];
        catalog.put(Descriptor::Type(made(list, 3)));
        let changed = catalog.type_named(2_200, "c").unwrap();
        assert!(changed != inner);
        assert_eq!(field(&catalog), changed.array_of());
        assert_eq!(catalog.types_made_of(300).map(|ty| ty.id).collect::<Vec<_>>(), [310]);
    }
}
