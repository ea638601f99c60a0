//! What [`crate::parse::own`] read: names become ids, options their specs.

use std::sync::Arc;

use catalog::privilege::{Need, access::CHECKPOINT};
use catalog::{Commented, Relation, Table};
use sqlparser::ast;
use ::types::{SqlError, SqlResult, SqlState};

use super::{
    alter, backup, composites, copy, ddl, domains, drop_relations, find_index, grant, kind_of, new_home, new_name, partition, policy, ranges,
    aggregate, routine, trigger, types,
    utility, view, zone,
};
use crate::{
    PlanContext,
    bind::{bind_type, find_relation, find_table, fold, name_parts, no_relation, qualified_name},
    parse::ParsedStatement,
    parse::own::{Change, Kind, LockMode, Own, RoleOption, SequenceOption, ObjectText},
    statement::{CommentOn, Ddl, PreparedPlan, RelationKind, RoleOptions, SequenceOptions, Utility, LargeObjectChange},
};

/// Binds a statement of this crate's own reader.
pub(crate) fn bind(statement: &Own, parsed: &ParsedStatement, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    Ok(match statement {
        Own::CreateSequence { name, if_not_exists, temporary, options } => {
            let (home, name) = new_home(context, name, *temporary)?;
            let options = sequence_options(options, context)?;
            let create = Ddl::CreateSequence { home, name, if_not_exists: *if_not_exists, options };
            ddl(create, "CREATE SEQUENCE", context)
        }
        Own::AlterSequence { name, if_exists, options } => {
            const TAG: &str = "ALTER SEQUENCE";
            let Some(relation) = relation(name, *if_exists, context)? else { return Ok(skipped(name, TAG, context)) };
            let Relation::Sequence(sequence) = relation else { return Err(wrong_type(name, "sequence")) };
            let options = sequence_options(options, context)?;
            ddl(Ddl::AlterSequence { id: sequence.id, options }, TAG, context)
        }
        Own::CreateView(create) => view::create(create, parsed, context)?,
        Own::Refresh { name, refresh } => view::refresh(name, *refresh, context)?,
        Own::DropMaterializedViews { names, if_exists, cascade } => {
            drop_relations(RelationKind::MaterializedView, *if_exists, names, *cascade, context)?
        }
        Own::CreatePartition(create) => partition::create(create, parsed, context)?,
        Own::AttachIndex { name, if_exists, partition } => partition::attach_index(name, *if_exists, partition, context)?,
        Own::AlterTable { name, if_exists, only, actions } => alter::table(name, (*if_exists, *only), actions, context)?,
        Own::Alter { kind, name, if_exists, change } => alter_named(*kind, name, *if_exists, change, context)?,
        Own::CreateEnum { name, labels } => types::create_enum(name, labels, context)?,
        Own::CreateRange { name, attributes } => ranges::create(name, attributes, context)?,
        Own::CreateComposite { name, attributes } => composites::create(name, attributes, context)?,
        Own::AlterComposite { name, changes } => composites::alter(name, changes, context)?,
        Own::AlterEnum { name, change } => types::alter_enum(name, change, context)?,
        Own::CreateDomain { name, ty, options } => domains::create(name, ty, options, context)?,
        Own::AlterDomain { name, change } => domains::alter(name, change, context)?,
        Own::DropDomains { names, if_exists, cascade } => {
            types::drop("DROP DOMAIN", *if_exists, names, *cascade, context)?
        }
        Own::CreateDatabase { name, owner } => {
            let owner = owner.as_ref().map(|owner| role(owner, context)).transpose()?;
            ddl(Ddl::CreateDatabase { name: fold(name), owner }, "CREATE DATABASE", context)
        }
        Own::CreateRole { name, options, login } => {
            let mut options = role_options(options)?;
            options.login.get_or_insert(*login);
            ddl(Ddl::CreateRole { name: fold(name), options, if_not_exists: false }, "CREATE ROLE", context)
        }
        Own::AlterRole { name, options } => {
            let options = role_options(options)?;
            ddl(Ddl::AlterRole { name: role(name, context)?, options }, "ALTER ROLE", context)
        }
        Own::AlterGroup(text) => PreparedPlan { tag: "ALTER ROLE", ..grant::roles(text, context)? },
        Own::DropGroup { names, if_exists } => {
            ddl(Ddl::DropRole { names: names.iter().map(fold).collect(), if_exists: *if_exists }, "DROP ROLE", context)
        }
        Own::RenameRole { name, to } => {
            ddl(Ddl::RenameRole { name: role(name, context)?, to: fold(to) }, "ALTER ROLE", context)
        }
        Own::SetCluster { name, value } => {
            let name = name.to_string().to_lowercase();
            let Some(setting) = catalog::ClusterSetting::find(&name) else {
                let message = format!("unrecognized configuration parameter \"{name}\"");
                return Err(SqlError::new(SqlState::UndefinedObject, message));
            };
            let tag = if value.is_some() { "SET CLUSTER SETTING" } else { "RESET CLUSTER SETTING" };
            ddl(Ddl::SetCluster(setting, value.clone()), tag, context)
        }
        Own::ShowRanges(name) => {
            let table = super::find_table(context, name)?;
            let mut tables = Vec::new();
            if let Some(found) = relation(name, false, context)? {
                note_locked(&found, None, context, &mut tables);
            }
            let any_of = catalog::privilege::PrivilegeSet::SELECT;
            let mut plan = utility(Utility::ShowRanges { table, tables, any_of }, "SHOW", context);
            plan.columns = super::ranges_columns();
            plan
        }
        Own::Listen(channel) => utility(Utility::Listen(fold(channel)), "LISTEN", context),
        Own::Unlisten(channel) => utility(Utility::Unlisten(channel.as_ref().map(fold)), "UNLISTEN", context),
        Own::Notify { channel, payload } => {
            let notify = Utility::Notify { channel: fold(channel), payload: payload.clone() };
            utility(notify, "NOTIFY", context)
        }
        Own::Zone(text) => zone::bind(text, context)?,
        Own::Backup(text) => backup::bind(text, context)?,
        Own::Comment { kind, name, text } => comment(*kind, name, text.as_deref(), context)?,
        Own::LargeObject { oid, change } => {
            let (change, tag) = match change {
                ObjectText::Owner(role) => (LargeObjectChange::Owner(grant::role(role, context)?), "ALTER LARGE OBJECT"),
                ObjectText::Comment(text) => (LargeObjectChange::Comment(text.clone()), "COMMENT"),
            };
            utility(Utility::LargeObject { oids: vec![*oid], change }, tag, context)
        }
        Own::Grant(statement) => grant::grant(statement, context)?,
        Own::GrantRoles(statement) => grant::roles(statement, context)?,
        Own::DefaultPrivileges { roles, schemas, grant } => grant::defaults(roles, schemas, grant, context)?,
        Own::ReassignOwned { roles, to } => grant::reassign_owned(roles, to, context)?,
        Own::DropOwned { roles, cascade } => grant::drop_owned(roles, *cascade, context)?,
        Own::LockTable { names, mode } => {
            use catalog::privilege::PrivilegeSet as P;
            let strong = P::UPDATE.union(P::DELETE).union(P::TRUNCATE);
            let any_of = match mode {
                LockMode::AccessShare => P::SELECT,
                LockMode::RowExclusive => strong.union(P::INSERT),
                LockMode::Stronger => strong,
            };
            let mut tables = Vec::with_capacity(names.len());
            for name in names {
                let Some(found) = relation(name, false, context)? else { continue };
                if matches!(kind_of(&found), RelationKind::Sequence | RelationKind::MaterializedView) {
                    let message = format!("cannot lock relation \"{}\"", found.name());
                    let detail = format!("This operation is not supported for {}s.", found.kind());
                    return Err(SqlError::new(SqlState::WrongObjectType, message).with_detail(detail));
                }
                note_locked(&found, None, context, &mut tables);
            }
            utility(Utility::LockTable { tables, any_of }, "LOCK TABLE", context)
        }
        Own::SetConstraints { names, deferred } => {
            let mut constraints = Vec::new();
            for name in names {
                constraints.append(&mut constraints_named(name, *deferred, context)?);
            }
            let constraints = (!names.is_empty()).then_some(constraints);
            utility(Utility::SetConstraints { constraints, deferred: *deferred }, "SET CONSTRAINTS", context)
        }
        Own::CreateRoutine(create) => routine::create(create, parsed, context)?,
        Own::CreateAggregate(create) => aggregate::create(create, context)?,
        Own::AlterRoutine { word, name, change } => routine::alter(*word, name, change, context)?,
        Own::DropRoutines { word, names, if_exists, cascade } => {
            routine::drop(*word, names, *if_exists, *cascade, context)?
        }
        Own::CommentRoutine { word, name, text } => routine::comment(*word, name, text.as_deref(), context)?,
        Own::CreateTrigger(create) => trigger::create(create, parsed, context)?,
        Own::AlterTrigger { name, table, change } => trigger::alter(name, table, change, context)?,
        Own::DropTrigger { name, table, if_exists } => trigger::drop(name, table, *if_exists, context)?,
        Own::CommentTrigger { name, table, text } => trigger::comment(name, table, text.as_deref(), context)?,
        Own::CreatePolicy(create) => policy::create(create, parsed, context)?,
        Own::AlterPolicy { name, table, if_exists, change } => {
            policy::alter(name, table, *if_exists, change, parsed, context)?
        }
        Own::DropPolicy { name, table, if_exists } => policy::drop(name, table, *if_exists, context)?,
        Own::CommentPolicy { name, table, text } => policy::comment(name, table, text.as_deref(), context)?,
        Own::Do { language, body } => routine::do_block(language.as_ref(), body, parsed, context)?,
        Own::Copy(statement) => copy::bind(statement, context)?,
        Own::PrepareTransaction(gid) => {
            utility(Utility::PrepareTransaction(gid.clone()), "PREPARE TRANSACTION", context)
        }
        Own::EndPrepared { gid, commit } => {
            let tag = if *commit { "COMMIT PREPARED" } else { "ROLLBACK PREPARED" };
            utility(Utility::EndPrepared { gid: gid.clone(), commit: *commit }, tag, context)
        }
        Own::Unsupported(what) => return Err(SqlError::not_supported(format!("{what} is not supported"))),
        Own::Accepted(tag) => {
            if *tag == "CHECKPOINT" {
                context.notes.needs.add(Need::Member { of: CHECKPOINT, what: "do CHECKPOINT" });
            }
            utility(Utility::Accepted, tag, context)
        }
        Own::SetAuthorization { user, local } => {
            let value = user.as_ref().map(|user| vec![user.clone()]);
            utility(Utility::Set { name: "session_authorization".into(), value, local: *local }, "SET", context)
        }
        Own::Maintain { tag, kind, name } => {
            let needed = match kind {
                Kind::Schema => Some(schema(&ast::Ident::with_quote('"', name_parts(name)?.join(".")), context)?),
                Kind::Database => {
                    let name = name_parts(name)?.join(".");
                    let own = context.catalog.database(&name).filter(|it| it.id == context.database);
                    let own = own.ok_or_else(|| SqlError::not_supported("can only reindex the currently open database"))?;
                    Some(own.id)
                }
                Kind::Index => match find_index(context, name)? {
                    Some((table, oid)) => {
                        needs_index(&table, oid, context);
                        None
                    }
                    None => return Err(no_relation(None, &name.to_string())),
                },
                _ => relation(name, false, context)?.map(|found| found.id()),
            };
            if let Some(id) = needed {
                context.notes.needs.add(Need::Owner(id));
            }
            utility(Utility::Accepted, tag, context)
        }
    })
}

