//! Queries as they are written: PostgreSQL's notation, that of web searches, and plain text.
//!
//! What stands for an operand is the caller's to say ([`assemble`]): of a `tsquery` it is the lexeme itself, of `to_tsquery` what a
//! configuration makes of it.

use super::query::{Operand, Operator, TsQuery};
use super::query_tree::Tree;
use super::vector::Weight;
use super::words::{Place, Words, is_blank};
use super::{LEXEME_BYTES_END, syntax_error};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::stack::{DEPTH_MAX, deep, too_deep};

/// The largest distance of a phrase operator.
pub const PHRASE_DISTANCE_MAX: u16 = 1 << 14;

/// How a query is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    Standard,
    Web,
    /// All of the text is one operand.
    Plain,
}

#[derive(Debug, PartialEq)]
pub enum QueryToken {
    Operand(Operand),
    Operator(Operator),
    Open,
    Close,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    FirstOperand,
    Operand,
    Operator,
}

/// The tokens of a query.
pub struct QueryTokens<'a> {
    words: Words<'a>,
    syntax: Syntax,
    state: State,
    /// Parentheses that are open.
    open: usize,
    /// A web search that ends where an operand is expected has one that is a stop word.
    ends_open: bool,
}

impl<'a> QueryTokens<'a> {
    #[must_use]
    pub fn new(input: &'a str, syntax: Syntax) -> Self {
        let place = if syntax == Syntax::Web { Place::WebQuery } else { Place::Query };
        Self { words: Words::new(input, place), syntax, state: State::FirstOperand, open: 0, ends_open: false }
    }

    fn error(&self) -> SqlError {
        syntax_error("tsquery", self.words.input)
    }

    fn next(&mut self) -> SqlResult<Option<QueryToken>> {
        match self.syntax {
            Syntax::Standard => self.next_standard(),
            Syntax::Web => self.next_web(),
            Syntax::Plain => {
                let text = self.words.rest();
                self.words.at = self.words.input.len();
                Ok((!text.is_empty()).then(|| QueryToken::Operand(Operand::plain(text))))
            }
        }
    }

    fn operator(&mut self, operator: Operator, bytes: usize) -> SqlResult<Option<QueryToken>> {
        self.words.at += bytes;
        self.state = State::Operand;
        Ok(Some(QueryToken::Operator(operator)))
    }

    fn skip_blanks(&mut self) {
        while self.words.peek().is_some_and(is_blank) {
            self.words.at += 1;
        }
    }

    fn next_standard(&mut self) -> SqlResult<Option<QueryToken>> {
        self.skip_blanks();
        let next = self.words.peek();
        if self.state == State::Operator {
            return match next {
                Some('&') => self.operator(Operator::And, 1),
                Some('|') => self.operator(Operator::Or, 1),
                Some(')') if self.open > 0 => {
                    self.words.at += 1;
                    self.open -= 1;
                    Ok(Some(QueryToken::Close))
                }
                None if self.open == 0 => Ok(None),
                _ => match phrase_operator(self.words.rest())? {
                    Some((distance, bytes)) => self.operator(Operator::Phrase(distance), bytes),
                    None => Err(self.error()),
                },
            };
        }
        match next {
            Some('!') => self.operator(Operator::Not, 1),
            Some('(') => {
                self.words.at += 1;
                self.state = State::Operand;
                self.open += 1;
                Ok(Some(QueryToken::Open))
            }
            Some(':') => Err(self.error()),
            _ => match self.words.next()? {
                Some(word) => {
                    let (weights, is_prefix) = self.modifiers();
                    self.state = State::Operator;
                    Ok(Some(QueryToken::Operand(Operand { text: word.text.into(), weights, is_prefix })))
                }
                None if self.state == State::FirstOperand => Ok(None),
                None => {
                    let message = format!("no operand in tsquery: \"{}\"", self.words.input);
                    Err(SqlError::new(SqlState::SyntaxError, message))
                }
            },
        }
    }

