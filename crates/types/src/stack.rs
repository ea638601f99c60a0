//! The stack under walks over trees.
//!
//! The problem: expressions, queries and plans are trees as deep as their text says, and most walks over them recurse:
//! ours, and those that the compiler and the parser's crate have written (`Drop`, `Clone`, `Display`). A stack that
//! overflows ends the process, and every client with it.
//!
//! **Invariant (bounded-depth):** no tree is deeper than a named limit, and every walk over it has the stack for that
//! depth. The limits: [`SYNTAX_DEPTH_MAX`] for what the parser makes, [`DEPTH_MAX`] for what is bound,
//! [`VALUE_DEPTH_MAX`] for values within values. A statement beyond them is refused with 54001. The stack:
//!
//! - Threads that run statements have [`THREAD_STACK_BYTES`], of which only touched pages count.
//! - Entry points of parsing, planning, building and evaluating run their work by [`deep`], which brings a stack of its
//!   own where less than [`RESERVE_BYTES`] are left: on a smaller thread, or deep inside another walk.
//! - Functions with large frames that call themselves do so by [`grown`].

use crate::error::{SqlError, SqlState};

/// Of a thread that runs statements.
pub const THREAD_STACK_BYTES: usize = 64 << 20;

/// Enough for any one walk with small frames (`Drop`, `Clone`, a visitor) over a tree of the allowed depth.
const RESERVE_BYTES: usize = 24 << 20;

/// A recursive call with a large frame needs less than this, and whatever it calls that does not recurse.
const RED_ZONE_BYTES: usize = 1 << 20;

/// What a walk grows by.
const SEGMENT_BYTES: usize = 8 << 20;

/// How deep a syntax tree may be: longest chain of operators within longest chain, and so on.
pub const SYNTAX_DEPTH_MAX: usize = 10_000;

/// How deep a bound tree may be: relations, expressions and subqueries below one another.
pub const DEPTH_MAX: usize = 10_000;

/// How deep a value may be: records within records. (Arrays have at most six dimensions; JSON has its own limit.)
pub const VALUE_DEPTH_MAX: usize = 500;

/// Runs `work` with stack for one walk over a tree of the allowed depth.
pub fn deep<R>(work: impl FnOnce() -> R) -> R {
    stacker::maybe_grow(RESERVE_BYTES, THREAD_STACK_BYTES, work)
}

/// Runs one level of a recursion.
pub fn grown<R>(work: impl FnOnce() -> R) -> R {
    stacker::maybe_grow(RED_ZONE_BYTES, SEGMENT_BYTES, work)
}

/// PostgreSQL's refusal of what is nested too deeply.
#[must_use]
pub fn too_deep() -> SqlError {
    SqlError::new(SqlState::StatementTooComplex, "stack depth limit exceeded").with_hint(
        "Increase the configuration parameter \"max_stack_depth\" (currently 2048kB), after ensuring the platform's \
         stack depth limit is adequate.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100,000 levels of a kilobyte each, on a test's thread of two megabytes.
    #[test]
    fn a_recursion_by_grown_is_as_deep_as_it_likes() {
        fn down(level: usize, frame: [u8; 1024]) -> usize {
            if level == 0 { 0 } else { usize::from(frame[level % 1024]) + grown(|| down(level - 1, frame)) }
        }
        assert_eq!(deep(|| down(100_000, std::hint::black_box([1; 1024]))), 100_000);
    }
}
