//! The audit log: what sessions do is told in their order, without values, and nothing is done that cannot be told.

use std::{path::Path, sync::atomic::Ordering::Relaxed};

use quorate_tests::{config, connect, connect_to};
use serde_json::Value;
use server::{AuditConfig, Node, NodeConfig};
use tempfile::TempDir;
use tokio_postgres::error::SqlState;

fn told(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("audit.log")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sessions_change_is_told() {
    let dir = TempDir::new().unwrap();
    let audit_dir = dir.path().join("audit");
    let mut settings = config(dir.path(), "one");
    settings.audit = Some(AuditConfig { dir: audit_dir.clone(), file_bytes_max: 1 << 20 });
    let node = Node::start(&settings).await.unwrap();
    let client = connect(&node).await;
    client
        .batch_execute(
            "CREATE ROLE r PASSWORD 'secret'; CREATE TABLE t (a int DEFAULT 4711, s text DEFAULT 'hidden'); \
             INSERT INTO t VALUES (1); SELECT * FROM t; SET work_mem = '5MB'; GRANT SELECT ON t TO r; SET ROLE r",
        )
        .await
        .unwrap();
    assert!(client.batch_execute("DROP TABLE t").await.is_err());
    // Nor does the extended protocol go round it.
    client.execute("RESET ROLE", &[]).await.unwrap();
    client.execute("DROP TABLE t", &[]).await.unwrap();
    drop(client);
    let address = format!("host=127.0.0.1 port={} user=nobody dbname=postgres", node.sql_addr().port());
    assert!(tokio_postgres::connect(&address, tokio_postgres::NoTls).await.is_err());
    node.stop().await;
    let lines = told(&audit_dir);
    let of = |line: &Value| {
        let text = |name: &str| line[name].as_str().unwrap_or("").to_owned();
        (text("event"), text("role"), text("sqlstate"), text("statement"))
    };
    let is_statement = |line: &&Value| line.get("statement").is_some();
    let statements: Vec<_> = lines.iter().filter(is_statement).map(of).collect();
    let wanted = [
        ("role", "postgres", "00000", "CREATE ROLE r PASSWORD '?'"),
        ("ddl", "postgres", "00000", "CREATE TABLE t (a int DEFAULT ?, s text DEFAULT '?')"),
        ("grant", "postgres", "00000", "GRANT SELECT ON t TO r"),
        ("role", "postgres", "00000", "SET ROLE r"),
        ("ddl", "r", "42501", "DROP TABLE t"),
        ("role", "r", "00000", "RESET ROLE"),
        ("ddl", "postgres", "00000", "DROP TABLE t"),
    ];
    let wanted = wanted.map(|(event, role, state, text)| (event.to_owned(), role.to_owned(), state.to_owned(), text.to_owned()));
    assert_eq!(statements, wanted);
    let events: Vec<_> = lines.iter().filter(|line| !is_statement(line)).map(|line| line["event"].as_str().unwrap()).collect();
    for event in ["opened", "connect", "authentication_failed", "disconnect"] {
        assert_eq!(events.iter().filter(|known| **known == event).count(), 1, "{event}: {events:?}");
    }
    let connect = lines.iter().find(|line| line["event"] == "connect").unwrap();
    assert_eq!((connect["user"].as_str(), connect["method"].as_str()), (Some("postgres"), Some("trust")));
    assert!(connect["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(audit::verify(&audit_dir).unwrap().last, lines.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_told_is_not_done() {
    let dir = TempDir::new().unwrap();
    let audit_dir = dir.path().join("audit");
    let mut settings = config(dir.path(), "one");
    // Each line begins another file, so that it is met at once that the directory is gone.
    settings.audit = Some(AuditConfig { dir: audit_dir.clone(), file_bytes_max: 1 });
    let node = Node::start(&settings).await.unwrap();
    let client = connect(&node).await;
    client.batch_execute("CREATE TABLE t (a int)").await.unwrap();
    let away = dir.path().join("away");
    std::fs::rename(&audit_dir, &away).unwrap();
    // It is done when it is found that it cannot be told; it waits.
    client.batch_execute("CREATE TABLE u (a int)").await.unwrap();
    for _ in 0..2 {
        let error = client.batch_execute("CREATE TABLE v (a int)").await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::IO_ERROR));
    }
    client.batch_execute("INSERT INTO u VALUES (1); SELECT * FROM u").await.unwrap();
    std::fs::rename(&away, &audit_dir).unwrap();
    client.batch_execute("CREATE TABLE v (a int)").await.unwrap();
    node.stop().await;
    audit::verify(&audit_dir).unwrap();
}

/// A node with an audit log, and these rules.
async fn audited(dir: &Path, rules: &str) -> (Node, tokio_postgres::Client) {
    let mut settings = config(dir, "one");
    settings.audit = Some(AuditConfig { dir: dir.join("audit"), file_bytes_max: 1 << 20 });
    let node = Node::start(&settings).await.unwrap();
    let client = connect(&node).await;
    client.batch_execute(&format!("SET CLUSTER SETTING sql.audit.rules = '{rules}'")).await.unwrap();
    (node, client)
}

/// What was told of tables: `role: reads / writes sqlstate statement`.
fn accesses(dir: &Path) -> Vec<String> {
    let names = |line: &Value, member: &str| {
        let names = line[member].as_array().map_or(&[][..], Vec::as_slice);
        names.iter().map(|name| name.as_str().unwrap()).collect::<Vec<_>>().join(",")
    };
    let of = |line: &Value| {
        let text = |name: &str| line[name].as_str().unwrap_or("").to_owned();
        let (reads, writes) = (names(line, "reads"), names(line, "writes"));
        format!("{}: {reads} / {writes} {} {}", text("role"), text("sqlstate"), text("statement"))
    };
    told(&dir.join("audit")).iter().filter(|line| line["event"] == "access").map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_and_writes_of_chosen_tables_are_told() {
    let dir = TempDir::new().unwrap();
    let rules = "all all public.cards all\nall all public.child write\n+staff all all read";
    let (node, client) = audited(dir.path(), rules).await;
    client
        .batch_execute(
            "CREATE ROLE staff; CREATE ROLE ann; GRANT staff TO ann; CREATE ROLE bob;
             CREATE TABLE cards (id int PRIMARY KEY, n text); CREATE TABLE other (id int);
             CREATE TABLE child (id int REFERENCES cards ON DELETE CASCADE);
             CREATE VIEW shown AS SELECT id FROM cards; GRANT SELECT ON shown, other TO ann, bob;
             CREATE FUNCTION counted() RETURNS bigint LANGUAGE plpgsql AS 'begin return (select count(*) from cards); end';
             CREATE FUNCTION logged() RETURNS trigger LANGUAGE plpgsql AS 'begin insert into cards values (new.id); return new; end';
             CREATE TRIGGER t AFTER INSERT ON other FOR EACH ROW EXECUTE FUNCTION logged()",
        )
        .await
        .unwrap();
    let run = async |sql: &str| client.batch_execute(sql).await.map_err(|error| error.code().cloned());
    run("SELECT * FROM other").await.unwrap();
    run("SELECT n FROM cards WHERE id = 4711").await.unwrap();
    run("INSERT INTO cards VALUES (7, 'secret')").await.unwrap();
    run("SELECT * FROM shown").await.unwrap();
    run("SELECT counted(), counted() FROM generate_series(1, 3)").await.unwrap();
    run("INSERT INTO other VALUES (8)").await.unwrap();
    run("UPDATE cards SET n = NULL").await.unwrap();
    run("DELETE FROM cards WHERE false").await.unwrap();
    run("PREPARE p AS SELECT id FROM cards WHERE id = $1").await.unwrap();
    run("EXECUTE p(1)").await.unwrap();
    run("EXPLAIN SELECT * FROM cards").await.unwrap();
    run("BEGIN; DECLARE c CURSOR FOR SELECT id FROM cards; FETCH c; FETCH c; COMMIT").await.unwrap();
    run("DO 'begin perform n from cards; end'").await.unwrap();
    let rows = client.query("SELECT id FROM cards WHERE id > $1", &[&3_i32]).await.unwrap();
    assert_eq!(rows.len(), 2);
    drop(client.copy_out("COPY cards TO STDOUT").await.unwrap());
    run("CREATE TABLE copied AS SELECT id FROM cards").await.unwrap();
    run("SET ROLE bob").await.unwrap();
    assert_eq!(run("SELECT n FROM cards").await.unwrap_err(), Some(SqlState::INSUFFICIENT_PRIVILEGE));
    run("SELECT * FROM other").await.unwrap();
    run("RESET ROLE; SET ROLE ann").await.unwrap();
    run("SELECT * FROM other").await.unwrap();
    // A change of the rules is in force from the next statement on.
    run("RESET ROLE; RESET CLUSTER SETTING sql.audit.rules; SELECT n FROM cards").await.unwrap();
    drop(client);
    node.stop().await;
    let wanted = [
        "postgres: public.cards /  00000 SELECT n FROM cards WHERE id = ?",
        "postgres:  / public.cards 00000 INSERT INTO cards VALUES (?, '?')",
        "postgres: public.cards /  00000 SELECT * FROM shown",
        "postgres: public.cards /  00000 SELECT counted(), counted() FROM generate_series(?, ?)",
        "postgres:  / public.cards 00000 INSERT INTO other VALUES (?)",
        "postgres:  / public.cards 00000 UPDATE cards SET n = NULL",
        "postgres:  / public.cards,public.child 00000 DELETE FROM cards WHERE false",
        "postgres: public.cards /  00000 EXECUTE p(?)",
        "postgres: public.cards /  00000 DECLARE c CURSOR FOR SELECT id FROM cards",
        "postgres: public.cards /  00000 DO '?'",
        "postgres: public.cards /  00000 SELECT id FROM cards WHERE id > $1",
        "postgres: public.cards /  00000 COPY cards TO STDOUT",
        "postgres: public.cards /  00000 CREATE TABLE copied AS SELECT id FROM cards",
        "bob: public.cards /  42501 SELECT n FROM cards",
        "ann: public.other /  00000 SELECT * FROM other",
    ];
    assert_eq!(accesses(dir.path()), wanted);
    audit::verify(&dir.path().join("audit")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_told_where_they_are_wanted_and_passwords_never() {
    let dir = TempDir::new().unwrap();
    let (node, client) = audited(dir.path(), "all all public.t all").await;
    client
        .batch_execute("SET CLUSTER SETTING sql.audit.redaction.enabled = 'off'")
        .await
        .unwrap();
    client.batch_execute("CREATE TABLE t (id int, s text); CREATE ROLE r PASSWORD 'hidden'").await.unwrap();
    client.batch_execute("ALTER ROLE r PASSWORD /* new */ 'hidden'").await.unwrap();
    let body = "begin alter role r password ''hidden''; end";
    let make = format!("CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS '{body}'");
    client.batch_execute(&make).await.unwrap();
    client.batch_execute(&format!("DO '{body}'")).await.unwrap();
    client.execute("INSERT INTO t VALUES ($1, $2)", &[&5_i32, &None::<String>]).await.unwrap();
    client.batch_execute("SELECT s FROM t WHERE s = 'shown'").await.unwrap();
    drop(client);
    node.stop().await;
    let lines = told(&dir.path().join("audit"));
    let of = |text: &str| lines.iter().find(|line| line["statement"].as_str().is_some_and(|it| it.starts_with(text))).unwrap();
    assert_eq!(of("INSERT")["parameters"], serde_json::json!(["5", null]));
    assert_eq!(of("SELECT")["statement"], "SELECT s FROM t WHERE s = 'shown'");
    assert_eq!(of("CREATE ROLE")["statement"], "CREATE ROLE r PASSWORD '?'");
    assert_eq!(of("ALTER ROLE")["statement"], "ALTER ROLE r PASSWORD   '?'");
    assert_eq!(of("CREATE FUNCTION")["statement"], "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS '?'");
    assert_eq!(of("DO")["statement"], "DO '?'");
    assert!(lines.iter().all(|line| !line.to_string().contains("hidden")));
}

/// What a routine changes is told under the statement that has called it, and so is a role that a function sets.
#[tokio::test(flavor = "multi_thread")]
async fn changes_by_other_means_are_told() {
    let dir = TempDir::new().unwrap();
    let (node, client) = audited(dir.path(), "").await;
    client
        .batch_execute(
            "CREATE ROLE r; DO 'begin create table made (a int); grant select on made to r; end'; SELECT 1 AS x INTO into_table;
             SELECT set_config('role', 'r', false); RESET ROLE",
        )
        .await
        .unwrap();
    // A statement that is told by itself may do something else as well.
    for sql in [
        "CREATE FUNCTION evil() RETURNS int LANGUAGE plpgsql AS 'begin create table by_it (a int); return 1; end'",
        "CREATE TABLE filled AS SELECT evil()",
        "CREATE TABLE other AS SELECT set_config('role', 'r', false)",
        "RESET ROLE",
    ] {
        client.batch_execute(sql).await.unwrap();
    }
    client.batch_execute("DISCARD ALL").await.unwrap();
    drop(client);
    node.stop().await;
    let lines = told(&dir.path().join("audit"));
    let commands: Vec<_> = lines
        .iter()
        .filter(|line| line.get("command").is_some())
        .map(|line| ["event", "role", "command", "statement"].map(|member| line[member].as_str().unwrap().to_owned()))
        .collect();
    let wanted = [
        ["ddl", "postgres", "CREATE TABLE", "DO '?'"],
        ["grant", "postgres", "GRANT", "DO '?'"],
        ["ddl", "postgres", "SELECT", "SELECT ? AS x INTO into_table"],
        ["role", "r", "SET ROLE", "SELECT set_config('?', '?', false)"],
        ["ddl", "postgres", "CREATE TABLE", "CREATE TABLE filled AS SELECT evil()"],
        ["role", "r", "SET ROLE", "CREATE TABLE other AS SELECT set_config('?', '?', false)"],
        ["role", "postgres", "SET SESSION AUTHORIZATION", "DISCARD ALL"],
    ];
    assert_eq!(commands, wanted.map(|line| line.map(str::to_owned)));
}

/// That one role is refused does not hide what another reads afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_permitted_after_a_refusal_is_told() {
    let dir = TempDir::new().unwrap();
    let (node, client) = audited(dir.path(), "all all public.cards all").await;
    client.batch_execute("CREATE ROLE bob; CREATE TABLE cards (id int, n text)").await.unwrap();
    client
        .batch_execute(
            "DO 'begin set role bob;
               begin perform n from cards; exception when insufficient_privilege then null; end;
               reset role; perform n from cards; perform id from cards;
             end'",
        )
        .await
        .unwrap();
    drop(client);
    node.stop().await;
    let wanted = ["bob: public.cards /  42501 DO '?'", "postgres: public.cards /  00000 DO '?'"];
    assert_eq!(accesses(dir.path()), wanted);
}

/// A transaction that is run again may read what it has not read before: each of its statements is told again.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_replay_reads_is_told() {
    let dir = TempDir::new().unwrap();
    let (node, client) = audited(dir.path(), "all all public.t read").await;
    let make = "CREATE TABLE t (id int PRIMARY KEY, v int, label text); INSERT INTO t VALUES (1, 0, 'one')";
    client.batch_execute(make).await.unwrap();
    let other = connect(&node).await;
    client.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE").await.unwrap();
    client.batch_execute("SELECT label FROM t WHERE id = 1").await.unwrap();
    other.batch_execute("UPDATE t SET v = v + 1 WHERE id = 1").await.unwrap();
    client.batch_execute("UPDATE t SET v = v + 100 WHERE id = 1").await.unwrap();
    client.batch_execute("COMMIT").await.unwrap();
    let replayed = node.replays().replayed.load(Relaxed);
    drop((client, other));
    node.stop().await;
    assert!(replayed > 0);
    let lines = accesses(dir.path());
    let count = |text: &str| lines.iter().filter(|line| line.ends_with(text)).count();
    assert!(count("00000 SELECT label FROM t WHERE id = ?") > 1, "{lines:?}");
    assert_eq!(count("00000 UPDATE t SET v = v + ? WHERE id = ?"), 2, "{lines:?}");
}

/// Plans that were made before, on whatever node and in whatever database, are made anew.
#[tokio::test(flavor = "multi_thread")]
async fn rules_are_in_force_on_connections_of_other_nodes() {
    let dir = TempDir::new().unwrap();
    let one = Node::start(&config(dir.path(), "one")).await.unwrap();
    let mut beside = NodeConfig { join: vec![one.rpc_addr().to_string()], ..config(dir.path(), "two") };
    beside.audit = Some(AuditConfig { dir: dir.path().join("audit"), file_bytes_max: 1 << 20 });
    let two = Node::start(&beside).await.unwrap();
    let (here, there) = (connect(&one).await, connect(&two).await);
    here.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await.unwrap();
    here.batch_execute("CREATE DATABASE other").await.unwrap();
    let elsewhere = connect_to(&two, "other").await;
    elsewhere.batch_execute("CREATE TABLE u (id int PRIMARY KEY)").await.unwrap();
    for _ in 0..2 {
        there.batch_execute("SELECT id FROM t").await.unwrap();
        elsewhere.batch_execute("SELECT id FROM u").await.unwrap();
    }
    here.batch_execute("SET CLUSTER SETTING sql.audit.rules = 'all all public.* read'").await.unwrap();
    there.batch_execute("SELECT id FROM t").await.unwrap();
    elsewhere.batch_execute("SELECT id FROM u").await.unwrap();
    let wanted = ["postgres: public.t /  00000 SELECT id FROM t", "postgres: public.u /  00000 SELECT id FROM u"];
    assert_eq!(accesses(dir.path()), wanted);
    here.batch_execute("RESET CLUSTER SETTING sql.audit.rules").await.unwrap();
    // The attempt that finds that the rules are others is logged by the old ones.
    there.batch_execute("SELECT id FROM t").await.unwrap();
    let before = accesses(dir.path()).len();
    there.batch_execute("SELECT id FROM t").await.unwrap();
    assert_eq!(accesses(dir.path()).len(), before);
    drop((here, there, elsewhere));
    two.stop().await;
    one.stop().await;
}

/// With `drop`, what cannot be written is counted, and a line says how much it was.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_told_is_counted_where_that_is_preferred() {
    let dir = TempDir::new().unwrap();
    let mut settings = config(dir.path(), "one");
    let audit_dir = dir.path().join("audit");
    settings.audit = Some(AuditConfig { dir: audit_dir.clone(), file_bytes_max: 1 });
    let node = Node::start(&settings).await.unwrap();
    let client = connect(&node).await;
    client
        .batch_execute(
            "CREATE ROLE r LOGIN; CREATE TABLE t (a int); SET CLUSTER SETTING sql.audit.rules = 'all all public.t read'",
        )
        .await
        .unwrap();
    let away = dir.path().join("away");
    std::fs::rename(&audit_dir, &away).unwrap();
    // The first finds that it cannot be written, and has read nothing either.
    for _ in 0..2 {
        let error = client.batch_execute("SELECT * FROM t").await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::IO_ERROR));
    }
    client.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
    // Nobody is let in but who can end it.
    let address = |user: &str| format!("host=127.0.0.1 port={} user={user} dbname=postgres", node.sql_addr().port());
    let refused = tokio_postgres::connect(&address("r"), tokio_postgres::NoTls).await.err().unwrap();
    assert_eq!(refused.code(), Some(&SqlState::IO_ERROR));
    let first = connect(&node).await;
    let error = first.batch_execute("SET CLUSTER SETTING sql.audit.rules = ''").await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::IO_ERROR));
    first.batch_execute("SET CLUSTER SETTING sql.audit.on_failure = 'drop'").await.unwrap();
    for _ in 0..3 {
        client.batch_execute("SELECT * FROM t").await.unwrap();
    }
    std::fs::rename(&away, &audit_dir).unwrap();
    client.batch_execute("SELECT * FROM t").await.unwrap();
    node.stop().await;
    audit::verify(&audit_dir).unwrap();
    let mut lost = 0;
    for entry in std::fs::read_dir(&audit_dir).unwrap() {
        for line in std::fs::read_to_string(entry.unwrap().path()).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            lost += if line["event"] == "lost" { line["count"].as_u64().unwrap() } else { 0 };
        }
    }
    assert_eq!(lost, 4, "the statement that ended it, and what came after");
}
