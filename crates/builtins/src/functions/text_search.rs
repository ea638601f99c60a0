//! Functions of full text search. Documentation, section 9.13.

use std::sync::Arc;

use types::text_search::{Lexeme, Operator, PHRASE_DISTANCE_MAX, Syntax, TsQuery, TsVector, Weight};
use types::{Array, Datum, Json, SqlError, SqlResult, SqlState, SqlType};

use crate::EvalContext;
use crate::arguments::{array, float, int, jsonb, text, tsquery, tsvector};
use crate::operators::json::{Raw, compact_text, json_text, raw};
use crate::signature::{ArgType, Builtin, CallTypes, RetType, SetFunction, SetRows};
use crate::text_search::configuration::{Configuration, DEFAULT_PARSER_OID, Placed, vector_of};
use crate::text_search::dictionary::Lexized;
use crate::text_search::headline::{Options, headline};
use crate::text_search::parser::{Parser, TokenType};
use crate::text_search::ranking::{DEFAULT_WEIGHTS, rank, rank_by_cover};
use crate::text_search::{current_configuration, query};

const VECTOR: ArgType = ArgType::T(SqlType::TsVector);
const QUERY: ArgType = ArgType::T(SqlType::TsQuery);
const CONFIGURATION: ArgType = ArgType::T(SqlType::RegConfig);
const DICTIONARY: ArgType = ArgType::T(SqlType::RegDictionary);
const TEXT: ArgType = ArgType::T(SqlType::Text);
const TEXTS: ArgType = ArgType::T(SqlType::TEXT_ARRAY);
const JSON: ArgType = ArgType::T(SqlType::Json);
const JSONB: ArgType = ArgType::T(SqlType::Jsonb);
const CHAR: ArgType = ArgType::T(SqlType::QuotedChar);
const CHARS: ArgType = ArgType::T(SqlType::QuotedChar.array_of());
const REALS: ArgType = ArgType::T(SqlType::Float4.array_of());
const INT: ArgType = ArgType::T(SqlType::Int4);
const OID: ArgType = ArgType::T(SqlType::Oid);
const R_VECTOR: RetType = RetType::T(SqlType::TsVector);
const R_QUERY: RetType = RetType::T(SqlType::TsQuery);
const R_TEXT: RetType = RetType::T(SqlType::Text);
const R_TEXTS: RetType = RetType::T(SqlType::TEXT_ARRAY);
const R_JSON: RetType = RetType::T(SqlType::Json);
const R_JSONB: RetType = RetType::T(SqlType::Jsonb);
const R_REAL: RetType = RetType::T(SqlType::Float4);
const R_INT: RetType = RetType::T(SqlType::Int4);
const R_RECORD: RetType = RetType::T(SqlType::RECORD);

/// The configuration that a function's first argument names, or the session's; and the other arguments.
fn with_configuration<'a>(
    context: &EvalContext<'_>,
    types: &CallTypes,
    args: &'a [Datum],
) -> SqlResult<(Arc<Configuration>, &'a [Datum])> {
    let is_given = types.args.first() == Some(&SqlType::RegConfig);
    let oid = if is_given { int(&args[0]) as u32 } else { current_configuration(context)? };
    let configuration = context.catalog.text_search_configuration(oid)?;
    Ok((configuration, if is_given { &args[1..] } else { args }))
}

fn to_tsvector(context: &EvalContext<'_>, types: &CallTypes, args: &[Datum]) -> SqlResult<Datum> {
    let (configuration, args) = with_configuration(context, types, args)?;
    let vector = match &args[0] {
        Datum::Text(text) => configuration.vector(text),
        json => json_vector(&configuration, json, Parts { strings: true, ..Parts::default() }),
    };
    vector.map(Datum::tsvector)
}

fn to_query(
    context: &EvalContext<'_>,
    types: &CallTypes,
    args: &[Datum],
    syntax: Syntax,
    operator: Operator,
) -> SqlResult<Datum> {
    let (configuration, args) = with_configuration(context, types, args)?;
    query(&configuration, text(&args[0]), syntax, operator).map(Datum::tsquery)
}