/// An index is its table's owner's.
fn needs_index(table: &Table, oid: u32, context: &PlanContext<'_>) {
    let index = table.indexes.iter().find(|index| index.oid == oid);
    let name = index.map_or("", |index| index.name.as_str()).to_owned();
    context.notes.needs.always(Need::OwnerOfIndex { table: table.id, name });
}

/// Constraints, and those of partitions that are theirs.
fn with_parts<'a>(
    mut oids: Vec<u32>,
    tables: impl Iterator<Item = &'a Arc<Table>>,
    context: &PlanContext<'_>,
) -> Vec<u32> {
    for table in tables.filter(|table| table.is_partitioned()) {
        for below in context.catalog.descendants_of(table) {
            let parts = below.partitioning.iter().flat_map(|it| &it.parts);
            let parts: Vec<u32> = parts.filter(|(_, parents)| oids.contains(parents)).map(|(own, _)| *own).collect();
            oids.extend(parts.into_iter().filter(|own| !oids.contains(own)).collect::<Vec<_>>());
        }
    }
    oids
}

/// The foreign keys, rules of indexes and constraint triggers of this name; if they are to be deferred, they can be.
fn constraints_named(name: &ast::ObjectName, deferred: bool, context: &PlanContext<'_>) -> SqlResult<Vec<u32>> {
    let (schema, name) = qualified_name(context, name)?;
    let schemas = match &schema {
        None => context.catalog.search_schemas(context.database, context.search_path, context.user),
        Some(schema) => match context.catalog.schema(context.database, schema) {
            Some(schema) => vec![schema.id],
            None => {
                let message = format!("schema \"{schema}\" does not exist");
                return Err(SqlError::new(SqlState::InvalidSchemaName, message));
            }
        },
    };
    // The first schema that has any of the name.
    for schema in schemas {
        let tables = || {
            context.catalog.relations_of(context.database).filter_map(move |relation| match relation {
                Relation::Table(table) if table.schema == schema => Some(table),
                _ => None,
            })
        };
        let is_index = |index: &catalog::Index| index.constraint.is_some() && index.name == name;
        let of_keys = |table: &Arc<Table>| -> Vec<(u32, bool)> {
            let keys = table.foreign_keys.iter().filter(|key| key.name == name).map(|key| (key.oid, key.deferrable));
            let triggers = table.trigger_named(&name).and_then(|it| it.constraint.map(|by| (it.oid, by.deferrable)));
            let rules = table.indexes.iter().filter(|index| is_index(index) && index.details.deferrable);
            let rules = rules.filter_map(|index| index.constraint).map(|it| (it.oid, true));
            keys.chain(triggers).chain(rules).collect()
        };
        let keys: Vec<(u32, bool)> = tables().flat_map(of_keys).collect();
        let is_other = tables().any(|table| {
            table.indexes.iter().any(|index| is_index(index) && !index.details.deferrable) || table.checks.iter().any(|check| check.name == name)
        });
        if deferred && (is_other || keys.iter().any(|(_, deferrable)| !deferrable)) {
            let message = format!("constraint \"{name}\" is not deferrable");
            return Err(SqlError::new(SqlState::WrongObjectType, message));
        }
        if is_other || !keys.is_empty() {
            let oids: Vec<u32> = keys.into_iter().map(|(oid, _)| oid).collect();
            return Ok(with_parts(oids, tables(), context));
        }
    }
    Err(SqlError::new(SqlState::UndefinedObject, format!("constraint \"{name}\" does not exist")))
}

