/**
 * A primary and a streaming standby, both real, made without pg_basebackup (the embedded package has none): an online copy of the
 * data directory between the start and the stop of a backup, as the server's own documentation describes it.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, cp, mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createServer } from 'node:net'
import pg from 'pg'
import { onTestFinished } from 'vitest'
import { type EmbeddedServer, startEmbedded } from '../../src/db/embedded.ts'
import { findBinaries } from '../../src/db/embedded-binaries.ts'
import { testBinaries } from './global-setup.ts'
import { until } from './until.ts'

export interface Pair {
  readonly primary: EmbeddedServer
  readonly standbyUrl: string
  /** Resolves once the standby has replayed everything that the primary has written until now. */
  caughtUp(): Promise<void>
  /** Ends replication: what the primary commits from now on never reaches the standby. */
  cut(): Promise<void>
  /** Kills the primary and makes the standby a primary. */
  failOver(): Promise<void>
}

export async function startPair(): Promise<Pair> {
  const home = await mkdtemp(path.join(tmpdir(), 'leasehold-pair-'))
  const chosen = testBinaries()
  const binaries = chosen === undefined ? {} : { binaries: chosen }
  const primary = await startEmbedded({
    dataDir: path.join(home, 'primary'),
    durable: false,
    onParentExit: 'stop',
    ...binaries,
    settings: { max_wal_senders: '4', wal_level: 'replica', shared_buffers: '32MB' },
  })
  const port = await freePort()
  const standbyDir = path.join(home, 'standby')
  await copyOnline(primary, standbyDir)
  const password = new URL(primary.url).password
  const found = findBinaries({ dataDir: standbyDir, ...binaries })
  const [command, args] = found.wrap(found.postgres, [
    '-D',
    standbyDir,
    '-p',
    String(port),
    '-c',
    'hot_standby=on',
    '-c',
    'listen_addresses=127.0.0.1',
    '-c',
    'unix_socket_directories=',
    '-c',
    'fsync=off',
    '-c',
    'shared_buffers=32MB',
    '-c',
    'max_connections=200',
  ])
  // In a file of settings, not on the command line, so that the cut can change it.
  await writeFile(
    path.join(standbyDir, 'postgresql.auto.conf'),
    `primary_conninfo = 'host=127.0.0.1 port=${primary.port} user=postgres password=${password}'\n`,
  )
  const log = await open(path.join(home, 'standby.log'), 'a')
  await chmod(standbyDir, 0o700)
  const standby = spawn(command, args, {
    env: found.env,
    cwd: '/',
    stdio: ['ignore', 'ignore', log.fd],
    ...found.ids,
  })
  onTestFinished(async () => {
    if (standby.exitCode === null && standby.signalCode === null) {
      standby.kill('SIGINT')
      await once(standby, 'exit')
    }
    await log.close()
    await primary.stop()
    await rm(home, { recursive: true, force: true })
  })
  const standbyUrl = primary.url.replace(`:${primary.port}/`, `:${port}/`)
  await until(
    `the standby answers (${home}/standby.log)`,
    async () => (await said(standbyUrl, 'select pg_is_in_recovery() as yes'))?.['yes'] === true,
  )

  return {
    primary,
    standbyUrl,
    async caughtUp() {
      const { lsn } = await ask(primary.url, 'select pg_current_wal_lsn()::text as lsn')
      await until('the standby has replayed it', async () => {
        const row = await said(
          standbyUrl,
          `select pg_last_wal_replay_lsn() >= '${String(lsn)}'::pg_lsn as yes`,
        )
        return row?.['yes'] === true
      })
    },
    async cut() {
      await ask(standbyUrl, `alter system set primary_conninfo = ''`)
      await ask(standbyUrl, 'select pg_reload_conf()')
      await until('replication has ended', async () => {
        const row = await said(
          standbyUrl,
          'select count(*)::integer as receivers from pg_stat_wal_receiver',
        )
        return row?.['receivers'] === 0
      })
    },
    async failOver() {
      process.kill(primary.pid, 'SIGQUIT')
      await ask(standbyUrl, 'select pg_promote(true)')
      await until(
        'the standby takes writes',
        async () =>
          (await said(standbyUrl, 'select pg_is_in_recovery() as yes'))?.['yes'] === false,
      )
    },
  }
}

async function copyOnline(primary: EmbeddedServer, target: string): Promise<void> {
  const client = new pg.Client({ connectionString: primary.url })
  await client.connect()
  try {
    const old = primary.major < 15
    await client.query(
      old ? `select pg_start_backup('copy', true, false)` : `select pg_backup_start('copy', true)`,
    )
    await cp(primary.dataDir, target, {
      recursive: true,
      // Files may vanish while they are copied; the log makes up for it. Those of a running server must not come along.
      filter: (source) =>
        !/(postmaster\.(pid|opts)|pg_wal\/[0-9A-F]{24}|pgsql_tmp.*|leasehold\.json)$/.test(source),
    })
    const { rows } = await client.query<{ labelfile: string }>(
      old
        ? 'select labelfile from pg_stop_backup(false, false)'
        : 'select labelfile from pg_backup_stop(false)',
    )
    await writeFile(path.join(target, 'backup_label'), rows[0]?.labelfile ?? '')
    await writeFile(path.join(target, 'standby.signal'), '')
  } finally {
    await client.end()
  }
}

async function ask(url: string, text: string): Promise<Record<string, unknown>> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 })
  client.on('error', () => undefined)
  await client.connect()
  try {
    const { rows } = await client.query<Record<string, unknown>>(text)
    return rows[0] ?? {}
  } finally {
    await client.end()
  }
}

/** The same, or null while the server does not answer. */
async function said(url: string, text: string): Promise<Record<string, unknown> | null> {
  try {
    return await ask(url, text)
  } catch {
    return null // It starts, or is between two roles.
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}
