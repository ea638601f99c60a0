//! Who may connect to a node, and from where.

use std::{borrow::Cow, net::SocketAddr, sync::LazyLock, time::Duration};

use auth::hba::{Rules, WITH_CERTIFICATES, WITHOUT_CERTIFICATES};
use catalog::CatalogSnapshot;

/// What a node asks of clients as long as no rules are set, and whether it heeds those that are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// It has no certificates, and serves its own machine.
    #[default]
    Plain,
    /// It has certificates: connections are encrypted.
    Encrypted,
    /// It was told to ask nobody, whatever rules are set.
    Open,
}

impl Access {
    /// The rules in force.
    #[must_use]
    pub fn rules(self, catalog: &CatalogSnapshot) -> &Rules {
        static PLAIN: LazyLock<Rules> =
            LazyLock::new(|| Rules::parse(WITHOUT_CERTIFICATES).expect("rules of our own"));
        static ENCRYPTED: LazyLock<Rules> =
            LazyLock::new(|| Rules::parse(WITH_CERTIFICATES).expect("rules of our own"));
        match (self, &catalog.cluster().rules) {
            (Self::Open, _) | (Self::Plain, None) => &PLAIN,
            (_, Some(rules)) => rules,
            (Self::Encrypted, None) => &ENCRYPTED,
        }
    }
}

/// How long a connection waits for the newest roles and rules. A node that cannot reach them decides by what it knew
/// last: otherwise nobody could even look what is wrong with it.
pub const NEWEST_PATIENCE: Duration = Duration::from_secs(2);

/// How many clients a node serves: what `SHOW max_connections` and `SHOW superuser_reserved_connections` say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    pub max: usize,
    /// The last of them.
    pub superuser_reserved: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { max: 1000, superuser_reserved: 3 }
    }
}

/// How a client is connected.
#[derive(Clone, Debug, Default)]
pub struct Client {
    pub address: Option<SocketAddr>,
    pub tls: Option<Tls>,
    /// The last places are for superusers.
    pub is_crowded: bool,
}

/// An encrypted connection, as `pg_stat_ssl` shows it.
#[derive(Clone, Debug)]
pub struct Tls {
    pub version: String,
    pub cipher: String,
    pub bits: i32,
    /// The subject of the client's certificate.
    pub client_dn: Option<String>,
}

/// Where the first word ends that a secret may follow, and whether that is a passphrase.
fn secret_after(text: &str) -> Option<(usize, bool)> {
    const START: &[u8] = b"pass";
    let follows = |at: usize, word: &str| text.as_bytes().get(at..at + word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word.as_bytes()));
    let starts = text.as_bytes().windows(START.len()).enumerate().filter(|(_, bytes)| bytes.eq_ignore_ascii_case(START));
    starts.map(|(at, _)| at + START.len()).find_map(|at| match () {
        () if follows(at, "word") => Some((at + 4, false)),
        () if follows(at, "phrase") => Some((at + 6, true)),
        () => None,
    })
}

/// A statement's text with the passwords and passphrases in it taken out.
pub(crate) fn without_passwords(text: &str) -> Cow<'_, str> {
    // Almost no statement has the words.
    if secret_after(text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((end, is_passphrase)) = secret_after(rest) {
        let (head, tail) = rest.split_at(end);
        shown.push_str(head);
        rest = tail;
        let mut literal = tail.trim_start();
        // The name of an option may be quoted.
        let behind_name = literal.strip_prefix('"').unwrap_or(literal).trim_start();
        let mut is_value = false;
        if let Some(after) = behind_name.strip_prefix('=').filter(|_| is_passphrase) {
            shown.push_str(" =");
            rest = after;
            literal = after.trim_start();
            is_value = true;
        }
        // However it is quoted, it goes up to the next word of the statement.
        if literal.starts_with(['\'', '$']) || literal.get(..2).is_some_and(|two| matches!(two, "E'" | "e'" | "U&" | "u&")) {
            shown.push_str(" '********'");
            rest = after_literal(literal);
        } else if is_value {
            // A word is a value as well, quoted or not.
            shown.push_str(" '********'");
            rest = match literal.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').map_or("", |(_, rest)| rest),
                None => literal.trim_start_matches(|it: char| it.is_alphanumeric() || matches!(it, '_' | '$')),
            };
        }
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

/// What follows a string literal; nothing where its end is not found.
fn after_literal(literal: &str) -> &str {
    if let Some(rest) = literal.strip_prefix('$') {
        let Some((tag, rest)) = rest.split_once('$') else { return "" };
        return rest.split_once(&format!("${tag}$")).map_or("", |(_, rest)| rest);
    }
    let is_escaped = literal.starts_with(['E', 'e']);
    let Some((_, mut rest)) = literal.split_once('\'') else { return "" };
    loop {
        let Some(at) = rest.find(['\'', '\\']) else { return "" };
        let skipped = match (&rest[at..=at], &rest[at + 1..]) {
            ("\\", _) if !is_escaped => 1,
            ("\\", tail) => 1 + tail.chars().next().map_or(0, char::len_utf8),
            (_, tail) if tail.starts_with('\'') => 2,
            (_, tail) => return tail,
        };
        rest = &rest[at + skipped..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (text, shown) in [
            ("BACKUP INTO 'file:///a' WITH encryption_passphrase = 'b c', detached", "BACKUP INTO 'file:///a' WITH encryption_passphrase = '********', detached"),
            ("SHOW BACKUP LATEST IN 'x' WITH encryption_passphrase='b'", "SHOW BACKUP LATEST IN 'x' WITH encryption_passphrase = '********'"),
            ("VERIFY BACKUP LATEST IN 'x' WITH encryption_passphrase = b2, detached", "VERIFY BACKUP LATEST IN 'x' WITH encryption_passphrase = '********', detached"),
            ("BACKUP INTO 'x' WITH \"encryption_passphrase\" = \"b\", detached", "BACKUP INTO 'x' WITH \"encryption_passphrase = '********', detached"),
            ("SELECT 1", "SELECT 1"),
            ("SELECT password FROM t WHERE a = 'b'", "SELECT password FROM t WHERE a = 'b'"),
            ("ALTER ROLE a PASSWORD 'it''s' LOGIN", "ALTER ROLE a PASSWORD '********' LOGIN"),
            ("CREATE ROLE a ENCRYPTED PassWord\n E'x\\'y' ; SELECT 'z'", "CREATE ROLE a ENCRYPTED PassWord '********' ; SELECT 'z'"),
            ("CREATE ROLE a PASSWORD $q$x'$q$ LOGIN", "CREATE ROLE a PASSWORD '********' LOGIN"),
            ("CREATE ROLE a PASSWORD 'é\\' LOGIN", "CREATE ROLE a PASSWORD '********' LOGIN"),
            ("CREATE ROLE a PASSWORD 'open", "CREATE ROLE a PASSWORD '********'"),
            ("CREATE ROLE a PASSWORD NULL", "CREATE ROLE a PASSWORD NULL"),
        ] {
            assert_eq!(without_passwords(text), shown);
        }
    }
}
