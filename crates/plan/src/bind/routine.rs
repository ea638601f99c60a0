//! Calls of routines: which of a name is meant, among all schemas of the path and the builtins.
//!
//! PostgreSQL's documentation, chapter 10.3. Candidates are the routines that could take the arguments at all: as many as
//! there are, by position and by name, missing ones from their defaults, the last ones as the elements of a variadic array. Of
//! two that take the same types the one whose schema comes first in the path hides the other. Overload resolution then
//! chooses among what is left and the builtins (`builtins::resolve`).

use std::sync::Arc;

use builtins::{Aggregate, ArgType, Builtin, CallTypes, Candidate, ResolveError, RetType};
use catalog::descriptor::PG_CATALOG_SCHEMA;
use catalog::privilege::{Need, PrivilegeSet};
use catalog::{Routine, RoutineKind, RoutineParameter, StoredType};
use smallvec::SmallVec;
use sqlparser::ast;
use types::{CastContext, Datum, ParameterMode, RowType, SqlError, SqlResult, SqlState, SqlType};

use super::composite::declared_field;
use super::query::computed;
use super::{Binder, Clause, bind_type, fold};
use crate::dependencies::NameKind;
use crate::expr::{Expr, RoutineCall};
use crate::plan::{Callee, FunctionCall, PlanColumn};
use crate::scope::Scope;

/// An argument of a call.
pub(crate) struct Argument {
    pub name: Option<String>,
    pub expr: Expr,
}

/// The routines of a name, each with the place of its schema in the path.
pub(crate) struct Named {
    routines: Vec<(usize, Arc<Routine>)>,
    /// The place of the builtins of the name, if they are looked at.
    builtins: Option<usize>,
}

impl Named {
    /// The first in the path that is declared to take just these.
    pub(crate) fn exact(&self, inputs: &[StoredType]) -> Option<&Arc<Routine>> {
        self.routines.iter().map(|(_, routine)| routine).find(|routine| routine.input_types() == inputs)
    }

    pub(super) fn has_aggregates(&self) -> bool {
        self.routines.iter().any(|(_, routine)| routine.kind == RoutineKind::Aggregate)
    }
}

/// What a call by a name that routines have turned out to be.
pub(crate) enum Resolution {
    Routine(RoutineCall),
    /// A builtin, or something else that is called so.
    Builtin(Vec<Expr>),
}

impl RoutineCall {
    pub(super) fn into_set(self) -> FunctionCall {
        FunctionCall { callee: Callee::Routine(self.routine), types: self.types, args: self.args }
    }
}

/// Where the value of an input comes from.
#[derive(Clone)]
enum Source {
    Argument(usize),
    /// The arguments from this one on, as an array.
    Rest(usize),
    Default,
}

struct RoutineCandidate {
    rank: usize,
    routine: Arc<Routine>,
    /// What it takes, for each argument of the call.
    declared: SmallVec<[ArgType; 4]>,
    inputs: Vec<Source>,
    ret: RetType,
    is_variadic: bool,
    default_count: usize,
}

