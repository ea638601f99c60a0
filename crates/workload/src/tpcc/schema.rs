//! TPC-C's nine tables (clause 1.3) and what fills one warehouse of them (clause 4.3), from a seed.

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::value::Value;

pub const ITEMS: i64 = 100_000;
pub const DISTRICTS: i64 = 10;
pub const CUSTOMERS: i64 = 3000;
pub const ORDERS: i64 = 3000;
/// Orders from this on are not delivered yet.
const FIRST_NEW_ORDER: i64 = 2101;

pub const TABLES: &[(&str, &str)] = &[
    (
        "warehouse",
        "w_id smallint PRIMARY KEY, w_name varchar(10), w_street_1 varchar(20), w_street_2 varchar(20), w_city varchar(20),
         w_state char(2), w_zip char(9), w_tax numeric(4,4), w_ytd numeric(12,2)",
    ),
    (
        "district",
        "d_id smallint, d_w_id smallint REFERENCES warehouse, d_name varchar(10), d_street_1 varchar(20),
         d_street_2 varchar(20), d_city varchar(20), d_state char(2), d_zip char(9), d_tax numeric(4,4),
         d_ytd numeric(12,2), d_next_o_id integer, PRIMARY KEY (d_w_id, d_id)",
    ),
    (
        "customer",
        "c_id integer, c_d_id smallint, c_w_id smallint, c_first varchar(16), c_middle char(2), c_last varchar(16),
         c_street_1 varchar(20), c_street_2 varchar(20), c_city varchar(20), c_state char(2), c_zip char(9),
         c_phone char(16), c_since timestamp, c_credit char(2), c_credit_lim numeric(12,2), c_discount numeric(4,4),
         c_balance numeric(12,2), c_ytd_payment numeric(12,2), c_payment_cnt smallint, c_delivery_cnt smallint,
         c_data text, PRIMARY KEY (c_w_id, c_d_id, c_id), FOREIGN KEY (c_w_id, c_d_id) REFERENCES district (d_w_id, d_id)",
    ),
    (
        "history",
        "h_c_id integer, h_c_d_id smallint, h_c_w_id smallint, h_d_id smallint, h_w_id smallint, h_date timestamp,
         h_amount numeric(6,2), h_data varchar(24),
         FOREIGN KEY (h_c_w_id, h_c_d_id, h_c_id) REFERENCES customer (c_w_id, c_d_id, c_id),
         FOREIGN KEY (h_w_id, h_d_id) REFERENCES district (d_w_id, d_id)",
    ),
    (
        "orders",
        "o_id integer, o_d_id smallint, o_w_id smallint, o_c_id integer, o_entry_d timestamp, o_carrier_id smallint,
         o_ol_cnt smallint, o_all_local smallint, PRIMARY KEY (o_w_id, o_d_id, o_id),
         FOREIGN KEY (o_w_id, o_d_id, o_c_id) REFERENCES customer (c_w_id, c_d_id, c_id)",
    ),
    (
        "new_order",
        "no_o_id integer, no_d_id smallint, no_w_id smallint, PRIMARY KEY (no_w_id, no_d_id, no_o_id),
         FOREIGN KEY (no_w_id, no_d_id, no_o_id) REFERENCES orders (o_w_id, o_d_id, o_id)",
    ),
    (
        "item",
        "i_id integer PRIMARY KEY, i_im_id integer, i_name varchar(24), i_price numeric(5,2), i_data varchar(50)",
    ),
    (
        "stock",
        "s_i_id integer REFERENCES item, s_w_id smallint REFERENCES warehouse, s_quantity smallint, s_dist_01 char(24),
         s_dist_02 char(24), s_dist_03 char(24), s_dist_04 char(24), s_dist_05 char(24), s_dist_06 char(24),
         s_dist_07 char(24), s_dist_08 char(24), s_dist_09 char(24), s_dist_10 char(24), s_ytd integer,
         s_order_cnt smallint, s_remote_cnt smallint, s_data varchar(50), PRIMARY KEY (s_w_id, s_i_id)",
    ),
    (
        "order_line",
        "ol_o_id integer, ol_d_id smallint, ol_w_id smallint, ol_number smallint, ol_i_id integer, ol_supply_w_id smallint,
         ol_delivery_d timestamp, ol_quantity smallint, ol_amount numeric(6,2), ol_dist_info char(24),
         PRIMARY KEY (ol_w_id, ol_d_id, ol_o_id, ol_number),
         FOREIGN KEY (ol_w_id, ol_d_id, ol_o_id) REFERENCES orders (o_w_id, o_d_id, o_id),
         FOREIGN KEY (ol_supply_w_id, ol_i_id) REFERENCES stock (s_w_id, s_i_id)",
    ),
];

pub const INDEXES: &[&str] = &[
    "CREATE INDEX customer_name ON customer (c_w_id, c_d_id, c_last, c_first)",
    "CREATE INDEX orders_customer ON orders (o_w_id, o_d_id, o_c_id, o_id)",
    "CREATE INDEX stock_item ON stock (s_i_id)",
    "CREATE INDEX order_line_stock ON order_line (ol_supply_w_id, ol_i_id)",
];

const NOW: &str = "2026-01-01 00:00:00";

