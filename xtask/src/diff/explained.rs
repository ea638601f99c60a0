//! Differences that are as they should be, each with its reason. None of them may hide another: it names what the shrunk
//! statement holds and what both answer.

use super::compare::{Kind, plain_number};
use super::wire::Answer;

/// What must be true of a shrunk difference.
pub struct Explained {
    pub name: &'static str,
    pub reason: &'static str,
    applies: fn(&Shrunk<'_>) -> bool,
}

pub struct Shrunk<'a> {
    pub sql: &'a str,
    pub kind: &'a Kind,
    pub there: &'a Answer,
    pub here: &'a Answer,
    pub evidence: Evidence,
}

/// What was seen of the servers while the statement was shrunk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence {
    /// Smaller statements were refused by PostgreSQL with this server's code and by this server with PostgreSQL's: the
    /// statement holds both mistakes.
    pub has_both_errors: bool,
    /// Smaller statements were refused by PostgreSQL with this server's code.
    pub refused_there: bool,
    /// Smaller statements were refused here with PostgreSQL's code.
    pub refused_here: bool,
    /// PostgreSQL refuses already to EXPLAIN it.
    pub fails_at_planning: bool,
}

impl Shrunk<'_> {
    fn has(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.sql.contains(word))
    }

    /// The rows are the same when zeros at the end of numerics do not count.
    fn is_same_but_for_scale(&self) -> bool {
        let plain = |answer: &Answer| {
            let mut rows: Vec<Vec<Option<String>>> =
                answer.rows.iter().map(|row| row.iter().map(|value| value.as_deref().map(plain_number)).collect()).collect();
            rows.sort();
            rows
        };
        plain(self.there) == plain(self.here)
    }
}

/// Whether a code says that a value cannot be made; `unistr` has that of a syntax error.
fn is_of_value(code: &str, sql: &str) -> bool {
    code.starts_with("22") || code == "0A000" || code == "42601" && sql.contains("unistr(")
}

pub const EXPLAINED: &[Explained] = &[
    Explained {
        name: "two mistakes in one statement",
        reason: "which of several errors a statement is refused with depends on the order in which the plan meets them",
        applies: |it| matches!(it.kind, Kind::OtherCode { .. }) && it.evidence.has_both_errors,
    },
    Explained {
        name: "two mistakes, one of them a missing function",
        reason: "as above: PostgreSQL refuses the statement too, for its other mistake",
        applies: |it| {
            matches!(it.kind, Kind::RefusedHere { code, .. } if code.starts_with("42"))
                && it.there.refusal.is_some()
                && it.evidence.refused_there
        },
    },
    Explained {
        name: "an error in a constant",
        reason: "PostgreSQL evaluates constant expressions while it plans, and refuses although no row needs the value",
        applies: |it| {
            match it.kind {
                Kind::RefusedThere { code, .. } => is_of_value(code, it.sql) && it.evidence.fails_at_planning,
                // Here a row is refused for another reason before it needs the value.
                Kind::OtherCode { there, .. } => is_of_value(there, it.sql) && it.evidence.fails_at_planning,
                _ => false,
            }
        },
    },
    Explained {
        name: "an error in a value that is not needed",
        reason: "whether rows that a join or a condition drops, and columns that nothing reads, are evaluated before that is not promised; \
                 what CASE and COALESCE do not reach is promised, and stays a difference",
        applies: |it| {
            matches!(it.kind, Kind::RefusedHere { code, .. } if is_of_value(code, it.sql)) && it.there.refusal.is_none()
                && it.evidence.refused_there
                && !it.has(&["case ", "coalesce("])
                && it.has(&[" join ", " where ", "exists", "from (", " having ", " over (", "union"])
        },
    },
    Explained {
        name: "an error in a value that is not needed, there",
        reason: "as above, where PostgreSQL is the one that evaluates it: the aggregates of a subquery in EXISTS, say",
        applies: |it| {
            matches!(it.kind, Kind::RefusedThere { code, .. } if is_of_value(code, it.sql))
                && it.evidence.refused_here
                && !it.has(&["case ", "coalesce("])
                && it.has(&[" join ", " where ", "exists", "from (", " having ", "group by"])
        },
    },
    Explained {
        name: "collations of a recursive query",
        reason: "all strings have the collation C here, and so COLLATE in the recursive term changes nothing",
        applies: |it| matches!(it.kind, Kind::RefusedThere { code, .. } if code == "42P21") && it.has(&["collate"]),
    },
    Explained {
        name: "a constant that is grouped by",
        reason: "PostgreSQL makes `a or true` in HAVING the constant true before it sees that it is grouped by, and so does not \
                 find the NULL of a grouping set there",
        applies: |it| {
            matches!(it.kind, Kind::RowCount)
                && it.has(&["cube ", "rollup ", "grouping sets "])
                && it.has(&["having "])
                && it.has(&["or true", "and false"])
        },
    },
    Explained {
        name: "the last digit of a cube root",
        reason: "the C library's cbrt is not the nearest float: cbrt(27) is 3.0000000000000004 there and 3 here",
        applies: |it| matches!(it.kind, Kind::Values) && it.has(&["cbrt("]),
    },
    Explained {
        name: "one of several rows to change a row by",
        reason: "UPDATE … FROM and DELETE … USING change a row once, by whichever of the joined rows comes first, which is not promised",
        applies: |it| {
            matches!(it.kind, Kind::Values)
                && (it.sql.contains("update ") && it.has(&[" from "]) || it.sql.contains("delete ") && it.has(&[" using "]))
                && it.has(&["returning"])
        },
    },
    Explained {
        name: "one of equal numerics",
        reason: "1.0 and 1.00 are equal: which of them stands for a group, or is the greatest, is not promised",
        applies: |it| {
            matches!(it.kind, Kind::Values)
                && it.has(&["distinct", "group by", "union", "intersect", "except", "max(", "min(", "greatest(", "least("])
                && it.is_same_but_for_scale()
        },
    },
];

pub fn explain(shrunk: &Shrunk<'_>) -> Option<&'static Explained> {
    EXPLAINED.iter().find(|it| (it.applies)(shrunk))
}