enum Any {
    Builtin(&'static Builtin),
    Aggregate(&'static Aggregate),
    Routine(RoutineCandidate),
}

impl Candidate for Any {
    fn name(&self) -> &str {
        match self {
            Self::Builtin(it) => Candidate::name(*it),
            Self::Aggregate(it) => Candidate::name(*it),
            Self::Routine(it) => &it.routine.name,
        }
    }

    fn declared(&self, position: usize) -> Option<ArgType> {
        match self {
            Self::Builtin(it) => Candidate::declared(*it, position),
            Self::Aggregate(it) => Candidate::declared(*it, position),
            Self::Routine(it) => it.declared.get(position).copied(),
        }
    }

    fn takes_count(&self, count: usize) -> bool {
        match self {
            Self::Builtin(it) => Candidate::takes_count(*it, count),
            Self::Aggregate(it) => Candidate::takes_count(*it, count),
            Self::Routine(it) => it.declared.len() == count,
        }
    }

    fn is_polymorphic(&self) -> bool {
        match self {
            Self::Builtin(it) => Candidate::is_polymorphic(*it),
            Self::Aggregate(it) => Candidate::is_polymorphic(*it),
            Self::Routine(it) => it.declared.iter().any(|arg| !matches!(arg, ArgType::T(_))),
        }
    }

    fn ret(&self) -> RetType {
        match self {
            Self::Builtin(it) => Candidate::ret(*it),
            Self::Aggregate(it) => Candidate::ret(*it),
            Self::Routine(it) => it.ret,
        }
    }
}

fn element_of(argument: ArgType) -> ArgType {
    match argument {
        ArgType::AnyArray => ArgType::AnyElement,
        ArgType::T(ty) => ty.element().map_or(argument, ArgType::T),
        other => other,
    }
}

/// Whether a row may be given where a row of this type is wanted.
fn takes_row(wanted: SqlType, given: SqlType) -> bool {
    match (wanted, given) {
        (SqlType::Composite(wanted), SqlType::Composite(given)) => wanted.oid() == given.oid(),
        // A record that does not fit is refused when it is made one of the type.
        _ => true,
    }
}

impl Binder<'_> {
    /// The routines that a name may mean; `None` where there are none. In stored text only those that its calls meant when
    /// it was written (*calls-by-id*).
    pub(crate) fn routines_of(&self, parts: &[String]) -> Option<Named> {
        let catalog = self.context.catalog;
        match parts {
            [name] => NameKind::Routine.note(self.context, None, name),
            [schema, name] | [_, schema, name] => NameKind::Routine.note(self.context, Some(schema), name),
            _ => {}
        }
        if !catalog.has_routines() {
            return None;
        }
        let (name, schemas) = match parts {
            [name] => {
                let path = catalog.search_schemas(self.context.database, self.context.search_path, self.context.user);
                // As in PostgreSQL, nothing temporary is called without its schema.
                (name, path.into_iter().filter(|schema| !catalog.is_temporary(*schema)).collect::<Vec<u32>>())
            }
            [schema, name] | [_, schema, name] => {
                let temporary = catalog::temporary_schema(self.context.search_path).filter(|_| schema == "pg_temp");
                let schema = temporary.unwrap_or(schema);
                (name, catalog.schema(self.context.database, schema).map(|schema| schema.id).into_iter().collect())
            }
            _ => return None,
        };
        let meant = self.context.depends_on;
        let is_meant = |routine: &Routine| meant.is_none_or(|ids| ids.contains(&routine.id));
        let mut found = Named { routines: Vec::new(), builtins: None };
        for (rank, schema) in schemas.into_iter().enumerate() {
            if schema == PG_CATALOG_SCHEMA {
                found.builtins = Some(rank);
            }
            let named = catalog.routines_named(schema, name).filter(|routine| is_meant(routine));
            found.routines.extend(named.map(|routine| (rank, routine.clone())));
        }
        if let Some(ids) = meant.filter(|_| parts.len() > 1 && found.routines.is_empty() && found.builtins.is_none()) {
            // Its schema may have had that name when the text was written.
            let known = ids.iter().filter_map(|id| catalog.routine_by_id(*id)).filter(|routine| routine.name == *name);
            found.routines.extend(known.map(|routine| (0, routine.clone())));
        }
        (!found.routines.is_empty()).then_some(found)
    }

    /// The arguments of a call, those with names behind those without.
    pub(super) fn call_arguments(
        &mut self,
        list: &[&ast::FunctionArg],
        scope: &Scope<'_>,
    ) -> SqlResult<Vec<Argument>> {
        let mut args: Vec<Argument> = Vec::with_capacity(list.len());
        for arg in list {
            let assigned;
            let (name, value) = match arg {
                // `name := value`
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(ast::Expr::BinaryOp { left, op, right }))
                    if *op == ast::BinaryOperator::Assignment =>
                {
                    let ast::Expr::Identifier(name) = &**left else {
                        return Err(SqlError::new(SqlState::SyntaxError, "syntax error at or near \":=\""));
                    };
                    assigned = ast::FunctionArgExpr::Expr((**right).clone());
                    (Some(fold(name)), &assigned)
                }
                ast::FunctionArg::Unnamed(value) => (None, value),
                ast::FunctionArg::Named { name, arg, .. }
                | ast::FunctionArg::ExprNamed { name: ast::Expr::Identifier(name), arg, .. } => (Some(fold(name)), arg),
                ast::FunctionArg::ExprNamed { .. } => {
                    return Err(SqlError::new(SqlState::SyntaxError, "an argument's name is no expression"));
                }
            };
            let expr = match value {
                ast::FunctionArgExpr::Expr(expr) => self.expr(expr, scope)?,
                ast::FunctionArgExpr::QualifiedWildcard(range) => {
                    let names = super::name_parts(range)?;
                    self.whole_row(&names, scope)?
                }
                _ => return Err(SqlError::new(SqlState::SyntaxError, "syntax error at or near \"*\"")),
            };
            match &name {
                None if args.last().is_some_and(|last| last.name.is_some()) => {
                    let message = "positional argument cannot follow named argument";
                    return Err(SqlError::new(SqlState::SyntaxError, message));
                }
                Some(name) if args.iter().any(|known| known.name.as_ref() == Some(name)) => {
                    let message = format!("argument name \"{name}\" used more than once");
                    return Err(SqlError::new(SqlState::SyntaxError, message));
                }
                _ => args.push(Argument { name, expr }),
            }
        }
        Ok(args)
    }

