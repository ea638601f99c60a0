//! Functions, procedures and DO.

use catalog::{RoutineKind, RoutineVolatility};
use sqlparser::ast;
use sqlparser::tokenizer::{Location, Token};
use types::ParameterMode;

use super::Own;
use super::object::Change;
use super::reader::{Read, Reader};

/// What ALTER, DROP and COMMENT say that a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoutineWord {
    Function,
    Procedure,
    Routine,
    Aggregate,
}

impl RoutineWord {
    pub fn name(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Procedure => "procedure",
            Self::Routine => "routine",
            Self::Aggregate => "aggregate",
        }
    }
}

/// A type where a routine names one.
#[derive(Clone, Debug)]
pub(crate) enum TypeText {
    Named(ast::DataType),
    /// `table.column%TYPE`
    OfColumn(ast::ObjectName),
}

#[derive(Clone, Debug)]
pub(crate) struct ParameterText {
    pub mode: ParameterMode,
    pub name: Option<ast::Ident>,
    pub ty: TypeText,
    /// SETOF, which no parameter may be.
    pub is_set: bool,
    pub default: Option<ast::Expr>,
}

/// What may stand after the parameters, each at most once but for SET.
#[derive(Clone, Debug)]
pub(crate) enum RoutineOption {
    Language(ast::Ident),
    Volatility(RoutineVolatility),
    Strict(bool),
    SecurityDefiner(bool),
    Leakproof(bool),
    Parallel(ast::Ident),
    Cost(f64),
    Rows(f64),
    /// None: RESET, or SET … TO DEFAULT.
    Set { name: ast::ObjectName, value: Option<Vec<ast::Expr>> },
    SetFromCurrent(ast::ObjectName),
    ResetAll,
    Body(BodyText),
    /// What there is none of here.
    Unsupported(&'static str),
}

#[derive(Clone, Debug)]
pub(crate) struct CreateRoutine {
    pub kind: RoutineKind,
    pub or_replace: bool,
    pub name: ast::ObjectName,
    pub parameters: Vec<ParameterText>,
    pub returns: Option<(TypeText, bool)>,
    pub returns_table: bool,
    pub options: Vec<RoutineOption>,
}

/// A routine that exists, by its name and perhaps the types it takes.
#[derive(Clone, Debug)]
pub(crate) struct RoutineName {
    pub name: ast::ObjectName,
    pub arguments: Option<Vec<ParameterText>>,
}

#[derive(Clone, Debug)]
pub(crate) enum RoutineChange {
    Named(Change),
    Options(Vec<RoutineOption>),
}

/// A body as it was written.
#[derive(Clone, Debug)]
pub(crate) struct BodyText {
    pub text: String,
    /// Where it begins and how many characters of quotes come first, if it stands in the statement as it is.
    pub at: Option<(Location, usize)>,
}

impl Reader<'_, '_> {
    /// A string: what a routine consists of.
    pub(super) fn body_text(&mut self) -> Read<BodyText> {
        let token = self.parser.peek_nth_token(0);
        let start = token.span.start;
        let (text, quotes) = match token.token {
            Token::DollarQuotedString(body) => {
                let tag = body.tag.as_ref().map_or(0, |tag| tag.chars().count());
                (body.value, Some(tag + 2))
            }
            Token::SingleQuotedString(text) => {
                let is_plain = !text.contains('\'');
                (text, is_plain.then_some(1))
            }
            Token::EscapedStringLiteral(text) => (text, None),
            _ => return self.refuse(),
        };
        self.parser.next_token();
        Ok(BodyText { text, at: quotes.map(|quotes| (start, quotes)) })
    }

    /// A language's name, which may be a string.
    pub(super) fn language(&mut self) -> Read<ast::Ident> {
        match self.parser.peek_nth_token_ref(0).token.clone() {
            Token::SingleQuotedString(name) => {
                self.parser.next_token();
                Ok(ast::Ident::with_quote('"', name))
            }
            _ => self.ident(),
        }
    }

    pub(super) fn do_block(&mut self) -> Read<Own> {
        let (mut language, mut body) = (None, None);
        while !self.is_at_end() {
            if self.words("language") {
                if language.is_some() {
                    return self.refuse();
                }
                language = Some(self.language()?);
            } else {
                if body.is_some() {
                    return self.refuse();
                }
                body = Some(self.body_text()?);
            }
        }
        match body {
            Some(body) => Ok(Own::Do { language, body }),
            None => self.refuse(),
        }
    }

