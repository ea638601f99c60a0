//! A row's value: columns tagged by id, so that adding or dropping a column touches no row.
//!
//! ```text
//! for each column, ids rising:   tag = (id - previous id) << 3 | kind   as LEB128, then
//!   0 NULL     -                      4 true     -
//!   1 integer  zigzag LEB128          5 false    -
//!   2 float    8 bytes, little endian 6 other    LEB128 length, postcard of the datum
//!   3 bytes    LEB128 length, bytes      7 decimal  LEB128 digits after the point, zigzag LEB128 of all digits
//! ```
//! A decimal is a numeric whose digits fit 64 bits; others are of kind 6. The bytes of an enum's value are its sort key,
//! also within an array's postcard. That of a range is its flags ([`crate::range`]), then a list of the bounds that it has; that of a
//! multirange a list of ranges. The bytes of a value of a composite type are a row of its own ([`crate::composite_type`]), also
//! within an array's postcard.

use keys::ColumnId;

use crate::{ColumnVec, Datum, Numeric, SqlType};

const NULL: u64 = 0;
const INTEGER: u64 = 1;
const FLOAT: u64 = 2;
const BYTES: u64 = 3;
const TRUE: u64 = 4;
const FALSE: u64 = 5;
const OTHER: u64 = 6;
const DECIMAL: u64 = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("row value is damaged at byte {at}")]
pub struct RowError {
    pub at: usize,
}

/// A column to take out of rows.
#[derive(Debug, Clone)]
pub struct WantedColumn {
    pub id: ColumnId,
    pub ty: SqlType,
    /// Where it goes in the output.
    pub slot: usize,
    /// Its value in rows that do not have it.
    pub missing: Datum,
}

