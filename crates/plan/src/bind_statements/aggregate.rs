//! CREATE AGGREGATE. The checks are PostgreSQL's, in its order.

use ::types::{Datum, ParameterMode, SqlError, SqlResult, SqlState, SqlType, RangeType, parse_text};
use catalog::privilege::{Need, PrivilegeSet};
use catalog::{
    AggregateDefinition, Language, Routine, RoutineKind, RoutineParameter, RoutineVolatility, StoredType, SupportFunction,
    Transitions, support_builtin,
};
use sqlparser::ast;

use super::{ddl, new_name, routine::stored_type};
use crate::{
    PlanContext,
    bind::{Argument, Binder, Resolution, find_type, fold, name_parts},
    expr::Expr,
    parse::own::{AggregateValue, CreateAggregate, ParameterText, TypeText},
    statement::{Ddl, PreparedPlan, RoutineBody},
};

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::InvalidFunctionDefinition, message)
}

fn mismatch(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::DatatypeMismatch, message)
}

/// The type of an input, which may also be any at all.
pub(super) fn input_type(text: &TypeText, context: &PlanContext<'_>) -> SqlResult<StoredType> {
    if let TypeText::Named(ast::DataType::Custom(name, modifiers)) = text
        && modifiers.is_empty()
        && let Some(last) = name.0.last().and_then(ast::ObjectNamePart::as_ident)
        && last.quote_style.is_some()
        && last.value == "any"
    {
        return Ok(StoredType::of(&SqlType::Any));
    }
    stored_type(text, context)
}

/// A type that stands for a polymorphic one while functions are looked up.
fn stand_in(ty: SqlType) -> SqlType {
    match ty {
        SqlType::AnyElement | SqlType::AnyNonArray | SqlType::Any => SqlType::Int4,
        SqlType::AnyArray => SqlType::INT4_ARRAY,
        SqlType::AnyRange => SqlType::Range(RangeType::Int4),
        SqlType::AnyMultiRange => SqlType::MultiRange(RangeType::Int4),
        ty => ty,
    }
}

/// What was said, by the names of today.
#[derive(Default)]
struct Options<'o> {
    transition: Option<&'o ast::ObjectName>,
    state: Option<&'o AggregateValue>,
    state_size: i64,
    initial: Option<&'o str>,
    last: Option<&'o ast::ObjectName>,
    last_extra: bool,
    last_modify: Option<&'o str>,
    combine: Option<&'o ast::ObjectName>,
    moving_transition: Option<&'o ast::ObjectName>,
    moving_inverse: Option<&'o ast::ObjectName>,
    moving_state: Option<&'o AggregateValue>,
    moving_size: i64,
    moving_initial: Option<&'o str>,
    moving_last: Option<&'o ast::ObjectName>,
    moving_extra: bool,
    moving_modify: Option<&'o str>,
    base: Option<&'o AggregateValue>,
    sort_operator: Option<&'o str>,
    parallel: Option<&'o str>,
    has_serialization: bool,
    has_hypothetical: bool,
    unknown: Vec<&'o str>,
}

