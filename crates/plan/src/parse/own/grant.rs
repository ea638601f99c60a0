//! GRANT and REVOKE, of privileges and of roles; ALTER DEFAULT PRIVILEGES; REASSIGN OWNED and DROP OWNED.

use sqlparser::ast;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use catalog::privilege::ObjectKind;

use super::Own;
use super::reader::{Read, Reader};
use super::routine::{RoutineName, RoutineWord};

/// Privileges as they are written, or roles.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub name: ast::Ident,
    pub columns: Vec<ast::Ident>,
}

#[derive(Clone, Debug)]
pub(crate) enum Privileged {
    /// Of these columns, or of the whole where there are none.
    All(Vec<ast::Ident>),
    These(Vec<Listed>),
}

/// What privileges are granted on.
#[derive(Clone, Debug)]
pub(crate) enum GrantOn {
    /// Tables, views, and without a word before them also sequences.
    Tables(Vec<ast::ObjectName>),
    Sequences(Vec<ast::ObjectName>),
    Schemas(Vec<ast::Ident>),
    Databases(Vec<ast::Ident>),
    Languages(Vec<ast::Ident>),
    Types(Vec<ast::ObjectName>),
    Domains(Vec<ast::ObjectName>),
    Routines { word: RoutineWord, names: Vec<RoutineName> },
    /// ALL … IN SCHEMA; `word`: which of the routines.
    AllIn { kind: ObjectKind, word: RoutineWord, schemas: Vec<ast::Ident> },
    /// What a role will make: ALTER DEFAULT PRIVILEGES.
    Future(ObjectKind),
    LargeObjects(Vec<u32>),
    Unsupported(&'static str),
}

#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub is_grant: bool,
    /// WITH GRANT OPTION, and REVOKE GRANT OPTION FOR.
    pub option: bool,
    pub privileges: Privileged,
    pub on: GrantOn,
    pub roles: Vec<ast::Ident>,
    pub granted_by: Option<ast::Ident>,
    pub cascade: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct GrantRoles {
    pub is_grant: bool,
    /// WITH ADMIN OPTION, and REVOKE ADMIN OPTION FOR.
    pub admin: bool,
    pub roles: Vec<ast::Ident>,
    pub members: Vec<ast::Ident>,
    pub granted_by: Option<ast::Ident>,
}

impl Reader<'_, '_> {
    pub(super) fn idents(&mut self) -> Read<Vec<ast::Ident>> {
        self.parser.parse_comma_separated(Parser::parse_identifier)
    }

    fn names(&mut self) -> Read<Vec<ast::ObjectName>> {
        self.parser.parse_comma_separated(|parser| parser.parse_object_name(false))
    }

    /// The roles of a statement, each perhaps behind GROUP.
    fn grantees(&mut self) -> Read<Vec<ast::Ident>> {
        let mut roles = Vec::new();
        loop {
            self.words("group");
            roles.push(self.ident()?);
            if !self.parser.consume_token(&Token::Comma) {
                return Ok(roles);
            }
        }
    }

    fn privileges(&mut self) -> Read<Privileged> {
        if self.words("all") {
            self.words("privileges");
            return Ok(Privileged::All(self.name_list()?));
        }
        let mut listed = Vec::new();
        loop {
            listed.push(Listed { name: self.ident()?, columns: self.name_list()? });
            if !self.parser.consume_token(&Token::Comma) {
                return Ok(Privileged::These(listed));
            }
        }
    }

    fn grant_on(&mut self) -> Read<GrantOn> {
        let all = [
            ("all tables in schema", ObjectKind::Table, RoutineWord::Routine),
            ("all sequences in schema", ObjectKind::Sequence, RoutineWord::Routine),
            ("all functions in schema", ObjectKind::Routine, RoutineWord::Function),
            ("all procedures in schema", ObjectKind::Routine, RoutineWord::Procedure),
            ("all routines in schema", ObjectKind::Routine, RoutineWord::Routine),
        ];
        for (words, kind, word) in all {
            if self.words(words) {
                return Ok(GrantOn::AllIn { kind, word, schemas: self.idents()? });
            }
        }
        if self.words("large object") {
            let mut oids = vec![self.oid()?];
            while self.parser.consume_token(&Token::Comma) {
                oids.push(self.oid()?);
            }
            return Ok(GrantOn::LargeObjects(oids));
        }
        let others = ["tablespace", "foreign data wrapper", "foreign server", "parameter"];
        if let Some(words) = others.into_iter().find(|words| self.words(words)) {
            loop {
                let token = self.parser.peek_nth_token_ref(0).token.clone();
                let is_end = matches!(&token, Token::Word(word) if word.value.eq_ignore_ascii_case("to") || word.value.eq_ignore_ascii_case("from"));
                if is_end || self.is_at_end() {
                    return Ok(GrantOn::Unsupported(words));
                }
                self.parser.next_token();
            }
        }
        Ok(match () {
            () if self.words("schema") => GrantOn::Schemas(self.idents()?),
            () if self.words("database") => GrantOn::Databases(self.idents()?),
            () if self.words("language") => GrantOn::Languages(self.idents()?),
            () if self.words("type") => GrantOn::Types(self.names()?),
            () if self.words("domain") => GrantOn::Domains(self.names()?),
            () if self.words("sequence") => GrantOn::Sequences(self.names()?),
            () => match self.routine_word() {
                Some(word) => {
                    let mut names = vec![self.routine_name()?];
                    while self.parser.consume_token(&Token::Comma) {
                        names.push(self.routine_name()?);
                    }
                    GrantOn::Routines { word, names }
                }
                None => {
                    self.words("table");
                    GrantOn::Tables(self.names()?)
                }
            },
        })
    }

