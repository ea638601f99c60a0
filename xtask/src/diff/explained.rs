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
    /// The statements before it as well.
    pub whole: &'a str,
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

    /// The rows are the same but for the last digits of columns of type real.
    fn is_same_but_for_reals(&self) -> bool {
        let near = |there: &str, here: &str| match (there.parse::<f64>(), here.parse::<f64>()) {
            (Ok(there), Ok(here)) => (there - here).abs() <= there.abs() * 1e-5,
            _ => false,
        };
        let same = |at: usize, there: &Option<String>, here: &Option<String>| match (there, here) {
            (Some(there), Some(here)) if self.there.columns[at].type_oid == FLOAT4 => there == here || near(there, here),
            (there, here) => there == here,
        };
        let mut rows = self.there.rows.iter().zip(&self.here.rows);
        self.there.rows.len() == self.here.rows.len()
            && rows.all(|(there, here)| there.iter().zip(here).enumerate().all(|(at, (there, here))| same(at, there, here)))
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

const FLOAT4: u32 = 700;

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
                && it.has(&[" join ", " where ", "exists", "from (", "lateral (", " having ", " over (", "union"])
        },
    },
    Explained {
        name: "an error in a value that is not needed, there",
        reason: "as above, where PostgreSQL is the one that evaluates it: the aggregates of a subquery in EXISTS, say",
        applies: |it| {
            matches!(it.kind, Kind::RefusedThere { code, .. } if is_of_value(code, it.sql))
                && it.evidence.refused_here
                && !it.has(&["case ", "coalesce("])
                && it.has(&[" join ", " where ", "exists", "from (", " having ", "group by", " limit "])
        },
    },
    Explained {
        name: "an error in a column of a view that is not read",
        reason: "as above: PostgreSQL leaves the columns out that nothing reads",
        applies: |it| {
            matches!(it.kind, Kind::RefusedHere { code, .. } if is_of_value(code, it.sql)) && it.there.refusal.is_none()
                && it.whole.contains("create view ")
                && !["case ", "coalesce("].iter().any(|word| it.whole.contains(word))
        },
    },
    Explained {
        name: "an error in a member of IN behind an equal one",
        reason: "PostgreSQL makes an array of the list before it compares; IN is left here at the first equal member, as OR may be",
        applies: |it| {
            matches!(it.kind, Kind::RefusedThere { code, .. } if is_of_value(code, it.sql))
                && it.has(&[" in ("])
                && !it.has(&["case ", "coalesce("])
        },
    },
    Explained {
        name: "an error in a row behind one that breaks a constraint",
        reason: "PostgreSQL stores a row before it computes the next, and so is stopped by the first of two bad rows; here rows are \
                 computed many at a time",
        applies: |it| {
            let breaks = |code: &str| code.starts_with("23");
            let refused_there = it.there.refusal.as_ref().is_some_and(|refusal| breaks(&refusal.code));
            match it.kind {
                Kind::OtherCode { there, here } => breaks(there) && is_of_value(here, it.sql),
                Kind::RefusedHere { code, .. } => refused_there && is_of_value(code, it.sql),
                _ => false,
            }
        },
    },
    Explained {
        name: "sums of reals",
        reason: "a sum of reals is one of 24 bits: its last digits depend on the order of the rows, which is not promised",
        applies: |it| matches!(it.kind, Kind::Values) && it.has(&["sum(", "avg("]) && it.is_same_but_for_reals(),
    },
    Explained {
        name: "GROUP BY with COLLATE",
        reason: "all strings have the collation C here, so `a collate \"C\"` is a itself, which may be used where it is grouped by",
        applies: |it| {
            matches!(it.kind, Kind::RefusedThere { code, .. } if code == "42803") && it.has(&["group by"]) && it.has(&["collate"])
        },
    },
    Explained {
        name: "collations of a recursive query",
        reason: "all strings have the collation C here, and so COLLATE in the recursive term changes nothing",
        applies: |it| {
            let code = match it.kind {
                Kind::RefusedThere { code, .. } | Kind::OtherCode { there: code, .. } => code,
                _ => return false,
            };
            code == "42P21" && it.has(&["collate"])
        },
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
        name: "a row that is never null is grouped by",
        reason: "as above: PostgreSQL makes `row(1, a) is null` the constant false, at one place and not at another",
        applies: |it| {
            matches!(it.kind, Kind::Values | Kind::RowCount)
                && it.has(&["cube ", "rollup ", "grouping sets "])
                && it.has(&["(row("])
                && it.has(&[") is null", ") is not null"])
        },
    },
    Explained {
        name: "the last digit of a cube root",
        reason: "the C library's cbrt is not the nearest float: cbrt(27) is 3.0000000000000004 there and 3 here",
        applies: |it| matches!(it.kind, Kind::Values | Kind::RowCount) && it.whole.contains("cbrt("),
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
        name: "one of equal strings with blanks at their ends",
        reason: "'a' and 'a  ' are equal as char(n): which of them least and greatest give, and in which order they come, is not promised",
        applies: |it| matches!(it.kind, Kind::Order) && it.has(&["least(", "greatest("]) && it.has(&["bpchar", "char("]),
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