impl<'o> Options<'o> {
    fn read(list: &'o [(String, AggregateValue)]) -> Self {
        use AggregateValue as Value;
        let mut found = Self::default();
        for (key, value) in list {
            match (key.as_str(), value) {
                ("sfunc" | "sfunc1", Value::Name(name)) => found.transition = Some(name),
                ("finalfunc", Value::Name(name)) => found.last = Some(name),
                ("combinefunc", Value::Name(name)) => found.combine = Some(name),
                ("serialfunc" | "deserialfunc", Value::Name(_)) => found.has_serialization = true,
                ("msfunc", Value::Name(name)) => found.moving_transition = Some(name),
                ("minvfunc", Value::Name(name)) => found.moving_inverse = Some(name),
                ("mfinalfunc", Value::Name(name)) => found.moving_last = Some(name),
                ("stype" | "stype1", value @ (Value::Type(_) | Value::Text(_))) => found.state = Some(value),
                ("mstype", value @ (Value::Type(_) | Value::Text(_))) => found.moving_state = Some(value),
                ("basetype", value @ (Value::Type(_) | Value::Text(_))) => found.base = Some(value),
                ("sspace" | "sspace1", Value::Number(size)) => found.state_size = *size,
                ("msspace", Value::Number(size)) => found.moving_size = *size,
                ("initcond" | "initcond1", Value::Text(text)) => found.initial = Some(text),
                ("minitcond", Value::Text(text)) => found.moving_initial = Some(text),
                ("finalfunc_extra", Value::Flag(flag)) => found.last_extra = *flag,
                ("mfinalfunc_extra", Value::Flag(flag)) => found.moving_extra = *flag,
                ("hypothetical", Value::Flag(flag)) => found.has_hypothetical = *flag,
                ("finalfunc_modify", Value::Text(word)) => found.last_modify = Some(word),
                ("mfinalfunc_modify", Value::Text(word)) => found.moving_modify = Some(word),
                ("sortop", Value::Operator(symbol)) => found.sort_operator = Some(symbol),
                ("parallel", Value::Text(word)) => found.parallel = Some(word),
                _ => found.unknown.push(key),
            }
        }
        found
    }
}

fn modify(attribute: &str, word: Option<&str>) -> SqlResult<char> {
    match word {
        None | Some("read_only") => Ok('r'),
        Some("shareable") => Ok('s'),
        Some("read_write") => Ok('w'),
        Some(_) => {
            let message = format!("parameter \"{attribute}\" must be READ_ONLY, SHAREABLE, or READ_WRITE");
            Err(SqlError::new(SqlState::SyntaxError, message))
        }
    }
}

/// A type that was written as one or as a string.
fn written_type(value: &AggregateValue, context: &PlanContext<'_>) -> SqlResult<StoredType> {
    match value {
        AggregateValue::Type(text) => input_type(text, context),
        AggregateValue::Text(text) => {
            let named = match SqlType::parse_name(text) {
                Ok(ty) => Some(ty),
                Err(_) => find_type(&ast::ObjectName::from(vec![ast::Ident::new(text)]), context)?,
            };
            let missing = || SqlError::new(SqlState::UndefinedObject, format!("type \"{text}\" does not exist"));
            Ok(StoredType::of(&named.ok_or_else(missing)?))
        }
        _ => Err(SqlError::internal("an attribute's type was read as something else")),
    }
}

struct Definer<'c> {
    context: &'c PlanContext<'c>,
    inputs: Vec<SqlType>,
}

/// A function that was looked up.
struct Found {
    function: SupportFunction,
    /// As declared: may be polymorphic.
    returns: StoredType,
    /// With stand-ins.
    settled: SqlType,
    is_strict: bool,
}

