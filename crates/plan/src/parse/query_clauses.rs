//! Clauses of queries that the parser behind does not read, spelled as what it does read, under marked names.
//!
//! `BETWEEN SYMMETRIC a AND b` becomes `BETWEEN "symmetric"(a) AND b`; FETCH with an expression LIMIT; `ROWS FROM (f(x), g(y))` a call `"rows from"(f(x), g(y))`;
//! SEARCH and CYCLE behind a WITH query become part of its name. The names begin with a character that no identifier
//! of a statement may hold.

use sqlparser::ast;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::ParserError;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use types::{SqlError, SqlResult, SqlState};

use super::extras::{MARK, is_word, marked, significant};
use super::keyword;

/// The call around the lower bound of BETWEEN SYMMETRIC.
pub(crate) const SYMMETRIC: &str = "\u{1}symmetric";
/// The call around the limit that FETCH … WITH TIES gives.
const WITH_TIES: &str = "\u{1}with ties";
/// The function of FROM that stands for ROWS FROM.
pub(crate) const ROWS_FROM: &str = "\u{1}rows from";
/// Begins the name of a WITH query that has SEARCH or CYCLE; behind the next mark comes its own name.
const RECURSION: &str = "\u{1}recursion ";

/// Takes out what there is.
pub(super) fn spell(tokens: &mut Vec<TokenWithSpan>) {
    if tokens.iter().any(|token| is_word(token, "symmetric") || is_word(token, "asymmetric")) {
        spell_symmetric(tokens);
    }
    if tokens.iter().any(|token| keyword(token) == Keyword::ROWS) {
        spell_rows_from(tokens);
    }
    if tokens.iter().any(|token| token.token == Token::DoubleColon) {
        drop_stars_of_casts(tokens);
    }
    if tokens.iter().any(|token| matches!(keyword(token), Keyword::PRECEDING | Keyword::FOLLOWING)) {
        enclose_bounds(tokens);
    }
    if tokens.iter().any(|token| keyword(token) == Keyword::INTERVAL) {
        spell_precisions(tokens);
    }
    if tokens.iter().any(|token| keyword(token) == Keyword::SETS) {
        flatten_grouping_sets(tokens);
    }
    if tokens.iter().any(|token| keyword(token) == Keyword::MERGE) {
        spell_default_rows(tokens);
        enclose_joined_source(tokens);
    }
    if tokens.iter().any(|token| keyword(token) == Keyword::FETCH) {
        spell_fetches_behind_locks(tokens);
        spell_fetches(tokens);
    }
    if tokens.iter().any(|token| is_word(token, "search") || is_word(token, "cycle")) {
        spell_recursions(tokens);
    }
}

/// `EXPLAIN (SELECT …) UNION …` gets options, which say what is so without them: the parser takes the parenthesis for theirs.
pub(super) fn mark_explained_query(tokens: &mut Vec<TokenWithSpan>) {
    let places = significant(tokens);
    let is_open = |at: usize| places.get(at).is_some_and(|place| tokens[*place].token == Token::LParen);
    let word = places.get(2).map_or(Keyword::NoKeyword, |place| keyword(&tokens[*place]));
    let is_query = is_open(2) || matches!(word, Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::TABLE);
    if is_open(1) && is_query {
        let at = places[1];
        let span = tokens[at].span;
        let options = [Token::LParen, Token::make_word("costs", None), Token::RParen];
        tokens.splice(at..at, options.map(|token| TokenWithSpan::new(token, span)));
    }
}

fn spell_symmetric(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at < tokens.len() {
        at += 1;
        if keyword(&tokens[at - 1]) != Keyword::BETWEEN {
            continue;
        }
        let Some(word) = (at..tokens.len()).find(|next| super::is_significant(&tokens[*next])) else { return };
        if is_word(&tokens[word], "asymmetric") {
            tokens.remove(word);
            continue;
        }
        if !is_word(&tokens[word], "symmetric") {
            continue;
        }
        // The lower bound ends at the first AND that is not within something of its own.
        let mut depth = 0_usize;
        let end = (word + 1..tokens.len()).find(|next| {
            match (&tokens[*next].token, keyword(&tokens[*next])) {
                (Token::LParen | Token::LBracket, _) | (_, Keyword::CASE) => depth += 1,
                (Token::RParen | Token::RBracket, _) | (_, Keyword::END) => depth = depth.saturating_sub(1),
                (_, Keyword::AND) => return depth == 0,
                _ => {}
            }
            false
        });
        let Some(end) = end else { continue };
        let span = tokens[word].span;
        tokens.insert(end, TokenWithSpan::new(Token::RParen, span));
        tokens.splice(word..=word, [marked(SYMMETRIC.to_owned(), span), TokenWithSpan::new(Token::LParen, span)]);
    }
}

