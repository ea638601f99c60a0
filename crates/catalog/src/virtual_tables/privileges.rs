//! What is granted: `pg_auth_members`, `pg_default_acl`, and the privileges of the information schema.

use types::Datum;

use super::row::{Rows, YesNo, row};
use super::scope::{Key, Scope, Source};
use crate::descriptor::{POSTGRES_ROLE, Table};
use crate::privilege::acl::PUBLIC;
use crate::privilege::{Access, Acl, AclItem, ObjectKind, PrivilegeSet};
use crate::routine::Routine;
use crate::snapshot::Relation;
use crate::view::CatalogView;

pub(super) const TABLES: &[Source] = &[
    Source::whole("pg_auth_members", pg_auth_members),
    Source::whole("pg_default_acl", pg_default_acl),
];

const OF_TABLES: &[(&str, Key)] = &[("table_schema", Key::SchemaName), ("table_name", Key::ClassName)];
const OF_ROUTINES: &[(&str, Key)] =
    &[("specific_schema", Key::SchemaName), ("routine_schema", Key::SchemaName), ("routine_name", Key::RoutineName)];
const OF_OTHERS: &[(&str, Key)] = &[("object_schema", Key::SchemaName)];

pub(super) const INFORMATION_SCHEMA: &[Source] = &[
    Source::whole("enabled_roles", enabled_roles),
    Source::whole("applicable_roles", applicable_roles),
    Source::of("table_privileges", |view, rows| table_privileges(view, true, rows), OF_TABLES),
    Source::of("role_table_grants", |view, rows| table_privileges(view, false, rows), OF_TABLES),
    Source::of("column_privileges", |view, rows| column_privileges(view, true, rows), OF_TABLES),
    Source::of("role_column_grants", |view, rows| column_privileges(view, false, rows), OF_TABLES),
    Source::of("routine_privileges", |view, rows| routine_privileges(view, true, rows), OF_ROUTINES),
    Source::of("role_routine_grants", |view, rows| routine_privileges(view, false, rows), OF_ROUTINES),
    Source::of("usage_privileges", |view, rows| usage_privileges(view, true, rows), OF_OTHERS),
    Source::of("role_usage_grants", |view, rows| usage_privileges(view, false, rows), OF_OTHERS),
];

/// A role's name as access control items have it.
pub(crate) fn item_name(view: &CatalogView, role: u32) -> String {
    let Some(role) = view.catalog.role_by_id(role) else { return role.to_string() };
    match role.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !role.name.is_empty() {
        true => role.name.clone(),
        false => format!("\"{}\"", role.name.replace('"', "\"\"")),
    }
}

fn texts(view: &CatalogView, acl: &Acl) -> Vec<String> {
    acl.texts(&|role| item_name(view, role))
}

/// An object's list as its catalog shows it: NULL as long as nothing was granted or revoked.
pub(super) fn acl_of(view: &CatalogView, id: u32) -> Option<Vec<String>> {
    let privileges = view.catalog.privileges();
    privileges.row(id)?.acl.as_ref().map(|acl| texts(view, acl))
}

pub(super) fn column_acl_of(view: &CatalogView, id: u32, column: u32) -> Option<Vec<String>> {
    let privileges = view.catalog.privileges();
    privileges.row(id)?.column(column).map(|acl| texts(view, acl))
}

fn pg_auth_members(view: &Scope<'_>, rows: &mut Rows) {
    let privileges = view.catalog.privileges();
    let mut all: Vec<_> = privileges.rows().collect();
    all.sort_unstable_by_key(|row| row.id);
    for (row, it) in all.into_iter().flat_map(|row| row.members.iter().map(move |it| (row, it))) {
        row!(rows, { roleid: row.id, member: it.member, grantor: it.grantor, admin_option: it.admin });
    }
    for role in [3_374_u32, 3_375, 3_377] {
        row!(rows, { roleid: role, member: crate::privilege::access::MONITOR, grantor: POSTGRES_ROLE, admin_option: false });
    }
}

fn pg_default_acl(view: &Scope<'_>, rows: &mut Rows) {
    let privileges = view.catalog.privileges();
    let is_there = |schema: u32| schema == 0 || view.catalog.schema_by_id(schema).is_some();
    let defaults = privileges.defaults().filter(|(it, _)| it.database == view.database && is_there(it.schema));
    for (default, row) in defaults {
        row!(rows, {
            oid: row.id,
            defaclrole: default.role,
            defaclnamespace: default.schema,
            defaclobjtype: default.kind.letter(),
            defaclacl: row.acl.as_ref().map(|acl| texts(view, acl)),
        });
    }
}

/// The current user, whose right to see things is asked for.
pub(super) struct Seer<'a> {
    access: Access<'a>,
    user: u32,
}

