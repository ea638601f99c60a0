//! Dictionaries: what makes a lexeme of a word, or says that it is a stop word.

use std::sync::LazyLock;

use rustc_hash::{FxHashMap, FxHashSet};

use super::languages::Language;

/// The Snowball stemmers are given no word longer than this, in bytes: what takes so long is no word.
const STEMMED_BYTES_MAX: usize = 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dictionary {
    pub template: Template,
    /// Words that are no lexemes.
    pub stop_words: Option<Language>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// Lower case.
    Simple {
        /// Else what is no stop word is left to the next dictionary.
        accept: bool,
    },
    /// The stem of a word.
    Snowball(Language),
}

/// What a dictionary makes of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lexized {
    Lexeme(String),
    StopWord,
    /// The next dictionary is asked.
    Unknown,
}

impl Dictionary {
    pub const SIMPLE: Self = Self { template: Template::Simple { accept: true }, stop_words: None };

    #[must_use]
    pub fn of_language(language: Language) -> Self {
        let has_stop_words = language.stop_words().is_some();
        Self { template: Template::Snowball(language), stop_words: has_stop_words.then_some(language) }
    }

    /// What becomes of a word.
    #[must_use]
    pub fn lexize(&self, word: &str) -> Lexized {
        let word = word.to_ascii_lowercase();
        if word.is_empty() || self.stop_words.is_some_and(|language| is_stop_word(language, &word)) {
            return Lexized::StopWord;
        }
        match self.template {
            Template::Simple { accept: true } => Lexized::Lexeme(word),
            Template::Simple { accept: false } => Lexized::Unknown,
            Template::Snowball(_) if word.len() > STEMMED_BYTES_MAX => Lexized::Lexeme(word),
            Template::Snowball(language) => Lexized::Lexeme(language.stem(&word)),
        }
    }
}

fn is_stop_word(language: Language, word: &str) -> bool {
    static SETS: LazyLock<FxHashMap<Language, FxHashSet<&'static str>>> = LazyLock::new(|| {
        let with_words = Language::ALL.iter().filter_map(|it| Some((*it, it.stop_words()?)));
        with_words.map(|(language, words)| (language, words.split_ascii_whitespace().collect())).collect()
    });
    SETS.get(&language).is_some_and(|words| words.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_lexemes() {
        let english = Dictionary::of_language(Language::English);
        assert_eq!(english.lexize("The"), Lexized::StopWord);
        assert_eq!(english.lexize("Running"), Lexized::Lexeme("run".to_owned()));
        assert_eq!(Dictionary::SIMPLE.lexize("The"), Lexized::Lexeme("the".to_owned()));
        let only_stops = Dictionary { template: Template::Simple { accept: false }, stop_words: Some(Language::English) };
        assert_eq!(only_stops.lexize("the"), Lexized::StopWord);
        assert_eq!(only_stops.lexize("cat"), Lexized::Unknown);
    }
}
