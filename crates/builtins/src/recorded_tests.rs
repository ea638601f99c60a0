//! Calls whose answers PostgreSQL 15 gave, in the zone America/New_York.
//!
//! ```text
//! F  name    type;type  value  value  =  type:result      ! starts an error, <null> is NULL, | stands between rows
//! O  symbol  …
//! A  name    type;type  row    row    =  type:result      values of a row are divided by \u{4}, NULL is \N
//! ```

use types::{Datum, Formatting, SqlError, SqlResult, SqlState, SqlType, Zone, parse_text, to_text};

use crate::signature::{Builtin, CallTypes};
use crate::{EvalContext, ResolveError, binary_operators, functions, prefix_operators, resolve, resolve_aggregate};

fn type_named(name: &str) -> SqlType {
    if let Some(element) = name.strip_suffix("[]") {
        return type_named(element).array_of();
    }
    match name {
        "smallint" => SqlType::Int2,
        "integer" => SqlType::Int4,
        "bigint" => SqlType::Int8,
        "real" => SqlType::Float4,
        "double precision" => SqlType::Float8,
        "numeric" => SqlType::NUMERIC,
        "text" => SqlType::Text,
        "character varying" => SqlType::VARCHAR,
        "bpchar" => SqlType::Char(None),
        "name" => SqlType::Name,
        "\"char\"" => SqlType::QuotedChar,
        "bytea" => SqlType::Bytea,
        "boolean" => SqlType::Bool,
        "date" => SqlType::Date,
        "time without time zone" => SqlType::TIME,
        "time with time zone" => SqlType::TIMETZ,
        "timestamp without time zone" => SqlType::TIMESTAMP,
        "timestamp with time zone" => SqlType::TIMESTAMPTZ,
        "interval" => SqlType::Interval,
        "uuid" => SqlType::Uuid,
        "json" => SqlType::Json,
        "jsonb" => SqlType::Jsonb,
        "oid" => SqlType::Oid,
        "regclass" => SqlType::RegClass,
        "oidvector" => SqlType::OidVector,
        "xid" => SqlType::Xid,
        "bit" => SqlType::BIT,
        other => SqlType::parse_name(other).expect("a type"),
    }
}

fn run(builtin: &Builtin, types: &CallTypes, args: &[Datum], formatting: &Formatting) -> SqlResult<String> {
    let context = EvalContext::detached(formatting);
    let shown = |ty: &SqlType, datum: &Datum| {
        let text = if datum.is_null() { "<null>".to_owned() } else { to_text(ty, datum, formatting) };
        format!("{}:{text}", ty.base_name())
    };
    let Some(set) = &builtin.set else {
        return builtin.call(&context, types, args).map(|datum| shown(&types.ret, &datum));
    };
    if builtin.strict && args.iter().any(Datum::is_null) {
        return Ok("<null>".into());
    }
    let rows = (set.eval)(&context, types, args)?.take(51).collect::<SqlResult<Vec<_>>>()?;
    let row = |row: &Vec<Datum>| match row.as_slice() {
        [datum] => shown(&types.ret, datum),
        fields => shown(&SqlType::RECORD, &Datum::Record(fields.into())),
    };
    Ok(if rows.is_empty() { "<null>".into() } else { rows.iter().take(50).map(row).collect::<Vec<_>>().join("|") })
}

fn aggregate(name: &str, types: &[SqlType], rows: &[&str], formatting: &Formatting) -> SqlResult<String> {
    let wanted: Vec<Option<SqlType>> = types.iter().copied().map(Some).collect();
    let unresolved = |error: ResolveError| SqlError::new(SqlState::UndefinedFunction, format!("{error:?}"));
    let found = resolve_aggregate(name, &wanted).map_err(unresolved)?;
    let call = CallTypes { args: found.args, ret: found.ret };
    let context = EvalContext::detached(formatting);
    let mut accumulator = (found.chosen.new)(&call);
    for row in rows {
        let value = |(ty, text): (&SqlType, &str)| match text {
            "\\N" => Ok(Datum::Null),
            _ => parse_text(ty, text, formatting),
        };
        let args: Vec<Datum> = types.iter().zip(row.split('\u{4}')).map(value).collect::<SqlResult<_>>()?;
        if !(found.chosen.strict && args.iter().any(Datum::is_null)) {
            accumulator.add(&context, &args)?;
        }
    }
    let result = accumulator.finish(&context)?;
    let text = if result.is_null() { "<null>".to_owned() } else { to_text(&call.ret, &result, formatting) };
    Ok(format!("{}:{text}", call.ret.base_name()))
}

fn answer(kind: &str, name: &str, types: &[SqlType], values: &[&str], formatting: &Formatting) -> SqlResult<String> {
    if kind == "A" {
        return aggregate(name, types, values, formatting);
    }
    let args: Vec<Datum> =
        types.iter().zip(values).map(|(ty, text)| parse_text(ty, text, formatting)).collect::<SqlResult<_>>()?;
    let wanted: Vec<Option<SqlType>> = types.iter().copied().map(Some).collect();
    let unresolved = |error: ResolveError| SqlError::new(SqlState::UndefinedFunction, format!("{error:?}"));
    let (builtin, call) = if kind == "F" {
        let found = resolve(functions(name), &wanted).map_err(unresolved)?;
        (found.chosen, CallTypes { args: found.args, ret: found.ret })
    } else {
        let operators = if types.len() == 1 { prefix_operators(name) } else { binary_operators(name) };
        let found = resolve(operators, &wanted).map_err(unresolved)?;
        (&found.chosen.function, CallTypes { args: found.args, ret: found.ret })
    };
    run(builtin, &call, &args, formatting)
}

#[test]
fn builtins_agree_with_postgresql() {
    let formatting = Formatting { zone: Zone::parse("America/New_York").unwrap(), ..Formatting::default() };
    let file = std::env::var("RECORDED").map(|path| std::fs::read_to_string(path).unwrap());
    let kept = concat!(include_str!("recorded.tsv"), include_str!("recorded_types.tsv"));
    let recorded = file.as_deref().unwrap_or(kept);
    let mut wrong = Vec::new();
    for line in recorded.lines() {
        let (call, expected) = line.rsplit_once("\t=\t").expect("a call and its answer");
        let columns: Vec<&str> = call.split('\t').collect();
        let types: Vec<SqlType> = columns[2].split(';').filter(|name| !name.is_empty()).map(type_named).collect();
        let call_it = || answer(columns[0], columns[1], &types, &columns[3..], &formatting);
        let got = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call_it));
        let got = match got {
            Ok(Ok(text)) => text.replace('\n', "\u{1}").replace('\t', "\u{2}").replace('\r', "\u{3}"),
            Ok(Err(error)) => format!("!{} {}", error.code(), error.message()),
            Err(_) => "PANIC".into(),
        };
        let got: String = got.chars().take(400).collect();
        if got != expected {
            wrong.push(format!("{call}\n    ours {got}\n    theirs {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}
