import type { Command } from 'commander'
import type { StatsDocument } from '../../client/documents.ts'
import { COUNT_MAX, JOB_STATES, WORKER_STATUSES } from '../../domain/states.ts'
import { documented } from '../help.ts'
import { lines } from '../output.ts'
import { withSession } from '../session.ts'
import { formatCount, formatDuration } from '../terminal/format.ts'
import { JOB_MARKS, marked, markedText, WORKER_MARKS } from '../terminal/marks.ts'
import { paint, type Rendered, type Terminal } from '../terminal/style.ts'
import { block, renderFacts } from '../terminal/table.ts'
import { pad } from '../terminal/text.ts'

/** `stats`: counts and ages. */
export function registerStats(program: Command): void {
  documented(program.command('stats'), {
    says: 'Counts jobs by state and workers by status. More than 10,000 is not counted: 10,000+, and 10001 in JSON.',
    examples: [
      'leasehold stats',
      'leasehold stats --namespace studio',
      'leasehold stats --json | jq .oldestPendingAgeMs',
    ],
    exits: '0 done · 3 database unreachable',
  })
    .helpGroup('Look after')
    .action((_flags, command: Command) =>
      withSession(command, async ({ client, output }) => {
        const stats = await client.stats()
        output.result(stats, (terminal) => renderStats(terminal, stats))
      }),
    )
}

function renderStats(terminal: Terminal, stats: StatsDocument): Rendered {
  const { jobs, workers, oldestPendingAgeMs, shutdowns } = stats
  const ends = [
    ['graceful', shutdowns.graceful],
    ['timedOut', shutdowns.timedOut],
    ['crashed', shutdowns.crashed],
  ] as const
  if (!terminal.isTerminal) {
    return {
      output: block(
        renderFacts([
          ...JOB_STATES.map((state) => [`jobs.${state}`, countWords(jobs[state], String)] as const),
          ['oldestPendingAgeMs', oldestPendingAgeMs],
          ...WORKER_STATUSES.map((status) => [`workers.${status}`, workers[status]] as const),
          ...ends.map(([name, count]) => [`shutdowns.${name}`, count] as const),
          ['shutdowns.successRate', shutdowns.successRate],
        ]),
      ),
      note: '',
    }
  }
  const oldest =
    oldestPendingAgeMs === null ? '' : `   the oldest waits ${formatDuration(oldestPendingAgeMs)}`
  const dim = (text: string): string => paint(terminal, ['dim'], text)
  const rate =
    shutdowns.successRate === null
      ? ''
      : dim(`   ${(Math.floor(shutdowns.successRate * 1_000) / 10).toFixed(1)} % of all`)
  return {
    output: lines(
      dim('  JOBS'),
      ...JOB_STATES.map((state) => {
        const name =
          jobs[state] === 0
            ? dim(markedText(terminal, JOB_MARKS[state], state))
            : marked(terminal, JOB_MARKS[state], state)
        return row(name, jobs[state], state === 'pending' ? dim(oldest) : '')
      }),
      '',
      dim('  WORKERS'),
      ...WORKER_STATUSES.map((status) =>
        row(marked(terminal, WORKER_MARKS[status], status), workers[status]),
      ),
      '',
      dim('  SHUTDOWNS of the last 7 days'),
      ...ends.map(([name, count]) =>
        row(name === 'timedOut' ? 'timed out' : name, count, name === 'graceful' ? rate : ''),
      ),
    ),
    note: '',
  }
}

function row(name: string, count: number, more = ''): string {
  return `  ${pad(name, 14)}${countWords(count).padStart(8)}${more}`
}

function countWords(count: number, words: (count: number) => string = formatCount): string {
  return count > COUNT_MAX ? `${words(COUNT_MAX)}+` : words(count)
}