/// The lower bound of BETWEEN SYMMETRIC, if it is that.
pub(crate) fn symmetric_bound(low: &ast::Expr) -> Option<&ast::Expr> {
    only_argument(low, SYMMETRIC)
}

/// The only argument of a call by a marked name.
fn only_argument<'a>(expr: &'a ast::Expr, name: &str) -> Option<&'a ast::Expr> {
    let ast::Expr::Function(function) = expr else { return None };
    if !is_named(&function.name, name) {
        return None;
    }
    match &function.args {
        ast::FunctionArguments::List(list) => match list.args.as_slice() {
            [ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(bound))] => Some(bound),
            _ => None,
        },
        ast::FunctionArguments::None | ast::FunctionArguments::Subquery(_) => None,
    }
}

fn is_named(name: &ast::ObjectName, marked: &str) -> bool {
    matches!(name.0.as_slice(), [part] if part.as_ident().is_some_and(|ident| ident.value == marked))
}

/// `t.*::text` is `t::text`: a row by its name.
fn drop_stars_of_casts(tokens: &mut Vec<TokenWithSpan>) {
    let found = significant(tokens);
    let found = found.windows(4).filter(|at| {
        matches!(tokens[at[0]].token, Token::Word(_))
            && tokens[at[1]].token == Token::Period
            && tokens[at[2]].token == Token::Mul
            && tokens[at[3]].token == Token::DoubleColon
    });
    let places: Vec<(usize, usize)> = found.map(|at| (at[1], at[2])).collect();
    for (first, last) in places.into_iter().rev() {
        tokens.drain(first..=last);
    }
}

/// `interval(2) '1.5'` is a cast: the parser drops the precision.
fn spell_precisions(tokens: &mut Vec<TokenWithSpan>) {
    let found = significant(tokens);
    let found = found.windows(5).filter(|at| {
        keyword(&tokens[at[0]]) == Keyword::INTERVAL
            && tokens[at[1]].token == Token::LParen
            && matches!(tokens[at[2]].token, Token::Number(..))
            && tokens[at[3]].token == Token::RParen
            && matches!(tokens[at[4]].token, Token::SingleQuotedString(_))
    });
    let places: Vec<(usize, usize)> = found.map(|at| (at[0], at[4])).collect();
    for (first, string) in places.into_iter().rev() {
        let span = tokens[first].span;
        let token = |token: Token| TokenWithSpan::new(token, span);
        let ty: Vec<TokenWithSpan> = tokens[first..string].to_vec();
        let mut cast = vec![token(Token::make_keyword("CAST")), token(Token::LParen), tokens[string].clone()];
        cast.push(token(Token::make_keyword("AS")));
        cast.extend(ty);
        cast.push(token(Token::RParen));
        tokens.splice(first..=string, cast);
    }
}

/// The bound of a frame that begins with a string, which the parser takes for an interval: `'1.5' PRECEDING`,
/// `'1 day'::interval PRECEDING`.
fn enclose_bounds(tokens: &mut Vec<TokenWithSpan>) {
    let places = significant(tokens);
    let mut edits: Vec<(usize, usize)> = Vec::new();
    for (at, place) in places.iter().enumerate() {
        let is_string = matches!(tokens[*place].token, Token::SingleQuotedString(_));
        let is_cast = places.get(at + 1).is_some_and(|next| tokens[*next].token == Token::DoubleColon);
        let begins = at > 0
            && matches!(
                keyword(&tokens[places[at - 1]]),
                Keyword::BETWEEN | Keyword::AND | Keyword::RANGE | Keyword::ROWS | Keyword::GROUPS
            );
        if !is_string || !begins {
            continue;
        }
        let end = places.get(at + 1).filter(|end| matches!(keyword(&tokens[**end]), Keyword::PRECEDING | Keyword::FOLLOWING));
        edits.extend(end.map(|end| (*place, *end)));
        if !is_cast {
            continue;
        }
        // The type's name is a few words at most.
        let end = (at + 3..places.len().min(at + 7))
            .find(|next| matches!(keyword(&tokens[places[*next]]), Keyword::PRECEDING | Keyword::FOLLOWING));
        edits.extend(end.map(|end| (*place, places[end])));
    }
    for (first, end) in edits.into_iter().rev() {
        let span = tokens[first].span;
        tokens.insert(end, TokenWithSpan::new(Token::RParen, span));
        tokens.insert(first, TokenWithSpan::new(Token::LParen, span));
    }
}

