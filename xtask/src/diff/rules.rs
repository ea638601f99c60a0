//! What expressions there are, as data: a type, and a template with types where expressions of these stand.
//!
//! `{T}` is any type, the same throughout a rule; `{C}` any that has an order. Words that are no type stand for texts
//! drawn from a list: `{small}` for a small number, `{pattern}` for what follows LIKE. In rules of aggregates `{=T}` is a
//! plain column, so that sums over floats are exact; `{0}` is the first expression once more.

use std::sync::LazyLock;

use super::types::Type;

/// One part of a template.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Text(&'static str),
    Expression(Slot),
    /// A plain column or a literal.
    Column(Slot),
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// The expression at this position of the parts, again.
    Again(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    Of(Type),
    /// The type that the rule is used for.
    Same,
}

/// Which types `T` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Any {
    None,
    All,
    Comparable,
}

#[derive(Clone, Debug)]
pub struct Rule {
    pub template: &'static str,
    /// `None`: the type that `T` stands for.
    pub result: Option<Type>,
    pub any: Any,
    pub parts: Vec<Part>,
}

pub static SCALARS: LazyLock<Vec<Rule>> = LazyLock::new(|| parse(SCALAR_RULES));
pub static AGGREGATES: LazyLock<Vec<Rule>> = LazyLock::new(|| parse(AGGREGATE_RULES));
/// Aggregates whose answer depends on the order of rows, with that order given within.
pub static ORDERED_AGGREGATES: LazyLock<Vec<Rule>> = LazyLock::new(|| parse(ORDERED_AGGREGATE_RULES));
/// Window functions that treat peers alike.
pub static PEER_WINDOWS: LazyLock<Vec<Rule>> = LazyLock::new(|| parse(PEER_WINDOW_RULES));
/// Window functions that need a total order.
pub static ROW_WINDOWS: LazyLock<Vec<Rule>> = LazyLock::new(|| parse(ROW_WINDOW_RULES));

fn parse(rules: &'static [(&'static str, &'static [&'static str])]) -> Vec<Rule> {
    let one = |result: &'static str, template: &'static str| {
        let mut parts = Vec::new();
        let mut any = if result == "C" { Any::Comparable } else if result == "T" { Any::All } else { Any::None };
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            let (word, after) = after.split_once('}').unwrap_or_else(|| panic!("no end of a slot in {template}"));
            parts.push(Part::Text(before));
            let (word, is_column) = word.strip_prefix('=').map_or((word, false), |word| (word, true));
            let slot = match word {
                "T" | "C" => {
                    any = if word == "C" || any == Any::Comparable { Any::Comparable } else { Any::All };
                    Some(Slot::Same)
                }
                word => Type::named(word).map(Slot::Of),
            };
            parts.push(match slot {
                Some(slot) if is_column => Part::Column(slot),
                Some(slot) => Part::Expression(slot),
                None if word.bytes().all(|byte| byte.is_ascii_digit()) => Part::Again(position(&parts, word)),
                None => Part::Choice(choice(word).unwrap_or_else(|| panic!("{{{word}}} of {template} is unknown"))),
            });
            rest = after;
        }
        parts.push(Part::Text(rest));
        let result = Type::named(result);
        Rule { template, result, any, parts }
    };
    let is_there = |template: &&&str| !NOT_THERE.iter().any(|(word, _)| template.contains(word));
    rules.iter().flat_map(|(result, templates)| templates.iter().filter(is_there).map(move |template| one(result, template))).collect()
}

/// Rules with these words are left out: what is not there yet would only hide other differences.
pub const NOT_THERE: &[(&str, &str)] = &[
    ("{jsonpath}", "SQL/JSON paths are not there yet"),
    ("within group", "ordered-set aggregates are not there yet"),
    ("normalize", "Unicode normalization is not there yet"),
];

fn position(parts: &[Part], word: &str) -> usize {
    let wanted: usize = word.parse().expect("digits");
    let expressions = parts.iter().enumerate().filter(|(_, part)| matches!(part, Part::Expression(_) | Part::Column(_)));
    expressions.map(|(position, _)| position).nth(wanted).expect("a rule repeats an expression it has")
}

