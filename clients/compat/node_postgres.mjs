// node-postgres: types, parameters, named statements, pools, cursors, streams, notifications, cancels.
import assert from 'node:assert/strict'
import pg from 'pg'
import Cursor from 'pg-cursor'
import QueryStream from 'pg-query-stream'
import { server, stateOf, test } from './tests.mjs'

const pool = new pg.Pool({ ...server, max: 4 })
const one = async (text, values) => (await pool.query({ text, values, rowMode: 'array' })).rows[0][0]

await pool.query('create table item (id serial primary key, name text not null unique, price numeric(10,2), tags text[], data jsonb, made timestamptz default now())')

const ROUND_TRIPS = [
  ['int2', 7], ['int4', -2147483648], ['int8', '9223372036854775807'], ['float4', 1.5], ['float8', 0.1], ['numeric', '12345.678900'],
  ['bool', true], ['text', 'naïve ✓ "quoted" \\ end'], ['varchar(5)', 'abcde'], ['bpchar', 'x'], ['name', 'n'], ['uuid', '7b1c3a52-36cf-4b0e-9d2c-1f0b8a6f4f11'],
  ['json', { a: [1, null, 'x'] }], ['jsonb', { a: { b: 2 } }], ['int4[]', [1, null, 3]], ['text[]', ['a,b', '"', null, '']],
  ['float8[]', [1.5, 2]], ['bool[]', [true, false]], ['inet', '10.1.2.3/8'], ['cidr', '10.0.0.0/8'], ['macaddr', '08:00:2b:01:02:03'],
  ['time', '04:05:06.789'], ['timetz', '04:05:06+02'], ['bit(3)', '101'], ['int4range', '[1,10)'], ['money', '$1.50'], ['xml', '<a/>'],
  ['tsvector', "'a' 'b'"], ['point', { x: 1, y: 2 }],
]
for (const [type, value] of ROUND_TRIPS) {
  await test(`type ${type}`, async () => {
    const sent = type === 'point' ? '(1,2)' : type.startsWith('json') ? JSON.stringify(value) : value
    assert.deepEqual(await one(`select $1::${type}`, [sent]), value)
  })
}
await test('type bytea', async () => assert.deepEqual(await one('select $1::bytea', [Buffer.from([0, 1, 255])]), Buffer.from([0, 1, 255])))
await test('type timestamptz', async () => assert.equal((await one('select $1::timestamptz', [new Date(1e12)])).getTime(), 1e12))
await test('type date is local', async () => assert.equal((await one("select '2024-02-29'::date")).getDate(), 29))
await test('type interval', async () => assert.deepEqual({ ...(await one("select interval '1 year 2 days 3.5 seconds'")) }, { years: 1, days: 2, seconds: 3, milliseconds: 500 }))
await test('null parameter', async () => assert.equal(await one('select $1::text is null', [null]), true))
await test('parameter of unknown type', async () => assert.equal(await one("select 'a' || $1", ['b']), 'ab'))
await test('parameter types are inferred', async () => assert.equal(await one('select 1 + $1', [2]), 3))
await test('fields of a result', async () => {
  const { fields } = await pool.query('select id, name, price from item')
  assert.deepEqual(fields.map((field) => [field.name, field.dataTypeID, field.dataTypeModifier]), [['id', 23, -1], ['name', 25, -1], ['price', 1700, 655366]])
  assert.ok(fields[0].tableID > 0 && fields[1].columnID === 2)
})
await test('insert returning', async () => {
  const { rows, rowCount, command } = await pool.query("insert into item (name, price, tags) values ('a', 1.5, '{x,y}'), ('b', null, null) returning id, price, tags")
  assert.deepEqual([rows, rowCount, command], [[{ id: 1, price: '1.50', tags: ['x', 'y'] }, { id: 2, price: null, tags: null }], 2, 'INSERT'])
})
await test('error fields', async () => {
  const error = await pool.query("insert into item (name) values ('a')").catch((error) => error)
  assert.deepEqual([error.code, error.severity, error.schema, error.table, error.constraint, error.detail],
    ['23505', 'ERROR', 'public', 'item', 'item_name_key', 'Key (name)=(a) already exists.'])
})
await test('error position', async () => {
  const error = await pool.query('select nosuch from item').catch((error) => error)
  assert.deepEqual([error.code, error.position], ['42703', '8'])
})
await test('error tells the place in the server', async () => {
  const error = await pool.query('select 1/0').catch((error) => error)
  assert.ok(error.file && error.line && error.routine)
})
await test('several statements', async () => {
  const results = await pool.query('select 1 as a; select 2 as b, 3 as c; update item set price = 2')
  assert.deepEqual(results.map((result) => [result.command, result.rowCount]), [['SELECT', 1], ['SELECT', 1], ['UPDATE', 2]])
})
await test('empty query', async () => assert.equal((await pool.query('')).rows.length, 0))
await test('named statement', async () => {
  const client = await pool.connect()
  try {
    for (const id of [1, 2, 1]) {
      const { rows } = await client.query({ name: 'get', text: 'select name from item where id = $1', values: [id] })
      assert.equal(rows[0].name, id === 1 ? 'a' : 'b')
    }
    assert.equal((await client.query("select count(*)::int as n from pg_prepared_statements where name = 'get'")).rows[0].n, 1)
  } finally {
    client.release()
  }
})
await test('cursor', async () => {
  const client = await pool.connect()
  try {
    const cursor = client.query(new Cursor('select n from generate_series(1, $1::int) n', [250]))
    const sizes = []
    for (let rows = await cursor.read(100); rows.length; rows = await cursor.read(100)) sizes.push(rows.length)
    assert.deepEqual(sizes, [100, 100, 50])
    await cursor.close()
  } finally {
    client.release()
  }
})
await test('cursor closed early', async () => {
  const client = await pool.connect()
  try {
    const cursor = client.query(new Cursor('select n from generate_series(1, 100000) n'))
    assert.equal((await cursor.read(10)).length, 10)
    await cursor.close()
    assert.equal((await client.query('select 1 as x')).rows[0].x, 1)
  } finally {
    client.release()
  }
})
await test('stream', async () => {
  const client = await pool.connect()
  try {
    let sum = 0
    for await (const row of client.query(new QueryStream('select n from generate_series(1, 10000) n', [], { batchSize: 500 }))) sum += row.n
    assert.equal(sum, 50005000)
  } finally {
    client.release()
  }
})
await test('transaction', async () => {
  const client = await pool.connect()
  try {
    await client.query('begin')
    await client.query("insert into item (name) values ('c')")
    assert.equal(await stateOf(client.query("insert into item (name) values ('a')")), '23505')
    assert.equal(await stateOf(client.query('select 1')), '25P02')
    await client.query('rollback')
    assert.equal(await one('select count(*)::int from item'), 2)
  } finally {
    client.release()
  }
})
await test('savepoint', async () => {
  const client = await pool.connect()
  try {
    await client.query('begin; savepoint s')
    assert.equal(await stateOf(client.query('select 1/0')), '22012')
    await client.query("rollback to s; insert into item (name) values ('d'); commit")
    assert.equal(await one("select count(*)::int from item where name = 'd'"), 1)
  } finally {
    client.release()
  }
})
await test('statement_timeout of a client', async () => {
  const client = new pg.Client({ ...server, statement_timeout: 200 })
  await client.connect()
  assert.equal(await stateOf(client.query('select pg_sleep(10)')), '57014')
  await client.end()
})
await test('idle_in_transaction_session_timeout of a client', async () => {
  const client = new pg.Client({ ...server, idle_in_transaction_session_timeout: 200 })
  await client.connect()
  const ended = new Promise((resolve) => client.on('error', (error) => error.code && resolve(error.code)))
  await client.query('begin')
  assert.equal(await ended, '25P03')
})
await test('cancel by another session', async () => {
  const client = new pg.Client(server)
  await client.connect()
  const { rows } = await client.query('select pg_backend_pid() as pid')
  const sleeping = stateOf(client.query('select pg_sleep(10)'))
  await new Promise((resolve) => setTimeout(resolve, 200))
  await pool.query('select pg_cancel_backend($1)', [rows[0].pid])
  assert.equal(await sleeping, '57014')
  await client.end()
})
await test('listen and notify', async () => {
  const client = new pg.Client(server)
  await client.connect()
  const heard = new Promise((resolve) => client.on('notification', resolve))
  await client.query('listen news')
  await pool.query("select pg_notify('news', 'hello')")
  const { channel, payload } = await heard
  assert.deepEqual([channel, payload], ['news', 'hello'])
  await client.end()
})
await test('notices', async () => {
  const client = new pg.Client(server)
  await client.connect()
  const heard = new Promise((resolve) => client.on('notice', resolve))
  await client.query("do $$ begin raise notice 'said %', 1; end $$")
  const notice = await heard
  assert.deepEqual([notice.message, notice.code, notice.severity], ['said 1', '00000', 'NOTICE'])
  await client.end()
})
await test('options of the connection', async () => {
  const client = new pg.Client({ ...server, options: '-c search_path=pg_catalog -c work_mem=8MB', application_name: 'compat' })
  await client.connect()
  const { rows } = await client.query("select current_setting('search_path') as path, current_setting('work_mem') as mem, current_setting('application_name') as name")
  assert.deepEqual({ ...rows[0] }, { path: 'pg_catalog', mem: '8MB', name: 'compat' })
  await client.end()
})
await test('an unknown database', async () => {
  const client = new pg.Client({ ...server, database: 'nosuch' })
  assert.equal(await stateOf(client.connect()), '3D000')
})
await test('pool under load', async () => {
  const answers = await Promise.all(Array.from({ length: 200 }, (_, n) => one('select $1::int * 2', [n])))
  assert.deepEqual(answers, Array.from({ length: 200 }, (_, n) => n * 2))
})
await test('a large row', async () => assert.equal((await one("select repeat('x', 5000000)")).length, 5000000))
await test('many parameters', async () => {
  const values = Array.from({ length: 30000 }, (_, n) => n)
  const { rows } = await pool.query(`select count(*)::int as n from (values ${values.map((_, n) => `($${n + 1}::int)`).join(',')}) v`, values)
  assert.equal(rows[0].n, 30000)
})
await pool.end()
