//! What the console's endpoints say, whichever node is asked.

use quorate_tests::{connect, http};
use serde_json::{Value, json};

use super::{Three, api, pid_of, rows, until};

#[tokio::test(flavor = "multi_thread")]
async fn every_node_shows_the_whole_cluster() {
    let three = Three::start().await;
    for node in &three.nodes {
        let all_answer = |answer: &Value| {
            rows(answer, "nodes").len() == 3 && rows(answer, "nodes").iter().all(|row| row["answers"] == true && row["live"] == true)
        };
        let answer = until(node, "nodes", all_answer).await;
        assert_eq!(answer["silent"], json!([]));
        for (at, row) in rows(&answer, "nodes").iter().enumerate() {
            assert_eq!(row["id"], at + 1);
            assert!(row["process"]["memory_bytes"].as_u64().unwrap() > 0, "{row}");
            assert!(row["process"]["disk_free_bytes"].as_u64() < row["process"]["disk_total_bytes"].as_u64(), "{row}");
        }
        let series = until(node, "series", |answer| {
            rows(answer, "series").len() == 3 && rows(answer, "series").iter().all(|row| !rows(row, "samples").is_empty())
        });
        series.await;
    }
    let before: u64 = api(&three.nodes[0], "series").await["series"][0]["samples"][0]["at_ms"].as_u64().unwrap();
    let later = api(&three.nodes[0], &format!("series?since={before}")).await;
    assert!(rows(&later["series"][0], "samples").iter().all(|sample| sample["at_ms"].as_u64() > Some(before)));

    // Ranges tile the keyspace, a page at a time.
    let client = connect(&three.nodes[1]).await;
    client.batch_execute("CREATE TABLE tiles (id int PRIMARY KEY, t text); CREATE INDEX by_text ON tiles (t)").await.unwrap();
    client.batch_execute("ALTER TABLE tiles SPLIT AT VALUES (10), (20), (30)").await.unwrap();
    for node in &three.nodes {
        let (mut from, mut end, mut count) = (String::new(), String::new(), 0);
        loop {
            let are_led = |page: &Value| rows(page, "ranges").iter().all(|range| !range["leaseholder"].is_null());
            let page = until(node, &format!("ranges?limit=2&from={from}"), are_led).await;
            for range in rows(&page, "ranges") {
                assert_eq!(range["start_key"], end, "ranges leave no gap: {page}");
                end = range["end_key"].as_str().unwrap().to_owned();
                count += 1;
            }
            match page["next"].as_str() {
                Some(next) => from = next.to_owned(),
                None => break,
            }
        }
        assert_eq!((end.as_str(), count >= 4), ("ffff", true), "{count} ranges");
    }
    let all = api(&three.nodes[2], "ranges?limit=400").await;
    let starts: Vec<&str> = rows(&all, "ranges").iter().filter_map(|range| range["start"].as_str()).collect();
    assert!(starts.contains(&"postgres.public.tiles(20)"), "{starts:?}");
    assert_eq!(starts[0], "start");
    let bad = http::get(three.nodes[0].http_addr(), "/api/v1/ranges?from=zz").await;
    assert_eq!(bad.status, 400);

    // The queues have made the replicas of nodes two and three.
    let queues = api(&three.nodes[2], "queues").await;
    let replicated: u64 = rows(&queues, "queues")
        .iter()
        .flat_map(|node| rows(node, "queues"))
        .filter(|queue| queue["queue"] == "replicate")
        .filter_map(|queue| queue["done"].as_u64())
        .sum();
    assert!(replicated >= 2, "{queues}");
    assert_eq!(rows(&api(&three.nodes[0], "jobs").await, "jobs").iter().filter(|job| job["kind"] == "decommission").count(), 0);
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_gone_is_named() {
    let mut three = Three::start().await;
    let gone = three.nodes.pop().unwrap();
    gone.stop().await;
    drop(gone);
    let answer = until(&three.nodes[0], "sessions", |answer| answer["silent"] == json!([3])).await;
    assert!(rows(&answer, "sessions").is_empty());
    let nodes = api(&three.nodes[1], "nodes").await;
    assert_eq!((rows(&nodes, "nodes").len(), &nodes["nodes"][2]["answers"]), (3, &json!(false)));
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_waited_for_is_shown_with_its_holder() {
    let three = Three::start().await;
    let (holder, waiter) = (connect(&three.nodes[0]).await, connect(&three.nodes[1]).await);
    holder.batch_execute("SET application_name = 'holder'; CREATE TABLE locked (id int PRIMARY KEY, n int)").await.unwrap();
    holder.batch_execute("INSERT INTO locked VALUES (7, 0), (8, 0)").await.unwrap();
    let (held_by, waits) = (pid_of(&holder).await, pid_of(&waiter).await);
    holder.batch_execute("BEGIN; UPDATE locked SET n = 1 WHERE id = 7").await.unwrap();
    let update = tokio::spawn(async move { waiter.batch_execute("UPDATE locked SET n = 2 WHERE id = 7").await });
    for node in &three.nodes {
        let answer = until(node, "locks", |answer| rows(answer, "waits").iter().any(|wait| !wait["behind"].is_null())).await;
        let wait = rows(&answer, "waits").iter().find(|wait| !wait["behind"].is_null()).unwrap();
        assert_eq!((&wait["waiter"]["pid"], &wait["waiter"]["node"]), (&json!(waits), &json!(2)), "{wait}");
        assert_eq!((&wait["behind"]["pid"], &wait["behind"]["node"]), (&json!(held_by), &json!(1)), "{wait}");
        assert_eq!((&wait["behind"]["state"], &wait["behind"]["application"]), (&json!("idle in transaction"), &json!("holder")));
        assert_eq!(wait["key"], "postgres.public.locked(7)", "{wait}");
        // Texts have no literals.
        assert_eq!(wait["waiter"]["query"], "UPDATE locked SET n = $1 WHERE id = $2", "{wait}");
        assert!(rows(&answer, "held").iter().any(|held| held["holder"]["pid"] == held_by), "{answer}");
    }
    holder.batch_execute("COMMIT").await.unwrap();
    update.await.unwrap().unwrap();
    until(&three.nodes[2], "locks", |answer| rows(answer, "waits").is_empty()).await;
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_counted_once_each() {
    let three = Three::start().await;
    let clients = [connect(&three.nodes[0]).await, connect(&three.nodes[1]).await];
    clients[0].batch_execute("CREATE TABLE counted (id int PRIMARY KEY, n int)").await.unwrap();
    for at in 0..30 {
        for (number, client) in clients.iter().enumerate() {
            let id = at * 2 + number as i32;
            // Each by another way: a text with its literals, and a prepared statement.
            client.batch_execute(&format!("INSERT INTO counted VALUES ({id}, {at})")).await.unwrap();
            client.query("SELECT n FROM counted WHERE id = $1", &[&id]).await.unwrap();
        }
    }
    assert!(clients[0].batch_execute("INSERT INTO counted VALUES (0, 0)").await.is_err(), "it is there");
    for node in &three.nodes {
        let answer = api(node, "statements").await;
        let of = |text: &str| {
            let found = rows(&answer, "statements").iter().filter(|row| row["query"] == text).collect::<Vec<_>>();
            assert_eq!(found.len(), 1, "{text}: {answer}");
            found[0].clone()
        };
        let insert = of("INSERT INTO counted VALUES ($1, $2)");
        assert_eq!((&insert["calls"], &insert["rows"], &insert["errors"]), (&json!(60), &json!(60), &json!(1)), "{insert}");
        assert_eq!(insert["nodes"], json!([1, 2]));
        let select = of("SELECT n FROM counted WHERE id = $1");
        assert_eq!((&select["calls"], &select["rows"]), (&json!(60), &json!(60)), "{select}");
        assert!(select["p99_ms"].as_f64() <= select["max_ms"].as_f64() && select["mean_ms"].as_f64() <= select["max_ms"].as_f64());
        assert_eq!((&select["user"], &select["database"]), (&json!("postgres"), &json!("postgres")));
    }
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_statements_are_jobs_and_sessions_are_listed() {
    let (_dir, node, client) = quorate_tests::one_node().await;
    let pid = pid_of(&client).await;
    client.batch_execute("SET application_name = 'builder'; SELECT 'secret'").await.unwrap();
    let answer = api(&node, "sessions").await;
    let session = rows(&answer, "sessions").iter().find(|row| row["pid"] == pid).unwrap();
    assert_eq!((&session["application"], &session["state"], &session["user"]), (&json!("builder"), &json!("idle"), &json!("postgres")));
    assert_eq!(session["query"], "SET application_name = $1; SELECT $2");
    let building = tokio::spawn(async move { client.batch_execute("CREATE TABLE slow AS SELECT pg_sleep(2.5) IS NULL AS a").await });
    let jobs = until(&node, "jobs", |answer| rows(answer, "jobs").iter().any(|job| job["kind"] == "create table")).await;
    let job = rows(&jobs, "jobs").iter().find(|job| job["kind"] == "create table").unwrap();
    assert_eq!((&job["what"], &job["pid"]), (&json!("CREATE TABLE slow AS SELECT pg_sleep($1) IS NULL AS a"), &json!(pid)), "{job}");
    building.await.unwrap().unwrap();
    until(&node, "jobs", |answer| rows(answer, "jobs").iter().all(|job| job["kind"] != "create table")).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_origin_is_let_in() {
    let (_dir, node, _client) = quorate_tests::one_node().await;
    let at = node.http_addr();
    for path in ["/", "/console.js", "/console.css", "/api/v1/nodes", "/favicon.ico"] {
        let answer = http::get(at, path).await;
        assert!([200, 204].contains(&answer.status), "{path}: {}", answer.status);
        let policy = answer.header("content-security-policy").unwrap_or_default().to_owned();
        assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self'"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
        // A name of elsewhere that leads here.
        let rebound = http::request(at, "GET", path, "evil.example", "").await;
        assert_eq!(rebound.status, 421, "{path}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let answer = http::request(at, method, "/api/v1/nodes", &at.to_string(), "{}").await;
        assert_eq!(answer.status, 405, "nothing is changed by {method}");
    }
    // Those of before are served to whoever asks for them, by any name: a load balancer has its own.
    assert_eq!(http::request(at, "GET", "/health", "db.example", "").await.status, 200);
    node.stop().await;
}
