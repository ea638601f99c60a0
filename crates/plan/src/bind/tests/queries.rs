//! What queries become.

use std::fmt::Write as _;

use super::{bind, check, check_expr, names};

#[test]
fn expressions_take_their_types_from_their_neighbours() {
    check_expr("1 + 2", "3:integer");
    check_expr("1 + 2.5", "3.5:numeric");
    check_expr("'5' + 1", "6:integer");
    check_expr("'a' || 'b'", "ab:text");
    check_expr("'x', NULL", "x:text, null:text");
    check_expr("'12'::int, CAST('3' AS bigint), int '7'", "12:integer, 3:bigint, 7:integer");
    check_expr("-2147483648, 9223372036854775807", "-2147483648:integer, 9223372036854775807:bigint");
    check_expr("1 IN (1, 2.5)", "(1:numeric in 1:numeric, 2.5:numeric)");
    check_expr("CASE WHEN true THEN 1 ELSE '2' END", "case when t:boolean then 1:integer else 2:integer");
    check_expr("ARRAY[1,2], '{3}'::int[]", "{1,2}:integer[], {3}:integer[]");
    check_expr("NULLIF(1, 2)", "nullif(1:integer, =(it, 2:integer))");
    check_expr("CASE nextval('s') WHEN 1 THEN 2 END", "case NextVal(300:regclass) when =(it, 1:bigint) then 2:integer");
    check_expr("(1, 2) = (1, 3)", "and(t:boolean, f:boolean)");
    check_expr("nextval('s')", "NextVal(300:regclass)");
}

#[test]
fn fields_give_units_to_bare_numbers() {
    check_expr("interval '+1:30' minute to second", "00:01:30:interval");
    check_expr("interval '-1:30' minute to second", "-00:01:30:interval");
    check_expr("interval '5 1:30' minute to second", "5 days 00:01:30:interval");
    check_expr("interval '1 day 3' hour", "1 day 03:00:00:interval");
    check_expr("interval '1 2' day to hour", "1 day 02:00:00:interval");
    check_expr("interval '-1 +2' day to hour", "-1 days +02:00:00:interval");
    check_expr("interval '1-2 3' day", "1 year 2 mons 3 days:interval");
}

#[test]
fn stars_and_names() {
    check("SELECT * FROM t", "project(t; #0, #1, #2, #3)");
    // A row id is no column of *.
    check("SELECT * FROM u", "project(u; #0, #1, #2)");
    check("SELECT t.b, T.A, public.t.a FROM t", "project(t; #1, #0, #0)");
    check("SELECT z.* FROM t AS z(p, q) WHERE p = 1", "project(filter(t; =(#0, 1:integer)); #0, #1, #2, #3)");
    assert_eq!(names("SELECT z.* FROM t AS z(p, q)"), ["p", "q", "c", "d"]);
    assert_eq!(names("SELECT 1, a + 1, upper(b), a::text, '1'::int4, count(*) OVER () FROM t"), [
        "?column?", "?column?", "upper", "a", "int4", "count"
    ]);
    check("SELECT * FROM v", "project(project(filter(t; >(#0, 0:integer)); #0, #1); #0, #1)");
    assert_eq!(names("SELECT * FROM v"), ["k", "label"]);
}

#[test]
fn joins_put_the_right_columns_behind_the_left_ones() {
    check("SELECT t.b, u.y FROM t JOIN u ON t.a = u.a", "project(inner(t, u; =(#0, #4)); #1, #6)");
    check("SELECT a, b, y FROM t LEFT JOIN u USING (a)", "project(left(t, u; =(#0, #4)); #0, #1, #6)");
    check("SELECT a FROM t RIGHT JOIN u USING (a)", "project(right(t, u; =(#0, #4)); #4)");
    check("SELECT a FROM t FULL JOIN u USING (a)", "project(full(t, u; =(#0, #4)); coalesce(#0, #4))");
    check("SELECT * FROM t NATURAL JOIN u", "project(inner(t, u; =(#0, #4)); #0, #1, #2, #3, #5, #6)");
    check("SELECT 1 FROM t, u WHERE t.a = u.x", "project(filter(inner(t, u); =(#0::bigint, #5)); 1:integer)");
    check("SELECT 1 FROM t a, t b, t c", "project(inner(inner(t, t), t); 1:integer)");
}

