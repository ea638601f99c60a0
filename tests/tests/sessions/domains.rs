//! Domains as clients meet them: oids, COPY, the fields of errors, prepared statements that outlive a change, another
//! node, and a restart.

use futures::SinkExt;
use quorate_tests::{
    config, connect, one_node,
    raw::{Raw, describe, kinds, parse, sync},
    start_again,
};
use server::{Node, NodeConfig};
use tempfile::TempDir;
use tokio_postgres::{Client, error::SqlState};

use crate::user_types::{oid, oids, strings};

const SMALL: &str = "CREATE DOMAIN small AS int NOT NULL CHECK (value < 10)";

async fn code(client: &Client, sql: &str) -> String {
    let refused = client.batch_execute(sql).await.map_err(|error| error.code().map_or("", SqlState::code).to_owned());
    refused.err().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn domains_are_described_as_what_is_under_them() {
    let (_dir, node, client) = one_node().await;
    let make = "CREATE TABLE t (a small, b small[]); CREATE VIEW v AS SELECT a, b, a AS c FROM t";
    client.batch_execute(&format!("{SMALL}; {make}")).await.unwrap();
    let (small, smalls) = (oid(&client, "small").await, oid(&client, "small[]").await);

    let mut raw = Raw::connect(&node).await;
    let insert = "INSERT INTO t VALUES ($1, $2) RETURNING a, b";
    for given in [&[][..], &[small, smalls]] {
        let answer = raw.ask(&[parse("", insert, given), describe(b'S', ""), sync()]).await;
        assert_eq!(oids(&answer), (vec![small, smalls], vec![23, smalls]), "{}", kinds(&answer));
    }
    let answer = raw.ask(&[parse("", "SELECT a, b, c FROM v", &[]), describe(b'S', ""), sync()]).await;
    assert_eq!(oids(&answer).1, [23, smalls, 23]);

    // A driver that asks the catalog what an oid is.
    let insert = client.prepare("INSERT INTO t VALUES ($1)").await.unwrap();
    let of_small = tokio_postgres::types::Type::INT4;
    assert_eq!(*insert.params()[0].kind(), tokio_postgres::types::Kind::Domain(of_small));
    let named = client.prepare("SELECT count(*) FROM t WHERE a = $1").await.unwrap();
    assert_eq!(named.params()[0].oid(), 23, "operators are those of the type under it");
    let error = client.query("INSERT INTO t VALUES ($1::text::small)", &[&"11"]).await.unwrap_err();
    let fields = error.as_db_error().unwrap();
    assert_eq!(fields.message(), "value for domain small violates check constraint \"small_check\"");
    assert_eq!((fields.code(), fields.schema(), fields.datatype()), (&SqlState::CHECK_VIOLATION, Some("public"), Some("small")));
    assert_eq!((fields.constraint(), fields.table(), fields.column()), (Some("small_check"), None, None));
    let error = client.batch_execute("INSERT INTO t VALUES (NULL)").await.unwrap_err();
    let fields = error.as_db_error().unwrap();
    assert_eq!(fields.message(), "domain small does not allow null values");
    assert_eq!((fields.code(), fields.datatype(), fields.constraint()), (&SqlState::NOT_NULL_VIOLATION, Some("small"), None));

    client.batch_execute("INSERT INTO t VALUES (7)").await.unwrap();
    let error = client.batch_execute("ALTER DOMAIN small ADD CONSTRAINT less CHECK (value < 7)").await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED), "t.b holds values in arrays");
    client.batch_execute("DROP VIEW v; ALTER TABLE t ALTER COLUMN b TYPE int[]").await.unwrap();
    let error = client.batch_execute("ALTER DOMAIN small ADD CONSTRAINT less CHECK (value < 7)").await.unwrap_err();
    let fields = error.as_db_error().unwrap();
    assert_eq!((fields.table(), fields.column(), fields.datatype()), (Some("t"), Some("a"), None));
    node.stop().await;
}

