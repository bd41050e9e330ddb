// The benchmark command. It does all its set-up, in a fresh clone too, and needs nothing but Node and npm; one measure also wants
// Debian's pgbouncer, and says so when it is not there.
//
//   npm run bench                               everything
//   npm run bench -- --only kill --only drain   some of it
//   npm run bench -- --quick                    few repetitions of what is fast to measure
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { fileURLToPath } from 'node:url'

process.chdir(fileURLToPath(new URL('..', import.meta.url)))

if (!fs.existsSync('node_modules/.package-lock.json')) {
  const install = ['ci', '--no-audit', '--no-fund', '--include=dev', '--include=optional']
  run('npm', install, { shell: process.platform === 'win32' })
}
run(process.execPath, ['scripts/build.mjs'])
run(process.execPath, ['--import', 'tsx', 'bench/main.ts', ...process.argv.slice(2)])

/** Runs a program in view and ends with its status if that is not 0. */
function run(program, args, options = {}) {
  const { status, error } = spawnSync(program, args, { stdio: 'inherit', ...options })
  if (error !== undefined) console.error(error.message)
  if (status !== 0) process.exit(status ?? 1)
}
