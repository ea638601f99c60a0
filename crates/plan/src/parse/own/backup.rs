//! BACKUP, RESTORE, what shows and verifies backups, and jobs: CockroachDB's statements.

use sqlparser::ast;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::Own;
use super::reader::{Read, Reader};
use crate::backup::{BackupChoice, JobVerb};

/// A statement as it is written.
#[derive(Clone, Debug)]
pub(crate) enum BackupText {
    Backup { targets: TargetsText, append: bool, uri: String, as_of: Option<String>, options: Vec<BackupOption> },
    Restore { targets: TargetsText, choice: BackupChoice, uri: String, as_of: Option<String>, options: Vec<BackupOption> },
    ShowBackups { uri: String },
    ShowBackup { choice: BackupChoice, uri: String, options: Vec<BackupOption> },
    Verify { choice: BackupChoice, uri: String, options: Vec<BackupOption> },
    ShowJobs(Option<u64>),
    Control { verb: JobVerb, id: u64 },
}

#[derive(Clone, Debug)]
pub(crate) enum TargetsText {
    Cluster,
    Databases(Vec<ast::Ident>),
    Tables(Vec<ast::ObjectName>),
}

/// An option, and its value if it has one.
#[derive(Clone, Debug)]
pub(crate) struct BackupOption {
    pub name: String,
    pub value: Option<String>,
}

impl Reader<'_, '_> {
    fn targets(&mut self) -> Read<TargetsText> {
        Ok(match () {
            () if self.words("database") => TargetsText::Databases(self.parser.parse_comma_separated(Parser::parse_identifier)?),
            () if self.words("table") => {
                TargetsText::Tables(self.parser.parse_comma_separated(|parser| parser.parse_object_name(false))?)
            }
            () => TargetsText::Cluster,
        })
    }

    fn as_of(&mut self) -> Read<Option<String>> {
        if !self.words("as of system time") {
            return Ok(None);
        }
        match self.parser.peek_nth_token_ref(0).token.clone() {
            Token::Number(digits, _) => {
                self.parser.next_token();
                Ok(Some(digits))
            }
            _ => self.constant().map(Some),
        }
    }

    fn options(&mut self) -> Read<Vec<BackupOption>> {
        let mut options = Vec::new();
        if !self.words("with") {
            return Ok(options);
        }
        self.words("options");
        let in_parentheses = self.parser.consume_token(&Token::LParen);
        loop {
            let name = self.ident()?.value.to_lowercase();
            let value = match self.parser.consume_token(&Token::Eq) {
                false => None,
                true => Some(match self.parser.peek_nth_token_ref(0).token.clone() {
                    Token::Word(_) => self.ident()?.value,
                    _ => self.constant()?,
                }),
            };
            options.push(BackupOption { name, value });
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        if in_parentheses {
            self.parser.expect_token(&Token::RParen)?;
        }
        Ok(options)
    }

    /// `LATEST IN 'uri'` or `'path' IN 'uri'`.
    fn backup_in(&mut self) -> Read<(BackupChoice, String)> {
        let choice = if self.words("latest") { BackupChoice::Latest } else { BackupChoice::Path(self.constant()?) };
        self.expect("in")?;
        Ok((choice, self.constant()?))
    }

    pub(super) fn backup(&mut self) -> Read<Own> {
        let targets = self.targets()?;
        self.expect("into")?;
        let append = self.words("latest in");
        let uri = self.constant()?;
        let (as_of, options) = (self.as_of()?, self.options()?);
        Ok(Own::Backup(Box::new(BackupText::Backup { targets, append, uri, as_of, options })))
    }

    pub(super) fn restore(&mut self) -> Read<Own> {
        let targets = self.targets()?;
        self.expect("from")?;
        let (choice, uri) = self.backup_in()?;
        let (as_of, options) = (self.as_of()?, self.options()?);
        Ok(Own::Backup(Box::new(BackupText::Restore { targets, choice, uri, as_of, options })))
    }

    pub(super) fn show_backups(&mut self) -> Read<Own> {
        let uri = self.constant()?;
        Ok(Own::Backup(Box::new(BackupText::ShowBackups { uri })))
    }

    pub(super) fn show_backup(&mut self) -> Read<Own> {
        self.words("from");
        let (choice, uri) = self.backup_in()?;
        let options = self.options()?;
        Ok(Own::Backup(Box::new(BackupText::ShowBackup { choice, uri, options })))
    }

    pub(super) fn verify_backup(&mut self) -> Read<Own> {
        self.words("from");
        let (choice, uri) = self.backup_in()?;
        let options = self.options()?;
        Ok(Own::Backup(Box::new(BackupText::Verify { choice, uri, options })))
    }

    fn job_id(&mut self) -> Read<u64> {
        match u64::try_from(self.integer()?) {
            Ok(id) => Ok(id),
            Err(_) => self.refuse(),
        }
    }

    pub(super) fn show_job(&mut self) -> Read<Own> {
        let id = self.job_id()?;
        Ok(Own::Backup(Box::new(BackupText::ShowJobs(Some(id)))))
    }

    pub(super) fn control_job(&mut self, verb: JobVerb) -> Read<Own> {
        let id = self.job_id()?;
        Ok(Own::Backup(Box::new(BackupText::Control { verb, id })))
    }
}
