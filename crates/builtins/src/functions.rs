//! Functions by topic: one file a chapter of PostgreSQL's documentation, each a static table.

mod arrays;
mod bit_strings;
mod catalog;
mod crypto;
mod datetime;
mod enums;
pub(crate) mod json;
mod json_rows;
pub(crate) mod jsonpath;
pub(crate) mod math;
mod geometry;
mod network;
pub(crate) mod ranges;
mod regexps;
mod scalars;
mod sets;
mod strings;
mod support;
pub(crate) mod system;
mod text_search;
mod transitions;

use crate::signature::Builtin;

pub(crate) static TABLES: &[&[Builtin]] = &[
    math::FUNCTIONS,
    strings::FUNCTIONS,
    regexps::FUNCTIONS,
    datetime::FUNCTIONS,
    datetime::EXTRACTS,
    datetime::PARTS,
    arrays::FUNCTIONS,
    json::FUNCTIONS,
    json::TYPEOF,
    json::LENGTH,
    json::STRIP,
    sets::FUNCTIONS,
    system::FUNCTIONS,
    network::FUNCTIONS,
    crypto::FUNCTIONS,
    catalog::FUNCTIONS,
    enums::FUNCTIONS,
    ranges::FUNCTIONS,
    ranges::CONSTRUCTORS,
    bit_strings::FUNCTIONS,
    scalars::FUNCTIONS,
    geometry::FUNCTIONS,
    support::FUNCTIONS,
    text_search::FUNCTIONS,
    jsonpath::FUNCTIONS,
    json_rows::FUNCTIONS,
    transitions::FUNCTIONS,
];

/// See [`support`].
pub(crate) static LISTED: &[&[Builtin]] = &[support::LISTED];
