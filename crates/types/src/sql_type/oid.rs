//! PostgreSQL's oids.

use super::modifier::VARHDRSZ;
use super::{Element, NumericModifier, SqlType};
use crate::range_type::RangeType;
use crate::row_type::RowTypeId;

impl SqlType {
    /// PostgreSQL's oid.
    #[must_use]
    pub const fn oid(&self) -> u32 {
        match self {
            Self::Bool => 16,
            Self::Bytea => 17,
            Self::QuotedChar => 18,
            Self::Name => 19,
            Self::Int8 => 20,
            Self::Int2 => 21,
            Self::Int2Vector => 22,
            Self::Int4 => 23,
            Self::RegProc => 24,
            Self::Text => 25,
            Self::Oid => 26,
            Self::Xid => 28,
            Self::OidVector => 30,
            Self::Json => 114,
            Self::PgNodeTree => 194,
            Self::Cidr => 650,
            Self::Point => 600,
            Self::LSeg => 601,
            Self::Path => 602,
            Self::Box => 603,
            Self::Polygon => 604,
            Self::Line => 628,
            Self::Circle => 718,
            Self::MacAddr8 => 774,
            Self::Money => 790,
            Self::PgLsn => 3220,
            Self::Xid8 => 5069,
            Self::TsVector => 3614,
            Self::TsQuery => 3615,
            Self::RegConfig => 3734,
            Self::RegDictionary => 3769,
            Self::JsonPath => 4072,
            Self::Bit(_) => 1560,
            Self::VarBit(_) => 1562,
            Self::Float4 => 700,
            Self::Float8 => 701,
            Self::Unknown => 705,
            Self::MacAddr => 829,
            Self::Inet => 869,
            Self::Char(_) => 1042,
            Self::Varchar(_) => 1043,
            Self::Date => 1082,
            Self::Time(_) => 1083,
            Self::Timestamp(_) => 1114,
            Self::TimestampTz(_) => 1184,
            Self::Interval => 1186,
            Self::TimeTz(_) => 1266,
            Self::Numeric(_) => 1700,
            Self::RegProcedure => 2202,
            Self::RegOper => 2203,
            Self::RegOperator => 2204,
            Self::RegClass => 2205,
            Self::RegType => 2206,
            Self::Record(_) => 2249,
            Self::Any => 2276,
            Self::AnyArray => 2277,
            Self::Void => 2278,
            Self::AnyElement => 2283,
            Self::AnyNonArray => 2776,
            Self::Uuid => 2950,
            Self::Jsonb => 3802,
            Self::RegNamespace => 4089,
            Self::RegRole => 4096,
            Self::AnyEnum => 3500,
            Self::AnyRange => 3831,
            Self::AnyMultiRange => 4537,
            Self::Range(ty) => ty.oid(),
            Self::MultiRange(ty) => ty.multirange_oid(),
            Self::Enum(ty) => ty.oid(),
            Self::Domain(ty) => ty.oid(),
            Self::Composite(ty) => ty.oid(),
            Self::Array(element) => match element.0 {
                Element::BuiltIn { oid, .. } => array_oid_of(oid),
                Element::Enum(ty) => ty.array_oid(),
                Element::Domain(ty) => ty.array_oid(),
                Element::Composite(ty) => ty.array_oid(),
                // *four-oids*
                Element::Range(ty) => ty.oid() + 1,
                Element::MultiRange(ty) => ty.multirange_oid() + 1,
            },
        }
    }

    /// The oid of the array over this type, 0 when there is none.
    #[must_use]
    pub const fn array_oid(&self) -> u32 {
        match self {
            Self::Array(_) => 0,
            Self::Enum(ty) => ty.array_oid(),
            Self::Domain(ty) => ty.array_oid(),
            Self::Composite(ty) => ty.array_oid(),
            Self::Range(ty @ RangeType::Made(_)) => ty.oid() + 1,
            Self::MultiRange(ty @ RangeType::Made(_)) => ty.multirange_oid() + 1,
            _ => array_oid_of(self.oid()),
        }
    }