/// `GROUPING SETS (a, GROUPING SETS (b, c))` is `GROUPING SETS (a, b, c)`.
fn flatten_grouping_sets(tokens: &mut Vec<TokenWithSpan>) {
    // Of each parenthesis around: whether it is one of GROUPING SETS, and whether it was dropped.
    let mut around: Vec<(bool, bool)> = Vec::new();
    let places = significant(tokens);
    let mut dropped: Vec<usize> = Vec::new();
    for (at, place) in places.iter().enumerate() {
        let word = |back: usize| at.checked_sub(back).map_or(Keyword::NoKeyword, |at| keyword(&tokens[places[at]]));
        match tokens[*place].token {
            Token::LParen => {
                let is_sets = word(1) == Keyword::SETS && word(2) == Keyword::GROUPING;
                let is_inner = is_sets && around.last().is_some_and(|(is_sets, _)| *is_sets);
                if is_inner {
                    dropped.extend([places[at - 2], places[at - 1], *place]);
                }
                around.push((is_sets, is_inner));
            }
            Token::RParen => {
                if let Some((_, true)) = around.pop() {
                    dropped.push(*place);
                }
            }
            _ => {}
        }
    }
    dropped.sort_unstable();
    for at in dropped.into_iter().rev() {
        tokens.remove(at);
    }
}

/// `THEN INSERT DEFAULT VALUES` of MERGE becomes a row whose first value is the default; so are the others.
fn spell_default_rows(tokens: &mut Vec<TokenWithSpan>) {
    let found = significant(tokens);
    let words = [Keyword::THEN, Keyword::INSERT, Keyword::DEFAULT, Keyword::VALUES];
    let found = found.windows(4).filter(|at| at.iter().zip(words).all(|(at, word)| keyword(&tokens[*at]) == word));
    let places: Vec<(usize, usize)> = found.map(|at| (at[2], at[3])).collect();
    for (first, last) in places.into_iter().rev() {
        let span = tokens[first].span;
        let row = [Token::make_keyword("VALUES"), Token::LParen, Token::make_keyword("DEFAULT"), Token::RParen];
        tokens.splice(first..=last, row.map(|token| TokenWithSpan::new(token, span)));
    }
}

/// The joins that are the source of a MERGE get parentheses: `USING a JOIN b ON … ON …`.
fn enclose_joined_source(tokens: &mut Vec<TokenWithSpan>) {
    let places = significant(tokens);
    let mut depth = 0_usize;
    let (mut using, mut last_on, mut has_joins) = (None, None, false);
    for (at, place) in places.iter().enumerate() {
        match (&tokens[*place].token, keyword(&tokens[*place])) {
            (Token::LParen, _) => depth += 1,
            (Token::RParen, _) => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            (_, Keyword::USING) if using.is_none() => using = places.get(at + 1).copied(),
            (_, Keyword::JOIN) => has_joins |= using.is_some(),
            (_, Keyword::ON) => last_on = Some(*place),
            (_, Keyword::WHEN) => break,
            _ => {}
        }
    }
    if let (Some(first), Some(on), true) = (using, last_on, has_joins) {
        let span = tokens[first].span;
        tokens.insert(on, TokenWithSpan::new(Token::RParen, span));
        tokens.insert(first, TokenWithSpan::new(Token::LParen, span));
    }
}