    /// Weights, and the star of a prefix, behind a colon.
    fn modifiers(&mut self) -> (u8, bool) {
        let (mut weights, mut is_prefix) = (0, false);
        if self.words.peek() == Some(':') {
            self.words.at += 1;
            while let Some(c) = self.words.peek() {
                match Weight::from_letter(c) {
                    Some(weight) => weights |= weight.bit(),
                    None if c == '*' => is_prefix = true,
                    None => break,
                }
                self.words.at += 1;
            }
        }
        (weights, is_prefix)
    }

    fn next_web(&mut self) -> SqlResult<Option<QueryToken>> {
        loop {
            self.skip_blanks();
            let next = self.words.peek();
            if self.state == State::Operator {
                return match next {
                    None => Ok(None),
                    Some('"') => self.operator(Operator::And, 0),
                    Some(_) if is_or(self.words.rest()) => self.operator(Operator::Or, 2),
                    Some(_) => self.operator(Operator::And, 0),
                };
            }
            match next {
                Some('-') => return self.operator(Operator::Not, 1),
                Some('"') => {
                    let quoted = &self.words.rest()[1..];
                    let text = quoted.split('"').next().unwrap_or_default();
                    self.words.at = (self.words.at + text.len() + 2).min(self.words.input.len());
                    self.state = State::Operator;
                    return Ok(Some(QueryToken::Operand(Operand::plain(text))));
                }
                Some('!' | '&' | '|' | '(' | ')') => {
                    self.words.at += 1;
                    self.state = State::Operand;
                }
                _ => {
                    let Some(word) = self.words.next()? else {
                        self.ends_open = self.state != State::FirstOperand;
                        return Ok(None);
                    };
                    self.state = State::Operator;
                    return Ok(Some(QueryToken::Operand(Operand::plain(&word.text))));
                }
            }
        }
    }
}

/// The distance of a phrase operator at the beginning, and its length.
fn phrase_operator(text: &str) -> SqlResult<Option<(u16, usize)>> {
    let Some((inner, _)) = text.strip_prefix('<').and_then(|text| text.split_once('>')) else { return Ok(None) };
    if inner == "-" {
        return Ok(Some((1, 3)));
    }
    let digits = inner.len() - inner.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if digits == 0 {
        return Ok(None);
    }
    match inner[..digits].parse::<u16>().ok().filter(|distance| *distance <= PHRASE_DISTANCE_MAX) {
        None => Err(SqlError::new(
            SqlState::InvalidParameterValue,
            format!("distance in phrase operator must be an integer value between zero and {PHRASE_DISTANCE_MAX} inclusive"),
        )),
        Some(distance) => Ok((digits == inner.len()).then_some((distance, inner.len() + 2))),
    }
}

/// Whether a web search has the word OR here, and something behind it.
fn is_or(text: &str) -> bool {
    let Some((word, rest)) = text.split_at_checked(2) else { return false };
    let Some(next) = rest.chars().next().filter(|_| word.eq_ignore_ascii_case("or")) else { return false };
    if matches!(next, '-' | '_') || next.is_ascii_alphanumeric() || !next.is_ascii() {
        return false;
    }
    rest[next.len_utf8()..].chars().any(|c| !is_blank(c))
}

/// A tree with places for stop words.
enum Gapped {
    Gap,
    Operand(Operand),
    Not(Box<Gapped>),
    Binary(Operator, Box<Gapped>, Box<Gapped>),
}

