//! The pages of the console and what they read: `/`, `/console.css`, `/console.js` and `/api/v1/…`.
//!
//! Whoever can open the port sees all of it; the port is a loopback address unless the node was told to be insecure. A page of
//! elsewhere in the same browser must not: no other origin is allowed in, and a name that leads here but is not one of this
//! machine (DNS rebinding) is refused.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, Uri, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use keys::{Key, ReplicaKind, TxnId};
use rustc_hash::FxHashMap;
use serde_json::{Value, json};

use super::{
    Console, Gathered, RANGES_MAX, STATEMENTS_MAX,
    report::{Ask, LocksReport, Process, ReplicaReport, Sample, SessionReport, StatementReport, WorkReport},
    series::now_ms,
};

const PAGE: &str = include_str!("page/console.html");
const STYLE: &str = include_str!("page/console.css");
const SCRIPT: &str = include_str!("page/console.js");

/// Nothing but the page's own script, style and requests.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Ranges of one answer, where the page does not say.
const RANGES_A_PAGE: usize = 100;

/// Sessions that run statements of these kinds are jobs once they take longer than a second.
const JOBS: [&str; 12] = [
    "CREATE INDEX", "CREATE UNIQUE INDEX", "ALTER TABLE", "CREATE TABLE", "CREATE MATERIALIZED VIEW", "REFRESH", "REINDEX", "ANALYZE",
    "VACUUM", "COPY", "TRUNCATE", "CLUSTER",
];
const JOB_AFTER_MS: u64 = 1000;

type Shared = State<Arc<Console>>;

