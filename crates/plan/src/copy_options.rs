//! What a COPY says of its data: the format with its options, and the end that is on the server.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFormat {
    Text,
    Csv,
    Binary,
}

/// HEADER of COPY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyHeader {
    #[default]
    Absent,
    Present,
    /// Its names must be those of the columns.
    Match,
}

/// ENCODING of COPY's data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyEncoding {
    #[default]
    Utf8,
    Latin1,
}

/// What COPY FROM does with a row that has a value its column cannot have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyOnError {
    #[default]
    Stop,
    /// `verbose`: with a notice for each.
    Ignore { verbose: bool },
}

#[derive(Clone, Debug)]
pub struct CopyOptions {
    pub format: CopyFormat,
    pub delimiter: u8,
    pub null: String,
    /// What stands for a column's default.
    pub default: Option<String>,
    pub header: CopyHeader,
    pub quote: u8,
    pub escape: u8,
    pub force_quote: Vec<usize>,
    pub force_not_null: Vec<usize>,
    pub force_null: Vec<usize>,
    pub freeze: bool,
    pub encoding: CopyEncoding,
    pub on_error: CopyOnError,
}

impl CopyOptions {
    /// What a format has without further options.
    #[must_use]
    pub fn new(format: CopyFormat) -> Self {
        let is_csv = format == CopyFormat::Csv;
        Self {
            format,
            delimiter: if is_csv { b',' } else { b'\t' },
            null: if is_csv { String::new() } else { "\\N".into() },
            default: None,
            header: CopyHeader::Absent,
            quote: b'"',
            escape: b'"',
            force_quote: Vec::new(),
            force_not_null: Vec::new(),
            force_null: Vec::new(),
            freeze: false,
            encoding: CopyEncoding::Utf8,
            on_error: CopyOnError::Stop,
        }
    }
}

/// The end of a COPY that is on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerEnd {
    File(String),
    /// A command line for the shell.
    Program(String),
}