    pub(super) fn grant(&mut self) -> Read<Own> {
        let privileges = self.privileges()?;
        if !self.words("on") {
            return self.grant_roles(privileges);
        }
        let on = self.grant_on()?;
        self.expect("to")?;
        let roles = self.grantees()?;
        let option = self.words("with grant option");
        let granted_by = self.granted_by()?;
        let grant = Grant { is_grant: true, option, privileges, on, roles, granted_by, cascade: false };
        Ok(Own::Grant(Box::new(grant)))
    }

    fn granted_by(&mut self) -> Read<Option<ast::Ident>> {
        if self.words("granted by") { Ok(Some(self.ident()?)) } else { Ok(None) }
    }

    /// Whether CASCADE is next; RESTRICT is passed over.
    fn cascade(&mut self) -> bool {
        let cascade = self.words("cascade");
        self.words("restrict");
        cascade
    }

    fn grant_roles(&mut self, listed: Privileged) -> Read<Own> {
        let roles = self.listed_roles(listed)?;
        self.expect("to")?;
        let members = self.grantees()?;
        let admin = self.words("with admin option");
        let granted_by = self.granted_by()?;
        Ok(Own::GrantRoles(Box::new(GrantRoles { is_grant: true, admin, roles, members, granted_by })))
    }

    fn listed_roles(&mut self, listed: Privileged) -> Read<Vec<ast::Ident>> {
        match listed {
            Privileged::These(listed) if listed.iter().all(|it| it.columns.is_empty()) => {
                Ok(listed.into_iter().map(|it| it.name).collect())
            }
            Privileged::These(_) | Privileged::All(_) => self.refuse(),
        }
    }

    pub(super) fn revoke(&mut self) -> Read<Own> {
        let option = self.words("grant option for");
        let admin = !option && self.words("admin option for");
        let privileges = self.privileges()?;
        if option || !admin && self.is_word("on") {
            self.expect("on")?;
            let on = self.grant_on()?;
            self.expect("from")?;
            let roles = self.grantees()?;
            let granted_by = self.granted_by()?;
            let cascade = self.cascade();
            let grant = Grant { is_grant: false, option, privileges, on, roles, granted_by, cascade };
            return Ok(Own::Grant(Box::new(grant)));
        }
        let roles = self.listed_roles(privileges)?;
        self.expect("from")?;
        let members = self.grantees()?;
        let granted_by = self.granted_by()?;
        self.cascade();
        Ok(Own::GrantRoles(Box::new(GrantRoles { is_grant: false, admin, roles, members, granted_by })))
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(&self.parser.peek_nth_token_ref(0).token, Token::Word(found)
            if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
    }

    pub(super) fn default_privileges(&mut self) -> Read<Own> {
        let (mut roles, mut schemas) = (Vec::new(), Vec::new());
        loop {
            if self.words("for role") || self.words("for user") {
                roles.extend(self.idents()?);
            } else if self.words("in schema") {
                schemas.extend(self.idents()?);
            } else {
                break;
            }
        }
        let is_grant = self.words("grant");
        if !is_grant {
            self.expect("revoke")?;
        }
        let revoked_option = !is_grant && self.words("grant option for");
        let privileges = self.privileges()?;
        self.expect("on")?;
        let kinds = [
            ("tables", ObjectKind::Table),
            ("sequences", ObjectKind::Sequence),
            ("functions", ObjectKind::Routine),
            ("routines", ObjectKind::Routine),
            ("types", ObjectKind::Type),
            ("schemas", ObjectKind::Schema),
        ];
        let Some((_, kind)) = kinds.into_iter().find(|(word, _)| self.words(word)) else { return self.refuse() };
        self.expect(if is_grant { "to" } else { "from" })?;
        let grantees = self.grantees()?;
        let option = if is_grant { self.words("with grant option") } else { revoked_option };
        let cascade = !is_grant && self.cascade();
        let on = GrantOn::Future(kind);
        let grant = Grant { is_grant, option, privileges, on, roles: grantees, granted_by: None, cascade };
        Ok(Own::DefaultPrivileges { roles, schemas, grant: Box::new(grant) })
    }

    pub(super) fn reassign_owned(&mut self) -> Read<Own> {
        let roles = self.idents()?;
        self.expect("to")?;
        Ok(Own::ReassignOwned { roles, to: self.ident()? })
    }

    pub(super) fn drop_owned(&mut self) -> Read<Own> {
        let roles = self.idents()?;
        Ok(Own::DropOwned { roles, cascade: self.cascade() })
    }
}
