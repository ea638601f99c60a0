//! The problem: a database's promises are about what many clients see together, under faults, and no single answer
//! shows that one was broken.
//!
//! The idea: run a cluster in this process over wires and clocks that a test bends ([`cluster`], [`wires`]), let clients
//! work through gateways that die ([`gateways`], [`clients`]) while ranges split and links are cut ([`nemesis`]), record
//! what every client saw, and let a checker ask whether any serial order explains it ([`checkers`]). One seed makes one
//! schedule of all of it ([`schedule`]); [`run`] runs and judges it. What no client can show is tested by single commands
//! ([`commands`]).
//!
//! Deliberately left out: SQL; the cross-crate tests put it on top.

pub mod clients;
pub mod cluster;
pub mod commands;
pub mod gateways;
pub mod nemesis;
pub mod run;
pub mod schedule;
pub mod wires;
