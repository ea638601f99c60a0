//! Row security across sessions: a policy, a role or a grant that changes is in force from the next statement on, whatever
//! plan was made before; and no condition of a query is told of rows that a policy hides.

use std::sync::{Arc, Mutex};

use futures::{StreamExt, stream};
use quorate_tests::{config, connect, one_node};
use server::{Node, NodeConfig};
use tempfile::TempDir;
use tokio_postgres::{AsyncMessage, Client, NoTls, error::SqlState};

async fn numbers(client: &Client, sql: &str) -> Vec<i32> {
    let mut rows: Vec<i32> = client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    rows.sort_unstable();
    rows
}

const SETUP: &str = "CREATE ROLE r; CREATE ROLE s; CREATE TABLE t (id int PRIMARY KEY, who text); \
    INSERT INTO t VALUES (1, 'r'), (2, 's'), (3, 'r'); GRANT ALL ON t TO r, s; \
    ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (who = current_user)";

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_in_force_on_every_node_from_the_next_statement_on() {
    let dir = TempDir::new().unwrap();
    let (settings, beside) = (config(dir.path(), "one"), config(dir.path(), "two"));
    let one = Node::start(&settings).await.unwrap();
    let two = Node::start(&NodeConfig { join: vec![one.rpc_addr().to_string()], ..beside }).await.unwrap();
    let (here, there) = (connect(&one).await, connect(&two).await);
    here.batch_execute(SETUP).await.unwrap();
    there.batch_execute("SET ROLE r").await.unwrap();
    let select = there.prepare("SELECT id FROM t").await.unwrap();
    let count = async || there.query(&select, &[]).await.unwrap().len();
    assert_eq!(count().await, 2);
    for _ in 0..5 {
        here.batch_execute("ALTER POLICY p ON t USING (id = 3)").await.unwrap();
        assert_eq!(count().await, 1);
        here.batch_execute("DROP POLICY p ON t").await.unwrap();
        assert_eq!(count().await, 0, "without policies nothing is to be seen");
        here.batch_execute("ALTER TABLE t DISABLE ROW LEVEL SECURITY").await.unwrap();
        assert_eq!(count().await, 3);
        here.batch_execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (who = current_user)").await.unwrap();
        assert_eq!(count().await, 2);
    }
    // What a role is granted makes it another's policies, with no change of the catalog.
    here.batch_execute("CREATE ROLE g; CREATE POLICY q ON t TO g USING (true)").await.unwrap();
    for _ in 0..5 {
        here.batch_execute("GRANT g TO r").await.unwrap();
        assert_eq!(count().await, 3);
        assert_eq!(numbers(&there, "SELECT id FROM t").await, [1, 2, 3]);
        here.batch_execute("REVOKE g FROM r").await.unwrap();
        assert_eq!(count().await, 2);
        here.batch_execute("ALTER ROLE r BYPASSRLS").await.unwrap();
        assert_eq!(count().await, 3);
        here.batch_execute("ALTER ROLE r NOBYPASSRLS").await.unwrap();
        assert_eq!(count().await, 2);
    }
    // Also within a transaction that has begun before.
    for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        there.batch_execute(&format!("BEGIN ISOLATION LEVEL {isolation}; SELECT 1 FROM t")).await.unwrap();
        here.batch_execute("GRANT g TO r").await.unwrap();
        assert_eq!(count().await, 3, "{isolation}");
        here.batch_execute("REVOKE g FROM r").await.unwrap();
        assert_eq!(count().await, 2, "{isolation}");
        there.batch_execute("ROLLBACK").await.unwrap();
    }
    two.stop().await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_made_for_one_role_serves_no_other() {
    let (_dir, node, client) = one_node().await;
    client.batch_execute(SETUP).await.unwrap();
    let select = client.prepare("SELECT id FROM t").await.unwrap();
    let update = client.prepare("UPDATE t SET id = id").await.unwrap();
    for _ in 0..3 {
        for (role, rows) in [("postgres", 3), ("r", 2), ("s", 1)] {
            client.batch_execute(&format!("SET ROLE {role}")).await.unwrap();
            assert_eq!(client.query(&select, &[]).await.unwrap().len(), rows, "{role}");
            assert_eq!(client.execute(&update, &[]).await.unwrap(), rows as u64, "{role}");
            assert_eq!(numbers(&client, "SELECT id FROM t").await.len(), rows, "{role}");
            client.batch_execute("SET row_security = off").await.unwrap();
            let outcome = client.query(&select, &[]).await.map(|rows| rows.len());
            let outcome = outcome.map_err(|error| error.code().cloned());
            let wanted = if role == "postgres" { Ok(3) } else { Err(Some(SqlState::INSUFFICIENT_PRIVILEGE)) };
            assert_eq!(outcome, wanted, "{role}");
            client.batch_execute("RESET row_security").await.unwrap();
        }
    }
    // Nor through the plans that sessions share: the text is one, the roles are two.
    let (one, two) = (connect(&node).await, connect(&node).await);
    one.batch_execute("SET ROLE r").await.unwrap();
    two.batch_execute("SET ROLE s").await.unwrap();
    for _ in 0..5 {
        assert_eq!(numbers(&one, "SELECT id FROM t").await, [1, 3]);
        assert_eq!(numbers(&two, "SELECT id FROM t").await, [2]);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_run_under_the_policies_of_their_role() {
    let (_dir, node, client) = one_node().await;
    client.batch_execute(SETUP).await.unwrap();
    client
        .batch_execute(
            "GRANT CREATE ON SCHEMA public TO s; SET ROLE s; \
             CREATE FUNCTION definers() RETURNS bigint SECURITY DEFINER LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM t); END'; \
             CREATE FUNCTION sql_definers() RETURNS bigint SECURITY DEFINER LANGUAGE sql AS 'SELECT count(*) FROM t'; \
             CREATE FUNCTION invokers() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM t); END'; \
             RESET ROLE",
        )
        .await
        .unwrap();
    for _ in 0..3 {
        for (role, count) in [("postgres", 3_i64), ("r", 2), ("s", 1)] {
            client.batch_execute(&format!("SET ROLE {role}")).await.unwrap();
            let row = client.query_one("SELECT definers(), sql_definers(), invokers()", &[]).await.unwrap();
            // In a function of the owner's `current_user` is the owner.
            assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2)), (1, 1, count), "{role}");
        }
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_function_is_told_of_hidden_rows() {
    let (_dir, node, admin) = one_node().await;
    admin.batch_execute(SETUP).await.unwrap();
    admin
        .batch_execute(
            "GRANT CREATE ON SCHEMA public TO r; SET ROLE r; \
             CREATE FUNCTION leak(text) RETURNS bool COST 0.0000001 LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''told %'', $1; RETURN true; END'; \
             RESET ROLE; CREATE TABLE u (id int PRIMARY KEY, note text); INSERT INTO u VALUES (1, 'one'), (2, 'two'), (3, 'three'); GRANT SELECT ON u TO r; \
             CREATE INDEX ON t (who); CREATE VIEW v WITH (security_barrier) AS SELECT * FROM u WHERE id = 3; GRANT SELECT ON v TO r",
        )
        .await
        .unwrap();
    let address = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", node.sql_addr().port());
    let (client, mut connection) = tokio_postgres::connect(&address, NoTls).await.unwrap();
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = told.clone();
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notice(notice) = message {
                heard.lock().unwrap().push(notice.message().to_owned());
            }
        }
    });
    client.batch_execute("SET ROLE r").await.unwrap();
    // Nor can whoever made it say that it tells nobody.
    for sql in [
        "ALTER FUNCTION leak(text) LEAKPROOF",
        "ALTER FUNCTION leak(text) IMMUTABLE LEAKPROOF",
        "CREATE OR REPLACE FUNCTION leak(text) RETURNS bool LEAKPROOF LANGUAGE plpgsql AS 'BEGIN RETURN true; END'",
        "CREATE FUNCTION leak_more(text) RETURNS bool LEAKPROOF LANGUAGE sql AS 'SELECT true'",
    ] {
        let refused = client.batch_execute(sql).await.unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{sql}");
    }
    let (of_t, of_v): (&[&str], &[&str]) = (&["told s"], &["told one", "told two"]);
    // What must be heard, so that hearing nothing shows something; none where nothing is left, or other conditions may go first.
    let (seen_of_t, seen_of_v) = (Some("told r"), Some("told three"));
    for (sql, hidden, seen) in [
        ("SELECT id FROM t WHERE leak(who)", of_t, seen_of_t),
        ("SELECT id FROM t WHERE id = 2 AND leak(who)", of_t, None),
        ("SELECT id FROM t WHERE who = 's' AND leak(who)", of_t, None),
        ("SELECT id FROM t WHERE leak(who) OR id = 2", of_t, seen_of_t),
        ("SELECT id FROM t WHERE CASE WHEN leak(who) THEN true ELSE false END", of_t, seen_of_t),
        ("SELECT t.id FROM u JOIN t ON t.id = u.id AND leak(t.who)", of_t, seen_of_t),
        ("SELECT t.id FROM u JOIN t ON leak(t.who)", of_t, seen_of_t),
        ("SELECT u.id FROM u LEFT JOIN t ON t.id = u.id AND leak(t.who)", of_t, seen_of_t),
        ("SELECT u.id FROM u WHERE EXISTS (SELECT FROM t WHERE t.id = u.id AND leak(who))", of_t, seen_of_t),
        ("SELECT u.id FROM u, LATERAL (SELECT * FROM t WHERE t.id = u.id AND leak(who)) x", of_t, seen_of_t),
        ("SELECT id FROM (SELECT id, leak(who) AS l FROM t) x WHERE l", of_t, seen_of_t),
        ("SELECT count(*) FROM t GROUP BY who HAVING leak(who)", of_t, seen_of_t),
        ("SELECT id FROM t WHERE leak(who) ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED", of_t, seen_of_t),
        ("SELECT id FROM t WHERE leak(who) FOR UPDATE", of_t, seen_of_t),
        ("UPDATE t SET id = id WHERE leak(who)", of_t, seen_of_t),
        ("UPDATE t SET id = t.id FROM u WHERE u.id = t.id AND leak(t.who)", of_t, seen_of_t),
        ("DELETE FROM t WHERE leak(who) AND id > 10", of_t, None),
        ("MERGE INTO t USING u ON t.id = u.id AND leak(t.who) WHEN MATCHED THEN DO NOTHING", of_t, seen_of_t),
        ("WITH w AS (SELECT * FROM t) SELECT * FROM w WHERE leak(who)", of_t, seen_of_t),
        ("SELECT * FROM v WHERE leak(note)", of_v, seen_of_v),
        ("SELECT * FROM v JOIN t ON leak(v.note)", of_v, seen_of_v),
        ("SELECT * FROM v WHERE id = 1 AND leak(note)", of_v, None),
    ] {
        told.lock().unwrap().clear();
        client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        client.batch_execute("SELECT 1").await.unwrap();
        let heard = told.lock().unwrap().clone();
        assert!(!heard.iter().any(|text| hidden.contains(&text.as_str())), "{sql}: {heard:?}");
        assert!(seen.is_none_or(|seen| heard.iter().any(|text| text == seen)), "{sql}: {heard:?}");
    }
    // Nor does an error say what is in a row that is not to be seen.
    for sql in ["SELECT * FROM t WHERE who::int = 0 AND id = 2", "SELECT * FROM v WHERE note::int = 1 AND id = 1"] {
        assert_eq!(client.query(sql, &[]).await.unwrap().len(), 0, "{sql}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_is_subject_to_policies() {
    let (_dir, node, client) = one_node().await;
    client.batch_execute(SETUP).await.unwrap();
    client.batch_execute("SET ROLE r").await.unwrap();
    let copied = client.copy_out("COPY t TO STDOUT").await.unwrap();
    let parts: Vec<_> = copied.map(|part| part.unwrap().to_vec()).collect().await;
    let mut lines: Vec<String> = String::from_utf8(parts.concat()).unwrap().lines().map(str::to_owned).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["1\tr", "3\tr"]);
    let refused = client.copy_in::<_, &[u8]>("COPY t FROM STDIN").await.err().unwrap();
    assert_eq!(refused.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED));
    client.batch_execute("SET row_security = off").await.unwrap();
    let refused = client.copy_out("COPY t TO STDOUT").await.err().unwrap();
    assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    node.stop().await;
}

