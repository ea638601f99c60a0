//! The problem: a query names functions and operators, and PostgreSQL has thousands, overloaded by type and chosen
//! by rules that applications rely on.
//!
//! The idea: each builtin is one static [`Builtin`]: its signature beside its implementation over datums. The binder
//! resolves a name and argument types to one of them ([`resolve()`]), constant folding and executors call its
//! [`Builtin::eval`], and the system catalogs list the same table.
//!
//! **Invariants**
//! - *strict-null*: a strict builtin is never called with a NULL argument; its caller answers NULL. Upheld by
//!   [`Builtin::call`].
//! - *typed-result*: what `eval` returns is NULL or a datum of the resolved result type.
//! - *unique-signature*: no two builtins share name and argument types; checked by a test over the whole table.
//!
//! Deliberately left out: sequences (they write), catalog contents (asked through [`CatalogFunctions`]), vectorised
//! kernels (the executor has those, and falls back to these).
//!
//! Source of names, oids and rules: PostgreSQL's documentation, chapters 9 and 10, and its `pg_proc`.

mod aggregates;
mod arguments;
mod context;
mod functions;
mod jsonpath;
mod operators;
mod posix_regex;
#[cfg(test)]
mod recorded_tests;
mod registry;
mod resolve;
mod signature;
pub mod text_search;
#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod testing;

pub use aggregates::{collected_rows, hypothetical_aggregate, key_flags};
pub use context::{CatalogFunctions, EvalContext, Host, NoCatalog, NoHost, Signal, ValueMemory};
pub use functions::ranges::range_constructor;
pub use functions::system::SAMPLE_KEEPS;
pub use operators::pattern::LikePattern;
pub use registry::{
    aggregates, all_aggregates, all_functions, all_operators, binary_operators, functions, listed_functions,
    listed_operators, prefix_operators,
};
pub use resolve::{Candidate, ResolveError, Resolved, resolve, resolve_aggregate, resolve_binary_operator};
pub use signature::{
    Accumulator, Aggregate, AggregateKind, ArgType, Builtin, CallTypes, Operator, RetType, SetFunction, SetRows, Signature,
    Volatility,
};
