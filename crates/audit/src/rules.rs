//! Which reads and writes are logged, of which tables and by whom: rules, one a line.
//!
//! ```text
//!  ROLE        DATABASE   TABLE                   ACCESS
//!  all         shop       public.cards            read,write
//!  +support    all        all                     read
//!  "Odd one"   shop       private.*,public.users  write
//! ```
//! An access is logged where any rule matches it: the order of rules means nothing. A role with `+` stands for its members
//! as well. Tables are named with their schema, views and sequences in the same way; `all` and `*` are words only where
//! they are not quoted.

/// What is done with a table's rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    pub reads: bool,
    pub writes: bool,
}

impl Access {
    pub const NONE: Self = Self { reads: false, writes: false };

    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self { reads: self.reads || other.reads, writes: self.writes || other.writes }
    }

    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { reads: self.reads && other.reads, writes: self.writes && other.writes }
    }

    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self { reads: self.reads && !other.reads, writes: self.writes && !other.writes }
    }
}

/// A table by its names.
#[derive(Clone, Copy, Debug)]
pub struct TableName<'a> {
    pub database: &'a str,
    pub schema: &'a str,
    pub table: &'a str,
}

/// A word of a rule; none: all.
type Word = Option<String>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    All,
    Role(String),
    /// The role and its members.
    Members(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    roles: Vec<Whom>,
    databases: Vec<Word>,
    /// Schema and table.
    tables: Vec<(Word, Word)>,
    access: Access,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

/// The first line that is no rule, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct RuleError {
    pub line: usize,
    pub reason: String,
}

impl Rules {
    /// # Errors
    /// The first line that is no rule.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let mut rules = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let refused = |reason| RuleError { line: at + 1, reason };
            let fields = fields(line).map_err(refused)?;
            if !fields.is_empty() {
                rules.push(rule(&fields).map_err(refused)?);
            }
        }
        Ok(Self(rules))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What of an access to a table the rules choose, of those rules that `is_meant` says are about who asks.
    #[must_use]
    pub fn chosen(&self, table: TableName<'_>, access: Access, is_meant: &dyn Fn(&Whom) -> bool) -> Access {
        let is = |word: &Word, name: &str| word.as_deref().is_none_or(|word| word == name);
        let mut chosen = Access::NONE;
        for rule in &self.0 {
            let asked = rule.access.and(access);
            if !asked.without(chosen).is_none()
                && rule.databases.iter().any(|word| is(word, table.database))
                && rule.tables.iter().any(|(schema, name)| is(schema, table.schema) && is(name, table.table))
                && rule.roles.iter().any(is_meant)
            {
                chosen = chosen.union(asked);
            }
        }
        chosen
    }
}

/// A part of a field, and whether it was quoted: then it is a name.
#[derive(Debug, Default)]
struct Part {
    text: String,
    is_quoted: bool,
}

/// A word of a field: its parts between dots.
type Parts = Vec<Part>;

/// Fields of a line, each one or more words between commas.
fn fields(line: &str) -> Result<Vec<Vec<Parts>>, String> {
    let mut fields: Vec<Vec<Parts>> = Vec::new();
    let mut chars = line.chars().peekable();
    let mut is_continued = false;
    loop {
        while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
        match chars.peek() {
            None | Some('#') if is_continued => return Err("end-of-line after a comma".into()),
            None | Some('#') => return Ok(fields),
            Some(_) => {}
        }
        let mut parts = vec![Part::default()];
        let mut in_quotes = false;
        while let Some(c) = chars.peek().copied() {
            let part = parts.last_mut().ok_or("a word without parts")?;
            match c {
                '"' if in_quotes => {
                    chars.next();
                    // Two of them are one.
                    match chars.next_if_eq(&'"') {
                        Some(quote) => part.text.push(quote),
                        None => in_quotes = false,
                    }
                    continue;
                }
                '"' => (in_quotes, part.is_quoted) = (true, true),
                _ if in_quotes => part.text.push(c),
                '.' => parts.push(Part::default()),
                ',' | '#' => break,
                c if c.is_ascii_whitespace() => break,
                c => part.text.push(c),
            }
            chars.next();
        }
        if in_quotes {
            return Err("unterminated quoted string".into());
        }
        if parts.iter().any(|part| part.text.is_empty()) {
            return Err("a name is empty".into());
        }
        match fields.last_mut().filter(|_| is_continued) {
            Some(last) => last.push(parts),
            None => fields.push(vec![parts]),
        }
        while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
        is_continued = chars.next_if_eq(&',').is_some();
    }
}

