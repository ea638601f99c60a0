//! `cargo xtask catalogue`: which functions, operators, aggregates and casts of PostgreSQL 15 there are, and which are not.
//!
//! The problem: "compatible" is a claim until somebody counts. `docs/sql/postgresql15_catalogue.tsv` has the signatures of
//! PostgreSQL's catalogs, as queries of a PostgreSQL 15 gave them; this command asks a node for its own, and writes
//! `docs/sql/catalogue.md`: counts by kind, and what is missing by family with the reason for it.
//!
//! A signature is a name and the types of its arguments. `anycompatible` and its kin count as `anyelement` and its kin, whose
//! rules this database gives them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::PathBuf;

use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::cluster::{Cluster, Options};
use crate::command::{Error, IoContext, Result};
use crate::{demo, setup};

const SIGNATURES: &str = "docs/sql/postgresql15_catalogue.tsv";
const PAGE: &str = "docs/sql/catalogue.md";

#[derive(clap::Args)]
pub struct Arguments {
    /// Ask this server (`host=… port=… user=…`) instead of a node started for it.
    #[arg(long)]
    server: Option<String>,
    /// Start this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Compare with the page and fail where it would change, instead of writing it.
    #[arg(long)]
    check: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Signature {
    kind: char,
    name: String,
    args: Vec<String>,
}

/// Kinds as the signatures' file has them.
const KINDS: [(char, &str); 6] = [
    ('f', "functions"),
    ('a', "aggregates"),
    ('w', "window functions"),
    ('p', "procedures"),
    ('o', "operators"),
    ('c', "casts"),
];

/// A family of what may be missing: how it is told, and why it is not there.
struct Family {
    name: &'static str,
    reason: &'static str,
    holds: fn(&Signature) -> bool,
}

fn has_type(signature: &Signature, names: &[&str]) -> bool {
    signature.args.iter().any(|arg| names.contains(&arg.trim_end_matches("[]")))
}

fn begins(signature: &Signature, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| signature.name.starts_with(prefix))
}

fn is_one(signature: &Signature, names: &[&str]) -> bool {
    names.contains(&signature.name.as_str())
}

