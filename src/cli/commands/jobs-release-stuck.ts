import type { Command } from 'commander'
import { duration } from '../arguments.ts'
import { renderActed } from '../act-on-jobs.ts'
import { documented } from '../help.ts'
import { lines, listDocument } from '../output.ts'
import { flagsOf, withSession } from '../session.ts'
import { formatDuration, plural } from '../terminal/format.ts'

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
    exits: '0 done, also when nothing is stuck · 2 wrong usage',
  })
    .option('--older-than <D>', 'silent for so long', duration('--older-than'), 120_000)
    .option('--dry-run', 'only say which they are')
    .option('--force', 'also while an outage of the database may be why they are silent')
    .action((_flags, command: Command) =>
      withSession(command, async ({ client, output }) => {
        const { olderThan, dryRun = false, force = false } = flagsOf<Flags>(command)
        const stuck = await client.releaseStuck({ olderThanMs: olderThan, dryRun, force })
        const items = stuck.map(({ job, status }) => ({ id: job, status }))
        if (output.json) {
          const document = { dryRun, olderThanMs: olderThan, ...listDocument(items) }
          output.result(document, () => ({ output: '', note: '' }))
          return
        }
        const shown = await Promise.all(items.slice(0, SHOWN_MAX).map(({ id }) => client.get(id)))
        const count = plural(items.length, 'job')
        const silent = `silent for ${formatDuration(olderThan)} or more`
        output.result(null, (terminal) => ({
          output: renderActed(terminal, shown).output,
          note:
            items.length === 0
              ? lines(`No running job has a worker ${silent}.`)
              : dryRun
                ? lines(
                    `Dry run: nothing was changed. ${count} would be handed back.`,
                    'To do it: leasehold jobs release-stuck',
                  )
                : lines(`${count} handed back.`),
        }))
      }),
    )
}
