//! `ts_headline`: a part of a text that shows why it satisfies a query, with the query's words marked.
//!
//! A cover is a shortest stretch of words that satisfies the query. The headline is the best cover, made as long as is asked for and
//! ending on words worth ending on; or several fragments, each around a cover.

use types::text_search::{Evidence, Found, LEXEME_BYTES_END, Operand, POSITION_MAX, TsQuery, matches};
use types::{SqlError, SqlResult, SqlState};

use super::configuration::Configuration;
use super::parser::{Parser, TokenType};

/// Longer marks are refused.
const MARK_BYTES_MAX: usize = 0x7fff;

/// How a headline is made.
#[derive(Debug)]
pub(crate) struct Options {
    start_mark: String,
    stop_mark: String,
    fragment_delimiter: String,
    words_max: i64,
    words_min: i64,
    short_word: i64,
    fragments_max: i64,
    is_whole: bool,
}

impl Options {
    /// # Errors
    /// 22023 for options that do not exist or fit together, 42601 for bad syntax.
    pub fn parse(text: &str) -> SqlResult<Self> {
        let mut options = Self {
            start_mark: "<b>".to_owned(),
            stop_mark: "</b>".to_owned(),
            fragment_delimiter: " ... ".to_owned(),
            words_max: 35,
            words_min: 15,
            short_word: 3,
            fragments_max: 0,
            is_whole: false,
        };
        for (name, value) in option_list(text)? {
            let number = || {
                let wrong = |_| {
                    let message = format!("invalid input syntax for type integer: \"{value}\"");
                    SqlError::new(SqlState::InvalidTextRepresentation, message)
                };
                value.trim().parse::<i32>().map(i64::from).map_err(wrong)
            };
            match name.to_ascii_lowercase().as_str() {
                "maxwords" => options.words_max = number()?,
                "minwords" => options.words_min = number()?,
                "shortword" => options.short_word = number()?,
                "maxfragments" => options.fragments_max = number()?,
                "startsel" => options.start_mark = value,
                "stopsel" => options.stop_mark = value,
                "fragmentdelimiter" => options.fragment_delimiter = value,
                "highlightall" => {
                    options.is_whole = ["1", "on", "true", "t", "y", "yes"].iter().any(|it| value.eq_ignore_ascii_case(it));
                }
                _ => return Err(invalid(&format!("unrecognized headline parameter: \"{name}\""))),
            }
        }
        let texts = [
            (&options.start_mark, "StartSel"),
            (&options.stop_mark, "StopSel"),
            (&options.fragment_delimiter, "FragmentDelimiter"),
        ];
        if let Some((_, name)) = texts.iter().find(|(text, _)| text.len() > MARK_BYTES_MAX) {
            return Err(invalid(&format!("value for \"{name}\" is too long")));
        }
        if !options.is_whole {
            let rules = [
                (options.words_min < options.words_max, "MinWords should be less than MaxWords"),
                (options.words_min > 0, "MinWords should be positive"),
                (options.short_word >= 0, "ShortWord should be >= 0"),
                (options.fragments_max >= 0, "MaxFragments should be >= 0"),
            ];
            if let Some((_, message)) = rules.iter().find(|(holds, _)| !holds) {
                return Err(invalid(message));
            }
        }
        Ok(options)
    }
}

fn invalid(message: &str) -> SqlError {
    SqlError::new(SqlState::InvalidParameterValue, message.to_owned())
}

/// `name = value` between commas; values may stand in quotes.
pub(crate) fn option_list(text: &str) -> SqlResult<Vec<(String, String)>> {
    let wrong = || SqlError::new(SqlState::SyntaxError, format!("invalid parameter list format: \"{text}\""));
    let is_blank = |c: char| c.is_ascii_whitespace() || c == '\x0b';
    let mut rest = text;
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c| is_blank(c) || c == ',');
        let Some(first) = rest.chars().next() else { return Ok(found) };
        let name = if first == '"' {
            let (name, behind) = quoted(&rest[1..], '"').ok_or_else(wrong)?;
            rest = behind;
            name
        } else {
            let end = rest.find(|c| is_blank(c) || c == '=').ok_or_else(wrong)?;
            let name = rest[..end].to_owned();
            if !first.is_ascii_alphabetic() && first != '_' && first.is_ascii() {
                return Err(wrong());
            }
            rest = &rest[end..];
            name
        };
        rest = rest.trim_start_matches(is_blank).strip_prefix('=').ok_or_else(wrong)?.trim_start_matches(is_blank);
        let value = match rest.chars().next() {
            None => return Err(wrong()),
            Some(quote @ ('\'' | '"')) => {
                let (value, behind) = quoted(&rest[1..], quote).ok_or_else(wrong)?;
                rest = behind;
                if !rest.is_empty() && !rest.starts_with(|c| is_blank(c) || c == ',') {
                    return Err(wrong());
                }
                value
            }
            Some(_) => {
                let end = rest.find(|c| is_blank(c) || c == ',').unwrap_or(rest.len());
                let value = rest[..end].to_owned();
                rest = &rest[end..];
                value
            }
        };
        found.push((name, value));
    }
}