fn choice(word: &str) -> Option<&'static [&'static str]> {
    Some(match word {
        "small" => &["0", "1", "2", "3", "5"],
        "index" => &["-1", "0", "1", "2", "3", "4"],
        "pattern" => &["'a%'", "'%b%'", "'_b%'", "'%'", "''", "'abc'", "'A%'", "'a\\%b'", "'%\\_%'"],
        "regex" => &["'^a'", "'b+'", "'[0-9]'", "'(a|ab)(c|bcd)?'", "'^[[:alpha:]]+$'", "'\\d+'", "'o.b'", "''", "'(?i)ABC'"],
        "flags" => &["'g'", "'i'", "''", "'gi'"],
        "unit" => &["'year'", "'month'", "'day'", "'hour'", "'minute'", "'second'", "'week'", "'quarter'", "'decade'"],
        "datefield" => &["year", "month", "day", "dow", "doy", "week", "isoyear", "quarter", "epoch", "century", "isodow", "decade"],
        "timefield" => &["hour", "minute", "second", "epoch", "milliseconds", "microseconds"],
        "numberformat" => &["'999.99'", "'FM9990.00'", "'S99'", "'0000'", "'99,999'", "'RN'", "'9.99EEEE'", "'999MI'", "'$99.9'"],
        "dateformat" => {
            &["'YYYY-MM-DD'", "'Day, DD Mon YY'", "'HH24:MI:SS.MS'", "'FMMonth FMDDth'", "'IYYY-IW-ID'", "'Q CC J'", "'HH12 AM'", "'DDD D W'", "'US TZ'"]
        }
        "zone" => &["'UTC'", "'America/New_York'", "'Europe/Berlin'", "'Asia/Kolkata'", "'+03'"],
        "comparison" => &["=", "<>", "<", ">", "<=", ">="],
        "equality" => &["=", "=", "<>"],
        "key" => &["'a'", "'b'", "'nosuch'"],
        "path" => &["'{a}'", "'{a,b}'", "'{0}'", "'{a,b,0}'", "'{-1}'"],
        "jsonpath" => &["'$.a'", "'$[*]'", "'$.a ? (@ > 1)'", "'$.**'", "'$[0].a'", "'lax $.a.b[*]'", "'$.size()'"],
        "separator" => &["','", "''", "' '", "'; '"],
        "encoding" => &["'hex'", "'base64'", "'escape'"],
        _ => return None,
    })
}

