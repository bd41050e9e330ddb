import type { Command } from 'commander'
import type { Client } from '../../client/client.ts'
import type { JobDocument, JobState } from '../../client/documents.ts'
import { COUNT_MAX, JOB_STATES } from '../../domain/states.ts'
import { given, manyOf, wholeNumber } from '../arguments.ts'
import { documented } from '../help.ts'
import { listDocument } from '../output.ts'
import { databaseNow } from '../remedy.ts'
import { flagsOf, withSession } from '../session.ts'
import { formatCount } from '../terminal/format.ts'
import { renderJobList } from '../terminal/jobs-view.ts'
import type { Terminal } from '../terminal/style.ts'

interface Flags {
  readonly state?: readonly JobState[]
  readonly type?: string
  readonly worker?: string
  readonly run?: string
  readonly queue?: string
  readonly limit: number
  readonly after?: string
}

/** `jobs list`: jobs newest first; on a terminal those that need a person before the others. */
export function registerJobsList(jobs: Command): void {
  documented(jobs.command('list'), {
    says: 'Lists jobs, newest first; on a terminal those that need a person before the others.',
    examples: [
      'leasehold jobs list --state running lost stalled',
      "leasehold jobs list --type 'train.*' --limit 20",
      "leasehold jobs list --state failed --json | jq -r '.items[].id'",
    ],
    exits: '0 done, also when nothing matches · 2 wrong filter',
  })
    .option('--state <S...>', JOB_STATES.join(', '), manyOf('--state', JOB_STATES))
    .option('--type <TYPE>', 'this type, or all that begin so: train.*')
    .option('--queue <NAME>', 'jobs of this queue')
    .option('--worker <ID>', 'jobs that run on this worker, by id or a unique ending')
    .option('--run <RUN>', 'jobs of this run, by id, a unique ending, or its name')
    .option('--limit <N>', 'at most so many', wholeNumber('--limit', { min: 1, max: 500 }), 50)
    .option('--after <ID>', 'the page after this id, as the last page names it')
    .action((_flags, command: Command) =>
      withSession(command, async ({ client, output }) => {
        const flags = flagsOf<Flags>(command)
        const workerId =
          flags.worker === undefined ? undefined : (await client.workers.get(flags.worker)).id
        const { items, nextCursor } = await client.list(
          given({
            states: flags.state,
            type: flags.type,
            queue: flags.queue,
            workerId,
            runId: flags.run === undefined ? undefined : (await client.runs.get(flags.run)).id,
            after: flags.after === undefined ? undefined : await client.resolveJobId(flags.after),
            limit: flags.limit,
          }),
        )
        if (output.json) {
          output.result(listDocument(items, nextCursor), () => ({ output: '', note: '' }))
          return
        }
        const filter = filterWords(flags)
        const total = nextCursor === null ? null : await countAll(client, flags)
        const { output: text, note } = renderJobList(
          output.terminal,
          inOrder(output.terminal, items),
          nextCursor,
          total,
          { now: databaseNow(items[0]), filter },
        )
        const elsewhere = items.length === 0 && filter !== '' ? await allWords(client) : ''
        output.result(null, () => ({ output: text, note: note.trimEnd() + elsewhere + '\n' }))
      }),
    )
}

const NEEDS_A_PERSON: ReadonlySet<JobState> = new Set<JobState>(['held', 'lost', 'stalled'])

/** Programs page through the order of ids; people look for what needs them. */
function inOrder(terminal: Terminal, items: readonly JobDocument[]): readonly JobDocument[] {
  if (!terminal.isTerminal) return items
  return items.toSorted((a, b) => rank(a) - rank(b))
}

function rank({ state }: JobDocument): number {
  return NEEDS_A_PERSON.has(state) ? 0 : 1
}

function filterWords({ state, type, queue, worker, run, after }: Flags): string {
  const words = { state: state?.join(','), type, queue, worker, run, after }
  return Object.entries(words)
    .flatMap(([name, value]) => (value === undefined ? [] : [`${name}:${value}`]))
    .join(' ')
}

/** How many jobs the filter matches, when the counts that are kept can say so. */
async function countAll(client: Client, flags: Flags): Promise<number | null> {
  if (flags.type !== undefined || flags.queue !== undefined) return null
  if (flags.worker !== undefined || flags.run !== undefined) return null
  if (flags.after !== undefined) return null
  const { jobs } = await client.stats()
  const counts = (flags.state ?? JOB_STATES).map((state) => jobs[state])
  if (counts.some((count) => count > COUNT_MAX)) return null
  return counts.reduce((sum, count) => sum + count, 0)
}

async function allWords(client: Client): Promise<string> {
  const total = await countAll(client, { limit: 1 })
  if (total === 0) return ` No job is in namespace ${client.namespace}.`
  const count = total === null ? `More than ${formatCount(COUNT_MAX)}` : formatCount(total)
  const jobs = total === 1 ? 'job is' : 'jobs are'
  return ` ${count} ${jobs} in namespace ${client.namespace}: leasehold jobs list`
}