/// Up to a quote, of which two stand for one; and what is behind it.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let c = rest.chars().next()?;
        rest = &rest[c.len_utf8()..];
        if c == quote {
            match rest.strip_prefix(quote) {
                Some(behind) => rest = behind,
                None => return Some((value, rest)),
            }
        } else if c == '\\' && quote == '\'' && rest.starts_with('\\') {
            rest = &rest[1..];
        }
        value.push(c);
    }
}

/// A token of the text; once more for each further operand that it is.
struct Word<'a> {
    text: &'a str,
    token: TokenType,
    position: u32,
    /// The number of the operand that it is.
    operand: Option<usize>,
    is_repeated: bool,
    is_in: bool,
    is_selected: bool,
    is_replaced: bool,
    is_skipped: bool,
}

impl Word<'_> {
    /// Counts as no word: blanks, tags, and what its parts follow.
    fn is_no_word(&self) -> bool {
        is_compound(self.token) || matches!(self.token, TokenType::Blank | TokenType::Tag)
    }

    fn is_interesting(&self) -> bool {
        self.operand.is_some() && !self.is_repeated
    }
}

fn is_compound(token: TokenType) -> bool {
    use TokenType::{HyphenatedAsciiWord, HyphenatedNumWord, HyphenatedWord, Url};
    matches!(token, Url | HyphenatedNumWord | HyphenatedAsciiWord | HyphenatedWord)
}

struct Headline<'a> {
    words: Vec<Word<'a>>,
    query: &'a TsQuery,
    operands: Vec<&'a Operand>,
    options: &'a Options,
}

/// The words from one to another.
struct Stretch<'h> {
    words: &'h [Word<'h>],
    operands: &'h [&'h Operand],
}

impl Stretch<'_> {
    fn number(&self, operand: &Operand) -> Option<usize> {
        self.operands.iter().position(|it| std::ptr::eq(*it, operand))
    }
}

impl Evidence for Stretch<'_> {
    fn has(&self, operand: &Operand) -> Found {
        let number = self.number(operand);
        if self.words.iter().any(|word| word.operand.is_some() && word.operand == number) { Found::Yes } else { Found::No }
    }

    fn positions(&self, operand: &Operand) -> (Found, Vec<u32>) {
        let number = self.number(operand);
        let of_operand = self.words.iter().filter(|word| word.operand.is_some() && word.operand == number);
        (self.has(operand), of_operand.map(|word| word.position).collect())
    }
}

/// A part of a text, by the numbers of its first and last word.
#[derive(Clone, Copy)]
struct Fragment {
    first: usize,
    last: usize,
    /// Words, and words of the query.
    length: i64,
    interesting: i64,
    is_chosen: bool,
    is_excluded: bool,
}

pub(crate) fn headline(configuration: &Configuration, text: &str, query: &TsQuery, options: &Options) -> String {
    let operands: Vec<&Operand> = query.operands().collect();
    let words = words_of(configuration, text, &operands);
    let mut headline = Headline { words, query, operands, options };
    if options.fragments_max == 0 {
        headline.mark_best();
    } else {
        headline.mark_fragments();
    }
    headline.written()
}

fn words_of<'a>(configuration: &Configuration, text: &'a str, operands: &[&Operand]) -> Vec<Word<'a>> {
    let mut words: Vec<Word<'a>> = Vec::new();
    let mut position = 0u32;
    for (token, text) in Parser::new(text) {
        if text.len() >= LEXEME_BYTES_END {
            continue;
        }
        let lexized = configuration.lexize(token, text);
        position += u32::from(lexized.is_some());
        let at = words.len();
        let word = |operand, is_repeated| Word {
            text,
            token,
            position: position.min(u32::from(POSITION_MAX)),
            operand,
            is_repeated,
            is_in: false,
            is_selected: false,
            is_replaced: false,
            is_skipped: false,
        };
        words.push(word(None, false));
        let Some((_, Some(lexeme))) = lexized else { continue };
        for (number, operand) in operands.iter().enumerate() {
            let is_found = if operand.is_prefix { lexeme.starts_with(&*operand.text) } else { *operand.text == *lexeme };
            match is_found {
                true if words[at].operand.is_none() => words[at].operand = Some(number),
                true => words.push(word(Some(number), true)),
                false => {}
            }
        }
    }
    words
}

