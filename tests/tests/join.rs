//! Nodes that join: with a token, with a certificate that does not say which node they are, and with nothing that counts.

use std::{fs, path::Path, sync::Arc, time::Duration};

use certs::{Identity, Lifetime, NodeCerts, Request, create_ca, create_client, create_node};
use keys::keyspace;
use quorate_tests::{config, start_again};
use rpc::{TcpOptions, TcpTransport, Transport, services};
use server::{JoinToken, Node, NodeConfig, Operator};
use tempfile::TempDir;

/// The number of the request for a certificate, of a node's number, a signing request and names of hosts.
const CERTIFY: u8 = 4;
const HOUR: Duration = Duration::from_secs(3600);

/// A node that makes what it needs.
fn secure(dir: &Path, name: &str) -> NodeConfig {
    NodeConfig { own_certs: true, ..config(dir, name) }
}

fn joining(dir: &Path, name: &str, to: &Node) -> NodeConfig {
    NodeConfig { join: vec![to.rpc_addr().to_string()], ..secure(dir, name) }
}

async fn token(node: &Node, valid: Duration) -> JoinToken {
    let operator = Operator::of(node.rpc_addr().to_string(), node.certs_dir()).await.unwrap();
    operator.create_join_token(valid).await.unwrap().parse().unwrap()
}

fn with_token(config: NodeConfig, token: &JoinToken) -> NodeConfig {
    NodeConfig { join_token: Some(token.clone()), ..config }
}

async fn refusal(config: &NodeConfig) -> String {
    match Node::start(config).await {
        Ok(_) => panic!("it must not start"),
        Err(error) => error.to_string(),
    }
}

fn identity(node: &Node) -> Option<Identity> {
    node.kv().certs.as_ref().unwrap().current().names.identity
}

fn bound(node: &Node) -> bool {
    let kv = node.kv();
    identity(node) == Some(Identity { cluster: kv.cluster_id, node: kv.node_id.get() })
}

/// A node is of use to another: the counter is at whichever leads its range.
async fn takes_part(node: &Node) -> bool {
    node.kv().db.increment(&keyspace::system("id/test"), 1).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_for_one_node() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    let one = Node::start(&secure(dir, "one")).await.unwrap();
    assert!(bound(&one), "the first node signs for itself");
    let good = token(&one, HOUR).await;
    let joining_two = with_token(joining(dir, "two", &one), &good);
    let two = Node::start(&joining_two).await.unwrap();
    assert!(bound(&two) && takes_part(&two).await);
    assert!(!dir.join("two/certs/ca.key").exists() && dir.join("two/certs/node.pem").exists());

    // Again, by another; and it leaves nothing behind that a later start would take for its own.
    let again = with_token(joining(dir, "three", &one), &good);
    assert!(refusal(&again).await.contains("has been used"));
    let expired = token(&one, Duration::ZERO).await;
    assert!(refusal(&with_token(joining(dir, "three", &one), &expired)).await.contains("has expired"));
    // The token's number is right, and its secret is another's.
    let other = token(&one, HOUR).await.to_string();
    let (good_text, other_text) = (good.to_string(), other);
    let mixed: JoinToken = format!("{}{}", &good_text[..30], &other_text[30..]).parse().unwrap();
    assert!(refusal(&with_token(joining(dir, "three", &one), &mixed)).await.contains("not one of this cluster"));
    // Neither is told to whoever is not of its cluster.
    let elsewhere = Node::start(&secure(dir, "elsewhere")).await.unwrap();
    let lost = refusal(&with_token(joining(dir, "three", &elsewhere), &good)).await;
    assert!(lost.contains("not of the cluster that the join token is for"), "{lost}");
    let none = refusal(&joining(dir, "three", &one)).await;
    assert!(none.contains("--join-token"), "{none}");

    // Through a member that cannot sign, which finds the one that can.
    let three = with_token(joining(dir, "three", &two), &token(&two, HOUR).await);
    let three = Node::start(&three).await.unwrap();
    assert!(bound(&three) && takes_part(&three).await);

    // A node starts again without its token, and with it.
    two.stop().await;
    drop(two);
    let two = start_again(&joining_two).await;
    assert!(bound(&two) && two.kv().node_id.get() == 2);
    two.stop().await;
    drop(two);

    // Wiped, it is another node.
    fs::remove_dir_all(dir.join("two")).unwrap();
    assert!(refusal(&joining_two).await.contains("has been used"));
    let new = Node::start(&with_token(joining(dir, "new", &one), &token(&one, HOUR).await)).await.unwrap();
    assert!(bound(&new) && new.kv().node_id.get() > 3);
    new.stop().await;
    three.stop().await;
    one.stop().await;
    elsewhere.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_key_of_the_ca_a_token_stays_good() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    let one = Node::start(&secure(dir, "one")).await.unwrap();
    let (key, away) = (dir.join("one/certs/ca.key"), dir.join("ca.key"));
    fs::rename(&key, &away).unwrap();
    let good = token(&one, HOUR).await;
    let joining_two = with_token(joining(dir, "two", &one), &good);
    let refused = refusal(&joining_two).await;
    assert!(refused.contains("ca.key") && refused.contains("quorate cert create-node --cluster-id"), "{refused}");
    fs::rename(&away, &key).unwrap();
    let two = Node::start(&joining_two).await.unwrap();
    assert!(bound(&two));
    two.stop().await;
    // Whoever guesses is not listened to for long.
    let wrong: JoinToken = format!("quorate-join-{}", "A".repeat(96)).parse().unwrap();
    let own = token(&one, HOUR).await.to_string();
    let mixed: JoinToken = format!("{}{}", &wrong.to_string()[..60], &own[60..]).parse().unwrap();
    let mut refusals = Vec::new();
    for _ in 0..12 {
        refusals.push(refusal(&with_token(joining(dir, "guesser", &one), &mixed)).await);
    }
    assert!(refusals[0].contains("not one of this cluster"), "{refusals:?}");
    assert!(refusals[11].contains("wait a minute"), "{refusals:?}");
    one.stop().await;
}

