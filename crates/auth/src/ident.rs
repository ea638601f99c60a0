//! Which roles a user of another system may be: `pg_ident.conf` in PostgreSQL's grammar.
//!
//! ```text
//!  MAPNAME   SYSTEM-USERNAME        PG-USERNAME
//!  staff     ann                    app
//!  staff     /^(.*)@example\.com$   \1
//! ```
//! A rule of [`hba`](crate::hba) names a map by `map=`. The system's user is the name in a client's certificate, or the
//! user of the operating system that it runs as. It may be a role where a line of the map says so; without a map, where
//! the two have the same name.
//!
//! After `/` comes a regular expression, in the syntax of the crate `regex`, that has to be found in the system's name; `\1`
//! in the role's name is what its first group has matched.

use regex::Regex;

use crate::hba::{fields, logical_lines};

/// What compiling an expression may take.
const REGEX_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Debug)]
enum System {
    Name(String),
    /// As it is written, without the slash.
    Pattern(Regex),
}

#[derive(Clone, Debug)]
pub struct Mapping {
    /// From 1.
    pub line: usize,
    pub map: String,
    system: System,
    pub role: String,
}

#[derive(Clone, Debug, Default)]
pub struct Mappings(Vec<Mapping>);

/// The first line that is no mapping, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct IdentError {
    pub line: usize,
    pub reason: String,
}

impl Mappings {
    /// # Errors
    /// The first line that is no mapping.
    pub fn parse(text: &str) -> Result<Self, IdentError> {
        let mut mappings = Vec::new();
        for (line, text) in logical_lines(text) {
            let refused = |reason| IdentError { line, reason };
            let fields = fields(&text).map_err(refused)?;
            if fields.is_empty() {
                continue;
            }
            let mut fields = fields.iter();
            let mut single = || match fields.next().map(Vec::as_slice) {
                None => Err(refused("missing entry at end of line".into())),
                Some([word]) => Ok(word.text.clone()),
                Some(_) => Err(refused("multiple values in ident field".into())),
            };
            let (map, system, role) = (single()?, single()?, single()?);
            let system = match system.strip_prefix('/') {
                None => System::Name(system),
                Some(pattern) => System::Pattern(compiled(pattern).map_err(refused)?),
            };
            if let System::Pattern(pattern) = &system
                && role.contains("\\1")
                && pattern.captures_len() < 2
            {
                let pattern = pattern.as_str();
                let reason = format!(
                    "regular expression \"{pattern}\" has no subexpressions as requested by backreference in \"{role}\""
                );
                return Err(refused(reason));
            }
            mappings.push(Mapping { line, map, system, role });
        }
        Ok(Self(mappings))
    }

    /// Whether a map lets the system's user be this role.
    #[must_use]
    pub fn allow(&self, map: &str, system: &str, role: &str) -> bool {
        self.0.iter().any(|mapping| mapping.map == map && mapping.allows(system, role))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Mapping> {
        self.0.iter()
    }
}

impl Mapping {
    fn allows(&self, system: &str, role: &str) -> bool {
        match &self.system {
            System::Name(name) => name == system && self.role == role,
            System::Pattern(pattern) => match self.role.split_once("\\1") {
                None => self.role == role && pattern.is_match(system),
                Some((before, after)) => {
                    let group = pattern.captures(system).and_then(|captures| captures.get(1));
                    group.is_some_and(|group| {
                        role.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)) == Some(group.as_str())
                    })
                }
            },
        }
    }

    /// The system's name as it is written.
    #[must_use]
    pub fn system_name(&self) -> String {
        match &self.system {
            System::Name(name) => name.clone(),
            System::Pattern(pattern) => format!("/{}", pattern.as_str()),
        }
    }
}

fn compiled(pattern: &str) -> Result<Regex, String> {
    let built = regex::RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
    built.map_err(|error| {
        // Its text shows the expression, over several lines.
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default();
        format!("invalid regular expression \"{pattern}\": {}", reason.strip_prefix("error: ").unwrap_or(reason))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_says_who_may_be_which_role() {
        let mappings = Mappings::parse(
            "# MAPNAME SYSTEM-USERNAME PG-USERNAME\n\
             staff ann app # and more\n\
             staff \"Odd, one\" \"a b\"\n\
             \n\
             staff /^(.*)@x\\.com$ \\1\n\
             staff /^admin \\\n  postgres\n\
             other /^(.*)_ro$ ro_\\1_x\n",
        )
        .unwrap();
        for (map, system, role, is_allowed) in [
            ("staff", "ann", "app", true),
            ("staff", "ann", "ann", false),
            ("other", "ann", "app", false),
            ("staff", "Odd, one", "a b", true),
            ("staff", "bob@x.com", "bob", true),
            ("staff", "bob@x.com", "eve", false),
            ("staff", "bob@xxcom", "bob", false),
            ("staff", "@x.com", "", true),
            ("staff", "administrator", "postgres", true),
            ("staff", "my admin", "postgres", false),
            ("other", "a_ro", "ro_a_x", true),
            ("other", "a_ro", "ro_a", false),
            ("other", "a_ro", "ro__x", false),
            ("none", "ann", "ann", false),
        ] {
            assert_eq!(mappings.allow(map, system, role), is_allowed, "{map} {system} {role}");
        }
        let shown: Vec<_> = mappings.iter().map(|it| (it.line, it.system_name(), it.role.as_str())).collect();
        assert_eq!(shown[2], (5, "/^(.*)@x\\.com$".to_owned(), "\\1"));
        assert_eq!(shown[4].0, 8, "a line that goes on counts twice");
    }

    #[test]
    fn what_is_no_mapping_is_refused() {
        for (text, reason) in [
            ("staff", "missing entry at end of line"),
            ("staff ann", "missing entry at end of line"),
            ("staff ann,bob app", "multiple values in ident field"),
            ("staff /^(a app", "invalid regular expression \"^(a\": unclosed group"),
            ("staff /^a$ \\1", "regular expression \"^a$\" has no subexpressions as requested by backreference in \"\\1\""),
            ("staff \"ann app", "unterminated quoted string"),
        ] {
            assert_eq!(Mappings::parse(&format!("\n{text}")).unwrap_err().to_string(), format!("line 2: {reason}"));
        }
    }

    #[test]
    fn an_expression_has_a_bounded_size() {
        assert!(Mappings::parse("m /a{1000}{1000} x").is_err());
    }
}
