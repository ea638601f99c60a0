//! Function calls: the grammar's own (COALESCE and kin), sequences, builtins by overload, casts in function's dress.

use builtins::{Builtin, CallTypes, ResolveError};
use catalog::privilege::Need;
use catalog::RoutineKind;
use sqlparser::ast;
use types::{CastContext, Datum, SqlError, SqlResult, SqlState, SqlType, can_cast};

use super::routine::Resolution;
use super::{Binder, Clause, SET_BASE, find_relation, name_parts, no_relation};
use crate::LargeObjectOp;
use crate::expr::{AdvisoryOp, Expr, RoutineCall, SequenceOp, SleepOp};
use crate::plan::{Callee, FunctionCall};
use crate::scope::Scope;

/// `make_interval`'s parameters, which are nearly always given by name.
const MAKE_INTERVAL: &[&str] = &["years", "months", "weeks", "days", "hours", "mins", "secs"];

/// The arguments of a call as the parser has them.
pub(super) fn argument_list(function: &ast::Function) -> SqlResult<Vec<&ast::FunctionArg>> {
    match &function.args {
        ast::FunctionArguments::None => Ok(Vec::new()),
        ast::FunctionArguments::List(list) => Ok(list.args.iter().collect()),
        ast::FunctionArguments::Subquery(_) => {
            Err(SqlError::new(SqlState::SyntaxError, "a subquery as an argument needs its own parentheses"))
        }
    }
}

