CREATE TABLE customers (
    id serial PRIMARY KEY,
    name text NOT NULL UNIQUE,
    region varchar(20) DEFAULT 'north',
    balance numeric(10,2) DEFAULT 0 CHECK (balance >= 0),
    joined timestamptz DEFAULT now(),
    tags text[],
    extra jsonb,
    doubled numeric GENERATED ALWAYS AS (balance * 2) STORED,
    "Odd Name" char(3)
);
CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer int NOT NULL REFERENCES customers ON DELETE CASCADE,
    placed date DEFAULT CURRENT_DATE,
    state text DEFAULT 'new' CHECK (state IN ('new', 'paid', 'sent')),
    lines int DEFAULT -1,
    CONSTRAINT one_a_day UNIQUE (customer, placed)
);
CREATE INDEX ON orders (placed DESC, lines) WHERE state <> 'sent';
CREATE UNIQUE INDEX orders_by_state ON orders (state NULLS FIRST) INCLUDE (customer);
CREATE VIEW recent AS SELECT o.id, c.name FROM orders o JOIN customers c ON c.id = o.customer WHERE o.lines > 3;
CREATE TABLE lines (
    order_id bigint,
    number int,
    follows int,
    note text,
    PRIMARY KEY (order_id, number),
    FOREIGN KEY (order_id) REFERENCES orders (id) ON UPDATE CASCADE ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT after FOREIGN KEY (order_id, follows) REFERENCES lines
);
COMMENT ON TABLE lines IS 'what was ordered';
COMMENT ON COLUMN lines.note IS 'for the packer';
CREATE SEQUENCE tickets AS int INCREMENT BY -2 MINVALUE -100 MAXVALUE -1 CYCLE;
CREATE SCHEMA app;
CREATE TABLE app.plain (a int, b "char", c time(3), d uuid);
CREATE SCHEMA shown;
SET search_path = shown;
CREATE TABLE conditions (
    a int,
    b int8,
    n numeric,
    f float8,
    t text,
    v varchar(9),
    c char(4),
    d date,
    ts timestamp,
    tz timestamptz,
    arr int[],
    j jsonb,
    o bool,
    CHECK (a > 0 and b < 10 or n = 1),
    CHECK (not (a = 1) and t is not null),
    CHECK (v in ('a','b')),
    CHECK (t not in ('x')),
    CHECK (a between 1 and 5),
    CHECK (length(v) > 2 and lower(t) = 'q'),
    CHECK ((a + b) * 2 > a - (b - 1)),
    CHECK (a + b * 2 - 1 > 3),
    CHECK (t like 'a%' or t ilike 'b%' or t ~ '^x'),
    CHECK (case when a > 1 then 'x' else 'y' end = t),
    CHECK (coalesce(a, 0) = nullif(b, 1)),
    CHECK (d > '2020-01-01'),
    CHECK (d > date '2020-01-01' + 3),
    CHECK (n::int = a),
    CHECK (a::text = t),
    CHECK (arr[1] = 3 and array_length(arr, 1) < 5),
    CHECK (j->>'k' = 'v' and j ? 'z'),
    CHECK (o),
    CHECK (o is true and (a > 1) is not false),
    CHECK (a is distinct from b),
    CHECK (n > 1.5 and f > 2 and b > 5000000000 and f < 1e10),
    CHECK (t = 'it''s' || v),
    CHECK (greatest(a, 3) > 1),
    CHECK (extract(year from d) > 2000),
    CHECK (-a < 5),
    CHECK (a = any (array[1,2,3])),
    CHECK (c = 'x'),
    CHECK (a % 2 = 0),
    CHECK (a * b / 2 = 1),
    CHECK ((a = 1) = o),
    CHECK (upper(v) = v and v <> ''),
    CHECK (tz at time zone 'utc' > ts),
    CHECK (t is null),
    CHECK (abs(a) > 2 and round(n, 2) = n),
    CHECK (v ~~ any (array['a','b'])),
    CHECK (a in (1, 2)),
    CHECK (a in (b, 2)),
    CHECK (n in (1, 2.5)),
    CHECK (true),
    CHECK (char_length(t) <= 5),
    CHECK ((t || v) like 'x'),
    CHECK (a & 1 = 0),
    CHECK (a <> -1),
    CHECK (t = 'a\b')
);
CREATE TABLE defaults (
    a text default 'x' || 'y',
    b numeric default 1.5,
    c int default 1 + 2,
    d timestamp default now(),
    e timestamp default (now() at time zone 'utc'),
    f uuid default gen_random_uuid(),
    g text[] default '{}',
    h jsonb default '{"a": 1}',
    i bool default false,
    j int8 default 5,
    k float8 default 0.5,
    l date default now(),
    m text default null,
    n text default upper('a'),
    o interval default '1 day',
    p text default current_user,
    q timestamptz default current_timestamp + interval '1 day',
    r int[] default array[1,2],
    s "char" default 'a',
    t numeric(5,2) default 3,
    u char(3) default 'ab',
    v time default '10:00',
    w int default (random() * 10)::int,
    x bigint default extract(epoch from now())::bigint
);
SET search_path = public;
CREATE TABLE a(id int primary key, name text, n numeric, v varchar(10));
CREATE TABLE b(id int primary key, a_id int, t timestamptz);
CREATE VIEW v1 as select * from a;
CREATE VIEW v2 as select a.*, b.t as when from a left join b on a.id = b.a_id where a.n > 3 and b.t is not null order by a.name desc, b.t nulls first limit 5 offset 2;
CREATE VIEW v3 as select name, count(*), sum(n) as total, max(v) filter (where n > 1) from a group by name having count(*) > 1 order by count(*) desc, 1;
CREATE VIEW v4 as select distinct upper(v) u, n * 2 as d, case when n > 1 then 'x' else v end from a where v in ('p','q');
CREATE VIEW v5 as select x.id from a x, b y where x.id = y.a_id;
CREATE VIEW v6 as select id, b.t from a join b using (id);
CREATE VIEW v7 as select a.id from a join b on a.id = b.a_id left join a c on c.id = b.id;
CREATE VIEW v8(p, q) as select id, name || 'x' from a;
CREATE VIEW v9 as select count(distinct name) from a;
CREATE VIEW v13 as select 1 as one, 'x' as txt, now() as n;
CREATE VIEW v14 as select id from v1 where id between 1 and 3 group by id, name || 'x';

-- Views that are written through, and materialized ones.
CREATE SCHEMA looks;
CREATE TABLE looks.base (id int PRIMARY KEY, label text, amount numeric DEFAULT 1);
CREATE VIEW looks.simple AS SELECT id, label, amount FROM looks.base WHERE amount > 0 WITH LOCAL CHECK OPTION;
ALTER VIEW looks.simple ALTER COLUMN label SET DEFAULT 'none';
CREATE VIEW looks.fenced WITH (security_barrier) AS SELECT id, upper(label) AS big FROM looks.base;
CREATE FUNCTION looks.put() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER puts INSTEAD OF INSERT OR UPDATE ON looks.fenced FOR EACH ROW EXECUTE FUNCTION looks.put('a');
CREATE MATERIALIZED VIEW looks.sums AS SELECT label, sum(amount) AS total FROM looks.base GROUP BY label;
CREATE UNIQUE INDEX sums_label ON looks.sums (label);
COMMENT ON MATERIALIZED VIEW looks.sums IS 'what it comes to';
CREATE MATERIALIZED VIEW looks.later AS SELECT id FROM looks.base WITH NO DATA;
ALTER TABLE looks.base RENAME COLUMN label TO name;
