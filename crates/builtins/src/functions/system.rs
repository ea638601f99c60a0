//! Session information, settings, and conversions that belong nowhere else. Documentation, sections 9.25 and 9.26.

use std::hash::Hasher;

use types::{Array, Datum, SqlError, SqlResult, SqlState, SqlType, hash_datum, write_text};

use crate::{EvalContext, Signal};
use crate::arguments::{boolean, text};
use crate::signature::{ArgType, Builtin, RetType, SetFunction};

const TEXT: ArgType = ArgType::T(SqlType::Text);
const BOOLEAN: ArgType = ArgType::T(SqlType::Bool);
const R_TEXT: RetType = RetType::T(SqlType::Text);
const R_NAME: RetType = RetType::T(SqlType::Name);
const R_NAMES: RetType = RetType::T(SqlType::NAME_ARRAY);
const R_I4: RetType = RetType::T(SqlType::Int4);
const R_BOOL: RetType = RetType::T(SqlType::Bool);
const I4: ArgType = ArgType::T(SqlType::Int4);
const I8: ArgType = ArgType::T(SqlType::Int8);
const OID: ArgType = ArgType::T(SqlType::Oid);
const R_VOID: RetType = RetType::T(SqlType::Void);
const F4: ArgType = ArgType::T(SqlType::Float4);
const F8: ArgType = ArgType::T(SqlType::Float8);

/// The name of what TABLESAMPLE asks of each row.
pub const SAMPLE_KEEPS: &str = "tablesample_keeps";

fn setting(context: &EvalContext<'_>, a: &[Datum]) -> SqlResult<Datum> {
    let name = text(&a[0]);
    let missing_ok = a.get(1).is_some_and(boolean);
    context.host.check_examines(name)?;
    match context.host.setting(name) {
        Some(value) => Ok(Datum::text(value)),
        None if missing_ok => Ok(Datum::Null),
        None => {
            let message = format!("unrecognized configuration parameter \"{name}\"");
            Err(SqlError::new(SqlState::UndefinedObject, message))
        }
    }
}

/// The bits of a number, each of which depends on all of it.
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

fn signal(context: &EvalContext<'_>, args: &[Datum], signal: Signal) -> SqlResult<Datum> {
    let pid = args[0].as_int().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    context.host.signal(pid, signal).map(Datum::Bool)
}

fn blocking_pids(context: &EvalContext<'_>, args: &[Datum]) -> Datum {
    let pid = args[0].as_int().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    let pids = context.host.blocking_pids(pid).into_iter().map(|pid| Datum::Int(pid.into())).collect();
    Datum::Array(Array::from_elements(pids).into())
}

/// `pg_stat_statements_reset`, of the extension: what is not given is any.
fn reset_statements(context: &EvalContext<'_>, args: &[Datum]) -> SqlResult<Datum> {
    let number = |at: usize| args.get(at).and_then(Datum::as_int).unwrap_or_default();
    let id = |at: usize| u32::try_from(number(at)).unwrap_or_default();
    context.host.reset_statements(id(0), id(1), number(2)).map(|()| Datum::text(""))
}

fn schemas(context: &EvalContext<'_>, a: &[Datum]) -> SqlResult<Datum> {
    let names = context.host.current_schemas(boolean(&a[0]));
    Ok(Datum::Array(Array::from_elements(names.into_iter().map(Datum::text).collect()).into()))
}

/// A version 4 UUID (RFC 9562) from the host's randomness.
pub(super) fn random_uuid(context: &EvalContext<'_>) -> Datum {
    let bits = u128::from(context.host.random_bits()) << 64 | u128::from(context.host.random_bits());
    Datum::Uuid(*uuid::Builder::from_random_bytes(bits.to_be_bytes()).as_uuid().as_bytes())
}

