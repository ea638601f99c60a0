//! The command line: `quorate start`, `quorate node`, `quorate cert`, `quorate audit`, `quorate encryption-status`,
//! `quorate workload`.

mod allocator;
mod audited;
mod cert;
mod encryption;
mod node;
mod workload;

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand, error::ErrorKind};
use keys::Locality;
use server::{JoinToken, Node, NodeConfig};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

/// Memory of small blocks that is free is given back to the operating system after so long. Large statements follow one another, and pages
/// that are taken again are cleared again: for an UPDATE of 300,000 rows that was a third of its CPU time. Huge pages are
/// off for the same reason (`no_thp`): they are cleared whole.
const FREE_MEMORY_KEPT_MS: i64 = 10_000;
/// The number of `mi_option_purge_delay` in mimalloc 3.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// The exit code for a command line that makes no sense.
const USAGE: u8 = 2;
/// How long a node that is told to stop while it starts waits for what it has begun.
const STARTING_PATIENCE: Duration = Duration::from_secs(2);
/// The exit code of a node whose clock is wrong.
const CLOCK: u8 = 3;

/// A distributed SQL database that speaks PostgreSQL's protocol.
#[derive(Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a node: a cluster of its own, or one more node of the cluster that --join names.
    Start(Start),
    /// Look at the nodes of a cluster, and take one out of service.
    Node(node::Arguments),
    /// Make the certificates of a cluster.
    #[command(subcommand)]
    Cert(cert::Cert),
    /// Look at a node's audit log.
    #[command(subcommand)]
    Audit(audited::Audit),
    /// Say which of a store's files are encrypted, and with which data keys. It needs no key, and the node may be running.
    EncryptionStatus(encryption::Status),
    /// Run a workload against a cluster, and judge whether it keeps its promises.
    #[command(subcommand)]
    Workload(workload::Command),
}

#[derive(clap::Args)]
struct Start {
    /// Where the node keeps its data.
    #[arg(long, value_name = "DIR", default_value = "quorate-data")]
    store: PathBuf,
    /// Where clients connect.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:5433")]
    sql_addr: String,
    /// Makes a Unix socket for clients there, .s.PGSQL.PORT: whoever runs the node is any role, others are the role of
    /// their own name.
    #[arg(long, value_name = "DIR")]
    socket_dir: Option<PathBuf>,
    /// Where other nodes connect.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7433")]
    rpc_addr: String,
    /// Where the other nodes find this one, when that is not --rpc-addr: behind a forwarded port.
    #[arg(long, value_name = "HOST:PORT")]
    advertise_rpc_addr: Option<String>,
    /// Where the console is, and /health, /metrics and /status.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8433")]
    http_addr: String,
    /// Nodes of the cluster to join.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    join: Vec<String>,
    /// Where the node is, the widest tier first, such as region=eu,zone=eu-1: replicas are spread over localities. The tiers of
    /// all nodes are to have the same keys in the same order.
    #[arg(long, value_name = "KEY=VALUE,…", default_value = "")]
    locality: Locality,
    /// Gets the node its certificate from the nodes that --join names, once (quorate cert create-join-token). Not needed
    /// again when the node starts again.
    #[arg(long, value_name = "TOKEN", requires = "join", conflicts_with_all = ["certs_dir", "insecure"])]
    join_token: Option<JoinToken>,
    /// Believe nodes whose certificates do not say which node of which cluster they are for: for certificates of a maker
    /// that cannot name them, and while a cluster gets its bound ones.
    #[arg(long)]
    accept_unbound_certs: bool,
    /// Where ca.crt, node.crt and node.key are: clients are served encrypted, and have to show who they are. SIGHUP
    /// reads them again. Without it, the first node of a cluster makes its own, in certs in its store.
    #[arg(long, value_name = "DIR")]
    certs_dir: Option<PathBuf>,
    /// SQL clients served at a time; more are refused (53300).
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=262_143))]
    max_connections: u32,
    /// The last of them are for superusers.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=262_142))]
    superuser_reserved_connections: u32,
    /// What statements, messages and the writes of open transactions may keep together; more is refused (53200). A quarter
    /// of the memory that the process may have unless it is given.
    #[arg(long, value_name = "BYTES")]
    sql_memory_bytes: Option<usize>,
    /// A client that has not shown by then who it is is let go.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    authentication_timeout: u64,
    /// Ask nobody who they are, whatever the rules say, and allow addresses that others can reach though nothing is
    /// encrypted.
    #[arg(long)]
    insecure: bool,
    /// Start though the log has lost entries it had acknowledged. Only where no other copy of the data is left:
    /// committed writes may be missing afterwards.
    #[arg(long)]
    accept_lost_log: bool,
    /// With less room than this on the disk, rows are read and deleted but no longer written.
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20)]
    disk_reserve_bytes: u64,
    /// A range that grows above this is split.
    #[arg(long, value_name = "BYTES", default_value_t = 512 << 20)]
    range_max_bytes: u64,
    /// A range that serves more batches than this in a second, for ten seconds, is split where they are; 0: none is.
    #[arg(long, value_name = "BATCHES", default_value_t = 2500)]
    range_split_qps: u64,
    /// Neighbours that are small together are merged when neither was split or merged for so many seconds; 0: none are.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    range_merge_after: u64,
    /// Replicas of a node that was not heard of for so many seconds are made anew on others.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    dead_after: u64,
    /// The replicas of a range are compared every so many seconds; 0: only by quorate node check.
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    consistency_check_interval: u64,
    /// What may be read for that in a second.
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20, value_parser = clap::value_parser!(u64).range(1 << 16..))]
    consistency_check_rate: u64,
    /// A transaction that has written more than this by COPY leaves it with the ranges before it commits. What it keeps in
    /// memory counts as --sql-memory-bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 48 << 20)]
    spill_bytes: usize,
    /// A directory whose files COPY, lo_import and lo_export may read and write, for roles that may. Without it there are none.
    #[arg(long, value_name = "DIR")]
    server_files: Option<PathBuf>,
    /// COPY … PROGRAM may run programs of this machine, in the directory of --server-files, for roles that may.
    #[arg(long, requires = "server_files")]
    server_programs: bool,
    #[command(flatten)]
    audit: audited::Flags,
    #[command(flatten)]
    encryption: encryption::Flags,
}