    /// How a routine would take a call; `None` when it could not.
    fn candidate(&self, rank: usize, routine: &Arc<Routine>, args: &[Argument]) -> Option<RoutineCandidate> {
        let catalog = self.context.catalog;
        let is_call = routine.kind == RoutineKind::Procedure;
        // CALL has an argument for each parameter of a procedure.
        let inputs: Vec<&RoutineParameter> =
            routine.parameters.iter().filter(|it| it.mode.is_input() || is_call).collect();
        let positional = args.iter().take_while(|arg| arg.name.is_none()).count();
        let is_variadic = inputs.last().is_some_and(|last| last.mode == ParameterMode::Variadic);
        let mut from: Vec<Option<Source>> = vec![None; inputs.len()];
        let mut declared = SmallVec::new();
        let types: Vec<ArgType> = inputs
            .iter()
            .map(|it| Some(ArgType::taking(catalog.stored_type(it.ty)?.without_typmod())))
            .collect::<Option<_>>()?;
        for at in 0..positional {
            if is_variadic && at + 1 >= inputs.len() {
                let last = inputs.len() - 1;
                from[last].get_or_insert(Source::Rest(at));
                declared.push(element_of(types[last]));
            } else {
                *from.get_mut(at)? = Some(Source::Argument(at));
                declared.push(types[at]);
            }
        }
        for (at, arg) in args.iter().enumerate().skip(positional) {
            let name = arg.name.as_deref()?;
            let found = inputs.iter().position(|it| it.name == name)?;
            if from[found].is_some() || inputs[found].mode == ParameterMode::Variadic {
                return None;
            }
            from[found] = Some(Source::Argument(at));
            declared.push(types[found]);
        }
        let mut default_count = 0;
        for (from, input) in from.iter_mut().zip(&inputs) {
            if from.is_none() {
                input.default.as_ref()?;
                *from = Some(Source::Default);
                default_count += 1;
            }
        }
        let fits = declared.iter().zip(args).all(|(declared, arg)| match (declared, self.known_type(&arg.expr)) {
            (ArgType::T(wanted), Some(given)) if wanted.is_row() && given.is_row() => takes_row(*wanted, given),
            _ => true,
        });
        let ret = match catalog.result_type(routine)? {
            SqlType::AnyElement | SqlType::AnyNonArray => RetType::AnyElement,
            SqlType::AnyEnum => RetType::AnyEnum,
            SqlType::AnyRange => RetType::AnyRange,
            SqlType::AnyMultiRange => RetType::AnyMultiRange,
            SqlType::AnyArray => RetType::AnyArray,
            ty => RetType::T(ty),
        };
        fits.then_some(RoutineCandidate {
            rank,
            routine: routine.clone(),
            declared,
            inputs: from.into_iter().flatten().collect(),
            ret,
            is_variadic,
            default_count,
        })
    }

