//! RAISE, ASSERT, GET DIAGNOSTICS, and the context of errors.

use types::{Datum, SqlError, SqlResult, SqlState, SqlType};

use super::Run;
use crate::compile::{diagnostic_type, unrecognized_condition};
use crate::conditions;
use crate::function::{Diagnostic, ExpressionId, Raise, RaiseLevel, RaiseOption, Target};
use crate::spi::Spi;

impl<S: Spi> Run<'_, S> {
    /// The line that says where the call is.
    pub(super) fn context(&self) -> String {
        let signature = self.function.signature();
        let place = self.at.unwrap_or_else(|| self.function.places[self.pc as usize]);
        let during = place.what.starts_with("during ") || place.what.starts_with("while ");
        match (place.what, place.line) {
            ("", _) => format!("PL/pgSQL function {signature}"),
            (what, 0) => format!("PL/pgSQL function {signature} {what}"),
            (what, line) if during => format!("PL/pgSQL function {signature} line {line} {what}"),
            (what, line) => format!("PL/pgSQL function {signature} line {line} at {what}"),
        }
    }

    /// That line and those of the callers.
    fn whole_context(&self) -> String {
        match self.spi.callers_context() {
            Some(callers) => format!("{}\n{callers}", self.context()),
            None => self.context(),
        }
    }

    /// A value of a message or an option as text; `None` for NULL.
    async fn shown(&mut self, id: ExpressionId) -> SqlResult<Option<String>> {
        let (value, ty) = self.evaluate(id, None).await?;
        Ok(if value.is_null() { None } else { Some(self.text_of(&value, ty)) })
    }

    pub(super) async fn raise(&mut self, raise: &Raise) -> SqlResult<()> {
        let (mut name, mut state) = match &raise.condition {
            Some((name, state)) => (Some(name.clone()), Some(*state)),
            None => (None, None),
        };
        let mut message = None;
        if let Some(parts) = &raise.message {
            let mut text = parts[0].clone();
            for (parameter, part) in raise.parameters.iter().zip(&parts[1..]) {
                text.push_str(self.shown(*parameter).await?.as_deref().unwrap_or("<NULL>"));
                text.push_str(part);
            }
            message = Some(text);
        }
        let mut fields: Vec<(RaiseOption, String)> = Vec::new();
        for (option, value) in &raise.options {
            let Some(value) = self.shown(*value).await? else {
                let message = "RAISE statement option cannot be null";
                return Err(SqlError::new(SqlState::NullValueNotAllowed, message));
            };
            let twice = match option {
                RaiseOption::Errcode => {
                    let twice = state.is_some();
                    let known = SqlState::from_code(&value).or_else(|| conditions::named(&value).next());
                    state = Some(known.ok_or_else(|| unrecognized_condition(&value))?);
                    name = Some(value);
                    twice
                }
                RaiseOption::Message => message.replace(value).is_some(),
                other => {
                    let twice = fields.iter().any(|(known, _)| known == other);
                    fields.push((*other, value));
                    twice
                }
            };
            if twice {
                let message = format!("RAISE option already specified: {}", option.name());
                return Err(SqlError::new(SqlState::SyntaxError, message));
            }
        }
        let state = state.unwrap_or(match raise.level {
            RaiseLevel::Exception => SqlState::RaiseException,
            RaiseLevel::Warning => SqlState::Warning,
            _ => SqlState::SuccessfulCompletion,
        });
        let message = message.or(name).unwrap_or_else(|| state.code().to_owned());
        let mut error = SqlError::new(state, message);
        for (option, value) in fields {
            error = match option {
                RaiseOption::Detail => error.with_detail(value),
                RaiseOption::Hint => error.with_hint(value),
                RaiseOption::Column => error.with_column(value),
                RaiseOption::Constraint => error.with_constraint(value),
                RaiseOption::Datatype => error.with_datatype(value),
                RaiseOption::Table => error.with_table(value),
                RaiseOption::Schema => error.with_schema(value),
                RaiseOption::Errcode | RaiseOption::Message => error,
            };
        }
        if raise.level == RaiseLevel::Exception {
            return Err(error);
        }
        let error = error.with_context(&self.whole_context());
        self.spi.notice(raise.level, error);
        Ok(())
    }

    pub(super) async fn assert(
        &mut self,
        condition: ExpressionId,
        message: Option<ExpressionId>,
    ) -> SqlResult<()> {
        let (value, ty) = self.evaluate(condition, None).await?;
        if self.truth(value, ty)? {
            return Ok(());
        }
        let message = match message {
            Some(message) => self.shown(message).await?,
            None => None,
        };
        Err(SqlError::new(SqlState::AssertFailure, message.unwrap_or_else(|| "assertion failed".into())))
    }

    pub(super) async fn get_diagnostics(
        &mut self,
        stacked: bool,
        items: &[(Target, Diagnostic)],
    ) -> SqlResult<()> {
        if stacked && self.caught.is_empty() {
            return Err(SqlError::new(
                SqlState::StackedDiagnosticsAccessedWithoutActiveHandler,
                "GET STACKED DIAGNOSTICS cannot be used outside an exception handler",
            ));
        }
        for (target, item) in items {
            let value = self.diagnostic(*item);
            let ty: SqlType = diagnostic_type(*item);
            self.assign(target, value, ty).await?;
        }
        Ok(())
    }

    fn diagnostic(&self, item: Diagnostic) -> Datum {
        let caught = self.caught.last();
        let of = |field: fn(&types::SqlErrorFields) -> &Option<String>| {
            Datum::text(caught.and_then(|error| field(error).as_deref()).unwrap_or_default())
        };
        match item {
            Diagnostic::RowCount => Datum::Int(i64::try_from(self.row_count).unwrap_or(i64::MAX)),
            Diagnostic::Context => Datum::text(self.whole_context()),
            Diagnostic::ErrorContext => {
                let own = caught.and_then(|error| error.context.clone());
                let lines: Vec<String> = own.into_iter().chain(self.spi.callers_context()).collect();
                Datum::text(lines.join("\n"))
            }
            Diagnostic::ReturnedSqlState => {
                Datum::text(caught.map(|error| error.code().code().to_owned()).unwrap_or_default())
            }
            Diagnostic::MessageText => Datum::text(caught.map(|error| error.message()).unwrap_or_default()),
            Diagnostic::ErrorDetail => of(|error| &error.detail),
            Diagnostic::ErrorHint => of(|error| &error.hint),
            Diagnostic::ColumnName => of(|error| &error.column),
            Diagnostic::ConstraintName => of(|error| &error.constraint),
            Diagnostic::DatatypeName => of(|error| &error.datatype),
            Diagnostic::TableName => of(|error| &error.table),
            Diagnostic::SchemaName => of(|error| &error.schema),
        }
    }
}
