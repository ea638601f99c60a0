//! Privileges across sessions and nodes: what is revoked is refused from the next statement on, wherever that runs.

use quorate_tests::{config, connect, connect_as, one_node};
use server::{Node, NodeConfig};
use tempfile::TempDir;
use tokio_postgres::{Client, error::SqlState};

async fn code(client: &Client, sql: &str) -> String {
    let refused = client.batch_execute(sql).await.map_err(|error| error.code().map_or("", SqlState::code).to_owned());
    refused.err().unwrap_or_default()
}

const DENIED: &str = "42501";

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_in_force_on_every_node_at_once() {
    let dir = TempDir::new().unwrap();
    let (settings, beside) = (config(dir.path(), "one"), config(dir.path(), "two"));
    let one = Node::start(&settings).await.unwrap();
    let two = Node::start(&NodeConfig { join: vec![one.rpc_addr().to_string()], ..beside }).await.unwrap();
    let (here, there) = (connect(&one).await, connect(&two).await);
    here.batch_execute("CREATE ROLE r; CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); GRANT SELECT ON t TO r")
        .await
        .unwrap();
    there.batch_execute("SET ROLE r").await.unwrap();
    let select = there.prepare("SELECT id FROM t").await.unwrap();
    for _ in 0..20 {
        assert_eq!(there.query(&select, &[]).await.unwrap().len(), 1);
        here.batch_execute("REVOKE SELECT ON t FROM r").await.unwrap();
        let refused = there.query(&select, &[]).await.unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
        assert_eq!(code(&there, "SELECT * FROM t").await, DENIED);
        here.batch_execute("GRANT SELECT ON t TO r").await.unwrap();
    }
    // Also within a transaction whose snapshot is older.
    for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        there.batch_execute(&format!("BEGIN ISOLATION LEVEL {isolation}; SELECT * FROM t")).await.unwrap();
        here.batch_execute("REVOKE SELECT ON t FROM r").await.unwrap();
        assert_eq!(code(&there, "SELECT * FROM t").await, DENIED, "{isolation}");
        there.batch_execute("ROLLBACK").await.unwrap();
        here.batch_execute("GRANT SELECT ON t TO r").await.unwrap();
    }
    // By membership as well.
    here.batch_execute("CREATE ROLE g; REVOKE SELECT ON t FROM r; GRANT SELECT ON t TO g; GRANT g TO r").await.unwrap();
    assert_eq!(there.query(&select, &[]).await.unwrap().len(), 1);
    here.batch_execute("REVOKE g FROM r").await.unwrap();
    assert_eq!(code(&there, "SELECT * FROM t").await, DENIED);
    // A role of the same name is not the same role.
    here.batch_execute("GRANT SELECT ON t TO r").await.unwrap();
    assert_eq!(there.query(&select, &[]).await.unwrap().len(), 1);
    here.batch_execute("REVOKE SELECT ON t FROM r; DROP ROLE r; CREATE ROLE r; GRANT SELECT ON t TO r").await.unwrap();
    assert_eq!(code(&there, "SELECT * FROM t").await, DENIED);
    two.stop().await;
    one.stop().await;
}

