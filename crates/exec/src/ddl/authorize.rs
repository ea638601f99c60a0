//! Whether a role may make a change of the catalog.
//!
//! PostgreSQL's rules: what changes or drops an object is for its owner, what makes one needs CREATE where it goes. All of
//! this is looked at before the statement takes any lock, so that what is refused holds nobody up; a change that commits
//! meanwhile makes the statement begin again, and with it this.

use catalog::privilege::{Access, PrivilegeSet, not_owner};
use catalog::{CatalogSnapshot, Commented, Relation, Role, Table, ZoneTarget};
use plan::statement::{
    AlterComposite, AlterRoutine, AlterTable, AlterType, ColumnSpec, CommentOn, Ddl, ForeignKeySpec, Home,
};
use types::{SqlError, SqlResult, SqlState, SqlType};

/// Who asks, and what there is.
struct Check<'a> {
    access: Access<'a>,
    user: u32,
}

fn denied(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::InsufficientPrivilege, message)
}

/// A leakproof function sees rows that the role may not see.
fn leakproof() -> SqlError {
    denied("only superuser can define a leakproof function")
}

/// # Errors
/// 42501.
pub fn authorize(ddl: &Ddl, catalog: &CatalogSnapshot, database: u32, user: u32) -> SqlResult<()> {
    let check = Check { access: catalog.access(database), user };
    if check.access.is_superuser(user) {
        return Ok(());
    }
    match ddl {
        Ddl::CreateDatabase { owner, .. } => check.create_database(owner.as_deref()),
        Ddl::DropDatabase { name, .. } => check.owner_of_database(name),
        Ddl::AlterDatabaseRename { name, .. } => {
            check.owner_of_database(name)?;
            if check.role().is_some_and(|role| role.create_db) {
                return Ok(());
            }
            Err(denied("permission denied to rename database"))
        }
        Ddl::CreateSchema { owner, .. } => {
            if let Some(owner) = owner.as_deref() {
                check.member_of(owner)?;
            }
            check.access.check(user, database, PrivilegeSet::CREATE)
        }
        Ddl::DropSchema { names, .. } => names.iter().try_for_each(|name| check.owner_of_schema(name)),
        Ddl::AlterSchemaRename { name, .. } => {
            check.owner_of_schema(name)?;
            check.access.check(user, database, PrivilegeSet::CREATE)
        }
        Ddl::CreateTable(create) => {
            check.create_in(create.home)?;
            if let Some(of) = &create.partition_of {
                check.access.check_owner(user, of.parent.id)?;
            }
            check.types(&create.columns)?;
            check.references(&create.foreign_keys)
        }
        Ddl::AlterTable { table, actions, .. } => {
            check.access.check_owner(user, table.id)?;
            actions.iter().try_for_each(|action| check.alter_table(table, action))
        }
        Ddl::AttachIndex { table, oid, partition: (partition, own) } => {
            check.owner_of_index(table, *oid, false)?;
            check.owner_of_index(partition, *own, false)
        }
        Ddl::CreateIndex { table, .. } => {
            check.access.check_owner(user, table.id)?;
            check.access.check_create_in(user, table.schema)
        }
        Ddl::DropIndexes { indexes, .. } => {
            indexes.iter().try_for_each(|(table, oid)| check.owner_of_index(table, *oid, true))
        }
        Ddl::AlterIndexRename { table, oid, .. } => {
            check.owner_of_index(table, *oid, false)?;
            check.access.check_create_in(user, table.schema)
        }
        Ddl::CreateView { home, view, or_replace } => {
            check.create_in(*home)?;
            view.columns.iter().try_for_each(|(_, ty)| check.usage_of(*ty))?;
            match *home {
                Home::Schema(schema) if *or_replace => {
                    let known = catalog.relation(schema, &view.name);
                    known.map_or(Ok(()), |known| check.access.check_owner(user, known.id()))
                }
                Home::Schema(_) | Home::Temporary => Ok(()),
            }
        }
        Ddl::AlterView { id, .. } => check.access.check_owner(user, *id),
        Ddl::Refresh(refresh) => check.access.check_owner(user, refresh.table.id),
        Ddl::RenameRelation { id, .. } => {
            check.access.check_owner(user, *id)?;
            check.create_beside(*id)
        }
        Ddl::MoveRelation { id, schema } => {
            check.access.check_owner(user, *id)?;
            check.access.check_create_in(user, *schema)
        }
        Ddl::OwnRelation { id, owner } => check.give(*id, owner),
        Ddl::CreateSequence { home, .. } => check.create_in(*home),
        Ddl::AlterSequence { id, .. } => check.access.check_owner(user, *id),
        Ddl::Truncate { tables, cascade, restart_identity } => {
            check.truncate(tables.iter().map(|table| table.id).collect(), *cascade, *restart_identity)
        }
        Ddl::CreateRole { .. }
        | Ddl::AlterRole { .. }
        | Ddl::RenameRole { .. }
        | Ddl::DropRole { .. }
        | Ddl::SetCluster(..) => super::role::authorize(ddl, catalog, user),
        Ddl::ConfigureZone { target, .. } => match *target {
            ZoneTarget::Default => Err(denied("must be superuser to configure the zone of RANGE default")),
            ZoneTarget::Database(id) => check.access.check(user, id, PrivilegeSet::CREATE),
            ZoneTarget::Table(id) => check.access.check_owner(user, id),
            ZoneTarget::Index { table, oid } => match catalog.table_by_id(table) {
                Some(table) => check.owner_of_index(table, oid, false),
                None => Ok(()),
            },
        },
        // Who may grant what is found out while granting; who owns nothing may at least be warned.
        Ddl::Grant(grant) => super::grant::authorize(grant, &check.access, user),
        Ddl::GrantRoles(grant) => super::grant::authorize_roles(grant, &check.access, user),
        Ddl::DefaultPrivileges(defaults) => {
            defaults.roles.iter().try_for_each(|role| check.access.check_member(user, *role))
        }
        Ddl::ReassignOwned { roles, to } => {
            let all = roles.iter().chain([to]);
            check.all_members(all, "permission denied to reassign objects")?;
            let mut schemas = catalog.schemas().filter(|schema| schema.database == database);
            match schemas.any(|schema| roles.contains(&schema.owner)) {
                true => check.access.check(user, database, PrivilegeSet::CREATE),
                false => Ok(()),
            }
        }
        Ddl::DropOwned { roles, .. } => check.all_members(roles.iter(), "permission denied to drop objects"),
        Ddl::OwnSchema { id, owner } => {
            check.access.check_owner(user, *id)?;
            check.member_of(owner)?;
            check.access.check(user, database, PrivilegeSet::CREATE)
        }
        Ddl::OwnDatabase { id, owner } => {
            check.access.check_owner(user, *id)?;
            check.member_of(owner)?;
            match check.role() {
                Some(role) if role.create_db => Ok(()),
                Some(_) | None => Err(denied("permission denied to change owner of database")),
            }
        }
        Ddl::CreateEnum { home, .. } => check.create_in(*home),
        Ddl::CreateRange(create) => {
            check.create_in(create.home)?;
            check.usage_of(create.subtype)?;
            match create.subtype_diff {
                Some(routine) => check.access.check(user, routine, PrivilegeSet::EXECUTE),
                None => Ok(()),
            }
        }
        Ddl::CreateDomain(create) => {
            check.create_in(create.home)?;
            check.usage_of(create.over)
        }
        Ddl::CreateComposite { home, attributes, .. } => {
            check.create_in(*home)?;
            attributes.iter().try_for_each(|attribute| check.usage_of(attribute.ty))
        }
        Ddl::AlterComposite { id, changes } => {
            // PostgreSQL calls it a table here.
            if let Some(it) = catalog.user_type(*id).filter(|it| !check.access.has_role(user, it.descriptor.owner)) {
                return Err(not_owner("table", &it.descriptor.name));
            }
            changes.iter().try_for_each(|change| match change {
                AlterComposite::Add(attribute) | AlterComposite::SetType(attribute) => check.usage_of(attribute.ty),
                AlterComposite::Drop { .. } | AlterComposite::Rename { .. } => Ok(()),
            })
        }
        Ddl::AlterDomain { id, .. } => check.access.check_owner(user, *id),
        Ddl::AlterType { id, change } => match change {
            AlterType::OwnerTo(owner) => check.give(*id, owner),
            AlterType::SetSchema(schema) => {
                check.access.check_owner(user, *id)?;
                check.access.check_create_in(user, *schema)
            }
            AlterType::RenameTo(_) => {
                check.access.check_owner(user, *id)?;
                check.create_beside(*id)
            }
            AlterType::AddValue { .. } | AlterType::RenameValue { .. } => check.access.check_owner(user, *id),
        },
        Ddl::DropRelations { ids, .. } | Ddl::DropTypes { ids, .. } | Ddl::DropRoutines { ids, .. } => {
            ids.iter().try_for_each(|id| check.owner_or_of_schema(*id))
        }
        Ddl::CreateRoutine { routine, or_replace, .. } => {
            check.access.check_create_in(user, routine.schema)?;
            if routine.aggregate.is_none() {
                check.access.check(user, routine.language.oid(), PrivilegeSet::USAGE)?;
            }
            if routine.leakproof {
                return Err(leakproof());
            }
            let states = routine.aggregate.iter().flat_map(|aggregate| aggregate.states());
            let types = routine.parameters.iter().map(|parameter| parameter.ty).chain([routine.returns]).chain(states);
            types.filter_map(|ty| catalog.stored_type(ty)).try_for_each(|ty| check.usage_of(ty))?;
            let known = catalog.routine(routine.schema, &routine.name, &routine.input_types());
            match known.filter(|_| *or_replace) {
                Some(known) => check.access.check_owner(user, known.id),
                None => Ok(()),
            }
        }
        Ddl::AlterRoutine { id, change } => match change {
            AlterRoutine::OwnerTo(owner) => check.give(*id, owner),
            AlterRoutine::SetSchema(schema) => {
                check.access.check_owner(user, *id)?;
                check.access.check_create_in(user, *schema)
            }
            AlterRoutine::RenameTo(_) => {
                check.access.check_owner(user, *id)?;
                check.create_beside(*id)
            }
            AlterRoutine::Become { says_leakproof, .. } => {
                check.access.check_owner(user, *id)?;
                if *says_leakproof { Err(leakproof()) } else { Ok(()) }
            }
        },
        Ddl::CreateTrigger { table, trigger, .. } => {
            check.access.check(user, *table, PrivilegeSet::TRIGGER)?;
            check.access.check(user, trigger.routine, PrivilegeSet::EXECUTE)
        }
        Ddl::RenameTrigger { table, .. } => check.access.check_owner(user, *table),
        Ddl::DropTrigger { table, .. } => match check.access.object(*table) {
            Some(object) if !check.access.owns(user, *table) => Err(not_owner("relation", &object.name)),
            _ => Ok(()),
        },
        Ddl::CreatePolicy { table, .. } | Ddl::AlterPolicy { table, .. } | Ddl::RenamePolicy { table, .. } => {
            check.access.check_owner(user, *table)
        }
        Ddl::DropPolicy { table, .. } => match check.access.object(*table) {
            Some(object) if !check.access.owns(user, *table) => Err(not_owner("relation", &object.name)),
            _ => Ok(()),
        },
        Ddl::Comment { on, .. } => match on {
            CommentOn::Schema(name) => check.owner_of_schema(name),
            CommentOn::Type(id) | CommentOn::Routine(id) | CommentOn::Relation(id) => {
                check.access.check_owner(user, *id)
            }
            CommentOn::Attribute { ty, .. } => check.access.check_owner(user, *ty),
            CommentOn::DomainCheck { domain, .. } => check.access.check_owner(user, *domain),
            CommentOn::Part { relation, on } => check.comment_on_part(*relation, *on),
        },
        Ddl::Skipped(_) | Ddl::Accepted => Ok(()),
    }
}

