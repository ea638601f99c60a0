//! CREATE TYPE of enum and range types, ALTER TYPE.

use sqlparser::ast;
use sqlparser::tokenizer::Token;

use super::reader::{Read, Reader};
use super::{Kind, Own};

#[derive(Clone, Debug)]
pub(crate) enum EnumChange {
    /// `place`: before or after which label; at the end without.
    Add { label: String, if_not_exists: bool, place: Option<(Side, String)> },
    Rename { from: String, to: String },
}

/// What an attribute of a range type is set to.
#[derive(Clone, Debug)]
pub(crate) enum RangeAttribute {
    Type(ast::DataType),
    Name(ast::ObjectName),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Before,
    After,
}

impl Reader<'_, '_> {
    /// `None`: it is neither an enum type nor a range type.
    pub(super) fn create_type(&mut self) -> Read<Option<Own>> {
        let name = self.name()?;
        if self.words("as range") {
            return Ok(Some(Own::CreateRange { name, attributes: self.range_attributes()? }));
        }
        if !self.words("as enum") {
            return Ok(None);
        }
        self.parser.expect_token(&Token::LParen)?;
        let mut labels = Vec::new();
        if !self.parser.consume_token(&Token::RParen) {
            labels.push(self.string()?);
            while self.parser.consume_token(&Token::Comma) {
                labels.push(self.string()?);
            }
            self.parser.expect_token(&Token::RParen)?;
        }
        Ok(Some(Own::CreateEnum { name, labels }))
    }

    /// `(subtype = float8, …)`
    fn range_attributes(&mut self) -> Read<Vec<(ast::Ident, RangeAttribute)>> {
        self.parser.expect_token(&Token::LParen)?;
        let attributes = self.parser.parse_comma_separated(|parser| {
            let name = parser.parse_identifier()?;
            parser.expect_token(&Token::Eq)?;
            let value = if name.value.eq_ignore_ascii_case("subtype") {
                RangeAttribute::Type(parser.parse_data_type()?)
            } else {
                RangeAttribute::Name(parser.parse_object_name(false)?)
            };
            Ok((name, value))
        })?;
        self.parser.expect_token(&Token::RParen)?;
        Ok(attributes)
    }

    pub(super) fn alter_type(&mut self) -> Read<Own> {
        let name = self.name()?;
        if let Some(change) = self.change()? {
            return Ok(Own::Alter { kind: Kind::Type, name, if_exists: false, change });
        }
        let change = if self.words("add value") {
            let if_not_exists = self.words("if not exists");
            let label = self.string()?;
            let place = match () {
                () if self.words("before") => Some((Side::Before, self.string()?)),
                () if self.words("after") => Some((Side::After, self.string()?)),
                () => None,
            };
            EnumChange::Add { label, if_not_exists, place }
        } else if self.words("rename value") {
            let from = self.string()?;
            self.expect("to")?;
            EnumChange::Rename { from, to: self.string()? }
        } else {
            return self.refuse();
        };
        Ok(Own::AlterEnum { name, change })
    }
}
