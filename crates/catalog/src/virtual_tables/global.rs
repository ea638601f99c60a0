//! What databases have in common, and what every database has: roles, databases, schemas, tablespaces.

use types::Datum;

use super::privileges::acl_of;
use super::relations::{BTREE, HEAP, PG_NAMESPACE};
use super::row::{Rows, row};
use super::scope::{Scope, Source};
use crate::descriptor::{POSTGRES_ROLE, Role, Schema};
use crate::index_details::IndexMethod;
use crate::privilege::access::is_first_schema;
use crate::view::CatalogView;

pub(super) const TABLES: &[Source] = &[
    Source::whole("pg_namespace", pg_namespace),
    Source::whole("pg_init_privs", pg_init_privs),
    Source::whole("pg_database", pg_database),
    Source::whole("pg_authid", pg_authid),
    Source::whole("pg_roles", pg_roles),
    Source::whole("pg_user", pg_user),
    Source::whole("pg_shadow", pg_shadow),
    Source::fixed("pg_tablespace", pg_tablespace),
    Source::fixed("pg_am", pg_am),
];

const DEFAULT_TABLESPACE: u32 = 1663;
const UTF8: i32 = 6;

fn pg_namespace(view: &Scope<'_>, rows: &mut Rows) {
    for schema in view.schemas() {
        let acl = acl_of(view, schema.id).or_else(|| first_privileges(view, schema));
        row!(rows, { oid: schema.id, nspname: &schema.name, nspowner: schema.owner, nspacl: acl });
    }
}

/// Everybody may look into the schemas that are there from the start.
fn first_privileges(view: &CatalogView, schema: &Schema) -> Option<Vec<String>> {
    let is_first = is_first_schema(schema);
    let owner = view.role_name(schema.owner);
    is_first.then(|| vec![format!("{owner}=UC/{owner}"), format!("=U/{owner}")])
}

/// What was granted from the start, so that dumps leave it out.
fn pg_init_privs(view: &Scope<'_>, rows: &mut Rows) {
    for schema in view.schemas() {
        if let Some(acl) = first_privileges(view, schema) {
            row!(rows, { objoid: schema.id, classoid: PG_NAMESPACE, objsubid: 0, privtype: 'i', initprivs: acl });
        }
    }
}

fn pg_database(view: &Scope<'_>, rows: &mut Rows) {
    let mut databases: Vec<_> = view.catalog.databases().collect();
    databases.sort_unstable_by_key(|database| database.id);
    for database in databases {
        row!(rows, {
            oid: database.id,
            datname: &database.name,
            datdba: database.owner,
            encoding: UTF8,
            datlocprovider: 'c',
            datistemplate: false,
            datallowconn: true,
            datconnlimit: -1,
            datfrozenxid: 0,
            datminmxid: 0,
            dattablespace: DEFAULT_TABLESPACE,
            datcollate: "C",
            datctype: "C",
            datacl: acl_of(view, database.id),
        });
    }
}

fn roles(view: &CatalogView) -> Vec<&Role> {
    let mut roles: Vec<&Role> = view.catalog.roles().map(|role| &**role).collect();
    roles.sort_unstable_by_key(|role| role.id);
    roles
}

/// The first superuser has the attribute from the start; others need none to bypass it.
fn bypasses_row_security(view: &CatalogView, role: &Role) -> bool {
    role.id == POSTGRES_ROLE || view.catalog.privileges().bypasses_row_security(role.id)
}

fn valid_until(role: &Role) -> Option<Datum> {
    role.valid_until.map(Datum::TimestampTz)
}

fn pg_authid(view: &Scope<'_>, rows: &mut Rows) {
    for role in roles(view) {
        row!(rows, {
            oid: role.id,
            rolname: &role.name,
            rolsuper: role.superuser,
            rolinherit: view.catalog.privileges().inherits(role.id),
            rolcreaterole: role.create_role,
            rolcreatedb: role.create_db,
            rolcanlogin: role.login,
            rolreplication: role.id == POSTGRES_ROLE,
            rolbypassrls: bypasses_row_security(view, role),
            rolconnlimit: role.connection_limit,
            rolpassword: role.password.as_ref(),
            rolvaliduntil: valid_until(role),
        });
    }
}

fn pg_roles(view: &Scope<'_>, rows: &mut Rows) {
    for role in roles(view) {
        row!(rows, {
            rolname: &role.name,
            rolsuper: role.superuser,
            rolinherit: view.catalog.privileges().inherits(role.id),
            rolcreaterole: role.create_role,
            rolcreatedb: role.create_db,
            rolcanlogin: role.login,
            rolreplication: role.id == POSTGRES_ROLE,
            rolconnlimit: role.connection_limit,
            rolpassword: "********",
            rolvaliduntil: valid_until(role),
            rolbypassrls: bypasses_row_security(view, role),
            oid: role.id,
        });
    }
}

fn pg_user(view: &Scope<'_>, rows: &mut Rows) {
    for role in roles(view).into_iter().filter(|role| role.login) {
        row!(rows, {
            usename: &role.name,
            usesysid: role.id,
            usecreatedb: role.create_db,
            usesuper: role.superuser,
            userepl: role.id == POSTGRES_ROLE,
            usebypassrls: bypasses_row_security(view, role),
            passwd: "********",
            valuntil: valid_until(role),
        });
    }
}

fn pg_shadow(view: &Scope<'_>, rows: &mut Rows) {
    for role in roles(view).into_iter().filter(|role| role.login) {
        row!(rows, {
            usename: &role.name,
            usesysid: role.id,
            usecreatedb: role.create_db,
            usesuper: role.superuser,
            userepl: role.id == POSTGRES_ROLE,
            usebypassrls: bypasses_row_security(view, role),
            passwd: role.password.as_ref(),
            valuntil: valid_until(role),
        });
    }
}

fn pg_tablespace(rows: &mut Rows) {
    for (oid, name) in [(DEFAULT_TABLESPACE, "pg_default"), (1664, "pg_global")] {
        row!(rows, { oid: oid, spcname: name, spcowner: POSTGRES_ROLE });
    }
}

fn pg_am(rows: &mut Rows) {
    row!(rows, { oid: HEAP, amname: "heap", amhandler: 3, amtype: 't' });
    row!(rows, { oid: BTREE, amname: "btree", amhandler: 330, amtype: 'i' });
    row!(rows, { oid: IndexMethod::Gist.oid(), amname: "gist", amhandler: 332, amtype: 'i' });
    row!(rows, { oid: IndexMethod::Gin.oid(), amname: "gin", amhandler: 333, amtype: 'i' });
}
