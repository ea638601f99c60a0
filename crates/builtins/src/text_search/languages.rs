//! The languages that PostgreSQL has stemmers for.
//!
//! Stop words are those that PostgreSQL 15 drops, one list a language in `stop_words/`; some languages have none.

use std::borrow::Cow;

use rust_stemmers::Stemmer;
use rust_stemmers::Algorithm as Snowball2;
use waken_snowball::Algorithm as Snowball3;

/// What stems words of a language. PostgreSQL 15 has Snowball 2.2. The languages whose algorithm has changed since are those of an older
/// crate, which has not all languages.
#[derive(Clone, Copy)]
enum Algorithm {
    Two(Snowball2),
    Three(Snowball3),
}

macro_rules! languages {
    ($($language:ident $name:literal $version:ident $algorithm:ident $($stop_words:literal)?),* $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Language {
            $($language,)*
        }

        impl Language {
            /// By name.
            pub const ALL: &[Self] = &[$(Self::$language,)*];

            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$language => $name,)*
                }
            }

            const fn algorithm(self) -> Algorithm {
                match self {
                    $(Self::$language => languages!(@algorithm $version $algorithm),)*
                }
            }

            /// Between blanks.
            #[must_use]
            pub const fn stop_words(self) -> Option<&'static str> {
                match self {
                    $(Self::$language => languages!(@stop $($stop_words)?),)*
                }
            }
        }
    };
    (@algorithm two $algorithm:ident) => { Algorithm::Two(Snowball2::$algorithm) };
    (@algorithm three $algorithm:ident) => { Algorithm::Three(Snowball3::$algorithm) };
    (@stop) => { None };
    (@stop $file:literal) => { Some(include_str!(concat!("stop_words/", $file, ".txt"))) };
}

languages! {
    Arabic "arabic" three Arabic,
    Armenian "armenian" three Armenian,
    Basque "basque" three Basque,
    Catalan "catalan" three Catalan,
    Danish "danish" three Danish "danish",
    Dutch "dutch" two Dutch "dutch",
    English "english" two English "english",
    Finnish "finnish" three Finnish "finnish",
    French "french" two French "french",
    German "german" two German "german",
    Greek "greek" two Greek,
    Hindi "hindi" three Hindi,
    Hungarian "hungarian" three Hungarian "hungarian",
    Indonesian "indonesian" three Indonesian,
    Irish "irish" three Irish,
    Italian "italian" two Italian "italian",
    Lithuanian "lithuanian" three Lithuanian,
    Nepali "nepali" three Nepali "nepali",
    Norwegian "norwegian" two Norwegian "norwegian",
    Portuguese "portuguese" three Portuguese "portuguese",
    Romanian "romanian" two Romanian,
    Russian "russian" three Russian "russian",
    Serbian "serbian" three Serbian,
    Spanish "spanish" two Spanish "spanish",
    Swedish "swedish" two Swedish "swedish",
    Tamil "tamil" three Tamil,
    Turkish "turkish" two Turkish "turkish",
    Yiddish "yiddish" three Yiddish,
}

impl Language {
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|language| language.name().eq_ignore_ascii_case(name))
    }

    /// The stem of a word in lower case; the word itself where nothing would be left.
    #[must_use]
    pub fn stem(self, word: &str) -> String {
        let algorithm = match self {
            // The older algorithm does not know the diaeresis.
            Self::French if word.contains(['ë', 'ï']) => Algorithm::Three(Snowball3::French),
            _ => self.algorithm(),
        };
        let stem: Cow<'_, str> = match algorithm {
            Algorithm::Two(algorithm) => Stemmer::create(algorithm).stem(word),
            Algorithm::Three(algorithm) => waken_snowball::stem(algorithm, word),
        };
        if stem.is_empty() { word.to_owned() } else { stem.into_owned() }
    }
}
