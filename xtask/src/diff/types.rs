//! The types of expressions, and literals of each.
//!
//! Literals are small and few, so that rows meet in joins and groups; some stand at the ends of a type's range. Floats are
//! multiples of a quarter: their sums are exact in whatever order they are added.

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Type {
    Int2,
    Int4,
    Int8,
    Numeric,
    Float4,
    Float8,
    Text,
    Varchar,
    Char,
    Bool,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    Uuid,
    Bytea,
    Json,
    Jsonb,
    Int4Array,
    TextArray,
    NumericArray,
}

use Type::*;

pub const ALL: &[Type] = &[
    Int2, Int4, Int8, Numeric, Float4, Float8, Text, Varchar, Char, Bool, Date, Time, Timestamp, Timestamptz, Interval, Uuid,
    Bytea, Json, Jsonb, Int4Array, TextArray, NumericArray,
];

impl Type {
    /// As a rule writes it, and as a cast does.
    pub fn name(self) -> &'static str {
        match self {
            Int2 => "int2",
            Int4 => "int4",
            Int8 => "int8",
            Numeric => "numeric",
            Float4 => "float4",
            Float8 => "float8",
            Text => "text",
            Varchar => "varchar",
            Char => "bpchar",
            Bool => "bool",
            Date => "date",
            Time => "time",
            Timestamp => "timestamp",
            Timestamptz => "timestamptz",
            Interval => "interval",
            Uuid => "uuid",
            Bytea => "bytea",
            Json => "json",
            Jsonb => "jsonb",
            Int4Array => "int4[]",
            TextArray => "text[]",
            NumericArray => "numeric[]",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        ALL.iter().copied().find(|it| it.name() == name)
    }

    /// Has an order and an equality, so that it can be sorted, grouped and made distinct.
    pub fn is_comparable(self) -> bool {
        self != Json
    }

