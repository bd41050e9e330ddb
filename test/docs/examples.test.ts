/**
 * Code in the documents: every block marked ts compiles against the public API, and the examples of the README and of docs/runs.md run on a
 * real database.
 *
 * A block that begins with `// name.ts` is that file of its page, so that others can import it. Each page is written to a directory of
 * its own below `.leasehold`, from where packages are found as in a user's project. For the compiler `leasehold` is `src/index.ts`; what runs is a build of it.
 */
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import ts from 'typescript'
import { expect, onTestFinished, test } from 'vitest'
import { testDatabaseUrl } from '../support/database.ts'
import { builtProgram } from '../support/process.ts'
import { openDatabase } from '../../src/db/connect.ts'
import { allPages, type CodeBlock, codeBlocks, ROOT } from './documents.ts'

function temporaryDirectory(): string {
  const parent = path.join(ROOT, '.leasehold')
  mkdirSync(parent, { recursive: true })
  const directory = mkdtempSync(path.join(parent, 'docs-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

const isTypeScript = (block: CodeBlock): boolean => block.language === 'ts'

/** Its own name, or one made from its line. */
const fileName = (block: CodeBlock): string =>
  /^\/\/ ([\w-]+\.ts)$/m.exec(block.text.split('\n')[0] ?? '')?.[1] ?? `line-${block.line}.ts`

test('every block marked ts compiles', () => {
  const directory = temporaryDirectory()
  const places = new Map<string, string>()
  for (const page of allPages()) {
    for (const block of codeBlocks(page).filter(isTypeScript)) {
      const file = path.join(directory, page.replaceAll(/[/.]/g, '-'), fileName(block))
      expect(places.has(file), `${page} has two blocks named ${fileName(block)}`).toBe(false)
      mkdirSync(path.dirname(file), { recursive: true })
      // A module, whether it exports anything or not.
      writeFileSync(file, `${block.text}\nexport {}\n`)
      places.set(file, `${page}:${block.line}`)
    }
  }
  expect(places.size).toBeGreaterThan(0)
  const config = ts.readConfigFile(path.join(ROOT, 'tsconfig.json'), (file) =>
    ts.sys.readFile(file),
  )
  const { options } = ts.parseJsonConfigFileContent(config.config, ts.sys, ROOT)
  const compiled = ts.createProgram([...places.keys()], {
    ...options,
    noEmit: true,
    paths: {
      leasehold: [path.join(ROOT, 'src/index.ts')],
      'leasehold/embedded': [path.join(ROOT, 'src/db/embedded.ts')],
    },
  })
  const problems = ts.getPreEmitDiagnostics(compiled).flatMap((diagnostic) => {
    const place = places.get(path.normalize(diagnostic.file?.fileName ?? ''))
    const text = ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n')
    // What is wrong in src is the business of `npm run types`.
    if (diagnostic.file !== undefined && place === undefined) return []
    const line = diagnostic.file?.getLineAndCharacterOfPosition(diagnostic.start ?? 0).line ?? 0
    return [`${place ?? 'options'}, line ${line + 1} of the block: ${text}`]
  })
  expect(problems).toEqual([])
})

test.each(['README.md', 'docs/runs.md'])(
  'the example of %s runs and prints what it says',
  async (page) => {
    const directory = temporaryDirectory()
    const blocks = codeBlocks(page).filter(isTypeScript)
    const library = pathToFileURL(path.join(path.dirname(builtProgram()), '../index.js')).href
    for (const block of blocks)
      writeFileSync(
        path.join(directory, fileName(block)),
        block.text.replaceAll("from 'leasehold'", `from '${library}'`),
      )
    const main = blocks.find((block) => block.text.includes('createWorker'))
    if (main === undefined) throw new Error(`${page} shows no createWorker`)
    const says = /console\.log\(.*\/\/ (.*)$/m.exec(main.text)?.[1]
    expect(says, `${page} says what is printed`).toBeDefined()
    const databaseUrl = await emptyDatabase()
    const { code, output, errors } = await run(path.join(directory, fileName(main)), {
      ...process.env,
      DATABASE_URL: databaseUrl,
    })
    expect({ code, errors }).toEqual({ code: 0, errors: '' })
    expect(output.trim()).toBe(says)
  },
  60_000,
)

/** The example uses the schema `leasehold`, as users do; it must not meet another test there. */
async function emptyDatabase(): Promise<string> {
  const name = `docs_${process.pid}_${Date.now()}`
  const admin = openDatabase({ databaseUrl: testDatabaseUrl(), connectionsMax: 1 })
  await admin.query(`create database ${name}`, [])
  onTestFinished(async () => {
    await admin.query(`drop database if exists ${name} with (force)`, [])
    await admin.close()
  })
  const url = new URL(testDatabaseUrl())
  url.pathname = `/${name}`
  return url.href
}

function run(
  file: string,
  env: NodeJS.ProcessEnv,
): Promise<{ code: number | null; output: string; errors: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--import', 'tsx', file], { cwd: ROOT, env })
    let output = ''
    let errors = ''
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()))
    const limit = setTimeout(() => child.kill('SIGKILL'), 45_000)
    child.on('close', (code) => {
      clearTimeout(limit)
      resolve({ code, output, errors })
    })
  })
}
