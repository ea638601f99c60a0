//! The keys that a value gives to an inverted index, and those that a condition looks for.
//!
//! The problem: `data @> '{"a": 1}'` and `tags && '{x,y}'` ask what is inside of a value, which an index over whole values
//! does not know. An inverted index holds an entry for each key of a value: the elements of an array, the keys and scalars
//! of a jsonb value, or the paths to its scalars.
//!
//! ```text
//! 01                empty: an array without elements, jsonb without keys
//! 02                NULL as an element
//! 03 | column key   an element, as `encode_key` lays it out
//! 05 | text         jsonb: a key of an object, or a string in an array; ended as texts in keys are
//! 07                jsonb: null
//! 08 | 00 or 01     jsonb: a boolean
//! 09 | column key   jsonb: a number
//! 0a | text         jsonb: a string as the value of a key
//! 0c | 8 bytes      jsonb_path_ops: the hash of a scalar and of the keys on the way to it
//! 0d | text         tsvector: a lexeme, or as much of it as LEXEME_BYTES_MAX; ended as texts in keys are
//! 4x | 16 bytes     what is longer than KEY_BYTES_MAX: the hash of what would follow the byte 0x
//! ```
//!
//! **Invariants**
//! - *necessary-keys*: a row for which a condition is true has the keys that [`wanted`] answers for it. The converse does not
//!   hold: the condition is looked at for each row that is found. So hashes may collide, and a key says nothing of its place.
//! - *entry-prefix-free*: no key is a proper prefix of another.
//! - *some-key*: a value that is not NULL has at least one key, so that conditions which hold of empty values find them.

use crate::{
    Array, Datum, Direction, Json, NullsOrder, SqlType, encode_key,
    stack::deep,
};
use crate::text_search::{Operand, Operator, Tree, TsQuery};
use keys::encoding::put_bytes;

/// Longer ones are hashed.
const KEY_BYTES_MAX: usize = 128;

const EMPTY: u8 = 0x01;
const NULL_ELEMENT: u8 = 0x02;
const ELEMENT: u8 = 0x03;
const JSON_KEY: u8 = 0x05;
const JSON_NULL: u8 = 0x07;
const JSON_BOOL: u8 = 0x08;
const JSON_NUMBER: u8 = 0x09;
const JSON_STRING: u8 = 0x0a;
const JSON_PATH: u8 = 0x0c;
const LEXEME: u8 = 0x0d;
const HASHED: u8 = 0x40;

/// Longer lexemes are cut, so that those that begin alike stand together.
const LEXEME_BYTES_MAX: usize = KEY_BYTES_MAX - 2;
/// Ends a text in a key; a lexeme has no zero bytes.
const TEXT_END: [u8; 2] = [0, 1];

/// How a column of an inverted index gives keys: PostgreSQL's operator class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyClass {
    /// The value is the only key: what btree_gin has for types that are ordered.
    Whole,
    Array,
    Jsonb,
    JsonbPath,
    /// The lexemes of a tsvector.
    TsVector,
}

/// What a condition asks of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyQuestion {
    Contains,
    ContainedBy,
    Overlaps,
    Equals,
    /// `?`, `?|` and `?&`.
    HasKey,
    HasAnyKey,
    HasAllKeys,
    /// `@@`.
    Matches,
}

impl KeyClass {
    /// Whether keys of this class answer a question.
    #[must_use]
    pub fn answers(self, question: KeyQuestion) -> bool {
        use KeyQuestion::{ContainedBy, Contains, Equals, HasAllKeys, HasAnyKey, HasKey, Matches, Overlaps};
        match self {
            Self::Whole => matches!(question, Equals),
            Self::Array => matches!(question, Contains | ContainedBy | Overlaps | Equals),
            Self::Jsonb => matches!(question, Contains | HasKey | HasAnyKey | HasAllKeys),
            Self::JsonbPath => matches!(question, Contains),
            Self::TsVector => matches!(question, Matches),
        }
    }
}

/// Keys that a condition looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedKeys {
    /// Each of them; there is at least one.
    All(Vec<Vec<u8>>),
    /// One of them. Without any, no row meets the condition.
    Any(Vec<Vec<u8>>),
    /// One that begins with one of these, which are beginnings of texts, or texts.
    AnyPrefix(Vec<Vec<u8>>),
    /// The condition names no key: any row may meet it.
    Anything,
}

