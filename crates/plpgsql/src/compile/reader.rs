//! Tokens, stepped over, and the SQL between them.
//!
//! Where a piece of SQL ends PL/pgSQL knows from its own words alone: at the first of the expected ones outside of
//! parentheses and brackets.

use types::{SqlError, SqlResult, SqlState};

use super::Compiler;
use crate::function::{ExpressionId, TextKind};
use crate::lexer::Token;

/// What ends a piece of SQL.
#[derive(Clone, Copy)]
pub(super) enum Until {
    Symbol(&'static str),
    Word(&'static str),
}

/// A piece of SQL, and which of the expected tokens has ended it.
pub(super) struct Piece {
    /// Bytes of the body.
    pub start: usize,
    pub end: usize,
    pub ended_by: usize,
}

/// Of PL/pgSQL: names that are no variables unless quoted.
const RESERVED: &[&str] = &[
    "all", "begin", "by", "case", "declare", "else", "end", "execute", "for", "foreach", "from", "if", "in",
    "into", "loop", "not", "null", "or", "strict", "then", "to", "using", "when", "while",
];

pub(super) fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
}

impl Compiler<'_> {
    pub(super) fn token(&self) -> &Token {
        &self.tokens[self.at].token
    }

    pub(super) fn ahead(&self, count: usize) -> &Token {
        &self.tokens[(self.at + count).min(self.tokens.len() - 1)].token
    }

    pub(super) fn start(&self) -> usize {
        self.tokens[self.at].start
    }

    pub(super) fn line_of(&self, byte: usize) -> u32 {
        let before = self.line_ends.partition_point(|end| *end < byte);
        u32::try_from(before + 1).unwrap_or(u32::MAX)
    }

    pub(super) fn step(&mut self) {
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(self.token(), Token::Word(found) if found == word)
    }

