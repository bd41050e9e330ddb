/** M1: type, input and result of a job belong together. The compiler checks the lines marked as errors when types are checked. */
import path from 'node:path'
import ts from 'typescript'
import { expect, test } from 'vitest'
import * as z from 'zod'
import type { Client } from '../../src/client/client.ts'
import { createClient } from '../../src/client/client.ts'
import { defineJob } from '../../src/client/define-job.ts'
import { InputInvalidError } from '../../src/errors.ts'
import { createTestDatabase } from '../support/database.ts'
import { builtApi } from '../support/process.ts'

const { createWorker } = await builtApi()

const resize = defineJob({
  type: 'image.resize',
  input: z.object({ url: z.string(), width: z.number().default(100) }),
  output: z.object({ bytes: z.number() }),
  run(ctx) {
    const width: number = ctx.input.width
    // @ts-expect-error -- the input has no such field
    const height: unknown = ctx.input.height
    return { bytes: width * (height === undefined ? 1 : 2) }
  },
})

/** Never called: what it says is for the compiler. */
export async function typesOf(client: Client): Promise<void> {
  const id: string = await client.enqueue(resize, { url: 'a.png' })
  // @ts-expect-error -- a required field is missing
  await client.enqueue(resize, { width: 3 })
  // @ts-expect-error -- a field has the wrong type
  await client.enqueue(resize, { url: 7 })
  // @ts-expect-error -- one of several has the wrong type
  await client.enqueueMany(resize, [{ url: 'a.png' }, { url: null }])
  const result: { bytes: number } = await client.wait<typeof resize>(id)
  // @ts-expect-error -- the result has no such field
  String(result.pixels)
  defineJob({
    type: 'wrong.result',
    input: z.string(),
    output: z.object({ bytes: z.number() }),
    // @ts-expect-error -- the handler returns something else than it says
    run: () => ({ bytes: 'many' }),
  })
}

test('M1: a wrong input, result or field is a compile error', () => {
  const root = path.resolve(import.meta.dirname, '../..')
  const { config } = ts.readConfigFile(path.join(root, 'tsconfig.json'), (file) =>
    ts.sys.readFile(file),
  )
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root)
  const program = ts.createProgram([import.meta.filename], { ...options, noEmit: true })
  const found = ts
    .getPreEmitDiagnostics(program, program.getSourceFile(import.meta.filename))
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))
  // An expected error that does not come is itself one.
  expect(found).toEqual([])
})

test('M1: a wrong input is refused before anything is stored, and one that was stored unchecked fails without retries', async () => {
  const db = await createTestDatabase()
  const connect = { databaseUrl: db.databaseUrl, schema: db.schemaName }
  await using client = createClient(connect)
  await expect(client.enqueue(resize, { url: 7 } as never)).rejects.toThrow(InputInvalidError)
  expect(await client.list()).toMatchObject({ items: [] })
  const wrong = await client.enqueueRaw('image.resize', { url: 7 })
  const right = await client.enqueue(resize, { url: 'a.png', width: 5 })
  await using worker = createWorker({ ...connect, jobs: [resize] })
  await worker.start()
  expect(await client.wait<typeof resize>(right)).toEqual({ bytes: 5 })
  await expect(client.wait(wrong)).rejects.toThrow()
  expect(await client.get(wrong)).toMatchObject({ status: 'failed', attempt: 1 })
})
