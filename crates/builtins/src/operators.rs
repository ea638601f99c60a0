//! Operators by topic, each a static table.

pub(crate) mod arithmetic;
pub(crate) mod arrays;
pub(crate) mod bit_strings;
mod bits;
pub(crate) mod comparison;
pub(crate) mod cross_type;
mod datetime;
pub(crate) mod json;
pub(crate) mod geometry;
pub(crate) mod log_positions;
mod money;
mod network;
pub(crate) mod ranges;
pub(crate) mod pattern;
pub(crate) mod strings;
mod text_search;

use crate::signature::Operator;

pub(crate) static TABLES: &[&[Operator]] = &[
    comparison::OPERATORS,
    comparison::OTHERS,
    arithmetic::OPERATORS,
    arithmetic::INT2,
    arithmetic::INT4,
    arithmetic::INT8,
    arithmetic::FLOATS[0],
    arithmetic::FLOATS[1],
    arithmetic::FLOATS[2],
    arithmetic::FLOATS[3],
    arithmetic::FLOATS[4],
    arithmetic::FLOATS[5],
    bits::INT2,
    bits::INT4,
    bits::INT8,
    strings::OPERATORS,
    pattern::OPERATORS,
    datetime::OPERATORS,
    arrays::OPERATORS,
    json::OPERATORS,
    network::OPERATORS,
    ranges::OPERATORS,
    bit_strings::OPERATORS,
    money::OPERATORS,
    log_positions::OPERATORS,
    geometry::OPERATORS,
    text_search::OPERATORS,
];

/// See [`cross_type`].
pub(crate) static LISTED: &[&[Operator]] = &[cross_type::OPERATORS];
