//! PostgreSQL's default parser: cuts a text into words, numbers, hosts, files, tags and what is between them.
//!
//! The parser is an automaton with a stack. Where a word may go on as something longer (`foo` as `foo.com`, `12` as `12.5`), it
//! saves its place and tries; when the attempt fails it goes back and looks at the rules behind the one it had tried. Compound
//! tokens (a URL, a word with hyphens) are given as a whole first, and then their parts, by going back to where they began.
//!
//! As with the collation "C", every character beyond ASCII is a letter.

/// What a token is; its number is the one of PostgreSQL's catalogs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TokenType {
    AsciiWord = 1,
    Word,
    NumWord,
    Email,
    Url,
    Host,
    ScientificFloat,
    Version,
    HyphenatedNumPart,
    HyphenatedPart,
    HyphenatedAsciiPart,
    Blank,
    Tag,
    Protocol,
    HyphenatedNumWord,
    HyphenatedAsciiWord,
    HyphenatedWord,
    UrlPath,
    File,
    Float,
    Int,
    UnsignedInt,
    Entity,
}

use TokenType as T;

impl TokenType {
    /// By number, from 1.
    pub const ALL: [Self; 23] = [
        T::AsciiWord,
        T::Word,
        T::NumWord,
        T::Email,
        T::Url,
        T::Host,
        T::ScientificFloat,
        T::Version,
        T::HyphenatedNumPart,
        T::HyphenatedPart,
        T::HyphenatedAsciiPart,
        T::Blank,
        T::Tag,
        T::Protocol,
        T::HyphenatedNumWord,
        T::HyphenatedAsciiWord,
        T::HyphenatedWord,
        T::UrlPath,
        T::File,
        T::Float,
        T::Int,
        T::UnsignedInt,
        T::Entity,
    ];

    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
    }

    #[must_use]
    pub const fn alias(self) -> &'static str {
        self.names().0
    }

    #[must_use]
    pub const fn description(self) -> &'static str {
        self.names().1
    }

    const fn names(self) -> (&'static str, &'static str) {
        match self {
            T::AsciiWord => ("asciiword", "Word, all ASCII"),
            T::Word => ("word", "Word, all letters"),
            T::NumWord => ("numword", "Word, letters and digits"),
            T::Email => ("email", "Email address"),
            T::Url => ("url", "URL"),
            T::Host => ("host", "Host"),
            T::ScientificFloat => ("sfloat", "Scientific notation"),
            T::Version => ("version", "Version number"),
            T::HyphenatedNumPart => ("hword_numpart", "Hyphenated word part, letters and digits"),
            T::HyphenatedPart => ("hword_part", "Hyphenated word part, all letters"),
            T::HyphenatedAsciiPart => ("hword_asciipart", "Hyphenated word part, all ASCII"),
            T::Blank => ("blank", "Space symbols"),
            T::Tag => ("tag", "XML tag"),
            T::Protocol => ("protocol", "Protocol head"),
            T::HyphenatedNumWord => ("numhword", "Hyphenated word, letters and digits"),
            T::HyphenatedAsciiWord => ("asciihword", "Hyphenated word, all ASCII"),
            T::HyphenatedWord => ("hword", "Hyphenated word, all letters"),
            T::UrlPath => ("url_path", "URL path"),
            T::File => ("file", "File or path name"),
            T::Float => ("float", "Decimal notation"),
            T::Int => ("int", "Signed integer"),
            T::UnsignedInt => ("uint", "Unsigned integer"),
            T::Entity => ("entity", "XML entity"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Base,
    Space,
    NumWord,
    AsciiWord,
    Word,
    Unsigned,
    SignedFirst,
    Signed,
    UnsignedDecimalFirst,
    UnsignedDecimal,
    DecimalFirst,
    Decimal,
    VersionInSigned,
    SignOfVersion,
    VersionFirst,
    Version,
    MantissaFirst,
    MantissaSign,
    Mantissa,
    EntityFirst,
    Entity,
    EntityNumberFirst,
    EntityNumber,
    EntityHexFirst,
    EntityHex,
    EntityEnd,
    TagFirst,
    Declaration,
    TagCloseFirst,
    TagName,
    TagCloseSelf,
    Tag,
    TagQuote,
    TagDoubleQuote,
    TagEscape,
    TagEnd,
    CommentFirst,
    CommentSecond,
    Comment,
    CommentClosing,
    CommentClosingSecond,
    CommentEnd,
    DomainFirst,
    DomainSecond,
    Domain,
    PortFirst,
    Port,
    HostFirst,
    Host,
    Email,
    FileFirst,
    FileHome,
    PathFirst,
    PathDot,
    PathDots,
    File,
    FileNext,
    UrlPathFirst,
    UrlPathStart,
    UrlPath,
    UrlWithPath,
    ProtocolFirst,
    ProtocolSecond,
    ProtocolEnd,
    HyphenAsciiFirst,
    HyphenAscii,
    HyphenWordFirst,
    HyphenWord,
    HyphenNumFirst,
    HyphenNum,
    HyphenDigits,
    Parts,
    PartsHyphen,
    PartWord,
    PartAscii,
    PartNum,
    PartDigits,
}

use State as S;

/// What a rule asks of the character.
#[derive(Clone, Copy)]
enum Class {
    Any,
    End,
    Is(u8),
    AsciiLetter,
    Letter,
    Digit,
    Alnum,
    NotAlnum,
    HexDigit,
    Blank,
    UrlChar,
    /// Within the contents of a script or style.
    Ignored,
    /// A host that is the part of a URL ends here.
    HostOfUrl,
    /// A host follows: it is taken along.
    AHost,
    /// The path of a URL follows: it is taken along.
    APath,
}

/// What happens to the stack of saved places.
#[derive(Clone, Copy, PartialEq)]
enum Stack {
    Keep,
    /// Goes back to the saved place.
    Pop,
    /// Saves the place, to go on behind this rule.
    Push,
    /// Forgets the last saved place.
    Clear,
    ClearAll,
    /// Forgets the last saved place, and goes on in its state.
    Merge,
}

#[derive(Clone, Copy, PartialEq)]
enum Effect {
    None,
    /// Goes back to where the token began.
    Rewind,
    /// As that, and the host that is there is the part of a URL.
    RewindToHost,
    /// Goes back before the token counts.
    RewindAll,
    /// Looks whether a tag begins or ends a script or style.
    Tag,
}

#[derive(Clone, Copy)]
struct Rule {
    class: Class,
    stack: Stack,
    to: Option<State>,
    token: Option<TokenType>,
    /// Looks at the character once more.
    again: bool,
    effect: Effect,
}

const fn rule(class: Class, stack: Stack, to: Option<State>) -> Rule {
    Rule { class, stack, to, token: None, again: false, effect: Effect::None }
}

const fn go(class: Class, to: State) -> Rule {
    rule(class, Stack::Keep, Some(to))
}

const fn stay(class: Class) -> Rule {
    rule(class, Stack::Keep, None)
}

const fn attempt(class: Class, to: State) -> Rule {
    rule(class, Stack::Push, Some(to))
}

/// The attempt has led somewhere.
const fn settle(class: Class, to: State) -> Rule {
    rule(class, Stack::Clear, Some(to))
}

const fn fail(class: Class) -> Rule {
    rule(class, Stack::Pop, None)
}

const fn found(class: Class, to: State, token: TokenType) -> Rule {
    Rule { token: Some(token), ..go(class, to) }
}

const fn found_all(class: Class, to: State, token: TokenType) -> Rule {
    Rule { token: Some(token), ..rule(class, Stack::ClearAll, Some(to)) }
}

const fn found_clear(class: Class, to: State, token: TokenType) -> Rule {
    Rule { token: Some(token), ..settle(class, to) }
}

const fn with(effect: Effect, rule: Rule) -> Rule {
    Rule { effect, ..rule }
}

const fn again(to: State) -> Rule {
    Rule { again: true, ..go(Class::Any, to) }
}

use Class::{AHost, APath, Alnum, Any, AsciiLetter, Blank, Digit, End, HexDigit, HostOfUrl, Ignored, Is, Letter, NotAlnum, UrlChar};

/// The rules of a state, of which the first that fits holds; the last fits always.
#[rustfmt::skip]
const fn rules(state: State) -> &'static [Rule] {
    match state {
        S::Base => const { &[
            go(End, S::Base), attempt(Is(b'<'), S::TagFirst), go(Ignored, S::Space), attempt(AsciiLetter, S::AsciiWord),
            attempt(Letter, S::Word), attempt(Digit, S::Unsigned), attempt(Is(b'-'), S::SignedFirst),
            attempt(Is(b'+'), S::SignedFirst), attempt(Is(b'&'), S::EntityFirst), attempt(Is(b'~'), S::FileHome),
            attempt(Is(b'/'), S::FileFirst), attempt(Is(b'.'), S::PathDot), go(Any, S::Space),
        ] },
        S::Space => const { &[
            found(End, S::Base, T::Blank), found(Is(b'<'), S::Base, T::Blank), stay(Ignored), found(Is(b'-'), S::Base, T::Blank),
            found(Is(b'+'), S::Base, T::Blank), found(Is(b'&'), S::Base, T::Blank), found(Is(b'/'), S::Base, T::Blank),
            stay(NotAlnum), found(Any, S::Base, T::Blank),
        ] },
        S::NumWord => const { &[
            found(End, S::Base, T::NumWord), stay(Alnum), attempt(Is(b'@'), S::Email), attempt(Is(b'/'), S::FileFirst),
            attempt(Is(b'.'), S::FileNext), attempt(Is(b'-'), S::HyphenNumFirst), found(Any, S::Base, T::NumWord),
        ] },
        S::AsciiWord => const { &[
            found(End, S::Base, T::AsciiWord), stay(AsciiLetter), attempt(Is(b'.'), S::DomainFirst),
            attempt(Is(b'.'), S::FileNext), attempt(Is(b'-'), S::HostFirst), attempt(Is(b'-'), S::HyphenAsciiFirst),
            attempt(Is(b'_'), S::HostFirst), attempt(Is(b'@'), S::Email), attempt(Is(b':'), S::ProtocolFirst),
            attempt(Is(b'/'), S::FileFirst), attempt(Digit, S::Host), go(Digit, S::NumWord), go(Letter, S::Word),
            found(Any, S::Base, T::AsciiWord),
        ] },
        S::Word => const { &[
            found(End, S::Base, T::Word), stay(Letter), go(Digit, S::NumWord), attempt(Is(b'-'), S::HyphenWordFirst),
            found(Any, S::Base, T::Word),
        ] },
        S::Unsigned => const { &[
            found(End, S::Base, T::UnsignedInt), stay(Digit), attempt(Is(b'.'), S::DomainFirst),
            attempt(Is(b'.'), S::UnsignedDecimalFirst), attempt(Is(b'e'), S::MantissaFirst), attempt(Is(b'E'), S::MantissaFirst),
            attempt(Is(b'-'), S::HostFirst), attempt(Is(b'_'), S::HostFirst), attempt(Is(b'@'), S::Email),
            attempt(AsciiLetter, S::Host), go(Letter, S::NumWord), attempt(Is(b'/'), S::FileFirst),
            found(Any, S::Base, T::UnsignedInt),
        ] },
        S::SignedFirst => const { &[fail(End), settle(Digit, S::Signed), fail(Any)] },
        S::Signed => const { &[
            found(End, S::Base, T::Int), stay(Digit), attempt(Is(b'.'), S::DecimalFirst), attempt(Is(b'e'), S::MantissaFirst),
            attempt(Is(b'E'), S::MantissaFirst), found(Any, S::Base, T::Int),
        ] },
        S::UnsignedDecimalFirst => const { &[fail(End), settle(Digit, S::UnsignedDecimal), fail(Any)] },
        S::UnsignedDecimal => const { &[
            found(End, S::Base, T::Float), stay(Digit), attempt(Is(b'.'), S::VersionFirst), attempt(Is(b'e'), S::MantissaFirst),
            attempt(Is(b'E'), S::MantissaFirst), found(Any, S::Base, T::Float),
        ] },
        S::DecimalFirst => const { &[fail(End), settle(Digit, S::Decimal), fail(Any)] },
        S::Decimal => const { &[
            found(End, S::Base, T::Float), stay(Digit), attempt(Is(b'e'), S::MantissaFirst), attempt(Is(b'E'), S::MantissaFirst),
            attempt(Is(b'.'), S::VersionInSigned), found(Any, S::Base, T::Float),
        ] },
        // A version has no sign: what looked like one is between words.
        S::VersionInSigned => const { &[
            fail(End), Rule { again: true, ..with(Effect::RewindAll, go(Digit, S::SignOfVersion)) }, fail(Any),
        ] },
        S::SignOfVersion => const { &[fail(End), found_all(Digit, S::Unsigned, T::Blank), stay(Any)] },
        S::VersionFirst => const { &[fail(End), settle(Digit, S::Version), fail(Any)] },
        S::Version => const { &[
            found(End, S::Base, T::Version), stay(Digit), attempt(Is(b'.'), S::VersionFirst), found(Any, S::Base, T::Version),
        ] },
        S::MantissaFirst => const { &[
            fail(End), settle(Digit, S::Mantissa), go(Is(b'+'), S::MantissaSign), go(Is(b'-'), S::MantissaSign), fail(Any),
        ] },
        S::MantissaSign => const { &[fail(End), settle(Digit, S::Mantissa), fail(Any)] },
        S::Mantissa => const { &[found(End, S::Base, T::ScientificFloat), stay(Digit), found(Any, S::Base, T::ScientificFloat)] },
        S::EntityFirst => const { &[
            fail(End), go(Is(b'#'), S::EntityNumberFirst), go(AsciiLetter, S::Entity), go(Is(b':'), S::Entity),
            go(Is(b'_'), S::Entity), fail(Any),
        ] },
        S::Entity => const { &[
            fail(End), stay(Alnum), stay(Is(b':')), stay(Is(b'_')), stay(Is(b'.')), stay(Is(b'-')), go(Is(b';'), S::EntityEnd),
            fail(Any),
        ] },
        S::EntityNumberFirst => const { &[
            fail(End), go(Is(b'x'), S::EntityHexFirst), go(Is(b'X'), S::EntityHexFirst), go(Digit, S::EntityNumber), fail(Any),
        ] },
        S::EntityHexFirst => const { &[fail(End), go(HexDigit, S::EntityHex), fail(Any)] },
        S::EntityNumber => const { &[fail(End), stay(Digit), go(Is(b';'), S::EntityEnd), fail(Any)] },
        S::EntityHex => const { &[fail(End), stay(HexDigit), go(Is(b';'), S::EntityEnd), fail(Any)] },
        S::EntityEnd => const { &[found_clear(Any, S::Base, T::Entity)] },
        S::TagFirst => const { &[
            fail(End), attempt(Is(b'/'), S::TagCloseFirst), attempt(Is(b'!'), S::CommentFirst), attempt(Is(b'?'), S::Declaration),
            attempt(AsciiLetter, S::TagName), attempt(Is(b':'), S::TagName), attempt(Is(b'_'), S::TagName), fail(Any),
        ] },
        S::Declaration => const { &[fail(End), go(Is(b'x'), S::Tag), fail(Any)] },
        S::TagCloseFirst => const { &[fail(End), go(AsciiLetter, S::TagName), fail(Any)] },
        S::TagName => const { &[
            fail(End), go(Is(b'/'), S::TagCloseSelf), with(Effect::Tag, go(Is(b'>'), S::TagEnd)),
            with(Effect::Tag, go(Blank, S::Tag)), stay(Alnum), stay(Is(b':')), stay(Is(b'_')), stay(Is(b'.')), stay(Is(b'-')),
            fail(Any),
        ] },
        S::TagCloseSelf => const { &[fail(End), go(Is(b'>'), S::TagEnd), fail(Any)] },
        S::Tag => const { &[
            fail(End), with(Effect::Tag, go(Is(b'>'), S::TagEnd)), go(Is(b'\''), S::TagQuote), go(Is(b'"'), S::TagDoubleQuote),
            stay(AsciiLetter), stay(Digit), stay(Is(b'=')), stay(Is(b'-')), stay(Is(b'_')), stay(Is(b'#')), stay(Is(b'/')),
            stay(Is(b':')), stay(Is(b'.')), stay(Is(b'&')), stay(Is(b'?')), stay(Is(b'%')), stay(Is(b'~')),
            with(Effect::Tag, stay(Blank)), fail(Any),
        ] },
        S::TagQuote => const { &[fail(End), attempt(Is(b'\\'), S::TagEscape), go(Is(b'\''), S::Tag), stay(Any)] },
        S::TagDoubleQuote => const { &[fail(End), attempt(Is(b'\\'), S::TagEscape), go(Is(b'"'), S::Tag), stay(Any)] },
        S::TagEscape => const { &[fail(End), rule(Any, Stack::Merge, None)] },
        S::TagEnd => const { &[found_all(Any, S::Base, T::Tag)] },
        S::CommentFirst => const { &[
            fail(End), go(Is(b'-'), S::CommentSecond), go(Is(b'D'), S::Tag), go(Is(b'd'), S::Tag), fail(Any),
        ] },
        S::CommentSecond => const { &[fail(End), go(Is(b'-'), S::Comment), fail(Any)] },
        S::Comment => const { &[fail(End), go(Is(b'-'), S::CommentClosing), stay(Any)] },
        S::CommentClosing => const { &[fail(End), go(Is(b'-'), S::CommentClosingSecond), go(Any, S::Comment)] },
        S::CommentClosingSecond => const { &[fail(End), stay(Is(b'-')), go(Is(b'>'), S::CommentEnd), go(Any, S::Comment)] },
        S::CommentEnd => const { &[found_all(Any, S::Base, T::Tag)] },
        S::DomainFirst => const { &[fail(End), go(AsciiLetter, S::DomainSecond), go(Digit, S::Host), fail(Any)] },
        S::DomainSecond => const { &[
            fail(End), go(AsciiLetter, S::Domain), attempt(Digit, S::Host), attempt(Is(b'-'), S::HostFirst),
            attempt(Is(b'_'), S::HostFirst), attempt(Is(b'.'), S::DomainFirst), attempt(Is(b'@'), S::Email), fail(Any),
        ] },
        S::Domain => const { &[
            found_all(End, S::Base, T::Host), stay(AsciiLetter), attempt(Digit, S::Host), attempt(Is(b':'), S::PortFirst),
            attempt(Is(b'-'), S::HostFirst), attempt(Is(b'_'), S::HostFirst), attempt(Is(b'.'), S::DomainFirst),
            attempt(Is(b'@'), S::Email), fail(Digit), found_all(HostOfUrl, S::UrlPathStart, T::Host),
            attempt(Is(b'/'), S::UrlWithPath), found_all(Any, S::Base, T::Host),
        ] },
        S::PortFirst => const { &[fail(End), go(Digit, S::Port), fail(Any)] },
        S::Port => const { &[
            found_all(End, S::Base, T::Host), stay(Digit), found_all(HostOfUrl, S::UrlPathStart, T::Host),
            attempt(Is(b'/'), S::UrlWithPath), found_all(Any, S::Base, T::Host),
        ] },
        S::HostFirst => const { &[fail(End), go(Digit, S::Host), go(AsciiLetter, S::Host), fail(Any)] },
        S::Host => const { &[
            fail(End), stay(Digit), stay(AsciiLetter), attempt(Is(b'@'), S::Email), attempt(Is(b'.'), S::DomainFirst),
            attempt(Is(b'-'), S::HostFirst), attempt(Is(b'_'), S::HostFirst), fail(Any),
        ] },
        S::Email => const { &[fail(HostOfUrl), found_all(AHost, S::Base, T::Email), fail(Any)] },
        S::FileFirst => const { &[
            fail(End), settle(AsciiLetter, S::File), settle(Digit, S::File), go(Is(b'.'), S::PathFirst),
            settle(Is(b'_'), S::File), go(Is(b'~'), S::FileHome), fail(Any),
        ] },
        S::FileHome => const { &[
            fail(End), settle(AsciiLetter, S::File), settle(Digit, S::File), settle(Is(b'_'), S::File),
            go(Is(b'/'), S::FileFirst), fail(Any),
        ] },
        S::PathFirst => const { &[
            fail(End), settle(AsciiLetter, S::File), settle(Digit, S::File), settle(Is(b'_'), S::File),
            go(Is(b'.'), S::PathDots), go(Is(b'/'), S::FileFirst), fail(Any),
        ] },
        S::PathDot => const { &[fail(End), go(Is(b'.'), S::PathDots), go(Is(b'/'), S::FileFirst), fail(Any)] },
        S::PathDots => const { &[
            found_clear(End, S::Base, T::File), attempt(Is(b'/'), S::FileFirst), found_clear(Is(b'/'), S::Base, T::File),
            found_clear(Blank, S::Base, T::File), fail(Any),
        ] },
        S::File => const { &[
            found(End, S::Base, T::File), stay(AsciiLetter), stay(Digit), attempt(Is(b'.'), S::FileNext), stay(Is(b'_')),
            stay(Is(b'-')), attempt(Is(b'/'), S::FileFirst), found(Any, S::Base, T::File),
        ] },
        S::FileNext => const { &[fail(End), settle(AsciiLetter, S::File), settle(Digit, S::File), settle(Is(b'_'), S::File), fail(Any)] },
        S::UrlPathFirst => const { &[fail(End), go(UrlChar, S::UrlPath), fail(Any)] },
        S::UrlPathStart => const { &[go(Any, S::UrlPath)] },
        S::UrlPath => const { &[found(End, S::Base, T::UrlPath), stay(UrlChar), found(Any, S::Base, T::UrlPath)] },
        S::UrlWithPath => const { &[fail(End), with(Effect::RewindToHost, found_all(APath, S::Base, T::Url)), fail(Any)] },
        S::ProtocolFirst => const { &[fail(End), go(Is(b'/'), S::ProtocolSecond), fail(Any)] },
        S::ProtocolSecond => const { &[fail(End), go(Is(b'/'), S::ProtocolEnd), fail(Any)] },
        S::ProtocolEnd => const { &[found_all(Any, S::Base, T::Protocol)] },
        S::HyphenAsciiFirst => const { &[
            fail(End), go(AsciiLetter, S::HyphenAscii), go(Letter, S::HyphenWord), go(Digit, S::HyphenDigits), fail(Any),
        ] },
        S::HyphenAscii => const { &[
            with(Effect::Rewind, found_all(End, S::Parts, T::HyphenatedAsciiWord)), stay(AsciiLetter), go(Letter, S::HyphenWord),
            go(Digit, S::HyphenNum), attempt(Is(b'-'), S::HyphenAsciiFirst),
            with(Effect::Rewind, found_all(Any, S::Parts, T::HyphenatedAsciiWord)),
        ] },
        S::HyphenWordFirst => const { &[fail(End), go(Letter, S::HyphenWord), go(Digit, S::HyphenDigits), fail(Any)] },
        S::HyphenWord => const { &[
            with(Effect::Rewind, found_all(End, S::Parts, T::HyphenatedWord)), stay(Letter), go(Digit, S::HyphenNum),
            attempt(Is(b'-'), S::HyphenWordFirst), with(Effect::Rewind, found_all(Any, S::Parts, T::HyphenatedWord)),
        ] },
        S::HyphenNumFirst => const { &[fail(End), go(Letter, S::HyphenNum), go(Digit, S::HyphenDigits), fail(Any)] },
        S::HyphenNum => const { &[
            with(Effect::Rewind, found_all(End, S::Parts, T::HyphenatedNumWord)), stay(Alnum),
            attempt(Is(b'-'), S::HyphenNumFirst), with(Effect::Rewind, found_all(Any, S::Parts, T::HyphenatedNumWord)),
        ] },
        S::HyphenDigits => const { &[fail(End), stay(Digit), go(Letter, S::HyphenNum), fail(Any)] },
        S::Parts => const { &[
            Rule { again: true, ..go(End, S::Base) }, go(AsciiLetter, S::PartAscii), go(Letter, S::PartWord),
            attempt(Digit, S::PartDigits), attempt(Is(b'-'), S::PartsHyphen), again(S::Base),
        ] },
        S::PartsHyphen => const { &[fail(End), found_clear(Alnum, S::Parts, T::Blank), fail(Any)] },
        S::PartWord => const { &[
            found(End, S::Base, T::HyphenatedPart), stay(Letter), go(Digit, S::PartNum), found(Any, S::Parts, T::HyphenatedPart),
        ] },
        S::PartAscii => const { &[
            found(End, S::Base, T::HyphenatedAsciiPart), stay(AsciiLetter), go(Letter, S::PartWord), go(Digit, S::PartNum),
            found(Any, S::Parts, T::HyphenatedAsciiPart),
        ] },
        S::PartNum => const { &[found(End, S::Base, T::HyphenatedNumPart), stay(Alnum), found(Any, S::Parts, T::HyphenatedNumPart)] },
        S::PartDigits => const { &[fail(End), stay(Digit), settle(Letter, S::PartNum), fail(Any)] },
    }
}

/// Where the parser is.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    /// Bytes of the token so far.
    token: usize,
    state: State,
    /// Rules up to here were tried.
    tried: usize,
}

