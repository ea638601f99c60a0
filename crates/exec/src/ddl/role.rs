//! Roles, and what is set for the whole cluster.

use auth::{Secret, scram::Verifier};
use catalog::{CatalogSnapshot, ClusterSetting, Descriptor, Role, descriptor::{FIRST_USER_ID, POSTGRES_ROLE}};
use plan::statement::{Ddl, RoleOptions};
use types::{SqlError, SqlResult, SqlState, datetime::parse_timestamptz};

use super::DdlContext;

fn denied(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::InsufficientPrivilege, message)
}

/// Who changes roles.
#[derive(Clone, Copy)]
struct Asker {
    id: u32,
    is_superuser: bool,
    may_create_roles: bool,
}

impl Asker {
    fn of(id: u32, catalog: &CatalogSnapshot) -> Self {
        let role = catalog.role_by_id(id);
        let is_superuser = role.is_some_and(|role| role.superuser);
        Self { id, is_superuser, may_create_roles: is_superuser || role.is_some_and(|role| role.create_role) }
    }

    fn may_create(self, options: &RoleOptions) -> SqlResult<()> {
        if options.superuser == Some(true) && !self.is_superuser {
            return Err(denied("must be superuser to create superusers"));
        }
        if options.replication == Some(true) && !self.is_superuser {
            return Err(denied("must be superuser to create replication users"));
        }
        if options.bypass_row_security == Some(true) && !self.is_superuser {
            return Err(denied("must be superuser to create bypassrls users"));
        }
        if self.may_create_roles { Ok(()) } else { Err(denied("permission denied to create role")) }
    }

    fn may_rename(self, role: &Role) -> SqlResult<()> {
        if role.superuser && !self.is_superuser {
            return Err(denied("must be superuser to rename superusers"));
        }
        if self.may_create_roles { Ok(()) } else { Err(denied("permission denied to rename role")) }
    }

    fn may_alter(self, role: &Role, options: &RoleOptions) -> SqlResult<()> {
        if (role.superuser || options.superuser.is_some()) && !self.is_superuser {
            return Err(denied("must be superuser to alter superuser roles or change superuser attribute"));
        }
        if options.replication.is_some() && !self.is_superuser {
            return Err(denied("must be superuser to alter replication roles or change replication attribute"));
        }
        if options.bypass_row_security.is_some() && !self.is_superuser {
            return Err(denied("must be superuser to change bypassrls attribute"));
        }
        // Anybody may have another password.
        let is_own_password = role.id == self.id
            && options.password.is_some()
            && RoleOptions { password: None, ..options.clone() } == RoleOptions::default();
        if is_own_password || self.may_create_roles { Ok(()) } else { Err(denied("permission denied")) }
    }

    fn may_drop(self, role: Option<&Role>) -> SqlResult<()> {
        match role {
            _ if !self.may_create_roles => Err(denied("permission denied to drop role")),
            Some(role) if role.superuser && !self.is_superuser => {
                Err(denied("must be superuser to drop superusers"))
            }
            _ => Ok(()),
        }
    }

    fn may_set_cluster(self, setting: ClusterSetting) -> SqlResult<()> {
        let message = || format!("permission denied to set parameter \"{}\"", setting.name());
        if self.is_superuser { Ok(()) } else { Err(denied(message())) }
    }
}

/// Whether a role may make a change of roles, before anything is locked for it. What is not there, or has a name that means
/// something else, is told of later.
///
/// # Errors
/// 42501.
pub(super) fn authorize(ddl: &Ddl, catalog: &CatalogSnapshot, user: u32) -> SqlResult<()> {
    let asker = Asker::of(user, catalog);
    let others = |name: &String| catalog.role(name).filter(|role| role.id != user);
    match ddl {
        Ddl::CreateRole { options, .. } => asker.may_create(options),
        Ddl::AlterRole { name, options } => match catalog.role(name).filter(|role| !role.name.starts_with("pg_")) {
            Some(role) => asker.may_alter(role, options),
            None => Ok(()),
        },
        Ddl::RenameRole { name, .. } => others(name).map_or(Ok(()), |role| asker.may_rename(role)),
        Ddl::DropRole { names, .. } => {
            names.iter().try_for_each(|name| asker.may_drop(catalog.role(name).map(|role| &**role)))
        }
        Ddl::SetCluster(setting, _) => asker.may_set_cluster(*setting),
        _ => Ok(()),
    }
}

impl DdlContext<'_> {
    fn asker(&self) -> Asker {
        Asker::of(self.user, self.change.snapshot())
    }
}

pub(super) async fn create(
    name: &str,
    options: &RoleOptions,
    if_not_exists: bool,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    ctx.asker().may_create(options)?;
    if if_not_exists && ctx.change.snapshot().role(name).is_some() {
        return Ok(());
    }
    check_new_name(name, ctx)?;
    let id = ctx.new_ids(1).await?;
    debug_assert!(id >= FIRST_USER_ID, "ids of users' objects are above the built-in ones");
    put(Role::new(id, name), options, ctx)?;
    for (names, is_of) in [(&options.in_roles, true), (&options.members, false), (&options.admins, false)] {
        for other in names {
            let other = super::grant::role_named(other, ctx)?;
            let (of, member) = if is_of { (other, id) } else { (id, other) };
            if is_of && ctx.access().is_superuser(of) && !ctx.asker().is_superuser {
                return Err(denied("must be superuser to alter superusers"));
            }
            super::grant::add_member(of, member, std::ptr::eq(names, &options.admins), ctx.user, ctx)?;
        }
    }
    Ok(())
}

