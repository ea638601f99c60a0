//! Texts that differ in their literals share a plan: the literals are taken out of a text, and what is left, with
//! parameters in their places, is a statement that the plan cache knows.
//!
//! ```text
//!  UPDATE t SET n = n + 5 WHERE id = 17     UPDATE t SET n = n + 2 WHERE id = 4
//!                 └──────── UPDATE t SET n = n + $1 WHERE id = $2 ────────┘
//! ```
//! A literal is taken out where a parameter of the literal's own type means the same: behind `=`, behind `+` and `-` if it
//! is a number and the operand before it is certain, and as a value of VALUES in an INSERT. What does not fit stays in the text, and a text that is not read
//! with certainty (comments, dollar quotes, subqueries, several statements, …) has no template: it is parsed and planned as it is.
//! An integer has PostgreSQL's type for its size, a number with a point is numeric, and a string has the type that its
//! place gives it, as a literal of unknown type has.
//!
//! **Invariant (answered-as-its-text):** a text that is run by way of a template is answered as it would be without. So the
//! text itself is planned where the template cannot be (errors come with the text's positions), where a literal does not
//! read as its parameter's type, where the plan is not good for every value ([`plan::PreparedPlan::serves_any_value`]), and
//! where the catalog has moved on by the time it runs.

use plan::PreparedPlan;
use smallvec::SmallVec;
use types::{Datum, Formatting, SqlType, text::parse_text};

/// More literals than this are a load of rows: the text does not come again.
const LITERALS_MAX: usize = 64;

/// What may follow a literal that is taken out, besides a comma, a closing parenthesis and the end: nothing that could
/// make another expression of it.
const FOLLOWERS: [&str; 8] = ["AND", "OR", "WHERE", "FROM", "ORDER", "LIMIT", "FOR", "RETURNING"];

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Template {
    pub text: String,
    pub literals: SmallVec<[Literal; 8]>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    /// None for a string: its place decides.
    pub ty: Option<SqlType>,
    /// Of a string without its quotes.
    pub value: String,
}

/// Words behind an `=` that a minus would not take for its left operand.
const NO_OPERANDS: [&str; 9] = ["ANY", "ALL", "SOME", "CASE", "NOT", "ARRAY", "ROW", "INTERVAL", "DISTINCT"];

/// What stands before a token, as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Equals,
    /// A plus or minus behind an operand.
    Sign,
    /// The parenthesis or comma before a value of a row of VALUES.
    InRow,
    /// An operand: a literal, a closing parenthesis, a name where one has to stand.
    Operand,
    /// The point behind such a name.
    Point,
    Other,
}

impl Template {
    /// The template of a text; none where it has no literals that can be taken out.
    pub fn of(text: &str) -> Option<Self> {
        let mut reader = Reader {
            source: text,
            bytes: text.as_bytes(),
            at: 0,
            copied: 0,
            before: Before::Other,
            depth: 0,
            is_insert: false,
            in_rows: false,
            template: Self { text: String::with_capacity(text.len()), literals: SmallVec::new() },
        };
        reader.read()?;
        let Reader { template, copied, .. } = reader;
        let mut template = template;
        template.text.push_str(&text[copied..]);
        (!template.literals.is_empty()).then_some(template)
    }

    pub fn hints(&self) -> SmallVec<[Option<SqlType>; 8]> {
        self.literals.iter().map(|literal| literal.ty).collect()
    }

    /// Whether a plan's parameters are of types that literals are read as here.
    pub fn fits(&self, plan: &PreparedPlan) -> bool {
        let fits = |(literal, ty): (&Literal, &SqlType)| match literal.ty {
            Some(own) => own == *ty,
            None => reads_alike(ty, ""),
        };
        plan.params.len() == self.literals.len() && self.literals.iter().zip(&plan.params).all(fits)
    }

