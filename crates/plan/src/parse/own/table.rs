//! ALTER TABLE: what the parser behind does not read of it, or reads in one order only.

use catalog::TriggerEnabled;
use sqlparser::ast;
use sqlparser::tokenizer::Token;

use super::reader::{Read, Reader};
use crate::parse::extras;
use super::{BoundText, Own, RowSecurityText, SequenceOption, TriggersText};

/// One action of ALTER TABLE.
#[derive(Clone, Debug)]
pub(crate) enum TableAction {
    Standard(Box<ast::AlterTableOperation>),
    SetSchema(ast::Ident),
    DropIdentity { column: ast::Ident, if_exists: bool },
    DropExpression { column: ast::Ident, if_exists: bool },
    AddIdentity { column: ast::Ident, always: bool, options: Vec<SequenceOption> },
    /// SET GENERATED, SET sequence option, RESTART.
    SetIdentity { column: ast::Ident, always: Option<bool>, options: Vec<SequenceOption> },
    SplitAt(Box<ast::Query>),
    /// None: ALL.
    Unsplit(Option<Box<ast::Query>>),
    Triggers(TriggersText, TriggerEnabled),
    RowSecurity(RowSecurityText),
    AttachPartition { partition: ast::ObjectName, bound: BoundText },
    DetachPartition { partition: ast::ObjectName, is_finalize: bool, is_concurrent: bool },
    /// None: left as it is.
    AlterConstraint { name: ast::Ident, deferrable: Option<bool>, initially_deferred: Option<bool> },
    Accepted,
}

impl Reader<'_, '_> {
    pub(super) fn alter_table(&mut self) -> Read<Own> {
        let if_exists = self.words("if exists");
        let mut only = self.words("only");
        let mut name = self.name()?;
        if extras::is_only(&name) {
            only = true;
            name.0.remove(0);
        }
        let _ = self.parser.consume_token(&Token::Mul);
        let mut actions = Vec::new();
        loop {
            actions.push(self.table_action()?);
            if !self.parser.consume_token(&Token::Comma) {
                return Ok(Own::AlterTable { name, if_exists, only, actions });
            }
        }
    }

    fn table_action(&mut self) -> Read<TableAction> {
        if self.words("set schema") {
            return Ok(TableAction::SetSchema(self.ident()?));
        }
        if let Some(change) = self.row_security() {
            return Ok(TableAction::RowSecurity(change));
        }
        if let Some((which, enabled)) = self.enable_trigger()? {
            return Ok(TableAction::Triggers(which, enabled));
        }
        if let Some(action) = self.partition_action()? {
            return Ok(action);
        }
        if self.words("unsplit all") {
            return Ok(TableAction::Unsplit(None));
        }
        if self.words("unsplit at") {
            return Ok(TableAction::Unsplit(Some(self.parser.parse_query()?)));
        }
        if self.words("split at") {
            return Ok(TableAction::SplitAt(self.parser.parse_query()?));
        }
        let ignored = ["reset", "set logged", "set unlogged", "set without", "cluster on", "set tablespace"];
        let is_parameters = self.words("set")
            && (matches!(self.parser.peek_nth_token_ref(0).token, Token::LParen) || {
                self.parser.prev_token();
                false
            });
        if is_parameters || ignored.iter().any(|words| self.words(words)) {
            self.skip_action();
            return Ok(TableAction::Accepted);
        }
        if self.words("alter constraint") {
            return self.alter_constraint();
        }
        let start = self.parser.index();
        if self.words("alter") {
            self.words("column");
            let column = self.ident()?;
            if let Some(action) = self.column_action(column)? {
                return Ok(action);
            }
            while self.parser.index() > start {
                self.parser.prev_token();
            }
        }
        Ok(TableAction::Standard(Box::new(self.parser.parse_alter_table_operation()?)))
    }

    fn alter_constraint(&mut self) -> Read<TableAction> {
        let name = self.ident()?;
        let (mut deferrable, mut initially_deferred) = (None, None);
        loop {
            match () {
                () if self.words("not deferrable") => deferrable = Some(false),
                () if self.words("deferrable") => deferrable = Some(true),
                () if self.words("initially deferred") => initially_deferred = Some(true),
                () if self.words("initially immediate") => initially_deferred = Some(false),
                () => return Ok(TableAction::AlterConstraint { name, deferrable, initially_deferred }),
            }
        }
    }

    /// Steps to the comma or end behind an action.
    fn skip_action(&mut self) {
        let mut depth = 0;
        while !self.is_at_end() {
            match self.parser.peek_nth_token_ref(0).token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                Token::Comma if depth == 0 => return,
                _ => {}
            }
            self.parser.next_token();
        }
    }

    /// An ALTER COLUMN that the parser does not read.
    fn column_action(&mut self, column: ast::Ident) -> Read<Option<TableAction>> {
        if self.words("drop identity") {
            return Ok(Some(TableAction::DropIdentity { column, if_exists: self.words("if exists") }));
        }
        if self.words("drop expression") {
            return Ok(Some(TableAction::DropExpression { column, if_exists: self.words("if exists") }));
        }
        if self.words("add generated") {
            let always = self.words("always");
            if !always {
                self.expect("by default")?;
            }
            self.expect("as identity")?;
            let mut options = Vec::new();
            if self.parser.consume_token(&Token::LParen) {
                options = self.sequence_options()?;
                self.parser.expect_token(&Token::RParen)?;
            }
            return Ok(Some(TableAction::AddIdentity { column, always, options }));
        }
        let ignored = ["set statistics", "set storage", "set compression", "reset"];
        if ignored.iter().any(|words| self.words(words)) {
            self.skip_action();
            return Ok(Some(TableAction::Accepted));
        }
        let mut always = None;
        let mut options = Vec::new();
        loop {
            match () {
                () if self.words("set generated always") => always = Some(true),
                () if self.words("set generated by default") => always = Some(false),
                () => {
                    // SET stands before every option but RESTART; what else SET may begin is the parser's.
                    let set = self.words("set");
                    match self.sequence_option()? {
                        Some(option) => options.push(option),
                        None => {
                            if set {
                                self.parser.prev_token();
                            }
                            break;
                        }
                    }
                }
            }
        }
        let changes = always.is_some() || !options.is_empty();
        Ok(changes.then_some(TableAction::SetIdentity { column, always, options }))
    }
}