/// Of each thread: what a deep statement needs. Only touched pages count.
const STACK_BYTES: usize = server::THREAD_STACK_BYTES;

fn main() -> ExitCode {
    // SAFETY: sets a number, which threads that run by now read whole.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, FREE_MEMORY_KEPT_MS) };
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return explain(&error),
    };
    let filter = EnvFilter::try_from_env("QUORATE_LOG").unwrap_or_else(|_| EnvFilter::new("info,openraft=error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK_BYTES).build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start threads: {error}")),
    };
    match arguments.command {
        Command::Start(start) => match runtime.block_on(run(start)) {
            Ended::Served(code) => code,
            Ended::Starting => {
                // Whoever is asked for the store's key is not waited for.
                runtime.shutdown_timeout(STARTING_PATIENCE);
                ExitCode::SUCCESS
            }
            Ended::Astray(quiet) => {
                // Nothing is served any more, while the store's files are still being let go of.
                std::thread::scope(|scope| {
                    scope.spawn(quiet);
                    drop(runtime);
                });
                ExitCode::from(CLOCK)
            }
        },
        Command::Node(arguments) => runtime.block_on(node::run(arguments)),
        Command::Workload(command) => runtime.block_on(workload::run(command)),
        Command::Cert(command) => match runtime.block_on(cert::run(&command)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error),
        },
        Command::EncryptionStatus(status) => match encryption::status(&status) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error),
        },
        Command::Audit(command) => match audited::run(&command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error.to_string()),
        },
    }
}

/// Shows the help that was asked for, or says in one line what is wrong with the command line.
fn explain(error: &clap::Error) -> ExitCode {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if let DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand = error.kind() {
        error.exit();
    }
    let text = error.to_string();
    let said: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    eprintln!("quorate: {} (see --help)", said.join("; ").trim_start_matches("error: "));
    ExitCode::from(USAGE)
}

fn complain(what: &str) -> ExitCode {
    eprintln!("quorate: {what}");
    ExitCode::FAILURE
}

/// Each client takes a file, and so does each of the store's: as many as the operating system lets this process have.
fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays");
    }
}