/// A relation by name; `None` where IF EXISTS permits that.
pub(super) fn relation(name: &ast::ObjectName, if_exists: bool, context: &PlanContext<'_>) -> SqlResult<Option<Relation>> {
    let (schema, relation) = qualified_name(context, name)?;
    match find_relation(context, schema.as_deref(), &relation)? {
        None if !if_exists => Err(no_relation(schema.as_deref(), &relation)),
        found => Ok(found),
    }
}

/// A table that is no materialized view.
pub(super) fn plain_table(name: &ast::ObjectName, context: &PlanContext<'_>) -> SqlResult<Arc<Table>> {
    match find_table(context, name)? {
        table if table.materialized.is_none() => Ok(table),
        _ => Err(wrong_type(name, "table")),
    }
}

/// IF EXISTS of what does not exist.
pub(super) fn skipped(name: &ast::ObjectName, tag: &'static str, context: &PlanContext<'_>) -> PreparedPlan {
    ddl(Ddl::Skipped(format!("relation \"{name}\" does not exist, skipping")), tag, context)
}

fn wrong_type(name: &ast::ObjectName, what: &str) -> SqlError {
    let name = name_parts(name).ok().and_then(|mut parts| parts.pop()).unwrap_or_default();
    SqlError::new(SqlState::WrongObjectType, format!("\"{name}\" is not a {what}"))
}

