//! Statements that differ in their literals are one statement in statistics: each literal becomes a parameter.
//!
//! ```text
//!  SELECT a FROM t WHERE b = 'x' LIMIT 5   ──▶   SELECT a FROM t WHERE b = $1 LIMIT $2
//! ```
//! It is a reading of words and not of syntax, so it costs about as much as a copy of the text, and takes any text. Comments
//! go, runs of blanks become one. **Invariant (literals-out):** no string and no number of the text is in what comes out,
//! whatever the text is: a string that does not end goes up to the end of the text.

/// Longer fingerprints are cut: the rest is not read.
pub(crate) const LENGTH_MAX: usize = 2048;

/// What numbers parameters have that the text has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parameters {
    /// As the client has numbered them; literals get numbers above.
    Kept,
    /// In the order of the text, with the literals: which literals a template has taken out does not show.
    Renumbered,
}

/// Keywords behind which an operand begins, so that a minus is a sign.
const BEFORE_OPERANDS: [&str; 30] = [
    "SELECT", "WHERE", "AND", "OR", "NOT", "THEN", "WHEN", "ELSE", "CASE", "BY", "LIMIT", "OFFSET", "RETURNING", "IN", "BETWEEN",
    "LIKE", "ILIKE", "VALUES", "SET", "ON", "USING", "HAVING", "DISTINCT", "ALL", "FROM", "TO", "IS", "AS", "DEFAULT", "FETCH",
];

/// The text without its literals.
pub(crate) fn fingerprint(text: &str, parameters: Parameters) -> String {
    let next = match parameters {
        Parameters::Kept => highest_parameter(text) + 1,
        Parameters::Renumbered => 1,
    };
    let reader = Reader {
        text,
        bytes: text.as_bytes(),
        at: 0,
        out: String::with_capacity(text.len().min(LENGTH_MAX) + 16),
        next,
        parameters,
        is_behind_operand: false,
        has_gap: false,
    };
    reader.read()
}