type Eval = fn(&EvalContext<'_>, &CallTypes, &[Datum]) -> SqlResult<Datum>;

const TO_TSQUERY: Eval = |context, types, a| to_query(context, types, a, Syntax::Standard, Operator::Phrase(1));
const PLAIN_TO_TSQUERY: Eval = |context, types, a| to_query(context, types, a, Syntax::Plain, Operator::And);
const PHRASE_TO_TSQUERY: Eval = |context, types, a| to_query(context, types, a, Syntax::Plain, Operator::Phrase(1));
const WEB_TO_TSQUERY: Eval = |context, types, a| to_query(context, types, a, Syntax::Web, Operator::Phrase(1));

/// What of a JSON value is searched.
#[derive(Clone, Copy, Default)]
struct Parts {
    strings: bool,
    numbers: bool,
    booleans: bool,
    keys: bool,
}

impl Parts {
    fn parse(json: &Json) -> SqlResult<Self> {
        const HINT: &str = "Possible values are: \"string\", \"numeric\", \"boolean\", \"key\", and \"all\".";
        let wrong = |message: String| SqlError::new(SqlState::InvalidParameterValue, message);
        let flags = match json {
            Json::Array(flags) => flags.as_slice(),
            Json::Object(_) => return Err(wrong("wrong flag type, only arrays and scalars are allowed".to_owned())),
            scalar => std::slice::from_ref(scalar),
        };
        let mut parts = Self::default();
        for flag in flags {
            let Json::String(flag) = flag else {
                return Err(wrong("flag array element is not a string".to_owned()).with_hint(HINT));
            };
            match flag.to_ascii_lowercase().as_str() {
                "all" => parts = Self { strings: true, numbers: true, booleans: true, keys: true },
                "key" => parts.keys = true,
                "string" => parts.strings = true,
                "numeric" => parts.numbers = true,
                "boolean" => parts.booleans = true,
                _ => return Err(wrong(format!("wrong flag in flag array: \"{flag}\"")).with_hint(HINT)),
            }
        }
        Ok(parts)
    }
}

/// Collects the words of the parts of a JSON value. Between parts a place is left free, so that no phrase spans two.
struct JsonWords<'c> {
    configuration: &'c Configuration,
    parts: Parts,
    words: Vec<Placed>,
    last: u32,
}

impl JsonWords<'_> {
    fn add(&mut self, text: &str) {
        let words = self.configuration.words(text, &mut self.last);
        self.last += u32::from(!words.is_empty());
        self.words.extend(words);
    }

    fn scalar(&mut self, scalar: &Json) {
        match scalar {
            Json::String(text) if self.parts.strings => self.add(text),
            number @ Json::Number(_) if self.parts.numbers => self.add(&json_text(number)),
            Json::Bool(value) if self.parts.booleans => self.add(if *value { "true" } else { "false" }),
            _ => {}
        }
    }

    fn jsonb(&mut self, json: &Json) {
        match json {
            Json::Array(items) => items.iter().for_each(|item| self.jsonb(item)),
            Json::Object(pairs) => {
                for (key, value) in pairs {
                    if self.parts.keys {
                        self.add(key);
                    }
                    self.jsonb(value);
                }
            }
            scalar => self.scalar(scalar),
        }
    }

    /// In the order of the text, keys that are there twice too.
    fn json(&mut self, text: &str) -> SqlResult<()> {
        match raw(text)? {
            Raw::Array(items) => items.into_iter().try_for_each(|item| self.json(item)),
            Raw::Object(pairs) => pairs.into_iter().try_for_each(|(key, value)| {
                if self.parts.keys {
                    self.add(&key);
                }
                self.json(value)
            }),
            Raw::Scalar => {
                self.scalar(&Json::parse(text)?);
                Ok(())
            }
        }
    }
}

fn json_vector(configuration: &Configuration, json: &Datum, parts: Parts) -> SqlResult<TsVector> {
    let mut words = JsonWords { configuration, parts, words: Vec::new(), last: 0 };
    match json {
        Datum::Jsonb(json) => types::stack::deep(|| words.jsonb(json)),
        other => types::stack::deep(|| words.json(text(other)))?,
    }
    vector_of(words.words)
}

fn json_to_tsvector(context: &EvalContext<'_>, types: &CallTypes, args: &[Datum]) -> SqlResult<Datum> {
    let (configuration, args) = with_configuration(context, types, args)?;
    json_vector(&configuration, &args[0], Parts::parse(jsonb(&args[1]))?).map(Datum::tsvector)
}