/// The name of a role that exists.
pub(super) fn role(name: &ast::Ident, context: &PlanContext<'_>) -> SqlResult<String> {
    let folded = fold(name);
    if name.quote_style.is_none() && matches!(&*folded, "current_user" | "current_role" | "session_user") {
        return Ok(context.user.to_owned());
    }
    if folded != "public" && context.catalog.role(&folded).is_none() {
        return Err(SqlError::new(SqlState::UndefinedObject, format!("role \"{folded}\" does not exist")));
    }
    Ok(folded)
}

/// The id of a schema that exists.
pub(super) fn schema(name: &ast::Ident, context: &PlanContext<'_>) -> SqlResult<u32> {
    let name = fold(name);
    let found = context.catalog.schema(context.database, &name);
    let found = found.ok_or_else(|| SqlError::new(SqlState::InvalidSchemaName, format!("schema \"{name}\" does not exist")));
    found.map(|schema| schema.id)
}

/// A relation that is locked, and what a view of it reads: that its owner must be able to lock.
fn note_locked(relation: &Relation, role: Option<u32>, context: &PlanContext<'_>, out: &mut Vec<(u32, Option<u32>)>) {
    if out.contains(&(relation.id(), role)) {
        return;
    }
    out.push((relation.id(), role));
    let Relation::View(view) = relation else { return };
    let is_invokers = view.details.options.security_invoker == Some(true);
    let role = (!is_invokers).then_some(view.owner);
    for id in &view.depends_on {
        match context.catalog.relation_by_id(*id) {
            Some(Relation::Sequence(_)) | None => {}
            Some(below) => note_locked(below, role, context, out),
        }
    }
}