/// Puts a query together. `operand` says what stands for an operand: lexemes under operators, or nothing for a stop word.
///
/// # Errors
/// 42601 for bad syntax, 54001 for a query that is too deep, and those of `operand`.
pub fn assemble(
    input: &str,
    syntax: Syntax,
    operand: &mut dyn FnMut(&Operand, &mut OperandSink<'_>) -> SqlResult<()>,
) -> SqlResult<TsQuery> {
    let mut tokens = QueryTokens::new(input, syntax);
    let mut stack = Stack::default();
    // None is an open parenthesis.
    let mut operators: Vec<Option<Operator>> = Vec::new();
    while let Some(token) = tokens.next()? {
        match token {
            QueryToken::Operand(wanted) => operand(&wanted, &mut OperandSink { stack: &mut stack })?,
            QueryToken::Operator(operator) => {
                // NOT stands before its operand: nothing is complete yet.
                if operator != Operator::Not {
                    while let Some(Some(top)) = operators.last().copied()
                        && operator.priority() <= top.priority()
                    {
                        operators.pop();
                        stack.operator(top)?;
                    }
                }
                operators.push(Some(operator));
            }
            QueryToken::Open => operators.push(None),
            QueryToken::Close => {
                while let Some(Some(operator)) = operators.pop() {
                    stack.operator(operator)?;
                }
            }
        }
        if operators.len() > DEPTH_MAX {
            return Err(too_deep());
        }
    }
    if tokens.ends_open {
        stack.operand(Gapped::Gap);
    }
    while let Some(operator) = operators.pop() {
        if let Some(operator) = operator {
            stack.operator(operator)?;
        }
    }
    let tree = stack.operands.pop().map(|(tree, _)| deep(|| tree.closed().0)).unwrap_or_default();
    let query = TsQuery::from_tree(tree.as_ref());
    deep(move || drop(tree));
    query
}

/// Operands that are complete, and how deep they are.
#[derive(Default)]
struct Stack {
    operands: Vec<(Gapped, usize)>,
}

/// Takes what stands for an operand, in postfix order.
pub struct OperandSink<'a> {
    stack: &'a mut Stack,
}

impl OperandSink<'_> {
    /// # Errors
    /// 54000 when the lexeme is too long.
    pub fn lexeme(&mut self, operand: Operand) -> SqlResult<()> {
        if operand.text.len() >= LEXEME_BYTES_END {
            let message = format!("word is too long in tsquery: \"{}\"", operand.text);
            return Err(SqlError::new(SqlState::ProgramLimitExceeded, message));
        }
        self.stack.operand(Gapped::Operand(operand));
        Ok(())
    }

    /// A place without a lexeme.
    pub fn stop_word(&mut self) {
        self.stack.operand(Gapped::Gap);
    }

    /// # Errors
    /// 54001 when it gets too deep.
    pub fn operator(&mut self, operator: Operator) -> SqlResult<()> {
        self.stack.operator(operator)
    }
}

impl Stack {
    fn operand(&mut self, tree: Gapped) {
        self.operands.push((tree, 1));
    }

    fn operator(&mut self, operator: Operator) -> SqlResult<()> {
        let mut take = || self.operands.pop().unwrap_or((Gapped::Gap, 1));
        let (right, right_depth) = take();
        let (tree, depth) = match operator {
            Operator::Not => (Gapped::Not(Box::new(right)), right_depth),
            operator => {
                let (left, left_depth) = take();
                (Gapped::Binary(operator, Box::new(left), Box::new(right)), right_depth.max(left_depth))
            }
        };
        if depth >= DEPTH_MAX {
            deep(move || drop(tree));
            return Err(too_deep());
        }
        self.operands.push((tree, depth + 1));
        Ok(())
    }
}

/// Places that stop words leave open on both sides of a phrase.
type Gaps = (u32, u32);

impl Gapped {
    /// Without the gaps: they widen the distances of the phrases around them.
    fn closed(self) -> (Option<Tree>, Gaps) {
        match self {
            Self::Gap => (None, (0, 0)),
            Self::Operand(operand) => (Some(Tree::Operand(operand)), (0, 0)),
            Self::Not(inner) => {
                let (inner, gaps) = inner.closed();
                (inner.map(|inner| Tree::Not(Box::new(inner))), gaps)
            }
            Self::Binary(operator, left, right) => {
                let (left, left_gaps) = left.closed();
                let (right, right_gaps) = right.closed();
                let distance = if let Operator::Phrase(distance) = operator { Some(u32::from(distance)) } else { None };
                match (left, right, distance) {
                    // What vanishes has the same gaps on both sides: they count once.
                    (None, None, Some(distance)) => {
                        let all = left_gaps.0 + distance + right_gaps.0;
                        (None, (all, all))
                    }
                    (None, None, None) => {
                        let all = left_gaps.0.max(right_gaps.0);
                        (None, (all, all))
                    }
                    (None, right, Some(distance)) => (right, (left_gaps.0 + distance + right_gaps.0, right_gaps.1)),
                    (None, right, None) => (right, right_gaps),
                    (left, None, Some(distance)) => (left, (left_gaps.0, left_gaps.1 + distance + right_gaps.1)),
                    (left, None, None) => (left, left_gaps),
                    (Some(left), Some(right), Some(distance)) => {
                        let distance = distance + left_gaps.1 + right_gaps.0;
                        let operator = Operator::Phrase(u16::try_from(distance).unwrap_or(u16::MAX).min(PHRASE_DISTANCE_MAX));
                        (Some(Tree::Binary(operator, Box::new(left), Box::new(right))), (left_gaps.0, right_gaps.1))
                    }
                    (Some(left), Some(right), None) => {
                        (Some(Tree::Binary(operator, Box::new(left), Box::new(right))), (0, 0))
                    }
                }
            }
        }
    }
}