impl<'a> Headline<'a> {
    fn next_operand(&self, from: usize) -> Option<usize> {
        (from..self.words.len()).find(|number| self.words[*number].operand.is_some())
    }

    /// The earliest shortest stretch that satisfies the query.
    fn cover(&self, from: usize) -> Option<(usize, usize)> {
        let words_max = usize::try_from(self.options.words_max).unwrap_or(0);
        let fragments = usize::try_from(self.options.fragments_max).unwrap_or(0).max(1);
        let length_max = words_max.saturating_mul(10).max(100).saturating_mul(fragments);
        let mut next_first = self.next_operand(from);
        while let Some(first) = next_first {
            let mut last = first;
            next_first = self.next_operand(first + 1);
            loop {
                let stretch = Stretch { words: &self.words[first..=last], operands: &self.operands };
                if matches(self.query, &stretch) {
                    return Some((first, last));
                }
                match self.next_operand(last + 1) {
                    Some(next) if next - first < length_max => last = next,
                    _ => break,
                }
            }
        }
        None
    }

    fn is_bad_end(&self, number: usize) -> bool {
        use TokenType::{Float, Int, Protocol, ScientificFloat, UnsignedInt, Version};
        let word = &self.words[number];
        let is_no_end = word.is_no_word()
            || matches!(word.token, ScientificFloat | Version | Float | Int | UnsignedInt | Protocol);
        (is_no_end || word.text.len() as i64 <= self.options.short_word) && !word.is_interesting()
    }

    /// 1 for a word, and 1 for a word of the query.
    fn counts(&self, number: usize) -> (i64, i64) {
        let word = &self.words[number];
        (i64::from(!word.is_no_word()), i64::from(word.is_interesting()))
    }

    fn mark_best(&mut self) {
        if self.options.is_whole {
            self.mark(0, self.words.len());
            return;
        }
        let mut best: Option<(Fragment, bool)> = None;
        let mut from = 0;
        while let Some((first, last)) = self.cover(from) {
            let fragment = self.fitted(first, last);
            let is_covering = fragment.first <= first && fragment.last >= last;
            let is_better = best.as_ref().is_none_or(|(best, best_covers)| {
                (is_covering && !best_covers)
                    || is_covering == *best_covers
                        && (fragment.interesting > best.interesting
                            || fragment.interesting == best.interesting
                                && !self.is_bad_end(fragment.last)
                                && self.is_bad_end(best.last))
            });
            if is_better {
                best = Some((fragment, is_covering));
            }
            from = first + 1;
        }
        match best {
            Some((best, _)) => self.mark(best.first, best.last + 1),
            None => self.mark_beginning(),
        }
    }

    /// A cover, made longer or shorter to fit.
    fn fitted(&self, first: usize, last: usize) -> Fragment {
        let (words_min, words_max) = (self.options.words_min, self.options.words_max);
        let (mut length, mut interesting) = (0, 0);
        let (mut begin, mut end) = (first, first);
        let mut i = first;
        while i <= last && length < words_max {
            let (word, of_query) = self.counts(i);
            (length, interesting, end) = (length + word, interesting + of_query, i);
            i += 1;
        }
        if length < words_max {
            // Forward to a good end.
            let mut i = i - 1;
            while i < self.words.len() && length < words_max {
                if i > last {
                    let (word, of_query) = self.counts(i);
                    (length, interesting) = (length + word, interesting + of_query);
                }
                end = i;
                if !self.is_bad_end(i) && length >= words_min {
                    break;
                }
                i += 1;
            }
            if length < words_min {
                // The text is at its end: backward.
                begin = 0;
                for i in (0..first).rev() {
                    let (word, of_query) = self.counts(i);
                    (length, interesting) = (length + word, interesting + of_query);
                    if length >= words_max || !self.is_bad_end(i) && length >= words_min {
                        begin = i;
                        break;
                    }
                }
            }
        } else {
            let mut i = i.min(last);
            while length > words_min && self.is_bad_end(i) && i > first {
                let (word, of_query) = self.counts(i);
                (length, interesting, end) = (length - word, interesting - of_query, i - 1);
                i -= 1;
            }
        }
        Fragment { first: begin, last: end, length, interesting, is_chosen: false, is_excluded: false }
    }

