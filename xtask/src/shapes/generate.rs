//! Statements of random shape and growing size: deep, wide, long. They read no table of their own, so that every node
//! can be given them, and what they answer is not looked at: only that they are answered.

use rand::{Rng, SeedableRng, rngs::StdRng};

/// What must come of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Rows: PostgreSQL answers them too.
    Rows,
    /// Rows, or an error that names what is wrong.
    Any,
}

/// A statement, and how it was made.
#[derive(Clone, Debug)]
pub struct Shape {
    pub name: String,
    pub sql: String,
    pub outcome: Outcome,
}

fn shape(name: impl Into<String>, outcome: Outcome, sql: String) -> Shape {
    Shape { name: name.into(), sql, outcome }
}

fn nested(depth: usize, before: &str, core: &str, after: &str) -> String {
    format!("{}{core}{}", before.repeat(depth), after.repeat(depth))
}

/// `count` items, each from its number, with something between them.
fn listed(count: usize, between: &str, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect::<Vec<_>>().join(between)
}

/// A column that no planner knows the value of.
const ROW: &str = "from (select n as a, n::text as t, n > 1 as b from generate_series(1, 2) n) r";

fn chain_of_ctes(count: usize, kind: &str, item: impl Fn(usize) -> String) -> String {
    let rest = listed(count.saturating_sub(1), "", |at| format!(", c{} as {kind}({})", at + 1, item(at)));
    format!("with c0 as {kind}(select 1 as x){rest} select count(*) from c{}", count.saturating_sub(1))
}

