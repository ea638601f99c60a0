//! What goes along with a backup besides tables, and jobs whose records cannot be read.

use keys::{Key, encoding::put_u64, keyspace};
use quorate_tests::{connect_as, connect_to, one_node};
use tokio_postgres::{Client, error::SqlState};

use crate::backup::{code, location, number, rows, until_status};

/// Names of what a backup has of a kind.
async fn names(client: &Client, uri: &str, kind: &str) -> Vec<String> {
    let lines = rows(client, &format!("SHOW BACKUP FROM LATEST IN '{uri}'")).await;
    let mut names: Vec<String> = lines
        .into_iter()
        .filter(|line| line[3].as_deref() == Some(kind))
        .map(|line| format!("{}.{}", line[1].as_deref().unwrap_or_default(), line[2].as_deref().unwrap_or_default()))
        .collect();
    names.sort();
    names
}

/// A table takes the functions and sequences that it uses, not those that are called the same or like its columns.
#[tokio::test(flavor = "multi_thread")]
async fn tables_take_what_they_use_and_nothing_else() {
    let (dir, node, client) = one_node().await;
    client.batch_execute("CREATE DATABASE shop; CREATE DATABASE other").await.unwrap();
    let (shop, other) = (connect_to(&node, "shop").await, connect_to(&node, "other").await);
    shop.batch_execute(
        "CREATE SCHEMA app;
         CREATE FUNCTION app.price(x int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT x * 2';
         CREATE FUNCTION app.price(x text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 7';
         CREATE FUNCTION public.price(x int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT x * 3';
         CREATE FUNCTION app.id(x int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT x';
         CREATE FUNCTION app.amount() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
         CREATE SEQUENCE app.amount_seq; CREATE SEQUENCE app.used START 40; CREATE SEQUENCE public.used;
         CREATE TABLE app.t (id int PRIMARY KEY DEFAULT nextval('app.used'), amount int DEFAULT app.price(4), note text DEFAULT 'id amount_seq price');
         INSERT INTO app.t DEFAULT VALUES",
    )
    .await
    .unwrap();
    let uri = location(&dir, "b");
    shop.batch_execute(&format!("BACKUP TABLE app.t INTO '{uri}'")).await.unwrap();
    assert_eq!(names(&client, &uri, "routine").await, ["app.price"]);
    assert_eq!(names(&client, &uri, "sequence").await, ["app.used"]);
    other.batch_execute("CREATE SCHEMA app").await.unwrap();
    shop.batch_execute(&format!("RESTORE TABLE app.t FROM LATEST IN '{uri}' WITH into_db = 'other'")).await.unwrap();
    other.batch_execute("INSERT INTO app.t DEFAULT VALUES").await.unwrap();
    assert_eq!(number(&other, "SELECT count(*) FROM app.t WHERE amount = 8 AND id >= 40").await, 2);
    // The whole database has all of them; a table of it still takes its own alone.
    let uri = location(&dir, "whole");
    shop.batch_execute(&format!("BACKUP DATABASE shop INTO '{uri}'")).await.unwrap();
    assert_eq!(names(&client, &uri, "routine").await.len(), 5);
    client.batch_execute("CREATE DATABASE third").await.unwrap();
    let third = connect_to(&node, "third").await;
    third.batch_execute("CREATE SCHEMA app").await.unwrap();
    shop.batch_execute(&format!("RESTORE TABLE app.t FROM LATEST IN '{uri}' WITH into_db = 'third'")).await.unwrap();
    assert_eq!(number(&third, "SELECT count(*) FROM pg_proc WHERE proname IN ('price', 'id', 'amount')").await, 1);
    assert_eq!(number(&third, "SELECT count(*) FROM pg_class WHERE relkind = 'S'").await, 1);
    node.stop().await;
}

const OBJECTS: &str = "SELECT m.oid, pg_get_userbyid(m.lomowner), m.lomacl::text, md5(lo_get(m.oid)), obj_description(m.oid, 'pg_largeobject')
    FROM pg_largeobject_metadata m ORDER BY 1";

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_go_with_their_database() {
    let (dir, node, client) = one_node().await;
    client.batch_execute("CREATE ROLE u LOGIN; CREATE DATABASE shop; CREATE DATABASE beside").await.unwrap();
    let (shop, beside) = (connect_to(&node, "shop").await, connect_to(&node, "beside").await);
    shop.batch_execute(
        "SELECT lo_from_bytea(20001, decode(repeat('ab', 9000), 'hex')), lo_from_bytea(20002, 'small'), lo_from_bytea(20003, '');
         GRANT SELECT ON LARGE OBJECT 20001 TO u; ALTER LARGE OBJECT 20002 OWNER TO u; COMMENT ON LARGE OBJECT 20002 IS 'of u'",
    )
    .await
    .unwrap();
    beside.batch_execute("SELECT lo_from_bytea(20002, 'of another database')").await.unwrap();
    client.batch_execute("SELECT lo_from_bytea(20001, 'here')").await.unwrap();
    let uri = location(&dir, "b");
    client.batch_execute(&format!("BACKUP DATABASE shop INTO '{uri}'")).await.unwrap();
    let then = rows(&shop, OBJECTS).await;
    shop.batch_execute("SELECT lo_put(20001, 3, 'x'), lo_unlink(20003), lo_from_bytea(20004, 'new')").await.unwrap();
    client.batch_execute(&format!("BACKUP DATABASE shop INTO LATEST IN '{uri}'")).await.unwrap();
    let now = rows(&shop, OBJECTS).await;
    assert_eq!((then.len(), now.len()), (3, 3));
    client.batch_execute(&format!("VERIFY BACKUP LATEST IN '{uri}'")).await.unwrap();
    client.batch_execute(&format!("RESTORE DATABASE shop FROM LATEST IN '{uri}' WITH new_db_name = 'copy'")).await.unwrap();
    let copy = connect_to(&node, "copy").await;
    assert_eq!(rows(&copy, OBJECTS).await, now);
    let first = rows(&client, &format!("SHOW BACKUP FROM LATEST IN '{uri}'")).await[0][6].clone().unwrap();
    let restore = format!("RESTORE DATABASE shop FROM LATEST IN '{uri}' AS OF SYSTEM TIME '{first}' WITH new_db_name = 'earlier'");
    client.batch_execute(&restore).await.unwrap();
    assert_eq!(rows(&connect_to(&node, "earlier").await, OBJECTS).await, then);
    // Tables alone have none.
    shop.batch_execute("CREATE TABLE t (a int)").await.unwrap();
    let tables = location(&dir, "tables");
    shop.batch_execute(&format!("BACKUP TABLE t INTO '{tables}'")).await.unwrap();
    // A whole cluster, with those of the database that every cluster has.
    let whole = location(&dir, "whole");
    client.batch_execute(&format!("BACKUP INTO '{whole}'")).await.unwrap();
    let (_other_dir, empty, new) = one_node().await;
    new.batch_execute("SELECT lo_from_bytea(20001, 'in the way')").await.unwrap();
    let restore = format!("RESTORE FROM LATEST IN '{whole}'");
    assert_eq!(code(&new, &restore).await, Some(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE));
    assert_eq!(number(&new, "SELECT (lo_get(20001) = 'in the way')::int").await, 1);
    new.batch_execute("SELECT lo_unlink(20001)").await.unwrap();
    new.batch_execute(&restore).await.unwrap();
    assert_eq!(rows(&new, OBJECTS).await, rows(&client, OBJECTS).await);
    assert_eq!(rows(&connect_to(&empty, "shop").await, OBJECTS).await, now);
    assert_eq!(rows(&connect_to(&empty, "beside").await, OBJECTS).await, rows(&beside, OBJECTS).await);
    // New ones get oids past those that were restored.
    assert!(number(&new, "SELECT lo_creat(-1)").await > 20_004);
    node.stop().await;
    empty.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_stops_no_other_job() {
    let (dir, node, client) = one_node().await;
    client.batch_execute("CREATE ROLE u LOGIN; CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 3000) n; ALTER TABLE t SPLIT AT VALUES (1000), (2000)").await.unwrap();
    let mut record = keyspace::system("job").as_bytes().to_vec();
    put_u64(&mut record, 900);
    node.kv().db.set_counter(&Key::from(record), 7).await.unwrap();
    let uri = location(&dir, "b");
    let job = rows(&client, &format!("BACKUP TABLE t INTO '{uri}' WITH detached, rate_limit = '1MB'")).await[0][0].clone().unwrap();
    client.batch_execute(&format!("PAUSE JOB {job}")).await.unwrap();
    until_status(&client, &job, &["paused"]).await;
    // Whoever looks at all jobs takes it again.
    client.batch_execute(&format!("RESUME JOB {job}")).await.unwrap();
    until_status(&client, &job, &["succeeded"]).await;
    let shown = rows(&client, "SHOW JOBS").await;
    let line = shown.iter().find(|line| line[0].as_deref() == Some("900")).expect("it is shown");
    assert_eq!(line[4].as_deref(), Some("unreadable"));
    assert!(line[9].as_deref().unwrap().starts_with("the record of job 900 cannot be read: "), "{line:?}");
    assert_eq!(rows(&client, "SHOW JOB 900").await, [line.clone()]);
    let user = connect_as(&node, "u", "postgres").await;
    assert_eq!(code(&user, "CANCEL JOB 900").await, Some(SqlState::INSUFFICIENT_PRIVILEGE));
    for verb in ["PAUSE", "RESUME"] {
        assert_eq!(code(&client, &format!("{verb} JOB 900")).await, Some(SqlState::DATA_CORRUPTED));
    }
    client.batch_execute("CANCEL JOB 900").await.unwrap();
    assert_eq!(code(&client, "SHOW JOB 900").await, Some(SqlState::UNDEFINED_OBJECT));
    node.stop().await;
}
