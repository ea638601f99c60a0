//! Forms of expressions that the parser behind does not read, spelled as others that it does.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::extras::{closing, is_word, significant};
use super::{is_significant, keyword};

/// `NOT EXISTS (…) IS UNKNOWN` is `NOT (EXISTS (…) IS UNKNOWN)`: the parser takes NOT EXISTS for one word, unless EXISTS stands
/// in parentheses.
pub(super) fn enclose_exists(tokens: &mut Vec<TokenWithSpan>) {
    let places = significant(tokens);
    let found = places.windows(3).filter(|at| {
        keyword(&tokens[at[0]]) == Keyword::NOT
            && keyword(&tokens[at[1]]) == Keyword::EXISTS
            && tokens[at[2]].token == Token::LParen
    });
    let found: Vec<(usize, usize)> = found.filter_map(|at| Some((at[1], closing(tokens, at[2])?))).collect();
    let mut edits: Vec<(usize, Token)> =
        found.into_iter().flat_map(|(exists, end)| [(exists, Token::LParen), (end + 1, Token::RParen)]).collect();
    edits.sort_by_key(|(at, _)| *at);
    for (at, token) in edits.into_iter().rev() {
        let span = tokens[at.min(tokens.len() - 1)].span;
        tokens.insert(at, TokenWithSpan::new(token, span));
    }
}

/// COLLATE behind a cast, which the parser does not read there: `x::text COLLATE "C"`. Every string has this collation, so
/// that the clause says nothing; others are left, and refused.
pub(super) fn drop_collations_of_casts(tokens: &mut Vec<TokenWithSpan>) {
    let places = significant(tokens);
    let mut dropped: Vec<usize> = Vec::new();
    for at in 2..places.len() {
        if keyword(&tokens[places[at]]) != Keyword::COLLATE {
            continue;
        }
        // The type's name, with its length in parentheses, and the cast in front of it.
        let mut before = at - 1;
        if tokens[places[before]].token == Token::RParen {
            while before > 0 && tokens[places[before]].token != Token::LParen {
                before -= 1;
            }
            before = before.saturating_sub(1);
        }
        let is_string = ["text", "varchar", "bpchar", "char", "character", "name", "varying"].iter().any(|name| is_word(&tokens[places[before]], name));
        while before > 0 && matches!(tokens[places[before]].token, Token::Word(_)) {
            before -= 1;
        }
        let mut last = at + 1;
        while last + 2 < places.len() && tokens[places[last + 1]].token == Token::Period {
            last += 2;
        }
        let is_known = places.get(last).is_some_and(|place| match &tokens[*place].token {
            Token::Word(word) => matches!(word.value.as_str(), "C" | "POSIX" | "default" | "ucs_basic"),
            _ => false,
        });
        if is_string && is_known && tokens[places[before]].token == Token::DoubleColon {
            dropped.extend(&places[at..=last]);
        }
    }
    for at in dropped.into_iter().rev() {
        tokens.remove(at);
    }
}

/// A parenthesised subquery that begins a list or a larger query, which the parser takes for the whole:
/// `x IN ((SELECT …), …)`, and `x = ANY ((SELECT …) UNION SELECT …)`.
pub(super) fn spell_parenthesised_subqueries(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at < tokens.len() {
        at += 1;
        let word = keyword(&tokens[at - 1]);
        if !matches!(word, Keyword::IN | Keyword::ANY | Keyword::ALL | Keyword::SOME) {
            continue;
        }
        let next = |from: usize| (from..tokens.len()).find(|at| is_significant(&tokens[*at]));
        let Some(outer) = next(at).filter(|at| tokens[*at].token == Token::LParen) else { continue };
        let Some(inner) = next(outer + 1).filter(|at| tokens[*at].token == Token::LParen) else { continue };
        let begins = next(inner + 1).map(|at| keyword(&tokens[at]));
        if !matches!(begins, Some(Keyword::SELECT | Keyword::WITH | Keyword::VALUES)) {
            continue;
        }
        let (Some(inner_end), Some(outer_end)) = (closing(tokens, inner), closing(tokens, outer)) else { continue };
        let span = tokens[inner].span;
        let word_of = |text: &str| TokenWithSpan::new(Token::make_word(text, None), span);
        let key_of = |text: &str| TokenWithSpan::new(Token::make_keyword(text), span);
        let token_of = |token: Token| TokenWithSpan::new(token, span);
        match next(inner_end + 1).map(|at| (&tokens[at].token, keyword(&tokens[at]))) {
            // The first of a list becomes a call, which is no query.
            Some((Token::Comma, _)) if word == Keyword::IN => {
                tokens.insert(inner_end, token_of(Token::RParen));
                tokens.splice(inner..inner, [word_of("coalesce"), token_of(Token::LParen)]);
            }
            Some((_, Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT)) if word != Keyword::IN => {
                tokens.splice(outer_end..outer_end, [token_of(Token::RParen), word_of("q")]);
                tokens.splice(inner..inner, [key_of("SELECT"), token_of(Token::Mul), key_of("FROM"), token_of(Token::LParen)]);
            }
            _ => {}
        }
    }
}

