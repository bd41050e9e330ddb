import type { Command } from 'commander'
import type { RetentionChanges } from '../../client/retention-settings.ts'
import type { RetentionDocument } from '../../client/documents.ts'
import { parseDuration } from '../../domain/duration.ts'
import { UsageError } from '../../errors.ts'
import { given } from '../arguments.ts'
import { documented } from '../help.ts'
import { lines } from '../output.ts'
import { flagsOf, withSession } from '../session.ts'
import { formatCount, formatDuration, formatTime, plural } from '../terminal/format.ts'
import type { Rendered, Terminal } from '../terminal/style.ts'
import { block, renderFacts } from '../terminal/table.ts'

interface Flags {
  readonly keep?: number | typeof FOREVER
  readonly keepCount?: number | typeof ALL
  readonly archive?: boolean
  readonly run?: boolean
}

/** Not null, which commander takes for a value that is missing. */
const FOREVER = 'forever'
const ALL = 'all'
/** As the database has it, which checks again. */
const KEEP_MS_MIN = 3_600_000

/** `retention`: how long ended jobs are kept, shown, changed, and acted on now. */
export function registerRetention(program: Command): void {
  documented(program.command('retention'), {
    says: 'Shows or changes how long ended jobs of the namespace are kept. Workers drop the others about once an hour; --run does it now.',
    examples: [
      'leasehold retention',
      'leasehold retention --keep 30d --keep-count 100000',
      'leasehold retention --keep forever',
    ],
    exits: '0 done · 2 wrong usage · 3 database unreachable · 5 jobs have to be archived first',
  })
    .helpGroup('Look after')
    .option('--keep <D>', 'how long after its end a job is kept: 1h or more, or forever', keepTime)
    .option(
      '--keep-count <N>',
      'how many ended jobs are kept, the newest: a number, or all',
      keepCount,
    )
    .option('--archive', 'drop no job that has not passed through an archive hook')
    .option('--no-archive', 'drop also without a hook')
    .option('--run', 'drop now what need not be kept')
    .action((_flags, command: Command) =>
      withSession(command, async ({ client, output }) => {
        const { keep, keepCount: count, archive, run = false } = flagsOf<Flags>(command)
        const changes: RetentionChanges = given({
          keepMs: keep === FOREVER ? null : keep,
          keepCount: count === ALL ? null : count,
          archive,
        })
        if (Object.keys(changes).length > 0) await client.retention.set(changes)
        const dropped = run ? await client.retention.run() : null
        const retention = await client.retention.get()
        const document = dropped === null ? retention : { ...retention, droppedNow: dropped }
        output.result(document, (terminal) => renderRetention(terminal, retention, dropped))
      }),
    )
}

function keepTime(text: string): number | typeof FOREVER {
  if (text === FOREVER) return FOREVER
  const milliseconds = parseDuration(text)
  if (milliseconds !== null && milliseconds >= KEEP_MS_MIN) return milliseconds
  throw new UsageError(
    `--keep is a duration of at least 1h, such as 30d, or forever, got "${text}".`,
  )
}

function keepCount(text: string): number | typeof ALL {
  if (text === ALL) return ALL
  if (/^\d{1,9}$/.test(text)) return Number(text)
  throw new UsageError(`--keep-count is a whole number of at most 9 digits, or all, got "${text}".`)
}

function renderRetention(
  terminal: Terminal,
  retention: RetentionDocument,
  dropped: number | null,
): Rendered {
  if (!terminal.isTerminal) {
    return {
      output: block(renderFacts(Object.entries(retention))),
      note: droppedWords(dropped),
    }
  }
  const { namespace, keepMs, keepCount: count, archive, passedAt, problem } = retention
  const limits = [
    ...(keepMs === null ? [] : [`for ${formatDuration(keepMs)} after their end`]),
    ...(count === null ? [] : [`up to ${plural(count, 'job')}, the newest`]),
  ]
  const last = passedAt === null ? 'never' : formatTime(terminal, passedAt, new Date())
  return {
    output: lines(
      `Ended jobs of ${namespace} are kept ${limits.join(' and ') || 'until you set a limit'}.`,
      ...(archive ? ['Each passes through an archive hook before it is dropped.'] : []),
      `Dropped so far: ${formatCount(retention.dropped)}. Last pass: ${last}.`,
      ...(problem === null ? [] : [`The last one did not come to its end: ${problem}`]),
    ),
    note: droppedWords(dropped),
  }
}

function droppedWords(dropped: number | null): string {
  return dropped === null ? '' : lines(`${plural(dropped, 'job')} dropped.`)
}
