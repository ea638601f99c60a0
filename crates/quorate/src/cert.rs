//! `quorate cert`: a cluster's CA, the certificates of its nodes and of its clients.

use std::path::PathBuf;

use certs::{CertError, Lifetime};
use clap::Subcommand;

#[derive(Subcommand)]
pub enum Cert {
    /// Make the CA of a cluster: ca.crt, which nodes and clients trust, and ca.key, which makes the others.
    CreateCa(Place),
    /// Make the certificate of a node, node.crt and node.key.
    CreateNode {
        /// The names and addresses under which clients and other nodes find it.
        #[arg(required = true, value_name = "HOST")]
        hosts: Vec<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Make the certificate of a client that connects as a role, client.ROLE.crt and client.ROLE.key.
    CreateClient {
        #[arg(value_name = "ROLE")]
        role: String,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(clap::Args)]
pub struct Place {
    /// Where the files are, and are made.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    certs_dir: PathBuf,
    /// For how long the certificate is valid.
    #[arg(long, value_name = "DAYS", default_value_t = 1825, value_parser = clap::value_parser!(u32).range(1..=36500))]
    days: u32,
}

/// # Errors
/// What is wrong with what is there, or was asked for.
pub fn run(command: &Cert) -> Result<(), CertError> {
    let (place, made) = match command {
        Cert::CreateCa(place) => (place, "ca".to_owned()),
        Cert::CreateNode { place, .. } => (place, "node".to_owned()),
        Cert::CreateClient { place, role } => (place, format!("client.{role}")),
    };
    let (dir, lifetime) = (&place.certs_dir, Lifetime(place.days));
    match command {
        Cert::CreateCa(_) => certs::create_ca(dir, lifetime)?,
        Cert::CreateNode { hosts, .. } => certs::create_node(dir, hosts, lifetime)?,
        Cert::CreateClient { role, .. } => certs::create_client(dir, role, lifetime)?,
    }
    println!("{0}.crt and {0}.key", dir.join(made).display());
    Ok(())
}
