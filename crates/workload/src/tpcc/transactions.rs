//! The five transactions of clause 2, statement by statement.

use rand::{Rng, rngs::StdRng};

use super::client::Client;
use super::schema::{CUSTOMERS, DISTRICTS, ITEMS, last_name, skewed};
use super::value::Value;
use crate::Outcome;

/// The statements by name, so that each is prepared once a connection.
pub const STATEMENTS: &[&str] = &[
    NEW_ORDER_CUSTOMER, NEXT_ORDER, TAKE_ORDER, INSERT_ORDER, INSERT_NEW_ORDER, ITEM, STOCK, UPDATE_STOCK, INSERT_LINE,
    PAY_WAREHOUSE, PAY_DISTRICT, CUSTOMERS_BY_NAME, CUSTOMER_TO_PAY, BAD_CREDIT_DATA, PAY_BAD_CREDIT, PAY_CUSTOMER,
    INSERT_HISTORY, CUSTOMER_STATUS, LAST_ORDER, LINES_OF_ORDER, OLDEST_NEW_ORDER, DELETE_NEW_ORDER, ORDER_CUSTOMER,
    SET_CARRIER, SET_DELIVERED, ORDER_AMOUNT, DELIVER_TO_CUSTOMER, DISTRICT_NEXT_ORDER, LOW_STOCK,
];

const NEW_ORDER_CUSTOMER: &str = "SELECT c_discount::float8, c_last, c_credit, w_tax::float8 FROM customer, warehouse \
     WHERE w_id = $1 AND c_w_id = w_id AND c_d_id = $2 AND c_id = $3";
const NEXT_ORDER: &str = "SELECT d_next_o_id, d_tax::float8 FROM district WHERE d_w_id = $1 AND d_id = $2 FOR UPDATE";
const TAKE_ORDER: &str = "UPDATE district SET d_next_o_id = $3 WHERE d_w_id = $1 AND d_id = $2";
const INSERT_ORDER: &str = "INSERT INTO orders (o_id, o_d_id, o_w_id, o_c_id, o_entry_d, o_ol_cnt, o_all_local) \
     VALUES ($3, $2, $1, $4, now(), $5, 1)";
const INSERT_NEW_ORDER: &str = "INSERT INTO new_order (no_o_id, no_d_id, no_w_id) VALUES ($3, $2, $1)";
const ITEM: &str = "SELECT i_price::float8, i_name, i_data FROM item WHERE i_id = $1";
const STOCK: &str =
    "SELECT s_quantity, s_data, s_dist_01 FROM stock WHERE s_w_id = $1 AND s_i_id = $2 FOR UPDATE";
const UPDATE_STOCK: &str = "UPDATE stock SET s_quantity = $3, s_ytd = s_ytd + $4, s_order_cnt = s_order_cnt + 1 \
     WHERE s_w_id = $1 AND s_i_id = $2";
const INSERT_LINE: &str = "INSERT INTO order_line (ol_o_id, ol_d_id, ol_w_id, ol_number, ol_i_id, ol_supply_w_id, \
     ol_quantity, ol_amount, ol_dist_info) VALUES ($3, $2, $1, $4, $5, $1, $6, $7, $8)";

const PAY_WAREHOUSE: &str = "UPDATE warehouse SET w_ytd = w_ytd + $2 WHERE w_id = $1 RETURNING w_name";
const PAY_DISTRICT: &str =
    "UPDATE district SET d_ytd = d_ytd + $3 WHERE d_w_id = $1 AND d_id = $2 RETURNING d_name";
const CUSTOMERS_BY_NAME: &str =
    "SELECT c_id FROM customer WHERE c_w_id = $1 AND c_d_id = $2 AND c_last = $3 ORDER BY c_first";
const CUSTOMER_TO_PAY: &str = "SELECT c_credit, c_balance::float8, c_first, c_last FROM customer \
     WHERE c_w_id = $1 AND c_d_id = $2 AND c_id = $3 FOR UPDATE";
const BAD_CREDIT_DATA: &str = "SELECT c_data FROM customer WHERE c_w_id = $1 AND c_d_id = $2 AND c_id = $3";
const PAY_BAD_CREDIT: &str = "UPDATE customer SET c_balance = c_balance - $4, c_ytd_payment = c_ytd_payment + $4, \
     c_payment_cnt = c_payment_cnt + 1, c_data = $5 WHERE c_w_id = $1 AND c_d_id = $2 AND c_id = $3";
const PAY_CUSTOMER: &str = "UPDATE customer SET c_balance = c_balance - $4, c_ytd_payment = c_ytd_payment + $4, \
     c_payment_cnt = c_payment_cnt + 1 WHERE c_w_id = $1 AND c_d_id = $2 AND c_id = $3";
const INSERT_HISTORY: &str = "INSERT INTO history (h_c_d_id, h_c_w_id, h_c_id, h_d_id, h_w_id, h_date, h_amount, h_data) \
     VALUES ($2, $1, $3, $2, $1, now(), $4, $5)";

const CUSTOMER_STATUS: &str = "SELECT c_balance::float8, c_first, c_middle, c_last FROM customer \
     WHERE c_w_id = $1 AND c_d_id = $2 AND c_id = $3";
