//! GRANT and REVOKE, of privileges and of roles; ALTER DEFAULT PRIVILEGES; and what happens to grants when objects are made
//! or given to others.
//!
//! Who grants is chosen as PostgreSQL chooses (documentation, GRANT): for whoever has the owner's privileges it is the
//! owner, and otherwise the role, among those that one has the privileges of, with the most of the wanted grant options.

use catalog::Descriptor;
use catalog::privilege::acl::PUBLIC;
use catalog::privilege::{
    Access, Acl, AclItem, Behavior, Change, DefaultFor, Membership, Object, ObjectKind, PrivilegeRow, PrivilegeSet, denied,
};
use catalog::descriptor::DATABASE_OWNER_ROLE;
use plan::statement::{DefaultPrivileges, Grant, GrantRoles, GrantTarget};
use types::{SqlError, SqlResult, SqlState};

use super::DdlContext;

fn insufficient(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::InsufficientPrivilege, message)
}

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::InvalidGrantOperation, message)
}

fn role_name(access: &Access<'_>, role: u32) -> String {
    access.catalog.role_by_id(role).map_or_else(String::new, |role| role.name.clone())
}

/// Who grants, and which of the wanted privileges it may grant.
fn grantor(access: &Access<'_>, user: u32, acl: &Acl, owner: u32, wanted: PrivilegeSet) -> (u32, PrivilegeSet) {
    if access.has_role(user, owner) {
        return (owner, wanted);
    }
    let has_role = |role, of| access.has_role(role, of);
    let mut best = (user, PrivilegeSet::NONE);
    let grantees = acl.0.iter().map(|item| item.grantee).filter(|role| *role != PUBLIC && access.has_role(user, *role));
    for role in std::iter::once(user).chain(grantees) {
        let found = acl.options_of(role, owner, wanted, &has_role);
        if found == wanted {
            return (role, found);
        }
        if found.bits().count_ones() > best.1.bits().count_ones() {
            best = (role, found);
        }
    }
    best
}

/// Whether a role has anything at all on a list: who has nothing is refused, who has something is warned.
fn has_any(access: &Access<'_>, user: u32, acl: &Acl, owner: u32, kind: ObjectKind) -> bool {
    let has_role = |role, of| access.has_role(role, of);
    let privileges = acl.privileges_of(user, kind.all(), &has_role);
    !privileges.union(acl.options_of(user, owner, kind.all(), &has_role)).is_empty()
}

/// Before any lock is taken: whether the grant would be refused.
///
/// # Errors
/// 42501.
pub(super) fn authorize(grant: &Grant, access: &Access<'_>, user: u32) -> SqlResult<()> {
    for target in &grant.targets {
        let Some(object) = access.object(target.id) else { continue };
        let acl = access.acl(target.id, &object);
        if !target.privileges.is_empty() && !has_any(access, user, &acl, object.owner, object.kind) {
            let (_, options) = grantor(access, user, &acl, object.owner, target.privileges);
            if options.is_empty() {
                // Here alone without its schema.
                let of_type = access.catalog.user_type(target.id).map(|it| it.descriptor.name.as_str());
                return Err(denied(object.what, of_type.unwrap_or(&object.name)));
            }
        }
        for (column, name, _) in &target.columns {
            let of_column = column_acl(access, target.id, *column);
            let has_table = has_any(access, user, &acl, object.owner, ObjectKind::Column);
            if !has_table && !has_any(access, user, &of_column, object.owner, ObjectKind::Column) {
                let of = format!("\"{name}\" of relation \"{}\"", object.name);
                return Err(denied("column", &of));
            }
        }
    }
    Ok(())
}

fn column_acl(access: &Access<'_>, id: u32, column: u32) -> Acl {
    access.privileges.row(id).and_then(|row| row.column(column)).cloned().unwrap_or_default()
}

/// # Errors
/// 42501 for who may not grant these roles.
pub(super) fn authorize_roles(grant: &GrantRoles, access: &Access<'_>, user: u32) -> SqlResult<()> {
    for role in &grant.roles {
        if access.is_superuser(*role) {
            if !access.is_superuser(user) {
                return Err(insufficient("must be superuser to alter superusers"));
            }
            continue;
        }
        let may_create = access.catalog.role_by_id(user).is_some_and(|role| role.create_role);
        if !may_create && !access.is_admin(user, *role) {
            let name = role_name(access, *role);
            return Err(insufficient(format!("must have admin option on role \"{name}\"")));
        }
    }
    match grant.granted_by {
        Some(by) if by != user && !access.is_superuser(user) => Err(insufficient("must be superuser to set grantor")),
        Some(_) | None => Ok(()),
    }
}

