//! FOR NO KEY UPDATE, FOR KEY SHARE, and OF with more than one table: the parser behind knows two strengths and one name.
//! What it does not know it is given as the parts of that name, behind a mark that no name of a table begins with.

use keys::LockStrength;
use sqlparser::ast;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::{is_significant, keyword};

/// Begins the first part of a name that says more than a name.
const MARK: char = '\u{1}';

/// What a locking clause says.
pub(crate) struct Locking {
    pub strength: LockStrength,
    /// Empty: every table.
    pub of: Vec<String>,
}

pub(crate) fn name_of(strength: LockStrength) -> &'static str {
    match strength {
        LockStrength::KeyShare => "FOR KEY SHARE",
        LockStrength::Share => "FOR SHARE",
        LockStrength::NoKeyUpdate => "FOR NO KEY UPDATE",
        LockStrength::Update | LockStrength::Intent => "FOR UPDATE",
    }
}

/// The clause as it was written.
pub(crate) fn read(clause: &ast::LockClause) -> Locking {
    let parts: Vec<String> = clause
        .of
        .iter()
        .flat_map(|name| &name.0)
        .filter_map(|part| part.as_ident().map(crate::bind::fold))
        .collect();
    let marked = parts.first().and_then(|first| first.strip_prefix(MARK));
    let strength = match (marked, clause.lock_type) {
        (Some("key share"), _) => LockStrength::KeyShare,
        (Some("no key update"), _) => LockStrength::NoKeyUpdate,
        (_, ast::LockType::Share) => LockStrength::Share,
        (_, ast::LockType::Update) => LockStrength::Update,
    };
    let of = if marked.is_some() { parts[1..].to_vec() } else { parts };
    Locking { strength, of }
}

/// The tokens of a statement with its locking clauses as the parser reads them.
pub(super) fn spell(piece: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    if !piece.iter().any(|token| keyword(token) == Keyword::FOR) {
        return piece.to_vec();
    }
    let mut out = Vec::with_capacity(piece.len());
    let mut at = 0;
    // Of each parenthesis around: whether a select list is at hand, which the parser would take FOR for an alias in.
    let mut lists = vec![false];
    while at < piece.len() {
        match (&piece[at].token, keyword(&piece[at])) {
            (Token::LParen, _) => lists.push(false),
            (Token::RParen, _) if lists.len() > 1 => drop(lists.pop()),
            (_, Keyword::SELECT) => set(&mut lists, true),
            (
                _,
                Keyword::FROM | Keyword::INTO | Keyword::WHERE | Keyword::GROUP | Keyword::HAVING | Keyword::WINDOW
                | Keyword::ORDER | Keyword::LIMIT | Keyword::OFFSET | Keyword::FETCH | Keyword::UNION | Keyword::EXCEPT
                | Keyword::INTERSECT,
            ) => set(&mut lists, false),
            (_, Keyword::FOR) if lists.last() == Some(&true) && begins_clause(&piece[at..]) => {
                set(&mut lists, false);
                let words = [Token::make_keyword("LIMIT"), Token::make_keyword("ALL")];
                out.extend(words.map(|token| TokenWithSpan::new(token, piece[at].span)));
            }
            _ => {}
        }
        match is_significant(&piece[at]).then(|| clause(&piece[at..])).flatten() {
            Some((tokens, length)) => {
                out.extend(tokens);
                at += length;
            }
            None => {
                out.push(piece[at].clone());
                at += 1;
            }
        }
    }
    out
}

fn set(lists: &mut [bool], is_list: bool) {
    if let Some(last) = lists.last_mut() {
        *last = is_list;
    }
}

/// Whether FOR begins a locking clause.
fn begins_clause(tokens: &[TokenWithSpan]) -> bool {
    let mut words = tokens.iter().filter(|token| is_significant(token)).map(keyword).skip(1);
    match (words.next(), words.next()) {
        (Some(Keyword::UPDATE | Keyword::SHARE), _) => true,
        (Some(Keyword::NO), Some(Keyword::KEY)) | (Some(Keyword::KEY), Some(Keyword::SHARE)) => true,
        _ => false,
    }
}

