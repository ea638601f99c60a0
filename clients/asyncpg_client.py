"""asyncpg: connect, fail, recover, go on. One line a step; the same steps are run against PostgreSQL."""

import asyncio
import datetime
import decimal
import json
import os

import asyncpg

OPTIONS = dict(host=os.environ["PGHOST"], port=int(os.environ["PGPORT"]), user="postgres", database="postgres")


def say(step, outcome):
    print(f"{step}: {json.dumps(outcome, default=str)}", flush=True)


async def step(name, work):
    try:
        outcome = await asyncio.wait_for(work, 30)
        say(name, [list(row) for row in outcome] if isinstance(outcome, list) and outcome and isinstance(outcome[0], asyncpg.Record) else outcome)
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        say(name, f"error {getattr(error, 'sqlstate', type(error).__name__)}")


async def main():
    client = await asyncpg.connect(**OPTIONS, server_settings={"application_name": "clients"})
    alive = lambda where: step(f"alive after {where}", client.fetchval("select 'yes'"))
    await step("connect", client.fetchval("select 1 + 1"))
    await step("application name", client.fetchval("show application_name"))
    await step("set up", client.execute("drop table if exists apg_t; create table apg_t (id int primary key, name text, tags text[], n numeric, at timestamptz, body jsonb)"))
    await step("syntax error", client.fetch("selec 1"))
    await step("unknown table", client.fetch("select * from nosuch where id = $1", 1))
    await alive("an unknown table")
    await step("division by zero", client.fetch("select 1 / $1::int", 0))
    await alive("an error at run time")
    at = datetime.datetime(2020, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.timezone.utc)
    await step("insert", client.execute("insert into apg_t values ($1, $2, $3, $4, $5, $6)", 1, "one", ["a", None], decimal.Decimal("1.50"), at, '{"k": 1}'))
    await step("read back", client.fetch("select * from apg_t"))
    await step("duplicate", client.execute("insert into apg_t (id) values ($1)", 1))
    await alive("a duplicate")
    await step("many", client.executemany("insert into apg_t (id, name) values ($1, $2)", [(number, str(number)) for number in range(10, 60)]))
    # All or nothing, and the client goes on.
    await step("many with one wrong", client.executemany("insert into apg_t (id, name) values ($1, $2)", [(100, "a"), (10, "b"), (101, "c")]))
    await step("count", client.fetchval("select count(*) from apg_t"))

    async def failed_transaction():
        async with client.transaction():
            await client.execute("insert into apg_t (id) values (200)")
            await client.execute("insert into apg_t (id) values (1)")

    await step("failed transaction", failed_transaction())

    async def savepoint():
        async with client.transaction():
            await client.execute("insert into apg_t (id) values (201)")
            try:
                async with client.transaction():
                    await client.execute("insert into apg_t (id) values (1)")
            except asyncpg.UniqueViolationError:
                pass
            return await client.fetchval("select count(*) from apg_t")

    await step("savepoint", savepoint())

    async def serializable():
        async with client.transaction(isolation="serializable", readonly=True):
            return await client.fetchval("select current_setting('transaction_isolation') || current_setting('transaction_read_only')")

    await step("serializable", serializable())

    async def cursor():
        async with client.transaction():
            found = []
            async for row in client.cursor("select id from apg_t order by id", prefetch=7):
                found.append(row[0])
            steps = await client.cursor("select g from generate_series(1, 10) g")
            return [len(found), (await steps.fetch(3))[-1][0], await steps.forward(2), (await steps.fetchrow())[0]]

    await step("cursor", cursor())

    async def prepared():
        statement = await client.prepare("select id, name from apg_t where id = $1")
        kinds = [parameter.name for parameter in statement.get_parameters()]
        columns = [(column.name, column.type.name) for column in statement.get_attributes()]
        return [kinds, columns, await statement.fetchval(10, column=1)]

    await step("prepared", prepared())
    await step("copy in", client.copy_records_to_table("apg_t", records=[(300, "x"), (301, "y")], columns=["id", "name"]))
    await step("copy in that fails", client.copy_records_to_table("apg_t", records=[(302, "x"), (300, "y")], columns=["id", "name"]))
    await alive("a failed COPY")

    async def copy_out():
        parts = []

        async def take(data):
            parts.append(data.decode())

        await client.copy_from_query("select id, name from apg_t where id >= 300 order by id", output=take)
        return "".join(parts)

    await step("copy out", copy_out())
    await step("several statements", client.execute("select 1; insert into apg_t (id) values (400); select 2"))
    await step("timeout", client.execute("set statement_timeout = '200ms'; select pg_sleep(30)"))
    await step("reset", client.execute("reset statement_timeout"))

    async def cancelled():
        try:
            await client.fetch("select pg_sleep(30)", timeout=0.3)
        except asyncio.TimeoutError:
            return "cancelled"

    await step("cancelled by the client", cancelled())
    await alive("being cancelled")
    await step("encoding", client.fetchval("show client_encoding"))
    await step("reset session", client.reset())

    async def pool():
        async with asyncpg.create_pool(**OPTIONS, min_size=2, max_size=2) as pool:
            return sorted(await asyncio.gather(*(pool.fetchval("select $1::int", number) for number in range(10))))

    await step("pool", pool())

    async def terminated():
        other = await asyncpg.connect(**OPTIONS)
        done = await client.fetchval("select pg_terminate_backend($1)", other.get_server_pid())
        for _ in range(100):
            if other.is_closed():
                break
            await asyncio.sleep(0.05)
        return [done, other.is_closed()]

    await step("terminated", terminated())

    async def notifications():
        other = await asyncpg.connect(**OPTIONS)
        found, done = [], asyncio.Event()

        def heard(_connection, pid, channel, payload):
            found.append([channel, payload, pid == client.get_server_pid()])
            if payload == "last":
                done.set()

        await other.add_listener("apg", heard)
        await client.execute("notify apg, 'one'")
        async with client.transaction():
            await client.execute("select pg_notify('apg', 'two'), pg_notify('apg', 'two')")
            await client.execute("notify apg, 'last'")
        await asyncio.wait_for(done.wait(), 10)
        await other.remove_listener("apg", heard)
        await other.close()
        return found

    await step("notifications", notifications())
    await step("clean up", client.execute("drop table apg_t"))
    await client.close()


asyncio.run(main())