/// The keys of a value, sorted, each once. NULL has none. *some-key*
#[must_use]
pub fn entry_keys(class: KeyClass, ty: &SqlType, value: &Datum) -> Vec<Vec<u8>> {
    if value.is_null() {
        return Vec::new();
    }
    let mut keys = keys_of(class, ty, value);
    if keys.is_empty() {
        keys.push(vec![EMPTY]);
    }
    keys
}

/// Without the one of empty values.
fn keys_of(class: KeyClass, ty: &SqlType, value: &Datum) -> Vec<Vec<u8>> {
    let mut keys = match (class, value) {
        (KeyClass::Array, Datum::Array(array)) => {
            let element = ty.element().unwrap_or(SqlType::Text);
            array.elements().iter().map(|datum| element_key(&element, datum)).collect()
        }
        (KeyClass::Jsonb, Datum::Jsonb(json)) => {
            let mut out = Vec::new();
            deep(|| json_keys(json, true, &mut out));
            out
        }
        (KeyClass::JsonbPath, Datum::Jsonb(json)) => {
            let mut out = Vec::new();
            deep(|| path_keys(json, Hash::NEW, &mut out));
            out
        }
        (KeyClass::TsVector, Datum::TsVector(vector)) => {
            vector.lexemes().iter().map(|lexeme| lexeme_key(&lexeme.text, false)).collect()
        }
        (KeyClass::Whole | KeyClass::Array | KeyClass::Jsonb | KeyClass::JsonbPath | KeyClass::TsVector, value) => vec![element_key(ty, value)],
    };
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The keys that a row has for which the answer to a question about a column is yes. `ty` is the column's type, and `value`
/// what it is compared with. *necessary-keys*
#[must_use]
pub fn wanted(class: KeyClass, ty: &SqlType, question: KeyQuestion, value: &Datum) -> WantedKeys {
    let nothing = WantedKeys::Any(Vec::new());
    let each = |keys: Vec<Vec<u8>>| if keys.is_empty() { WantedKeys::Anything } else { WantedKeys::All(keys) };
    if value.is_null() {
        return nothing;
    }
    let texts = || -> Vec<Vec<u8>> {
        let list = match value {
            Datum::Array(array) => array.elements(),
            one => std::slice::from_ref(one),
        };
        let mut keys: Vec<Vec<u8>> = list.iter().filter_map(Datum::as_str).map(|text| text_key(JSON_KEY, text)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    };
    match question {
        // No array contains NULL.
        KeyQuestion::Contains if has_null(value) => nothing,
        KeyQuestion::Contains => each(keys_of(class, ty, value)),
        KeyQuestion::ContainedBy => {
            let mut keys = keys_of(class, ty, value);
            keys.retain(|key| key[0] != NULL_ELEMENT);
            keys.insert(0, vec![EMPTY]);
            WantedKeys::Any(keys)
        }
        KeyQuestion::Overlaps => {
            let mut keys = keys_of(class, ty, value);
            keys.retain(|key| key[0] != NULL_ELEMENT);
            WantedKeys::Any(keys)
        }
        KeyQuestion::Equals => WantedKeys::All(entry_keys(class, ty, value)),
        KeyQuestion::HasKey | KeyQuestion::HasAnyKey => WantedKeys::Any(texts()),
        // NULLs among the keys are passed over.
        KeyQuestion::HasAllKeys => each(texts()),
        KeyQuestion::Matches => match value {
            Datum::TsQuery(query) => wanted_lexemes(query),
            _ => WantedKeys::Anything,
        },
    }
}

/// The keys of a query: all lexemes that a row must have, or else the shortest list of which it must have one.
fn wanted_lexemes(query: &TsQuery) -> WantedKeys {
    let Some(tree) = query.to_tree() else { return WantedKeys::Any(Vec::new()) };
    deep(move || {
        let Some(tree) = tree.without_negations() else { return WantedKeys::Anything };
        let mut alternatives = Vec::new();
        put_alternatives(&tree, &mut alternatives);
        let is_exact = |operands: &&Vec<&Operand>| matches!(operands[..], [one] if !one.is_prefix);
        let mut all: Vec<Vec<u8>> =
            alternatives.iter().filter(is_exact).map(|operands| lexeme_key(&operands[0].text, false)).collect();
        if !all.is_empty() {
            all.sort_unstable();
            all.dedup();
            return WantedKeys::All(all);
        }
        let has_prefix = |operands: &[&Operand]| operands.iter().any(|operand| operand.is_prefix);
        let Some(any) = alternatives.into_iter().min_by_key(|operands| (has_prefix(operands), operands.len())) else {
            return WantedKeys::Anything;
        };
        let mut keys: Vec<Vec<u8>> = any.iter().map(|operand| lexeme_key(&operand.text, operand.is_prefix)).collect();
        keys.sort_unstable();
        keys.dedup();
        if has_prefix(&any) { WantedKeys::AnyPrefix(keys) } else { WantedKeys::Any(keys) }
    })
}

/// Lists of operands: a row that satisfies the query has one of each list. `tree` has no negations.
fn put_alternatives<'t>(tree: &'t Tree, out: &mut Vec<Vec<&'t Operand>>) {
    match tree {
        Tree::Operand(operand) => out.push(vec![operand]),
        Tree::Not(_) => {}
        Tree::Binary(Operator::Or, left, right) => {
            let mut one_of = Vec::new();
            for side in [left, right] {
                let mut alternatives = Vec::new();
                put_alternatives(side, &mut alternatives);
                // Any of the lists will do: the shortest one.
                one_of.extend(alternatives.into_iter().min_by_key(Vec::len).unwrap_or_default());
            }
            out.push(one_of);
        }
        Tree::Binary(Operator::And | Operator::Phrase(_) | Operator::Not, left, right) => {
            put_alternatives(left, out);
            put_alternatives(right, out);
        }
    }
}

/// The key of a lexeme, or what the keys of those begin with that begin with it.
fn lexeme_key(text: &str, is_prefix: bool) -> Vec<u8> {
    let bytes = &text.as_bytes()[..text.len().min(LEXEME_BYTES_MAX)];
    let mut key = Vec::with_capacity(bytes.len() + 3);
    key.push(LEXEME);
    key.extend_from_slice(bytes);
    if !is_prefix {
        key.extend_from_slice(&TEXT_END);
    }
    key
}

/// Where the key ends that an entry begins with, of a class whose keys are texts.
#[must_use]
pub fn text_key_end(entry: &[u8]) -> Option<usize> {
    entry.windows(TEXT_END.len()).position(|bytes| bytes == TEXT_END).map(|at| at + TEXT_END.len())
}

fn has_null(value: &Datum) -> bool {
    matches!(value, Datum::Array(array) if array_has_null(array))
}

fn array_has_null(array: &Array) -> bool {
    array.elements().iter().any(Datum::is_null)
}

/// A key, or the hash of one that is long.
fn bounded(kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len().min(KEY_BYTES_MAX));
    if rest.len() <= KEY_BYTES_MAX {
        key.push(kind);
        key.extend_from_slice(rest);
    } else {
        key.push(HASHED | kind);
        key.extend_from_slice(&Hash::NEW.with(rest).0.to_be_bytes());
    }
    key
}