/// A FETCH behind locking clauses comes before them: the parser knows that order alone.
fn spell_fetches_behind_locks(tokens: &mut [TokenWithSpan]) {
    let places = significant(tokens);
    let word = |at: usize| places.get(at).map_or(Keyword::NoKeyword, |place| keyword(&tokens[*place]));
    let mut moves = Vec::new();
    for at in 1..places.len() {
        if word(at) != Keyword::FETCH || !matches!(word(at + 1), Keyword::FIRST | Keyword::NEXT) {
            continue;
        }
        // Back over what locking clauses consist of.
        let is_of_clause = |at: usize| match &tokens[places[at]].token {
            Token::Word(word) => !matches!(
                word.keyword,
                Keyword::SELECT | Keyword::FROM | Keyword::WHERE | Keyword::BY | Keyword::HAVING | Keyword::AS
                    | Keyword::ON | Keyword::USING | Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT
            ),
            Token::Comma | Token::Period => true,
            _ => false,
        };
        let first = (0..at).rev().take_while(|before| is_of_clause(*before)).filter(|before| word(*before) == Keyword::FOR).last();
        let end = (at..places.len()).find(|place| matches!(word(*place), Keyword::ONLY | Keyword::TIES));
        if let (Some(first), Some(end)) = (first, end) {
            moves.push((places[first], places[at], places[end]));
        }
    }
    for (first, fetch, end) in moves {
        // What ends the clauses is what stood before FETCH: a space, mostly.
        tokens[first..=end].rotate_left(fetch - first);
    }
}

/// `FETCH FIRST (count) ROWS ONLY` becomes `LIMIT (count)`, with ties `LIMIT "with ties"(count)`: the parser reads numbers
/// alone.
fn spell_fetches(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at < tokens.len() {
        at += 1;
        if keyword(&tokens[at - 1]) != Keyword::FETCH {
            continue;
        }
        let places: Vec<usize> = (at..tokens.len()).filter(|next| super::is_significant(&tokens[*next])).collect();
        let word = |place: usize| places.get(place).map_or(Keyword::NoKeyword, |place| keyword(&tokens[*place]));
        let is_plain = places.get(1).is_none_or(|place| matches!(tokens[*place].token, Token::Number(..)));
        if !matches!(word(0), Keyword::FIRST | Keyword::NEXT) || is_plain || matches!(word(1), Keyword::ROW | Keyword::ROWS) {
            continue;
        }
        let mut depth = 0_usize;
        let rows = (1..places.len()).find(|place| {
            match tokens[places[*place]].token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && matches!(word(*place), Keyword::ROW | Keyword::ROWS)
        });
        let Some(rows) = rows else { continue };
        let has_ties = word(rows + 1) == Keyword::WITH && word(rows + 2) == Keyword::TIES;
        if !has_ties && word(rows + 1) != Keyword::ONLY {
            continue;
        }
        let span = tokens[at - 1].span;
        let (first, last) = (places[0], places[if has_ties { rows + 2 } else { rows + 1 }]);
        let token = |token: Token| TokenWithSpan::new(token, span);
        let closing = if has_ties { vec![token(Token::RParen)] } else { Vec::new() };
        let opening = if has_ties { vec![marked(WITH_TIES.to_owned(), span), token(Token::LParen)] } else { Vec::new() };
        tokens.splice(places[rows]..=last, closing);
        tokens.splice(first..=first, opening);
        tokens[at - 1] = token(Token::make_keyword("LIMIT"));
    }
}

/// The count of FETCH … WITH TIES, if LIMIT stands for that.
pub(crate) fn tied_count(limit: &ast::Expr) -> Option<&ast::Expr> {
    only_argument(limit, WITH_TIES)
}

fn spell_rows_from(tokens: &mut Vec<TokenWithSpan>) {
    let found = significant(tokens);
    let found = found.windows(3).filter(|at| {
        keyword(&tokens[at[0]]) == Keyword::ROWS
            && keyword(&tokens[at[1]]) == Keyword::FROM
            && tokens[at[2]].token == Token::LParen
    });
    let places: Vec<(usize, usize)> = found.map(|at| (at[0], at[1])).collect();
    for (rows, from) in places.into_iter().rev() {
        let span = tokens[rows].span;
        tokens.splice(rows..=from, [marked(ROWS_FROM.to_owned(), span)]);
    }
}

