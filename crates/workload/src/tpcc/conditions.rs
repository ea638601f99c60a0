//! The twelve consistency conditions of clause 3.3.2: each a query that counts what contradicts it.

pub const CONDITIONS: [&str; 12] = [
    // 1: a warehouse has what its districts have.
    "SELECT count(*) FROM warehouse WHERE w_ytd <> (SELECT sum(d_ytd) FROM district WHERE d_w_id = w_id)",
    // 2: the next order id follows the last order and the last new order.
    "SELECT count(*) FROM district
     LEFT JOIN (SELECT o_w_id, o_d_id, max(o_id) AS last FROM orders GROUP BY 1, 2) o ON o_w_id = d_w_id AND o_d_id = d_id
     LEFT JOIN (SELECT no_w_id, no_d_id, max(no_o_id) AS last FROM new_order GROUP BY 1, 2) n
       ON no_w_id = d_w_id AND no_d_id = d_id
     WHERE d_next_o_id - 1 <> o.last OR (n.last IS NOT NULL AND d_next_o_id - 1 <> n.last)",
    // 3: new orders of a district are without gaps.
    "SELECT count(*) FROM (SELECT max(no_o_id) - min(no_o_id) + 1 AS span, count(*) AS rows
     FROM new_order GROUP BY no_w_id, no_d_id) n WHERE span <> rows",
    // 4: orders have as many lines as they say, district by district.
    "SELECT count(*) FROM (SELECT o_w_id, o_d_id, sum(o_ol_cnt) AS lines FROM orders GROUP BY 1, 2) o
     JOIN (SELECT ol_w_id, ol_d_id, count(*) AS lines FROM order_line GROUP BY 1, 2) l
       ON o_w_id = ol_w_id AND o_d_id = ol_d_id WHERE o.lines <> l.lines",
    // 5: an order has no carrier as long as it is new.
    "SELECT count(*) FROM orders LEFT JOIN new_order ON no_w_id = o_w_id AND no_d_id = o_d_id AND no_o_id = o_id
     WHERE (o_carrier_id IS NULL) <> (no_o_id IS NOT NULL)",
    // 6: each order has as many lines as it says.
    "SELECT count(*) FROM orders LEFT JOIN (SELECT ol_w_id, ol_d_id, ol_o_id, count(*) AS lines FROM order_line
     GROUP BY 1, 2, 3) l ON ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_o_id = o_id
     WHERE o_ol_cnt <> coalesce(lines, 0)",
    // 7: a line has no date of delivery as long as its order has no carrier.
    "SELECT count(*) FROM order_line JOIN orders ON o_w_id = ol_w_id AND o_d_id = ol_d_id AND o_id = ol_o_id
     WHERE (ol_delivery_d IS NULL) <> (o_carrier_id IS NULL)",
    // 8: a warehouse has what was paid to it.
    "SELECT count(*) FROM warehouse WHERE w_ytd <> (SELECT sum(h_amount) FROM history WHERE h_w_id = w_id)",
    // 9: so has a district.
    "SELECT count(*) FROM district LEFT JOIN (SELECT h_w_id, h_d_id, sum(h_amount) AS paid FROM history GROUP BY 1, 2) h
     ON h_w_id = d_w_id AND h_d_id = d_id WHERE d_ytd <> coalesce(paid, 0)",
    // 10: a customer owes what was delivered and not paid.
    "SELECT count(*) FROM customer
     LEFT JOIN (SELECT o_w_id, o_d_id, o_c_id, sum(ol_amount) AS owed FROM orders
       JOIN order_line ON ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_o_id = o_id
       WHERE ol_delivery_d IS NOT NULL GROUP BY 1, 2, 3) l ON o_w_id = c_w_id AND o_d_id = c_d_id AND o_c_id = c_id
     LEFT JOIN (SELECT h_c_w_id, h_c_d_id, h_c_id, sum(h_amount) AS paid FROM history GROUP BY 1, 2, 3) h
       ON h_c_w_id = c_w_id AND h_c_d_id = c_d_id AND h_c_id = c_id
     WHERE c_balance <> coalesce(owed, 0) - coalesce(paid, 0)",
    // 11: of the orders, those that are not new are delivered: 2100 in each district at the beginning.
    "SELECT count(*) FROM (SELECT o_w_id, o_d_id, count(*) AS orders, sum(CASE WHEN o_carrier_id IS NULL THEN 1 ELSE 0 END)
     AS open FROM orders GROUP BY 1, 2) o LEFT JOIN (SELECT no_w_id, no_d_id, count(*) AS rows FROM new_order GROUP BY 1, 2) n
     ON no_w_id = o_w_id AND no_d_id = o_d_id WHERE open <> coalesce(rows, 0)",
    // 12: balance and payments of a customer add up to what was delivered.
    "SELECT count(*) FROM customer
     LEFT JOIN (SELECT o_w_id, o_d_id, o_c_id, sum(ol_amount) AS owed FROM orders
       JOIN order_line ON ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_o_id = o_id
       WHERE ol_delivery_d IS NOT NULL GROUP BY 1, 2, 3) l ON o_w_id = c_w_id AND o_d_id = c_d_id AND o_c_id = c_id
     WHERE c_balance + c_ytd_payment <> coalesce(owed, 0)",
];
