//! DO.

use sqlparser::ast;
use sqlparser::tokenizer::{Location, Token};

use super::Own;
use super::reader::{Read, Reader};

/// A body as it was written.
#[derive(Clone, Debug)]
pub(crate) struct BodyText {
    pub text: String,
    /// Where it begins and how many characters of quotes come first, if it stands in the statement as it is.
    pub at: Option<(Location, usize)>,
}

impl Reader<'_, '_> {
    /// A string: what a routine consists of.
    pub(super) fn body_text(&mut self) -> Read<BodyText> {
        let token = self.parser.peek_nth_token(0);
        let start = token.span.start;
        let (text, quotes) = match token.token {
            Token::DollarQuotedString(body) => {
                let tag = body.tag.as_ref().map_or(0, |tag| tag.chars().count());
                (body.value, Some(tag + 2))
            }
            Token::SingleQuotedString(text) => {
                let is_plain = !text.contains('\'');
                (text, is_plain.then_some(1))
            }
            Token::EscapedStringLiteral(text) => (text, None),
            _ => return self.refuse(),
        };
        self.parser.next_token();
        Ok(BodyText { text, at: quotes.map(|quotes| (start, quotes)) })
    }

    /// A language's name, which may be a string.
    pub(super) fn language(&mut self) -> Read<ast::Ident> {
        match self.parser.peek_nth_token_ref(0).token.clone() {
            Token::SingleQuotedString(name) => {
                self.parser.next_token();
                Ok(ast::Ident::with_quote('"', name))
            }
            _ => self.ident(),
        }
    }

    pub(super) fn do_block(&mut self) -> Read<Own> {
        let (mut language, mut body) = (None, None);
        while !self.is_at_end() {
            if self.words("language") {
                if language.is_some() {
                    return self.refuse();
                }
                language = Some(self.language()?);
            } else {
                if body.is_some() {
                    return self.refuse();
                }
                body = Some(self.body_text()?);
            }
        }
        match body {
            Some(body) => Ok(Own::Do { language, body }),
            None => self.refuse(),
        }
    }
}
