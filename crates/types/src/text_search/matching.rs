//! Whether a document satisfies a query.
//!
//! Phrases need positions. Where some are missing the answer is that it may match, which a phrase counts as no. A query under a phrase
//! operator is answered by the places where its matches end, how wide these are, and whether the places are those where it does
//! *not* match: so NOT within a phrase is as exact as the rest.

use super::query::{Item, Operand, Operator, TsQuery};
use super::vector::{Lexeme, TsVector};
use crate::stack::deep;

/// An answer of three values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    No,
    Yes,
    /// Positions that would tell are missing.
    Maybe,
}

/// Where a lexeme or a phrase is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Occurrences {
    /// Where matches end, rising.
    pub positions: Vec<u32>,
    /// Whether it matches everywhere else.
    is_negated: bool,
    /// How far in front of its end a match begins.
    width: u32,
}

/// A document, or a part of one.
pub trait Evidence {
    /// Whether an operand is there.
    fn has(&self, operand: &Operand) -> Found;
    /// The same, with the positions where it is Yes.
    fn positions(&self, operand: &Operand) -> (Found, Vec<u32>);
}

impl TsVector {
    fn candidates(&self, operand: &Operand) -> &[Lexeme] {
        match self.place(&operand.text) {
            _ if operand.is_prefix => self.with_prefix(&operand.text),
            Ok(at) => &self.lexemes()[at..=at],
            Err(_) => &[],
        }
    }
}

impl Evidence for TsVector {
    /// Lexemes without positions have any weight.
    fn has(&self, operand: &Operand) -> Found {
        let is_wanted = |lexeme: &Lexeme| {
            let has_weight = |weights: u8| lexeme.positions.iter().any(|it| it.weight().bit() & weights != 0);
            operand.weights == 0 || lexeme.positions.is_empty() || has_weight(operand.weights)
        };
        if self.candidates(operand).iter().any(is_wanted) { Found::Yes } else { Found::No }
    }

    fn positions(&self, operand: &Operand) -> (Found, Vec<u32>) {
        let mut positions = Vec::new();
        for lexeme in self.candidates(operand) {
            if lexeme.positions.is_empty() {
                return (Found::Maybe, Vec::new());
            }
            let wanted = lexeme.positions.iter().filter(|it| operand.weights == 0 || it.weight().bit() & operand.weights != 0);
            positions.extend(wanted.map(|it| u32::from(it.at())));
        }
        positions.sort_unstable();
        positions.dedup();
        (if positions.is_empty() { Found::No } else { Found::Yes }, positions)
    }
}

/// Whether a document satisfies a query. An empty query is satisfied by nothing.
#[must_use]
pub fn matches(query: &TsQuery, document: &dyn Evidence) -> bool {
    !query.is_empty() && deep(|| Walk { items: query.items(), document }.at(0)) == Found::Yes
}

struct Walk<'a> {
    items: &'a [Item],
    document: &'a dyn Evidence,
}

/// Which positions of two operands go on.
#[derive(Clone, Copy)]
struct Kept {
    both: bool,
    left: bool,
    right: bool,
}

