//! What belongs to a table and is named together with it: triggers and policies.

use types::{SqlError, SqlResult, SqlState};

use super::ddl;
use crate::{
    PlanContext,
    statement::{Ddl, PreparedPlan},
};

/// A kind of such parts.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub name: &'static str,
    pub drop_tag: &'static str,
}

impl Kind {
    pub fn missing(self, name: &str, table: &str) -> SqlError {
        let message = format!("{} \"{name}\" for table \"{table}\" does not exist", self.name);
        SqlError::new(SqlState::UndefinedObject, message)
    }

    /// DROP of one: what was found, or the name of the relation that has none.
    pub fn drop<T>(
        self,
        name: &str,
        found: SqlResult<Result<T, String>>,
        if_exists: bool,
        made: impl FnOnce(T) -> Ddl,
        context: &PlanContext<'_>,
    ) -> SqlResult<PreparedPlan> {
        let skipped = |what: String| Ok(ddl(Ddl::Skipped(format!("{what}, skipping")), self.drop_tag, context));
        match found {
            Err(error) if if_exists && matches!(error.code(), SqlState::UndefinedTable | SqlState::InvalidSchemaName) => {
                skipped(error.message().to_owned())
            }
            Err(error) => Err(error),
            Ok(Ok(found)) => Ok(ddl(made(found), self.drop_tag, context)),
            Ok(Err(on)) if if_exists => skipped(format!("{} \"{name}\" for relation \"{on}\" does not exist", self.name)),
            Ok(Err(on)) => Err(self.missing(name, &on)),
        }
    }
}
