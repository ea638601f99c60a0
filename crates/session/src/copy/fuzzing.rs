//! The data of a COPY, as a function of bytes: for fuzz targets, with the readers that COPY uses.

use plan::statement::{CopyFormat, CopyOptions};

use super::{Lines, binary, csv, text};

/// A letter for the format, then data.
pub fn copy(bytes: &[u8]) {
    let Some((format, data)) = bytes.split_first() else { return };
    if format % 4 == 3 {
        let (mut tuples, mut from) = (binary::Tuples::default(), 0);
        while let Ok(Some((_, end))) = tuples.next(data, from, true, 2) {
            assert!(end > from && end <= data.len(), "a tuple lies in the data");
            from = end;
        }
        return;
    }
    let options = match format % 4 {
        0 => CopyOptions::new(CopyFormat::Text),
        kind => CopyOptions { escape: if kind == 1 { b'"' } else { b'\\' }, ..CopyOptions::new(CopyFormat::Csv) },
    };
    let (mut lines, mut from) = (Lines::new(&options), 0);
    while let Ok(Some(line)) = lines.end(data, from, true) {
        assert!(line.next > from && line.next <= data.len() && line.end <= line.next, "a record lies in the data");
        if let Ok(record) = std::str::from_utf8(&data[from..line.end]) {
            let _refused = match options.format {
                CopyFormat::Csv => csv::fields(record, &options, &mut |_| Ok(())),
                CopyFormat::Text | CopyFormat::Binary => text::fields(record, &options, &mut |_| Ok(())),
            };
        }
        from = line.next;
    }
}
