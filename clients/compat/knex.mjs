// Knex: migrations, the schema builder, queries, transactions.
import assert from 'node:assert/strict'
import Knex from 'knex'
import { server, stateOf, test } from './tests.mjs'

const knex = Knex({ client: 'pg', connection: server, pool: { min: 0, max: 4 } })

const migrations = {
  getMigrations: async () => ['one', 'two', 'three'],
  getMigrationName: (name) => name,
  getMigration: async (name) => ({
    one: {
      up: (knex) => knex.schema.createTable('author', (t) => {
        t.increments('id')
        t.string('name', 100).notNullable().unique()
        t.uuid('ref').defaultTo(knex.raw('gen_random_uuid()'))
        t.timestamps(true, true)
      }).createTable('book', (t) => {
        t.bigIncrements('id')
        t.integer('author_id').unsigned().notNullable().references('id').inTable('author').onDelete('CASCADE')
        t.string('title')
        t.decimal('price', 10, 2)
        t.enu('kind', ['novel', 'poem'], { useNative: true, enumName: 'book_kind' })
        t.enu('state', ['new', 'used'])
        t.jsonb('data')
        t.specificType('tags', 'text[]')
        t.boolean('sold').defaultTo(false)
        t.index(['author_id', 'title'], 'book_by_title')
      }),
      down: (knex) => knex.schema.dropTable('book').dropTable('author').raw('drop type book_kind'),
    },
    two: {
      up: (knex) => knex.schema.alterTable('book', (t) => {
        t.date('printed')
        t.string('title', 500).notNullable().alter()
        t.renameColumn('sold', 'is_sold')
        t.comment('books')
        t.check('price >= 0', {}, 'price_check')
      }),
      down: (knex) => knex.schema.alterTable('book', (t) => {
        t.dropChecks('price_check')
        t.dropColumn('printed')
        t.renameColumn('is_sold', 'sold')
      }),
    },
    three: { up: (knex) => knex.schema.createView('cheap', (v) => { v.columns(['id', 'title']); v.as(knex('book').select('id', 'title').where('price', '<', 5)) }), down: (knex) => knex.schema.dropView('cheap') },
  })[name],
}

