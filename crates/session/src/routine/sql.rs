//! Functions in SQL: statements one after another, the last of which answers.

use std::sync::Arc;

use builtins::CallTypes;
use catalog::Routine;
use exec::{NodeMemory, Returned};
use parking_lot::Mutex;
use plan::routine::{Does, what_it_does};
use plan::{PlanColumn, PreparedPlan, VariableConflict, VariableSource};
use plpgsql::{Keep, Parameter, Row};
use types::{CastContext, Datum, RowType, SqlError, SqlResult, SqlState, SqlType, can_cast, cast};

use super::cache::SqlStatement;
use super::spi::SessionSpi;
use crate::{session::Session, text_size};

/// The statements of a body.
///
/// # Errors
/// 42601 with the position in the body; 53200 where the node has no memory for so long a one.
pub(super) fn read(body: &str, memory: &Arc<NodeMemory>) -> SqlResult<Arc<[SqlStatement]>> {
    let mut memory = text_size::reserve(memory, body)?;
    let statements = plan::parse(body)?.into_iter();
    Ok(statements.map(|parsed| SqlStatement { parsed, plan: Mutex::new(None), _memory: memory.take() }).collect())
}

/// The parameters of a function by number and name; columns come first.
struct Names<'a> {
    function: &'a str,
    parameters: &'a [Parameter],
}

impl Names<'_> {
    fn inputs(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().filter(|it| it.mode.is_input())
    }
}

impl VariableSource for Names<'_> {
    fn resolve(&self, parts: &[&str], _is_column: bool) -> SqlResult<Option<(usize, SqlType)>> {
        let find = |wanted: &str| {
            let found = self.inputs().enumerate().find(|(_, it)| it.name.as_deref() == Some(wanted));
            found.map(|(at, it)| (at, it.ty))
        };
        Ok(match parts {
            [name] => find(name),
            [function, name] if *function == self.function => find(name),
            _ => None,
        })
    }

    fn positional(&self, number: usize) -> Option<(usize, SqlType)> {
        let at = number.checked_sub(1)?;
        self.inputs().nth(at).map(|it| (at, it.ty))
    }

    fn conflict(&self) -> VariableConflict {
        VariableConflict::UseColumn
    }
}

/// How the rows of the last statement become the function's.
enum Shape {
    Nothing,
    Value,
    /// Each column a field.
    Fields(Arc<RowType>),
    /// One column that is the row.
    WholeRow,
}

fn mismatch(returns: SqlType, detail: impl Into<String>) -> SqlError {
    let message = format!("return type mismatch in function declared to return {}", returns.base_name());
    SqlError::new(SqlState::InvalidFunctionDefinition, message).with_detail(detail)
}

fn fits(found: SqlType, wanted: SqlType) -> bool {
    found == SqlType::Unknown
        || found.same_base(&wanted)
        || matches!(can_cast(&found, &wanted), Some(CastContext::Implicit | CastContext::Assignment))
}

/// # Errors
/// 42P13 where the last statement answers something else than is declared.
fn shape(columns: &[PlanColumn], does: Option<Does>, returns: SqlType) -> SqlResult<Shape> {
    if returns == SqlType::Void {
        return Ok(Shape::Nothing);
    }
    let answers = matches!(does, Some(Does::Select | Does::Insert | Does::Update | Does::Delete)) && !columns.is_empty();
    if !answers {
        let detail = "Function's final statement must be SELECT or INSERT/UPDATE/DELETE RETURNING.";
        return Err(mismatch(returns, detail));
    }
    if !returns.is_row() {
        return match columns {
            [only] if fits(only.ty, returns) => Ok(Shape::Value),
            [only] => Err(mismatch(returns, format!("Actual return type is {}.", only.ty.base_name()))),
            _ => Err(mismatch(returns, "Final statement must return exactly one column.")),
        };
    }
    let is_whole = |only: &PlanColumn| {
        only.ty.same_base(&returns) && returns.composite().is_some()
            || only.ty.is_row() && returns.row_type().is_none_or(|row| row.fields.len() != 1)
    };
    if let [only] = columns
        && is_whole(only)
    {
        return Ok(Shape::WholeRow);
    }
    let Some(row) = returns.row_type() else {
        let fields = columns.iter().map(|column| (Arc::from(column.name.as_str()), column.ty)).collect();
        return Ok(Shape::Fields(Arc::new(RowType { table: None, fields })));
    };
    for (at, (column, (_, wanted))) in columns.iter().zip(&row.fields).enumerate() {
        if !fits(column.ty, *wanted) {
            return Err(mismatch(
                returns,
                format!(
                    "Final statement returns {} instead of {} at column {}.",
                    column.ty.base_name(),
                    wanted.base_name(),
                    at + 1
                ),
            ));
        }
    }
    if columns.len() > row.fields.len() {
        return Err(mismatch(returns, "Final statement returns too many columns."));
    }
    if columns.len() < row.fields.len() {
        return Err(mismatch(returns, "Final statement returns too few columns."));
    }
    Ok(Shape::Fields(row))
}

