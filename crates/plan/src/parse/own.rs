//! Statements that are read here, because the parser behind does not know them or knows them in one order only.
//!
//! The problem: ALTER SEQUENCE, ALTER DATABASE, COMMENT ON, LOCK TABLE, most of CREATE ROLE and of COPY's options, and
//! half of ALTER TABLE are PostgreSQL's own. The idea: a [`Reader`] steps over the parser's tokens by their words and
//! hands names, expressions and types back to the parser, so that spans and errors are the same as everywhere.

use sqlparser::ast;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

type Read<T> = Result<T, ParserError>;

/// A statement that was read here.
#[derive(Clone, Debug)]
pub(crate) enum Own {
    CreateSequence { name: ast::ObjectName, if_not_exists: bool, temporary: bool, options: Vec<SequenceOption> },
    AlterSequence { name: ast::ObjectName, if_exists: bool, options: Vec<SequenceOption> },
    AlterTable { name: ast::ObjectName, if_exists: bool, actions: Vec<TableAction> },
    /// RENAME TO, SET SCHEMA, OWNER TO of anything with a name.
    Alter { kind: Kind, name: ast::ObjectName, if_exists: bool, change: Change },
    CreateDatabase { name: ast::Ident, owner: Option<ast::Ident> },
    CreateRole { name: ast::Ident, options: Vec<RoleOption>, login: bool },
    AlterRole { name: ast::Ident, options: Vec<RoleOption> },
    Comment { kind: Kind, name: ast::ObjectName, text: Option<String> },
    /// GRANT and REVOKE: what must exist.
    Grant { tag: &'static str, tables: Vec<ast::ObjectName>, roles: Vec<ast::Ident> },
    LockTable { names: Vec<ast::ObjectName> },
    Copy(Box<Copy>),
    /// Nothing to do here; the tag that answers it.
    Accepted(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Table,
    View,
    Sequence,
    Index,
    Schema,
    Database,
    Column,
    /// Types, functions, constraints and others that have no place in the catalog yet.
    Other,
}

#[derive(Clone, Debug)]
pub(crate) enum Change {
    Rename(ast::Ident),
    Schema(ast::Ident),
    Owner(ast::Ident),
    /// Settings and storage parameters.
    Accepted,
}

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
    /// SEQUENCE NAME, which pg_dump writes: the name is made here.
    Name,
}

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
    Accepted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoleOption {
    Superuser(bool),
    Login(bool),
    CreateDb(bool),
    CreateRole(bool),
    /// PASSWORD, VALID UNTIL and others that change nothing here.
    Other,
}

#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub source: CopySource,
    pub to: bool,
    /// The other end is a file or program of the server and not the client.
    pub on_server: bool,
    pub options: Vec<(String, CopyValue)>,
    pub filter: Option<ast::Expr>,
}

#[derive(Clone, Debug)]
pub(crate) enum CopySource {
    Table { name: ast::ObjectName, columns: Vec<ast::Ident> },
    Query(Box<ast::Query>),
}

/// The value of one of COPY's options.
#[derive(Clone, Debug)]
pub(crate) enum CopyValue {
    None,
    Text(String),
    Names(Vec<ast::Ident>),
    /// `*`
    All,
}