/// The calls of ROWS FROM, if a function of FROM stands for it.
pub(crate) fn rows_from<'a>(
    name: &ast::ObjectName,
    args: &'a [ast::FunctionArg],
) -> Option<SqlResult<Vec<&'a ast::Function>>> {
    let call = |arg: &'a ast::FunctionArg| match arg {
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(ast::Expr::Function(function))) => Ok(function),
        ast::FunctionArg::Unnamed(_) | ast::FunctionArg::Named { .. } | ast::FunctionArg::ExprNamed { .. } => {
            Err(SqlError::new(SqlState::SyntaxError, "ROWS FROM wants calls of functions"))
        }
    };
    is_named(name, ROWS_FROM).then(|| args.iter().map(call).collect())
}

/// SEARCH and CYCLE behind a WITH query become part of its name.
fn spell_recursions(tokens: &mut Vec<TokenWithSpan>) {
    while let Some((name, first, last)) = recursion(tokens) {
        let clauses = tokens[first..=last].iter().filter(|token| super::is_significant(token));
        let clauses: Vec<String> = clauses.map(|token| spelled(&token.token)).collect();
        let span = tokens[name].span;
        let Token::Word(word) = &tokens[name].token else { return };
        let own = crate::bind::fold(&word.clone().into_ident(span));
        tokens.drain(first..=last);
        tokens[name] = marked(format!("{RECURSION}{}{MARK}{own}", clauses.join(" ")), span);
    }
}

/// A statement's text with clauses in the place of the marked names that stand for them; `None` where there are none.
pub(crate) fn as_written(text: &str) -> Option<String> {
    if !text.contains(MARK) {
        return None;
    }
    let mut tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location().ok()?;
    let marked = |token: &TokenWithSpan| match &token.token {
        Token::Word(word) if word.value.starts_with(MARK) => Some(word.value.clone()),
        _ => None,
    };
    let mut at = 0;
    while at < tokens.len() {
        let span = tokens[at].span;
        let text = |text: &str| TokenWithSpan::new(Token::make_word(text, None), span);
        let name = marked(&tokens[at]);
        at += 1;
        let Some(name) = name else { continue };
        let mut places = significant(&tokens);
        let own = places.iter().position(|place| *place == at - 1)?;
        if name == SYMMETRIC || name == WITH_TIES {
            // Parentheses that were there are those of the call now.
            let end = closing(&tokens, &places, own + 1)?;
            if tokens[*places.get(own + 2)?].token == Token::LParen && closing(&tokens, &places, own + 2)? + 1 == end {
                tokens.remove(places[end - 1]);
                tokens.remove(places[own + 2]);
                places = significant(&tokens);
            }
        }
        if name == ROWS_FROM {
            tokens[at - 1] = text("ROWS FROM");
        } else if name == SYMMETRIC {
            tokens[at - 1] = text("SYMMETRIC ");
        } else if name == WITH_TIES {
            let end = closing(&tokens, &places, own + 1)?;
            tokens.insert(places[end] + 1, text(" ROWS WITH TIES"));
            tokens[at - 1] = text("");
            tokens[places[own.checked_sub(1)?]] = text("FETCH FIRST");
        } else if let Some((clauses, name)) = name.strip_prefix(RECURSION).and_then(|rest| rest.rsplit_once(MARK)) {
            let is_open = |at: &usize| places.get(*at).is_some_and(|place| tokens[*place].token == Token::LParen);
            // Over its columns to AS and the query.
            let next = if is_open(&(own + 1)) { closing(&tokens, &places, own + 1)? + 1 } else { own + 1 };
            let open = (next..places.len()).find(is_open)?;
            let end = closing(&tokens, &places, open)?;
            let clauses = as_written(clauses).unwrap_or_else(|| clauses.to_owned());
            tokens.insert(places[end] + 1, text(&format!(" {clauses}")));
            tokens[at - 1] = text(&types::quote_identifier(name));
        }
    }
    Some(tokens.iter().map(|token| spelled(&token.token)).collect())
}

/// Where among the significant tokens the parenthesis stands that closes the one at `open`.
fn closing(tokens: &[TokenWithSpan], places: &[usize], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    (open..places.len()).find(|at| {
        match tokens[places[*at]].token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    })
}

