//! Functions: `pg_proc`, `pg_aggregate`, `pg_language`, and what `pg_get_function_arguments` and its kin say of them.

use std::sync::LazyLock;

use ::types::SqlType;
use builtins::{AggregateKind, ArgType, RetType, Signature, Volatility};
use rustc_hash::FxHashMap;

use super::row::{Rows, Vector, row};
use super::scope::{Key, Scope, Source};
use crate::descriptor::{PG_CATALOG_SCHEMA, POSTGRES_ROLE};
use crate::routine::{PLPGSQL_LANGUAGE, SQL_LANGUAGE};

pub(super) const TABLES: &[Source] = &[
    Source::of("pg_proc", super::routines::pg_proc, &[("oid", Key::Routine), ("proname", Key::RoutineName), ("pronamespace", Key::Schema)])
        .and_fixed(fixed_functions),
    Source::of("pg_aggregate", super::routines::pg_aggregate, &[("aggfnoid", Key::Routine)]).and_fixed(pg_aggregate),
    Source::whole("pg_language", pg_language),
    Source::fixed("pg_extension", pg_extension),
];

pub(super) const INTERNAL_LANGUAGE: u32 = 12;

/// What `pg_proc` says of a function.
struct Function {
    oid: u32,
    name: &'static str,
    /// `f`, or `a` for an aggregate.
    kind: char,
    args: Vec<u32>,
    variadic: u32,
    result: u32,
    returns_set: bool,
    strict: bool,
    volatility: char,
    /// Columns of a set, where it has several: types and names.
    outputs: Vec<(&'static str, SqlType)>,
}

/// An argument's type, the polymorphic ones by their names.
pub(super) fn first_arg(arg: ArgType) -> u32 {
    match arg {
        ArgType::T(ty) => ty.oid(),
        ArgType::Any => SqlType::Any.oid(),
        ArgType::AnyElement => SqlType::AnyElement.oid(),
        ArgType::AnyArray => SqlType::AnyArray.oid(),
        ArgType::AnyNonArray => SqlType::AnyNonArray.oid(),
        ArgType::AnyEnum => SqlType::AnyEnum.oid(),
        ArgType::AnyRange => SqlType::AnyRange.oid(),
        ArgType::AnyMultiRange => SqlType::AnyMultiRange.oid(),
    }
}

/// A result's type.
pub(super) fn fixed_type(ret: RetType, args: &[ArgType]) -> u32 {
    match ret {
        RetType::T(ty) => ty.oid(),
        RetType::AnyElement => SqlType::AnyElement.oid(),
        RetType::AnyArray => SqlType::AnyArray.oid(),
        RetType::AnyEnum => SqlType::AnyEnum.oid(),
        RetType::AnyRange => SqlType::AnyRange.oid(),
        RetType::AnyMultiRange => SqlType::AnyMultiRange.oid(),
        RetType::SameAs(at) => args.get(at).map_or(0, |arg| first_arg(*arg)),
    }
}

impl Function {
    fn new(oid: u32, signature: &Signature, kind: char, strict: bool, volatility: Volatility) -> Self {
        let mut args: Vec<u32> = signature.args.iter().map(|arg| first_arg(*arg)).collect();
        let mut variadic = 0;
        if signature.variadic
            && let Some(last) = args.last_mut()
        {
            variadic = *last;
            // What repeats is an array to those who look: VARIADIC "any" alone stays as it is.
            if let Some(array) = SqlType::from_oid(*last, -1).map(|ty| ty.array_oid()).filter(|oid| *oid != 0)
            {
                *last = array;
            }
        }
        Self {
            oid,
            name: signature.name,
            kind,
            args,
            variadic,
            result: fixed_type(signature.ret, signature.args),
            returns_set: false,
            strict,
            volatility: match volatility {
                Volatility::Immutable => 'i',
                Volatility::Stable => 's',
                Volatility::Volatile => 'v',
            },
            outputs: Vec::new(),
        }
    }

