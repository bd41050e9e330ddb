/**
 * The embedded database with real servers, processes and signals, each in a directory of its own.
 *
 * What has to survive a process is started by a process (support/embedded-child.ts), which is then
 * killed. Waits are for events, or for a named condition with a bound.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import pg from 'pg'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { findBinaries } from '../src/db/embedded-binaries.ts'
import {
  findEmbedded,
  startEmbedded,
  stopEmbedded,
  type EmbeddedOptions,
  type EmbeddedServer,
} from '../src/db/embedded.ts'
import { testBinaries } from './support/global-setup.ts'
import { until } from './support/until.ts'

const CHILD = path.join(import.meta.dirname, 'support', 'embedded-child.ts')
const isRoot = process.getuid?.() === 0
const onLinux = process.platform === 'linux'

let root: string
let dataDir: string
const children: ChildProcess[] = []

beforeEach(() => {
  root = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), 'leasehold-embedded-'))
  // An account that we change to must be able to reach its data directory.
  fs.chmodSync(root, 0o755)
  dataDir = path.join(root, 'pg')
})

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  for (const name of fs.readdirSync(root)) {
    const dir = path.join(root, name)
    if (fs.existsSync(path.join(dir, 'PG_VERSION'))) await stopEmbedded(dir)
  }
  fs.rmSync(root, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
})

function options(more: Partial<EmbeddedOptions> = {}): EmbeddedOptions {
  const binaries = testBinaries()
  return { dataDir, durable: false, ...(binaries === undefined ? {} : { binaries }), ...more }
}

interface Starter {
  child: ChildProcess
  server: EmbeddedServer
}

async function startInProcess(
  more: Partial<EmbeddedOptions> = {},
  env: NodeJS.ProcessEnv = {},
): Promise<Starter> {
  const child = spawn(process.execPath, ['--import', 'tsx', CHILD, JSON.stringify(options(more))], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  })
  children.push(child)
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (said += chunk))
  const first = once(createInterface(child.stdout), 'line')
  const ended = once(child, 'close').then(([code]) => {
    throw new Error(`The starter ended with ${code} before its server was ready: ${said}`)
  })
  const [line] = await Promise.race([first, ended])
  ended.catch(() => {})
  return { child, server: JSON.parse(String(line)) }
}

async function query(url: string, text: string): Promise<unknown[][]> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query({ text, rowMode: 'array' })).rows
  } finally {
    await client.end()
  }
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return !onLinux || !/\) Z/.test(fs.readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

async function listenOn(port: number): Promise<net.Server> {
  const server = net.createServer()
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  return server
}

async function freePort(): Promise<number> {
  const server = await listenOn(0)
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address ? address.port : 0
}

test('four processes that start on an empty directory share one server', async () => {
  const starters = await Promise.all(Array.from({ length: 4 }, () => startInProcess()))
  expect(starters.filter(({ server }) => !server.attached)).toHaveLength(1)
  expect(new Set(starters.map(({ server }) => `${server.pid} ${server.url}`)).size).toBe(1)
  expect(await query(starters[0]!.server.url, 'select 1')).toEqual([[1]])
  expect(fs.readdirSync(root).toSorted()).toEqual(['pg', 'pg.log'])
})

test('a kept server outlives the kill -9 of its starter and is found again', async () => {
  const { child, server } = await startInProcess({ onParentExit: 'keep' })
  child.kill('SIGKILL')
  await once(child, 'exit')
  expect((await findEmbedded(dataDir))?.pid).toBe(server.pid)
  const again = await startEmbedded(options())
  expect(again).toMatchObject({ attached: true, pid: server.pid, url: server.url })
  expect(await query(again.url, 'select 1')).toEqual([[1]])
})

test('a server that is to stop with its starter ends after the kill -9 of its starter', async () => {
  const { child, server } = await startInProcess({ onParentExit: 'stop' })
  expect(await query(server.url, 'select 1')).toEqual([[1]])
  child.kill('SIGKILL')
  await until('the server ended', () => !exists(server.pid))
  // In order, that is: it has removed its lock file.
  expect(fs.existsSync(path.join(dataDir, 'postmaster.pid'))).toBe(false)
})

test('the address is the same after stop and start, and the data is there', async () => {
  const first = await startEmbedded(options())
  await query(first.url, 'create table kept as select 42 as answer')
  await first.stop()
  expect(await findEmbedded(dataDir)).toBeNull()
  const second = await startEmbedded(options())
  expect(second).toMatchObject({ attached: false, url: first.url, port: first.port })
  expect(await query(second.url, 'select answer from kept')).toEqual([[42]])
})

test('an attached handle does not stop the server, stopEmbedded does, once', async () => {
  const owner = await startEmbedded(options())
  const attached = await startEmbedded(options())
  await attached.stop()
  expect((await findEmbedded(dataDir))?.pid).toBe(owner.pid)
  expect(await stopEmbedded(dataDir)).toBe(true)
  expect(await stopEmbedded(dataDir)).toBe(false)
  await owner.stop()
})

test.runIf(onLinux)(
  'a backend that outlives its killed server does not delay the next start',
  async () => {
    const first = await startEmbedded(options())
    await query(first.url, 'create table kept as select 42 as answer')
    const busy = new pg.Client({ connectionString: first.url })
    busy.on('error', () => {})
    await busy.connect()
    const backend = Number((await busy.query('select pg_backend_pid() as pid')).rows[0].pid)
    // Busy on the processor: it does not notice that its postmaster is gone.
    const endless = busy.query('select count(*) from generate_series(1, 1e12::bigint)')
    const broken = endless.then(
      () => 'done',
      () => 'broken',
    )
    await until('the query runs', async () => {
      const [row] = await query(
        first.url,
        `select state from pg_stat_activity where pid = ${backend} and query like '%generate_series%'`,
      )
      return row?.[0] === 'active'
    })
    process.kill(first.pid, 'SIGKILL')
    await until('the server ended', () => !exists(first.pid))
    expect(exists(backend)).toBe(true)
    const second = await startEmbedded(options())
    expect(exists(backend)).toBe(false)
    expect(await broken).toBe('broken')
    expect(second).toMatchObject({ attached: false, url: first.url })
    expect(await query(second.url, 'select answer from kept')).toEqual([[42]])
  },
)

test('four processes that start after the server was killed share one server', async () => {
  const first = await startEmbedded(options())
  process.kill(first.pid, 'SIGKILL')
  await until('the server ended', () => !exists(first.pid))
  const starters = await Promise.all(Array.from({ length: 4 }, () => startInProcess()))
  expect(starters.filter(({ server }) => !server.attached)).toHaveLength(1)
  expect(new Set(starters.map(({ server }) => server.pid)).size).toBe(1)
  expect(starters[0]!.server.url).toBe(first.url)
})

test.runIf(onLinux)(
  'a pid in a stale lock file that another process has got is left alone',
  async () => {
    const first = await startEmbedded(options())
    const lockFile = path.join(dataDir, 'postmaster.pid')
    const text = fs.readFileSync(lockFile, 'utf8')
    await first.stop()
    const stranger = spawn('sleep', ['60'])
    children.push(stranger)
    fs.writeFileSync(lockFile, text.replace(/^\d+/, String(stranger.pid)), { mode: 0o600 })
    expect(await findEmbedded(dataDir)).toBeNull()
    expect(await stopEmbedded(dataDir)).toBe(false)
    const second = await startEmbedded(options())
    expect(second.attached).toBe(false)
    expect(exists(stranger.pid!)).toBe(true)
  },
)

test('a data directory of another major version is refused with both versions', async () => {
  fs.mkdirSync(dataDir, { mode: 0o700 })
  fs.writeFileSync(path.join(dataDir, 'PG_VERSION'), '9\n')
  const { major } = findBinaries(options())
  await expect(startEmbedded(options())).rejects.toMatchObject({
    code: 'ERR_EMBEDDED_DATABASE',
    message: expect.stringMatching(
      new RegExp(`is of PostgreSQL 9, the programs are of PostgreSQL ${major}`),
    ),
  })
})

test('a directory with other files in it is refused and left as it is', async () => {
  fs.mkdirSync(dataDir)
  fs.writeFileSync(path.join(dataDir, 'thesis.txt'), 'mine')
  await expect(startEmbedded(options())).rejects.toThrow('is no PostgreSQL data directory')
  expect(fs.readdirSync(dataDir)).toEqual(['thesis.txt'])
})

test('a taken port is named with the remedy, and another port is kept from then on', async () => {
  const first = await startEmbedded(options())
  await first.stop()
  const intruder = await listenOn(first.port)
  try {
    await expect(startEmbedded(options())).rejects.toMatchObject({
      message: expect.stringContaining(`port ${first.port}`),
      hint: expect.stringContaining('leasehold.json'),
    })
    const port = await freePort()
    const moved = await startEmbedded(options({ port }))
    expect(moved.port).toBe(port)
    await moved.stop()
    expect((await startEmbedded(options())).port).toBe(port)
  } finally {
    intruder.close()
  }
})

test('two directories have servers side by side, with no socket file', async () => {
  const one = await startEmbedded(options())
  const two = await startEmbedded(options({ dataDir: path.join(root, 'other') }))
  expect(two.port).not.toBe(one.port)
  expect(two.pid).not.toBe(one.pid)
  expect(await query(two.url, 'show unix_socket_directories')).toEqual([['']])
  expect(await query(two.url, 'show listen_addresses')).toEqual([['127.0.0.1']])
})

test('the leftovers of a killed initdb are swept', async () => {
  const dead = spawnSync(process.execPath, ['--version']).pid
  const leftover = `${dataDir}.init-${dead}-abcdef`
  fs.mkdirSync(path.join(leftover, 'base'), { recursive: true })
  fs.writeFileSync(`${leftover}.pw`, 'secret')
  await startEmbedded(options())
  expect(fs.readdirSync(root).toSorted()).toEqual(['pg', 'pg.log'])
})

test('the password is needed, and only the owner can read it', async () => {
  const server = await startEmbedded(options())
  const wrong = server.url.replace(/:[^:@]+@/, ':wrong@')
  await expect(query(wrong, 'select 1')).rejects.toMatchObject({ code: '28P01' })
  expect(fs.statSync(path.join(dataDir, 'leasehold.json')).mode & 0o777).toBe(0o600)
  expect(fs.statSync(dataDir).mode & 0o777).toBe(0o700)
})

test('looking for a server in a directory that does not exist makes nothing', async () => {
  expect(await findEmbedded(path.join(root, 'none', 'pg'))).toBeNull()
  expect(await stopEmbedded(path.join(root, 'none', 'pg'))).toBe(false)
  expect(fs.readdirSync(root)).toEqual([])
})

test.runIf(onLinux)('the server is in a session that no terminal signals', async () => {
  for (const onParentExit of ['keep', 'stop'] as const) {
    const server = await startEmbedded(options({ onParentExit }))
    const stat = fs.readFileSync(`/proc/${server.pid}/stat`, 'utf8')
    const [, , , session, terminal] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const own = fs.readFileSync('/proc/self/stat', 'utf8')
    expect(session).not.toBe(own.slice(own.lastIndexOf(')') + 2).split(' ')[3])
    expect(terminal).toBe('0')
    await server.stop()
  }
})

test('links that a skipped postinstall left out are restored', async () => {
  const native = path.dirname(path.dirname(findBinaries(options()).postgres))
  const copy = path.join(root, 'package', 'native')
  fs.cpSync(native, copy, { recursive: true, verbatimSymlinks: true })
  const links = withoutLinks(copy)
  expect(links.length).toBeGreaterThan(0)
  const server = await startEmbedded(options({ binaries: path.join(copy, 'bin') }))
  expect(await query(server.url, 'select 1')).toEqual([[1]])
  for (const link of links) expect(fs.existsSync(link), link).toBe(true)
})

test.runIf(!isRoot)('a read-only package without its links is made to run', async () => {
  const native = path.dirname(path.dirname(findBinaries(options()).postgres))
  const copy = path.join(root, 'package', 'native')
  fs.cpSync(native, copy, { recursive: true, verbatimSymlinks: true })
  const links = withoutLinks(copy)
  spawnSync('chmod', ['-R', 'a-w', path.dirname(copy)])
  try {
    const server = await startEmbedded(options({ binaries: path.join(copy, 'bin') }))
    expect(await query(server.url, 'select 1')).toEqual([[1]])
    for (const link of links) expect(fs.existsSync(link), link).toBe(false)
  } finally {
    spawnSync('chmod', ['-R', 'u+w', path.dirname(copy)])
  }
})

test('an ordinary user runs the server as itself, root under another account', () => {
  const { runAs } = findBinaries(options())
  if (isRoot) expect(['namespace', 'account']).toContain(runAs)
  else expect(runAs).toBe('same')
})

test.runIf(isRoot && nobodyCanRun())(
  'root without user namespaces changes to an account',
  async () => {
    // Without a PATH there is no unshare.
    const { server } = await startInProcess({}, { PATH: '/nonexistent' })
    expect(fs.statSync(dataDir).uid).not.toBe(0)
    expect(fs.statSync(`/proc/${server.pid}`).uid).toBe(fs.statSync(dataDir).uid)
    expect(await query(server.url, 'select 1')).toEqual([[1]])
    expect(await stopEmbedded(dataDir)).toBe(true)
    // Later with namespaces too: the directory goes on under the account that owns it.
    const again = await startEmbedded(options())
    expect(again).toMatchObject({ attached: false, url: server.url })
  },
)

function withoutLinks(native: string): string[] {
  const manifest: { target: string }[] = JSON.parse(
    fs.readFileSync(path.join(native, 'pg-symlinks.json'), 'utf8'),
  )
  const links = manifest.map(({ target }) => path.join(path.dirname(native), target))
  for (const link of links) fs.rmSync(link, { force: true })
  return links
}

/** Not in a checkout under the home of root, say. */
function nobodyCanRun(): boolean {
  if (!isRoot || !onLinux) return false
  const binaries = testBinaries()
  const { postgres } = findBinaries({
    dataDir: path.join(os.tmpdir(), 'none'),
    ...(binaries === undefined ? {} : { binaries }),
  })
  return spawnSync(postgres, ['--version'], { uid: 65534, gid: 65534, cwd: '/' }).status === 0
}
