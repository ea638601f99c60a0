//! Money that moves between accounts. All of them are read by the table, or by an index over what changes: an entry that was
//! left behind shows as money that is not there.

use rand::{Rng, rngs::StdRng};
use serde_json::{Map, Value, json};

use crate::{Failure, Outcome, session::Session};

const ACCOUNTS: i64 = 8;
const OPENED_WITH: i64 = 100;
pub const TOTAL: i64 = ACCOUNTS * OPENED_WITH;

pub fn tables() -> String {
    let rows: Vec<String> = (0..ACCOUNTS).map(|id| format!("({id}, {OPENED_WITH})")).collect();
    format!(
        "CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL);
         CREATE INDEX accounts_balance ON accounts (balance);
         INSERT INTO accounts VALUES {}",
        rows.join(", ")
    )
}

pub async fn step(session: &mut Session, random: &mut StdRng) {
    match random.random_range(0..10) {
        0..4 => read(session, random.random_bool(0.5)).await,
        _ => {
            let from = random.random_range(0..ACCOUNTS);
            let to = (from + random.random_range(1..ACCOUNTS)) % ACCOUNTS;
            let amount = random.random_range(-5..=5);
            // In one order, so that transfers do not wait for each other in a circle: that has a test of its own.
            let (from, to) = (from.min(to), from.max(to));
            let locks = random.random_bool(0.5);
            let begun = session.invoke("transfer", json!({"from": from, "to": to, "amount": amount}));
            let outcome = transfer(session, [from, to], amount, locks).await;
            session.complete(begun, outcome).await;
        }
    }
}

async fn transfer(session: &mut Session, accounts: [i64; 2], amount: i64, locks: bool) -> Outcome<Value> {
    session.begin().await?;
    let sql = if locks {
        "SELECT balance FROM accounts WHERE id = $1 FOR UPDATE"
    } else {
        "SELECT balance FROM accounts WHERE id = $1"
    };
    let mut held = [0; 2];
    for (held, account) in held.iter_mut().zip(accounts) {
        let rows = session.query(sql, &[&account]).await?;
        *held = rows.first().ok_or(Failure::Missing("an account"))?.get(0);
    }
    if held[0] < amount || held[1] < -amount {
        return Err(Failure::Declined("the account does not hold as much"));
    }
    for (account, balance) in accounts.into_iter().zip([held[0] - amount, held[1] + amount]) {
        session.query("UPDATE accounts SET balance = $2 WHERE id = $1", &[&account, &balance]).await?;
    }
    session.commit().await?;
    Ok(Value::Null)
}

/// By the table, or by the index on balances.
pub async fn read(session: &mut Session, by_index: bool) {
    let begun = session.invoke("read", Value::Null);
    let outcome = balances(session, by_index).await;
    session.complete(begun, outcome).await;
}

async fn balances(session: &mut Session, by_index: bool) -> Outcome<Value> {
    // Of balances alone, so that the index has all that is asked for.
    let rows = if by_index {
        session.query_alone("SELECT balance FROM accounts WHERE balance >= 0 ORDER BY balance", &[]).await?
    } else {
        session.query_alone("SELECT balance FROM accounts", &[]).await?
    };
    let balances = rows.iter().enumerate().map(|(place, row)| (format!("#{place}"), Value::from(row.get::<_, i64>(0))));
    Ok(Value::Object(balances.collect::<Map<_, _>>()))
}
