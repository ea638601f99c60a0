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
    customer int NOT NULL,
    placed date DEFAULT CURRENT_DATE,
    state text DEFAULT 'new' CHECK (state IN ('new', 'paid', 'sent')),
    lines int DEFAULT -1,
    CONSTRAINT one_a_day UNIQUE (customer, placed)
);
CREATE INDEX ON orders (placed DESC, lines) WHERE state <> 'sent';
CREATE UNIQUE INDEX orders_by_state ON orders (state NULLS FIRST) INCLUDE (customer);
CREATE VIEW recent AS SELECT o.id, c.name FROM orders o JOIN customers c ON c.id = o.customer WHERE o.lines > 3;
CREATE SEQUENCE tickets AS int INCREMENT BY -2 MINVALUE -100 MAXVALUE -1 CYCLE;
CREATE SCHEMA app;
CREATE TABLE app.plain (a int, b "char", c time(3), d uuid);
