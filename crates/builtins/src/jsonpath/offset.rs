//! Where a value is within another one, in bytes, as PostgreSQL lays jsonb out: what `.keyvalue()` calls the id of an object.
//!
//! ```text
//! container: header 4 | an entry of 4 bytes for each element, or key and value | the keys, then the values
//! ```
//! Numbers and containers begin at multiples of four.

use std::ops::ControlFlow;

use types::Json;

const WORD: usize = 4;

/// The offset of a value within `root`; none where it is no part of it.
pub(super) fn offset_of(root: &Json, wanted: &Json) -> Option<usize> {
    if std::ptr::eq(root, wanted) {
        return Some(0);
    }
    find(root, 0, wanted).break_value()
}

/// Looks for a value in what begins at an offset: breaks with where it is, or goes on where `json` ends.
fn find(json: &Json, at: usize, wanted: &Json) -> ControlFlow<usize, usize> {
    let begin = match json {
        Json::Number(_) | Json::Array(_) | Json::Object(_) => at.next_multiple_of(WORD),
        Json::Null | Json::Bool(_) | Json::String(_) => at,
    };
    if std::ptr::eq(json, wanted) {
        return ControlFlow::Break(begin);
    }
    let end = match json {
        Json::Null | Json::Bool(_) => begin,
        Json::String(text) => begin + text.len(),
        Json::Number(number) => {
            let mut sent = Vec::new();
            number.write_binary(&mut sent);
            // Sent are how many digits there are, the weight of the first, the sign and the scale, then the digits.
            let field = |at: usize| sent.get(at..at + 2).map_or(0, |bytes| i16::from_be_bytes([bytes[0], bytes[1]]));
            let is_short = (0..=63).contains(&field(6)) && (-64..=63).contains(&field(2));
            begin + WORD + if is_short { 2 } else { 4 } + sent.len().saturating_sub(8)
        }
        Json::Array(items) => {
            let mut at = begin + WORD + WORD * items.len();
            for item in items {
                at = find(item, at, wanted)?;
            }
            at
        }
        Json::Object(pairs) => {
            let keys: usize = pairs.iter().map(|(key, _)| key.len()).sum();
            let mut at = begin + WORD + 2 * WORD * pairs.len() + keys;
            for (_, value) in pairs {
                at = find(value, at, wanted)?;
            }
            at
        }
    };
    ControlFlow::Continue(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_those_of_postgresql() {
        let root = Json::parse("[{\"a\": 1, \"b\": [1, 2]}, {\"c\": {\"a\": \"bbb\"}}]").unwrap();
        let second = root.get_index(1).unwrap();
        assert_eq!(offset_of(&root, root.get_index(0).unwrap()), Some(12));
        assert_eq!(offset_of(&root, second), Some(72));
        assert_eq!(offset_of(&root, &Json::Null), None);
    }
}
