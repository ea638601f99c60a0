//! Keys in print: `/Table/104/1/"a"/7`. Bytes that fit no known shape are shown in hexadecimal.

use std::fmt;

use crate::encoding::{TAG_BYTES, TAG_NULL_FIRST, TAG_NULL_LAST, take_bytes, take_u64, take_uvarint, take_varint};
use crate::keyspace::{LOCAL_PREFIX, META_PREFIX, SYSTEM_PREFIX, TABLE_PREFIX};

pub(crate) fn write_key(f: &mut fmt::Formatter<'_>, key: &[u8]) -> fmt::Result {
    match key {
        [] => write!(f, "/Min"),
        [0xff, 0xff] => write!(f, "/Max"),
        [LOCAL_PREFIX, b'i', rest @ ..] => {
            let mut rest = rest;
            write!(f, "/Local/RangeId")?;
            match take_u64(&mut rest) {
                Ok(range_id) => write!(f, "/r{range_id}/{}", rest.escape_ascii()),
                Err(_) => write!(f, "/{}", rest.escape_ascii()),
            }
        }
        [LOCAL_PREFIX, b'k', rest @ ..] => write_nested(f, "/Local/Range", rest),
        [META_PREFIX, rest @ ..] => write_nested(f, "/Meta", rest),
        [SYSTEM_PREFIX, rest @ ..] => {
            write!(f, "/System")?;
            write_columns(f, rest, true)
        }
        [TABLE_PREFIX, rest @ ..] => {
            write!(f, "/Table")?;
            let mut rest = rest;
            for _ in 0..2 {
                if rest.is_empty() {
                    return Ok(());
                }
                match take_uvarint(&mut rest) {
                    Ok(id) => write!(f, "/{id}")?,
                    Err(_) => return write_hex(f, rest),
                }
            }
            write_columns(f, rest, false)
        }
        other => write_hex(f, other),
    }
}

fn write_nested(f: &mut fmt::Formatter<'_>, name: &str, mut rest: &[u8]) -> fmt::Result {
    write!(f, "{name}")?;
    let mut inner = Vec::new();
    match take_bytes(&mut rest, &mut inner) {
        Ok(()) => {
            write_key(f, &inner)?;
            if rest.is_empty() { Ok(()) } else { write!(f, "/{}", rest.escape_ascii()) }
        }
        Err(_) => write_hex(f, rest),
    }
}

fn write_columns(f: &mut fmt::Formatter<'_>, mut rest: &[u8], leading_bytes: bool) -> fmt::Result {
    let mut bare = leading_bytes;
    while let Some(tag) = rest.first().copied() {
        if rest == [0xff] {
            return write!(f, "/Next");
        }
        let mut text = Vec::new();
        match tag {
            _ if bare => {
                bare = false;
                match take_bytes(&mut rest, &mut text) {
                    Ok(()) => write!(f, "/{}", text.escape_ascii())?,
                    Err(_) => return write_hex(f, rest),
                }
            }
            TAG_NULL_LAST | TAG_NULL_FIRST => {
                rest = &rest[1..];
                write!(f, "/NULL")?;
            }
            TAG_BYTES => {
                rest = &rest[1..];
                match take_bytes(&mut rest, &mut text) {
                    Ok(()) => write!(f, "/\"{}\"", text.escape_ascii())?,
                    Err(_) => return write_hex(f, rest),
                }
            }
            _ => match take_varint(&mut rest) {
                Ok(value) => write!(f, "/{value}")?,
                Err(_) => return write_hex(f, rest),
            },
        }
    }
    Ok(())
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    write!(f, "/0x")?;
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use crate::encoding::{TAG_BYTES, put_bytes, put_varint};
    use crate::{IndexId, Key, RangeId, TableId, keyspace};

    #[test]
    fn keys_print_as_the_map_promises() {
        let mut row = keyspace::index(TableId::new(104), IndexId::new(1)).as_bytes().to_vec();
        row.push(TAG_BYTES);
        put_bytes(&mut row, b"a");
        put_varint(&mut row, 7);
        let row = Key::from(row);
        assert_eq!(row.to_string(), "/Table/104/1/\"a\"/7");
        assert_eq!(row.next().to_string(), "/Table/104/1/\"a\"/7/Next");
        assert_eq!(keyspace::meta(&row).to_string(), "/Meta/Table/104/1/\"a\"/7");
        assert_eq!(keyspace::range_id_local(RangeId::new(7), "applied").to_string(), "/Local/RangeId/r7/applied");
        assert_eq!(keyspace::range_descriptor(&Key::MIN).to_string(), "/Local/Range/Min/rdsc");
        assert_eq!(keyspace::system("id/table").to_string(), "/System/id/table");
        assert_eq!((Key::MIN.to_string(), Key::MAX.to_string()), ("/Min".into(), "/Max".into()));
    }
}
