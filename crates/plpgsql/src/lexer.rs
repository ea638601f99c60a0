//! The words of a function's body.
//!
//! The problem: PL/pgSQL is cut at words, and what stands between them is SQL that is passed on as it was written. So a
//! token needs no more than its place in the text and what PL/pgSQL itself asks of it, and a text that PL/pgSQL does not
//! understand must be cut where PostgreSQL would: `1..10` is three tokens, `:=-1` is two, and neither comments nor
//! strings of any kind hide the end of a statement.
//!
//! The lexical rules are those of SQL (documentation, section 4.1).

use types::{SqlError, SqlState};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// Without quotes, folded to lower case.
    Word(String),
    Quoted(String),
    Integer(i64),
    /// Any other number.
    Number,
    String(String),
    /// `B''` and `X''`.
    Bits,
    /// `$1`
    Parameter(u32),
    /// One of `; ( ) , . [ ] : # = < > % + - * /` and what else is one character, or an operator of several.
    Symbol(&'static str),
    /// An operator that PL/pgSQL has no use for.
    Operator,
    End,
}

#[derive(Clone, Debug)]
pub(crate) struct Lexed {
    pub token: Token,
    /// Bytes of the body.
    pub start: usize,
    pub end: usize,
}

/// What a symbol may be.
const SYMBOLS: &[&str] = &[
    ";", "(", ")", ",", ".", "[", "]", ":", "#", "=", "<", ">", "%", "+", "-", "*", "/", "..", ":=", "::",
    "<<", ">>", "=>", "<=", ">=", "<>", "!=",
];

fn symbol(text: &str) -> Token {
    SYMBOLS.iter().find(|known| **known == text).map_or(Token::Operator, |known| Token::Symbol(known))
}

/// Where the text cannot be cut.
pub(crate) struct LexError {
    pub message: String,
    /// A byte of the text.
    pub at: usize,
}

impl LexError {
    pub fn into_sql(self, body: &str) -> SqlError {
        let position = body[..self.at].chars().count() + 1;
        let text = &body[self.at..];
        let message = format!("{} at or near \"{text}\"", self.message);
        SqlError::new(SqlState::SyntaxError, message).with_internal_position(body, position)
    }
}