/// A token as it is read again: what quotes it holds are doubled.
fn spelled(token: &Token) -> String {
    let quoted = |text: &str, quote: char| {
        let twice: String = [quote, quote].iter().collect();
        format!("{quote}{}{quote}", text.replace(quote, &twice))
    };
    match token {
        Token::SingleQuotedString(text)
        | Token::EscapedStringLiteral(text)
        | Token::UnicodeStringLiteral(text)
        | Token::NationalStringLiteral(text) => quoted(text, '\''),
        Token::DollarQuotedString(text) => quoted(&text.value, '\''),
        Token::Word(word) if word.quote_style.is_some() => quoted(&word.value, '"'),
        token => token.to_string(),
    }
}

/// Where the first such WITH query's name stands, and the first and last token of its clauses.
fn recursion(tokens: &[TokenWithSpan]) -> Option<(usize, usize, usize)> {
    let places = significant(tokens);
    let token = |at: usize| places.get(at).map(|place| &tokens[*place]);
    let word = |at: usize| token(at).map_or(Keyword::NoKeyword, keyword);
    for at in 1..places.len() {
        let is_first = token(at - 1).is_some_and(|token| token.token == Token::RParen) && begins_clause(&token, at);
        if !is_first {
            continue;
        }
        // Back over the query and AS to the name, with its columns between them or not.
        let before = opening(tokens, &places, at - 1)?;
        let mut back = before.checked_sub(1)?;
        while matches!(word(back), Keyword::MATERIALIZED | Keyword::NOT) {
            back = back.checked_sub(1)?;
        }
        if word(back) != Keyword::AS {
            continue;
        }
        back = back.checked_sub(1)?;
        if token(back).is_some_and(|token| token.token == Token::RParen) {
            back = opening(tokens, &places, back)?.checked_sub(1)?;
        }
        if !matches!(token(back).map(|token| &token.token), Some(Token::Word(_))) {
            continue;
        }
        // To the comma or the statement behind it.
        let mut end = at;
        while begins_clause(&token, end) {
            let closes = if token(end).is_some_and(|token| is_word(token, "search")) { Keyword::SET } else { Keyword::USING };
            while word(end) != closes {
                token(end)?;
                end += 1;
            }
            // The name behind it.
            end += 2;
        }
        return Some((places[back], places[at], *places.get(end - 1)?));
    }
    None
}

fn begins_clause<'a>(token: &dyn Fn(usize) -> Option<&'a TokenWithSpan>, at: usize) -> bool {
    let is = |at: usize, text: &str| token(at).is_some_and(|token| is_word(token, text));
    let is_name = |at: usize| token(at).is_some_and(|token| matches!(token.token, Token::Word(_)));
    let is_search = is(at, "search") && (is(at + 1, "depth") || is(at + 1, "breadth")) && is(at + 2, "first");
    let is_cycle = is(at, "cycle") && is_name(at + 1) && {
        let goes_on = token(at + 2).is_some_and(|token| token.token == Token::Comma);
        goes_on || is(at + 2, "set")
    };
    is_search || is_cycle
}

