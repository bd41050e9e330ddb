// `npm run demo`: sets up what is missing (dependencies, the build), then shows the example in examples/digest.
import { spawn, spawnSync } from 'node:child_process'
import { constants } from 'node:os'
import path from 'node:path'
import { dependenciesAreStale, INSTALL } from './setup.mjs'

process.chdir(path.resolve(import.meta.dirname, '..'))

if (process.argv.length > 2) {
  process.stderr.write(
    `error: the demo takes no arguments, got ${process.argv.slice(2).join(' ')}\n`,
  )
  process.exit(2)
}

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
const show = spawn(process.execPath, ['--import', 'tsx', 'scripts/demo-show.ts'], {
  stdio: 'inherit',
})
// The show takes down what it has started. At a terminal Ctrl-C has reached it, too, and once is enough.
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => show.kill(signal))
process.on('SIGINT', () => undefined)
show.once('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]))
