// Runs the tests of a program in order, and writes what each gave: `outcome<TAB>test<TAB>why`, as results.py does.
import { appendFileSync } from 'node:fs'

export const server = { host: process.env.PGHOST, port: Number(process.env.PGPORT), user: process.env.PGUSER, database: process.env.PGDATABASE }

/** A test that takes longer has failed, and the program goes on. */
const MILLISECONDS = 60_000

const write = (outcome, name, why = '') =>
  appendFileSync(process.env.QUORATE_RESULTS, `${outcome}\t${name}\t${String(why).replace(/\s+/g, ' ').slice(0, 400)}\n`)

export async function test(name, body) {
  let timer
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error('timeout')), MILLISECONDS) })
  try {
    await Promise.race([body(), late])
    write('passed', name)
  } catch (error) {
    const code = error.code ?? error.original?.code ?? error.cause?.code
    write('failed', name, `${code ? code + ' ' : ''}${error.cause?.message ?? error.message}`)
  } finally {
    clearTimeout(timer)
  }
}

/** The SQLSTATE that a promise fails with. */
export const stateOf = (promise) =>
  promise.then(() => 'none', (error) => error.code ?? error.original?.code ?? error.driverError?.code ?? error.cause?.code ?? String(error))