/// Where among the significant tokens the parenthesis stands that the one at `close` closes.
fn opening(tokens: &[TokenWithSpan], places: &[usize], close: usize) -> Option<usize> {
    let mut depth = 0_usize;
    (0..=close).rev().find(|at| {
        match tokens[places[*at]].token {
            Token::RParen => depth += 1,
            Token::LParen => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

/// SEARCH and CYCLE of a WITH query.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecursionClauses {
    pub search: Option<Search>,
    pub cycle: Option<Cycle>,
}

#[derive(Clone, Debug)]
pub(crate) struct Search {
    pub breadth_first: bool,
    pub columns: Vec<String>,
    pub sequence: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Cycle {
    pub columns: Vec<String>,
    pub mark: String,
    /// TO and DEFAULT.
    pub values: Option<(ast::Expr, ast::Expr)>,
    pub path: String,
}

/// The name of a WITH query, and the clauses that were made part of it.
pub(crate) fn read_recursion(name: &ast::Ident) -> SqlResult<(String, Option<RecursionClauses>)> {
    let Some((text, own)) = name.value.strip_prefix(RECURSION).and_then(|rest| rest.rsplit_once(MARK)) else {
        return Ok((crate::bind::fold(name), None));
    };
    let clauses = read_clauses(text).map_err(|error| match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
            SqlError::new(SqlState::SyntaxError, message)
        }
        ParserError::RecursionLimitExceeded => types::stack::too_deep(),
    })?;
    Ok((own.to_owned(), Some(clauses)))
}

fn read_clauses(text: &str) -> Result<RecursionClauses, ParserError> {
    let dialect = sqlparser::dialect::PostgreSqlDialect {};
    let mut parser = sqlparser::parser::Parser::new(&dialect).try_with_sql(text)?;
    let mut clauses = RecursionClauses::default();
    let name = |parser: &mut sqlparser::parser::Parser<'_>| Ok(crate::bind::fold(&parser.parse_identifier()?));
    loop {
        let token = parser.next_token();
        if is_word(&token, "search") {
            let breadth_first = is_word(&parser.next_token(), "breadth");
            parser.next_token();
            parser.expect_keyword(Keyword::BY)?;
            let columns = parser.parse_comma_separated(name)?;
            parser.expect_keyword(Keyword::SET)?;
            clauses.search = Some(Search { breadth_first, columns, sequence: name(&mut parser)? });
        } else if is_word(&token, "cycle") {
            let columns = parser.parse_comma_separated(name)?;
            parser.expect_keyword(Keyword::SET)?;
            let mark = name(&mut parser)?;
            let mut values = None;
            if parser.parse_keyword(Keyword::TO) {
                let on = parser.parse_expr()?;
                parser.expect_keyword(Keyword::DEFAULT)?;
                values = Some((on, parser.parse_expr()?));
            }
            parser.expect_keyword(Keyword::USING)?;
            clauses.cycle = Some(Cycle { columns, mark, values, path: name(&mut parser)? });
        } else if token.token == Token::EOF {
            return Ok(clauses);
        } else {
            return parser.expected("SEARCH or CYCLE", token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{as_written, read_recursion};
    use crate::parse::Body;
    use sqlparser::ast;

    fn query(sql: &str) -> ast::Query {
        let parsed = crate::parse::parse(sql).expect("parses").into_iter().next().expect("a statement");
        match parsed.body {
            Body::Standard(ast::Statement::Query(query)) => *query,
            _ => panic!("no query"),
        }
    }

    #[test]
    fn clauses_are_read_as_they_were_written() {
        let sql = "with recursive t(a) as (select 1 union all select a + 1 from t where a < 3) \
                   cycle \"a\"\"b\", a set m to 'it''s' default E'n\\'o' using p select * from t";
        let query = query(sql);
        let with = query.with.expect("has WITH");
        let (name, clauses) = read_recursion(&with.cte_tables[0].alias.name).expect("reads");
        assert_eq!(name, "t");
        let cycle = clauses.and_then(|clauses| clauses.cycle).expect("has CYCLE");
        assert_eq!(cycle.columns, ["a\"b", "a"]);
        let (on, off) = cycle.values.expect("has values");
        assert_eq!((on.to_string(), off.to_string()), ("'it''s'".to_owned(), "'n''o'".to_owned()));
    }

    #[test]
    fn marked_names_are_shown_as_clauses() {
        let shown = |sql: &str| as_written(&query(sql).to_string()).expect("has marks");
        for sql in [
            "SELECT * FROM ROWS FROM(generate_series(1, 2), upper('it''s')) AS x (a, b)",
            "SELECT a FROM t WHERE a BETWEEN SYMMETRIC (1) AND 2",
            "SELECT a FROM t ORDER BY a FETCH FIRST (1 + 1) ROWS WITH TIES",
        ] {
            assert_eq!(shown(sql), sql);
            assert_eq!(shown(&shown(sql)), sql);
        }
        let sql = "WITH RECURSIVE t (a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM t) search depth first by a set s \
                   SELECT * FROM t";
        let once = shown(sql);
        assert!(once.contains(") search depth first by a set s"), "{once}");
        assert_eq!(shown(&once), once);
        assert_eq!(as_written("select 1"), None);
    }
}