    /// The literals as values of a plan's parameters; none where one does not read as such.
    pub fn values(&self, plan: &PreparedPlan, formatting: &Formatting) -> Option<Vec<Datum>> {
        if !self.fits(plan) {
            return None;
        }
        let value = |(literal, ty): (&Literal, &SqlType)| {
            let is_read = literal.ty.is_some() || reads_alike(ty, &literal.value);
            is_read.then(|| parse_text(ty, &literal.value, formatting).ok())?
        };
        self.literals.iter().zip(&plan.params).map(value).collect()
    }
}

/// Whether a string means the same to a parameter of this type as to a literal, now and when it is read again.
fn reads_alike(ty: &SqlType, value: &str) -> bool {
    match ty {
        SqlType::Varchar(Some(length)) | SqlType::Char(Some(length)) => value.len() <= *length as usize,
        SqlType::Text
        | SqlType::Varchar(None)
        | SqlType::Char(None)
        | SqlType::Bool
        | SqlType::Int2
        | SqlType::Int4
        | SqlType::Int8
        | SqlType::Float4
        | SqlType::Float8
        | SqlType::Numeric(None)
        | SqlType::Uuid => true,
        // Not `now`, `today` and the like, nor names of time zones.
        SqlType::Date | SqlType::Timestamp(None) | SqlType::TimestampTz(None) => {
            value.bytes().all(|byte| !byte.is_ascii_alphabetic())
        }
        _ => false,
    }
}

struct Reader<'a> {
    source: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// The text up to here is in the template.
    copied: usize,
    before: Before,
    depth: usize,
    is_insert: bool,
    /// Behind VALUES.
    in_rows: bool,
    template: Template,
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

const fn is_operator(byte: u8) -> bool {
    matches!(
        byte,
        b'+' | b'-' | b'*' | b'/' | b'<' | b'>' | b'=' | b'~' | b'!' | b'@' | b'#' | b'%' | b'^' | b'&' | b'|' | b'`' | b'?'
    )
}

