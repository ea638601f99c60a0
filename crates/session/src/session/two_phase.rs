//! Two-phase commit for applications: PREPARE TRANSACTION, COMMIT PREPARED, ROLLBACK PREPARED.
//!
//! A prepared transaction is the cluster's, and no session's: any node ends it (`kv`, `prepared.rs`). What belongs to a
//! session, or must not wait for somebody who may never come back, cannot be part of one: temporary objects, cursors WITH
//! HOLD, exported snapshots, advisory locks, and changes of the catalog, on which all other sessions of the database would
//! wait.

use std::sync::Arc;

use catalog::Relation;
use kv::PreparedTxn;
use types::{Datum, SqlError, SqlResult, SqlState};

use super::{Completion, Failure, Session, TransactionStatus};
use crate::{
    host::SessionHost,
    sink::{Severity, Sink},
};

/// A name has fewer bytes.
const MAX_GID_BYTES: usize = 200;

/// What is kept with the name of a prepared transaction.
///
/// ```text
/// byte 0        format, 1
/// bytes 1..5    the owner's id, little endian
/// bytes 5..9    the database's
/// bytes 9..17   when it was prepared, microseconds since 2000
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Info {
    pub owner: u32,
    pub database: u32,
    pub at: i64,
}

const FORMAT: u8 = 1;

impl Info {
    fn encode(self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.extend_from_slice(&self.owner.to_le_bytes());
        out.extend_from_slice(&self.database.to_le_bytes());
        out.extend_from_slice(&self.at.to_le_bytes());
        out
    }

    /// # Errors
    /// XX001.
    pub fn of(prepared: &PreparedTxn) -> SqlResult<Self> {
        let damaged = || SqlError::new(SqlState::DataCorrupted, format!("prepared transaction \"{}\" is damaged", prepared.gid));
        let (format, rest) = prepared.info.split_first().ok_or_else(damaged)?;
        let (owner, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        let (database, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        let at = <[u8; 8]>::try_from(rest).map_err(|_| damaged())?;
        if *format != FORMAT {
            return Err(damaged());
        }
        Ok(Self {
            owner: u32::from_le_bytes(*owner),
            database: u32::from_le_bytes(*database),
            at: i64::from_le_bytes(at),
        })
    }
}

/// The rows of `pg_prepared_xacts`.
pub(crate) fn rows(
    table: &'static catalog::VirtualTable,
    prepared: &[PreparedTxn],
    catalog: &catalog::CatalogSnapshot,
) -> SqlResult<Vec<Vec<Datum>>> {
    let row = |prepared: &PreparedTxn| {
        let info = Info::of(prepared)?;
        let owner = catalog.role_by_id(info.owner).map(|role| role.name.as_str());
        let database = catalog.database_by_id(info.database).map(|database| database.name.as_str());
        let name = |name: Option<&str>| name.map_or(Datum::Null, Datum::text);
        Ok(table.row([
            ("transaction", Datum::Int(xid(prepared).into())),
            ("gid", Datum::text(prepared.gid.as_str())),
            ("prepared", Datum::TimestampTz(info.at)),
            ("owner", name(owner)),
            ("database", name(database)),
        ]))
    };
    prepared.iter().map(row).collect()
}

/// Four bytes of its id; below 3 none is a transaction's.
fn xid(prepared: &PreparedTxn) -> u32 {
    let id = prepared.id();
    let bytes = id.as_bytes();
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]).max(3)
}

/// # Errors
/// 0A000 in a routine.
fn check_outside(within: Option<bool>) -> SqlResult<()> {
    match within {
        Some(_) => Err(SqlError::not_supported("EXECUTE of transaction commands is not implemented")),
        None => Ok(()),
    }
}

impl Session {
    /// PREPARE TRANSACTION.
    pub(super) async fn prepare_transaction(&mut self, gid: &str, sink: &mut dyn Sink) -> Result<Completion, Failure> {
        check_outside(self.within)?;
        if self.status() != TransactionStatus::InBlock {
            let message = "there is no transaction in progress";
            self.notice(sink, Severity::Warning, SqlState::NoActiveSqlTransaction, message);
            return Ok(Completion::Done("ROLLBACK".to_owned()));
        }
        match self.try_prepare(gid).await {
            Ok(()) => Ok(Completion::Done("PREPARE TRANSACTION".to_owned())),
            Err(failure) => Err(self.cannot_end(failure).await),
        }
    }