pub(super) static FUNCTIONS: &[Builtin] = &[
    Builtin::pure("current_user", 745, &[], R_NAME, |c, _, _| Ok(Datum::text(c.host.current_user()))).stable(),
    Builtin::pure("user", 21_745, &[], R_NAME, |c, _, _| Ok(Datum::text(c.host.current_user()))).stable(),
    Builtin::pure("current_role", 21_746, &[], R_NAME, |c, _, _| Ok(Datum::text(c.host.current_user()))).stable(),
    Builtin::pure("session_user", 746, &[], R_NAME, |c, _, _| Ok(Datum::text(c.host.session_user()))).stable(),
    Builtin::pure("current_database", 861, &[], R_NAME, |c, _, _| Ok(Datum::text(c.host.current_database()))).stable(),
    Builtin::pure("current_catalog", 21_861, &[], R_NAME, |c, _, _| Ok(Datum::text(c.host.current_database()))).stable(),
    Builtin::pure("current_schema", 1402, &[], R_NAME, |c, _, _| {
        Ok(c.host.current_schemas(false).into_iter().next().map_or(Datum::Null, Datum::text))
    })
    .stable(),
    Builtin::pure("current_schemas", 1403, &[BOOLEAN], R_NAMES, |c, _, a| schemas(c, a)).stable(),
    Builtin::pure("version", 89, &[], R_TEXT, |c, _, _| Ok(Datum::text(c.host.version()))).stable(),
    Builtin::pure("pg_cancel_backend", 2171, &[I4], R_BOOL, |c, _, a| signal(c, a, Signal::Cancel)).volatile(),
    Builtin::pure("pg_terminate_backend", 22_096, &[I4], R_BOOL, |c, _, a| signal(c, a, Signal::Terminate)).volatile(),
    Builtin::pure("pg_terminate_backend", 2096, &[I4, I8], R_BOOL, |c, _, a| signal(c, a, Signal::Terminate)).volatile(),
    Builtin::pure("pg_blocking_pids", 2561, &[I4], RetType::T(SqlType::INT4_ARRAY), |c, _, a| Ok(blocking_pids(c, a))).volatile(),
    Builtin::pure("pg_stat_statements_reset", 22_561, &[], R_VOID, |c, _, a| reset_statements(c, a)).volatile(),
    Builtin::pure("pg_stat_statements_reset", 22_562, &[OID], R_VOID, |c, _, a| reset_statements(c, a)).volatile(),
    Builtin::pure("pg_stat_statements_reset", 22_563, &[OID, OID], R_VOID, |c, _, a| reset_statements(c, a)).volatile(),
    Builtin::pure("pg_stat_statements_reset", 22_564, &[OID, OID, I8], R_VOID, |c, _, a| reset_statements(c, a)).volatile(),
    Builtin::pure("pg_notify", 3036, &[TEXT, TEXT], RetType::T(SqlType::Void), |c, _, a| {
        let or_empty = |at: usize| if a[at].is_null() { "" } else { text(&a[at]) };
        c.host.notify(or_empty(0), or_empty(1)).map(|()| Datum::text(""))
    })
    .null_aware()
    .volatile(),
    Builtin::pure("pg_listening_channels", 3035, &[], R_TEXT, |_, _, _| Ok(Datum::Null)).stable().returning_set(SetFunction {
        columns: &[],
        eval: |c, _, _| Ok(c.host.listening_channels().into_iter().map(|channel| vec![Datum::text(channel)]).collect()),
    }),
    Builtin::pure("pg_notification_queue_usage", 3296, &[], RetType::T(SqlType::Float8), |c, _, _| {
        Ok(Datum::Float(c.host.notification_queue_usage()))
    })
    .volatile(),
    Builtin::pure("pg_backend_pid", 2026, &[], R_I4, |c, _, _| Ok(Datum::Int(i64::from(c.host.backend_pid())))).stable(),
    Builtin::pure("inet_client_addr", 2196, &[], RetType::T(SqlType::Inet), |c, _, _| {
        let address = c.host.client_address().and_then(|text| types::network::parse_inet(&text, false).ok());
        Ok(address.map_or(Datum::Null, Datum::Inet))
    })
    .stable(),
    Builtin::pure("current_setting", 2077, &[TEXT], R_TEXT, |c, _, a| setting(c, a)).stable(),
    Builtin::pure("current_setting", 3294, &[TEXT, BOOLEAN], R_TEXT, |c, _, a| setting(c, a)).stable(),
    Builtin::pure("set_config", 2078, &[TEXT, TEXT, BOOLEAN], R_TEXT, |c, _, a| {
        if a[0].is_null() {
            return Err(SqlError::new(SqlState::NullValueNotAllowed, "SET requires parameter name"));
        }
        let value = if a[1].is_null() { "" } else { text(&a[1]) };
        c.host.set_setting(text(&a[0]), value, !a[2].is_null() && boolean(&a[2])).map(Datum::text)
    })
    .null_aware()
    .volatile(),
    Builtin::pure("gen_random_uuid", 3432, &[], RetType::T(SqlType::Uuid), |c, _, _| Ok(random_uuid(c))).volatile(),
    Builtin::pure("pg_typeof", 1619, &[ArgType::Any], RetType::T(SqlType::RegType), |_, types, _| {
        Ok(Datum::Int(i64::from(types.args[0].oid())))
    })
    .null_aware()
    .stable(),
    Builtin::pure("num_nulls", 438, &[ArgType::Any], R_I4, |_, _, a| Ok(Datum::Int(a.iter().filter(|d| d.is_null()).count() as i64)))
        .variadic()
        .null_aware(),
    Builtin::pure("num_nonnulls", 440, &[ArgType::Any], R_I4, |_, _, a| Ok(Datum::Int(a.iter().filter(|d| !d.is_null()).count() as i64)))
        .variadic()
        .null_aware(),
    Builtin::pure("pg_column_size", 1269, &[ArgType::Any], R_I4, |context, types, a| {
        let mut out = Vec::new();
        write_text(&types.args[0], &a[0], context.formatting, &mut out);
        Ok(Datum::Int(out.len() as i64 + 1))
    })
    .stable(),
    Builtin::pure("pg_client_encoding", 810, &[], R_NAME, |_, _, _| Ok(Datum::text("UTF8"))).stable(),
    Builtin::pure("getdatabaseencoding", 1039, &[], R_NAME, |_, _, _| Ok(Datum::text("UTF8"))).stable(),
    Builtin::pure("pg_is_in_recovery", 3810, &[], RetType::T(SqlType::Bool), |_, _, _| Ok(Datum::Bool(false))).volatile(),
    // TABLESAMPLE: a percentage, a seed, and what tells the rows apart. Not in `pg_proc`.
    Builtin::pure(SAMPLE_KEEPS, 0, &[F4, F8, ArgType::Any], RetType::T(SqlType::Bool), |context, types, a| {
        let percent = match &a[0] {
            Datum::Float(percent) if (0.0..=100.0).contains(percent) => *percent,
            Datum::Null => {
                return Err(SqlError::new(SqlState::InvalidTablesampleArgument, "TABLESAMPLE parameter cannot be null"));
            }
            _ => {
                let message = "sample percentage must be between 0 and 100";
                return Err(SqlError::new(SqlState::InvalidTablesampleArgument, message));
            }
        };
        let bits = match &a[1] {
            Datum::Float(seed) => {
                let mut hasher = rustc_hash::FxHasher::default();
                hasher.write_u64(mixed(seed.to_bits()));
                let mut types = types.args[2..].iter().cycle();
                for value in &a[2..] {
                    if let Some(ty) = types.next() {
                        hash_datum(ty, value, &mut hasher);
                    }
                }
                mixed(hasher.finish())
            }
            Datum::Null if a.len() == 2 => context.host.random_bits(),
            _ => {
                let message = "TABLESAMPLE REPEATABLE parameter cannot be null";
                return Err(SqlError::new(SqlState::InvalidTablesampleRepeat, message));
            }
        };
        Ok(Datum::Bool(((bits >> 11) as f64 / (1_u64 << 53) as f64) < percent / 100.0))
    })
    .variadic()
    .null_aware()
    .volatile(),
    Builtin::pure("hashtext", 400, &[TEXT], R_I4, |_, _, a| {
        // Any fixed hash will do: FNV-1a, 32 bits.
        let hash = text(&a[0]).bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        Ok(Datum::Int(i64::from(hash as i32)))
    }),
];