/// All tokens, the last of which is [`Token::End`].
pub(crate) fn lex(text: &str) -> Result<Vec<Lexed>, LexError> {
    let mut lexer = Lexer { text, bytes: text.as_bytes(), at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_space()?;
        let start = lexer.at;
        let token = lexer.token()?;
        let is_end = token == Token::End;
        tokens.push(Lexed { token, start, end: lexer.at });
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

const fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

const fn is_name_part(byte: u8) -> bool {
    is_name_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

const fn is_operator(byte: u8) -> bool {
    matches!(
        byte,
        b'~' | b'!'
            | b'@'
            | b'#'
            | b'^'
            | b'&'
            | b'|'
            | b'`'
            | b'?'
            | b'+'
            | b'-'
            | b'*'
            | b'/'
            | b'%'
            | b'<'
            | b'>'
            | b'='
    )
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn unterminated<T>(&self, what: &str, at: usize) -> Result<T, LexError> {
        Err(LexError { message: format!("unterminated {what}"), at })
    }

    fn skip_space(&mut self) -> Result<(), LexError> {
        loop {
            match (self.peek(0), self.peek(1)) {
                (b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, _) => self.at += 1,
                (b'-', b'-') => {
                    let rest = &self.bytes[self.at..];
                    self.at +=
                        rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
                }
                (b'/', b'*') => self.skip_comment()?,
                _ => return Ok(()),
            }
        }
    }

    /// Comments nest.
    fn skip_comment(&mut self) -> Result<(), LexError> {
        let start = self.at;
        let mut depth = 0;
        loop {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                _ if self.at >= self.bytes.len() => return self.unterminated("/* comment", start),
                _ => self.at += 1,
            }
        }
    }

    fn token(&mut self) -> Result<Token, LexError> {
        let start = self.at;
        if start >= self.bytes.len() {
            return Ok(Token::End);
        }
        match (self.peek(0), self.peek(1)) {
            (b'\'', _) => self.string(false),
            (b'e' | b'E', b'\'') => {
                self.at += 1;
                self.string(true)
            }
            (b'n' | b'N', b'\'') => {
                self.at += 1;
                self.string(false)
            }
            (b'b' | b'B' | b'x' | b'X', b'\'') => {
                self.at += 1;
                self.string(false).map(|_| Token::Bits)
            }
            (b'u' | b'U', b'&') if self.peek(2) == b'\'' => {
                self.at += 2;
                self.string(false)
            }
            (b'u' | b'U', b'&') if self.peek(2) == b'"' => {
                self.at += 2;
                self.quoted()
            }
            (b'"', _) => self.quoted(),
            (b'$', next) if next.is_ascii_digit() => {
                self.at += 1;
                let digits = self.digits();
                Ok(digits.parse().map_or(Token::Number, Token::Parameter))
            }
            (b'$', _) => self.dollar_quoted(),
            (byte, _) if is_name_start(byte) => {
                while is_name_part(self.peek(0)) {
                    self.at += 1;
                }
                Ok(Token::Word(cut_name(self.text[start..self.at].to_ascii_lowercase())))
            }
            (byte, next) if byte.is_ascii_digit() || (byte == b'.' && next.is_ascii_digit()) => self.number(),
            (b'.', b'.') => {
                self.at += 2;
                Ok(Token::Symbol(".."))
            }
            (b':', b'=' | b':') => {
                self.at += 2;
                Ok(symbol(&self.text[start..self.at]))
            }
            (byte, _) if is_operator(byte) => {
                self.operator();
                Ok(symbol(&self.text[start..self.at]))
            }
            _ => {
                let character = self.text[start..].chars().next().expect("more text");
                self.at += character.len_utf8();
                Ok(symbol(&self.text[start..self.at]))
            }
        }
    }

    /// As long as it may be: up to a comment, and without a sign at its end unless it is no SQL operator anyway.
    fn operator(&mut self) {
        let start = self.at;
        while is_operator(self.peek(0))
            && !matches!(&self.bytes[self.at..], [b'-', b'-', ..] | [b'/', b'*', ..])
        {
            self.at += 1;
        }
        let of =
            |byte: &u8| matches!(byte, b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'%');
        if !self.bytes[start..self.at].iter().any(of) {
            while self.at > start + 1 && matches!(self.bytes[self.at - 1], b'+' | b'-') {
                self.at -= 1;
            }
        }
    }

    fn digits(&mut self) -> &str {
        let start = self.at;
        while self.peek(0).is_ascii_digit() {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    fn number(&mut self) -> Result<Token, LexError> {
        let start = self.at;
        let mut is_integer = true;
        self.digits();
        // `1..10` is a range of integers.
        if self.peek(0) == b'.' && self.peek(1) != b'.' {
            is_integer = false;
            self.at += 1;
            self.digits();
        }
        if matches!(self.peek(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
            if self.peek(1 + sign).is_ascii_digit() {
                is_integer = false;
                self.at += 1 + sign;
                self.digits();
            }
        }
        if is_name_start(self.peek(0)) {
            return Err(LexError { message: "trailing junk after numeric literal".into(), at: start });
        }
        let integer = self.text[start..self.at].parse().ok().filter(|_| is_integer);
        Ok(integer.map_or(Token::Number, Token::Integer))
    }

    fn quoted(&mut self) -> Result<Token, LexError> {
        let start = self.at;
        let name =
            self.until_quote(b'"').ok_or(()).or_else(|()| self.unterminated("quoted identifier", start))?;
        if name.is_empty() {
            return Err(LexError { message: "zero-length delimited identifier".into(), at: start });
        }
        Ok(Token::Quoted(cut_name(name)))
    }

    /// What stands between two quotes, a doubled one within being one.
    fn until_quote(&mut self, quote: u8) -> Option<String> {
        let mut found = String::new();
        self.at += 1;
        let mut from = self.at;
        loop {
            let length = self.bytes[from..].iter().position(|byte| *byte == quote)?;
            found.push_str(&self.text[from..from + length]);
            self.at = from + length + 1;
            if self.peek(0) != quote {
                return Some(found);
            }
            found.push(quote as char);
            from = self.at + 1;
        }
    }

    fn string(&mut self, escapes: bool) -> Result<Token, LexError> {
        let start = self.at;
        let mut value = String::new();
        loop {
            let part = if escapes { self.until_end_of_escaped() } else { self.until_quote(b'\'') };
            value.push_str(&part.ok_or(()).or_else(|()| self.unterminated("quoted string", start))?);
            // Two strings with a line end between them are one.
            let end = self.at;
            let gap = self.bytes[end..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            if !self.bytes[end..end + gap].contains(&b'\n') || self.bytes.get(end + gap) != Some(&b'\'') {
                return Ok(Token::String(value));
            }
            self.at = end + gap;
        }
    }

    /// As [`Self::until_quote`], with C's escapes.
    fn until_end_of_escaped(&mut self) -> Option<String> {
        let mut found = String::new();
        self.at += 1;
        loop {
            let character = self.text[self.at..].chars().next()?;
            self.at += character.len_utf8();
            match character {
                '\'' if self.peek(0) == b'\'' => {
                    self.at += 1;
                    found.push('\'');
                }
                '\'' => return Some(found),
                '\\' => found.push(self.escape()?),
                other => found.push(other),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let character = self.text[self.at..].chars().next()?;
        self.at += character.len_utf8();
        let (radix, max) = match character {
            'b' => return Some('\u{8}'),
            'f' => return Some('\u{c}'),
            'n' => return Some('\n'),
            'r' => return Some('\r'),
            't' => return Some('\t'),
            'x' => (16, 2),
            'u' => (16, 4),
            'U' => (16, 8),
            '0'..='7' => {
                self.at -= 1;
                (8, 3)
            }
            other => return Some(other),
        };
        let digits = self.bytes[self.at..]
            .iter()
            .take(max)
            .take_while(|byte| (**byte as char).is_digit(radix))
            .count();
        let code = u32::from_str_radix(&self.text[self.at..self.at + digits], radix).ok();
        self.at += digits;
        code.and_then(char::from_u32).or(Some(character))
    }

    fn dollar_quoted(&mut self) -> Result<Token, LexError> {
        let start = self.at;
        let rest = &self.bytes[start + 1..];
        let length = rest.iter().position(|byte| !is_name_part(*byte) || *byte == b'$').unwrap_or(rest.len());
        if rest.get(length) != Some(&b'$') {
            self.at += 1;
            return Ok(Token::Operator);
        }
        let tag = &self.text[start..start + length + 2];
        let body = start + tag.len();
        match self.text[body..].find(tag) {
            Some(end) => {
                self.at = body + end + tag.len();
                Ok(Token::String(self.text[body..body + end].to_owned()))
            }
            None => self.unterminated("dollar-quoted string", start),
        }
    }
}

/// Names have at most 63 bytes.
fn cut_name(mut name: String) -> String {
    if name.len() > types::text::MAX_NAME_BYTES {
        name.truncate(name.floor_char_boundary(types::text::MAX_NAME_BYTES));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token> {
        let found = lex(text).unwrap_or_else(|error| panic!("{text}: {}", error.message));
        found.into_iter().map(|it| it.token).filter(|token| *token != Token::End).collect()
    }

    fn word(text: &str) -> Token {
        Token::Word(text.into())
    }

    #[test]
    fn text_is_cut_as_postgresql_cuts_it() {
        let symbol = Token::Symbol;
        let string = |text: &str| Token::String(text.into());
        for (text, expected) in [
            ("1..10", vec![Token::Integer(1), symbol(".."), Token::Integer(10)]),
            ("1.5e3 .5", vec![Token::Number, Token::Number]),
            ("x:=-1", vec![word("x"), symbol(":="), symbol("-"), Token::Integer(1)]),
            ("x=-1", vec![word("x"), symbol("="), symbol("-"), Token::Integer(1)]),
            ("<<L>>", vec![symbol("<<"), word("l"), symbol(">>")]),
            ("t.c%TYPE", vec![word("t"), symbol("."), word("c"), symbol("%"), word("type")]),
            ("a -- ;\n /* ; /* */ ; */ b", vec![word("a"), word("b")]),
            (
                "'a''b' E'\\'\\n' $x$;'$x$ \"A\"\"b\"",
                vec![string("a'b"), string("'\n"), string(";'"), Token::Quoted("A\"b".into())],
            ),
            ("'a'\n'b'", vec![string("ab")]),
            ("$1 ::", vec![Token::Parameter(1), symbol("::")]),
            ("@- <-", vec![Token::Operator, symbol("<"), symbol("-")]),
            ("x'f' é", vec![Token::Bits, word("é")]),
        ] {
            assert_eq!(tokens(text), expected, "{text}");
        }
    }

    #[test]
    fn what_does_not_end_is_refused_where_it_begins() {
        for (text, message, at) in [
            ("a 'b", "unterminated quoted string", 2),
            ("a /* b", "unterminated /* comment", 2),
            ("$a$ b", "unterminated dollar-quoted string", 0),
            ("\"b", "unterminated quoted identifier", 0),
            ("1a", "trailing junk after numeric literal", 0),
        ] {
            let error = lex(text).err().unwrap_or_else(|| panic!("{text}"));
            assert_eq!((error.message.as_str(), error.at), (message, at), "{text}");
        }
    }
}
