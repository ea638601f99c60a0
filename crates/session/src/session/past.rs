//! Snapshots that a transaction is given: of the past (AS OF SYSTEM TIME), of another transaction (SET TRANSACTION
//! SNAPSHOT), and the one that DEFERRABLE waits for.
//!
//! What is read of the past is read under the catalog of then, by the privileges of now.

use exec::ExportedSnapshot;
use hlc::Timestamp;
use kv::{Isolation, TxnOptions};
use types::{SqlError, SqlResult, SqlState, SqlType};

use super::{Failure, Session, catalog_error};
use crate::host::{PG_EPOCH_MICROS, SessionHost};

impl Session {
    /// A query's AS OF SYSTEM TIME: its transaction reads at that time.
    pub(super) async fn read_as_of(&mut self, text: &str) -> Result<(), Failure> {
        let at = self.time_of(text)?;
        match &self.block {
            None => self.open_in_past(at, false).await,
            Some(block) if block.explicit && !block.has_run && !block.txn.is_fixed() => {
                let message = "AS OF SYSTEM TIME must be given with BEGIN, or with SET TRANSACTION before any query";
                Err(SqlError::new(SqlState::ActiveSqlTransaction, message).into())
            }
            Some(block) if block.txn.read_ts() == at => Ok(()),
            Some(_) => {
                let message = "inconsistent AS OF SYSTEM TIME timestamp: it is not that of the transaction";
                Err(SqlError::new(SqlState::FeatureNotSupported, message).into())
            }
        }
    }

    /// AS OF SYSTEM TIME of a transaction that has begun and not read anything yet.
    pub(super) async fn begin_as_of(&mut self, text: &str) -> Result<(), Failure> {
        let at = self.time_of(text)?;
        if self.block.as_ref().is_some_and(|block| block.has_run || block.answered > 0) {
            let message = "AS OF SYSTEM TIME must be set before any query";
            return Err(SqlError::new(SqlState::ActiveSqlTransaction, message).into());
        }
        self.open_in_past(at, true).await?;
        // Of the past nothing can be changed.
        self.set("transaction_read_only", Some("on"), true)?;
        Ok(())
    }

    async fn open_in_past(&mut self, at: Timestamp, explicit: bool) -> Result<(), Failure> {
        let db = self.engine.catalog.db().clone();
        let mut txn = db.begin(TxnOptions { as_of: Some(at), ..TxnOptions::default() });
        let catalog = self.engine.catalog.as_of(&mut txn).await.map_err(catalog_error)?;
        let Some(catalog) = catalog.filter(|catalog| catalog.database_by_id(self.database).is_some()) else {
            let message = format!("database \"{}\" does not exist as of that time", self.database_name);
            return Err(SqlError::new(SqlState::InvalidCatalogName, message).into());
        };
        let before = self.block.take();
        self.open_block(explicit);
        let database = self.database;
        if let Some(block) = &mut self.block {
            *block.txn = txn;
            block.txn.set_lock_timeout(self.settings.duration("lock_timeout"));
            self.engine.catalog.pin(&mut block.txn, &catalog, database);
            block.snapshot = catalog;
            if let Some(before) = before {
                (block.settings, block.began) = (before.settings, before.began);
            }
            block.history = super::History::none();
            block.is_given = true;
        }
        Ok(())
    }

    /// When AS OF SYSTEM TIME says: an interval before now, a time, or nanoseconds since 1970.
    pub(super) fn time_of(&self, text: &str) -> SqlResult<Timestamp> {
        let refused = |what: String| SqlError::new(SqlState::InvalidParameterValue, format!("AS OF SYSTEM TIME: {what}"));
        let now = self.engine.clock.now();
        let text = text.trim();
        // What is too far ahead is in the future all the same.
        let micros = |micros: i64| Some(u64::try_from(micros.saturating_add(PG_EPOCH_MICROS)).ok()?.saturating_mul(1000));
        let formatting = &self.settings.formatting;
        let at = if let Some((wall, logical)) = nanoseconds(text) {
            Some(Timestamp::new(wall, logical))
        } else if text.starts_with('-') {
            let back = types::datetime::parse_interval(text).map_err(|_| refused(format!("\"{text}\" is no interval")))?;
            let micros_now = SessionHost::now_micros(&self.engine.clock);
            let then = types::datetime::timestamptz_add(micros_now, back, &formatting.zone)?;
            micros(then).map(|wall| Timestamp::new(wall, 0))
        } else {
            let ty = SqlType::TimestampTz(None);
            match types::parse_text(&ty, text, formatting) {
                Ok(types::Datum::TimestampTz(then)) => micros(then).map(|wall| Timestamp::new(wall, 0)),
                Ok(_) | Err(_) => {
                    return Err(refused(format!("\"{text}\" is neither an interval before now nor a time")));
                }
            }
        };
        let at = at.filter(|at| !at.is_min()).ok_or_else(|| refused("timestamp before 1970 is invalid".to_owned()))?;
        if at > now {
            return Err(refused("cannot specify timestamp in the future".to_owned()));
        }
        Ok(at)
    }

