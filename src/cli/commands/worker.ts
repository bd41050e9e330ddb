import { constants } from 'node:os'
import type { Command } from 'commander'
import type { RunDocument } from '../../client/documents.ts'
import { resolveSettings, type WorkerSettings } from '../../config.ts'
import { RunTerminalError } from '../../errors.ts'
import { ownMachineId } from '../../worker/identity.ts'
import type { ChildMessage } from '../../worker/supervisor.ts'
import { duration, given, oneOf, wholeNumber } from '../arguments.ts'
import { documented } from '../help.ts'
import { loadHandlers } from '../load-handlers.ts'
import { createOutput, leave } from '../output.ts'
import { namedFailure, readyDatabase, type ReadyTarget } from '../ready-database.ts'
import {
  type CommonFlags,
  resolveLease,
  resolveLogLevel,
  resolveMachineId,
  resolveRunFilter,
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
  readonly run?: string
  readonly onRunEnd?: 'finish' | 'release'
  readonly target?: readonly string[]
}

/** `worker`: runs a worker in this process, or a supervisor of several. */
export function registerWorker(program: Command): void {
  documented(program.command('worker').argument('<FILE...>', 'handler modules, .ts or .js'), {
    says: 'Runs a worker for the job definitions that these modules export, or a supervisor of several.',
    examples: [
      'leasehold worker handlers.ts',
      'leasehold worker handlers.ts --processes 4 --concurrency 2',
      'leasehold worker handlers.ts --run nightly-eval --target gpu eu-west',
    ],
    exits:
      '0 stopped, or its run has ended · 1 failed · 2 wrong usage or handlers · 3 database unreachable · 4 no such run · 130 second interrupt',
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
    .option(
      '--run <RUN>',
      'take the jobs of this run alone, and stop when it has ended (RUN_FILTER_ID)',
    )
    .option(
      '--on-run-end <W>',
      'then finish or release the jobs that it runs (finish)',
      oneOf('--on-run-end', ['finish', 'release']),
    )
    .option('--target <LABEL...>', 'labels of this worker: it also takes jobs aimed at them')
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
  const target = await readyDatabase(resolveTarget(flags), (text) => output.note(text))
  const tell = (message: ChildMessage): void => {
    if (process.connected) process.send?.(message)
  }
  const named = flags.run ?? resolveRunFilter()
  const run = named === null ? null : await findRun(named, target)
  const leaveEnded = (why: string): void => {
    log.say('info', 'worker.run_ended', `${why} Nothing to do.`)
    if (process.connected)
      process.send?.({ type: 'run_ended' } satisfies ChildMessage, () => leave(0))
    else leave(0)
  }
  if (run !== null && run.status !== 'active') {
    leaveEnded(`run ${run.name} (${run.id}) ended as ${run.status}.`)
    return
  }
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
    ...given({
      queues: flags.queue,
      run: run?.id,
      onRunEnd: flags.onRunEnd,
      labels: flags.target,
    }),
    ...settings,
  })
  worker.onEvery((name, fields) => log.worker(name, fields))
  worker.on('worker.started', ({ workerId }) =>
    tell({ type: 'registered', incarnation: worker.incarnation ?? '', id: workerId }),
  )
  worker.on('run.ended', () => tell({ type: 'run_ended' }))
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
    // It ended between the look above and the registration.
    if (error instanceof RunTerminalError) leaveEnded(error.message)
    else throw await namedFailure(error, target)
  }
}

/** The run that a worker is to be aimed at. @throws {NotFoundError} */
async function findRun(named: string, target: ReadyTarget): Promise<RunDocument> {
  const { createClient } = await import('../../client/client.ts')
  const { databaseUrl, namespace, schema } = target
  const client = createClient({ databaseUrl, namespace, schema, connectionsMax: 1 })
  try {
    return await client.runs.get(named)
  } catch (error) {
    throw await namedFailure(error, target)
  } finally {
    await client.close()
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
  await supervisor.runEnded
  log.say('info', 'worker.run_ended', 'its run has ended, and so have its processes.')
  await supervisor.stop()
  leave(0)
}
