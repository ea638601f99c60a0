//! Range types as clients meet them: by oid, in binary, on another node's catalog and after a restart.

use quorate_tests::{
    config, connect,
    raw::{Message, Raw, bind, describe, execute, kinds, parse, sync},
    start_again,
};
use server::Node;
use tempfile::TempDir;

use crate::user_types::{oid, oids};

/// `[1.5,)` as clients send it: flags, then the bound behind its length.
fn from_one_and_a_half() -> Vec<u8> {
    let mut bytes = vec![0x02 | 0x10];
    bytes.extend_from_slice(&8_i32.to_be_bytes());
    bytes.extend_from_slice(&1.5_f64.to_be_bytes());
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_described_by_their_oids_and_sent_in_binary() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let client = connect(&node).await;
    client
        .batch_execute(
            "CREATE TYPE span AS RANGE (subtype = float8); \
             CREATE TABLE t (r span, m span_multirange, rs span[], ms span_multirange[], i int4range)",
        )
        .await
        .unwrap();
    let mut wanted = Vec::new();
    for name in ["span", "span_multirange", "span[]", "span_multirange[]"] {
        wanted.push(oid(&client, name).await);
    }
    wanted.push(3904);
    assert_eq!(wanted[..4], [wanted[0], wanted[0] + 2, wanted[0] + 1, wanted[0] + 3], "four-oids");

    let mut raw = Raw::connect(&node).await;
    let insert = "INSERT INTO t VALUES ($1, $2, $3, $4, $5) RETURNING *";
    let answer = raw.ask(&[parse("", insert, &[]), describe(b'S', ""), sync()]).await;
    assert_eq!(oids(&answer), (wanted.clone(), wanted.clone()), "{}", kinds(&answer));

    let range = from_one_and_a_half();
    let sized = |bytes: &[u8]| [&(bytes.len() as i32).to_be_bytes()[..], bytes].concat();
    let multirange = [&1_i32.to_be_bytes()[..], &sized(&range)].concat();
    let array = |element: u32, value: &[u8]| {
        let head: Vec<u8> = [1, 0, element as i32, 1, 1].into_iter().flat_map(i32::to_be_bytes).collect();
        [head, sized(value)].concat()
    };
    let (ranges, multiranges) = (array(wanted[0], &range), array(wanted[1], &multirange));
    // (1,4], which is [2,5).
    let given = [&[0x04][..], &sized(&1_i32.to_be_bytes()), &sized(&4_i32.to_be_bytes())].concat();
    let canonical = [&[0x02][..], &sized(&2_i32.to_be_bytes()), &sized(&5_i32.to_be_bytes())].concat();
    let values: [&[u8]; 5] = [&range, &multirange, &ranges, &multiranges, &given];
    let bound = bind("", "", &values.map(Some), 1);
    let answer = raw.ask(&[parse("", insert, &[]), bound, execute("", 0), sync()]).await;
    let row = answer.iter().find(|message| message.kind == b'D').map(Message::values);
    let expected = [&range, &multirange, &ranges, &multiranges, &canonical].map(|bytes| Some(bytes.clone())).to_vec();
    assert_eq!(row, Some(expected), "{}", kinds(&answer));

    // A bound that is cut short.
    let bound = bind("", "", &[Some(&range[..9]), None, None, None, None], 1);
    let answer = raw.ask(&[parse("", insert, &[]), bound, execute("", 0), sync()]).await;
    assert!(kinds(&answer).contains('E'), "{}", kinds(&answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn range_types_outlive_a_restart_and_changes() {
    let dir = TempDir::new().unwrap();
    let settings = config(dir.path(), "one");
    let node = Node::start(&settings).await.unwrap();
    let client = connect(&node).await;
    client
        .batch_execute(
            "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); CREATE TYPE moods AS RANGE (subtype = mood); \
             CREATE TABLE t (r moods PRIMARY KEY, ms moods_multirange[] DEFAULT ARRAY['{[sad,sad]}'::moods_multirange]); \
             INSERT INTO t VALUES ('[sad,ok]'), (moods('ok', 'happy', '()')), ('empty')",
        )
        .await
        .unwrap();
    let known = client.prepare("SELECT r::text FROM t WHERE r @> 'sad'::mood").await.unwrap();
    client.batch_execute("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'; ALTER TYPE moods RENAME TO feelings").await.unwrap();
    let before = client.query("SELECT r::text, ms::text FROM t ORDER BY t.r", &[]).await.unwrap();
    let shown = |rows: &[tokio_postgres::Row]| -> Vec<(String, String)> {
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let all = |low: &str| {
        [format!("empty"), format!("[{low},ok]"), "(ok,happy)".to_owned()].map(|r| (r, format!("{{\"{{[{low},{low}]}}\"}}"))).to_vec()
    };
    assert_eq!(shown(&before), all("blue"));
    drop(known);
    drop(client);
    node.stop().await;
    drop(node);
    let node = start_again(&settings).await;
    let client = connect(&node).await;
    assert_eq!(shown(&client.query("SELECT r::text, ms::text FROM t ORDER BY t.r", &[]).await.unwrap()), all("blue"));
    let found = client.query("SELECT 1 FROM t WHERE r = feelings('blue', 'ok', '[]')", &[]).await.unwrap();
    assert_eq!(found.len(), 1, "a key is found by what it is");
    // The text of its default names the label as it was.
    client.batch_execute("ALTER TABLE t ALTER ms DROP DEFAULT").await.unwrap();
    let refused = client.execute("INSERT INTO t VALUES ('[blue,ok]', NULL)", &[]).await.unwrap_err();
    assert_eq!(refused.code().map(|code| code.code()), Some("23505"));
    client.batch_execute("DROP TYPE feelings CASCADE").await.unwrap();
    assert!(client.query("SELECT r FROM t", &[]).await.is_err());
}
