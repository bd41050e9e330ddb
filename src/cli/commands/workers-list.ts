import type { Command } from 'commander'
import { documented } from '../help.ts'
import { listDocument } from '../output.ts'
import { flagsOf, withSession } from '../session.ts'
import { renderWorkerList } from '../terminal/workers-view.ts'

/** `workers list`: who is there, and who is missing. */
export function registerWorkersList(workers: Command): void {
  documented(workers.command('list'), {
    says: 'Lists workers by machine, each with its last sign of life and what it does.',
    examples: [
      'leasehold workers list',
      'leasehold workers list --all',
      'leasehold workers list --json | jq -r \'.items[] | select(.status == "offline") | .id\'',
    ],
    exits: '0 done, also when there is none',
  })
    .option('--all', 'also those that ended within the last hour')
    .action((_flags, command: Command) =>
      withSession(command, async ({ client, output }) => {
        const { all = false } = flagsOf<{ all?: boolean }>(command)
        const known = await client.workers.list()
        const live = known.filter(({ stoppedAt }) => stoppedAt === null)
        const items = all ? [...live, ...known.filter(({ stoppedAt }) => stoppedAt !== null)] : live
        const ended = known.length - items.length
        output.result(listDocument(items), (terminal) => {
          const { output: text, note } = renderWorkerList(terminal, items)
          return { output: text, note: withEnded(note, items.length, ended) }
        })
      }),
    )
}

function withEnded(note: string, shown: number, ended: number): string {
  if (ended === 0) return note
  return shown === 0
    ? `No worker is there now. ${ended} ended in the last hour: --all\n`
    : `${note.trimEnd()} ${ended} more ended in the last hour: --all\n`
}