fn ts_headline(context: &EvalContext<'_>, types: &CallTypes, args: &[Datum]) -> SqlResult<Datum> {
    let (configuration, args) = with_configuration(context, types, args)?;
    let options = Options::parse(args.get(2).map_or("", text))?;
    let of = |text: &str| headline(&configuration, text, tsquery(&args[1]), &options);
    Ok(match &args[0] {
        Datum::Jsonb(json) => Datum::Jsonb(Arc::new(types::stack::deep(|| with_strings(json, &of)))),
        Datum::Json(json) => Datum::Json(types::stack::deep(|| json_with_strings(json, &of))?.into()),
        other => Datum::text(of(text(other))),
    })
}

fn with_strings(json: &Json, of: &dyn Fn(&str) -> String) -> Json {
    match json {
        Json::String(text) => Json::String(of(text).into()),
        Json::Array(items) => Json::Array(items.iter().map(|item| with_strings(item, of)).collect()),
        Json::Object(pairs) => {
            Json::Object(pairs.iter().map(|(key, value)| (key.clone(), with_strings(value, of))).collect())
        }
        other => other.clone(),
    }
}

fn json_with_strings(json: &str, of: &dyn Fn(&str) -> String) -> SqlResult<String> {
    Ok(match raw(json)? {
        Raw::Array(items) => {
            let items: Vec<String> = items.into_iter().map(|item| json_with_strings(item, of)).collect::<SqlResult<_>>()?;
            format!("[{}]", items.join(","))
        }
        Raw::Object(pairs) => {
            let pair = |(key, value): (String, &str)| {
                Ok(format!("{}:{}", json_text(&Json::String(key.into())), json_with_strings(value, of)?))
            };
            format!("{{{}}}", pairs.into_iter().map(pair).collect::<SqlResult<Vec<String>>>()?.join(","))
        }
        Raw::Scalar => match Json::parse(json)? {
            Json::String(text) => json_text(&Json::String(of(&text).into())),
            other => compact_text(&other),
        },
    })
}

fn weights(datum: &Datum) -> SqlResult<[f32; 4]> {
    let given = array(datum);
    let wrong = |code, message: &str| Err(SqlError::new(code, message.to_owned()));
    if given.dimensions().len() != 1 {
        return wrong(SqlState::ArraySubscriptError, "array of weight must be one-dimensional");
    }
    if given.len() < 4 {
        return wrong(SqlState::ArraySubscriptError, "array of weight is too short");
    }
    if given.elements().iter().any(Datum::is_null) {
        return wrong(SqlState::NullValueNotAllowed, "array of weight must not contain nulls");
    }
    let mut weights = DEFAULT_WEIGHTS;
    for (weight, given) in weights.iter_mut().zip(given.elements()) {
        let given = float(given) as f32;
        if given >= 0.0 {
            *weight = given;
        }
        if *weight > 1.0 {
            return wrong(SqlState::InvalidParameterValue, "weight out of range");
        }
    }
    Ok(weights)
}

type Rank = fn(&[f32; 4], &TsVector, &TsQuery, i64) -> f32;

fn ranked(types: &CallTypes, args: &[Datum], rank: Rank) -> SqlResult<Datum> {
    let (weights, args) = match types.args.first() {
        Some(SqlType::TsVector) => (DEFAULT_WEIGHTS, args),
        _ => (weights(&args[0])?, &args[1..]),
    };
    let rank = rank(&weights, tsvector(&args[0]), tsquery(&args[1]), args.get(2).map_or(0, int));
    Ok(Datum::Float(f64::from(rank)))
}

const TS_RANK: Eval = |_, types, a| ranked(types, a, rank);
const TS_RANK_CD: Eval = |_, types, a| ranked(types, a, rank_by_cover);

fn weight(datum: &Datum) -> SqlResult<Weight> {
    let letter = text(datum).chars().next();
    letter.and_then(Weight::from_letter).ok_or_else(|| {
        SqlError::internal(format!("unrecognized weight: {}", letter.map_or(0, |letter| letter as u32)))
    })
}

fn texts(datum: &Datum) -> Vec<&str> {
    array(datum).elements().iter().filter_map(Datum::as_str).collect()
}