impl Definer<'_> {
    fn shown(&self, name: &str, types: &[SqlType]) -> String {
        let types: Vec<String> = types.iter().map(|ty| ty.base_name()).collect();
        format!("{name}({})", types.join(", "))
    }

    /// # Errors
    /// 42883 for a function that there is none of, 42804 for one that would need its arguments converted.
    fn support(&self, name: &ast::ObjectName, args: &[SqlType]) -> SqlResult<Found> {
        let parts = name_parts(name)?;
        let shown_name = parts.join(".");
        let missing = || {
            SqlError::new(SqlState::UndefinedFunction, format!("function {} does not exist", self.shown(&shown_name, args)))
        };
        let mut binder = Binder::new(self.context, None);
        let bare = match parts.as_slice() {
            [name] => Some(name),
            [schema, name] if schema == "pg_catalog" => Some(name),
            _ => None,
        };
        if let Some(found) = binder.routines_of(&parts) {
            // Arrays are handed to a variadic parameter as they are.
            let inputs: Vec<StoredType> = args.iter().map(StoredType::of).collect();
            if let Some(routine) = found.exact(&inputs).filter(|it| it.kind == RoutineKind::Function && !it.returns_set) {
                let returns = self.context.catalog.result_type(routine).unwrap_or(SqlType::Unknown);
                self.context.notes.uses(routine.id);
                self.context.notes.needs.add(Need::Object { id: routine.id, privileges: PrivilegeSet::EXECUTE });
                return Ok(Found {
                    function: SupportFunction::Routine(routine.id),
                    returns: routine.returns,
                    settled: stand_in(returns),
                    is_strict: routine.strict,
                });
            }
            let argument = |ty: &SqlType| Argument { name: None, expr: Expr::Const(Datum::Null, stand_in(*ty)) };
            let resolved = binder.resolve_routine(&found, &parts, args.iter().map(argument).collect(), RoutineKind::Function);
            let resolved = resolved.map_err(|error| match error.code() {
                SqlState::UndefinedFunction => missing(),
                _ => error,
            })?;
            if let Resolution::Routine(call) = resolved {
                let routine = &call.routine;
                if routine.kind != RoutineKind::Function {
                    return Err(missing());
                }
                let declared: Vec<SqlType> =
                    routine.inputs().map(|it| self.context.catalog.stored_type(it.ty).unwrap_or(SqlType::Unknown)).collect();
                if routine.returns_set {
                    let message = format!("function {} returns a set", self.shown(&shown_name, &declared));
                    return Err(mismatch(message));
                }
                self.check_taken(&shown_name, args, &declared, missing)?;
                return Ok(Found {
                    function: SupportFunction::Routine(routine.id),
                    returns: routine.returns,
                    settled: call.types.ret,
                    is_strict: routine.strict,
                });
            }
        }
        let (builtin, types) = bare.and_then(|name| support_builtin(name, args)).ok_or_else(missing)?;
        if builtin.is_set_returning() {
            return Err(mismatch(format!("function {} returns a set", self.shown(&shown_name, &types.args))));
        }
        self.check_taken(&shown_name, args, &types.args, missing)?;
        let has_open = args.iter().any(SqlType::is_pseudo);
        let returns = match builtin.signature.ret {
            builtins::RetType::T(ty) => ty,
            _ if has_open => match builtin.signature.ret {
                builtins::RetType::AnyArray => SqlType::AnyArray,
                builtins::RetType::AnyRange => SqlType::AnyRange,
                builtins::RetType::AnyMultiRange => SqlType::AnyMultiRange,
                builtins::RetType::AnyEnum => SqlType::AnyEnum,
                _ => SqlType::AnyElement,
            },
            _ => types.ret,
        };
        Ok(Found {
            function: SupportFunction::Builtin(builtin.name().to_owned()),
            returns: StoredType::of(&returns),
            settled: stand_in(returns),
            is_strict: builtin.strict,
        })
    }

    /// Values are handed over as they are: the types must have one form, and open ones must be open on both sides.
    fn check_taken(
        &self,
        name: &str,
        given: &[SqlType],
        declared: &[SqlType],
        missing: impl Fn() -> SqlError,
    ) -> SqlResult<()> {
        let all = declared;
        for (given, declared) in given.iter().zip(declared) {
            if *declared == SqlType::Any {
                continue;
            }
            if given.is_pseudo() && given.row_type().is_none() && *given != SqlType::RECORD {
                if declared.is_pseudo() { continue } else { return Err(missing()) }
            }
            let is_text = |ty: &SqlType| matches!(ty, SqlType::Text | SqlType::Varchar(_));
            let is_taken = declared.is_pseudo()
                || given.same_base(declared)
                || (is_text(given) && is_text(declared))
                || (given.is_row() && *declared == SqlType::RECORD);
            if !is_taken {
                return Err(mismatch(format!("function {} requires run-time type coercion", self.shown(name, all))));
            }
        }
        Ok(())
    }

    fn state(&self, value: &AggregateValue) -> SqlResult<(StoredType, SqlType)> {
        let stored = written_type(value, self.context).map_err(|error| match (error.code(), value) {
            (SqlState::UndefinedObject, AggregateValue::Type(TypeText::Named(name)))
                if name.to_string().eq_ignore_ascii_case("internal") =>
            {
                SqlError::not_supported("aggregates with a state of type internal are not supported")
                    .with_hint("Use a type of SQL for the state.")
            }
            (SqlState::UndefinedObject, AggregateValue::Type(TypeText::Named(name))) => {
                SqlError::new(SqlState::UndefinedObject, format!("type \"{name}\" does not exist"))
            }
            _ => error,
        })?;
        let ty = self.context.catalog.stored_type(stored).ok_or_else(|| invalid("aggregate transition data type is unknown"))?;
        if ty.is_pseudo() && ty.row_type().is_none() && !stored.is_polymorphic() {
            let message = format!("aggregate transition data type cannot be {}", self.context.catalog.shown_type(stored));
            return Err(invalid(message));
        }
        if stored.is_polymorphic() && !self.inputs.iter().any(|ty| StoredType::of(ty).is_polymorphic()) {
            let shown = self.context.catalog.shown_type(stored);
            return Err(invalid("cannot determine transition data type").with_detail(format!(
                "A result of type {shown} requires at least one input of type anyelement, anyarray, anynonarray, anyenum, anyrange, or anymultirange."
            )));
        }
        Ok((stored, ty))
    }

    fn check_initial(&self, text: Option<&str>, state: SqlType) -> SqlResult<()> {
        match text {
            Some(text) if !state.is_pseudo() => parse_text(&state, text, self.context.formatting).map(drop),
            _ => Ok(()),
        }
    }

    fn check_first(&self, found: &Found, initial: Option<&str>, state: SqlType) -> SqlResult<()> {
        if !found.is_strict || initial.is_some() {
            return Ok(());
        }
        let is_text = |ty: &SqlType| matches!(ty, SqlType::Text | SqlType::Varchar(_));
        match self.inputs.first() {
            Some(first) if first.same_base(&state) || is_text(first) && is_text(&state) => Ok(()),
            _ => Err(invalid(
                "must not omit initial value when transition function is strict and transition type is not compatible with input type",
            )),
        }
    }

    /// The last function with the type of its answer, which is the aggregate's.
    fn last(
        &self,
        name: Option<&ast::ObjectName>,
        is_extra: bool,
        with_inputs: &[SqlType],
    ) -> SqlResult<Option<Found>> {
        let Some(name) = name else { return Ok(None) };
        let found = self.support(name, if is_extra { with_inputs } else { &with_inputs[..1] })?;
        if is_extra && found.is_strict {
            return Err(invalid("final function with extra arguments must not be declared STRICT"));
        }
        Ok(Some(found))
    }
}

