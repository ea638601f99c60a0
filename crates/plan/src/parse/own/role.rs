//! Roles: CREATE and ALTER ROLE, GRANT and REVOKE.

use auth::Secret;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::Own;
use super::reader::{Read, Reader};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RoleOption {
    Superuser(bool),
    Login(bool),
    CreateDb(bool),
    CreateRole(bool),
    Password(Option<Secret>),
    ValidUntil(String),
    ConnectionLimit(i64),
    /// Those that change nothing here.
    Other,
}

impl Reader<'_, '_> {
    pub(super) fn create_role(&mut self, login: bool) -> Read<Own> {
        Ok(Own::CreateRole { name: self.ident()?, options: self.role_options()?, login })
    }

    pub(super) fn alter_role(&mut self) -> Read<Own> {
        let name = self.ident()?;
        if self.words("rename to") {
            return Ok(Own::RenameRole { name, to: self.ident()? });
        }
        if self.words("set") || self.words("reset") || self.words("in database") {
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
                let is_null = self.words("null");
                RoleOption::Password(if is_null { None } else { Some(Secret::new(self.string()?)) })
            }
            () if self.words("valid until") => RoleOption::ValidUntil(self.string()?),
            () if self.words("connection limit") => RoleOption::ConnectionLimit(self.integer()?),
            () => return self.refuse(),
        })
    }

    /// SET CLUSTER SETTING and RESET CLUSTER SETTING.
    pub(super) fn cluster_setting(&mut self, is_reset: bool) -> Read<Own> {
        let name = self.name()?;
        if is_reset {
            return Ok(Own::SetCluster { name, value: None });
        }
        if !self.words("to") {
            self.parser.expect_token(&Token::Eq)?;
        }
        let is_default = self.words("default");
        Ok(Own::SetCluster { name, value: if is_default { None } else { Some(self.string()?) } })
    }

    /// GRANT privileges ON objects TO roles, or GRANT roles TO roles.
    pub(super) fn grant(&mut self, tag: &'static str, role_tag: &'static str, towards: &str) -> Read<Own> {
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
}
