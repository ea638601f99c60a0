"""psycopg 3: connect, fail, recover, go on, in pipelines too. One line a step; the same steps are run against PostgreSQL."""

import json
import os

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

ADDRESS = f"host={os.environ['PGHOST']} port={os.environ['PGPORT']} user=postgres dbname=postgres"


def say(step, outcome):
    print(f"{step}: {json.dumps(outcome, default=str)}", flush=True)


def step(name, work):
    try:
        say(name, work())
    except psycopg.Error as error:
        say(name, f"error {error.sqlstate or type(error).__name__}")


client = psycopg.connect(ADDRESS, autocommit=True, row_factory=tuple_row, application_name="clients")


def rows(text, values=None, **options):
    cursor = client.execute(text, values, **options)
    return cursor.fetchall() if cursor.description else cursor.statusmessage


def alive(where):
    step(f"alive after {where}", lambda: rows("select 'yes'"))


step("connect", lambda: rows("select 1 + 1"))
step("application name", lambda: rows("show application_name"))
step("set up", lambda: rows("drop table if exists psy_t") and rows("create table psy_t (id int primary key, name text, tags text[])"))
step("syntax error", lambda: rows("selec 1"))
step("unknown table", lambda: rows("select * from nosuch where id = %s", [1]))
alive("an unknown table")
step("division by zero", lambda: rows("select 1 / %s::int", [0]))
step("division by zero, binary", lambda: rows("select 1 / %s::int", [0], binary=True))
alive("an error at run time")
step("insert", lambda: rows("insert into psy_t values (%s, %s, %s) returning *", [1, "one", ["a", None]]))
step("duplicate", lambda: rows("insert into psy_t (id) values (%s)", [1]))
step("prepared", lambda: [rows("select name from psy_t where id = %s", [number], prepare=True) for number in (1, 2, 1)])
step("prepared, failing", lambda: rows("select 1 / %s::int", [0], prepare=True))
step("prepared again", lambda: rows("select 1 / %s::int", [1], prepare=True))
step("prepared statements", lambda: rows("select count(*) > 0 from pg_prepared_statements where not from_sql"))


def many():
    with client.cursor() as cursor:
        cursor.executemany("insert into psy_t (id, name) values (%s, %s)", [(number, str(number)) for number in range(10, 30)])
        return cursor.rowcount


def many_wrong():
    with client.cursor() as cursor:
        cursor.executemany("insert into psy_t (id, name) values (%s, %s)", [(100, "a"), (10, "b"), (101, "c")])


step("many", many)
step("many with one wrong", many_wrong)
alive("many with one wrong")
step("count", lambda: rows("select count(*) from psy_t"))


def pipeline():
    with client.pipeline():
        cursors = [client.execute("select %s::int", [number]) for number in range(5)]
    return [cursor.fetchone()[0] for cursor in cursors]


def failing_pipeline():
    outcomes = []
    try:
        with client.pipeline() as pipeline:
            good = client.execute("select 1")
            bad = client.execute("select nosuch")
            after = client.execute("select 2")
            for name, cursor in [("good", good), ("bad", bad), ("after", after)]:
                try:
                    outcomes.append([name, cursor.fetchone()[0]])
                except psycopg.Error as error:
                    outcomes.append([name, error.sqlstate or type(error).__name__])
            pipeline.sync()
            outcomes.append(["next", client.execute("select 3").fetchone()[0]])
    except psycopg.Error as error:
        outcomes.append(["end", error.sqlstate or type(error).__name__])
    return outcomes


def pipeline_in_transaction():
    with client.transaction(), client.pipeline():
        client.execute("insert into psy_t (id) values (200)")
        found = client.execute("select count(*) from psy_t where id = 200")
        return found.fetchone()[0]


def failed_pipeline_in_transaction():
    with client.transaction(), client.pipeline():
        client.execute("insert into psy_t (id) values (201)")
        client.execute("insert into psy_t (id) values (1)")


