//! Row security of tables: whether policies are in force, for whom, and which rows they say may be seen and written.
//!
//! A policy's expressions are kept as text with what their names meant, as the queries of views are (*names-by-id*): they
//! may hold subqueries, and no rename changes them. Bytes are fields with tags ([`crate::tagged`]), behind those of the
//! table.
//!
//! **Invariant (decided-now):** whether a role is subject to policies, and to which of them, follows from what is granted
//! now ([`Access::row_security`]): its memberships, its attributes and the owner of the table. A plan carries the answer
//! that it was made for.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::descriptor::Table;
use crate::literals::LiteralSettings;
use crate::privilege::Access;
use crate::stored_view::NamedRelation;
use crate::tagged::{Malformed, Reader, Writer};

/// What a policy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyCommand {
    All,
    Select,
    Insert,
    Update,
    Delete,
}

impl PolicyCommand {
    const ALL: [Self; 5] = [Self::All, Self::Select, Self::Insert, Self::Update, Self::Delete];

    /// As `polcmd` has it.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::All => '*',
            Self::Select => 'r',
            Self::Insert => 'a',
            Self::Update => 'w',
            Self::Delete => 'd',
        }
    }

    /// As `pg_policies` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "ALL",
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// USING or WITH CHECK.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyExpr {
    /// SQL text of a condition over the table's columns.
    pub text: String,
    /// The search path that it was written under.
    pub path: Vec<String>,
    /// What its names meant; the table itself comes first.
    pub names: Vec<NamedRelation>,
    /// Ids of the relations, routines and types in it, save the table itself.
    pub depends_on: Vec<u32>,
    /// It may lead to the table again.
    pub has_subquery: bool,
    /// How its literals are read; as the reader has it where that was not kept.
    pub literals: Option<LiteralSettings>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub oid: u32,
    pub name: String,
    pub command: PolicyCommand,
    /// A row must pass one of the permissive policies, and all of the others.
    pub permissive: bool,
    /// Ids; empty for everybody.
    pub roles: Vec<u32>,
    pub using: Option<PolicyExpr>,
    pub check: Option<PolicyExpr>,
}

impl Policy {
    /// Whether it has a say in a command.
    #[must_use]
    pub fn is_for(&self, command: PolicyCommand) -> bool {
        self.command == PolicyCommand::All || self.command == command
    }

    pub fn exprs(&self) -> impl Iterator<Item = &PolicyExpr> {
        self.using.iter().chain(&self.check)
    }

    pub fn exprs_mut(&mut self) -> impl Iterator<Item = &mut PolicyExpr> {
        self.using.iter_mut().chain(&mut self.check)
    }

    /// Whether it names an object beside its table.
    #[must_use]
    pub fn depends_on(&self, id: u32) -> bool {
        self.exprs().any(|expr| expr.depends_on.contains(&id))
    }
}

/// What a table has of row security.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowSecurity {
    pub enabled: bool,
    /// The owner is subject to it as well.
    pub forced: bool,
    /// By name.
    pub policies: Vec<Policy>,
}

/// Whether a role is subject to the policies of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowSecurityState {
    /// There is none.
    Off,
    /// There is, but not for this role.
    Exempt,
    /// It is; the oids of the policies that are for it.
    Subject { policies: Vec<u32>, is_owner: bool },
}

impl RowSecurityState {
    #[must_use]
    pub const fn is_subject(&self) -> bool {
        matches!(self, Self::Subject { .. })
    }
}

impl Access<'_> {
    /// *decided-now*. The setting `row_security` has no say in it.
    #[must_use]
    pub fn row_security(&self, role: u32, table: &Table) -> RowSecurityState {
        let Some(security) = table.security.as_deref().filter(|security| security.enabled) else {
            return RowSecurityState::Off;
        };
        if self.bypasses_row_security(role) {
            return RowSecurityState::Exempt;
        }
        let is_owner = self.has_role(role, table.owner);
        if is_owner && !security.forced {
            return RowSecurityState::Exempt;
        }
        let is_for = |policy: &&Policy| policy.roles.is_empty() || policy.roles.iter().any(|of| self.has_role(role, *of));
        let policies = security.policies.iter().filter(is_for).map(|policy| policy.oid).collect();
        RowSecurityState::Subject { policies, is_owner }
    }

    /// Superusers do, and who has BYPASSRLS.
    #[must_use]
    pub fn bypasses_row_security(&self, role: u32) -> bool {
        self.is_superuser(role) || self.privileges.bypasses_row_security(role)
    }
}

impl Table {
    #[must_use]
    pub fn policies(&self) -> &[Policy] {
        self.security.as_deref().map_or(&[], |security| &security.policies)
    }

    #[must_use]
    pub fn policy_named(&self, name: &str) -> Option<&Policy> {
        self.policies().iter().find(|policy| policy.name == name)
    }

    /// Row security is in force for those that it is for.
    #[must_use]
    pub fn has_row_security(&self) -> bool {
        self.security.as_deref().is_some_and(|security| security.enabled)
    }