/// The first that holds is the one.
const FAMILIES: &[Family] = &[
    Family {
        name: "text search",
        reason: "text search is there as far as differences.md says",
        holds: |it| {
            has_type(it, &["tsvector", "tsquery", "gtsvector", "regconfig", "regdictionary"])
                || begins(it, &["ts_", "to_ts", "plainto_ts", "phraseto_ts", "websearch_to_ts", "json_to_ts", "get_current_ts"])
                || it.name == "@@" && has_type(it, &["text"])
        },
    },
    Family {
        name: "xml",
        reason: "the type xml does not exist yet",
        holds: |it| has_type(it, &["xml"]) || it.name.contains("xml") || begins(it, &["xpath"]),
    },
    Family {
        name: "jsonpath",
        reason: "jsonpath exists as far as differences.md says",
        holds: |it| has_type(it, &["jsonpath"]),
    },
    Family {
        name: "large objects",
        reason: "there are no large objects: a bytea holds a gigabyte",
        holds: |it| begins(it, &["lo_", "loread", "lowrite"]),
    },
    Family {
        name: "the log, backups and replication",
        reason: "the log is that of Raft: it has no positions of PostgreSQL's, no slots and no standbys",
        holds: |it| {
            begins(it, &[
                "pg_replication_", "pg_logical_", "pg_create_", "pg_drop_replication", "pg_copy_", "pg_wal", "pg_switch_wal",
                "pg_backup_", "pg_current_wal", "pg_last_", "pg_is_wal", "pg_is_in_", "pg_get_wal", "pg_get_replication",
                "pg_promote", "pg_split_wal", "pg_show_replication", "pg_sync_",
            ])
        },
    },
    Family {
        name: "files and the process of a server",
        reason: "a cluster has many servers, whose files are not read through SQL",
        holds: |it| {
            begins(it, &[
                "pg_ls_", "pg_read_", "pg_stat_file", "pg_rotate_", "pg_control_", "pg_config", "pg_hba_", "pg_ident_file",
                "pg_reload_conf", "pg_current_logfile", "pg_show_all_file", "pg_get_shmem", "pg_get_backend_memory",
                "pg_log_backend", "pg_jit_", "pg_nextoid", "pg_filenode", "pg_relation_filenode", "pg_relation_filepath",
                "pg_import_system", "pg_logdir",
            ])
        },
    },
    Family {
        name: "counters of the statistics collector",
        reason: "what nodes count is in the metrics of their HTTP port and in the views that differences.md names",
        holds: |it| begins(it, &["pg_stat_", "pg_lock_status", "pg_isolation_", "pg_safe_snapshot", "pg_notification_queue"]),
    },
    Family {
        name: "upgrades in place",
        reason: "there is nothing of PostgreSQL's to upgrade",
        holds: |it| begins(it, &["binary_upgrade_", "fmgr_", "pg_extension_", "pg_event_trigger", "pg_upgrade"]),
    },
    Family {
        name: "access methods",
        reason: "indexes are ordered keys and inverted lists; GiST, SP-GiST, BRIN and hash indexes do not exist",
        holds: |it| {
            begins(it, &["brin_", "gin_", "gist_", "gist", "spg_", "amvalidate", "bthandler", "btequalimage", "btvarstr"])
                || begins(it, &["pg_indexam_", "pg_index_has", "pg_index_column_has"])
                || begins(it, &["in_range"])
        },
    },
    Family {
        name: "hash functions",
        reason: "values are hashed otherwise than in PostgreSQL",
        holds: |it| it.name.starts_with("hash") || it.name.contains("_hash") || it.name.contains("hashextended"),
    },
    Family {
        name: "steps of aggregates",
        reason: "aggregates keep their state in memory of their own, not in SQL values",
        holds: |it| {
            ["_accum", "_combine", "_transfn", "_finalfn", "_inv", "_statefunc", "_serialize", "_deserialize"]
                .iter()
                .any(|part| it.name.contains(part))
                || begins(it, &["float8_", "int2_", "int4_", "int8_", "int2int4_", "int8inc", "int8dec", "interval_avg", "numeric_avg"])
        },
    },
    Family {
        name: "encodings",
        reason: "there is one encoding, UTF-8",
        holds: |it| begins(it, &["convert", "pg_encoding", "pg_char_to", "to_ascii"]) || it.args.len() == 2 && it.name == "length",
    },
    Family {
        name: "types of system columns and access lists",
        reason: "tid, cid, aclitem, pg_snapshot and the types of extended statistics do not exist",
        holds: |it| {
            has_type(it, &[
                "tid", "cid", "aclitem", "pg_snapshot", "txid_snapshot", "pg_ndistinct", "pg_dependencies", "pg_mcv_list",
                "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary", "refcursor", "regcollation",
            ]) || begins(it, &["txid_", "pg_snapshot", "pg_current_snapshot", "pg_xact_", "pg_current_xact", "pg_visible"])
                || begins(it, &["makeaclitem", "aclexplode", "acldefault"])
        },
    },
    Family {
        name: "in the grammar",
        reason: "these calls work; the binder serves them by name, and no row of pg_proc names them",
        holds: |it| {
            it.kind == 'w'
                || begins(it, &["pg_advisory_", "pg_try_advisory", "percentile_", "rank", "dense_rank", "percent_rank", "cume_dist", "mode"])
                || is_one(it, &[
                    "nextval", "currval", "lastval", "setval", "pg_notify", "pg_listening_channels", "pg_sleep", "pg_sleep_for",
                    "pg_sleep_until", "pg_collation_for", "current_query", "pg_cursor", "pg_prepared_statement", "pg_prepared_xact",
                    "pg_show_all_settings", "json_to_record", "json_to_recordset", "jsonb_to_record", "jsonb_to_recordset",
                    "json_populate_record", "json_populate_recordset", "jsonb_populate_record", "jsonb_populate_recordset",
                ])
        },
    },
];

const OTHER: &str = "others";

pub fn run(arguments: &Arguments) -> Result {
    let theirs = read_signatures()?;
    let ours = match &arguments.server {
        Some(server) => ask(server)?,
        None => {
            setup::for_bench()?;
            let binary = match &arguments.binary {
                Some(binary) => binary.clone(),
                None => demo::build()?,
            };
            let scratch = std::env::temp_dir().join(format!("quorate-catalogue-{}", std::process::id()));
            let cluster = Cluster::start(&Options { binary: &binary, dir: &scratch, nodes: 1, base_port: None, flags: &[] })?;
            let found = ask(&format!("host=127.0.0.1 port={} user=postgres dbname=postgres", cluster.nodes[0].sql.port()));
            drop(cluster);
            let _ = fs::remove_dir_all(&scratch);
            found?
        }
    };
    let page = page(&theirs, &ours);
    if arguments.check {
        let kept = fs::read_to_string(PAGE).context(format!("reading {PAGE}"))?;
        if kept != page {
            println!("{PAGE} is not what `cargo xtask catalogue` writes");
            return Err(Error::Checks { failed: 1 });
        }
        return Ok(());
    }
    fs::write(PAGE, &page).context(format!("writing {PAGE}"))?;
    println!("{}", page.lines().skip(2).take_while(|line| !line.starts_with("##")).collect::<Vec<_>>().join("\n"));
    Ok(())
}

