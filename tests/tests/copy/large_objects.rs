//! Large objects as libpq uses them, by FunctionCall; files of the server; binary cursors.

use quorate_tests::{
    config,
    raw::{Message, Raw, frame, kinds, query},
};
use server::Node;
use tempfile::TempDir;

const LO_OPEN: u32 = 952;
const LO_READ: u32 = 954;
const LO_WRITE: u32 = 955;
const LO_SEEK: u32 = 956;
const LO_CREAT: u32 = 957;
const READ_WRITE: i32 = 0x6_0000;

/// FunctionCall, with arguments and the result in the binary format.
fn call(oid: u32, args: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = oid.to_be_bytes().to_vec();
    body.extend_from_slice(&1_i16.to_be_bytes());
    body.extend_from_slice(&1_i16.to_be_bytes());
    body.extend_from_slice(&(args.len() as i16).to_be_bytes());
    for arg in args {
        match arg {
            None => body.extend_from_slice(&(-1_i32).to_be_bytes()),
            Some(arg) => {
                body.extend_from_slice(&(arg.len() as i32).to_be_bytes());
                body.extend_from_slice(arg);
            }
        }
    }
    body.extend_from_slice(&1_i16.to_be_bytes());
    frame(b'F', &body)
}

/// The value of a FunctionCallResponse; none for NULL.
fn value(answer: &[Message]) -> Option<Vec<u8>> {
    assert_eq!(kinds(answer), "VZ", "{answer:?}");
    let length = i32::from_be_bytes(answer[0].body[..4].try_into().unwrap());
    (length >= 0).then(|| answer[0].body[4..].to_vec())
}

async fn int(raw: &mut Raw, oid: u32, args: &[Option<&[u8]>]) -> i32 {
    i32::from_be_bytes(value(&raw.ask(&[call(oid, args)]).await).unwrap().try_into().unwrap())
}

async fn error(raw: &mut Raw, message: Vec<u8>) -> (String, String) {
    let answer = raw.ask(&[message]).await;
    // A query that fails while it runs has described its rows.
    assert!(["EZ", "TEZ"].contains(&kinds(&answer).as_str()), "{answer:?}");
    let failed = answer.iter().find(|message| message.kind == b'E').unwrap();
    (failed.field(b'C').unwrap(), failed.field(b'M').unwrap())
}

