//! Configurations: which dictionaries make lexemes of which tokens. And the built-in ones.

use std::sync::{Arc, LazyLock};

use types::text_search::{LEXEME_BYTES_END, Lexeme, POSITION_MAX, Position, TsVector, Weight};
use types::SqlResult;

use super::dictionary::{Dictionary, Lexized};
use super::languages::Language;
use super::parser::{Parser, TokenType};

/// `pg_ts_parser`'s only row.
pub const DEFAULT_PARSER_OID: u32 = 3722;
const SIMPLE_CONFIGURATION_OID: u32 = 3748;
const SIMPLE_DICTIONARY_OID: u32 = 3765;
pub const SIMPLE_TEMPLATE_OID: u32 = 3727;
pub const SNOWBALL_TEMPLATE_OID: u32 = 13_150;

/// A dictionary that configurations name.
#[derive(Debug)]
pub struct NamedDictionary {
    pub oid: u32,
    pub name: String,
    pub template: u32,
    /// `pg_ts_dict.dictinitoption`.
    pub options: Option<String>,
    pub dictionary: Arc<Dictionary>,
}

/// For each type of token the dictionaries that are asked, in order. Tokens without any are passed over.
#[derive(Debug, Default)]
pub struct Configuration {
    dictionaries: [Vec<Arc<NamedDictionary>>; 24],
}

#[derive(Debug)]
pub struct NamedConfiguration {
    pub oid: u32,
    pub name: &'static str,
    pub configuration: Arc<Configuration>,
}

/// A word of a text: its lexeme and its place, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub lexeme: String,
    pub position: u16,
}

impl Configuration {
    pub fn set(&mut self, token: TokenType, dictionaries: Vec<Arc<NamedDictionary>>) {
        self.dictionaries[usize::from(token.number())] = dictionaries;
    }

    #[must_use]
    pub fn dictionaries(&self, token: TokenType) -> &[Arc<NamedDictionary>] {
        &self.dictionaries[usize::from(token.number())]
    }

    /// What becomes of a token, and by which dictionary; none where no dictionary knows it.
    #[must_use]
    pub fn lexize(&self, token: TokenType, word: &str) -> Option<(&Arc<NamedDictionary>, Option<String>)> {
        self.dictionaries(token).iter().find_map(|named| match named.dictionary.lexize(word) {
            Lexized::Lexeme(lexeme) => Some((named, Some(lexeme))),
            Lexized::StopWord => Some((named, None)),
            Lexized::Unknown => None,
        })
    }

    /// The lexemes of a text, behind `last`, which becomes the last place that was used. Stop words take a place too.
    pub fn words(&self, text: &str, last: &mut u32) -> Vec<Placed> {
        let mut words = Vec::new();
        for (token, word) in Parser::new(text) {
            // Longer ones are not indexed.
            if word.len() >= LEXEME_BYTES_END {
                continue;
            }
            if let Some((_, lexeme)) = self.lexize(token, word) {
                *last += 1;
                let position = u16::try_from(*last).unwrap_or(POSITION_MAX).min(POSITION_MAX);
                words.extend(lexeme.map(|lexeme| Placed { lexeme, position }));
            }
        }
        words
    }

    /// `to_tsvector`.
    ///
    /// # Errors
    /// 54000 for a vector that is too large.
    pub fn vector(&self, text: &str) -> SqlResult<TsVector> {
        vector_of(self.words(text, &mut 0))
    }
}

/// # Errors
/// 54000 for a vector that is too large.
pub fn vector_of(words: Vec<Placed>) -> SqlResult<TsVector> {
    let lexemes = words.into_iter().map(|word| Lexeme {
        text: word.lexeme.into(),
        positions: vec![Position::new(word.position, Weight::D)],
    });
    TsVector::from_lexemes(lexemes.collect())
}

/// The built-in dictionaries: `simple`, then those of the languages.
pub fn dictionaries() -> &'static [Arc<NamedDictionary>] {
    static ALL: LazyLock<Vec<Arc<NamedDictionary>>> = LazyLock::new(|| {
        let simple = NamedDictionary {
            oid: SIMPLE_DICTIONARY_OID,
            name: "simple".to_owned(),
            template: SIMPLE_TEMPLATE_OID,
            options: None,
            dictionary: Arc::new(Dictionary::SIMPLE),
        };
        let of_languages = (13_151..).step_by(2).zip(Language::ALL).map(|(oid, language)| {
            let name = language.name();
            let stop_words = language.stop_words().map(|_| format!(", stopwords = '{name}'")).unwrap_or_default();
            NamedDictionary {
                oid,
                name: format!("{name}_stem"),
                template: SNOWBALL_TEMPLATE_OID,
                options: Some(format!("language = '{name}'{stop_words}")),
                dictionary: Arc::new(Dictionary::of_language(*language)),
            }
        });
        std::iter::once(simple).chain(of_languages).map(Arc::new).collect()
    });
    &ALL
}

/// The built-in configurations: `simple`, then those of the languages.
pub fn configurations() -> &'static [NamedConfiguration] {
    static ALL: LazyLock<Vec<NamedConfiguration>> = LazyLock::new(|| {
        let [simple, of_languages @ ..] = dictionaries() else { return Vec::new() };
        let first = NamedConfiguration {
            oid: SIMPLE_CONFIGURATION_OID,
            name: "simple",
            configuration: Arc::new(built_in(simple, simple, simple)),
        };
        // Words in ASCII within a Russian or Hindi text are taken for English.
        let latin = |language: Language, own: &Arc<NamedDictionary>| match language {
            Language::Hindi | Language::Russian => {
                of_languages.iter().find(|it| it.name == "english_stem").unwrap_or(own).clone()
            }
            _ => own.clone(),
        };
        let rest = (13_152..).step_by(2).zip(Language::ALL).zip(of_languages).map(|((oid, language), own)| {
            let configuration = Arc::new(built_in(simple, &latin(*language, own), own));
            NamedConfiguration { oid, name: language.name(), configuration }
        });
        std::iter::once(first).chain(rest).collect()
    });
    &ALL
}

fn built_in(simple: &Arc<NamedDictionary>, ascii: &Arc<NamedDictionary>, words: &Arc<NamedDictionary>) -> Configuration {
    use TokenType as T;
    let mut configuration = Configuration::default();
    for token in TokenType::ALL {
        let dictionary = match token {
            T::AsciiWord | T::HyphenatedAsciiWord | T::HyphenatedAsciiPart => ascii,
            T::Word | T::HyphenatedWord | T::HyphenatedPart => words,
            T::NumWord | T::Email | T::Url | T::Host | T::ScientificFloat | T::Version | T::HyphenatedNumPart
            | T::HyphenatedNumWord | T::UrlPath | T::File | T::Float | T::Int | T::UnsignedInt => simple,
            T::Blank | T::Tag | T::Protocol | T::Entity => continue,
        };
        configuration.set(token, vec![Arc::clone(dictionary)]);
    }
    configuration
}