/// The routes of the console.
pub(crate) fn routes(console: Arc<Console>) -> Router {
    Router::new()
        .route("/", get(|| async { text("text/html; charset=utf-8", PAGE) }))
        .route("/console.css", get(|| async { text("text/css; charset=utf-8", STYLE) }))
        .route("/console.js", get(|| async { text("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/favicon.ico", get(|| async { StatusCode::NO_CONTENT }))
        .route("/api/v1/nodes", get(nodes))
        .route("/api/v1/series", get(series))
        .route("/api/v1/ranges", get(ranges))
        .route("/api/v1/queues", get(queues))
        .route("/api/v1/statements", get(statements))
        .route("/api/v1/sessions", get(sessions))
        .route("/api/v1/locks", get(locks))
        .route("/api/v1/jobs", get(jobs))
        .with_state(console)
        .layer(from_fn(guard))
}

fn text(kind: &'static str, body: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind)], body)
}

/// Refuses names that are none of this machine's, and sets what browsers are to keep to.
async fn guard(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(is_of_this_machine) {
        return (StatusCode::MISDIRECTED_REQUEST, "open the console by an address, or as localhost\n").into_response();
    }
    let mut response = next.run(request).await;
    let headers: [(HeaderName, &'static str); 5] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// An address in figures, which no other name can lead to, or `localhost`.
fn is_of_this_machine(host: &str) -> bool {
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(address, _)| address),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok()
}

/// A parameter of the query.
fn parameter<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn number(uri: &Uri, name: &str) -> Option<u64> {
    parameter(uri, name)?.parse().ok()
}

impl Console {
    /// Every answer says whose view it is, of when, and which nodes it lacks.
    fn answer_of(&self, silent: &[u64], mut body: Value) -> Json<Value> {
        body["node"] = json!(self.node_id.get());
        body["cluster"] = json!(self.cluster_id.to_string());
        body["at_ms"] = json!(now_ms());
        body["silent"] = json!(silent);
        Json(body)
    }
}

async fn nodes(State(console): Shared) -> Json<Value> {
    let Gathered { answers, silent } = console.gather::<Process>(&Ask::Node).await;
    let processes: FxHashMap<_, _> = answers.into_iter().collect();
    let rows = console.store.node_status().into_iter().map(|(known, live)| {
        let process = processes.get(&known.node_id);
        let info = process.map_or(&known, |process| &process.info);
        json!({
            "id": info.node_id.get(),
            "rpc_addr": info.rpc_addr,
            "sql_addr": info.sql_addr,
            "http_addr": info.http_addr,
            // What another node says of itself in full comes without it.
            "locality": known.parts.locality.to_string(),
            "live": live,
            "answers": process.is_some(),
            "decommissioning": info.leaving,
            "replicas": info.ranges,
            "leases": info.leases,
            "bytes": info.bytes,
            "under_replicated": info.under_replicated,
            "process": process.map(|process| json!({
                "version": process.version,
                "uptime_ms": process.uptime_ms,
                "cores": process.cores,
                "cores_used": process.cores_used,
                "memory_bytes": process.memory_bytes,
                "memory_total_bytes": process.memory_total_bytes,
                "disk_free_bytes": process.disk_free_bytes,
                "disk_total_bytes": process.disk_total_bytes,
                "store_bytes": process.store_bytes,
                "connections": process.connections,
                "fenced": process.fenced,
            })),
        })
    });
    let rows: Vec<Value> = rows.collect();
    console.answer_of(&silent, json!({ "nodes": rows }))
}

async fn series(State(console): Shared, uri: Uri) -> Json<Value> {
    let since_ms = number(&uri, "since").unwrap_or(0);
    let Gathered { answers, silent } = console.gather::<Vec<Sample>>(&Ask::Series { since_ms }).await;
    let rows: Vec<Value> =
        answers.into_iter().map(|(node, samples)| json!({ "node": node.get(), "samples": samples })).collect();
    console.answer_of(&silent, json!({ "series": rows }))
}

/// The key of a page of ranges, in hexadecimal figures.
fn key_of(figures: &str) -> Option<Key> {
    let pairs = figures.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect::<Option<Vec<u8>>>().map(Key::from)
}

fn figures_of(key: &Key) -> String {
    key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn ranges(State(console): Shared, uri: Uri) -> Result<Json<Value>, StatusCode> {
    let from = parameter(&uri, "from").map_or(Some(Key::MIN), key_of).ok_or(StatusCode::BAD_REQUEST)?;
    let limit = number(&uri, "limit").map_or(RANGES_A_PAGE, |limit| limit as usize).clamp(1, RANGES_MAX - 1);
    let ask = Ask::Ranges { from, limit: limit + 1 };
    let Gathered { answers, silent } = console.gather::<Vec<ReplicaReport>>(&ask).await;
    // Whoever leads a range knows it best; otherwise who has heard the latest.
    let mut best: FxHashMap<_, (u64, ReplicaReport)> = FxHashMap::default();
    for (node, report) in answers.into_iter().flat_map(|(node, reports)| reports.into_iter().map(move |it| (node.get(), it))) {
        let rank = |report: &ReplicaReport| (report.leads, report.descriptor.generation);
        match best.entry(report.descriptor.range_id) {
            std::collections::hash_map::Entry::Occupied(known) if rank(&known.get().1) >= rank(&report) => {}
            std::collections::hash_map::Entry::Occupied(mut known) => {
                known.insert((node, report));
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert((node, report));
            }
        }
    }
    let mut sorted: Vec<(u64, ReplicaReport)> = best.into_values().collect();
    sorted.sort_by(|(_, a), (_, b)| a.descriptor.start.cmp(&b.descriptor.start));
    let next = sorted.get(limit).map(|(_, report)| figures_of(&report.descriptor.start));
    sorted.truncate(limit);
    let names = console.names().await;
    let row = |(node, report): &(u64, ReplicaReport)| {
        let range = &report.descriptor;
        let replicas: Vec<Value> = range
            .replicas
            .iter()
            .map(|replica| json!({ "node": replica.node_id.get(), "learner": replica.kind == ReplicaKind::Learner }))
            .collect();
        json!({
            "id": range.range_id.get(),
            "start": names.key(&range.start),
            "end": names.key(&range.end),
            "start_key": figures_of(&range.start),
            "end_key": figures_of(&range.end),
            "generation": range.generation,
            "replicas": replicas,
            "leaseholder": report.leads.then_some(*node),
            "bytes": report.leads.then_some(report.bytes),
            "batches_per_second": report.leads.then_some(report.batches_per_second),
            "healthy": report.healthy,
            "wanted": report.wanted,
        })
    };
    let rows: Vec<Value> = sorted.iter().map(row).collect();
    Ok(console.answer_of(&silent, json!({ "ranges": rows, "next": next })))
}

async fn queues(State(console): Shared) -> Json<Value> {
    let Gathered { answers, silent } = console.gather::<WorkReport>(&Ask::Work).await;
    let under_replicated: u64 = answers.iter().map(|(_, report)| report.under_replicated).sum();
    let rows: Vec<Value> = answers
        .into_iter()
        .map(|(node, report)| json!({ "node": node.get(), "queues": report.queues, "under_way": report.under_way }))
        .collect();
    console.answer_of(&silent, json!({ "queues": rows, "under_replicated": under_replicated }))
}

/// Of all nodes together: the same statement of the same user is one row.
async fn statements(State(console): Shared, uri: Uri) -> Json<Value> {
    let limit = number(&uri, "limit").map_or(100, |limit| limit as usize).clamp(1, STATEMENTS_MAX);
    let ask = Ask::Statements { limit: STATEMENTS_MAX };
    let Gathered { answers, silent } = console.gather::<Vec<StatementReport>>(&ask).await;
    let mut merged: BTreeMap<(String, String, i64), (StatementReport, Vec<u64>)> = BTreeMap::new();
    for (node, row) in answers.into_iter().flat_map(|(node, rows)| rows.into_iter().map(move |row| (node.get(), row))) {
        let key = (row.database.clone(), row.user.clone(), row.query_id);
        match merged.get_mut(&key) {
            Some((known, nodes)) => {
                known.calls += row.calls;
                known.errors += row.errors;
                known.rows += row.rows;
                known.total_ms += row.total_ms;
                known.mean_ms = if known.calls == 0 { 0.0 } else { known.total_ms / known.calls as f64 };
                known.max_ms = known.max_ms.max(row.max_ms);
                // Not the quantile of all, but no less than it.
                known.p99_ms = known.p99_ms.into_iter().chain(row.p99_ms).reduce(f64::max);
                nodes.push(node);
            }
            None => {
                merged.insert(key, (row, vec![node]));
            }
        }
    }
    let mut rows: Vec<(StatementReport, Vec<u64>)> = merged.into_values().collect();
    rows.sort_by(|(a, _), (b, _)| b.total_ms.total_cmp(&a.total_ms));
    rows.truncate(limit);
    let row = |(row, nodes): (StatementReport, Vec<u64>)| {
        json!({
            // As text: a script's numbers have 53 bits.
            "query_id": row.query_id.to_string(),
            "query": row.text,
            "database": row.database,
            "user": row.user,
            "calls": row.calls,
            "errors": row.errors,
            "rows": row.rows,
            "total_ms": row.total_ms,
            "mean_ms": row.mean_ms,
            "max_ms": row.max_ms,
            "p99_ms": row.p99_ms,
            "nodes": nodes,
        })
    };
    let rows: Vec<Value> = rows.into_iter().map(row).collect();
    console.answer_of(&silent, json!({ "statements": rows }))
}

fn session_row(node: u64, session: &SessionReport) -> Value {
    json!({
        "node": node,
        "pid": session.pid,
        "database": session.database,
        "user": session.user,
        "application": session.application,
        "client": session.client,
        "state": session.state,
        "query": session.query,
        "connected_ms": session.connected_ms,
        "transaction_for_ms": session.transaction_for_ms,
        "statement_for_ms": session.statement_for_ms,
        "state_for_ms": session.state_for_ms,
        "txn": session.txn.map(|txn| txn.to_string()),
    })
}

async fn sessions(State(console): Shared) -> Json<Value> {
    let Gathered { answers, silent } = console.gather::<Vec<SessionReport>>(&Ask::Sessions).await;
    let rows = answers.iter().flat_map(|(node, sessions)| sessions.iter().map(|it| session_row(node.get(), it)));
    let rows: Vec<Value> = rows.collect();
    console.answer_of(&silent, json!({ "sessions": rows }))
}

/// Who waits for whom, and what is held.
async fn locks(State(console): Shared) -> Json<Value> {
    let Gathered { answers, silent } = console.gather::<LocksReport>(&Ask::Locks).await;
    let names = console.names().await;
    let sessions: FxHashMap<TxnId, Value> = answers
        .iter()
        .flat_map(|(node, report)| report.sessions.iter().map(|it| (node.get(), it)))
        .filter_map(|(node, session)| Some((session.txn?, session_row(node, session))))
        .collect();
    let of = |txn: Option<TxnId>| match txn {
        None => json!({ "txn": null }),
        Some(txn) => sessions.get(&txn).cloned().unwrap_or_else(|| json!({ "txn": txn.to_string() })),
    };
    let (mut waits, mut held) = (Vec::new(), Vec::new());
    for (node, lock) in answers.iter().flat_map(|(node, report)| report.locks.iter().map(|lock| (node.get(), lock))) {
        let strength = lock.strength.map(|strength| format!("{strength:?}"));
        let mut row = json!({
            "range": lock.range_id,
            "leaseholder": node,
            "key": names.key(&lock.key),
            "strength": strength,
        });
        if lock.is_held {
            row["holder"] = of(lock.txn);
            held.push(row);
        } else {
            row["waiter"] = of(lock.txn);
            row["behind"] = lock.behind.map_or(Value::Null, |behind| of(Some(behind)));
            waits.push(row);
        }
    }
    let keys: u64 = answers.iter().map(|(_, report)| report.keys).sum();
    console.answer_of(&silent, json!({ "waits": waits, "held": held, "keys": keys }))
}

/// What takes long: statements that build or read much, what queues do, nodes that give their replicas away.
async fn jobs(State(console): Shared) -> Json<Value> {
    let (sessions, work) =
        futures::join!(console.gather::<Vec<SessionReport>>(&Ask::Sessions), console.gather::<WorkReport>(&Ask::Work));
    let mut rows = Vec::new();
    for (node, session) in sessions.answers.iter().flat_map(|(node, all)| all.iter().map(|it| (node.get(), it))) {
        let Some(for_ms) = session.statement_for_ms.filter(|for_ms| *for_ms >= JOB_AFTER_MS) else { continue };
        let kind = JOBS.iter().find(|kind| begins_with(&session.query, kind));
        let Some(kind) = kind else { continue };
        rows.push(json!({
            "kind": kind.to_lowercase(),
            "what": session.query,
            "node": node,
            "pid": session.pid,
            "for_ms": for_ms,
            "left": null,
        }));
    }
    for (node, work) in work.answers.iter().flat_map(|(node, report)| report.under_way.iter().map(|it| (node.get(), it))) {
        let to = work.to_store.map_or_else(String::new, |store| format!(" to store {store}"));
        rows.push(json!({
            "kind": work.queue,
            "what": format!("range {}{to}", work.range_id),
            "node": node,
            "pid": null,
            "for_ms": work.for_ms,
            "left": null,
        }));
    }
    for (node, live) in console.store.node_status() {
        if node.leaving && node.ranges > 0 {
            rows.push(json!({
                "kind": "decommission",
                "what": format!("node {}{}", node.node_id.get(), if live { "" } else { ", not heard from" }),
                "node": node.node_id.get(),
                "pid": null,
                "for_ms": null,
                "left": format!("{} replicas", node.ranges),
            }));
        }
    }
    console.answer_of(&sessions.silent, json!({ "jobs": rows }))
}

/// Whether a statement's text begins with these words.
fn begins_with(text: &str, words: &str) -> bool {
    text.get(..words.len()).is_some_and(|start| start.eq_ignore_ascii_case(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_served() {
        for host in ["localhost", "LOCALHOST:8433", "127.0.0.1:8433", "[::1]:8433", "[::1]", "10.0.0.7"] {
            assert!(is_of_this_machine(host), "{host}");
        }
        for host in ["", "evil.example", "evil.example:8433", "127.0.0.1.evil.example", "localhost.evil.example:80", "[evil]:1"] {
            assert!(!is_of_this_machine(host), "{host}");
        }
    }

    #[test]
    fn keys_of_pages_go_there_and_back() {
        for key in [Key::MIN, Key::MAX, Key::from(vec![0, 16, 255])] {
            assert_eq!(key_of(&figures_of(&key)), Some(key));
        }
        for figures in ["x", "0", "zz", "00ä"] {
            assert_eq!(key_of(figures).filter(|_| figures != "0"), None, "{figures}");
        }
    }

    #[test]
    fn parameters_are_found() {
        let uri: Uri = "/api/v1/ranges?from=00ff&limit=7".parse().unwrap();
        assert_eq!((parameter(&uri, "from"), number(&uri, "limit"), number(&uri, "since")), (Some("00ff"), Some(7), None));
    }

    /// The policy forbids what is written into the page; nothing of the script makes markup of a text.
    #[test]
    fn the_page_keeps_to_its_policy() {
        for forbidden in ["<script>", "style=", "onclick", "onload", "http://", "https://"] {
            assert!(!PAGE.contains(forbidden), "{forbidden} in the page");
        }
        for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser", "srcdoc"] {
            assert!(!SCRIPT.contains(forbidden), "{forbidden} in the script");
        }
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"), "the style fetches nothing");
    }
}
