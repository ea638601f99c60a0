//! Reads paths.

use super::lexer::{Lexer, Token, error_near};
use super::{Arithmetic, Comparison, Item, JsonPath, LEVEL_MAX, Method, Node, PATH_DEPTH_MAX, RegexFlags, Step};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::numeric::Numeric;
use crate::stack::{deep, grown, too_deep};

impl JsonPath {
    /// # Errors
    /// 42601 for bad syntax, 54001 for a path that nests too deeply.
    pub fn parse(text: &str) -> SqlResult<Self> {
        deep(|| Parser::new(text)?.path(text))
    }
}

/// How many steps may stand behind an expression.
const STEPS_MAX: usize = 10_000;

/// Where an expression stands: what it may name.
#[derive(Clone, Copy, Default)]
struct Scope {
    has_current: bool,
    has_last: bool,
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token,
    /// How it is written.
    shown: &'a str,
    depth: usize,
    scope: Scope,
}

fn node(item: Item) -> Node {
    Node { item, steps: Vec::new() }
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> SqlResult<Self> {
        let mut lexer = Lexer::new(text);
        let (token, shown) = lexer.next()?;
        Ok(Self { lexer, token, shown, depth: 0, scope: Scope::default() })
    }

    fn error(&self) -> SqlError {
        error_near("syntax error", self.shown)
    }

    fn advance(&mut self) -> SqlResult<Token> {
        let (token, shown) = self.lexer.next()?;
        self.shown = shown;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(&self.token, Token::Symbol(found) if *found == symbol)
    }

    fn takes(&mut self, symbol: &str) -> SqlResult<bool> {
        let is_found = self.is(symbol);
        if is_found {
            self.advance()?;
        }
        Ok(is_found)
    }

    fn expect(&mut self, symbol: &str) -> SqlResult<()> {
        if self.takes(symbol)? { Ok(()) } else { Err(self.error()) }
    }

    /// Whether the next token is a keyword. `true`, `false` and `null` must be in lower case.
    fn is_word(&self, keyword: &str) -> bool {
        match &self.token {
            Token::Word(word) if matches!(keyword, "true" | "false" | "null") => word == keyword,
            Token::Word(word) => word.eq_ignore_ascii_case(keyword),
            _ => false,
        }
    }

    fn takes_word(&mut self, keyword: &str) -> SqlResult<bool> {
        let is_found = self.is_word(keyword);
        if is_found {
            self.advance()?;
        }
        Ok(is_found)
    }

    fn expect_word(&mut self, keyword: &str) -> SqlResult<()> {
        if self.takes_word(keyword)? { Ok(()) } else { Err(self.error()) }
    }

    /// One level further in.
    fn inside<T>(&mut self, read: impl FnOnce(&mut Self) -> SqlResult<T>) -> SqlResult<T> {
        if self.depth == PATH_DEPTH_MAX {
            return Err(too_deep());
        }
        self.depth += 1;
        let read = grown(|| read(self));
        self.depth -= 1;
        read
    }

    fn path(&mut self, text: &str) -> SqlResult<JsonPath> {
        if self.token == Token::End {
            let message = format!("invalid input syntax for type jsonpath: \"{text}\"");
            return Err(SqlError::new(SqlState::InvalidTextRepresentation, message));
        }
        let is_lax = !self.takes_word("strict")?;
        if is_lax {
            self.takes_word("lax")?;
        }
        let root = self.any()?;
        if self.token == Token::End { Ok(JsonPath { is_lax, root }) } else { Err(self.error()) }
    }

    /// An expression or a predicate.
    fn any(&mut self) -> SqlResult<Node> {
        self.inside(Self::disjunction)
    }

    fn predicate(&mut self, node: Node) -> SqlResult<Box<Node>> {
        if is_predicate(&node) { Ok(Box::new(node)) } else { Err(self.error()) }
    }

    fn expression(&mut self, node: Node) -> SqlResult<Box<Node>> {
        if is_predicate(&node) { Err(self.error()) } else { Ok(Box::new(node)) }
    }

    /// Chains to the left are as deep as they are long.
    fn count(&self, links: usize) -> SqlResult<()> {
        if self.depth + links > PATH_DEPTH_MAX { Err(too_deep()) } else { Ok(()) }
    }

    fn disjunction(&mut self) -> SqlResult<Node> {
        let mut left = self.conjunction()?;
        let mut links = 0;
        while self.is("||") {
            let checked = self.predicate(left)?;
            self.advance()?;
            let right = self.conjunction()?;
            left = node(Item::Or(checked, self.predicate(right)?));
            links += 1;
            self.count(links)?;
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> SqlResult<Node> {
        let mut left = self.comparison()?;
        let mut links = 0;
        while self.is("&&") {
            let checked = self.predicate(left)?;
            self.advance()?;
            let right = self.comparison()?;
            left = node(Item::And(checked, self.predicate(right)?));
            links += 1;
            self.count(links)?;
        }
        Ok(left)
    }

    fn comparison(&mut self) -> SqlResult<Node> {
        if self.takes("!")? {
            return self.inside(|it| {
                // Only what is in parentheses can be negated.
                if !it.is("(") && !it.is_word("exists") {
                    return Err(it.error());
                }
                let inner = it.primary()?;
                Ok(node(Item::Not(it.predicate(inner)?)))
            });
        }
        let left = self.sum()?;
        let comparison = match &self.token {
            Token::Symbol(symbol) => match *symbol {
                "==" => Some(Comparison::Equal),
                "!=" | "<>" => Some(Comparison::NotEqual),
                "<" => Some(Comparison::Less),
                "<=" => Some(Comparison::LessOrEqual),
                ">" => Some(Comparison::Greater),
                ">=" => Some(Comparison::GreaterOrEqual),
                _ => None,
            },
            _ => None,
        };
        if let Some(comparison) = comparison {
            let left = self.expression(left)?;
            self.advance()?;
            let right = self.sum()?;
            return Ok(node(Item::Compare(comparison, left, self.expression(right)?)));
        }
        if self.is_word("starts") {
            let left = self.expression(left)?;
            self.advance()?;
            self.expect_word("with")?;
            let initial = match self.advance()? {
                Token::String(text) => Item::String(text.into()),
                Token::Variable(name) => Item::Variable(name.into()),
                _ => return Err(self.error()),
            };
            return Ok(node(Item::StartsWith(left, Box::new(node(initial)))));
        }
        if self.is_word("like_regex") {
            let left = self.expression(left)?;
            self.advance()?;
            let Token::String(pattern) = self.token.clone() else { return Err(self.error()) };
            self.advance()?;
            let mut flags = RegexFlags::default();
            if self.takes_word("flag")? {
                let Token::String(letters) = self.token.clone() else { return Err(self.error()) };
                flags = regex_flags(&letters)?;
                self.advance()?;
            }
            return Ok(node(Item::LikeRegex(left, pattern.into(), flags)));
        }
        Ok(left)
    }

    fn sum(&mut self) -> SqlResult<Node> {
        self.chain(Self::product, &[("+", Arithmetic::Add), ("-", Arithmetic::Subtract)])
    }

    fn product(&mut self) -> SqlResult<Node> {
        let operators = [("*", Arithmetic::Multiply), ("/", Arithmetic::Divide), ("%", Arithmetic::Modulo)];
        self.chain(Self::signed, &operators)
    }

    fn chain(
        &mut self,
        operand: fn(&mut Self) -> SqlResult<Node>,
        operators: &[(&str, Arithmetic)],
    ) -> SqlResult<Node> {
        let mut left = operand(self)?;
        let mut links = 0;
        while let Some((_, operator)) = operators.iter().find(|(symbol, _)| self.is(symbol)) {
            let checked = self.expression(left)?;
            self.advance()?;
            let right = operand(self)?;
            left = node(Item::Arithmetic(*operator, checked, self.expression(right)?));
            links += 1;
            self.count(links)?;
        }
        Ok(left)
    }

    fn signed(&mut self) -> SqlResult<Node> {
        let make: fn(Box<Node>) -> Item = match &self.token {
            Token::Symbol("+") => Item::Plus,
            Token::Symbol("-") => Item::Minus,
            _ => return self.primary(),
        };
        self.advance()?;
        let inner = self.inside(Self::signed)?;
        Ok(node(make(self.expression(inner)?)))
    }

    fn primary(&mut self) -> SqlResult<Node> {
        let item = match self.token.clone() {
            Token::Symbol("(") => {
                self.advance()?;
                let inner = self.any()?;
                self.expect(")")?;
                if self.is_word("is") && is_predicate(&inner) {
                    self.advance()?;
                    self.expect_word("unknown")?;
                    return Ok(node(Item::IsUnknown(Box::new(inner))));
                }
                return self.with_steps(inner);
            }
            Token::Symbol("$") => Item::Root,
            Token::Symbol("@") => {
                if !self.scope.has_current {
                    return Err(SqlError::new(SqlState::SyntaxError, "@ is not allowed in root expressions"));
                }
                Item::Current
            }
            Token::String(text) => Item::String(text.into()),
            Token::Variable(name) => Item::Variable(name.into()),
            Token::Number(digits) => Item::Number(Numeric::parse(&digits)?),
            Token::Word(word) => match () {
                () if self.is_word("null") => Item::Null,
                () if self.is_word("true") => Item::Bool(true),
                () if self.is_word("false") => Item::Bool(false),
                () if word.eq_ignore_ascii_case("last") => {
                    if !self.scope.has_last {
                        return Err(SqlError::new(SqlState::SyntaxError, "LAST is allowed only in array subscripts"));
                    }
                    Item::Last
                }
                () if word.eq_ignore_ascii_case("exists") => {
                    self.advance()?;
                    self.expect("(")?;
                    let inner = self.any()?;
                    let inner = self.expression(inner)?;
                    self.expect(")")?;
                    return Ok(node(Item::Exists(inner)));
                }
                () => return Err(self.error()),
            },
            Token::Symbol(_) | Token::End => return Err(self.error()),
        };
        self.advance()?;
        self.with_steps(node(item))
    }

    fn with_steps(&mut self, mut node: Node) -> SqlResult<Node> {
        loop {
            if node.steps.len() > STEPS_MAX {
                return Err(too_deep());
            }
            if self.is(".") {
                self.advance()?;
                node.steps.push(self.member()?);
            } else if self.takes("[")? {
                node.steps.push(self.subscripts()?);
            } else if self.takes("?")? {
                self.expect("(")?;
                let outer = self.scope;
                self.scope.has_current = true;
                let inner = self.any();
                self.scope = outer;
                let inner = inner?;
                let inner = self.predicate(inner)?;
                self.expect(")")?;
                node.steps.push(Step::Filter(inner));
            } else {
                return Ok(node);
            }
        }
    }

    /// What is behind a point.
    fn member(&mut self) -> SqlResult<Step> {
        match self.token.clone() {
            Token::Symbol("*") => {
                self.advance()?;
                Ok(Step::AnyKey)
            }
            Token::Symbol("**") => {
                self.advance()?;
                self.levels()
            }
            Token::String(key) => {
                self.advance()?;
                Ok(Step::Key(key.into()))
            }
            Token::Word(word) => {
                self.advance()?;
                if !self.is("(") {
                    return Ok(Step::Key(word.into()));
                }
                let method = match word.to_ascii_lowercase().as_str() {
                    "type" => Method::Type,
                    "size" => Method::Size,
                    "abs" => Method::Abs,
                    "floor" => Method::Floor,
                    "ceiling" => Method::Ceiling,
                    "double" => Method::Double,
                    "keyvalue" => Method::KeyValue,
                    "datetime" => {
                        self.advance()?;
                        let template = match self.token.clone() {
                            Token::String(template) => {
                                self.advance()?;
                                Some(template.into())
                            }
                            _ => None,
                        };
                        self.expect(")")?;
                        return Ok(Step::Method(Method::Datetime(template)));
                    }
                    _ => return Err(self.error()),
                };
                self.advance()?;
                self.expect(")")?;
                Ok(Step::Method(method))
            }
            _ => Err(self.error()),
        }
    }

    fn levels(&mut self) -> SqlResult<Step> {
        if !self.takes("{")? {
            return Ok(Step::AnyLevel { first: 0, last: LEVEL_MAX });
        }
        let first = self.level()?;
        let last = if self.takes_word("to")? { self.level()? } else { first };
        self.expect("}")?;
        Ok(Step::AnyLevel { first, last })
    }

    fn level(&mut self) -> SqlResult<u32> {
        if self.takes_word("last")? {
            return Ok(LEVEL_MAX);
        }
        let level = match &self.token {
            Token::Number(digits) => digits.parse().map_err(|_| self.error())?,
            _ => return Err(self.error()),
        };
        self.advance()?;
        Ok(level)
    }

    fn subscripts(&mut self) -> SqlResult<Step> {
        if self.takes("*")? {
            self.expect("]")?;
            return Ok(Step::AnyElement);
        }
        let outer = self.scope;
        self.scope.has_last = true;
        let list = self.subscript_list();
        self.scope = outer;
        let list = list?;
        self.expect("]")?;
        Ok(Step::Elements(list))
    }

    fn subscript_list(&mut self) -> SqlResult<Vec<(Node, Option<Node>)>> {
        let mut list = Vec::new();
        loop {
            let first = self.any()?;
            let first = *self.expression(first)?;
            let last = match self.takes_word("to")? {
                true => {
                    let last = self.any()?;
                    Some(*self.expression(last)?)
                }
                false => None,
            };
            list.push((first, last));
            if !self.takes(",")? {
                return Ok(list);
            }
        }
    }
}

/// Steps behind a predicate make an expression of it.
fn is_predicate(node: &Node) -> bool {
    node.steps.is_empty() && node.item.is_predicate()
}

fn regex_flags(letters: &str) -> SqlResult<RegexFlags> {
    let mut flags = RegexFlags::default();
    let mut is_expanded = false;
    for letter in letters.chars() {
        match letter {
            'i' => flags.ignores_case = true,
            's' => flags.dot_all = true,
            'm' => flags.multiline = true,
            'q' => flags.is_literal = true,
            'x' => is_expanded = true,
            other => {
                return Err(SqlError::new(SqlState::SyntaxError, "invalid input syntax for type jsonpath").with_detail(format!(
                    "Unrecognized flag character \"{other}\" in LIKE_REGEX predicate."
                )));
            }
        }
    }
    if is_expanded && !flags.is_literal {
        return Err(SqlError::not_supported("XQuery \"x\" flag (expanded regular expressions) is not implemented"));
    }
    Ok(flags)
}