impl Walk<'_> {
    fn at(&self, at: usize) -> Found {
        match &self.items[at] {
            Item::Operand(operand) => self.document.has(operand),
            Item::Operator { operator, left } => {
                let left = at + *left as usize;
                match operator {
                    Operator::Not => match self.at(at + 1) {
                        Found::No => Found::Yes,
                        Found::Yes => Found::No,
                        Found::Maybe => Found::Maybe,
                    },
                    Operator::And => match self.at(left) {
                        Found::No => Found::No,
                        left => match self.at(at + 1) {
                            Found::Yes => left,
                            other => other,
                        },
                    },
                    Operator::Or => match self.at(left) {
                        Found::Yes => Found::Yes,
                        left => match self.at(at + 1) {
                            Found::No => left,
                            other => other,
                        },
                    },
                    Operator::Phrase(_) => match self.phrase(at).0 {
                        Found::Yes => Found::Yes,
                        Found::No | Found::Maybe => Found::No,
                    },
                }
            }
        }
    }

    /// Where a query under a phrase operator is found.
    fn phrase(&self, at: usize) -> (Found, Occurrences) {
        let none = |found| (found, Occurrences::default());
        let (operator, left) = match &self.items[at] {
            Item::Operand(operand) => {
                let (found, positions) = self.document.positions(operand);
                return (found, Occurrences { positions, ..Occurrences::default() });
            }
            Item::Operator { operator, left } => (*operator, at + *left as usize),
        };
        if operator == Operator::Not {
            let (found, mut inner) = self.phrase(at + 1);
            return match found {
                // Nowhere becomes everywhere, and everywhere nowhere.
                Found::No => (Found::Yes, Occurrences { is_negated: true, ..inner }),
                Found::Yes if inner.positions.is_empty() && inner.is_negated => {
                    inner.is_negated = false;
                    (Found::No, inner)
                }
                Found::Yes => {
                    inner.is_negated = !inner.is_negated;
                    (Found::Yes, inner)
                }
                Found::Maybe => (Found::Maybe, inner),
            };
        }
        let (left_found, mut left) = self.phrase(left);
        if left_found == Found::No && operator != Operator::Or {
            return none(Found::No);
        }
        let (right_found, mut right) = self.phrase(at + 1);
        if right_found == Found::No && (operator != Operator::Or || left_found == Found::No) {
            return none(Found::No);
        }
        if left_found == Found::Maybe || right_found == Found::Maybe {
            return none(Found::Maybe);
        }
        // What is found nowhere has no width.
        if left_found == Found::No {
            left.width = 0;
        }
        if right_found == Found::No {
            right.width = 0;
        }
        let (width, left_offset, right_offset) = match operator {
            Operator::Phrase(distance) => {
                let distance = u32::from(distance);
                (distance + left.width + right.width, distance + right.width, 0)
            }
            Operator::And | Operator::Or | Operator::Not => {
                let width = left.width.max(right.width);
                (width, width - left.width, width - right.width)
            }
        };
        let kept = |both, left, right| Kept { both, left, right };
        let (kept, is_negated) = match (operator == Operator::Or, left.is_negated, right.is_negated) {
            // !a & !b is !(a | b), and so on: the positions are those where it does not match.
            (false, true, true) => (kept(true, true, true), true),
            (false, true, false) => (kept(false, false, true), false),
            (false, false, true) => (kept(false, true, false), false),
            (false, false, false) => (kept(true, false, false), false),
            (true, true, true) => (kept(true, false, false), true),
            (true, true, false) => (kept(false, true, false), true),
            (true, false, true) => (kept(false, false, true), true),
            (true, false, false) => (kept(true, true, true), false),
        };
        let positions = merged(&left.positions, left_offset, &right.positions, right_offset, kept);
        let found = if is_negated || !positions.is_empty() { Found::Yes } else { Found::No };
        (found, Occurrences { positions, is_negated, width })
    }
}

fn merged(left: &[u32], left_offset: u32, right: &[u32], right_offset: u32, kept: Kept) -> Vec<u32> {
    let (mut i, mut j) = (0, 0);
    let mut positions = Vec::new();
    loop {
        let left = left.get(i).map(|position| position + left_offset);
        let right = right.get(j).map(|position| position + right_offset);
        let (position, is_kept) = match (left, right) {
            (None, None) => return positions,
            (Some(a), Some(b)) if a == b => {
                (i, j) = (i + 1, j + 1);
                (a, kept.both)
            }
            (Some(a), b) if b.is_none_or(|b| a < b) => {
                i += 1;
                (a, kept.left)
            }
            (_, Some(b)) => {
                j += 1;
                (b, kept.right)
            }
            (Some(_), None) => return positions,
        };
        if is_kept {
            positions.push(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_satisfy_queries() {
        let check = |document: &str, query: &str, expected: bool| {
            let found = matches(&TsQuery::parse(query).unwrap(), &TsVector::parse(document).unwrap());
            assert_eq!(found, expected, "{document} @@ {query}");
        };
        check("a:1 b:2 c:3", "a & b | d", true);
        check("a:1 b:2 c:3", "a <-> b <-> c", true);
        check("a:1 b:2 c:3", "a <-> c", false);
        check("a:1 b:2 c:3", "a <2> c", true);
        check("a:1 b:2 c:3", "a <-> (b | x)", true);
        check("a:1 b:2 c:3", "a <-> !x", true);
        check("a:1 b:2 c:3", "a <-> !b", false);
        check("a:1 b:2 c:3", "!a <-> b", false);
        check("a:1 b:2 c:3", "(a <-> b) <-> c", true);
        check("a:1 b:2 c:3", "a <-> (b <-> c)", true);
        check("a:1 b:2 c:3", "a <2> (b <-> c)", false);
        check("a b", "a <-> b", false);
        check("a b", "!(a <-> b)", true);
        check("a:1A b:2", "a:A & b:D", true);
        check("a:1A b:2", "a:B", false);
        check("a b", "a:B", true);
        check("abc:1 abd:2", "ab:*", true);
        check("abc:1 abd:2", "ab:* <-> abd", true);
        check("a", "!b", true);
        check("", "!b", true);
        check("a", "", false);
    }
}
