//! What text input and output depend on besides the value: the session's settings.

use std::fmt;
use std::sync::Arc;

use crate::datetime::zone::Zone;
use crate::error::SqlResult;
use crate::sql_type::SqlType;

/// The order of day, month and year in ambiguous dates on input, and in all styles but ISO and German on output
/// (`DateStyle`'s second half).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DateOrder {
    #[default]
    Mdy,
    Dmy,
    Ymd,
}

/// How dates are shown (`DateStyle`'s first half).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DateStyle {
    #[default]
    Iso,
    Sql,
    Postgres,
    German,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IntervalStyle {
    #[default]
    Postgres,
    PostgresVerbose,
    SqlStandard,
    Iso8601,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ByteaOutput {
    #[default]
    Hex,
    Escape,
}

/// Names of oids, for the reg* types. The session implements it over its catalog snapshot.
pub trait OidNames: Send + Sync {
    /// How `oid` is shown as a `ty` (regclass, regtype, …); `None` prints digits.
    fn name(&self, ty: &SqlType, oid: u32) -> Option<String>;

    /// The oid that `name` means; the error is the type's own (42P01 for regclass, …).
    fn lookup(&self, ty: &SqlType, name: &str) -> SqlResult<u32>;
}

#[derive(Clone)]
pub struct Formatting {
    pub zone: Zone,
    /// What `now`, `today` and `tomorrow` refer to: the transaction's start, microseconds since 2000-01-01 UTC.
    pub now: i64,
    /// 1 and above: shortest digits that read back exactly. 0 and below: 15 (or 6) digits and fewer.
    pub extra_float_digits: i32,
    pub date_style: DateStyle,
    pub date_order: DateOrder,
    pub interval_style: IntervalStyle,
    pub bytea_output: ByteaOutput,
    pub oid_names: Option<Arc<dyn OidNames>>,
}

impl Default for Formatting {
    fn default() -> Self {
        Self {
            zone: Zone::utc(),
            now: 0,
            extra_float_digits: 1,
            date_style: DateStyle::default(),
            date_order: DateOrder::default(),
            interval_style: IntervalStyle::default(),
            bytea_output: ByteaOutput::default(),
            oid_names: None,
        }
    }
}

impl fmt::Debug for Formatting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Formatting")
            .field("zone", &self.zone)
            .field("now", &self.now)
            .field("extra_float_digits", &self.extra_float_digits)
            .field("date_style", &self.date_style)
            .field("date_order", &self.date_order)
            .field("interval_style", &self.interval_style)
            .field("bytea_output", &self.bytea_output)
            .finish_non_exhaustive()
    }
}