impl<'a> Seer<'a> {
    pub(super) fn new(view: &'a CatalogView) -> Self {
        let user = view.catalog.role(&view.user).map_or(PUBLIC, |role| role.id);
        Self { access: view.catalog.access(view.database), user }
    }

    /// Whether the user owns a relation or may do anything with it.
    pub(super) fn sees_relation(&self, relation: &Relation) -> bool {
        let id = relation.id();
        let (kind, all) = match relation {
            Relation::Table(_) | Relation::View(_) => (ObjectKind::Table, ObjectKind::Table.all()),
            Relation::Sequence(_) => (ObjectKind::Sequence, ObjectKind::Sequence.all()),
        };
        self.access.owns(self.user, id)
            || !self.access.privileges_of(self.user, id, all).is_empty()
            || kind == ObjectKind::Table
                && ObjectKind::Column.all().each().any(|(it, ..)| self.access.has_on_any_column(self.user, id, it))
    }

    pub(super) fn sees_column(&self, relation: u32, column: u32) -> bool {
        let all = ObjectKind::Column.all();
        self.access.owns(self.user, relation)
            || !self.access.privileges_of(self.user, relation, all).is_empty()
            || !self.access.column_privileges_of(self.user, relation, column, all).is_empty()
    }

    pub(super) fn reads_column(&self, relation: u32, column: u32) -> bool {
        let select = PrivilegeSet::SELECT;
        !self.access.privileges_of(self.user, relation, select).is_empty()
            || !self.access.column_privileges_of(self.user, relation, column, select).is_empty()
    }

    pub(super) fn sees_schema(&self, schema: u32) -> bool {
        self.access.owns(self.user, schema)
            || !self.access.privileges_of(self.user, schema, ObjectKind::Schema.all()).is_empty()
    }

    pub(super) fn is_subject_to_row_security(&self, table: &Table) -> bool {
        self.access.row_security(self.user, table).is_subject()
    }

    pub(super) fn owns(&self, id: u32) -> bool {
        self.access.owns(self.user, id)
    }

    /// Whether a grant is shown: to its parties, and where `to_all`, also what everybody has.
    fn sees_grant(&self, item: &AclItem, to_all: bool) -> bool {
        let is = |role: u32| role != PUBLIC && self.access.has_role(self.user, role);
        is(item.grantor) || is(item.grantee) || to_all && item.grantee == PUBLIC
    }

    /// The grants of a list that are shown, privilege by privilege.
    fn grants(&self, acl: &Acl, owner: u32, to_all: bool) -> Vec<Grant> {
        let mut grants = Vec::new();
        for item in acl.0.iter().filter(|item| self.sees_grant(item, to_all)) {
            for (privilege, _, name) in item.privileges.each() {
                // The owner may grant whatever there is.
                let is_owners = item.grantee != PUBLIC && self.access.has_role(item.grantee, owner);
                let is_grantable = is_owners || item.options.has(privilege);
                grants.push(Grant { grantor: item.grantor, grantee: item.grantee, privilege, name, is_grantable });
            }
        }
        grants
    }
}

struct Grant {
    grantor: u32,
    grantee: u32,
    privilege: PrivilegeSet,
    name: &'static str,
    is_grantable: bool,
}

fn grantee_name(view: &CatalogView, role: u32) -> String {
    if role == PUBLIC { "PUBLIC".to_owned() } else { view.role_name(role) }
}

fn enabled_roles(view: &Scope<'_>, rows: &mut Rows) {
    let seer = Seer::new(view);
    let mut names: Vec<&str> = view
        .catalog
        .roles()
        .filter(|role| seer.access.has_role(seer.user, role.id))
        .map(|role| role.name.as_str())
        .collect();
    names.sort_unstable();
    for name in names {
        row!(rows, { role_name: name });
    }
}

fn applicable_roles(view: &Scope<'_>, rows: &mut Rows) {
    let seer = Seer::new(view);
    let mut all: Vec<_> = seer.access.privileges.rows().collect();
    all.sort_unstable_by_key(|row| row.id);
    for (row, it) in all.into_iter().flat_map(|row| row.members.iter().map(move |it| (row, it))) {
        if seer.access.has_role(seer.user, it.member) {
            row!(rows, {
                grantee: view.role_name(it.member),
                role_name: view.role_name(row.id),
                is_grantable: YesNo(it.admin),
            });
        }
    }
}