/// Whether names were given before.
fn given(known: &mut Vec<String>, names: &[ast::Ident]) -> bool {
    let before = !known.is_empty();
    known.extend(names.iter().map(fold));
    before
}

/// # Errors
/// 42601 where one is given twice.
fn role_options(options: &[RoleOption]) -> SqlResult<RoleOptions> {
    let mut found = RoleOptions::default();
    for option in options {
        let before = match option {
            RoleOption::Superuser(yes) => found.superuser.replace(*yes).is_some(),
            RoleOption::Login(yes) => found.login.replace(*yes).is_some(),
            RoleOption::CreateDb(yes) => found.create_db.replace(*yes).is_some(),
            RoleOption::CreateRole(yes) => found.create_role.replace(*yes).is_some(),
            RoleOption::Password(password) => found.password.replace(password.clone()).is_some(),
            RoleOption::ValidUntil(until) => found.valid_until.replace(until.clone()).is_some(),
            RoleOption::ConnectionLimit(limit) => found.connection_limit.replace(*limit).is_some(),
            RoleOption::Inherit(yes) => found.inherit.replace(*yes).is_some(),
            RoleOption::BypassRowSecurity(yes) => found.bypass_row_security.replace(*yes).is_some(),
            RoleOption::InRole(names) => given(&mut found.in_roles, names),
            RoleOption::Members(names) => given(&mut found.members, names),
            RoleOption::Admins(names) => given(&mut found.admins, names),
            RoleOption::Replication(yes) => found.replication.replace(*yes).is_some(),
        };
        if before {
            return Err(SqlError::new(SqlState::SyntaxError, "conflicting or redundant options"));
        }
    }
    Ok(found)
}