/// A certificate of the CA that does not say which node it is for is exchanged for one that does.
#[tokio::test(flavor = "multi_thread")]
async fn an_unbound_certificate_is_good_for_joining_alone() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    let one = Node::start(&secure(dir, "one")).await.unwrap();
    let ca = dir.join("one/certs");
    let directory = |name: &str| {
        let made = dir.join(name);
        fs::create_dir(&made).unwrap();
        for file in ["ca.crt", "ca.key"] {
            fs::copy(ca.join(file), made.join(file)).unwrap();
        }
        made
    };
    let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let given = directory("given");
    create_node(&given, &hosts, None, Lifetime(30)).unwrap();
    fs::remove_file(given.join("ca.key")).unwrap();
    let with = |name: &str, certs: &Path| NodeConfig { certs_dir: Some(certs.to_owned()), ..joining(dir, name, &one) };
    let two = Node::start(&with("two", &given)).await.unwrap();
    assert!(bound(&two) && takes_part(&two).await && dir.join("two/node.pem").exists());
    // Operators, too, show which node they are at.
    let to = one.rpc_addr().to_string();
    let operator = Operator::of(to.clone(), Some(&given)).await.unwrap();
    let refused = [
        operator.status().await.unwrap_err().to_string(),
        operator.decommission(keys::NodeId::new(2), true).await.unwrap_err().to_string(),
        operator.create_join_token(HOUR).await.unwrap_err().to_string(),
    ];
    assert!(refused.iter().all(|refused| refused.contains("give --store")), "{refused:?}");
    let operator = Operator::of_node(to.clone(), Some(&given), &dir.join("two")).await.unwrap();
    assert!(operator.status().await.is_ok());
    assert!(operator.create_join_token(HOUR * (31 * 24)).await.unwrap_err().to_string().contains("30 days at most"));
    let operator = Operator::of_node(to, None, &dir.join("one")).await.unwrap();
    assert!(operator.status().await.is_ok(), "a node that made its certificates has them in its store");
    two.stop().await;
    drop(two);

    // Where nobody can sign, it has a number and is told what to do.
    fs::rename(ca.join("ca.key"), dir.join("ca.key")).unwrap();
    let three = with("three", &given);
    let refused = refusal(&three).await;
    let command = format!("quorate cert create-node --cluster-id {} --node-id ", one.kv().cluster_id);
    let at = refused.find(&command).unwrap_or_else(|| panic!("{refused}")) + command.len();
    let number: u64 = refused[at..].split(' ').next().unwrap().parse().unwrap();
    fs::rename(dir.join("ca.key"), ca.join("ca.key")).unwrap();
    let by_hand = directory("by-hand");
    fs::rename(ca.join("ca.key"), dir.join("ca.key")).unwrap();
    let identity = Identity { cluster: one.kv().cluster_id, node: number };
    create_node(&by_hand, &hosts, Some(&identity), Lifetime(30)).unwrap();
    fs::remove_file(by_hand.join("ca.key")).unwrap();
    let three = start_again(&NodeConfig { certs_dir: Some(by_hand.clone()), ..three }).await;
    assert!(bound(&three) && takes_part(&three).await && three.kv().node_id.get() == number);

    // Nobody gets a member to ask for that member's own certificate.
    let asking = TcpTransport::bind(TcpOptions {
        listen: "127.0.0.1:0".into(),
        cluster: [0; 16],
        clock: one.kv().clock.clone(),
        certs: Some(Arc::new(NodeCerts::open(&given).unwrap())),
        are_unbound_members: false,
    });
    let asking = asking.await.unwrap();
    let request = Request::new().unwrap().der;
    let length = request.len();
    assert!((128..16384).contains(&length), "two bytes say how long it is");
    let mut asked = vec![CERTIFY, u8::try_from(number).unwrap(), (length & 0x7f) as u8 | 0x80, (length >> 7) as u8];
    asked.extend_from_slice(&request);
    asked.push(0);
    let address = three.rpc_addr().to_string();
    let answer = asking.call_address(&address, services::JOIN, asked.into(), Duration::from_secs(10)).await;
    let refused = answer.unwrap_err().to_string();
    assert!(refused.contains("asks for its own certificate itself"), "{refused}");

    // Another node with that certificate, and one with a certificate of a client: neither gets in.
    let stolen = refusal(&with("four", &by_hand)).await;
    assert!(stolen.contains("ca.key"), "a number of its own, and no certificate for it: {stolen}");
    let client = dir.join("client");
    fs::create_dir(&client).unwrap();
    for (from, to) in [("ca.crt", "ca.crt"), ("client.postgres.crt", "node.crt"), ("client.postgres.key", "node.key")] {
        fs::copy(ca.join(from), client.join(to)).unwrap();
    }
    let others = dir.join("others");
    create_ca(&others, Lifetime(30)).unwrap();
    create_node(&others, &hosts, Some(&identity), Lifetime(30)).unwrap();
    create_client(&others, "postgres", Lifetime(30)).unwrap();
    for certs in [&client, &others] {
        let operator = Operator::of(one.rpc_addr().to_string(), Some(certs)).await.unwrap();
        assert!(operator.status().await.is_err() && operator.create_join_token(HOUR).await.is_err());
    }
    three.stop().await;
    one.stop().await;
}
