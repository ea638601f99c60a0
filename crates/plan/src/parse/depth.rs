//! How deep the syntax tree of a statement will be, from its tokens.
//!
//! The parser reads a chain of operators in a loop and makes of it a tree that leans to the left, as deep as the chain
//! is long; its limit of recursion never sees that. So the depth is bounded before there is a tree.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};
use types::SqlResult;
use types::stack::{SYNTAX_DEPTH_MAX, too_deep};

use super::{is_significant, keyword};

/// CASEs and brackets within one another. An error inside of them the parser finds again for every one around it, at
/// a cost that grows with the cube of their number.
const SLOW_NESTING_MAX: usize = 1000;

/// What nests within one pair of parentheses, from the loosest operators to the tightest: those to the left of a
/// looser one are its operand, and no deeper than it.
#[derive(Clone, Copy, Default)]
struct Level {
    /// UNION and its kin.
    sets: usize,
    /// Joins in one item of FROM.
    joins: usize,
    ors: usize,
    ands: usize,
    /// NOT, comparisons and all others.
    others: usize,
    /// The deepest of the parentheses in the expression at hand: what follows them may lean on them.
    inner: usize,
    /// The deepest of the items and clauses before.
    before: usize,
    /// Between brackets or CASE and END.
    is_slow: bool,
}

impl Level {
    /// How many operators stand above what comes next.
    fn operators(self) -> usize {
        self.sets + self.joins + self.ors + self.ands + self.others
    }

    fn depth(self) -> usize {
        self.sets + self.joins + self.before.max(self.ors + self.ands + self.others + self.inner)
    }

    /// A clause or an item of a list begins.
    fn begin(&mut self) {
        self.before = self.before.max(self.ors + self.ands + self.others + self.inner);
        (self.ors, self.ands, self.others, self.inner) = (0, 0, 0, 0);
    }
}

/// A bound of the tree's depth.
///
/// # Errors
/// 54001 when it might be deeper than [`SYNTAX_DEPTH_MAX`].
pub(super) fn check_depth(tokens: &[TokenWithSpan]) -> SqlResult<usize> {
    let mut deepest = 0;
    let mut slow = 0;
    let mut open: Vec<Level> = Vec::new();
    let mut level = Level::default();
    // Of the levels in `open`.
    let mut around = 0;
    for token in tokens {
        let mut enter = |level: &mut Level, is_slow: bool| {
            around += level.operators() + 1;
            slow += usize::from(is_slow);
            open.push(std::mem::replace(level, Level { is_slow, ..Level::default() }));
        };
        match &token.token {
            Token::LParen => enter(&mut level, false),
            Token::LBracket => enter(&mut level, true),
            Token::RParen | Token::RBracket => {
                let depth = level.depth() + 1;
                slow -= usize::from(level.is_slow);
                level = open.pop().unwrap_or_default();
                around = around.saturating_sub(level.operators() + 1);
                level.inner = level.inner.max(depth);
            }
            Token::Comma => level.begin(),
            Token::Word(_) => match keyword(token) {
                Keyword::CASE => enter(&mut level, true),
                Keyword::END if !open.is_empty() => {
                    let depth = level.depth() + 1;
                    slow -= usize::from(level.is_slow);
                    level = open.pop().unwrap_or_default();
                    around = around.saturating_sub(level.operators() + 1);
                    level.inner = level.inner.max(depth);
                }
                Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => {
                    level.sets += 1;
                    level.joins = 0;
                    level.begin();
                }
                Keyword::JOIN => {
                    level.joins += 1;
                    level.begin();
                }
                Keyword::SELECT
                | Keyword::FROM
                | Keyword::WHERE
                | Keyword::HAVING
                | Keyword::BY
                | Keyword::ON
                | Keyword::VALUES
                | Keyword::SET
                | Keyword::RETURNING
                | Keyword::WHEN
                | Keyword::THEN
                | Keyword::ELSE => level.begin(),
                Keyword::OR => {
                    level.ors += 1;
                    (level.ands, level.others) = (0, 0);
                }
                Keyword::AND => {
                    level.ands += 1;
                    level.others = 0;
                }
                Keyword::NOT
                | Keyword::IS
                | Keyword::NOTNULL
                | Keyword::IN
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::SIMILAR
                | Keyword::BETWEEN
                | Keyword::AT
                | Keyword::COLLATE
                | Keyword::OVERLAPS
                | Keyword::OPERATOR
                | Keyword::INTERVAL
                | Keyword::EXPLAIN => level.others += 1,
                _ => {}
            },
            Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Period
            | Token::SemiColon
            | Token::Whitespace(_)
            | Token::Placeholder(_)
            | Token::EOF => {}
            // An operator, or what might be one.
            _ => level.others += 1,
        }
        deepest = deepest.max(around + level.depth());
        if deepest > SYNTAX_DEPTH_MAX || slow > SLOW_NESTING_MAX {
            return Err(too_deep());
        }
    }
    Ok(deepest)
}

