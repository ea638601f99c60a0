//! `tsvector` and `tsquery`: what full text search stores of a document and looks for in it.
//!
//! A [`TsVector`] is the sorted list of a document's lexemes, each with its positions and their weights. A [`TsQuery`] is an
//! expression over lexemes. Whether the one satisfies the other is [`matches`]. How documents and queries become lexemes (parsers,
//! dictionaries, configurations) is the `builtins` crate's.
//!
//! **Invariants**
//! - *lexemes-sorted*: the lexemes of a vector rise strictly by their bytes; positions of one rise strictly. Upheld by
//!   [`TsVector::from_lexemes`].
//! - *query-prefix-notation*: the items of a query are a tree in prefix notation, the right operand directly behind its
//!   operator, the left one where the operator says. Upheld by [`TsQuery::from_tree`] and by what reads binary input.
//! - *query-bounded*: a query nests at most [`QUERY_DEPTH_MAX`] levels.

mod matching;
mod query;
mod query_text;
mod query_tree;
mod vector;
mod words;

pub use matching::{Evidence, Found, Occurrences, matches};
pub use query::{Item, Operand, Operator, TsQuery};
pub use query_text::{PHRASE_DISTANCE_MAX, QueryToken, QueryTokens, Syntax, assemble};
pub use query_tree::{QUERY_DEPTH_MAX, Tree};
pub use vector::{Lexeme, POSITION_MAX, Position, TsVector, Weight};

use crate::error::{SqlError, SqlState};

/// A lexeme is shorter than this, in bytes.
pub const LEXEME_BYTES_END: usize = 2048;
/// The lexemes of a vector, with their positions, have fewer bytes than this.
pub const VECTOR_BYTES_END: usize = 1 << 20;

pub(crate) fn syntax_error(of: &str, input: &str) -> SqlError {
    SqlError::new(SqlState::SyntaxError, format!("syntax error in {of}: \"{input}\""))
}