/// Reads a statement that is this module's; `None` leaves it to the parser.
pub(super) fn read(parser: &mut Parser<'_>) -> Option<Read<Own>> {
    let mut reader = Reader { parser };
    let own = if reader.words("create") {
        let temporary = reader.words("temp") || reader.words("temporary");
        match () {
            () if reader.words("sequence") => reader.create_sequence(temporary),
            () if temporary => return None,
            () if reader.words("database") => reader.create_database(),
            () if reader.words("role") || reader.words("group") => reader.create_role(false),
            () if reader.words("user") => reader.create_role(true),
            () => return None,
        }
    } else if reader.words("alter") {
        match () {
            () if reader.words("table") => reader.alter_table(),
            () if reader.words("sequence") => reader.alter_sequence(),
            () if reader.words("materialized view") || reader.words("view") => reader.alter(Kind::View),
            () if reader.words("index") => reader.alter(Kind::Index),
            () if reader.words("schema") => reader.alter(Kind::Schema),
            () if reader.words("database") => reader.alter(Kind::Database),
            () if reader.words("role") || reader.words("user") || reader.words("group") => reader.alter_role(),
            () if reader.words("default privileges") => reader.rest("ALTER DEFAULT PRIVILEGES"),
            () => return None,
        }
    } else if reader.words("comment on") {
        reader.comment()
    } else if reader.words("grant") {
        reader.grant("GRANT", "GRANT ROLE", "to")
    } else if reader.words("revoke") {
        reader.words("grant option for");
        reader.words("admin option for");
        reader.grant("REVOKE", "REVOKE ROLE", "from")
    } else if reader.words("lock") {
        reader.lock()
    } else if reader.words("copy") {
        reader.copy()
    } else if reader.words("checkpoint") {
        Ok(Own::Accepted("CHECKPOINT"))
    } else if reader.words("reindex") {
        reader.rest("REINDEX")
    } else if reader.words("cluster") {
        reader.rest("CLUSTER")
    } else {
        return None;
    };
    Some(own)
}

/// The parser's tokens, stepped over by words.
struct Reader<'p, 'a> {
    parser: &'p mut Parser<'a>,
}

impl Reader<'_, '_> {
    /// Steps over these words, if all of them are next.
    fn words(&mut self, words: &str) -> bool {
        let matches = words.split(' ').enumerate().all(|(at, word)| {
            matches!(&self.parser.peek_nth_token_ref(at).token, Token::Word(found)
                if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
        });
        if matches {
            for _ in words.split(' ') {
                self.parser.next_token();
            }
        }
        matches
    }

    fn refuse<T>(&self) -> Read<T> {
        self.parser.expected("something else", self.parser.peek_nth_token(0))
    }

    fn expect(&mut self, words: &str) -> Read<()> {
        if self.words(words) { Ok(()) } else { self.refuse() }
    }

    fn is_at_end(&self) -> bool {
        matches!(self.parser.peek_nth_token_ref(0).token, Token::EOF | Token::SemiColon)
    }

    /// All that is left says nothing that matters here.
    fn rest(&mut self, tag: &'static str) -> Read<Own> {
        while !self.is_at_end() {
            self.parser.next_token();
        }
        Ok(Own::Accepted(tag))
    }

    fn name(&mut self) -> Read<ast::ObjectName> {
        self.parser.parse_object_name(false)
    }

    fn ident(&mut self) -> Read<ast::Ident> {
        self.parser.parse_identifier()
    }

    /// A name of one part, as databases and schemas have.
    fn simple_name(&mut self) -> Read<ast::ObjectName> {
        Ok(ast::ObjectName::from(vec![self.ident()?]))
    }

    fn integer(&mut self) -> Read<i64> {
        let sign = if self.parser.consume_token(&Token::Minus) { "-" } else { "" };
        let _ = self.parser.consume_token(&Token::Plus);
        match self.parser.peek_nth_token_ref(0).token.clone() {
            Token::Number(digits, _) => match format!("{sign}{digits}").parse() {
                Ok(number) => {
                    self.parser.next_token();
                    Ok(number)
                }
                Err(_) => self.refuse(),
            },
            _ => self.refuse(),
        }
    }

    fn string(&mut self) -> Read<String> {
        self.parser.parse_literal_string()
    }

    /// Names between parentheses, if there are any.
    fn name_list(&mut self) -> Read<Vec<ast::Ident>> {
        if !self.parser.consume_token(&Token::LParen) {
            return Ok(Vec::new());
        }
        let names = self.parser.parse_comma_separated(Parser::parse_identifier)?;
        self.parser.expect_token(&Token::RParen)?;
        Ok(names)
    }

    fn create_sequence(&mut self, temporary: bool) -> Read<Own> {
        let if_not_exists = self.words("if not exists");
        Ok(Own::CreateSequence { name: self.name()?, if_not_exists, temporary, options: self.sequence_options()? })
    }

    fn sequence_options(&mut self) -> Read<Vec<SequenceOption>> {
        let mut options = Vec::new();
        while let Some(option) = self.sequence_option()? {
            options.push(option);
        }
        Ok(options)
    }

    fn sequence_option(&mut self) -> Read<Option<SequenceOption>> {
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
            () if self.words("sequence name") => {
                self.name()?;
                Option_::Name
            }
            () if self.words("restart") => {
                let has_value = self.words("with")
                    || matches!(self.parser.peek_nth_token_ref(0).token, Token::Number(..) | Token::Minus);
                Option_::Restart(if has_value { Some(self.integer()?) } else { None })
            }
            () => return Ok(None),
        };
        Ok(Some(option))
    }

