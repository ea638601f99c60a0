//! Statements that return rows: SQL, EXECUTE, CALL, loops over queries, cursors, RETURN NEXT and RETURN QUERY.

use std::sync::Arc;
use std::vec;

use types::{Array, Datum, Dimension, SqlError, SqlResult, SqlState, SqlType, to_text};

use super::expression::{Entry, inside};
use super::{LoopState, Run, check_columns, check_row};
use crate::function::{
    ExpressionId, FetchCount, FetchDirection, Into, Returned, RowSource, Step, Target, VariableId,
    VariableKind,
};
use crate::spi::{
    Command, Direction, Keep, Outcome, ParameterSource, PortalOptions, Prepared, Request, Row, Spi, Variables,
};

/// Rows that a loop fetches at once, the first time and later.
const FIRST_ROWS: i64 = 10;
const NEXT_ROWS: i64 = 50;

/// A loop over rows.
pub(super) struct RowsState {
    portal: String,
    columns: Vec<(String, SqlType)>,
    rows: vec::IntoIter<Row>,
    /// The portal has no more.
    done: bool,
    any: bool,
    fetched: bool,
    /// A cursor whose name was made up for the loop.
    unnamed: Option<VariableId>,
}

impl<S: Spi> Run<'_, S> {
    // Loops.

    pub(super) async fn open_loop(&mut self, slot: usize, source: &RowSource) -> SqlResult<()> {
        let (portal, unnamed) = match source {
            RowSource::Cursor { variable, .. } => {
                let unnamed = self.values[variable.index()].is_null().then_some(*variable);
                (self.open_source(Some(*variable), source, None, true).await?, unnamed)
            }
            _ => (self.open_source(None, source, None, true).await?, None),
        };
        self.loops[slot] = LoopState::Rows(Box::new(RowsState {
            portal,
            columns: Vec::new(),
            rows: Vec::new().into_iter(),
            done: false,
            any: false,
            fetched: false,
            unnamed,
        }));
        Ok(())
    }

    /// Stores the next row; false when there is none.
    pub(super) async fn next_row(&mut self, slot: usize, into: &Into) -> SqlResult<bool> {
        let LoopState::Rows(state) = &mut self.loops[slot] else {
            return Err(SqlError::internal("a loop goes on that has not begun"));
        };
        if state.rows.len() == 0 && !state.done {
            let wanted = if state.fetched { NEXT_ROWS } else { FIRST_ROWS };
            let fetched = self.spi.fetch(&state.portal, Direction::Forward(wanted), true).await?;
            state.done = (fetched.rows.len() as i64) < wanted;
            state.rows = fetched.rows.into_iter();
            if !state.fetched {
                state.fetched = true;
                state.columns = fetched.columns;
            }
        }
        let row = state.rows.next();
        let has_row = row.is_some();
        // A loop without any row leaves its variables NULL; after the last row they keep it.
        if has_row || !state.any {
            state.any = has_row;
            let columns = std::mem::take(&mut state.columns);
            let stored = self.store_into(into, &columns, row).await;
            if let LoopState::Rows(state) = &mut self.loops[slot] {
                state.columns = columns;
            }
            stored?;
        }
        Ok(has_row)
    }

    pub(super) async fn close_loop(&mut self, slot: usize) -> SqlResult<()> {
        let state = std::mem::replace(&mut self.loops[slot], LoopState::Closed);
        let LoopState::Rows(state) = state else { return Ok(()) };
        // The statements of the loop may have closed it.
        if self.spi.has_portal(&state.portal) {
            self.spi.close(&state.portal).await?;
        }
        if let Some(cursor) = state.unnamed {
            self.values[cursor.index()] = Datum::Null;
        }
        self.set_found(state.any);
        Ok(())
    }

    pub(super) async fn open_each(
        &mut self,
        slot: usize,
        array: ExpressionId,
        slice: usize,
        into: &Target,
    ) -> SqlResult<()> {
        let refuse = |state: SqlState, message: String| Err(SqlError::new(state, message));
        let (value, ty) = self.evaluate(array, None).await?;
        if value.is_null() {
            return refuse(SqlState::NullValueNotAllowed, "FOREACH expression must not be null".into());
        }
        let (Datum::Array(array), Some(element)) = (value, ty.element()) else {
            let message = format!("FOREACH expression must yield an array, not type {}", ty.name());
            return refuse(SqlState::DatatypeMismatch, message);
        };
        let dimensions = array.dimensions().len();
        if slice > dimensions {
            let message = format!("slice dimension ({slice}) is out of the valid range 0..{dimensions}");
            return refuse(SqlState::ArraySubscriptError, message);
        }
        if let (VariableKind::Scalar(variable), true) =
            (self.function.variable(into.variable).kind, into.path.is_empty())
        {
            if slice > 0 && variable.element().is_none() {
                let message = "FOREACH ... SLICE loop variable must be of an array type";
                return refuse(SqlState::DatatypeMismatch, message.into());
            }
            if slice == 0 && variable.element().is_some() {
                let message = "FOREACH loop variable must not be of an array type";
                return refuse(SqlState::DatatypeMismatch, message.into());
            }
        }
        self.loops[slot] = LoopState::Each { array, element, slice, next: 0, any: false };
        Ok(())
    }

    /// The next element or slice.
    pub(super) fn next_element(&mut self, slot: usize) -> SqlResult<Option<(Datum, SqlType)>> {
        let LoopState::Each { array, element, slice, next, any } = &mut self.loops[slot] else {
            return Err(SqlError::internal("a loop goes on that has not begun"));
        };
        if *slice == 0 {
            let Some(value) = array.elements().get(*next) else { return Ok(None) };
            *next += 1;
            *any = true;
            return Ok(Some((value.clone(), *element)));
        }
        let inner: &[Dimension] = &array.dimensions()[array.dimensions().len() - *slice..];
        let length: usize = inner.iter().map(|dimension| dimension.length as usize).product();
        let Some(elements) = array.elements().get(*next..*next + length).filter(|_| length > 0) else {
            return Ok(None);
        };
        let part = Array::with_dimensions(inner, elements.to_vec())?;
        *next += length;
        *any = true;
        Ok(Some((Datum::Array(Arc::new(part)), element.array_of())))
    }

    // Portals.

    /// Prepares the text of EXECUTE, OPEN FOR EXECUTE and their like: its text, plan and values.
    async fn prepare_dynamic(
        &mut self,
        query: ExpressionId,
        using: &[ExpressionId],
    ) -> SqlResult<(String, Prepared<S::Plan>, Vec<Datum>, Vec<Datum>)> {
        let (text, ty) = self.evaluate(query, None).await?;
        if text.is_null() {
            let message = "query string argument of EXECUTE is null";
            return Err(SqlError::new(SqlState::NullValueNotAllowed, message));
        }
        let text = self.text_of(&text, ty);
        let mut given = Vec::with_capacity(using.len());
        let mut types = Vec::with_capacity(using.len());
        for value in using {
            let (value, ty) = self.evaluate(*value, None).await?;
            given.push(value);
            types.push(if ty == SqlType::Unknown { SqlType::Text } else { ty });
        }
        let request = Request { text: &text, kind: crate::function::TextKind::Statement, wanted: None };
        let mut variables = Variables { names: None, types: &types, parameters: Vec::new() };
        let prepared = match self.spi.prepare(request, &mut variables).await {
            Ok(prepared) => prepared,
            Err(error) => return Err(inside_statement(error, &text)),
        };
        let values = variables.parameters.iter().map(|(source, _)| match source {
            ParameterSource::Using(at) => given[*at].clone(),
            _ => Datum::Null,
        });
        let values = values.collect();
        Ok((text, prepared, values, given))
    }

    fn check_cursor_query(prepared: &Prepared<S::Plan>) -> SqlResult<()> {
        let is_query = !prepared.columns.is_empty()
            && !matches!(prepared.command, Command::SelectInto | Command::Copy | Command::Transaction);
        if is_query {
            return Ok(());
        }
        let message = format!("cannot open {} query as cursor", prepared.command.tag());
        Err(SqlError::new(SqlState::InvalidCursorDefinition, message))
    }

    /// Opens a portal, of a cursor variable or for a loop.
    async fn open_source(
        &mut self,
        cursor: Option<VariableId>,
        source: &RowSource,
        scroll: Option<bool>,
        is_loop: bool,
    ) -> SqlResult<String> {
        let name = match cursor.map(|id| (id, &self.values[id.index()])) {
            Some((_, Datum::Text(name))) => {
                if self.spi.has_portal(name) {
                    let message = format!("cursor \"{name}\" already in use");
                    return Err(SqlError::new(SqlState::DuplicateCursor, message));
                }
                Some(name.clone())
            }
            _ => None,
        };
        let mut options = PortalOptions { name: name.as_deref(), scroll, is_loop };
        let portal = match source {
            RowSource::Query(query) => self.open_query(*query, options).await?,
            RowSource::Dynamic { query, using } => {
                let (text, prepared, values, _) = self.prepare_dynamic(*query, using).await?;
                Self::check_cursor_query(&prepared)?;
                let opened = self.spi.open(&prepared.plan, &values, options).await;
                opened.map_err(|error| inside_statement(error, &text))?
            }
            RowSource::Cursor { variable, arguments } => {
                let declaration = self.function.variable(*variable).cursor.clone();
                let declaration =
                    declaration.ok_or_else(|| SqlError::internal("only a bound cursor has a query"))?;
                if let Some(arguments) = arguments {
                    let entry = self.ready(*arguments, None).await?;
                    let outcome = self.execute(*arguments, &entry, Keep::AtMost(1)).await?;
                    let row = outcome.rows.into_iter().next().unwrap_or_default();
                    for ((id, value), (_, ty)) in
                        declaration.arguments.iter().zip(row).zip(&entry.prepared.columns)
                    {
                        self.store(*id, value, *ty)?;
                    }
                }
                options.scroll = declaration.scroll;
                self.open_query(declaration.query, options).await?
            }
        };
        if let Some(cursor) = cursor {
            self.values[cursor.index()] = Datum::text(portal.as_str());
        }
        Ok(portal)
    }

    async fn open_query(&mut self, query: ExpressionId, options: PortalOptions<'_>) -> SqlResult<String> {
        let entry = self.ready(query, None).await?;
        Self::check_cursor_query(&entry.prepared)?;
        let values = self.values_of(&entry);
        let expression = self.function.expression(query);
        let opened = self.spi.open(&entry.prepared.plan, &values, options).await;
        opened.map_err(|error| inside(error, "", &expression.text, || expression.context()))
    }

    pub(super) async fn open_cursor(
        &mut self,
        cursor: VariableId,
        source: &RowSource,
        scroll: Option<bool>,
    ) -> SqlResult<()> {
        self.open_source(Some(cursor), source, scroll, false).await.map(|_| ())
    }

    /// The portal that a cursor variable names.
    pub(super) fn portal_of(&self, cursor: VariableId) -> SqlResult<String> {
        let name = &self.function.variable(cursor).name;
        let Datum::Text(portal) = &self.values[cursor.index()] else {
            let message = format!("cursor variable \"{name}\" is null");
            return Err(SqlError::new(SqlState::NullValueNotAllowed, message));
        };
        if !self.spi.has_portal(portal) {
            let message = format!("cursor \"{portal}\" does not exist");
            return Err(SqlError::new(SqlState::InvalidCursorName, message));
        }
        Ok(portal.to_string())
    }

    async fn count(&mut self, count: FetchCount) -> SqlResult<Option<i64>> {
        match count {
            FetchCount::All => Ok(None),
            FetchCount::Rows(count) => Ok(Some(count)),
            FetchCount::Expression(id) => {
                let (value, ty) = self.evaluate(id, None).await?;
                match self.spi.coerce(value, &ty, &SqlType::Int4)? {
                    Datum::Int(count) => Ok(Some(count)),
                    _ => Err(SqlError::new(
                        SqlState::NullValueNotAllowed,
                        "relative or absolute cursor position is null",
                    )),
                }
            }
        }
    }

    pub(super) async fn fetch_cursor(
        &mut self,
        cursor: VariableId,
        direction: FetchDirection,
        into: Option<&Into>,
    ) -> SqlResult<()> {
        let portal = self.portal_of(cursor)?;
        let direction = match direction {
            FetchDirection::Forward(count) => match self.count(count).await? {
                Some(count) => Direction::Forward(count),
                None => Direction::ForwardAll,
            },
            FetchDirection::Backward(count) => match self.count(count).await? {
                Some(count) => Direction::Backward(count),
                None => Direction::BackwardAll,
            },
            FetchDirection::Absolute(count) => Direction::Absolute(self.count(count).await?.unwrap_or(1)),
            FetchDirection::Relative(count) => Direction::Relative(self.count(count).await?.unwrap_or(1)),
        };
        let fetched = self.spi.fetch(&portal, direction, into.is_some()).await?;
        let processed = fetched.processed;
        if let Some(into) = into {
            let (columns, row) = fetched.first();
            self.store_into(into, &columns, row).await?;
        }
        self.row_count = processed;
        self.set_found(processed != 0);
        Ok(())
    }

    // SQL.

    pub(super) async fn sql(
        &mut self,
        statement: ExpressionId,
        into: Option<&Into>,
        strict: bool,
    ) -> SqlResult<()> {
        let entry = self.ready(statement, None).await?;
        let command = entry.prepared.command;
        match command {
            Command::Copy => return Err(SqlError::not_supported("cannot COPY to/from client in PL/pgSQL")),
            Command::Transaction => {
                return Err(SqlError::not_supported("unsupported transaction command in PL/pgSQL"));
            }
            _ => {}
        }
        let returns_rows = !entry.prepared.columns.is_empty();
        if into.is_some() && !returns_rows {
            return Err(cannot_return());
        }
        if into.is_none() && returns_rows {
            let error = SqlError::new(SqlState::SyntaxError, "query has no destination for result data");
            return Err(match command {
                Command::Select => {
                    error.with_hint("If you want to discard the results of a SELECT, use PERFORM instead.")
                }
                _ => error,
            });
        }
        let at_most_one = strict || command.changes_rows();
        let keep = match into {
            None => Keep::Count,
            Some(_) => Keep::AtMost(if at_most_one { 2 } else { 1 }),
        };
        let outcome = self.execute(statement, &entry, keep).await?;
        if command == Command::Select || command.changes_rows() {
            self.set_found(outcome.processed != 0);
        }
        self.row_count = outcome.processed;
        match into {
            Some(into) => {
                check_strict(&outcome, strict, at_most_one, || self.parameters_shown(&entry))?;
                let row = outcome.rows.into_iter().next();
                self.store_into(into, &entry.prepared.columns, row).await
            }
            None => Ok(()),
        }
    }

    pub(super) async fn execute_dynamic(
        &mut self,
        query: ExpressionId,
        using: &[ExpressionId],
        into: Option<&Into>,
        strict: bool,
    ) -> SqlResult<()> {
        let (text, prepared, values, given) = self.prepare_dynamic(query, using).await?;
        match prepared.command {
            Command::Copy => return Err(SqlError::not_supported("cannot COPY to/from client in PL/pgSQL")),
            Command::Transaction => {
                return Err(SqlError::not_supported("EXECUTE of transaction commands is not implemented"));
            }
            Command::SelectInto => {
                return Err(SqlError::not_supported("EXECUTE of SELECT ... INTO is not implemented")
                    .with_hint(
                        "You might want to use EXECUTE ... INTO or EXECUTE CREATE TABLE ... AS instead.",
                    ));
            }
            _ => {}
        }
        if into.is_some() && prepared.columns.is_empty() {
            return Err(cannot_return());
        }
        let keep = if into.is_some() { Keep::AtMost(if strict { 2 } else { 1 }) } else { Keep::Count };
        let outcome = self.spi.execute(&prepared.plan, &values, keep).await;
        let outcome = outcome.map_err(|error| inside_statement(error, &text))?;
        self.row_count = outcome.processed;
        let Some(into) = into else { return Ok(()) };
        check_strict(&outcome, strict, strict, || self.given_shown(&given))?;
        self.store_into(into, &prepared.columns, outcome.rows.into_iter().next()).await
    }

    pub(super) async fn call_procedure(&mut self, statement: ExpressionId) -> SqlResult<()> {
        let entry = self.ready(statement, None).await?;
        let mut targets = Vec::with_capacity(entry.prepared.outputs.len());
        for (at, output) in entry.prepared.outputs.iter().enumerate() {
            let source = output.parameter.map(|parameter| &entry.parameters[parameter].0);
            let target = match source {
                Some(ParameterSource::Variable(id)) => Some(Target::from(*id)),
                Some(ParameterSource::Field { record, at }) => {
                    let row = self.types[record.index()].row_type();
                    let name = row.and_then(|row| row.fields.get(*at).map(|(name, _)| name.to_string()));
                    name.map(|name| Target { variable: *record, path: [Step::Field(name)].into() })
                }
                _ => None,
            };
            let Some(target) = target else {
                let which = match &output.name {
                    Some(name) => format!("\"{name}\""),
                    None => (at + 1).to_string(),
                };
                let message = format!(
                    "procedure parameter {which} is an output parameter but corresponding argument is not writable"
                );
                return Err(SqlError::new(SqlState::SyntaxError, message));
            };
            let variable = self.function.variable(target.variable);
            if variable.constant {
                let message = format!("variable \"{}\" is declared CONSTANT", variable.name);
                return Err(SqlError::new(SqlState::ErrorInAssignment, message));
            }
            targets.push(target);
        }
        let keep = if targets.is_empty() { Keep::Count } else { Keep::AtMost(2) };
        let outcome = self.execute(statement, &entry, keep).await?;
        if targets.is_empty() {
            return Ok(());
        }
        if outcome.rows.len() > 1 {
            return Err(SqlError::internal("procedure call returned more than one row"));
        }
        let row = outcome.rows.into_iter().next();
        self.store_into(&Into::Row(targets.into()), &entry.prepared.columns, row).await
    }

    // Sets.

    pub(super) async fn return_next(&mut self, returned: &Returned) -> SqlResult<()> {
        let (value, ty) = match returned {
            Returned::Expression(id) => self.evaluate(*id, None).await?,
            other => self.without_expression(other),
        };
        let row = match self.returns {
            wanted if wanted.is_row() => {
                let no_row = "cannot return non-composite value from function returning composite type";
                if let (Returned::Variable(id), Datum::Null) = (returned, &value)
                    && matches!(self.function.variable(*id).kind, VariableKind::Record(SqlType::RECORD))
                    && self.types[id.index()] == SqlType::RECORD
                {
                    return Err(crate::spi::unassigned(&self.function.variable(*id).name));
                }
                check_row(&value, ty, wanted, "wrong record type supplied in RETURN NEXT", no_row)?;
                match value {
                    Datum::Record(fields) => fields.to_vec(),
                    _ => vec![Datum::Null; wanted.row_type().map_or(0, |row| row.fields.len())],
                }
            }
            wanted => vec![self.spi.coerce(value, &ty, &wanted)?],
        };
        self.spi.return_row(row)
    }

    pub(super) async fn return_query(&mut self, source: &RowSource) -> SqlResult<()> {
        let wanted: Vec<SqlType> = match self.returns {
            ty if ty.is_row() => match ty.row_type() {
                Some(row) => row.fields.iter().map(|(_, ty)| *ty).collect(),
                None => return Err(SqlError::internal("a set of records has known columns")),
            },
            ty => vec![ty],
        };
        let outcome = match source {
            RowSource::Query(query) => {
                let entry = self.ready(*query, None).await?;
                let expression = self.function.expression(*query);
                check_set(&entry.prepared, &wanted)
                    .map_err(|error| error.with_context(&expression.context()))?;
                self.execute(*query, &entry, Keep::All).await?
            }
            RowSource::Dynamic { query, using } => {
                let (text, prepared, values, _) = self.prepare_dynamic(*query, using).await?;
                check_set(&prepared, &wanted).map_err(|error| inside_statement(error, &text))?;
                let outcome = self.spi.execute(&prepared.plan, &values, Keep::All).await;
                outcome.map_err(|error| inside_statement(error, &text))?
            }
            RowSource::Cursor { .. } => return Err(SqlError::internal("RETURN QUERY has a query")),
        };
        self.row_count = outcome.processed;
        self.set_found(outcome.processed != 0);
        for row in outcome.rows {
            self.spi.return_row(row)?;
        }
        Ok(())
    }

    // What messages show.

    pub(super) fn text_of(&self, value: &Datum, ty: SqlType) -> String {
        match value {
            Datum::Text(text) => text.to_string(),
            other => to_text(&ty, other, self.spi.formatting()),
        }
    }

    fn quoted(&self, value: &Datum, ty: SqlType) -> String {
        match value {
            Datum::Null => "NULL".into(),
            value => format!("'{}'", self.text_of(value, ty).replace('\'', "''")),
        }
    }

    /// The values of USING, if the function asks for them.
    fn given_shown(&self, given: &[Datum]) -> Vec<String> {
        if !self.function.print_strict_params {
            return Vec::new();
        }
        let shown = given.iter().enumerate();
        shown.map(|(at, value)| format!("${} = {}", at + 1, self.quoted(value, prepared_type(value)))).collect()
    }

    /// The parameters of a statement, if the function asks for them where STRICT is not met.
    fn parameters_shown(&self, entry: &Entry<S::Plan>) -> Vec<String> {
        if !self.function.print_strict_params {
            return Vec::new();
        }
        let values = self.values_of(entry);
        let mut shown: Vec<(u32, String)> = entry
            .parameters
            .iter()
            .zip(values)
            .filter_map(|((source, ty), value)| {
                let (id, name) = match source {
                    ParameterSource::Variable(id) => (*id, self.function.variable(*id).name.clone()),
                    ParameterSource::Field { record, at } => {
                        let row = self.types[record.index()].row_type()?;
                        (*record, row.fields.get(*at)?.0.to_string())
                    }
                    ParameterSource::Using(_) => return None,
                };
                Some((id.0, format!("{name} = {}", self.quoted(&value, *ty))))
            })
            .collect();
        shown.sort_by_key(|(id, _)| *id);
        shown.into_iter().map(|(_, text)| text).collect()
    }
}

