//! The problem: TLS needs a CA, a certificate for each node and for each client that shows one, keys that nobody else
//! can read, and new ones in time, without anybody learning how.
//!
//! The idea: one directory holds what a node or a client needs, under names that say what it is. [`create_ca`],
//! [`create_node`] and [`create_client`] write it; [`NodeCerts`] reads a node's part and reads it again when it is told.
//!
//! ```text
//!  ca.crt            whom to trust            every node, every client
//!  ca.key            makes certificates       whoever makes them, nobody else
//!  node.crt, .key    this node                the node
//!  client.NAME.crt, .key                      a client that connects as the role NAME
//!  node.pem                  this node        the node; key and certificate in one file, which its cluster has given it
//! ```
//! A certificate of a node says which node of which cluster it is for ([`Identity`]). One that was made before the cluster
//! knew the node does not; the node exchanges it for one that does, `node.pem`, in its store or here.
//!
//! **Invariant (keys-stay-private):** a file with a key can be read by its owner alone, from the moment it is there.
//!
//! Deliberately left out: sockets (`pgserver`), what a certificate allows (`auth::hba`).

/// The common name of nodes' certificates; no role connects by it.
pub const NODE: &str = "node";

mod create;
mod identity;
mod load;

use std::{io, path::PathBuf};

pub use create::{Lifetime, Request, can_sign, create_ca, create_client, create_node, sign_node, write_private};
pub use identity::{Identity, Names, names};
pub use load::{NodeCerts, Served, ca_fingerprint, common_name, subject, trusting};
pub use rustls;

/// One line for whoever runs a node or makes certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is there already: remove it first, or name another directory", path.display())]
    Exists { path: PathBuf },
    #[error("{}: {reason}", path.display())]
    Unusable { path: PathBuf, reason: String },
    #[error("{0}")]
    Name(String),
    #[error("{} can be read by others: make it mode 0600", path.display())]
    Exposed { path: PathBuf },
}
