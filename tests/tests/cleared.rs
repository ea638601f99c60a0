//! Storage that is cleared after a DROP or TRUNCATE while somebody still reads it: an error, never fewer rows.

use futures::StreamExt;
use keys::{Key, Span, keyspace};
use quorate_tests::{config, connect};
use server::Node;
use tempfile::TempDir;
use tokio_postgres::error::SqlState;

/// What the clear does that comes half a minute after the commit.
async fn clear(node: &Node) {
    let tables = Span::new(keyspace::table(keyspace::FIRST_USER_TABLE), Key::MAX);
    node.kv().db.clear_span(&tables, node.kv().clock.now()).await.unwrap();
}

fn is_told(error: &tokio_postgres::Error) -> bool {
    let code = error.code().unwrap_or_else(|| panic!("{error:?}"));
    code.code() == "72000" || *code == SqlState::T_R_SERIALIZATION_FAILURE
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_over_a_dropped_table_fails_instead_of_ending_early() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let (reader, other) = (connect(&node).await, connect(&node).await);
    for (mode, drop) in [("", "DROP TABLE t"), ("READ ONLY", "TRUNCATE t")] {
        other
            .batch_execute("DROP TABLE IF EXISTS t; CREATE TABLE t (a int PRIMARY KEY, b text)")
            .await
            .unwrap();
        other
            .batch_execute("INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 20000) g")
            .await
            .unwrap();
        reader.batch_execute(&format!("BEGIN {mode}; DECLARE c CURSOR FOR SELECT * FROM t")).await.unwrap();
        assert_eq!(reader.query("FETCH 10 FROM c", &[]).await.unwrap().len(), 10);
        other.batch_execute(drop).await.unwrap();
        clear(&node).await;
        let rest = reader.query("FETCH ALL FROM c", &[]).await.map(|rows| rows.len());
        assert!(matches!(&rest, Err(error) if is_told(error)), "{drop}: {rest:?}");
        reader.batch_execute("ROLLBACK").await.unwrap();
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_a_truncated_table_fails_instead_of_being_short() {
    const ROWS: usize = 150_000;
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let (reader, other) = (connect(&node).await, connect(&node).await);
    other.batch_execute("CREATE TABLE t (a int PRIMARY KEY, b text)").await.unwrap();
    let fill = format!("INSERT INTO t SELECT g, repeat('x', 200) FROM generate_series(1, {ROWS}) g");
    other.batch_execute(&fill).await.unwrap();
    let dump = reader.copy_out("COPY t TO STDOUT").await.unwrap();
    let mut dump = std::pin::pin!(dump);
    dump.next().await.unwrap().unwrap();
    // More than the buffers between hold is left to be read.
    other.batch_execute("TRUNCATE t").await.unwrap();
    clear(&node).await;
    let mut told = None;
    while let Some(chunk) = dump.next().await {
        if let Err(error) = chunk {
            told = Some(error);
            break;
        }
    }
    assert!(told.as_ref().is_some_and(is_told), "{told:?}");
    assert_eq!(other.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get::<_, i64>(0), 0);
    node.stop().await;
}