#[test]
fn order_and_limit() {
    check("SELECT b FROM t ORDER BY a", "project(sort(project(t; #1, #0); #1); #0)");
    check("SELECT b AS k FROM t ORDER BY k DESC, 1 NULLS FIRST", "sort(project(t; #1); #0 desc, #0 nulls first)");
    check("SELECT a FROM t ORDER BY a + 1 LIMIT 5 OFFSET $1",
        "limit(project(sort(project(t; #0, +(#0, 1:integer)); #1); #0); 5:bigint; offset $1:bigint)");
    check("SELECT DISTINCT b FROM t ORDER BY b", "sort(distinct(project(t; #1)); #0)");
    check("SELECT DISTINCT ON (b) b, a FROM t ORDER BY b, c",
        "project(distinct(sort(project(t; #1, #0, #2); #0, #2); on #0); #0, #1)");
    check("SELECT a FROM t FETCH FIRST 3 ROWS ONLY", "limit(project(t; #0); 3:bigint)");
    check("SELECT b FROM t ORDER BY a OFFSET 1 FETCH FIRST (2) ROWS WITH TIES",
        "project(limit(sort(project(t; #1, #0); #1); 2:bigint; offset 1:bigint; ties #1); #0)");
    check("SELECT a FROM t ORDER BY a FETCH FIRST (NULL::int) ROWS WITH TIES",
        "limit(sort(project(t; #0); #0); ties #0)");
}

#[test]
fn groups_replace_their_expressions() {
    check("SELECT b, count(*), sum(a) FROM t GROUP BY b", "project(aggregate(t; #1; count(), sum(#0)); #0, #1, #2)");
    check("SELECT a % 2 AS k, max(c) + 1 FROM t GROUP BY k HAVING count(*) > 1",
        "project(filter(aggregate(t; %(#0, 2:integer); max(#2), count()); >(#2, 1:bigint)); #0, +(#1, 1:numeric))");
    check("SELECT b FROM t GROUP BY 1 ORDER BY sum(a)",
        "project(sort(project(aggregate(t; #1; sum(#0)); #0, #1); #1); #0)");
    check("SELECT count(DISTINCT a) FILTER (WHERE b = 'x'), string_agg(b, ',' ORDER BY a DESC) FROM t",
        "project(aggregate(t; ; count(distinct #0) filter =(#1, x:text), string_agg(#1, ,:text order #0 desc)); #0, #1)");
    // The primary key determines the rest of its row.
    check("SELECT a, b FROM t GROUP BY a", "project(aggregate(t; #0, #1; ); #0, #1)");
    check("SELECT a, b, grouping(b) FROM t GROUP BY ROLLUP (a, b)",
        "project(aggregate(t; #0, #1, t:boolean; ; sets [[0, 1, 2], [0], []]); #0, #1, \
         case when isnull(#2) then 1:integer else 0:integer)");
    check("SELECT count(*) FROM t GROUP BY GROUPING SETS ((a), (b), ())",
        "project(aggregate(t; #0, #1; count(); sets [[0], [1], []]); #2)");
}

#[test]
fn windows_share_nodes() {
    check("SELECT a, row_number() OVER w, sum(a) OVER w, lag(b) OVER (ORDER BY a) FROM t WINDOW w AS (PARTITION BY b ORDER BY a)",
        "project(window(window(t; by #1; order #0; RowNumber(), sum(#0)); by ; order #0; Lag(#1, 1:integer)); \
         #0, #4, #5, #6)");
    check("SELECT sum(count(*)) OVER (ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t GROUP BY b",
        "project(window(aggregate(t; #1; count()); by ; order #0; sum(#1) Rows -1:bigint..row); #2)");
}

#[test]
fn subqueries_take_outer_values_through_slots() {
    check("SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.a = t.a)",
        "project(filter(t; subquery(exists; #0)); #0)");
    check("SELECT a FROM t WHERE a IN (SELECT x FROM u)", "project(filter(t; subquery(#0 = any; )); #0)");
    check("SELECT a FROM t WHERE a NOT IN (SELECT x FROM u WHERE y = b)",
        "project(filter(t; not(subquery(#0 = any; #1))); #0)");
    // Two levels up passes through the middle level's slot.
    check("SELECT (SELECT (SELECT t.a + u.a) FROM u) FROM t", "project(t; subquery(scalar; #0))");
    check("SELECT b, (SELECT max(x) FROM u WHERE u.y = t.b) FROM t GROUP BY b",
        "project(aggregate(t; #1; ); #0, subquery(scalar; #0))");
    check("SELECT ARRAY(SELECT a FROM t)", "project(unit; subquery(array; ))");
}

#[test]
fn lateral_items_are_joined_with_arguments() {
    check("SELECT * FROM t, LATERAL (SELECT x FROM u WHERE u.a = t.a) s",
        "project(inner(t, project(filter(u; =(#0, outer0)); #1) lateral[#0]); #0, #1, #2, #3, #4)");
    check("SELECT g FROM t, generate_series(1, a) g",
        "project(inner(t, generate_series(1:integer, outer0) lateral[#0]); #4)");
    check("SELECT * FROM generate_series(1, 3) WITH ORDINALITY AS g(n, i)",
        "project(generate_series(1:integer, 3:integer) ordinality; #0, #1)");
    check("SELECT * FROM t LEFT JOIN LATERAL (SELECT 1 AS one) s ON true",
        "project(left(t, project(unit; 1:integer); t:boolean); #0, #1, #2, #3, #4)");
}

