// The benchmark command. It does all its set-up, in a fresh clone too, and needs nothing but Node and npm; one measure also wants
// Debian's pgbouncer, and says so when it is not there.
//
//   npm run bench                               what Leasehold promises, all of it: no peers, no chart
//   npm run bench -- --only kill --only drain   some of it
//   npm run bench -- --quick                    few repetitions of what is fast to measure
//   npm run bench -- compare                    Leasehold beside its peers, with a chart; --only, --peers, --reps, --quick
//   npm run bench -- [compare] --help           what there is to choose
//
// The comparison runs everything on one Node.js, which some peers want newer than Leasehold does, and has the peers installed from a
// lock file of its own at its first use. `compare --quick` without --peers is Leasehold alone and downloads nothing.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { dependenciesAreStale, INSTALL } from './setup.mjs'

/** pg-boss and graphile-worker want 22. */
const NODE_VERSION = '22.23.3'

process.chdir(fileURLToPath(new URL('..', import.meta.url)))

if (dependenciesAreStale()) npm(INSTALL)
run(process.execPath, ['scripts/build.mjs'])
const [first, ...rest] = process.argv.slice(2)
if (first !== 'compare') {
  run(process.execPath, ['--import', 'tsx', 'bench/main.ts', ...process.argv.slice(2)])
} else if (
  rest.includes('--help') ||
  (rest.includes('--quick') && !rest.some((arg) => arg.startsWith('--peers')))
) {
  run(process.execPath, ['--import', 'tsx', 'bench/compare/main.ts', ...rest])
} else {
  const node = nodeOfComparison()
  installPeers()
  run(node, ['--import', 'tsx', 'bench/compare/main.ts', ...rest])
}

/** The Node.js that every contestant runs on, as a package: installed once, under .leasehold. */
function nodeOfComparison() {
  if (process.version === `v${NODE_VERSION}`) return process.execPath
  const platform = process.platform === 'win32' ? 'win' : process.platform
  const home = `.leasehold/node-${NODE_VERSION}`
  const inside = process.platform === 'win32' ? 'bin/node.exe' : 'bin/node'
  const program = path.resolve(home, 'node_modules/node-of-comparison', inside)
  if (fs.existsSync(program)) return program
  fs.mkdirSync(home, { recursive: true })
  // So that npm looks no further up for a project.
  fs.writeFileSync(path.join(home, 'package.json'), '{ "private": true }\n')
  const name = `node-of-comparison@npm:node-${platform}-${process.arch}@${NODE_VERSION}`
  npm(['install', '--prefix', home, '--no-audit', '--no-fund', name])
  return program
}

function installPeers() {
  if (!dependenciesAreStale('bench/peers')) return
  npm([...INSTALL, '--prefix', 'bench/peers', '--loglevel', 'error'])
}

function npm(args) {
  run('npm', args, { shell: process.platform === 'win32' })
}

/** Runs a program in view and ends with its status if that is not 0. */
function run(program, args, options = {}) {
  const { status, error } = spawnSync(program, args, { stdio: 'inherit', ...options })
  if (error !== undefined) console.error(error.message)
  if (status !== 0) process.exit(status ?? 1)
}
