//! What an index is beside an ordered one whose keys are its rule.
//!
//! ```text
//! ordered      one entry for each row; a unique one's keys cannot be shared: its entries end with its columns
//! inverted     an entry for each key of each column ([`types::inverted`]), ended by the key of the row
//! with a rule  ordered, but rows may share keys: entries end with the key of the row. That they do not is a rule, which is
//!              looked at when a statement ends or the transaction commits, or, of EXCLUDE, when a row is written
//! ```
//! **Invariant (rules-are-not-unique):** an index with a rule is not [`unique`](crate::Index::unique): nothing that rests on
//! keys that cannot be shared (plans, ON CONFLICT, foreign keys) takes it for such. A deferrable primary key is an index with a
//! rule; the rows of its table have the hidden row id for their key.
//!
//! The bytes are fields with tags ([`crate::tagged`]) behind those of the table.

use types::SqlType;
use types::inverted::KeyClass;

use crate::descriptor::{Index, Table};
use crate::tagged::{Malformed, Reader, Writer};

/// What index methods are called in statements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IndexMethod {
    #[default]
    Btree,
    Gin,
    Gist,
}

impl IndexMethod {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Btree => "btree",
            Self::Gin => "gin",
            Self::Gist => "gist",
        }
    }

    /// As `pg_am` has it.
    #[must_use]
    pub const fn oid(self) -> u32 {
        match self {
            Self::Btree => 403,
            Self::Gin => 2_742,
            Self::Gist => 783,
        }
    }
}

/// What must hold of the rows of an index whose keys may be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexRule {
    Unique,
    PrimaryKey,
    /// No two rows are equal in all columns and overlap in the last, if `overlaps` has the place at which that one was
    /// declared.
    Exclude { method: IndexMethod, overlaps: Option<u32> },
}

/// The operator class of a column of strings. All of them order by bytes here: the class is kept to be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StringClass {
    /// The type's default.
    #[default]
    Default,
    Varchar,
    TextPattern,
    VarcharPattern,
    BpcharPattern,
}

impl StringClass {
    const NAMED: [Self; 4] = [Self::Varchar, Self::TextPattern, Self::VarcharPattern, Self::BpcharPattern];

    /// None for the default, which is not shown.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Default => None,
            Self::Varchar => Some("varchar_ops"),
            Self::TextPattern => Some("text_pattern_ops"),
            Self::VarcharPattern => Some("varchar_pattern_ops"),
            Self::BpcharPattern => Some("bpchar_pattern_ops"),
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|class| class.name() == Some(name))
    }

    /// As `pg_opclass` has it; 0 for the default.
    #[must_use]
    pub const fn oid(self) -> u32 {
        match self {
            Self::Default => 0,
            Self::Varchar => 10_044,
            Self::TextPattern => 4_217,
            Self::VarcharPattern => 4_218,
            Self::BpcharPattern => 4_219,
        }
    }

    /// Whether it orders values of a type.
    #[must_use]
    pub fn accepts(self, ty: SqlType) -> bool {
        let ty = ty.base();
        let is_text = matches!(ty, SqlType::Text | SqlType::Varchar(_));
        match self {
            Self::Default => true,
            Self::Varchar | Self::TextPattern | Self::VarcharPattern => is_text,
            Self::BpcharPattern => is_text || ty.oid() == BPCHAR_OID,
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Default => 0,
            Self::Varchar => 1,
            Self::TextPattern => 2,
            Self::VarcharPattern => 3,
            Self::BpcharPattern => 4,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        [Self::Default].into_iter().chain(Self::NAMED).find(|class| class.number() == number)
    }
}

const BPCHAR_OID: u32 = 1042;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexDetails {
    /// Of an inverted index: how each of its columns gives keys.
    pub inverted: Vec<KeyClass>,
    pub rule: Option<IndexRule>,
    pub deferrable: bool,
    pub initially_deferred: bool,
    /// By the places of the columns; empty where all are the defaults.
    pub string_classes: Vec<StringClass>,
}

const fn class_number(class: KeyClass) -> u8 {
    match class {
        KeyClass::Whole => 1,
        KeyClass::Array => 2,
        KeyClass::Jsonb => 3,
        KeyClass::JsonbPath => 4,
        KeyClass::TsVector => 5,
    }
}

fn class_of(number: u8) -> Option<KeyClass> {
    [KeyClass::Whole, KeyClass::Array, KeyClass::Jsonb, KeyClass::JsonbPath, KeyClass::TsVector]
        .into_iter()
        .find(|class| class_number(*class) == number)
}

