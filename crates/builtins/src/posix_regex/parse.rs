//! Patterns to trees. PostgreSQL's advanced regular expressions: documentation, sections 9.7.3.1 to 9.7.3.6.

use types::SqlResult;

use super::{Options, invalid, too_complex};

/// Deeper nesting of parentheses is refused.
const DEPTH_MAX: usize = 200;
/// A deeper tree is refused: parts in a row nest in it, and it is walked by recursion.
const TREE_DEPTH_MAX: usize = 500;
/// PostgreSQL's `DUPMAX`.
const REPEAT_MAX: u32 = 255;

/// Which of several possible lengths a part takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preference {
    None,
    Longest,
    Shortest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Assertion {
    TextStart,
    TextEnd,
    LineStart,
    LineEnd,
    WordStart,
    WordEnd,
    WordBoundary,
    NotWordBoundary,
}

/// Characters, by ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Set {
    pub ranges: Vec<(char, char)>,
    pub negated: bool,
}

impl Set {
    fn of(c: char) -> Self {
        Self { ranges: vec![(c, c)], negated: false }
    }

    pub fn contains(&self, c: char) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != self.negated
    }

    /// With the other case of its ASCII letters.
    fn without_case(mut self) -> Self {
        let letters: Vec<char> = ('a'..='z').chain('A'..='Z').filter(|c| self.contains(*c) != self.negated).collect();
        for c in letters {
            let other = if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
            self.ranges.push((other, other));
        }
        self
    }
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Empty,
    Set(Set),
    Concat(Box<Node>, Box<Node>),
    /// Parts of one length each: characters and assertions.
    Fixed(Vec<Node>),
    Alternation(Vec<Node>),
    Repeat { node: Box<Node>, min: u32, max: Option<u32> },
    Group(usize, Box<Node>),
    Backref(usize),
    Assert(Assertion),
    Look { node: Box<Node>, ahead: bool, negated: bool },
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub id: usize,
    pub kind: Kind,
    pub prefers: Preference,
    /// The groups inside, from the first to behind the last.
    pub groups: (usize, usize),
    /// A back-reference is inside.
    pub has_backref: bool,
    /// Of the tree below, this node included.
    depth: usize,
}

impl Node {
    /// Nothing inside depends on how a match is taken apart.
    pub fn is_plain(&self) -> bool {
        self.groups.0 == self.groups.1 && !self.has_backref
    }

    /// The node of a group.
    pub fn group(&self, number: usize) -> Option<&Node> {
        if !(self.groups.0..self.groups.1).contains(&number) {
            return None;
        }
        match &self.kind {
            Kind::Group(own, node) if *own == number => Some(node),
            Kind::Group(_, node) | Kind::Repeat { node, .. } => node.group(number),
            Kind::Concat(left, right) => left.group(number).or_else(|| right.group(number)),
            Kind::Alternation(branches) => branches.iter().find_map(|branch| branch.group(number)),
            _ => None,
        }
    }
}

pub(super) struct Parsed {
    pub root: Node,
    pub group_count: usize,
    pub node_count: usize,
    pub ignore_case: bool,
    pub has_backrefs: bool,
}

pub(super) fn parse(pattern: &str, options: Options) -> SqlResult<Parsed> {
    let mut parser =
        Parser { rest: pattern, options, groups: 0, closed: Vec::new(), nodes: 0, depth: 0, in_look: false };
    parser.prefixes()?;
    let root = if parser.options.literal { parser.literal()? } else { parser.alternation()? };
    if !parser.rest.is_empty() {
        // Only a parenthesis ends an alternation early.
        return Err(invalid("parentheses () not balanced"));
    }
    Ok(Parsed {
        group_count: parser.groups,
        node_count: parser.nodes,
        ignore_case: parser.options.ignore_case,
        has_backrefs: root.has_backref,
        root,
    })
}

