//! Functions that a client calls by their oids.

use types::{Datum, SqlError, SqlResult, SqlState, SqlType, quote_identifier};

use super::{Ending, Run, Session, TransactionStatus, aborted};
use crate::sink::Sink;

/// A function that can be called by a message.
#[derive(Clone, Debug)]
pub struct FunctionOfOid {
    /// With its schema, as SQL has it.
    name: String,
    pub args: Vec<SqlType>,
    pub result: SqlType,
}

impl Session {
    /// # Errors
    /// 25P02.
    pub fn check_not_failed(&self) -> SqlResult<()> {
        if self.status() == TransactionStatus::Failed { Err(aborted()) } else { Ok(()) }
    }

    /// # Errors
    /// 42883 when there is none, and 0A000 for one whose answer is not a value.
    pub async fn function_of_oid(&mut self, oid: u32) -> SqlResult<FunctionOfOid> {
        let missing = || SqlError::new(SqlState::UndefinedFunction, format!("function with OID {oid} does not exist"));
        let not_callable = |name: &str| {
            SqlError::not_supported(format!("cannot call function \"{name}\" via fastpath interface"))
        };
        if let Some(found) = catalog::virtual_tables::builtin_function(oid) {
            if !found.is_plain {
                return Err(not_callable(found.name));
            }
            let of = |oid: &u32| SqlType::from_oid(*oid, -1).ok_or_else(|| not_callable(found.name));
            let args = found.args.iter().map(of).collect::<SqlResult<Vec<_>>>()?;
            let (name, result) = (quote_identifier(found.name), of(&found.result)?);
            return Ok(FunctionOfOid { name: format!("pg_catalog.{name}"), args, result });
        }
        if self.catalog().routine_by_id(oid).is_none() {
            // It may have been made on another node.
            self.type_of_oid(oid).await?;
        }
        let catalog = self.catalog();
        let routine = catalog.routine_by_id(oid).ok_or_else(missing)?;
        let schema = catalog.schema_by_id(routine.schema).ok_or_else(missing)?;
        let args: Option<Vec<SqlType>> = routine.input_types().into_iter().map(|ty| catalog.stored_type(ty)).collect();
        let is_plain = routine.kind == catalog::RoutineKind::Function && !routine.returns_set && !routine.is_trigger();
        let (Some(args), Some(result)) = (args.filter(|_| is_plain), catalog.result_type(routine)) else {
            return Err(not_callable(&routine.name));
        };
        let name = format!("{}.{}", quote_identifier(&schema.name), quote_identifier(&routine.name));
        Ok(FunctionOfOid { name, args, result })
    }

    /// Calls a function; its value goes to the sink as the only row.
    ///
    /// # Errors
    /// The function's.
    pub async fn call_by_message(
        &mut self,
        function: &FunctionOfOid,
        args: Vec<Datum>,
        sink: &mut dyn Sink,
    ) -> SqlResult<()> {
        let places: Vec<String> = (1..=args.len()).map(|number| format!("${number}")).collect();
        let text = format!("SELECT {}({})", function.name, places.join(", "));
        let hints: Vec<Option<SqlType>> = function.args.iter().map(|ty| Some(*ty)).collect();
        let statement = self.read(&text, &hints)?.pop().ok_or_else(|| SqlError::internal("a call of no text"))?;
        let run = Run {
            statement: &statement,
            params: &args,
            planned: None,
            text: None,
            describe: false,
            ending: Ending::WithStatement,
            limit: 0,
        };
        self.run_with(&run, sink).await.map(|_| ())
    }
}
