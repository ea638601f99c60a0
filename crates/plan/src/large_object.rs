//! The functions of large objects, by name: they read and write the transaction's data, so that they are no ordinary
//! functions.

use types::SqlType;

/// What a function of large objects does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LargeObjectOp {
    Creat,
    Create,
    FromBytea,
    Import,
    ImportAs,
    Export,
    Open,
    Close,
    Read,
    Write,
    /// `is_long`: with 64 bits.
    Seek { is_long: bool },
    Tell { is_long: bool },
    Truncate { is_long: bool },
    Unlink,
    Get,
    GetPart,
    Put,
    /// `obj_description(oid, 'pg_largeobject')`.
    Comment,
}

impl LargeObjectOp {
    /// The function of this name with so many arguments.
    #[must_use]
    pub fn named(name: &str, args: usize) -> Option<Self> {
        Some(match (name, args) {
            ("lo_creat", 1) => Self::Creat,
            ("lo_create", 1) => Self::Create,
            ("lo_from_bytea", 2) => Self::FromBytea,
            ("lo_import", 1) => Self::Import,
            ("lo_import", 2) => Self::ImportAs,
            ("lo_export", 2) => Self::Export,
            ("lo_open", 2) => Self::Open,
            ("lo_close", 1) => Self::Close,
            ("loread", 2) => Self::Read,
            ("lowrite", 2) => Self::Write,
            ("lo_lseek", 3) => Self::Seek { is_long: false },
            ("lo_lseek64", 3) => Self::Seek { is_long: true },
            ("lo_tell", 1) => Self::Tell { is_long: false },
            ("lo_tell64", 1) => Self::Tell { is_long: true },
            ("lo_truncate", 2) => Self::Truncate { is_long: false },
            ("lo_truncate64", 2) => Self::Truncate { is_long: true },
            ("lo_unlink", 1) => Self::Unlink,
            ("lo_get", 1) => Self::Get,
            ("lo_get", 3) => Self::GetPart,
            ("lo_put", 3) => Self::Put,
            _ => return None,
        })
    }

    /// Whether some function of large objects has this name.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        (1..=3).any(|args| Self::named(name, args).is_some())
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Creat => "lo_creat",
            Self::Create => "lo_create",
            Self::FromBytea => "lo_from_bytea",
            Self::Import | Self::ImportAs => "lo_import",
            Self::Export => "lo_export",
            Self::Open => "lo_open",
            Self::Close => "lo_close",
            Self::Read => "loread",
            Self::Write => "lowrite",
            Self::Seek { is_long: false } => "lo_lseek",
            Self::Seek { is_long: true } => "lo_lseek64",
            Self::Tell { is_long: false } => "lo_tell",
            Self::Tell { is_long: true } => "lo_tell64",
            Self::Truncate { is_long: false } => "lo_truncate",
            Self::Truncate { is_long: true } => "lo_truncate64",
            Self::Unlink => "lo_unlink",
            Self::Get | Self::GetPart => "lo_get",
            Self::Put => "lo_put",
            Self::Comment => "obj_description",
        }
    }

    #[must_use]
    pub const fn args(self) -> &'static [SqlType] {
        use SqlType as T;
        match self {
            Self::Creat | Self::Close | Self::Tell { .. } => &[T::Int4],
            Self::Create | Self::Unlink | Self::Get | Self::Comment => &[T::Oid],
            Self::FromBytea => &[T::Oid, T::Bytea],
            Self::Import => &[T::Text],
            Self::ImportAs => &[T::Text, T::Oid],
            Self::Export => &[T::Oid, T::Text],
            Self::Open => &[T::Oid, T::Int4],
            Self::Read | Self::Truncate { is_long: false } => &[T::Int4, T::Int4],
            Self::Write => &[T::Int4, T::Bytea],
            Self::Seek { is_long: false } => &[T::Int4, T::Int4, T::Int4],
            Self::Seek { is_long: true } => &[T::Int4, T::Int8, T::Int4],
            Self::Truncate { is_long: true } => &[T::Int4, T::Int8],
            Self::GetPart => &[T::Oid, T::Int8, T::Int4],
            Self::Put => &[T::Oid, T::Int8, T::Bytea],
        }
    }

    #[must_use]
    pub const fn result(self) -> SqlType {
        match self {
            Self::Creat | Self::Create | Self::FromBytea | Self::Import | Self::ImportAs => SqlType::Oid,
            Self::Read | Self::Get | Self::GetPart => SqlType::Bytea,
            Self::Seek { is_long: true } | Self::Tell { is_long: true } => SqlType::Int8,
            Self::Put => SqlType::Void,
            Self::Comment => SqlType::Text,
            Self::Export
            | Self::Open
            | Self::Close
            | Self::Write
            | Self::Seek { is_long: false }
            | Self::Tell { is_long: false }
            | Self::Truncate { .. }
            | Self::Unlink => SqlType::Int4,
        }
    }
}
