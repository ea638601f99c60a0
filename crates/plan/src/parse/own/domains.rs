//! CREATE, ALTER and DROP DOMAIN.

use sqlparser::ast;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::reader::{Read, Reader};
use super::{Kind, Own};

#[derive(Clone, Debug)]
pub(crate) enum DomainChange {
    /// `None`: DROP.
    Default(Option<ast::Expr>),
    NotNull(bool),
    Add { option: Box<ast::ColumnOptionDef>, not_valid: bool },
    Validate(ast::Ident),
    Drop { name: ast::Ident, if_exists: bool },
    RenameConstraint { from: ast::Ident, to: ast::Ident },
}

impl Reader<'_, '_> {
    pub(super) fn create_domain(&mut self) -> Read<Own> {
        let name = self.name()?;
        self.words("as");
        let ty = self.parser.parse_data_type()?;
        let mut options = Vec::new();
        while let Some(option) = self.domain_option()? {
            options.push(option);
        }
        Ok(Own::CreateDomain { name, ty, options })
    }

    fn domain_option(&mut self) -> Read<Option<ast::ColumnOptionDef>> {
        let name = if self.words("constraint") { Some(self.ident()?) } else { None };
        match self.parser.parse_optional_column_option()? {
            Some(option) => Ok(Some(ast::ColumnOptionDef { name, option })),
            None if name.is_some() => self.refuse(),
            None => Ok(None),
        }
    }

    pub(super) fn alter_domain(&mut self) -> Read<Own> {
        let name = self.name()?;
        if self.words("rename constraint") {
            let from = self.ident()?;
            self.expect("to")?;
            let change = DomainChange::RenameConstraint { from, to: self.ident()? };
            return Ok(Own::AlterDomain { name, change });
        }
        if let Some(change) = self.change()? {
            return Ok(Own::Alter { kind: Kind::Domain, name, if_exists: false, change });
        }
        let change = match () {
            () if self.words("set default") => DomainChange::Default(Some(self.parser.parse_expr()?)),
            () if self.words("drop default") => DomainChange::Default(None),
            () if self.words("set not null") => DomainChange::NotNull(true),
            () if self.words("drop not null") => DomainChange::NotNull(false),
            () if self.words("validate constraint") => DomainChange::Validate(self.ident()?),
            () if self.words("drop constraint") => {
                let if_exists = self.words("if exists");
                let name = self.ident()?;
                self.behavior();
                DomainChange::Drop { name, if_exists }
            }
            () if self.words("add") => {
                let Some(option) = self.domain_option()? else { return self.refuse() };
                DomainChange::Add { option: Box::new(option), not_valid: self.words("not valid") }
            }
            () => return self.refuse(),
        };
        Ok(Own::AlterDomain { name, change })
    }

    /// Whether CASCADE is next; nothing is RESTRICT.
    pub(super) fn behavior(&mut self) -> bool {
        if self.words("cascade") {
            return true;
        }
        self.words("restrict");
        false
    }

    pub(super) fn drop_domain(&mut self) -> Read<Own> {
        let if_exists = self.words("if exists");
        let names = self.parser.parse_comma_separated(|parser: &mut Parser<'_>| parser.parse_object_name(false))?;
        let cascade = self.behavior();
        if !matches!(self.parser.peek_nth_token_ref(0).token, Token::EOF | Token::SemiColon) {
            return self.refuse();
        }
        Ok(Own::DropDomains { names, if_exists, cascade })
    }
}