fn cannot_return() -> SqlError {
    SqlError::new(SqlState::SyntaxError, "INTO used with a command that cannot return data")
}

fn inside_statement(error: SqlError, text: &str) -> SqlError {
    inside(error, "", text, || format!("SQL statement \"{text}\""))
}

/// How many rows INTO may get.
fn check_strict(
    outcome: &Outcome,
    strict: bool,
    at_most_one: bool,
    parameters: impl Fn() -> Vec<String>,
) -> SqlResult<()> {
    let error = match outcome.rows.len() {
        0 if strict => SqlError::new(SqlState::NoDataFound, "query returned no rows"),
        2.. if at_most_one => SqlError::new(SqlState::TooManyRows, "query returned more than one row")
            .with_hint("Make sure the query returns a single row, or use LIMIT 1."),
        _ => return Ok(()),
    };
    let parameters = parameters();
    Err(match parameters.as_slice() {
        [] => error,
        some => error.with_detail(format!("parameters: {}", some.join(", "))),
    })
}

/// Whether the rows of a query are those of the function's set.
fn check_set<P>(prepared: &Prepared<P>, wanted: &[SqlType]) -> SqlResult<()> {
    if prepared.columns.is_empty() {
        let message = format!("{} query does not return tuples", prepared.command.tag());
        return Err(SqlError::new(SqlState::SyntaxError, message));
    }
    let found = prepared.columns.iter().map(|(_, ty)| *ty).collect();
    check_columns(found, wanted.to_vec(), "structure of query does not match function result type")
}