/// The fixed ones: each has once ended a process, or is answered by PostgreSQL.
#[must_use]
pub fn known() -> Vec<Shape> {
    use Outcome::{Any, Rows};
    let plus = |count: usize, term: &str| vec![term; count].join(" + ");
    let mut shapes = vec![
        shape("800 parentheses", Rows, format!("select {}", nested(800, "(", "1", ")"))),
        shape("800 parentheses with something in each", Rows, format!("select {} {ROW}", nested(800, "(", "a", " + 1)"))),
        shape("2,000 additions of constants", Rows, format!("select {}", plus(2000, "1"))),
        shape("2,000 additions of columns", Rows, format!("select {} {ROW}", plus(2000, "a"))),
        shape("3,000 ORs", Rows, format!("select count(*) {ROW} where {}", listed(3000, " or ", |at| format!("a = {at}")))),
        shape(
            "3,000 ORs of ANDs",
            Rows,
            format!("select count(*) {ROW} where {}", listed(3000, " or ", |at| format!("a = {at} and t <> '{at}'"))),
        ),
        shape("1,500 concatenations", Rows, format!("select length({}) {ROW}", vec!["t"; 1500].join(" || "))),
        shape(
            "JSON 1,000 deep",
            Rows,
            format!("select length('{}'::jsonb::text), '{}'::json is null", nested(1000, "[", "", "]"), nested(1000, "{\"a\":", "1", "}")),
        ),
        shape("500 NOTs", Rows, format!("select {}b {ROW}", "not ".repeat(500))),
        shape("300 CASEs in one another", Rows, format!("select {} {ROW}", nested(300, "case when b then ", "1", " else 0 end"))),
        shape("an error in 400 CASEs", Any, format!("select {}", nested(400, "case when b then ", "1 from", " end"))),
        shape("5,000 arrays in one another", Any, format!("select {}", nested(5000, "array[", "1", "]"))),
        shape("2,500 UNION ALLs", Rows, listed(2500, " union all ", |at| format!("select {at}"))),
        shape("2,500 UNIONs", Rows, listed(2500, " union ", |at| format!("select {at}"))),
        shape("10,000 UNION ALLs", Any, listed(10_000, " union all ", |_| "select 1".to_owned())),
        shape("2,500 EXCEPTs", Any, listed(2500, " except ", |at| format!("select {at}"))),
        shape("1,400 items in FROM", Rows, format!("select count(*) from {}", listed(1400, ", ", |at| format!("(select 1) as a{at}")))),
        shape(
            "1,400 joins",
            Any,
            format!("select count(*) from (select 1 as x) as a {}", listed(1400, " ", |at| format!("left join (select 1 as x) as a{at} on a.x = a{at}.x"))),
        ),
        shape("2,030 WITH queries, each of the one before", Any, chain_of_ctes(2030, "", |at| format!("select x from c{at}"))),
        shape("300 WITH queries, each twice of the one before", Any, chain_of_ctes(300, "", |at| format!("select x from c{at} where x in (select x from c{at})"))),
        shape("1,000 WITH queries that are kept", Any, chain_of_ctes(1000, "materialized ", |at| format!("select x + 1 as x from c{at}"))),
        shape("100 rows in one another", Any, format!("select {}", nested(100, "row(", "1", ")"))),
        shape("20 rows in one another", Rows, format!("select length({}::text)", nested(12, "row(", "1", ")"))),
        shape("3,000 rows in one another", Any, format!("select {} is null {ROW}", nested(2500, "row(", "a", ")"))),
        shape("a window ordered by a subquery", Rows, "select sum(1) over (order by (select 1))".into()),
        shape(
            "windows parted and ordered by subqueries",
            Rows,
            "select sum(1) over (partition by (select 1) order by (select 2)), count(*) over (order by (select 1)) \
             from generate_series(1, 3)"
                .into(),
        ),
        shape("records of unlike types in an order", Any, "select r from (values (row(1, 2)), (row('a'::text, 2))) v(r) order by r".into()),
        shape("records of unlike types in groups", Any, "select distinct r from (values (row(1, 2)), (row('a'::text, 2)), (row(1))) v(r)".into()),
        shape(
            "rows in rows from round to round",
            Any,
            "with recursive r(x, n) as (select row(1), 1 union all select row(x), n + 1 from r where n < 3000) \
             select count(*) from r where x is not null"
                .into(),
        ),
        shape(
            "JSON in JSON from round to round",
            Any,
            "with recursive r(x, n) as (select '[]'::jsonb, 1 union all select jsonb_build_array(x), n + 1 from r where n < 3000) \
             select max(length(x::text)) from r"
                .into(),
        ),
        shape(
            "text that doubles from round to round",
            Any,
            "with recursive r(x, n) as (select 'x'::text, 1 union all select x || x, n + 1 from r where n < 40) \
             select max(length(x)) from r"
                .into(),
        ),
        shape(
            "an array that doubles from round to round",
            Any,
            "with recursive r(x, n) as (select array[1], 1 union all select x || x, n + 1 from r where n < 40) \
             select max(array_length(x, 1)) from r"
                .into(),
        ),
        shape("many large values in one batch", Any, "select length(repeat('x', 20000000) || n) from generate_series(1, 80) n".into()),
        shape("a large constant for many rows", Any, "select count(x) from (select repeat('x', 50000000) as x from generate_series(1, 500)) q".into()),
        shape("a replacement that multiplies", Any, "select length(replace(repeat('x', 1000000), 'x', repeat('y', 1000000)))".into()),
        shape("a filled array", Any, "select array_length(array_fill(1, array[130000000]), 1)".into()),
        shape(
            "columns used twice at every level",
            Rows,
            format!(
                "select count(*) from {} q where x > 5",
                nested(40, "(select (x + x) % 7 as x from ", "(select n as x from generate_series(1, 3) n)", " q)")
            ),
        ),
    ];
    let view = |at: usize, query: &str| format!("create view shape_v{at} as {query}; ");
    let views = |count: usize, query: &dyn Fn(usize) -> String| {
        let rest = listed(count - 1, "", |at| view(at + 1, &query(at)));
        format!("{}{rest}select * from shape_v{}; drop view shape_v0 cascade", view(0, "select 1 as x"), count - 1)
    };
    shapes.push(shape("200 views, each of the one before", Rows, views(200, &|at| format!("select x from shape_v{at}"))));
    shapes.push(shape(
        "20 views, each twice of the one before",
        Any,
        views(20, &|at| format!("select a.x from shape_v{at} a join shape_v{at} b on a.x = b.x")),
    ));
    for count in [20, 60, 200] {
        shapes.push(shape(
            format!("{count} BETWEENs in one another"),
            Any,
            format!("select {} {ROW}", nested(count, "(", "b", " between false and true)")),
        ));
    }
    shapes
}

/// A stream of random ones.
pub struct Shapes {
    random: StdRng,
    made: usize,
}

