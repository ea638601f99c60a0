//! Sessions beside each other and beside DDL.

mod domains;
mod others;
mod privileges;
mod range_types;
mod routines;
mod temporary;
mod transactions;
mod user_types;
mod views;
