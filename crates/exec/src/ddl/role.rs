//! Roles, and what is set for the whole cluster.

use auth::{Secret, hba::Rules, scram::Verifier};
use catalog::{Descriptor, Role, descriptor::{FIRST_USER_ID, POSTGRES_ROLE}};
use plan::statement::RoleOptions;
use types::{SqlError, SqlResult, SqlState, datetime::parse_timestamptz};

use super::DdlContext;

fn denied(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::InsufficientPrivilege, message)
}

impl DdlContext<'_> {
    fn own_role(&self) -> Option<&Role> {
        self.change.snapshot().role_by_id(self.user).map(|role| &**role)
    }

    fn is_superuser(&self) -> bool {
        self.own_role().is_some_and(|role| role.superuser)
    }

    fn may_create_roles(&self) -> bool {
        self.own_role().is_some_and(|role| role.superuser || role.create_role)
    }
}

pub(super) async fn create(
    name: &str,
    options: &RoleOptions,
    if_not_exists: bool,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    if options.superuser == Some(true) && !ctx.is_superuser() {
        return Err(denied("must be superuser to create superusers"));
    }
    if !ctx.may_create_roles() {
        return Err(denied("permission denied to create role"));
    }
    if if_not_exists && ctx.change.snapshot().role(name).is_some() {
        return Ok(());
    }
    check_new_name(name, ctx)?;
    let id = ctx.new_ids(1).await?;
    debug_assert!(id >= FIRST_USER_ID, "ids of users' objects are above the built-in ones");
    let role = Role {
        id,
        name: name.into(),
        superuser: false,
        login: false,
        create_db: false,
        create_role: false,
        password: None,
        valid_until: None,
        connection_limit: -1,
    };
    put(role, options, ctx)?;
    for (names, is_of) in [(&options.in_roles, true), (&options.members, false), (&options.admins, false)] {
        for other in names {
            let other = super::grant::role_named(other, ctx)?;
            let (of, member) = if is_of { (other, id) } else { (id, other) };
            if is_of && ctx.access().is_superuser(of) && !ctx.is_superuser() {
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
    if old.superuser && !ctx.is_superuser() {
        return Err(denied("must be superuser to rename superusers"));
    }
    if !ctx.may_create_roles() {
        return Err(denied("permission denied to rename role"));
    }
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
    if (old.superuser || options.superuser.is_some()) && !ctx.is_superuser() {
        return Err(denied("must be superuser to alter superuser roles or change superuser attribute"));
    }
    if old.id == POSTGRES_ROLE && options.superuser == Some(false) {
        return Err(denied("permission denied to alter role")
            .with_detail("The bootstrap user must have the SUPERUSER attribute."));
    }
    // Anybody may have another password.
    let is_own_password = old.id == ctx.user
        && options.password.is_some()
        && RoleOptions { password: None, ..options.clone() } == RoleOptions::default();
    if !is_own_password && !ctx.may_create_roles() {
        return Err(denied("permission denied"));
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
    match role {
        _ if !ctx.may_create_roles() => Err(denied("permission denied to drop role")),
        Some(role) if role.superuser && !ctx.is_superuser() => Err(denied("must be superuser to drop superusers")),
        _ => Ok(()),
    }
}

/// Sets the rules of who may connect, or goes back to those a cluster begins with.
pub(super) fn set_hba(rules: Option<&str>, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    const NAME: &str = plan::statement::HBA_SETTING;
    if !ctx.is_superuser() {
        return Err(denied(format!("permission denied to set parameter \"{NAME}\"")));
    }
    if let Some(error) = rules.and_then(|rules| Rules::parse(rules).err()) {
        let message = format!("invalid value for parameter \"{NAME}\"");
        return Err(SqlError::new(SqlState::InvalidParameterValue, message).with_detail(format!("In {error}.")));
    }
    let settings = ctx.change.snapshot().cluster().settings.clone();
    let settings = catalog::ClusterSettings { hba: rules.map(str::to_owned), ..settings };
    ctx.change.put(ctx.txn, Descriptor::Cluster(settings));
    Ok(())
}
