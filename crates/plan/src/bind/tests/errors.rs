//! What is refused, in PostgreSQL's words.

use super::{check_error, fails};

#[test]
fn names_that_are_not_there() {
    check_error("SELECT * FROM nope", "42P01", "relation \"nope\" does not exist");
    check_error("SELECT nope FROM t", "42703", "column \"nope\" does not exist");
    check_error("SELECT t.nope FROM t", "42703", "column t.nope does not exist");
    check_error("SELECT z.a FROM t", "42P01", "missing FROM-clause entry for table \"z\"");
    check_error("SELECT a FROM t, u", "42702", "column reference \"a\" is ambiguous");
    check_error("SELECT 1 FROM t, t", "42712", "table name \"t\" specified more than once");
    check_error("SELECT nope(1)", "42883", "function nope(integer) does not exist");
    check_error("SELECT 1 + true", "42883", "operator does not exist: integer + boolean");
    check_error("SELECT 1::nope", "42704", "type \"nope\" does not exist");
}

#[test]
fn positions_are_characters_from_one() {
    assert_eq!(fails("SELECT nope FROM t").position, Some(8));
    assert_eq!(fails("SELECT 'é', nope FROM t").position, Some(13));
    assert_eq!(fails("SELECT 1;\nSELECT * FROM").position, Some(24));
}

#[test]
fn errors_point_at_their_cause() {
    let cases = [
        // The operator, the cast, the literal.
        ("SELECT 1 + true", 10),
        ("SELECT (1)  <  true", 13),
        ("SELECT a = b FROM t", 10),
        ("SELECT 1 + 2 + true", 14),
        ("SELECT true::bytea", 12),
        ("SELECT 1 + 'x'", 12),
        ("SELECT abs('x')", 12),
        ("SELECT 1 IN (2, 'x')", 17),
        // The column that is not grouped, and not where it is an argument.
        ("SELECT sum(a), a FROM t", 16),
        ("SELECT count(*), t.a FROM t", 18),
        ("SELECT b FROM t GROUP BY b HAVING a > 1", 35),
        ("SELECT b FROM t WHERE a > 1 GROUP BY b ORDER BY a", 49),
        // The parenthesis of a query.
        ("SELECT * FROM (SELECT 1)", 15),
        ("SELECT * FROM (VALUES (1))", 15),
        // Of what ends too early, the semicolon.
        ("SELECT 1 FROM;", 14),
        ("SELECT 1 FROM", 14),
    ];
    for (sql, position) in cases {
        assert_eq!(fails(sql).position, Some(position), "{sql}");
    }
}

#[test]
fn grouping_is_checked() {
    check_error(
        "SELECT b, a FROM t GROUP BY b",
        "42803",
        "column \"t.a\" must appear in the GROUP BY clause or be used in an aggregate function",
    );
    check_error("SELECT a FROM t WHERE sum(a) > 1", "42803", "aggregate functions are not allowed in WHERE");
    check_error("SELECT sum(sum(a)) FROM t", "42803", "aggregate function calls cannot be nested");
    check_error("SELECT a FROM t WHERE rank() OVER () = 1", "42P20", "window functions are not allowed in WHERE");
    check_error("SELECT 1 FROM t GROUP BY 7", "42P10", "GROUP BY position 7 is not in select list");
}

#[test]
fn types_are_checked() {
    check_error("SELECT 1 FROM t WHERE a", "42804", "argument of WHERE must be type boolean, not type integer");
    check_error("SELECT 1 UNION SELECT true", "42804", "UNION types integer and boolean cannot be matched");
    check_error("SELECT 1 UNION SELECT 1, 2", "42601", "each UNION query must have the same number of columns");
    check_error("SELECT 'x'::int", "22P02", "invalid input syntax for type integer: \"x\"");
    check_error("SELECT (SELECT 1, 2)", "42601", "subquery must return only one column");
    check_error(
        "SELECT DISTINCT b FROM t ORDER BY a",
        "42P10",
        "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
    );
    check_error("SELECT a FROM t GROUP BY a FOR UPDATE", "0A000",
        "FOR UPDATE is not allowed with GROUP BY clause");
}

#[test]
fn deep_calls_are_bound() {
    super::bind(&format!("SELECT {}b{} FROM t", "lower(".repeat(40), ")".repeat(40))).unwrap();
}

#[test]
fn long_chains_of_operators_are_bound() {
    super::bind(&format!("SELECT a{} FROM t", " + a".repeat(900))).unwrap();
}

#[test]
fn long_disjunctions_are_bound() {
    super::bind(&format!("SELECT 1 FROM t WHERE a = 1{}", " OR a = 2".repeat(1900))).unwrap();
}

#[test]
fn deep_subqueries_are_bound() {
    super::bind(&format!("SELECT {}1{}", "(SELECT ".repeat(20), ")".repeat(20))).unwrap();
}

#[test]
fn endless_chains_are_refused() {
    for count in [10_001, 100_000] {
        assert_eq!(fails(&format!("SELECT a{} FROM t", " + a".repeat(count))).code().code(), "54001");
    }
}
