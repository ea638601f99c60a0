//! Who gets in and who does not: passwords, rules, certificates, and what is said to those who stay outside.

use std::{path::Path, time::Duration};

use certs::{Lifetime, create_ca, create_client, create_node};
use quorate_tests::{
    config, connect,
    raw::{Raw, startup},
    replicated, start_again,
    tls::Tls,
};
use server::{Node, NodeConfig};
use tempfile::TempDir;
use tokio_postgres::{Client, Config, Error, NoTls, error::SqlState, tls::MakeTlsConnect};

const HBA: &str = "server.host_based_authentication.configuration";
const ASK_ALL_BUT_POSTGRES: &str = "host all postgres all trust\nhost all all all scram-sha-256";

async fn node() -> (TempDir, Node) {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    (dir, node)
}

async fn set_rules(client: &Client, rules: &str) -> Result<(), Error> {
    client.batch_execute(&format!("SET CLUSTER SETTING {HBA} = '{rules}'")).await
}

/// Connects with these further words of a connection string.
async fn try_with<T>(node: &Node, words: &str, tls: T) -> Result<Client, Error>
where
    T: MakeTlsConnect<tokio_postgres::Socket, Stream: Send + 'static>,
{
    let port = node.sql_addr().port();
    let config: Config = format!("host=localhost hostaddr=127.0.0.1 port={port} dbname=postgres {words}").parse().unwrap();
    let (client, connection) = config.connect(tls).await?;
    tokio::spawn(async move {
        let _ended = connection.await;
    });
    Ok(client)
}

async fn refused<T>(node: &Node, words: &str, tls: T) -> (String, String)
where
    T: MakeTlsConnect<tokio_postgres::Socket, Stream: Send + 'static>,
{
    let Err(error) = try_with(node, words, tls).await else { panic!("{words} got in") };
    let Some(error) = error.as_db_error() else { panic!("{words}: {error:?}") };
    assert_eq!(error.severity(), "FATAL");
    (error.code().code().to_owned(), error.message().to_owned())
}

fn code(result: Result<(), Error>) -> SqlState {
    result.unwrap_err().code().expect("the server's").clone()
}

/// A node that is given no certificates makes its own, and the superuser's password.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_password_is_the_superusers() {
    let dir = TempDir::new().unwrap();
    let config = NodeConfig { own_certs: true, ..config(dir.path(), "one") };
    let node = Node::start(&config).await.unwrap();
    let password = node.first_password().expect("the cluster is new").to_owned();
    let certs = node.certs_dir().unwrap().to_owned();
    let (known, shown) = (Tls::new(&certs, None), Tls::new(&certs, Some((certs.as_path(), "postgres"))));
    let with = |password: &str| format!("user=postgres password={password} sslmode=require");
    try_with(&node, &with(&password), known.clone()).await.unwrap();
    try_with(&node, "user=postgres sslmode=require", shown.clone()).await.unwrap();
    assert_eq!(refused(&node, &with("guessed"), known.clone()).await.0, "28P01");
    assert_eq!(refused(&node, "user=postgres", NoTls).await.0, "28000");
    node.password_shown();
    node.stop().await;
    drop(node);
    let node = start_again(&config).await;
    assert_eq!(node.first_password(), None);
    let admin = try_with(&node, &with(&password), known).await.unwrap();
    // Others join with its CA, and with nothing else.
    let join = vec![node.rpc_addr().to_string()];
    let second = NodeConfig { own_certs: true, join: join.clone(), ..quorate_tests::config(dir.path(), "two") };
    let Err(error) = Node::start(&second).await else { panic!("it has no certificate") };
    assert!(error.to_string().contains("--certs-dir"), "{error}");
    // Where they are looked for, they may have been put.
    std::fs::create_dir_all(dir.path().join("two")).unwrap();
    std::os::unix::fs::symlink(&certs, dir.path().join("two/certs")).unwrap();
    std::fs::write(certs.join("password-due"), "").unwrap();
    let second = Node::start(&second).await.unwrap();
    assert_eq!(second.first_password(), None);
    try_with(&second, &with(&password), shown).await.unwrap();
    drop(admin);
    second.stop().await;
    node.stop().await;
}

