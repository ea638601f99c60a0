//! Casts against answers recorded from PostgreSQL 15.

use super::*;

fn ty(name: &str) -> SqlType {
    SqlType::parse_name(name).unwrap()
}

/// What an explicit cast prints, or its SQLSTATE after an exclamation mark.
fn outcome(from: &str, text: &str, to: &str, context: CastContext) -> String {
    let formatting = Formatting::default();
    let (from, to) = (ty(from), ty(to));
    let result = parse_text(&from, text, &formatting)
        .and_then(|datum| cast(datum, &from, &to, context, &formatting))
        .and_then(|datum| cast(datum, &to, &SqlType::Text, CastContext::Explicit, &formatting));
    match result {
        Ok(Datum::Null) => "<null>".to_owned(),
        Ok(datum) => datum.as_str().unwrap().to_owned(),
        Err(error) => format!("!{}", error.code().code()),
    }
}

/// From type, its text, to type, and what PostgreSQL 15 makes of it (time zone UTC).
#[rustfmt::skip]
const EXPLICIT: &[(&str, &str, &str, &str)] = &[
    ("float8", "0.5", "int4", "0"),
    ("float8", "1.5", "int4", "2"),
    ("float8", "2.5", "int8", "2"),
    ("float8", "-2.5", "int2", "-2"),
    ("float8", "32767.5", "int2", "!22003"),
    ("float8", "32767.4", "int2", "32767"),
    ("float8", "-32768.5", "int2", "-32768"),
    ("float8", "2147483647.4", "int4", "2147483647"),
    ("float8", "2147483647.5", "int4", "!22003"),
    ("float8", "-2147483648.5", "int4", "-2147483648"),
    ("float8", "9.2233720368547748e18", "int8", "9223372036854774784"),
    ("float8", "9223372036854775807", "int8", "!22003"),
    ("float8", "-9223372036854775808", "int8", "-9223372036854775808"),
    ("float8", "NaN", "int4", "!22003"),
    ("float8", "Infinity", "int8", "!22003"),
    ("float4", "2.5", "int4", "2"),
    ("float4", "0.1", "float8", "0.10000000149011612"),
    ("float4", "0.1", "numeric", "0.1"),
    ("float4", "16777217", "numeric", "16777200"),
    ("float8", "0.1", "numeric", "0.1"),
    ("float8", "123456789.123456789", "numeric", "123456789.123457"),
    ("float8", "1e20", "numeric", "100000000000000000000"),
    ("float8", "1.5e-7", "numeric", "0.00000015"),
    ("float8", "NaN", "numeric", "NaN"),
    ("float8", "-Infinity", "numeric", "-Infinity"),
    ("float8", "1e300", "float4", "!22003"),
    ("float8", "-1e300", "float4", "!22003"),
    ("float8", "1e-300", "float4", "!22003"),
    ("float8", "Infinity", "float4", "Infinity"),
    ("float8", "0.1", "float4", "0.1"),
    ("numeric", "0.5", "int4", "1"),
    ("numeric", "-2.5", "int8", "-3"),
    ("numeric", "2147483647.5", "int4", "!22003"),
    ("numeric", "32767.49", "int2", "32767"),
    ("numeric", "9223372036854775807.4", "int8", "9223372036854775807"),
    ("numeric", "9223372036854775807.5", "int8", "!22003"),
    ("numeric", "NaN", "int4", "!0A000"),
    ("numeric", "Infinity", "int8", "!0A000"),
    ("numeric", "1e400", "float8", "!22003"),
    ("numeric", "1e-400", "float8", "!22003"),
    ("numeric", "1e300", "float4", "!22003"),
    ("numeric", "1e-300", "float4", "!22003"),
    ("numeric", "0.1", "float4", "0.1"),
    ("numeric", "16777217", "float4", "1.6777216e+07"),
    ("numeric", "123.456", "numeric(5,2)", "123.46"),
    ("numeric", "999.995", "numeric(5,2)", "!22003"),
    ("numeric", "999.994", "numeric(5,2)", "999.99"),
    ("numeric", "12345", "numeric(3,-2)", "12300"),
    ("numeric", "99950", "numeric(3,-2)", "!22003"),
    ("numeric", "0.00012345", "numeric(3,5)", "0.00012"),
    ("numeric", "0.0123", "numeric(3,5)", "!22003"),
    ("numeric", "NaN", "numeric(3,1)", "NaN"),
    ("numeric", "Infinity", "numeric(3,1)", "!22003"),
    ("int4", "5", "numeric(3,1)", "5.0"),
    ("int4", "100", "numeric(3,1)", "!22003"),
    ("int8", "70000", "int4", "70000"),
    ("int8", "3000000000", "int4", "!22003"),
    ("int4", "70000", "int2", "!22003"),
    ("int8", "9007199254740993", "float8", "9.007199254740992e+15"),
    ("int8", "16777217", "float4", "1.6777216e+07"),
    ("int4", "0", "bool", "false"),
    ("int4", "-3", "bool", "true"),
    ("bool", "true", "int4", "1"),
    ("bool", "true", "int2", "!42846"),
    ("bool", "true", "text", "true"),
    ("bool", "f", "varchar(3)", "fal"),
    ("bool", "f", "char(10)", "false"),
    ("bool", "t", "name", "t"),
    ("int4", "12345", "varchar(3)", "123"),
    ("int4", "12", "char(5)", "12"),
    ("int4", "65", "\"char\"", "A"),
    ("int4", "-1", "\"char\"", "\\377"),
    ("int4", "0", "\"char\"", ""),
    ("int4", "200", "\"char\"", "!22003"),
    ("\"char\"", "a", "int4", "97"),
    ("\"char\"", "\\303", "int4", "-61"),
    ("\"char\"", "\\303", "text", "\\303"),
    ("\"char\"", "é", "text", "\\303"),
    ("\"char\"", "", "int4", "0"),
    ("\"char\"", "\\101", "text", "A"),
    ("text", "hello", "\"char\"", "h"),
    ("text", "hello", "varchar(3)", "hel"),
    ("text", "hello", "char(3)", "hel"),
    ("text", "hé", "char(3)", "hé"),
    ("text", "hi", "char(4)", "hi"),
    ("varchar", "hello  ", "varchar(5)", "hello"),
    ("char(5)", "ab", "text", "ab"),
    ("char(5)", "ab", "varchar", "ab"),
    ("char(5)", "ab", "varchar(3)", "ab"),
    ("char(5)", "ab", "name", "ab"),
    ("char(5)", "12", "int4", "12"),
    ("char(5)", "ab", "char(2)", "ab"),
    ("char(5)", "ab", "bytea", "\\x6162202020"),
    ("text", "  42 ", "int4", "42"),
    ("text", "4x", "int4", "!22P02"),
    ("text", "99999", "int2", "!22003"),
    ("text", "yes", "bool", "true"),
    ("text", "maybe", "bool", "!22P02"),
    ("text", "1.5e3", "numeric(6,1)", "1500.0"),
    ("text", "2024-02-29 12:34:56.789", "timestamp(1)", "2024-02-29 12:34:56.8"),
    ("text", "2024-02-30", "date", "!22008"),
    ("text", "\\x6162", "bytea", "\\x6162"),
    ("text", "{1,2,NULL}", "int4[]", "{1,2,NULL}"),
    ("text", "{1.255,2}", "numeric(4,2)[]", "{1.26,2.00}"),
    ("bytea", "\\xdead", "text", "\\xdead"),
    ("uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "text", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("text", "{a0eebc999c0b4ef8bb6d6bb9bd380a11}", "uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "bytea", "!42846"),
    ("date", "2024-02-29", "timestamp", "2024-02-29 00:00:00"),
    ("date", "infinity", "timestamptz", "infinity"),
    ("date", "5874897-12-31", "timestamp", "!22008"),
    ("date", "2024-01-01", "time", "!42846"),
    ("timestamp", "2024-02-29 23:59:59.9", "date", "2024-02-29"),
    ("timestamp", "1999-12-31 23:59:59.9", "date", "1999-12-31"),
    ("timestamp", "1999-12-31 23:59:59.9", "time", "23:59:59.9"),
    ("timestamp", "infinity", "time", "<null>"),
    ("timestamp", "-infinity", "date", "-infinity"),
    ("timestamp", "2024-02-29 23:59:59.9996", "timestamp(3)", "2024-03-01 00:00:00"),
    ("timestamp", "1999-12-31 23:59:59.4445", "timestamp(3)", "1999-12-31 23:59:59.444"),
    ("timestamp", "1999-12-31 23:59:59.5", "timestamp(0)", "1999-12-31 23:59:59"),
    ("timestamp", "2024-01-01 00:00:00", "timestamptz", "2024-01-01 00:00:00+00"),
    ("timestamptz", "2024-01-01 00:00:00+02", "timestamp", "2023-12-31 22:00:00"),
    ("timestamptz", "2024-01-01 00:00:00+02", "date", "2023-12-31"),
    ("timestamptz", "2024-01-01 00:00:00+02", "timetz", "22:00:00+00"),
    ("timestamptz", "infinity", "timetz", "<null>"),
    ("time", "23:59:59.9999", "time(2)", "24:00:00"),
    ("time", "10:00", "interval", "10:00:00"),
    ("time", "10:00", "timetz", "10:00:00+00"),
    ("time", "10:00", "timestamp", "!42846"),
    ("timetz", "10:00:00.55+03", "time(1)", "10:00:00.6"),
    ("timetz", "10:00:00.55+03:30", "timetz(1)", "10:00:00.6+03:30"),
    ("interval", "-1 hour", "time", "23:00:00"),
    ("interval", "25:00", "time", "01:00:00"),
    ("interval", "1 mon 3 days 02:00", "time", "02:00:00"),
    ("json", "{\"b\" : 1, \"a\":2}", "jsonb", "{\"a\": 2, \"b\": 1}"),
    ("jsonb", "{\"b\" : 1, \"a\":2}", "json", "{\"a\": 2, \"b\": 1}"),
    ("jsonb", "{\"b\" : 1, \"a\":2}", "text", "{\"a\": 2, \"b\": 1}"),
    ("jsonb", "2.5", "int4", "3"),
    ("jsonb", "40000", "int2", "!22003"),
    ("jsonb", "1e400", "float8", "!22003"),
    ("jsonb", "true", "bool", "true"),
    ("jsonb", "1", "bool", "!22023"),
    ("jsonb", "null", "int4", "!22023"),
    ("jsonb", "\"1\"", "int4", "!22023"),
    ("jsonb", "1.255", "numeric(3,2)", "1.26"),
    ("json", "1", "int4", "!42846"),
    ("text", "{\"a\":1}", "json", "{\"a\":1}"),
    ("text", "{a:1}", "jsonb", "!22P02"),
    ("oid", "3000000000", "int4", "-1294967296"),
    ("oid", "3000000000", "int8", "3000000000"),
    ("int4", "-1", "oid", "4294967295"),
    ("int8", "-1", "oid", "!22003"),
    ("int8", "4294967295", "oid", "4294967295"),
    ("int8", "4294967296", "oid", "!22003"),
    ("int2", "-1", "oid", "4294967295"),
    ("numeric", "5", "oid", "!42846"),
    ("text", "25", "regtype", "text"),
    ("int4", "25", "regtype", "text"),
    ("regtype", "25", "oid", "25"),
    ("regtype", "25", "text", "text"),
    ("text", "7", "xid", "7"),
    ("int4", "7", "xid", "!42846"),
    ("xid", "7", "text", "7"),
    ("int2[]", "{1,2}", "int8[]", "{1,2}"),
    ("int4[]", "[0:1]={1,2}", "text[]", "[0:1]={1,2}"),
    ("int4[]", "{{1,2},{3,NULL}}", "float8[]", "{{1,2},{3,NULL}}"),
    ("int4[]", "{1,70000}", "int2[]", "!22003"),
    ("text[]", "{abc,NULL,de}", "varchar(2)[]", "{ab,NULL,de}"),
    ("text[]", "{a,bc}", "char(3)[]", "{\"a  \",\"bc \"}"),
    ("numeric[]", "{1.255,NULL}", "numeric(3,2)[]", "{1.26,NULL}"),
    ("int4[]", "{1,2}", "text", "{1,2}"),
    ("int4[]", "{1,2}", "bool[]", "{t,t}"),
    ("int4[]", "{1,2}", "date[]", "!42846"),
    ("text[]", "{1,2}", "int4[]", "{1,2}"),
    ("int2vector", "1 2", "int4[]", "[0:1]={1,2}"),
    ("oidvector", "1 2", "text", "1 2"),
    ("int2[]", "{1,2}", "int2vector", "!42846"),
    ("bool[]", "{t,f}", "text[]", "{true,false}"),
    ("int4[]", "{}", "text[]", "{}"),
    ("name", "abc", "varchar(2)", "ab"),
    ("text", "0123456789012345678901234567890123456789012345678901234567890123456789", "name", "012345678901234567890123456789012345678901234567890123456789012"),
];