pub(super) fn sequence_options(options: &[SequenceOption], context: &PlanContext<'_>) -> SqlResult<SequenceOptions> {
    let mut found = SequenceOptions::default();
    for option in options {
        match option {
            SequenceOption::Type(ty) => found.ty = Some(bind_type(ty, context)?),
            SequenceOption::Start(value) => found.start = Some(*value),
            SequenceOption::Increment(value) => found.increment = Some(*value),
            SequenceOption::Min(value) => found.min = Some(*value),
            SequenceOption::Max(value) => found.max = Some(*value),
            SequenceOption::Cache(value) => found.cache = Some(*value),
            SequenceOption::Cycle(cycle) => found.cycle = Some(*cycle),
            SequenceOption::OwnedBy(None) => found.owned_by = Some(None),
            SequenceOption::OwnedBy(Some(column)) => {
                let (table, column) = column_of(column, context)?;
                found.owned_by = Some(Some((table.id, column)));
            }
            SequenceOption::Restart(value) => found.restart = Some(*value),
            SequenceOption::Name(name) => found.name = Some(new_name(context, name)?),
        }
    }
    Ok(found)
}

/// `table.column`, or with a schema before it.
fn column_of(name: &ast::ObjectName, context: &PlanContext<'_>) -> SqlResult<(Arc<Table>, String)> {
    let mut parts = name_parts(name)?;
    let column = parts.pop().unwrap_or_default();
    if parts.is_empty() {
        return Err(SqlError::new(SqlState::SyntaxError, "column name must be qualified"));
    }
    let table = parts.into_iter().map(|part| ast::Ident::with_quote('"', part)).collect::<Vec<_>>();
    let table = find_table(context, &ast::ObjectName::from(table))?;
    if table.column_named(&column).is_none() {
        return Err(SqlError::new(
            SqlState::UndefinedColumn,
            format!("column \"{column}\" of relation \"{}\" does not exist", table.name),
        ));
    }
    Ok((table, column))
}