const LAST_ORDER: &str = "SELECT o_id, o_carrier_id FROM orders WHERE o_w_id = $1 AND o_d_id = $2 AND o_c_id = $3 \
     ORDER BY o_id DESC LIMIT 1";
const LINES_OF_ORDER: &str = "SELECT ol_i_id, ol_supply_w_id, ol_quantity, ol_amount::float8 FROM order_line \
     WHERE ol_w_id = $1 AND ol_d_id = $2 AND ol_o_id = $3";

const OLDEST_NEW_ORDER: &str = "SELECT no_o_id FROM new_order WHERE no_w_id = $1 AND no_d_id = $2 \
     ORDER BY no_o_id LIMIT 1 FOR UPDATE";
const DELETE_NEW_ORDER: &str = "DELETE FROM new_order WHERE no_w_id = $1 AND no_d_id = $2 AND no_o_id = $3";
const ORDER_CUSTOMER: &str = "SELECT o_c_id FROM orders WHERE o_w_id = $1 AND o_d_id = $2 AND o_id = $3";
const SET_CARRIER: &str = "UPDATE orders SET o_carrier_id = $4 WHERE o_w_id = $1 AND o_d_id = $2 AND o_id = $3";
const SET_DELIVERED: &str =
    "UPDATE order_line SET ol_delivery_d = now() WHERE ol_w_id = $1 AND ol_d_id = $2 AND ol_o_id = $3";
const ORDER_AMOUNT: &str =
    "SELECT sum(ol_amount)::float8 FROM order_line WHERE ol_w_id = $1 AND ol_d_id = $2 AND ol_o_id = $3";
const DELIVER_TO_CUSTOMER: &str = "UPDATE customer SET c_balance = c_balance + $4, c_delivery_cnt = c_delivery_cnt + 1 \
     WHERE c_w_id = $1 AND c_d_id = $2 AND c_id = $3";

const DISTRICT_NEXT_ORDER: &str = "SELECT d_next_o_id FROM district WHERE d_w_id = $1 AND d_id = $2";
const LOW_STOCK: &str = "SELECT count(DISTINCT s_i_id) FROM order_line, stock WHERE ol_w_id = $1 AND ol_d_id = $2 \
     AND ol_o_id < $3 AND ol_o_id >= $4 AND s_w_id = $1 AND s_i_id = ol_i_id AND s_quantity < $5";

/// The kinds with their share of a hundred (clause 5.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    NewOrder,
    Payment,
    OrderStatus,
    Delivery,
    StockLevel,
}

impl Kind {
    #[must_use]
    pub fn draw(random: &mut StdRng) -> Self {
        match random.random_range(0..100) {
            0..45 => Self::NewOrder,
            45..88 => Self::Payment,
            88..92 => Self::OrderStatus,
            92..96 => Self::Delivery,
            _ => Self::StockLevel,
        }
    }
}

const W: Value = Value::Int(1);

fn cents(amount: f64) -> Value {
    Value::Decimal((amount * 100.0).round() as i64 * 100)
}

/// Runs one transaction between BEGIN and COMMIT; an invalid item makes a new order roll back.
///
/// # Errors
/// As the server answers.
pub async fn run(kind: Kind, client: &mut Client, random: &mut StdRng) -> Outcome<()> {
    let district = Value::Int(random.random_range(1..=DISTRICTS));
    client.begin().await?;
    let keep = match kind {
        Kind::NewOrder => new_order(client, random, district).await?,
        Kind::Payment => payment(client, random, district).await.map(|()| true)?,
        Kind::OrderStatus => order_status(client, random, district).await.map(|()| true)?,
        Kind::Delivery => delivery(client, random).await.map(|()| true)?,
        Kind::StockLevel => stock_level(client, random, district).await.map(|()| true)?,
    };
    if keep { client.commit().await } else { client.rollback().await }
}

async fn new_order(client: &mut Client, random: &mut StdRng, district: Value) -> Outcome<bool> {
    let customer = Value::Int(skewed(random, 1023, 1, CUSTOMERS));
    let lines = random.random_range(5..=15);
    let is_invalid = random.random_range(0..100) == 0;
    client.query(NEW_ORDER_CUSTOMER, &[W, district.clone(), customer.clone()]).await?;
    let order = client.int(NEXT_ORDER, &[W, district.clone()]).await?;
    let id = Value::Int(order);
    client.query(TAKE_ORDER, &[W, district.clone(), Value::Int(order + 1)]).await?;
    // In one order, so that two new orders do not wait for each other in a circle.
    let mut items: Vec<i64> = (0..lines).map(|_| skewed(random, 8191, 1, ITEMS)).collect();
    items.sort_unstable();
    items.dedup();
    let lines = Value::Int(items.len() as i64);
    client.query(INSERT_ORDER, &[W, district.clone(), id.clone(), customer, lines]).await?;
    client.query(INSERT_NEW_ORDER, &[W, district.clone(), id.clone()]).await?;
    let last = items.len();
    for (number, item) in (1_usize..).zip(items) {
        if is_invalid && number == last {
            client.query(ITEM, &[Value::Int(ITEMS + 1)]).await?;
            return Ok(false);
        }
        let item = Value::Int(item);
        let price = client.float(ITEM, &[item.clone()]).await?;
        let quantity = random.random_range(1..=10);
        let stock = client.query(STOCK, &[W, item.clone()]).await?;
        let (left, place) = match stock.first().map(Vec::as_slice) {
            Some([left, _, place]) => (left.parse::<i64>().unwrap_or(0), Value::text(place.trim_end())),
            _ => return client.wrong(STOCK),
        };
        let left = if left - quantity >= 10 { left - quantity } else { left - quantity + 91 };
        client.query(UPDATE_STOCK, &[W, item.clone(), Value::Int(left), Value::Int(quantity)]).await?;
        let amount = cents(price * quantity as f64);
        let values = [W, district.clone(), id.clone(), Value::Int(number as i64), item, Value::Int(quantity), amount, place];
        client.query(INSERT_LINE, &values).await?;
    }
    Ok(true)
}