/// One list to change.
struct Work<'a> {
    kind: ObjectKind,
    /// As warnings name it.
    shown: String,
    wanted: PrivilegeSet,
    is_all: bool,
    object: &'a Object,
}

impl DdlContext<'_> {
    pub(super) fn access(&self) -> Access<'_> {
        self.change.snapshot().access(self.database)
    }

    fn warn(&mut self, code: SqlState, text: String) {
        self.notices.push((code, text));
    }

    pub(super) fn privilege_row(&self, id: u32) -> PrivilegeRow {
        let privileges = self.change.snapshot().privileges();
        privileges.row(id).map_or_else(|| PrivilegeRow::new(id), |row| PrivilegeRow::clone(row))
    }

    /// Others learn that something about a role has changed.
    pub(super) fn touch_role(&mut self, role: u32) {
        let row = self.privilege_row(role);
        self.change.put_privileges(self.txn, row);
    }

    /// What is granted on a new object: what ALTER DEFAULT PRIVILEGES says of its kind.
    pub(super) fn grant_defaults(&mut self, id: u32, kind: ObjectKind, schema: u32, owner: u32) {
        let privileges = self.change.snapshot().privileges();
        if privileges.defaults().next().is_none() || self.change.snapshot().is_temporary(schema) && schema != 0 {
            return;
        }
        let find = |schema: u32| {
            let wanted = DefaultFor { database: self.database, role: owner, schema, kind };
            let found = privileges.defaults().find(|(default, _)| **default == wanted);
            found.and_then(|(_, row)| row.acl.clone())
        };
        let (everywhere, here) = (find(0), if schema == 0 { None } else { find(schema) });
        if everywhere.is_none() && here.is_none() {
            return;
        }
        let initial = Acl::initial(kind, owner);
        let mut acl = everywhere.unwrap_or_else(|| initial.clone());
        here.iter().for_each(|here| acl.merge(here));
        acl = acl.sorted();
        if acl != initial.sorted() {
            self.change.put_privileges(self.txn, PrivilegeRow { acl: Some(acl), ..PrivilegeRow::new(id) });
        }
    }

    /// An object has another owner: what the old one had on it, and has granted, is the new one's.
    pub(super) fn grants_to_owner(&mut self, id: u32, old: u32, new: u32) {
        let mut row = self.privilege_row(id);
        if old == new || row.acls().next().is_none() {
            return;
        }
        row.acl = row.acl.map(|acl| acl.with_owner(old, new));
        row.columns.iter_mut().for_each(|(_, acl)| *acl = acl.with_owner(old, new));
        self.change.put_privileges(self.txn, row);
    }
}

/// What a grant names of one list, changed; `None` where nothing is.
fn change_acl(grant: &Grant, work: &Work<'_>, acl: &Acl, base: &Acl, ctx: &mut DdlContext<'_>) -> SqlResult<Option<Acl>> {
    // Who may grant on the whole may grant on each column.
    let mut all = base.clone();
    all.merge(acl);
    let may_grant = if work.kind == ObjectKind::Column { &all } else { acl };
    let by = grantor(&ctx.access(), ctx.user, may_grant, work.object.owner, work.wanted);
    let mut warnings = Vec::new();
    let wanted = (work.wanted, work.is_all);
    let outcome = change_by(grant, wanted, &work.shown, (work.object.owner, acl), by, &ctx.access(), &mut warnings);
    ctx.notices.append(&mut warnings);
    outcome
}

/// As the change of an object's list, of one that is kept elsewhere.
///
/// # Errors
/// 0LP01 and 2BP01.
pub(crate) fn change_list(
    grant: &Grant,
    (wanted, is_all): (PrivilegeSet, bool),
    shown: &str,
    (owner, acl): (u32, &Acl),
    access: &Access<'_>,
    user: u32,
    warnings: &mut Vec<(SqlState, String)>,
) -> SqlResult<Option<Acl>> {
    if grant.granted_by.is_some_and(|by| by != user) {
        return Err(SqlError::not_supported("grantor must be current user"));
    }
    let by = grantor(access, user, acl, owner, wanted);
    change_by(grant, (wanted, is_all), shown, (owner, acl), by, access, warnings)
}

/// `by`: who grants, and what it may grant of that.
fn change_by(
    grant: &Grant,
    (wanted, is_all): (PrivilegeSet, bool),
    shown: &str,
    (owner, acl): (u32, &Acl),
    (by, options): (u32, PrivilegeSet),
    access: &Access<'_>,
    warnings: &mut Vec<(SqlState, String)>,
) -> SqlResult<Option<Acl>> {
    let privileges = wanted.common(options);
    if privileges.is_empty() && !wanted.is_empty() {
        warnings.push(match grant.is_grant {
            true => (SqlState::PrivilegeNotGranted, format!("no privileges were granted for {shown}")),
            false => (SqlState::PrivilegeNotRevoked, format!("no privileges could be revoked for {shown}")),
        });
        return Ok(None);
    }
    if !is_all && privileges != wanted {
        warnings.push(match grant.is_grant {
            true => (SqlState::PrivilegeNotGranted, format!("not all privileges were granted for {shown}")),
            false => (SqlState::PrivilegeNotRevoked, format!("not all privileges could be revoked for {shown}")),
        });
    }
    changed(acl, grant.is_grant, grant.option, &grant.grantees, privileges, (by, owner), grant.behavior, access).map(Some)
}

