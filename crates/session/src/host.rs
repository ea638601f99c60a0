//! What functions may ask of the session, and names of oids.

use std::sync::Arc;

use builtins::{CatalogFunctions, Host};
use catalog::{CatalogSnapshot, Relation};
use parking_lot::Mutex;
use types::{Datum, OidNames, SqlError, SqlResult, SqlState, SqlType};

use crate::settings::Settings;

/// Microseconds between 1970 and 2000.
pub(crate) const PG_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The session as functions see it: values as of the statement's start; settings changed by functions are collected.
pub(crate) struct SessionHost {
    pub user: String,
    pub database: String,
    pub schemas: Vec<String>,
    pub settings: Settings,
    pub changed: Mutex<Vec<(String, String, bool)>>,
    pub pid: i32,
    pub clock: Arc<hlc::Clock>,
    pub random: Mutex<rand::rngs::SmallRng>,
    pub client: Option<String>,
}

impl SessionHost {
    pub fn now_micros(clock: &hlc::Clock) -> i64 {
        i64::try_from(clock.physical_now_ns() / 1000).unwrap_or(i64::MAX) - PG_EPOCH_MICROS
    }
}

impl Host for SessionHost {
    fn clock_timestamp(&self) -> i64 {
        Self::now_micros(&self.clock)
    }

    fn random_bits(&self) -> u64 {
        use rand::Rng;
        self.random.lock().random()
    }

    fn current_user(&self) -> String {
        self.user.clone()
    }

    fn session_user(&self) -> String {
        self.user.clone()
    }

    fn current_database(&self) -> String {
        self.database.clone()
    }

    fn current_schemas(&self, include_implicit: bool) -> Vec<String> {
        let mut schemas = Vec::new();
        if include_implicit {
            schemas.push("pg_catalog".to_owned());
        }
        schemas.extend(self.schemas.iter().cloned());
        schemas
    }

    fn setting(&self, name: &str) -> Option<String> {
        let changed = self.changed.lock();
        let new = changed.iter().rev().find(|(known, ..)| known.eq_ignore_ascii_case(name));
        new.map(|(_, value, _)| value.clone()).or_else(|| self.settings.get(name).map(str::to_owned))
    }

    fn set_setting(&self, name: &str, value: &str, is_local: bool) -> SqlResult<String> {
        self.settings.clone().set(name, value)?;
        self.changed.lock().push((name.to_owned(), value.to_owned(), is_local));
        Ok(value.to_owned())
    }

    fn backend_pid(&self) -> i32 {
        self.pid
    }

    fn version(&self) -> String {
        format!("PostgreSQL 15.0 (Quorate {})", env!("CARGO_PKG_VERSION"))
    }

    fn client_address(&self) -> Option<String> {
        self.client.clone()
    }
}

/// Functions over the catalog, and the names of oids in it.
#[derive(Clone)]
pub(crate) struct CatalogHost {
    pub catalog: Arc<CatalogSnapshot>,
    pub database: u32,
    pub search_path: Vec<String>,
    pub user: String,
}

impl CatalogHost {
    fn relation_oid(&self, name: &str) -> Option<u32> {
        let mut parts: Vec<String> = name
            .split('.')
            .map(|part| match part.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
                Some(quoted) => quoted.to_owned(),
                None => part.to_lowercase(),
            })
            .collect();
        let relation = parts.pop()?;
        let schemas = match parts.pop() {
            Some(schema) => vec![self.catalog.schema(self.database, &schema)?.id],
            None => self.catalog.search_schemas(self.database, &self.search_path, &self.user),
        };
        schemas.into_iter().find_map(|schema| self.catalog.relation(schema, &relation)).map(Relation::id)
    }
}

impl OidNames for CatalogHost {
    fn name(&self, ty: &SqlType, oid: u32) -> Option<String> {
        match ty {
            SqlType::RegClass => self.catalog.relation_by_id(oid).map(|it| it.name().to_owned()),
            SqlType::RegType => SqlType::from_oid(oid, -1).map(|ty| ty.name()),
            SqlType::RegNamespace => self.catalog.schema_by_id(oid).map(|it| it.name.clone()),
            SqlType::RegRole => self.catalog.role_by_id(oid).map(|it| it.name.clone()),
            _ => None,
        }
    }

    fn lookup(&self, ty: &SqlType, name: &str) -> SqlResult<u32> {
        let missing = |code, what: &str| SqlError::new(code, format!("{what} \"{name}\" does not exist"));
        match ty {
            SqlType::RegClass => {
                self.relation_oid(name).ok_or_else(|| missing(SqlState::UndefinedTable, "relation"))
            }
            SqlType::RegType => SqlType::parse_name(name).map(|ty| ty.oid()),
            SqlType::RegNamespace => self
                .catalog
                .schema(self.database, name)
                .map(|it| it.id)
                .ok_or_else(|| missing(SqlState::InvalidSchemaName, "schema")),
            SqlType::RegRole => {
                self.catalog.role(name).map(|it| it.id).ok_or_else(|| missing(SqlState::UndefinedObject, "role"))
            }
            other => Err(SqlError::not_supported(format!("names of type {other}"))),
        }
    }
}

impl CatalogFunctions for CatalogHost {
    fn call(&self, name: &str, args: &[Datum]) -> SqlResult<Datum> {
        let oid = || args.first().and_then(Datum::as_int).and_then(|oid| u32::try_from(oid).ok());
        let text = || args.first().and_then(Datum::as_str);
        Ok(match name {
            "to_regclass" => text().and_then(|name| self.relation_oid(name)).map_or(Datum::Null, |oid| Datum::Int(i64::from(oid))),
            "pg_get_userbyid" => {
                let role = oid().and_then(|oid| self.catalog.role_by_id(oid));
                Datum::text(role.map_or_else(|| "unknown (OID=0)".to_owned(), |role| role.name.clone()))
            }
            "pg_table_is_visible" => {
                let visible = oid().and_then(|oid| self.catalog.relation_by_id(oid)).map(|relation| {
                    let schemas = self.catalog.search_schemas(self.database, &self.search_path, &self.user);
                    let found = schemas.into_iter().find_map(|schema| self.catalog.relation(schema, relation.name()));
                    found.is_some_and(|found| found.id() == relation.id())
                });
                visible.map_or(Datum::Null, Datum::Bool)
            }
            _ if name.starts_with("has_") => Datum::Bool(true),
            "obj_description" | "col_description" | "shobj_description" => Datum::Null,
            other => return Err(SqlError::not_supported(format!("function {other}"))),
        })
    }
}

/// No virtual table has rows yet.
pub(crate) struct NoRows;

impl exec::VirtualTables for NoRows {
    fn rows(&self, table: &catalog::VirtualTable, _catalog: &CatalogSnapshot) -> SqlResult<Vec<Vec<Datum>>> {
        Err(SqlError::not_supported(format!("reading {}.{}", table.schema, table.name)))
    }
}
