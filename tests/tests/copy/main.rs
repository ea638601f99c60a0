//! COPY as PostgreSQL 15 does it: statements with their data, and what it answered, byte by byte.
//!
//! ```text
//!  COPY t FROM STDIN        a statement
//!  << "1\t2\n"              the data that is sent, each byte a character
//!  ----
//!  ok COPY 1                tags; `row` and `>>` for rows and data; ERROR, DETAIL, HINT, CONTEXT; NOTICE
//! ```

mod large_objects;

use quorate_tests::{
    config,
    raw::{Message, Raw, frame, query},
};
use server::Node;
use tempfile::TempDir;

const RECORDED: &str = include_str!("recorded.txt");
/// What PostgreSQL 15 does not have, or what differs.
const OURS: &str = include_str!("ours.txt");

fn bytes_of(json: &str) -> Vec<u8> {
    let text: String = serde_json::from_str(json).unwrap();
    text.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect()
}

fn json_of(bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let mut json = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            ' '..='~' => json.push(character),
            other => json.push_str(&format!("\\u{:04x}", u32::from(other))),
        }
    }
    json.push('"');
    json
}

fn on_one_line(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

fn note(message: &Message, out: &mut Vec<String>, copied: &mut Vec<u8>) {
    match message.kind {
        b'C' => out.push(format!("ok {}", message.tag())),
        b'd' => copied.extend_from_slice(&message.body),
        b'c' => out.push(format!(">> {}", json_of(&std::mem::take(copied)))),
        b'D' => {
            let values: Vec<serde_json::Value> = message
                .values()
                .into_iter()
                .map(|value| value.map_or(serde_json::Value::Null, |value| String::from_utf8(value).unwrap().into()))
                .collect();
            let shown: Vec<String> = values.iter().map(ToString::to_string).collect();
            out.push(format!("row [{}]", shown.join(", ")));
        }
        b'E' => {
            let field = |kind| message.field(kind).unwrap_or_default();
            out.push(format!("ERROR {}: {}", field(b'C'), on_one_line(&field(b'M'))));
            for (kind, name) in [(b'D', "DETAIL"), (b'H', "HINT"), (b'W', "CONTEXT")] {
                if let Some(text) = message.field(kind) {
                    out.push(format!("{name}: {}", on_one_line(&text)));
                }
            }
        }
        b'N' => out.push(format!("NOTICE: {}", message.field(b'M').unwrap_or_default())),
        _ => {}
    }
}

async fn answer(raw: &mut Raw, statement: &str, data: Option<&str>) -> Vec<String> {
    raw.send(&query(statement)).await;
    let (mut out, mut copied) = (Vec::new(), Vec::new());
    loop {
        let message = raw.receive().await.expect("the connection goes on");
        match message.kind {
            b'Z' => break,
            b'G' => {
                let data = data.map(bytes_of).unwrap_or_default();
                // In pieces, as it may arrive.
                for piece in data.chunks(5) {
                    raw.send(&frame(b'd', piece)).await;
                }
                raw.send(&frame(b'c', b"")).await;
            }
            _ => note(&message, &mut out, &mut copied),
        }
    }
    // A result has its rows before its tag; PostgreSQL's are recorded without the tag of what answers rows.
    let mut shown: Vec<String> = Vec::new();
    for line in out {
        let follows_rows = line.starts_with("ok SELECT");
        if !follows_rows {
            shown.push(line);
        }
    }
    // Notices come first in the record.
    shown.sort_by_key(|line| !line.starts_with("NOTICE"));
    shown
}

async fn run(recorded: &str, database: &str, node: &Node) -> Vec<String> {
    let mut admin = Raw::connect(node).await;
    answer(&mut admin, &format!("CREATE DATABASE {database}"), None).await;
    let mut raw = Raw::connect_to(node, database).await;
    let mut wrong = Vec::new();
    for block in recorded.split("\n\n") {
        let (head, expected) = block.split_once("\n----").expect("an answer");
        let (mut statement, mut data) = (Vec::new(), None);
        for line in head.lines() {
            match line.strip_prefix("<< ") {
                Some(json) => data = Some(json),
                None => statement.push(line),
            }
        }
        let statement = statement.join("\n");
        let found = answer(&mut raw, &statement, data).await;
        let expected: Vec<&str> = expected.lines().filter(|line| !line.is_empty()).collect();
        if found != expected {
            wrong.push(format!("{statement}\n  expected {expected:#?}\n  found {found:#?}"));
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_answers_as_postgresql_does() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    for (recorded, database) in [(RECORDED, "recorded"), (OURS, "ours")] {
        let wrong = run(recorded, database, &node).await;
        assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    }
    node.stop().await;
}
