//! Roles: CREATE and ALTER ROLE.

use auth::Secret;
use sqlparser::ast;
use sqlparser::tokenizer::Token;

use super::Own;
use super::grant::GrantRoles;
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
    Inherit(bool),
    /// BYPASSRLS.
    BypassRowSecurity(bool),
    /// IN ROLE: roles that the new one becomes a member of.
    InRole(Vec<ast::Ident>),
    /// ROLE and USER: members of the new one.
    Members(Vec<ast::Ident>),
    /// ADMIN: members that may grant it.
    Admins(Vec<ast::Ident>),
    Replication(bool),
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
            () if self.words("inherit") => RoleOption::Inherit(true),
            () if self.words("noinherit") => RoleOption::Inherit(false),
            () if self.words("in role") || self.words("in group") => RoleOption::InRole(self.idents()?),
            () if self.words("role") || self.words("user") => RoleOption::Members(self.idents()?),
            () if self.words("admin") => RoleOption::Admins(self.idents()?),
            () if self.words("replication") => RoleOption::Replication(true),
            () if self.words("noreplication") => RoleOption::Replication(false),
            () if self.words("bypassrls") => RoleOption::BypassRowSecurity(true),
            () if self.words("nobypassrls") => RoleOption::BypassRowSecurity(false),
            () if self.words("encrypted password") || self.words("password") => {
                let is_null = self.words("null");
                RoleOption::Password(if is_null { None } else { Some(Secret::new(self.string()?)) })
            }
            () if self.words("valid until") => RoleOption::ValidUntil(self.string()?),
            () if self.words("connection limit") => RoleOption::ConnectionLimit(self.integer()?),
            () => return self.refuse(),
        })
    }

    pub(super) fn alter_group(&mut self) -> Read<Own> {
        let name = self.ident()?;
        let is_grant = match () {
            () if self.words("add user") => true,
            () if self.words("drop user") => false,
            () => {
                self.expect("rename to")?;
                return Ok(Own::RenameRole { name, to: self.ident()? });
            }
        };
        let members = self.idents()?;
        Ok(Own::AlterGroup(Box::new(GrantRoles { is_grant, admin: false, roles: vec![name], members, granted_by: None })))
    }

    pub(super) fn drop_group(&mut self) -> Read<Own> {
        let if_exists = self.words("if exists");
        Ok(Own::DropGroup { names: self.idents()?, if_exists })
    }

    /// SET SESSION AUTHORIZATION with a scope before it.
    pub(super) fn authorization(&mut self, local: bool) -> Read<Own> {
        if self.words("default") {
            return Ok(Own::SetAuthorization { user: None, local });
        }
        let user = match &self.parser.peek_nth_token_ref(0).token {
            Token::Word(_) => {
                let name = self.ident()?;
                if name.quote_style.is_some() { name.value } else { name.value.to_lowercase() }
            }
            _ => self.string()?,
        };
        Ok(Own::SetAuthorization { user: Some(user), local })
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
}
