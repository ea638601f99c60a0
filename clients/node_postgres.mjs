// node-postgres: connect, fail, recover, go on. One line a step; the same steps are run against PostgreSQL.
import pg from 'pg'

const options = { host: process.env.PGHOST, port: Number(process.env.PGPORT), user: 'postgres', database: 'postgres' }
const client = new pg.Client({ ...options, application_name: 'clients' })
client.on('error', () => {})
await client.connect()

const say = (step, outcome) => console.log(`${step}: ${JSON.stringify(outcome)}`)
async function step(name, body) {
  try {
    say(name, await body())
  } catch (error) {
    say(name, `error ${error.code}`)
  }
}
const rows = async (text, values) => (await client.query({ text, values, rowMode: 'array' })).rows
const alive = (where) => step(`alive after ${where}`, () => rows("select 'yes'"))

await step('connect', () => rows('select 1 + 1'))
await step('application name', () => rows('show application_name'))
await step('set up', async () => {
  await client.query('drop table if exists pg_t; create table pg_t (id serial primary key, name text unique, n numeric, at timestamptz)')
  return 'done'
})
await step('syntax error', () => rows('selec 1'))
await step('syntax error, with parameters', () => rows('selec $1', [1]))
await alive('a syntax error')
await step('unknown table', () => rows('select * from nosuch where id = $1', [1]))
await step('division by zero', () => rows('select 1 / $1::int', [0]))
await alive('an error at run time')
await step('insert', () => rows('insert into pg_t (name, n, at) values ($1, $2, $3), ($4, null, null) returning id, name', ['a', '1.5', new Date(0), 'b']))
await step('duplicate', () => rows('insert into pg_t (name) values ($1)', ['a']))
await step('read back', () => rows('select * from pg_t order by id'))

await step('named statement', async () => {
  const ask = (value) => client.query({ name: 'by_name', text: 'select id from pg_t where name = $1', values: [value], rowMode: 'array' })
  return [(await ask('a')).rows, (await ask('b')).rows, (await ask('c')).rows]
})
await step('named statement that fails', async () => {
  const ask = (value) => client.query({ name: 'division', text: 'select 10 / $1::int', values: [value], rowMode: 'array' })
  return [(await ask(5)).rows, await ask(0).catch((error) => error.code), (await ask(2)).rows]
})
await step('transaction that fails', async () => {
  await client.query('begin')
  await client.query('insert into pg_t (name) values ($1)', ['c'])
  const failed = await client.query('insert into pg_t (name) values ($1)', ['a']).catch((error) => error.code)
  const ignored = await client.query('select 1').catch((error) => error.code)
  await client.query('rollback')
  return [failed, ignored, await rows('select count(*)::int from pg_t')]
})
await step('savepoints', async () => {
  await client.query('begin')
  await client.query('savepoint s')
  const failed = await client.query('select 1/0').catch((error) => error.code)
  await client.query('rollback to s')
  await client.query('insert into pg_t (name) values ($1)', ['d'])
  await client.query('commit')
  return [failed, await rows('select count(*)::int from pg_t')]
})
await step('fields of an error', async () => {
  const error = await client.query('insert into pg_t (name) values ($1)', ['a']).catch((error) => error)
  return [error.severity, error.code, error.table, error.constraint, error.detail]
})
await step('settings', async () => {
  await client.query("set statement_timeout = 3000; set time zone 'Europe/Rome'; set enable_seqscan = off")
  return [await rows('show statement_timeout'), await rows('show timezone'), await rows("select current_setting('enable_seqscan')")]
})
await step('reset', async () => {
  await client.query('reset all')
  return rows('show statement_timeout')
})
await step('unknown setting', () => rows('set nosuch = 1'))
await step('timeout', async () => {
  await client.query("set statement_timeout = '200ms'")
  return rows('select pg_sleep(30)')
})
await client.query('set statement_timeout = 0')
await alive('a timeout')
await step('advisory locks', async () => {
  const other = new pg.Client(options)
  await other.connect()
  const tried = async (who, text) => (await who.query({ text, rowMode: 'array' })).rows[0][0]
  const all = [
    await tried(client, 'select pg_try_advisory_lock(7)'), await tried(other, 'select pg_try_advisory_lock(7)'),
    await tried(other, 'select pg_try_advisory_lock_shared(7)'), await tried(client, 'select pg_advisory_unlock(7)'),
    await tried(other, 'select pg_try_advisory_lock_shared(7)'), await tried(client, 'select pg_try_advisory_lock_shared(7)'),
    await tried(client, 'select pg_try_advisory_lock(7)'), await tried(client, 'select pg_advisory_unlock_shared(7)'),
  ]
  const waiting = tried(client, 'select pg_advisory_lock(7)')
  // Gone with its session.
  await other.end()
  await waiting
  return [...all, await tried(client, 'select pg_advisory_unlock(7)')]
})
await step('terminated', async () => {
  const other = new pg.Client(options)
  await other.connect()
  const ended = new Promise((resolve) => other.on('error', (error) => resolve(error.code)))
  const { rows: [[pid]] } = await other.query({ text: 'select pg_backend_pid()', rowMode: 'array' })
  const seen = await rows('select count(*)::int from pg_stat_activity where pid = $1', [pid])
  return [seen, await rows('select pg_terminate_backend($1)', [pid]), await ended]
})
await step('clean up', async () => { await client.query('drop table pg_t'); return 'done' })
await client.end()
