//! Access control lists: who has which privileges from whom, and how GRANT and REVOKE change that.
//!
//! PostgreSQL's rules (chapter 5.7, GRANT, REVOKE): each item names a grantee and a grantor. Revoking a grant option takes
//! away, with CASCADE, what was granted on the strength of it, and so on along the chain; without it the revocation is
//! refused. Chains are walked by a list of what is left to do: they may be as long as there are roles.

use types::{SqlError, SqlState};

use super::{ObjectKind, PrivilegeSet};

/// The grantee that stands for everybody.
pub const PUBLIC: u32 = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclItem {
    /// [`PUBLIC`] or a role.
    pub grantee: u32,
    pub grantor: u32,
    pub privileges: PrivilegeSet,
    /// What the grantee may grant to others.
    pub options: PrivilegeSet,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl(pub Vec<AclItem>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Add,
    Remove,
}

/// What becomes of privileges that depend on a revoked grant option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behavior {
    Restrict,
    Cascade,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclError {
    Circular,
    Dependent,
}

impl From<AclError> for SqlError {
    fn from(error: AclError) -> Self {
        match error {
            AclError::Circular => Self::new(
                SqlState::InvalidGrantOperation,
                "grant options cannot be granted back to your own grantor",
            ),
            AclError::Dependent => {
                Self::new(SqlState::DependentObjectsStillExist, "dependent privileges exist")
                    .with_hint("Use CASCADE to revoke them too.")
            }
        }
    }
}

/// Whether a role has the privileges of another, by membership or because it is the same.
pub type HasRole<'a> = dyn Fn(u32, u32) -> bool + 'a;

impl Acl {
    /// What an object has as long as nothing was granted or revoked on it.
    #[must_use]
    pub fn initial(kind: ObjectKind, owner: u32) -> Self {
        let item = |grantee, privileges| AclItem { grantee, grantor: owner, privileges, options: PrivilegeSet::NONE };
        let mut items = Vec::new();
        if !kind.of_public().is_empty() {
            items.push(item(PUBLIC, kind.of_public()));
        }
        if kind != ObjectKind::Column {
            items.push(item(owner, kind.all()));
        }
        Self(items)
    }

    /// Which of `wanted` a role has.
    #[must_use]
    pub fn privileges_of(&self, role: u32, wanted: PrivilegeSet, has_role: &HasRole<'_>) -> PrivilegeSet {
        self.sum(role, wanted, has_role, |item| item.privileges)
    }

    /// Which of `wanted` a role may grant; the owner all.
    #[must_use]
    pub fn options_of(&self, role: u32, owner: u32, wanted: PrivilegeSet, has_role: &HasRole<'_>) -> PrivilegeSet {
        if has_role(role, owner) {
            return wanted;
        }
        self.sum(role, wanted, has_role, |item| item.options)
    }

    fn sum(
        &self,
        role: u32,
        wanted: PrivilegeSet,
        has_role: &HasRole<'_>,
        of: impl Fn(&AclItem) -> PrivilegeSet,
    ) -> PrivilegeSet {
        let mut found = PrivilegeSet::NONE;
        // Memberships are looked at only where they are needed.
        for item in self.0.iter().filter(|item| item.grantee == PUBLIC || item.grantee == role) {
            found = found.union(of(item).common(wanted));
        }
        for item in &self.0 {
            let new = of(item).common(wanted).without(found);
            if !new.is_empty() && item.grantee != PUBLIC && item.grantee != role && has_role(role, item.grantee) {
                found = found.union(new);
            }
        }
        found
    }

    /// Adds to a grantee's item or takes from it. What loses its ground by that goes as well, or forbids it.
    ///
    /// # Errors
    /// For options that would come back to who has granted them, and for privileges that depend on revoked ones.
    pub fn update(
        &mut self,
        item: AclItem,
        change: Change,
        owner: u32,
        behavior: Behavior,
        has_role: &HasRole<'_>,
    ) -> Result<(), AclError> {
        if change == Change::Add && !item.options.is_empty() {
            self.check_circular(&item, owner, has_role)?;
        }
        let mut left = vec![(item, change)];
        while let Some((item, change)) = left.pop() {
            let lost = self.apply(item, change);
            if lost.is_empty() || item.grantee == owner || item.grantee == PUBLIC {
                continue;
            }
            // It may have the option from another grantor still.
            let still = self.options_of(item.grantee, owner, lost, has_role);
            let lost = lost.without(still);
            if lost.is_empty() {
                continue;
            }
            for dependent in self.0.iter().filter(|it| it.grantor == item.grantee) {
                if dependent.privileges.common(lost).is_empty() {
                    continue;
                }
                if behavior == Behavior::Restrict {
                    return Err(AclError::Dependent);
                }
                left.push((AclItem { privileges: lost, options: lost, ..*dependent }, Change::Remove));
            }
        }
        Ok(())
    }

    /// Changes one item; the grant options that it has lost.
    fn apply(&mut self, change: AclItem, kind: Change) -> PrivilegeSet {
        let is_same = |it: &AclItem| it.grantee == change.grantee && it.grantor == change.grantor;
        let at = match self.0.iter().position(is_same) {
            Some(at) => at,
            None if kind == Change::Remove => return PrivilegeSet::NONE,
            None => {
                let none = PrivilegeSet::NONE;
                self.0.push(AclItem { privileges: none, options: none, ..change });
                self.0.len() - 1
            }
        };
        let item = &mut self.0[at];
        let before = item.options;
        match kind {
            Change::Add => {
                item.privileges = item.privileges.union(change.privileges);
                item.options = item.options.union(change.options);
            }
            Change::Remove => {
                item.privileges = item.privileges.without(change.privileges);
                item.options = item.options.without(change.options);
            }
        }
        let lost = before.without(item.options);
        if item.privileges.is_empty() && item.options.is_empty() {
            self.0.remove(at);
        }
        lost
    }

    /// Without the options of the grantee, the grantor must have them still.
    fn check_circular(&self, new: &AclItem, owner: u32, has_role: &HasRole<'_>) -> Result<(), AclError> {
        if new.grantor == owner {
            return Ok(());
        }
        let mut without = self.clone();
        while let Some(item) = without.0.iter().find(|it| it.grantee == new.grantee && !it.options.is_empty()) {
            let removed = AclItem { privileges: PrivilegeSet::NONE, ..*item };
            without.update(removed, Change::Remove, owner, Behavior::Cascade, has_role)?;
        }
        let own = without.options_of(new.grantor, owner, new.options, has_role);
        if own.has(new.options) { Ok(()) } else { Err(AclError::Circular) }
    }

    /// After the object has another owner: what the old one had and has granted is the new one's.
    #[must_use]
    pub fn with_owner(&self, old: u32, new: u32) -> Self {
        let renamed = |role| if role == old { new } else { role };
        let mut merged: Vec<AclItem> = Vec::with_capacity(self.0.len());
        for item in &self.0 {
            let item = AclItem { grantee: renamed(item.grantee), grantor: renamed(item.grantor), ..*item };
            match merged.iter_mut().find(|it| it.grantee == item.grantee && it.grantor == item.grantor) {
                Some(known) => {
                    known.privileges = known.privileges.union(item.privileges);
                    known.options = known.options.union(item.options);
                }
                None => merged.push(item),
            }
        }
        Self(merged)
    }

    /// The roles that it names.
    pub fn roles(&self) -> impl Iterator<Item = u32> {
        self.0.iter().flat_map(|item| [item.grantee, item.grantor]).filter(|role| *role != PUBLIC)
    }

    /// The items by who has them: as defaults are compared and kept.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.0.sort_by_key(|item| (item.grantee, item.grantor, item.privileges.bits(), item.options.bits()));
        self
    }

    /// Adds another list's items.
    pub fn merge(&mut self, other: &Self) {
        for item in &other.0 {
            self.apply(*item, Change::Add);
        }
    }

    /// As text, each item by itself: `grantee=privileges/grantor`.
    #[must_use]
    pub fn texts(&self, name: &dyn Fn(u32) -> String) -> Vec<String> {
        let text = |item: &AclItem| {
            let mut text = if item.grantee == PUBLIC { String::new() } else { name(item.grantee) };
            text.push('=');
            for (privilege, letter, _) in item.privileges.union(item.options).each() {
                if item.privileges.has(privilege) {
                    text.push(letter);
                }
                if item.options.has(privilege) {
                    text.push('*');
                }
            }
            text.push('/');
            text.push_str(&name(item.grantor));
            text
        };
        self.0.iter().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: u32 = 100_000;
    const SELECT: PrivilegeSet = PrivilegeSet::SELECT;

    fn same(role: u32, other: u32) -> bool {
        role == other
    }

    fn item(grantee: u32, grantor: u32, with_option: bool) -> AclItem {
        let options = if with_option { SELECT } else { PrivilegeSet::NONE };
        AclItem { grantee, grantor, privileges: SELECT, options }
    }

    fn grant(acl: &mut Acl, grantee: u32, grantor: u32, with_option: bool) -> Result<(), AclError> {
        acl.update(item(grantee, grantor, with_option), Change::Add, OWNER, Behavior::Restrict, &same)
    }

    fn revoke(acl: &mut Acl, grantee: u32, grantor: u32, behavior: Behavior) -> Result<(), AclError> {
        acl.update(item(grantee, grantor, true), Change::Remove, OWNER, behavior, &same)
    }

    #[test]
    fn a_revoked_option_takes_the_chain_with_it() {
        let mut acl = Acl::initial(ObjectKind::Table, OWNER);
        let before = acl.clone();
        for role in 1..2_000 {
            grant(&mut acl, role, if role == 1 { OWNER } else { role - 1 }, true).unwrap();
        }
        assert_eq!(revoke(&mut acl.clone(), 1, OWNER, Behavior::Restrict), Err(AclError::Dependent));
        revoke(&mut acl, 1, OWNER, Behavior::Cascade).unwrap();
        assert_eq!(acl, before);
    }

    #[test]
    fn an_option_from_two_grantors_outlives_one() {
        let mut acl = Acl::initial(ObjectKind::Table, OWNER);
        grant(&mut acl, 1, OWNER, true).unwrap();
        grant(&mut acl, 2, OWNER, true).unwrap();
        grant(&mut acl, 2, 1, true).unwrap();
        grant(&mut acl, 3, 2, false).unwrap();
        revoke(&mut acl, 2, OWNER, Behavior::Restrict).unwrap();
        assert_eq!(acl.privileges_of(3, SELECT, &same), SELECT);
        assert_eq!(revoke(&mut acl, 2, 1, Behavior::Restrict), Err(AclError::Dependent));
    }

    #[test]
    fn options_do_not_go_round() {
        let mut acl = Acl::initial(ObjectKind::Table, OWNER);
        grant(&mut acl, 1, OWNER, true).unwrap();
        grant(&mut acl, 2, 1, true).unwrap();
        assert_eq!(grant(&mut acl, 1, 2, true), Err(AclError::Circular));
        grant(&mut acl, 1, 2, false).unwrap();
    }

    #[test]
    fn a_new_owner_takes_over() {
        let mut acl = Acl::initial(ObjectKind::Table, OWNER);
        grant(&mut acl, 1, OWNER, false).unwrap();
        let name = |role: u32| format!("r{role}");
        assert_eq!(acl.texts(&name), ["r100000=arwdDxt/r100000", "r1=r/r100000"]);
        assert_eq!(acl.with_owner(OWNER, 1).texts(&name), ["r1=arwdDxt/r1"]);
        let public = Acl::initial(ObjectKind::Database, OWNER);
        assert_eq!(public.texts(&name), ["=Tc/r100000", "r100000=CTc/r100000"]);
        let mut with_option = Acl::default();
        grant(&mut with_option, 1, OWNER, true).unwrap();
        assert_eq!(with_option.texts(&name), ["r1=r*/r100000"]);
    }
}
