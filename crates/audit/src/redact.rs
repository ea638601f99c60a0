//! Statements without the values in them, and which of them are told.

use crate::event::Kind;

/// A statement's text with `?` in the place of its numbers and strings, and without comments. Bodies of routines are
/// strings as well.
#[must_use]
pub fn redact(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(c) = rest.chars().next() {
        let in_word = out.chars().next_back().is_some_and(is_of_word);
        let taken = match c {
            '-' if rest.starts_with("--") => {
                out.push(' ');
                rest.find(['\n', '\r']).unwrap_or(rest.len())
            }
            '/' if rest.starts_with("/*") => {
                out.push(' ');
                comment(rest)
            }
            '\'' => {
                let is_escaped = ends_with_e(&out);
                out.push_str("'?'");
                string(rest, is_escaped)
            }
            '"' => {
                let taken = quoted(rest);
                out.push_str(&rest[..taken]);
                taken
            }
            '$' if !in_word => match dollar_quoted(rest) {
                Some(taken) => {
                    out.push_str("'?'");
                    taken
                }
                None => {
                    // A parameter's number is no value.
                    let digits = rest[1..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - 1);
                    out.push_str(&rest[..=digits]);
                    1 + digits
                }
            },
            c if c.is_ascii_digit() && !in_word => {
                out.push('?');
                number(rest)
            }
            c => {
                out.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    out
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// Whether what comes is a string with escapes: the word before it is `E`.
fn ends_with_e(before: &str) -> bool {
    let mut back = before.chars().rev();
    matches!(back.next(), Some('e' | 'E')) && !back.next().is_some_and(is_of_word)
}

/// How long a comment is; comments may hold comments.
fn comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    text.len()
}

fn string(text: &str, is_escaped: bool) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if is_escaped => at += 2,
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            b'\'' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

fn quoted(text: &str) -> usize {
    text[1..].find('"').map_or(text.len(), |at| at + 2)
}

fn dollar_quoted(text: &str) -> Option<usize> {
    let close = text[1..].find('$')? + 2;
    let tag = &text[1..close - 1];
    if tag.starts_with(|c: char| c.is_ascii_digit()) || !tag.chars().all(|c| is_of_word(c) && c != '$') {
        return None;
    }
    Some(text[close..].find(&text[..close]).map_or(text.len(), |at| close + at + close))
}

fn number(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let after_exponent = at > 0 && matches!(bytes[at - 1], b'e' | b'E');
        match byte {
            b'.' | b'_' => {}
            byte if byte.is_ascii_alphanumeric() => {}
            b'+' | b'-' if after_exponent && !text.starts_with("0x") => {}
            _ => break,
        }
        at += 1;
    }
    at
}

const FIRST_WORDS: [&str; 13] = [
    "CREATE", "ALTER", "DROP", "TRUNCATE", "COMMENT", "GRANT", "REVOKE", "REASSIGN", "REFRESH", "REINDEX", "SECURITY", "SET",
    "RESET",
];

fn first_word(text: &str) -> &str {
    text.find(|c: char| !c.is_ascii_alphabetic()).map_or(text, |end| &text[..end])
}

/// Whether a statement may be one that is logged: cheap, as it is asked for each statement.
#[must_use]
pub fn is_worth_a_look(sql: &str) -> bool {
    let sql = sql.trim_start();
    // What stands behind a comment is seen when it is redacted.
    if sql.starts_with("--") || sql.starts_with("/*") {
        return true;
    }
    let first = first_word(sql);
    FIRST_WORDS.iter().any(|word| word.eq_ignore_ascii_case(first))
}

/// The kind that a statement without its values is logged as; none when it is not.
#[must_use]
pub fn kind_of(redacted: &str) -> Option<Kind> {
    let mut words = redacted
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_uppercase);
    let (first, second, third) = (words.next()?, words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let is_role = |word: &str| matches!(word, "ROLE" | "USER" | "GROUP");
    match first.as_str() {
        // A mapping of users belongs to a server.
        "CREATE" | "ALTER" | "DROP" if is_role(&second) && third != "MAPPING" => Some(Kind::Role),
        "ALTER" if second == "DEFAULT" && third == "PRIVILEGES" => Some(Kind::Grant),
        "ALTER" if second == "SYSTEM" => Some(Kind::Setting),
        "ALTER" if second == "DATABASE" && words.any(|word| word == "SET" || word == "RESET") => Some(Kind::Setting),
        "DROP" | "REASSIGN" if second == "OWNED" => Some(Kind::Grant),
        "GRANT" | "REVOKE" => Some(Kind::Grant),
        "SET" | "RESET" if second == "CLUSTER" => Some(Kind::Setting),
        "SET" | "RESET" if second == "ROLE" || second == "SESSION" && third == "AUTHORIZATION" => Some(Kind::Role),
        "SET" if matches!(second.as_str(), "SESSION" | "LOCAL") && (third == "ROLE" || third == "SESSION") => Some(Kind::Role),
        "SET" | "RESET" => None,
        first if FIRST_WORDS.contains(&first) => Some(Kind::Ddl),
        _ => None,
    }
}

/// Whether this sets or resets a setting of the cluster of this name.
#[must_use]
pub fn is_of_setting(redacted: &str, name: &str) -> bool {
    let mut words = redacted.split(|c: char| c.is_whitespace() || c == '=').filter(|word| !word.is_empty());
    words.nth(2).is_some_and(|word| word.eq_ignore_ascii_case("SETTING"))
        && words.next().is_some_and(|word| word.eq_ignore_ascii_case(name))
}

/// Whether there may be a password in a statement that has the word where its place is not known: one of roles, or one that
/// has the word in a string or a comment, as bodies of routines and of DO do.
#[must_use]
pub fn may_hide_password(sql: &str) -> bool {
    let redacted = redact(sql);
    let count = |text: &str| text.to_ascii_lowercase().matches("password").count();
    kind_of(&redacted) == Some(Kind::Role) || count(sql) != count(&redacted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_may_hide() {
        for (sql, may) in [
            ("CREATE ROLE a PASSWORD /* b */ 'c'", true),
            ("ALTER USER a PassWord 'b'\n'c'", true),
            ("DO 'begin create role a password ''b''; end'", true),
            ("CREATE OR REPLACE FUNCTION f() RETURNS void LANGUAGE sql AS $$ALTER ROLE a PASSWORD 'b'$$", true),
            ("CREATE PROCEDURE p() LANGUAGE sql AS 'ALTER ROLE a PASSWORD ''b'''", true),
            ("SELECT run('ALTER ROLE a PASSWORD ''b''')", true),
            ("SELECT password, \"password\" FROM t WHERE a = 'b'", false),
            ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", false),
        ] {
            assert_eq!(may_hide_password(sql), may, "{sql}");
        }
    }

    #[test]
    fn settings_are_known_by_name() {
        let name = "sql.audit.on_failure";
        for (sql, is_of) in [
            ("SET CLUSTER SETTING sql.audit.on_failure = 'drop'", true),
            ("set cluster  setting SQL.audit.on_failure='drop'", true),
            ("RESET CLUSTER SETTING sql.audit.on_failure", true),
            ("SET CLUSTER SETTING sql.audit.rules = 'sql.audit.on_failure'", false),
            ("SET CLUSTER TO sql.audit.on_failure", false),
        ] {
            assert_eq!(is_of_setting(&redact(sql), name), is_of, "{sql}");
        }
    }

    #[test]
    fn values_are_left_out() {
        for (sql, shown) in [
            ("CREATE TABLE t1 (a varchar(20) DEFAULT 'it''s', \"b 'c\" int)", "CREATE TABLE t1 (a varchar(?) DEFAULT '?', \"b 'c\" int)"),
            ("CREATE ROLE a PASSWORD E'x\\'y' LOGIN", "CREATE ROLE a PASSWORD E'?' LOGIN"),
            ("ALTER ROLE a PASSWORD 'x\\' LOGIN", "ALTER ROLE a PASSWORD '?' LOGIN"),
            ("CREATE ROLE a PASSWORD $q$x'$q$ LOGIN", "CREATE ROLE a PASSWORD '?' LOGIN"),
            ("CREATE ROLE a PASSWORD 'open", "CREATE ROLE a PASSWORD '?'"),
            ("CREATE ROLE a PASSWORD $$open", "CREATE ROLE a PASSWORD '?'"),
            ("CREATE /* x 'y /* z */ */ ROLE a -- b 'c\n LOGIN", "CREATE   ROLE a  \n LOGIN"),
            ("CREATE VIEW v AS SELECT 1.5e-3 + -7, a$1, $2, 0x1F, 'é'", "CREATE VIEW v AS SELECT ? + -?, a$1, $2, ?, '?'"),
            ("SELECT 1 -- it's\r+ 'x' --\r\n+ 2", "SELECT ?  \r+ '?'  \r\n+ ?"),
            ("COMMENT ON TABLE \"a\"\"b\" IS NULL", "COMMENT ON TABLE \"a\"\"b\" IS NULL"),
            ("é$x 'ü", "é$x '?'"),
        ] {
            assert_eq!(redact(sql), shown);
        }
    }

    #[test]
    fn no_text_is_too_odd() {
        for sql in ["", "'", "\"", "$", "$$", "$a", "$a$", "/*", "/**", "--", "1", "1e", "1e+", "E'\\", "$é$é$é$x", "*/"] {
            let _shown = redact(sql);
        }
    }

    #[test]
    fn statements_have_kinds() {
        for (sql, kind) in [
            ("create table t (a int)", Some(Kind::Ddl)),
            ("CREATE USER u", Some(Kind::Role)),
            ("CREATE USER MAPPING FOR u SERVER s", Some(Kind::Ddl)),
            ("ALTER DATABASE d SET x TO y", Some(Kind::Setting)),
            ("ALTER DATABASE d RENAME TO e", Some(Kind::Ddl)),
            ("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO u", Some(Kind::Grant)),
            ("DROP OWNED BY u", Some(Kind::Grant)),
            ("DROP POLICY p ON t", Some(Kind::Ddl)),
            ("SET CLUSTER SETTING a = b", Some(Kind::Setting)),
            ("SET LOCAL ROLE u", Some(Kind::Role)),
            ("SET SESSION AUTHORIZATION u", Some(Kind::Role)),
            ("RESET ROLE", Some(Kind::Role)),
            ("SET work_mem = 5", None),
            ("SELECT 1", None),
            ("INSERT INTO t VALUES (1)", None),
        ] {
            assert_eq!(kind_of(sql), kind, "{sql}");
            assert!(kind.is_none() || is_worth_a_look(sql), "{sql}");
            let behind = format!(" /* a */ -- b\n {sql}");
            assert_eq!((is_worth_a_look(&behind), kind_of(&redact(&behind))), (true, kind), "{behind}");
        }
    }
}