const SCALAR_RULES: &[(&str, &[&str])] = &[
    ("T", &[
        "coalesce({T}, {T})",
        "case when {bool} then {T} else {T} end",
        "case when {bool} then {T} end",
        "case {int4} when {int4} then {T} when {small} then {T} else {T} end",
        "({T})",
        "(array[{T}, {T}])[{index}]",
    ]),
    ("C", &["nullif({C}, {C})", "greatest({C}, {C})", "least({C}, {C}, {C})"]),
    ("bool", &[
        "({C} {comparison} {C})",
        "({C} {comparison} {C})",
        "({C} is distinct from {C})",
        "({C} is not distinct from {C})",
        "({T} is null)",
        "({T} is not null)",
        "({bool} and {bool})",
        "({bool} or {bool})",
        "(not {bool})",
        "{bool} and {bool} or {bool}",
        "({bool} is true)",
        "({bool} is not false)",
        "({bool} is unknown)",
        "({C} between {C} and {C})",
        "({C} not between {C} and {C})",
        "({C} in ({C}, {C}, {C}))",
        "({C} not in ({C}, {C}))",
        "({C} = any (array[{C}, {C}]))",
        "({C} <> all (array[{C}, {C}]))",
        "({int4} = any ({int4[]}))",
        "({text} > all ({text[]}))",
        "(row({int4}, {text}) {comparison} row({int4}, {text}))",
        "(({C}, {int4}) {comparison} ({C}, {int4}))",
        "(row({int4}, {T}) is null)",
        "({int2} {comparison} {int4})",
        "({int8} {comparison} {int2})",
        "({int4} {comparison} {numeric})",
        "({int4} {comparison} {float8})",
        "({numeric} {comparison} {float8})",
        "({float4} {comparison} {float8})",
        "({text} {comparison} {varchar})",
        "({varchar} {comparison} {bpchar})",
        "({bpchar} {comparison} {text})",
        "({date} {comparison} {timestamp})",
        "({date} {comparison} {timestamptz})",
        "({timestamp} {comparison} {timestamptz})",
        "({text} like {pattern})",
        "({text} not like {pattern})",
        "({varchar} ilike {pattern})",
        "({bpchar} like {pattern})",
        "({text} ~ {regex})",
        "({text} !~* {regex})",
        "({text} similar to {pattern})",
        "starts_with({text}, {text})",
        "({text} ^@ {text})",
        "({int4[]} @> {int4[]})",
        "({text[]} <@ {text[]})",
        "({int4[]} && {int4[]})",
        "({jsonb} @> {jsonb})",
        "({jsonb} <@ {jsonb})",
        "({jsonb} ? {key})",
        "({jsonb} ?| array['a', 'b'])",
        "({jsonb} @? {jsonpath})",
        "jsonb_path_exists({jsonb}, {jsonpath})",
        "(({date}, {date}) overlaps ({date}, {interval}))",
        "isfinite({date})",
        "isfinite({interval})",
        "{int4}::bool",
        "({text} is normalized)",
    ]),
    ("int2", &[
        "({int2} + {int2})",
        "({int2} - {small}::int2)",
        "({int2} % nullif({int2}, 0::int2))",
        "abs({int2})",
        "({int2} & {int2})",
        "(- {int2})",
        "(~ {int2})",
        "{small}::int2",
    ]),
    ("int4", &[
        "({int4} + {int4})",
        "({int4} - {int4})",
        "({int2} * {int4})",
        "{int4} + {int4} * {int4}",
        "({int4} / nullif({int4}, 0))",
        "({int4} % nullif({int4}, 0))",
        "mod({int4}, 7)",
        "div({int4}, 3)::int4",
        "abs({int4})",
        "({int4} # {int4})",
        "({int4} << {small})",
        "({int4} >> {small})",
        "({int4} | {int2})",
        "sign({int4})::int4",
        "(- {int4})",
        "length({text})",
        "length({bpchar})",
        "char_length({varchar})",
        "octet_length({text})",
        "octet_length({bpchar})",
        "bit_length({text})",
        "length({bytea})",
        "strpos({text}, {text})",
        "position({text} in {text})",
        "ascii({text})",
        "({date} - {date})",
        "extract({datefield} from {date})::int4",
        "extract({timefield} from {time})::int4",
        "cardinality({int4[]})",
        "array_length({text[]}, 1)",
        "array_upper({int4[]}, 1)",
        "array_ndims({int4[]})",
        "array_position({int4[]}, {int4})",
        "({int4[]})[{index}]",
        "jsonb_array_length(case when jsonb_typeof({jsonb}) = 'array' then {0} else '[]' end)",
        "{int2}::int4",
        "{bool}::int4",
        "width_bucket({numeric}, 0, 10, 5)",
        "num_nulls({int4}, {text}, {bool})",
        "num_nonnulls({T}, {int4})",
        "get_byte({bytea} || '\\x01', 0)",
        "regexp_count({text}, {regex})",
        "regexp_instr({text}, {regex})",
        "gcd({int4}, {int4})",
        "{float8}::int4",
    ]),
    ("int8", &[
        "({int8} + {int8})",
        "({int8} - {int4})",
        "({int4} * {int4}::int8)",
        "({int8} / nullif({int8}, 0))",
        "({int8} % 10)",
        "abs({int8})",
        "({int8} & {int8})",
        "{int4}::int8",
        "{numeric}::int8",
        "round({numeric})::int8",
        "lcm({int4}::int8, {small}::int8)",
    ]),
    ("numeric", &[
        "({numeric} + {numeric})",
        "({numeric} - {int4})",
        "({numeric} * {numeric})",
        "({numeric} / nullif({numeric}, 0))",
        "({numeric} % nullif({numeric}, 0))",
        "abs({numeric})",
        "round({numeric})",
        "round({numeric}, {small})",
        "round({numeric}, -1)",
        "trunc({numeric}, {small})",
        "ceil({numeric})",
        "floor({numeric})",
        "sign({numeric})",
        "(- {numeric})",
        "div({numeric}, 3)",
        "mod({numeric}, 7)",
        "sqrt(abs({numeric}))",
        "power({numeric}, {small})",
        "exp({numeric} / 1000000)",
        "ln(abs({numeric}) + 1)",
        "log(abs({numeric}) + 1)",
        "scale({numeric})::numeric",
        "trim_scale({numeric})",
        "min_scale({numeric})::numeric",
        "{int4}::numeric",
        "{int8}::numeric",
        "{float8}::numeric",
        "{float4}::numeric",
        "{numeric}::numeric(12,1)",
        "extract({datefield} from {date})",
        "extract({datefield} from {timestamp})",
        "extract({timefield} from {timestamp})",
        "extract({timefield} from {timestamptz})",
        "extract({timefield} from {interval})",
        "extract({timefield} from {time})",
        "factorial({small})",
        "({numeric[]})[{index}]",
        "to_number({text} || '1', '99999')",
        "({int8} * {numeric})",
    ]),
    ("float4", &["({float4} + {float4})", "({float4} * {float4})", "abs({float4})", "(- {float4})", "{int4}::float4", "{numeric}::float4", "{float8}::float4"]),
    ("float8", &[
        "({float8} + {float8})",
        "({float8} - {float4})",
        "({float8} * {int4})",
        "({float8} / nullif({float8}, 0))",
        "abs({float8})",
        "round({float8})",
        "trunc({float8})",
        "ceil({float8})",
        "floor({float8})",
        "sign({float8})",
        "sqrt(abs({float8}))",
        "cbrt({float8})",
        "power({float8}, {small})",
        "exp({float8} / 100000000)",
        "ln(abs({float8}) + 1)",
        "log(abs({float8}) + 1)",
        "degrees({float8})",
        "radians({float8})",
        "sin({float8})",
        "cos({float8})",
        "atan2({float8}, {float8})",
        "pi()",
        "{int4}::float8",
        "{numeric}::float8",
        "{float4}::float8",
        "date_part({unit}, {timestamp})",
        "date_part({unit}, {interval})",
    ]),
    ("text", &[
        "({text} || {text})",
        "({text} || {int4})",
        "({bpchar} || {text})",
        "({varchar} || {varchar})",
        "({text} || {T})",
        "lower({text})",
        "upper({text})",
        "initcap({text})",
        "reverse({text})",
        "repeat({text}, {small})",
        "left({text}, {index})",
        "right({text}, {index})",
        "substr({text}, {index})",
        "substr({text}, {index}, {small})",
        "substring({text} from {index} for {small})",
        "substring({text} from {regex})",
        "substring({text} similar {pattern} escape '#')",
        "overlay({text} placing {text} from {small} + 1)",
        "trim({text})",
        "trim(both 'a' from {text})",
        "ltrim({text}, 'ax')",
        "rtrim({text})",
        "btrim({text}, {text})",
        "lpad({text}, {small}, '*')",
        "rpad({text}, 8, {text})",
        "replace({text}, {text}, {text})",
        "translate({text}, 'abc', 'xy')",
        "split_part({text}, {separator}, 1)",
        "split_part({text}, ',', -1)",
        "concat({T}, {text}, {int4})",
        "concat_ws({separator}, {text}, {T}, {varchar})",
        "format('%s|%I|%L', {text}, {text} || 'x', {T})",
        "quote_literal({text})",
        "quote_nullable({text})",
        "quote_ident({text})",
        "md5({text})",
        "encode({bytea}, {encoding})",
        "chr({small} + 65)",
        "to_hex({int4})",
        "regexp_replace({text}, {regex}, 'X')",
        "regexp_replace({text}, {regex}, '<\\&>', {flags})",
        "regexp_substr({text}, {regex})",
        "(regexp_match({text}, {regex}))[1]",
        "array_to_string({text[]}, {separator})",
        "array_to_string({int4[]}, ',', 'N')",
        "({text[]})[{index}]",
        "array_dims({int4[]})",
        "to_char({int4}, {numberformat})",
        "to_char({numeric}, {numberformat})",
        "to_char({float8}, {numberformat})",
        "to_char({timestamp}, {dateformat})",
        "to_char({timestamptz}, {dateformat})",
        "to_char({date}, {dateformat})",
        "to_char({interval}, 'DD HH24:MI:SS')",
        "({jsonb} ->> {key})",
        "({jsonb} ->> {index})",
        "({json} ->> {key})",
        "({jsonb} #>> {path})",
        "jsonb_typeof({jsonb})",
        "json_typeof({json})",
        "jsonb_pretty({jsonb})",
        "{T}::text",
        "{T}::text",
        "cast({T} as text)",
        "{varchar}::text",
        "{bpchar}::text",
        "pg_typeof({T})::text",
        "to_timestamp({int4})::text",
        "({text} collate \"C\")",
        "unistr({text})",
        "normalize({text})",
    ]),
    ("varchar", &["{text}::varchar", "{text}::varchar(3)", "{bpchar}::varchar", "{int4}::varchar"]),
    ("bpchar", &["{text}::char(4)", "{text}::bpchar", "{varchar}::char(2)", "{int4}::char(3)"]),
    ("date", &[
        "({date} + {int4} % 1000)",
        "({date} - {small})",
        "{timestamp}::date",
        "{timestamptz}::date",
        "make_date(2020, {small} + 1, 7)",
        "to_date({date}::text, 'YYYY-MM-DD')",
        "date_trunc({unit}, {date})::date",
    ]),
    ("time", &["({time} + {interval})", "({time} - {interval})", "{timestamp}::time", "{interval}::time", "make_time({small}, 8, 1.5)", "{timestamptz}::time", "{time}::time(1)"]),
    ("timestamp", &[
        "({timestamp} + {interval})",
        "({timestamp} - {interval})",
        "({date} + {time})",
        "({date} + {interval})",
        "date_trunc({unit}, {timestamp})",
        "{date}::timestamp",
        "({timestamptz} at time zone {zone})",
        "{timestamptz}::timestamp",
        "make_timestamp(2020, {small} + 1, 3, 4, 5, 6.7)",
        "date_bin('15 minutes', {timestamp}, '2001-01-01')",
        "{timestamp}::timestamp(2)",
    ]),
    ("timestamptz", &[
        "({timestamptz} + {interval})",
        "({timestamptz} - {interval})",
        "date_trunc({unit}, {timestamptz})",
        "date_trunc({unit}, {timestamptz}, {zone})",
        "({timestamp} at time zone {zone})",
        "{timestamp}::timestamptz",
        "{date}::timestamptz",
        "to_timestamp({float8})",
        "timezone({zone}, {timestamp})",
    ]),
    ("interval", &[
        "({interval} + {interval})",
        "({interval} - {interval})",
        "({interval} * {small})",
        "({interval} * 1.5)",
        "({interval} / 2)",
        "(- {interval})",
        "({timestamp} - {timestamp})",
        "({timestamptz} - {timestamptz})",
        "({time} - {time})",
        "age({timestamp}, {timestamp})",
        "age({timestamptz}, {timestamptz})",
        "justify_days({interval})",
        "justify_hours({interval})",
        "justify_interval({interval})",
        "make_interval(days => {int4} % 100, hours => {small})",
        "{time}::interval",
        "date_trunc({unit}, {interval})",
        "{interval}::interval(1)",
    ]),
    ("uuid", &["{uuid}::text::uuid"]),
    ("bytea", &[
        "({bytea} || {bytea})",
        "substr({bytea}, {index}, {small})",
        "decode(encode({bytea}, {encoding}), 'escape')",
        "convert_to({text}, 'UTF8')",
        "sha256({bytea})",
        "overlay({bytea} placing '\\xff' from 1)",
        "trim('\\x00' from {bytea})",
    ]),
    ("json", &[
        "to_json({T})",
        "json_build_object('k', {T}, 'j', {int4})",
        "json_build_array({T}, {text})",
        "({json} -> {key})",
        "row_to_json(row({int4}, {T}))",
        "array_to_json({int4[]})",
        "{jsonb}::json",
        "json_strip_nulls({json})",
    ]),
    ("jsonb", &[
        "to_jsonb({T})",
        "jsonb_build_object('k', {T}, {int4}::text, {C})",
        "jsonb_build_array({T}, {text})",
        "({jsonb} -> {key})",
        "({jsonb} -> {index})",
        "({jsonb} #> {path})",
        "({jsonb} || {jsonb})",
        "(case when jsonb_typeof({jsonb}) in ('object', 'array') then {0} end - 'a')",
        "jsonb_set(jsonb_build_object('a', {int4}), array['a'], {jsonb})",
        "jsonb_insert(jsonb_build_object('a', array[0]), array['a', '0'], {jsonb})",
        "jsonb_strip_nulls({jsonb})",
        "{json}::jsonb",
        "jsonb_path_query_first({jsonb}, {jsonpath})",
        "jsonb_path_query_array({jsonb}, {jsonpath})",
        "({jsonb})[{key}]",
    ]),
    ("int4[]", &[
        "array[{int4}, {int4}]",
        "array_append({int4[]}, {int4})",
        "array_prepend({int4}, {int4[]})",
        "array_remove({int4[]}, {int4})",
        "array_replace({int4[]}, {int4}, {int4})",
        "(array[{int4}] || {int4})",
        "({int4[]})[1:{small}]",
        "array_positions({int4[]}, {int4})",
        "array_fill({int4}, array[{small}])",
        "trim_array(array[{int4}, {int4}], 1)",
        "array(select generate_series(1, {small}))",
    ]),
    ("text[]", &[
        "array[{text}, {text}]",
        "({text[]} || {text})",
        "array_cat({text[]}, array[{text}])",
        "string_to_array({text}, {separator})",
        "regexp_split_to_array({text}, {regex})",
        "regexp_match({text}, {regex})",
        "{int4[]}::text[]",
        "({text[]})[2:]",
    ]),
    ("numeric[]", &["array[{numeric}, {int4}]", "{int4[]}::numeric[]", "array_append({numeric[]}, {numeric})"]),
];

