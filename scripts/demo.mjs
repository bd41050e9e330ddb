// `npm run demo`: sets up what is missing (dependencies, the build), then shows the example in examples/digest.
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { dependenciesAreStale, INSTALL } from './setup.mjs'

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

if (dependenciesAreStale()) {
  process.stdout.write('installing the dependencies …\n')
  run('dependencies', 'npm', [...INSTALL, '--loglevel=error'])
}
run('build', process.execPath, ['scripts/build.mjs'])
const { status } = spawnSync(
  process.execPath,
  ['--import', 'tsx', 'scripts/demo-show.ts', ...process.argv.slice(2)],
  {
    stdio: 'inherit',
  },
)
process.exit(status ?? 1)
