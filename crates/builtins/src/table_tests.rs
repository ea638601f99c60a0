//! Tests over the whole table of builtins.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use types::{Datum, Formatting, RangeType, SqlType, parse_text};

use crate::signature::{ArgType, Builtin, CallTypes, RetType, Signature};
use crate::{EvalContext, all_aggregates, all_functions, all_operators};

fn arg_name(arg: &ArgType) -> String {
    match arg {
        ArgType::T(ty) => ty.base_name().to_owned(),
        ArgType::Any => "any".into(),
        ArgType::AnyElement => "anyelement".into(),
        ArgType::AnyArray => "anyarray".into(),
        ArgType::AnyNonArray => "anynonarray".into(),
        ArgType::AnyEnum => "anyenum".into(),
        ArgType::AnyRange => "anyrange".into(),
        ArgType::AnyMultiRange => "anymultirange".into(),
    }
}

/// Every list of argument types that the signature takes: one for each count of left out optional ones.
fn shapes(signature: &Signature) -> impl Iterator<Item = String> + '_ {
    let most = signature.args.len();
    (most - signature.optional_count..=most).map(move |count| {
        let args: Vec<String> = signature.args[..count].iter().map(arg_name).collect();
        let variadic = if signature.variadic { ", ..." } else { "" };
        format!("({}{variadic})", args.join(", "))
    })
}

#[test]
fn unique_signature() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut count = |kind: &str, name: &str, signature: &Signature| {
        for shape in shapes(signature) {
            *seen.entry(format!("{kind} {name}{shape}")).or_default() += 1;
        }
    };
    for builtin in all_functions() {
        count("function", builtin.name(), &builtin.signature);
    }
    for operator in all_operators() {
        count("operator", operator.symbol, &operator.function.signature);
    }
    for aggregate in all_aggregates() {
        count("aggregate", aggregate.signature.name, &aggregate.signature);
    }
    let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "unique-signature: {twice:#?}");
}

/// The system catalogs list functions and aggregates in one table, operators in another, each keyed by oid.
#[test]
fn unique_oid() {
    let mut functions: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for builtin in all_functions() {
        functions.entry(builtin.oid).or_default().push(builtin.name().into());
    }
    for aggregate in all_aggregates() {
        functions.entry(aggregate.oid).or_default().push(aggregate.signature.name.into());
    }
    let mut operators: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for operator in all_operators() {
        operators.entry(operator.oid).or_default().push(operator.symbol.into());
    }
    for table in [functions, operators] {
        let twice: Vec<_> = table.iter().filter(|(_, names)| names.len() > 1).collect();
        assert!(twice.is_empty(), "{twice:#?}");
    }
}

fn sample_type(arg: &ArgType) -> SqlType {
    match arg {
        ArgType::T(ty) => *ty,
        ArgType::Any | ArgType::AnyElement | ArgType::AnyNonArray => SqlType::Int4,
        ArgType::AnyArray => SqlType::INT4_ARRAY,
        ArgType::AnyEnum => SqlType::AnyEnum,
        ArgType::AnyRange => SqlType::Range(RangeType::Int4),
        ArgType::AnyMultiRange => SqlType::MultiRange(RangeType::Int4),
    }
}

/// Some value of a type, if one of a few spellings is any.
fn sample(ty: &SqlType, formatting: &Formatting) -> Datum {
    const SPELLINGS: &[&str] = &["1", "t", "2024-02-03 04:05:06", "04:05:06", "{1,2}", "[1]", "1.5", "2024-02-03", "\\x00", "[1,2)", "{[1,2)}"];
    SPELLINGS.iter().find_map(|text| parse_text(ty, text, formatting).ok()).unwrap_or(Datum::Null)
}

/// Functions that are called with NULLs must look for them: each place, and each pair of places, is tried.
#[test]
fn null_arguments_are_answered_or_refused() {
    let formatting = Formatting::default();
    let context = EvalContext::detached(&formatting);
    let of_operators = all_operators().map(|operator| &operator.function);
    let mut calls = 0;
    for builtin in all_functions().chain(of_operators).filter(|builtin: &&Builtin| !builtin.strict) {
        let signature = &builtin.signature;
        let most = signature.args.len();
        for count in most - signature.optional_count..=most + usize::from(signature.variadic) {
            let types: Vec<SqlType> =
                (0..count).map(|at| sample_type(&signature.args[at.min(most.saturating_sub(1))])).collect();
            let ret = match signature.ret {
                RetType::T(ty) => ty,
                RetType::AnyElement | RetType::AnyEnum => SqlType::Int4,
                RetType::AnyArray => SqlType::INT4_ARRAY,
                RetType::AnyRange => SqlType::Range(RangeType::Int4),
                RetType::AnyMultiRange => SqlType::MultiRange(RangeType::Int4),
                RetType::SameAs(at) => types.get(at).copied().unwrap_or(SqlType::Text),
            };
            let given: Vec<Datum> = types.iter().map(|ty| sample(ty, &formatting)).collect();
            let call_types = CallTypes { args: types.into(), ret };
            for first in 0..count {
                for second in first..count {
                    let mut args = given.clone();
                    args[first] = Datum::Null;
                    args[second] = Datum::Null;
                    let outcome = catch_unwind(AssertUnwindSafe(|| match &builtin.set {
                        Some(set) => drop((set.eval)(&context, &call_types, &args).map(|rows| rows.take(10).count())),
                        None => drop(builtin.call(&context, &call_types, &args)),
                    }));
                    assert!(outcome.is_ok(), "{}{args:?} panicked", builtin.name());
                    calls += 1;
                }
            }
        }
    }
    assert!(calls > 100, "only {calls} calls were tried");
}