fn put_leb(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

const fn from_zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Builds a row's value.
#[derive(Default)]
pub struct RowEncoder {
    out: Vec<u8>,
    last: u64,
}

impl RowEncoder {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that writes behind what `out` holds; [`RowEncoder::finish`] gives it back.
    #[must_use]
    pub fn onto(out: Vec<u8>) -> Self {
        Self { out, last: 0 }
    }

    fn tag(&mut self, id: ColumnId, kind: u64) {
        let id = u64::from(id.get());
        debug_assert!(id > self.last, "column ids rise");
        put_leb(&mut self.out, (id - self.last) << 3 | kind);
        self.last = id;
    }

    /// Ids must rise. NULL is left out.
    pub fn push(&mut self, id: ColumnId, ty: &SqlType, datum: &Datum) {
        match datum {
            Datum::Null => {}
            Datum::Bool(value) => self.tag(id, if *value { TRUE } else { FALSE }),
            Datum::Int(value) | Datum::Time(value) | Datum::Timestamp(value) | Datum::TimestampTz(value) => {
                self.integer(id, *value);
            }
            Datum::Date(days) => self.integer(id, i64::from(*days)),
            Datum::Float(value) => {
                self.tag(id, FLOAT);
                self.out.extend_from_slice(&value.to_le_bytes());
            }
            Datum::Text(text) | Datum::Json(text) => self.bytes(id, BYTES, text.as_bytes()),
            Datum::Bytes(bytes) => self.bytes(id, BYTES, bytes),
            Datum::Enum(value) => self.bytes(id, BYTES, value.sort_key()),
            Datum::Numeric(value) => match value.as_small() {
                Some((digits, scale)) => {
                    self.tag(id, DECIMAL);
                    put_leb(&mut self.out, u64::from(scale));
                    put_leb(&mut self.out, zigzag(digits));
                }
                None => self.other(id, datum),
            },
            Datum::Record(fields) => match ty {
                SqlType::Composite(ty) => self.bytes(id, BYTES, &ty.encode(fields)),
                _ => self.other(id, datum),
            },
            Datum::Array(_) if ty.holds_rows() => self.other(id, &ty.stored_form(datum)),
            other => self.other(id, other),
        }
    }

    fn other(&mut self, id: ColumnId, datum: &Datum) {
        let encoded = postcard::to_stdvec(datum).expect("datums are plain data");
        self.bytes(id, OTHER, &encoded);
    }

    fn integer(&mut self, id: ColumnId, value: i64) {
        self.tag(id, INTEGER);
        put_leb(&mut self.out, zigzag(value));
    }

    fn bytes(&mut self, id: ColumnId, kind: u64, bytes: &[u8]) {
        self.tag(id, kind);
        put_leb(&mut self.out, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// For columns whose absence means something other than NULL.
    pub fn push_null(&mut self, id: ColumnId) {
        self.tag(id, NULL);
    }

    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

/// Takes columns out of rows.
#[derive(Clone, Debug)]
pub struct RowDecoder {
    /// By rising id.
    wanted: Vec<WantedColumn>,
}

/// A stored value, not yet of a type.
enum Raw<'a> {
    Null,
    Integer(i64),
    Float(f64),
    Bytes(&'a [u8]),
    Bool(bool),
    Other(&'a [u8]),
    Decimal(i64, u16),
}

struct Reader<'a> {
    row: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn damaged<T>(&self) -> Result<T, RowError> {
        Err(RowError { at: self.at })
    }

    #[inline(always)]
    fn leb(&mut self) -> Result<u64, RowError> {
        match self.row.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_leb(),
        }
    }

    fn long_leb(&mut self) -> Result<u64, RowError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let Some(&byte) = self.row.get(self.at) else { return self.damaged() };
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        self.damaged()
    }

    fn skip_leb(&mut self) -> Result<(), RowError> {
        let rest = self.row.get(self.at..).unwrap_or_default();
        match rest.iter().take(10).position(|byte| *byte < 0x80) {
            Some(place) => {
                self.at += place + 1;
                Ok(())
            }
            None => self.damaged(),
        }
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], RowError> {
        let Ok(len) = usize::try_from(len) else { return self.damaged() };
        match self.row.get(self.at..).and_then(|rest| rest.get(..len)) {
            Some(bytes) => {
                self.at += len;
                Ok(bytes)
            }
            None => self.damaged(),
        }
    }

    /// The value behind a tag of this kind.
    #[inline(always)]
    fn value(&mut self, kind: u64) -> Result<Raw<'a>, RowError> {
        Ok(match kind {
            NULL => Raw::Null,
            INTEGER => Raw::Integer(from_zigzag(self.leb()?)),
            FLOAT => {
                let bytes = self.take(8)?;
                Raw::Float(f64::from_le_bytes(bytes.try_into().expect("eight bytes were taken")))
            }
            BYTES => {
                let len = self.leb()?;
                Raw::Bytes(self.take(len)?)
            }
            TRUE => Raw::Bool(true),
            FALSE => Raw::Bool(false),
            OTHER => {
                let len = self.leb()?;
                Raw::Other(self.take(len)?)
            }
            DECIMAL => {
                let Ok(scale) = u16::try_from(self.leb()?) else { return self.damaged() };
                Raw::Decimal(from_zigzag(self.leb()?), scale)
            }
            _ => return self.damaged(),
        })
    }

    /// Passes over the value behind a tag of this kind.
    #[inline(always)]
    fn skip(&mut self, kind: u64) -> Result<(), RowError> {
        match kind {
            NULL | TRUE | FALSE => Ok(()),
            INTEGER => self.skip_leb(),
            FLOAT => self.take(8).map(drop),
            BYTES | OTHER => {
                let len = self.leb()?;
                self.take(len).map(drop)
            }
            DECIMAL => {
                self.skip_leb()?;
                self.skip_leb()
            }
            _ => self.damaged(),
        }
    }
}

impl RowDecoder {
    #[must_use]
    pub fn new(mut wanted: Vec<WantedColumn>) -> Self {
        wanted.sort_by_key(|column| column.id);
        Self { wanted }
    }

    /// Calls `take` for every wanted column, with none for those the row does not have. What stands between them is
    /// passed over, what stands behind the last is not looked at.
    #[inline(always)]
    fn walk<'a>(
        &self,
        row: &'a [u8],
        mut take: impl FnMut(&WantedColumn, Option<Raw<'a>>, usize) -> Result<(), RowError>,
    ) -> Result<(), RowError> {
        let mut reader = Reader { row, at: 0 };
        let mut wanted = self.wanted.iter();
        let mut next = wanted.next();
        let mut id = 0_u64;
        while let Some(column) = next {
            if reader.at == row.len() {
                break;
            }
            let at = reader.at;
            let tag = reader.leb()?;
            id = id.checked_add(tag >> 3).ok_or(RowError { at })?;
            let mut column = column;
            while u64::from(column.id.get()) < id {
                take(column, None, at)?;
                next = wanted.next();
                let Some(following) = next else { return Ok(()) };
                column = following;
            }
            if u64::from(column.id.get()) == id {
                take(column, Some(reader.value(tag & 7)?), at)?;
                next = wanted.next();
            } else {
                reader.skip(tag & 7)?;
            }
        }
        for column in next.into_iter().chain(wanted) {
            take(column, None, reader.at)?;
        }
        Ok(())
    }

    /// Appends one row: each wanted column goes to `columns[slot]`.
    ///
    /// # Errors
    /// When the row is damaged; the columns may then have different lengths.
    pub fn decode_into(&self, row: &[u8], columns: &mut [ColumnVec]) -> Result<(), RowError> {
        self.walk(row, |wanted, raw, at| {
            let column = &mut columns[wanted.slot];
            match (column, raw) {
                (column, None) => column.push(&wanted.missing),
                (ColumnVec::Int(_, values), Some(Raw::Integer(value))) => values.push(value),
                (ColumnVec::Float(values), Some(Raw::Float(value))) => values.push(value),
                (ColumnVec::Bool(values), Some(Raw::Bool(value))) => values.push(value),
                (ColumnVec::Text(values), Some(Raw::Bytes(bytes))) => {
                    std::str::from_utf8(bytes).map_err(|_| RowError { at })?;
                    values.push(bytes);
                }
                (ColumnVec::Bytes(values), Some(Raw::Bytes(bytes))) => values.push(bytes),
                (column @ ColumnVec::Decimal(_), Some(Raw::Decimal(digits, scale))) => column.push_decimal(digits, scale),
                (ColumnVec::Datum(values), Some(Raw::Decimal(digits, scale))) => {
                    values.push(Datum::Numeric(Numeric::small(digits, scale)));
                }
                (column, Some(raw)) => column.push(&datum(&wanted.ty, raw, at)?),
            }
            Ok(())
        })
    }

    /// Sets `out[slot]` for each wanted column.
    ///
    /// # Errors
    /// When the row is damaged.
    pub fn decode_datums(&self, row: &[u8], out: &mut [Datum]) -> Result<(), RowError> {
        self.walk(row, |wanted, raw, at| {
            out[wanted.slot] = match raw {
                None => wanted.missing.clone(),
                Some(raw) => datum(&wanted.ty, raw, at)?,
            };
            Ok(())
        })
    }
}

fn datum(ty: &SqlType, raw: Raw<'_>, at: usize) -> Result<Datum, RowError> {
    let damaged = RowError { at };
    Ok(match (raw, ty) {
        (Raw::Null, _) => Datum::Null,
        (Raw::Bool(value), _) => Datum::Bool(value),
        (Raw::Integer(value), SqlType::Date) => Datum::Date(i32::try_from(value).map_err(|_| damaged)?),
        (Raw::Integer(value), SqlType::Time(_)) => Datum::Time(value),
        (Raw::Integer(value), SqlType::Timestamp(_)) => Datum::Timestamp(value),
        (Raw::Integer(value), SqlType::TimestampTz(_)) => Datum::TimestampTz(value),
        (Raw::Integer(value), _) => Datum::Int(value),
        (Raw::Float(value), _) => Datum::Float(value),
        (Raw::Bytes(bytes), SqlType::Bytea) => Datum::bytes(bytes),
        (Raw::Bytes(bytes), SqlType::Enum(of)) => Datum::Enum(of.by_sort_key(bytes).ok_or(damaged)?),
        (Raw::Bytes(bytes), SqlType::Composite(of)) => of.decode(bytes).map_err(|_| damaged)?,
        (Raw::Bytes(bytes), SqlType::Json) => Datum::Json(std::str::from_utf8(bytes).map_err(|_| damaged)?.into()),
        (Raw::Bytes(bytes), _) => Datum::text(std::str::from_utf8(bytes).map_err(|_| damaged)?),
        (Raw::Decimal(digits, scale), _) => Datum::Numeric(Numeric::small(digits, scale)),
        (Raw::Other(bytes), _) => {
            let datum: Datum = postcard::from_bytes(bytes).map_err(|_| damaged)?;
            if ty.holds_labels() { ty.with_labels(datum).ok_or(damaged)? } else { datum }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Numeric;

    fn id(n: u32) -> ColumnId {
        ColumnId::new(n)
    }

    fn sample() -> Vec<(u32, SqlType, Datum)> {
        vec![
            (1, SqlType::Int4, Datum::Int(-3)),
            (2, SqlType::Text, Datum::text("héllo")),
            (4, SqlType::Float8, Datum::Float(1.5)),
            (5, SqlType::Bool, Datum::Bool(true)),
            (9, SqlType::NUMERIC, Datum::Numeric(Numeric::parse("1.50").unwrap())),
            (20, SqlType::Date, Datum::Date(-700)),
            (21, SqlType::Uuid, Datum::Uuid([3; 16])),
            (22, SqlType::Bytea, Datum::bytes(vec![0, 255])),
        ]
    }

    fn row() -> Vec<u8> {
        let mut encoder = RowEncoder::new();
        for (column, ty, datum) in sample() {
            encoder.push(id(column), &ty, &datum);
        }
        encoder.finish()
    }

    fn decoder() -> RowDecoder {
        let wanted = sample()
            .into_iter()
            .enumerate()
            .map(|(slot, (column, ty, _))| WantedColumn { id: id(column), ty, slot, missing: Datum::Null })
            .collect();
        RowDecoder::new(wanted)
    }

    #[test]
    fn golden_row() {
        let mut encoder = RowEncoder::new();
        encoder.push(id(1), &SqlType::Int4, &Datum::Int(-3));
        encoder.push(id(2), &SqlType::Int4, &Datum::Null);
        encoder.push(id(3), &SqlType::Text, &Datum::text("ab"));
        encoder.push_null(id(4));
        encoder.push(id(5), &SqlType::NUMERIC, &Datum::Numeric(Numeric::parse("-1.50").unwrap()));
        assert_eq!(encoder.finish(), b"\x09\x05\x13\x02ab\x08\x0f\x02\xab\x02");
    }

    #[test]
    fn golden_row_of_later_types() {
        let point = Datum::geometry(crate::Geometry::parse(&SqlType::Point, "(1,2)").unwrap());
        let columns = [
            (1, SqlType::Money, Datum::Int(-3)),
            (2, SqlType::VARBIT, Datum::bits(crate::Bits::parse("101").unwrap())),
            (3, SqlType::MacAddr8, Datum::MacAddr8([7; 8])),
            (4, SqlType::PgLsn, Datum::from_unsigned(5)),
            (5, SqlType::Point, point),
        ];
        let mut encoder = RowEncoder::new();
        for (column, ty, datum) in &columns {
            encoder.push(id(*column), ty, datum);
        }
        let row = encoder.finish();
        let expected = [
            &b"\x09\x05"[..],
            b"\x0e\x04\x17\x01\xa0\x03",
            b"\x0e\x09\x18\x07\x07\x07\x07\x07\x07\x07\x07",
            b"\x09\xf5\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0e\x12\x19\x00\x00\x00\x00\x00\x00\x00\xf0\x3f\x00\x00\x00\x00\x00\x00\x00\x40",
        ];
        assert_eq!(row, expected.concat());
        let wanted = columns.iter().enumerate().map(|(slot, (column, ty, _))| {
            WantedColumn { id: id(*column), ty: *ty, slot, missing: Datum::Null }
        });
        let mut out = vec![Datum::Null; columns.len()];
        RowDecoder::new(wanted.collect()).decode_datums(&row, &mut out).unwrap();
        assert_eq!(out, columns.map(|(.., datum)| datum));
    }

    /// Digits and scale come back as they were, whether they fit a word or not.
    #[test]
    fn numerics_keep_their_scale() {
        for text in ["0", "0.00", "-1.50", "9223372036854775807", "-9223372036854775808", "92233720368547758.08", "1e40", "NaN", "-Infinity"] {
            let value = Numeric::parse(text).unwrap();
            let mut encoder = RowEncoder::new();
            encoder.push(id(1), &SqlType::NUMERIC, &Datum::Numeric(value.clone()));
            let row = encoder.finish();
            let wanted = WantedColumn { id: id(1), ty: SqlType::NUMERIC, slot: 0, missing: Datum::Null };
            let mut out = [Datum::Null];
            RowDecoder::new(vec![wanted]).decode_datums(&row, &mut out).unwrap();
            assert!(out[0].as_numeric().unwrap().is_identical(&value), "{text}");
        }
    }

    #[test]
    fn rows_come_back_as_datums_and_as_columns() {
        let mut datums = vec![Datum::Null; 8];
        decoder().decode_datums(&row(), &mut datums).unwrap();
        assert_eq!(datums, sample().into_iter().map(|(.., datum)| datum).collect::<Vec<_>>());
        let mut columns: Vec<ColumnVec> = sample().iter().map(|(_, ty, _)| ColumnVec::new(ty)).collect();
        decoder().decode_into(&row(), &mut columns).unwrap();
        for (column, (.., datum)) in columns.iter().zip(sample()) {
            assert_eq!(column.get_datum(0), datum);
        }
    }

    #[test]
    fn what_a_row_lacks_takes_the_missing_value() {
        let wanted = vec![
            WantedColumn { id: id(3), ty: SqlType::Int4, slot: 1, missing: Datum::Int(7) },
            WantedColumn { id: id(1), ty: SqlType::Int4, slot: 0, missing: Datum::Null },
            WantedColumn { id: id(99), ty: SqlType::Int4, slot: 2, missing: Datum::Null },
        ];
        let mut out = vec![Datum::Null; 3];
        RowDecoder::new(wanted).decode_datums(&row(), &mut out).unwrap();
        assert_eq!(out, [Datum::Int(-3), Datum::Int(7), Datum::Null]);
    }

    #[test]
    fn damage_is_an_error() {
        let row = row();
        for end in 1..row.len() {
            let mut out = vec![Datum::Null; 8];
            let _either = decoder().decode_datums(&row[..end], &mut out);
        }
        let mut out = vec![Datum::Null; 8];
        assert!(decoder().decode_datums(&[0xff; 20], &mut out).is_err());
        assert!(decoder().decode_datums(&[0x0b, 0x7f, 1], &mut out).is_err());
    }
}
