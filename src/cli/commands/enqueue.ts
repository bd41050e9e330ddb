import { type Command, Option } from 'commander'
import type { JobTarget, NewJobOptions } from '../../client/new-job-options.ts'
import type { Client } from '../../client/client.ts'
import { type AnyJobDefinition, JOB_TYPE } from '../../client/define-job.ts'
import { parseTarget, type TargetName } from '../../domain/target.ts'
import { InputInvalidError, JobTypeUnknownError, NotFoundError, UsageError } from '../../errors.ts'
import { duration, given, instant, oneOf, someText, wholeNumber } from '../arguments.ts'
import { documented } from '../help.ts'
import { didYouMean } from '../../domain/nearest.ts'
import { leave, lines, type Output, unwritten } from '../output.ts'
import { readInput } from '../read-json.ts'
import { flagsOf, withSession } from '../session.ts'
import { paint } from '../terminal/style.ts'
import { waitForJob } from '../wait-for-job.ts'

interface Flags {
  readonly wait?: boolean
  readonly handlers?: readonly string[]
  readonly force?: boolean
  readonly queue?: string
  readonly priority?: number
  readonly delay?: number
  readonly at?: Date
  readonly key?: string
  readonly maxAttempts?: number
  readonly maxLost?: number
  readonly onWorkerLost?: 'retry' | 'fail' | 'hold'
  readonly timeout?: number
  readonly run?: string
  readonly target?: TargetName
  readonly ifOffline?: 'wait' | 'fail' | 'any'
  readonly targetWait?: number
}

const SMALL = { min: 1, max: 32_767 }

/** `enqueue`: a new job; its id is all that goes to standard output. */
export function registerEnqueue(program: Command): void {
  documented(program.command('enqueue <TYPE> [JSON]'), {
    says: 'Stores a job and prints its id. The input is JSON, - for standard input, or @FILE.',
    examples: [
      'leasehold enqueue video.transcode \'{"episode": 114}\' --wait',
      'leasehold enqueue video.transcode @ep-114.json --handlers handlers.ts',
      'echo \'{"episode": 114}\' | leasehold enqueue video.transcode - --key ep-114 --force',
    ],
    exits:
      '0 done · 1 failed or cancelled (--wait) · 2 bad input · 4 unknown type · 130 interrupted',
  })
    .helpGroup('Run')
    .option('--wait', 'follow it to its end; Ctrl-C stops watching, not the job')
    .option(
      '--handlers <FILE...>',
      "take the definition from these modules, and check the input against it; without it the definition's options don't apply",
    )
    .option('--force', 'also when no live worker runs this type')
    .option('--queue <NAME>', "the definition's, else default", someText('--queue'))
    .option(
      '--priority <N>',
      'higher runs first',
      wholeNumber('--priority', { min: -32_768, max: 32_767 }),
    )
    .addOption(
      new Option('--delay <D>', 'due after so long, as 90s').argParser(duration('--delay')),
    )
    .addOption(
      new Option('--at <T>', 'due at 2026-11-23T10:00:00Z')
        .argParser(instant('--at'))
        .conflicts('delay'),
    )
    .option(
      '--key <K>',
      'the same key is the same job: its id is printed, nothing is stored',
      someText('--key'),
    )
    .option(
      '--max-attempts <N>',
      'failures until it has failed (3)',
      wholeNumber('--max-attempts', SMALL),
    )
    .option(
      '--max-lost <N>',
      'lost workers in a row until it is poison (3)',
      wholeNumber('--max-lost', SMALL),
    )
    .option(
      '--on-worker-lost <W>',
      'retry, fail or hold (retry)',
      oneOf('--on-worker-lost', ['retry', 'fail', 'hold']),
    )
    .option('--timeout <D>', 'longest run of one attempt', duration('--timeout', { min: 1 }))
    .option('--run <RUN>', 'the run that it belongs to, by id, ending or name')
    .option(
      '--target <T>',
      'who alone takes it: a label, machine:ID or worker:ID',
      (text: string) => parseTarget(someText('--target')(text)),
    )
    .option(
      '--if-offline <W>',
      'while the target is: wait, fail, or any worker (wait)',
      oneOf('--if-offline', ['wait', 'fail', 'any']),
    )
    .option(
      '--target-wait <D>',
      'longest wait for the target (for ever)',
      duration('--target-wait'),
    )
    .action((type: string, input: string | undefined, _flags, command: Command) =>
      enqueue(command, type, input),
    )
}