    /// SET TRANSACTION SNAPSHOT.
    pub(super) async fn import_snapshot(&mut self, id: &str) -> Result<(), Failure> {
        let refused = |code, message: &str| Err(Failure::Sql(SqlError::new(code, message)));
        let invalid = || SqlError::new(SqlState::InvalidParameterValue, format!("invalid snapshot identifier: \"{id}\""));
        let database = self.database;
        let read_only = self.settings.is_on("transaction_read_only");
        let isolation = self.isolation();
        // The clock of the node that exported it may be ahead of this one's.
        let clock = &self.engine.clock;
        let limit = clock.now().wall_ns().saturating_add(clock.max_offset_ns());
        let block = self.in_block("SET TRANSACTION")?;
        if block.has_run || block.txn.is_fixed() {
            return refused(SqlState::ActiveSqlTransaction, "SET TRANSACTION SNAPSHOT must be called before any query");
        }
        if !block.savepoints.is_empty() {
            let message = "SET TRANSACTION SNAPSHOT must not be called in a subtransaction";
            return refused(SqlState::ActiveSqlTransaction, message);
        }
        if isolation == Isolation::ReadCommitted {
            let message = "a snapshot-importing transaction must have isolation level SERIALIZABLE or REPEATABLE READ";
            return refused(SqlState::FeatureNotSupported, message);
        }
        let snapshot = ExportedSnapshot::parse(id).filter(|snapshot| snapshot.ts.wall_ns() <= limit).ok_or_else(invalid)?;
        if isolation == Isolation::Serializable && snapshot.isolation != Isolation::Serializable {
            let message = "a serializable transaction cannot import a snapshot from a non-serializable transaction";
            return refused(SqlState::FeatureNotSupported, message);
        }
        if isolation == Isolation::Serializable && snapshot.read_only && !read_only {
            let message = "a non-read-only serializable transaction cannot import a snapshot from a read-only transaction";
            return refused(SqlState::FeatureNotSupported, message);
        }
        if snapshot.database != database {
            return refused(SqlState::FeatureNotSupported, "cannot import a snapshot from a different database");
        }
        block.txn.set_isolation(isolation);
        if !block.txn.import_snapshot(snapshot.ts).await {
            return refused(SqlState::ActiveSqlTransaction, "SET TRANSACTION SNAPSHOT must be called before any query");
        }
        block.is_given = true;
        // Under the catalog of then.
        let Some(block) = &mut self.block else { return Ok(()) };
        let catalog = self.engine.catalog.as_of(&mut block.txn).await.map_err(catalog_error)?.ok_or_else(invalid)?;
        self.engine.catalog.pin(&mut block.txn, &catalog, database);
        block.snapshot = catalog;
        Ok(())
    }

    /// SERIALIZABLE READ ONLY DEFERRABLE waits for a snapshot that it will not have to leave.
    pub(super) async fn defer_snapshot(&mut self) -> Result<(), Failure> {
        let settings = &self.settings;
        if !settings.is_on("transaction_deferrable") || !settings.is_on("transaction_read_only") {
            return Ok(());
        }
        let Some(block) = self.block.as_mut().filter(|block| block.txn.isolation() == Isolation::Serializable) else {
            return Ok(());
        };
        block.txn.fix_snapshot().await.map_err(Failure::Kv)
    }
}

/// `1764500000000000000` or `1764500000000000000.0000000001`, as clusters show times of theirs.
fn nanoseconds(text: &str) -> Option<(u64, u32)> {
    let (wall, logical) = match text.split_once('.') {
        Some((wall, logical)) => (wall, logical.parse().ok()?),
        None => (text, 0),
    };
    // Shorter ones are years.
    let is_number = wall.len() > 14 && wall.bytes().all(|byte| byte.is_ascii_digit());
    Some((is_number.then(|| wall.parse().ok())??, logical))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_are_told_from_dates() {
        assert_eq!(nanoseconds("1764500000000000000"), Some((1_764_500_000_000_000_000, 0)));
        assert_eq!(nanoseconds("1764500000000000000.0000000007"), Some((1_764_500_000_000_000_000, 7)));
        for text in ["2026", "20261130", "20261130101112", "-10s", "2026-11-30 10:00:00", "1764500000000000000.x", ""] {
            assert_eq!(nanoseconds(text), None, "{text}");
        }
    }
}