impl IndexDetails {
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// With the id of the index that it is of.
    pub(crate) fn encode(&self, id: u32) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(2, id.into(), 0);
        if !self.inverted.is_empty() {
            writer.bytes(4, &self.inverted.iter().map(|class| class_number(*class)).collect::<Vec<u8>>());
        }
        let rule = match self.rule {
            None => 0,
            Some(IndexRule::Unique) => 1,
            Some(IndexRule::PrimaryKey) => 2,
            Some(IndexRule::Exclude { .. }) => 3,
        };
        writer.number(6, rule, 0);
        writer.flag(8, self.deferrable);
        writer.flag(10, self.initially_deferred);
        if let Some(IndexRule::Exclude { method, overlaps }) = self.rule {
            writer.number(12, method.oid().into(), 0);
            writer.number(14, overlaps.map_or(0, |place| u64::from(place) + 1), 0);
        }
        if !self.string_classes.is_empty() {
            writer.bytes(16, &self.string_classes.iter().map(|class| class.number()).collect::<Vec<u8>>());
        }
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<(u32, Self), Malformed> {
        let mut reader = Reader::new(bytes)?;
        let id = reader.id(2)?;
        let classes = reader.bytes(4)?.unwrap_or_default().iter();
        let inverted = classes.map(|number| class_of(*number)).collect::<Option<_>>().ok_or(Malformed::Bad(4))?;
        let rule = reader.number(6, 0)?;
        let (deferrable, initially_deferred) = (reader.flag(8)?, reader.flag(10)?);
        let (method, overlaps) = (reader.id(12)?, reader.id(14)?);
        let rule = match rule {
            0 => None,
            1 => Some(IndexRule::Unique),
            2 => Some(IndexRule::PrimaryKey),
            3 => Some(IndexRule::Exclude {
                method: [IndexMethod::Btree, IndexMethod::Gist]
                    .into_iter()
                    .find(|known| known.oid() == method)
                    .ok_or(Malformed::Bad(12))?,
                overlaps: overlaps.checked_sub(1),
            }),
            _ => return Err(Malformed::Bad(6)),
        };
        let classes = reader.bytes(16)?.unwrap_or_default().iter();
        let string_classes = classes.map(|number| StringClass::from_number(*number));
        let string_classes = string_classes.collect::<Option<_>>().ok_or(Malformed::Bad(16))?;
        reader.finish()?;
        Ok((id, Self { inverted, rule, deferrable, initially_deferred, string_classes }))
    }
}

impl Index {
    #[must_use]
    pub fn is_inverted(&self) -> bool {
        !self.details.inverted.is_empty()
    }

    /// Of the column at this place of the key.
    #[must_use]
    pub fn string_class(&self, place: usize) -> StringClass {
        self.details.string_classes.get(place).copied().unwrap_or_default()
    }

    #[must_use]
    pub fn method(&self) -> IndexMethod {
        match self.details.rule {
            Some(IndexRule::Exclude { method, .. }) => method,
            _ if self.is_inverted() => IndexMethod::Gin,
            _ => IndexMethod::Btree,
        }
    }

    /// No two rows have the same key, or are to have when it is looked at.
    #[must_use]
    pub fn is_declared_unique(&self) -> bool {
        self.unique || matches!(self.details.rule, Some(IndexRule::Unique | IndexRule::PrimaryKey))
    }

    #[must_use]
    pub fn is_exclusion(&self) -> bool {
        matches!(self.details.rule, Some(IndexRule::Exclude { .. }))
    }

    /// Its places in the order in which its columns were declared: of EXCLUDE the one that overlaps is the last of the key.
    #[must_use]
    pub fn declared_order(&self) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.columns.len()).collect();
        if let Some(IndexRule::Exclude { overlaps: Some(place), .. }) = self.details.rule
            && let Some(last) = places.pop()
        {
            places.insert(usize::try_from(place).unwrap_or(last).min(last), last);
        }
        places
    }
}

impl Table {
    /// Whether an index is that of the primary key that the user declared.
    #[must_use]
    pub fn is_primary_key(&self, index: &Index) -> bool {
        let holds_rows = index.id == self.primary().id && index.constraint.is_some();
        holds_rows || index.details.rule == Some(IndexRule::PrimaryKey)
    }

    /// The index of the primary key that the user declared; a deferrable one does not hold the rows.
    #[must_use]
    pub fn primary_key(&self) -> Option<&Index> {
        self.indexes.iter().find(|index| self.is_primary_key(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_index_details() {
        let inverted = vec![KeyClass::Whole, KeyClass::Array, KeyClass::Jsonb, KeyClass::JsonbPath];
        let exclude = IndexRule::Exclude { method: IndexMethod::Gist, overlaps: Some(0) };
        let cases = [
            (IndexDetails { inverted, ..IndexDetails::default() }, "020107040401020304"),
            (IndexDetails { inverted: vec![KeyClass::TsVector], ..IndexDetails::default() }, "020107040105"),
            (IndexDetails { rule: Some(IndexRule::Unique), deferrable: true, ..IndexDetails::default() }, "020107060101080101"),
            (
                IndexDetails { rule: Some(IndexRule::PrimaryKey), deferrable: true, initially_deferred: true, ..IndexDetails::default() },
                "0201070601020801010a0101",
            ),
            (
                IndexDetails { string_classes: vec![StringClass::Default, StringClass::VarcharPattern], ..IndexDetails::default() },
                "02010710020003",
            ),
            (IndexDetails { rule: Some(exclude), ..IndexDetails::default() }, "0201070601030c03f1030f0e0101"),
        ];
        for (details, golden) in cases {
            let bytes = details.encode(7);
            let shown: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(shown, golden, "bytes that are stored stay readable");
            assert_eq!(IndexDetails::decode(&bytes), Ok((7, details)));
            for end in 0..bytes.len() {
                // An error, or fields that are whole.
                let _ = IndexDetails::decode(&bytes[..end]);
            }
        }
    }
}