/// Clause 2.5.2.2: by last name, the middle one of those with the name, in six of ten cases.
async fn chosen_customer(client: &mut Client, random: &mut StdRng, district: &Value) -> Outcome<Value> {
    if random.random_range(0..10) < 4 {
        return Ok(Value::Int(skewed(random, 1023, 1, CUSTOMERS)));
    }
    let name = Value::Text(last_name(skewed(random, 255, 0, 999)));
    let found = client.query(CUSTOMERS_BY_NAME, &[W, district.clone(), name]).await?;
    match found.get(found.len() / 2).and_then(|row| row.first()).and_then(|id| id.parse().ok()) {
        Some(id) => Ok(Value::Int(id)),
        None => Ok(Value::Int(skewed(random, 1023, 1, CUSTOMERS))),
    }
}

async fn payment(client: &mut Client, random: &mut StdRng, district: Value) -> Outcome<()> {
    let amount = Value::Decimal(random.random_range(100..=500_000) * 100);
    client.query(PAY_WAREHOUSE, &[W, amount.clone()]).await?;
    client.query(PAY_DISTRICT, &[W, district.clone(), amount.clone()]).await?;
    let customer = chosen_customer(client, random, &district).await?;
    let key = [W, district.clone(), customer.clone()];
    let paying = client.query(CUSTOMER_TO_PAY, &key).await?;
    let is_bad = paying.first().and_then(|row| row.first()).is_some_and(|credit| credit == "BC");
    if is_bad {
        let data = client.query(BAD_CREDIT_DATA, &key).await?;
        let old = data.first().and_then(|row| row.first()).map_or("", String::as_str);
        let new: String = format!("{} {} {}|{old}", customer.literal(), district.literal(), amount.literal()).chars().take(500).collect();
        let values = [W, district.clone(), customer.clone(), amount.clone(), Value::Text(new)];
        client.query(PAY_BAD_CREDIT, &values).await?;
    } else {
        client.query(PAY_CUSTOMER, &[W, district.clone(), customer.clone(), amount.clone()]).await?;
    }
    client.query(INSERT_HISTORY, &[W, district, customer, amount, Value::text("payment")]).await?;
    Ok(())
}

async fn order_status(client: &mut Client, random: &mut StdRng, district: Value) -> Outcome<()> {
    let customer = chosen_customer(client, random, &district).await?;
    let key = [W, district.clone(), customer];
    client.query(CUSTOMER_STATUS, &key).await?;
    let order = client.int(LAST_ORDER, &key).await?;
    client.query(LINES_OF_ORDER, &[W, district, Value::Int(order)]).await?;
    Ok(())
}

async fn delivery(client: &mut Client, random: &mut StdRng) -> Outcome<()> {
    let carrier = Value::Int(random.random_range(1..=10));
    for district in (1..=DISTRICTS).map(Value::Int) {
        let oldest = client.query(OLDEST_NEW_ORDER, &[W, district.clone()]).await?;
        let Some(order) = oldest.first().and_then(|row| row.first()).and_then(|id| id.parse().ok()) else { continue };
        let key = [W, district.clone(), Value::Int(order)];
        client.query(DELETE_NEW_ORDER, &key).await?;
        let customer = client.int(ORDER_CUSTOMER, &key).await?;
        client.query(SET_CARRIER, &[W, district.clone(), Value::Int(order), carrier.clone()]).await?;
        client.query(SET_DELIVERED, &key).await?;
        let amount = client.float(ORDER_AMOUNT, &key).await?;
        client.query(DELIVER_TO_CUSTOMER, &[W, district, Value::Int(customer), cents(amount)]).await?;
    }
    Ok(())
}

async fn stock_level(client: &mut Client, random: &mut StdRng, district: Value) -> Outcome<()> {
    let next = client.int(DISTRICT_NEXT_ORDER, &[W, district.clone()]).await?;
    let threshold = Value::Int(random.random_range(10..=20));
    client.query(LOW_STOCK, &[W, district, Value::Int(next), Value::Int(next - 20), threshold]).await?;
    Ok(())
}
