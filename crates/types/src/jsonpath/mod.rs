//! `jsonpath`: expressions that look for values within JSON.
//!
//! A path is kept as its tree; how it is written is [`JsonPath::write`], what it finds is the `builtins` crate's.
//!
//! **Invariant (path-bounded):** a path nests at most [`PATH_DEPTH_MAX`] levels; the parser refuses others.

mod lexer;
mod parser;
mod write;

use serde::{Deserialize, Serialize};

use crate::numeric::Numeric;

/// How deep expressions may stand within one another.
pub const PATH_DEPTH_MAX: usize = 1000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JsonPath {
    /// Structural errors are passed over, and arrays are unwrapped.
    pub is_lax: bool,
    pub root: Node,
}

/// An expression, or a predicate, with what is behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub item: Item,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Item {
    Null,
    Bool(bool),
    Number(Numeric),
    String(Box<str>),
    /// `$`
    Root,
    /// `@`
    Current,
    Variable(Box<str>),
    Last,
    Plus(Box<Node>),
    Minus(Box<Node>),
    Arithmetic(Arithmetic, Box<Node>, Box<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
    IsUnknown(Box<Node>),
    Exists(Box<Node>),
    StartsWith(Box<Node>, Box<Node>),
    LikeRegex(Box<Node>, Box<str>, RegexFlags),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegexFlags {
    /// `i`
    pub ignores_case: bool,
    /// `s`: a dot matches a newline too.
    pub dot_all: bool,
    /// `m`: `^` and `$` match at lines.
    pub multiline: bool,
    /// `q`: the pattern is a string.
    pub is_literal: bool,
}

/// What is behind an expression.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    Key(Box<str>),
    /// `.*`
    AnyKey,
    /// `[*]`
    AnyElement,
    /// `[a, b to c]`
    Elements(Vec<(Node, Option<Node>)>),
    /// `.**{first to last}`; [`LEVEL_MAX`] is `last`.
    AnyLevel { first: u32, last: u32 },
    Filter(Box<Node>),
    Method(Method),
}

/// Stands for the last level.
pub const LEVEL_MAX: u32 = u32::MAX;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    Type,
    Size,
    Abs,
    Floor,
    Ceiling,
    Double,
    KeyValue,
    /// With its template.
    Datetime(Option<Box<str>>),
}

impl Item {
    /// Whether it is true, false or unknown.
    #[must_use]
    pub const fn is_predicate(&self) -> bool {
        matches!(
            self,
            Self::Compare(..)
                | Self::And(..)
                | Self::Or(..)
                | Self::Not(_)
                | Self::IsUnknown(_)
                | Self::Exists(_)
                | Self::StartsWith(..)
                | Self::LikeRegex(..)
        )
    }
}

impl Arithmetic {
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
        }
    }
}

impl Comparison {
    const fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

impl Method {
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Size => "size",
            Self::Abs => "abs",
            Self::Floor => "floor",
            Self::Ceiling => "ceiling",
            Self::Double => "double",
            Self::KeyValue => "keyvalue",
            Self::Datetime(_) => "datetime",
        }
    }
}

impl JsonPath {
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        64 + 4 * self.text().len()
    }

    /// As it is written.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let mut out = Vec::new();
        match JsonPath::parse(text) {
            Ok(path) => path.write(&mut out),
            Err(error) => return format!("!{}", error.message()),
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn paths_are_read_and_written() {
        let check = |text: &str, expected: &str| assert_eq!(shown(text), expected, "{text}");
        check("$", "$");
        check("strict $.a.b[*]", "strict $.\"a\".\"b\"[*]");
        check("$.a + 1 * 2", "($.\"a\" + 1 * 2)");
        check("($.a + 1).abs()", "($.\"a\" + 1).abs()");
        check("(1.2).type()", "(1.2).type()");
        check(
            "strict -$.a[1,2 to last] ? (@ > 1 && !(@ == 2)).b.**{2 to last}",
            "strict (-$.\"a\"[1,2 to last]?(@ > 1 && !(@ == 2)).\"b\".**{2 to last})",
        );
        check("$x.a", "$\"x\".\"a\"");
        check("$ ? (@ like_regex \"a\" flag \"im\")", "$?(@ like_regex \"a\" flag \"im\")");
        check("$ ? (exists (@.a) || (@ == 1) is unknown)", "$?(exists (@.\"a\") || (@ == 1) is unknown)");
        check("$.a >", "!syntax error at end of jsonpath input");
        check("$.a ? (1)", "!syntax error at or near \")\" of jsonpath input");
        check("@", "!@ is not allowed in root expressions");
        check("last", "!LAST is allowed only in array subscripts");
        check("", "!invalid input syntax for type jsonpath: \"\"");
    }

    /// These bytes are stored.
    #[test]
    fn golden_path() {
        let path = JsonPath::parse("$.a[0]").unwrap();
        let stored = postcard::to_stdvec(&path).unwrap();
        assert_eq!(postcard::from_bytes::<JsonPath>(&stored).unwrap(), path);
        assert_eq!(&stored[..8], [1, 4, 2, 0, 1, b'a', 3, 1]);
    }

    #[test]
    fn deep_paths_are_refused() {
        let deep = |levels: usize| shown(&format!("{}1{}", "(".repeat(levels), ")".repeat(levels)));
        assert_eq!(deep(500), "1");
        assert!(deep(100_000).starts_with('!'));
        assert!(shown(&"-".repeat(100_000)).starts_with('!'));
        assert!(shown(&format!("$ ? ({}(@ == 1)", "!".repeat(100_000))).starts_with('!'));
        assert!(shown(&format!("$ ? (@ == 1{})", " && @ == 1".repeat(5_000))).starts_with('!'));
    }
}
