//! Assignment: into variables, fields of records, elements and slices of arrays.

use std::sync::Arc;

use types::{Array, Datum, Json, JsonStep, RowType, SqlError, SqlResult, SqlState, SqlType};

use super::{Run, row_type};
use crate::function::{ExpressionId, Into, Step, Target, VariableId, VariableKind};
use crate::spi::{Row, Spi, no_field, unassigned};

/// A step whose subscripts are known.
#[derive(Clone, Debug, PartialEq)]
enum KnownStep {
    Field(String),
    /// Subscripts that stand side by side: all of one array.
    Element(Vec<i32>),
    /// Any of them is a slice.
    Slice(Vec<(Option<i32>, Option<i32>)>),
    /// Subscripts of a jsonb value.
    Member(Vec<JsonStep>),
}

impl<S: Spi> Run<'_, S> {
    /// Stores a value into a whole variable.
    pub(super) fn store(&mut self, id: VariableId, value: Datum, ty: SqlType) -> SqlResult<()> {
        let function = self.function;
        let variable = function.variable(id);
        match variable.kind {
            VariableKind::Scalar(wanted) => {
                let value = if ty == wanted || value.is_null() {
                    value
                } else {
                    self.spi.coerce(value, &ty, &wanted)?
                };
                if variable.not_null && value.is_null() {
                    return Err(null_refused(&variable.name));
                }
                self.values[id.index()] = value;
            }
            VariableKind::Any => {
                self.values[id.index()] = value;
                self.types[id.index()] = if ty == SqlType::Unknown { SqlType::Text } else { ty };
            }
            VariableKind::Record(declared) => {
                if variable.not_null && value.is_null() {
                    return Err(null_refused(&variable.name));
                }
                match value {
                    Datum::Null => {
                        self.values[id.index()] = Datum::Null;
                        self.types[id.index()] = declared;
                    }
                    Datum::Record(fields) => {
                        let columns = match ty.row_type() {
                            Some(row) => row.fields.clone(),
                            None => RowType::unnamed(fields.iter().map(implied_type)).fields,
                        };
                        let columns: Vec<(String, SqlType)> =
                            columns.into_iter().map(|(name, ty)| (name.to_string(), ty)).collect();
                        self.store_row(id, &columns, Some(fields.to_vec()))?;
                        // A row of a table stays one.
                        if declared == SqlType::RECORD && ty.row_type().is_some() {
                            self.types[id.index()] = ty;
                        }
                    }
                    _ => {
                        return Err(SqlError::new(
                            SqlState::DatatypeMismatch,
                            "cannot assign non-composite value to a record variable",
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// Stores a row into a record: one of any type takes the row's, one of a type gets the columns in their order.
    pub(super) fn store_row(
        &mut self,
        id: VariableId,
        columns: &[(String, SqlType)],
        row: Option<Row>,
    ) -> SqlResult<()> {
        let VariableKind::Record(declared) = self.function.variable(id).kind else {
            return Err(SqlError::internal("a row goes into a record"));
        };
        let Some(wanted) = declared.row_type() else {
            let row = row.unwrap_or_else(|| vec![Datum::Null; columns.len()]);
            self.values[id.index()] = Datum::Record(row.into());
            self.types[id.index()] = row_type(columns);
            return Ok(());
        };
        let mut given = row.unwrap_or_default().into_iter().zip(columns);
        let mut fields = Vec::with_capacity(wanted.fields.len());
        for (_, ty) in &wanted.fields {
            fields.push(match given.next() {
                Some((value, (_, from))) => self.spi.coerce(value, from, ty)?,
                None => Datum::Null,
            });
        }
        self.values[id.index()] = Datum::Record(fields.into());
        Ok(())
    }

    /// Stores a row, or NULLs where there is none.
    pub(super) async fn store_into(
        &mut self,
        into: &Into,
        columns: &[(String, SqlType)],
        row: Option<Row>,
    ) -> SqlResult<()> {
        let targets = match into {
            Into::Record(id) => return self.store_row(*id, columns, row),
            Into::Row(targets) => targets,
        };
        let row = row.unwrap_or_default();
        let mut given = row.into_iter().zip(columns);
        for target in targets {
            let (value, ty) = match given.next() {
                Some((value, (_, ty))) => (value, *ty),
                None => (Datum::Null, SqlType::Text),
            };
            self.assign(target, value, ty).await?;
        }
        Ok(())
    }

    /// The type that a literal is read as when it is assigned.
    fn wanted(&self, target: &Target) -> Option<SqlType> {
        let mut ty = match self.function.variable(target.variable).kind {
            VariableKind::Scalar(ty) => ty,
            VariableKind::Record(_) if target.path.is_empty() => return None,
            VariableKind::Record(_) => self.types[target.variable.index()],
            VariableKind::Any => return None,
        };
        let mut is_slice = false;
        for step in &target.path {
            ty = match step {
                Step::Field(name) => {
                    let row = ty.row_type()?;
                    row.fields[row.position(name)?].1
                }
                // Subscripts side by side are of one array.
                Step::Index(_) => ty.element().unwrap_or(ty),
                Step::Slice { .. } => {
                    is_slice = true;
                    ty.element().unwrap_or(ty)
                }
            };
        }
        Some(if is_slice { ty.array_of() } else { ty })
    }

    pub(super) async fn assign_expression(&mut self, target: &Target, value: ExpressionId) -> SqlResult<()> {
        // What is assigned to has to be there before the value is made.
        let wanted = self.wanted(target);
        if let Some(Step::Field(name)) = target.path.first() {
            let prefixed = self.function.expression(value);
            self.field_of(target.variable, name).map_err(|error| error.with_context(&prefixed.context()))?;
        }
        let (value, ty) = self.evaluate(value, wanted).await?;
        self.assign(target, value, ty).await
    }

    /// Whether a record has a field.
    fn field_of(&self, record: VariableId, name: &str) -> SqlResult<()> {
        let variable = &self.function.variable(record).name;
        match self.types[record.index()].row_type() {
            None => Err(unassigned(variable)),
            Some(row) if row.position(name).is_none() => Err(no_field(variable, name)),
            Some(_) => Ok(()),
        }
    }

    /// Stores a value where a target says.
    pub(super) async fn assign(&mut self, target: &Target, value: Datum, ty: SqlType) -> SqlResult<()> {
        if target.path.is_empty() {
            return self.store(target.variable, value, ty);
        }
        if let Some(Step::Field(name)) = target.path.first() {
            self.field_of(target.variable, name)?;
        }
        let at = target.variable.index();
        let root = self.types[at];
        let steps = self.known_steps(&target.path, root).await?;
        if let [KnownStep::Element(subscripts)] = steps.as_slice()
            && let [subscript] = subscripts.as_slice()
            && let Datum::Array(array) = &self.values[at]
            && has_place(array, *subscript)
        {
            // Nothing can fail once the value is at hand, so that the array need not be copied.
            let value = self.spi.coerce(value, &ty, &element_of(root)?)?;
            let array = into_array(std::mem::take(&mut self.values[at]));
            self.values[at] = Datum::Array(Arc::new(array.set_element(subscripts, value)?));
            return Ok(());
        }
        let old = std::mem::take(&mut self.values[at]);
        // The old value stays whatever happens.
        match self.changed(old.clone(), root, &steps, value, ty) {
            Ok(new) => {
                self.values[at] = new;
                Ok(())
            }
            Err(error) => {
                self.values[at] = old;
                Err(error)
            }
        }
    }

    /// Evaluates subscripts; those side by side become one step.
    async fn known_steps(&mut self, path: &[Step], mut ty: SqlType) -> SqlResult<Vec<KnownStep>> {
        let mut steps = Vec::new();
        let mut at = 0;
        while at < path.len() {
            if let Step::Field(name) = &path[at] {
                steps.push(KnownStep::Field(name.clone()));
                let row = ty.row_type();
                let field = row.and_then(|row| row.position(name).map(|at| row.fields[at].1));
                ty = field.unwrap_or(SqlType::Unknown);
                at += 1;
                continue;
            }
            let run: &[Step] = &path[at..];
            let count = run.iter().take_while(|step| !matches!(step, Step::Field(_))).count();
            let run = &run[..count];
            at += count;
            if ty == SqlType::Jsonb {
                steps.push(KnownStep::Member(self.members(run).await?));
                continue;
            }
            let is_slice = run.iter().any(|step| matches!(step, Step::Slice { .. }));
            ty = if is_slice { ty } else { ty.element().unwrap_or(SqlType::Unknown) };
            if run.iter().all(|step| matches!(step, Step::Index(_))) {
                let mut subscripts = Vec::with_capacity(count);
                for step in run {
                    if let Step::Index(index) = step {
                        subscripts.push(self.subscript(*index).await?);
                    }
                }
                steps.push(KnownStep::Element(subscripts));
                continue;
            }
            let mut bounds = Vec::with_capacity(count);
            for step in run {
                bounds.push(match step {
                    // Among slices, n means 1:n.
                    Step::Index(index) => (Some(1), Some(self.subscript(*index).await?)),
                    Step::Slice { lower, upper } => {
                        let lower = match lower {
                            Some(lower) => Some(self.subscript(*lower).await?),
                            None => None,
                        };
                        let upper = match upper {
                            Some(upper) => Some(self.subscript(*upper).await?),
                            None => None,
                        };
                        (lower, upper)
                    }
                    Step::Field(_) => unreachable!("fields end a run of subscripts"),
                });
            }
            steps.push(KnownStep::Slice(bounds));
        }
        Ok(steps)
    }

    /// Subscripts of a jsonb value, as texts.
    async fn members(&mut self, run: &[Step]) -> SqlResult<Vec<JsonStep>> {
        let mut members = Vec::with_capacity(run.len());
        for step in run {
            let Step::Index(index) = step else {
                return Err(SqlError::new(SqlState::DatatypeMismatch, "jsonb subscript does not support slices"));
            };
            let (value, ty) = self.evaluate(*index, None).await?;
            let is_number = matches!(ty, SqlType::Int2 | SqlType::Int4);
            if !is_number && !ty.is_string() && ty != SqlType::Unknown {
                let message = format!("subscript type {} is not supported", ty.base_name());
                return Err(SqlError::new(SqlState::DatatypeMismatch, message)
                    .with_hint("jsonb subscript must be coercible to either integer or text."));
            }
            match self.spi.coerce(value, &ty, &SqlType::Text)? {
                Datum::Text(text) => members.push(JsonStep { text: text.to_string(), is_number }),
                _ => {
                    let message = "jsonb subscript in assignment must not be null";
                    return Err(SqlError::new(SqlState::NullValueNotAllowed, message));
                }
            }
        }
        Ok(members)
    }

    async fn subscript(&mut self, id: ExpressionId) -> SqlResult<i32> {
        let (value, ty) = self.evaluate(id, Some(SqlType::Int4)).await?;
        match self.spi.coerce(value, &ty, &SqlType::Int4)? {
            Datum::Int(value) => Ok(i32::try_from(value).expect("an int4 has 32 bits")),
            _ => Err(SqlError::new(
                SqlState::NullValueNotAllowed,
                "array subscript in assignment must not be null",
            )),
        }
    }

    /// A value of type `ty` with the part that the steps name replaced.
    fn changed(
        &mut self,
        old: Datum,
        ty: SqlType,
        steps: &[KnownStep],
        new: Datum,
        new_type: SqlType,
    ) -> SqlResult<Datum> {
        let Some((step, rest)) = steps.split_first() else { return self.spi.coerce(new, &new_type, &ty) };
        match step {
            KnownStep::Field(name) => {
                let Some(row) = ty.row_type() else {
                    return Err(SqlError::new(
                        SqlState::DatatypeMismatch,
                        format!(
                            "cannot assign to field \"{name}\" because its type {} is not a composite type",
                            ty.base_name()
                        ),
                    ));
                };
                let at = row.position(name).ok_or_else(|| {
                    SqlError::new(SqlState::UndefinedColumn, format!("cannot assign to field \"{name}\""))
                })?;
                let mut fields = match old {
                    Datum::Record(fields) => fields.to_vec(),
                    _ => vec![Datum::Null; row.fields.len()],
                };
                let short = || SqlError::internal(format!("a record has no value for its field \"{name}\""));
                let field = std::mem::take(fields.get_mut(at).ok_or_else(short)?);
                fields[at] = self.changed(field, row.fields[at].1, rest, new, new_type)?;
                Datum::record(fields)
            }
            KnownStep::Element(subscripts) => {
                let element = element_of(ty)?;
                let array = into_array(old);
                let positions: Vec<i64> = subscripts.iter().map(|subscript| i64::from(*subscript)).collect();
                let part = array.get(&positions).cloned().unwrap_or_default();
                let part = self.changed(part, element, rest, new, new_type)?;
                array.set_element(subscripts, part).map(|array| Datum::Array(Arc::new(array)))
            }
            KnownStep::Member(path) => {
                let value = match self.spi.coerce(new, &new_type, &SqlType::Jsonb)? {
                    Datum::Jsonb(value) => Arc::unwrap_or_clone(value),
                    _ => Json::Null,
                };
                let container = match old {
                    Datum::Jsonb(container) => Some(Arc::unwrap_or_clone(container)),
                    _ => None,
                };
                Ok(Datum::Jsonb(Arc::new(Json::set_path(container, path, value)?)))
            }
            KnownStep::Slice(bounds) => {
                element_of(ty)?;
                // A NULL changes nothing, but that the array is there.
                let Datum::Array(source) = self.spi.coerce(new, &new_type, &ty)? else {
                    return Ok(Datum::Array(Arc::new(into_array(old))));
                };
                into_array(old).set_slice(bounds, &source).map(|array| Datum::Array(Arc::new(array)))
            }
        }
    }
}

fn null_refused(name: &str) -> SqlError {
    let message = format!("null value cannot be assigned to variable \"{name}\" declared NOT NULL");
    SqlError::new(SqlState::NullValueNotAllowed, message)
}

fn element_of(ty: SqlType) -> SqlResult<SqlType> {
    ty.element().ok_or_else(|| {
        SqlError::new(
            SqlState::DatatypeMismatch,
            format!("cannot subscript type {} because it does not support subscripting", ty.base_name()),
        )
    })
}

/// Whether an array of one dimension has this element, or it would be the next.
fn has_place(array: &Array, subscript: i32) -> bool {
    let [dimension] = array.dimensions() else { return false };
    let offset = i64::from(subscript) - i64::from(dimension.lower_bound);
    (0..=i64::from(dimension.length)).contains(&offset)
        && dimension.length < 1 << 26
        && subscript < i32::MAX - 1
}

fn into_array(value: Datum) -> Array {
    match value {
        Datum::Array(array) => Arc::unwrap_or_clone(array),
        _ => Array::default(),
    }
}

/// What a field's value says of its type, where nothing else does.
fn implied_type(value: &Datum) -> SqlType {
    match value {
        Datum::Bool(_) => SqlType::Bool,
        Datum::Int(_) => SqlType::Int8,
        Datum::Float(_) => SqlType::Float8,
        Datum::Numeric(_) => SqlType::NUMERIC,
        Datum::Record(_) => SqlType::RECORD,
        _ => SqlType::Text,
    }
}
