//! Expressions and statements: prepared once, evaluated often.

use std::sync::Arc;

use types::{Datum, SqlError, SqlResult, SqlState, SqlType};

use super::Run;
use crate::function::{ExpressionId, VariableId, VariableKind};
use crate::spi::{Keep, Outcome, ParameterSource, Prepared, Request, Spi, Variables};

/// A prepared text and what its parameters are.
#[derive(Debug)]
pub(crate) struct Entry<P> {
    pub prepared: Prepared<P>,
    pub parameters: Vec<(ParameterSource, SqlType)>,
    /// The variables among them that may have another type the next time.
    records: Vec<(VariableId, SqlType)>,
}

impl<S: Spi> Run<'_, S> {
    /// Whether the variables still have the types for which a text was prepared.
    fn fits(types: &[SqlType], entry: &Entry<S::Plan>) -> bool {
        entry.records.iter().all(|(id, ty)| types[id.index()] == *ty)
    }

    fn put_values(values: &[Datum], entry: &Entry<S::Plan>, into: &mut Vec<Datum>) {
        into.clear();
        into.extend(entry.parameters.iter().map(|(source, _)| match source {
            ParameterSource::Variable(id) => values[id.index()].clone(),
            ParameterSource::Field { record, at } => match &values[record.index()] {
                Datum::Record(fields) => fields.get(*at).cloned().unwrap_or_default(),
                _ => Datum::Null,
            },
            ParameterSource::Using(_) => Datum::Null,
        }));
    }

    /// Evaluates an expression that needs no future, if it is known to be one.
    pub(super) fn simple(&mut self, id: ExpressionId) -> Option<SqlResult<(Datum, SqlType)>> {
        let entry = self.local[id.index()].as_ref()?;
        if !entry.prepared.is_simple || !Self::fits(&self.types, entry) {
            return None;
        }
        Self::put_values(&self.values, entry, &mut self.arguments);
        let ty = entry.prepared.columns[0].1;
        Some(self.spi.evaluate_simple(&entry.prepared.plan, &self.arguments).map(|value| (value, ty)))
    }

    /// A text's plan, made now if there is none that fits.
    pub(super) async fn ready(
        &mut self,
        id: ExpressionId,
        wanted: Option<SqlType>,
    ) -> SqlResult<Arc<Entry<S::Plan>>> {
        let known = self.local[id.index()].clone().or_else(|| self.plans.get(id));
        if let Some(entry) = known
            && self.spi.is_current(&entry.prepared.plan)
            && Self::fits(&self.types, &entry)
        {
            self.local[id.index()] = Some(entry.clone());
            return Ok(entry);
        }
        let function = self.function;
        let expression = function.expression(id);
        let request = Request { text: &expression.text, kind: expression.kind, wanted };
        let mut variables = Variables {
            names: Some((function, expression.scope)),
            types: &self.types,
            parameters: Vec::new(),
        };
        let prepared = match self.spi.prepare(request, &mut variables).await {
            Ok(prepared) => prepared,
            Err(error) => {
                return Err(inside(error, &expression.prefix, &expression.text, || expression.context()));
            }
        };
        let parameters = variables.parameters;
        let records = parameters.iter().filter_map(|(source, _)| match source {
            ParameterSource::Variable(id)
                if matches!(function.variable(*id).kind, VariableKind::Scalar(_)) =>
            {
                None
            }
            ParameterSource::Variable(id) | ParameterSource::Field { record: id, .. } => {
                Some((*id, self.types[id.index()]))
            }
            ParameterSource::Using(_) => None,
        });
        let records = records.collect();
        let entry = Arc::new(Entry { prepared, parameters, records });
        self.plans.put(id, entry.clone());
        self.local[id.index()] = Some(entry.clone());
        Ok(entry)
    }

    /// Evaluates any expression.
    pub(super) async fn evaluate(
        &mut self,
        id: ExpressionId,
        wanted: Option<SqlType>,
    ) -> SqlResult<(Datum, SqlType)> {
        if let Some(value) = self.simple(id) {
            return value;
        }
        let entry = self.ready(id, wanted).await?;
        let columns = &entry.prepared.columns;
        let expression = self.function.expression(id);
        let shown = || format!("query: {}{}", expression.prefix, expression.text);
        match columns.as_slice() {
            [_] => {}
            [] => {
                return Err(
                    SqlError::new(SqlState::SyntaxError, "query did not return data").with_context(&shown())
                );
            }
            many => {
                let message = format!("query returned {} columns", many.len());
                return Err(SqlError::new(SqlState::SyntaxError, message).with_context(&shown()));
            }
        }
        if let Some(value) = self.simple(id) {
            return value;
        }
        let ty = columns[0].1;
        let outcome = self.execute(id, &entry, Keep::AtMost(2)).await?;
        let mut rows = outcome.rows.into_iter();
        let value = rows.next().and_then(|row| row.into_iter().next()).unwrap_or_default();
        if rows.next().is_some() {
            let message = "query returned more than one row";
            return Err(SqlError::new(SqlState::CardinalityViolation, message).with_context(&shown()));
        }
        self.row_count = outcome.processed;
        Ok((value, ty))
    }

    /// The values of a text's parameters.
    pub(super) fn values_of(&self, entry: &Entry<S::Plan>) -> Vec<Datum> {
        let mut values = Vec::with_capacity(entry.parameters.len());
        Self::put_values(&self.values, entry, &mut values);
        values
    }

    pub(super) async fn execute(
        &mut self,
        id: ExpressionId,
        entry: &Entry<S::Plan>,
        keep: Keep,
    ) -> SqlResult<Outcome> {
        let values = self.values_of(entry);
        let expression = self.function.expression(id);
        match self.spi.execute(&entry.prepared.plan, &values, keep).await {
            Ok(outcome) => Ok(outcome),
            Err(error) => Err(inside(error, &expression.prefix, &expression.text, || expression.context())),
        }
    }
}

/// An error in a text: with the place in it, if that is known, else with the text as a line of context.
pub(super) fn inside(error: SqlError, prefix: &str, text: &str, context: impl Fn() -> String) -> SqlError {
    match error.position {
        Some(position) => error.moved_inside(format!("{prefix}{text}"), prefix.chars().count() + position),
        None => error.with_context(&context()),
    }
}
