/** A PostgreSQL of the test's own, which it may stop, and start again at the same address. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { TestContext } from 'vitest'
import { type EmbeddedServer, startEmbedded } from '../../src/db/embedded.ts'
import { testBinaries } from './global-setup.ts'

export interface OwnServer {
  readonly url: string
  readonly stop: () => Promise<void>
  readonly start: () => Promise<void>
}

export async function ownServer(context: TestContext): Promise<OwnServer> {
  const directory = mkdtempSync(path.join(tmpdir(), 'leasehold-restart-'))
  const binaries = testBinaries()
  const start = (): Promise<EmbeddedServer> =>
    startEmbedded({
      dataDir: path.join(directory, 'pg'),
      durable: false,
      onParentExit: 'stop',
      ...(binaries === undefined ? {} : { binaries }),
    })
  let server = await start()
  context.onTestFinished(async () => {
    await server.stop()
    rmSync(directory, { recursive: true, force: true })
  })
  return {
    url: server.url,
    stop: () => server.stop(),
    start: async () => {
      server = await start()
    },
  }
}
