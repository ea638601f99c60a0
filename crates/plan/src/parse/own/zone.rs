//! Zone configurations: ALTER … CONFIGURE ZONE and SHOW ZONE CONFIGURATION, with CockroachDB's words.

use sqlparser::ast;
use sqlparser::tokenizer::Token;

use super::Own;
use super::reader::{Read, Reader};

/// What a zone configuration is of.
#[derive(Clone, Debug)]
pub(crate) enum ZoneName {
    /// RANGE default, or one that is no such.
    Range(ast::Ident),
    Database(ast::Ident),
    Table(ast::ObjectName),
    /// An index, or `table@index`.
    Index { index: ast::ObjectName, table: Option<ast::ObjectName> },
    /// PARTITION … OF TABLE.
    Partition { partition: ast::ObjectName, table: ast::ObjectName },
}

/// The value of a setting.
#[derive(Clone, Debug)]
pub(crate) enum ZoneValue {
    Number(i64),
    Text(String),
    /// COPY FROM PARENT
    Parent,
}

#[derive(Clone, Debug)]
pub(crate) enum ZoneText {
    /// None: DISCARD.
    Configure { name: ZoneName, if_exists: bool, settings: Option<Vec<(String, ZoneValue)>> },
    /// None: ALL.
    Show(Option<ZoneName>),
}

/// What a zone may be of, as ALTER names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ZoneWord {
    Range,
    Database,
    Table,
    Index,
    Partition,
}

impl Reader<'_, '_> {
    /// CONFIGURE ZONE of what has a name, after the word for it; where something else is said of it nothing is read.
    pub(super) fn configure_zone(&mut self, word: ZoneWord) -> Option<Read<Own>> {
        let start = self.parser.index();
        let if_exists = self.words("if exists");
        if let Ok(name) = self.zone_name(word)
            && self.words("configure zone")
        {
            return Some(self.zone_change(name, if_exists));
        }
        while self.parser.index() > start {
            self.parser.prev_token();
        }
        None
    }

    /// The same, of what nothing else is said of.
    pub(super) fn only_configure_zone(&mut self, word: ZoneWord) -> Read<Own> {
        match self.configure_zone(word) {
            Some(read) => read,
            None => self.refuse(),
        }
    }

    fn zone_change(&mut self, name: ZoneName, if_exists: bool) -> Read<Own> {
        let settings = if self.words("discard") {
            None
        } else {
            self.expect("using")?;
            let mut settings = vec![self.zone_setting()?];
            while self.parser.consume_token(&Token::Comma) {
                settings.push(self.zone_setting()?);
            }
            Some(settings)
        };
        Ok(Own::Zone(Box::new(ZoneText::Configure { name, if_exists, settings })))
    }

    fn zone_setting(&mut self) -> Read<(String, ZoneValue)> {
        let name = self.name()?.to_string().to_lowercase();
        self.parser.expect_token(&Token::Eq)?;
        let value = if self.words("copy from parent") {
            ZoneValue::Parent
        } else if let Ok(text) = self.constant() {
            ZoneValue::Text(text)
        } else {
            ZoneValue::Number(self.integer()?)
        };
        Ok((name, value))
    }

    fn zone_name(&mut self, word: ZoneWord) -> Read<ZoneName> {
        Ok(match word {
            ZoneWord::Range => ZoneName::Range(self.ident()?),
            ZoneWord::Database => ZoneName::Database(self.ident()?),
            ZoneWord::Table => ZoneName::Table(self.name()?),
            ZoneWord::Index => {
                let name = self.name()?;
                match self.parser.consume_token(&Token::AtSign) {
                    true => ZoneName::Index { table: Some(name), index: self.name()? },
                    false => ZoneName::Index { table: None, index: name },
                }
            }
            ZoneWord::Partition => {
                let partition = self.name()?;
                self.expect("of table")?;
                ZoneName::Partition { partition, table: self.name()? }
            }
        })
    }

    /// What follows SHOW ZONE CONFIGURATION.
    pub(super) fn show_zone(&mut self) -> Read<Own> {
        if !self.words("from") {
            self.expect("for")?;
        }
        let words = [
            ("range", ZoneWord::Range),
            ("database", ZoneWord::Database),
            ("table", ZoneWord::Table),
            ("index", ZoneWord::Index),
            ("partition", ZoneWord::Partition),
        ];
        for (text, word) in words {
            if self.words(text) {
                let name = self.zone_name(word)?;
                return Ok(Own::Zone(Box::new(ZoneText::Show(Some(name)))));
            }
        }
        self.refuse()
    }
}
