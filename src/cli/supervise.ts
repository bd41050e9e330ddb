/** A supervisor in this process: its name, its signals, its exit code. */
import { createHash } from 'node:crypto'
import { constants } from 'node:os'
import path from 'node:path'
import type { WorkerSettings } from '../config.ts'
import type { ReadyTarget } from './ready-database.ts'
import { watchRunner } from './runner.ts'
import type { WorkerLog } from './worker-log.ts'

/** What another supervisor of the same name means. */
const OVERTAKEN_EXIT_CODE = 5

/**
 * The same command twice has the same name, whatever its numbers are; two commands that take other work have not: the first module's
 * name, and a digest of where all of them are, of the queues, the run and the labels.
 */
export function defaultName(
  files: readonly string[],
  queues: readonly string[] = [],
  run: string | null = null,
  labels: readonly string[] = [],
): string {
  const modules = files.map((file) => path.resolve(file)).toSorted()
  const takes = [modules, queues.toSorted(), run, labels.toSorted()]
  const digest = createHash('sha256').update(JSON.stringify(takes)).digest('hex').slice(0, 6)
  const word = path.parse(files[0] ?? '').name.replaceAll(/[^\w.-]/g, '-')
  return `${word.slice(0, 40)}-${digest}`
}

export async function supervise(options: {
  processes: { readonly min: number; readonly max: number }
  name: string
  run: string | null
  target: ReadyTarget
  settings: WorkerSettings
  machineId: string
  log: WorkerLog
}): Promise<void> {
  const { Supervisor } = await import('../worker/supervisor.ts')
  const { target, settings, machineId, log } = options
  const supervisor = new Supervisor({
    databaseUrl: target.databaseUrl,
    schema: target.schema,
    namespace: target.namespace,
    machineId,
    name: options.name,
    run: options.run,
    processes: options.processes,
    command: [process.execPath, ...process.execArgv, ...process.argv.slice(1)],
    env: {
      ...process.env,
      DATABASE_URL: target.databaseUrl,
      LEASEHOLD_SCHEMA: target.schema,
      LEASEHOLD_NAMESPACE: target.namespace,
      LEASEHOLD_MACHINE_ID: machineId,
    },
    hardExitMs: settings.hardExitMs,
    idleForMs: settings.idleBeatMs,
    onDone: () => {
      log.say('info', 'supervisor.done', 'its processes have left for good, and so does it.')
      end(0)
    },
    onEvent: (event) => {
      log.supervisor(event)
      if (event.kind === 'supervisor.overtaken') end(OVERTAKEN_EXIT_CODE)
    },
  })
  let ending = false
  const end = (exitCode: number): void => {
    if (ending) return
    ending = true
    process.exitCode ??= exitCode
    void supervisor.stop().then(() => process.exit())
  }
  let signals = 0
  const stop = (signal: NodeJS.Signals): void => {
    signals += 1
    log.worker('worker.signal', { signal, count: signals })
    if (signals === 1) {
      end(0)
    } else if (signals === 2) {
      process.exitCode = 128 + constants.signals[signal]
      supervisor.signal('SIGTERM')
    } else {
      supervisor.signal('SIGKILL')
      process.exit(process.exitCode)
    }
  }
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGHUP'] as const)
    process.on(signal, () => stop(signal))
  process.on('SIGUSR2', () => supervisor.roll())
  watchRunner((runner) => {
    log.say('warn', 'supervisor.runner_gone', `${runner}, which had started it, is gone: stopping`)
    end(0)
  })
  await supervisor.start()
}