    fn push(&self, rows: &mut Rows) {
        let outputs = (self.outputs.len() > 1).then_some(&self.outputs);
        let all_types = outputs.map(|outputs| {
            self.args.iter().copied().chain(outputs.iter().map(|(_, ty)| ty.oid())).collect::<Vec<u32>>()
        });
        let modes = outputs.map(|outputs| {
            std::iter::repeat_n('i', self.args.len())
                .chain(outputs.iter().map(|_| 'o'))
                .collect::<Vec<char>>()
        });
        let names = outputs.map(|outputs| {
            std::iter::repeat_n("", self.args.len())
                .chain(outputs.iter().map(|(name, _)| *name))
                .collect::<Vec<&str>>()
        });
        row!(rows, {
            oid: self.oid,
            proname: self.name,
            pronamespace: PG_CATALOG_SCHEMA,
            proowner: POSTGRES_ROLE,
            prolang: INTERNAL_LANGUAGE,
            procost: 1.0,
            prorows: if self.returns_set { 1000.0 } else { 0.0 },
            provariadic: self.variadic,
            prosupport: 0,
            prokind: self.kind,
            prosecdef: false,
            proleakproof: false,
            proisstrict: self.strict,
            proretset: self.returns_set,
            provolatile: self.volatility,
            proparallel: 's',
            pronargs: self.args.len(),
            pronargdefaults: 0,
            prorettype: self.result,
            proargtypes: Vector(self.args.clone()),
            proallargtypes: all_types,
            proargmodes: modes,
            proargnames: names,
            prosrc: if self.kind == 'a' { "aggregate_dummy" } else { self.name },
        });
    }
}

struct Functions {
    /// By oid, each once.
    all: Vec<Function>,
    positions: FxHashMap<u32, usize>,
    named: FxHashMap<&'static str, Vec<u32>>,
}

static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| {
    let operators = builtins::all_operators().chain(builtins::listed_operators());
    let scalars =
        builtins::all_functions().chain(builtins::listed_functions()).chain(operators.map(|it| &it.function)).map(|it| {
            let mut function = Function::new(it.oid, &it.signature, 'f', it.strict, it.volatility);
            function.returns_set = it.is_set_returning();
            function.outputs = it.set.as_ref().map_or_else(Vec::new, |set| set.columns.to_vec());
            if function.outputs.len() > 1 {
                function.result = SqlType::RECORD.oid();
            }
            function
        });
    let aggregates = builtins::all_aggregates()
        .map(|it| Function::new(it.oid, &it.signature, 'a', false, Volatility::Immutable));
    let of_types = include_str!("type_functions.tsv").lines().map(parse_function);
    let mut all: Vec<Function> = scalars
        .chain(aggregates)
        .chain(of_types)
        .filter(|function| function.oid != 0 && !function.name.is_empty())
        .collect();
    all.sort_by_key(|function| function.oid);
    all.dedup_by_key(|function| function.oid);
    let positions = all.iter().enumerate().map(|(at, function)| (function.oid, at)).collect();
    let mut named: FxHashMap<&'static str, Vec<u32>> = FxHashMap::default();
    for function in &all {
        named.entry(function.name).or_default().push(function.oid);
    }
    Functions { all, positions, named }
});

/// A line: oid, name, result, arguments, volatility, whether it is strict. What reads and writes types' values: clients
/// meet the oids in `pg_type`.
fn parse_function(line: &'static str) -> Function {
    let mut fields = line.split('\t');
    let mut field = || fields.next().expect("a line of type_functions.tsv has six fields");
    Function {
        oid: field().parse().expect("an oid"),
        name: field(),
        kind: 'f',
        variadic: 0,
        result: field().parse().expect("an oid"),
        args: field().split_ascii_whitespace().map(|oid| oid.parse().expect("an oid")).collect(),
        returns_set: false,
        volatility: field().chars().next().expect("a letter"),
        strict: field() == "true",
        outputs: Vec::new(),
    }
}

/// A built-in function, as far as calling it goes.
#[derive(Clone, Copy, Debug)]
pub struct BuiltinFunction {
    pub name: &'static str,
    pub args: &'static [u32],
    pub result: u32,
    /// It answers one value, and is no aggregate.
    pub is_plain: bool,
}

/// The built-in function of an oid.
#[must_use]
pub fn builtin_function(oid: u32) -> Option<BuiltinFunction> {
    function(oid).map(|found| BuiltinFunction {
        name: found.name,
        args: &found.args,
        result: found.result,
        is_plain: found.kind == 'f' && !found.returns_set && found.variadic == 0,
    })
}