fn element_key(ty: &SqlType, datum: &Datum) -> Vec<u8> {
    if datum.is_null() {
        return vec![NULL_ELEMENT];
    }
    let mut rest = Vec::new();
    encode_key(&mut rest, ty, datum, Direction::Asc, NullsOrder::Last);
    bounded(ELEMENT, &rest)
}

fn text_key(kind: u8, text: &str) -> Vec<u8> {
    let mut rest = Vec::with_capacity(text.len() + 2);
    put_bytes(&mut rest, text.as_bytes());
    bounded(kind, &rest)
}

/// The key of a scalar; of a string in an array it is that of a key, as `?` finds both.
fn scalar_key(json: &Json, is_element: bool) -> Option<Vec<u8>> {
    Some(match json {
        Json::Null => vec![JSON_NULL],
        Json::Bool(value) => vec![JSON_BOOL, u8::from(*value)],
        Json::Number(number) => {
            let mut rest = Vec::new();
            let number = Datum::Numeric(number.clone());
            // 1.0 and 1 are equal, and have one key.
            encode_key(&mut rest, &SqlType::NUMERIC, &number, Direction::Asc, NullsOrder::Last);
            bounded(JSON_NUMBER, &rest)
        }
        Json::String(text) => text_key(if is_element { JSON_KEY } else { JSON_STRING }, text),
        Json::Array(_) | Json::Object(_) => return None,
    })
}

