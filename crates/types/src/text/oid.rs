//! Object identifiers: as numbers, by the names they stand for, and in the vectors of catalogs.

use std::sync::Arc;

use crate::array::Array;
use crate::datum::Datum;
use crate::error::{SqlError, SqlResult};
use crate::formatting::Formatting;
use crate::sql_type::SqlType;

use super::number::{parse_int, put_int};
use super::{blank, parse_text};

/// Unsigned, but a negative number is taken modulo 2^32, as C's strtoul does.
pub(super) fn parse_oid(input: &str, type_name: &str) -> SqlResult<i64> {
    let value = parse_int(input, type_name, i64::from(i32::MIN), i64::from(u32::MAX))?;
    Ok(if value < 0 { value + (1 << 32) } else { value })
}

pub(super) fn parse_reg(ty: &SqlType, input: &str, formatting: &Formatting) -> SqlResult<i64> {
    let name = input.trim_matches(blank);
    if name == "-" {
        return Ok(0);
    }
    if !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()) {
        return parse_oid(name, "oid");
    }
    match &formatting.oid_names {
        Some(names) => Ok(i64::from(names.lookup(ty, name)?)),
        None if *ty == SqlType::RegType => Ok(i64::from(SqlType::parse_name(name)?.oid())),
        None => Err(SqlError::not_supported(format!(
            "names of type {} cannot be resolved without a catalog",
            ty.base_name()
        ))),
    }
}

pub(super) fn write_reg(ty: &SqlType, oid: i64, formatting: &Formatting, out: &mut Vec<u8>) {
    if oid == 0 {
        out.push(b'-');
        return;
    }
    let named = formatting.oid_names.as_ref().and_then(|names| names.name(ty, oid as u32)).or_else(|| {
        (*ty == SqlType::RegType).then(|| Some(SqlType::from_oid(oid as u32, -1)?.name())).flatten()
    });
    match named {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => put_int(out, oid),
    }
}

pub(super) fn parse_vector(ty: &SqlType, input: &str, formatting: &Formatting) -> SqlResult<Datum> {
    let element = ty.element().expect("vector types have elements");
    let elements = input
        .split_ascii_whitespace()
        .map(|item| parse_text(&element, item, formatting))
        .collect::<SqlResult<Vec<Datum>>>()?;
    Ok(Datum::Array(Arc::new(Array::with_lower_bound(elements, 0))))
}
