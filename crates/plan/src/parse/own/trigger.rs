//! CREATE, ALTER and DROP TRIGGER, and COMMENT ON one.

use catalog::{TriggerEnabled, TriggerEvent, TriggerTiming};
use sqlparser::ast;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::Own;
use super::reader::{Read, Reader};
use crate::bind::fold;

/// A table or row that REFERENCING names.
#[derive(Clone, Debug)]
pub(crate) struct Transition {
    pub is_new: bool,
    pub is_table: bool,
    pub name: ast::Ident,
}

/// What stands after the table of a constraint trigger, in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConstraintWord {
    NotDeferrable,
    Deferrable,
    InitiallyImmediate,
    InitiallyDeferred,
    NotValid,
    NoInherit,
}

#[derive(Clone, Debug)]
pub(crate) struct CreateTrigger {
    pub name: ast::Ident,
    pub or_replace: bool,
    pub timing: TriggerTiming,
    /// Each with the word that it was written as.
    pub events: Vec<(TriggerEvent, String)>,
    /// UPDATE OF these.
    pub columns: Vec<ast::Ident>,
    pub table: ast::ObjectName,
    /// CONSTRAINT.
    pub constraint: Option<Vec<ConstraintWord>>,
    pub from: Option<ast::ObjectName>,
    pub transitions: Vec<Transition>,
    pub for_each_row: bool,
    pub condition: Option<ast::Expr>,
    pub function: ast::ObjectName,
    pub arguments: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum TriggerChange {
    Rename(ast::Ident),
    /// DEPENDS ON EXTENSION.
    Accepted,
}

/// What ENABLE and DISABLE TRIGGER name.
#[derive(Clone, Debug)]
pub(crate) enum TriggersText {
    Named(ast::Ident),
    /// ALL and USER, which are the same here: there are no internal ones.
    All,
}

impl Reader<'_, '_> {
    pub(super) fn create_trigger(&mut self, or_replace: bool, is_constraint: bool) -> Read<Own> {
        let name = self.ident()?;
        let timing = match () {
            () if self.words("after") => TriggerTiming::After,
            () if is_constraint => return self.refuse(),
            () if self.words("before") => TriggerTiming::Before,
            () if self.words("instead of") => TriggerTiming::InsteadOf,
            () => return self.refuse(),
        };
        let (events, columns) = self.trigger_events()?;
        self.expect("on")?;
        let table = self.name()?;
        let (mut from, mut constraint, mut transitions) = (None, None, Vec::new());
        if is_constraint {
            if self.words("from") {
                from = Some(self.name()?);
            }
            constraint = Some(self.constraint_words());
            self.expect("for")?;
            self.words("each");
            self.expect("row")?;
        } else if self.words("referencing") {
            transitions = self.transitions()?;
        }
        let for_each_row = is_constraint || self.trigger_level()?;
        let mut condition = None;
        if self.words("when") {
            self.parser.expect_token(&Token::LParen)?;
            condition = Some(self.parser.parse_expr()?);
            self.parser.expect_token(&Token::RParen)?;
        }
        self.expect("execute")?;
        if !self.words("function") {
            self.expect("procedure")?;
        }
        let function = self.name()?;
        let arguments = self.trigger_arguments()?;
        Ok(Own::CreateTrigger(Box::new(CreateTrigger {
            name,
            or_replace,
            timing,
            events,
            columns,
            table,
            constraint,
            from,
            transitions,
            for_each_row,
            condition,
            function,
            arguments,
        })))
    }

    fn trigger_events(&mut self) -> Read<(Vec<(TriggerEvent, String)>, Vec<ast::Ident>)> {
        let (mut events, mut columns) = (Vec::new(), Vec::new());
        loop {
            let word = self.parser.peek_nth_token_ref(0).token.to_string();
            let event = match () {
                () if self.words("insert") => TriggerEvent::Insert,
                () if self.words("delete") => TriggerEvent::Delete,
                () if self.words("update") => TriggerEvent::Update,
                () if self.words("truncate") => TriggerEvent::Truncate,
                () => return self.refuse(),
            };
            if event == TriggerEvent::Update && self.words("of") {
                columns.extend(self.parser.parse_comma_separated(Parser::parse_identifier)?);
            }
            events.push((event, word));
            if !self.words("or") {
                return Ok((events, columns));
            }
        }
    }