/// For printing alone.
fn prepared_type(value: &Datum) -> SqlType {
    match value {
        Datum::Bool(_) => SqlType::Bool,
        Datum::Int(_) => SqlType::Int8,
        Datum::Float(_) => SqlType::Float8,
        Datum::Numeric(_) => SqlType::NUMERIC,
        Datum::Date(_) => SqlType::Date,
        Datum::Time(_) => SqlType::TIME,
        Datum::TimeTz(_) => SqlType::TIMETZ,
        Datum::Timestamp(_) => SqlType::TIMESTAMP,
        Datum::TimestampTz(_) => SqlType::TIMESTAMPTZ,
        Datum::Interval(_) => SqlType::Interval,
        Datum::Uuid(_) => SqlType::Uuid,
        Datum::Bits(_) => SqlType::VARBIT,
        Datum::Geometry(value) => value.sql_type(),
        Datum::TsVector(_) => SqlType::TsVector,
        Datum::TsQuery(_) => SqlType::TsQuery,
        Datum::JsonPath(_) => SqlType::JsonPath,
        Datum::Bytes(_) => SqlType::Bytea,
        Datum::Jsonb(_) => SqlType::Jsonb,
        Datum::Record(_) => SqlType::RECORD,
        _ => SqlType::Text,
    }
}
