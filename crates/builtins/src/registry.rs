//! Finding builtins by name: the static tables of each topic, indexed once.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use crate::signature::{Aggregate, Builtin, Operator};
use crate::{aggregates as aggregate_tables, functions as function_tables, operators as operator_tables};

struct Registry {
    functions: FxHashMap<&'static str, Vec<&'static Builtin>>,
    binary: FxHashMap<&'static str, Vec<&'static Operator>>,
    prefix: FxHashMap<&'static str, Vec<&'static Operator>>,
    aggregates: FxHashMap<&'static str, Vec<&'static Aggregate>>,
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let mut registry = Registry {
        functions: FxHashMap::default(),
        binary: FxHashMap::default(),
        prefix: FxHashMap::default(),
        aggregates: FxHashMap::default(),
    };
    for builtin in all_functions() {
        registry.functions.entry(builtin.signature.name).or_default().push(builtin);
    }
    for operator in all_operators() {
        let table = if operator.function.signature.args.len() == 1 { &mut registry.prefix } else { &mut registry.binary };
        table.entry(operator.symbol).or_default().push(operator);
    }
    // What is behind an operator is called by name as well.
    for operator in all_operators().chain(listed_operators()) {
        let named = registry.functions.entry(operator.function.signature.name).or_default();
        if named.iter().all(|function| function.signature.args != operator.function.signature.args) {
            named.push(&operator.function);
        }
    }
    for aggregate in all_aggregates() {
        registry.aggregates.entry(aggregate.signature.name).or_default().push(aggregate);
    }
    registry
});

/// The overloads of a function, in lower case without schema.
pub fn functions(name: &str) -> &'static [&'static Builtin] {
    REGISTRY.functions.get(name).map_or(&[], Vec::as_slice)
}

pub fn binary_operators(symbol: &str) -> &'static [&'static Operator] {
    let symbol = if symbol == "!=" { "<>" } else { symbol };
    REGISTRY.binary.get(symbol).map_or(&[], Vec::as_slice)
}

pub fn prefix_operators(symbol: &str) -> &'static [&'static Operator] {
    REGISTRY.prefix.get(symbol).map_or(&[], Vec::as_slice)
}

pub fn aggregates(name: &str) -> &'static [&'static Aggregate] {
    REGISTRY.aggregates.get(name).map_or(&[], Vec::as_slice)
}

pub fn all_functions() -> impl Iterator<Item = &'static Builtin> {
    function_tables::TABLES.iter().flat_map(|table| table.iter())
}

pub fn all_operators() -> impl Iterator<Item = &'static Operator> {
    operator_tables::TABLES.iter().flat_map(|table| table.iter())
}

/// Functions that the catalogs list and that resolution does not look at: a call of that name is a cast.
pub fn listed_functions() -> impl Iterator<Item = &'static Builtin> {
    function_tables::LISTED.iter().flat_map(|table| table.iter())
}

/// Operators that the catalogs list and that resolution does not look at: others give their answers.
pub fn listed_operators() -> impl Iterator<Item = &'static Operator> {
    operator_tables::LISTED.iter().flat_map(|table| table.iter())
}

pub fn all_aggregates() -> impl Iterator<Item = &'static Aggregate> {
    aggregate_tables::TABLES.iter().flat_map(|table| table.iter())
}