step("pipeline", pipeline)
step("failing pipeline", failing_pipeline)
alive("a failing pipeline")
step("pipeline in a transaction", pipeline_in_transaction)
step("failed pipeline in a transaction", failed_pipeline_in_transaction)
step("rolled back", lambda: rows("select count(*) from psy_t where id = 201"))


def savepoint():
    with client.transaction():
        rows("insert into psy_t (id) values (202)")
        try:
            with client.transaction():
                rows("insert into psy_t (id) values (1)")
        except psycopg.errors.UniqueViolation:
            pass
        return rows("select count(*) from psy_t where id = 202")


step("savepoint", savepoint)


def server_cursor():
    with client.transaction(), client.cursor("named", scrollable=True) as cursor:
        cursor.execute("select g from generate_series(1, 10) g")
        first = cursor.fetchmany(3)
        cursor.scroll(5, mode="absolute")
        open_ones = rows("select name, is_scrollable from pg_cursors where name = 'named'")
        return [first, cursor.fetchone(), open_ones]


step("server cursor", server_cursor)


def copy_in(lines):
    with client.cursor() as cursor, cursor.copy("copy psy_t (id, name) from stdin") as copy:
        for line in lines:
            copy.write_row(line)
    return "done"


step("copy in", lambda: copy_in([(300, "x"), (301, None)]))
step("copy in that fails", lambda: copy_in([(302, "x"), (300, "y")]))
alive("a failed COPY")


def abandoned_copy():
    with client.cursor() as cursor, cursor.copy("copy psy_t (id, name) from stdin") as copy:
        copy.write_row((303, "x"))
        raise KeyError("enough")


def give_up():
    try:
        abandoned_copy()
    except KeyError:
        return rows("select count(*) from psy_t where id = 303")


step("copy given up", give_up)


def copy_out():
    with client.cursor() as cursor, cursor.copy("copy (select id, name from psy_t where id >= 300 order by id) to stdout") as copy:
        return [row for row in copy.rows()]


step("copy out", copy_out)
step("timeout", lambda: rows("set statement_timeout = '200ms'") and rows("select pg_sleep(30)"))
step("after a timeout", lambda: rows("reset statement_timeout") and rows("show statement_timeout"))
step("role", lambda: rows("drop role if exists psy_role") and rows("create role psy_role") and rows("set role psy_role") and rows("select current_user, session_user"))
step("reset role", lambda: rows("reset role") and rows("select current_user"))
step("drop role", lambda: rows("drop role psy_role"))
step("two-phase names", lambda: rows(sql.SQL("select 1 as {}").format(sql.Identifier('odd "name"'))))


def terminated():
    other = psycopg.connect(ADDRESS, autocommit=True)
    done = rows("select pg_terminate_backend(%s)", [other.info.backend_pid])
    try:
        other.execute("select 1")
    except psycopg.OperationalError as error:
        return [done, error.sqlstate in ("57P01", None), other.broken or other.closed]


step("terminated", terminated)


def notifications():
    """Of another session and of its own, while it waits and with an answer."""
    other = psycopg.connect(ADDRESS, autocommit=True)
    other.execute("listen psy; listen psy2")
    client.execute("notify psy, 'one'")
    with client.transaction():
        client.execute("select pg_notify('psy2', 'two'), pg_notify('psy2', 'two')")
        client.execute("notify psy")
    found = [[n.channel, n.payload, n.pid == client.info.backend_pid] for n in other.notifies(timeout=10, stop_after=3)]
    own = []
    other.add_notify_handler(lambda n: own.append([n.channel, n.payload, n.pid == other.info.backend_pid]))
    other.execute("notify psy, 'own'")
    other.execute("unlisten *; notify psy")
    other.close()
    return found, own


step("notifications", notifications)
step("clean up", lambda: rows("drop table psy_t"))
client.close()
