//! Sessions beside each other and beside DDL.

mod others;
mod transactions;