impl TsQuery {
    /// # Errors
    /// 42601 for bad syntax, 54000 for a word that is too long.
    pub fn parse(input: &str) -> SqlResult<Self> {
        assemble(input, Syntax::Standard, &mut |operand, sink| sink.lexeme(operand.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(query: &TsQuery) -> String {
        let mut out = Vec::new();
        query.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn queries_are_read_and_written() {
        let check = |input: &str, expected: &str| {
            assert_eq!(TsQuery::parse(input).map(|it| shown(&it)), Ok(expected.to_owned()), "{input}");
        };
        check("", "");
        check("a", "'a'");
        check("!a & b | c", "!'a' & 'b' | 'c'");
        check("a | (b & !(c|d))", "'a' | 'b' & !( 'c' | 'd' )");
        check("a <-> (b <2> c)", "'a' <-> ( 'b' <2> 'c' )");
        check("!!a", "!!'a'");
        check("a:*BA & 'it''s':d", "'a':*AB & 'it''s':D");
        check("'a\\'b'", "'a''b'");
        for wrong in ["a &", "& a", "a b", "(a", "a)", "!", "a <x> b", ":a", "''", "a <-1> b"] {
            TsQuery::parse(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn stop_words_widen_phrases() {
        let parse = |input: &str| {
            let made = assemble(input, Syntax::Standard, &mut |operand, sink| match &*operand.text {
                "the" => {
                    sink.stop_word();
                    Ok(())
                }
                _ => sink.lexeme(operand.clone()),
            });
            shown(&made.unwrap())
        };
        assert_eq!(parse("a <-> the <-> b"), "'a' <2> 'b'");
        assert_eq!(parse("the <-> a"), "'a'");
        assert_eq!(parse("a & !the"), "'a'");
        assert_eq!(parse("the | the"), "");
        assert_eq!(parse("a <-> (the <3> the) <-> b"), "'a' <5> 'b'");
    }

    /// These bytes are stored and sent.
    #[test]
    fn golden_queries() {
        let query = TsQuery::parse("a:*B <3> !b").unwrap();
        let mut sent = Vec::new();
        query.write_binary(&mut sent);
        assert_eq!(sent, [0, 0, 0, 4, 2, 4, 0, 3, 2, 1, 1, 0, 0, b'b', 0, 1, 4, 1, b'a', 0]);
        assert_eq!(TsQuery::parse_binary(&sent), Ok(query.clone()));
        let stored = postcard::to_stdvec(&query).unwrap();
        assert_eq!(stored, [4, 1, 3, 3, 3, 1, 0, 0, 0, 1, b'b', 0, 0, 0, 1, b'a', 4, 1]);
        TsQuery::parse_binary(&[0, 0, 0, 1, 2, 2]).expect_err("no operands");
        TsQuery::parse_binary(&[0, 0, 0, 2, 1, 0, 0, 0, 1, 0, 0, 0]).expect_err("two queries");
    }

    #[test]
    fn long_chains_are_refused_or_work() {
        let chain = |count: usize| TsQuery::parse(&vec!["a"; count].join(" & "));
        assert_eq!(shown(&chain(5_000).unwrap()).len(), 5_000 * 6 - 3);
        chain(20_000).expect_err("too deep");
        TsQuery::parse(&"!".repeat(20_000)).expect_err("too deep");
    }
}