fn tables_and_views<'a>(view: &Scope<'a>) -> impl Iterator<Item = (&'a Relation, u32)> + use<'a> {
    view.relations().into_iter().filter_map(|relation| match relation {
        Relation::Table(it) if it.materialized.is_some() => None,
        Relation::Table(it) => Some((relation, it.owner)),
        Relation::View(it) => Some((relation, it.owner)),
        Relation::Sequence(_) => None,
    })
}

fn table_privileges(view: &Scope<'_>, to_all: bool, rows: &mut Rows) {
    let seer = Seer::new(view);
    for (relation, owner) in tables_and_views(view) {
        let Some(object) = seer.access.object(relation.id()) else { continue };
        for grant in seer.grants(&seer.access.acl(relation.id(), &object), owner, to_all) {
            row!(rows, {
                grantor: view.role_name(grant.grantor),
                grantee: grantee_name(view, grant.grantee),
                table_catalog: view.database_name(),
                table_schema: view.schema_name(relation.schema()),
                table_name: relation.name(),
                privilege_type: grant.name,
                is_grantable: YesNo(grant.is_grantable),
                with_hierarchy: YesNo(grant.name == "SELECT"),
            });
        }
    }
}

fn column_privileges(view: &Scope<'_>, to_all: bool, rows: &mut Rows) {
    let seer = Seer::new(view);
    for (relation, owner) in tables_and_views(view) {
        let Some(object) = seer.access.object(relation.id()) else { continue };
        let whole = seer.access.acl(relation.id(), &object);
        let columns: Vec<(u32, &str)> = match relation {
            Relation::Table(it) => it.visible_columns().map(|(_, it)| (it.id.get(), it.name.as_str())).collect(),
            Relation::View(it) => (1..).zip(&it.columns).map(|(number, (name, _))| (number, name.as_str())).collect(),
            Relation::Sequence(_) => continue,
        };
        for (column, name) in columns {
            let row = seer.access.privileges.row(relation.id());
            let mut acl = whole.clone();
            row.and_then(|row| row.column(column)).into_iter().for_each(|own| acl.merge(own));
            let grants = seer.grants(&acl, owner, to_all).into_iter();
            for grant in grants.filter(|grant| ObjectKind::Column.all().has(grant.privilege)) {
                row!(rows, {
                    grantor: view.role_name(grant.grantor),
                    grantee: grantee_name(view, grant.grantee),
                    table_catalog: view.database_name(),
                    table_schema: view.schema_name(relation.schema()),
                    table_name: relation.name(),
                    column_name: name,
                    privilege_type: grant.name,
                    is_grantable: YesNo(grant.is_grantable),
                });
            }
        }
    }
}

fn routine_privileges(view: &Scope<'_>, to_all: bool, rows: &mut Rows) {
    let seer = Seer::new(view);
    for routine in view.routines() {
        let Some(object) = seer.access.object(routine.id) else { continue };
        let acl = seer.access.acl(routine.id, &object);
        for grant in seer.grants(&acl, routine.owner, to_all) {
            push_routine(view, routine, &grant, rows);
        }
    }
}

fn push_routine(view: &CatalogView, routine: &Routine, grant: &Grant, rows: &mut Rows) {
    row!(rows, {
        grantor: view.role_name(grant.grantor),
        grantee: grantee_name(view, grant.grantee),
        specific_catalog: view.database_name(),
        specific_schema: view.schema_name(routine.schema),
        specific_name: format!("{}_{}", routine.name, routine.id),
        routine_catalog: view.database_name(),
        routine_schema: view.schema_name(routine.schema),
        routine_name: routine.name.as_str(),
        privilege_type: grant.name,
        is_grantable: YesNo(grant.is_grantable),
    });
}

/// Of domains and sequences; types are not the standard's.
fn usage_privileges(view: &Scope<'_>, to_all: bool, rows: &mut Rows) {
    let seer = Seer::new(view);
    let domains = view.types().into_iter().filter(|ty| ty.domain().is_some());
    let domains = domains.map(|ty| (ty.id, ty.owner, ty.schema, ty.name.as_str(), "DOMAIN"));
    let sequences = view.relations().into_iter().filter_map(|relation| match relation {
        Relation::Sequence(it) => Some((it.id, it.owner, it.schema, it.name.as_str(), "SEQUENCE")),
        Relation::Table(_) | Relation::View(_) => None,
    });
    for (id, owner, schema, name, kind) in domains.chain(sequences) {
        let Some(object) = seer.access.object(id) else { continue };
        for grant in seer.grants(&seer.access.acl(id, &object), owner, to_all) {
            if grant.privilege != PrivilegeSet::USAGE {
                continue;
            }
            row!(rows, {
                grantor: view.role_name(grant.grantor),
                grantee: grantee_name(view, grant.grantee),
                object_catalog: view.database_name(),
                object_schema: view.schema_name(schema),
                object_name: name,
                object_type: kind,
                privilege_type: Datum::text("USAGE"),
                is_grantable: YesNo(grant.is_grantable),
            });
        }
    }
}
