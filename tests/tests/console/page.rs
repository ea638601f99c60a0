//! The console's page in a browser: each view shows what there is, nothing of what it shows becomes markup, and it fits a phone.
//!
//! With `QUORATE_SCREENSHOTS=DIR` it looks at a cluster under load for a while first, and leaves pictures there: those of
//! `docs/operating/console/`.

use std::{path::PathBuf, sync::Arc, sync::atomic::{AtomicBool, Ordering}, time::Duration};

use quorate_tests::{browser::Browser, connect};
use serde_json::json;

use super::{Three, pid_of, until};

/// How long the cluster is under load before pictures are taken.
const LOAD_FOR: Duration = Duration::from_secs(60);

const TABS: [&str; 7] = ["overview", "nodes", "ranges", "statements", "sessions", "locks", "jobs"];

/// A name that would be a script, were it markup, and an image that would run one.
const EVIL: &str = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 2'>";

async fn show(browser: &Browser, tab: &str) {
    let looks = format!("location.hash = '{tab}'; return true");
    browser.run(&looks).await;
    browser.until(&format!("return document.getElementById('view').dataset.tab === '{tab}'")).await;
}

async fn text(browser: &Browser) -> String {
    browser.run("return document.getElementById('view').textContent").await.as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_the_cluster() {
    let Some(browser) = Browser::start(1280, 900).await else { return };
    let pictures = std::env::var_os("QUORATE_SCREENSHOTS").map(PathBuf::from);
    let three = Three::start().await;
    let client = connect(&three.nodes[0]).await;
    client
        .batch_execute(&format!(
            "CREATE TABLE \"{EVIL}\" (id text PRIMARY KEY, n int); INSERT INTO \"{EVIL}\" VALUES ('{}', 1)",
            EVIL.replace('\'', "''")
        ))
        .await
        .unwrap();
    client.batch_execute("CREATE TABLE account (id int PRIMARY KEY, balance int)").await.unwrap();
    client.batch_execute("INSERT INTO account SELECT g, 100 FROM generate_series(1, 200) g").await.unwrap();
    client.batch_execute("ALTER TABLE account SPLIT AT VALUES (50), (100), (150)").await.unwrap();
    client.batch_execute(&format!("ALTER TABLE \"{EVIL}\" SPLIT AT VALUES ('{}')", EVIL.replace('\'', "''"))).await.unwrap();

    // Load on all nodes while pages are looked at.
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = Vec::new();
    for (number, node) in three.nodes.iter().enumerate() {
        let (client, stop) = (connect(node).await, stop.clone());
        load.push(tokio::spawn(async move {
            client.batch_execute("SET application_name = 'shop'").await.unwrap();
            for at in 0_usize.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let id = (at * 7 + number * 31) % 200 + 1;
                let statement = match at % 3 {
                    0 => format!("UPDATE account SET balance = balance + 1 WHERE id = {id}"),
                    1 => format!("SELECT balance FROM account WHERE id = {id}"),
                    _ => format!("SELECT count(*), sum(balance) FROM account WHERE balance > {id}"),
                };
                // One may lose to another, which is no matter here.
                let _outcome = client.batch_execute(&statement).await;
                tokio::time::sleep(Duration::from_millis(if at % 60 < 40 { 2 } else { 25 })).await;
            }
        }));
    }

    // One session waits for another over a row whose key is markup.
    let (holder, waiter) = (connect(&three.nodes[1]).await, connect(&three.nodes[2]).await);
    holder.batch_execute(&format!("SET application_name = '{}'", EVIL.replace('\'', "''"))).await.unwrap();
    holder.batch_execute(&format!("BEGIN; UPDATE \"{EVIL}\" SET n = 2")).await.unwrap();
    let (holds, waits) = (pid_of(&holder).await, pid_of(&waiter).await);
    let update = tokio::spawn(async move { waiter.batch_execute(&format!("UPDATE \"{EVIL}\" SET n = 3")).await });
    until(&three.nodes[0], "locks", |answer| answer["waits"].as_array().is_some_and(|waits| !waits.is_empty())).await;

    browser.open(&format!("http://{}/", three.nodes[0].http_addr())).await;
    browser.until("return document.getElementById('view').dataset.tab === 'overview'").await;
    browser.until("return document.querySelectorAll('.plot path.curve').length > 8").await;
    assert!(text(&browser).await.contains("3 of 3"), "all nodes are live");
    assert_eq!(browser.run("return document.querySelector('nav a[aria-current=page]').textContent").await, "Overview");

    show(&browser, "nodes").await;
    assert_eq!(browser.run("return document.querySelectorAll('#nodes tbody tr').length").await, 3);
    show(&browser, "ranges").await;
    browser.until("return document.getElementById('view').textContent.includes('healthy')").await;
    let ranges = text(&browser).await;
    assert!(ranges.contains("postgres.public.account(50)") && ranges.contains("healthy"), "{ranges}");
    assert!(ranges.contains("<script>window.hurt = 1</script>"), "names are shown as they are: {ranges}");
    show(&browser, "statements").await;
    let statements = text(&browser).await;
    assert!(statements.contains("UPDATE account SET balance = balance + $1 WHERE id = $2"), "{statements}");
    show(&browser, "sessions").await;
    let sessions = text(&browser).await;
    assert!(sessions.contains("shop") && sessions.contains("onerror="), "{sessions}");
    show(&browser, "locks").await;
    let locks = text(&browser).await;
    assert!(locks.contains(&format!("n2/{holds}")) && locks.contains(&format!("n3/{waits}")), "{locks}");
    assert!(browser.run("return document.getElementById('waits-tree').textContent").await.as_str().unwrap().contains(&format!("n3/{waits}")));
    show(&browser, "jobs").await;
    assert!(text(&browser).await.contains("replicate"));

    // What was shown was text: nothing of it ran, or is an element.
    assert_eq!(browser.run("return window.hurt === undefined && document.querySelectorAll('main script, main img').length === 0").await, true);

    // A column is sorted by a click, and stays so over the next looks.
    show(&browser, "nodes").await;
    browser.run("document.querySelector('#nodes th').click(); return true").await;
    browser.until("return document.querySelector('#nodes th').getAttribute('aria-sort') === 'descending'").await;
    browser.until("return document.querySelector('#nodes tbody td').textContent === 'n3'").await;

    // It refreshes by itself, and not while it is paused.
    let looks = "return Number(document.getElementById('view').dataset.looks)";
    let before = browser.run(looks).await.as_u64().unwrap();
    browser.until(&format!("{looks} > {before}")).await;
    browser.run("document.getElementById('pause').click(); return true").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let paused = browser.run(looks).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(browser.run(looks).await, paused, "paused");
    browser.run("document.getElementById('pause').click(); return true").await;
    browser.until(&format!("{looks} > {paused}")).await;

    // Nothing came from elsewhere, and nothing is wider than a phone but what scrolls in its own frame.
    let origins = "return performance.getEntriesByType('resource').every((it) => new URL(it.name).origin === location.origin)";
    assert_eq!(browser.run(origins).await, true);
    for width in [1280, 375] {
        browser.resize(width, 800).await;
        for tab in TABS {
            show(&browser, tab).await;
            let wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
            assert_eq!(browser.run(wide).await, 0, "{tab} at {width} is too wide");
        }
    }

    if let Some(dir) = &pictures {
        std::fs::create_dir_all(dir).unwrap();
        tokio::time::sleep(LOAD_FOR).await;
        browser.resize(1280, 1180).await;
        for tab in TABS {
            show(&browser, tab).await;
            tokio::time::sleep(Duration::from_millis(2500)).await;
            browser.screenshot(&dir.join(format!("{tab}.png"))).await;
        }
        browser.prefer_dark(true).await;
        show(&browser, "overview").await;
        browser.screenshot(&dir.join("overview_dark.png")).await;
        browser.resize(390, 844).await;
        show(&browser, "locks").await;
        show(&browser, "overview").await;
        tokio::time::sleep(Duration::from_millis(2500)).await;
        browser.screenshot(&dir.join("overview_phone.png")).await;
    }

    holder.batch_execute("ROLLBACK").await.unwrap();
    update.await.unwrap().unwrap();
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }

    // A node that does not answer any more is said so, over what was shown last.
    show(&browser, "overview").await;
    three.stop().await;
    browser.until("return !document.getElementById('trouble').hidden").await;
    assert!(text(&browser).await.contains("Statements a second"), "what was shown stays");
    assert_eq!(browser.run("return window.hurt === undefined").await, json!(true));
    browser.stop().await;
}
