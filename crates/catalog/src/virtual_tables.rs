//! Tables that have no rows in storage: `pg_catalog`, `information_schema` and the cluster's own views. Here are
//! their names, oids and columns; `session` makes their rows.

use types::SqlType;

/// A table made when it is read.
#[derive(Debug)]
pub struct VirtualTable {
    pub oid: u32,
    pub schema: &'static str,
    pub name: &'static str,
    pub columns: &'static [(&'static str, SqlType)],
}