async fn copy(client: &Client, sql: &str, text: &'static str) -> Result<u64, tokio_postgres::Error> {
    let sink = client.copy_in(sql).await?;
    let mut sink = std::pin::pin!(sink);
    sink.send(std::io::Cursor::new(text.as_bytes())).await?;
    sink.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn copied_values_pass_the_rules() {
    let (_dir, node, client) = one_node().await;
    let make = "CREATE DOMAIN named AS varchar(5) DEFAULT 'none' CHECK (value <> 'bad');
        CREATE TABLE t (a small, b named, c small[])";
    client.batch_execute(&format!("{SMALL}; {make}")).await.unwrap();
    assert_eq!(copy(&client, "COPY t (a, c) FROM STDIN", "1\t{2}\n3\t\\N\n").await.unwrap(), 2);
    assert_eq!(copy(&client, "COPY t FROM STDIN", "4\tshort\t{}\n").await.unwrap(), 1);
    for (text, code, message) in [
        ("10\tx\t{}\n", "23514", "value for domain small violates check constraint \"small_check\""),
        ("\\N\tx\t{}\n", "23502", "domain small does not allow null values"),
        ("1\tbad\t{}\n", "23514", "value for domain named violates check constraint \"named_check\""),
        ("1\ttoo long\t{}\n", "22001", "value too long for type character varying(5)"),
        ("1\tx\t{4,44}\n", "23514", "value for domain small violates check constraint \"small_check\""),
        ("1\tx\t{NULL}\n", "23502", "domain small does not allow null values"),
    ] {
        let error = copy(&client, "COPY t FROM STDIN", text).await.unwrap_err();
        let fields = error.as_db_error().unwrap();
        assert_eq!((fields.code().code(), fields.message()), (code, message), "{text:?}");
    }
    let error = copy(&client, "COPY t (b) FROM STDIN", "x\n").await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::NOT_NULL_VIOLATION), "what is not given is NULL");
    assert_eq!(strings(&client, "SELECT a || b FROM t ORDER BY a").await, "1none 3none 4short");
    node.stop().await;
}

/// Plans, of this node and of others, are made anew when the rules change.
#[tokio::test(flavor = "multi_thread")]
async fn rules_that_change_are_those_of_every_session() {
    let dir = TempDir::new().unwrap();
    let (settings, beside) = (config(dir.path(), "one"), config(dir.path(), "two"));
    let one = Node::start(&settings).await.unwrap();
    let two = Node::start(&NodeConfig { join: vec![one.rpc_addr().to_string()], ..beside }).await.unwrap();
    let (here, there) = (connect(&one).await, connect(&two).await);
    here.batch_execute("CREATE DOMAIN d AS int; CREATE TABLE t (id int PRIMARY KEY, a d)").await.unwrap();
    let insert = "INSERT INTO t VALUES ($1::int, $1::int)";
    let (of_here, of_there) = (here.prepare(insert).await.unwrap(), there.prepare(insert).await.unwrap());
    here.execute(&of_here, &[&1]).await.unwrap();
    there.execute(&of_there, &[&2]).await.unwrap();
    there.batch_execute("ALTER DOMAIN d ADD CONSTRAINT few CHECK (value < 5)").await.unwrap();
    for (client, insert) in [(&here, &of_here), (&there, &of_there)] {
        let error = client.execute(insert, &[&6]).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::CHECK_VIOLATION));
    }
    // What was written under the rules from before does not commit beside the new ones.
    here.batch_execute("BEGIN; INSERT INTO t VALUES (4, 4)").await.unwrap();
    let alter = code(&there, "ALTER DOMAIN d ADD CONSTRAINT fewer CHECK (value < 4)");
    let (changed, committed) = tokio::join!(alter, code(&here, "COMMIT"));
    assert!(changed == "23514" || committed.starts_with("40"), "changed: {changed:?}, committed: {committed:?}");
    here.batch_execute("ALTER DOMAIN d DROP CONSTRAINT few").await.unwrap();
    two.stop().await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn domains_are_there_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let settings = config(dir.path(), "one");
    let node = Node::start(&settings).await.unwrap();
    let client = connect(&node).await;
    let make = "CREATE DOMAIN smaller AS small DEFAULT 3 CHECK (value < 5); CREATE TABLE t (a smaller PRIMARY KEY, b small[]);
        INSERT INTO t VALUES (1, '{9}'), (DEFAULT, NULL); ALTER DOMAIN small RENAME TO little;
        ALTER TABLE t ADD COLUMN c little DEFAULT 8; CREATE VIEW v AS SELECT a AS x FROM t";
    client.batch_execute(&format!("{SMALL}; {make}")).await.unwrap();
    drop(client);
    node.stop().await;
    drop(node);

    let node = start_again(&settings).await;
    let client = connect(&node).await;
    assert_eq!(strings(&client, "SELECT concat_ws(',', a, b, c) FROM t ORDER BY a").await, "1,{9},8 3,8");
    let types = "SELECT concat_ws(',', pg_typeof(a), pg_typeof(b), pg_typeof(c), pg_typeof(x)) FROM t, v LIMIT 1";
    assert_eq!(strings(&client, types).await, "smaller,little[],little,smaller");
    assert_eq!(code(&client, "INSERT INTO t VALUES (5)").await, "23514");
    assert_eq!(code(&client, "INSERT INTO t VALUES (2, '{11}')").await, "23514");
    assert_eq!(code(&client, "INSERT INTO t (a, c) VALUES (2, 10)").await, "23514");
    assert_eq!(code(&client, "ALTER DOMAIN little SET NOT NULL; INSERT INTO t VALUES (2, '{NULL}')").await, "23502");
    assert_eq!(code(&client, "DROP DOMAIN little").await, "2BP01");
    node.stop().await;
}

