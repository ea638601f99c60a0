//! The problem: applications keep logic in functions, procedures and triggers written in PL/pgSQL. They rely on its
//! scoping, its loops, its exceptions with their subtransactions, and on the texts of its errors; and a loop of a million
//! additions must not cost a million trips through the database.
//!
//! The idea: the language stands alone. A body is compiled once to a list of ops ([`compile`]), which all sessions share.
//! A call runs them ([`call`], [`call_trigger`]) over a trait, [`Spi`], that a session implements: to prepare and run SQL,
//! portals, subtransactions, messages. What only calculates is evaluated without a future.
//!
//! ```text
//!   body ── lexer ── compile ──► Function (ops, texts, names)            one for the node
//!                                   │
//!            values ──► run ◄───────┘ ──► Spi ◄── session                one for each call
//!                        └── PlanCache (prepared texts)                  one for each session
//! ```
//!
//! **Invariants**
//! - *balanced-unwinding*: see [`function`].
//! - *subtransaction-per-handler*: a block with EXCEPTION runs in a subtransaction that is released when the block is left,
//!   by its end, EXIT, CONTINUE or RETURN, and rolled back before its handler runs. Upheld by the compiler, which writes
//!   the ops that leave, and by the run's stack of handlers.
//! - *types-as-prepared*: a text runs only with variables of the types that it was prepared for; when a record has another
//!   shape it is prepared again. Upheld by `ready` and `simple`.
//!
//! Deliberately left out: names of types, SQL, its errors and its syntax (the session's), event triggers, and
//! `plpgsql.extra_warnings`.
//!
//! Read in this order: [`spi`], [`function`], [`lexer`], [`names`], [`compile`], [`run`].

mod compile;
mod conditions;
mod function;
mod lexer;
mod names;
mod run;
mod spi;
#[cfg(test)]
mod testing;

pub use compile::{CompileCatalog, compile};
pub use function::{
    Declaration, Function, Parameter, RaiseLevel, RoutineKind, TextKind, VariableConflict,
};
pub use run::{PlanCache, Trigger, call, call_trigger};
pub use spi::{
    CallOutput, Command, Direction, Fetched, Keep, Outcome, PortalOptions, Prepared, Request, Row, Spi,
    Variables,
};