impl Session {
    pub(super) fn check_sql(&self, routine: &Routine, returns: SqlType) -> SqlResult<()> {
        let statements = read(&routine.body, &self.engine.memory)?;
        // What polymorphic types are is not known yet.
        if routine.inputs().any(|parameter| parameter.ty.is_polymorphic()) {
            return Ok(());
        }
        let parameters = self.parameters_of(routine, None)?;
        let names = Names { function: &routine.name, parameters: &parameters };
        let mut last = None;
        for statement in statements.iter() {
            let plan = self.plan_among(&statement.parsed, &[], Some(&names))?;
            let does = what_it_does(&statement.parsed, &plan);
            check_allowed(does)?;
            last = Some((plan, does));
        }
        let columns = last.as_ref().map(|(plan, _)| plan.columns.as_slice()).unwrap_or_default();
        let does = last.as_ref().map(|(_, does)| *does);
        shape(columns, does, returns).map(drop)
    }
}

fn check_allowed(does: Does) -> SqlResult<()> {
    match does {
        Does::Transaction => Err(SqlError::not_supported("transaction commands are not allowed in an SQL function")),
        Does::Copy => Err(SqlError::not_supported("COPY is not allowed in an SQL function")),
        _ => Ok(()),
    }
}

impl SessionSpi<'_> {
    /// Runs a body in SQL.
    pub(super) async fn run_sql(
        &mut self,
        routine: &Routine,
        statements: &[SqlStatement],
        types: &CallTypes,
        args: Vec<Datum>,
    ) -> SqlResult<Returned> {
        let parameters = self.session.parameters_of(routine, Some(&types.args))?;
        let names = Names { function: &routine.name, parameters: &parameters };
        let mut returned = Returned::default();
        for (at, statement) in statements.iter().enumerate() {
            let is_last = at + 1 == statements.len();
            let outcome = self.run_statement(routine, statement, &names, types, &args, is_last).await;
            let rows = outcome.map_err(|error| {
                let line = format!("SQL function \"{}\" statement {}", routine.name, at + 1);
                match error.position {
                    Some(position) => error.moved_inside(&*routine.body, position).with_context(&line),
                    None => error.with_context(&line),
                }
            })?;
            if is_last {
                returned.rows = rows;
            }
        }
        if !routine.returns_set {
            let rows = std::mem::take(&mut returned.rows);
            let row = rows.into_iter().next();
            returned.value = match (row, types.ret) {
                (Some(row), returns) if returns.is_row() => Datum::Record(row.into()),
                (Some(row), _) => row.into_iter().next().unwrap_or_default(),
                (None, _) => Datum::Null,
            };
        }
        Ok(returned)
    }

    async fn run_statement(
        &mut self,
        routine: &Routine,
        statement: &SqlStatement,
        names: &Names<'_>,
        types: &CallTypes,
        args: &[Datum],
        is_last: bool,
    ) -> SqlResult<Vec<Row>> {
        let known = statement.plan.lock().clone();
        let scope = self.scope();
        let current = known.filter(|(plan, planned_in)| self.session.is_current(plan) && planned_in.has_path_of(&scope));
        let plan = match current {
            Some((plan, _)) => plan,
            None => {
                let plan = Arc::new(self.session.plan_among(&statement.parsed, &[], Some(names))?);
                *statement.plan.lock() = Some((plan.clone(), scope));
                plan
            }
        };
        let does = what_it_does(&statement.parsed, &plan);
        check_allowed(does)?;
        if !is_last {
            self.run_one(&plan, args, Keep::Count, &statement.parsed).await?;
            return Ok(Vec::new());
        }
        let shape = shape(&plan.columns, Some(does), types.ret)?;
        let keep = match shape {
            Shape::Nothing => Keep::Count,
            _ if routine.returns_set => Keep::All,
            _ => Keep::AtMost(1),
        };
        let outcome = self.run_one(&plan, args, keep, &statement.parsed).await?;
        self.shaped(outcome.rows, &plan, &shape, types.ret)
    }

    fn shaped(&self, rows: Vec<Row>, plan: &PreparedPlan, shape: &Shape, returns: SqlType) -> SqlResult<Vec<Row>> {
        let convert = |value: Datum, from: SqlType, to: SqlType| {
            if from == to || value.is_null() {
                return Ok(value);
            }
            cast(value, &from, &to, CastContext::Assignment, self.formatting_now())
        };
        let mut shaped = Vec::with_capacity(rows.len());
        for row in rows {
            let values = row.into_iter().zip(&plan.columns);
            shaped.push(match shape {
                Shape::Nothing => Vec::new(),
                Shape::Value => {
                    values.map(|(value, column)| convert(value, column.ty, returns)).collect::<SqlResult<Row>>()?
                }
                Shape::Fields(row) => values
                    .zip(&row.fields)
                    .map(|((value, column), (_, wanted))| convert(value, column.ty, *wanted))
                    .collect::<SqlResult<Row>>()?,
                Shape::WholeRow => match values.map(|(value, column)| convert(value, column.ty, returns)).next().transpose()? {
                    Some(Datum::Record(fields)) => fields.to_vec(),
                    _ => vec![Datum::Null; returns.row_type().map_or(1, |row| row.fields.len())],
                },
            });
        }
        Ok(shaped)
    }
}
