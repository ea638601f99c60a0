//! Values as fields with tags: how values are stored that may grow.
//!
//! ```text
//! field:  tag (varint)  length (varint)  bytes       in rising order of tags
//! ```
//! A field that has its default is left out. A tag that a reader does not know is an error, unless its lowest bit is set:
//! then it may be ignored. So a later version may add what an earlier one can do without, and what it cannot.

use crate::encoding::{put_uvarint, take_uvarint};

/// What is wrong with stored fields.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a field ends before its length")]
    Short,
    #[error("field {0} is out of order")]
    Order(u64),
    #[error("field {0} is of a later version")]
    Unknown(u64),
    #[error("field {0} is missing or not what it should be")]
    Bad(u64),
}

#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
    last: u64,
}

impl Writer {
    /// Tags rise.
    pub fn bytes(&mut self, tag: u64, bytes: &[u8]) {
        debug_assert!(tag > self.last, "fields are written in the order of their tags");
        self.last = tag;
        put_uvarint(&mut self.out, tag);
        put_uvarint(&mut self.out, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// Left out when it is empty.
    pub fn text(&mut self, tag: u64, text: &str) {
        if !text.is_empty() {
            self.bytes(tag, text.as_bytes());
        }
    }

    /// Left out when it is the default.
    pub fn number(&mut self, tag: u64, number: u64, default: u64) {
        if number != default {
            let mut bytes = Vec::new();
            put_uvarint(&mut bytes, number);
            self.bytes(tag, &bytes);
        }
    }

    pub fn flag(&mut self, tag: u64, flag: bool) {
        self.number(tag, flag.into(), 0);
    }

    /// Each with its length; left out when there are none.
    pub fn list(&mut self, tag: u64, items: impl IntoIterator<Item = Vec<u8>>) {
        let mut bytes = Vec::new();
        for item in items {
            put_uvarint(&mut bytes, item.len() as u64);
            bytes.extend_from_slice(&item);
        }
        if !bytes.is_empty() {
            self.bytes(tag, &bytes);
        }
    }

    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

fn take<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let length = take_uvarint(input).map_err(|_| Malformed::Short)?;
    let length = usize::try_from(length).map_err(|_| Malformed::Short)?;
    let (bytes, rest) = input.split_at_checked(length).ok_or(Malformed::Short)?;
    *input = rest;
    Ok(bytes)
}

/// The fields of a value, to be asked for by tag in rising order.
#[derive(Debug)]
pub struct Reader<'a> {
    fields: Vec<(u64, &'a [u8])>,
    next: usize,
}

impl<'a> Reader<'a> {
    /// # Errors
    /// For what is no list of fields.
    pub fn new(mut input: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields: Vec<(u64, &'a [u8])> = Vec::new();
        while !input.is_empty() {
            let tag = take_uvarint(&mut input).map_err(|_| Malformed::Short)?;
            if fields.last().is_some_and(|(last, _)| *last >= tag) {
                return Err(Malformed::Order(tag));
            }
            fields.push((tag, take(&mut input)?));
        }
        Ok(Self { fields, next: 0 })
    }

    /// # Errors
    /// For a field with a smaller tag that was not read and is not marked as one that may be skipped.
    pub fn bytes(&mut self, tag: u64) -> Result<Option<&'a [u8]>, Malformed> {
        while let Some((found, bytes)) = self.fields.get(self.next) {
            match found.cmp(&tag) {
                std::cmp::Ordering::Less if found & 1 == 0 => return Err(Malformed::Unknown(*found)),
                std::cmp::Ordering::Less => self.next += 1,
                std::cmp::Ordering::Equal => {
                    self.next += 1;
                    return Ok(Some(bytes));
                }
                std::cmp::Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    pub fn text(&mut self, tag: u64) -> Result<String, Malformed> {
        let bytes = self.bytes(tag)?.unwrap_or_default();
        String::from_utf8(bytes.to_vec()).map_err(|_| Malformed::Bad(tag))
    }

    pub fn number(&mut self, tag: u64, default: u64) -> Result<u64, Malformed> {
        match self.bytes(tag)? {
            None => Ok(default),
            Some(mut bytes) => match (take_uvarint(&mut bytes), bytes.is_empty()) {
                (Ok(number), true) => Ok(number),
                _ => Err(Malformed::Bad(tag)),
            },
        }
    }

    pub fn id(&mut self, tag: u64) -> Result<u32, Malformed> {
        u32::try_from(self.number(tag, 0)?).map_err(|_| Malformed::Bad(tag))
    }

    pub fn flag(&mut self, tag: u64) -> Result<bool, Malformed> {
        Ok(self.number(tag, 0)? != 0)
    }

    pub fn list(&mut self, tag: u64) -> Result<Vec<&'a [u8]>, Malformed> {
        let mut bytes = self.bytes(tag)?.unwrap_or_default();
        let mut items = Vec::new();
        while !bytes.is_empty() {
            items.push(take(&mut bytes)?);
        }
        Ok(items)
    }

    /// # Errors
    /// For a field that is left and may not be ignored.
    pub fn finish(self) -> Result<(), Malformed> {
        match self.fields[self.next..].iter().find(|(tag, _)| tag & 1 == 0) {
            Some((tag, _)) => Err(Malformed::Unknown(*tag)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_later_version_are_refused_unless_they_may_be_ignored() {
        let mut writer = Writer::default();
        writer.number(2, 7, 0);
        writer.text(5, "later");
        writer.number(8, 1, 0);
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes).unwrap();
        assert_eq!((reader.number(2, 0), reader.number(8, 0)), (Ok(7), Ok(1)), "an odd tag is passed over");
        assert_eq!(reader.finish(), Ok(()));
        let mut reader = Reader::new(&bytes).unwrap();
        assert_eq!(reader.number(2, 0), Ok(7));
        assert_eq!(reader.finish(), Err(Malformed::Unknown(8)));
        let mut reader = Reader::new(&bytes).unwrap();
        assert_eq!(reader.number(8, 0), Err(Malformed::Unknown(2)));
        for end in 1..bytes.len() {
            // Whatever is cut off: an error, or fields that are whole.
            let _ = Reader::new(&bytes[..end]).map(|mut reader| reader.text(5));
        }
    }
}