async function enqueue(command: Command, type: string, text: string | undefined): Promise<void> {
  const flags = flagsOf<Flags>(command)
  if (flags.target === undefined && (flags.ifOffline ?? flags.targetWait) !== undefined)
    throw new UsageError('--if-offline and --target-wait go with --target.')
  // Before the database is asked for: what is wrong with the input is wrong without it.
  const definition = await definitionOf(type, flags.handlers)
  const input = await readInput(text, (line) => process.stderr.write(`${line}\n`))
  await withSession(command, async ({ client, output }) => {
    const options = {
      ...jobOptions(flags),
      ...given<NewJobOptions>({
        run: flags.run === undefined ? undefined : (await client.runs.get(flags.run)).id,
        target: await targetOf(client, flags, output),
      }),
    }
    if (definition === null && flags.force !== true) {
      await refuseWithoutWorker(client, type, flags.queue ?? 'default')
      // Nobody but the module knows them. In a pipe it would be noise at every call.
      if (output.noteTerminal.isTerminal)
        output.note(
          paint(
            output.noteTerminal,
            ['dim'],
            "Options of its definition (attempts, timeout, concurrency key …) don't apply: name the module with --handlers.",
          ),
        )
    }
    const id =
      definition === null
        ? await client.enqueueRaw(type, input, options)
        : await client.enqueue(definition, input, options).catch((error: unknown) => {
            throw text === undefined ? nothingGiven(error) : error
          })
    unwritten.text = `The job is stored: ${id}`
    if (!output.json) process.stdout.write(lines(id))
    if (flags.wait === true) await waitForJob(client, id, output)
    else if (output.json) {
      const { state, queue } = await client.get(id)
      output.result({ id, type, queue, state }, () => ({ output: '', note: '' }))
    }
  })
  // The modules may have opened connections of their own.
  if (flags.handlers !== undefined) leave(Number(process.exitCode ?? 0))
}

/** An input that does not fit because there is none. */
function nothingGiven(error: unknown): unknown {
  if (!(error instanceof InputInvalidError)) return error
  return new InputInvalidError(`no input was given, and ${error.message}`, error.issues, {
    hint: 'Nothing was stored. The input follows the type, as JSON: \'{"n": 1}\', @FILE, or - for standard input.',
    cause: error,
  })
}

async function targetOf(
  client: Client,
  flags: Flags,
  output: Output,
): Promise<JobTarget | undefined> {
  const { target, ifOffline, targetWait: waitMs } = flags
  if (target === undefined) return undefined
  const name =
    'worker' in target
      ? { worker: (await client.workers.get(target.worker)).id }
      : 'machine' in target
        ? { machine: await machineIdOf(client, target.machine, output) }
        : target
  return { ...name, ...given({ ifOffline, waitMs }) }
}

/** By id, an ending of it, or host name. A machine may well come later than its first job, so an unknown one is said and taken. */
async function machineIdOf(client: Client, named: string, output: Output): Promise<string> {
  try {
    return (await client.machines.get(named)).id
  } catch (error) {
    if (!(error instanceof NotFoundError)) throw error
    const known = (await client.machines.list()).map(({ id, hostname }) => `${id} (${hostname})`)
    const here = known.length === 0 ? 'none is known here' : `known are ${known.join(', ')}`
    output.note(`No machine ${named} has been seen yet, and the job waits for it; ${here}.`)
    return named
  }
}

function jobOptions(flags: Flags): NewJobOptions {
  return given<NewJobOptions>({
    queue: flags.queue,
    priority: flags.priority,
    delayMs: flags.delay,
    at: flags.at,
    key: flags.key,
    maxAttempts: flags.maxAttempts,
    maxLost: flags.maxLost,
    onWorkerLost: flags.onWorkerLost,
    timeoutMs: flags.timeout,
  })
}

/** The definition in these modules; `null` when none were named. */
async function definitionOf(
  type: string,
  files: readonly string[] | undefined,
): Promise<AnyJobDefinition | null> {
  if (!JOB_TYPE.fits(type))
    throw new UsageError(`no job type can be named "${type}": it ${JOB_TYPE.must}.`)
  if (files === undefined) return null
  const { loadHandlers } = await import('../load-handlers.ts')
  const definitions = await loadHandlers(files)
  const found = definitions.find((definition) => definition.type === type)
  if (found !== undefined) return found
  const types = definitions.map((definition) => definition.type)
  throw new JobTypeUnknownError(
    `${files.join(', ')} defines no job type ${type}.${didYouMean(type, types)}`,
    { hint: `It defines ${types.join(', ')}` },
  )
}

/** A job that nobody runs would wait for ever, and most often its type is mistyped or its queue forgotten. */
async function refuseWithoutWorker(client: Client, type: string, queue: string): Promise<void> {
  const types = await client.knownTypes()
  const here = `no live worker in namespace ${client.namespace} runs ${type}`
  if (!types.includes(type)) {
    const known =
      types.length === 0
        ? 'No worker is online. Start one: leasehold worker handlers.ts'
        : `Known are ${types.join(', ')}`
    throw new JobTypeUnknownError(`${here}.${didYouMean(type, types)}`, {
      hint: `${known}\nTo enqueue it all the same: --force`,
    })
  }
  const workers = await client.workers.list()
  const able = workers.filter(
    (worker) => worker.status !== 'offline' && worker.types.includes(type),
  )
  const queues = [...new Set(able.flatMap((worker) => worker.queues))]
  if (queues.includes(queue) || queues.length === 0) return
  throw new JobTypeUnknownError(`${here} from queue ${queue}, only from ${queues.join(', ')}.`, {
    hint: `Name one: --queue ${queues[0]}\nTo enqueue it all the same: --force`,
  })
}
