/**
 * The Redis of the contestants that want one: Debian's `redis-server` on a free port of loopback, appending to a file that is synced
 * every second, as its documents recommend: it may lose the last second, PostgreSQL may lose nothing.
 *
 * A shell stands between: it ends Redis when its standard input ends, so that none survives a benchmark that was killed.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { freePort } from '../pooler.ts'

const DATA_DIR = path.resolve(import.meta.dirname, '..', '..', '.leasehold', 'bench-redis')
const GUARD = 'redis-server "$@" & pid=$!; read -r _; kill "$pid"; wait "$pid"'
const READY_MS_MAX = 10_000

export interface Redis {
  readonly url: string
  readonly version: string
  readonly settings: string
  empty(): Promise<void>
  stop(): Promise<void>
}

/** Starts it, or says why it can't: root gets the package when it is missing. */
export async function startRedis(say: (text: string) => void): Promise<Redis | string> {
  if (!isInstalled()) {
    if (process.getuid?.() !== 0) return 'redis-server is not installed (Debian: redis-server)'
    say('Installing Debian’s redis-server …')
    spawnSync('apt-get', ['update'], { stdio: 'ignore' })
    spawnSync('apt-get', ['install', '-y', '--no-install-recommends', 'redis-server'], {
      stdio: 'ignore',
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    })
    if (!isInstalled()) return 'redis-server could not be installed with apt-get'
  }
  rmSync(DATA_DIR, { recursive: true, force: true })
  mkdirSync(DATA_DIR, { recursive: true })
  const port = await freePort()
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--dir', DATA_DIR, '--save', '']
  const durable = ['--appendonly', 'yes', '--appendfsync', 'everysec']
  const guard = spawn('sh', ['-c', GUARD, 'sh', ...args, ...durable], {
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  const exited = once(guard, 'exit')
  const ready = new Promise<boolean>((resolve) => {
    const timer = setTimeout(() => resolve(false), READY_MS_MAX)
    createInterface({ input: guard.stdout }).on('line', (line) => {
      if (!line.includes('Ready to accept connections')) return
      clearTimeout(timer)
      resolve(true)
    })
    guard.once('exit', () => resolve(false))
  })
  const stop = async (): Promise<void> => {
    guard.stdin.end()
    await exited
    rmSync(DATA_DIR, { recursive: true, force: true })
  }
  if (!(await ready)) {
    await stop()
    return 'redis-server did not start'
  }
  return {
    url: `redis://127.0.0.1:${port}`,
    version: versionText(),
    settings: durable.join(' ').replaceAll('--', ''),
    empty: () => command(port, 'FLUSHALL'),
    stop,
  }
}

function isInstalled(): boolean {
  return versionText() !== ''
}

function versionText(): string {
  const { stdout } = spawnSync('redis-server', ['--version'], { encoding: 'utf8' })
  return /v=(\S+)/.exec(stdout ?? '')?.[1] ?? ''
}

async function command(port: number, text: string): Promise<void> {
  const socket = connect(port, '127.0.0.1')
  socket.write(`${text}\r\n`)
  const [answer] = (await once(socket, 'data')) as [Buffer]
  socket.destroy()
  if (!answer.toString().startsWith('+OK')) throw new Error(`Redis: ${answer.toString()}`)
}
