//! Enum types as clients meet them: by oid, in binary, through prepared statements that outlive a change, on another
//! node, and after a restart.

use quorate_tests::{
    config, connect,
    raw::{Message, Raw, bind, describe, execute, kinds, parse, sync},
    start_again,
};
use server::{Node, NodeConfig};
use tempfile::TempDir;
use tokio_postgres::{Client, types::Type};

const MOOD: &str = "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')";

pub(crate) async fn oid(client: &Client, name: &str) -> u32 {
    let row = client.query_one(&format!("SELECT '{name}'::regtype::oid"), &[]).await.unwrap();
    row.get(0)
}

/// The oids of ParameterDescription, and those of RowDescription.
pub(crate) fn oids(messages: &[Message]) -> (Vec<u32>, Vec<u32>) {
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    let of = |kind: u8| messages.iter().find(|it| it.kind == kind).map_or(&[][..], |it| &it.body[..]);
    let params = of(b't').get(2..).unwrap_or(&[]).chunks(4).map(number).collect();
    let mut columns = Vec::new();
    let mut rest = of(b'T').get(2..).unwrap_or(&[]);
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        // After the name: the table's oid, the column's number, the type's oid, and eight bytes more.
        columns.push(number(&rest[end + 7..end + 11]));
        rest = &rest[end + 19..];
    }
    (params, columns)
}

#[tokio::test(flavor = "multi_thread")]
async fn enums_are_described_by_their_oids() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let client = connect(&node).await;
    client.batch_execute(&format!("{MOOD}; CREATE TABLE t (m mood, ms mood[])")).await.unwrap();
    let (mood, moods) = (oid(&client, "mood").await, oid(&client, "mood[]").await);

    let mut raw = Raw::connect(&node).await;
    let insert = "INSERT INTO t VALUES ($1, $2) RETURNING m, ms";
    for given in [&[][..], &[mood, moods]] {
        let answer = raw.ask(&[parse("", insert, given), describe(b'S', ""), sync()]).await;
        assert_eq!(oids(&answer), (vec![mood, moods], vec![mood, moods]), "{}", kinds(&answer));
    }
    // One dimension of two from 1: 'sad' and NULL.
    let mut array = Vec::new();
    for word in [1, 1, mood as i32, 2, 1, 3] {
        array.extend_from_slice(&i32::to_be_bytes(word));
    }
    array.extend_from_slice(b"sad\xff\xff\xff\xff");
    let bound = bind("", "", &[Some(b"happy"), Some(&array)], 1);
    let answer = raw.ask(&[parse("", insert, &[]), bound, execute("", 0), sync()]).await;
    let row = answer.iter().find(|message| message.kind == b'D').map(Message::values);
    assert_eq!(row, Some(vec![Some(b"happy".to_vec()), Some(array)]), "{}", kinds(&answer));

    // A driver that asks the catalog what an oid is.
    let statement = client.prepare("SELECT m, ms FROM t WHERE m = $1").await.unwrap();
    assert_eq!(statement.params()[0].oid(), mood);
    let types: Vec<&Type> = statement.columns().iter().map(|column| column.type_()).collect();
    let labels = ["sad", "ok", "happy"].map(str::to_owned).to_vec();
    assert_eq!(*types[0].kind(), tokio_postgres::types::Kind::Enum(labels));
    assert_eq!(*types[1].kind(), tokio_postgres::types::Kind::Array(types[0].clone()));
    let unknown = raw.ask(&[parse("", "SELECT $1", &[moods + 1000]), sync()]).await;
    assert_eq!(unknown[0].field(b'C').as_deref(), Some("42704"));
    node.stop().await;
}

pub(crate) async fn strings(client: &Client, sql: &str) -> String {
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get::<_, Option<String>>(0).unwrap_or_default()).collect::<Vec<_>>().join(" ")
}

const ALL: &str = "SELECT string_agg(m || coalesce(ms::text, ''), ' ' ORDER BY m) FROM t";

