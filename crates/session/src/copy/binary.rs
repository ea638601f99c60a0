//! COPY's binary format.
//!
//! ```text
//!  header   | "PGCOPY\n\xff\r\n\0" | flags: i32 | extension: i32 length, bytes |
//!  tuple    | fields: i16 | length: i32 (-1 for NULL), bytes | …              |
//!  trailer  | -1: i16                                                          |
//! ```

use std::ops::Range;

use types::{Datum, SqlError, SqlResult, SqlType, parse_binary};

use super::bad_format;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Flags in the upper half must be understood; there was one, for oids, and it is no more.
const CRITICAL_FLAGS: i32 = !0xffff;

/// Finds the ends of tuples.
#[derive(Default)]
pub(super) struct Tuples {
    has_begun: bool,
    has_ended: bool,
}

fn i16_at(buffer: &[u8], at: usize) -> Option<i16> {
    Some(i16::from_be_bytes(buffer.get(at..at + 2)?.try_into().expect("two bytes were taken")))
}

fn i32_at(buffer: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(buffer.get(at..at + 4)?.try_into().expect("four bytes were taken")))
}

impl Tuples {
    /// The fields of the next tuple, none at the trailer, and where the next begins.
    pub fn next(
        &mut self,
        buffer: &[u8],
        mut from: usize,
        last: bool,
        columns: usize,
    ) -> SqlResult<Option<(Option<Range<usize>>, usize)>> {
        if !self.has_begun {
            match header_end(buffer)? {
                Some(end) => from = end,
                None if last => return Err(bad_format("COPY file signature not recognized")),
                None => return Ok(None),
            }
        }
        if from == buffer.len() {
            return Ok(None);
        }
        if self.has_ended {
            return Err(bad_format("received copy data after EOF marker"));
        }
        let Some((is_trailer, end)) = tuple_end(buffer, from, columns)? else {
            return if last { Err(bad_format("unexpected EOF in COPY data")) } else { Ok(None) };
        };
        // The header goes with the first tuple: until then it is read again.
        self.has_begun = true;
        self.has_ended = is_trailer;
        Ok(Some(((!is_trailer).then_some(from + 2..end), end)))
    }
}

fn header_end(buffer: &[u8]) -> SqlResult<Option<usize>> {
    let known = buffer.len().min(SIGNATURE.len());
    if buffer[..known] != SIGNATURE[..known] {
        return Err(bad_format("COPY file signature not recognized"));
    }
    let Some(flags) = i32_at(buffer, SIGNATURE.len()) else { return Ok(None) };
    if flags & CRITICAL_FLAGS != 0 {
        return Err(bad_format("unrecognized critical flags in COPY file header"));
    }
    let Some(length) = i32_at(buffer, SIGNATURE.len() + 4) else { return Ok(None) };
    let length = usize::try_from(length).map_err(|_| bad_format("invalid COPY file header (wrong length)"))?;
    let end = SIGNATURE.len() + 8 + length;
    Ok((buffer.len() >= end).then_some(end))
}

/// Whether it is the trailer, and where it ends; none when it is not whole.
fn tuple_end(buffer: &[u8], from: usize, columns: usize) -> SqlResult<Option<(bool, usize)>> {
    let Some(count) = i16_at(buffer, from) else { return Ok(None) };
    let mut at = from + 2;
    if count == -1 {
        return Ok(Some((true, at)));
    }
    if usize::try_from(count) != Ok(columns) {
        return Err(bad_format(format!("row field count is {count}, expected {columns}")));
    }
    for _ in 0..columns {
        let Some(length) = i32_at(buffer, at) else { return Ok(None) };
        at += 4;
        match usize::try_from(length) {
            Ok(length) => at += length,
            Err(_) if length == -1 => {}
            Err(_) => return Err(bad_format("invalid field size")),
        }
    }
    Ok((at <= buffer.len()).then_some((false, at)))
}

/// Reads a whole tuple's fields into a row, at their columns' places.
pub(super) fn values<'a>(
    mut fields: &[u8],
    columns: impl Iterator<Item = (usize, &'a SqlType)>,
    row: &mut [Datum],
    located: impl Fn(SqlError, usize) -> SqlError,
) -> SqlResult<()> {
    for (position, ty) in columns {
        let (length, rest) = fields.split_at_checked(4).ok_or_else(|| bad_format("unexpected EOF in COPY data"))?;
        let length = i32::from_be_bytes(length.try_into().expect("four bytes were split off"));
        fields = rest;
        row[position] = match usize::try_from(length) {
            Err(_) => Datum::Null,
            Ok(length) => {
                let (value, rest) =
                    fields.split_at_checked(length).ok_or_else(|| bad_format("unexpected EOF in COPY data"))?;
                fields = rest;
                parse_binary(ty, value).map_err(|error| located(error, position))?
            }
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut file = SIGNATURE.to_vec();
        file.extend_from_slice(&[0; 8]);
        file.extend_from_slice(b"\0\x02\0\0\0\x02hi\xff\xff\xff\xff");
        file.extend_from_slice(b"\0\x02\0\0\0\0\0\0\0\x01x\xff\xff");
        file
    }

    #[test]
    fn tuples_may_arrive_in_any_pieces() {
        let data = file();
        for cut in 0..data.len() {
            let mut tuples = Tuples::default();
            let mut found = Vec::new();
            let mut from = 0;
            for (buffer, last) in [(&data[..cut], false), (&data[..], true)] {
                while let Some((record, next)) = tuples.next(buffer, from, last, 2).unwrap() {
                    found.push(record);
                    from = next;
                }
            }
            assert_eq!(found, [Some(21..31), Some(33..42), None], "cut at {cut}");
        }
        let mut row = vec![Datum::Null; 3];
        values(&data[21..31], [(2, &SqlType::Text), (0, &SqlType::Text)].into_iter(), &mut row, |error, _| error).unwrap();
        assert_eq!(row, [Datum::Null, Datum::Null, Datum::text("hi")]);
    }

    #[test]
    fn damage_is_refused() {
        let data = file();
        let read = |data: &[u8], columns| Tuples::default().next(data, 0, true, columns).map(|_| ());
        assert!(read(b"PGCOPX", 2).is_err() && read(&data[..15], 2).is_err() && read(&data[..25], 2).is_err());
        assert!(read(&data, 3).unwrap_err().message().contains("field count is 2, expected 3"));
        let mut flags = data.clone();
        flags[11] = 1;
        assert!(read(&flags, 2).is_err());
    }
}