fn alter_named(
    kind: Kind,
    name: &ast::ObjectName,
    if_exists: bool,
    change: &Change,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    match kind {
        Kind::Type => return types::alter("ALTER TYPE", name, change, context),
        Kind::Domain => {
            domains::domain_id(name, context)?;
            return types::alter("ALTER DOMAIN", name, change, context);
        }
        _ => {}
    }
    let simple = || name_parts(name).map(|parts| parts.join("."));
    let tag = match kind {
        Kind::View => "ALTER VIEW",
        Kind::MaterializedView => "ALTER MATERIALIZED VIEW",
        Kind::Sequence => "ALTER SEQUENCE",
        Kind::Index => {
            let Some((table, oid)) = find_index(context, name)? else {
                return if if_exists { Ok(skipped(name, "ALTER INDEX", context)) } else { Err(no_relation(None, &name.to_string())) };
            };
            let change = match change {
                Change::Rename(to) => Ddl::AlterIndexRename { table, oid, to: fold(to) },
                Change::Schema(_) | Change::Owner(_) | Change::Accepted => {
                    needs_index(&table, oid, context);
                    Ddl::Accepted
                }
                Change::View(_) => return Err(of_views()),
            };
            return Ok(ddl(change, "ALTER INDEX", context));
        }
        Kind::Schema | Kind::Database => {
            let (name, tag) = (simple()?, if kind == Kind::Schema { "ALTER SCHEMA" } else { "ALTER DATABASE" });
            let change = match (change, kind) {
                (Change::Rename(to), Kind::Schema) => Ddl::AlterSchemaRename { name, to: fold(to) },
                (Change::Rename(to), _) => Ddl::AlterDatabaseRename { name, to: fold(to) },
                (Change::Owner(owner), Kind::Schema) => {
                    let id = schema(&ast::Ident::with_quote('"', name), context)?;
                    Ddl::OwnSchema { id, owner: role(owner, context)? }
                }
                (Change::Owner(owner), _) => {
                    let found = context.catalog.database(&name).ok_or_else(|| grant::no_database(&name))?;
                    Ddl::OwnDatabase { id: found.id, owner: role(owner, context)? }
                }
                (Change::Schema(_) | Change::Accepted, Kind::Schema) => {
                    let id = schema(&ast::Ident::with_quote('"', name), context)?;
                    context.notes.needs.always(Need::Owner(id));
                    Ddl::Accepted
                }
                (Change::Schema(_) | Change::Accepted, _) => {
                    let found = context.catalog.database(&name).ok_or_else(|| grant::no_database(&name))?;
                    context.notes.needs.always(Need::Owner(found.id));
                    Ddl::Accepted
                }
                (Change::View(_), _) => return Err(of_views()),
            };
            return Ok(ddl(change, tag, context));
        }
        Kind::Table
        | Kind::Column
        | Kind::Constraint
        | Kind::Type
        | Kind::Domain
        | Kind::DomainConstraint
        | Kind::Role
        | Kind::Other => return Err(SqlError::internal("no ALTER of this kind is read")),
    };
    let Some(found) = relation(name, if_exists, context)? else { return Ok(skipped(name, tag, context)) };
    let (wanted, what) = match kind {
        Kind::View => (RelationKind::View, "view"),
        Kind::MaterializedView => (RelationKind::MaterializedView, "materialized view"),
        _ => (RelationKind::Sequence, "sequence"),
    };
    if kind_of(&found) != wanted {
        return Err(wrong_type(name, what));
    }
    Ok(ddl(relation_change(&found, change, context)?, tag, context))
}

pub(super) fn of_views() -> SqlError {
    SqlError::internal("a change of views is read of them alone")
}

/// What any relation can be told, and what views can.
pub(super) fn relation_change(relation: &Relation, change: &Change, context: &PlanContext<'_>) -> SqlResult<Ddl> {
    let id = relation.id();
    Ok(match change {
        Change::View(change) => view::change(relation, change, context)?,
        Change::Rename(to) => Ddl::RenameRelation { id, to: fold(to) },
        Change::Schema(to) => Ddl::MoveRelation { id, schema: schema(to, context)? },
        Change::Owner(owner) => Ddl::OwnRelation { id, owner: role(owner, context)? },
        Change::Accepted => {
            context.notes.needs.always(Need::Owner(id));
            Ddl::Accepted
        }
    })
}

/// A name without its last part, and that part.
fn split_last(name: &ast::ObjectName) -> SqlResult<(ast::ObjectName, String)> {
    let mut parts = name_parts(name)?;
    let last = parts.pop().unwrap_or_default();
    if parts.is_empty() {
        return Err(SqlError::new(SqlState::SyntaxError, "column name must be qualified"));
    }
    let rest = parts.into_iter().map(|part| ast::Ident::with_quote('"', part)).collect::<Vec<_>>();
    Ok((ast::ObjectName::from(rest), last))
}

fn relation_named(name: &ast::ObjectName, context: &PlanContext<'_>) -> SqlResult<Relation> {
    let (schema, relation) = qualified_name(context, name)?;
    find_relation(context, schema.as_deref(), &relation)?.ok_or_else(|| no_relation(schema.as_deref(), &relation))
}

