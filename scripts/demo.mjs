// `npm run demo`: sets up what is missing (dependencies, the build), then runs the example.
import { spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import path from 'node:path'

process.chdir(path.resolve(import.meta.dirname, '..'))

function run(what, command, args) {
  const startedMs = performance.now()
  const { status } = spawnSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  if (status !== 0) {
    process.stderr.write(`error: ${what} failed (${command} ${args.join(' ')}, status ${status})\n`)
    process.exit(1)
  }
  process.stdout.write(
    `${what} ready after ${((performance.now() - startedMs) / 1000).toFixed(1)} s\n`,
  )
}

const installed = 'node_modules/.package-lock.json'
if (!existsSync(installed) || statSync(installed).mtimeMs < statSync('package-lock.json').mtimeMs) {
  process.stdout.write('installing the dependencies …\n')
  run('dependencies', 'npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'])
}
run('build', process.execPath, ['scripts/build.mjs'])
const { status } = spawnSync(
  process.execPath,
  ['--import', 'tsx', 'examples/digest/demo.ts', ...process.argv.slice(2)],
  {
    stdio: 'inherit',
  },
)
process.exit(status ?? 1)