/// Labels are added and renamed without a row or an entry being written.
#[tokio::test(flavor = "multi_thread")]
async fn stored_values_outlive_changes_of_their_type() {
    let dir = TempDir::new().unwrap();
    let settings = config(dir.path(), "one");
    let node = Node::start(&settings).await.unwrap();
    let client = connect(&node).await;
    let make = "CREATE TABLE t (m mood PRIMARY KEY, ms mood[]); CREATE INDEX by_ms ON t (ms, m DESC);
        INSERT INTO t VALUES ('ok', '{sad,happy}'), ('sad', '{}'), ('happy', NULL); ANALYZE t";
    client.batch_execute(&format!("{MOOD}; {make}")).await.unwrap();
    let storage = |client: Client| async move {
        let node = client.query_one("SELECT relfilenode::int8 FROM pg_class WHERE relname = 't'", &[]).await.unwrap();
        (node.get::<_, i64>(0), client)
    };
    let prepared = client.prepare("SELECT m::text FROM t WHERE m >= $1::text::mood ORDER BY t.m").await.unwrap();
    let again = |client: Client, prepared: tokio_postgres::Statement, from: &'static str| async move {
        let rows = client.query(&prepared, &[&from]).await.unwrap();
        (rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join(" "), client, prepared)
    };
    let (before, client) = storage(client).await;
    let (found, client, prepared) = again(client, prepared, "ok").await;
    assert_eq!(found, "ok happy");
    let change = "ALTER TYPE mood ADD VALUE 'dire' BEFORE 'sad'; ALTER TYPE mood ADD VALUE 'glad' AFTER 'ok';
        ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'; ALTER TYPE mood RENAME TO feeling;
        ALTER TABLE t ADD COLUMN n feeling DEFAULT 'fine'";
    for statement in change.split(';') {
        client.batch_execute(statement).await.unwrap();
    }
    client.batch_execute("INSERT INTO t VALUES ('glad', '{dire}'), ('dire', NULL)").await.unwrap();
    client.batch_execute("ALTER TYPE feeling RENAME VALUE 'fine' TO 'good'; ALTER TYPE feeling RENAME TO mood").await.unwrap();
    let expected = "dire sad{} good{sad,happy} glad{dire} happy";
    assert_eq!(strings(&client, ALL).await, expected);
    let (found, client, _) = again(client, prepared, "good").await;
    assert_eq!(found, "good glad happy", "a prepared statement goes on under the new labels");
    assert_eq!(strings(&client, "SELECT n::text FROM t WHERE m > 'sad' ORDER BY m").await, "good good good");
    let (after, client) = storage(client).await;
    assert_eq!(before, after, "no row was moved");
    drop(client);
    node.stop().await;
    drop(node);

    let node = start_again(&settings).await;
    let client = connect(&node).await;
    assert_eq!(strings(&client, ALL).await, expected);
    assert_eq!(strings(&client, "SELECT m::text FROM t WHERE m > 'good' ORDER BY t.m DESC").await, "happy glad");
    assert_eq!(strings(&client, "SELECT m::text FROM t WHERE ms = '{sad,happy}'").await, "good");
    assert_eq!(strings(&client, "SELECT enum_range(NULL::mood)::text").await, "{dire,sad,good,glad,happy}");
    assert_eq!(strings(&client, "SELECT n::text FROM t ORDER BY m LIMIT 3").await, "good good good");
    node.stop().await;
}

/// *types-of-this-version*, on a node that did not make the change.
#[tokio::test(flavor = "multi_thread")]
async fn a_type_changed_on_one_node_is_changed_on_another() {
    let dir = TempDir::new().unwrap();
    let one = Node::start(&config(dir.path(), "one")).await.unwrap();
    let join = vec![one.rpc_addr().to_string()];
    let two = Node::start(&NodeConfig { join, ..config(dir.path(), "two") }).await.unwrap();
    let (here, there) = (connect(&one).await, connect(&two).await);
    here.batch_execute(&format!("{MOOD}; CREATE TABLE t (m mood)")).await.unwrap();
    there.batch_execute("INSERT INTO t VALUES ('ok')").await.unwrap();
    assert_eq!(strings(&there, "SELECT m::text FROM t ORDER BY t.m").await, "ok");
    here.batch_execute("ALTER TYPE mood ADD VALUE 'glad' BEFORE 'happy'").await.unwrap();
    here.batch_execute("INSERT INTO t VALUES ('glad')").await.unwrap();
    assert_eq!(strings(&there, "SELECT m::text FROM t ORDER BY t.m").await, "ok glad");
    there.batch_execute("ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'").await.unwrap();
    assert_eq!(strings(&here, "SELECT m::text FROM t ORDER BY t.m DESC").await, "glad fine");
    let refused = here.batch_execute("INSERT INTO t VALUES ('ok')").await.unwrap_err();
    assert_eq!(refused.code().map(|code| code.code()), Some("22P02"));
    here.batch_execute("CREATE TYPE other AS ENUM ('x')").await.unwrap();
    let mut raw = Raw::connect(&two).await;
    let other = oid(&here, "other").await;
    let answer = raw.ask(&[parse("", "SELECT $1", &[other]), describe(b'S', ""), sync()]).await;
    assert_eq!(oids(&answer).0, [other], "an oid that another node has given out: {}", kinds(&answer));
    two.stop().await;
    one.stop().await;
}