fn comment(
    kind: Kind,
    name: &ast::ObjectName,
    text: Option<&str>,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let part = |relation: u32, on: Commented| Some(CommentOn::Part { relation, on });
    let on = match kind {
        Kind::Column => {
            let (relation, column) = split_last(name)?;
            if let Some(on) = composites::commented(&relation, &column, context)? {
                return Ok(ddl(Ddl::Comment { on, text: text.map(str::to_owned) }, "COMMENT", context));
            }
            let found = relation_named(&relation, context)?;
            let missing = |name: &str| {
                let message = format!("column \"{column}\" of relation \"{name}\" does not exist");
                SqlError::new(SqlState::UndefinedColumn, message)
            };
            match &found {
                Relation::Table(table) => {
                    let (_, known) = table.column_named(&column).ok_or_else(|| missing(&table.name))?;
                    part(table.id, Commented::Column(known.id))
                }
                Relation::View(view) => {
                    let at = view.columns.iter().position(|(name, _)| *name == column);
                    let at = at.ok_or_else(|| missing(&view.name))?;
                    let number = u32::try_from(at + 1).unwrap_or(u32::MAX);
                    part(view.id, Commented::Column(keys::ColumnId::new(number)))
                }
                Relation::Sequence(sequence) => {
                    let message = format!("cannot set comment on relation \"{}\"", sequence.name);
                    return Err(SqlError::new(SqlState::WrongObjectType, message)
                        .with_detail("This operation is not supported for sequences."));
                }
            }
        }
        Kind::Table | Kind::View | Kind::MaterializedView | Kind::Sequence => {
            let found = relation(name, false, context)?;
            let (wanted, what) = match kind {
                Kind::Table => (RelationKind::Table, "table"),
                Kind::View => (RelationKind::View, "view"),
                Kind::MaterializedView => (RelationKind::MaterializedView, "materialized view"),
                _ => (RelationKind::Sequence, "sequence"),
            };
            if found.as_ref().is_some_and(|found| kind_of(found) != wanted) {
                return Err(wrong_type(name, what));
            }
            found.map(|found| CommentOn::Relation(found.id()))
        }
        Kind::Index => match find_index(context, name)? {
            Some((table, oid)) => part(table.id, Commented::Part(oid)),
            None => return Err(no_relation(None, &name.to_string())),
        },
        Kind::Constraint => {
            let (table, constraint) = split_last(name)?;
            let table = find_table(context, &table)?;
            let index = table.indexes.iter().filter(|index| index.name == constraint);
            let mut oids = index
                .filter_map(|index| index.constraint.map(|it| it.oid))
                .chain(table.checks.iter().filter(|check| check.name == constraint).map(|check| check.oid))
                .chain(table.foreign_keys.iter().filter(|key| key.name == constraint).map(|key| key.oid));
            let oid = oids.next().ok_or_else(|| {
                let message = format!("constraint \"{constraint}\" for table \"{}\" does not exist", table.name);
                SqlError::new(SqlState::UndefinedObject, message)
            })?;
            part(table.id, Commented::Part(oid))
        }
        Kind::Schema => {
            let name = name_parts(name)?.join(".");
            schema(&ast::Ident::with_quote('"', name.clone()), context)?;
            Some(CommentOn::Schema(name))
        }
        Kind::Type => types::comment_on(name, context)?,
        Kind::DomainConstraint => {
            let (domain, name) = split_last(name)?;
            Some(CommentOn::DomainCheck { domain: domains::domain_id(&domain, context)?, name })
        }
        Kind::Domain => Some(CommentOn::Type(domains::domain_id(name, context)?)),
        Kind::Database => {
            let name = name_parts(name)?.join(".");
            // A dump may comment on a database by the name that it had: PostgreSQL warns of that.
            if let Some(database) = context.catalog.database(&name) {
                context.notes.needs.always(Need::Owner(database.id));
            }
            None
        }
        Kind::Role => {
            let name = name_parts(name)?.join(".");
            let Some(role) = context.catalog.role(&name) else {
                return Err(SqlError::new(SqlState::UndefinedObject, format!("role \"{name}\" does not exist")));
            };
            context.notes.needs.always(Need::CreateRole { of: role.id });
            None
        }
        Kind::Other => None,
    };
    let change = match on {
        Some(on) => Ddl::Comment { on, text: text.map(str::to_owned) },
        None => Ddl::Accepted,
    };
    Ok(ddl(change, "COMMENT", context))
}
