//! The problem: PostgreSQL's regular expressions are not those of the usual libraries. A match begins as far left as it
//! can, and whether it is then the longest or the shortest is a property of the whole expression, not of the first
//! alternative that fits; `\m`, `\M` and `\y` are word boundaries; there are look-ahead, look-behind and back-references.
//!
//! The idea is Henry Spencer's, as PostgreSQL has it. [`parse`] makes a tree in which each node knows which length it
//! prefers. [`matcher`] finds the leftmost start and the preferred end with an automaton that follows all possibilities
//! at once, and then takes the match apart along the tree: each part takes the length that it prefers, as long as the
//! rest still matches exactly. Where neither look-around nor a back-reference stands in the way, the `regex` crate
//! answers whether there is a match and where it starts, which is the same in both.
//!
//! **Invariants**
//! - *exact-split*: the parts of a match cover it without gap or overlap, and each is matched by its node.
//! - *bounded-work*: steps are counted, and an expression that needs too many is refused with 2201B.
//!
//! The collation is C: classes such as `\w` and `[[:alpha:]]` know ASCII letters alone, and so does matching without
//! case. Deliberately left out: basic regular expressions (the option `b`), and names of collating elements but for
//! the common ones.
//!
//! Source: PostgreSQL's documentation, section 9.7.3.

mod matcher;
mod parse;
mod program;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;

use types::{SqlError, SqlResult, SqlState};

use parse::{Assertion, Kind, Node};
use program::Program;

/// A match and its groups, as byte ranges; group 0 is the whole match.
pub(crate) type Groups = Vec<Option<(usize, usize)>>;

/// What flags and embedded options say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Options {
    pub ignore_case: bool,
    /// `.` and `[^…]` do not match a newline.
    pub newline_stops: bool,
    /// `^` and `$` match at every line.
    pub newline_anchors: bool,
    /// Blanks and comments are ignored.
    pub expanded: bool,
    /// The pattern is a string.
    pub literal: bool,
}

fn invalid(reason: &str) -> SqlError {
    SqlError::new(SqlState::InvalidRegularExpression, format!("invalid regular expression: {reason}"))
}

fn too_complex() -> SqlError {
    invalid("regular expression is too complex")
}

/// A compiled pattern.
pub(crate) struct Pattern {
    root: Node,
    /// Without the whole match.
    group_count: usize,
    /// The nodes of the groups, which back-references stand for in automata.
    ignore_case: bool,
    has_backrefs: bool,
    /// Finds whether and where there is a match.
    scout: Option<regex::Regex>,
    /// Automata by node, forward and backward, made on first use.
    programs: Vec<[OnceCell<Program>; 2]>,
}

/// The size in bytes beyond which the scout is done without.
const SCOUT_BYTES_MAX: usize = 4 << 20;

impl Pattern {
    pub(crate) fn new(pattern: &str, options: Options) -> SqlResult<Self> {
        let parsed = parse::parse(pattern, options)?;
        let mut translated = String::new();
        let scout = translate(&parsed.root, &mut translated)
            .and_then(|()| regex::RegexBuilder::new(&translated).size_limit(SCOUT_BYTES_MAX).build().ok());
        let programs = (0..parsed.node_count).map(|_| [OnceCell::new(), OnceCell::new()]).collect();
        let pattern = Self {
            root: parsed.root,
            group_count: parsed.group_count,
            ignore_case: parsed.ignore_case,
            has_backrefs: parsed.has_backrefs,
            scout,
            programs,
        };
        pattern.program(&pattern.root, false)?;
        Ok(pattern)
    }

    pub(crate) fn group_count(&self) -> usize {
        self.group_count
    }

    pub(crate) fn is_match(&self, text: &str) -> SqlResult<bool> {
        match &self.scout {
            Some(scout) => Ok(scout.is_match(text)),
            None => Ok(self.find_at(text, 0)?.is_some()),
        }
    }

    /// The first match that starts at `from` or behind.
    pub(crate) fn find_at(&self, text: &str, from: usize) -> SqlResult<Option<Groups>> {
        matcher::Matcher::new(self, text).find(from)
    }

    /// All matches; one that is empty is followed by a search one character on.
    pub(crate) fn matches<'p>(&'p self, text: &'p str, from: usize) -> impl Iterator<Item = SqlResult<Groups>> + 'p {
        let mut next = Some(from);
        std::iter::from_fn(move || {
            let from = next.take()?;
            match self.find_at(text, from) {
                Ok(Some(groups)) => {
                    let (start, end) = groups[0].expect("group 0 is the whole match");
                    next = if start == end { text[end..].chars().next().map(|c| end + c.len_utf8()) } else { Some(end) };
                    Some(Ok(groups))
                }
                Ok(None) => None,
                Err(error) => Some(Err(error)),
            }
        })
    }

    fn program(&self, node: &Node, backward: bool) -> SqlResult<&Program> {
        let cell = &self.programs[node.id][usize::from(backward)];
        if cell.get().is_none() {
            // What another call has put there in between is the same.
            let _ = cell.set(Program::new(node, &self.root, backward)?);
        }
        Ok(cell.get().expect("was just set"))
    }
}

/// The pattern in the `regex` crate's syntax, groups aside; none when it cannot be said there.
fn translate(node: &Node, out: &mut String) -> Option<()> {
    let wrapped = |node: &Node, out: &mut String| -> Option<()> {
        out.push_str("(?:");
        translate(node, out)?;
        out.push(')');
        Some(())
    };
    match &node.kind {
        Kind::Empty => {}
        Kind::Set(set) => {
            out.push('[');
            if set.negated {
                out.push('^');
            } else if set.ranges.is_empty() {
                return None;
            }
            for (low, high) in &set.ranges {
                out.push_str(&format!("\\x{{{:x}}}-\\x{{{:x}}}", u32::from(*low), u32::from(*high)));
            }
            if set.negated && set.ranges.is_empty() {
                // The complement of nothing.
                out.truncate(out.len() - 2);
                out.push_str("(?s:.)");
                return Some(());
            }
            out.push(']');
        }
        Kind::Concat(left, right) => {
            wrapped(left, out)?;
            wrapped(right, out)?;
        }
        Kind::Fixed(list) => {
            for item in list {
                translate(item, out)?;
            }
        }
        Kind::Alternation(branches) => {
            out.push_str("(?:");
            for (at, branch) in branches.iter().enumerate() {
                if at > 0 {
                    out.push('|');
                }
                translate(branch, out)?;
            }
            out.push(')');
        }
        Kind::Repeat { node, min, max } => {
            wrapped(node, out)?;
            match max {
                Some(max) => out.push_str(&format!("{{{min},{max}}}")),
                None => out.push_str(&format!("{{{min},}}")),
            }
        }
        Kind::Group(_, node) => wrapped(node, out)?,
        Kind::Assert(assertion) => out.push_str(match assertion {
            Assertion::TextStart => r"\A",
            Assertion::TextEnd => r"\z",
            Assertion::LineStart => "(?m:^)",
            Assertion::LineEnd => "(?m:$)",
            Assertion::WordStart => r"(?-u:\b{start})",
            Assertion::WordEnd => r"(?-u:\b{end})",
            Assertion::WordBoundary => r"(?-u:\b)",
            Assertion::NotWordBoundary => return None,
        }),
        Kind::Backref(_) | Kind::Look { .. } => return None,
    }
    Some(())
}