impl Shapes {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), made: 0 }
    }

    /// Small ones are likelier, and large ones come later.
    fn size(&mut self, largest: usize) -> usize {
        let growth = ((self.made as f64 + 20.0) / 200.0).min(1.0);
        let exponent = self.random.random_range(0.0..1.0) * growth;
        ((largest as f64).powf(exponent) as usize).clamp(1, largest)
    }

    fn pick(&mut self, count: usize) -> usize {
        self.random.random_range(0..count)
    }

    /// An integer expression over `a`, `t` and `b`.
    fn integer(&mut self, level: usize) -> String {
        let size = self.size(1500);
        if level == 0 {
            return ["a", "1", "length(t)", "null::int"][self.pick(4)].to_owned();
        }
        let inner = self.inner(level);
        match self.pick(16) {
            0 => nested(size, "(", &inner, ")"),
            1 => format!("{inner}{}", " + 1".repeat(size)),
            2 => nested(size.min(900), "1 + (", &inner, ")"),
            3 => nested(size.min(900), "abs(", &inner, ")"),
            4 => nested(size.min(400), "case when b then ", &inner, " else 0 end"),
            5 => nested(size.min(900), "coalesce(", &inner, ", 1)"),
            6 => nested(size.min(150), "(select ", &inner, ")"),
            7 => format!("{inner}{}", "::int8::int4".repeat(size.min(700))),
            8 => nested(size.min(900), "greatest(", &inner, ", 1)"),
            9 => format!("{}({inner})", "- ".repeat(size)),
            10 => format!(
                "(array[{}])[1]",
                listed(size, ", ", |_| inner.clone())
                    .chars()
                    .take(200_000)
                    .collect::<String>()
                    .rsplit_once(", ")
                    .map_or_else(|| inner.clone(), |(kept, _)| kept.to_owned())
            ),
            11 => format!(
                "(case {} else {inner} end)",
                listed(size, " ", |at| format!("when a = {at} then {at}"))
            ),
            12 => nested(size.min(300), "nullif(", &inner, ", 0)"),
            13 => format!("(select max(n) from generate_series(1, 3) n where n = {inner})"),
            14 => format!("(case when {} then 1 else 0 end)", self.boolean(level - 1)),
            _ => format!("length({})", self.text(level - 1)),
        }
    }

    fn inner(&mut self, level: usize) -> String {
        let inner = self.integer(level - 1);
        // What is repeated by the levels above must stay small.
        if inner.len() > 100_000 { "a".to_owned() } else { inner }
    }

    fn boolean(&mut self, level: usize) -> String {
        let size = self.size(3000);
        if level == 0 {
            return ["b", "true", "a = 1", "t is null"][self.pick(4)].to_owned();
        }
        let inner = self.boolean(level - 1);
        let inner = if inner.len() > 100_000 { "b".to_owned() } else { inner };
        match self.pick(11) {
            0 => format!("{}({inner})", "not ".repeat(size)),
            1 => format!("({inner}{})", listed(size, "", |at| format!(" or a = {at}"))),
            2 => format!("({inner}{})", listed(size, "", |at| format!(" and a <> {at}"))),
            3 => format!(
                "({inner}{})",
                listed(size, "", |at| if at % 2 == 0 {
                    format!(" and a > {at}")
                } else {
                    format!(" or a < {at}")
                })
            ),
            4 => format!("({}) is not null", nested(size.min(500), "(", &inner, " is true)")),
            5 => nested(size.min(14), "(", &inner, " between false and true)"),
            6 => format!("({} in ({}))", self.inner(level), listed(size, ", ", |at| at.to_string())),
            7 => nested(size.min(60), "exists (select 1 where ", &inner, ")"),
            8 => nested(size.min(40), "a in (select n from generate_series(1, 2) n where ", &inner, ")"),
            9 => format!(
                "({}) = ({})",
                listed(size.min(1000), ", ", |_| "a".into()),
                listed(size.min(1000), ", ", |_| "a".into())
            ),
            _ => format!("({} < {})", self.inner(level), self.inner(level)),
        }
    }

    fn text(&mut self, level: usize) -> String {
        let size = self.size(1500);
        if level == 0 {
            return ["t", "'x'", "a::text"][self.pick(3)].to_owned();
        }
        let inner = self.text(level - 1);
        let inner = if inner.len() > 100_000 { "t".to_owned() } else { inner };
        match self.pick(10) {
            0 => format!("({inner}{})", " || t".repeat(size)),
            1 => nested(size.min(900), "upper(", &inner, ")"),
            2 => nested(size.min(40), "repeat(", &inner, ", 2)"),
            3 => nested(size.min(18), "replace(", &inner, ", 'x', 'xxxx')"),
            4 => nested(size.min(300), "concat(", &inner, ", 'y')"),
            5 => format!("{}::text", nested(size.min(40), "row(", &inner, ")")),
            6 => format!("{}::text", nested(size.min(900), "jsonb_build_array(", &inner, ")")),
            7 => format!("{}::text", nested(size.min(900), "json_build_object('k', ", &inner, ")")),
            8 => format!("format('{}', {inner})", "%1$s".repeat(size)),
            _ => format!("(select string_agg({inner}, ',') from generate_series(1, {size}))"),
        }
    }

    /// A query of one column `x`.
    fn query(&mut self, level: usize) -> String {
        let size = self.size(2000);
        if level == 0 {
            return format!("select {} as x {ROW}", self.integer(1));
        }
        let inner = self.query(level - 1);
        let inner = if inner.len() > 100_000 { "select 1 as x".to_owned() } else { inner };
        match self.pick(18) {
            0 => nested(size.min(400), "select x from (", &inner, ") q"),
            1 => format!("{inner}{}", listed(size, "", |at| format!(" union all select {at}"))),
            2 => format!("{inner}{}", listed(size, "", |at| format!(" union select {at}"))),
            3 => format!(
                "{inner}{}",
                listed(size.min(800), "", |at| format!(
                    " {} select {at}",
                    ["except", "intersect", "union all", "union"][at % 4]
                ))
            ),
            4 => nested(size.min(300), "select 1 as x union all (", &inner, ")"),
            5 => {
                let kind = ["", "materialized ", "not materialized "][self.pick(3)];
                let rest =
                    listed(size, "", |at| format!(", c{} as {kind}(select x + 1 as x from c{at})", at + 1));
                format!("with c0 as ({inner}){rest} select x from c{size}")
            }
            6 => format!(
                "select 1 as x from {}",
                listed(size, ", ", |at| format!("(select {at} as y) as a{at}"))
            ),
            7 => format!(
                "select q.x from ({inner}) q {}",
                listed(size.min(700), " ", |at| format!(
                    "{} join (select 1 as y) as a{at} on a{at}.y = q.x",
                    ["left", "inner", "full", "right"][at % 4]
                ))
            ),
            8 => format!(
                "select x from ({inner}) q {}",
                listed(size.min(300), " ", |at| format!("join lateral (select q.x as y) as a{at} on true"))
            ),
            9 => format!(
                "select x from {}",
                nested(size.min(200), "(", &format!("({inner}) q"), " cross join (select 1) as p)")
            )
            .replace("as p)", ")"),
            10 => {
                format!("select column1 as x from (values {}) v", listed(size, ", ", |at| format!("({at})")))
            }
            11 => format!(
                "select {} from ({inner}) q",
                listed(size.min(1700), ", ", |at| format!("x + {at} as x{at}"))
            )
            .replacen("x0", "x", 1),
            12 => format!(
                "select x from ({inner}) q order by {}",
                listed(size.min(1000), ", ", |at| format!("x + {at}"))
            ),
            13 => format!(
                "select max(x) as x from ({inner}) q group by {}",
                listed(size.min(500), ", ", |at| format!("x + {at}"))
            ),
            14 => nested(size.min(60), "select sum(x) over (order by (select 1)) as x from (", &inner, ") q"),
            15 => format!(
                "select max(x) as x from ({inner}) q group by {}",
                ["cube", "rollup"][self.pick(2)].to_owned()
                    + &format!("({})", listed(size.min(13), ", ", |at| format!("x + {at}")))
            ),
            16 => format!(
                "select {} as x from ({inner}) q",
                listed(size.min(200), " + ", |at| format!("sum(x + {at}) over (order by x % {})", at + 1))
            ),
            _ => nested(
                size.min(100),
                "select x from (select x from (",
                &inner,
                ") q limit 3) q where x in (select 1)",
            ),
        }
    }
}