    async fn try_prepare(&mut self, gid: &str) -> Result<(), Failure> {
        self.check_preparable(gid)?;
        self.settle_deferred(None).await?;
        // What it has put off may have run triggers.
        self.check_preparable(gid)?;
        let limit = self.settings.get("max_prepared_transactions").and_then(|limit| limit.parse::<usize>().ok());
        let limit = limit.unwrap_or(0);
        if limit == 0 {
            let message = "prepared transactions are disabled";
            return Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, message)
                .with_hint("Set max_prepared_transactions to a nonzero value.")
                .into());
        }
        let db = self.engine.catalog.db().clone();
        if db.prepared_count().await.map_err(Failure::Kv)? >= limit {
            return Err(SqlError::new(SqlState::OutOfMemory, "maximum number of prepared transactions reached")
                .with_hint(format!("Increase max_prepared_transactions (currently {limit})."))
                .into());
        }
        let info = Info {
            owner: self.environment().user_id,
            database: self.database,
            at: SessionHost::now_micros(&self.engine.clock),
        };
        let Some(block) = &mut self.block else { return Ok(()) };
        if block.txn.prepare(gid, &info.encode()).await.map_err(Failure::Kv)?.is_none() {
            let message = format!("transaction identifier \"{gid}\" is already in use");
            return Err(SqlError::new(SqlState::DuplicateObject, message).into());
        }
        self.leave_block().await;
        Ok(())
    }

    /// # Errors
    /// 0A000 for what cannot be part of a prepared transaction, 22023 for a name that is too long.
    fn check_preparable(&self, gid: &str) -> SqlResult<()> {
        let refused = |what: &str| Err(SqlError::not_supported(format!("cannot PREPARE a transaction that has {what}")));
        if !self.portals.to_hold().is_empty() {
            return refused("created a cursor WITH HOLD");
        }
        if self.has_used_temporary() {
            return refused("operated on temporary objects");
        }
        if self.state.has_exported {
            return refused("exported snapshots");
        }
        if self.state.advisory.holds_in_transaction() {
            return refused("taken transaction-level advisory locks");
        }
        self.check_no_notify()?;
        let Some(block) = &self.block else { return Ok(()) };
        if block.txn.is_in_past() {
            return refused("read AS OF SYSTEM TIME");
        }
        if block.change.is_some() || !block.locked.is_empty() {
            return refused("changed the catalog");
        }
        if gid.len() >= MAX_GID_BYTES {
            let message = format!("transaction identifier \"{gid}\" is too long");
            return Err(SqlError::new(SqlState::InvalidParameterValue, message));
        }
        Ok(())
    }

    fn has_used_temporary(&self) -> bool {
        let Some(block) = self.block.as_ref().filter(|_| self.has_temporary) else { return false };
        let catalog = self.catalog();
        let Some(schema) = catalog.schema(self.database, &self.temporary).map(|schema| schema.id) else { return false };
        block.uses.iter().filter_map(|id| catalog.relation_by_id(*id)).any(|relation| match relation {
            Relation::Table(table) => table.schema == schema,
            other => other.schema() == schema,
        })
    }

    /// COMMIT PREPARED and ROLLBACK PREPARED; `tag` is which.
    pub(super) async fn end_prepared(&mut self, gid: &str, commit: bool, tag: &str) -> Result<(), Failure> {
        check_outside(self.within)?;
        if self.block.is_some() {
            let message = format!("{tag} cannot run inside a transaction block");
            return Err(SqlError::new(SqlState::ActiveSqlTransaction, message).into());
        }
        let db = self.engine.catalog.db().clone();
        let missing = || {
            let message = format!("prepared transaction with identifier \"{gid}\" does not exist");
            Failure::Sql(SqlError::new(SqlState::UndefinedObject, message))
        };
        let found = db.find_prepared(gid).await.map_err(Failure::Kv)?.ok_or_else(missing)?;
        let info = Info::of(&found)?;
        self.know_privileges().await?;
        let user = self.environment().user_id;
        let is_superuser = self.roles().role_by_id(user).is_some_and(|role| role.superuser);
        if user != info.owner && !is_superuser {
            let message = "permission denied to finish prepared transaction";
            return Err(SqlError::new(SqlState::InsufficientPrivilege, message)
                .with_hint("Must be superuser or the user that prepared the transaction.")
                .into());
        }
        if info.database != self.database {
            return Err(SqlError::not_supported("prepared transaction belongs to another database")
                .with_hint("Connect to the database where the transaction was prepared to finish it.")
                .into());
        }
        match db.end_prepared(&found, commit).await.map_err(Failure::Kv)? {
            true => Ok(()),
            false => Err(missing()),
        }
    }

    /// A database whose transactions are prepared is not dropped.
    ///
    /// # Errors
    /// 55006.
    pub(super) async fn check_no_prepared(&mut self, name: &str) -> Result<(), Failure> {
        let catalog: Arc<catalog::CatalogSnapshot> = self.catalog();
        let Some(database) = catalog.database(name).map(|database| database.id) else { return Ok(()) };
        let prepared = self.engine.catalog.db().prepared_txns().await.map_err(Failure::Kv)?;
        let mut count = 0;
        for found in &prepared {
            count += usize::from(Info::of(found)?.database == database);
        }
        if count == 0 {
            return Ok(());
        }
        let detail = match count {
            1 => "There is 1 prepared transaction using the database.".to_owned(),
            count => format!("There are {count} prepared transactions using the database."),
        };
        let message = format!("database \"{name}\" is being accessed by other users");
        Err(SqlError::new(SqlState::ObjectInUse, message).with_detail(detail).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clusters have these bytes.
    #[test]
    fn golden_bytes() {
        let info = Info { owner: 10, database: 5, at: 0x0102_0304 };
        assert_eq!(info.encode(), b"\x01\x0a\0\0\0\x05\0\0\0\x04\x03\x02\x01\0\0\0\0");
    }
}
