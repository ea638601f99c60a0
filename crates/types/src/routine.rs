//! What the catalog, the languages of routines and those who call them have in common.

/// How a parameter passes its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParameterMode {
    In,
    Out,
    InOut,
    Variadic,
    /// A column of RETURNS TABLE.
    Table,
}

impl ParameterMode {
    #[must_use]
    pub const fn is_input(self) -> bool {
        matches!(self, Self::In | Self::InOut | Self::Variadic)
    }

    #[must_use]
    pub const fn is_output(self) -> bool {
        matches!(self, Self::Out | Self::InOut | Self::Table)
    }

    /// As `pg_proc.proargmodes` has it.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::In => 'i',
            Self::Out => 'o',
            Self::InOut => 'b',
            Self::Variadic => 'v',
            Self::Table => 't',
        }
    }

    #[must_use]
    pub fn from_letter(letter: char) -> Option<Self> {
        let all = [Self::In, Self::Out, Self::InOut, Self::Variadic, Self::Table];
        all.into_iter().find(|mode| mode.letter() == letter)
    }
}
