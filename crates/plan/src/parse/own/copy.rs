//! COPY, with its options as they are written now and as they were before PostgreSQL 9.

use sqlparser::ast;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::Own;
use super::reader::{Read, Reader};
use crate::statement::ServerEnd;

#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub source: CopySource,
    pub to: bool,
    /// The other end, unless it is the client.
    pub server: Option<ServerEnd>,
    pub options: Vec<(String, CopyValue)>,
    pub filter: Option<ast::Expr>,
}

#[derive(Clone, Debug)]
pub(crate) enum CopySource {
    Table { name: ast::ObjectName, columns: Vec<ast::Ident> },
    Query(Box<ast::Query>),
}

/// The value of one of COPY's options.
#[derive(Clone, Debug)]
pub(crate) enum CopyValue {
    None,
    Text(String),
    Names(Vec<ast::Ident>),
    /// `*`
    All,
}

impl Reader<'_, '_> {
    pub(super) fn copy(&mut self) -> Read<Own> {
        let mut options = Vec::new();
        if self.words("binary") {
            options.push(("format".to_owned(), CopyValue::Text("binary".to_owned())));
        }
        let source = if self.parser.consume_token(&Token::LParen) {
            let query = self.parser.parse_query()?;
            self.parser.expect_token(&Token::RParen)?;
            CopySource::Query(query)
        } else {
            CopySource::Table { name: self.name()?, columns: self.name_list()? }
        };
        let to = self.words("to");
        if matches!(source, CopySource::Query(_)) && !to {
            return self.refuse();
        }
        if !to {
            self.expect("from")?;
        }
        let server = match () {
            () if self.words("stdin") || self.words("stdout") => None,
            () if self.words("program") => Some(ServerEnd::Program(self.string()?)),
            () => Some(ServerEnd::File(self.string()?)),
        };
        if self.words("using delimiters") || self.words("delimiters") {
            options.push(("delimiter".to_owned(), CopyValue::Text(self.string()?)));
        }
        self.words("with");
        if self.parser.consume_token(&Token::LParen) {
            loop {
                let name = self.ident()?;
                let name = if name.quote_style.is_some() { name.value } else { name.value.to_lowercase() };
                options.push((name, self.copy_value()?));
                if !self.parser.consume_token(&Token::Comma) {
                    break;
                }
            }
            self.parser.expect_token(&Token::RParen)?;
        } else {
            while let Some(option) = self.legacy_copy_option()? {
                options.push(option);
            }
        }
        let filter = if self.words("where") { Some(self.parser.parse_expr()?) } else { None };
        Ok(Own::Copy(Box::new(Copy { source, to, server, options, filter })))
    }

    fn copy_value(&mut self) -> Read<CopyValue> {
        Ok(match self.parser.peek_nth_token_ref(0).token.clone() {
            Token::Comma | Token::RParen => CopyValue::None,
            Token::Mul => {
                self.parser.next_token();
                CopyValue::All
            }
            Token::LParen => CopyValue::Names(self.name_list()?),
            Token::Word(word) => {
                self.parser.next_token();
                CopyValue::Text(if word.quote_style.is_some() { word.value } else { word.value.to_lowercase() })
            }
            Token::Minus | Token::Plus => CopyValue::Text(self.integer()?.to_string()),
            Token::Number(number, _) => {
                self.parser.next_token();
                CopyValue::Text(number)
            }
            _ => CopyValue::Text(self.string()?),
        })
    }

    /// The options as they were written before PostgreSQL 9.
    fn legacy_copy_option(&mut self) -> Read<Option<(String, CopyValue)>> {
        let text = |name: &str, value: String| Ok(Some((name.to_owned(), CopyValue::Text(value))));
        for format in ["binary", "csv"] {
            if self.words(format) {
                return text("format", format.to_owned());
            }
        }
        for switch in ["freeze", "header"] {
            if self.words(switch) {
                return Ok(Some((switch.to_owned(), CopyValue::None)));
            }
        }
        for (word, option) in [
            ("delimiter", "delimiter"), ("null", "null"), ("quote", "quote"),
            ("escape", "escape"), ("encoding", "encoding"),
        ] {
            if self.words(word) {
                self.words("as");
                let value = self.string()?;
                return text(option, value);
            }
        }
        for (words, option) in [
            ("force quote", "force_quote"), ("force not null", "force_not_null"), ("force null", "force_null"),
        ] {
            if self.words(words) {
                if self.parser.consume_token(&Token::Mul) {
                    return Ok(Some((option.to_owned(), CopyValue::All)));
                }
                let names = self.parser.parse_comma_separated(Parser::parse_identifier)?;
                return Ok(Some((option.to_owned(), CopyValue::Names(names))));
            }
        }
        Ok(None)
    }
}
