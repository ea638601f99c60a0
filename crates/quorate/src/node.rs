//! `quorate node`: what an operator asks a cluster, and tells it.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use keys::NodeId;
use server::{CheckOutcome, DrainPhase, Operator};

use crate::complain;

/// How often it is looked whether a node has given everything away.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// A line for each node: its replicas, leases, bytes and whether it is heard from.
    Status(Member),
    /// Give all of a node's replicas and leases to others, and wait until it has none: then it can be stopped for good.
    Decommission(Of),
    /// A node that was being decommissioned is to have replicas again.
    Recommission(Of),
    /// Have a node take no new clients, wait for those it has, and give its leases to others. Its process stays until it is
    /// ended; started again it serves as before.
    Drain(Drain),
    /// Compare the replicas of all ranges, and say which differ. Those that differ from most are made anew.
    Check(Member),
}

#[derive(clap::Args)]
struct Drain {
    /// The number of the node.
    node: u64,
    /// Sessions that are open get so long to finish; what is open after that ends with the process.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
    #[command(flatten)]
    member: Member,
}

#[derive(clap::Args)]
struct Member {
    /// Where other nodes connect to any node of the cluster.
    #[arg(long, value_name = "HOST:RPC_PORT", default_value = "127.0.0.1:7433")]
    addr: String,
    /// Where ca.crt, node.crt and node.key are, for a cluster whose nodes have certificates. One that does not say which node it
    /// is for is not enough: see --store.
    #[arg(long, value_name = "DIR")]
    certs_dir: Option<PathBuf>,
    /// The store of a node on this machine: the certificate that the cluster gave it, node.pem, is shown.
    #[arg(long, value_name = "DIR", conflicts_with = "insecure")]
    store: Option<PathBuf>,
    /// Nothing is encrypted or authenticated: said as for the nodes themselves.
    #[arg(long, conflicts_with = "certs_dir")]
    insecure: bool,
}

#[derive(clap::Args)]
struct Of {
    /// The number of the node.
    node: u64,
    #[command(flatten)]
    member: Member,
}

pub async fn run(arguments: Arguments) -> ExitCode {
    let member = match &arguments.command {
        Command::Status(member) | Command::Check(member) => member,
        Command::Drain(drain) => &drain.member,
        Command::Decommission(of) | Command::Recommission(of) => &of.member,
    };
    let (addr, certs_dir) = (member.addr.clone(), member.certs_dir.as_deref());
    let operator = match &member.store {
        Some(store) => Operator::of_node(addr, certs_dir, store).await,
        None => Operator::of(addr, certs_dir).await,
    };
    let operator = match operator {
        Ok(operator) => operator,
        Err(error) => return complain(&error),
    };
    let outcome = match &arguments.command {
        Command::Status(_) => status(&operator).await,
        Command::Decommission(of) => decommission(&operator, NodeId::new(of.node)).await,
        Command::Recommission(of) => {
            operator.decommission(NodeId::new(of.node), false).await.map_err(|error| error.to_string())
        }
        Command::Drain(of) => drain(&operator, NodeId::new(of.node), Duration::from_secs(of.wait)).await,
        Command::Check(_) => check(&operator).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("{}: {error}", member.addr)),
    }
}

async fn status(operator: &Operator) -> Result<(), String> {
    let nodes = operator.status().await.map_err(|error| error.to_string())?;
    let title = "locality";
    let places: Vec<String> = nodes.iter().map(|(node, _)| node.parts.locality.to_string()).collect();
    let width = places.iter().map(String::len).chain([title.len()]).max().unwrap_or(0);
    println!(
        "{:>4}  {:<21}  {title:<width$}  {:>8}  {:>6}  {:>14}  liveness",
        "node", "address", "replicas", "leases", "bytes"
    );
    let mut under_replicated = 0;
    for ((node, is_live), place) in nodes.iter().zip(&places) {
        let liveness = match (is_live, node.leaving) {
            (true, false) => "live",
            (true, true) => "live, decommissioning",
            (false, false) => "dead",
            (false, true) => "dead, decommissioning",
        };
        println!(
            "{:>4}  {:<21}  {place:<width$}  {:>8}  {:>6}  {:>14}  {liveness}",
            node.node_id.get(),
            node.rpc_addr,
            node.ranges,
            node.leases,
            node.bytes
        );
        // What a dead node said last is not so any more: others lead its ranges.
        under_replicated += if *is_live { node.under_replicated } else { 0 };
    }
    println!("under-replicated ranges: {under_replicated}");
    Ok(())
}

