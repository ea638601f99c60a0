//! Composite types: those that CREATE TYPE … AS makes, and the row types of tables and views.
//!
//! What one consists of is registered once in the process, as the content of an enum type is ([`crate::registered`]). A value is
//! a [`Datum::Record`] with a field for each attribute, in their order.
//!
//! A stored value is a row of its own ([`crate::row`]), its fields tagged by the numbers of their attributes: an attribute that
//! came later is NULL in it, one that was dropped is passed over. Numbers of dropped attributes are not used again. Within a
//! stored array such a row stands as bytes.
//!
//! **Invariants**
//! - *rows-by-relation*: the row type of relation `r` has the oid `2^30 + 2r`, and arrays of it the next one. So row types have
//!   no descriptor of their own, and are registered only where one is used.
//! - *bounded-size*: a type made up of others has at most [`SIZE_MAX`] fields in all and is nested at most [`DEPTH_MAX`] deep,
//!   so that walks over types and values end. Who makes a type asks [`SqlType::check_size`], and who
//!   changes one asks [`check_extent`] of what it and all that is made of it will be.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock, OnceLock};

use keys::ColumnId;

use crate::datum::Datum;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::registered::{Kind, Registered, Registry, TypeContent};
use crate::row::{RowDecoder, RowEncoder, RowError, WantedColumn};
use crate::row_type::RowType;
use crate::sql_type::SqlType;

/// Levels of composite types within one another.
pub const DEPTH_MAX: usize = 100;
/// Fields of a composite type, those of its attributes counted.
pub const SIZE_MAX: usize = 10_000;

/// An attribute of a composite type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attribute {
    /// Its number, which stored values know it by.
    pub id: ColumnId,
    pub name: Arc<str>,
    /// As it was declared: a domain, perhaps.
    pub ty: SqlType,
}

/// What a composite type consists of.
pub struct Attributes {
    list: Vec<Attribute>,
    /// The names, and the types that values are stored as.
    row: Arc<RowType>,
    depth: usize,
    size: usize,
    decoder: OnceLock<RowDecoder>,
}

impl PartialEq for Attributes {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl Eq for Attributes {}

impl Hash for Attributes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.list.hash(state);
    }
}

/// A registered composite type.
pub type CompositeType = Registered<Attributes>;

static COMPOSITES: LazyLock<Registry<Attributes>> = LazyLock::new(Registry::default);

impl Kind for Attributes {
    fn unresolved() -> Self {
        Self::new("", Vec::new())
    }

    fn registry() -> &'static Registry<Self> {
        &COMPOSITES
    }
}

/// The composite type within a type: itself, what a domain is over, what an array is of.
fn within(ty: SqlType) -> Option<CompositeType> {
    match ty.base() {
        SqlType::Composite(it) => Some(it),
        base => base.element().and_then(within),
    }
}

impl Attributes {
    /// `shown`: the type's name as messages spell it.
    #[must_use]
    pub fn new(shown: &str, list: Vec<Attribute>) -> Self {
        let (mut depth, mut size) = (1, list.len());
        for inner in list.iter().filter_map(|it| within(it.ty)) {
            let inner = &inner.content().kind;
            depth = depth.max(inner.depth.saturating_add(1));
            size = size.saturating_add(inner.size);
        }
        let fields = list.iter().map(|it| (it.name.clone(), it.ty.base())).collect();
        let row = Arc::new(RowType { table: Some(shown.into()), fields });
        Self { list, row, depth, size, decoder: OnceLock::new() }
    }
}

const ROWS: u32 = 1 << 30;

/// *rows-by-relation*
#[must_use]
pub const fn row_type_oid(relation: u32) -> u32 {
    ROWS | ((relation & (ROWS / 2 - 1)) << 1)
}

/// The relation whose row type, or arrays of it, has this oid.
#[must_use]
pub const fn relation_of_row_type(oid: u32) -> Option<u32> {
    if oid >> 30 == 1 { Some((oid ^ ROWS) >> 1) } else { None }
}

/// The object that a type's oid stands for: the type itself or, for a row type, its relation.
pub(crate) const fn object_of(oid: u32) -> u32 {
    match relation_of_row_type(oid) {
        Some(relation) => relation,
        None => oid,
    }
}

impl CompositeType {
    #[must_use]
    pub fn make(oid: u32, schema: &str, name: &str, array_name: &str, attributes: Vec<Attribute>) -> Self {
        let shown = crate::registered::shown_in(schema, name);
        let kind = Attributes::new(&shown, attributes);
        Self::of(TypeContent { oid, schema: schema.into(), name: name.into(), array_name: array_name.into(), kind })
    }

