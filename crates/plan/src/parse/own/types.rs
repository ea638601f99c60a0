//! CREATE TYPE of enum, range and composite types, ALTER TYPE.

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

/// An attribute of a composite type.
#[derive(Clone, Debug)]
pub(crate) struct AttributeText {
    pub name: ast::Ident,
    pub ty: ast::DataType,
    pub collation: Option<ast::ObjectName>,
}

/// What ALTER TYPE does to the attributes of a composite type.
#[derive(Clone, Debug)]
pub(crate) enum AttributeChange {
    Add(AttributeText),
    Drop { name: ast::Ident, if_exists: bool, cascade: bool },
    SetType(AttributeText),
    Rename { from: ast::Ident, to: ast::Ident },
}

impl Reader<'_, '_> {
    /// `None`: it is of another kind.
    pub(super) fn create_type(&mut self) -> Read<Option<Own>> {
        let name = self.name()?;
        let is_list = matches!(self.parser.peek_nth_token_ref(1).token, Token::LParen);
        if is_list && self.words("as") {
            return Ok(Some(Own::CreateComposite { name, attributes: self.attributes()? }));
        }
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

    /// `(a int, b text COLLATE "C", …)`
    fn attributes(&mut self) -> Read<Vec<AttributeText>> {
        self.parser.expect_token(&Token::LParen)?;
        let mut attributes = Vec::new();
        if self.parser.consume_token(&Token::RParen) {
            return Ok(attributes);
        }
        loop {
            let name = self.ident()?;
            attributes.push(self.attribute(name)?);
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.parser.expect_token(&Token::RParen)?;
        Ok(attributes)
    }

    /// The type of an attribute, and its collation.
    fn attribute(&mut self, name: ast::Ident) -> Read<AttributeText> {
        let ty = self.parser.parse_data_type()?;
        let collation = if self.words("collate") { Some(self.name()?) } else { None };
        Ok(AttributeText { name, ty, collation })
    }

    fn attribute_change(&mut self) -> Read<AttributeChange> {
        Ok(match () {
            () if self.words("add attribute") => {
                let name = self.ident()?;
                let made = AttributeChange::Add(self.attribute(name)?);
                self.behavior();
                made
            }
            () if self.words("drop attribute") => {
                let if_exists = self.words("if exists");
                let name = self.ident()?;
                AttributeChange::Drop { name, if_exists, cascade: self.behavior() }
            }
            () if self.words("alter attribute") => {
                let name = self.ident()?;
                self.words("set data");
                self.expect("type")?;
                let made = AttributeChange::SetType(self.attribute(name)?);
                self.behavior();
                made
            }
            () => return self.refuse(),
        })
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
        if self.words("rename attribute") {
            let from = self.ident()?;
            self.expect("to")?;
            let to = self.ident()?;
            self.behavior();
            return Ok(Own::AlterComposite { name, changes: vec![AttributeChange::Rename { from, to }] });
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
            let mut changes = vec![self.attribute_change()?];
            while self.parser.consume_token(&Token::Comma) {
                changes.push(self.attribute_change()?);
            }
            return Ok(Own::AlterComposite { name, changes });
        };
        Ok(Own::AlterEnum { name, change })
    }
}