/// How a node has ended.
enum Ended {
    /// It has served, or could not.
    Served(ExitCode),
    /// It was told to stop while it started.
    Starting,
    /// Its clock is wrong. With what stops the background work of its store.
    Astray(Box<dyn FnOnce() + Send>),
}

async fn run(start: Start) -> Ended {
    let mut config = NodeConfig::new(start.store);
    config.sql_addr = start.sql_addr;
    config.socket_dir = start.socket_dir;
    config.rpc_addr = start.rpc_addr;
    config.advertise_rpc_addr = start.advertise_rpc_addr;
    config.http_addr = start.http_addr;
    config.join = start.join;
    config.locality = start.locality;
    config.certs_dir = start.certs_dir;
    config.join_token = start.join_token;
    config.accept_unbound_certs = start.accept_unbound_certs;
    config.authentication_timeout = Duration::from_secs(start.authentication_timeout);
    config.connections_max = start.max_connections as usize;
    config.superuser_reserved = start.superuser_reserved_connections as usize;
    config.sql_memory_bytes = start.sql_memory_bytes.unwrap_or(config.sql_memory_bytes);
    config.insecure = start.insecure;
    config.own_certs = true;
    config.store.accept_lost_log = start.accept_lost_log;
    config.store.engine.disk_reserve_bytes = start.disk_reserve_bytes;
    config.store.range_max_bytes = start.range_max_bytes;
    config.store.range_split_qps = start.range_split_qps;
    config.store.merges = start.range_merge_after > 0;
    config.store.merge_pause = std::time::Duration::from_secs(start.range_merge_after);
    config.store.dead_after = std::time::Duration::from_secs(start.dead_after);
    config.store.consistency_interval = Duration::from_secs(start.consistency_check_interval);
    config.store.consistency_bytes_per_second = start.consistency_check_rate;
    config.kv.spill_bytes = start.spill_bytes;
    config.audit = start.audit.config();
    config.server_files = start.server_files;
    config.server_programs = start.server_programs;
    raise_open_files();
    config.encryption = start.encryption.config();
    // A process that is told to stop while it starts stops at once: nothing is served yet.
    let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(signal) => signal,
        Err(error) => return Ended::Served(complain(&format!("cannot listen for signals: {error}"))),
    };
    // Until the node serves, there is nothing to be read again.
    let mut reload = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) {
        Ok(signal) => signal,
        Err(error) => return Ended::Served(complain(&format!("cannot listen for signals: {error}"))),
    };
    let started = tokio::select! {
        started = Node::start(&config) => started,
        _ = terminate.recv() => return Ended::Starting,
        _ = tokio::signal::ctrl_c() => return Ended::Starting,
    };
    let node = match started {
        Ok(node) => node,
        Err(error) => return Ended::Served(complain(&error.to_string())),
    };
    let sql = node.sql_addr();
    let psql = match node.certs_dir() {
        None => format!("psql -h {} -p {} -U postgres postgres", sql.ip(), sql.port()),
        Some(dir) => format!("psql \"{}\"", server::superuser_conninfo(sql, dir)),
    };
    let password = node.first_password().map_or_else(String::new, |password| {
        format!("  password of postgres, shown this once: {password}\n")
    });
    let greeting = format!(
        "node {} of cluster {}\n  sql   {psql}\n  http  http://{}/status\n{password}",
        node.kv().node_id,
        node.kv().cluster_id,
        node.http_addr(),
    );
    // Whoever started the node may not listen: that is no reason to stop.
    let said = std::io::stdout().write_all(greeting.as_bytes()).and_then(|()| std::io::stdout().flush());
    if said.is_ok() {
        node.password_shown();
    }
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = tokio::signal::ctrl_c() => break,
            Some(()) = reload.recv() => match node.reload_certs() {
                Ok(()) => tracing::info!("certificates read again"),
                Err(error) => tracing::error!(%error, "the certificates at hand stay"),
            },
            // At once: what it would still serve may be wrong.
            Some(reason) = node.kv().store.astray() => {
                complain(&format!("{reason}: the node stops"));
                return Ended::Astray(Box::new(node.kv().store.quiet()));
            }
        }
    }
    tracing::info!("draining");
    node.stop().await;
    Ended::Served(ExitCode::SUCCESS)
}
