import { type Command, Option } from 'commander'
import type { Client } from '../../client/client.ts'
import type { JobDocument } from '../../client/documents.ts'
import { duration } from '../arguments.ts'
import { renderActed } from '../act-on-jobs.ts'
import { documented } from '../help.ts'
import { lostJobs } from '../lost-jobs.ts'
import { lines, listDocument } from '../output.ts'
import { databaseNow } from '../remedy.ts'
import { flagsOf, withSession } from '../session.ts'
import { formatDuration, formatTime, plural } from '../terminal/format.ts'
import type { Terminal } from '../terminal/style.ts'

interface Flags {
  readonly olderThan: number
  readonly dryRun?: boolean
  readonly force?: boolean
}

/** Jobs whose lines are worth reading one by one. */
const SHOWN_MAX = 100

/** `jobs release-stuck`: hands back what silent workers hold. */
export function registerJobsReleaseStuck(jobs: Command): void {
  documented(jobs.command('release-stuck'), {
    says: 'Hands back every running job whose worker gave no sign of life for that long, or is unknown. Safe beside live workers: the silent one is fenced first.',
    examples: [
      'leasehold jobs release-stuck --dry-run',
      'leasehold jobs release-stuck --older-than 10m',
      "leasehold jobs release-stuck --dry-run --json | jq '.items | length'",
    ],
    exits:
      '0 done, also when nothing is stuck · 2 wrong usage · 5 some were skipped, as an outage may be why their worker is silent',
  })
    .addOption(
      new Option('--older-than <D>', 'silent for so long')
        .argParser(duration('--older-than'))
        .default(120_000, '2m'),
    )
    .option('--dry-run', 'only say which they are')
    .option('--force', 'also while an outage of the database may be why they are silent')
    .action((_flags, command: Command) =>
      withSession(command, async ({ client, output }) => {
        const { olderThan, dryRun = false, force = false } = flagsOf<Flags>(command)
        const stuck = await client.releaseStuck({ olderThanMs: olderThan, dryRun, force })
        const items = stuck.map(({ job, status }) => ({ id: job, status }))
        const skipped = force ? [] : await skippedJobs(client, olderThan)
        if (skipped.length > 0 && !dryRun) process.exitCode = 5
        if (output.json) {
          const document = {
            dryRun,
            olderThanMs: olderThan,
            ...listDocument(items),
            skipped: skipped.map(({ id, recoveryNotBefore }) => ({
              id,
              notBefore: recoveryNotBefore,
            })),
          }
          output.result(document, () => ({ output: '', note: '' }))
          return
        }
        const shown = await Promise.all(items.slice(0, SHOWN_MAX).map(({ id }) => client.get(id)))
        const count = plural(items.length, 'job')
        const silent = `silent for ${formatDuration(olderThan)} or more`
        const done =
          items.length > 0
            ? dryRun
              ? [`Dry run: nothing was changed. ${count} would be handed back.`, TO_DO_IT]
              : [`${count} handed back.`]
            : skipped.length === 0
              ? [`No running job has a worker ${silent}.`]
              : []
        output.result(null, (terminal) => ({
          output: renderActed(terminal, shown).output,
          note: lines(...done, ...skippedWords(output.noteTerminal, skipped)),
        }))
      }),
    )
}

const TO_DO_IT = 'To do it: leasehold jobs release-stuck'

/** Those whose worker is silent for so long, and may not be judged yet. */
async function skippedJobs(client: Client, olderThanMs: number): Promise<readonly JobDocument[]> {
  const { undue } = await lostJobs(client)
  return undue.filter(
    (job) =>
      job.heartbeatAt !== null &&
      databaseNow(job).getTime() - Date.parse(job.heartbeatAt) >= olderThanMs,
  )
}

function skippedWords(terminal: Terminal, skipped: readonly JobDocument[]): string[] {
  const until = skipped
    .map((job) => job.recoveryNotBefore ?? '')
    .toSorted()
    .at(-1)
  if (until === undefined) return []
  const time = formatTime(terminal, until, databaseNow(skipped[0]))
  return [
    `${plural(skipped.length, 'job')} skipped, as an outage of the database may be why their worker is silent (until ${time}); --force releases them, leasehold sweep waits for it.`,
  ]
}