/// Who runs the node is whoever it says at the Unix socket; rules decide there as they do elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn peers_at_the_socket() {
    let dir = TempDir::new().unwrap();
    let sockets = TempDir::new().unwrap();
    let config = NodeConfig { socket_dir: Some(sockets.path().into()), ..config(dir.path(), "one") };
    let node = Node::start(&config).await.unwrap();
    let port = node.sql_addr().port();
    let file = sockets.path().join(format!(".s.PGSQL.{port}"));
    let at_socket = async |user: &str| {
        let words = format!("host={} port={port} user={user} dbname=postgres", sockets.path().display());
        let (client, connection) = tokio_postgres::connect(&words, NoTls).await?;
        tokio::spawn(async move {
            let _ended = connection.await;
        });
        Ok::<_, Error>(client)
    };
    let admin = at_socket("postgres").await.unwrap();
    let row = admin.query_one("SELECT client_addr::text FROM pg_stat_activity WHERE pid = pg_backend_pid()", &[]);
    assert_eq!(row.await.unwrap().get::<_, Option<String>>(0), None);
    set_rules(&admin, "local all all reject").await.unwrap();
    let rejected = at_socket("postgres").await.err().expect("a rule rejects it");
    assert_eq!(
        rejected.as_db_error().unwrap().message(),
        "pg_hba.conf rejects connection for host \"[local]\", user \"postgres\", database \"postgres\", no encryption"
    );
    set_rules(&admin, "local all all peer\nhost all all all reject").await.unwrap();
    at_socket("postgres").await.unwrap();
    let elsewhere = refused(&node, "user=postgres", NoTls).await;
    assert_eq!(elsewhere.0, "28000", "{elsewhere:?}");
    let other = NodeConfig { sql_addr: format!("127.0.0.2:{port}"), ..quorate_tests::config(dir.path(), "two") };
    let other = NodeConfig { socket_dir: config.socket_dir.clone(), ..other };
    assert!(Node::start(&other).await.is_err(), "somebody listens there");
    assert!(file.exists());
    node.stop().await;
    assert!(!file.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_asked_for() {
    let (_dir, node) = node().await;
    let admin = connect(&node).await;
    set_rules(&admin, ASK_ALL_BUT_POSTGRES).await.unwrap();
    for statement in [
        "CREATE ROLE app LOGIN PASSWORD 'se''cret'",
        "CREATE USER late PASSWORD 'x' VALID UNTIL '2020-01-01'",
        "CREATE USER good PASSWORD 'x' VALID UNTIL 'infinity'",
        "CREATE ROLE out PASSWORD 'x'",
        "CREATE USER bare",
        "CREATE USER few PASSWORD 'x' CONNECTION LIMIT 1",
        // The example of RFC 7677: the verifier of `pencil`.
        "CREATE USER rfc PASSWORD 'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU='",
    ] {
        admin.batch_execute(statement).await.unwrap();
    }
    for words in ["user=app password=se\\'cret", "user=good password=x", "user=rfc password=pencil"] {
        let client = try_with(&node, words, NoTls).await.unwrap();
        client.simple_query("SELECT 1").await.unwrap();
    }
    let wrong = |user: &str| ("28P01".to_owned(), format!("password authentication failed for user \"{user}\""));
    for (user, password) in [("app", "secret"), ("late", "x"), ("bare", "x"), ("ghost", "x")] {
        assert_eq!(refused(&node, &format!("user={user} password={password}"), NoTls).await, wrong(user));
    }
    assert_eq!(
        refused(&node, "user=out password=x", NoTls).await,
        ("28000".into(), "role \"out\" is not permitted to log in".into())
    );
    let only = try_with(&node, "user=few password=x", NoTls).await.unwrap();
    assert_eq!(
        refused(&node, "user=few password=x", NoTls).await,
        ("53300".into(), "too many connections for role \"few\"".into())
    );
    drop(only);

    // What is kept is a verifier, and only a superuser sees it.
    let row = admin.query_one("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'", &[]).await.unwrap();
    let kept: String = row.get(0);
    assert!(kept.starts_with("SCRAM-SHA-256$4096:") && !kept.contains("cret"), "{kept}");
    let row = admin.query_one("SELECT passwd FROM pg_shadow WHERE usename = 'app'", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), kept);
    let row = admin.query_one("SELECT rolpassword FROM pg_roles WHERE rolname = 'app'", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "********");
    let app = try_with(&node, "user=app password=se\\'cret", NoTls).await.unwrap();
    for secret in ["pg_authid", "pg_shadow", "pg_hba_file_rules"] {
        assert_eq!(code(app.batch_execute(&format!("SELECT * FROM {secret}")).await), SqlState::INSUFFICIENT_PRIVILEGE);
    }

    // A role may change its own password and nothing else.
    app.batch_execute("ALTER ROLE app PASSWORD 'new'").await.unwrap();
    assert_eq!(refused(&node, "user=app password=se\\'cret", NoTls).await, wrong("app"));
    drop(try_with(&node, "user=app password=new", NoTls).await.unwrap());
    for statement in [
        "ALTER ROLE app PASSWORD 'new' CREATEDB",
        "ALTER ROLE good PASSWORD 'new'",
        "ALTER ROLE postgres PASSWORD 'new'",
        "CREATE ROLE other",
        "CREATE ROLE other SUPERUSER",
        "DROP ROLE good",
        "SET CLUSTER SETTING server.host_based_authentication.configuration = ''",
    ] {
        assert_eq!(code(app.batch_execute(statement).await), SqlState::INSUFFICIENT_PRIVILEGE, "{statement}");
    }
    admin.batch_execute("ALTER ROLE app PASSWORD NULL; ALTER ROLE good PASSWORD ''").await.unwrap();
    assert_eq!(refused(&node, "user=app password=new", NoTls).await, wrong("app"));
    assert_eq!(refused(&node, "user=good password=x", NoTls).await, wrong("good"));
    for (statement, state) in [
        ("CREATE ROLE a PASSWORD 'x' PASSWORD 'y'", SqlState::SYNTAX_ERROR),
        ("CREATE ROLE a CONNECTION LIMIT -2", SqlState::INVALID_PARAMETER_VALUE),
        ("CREATE ROLE a VALID UNTIL 'someday'", SqlState::INVALID_DATETIME_FORMAT),
        ("CREATE ROLE a PASSWORD 'md5d41d8cd98f00b204e9800998ecf8427e'", SqlState::FEATURE_NOT_SUPPORTED),
    ] {
        assert_eq!(code(admin.batch_execute(statement).await), state, "{statement}");
    }

    // Nor does what runs show it.
    let text = "SELECT query FROM pg_stat_activity WHERE query LIKE '%pass' || 'word%' /* password 'se''cret' */";
    let row = admin.query_one(text, &[]).await.unwrap();
    let shown: String = row.get(0);
    assert!(shown.ends_with("/* password '********' */"), "{shown}");
    node.stop().await;
}

