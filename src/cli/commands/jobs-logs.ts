import type { Command } from 'commander'
import type { Client, LogLineDocument } from '../../client/client.ts'
import { sleep } from '../../clock.ts'
import { isTerminal } from '../../domain/states.ts'
import { UsageError } from '../../errors.ts'
import { given, wholeNumber } from '../arguments.ts'
import { documented } from '../help.ts'
import { untilInterrupted } from '../interrupt.ts'
import { listDocument, type Output } from '../output.ts'
import { flagsOf, withSession } from '../session.ts'
import { formatInstant, idEnding } from '../terminal/format.ts'
import { paint, type Style, type Terminal } from '../terminal/style.ts'
import { renderTabs } from '../terminal/table.ts'
import { plain } from '../terminal/text.ts'

interface Flags {
  readonly attempt?: number
  readonly follow?: boolean
}

const PAGE = 1_000
const FOLLOW_EVERY_MS = 500

/** `jobs logs`: what the handlers wrote with `ctx.log`. */
export function registerJobsLogs(jobs: Command): void {
  documented(jobs.command('logs <ID>'), {
    says: 'Prints what the handler wrote with ctx.log, all attempts in order.',
    examples: [
      'leasehold jobs logs a41c9e',
      'leasehold jobs logs a41c9e --attempt 2 --follow',
      "leasehold jobs logs a41c9e --json | jq -r '.items[].message'",
    ],
    exits: '0 done · 2 ambiguous id · 4 no such job · 130 interrupted',
  })
    .option(
      '--attempt <N>',
      'of this attempt alone',
      wholeNumber('--attempt', { min: 1, max: 32_767 }),
    )
    .option('--follow', 'go on until the job ends; Ctrl-C stops it')
    .action((id: string, _flags, command: Command) =>
      withSession(command, async ({ client, output }) => {
        const flags = flagsOf<Flags>(command)
        if (flags.follow === true && output.json) {
          throw new UsageError(
            '--follow prints line by line, and --json one document at the end.',
            {
              hint: 'Leave one of them out.',
            },
          )
        }
        const jobId = await client.resolveJobId(id)
        if (flags.follow === true) await follow(client, jobId, { flags, output })
        else await print(client, jobId, { flags, output })
      }),
    )
}

async function print(
  client: Client,
  jobId: string,
  { flags, output }: { flags: Flags; output: Output },
): Promise<void> {
  const job = await client.get(jobId)
  const all: LogLineDocument[] = []
  for await (const page of pages(client, jobId, flags)) all.push(...page)
  output.result(listDocument(all), (terminal) => ({
    output: all.length === 0 ? '' : `${logLines(terminal, all, true).join('\n')}\n`,
    note:
      all.length > 0
        ? ''
        : `No log line${flags.attempt === undefined ? '' : ` of attempt ${flags.attempt}`}: ${job.attempt === 0 ? 'the job has not run yet' : 'handlers write them with ctx.log'}.\n`,
  }))
}

async function* pages(
  client: Client,
  jobId: string,
  { attempt }: Flags,
  from = 0,
): AsyncGenerator<LogLineDocument[]> {
  // Ends at the first page that is not full.
  for (let afterLine = from; ;) {
    const page = await client.logs(jobId, { ...given({ attempt }), afterLine, limit: PAGE })
    if (page.length > 0) yield page
    if (page.length < PAGE) return
    afterLine = page.at(-1)?.line ?? afterLine
  }
}

async function follow(
  client: Client,
  jobId: string,
  { flags, output }: { flags: Flags; output: Output },
): Promise<void> {
  await untilInterrupted(async (interrupted) => {
    let line = 0
    let first = true
    // Ends with the job: the state is read before the lines, so the last ones are not missed.
    while (!interrupted.aborted) {
      const job = await client.get(jobId)
      for await (const page of pages(client, jobId, flags, line)) {
        process.stdout.write(`${logLines(output.terminal, page, first).join('\n')}\n`)
        first = false
        line = page.at(-1)?.line ?? line
      }
      if (isTerminal(job.status)) {
        output.note(`The job has ended. Why: leasehold jobs why ${idEnding(jobId)}`)
        return
      }
      await sleep(FOLLOW_EVERY_MS, interrupted)
    }
  })
}

const LEVEL_STYLES: Readonly<Record<string, readonly Style[]>> = {
  debug: ['dim'],
  warn: ['yellow'],
  error: ['red', 'bold'],
}

function logLines(
  terminal: Terminal,
  all: readonly LogLineDocument[],
  withHeading: boolean,
): string[] {
  if (!terminal.isTerminal) {
    const rows = all.map(({ at, attempt, level, message, fields }) => [
      at,
      String(attempt),
      level,
      message,
      fields === null ? '' : JSON.stringify(fields),
    ])
    const [heading = '', ...body] = renderTabs(
      ['at', 'attempt', 'level', 'message', 'fields'],
      rows,
    )
    return withHeading ? [heading, ...body] : body
  }
  return all.map(({ at, attempt, level, message, fields }) => {
    const when = paint(terminal, ['dim'], formatInstant(terminal, Date.parse(at)))
    const word = paint(terminal, LEVEL_STYLES[level] ?? [], level.padEnd(5))
    const more = Object.entries(fields ?? {}).map(
      ([name, value]) =>
        ` ${plain(name)}=${plain(typeof value === 'string' ? value : JSON.stringify(value))}`,
    )
    return `${when}  ${attempt}  ${word}  ${plain(message)}${paint(terminal, ['dim'], more.join(''))}`
  })
}