/// A session is of the role that has connected, whatever others are called later; what is refused holds nobody up.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_does_not_become_the_role_that_has_its_name_later() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let admin = connect(&node).await;
    admin.batch_execute("CREATE ROLE alice LOGIN").await.unwrap();
    let alice = connect_as(&node, "alice", "postgres").await;
    // It is refused before it locks what others change, and its transaction stays open.
    alice.batch_execute("BEGIN; SAVEPOINT s").await.unwrap();
    assert_eq!(code(&alice, "CREATE ROLE x").await, DENIED);
    admin.batch_execute("SET lock_timeout = '5s'; CREATE ROLE beside").await.unwrap();
    alice.batch_execute("ROLLBACK").await.unwrap();

    admin.batch_execute("ALTER ROLE alice RENAME TO alice_old; CREATE ROLE alice SUPERUSER LOGIN").await.unwrap();
    for attempt in [
        "SET ROLE alice",
        "SET SESSION AUTHORIZATION alice",
        "SET SESSION AUTHORIZATION postgres",
        "SELECT rolpassword FROM pg_authid",
        "CREATE ROLE y",
    ] {
        assert_eq!(code(&alice, attempt).await, DENIED, "{attempt}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_is_rolled_back_was_none() {
    let (_dir, node, owner) = one_node().await;
    let other = connect(&node).await;
    owner.batch_execute("CREATE ROLE r; CREATE TABLE t (id int)").await.unwrap();
    other.batch_execute("SET ROLE r").await.unwrap();
    owner.batch_execute("BEGIN; GRANT SELECT ON t TO r").await.unwrap();
    assert_eq!(code(&other, "SELECT * FROM t").await, DENIED);
    // The transaction sees its own.
    owner.batch_execute("SET LOCAL ROLE r; SELECT * FROM t; RESET ROLE; SAVEPOINT s; REVOKE SELECT ON t FROM r").await.unwrap();
    owner.batch_execute("ROLLBACK TO s; SET LOCAL ROLE r; SELECT * FROM t; ROLLBACK").await.unwrap();
    assert_eq!(code(&other, "SELECT * FROM t").await, DENIED);
    owner.batch_execute("BEGIN; GRANT SELECT ON t TO r; COMMIT").await.unwrap();
    assert_eq!(code(&other, "SELECT * FROM t").await, "");
    // A refused grant holds nothing: the owner's does not wait for it.
    other.batch_execute("BEGIN").await.unwrap();
    assert_eq!(code(&other, "GRANT DELETE ON t TO r").await, "", "who has something is warned");
    assert_eq!(code(&other, "GRANT USAGE ON SCHEMA public TO r").await, "");
    other.batch_execute("ROLLBACK").await.unwrap();
    owner.batch_execute("REVOKE ALL ON t FROM r").await.unwrap();
    other.batch_execute("BEGIN").await.unwrap();
    assert_eq!(code(&other, "GRANT SELECT ON t TO r").await, DENIED);
    owner.batch_execute("GRANT SELECT ON t TO r").await.unwrap();
    other.batch_execute("ROLLBACK").await.unwrap();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_statement_and_a_cursor_are_of_who_runs_them() {
    let (_dir, node, client) = one_node().await;
    let make = "CREATE ROLE r; CREATE TABLE t (id int); INSERT INTO t VALUES (1);
        CREATE FUNCTION f() RETURNS bigint LANGUAGE plpgsql AS 'begin return (select count(*) from t); end'";
    client.batch_execute(make).await.unwrap();
    let select = client.prepare("SELECT id FROM t").await.unwrap();
    assert_eq!(client.query(&select, &[]).await.unwrap().len(), 1);
    client.batch_execute("SELECT f(); SET ROLE r").await.unwrap();
    let refused = client.query(&select, &[]).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    for sql in ["SELECT f()", "DO 'begin perform 1 from t; end'", "BEGIN; DECLARE c CURSOR FOR SELECT * FROM t"] {
        assert_eq!(code(&client, sql).await, DENIED, "{sql}");
    }
    client.batch_execute("ROLLBACK; RESET ROLE").await.unwrap();
    assert_eq!(client.query(&select, &[]).await.unwrap().len(), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_beside_each_other_all_hold() {
    let (_dir, node, client) = one_node().await;
    let mut make = String::from("CREATE TABLE t (id int);");
    (0..20).for_each(|number| make.push_str(&format!("CREATE ROLE r{number};")));
    client.batch_execute(&make).await.unwrap();
    let mut tasks = Vec::new();
    for number in 0..20 {
        let granting = connect(&node).await;
        tasks.push(tokio::spawn(async move {
            granting.batch_execute(&format!("GRANT SELECT ON t TO r{number}")).await.unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    for number in 0..20 {
        client.batch_execute(&format!("SET ROLE r{number}; SELECT * FROM t; RESET ROLE")).await.unwrap();
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_need_no_rights_in_the_schemas_that_they_read() {
    let (_dir, node, client) = one_node().await;
    let make = "CREATE ROLE r; CREATE SCHEMA hidden; CREATE TABLE hidden.t (a int); CREATE VIEW v AS SELECT * FROM hidden.t;
        GRANT SELECT ON v TO r; CREATE TABLE d (a int, b int DEFAULT 1); GRANT INSERT ON d TO r; SET ROLE r";
    client.batch_execute(make).await.unwrap();
    assert_eq!(code(&client, "SELECT * FROM v; INSERT INTO d (a) VALUES (1)").await, "");
    assert_eq!(code(&client, "SELECT * FROM hidden.t").await, DENIED);
    assert_eq!(code(&client, "SET search_path = hidden; SELECT * FROM t").await, "42P01");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_have_no_values_that_the_user_may_not_read() {
    let (_dir, node, client) = one_node().await;
    let make = "CREATE ROLE r; CREATE TABLE t (id int PRIMARY KEY, secret text NOT NULL, a int CHECK (a < 10));
        INSERT INTO t VALUES (1, 'hidden', 1); GRANT INSERT, UPDATE (id, a), SELECT (id) ON t TO r; SET ROLE r";
    client.batch_execute(make).await.unwrap();
    for (sql, detail) in [
        ("UPDATE t SET a = 11", Some("Failing row contains (id) = (1).")),
        ("UPDATE t SET id = NULL", Some("Failing row contains (id) = (null).")),
        ("INSERT INTO t VALUES (1, 'x', 1)", Some("Key (id)=(1) already exists.")),
    ] {
        let error = client.batch_execute(sql).await.unwrap_err();
        assert_eq!(error.as_db_error().unwrap().detail(), detail, "{sql}");
    }
    client.batch_execute("RESET ROLE; REVOKE SELECT (id) ON t FROM r; SET ROLE r").await.unwrap();
    for sql in ["UPDATE t SET a = 11", "INSERT INTO t VALUES (1, 'x', 1)"] {
        let error = client.batch_execute(sql).await.unwrap_err();
        assert_eq!(error.as_db_error().unwrap().detail(), None, "{sql}");
    }
    node.stop().await;
}

/// Statements, each with what allows it: without any one of these it is refused.
const MATRIX: &[(&str, &[&str])] = &[
    ("SELECT * FROM t", &["GRANT SELECT ON t TO r"]),
    ("SELECT a FROM t", &["GRANT SELECT (a) ON t TO r"]),
    ("SELECT * FROM sc.u", &["GRANT USAGE ON SCHEMA sc TO r", "GRANT SELECT ON sc.u TO r"]),
    ("SELECT * FROM v", &["GRANT SELECT ON v TO r"]),
    ("TABLE t", &["GRANT SELECT ON t TO r"]),
    ("SELECT a FROM t FOR UPDATE", &["GRANT SELECT ON t TO r", "GRANT UPDATE ON t TO r"]),
    ("EXPLAIN SELECT * FROM t", &["GRANT SELECT ON t TO r"]),
    ("EXPLAIN ANALYZE DELETE FROM t", &["GRANT DELETE ON t TO r"]),
    ("DECLARE c CURSOR FOR SELECT * FROM t", &["GRANT SELECT ON t TO r"]),
    ("COPY t TO STDOUT", &["GRANT SELECT ON t TO r"]),
    ("INSERT INTO t VALUES (9, 9)", &["GRANT INSERT ON t TO r"]),
    ("INSERT INTO t SELECT * FROM sc.u", &[
        "GRANT INSERT ON t TO r",
        "GRANT SELECT ON sc.u TO r",
        "GRANT USAGE ON SCHEMA sc TO r",
    ]),
    ("INSERT INTO t VALUES (9, 9) RETURNING a", &["GRANT INSERT ON t TO r", "GRANT SELECT (a) ON t TO r"]),
    ("INSERT INTO t VALUES (1, 9) ON CONFLICT (id) DO UPDATE SET a = 1", &[
        "GRANT INSERT ON t TO r",
        "GRANT SELECT (id) ON t TO r",
        "GRANT UPDATE (a) ON t TO r",
    ]),
    ("UPDATE t SET a = 1", &["GRANT UPDATE (a) ON t TO r"]),
    ("UPDATE t SET a = a + 1", &["GRANT UPDATE (a) ON t TO r", "GRANT SELECT (a) ON t TO r"]),
    ("DELETE FROM t", &["GRANT DELETE ON t TO r"]),
    ("DELETE FROM t WHERE a = 1", &["GRANT DELETE ON t TO r", "GRANT SELECT (a) ON t TO r"]),
    ("TRUNCATE t", &["GRANT TRUNCATE ON t TO r"]),
    ("LOCK TABLE t IN ACCESS SHARE MODE", &["GRANT SELECT ON t TO r"]),
    ("LOCK TABLE t", &["GRANT UPDATE ON t TO r"]),
    ("SELECT nextval('s')", &["GRANT USAGE ON s TO r"]),
    ("SELECT setval('s', 1)", &["GRANT UPDATE ON s TO r"]),
    ("SELECT last_value FROM s", &["GRANT SELECT ON s TO r"]),
    ("SELECT f()", &["GRANT EXECUTE ON FUNCTION f() TO r"]),
    ("SELECT * FROM f()", &["GRANT EXECUTE ON FUNCTION f() TO r"]),
    ("CALL p()", &["GRANT EXECUTE ON PROCEDURE p() TO r"]),
    ("DO 'begin perform 1 from t; end'", &["GRANT SELECT ON t TO r"]),
    ("CREATE TABLE made (x int)", &["GRANT CREATE ON SCHEMA public TO r"]),
    ("CREATE TABLE made (x e)", &["GRANT CREATE ON SCHEMA public TO r", "GRANT USAGE ON TYPE e TO r"]),
    ("CREATE TABLE made (x int REFERENCES t)", &["GRANT CREATE ON SCHEMA public TO r", "GRANT REFERENCES ON t TO r"]),
    ("CREATE TABLE made AS SELECT a FROM t", &["GRANT CREATE ON SCHEMA public TO r", "GRANT SELECT (a) ON t TO r"]),
    ("CREATE TABLE made (LIKE t)", &["GRANT CREATE ON SCHEMA public TO r", "GRANT SELECT ON t TO r"]),
    ("SELECT a INTO made FROM t", &["GRANT CREATE ON SCHEMA public TO r", "GRANT SELECT (a) ON t TO r"]),
    ("CREATE VIEW made AS SELECT 1 AS x", &["GRANT CREATE ON SCHEMA public TO r"]),
    ("CREATE SEQUENCE made", &["GRANT CREATE ON SCHEMA public TO r"]),
    ("CREATE TYPE made AS ENUM ('a')", &["GRANT CREATE ON SCHEMA public TO r"]),
    ("CREATE DOMAIN made AS e", &["GRANT CREATE ON SCHEMA public TO r", "GRANT USAGE ON TYPE e TO r"]),
    ("CREATE FUNCTION made() RETURNS int LANGUAGE sql AS 'select 1'", &["GRANT CREATE ON SCHEMA public TO r"]),
    ("CREATE SCHEMA made", &["GRANT CREATE ON DATABASE postgres TO r"]),
    ("CREATE TRIGGER made BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION tf()", &[
        "GRANT TRIGGER ON t TO r",
        "GRANT EXECUTE ON FUNCTION tf() TO r",
    ]),
    ("CREATE INDEX made ON t (a)", &["ALTER TABLE t OWNER TO r", "GRANT CREATE ON SCHEMA public TO r"]),
    ("ALTER TABLE t ADD COLUMN made int", &["ALTER TABLE t OWNER TO r"]),
    ("ALTER TABLE t RENAME TO made", &["ALTER TABLE t OWNER TO r", "GRANT CREATE ON SCHEMA public TO r"]),
    ("ALTER TABLE t SET SCHEMA sc", &["ALTER TABLE t OWNER TO r", "GRANT CREATE ON SCHEMA sc TO r"]),
    ("ALTER TABLE t OWNER TO other", &[
        "ALTER TABLE t OWNER TO r",
        "GRANT other TO r",
        "GRANT CREATE ON SCHEMA public TO other",
    ]),
    ("ALTER VIEW v RENAME TO made", &["ALTER VIEW v OWNER TO r", "GRANT CREATE ON SCHEMA public TO r"]),
    ("ALTER SEQUENCE s RESTART", &["ALTER SEQUENCE s OWNER TO r"]),
    ("ALTER INDEX i RENAME TO made", &["ALTER TABLE t OWNER TO r", "GRANT CREATE ON SCHEMA public TO r"]),
    ("ALTER TYPE e ADD VALUE 'made'", &["ALTER TYPE e OWNER TO r"]),
    ("ALTER DOMAIN d SET NOT NULL", &["ALTER DOMAIN d OWNER TO r"]),
    ("ALTER FUNCTION f() STABLE", &["ALTER FUNCTION f() OWNER TO r"]),
    ("ALTER SCHEMA sc RENAME TO made", &["ALTER SCHEMA sc OWNER TO r", "GRANT CREATE ON DATABASE postgres TO r"]),
    ("ALTER TRIGGER tr ON t RENAME TO made", &["ALTER TABLE t OWNER TO r"]),
    ("DROP TRIGGER tr ON t", &["ALTER TABLE t OWNER TO r"]),
    ("DROP INDEX i", &["ALTER TABLE t OWNER TO r"]),
    ("DROP TABLE t CASCADE", &["ALTER TABLE t OWNER TO r"]),
    ("DROP VIEW v", &["ALTER VIEW v OWNER TO r"]),
    ("DROP SEQUENCE s", &["ALTER SEQUENCE s OWNER TO r"]),
    ("DROP FUNCTION f()", &["ALTER FUNCTION f() OWNER TO r"]),
    ("DROP TYPE e", &["ALTER TYPE e OWNER TO r"]),
    ("DROP DOMAIN d", &["ALTER DOMAIN d OWNER TO r"]),
    ("DROP SCHEMA sc CASCADE", &["ALTER SCHEMA sc OWNER TO r"]),
    ("COMMENT ON TABLE t IS 'made'", &["ALTER TABLE t OWNER TO r"]),
    ("COMMENT ON SCHEMA sc IS 'made'", &["ALTER SCHEMA sc OWNER TO r"]),
    ("GRANT SELECT ON t TO other", &["GRANT SELECT ON t TO r WITH GRANT OPTION"]),
    ("REVOKE SELECT ON t FROM other", &["GRANT SELECT ON t TO r WITH GRANT OPTION"]),
    ("GRANT other TO third", &["GRANT other TO r WITH ADMIN OPTION"]),
    ("ALTER DEFAULT PRIVILEGES FOR ROLE other GRANT SELECT ON TABLES TO r", &["GRANT other TO r"]),
    ("REASSIGN OWNED BY other TO third", &["GRANT other TO r", "GRANT third TO r"]),
    ("DROP OWNED BY other", &["GRANT other TO r"]),
    ("CREATE ROLE made", &["ALTER ROLE r CREATEROLE"]),
    ("ALTER ROLE other LOGIN", &["ALTER ROLE r CREATEROLE"]),
    ("ALTER ROLE other RENAME TO made", &["ALTER ROLE r CREATEROLE"]),
    ("DROP ROLE third", &["ALTER ROLE r CREATEROLE"]),
    ("CREATE DATABASE made", &["ALTER ROLE r CREATEDB"]),
    ("SET CLUSTER SETTING server.host_based_authentication.configuration TO 'host all all all trust'", &[
        "ALTER ROLE r SUPERUSER",
    ]),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_statement_needs_what_allows_it() {
    let (_dir, node, client) = one_node().await;
    let make = "CREATE ROLE r; CREATE ROLE other; CREATE ROLE third;
        CREATE TABLE t (id int PRIMARY KEY, a int); CREATE INDEX i ON t (a); INSERT INTO t VALUES (1, 1);
        CREATE SCHEMA sc; CREATE TABLE sc.u (id int, a int); CREATE VIEW v AS SELECT 1 AS x; CREATE SEQUENCE s;
        CREATE TYPE e AS ENUM ('a'); CREATE DOMAIN d AS int; REVOKE ALL ON TYPE e, d FROM public;
        CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'select 1'; REVOKE ALL ON FUNCTION f() FROM public;
        CREATE PROCEDURE p() LANGUAGE sql AS 'select 1'; REVOKE ALL ON PROCEDURE p() FROM public;
        CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'begin return new; end';
        REVOKE ALL ON FUNCTION tf() FROM public;
        CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION tf()";
    client.batch_execute(make).await.unwrap();
    for (sql, grants) in MATRIX {
        for left_out in (0..=grants.len()).rev() {
            client.batch_execute("BEGIN").await.unwrap();
            for (at, grant) in grants.iter().enumerate() {
                if at != left_out {
                    client.batch_execute(grant).await.unwrap();
                }
            }
            client.batch_execute("SET LOCAL ROLE r").await.unwrap();
            let expected = if left_out == grants.len() { "" } else { DENIED };
            let missing = grants.get(left_out).copied().unwrap_or("nothing");
            assert_eq!(code(&client, sql).await, expected, "{sql}, without {missing}");
            client.batch_execute("ROLLBACK").await.unwrap();
        }
    }
    node.stop().await;
}
