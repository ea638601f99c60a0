//! Histories of the lock table as text: `tests/golden/lock_table/*`, rewritten with `UPDATE_GOLDEN=1`.
//!
//! A file opens with a paragraph of purpose. Then each command stands at the margin, and what it answered, what the
//! waiters heard and what the table holds stand indented beneath it. Keys are letters, transactions numbered, waiters
//! named by the script:
//!
//! ```text
//! acquire <key> <txn> <strength>           check <key> <txn|-> <strength|read@ts>
//! enqueue <waiter> <key> <txn|-> <strength|read@ts>                 drop <waiter>
//! discover <key> <txn> <ts>                push <txn> <ts>          removed <key> <txn>
//! release <key> <txn>      finish <txn>    clear                    split <key>
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use concurrency::{Acquired, Conflict, LockRequest, LockRow, LockTable, RowState, WaitOutcome, Waiter};
use hlc::Timestamp;
use keys::{Key, LockStrength, TxnId, TxnMeta};

#[derive(Default)]
struct Script {
    table: LockTable,
    waiters: BTreeMap<String, Waiter>,
}

fn ts(text: &str) -> Timestamp {
    Timestamp::new(text.parse().expect("a timestamp is a number"), 0)
}

fn number(name: &str) -> u8 {
    name.strip_prefix('t').and_then(|n| n.parse().ok()).expect("a transaction is t and a number")
}

fn id(name: &str) -> TxnId {
    TxnId::from_random(u128::from(number(name)) << 64)
}

fn txn(name: &str) -> TxnMeta {
    let at = ts("10");
    TxnMeta { id: id(name), anchor: key("a"), epoch: 0, write_ts: at, min_ts: at, priority: 1 }
}

fn name(id: TxnId) -> String {
    let known = (1..10).map(|n| format!("t{n}")).find(|name| self::id(name) == id);
    known.expect("scripts name transactions t1 to t9")
}

fn key(text: &str) -> Key {
    Key::from(text.as_bytes())
}

fn show_key(key: &Key) -> String {
    String::from_utf8_lossy(key.as_bytes()).into_owned()
}

/// A strength, or none and the timestamp of a plain read.
fn strength(text: &str) -> (Option<LockStrength>, Timestamp) {
    match text {
        "key_share" => (Some(LockStrength::KeyShare), Timestamp::MAX),
        "share" => (Some(LockStrength::Share), Timestamp::MAX),
        "no_key_update" => (Some(LockStrength::NoKeyUpdate), Timestamp::MAX),
        "update" => (Some(LockStrength::Update), Timestamp::MAX),
        "intent" => (Some(LockStrength::Intent), Timestamp::MAX),
        read => (None, ts(read.strip_prefix("read@").expect("a strength or read@ts"))),
    }
}

fn show_strength(strength: Option<LockStrength>) -> &'static str {
    match strength {
        None => "read",
        Some(LockStrength::KeyShare) => "key_share",
        Some(LockStrength::Share) => "share",
        Some(LockStrength::NoKeyUpdate) => "no_key_update",
        Some(LockStrength::Update) => "update",
        Some(LockStrength::Intent) => "intent",
    }
}

fn show_conflict(conflict: &Conflict) -> String {
    let Conflict { key, holder, strength } = conflict;
    format!("blocked on {} by {} {}\n", show_key(key), name(holder.id), show_strength(Some(*strength)))
}