#[allow(clippy::too_many_arguments)]
fn changed(
    acl: &Acl,
    is_grant: bool,
    option: bool,
    grantees: &[u32],
    privileges: PrivilegeSet,
    (grantor, owner): (u32, u32),
    behavior: Behavior,
    access: &Access<'_>,
) -> SqlResult<Acl> {
    let mut changed = acl.clone();
    for grantee in grantees {
        if *grantee == PUBLIC && option && is_grant {
            return Err(invalid("grant options can only be granted to roles"));
        }
        let none = PrivilegeSet::NONE;
        let item = AclItem {
            grantee: *grantee,
            grantor,
            privileges: if is_grant || !option { privileges } else { none },
            options: if !is_grant || option { privileges } else { none },
        };
        let change = if is_grant { Change::Add } else { Change::Remove };
        changed.update(item, change, owner, behavior, &|role, of| access.has_role(role, of)).map_err(SqlError::from)?;
    }
    Ok(changed)
}

pub(super) fn grant(grant: &Grant, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    if grant.granted_by.is_some_and(|by| by != ctx.user) {
        return Err(SqlError::not_supported("grantor must be current user"));
    }
    authorize(grant, &ctx.access(), ctx.user)?;
    for warning in &grant.warnings {
        ctx.warn(SqlState::InvalidGrantOperation, warning.clone());
    }
    for target in &grant.targets {
        grant_on(grant, target, ctx)?;
    }
    Ok(())
}

fn grant_on(grant: &Grant, target: &GrantTarget, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let Some(object) = ctx.access().object(target.id) else { return Ok(()) };
    let before = ctx.privilege_row(target.id);
    let mut row = before.clone();
    let whole = ctx.access().acl(target.id, &object);
    if !target.privileges.is_empty() {
        let work = Work {
            kind: object.kind,
            shown: format!("\"{}\"", object.name),
            wanted: target.privileges,
            is_all: target.is_all,
            object: &object,
        };
        if let Some(acl) = change_acl(grant, &work, &whole, &whole, ctx)? {
            row.acl = Some(acl);
        }
    }
    let mut columns = target.columns.clone();
    // What is revoked from the whole is revoked from each column.
    let from_columns = target.privileges.common(ObjectKind::Column.all());
    if !grant.is_grant && object.kind == ObjectKind::Table && !from_columns.is_empty() {
        for (column, _) in &before.columns {
            match columns.iter_mut().find(|(known, ..)| known == column) {
                Some((_, _, privileges)) => *privileges = privileges.union(from_columns),
                None => columns.push((*column, String::new(), from_columns)),
            }
        }
    }
    for (column, name, wanted) in columns {
        let acl = row.column(column).cloned().unwrap_or_default();
        let work = Work {
            kind: ObjectKind::Column,
            shown: format!("column \"{name}\" of relation \"{}\"", object.name),
            wanted,
            is_all: target.is_all || name.is_empty(),
            object: &object,
        };
        // Columns that were not named are changed as far as one may, and in silence.
        let warnings = ctx.notices.len();
        let changed = change_acl(grant, &work, &acl, &whole, ctx)?;
        if name.is_empty() {
            ctx.notices.truncate(warnings);
        }
        if let Some(changed) = changed {
            row.set_column(column, changed);
        }
    }
    if row != before {
        ctx.change.put_privileges(ctx.txn, row);
    }
    Ok(())
}

pub(super) fn roles(grant: &GrantRoles, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    authorize_roles(grant, &ctx.access(), ctx.user)?;
    let by = grant.granted_by.unwrap_or(ctx.user);
    for role in &grant.roles {
        for member in &grant.members {
            match grant.is_grant {
                true => add_member(*role, *member, grant.admin, by, ctx)?,
                false => remove_member(*role, *member, grant.admin, ctx),
            }
        }
    }
    Ok(())
}