    /// To be changed.
    pub fn security_mut(&mut self) -> &mut RowSecurity {
        std::sync::Arc::make_mut(self.security.get_or_insert_default())
    }
}

fn text(tag: u64, bytes: &[u8]) -> Result<String, Malformed> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed::Bad(tag))
}

fn id(tag: u64, bytes: &[u8]) -> Result<u32, Malformed> {
    Ok(u32::from_be_bytes(bytes.try_into().map_err(|_| Malformed::Bad(tag))?))
}

impl PolicyExpr {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.text(2, &self.text);
        writer.list(4, self.path.iter().map(|name| name.clone().into_bytes()));
        writer.list(6, self.names.iter().map(NamedRelation::encode));
        writer.list(8, self.depends_on.iter().map(|id| id.to_be_bytes().to_vec()));
        writer.flag(10, self.has_subquery);
        if let Some(literals) = &self.literals {
            writer.bytes(12, &literals.encode());
        }
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let expr = Self {
            text: reader.text(2)?,
            path: reader.list(4)?.into_iter().map(|bytes| text(4, bytes)).collect::<Result<_, _>>()?,
            names: reader.list(6)?.into_iter().map(NamedRelation::decode).collect::<Result<_, _>>()?,
            depends_on: reader.list(8)?.into_iter().map(|bytes| id(8, bytes)).collect::<Result<_, _>>()?,
            has_subquery: reader.flag(10)?,
            literals: reader.bytes(12)?.map(LiteralSettings::decode).transpose()?,
        };
        reader.finish()?;
        Ok(expr)
    }
}

impl Policy {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(2, self.oid.into(), 0);
        writer.text(4, &self.name);
        writer.number(6, u32::from(self.command.letter()).into(), u32::from('*').into());
        writer.flag(8, !self.permissive);
        writer.list(10, self.roles.iter().map(|role| role.to_be_bytes().to_vec()));
        for (tag, expr) in [(12, &self.using), (14, &self.check)] {
            if let Some(expr) = expr {
                writer.bytes(tag, &expr.encode());
            }
        }
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let policy = Self {
            oid: reader.id(2)?,
            name: reader.text(4)?,
            command: {
                let letter = reader.number(6, u32::from('*').into())?;
                let is_meant = |command: &PolicyCommand| u64::from(u32::from(command.letter())) == letter;
                PolicyCommand::ALL.into_iter().find(is_meant).ok_or(Malformed::Bad(6))?
            },
            permissive: !reader.flag(8)?,
            roles: reader.list(10)?.into_iter().map(|bytes| id(10, bytes)).collect::<Result<_, _>>()?,
            using: reader.bytes(12)?.map(PolicyExpr::decode).transpose()?,
            check: reader.bytes(14)?.map(PolicyExpr::decode).transpose()?,
        };
        reader.finish()?;
        Ok(policy)
    }
}

impl RowSecurity {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.flag(2, self.enabled);
        writer.flag(4, self.forced);
        writer.list(6, self.policies.iter().map(Policy::encode));
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let security = Self {
            enabled: reader.flag(2)?,
            forced: reader.flag(4)?,
            policies: reader.list(6)?.into_iter().map(Policy::decode).collect::<Result<_, _>>()?,
        };
        reader.finish()?;
        Ok(security)
    }
}

impl Serialize for RowSecurity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.encode())
    }
}

impl<'de> Deserialize<'de> for RowSecurity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <Vec<u8>>::deserialize(deserializer)?;
        Self::decode(&bytes).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn security() -> RowSecurity {
        let named = NamedRelation { schema: None, name: "t".into(), id: 16_400, columns: vec![(1, "owner".into())] };
        let using = PolicyExpr {
            text: "owner = CURRENT_USER".into(),
            path: vec!["public".into()],
            names: vec![named],
            depends_on: vec![16_500],
            has_subquery: true,
            literals: Some(crate::literals::tests::sample()),
        };
        let first = Policy {
            oid: 16_420,
            name: "own".into(),
            command: PolicyCommand::Update,
            permissive: false,
            roles: vec![300, 301],
            using: Some(using),
            check: None,
        };
        let check = Some(PolicyExpr { text: "true".into(), ..PolicyExpr::default() });
        let second = Policy {
            oid: 16_421,
            name: "x".into(),
            command: PolicyCommand::All,
            permissive: true,
            roles: Vec::new(),
            using: None,
            check,
        };
        RowSecurity { enabled: true, forced: true, policies: vec![first, second] }
    }

    #[test]
    fn golden_bytes_of_row_security() {
        let bytes = security().encode();
        let shown: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(RowSecurity::decode(&bytes).unwrap(), security());
        assert_eq!(shown, include_str!("policy.golden").trim(), "bytes that are stored stay readable");
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let bytes = security().encode();
        for end in 0..bytes.len() {
            // An error, or fields that are whole.
            let _ = RowSecurity::decode(&bytes[..end]);
        }
    }
}