const AGGREGATE_RULES: &[(&str, &[&str])] = &[
    ("int8", &["count(*)", "count({T})", "count(distinct {C})", "sum({int2})", "sum({int4})", "sum(distinct {int4})", "bit_or({int8})", "regr_count({float8}, {float8})"]),
    ("int4", &["max({int4})", "min({int4})", "bit_and({int4})", "bit_xor({int4})"]),
    ("int2", &["max({int2})", "min({int2})"]),
    ("numeric", &[
        "sum({int8})", "sum({numeric})", "sum(distinct {numeric})", "avg({int4})", "avg({numeric})", "avg({int8})", "stddev({int4})", "variance({int4})",
        "var_pop({numeric})", "stddev_samp({int2})", "max({numeric})", "min({numeric})",
    ]),
    ("float8", &["sum({=float8})", "avg({=float8})", "avg({=float4})", "max({float8})", "min({float8})"]),
    ("float4", &["max({float4})", "min({float4})", "sum({=float4})"]),
    ("text", &["max({text})", "min({text})", "min({varchar})"]),
    ("bpchar", &["max({bpchar})", "min({bpchar})"]),
    ("bool", &["bool_and({bool})", "bool_or({bool})", "every({bool})"]),
    ("date", &["max({date})", "min({date})"]),
    ("time", &["max({time})", "min({time})"]),
    ("timestamp", &["max({timestamp})", "min({timestamp})"]),
    ("timestamptz", &["max({timestamptz})", "min({timestamptz})"]),
    ("interval", &["sum({interval})", "avg({interval})"]),
    ("int4[]", &["max({int4[]})", "min({int4[]})"]),
];

