import type { Command } from 'commander'
import type { RunDocument } from '../../client/documents.ts'
import { isBounded, PORT_MAX, resolveSettings, type WorkerSettings } from '../../config.ts'
import { RunTerminalError, UsageError } from '../../errors.ts'
import { ownMachineId } from '../../worker/identity.ts'
import {
  duration,
  given,
  numberRange,
  oneOf,
  someText,
  someTexts,
  wholeNumber,
} from '../arguments.ts'
import { documented } from '../help.ts'
import { loadArchive, loadHandlers } from '../load-handlers.ts'
import { createOutput, leave } from '../output.ts'
import { namedFailure, readyDatabase, type ReadyTarget } from '../ready-database.ts'
import {
  type CommonFlags,
  COUNT_RANGE,
  PROGRAM_WORDS,
  resolveLease,
  resolveLogLevel,
  resolveMachineId,
  resolveMaxLoops,
  resolveRunFilter,
  resolveTarget,
} from '../resolve.ts'
import { watchRunner } from '../runner.ts'
import { flagsOf } from '../session.ts'
import { defaultName, supervise } from '../supervise.ts'
import { answerSupervisor, isSupervised, leaveForGood } from '../supervised.ts'
import { processFacts, unboundedWarning } from '../unbounded-warning.ts'
import { createWorkerLog, type WorkerLog } from '../worker-log.ts'

interface WorkerFlags extends CommonFlags {
  readonly queue?: readonly string[]
  readonly concurrency?: number
  readonly processes?: { readonly min: number; readonly max: number }
  readonly name?: string
  readonly shutdownGrace?: number
  readonly listen: boolean
  readonly run?: string
  readonly onRunEnd?: 'finish' | 'release'
  readonly target?: readonly string[]
  readonly maxLoops?: number
  readonly maxJobs?: number
  readonly exitWhenIdle?: boolean
  readonly maxLifetime?: number
  readonly healthPort?: number
  readonly healthHost?: string
}

