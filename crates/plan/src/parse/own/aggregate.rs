//! CREATE AGGREGATE, and how other statements name an aggregate.

use sqlparser::ast;
use sqlparser::tokenizer::Token;

use super::Own;
use super::reader::{Read, Reader};
use super::routine::{ParameterText, RoutineName, TypeText};

/// What a definition says of one attribute.
#[derive(Clone, Debug)]
pub(crate) enum AggregateValue {
    /// A function.
    Name(ast::ObjectName),
    Type(TypeText),
    /// A string, or a type's name in one.
    Text(String),
    Number(i64),
    /// An operator, with its schema where one was given.
    Operator(String),
    Flag(bool),
    /// Of an attribute that there is none of.
    Unknown,
}

#[derive(Clone, Debug)]
pub(crate) struct CreateAggregate {
    pub or_replace: bool,
    pub name: ast::ObjectName,
    /// None: the older form, whose definition says what it takes.
    pub parameters: Option<Vec<ParameterText>>,
    /// ORDER BY among the parameters.
    pub is_ordered_set: bool,
    /// Names as they were written or folded.
    pub options: Vec<(String, AggregateValue)>,
}

impl Reader<'_, '_> {
    /// After CREATE [OR REPLACE] AGGREGATE.
    pub(super) fn create_aggregate(&mut self, or_replace: bool) -> Read<Own> {
        let name = self.name()?;
        if self.parser.peek_nth_token_ref(0).token != Token::LParen {
            return self.refuse();
        }
        let is_word = |token: &Token| matches!(token, Token::Word(_));
        let is_old = is_word(&self.parser.peek_nth_token_ref(1).token)
            && self.parser.peek_nth_token_ref(2).token == Token::Eq;
        let (mut parameters, mut is_ordered_set) = (None, false);
        if !is_old {
            let (read, is_ordered) = self.aggregate_parameters()?;
            (parameters, is_ordered_set) = (Some(read), is_ordered);
        }
        self.parser.expect_token(&Token::LParen)?;
        let mut options = Vec::new();
        loop {
            options.push(self.aggregate_option()?);
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.parser.expect_token(&Token::RParen)?;
        let create = CreateAggregate { or_replace, name, parameters, is_ordered_set, options };
        Ok(Own::CreateAggregate(Box::new(create)))
    }

    /// `(*)`, `(a int, b text)`, `(float8 ORDER BY anyelement)`.
    fn aggregate_parameters(&mut self) -> Read<(Vec<ParameterText>, bool)> {
        self.parser.expect_token(&Token::LParen)?;
        let mut parameters = Vec::new();
        let mut is_ordered = false;
        if self.parser.consume_token(&Token::Mul) {
            self.parser.expect_token(&Token::RParen)?;
            return Ok((parameters, is_ordered));
        }
        loop {
            is_ordered |= self.words("order by");
            let parameter = self.parameter()?;
            if parameter.default.is_some() {
                return self.refuse();
            }
            parameters.push(parameter);
            if self.words("order by") {
                is_ordered = true;
                parameters.push(self.parameter()?);
            }
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.parser.expect_token(&Token::RParen)?;
        Ok((parameters, is_ordered))
    }

    pub(super) fn aggregate_name(&mut self) -> Read<RoutineName> {
        let name = self.name()?;
        let (parameters, _) = self.aggregate_parameters()?;
        Ok(RoutineName { name, arguments: Some(parameters) })
    }

    fn aggregate_option(&mut self) -> Read<(String, AggregateValue)> {
        let name = self.ident()?;
        let key = if name.quote_style.is_some() { name.value } else { name.value.to_ascii_lowercase() };
        let has_value = self.parser.consume_token(&Token::Eq);
        let is_flag = matches!(key.as_str(), "finalfunc_extra" | "mfinalfunc_extra" | "hypothetical");
        if !has_value {
            return Ok((key, if is_flag { AggregateValue::Flag(true) } else { AggregateValue::Unknown }));
        }
        let value = match key.as_str() {
            "sfunc" | "sfunc1" | "finalfunc" | "combinefunc" | "serialfunc" | "deserialfunc" | "msfunc" | "minvfunc"
            | "mfinalfunc" => {
                let name = self.name()?;
                // As in PostgreSQL, the types of a function's arguments may be there and are passed over.
                if self.parser.consume_token(&Token::LParen) {
                    while !self.parser.consume_token(&Token::RParen) {
                        self.type_text()?;
                        let _ = self.parser.consume_token(&Token::Comma);
                    }
                }
                AggregateValue::Name(name)
            }
            "stype" | "stype1" | "mstype" | "basetype" => match self.parser.peek_nth_token_ref(0).token.clone() {
                Token::SingleQuotedString(text) => {
                    self.parser.next_token();
                    AggregateValue::Text(text)
                }
                _ => AggregateValue::Type(self.type_text()?.0),
            },
            "sspace" | "sspace1" | "msspace" => AggregateValue::Number(self.integer()?),
            "initcond" | "initcond1" | "minitcond" => match self.parser.peek_nth_token_ref(0).token.clone() {
                Token::Number(digits, _) => {
                    self.parser.next_token();
                    AggregateValue::Text(digits)
                }
                Token::Minus => {
                    self.parser.next_token();
                    AggregateValue::Text(format!("-{}", self.parser.next_token().token))
                }
                Token::Word(_) => AggregateValue::Text(self.ident()?.value),
                _ => AggregateValue::Text(self.constant()?),
            },
            "finalfunc_modify" | "mfinalfunc_modify" | "parallel" => {
                let word = self.ident()?;
                AggregateValue::Text(if word.quote_style.is_some() { word.value } else { word.value.to_ascii_lowercase() })
            }
            "sortop" => AggregateValue::Operator(self.operator_text()?),
            _ if is_flag => match () {
                () if self.words("true") || self.words("on") => AggregateValue::Flag(true),
                () if self.words("false") || self.words("off") => AggregateValue::Flag(false),
                () => AggregateValue::Flag(self.integer()? != 0),
            },
            _ => {
                self.value_tokens()?;
                AggregateValue::Unknown
            }
        };
        Ok((key, value))
    }

    /// An operator, bare or as `OPERATOR(schema.op)`.
    fn operator_text(&mut self) -> Read<String> {
        let is_wrapped = self.words("operator");
        if is_wrapped {
            self.parser.expect_token(&Token::LParen)?;
        }
        let text = self.value_tokens()?;
        if is_wrapped {
            self.parser.expect_token(&Token::RParen)?;
        }
        Ok(text)
    }

    /// What comes before the next comma or parenthesis that belongs to what is around it.
    fn value_tokens(&mut self) -> Read<String> {
        let (mut text, mut depth) = (String::new(), 0_usize);
        loop {
            match &self.parser.peek_nth_token_ref(0).token {
                Token::Comma | Token::RParen if depth == 0 => break,
                Token::EOF | Token::SemiColon => return self.refuse(),
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            text.push_str(&self.parser.next_token().token.to_string());
        }
        if text.is_empty() { self.refuse() } else { Ok(text) }
    }
}
