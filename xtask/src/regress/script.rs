//! A psql script cut where its statements end, as psql itself would cut it.

/// One statement, or one backslash command that stands alone, with the comments before it and the data lines of a COPY.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The line it begins at, from 1.
    pub line: usize,
    pub text: String,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SQL that a server answers.
    Statement,
    /// `\d` and its kin: queries of psql's own.
    Describe,
    /// Anything else psql does by itself, and comments.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Inside {
    Nothing,
    /// `'…'`; with backslash escapes in `E'…'`.
    Quoted { escapes: bool },
    Identifier,
    Dollar(String),
    /// Block comments nest.
    Comment(u32),
}

/// Where psql's reader stands at the end of a line.
struct Reader {
    inside: Inside,
    parentheses: u32,
    /// `BEGIN ATOMIC … END` of an SQL function's body.
    atomic_depth: u32,
    words: Vec<String>,
    has_text: bool,
    ended: bool,
}

impl Reader {
    fn new() -> Self {
        Self { inside: Inside::Nothing, parentheses: 0, atomic_depth: 0, words: Vec::new(), has_text: false, ended: false }
    }

    /// Reads one line; `ended` says whether its last statement is complete.
    fn line(&mut self, line: &str) {
        let bytes = line.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let rest = &line[at..];
            match &mut self.inside {
                Inside::Quoted { escapes } => {
                    if *escapes && bytes[at] == b'\\' {
                        at += 1;
                    } else if bytes[at] == b'\'' {
                        self.inside = Inside::Nothing;
                    }
                    at += 1;
                }
                Inside::Identifier => {
                    if bytes[at] == b'"' {
                        self.inside = Inside::Nothing;
                    }
                    at += 1;
                }
                Inside::Dollar(tag) => match rest.find(tag.as_str()) {
                    Some(found) => {
                        at += found + tag.len();
                        self.inside = Inside::Nothing;
                    }
                    None => at = bytes.len(),
                },
                Inside::Comment(depth) => {
                    if rest.starts_with("*/") {
                        *depth -= 1;
                        if *depth == 0 {
                            self.inside = Inside::Nothing;
                        }
                        at += 2;
                    } else if rest.starts_with("/*") {
                        *depth += 1;
                        at += 2;
                    } else {
                        at += 1;
                    }
                }
                Inside::Nothing => at += self.outside(rest),
            }
            // Not within a character.
            while at < bytes.len() && !line.is_char_boundary(at) {
                at += 1;
            }
        }
    }

    /// Reads a token outside of quotes and comments; answers its length.
    fn outside(&mut self, rest: &str) -> usize {
        let first = rest.as_bytes()[0];
        if first.is_ascii_whitespace() {
            return 1;
        }
        if rest.starts_with("--") {
            return rest.len();
        }
        if rest.starts_with("/*") {
            self.inside = Inside::Comment(1);
            return 2;
        }
        if first == b'\\' && self.parentheses == 0 && !rest.starts_with("\\;") {
            // A command at the end of a line sends what stands before it, or is psql's own affair.
            self.ended = true;
            self.has_text = true;
            return rest.len();
        }
        self.has_text = true;
        if self.ended {
            self.begin_statement();
        }
        match first {
            b'\'' => self.inside = Inside::Quoted { escapes: self.words.last().is_some_and(|word| word == "e") },
            b'"' => self.inside = Inside::Identifier,
            b'(' => self.parentheses += 1,
            b')' => self.parentheses = self.parentheses.saturating_sub(1),
            b';' if self.parentheses == 0 && self.atomic_depth == 0 => self.ended = true,
            b'$' => {
                if let Some(tag) = dollar_tag(rest) {
                    self.inside = Inside::Dollar(tag.to_owned());
                    return tag.len();
                }
            }
            _ if first.is_ascii_alphabetic() || first == b'_' || first >= 0x80 => {
                let length = rest
                    .char_indices()
                    .find(|(_, c)| !(c.is_alphanumeric() || *c == '_' || *c == '$'))
                    .map_or(rest.len(), |(end, _)| end);
                self.word(&rest[..length].to_ascii_lowercase());
                return length;
            }
            _ => {}
        }
        if !matches!(first, b'\'') {
            self.words.push(String::new());
        }
        1
    }

    fn word(&mut self, word: &str) {
        match word {
            "atomic" if self.words.last().is_some_and(|last| last == "begin") => self.atomic_depth += 1,
            "case" if self.atomic_depth > 0 => self.atomic_depth += 1,
            "end" if self.atomic_depth > 0 => self.atomic_depth -= 1,
            _ => {}
        }
        self.words.push(word.to_owned());
    }

    fn begin_statement(&mut self) {
        self.ended = false;
        self.words.clear();
        self.parentheses = 0;
    }

    fn is_between_statements(&self) -> bool {
        self.inside == Inside::Nothing && (self.ended || !self.has_text)
    }

    /// The statement that just ended takes its rows from the script.
    fn copies_from_script(&self) -> bool {
        let has = |word: &str| self.words.iter().any(|it| it == word);
        self.words.first().is_some_and(|word| word == "copy") && has("from") && has("stdin")
    }
}

