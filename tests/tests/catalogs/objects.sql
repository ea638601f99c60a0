CREATE SCHEMA objects;
SET search_path = objects;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE TYPE span AS RANGE (subtype = int8);
CREATE DOMAIN positive AS int DEFAULT 1 CONSTRAINT is_positive CHECK (VALUE > 0);
CREATE DOMAIN letters AS text NOT NULL CHECK (VALUE <> '');
COMMENT ON TYPE mood IS 'a mood';
COMMENT ON CONSTRAINT is_positive ON DOMAIN positive IS 'above nothing';
CREATE TABLE people (
    id serial PRIMARY KEY,
    mood mood DEFAULT 'ok',
    pair pair,
    amount positive,
    letters letters[],
    during span,
    boss int REFERENCES people,
    CONSTRAINT by_mood UNIQUE (mood, amount),
    CONSTRAINT not_much CHECK (amount < 1000)
);
CREATE TABLE plain (a int, b text);
CREATE TABLE "people_2" (id int PRIMARY KEY REFERENCES people ON DELETE CASCADE, what plain, n int GENERATED ALWAYS AS IDENTITY);
CREATE TABLE elsewhere (a int, b int REFERENCES people_2, FOREIGN KEY (a) REFERENCES people);
CREATE INDEX elsewhere_sum ON elsewhere ((a + b)) WHERE a > 0;
CREATE VIEW happy AS SELECT id, amount FROM people WHERE mood = 'happy' WITH CHECK OPTION;
CREATE VIEW happier AS SELECT h.id, p.boss FROM happy h JOIN people_2 t USING (id) JOIN people p USING (id);
CREATE MATERIALIZED VIEW counted AS SELECT mood, count(*) FROM people GROUP BY mood;
CREATE UNIQUE INDEX ON counted (mood);
COMMENT ON TABLE people IS 'who there is';
COMMENT ON COLUMN people.boss IS 'over them';
COMMENT ON VIEW happy IS 'a view';
COMMENT ON INDEX elsewhere_sum IS 'an index';
COMMENT ON CONSTRAINT not_much ON people IS 'a check';
CREATE SEQUENCE numbers AS int OWNED BY elsewhere.a;
CREATE TABLE measures (at date, value int) PARTITION BY RANGE (at);
CREATE TABLE measures_1 PARTITION OF measures FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE measures_rest PARTITION OF measures DEFAULT;
CREATE INDEX measures_at ON measures (at);
CREATE FUNCTION twice(x int) RETURNS int LANGUAGE sql AS 'SELECT x * 2';
CREATE FUNCTION twice(x text, OUT y text) LANGUAGE sql AS 'SELECT x || x';
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE PROCEDURE nothing() LANGUAGE plpgsql AS 'BEGIN END';
CREATE VIEW doubled AS SELECT twice(id) AS id FROM people;
CREATE TRIGGER noted BEFORE INSERT OR UPDATE OF amount ON people FOR EACH ROW WHEN (NEW.amount > 3) EXECUTE FUNCTION note();
CREATE CONSTRAINT TRIGGER checked AFTER INSERT ON elsewhere FROM people DEFERRABLE FOR EACH ROW EXECUTE FUNCTION note();
COMMENT ON TRIGGER noted ON people IS 'a trigger';
CREATE ROLE catalog_reader;
GRANT SELECT ON people TO catalog_reader;
GRANT UPDATE (amount) ON people TO catalog_reader;
GRANT EXECUTE ON FUNCTION twice(int) TO catalog_reader;
GRANT USAGE ON SEQUENCE numbers TO catalog_reader;
GRANT USAGE ON DOMAIN positive TO catalog_reader;
ALTER TABLE people ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON people FOR SELECT TO catalog_reader USING (amount > (SELECT count(*) FROM elsewhere));
CREATE POLICY others ON people AS RESTRICTIVE USING (true) WITH CHECK (twice(id) > 0);
COMMENT ON POLICY seen ON people IS 'a policy';
CREATE TABLE public.people (id int PRIMARY KEY, note text);
CREATE TABLE app.people (id int REFERENCES objects.people);
ANALYZE people;