/// A clause that needs another spelling, from its FOR on: that spelling, and how many tokens it takes the place of.
fn clause(tokens: &[TokenWithSpan]) -> Option<(Vec<TokenWithSpan>, usize)> {
    let places: Vec<usize> = (0..tokens.len()).filter(|at| is_significant(&tokens[*at])).take(64).collect();
    let word = |at: usize| places.get(at).map_or(Keyword::NoKeyword, |place| keyword(&tokens[*place]));
    let (mark, lock, mut next) = match (word(0), word(1), word(2), word(3)) {
        (Keyword::FOR, Keyword::NO, Keyword::KEY, Keyword::UPDATE) => ("no key update", Keyword::UPDATE, 4),
        (Keyword::FOR, Keyword::KEY, Keyword::SHARE, _) => ("key share", Keyword::SHARE, 3),
        (Keyword::FOR, lock @ (Keyword::UPDATE | Keyword::SHARE), Keyword::OF, _) => ("", lock, 2),
        _ => return None,
    };
    let token = |at: usize| places.get(at).map(|place| &tokens[*place].token);
    let mut names: Vec<Token> = Vec::new();
    if word(next) == Keyword::OF {
        loop {
            match token(next + 1) {
                Some(Token::Word(name)) if !name.value.starts_with(MARK) => names.push(Token::Word(name.clone())),
                // Spelled already, or wrong: the parser says how.
                _ => return None,
            }
            next += 2;
            match token(next) {
                Some(Token::Comma) => {}
                Some(Token::Period) => return None,
                _ => break,
            }
        }
        if mark.is_empty() && names.len() == 1 {
            return None;
        }
    }
    let span = tokens[places[0]].span;
    let marked = Word { value: format!("{MARK}{mark}"), quote_style: Some('"'), keyword: Keyword::NoKeyword };
    let mut spelled =
        vec![Token::make_keyword("FOR"), Token::make_keyword(if lock == Keyword::SHARE { "SHARE" } else { "UPDATE" })];
    spelled.extend([Token::make_keyword("OF"), Token::Word(marked)]);
    for name in names {
        spelled.extend([Token::Period, name]);
    }
    let length = places.get(next).copied().unwrap_or(tokens.len());
    // What is between the words is kept apart by the tokens themselves.
    Some((spelled.into_iter().map(|token| TokenWithSpan::new(token, span)).collect(), length))
}

#[cfg(test)]
mod tests {
    use sqlparser::ast::Statement;

    use super::*;
    use crate::parse::{Body, parse};

    fn read_all(sql: &str) -> Vec<String> {
        let statement = parse(sql).unwrap_or_else(|error| panic!("{sql}: {error}")).swap_remove(0);
        let Body::Standard(Statement::Query(query)) = statement.body else { panic!("{sql} is a query") };
        let show = |clause: &ast::LockClause| {
            let Locking { strength, of } = read(clause);
            format!("{} {}", name_of(strength), of.join(","))
        };
        query.locks.iter().map(show).collect()
    }

    #[test]
    fn clauses_are_read_as_they_are_written() {
        assert_eq!(read_all("select 1 from t for no key update"), ["FOR NO KEY UPDATE "]);
        assert_eq!(read_all("select 1 from t for key share nowait"), ["FOR KEY SHARE "]);
        assert_eq!(read_all("select 1 from t for update of T"), ["FOR UPDATE t"]);
        assert_eq!(
            read_all("select 1 from t, u, v for key share of t, \"U\" skip locked for update of v for share"),
            ["FOR KEY SHARE t,U", "FOR UPDATE v", "FOR SHARE "]
        );
        assert_eq!(read_all("select * from (select 1 from t for key share) s for update of s, t"), ["FOR UPDATE s,t"]);
    }

    #[test]
    fn a_clause_may_follow_the_select_list() {
        assert_eq!(read_all("select 1 for update"), ["FOR UPDATE "]);
        assert_eq!(read_all("select 1, (select 2 from t for share) for no key update"), ["FOR NO KEY UPDATE "]);
        assert_eq!(read_all("select substring('abc' from 1 for 2) for key share nowait"), ["FOR KEY SHARE "]);
    }

    #[test]
    fn what_was_spelled_is_read_again() {
        let sql = "SELECT 1 FROM t FOR NO KEY UPDATE OF t, u";
        let Body::Standard(statement) = parse(sql).unwrap().swap_remove(0).body else { panic!("a query") };
        assert_eq!(read_all(&statement.to_string()), ["FOR NO KEY UPDATE t,u"]);
    }

    #[test]
    fn a_qualified_name_is_refused() {
        assert!(parse("select 1 from t for update of public.t, u").is_err());
    }
}