impl Binder<'_> {
    pub(super) fn function(&mut self, function: &ast::Function, scope: &Scope<'_>) -> SqlResult<Expr> {
        let parts = name_parts(&function.name)?;
        if let Some(called) = self.routine_call(&parts, function, scope)? {
            return Ok(called);
        }
        let name = match parts.as_slice() {
            [name] => name.clone(),
            [schema, name] if schema == "pg_catalog" => name.clone(),
            [schema, name] if schema == "information_schema" && name == "_pg_expandarray" => name.clone(),
            [schema, _] | [_, schema, _]
                if self.context.catalog.schema(self.context.database, schema).is_none() =>
            {
                return Err(SqlError::new(
                    SqlState::InvalidSchemaName,
                    format!("schema \"{schema}\" does not exist"),
                ));
            }
            _ => {
                let args = self.arguments(&parts.join("."), function, scope)?;
                if let Some(Called::Builtin(builtin, types)) = self.range_constructor(&function.name, &args)? {
                    return self.call(builtin, args, &types.args, types.ret);
                }
                return Err(self.no_function(&parts.join("."), &args, ResolveError::None));
            }
        };
        if let ast::FunctionArguments::Subquery(query) = &function.args {
            if name == "array" {
                return self.array_subquery(query, scope);
            }
        }
        if function.over.is_some() {
            return self.window_function(&name, function, scope);
        }
        let is_within = !function.within_group.is_empty();
        let is_aggregate = !builtins::aggregates(&name).is_empty();
        if is_aggregate || is_within && builtins::hypothetical_aggregate(&name).is_some() {
            return self.aggregate(&name, function, scope);
        }
        if is_within {
            return self.ordered_call(&name, function, scope);
        }
        if function.filter.is_some() {
            return Err(SqlError::new(
                SqlState::WrongObjectType,
                format!("FILTER specified, but {name} is not an aggregate function"),
            ));
        }
        if let ast::FunctionArguments::List(list) = &function.args
            && let Some(treatment) = list.duplicate_treatment
            && treatment == ast::DuplicateTreatment::Distinct
        {
            let message = format!("DISTINCT specified, but {name} is not an aggregate function");
            return Err(SqlError::new(SqlState::WrongObjectType, message));
        }
        if name == "grouping" {
            return self.grouping(function, scope);
        }
        if super::window::is_window_only(&name) && builtins::functions(&name).is_empty() {
            if !argument_list(function)?.is_empty() && builtins::hypothetical_aggregate(&name).is_some() {
                let message = format!("WITHIN GROUP is required for ordered-set aggregate {name}");
                return Err(SqlError::new(SqlState::WrongObjectType, message));
            }
            return Err(SqlError::new(
                SqlState::WrongObjectType,
                format!("window function {name} requires an OVER clause"),
            ));
        }
        let args = self.arguments(&name, function, scope)?;
        self.special_call(&name, args)
    }

    /// A call that may be one of a routine; `None` where no routine has the name, or none fits and something else may.
    fn routine_call(
        &mut self,
        parts: &[String],
        function: &ast::Function,
        scope: &Scope<'_>,
    ) -> SqlResult<Option<Expr>> {
        let Some(found) = self.routines_of(parts) else { return Ok(None) };
        let is_plain = function.over.is_none() && function.filter.is_none() && function.within_group.is_empty();
        let has_aggregates = found.has_aggregates();
        let is_own = parts.len() == 1 && is_of_grammar(&parts[0], self, has_aggregates);
        if has_aggregates && !is_own && !matches!(function.args, ast::FunctionArguments::Subquery(_)) {
            return self.user_aggregate(&found, parts, function, scope);
        }
        if is_own || !is_plain || matches!(function.args, ast::FunctionArguments::Subquery(_)) {
            return Ok(None);
        }
        let list = argument_list(function)?;
        let args = self.call_arguments(&list, scope)?;
        match self.resolve_routine(&found, parts, args, RoutineKind::Function)? {
            Resolution::Routine(call) => self.routine_value(call).map(Some),
            Resolution::Builtin(args) => self.special_call(&parts[parts.len() - 1], args).map(Some),
        }
    }

    /// Bound arguments in order.
    pub(super) fn arguments(
        &mut self,
        name: &str,
        function: &ast::Function,
        scope: &Scope<'_>,
    ) -> SqlResult<Vec<Expr>> {
        self.argument_exprs(name, &argument_list(function)?, scope)
    }

    pub(super) fn argument_exprs(
        &mut self,
        name: &str,
        list: &[&ast::FunctionArg],
        scope: &Scope<'_>,
    ) -> SqlResult<Vec<Expr>> {
        // Others take values of a domain as what they are.
        let keeps_domains = matches!(name, "coalesce" | "greatest" | "least" | "pg_typeof");
        let mut args = Vec::with_capacity(list.len());
        for arg in list {
            match arg {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => {
                    args.push(if keeps_domains { self.declared_expr(expr, scope)? } else { self.expr(expr, scope)? });
                }
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::QualifiedWildcard(range)) => {
                    let names = name_parts(range)?;
                    let row = self.whole_row(&names, scope)?;
                    match name {
                        "row" => args.extend(self.fields_of(row)?.into_iter().map(|(_, field)| field)),
                        _ => args.push(row),
                    }
                }
                ast::FunctionArg::Unnamed(_) => {
                    return Err(SqlError::new(
                        SqlState::SyntaxError,
                        format!("{name}(*) specified, but {name} is not an aggregate function"),
                    ));
                }
                ast::FunctionArg::Named {
                    name: parameter, arg: ast::FunctionArgExpr::Expr(expr), ..
                }
                | ast::FunctionArg::ExprNamed {
                    name: ast::Expr::Identifier(parameter),
                    arg: ast::FunctionArgExpr::Expr(expr),
                    ..
                } if name == "make_interval" => {
                    let parameter = super::fold(parameter);
                    let position = MAKE_INTERVAL.iter().position(|known| *known == parameter);
                    let Some(position) = position else {
                        return Err(SqlError::new(
                            SqlState::UndefinedFunction,
                            format!("function make_interval({parameter} => …) does not exist"),
                        ));
                    };
                    while args.len() <= position {
                        args.push(Expr::Const(Datum::Int(0), SqlType::Int4));
                    }
                    args[position] = self.expr(expr, scope)?;
                }
                ast::FunctionArg::Named { .. } | ast::FunctionArg::ExprNamed { .. } => {
                    return Err(SqlError::not_supported(format!(
                        "named arguments are not supported for function {name}"
                    )));
                }
            }
        }
        Ok(args)
    }

    /// A call by name with bound arguments, the grammar's own functions included.
    pub(super) fn special_call(&mut self, name: &str, mut args: Vec<Expr>) -> SqlResult<Expr> {
        let too_few = |at_least: usize, args: &[Expr]| {
            if args.len() < at_least {
                return Err(SqlError::new(SqlState::SyntaxError, "syntax error at or near \")\""));
            }
            Ok(())
        };
        match name {
            "coalesce" => {
                too_few(1, &args)?;
                if args.iter().any(|arg| arg.any(&mut |it| matches!(it, Expr::Column(at, _) if is_set(*at)))) {
                    return Err(SqlError::not_supported("set-returning functions are not allowed in COALESCE")
                        .with_hint("You might be able to move the set-returning function into a LATERAL FROM item."));
                }
                let (args, ty) = self.unify(args, "COALESCE")?;
                Ok(Expr::Coalesce(args, ty))
            }
            "greatest" => {
                too_few(1, &args)?;
                let (args, ty) = self.unify(args, "GREATEST")?;
                Ok(Expr::Greatest(args, ty))
            }
            "least" => {
                too_few(1, &args)?;
                let (args, ty) = self.unify(args, "LEAST")?;
                Ok(Expr::Least(args, ty))
            }
            "nullif" => {
                let [value, other] = <[Expr; 2]>::try_from(args)
                    .map_err(|_| SqlError::new(SqlState::SyntaxError, "NULLIF takes two arguments"))?;
                let wanted = self.known_type(&other).unwrap_or(SqlType::Text);
                let value = self.settle(value, wanted, CastContext::Implicit)?;
                // The type that the comparison takes: text for a varchar.
                let comparison = self.comparison("=", self.known_type(&value), self.known_type(&other))?;
                let value = if has_operators_across(&value.ty(), &self.known_type(&other).unwrap_or(wanted)) {
                    value
                } else {
                    self.coerce(value, comparison.left_cast, CastContext::Implicit)?
                };
                let ty = value.ty();
                let equal = self.binary("=", Expr::Operand(ty), other)?;
                Ok(Expr::NullIf { value: Box::new(value), equal: Box::new(equal), ty })
            }
            "row" => Ok(Expr::row(args)),
            "pg_typeof" if args.len() == 1 && self.known_type(&args[0]).is_none() => {
                Ok(Expr::Const(Datum::Int(SqlType::Unknown.oid().into()), SqlType::RegType))
            }
            "pg_typeof" if args.len() == 1 && args[0].ty().is_domain() => {
                Ok(Expr::Const(Datum::Int(args[0].ty().oid().into()), SqlType::RegType))
            }
            "nextval" | "currval" => {
                let op = if name == "nextval" { SequenceOp::NextVal } else { SequenceOp::CurrVal };
                self.sequence(name, op, args, &[SqlType::RegClass])
            }
            "setval" => {
                if args.len() == 2 {
                    args.push(Expr::Const(Datum::Bool(true), SqlType::Bool));
                }
                self.sequence(
                    name,
                    SequenceOp::SetVal,
                    args,
                    &[SqlType::RegClass, SqlType::Int8, SqlType::Bool],
                )
            }
            "lastval" => self.sequence(name, SequenceOp::LastVal, args, &[]),
            "pg_sleep" => self.sequence(name, SequenceOp::Sleep(SleepOp::Seconds), args, &[SqlType::Float8]),
            "pg_sleep_for" => {
                self.sequence(name, SequenceOp::Sleep(SleepOp::For), args, &[SqlType::Interval])
            }
            "pg_sleep_until" => {
                self.sequence(name, SequenceOp::Sleep(SleepOp::Until), args, &[SqlType::TimestampTz(None)])
            }
            "pg_export_snapshot" => self.sequence(name, SequenceOp::ExportSnapshot, args, &[]),
            "obj_description" if is_of_large_object(&args) => {
                args.truncate(1);
                let op = LargeObjectOp::Comment;
                self.sequence(name, SequenceOp::LargeObject(op), args, op.args())
            }
            _ if LargeObjectOp::is_name(name) => match LargeObjectOp::named(name, args.len()) {
                Some(op) => self.sequence(name, SequenceOp::LargeObject(op), args, op.args()),
                None => Err(self.no_function(name, &args, ResolveError::None)),
            },
            _ => match advisory(name) {
                Some(op) => {
                    let wanted: &[SqlType] = match (op, args.len()) {
                        (AdvisoryOp::UnlockAll, _) => &[],
                        (_, 2) => &[SqlType::Int4, SqlType::Int4],
                        _ => &[SqlType::Int8],
                    };
                    self.sequence(name, SequenceOp::Advisory(op), args, wanted)
                }
                None => self.function_call(name, args),
            },
        }
    }

    fn sequence(
        &mut self,
        name: &str,
        op: SequenceOp,
        args: Vec<Expr>,
        wanted: &[SqlType],
    ) -> SqlResult<Expr> {
        if args.len() != wanted.len() {
            return Err(self.no_function(name, &args, ResolveError::None));
        }
        let args = args
            .into_iter()
            .zip(wanted)
            .map(|(arg, ty)| match arg {
                // A name in a text, as in nextval('s'::text), is looked up when it is evaluated.
                arg if arg.ty().is_string() && *ty == SqlType::RegClass => {
                    self.coerce(arg, *ty, CastContext::Explicit)
                }
                arg => self.coerce(arg, *ty, CastContext::Implicit),
            })
            .collect::<SqlResult<Vec<_>>>()?;
        match op {
            SequenceOp::NextVal | SequenceOp::CurrVal | SequenceOp::SetVal | SequenceOp::LastVal => {
                self.context.notes.needs.add(Need::Sequences);
            }
            SequenceOp::NextIdentity
            | SequenceOp::Position
            | SequenceOp::IsCalled
            | SequenceOp::Sleep(_)
            | SequenceOp::ExportSnapshot
            | SequenceOp::LargeObject(_)
            | SequenceOp::Advisory(_) => {}
        }
        Ok(Expr::Sequence { op, args })
    }

    /// A builtin by name.
    pub(super) fn function_call(&mut self, name: &str, args: Vec<Expr>) -> SqlResult<Expr> {
        if name.starts_with("has_") || matches!(name, "pg_has_role" | "row_security_active") {
            self.context.notes.needs.add(Need::Shown);
        }
        match self.resolve_call(name, &args)? {
            Called::Builtin(builtin, types) if builtin.is_set_returning() => {
                self.check_set_allowed()?;
                let call = self.set_call(builtin, types, args)?;
                self.set_column(call)
            }
            Called::Builtin(builtin, types) => self.call(builtin, args, &types.args, types.ret),
            Called::Cast(ty) => {
                let arg = args.into_iter().next().expect("a cast in a function's dress has one argument");
                self.explicit_cast(arg, ty)
            }
            Called::Field(field) => Ok(field),
        }
    }

    fn check_set_allowed(&mut self) -> SqlResult<()> {
        let frame = self.frame()?;
        if frame.clause.allows_sets() {
            return Ok(());
        }
        Err(SqlError::not_supported(match frame.clause {
            Clause::AggregateArgument => {
                "aggregate function calls cannot contain set-returning function calls".to_owned()
            }
            Clause::FromFunction => "set-returning functions must appear at top level of FROM".to_owned(),
            clause => format!("set-returning functions are not allowed in {}", clause.name()),
        }))
    }

    /// The placeholder of a set in the select list.
    fn set_column(&mut self, call: FunctionCall) -> SqlResult<Expr> {
        if call.args.iter().any(|arg| arg.any(&mut |it| matches!(it, Expr::Column(at, _) if is_set(*at)))) {
            return Err(SqlError::not_supported("set-returning functions in arguments of others are not supported"));
        }
        let ty = call.value_type();
        let sets = &mut self.frame()?.sets;
        sets.push(call);
        Ok(Expr::Column(SET_BASE + sets.len() - 1, ty))
    }

    /// A call of a routine where an expression stands.
    pub(super) fn routine_value(&mut self, call: RoutineCall) -> SqlResult<Expr> {
        if call.routine.returns_set {
            self.check_set_allowed()?;
            return self.set_column(call.into_set());
        }
        let clause = self.frame()?.clause;
        if matches!(clause, Clause::Check | Clause::Generated | Clause::IndexExpression | Clause::PartitionKey) {
            let message = format!("functions by users are not supported in {}", clause.name());
            return Err(SqlError::not_supported(message)
                .with_hint("Such expressions must mean the same for ever: use built-in functions."));
        }
        Ok(Expr::Routine(Box::new(call)))
    }

    /// A set-returning call with its arguments cast.
    pub(super) fn set_call(
        &mut self,
        builtin: &'static Builtin,
        types: CallTypes,
        args: Vec<Expr>,
    ) -> SqlResult<FunctionCall> {
        let args = args
            .into_iter()
            .zip(&types.args)
            .map(|(arg, ty)| self.coerce(arg, *ty, CastContext::Implicit))
            .collect::<SqlResult<Vec<_>>>()?;
        Ok(FunctionCall { callee: Callee::Builtin(builtin), types, args })
    }

    pub(super) fn resolve_call(&mut self, name: &str, args: &[Expr]) -> SqlResult<Called> {
        let types: Vec<Option<SqlType>> = args.iter().map(|arg| self.known_type(arg)).collect();
        // A literal is read as the type of this name, rather than as what a function of the name takes.
        if let ([None], Some(ty), false) = (types.as_slice(), SqlType::lookup(name), name.contains(' ')) {
            return Ok(Called::Cast(ty));
        }
        match builtins::resolve(builtins::functions(name), &types) {
            Ok(resolved) => {
                let types = CallTypes { args: resolved.args, ret: resolved.ret };
                Ok(Called::Builtin(resolved.chosen, types))
            }
            Err(error) => {
                // Unless there is no such cast: then it is taken for a function that does not exist.
                let is_cast = |ty: &SqlType| types[0].is_none_or(|given| !given.is_row() && can_cast(&given, ty).is_some());
                if let ([_], Some(ty)) = (args, SqlType::lookup(name)) {
                    if !name.contains(' ') && is_cast(&ty) {
                        return Ok(Called::Cast(ty));
                    }
                }
                let type_name = ast::ObjectName::from(vec![ast::Ident::with_quote('"', name)]);
                if let Some(called) = self.range_constructor(&type_name, args)? {
                    return Ok(called);
                }
                if let [_] = args {
                    let name = ast::ObjectName::from(vec![ast::Ident::with_quote('"', name)]);
                    if let Some(ty) = super::find_type(&name, self.context)?.filter(|ty| !ty.holds_rows() && is_cast(&ty.base())) {
                        self.depends_on.extend(ty.user_type());
                        return Ok(Called::Cast(ty));
                    }
                }
                if let Some(field) = self.field_called(name, args) {
                    return Ok(Called::Field(field));
                }
                Err(self.no_function(name, args, error))
            }
        }
    }

    /// A call by the name of a range or multirange type that a user made, which makes a value of it.
    fn range_constructor(&mut self, name: &ast::ObjectName, args: &[Expr]) -> SqlResult<Option<Called>> {
        let Some(ty @ (SqlType::Range(_) | SqlType::MultiRange(_))) = super::find_type(name, self.context)? else {
            return Ok(None);
        };
        let types: Vec<Option<SqlType>> = args.iter().map(|arg| self.known_type(arg)).collect();
        let is_literal = matches!(types.as_slice(), [None]);
        let Some((builtin, wanted)) = builtins::range_constructor(ty, args.len()).filter(|_| !is_literal) else {
            return Ok(None);
        };
        let fits = types.iter().zip(&wanted.args).all(|(given, wanted)| {
            given.is_none_or(|given| can_cast(&given, wanted) == Some(CastContext::Implicit))
        });
        if !fits {
            return Ok(None);
        }
        self.depends_on.extend(ty.user_type());
        Ok(Some(Called::Builtin(builtin, wanted)))
    }

    pub(super) fn no_function(&self, name: &str, args: &[Expr], error: ResolveError) -> SqlError {
        let types: Vec<String> = args
            .iter()
            .map(|arg| self.known_type(arg).map_or_else(|| "unknown".to_owned(), |ty| ty.base_name()))
            .collect();
        let call = format!("{name}({})", types.join(", "));
        match error {
            ResolveError::None => {
                SqlError::new(SqlState::UndefinedFunction, format!("function {call} does not exist")).with_hint(
                    "No function matches the given name and argument types. You might need to add explicit type casts.",
                )
            }
            ResolveError::Indeterminate => indeterminate(),
            ResolveError::Ambiguous => {
                SqlError::new(SqlState::AmbiguousFunction, format!("function {call} is not unique")).with_hint(
                    "Could not choose a best candidate function. You might need to add explicit type casts.",
                )
            }
        }
    }

    /// The oid that a relation's name in a string means; `None` leaves the question to the session's names.
    pub(crate) fn relation_oid(&self, text: &str) -> SqlResult<Option<i64>> {
        let text = text.trim();
        if text == "-" {
            return Ok(Some(0));
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(text.parse().ok());
        }
        let Ok(ast::Expr::CompoundIdentifier(parts)) = crate::parse::parse_expr(&format!("x.{text}")) else {
            return Err(SqlError::new(SqlState::InvalidName, "invalid name syntax"));
        };
        let names: Vec<String> = parts.iter().skip(1).map(super::fold).collect();
        let (schema, name) = match names.as_slice() {
            [name] => (None, name),
            [schema, name] => (Some(schema.as_str()), name),
            _ => return Ok(None),
        };
        if let Some(relation) = find_relation(self.context, schema, name)? {
            return Ok(Some(i64::from(relation.id())));
        }
        // An index is a relation as well.
        let schemas = match schema {
            Some(schema) => self
                .context
                .catalog
                .schema(self.context.database, schema)
                .map(|it| vec![it.id])
                .unwrap_or_default(),
            None => self.context.catalog.search_schemas(
                self.context.database,
                self.context.search_path,
                self.context.user,
            ),
        };
        for schema in schemas {
            if let Some(catalog::NameOwner::Index { oid, .. }) = self.context.catalog.name_owner(schema, name)
            {
                // Names of indexes are not among the dependencies.
                self.context.notes.holds_oids.set(true);
                return Ok(Some(i64::from(oid)));
            }
        }
        if self.context.formatting.oid_names.is_some() {
            return Ok(None);
        }
        Err(no_relation(schema, name))
    }
}