    /// Chooses what a call means.
    ///
    /// # Errors
    /// 42883, 42725, and 42809 for a routine of the other kind.
    pub(crate) fn resolve_routine(
        &mut self,
        found: &Named,
        parts: &[String],
        args: Vec<Argument>,
        kind: RoutineKind,
    ) -> SqlResult<Resolution> {
        let name = &parts[parts.len() - 1];
        let has_names = args.iter().any(|arg| arg.name.is_some());
        let mut candidates: Vec<RoutineCandidate> = found
            .routines
            .iter()
            .filter_map(|(rank, routine)| self.candidate(*rank, routine, &args))
            .collect();
        // Of two that take the same, one hides the other.
        let place = |it: &RoutineCandidate| (it.rank, it.is_variadic, it.default_count);
        candidates.sort_by_key(place);
        let mut kept: Vec<RoutineCandidate> = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let is_hidden = kept.iter().any(|it| it.declared == candidate.declared && place(it) < place(&candidate));
            if !is_hidden {
                kept.push(candidate);
            }
        }
        let mut all: Vec<Any> = Vec::new();
        if let Some(rank) = found.builtins.filter(|_| !has_names && kind == RoutineKind::Function) {
            for builtin in builtins::functions(name) {
                let same = |it: &RoutineCandidate| {
                    it.declared.iter().enumerate().all(|(at, ty)| Candidate::declared(*builtin, at) == Some(*ty))
                        && Candidate::takes_count(*builtin, it.declared.len())
                };
                let is_hidden = kept.iter().any(|it| same(it) && it.rank < rank);
                kept.retain(|it| !same(it) || it.rank < rank);
                if !is_hidden {
                    all.push(Any::Builtin(builtin));
                }
            }
        }
        if found.builtins.is_some() && !has_names && kind == RoutineKind::Function && found.has_aggregates() {
            // Those that take the same are hidden by an earlier schema, or hide a later one.
            for aggregate in builtins::aggregates(name) {
                let same = |it: &RoutineCandidate| {
                    it.declared.iter().enumerate().all(|(at, ty)| Candidate::declared(*aggregate, at) == Some(*ty))
                        && Candidate::takes_count(*aggregate, it.declared.len())
                };
                let is_hidden = kept.iter().any(|it| same(it) && Some(it.rank) < found.builtins);
                kept.retain(|it| !same(it) || Some(it.rank) < found.builtins);
                if !is_hidden {
                    all.push(Any::Aggregate(aggregate));
                }
            }
        }
        all.extend(kept.into_iter().map(Any::Routine));
        let known: Vec<Option<SqlType>> = args.iter().map(|arg| self.known_type(&arg.expr)).collect();
        let refs: Vec<&Any> = all.iter().collect();
        match builtins::resolve(&refs, &known) {
            Ok(resolved) => match resolved.chosen {
                Any::Builtin(_) | Any::Aggregate(_) => Ok(Resolution::Builtin(args.into_iter().map(|arg| arg.expr).collect())),
                Any::Routine(chosen) => {
                    self.check_kind(&chosen.routine, kind, &self.shown_call(&parts.join("."), &args))?;
                    super::note_lookup(self.context, chosen.routine.schema, None);
                    let (id, privileges) = (chosen.routine.id, PrivilegeSet::EXECUTE);
                    self.context.notes.needs.add(Need::Object { id, privileges });
                    self.filled(chosen, args, &resolved.args, resolved.ret).map(Resolution::Routine)
                }
            },
            // What else a name in this dress may be: a cast, a sequence's function.
            Err(ResolveError::None) if found.builtins.is_some() && !has_names && kind == RoutineKind::Function => {
                Ok(Resolution::Builtin(args.into_iter().map(|arg| arg.expr).collect()))
            }
            Err(error) => Err(self.no_routine(&parts.join("."), &args, error, kind)),
        }
    }

    /// The procedure that CALL names, with its arguments.
    ///
    /// # Errors
    /// 42883 where there is none, 42809 for a function.
    pub(crate) fn procedure_call(&mut self, function: &ast::Function) -> SqlResult<RoutineCall> {
        let parts = super::name_parts(&function.name)?;
        let list = super::function::argument_list(function)?;
        let level = self.level();
        let args = self.with_frame(Clause::CallArgument, |binder| binder.call_arguments(&list, &Scope::empty(&level)))?;
        let shown = parts.join(".");
        let Some(found) = self.routines_of(&parts) else {
            let is_builtin = parts.len() == 1 && !builtins::functions(&parts[0]).is_empty();
            if is_builtin {
                let message = format!("{} is not a procedure", self.shown_call(&shown, &args));
                return Err(SqlError::new(SqlState::WrongObjectType, message)
                    .with_hint("To call a function, use SELECT."));
            }
            return Err(self.no_routine(&shown, &args, ResolveError::None, RoutineKind::Procedure));
        };
        match self.resolve_routine(&found, &parts, args, RoutineKind::Procedure)? {
            Resolution::Routine(call) => Ok(call),
            Resolution::Builtin(_) => Err(SqlError::internal("a builtin was called as a procedure")),
        }
    }

    /// A call as messages show it, by the types that are known of its arguments.
    fn shown_call(&self, name: &str, args: &[Argument]) -> String {
        let types = args.iter().map(|arg| {
            let ty = self.known_type(&arg.expr).map_or_else(|| "unknown".to_owned(), |ty| ty.base_name());
            arg.name.as_ref().map_or_else(|| ty.clone(), |name| format!("{name} => {ty}"))
        });
        format!("{name}({})", types.collect::<Vec<_>>().join(", "))
    }

    fn check_kind(&self, routine: &Routine, kind: RoutineKind, shown: &str) -> SqlResult<()> {
        // Callers of functions look at aggregates themselves.
        if routine.kind == kind || (routine.kind == RoutineKind::Aggregate && kind == RoutineKind::Function) {
            return Ok(());
        }
        let (what, hint) = match routine.kind {
            RoutineKind::Procedure => ("is a procedure", "To call a procedure, use CALL."),
            RoutineKind::Function | RoutineKind::Aggregate => ("is not a procedure", "To call a function, use SELECT."),
        };
        Err(SqlError::new(SqlState::WrongObjectType, format!("{shown} {what}")).with_hint(hint))
    }

    /// 42883 and its kin.
    pub(super) fn no_routine(
        &self,
        name: &str,
        args: &[Argument],
        error: ResolveError,
        kind: RoutineKind,
    ) -> SqlError {
        let call = self.shown_call(name, args);
        let what = if kind == RoutineKind::Procedure { "procedure" } else { "function" };
        match error {
            ResolveError::None => SqlError::new(SqlState::UndefinedFunction, format!("{what} {call} does not exist"))
                .with_hint(format!(
                    "No {what} matches the given name and argument types. You might need to add explicit type casts."
                )),
            ResolveError::Indeterminate => super::function::indeterminate(),
            ResolveError::Ambiguous => {
                SqlError::new(SqlState::AmbiguousFunction, format!("{what} {call} is not unique")).with_hint(format!(
                    "Could not choose a best candidate {what}. You might need to add explicit type casts."
                ))
            }
        }
    }

    /// The call with a value for each input.
    fn filled(
        &mut self,
        chosen: &RoutineCandidate,
        args: Vec<Argument>,
        settled: &[SqlType],
        ret: SqlType,
    ) -> SqlResult<RoutineCall> {
        let routine = chosen.routine.clone();
        self.context.notes.uses(routine.id);
        let signature = routine.parameters.iter().map(|it| it.ty).chain([routine.returns]);
        for ty in signature.filter_map(|ty| self.context.catalog.stored_type(ty)) {
            self.context.notes.uses_types_of(ty);
        }
        self.depends_on.push(routine.id);
        let is_call = routine.kind == RoutineKind::Procedure;
        let mut values: Vec<Option<Expr>> = args.into_iter().map(|arg| Some(arg.expr)).collect();
        let mut take = |at: usize| values.get_mut(at).and_then(Option::take);
        let (mut exprs, mut types) = (Vec::new(), SmallVec::new());
        let parameters = routine.parameters.iter().filter(|it| it.mode.is_input() || is_call);
        for (from, parameter) in chosen.inputs.iter().zip(parameters) {
            let declared = self.context.catalog.stored_type(parameter.ty).unwrap_or(SqlType::Text).without_typmod();
            let expr = match from {
                // What an output parameter of a procedure is given is only looked at for its form.
                Source::Argument(at) if parameter.mode == ParameterMode::Out => {
                    let expr = take(*at).unwrap_or(Expr::Const(Datum::Null, SqlType::Unknown));
                    self.settle(expr, declared, CastContext::Explicit)?
                }
                Source::Argument(at) => {
                    let expr = take(*at).ok_or_else(|| SqlError::internal("an argument is given once"))?;
                    self.coerce(expr, settled[*at], CastContext::Implicit)?
                }
                Source::Rest(first) => {
                    let mut elements = Vec::new();
                    for (at, ty) in settled.iter().enumerate().skip(*first) {
                        let element = take(at).ok_or_else(|| SqlError::internal("an argument is given once"))?;
                        elements.push(self.coerce(element, *ty, CastContext::Implicit)?);
                    }
                    let element = settled[*first];
                    Expr::Array { elements, ty: element.array_of() }
                }
                Source::Default => {
                    let text = parameter.default.as_deref().unwrap_or("NULL");
                    self.parameter_default(text, declared, routine.schema)?
                }
            };
            let is_open = declared.is_pseudo() && declared.row_type().is_none();
            types.push(if is_open { expr.ty() } else { declared });
            exprs.push(expr);
        }
        Ok(RoutineCall { routine, types: CallTypes { args: types, ret }, args: exprs })
    }

    /// A parameter's default, its names looked up where the routine is.
    pub(crate) fn parameter_default(&mut self, text: &str, ty: SqlType, schema: u32) -> SqlResult<Expr> {
        let own = self.context.catalog.schema_by_id(schema).map(|schema| schema.name.clone());
        let path: Vec<String> = own.into_iter().chain(self.context.search_path.iter().cloned()).collect();
        let tree = crate::parse::parse_expr(text)?;
        self.with_path(&path, |binder| {
            let level = binder.level();
            let expr = binder.with_frame(Clause::Default, |binder| binder.expr(&tree, &Scope::empty(&level)))?;
            if ty.is_pseudo() {
                return binder.settle_text(expr);
            }
            binder.coerce(expr, ty, CastContext::Assignment)
        })
    }
}

