/** M1: type, input and result of a job belong together. The compiler checks the lines marked as errors when types are checked. */
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import ts from 'typescript'
import { expect, onTestFinished, test } from 'vitest'
import * as z from 'zod'
import type { Client } from '../../src/client/client.ts'
import { createClient } from '../../src/client/client.ts'
import { defineJob } from '../../src/client/define-job.ts'
import { InputInvalidError } from '../../src/errors.ts'
import { createTestDatabase } from '../support/database.ts'
import { builtApi, builtProgram } from '../support/process.ts'

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

test('M1: a program with no types but those of Node checks the declarations that are published, all of them', () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'leasehold-types-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  const packages = path.join(directory, 'node_modules')
  const published = path.join(packages, 'leasehold')
  const root = path.resolve(import.meta.dirname, '../..')
  cpSync(path.resolve(path.dirname(builtProgram()), '..'), path.join(published, 'dist'), {
    recursive: true,
    filter: (file) => !path.basename(file).includes('.') || file.endsWith('.d.ts'),
  })
  cpSync(path.join(root, 'package.json'), path.join(published, 'package.json'))
  mkdirSync(path.join(packages, '@types'))
  symlinkSync(path.join(root, 'node_modules/@types/node'), path.join(packages, '@types/node'))
  writeFileSync(path.join(directory, 'package.json'), '{ "type": "module" }')
  const consumer = path.join(directory, 'app.ts')
  writeFileSync(
    consumer,
    `import { createClient, createWorker, defineJob, migrate, type StandardSchema } from 'leasehold'
     import { startEmbedded } from 'leasehold/embedded'
     declare const input: StandardSchema<{ to: number }>
     const job = defineJob({ type: 'count', input, run: (ctx) => ({ counted: ctx.input.to }) })
     const { url: databaseUrl } = await startEmbedded({ dataDir: 'data' })
     await migrate({ databaseUrl })
     await using worker = createWorker({ databaseUrl, jobs: [job] })
     await using client = createClient({ databaseUrl })
     const { counted }: { counted: number } = await client.wait(await client.enqueue(job, { to: 1 }), { job })
     export { counted, worker }`,
  )
  for (const [module, moduleResolution] of [
    [ts.ModuleKind.NodeNext, ts.ModuleResolutionKind.NodeNext],
    [ts.ModuleKind.ESNext, ts.ModuleResolutionKind.Bundler],
  ] as const) {
    const program = ts.createProgram([consumer, path.join(published, 'dist/cli/main.d.ts')], {
      strict: true,
      skipLibCheck: false,
      noEmit: true,
      target: ts.ScriptTarget.ES2023,
      lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
      types: ['node'],
      typeRoots: [path.join(packages, '@types')],
      module,
      moduleResolution,
    })
    const found = ts
      .getPreEmitDiagnostics(program)
      .map(
        ({ file, messageText }) =>
          `${file?.fileName}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`,
      )
    expect(found).toEqual([])
  }
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