/// *no-domain-runs*, and no rule without an end: what a reader found that lost the connection, or the process.
#[tokio::test(flavor = "multi_thread")]
async fn rules_that_lead_back_and_arrays_of_arrays_are_refused() {
    let (_dir, _node, client) = one_node().await;
    let make = "CREATE DOMAIN a AS int; CREATE DOMAIN b AS a; CREATE DOMAIN c AS int; CREATE DOMAIN list AS int[] \
                CHECK (array_length(value, 1) < 3); CREATE SEQUENCE s";
    client.batch_execute(make).await.unwrap();
    for refused in [
        "CREATE DOMAIN d AS int CHECK (value::d > 0)",
        "CREATE DOMAIN d AS int CHECK (d(value) > 0)",
        "ALTER DOMAIN a ADD CHECK (value::a > 0)",
        "ALTER DOMAIN a ADD CHECK (a(value) > 0)",
        "ALTER DOMAIN a ADD CHECK (value::b > 0)",
        "CREATE DOMAIN d AS int CHECK (value < nextval('s'))",
    ] {
        assert_eq!(code(&client, refused).await, "0A000", "{refused}");
    }
    client.batch_execute("ALTER DOMAIN a ADD CHECK (value::c > 0)").await.unwrap();
    assert_eq!(code(&client, "ALTER DOMAIN c ADD CHECK (value::a > 0)").await, "0A000");
    assert_eq!(strings(&client, "SELECT (5::b)::text").await, "5");
    assert_eq!(code(&client, "SELECT '{1,2}'::_list").await, "42704");
    assert_eq!(code(&client, "CREATE TABLE t (l _list)").await, "42704");
    assert_eq!(strings(&client, "SELECT (ARRAY['{1,2}'::list, '{3,4}'::list])[2][1]::text").await, "3");
    assert_eq!(strings(&client, "SELECT array_length(ARRAY['{1,2}'::list, '{3,4}'], 2)::text").await, "2");
    client.batch_execute("CREATE TABLE l AS SELECT ARRAY['{1,2}'::list] AS x; INSERT INTO l VALUES ('{{1,2,3}}')").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn subqueries_keep_the_domain_and_lists_drop_as_one() {
    let (_dir, _node, client) = one_node().await;
    let make = format!("{SMALL}; CREATE TABLE u (d small); INSERT INTO u VALUES (1)");
    client.batch_execute(&make).await.unwrap();
    client.batch_execute("CREATE TABLE c AS SELECT (SELECT d FROM u LIMIT 1) AS d").await.unwrap();
    assert_eq!(code(&client, "INSERT INTO c VALUES (11)").await, "23514");
    assert_eq!(strings(&client, "SELECT pg_typeof((SELECT d FROM u))::text").await, "small");
    // A value of the domain already is not asked again, as in PostgreSQL: its NULL gets by.
    client.batch_execute("INSERT INTO u SELECT (SELECT d FROM u WHERE false)").await.unwrap();
    client.batch_execute("UPDATE u SET (d) = (SELECT d FROM u WHERE d = 1)").await.unwrap();
    client.batch_execute("CREATE DOMAIN x AS int; CREATE DOMAIN y AS x; CREATE DOMAIN z AS y").await.unwrap();
    assert_eq!(code(&client, "DROP DOMAIN x, y").await, "2BP01", "z is over y");
    client.batch_execute("DROP DOMAIN x, z, y").await.unwrap();
    assert_eq!(code(&client, "DROP DOMAIN x").await, "42704");
}
