//! What ANALYZE finds out, what EXPLAIN says, and that plans made of it answer rightly.

use quorate_tests::{config, connect};
use server::Node;
use tempfile::TempDir;
use tokio_postgres::Client;

const SHOP: &str = "
    CREATE TABLE customer (id int PRIMARY KEY, region int NOT NULL, name text);
    CREATE TABLE orders (id int PRIMARY KEY, customer_id int, day int NOT NULL, note text);
    CREATE INDEX orders_customer ON orders (customer_id, day);
    INSERT INTO customer SELECT i, i % 7, 'customer ' || i FROM generate_series(1, 300) i;
    INSERT INTO orders SELECT i, CASE WHEN i % 10 > 0 THEN i % 290 + 1 END, i % 50, 'note' FROM generate_series(1, 3000) i";

async fn column(client: &Client, sql: &str) -> Vec<String> {
    client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn count(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_follow_statistics_and_answer_rightly() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let client = connect(&node).await;
    client.batch_execute(SHOP).await.unwrap();
    // By itself: it looks at what is committed.
    client.batch_execute("ANALYZE").await.unwrap();

    let known = client
        .query_one(
            "SELECT n_distinct, null_frac::float8, array_length(most_common_freqs, 1) FROM pg_stats
             WHERE tablename = 'customer' AND attname = 'region'",
            &[],
        )
        .await
        .unwrap();
    assert_eq!((known.get::<_, f32>(0), known.get::<_, f64>(1), known.get::<_, i32>(2)), (7.0, 0.0, 7));
    let rows = client.query_one("SELECT reltuples::float8 FROM pg_class WHERE relname = 'orders'", &[]).await.unwrap();
    assert_eq!(rows.get::<_, f64>(0), 3000.0);

    // A subquery is a join from its smaller side, and the counts are those of what ran.
    let plan = column(
        &client,
        "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF)
         SELECT * FROM customer WHERE id IN (SELECT customer_id FROM orders WHERE id < 5)",
    )
    .await;
    let expected = [
        "Nested Loop (actual rows=4 loops=1)",
        "  ->  HashAggregate (actual rows=4 loops=1)",
        "        Group Key: orders.customer_id",
        "        ->  Index Scan using orders_pkey on orders (actual rows=4 loops=1)",
        "              Index Cond: (id < 5)",
        "  ->  Index Scan using customer_pkey on customer",
        "        Index Cond: (id = orders.customer_id)",
    ];
    assert_eq!(plan[..7], expected);
    assert!(plan[7].trim().starts_with("Execution Time: "), "{}", plan[7]);

    // An order that an index has, and a limit on it, read no more than that.
    let plan = column(
        &client,
        "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) SELECT day FROM orders WHERE customer_id = 5 ORDER BY day DESC LIMIT 2",
    )
    .await;
    assert_eq!(plan[1], "  ->  Index Only Scan Backward using orders_customer on orders (actual rows=2 loops=1)");

    // NULLs among the values make NOT IN empty, and NOT EXISTS not.
    let list = "(SELECT customer_id FROM orders)";
    assert_eq!(count(&client, &format!("SELECT count(*) FROM customer WHERE id NOT IN {list}")).await, 0);
    let exists = "EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.id AND o.day < 100)";
    let with = count(&client, &format!("SELECT count(*) FROM customer c WHERE {exists}")).await;
    let without = count(&client, &format!("SELECT count(*) FROM customer c WHERE NOT {exists}")).await;
    assert_eq!(with + without, 300);
    assert_eq!(with, count(&client, "SELECT count(DISTINCT customer_id) FROM orders").await);
    let pairs = "SELECT count(*) FROM customer c LEFT JOIN orders o ON o.customer_id = c.id AND o.day = 3";
    let matched = count(&client, &format!("{pairs} WHERE o.id > 0")).await;
    assert_eq!(count(&client, pairs).await, matched + count(&client, &format!("{pairs} WHERE o.id IS NULL")).await);

    // Rows that are looked up to be changed are changed once.
    let changed = client
        .execute("UPDATE customer SET region = region + 100 WHERE id IN (SELECT customer_id FROM orders WHERE id < 5)", &[])
        .await
        .unwrap();
    assert_eq!(changed, 4);
    assert_eq!(count(&client, "SELECT count(*) FROM customer WHERE region >= 100").await, 4);
    node.stop().await;
}

/// A statement prepared before ANALYZE is planned by what it has found.
#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_learn_of_new_statistics() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let client = connect(&node).await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, a int, b text); CREATE INDEX ON t (a);
             INSERT INTO t SELECT i, i % 2, 'x' FROM generate_series(1, 500) i;
             PREPARE q AS SELECT b FROM t WHERE a = 1",
        )
        .await
        .unwrap();
    let explained = "EXPLAIN (COSTS OFF) SELECT b FROM t WHERE a = 1";
    assert_eq!(column(&client, explained).await[0], "Index Scan using t_a_idx on t");
    client.batch_execute("ANALYZE t").await.unwrap();
    assert_eq!(column(&client, explained).await[0], "Seq Scan on t");
    let found = client.simple_query("EXECUTE q").await.unwrap();
    let rows = found.iter().filter(|it| matches!(it, tokio_postgres::SimpleQueryMessage::Row(_))).count();
    assert_eq!(rows, 250);
    node.stop().await;
}
