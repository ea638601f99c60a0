//! FETCH and MOVE, of whose forms the parser behind this reads some.
//!
//! ```text
//!  { FETCH | MOVE } [ direction ] [ FROM | IN ] cursor
//!  direction: NEXT | PRIOR | FIRST | LAST | [ ABSOLUTE | RELATIVE ] n | ALL
//!           | { FORWARD | BACKWARD } [ n | ALL ]
//! ```

use sqlparser::ast;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan};
use types::{SqlError, SqlResult, SqlState};

use crate::statement::FetchDirection;

/// A FETCH or MOVE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fetch {
    pub cursor: ast::Ident,
    pub direction: FetchDirection,
    pub move_only: bool,
}

/// Why a text that begins like one is none: at this token, or at the end.
type Unexpected = Option<TokenWithSpan>;

/// Reads a statement that begins with a significant token, if it is one of these.
pub(crate) fn fetch(tokens: &[TokenWithSpan]) -> Option<Result<Fetch, Unexpected>> {
    let move_only = match tokens.first()?.token {
        Token::Word(ref word) if word.quote_style.is_none() && word.keyword == Keyword::FETCH => false,
        Token::Word(ref word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("move") => true,
        _ => return None,
    };
    let rest: Vec<TokenWithSpan> =
        tokens[1..].iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).cloned().collect();
    Some(Rest(&rest).fetch(move_only))
}

struct Rest<'a>(&'a [TokenWithSpan]);

impl Rest<'_> {
    fn fetch(&mut self, move_only: bool) -> Result<Fetch, Unexpected> {
        let direction = self.direction()?;
        let _either = self.word("from") || self.word("in");
        // A cursor may have the name of a direction.
        let cursor = self.name().ok_or_else(|| self.0.first().cloned())?;
        match self.0.first() {
            None => {
                let direction = direction.unwrap_or(FetchDirection::Forward(1));
                Ok(Fetch { cursor, direction, move_only })
            }
            Some(token) => Err(Some(token.clone())),
        }
    }

    fn direction(&mut self) -> Result<Option<FetchDirection>, Unexpected> {
        // The last word is the cursor's name, whatever it is.
        if self.0.len() < 2 {
            return Ok(None);
        }
        let count = |forward: bool, count: i64| match (forward, count < 0) {
            (true, false) | (false, true) => FetchDirection::Forward(count.unsigned_abs()),
            _ => FetchDirection::Backward(count.unsigned_abs()),
        };
        for (word, is_forward) in [("forward", true), ("backward", false)] {
            if self.word(word) {
                if self.word("all") {
                    return Ok(Some(if is_forward { FetchDirection::ForwardAll } else { FetchDirection::BackwardAll }));
                }
                return Ok(Some(count(is_forward, self.number()?.unwrap_or(1))));
            }
        }
        for (word, direction) in [
            ("next", FetchDirection::Forward(1)),
            ("prior", FetchDirection::Backward(1)),
            ("first", FetchDirection::Absolute(1)),
            ("last", FetchDirection::Absolute(-1)),
            ("all", FetchDirection::ForwardAll),
        ] {
            if self.word(word) {
                return Ok(Some(direction));
            }
        }
        if self.word("absolute") {
            let at = self.number()?.ok_or_else(|| self.0.first().cloned())?;
            return Ok(Some(FetchDirection::Absolute(at)));
        }
        if self.word("relative") {
            let by = self.number()?.ok_or_else(|| self.0.first().cloned())?;
            return Ok(Some(FetchDirection::Relative(by)));
        }
        Ok(self.number()?.map(|number| count(true, number)))
    }

    fn word(&mut self, text: &str) -> bool {
        let found = matches!(self.0.first().map(|token| &token.token),
            Some(Token::Word(word)) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text));
        if found {
            self.0 = &self.0[1..];
        }
        found
    }

    fn number(&mut self) -> Result<Option<i64>, Unexpected> {
        let (negative, at) = match self.0.first().map(|token| &token.token) {
            Some(Token::Minus) => (true, 1),
            Some(Token::Plus) => (false, 1),
            _ => (false, 0),
        };
        match self.0.get(at).map(|token| &token.token) {
            Some(Token::Number(digits, _)) => {
                let number: i64 = digits.parse().map_err(|_| Some(self.0[at].clone()))?;
                self.0 = &self.0[at + 1..];
                Ok(Some(if negative { -number } else { number }))
            }
            _ if at == 1 => Err(self.0.get(1).cloned()),
            _ => Ok(None),
        }
    }

    fn name(&mut self) -> Option<ast::Ident> {
        let (first, rest) = self.0.split_first()?;
        let Token::Word(word) = &first.token else { return None };
        self.0 = rest;
        Some(ast::Ident { value: word.value.clone(), quote_style: word.quote_style, span: first.span })
    }
}