    /// Where nothing is found, the first words.
    fn mark_beginning(&mut self) {
        let mut length = 0;
        let mut end = 0;
        while end < self.words.len() && length < self.options.words_min {
            length += self.counts(end).0;
            end += 1;
        }
        self.mark(0, end);
    }

    fn mark(&mut self, from: usize, to: usize) {
        let is_whole = self.options.is_whole;
        for word in &mut self.words[from..to] {
            word.is_selected |= word.operand.is_some();
            word.is_skipped = is_compound(word.token);
            word.is_replaced = !is_whole && word.token == TokenType::Tag;
            word.is_in = !word.is_repeated;
        }
    }

    fn mark_fragments(&mut self) {
        let mut covers = self.fragments();
        let mut is_any = false;
        for _ in 0..self.options.fragments_max {
            let mut best: Option<usize> = None;
            for (number, cover) in covers.iter().enumerate().filter(|(_, it)| !it.is_chosen && !it.is_excluded) {
                let is_better = match best.map(|best| &covers[best]) {
                    None => true,
                    Some(best) => {
                        cover.interesting > best.interesting
                            || cover.interesting == best.interesting && cover.length < best.length
                    }
                };
                if is_better {
                    best = Some(number);
                }
            }
            let Some(best) = best else { break };
            let (first, last) = self.stretched(&covers[best]);
            covers[best] = Fragment { first, last, is_chosen: true, ..covers[best] };
            self.mark(first, last + 1);
            is_any = true;
            for (number, cover) in covers.iter_mut().enumerate() {
                if number != best && cover.first <= last && cover.last >= first {
                    cover.is_excluded = true;
                }
            }
        }
        if !is_any {
            self.mark_beginning();
        }
    }

    /// The covers, cut so that none has too many words.
    fn fragments(&self) -> Vec<Fragment> {
        let mut covers = Vec::new();
        let mut from = 0;
        while let Some((first, last)) = self.cover(from) {
            let mut begin = first;
            while begin <= last {
                let fragment = self.next_fragment(begin, last);
                begin = fragment.last + 1;
                covers.push(fragment);
            }
            from = first + 1;
        }
        covers
    }

    /// From the first word of the query on, with as many words as are allowed.
    fn next_fragment(&self, first: usize, last: usize) -> Fragment {
        let begin = (first..=last).find(|number| self.words[*number].is_interesting()).unwrap_or(last);
        let (mut length, mut interesting) = (0, 0);
        let mut i = begin;
        while i <= last && length < self.options.words_max {
            let (word, of_query) = self.counts(i);
            (length, interesting) = (length + word, interesting + of_query);
            i += 1;
        }
        let mut end = last;
        if last > i {
            end = i;
            while end > begin && !self.words[end].is_interesting() {
                length -= self.counts(end).0;
                end -= 1;
            }
        }
        Fragment { first: begin, last: end, length, interesting, is_chosen: false, is_excluded: false }
    }

    /// Made longer on both sides, up to what is in a fragment already.
    fn stretched(&self, cover: &Fragment) -> (usize, usize) {
        let words_max = self.options.words_max;
        let (mut first, mut last, mut length) = (cover.first, cover.last, cover.length);
        if length >= words_max {
            return (first, last);
        }
        let before_max = (words_max - length) / 2;
        let mut before = 0;
        let mut reached = first;
        while reached > 0 && before < before_max && !self.words[reached - 1].is_in {
            reached -= 1;
            let word = self.counts(reached).0;
            (length, before) = (length + word, before + word);
        }
        while reached < first && self.is_bad_end(reached) {
            length -= self.counts(reached).0;
            reached += 1;
        }
        first = reached;
        let mut reached = last;
        while reached + 1 < self.words.len() && length < words_max && !self.words[reached + 1].is_in {
            reached += 1;
            length += self.counts(reached).0;
        }
        while reached > last && self.is_bad_end(reached) {
            reached -= 1;
        }
        last = reached;
        (first, last)
    }

    fn written(&self) -> String {
        let mut out = String::new();
        let (mut is_inside, mut fragments) = (false, 0);
        for word in self.words.iter().filter(|word| !word.is_repeated) {
            if !word.is_in {
                is_inside = false;
                continue;
            }
            if !is_inside {
                is_inside = true;
                fragments += 1;
                if fragments > 1 {
                    out.push_str(&self.options.fragment_delimiter);
                }
            }
            if word.is_replaced {
                out.push(' ');
            } else if !word.is_skipped {
                let marks = [&self.options.start_mark, &self.options.stop_mark];
                let [start, stop] = if word.is_selected { marks.map(String::as_str) } else { ["", ""] };
                out.extend([start, word.text, stop]);
            }
        }
        out
    }
}