fn array_to_tsvector(args: &[Datum]) -> SqlResult<Datum> {
    let elements = array(&args[0]).elements();
    let lexemes = elements.iter().map(|element| match element.as_str() {
        None => Err(SqlError::new(SqlState::NullValueNotAllowed, "lexeme array may not contain nulls")),
        Some("") => Err(SqlError::new(SqlState::ZeroLengthCharacterString, "lexeme array may not contain empty strings")),
        Some(text) => Ok(Lexeme { text: text.into(), positions: Vec::new() }),
    });
    TsVector::from_lexemes(lexemes.collect::<SqlResult<_>>()?).map(Datum::tsvector)
}

fn filtered(args: &[Datum]) -> SqlResult<Datum> {
    let mut weights = 0;
    for element in array(&args[1]).elements() {
        let Some(letter) = element.as_str() else {
            return Err(SqlError::new(SqlState::NullValueNotAllowed, "weight array may not contain nulls"));
        };
        let weight = letter.chars().next().and_then(Weight::from_letter).ok_or_else(|| {
            SqlError::new(SqlState::InvalidParameterValue, format!("unrecognized weight: \"{letter}\""))
        })?;
        weights |= weight.bit();
    }
    Ok(Datum::tsvector(tsvector(&args[0]).filtered(weights)))
}

fn text_array(texts: impl Iterator<Item = String>) -> Datum {
    Datum::Array(Array::from_elements(texts.map(Datum::text).collect()).into())
}

fn unnested(args: &[Datum]) -> SetRows {
    let row = |lexeme: &Lexeme| {
        let list = |values: Vec<Datum>| match values.is_empty() {
            true => Datum::Null,
            false => Datum::Array(Array::from_elements(values).into()),
        };
        let positions = lexeme.positions.iter().map(|it| Datum::Int(it.at().into())).collect();
        let weights = lexeme.positions.iter().map(|it| Datum::text(it.weight().letter().to_string())).collect();
        vec![Datum::text(&*lexeme.text), list(positions), list(weights)]
    };
    tsvector(&args[0]).lexemes().iter().map(row).collect()
}

fn querytree(query: &TsQuery) -> String {
    match (query.is_empty(), query.to_tree().and_then(|tree| types::stack::deep(|| tree.without_negations()))) {
        (true, _) => String::new(),
        (false, None) => "T".to_owned(),
        (false, Some(tree)) => match TsQuery::from_tree(Some(&tree)) {
            Ok(query) => {
                let mut out = Vec::new();
                query.write(&mut out);
                String::from_utf8_lossy(&out).into_owned()
            }
            Err(_) => "T".to_owned(),
        },
    }
}

fn phrase(args: &[Datum]) -> SqlResult<Datum> {
    let distance = u16::try_from(int(&args[2])).ok().filter(|distance| *distance <= PHRASE_DISTANCE_MAX);
    let distance = distance.ok_or_else(|| {
        let message = format!("distance in phrase operator must be an integer value between zero and {PHRASE_DISTANCE_MAX} inclusive");
        SqlError::new(SqlState::InvalidParameterValue, message)
    })?;
    tsquery(&args[0]).joined(Operator::Phrase(distance), tsquery(&args[1])).map(Datum::tsquery)
}

fn check_parser(datum: &Datum) -> SqlResult<()> {
    match datum {
        Datum::Int(oid) if *oid == i64::from(DEFAULT_PARSER_OID) => Ok(()),
        Datum::Int(oid) => Err(SqlError::internal(format!("cache lookup failed for text search parser {oid}"))),
        name => match text(name) {
            "default" | "pg_catalog.default" => Ok(()),
            other => {
                let message = format!("text search parser \"{other}\" does not exist");
                Err(SqlError::new(SqlState::UndefinedObject, message))
            }
        },
    }
}

fn token_types(args: &[Datum]) -> SqlResult<SetRows> {
    check_parser(&args[0])?;
    let row = |token: &TokenType| {
        vec![Datum::Int(token.number().into()), Datum::text(token.alias()), Datum::text(token.description())]
    };
    Ok(TokenType::ALL.iter().map(row).collect())
}

fn parsed(args: &[Datum]) -> SqlResult<SetRows> {
    check_parser(&args[0])?;
    let rows = Parser::new(text(&args[1])).map(|(token, text)| vec![Datum::Int(token.number().into()), Datum::text(text)]);
    Ok(rows.collect())
}