/// Gives the tokens of a text: all of it, in order, compound ones before their parts.
pub struct Parser<'a> {
    text: &'a str,
    place: Place,
    saved: Vec<Place>,
    is_ignoring: bool,
    wants_host: bool,
}

impl<'a> Parser<'a> {
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self::from(text, State::Base)
    }

    fn from(text: &'a str, state: State) -> Self {
        let place = Place { at: 0, token: 0, state, tried: 0 };
        Self { text, place, saved: Vec::new(), is_ignoring: false, wants_host: false }
    }

    /// Whether a rule fits. Some take along what they have looked at.
    fn fits(&mut self, class: Class, c: Option<char>) -> bool {
        let is = |test: fn(char) -> bool| c.is_some_and(test);
        match class {
            Any => true,
            End => c.is_none(),
            Is(byte) => c == Some(char::from(byte)),
            AsciiLetter => is(|c| c.is_ascii_alphabetic()),
            Letter => is(|c| c.is_ascii_alphabetic() || !c.is_ascii()),
            Digit => is(|c| c.is_ascii_digit()),
            Alnum => is(|c| c.is_ascii_alphanumeric() || !c.is_ascii()),
            NotAlnum => is(|c| c.is_ascii() && !c.is_ascii_alphanumeric()),
            HexDigit => is(|c| c.is_ascii_hexdigit()),
            Blank => is(|c| c.is_ascii_whitespace() || c == '\x0b'),
            UrlChar => is(|c| c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}')),
            Ignored => self.is_ignoring,
            HostOfUrl => std::mem::take(&mut self.wants_host),
            AHost => self.takes(State::Base, T::Host),
            APath => self.takes(State::UrlPathFirst, T::UrlPath),
        }
    }

    /// Whether a token of this type begins here; it becomes part of the current one.
    fn takes(&mut self, state: State, wanted: TokenType) -> bool {
        let mut inner = Parser::from(&self.text[self.place.at..], state);
        inner.wants_host = wanted == T::Host;
        // An attempt that fails goes back to nothing.
        inner.saved.push(Place { at: 0, token: 0, state: State::Base, tried: 0 });
        match inner.next() {
            Some((found, text)) if found == wanted => {
                self.place.at += text.len();
                self.place.token += text.len();
                true
            }
            _ => false,
        }
    }

    fn note_tag(&mut self) {
        let token = &self.text.as_bytes()[self.place.at - self.place.token..self.place.at];
        if token.eq_ignore_ascii_case(b"</script") || token.eq_ignore_ascii_case(b"</style") {
            self.is_ignoring = false;
        } else if token.eq_ignore_ascii_case(b"<script") || token.eq_ignore_ascii_case(b"<style") {
            self.is_ignoring = true;
        }
    }
}