impl Script {
    fn run(&mut self, command: &str) -> String {
        let mut out = String::new();
        let words: Vec<_> = command.split_whitespace().collect();
        match words[..] {
            ["acquire", on, by, what] => {
                let strength = strength(what).0.expect("a lock has a strength");
                match self.table.acquire(&key(on), &txn(by), strength) {
                    Acquired::Acquired => out.push_str("acquired\n"),
                    Acquired::Blocked(conflict) => out.push_str(&show_conflict(&conflict)),
                }
            }
            ["check", on, by, what] => {
                let conflicts = self.request(on, by, what, |table, request| table.check(request));
                out.extend(conflicts.iter().map(show_conflict));
                if conflicts.is_empty() {
                    out.push_str("free\n");
                }
            }
            ["enqueue", waiter, on, by, what] => {
                let place = self.request(on, by, what, |table, request| table.enqueue(request));
                let behind = place.holder().map_or("nobody".to_owned(), |txn| name(txn.id));
                writeln!(out, "behind {behind}").expect("a string takes all");
                self.waiters.insert(waiter.to_owned(), place);
            }
            ["drop", waiter] => drop(self.waiters.remove(waiter).expect("a known waiter")),
            ["discover", on, by, at] => self.table.add_discovered(&key(on), &txn(by), ts(at)),
            ["push", who, to] => self.table.update_txn(&TxnMeta { write_ts: ts(to), ..txn(who) }),
            ["removed", on, by] => self.table.intent_removed(&key(on), id(by)),
            ["release", on, by] => self.table.release(&key(on), id(by)),
            ["finish", who] => self.table.txn_finished(id(who)),
            ["clear"] => self.table.clear(),
            ["split", at] => self.table.split_off(&key(at)),
            _ => panic!("no such command: {command}"),
        }
        self.show_news(&mut out);
        self.show_table(&mut out);
        out
    }

    fn request<R>(
        &self,
        on: &str,
        by: &str,
        what: &str,
        ask: impl FnOnce(&LockTable, &LockRequest<'_>) -> R,
    ) -> R {
        let (strength, read_ts) = strength(what);
        let txn = (by != "-").then(|| txn(by));
        ask(&self.table, &LockRequest { key: &key(on), txn: txn.as_ref(), strength, read_ts })
    }

    fn show_news(&mut self, out: &mut String) {
        for (waiter, place) in &mut self.waiters {
            let news = Pin::new(place).poll(&mut Context::from_waker(Waker::noop()));
            match news {
                Poll::Pending => continue,
                Poll::Ready(WaitOutcome::Turn) => writeln!(out, "{waiter}: turn"),
                Poll::Ready(WaitOutcome::HolderChanged { holder }) => {
                    writeln!(out, "{waiter}: push {}", name(holder.id))
                }
            }
            .expect("a string takes all");
        }
    }

    fn show_table(&self, out: &mut String) {
        let mut lines: BTreeMap<Key, Vec<String>> = BTreeMap::new();
        for row in self.table.rows() {
            let who = row.txn.map_or("-".to_owned(), |txn| name(txn.id));
            let what = show_strength(row.strength);
            let entry = match row.state {
                RowState::Held => format!("{who} {what}"),
                RowState::Turn => format!("[{who} {what}, turn]"),
                RowState::Waiting { behind } => format!("[{who} {what}, behind {}]", name(behind)),
            };
            lines.entry(row.key).or_default().push(entry);
        }
        for (key, entries) in lines {
            writeln!(out, "{} | {}", show_key(&key), entries.join(" ")).expect("a string takes all");
        }
    }
}

/// The file with every answer as it is today.
fn replay(text: &str) -> String {
    let (purpose, commands) = text.split_once("\n\n").expect("a file opens with a paragraph of purpose");
    let mut script = Script::default();
    let mut out = format!("{purpose}\n\n");
    for command in commands.lines().filter(|line| !line.starts_with(' ') && !line.is_empty()) {
        writeln!(out, "{command}").expect("a string takes all");
        for line in script.run(command).lines() {
            writeln!(out, "    {line}").expect("a string takes all");
        }
    }
    out
}

#[test]
fn histories_are_as_recorded() {
    // Tests run in their package; where it was built may be another clone.
    let folder = "tests/golden/lock_table";
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the folder is part of the crate") {
        let path = entry.expect("a readable folder").path();
        let recorded = std::fs::read_to_string(&path).expect("a readable file");
        let now = replay(&recorded);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &now).expect("a writable file");
        } else {
            assert_eq!(now, recorded, "{} differs", path.display());
        }
        count += 1;
    }
    assert!(count > 0, "no histories were found");
}

#[test]
fn keys_that_are_waited_for_come_first() {
    let mut script = Script::default();
    for command in ["acquire a t1 update", "acquire b t1 update", "acquire c t1 update", "enqueue w2 b t2 update"] {
        script.run(command);
    }
    let keys = |rows: Vec<LockRow>| rows.iter().map(|row| show_key(&row.key)).collect::<String>();
    assert_eq!(keys(script.table.contended_rows(10)), "bb");
    assert_eq!(keys(script.table.contended_rows(0)), "");
    assert_eq!(keys(script.table.rows_up_to(10)), "bbac");
}