fn function(oid: u32) -> Option<&'static Function> {
    FUNCTIONS.positions.get(&oid).map(|at| &FUNCTIONS.all[*at])
}

pub(crate) fn function_name(oid: u32) -> Option<&'static str> {
    function(oid).map(|function| function.name)
}

/// The oids of the functions of a name.
pub(crate) fn functions_named(name: &str) -> Vec<u32> {
    FUNCTIONS.named.get(name).cloned().unwrap_or_default()
}

/// A type's name for a signature; some types of the list exist nowhere else.
fn type_name(oid: u32) -> String {
    match oid {
        269 => "table_am_handler".to_owned(),
        325 => "index_am_handler".to_owned(),
        1263 => "cstring[]".to_owned(),
        2275 => "cstring".to_owned(),
        2281 => "internal".to_owned(),
        oid => SqlType::from_oid(oid, -1).map_or_else(|| "???".to_owned(), |ty| ty.base_name()),
    }
}

/// The types of the arguments.
pub(crate) fn function_arguments(oid: u32, separator: &str) -> Option<String> {
    let function = function(oid)?;
    let last = function.args.len().checked_sub(1).filter(|_| function.variadic != 0 && separator.len() > 1);
    let mut shown: Vec<String> = function
        .args
        .iter()
        .enumerate()
        .map(
            |(at, ty)| if Some(at) == last { format!("VARIADIC {}", type_name(*ty)) } else { type_name(*ty) },
        )
        .collect();
    if function.outputs.len() > 1 && separator.len() > 1 {
        shown.extend(function.outputs.iter().map(|(name, ty)| format!("OUT {name} {}", ty.base_name())));
    }
    Some(shown.join(separator))
}

pub(crate) fn function_result(oid: u32) -> Option<String> {
    let function = function(oid)?;
    let name = type_name(function.result);
    Some(if function.returns_set { format!("SETOF {name}") } else { name })
}

fn fixed_functions(rows: &mut Rows) {
    FUNCTIONS.all.iter().for_each(|function| function.push(rows));
}

fn pg_aggregate(rows: &mut Rows) {
    for function in FUNCTIONS.all.iter().filter(|function| function.kind == 'a') {
        let aggregate = builtins::all_aggregates().find(|it| it.oid == function.oid);
        let (kind, direct_count) = match aggregate.map_or(AggregateKind::Plain, |it| it.kind) {
            AggregateKind::Plain => ('n', 0),
            AggregateKind::OrderedSet { direct } => ('o', direct),
            AggregateKind::Hypothetical => ('h', 0),
        };
        row!(rows, {
            aggfnoid: function.oid,
            aggkind: kind,
            aggnumdirectargs: direct_count,
            aggtransfn: 0,
            aggfinalfn: 0,
            aggcombinefn: 0,
            aggserialfn: 0,
            aggdeserialfn: 0,
            aggmtransfn: 0,
            aggminvtransfn: 0,
            aggmfinalfn: 0,
            aggfinalextra: false,
            aggmfinalextra: false,
            aggfinalmodify: 'r',
            aggmfinalmodify: 'r',
            aggsortop: 0,
            aggtranstype: function.result,
            aggtransspace: 0,
            aggmtranstype: 0,
            aggmtransspace: 0,
        });
    }
}

/// What every database has from the start.
fn pg_extension(rows: &mut Rows) {
    row!(rows, {
        oid: 13_769,
        extname: "plpgsql",
        extowner: crate::descriptor::POSTGRES_ROLE,
        extnamespace: crate::descriptor::PG_CATALOG_SCHEMA,
        extrelocatable: false,
        extversion: "1.0",
    });
}

fn pg_language(view: &Scope<'_>, rows: &mut Rows) {
    let languages = [
        (INTERNAL_LANGUAGE, "internal", false),
        (13, "c", false),
        (SQL_LANGUAGE, "sql", true),
        (PLPGSQL_LANGUAGE, "plpgsql", true),
    ];
    for (oid, name, trusted) in languages {
        row!(rows, {
            oid: oid,
            lanname: name,
            lanowner: POSTGRES_ROLE,
            lanispl: oid == PLPGSQL_LANGUAGE,
            lanpltrusted: trusted,
            lanacl: super::privileges::acl_of(view, oid),
            lanplcallfoid: 0,
            laninline: 0,
            lanvalidator: 0,
        });
    }
}