/// Of three parentheses and more around the same, two are left: `((((1))))` is `((1))`. Two may mean something else
/// than one, as in `f((a, b))`; a third means nothing.
pub(super) fn drop_idle_parentheses(tokens: &mut Vec<TokenWithSpan>) {
    let significant: Vec<usize> = (0..tokens.len()).filter(|at| is_significant(&tokens[*at])).collect();
    // For each open parenthesis: its place among the significant tokens, and how many stand directly around the pair.
    let mut open: Vec<usize> = Vec::new();
    let mut closed_by: Vec<usize> = vec![usize::MAX; significant.len()];
    for (place, at) in significant.iter().enumerate() {
        match tokens[*at].token {
            Token::LParen => open.push(place),
            Token::RParen => {
                if let Some(from) = open.pop() {
                    closed_by[from] = place;
                }
            }
            _ => {}
        }
    }
    let is_around = |place: usize| {
        let close = closed_by[place];
        close != usize::MAX
            && closed_by.get(place + 1).is_some_and(|inner| *inner != usize::MAX && inner + 1 == close)
    };
    let mut idle: Vec<usize> = Vec::new();
    for place in 0..significant.len() {
        // The pair inside this one is itself directly around another.
        if is_around(place) && is_around(place + 1) {
            idle.extend([significant[place], significant[closed_by[place]]]);
        }
    }
    if idle.is_empty() {
        return;
    }
    idle.sort_unstable();
    let mut at = 0;
    tokens.retain(|_| {
        at += 1;
        idle.binary_search(&(at - 1)).is_err()
    });
}

#[cfg(test)]
mod tests {
    use sqlparser::dialect::PostgreSqlDialect;
    use sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn tokens(sql: &str) -> Vec<TokenWithSpan> {
        Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().unwrap()
    }

    #[test]
    fn idle_parentheses_go() {
        for (from, to) in [
            ("((((1))))", "((1))"),
            ("f(((a, b)))", "f((a, b))"),
            ("f((a, b))", "f((a, b))"),
            ("( ( ((a)+1) ) )", " ( ((a)+1) ) "),
            ("((a)+(b))", "((a)+(b))"),
            ("(((select 1)) union (((select 2))))", "(((select 1)) union ((select 2)))"),
            ("(()))", "(()))"),
            ("((()", "((()"),
        ] {
            let mut read = tokens(from);
            drop_idle_parentheses(&mut read);
            let text: String = read.iter().map(|token| token.token.to_string()).collect();
            assert_eq!(text.trim_end_matches("EOF"), to, "{from}");
        }
    }

    #[test]
    fn bounded_depth_of_syntax() {
        let is_fine = |sql: String| check_depth(&tokens(&sql)).is_ok();
        assert!(is_fine(format!("select 1 where {}", vec!["a = 1 and b < 2"; 9000].join(" or "))));
        assert!(is_fine(format!("select {}", vec!["a + 1"; 30_000].join(", "))));
        assert!(is_fine(format!("select {}", vec!["case when a then b + 1 end"; 30_000].join(", "))));
        assert!(!is_fine(format!("select {}", vec!["1"; 25_000].join("+"))));
        assert!(!is_fine(vec!["select 1"; 25_000].join(" union all ")));
        assert!(!is_fine(format!("select {}1", "- ".repeat(25_000))));
        assert!(!is_fine(format!("select {}true", "not ".repeat(25_000))));
        assert!(!is_fine(format!("select a {}", "is null ".repeat(25_000))));
        // Chains within chains: each is short, and the tree as deep as all of them together.
        let mut nested = "1".to_owned();
        for _ in 0..300 {
            nested = format!("({nested}{})", "+1".repeat(100));
        }
        assert!(!is_fine(format!("select {nested}")));
    }
}
