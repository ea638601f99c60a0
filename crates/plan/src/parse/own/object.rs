//! What any named thing may be told: ALTER with a new name, schema or owner, and COMMENT ON; CREATE DATABASE; LOCK.

use sqlparser::ast;
use sqlparser::tokenizer::Token;

use super::reader::{Read, Reader};
use super::{Kind, LockMode, Own, RoutineWord, ViewChange};

#[derive(Clone, Debug)]
pub(crate) enum Change {
    Rename(ast::Ident),
    Schema(ast::Ident),
    Owner(ast::Ident),
    View(ViewChange),
    /// Settings and storage parameters.
    Accepted,
}

/// What is said of a large object.
#[derive(Clone, Debug)]
pub(crate) enum ObjectText {
    Owner(ast::Ident),
    Comment(Option<String>),
}

impl Reader<'_, '_> {
    pub(super) fn alter_large_object(&mut self) -> Read<Own> {
        let oid = self.oid()?;
        self.expect("owner to")?;
        Ok(Own::LargeObject { oid, change: ObjectText::Owner(self.ident()?) })
    }

    /// RENAME TO, SET SCHEMA, OWNER TO, if one of them is next.
    pub(super) fn change(&mut self) -> Read<Option<Change>> {
        Ok(Some(match () {
            () if self.words("rename to") => Change::Rename(self.ident()?),
            () if self.words("set schema") => Change::Schema(self.ident()?),
            () if self.words("owner to") => Change::Owner(self.ident()?),
            () => return Ok(None),
        }))
    }

    pub(super) fn alter(&mut self, kind: Kind) -> Read<Own> {
        let if_exists = self.words("if exists");
        let name = match kind {
            Kind::Schema | Kind::Database | Kind::Role => self.simple_name()?,
            _ => self.name()?,
        };
        let change = match self.change()? {
            Some(change) => change,
            None => {
                let known = ["set", "reset", "with", "connection", "allow_connections", "is_template", "alter"];
                if !known.iter().any(|word| self.words(word)) {
                    return self.refuse();
                }
                self.rest("")?;
                Change::Accepted
            }
        };
        Ok(Own::Alter { kind, name, if_exists, change })
    }

    pub(super) fn create_database(&mut self) -> Read<Own> {
        let name = self.ident()?;
        self.words("with");
        let mut owner = None;
        while !self.is_at_end() {
            let is_owner = self.words("owner");
            if !is_owner {
                self.ident()?;
                // CONNECTION LIMIT is two words.
                self.words("limit");
            }
            let _ = self.parser.consume_token(&Token::Eq);
            if is_owner {
                owner = Some(self.ident()?);
            } else {
                self.parser.next_token();
            }
        }
        Ok(Own::CreateDatabase { name, owner })
    }

    pub(super) fn comment(&mut self) -> Read<Own> {
        if self.words("aggregate") {
            let name = self.aggregate_name()?;
            self.expect("is")?;
            return Ok(Own::CommentRoutine { word: RoutineWord::Aggregate, name, text: self.comment_text()? });
        }
        if let Some(word) = self.routine_word() {
            let name = self.routine_name()?;
            self.expect("is")?;
            return Ok(Own::CommentRoutine { word, name, text: self.comment_text()? });
        }
        if self.words("trigger") {
            let name = self.ident()?;
            self.expect("on")?;
            let table = self.name()?;
            self.expect("is")?;
            return Ok(Own::CommentTrigger { name, table, text: self.comment_text()? });
        }
        if self.words("policy") {
            let name = self.ident()?;
            self.expect("on")?;
            let table = self.name()?;
            self.expect("is")?;
            return Ok(Own::CommentPolicy { name, table, text: self.comment_text()? });
        }
        if self.words("large object") {
            let oid = self.oid()?;
            self.expect("is")?;
            return Ok(Own::LargeObject { oid, change: ObjectText::Comment(self.comment_text()?) });
        }
        let kind = match () {
            () if self.words("table") => Kind::Table,
            () if self.words("column") => Kind::Column,
            () if self.words("view") => Kind::View,
            () if self.words("materialized view") => Kind::MaterializedView,
            () if self.words("sequence") => Kind::Sequence,
            () if self.words("index") => Kind::Index,
            () if self.words("schema") => Kind::Schema,
            () if self.words("type") => Kind::Type,
            () if self.words("domain") => Kind::Domain,
            () if self.words("database") => Kind::Database,
            () if self.words("role") => Kind::Role,
            () if self.words("constraint") => {
                let constraint = self.ident()?;
                self.expect("on")?;
                if !self.words("domain") {
                    let mut name = self.name()?;
                    name.0.push(ast::ObjectNamePart::Identifier(constraint));
                    self.expect("is")?;
                    return Ok(Own::Comment { kind: Kind::Constraint, name, text: self.comment_text()? });
                }
                let mut name = self.name()?;
                name.0.push(ast::ObjectNamePart::Identifier(constraint));
                self.expect("is")?;
                return Ok(Own::Comment { kind: Kind::DomainConstraint, name, text: self.comment_text()? });
            }
            () => {
                let mut name = None;
                while !self.is_at_end() && !self.words("is") {
                    if let Token::Word(word) = self.parser.next_token().token {
                        name = Some(word.into_ident(sqlparser::tokenizer::Span::empty()));
                    }
                }
                let Some(name) = name else { return self.refuse() };
                let text = self.comment_text()?;
                return Ok(Own::Comment { kind: Kind::Other, name: ast::ObjectName::from(vec![name]), text });
            }
        };
        let name = self.name()?;
        self.expect("is")?;
        Ok(Own::Comment { kind, name, text: self.comment_text()? })
    }

    fn comment_text(&mut self) -> Read<Option<String>> {
        if self.words("null") { Ok(None) } else { self.string().map(Some) }
    }

    pub(super) fn set_constraints(&mut self) -> Read<Own> {
        let names = if self.words("all") {
            Vec::new()
        } else {
            self.parser.parse_comma_separated(|parser| parser.parse_object_name(false))?
        };
        let deferred = self.words("deferred");
        if !deferred {
            self.expect("immediate")?;
        }
        Ok(Own::SetConstraints { names, deferred })
    }

    pub(super) fn lock(&mut self) -> Read<Own> {
        self.words("table");
        self.words("only");
        let names = self.parser.parse_comma_separated(|parser| parser.parse_object_name(false))?;
        let mut mode = LockMode::Stronger;
        if self.words("in") {
            let modes = [
                "access share", "row share", "row exclusive", "share row exclusive", "share update exclusive", "share",
                "access exclusive", "exclusive",
            ];
            let Some(found) = modes.into_iter().find(|mode| self.words(mode)) else { return self.refuse() };
            mode = match found {
                "access share" => LockMode::AccessShare,
                "row exclusive" => LockMode::RowExclusive,
                _ => LockMode::Stronger,
            };
            self.expect("mode")?;
        }
        self.words("nowait");
        Ok(Own::LockTable { names, mode })
    }
}