/// # Errors
/// 0LP01 where the roles would be members of each other.
pub(super) fn add_member(role: u32, member: u32, admin: bool, by: u32, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let access = ctx.access();
    let (role_name, member_name) = (role_name(&access, role), role_name(&access, member));
    if role == DATABASE_OWNER_ROLE {
        return Err(SqlError::internal(format!("role \"{role_name}\" cannot have explicit members")));
    }
    if member == DATABASE_OWNER_ROLE {
        return Err(SqlError::internal(format!("role \"{member_name}\" cannot be a member of any role")));
    }
    if access.is_plain_member(role, member) {
        return Err(invalid(format!("role \"{role_name}\" is a member of role \"{member_name}\"")));
    }
    let mut row = ctx.privilege_row(role);
    match row.members.iter_mut().find(|it| it.member == member) {
        Some(known) if known.admin || !admin => {
            ctx.notice(format!("role \"{member_name}\" is already a member of role \"{role_name}\""));
            return Ok(());
        }
        Some(known) => (known.admin, known.grantor) = (true, by),
        None => row.members.push(Membership { member, grantor: by, admin }),
    }
    ctx.change.put_privileges(ctx.txn, row);
    Ok(())
}

fn remove_member(role: u32, member: u32, only_admin: bool, ctx: &mut DdlContext<'_>) {
    let mut row = ctx.privilege_row(role);
    let Some(at) = row.members.iter().position(|it| it.member == member) else {
        let access = ctx.access();
        let text = format!(
            "role \"{}\" is not a member of role \"{}\"",
            role_name(&access, member),
            role_name(&access, role)
        );
        return ctx.warn(SqlState::Warning, text);
    };
    match only_admin {
        true => row.members[at].admin = false,
        false => drop(row.members.remove(at)),
    }
    ctx.change.put_privileges(ctx.txn, row);
}

pub(super) async fn defaults(defaults: &DefaultPrivileges, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let own = [ctx.user];
    let roles = if defaults.roles.is_empty() { &own[..] } else { &defaults.roles };
    let schemas = if defaults.schemas.is_empty() { &[0][..] } else { &defaults.schemas };
    for role in roles {
        for schema in schemas {
            let wanted = DefaultFor { database: ctx.database, role: *role, schema: *schema, kind: defaults.kind };
            let privileges = ctx.change.snapshot().privileges();
            let known = privileges.defaults().find(|(default, _)| **default == wanted).map(|(_, row)| PrivilegeRow::clone(row));
            // In one schema they add to what holds in all.
            let initial = if *schema == 0 { Acl::initial(defaults.kind, *role) } else { Acl::default() };
            let before = known.as_ref().and_then(|row| row.acl.clone()).unwrap_or_else(|| initial.clone());
            let (is_grant, option) = (defaults.is_grant, defaults.option);
            let after = changed(
                &before,
                is_grant,
                option,
                &defaults.grantees,
                defaults.privileges,
                (*role, *role),
                defaults.behavior,
                &ctx.access(),
            )?
            .sorted();
            let initial = initial.sorted();
            let id = match &known {
                Some(row) => row.id,
                None if after == initial => continue,
                None => ctx.new_ids(1).await?,
            };
            let row = match after == initial {
                true => PrivilegeRow::new(id),
                false => PrivilegeRow { acl: Some(after), default: Some(wanted), ..PrivilegeRow::new(id) },
            };
            ctx.change.put_privileges(ctx.txn, row);
        }
    }
    Ok(())
}

/// Gives an object to another role.
pub(super) fn give(id: u32, to: u32, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let Some(object) = ctx.access().object(id) else { return Ok(()) };
    let snapshot = ctx.change.snapshot().clone();
    if let Some(relation) = snapshot.relation_by_id(id) {
        return super::alter::give_relation(relation, to, ctx);
    }
    let descriptor = if let Some(it) = snapshot.schema_by_id(id) {
        Descriptor::Schema(catalog::Schema { owner: to, ..catalog::Schema::clone(it) })
    } else if let Some(it) = snapshot.database_by_id(id) {
        Descriptor::Database(catalog::Database { owner: to, ..catalog::Database::clone(it) })
    } else if let Some(it) = snapshot.routine_by_id(id) {
        Descriptor::Routine(catalog::Routine { owner: to, ..catalog::Routine::clone(it) })
    } else if let Some(it) = snapshot.user_type(id) {
        Descriptor::Type(catalog::Type { owner: to, ..catalog::Type::clone(&it.descriptor) })
    } else {
        return Ok(());
    };
    ctx.change.put(ctx.txn, descriptor);
    ctx.grants_to_owner(id, object.owner, to);
    Ok(())
}

/// The role of a name, in the transaction.
pub(super) fn role_named(name: &str, ctx: &DdlContext<'_>) -> SqlResult<u32> {
    let found = ctx.change.snapshot().role(name).map(|role| role.id);
    found.ok_or_else(|| SqlError::new(SqlState::UndefinedObject, format!("role \"{name}\" does not exist")))
}