impl Binder<'_> {
    /// A routine that returns records of no known fields, with those that the column definition list says.
    pub(super) fn with_definitions(
        &self,
        mut call: RoutineCall,
        alias: Option<&ast::TableAlias>,
        has_definitions: &mut bool,
    ) -> SqlResult<FunctionCall> {
        if call.types.ret == SqlType::RECORD {
            let columns = alias.map(|alias| alias.columns.as_slice()).unwrap_or_default();
            let fields = columns.iter().map(|column| {
                let ty = column.data_type.as_ref().map(|ty| bind_type(ty, self.context)).transpose()?;
                Ok(ty.map(|ty| (Arc::from(fold(&column.name)), ty)))
            });
            let fields: Option<Vec<(Arc<str>, SqlType)>> = fields.collect::<SqlResult<Option<_>>>()?;
            let fields = fields.filter(|fields| !fields.is_empty()).ok_or_else(|| {
                let message = "a column definition list is required for functions returning \"record\"";
                SqlError::new(SqlState::SyntaxError, message)
            })?;
            *has_definitions = true;
            call.types.ret = SqlType::record_of(RowType { table: None, fields });
        }
        Ok(call.into_set())
    }

    /// The columns of a routine in FROM.
    pub(super) fn routine_columns(&self, call: &FunctionCall, alias: Option<&ast::TableAlias>, function: &str) -> Vec<PlanColumn> {
        if let Some(row) = call.types.ret.row_type() {
            let fields = row.fields.iter().enumerate();
            return fields.map(|(at, (name, _))| computed(name.to_string(), declared_field(call.types.ret, &row, at))).collect();
        }
        let only = match &call.callee {
            Callee::Routine(routine) => routine.outputs().next().map(|it| it.name.clone()).filter(|name| !name.is_empty()),
            Callee::Builtin(_) => None,
        };
        let name = only.or_else(|| alias.map(|alias| fold(&alias.name)));
        vec![computed(name.unwrap_or_else(|| function.to_owned()), call.types.ret)]
    }
}
