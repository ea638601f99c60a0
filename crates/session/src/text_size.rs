//! What a long text of SQL takes while it is parsed, bound and planned: counted before a token of it is made.
//!
//! Tokens are what costs, and strings and comments are one each however long they are. So the text is read as
//! the parser's tokenizer reads it, as far as where those begin and end.
//!
//! **Invariant (never-too-little):** where it is not sure what the tokenizer takes for a string or a comment, all that
//! follows counts as outside of them.

use std::sync::Arc;

use exec::{NodeMemory, NodeReservation};
use types::SqlResult;

/// A text above this is counted against the node's memory, and read and planned aside.
pub(crate) const LONG_TEXT_BYTES: usize = 64 << 10;
/// What a token of a long text takes: measured with lists of numbers, which have nothing but tokens.
const TOKEN_BYTES: usize = 512;

/// Takes what a text needs from the node, if it is long.
///
/// # Errors
/// 53200.
pub(crate) fn reserve(memory: &Arc<NodeMemory>, text: &str) -> SqlResult<Option<NodeReservation>> {
    if text.len() <= LONG_TEXT_BYTES {
        return Ok(None);
    }
    memory.reserve(tree_bytes(text)).map(Some)
}

/// About what the tree and the plan of a text take: there are at most as many words as there are separators, and one more.
fn tree_bytes(text: &str) -> usize {
    text.len() + 2 * separators(text.as_bytes()) * TOKEN_BYTES
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || !byte.is_ascii()
}

/// What an operator may consist of: a comment that follows one at once may be a part of it.
const OPERATORS: &[u8] = b"+-*/<>=~!@#%^&|?";

/// The bytes between words, strings and names; where two of those touch, that counts as one as well.
fn separators(text: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    let (mut is_behind_word, mut is_behind_operator) = (false, false);
    while let Some(&byte) = text.get(at) {
        let rest = &text[at..];
        let (length, is_piece) = match byte {
            quote @ (b'\'' | b'"') => (quoted(rest, quote), true),
            b'$' => (dollar(rest), true),
            b'-' if rest.starts_with(b"--") => ((!is_behind_operator).then(|| line_comment(rest)), false),
            b'/' if rest.starts_with(b"/*") => (comment(rest).filter(|_| !is_behind_operator), false),
            b'`' => (None, false),
            byte if is_word(byte) => (word(rest), true),
            _ => (Some(1), false),
        };
        let Some(length) = length else {
            return count
                + rest.iter().filter(|byte| !byte.is_ascii_alphanumeric() && **byte != b'_').count();
        };
        // A number ends where a letter begins.
        let is_split = byte.is_ascii_digit() && rest[..length].iter().any(|byte| !byte.is_ascii_digit());
        count += usize::from(!is_piece || is_behind_word) + usize::from(is_split);
        is_behind_word = is_piece;
        is_behind_operator = length == 1 && OPERATORS.contains(&byte);
        at += length;
    }
    count
}

/// How long a string without escapes is, or a quoted name. Of a doubled quote the second half begins another, which is the
/// same here.
fn quoted(rest: &[u8], quote: u8) -> Option<usize> {
    Some(2 + rest[1..].iter().position(|byte| *byte == quote)?)
}

/// How long a string with escapes is.
fn escaped(rest: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match (rest.get(at)?, rest.get(at + 1)) {
            (b'\\', _) | (b'\'', Some(b'\'')) => at += 2,
            (b'\'', _) => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// How long a string between dollar signs is, or a parameter.
fn dollar(rest: &[u8]) -> Option<usize> {
    let tag = 1 + rest[1..]
        .iter()
        .position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
        .unwrap_or(rest.len() - 1);
    match rest.get(tag) {
        // What is a letter there is not decided here.
        Some(byte) if !byte.is_ascii() => None,
        Some(b'$') => {
            let (delimiter, body) = rest.split_at(tag + 1);
            let end = body.windows(delimiter.len()).position(|bytes| bytes == delimiter)?;
            Some(end + 2 * delimiter.len())
        }
        Some(_) | None => Some(tag),
    }
}

fn line_comment(rest: &[u8]) -> usize {
    rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len())
}

fn comment(rest: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (2, 1);
    while depth > 0 {
        match (rest.get(at)?, rest.get(at + 1)) {
            (b'/', Some(b'*')) => (at, depth) = (at + 2, depth + 1),
            (b'*', Some(b'/')) => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    Some(at)
}

/// How long a word is, with the string that it introduces. After a number the tokenizer begins a new word, which may be such
/// a one.
fn word(rest: &[u8]) -> Option<usize> {
    let (word, behind) = rest.split_at(rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len()));
    let is_number = word[0].is_ascii_digit();
    match behind.first() {
        Some(b'\'' | b'"') if is_number => None,
        _ if is_number && word.contains(&b'$') => None,
        // Of the latter the tokenizer takes backslashes for escapes, too.
        Some(b'\'') if matches!(word, b"e" | b"E" | b"x" | b"X") => Some(word.len() + escaped(behind)?),
        _ => Some(word.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_and_what_is_in_strings_is_not() {
        for (text, expected) in [
            ("", 0),
            ("(1),(2)", 5),
            ("a, b", 2),
            ("'a b, c'", 0),
            ("'a''b, c'", 1),
            ("'a', 'b'", 2),
            (r"E'a\', b' , c", 3),
            (r"e'\\' , c", 3),
            (r"x'\' , ' c", 1),
            (r"'\' , c", 3),
            (r"name'\' , c", 4),
            (r#""it's" , 'b c'"#, 3),
            ("$$it's , $ $$ , c", 3),
            ("$a$it's , $$ $a$ , c", 3),
            ("$1 , $2", 3),
            ("-- it's\n a, b", 5),
            ("a -- it's, b", 2),
            ("/* it's /* , */ , */ a", 2),
            ("1a", 1),
            ("0.5", 1),
        ] {
            assert_eq!(separators(text.as_bytes()), expected, "{text}");
        }
    }

    /// *never-too-little*: a comma each, and more.
    #[test]
    fn what_is_not_clear_counts() {
        let list = ",".repeat(100);
        for text in [
            format!("it's {list}"),
            format!(r"1E'\'' {list} '"),
            format!("1$$ ' {list}"),
            format!("@--' \n {list} '"),
            format!("@/*' {list} '*/"),
            format!("` ' {list}"),
            format!("$é$ {list} $é$"),
            format!("/* {list}"),
            format!("$$ {list}"),
            format!("-- '\r{list} '"),
            format!("$a$ ' $b$ $a$ {list} '"),
            format!("/* ' */ {list} '"),
            format!("\"'\" {list} \"'\""),
        ] {
            assert!(separators(text.as_bytes()) >= 100, "{text}");
        }
    }

    #[test]
    fn short_texts_take_nothing() {
        let memory = NodeMemory::new(1 << 20);
        assert!(reserve(&memory, &",".repeat(LONG_TEXT_BYTES)).unwrap().is_none());
        assert!(reserve(&memory, &",".repeat(LONG_TEXT_BYTES + 1)).is_err());
        let string = format!("'{}'", ", ".repeat(LONG_TEXT_BYTES));
        let reserved = reserve(&memory, &string).unwrap();
        assert_eq!(memory.used(), string.len());
        drop(reserved);
    }
}