const ORDERED_AGGREGATE_RULES: &[(&str, &[&str])] = &[
    ("text", &["string_agg({text}, {separator} order by {0})", "string_agg(distinct {text}, ',')", "string_agg({varchar}, ',' order by {0} desc nulls last)"]),
    ("int4[]", &["array_agg({int4} order by {0})", "array_agg(distinct {int4})", "array_agg(distinct {int4} order by {0} desc)"]),
    ("text[]", &["array_agg({text} order by {0})", "array_agg({text} order by {0} desc nulls last)", "array_agg(distinct {text})"]),
    ("numeric[]", &["array_agg({numeric} order by {0}, {0}::text)"]),
    ("json", &["json_agg({C} order by {0}, {0}::text)", "json_agg({int4} order by {0})"]),
    ("jsonb", &["jsonb_agg({C} order by {0}, {0}::text)", "jsonb_object_agg(coalesce({text}, 'z'), {int4} order by {1})"]),
    ("int4", &["mode() within group (order by {int4})", "percentile_disc(0.5) within group (order by {int4})"]),
    ("float8", &["percentile_cont(0.25) within group (order by {float8})"]),
];

const PEER_WINDOW_RULES: &[(&str, &[&str])] = &[("int8", &["rank()", "dense_rank()"]), ("float8", &["percent_rank()", "cume_dist()"])];

const ROW_WINDOW_RULES: &[(&str, &[&str])] = &[
    ("int8", &["row_number()"]),
    ("int4", &["ntile(3)", "ntile({small} + 1)"]),
    ("T", &["lag({T})", "lead({T}, {small})", "lag({T}, {small}, {T})", "first_value({T})", "last_value({T})", "nth_value({T}, 2)"]),
];
