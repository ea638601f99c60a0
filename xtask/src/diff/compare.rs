//! Two answers to one statement, and in what they differ.
//!
//! Rows are a multiset, unless the statement orders them: then the columns it orders by must come in the same order.

use std::fmt;

use super::tree::{Piece, Tree};
use super::wire::Answer;

/// In what two answers differ. The kind stays the same while a statement is shrunk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// This server was lost, or did not answer.
    Lost,
    /// This server refuses with XX000.
    Internal(String),
    /// Refused here, answered there.
    RefusedHere { code: String, message: String },
    RefusedThere { code: String, message: String },
    OtherCode { there: String, here: String },
    Message { there: String, here: String },
    Tag,
    Names,
    Types { there: u32, here: u32 },
    RowCount,
    Values,
    Order,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => write!(f, "no answer here"),
            Self::Internal(message) => write!(f, "internal error here: {message}"),
            Self::RefusedHere { code, message } => write!(f, "refused here: {code} {message}"),
            Self::RefusedThere { code, message } => write!(f, "refused by PostgreSQL alone: {code} {message}"),
            Self::OtherCode { there, here } => write!(f, "error {there} there, {here} here"),
            Self::Message { there, here } => write!(f, "message \"{there}\" there, \"{here}\" here"),
            Self::Tag => write!(f, "command tag"),
            Self::Names => write!(f, "names of columns"),
            Self::Types { there, here } => write!(f, "type of a column: {there} there, {here} here"),
            Self::RowCount => write!(f, "number of rows"),
            Self::Values => write!(f, "values"),
            Self::Order => write!(f, "order of rows"),
        }
    }
}

/// Codes of what this server does not know: a feature, a function, a type.
const IS_MISSING: &[&str] = &["0A000", "42883", "42704"];

/// What PostgreSQL could not answer itself tells nothing.
pub fn is_void(there: &Answer) -> bool {
    there.lost.is_some() || there.refusal.as_ref().is_some_and(|refusal| refusal.code == "57014")
}

/// The difference between PostgreSQL's answer and this server's, if there is one.
pub fn compare(statement: &Tree, there: &Answer, here: &Answer, messages: bool) -> Option<Kind> {
    if here.lost.is_some() {
        return Some(Kind::Lost);
    }
    match (&there.refusal, &here.refusal) {
        (_, Some(refusal)) if refusal.code == "XX000" => return Some(Kind::Internal(general(&refusal.message))),
        // Where something is missing here, it matters little what PostgreSQL says.
        (Some(there), Some(refusal)) if there.code != refusal.code && IS_MISSING.contains(&refusal.code.as_str()) => {
            return Some(Kind::RefusedHere { code: refusal.code.clone(), message: general(&refusal.message) });
        }
        (None, Some(refusal)) => {
            return Some(Kind::RefusedHere { code: refusal.code.clone(), message: general(&refusal.message) });
        }
        (Some(refusal), None) => {
            return Some(Kind::RefusedThere { code: refusal.code.clone(), message: general(&refusal.message) });
        }
        (Some(there), Some(here)) if there.code != here.code => {
            return Some(Kind::OtherCode { there: there.code.clone(), here: here.code.clone() });
        }
        (Some(there), Some(here)) => {
            let differ = messages && there.message != here.message;
            return differ.then(|| Kind::Message { there: general(&there.message), here: general(&here.message) });
        }
        (None, None) => {}
    }
    for (there, here) in there.columns.iter().zip(&here.columns) {
        if there.type_oid != here.type_oid {
            return Some(Kind::Types { there: there.type_oid, here: here.type_oid });
        }
        if there.name != here.name {
            return Some(Kind::Names);
        }
    }
    if there.columns.len() != here.columns.len() {
        return Some(Kind::Names);
    }
    if there.rows.len() != here.rows.len() {
        return Some(Kind::RowCount);
    }
    if there.tag != here.tag {
        return Some(Kind::Tag);
    }
    if sorted(there) != sorted(here) {
        return Some(Kind::Values);
    }
    let keys = order_keys(statement);
    let ordered = |answer: &Answer| -> Vec<Vec<Option<String>>> {
        let key = |row: &Vec<Option<String>>| keys.iter().map(|position| row.get(position - 1).cloned().flatten().map(|it| plain_number(&it))).collect();
        answer.rows.iter().map(key).collect()
    };
    (ordered(there) != ordered(here)).then_some(Kind::Order)
}

fn sorted(answer: &Answer) -> Vec<&Vec<Option<String>>> {
    let mut rows: Vec<&Vec<Option<String>>> = answer.rows.iter().collect();
    rows.sort();
    rows
}

/// The positions of the columns that the statement orders its rows by.
fn order_keys(statement: &Tree) -> Vec<usize> {
    let clause = statement.pieces.iter().find_map(|piece| match piece {
        Piece::Optional(tree) if tree.label == "order by" => Some(tree),
        _ => None,
    });
    let items = clause.into_iter().flat_map(|tree| &tree.pieces).flat_map(|piece| match piece {
        Piece::List(list) => list.items.as_slice(),
        _ => &[],
    });
    items.map_while(|item| item.print().split(' ').next().and_then(|word| word.parse().ok())).collect()
}

/// A numeric without the zeros at its end: 1.0 and 1.00 are equal, and may come in either order; so are
/// arrays of them, and the zeros of floats.
pub fn plain_number(value: &str) -> String {
    if let Some(elements) = value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        return elements.split(',').map(plain_number).collect::<Vec<_>>().join(",");
    }
    if value == "-0" {
        return "0".to_owned();
    }
    let is_number = value.contains('.') && value.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    let plain = if is_number { value.trim_end_matches('0').trim_end_matches('.') } else { value };
    // An interval of 24 hours equals one of a day, and 30 of these a month.
    if plain.contains(" mon") || plain.contains(" day") || plain.contains(" year") { String::new() } else { plain.to_owned() }
}

/// A message without names and numbers, so that errors of one kind count together.
pub fn general(message: &str) -> String {
    let mut general = String::new();
    for (position, part) in message.split('"').enumerate() {
        if position > 0 {
            general.push('"');
        }
        general.push_str(if position % 2 == 0 || message.contains("syntax") { part } else { "…" });
    }
    let mut words = String::new();
    for c in general.chars().take(160) {
        if c.is_ascii_digit() {
            if !words.ends_with('#') {
                words.push('#');
            }
        } else {
            words.push(c);
        }
    }
    words
}