/// Clause 4.3.2.3: a last name of three syllables.
pub fn last_name(number: i64) -> String {
    const SYLLABLES: [&str; 10] = ["BAR", "OUGHT", "ABLE", "PRI", "PRES", "ESE", "ANTI", "CALLY", "ATION", "EING"];
    [number / 100, number / 10 % 10, number % 10].map(|digit| SYLLABLES[digit as usize]).concat()
}

/// Clause 2.1.6: NURand(A, x, y).
pub fn skewed(random: &mut StdRng, a: i64, low: i64, high: i64) -> i64 {
    ((random.random_range(0..=a) | random.random_range(low..=high)) + a / 3) % (high - low + 1) + low
}

fn letters(random: &mut StdRng, low: usize, high: usize) -> Value {
    let length = random.random_range(low..=high);
    Value::Text((0..length).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect())
}

fn address(random: &mut StdRng) -> Vec<Value> {
    let zip = Value::Text(format!("{:04}11111", random.random_range(0..10_000)));
    vec![letters(random, 10, 20), letters(random, 10, 20), letters(random, 10, 20), letters(random, 2, 2), zip]
}

/// Where one item in ten carries the word.
fn data(random: &mut StdRng) -> Value {
    match letters(random, 26, 50) {
        Value::Text(text) if random.random_range(0..10) == 0 => Value::Text(format!("{}ORIGINAL", &text[..text.len() - 8])),
        other => other,
    }
}

fn cents(value: i64) -> Value {
    Value::Decimal(value * 100)
}

/// Hands each row of one warehouse to `put`, with its table's place in [`TABLES`], a table after another.
pub fn fill(seed: u64, put: &mut dyn FnMut(usize, Vec<Value>)) {
    let mut random = StdRng::seed_from_u64(seed);
    let random = &mut random;
    let int = Value::Int;
    let mut row = vec![int(1), letters(random, 6, 10)];
    row.extend(address(random));
    row.extend([Value::Decimal(random.random_range(0..=2000)), cents(30_000_000)]);
    put(0, row);
    for district in 1..=DISTRICTS {
        let mut row = vec![int(district), int(1), letters(random, 6, 10)];
        row.extend(address(random));
        row.extend([Value::Decimal(random.random_range(0..=2000)), cents(3_000_000), int(ORDERS + 1)]);
        put(1, row);
    }
    for district in 1..=DISTRICTS {
        for customer in 1..=CUSTOMERS {
            let name = if customer <= 1000 { customer - 1 } else { skewed(random, 255, 0, 999) };
            let mut row = vec![int(customer), int(district), int(1), letters(random, 8, 16), Value::text("OE"), Value::Text(last_name(name))];
            row.extend(address(random));
            let credit = if random.random_range(0..10) == 0 { "BC" } else { "GC" };
            row.extend([Value::text("0123456789012345"), Value::text(NOW), Value::text(credit), cents(5_000_000)]);
            row.extend([Value::Decimal(random.random_range(0..=5000)), cents(-1000), cents(1000), int(1), int(0)]);
            row.push(letters(random, 300, 500));
            put(2, row);
        }
    }
    for district in 1..=DISTRICTS {
        for customer in 1..=CUSTOMERS {
            let ids = [customer, district, 1, district, 1].map(int);
            put(3, ids.into_iter().chain([Value::text(NOW), cents(1000), letters(random, 12, 24)]).collect());
        }
    }
    // What an order has must be known to its lines.
    let line_counts: Vec<Vec<i64>> =
        (0..DISTRICTS).map(|_| (0..ORDERS).map(|_| random.random_range(5..=15)).collect()).collect();
    for district in 1..=DISTRICTS {
        let mut customers: Vec<i64> = (1..=CUSTOMERS).collect();
        for at in (1..customers.len()).rev() {
            customers.swap(at, random.random_range(0..=at));
        }
        for order in 1..=ORDERS {
            let carrier = if order < FIRST_NEW_ORDER { int(random.random_range(1..=10)) } else { Value::Null };
            let lines = line_counts[district as usize - 1][order as usize - 1];
            let customer = customers[order as usize - 1];
            put(4, vec![int(order), int(district), int(1), int(customer), Value::text(NOW), carrier, int(lines), int(1)]);
        }
    }
    for district in 1..=DISTRICTS {
        (FIRST_NEW_ORDER..=ORDERS).for_each(|order| put(5, vec![int(order), int(district), int(1)]));
    }
    for item in 1..=ITEMS {
        let image = int(random.random_range(1..=10_000));
        put(6, vec![int(item), image, letters(random, 14, 24), cents(random.random_range(100..=10_000)), data(random)]);
    }
    for item in 1..=ITEMS {
        let mut row = vec![int(item), int(1), int(random.random_range(10..=100))];
        row.extend((0..10).map(|_| letters(random, 24, 24)));
        row.extend([int(0), int(0), int(0), data(random)]);
        put(7, row);
    }
    for district in 1..=DISTRICTS {
        for order in 1..=ORDERS {
            for line in 1..=line_counts[district as usize - 1][order as usize - 1] {
                let delivered = order < FIRST_NEW_ORDER;
                let when = if delivered { Value::text(NOW) } else { Value::Null };
                let amount = if delivered { cents(0) } else { cents(random.random_range(1..=999_999)) };
                let item = random.random_range(1..=ITEMS);
                let ids = [order, district, 1, line, item, 1].map(int);
                put(8, ids.into_iter().chain([when, int(5), amount, letters(random, 24, 24)]).collect());
            }
        }
    }
}