/** `worker`: runs a worker in this process, or a supervisor of several. */
export function registerWorker(program: Command): void {
  documented(program.command('worker').argument('<FILE...>', 'handler modules, .ts or .js'), {
    says: 'Runs a worker for the job definitions that these modules export, or a supervisor of several.',
    examples: [
      'leasehold worker handlers.ts',
      'leasehold worker handlers.ts --processes 1..8 --concurrency 2',
      'leasehold worker handlers.ts --run nightly-eval --target gpu --max-lifetime 1h',
    ],
    exits:
      '0 stopped, a bound was reached or its run has ended · 1 failed · 2 wrong usage or handlers · 3 database unreachable · 4 no such run · 5 this supervisor runs already, or was overtaken · 130 second interrupt',
  })
    .helpGroup('Run')
    .option('--queue <A,B>', 'queues to take from (those of the definitions)', (text: string) =>
      someText('--queue')(text.replaceAll(/^,+|,+$/g, '')).split(/,+/),
    )
    .option(
      '--concurrency <N>',
      'jobs at once in each process (10)',
      wholeNumber('--concurrency', { min: 1, max: 1_000 }),
    )
    .option(
      '--processes <N>',
      'worker processes under a supervisor, also as many as the backlog wants: 1..8 (this one alone)',
      numberRange('--processes', { min: 1, max: 256 }),
    )
    .option(
      '--name <NAME>',
      'of the supervisor; one of a name runs on a machine (from the modules and queues)',
      supervisorName,
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
    .option(
      '--target <LABEL...>',
      'labels of this worker: it also takes jobs aimed at them',
      someTexts('--target'),
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

function supervisorName(text: string): string {
  if (/^[\w.-]{1,64}$/.test(text)) return text
  throw new UsageError(
    `--name is 1 to 64 letters, digits, dots, dashes and underscores, got "${text}".`,
  )
}

async function runWorkers(files: string[], command: Command): Promise<void> {
  const flags = flagsOf<WorkerFlags>(command)
  if (flags.name !== undefined && flags.processes === undefined)
    throw new UsageError('--name is the name of a supervisor: give --processes too.')
  const output = createOutput(flags)
  const settings = resolveSettings(
    {
      ...resolveLease(),
      ...given({ concurrency: flags.concurrency, shutdownGraceMs: flags.shutdownGrace }),
      listen: flags.listen,
      ...boundsOf(flags),
      ...healthOf(flags),
    },
    PROGRAM_WORDS,
  )
  const log = createWorkerLog(process.stderr, process.env, resolveLogLevel())
  const machineId = resolveMachineId() ?? ownMachineId()
  outliveReaders()
  const warning = unboundedWarning({
    ...processFacts(),
    aimedAt: flags.run ?? resolveRunFilter(),
    bounded: isBounded(settings),
  })
  if (warning !== null && !isSupervised()) log.say('warn', 'worker.unbounded', warning)
  const jobs = await loadHandlers(files)
  const archive = await loadArchive(files)
  const target = await readyDatabase(resolveTarget(flags), (text) => output.note(text))
  const named = flags.run ?? resolveRunFilter()
  const run = named === null ? null : await findRun(named, target)
  if (run !== null && run.status !== 'active')
    return leaveEnded(log, `run ${run.name} (${run.id}) ended as ${run.status}.`)
  if (flags.processes !== undefined && !isSupervised()) {
    const name = flags.name ?? defaultName(files, flags.queue, run?.id, flags.target)
    await supervise({
      processes: flags.processes,
      name,
      run: run?.id ?? null,
      target,
      settings,
      machineId,
      log,
    })
    return
  }
  const { ProcessGuard } = await import('../../worker/process-guard.ts')
  const guard = new ProcessGuard(
    {
      databaseUrl: target.databaseUrl,
      schema: target.schema,
      namespace: target.namespace,
      jobs,
      machineId,
      kind: isSupervised() ? 'supervised' : 'worker',
      ...given({
        archive: archive ?? undefined,
        queues: flags.queue,
        run: run?.id,
        onRunEnd: flags.onRunEnd,
        labels: flags.target,
      }),
      ...settings,
    },
    {
      endsWithParent: isSupervised(),
      onSignal: (signal, count) => log.worker('worker.signal', { signal, count }),
      onUncaught: (error) =>
        log.say('error', 'worker.uncaught', `uncaught error: ${error.stack ?? error.message}`),
    },
  )
  const { worker } = guard
  const shutDown = (reason: string): Promise<void> => guard.shutDown(reason)
  worker.onEvery((name, fields) => log.worker(name, fields))
  if (isSupervised()) answerSupervisor(worker, shutDown)
  else watchRunner((runner) => void shutDown(`${runner}, which had started it, is gone`))
  try {
    await worker.start()
  } catch (error) {
    // A signal came first, and the guard ends the process.
    if (worker.state === 'stopped') return
    guard.remove()
    // It ended between the look above and the registration.
    if (error instanceof RunTerminalError) await leaveEnded(log, error.message)
    else throw await namedFailure(error, target)
  }
}

async function leaveEnded(log: WorkerLog, why: string): Promise<void> {
  log.say('info', 'worker.run_ended', `${why} Nothing to do.`)
  await leaveForGood()
  leave(0)
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

/** Whoever read what handlers print may be gone, as in `worker … | head` or with a terminal that was closed: that ends no work. */
function outliveReaders(): void {
  process.stdout.removeAllListeners('error')
  process.stdout.on('error', () => undefined)
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
 * Processes under a supervisor take ports in a row, from the one that was named, and one more while they are rolled: each answers for itself, as a supervisor, which can't
 * see into them, would have to guess.
 */
function healthOf(flags: WorkerFlags): Partial<WorkerSettings> {
  const { healthPort, healthHost, processes } = flags
  if (healthPort === undefined) {
    if (healthHost === undefined) return {}
    throw new UsageError('--health-host says where, and there is no --health-port.')
  }
  // One more while a roll replaces them.
  const last = healthPort + (processes?.max ?? 0)
  if (last > PORT_MAX) {
    throw new UsageError(
      `${processes?.max} processes and one that replaces another take the ports ${healthPort} to ${last}, and the last one there is is ${PORT_MAX}.`,
    )
  }
  const place = Number(process.env['LEASEHOLD_SLOT'] ?? 1) - 1
  return {
    healthPort: healthPort === 0 ? 0 : healthPort + place,
    ...(healthHost === undefined ? {} : { healthHost }),
  }
}