await test('migrate to the latest', async () => {
  const [batch, done] = await knex.migrate.latest({ migrationSource: migrations })
  assert.deepEqual([batch, done], [1, ['one', 'two', 'three']])
})
await test('migrate again does nothing', async () => assert.deepEqual((await knex.migrate.latest({ migrationSource: migrations }))[1], []))
await test('migrations are listed', async () => assert.equal((await knex.migrate.list({ migrationSource: migrations }))[0].length, 3))
await test('roll back, and migrate again', async () => {
  await knex.migrate.rollback({ migrationSource: migrations })
  assert.equal(await knex.schema.hasTable('book'), false)
  await knex.migrate.latest({ migrationSource: migrations })
})
await test('migrations at once wait for a lock', async () => {
  const outcomes = await Promise.allSettled([1, 2, 3].map(() => knex.migrate.latest({ migrationSource: migrations })))
  assert.ok(outcomes.some((outcome) => outcome.status === 'fulfilled'))
})
await test('hasTable, hasColumn', async () => {
  assert.deepEqual([await knex.schema.hasTable('author'), await knex.schema.hasColumn('book', 'is_sold'), await knex.schema.hasColumn('book', 'sold')], [true, true, false])
})
await test('columnInfo', async () => {
  const info = await knex('book').columnInfo()
  assert.deepEqual(info.price, { type: 'numeric', maxLength: null, nullable: true, defaultValue: null })
  assert.equal(info.title.maxLength, 500)
})
await test('insert returning', async () => {
  const rows = await knex('author').insert([{ name: 'Ann' }, { name: 'Bob' }]).returning(['id', 'name'])
  assert.deepEqual(rows, [{ id: 1, name: 'Ann' }, { id: 2, name: 'Bob' }])
})
await test('insert of books', async () => {
  const books = [1, 2, 3, 4].map((n) => ({ author_id: 1 + (n % 2), title: `b${n}`, price: n * 2, kind: n % 2 ? 'novel' : 'poem', state: 'new', data: { n, list: [n] }, tags: ['x', `t${n}`] }))
  assert.equal((await knex('book').insert(books)).rowCount, 4)
})
await test('batchInsert', async () => {
  const rows = Array.from({ length: 500 }, (_, n) => ({ author_id: 1, title: `bulk${n}` }))
  assert.equal((await knex.batchInsert('book', rows, 100).returning('id')).length, 500)
})
await test('check of an enum by constraint', async () => assert.equal(await stateOf(knex('book').insert({ author_id: 1, title: 'x', state: 'lost' })), '23514'))
await test('native enum', async () => assert.equal(await stateOf(knex('book').insert({ author_id: 1, title: 'x', kind: 'lost' })), '22P02'))
await test('foreign key', async () => assert.equal(await stateOf(knex('book').insert({ author_id: 99, title: 'x' })), '23503'))
await test('onConflict merge', async () => {
  await knex('author').insert({ name: 'Ann', ref: null }).onConflict('name').merge(['ref'])
  assert.equal((await knex('author').where({ name: 'Ann' }).first()).ref, null)
})
await test('onConflict ignore', async () => assert.deepEqual(await knex('author').insert({ name: 'Ann' }).onConflict('name').ignore().returning('id'), []))
await test('join and group', async () => {
  const rows = await knex('book as b').join('author as a', 'a.id', 'b.author_id').where('b.price', '>', 0).groupBy('a.name').select('a.name').count('* as n').sum('b.price as total').orderBy('a.name')
  assert.deepEqual(rows, [{ name: 'Ann', n: '2', total: '12.00' }, { name: 'Bob', n: '2', total: '8.00' }])
})
await test('having, whereIn with a subquery, whereRaw', async () => {
  const rows = await knex('book').whereIn('author_id', knex('author').select('id').where('name', 'like', 'B%')).whereRaw('? = any(tags)', ['x'])
  assert.equal(rows.length, 2)
})
await test('json operators', async () => {
  assert.equal((await knex('book').whereJsonPath('data', '$.n', '=', 2)).length, 1)
})
await test('json superset', async () => assert.equal((await knex('book').whereJsonSupersetOf('data', { n: 3 })).length, 1))
await test('json extract', async () => assert.deepEqual(await knex('book').jsonExtract('data', '$.list[0]', 'first').where('title', 'b3'), [{ first: 3 }]))
await test('with, union, window', async () => {
  const rows = await knex.with('c', knex('book').select('id', 'price').whereNotNull('price')).select('id').rank('r', (w) => w.orderBy('price', 'desc')).from('c').orderBy('r').limit(1)
  assert.equal(rows[0].r, '1')
  assert.equal((await knex('author').select('name').union([knex('book').select('title').where('price', 2)], true)).length, 3)
})
await test('recursive with', async () => {
  const rows = await knex.withRecursive('n', ['i'], (q) => { q.select(knex.raw('1')).unionAll((q) => { q.select(knex.raw('i + 1')).from('n').where('i', '<', 5) }) }).select('*').from('n')
  assert.equal(rows.length, 5)
})
await test('distinctOn', async () => assert.equal((await knex('book').distinctOn('author_id').orderBy([{ column: 'author_id' }, { column: 'id' }])).length, 2))
await test('update returning, increment', async () => {
  assert.deepEqual(await knex('book').where('title', 'b1').increment('price', 1).returning('price'), [{ price: '3.00' }])
})
await test('update from', async () => {
  const changed = await knex('book').updateFrom('author').where('author.id', knex.ref('book.author_id')).where('author.name', 'Bob').update({ is_sold: true })
  assert.equal(changed, 2)
})
await test('for update skip locked', async () => {
  await knex.transaction(async (one) => {
    const [first] = await one('book').orderBy('id').limit(1).forUpdate()
    const rows = await knex.transaction((two) => two('book').orderBy('id').limit(1).forUpdate().skipLocked())
    assert.notEqual(rows[0].id, first.id)
  })
})
await test('forUpdate noWait', async () => {
  await knex.transaction(async (one) => {
    await one('book').where('title', 'b1').forUpdate()
    assert.equal(await stateOf(knex.transaction((two) => two('book').where('title', 'b1').forUpdate().noWait())), '55P03')
  })
})
await test('nested transaction rolls back alone', async () => {
  await knex.transaction(async (outer) => {
    await outer('author').insert({ name: 'Cid' })
    await outer.transaction(async (inner) => { await inner('author').insert({ name: 'Ann' }) }).catch(() => {})
  })
  assert.equal((await knex('author').where({ name: 'Cid' })).length, 1)
})
await test('isolation levels', async () => {
  for (const isolationLevel of ['read committed', 'repeatable read', 'serializable']) {
    const level = await knex.transaction(async (trx) => (await trx.raw('show transaction_isolation')).rows[0].transaction_isolation, { isolationLevel })
    assert.equal(level, isolationLevel)
  }
})
await test('stream', async () => {
  let count = 0
  for await (const _ of knex('book').select('id').stream()) count++
  assert.equal(count, 504)
})
await test('view', async () => assert.equal((await knex('cheap').select()).length, 2))
await test('materialized view', async () => {
  await knex.schema.createMaterializedView('totals', (v) => { v.columns(['author_id', 'total']); v.as(knex('book').select('author_id').sum('price').groupBy('author_id')) })
  await knex.schema.refreshMaterializedView('totals')
  assert.equal((await knex('totals')).length, 2)
  await knex.schema.dropMaterializedView('totals')
})
await test('change of a table that holds rows', async () => {
  await knex.schema.alterTable('book', (t) => { t.integer('pages').notNullable().defaultTo(1); t.unique(['author_id', 'title', 'id'], { indexName: 'book_once' }); t.index(knex.raw('lower(title)'), 'book_lower') })
  assert.equal((await knex('book').where('pages', 1)).length, 504)
})
await test('partial and GIN index', async () => {
  await knex.schema.alterTable('book', (t) => { t.index(['data'], 'book_data', { indexType: 'gin' }); t.index(['title'], 'book_sold', { predicate: knex.whereNotNull('price') }) })
  assert.equal((await knex.raw("select count(*)::int as n from pg_indexes where tablename = 'book' and indexname in ('book_data', 'book_sold')")).rows[0].n, 2)
})
await test('primary key and foreign key are dropped and made again', async () => {
  await knex.schema.alterTable('book', (t) => { t.dropForeign('author_id'); t.dropPrimary() })
  await knex.schema.alterTable('book', (t) => { t.primary(['id']); t.foreign('author_id').references('author.id').deferrable('deferred') })
})
await test('rename of a table', async () => {
  await knex.schema.renameTable('author', 'writer')
  assert.equal((await knex('writer')).length, 3)
})
await test('createTableLike', async () => {
  await knex.schema.createTableLike('writer2', 'writer')
  assert.equal(await knex.schema.hasColumn('writer2', 'ref'), true)
})
await test('truncate', async () => {
  await knex('writer2').insert({ id: 1, name: 'x' })
  await knex('writer2').truncate()
  assert.equal((await knex('writer2')).length, 0)
})
await test('schemas', async () => {
  await knex.schema.createSchema('other')
  await knex.schema.withSchema('other').createTable('author', (t) => { t.increments(); t.text('name') })
  await knex.withSchema('other').from('author').insert({ name: 'x' })
  await knex.schema.dropSchema('other', true)
})
await test('timeout with cancel', async () => {
  await assert.rejects(knex.raw('select pg_sleep(5)').timeout(200, { cancel: true }), { name: 'KnexTimeoutError' })
})
await knex.destroy()