#[test]
fn sets_in_the_select_list() {
    check("SELECT a, generate_series(1, 2) + 1 FROM t",
        "project(sets(t; #0, #1, #2, #3, generate_series(1:integer, 2:integer)); #0, +(#4, 1:integer))");
}

#[test]
fn set_operations_agree_on_types() {
    check("SELECT 1 UNION ALL SELECT 2.5", "unionall(project(unit; 1:numeric), project(unit; 2.5:numeric))");
    check("SELECT NULL UNION SELECT a FROM t ORDER BY 1",
        "sort(union(project(unit; null:integer), project(t; #0)); #0)");
    check("VALUES (1, 'x'), (2.5, NULL)", "values([1:numeric, x:text] [2.5:numeric, null:text])");
    check("SELECT x FROM u EXCEPT SELECT a FROM t",
        "except(project(u; #1), project(t; #0::bigint))");
}

#[test]
fn with_queries_are_in_place_or_apart() {
    check("WITH c AS (SELECT a FROM t) SELECT * FROM c", "project(project(t; #0); #0)");
    check("WITH c AS MATERIALIZED (SELECT a FROM t) SELECT * FROM c", "project(cte0; #0)");
    check("WITH c AS (SELECT a FROM t) SELECT 1 FROM c x, c y", "project(inner(cte0, cte0); 1:integer)");
    check("WITH c AS NOT MATERIALIZED (SELECT a FROM t) SELECT 1 FROM c x, c y",
        "project(inner(project(t; #0), project(t; #0)); 1:integer)");
    check("WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT n FROM r LIMIT 3",
        "limit(project(recursiveall0(project(unit; 1:integer), \
         project(filter(cte0; <(#0, 5:integer)); +(#0, 1:integer))); #0); 3:bigint)");
    assert_eq!(bind("WITH c AS (SELECT 1 AS a) SELECT 1 FROM c x, c y").unwrap().cte_count, 1);
    assert_eq!(bind("WITH c AS (SELECT 1 AS a) SELECT 1 FROM c x").unwrap().cte_count, 0);
}

#[test]
fn parameters_take_the_first_type_wanted() {
    let types = |sql: &str| {
        bind(sql).unwrap().params.iter().map(|ty| ty.name()).collect::<Vec<_>>()
    };
    assert_eq!(types("SELECT * FROM t WHERE a = $1 AND b LIKE $2"), ["integer", "text"]);
    assert_eq!(types("SELECT $1, $2::int8, $3 + 1"), ["text", "bigint", "integer"]);
    assert_eq!(types("SELECT * FROM t WHERE a = ANY($1)"), ["integer[]"]);
    assert_eq!(types("SELECT * FROM t WHERE d > $1 LIMIT $2"), ["timestamp with time zone", "bigint"]);
    assert_eq!(types("SELECT * FROM t WHERE a IN ($1, $2)"), ["integer", "integer"]);
}

#[test]
fn row_locks_reach_their_tables() {
    check("SELECT a FROM t FOR UPDATE", "project(t!UpdateBlock; #0)");
    check("SELECT 1 FROM t, u FOR SHARE OF u NOWAIT", "project(inner(t, u!ShareError); 1:integer)");
    check("SELECT 1 FROM t, u FOR KEY SHARE FOR NO KEY UPDATE OF t, u",
        "project(inner(t!NoKeyUpdateBlock, u!NoKeyUpdateBlock); 1:integer)");
    // A subquery in an expression is not locked.
    check("SELECT a FROM t WHERE a IN (SELECT a FROM u) FOR UPDATE",
        "project(filter(t!UpdateBlock; subquery(#0 = any; )); #0)");
}

#[test]
fn rows_are_locked_above_the_sort_where_not_all_may_be_asked_for() {
    check("SELECT b FROM t WHERE c > 1 ORDER BY a LIMIT 1 FOR UPDATE",
        "limit(project(lock(sort(filter(t?; >(#2, 1:numeric)); #0); t!UpdateBlock); #1); 1:bigint)");
    check("SELECT 1 FROM t WHERE a > 1 FOR NO KEY UPDATE SKIP LOCKED",
        "project(lock(filter(t?; >(#0, 1:integer)); t!NoKeyUpdateSkip; again >(#0, 1:integer)); 1:integer)");
    check("SELECT 1 FROM t, u LIMIT 1 FOR SHARE OF u",
        "limit(project(lock(inner(t, u); u!ShareBlock); 1:integer); 1:bigint)");
}

/// Each of forty WITH queries reads the one before it twice: with a copy for each it would be 2^40 relations.
#[test]
fn queries_read_twice_are_set_apart_and_not_copied() {
    let mut sql = "WITH c0 AS (SELECT a FROM t)".to_owned();
    for number in 1..=40 {
        let before = number - 1;
        write!(sql, ", c{number} AS (SELECT x.a FROM c{before} x, c{before} y)").unwrap();
    }
    let bound = bind(&(sql + " SELECT a FROM c40")).unwrap();
    assert_eq!(bound.cte_count, 41);
}
