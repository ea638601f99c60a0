//! Enum types: their labels, what is stored for one, and how labels are put between others.
//!
//! What a type consists of is registered once in the process ([`crate::registered`]), and [`crate::SqlType::Enum`] points
//! at it; a value points at its label.
//!
//! Only the oid of a type is stored; what it consists of comes from the catalog, when that reads a descriptor. Of a value
//! its *sort key* is stored: bytes from 1 to 255 whose order is that of the labels. A label keeps its key for ever, so
//! that no row and no index entry changes when labels are added, wherever, or renamed.
//!
//! **Invariants**
//! - *keys-rise*: the sort keys of a type's labels rise in their order.
//! - *room-between*: no sort key ends with 1, the lowest digit, so that there is a key between any two.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{LazyLock, OnceLock, RwLock};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::datum::Datum;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::range::Range;
use crate::range_type::RangeType;
use crate::registered::{Kind, Registered, Registry};
use crate::sql_type::SqlType;

/// One value of an enum type.
pub struct EnumLabel {
    /// Its own, as in `pg_enum`.
    pub oid: u32,
    pub text: Box<str>,
    pub sort_key: Box<[u8]>,
    /// Its place as `pg_enum` shows it.
    pub order: f32,
    /// Added by a transaction that has not committed yet: no value may be it.
    pub is_new: bool,
    owner: OnceLock<EnumType>,
}

impl EnumLabel {
    #[must_use]
    pub fn new(oid: u32, text: &str, sort_key: &[u8], order: f32, is_new: bool) -> Self {
        Self { oid, text: text.into(), sort_key: sort_key.into(), order, is_new, owner: OnceLock::new() }
    }

    /// The type that it is of; a value that was stored apart from its type has none.
    #[must_use]
    pub fn owner(&self) -> Option<EnumType> {
        self.owner.get().copied()
    }

    fn parts(&self) -> (u32, &str, &[u8], u32, bool) {
        (self.oid, &self.text, &self.sort_key, self.order.to_bits(), self.is_new)
    }
}

impl PartialEq for EnumLabel {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for EnumLabel {}

impl Hash for EnumLabel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

/// The labels of an enum type: *keys-rise*.
#[derive(PartialEq, Eq, Hash)]
pub struct Labels(pub Vec<EnumLabel>);

/// A registered enum type.
pub type EnumType = Registered<Labels>;

/// A value of an enum type.
#[derive(Clone, Copy)]
pub struct EnumValue(&'static EnumLabel);

static ENUMS: LazyLock<Registry<Labels>> = LazyLock::new(Registry::default);
/// Values that were read apart from their type, by their sort keys.
static LOOSE: LazyLock<RwLock<FxHashMap<&'static [u8], EnumValue>>> = LazyLock::new(RwLock::default);
const INTACT: &str = "registering does not panic";

impl Kind for Labels {
    fn unresolved() -> Self {
        Self(Vec::new())
    }

    fn registry() -> &'static Registry<Self> {
        &ENUMS
    }

    fn check(&self) {
        assert!(self.0.is_sorted_by(|a, b| a.sort_key < b.sort_key), "keys-rise");
    }

    fn registered(new: EnumType) {
        new.labels().iter().for_each(|label| label.owner.set(new).expect("a new label has no owner"));
    }
}

impl EnumType {
    /// In their order.
    #[must_use]
    pub fn labels(self) -> &'static [EnumLabel] {
        &self.content().kind.0
    }

    /// What is stored as a value.
    #[must_use]
    pub fn by_sort_key(self, key: &[u8]) -> Option<EnumValue> {
        let found = self.labels().binary_search_by(|label| (*label.sort_key).cmp(key));
        found.ok().map(|at| EnumValue(&self.labels()[at]))
    }

    #[must_use]
    pub fn by_text(self, text: &str) -> Option<EnumValue> {
        self.labels().iter().find(|label| &*label.text == text).map(EnumValue)
    }

    /// Reads a value.
    ///
    /// # Errors
    /// 22P02 when there is no such label, and as [`EnumType::settled`].
    pub fn parse(self, text: &str) -> SqlResult<Datum> {
        let value = self.by_text(text).ok_or_else(|| {
            let message = format!("invalid input value for enum {}: \"{text}\"", self.shown());
            SqlError::new(SqlState::InvalidTextRepresentation, message)
        })?;
        self.settled(value)
    }