/// A value by itself counts as an element.
fn json_keys(json: &Json, is_element: bool, out: &mut Vec<Vec<u8>>) {
    match json {
        Json::Array(items) => items.iter().for_each(|item| json_keys(item, true, out)),
        Json::Object(pairs) => {
            for (name, value) in pairs {
                out.push(text_key(JSON_KEY, name));
                json_keys(value, false, out);
            }
        }
        scalar => out.extend(scalar_key(scalar, is_element)),
    }
}

/// Arrays are no part of a path.
fn path_keys(json: &Json, path: Hash, out: &mut Vec<Vec<u8>>) {
    match json {
        Json::Array(items) => items.iter().for_each(|item| path_keys(item, path, out)),
        Json::Object(pairs) => {
            for (name, value) in pairs {
                path_keys(value, path.with(&text_key(JSON_KEY, name)), out);
            }
        }
        scalar => {
            let Some(key) = scalar_key(scalar, false) else { return };
            let mut bytes = vec![JSON_PATH];
            bytes.extend_from_slice(&path.with(&key).folded().to_be_bytes());
            out.push(bytes);
        }
    }
}

/// FNV-1a of 128 bits. It is part of what is stored: it stays what it is.
#[derive(Clone, Copy)]
struct Hash(u128);

impl Hash {
    const NEW: Self = Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