/// The polymorphic types of PostgreSQL 13 as those before them.
fn normal(ty: &str) -> String {
    let ty = ty.replace("\"any\"", "anyelement").replace("anycompatible", "any").replace("anynonarray", "anyelement");
    if ty == "any" { "anyelement".to_owned() } else { ty }
}

fn signature(kind: char, name: &str, args: Vec<&str>) -> Signature {
    Signature { kind, name: name.to_owned(), args: args.into_iter().map(normal).collect() }
}

fn read_signatures() -> Result<BTreeSet<Signature>> {
    let text = fs::read_to_string(SIGNATURES).context(format!("reading {SIGNATURES}"))?;
    let mut found = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let (Some(kind), [_, name, args, ..]) = (line.chars().next(), fields.as_slice()) else {
            return Err(io::Error::other(format!("no signature: {line}"))).context(format!("reading {SIGNATURES}"));
        };
        found.insert(signature(kind, name, args.split(',').filter(|arg| !arg.is_empty()).collect()));
    }
    Ok(found)
}

/// What a server's catalogs list.
fn ask(server: &str) -> Result<BTreeSet<Signature>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting a runtime")?;
    runtime.block_on(async {
        let what = || format!("asking {server}");
        let (client, connection) = tokio_postgres::connect(server, NoTls).await.map_err(io::Error::other).context(what())?;
        tokio::spawn(connection);
        let rows = async |query: &str| -> Result<Vec<Vec<String>>> {
            let messages = client.simple_query(query).await.map_err(io::Error::other).context(what())?;
            let row = |message| match message {
                SimpleQueryMessage::Row(row) => {
                    Some((0..row.len()).map(|at| row.get(at).unwrap_or_default().to_owned()).collect())
                }
                _ => None,
            };
            Ok(messages.into_iter().filter_map(row).collect())
        };
        let types: HashMap<String, String> = rows("select oid, format_type(oid, null) from pg_type")
            .await?
            .into_iter()
            .map(|row| (row[0].clone(), row[1].clone()))
            .collect();
        let named = |oid: &str| types.get(oid).map_or("-", String::as_str);
        let mut found = BTreeSet::new();
        for row in rows("select prokind, proname, proargtypes from pg_proc").await? {
            let args = row[2].split_ascii_whitespace().map(named).collect();
            found.insert(signature(row[0].chars().next().unwrap_or('f'), &row[1], args));
        }
        for row in rows("select oprname, oprleft, oprright from pg_operator").await? {
            let args = row[1..].iter().filter(|oid| *oid != "0").map(|oid| named(oid)).collect();
            found.insert(signature('o', &row[0], args));
        }
        for row in rows("select castsource, casttarget from pg_cast").await? {
            found.insert(signature('c', "", row.iter().map(|oid| named(oid)).collect()));
        }
        Ok(found)
    })
}

fn shown(signature: &Signature) -> String {
    match (signature.kind, signature.args.as_slice()) {
        ('o', [right]) => format!("`{} {right}`", signature.name),
        ('o', [left, right]) => format!("`{left} {} {right}`", signature.name),
        ('c', [from, to]) => format!("`{from}::{to}`"),
        (_, args) => format!("`{}({})`", signature.name, args.join(", ")),
    }
}

fn page(theirs: &BTreeSet<Signature>, ours: &BTreeSet<Signature>) -> String {
    let missing: Vec<&Signature> = theirs.difference(ours).collect();
    let mut page = String::from(
        "# What PostgreSQL 15 has and this database has not\n\n\
         Written by `cargo xtask catalogue` from `postgresql15_catalogue.tsv` and the catalogs of a node. A signature is a name \
         with the types\nof its arguments. Functions that no SQL value can be given to (over `internal` and `cstring`, triggers, \
         handlers) are not counted.\n\n| kind | PostgreSQL | here | missing |\n| --- | ---: | ---: | ---: |\n",
    );
    for (kind, name) in KINDS {
        let all = theirs.iter().filter(|it| it.kind == kind).count();
        let lost = missing.iter().filter(|it| it.kind == kind).count();
        let _ = writeln!(page, "| {name} | {all} | {} | {lost} |", all - lost);
    }
    let mut families: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for signature in &missing {
        let family = FAMILIES.iter().position(|family| (family.holds)(signature)).unwrap_or(FAMILIES.len());
        families.entry(family).or_default().push(shown(signature));
    }
    for (at, signatures) in families {
        let (name, reason) = FAMILIES.get(at).map_or((OTHER, "not built yet"), |family| (family.name, family.reason));
        let _ = write!(page, "\n## {name}: {}\n{reason}.\n\n{}\n", signatures.len(), signatures.join(", "));
    }
    page
}