fn dollar_tag(rest: &str) -> Option<&str> {
    let end = rest[1..].find('$')? + 2;
    let name = &rest[1..end - 1];
    let fits = name.chars().all(|c| c.is_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit());
    fits.then(|| &rest[..end])
}

/// Cuts a script.
pub fn cut(script: &str) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut reader = Reader::new();
    let mut text = String::new();
    let mut begins = 1;
    let mut lines = script.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if text.is_empty() {
            begins = number + 1;
        }
        text.push_str(line);
        text.push('\n');
        reader.line(line);
        if !reader.has_text || !reader.is_between_statements() {
            continue;
        }
        if reader.copies_from_script() {
            for (_, data) in lines.by_ref() {
                text.push_str(data);
                text.push('\n');
                if data == "\\." {
                    break;
                }
            }
        }
        let kind = kind_of(&reader, line);
        chunks.push(Chunk { line: begins, text: std::mem::take(&mut text), kind });
        reader = Reader::new();
    }
    if !text.is_empty() {
        chunks.push(Chunk { line: begins, text, kind: Kind::Other });
    }
    chunks
}

fn kind_of(reader: &Reader, last_line: &str) -> Kind {
    let command = last_line.trim_start();
    if !reader.words.is_empty() {
        Kind::Statement
    } else if command.starts_with("\\d") || command.starts_with("\\sf") || command.starts_with("\\sv") {
        Kind::Describe
    } else {
        Kind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(script: &str, expected: &[(usize, Kind)]) {
        let found: Vec<(usize, Kind)> = cut(script).iter().map(|chunk| (chunk.line, chunk.kind)).collect();
        assert_eq!(found, expected, "{script}");
    }

    #[test]
    fn statements_end_where_psql_sends_them() {
        check("select 1;\nselect\n 2;\n", &[(1, Kind::Statement), (2, Kind::Statement)]);
        check("select ';\n'; -- ;\nselect 2;", &[(1, Kind::Statement), (3, Kind::Statement)]);
        check("select $a$ ; \n $b$; $a$;\nselect 2;", &[(1, Kind::Statement), (3, Kind::Statement)]);
        check("/* ; /* ; */ \n ; */ select 1;\n", &[(1, Kind::Statement)]);
        check("select E'\\';\n';\n", &[(1, Kind::Statement)]);
        check("select 1 \\gset\n\\d t\n\\set x 1\n", &[(1, Kind::Statement), (2, Kind::Describe), (3, Kind::Other)]);
        check("create rule r as on insert to t do (select 1;\n select 2);\n", &[(1, Kind::Statement)]);
        check("create function f() returns int begin atomic\n select 1;\n end;\nselect 1;\n", &[
            (1, Kind::Statement),
            (4, Kind::Statement),
        ]);
    }

    #[test]
    fn rows_of_a_copy_belong_to_it() {
        check("copy t from stdin;\n1;\n\\.\nselect 1;\n", &[(1, Kind::Statement), (4, Kind::Statement)]);
    }
}