impl Part {
    fn is_word(&self, word: &str) -> bool {
        !self.is_quoted && self.text == word
    }

    fn name(&self) -> Word {
        (!self.is_word("all") && !self.is_word("*")).then(|| self.text.clone())
    }
}

fn rule(fields: &[Vec<Parts>]) -> Result<Rule, String> {
    let [roles, databases, tables, accesses] = fields else {
        return Err(format!("a rule has four fields (role, database, table, access), not {}", fields.len()));
    };
    let single = |parts: &Parts, what: &str| match &parts[..] {
        [part] => Ok(Part { text: part.text.clone(), is_quoted: part.is_quoted }),
        _ => Err(format!("a {what} has no schema")),
    };
    let whom = |parts: &Parts| {
        let part = single(parts, "role")?;
        Ok::<_, String>(match part.text.strip_prefix('+').filter(|_| !part.is_quoted) {
            Some(role) if role.is_empty() => return Err("a name is empty".into()),
            Some(role) => Whom::Members(role.to_owned()),
            None => part.name().map_or(Whom::All, Whom::Role),
        })
    };
    let table = |parts: &Parts| match &parts[..] {
        [part] if part.name().is_none() => Ok((None, None)),
        [part] => Err(format!("the table \"{}\" is not named with its schema", part.text)),
        [schema, table] => Ok((schema.name(), table.name())),
        _ => Err("a table has a schema and a name".to_owned()),
    };
    let mut access = Access::NONE;
    for parts in accesses {
        access = access.union(match single(parts, "access")?.text.as_str() {
            "read" => Access { reads: true, writes: false },
            "write" => Access { reads: false, writes: true },
            "all" => Access { reads: true, writes: true },
            other => return Err(format!("invalid access \"{other}\": it is read, write or all")),
        });
    }
    Ok(Rule {
        roles: roles.iter().map(whom).collect::<Result<_, _>>()?,
        databases: databases.iter().map(|parts| Ok(single(parts, "database")?.name())).collect::<Result<_, String>>()?,
        tables: tables.iter().map(table).collect::<Result<_, _>>()?,
        access,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_choose() {
        let rules = Rules::parse(
            "# ROLE DATABASE TABLE ACCESS\n\
             all shop public.cards read,write\n\
             \n\
             +support all all read # whatever they look at\n\
             \"all\", bob shop,\"Odd one\" private.* , \"Odd one\".\"a.b\"\"c\" write\n",
        )
        .unwrap();
        let both = Access { reads: true, writes: true };
        let chosen = |role: &str, database, schema, table| {
            let is_meant = |whom: &Whom| match whom {
                Whom::All => true,
                Whom::Role(name) => name == role,
                Whom::Members(name) => name == "support" && matches!(role, "support" | "ann"),
            };
            let Access { reads, writes } = rules.chosen(TableName { database, schema, table }, both, &is_meant);
            (reads, writes)
        };
        assert_eq!(chosen("bob", "shop", "public", "cards"), (true, true));
        assert_eq!(chosen("bob", "other", "public", "cards"), (false, false));
        assert_eq!(chosen("bob", "shop", "private", "x"), (false, true));
        assert_eq!(chosen("bob", "Odd one", "Odd one", "a.b\"c"), (false, true));
        assert_eq!(chosen("ann", "other", "public", "x"), (true, false));
        assert_eq!(chosen("eve", "shop", "private", "x"), (false, false), "\"all\" in quotes is a role");
        assert_eq!(chosen("all", "shop", "private", "x"), (false, true));
        let reads = Access { reads: true, writes: false };
        let of = TableName { database: "shop", schema: "public", table: "cards" };
        assert_eq!(rules.chosen(of, reads, &|_| true), reads, "no more than is done");
        assert!(Rules::parse("# nothing\n").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for (text, reason) in [
            ("all all all", "a rule has four fields (role, database, table, access), not 3"),
            ("all all all read write", "a rule has four fields (role, database, table, access), not 5"),
            ("all all cards read", "the table \"cards\" is not named with its schema"),
            ("all all a.b.c read", "a table has a schema and a name"),
            ("all a.b all read", "a database has no schema"),
            ("all all all delete", "invalid access \"delete\": it is read, write or all"),
            ("all all public. read", "a name is empty"),
            ("+ all all read", "a name is empty"),
            ("\"a all all read", "unterminated quoted string"),
            ("all all all read,", "end-of-line after a comma"),
        ] {
            assert_eq!(Rules::parse(&format!("\n{text}")).unwrap_err().to_string(), format!("line 2: {reason}"));
        }
    }
}