    /// In their order.
    #[must_use]
    pub fn attributes(self) -> &'static [Attribute] {
        &self.content().kind.list
    }

    /// The names of the fields, and the types that values are stored as.
    #[must_use]
    pub fn row(self) -> &'static Arc<RowType> {
        &self.content().kind.row
    }

    /// The type that a field's values are stored as.
    #[must_use]
    pub fn field_type(self, at: usize) -> SqlType {
        self.row().fields.get(at).map_or(SqlType::Unknown, |(_, ty)| *ty)
    }

    /// The relation that it is the row type of.
    #[must_use]
    pub const fn relation(self) -> Option<u32> {
        relation_of_row_type(self.oid())
    }

    /// The type, or the relation that it is the row type of.
    #[must_use]
    pub const fn object(self) -> u32 {
        object_of(self.oid())
    }

    pub(crate) fn encode(self, fields: &[Datum]) -> Vec<u8> {
        let mut encoder = RowEncoder::new();
        for (at, (attribute, field)) in self.attributes().iter().zip(fields).enumerate() {
            encoder.push(attribute.id, &self.field_type(at), field);
        }
        encoder.finish()
    }

    pub(crate) fn decode(self, bytes: &[u8]) -> Result<Datum, RowError> {
        let decoder = self.content().kind.decoder.get_or_init(|| {
            let wanted = self.attributes().iter().enumerate().map(|(slot, attribute)| WantedColumn {
                id: attribute.id,
                ty: self.field_type(slot),
                slot,
                missing: Datum::Null,
            });
            RowDecoder::new(wanted.collect())
        });
        let mut fields = vec![Datum::Null; self.attributes().len()];
        decoder.decode_datums(bytes, &mut fields)?;
        Ok(Datum::Record(fields.into()))
    }
}

impl SqlType {
    /// A record, or a value of a composite type.
    #[must_use]
    pub const fn is_row(&self) -> bool {
        matches!(self, Self::Record(_) | Self::Composite(_))
    }

    #[must_use]
    pub const fn composite(&self) -> Option<CompositeType> {
        match self {
            Self::Composite(it) => Some(*it),
            _ => None,
        }
    }

    /// The types of a row's fields as they were declared, where they are known.
    #[must_use]
    pub fn declared_fields(&self) -> Option<Vec<SqlType>> {
        match self {
            Self::Composite(it) => Some(it.attributes().iter().map(|attribute| attribute.ty).collect()),
            other => other.row_type().map(|row| row.fields.iter().map(|(_, ty)| *ty).collect()),
        }
    }

    /// Whether it is a composite type, or the arrays of one: values are stored in another form than they have in memory.
    #[must_use]
    pub fn holds_rows(&self) -> bool {
        match self {
            Self::Composite(_) => true,
            Self::Array(element) => element.get().holds_rows(),
            Self::Domain(it) => it.over().holds_rows(),
            _ => false,
        }
    }

    /// A value that holds rows as it is stored.
    pub(crate) fn stored_form(&self, datum: &Datum) -> Datum {
        match (self, datum) {
            (Self::Composite(ty), Datum::Record(fields)) => Datum::bytes(ty.encode(fields)),
            (Self::Array(element), Datum::Array(array)) => {
                let element = element.get().base();
                let stored = array.try_map(|datum| Ok(element.stored_form(datum)));
                stored.map_or(Datum::Null, |array| Datum::Array(Arc::new(array)))
            }
            (_, other) => other.clone(),
        }
    }

    /// Whether values of this type hold values of the type or rows of the relation with this id, in whatever depth.
    #[must_use]
    pub fn is_made_of(&self, object: u32) -> bool {
        let mut found = false;
        self.for_each_user_type(&mut |known| found |= known == object);
        found
    }

    /// How many levels and fields of composite types there are within.
    #[must_use]
    pub fn extent(&self) -> Option<(usize, usize)> {
        let kind = &within(*self)?.content().kind;
        Some((kind.depth, kind.size))
    }

    /// *bounded-size*
    ///
    /// # Errors
    /// 54001 and 54011.
    pub fn check_size(&self) -> SqlResult<()> {
        self.extent().map_or(Ok(()), |(depth, size)| check_extent(depth, size))
    }
}

