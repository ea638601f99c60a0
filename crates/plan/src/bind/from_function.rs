//! Functions in FROM, alone and side by side (ROWS FROM).

use catalog::RoutineKind;
use sqlparser::ast;
use types::{SqlError, SqlResult, SqlState, SqlType};

use super::from::{Item, named_range};
use super::function::{Called, argument_list, is_special};
use super::query::{computed, project};
use super::routine::Resolution;
use super::{Binder, Clause, check_name, fold, name_parts};
use crate::expr::Expr;
use crate::logical::{Rel, RelNode};
use crate::parse::query_clauses::rows_from;
use crate::plan::{Callee, FunctionCall, PlanColumn};
use crate::scope::{Level, Place, RowOf, Scope};

impl Binder<'_> {
    pub(super) fn function_item<'s>(
        &mut self,
        name: &ast::ObjectName,
        args: &[ast::FunctionArg],
        with_ordinality: bool,
        alias: Option<&ast::TableAlias>,
        level: &'s Level<'s>,
        left: Option<&Scope<'s>>,
    ) -> SqlResult<Item<'s>> {
        if let Some(calls) = rows_from(name, args) {
            let mut names = Vec::new();
            for call in calls? {
                let (name, args) = (name_parts(&call.name)?, argument_list(call)?);
                // `unnest(a, b)` is two of them.
                let is_unnest = matches!(name.as_slice(), [.., last] if last == "unnest");
                match is_unnest && args.len() > 1 {
                    true => names.extend(args.into_iter().map(|arg| (name.clone(), vec![arg]))),
                    false => names.push((name, args)),
                }
            }
            let calls: Vec<(&[String], Vec<&ast::FunctionArg>)> =
                names.iter().map(|(name, args)| (name.as_slice(), args.clone())).collect();
            let shown = names.first().and_then(|(name, _)| name.last()).cloned().unwrap_or_default();
            return self.set_functions(&calls, with_ordinality, &shown, alias, level, left);
        }
        let mut parts = name_parts(name)?;
        if self.routines_of(&parts).is_some() {
            let args: Vec<&ast::FunctionArg> = args.iter().collect();
            let shown = parts.last().cloned().unwrap_or_default();
            return self.set_functions(&[(&parts, args)], with_ordinality, &shown, alias, level, left);
        }
        let function = parts.pop().unwrap_or_default();
        let is_own = |part: &String| part == "pg_catalog" || part == "information_schema" && function == "_pg_expandarray";
        if !parts.iter().all(is_own) {
            return Err(SqlError::new(SqlState::UndefinedFunction, format!("function {name}() does not exist")));
        }
        if let Some(function) = super::json_record::JsonRecord::named(&function) {
            let query = function.query(args, alias)?;
            let alias = alias.map(|alias| {
                let columns = alias.columns.iter().map(|column| ast::TableAliasColumnDef { data_type: None, ..column.clone() });
                ast::TableAlias { columns: columns.collect(), ..alias.clone() }
            });
            let item = ast::TableFactor::Derived { lateral: true, subquery: Box::new(query), alias, sample: None };
            return self.without_source(|binder| binder.factor(&item, level, left));
        }
        if let Some(query) = super::text_statistics::query(&function, args) {
            let name = ast::Ident::new(function.clone());
            let named = || ast::TableAlias { explicit: true, name, columns: Vec::new(), at: None };
            let alias = Some(alias.cloned().unwrap_or_else(named));
            let item = ast::TableFactor::Derived { lateral: false, subquery: Box::new(query?), alias, sample: None };
            return self.without_source(|binder| binder.factor(&item, level, left));
        }
        let args: Vec<&ast::FunctionArg> = args.iter().collect();
        self.set_functions(&[(std::slice::from_ref(&function), args)], with_ordinality, &function, alias, level, left)
    }

    /// Functions side by side; a scalar one yields one row.
    pub(super) fn set_functions<'s>(
        &mut self,
        calls: &[(&[String], Vec<&ast::FunctionArg>)],
        with_ordinality: bool,
        name: &str,
        alias: Option<&ast::TableAlias>,
        level: &'s Level<'s>,
        left: Option<&Scope<'s>>,
    ) -> SqlResult<Item<'s>> {
        // Functions may always mention what is to their left.
        let own = left.filter(|left| !left.ranges.is_empty()).map(|left| self.level_in(left, Place::LateralFunction));
        let here: &Level<'_> = own.as_ref().unwrap_or(level);
        let scope = Scope::empty(here);
        let shown = alias.map_or_else(|| name.to_owned(), |alias| fold(&alias.name));
        let mut bound: Vec<FunctionCall> = Vec::with_capacity(calls.len());
        let mut columns: Vec<PlanColumn> = Vec::new();
        let mut scalar = None;
        let mut has_definitions = false;
        let is_alone = calls.len() == 1 && !with_ordinality;
        // The alias names the column of one function alone.
        let name_of = |function: &str| if calls.len() == 1 { shown.clone() } else { function.to_owned() };
        for (parts, args) in calls {
            let function = parts.last().map_or("", String::as_str);
            let args = match self.routines_of(parts) {
                None => self.with_frame(Clause::FromFunction, |binder| binder.argument_exprs(function, args, &scope))?,
                Some(found) => {
                    let args = self.with_frame(Clause::FromFunction, |binder| binder.call_arguments(args, &scope))?;
                    match self.resolve_routine(&found, parts, args, RoutineKind::Function)? {
                        Resolution::Routine(call) if call.routine.kind == RoutineKind::Aggregate => {
                            let message = format!("aggregate functions are not allowed in {}", Clause::FromFunction.name());
                            return Err(SqlError::new(SqlState::GroupingError, message));
                        }
                        Resolution::Routine(call) => {
                            let call = self.with_definitions(call, alias, &mut has_definitions)?;
                            columns.extend(self.routine_columns(&call, alias, function));
                            bound.push(call);
                            continue;
                        }
                        Resolution::Builtin(args) => args,
                    }
                }
            };
            if is_special(function) {
                let value = self.special_call(function, args)?;
                if is_alone {
                    scalar = Some(value);
                    continue;
                }
                columns.push(computed(name_of(function), value.ty()));
                bound.push(self.one_row(value)?);
                continue;
            }
            match self.resolve_call(function, &args)? {
                Called::Builtin(builtin, types) if builtin.is_set_returning() => {
                    let call = self.set_call(builtin, types, args)?;
                    let set = builtin.set.as_ref().map_or(&[][..], |set| set.columns);
                    match set {
                        [] | [_] if let Some(of) = call.taken_apart() => {
                            let attributes = of.attributes().iter();
                            columns.extend(attributes.map(|it| computed(it.name.to_string(), it.ty)));
                        }
                        [] => columns.push(computed(name_of(function), call.types.ret)),
                        [(name, ty)] => {
                            let ty = if ty.is_pseudo() { call.types.ret } else { *ty };
                            let name = if alias.is_some() { name_of(function) } else { (*name).to_owned() };
                            columns.push(computed(name, ty));
                        }
                        many => columns.extend(many.iter().map(|(name, ty)| computed(*name, call.column_type(*ty)))),
                    }
                    bound.push(call);
                }
                Called::Builtin(builtin, types) => {
                    let value = self.call(builtin, args, &types.args, types.ret)?;
                    if is_alone {
                        scalar = Some(value);
                        continue;
                    }
                    columns.push(computed(name_of(function), value.ty()));
                    bound.push(self.one_row(value)?);
                }
                Called::Cast(ty) => {
                    let arg = args.into_iter().next().expect("a cast in a function's dress has one argument");
                    let value = self.explicit_cast(arg, ty)?;
                    if is_alone {
                        scalar = Some(value);
                        continue;
                    }
                    columns.push(computed(name_of(function), value.ty()));
                    bound.push(self.one_row(value)?);
                }
                Called::Field(field) => scalar = Some(field),
            }
        }
        let rel = match scalar {
            Some(expr) => {
                let columns = vec![computed(shown.clone(), expr.ty())];
                project(Rel { node: RelNode::Unit, columns: Vec::new() }, vec![expr], columns)
            }
            None => {
                if with_ordinality {
                    columns.push(computed("ordinality", SqlType::Int8));
                }
                Rel { node: RelNode::Function { calls: bound, with_ordinality }, columns }
            }
        };
        if let Some(alias) = alias {
            check_name(&alias.name)?;
            if !has_definitions && alias.columns.iter().any(|column| column.data_type.is_some()) {
                return Err(SqlError::new(
                    SqlState::SyntaxError,
                    "a column definition list is only allowed for functions returning \"record\"",
                ));
            }
        }
        let mut range = named_range(&shown, &rel.columns, None, alias)?;
        if let (RelNode::Function { calls, with_ordinality: false }, [_]) = (&rel.node, calls)
            && let Some(ty @ SqlType::Composite(_)) = calls.first().map(|call| call.types.ret)
        {
            range.row_of = RowOf::Type(ty);
        }
        let slots = own.as_ref().map(|own| own.slots.take()).unwrap_or_default();
        let lateral = (!slots.is_empty()).then_some(slots);
        Ok(Item { rel, scope: Scope::of_range(level, range), lateral })
    }

    /// A value as the only row of a function.
    fn one_row(&mut self, value: Expr) -> SqlResult<FunctionCall> {
        match value {
            Expr::Call { builtin, types, args } => Ok(FunctionCall { callee: Callee::Builtin(builtin), types, args }),
            other if !other.ty().is_array() && other.ty().row_type().is_none() => {
                let ty = other.ty().array_of();
                let elements = vec![other];
                let args = vec![Expr::Array { elements, ty }];
                match self.resolve_call("unnest", &args)? {
                    Called::Builtin(builtin, types) => self.set_call(builtin, types, args),
                    Called::Cast(_) | Called::Field(_) => Err(SqlError::internal("unnest is a function")),
                }
            }
            _ => Err(SqlError::not_supported("this function is not supported beside others, or with ordinality")),
        }
    }
}
