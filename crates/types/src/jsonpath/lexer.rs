//! The tokens of a path.

use crate::error::{SqlError, SqlResult, SqlState};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A word without quotes; keywords are among them.
    Word(String),
    String(String),
    Variable(String),
    /// Digits, perhaps with a point and an exponent.
    Number(String),
    Symbol(&'static str),
    End,
}

pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

pub(super) fn error_near(what: &str, near: &str) -> SqlError {
    let message = match near.is_empty() {
        true => format!("{what} at end of jsonpath input"),
        false => format!("{what} at or near \"{near}\" of jsonpath input"),
    };
    SqlError::new(SqlState::SyntaxError, message)
}

const SYMBOLS: [&str; 26] = [
    "&&", "||", "==", "!=", "<>", "<=", ">=", "**", "!", "<", ">", "*", "?", "(", ")", "[", "]", "{", "}", ",", ".", "+", "-",
    "/", "%", "@",
];

fn ends_a_word(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b' || "?%$.[]{}()|&!=<>@#,*:-+/\\\"".contains(c)
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip(&mut self) -> SqlResult<()> {
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b').len();
            self.at += blanks;
            if !self.rest().starts_with("/*") {
                return Ok(());
            }
            match self.rest().find("*/") {
                Some(end) => self.at += end + 2,
                None => return Err(error_near("unexpected end of comment", "")),
            }
        }
    }

    /// The next token, and how it is written.
    pub fn next(&mut self) -> SqlResult<(Token, &'a str)> {
        self.skip()?;
        let from = self.at;
        let token = self.token()?;
        Ok((token, &self.text[from..self.at]))
    }

    fn token(&mut self) -> SqlResult<Token> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(Token::End) };
        let second = rest[first.len_utf8()..].chars().next();
        match first {
            '"' => {
                self.at += 1;
                self.quoted().map(Token::String)
            }
            '$' => {
                self.at += 1;
                match second {
                    Some('"') => {
                        self.at += 1;
                        self.quoted().map(Token::Variable)
                    }
                    Some(c) if !ends_a_word(c) => self.word().map(Token::Variable),
                    _ => Ok(Token::Symbol("$")),
                }
            }
            '0'..='9' => self.number(),
            '.' if second.is_some_and(|c| c.is_ascii_digit()) => self.number(),
            '\\' => self.word().map(Token::Word),
            c if !ends_a_word(c) => self.word().map(Token::Word),
            _ => match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
                Some(symbol) => {
                    self.at += symbol.len();
                    Ok(Token::Symbol(*symbol))
                }
                None => Err(error_near("syntax error", &rest[..first.len_utf8()])),
            },
        }
    }

    fn number(&mut self) -> SqlResult<Token> {
        let from = self.at;
        let rest = self.rest();
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let mut length = digits(rest);
        if rest[length..].starts_with('.') && (length == 0 || !rest[length + 1..].starts_with('.')) {
            let fraction = digits(&rest[length + 1..]);
            length += 1 + fraction;
        }
        if rest[length..].starts_with(['e', 'E']) {
            let sign = usize::from(rest[length + 1..].starts_with(['+', '-']));
            let exponent = digits(&rest[length + 1 + sign..]);
            if exponent == 0 {
                return Err(error_near("trailing junk after numeric literal", &rest[..length + 1]));
            }
            length += 1 + sign + exponent;
        }
        if let Some(c) = rest[length..].chars().next().filter(|c| !ends_a_word(*c)) {
            return Err(error_near("trailing junk after numeric literal", &rest[..length + c.len_utf8()]));
        }
        let is_octal = length > 1 && rest.starts_with('0') && rest.as_bytes()[1].is_ascii_digit();
        if is_octal {
            return Err(error_near("trailing junk after numeric literal", &rest[..2]));
        }
        self.at = from + length;
        Ok(Token::Number(rest[..length].to_owned()))
    }

    fn word(&mut self) -> SqlResult<String> {
        let mut word = String::new();
        while let Some(c) = self.rest().chars().next() {
            if c == '\\' {
                self.escape(&mut word)?;
            } else if ends_a_word(c) {
                break;
            } else {
                word.push(c);
                self.at += c.len_utf8();
            }
        }
        Ok(word)
    }

    fn quoted(&mut self) -> SqlResult<String> {
        let mut text = String::new();
        loop {
            match self.rest().chars().next() {
                None => return Err(error_near("unterminated quoted string", "")),
                Some('"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some('\\') => self.escape(&mut text)?,
                Some(c) => {
                    text.push(c);
                    self.at += c.len_utf8();
                }
            }
        }
    }

    /// What is behind a backslash, as in JSON, and `\x41`, `\u{41}`.
    fn escape(&mut self, out: &mut String) -> SqlResult<()> {
        self.at += 1;
        let Some(c) = self.rest().chars().next() else { return Err(error_near("unexpected end after backslash", "")) };
        self.at += c.len_utf8();
        out.push(match c {
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            'x' => self.hex(2, "invalid hex character sequence")?,
            'u' => match self.rest().strip_prefix('{').and_then(|rest| rest.split_once('}')) {
                Some((digits, _)) if (1..=6).contains(&digits.len()) => {
                    self.at += 1;
                    let c = self.hex(digits.len(), "invalid Unicode escape sequence")?;
                    self.at += 1;
                    c
                }
                _ => self.utf16()?,
            },
            other => other,
        });
        Ok(())
    }

    fn code(&mut self, digits: usize, wrong: &str) -> SqlResult<u32> {
        let code = self.rest().get(..digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let code = code.and_then(|text| u32::from_str_radix(text, 16).ok());
        let code = code.ok_or_else(|| error_near(wrong, &self.text[self.at.saturating_sub(2)..self.at]))?;
        self.at += digits;
        Ok(code)
    }

    fn character(code: u32) -> SqlResult<char> {
        match char::from_u32(code).filter(|c| *c != '\0') {
            Some(c) => Ok(c),
            None if code == 0 => Err(SqlError::new(SqlState::UntranslatableCharacter, "unsupported Unicode escape sequence")
                .with_detail("\\u0000 cannot be converted to text.")),
            None => Err(SqlError::new(SqlState::InvalidTextRepresentation, "invalid input syntax for type jsonpath")
                .with_detail("Unicode low surrogate must follow a high surrogate.")),
        }
    }

    fn hex(&mut self, digits: usize, wrong: &str) -> SqlResult<char> {
        let code = self.code(digits, wrong)?;
        Self::character(code)
    }

    fn utf16(&mut self) -> SqlResult<char> {
        const WRONG: &str = "invalid Unicode escape sequence";
        let first = self.code(4, WRONG)?;
        if (0xd800..0xdc00).contains(&first) && self.rest().starts_with("\\u") {
            self.at += 2;
            let second = self.code(4, WRONG)?;
            if (0xdc00..0xe000).contains(&second) {
                return Self::character(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00));
            }
        }
        Self::character(first)
    }
}
