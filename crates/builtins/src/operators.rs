//! Operators by topic, each a static table.

pub(crate) mod arithmetic;
pub(crate) mod arrays;
mod bits;
mod comparison;
mod datetime;
pub(crate) mod json;
mod network;
pub(crate) mod ranges;
pub(crate) mod pattern;
pub(crate) mod strings;

use crate::signature::Operator;

pub(crate) static TABLES: &[&[Operator]] = &[
    comparison::OPERATORS,
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
];