/// Whether what is granted may change with a statement: then it has that locked.
#[must_use]
pub fn changes_privileges(ddl: &Ddl, catalog: &CatalogSnapshot, database: u32, user: u32) -> bool {
    let has_defaults = |owner: u32| {
        let privileges = catalog.privileges();
        privileges.defaults().any(|(of, _)| of.database == database && of.role == owner)
    };
    // There are no default privileges for temporary objects.
    let has_own = |home: Home| home != Home::Temporary && has_defaults(user);
    match ddl {
        Ddl::Grant(_)
        | Ddl::GrantRoles(_)
        | Ddl::DefaultPrivileges(_)
        | Ddl::ReassignOwned { .. }
        | Ddl::DropOwned { .. }
        | Ddl::OwnSchema { .. }
        | Ddl::OwnDatabase { .. }
        | Ddl::OwnRelation { .. }
        // Who is who is known with it.
        | Ddl::CreateRole { .. }
        | Ddl::AlterRole { .. }
        | Ddl::RenameRole { .. }
        | Ddl::DropRole { .. } => true,
        Ddl::AlterTable { table, actions, .. } => actions.iter().any(|action| match action {
            AlterTable::OwnerTo(_) => true,
            // Their sequences may have defaults.
            AlterTable::AddColumn { .. } | AlterTable::AddIdentity { .. } => has_defaults(table.owner),
            _ => false,
        }),
        Ddl::AlterRoutine { change, .. } => matches!(change, AlterRoutine::OwnerTo(_)),
        Ddl::AlterType { change, .. } => matches!(change, AlterType::OwnerTo(_)),
        Ddl::CreateTable(create) => has_own(create.home),
        Ddl::CreateView { home, .. } | Ddl::CreateSequence { home, .. } => has_own(*home),
        Ddl::CreateSchema { owner, .. } => {
            has_defaults(owner.as_deref().and_then(|name| catalog.role(name)).map_or(user, |role| role.id))
        }
        Ddl::CreateEnum { .. } | Ddl::CreateComposite { .. } | Ddl::CreateRange(_) | Ddl::CreateDomain(_) | Ddl::CreateRoutine { .. } => has_defaults(user),
        Ddl::CreateDatabase { .. }
        | Ddl::DropDatabase { .. }
        | Ddl::AlterDatabaseRename { .. }
        | Ddl::DropSchema { .. }
        | Ddl::AlterSchemaRename { .. }
        | Ddl::DropRelations { .. }
        | Ddl::CreateIndex { .. }
        | Ddl::AttachIndex { .. }
        | Ddl::DropIndexes { .. }
        | Ddl::AlterIndexRename { .. }
        | Ddl::AlterView { .. }
        | Ddl::Refresh(_)
        | Ddl::RenameRelation { .. }
        | Ddl::MoveRelation { .. }
        | Ddl::AlterSequence { .. }
        | Ddl::Truncate { .. }
        | Ddl::SetCluster(..)
        | Ddl::ConfigureZone { .. }
        | Ddl::AlterDomain { .. }
        | Ddl::AlterComposite { .. }
        | Ddl::DropTypes { .. }
        | Ddl::DropRoutines { .. }
        | Ddl::CreateTrigger { .. }
        | Ddl::RenameTrigger { .. }
        | Ddl::DropTrigger { .. }
        | Ddl::CreatePolicy { .. }
        | Ddl::AlterPolicy { .. }
        | Ddl::RenamePolicy { .. }
        | Ddl::DropPolicy { .. }
        | Ddl::Comment { .. }
        | Ddl::Skipped(_)
        | Ddl::Accepted => false,
    }
}

