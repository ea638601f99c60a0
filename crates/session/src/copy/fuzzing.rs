//! The data of a COPY, as a function of bytes: for fuzz targets, with the readers that COPY uses.

use plan::statement::{CopyFormat, CopyOptions};

use super::{binary, csv, text};

fn options(format: CopyFormat, delimiter: u8, quote: u8, escape: u8) -> CopyOptions {
    CopyOptions {
        format,
        delimiter,
        null: String::new(),
        header: false,
        quote,
        escape,
        force_quote: vec![],
        force_not_null: vec![],
        force_null: vec![],
        freeze: false,
    }
}

/// A letter for the format, then data.
pub fn copy(bytes: &[u8]) {
    let Some((format, data)) = bytes.split_first() else { return };
    match format % 4 {
        0 => {
            let options = options(CopyFormat::Text, b'\t', 0, 0);
            let (mut lines, mut from) = (text::Lines::default(), 0);
            while let Some(end) = lines.end(data, from) {
                if let Ok(line) = std::str::from_utf8(&data[from..end]) {
                    let _refused = text::fields(line, &options, &mut |_| Ok(()));
                }
                from = end + 1;
            }
        }
        3 => {
            let (mut tuples, mut from) = (binary::Tuples::default(), 0);
            while let Ok(Some((_, end))) = tuples.next(data, from, true, 2) {
                assert!(end > from && end <= data.len(), "a tuple lies in the data");
                from = end;
            }
        }
        kind => {
            let escape = if kind == 1 { b'"' } else { b'\\' };
            let options = options(CopyFormat::Csv, b',', b'"', escape);
            let (mut lines, mut from) = (csv::Lines::new(&options), 0);
            while let Some(end) = lines.end(data, from) {
                if let Ok(line) = std::str::from_utf8(&data[from..end]) {
                    let _refused = csv::fields(line, &options, &mut |_| Ok(()));
                }
                from = end + 1;
            }
        }
    }
}