struct Parser<'p> {
    rest: &'p str,
    options: Options,
    /// Groups opened so far.
    groups: usize,
    /// Groups that are closed, which a back-reference may name.
    closed: Vec<usize>,
    nodes: usize,
    depth: usize,
    in_look: bool,
}

fn class(name: &str) -> Option<Vec<(char, char)>> {
    Some(match name {
        "alnum" => vec![('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => vec![('A', 'Z'), ('a', 'z')],
        "ascii" => vec![('\0', '\x7f')],
        "blank" => vec![(' ', ' '), ('\t', '\t')],
        "cntrl" => vec![('\0', '\x1f'), ('\x7f', '\x7f')],
        "digit" => vec![('0', '9')],
        "graph" => vec![('!', '~')],
        "lower" => vec![('a', 'z')],
        "print" => vec![(' ', '~')],
        "punct" => vec![('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => vec![('\t', '\r'), (' ', ' ')],
        "upper" => vec![('A', 'Z')],
        "xdigit" => vec![('0', '9'), ('A', 'F'), ('a', 'f')],
        "word" => vec![('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        _ => return None,
    })
}

/// Everything but these ranges.
fn complement(mut ranges: Vec<(char, char)>) -> Vec<(char, char)> {
    ranges.sort_unstable();
    let mut out = Vec::new();
    let mut from = Some('\0');
    for (low, high) in ranges {
        if let Some(start) = from
            && start < low
        {
            out.push((start, char::from_u32(u32::from(low) - 1).expect("classes are of ASCII")));
        }
        from = char::from_u32(u32::from(high) + 1);
    }
    out.extend(from.map(|start| (start, char::MAX)));
    out
}

fn shorthand(letter: char) -> Option<Vec<(char, char)>> {
    let ranges = class(match letter.to_ascii_lowercase() {
        'd' => "digit",
        's' => "space",
        'w' => "word",
        _ => return None,
    })?;
    Some(if letter.is_ascii_uppercase() { complement(ranges) } else { ranges })
}

fn collating_element(name: &str) -> Option<char> {
    let mut chars = name.chars();
    if let (Some(only), None) = (chars.next(), chars.next()) {
        return Some(only);
    }
    Some(match name {
        "NUL" => '\0',
        "alert" => '\x07',
        "backspace" => '\x08',
        "tab" => '\t',
        "newline" => '\n',
        "vertical-tab" => '\x0b',
        "form-feed" => '\x0c',
        "carriage-return" => '\r',
        "space" => ' ',
        "exclamation-mark" => '!',
        "quotation-mark" => '"',
        "number-sign" => '#',
        "dollar-sign" => '$',
        "percent-sign" => '%',
        "ampersand" => '&',
        "apostrophe" => '\'',
        "left-parenthesis" => '(',
        "right-parenthesis" => ')',
        "asterisk" => '*',
        "plus-sign" => '+',
        "comma" => ',',
        "hyphen" | "hyphen-minus" => '-',
        "period" | "full-stop" => '.',
        "slash" | "solidus" => '/',
        "colon" => ':',
        "semicolon" => ';',
        "less-than-sign" => '<',
        "equals-sign" => '=',
        "greater-than-sign" => '>',
        "question-mark" => '?',
        "commercial-at" => '@',
        "left-square-bracket" | "left-bracket" => '[',
        "backslash" | "reverse-solidus" => '\\',
        "right-square-bracket" | "right-bracket" => ']',
        "circumflex" | "circumflex-accent" => '^',
        "underscore" | "low-line" => '_',
        "grave-accent" => '`',
        "left-brace" | "left-curly-bracket" => '{',
        "vertical-line" => '|',
        "right-brace" | "right-curly-bracket" => '}',
        "tilde" => '~',
        "DEL" => '\x7f',
        _ => return None,
    })
}

/// A member of a bracket expression.
enum Member {
    Char(char),
    Ranges(Vec<(char, char)>),
}

impl Parser<'_> {
    fn node(&mut self, kind: Kind, prefers: Preference) -> SqlResult<Node> {
        let id = self.nodes;
        self.nodes += 1;
        let (mut groups, mut has_backref) = ((usize::MAX, 0), matches!(kind, Kind::Backref(_)));
        let mut depth = 0;
        let mut add = |node: &Node| {
            depth = depth.max(node.depth);
            has_backref |= node.has_backref;
            if node.groups.0 < node.groups.1 {
                groups = (groups.0.min(node.groups.0), groups.1.max(node.groups.1));
            }
        };
        match &kind {
            Kind::Concat(left, right) => {
                add(left);
                add(right);
            }
            Kind::Alternation(nodes) => nodes.iter().for_each(&mut add),
            Kind::Repeat { node, .. } | Kind::Group(_, node) | Kind::Look { node, .. } => add(node),
            Kind::Fixed(_) | Kind::Empty | Kind::Set(_) | Kind::Backref(_) | Kind::Assert(_) => {}
        }
        if depth >= TREE_DEPTH_MAX {
            return Err(too_complex());
        }
        if let Kind::Group(number, _) = &kind {
            groups = (*number, groups.1.max(number + 1));
        }
        if groups.0 == usize::MAX {
            groups = (0, 0);
        }
        Ok(Node { id, kind, prefers, groups, has_backref, depth: depth + 1 })
    }

    fn set(&mut self, set: Set) -> SqlResult<Node> {
        let set = if self.options.ignore_case { set.without_case() } else { set };
        self.node(Kind::Set(set), Preference::None)
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    /// Directors and embedded options.
    fn prefixes(&mut self) -> SqlResult<()> {
        if self.options.literal {
            return Ok(());
        }
        if self.eat("***=") {
            self.options.literal = true;
            return Ok(());
        }
        if self.rest.starts_with("***") && !self.eat("***:") {
            return Err(invalid("quantifier operand invalid"));
        }
        let letters = self.rest.strip_prefix("(?").filter(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()));
        let Some(letters) = letters else { return Ok(()) };
        let end = letters.find(')').ok_or_else(|| invalid("invalid embedded option"))?;
        for letter in letters[..end].chars() {
            self.options.set(letter).ok_or_else(|| invalid("invalid embedded option"))?;
        }
        self.rest = &letters[end + 1..];
        Ok(())
    }

    fn literal(&mut self) -> SqlResult<Node> {
        let mut nodes = Vec::new();
        while let Some(c) = self.next() {
            nodes.push(self.set(Set::of(c))?);
        }
        self.sequence(nodes)
    }

    /// Blanks, comments of the expanded syntax, and `(?#…)`.
    fn skip_ignored(&mut self) {
        loop {
            if self.rest.starts_with("(?#") {
                self.rest = self.rest.find(')').map_or("", |end| &self.rest[end + 1..]);
                continue;
            }
            if !self.options.expanded {
                return;
            }
            match self.peek() {
                Some(c) if c.is_ascii_whitespace() || c == '\x0b' => {
                    self.next();
                }
                Some('#') => self.rest = self.rest.find('\n').map_or("", |end| &self.rest[end..]),
                _ => return,
            }
        }
    }

    fn alternation(&mut self) -> SqlResult<Node> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(too_complex());
        }
        let mut branches = vec![self.branch()?];
        while self.eat("|") {
            branches.push(self.branch()?);
        }
        self.depth -= 1;
        match branches.len() {
            1 => Ok(branches.swap_remove(0)),
            _ => self.node(Kind::Alternation(branches), Preference::Longest),
        }
    }

    fn branch(&mut self) -> SqlResult<Node> {
        let mut nodes = Vec::new();
        loop {
            self.skip_ignored();
            match self.peek() {
                None | Some('|' | ')') => return self.sequence(nodes),
                Some(_) => nodes.push(self.quantified()?),
            }
        }
    }

    /// One node out of those in a row: runs of fixed length stay together, others nest to the right.
    fn sequence(&mut self, nodes: Vec<Node>) -> SqlResult<Node> {
        let mut parts: Vec<Node> = Vec::new();
        let mut run: Vec<Node> = Vec::new();
        for node in nodes {
            if matches!(node.kind, Kind::Set(_) | Kind::Assert(_)) {
                run.push(node);
                continue;
            }
            if !run.is_empty() {
                let run = std::mem::take(&mut run);
                parts.push(self.node(Kind::Fixed(run), Preference::None)?);
            }
            parts.push(node);
        }
        if !run.is_empty() {
            parts.push(self.node(Kind::Fixed(run), Preference::None)?);
        }
        let Some(mut whole) = parts.pop() else { return self.node(Kind::Empty, Preference::None) };
        while let Some(left) = parts.pop() {
            let prefers = if left.prefers == Preference::None { whole.prefers } else { left.prefers };
            whole = self.node(Kind::Concat(Box::new(left), Box::new(whole)), prefers)?;
        }
        Ok(whole)
    }

    fn quantified(&mut self) -> SqlResult<Node> {
        let atom = self.atom()?;
        if matches!(atom.kind, Kind::Assert(_) | Kind::Look { .. }) {
            return Ok(atom);
        }
        self.skip_ignored();
        let (min, max, is_exact) = match self.peek() {
            Some('*') => (0, None, false),
            Some('+') => (1, None, false),
            Some('?') => (0, Some(1), false),
            Some('{') if self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                self.next();
                let min = self.count()?;
                let (max, is_exact) = match self.next() {
                    Some('}') => (Some(min), true),
                    Some(',') if self.eat("}") => (None, false),
                    Some(',') => {
                        let max = self.count()?;
                        if !self.eat("}") {
                            return Err(self.bad_braces());
                        }
                        (Some(max), false)
                    }
                    _ => return Err(self.bad_braces()),
                };
                if max.is_some_and(|max| min > max) {
                    return Err(invalid("invalid repetition count(s)"));
                }
                return self.repeat(atom, min, max, is_exact);
            }
            _ => return Ok(atom),
        };
        self.next();
        self.repeat(atom, min, max, is_exact)
    }

    fn bad_braces(&self) -> types::SqlError {
        invalid(if self.rest.is_empty() { "braces {} not balanced" } else { "invalid repetition count(s)" })
    }

    fn repeat(&mut self, atom: Node, min: u32, max: Option<u32>, is_exact: bool) -> SqlResult<Node> {
        let is_lazy = self.eat("?");
        self.skip_ignored();
        let another = match self.peek() {
            Some('*' | '+' | '?') => true,
            Some('{') => self.rest[1..].starts_with(|c: char| c.is_ascii_digit()),
            _ => false,
        };
        if another {
            return Err(invalid("quantifier operand invalid"));
        }
        let prefers = match (is_exact, is_lazy) {
            (true, _) => atom.prefers,
            (false, true) => Preference::Shortest,
            (false, false) => Preference::Longest,
        };
        if (min, max) == (1, Some(1)) && prefers == atom.prefers {
            return Ok(atom);
        }
        self.node(Kind::Repeat { node: Box::new(atom), min, max }, prefers)
    }

    fn count(&mut self) -> SqlResult<u32> {
        let length = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        if length == 0 {
            self.next();
            return Err(self.bad_braces());
        }
        let value: Option<u32> = self.rest[..length].parse().ok();
        self.rest = &self.rest[length..];
        value.filter(|value| *value <= REPEAT_MAX).ok_or_else(|| invalid("invalid repetition count(s)"))
    }

    fn atom(&mut self) -> SqlResult<Node> {
        let c = self.next().expect("there is a character");
        match c {
            '(' => self.parenthesis(),
            '[' => self.bracket(),
            '.' => {
                let ranges = if self.options.newline_stops { vec![('\n', '\n')] } else { Vec::new() };
                self.node(Kind::Set(Set { ranges, negated: true }), Preference::None)
            }
            '^' => self.assertion(if self.options.newline_anchors { Assertion::LineStart } else { Assertion::TextStart }),
            '$' => self.assertion(if self.options.newline_anchors { Assertion::LineEnd } else { Assertion::TextEnd }),
            '\\' => self.escape(),
            '*' | '+' | '?' => Err(invalid("quantifier operand invalid")),
            '{' if self.rest.starts_with(|c: char| c.is_ascii_digit()) => Err(invalid("quantifier operand invalid")),
            c => self.set(Set::of(c)),
        }
    }

    fn assertion(&mut self, assertion: Assertion) -> SqlResult<Node> {
        self.node(Kind::Assert(assertion), Preference::None)
    }

    fn parenthesis(&mut self) -> SqlResult<Node> {
        let close = |parser: &mut Self| {
            if parser.eat(")") { Ok(()) } else { Err(invalid("parentheses () not balanced")) }
        };
        if self.eat("?:") {
            let inner = self.alternation()?;
            close(self)?;
            return Ok(inner);
        }
        for (opening, ahead, negated) in [("?=", true, false), ("?!", true, true), ("?<=", false, false), ("?<!", false, true)] {
            if self.eat(opening) {
                let outer = std::mem::replace(&mut self.in_look, true);
                let node = Box::new(self.alternation()?);
                self.in_look = outer;
                close(self)?;
                return self.node(Kind::Look { node, ahead, negated }, Preference::None);
            }
        }
        if self.rest.starts_with('?') {
            return Err(invalid("quantifier operand invalid"));
        }
        // Parentheses in look-around capture nothing.
        if self.in_look {
            let inner = self.alternation()?;
            close(self)?;
            return Ok(inner);
        }
        self.groups += 1;
        let number = self.groups;
        let inner = self.alternation()?;
        close(self)?;
        self.closed.push(number);
        let prefers = inner.prefers;
        self.node(Kind::Group(number, Box::new(inner)), prefers)
    }

    fn escape(&mut self) -> SqlResult<Node> {
        let bad = || invalid("invalid escape \\ sequence");
        let c = self.peek().ok_or_else(bad)?;
        let assertion = match c {
            'A' => Some(Assertion::TextStart),
            'Z' => Some(Assertion::TextEnd),
            'm' => Some(Assertion::WordStart),
            'M' => Some(Assertion::WordEnd),
            'y' => Some(Assertion::WordBoundary),
            'Y' => Some(Assertion::NotWordBoundary),
            _ => None,
        };
        if let Some(assertion) = assertion {
            self.next();
            return self.assertion(assertion);
        }
        if let Some(ranges) = shorthand(c) {
            self.next();
            return self.node(Kind::Set(Set { ranges, negated: false }), Preference::None);
        }
        if ('1'..='9').contains(&c) {
            let length = self.rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: usize = self.rest[..length].parse().unwrap_or(usize::MAX);
            if length == 1 || number <= self.groups {
                self.rest = &self.rest[length..];
                if self.in_look || !self.closed.contains(&number) {
                    return Err(invalid("invalid backreference number"));
                }
                return self.node(Kind::Backref(number), Preference::None);
            }
        }
        let c = self.escaped_char()?;
        self.set(Set::of(c))
    }

    /// A character behind a backslash.
    fn escaped_char(&mut self) -> SqlResult<char> {
        let bad = || invalid("invalid escape \\ sequence");
        let c = self.next().ok_or_else(bad)?;
        let digits = |parser: &mut Self, radix: u32, least: usize, most: usize| -> SqlResult<char> {
            let length = parser.rest.chars().take(most).take_while(|c| c.is_digit(radix)).count();
            if length < least {
                return Err(bad());
            }
            let code = u32::from_str_radix(&parser.rest[..length], radix).ok();
            parser.rest = &parser.rest[length..];
            code.and_then(char::from_u32).ok_or_else(bad)
        };
        Ok(match c {
            'a' => '\x07',
            'b' => '\x08',
            'B' => '\\',
            'c' => char::from(self.next().filter(char::is_ascii).ok_or_else(bad)? as u8 & 0x1f),
            'e' => '\x1b',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            'u' => digits(self, 16, 4, 4)?,
            'U' => digits(self, 16, 8, 8)?,
            'x' => digits(self, 16, 1, 255)?,
            '0'..='9' => {
                let tail = self.rest;
                let length = tail.bytes().take(2).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
                let code = u32::from_str_radix(&format!("{c}{}", &tail[..length]), 8).map_err(|_| bad())?;
                self.rest = &tail[length..];
                char::from_u32(code).ok_or_else(bad)?
            }
            c if c.is_ascii_alphanumeric() => return Err(bad()),
            c => c,
        })
    }

    fn bracket(&mut self) -> SqlResult<Node> {
        for (text, assertion) in [("[:<:]]", Assertion::WordStart), ("[:>:]]", Assertion::WordEnd)] {
            if self.eat(text) {
                return self.assertion(assertion);
            }
        }
        let unbalanced = || invalid("brackets [] not balanced");
        let negated = self.eat("^");
        let mut set = Set { ranges: Vec::new(), negated: false };
        let mut is_first = true;
        loop {
            let c = self.peek().ok_or_else(unbalanced)?;
            if c == ']' && !is_first {
                self.next();
                break;
            }
            let member = self.member(is_first)?;
            is_first = false;
            match member {
                Member::Ranges(ranges) => {
                    set.ranges.extend(ranges);
                    if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                        return Err(invalid("invalid character range"));
                    }
                }
                Member::Char(low) => {
                    let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
                    if !is_range {
                        set.ranges.push((low, low));
                        continue;
                    }
                    self.next();
                    if self.rest.is_empty() {
                        return Err(unbalanced());
                    }
                    match self.member(true)? {
                        Member::Char(high) if low <= high => set.ranges.push((low, high)),
                        _ => return Err(invalid("invalid character range")),
                    }
                }
            }
        }
        if self.options.ignore_case {
            set = set.without_case();
        }
        set.negated = negated;
        if negated && self.options.newline_stops {
            set.ranges.push(('\n', '\n'));
        }
        self.node(Kind::Set(set), Preference::None)
    }

    fn member(&mut self, may_be_bracket: bool) -> SqlResult<Member> {
        let unbalanced = || invalid("brackets [] not balanced");
        for (opening, closing) in [("[.", ".]"), ("[=", "=]"), ("[:", ":]")] {
            if !self.eat(opening) {
                continue;
            }
            let end = self.rest.find(closing).ok_or_else(unbalanced)?;
            let name = &self.rest[..end];
            self.rest = &self.rest[end + 2..];
            return match opening {
                "[:" => class(name).map(Member::Ranges).ok_or_else(|| invalid("invalid character class")),
                _ => collating_element(name).map(Member::Char).ok_or_else(|| invalid("invalid collating element")),
            };
        }
        match self.next().ok_or_else(unbalanced)? {
            '\\' => {
                let ranges = self.peek().and_then(shorthand);
                if let Some(ranges) = ranges {
                    self.next();
                    return Ok(Member::Ranges(ranges));
                }
                self.escaped_char().map(Member::Char)
            }
            ']' if !may_be_bracket => Err(unbalanced()),
            c => Ok(Member::Char(c)),
        }
    }
}

impl Options {
    /// A letter of the flags argument or of embedded options; none for one that does not exist.
    pub(crate) fn set(&mut self, letter: char) -> Option<()> {
        match letter {
            'i' => self.ignore_case = true,
            'c' => self.ignore_case = false,
            'n' | 'm' => (self.newline_stops, self.newline_anchors) = (true, true),
            'p' => (self.newline_stops, self.newline_anchors) = (true, false),
            'w' => (self.newline_stops, self.newline_anchors) = (false, true),
            's' => (self.newline_stops, self.newline_anchors) = (false, false),
            'x' => self.expanded = true,
            't' => self.expanded = false,
            'q' => self.literal = true,
            'e' => self.literal = false,
            _ => return None,
        }
        Some(())
    }
}
