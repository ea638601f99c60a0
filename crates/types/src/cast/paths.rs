//! Which casts exist: PostgreSQL's `pg_cast`, and the rules for what it does not list.

use super::CastContext::{self, Assignment, Explicit, Implicit};
use crate::sql_type::SqlType;

/// How a value gets from one type to the other, modifiers aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    /// The datum stays as it is.
    Same,
    /// Listed in `pg_cast`.
    Convert,
    /// Array to array, one element after another.
    Elements,
    /// Printed as one type and read as the other.
    Text,
    /// Record to record, one field after another.
    Fields,
}

pub(super) fn path(from: &SqlType, to: &SqlType) -> Option<(Path, CastContext)> {
    match (from, to) {
        (SqlType::Record(Some(_)), SqlType::Record(Some(_))) if from != to => return Some((Path::Fields, Implicit)),
        (SqlType::Record(_), SqlType::Composite(_)) => return Some((Path::Fields, Implicit)),
        // A value of a composite type is a record as it is.
        (SqlType::Composite(_), SqlType::Record(_)) => return Some((Path::Same, Implicit)),
        _ => {}
    }
    if from.same_base(to) {
        return Some((Path::Same, Implicit));
    }
    match to {
        SqlType::Any | SqlType::AnyElement => return Some((Path::Same, Implicit)),
        SqlType::AnyRange => return matches!(from, SqlType::Range(_)).then_some((Path::Same, Implicit)),
        SqlType::AnyMultiRange => return matches!(from, SqlType::MultiRange(_)).then_some((Path::Same, Implicit)),
        SqlType::AnyArray => return from.element().map(|_| (Path::Same, Implicit)),
        SqlType::AnyNonArray => return from.element().is_none().then_some((Path::Same, Implicit)),
        SqlType::Unknown | SqlType::Void => return None,
        _ => {}
    }
    // A literal whose type was not written yet.
    if *from == SqlType::Unknown {
        return Some((Path::Text, Implicit));
    }
    if let Some(context) = listed(from, to) {
        return Some((Path::Convert, context));
    }
    if let (Some(from), SqlType::Array(to)) = (from.element(), to)
        && let Some((_, context)) = path(&from, &to.get())
    {
        return Some((Path::Elements, context));
    }
    if to.is_string() {
        Some((Path::Text, Assignment))
    } else if from.is_string() {
        Some((Path::Text, Explicit))
    } else {
        None
    }
}

/// `pg_cast`, entries from a type to itself left out.
pub(super) fn listed(from: &SqlType, to: &SqlType) -> Option<CastContext> {
    use SqlType::{
        Bit, Bool, Char, Cidr, Circle, Date, Float4, Float8, Inet, Int2, Int4, Int8, Interval, Json, Jsonb, LSeg, MacAddr, MacAddr8, Money, Name, Numeric, Oid, Path,
        PgNodeTree, Point, Polygon,
        QuotedChar, RegClass, RegOper, RegOperator, RegProc, RegProcedure, Text, Time, TimeTz, Timestamp,
        TimestampTz, VarBit, Varchar, Xid, Xid8,
    };
    Some(match (from, to) {
        (Int2, Int4 | Int8) | (Int4, Int8) => Implicit,
        (Int2 | Int4 | Int8, Float4 | Float8 | Numeric(_) | Oid) => Implicit,
        (Int2 | Int4 | Int8, reg) if reg.is_reg() => Implicit,
        (Int4, Int2) | (Int8, Int2 | Int4) => Assignment,
        (Int4, Bool | QuotedChar) | (Bool | QuotedChar, Int4) => Explicit,
        (Float4 | Numeric(_), Float8) | (Numeric(_), Float4) => Implicit,
        (Float8, Float4) => Assignment,
        (Float4 | Float8 | Numeric(_), Int2 | Int4 | Int8) | (Float4 | Float8, Numeric(_)) => Assignment,
        (Bool, Text | Varchar(_) | Char(_)) => Assignment,

        (Oid, Int4 | Int8) => Assignment,
        (reg, Int4 | Int8) if reg.is_reg() => Assignment,
        (Oid, reg) | (reg, Oid) if reg.is_reg() => Implicit,
        (RegOper, RegOperator) | (RegOperator, RegOper) => Implicit,
        (RegProc, RegProcedure) | (RegProcedure, RegProc) => Implicit,

        (Text, Varchar(_)) | (Varchar(_), Text) => Implicit,
        (Text | Varchar(_), Char(_) | Name | RegClass) => Implicit,
        (Char(_), Text | Name) => Implicit,
        (Char(_), Varchar(_)) => Assignment,
        (Name | QuotedChar | PgNodeTree, Text) => Implicit,
        (Name | QuotedChar, Varchar(_) | Char(_)) => Assignment,
        (Text | Varchar(_) | Char(_), QuotedChar) => Assignment,

        (Date, Timestamp(_) | TimestampTz(_)) => Implicit,
        (Time(_), TimeTz(_) | Interval) => Implicit,
        (TimeTz(_) | Interval, Time(_)) => Assignment,
        (Timestamp(_), TimestampTz(_)) => Implicit,
        (Timestamp(_), Date | Time(_)) => Assignment,
        (TimestampTz(_), Date | Time(_) | TimeTz(_) | Timestamp(_)) => Assignment,

        (Bit(_), VarBit(_)) | (VarBit(_), Bit(_)) => Implicit,
        (Int4 | Int8, Bit(_)) | (Bit(_), Int4 | Int8) => Explicit,
        (Int4 | Int8 | Numeric(_), Money) | (Money, Numeric(_)) => Assignment,
        (MacAddr, MacAddr8) | (MacAddr8, MacAddr) => Implicit,
        (Xid8, Xid) => Explicit,
        (Point, SqlType::Box) | (Polygon, Path) => Assignment,
        (Path, Polygon) | (SqlType::Box, Polygon) => Assignment,
        (SqlType::Box | Circle | LSeg | Polygon, Point) => Explicit,
        (SqlType::Box, LSeg | Circle) | (Circle, SqlType::Box | Polygon) | (Polygon, SqlType::Box | Circle) => Explicit,

        (Cidr, Inet) => Implicit,
        (Inet, Cidr) | (Inet | Cidr, Text | Varchar(_) | Char(_)) => Assignment,

        (Json, Jsonb) | (Jsonb, Json) => Assignment,
        (Jsonb, Bool | Int2 | Int4 | Int8 | Float4 | Float8 | Numeric(_)) => Explicit,
        (SqlType::Range(range), SqlType::MultiRange(of)) if range.oid() == of.oid() => Explicit,
        _ => return None,
    })
}