    /// # Errors
    /// 55P04 when the label was added by a transaction that has not committed.
    pub fn settled(self, value: EnumValue) -> SqlResult<Datum> {
        if !value.label().is_new {
            return Ok(Datum::Enum(value));
        }
        let message = format!("unsafe use of new value \"{}\" of enum type {}", value.text(), self.shown());
        Err(SqlError::new(SqlState::UnsafeNewEnumValueUsage, message)
            .with_hint("New enum values must be committed before they can be used."))
    }
}

impl EnumValue {
    #[must_use]
    pub const fn label(self) -> &'static EnumLabel {
        self.0
    }

    #[must_use]
    pub fn text(self) -> &'static str {
        &self.0.text
    }

    #[must_use]
    pub fn sort_key(self) -> &'static [u8] {
        &self.0.sort_key
    }

    /// A value of which only what is stored is known.
    fn loose(key: &[u8]) -> Self {
        if let Some(known) = LOOSE.read().expect(INTACT).get(key) {
            return *known;
        }
        let mut loose = LOOSE.write().expect(INTACT);
        if let Some(known) = loose.get(key) {
            return *known;
        }
        let label: &'static EnumLabel = Box::leak(Box::new(EnumLabel::new(0, "", key, 0.0, false)));
        loose.insert(&label.sort_key, Self(label));
        Self(label)
    }

    /// The text of a value, which may have been stored apart from its type.
    #[must_use]
    pub fn text_as(self, ty: &SqlType) -> &'static str {
        match ty {
            SqlType::Enum(of) if self.0.owner().is_none() => of.by_sort_key(self.sort_key()).map_or("", Self::text),
            _ => self.text(),
        }
    }
}

impl SqlType {
    /// Whether it is an enum type, or the arrays of one.
    #[must_use]
    pub fn enum_type(&self) -> Option<EnumType> {
        match self {
            Self::Enum(ty) => Some(*ty),
            Self::Array(element) => element.get().enum_type(),
            _ => None,
        }
    }

    /// The same type with another content of its enum type.
    #[must_use]
    pub fn with_enum(self, ty: EnumType) -> Self {
        match self {
            Self::Enum(_) => Self::Enum(ty),
            Self::Array(_) => Self::Enum(ty).array_of(),
            other => other,
        }
    }

    /// Gives values that were stored apart from their type, or are of another content of it, their labels, and makes rows of
    /// what was stored for them; none when there is no such label.
    #[must_use]
    pub fn with_labels(&self, datum: Datum) -> Option<Datum> {
        Some(match (datum, self) {
            (Datum::Enum(value), Self::Enum(ty)) => Datum::Enum(ty.by_sort_key(value.sort_key())?),
            (Datum::Bytes(bytes), Self::Composite(ty)) => ty.decode(&bytes).ok()?,
            (Datum::Record(fields), Self::Composite(ty)) => {
                let fields = fields.iter().enumerate().map(|(at, field)| ty.field_type(at).with_labels(field.clone()));
                Datum::Record(fields.collect::<Option<_>>()?)
            }
            (Datum::Array(array), Self::Array(element)) if self.holds_labels() => {
                let element = element.get();
                let unknown = || SqlError::internal("no such label");
                let labelled = array.try_map(|datum| element.with_labels(datum.clone()).ok_or_else(unknown));
                Datum::Array(labelled.ok()?.into())
            }
            (Datum::Range(range), Self::Range(of)) => Datum::range(of.with_labels(&range)?),
            (Datum::MultiRange(ranges), Self::MultiRange(of)) => {
                Datum::multirange(ranges.iter().map(|range| of.with_labels(range)).collect::<Option<_>>()?)
            }
            (other, _) => other,
        })
    }
}

impl RangeType {
    fn with_labels(self, range: &Range) -> Option<Range> {
        let subtype = self.subtype();
        let unknown = || SqlError::internal("no such label");
        range.try_map(|datum| subtype.with_labels(datum.clone()).ok_or_else(unknown)).ok()
    }
}

impl fmt::Debug for EnumValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.text(), self.sort_key())
    }
}

impl Serialize for EnumValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.sort_key())
    }
}

impl<'de> Deserialize<'de> for EnumValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(Self::loose)
    }
}

/// The values that a digit of a sort key may have: it is a byte, less one. Zero bytes end a key in an index.
const BASE: u32 = 255;