fn debugged(context: &EvalContext<'_>, types: &CallTypes, args: &[Datum]) -> SqlResult<SetRows> {
    let (configuration, args) = with_configuration(context, types, args)?;
    let row = |(token, text): (TokenType, &str)| {
        let dictionaries = configuration.dictionaries(token);
        let oid = |oid: u32| Datum::Int(oid.into());
        let asked = configuration.lexize(token, text);
        // Where none knows the word, the first one is shown.
        let by = asked.as_ref().map(|(dictionary, _)| dictionary.oid).or_else(|| dictionaries.first().map(|it| it.oid));
        let lexemes = asked.map_or(Datum::Null, |(_, lexeme)| text_array(lexeme.into_iter()));
        let all = Datum::Array(Array::from_elements(dictionaries.iter().map(|it| oid(it.oid)).collect()).into());
        vec![Datum::text(token.alias()), Datum::text(token.description()), Datum::text(text), all, by.map_or(Datum::Null, oid), lexemes]
    };
    Ok(Parser::new(text(&args[0])).map(row).collect())
}

fn lexized(context: &EvalContext<'_>, args: &[Datum]) -> SqlResult<Datum> {
    let named = context.catalog.text_search_dictionary(int(&args[0]) as u32)?;
    Ok(match named.dictionary.lexize(text(&args[1])) {
        Lexized::Lexeme(lexeme) => text_array(std::iter::once(lexeme)),
        Lexized::StopWord => text_array(std::iter::empty()),
        Lexized::Unknown => Datum::Null,
    })
}

/// A function that would run a query of its own.
fn runs_a_query(_: &EvalContext<'_>, _: &CallTypes, _: &[Datum]) -> SqlResult<SetRows> {
    Err(SqlError::not_supported("ts_stat is not supported"))
}

fn never(_: &EvalContext<'_>, _: &CallTypes, _: &[Datum]) -> SqlResult<Datum> {
    Err(SqlError::internal("a set-returning function was called as a scalar"))
}

const fn set(
    name: &'static str,
    oid: u32,
    args: &'static [ArgType],
    columns: &'static [(&'static str, SqlType)],
    eval: fn(&EvalContext<'_>, &CallTypes, &[Datum]) -> SqlResult<SetRows>,
) -> Builtin {
    Builtin::pure(name, oid, args, R_RECORD, never).returning_set(SetFunction { columns, eval })
}

const TOKEN_TYPE_COLUMNS: &[(&str, SqlType)] = &[("tokid", SqlType::Int4), ("alias", SqlType::Text), ("description", SqlType::Text)];
const TOKEN_COLUMNS: &[(&str, SqlType)] = &[("tokid", SqlType::Int4), ("token", SqlType::Text)];
const STAT_COLUMNS: &[(&str, SqlType)] = &[("word", SqlType::Text), ("ndoc", SqlType::Int4), ("nentry", SqlType::Int4)];
const LEXEME_COLUMNS: &[(&str, SqlType)] =
    &[("lexeme", SqlType::Text), ("positions", SqlType::INT2_ARRAY), ("weights", SqlType::TEXT_ARRAY)];
const DEBUG_COLUMNS: &[(&str, SqlType)] = &[
    ("alias", SqlType::Text),
    ("description", SqlType::Text),
    ("token", SqlType::Text),
    ("dictionaries", SqlType::RegDictionary.array_of()),
    ("dictionary", SqlType::RegDictionary),
    ("lexemes", SqlType::TEXT_ARRAY),
];