    pub(super) fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.token(), Token::Symbol(found) if *found == symbol)
    }

    /// Steps over these words, if all of them are next.
    pub(super) fn words(&mut self, words: &str) -> bool {
        let matches =
            |(ahead, word): (usize, &str)| matches!(self.ahead(ahead), Token::Word(found) if found == word);
        let found = words.split(' ').enumerate().all(matches);
        if found {
            self.at += words.split(' ').count();
        }
        found
    }

    pub(super) fn accept(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        if found {
            self.step();
        }
        found
    }

    pub(super) fn expect(&mut self, symbol: &str) -> SqlResult<()> {
        if self.accept(symbol) { Ok(()) } else { Err(self.syntax_error()) }
    }

    /// Steps over these words; the first that is another is refused.
    pub(super) fn expect_words(&mut self, words: &str) -> SqlResult<()> {
        for word in words.split(' ') {
            if !self.words(word) {
                return Err(self.syntax_error());
            }
        }
        Ok(())
    }

    /// A name in a declaration or a label: anything but a reserved word.
    pub(super) fn name(&mut self) -> SqlResult<String> {
        let name = match self.token() {
            Token::Word(word) if !RESERVED.contains(&word.as_str()) => word.clone(),
            Token::Quoted(name) => name.clone(),
            _ => return Err(self.syntax_error()),
        };
        self.step();
        Ok(name)
    }

    pub(super) fn any_word(&mut self) -> SqlResult<String> {
        let Token::Word(word) = self.token() else { return Err(self.syntax_error()) };
        let word = word.clone();
        self.step();
        Ok(word)
    }

    /// The names of `a.b.c`, if one is next, and how many tokens it takes.
    pub(super) fn dotted(&self) -> Option<(Vec<String>, usize)> {
        let part = |token: &Token| match token {
            Token::Word(name) | Token::Quoted(name) => Some(name.clone()),
            _ => None,
        };
        if let Token::Word(word) = self.token()
            && RESERVED.contains(&word.as_str())
        {
            return None;
        }
        let mut names = vec![part(self.token())?];
        let mut count = 1;
        while *self.ahead(count) == Token::Symbol(".")
            && let Some(name) = part(self.ahead(count + 1))
        {
            names.push(name);
            count += 2;
        }
        Some((names, count))
    }

    pub(super) fn syntax_error(&self) -> SqlError {
        self.error_here("syntax error")
    }

    /// As the parser refuses the token at hand.
    pub(super) fn error_here(&self, message: &str) -> SqlError {
        let found = &self.tokens[self.at];
        let message = match found.token {
            Token::End => format!("{message} at end of input"),
            _ => format!("{message} at or near \"{}\"", &self.body[found.start..found.end]),
        };
        self.error_at(SqlState::SyntaxError, message, found.start)
    }

    pub(super) fn error_at(&self, state: SqlState, message: impl Into<String>, byte: usize) -> SqlError {
        SqlError::new(state, message).with_internal_position(self.body, self.body[..byte].chars().count() + 1)
    }

    /// A piece of SQL up to one of the expected tokens, which is stepped over.
    pub(super) fn piece(&mut self, until: &[Until], expected: &str, kind: TextKind) -> SqlResult<Piece> {
        let start = self.start();
        let mut end = start;
        let mut depth = 0_usize;
        loop {
            if depth == 0 {
                let is_end = |until: &Until| match until {
                    Until::Symbol(symbol) => self.is_symbol(symbol),
                    Until::Word(word) => self.is_word(word),
                };
                if let Some(ended_by) = until.iter().position(is_end) {
                    if end == start {
                        let what = if kind == TextKind::Statement {
                            "missing SQL statement"
                        } else {
                            "missing expression"
                        };
                        return Err(self.error_here(what));
                    }
                    self.step();
                    return Ok(Piece { start, end, ended_by });
                }
            }
            match self.token() {
                Token::Symbol("(" | "[") => depth += 1,
                Token::Symbol(")" | "]") => match depth.checked_sub(1) {
                    Some(less) => depth = less,
                    None => return Err(self.error_here("mismatched parentheses")),
                },
                Token::End | Token::Symbol(";") => {
                    if depth > 0 {
                        return Err(self.error_here("mismatched parentheses"));
                    }
                    let what = if kind == TextKind::Statement { "statement" } else { "expression" };
                    let message = format!("missing \"{expected}\" at end of SQL {what}");
                    return Err(self.error_at(SqlState::SyntaxError, message, self.start()));
                }
                _ => {}
            }
            end = self.tokens[self.at].end;
            self.step();
        }
    }

    /// An expression up to one of these; which one it was.
    pub(super) fn expression_until(
        &mut self,
        until: &[Until],
        expected: &str,
    ) -> SqlResult<(ExpressionId, usize)> {
        let piece = self.piece(until, expected, TextKind::Expression)?;
        let text = self.body[piece.start..piece.end].to_owned();
        self.check_syntax(&text, TextKind::Expression, piece.start)?;
        Ok((self.expression(text, TextKind::Expression, String::new()), piece.ended_by))
    }

    pub(super) fn expression_to_word(&mut self, word: &'static str) -> SqlResult<ExpressionId> {
        let shown = word.to_ascii_uppercase();
        Ok(self.expression_until(&[Until::Word(word)], &shown)?.0)
    }

    pub(super) fn expression_to(&mut self, symbol: &'static str) -> SqlResult<ExpressionId> {
        Ok(self.expression_until(&[Until::Symbol(symbol)], symbol)?.0)
    }

    /// Whether the text that begins at a byte of the body can be parsed.
    pub(super) fn check_syntax(&self, text: &str, kind: TextKind, start: usize) -> SqlResult<()> {
        if !self.check {
            return Ok(());
        }
        self.catalog.check_syntax(text, kind).map_err(|error| {
            let before = self.body[..start].chars().count();
            match error.position {
                Some(position) => error.moved_inside(self.body, before + position),
                None => error,
            }
        })
    }
}
