//! CREATE and ALTER SEQUENCE, and the options that identity columns share with sequences.

use sqlparser::ast;
use sqlparser::tokenizer::Token;

use super::reader::{Read, Reader};
use super::{Kind, Own};

#[derive(Clone, Debug)]
pub(crate) enum SequenceOption {
    Type(ast::DataType),
    Start(i64),
    Increment(i64),
    Min(Option<i64>),
    Max(Option<i64>),
    Cache(i64),
    Cycle(bool),
    /// `None`: NONE.
    OwnedBy(Option<ast::ObjectName>),
    Restart(Option<i64>),
    /// SEQUENCE NAME, of an identity column.
    Name(ast::ObjectName),
}

impl Reader<'_, '_> {
    pub(super) fn create_sequence(&mut self, temporary: bool) -> Read<Own> {
        let if_not_exists = self.words("if not exists");
        Ok(Own::CreateSequence { name: self.name()?, if_not_exists, temporary, options: self.sequence_options()? })
    }

    pub(super) fn sequence_options(&mut self) -> Read<Vec<SequenceOption>> {
        let mut options = Vec::new();
        while let Some(option) = self.sequence_option()? {
            options.push(option);
        }
        Ok(options)
    }

    pub(super) fn sequence_option(&mut self) -> Read<Option<SequenceOption>> {
        use SequenceOption as Option_;
        let option = match () {
            () if self.words("as") => Option_::Type(self.parser.parse_data_type()?),
            () if self.words("start") => {
                self.words("with");
                Option_::Start(self.integer()?)
            }
            () if self.words("increment") => {
                self.words("by");
                Option_::Increment(self.integer()?)
            }
            () if self.words("minvalue") => Option_::Min(Some(self.integer()?)),
            () if self.words("no minvalue") => Option_::Min(None),
            () if self.words("maxvalue") => Option_::Max(Some(self.integer()?)),
            () if self.words("no maxvalue") => Option_::Max(None),
            () if self.words("cache") => Option_::Cache(self.integer()?),
            () if self.words("cycle") => Option_::Cycle(true),
            () if self.words("no cycle") => Option_::Cycle(false),
            () if self.words("owned by none") => Option_::OwnedBy(None),
            () if self.words("owned by") => Option_::OwnedBy(Some(self.name()?)),
            () if self.words("sequence name") => Option_::Name(self.name()?),
            () if self.words("restart") => {
                let has_value = self.words("with")
                    || matches!(self.parser.peek_nth_token_ref(0).token, Token::Number(..) | Token::Minus);
                Option_::Restart(if has_value { Some(self.integer()?) } else { None })
            }
            () => return Ok(None),
        };
        Ok(Some(option))
    }

    pub(super) fn alter_sequence(&mut self) -> Read<Own> {
        let if_exists = self.words("if exists");
        let name = self.name()?;
        if let Some(change) = self.change()? {
            return Ok(Own::Alter { kind: Kind::Sequence, name, if_exists, change });
        }
        let options = self.sequence_options()?;
        if options.is_empty() { self.refuse() } else { Ok(Own::AlterSequence { name, if_exists, options }) }
    }
}