async fn rows(raw: &mut Raw, text: &str) -> Vec<String> {
    let answer = raw.ask(&[query(text)]).await;
    assert!(!kinds(&answer).contains('E'), "{text}: {answer:?}");
    answer.iter().filter(|message| message.kind == b'D').map(Message::text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_are_called_by_message() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let mut raw = Raw::connect(&node).await;
    let oid = int(&mut raw, LO_CREAT, &[Some(&READ_WRITE.to_be_bytes())]).await.to_be_bytes();
    raw.ask(&[query("BEGIN")]).await;
    let fd = int(&mut raw, LO_OPEN, &[Some(&oid), Some(&READ_WRITE.to_be_bytes())]).await.to_be_bytes();
    let data: Vec<u8> = (0..10_000_u32).map(|at| (at % 251) as u8).collect();
    for piece in data.chunks(3000) {
        assert_eq!(int(&mut raw, LO_WRITE, &[Some(&fd), Some(piece)]).await, piece.len() as i32);
    }
    let zero = 0_i32.to_be_bytes();
    assert_eq!(int(&mut raw, LO_SEEK, &[Some(&fd), Some(&5_i32.to_be_bytes()), Some(&zero)]).await, 5);
    let length = 20_000_i32.to_be_bytes();
    let read = value(&raw.ask(&[call(LO_READ, &[Some(&fd), Some(&length)])]).await).unwrap();
    assert!(read == data[5..], "{} bytes were read", read.len());
    assert_eq!(value(&raw.ask(&[call(LO_READ, &[Some(&fd), None])]).await), None, "strict");
    // A second session sees nothing yet, and all of it after the commit.
    let mut other = Raw::connect(&node).await;
    let size = format!("SELECT length(lo_get({}))", u32::from_be_bytes(oid));
    raw.ask(&[query("COMMIT")]).await;
    assert_eq!(rows(&mut other, &size).await, ["10000"]);
    let (code, message) = error(&mut raw, call(LO_READ, &[Some(&fd), Some(&length)])).await;
    assert_eq!((code.as_str(), message.as_str()), ("42704", "invalid large-object descriptor: 0"));
    let (code, message) = error(&mut raw, call(1397, &[])).await;
    assert_eq!((code.as_str(), message.as_str()), ("08P01", "function call message contains 0 arguments but function requires 1"));
    let (code, message) = error(&mut raw, call(1, &[])).await;
    assert_eq!((code.as_str(), message.as_str()), ("42883", "function with OID 1 does not exist"));
    assert_eq!(error(&mut raw, call(1067, &[])).await.0, "0A000", "a set");
    assert_eq!(error(&mut raw, frame(b'F', b"\0\0")).await.0, "08P01");
    raw.ask(&[query("CREATE FUNCTION twice(a int) RETURNS int LANGUAGE sql AS 'SELECT a * 2'")]).await;
    let twice: u32 = rows(&mut raw, "SELECT 'twice(int)'::regprocedure::oid").await[0].parse().unwrap();
    assert_eq!(int(&mut raw, twice, &[Some(&21_i32.to_be_bytes())]).await, 42);
    raw.ask(&[query("BEGIN; SELECT 1/0")]).await;
    assert_eq!(error(&mut raw, call(twice, &[Some(&zero)])).await.0, "25P02");
    raw.ask(&[query("ROLLBACK")]).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_cursors_give_the_binary_format() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let mut raw = Raw::connect(&node).await;
    raw.ask(&[query("BEGIN; DECLARE c BINARY CURSOR FOR SELECT 7, 'x'::text")]).await;
    let answer = raw.ask(&[query("FETCH c")]).await;
    assert_eq!(kinds(&answer), "TDCZ");
    assert_eq!(answer[1].values(), [Some(vec![0, 0, 0, 7]), Some(b"x".to_vec())]);
    let answer = raw.ask(&[query("SELECT is_binary FROM pg_cursors")]).await;
    assert_eq!(answer[1].text(), "t");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_programs_are_those_that_the_node_allows() {
    let (dir, files) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let settings = server::NodeConfig {
        server_files: Some(files.path().to_owned()),
        server_programs: true,
        ..config(dir.path(), "one")
    };
    let node = Node::start(&settings).await.unwrap();
    let mut raw = Raw::connect(&node).await;
    let path = |name: &str| files.path().join(name).display().to_string();
    rows(&mut raw, "CREATE TABLE t (a int, b text)").await;
    rows(&mut raw, "INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 50000) g").await;
    rows(&mut raw, &format!("COPY t TO '{}' CSV HEADER", path("t.csv"))).await;
    let text = std::fs::read_to_string(path("t.csv")).unwrap();
    assert!(text.starts_with("a,b\n1,row 1\n") && text.lines().count() == 50_001);
    rows(&mut raw, "CREATE TABLE u (LIKE t)").await;
    rows(&mut raw, &format!("COPY u FROM '{}' (FORMAT csv, HEADER match)", path("t.csv"))).await;
    assert_eq!(rows(&mut raw, "SELECT count(*) FROM (SELECT * FROM t EXCEPT SELECT * FROM u) d").await, ["0"]);
    rows(&mut raw, &format!("COPY t TO '{}' (FORMAT binary)", path("t.bin"))).await;
    rows(&mut raw, "TRUNCATE u").await;
    rows(&mut raw, "COPY u FROM 't.bin' (FORMAT binary)").await;
    assert_eq!(rows(&mut raw, "SELECT count(*) FROM u").await, ["50000"]);
    rows(&mut raw, "TRUNCATE u").await;
    rows(&mut raw, "COPY u FROM PROGRAM 'echo 1,x; echo 2,y' CSV").await;
    rows(&mut raw, "COPY u TO PROGRAM 'cat > out.txt'").await;
    assert_eq!(std::fs::read_to_string(path("out.txt")).unwrap(), "1\tx\n2\ty\n");
    let refused = |text: String| query(&text);
    let cases = [
        ("COPY u FROM PROGRAM 'echo 3,z; exit 3' CSV".to_owned(), "38000"),
        ("COPY u FROM '/etc/passwd'".to_owned(), "42501"),
        (format!("COPY u FROM '{}'", path("nosuch")), "58P01"),
        (format!("COPY u TO '{}'", path("no/such")), "58P01"),
        ("COPY u TO 'relative'".to_owned(), "42602"),
        (format!("COPY u FROM '{}'", files.path().display()), "42809"),
        ("SELECT lo_import('../../etc/passwd')".to_owned(), "42501"),
    ];
    for (text, state) in cases {
        assert_eq!(error(&mut raw, refused(text.clone())).await.0, state, "{text}");
    }
    assert_eq!(rows(&mut raw, "SELECT count(*) FROM u").await, ["2"]);
    let oid = &rows(&mut raw, "SELECT lo_import('t.csv')").await[0];
    assert_eq!(rows(&mut raw, &format!("SELECT length(lo_get({oid}))")).await, [text.len().to_string()]);
    assert_eq!(rows(&mut raw, &format!("SELECT lo_export({oid}, '{}')", path("again.csv"))).await, ["1"]);
    assert_eq!(std::fs::read_to_string(path("again.csv")).unwrap(), text);
    rows(&mut raw, "CREATE ROLE reader LOGIN; GRANT SELECT, INSERT ON u TO reader; SET ROLE reader").await;
    assert_eq!(error(&mut raw, query("COPY u FROM 't.csv'")).await.0, "42501");
    assert_eq!(error(&mut raw, query("COPY u FROM PROGRAM 'true'")).await.0, "42501");
    assert_eq!(error(&mut raw, query("SELECT lo_import('t.csv')")).await.0, "42501");
    rows(&mut raw, "RESET ROLE; GRANT pg_read_server_files TO reader; SET ROLE reader").await;
    rows(&mut raw, "COPY u FROM 't.csv' CSV HEADER").await;
    assert_eq!(error(&mut raw, query(&format!("COPY u TO '{}'", path("x")))).await.0, "42501");
    node.stop().await;
}
