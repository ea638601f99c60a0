//! A wide range of statements that must plan, down to the physical tree.

use super::with_context;

const STATEMENTS: &[&str] = &[
    "SELECT FROM t",
    "SELECT 1 FROM t WHERE a BETWEEN 1 AND 3 AND b NOT BETWEEN 'x' AND 'y'",
    "SELECT b LIKE 'x%' ESCAPE '!', b ILIKE 'X', b NOT LIKE 'q', b SIMILAR TO '(a|b)%', b ~ '^x', b !~* 'y' FROM t",
    "SELECT a IS DISTINCT FROM 1, a IS NOT DISTINCT FROM NULL, (a > 1) IS NOT TRUE, b IS NULL FROM t",
    "SELECT extract(year FROM d), date_part('month', d), d AT TIME ZONE 'UTC', d::date FROM t",
    "SELECT substring(b FROM 2 FOR 3), substring(b, 1), position('x' IN b), trim(BOTH ' ' FROM b), overlay(b PLACING 'z' FROM 1) FROM t",
    "SELECT current_date, current_timestamp, now(), localtimestamp, current_user, session_user, user, current_schema",
    "SELECT interval '1 day', interval '2' hour, date '2024-01-01' + interval '1 month', timestamp '2024-01-01 00:00'",
    "SELECT now() - interval '1 day' < d FROM t",
    "SELECT coalesce(b, 'x'), nullif(a, 0), greatest(a, 2, 3.5), least(b, 'm') FROM t",
    "SELECT CASE a WHEN 1 THEN 'one' WHEN 2 THEN 'two' ELSE 'many' END FROM t",
    "SELECT ARRAY[1,2,3][2], (ARRAY['a','b'])[1:1], ARRAY[[1,2],[3,4]], '{}'::text[], ARRAY[]::int[]",
    "SELECT a = ANY(ARRAY[1,2]), a <> ALL('{1,2}'), b = ANY(ARRAY['x', 'y']) FROM t",
    "SELECT a FROM t WHERE (a, b) IN ((1, 'x'), (2, 'y'))",
    "SELECT a FROM t WHERE (a, b) IN (SELECT a, y FROM u)",
    "SELECT a FROM t WHERE (a, b) = (SELECT a, y FROM u LIMIT 1)",
    "SELECT a FROM t WHERE a > ALL (SELECT a FROM u) OR a < SOME (SELECT x FROM u)",
    "SELECT ROW(1, 'a') = ROW(1, 'a'), (1, 2) < (1, 3), ROW(a, b) IS NULL FROM t",
    "SELECT '{\"a\":1}'::jsonb -> 'a', '{\"a\":1}'::jsonb ->> 'a', '[1]'::jsonb -> 0, '{\"a\":1}'::jsonb @> '{}'",
    "SELECT nextval('public.s'), currval('s'::regclass), setval('s', 5), lastval()",
    "SELECT 't'::regclass, 'integer'::regtype",
    "SELECT tableoid, t.tableoid FROM t",
    "SELECT count(*), count(a), sum(c), avg(a), min(b), max(d), array_agg(a ORDER BY b DESC), bool_and(a > 1) FROM t",
    "SELECT a % 2, count(*) FROM t GROUP BY 1 HAVING sum(c) > 10 ORDER BY 2 DESC NULLS LAST LIMIT 10",
    "SELECT a, b, count(*) FROM t GROUP BY CUBE (a, b), GROUPING SETS ((c), ()) ",
    "SELECT first_value(b) OVER (PARTITION BY a ORDER BY c RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING), \
     ntile(4) OVER (ORDER BY a), lead(a, 2, 0) OVER (ORDER BY a), dense_rank() OVER (ORDER BY b) FROM t",
    "SELECT sum(a) OVER (ORDER BY d RANGE BETWEEN interval '1 day' PRECEDING AND CURRENT ROW) FROM t",
    "SELECT t.*, s.n FROM t LEFT JOIN LATERAL (SELECT count(*) AS n FROM u WHERE u.a = t.a) s ON true",
    "SELECT * FROM t JOIN LATERAL generate_series(1, t.a) g(i) ON g.i > 1",
    "SELECT * FROM unnest(ARRAY[1,2], ARRAY['a','b']) AS x(n, s)",
    "SELECT unnest(ARRAY[1,2]), generate_series(1, 3)",
    "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v(n, s) WHERE n > 1",
    "SELECT * FROM (t JOIN u USING (a)) AS j(k) WHERE k = 1",
    "SELECT x.a FROM t x JOIN t y ON x.a = y.a JOIN u z ON z.a = x.a WHERE z.y IS NOT NULL",
    "WITH a AS (SELECT 1 AS n), b AS (SELECT n FROM a UNION ALL SELECT n FROM a) SELECT * FROM b JOIN a USING (n)",
    "WITH RECURSIVE r AS (SELECT a, x FROM u WHERE a = 1 UNION SELECT u.a, u.x FROM u JOIN r ON u.x = r.a) SELECT * FROM r",
    "SELECT (WITH w AS (SELECT t.a AS k) SELECT k FROM w) FROM t",
    "SELECT a FROM t UNION SELECT x FROM u INTERSECT SELECT 3 ORDER BY a LIMIT 1",
    "(SELECT a FROM t ORDER BY a LIMIT 1) UNION ALL (SELECT a FROM u ORDER BY x DESC LIMIT 1)",
    "TABLE t",
    "SELECT count(*) FROM v JOIN t ON v.k = t.a",
    "SELECT EXISTS (SELECT 1 FROM t WHERE a = $1), ARRAY(SELECT b FROM t ORDER BY a)",
    "SELECT a FROM t WHERE b = $1 AND c > $2 AND d < now() - $3::interval",
    "SELECT upper(b) COLLATE \"C\" FROM t ORDER BY b COLLATE \"C\"",
    "SELECT make_interval(days => 3), pg_typeof(1), format('%s', 1), concat('a', 1, NULL)",
    "SELECT to_char(d, 'YYYY'), date_trunc('day', d), age(d, d) FROM t",
    "SELECT E'a\\nb', $$dollar$$, U&'\\0041', 1e3, 1_000",
    "SELECT string_agg(DISTINCT b, ',') FILTER (WHERE a > 1) FROM t",
    "SELECT t FROM t",
    "SELECT \"A\" FROM (SELECT 1 AS \"A\") q",
    "INSERT INTO t SELECT * FROM t ON CONFLICT (a) DO UPDATE SET b = EXCLUDED.b RETURNING *",
    "INSERT INTO t (a, b) WITH x AS (SELECT 1 AS n) SELECT n, 'q' FROM x",
    "INSERT INTO u DEFAULT VALUES",
    "UPDATE t AS z SET b = s.y FROM (SELECT * FROM u) s WHERE s.a = z.a RETURNING z.a, s.y",
    "UPDATE t SET c = c * 2 WHERE a IN (SELECT a FROM u)",
    "DELETE FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.a = t.a)",
    "WITH moved AS (DELETE FROM t WHERE a < 5 RETURNING *) INSERT INTO u (a, y) SELECT a, b FROM moved",
];

#[test]
fn broad_statements_are_planned() {
    let mut failures = Vec::new();
    with_context(|context| {
        for sql in STATEMENTS {
            let planned = crate::parse(sql).and_then(|parsed| crate::plan_statement(&parsed[0], context));
            if let Err(error) = planned {
                failures.push(format!("{sql}\n    {error}"));
            }
        }
    });
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}
