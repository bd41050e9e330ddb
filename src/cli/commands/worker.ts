import { constants } from 'node:os'
import type { Command } from 'commander'
import { isBounded, PORT_MAX, resolveSettings, type WorkerSettings } from '../../config.ts'
import { UsageError } from '../../errors.ts'
import { ownMachineId } from '../../worker/identity.ts'
import type { ChildMessage } from '../../worker/supervisor.ts'
import { duration, wholeNumber } from '../arguments.ts'
import { documented } from '../help.ts'
import { loadHandlers } from '../load-handlers.ts'
import { createOutput } from '../output.ts'
import { namedFailure, readyDatabase, type ReadyTarget } from '../ready-database.ts'
import {
  type CommonFlags,
  COUNT_RANGE,
  resolveLease,
  resolveLogLevel,
  resolveMachineId,
  resolveMaxLoops,
  resolveTarget,
} from '../resolve.ts'
import { flagsOf } from '../session.ts'
import { processFacts, unboundedWarning } from '../unbounded-warning.ts'
import { createWorkerLog, type WorkerLog } from '../worker-log.ts'

interface WorkerFlags extends CommonFlags {
  readonly queue?: readonly string[]
  readonly concurrency?: number
  readonly processes?: number
  readonly shutdownGrace?: number
  readonly listen: boolean
  readonly maxLoops?: number
  readonly maxJobs?: number
  readonly exitWhenIdle?: boolean
  readonly maxLifetime?: number
  readonly healthPort?: number
  readonly healthHost?: string
  readonly run?: string
}

/** `worker`: runs a worker in this process, or a supervisor of several. */
export function registerWorker(program: Command): void {
  documented(program.command('worker').argument('<FILE...>', 'handler modules, .ts or .js'), {
    says: 'Runs a worker for the job definitions that these modules export, or a supervisor of several.',
    examples: [
      'leasehold worker handlers.ts',
      'leasehold worker handlers.ts --processes 4 --concurrency 2',
      'leasehold worker handlers.ts --exit-when-idle --max-lifetime 1h --health-port 9090',
    ],
    exits:
      '0 stopped, or a bound was reached · 1 failed · 2 wrong usage or handlers · 3 database unreachable · 130 second interrupt',
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
    .option(
      '--max-loops <N>',
      'stop after so many claims, once their jobs are done (WORKER_MAX_LOOPS, or no bound)',
      wholeNumber('--max-loops', COUNT_RANGE),
    )
    .option(
      '--max-jobs <N>',
      'stop after so many jobs (no bound)',
      wholeNumber('--max-jobs', COUNT_RANGE),
    )
    .option('--exit-when-idle', 'stop when nothing is due, without waiting for scheduled jobs')
    .option(
      '--max-lifetime <D>',
      'stop after so long, as at a SIGTERM (no bound)',
      duration('--max-lifetime'),
    )
    .option(
      '--health-port <P>',
      'serve /livez, /readyz and /metrics there; 0 takes a free port (off)',
      wholeNumber('--health-port', { min: 0, max: PORT_MAX }),
    )
    .option('--health-host <H>', 'on this address; containers need 0.0.0.0 (127.0.0.1)')
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
    ...boundsOf(flags),
    ...healthOf(flags),
  })
  const log = createWorkerLog(process.stderr, process.env, resolveLogLevel())
  const machineId = resolveMachineId() ?? ownMachineId()
  const warning = unboundedWarning({
    ...processFacts(),
    aimedAt: flags.run ?? null,
    bounded: isBounded(settings),
  })
  if (warning !== null && process.env['LEASEHOLD_SUPERVISED'] !== '1')
    log.say('warn', 'worker.unbounded', warning)
  const jobs = await loadHandlers(files)
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
  let done = false
  worker.on('worker.bound_reached', () => (done = true))
  worker.on('worker.stopped', () => tell({ type: 'stopped', done }))
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
    // A signal came first, and the guard ends the process.
    if (worker.state === 'stopped') return
    guard.remove()
    throw await namedFailure(error, target)
  }
}

function boundsOf(flags: WorkerFlags): Partial<WorkerSettings> {
  return {
    maxLoops: flags.maxLoops ?? resolveMaxLoops(),
    maxJobs: flags.maxJobs ?? null,
    exitWhenIdle: flags.exitWhenIdle ?? false,
    maxLifetimeMs: flags.maxLifetime ?? null,
  }
}

/**
 * Processes under a supervisor take ports in a row, from the one that was named: each answers for itself, as a supervisor, which can't
 * see into them, would have to guess.
 */
function healthOf(flags: WorkerFlags): Partial<WorkerSettings> {
  const { healthPort, healthHost, processes = 1 } = flags
  if (healthPort === undefined) {
    if (healthHost === undefined) return {}
    throw new UsageError('--health-host says where, and there is no --health-port.')
  }
  if (healthPort + processes - 1 > PORT_MAX) {
    throw new UsageError(
      `${processes} processes take the ports ${healthPort} to ${healthPort + processes - 1}, and the last one there is is ${PORT_MAX}.`,
    )
  }
  const place = Number(process.env['LEASEHOLD_SLOT'] ?? 1) - 1
  return {
    healthPort: healthPort === 0 ? 0 : healthPort + place,
    ...(healthHost === undefined ? {} : { healthHost }),
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
    onDone: () => void supervisor.stop().then(() => process.exit()),
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