    fn constraint_words(&mut self) -> Vec<ConstraintWord> {
        let mut found = Vec::new();
        loop {
            found.push(match () {
                () if self.words("not deferrable") => ConstraintWord::NotDeferrable,
                () if self.words("deferrable") => ConstraintWord::Deferrable,
                () if self.words("initially immediate") => ConstraintWord::InitiallyImmediate,
                () if self.words("initially deferred") => ConstraintWord::InitiallyDeferred,
                () if self.words("not valid") => ConstraintWord::NotValid,
                () if self.words("no inherit") => ConstraintWord::NoInherit,
                () => return found,
            });
        }
    }

    fn transitions(&mut self) -> Read<Vec<Transition>> {
        let mut found = Vec::new();
        loop {
            let is_new = match () {
                () if self.words("old") => false,
                () if self.words("new") => true,
                () if found.is_empty() => return self.refuse(),
                () => return Ok(found),
            };
            let is_table = self.words("table");
            if !is_table {
                self.expect("row")?;
            }
            self.words("as");
            found.push(Transition { is_new, is_table, name: self.ident()? });
        }
    }

    /// Whether it is FOR EACH ROW; without either word it is for each statement.
    fn trigger_level(&mut self) -> Read<bool> {
        if !self.words("for") {
            return Ok(false);
        }
        self.words("each");
        let is_row = self.words("row");
        if !is_row {
            self.expect("statement")?;
        }
        Ok(is_row)
    }

    /// Literals and words between parentheses, as text.
    fn trigger_arguments(&mut self) -> Read<Vec<String>> {
        self.parser.expect_token(&Token::LParen)?;
        let mut found = Vec::new();
        if self.parser.consume_token(&Token::RParen) {
            return Ok(found);
        }
        loop {
            let token = self.parser.peek_nth_token(0);
            found.push(match token.token {
                // An integer is shown as its value.
                Token::Number(digits, _) => digits.parse::<i32>().map_or(digits, |number| number.to_string()),
                Token::Word(word) => fold(&word.into_ident(token.span)),
                Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => text,
                Token::UnicodeStringLiteral(text) => text,
                Token::DollarQuotedString(text) => text.value,
                _ => return self.refuse(),
            });
            self.parser.next_token();
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.parser.expect_token(&Token::RParen)?;
        Ok(found)
    }

    pub(super) fn alter_trigger(&mut self) -> Read<Own> {
        let name = self.ident()?;
        self.expect("on")?;
        let table = self.name()?;
        let change = match () {
            () if self.words("rename to") => TriggerChange::Rename(self.ident()?),
            () if self.words("depends on extension") || self.words("no depends on extension") => {
                self.ident()?;
                TriggerChange::Accepted
            }
            () => return self.refuse(),
        };
        Ok(Own::AlterTrigger { name, table, change })
    }

    pub(super) fn drop_trigger(&mut self) -> Read<Own> {
        let if_exists = self.words("if exists");
        let name = self.ident()?;
        self.expect("on")?;
        let table = self.name()?;
        // Nothing depends on a trigger.
        if !self.words("cascade") {
            self.words("restrict");
        }
        Ok(Own::DropTrigger { name, table, if_exists })
    }

    /// ENABLE and DISABLE TRIGGER of ALTER TABLE, if it is next.
    pub(super) fn enable_trigger(&mut self) -> Read<Option<(TriggersText, TriggerEnabled)>> {
        let enabled = match () {
            () if self.words("enable trigger") => TriggerEnabled::Origin,
            () if self.words("enable replica trigger") => TriggerEnabled::Replica,
            () if self.words("enable always trigger") => TriggerEnabled::Always,
            () if self.words("disable trigger") => TriggerEnabled::Disabled,
            () => return Ok(None),
        };
        let may_be_all = matches!(enabled, TriggerEnabled::Origin | TriggerEnabled::Disabled);
        let which = match may_be_all && (self.words("all") || self.words("user")) {
            true => TriggersText::All,
            false => TriggersText::Named(self.ident()?),
        };
        Ok(Some((which, enabled)))
    }
}
