/** A client does not outstay what it does: a process that forgot to close one ends when it has nothing left to do. */
import { spawn } from 'node:child_process'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import { createTestDatabase } from '../support/database.ts'
import { builtProgram } from '../support/process.ts'

/** An idle connection would be closed only after a minute. */
const EXIT_MS_MAX = 30_000

test('a script that enqueues and forgets to close ends at once, and what it enqueued is there', async () => {
  const db = await createTestDatabase()
  const library = pathToFileURL(path.join(path.dirname(builtProgram()), '../index.js')).href
  const script = `
    import { createClient } from '${library}'
    const client = createClient(${JSON.stringify({ databaseUrl: db.databaseUrl, schema: db.schemaName })})
    await client.enqueueRaw('demo.count', { to: 1 })
    await Promise.all([client.stats(), client.list(), client.knownTypes()])
    console.log('done')`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script])
  let output = ''
  let doneMs = 0
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
    doneMs = performance.now()
  })
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const limit = setTimeout(() => child.kill('SIGKILL'), EXIT_MS_MAX)
  const code = await new Promise((resolve) => child.once('exit', resolve))
  clearTimeout(limit)
  expect({ code, output }).toEqual({ code: 0, output: 'done\n' })
  expect(performance.now() - doneMs).toBeLessThan(5_000)
  await using client = createClient({ databaseUrl: db.databaseUrl, schema: db.schemaName })
  expect((await client.list()).items).toHaveLength(1)
})