    fn alter_sequence(&mut self) -> Read<Own> {
        let if_exists = self.words("if exists");
        let name = self.name()?;
        if let Some(change) = self.change()? {
            return Ok(Own::Alter { kind: Kind::Sequence, name, if_exists, change });
        }
        let options = self.sequence_options()?;
        if options.is_empty() { self.refuse() } else { Ok(Own::AlterSequence { name, if_exists, options }) }
    }

    /// RENAME TO, SET SCHEMA, OWNER TO, if one of them is next.
    fn change(&mut self) -> Read<Option<Change>> {
        Ok(Some(match () {
            () if self.words("rename to") => Change::Rename(self.ident()?),
            () if self.words("set schema") => Change::Schema(self.ident()?),
            () if self.words("owner to") => Change::Owner(self.ident()?),
            () => return Ok(None),
        }))
    }

    fn alter(&mut self, kind: Kind) -> Read<Own> {
        let if_exists = self.words("if exists");
        let name = match kind {
            Kind::Schema | Kind::Database => self.simple_name()?,
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

    fn alter_table(&mut self) -> Read<Own> {
        let if_exists = self.words("if exists");
        self.words("only");
        let name = self.name()?;
        let _ = self.parser.consume_token(&Token::Mul);
        let mut actions = Vec::new();
        loop {
            actions.push(self.table_action()?);
            if !self.parser.consume_token(&Token::Comma) {
                return Ok(Own::AlterTable { name, if_exists, actions });
            }
        }
    }

    fn table_action(&mut self) -> Read<TableAction> {
        if self.words("set schema") {
            return Ok(TableAction::SetSchema(self.ident()?));
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

    fn create_database(&mut self) -> Read<Own> {
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

    fn create_role(&mut self, login: bool) -> Read<Own> {
        Ok(Own::CreateRole { name: self.ident()?, options: self.role_options()?, login })
    }

    fn alter_role(&mut self) -> Read<Own> {
        let name = self.ident()?;
        if self.words("rename to") || self.words("set") || self.words("reset") || self.words("in database") {
            return self.parser.expected("role options", self.parser.peek_nth_token(0));
        }
        Ok(Own::AlterRole { name, options: self.role_options()? })
    }

    fn role_options(&mut self) -> Read<Vec<RoleOption>> {
        self.words("with");
        let mut options = Vec::new();
        while !self.is_at_end() {
            options.push(self.role_option()?);
        }
        Ok(options)
    }

    fn role_option(&mut self) -> Read<RoleOption> {
        Ok(match () {
            () if self.words("superuser") => RoleOption::Superuser(true),
            () if self.words("nosuperuser") => RoleOption::Superuser(false),
            () if self.words("login") => RoleOption::Login(true),
            () if self.words("nologin") => RoleOption::Login(false),
            () if self.words("createdb") => RoleOption::CreateDb(true),
            () if self.words("nocreatedb") => RoleOption::CreateDb(false),
            () if self.words("createrole") => RoleOption::CreateRole(true),
            () if self.words("nocreaterole") => RoleOption::CreateRole(false),
            () if ["inherit", "noinherit", "replication", "noreplication", "bypassrls", "nobypassrls"]
                .iter()
                .any(|word| self.words(word)) =>
            {
                RoleOption::Other
            }
            () if self.words("encrypted password") || self.words("password") => {
                if !self.words("null") {
                    self.string()?;
                }
                RoleOption::Other
            }
            () if self.words("valid until") => {
                self.string()?;
                RoleOption::Other
            }
            () if self.words("connection limit") => {
                self.integer()?;
                RoleOption::Other
            }
            () => return self.refuse(),
        })
    }

    fn comment(&mut self) -> Read<Own> {
        let kind = match () {
            () if self.words("table") => Kind::Table,
            () if self.words("column") => Kind::Column,
            () if self.words("view") || self.words("materialized view") => Kind::View,
            () if self.words("sequence") => Kind::Sequence,
            () if self.words("index") => Kind::Index,
            () if self.words("schema") => Kind::Schema,
            () if self.words("database") => Kind::Database,
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

    /// GRANT privileges ON objects TO roles, or GRANT roles TO roles.
    fn grant(&mut self, tag: &'static str, role_tag: &'static str, towards: &str) -> Read<Own> {
        let mut roles = Vec::new();
        loop {
            roles.push(self.ident()?);
            // ALL PRIVILEGES, and the columns of a privilege.
            self.words("privileges");
            self.name_list()?;
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        let mut tables = Vec::new();
        let is_role = !self.words("on");
        if !is_role {
            roles.clear();
            let others = [
                "all tables in schema", "all sequences in schema", "all functions in schema", "schema", "database",
                "function", "procedure", "routine", "type", "domain", "language", "tablespace",
                "foreign data wrapper", "foreign server", "all routines in schema", "all procedures in schema",
                "large object", "parameter",
            ];
            let is_other = others.iter().any(|words| self.words(words));
            if !is_other {
                let _ = self.words("table") || self.words("sequence");
            }
            let names = self.parser.parse_comma_separated(|parser| {
                let name = parser.parse_object_name(false)?;
                // The arguments of a function.
                if parser.consume_token(&Token::LParen) {
                    while !parser.consume_token(&Token::RParen) {
                        if parser.next_token().token == Token::EOF {
                            return parser.expected(")", parser.peek_nth_token(0));
                        }
                    }
                }
                Ok(name)
            })?;
            if !is_other {
                tables = names;
            }
        }
        self.expect(towards)?;
        self.words("group");
        roles.extend(self.parser.parse_comma_separated(Parser::parse_identifier)?);
        let _ = self.words("with grant option") || self.words("with admin option");
        let _ = self.words("cascade") || self.words("restrict");
        if self.words("granted by") {
            roles.push(self.ident()?);
        }
        Ok(Own::Grant { tag: if is_role { role_tag } else { tag }, tables, roles })
    }

    fn lock(&mut self) -> Read<Own> {
        self.words("table");
        self.words("only");
        let names = self.parser.parse_comma_separated(|parser| parser.parse_object_name(false))?;
        if self.words("in") {
            let modes = [
                "access share", "row share", "row exclusive", "share row exclusive", "share update exclusive", "share",
                "access exclusive", "exclusive",
            ];
            if !modes.iter().any(|mode| self.words(mode)) {
                return self.refuse();
            }
            self.expect("mode")?;
        }
        self.words("nowait");
        Ok(Own::LockTable { names })
    }

    fn copy(&mut self) -> Read<Own> {
        let mut options = Vec::new();
        if self.words("binary") {
            options.push(("format".to_owned(), CopyValue::Text("binary".to_owned())));
        }
        let source = if self.parser.consume_token(&Token::LParen) {
            let query = self.parser.parse_query()?;
            self.parser.expect_token(&Token::RParen)?;
            CopySource::Query(query)
        } else {
            CopySource::Table { name: self.name()?, columns: self.name_list()? }
        };
        let to = self.words("to");
        if !to {
            self.expect("from")?;
        }
        let on_server = !(self.words("stdin") || self.words("stdout"));
        if on_server {
            self.words("program");
            self.string()?;
        }
        self.words("with");
        if self.parser.consume_token(&Token::LParen) {
            loop {
                let name = self.ident()?.value.to_lowercase();
                options.push((name, self.copy_value()?));
                if !self.parser.consume_token(&Token::Comma) {
                    break;
                }
            }
            self.parser.expect_token(&Token::RParen)?;
        } else {
            while let Some(option) = self.legacy_copy_option()? {
                options.push(option);
            }
        }
        let filter = if !to && self.words("where") { Some(self.parser.parse_expr()?) } else { None };
        Ok(Own::Copy(Box::new(Copy { source, to, on_server, options, filter })))
    }

    fn copy_value(&mut self) -> Read<CopyValue> {
        Ok(match self.parser.peek_nth_token_ref(0).token.clone() {
            Token::Comma | Token::RParen => CopyValue::None,
            Token::Mul => {
                self.parser.next_token();
                CopyValue::All
            }
            Token::LParen => CopyValue::Names(self.name_list()?),
            Token::Word(word) => {
                self.parser.next_token();
                CopyValue::Text(word.value)
            }
            Token::Number(number, _) => {
                self.parser.next_token();
                CopyValue::Text(number)
            }
            _ => CopyValue::Text(self.string()?),
        })
    }

    /// The options as they were written before PostgreSQL 9.
    fn legacy_copy_option(&mut self) -> Read<Option<(String, CopyValue)>> {
        let text = |name: &str, value: String| Ok(Some((name.to_owned(), CopyValue::Text(value))));
        for format in ["binary", "csv"] {
            if self.words(format) {
                return text("format", format.to_owned());
            }
        }
        for switch in ["freeze", "header"] {
            if self.words(switch) {
                return Ok(Some((switch.to_owned(), CopyValue::None)));
            }
        }
        self.words("using");
        for (word, option) in [
            ("delimiters", "delimiter"), ("delimiter", "delimiter"), ("null", "null"), ("quote", "quote"),
            ("escape", "escape"), ("encoding", "encoding"),
        ] {
            if self.words(word) {
                self.words("as");
                let value = self.string()?;
                return text(option, value);
            }
        }
        for (words, option) in [
            ("force quote", "force_quote"), ("force not null", "force_not_null"), ("force null", "force_null"),
        ] {
            if self.words(words) {
                if self.parser.consume_token(&Token::Mul) {
                    return Ok(Some((option.to_owned(), CopyValue::All)));
                }
                let names = self.parser.parse_comma_separated(Parser::parse_identifier)?;
                return Ok(Some((option.to_owned(), CopyValue::Names(names))));
            }
        }
        Ok(None)
    }
}

/// The order in which the parser reads an identity column's options.
const OPTION_ORDER: [Keyword; 5] =
    [Keyword::INCREMENT, Keyword::MINVALUE, Keyword::MAXVALUE, Keyword::START, Keyword::CACHE];

/// Puts the options of `AS IDENTITY (…)` into the order in which the parser reads them. The tokens are significant ones.
pub(super) fn order_identity_options(tokens: &mut Vec<sqlparser::tokenizer::TokenWithSpan>) {
    let word = |token: &sqlparser::tokenizer::TokenWithSpan| match &token.token {
        Token::Word(word) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    };
    let mut at = 0;
    while at < tokens.len() {
        let is_option = word(&tokens[at]) == Keyword::IDENTITY && at > 0 && word(&tokens[at - 1]) == Keyword::AS;
        if !is_option {
            at += 1;
            continue;
        }
        at += 1;
        let open = at;
        if tokens.get(open).is_none_or(|token| token.token != Token::LParen) {
            continue;
        }
        let Some(close) = (open..tokens.len()).find(|next| tokens[*next].token == Token::RParen) else { return };
        let mut options: Vec<(usize, Vec<sqlparser::tokenizer::TokenWithSpan>)> = Vec::new();
        let mut has_no = None;
        for token in &tokens[open + 1..close] {
            let keyword = word(token);
            let place = OPTION_ORDER.iter().position(|known| *known == keyword);
            let place = place.or((keyword == Keyword::CYCLE).then_some(OPTION_ORDER.len()));
            if keyword == Keyword::NO {
                has_no = Some(token.clone());
            } else if let Some(place) = place {
                options.push((place, has_no.take().into_iter().chain([token.clone()]).collect()));
            } else if let Some((_, option)) = options.last_mut() {
                option.push(token.clone());
            } else {
                // Something else stands here; the parser says what it thinks of it.
                return;
            }
        }
        options.sort_by_key(|(place, _)| *place);
        let ordered: Vec<_> = options.into_iter().flat_map(|(_, tokens)| tokens).collect();
        let length = ordered.len();
        tokens.splice(open + 1..close, ordered);
        at = open + length + 2;
    }
}