#[test]
fn explicit_casts_are_those_of_postgresql() {
    let wrong: Vec<String> = EXPLICIT
        .iter()
        .filter_map(|(from, text, to, expected)| {
            let found = outcome(from, text, to, CastContext::Explicit);
            (found != *expected).then(|| format!("{text:?}::{from}::{to}: {found:?}, not {expected:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn storing_refuses_what_a_cast_cuts() {
    let store = |from: &str, text: &str, to: &str| outcome(from, text, to, CastContext::Assignment);
    assert_eq!(store("text", "hello", "varchar(3)"), "!22001");
    assert_eq!(store("text", "hel  ", "varchar(3)"), "hel");
    assert_eq!(store("text", "hello", "char(3)"), "!22001");
    assert_eq!(store("text", "hel  ", "char(3)"), "hel");
    assert_eq!(store("varchar(5)", "h\u{e9}llo", "varchar(4)"), "!22001");
    assert_eq!(store("varchar(5)", "h\u{e9}", "varchar(2)"), "h\u{e9}");
    assert_eq!(store("text[]", "{a,long}", "varchar(3)[]"), "!22001");
    assert_eq!(store("int4", "12345", "varchar(3)"), "!22001");
    assert_eq!(store("numeric", "9.995", "numeric(3,2)"), "!22003");
    let error = cast("abcd".into(), &SqlType::Text, &ty("varchar(3)"), CastContext::Assignment, &Formatting::default());
    assert_eq!(error.unwrap_err().message(), "value too long for type character varying(3)");
}

/// Source, then every target with the first letter of its context.
const LISTED: &[&str] = &[
    "bool>bpchar:a int4:e text:a varchar:a",
    "bpchar>char:a name:i text:i varchar:a",
    "char>bpchar:a int4:e text:i varchar:a",
    "bit>int4:e int8:e varbit:i",
    "box>circle:e lseg:e point:e polygon:a",
    "cidr>inet:i",
    "circle>box:e point:e polygon:e",
    "date>timestamp:i timestamptz:i",
    "daterange>datemultirange:e",
    "float4>float8:i int2:a int4:a int8:a numeric:a",
    "float8>float4:a int2:a int4:a int8:a numeric:a",
    "inet>cidr:a",
    "int2>float4:i float8:i int4:i int8:i numeric:i oid:i regclass:i regconfig:i regdictionary:i regnamespace:i regoper:i regoperator:i regproc:i \
     regprocedure:i regrole:i regtype:i",
    "int4>bit:e bool:e char:e money:a float4:i float8:i int2:a int8:i numeric:i oid:i regclass:i regconfig:i regdictionary:i regnamespace:i regoper:i \
     regoperator:i regproc:i regprocedure:i regrole:i regtype:i",
    "int4range>int4multirange:e",
    "int8range>int8multirange:e",
    "numrange>nummultirange:e",
    "tsrange>tsmultirange:e",
    "tstzrange>tstzmultirange:e",
    "int8>bit:e money:a float4:i float8:i int2:a int4:a numeric:i oid:i regclass:i regconfig:i regdictionary:i regnamespace:i regoper:i regoperator:i regproc:i \
     regprocedure:i regrole:i regtype:i",
    "interval>time:a",
    "json>jsonb:a",
    "lseg>point:e",
    "macaddr>macaddr8:i",
    "macaddr8>macaddr:i",
    "money>numeric:a",
    "path>polygon:a",
    "point>box:a",
    "polygon>box:e circle:e path:a point:e",
    "varbit>bit:i",
    "xid8>xid:e",
    "jsonb>bool:e float4:e float8:e int2:e int4:e int8:e json:a numeric:e",
    "name>bpchar:a text:i varchar:a",
    "numeric>float4:i float8:i int2:a int4:a int8:a money:a",
    "oid>int4:a int8:a regclass:i regconfig:i regdictionary:i regnamespace:i regoper:i regoperator:i regproc:i regprocedure:i regrole:i regtype:i",
    "pg_node_tree>text:i",
    "regclass>int4:a int8:a oid:i",
    "regconfig>int4:a int8:a oid:i",
    "regdictionary>int4:a int8:a oid:i",
    "regnamespace>int4:a int8:a oid:i",
    "regoper>int4:a int8:a oid:i regoperator:i",
    "regoperator>int4:a int8:a oid:i regoper:i",
    "regproc>int4:a int8:a oid:i regprocedure:i",
    "regprocedure>int4:a int8:a oid:i regproc:i",
    "regrole>int4:a int8:a oid:i",
    "regtype>int4:a int8:a oid:i",
    "text>bpchar:i char:a name:i regclass:i varchar:i",
    "time>interval:i timetz:i",
    "timestamp>date:a time:a timestamptz:i",
    "timestamptz>date:a time:a timestamp:a timetz:a",
    "timetz>time:a",
    "varchar>bpchar:i char:a name:i regclass:i text:i",
];

#[test]
fn contexts_are_those_of_pg_cast() {
    let by_internal_name =
        |name: &str| *SqlType::scalars().iter().find(|ty| ty.internal_name() == name).expect("a listed type");
    let mut listed = std::collections::BTreeMap::new();
    for line in LISTED {
        let (from, targets) = line.split_once('>').unwrap();
        for target in targets.split_ascii_whitespace() {
            let (to, context) = target.split_once(':').unwrap();
            let context = match context {
                "i" => CastContext::Implicit,
                "a" => CastContext::Assignment,
                _ => CastContext::Explicit,
            };
            listed.insert((by_internal_name(from), by_internal_name(to)), context);
        }
    }
    for from in SqlType::scalars().iter().filter(|ty| !ty.is_pseudo()) {
        for to in SqlType::scalars().iter().filter(|ty| !ty.is_pseudo()) {
            let expected = if from == to {
                Some(CastContext::Implicit)
            } else if let Some(context) = listed.get(&(*from, *to)) {
                Some(*context)
            } else if from.element().is_some() && to.element().is_some() {
                continue;
            } else if to.is_string() {
                Some(CastContext::Assignment)
            } else {
                from.is_string().then_some(CastContext::Explicit)
            };
            assert_eq!(can_cast(from, to), expected, "{from} to {to}");
        }
    }
    assert_eq!(can_cast(&SqlType::INT4_ARRAY, &SqlType::INT8_ARRAY), Some(CastContext::Implicit));
    assert_eq!(can_cast(&SqlType::INT8_ARRAY, &SqlType::INT4_ARRAY), Some(CastContext::Assignment));
    assert_eq!(can_cast(&SqlType::INT4_ARRAY, &SqlType::Date.array_of()), None);
    assert_eq!(can_cast(&SqlType::Unknown, &SqlType::Uuid), Some(CastContext::Implicit));
}

#[test]
fn times_follow_the_session_zone() {
    let formatting = Formatting { zone: crate::Zone::parse("America/New_York").unwrap(), ..Formatting::default() };
    let run = |from: &str, text: &str, to: &str| {
        let (from, to) = (ty(from), ty(to));
        let datum = parse_text(&from, text, &formatting).unwrap();
        to_text(&to, &cast(datum, &from, &to, CastContext::Explicit, &formatting).unwrap(), &formatting)
    };
    assert_eq!(run("date", "2024-07-04", "timestamptz"), "2024-07-04 00:00:00-04");
    assert_eq!(run("timestamptz", "2024-01-01 03:00:00Z", "date"), "2023-12-31");
    assert_eq!(run("timestamptz", "2024-01-01 03:00:00Z", "time"), "22:00:00");
    assert_eq!(run("timestamptz", "2024-07-01 03:00:00Z", "timetz"), "23:00:00-04");
    assert_eq!(run("timestamp", "2024-03-10 02:30:00", "timestamptz"), "2024-03-10 03:30:00-04");
}

#[test]
fn no_cast_says_which() {
    let error = cast(Datum::Bool(true), &SqlType::Bool, &SqlType::Date, CastContext::Explicit, &Formatting::default());
    let error = error.unwrap_err();
    assert_eq!((error.code(), error.message()), (SqlState::CannotCoerce, "cannot cast type boolean to date"));
}