    /// How a column of the type is declared.
    pub fn declared(self, rng: &mut StdRng) -> &'static str {
        match self {
            Numeric => ["numeric(10,2)", "numeric(10,2)", "numeric"].choose(rng).expect("not empty"),
            Varchar => ["varchar(12)", "varchar"].choose(rng).expect("not empty"),
            Char => "char(5)",
            Time => "time",
            it => it.name(),
        }
    }

    /// What an expression may be replaced by: each prints shorter than nearly all others.
    pub fn simple(self) -> &'static [&'static str] {
        match self {
            Int2 => &["1::int2", "null::int2"],
            Int4 => &["1", "0", "null::int4"],
            Int8 => &["1::int8", "null::int8"],
            Numeric => &["1.5", "null::numeric"],
            Float4 => &["1::float4", "null::float4"],
            Float8 => &["1::float8", "null::float8"],
            Text => &["'a'::text", "null::text"],
            Varchar => &["'a'::varchar", "null::varchar"],
            Char => &["'a'::bpchar", "null::bpchar"],
            Bool => &["true", "false", "null::bool"],
            Date => &["'2020-01-01'::date", "null::date"],
            Time => &["'1:00'::time", "null::time"],
            Timestamp => &["'2020-01-01'::timestamp", "null::timestamp"],
            Timestamptz => &["'2020-01-01'::timestamptz", "null::timestamptz"],
            Interval => &["'1 day'::interval", "null::interval"],
            Uuid => &["null::uuid"],
            Bytea => &["'a'::bytea", "null::bytea"],
            Json => &["'1'::json", "null::json"],
            Jsonb => &["'1'::jsonb", "null::jsonb"],
            Int4Array => &["'{1}'::int4[]", "null::int4[]"],
            TextArray => &["'{a}'::text[]", "null::text[]"],
            NumericArray => &["'{1.5}'::numeric[]", "null::numeric[]"],
        }
    }

    /// An expression of the type over a small number that is an expression itself.
    pub fn of_number(self, number: &str) -> String {
        match self {
            Int2 | Int4 | Int8 => format!("{number}::{}", self.name()),
            Numeric => format!("{number} / 4.00"),
            Float4 | Float8 => format!("{number}::{} / 4", self.name()),
            Text | Varchar | Char => format!("chr(97 + {number} % 26) || {number} % 5"),
            Bool => format!("{number} % 3 = 0"),
            Date => format!("date '2020-01-01' + {number}"),
            Time => format!("time '00:00' + {number} % 24 * interval '1 hour'"),
            Timestamp => format!("timestamp '2020-01-01' + {number} * interval '1 day'"),
            Timestamptz => format!("timestamptz '2020-01-01 00:00+00' + {number} * interval '1 hour'"),
            Interval => format!("{number} * interval '1 minute'"),
            Uuid => format!("md5({number}::text)::uuid"),
            Bytea => format!("decode(md5({number}::text), 'hex')"),
            Json => format!("json_build_object('a', {number})"),
            Jsonb => format!("jsonb_build_object('a', {number})"),
            Int4Array => format!("array[{number}, {number} % 5]"),
            TextArray => format!("array[chr(97 + {number} % 26)]"),
            NumericArray => format!("array[{number} / 4.00]"),
        }
    }

    /// A value as it stands in a row of VALUES or as a literal of an expression, without the type.
    pub fn value(self, rng: &mut StdRng) -> String {
        let pick = |rng: &mut StdRng, from: &[&str]| (*from.choose(rng).expect("not empty")).to_owned();
        let quoted = |text: String| format!("'{text}'");
        match self {
            Int2 | Int4 | Int8 if rng.random_bool(0.04) => match self {
                Int2 => pick(rng, &["32767", "-32768"]),
                Int4 => pick(rng, &["2147483647", "-2147483648"]),
                _ => pick(rng, &["9223372036854775807", "-9223372036854775808", "4294967296"]),
            },
            Int2 | Int4 | Int8 if rng.random_bool(0.2) => rng.random_range(-50..=100).to_string(),
            Int2 | Int4 | Int8 => rng.random_range(0..=9).to_string(),
            Numeric if rng.random_bool(0.1) => pick(rng, &["12345.67", "-0.01", "99999999.99"]),
            Numeric => format!("{}.{:02}", rng.random_range(-3..=12), [0, 25, 50, 99].choose(rng).expect("not empty")),
            Float4 | Float8 if rng.random_bool(0.05) => pick(rng, &["100000.25", "-1048576", "0.125"]),
            Float4 | Float8 => format!("{}", f64::from(rng.random_range(-12..=40)) / 4.0),
            Text | Varchar => quoted(pick(rng, &[
                "", "a", "b", "ab", "abc", "Abc", "ABC", "foo", "foo bar", " x ", "x", "1", "12", "-5", "a,b,c", "a%b", "a_b", "ÄÖ", "日本", "it''s",
                "q\\w", "true", "2020-02-29", "zebra", "Hello",
            ])),
            Char => quoted(pick(rng, &["", "a", "b", "ab", "abc", "ABC", " x", "x  ", "abcde", "1"])),
            Bool => pick(rng, &["true", "false"]),
            Date => quoted(pick(rng, &[
                "2020-01-01", "2020-02-29", "2019-12-31", "2021-03-14", "1999-06-15", "0044-03-15 BC", "2020-01-31", "2024-11-03",
            ])),
            Time => quoted(pick(rng, &["00:00:00", "12:34:56", "23:59:59.999999", "06:30:00", "12:34:56.5"])),
            Timestamp => quoted(pick(rng, &[
                "2020-01-01 00:00:00", "2020-02-29 12:34:56.789", "2019-12-31 23:59:59.999999", "1999-06-15 06:30:00", "2021-03-14 02:30:00",
                "2020-01-31 01:02:03",
            ])),
            Timestamptz => quoted(pick(rng, &[
                "2020-01-01 00:00:00+00", "2020-02-29 12:34:56.789+02", "2019-12-31 23:59:59.999999-05", "1999-06-15 06:30:00+00",
                "2021-03-14 07:30:00+00", "2024-11-03 05:30:00+00",
            ])),
            Interval => quoted(pick(rng, &[
                "1 day", "2 hours", "1 mon", "1 year 2 mons 3 days", "-1 day", "04:05:06.789", "00:00:00", "-1 mon 3 days 02:00:00", "90 min",
            ])),
            Uuid => quoted(pick(rng, &[
                "00000000-0000-0000-0000-000000000000", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "ffffffff-ffff-4fff-8fff-ffffffffffff",
            ])),
            Bytea => quoted(pick(rng, &["", "\\x00", "\\xdeadbeef", "abc", "\\x616263", "\\xff"])),
            Json | Jsonb => quoted(pick(rng, &[
                "1", "null", "true", "\"a\"", "[]", "{}", "[1, 2, 3]", "{\"a\": 1}", "{\"a\": {\"b\": [1, null]}}", "{\"b\": 2, \"a\": 1.50}",
                "[{\"a\": 1}, {\"a\": \"x\"}]", "\"日本\"", "1.50", "{\"a\": null}",
            ])),
            Int4Array => quoted(pick(rng, &["{}", "{1}", "{1,2,3}", "{3,2,1}", "{NULL,1}", "{{1,2},{3,4}}", "{5,5,5}"])),
            TextArray => quoted(pick(rng, &["{}", "{a}", "{a,b}", "{\"x y\",NULL}", "{\"\",b}", "{abc,Abc,foo}"])),
            NumericArray => quoted(pick(rng, &["{}", "{1.5}", "{1.50,2.25}", "{NULL}", "{0.01,-1.00}"])),
        }
    }

    /// A literal of the type in an expression, written in one of several ways.
    pub fn literal(self, rng: &mut StdRng) -> String {
        if rng.random_bool(0.06) {
            return if rng.random_bool(0.12) { "null".into() } else { format!("null::{}", self.name()) };
        }
        let value = self.value(rng);
        let is_quoted = value.starts_with('\'');
        match self {
            // As the grammar knows them.
            Int4 | Numeric | Bool if rng.random_bool(0.85) && value.len() < 10 => value,
            Text if rng.random_bool(0.35) => value,
            Date | Time | Timestamp | Interval if rng.random_bool(0.3) => format!("{} {value}", self.name()),
            _ if !is_quoted && value.starts_with('-') => format!("({value})::{}", self.name()),
            _ => format!("{value}::{}", self.name()),
        }
    }
}