/// A cursor goes on under the policies that it was opened under; the next one is under those of then.
#[tokio::test(flavor = "multi_thread")]
async fn cursors_keep_the_policies_that_they_were_opened_under() {
    let (_dir, node, client) = one_node().await;
    client.batch_execute(SETUP).await.unwrap();
    client.batch_execute("BEGIN; SET LOCAL ROLE r; DECLARE c CURSOR FOR SELECT id FROM t; SET LOCAL ROLE postgres; DECLARE d CURSOR FOR SELECT id FROM t").await.unwrap();
    assert_eq!(numbers(&client, "FETCH ALL FROM d").await, [1, 2, 3]);
    client.batch_execute("SET LOCAL ROLE r; DECLARE e CURSOR FOR SELECT id FROM t").await.unwrap();
    assert_eq!(numbers(&client, "FETCH ALL FROM e").await, [1, 3]);
    assert_eq!(numbers(&client, "FETCH ALL FROM c").await, [1, 3]);
    client.batch_execute("COMMIT").await.unwrap();
    node.stop().await;
}

/// The literals of a policy are those of when it was made, also in plans that sessions share.
#[tokio::test(flavor = "multi_thread")]
async fn no_setting_of_a_reader_changes_a_policy() {
    let (_dir, node, client) = one_node().await;
    client
        .batch_execute(
            "CREATE ROLE r; CREATE TABLE d (id int PRIMARY KEY, moment timestamptz, span interval, extra int); \
             INSERT INTO d VALUES (1, '2020-02-01 00:00:00+00', '-1 day -02:00:00'), (2, '2020-01-02 00:00:00+00', '-1 day -02:00:00'), \
                 (3, '2020-02-01 00:00:00+00', '-1 day +02:00:00'), (4, '2020-01-31 15:00:00+00', '-1 day -02:00:00'); \
             GRANT SELECT ON d TO r; ALTER TABLE d ENABLE ROW LEVEL SECURITY; \
             SET datestyle = 'ISO, DMY'; SET intervalstyle = 'sql_standard'; SET timezone = 'UTC'; \
             CREATE POLICY p ON d USING (moment = '01/02/2020' AND span = '-1 02:00:00'); \
             CREATE POLICY q ON d AS RESTRICTIVE USING (moment <> '31/12/2020'); \
             RESET datestyle; RESET intervalstyle; RESET timezone",
        )
        .await
        .unwrap();
    let (one, two) = (connect(&node).await, connect(&node).await);
    one.batch_execute("SET ROLE r").await.unwrap();
    two.batch_execute("SET ROLE r").await.unwrap();
    let select = one.prepare("SELECT id FROM d").await.unwrap();
    for settings in [
        "SET datestyle = 'ISO, MDY'; SET intervalstyle = 'postgres'; SET timezone = 'Asia/Tokyo'",
        "SET datestyle = 'ISO, DMY'; SET intervalstyle = 'sql_standard'; SET timezone = 'America/New_York'",
        "SET datestyle = 'ISO, YMD'; SET intervalstyle = 'iso_8601'; SET timezone = 'UTC'",
    ] {
        one.batch_execute(settings).await.unwrap();
        assert_eq!(numbers(&one, "SELECT id FROM d").await, [1], "{settings}");
        assert_eq!(numbers(&two, "SELECT id FROM d").await, [1], "{settings}");
        assert_eq!(one.query(&select, &[]).await.unwrap().len(), 1, "{settings}");
        client.batch_execute(settings).await.unwrap();
    }
    // Nor is one lost to a change of something else, where its literals are none by the settings at hand.
    client.batch_execute("SET datestyle = 'ISO, MDY'; ALTER TABLE d DROP COLUMN extra CASCADE").await.unwrap();
    let kept = client.query_one("SELECT count(*) FROM pg_policies WHERE tablename = 'd'", &[]).await.unwrap();
    assert_eq!(kept.get::<_, i64>(0), 2);
    assert_eq!(numbers(&one, "SELECT id FROM d").await, [1]);
    node.stop().await;
}