    /// The built-in type of this oid and modifier (-1: none). Modifiers that do not parse are taken as none.
    #[must_use]
    pub fn from_oid(oid: u32, typmod: i32) -> Option<Self> {
        let precision = || u8::try_from(typmod).ok().filter(|p| *p <= 6);
        let length = || u32::try_from(typmod - VARHDRSZ).ok().filter(|_| typmod > VARHDRSZ);
        Some(match oid {
            16 => Self::Bool,
            17 => Self::Bytea,
            18 => Self::QuotedChar,
            19 => Self::Name,
            20 => Self::Int8,
            21 => Self::Int2,
            22 => Self::Int2Vector,
            23 => Self::Int4,
            24 => Self::RegProc,
            25 => Self::Text,
            26 => Self::Oid,
            28 => Self::Xid,
            30 => Self::OidVector,
            114 => Self::Json,
            194 => Self::PgNodeTree,
            650 => Self::Cidr,
            600 => Self::Point,
            601 => Self::LSeg,
            602 => Self::Path,
            603 => Self::Box,
            604 => Self::Polygon,
            628 => Self::Line,
            718 => Self::Circle,
            774 => Self::MacAddr8,
            790 => Self::Money,
            3220 => Self::PgLsn,
            5069 => Self::Xid8,
            3614 => Self::TsVector,
            3615 => Self::TsQuery,
            3734 => Self::RegConfig,
            3769 => Self::RegDictionary,
            4072 => Self::JsonPath,
            1560 => Self::Bit(u32::try_from(typmod).ok().filter(|length| *length > 0)),
            1562 => Self::VarBit(u32::try_from(typmod).ok().filter(|length| *length > 0)),
            700 => Self::Float4,
            701 => Self::Float8,
            705 => Self::Unknown,
            829 => Self::MacAddr,
            869 => Self::Inet,
            1042 => Self::Char(length()),
            1043 => Self::Varchar(length()),
            1082 => Self::Date,
            1083 => Self::Time(precision()),
            1114 => Self::Timestamp(precision()),
            1184 => Self::TimestampTz(precision()),
            1186 => Self::Interval,
            1266 => Self::TimeTz(precision()),
            1700 => Self::Numeric((typmod >= VARHDRSZ).then(|| {
                let packed = typmod - VARHDRSZ;
                NumericModifier {
                    precision: (packed >> 16) as u16,
                    // Eleven bits, two's complement.
                    scale: (((packed & 0x7ff) ^ 1024) - 1024) as i16,
                }
            })),
            2202 => Self::RegProcedure,
            2203 => Self::RegOper,
            2204 => Self::RegOperator,
            2205 => Self::RegClass,
            2206 => Self::RegType,
            2249 => Self::Record(u32::try_from(typmod).ok().map(RowTypeId::from_number)),
            2276 => Self::Any,
            2277 => Self::AnyArray,
            2278 => Self::Void,
            2283 => Self::AnyElement,
            2776 => Self::AnyNonArray,
            2950 => Self::Uuid,
            3500 => Self::AnyEnum,
            3802 => Self::Jsonb,
            4089 => Self::RegNamespace,
            4096 => Self::RegRole,
            3831 => Self::AnyRange,
            4537 => Self::AnyMultiRange,
            3904 | 3906 | 3908 | 3910 | 3912 | 3926 => Self::Range(RangeType::from(oid)),
            4451 => Self::MultiRange(RangeType::Int4),
            4532 => Self::MultiRange(RangeType::Numeric),
            4533 => Self::MultiRange(RangeType::Timestamp),
            4534 => Self::MultiRange(RangeType::TimestampTz),
            4535 => Self::MultiRange(RangeType::Date),
            4536 => Self::MultiRange(RangeType::Int8),
            _ => {
                let element = ARRAYS.iter().find(|(_, array)| *array == oid)?.0;
                Self::from_oid(element, typmod)?.array_of()
            }
        })
    }
}

/// (element oid, array oid).
const ARRAYS: &[(u32, u32)] = &[
    (16, 1000),
    (17, 1001),
    (18, 1002),
    (19, 1003),
    (20, 1016),
    (21, 1005),
    (22, 1006),
    (23, 1007),
    (24, 1008),
    (25, 1009),
    (26, 1028),
    (28, 1011),
    (30, 1013),
    (114, 199),
    (650, 651),
    (600, 1017),
    (601, 1018),
    (602, 1019),
    (603, 1020),
    (604, 1027),
    (628, 629),
    (718, 719),
    (774, 775),
    (790, 791),
    (3220, 3221),
    (5069, 271),
    (3614, 3643),
    (3615, 3645),
    (3734, 3735),
    (3769, 3770),
    (4072, 4073),
    (1560, 1561),
    (1562, 1563),
    (700, 1021),
    (701, 1022),
    (829, 1040),
    (869, 1041),
    (1042, 1014),
    (1043, 1015),
    (1082, 1182),
    (1083, 1183),
    (1114, 1115),
    (1184, 1185),
    (1186, 1187),
    (1266, 1270),
    (1700, 1231),
    (2202, 2207),
    (2203, 2208),
    (2204, 2209),
    (2205, 2210),
    (2206, 2211),
    (2249, 2287),
    (2950, 2951),
    (3802, 3807),
    (4089, 4090),
    (4096, 4097),
    (3904, 3905),
    (3906, 3907),
    (3908, 3909),
    (3910, 3911),
    (3912, 3913),
    (3926, 3927),
    (4451, 6150),
    (4532, 6151),
    (4533, 6152),
    (4534, 6153),
    (4535, 6155),
    (4536, 6157),
];

const fn array_oid_of(element: u32) -> u32 {
    let mut i = 0;
    while i < ARRAYS.len() {
        if ARRAYS[i].0 == element {
            return ARRAYS[i].1;
        }
        i += 1;
    }
    0
}
