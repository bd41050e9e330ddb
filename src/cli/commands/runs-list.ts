import type { Command } from 'commander'
import { RUN_STATUSES, type RunStatus } from '../../domain/states.ts'
import { given, manyOf, wholeNumber } from '../arguments.ts'
import { documented } from '../help.ts'
import { listDocument } from '../output.ts'
import { flagsOf, withSession } from '../session.ts'
import { renderRunList } from '../terminal/runs-view.ts'

interface Flags {
  readonly status?: readonly RunStatus[]
  readonly limit: number
  readonly after?: string
}

/** `runs list`: the newest first. */
export function registerRunsList(runs: Command): void {
  documented(runs.command('list'), {
    says: 'Lists runs, newest first, each with how far it is.',
    examples: [
      'leasehold runs list',
      'leasehold runs list --status active',
      "leasehold runs list --json | jq -r '.items[] | [.name, .progress.done] | @tsv'",
    ],
    exits: '0 done, also when there is none · 2 wrong filter',
  })
    .option('--status <S...>', RUN_STATUSES.join(', '), manyOf('--status', RUN_STATUSES))
    .option('--limit <N>', 'at most so many', wholeNumber('--limit', { min: 1, max: 500 }), 50)
    .option('--after <ID>', 'the page after this id, as the last page names it')
    .action((_flags, command: Command) =>
      withSession(command, async ({ client, output }) => {
        const { status, limit, after } = flagsOf<Flags>(command)
        const { items, nextCursor } = await client.runs.list(
          given({
            statuses: status,
            limit,
            after: after === undefined ? undefined : (await client.runs.get(after)).id,
          }),
        )
        output.result(listDocument(items, nextCursor), (terminal) =>
          renderRunList(terminal, items, nextCursor),
        )
      }),
    )
}