/// What a policy calls is what it called when it was made, whatever fits better by now.
#[tokio::test(flavor = "multi_thread")]
async fn no_later_function_takes_the_place_of_what_a_policy_calls() {
    let (_dir, node, client) = one_node().await;
    client
        .batch_execute(
            "CREATE ROLE r; CREATE SCHEMA others; GRANT ALL ON SCHEMA others TO r; SET search_path = others, public; \
             CREATE TABLE public.n (id int PRIMARY KEY, who name); INSERT INTO n VALUES (1, 'r'), (2, 's'); GRANT SELECT ON n TO r; \
             CREATE FUNCTION public.may(text) RETURNS bool STABLE LANGUAGE sql AS 'SELECT $1 = current_user'; \
             ALTER TABLE n ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON n USING (may(who) AND length(who) = 1)",
        )
        .await
        .unwrap();
    let reader = connect(&node).await;
    reader.batch_execute("SET ROLE r; SET search_path = others, public").await.unwrap();
    let select = reader.prepare("SELECT id FROM n").await.unwrap();
    assert_eq!(reader.query(&select, &[]).await.unwrap().len(), 1);
    reader
        .batch_execute(
            "CREATE FUNCTION others.may(name) RETURNS bool LANGUAGE sql AS 'SELECT true'; \
             CREATE FUNCTION others.may(text) RETURNS bool LANGUAGE sql AS 'SELECT true'; \
             CREATE FUNCTION others.length(name) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        )
        .await
        .unwrap();
    assert_eq!(numbers(&reader, "SELECT id FROM n").await, [1]);
    assert_eq!(reader.query(&select, &[]).await.unwrap().len(), 1);
    let row = reader.query_one("SELECT may('x'::name), length('xyz'::name)", &[]).await.unwrap();
    assert_eq!((row.get::<_, bool>(0), row.get::<_, i32>(1)), (true, 1), "calls of the reader's own mean the new ones");
    node.stop().await;
}

/// A policy's subquery is computed above the scan; the rows are locked above that.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_policy_with_a_subquery_hides_are_not_locked() {
    let (_dir, node, owner) = one_node().await;
    owner
        .batch_execute(
            "CREATE ROLE r; CREATE TABLE mine (id int); CREATE TABLE t (id int PRIMARY KEY, n int);
             INSERT INTO t SELECT g, 0 FROM generate_series(1, 6) g; INSERT INTO mine VALUES (2), (4), (5);
             GRANT SELECT, UPDATE ON t TO r; GRANT SELECT ON mine TO r; ALTER TABLE t ENABLE ROW LEVEL SECURITY;
             CREATE POLICY p ON t USING (id IN (SELECT id FROM mine)); SET lock_timeout = '3s'",
        )
        .await
        .unwrap();
    let other = connect(&node).await;
    for (query, rows) in [
        ("SELECT id FROM t FOR UPDATE", vec![2, 4, 5]),
        ("SELECT id FROM t WHERE id > 3 FOR NO KEY UPDATE", vec![4, 5]),
        ("SELECT t.id FROM t JOIN mine ON mine.id = t.id WHERE mine.id < 5 FOR UPDATE OF t", vec![2, 4]),
        ("SELECT id FROM t WHERE id = 4 FOR UPDATE", vec![4]),
    ] {
        other.batch_execute("BEGIN; SET LOCAL ROLE r").await.unwrap();
        let mut found: Vec<i32> = other.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
        found.sort_unstable();
        assert_eq!(found, rows, "{query}");
        // Those that are not locked can be changed, the others not.
        let free = owner.query("SELECT id FROM t ORDER BY id FOR UPDATE SKIP LOCKED", &[]).await.unwrap();
        let free: Vec<i32> = free.iter().map(|row| row.get(0)).collect();
        assert_eq!(free, (1..=6).filter(|id| !rows.contains(id)).collect::<Vec<_>>(), "{query}");
        owner.batch_execute("UPDATE t SET n = n + 1 WHERE id IN (1, 3, 6)").await.unwrap();
        other.batch_execute("ROLLBACK").await.unwrap();
    }
    node.stop().await;
}
