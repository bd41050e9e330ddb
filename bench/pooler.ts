/**
 * Debian's pgbouncer in transaction mode, on a free port, for as long as a measure needs it. It refuses to run as root, so there it
 * runs as `nobody`.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { sleep } from '../src/clock.ts'
import { parseDatabaseUrl } from '../src/db/connect.ts'

const START_TRIES = 100
const RETRY_MS = 50

export interface Pooler {
  /** Of the same database, through the pooler. */
  readonly url: string
  readonly version: string
  stop(): Promise<void>
}

/** Starts one, or resolves to null when pgbouncer is not installed. */
export async function startPooler(databaseUrl: string): Promise<Pooler | null> {
  const program = ['pgbouncer', '/usr/sbin/pgbouncer'].find(
    (name) => spawnSync(name, ['--version']).status === 0,
  )
  if (program === undefined) return null
  const version = spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout.split('\n')[0]
  const port = await freePort()
  const directory = mkdtempSync(path.join(tmpdir(), 'leasehold-bench-'))
  const file = path.join(directory, 'pgbouncer.ini')
  writeFileSync(file, configuration(databaseUrl, port), { mode: 0o644 })
  chmodSync(directory, 0o755)
  const asUser = process.getuid?.() === 0 ? ['--user', 'nobody'] : []
  const child = spawn(program, ['--quiet', ...asUser, file], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const exited = once(child, 'exit')
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await exited
    rmSync(directory, { recursive: true, force: true })
  }
  if (!(await answers(port, child))) {
    await stop()
    throw new Error(`pgbouncer does not start: ${said.trim()}`)
  }
  const { config } = parseDatabaseUrl(databaseUrl)
  const user = encodeURIComponent(config.user ?? 'postgres')
  const url = `postgres://${user}@127.0.0.1:${port}/${config.database ?? 'postgres'}`
  return { url, version: version ?? 'pgbouncer', stop }
}

function configuration(databaseUrl: string, port: number): string {
  const { hosts, config } = parseDatabaseUrl(databaseUrl)
  const [host] = hosts
  const password = String(config.password ?? '').replaceAll("'", "''")
  return [
    '[databases]',
    `${config.database} = host=${host?.host} port=${host?.port} user=${config.user} password='${password}'`,
    '[pgbouncer]',
    'listen_addr = 127.0.0.1',
    `listen_port = ${port}`,
    'unix_socket_dir =',
    'auth_type = any',
    'pool_mode = transaction',
    'default_pool_size = 20',
    'max_client_conn = 200',
    '',
  ].join('\n')
}

/** A port of this machine that nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const port = portOf(server)
  server.close()
  await once(server, 'close')
  return port
}

/** The port that a server listens on. */
export function portOf(server: Server): number {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('It listens on no port.')
  return address.port
}

async function answers(port: number, child: ChildProcess): Promise<boolean> {
  for (let tries = 0; tries < START_TRIES && child.exitCode === null; tries += 1) {
    const socket = connect(port, '127.0.0.1')
    const opened = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    })
    socket.destroy()
    if (opened) return true
    await sleep(RETRY_MS)
  }
  return false
}
