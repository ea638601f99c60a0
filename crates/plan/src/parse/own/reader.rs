//! The parser's tokens, stepped over by words.

use sqlparser::ast;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::{Kind, Own};

pub(super) type Read<T> = Result<T, ParserError>;

/// The parser's tokens, stepped over by words.
pub(super) struct Reader<'p, 'a> {
    pub(super) parser: &'p mut Parser<'a>,
}

impl Reader<'_, '_> {
    /// Steps over these words, if all of them are next.
    pub(super) fn words(&mut self, words: &str) -> bool {
        let matches = words.split(' ').enumerate().all(|(at, word)| {
            matches!(&self.parser.peek_nth_token_ref(at).token, Token::Word(found)
                if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
        });
        if matches {
            for _ in words.split(' ') {
                self.parser.next_token();
            }
        }
        matches
    }

    pub(super) fn refuse<T>(&self) -> Read<T> {
        self.parser.expected("something else", self.parser.peek_nth_token(0))
    }

    pub(super) fn expect(&mut self, words: &str) -> Read<()> {
        if self.words(words) { Ok(()) } else { self.refuse() }
    }

    pub(super) fn is_at_end(&self) -> bool {
        matches!(self.parser.peek_nth_token_ref(0).token, Token::EOF | Token::SemiColon)
    }

    /// All that is left says nothing that matters here.
    pub(super) fn rest(&mut self, tag: &'static str) -> Read<Own> {
        while !self.is_at_end() {
            self.parser.next_token();
        }
        Ok(Own::Accepted(tag))
    }

    /// Indexes never need it; what it is said of has to be said all the same.
    pub(super) fn reindex(&mut self) -> Read<Own> {
        if self.parser.consume_token(&Token::LParen) {
            while !self.is_at_end() && !self.parser.consume_token(&Token::RParen) {
                self.parser.next_token();
            }
        }
        let kind = match () {
            () if self.words("index") => Kind::Index,
            () if self.words("table") => Kind::Table,
            () if self.words("schema") => Kind::Schema,
            () if self.words("database") || self.words("system") => Kind::Database,
            () => return self.refuse(),
        };
        self.words("concurrently");
        let name = self.name()?;
        self.rest("REINDEX")?;
        Ok(Own::Maintain { tag: "REINDEX", kind, name })
    }

    pub(super) fn cluster(&mut self) -> Read<Own> {
        if self.parser.consume_token(&Token::LParen) {
            while !self.is_at_end() && !self.parser.consume_token(&Token::RParen) {
                self.parser.next_token();
            }
        }
        self.words("verbose");
        if self.is_at_end() {
            return self.rest("CLUSTER");
        }
        let name = self.name()?;
        // The older form names the index first.
        let name = if self.words("on") { self.name()? } else { name };
        self.rest("CLUSTER")?;
        Ok(Own::Maintain { tag: "CLUSTER", kind: Kind::Table, name })
    }

    pub(super) fn name(&mut self) -> Read<ast::ObjectName> {
        self.parser.parse_object_name(false)
    }

    pub(super) fn ident(&mut self) -> Read<ast::Ident> {
        self.parser.parse_identifier()
    }

    /// A name of one part, as databases and schemas have.
    pub(super) fn simple_name(&mut self) -> Read<ast::ObjectName> {
        Ok(ast::ObjectName::from(vec![self.ident()?]))
    }

    pub(super) fn integer(&mut self) -> Read<i64> {
        let sign = if self.parser.consume_token(&Token::Minus) { "-" } else { "" };
        let _ = self.parser.consume_token(&Token::Plus);
        match self.parser.peek_nth_token_ref(0).token.clone() {
            Token::Number(digits, _) => match format!("{sign}{digits}").parse() {
                Ok(number) => {
                    self.parser.next_token();
                    Ok(number)
                }
                Err(_) => self.refuse(),
            },
            _ => self.refuse(),
        }
    }

    pub(super) fn oid(&mut self) -> Read<u32> {
        let number = self.integer()?;
        // As casts of integers to oid: negative ones wrap around.
        match u32::try_from(number).or_else(|_| i32::try_from(number).map(|number| number as u32)) {
            Ok(oid) => Ok(oid),
            Err(_) => self.refuse(),
        }
    }

    pub(super) fn string(&mut self) -> Read<String> {
        self.parser.parse_literal_string()
    }

    /// A text between quotes, where a name is none.
    pub(super) fn constant(&mut self) -> Read<String> {
        match self.parser.peek_nth_token_ref(0).token.clone() {
            Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => {
                self.parser.next_token();
                Ok(text)
            }
            Token::DollarQuotedString(text) => {
                self.parser.next_token();
                Ok(text.value)
            }
            _ => self.refuse(),
        }
    }

    /// A name that is no text between quotes.
    pub(super) fn channel(&mut self) -> Read<ast::Ident> {
        match self.parser.peek_nth_token_ref(0).token {
            Token::Word(_) => self.ident(),
            _ => self.refuse(),
        }
    }

    pub(super) fn unlisten(&mut self) -> Read<Own> {
        if self.parser.consume_token(&Token::Mul) {
            return Ok(Own::Unlisten(None));
        }
        self.channel().map(|channel| Own::Unlisten(Some(channel)))
    }

    pub(super) fn notify(&mut self) -> Read<Own> {
        let channel = self.channel()?;
        let payload = if self.parser.consume_token(&Token::Comma) { self.constant()? } else { String::new() };
        Ok(Own::Notify { channel, payload })
    }

    /// What follows the name of a statement in PREPARE is next.
    pub(super) fn is_name_of_prepared(&self) -> bool {
        match &self.parser.peek_nth_token_ref(0).token {
            Token::LParen => true,
            Token::Word(word) => word.quote_style.is_none() && word.value.eq_ignore_ascii_case("as"),
            _ => false,
        }
    }

    /// Names between parentheses, if there are any.
    pub(super) fn name_list(&mut self) -> Read<Vec<ast::Ident>> {
        if !self.parser.consume_token(&Token::LParen) {
            return Ok(Vec::new());
        }
        let names = self.parser.parse_comma_separated(Parser::parse_identifier)?;
        self.parser.expect_token(&Token::RParen)?;
        Ok(names)
    }
}