/// *bounded-size* of a type of so many levels and fields, before there is one.
///
/// # Errors
/// 54001 and 54011.
pub fn check_extent(depth: usize, size: usize) -> SqlResult<()> {
    if depth > DEPTH_MAX {
        let message = format!("composite types cannot be nested more than {DEPTH_MAX} levels deep");
        return Err(SqlError::new(SqlState::StatementTooComplex, message));
    }
    if size > SIZE_MAX {
        let message = format!("a composite type can have at most {SIZE_MAX} fields, those within its attributes counted");
        return Err(SqlError::new(SqlState::TooManyColumns, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formatting::Formatting;
    use crate::text::{parse_text, to_text};

    fn attribute(id: u32, name: &str, ty: SqlType) -> Attribute {
        Attribute { id: ColumnId::new(id), name: name.into(), ty }
    }

    fn made(oid: u32, attributes: Vec<Attribute>) -> CompositeType {
        CompositeType::make(oid, "public", "c", "_c", attributes)
    }

    fn read(ty: SqlType, text: &str) -> Datum {
        parse_text(&ty, text, &Formatting::default()).unwrap()
    }

    fn stored(ty: SqlType, value: &Datum) -> Vec<u8> {
        let mut encoder = RowEncoder::new();
        encoder.push(ColumnId::new(1), &ty, value);
        encoder.finish()
    }

    fn read_back(ty: SqlType, bytes: &[u8]) -> Datum {
        let wanted = WantedColumn { id: ColumnId::new(1), ty, slot: 0, missing: Datum::Null };
        let mut out = [Datum::Null];
        RowDecoder::new(vec![wanted]).decode_datums(bytes, &mut out).unwrap();
        let [value] = out;
        value
    }

    /// A row of its own: here attribute 1, an integer, and attribute 3, a text.
    #[test]
    fn golden_values() {
        let pair = made(30_000, vec![attribute(1, "a", SqlType::Int4), attribute(3, "b", SqlType::Text)]);
        let ty = SqlType::Composite(pair);
        let value = read(ty, "(-3,ab)");
        assert_eq!(stored(ty, &value), b"\x0b\x06\x09\x05\x13\x02ab");
        assert_eq!(read_back(ty, b"\x0b\x06\x09\x05\x13\x02ab"), value);
        // NULLs are left out; a row of NULLs is no NULL.
        assert_eq!(stored(ty, &read(ty, "(,)")), b"\x0b\x00");
        assert_eq!(read_back(ty, b"\x0b\x00"), read(ty, "(,)"));
        // In an array: one dimension of one element from 1, which is bytes.
        let list = read(ty.array_of(), r#"{"(1,x)"}"#);
        let bytes = stored(ty.array_of(), &list);
        assert_eq!(bytes, b"\x0e\x0c\x10\x01\x01\x02\x01\x06\x05\x09\x02\x13\x01x");
        assert_eq!(read_back(ty.array_of(), &bytes), list);
    }

    #[test]
    fn attributes_come_and_go() {
        let before = vec![attribute(1, "a", SqlType::Int4), attribute(2, "b", SqlType::Text)];
        let after = vec![attribute(2, "b", SqlType::Text), attribute(3, "c", SqlType::Bool)];
        let (old, new) = (SqlType::Composite(made(30_002, before)), SqlType::Composite(made(30_002, after)));
        assert!(old != new && old.same_base(&new));
        let bytes = stored(old, &read(old, "(7,x)"));
        let value = read_back(new, &bytes);
        assert_eq!(to_text(&new, &value, &Formatting::default()), "(x,)");
        let bytes = stored(old.array_of(), &read(old.array_of(), r#"{"(7,x)",NULL}"#));
        assert_eq!(to_text(&new.array_of(), &read_back(new.array_of(), &bytes), &Formatting::default()), r#"{"(x,)",NULL}"#);
    }

    #[test]
    fn row_types_are_known_by_their_relations() {
        assert_eq!(row_type_oid(16_384), 1_073_774_592);
        assert_eq!(relation_of_row_type(row_type_oid(16_384)), Some(16_384));
        assert_eq!(relation_of_row_type(row_type_oid(16_384) + 1), Some(16_384));
        assert_eq!((relation_of_row_type(16_384), relation_of_row_type(1 << 31)), (None, None));
        let ty = SqlType::Composite(made(row_type_oid(700), vec![attribute(1, "a", SqlType::Int4)]));
        assert_eq!((ty.user_type(), ty.array_of().user_type()), (Some(700), Some(700)));
        // As stores have them: by their oids.
        let read: SqlType = postcard::from_bytes(&postcard::to_stdvec(&ty).unwrap()).unwrap();
        assert_eq!((read.oid(), read.user_type()), (ty.oid(), Some(700)));
        let read: SqlType = postcard::from_bytes(&postcard::to_stdvec(&ty.array_of()).unwrap()).unwrap();
        assert_eq!((read.oid(), read.user_type()), (ty.oid() + 1, Some(700)));
        assert_eq!(read.with_content(ty), ty.array_of());
    }

    #[test]
    fn sizes_are_bounded() {
        let mut ty = SqlType::Int4;
        for level in 0..12 {
            let both = vec![attribute(1, "a", ty), attribute(2, "b", ty.array_of())];
            ty = SqlType::Composite(made(31_000 + 2 * level, both));
            assert!(ty.check_size().is_ok());
        }
        let both = vec![attribute(1, "a", ty), attribute(2, "b", ty)];
        let wide = SqlType::Composite(made(31_100, both));
        assert_eq!(wide.array_of().check_size().unwrap_err().code(), SqlState::TooManyColumns);
    }
}
