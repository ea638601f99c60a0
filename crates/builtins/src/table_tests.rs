//! Tests over the whole table of builtins.

use std::collections::BTreeMap;

use crate::signature::{ArgType, Signature};
use crate::{all_aggregates, all_functions, all_operators};

fn arg_name(arg: &ArgType) -> String {
    match arg {
        ArgType::T(ty) => ty.base_name().to_owned(),
        ArgType::Any => "any".into(),
        ArgType::AnyElement => "anyelement".into(),
        ArgType::AnyArray => "anyarray".into(),
        ArgType::AnyNonArray => "anynonarray".into(),
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
