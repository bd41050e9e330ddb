import { constants } from 'node:os'
import type { Command } from 'commander'
import { resolveSettings, type WorkerSettings } from '../../config.ts'
import { ownMachineId } from '../../worker/identity.ts'
import type { ChildMessage } from '../../worker/supervisor.ts'
import { duration, wholeNumber } from '../arguments.ts'
import { documented } from '../help.ts'
import { loadArchive, loadHandlers } from '../load-handlers.ts'
import { createOutput } from '../output.ts'
import { namedFailure, readyDatabase, type ReadyTarget } from '../ready-database.ts'
import {
  type CommonFlags,
  resolveLease,
  resolveLogLevel,
  resolveMachineId,
  resolveTarget,
} from '../resolve.ts'
import { flagsOf } from '../session.ts'
import { createWorkerLog, type WorkerLog } from '../worker-log.ts'

interface WorkerFlags extends CommonFlags {
  readonly queue?: readonly string[]
  readonly concurrency?: number
  readonly processes?: number
  readonly shutdownGrace?: number
  readonly listen: boolean
}

/** `worker`: runs a worker in this process, or a supervisor of several. */
export function registerWorker(program: Command): void {
  documented(program.command('worker').argument('<FILE...>', 'handler modules, .ts or .js'), {
    says: 'Runs a worker for the job definitions that these modules export, or a supervisor of several.',
    examples: [
      'leasehold worker handlers.ts',
      'leasehold worker handlers.ts --processes 4 --concurrency 2',
      'LEASE_DURATION=60 leasehold worker handlers.ts --queue video,audio',
    ],
    exits:
      '0 stopped · 1 failed · 2 wrong usage or handlers · 3 database unreachable · 130 second interrupt',
  })
    .helpGroup('Run')
    .option('--queue <A,B>', 'queues to take from (those of the definitions)', (text: string) =>
      text.split(',').filter((name) => name !== ''),
    )
    .option(
      '--concurrency <N>',
      'jobs at once in each process (10)',
      wholeNumber('--concurrency', { min: 1, max: 1_000 }),
    )
    .option(
      '--processes <N>',
      'worker processes under a supervisor (this one alone)',
      wholeNumber('--processes', { min: 1, max: 256 }),
    )
    .option(
      '--shutdown-grace <D>',
      'how long a stop waits for handlers (25s)',
      duration('--shutdown-grace'),
    )
    .option('--no-listen', 'look for work by polling alone')
    .action((files: string[], _flags, command: Command) => runWorkers(files, command))
}

async function runWorkers(files: string[], command: Command): Promise<void> {
  const flags = flagsOf<WorkerFlags>(command)
  const output = createOutput(flags)
  const settings = resolveSettings({
    ...resolveLease(),
    ...(flags.concurrency === undefined ? {} : { concurrency: flags.concurrency }),
    ...(flags.shutdownGrace === undefined ? {} : { shutdownGraceMs: flags.shutdownGrace }),
    listen: flags.listen,
  })
  const log = createWorkerLog(process.stderr, process.env, resolveLogLevel())
  const machineId = resolveMachineId() ?? ownMachineId()
  const jobs = await loadHandlers(files)
  const archive = await loadArchive(files)
  const target = await readyDatabase(resolveTarget(flags), (text) => output.note(text))
  if (flags.processes !== undefined && process.env['LEASEHOLD_SUPERVISED'] !== '1') {
    await supervise({ processes: flags.processes, target, settings, machineId, log })
    return
  }
  const { createWorker } = await import('../../worker/worker.ts')
  const { guardProcess } = await import('../../worker/process-guard.ts')
  const worker = createWorker({
    databaseUrl: target.databaseUrl,
    schema: target.schema,
    namespace: target.namespace,
    jobs,
    machineId,
    ...(archive === null ? {} : { archive }),
    ...(flags.queue === undefined ? {} : { queues: flags.queue }),
    ...settings,
  })
  worker.onEvery((name, fields) => log.worker(name, fields))
  const tell = (message: ChildMessage): void => {
    if (process.connected) process.send?.(message)
  }
  worker.on('worker.started', ({ workerId }) =>
    tell({ type: 'registered', incarnation: worker.incarnation ?? '', id: workerId }),
  )
  worker.on('worker.stopped', () => tell({ type: 'stopped' }))
  const guard = guardProcess(worker, {
    onSignal: (signal, count) => log.worker('worker.signal', { signal, count }),
    onUncaught: (error) =>
      log.say('error', 'worker.uncaught', `uncaught error: ${error.stack ?? error.message}`),
  })
  if (process.env['LEASEHOLD_SUPERVISED'] === '1') {
    process.once('disconnect', () => void guard.shutDown('its supervisor is gone'))
  }
  try {
    await worker.start()
  } catch (error) {
    guard.remove()
    throw await namedFailure(error, target)
  }
}

async function supervise(options: {
  processes: number
  target: ReadyTarget
  settings: WorkerSettings
  machineId: string
  log: WorkerLog
}): Promise<void> {
  const { Supervisor } = await import('../../worker/supervisor.ts')
  const { target, settings, machineId, log } = options
  const supervisor = new Supervisor({
    databaseUrl: target.databaseUrl,
    schema: target.schema,
    namespace: target.namespace,
    machineId,
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
    onEvent: (event) => log.supervisor(event),
  })
  let signals = 0
  const stop = (signal: NodeJS.Signals): void => {
    signals += 1
    log.worker('worker.signal', { signal, count: signals })
    if (signals === 1) {
      void supervisor.stop().then(() => process.exit())
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
  supervisor.start()
}