/// The statement as the syntax tree has it.
pub(crate) fn to_statement(fetch: Fetch) -> ast::Statement {
    ast::Statement::Fetch {
        name: fetch.cursor,
        direction: to_ast(fetch.direction),
        // MOVE has no place of its own in the tree.
        position: if fetch.move_only { ast::FetchPosition::In } else { ast::FetchPosition::From },
        into: None,
    }
}

fn number(value: impl ToString) -> ast::ValueWithSpan {
    ast::Value::Number(value.to_string(), false).with_span(Span::empty())
}

fn to_ast(direction: FetchDirection) -> ast::FetchDirection {
    match direction {
        FetchDirection::Forward(count) => ast::FetchDirection::Forward { limit: Some(number(count)) },
        FetchDirection::ForwardAll => ast::FetchDirection::ForwardAll,
        FetchDirection::Backward(count) => ast::FetchDirection::Backward { limit: Some(number(count)) },
        FetchDirection::BackwardAll => ast::FetchDirection::BackwardAll,
        FetchDirection::Absolute(at) => ast::FetchDirection::Absolute { limit: number(at) },
        FetchDirection::Relative(by) => ast::FetchDirection::Relative { limit: number(by) },
    }
}

/// The direction of a tree that [`to_statement`] has made.
pub(crate) fn from_ast(direction: &ast::FetchDirection) -> SqlResult<FetchDirection> {
    let signed = |limit: &ast::ValueWithSpan| match &limit.value {
        ast::Value::Number(digits, _) => digits.parse::<i64>().ok(),
        _ => None,
    };
    let unsigned = |limit: &Option<ast::ValueWithSpan>| limit.as_ref().and_then(signed).map(i64::unsigned_abs);
    let found = match direction {
        ast::FetchDirection::Forward { limit } => unsigned(limit).map(FetchDirection::Forward),
        ast::FetchDirection::Backward { limit } => unsigned(limit).map(FetchDirection::Backward),
        ast::FetchDirection::ForwardAll => Some(FetchDirection::ForwardAll),
        ast::FetchDirection::BackwardAll => Some(FetchDirection::BackwardAll),
        ast::FetchDirection::Absolute { limit } => signed(limit).map(FetchDirection::Absolute),
        ast::FetchDirection::Relative { limit } => signed(limit).map(FetchDirection::Relative),
        _ => None,
    };
    found.ok_or_else(|| SqlError::new(SqlState::SyntaxError, format!("FETCH {direction} is not understood")))
}

#[cfg(test)]
mod tests {
    use crate::parse;

    #[test]
    fn every_form_is_read() {
        for (text, direction) in [
            ("FETCH c", "FORWARD 1"),
            ("fetch from c", "FORWARD 1"),
            ("FETCH NEXT IN c", "FORWARD 1"),
            ("FETCH 5 c", "FORWARD 5"),
            ("MOVE -5 FROM \"C\"", "BACKWARD 5"),
            ("FETCH FORWARD c", "FORWARD 1"),
            ("FETCH BACKWARD ALL FROM c", "BACKWARD ALL"),
            ("FETCH BACKWARD -2 c", "FORWARD 2"),
            ("FETCH ABSOLUTE -1 FROM c", "ABSOLUTE -1"),
            ("FETCH LAST c", "ABSOLUTE -1"),
            ("FETCH RELATIVE 0 c", "RELATIVE 0"),
            ("FETCH ALL IN all", "FORWARD ALL"),
            ("FETCH next", "FORWARD 1"),
        ] {
            let parsed = parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
            let crate::parse::Body::Standard(tree) = &parsed[0].body else { panic!("{text}") };
            let tree = tree.to_string();
            assert!(tree.starts_with(&format!("FETCH {direction} ")), "{text}: {tree}");
        }
        for (text, position) in [("FETCH 5", Some(7)), ("FETCH c d", Some(9)), ("FETCH ABSOLUTE c", Some(16)), ("MOVE", Some(5))] {
            let error = parse(text).unwrap_err();
            assert_eq!((error.code(), error.into_fields().position), (types::SqlState::SyntaxError, position), "{text}");
        }
    }
}