async fn decommission(operator: &Operator, node: NodeId) -> Result<(), String> {
    operator.decommission(node, true).await.map_err(|error| error.to_string())?;
    let mut last = None;
    loop {
        let nodes = operator.status().await.map_err(|error| error.to_string())?;
        let Some((info, is_live)) = nodes.iter().find(|(info, _)| info.node_id == node) else {
            return Err(format!("there is no node {node}"));
        };
        if last != Some(info.ranges) {
            println!("node {}: {} replicas left", node.get(), info.ranges);
            last = Some(info.ranges);
        }
        if info.ranges == 0 {
            println!("node {} has given everything away; it can be stopped", node.get());
            return Ok(());
        }
        if !is_live {
            return Err(format!("node {} is not heard from any more", node.get()));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn drain(operator: &Operator, node: NodeId, wait: Duration) -> Result<(), String> {
    let mut last = None;
    loop {
        let status = operator.drain(node, wait).await.map_err(|error| error.to_string())?;
        if last != Some(status) {
            match status.phase {
                DrainPhase::Clients => println!("node {}: {} sessions are open", node.get(), status.sessions),
                DrainPhase::Leases => println!("node {}: {} leases left", node.get(), status.leases),
                DrainPhase::Done => {}
            }
            last = Some(status);
        }
        if status.phase == DrainPhase::Done {
            if status.leases > 0 {
                return Err(format!("node {} still leads {} ranges: nobody takes their leases", node.get(), status.leases));
            }
            if status.sessions > 0 {
                println!("node {}: {} sessions are still open; they end with the process", node.get(), status.sessions);
            }
            println!("node {} is drained: it takes no clients and leads nothing; its process can be ended", node.get());
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Every node checks what it leads; a lease that moves meanwhile may have its range checked twice, or not now.
async fn check(operator: &Operator) -> Result<(), String> {
    let nodes = operator.status().await.map_err(|error| error.to_string())?;
    let (mut checked, mut skipped, mut differ) = (0_u64, 0_u64, 0_u64);
    for (node, is_live) in nodes {
        if !is_live {
            println!("node {} is not heard from", node.node_id.get());
            continue;
        }
        let mut report = operator.check_ranges(node.node_id, true).await.map_err(|error| error.to_string())?;
        while report.done < report.total {
            tokio::time::sleep(LOOK_EVERY).await;
            report = operator.check_ranges(node.node_id, false).await.map_err(|error| error.to_string())?;
        }
        checked += report.done;
        for (range, outcome) in report.findings {
            match outcome {
                CheckOutcome::Consistent | CheckOutcome::Alone => {}
                CheckOutcome::Skipped { reason } => {
                    skipped += 1;
                    println!("{range} was not checked: {reason}");
                }
                CheckOutcome::Undecided => {
                    differ += 1;
                    println!("{range}: its replicas differ, and no majority has the same bytes; nothing was changed");
                }
                CheckOutcome::Repaired { differing, kept } => {
                    differ += 1;
                    let stores: Vec<String> = differing.iter().map(ToString::to_string).collect();
                    println!("{range}: {} had other bytes than most: made anew", stores.join(", "));
                    for store in kept {
                        println!("{range}: {store} could not be told");
                    }
                }
            }
        }
    }
    let same = checked - differ - skipped;
    println!("{same} ranges are the same on all their stores, {differ} differ, {skipped} were not checked");
    if differ > 0 { Err("replicas differ".to_owned()) } else { Ok(()) }
}
