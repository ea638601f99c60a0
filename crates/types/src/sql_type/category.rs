//! The categories that overload resolution goes by, and other kinds of types.

use super::SqlType;

/// `pg_type.typcategory`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TypeCategory {
    Array,
    Boolean,
    Composite,
    DateTime,
    Enum,
    NetworkAddress,
    Numeric,
    Pseudo,
    Range,
    String,
    Timespan,
    UserDefined,
    BitString,
    Geometric,
    Unknown,
    /// `Z`: internal-use types, such as `"char"` and `pg_node_tree`.
    Internal,
}

impl TypeCategory {
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Array => 'A',
            Self::Boolean => 'B',
            Self::Composite => 'C',
            Self::DateTime => 'D',
            Self::Enum => 'E',
            Self::NetworkAddress => 'I',
            Self::Numeric => 'N',
            Self::Pseudo => 'P',
            Self::Range => 'R',
            Self::String => 'S',
            Self::Timespan => 'T',
            Self::UserDefined => 'U',
            Self::BitString => 'V',
            Self::Geometric => 'G',
            Self::Unknown => 'X',
            Self::Internal => 'Z',
        }
    }
}

impl SqlType {
    #[must_use]
    pub const fn category(&self) -> TypeCategory {
        match self {
            Self::Bool => TypeCategory::Boolean,
            Self::Int2
            | Self::Int4
            | Self::Int8
            | Self::Float4
            | Self::Float8
            | Self::Numeric(_)
            | Self::Money
            | Self::Oid
            | Self::RegClass
            | Self::RegType
            | Self::RegProc
            | Self::RegProcedure
            | Self::RegOper
            | Self::RegOperator
            | Self::RegNamespace
            | Self::RegRole
            | Self::RegConfig
            | Self::RegDictionary => TypeCategory::Numeric,
            Self::Text | Self::Varchar(_) | Self::Char(_) | Self::Name => TypeCategory::String,
            Self::QuotedChar | Self::PgNodeTree => TypeCategory::Internal,
            Self::Date | Self::Time(_) | Self::TimeTz(_) | Self::Timestamp(_) | Self::TimestampTz(_) => {
                TypeCategory::DateTime
            }
            Self::Interval => TypeCategory::Timespan,
            Self::Enum(_) => TypeCategory::Enum,
            Self::Domain(ty) => ty.over().category(),
            Self::Composite(_) => TypeCategory::Composite,
            Self::Inet | Self::Cidr => TypeCategory::NetworkAddress,
            Self::Bit(_) | Self::VarBit(_) => TypeCategory::BitString,
            Self::Point | Self::LSeg | Self::Path | Self::Box | Self::Polygon | Self::Line | Self::Circle => {
                TypeCategory::Geometric
            }
            Self::Bytea | Self::Uuid | Self::MacAddr | Self::MacAddr8 | Self::Json | Self::Jsonb | Self::Xid | Self::Xid8
            | Self::PgLsn | Self::TsVector | Self::TsQuery | Self::JsonPath => TypeCategory::UserDefined,
            Self::Array(_) | Self::Int2Vector | Self::OidVector => TypeCategory::Array,
            Self::Record(_) | Self::Void | Self::AnyElement | Self::AnyArray | Self::AnyNonArray | Self::Any
            | Self::AnyEnum | Self::AnyRange | Self::AnyMultiRange => {
                TypeCategory::Pseudo
            }
            Self::Range(_) | Self::MultiRange(_) => TypeCategory::Range,
            Self::Unknown => TypeCategory::Unknown,
        }
    }

    /// `pg_type.typispreferred`: wins ties within its category.
    #[must_use]
    pub const fn is_preferred(&self) -> bool {
        matches!(
            self,
            Self::Bool | Self::Float8 | Self::Oid | Self::Text | Self::TimestampTz(_) | Self::Interval | Self::Inet
                | Self::VarBit(_)
        )
    }

    /// A type no column can have.
    #[must_use]
    pub const fn is_pseudo(&self) -> bool {
        matches!(self.category(), TypeCategory::Pseudo | TypeCategory::Unknown)
    }

    #[must_use]
    pub const fn is_geometric(&self) -> bool {
        matches!(self.category(), TypeCategory::Geometric)
    }

    /// Stored and shown as a name although it is an oid underneath.
    #[must_use]
    pub const fn is_reg(&self) -> bool {
        matches!(
            self,
            Self::RegClass
                | Self::RegType
                | Self::RegProc
                | Self::RegProcedure
                | Self::RegOper
                | Self::RegOperator
                | Self::RegNamespace
                | Self::RegRole
                | Self::RegConfig
                | Self::RegDictionary
        )
    }

    #[must_use]
    pub const fn is_integer(&self) -> bool {
        matches!(self, Self::Int2 | Self::Int4 | Self::Int8)
    }

    #[must_use]
    pub const fn is_string(&self) -> bool {
        matches!(self.category(), TypeCategory::String)
    }

    /// Has a btree order, so can be sorted, grouped, and stand in a key.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        match self {
            Self::Json | Self::JsonPath | Self::Xid | Self::PgNodeTree | Self::Void => false,
            geometric if geometric.is_geometric() => false,
            Self::AnyElement | Self::AnyArray | Self::AnyNonArray | Self::Any | Self::AnyEnum | Self::AnyRange
            | Self::AnyMultiRange => false,
            Self::Array(element) => element.get().is_ordered(),
            Self::Domain(ty) => ty.over().is_ordered(),
            _ => true,
        }
    }
}