/// Functions that are the grammar's, aggregates and window functions come before a routine of their name.
fn is_of_grammar(name: &str, binder: &Binder<'_>, has_aggregates: bool) -> bool {
    matches!(name, "coalesce" | "greatest" | "least" | "nullif" | "row" | "grouping" | "array")
        || (!builtins::aggregates(name).is_empty() && !has_aggregates && binder.context.catalog.has_routines())
        || (super::window::is_window_only(name) && builtins::functions(name).is_empty())
}

/// Functions that are no builtins and make one value: the grammar's own, those of sequences, and those that wait.
pub(super) fn is_special(name: &str) -> bool {
    let is_named = matches!(
        name,
        "coalesce" | "greatest" | "least" | "nullif" | "nextval" | "currval" | "setval" | "lastval" | "pg_sleep"
            | "pg_sleep_for" | "pg_sleep_until" | "pg_export_snapshot"
    );
    is_named || advisory(name).is_some() || LargeObjectOp::is_name(name)
}

/// `(oid, 'pg_largeobject')`: comments on those are no part of the catalog.
fn is_of_large_object(args: &[Expr]) -> bool {
    matches!(args, [_, Expr::Const(Datum::Text(of), _)] if &**of == "pg_largeobject")
}

fn is_set(position: usize) -> bool {
    (SET_BASE..super::GROUPING_BASE).contains(&position)
}