fn parameters(list: &[ParameterText], context: &PlanContext<'_>) -> SqlResult<Vec<RoutineParameter>> {
    let mut found: Vec<RoutineParameter> = Vec::with_capacity(list.len());
    for parameter in list {
        let ty = input_type(&parameter.ty, context)?;
        if parameter.is_set {
            return Err(invalid("aggregates cannot accept set arguments"));
        }
        if ty == StoredType::VOID || ty == StoredType::TRIGGER {
            let shown = context.catalog.shown_type(ty);
            return Err(invalid(format!("SQL function arguments cannot have type {shown}")));
        }
        match parameter.mode {
            ParameterMode::In | ParameterMode::Variadic => {}
            ParameterMode::Out | ParameterMode::InOut | ParameterMode::Table => {
                return Err(SqlError::not_supported("aggregates cannot have output arguments"));
            }
        }
        if found.last().is_some_and(|last| last.mode == ParameterMode::Variadic) {
            return Err(invalid("VARIADIC parameter must be the last input parameter"));
        }
        if parameter.mode == ParameterMode::Variadic {
            let array = context.catalog.stored_type(ty);
            if array == Some(SqlType::Any) {
                return Err(SqlError::not_supported("aggregates that take VARIADIC \"any\" are not supported"));
            }
            if !array.is_some_and(|ty| ty.is_array() || ty == SqlType::AnyArray) {
                return Err(invalid("VARIADIC parameter must be an array"));
            }
        }
        let name = parameter.name.as_ref().map(fold).unwrap_or_default();
        if !name.is_empty() && found.iter().any(|known| known.name == name) {
            return Err(invalid(format!("parameter name \"{name}\" used more than once")));
        }
        found.push(RoutineParameter { name, mode: parameter.mode, ty, default: None });
    }
    Ok(found)
}

