//! `int4range '[1,5)'`: a string behind the name of a type. The parser knows the standard's types, and refuses others there.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};
use types::SqlType;

use super::is_significant;

/// A string behind the name of a built-in type that is no keyword becomes a cast.
pub(super) fn spell(tokens: &mut Vec<TokenWithSpan>) {
    let mut places: Vec<(usize, usize)> = Vec::new();
    let (mut name, mut is_qualified) = (None, false);
    for (at, token) in tokens.iter().enumerate().filter(|(_, token)| is_significant(token)) {
        match (&token.token, name.take()) {
            (Token::SingleQuotedString(_), Some(name)) => places.push((name, at)),
            (Token::Word(word), _) if word.quote_style.is_none() && word.keyword == Keyword::NoKeyword && !is_qualified => {
                name = Some(at);
            }
            _ => {}
        }
        is_qualified = token.token == Token::Period;
    }
    for (name, string) in places.into_iter().rev() {
        let Token::Word(word) = &tokens[name].token else { continue };
        if SqlType::lookup(&word.value).is_none_or(|ty| ty.is_pseudo()) {
            continue;
        }
        let (name_token, string_token) = (tokens[name].clone(), tokens[string].clone());
        let word = |token: Token| TokenWithSpan::new(token, name_token.span);
        let cast = [
            word(Token::make_keyword("CAST")),
            word(Token::LParen),
            string_token,
            word(Token::make_keyword("AS")),
            name_token.clone(),
            word(Token::RParen),
        ];
        tokens.splice(name..=string, cast);
    }
}
