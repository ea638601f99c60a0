//! What changes of data become.

use super::{bind, check, check_error, names};

#[test]
fn insert_fills_in_defaults() {
    check("INSERT INTO t (b, a) VALUES ('x', '5'), (DEFAULT, 6)",
        "insert(t; values([5:integer, x:text, null:numeric(10,2), null:timestamp with time zone] \
         [6:integer, null:text, null:numeric(10,2), null:timestamp with time zone]))");
    check("INSERT INTO u VALUES (1)", "insert(u; values([1:integer, null:bigint, null:text, rowid]))");
    check("INSERT INTO acct (email) VALUES ('me')",
        "insert(acct; values([NextIdentity(300:regclass), me:character varying(20), 7:integer, null:integer]))");
    check("INSERT INTO acct DEFAULT VALUES",
        "insert(acct; values([NextIdentity(300:regclass), null:character varying(20), 7:integer, null:integer]))");
    check("INSERT INTO u (x, a) SELECT a, a FROM t",
        "insert(u; project(project(t; #0::bigint, #0); #1, #0, null:text, rowid))");
    check("INSERT INTO acct (id, email) OVERRIDING SYSTEM VALUE VALUES (5, 'x')",
        "insert(acct; values([5:bigint, x:character varying(20), 7:integer, null:integer]))");
}

#[test]
fn insert_answers_conflicts() {
    check("INSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING RETURNING a, b",
        "insert(t; values([1:integer, null:text, null:numeric(10,2), null:timestamp with time zone]); \
         conflict None; returning #0, #1)");
    check("INSERT INTO t (a, b) VALUES ($1, $2) ON CONFLICT (a) DO UPDATE SET b = excluded.b WHERE t.b <> excluded.b",
        "insert(t; values([$1:integer, $2:text, null:numeric(10,2), null:timestamp with time zone]); \
         conflict Some([0]) set 1=#5 where <>(#1, #5))");
    check("INSERT INTO acct (email) VALUES ('x') ON CONFLICT ON CONSTRAINT acct_email_key DO UPDATE SET n = acct.n + 1",
        "insert(acct; values([NextIdentity(300:regclass), x:character varying(20), 7:integer, null:integer]); \
         conflict Some([1]) set 2=+(#2, 1:integer))");
    check_error("INSERT INTO t VALUES (1) ON CONFLICT (b) DO NOTHING", "42P10",
        "there is no unique or exclusion constraint matching the ON CONFLICT specification");
}

#[test]
fn update_and_delete_lock_what_they_change() {
    check("UPDATE t SET b = 'x', c = c + 1 WHERE a = 1 RETURNING *",
        "update(t; filter(t!NoKeyUpdateBlock; =(#0, 1:integer)); 1=x:text, 2=+(#2, 1:numeric)::numeric(10,2); \
         returning #0, #1, #2, #3)");
    check("UPDATE t SET (b, c) = (u.y, 2) FROM u WHERE u.a = t.a",
        "update(t; filter(inner(t!NoKeyUpdateBlock, u); =(#4, #0)); 1=#6, 2=2.00:numeric(10,2))");
    check("UPDATE t SET (b, c) = (SELECT y, x FROM u WHERE u.a = t.a)",
        "update(t; t!NoKeyUpdateBlock; 1=subquery(scalar; #0), 2=subquery(scalar; #0)::numeric(10,2))");
    check("UPDATE acct SET n = DEFAULT", "update(acct; acct!NoKeyUpdateBlock; 2=7:integer)");
    // What others may refer to: a key, unless it stays what it is.
    check("UPDATE t SET a = a + 1", "update(t; t!UpdateBlock; 0=+(#0, 1:integer))");
    check("UPDATE t SET a = a, c = 2", "update(t; t!NoKeyUpdateBlock; 0=#0, 2=2.00:numeric(10,2))");
    check("DELETE FROM t USING u WHERE t.a = u.a RETURNING u.y",
        "delete(t; filter(inner(t!UpdateBlock, u); =(#0, #4)); returning #6)");
    assert_eq!(names("DELETE FROM t RETURNING a + 1 AS next, b"), ["next", "b"]);
}

#[test]
fn changes_in_with_are_apart() {
    let bound = bind("WITH gone AS (DELETE FROM t RETURNING a) INSERT INTO u (a) SELECT a FROM gone").unwrap();
    assert_eq!(bound.cte_count, 1);
}

#[test]
fn changes_are_refused_in_postgresqls_words() {
    check_error("INSERT INTO nope VALUES (1)", "42P01", "relation \"nope\" does not exist");
    check_error("INSERT INTO t (z) VALUES (1)", "42703", "column \"z\" of relation \"t\" does not exist");
    check_error("INSERT INTO t (a) VALUES (true)", "42804",
        "column \"a\" is of type integer but expression is of type boolean");
    check_error("INSERT INTO t (a) VALUES (1, 2)", "42601", "INSERT has more expressions than target columns");
    check_error("INSERT INTO t (a, b) VALUES (1)", "42601", "INSERT has more target columns than expressions");
    check_error("INSERT INTO acct (id, email) VALUES (1, 'x')", "428C9",
        "cannot insert a non-DEFAULT value into column \"id\"");
    check_error("UPDATE acct SET twice = 1", "428C9", "column \"twice\" can only be updated to DEFAULT");
    check_error("UPDATE t SET b = 'x', b = 'y'", "42601", "multiple assignments to same column \"b\"");
    check_error("UPDATE v SET nosuch = 'x'", "42703", "column \"nosuch\" of relation \"v\" does not exist");
}

#[test]
fn a_change_of_a_view_is_one_of_its_table() {
    check("UPDATE v SET label = 'x' WHERE k = 1",
        "update(t; filter(filter(t!NoKeyUpdateBlock; >(#0, 0:integer)); =(#0, 1:integer)); 1=x:text)");
    check("INSERT INTO v (k) VALUES (5) RETURNING label",
        "insert(t; values([5:integer, null:text, null:numeric(10,2), null:timestamp with time zone]); returning #1)");
    check("DELETE FROM v RETURNING k",
        "delete(t; filter(t!UpdateBlock; >(#0, 0:integer)); returning #0)");
}
