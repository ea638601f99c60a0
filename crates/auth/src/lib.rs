//! The problem: a client says who it is, and the node must know whether to believe it, without ever keeping what would
//! let a thief of its data say the same.
//!
//! The idea: four small things that know neither sockets nor catalogs. [`scram`] makes and checks verifiers of passwords
//! and leads the server's side of the exchange; [`hba`] reads PostgreSQL's `pg_hba.conf` rules and finds the one that
//! holds for a client, [`ident`] those of `pg_ident.conf` about who may be which role; [`Secret`] is a password on its way
//! from a statement to its verifier; [`doors`] counts who has not shown yet who it is.
//!
//! Deliberately left out: certificates (`certs`), messages (`pgserver`), where roles and rules are kept (`catalog`).

pub mod doors;
pub mod hba;
pub mod ident;
pub mod scram;

use std::fmt;

/// A password, which is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
