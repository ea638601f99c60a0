//! `quorate cert`: a cluster's CA, the certificates of its nodes and of its clients.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use certs::{CertError, Identity, Lifetime};
use clap::Subcommand;
use server::Operator;

#[derive(Subcommand)]
pub enum Cert {
    /// Make the CA of a cluster: ca.crt, which nodes and clients trust, and ca.key, which makes the others.
    CreateCa(Place),
    /// Make the certificate of a node, node.crt and node.key.
    CreateNode {
        /// The names and addresses under which clients and other nodes find it.
        #[arg(required = true, value_name = "HOST")]
        hosts: Vec<String>,
        /// Binds it to this cluster; with --node-id. Without, the node gets a bound one from the cluster that it joins.
        #[arg(long, value_name = "UUID", requires = "node_id")]
        cluster_id: Option<String>,
        /// Binds it to the node of this number.
        #[arg(long, value_name = "NUMBER", requires = "cluster_id", value_parser = clap::value_parser!(u64).range(1..))]
        node_id: Option<u64>,
        #[command(flatten)]
        place: Place,
    },
    /// Print a token with which one more node can join a running cluster (quorate start --join … --join-token TOKEN): it
    /// gets that node its certificate, once.
    CreateJoinToken {
        /// For how long it is good.
        #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=43200))]
        valid_minutes: u64,
        /// Where other nodes connect to any node of the cluster.
        #[arg(long, value_name = "HOST:RPC_PORT", default_value = "127.0.0.1:7433")]
        addr: String,
        /// Where the certificate of a node is, which says which node it is: ca.crt and node.pem, or node.crt and node.key. It is
        /// certs, or with --store the certs in that.
        #[arg(long, value_name = "DIR")]
        certs_dir: Option<PathBuf>,
        /// The store of a node on this machine: the certificate that the cluster gave it, node.pem, is shown.
        #[arg(long, value_name = "DIR")]
        store: Option<PathBuf>,
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
pub async fn run(command: &Cert) -> Result<(), String> {
    match command {
        Cert::CreateJoinToken { valid_minutes, addr, certs_dir, store } => {
            let operator = match store {
                Some(store) => Operator::of_node(addr.clone(), certs_dir.as_deref(), store).await,
                None => Operator::of(addr.clone(), Some(certs_dir.as_deref().unwrap_or(Path::new("certs")))).await,
            }?;
            let lifetime = Duration::from_secs(60 * valid_minutes);
            let token = operator.create_join_token(lifetime).await.map_err(|error| format!("{addr}: {error}"))?;
            println!("{token}");
            Ok(())
        }
        made => make(made).map_err(|error| error.to_string()),
    }
}

fn make(command: &Cert) -> Result<(), CertError> {
    let (place, made) = match command {
        Cert::CreateJoinToken { .. } => return Ok(()),
        Cert::CreateCa(place) => (place, "ca".to_owned()),
        Cert::CreateNode { place, .. } => (place, "node".to_owned()),
        Cert::CreateClient { place, role } => (place, format!("client.{role}")),
    };
    let (dir, lifetime) = (&place.certs_dir, Lifetime(place.days));
    match command {
        Cert::CreateCa(_) => certs::create_ca(dir, lifetime)?,
        Cert::CreateJoinToken { .. } => {}
        Cert::CreateNode { hosts, cluster_id, node_id, .. } => {
            let identity = cluster_id.as_deref().zip(*node_id).map(|(cluster, node)| {
                let wrong = |error: uuid::Error| CertError::Name(format!("--cluster-id {cluster}: {error}"));
                Ok(Identity { cluster: cluster.parse().map_err(wrong)?, node })
            });
            certs::create_node(dir, hosts, identity.transpose()?.as_ref(), lifetime)?;
        }
        Cert::CreateClient { role, .. } => certs::create_client(dir, role, lifetime)?,
    }
    println!("{0}.crt and {0}.key", dir.join(made).display());
    Ok(())
}
