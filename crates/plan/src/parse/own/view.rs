//! CREATE VIEW and CREATE MATERIALIZED VIEW, what ALTER says of views alone, and REFRESH.

use sqlparser::ast;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::object::Change;
use super::reader::{Read, Reader};
use super::{Kind, Own};

/// `name`, or `name = value`.
#[derive(Clone, Debug)]
pub(crate) struct ViewOption {
    pub name: String,
    pub value: Option<String>,
}

/// CREATE [MATERIALIZED] VIEW. WITH CHECK OPTION and WITH NO DATA are taken off before.
#[derive(Clone, Debug)]
pub(crate) struct CreateView {
    pub name: ast::ObjectName,
    pub columns: Vec<ast::Ident>,
    pub query: Box<ast::Query>,
    pub options: Vec<ViewOption>,
    pub kind: ViewKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ViewKind {
    Plain { or_replace: bool, temporary: bool, recursive: bool },
    Materialized { if_not_exists: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refresh {
    pub concurrently: bool,
    pub no_data: bool,
}

/// What only views are told.
#[derive(Clone, Debug)]
pub(crate) enum ViewChange {
    RenameColumn { from: ast::Ident, to: ast::Ident },
    /// `None`: DROP.
    Default { column: ast::Ident, expr: Option<ast::Expr> },
    SetOptions(Vec<ViewOption>),
    ResetOptions(Vec<ViewOption>),
}

impl Reader<'_, '_> {
    /// What comes after CREATE, if it is a view.
    pub(super) fn create_view(&mut self) -> Read<Option<Own>> {
        let start = self.parser.index();
        let kind = if self.words("materialized view") {
            ViewKind::Materialized { if_not_exists: self.words("if not exists") }
        } else {
            let or_replace = self.words("or replace");
            let temporary = self.words("temp") || self.words("temporary") || self.words("local temp") || self.words("local temporary");
            let recursive = self.words("recursive");
            if or_replace && !temporary && !recursive && self.words("materialized") {
                self.parser.prev_token();
                return self.refuse();
            }
            if !self.words("view") {
                while self.parser.index() > start {
                    self.parser.prev_token();
                }
                return Ok(None);
            }
            ViewKind::Plain { or_replace, temporary, recursive }
        };
        let name = self.name()?;
        let columns = self.name_list()?;
        let is_materialized = matches!(kind, ViewKind::Materialized { .. });
        if is_materialized && self.words("using") {
            self.ident()?;
        }
        let options = if self.words("with") { self.view_options()? } else { Vec::new() };
        if is_materialized && self.words("tablespace") {
            self.ident()?;
        }
        self.expect("as")?;
        let query = self.parser.parse_query()?;
        Ok(Some(Own::CreateView(Box::new(CreateView { name, columns, query, options, kind }))))
    }

    /// In parentheses.
    fn view_options(&mut self) -> Read<Vec<ViewOption>> {
        self.parser.expect_token(&Token::LParen)?;
        let mut options = Vec::new();
        loop {
            let mut name = self.parser.parse_identifier()?.value.to_ascii_lowercase();
            while self.parser.consume_token(&Token::Period) {
                name = format!("{name}.{}", self.parser.parse_identifier()?.value.to_ascii_lowercase());
            }
            let value = match self.parser.consume_token(&Token::Eq) {
                false => None,
                true => Some(match self.parser.next_token().token {
                    Token::Word(word) => word.value,
                    Token::SingleQuotedString(text) | Token::Number(text, _) => text,
                    _ => return self.refuse(),
                }),
            };
            options.push(ViewOption { name, value });
            if !self.parser.consume_token(&Token::Comma) {
                self.parser.expect_token(&Token::RParen)?;
                return Ok(options);
            }
        }
    }

    /// What only views are told: of their columns, and options.
    pub(super) fn view_change(&mut self) -> Read<Option<ViewChange>> {
        let start = self.parser.index();
        if self.words("rename") {
            if !self.words("to") {
                self.words("column");
                let from = self.ident()?;
                self.expect("to")?;
                return Ok(Some(ViewChange::RenameColumn { from, to: self.ident()? }));
            }
        } else if self.words("alter") {
            self.words("column");
            let column = self.ident()?;
            if self.words("set default") {
                return Ok(Some(ViewChange::Default { column, expr: Some(self.parser.parse_expr()?) }));
            }
            if self.words("drop default") {
                return Ok(Some(ViewChange::Default { column, expr: None }));
            }
        } else if self.words("reset") {
            return Ok(Some(ViewChange::ResetOptions(self.view_options()?)));
        } else if self.words("set") && self.parser.peek_nth_token_ref(0).token == Token::LParen {
            return Ok(Some(ViewChange::SetOptions(self.view_options()?)));
        }
        while self.parser.index() > start {
            self.parser.prev_token();
        }
        Ok(None)
    }

    /// REFRESH MATERIALIZED VIEW; WITH DATA is behind it.
    pub(super) fn refresh(&mut self) -> Read<Own> {
        let concurrently = self.words("concurrently");
        let name = self.name()?;
        let no_data = self.words("with no data");
        if !no_data {
            self.words("with data");
        }
        Ok(Own::Refresh { name, refresh: Refresh { concurrently, no_data } })
    }

    pub(super) fn drop_materialized_views(&mut self) -> Read<Own> {
        let if_exists = self.words("if exists");
        let names = self.parser.parse_comma_separated(|parser: &mut Parser<'_>| parser.parse_object_name(false))?;
        let cascade = self.behavior();
        if !self.is_at_end() {
            return self.refuse();
        }
        Ok(Own::DropMaterializedViews { names, if_exists, cascade })
    }

    pub(super) fn alter_view(&mut self, kind: Kind) -> Read<Own> {
        let if_exists = self.words("if exists");
        let name = self.name()?;
        if let Some(change) = self.view_change()? {
            return Ok(Own::Alter { kind, name, if_exists, change: Change::View(change) });
        }
        let change = match self.change()? {
            Some(change) => change,
            None if kind == Kind::MaterializedView => {
                // Where and how rows are kept.
                let known = ["set", "reset", "cluster", "alter", "depends on extension", "no depends on extension"];
                if !known.iter().any(|word| self.words(word)) {
                    return self.refuse();
                }
                self.rest("")?;
                Change::Accepted
            }
            None => return self.refuse(),
        };
        Ok(Own::Alter { kind, name, if_exists, change })
    }
}
