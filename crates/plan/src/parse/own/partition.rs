//! CREATE TABLE … PARTITION OF, and what else is said of partitions: bounds, ATTACH and DETACH.

use sqlparser::ast;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::reader::{Read, Reader};
use super::{Own, TableAction};

/// `CREATE TABLE name PARTITION OF parent (…) FOR VALUES …`. PARTITION BY is among the statement's extras.
#[derive(Clone, Debug)]
pub(crate) struct CreatePartition {
    pub name: ast::ObjectName,
    pub parent: ast::ObjectName,
    pub temporary: bool,
    pub if_not_exists: bool,
    pub items: Vec<PartitionItem>,
    pub bound: BoundText,
    pub on_commit: Option<ast::OnCommit>,
}

#[derive(Clone, Debug)]
pub(crate) enum PartitionItem {
    Constraint(ast::TableConstraint),
    /// What is said of a column that the parent has.
    Column { name: ast::Ident, options: Vec<ast::ColumnOptionDef> },
}

#[derive(Clone, Debug)]
pub(crate) enum BoundText {
    Default,
    In(Vec<ast::Expr>),
    FromTo(Vec<EndText>, Vec<EndText>),
    With(Vec<(ast::Ident, i64)>),
}

#[derive(Clone, Debug)]
pub(crate) enum EndText {
    Min,
    Max,
    Value(ast::Expr),
}

impl Reader<'_, '_> {
    /// Behind CREATE: `None` leaves it to the parser.
    pub(super) fn create_partition(&mut self, temporary: bool) -> Read<Option<Own>> {
        let start = self.parser.index();
        let temporary = temporary || self.words("local temporary") || self.words("local temp");
        self.words("unlogged");
        let read = self.words("table").then(|| {
            let if_not_exists = self.words("if not exists");
            self.name().ok().filter(|_| self.words("partition of")).map(|name| (name, if_not_exists))
        });
        let Some((name, if_not_exists)) = read.flatten() else {
            while self.parser.index() > start {
                self.parser.prev_token();
            }
            return Ok(None);
        };
        let parent = self.name()?;
        let mut items = Vec::new();
        if self.parser.consume_token(&Token::LParen) {
            loop {
                items.push(self.partition_item()?);
                if !self.parser.consume_token(&Token::Comma) {
                    break;
                }
            }
            self.parser.expect_token(&Token::RParen)?;
        }
        let bound = self.partition_bound()?;
        let mut on_commit = None;
        loop {
            match () {
                () if self.words("on commit") => {
                    on_commit = Some(match () {
                        () if self.words("preserve rows") => ast::OnCommit::PreserveRows,
                        () if self.words("delete rows") => ast::OnCommit::DeleteRows,
                        () if self.words("drop") => ast::OnCommit::Drop,
                        () => return self.refuse(),
                    });
                }
                () if self.words("using") || self.words("tablespace") => drop(self.ident()?),
                () if self.words("with") => {
                    self.parser.expect_token(&Token::LParen)?;
                    let mut depth = 1;
                    while depth > 0 && !self.is_at_end() {
                        match self.parser.next_token().token {
                            Token::LParen => depth += 1,
                            Token::RParen => depth -= 1,
                            _ => {}
                        }
                    }
                }
                () => break,
            }
        }
        let create = CreatePartition { name, parent, temporary, if_not_exists, items, bound, on_commit };
        Ok(Some(Own::CreatePartition(Box::new(create))))
    }

    fn partition_item(&mut self) -> Read<PartitionItem> {
        if let Some(constraint) = self.parser.parse_optional_table_constraint()? {
            return Ok(PartitionItem::Constraint(constraint));
        }
        let name = self.ident()?;
        self.words("with options");
        let mut options = Vec::new();
        loop {
            let given = if self.words("constraint") { Some(self.ident()?) } else { None };
            match self.parser.parse_optional_column_option()? {
                Some(option) => options.push(ast::ColumnOptionDef { name: given, option }),
                None if given.is_some() => return self.refuse(),
                None => return Ok(PartitionItem::Column { name, options }),
            }
        }
    }

    pub(super) fn partition_bound(&mut self) -> Read<BoundText> {
        if self.words("default") {
            return Ok(BoundText::Default);
        }
        self.expect("for values")?;
        if self.words("in") {
            self.parser.expect_token(&Token::LParen)?;
            let values = self.parser.parse_comma_separated(Parser::parse_expr)?;
            self.parser.expect_token(&Token::RParen)?;
            return Ok(BoundText::In(values));
        }
        if self.words("from") {
            let from = self.bound_end()?;
            self.expect("to")?;
            return Ok(BoundText::FromTo(from, self.bound_end()?));
        }
        self.expect("with")?;
        self.parser.expect_token(&Token::LParen)?;
        let mut options = Vec::new();
        loop {
            options.push((self.ident()?, self.integer()?));
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.parser.expect_token(&Token::RParen)?;
        Ok(BoundText::With(options))
    }

    fn bound_end(&mut self) -> Read<Vec<EndText>> {
        self.parser.expect_token(&Token::LParen)?;
        let mut end = Vec::new();
        loop {
            end.push(match () {
                () if self.words("minvalue") => EndText::Min,
                () if self.words("maxvalue") => EndText::Max,
                () => EndText::Value(self.parser.parse_expr()?),
            });
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.parser.expect_token(&Token::RParen)?;
        Ok(end)
    }

    /// ATTACH PARTITION and DETACH PARTITION of ALTER TABLE.
    pub(super) fn partition_action(&mut self) -> Read<Option<TableAction>> {
        if self.words("attach partition") {
            let partition = self.name()?;
            return Ok(Some(TableAction::AttachPartition { partition, bound: self.partition_bound()? }));
        }
        if self.words("detach partition") {
            let partition = self.name()?;
            let is_finalize = self.words("finalize");
            let is_concurrent = self.words("concurrently");
            return Ok(Some(TableAction::DetachPartition { partition, is_finalize, is_concurrent }));
        }
        Ok(None)
    }

    /// `ALTER INDEX name ATTACH PARTITION index`.
    pub(super) fn alter_index(&mut self) -> Read<Own> {
        let start = self.parser.index();
        let if_exists = self.words("if exists");
        if let Ok(name) = self.name()
            && self.words("attach partition")
        {
            return Ok(Own::AttachIndex { name, if_exists, partition: self.name()? });
        }
        while self.parser.index() > start {
            self.parser.prev_token();
        }
        self.alter(super::Kind::Index)
    }
}