/// The older form: one input, or none for ANY.
fn base_parameters(base: &AggregateValue, context: &PlanContext<'_>) -> SqlResult<Vec<RoutineParameter>> {
    if matches!(base, AggregateValue::Text(text) if text.eq_ignore_ascii_case("any")) {
        return Ok(Vec::new());
    }
    let ty = written_type(base, context)?;
    Ok(vec![RoutineParameter { name: String::new(), mode: ParameterMode::In, ty, default: None }])
}

pub(super) fn create(create: &CreateAggregate, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    let (schema, name) = new_name(context, &create.name)?;
    let options = Options::read(&create.options);
    if create.is_ordered_set || options.has_hypothetical {
        return Err(SqlError::not_supported("ordered-set aggregates by users are not supported"));
    }
    let modify_plain = modify("finalfunc_modify", options.last_modify)?;
    let modify_moving = modify("mfinalfunc_modify", options.moving_modify)?;
    let state = options.state.ok_or_else(|| invalid("aggregate stype must be specified"))?;
    let transition = options.transition.ok_or_else(|| invalid("aggregate sfunc must be specified"))?;
    if options.moving_state.is_some() {
        for (is_said, attribute) in [(options.moving_transition.is_some(), "msfunc"), (options.moving_inverse.is_some(), "minvfunc")] {
            if !is_said {
                return Err(invalid(format!("aggregate {attribute} must be specified when mstype is specified")));
            }
        }
    } else {
        let said = [
            (options.moving_transition.is_some(), "msfunc"),
            (options.moving_inverse.is_some(), "minvfunc"),
            (options.moving_last.is_some(), "mfinalfunc"),
            (options.moving_size != 0, "msspace"),
            (options.moving_initial.is_some(), "minitcond"),
        ];
        if let Some((_, attribute)) = said.into_iter().find(|(is_said, _)| *is_said) {
            return Err(invalid(format!("aggregate {attribute} must not be specified without mstype")));
        }
    }
    let parameters = match (&create.parameters, options.base) {
        (None, None) => return Err(invalid("aggregate input type must be specified")),
        (None, Some(base)) => base_parameters(base, context)?,
        (Some(_), Some(_)) => return Err(invalid("basetype is redundant with aggregate input type specification")),
        (Some(list), None) => parameters(list, context)?,
    };
    let inputs: Option<Vec<SqlType>> = parameters.iter().map(|it| context.catalog.stored_type(it.ty)).collect();
    let inputs = inputs.ok_or_else(|| SqlError::internal("a type that was bound is not there"))?;
    let definer = Definer { context, inputs };
    let (stored, state) = definer.state(state)?;
    if options.has_serialization {
        return Err(invalid(
            "serialization functions may be specified only when the aggregate transition data type is internal",
        ));
    }
    definer.check_initial(options.initial, state)?;
    let parallel = match options.parallel {
        None | Some("unsafe") => 'u',
        Some("safe") => 's',
        Some("restricted") => 'r',
        Some(_) => {
            let message = "parameter \"parallel\" must be SAFE, RESTRICTED, or UNSAFE";
            return Err(SqlError::new(SqlState::SyntaxError, message));
        }
    };
    let with_inputs = |state: SqlType| -> Vec<SqlType> { std::iter::once(state).chain(definer.inputs.iter().copied()).collect() };
    let all = with_inputs(state);
    let first = definer.support(transition, &all)?;
    let shown = |ty: SqlType| ty.base_name();
    let names = |name: &ast::ObjectName| name_parts(name).map(|parts| parts.join("."));
    if !first.settled.same_base(&stand_in(state)) {
        return Err(mismatch(format!("return type of transition function {} is not {}", names(transition)?, shown(state))));
    }
    definer.check_first(&first, options.initial, state)?;
    let last = definer.last(options.last, options.last_extra, &all)?;
    let returns = last.as_ref().map_or(stored, |last| last.returns);
    let combine = match options.combine {
        Some(name) => {
            let found = definer.support(name, &[state, state])?;
            if !found.settled.same_base(&stand_in(state)) {
                return Err(mismatch(format!("return type of combine function {} is not {}", names(name)?, shown(state))));
            }
            Some(found.function)
        }
        None => None,
    };
    let size = |size: i64| u32::try_from(size).unwrap_or(0);
    let moving = match (options.moving_state, options.moving_transition, options.moving_inverse) {
        (Some(value), Some(forth), Some(back)) => {
            let (stored, state) = definer.state(value)?;
            definer.check_initial(options.moving_initial, state)?;
            let all = with_inputs(state);
            let forward = definer.support(forth, &all)?;
            if !forward.settled.same_base(&stand_in(state)) {
                return Err(mismatch(format!("return type of transition function {} is not {}", names(forth)?, shown(state))));
            }
            definer.check_first(&forward, options.moving_initial, state)?;
            let inverse = definer.support(back, &all)?;
            if !inverse.settled.same_base(&stand_in(state)) {
                return Err(mismatch(format!("return type of inverse transition function {} is not {}", names(back)?, shown(state))));
            }
            if forward.is_strict != inverse.is_strict {
                return Err(invalid("strictness of aggregate's forward and inverse transition functions must match"));
            }
            let last = definer.last(options.moving_last, options.moving_extra, &all)?;
            let answers = last.as_ref().map_or(stored, |last| last.returns);
            if answers != returns {
                let (one, other) = (context.catalog.shown_type(answers), context.catalog.shown_type(returns));
                return Err(invalid(format!(
                    "moving-aggregate implementation returns type {one}, but plain implementation returns type {other}"
                )));
            }
            let transitions = Transitions {
                transition: forward.function,
                state: stored,
                state_size: size(options.moving_size),
                initial: options.moving_initial.map(str::to_owned),
                last: last.map(|last| last.function),
                last_extra: options.moving_extra,
                last_modify: modify_moving,
            };
            Some((transitions, inverse.function))
        }
        _ => None,
    };
    let sort_operator = match (options.sort_operator, definer.inputs.as_slice()) {
        (None, _) => None,
        (Some(symbol), [only]) => {
            let symbol = symbol.rsplit_once('.').map_or(symbol, |(_, symbol)| symbol);
            let ty = stand_in(*only);
            if builtins::resolve_binary_operator(symbol, Some(ty), Some(ty)).is_err() {
                let message = format!("operator does not exist: {} {symbol} {}", shown(*only), shown(*only));
                return Err(SqlError::new(SqlState::UndefinedFunction, message));
            }
            Some(symbol.to_owned())
        }
        (Some(_), _) => return Err(invalid("sort operator can only be specified for single-argument aggregates")),
    };
    let plain = Transitions {
        transition: first.function,
        state: stored,
        state_size: size(options.state_size),
        initial: options.initial.map(str::to_owned),
        last: last.map(|last| last.function),
        last_extra: options.last_extra,
        last_modify: modify_plain,
    };
    let routine = Routine {
        id: 0,
        schema,
        name,
        owner: 0,
        kind: RoutineKind::Aggregate,
        parameters,
        returns,
        returns_set: false,
        language: Language::Sql,
        body: String::new(),
        volatility: RoutineVolatility::Immutable,
        strict: false,
        security_definer: false,
        leakproof: false,
        parallel,
        cost: 1.0,
        rows: 0.0,
        settings: Vec::new(),
        comment: None,
        aggregate: Some(Box::new(AggregateDefinition { plain, combine, moving, sort_operator })),
    };
    let warnings = options.unknown.iter().map(|key| format!("aggregate attribute \"{key}\" not recognized")).collect();
    let body = RoutineBody { text: "".into(), offset: None };
    let routine = Box::new(routine);
    Ok(ddl(Ddl::CreateRoutine { routine, or_replace: create.or_replace, body, warnings }, "CREATE AGGREGATE", context))
}