    fn with(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(Self::PRIME)))
    }

    fn folded(self) -> u64 {
        (self.0 >> 64) as u64 ^ self.0 as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Datum {
        Datum::Jsonb(Json::parse(text).unwrap().into())
    }

    fn ints(list: &[Option<i64>]) -> Datum {
        let elements = list.iter().map(|value| value.map_or(Datum::Null, Datum::Int)).collect();
        Datum::Array(Array::from_elements(elements).into())
    }

    fn shown(keys: &[Vec<u8>]) -> Vec<String> {
        keys.iter().map(|key| key.iter().map(|byte| format!("{byte:02x}")).collect()).collect()
    }

    /// These bytes are stored.
    #[test]
    fn golden_entry_keys() {
        let array = SqlType::Int4.array_of();
        let check = |class, ty: &SqlType, value: &Datum, expected: &[&str]| {
            assert_eq!(shown(&entry_keys(class, ty, value)), expected, "{value:?}");
        };
        check(KeyClass::Array, &array, &ints(&[]), &["01"]);
        check(KeyClass::Array, &array, &Datum::Null, &[]);
        check(KeyClass::Jsonb, &SqlType::Jsonb, &json("{}"), &["01"]);
        check(KeyClass::Jsonb, &SqlType::Jsonb, &json("[true, null, \"a\"]"), &["05610001", "07", "0801"]);
        check(KeyClass::Jsonb, &SqlType::Jsonb, &json("{\"a\": \"b\"}"), &["05610001", "0a620001"]);
        check(KeyClass::JsonbPath, &SqlType::Jsonb, &json("{\"a\": {}}"), &["01"]);
        let numbers = ints(&[Some(7), None, Some(-1), Some(300)]);
        check(KeyClass::Array, &array, &numbers, &["02", "03807f", "03808107", "038082012c"]);
        let numbers = ["0980027ffffffbec76ffff", "098003", "098004800000030000"];
        check(KeyClass::Jsonb, &SqlType::Jsonb, &json("[0, 2, -3.5]"), &numbers);
        check(KeyClass::JsonbPath, &SqlType::Jsonb, &json("null"), &["0caab9e01943509c61"]);
        check(KeyClass::JsonbPath, &SqlType::Jsonb, &json("{\"a\": \"b\"}"), &["0c16a53f7025ed3f2e"]);
        let paths = ["0c2e72c998b6bd6c15", "0cb8e2acee6975e8e8"];
        check(KeyClass::JsonbPath, &SqlType::Jsonb, &json("{\"a\": {\"b\": [1, true]}}"), &paths);
        check(KeyClass::Whole, &SqlType::Int4, &Datum::Int(7), &["03808107"]);
    }

    /// These bytes are stored.
    #[test]
    fn golden_lexeme_keys() {
        let vector = |text: &str| Datum::tsvector(crate::TsVector::parse(text).unwrap());
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(shown(&entry_keys(KeyClass::TsVector, &SqlType::TsVector, &vector(text))), expected, "{text}");
        };
        check("", &["01"]);
        check("b:1 a", &["0d610001", "0d620001"]);
        let long = format!("0d{}0001", "78".repeat(LEXEME_BYTES_MAX));
        check(&"x".repeat(1000), &[&long]);
    }

    #[test]
    fn queries_want_lexemes() {
        let ask = |query: &str| {
            let query = Datum::tsquery(TsQuery::parse(query).unwrap());
            wanted(KeyClass::TsVector, &SqlType::TsVector, KeyQuestion::Matches, &query)
        };
        let keys = |texts: &[&str]| texts.iter().map(|text| lexeme_key(text, false)).collect::<Vec<_>>();
        assert_eq!(ask("b & (a <-> c)"), WantedKeys::All(keys(&["a", "b", "c"])));
        assert_eq!(ask("a | b & c"), WantedKeys::Any(keys(&["a", "b"])));
        assert_eq!(ask("a & !b"), WantedKeys::All(keys(&["a"])));
        assert_eq!(ask("!a"), WantedKeys::Anything);
        assert_eq!(ask("a | !b"), WantedKeys::Anything);
        assert_eq!(ask("ab:*"), WantedKeys::AnyPrefix(vec![b"\x0dab".to_vec()]));
        assert_eq!(ask("(a:* | b) & (c | d)"), WantedKeys::Any(keys(&["c", "d"])));
        assert_eq!(text_key_end(b"\x0dab\x00\x01rest"), Some(5));
    }

    /// Each kind once as long as a key may be, and once longer. These bytes are stored.
    #[test]
    fn golden_long_entry_keys() {
        let check = |class, ty: &SqlType, value: &Datum, expected: &str| {
            assert_eq!(shown(&entry_keys(class, ty, value)), [expected], "{value:?}");
        };
        let texts = SqlType::Text.array_of();
        let text = |length| Datum::Array(Array::from_elements(vec![Datum::text("x".repeat(length))]).into());
        check(KeyClass::Array, &texts, &text(125), &format!("0380{}0001", "78".repeat(125)));
        check(KeyClass::Array, &texts, &text(126), "434f25a61f79e1076cdc39e80635806de4");
        let jsonb = SqlType::Jsonb;
        let element = |length| json(&format!("[\"{}\"]", "x".repeat(length)));
        check(KeyClass::Jsonb, &jsonb, &element(126), &format!("05{}0001", "78".repeat(126)));
        check(KeyClass::Jsonb, &jsonb, &element(127), "45b148f4f5dfde720871f472015a59d55c");
        // Groups of four digits: 61 of them are the most that are stored as they are.
        let number = |groups| json(&"1234".repeat(groups));
        check(KeyClass::Jsonb, &jsonb, &number(61), &format!("098004803c{}0000", "04d3".repeat(61)));
        check(KeyClass::Jsonb, &jsonb, &number(62), "49822264d2af7506d633e5c04028828a3a");
        let value = |length| json(&format!("{{\"a\": \"{}\"}}", "x".repeat(length)));
        let short = format!("0a{}0001", "78".repeat(126));
        assert_eq!(shown(&entry_keys(KeyClass::Jsonb, &jsonb, &value(126))), ["05610001", short.as_str()]);
        let hashed = "4ab148f4f5dfde720871f472015a59d55c";
        assert_eq!(shown(&entry_keys(KeyClass::Jsonb, &jsonb, &value(127))), ["05610001", hashed]);
    }

    #[test]
    fn equal_values_have_equal_keys() {
        let keys = |class, text: &str| entry_keys(class, &SqlType::Jsonb, &json(text));
        for class in [KeyClass::Jsonb, KeyClass::JsonbPath] {
            assert_eq!(keys(class, "{\"a\": [1, 1.00]}"), keys(class, "{\"a\": [1.0]}"));
            assert_ne!(keys(class, "{\"a\": 1}"), keys(class, "{\"a\": \"1\"}"));
        }
        assert_ne!(keys(KeyClass::JsonbPath, "{\"a\": {\"b\": 1}}"), keys(KeyClass::JsonbPath, "{\"b\": {\"a\": 1}}"));
    }

    /// *entry-prefix-free*
    #[test]
    fn long_keys_are_hashed() {
        let long = |length: usize| json(&format!("\"{}\"", "x".repeat(length)));
        for length in [10, KEY_BYTES_MAX - 2, KEY_BYTES_MAX, 100_000] {
            let keys = entry_keys(KeyClass::Jsonb, &SqlType::Jsonb, &long(length));
            assert!(keys.len() == 1 && keys[0].len() <= KEY_BYTES_MAX + 1, "{length}");
            assert_eq!(keys[0][0], if length + 2 > KEY_BYTES_MAX { HASHED | JSON_KEY } else { JSON_KEY }, "{length}");
            assert_eq!(wanted(KeyClass::Jsonb, &SqlType::Jsonb, KeyQuestion::Contains, &long(length)), WantedKeys::All(keys));
        }
    }

    #[test]
    fn what_conditions_want() {
        let array = SqlType::Int4.array_of();
        let ask = |question, value: &Datum| wanted(KeyClass::Array, &array, question, value);
        let keys = |value: &Datum| entry_keys(KeyClass::Array, &array, value);
        let two = ints(&[Some(2), Some(1), Some(2)]);
        let nothing = WantedKeys::Any(Vec::new());
        assert_eq!(ask(KeyQuestion::Contains, &two), WantedKeys::All(keys(&two)));
        assert_eq!(ask(KeyQuestion::Contains, &ints(&[])), WantedKeys::Anything);
        assert_eq!(ask(KeyQuestion::Contains, &ints(&[Some(1), None])), nothing);
        assert_eq!(ask(KeyQuestion::Overlaps, &ints(&[])), nothing);
        assert_eq!(ask(KeyQuestion::Overlaps, &ints(&[None])), nothing);
        assert_eq!(ask(KeyQuestion::ContainedBy, &ints(&[])), WantedKeys::Any(vec![vec![EMPTY]]));
        assert_eq!(ask(KeyQuestion::Equals, &ints(&[])), WantedKeys::All(vec![vec![EMPTY]]));
        assert_eq!(ask(KeyQuestion::Equals, &ints(&[None])), WantedKeys::All(vec![vec![NULL_ELEMENT]]));
        assert_eq!(ask(KeyQuestion::Equals, &Datum::Null), nothing);
        let names = Datum::Array(Array::from_elements(vec![Datum::text("a"), Datum::Null]).into());
        let has = |question, value: &Datum| wanted(KeyClass::Jsonb, &SqlType::Jsonb, question, value);
        let key = entry_keys(KeyClass::Jsonb, &SqlType::Jsonb, &json("\"a\""));
        assert_eq!(has(KeyQuestion::HasAnyKey, &names), WantedKeys::Any(key.clone()));
        assert_eq!(has(KeyQuestion::HasAllKeys, &names), WantedKeys::All(key.clone()));
        assert_eq!(has(KeyQuestion::HasKey, &Datum::text("a")), WantedKeys::Any(key));
        assert_eq!(has(KeyQuestion::HasAllKeys, &ints(&[])), WantedKeys::Anything);
    }

    /// *necessary-keys*: whatever contains a value has its keys.
    #[test]
    fn what_contains_a_value_has_its_keys() {
        let values = [
            "1", "1.0", "\"a\"", "null", "[]", "{}", "[1]", "[1, 2]", "[\"a\", 1]", "[[1]]", "[{\"a\": 1}]", "{\"a\": 1}",
            "{\"a\": 1.00, \"b\": 2}", "{\"a\": [1, \"a\"]}", "{\"a\": {\"b\": [true, null]}}", "{\"a\": {\"b\": []}}",
            "{\"a\": {}}", "{\"b\": {\"a\": \"a\"}}", "[[], {}]", "[\"a\", [\"a\", {\"a\": false}]]",
        ];
        for class in [KeyClass::Jsonb, KeyClass::JsonbPath] {
            for row in values {
                let keys = entry_keys(class, &SqlType::Jsonb, &json(row));
                for asked in values {
                    let holds = Json::parse(row).unwrap().contains(&Json::parse(asked).unwrap());
                    let has_all = match wanted(class, &SqlType::Jsonb, KeyQuestion::Contains, &json(asked)) {
                        WantedKeys::All(wanted) => wanted.iter().all(|key| keys.contains(key)),
                        WantedKeys::Any(wanted) => wanted.iter().any(|key| keys.contains(key)),
                        WantedKeys::AnyPrefix(_) | WantedKeys::Anything => true,
                    };
                    assert!(has_all || !holds, "{class:?}: {row} @> {asked}");
                }
            }
        }
    }
}