/// Of the parameters of the text; it may find more where a string looks like one, which only leaves numbers out.
fn highest_parameter(text: &str) -> u32 {
    let parts = text.split('$').skip(1);
    let number = |part: &str| {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        part[..digits].parse::<u32>().ok().filter(|number| *number <= 0xffff)
    };
    parts.filter_map(number).max().unwrap_or(0)
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    out: String,
    next: u32,
    parameters: Parameters,
    /// What was read last may be the left side of a minus.
    is_behind_operand: bool,
    /// Blanks or a comment lie before what comes next.
    has_gap: bool,
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn read(mut self) -> String {
        // One more than it may have: then something is left out.
        while self.out.len() <= LENGTH_MAX
            && let Some(&byte) = self.bytes.get(self.at)
        {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => {
                    self.at += 1;
                    self.has_gap = true;
                }
                b'-' if self.peek(1) == b'-' => self.line_comment(),
                b'/' if self.peek(1) == b'*' => self.block_comment(),
                b'\'' => {
                    self.string(false);
                    self.literal();
                }
                b'"' => {
                    let end = self.end_of_quoted(b'"', false);
                    self.copy(end);
                    self.is_behind_operand = true;
                }
                b'0'..=b'9' => self.number(),
                b'.' if self.peek(1).is_ascii_digit() && !self.is_behind_operand => self.number(),
                b'-' if !self.is_behind_operand && self.begins_number(1 + self.blanks_behind()) => {
                    self.at += 1 + self.blanks_behind();
                    self.number();
                }
                b'$' => self.dollar(),
                _ if is_word(byte) => self.word(),
                // What separates statements; at the end it is no part of one.
                b';' if self.bytes[self.at + 1..].iter().all(|byte| byte.is_ascii_whitespace() || *byte == b';') => break,
                _ => {
                    self.copy(self.at + 1);
                    self.is_behind_operand = matches!(byte, b')' | b']');
                }
            }
        }
        // One word may be as long as the text.
        if self.out.len() > LENGTH_MAX {
            let end = (0..=LENGTH_MAX).rev().find(|end| self.out.is_char_boundary(*end)).unwrap_or(0);
            self.out.truncate(end);
            self.out.push('…');
            self.out.shrink_to_fit();
        }
        self.out
    }

    /// Behind the byte at hand.
    fn blanks_behind(&self) -> usize {
        self.bytes[self.at + 1..].iter().take_while(|byte| byte.is_ascii_whitespace()).count()
    }

    fn begins_number(&self, ahead: usize) -> bool {
        let byte = self.peek(ahead);
        byte.is_ascii_digit() || byte == b'.' && self.peek(ahead + 1).is_ascii_digit()
    }

    fn gap(&mut self) {
        if std::mem::take(&mut self.has_gap) && !self.out.is_empty() {
            self.out.push(' ');
        }
    }

    fn copy(&mut self, end: usize) {
        self.gap();
        self.out.push_str(&self.text[self.at..end]);
        self.at = end;
    }

    /// A parameter in the place of what was just read.
    fn literal(&mut self) {
        use std::fmt::Write as _;
        self.gap();
        // Writing to a string does not fail.
        let _infallible = write!(self.out, "${}", self.next);
        self.next += 1;
        self.is_behind_operand = true;
    }

    fn line_comment(&mut self) {
        let rest = &self.bytes[self.at..];
        self.at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        self.has_gap = true;
    }

    /// They nest.
    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        while self.at < self.bytes.len() {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        break;
                    }
                }
                _ => self.at += 1,
            }
        }
        self.has_gap = true;
    }

    /// Where what is quoted ends that begins here; doubled quotes are part of it.
    fn end_of_quoted(&self, quote: u8, has_escapes: bool) -> usize {
        let mut at = self.at + 1;
        while let Some(&byte) = self.bytes.get(at) {
            at += 1;
            if byte == b'\\' && has_escapes {
                at += 1;
            } else if byte == quote {
                if self.bytes.get(at) != Some(&quote) {
                    return at;
                }
                at += 1;
            }
        }
        self.bytes.len()
    }

    /// Passes over a string.
    fn string(&mut self, has_escapes: bool) {
        self.at = self.end_of_quoted(b'\'', has_escapes);
    }

    fn number(&mut self) {
        while is_word(self.peek(0)) || self.peek(0) == b'.' {
            let is_exponent = matches!(self.peek(0), b'e' | b'E') && matches!(self.peek(1), b'+' | b'-') && self.peek(2).is_ascii_digit();
            self.at += if is_exponent { 2 } else { 1 };
        }
        self.literal();
    }

    /// A parameter, or a string in dollar quotes.
    fn dollar(&mut self) {
        let rest = &self.text[self.at + 1..];
        let length = rest.bytes().take_while(|byte| is_word(*byte) && *byte != b'$').count();
        if length > 0 && rest.as_bytes()[0].is_ascii_digit() {
            match self.parameters {
                Parameters::Kept => self.copy(self.at + 1 + length),
                Parameters::Renumbered => {
                    self.at += 1 + length;
                    self.literal();
                }
            }
            self.is_behind_operand = true;
        } else if rest.as_bytes().get(length) == Some(&b'$') {
            let tag = &self.text[self.at..self.at + length + 2];
            let body = self.at + tag.len();
            let end = self.text[body..].find(tag).map(|found| body + found + tag.len());
            self.at = end.unwrap_or(self.bytes.len());
            self.literal();
        } else {
            self.copy(self.at + 1);
            self.is_behind_operand = false;
        }
    }

    fn word(&mut self) {
        let mut end = self.at;
        while self.bytes.get(end).is_some_and(|byte| is_word(*byte)) {
            end += 1;
        }
        let word = &self.text[self.at..end];
        let is = |known: &str| word.eq_ignore_ascii_case(known);
        // E'…', B'…', X'…', N'…' and U&'…'.
        let prefixed = match self.bytes.get(end) {
            Some(b'\'') if is("E") || is("B") || is("X") || is("N") => Some(end),
            Some(b'&') if is("U") && self.bytes.get(end + 1) == Some(&b'\'') => Some(end + 1),
            _ => None,
        };
        if let Some(quote) = prefixed {
            let has_escapes = is("E");
            self.at = quote;
            self.string(has_escapes);
            return self.literal();
        }
        let begins_operand = BEFORE_OPERANDS.iter().any(|known| is(known));
        self.copy(end);
        self.is_behind_operand = !begins_operand;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_become_parameters() {
        let cases = [
            ("SELECT a FROM t WHERE b = 'x''y' AND c=-5 LIMIT 10;", "SELECT a FROM t WHERE b = $1 AND c=$2 LIMIT $3"),
            ("select  1.5e-3 ,\n .5, 0x1F, 1_000", "select $1 , $2, $3, $4"),
            ("SELECT n - 1, n -1, (n)-1, -1 FROM t1", "SELECT n - $1, n -$2, (n)-$3, $4 FROM t1"),
            ("INSERT INTO t2 VALUES (-1, E'a\\'b', $tag$x $$ y$tag$)", "INSERT INTO t2 VALUES ($1, $2, $3)"),
            ("SELECT \"a 'b' 1\" /* 'secret' /* 7 */ 8 */ FROM t -- 9", "SELECT \"a 'b' 1\" FROM t"),
            ("SELECT date '2020-01-01', interval '1' day, x'ff', U&'\\0041', n'a'", "SELECT date $1, interval $2 day, $3, $4, $5"),
            ("ALTER ROLE a PASSWORD 'secret'", "ALTER ROLE a PASSWORD $1"),
            ("SELECT a[1], t.c1 FROM t", "SELECT a[$1], t.c1 FROM t"),
            ("SELECT 'never ends, secret", "SELECT $1"),
            ("SELECT $$never ends, secret", "SELECT $1"),
            (";", ""),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(fingerprint(text, Parameters::Renumbered), expected, "{text}");
        }
    }

    /// As `pg_stat_statements` of PostgreSQL 15.18 shows them.
    #[test]
    fn fingerprints_are_postgresqls() {
        let cases = [
            ("SELECT -a, - 5, +3, 2 ^ -1, a*-1 FROM t", "SELECT -a, $1, +$2, $3 ^ $4, a*$5 FROM t"),
            ("SELECT ARRAY[1,2], '{1,2}'::int[] FROM t", "SELECT ARRAY[$1,$2], $3::int[] FROM t"),
            ("SELECT CASE WHEN a = 1 THEN -1 ELSE 2 END FROM t", "SELECT CASE WHEN a = $1 THEN $2 ELSE $3 END FROM t"),
            ("SELECT a FROM t WHERE (a, n) = (1, 2)", "SELECT a FROM t WHERE (a, n) = ($1, $2)"),
            (
                "SELECT a FROM t WHERE a IN (1, 2, 3) ORDER BY -1 + a LIMIT 5 OFFSET 2",
                "SELECT a FROM t WHERE a IN ($1, $2, $3) ORDER BY $4 + a LIMIT $5 OFFSET $6",
            ),
            ("SELECT a FROM t WHERE b LIKE 'x%' AND a BETWEEN -1 AND 5", "SELECT a FROM t WHERE b LIKE $1 AND a BETWEEN $2 AND $3"),
            ("SELECT count(*) FROM t GROUP BY a HAVING count(*) > 3", "SELECT count(*) FROM t GROUP BY a HAVING count(*) > $1"),
            ("DELETE FROM t WHERE id = 4 RETURNING id + 1", "DELETE FROM t WHERE id = $1 RETURNING id + $2"),
            ("WITH x AS (SELECT 1 AS y) SELECT y + 1 FROM x", "WITH x AS (SELECT $1 AS y) SELECT y + $2 FROM x"),
            ("UPDATE t SET n = n + 5, m = m - 2.50 WHERE id = -3", "UPDATE t SET n = n + $1, m = m - $2 WHERE id = $3"),
        ];
        for (text, expected) in cases {
            assert_eq!(fingerprint(text, Parameters::Kept), expected, "{text}");
        }
    }

    #[test]
    fn parameters_keep_their_numbers_where_they_are_the_clients() {
        let text = "SELECT a FROM t WHERE b = $2 AND c = $1 LIMIT 10";
        assert_eq!(fingerprint(text, Parameters::Kept), "SELECT a FROM t WHERE b = $2 AND c = $1 LIMIT $3");
        assert_eq!(fingerprint(text, Parameters::Renumbered), "SELECT a FROM t WHERE b = $1 AND c = $2 LIMIT $3");
    }

    /// The template of a text has the fingerprint of the text.
    #[test]
    fn a_template_has_the_fingerprint_of_its_texts() {
        for text in [
            "SELECT f(1) FROM t WHERE id = 17 AND d > 5 LIMIT 2",
            "UPDATE t SET n = n + 5, m = m - 2.50 WHERE id = -3000000000",
            "INSERT INTO t (a, b) VALUES (1, 'x'), (-2, now()) RETURNING a",
            "UPDATE t SET a = t.a + 1, b = b - c - 2 WHERE id =-2147483648",
            "SELECT -5 FROM t WHERE id = 1 ORDER BY -1 LIMIT -2",
            "SELECT a FROM t WHERE d = date '2020-01-01' AND i = interval '1' day AND a = 1",
        ] {
            let template = crate::template::Template::of(text).expect("it has literals that are taken out");
            let found = fingerprint(&template.text, Parameters::Renumbered);
            assert_eq!(found, fingerprint(text, Parameters::Renumbered), "{text}");
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let text = format!("SELECT {}", "abc, ".repeat(LENGTH_MAX));
        let found = fingerprint(&text, Parameters::Kept);
        assert!(found.len() < LENGTH_MAX + 16 && found.ends_with('…'), "{} bytes", found.len());
        // Cut within what has several bytes each.
        let found = fingerprint(&format!("x{} y", "ä".repeat(5000)), Parameters::Kept);
        assert!(found.len() < LENGTH_MAX + 16 && found.ends_with("ä…"), "{} bytes", found.len());
        // At its end is one that is longer than all may be.
        let long = "a".repeat(100_000);
        for text in [format!("SELECT {long}"), format!("SELECT \"{long}\""), format!("SELECT \"{long}")] {
            let found = fingerprint(&text, Parameters::Kept);
            assert!(found.len() < LENGTH_MAX + 16 && found.ends_with("a…"), "{} bytes", found.len());
        }
        // As long as it may be, and no longer.
        let text = format!("SELECT {}", "a".repeat(LENGTH_MAX - 7));
        assert_eq!(fingerprint(&text, Parameters::Kept), text);
    }
}
