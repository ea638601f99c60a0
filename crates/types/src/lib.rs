//! The problem: PostgreSQL's clients and applications rely on its values to the last digit, so every type must
//! read, print, compare, convert and sort exactly as there, while tables need compact bytes and executors need
//! columns of plain machine words.
//!
//! The idea: a value is a [`Datum`] of at most three words and its [`SqlType`] stands beside it, never inside it.
//! Each representation of a datum is one module with two directions:
//!
//! ```text
//!   text  <- parse_text / write_text ->            <- encode_key / decode_key ->   index keys (memcomparable)
//!                                        Datum
//! binary  <- parse_binary / write_binary ->        <- RowEncoder / RowDecoder ->   row values -> ColumnVec
//! ```
//!
//! **Invariants**
//! - *datum-matches-type*: a datum is NULL or the variant its type names; upheld by every parser and cast here.
//! - *order-agrees*: for two values of one type, [`compare`] and the byte order of [`encode_key`] agree; a key's
//!   equal bytes are SQL-equal values. Upheld in [`key`], attacked by its property tests.
//! - *prefix-free*: an encoded column is no proper prefix of another encoded column of its type.
//! - *composite-value-kept*: where equal keys can print differently (1.0 and 1.00), [`SqlType::key_is_composite`]
//!   says so, and the row keeps the value as well.
//! - *bounded-depth*: see [`stack`].
//! - *array-shape*, *json-canonical*, *numeric-normal*: see [`Array`], [`Json`], [`Numeric`].
//!
//! Deliberately left out: catalogs (names of oids come through [`OidNames`]), expression evaluation and overload
//! resolution (the `builtins` crate), collations other than C.
//!
//! Read in this order: [`SqlType`], [`Datum`], [`Formatting`], then one representation after another.

pub mod array;
mod array_assign;
pub mod batch;
pub mod binary;
pub mod bits;
pub mod cast;
pub mod compare;
pub mod composite_type;
pub mod datetime;
pub mod datum;
pub mod decimals;
pub mod domain_type;
pub mod enum_type;
pub mod error;
pub mod formatting;
pub mod geometry;
pub mod identifier;
pub mod inverted;
pub mod json;
mod json_assign;
mod json_key;
pub mod jsonpath;
pub mod key;
pub mod money;
pub mod network;
pub mod numeric;
pub mod range;
pub mod range_type;
pub mod registered;
pub mod routine;
pub mod row;
pub mod row_type;
pub mod sql_type;
pub mod stack;
pub mod text;
pub mod text_search;
pub mod unsigned;
pub mod vector;

pub use array::{Array, Dimension};
pub use batch::Batch;
pub use binary::{parse_binary, write_binary};
pub use bits::Bits;
pub use cast::{CastContext, can_cast, cast, fit_modifier, is_listed_cast};
pub use compare::{compare, compare_records, hash_datum, sql_equal};
pub use datetime::arithmetic::date_to_timestamp;
pub use composite_type::{Attribute, CompositeType, check_extent, relation_of_row_type, row_type_oid};
pub use datetime::zone::Zone;
pub use datum::{Datum, Interval, TimeTz};
pub use decimals::Decimals;
pub use domain_type::{DomainType, Over, domains_exist};
pub use enum_type::{Labels, EnumLabel, EnumType, EnumValue, sort_key_between, sort_keys};
pub use error::{SqlError, SqlErrorFields, SqlResult, SqlState};
pub use formatting::{ByteaOutput, DateOrder, DateStyle, Formatting, IntervalStyle, OidNames};
pub use geometry::Geometry;
pub use identifier::{quote_identifier, split_identifiers};
pub use json::Json;
pub use json_assign::JsonStep;
pub use key::{Direction, NullsOrder, decode_key, encode_key, skip_key};
pub use network::Inet;
pub use numeric::Numeric;
pub use range::{Bound, Range, spans};
pub use range_type::{RangeOver, RangeType};
pub use registered::{Registered, TypeContent};
pub use routine::ParameterMode;
pub use row::{RowDecoder, RowEncoder, WantedColumn};
pub use row_type::{RowType, RowTypeId};
pub use sql_type::{ElementType, NumericModifier, SqlType, TypeCategory};
pub use text_search::{TsQuery, TsVector};
pub use text::{check_text_size, parse_text, to_text, write_text};
pub use vector::{ColumnVec, IntKind, Nulls, Primitive, Strings};