/// Types for which PostgreSQL has comparisons of one with the other: neither is cast.
fn has_operators_across(left: &SqlType, right: &SqlType) -> bool {
    let family = |ty: &SqlType| match ty {
        SqlType::Int2 | SqlType::Int4 | SqlType::Int8 => 1,
        SqlType::Float4 | SqlType::Float8 => 2,
        SqlType::Date | SqlType::Timestamp(_) | SqlType::TimestampTz(_) => 3,
        _ => 0,
    };
    family(left) != 0 && family(left) == family(right)
}

/// Nothing says what a polymorphic argument is.
pub(super) fn indeterminate() -> SqlError {
    SqlError::new(SqlState::DatatypeMismatch, "could not determine polymorphic type because input has type unknown")
}

/// What a call by name turned out to be.
pub(super) enum Called {
    Builtin(&'static Builtin, CallTypes),
    /// `int4(x)`.
    Cast(SqlType),
    /// `f(c)` for `(c).f`.
    Field(Expr),
}

/// What an advisory lock function does, by its name.
fn advisory(name: &str) -> Option<AdvisoryOp> {
    let (is_try, rest) = match name.strip_prefix("pg_try_advisory_") {
        Some(rest) => (true, rest),
        None => (false, name.strip_prefix("pg_advisory_")?),
    };
    let lock = |is_shared, in_transaction| AdvisoryOp::Lock { is_shared, is_try, in_transaction };
    Some(match rest {
        "lock" => lock(false, false),
        "lock_shared" => lock(true, false),
        "xact_lock" => lock(false, true),
        "xact_lock_shared" => lock(true, true),
        "unlock" if !is_try => AdvisoryOp::Unlock { is_shared: false },
        "unlock_shared" if !is_try => AdvisoryOp::Unlock { is_shared: true },
        "unlock_all" if !is_try => AdvisoryOp::UnlockAll,
        _ => return None,
    })
}