/// Whether the set operations of a query begin with this word.
fn is_set_operator(word: Keyword) -> bool {
    matches!(word, Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT)
}

/// Subqueries that the parser does not take for such within an expression, as `(SELECT * FROM (…) q)`: set operations that begin
/// with a parenthesis, `((SELECT …) UNION SELECT …)`, and `(VALUES …)` and `(TABLE t)`, also behind ANY and ALL.
pub(super) fn spell_subqueries(tokens: &mut Vec<TokenWithSpan>) {
    let mut outer = tokens.len();
    // From the last to the first, so that places before one stay.
    while let Some(open) = tokens[..outer].iter().rposition(|token| token.token == Token::LParen) {
        outer = open;
        let next = |from: usize| (from..tokens.len()).find(|at| is_significant(&tokens[*at]));
        let Some(first) = next(open + 1) else { continue };
        let is_subquery = match keyword(&tokens[first]) {
            Keyword::VALUES | Keyword::TABLE => true,
            _ => {
                let begins = |at: usize| {
                    let words = [Keyword::SELECT, Keyword::WITH, Keyword::VALUES, Keyword::TABLE];
                    tokens[at].token == Token::LParen || words.contains(&keyword(&tokens[at]))
                };
                let is_query = tokens[first].token == Token::LParen && next(first + 1).is_some_and(begins);
                let end = if is_query { closing(tokens, first) } else { None };
                end.and_then(|end| next(end + 1)).is_some_and(|at| is_set_operator(keyword(&tokens[at])))
            }
        };
        let Some(close) = closing(tokens, open).filter(|_| is_subquery && begins_operand(tokens, open)) else { continue };
        let span = tokens[first].span;
        let token = |token: Token| TokenWithSpan::new(token, span);
        tokens.splice(close..close, [token(Token::RParen), token(Token::make_word("q", None))]);
        let words = [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM"), Token::LParen];
        tokens.splice(first..first, words.map(token));
    }
}

/// Whether the parenthesis stands where an operand of an expression begins, rather than an item of FROM, a query of a set
/// operation, the body of a WITH query, or the arguments of a call.
fn begins_operand(tokens: &[TokenWithSpan], open: usize) -> bool {
    let before = |at: usize| tokens[..at].iter().rposition(is_significant);
    let Some(at) = before(open) else { return false };
    match &tokens[at].token {
        Token::Word(_) => match keyword(&tokens[at]) {
            // IS [NOT] DISTINCT FROM.
            Keyword::FROM => before(at).is_some_and(|at| keyword(&tokens[at]) == Keyword::DISTINCT),
            // UNION ALL, UNION DISTINCT.
            Keyword::ALL | Keyword::DISTINCT => !before(at).is_some_and(|at| is_set_operator(keyword(&tokens[at]))),
            Keyword::SELECT
            | Keyword::ANY
            | Keyword::SOME
            | Keyword::WHERE
            | Keyword::AND
            | Keyword::OR
            | Keyword::NOT
            | Keyword::ON
            | Keyword::HAVING
            | Keyword::BY
            | Keyword::CASE
            | Keyword::WHEN
            | Keyword::THEN
            | Keyword::ELSE
            | Keyword::LIMIT
            | Keyword::OFFSET
            | Keyword::RETURNING
            | Keyword::BETWEEN
            | Keyword::LIKE
            | Keyword::ILIKE => true,
            _ => false,
        },
        Token::Comma => !is_in_from(tokens, at),
        // A parenthesis around an operand, the arguments of a call, or what is no expression.
        Token::LParen => {
            let is_call = before(at).is_some_and(|at| matches!(&tokens[at].token, Token::Word(word) if word.quote_style.is_some() || word.keyword == Keyword::NoKeyword));
            is_call && !is_in_from(tokens, at) || begins_operand(tokens, at)
        }
        Token::RParen | Token::RBracket | Token::Period | Token::SemiColon | Token::Colon | Token::DoubleColon => false,
        Token::Number(..) | Token::SingleQuotedString(_) | Token::Placeholder(_) => false,
        // An operator, or the bracket of an array.
        _ => true,
    }
}

/// Whether the nearest clause before a token, on its level of parentheses, is FROM.
fn is_in_from(tokens: &[TokenWithSpan], at: usize) -> bool {
    let mut depth = 0_usize;
    for (place, token) in tokens[..at].iter().enumerate().rev() {
        match token.token {
            Token::RParen => depth += 1,
            Token::LParen if depth == 0 => return false,
            Token::LParen => depth -= 1,
            _ if depth > 0 => {}
            _ => match keyword(token) {
                Keyword::FROM => {
                    let before = tokens[..place].iter().rfind(|token| is_significant(token));
                    if !before.is_some_and(|token| keyword(token) == Keyword::DISTINCT) {
                        return true;
                    }
                }
                Keyword::USING => return true,
                Keyword::SELECT | Keyword::WHERE | Keyword::BY | Keyword::SET | Keyword::VALUES | Keyword::RETURNING | Keyword::HAVING => {
                    return false;
                }
                _ => {}
            },
        }
    }
    false
}

/// The class of operators behind an item of a list: any index that is unique by one class is unique by all.
pub(super) fn drop_operator_classes(tokens: &mut Vec<TokenWithSpan>, open: usize) {
    let places: Vec<usize> = significant(tokens).into_iter().filter(|at| *at > open).collect();
    let mut depth = 1_usize;
    let mut dropped = Vec::new();
    for at in 1..places.len() {
        match &tokens[places[at]].token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            Token::Word(word) if depth == 1 && word.value.ends_with("_ops") => {
                let ends_item = places.get(at + 1).is_none_or(|next| matches!(tokens[*next].token, Token::Comma | Token::RParen));
                let first = if tokens[places[at - 1]].token == Token::Period { at.saturating_sub(2) } else { at };
                let is_alone = first == 0 || tokens[places[first - 1]].token == Token::Comma;
                if ends_item && !is_alone {
                    dropped.extend(&places[first..=at]);
                }
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    for at in dropped.into_iter().rev() {
        tokens.remove(at);
    }
}

/// Whether an operand may end with this token.
fn is_operand(token: &TokenWithSpan) -> bool {
    match &token.token {
        Token::Word(word) => {
            word.quote_style.is_some() || word.keyword == Keyword::NoKeyword || word.keyword == Keyword::NULL
        }
        Token::Number(..) | Token::SingleQuotedString(_) | Token::RParen | Token::RBracket | Token::Placeholder(_) => true,
        _ => false,
    }
}

/// TRIM with its arguments in a list, with FROM before them or without FROM, is a call of `btrim`, `ltrim` or `rtrim`.
pub(super) fn spell_trims(tokens: &mut Vec<TokenWithSpan>) {
    for at in (0..tokens.len()).rev() {
        if !is_word(&tokens[at], "trim") {
            continue;
        }
        let next = |from: usize| (from + 1..tokens.len()).find(|at| is_significant(&tokens[*at]));
        let Some(open) = next(at).filter(|at| tokens[*at].token == Token::LParen) else { continue };
        let (Some(first), Some(close)) = (next(open), closing(tokens, open)) else { continue };
        let name = match keyword(&tokens[first]) {
            Keyword::LEADING => "ltrim",
            Keyword::TRAILING => "rtrim",
            _ => "btrim",
        };
        let has_side = matches!(keyword(&tokens[first]), Keyword::LEADING | Keyword::TRAILING | Keyword::BOTH);
        let from_at = if has_side { next(first) } else { Some(first) };
        let mut depth = 0_i32;
        let has_from = tokens[open + 1..close].iter().any(|token| {
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            depth == 0 && keyword(token) == Keyword::FROM
        });
        let starts_with_from = from_at.is_some_and(|at| keyword(&tokens[at]) == Keyword::FROM);
        if has_from && !starts_with_from {
            // The form that the parser reads.
            continue;
        }
        let last_dropped = match (has_side, from_at.filter(|_| starts_with_from)) {
            (_, Some(from)) => Some(from),
            (true, None) => Some(first),
            (false, None) => None,
        };
        if let Some(last) = last_dropped {
            tokens.drain(first..=last);
        }
        tokens[at].token = Token::make_word(name, None);
    }
}

/// `SUBSTRING(text SIMILAR pattern ESCAPE escape)` is a call with three arguments.
pub(super) fn spell_substrings(tokens: &mut [TokenWithSpan]) {
    for at in 0..tokens.len() {
        if !is_word(&tokens[at], "substring") {
            continue;
        }
        let open = (at + 1..tokens.len()).find(|at| is_significant(&tokens[*at]));
        let Some(open) = open.filter(|at| tokens[*at].token == Token::LParen) else { continue };
        let Some(close) = closing(tokens, open) else { continue };
        let mut depth = 0_i32;
        let mut is_similar = false;
        for inner in open + 1..close {
            match tokens[inner].token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            let is_separator = depth == 0
                && (is_word(&tokens[inner], "similar") && !is_word_after(tokens, inner, "to")
                    || is_similar && is_word(&tokens[inner], "escape"));
            if is_separator {
                is_similar = true;
                tokens[inner].token = Token::Comma;
            }
        }
    }
}

fn is_word_after(tokens: &[TokenWithSpan], at: usize, text: &str) -> bool {
    tokens[at + 1..].iter().find(|token| is_significant(token)).is_some_and(|token| is_word(token, text))
}

/// The star of `(row).*` becomes a field named `"*"`, which the parser can read.
pub(super) fn name_row_stars(tokens: &mut [TokenWithSpan]) {
    let places: Vec<usize> = significant(tokens)
        .windows(3)
        .filter(|at| {
            matches!(tokens[at[0]].token, Token::RParen | Token::RBracket)
                && tokens[at[1]].token == Token::Period
                && tokens[at[2]].token == Token::Mul
        })
        .map(|at| at[2])
        .collect();
    for at in places {
        tokens[at].token = Token::make_word("*", Some('"'));
    }
}

/// ISNULL and NOTNULL behind an operand are IS NULL and IS NOT NULL.
pub(super) fn spell_null_tests(tokens: &mut Vec<TokenWithSpan>) {
    let places: Vec<(usize, bool)> = significant(tokens)
        .windows(2)
        .filter_map(|pair| {
            let test = &tokens[pair[1]];
            let is_not = is_word(test, "notnull");
            (is_operand(&tokens[pair[0]]) && (is_not || is_word(test, "isnull"))).then_some((pair[1], is_not))
        })
        .collect();
    for (at, is_not) in places.into_iter().rev() {
        let span = tokens[at].span;
        let words: &[&str] = if is_not { &["IS", "NOT", "NULL"] } else { &["IS", "NULL"] };
        tokens.splice(at..=at, words.iter().map(|word| TokenWithSpan::new(Token::make_keyword(word), span)));
    }
}

/// `OPERATOR(pg_catalog.-)` before an operand, and before ANY and ALL, is the operator.
pub(super) fn spell_operators(tokens: &mut Vec<TokenWithSpan>) {
    let mut from = 0;
    while let Some(at) = (from..tokens.len()).find(|at| keyword(&tokens[*at]) == Keyword::OPERATOR) {
        from = at + 1;
        let inside: Vec<usize> = (at + 1..tokens.len()).filter(|next| is_significant(&tokens[*next])).take(6).collect();
        let token = |place: usize| inside.get(place).map(|at| &tokens[*at].token);
        let (operator, end) = match (token(0), token(1), token(2), token(3), token(4)) {
            (Some(Token::LParen), Some(Token::Word(schema)), Some(Token::Period), Some(operator), Some(Token::RParen))
                if schema.value.eq_ignore_ascii_case("pg_catalog") =>
            {
                (operator.clone(), 4)
            }
            (Some(Token::LParen), Some(operator), Some(Token::RParen), ..) => (operator.clone(), 2),
            _ => continue,
        };
        let before = tokens[..at].iter().rfind(|token| is_significant(token));
        let is_prefix = !before.is_some_and(is_operand);
        let next = inside.get(end + 1).map(|at| keyword(&tokens[*at]));
        if is_prefix || matches!(next, Some(Keyword::ANY | Keyword::ALL | Keyword::SOME)) {
            let span = tokens[at].span;
            let end = inside[end];
            tokens.splice(at..=end, [TokenWithSpan::new(operator, span)]);
        }
    }
}

/// An item of ROLLUP or CUBE that begins with a parenthesis and goes on behind it gets one around the whole: the parser
/// takes the first for a list of columns.
pub(super) fn spell_grouping_items(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at < tokens.len() {
        let is_list = matches!(keyword(&tokens[at]), Keyword::ROLLUP | Keyword::CUBE);
        let next = (at + 1..tokens.len()).find(|next| is_significant(&tokens[*next]));
        at += 1;
        let Some(open) = next.filter(|next| is_list && tokens[*next].token == Token::LParen) else { continue };
        let Some(close) = closing(tokens, open) else { return };
        // From the last item back, so that places before it stay.
        let mut bounds = vec![open];
        let mut depth = 0_usize;
        for place in open + 1..close {
            match tokens[place].token {
                Token::LParen | Token::LBracket => depth += 1,
                Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
                Token::Comma if depth == 0 => bounds.push(place),
                _ => {}
            }
        }
        bounds.push(close);
        for pair in bounds.windows(2).rev() {
            let mut inside = (pair[0] + 1..pair[1]).filter(|place| is_significant(&tokens[*place]));
            let (Some(first), Some(last)) = (inside.next(), inside.next_back()) else { continue };
            if tokens[first].token != Token::LParen || closing(tokens, first) == Some(last) {
                continue;
            }
            let span = tokens[first].span;
            tokens.insert(last + 1, TokenWithSpan::new(Token::RParen, span));
            tokens.insert(first, TokenWithSpan::new(Token::LParen, span));
        }
    }
}
