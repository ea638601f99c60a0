//! CREATE, ALTER and DROP POLICY, COMMENT ON one, and ALTER TABLE … ROW LEVEL SECURITY.

use catalog::PolicyCommand;
use sqlparser::ast;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::Own;
use super::reader::{Read, Reader};

/// What stands after the table of a policy.
#[derive(Clone, Debug)]
pub(crate) struct CreatePolicy {
    pub name: ast::Ident,
    pub table: ast::ObjectName,
    /// AS: the word, which should be one of two.
    pub kind: Option<ast::Ident>,
    pub command: PolicyCommand,
    /// Empty: not said.
    pub roles: Vec<ast::Ident>,
    pub using: Option<ast::Expr>,
    pub check: Option<ast::Expr>,
}

#[derive(Clone, Debug)]
pub(crate) enum PolicyChange {
    Rename(ast::Ident),
    Alter { roles: Vec<ast::Ident>, using: Option<ast::Expr>, check: Option<ast::Expr> },
}

/// ENABLE, DISABLE, FORCE and NO FORCE ROW LEVEL SECURITY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowSecurityText {
    Enable,
    Disable,
    Force,
    NoForce,
}

type Conditions = (Option<ast::Expr>, Option<ast::Expr>);

impl Reader<'_, '_> {
    pub(super) fn create_policy(&mut self) -> Read<Own> {
        let name = self.ident()?;
        self.expect("on")?;
        let table = self.name()?;
        let kind = if self.words("as") { Some(self.ident()?) } else { None };
        let command = match self.words("for") {
            false => PolicyCommand::All,
            true => match () {
                () if self.words("all") => PolicyCommand::All,
                () if self.words("select") => PolicyCommand::Select,
                () if self.words("insert") => PolicyCommand::Insert,
                () if self.words("update") => PolicyCommand::Update,
                () if self.words("delete") => PolicyCommand::Delete,
                () => return self.refuse(),
            },
        };
        let roles = self.policy_roles()?;
        let (using, check) = self.policy_conditions()?;
        Ok(Own::CreatePolicy(Box::new(CreatePolicy { name, table, kind, command, roles, using, check })))
    }

    fn policy_roles(&mut self) -> Read<Vec<ast::Ident>> {
        if !self.words("to") {
            return Ok(Vec::new());
        }
        self.parser.parse_comma_separated(Parser::parse_identifier)
    }

    fn policy_conditions(&mut self) -> Read<Conditions> {
        let using = if self.words("using") { Some(self.parenthesized()?) } else { None };
        let check = if self.words("with check") { Some(self.parenthesized()?) } else { None };
        Ok((using, check))
    }

    fn parenthesized(&mut self) -> Read<ast::Expr> {
        self.parser.expect_token(&Token::LParen)?;
        let expr = self.parser.parse_expr()?;
        self.parser.expect_token(&Token::RParen)?;
        Ok(expr)
    }

    pub(super) fn alter_policy(&mut self) -> Read<Own> {
        let if_exists = self.words("if exists");
        let name = self.ident()?;
        self.expect("on")?;
        let table = self.name()?;
        if self.words("rename to") {
            let change = PolicyChange::Rename(self.ident()?);
            return Ok(Own::AlterPolicy { name, table, if_exists, change });
        }
        if if_exists {
            return self.refuse();
        }
        let roles = self.policy_roles()?;
        let (using, check) = self.policy_conditions()?;
        Ok(Own::AlterPolicy { name, table, if_exists, change: PolicyChange::Alter { roles, using, check } })
    }

    pub(super) fn drop_policy(&mut self) -> Read<Own> {
        let if_exists = self.words("if exists");
        let name = self.ident()?;
        self.expect("on")?;
        let table = self.name()?;
        // Nothing depends on a policy.
        if !self.words("cascade") {
            self.words("restrict");
        }
        Ok(Own::DropPolicy { name, table, if_exists })
    }

    /// An action of ALTER TABLE, if it is next.
    pub(super) fn row_security(&mut self) -> Option<RowSecurityText> {
        Some(match () {
            () if self.words("enable row level security") => RowSecurityText::Enable,
            () if self.words("disable row level security") => RowSecurityText::Disable,
            () if self.words("force row level security") => RowSecurityText::Force,
            () if self.words("no force row level security") => RowSecurityText::NoForce,
            () => return None,
        })
    }
}