impl Reader<'_> {
    /// None where the text is to be parsed as it is.
    fn read(&mut self) -> Option<()> {
        let first = {
            self.blanks();
            let start = self.at;
            self.word();
            &self.source[start..self.at]
        };
        self.is_insert = first.eq_ignore_ascii_case("INSERT");
        if !self.is_insert && !["SELECT", "UPDATE", "DELETE"].iter().any(|word| first.eq_ignore_ascii_case(word)) {
            return None;
        }
        loop {
            self.blanks();
            let Some(&byte) = self.bytes.get(self.at) else { return Some(()) };
            match byte {
                b'\'' => self.string()?,
                b'0'..=b'9' => self.number(self.at)?,
                b'"' => {
                    let length = self.source[self.at + 1..].find('"')?;
                    self.at += length + 2;
                    self.before = Before::Operand;
                }
                b'(' => {
                    self.depth += 1;
                    self.at += 1;
                    self.before = if self.in_rows && self.depth == 1 { Before::InRow } else { Before::Other };
                }
                b')' => {
                    self.depth = self.depth.checked_sub(1)?;
                    self.at += 1;
                    self.before = Before::Operand;
                }
                b',' => {
                    self.at += 1;
                    self.before = if self.in_rows && self.depth == 1 { Before::InRow } else { Before::Other };
                }
                b';' => {
                    self.at += 1;
                    self.blanks();
                    return (self.at == self.bytes.len()).then_some(());
                }
                b'$' | b'\\' | 0 => return None,
                _ if is_word(byte) => {
                    let start = self.at;
                    self.word();
                    // The prefix of a string: E'…', N'…', X'…'.
                    if self.bytes.get(self.at) == Some(&b'\'') {
                        return None;
                    }
                    self.note_word(start)?;
                    let is = |word: &&str| self.source[start..self.at].eq_ignore_ascii_case(word);
                    // Elsewhere it may be a keyword, behind which a minus is a sign: ORDER BY -1.
                    let is_operand = matches!(self.before, Before::Equals | Before::Sign | Before::Point)
                        && !NO_OPERANDS.iter().any(is);
                    self.before = if is_operand { Before::Operand } else { Before::Other };
                }
                b'.' => {
                    self.at += 1;
                    self.before = if self.before == Before::Operand { Before::Point } else { Before::Other };
                }
                // A named argument.
                b':' if self.bytes.get(self.at + 1) == Some(&b'=') => {
                    self.at += 2;
                    self.before = Before::Other;
                }
                _ if is_operator(byte) => self.operator()?,
                _ => {
                    self.at += 1;
                    self.before = Before::Other;
                }
            }
        }
    }

    fn blanks(&mut self) {
        while self.bytes.get(self.at).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\x0b' | b'\x0c')) {
            self.at += 1;
        }
    }

    fn word(&mut self) {
        while self.bytes.get(self.at).is_some_and(|byte| is_word(*byte)) {
            self.at += 1;
        }
    }

    /// None for a query within the statement: what its plan is does not show in the statement's.
    fn note_word(&mut self, start: usize) -> Option<()> {
        let word = &self.source[start..self.at];
        let is_query = |word: &str| word.eq_ignore_ascii_case("SELECT") || word.eq_ignore_ascii_case("TABLE");
        if is_query(word) || self.depth > 0 && word.eq_ignore_ascii_case("VALUES") {
            return None;
        }
        if self.depth > 0 || !self.is_insert {
            return Some(());
        }
        if word.eq_ignore_ascii_case("VALUES") {
            self.in_rows = true;
        } else if word.eq_ignore_ascii_case("ON") || word.eq_ignore_ascii_case("RETURNING") {
            self.in_rows = false;
        }
        Some(())
    }

    fn operator(&mut self) -> Option<()> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(|byte| is_operator(*byte)) {
            self.at += 1;
        }
        let run = &self.source[start..self.at];
        // Comments.
        if run.contains("--") || run.contains("/*") {
            return None;
        }
        match (run, self.before) {
            ("=", _) => self.before = Before::Equals,
            ("-", Before::Equals | Before::InRow) => return self.negative(start),
            ("=-", _) => return self.negative(self.at - 1),
            ("+" | "-", Before::Operand) => self.before = Before::Sign,
            _ => self.before = Before::Other,
        }
        Some(())
    }

    /// A minus that begins an operand.
    fn negative(&mut self, start: usize) -> Option<()> {
        if self.source[start + 1..self.at].is_empty() && self.source[..start].ends_with('=') {
            self.before = Before::Equals;
        }
        if self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            return self.number(start);
        }
        self.before = Before::Other;
        Some(())
    }

    /// A number, which begins at `start` with its sign.
    fn number(&mut self, start: usize) -> Option<()> {
        let before = self.before;
        let digits = |this: &mut Self| {
            while this.bytes.get(this.at).is_some_and(u8::is_ascii_digit) {
                this.at += 1;
            }
        };
        digits(self);
        let is_whole = self.bytes.get(self.at) != Some(&b'.');
        if !is_whole {
            self.at += 1;
            digits(self);
        }
        // 1e5, 0x1F, 1_000, 1.2.3: to the parser.
        if self.bytes.get(self.at).is_some_and(|byte| is_word(*byte) || *byte == b'.') {
            return None;
        }
        self.before = Before::Operand;
        if !matches!(before, Before::Equals | Before::Sign | Before::InRow) || !self.ends_here(before) {
            return Some(());
        }
        let ty = if is_whole {
            // By its size with its sign: the smallest integers have no positive counterparts.
            match self.source[start..self.at].parse::<i64>() {
                Ok(value) if i32::try_from(value).is_ok() => SqlType::Int4,
                Ok(_) => SqlType::Int8,
                Err(_) => SqlType::Numeric(None),
            }
        } else {
            SqlType::Numeric(None)
        };
        self.take(start, Literal { ty: Some(ty), value: self.source[start..self.at].to_owned() })
    }

    fn string(&mut self) -> Option<()> {
        let (before, start) = (self.before, self.at);
        let mut value = String::new();
        loop {
            let rest = &self.source[self.at + 1..];
            let length = rest.find('\'')?;
            value.push_str(&rest[..length]);
            self.at += length + 2;
            if self.bytes.get(self.at) != Some(&b'\'') {
                break;
            }
            value.push('\'');
        }
        self.before = Before::Operand;
        if !matches!(before, Before::Equals | Before::InRow) || !self.ends_here(before) {
            return Some(());
        }
        self.take(start, Literal { ty: None, value })
    }

    /// Whether the expression ends with the literal that was just read, or goes on with another operand of AND or OR.
    fn ends_here(&self, before: Before) -> bool {
        let rest = self.source[self.at..].trim_start();
        match rest.as_bytes().first() {
            None | Some(b',' | b')') => true,
            _ if before == Before::InRow => false,
            Some(b';') => true,
            Some(byte) if is_word(*byte) => {
                let length = rest.bytes().position(|byte| !is_word(byte)).unwrap_or(rest.len());
                FOLLOWERS.iter().any(|word| rest[..length].eq_ignore_ascii_case(word))
            }
            Some(_) => false,
        }
    }

    fn take(&mut self, start: usize, literal: Literal) -> Option<()> {
        use std::fmt::Write as _;
        if self.template.literals.len() == LITERALS_MAX {
            return None;
        }
        self.template.literals.push(literal);
        self.template.text.push_str(&self.source[self.copied..start]);
        write!(self.template.text, "${}", self.template.literals.len()).ok()?;
        self.copied = self.at;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Option<(String, Vec<String>)> {
        let template = Template::of(text)?;
        let literals = template.literals.iter().map(|it| {
            let ty = it.ty.map_or_else(|| "?".to_owned(), |ty| format!("{ty:?}"));
            format!("{}:{ty}", it.value)
        });
        Some((template.text, literals.collect()))
    }

    #[test]
    fn literals_are_taken_out_where_a_parameter_means_the_same() {
        let cases: &[(&str, &str, &[&str])] = &[
            ("SELECT a FROM t WHERE id = 17", "SELECT a FROM t WHERE id = $1", &["17:Int4"]),
            ("select a from t where id=17 and s='it''s';", "select a from t where id=$1 and s=$2;", &["17:Int4", "it's:?"]),
            (
                "UPDATE t SET n = n + 5, m = m - 2.50 WHERE id = -3000000000",
                "UPDATE t SET n = n + $1, m = m - $2 WHERE id = $3",
                &["5:Int4", "2.50:Numeric(None)", "-3000000000:Int8"],
            ),
            (
                "INSERT INTO t (a, b) VALUES (1, 'x'), (-2, now()) RETURNING a",
                "INSERT INTO t (a, b) VALUES ($1, $2), ($3, now()) RETURNING a",
                &["1:Int4", "x:?", "-2:Int4"],
            ),
            (
                "UPDATE t SET a = t.a + 1, b = b - c - 2 WHERE id =-2147483648",
                "UPDATE t SET a = t.a + $1, b = b - c - $2 WHERE id =$3",
                &["1:Int4", "2:Int4", "-2147483648:Int4"],
            ),
            // A sign where an operand begins.
            ("SELECT -5 FROM t WHERE id = 1 ORDER BY -1 LIMIT -2", "SELECT -5 FROM t WHERE id = $1 ORDER BY -1 LIMIT -2", &["1:Int4"]),
            ("SELECT a - 5 FROM t WHERE a = CASE - 1 WHEN 2 THEN 3 END AND b = 1", "SELECT a - 5 FROM t WHERE a = CASE - 1 WHEN 2 THEN 3 END AND b = $1", &["1:Int4"]),
            ("SELECT f(x := 5) FROM t WHERE a BETWEEN -5 AND 6 AND b = 1", "SELECT f(x := 5) FROM t WHERE a BETWEEN -5 AND 6 AND b = $1", &["1:Int4"]),
            // What stays: arguments, limits, casts, other operators, what is no operand by itself.
            ("SELECT f(1) FROM t WHERE id = 1 LIMIT 2", "SELECT f(1) FROM t WHERE id = $1 LIMIT 2", &["1:Int4"]),
            ("SELECT 1 FROM t WHERE a = '1'::int AND b = 2 * 3 AND c = 4", "SELECT 1 FROM t WHERE a = '1'::int AND b = 2 * 3 AND c = $1", &["4:Int4"]),
            ("SELECT a FROM t WHERE d > 5 AND e <= 6 AND f = 7", "SELECT a FROM t WHERE d > 5 AND e <= 6 AND f = $1", &["7:Int4"]),
            ("SELECT a FROM \"t = 5\" WHERE \"x\"\"y\" =- 5", "SELECT a FROM \"t = 5\" WHERE \"x\"\"y\" =- 5", &[]),
            ("DELETE FROM t WHERE a =-5 OR b = 99999999999999999999", "DELETE FROM t WHERE a =$1 OR b = $2", &["-5:Int4", "99999999999999999999:Numeric(None)"]),
            ("SELECT a FROM t WHERE d = date '2020-01-01' AND i = interval '1' day AND a = 1", "SELECT a FROM t WHERE d = date '2020-01-01' AND i = interval '1' day AND a = $1", &["1:Int4"]),
            ("INSERT INTO t VALUES (1 + 2, (3), 4)", "INSERT INTO t VALUES (1 + $1, (3), $2)", &["2:Int4", "4:Int4"]),
            ("SELECT a FROM t WHERE a = 1 COLLATE \"C\" AND b = 2", "SELECT a FROM t WHERE a = 1 COLLATE \"C\" AND b = $1", &["2:Int4"]),
        ];
        for (text, wanted, literals) in cases {
            let found = template(text);
            if literals.is_empty() {
                assert_eq!(found, None, "{text}");
                continue;
            }
            let wanted = ((*wanted).to_owned(), literals.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
            assert_eq!(found, Some(wanted), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_not_read_with_certainty_has_none() {
        for text in [
            "",
            "BEGIN",
            "EXPLAIN SELECT a FROM t WHERE a = 1",
            "WITH x AS (SELECT 1) SELECT * FROM x WHERE a = 1",
            "SELECT a FROM t WHERE a = 1; SELECT 2",
            "SELECT (SELECT max(b) FROM u WHERE c = 1) FROM t WHERE a = 1",
            "SELECT a FROM t WHERE a = 1 AND b IN (VALUES (1), (2))",
            "INSERT INTO t SELECT 1 FROM u WHERE a = 1",
            "SELECT a -- b = 1\n FROM t WHERE c = 1",
            "SELECT a /* b = 1 */ FROM t WHERE c = 1",
            "SELECT a FROM t WHERE b = $1 AND c = 1",
            "SELECT a FROM t WHERE b = $$x$$ AND c = 1",
            "SELECT a FROM t WHERE b = E'\\n' AND c = 1",
            "SELECT a FROM t WHERE b = 1e5 AND c = 1",
            "SELECT a FROM t WHERE b = 0x1F AND c = 1",
            "SELECT a FROM t WHERE b = 1) AND c = 1",
            "SELECT a FROM t WHERE b = 'x",
            "SELECT a FROM \"t WHERE b = 1",
        ] {
            assert_eq!(template(text), None, "{text}");
        }
        let many = format!("INSERT INTO t VALUES ({})", vec!["1"; LITERALS_MAX + 1].join(", "));
        assert_eq!(template(&many), None);
    }
}