impl Iterator for Shapes {
    type Item = Shape;

    fn next(&mut self) -> Option<Shape> {
        self.made += 1;
        let level = self.random.random_range(1..5);
        let (name, sql) = match self.pick(10) {
            0 | 1 => ("integer", format!("select {} {ROW}", self.integer(level))),
            2 => ("boolean", format!("select count(*) {ROW} where {}", self.boolean(level))),
            3 => ("text", format!("select length({}) {ROW}", self.text(level))),
            4 => ("text output", format!("select {} {ROW}", self.text(level))),
            5 => ("explain", format!("explain {}", self.query(level))),
            6 => {
                let at = self.made;
                let query = self.query(level);
                (
                    "view",
                    format!(
                        "create or replace view shape_{at} as select count(*) as n from ({query}) q; select n from shape_{at}; select length(pg_get_viewdef('shape_{at}'::regclass)); drop view shape_{at}"
                    ),
                )
            }
            7 => {
                let at = self.made;
                let (check, value) = (self.boolean(level.min(2)), self.integer(level.min(2)));
                (
                    "stored",
                    format!(
                        "create table shape_{at} (a int, t text, b bool, g int generated always as ({value}) stored, check ({check})); insert into shape_{at} values (1, 'x', true); select count(*) from shape_{at}; drop table shape_{at}"
                    ),
                )
            }
            _ => ("query", format!("select count(*) from ({}) q", self.query(level))),
        };
        Some(Shape { name: format!("{name} {}", self.made), sql, outcome: Outcome::Any })
    }
}