    /// After CREATE [OR REPLACE] FUNCTION or PROCEDURE.
    pub(super) fn create_routine(&mut self, kind: RoutineKind, or_replace: bool) -> Read<Own> {
        let name = self.name()?;
        if !matches!(self.parser.peek_nth_token_ref(0).token, Token::LParen) {
            return self.refuse();
        }
        let mut parameters = self.parameters()?;
        let mut returns = None;
        let mut returns_table = false;
        if kind == RoutineKind::Function && self.words("returns") {
            if self.words("table") {
                returns_table = true;
                self.parser.expect_token(&Token::LParen)?;
                loop {
                    let name = self.ident()?;
                    let (ty, is_set) = self.type_text()?;
                    parameters.push(ParameterText {
                        mode: ParameterMode::Table,
                        name: Some(name),
                        ty,
                        is_set,
                        default: None,
                    });
                    if !self.parser.consume_token(&Token::Comma) {
                        break;
                    }
                }
                self.parser.expect_token(&Token::RParen)?;
            } else {
                returns = Some(self.type_text()?);
            }
        }
        let options = self.routine_options()?;
        let create = CreateRoutine { kind, or_replace, name, parameters, returns, returns_table, options };
        Ok(Own::CreateRoutine(Box::new(create)))
    }

    fn parameters(&mut self) -> Read<Vec<ParameterText>> {
        self.parser.expect_token(&Token::LParen)?;
        let mut parameters = Vec::new();
        if self.parser.consume_token(&Token::RParen) {
            return Ok(parameters);
        }
        loop {
            parameters.push(self.parameter()?);
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.parser.expect_token(&Token::RParen)?;
        Ok(parameters)
    }

    fn mode(&mut self) -> Option<ParameterMode> {
        match () {
            () if self.words("in out") || self.words("inout") => Some(ParameterMode::InOut),
            () if self.words("in") => Some(ParameterMode::In),
            () if self.words("out") => Some(ParameterMode::Out),
            () if self.words("variadic") => Some(ParameterMode::Variadic),
            () => None,
        }
    }

    pub(super) fn parameter(&mut self) -> Read<ParameterText> {
        let mut mode = self.mode();
        let mut name = None;
        if self.is_parameter_name() {
            name = Some(self.ident()?);
            if mode.is_none() {
                mode = self.mode();
            }
        }
        let (ty, is_set) = self.type_text()?;
        let default = if self.words("default") || self.parser.consume_token(&Token::Eq) {
            Some(self.parser.parse_expr()?)
        } else {
            None
        };
        Ok(ParameterText {
            mode: mode.unwrap_or(ParameterMode::In),
            name,
            ty,
            is_set,
            default,
        })
    }

    /// Whether the next word is a parameter's name, and its type comes after it.
    fn is_parameter_name(&self) -> bool {
        let word = |at: usize| match &self.parser.peek_nth_token_ref(at).token {
            Token::Word(word) => Some((word.value.to_ascii_lowercase(), word.quote_style.is_some())),
            _ => None,
        };
        let (Some((first, _)), Some((second, second_is_quoted))) = (word(0), word(1)) else { return false };
        if second_is_quoted {
            return true;
        }
        // Types of two words, and what follows a type.
        let is_type = match first.as_str() {
            "double" => second == "precision",
            "character" | "char" | "bit" => second == "varying",
            "national" => second == "character" || second == "char",
            "timestamp" | "time" => second == "with" || second == "without",
            "interval" => matches!(second.as_str(), "year" | "month" | "day" | "hour" | "minute" | "second"),
            "setof" => true,
            _ => false,
        };
        !is_type && second != "default" && second != "array"
    }

    /// A type, with SETOF before it.
    pub(super) fn type_text(&mut self) -> Read<(TypeText, bool)> {
        let is_set = self.words("setof");
        // `name%TYPE`
        let mut at = 0;
        while matches!(self.parser.peek_nth_token_ref(at).token, Token::Word(_)) {
            at += 1;
            if self.parser.peek_nth_token_ref(at).token != Token::Period {
                break;
            }
            at += 1;
        }
        let is_copied = self.parser.peek_nth_token_ref(at).token == Token::Mod
            && matches!(&self.parser.peek_nth_token_ref(at + 1).token, Token::Word(word)
                if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("type"));
        if is_copied {
            let name = self.name()?;
            self.parser.next_token();
            self.parser.next_token();
            return Ok((TypeText::OfColumn(name), is_set));
        }
        let ty = self.parser.parse_data_type()?;
        Ok((TypeText::Named(ty), is_set))
    }

    fn number(&mut self) -> Read<f64> {
        if self.parser.consume_token(&Token::Minus) {
            return Ok(-self.number()?);
        }
        match self.parser.peek_nth_token_ref(0).token.clone() {
            Token::Number(digits, _) => match digits.parse() {
                Ok(number) => {
                    self.parser.next_token();
                    Ok(number)
                }
                Err(_) => self.refuse(),
            },
            _ => self.refuse(),
        }
    }

    fn routine_options(&mut self) -> Read<Vec<RoutineOption>> {
        let mut options = Vec::new();
        while !self.is_at_end() {
            let Some(option) = self.routine_option()? else { return self.refuse() };
            let is_last = matches!(option, RoutineOption::Unsupported(_));
            options.push(option);
            if is_last {
                self.rest("")?;
            }
        }
        Ok(options)
    }

    fn routine_option(&mut self) -> Read<Option<RoutineOption>> {
        self.words("external");
        Ok(Some(match () {
            () if self.words("language") => RoutineOption::Language(self.language()?),
            () if self.words("immutable") => RoutineOption::Volatility(RoutineVolatility::Immutable),
            () if self.words("stable") => RoutineOption::Volatility(RoutineVolatility::Stable),
            () if self.words("volatile") => RoutineOption::Volatility(RoutineVolatility::Volatile),
            () if self.words("strict") || self.words("returns null on null input") => RoutineOption::Strict(true),
            () if self.words("called on null input") => RoutineOption::Strict(false),
            () if self.words("security definer") => RoutineOption::SecurityDefiner(true),
            () if self.words("security invoker") => RoutineOption::SecurityDefiner(false),
            () if self.words("not leakproof") => RoutineOption::Leakproof(false),
            () if self.words("leakproof") => RoutineOption::Leakproof(true),
            () if self.words("parallel") => RoutineOption::Parallel(self.ident()?),
            () if self.words("cost") => RoutineOption::Cost(self.number()?),
            () if self.words("rows") => RoutineOption::Rows(self.number()?),
            () if self.words("set") => {
                let name = self.name()?;
                if self.words("from current") {
                    RoutineOption::SetFromCurrent(name)
                } else {
                    if !self.words("to") && !self.parser.consume_token(&Token::Eq) {
                        return self.refuse();
                    }
                    if self.words("default") {
                        RoutineOption::Set { name, value: None }
                    } else {
                        let mut values = vec![self.parser.parse_expr()?];
                        while self.parser.consume_token(&Token::Comma) {
                            values.push(self.parser.parse_expr()?);
                        }
                        RoutineOption::Set { name, value: Some(values) }
                    }
                }
            }
            () if self.words("reset all") => RoutineOption::ResetAll,
            () if self.words("reset") => RoutineOption::Set { name: self.name()?, value: None },
            () if self.words("as") => {
                let body = self.body_text()?;
                if self.parser.consume_token(&Token::Comma) {
                    RoutineOption::Unsupported("functions in libraries")
                } else {
                    RoutineOption::Body(body)
                }
            }
            // What ends is a string by now.
            () if self.words("begin atomic") || self.words("return") => return self.refuse(),
            () if self.words("window") => RoutineOption::Unsupported("window functions by users"),
            () if self.words("transform") => RoutineOption::Unsupported("TRANSFORM"),
            () if self.words("support") => RoutineOption::Unsupported("SUPPORT"),
            () => return Ok(None),
        }))
    }

    pub(super) fn routine_word(&mut self) -> Option<RoutineWord> {
        match () {
            () if self.words("function") => Some(RoutineWord::Function),
            () if self.words("procedure") => Some(RoutineWord::Procedure),
            () if self.words("routine") => Some(RoutineWord::Routine),
            () => None,
        }
    }

    pub(super) fn routine_name(&mut self) -> Read<RoutineName> {
        let name = self.name()?;
        let has_arguments = matches!(self.parser.peek_nth_token_ref(0).token, Token::LParen);
        let arguments = if has_arguments { Some(self.parameters()?) } else { None };
        Ok(RoutineName { name, arguments })
    }

    /// A routine by the word that was said of it: aggregates are always named with what they take.
    fn routine_of(&mut self, word: RoutineWord) -> Read<RoutineName> {
        match word {
            RoutineWord::Aggregate => self.aggregate_name(),
            RoutineWord::Function | RoutineWord::Procedure | RoutineWord::Routine => self.routine_name(),
        }
    }

    pub(super) fn drop_routines(&mut self, word: RoutineWord) -> Read<Own> {
        let if_exists = self.words("if exists");
        let mut names = vec![self.routine_of(word)?];
        while self.parser.consume_token(&Token::Comma) {
            names.push(self.routine_of(word)?);
        }
        let cascade = self.words("cascade");
        self.words("restrict");
        Ok(Own::DropRoutines { word, names, if_exists, cascade })
    }

    pub(super) fn alter_routine(&mut self, word: RoutineWord) -> Read<Own> {
        let name = self.routine_of(word)?;
        let change = match self.change()? {
            Some(change) => RoutineChange::Named(change),
            None if word == RoutineWord::Aggregate => return self.refuse(),
            None if self.words("depends on extension") || self.words("no depends on extension") => {
                self.ident()?;
                RoutineChange::Named(Change::Accepted)
            }
            None => {
                let mut options = Vec::new();
                while !self.is_at_end() && !self.words("restrict") {
                    match self.routine_option()? {
                        Some(RoutineOption::Body(_) | RoutineOption::Language(_)) | None => return self.refuse(),
                        Some(option) => options.push(option),
                    }
                }
                if options.is_empty() {
                    return self.refuse();
                }
                RoutineChange::Options(options)
            }
        };
        Ok(Own::AlterRoutine { word, name, change })
    }
}