/// # Errors
/// 42939 for a name that means something else, 42710 for that of another role.
fn check_new_name(name: &str, ctx: &DdlContext<'_>) -> SqlResult<()> {
    if matches!(name, "public" | "none") || name.starts_with("pg_") {
        let reserved = SqlError::new(SqlState::ReservedName, format!("role name \"{name}\" is reserved"));
        return Err(match name.starts_with("pg_") {
            true => reserved.with_detail("Role names starting with \"pg_\" are reserved."),
            false => reserved,
        });
    }
    match ctx.change.snapshot().role(name) {
        None => Ok(()),
        Some(_) => Err(SqlError::new(SqlState::DuplicateObject, format!("role \"{name}\" already exists"))),
    }
}

pub(super) fn rename(name: &str, to: &str, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let Some(old) = ctx.change.snapshot().role(name).cloned() else {
        return Err(SqlError::new(SqlState::UndefinedObject, format!("role \"{name}\" does not exist")));
    };
    if old.id == ctx.user {
        return Err(SqlError::not_supported("session user cannot be renamed"));
    }
    check_new_name(to, ctx)?;
    ctx.asker().may_rename(&old)?;
    ctx.change.put(ctx.txn, Descriptor::Role(Role { name: to.into(), ..(*old).clone() }));
    ctx.touch_role(old.id);
    Ok(())
}

pub(super) fn alter(name: &str, options: &RoleOptions, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let Some(old) = ctx.change.snapshot().role(name).cloned() else {
        return Err(SqlError::new(SqlState::UndefinedObject, format!("role \"{name}\" does not exist")));
    };
    if old.name.starts_with("pg_") {
        return Err(SqlError::new(SqlState::ReservedName, format!("role name \"{name}\" is reserved"))
            .with_detail("Cannot alter reserved roles."));
    }
    ctx.asker().may_alter(&old, options)?;
    if old.id == POSTGRES_ROLE && options.superuser == Some(false) {
        return Err(denied("permission denied to alter role")
            .with_detail("The bootstrap user must have the SUPERUSER attribute."));
    }
    put((*old).clone(), options, ctx)
}

fn put(mut role: Role, options: &RoleOptions, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    role.superuser = options.superuser.unwrap_or(role.superuser);
    role.login = options.login.unwrap_or(role.login);
    role.create_db = options.create_db.unwrap_or(role.create_db);
    role.create_role = options.create_role.unwrap_or(role.create_role);
    if let Some(limit) = options.connection_limit {
        let limit = i32::try_from(limit).ok().filter(|limit| *limit >= -1);
        role.connection_limit = limit.ok_or_else(|| {
            let message = format!("invalid connection limit: {}", options.connection_limit.unwrap_or_default());
            SqlError::new(SqlState::InvalidParameterValue, message)
        })?;
    }
    if let Some(until) = &options.valid_until {
        role.valid_until = Some(parse_timestamptz(until, None, ctx.eval.formatting)?);
    }
    if let Some(password) = &options.password {
        role.password = match password {
            Some(password) => kept_of(password, ctx)?,
            None => None,
        };
    }
    let id = role.id;
    ctx.change.put(ctx.txn, Descriptor::Role(role));
    let mut row = ctx.privilege_row(id);
    row.no_inherit = options.inherit.map_or(row.no_inherit, |inherit| !inherit);
    row.bypasses_row_security = options.bypass_row_security.unwrap_or(row.bypasses_row_security);
    ctx.change.put_privileges(ctx.txn, row);
    Ok(())
}

/// What is kept of a password: its verifier. One that is given in place of the password is kept as it is.
fn kept_of(password: &Secret, ctx: &mut DdlContext<'_>) -> SqlResult<Option<String>> {
    let given = Verifier::parse(password.reveal());
    if password.reveal().is_empty() || given.as_ref().is_some_and(|verifier| verifier.is_of("")) {
        ctx.notice("empty string is not a valid password, clearing password");
        return Ok(None);
    }
    if given.is_some() {
        return Ok(Some(password.reveal().to_owned()));
    }
    let digits = password.reveal().strip_prefix("md5").filter(|digits| digits.len() == 32);
    if digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Err(SqlError::not_supported("passwords encrypted with MD5 are not supported")
            .with_hint("Give the password itself, or a SCRAM verifier of it."));
    }
    Ok(Some(Verifier::new(password.reveal()).to_string()))
}

/// # Errors
/// 42501 for a role that may not drop this one.
pub(super) fn check_drop(role: Option<&Role>, ctx: &DdlContext<'_>) -> SqlResult<()> {
    ctx.asker().may_drop(role)
}

/// Gives a setting of the cluster a value, or goes back to its default.
pub(super) fn set_cluster(setting: ClusterSetting, value: Option<&str>, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    ctx.asker().may_set_cluster(setting)?;
    let mut settings = ctx.change.snapshot().cluster().settings.clone();
    settings.set(setting, value).map_err(|detail| {
        let message = format!("invalid value for parameter \"{}\"", setting.name());
        SqlError::new(SqlState::InvalidParameterValue, message).with_detail(detail)
    })?;
    ctx.change.put(ctx.txn, Descriptor::Cluster(settings));
    if setting.is_of_audit() {
        ctx.change.raise_databases(ctx.txn);
    }
    Ok(())
}
