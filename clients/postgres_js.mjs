// postgres.js: connect, fail, recover, go on. One line a step; the same steps are run against PostgreSQL.
import postgres from 'postgres'

const options = { host: process.env.PGHOST, port: Number(process.env.PGPORT), user: 'postgres', database: 'postgres', onnotice: () => {} }
const sql = postgres({ ...options, max: 1 })

const say = (step, outcome) => console.log(`${step}: ${JSON.stringify(outcome)}`)
async function step(name, body) {
  try {
    say(name, await body())
  } catch (error) {
    say(name, `error ${error.code}`)
  }
}
const alive = async (where) => step(`alive after ${where}`, async () => (await sql`select 'yes' as answer`)[0].answer)

await step('connect', async () => (await sql`select 1 + 1 as two`)[0].two)
await step('set up', async () => {
  await sql`drop table if exists js_t`
  await sql`create table js_t (id int primary key, name text, tags text[], body jsonb, at timestamptz, amount numeric(10, 2))`
  return 'done'
})

// Each of these errors comes without Sync: the client waits for it before it sends one.
await step('syntax error', () => sql.unsafe('selec 1', [], { prepare: true }))
await alive('a syntax error')
await step('unknown table', () => sql`select * from nosuch`)
await step('unknown column', () => sql`select nosuch from js_t`)
await alive('an unknown name')
await step('division by zero', () => sql`select 1 / ${0}::int`)
await step('bad parameter', () => sql`select ${'x'}::text::int`)
await alive('an error at run time')

await step('insert', async () => {
  const rows = [
    { id: 1, name: 'one', tags: ['a', 'b'], body: { k: [1, 2] }, at: new Date(0), amount: '1.50' },
    { id: 2, name: null, tags: [], body: null, at: null, amount: null },
  ]
  const done = await sql`insert into js_t ${sql(rows)} returning id`
  return done.map((row) => row.id)
})
await step('read back', () => sql`select * from js_t order by id`)
await step('duplicate', () => sql`insert into js_t (id) values (1)`)
await alive('a duplicate')

await step('pipeline', async () => {
  const outcomes = await Promise.allSettled([
    sql`select 1 as n`, sql`select nosuch`, sql`select 2 as n`, sql`insert into js_t (id) values (1)`, sql`select 3 as n`,
  ])
  return outcomes.map((outcome) => (outcome.status === 'fulfilled' ? outcome.value[0].n : outcome.reason.code))
})

await step('transaction', () => sql.begin(async (tx) => {
  await tx`insert into js_t (id, name) values (3, 'three')`
  return (await tx`select count(*)::int as n from js_t`)[0].n
}))
await step('failed transaction', () => sql.begin(async (tx) => {
  await tx`insert into js_t (id) values (4)`
  await tx`insert into js_t (id) values (1)`
}))
await step('savepoint', () => sql.begin(async (tx) => {
  await tx`insert into js_t (id) values (5)`
  await tx.savepoint(async (inner) => inner`insert into js_t (id) values (1)`).catch(() => {})
  return (await tx`select count(*)::int as n from js_t`)[0].n
}))
await step('pipelined transaction', () => sql.begin((tx) => [
  tx`insert into js_t (id) values (6)`, tx`select count(*)::int as n from js_t`, tx`delete from js_t where id = 6`,
]).then((all) => all.map((rows) => rows.count)))

await step('cursor', async () => {
  const sizes = []
  await sql`select * from generate_series(1, 10) g`.cursor(4, (rows) => { sizes.push(rows.length) })
  return sizes
})
await step('cursor that fails', () => sql`select 10 / (5 - g) as n from generate_series(1, 10) g`.cursor(2, () => {}))
await alive('a cursor that failed')

await step('many statements', async () => (await sql.unsafe('select 1 as a; select 2 as a; select 3 as a')).map((rows) => rows[0].a))
await step('describe', async () => {
  const { columns } = await sql`select id, name, amount from js_t`.describe()
  return columns.map((column) => [column.name, column.type])
})
await step('statement timeout', () => sql.begin(async (tx) => {
  await tx`set local statement_timeout = '200ms'`
  await tx`select pg_sleep(30)`
}))
await alive('a statement timeout')
await step('cancel', async () => {
  const query = sql`select pg_sleep(30)`
  const running = query.execute()
  setTimeout(() => query.cancel(), 300)
  await running
})
await alive('a cancelled statement')

await step('terminated', async () => {
  const other = postgres({ ...options, max: 1 })
  const [{ pid }] = await other`select pg_backend_pid() as pid`
  const [{ done }] = await sql`select pg_terminate_backend(${pid}) as done`
  // It connects again by itself, once it has seen that its connection is gone.
  let again
  for (let left = 100; again === undefined && left > 0; left--) {
    again = await other`select 7 as n`.then((rows) => rows[0].n, () => undefined)
  }
  await other.end({ timeout: 5 })
  return [done, again]
})
await step('clean up', async () => { await sql`drop table js_t`; return 'done' })
await sql.end()
