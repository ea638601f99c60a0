//! BACKUP, RESTORE and jobs, over sessions and nodes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quorate_tests::{config, connect, connect_as, connect_to, one_node, replicated};
use server::Node;
use tempfile::TempDir;
use tokio_postgres::{Client, SimpleQueryMessage, error::SqlState};

const KINDS: &str = include_str!("backup/kinds.sql");
/// What is compared before and after.
const LOOK: &str = include_str!("backup/look.sql");

pub(crate) async fn code(client: &Client, sql: &str) -> Option<SqlState> {
    client.batch_execute(sql).await.err().and_then(|error| error.code().cloned())
}

/// The answer's rows, as text.
pub(crate) async fn rows(client: &Client, sql: &str) -> Vec<Vec<Option<String>>> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let row = |message: SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()),
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

pub(crate) async fn number(client: &Client, sql: &str) -> i64 {
    rows(client, sql).await[0][0].as_deref().expect("a number").parse().expect("a number")
}

async fn looked(client: &Client) -> Vec<(String, Vec<Vec<Option<String>>>)> {
    let mut found = Vec::new();
    for sql in LOOK.lines().filter(|line| !line.trim().is_empty()) {
        found.push((sql.to_owned(), rows(client, sql).await));
    }
    found
}

pub(crate) fn location(dir: &TempDir, name: &str) -> String {
    format!("file://{}/{name}", dir.path().display())
}

pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { todo.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

pub(crate) async fn until_status(client: &Client, job: &str, wanted: &[&str]) -> String {
    let began = Instant::now();
    loop {
        let found = rows(client, &format!("SHOW JOB {job}")).await;
        let status = found[0][4].clone().unwrap();
        if wanted.contains(&status.as_str()) {
            return status;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "job {job} is {status}: {:?}", found[0]);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Every kind of object and its rows are the same in the restored database, and work.
#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_object_round_trips() {
    let (dir, node, client) = one_node().await;
    client.batch_execute("CREATE DATABASE shop").await.unwrap();
    let shop = connect_to(&node, "shop").await;
    shop.batch_execute(KINDS).await.unwrap();
    let before = looked(&shop).await;
    let uri = location(&dir, "b");
    let answer = rows(&client, &format!("BACKUP DATABASE shop INTO '{uri}'")).await;
    assert_eq!(answer[0][1].as_deref(), Some("succeeded"));
    let shown = rows(&client, &format!("SHOW BACKUP FROM LATEST IN '{uri}'")).await;
    assert!(shown.iter().any(|row| row[2].as_deref() == Some("orders") && row[8].as_deref() == Some("300")), "{shown:?}");
    assert_eq!(rows(&client, &format!("VERIFY BACKUP LATEST IN '{uri}'")).await.len(), 1);
    assert_eq!(code(&client, &format!("RESTORE DATABASE shop FROM LATEST IN '{uri}'")).await, Some(SqlState::DUPLICATE_DATABASE));
    client.batch_execute(&format!("RESTORE DATABASE shop FROM LATEST IN '{uri}' WITH new_db_name = 'copy'")).await.unwrap();
    let copy = connect_to(&node, "copy").await;
    for ((sql, before), (_, after)) in before.iter().zip(looked(&copy).await) {
        assert_eq!(*before, after, "{sql}");
    }
    // What was restored works, and is apart from what it was restored from.
    for (sql, expected) in [
        ("INSERT INTO app.customers (name) VALUES ('new') RETURNING noted", "1"),
        ("INSERT INTO app.orders (customer, amount) VALUES (1, 5) RETURNING total", "10"),
        ("WITH gone AS (DELETE FROM app.customers WHERE id = 2 RETURNING 1) SELECT count(*) FROM gone", "1"),
        ("SELECT count(*) FROM app.orders WHERE customer = 2", "0"),
        ("INSERT INTO s (x) VALUES (8) RETURNING (id > 7)::int", "1"),
    ] {
        assert_eq!(rows(&copy, sql).await[0][0].as_deref(), Some(expected), "{sql}");
    }
    for (sql, expected) in [
        ("INSERT INTO app.orders (customer, amount) VALUES (1, -5)", SqlState::CHECK_VIOLATION),
        ("INSERT INTO app.orders (customer, amount) VALUES (100000, 5)", SqlState::FOREIGN_KEY_VIOLATION),
        ("INSERT INTO app.orders (customer, amount, j) VALUES (1, 5, '{\"m\":\"sad\"}')", SqlState::CHECK_VIOLATION),
    ] {
        assert_eq!(code(&copy, sql).await, Some(expected), "{sql}");
    }
    copy.batch_execute("ALTER TYPE app.mood ADD VALUE 'angry'").await.unwrap();
    copy.batch_execute(
        "UPDATE app.customers SET mood = 'angry' WHERE id = 1;
         REFRESH MATERIALIZED VIEW app.sums; DROP VIEW app.happy; DROP TABLE app.parts",
    )
    .await
    .unwrap();
    for ((sql, before), (_, after)) in before.iter().zip(looked(&shop).await) {
        assert_eq!(*before, after, "of the database that was backed up: {sql}");
    }
    client.batch_execute("DROP DATABASE copy").await.unwrap();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_restored_with_what_they_need() {
    let (dir, node, client) = one_node().await;
    client.batch_execute("CREATE DATABASE shop; CREATE DATABASE other").await.unwrap();
    let (shop, other) = (connect_to(&node, "shop").await, connect_to(&node, "other").await);
    shop.batch_execute(KINDS).await.unwrap();
    let uri = location(&dir, "b");
    shop.batch_execute(&format!("BACKUP TABLE app.orders, app.customers, app.parts INTO '{uri}'")).await.unwrap();
    let restore = format!("RESTORE TABLE app.orders FROM LATEST IN '{uri}' WITH into_db = 'other'");
    assert_eq!(code(&shop, &restore).await, Some(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE), "a foreign key");
    let restore = format!("{restore}, skip_missing_foreign_keys");
    assert_eq!(code(&shop, &restore).await, Some(SqlState::INVALID_SCHEMA_NAME));
    other.batch_execute("CREATE SCHEMA app").await.unwrap();
    shop.batch_execute(&restore).await.unwrap();
    assert_eq!(number(&other, "SELECT count(*) FROM app.orders").await, 300);
    assert_eq!(code(&other, "INSERT INTO app.orders (customer, amount) VALUES (7, -1)").await, Some(SqlState::CHECK_VIOLATION));
    other.batch_execute("INSERT INTO app.orders (customer, amount) VALUES (7, 1)").await.unwrap();
    assert!(code(&shop, &restore).await.is_some(), "the names are taken");
    // In place of what is gone: the types that are there still are used.
    shop.batch_execute("DROP TABLE app.parts").await.unwrap();
    shop.batch_execute(&format!("RESTORE TABLE app.parts FROM LATEST IN '{uri}'")).await.unwrap();
    assert_eq!(number(&shop, "SELECT count(*) FROM app.parts2").await, 101);
    node.stop().await;
}

/// Money moves all the time; at each time that is restored there is as much of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_bank_is_whole_at_every_time() {
    let (dir, node, client) = one_node().await;
    client.batch_execute("CREATE DATABASE bank").await.unwrap();
    let bank = connect_to(&node, "bank").await;
    bank.batch_execute("CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL); CREATE INDEX ON accounts (balance);
        INSERT INTO accounts SELECT n, 100 FROM generate_series(1, 200) n; ALTER TABLE accounts SPLIT AT VALUES (70), (140);
        CREATE TABLE log (id serial PRIMARY KEY, what text)")
        .await
        .unwrap();
    let uri = location(&dir, "b");
    let mut movers = Vec::new();
    for seed in 0..3_i32 {
        let mover = connect_to(&node, "bank").await;
        movers.push(tokio::spawn(async move {
            for n in 0_i32.. {
                let (from, to) = ((n * 7 + seed * 31) % 200 + 1, (n * 13 + seed * 57) % 200 + 1);
                let sql = format!(
                    "BEGIN; UPDATE accounts SET balance = balance - 1 WHERE id = {from};
                     UPDATE accounts SET balance = balance + 1 WHERE id = {to}; INSERT INTO log (what) VALUES ('{from}-{to}'); COMMIT"
                );
                if mover.batch_execute(&sql).await.is_err() {
                    let _ = mover.batch_execute("ROLLBACK").await;
                }
            }
        }));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut moments = Vec::new();
    client.batch_execute(&format!("BACKUP DATABASE bank INTO '{uri}'")).await.unwrap();
    for round in 0..3 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = rows(&client, "SELECT (extract(epoch from clock_timestamp()) * 1000000)::bigint").await[0][0].clone().unwrap();
        let count = number(&bank, &format!("SELECT count(*) FROM log AS OF SYSTEM TIME '{now}000'")).await;
        moments.push((now, count));
        tokio::time::sleep(Duration::from_millis(200)).await;
        if round == 1 {
            bank.batch_execute("ALTER TABLE accounts SPLIT AT VALUES (100); ALTER TABLE log ADD COLUMN extra int DEFAULT 5").await.unwrap();
        }
        client.batch_execute(&format!("BACKUP DATABASE bank INTO LATEST IN '{uri}' WITH revision_history")).await.unwrap();
    }
    movers.iter().for_each(|mover| mover.abort());
    assert_eq!(rows(&client, &format!("VERIFY BACKUP LATEST IN '{uri}'")).await[0][1].as_deref(), Some("4"));
    client.batch_execute(&format!("RESTORE DATABASE bank FROM LATEST IN '{uri}' WITH new_db_name = 'last'")).await.unwrap();
    for (at, (time, logged)) in moments.iter().enumerate() {
        let name = format!("then{at}");
        client
            .batch_execute(&format!(
                "RESTORE DATABASE bank FROM LATEST IN '{uri}' AS OF SYSTEM TIME '{time}000' WITH new_db_name = '{name}'"
            ))
            .await
            .unwrap();
        let then = connect_to(&node, &name).await;
        assert_eq!(number(&then, "SELECT sum(balance) FROM accounts").await, 20_000);
        assert_eq!(number(&then, "SELECT count(*) FROM log").await, *logged, "at {time}");
        let by_index = "SELECT sum(balance) FROM accounts WHERE balance > -100000";
        assert_eq!(number(&then, by_index).await, 20_000);
        let columns = number(&then, "SELECT count(*) FROM pg_attribute WHERE attrelid = 'log'::regclass AND attnum > 0").await;
        assert_eq!(columns, if at < 2 { 2 } else { 3 });
    }
    let last = connect_to(&node, "last").await;
    assert_eq!(number(&last, "SELECT sum(balance) FROM accounts").await, 20_000);
    assert_eq!(
        code(&client, &format!("RESTORE DATABASE bank FROM LATEST IN '{uri}' AS OF SYSTEM TIME '-1h' WITH new_db_name = 'x'")).await,
        Some(SqlState::INVALID_PARAMETER_VALUE)
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_anywhere_is_found() {
    let (dir, node, client) = one_node().await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT n, 'v' || n FROM generate_series(1, 500) n; CREATE INDEX ON t (v)").await.unwrap();
    for passphrase in ["", " WITH encryption_passphrase = 'secret'"] {
        let name = if passphrase.is_empty() { "plain" } else { "sealed" };
        let uri = location(&dir, name);
        client.batch_execute(&format!("BACKUP TABLE t INTO '{uri}'{passphrase}")).await.unwrap();
        client.batch_execute("UPDATE t SET v = 'w' || id WHERE id < 20").await.unwrap();
        client.batch_execute(&format!("BACKUP TABLE t INTO LATEST IN '{uri}'{passphrase}")).await.unwrap();
        let all = files(&dir.path().join(name));
        // Manifests and data of two backups, and how they are sealed.
        assert!(all.len() >= 5, "{all:?}");
        for file in all {
            let good = std::fs::read(&file).unwrap();
            for at in [0, good.len() / 2, good.len() - 1] {
                let mut bent = good.clone();
                bent[at] ^= 0x20;
                std::fs::write(&file, &bent).unwrap();
                let error = client.batch_execute(&format!("VERIFY BACKUP LATEST IN '{uri}'{passphrase}")).await;
                let error = error.expect_err(&format!("{} at {at}", file.display()));
                let found = error.as_db_error().unwrap();
                let is_named = found.message().contains(file.file_name().unwrap().to_str().unwrap());
                let is_right = matches!(found.code().code(), "XX001" | "58030") && is_named;
                // The proof of the passphrase is what is bent.
                let is_key = file.ends_with("ENCRYPTION") && found.code().code() == "28P01";
                assert!(is_right || is_key, "{} at {at}: {found:?}", file.display());
            }
            if !file.ends_with("ENCRYPTION") && !file.ends_with("MANIFEST") {
                let mut bent = good.clone();
                bent[good.len() / 2] ^= 1;
                std::fs::write(&file, &bent).unwrap();
                client.batch_execute("CREATE DATABASE d").await.unwrap();
                let with = if passphrase.is_empty() { " WITH into_db = 'd'".to_owned() } else { format!("{passphrase}, into_db = 'd'") };
                let failed = code(&client, &format!("RESTORE TABLE t FROM LATEST IN '{uri}'{with}")).await;
                assert_eq!(failed.as_ref().map(SqlState::code), Some("XX001"));
                let d = connect_to(&node, "d").await;
                assert_eq!(number(&d, "SELECT count(*) FROM pg_class WHERE relname = 't'").await, 0);
                drop(d);
                client.batch_execute("DROP DATABASE d").await.unwrap();
                std::fs::remove_file(&file).unwrap();
                assert_eq!(code(&client, &format!("VERIFY BACKUP LATEST IN '{uri}'{passphrase}")).await, Some(SqlState::IO_ERROR));
            }
            std::fs::write(&file, &good).unwrap();
        }
        client.batch_execute(&format!("VERIFY BACKUP LATEST IN '{uri}'{passphrase}")).await.unwrap();
        // A later version's.
        let manifest = files(&dir.path().join(name)).into_iter().find(|file| file.ends_with("MANIFEST") && !file.to_str().unwrap().contains("incrementals")).unwrap();
        let mut later = std::fs::read(&manifest).unwrap();
        later[4] = 2;
        std::fs::write(&manifest, later).unwrap();
        let refused = code(&client, &format!("SHOW BACKUP FROM LATEST IN '{uri}'{passphrase}")).await;
        assert_eq!(refused, Some(SqlState::FEATURE_NOT_SUPPORTED));
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passphrases_privileges_and_locations() {
    let (dir, node, client) = one_node().await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); CREATE ROLE u LOGIN; CREATE TABLE mine (a int); ALTER TABLE mine OWNER TO u").await.unwrap();
    let uri = location(&dir, "b");
    client.batch_execute(&format!("BACKUP TABLE t INTO '{uri}' WITH encryption_passphrase = 'right'")).await.unwrap();
    for file in files(&dir.path().join("b")) {
        assert!(!std::fs::read(file).unwrap().windows(5).any(|bytes| bytes == b"right"));
    }
    for (sql, expected) in [
        (format!("SHOW BACKUP LATEST IN '{uri}' WITH encryption_passphrase = 'wrong'"), "28P01"),
        (format!("SHOW BACKUP LATEST IN '{uri}'"), "22023"),
        (format!("RESTORE TABLE t FROM LATEST IN '{uri}' WITH encryption_passphrase = 'wrong'"), "28P01"),
        (format!("BACKUP TABLE t INTO LATEST IN '{uri}'"), "22023"),
        (format!("BACKUP TABLE mine INTO LATEST IN '{uri}' WITH encryption_passphrase = 'right'"), "55000"),
        (format!("BACKUP TABLE nothing INTO '{uri}'"), "42P01"),
        (format!("BACKUP DATABASE nothing INTO '{uri}'"), "3D000"),
        (format!("BACKUP TABLE t INTO '{uri}' WITH kms = 'x'"), "0A000"),
        (format!("BACKUP TABLE t INTO '{uri}' WITH nothing"), "42601"),
        (format!("BACKUP TABLE t INTO '{uri}' AS OF SYSTEM TIME '+1h'"), "22023"),
        (format!("BEGIN; BACKUP TABLE t INTO '{uri}'"), "25001"),
        ("BACKUP INTO 's3://bucket/x?AWS_SECRET_ACCESS_KEY=k'".to_owned(), "0A000"),
        ("BACKUP INTO 'ftp://x'".to_owned(), "22023"),
        ("BACKUP INTO '/tmp/x'".to_owned(), "22023"),
        ("BACKUP INTO 'file:///proc/nothing'".to_owned(), "58030"),
        ("SHOW BACKUPS IN 'file:///nonexistent'".to_owned(), "58P01"),
        (format!("SHOW BACKUP FROM '2020/01/01-000000.000000' IN '{uri}'"), "58P01"),
        (format!("RESTORE FROM LATEST IN '{uri}' WITH encryption_passphrase = 'right'"), "55000"),
        (format!("RESTORE DATABASE postgres FROM LATEST IN '{uri}' WITH encryption_passphrase = 'right', new_db_name = 'x'"), "55000"),
        (format!("RESTORE TABLE nothing FROM LATEST IN '{uri}' WITH encryption_passphrase = 'right'"), "42P01"),
        (format!("RESTORE TABLE t FROM LATEST IN '{uri}' WITH encryption_passphrase = 'right'"), "42P07"),
        ("SHOW JOB 123456".to_owned(), "42704"),
        ("PAUSE JOB 1".to_owned(), "55000"),
    ] {
        let found = code(&client, &sql).await;
        assert_eq!(found.as_ref().map(SqlState::code), Some(expected), "{sql}");
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    let jobs = rows(&client, "SHOW JOBS").await;
    assert!(jobs.iter().all(|job| !job[2].as_deref().unwrap().contains("right")), "{jobs:?}");
    let user = connect_as(&node, "u", "postgres").await;
    let denied = Some(SqlState::INSUFFICIENT_PRIVILEGE);
    assert_eq!(code(&user, &format!("BACKUP TABLE mine INTO '{uri}'")).await, denied);
    client.batch_execute("GRANT pg_write_server_files, pg_read_server_files TO u").await.unwrap();
    let own = location(&dir, "own");
    user.batch_execute(&format!("BACKUP TABLE mine INTO '{own}'")).await.unwrap();
    for sql in [
        format!("BACKUP TABLE t INTO '{own}'"),
        format!("BACKUP INTO '{own}'"),
        format!("BACKUP DATABASE postgres INTO '{own}'"),
        format!("RESTORE TABLE mine FROM LATEST IN '{own}'"),
        "CANCEL JOB 1".to_owned(),
        "SHOW JOB 1".to_owned(),
    ] {
        assert_eq!(code(&user, &sql).await, denied, "{sql}");
    }
    assert_eq!(rows(&user, "SHOW JOBS").await.len(), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_paused_resumed_and_cancelled() {
    let (dir, node, client) = one_node().await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 6000) n; ALTER TABLE t SPLIT AT VALUES (1000), (2000), (3000), (4000), (5000)").await.unwrap();
    let uri = location(&dir, "b");
    let begin = format!("BACKUP TABLE t INTO '{uri}' WITH detached, rate_limit = '2MB'");
    let job = rows(&client, &begin).await[0][0].clone().unwrap();
    client.batch_execute(&format!("PAUSE JOB {job}")).await.unwrap();
    until_status(&client, &job, &["paused"]).await;
    assert!(rows(&client, &format!("SHOW BACKUPS IN '{uri}'")).await.is_empty());
    client.batch_execute("UPDATE t SET v = 'new'").await.unwrap();
    client.batch_execute(&format!("RESUME JOB {job}")).await.unwrap();
    until_status(&client, &job, &["succeeded"]).await;
    client.batch_execute("CREATE DATABASE d").await.unwrap();
    client.batch_execute(&format!("RESTORE TABLE t FROM LATEST IN '{uri}' WITH into_db = 'd'")).await.unwrap();
    let d = connect_to(&node, "d").await;
    assert_eq!(number(&d, "SELECT count(*) FROM t WHERE length(v) = 1000").await, 6000);
    let job = rows(&client, &begin).await[0][0].clone().unwrap();
    client.batch_execute(&format!("CANCEL JOB {job}")).await.unwrap();
    until_status(&client, &job, &["canceled"]).await;
    assert_eq!(rows(&client, &format!("SHOW BACKUPS IN '{uri}'")).await.len(), 1);
    assert_eq!(code(&client, &format!("RESUME JOB {job}")).await, Some(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE));
    node.stop().await;
}

/// Two backups as of one time would have the same directory: the later one is refused, and takes nothing away.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_backup_of_the_same_time_is_refused() {
    let (dir, node, client) = one_node().await;
    client.batch_execute("CREATE DATABASE a; CREATE DATABASE b").await.unwrap();
    let uri = location(&dir, "b");
    let now = rows(&client, "SELECT (extract(epoch from clock_timestamp()) * 1000000)::bigint").await[0][0].clone().unwrap();
    let into = format!("INTO '{uri}' AS OF SYSTEM TIME '{now}000'");
    client.batch_execute(&format!("BACKUP DATABASE a {into}")).await.unwrap();
    for sql in [format!("BACKUP DATABASE b {into}"), format!("BACKUP DATABASE a {into} WITH encryption_passphrase = 'p'")] {
        assert_eq!(code(&client, &sql).await, Some(SqlState::DUPLICATE_FILE), "{sql}");
    }
    assert_eq!(rows(&client, &format!("VERIFY BACKUP LATEST IN '{uri}'")).await.len(), 1);
    node.stop().await;
}

/// The coordinator's node stops half-way; another goes on.
#[tokio::test(flavor = "multi_thread")]
async fn another_node_goes_on() {
    let dir = TempDir::new().unwrap();
    let first = Node::start(&config(dir.path(), "n1")).await.unwrap();
    let join = vec![first.kv().transport.local_addr().to_string()];
    let mut nodes = vec![first];
    for name in ["n2", "n3"] {
        let config = server::NodeConfig { join: join.clone(), ..config(dir.path(), name) };
        nodes.push(Node::start(&config).await.unwrap());
    }
    replicated(&nodes[0], 3).await;
    let client = connect(&nodes[0]).await;
    client.batch_execute("CREATE DATABASE d; CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 6000) n; ALTER TABLE t SPLIT AT VALUES (1000), (2000), (3000), (4000), (5000)").await.unwrap();
    let uri = location(&dir, "b");
    let coordinator = connect(&nodes[2]).await;
    let begin = format!("BACKUP TABLE t INTO '{uri}' WITH detached, rate_limit = '2MB'");
    let job = rows(&coordinator, &begin).await[0][0].clone().unwrap();
    until_status(&client, &job, &["running"]).await;
    nodes.pop().unwrap().stop().await;
    client.batch_execute("UPDATE t SET v = 'new'").await.unwrap();
    until_status(&client, &job, &["succeeded"]).await;
    client.batch_execute(&format!("RESTORE TABLE t FROM LATEST IN '{uri}' WITH into_db = 'd'")).await.unwrap();
    let d = connect_to(&nodes[0], "d").await;
    assert_eq!(number(&d, "SELECT count(*) FROM t WHERE length(v) = 1000").await, 6000);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_cluster_is_restored_into_an_empty_one() {
    let (dir, node, client) = one_node().await;
    client.batch_execute("CREATE ROLE owner LOGIN; CREATE ROLE member IN ROLE owner; CREATE DATABASE shop OWNER owner; CREATE TABLE here (a int)").await.unwrap();
    let shop = connect_to(&node, "shop").await;
    shop.batch_execute(KINDS).await.unwrap();
    shop.batch_execute("ALTER TABLE nokey OWNER TO owner").await.unwrap();
    let before: BTreeMap<String, _> = looked(&shop).await.into_iter().collect();
    let uri = location(&dir, "b");
    client.batch_execute(&format!("BACKUP INTO '{uri}'")).await.unwrap();
    assert_eq!(code(&client, &format!("RESTORE FROM LATEST IN '{uri}'")).await, Some(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE));
    let (_other_dir, other, new) = one_node().await;
    new.batch_execute(&format!("RESTORE FROM LATEST IN '{uri}'")).await.unwrap();
    let restored = connect_to(&other, "shop").await;
    for (sql, after) in looked(&restored).await {
        assert_eq!(before[&sql], after, "{sql}");
    }
    assert_eq!(number(&new, "SELECT count(*) FROM here").await, 0);
    let members = "SELECT r.rolname, m.rolname FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member";
    assert_eq!(rows(&new, members).await, rows(&client, members).await);
    let owners = "SELECT d.datname, r.rolname FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba ORDER BY 1";
    assert_eq!(rows(&new, owners).await, rows(&client, owners).await);
    node.stop().await;
    other.stop().await;
}

/// *each-by-itself*: jobs go on, and garbage is collected.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_a_job_that_cannot_be_read_stops_nothing_else() {
    let dir = TempDir::new().unwrap();
    let mut config = config(dir.path(), "one");
    config.store.gc_after = Duration::from_millis(500);
    config.store.gc_interval = Duration::from_millis(200);
    let node = Node::start(&config).await.unwrap();
    let mut bad = keys::keyspace::system("job").as_bytes().to_vec();
    keys::encoding::put_u64(&mut bad, 999_999);
    let mut txn = node.kv().db.begin(Default::default());
    txn.put(bad.into(), bytes::Bytes::from_static(b"\xffdamaged"));
    txn.commit().await.unwrap();
    let client = connect(&node).await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0)").await.unwrap();
    let then = rows(&client, "SELECT clock_timestamp()::text").await[0][0].clone().expect("a time");
    client.batch_execute("UPDATE t SET v = 1").await.unwrap();
    client.batch_execute(&format!("BACKUP TABLE t INTO '{}'", location(&dir, "there"))).await.unwrap();
    assert_eq!(rows(&client, "SHOW JOBS").await.len(), 2);
    let began = Instant::now();
    let past = format!("SELECT v FROM t AS OF SYSTEM TIME '{then}'");
    while client.simple_query(&past).await.is_ok() {
        assert!(began.elapsed() < Duration::from_secs(60), "garbage is not collected");
        client.batch_execute("UPDATE t SET v = v + 1").await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    node.stop().await;
}