/// Sort keys for the labels of a new type.
#[must_use]
pub fn sort_keys(count: usize) -> Vec<Vec<u8>> {
    let places = count as u128 + 1;
    let mut width = 1_u32;
    while u128::from(BASE).pow(width) <= places {
        width += 1;
    }
    let all = u128::from(BASE).pow(width);
    let key = |at: usize| {
        let place = (at as u128 + 1) * all / places;
        let digit = |power: u32| (place / u128::from(BASE).pow(power) % u128::from(BASE)) as u8 + 1;
        let mut key: Vec<u8> = (0..width).rev().map(digit).collect();
        while key.last() == Some(&1) {
            key.pop();
        }
        key
    };
    (0..count).map(key).collect()
}

/// A sort key between two others; none stands for the end. It is long only where many labels were put between two.
#[must_use]
pub fn sort_key_between(low: Option<&[u8]>, high: Option<&[u8]>) -> Vec<u8> {
    let digit = |key: Option<&[u8]>, at: usize| key.and_then(|key| key.get(at)).map(|byte| u32::from(*byte) - 1);
    // Labels are mostly put at an end: a step from the last one leaves room for as many as a digit has values.
    let (at_end, at_start, mut high) = (high.is_none(), low.is_none(), high);
    let mut key = Vec::new();
    loop {
        let at = key.len();
        let from = digit(low, at).unwrap_or(0);
        // Past its end a key has zeros; only what is not bounded has no end.
        let to = high.map_or(BASE, |_| digit(high, at).unwrap_or(0));
        let chosen = match (at_start, at_end) {
            (false, true) => from + 1,
            (true, false) => to.saturating_sub(1),
            _ => u32::midpoint(from, to),
        };
        if chosen > from && chosen < to {
            key.push(chosen as u8 + 1);
            return key;
        }
        key.push(from as u8 + 1);
        if from < to {
            high = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TypeContent;

    fn is_key(key: &[u8]) -> bool {
        !key.is_empty() && !key.contains(&0) && key.last() != Some(&1)
    }

    #[test]
    fn keys_rise() {
        for count in [0, 1, 2, 3, 10, 253, 254, 255, 1000, 70_000] {
            let keys = sort_keys(count);
            assert_eq!(keys.len(), count);
            assert!(keys.iter().all(|key| is_key(key) && key.len() <= 3), "{count}");
            assert!(keys.is_sorted_by(|a, b| a < b), "{count}");
        }
    }

    #[test]
    fn room_between() {
        // Wherever labels are put there is room for more: at one place again and again, and at changing ones.
        for step in 0..40_usize {
            let mut keys = sort_keys(step % 4);
            for round in 0..300 {
                let at = match step {
                    0 => 0,
                    1 => keys.len(),
                    2 => keys.len().min(1),
                    3 => keys.len() / 2,
                    _ => (round * 7919 * step + step) % (keys.len() + 1),
                };
                let low = at.checked_sub(1).map(|at| keys[at].as_slice());
                let made = sort_key_between(low, keys.get(at).map(Vec::as_slice));
                assert!(is_key(&made), "room-between: {made:?}");
                keys.insert(at, made);
                assert!(keys.is_sorted_by(|a, b| a < b), "keys-rise: {:?} at {at}", keys[at]);
            }
        }
        for at_end in [true, false] {
            let mut key = sort_keys(1).remove(0);
            for _ in 0..2000 {
                key = if at_end { sort_key_between(Some(&key), None) } else { sort_key_between(None, Some(&key)) };
            }
            assert!(key.len() < 12, "labels at an end have short keys: {key:?}");
        }
    }

    #[test]
    fn a_changed_type_is_another_content_of_the_same_oid() {
        let content = |name: &str, label: &str| TypeContent {
            oid: 20_000,
            schema: "public".into(),
            name: name.into(),
            array_name: format!("_{name}").into(),
            kind: Labels(vec![EnumLabel::new(20_002, label, &[100], 1.0, false)]),
        };
        let ty = |name, label| SqlType::Enum(EnumType::of(content(name, label)));
        assert_eq!(ty("mood", "sad"), ty("mood", "sad"));
        assert_ne!(ty("mood", "sad"), ty("mood", "blue"));
        assert!(ty("mood", "sad").same_base(&ty("feeling", "sad")));
        let array = ty("mood", "sad").array_of();
        assert_eq!((array.oid(), array.element(), array.array_oid()), (20_001, Some(ty("mood", "sad")), 0));
        let stored = postcard::to_stdvec(&array).unwrap();
        let read: SqlType = postcard::from_bytes(&stored).unwrap();
        assert_eq!(read.oid(), 20_001);
        assert_eq!(read.with_enum(array.enum_type().unwrap()), array);
    }

    /// In keys and in rows: keys in both directions keep the labels' order, and no value is a prefix of another.
    #[test]
    fn golden_values() {
        use crate::{Array, Direction, NullsOrder, RowDecoder, RowEncoder, WantedColumn, decode_key, encode_key};
        let label = |at: u32, text: &str, key: &[u8]| EnumLabel::new(20_102 + at, text, key, 1.0, false);
        let of = EnumType::of(TypeContent {
            oid: 20_100,
            schema: "public".into(),
            name: "golden".into(),
            array_name: "_golden".into(),
            kind: Labels(vec![label(0, "a", &[64]), label(2, "between", &[64, 128]), label(1, "b", &[128])]),
        });
        let ty = SqlType::Enum(of);
        let values = ["a", "between", "b"].map(|text| of.parse(text).unwrap());
        let encode = |value: &Datum, direction| {
            let mut out = Vec::new();
            encode_key(&mut out, &ty, value, direction, NullsOrder::Last);
            out
        };
        assert_eq!(encode(&values[1], Direction::Asc), [0x80, 64, 128, 0]);
        for direction in [Direction::Asc, Direction::Desc] {
            let keys: Vec<Vec<u8>> = values.iter().map(|value| encode(value, direction)).collect();
            assert!(if direction == Direction::Asc { keys.is_sorted() } else { keys.iter().rev().is_sorted() });
            for (key, value) in keys.iter().zip(&values) {
                let mut rest = &[key.as_slice(), b"rest"].concat()[..];
                assert_eq!(decode_key(&mut rest, &ty, direction, NullsOrder::Last).as_ref(), Ok(value));
                assert_eq!(rest, b"rest");
            }
        }
        assert!(decode_key(&mut &[0x80, 9, 0][..], &ty, Direction::Asc, NullsOrder::Last).is_err(), "no label has it");

        let array = Datum::Array(Array::from_elements(vec![values[2].clone(), Datum::Null]).into());
        let mut encoder = RowEncoder::new();
        encoder.push(keys::ColumnId::new(1), &ty, &values[1]);
        encoder.push(keys::ColumnId::new(2), &ty.array_of(), &array);
        let row = encoder.finish();
        assert_eq!(row[..4], [0x0b, 2, 64, 128], "a sort key, as bytes");
        let wanted = |id, ty, slot| WantedColumn { id: keys::ColumnId::new(id), ty, slot, missing: Datum::Null };
        let decoder = RowDecoder::new(vec![wanted(1, ty, 0), wanted(2, ty.array_of(), 1)]);
        let mut read = vec![Datum::Null; 2];
        decoder.decode_datums(&row, &mut read).unwrap();
        let shown = |ty: &SqlType, datum: &Datum| crate::to_text(ty, datum, &crate::Formatting::default());
        assert_eq!((shown(&ty, &read[0]), shown(&ty.array_of(), &read[1])), ("between".into(), "{b,NULL}".into()));
        // A label that was taken for another: rows name it by its sort key alone.
        let renamed = EnumType::of(TypeContent {
            oid: 20_100,
            schema: "public".into(),
            name: "golden".into(),
            array_name: "_golden".into(),
            kind: Labels(vec![label(2, "renamed", &[64, 128]), label(1, "b", &[128])]),
        });
        RowDecoder::new(vec![wanted(1, SqlType::Enum(renamed), 0)]).decode_datums(&row, &mut read).unwrap();
        assert_eq!(shown(&SqlType::Enum(renamed), &read[0]), "renamed");
    }

    #[test]
    fn a_value_is_stored_apart_from_its_label() {
        let ty = SqlType::Enum(EnumType::of(TypeContent {
            oid: 20_010,
            schema: "public".into(),
            name: "m".into(),
            array_name: "_m".into(),
            kind: Labels(vec![EnumLabel::new(1, "a", &[100], 1.0, false), EnumLabel::new(2, "b", &[200], 2.0, false)]),
        }));
        let value = Datum::Enum(ty.enum_type().unwrap().by_text("b").unwrap());
        let read: Datum = postcard::from_bytes(&postcard::to_stdvec(&value).unwrap()).unwrap();
        assert_eq!(read, value);
        assert_eq!(crate::to_text(&ty, &read, &crate::Formatting::default()), "b");
        let Some(Datum::Enum(read)) = ty.with_labels(read) else { panic!("it has a label") };
        assert_eq!(read.text(), "b");
    }
}