/// The startup packet and a function's SET clause were taken as they came: either made any role a superuser.
#[tokio::test(flavor = "multi_thread")]
async fn which_role_a_session_acts_as_is_checked_wherever_it_is_set() {
    let (_dir, node) = node().await;
    let admin = connect(&node).await;
    admin.batch_execute("CREATE ROLE app LOGIN; CREATE ROLE other; GRANT CREATE ON SCHEMA public TO app").await.unwrap();
    let denied = |message: &str| ("42501".to_owned(), message.to_owned());
    for (setting, message) in [
        ("role=postgres", "permission denied to set role \"postgres\""),
        ("ROLE=other", "permission denied to set role \"other\""),
        ("session_authorization=postgres", "permission denied to set session authorization"),
        ("Session_Authorization=other", "permission denied to set session authorization"),
    ] {
        let words = format!("user=app options='-c {setting}'");
        assert_eq!(refused(&node, &words, NoTls).await, denied(message), "{setting}");
    }
    let current = async |client: &Client| -> String {
        client.query_one("SELECT current_user::text", &[]).await.unwrap().get(0)
    };
    // Who may be that role is, from the start; what is no role at all stays a setting.
    let superuser = try_with(&node, "user=postgres options='-c role=other -c work_mem=8MB'", NoTls).await.unwrap();
    assert_eq!(current(&superuser).await, "other");
    superuser.batch_execute("RESET ROLE").await.unwrap();
    assert_eq!(current(&superuser).await, "postgres");
    let app = try_with(&node, "user=app options='-c role=app'", NoTls).await.unwrap();
    assert_eq!(current(&app).await, "app");

    for setting in ["role", "\"ROLE\"", "session_authorization"] {
        let make = format!("CREATE OR REPLACE FUNCTION f() RETURNS text LANGUAGE sql SET {setting} = 'postgres' AS 'SELECT current_user::text'");
        if let Err(error) = app.batch_execute(&make).await {
            assert_eq!(setting, "session_authorization", "{error}");
            continue;
        }
        let error = app.query_one("SELECT f()", &[]).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{setting}");
        assert_eq!(current(&app).await, "app");
    }
    admin.batch_execute("CREATE FUNCTION g() RETURNS text LANGUAGE sql SET role = 'other' AS 'SELECT current_user::text'").await.unwrap();
    assert_eq!(admin.query_one("SELECT g()", &[]).await.unwrap().get::<_, String>(0), "other");
    assert_eq!(current(&admin).await, "postgres");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_decide_and_bad_ones_are_refused() {
    let (_dir, node) = node().await;
    let admin = connect(&node).await;
    let shown = "SELECT line_number, type, database, user_name, address, netmask, auth_method FROM pg_hba_file_rules";
    let rows = admin.query(shown, &[]).await.unwrap();
    let first: Vec<(&str, &str)> = rows.iter().map(|row| (row.get(1), row.get(6))).collect();
    assert_eq!(first, [("local", "peer"), ("host", "trust")], "as long as none are set");
    let rules = "host all postgres all trust\n\nhost nowhere app 127.0.0.0/8 trust\nhostssl all app all trust\n\
                 host all bad samehost reject";
    set_rules(&admin, rules).await.unwrap();
    let rows = admin.query(shown, &[]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get::<_, i32>(0)).collect::<Vec<_>>(), [1, 3, 4, 5]);
    assert_eq!(rows[1].get::<_, Vec<String>>(2), ["nowhere"]);
    assert_eq!((rows[1].get::<_, &str>(4), rows[1].get::<_, &str>(5)), ("127.0.0.0", "255.0.0.0"));
    let whom = |user: &str| format!("host \"127.0.0.1\", user \"{user}\", database \"postgres\", no encryption");
    assert_eq!(refused(&node, "user=app", NoTls).await, ("28000".into(), format!("no pg_hba.conf entry for {}", whom("app"))));
    assert_eq!(
        refused(&node, "user=bad", NoTls).await,
        ("28000".into(), format!("pg_hba.conf rejects connection for {}", whom("bad")))
    );
    let error = set_rules(&admin, "host all all all trust\nhoste all all all trust").await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code(), &SqlState::INVALID_PARAMETER_VALUE);
    assert_eq!(error.detail(), Some("In line 2: invalid connection type \"hoste\"."));
    assert_eq!(admin.query(shown, &[]).await.unwrap().len(), 4, "the old ones are kept");
    assert_eq!(code(admin.batch_execute("SET CLUSTER SETTING a.b = 'c'").await), SqlState::UNDEFINED_OBJECT);
    // What a transaction has set counts when it commits.
    admin.batch_execute(&format!("BEGIN; RESET CLUSTER SETTING {HBA}")).await.unwrap();
    assert_eq!(refused(&node, "user=app", NoTls).await.0, "28000");
    admin.batch_execute("COMMIT").await.unwrap();
    let message = "role \"app\" does not exist".to_owned();
    assert_eq!(refused(&node, "user=app", NoTls).await, ("28000".into(), message), "trusted, but unknown");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_nodes_know_at_once() {
    let (dir, one) = node().await;
    let two = Node::start(&NodeConfig { join: vec![one.rpc_addr().to_string()], ..quorate_tests::config(dir.path(), "two") })
        .await
        .unwrap();
    let admin = connect(&one).await;
    drop(connect(&two).await);
    admin.batch_execute("CREATE USER app PASSWORD 'a'").await.unwrap();
    set_rules(&admin, ASK_ALL_BUT_POSTGRES).await.unwrap();
    drop(try_with(&two, "user=app password=a", NoTls).await.unwrap());
    for password in ["b", "c", "d"] {
        let before = try_with(&two, "user=app password=a", NoTls).await;
        admin.batch_execute(&format!("ALTER USER app PASSWORD '{password}'")).await.unwrap();
        assert_eq!(before.is_ok(), password == "b");
        assert_eq!(refused(&two, "user=app password=a", NoTls).await.0, "28P01");
        drop(try_with(&two, &format!("user=app password={password}"), NoTls).await.unwrap());
    }
    admin.batch_execute("ALTER USER app NOLOGIN").await.unwrap();
    assert_eq!(refused(&two, "user=app password=d", NoTls).await.0, "28000");
    two.stop().await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_answer_is_let_go() {
    let dir = TempDir::new().unwrap();
    let short = NodeConfig { authentication_timeout: Duration::from_secs(1), ..config(dir.path(), "one") };
    let node = Node::start(&short).await.unwrap();
    set_rules(&connect(&node).await, "host all all all scram-sha-256").await.unwrap();
    let mut silent = Raw::open(&node).await;
    let mut waiting = Raw::open(&node).await;
    waiting.send(&startup(&[("user", "postgres")])).await;
    let asked = waiting.receive().await.unwrap();
    assert_eq!((asked.kind, &asked.body[..]), (b'R', &b"\0\0\0\x0aSCRAM-SHA-256\0\0"[..]));
    let end = waiting.receive().await.unwrap();
    assert_eq!((end.field(b'S').unwrap(), end.field(b'C').unwrap()), ("FATAL".into(), "57014".into()));
    assert!(silent.receive().await.is_none());
    // No message of this size is one of the exchange.
    let mut long = Raw::open(&node).await;
    long.send(&startup(&[("user", "postgres")])).await;
    assert_eq!(long.receive().await.unwrap().kind, b'R');
    long.send(b"p\0\x10\0\0").await;
    assert_eq!(long.receive().await.unwrap().field(b'C').unwrap(), "54000");
    node.stop().await;
}

fn certificates(dir: &Path, clients: &[&str]) {
    create_ca(dir, Lifetime(30)).unwrap();
    create_node(dir, &["localhost".into(), "127.0.0.1".into()], None, Lifetime(30)).unwrap();
    clients.iter().for_each(|role| create_client(dir, role, Lifetime(30)).unwrap());
}

async fn encrypted_node(dir: &Path) -> Node {
    Node::start(&NodeConfig { certs_dir: Some(dir.join("certs")), ..config(dir, "one") }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_encrypted() {
    let dir = TempDir::new().unwrap();
    let places = ["certs", "others"].map(|name| dir.path().join(name));
    let (certs, others): (&Path, &Path) = (&places[0], &places[1]);
    certificates(certs, &["postgres", "app"]);
    certificates(others, &["postgres"]);
    let node = encrypted_node(dir.path()).await;
    let tls = |shown| Tls::new(certs, shown);

    // Whoever shows the certificate of a role is that role, and no other.
    let admin = try_with(&node, "user=postgres sslmode=require", tls(Some((certs, "postgres")))).await.unwrap();
    let row = admin
        .query_one("SELECT version, client_dn, current_setting('ssl') FROM pg_stat_ssl WHERE ssl", &[])
        .await
        .unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1), row.get::<_, &str>(2)), ("TLSv1.3", "/CN=postgres", "on"));
    admin.batch_execute("CREATE USER app PASSWORD 'a'").await.unwrap();
    drop(try_with(&node, "user=app sslmode=require", tls(Some((certs, "app")))).await.unwrap());
    let not_own = ("28000".into(), "certificate authentication failed for user \"postgres\"".into());
    assert_eq!(refused(&node, "user=postgres sslmode=require", tls(Some((certs, "app")))).await, not_own);
    // Everybody else gives a password, bound to the channel.
    let words = "user=app password=a sslmode=require channel_binding=require";
    let app = try_with(&node, words, tls(None)).await.unwrap();
    // A long answer, and a long statement.
    let rows = app.query("SELECT repeat('x', 1000) FROM generate_series(1, 5000)", &[]).await.unwrap();
    assert_eq!(rows.len(), 5000);
    let long = "y".repeat(1 << 20);
    assert_eq!(app.query_one("SELECT $1::text", &[&long]).await.unwrap().get::<_, &str>(0), long);
    let wrong = "user=app password=b sslmode=require channel_binding=require";
    assert_eq!(refused(&node, wrong, tls(None)).await.0, "28P01");
    assert_eq!(refused(&node, "user=postgres password=x sslmode=require", tls(None)).await.0, "28P01", "none is set");
    // In clear text nobody gets in.
    let (state, message) = refused(&node, "user=app password=a sslmode=disable", NoTls).await;
    assert_eq!(state, "28000");
    assert_eq!(
        message,
        "no pg_hba.conf entry for host \"127.0.0.1\", user \"app\", database \"postgres\", no encryption"
    );
    // Each side turns away the certificates of another CA.
    let stranger = try_with(&node, "user=app password=a sslmode=require", Tls::new(others, None)).await;
    assert!(stranger.err().unwrap().to_string().contains("TLS"), "the client does not trust the node");
    let stranger = try_with(&node, "user=postgres sslmode=require", tls(Some((others, "postgres")))).await;
    assert!(stranger.is_err_and(|error| error.as_db_error().is_none()), "the node does not trust the client");
    let elsewhere = format!("host=db.example hostaddr=127.0.0.1 port={}", node.sql_addr().port());
    let elsewhere: Config = format!("{elsewhere} user=app password=a sslmode=require").parse().unwrap();
    assert!(elsewhere.connect(tls(None)).await.is_err(), "a certificate of another name");

    set_rules(&admin, "hostssl all postgres all cert\nhostssl all all all scram-sha-256 clientcert=verify-full").await.unwrap();
    let nobody = ("28000".into(), "connection requires a valid client certificate".into());
    assert_eq!(refused(&node, words, tls(None)).await, nobody);
    assert_eq!(refused(&node, words, tls(Some((certs, "postgres")))).await.0, "28000");
    drop(try_with(&node, words, tls(Some((certs, "app")))).await.unwrap());

    // What is sent before the connection is encrypted is not taken for what comes after.
    let mut raw = Raw::open(&node).await;
    let request = [&8_i32.to_be_bytes()[..], &80_877_103_i32.to_be_bytes()].concat();
    raw.send(&[request, startup(&[("user", "postgres")])].concat()).await;
    assert_eq!(raw.byte().await, b'S');
    assert_eq!(raw.receive().await.unwrap().field(b'M').unwrap(), "received unencrypted data after SSL request");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_while_clients_are_connected() {
    let dir = TempDir::new().unwrap();
    let certs = dir.path().join("certs");
    certificates(&certs, &["postgres"]);
    let node = encrypted_node(dir.path()).await;
    let before = Tls::new(&certs, Some((certs.as_path(), "postgres")));
    let client = try_with(&node, "user=postgres sslmode=require", before.clone()).await.unwrap();
    std::fs::rename(&certs, dir.path().join("old")).unwrap();
    assert!(node.reload_certs().is_err(), "there are none");
    drop(try_with(&node, "user=postgres sslmode=require", before.clone()).await.unwrap());
    certificates(&certs, &["postgres"]);
    node.reload_certs().unwrap();
    client.simple_query("SELECT 1").await.unwrap();
    assert!(try_with(&node, "user=postgres sslmode=require", before).await.is_err(), "another CA by now");
    let after = Tls::new(&certs, Some((certs.as_path(), "postgres")));
    drop(try_with(&node, "user=postgres sslmode=require", after).await.unwrap());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_talk_encrypted() {
    let dir = TempDir::new().unwrap();
    let certs = dir.path().join("certs");
    certificates(&certs, &["postgres"]);
    let one = encrypted_node(dir.path()).await;
    let join = vec![one.rpc_addr().to_string()];
    let joining = |name: &str| NodeConfig { join: join.clone(), ..config(dir.path(), name) };
    // Without certificates nobody joins: its call is never answered.
    let stranger = joining("stranger");
    let outcome = tokio::time::timeout(Duration::from_secs(3), Node::start(&stranger)).await;
    assert!(!matches!(outcome, Ok(Ok(_))), "a stranger has joined");
    let with = |name| NodeConfig { certs_dir: Some(certs.clone()), ..joining(name) };
    let two = Node::start(&with("two")).await.unwrap();
    let three = Node::start(&with("three")).await.unwrap();
    replicated(&one, 3).await;
    let tls = Tls::new(&certs, Some((certs.as_path(), "postgres")));
    let client = try_with(&one, "user=postgres sslmode=require", tls.clone()).await.unwrap();
    client.batch_execute("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 1000)").await.unwrap();
    let other = try_with(&three, "user=postgres sslmode=require", tls).await.unwrap();
    assert_eq!(other.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get::<_, i64>(0), 1000);
    for node in [&three, &two, &one] {
        node.stop().await;
    }
}

/// psql's own reading of the protocol, where there is a psql.
#[tokio::test(flavor = "multi_thread")]
async fn psql_connects_with_verify_full() {
    if std::process::Command::new("psql").arg("--version").output().is_err() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let certs = dir.path().join("certs");
    certificates(&certs, &["postgres"]);
    let node = encrypted_node(dir.path()).await;
    let psql = |words: String, sql: &'static str| {
        let port = node.sql_addr().port();
        let root = certs.join("ca.crt");
        let target = format!(
            "host=localhost hostaddr=127.0.0.1 port={port} dbname=postgres sslmode=verify-full sslrootcert={} {words}",
            root.display()
        );
        async move {
            let output = tokio::process::Command::new("psql")
                .args(["-XAtc", sql, &target])
                .env("HOME", "/nonexistent")
                .output()
                .await
                .unwrap();
            let [out, error] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
            (out.trim().to_owned(), error)
        }
    };
    let stem = certs.join("client.postgres");
    let shown = format!("user=postgres sslcert={0}.crt sslkey={0}.key", stem.display());
    let (out, error) = psql(shown, "CREATE USER app PASSWORD 'it''s'; SELECT current_user").await;
    assert!(out.ends_with("postgres"), "{error}");
    for binding in ["require", "disable"] {
        let words = format!("user=app password=it\\'s channel_binding={binding}");
        assert_eq!(psql(words, "SELECT current_user").await.0, "app");
    }
    let (_, error) = psql("user=app password=its".into(), "SELECT 1").await;
    assert!(error.contains("FATAL:  password authentication failed for user \"app\""), "{error}");
    node.stop().await;
}

/// A rule's map says which roles the name in a certificate may be, and a bad map leaves the old one in force.
#[tokio::test(flavor = "multi_thread")]
async fn maps_say_which_roles_a_certificate_may_be() {
    let dir = TempDir::new().unwrap();
    let certs = dir.path().join("certs");
    certificates(&certs, &["postgres", "ann@example.com", "robot"]);
    let node = encrypted_node(dir.path()).await;
    let shown = |name| Tls::new(&certs, Some((certs.as_path(), name)));
    let admin = try_with(&node, "user=postgres sslmode=require", shown("postgres")).await.unwrap();
    admin.batch_execute("CREATE ROLE ann LOGIN; CREATE ROLE app LOGIN; CREATE ROLE robot LOGIN PASSWORD 'x'").await.unwrap();
    set_rules(&admin, "hostssl all robot all cert-scram-sha-256 map=staff\nhostssl all all all cert map=staff").await.unwrap();
    let set_map = async |text: &str| {
        admin.batch_execute(&format!("SET CLUSTER SETTING server.identity_map.configuration = '{text}'")).await
    };
    let not_own = |user: &str| ("28000".to_owned(), format!("certificate authentication failed for user \"{user}\""));
    assert_eq!(refused(&node, "user=robot sslmode=require", shown("robot")).await, not_own("robot"), "there is no map yet");
    set_map("# who may be whom\nstaff /^(.*)@example\\.com$ \\1\nstaff robot app\nother robot ann").await.unwrap();
    drop(try_with(&node, "user=ann sslmode=require", shown("ann@example.com")).await.unwrap());
    drop(try_with(&node, "user=app sslmode=require", shown("robot")).await.unwrap());
    assert_eq!(refused(&node, "user=app sslmode=require", shown("ann@example.com")).await, not_own("app"));
    assert_eq!(refused(&node, "user=ann sslmode=require", shown("robot")).await, not_own("ann"), "another map");
    assert_eq!(refused(&node, "user=robot sslmode=require", shown("robot")).await, not_own("robot"), "not by its own name");
    // Without a map's help the administrator gets in.
    drop(try_with(&node, "user=postgres sslmode=require", shown("postgres")).await.unwrap());

    let shown_map = "SELECT line_number, map_name, sys_name, pg_username, error FROM pg_ident_file_mappings";
    let rows = admin.query(shown_map, &[]).await.unwrap();
    let first: (i32, &str, &str, &str, Option<&str>) =
        (rows[0].get(0), rows[0].get(1), rows[0].get(2), rows[0].get(3), rows[0].get(4));
    assert_eq!(first, (2, "staff", "/^(.*)@example\\.com$", "\\1", None));
    assert_eq!(rows.len(), 3);
    let options = admin.query_one("SELECT options FROM pg_hba_file_rules WHERE line_number = 2", &[]).await.unwrap();
    assert_eq!(options.get::<_, Vec<String>>(0), ["map=staff", "clientcert=verify-full"]);
    let error = set_map("staff robot app\nstaff /( app").await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code(), &SqlState::INVALID_PARAMETER_VALUE);
    assert_eq!(error.message(), "invalid value for parameter \"server.identity_map.configuration\"");
    assert_eq!(error.detail(), Some("In line 2: invalid regular expression \"(\": unclosed group."));
    assert_eq!(admin.query(shown_map, &[]).await.unwrap().len(), 3, "the old one is kept");
    admin.batch_execute("SET ROLE app").await.unwrap();
    assert_eq!(code(admin.batch_execute(shown_map).await), SqlState::INSUFFICIENT_PRIVILEGE);
    assert_eq!(code(set_map("").await), SqlState::INSUFFICIENT_PRIVILEGE);
    node.stop().await;
}