impl<'a> Iterator for Parser<'a> {
    type Item = (TokenType, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.place.at >= self.text.len() {
            return None;
        }
        let begin = self.place.at;
        self.place.tried = 0;
        loop {
            let c = self.text[self.place.at..].chars().next();
            let all = rules(self.place.state);
            let from = std::mem::take(&mut self.place.tried);
            let before = self.place;
            let number = (from..all.len()).find(|number| self.fits(all[*number].class, c)).unwrap_or(all.len() - 1);
            let rule = all[number];
            // What was taken along counts as the character.
            let width = if self.place.at == before.at { c.map_or(0, char::len_utf8) } else { 0 };
            match rule.effect {
                Effect::None => {}
                Effect::Tag => self.note_tag(),
                Effect::Rewind | Effect::RewindToHost => {
                    self.wants_host |= rule.effect == Effect::RewindToHost;
                    self.place.at -= self.place.token;
                }
                Effect::RewindAll => {
                    self.place.at -= self.place.token;
                    self.place.token = 0;
                }
            }
            let token_bytes = self.place.token;
            if rule.token.is_some() {
                self.place.token = 0;
            }
            match rule.stack {
                Stack::Keep => {}
                Stack::Pop => {
                    if let Some(saved) = self.saved.pop() {
                        self.place = saved;
                    }
                }
                Stack::Push => self.saved.push(Place { tried: number + 1, ..self.place }),
                Stack::Clear => drop(self.saved.pop()),
                Stack::ClearAll => self.saved.clear(),
                Stack::Merge => {
                    if let Some(saved) = self.saved.pop() {
                        self.place.state = saved.state;
                        self.place.tried = saved.tried;
                    }
                }
            }
            if let Some(to) = rule.to {
                self.place.state = to;
            }
            if let Some(token) = rule.token {
                return Some((token, &self.text[begin..begin + token_bytes]));
            }
            if self.place.at >= self.text.len() && !rule.again {
                return None;
            }
            if rule.again || rule.stack == Stack::Pop {
                continue;
            }
            self.place.at += width;
            self.place.token += width;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let found: Vec<(&str, &str)> = Parser::new(text).map(|(token, text)| (token.alias(), text)).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn texts_are_cut_into_tokens() {
        check("", &[]);
        check("a fat cat", &[("asciiword", "a"), ("blank", " "), ("asciiword", "fat"), ("blank", " "), ("asciiword", "cat")]);
        check("foo-bar", &[("asciihword", "foo-bar"), ("hword_asciipart", "foo"), ("blank", "-"), ("hword_asciipart", "bar")]);
        check("-12.5e3", &[("sfloat", "-12.5e3")]);
        check("1.2.3", &[("version", "1.2.3")]);
        check("a@b.com", &[("email", "a@b.com")]);
        check(
            "http://ex.com/a?b",
            &[("protocol", "http://"), ("url", "ex.com/a?b"), ("host", "ex.com"), ("url_path", "/a?b")],
        );
        check("<b>x</b>", &[("tag", "<b>"), ("asciiword", "x"), ("tag", "</b>")]);
        check("&amp;", &[("entity", "&amp;")]);
        check("/usr/bin", &[("file", "/usr/bin")]);
        check("été", &[("word", "été")]);
    }
}