impl Check<'_> {
    fn role(&self) -> Option<&Role> {
        self.access.catalog.role_by_id(self.user).map(|role| &**role)
    }

    fn named_role(&self, name: &str) -> Option<u32> {
        self.access.catalog.role(name).map(|role| role.id)
    }

    /// That there is no such role is found out later.
    fn member_of(&self, name: &str) -> SqlResult<()> {
        self.named_role(name).map_or(Ok(()), |role| self.access.check_member(self.user, role))
    }

    fn all_members<'r>(&self, roles: impl Iterator<Item = &'r u32>, refusal: &str) -> SqlResult<()> {
        for role in roles {
            if !self.access.has_role(self.user, *role) {
                return Err(denied(refusal));
            }
        }
        Ok(())
    }

    fn create_database(&self, owner: Option<&str>) -> SqlResult<()> {
        if !self.role().is_some_and(|role| role.create_db) {
            return Err(denied("permission denied to create database"));
        }
        owner.map_or(Ok(()), |owner| self.member_of(owner))
    }

    fn owner_of_database(&self, name: &str) -> SqlResult<()> {
        let found = self.access.catalog.database(name);
        found.map_or(Ok(()), |database| self.access.check_owner(self.user, database.id))
    }

    fn owner_of_schema(&self, name: &str) -> SqlResult<()> {
        let found = self.access.catalog.schema(self.access.database, name);
        found.map_or(Ok(()), |schema| self.access.check_owner(self.user, schema.id))
    }

    fn create_in(&self, home: Home) -> SqlResult<()> {
        match home {
            Home::Schema(schema) => self.access.check_create_in(self.user, schema),
            Home::Temporary => {
                let wanted = PrivilegeSet::TEMPORARY;
                if self.access.privileges_of(self.user, self.access.database, wanted) == wanted {
                    return Ok(());
                }
                let database = self.access.catalog.database_by_id(self.access.database);
                let name = database.map_or("", |database| database.name.as_str());
                Err(denied(format!("permission denied to create temporary tables in database \"{name}\"")))
            }
        }
    }

    fn comment_on_part(&self, relation: u32, on: Commented) -> SqlResult<()> {
        if self.access.owns(self.user, relation) {
            return Ok(());
        }
        let index = match (on, self.access.catalog.table_by_id(relation)) {
            (Commented::Part(oid), Some(table)) => table.indexes.iter().find(|index| index.oid == oid),
            _ => None,
        };
        if let Some(index) = index {
            return Err(not_owner("index", &index.name));
        }
        Err(not_owner("relation", &self.access.object(relation).map_or_else(String::new, |object| object.name)))
    }

    /// CREATE where an object is already: it gets another name or owner there.
    fn create_beside(&self, id: u32) -> SqlResult<()> {
        match self.access.object(id) {
            Some(object) if object.schema != 0 => self.access.check_create_in(self.user, object.schema),
            _ => Ok(()),
        }
    }

    /// ALTER … OWNER TO: who owns it gives it to a role that it is a member of, which might have made it there.
    fn give(&self, id: u32, owner: &str) -> SqlResult<()> {
        self.access.check_owner(self.user, id)?;
        let Some(role) = self.named_role(owner) else { return Ok(()) };
        let Some(object) = self.access.object(id).filter(|object| object.owner != role) else { return Ok(()) };
        self.access.check_member(self.user, role)?;
        self.access.check_create_in(role, object.schema)
    }

    fn owner_or_of_schema(&self, id: u32) -> SqlResult<()> {
        let of_schema = |schema| schema != 0 && self.access.owns(self.user, schema);
        match self.access.object(id) {
            Some(object) if of_schema(object.schema) => Ok(()),
            _ => self.access.check_owner(self.user, id),
        }
    }

    fn owner_of_index(&self, table: &Table, oid: u32, or_of_schema: bool) -> SqlResult<()> {
        if self.access.owns(self.user, table.id) || or_of_schema && self.access.owns(self.user, table.schema) {
            return Ok(());
        }
        let name = table.indexes.iter().find(|index| index.oid == oid).map_or("", |index| index.name.as_str());
        Err(not_owner("index", name))
    }

    fn usage_of(&self, ty: SqlType) -> SqlResult<()> {
        match ty.user_type().filter(|id| self.access.catalog.user_type(*id).is_some()) {
            Some(id) => self.access.check(self.user, id, PrivilegeSet::USAGE),
            None => Ok(()),
        }
    }

    fn types(&self, columns: &[ColumnSpec]) -> SqlResult<()> {
        columns.iter().try_for_each(|column| self.usage_of(column.ty))
    }

    /// REFERENCES on the table that is referred to, or on the columns.
    fn references(&self, keys: &[ForeignKeySpec]) -> SqlResult<()> {
        for key in keys {
            let Some(table) = key.referenced_table.and_then(|id| self.access.catalog.table_by_id(id)) else { continue };
            let wanted = PrivilegeSet::REFERENCES;
            let has_whole = self.access.privileges_of(self.user, table.id, wanted) == wanted;
            let columns: Vec<u32> = match &key.referenced_columns[..] {
                [] => table.primary().columns.iter().map(|column| column.column.get()).collect(),
                names => names.iter().filter_map(|name| table.column_named(name)).map(|(_, it)| it.id.get()).collect(),
            };
            let has = |column: u32| self.access.column_privileges_of(self.user, table.id, column, wanted) == wanted;
            if !has_whole && !columns.into_iter().all(has) {
                return self.access.check(self.user, table.id, wanted);
            }
        }
        Ok(())
    }

    fn alter_table(&self, table: &Table, action: &AlterTable) -> SqlResult<()> {
        match action {
            AlterTable::AddColumn { column, foreign_keys, .. } => {
                self.usage_of(column.ty)?;
                self.references(foreign_keys)
            }
            AlterTable::SetType { ty, .. } => self.usage_of(*ty),
            AlterTable::AddForeignKey(key) => self.references(std::slice::from_ref(key)),
            AlterTable::RenameTo(_) => self.access.check_create_in(self.user, table.schema),
            AlterTable::AddIndex(_) => self.access.check_create_in(self.user, table.schema),
            AlterTable::SetSchema(schema) => self.access.check_create_in(self.user, *schema),
            AlterTable::OwnerTo(owner) => self.give(table.id, owner),
            AlterTable::AttachPartition { partition, .. } => self.access.check_owner(self.user, partition.id),
            AlterTable::DetachPartition { .. }
            | AlterTable::DropColumn { .. }
            | AlterTable::SetDefault { .. }
            | AlterTable::SetNotNull { .. }
            | AlterTable::DropNotNull { .. }
            | AlterTable::DropIdentity { .. }
            | AlterTable::AddIdentity { .. }
            | AlterTable::SetIdentity { .. }
            | AlterTable::DropExpression { .. }
            | AlterTable::AddCheck(_)
            | AlterTable::ValidateConstraint { .. }
            | AlterTable::AlterConstraint { .. }
            | AlterTable::DropConstraint { .. }
            | AlterTable::RenameColumn { .. }
            | AlterTable::RenameConstraint { .. }
            | AlterTable::SetTriggers { .. }
            | AlterTable::SetRowSecurity(_)
            | AlterTable::SplitAt(_)
            | AlterTable::Unsplit(_) => Ok(()),
        }
    }

    fn truncate(&self, mut tables: Vec<u32>, cascade: bool, restarts: bool) -> SqlResult<()> {
        let mut at = 0;
        while let Some(id) = tables.get(at).copied() {
            at += 1;
            self.access.check(self.user, id, PrivilegeSet::TRUNCATE)?;
            if let (true, Some(Relation::Table(table))) = (cascade, self.access.catalog.relation_by_id(id)) {
                let new: Vec<u32> = table.referenced_by.iter().filter(|from| !tables.contains(from)).copied().collect();
                tables.extend(new);
            }
        }
        // A sequence that starts again is changed.
        let is_theirs = |relation: &&Relation| match relation {
            Relation::Sequence(it) => it.owned_by.is_some_and(|(table, _)| tables.contains(&table)),
            Relation::Table(_) | Relation::View(_) => false,
        };
        let restarted = self.access.catalog.relations().filter(|relation| restarts && is_theirs(relation));
        // The oldest first, whichever order the catalog has them in.
        let mut restarted: Vec<u32> = restarted.map(Relation::id).collect();
        restarted.sort_unstable();
        restarted.into_iter().try_for_each(|id| self.access.check_owner(self.user, id))
    }
}