#[rustfmt::skip]
pub(super) static FUNCTIONS: &[Builtin] = &[
    Builtin::pure("to_tsvector", 3745, &[CONFIGURATION, TEXT], R_VECTOR, to_tsvector),
    Builtin::pure("to_tsvector", 3749, &[TEXT], R_VECTOR, to_tsvector).stable(),
    Builtin::pure("to_tsvector", 4211, &[CONFIGURATION, JSONB], R_VECTOR, to_tsvector),
    Builtin::pure("to_tsvector", 4209, &[JSONB], R_VECTOR, to_tsvector).stable(),
    Builtin::pure("to_tsvector", 4212, &[CONFIGURATION, JSON], R_VECTOR, to_tsvector),
    Builtin::pure("to_tsvector", 4210, &[JSON], R_VECTOR, to_tsvector).stable(),
    Builtin::pure("jsonb_to_tsvector", 4214, &[CONFIGURATION, JSONB, JSONB], R_VECTOR, json_to_tsvector),
    Builtin::pure("jsonb_to_tsvector", 4213, &[JSONB, JSONB], R_VECTOR, json_to_tsvector).stable(),
    Builtin::pure("json_to_tsvector", 4216, &[CONFIGURATION, JSON, JSONB], R_VECTOR, json_to_tsvector),
    Builtin::pure("json_to_tsvector", 4215, &[JSON, JSONB], R_VECTOR, json_to_tsvector).stable(),
    Builtin::pure("to_tsquery", 3746, &[CONFIGURATION, TEXT], R_QUERY, TO_TSQUERY),
    Builtin::pure("to_tsquery", 3750, &[TEXT], R_QUERY, TO_TSQUERY).stable(),
    Builtin::pure("plainto_tsquery", 3747, &[CONFIGURATION, TEXT], R_QUERY, PLAIN_TO_TSQUERY),
    Builtin::pure("plainto_tsquery", 3751, &[TEXT], R_QUERY, PLAIN_TO_TSQUERY).stable(),
    Builtin::pure("phraseto_tsquery", 5006, &[CONFIGURATION, TEXT], R_QUERY, PHRASE_TO_TSQUERY),
    Builtin::pure("phraseto_tsquery", 5001, &[TEXT], R_QUERY, PHRASE_TO_TSQUERY).stable(),
    Builtin::pure("websearch_to_tsquery", 5007, &[CONFIGURATION, TEXT], R_QUERY, WEB_TO_TSQUERY),
    Builtin::pure("websearch_to_tsquery", 5009, &[TEXT], R_QUERY, WEB_TO_TSQUERY).stable(),
    Builtin::pure("ts_headline", 3743, &[CONFIGURATION, TEXT, QUERY, TEXT], R_TEXT, ts_headline),
    Builtin::pure("ts_headline", 3744, &[CONFIGURATION, TEXT, QUERY], R_TEXT, ts_headline),
    Builtin::pure("ts_headline", 3754, &[TEXT, QUERY, TEXT], R_TEXT, ts_headline).stable(),
    Builtin::pure("ts_headline", 3755, &[TEXT, QUERY], R_TEXT, ts_headline).stable(),
    Builtin::pure("ts_headline", 4201, &[CONFIGURATION, JSONB, QUERY, TEXT], R_JSONB, ts_headline),
    Builtin::pure("ts_headline", 4202, &[CONFIGURATION, JSONB, QUERY], R_JSONB, ts_headline),
    Builtin::pure("ts_headline", 4203, &[JSONB, QUERY, TEXT], R_JSONB, ts_headline).stable(),
    Builtin::pure("ts_headline", 4204, &[JSONB, QUERY], R_JSONB, ts_headline).stable(),
    Builtin::pure("ts_headline", 4205, &[CONFIGURATION, JSON, QUERY, TEXT], R_JSON, ts_headline),
    Builtin::pure("ts_headline", 4206, &[CONFIGURATION, JSON, QUERY], R_JSON, ts_headline),
    Builtin::pure("ts_headline", 4207, &[JSON, QUERY, TEXT], R_JSON, ts_headline).stable(),
    Builtin::pure("ts_headline", 4208, &[JSON, QUERY], R_JSON, ts_headline).stable(),
    Builtin::pure("ts_rank", 3703, &[REALS, VECTOR, QUERY, INT], R_REAL, TS_RANK),
    Builtin::pure("ts_rank", 3704, &[REALS, VECTOR, QUERY], R_REAL, TS_RANK),
    Builtin::pure("ts_rank", 3705, &[VECTOR, QUERY, INT], R_REAL, TS_RANK),
    Builtin::pure("ts_rank", 3706, &[VECTOR, QUERY], R_REAL, TS_RANK),
    Builtin::pure("ts_rank_cd", 3707, &[REALS, VECTOR, QUERY, INT], R_REAL, TS_RANK_CD),
    Builtin::pure("ts_rank_cd", 3708, &[REALS, VECTOR, QUERY], R_REAL, TS_RANK_CD),
    Builtin::pure("ts_rank_cd", 3709, &[VECTOR, QUERY, INT], R_REAL, TS_RANK_CD),
    Builtin::pure("ts_rank_cd", 3710, &[VECTOR, QUERY], R_REAL, TS_RANK_CD),
    Builtin::pure("strip", 3623, &[VECTOR], R_VECTOR, |_, _, a| Ok(Datum::tsvector(tsvector(&a[0]).stripped()))),
    Builtin::pure("length", 3711, &[VECTOR], R_INT, |_, _, a| Ok(Datum::Int(tsvector(&a[0]).lexemes().len() as i64))),
    Builtin::pure("setweight", 3624, &[VECTOR, CHAR], R_VECTOR, |_, _, a| {
        Ok(Datum::tsvector(tsvector(&a[0]).with_weight(weight(&a[1])?, |_| true)))
    }),
    Builtin::pure("setweight", 3320, &[VECTOR, CHAR, TEXTS], R_VECTOR, |_, _, a| {
        let meant = texts(&a[2]);
        Ok(Datum::tsvector(tsvector(&a[0]).with_weight(weight(&a[1])?, |lexeme| meant.contains(&lexeme))))
    }),
    Builtin::pure("ts_delete", 3321, &[VECTOR, TEXT], R_VECTOR, |_, _, a| {
        Ok(Datum::tsvector(tsvector(&a[0]).without(|lexeme| lexeme == text(&a[1]))))
    }),
    Builtin::pure("ts_delete", 3323, &[VECTOR, TEXTS], R_VECTOR, |_, _, a| {
        let dropped = texts(&a[1]);
        Ok(Datum::tsvector(tsvector(&a[0]).without(|lexeme| dropped.contains(&lexeme))))
    }),
    Builtin::pure("ts_filter", 3319, &[VECTOR, CHARS], R_VECTOR, |_, _, a| filtered(a)),
    Builtin::pure("tsvector_to_array", 3326, &[VECTOR], R_TEXTS, |_, _, a| {
        Ok(text_array(tsvector(&a[0]).lexemes().iter().map(|lexeme| lexeme.text.to_string())))
    }),
    Builtin::pure("array_to_tsvector", 3327, &[TEXTS], R_VECTOR, |_, _, a| array_to_tsvector(a)),
    Builtin::pure("numnode", 3672, &[QUERY], R_INT, |_, _, a| Ok(Datum::Int(tsquery(&a[0]).items().len() as i64))),
    Builtin::pure("querytree", 3673, &[QUERY], R_TEXT, |_, _, a| Ok(Datum::text(querytree(tsquery(&a[0]))))),
    Builtin::pure("tsquery_phrase", 5004, &[QUERY, QUERY, INT], R_QUERY, |_, _, a| phrase(a)),
    Builtin::pure("ts_rewrite", 3684, &[QUERY, QUERY, QUERY], R_QUERY, |_, _, a| {
        tsquery(&a[0]).rewritten(tsquery(&a[1]), tsquery(&a[2])).map(Datum::tsquery)
    }),
    Builtin::pure("ts_rewrite", 3685, &[QUERY, TEXT], R_QUERY, |_, _, _| {
        Err(SqlError::not_supported("ts_rewrite with a query for its second argument is not supported"))
    }).volatile(),
    Builtin::pure("get_current_ts_config", 3759, &[], RetType::T(SqlType::RegConfig), |context, _, _| {
        Ok(Datum::Int(current_configuration(context)?.into()))
    }).stable(),
    Builtin::pure("ts_lexize", 3723, &[DICTIONARY, TEXT], R_TEXTS, |context, _, a| lexized(context, a)),
    set("unnest", 3322, &[VECTOR], LEXEME_COLUMNS, |_, _, a| Ok(unnested(a))),
    set("ts_token_type", 3713, &[OID], TOKEN_TYPE_COLUMNS, |_, _, a| token_types(a)),
    set("ts_token_type", 3714, &[TEXT], TOKEN_TYPE_COLUMNS, |_, _, a| token_types(a)).stable(),
    set("ts_parse", 3715, &[OID, TEXT], TOKEN_COLUMNS, |_, _, a| parsed(a)),
    set("ts_parse", 3716, &[TEXT, TEXT], TOKEN_COLUMNS, |_, _, a| parsed(a)).stable(),
    set("ts_debug", 6183, &[CONFIGURATION, TEXT], DEBUG_COLUMNS, debugged).stable(),
    set("ts_debug", 6184, &[TEXT], DEBUG_COLUMNS, debugged).stable(),
    set("ts_stat", 3689, &[TEXT], STAT_COLUMNS, runs_a_query).volatile(),
    set("ts_stat", 3690, &[TEXT, TEXT], STAT_COLUMNS, runs_a_query).volatile(),
];
