import { type Command, Option } from 'commander'
import { openDatabase } from '../../db/connect.ts'
import { type FoundProcess, reap, type ReapAction } from '../../worker/reaper.ts'
import { duration } from '../arguments.ts'
import { documented } from '../help.ts'
import { lines, listDocument } from '../output.ts'
import { resolveMachineId } from '../resolve.ts'
import { flagsOf, withSession } from '../session.ts'
import { plural } from '../terminal/format.ts'
import { renderReaped } from '../terminal/reap-view.ts'

/** The hard exit of a worker with default settings, and time for the kernel. */
const GRACE_MS = 35_000

/** `workers reap`: worker processes on this machine that nobody wants any more. */
export function registerWorkersReap(workers: Command): void {
  documented(workers.command('reap'), {
    says: 'Lists worker processes on this machine whose run is over or unknown, that were evicted, or whose supervisor is gone; with --force it ends them: SIGTERM, then SIGKILL. Workers without a run are left alone and said so.',
    examples: [
      'leasehold workers reap',
      'leasehold workers reap --force',
      "leasehold workers reap --json | jq '.items[] | {pid, reason, action}'",
    ],
    exits:
      '0 nothing to end, or all ended · 1 one is still there · 5 some are to be ended: --force',
  })
    .option('--force', 'end them')
    .addOption(
      new Option('--grace <D>', 'from SIGTERM to SIGKILL')
        .argParser(duration('--grace'))
        .default(GRACE_MS, `${GRACE_MS / 1_000}s`),
    )
    .action((_flags, command: Command) =>
      withSession(command, async ({ output, target }) => {
        const { force = false, grace } = flagsOf<{ force?: boolean; grace: number }>(command)
        const machineId = resolveMachineId()
        const db = openDatabase({ ...target, connectionsMax: 1 })
        try {
          const items = await reap(db, {
            namespace: target.namespace,
            force,
            graceMs: grace,
            ...(machineId === null ? {} : { machineId }),
          })
          process.exitCode = exitCodeOf(items, force)
          const document = { dryRun: !force, ...counts(items), ...listDocument(items) }
          output.result(document, (terminal) => {
            const view = renderReaped(terminal, items)
            return { output: view, note: lines(...notes(items, force)) }
          })
        } finally {
          await db.close()
        }
      }),
    )
}

function exitCodeOf(items: readonly FoundProcess[], force: boolean): number {
  const { found, remaining } = counts(items)
  if (force) return remaining > 0 ? 1 : 0
  return found > 0 ? 5 : 0
}

function counts(items: readonly FoundProcess[]): Record<string, number> & {
  found: number
  remaining: number
} {
  const of = (action: ReapAction): number => items.filter((item) => item.action === action).length
  return {
    /** Processes that are to be ended, or were. */
    found: items.filter(({ verdict }) => verdict === 'reap').length,
    ended: of('ended'),
    killed: of('killed'),
    remaining: of('remains') + of('changed'),
    skipped: items.filter(({ verdict }) => verdict === 'skip').length,
  }
}

function notes(items: readonly FoundProcess[], force: boolean): string[] {
  const { found, ended = 0, killed = 0, remaining, skipped = 0 } = counts(items)
  const processes = (count: number): string => plural(count, 'process', 'processes')
  const withoutRun = items.filter(({ reason }) => reason === 'no_run').length
  const left = withoutRun === 0 ? '' : `, ${withoutRun} of them without a run`
  const skips = skipped === 0 ? [] : [`${processes(skipped)} left alone${left}.`]
  if (found === 0) return ['No worker process to end.', ...skips]
  if (!force)
    return [
      `Dry run: nothing was done. ${processes(found)} to end. To do it: leasehold workers reap --force`,
      ...skips,
    ]
  return [
    `${processes(ended + killed)} ended${killed === 0 ? '' : `, ${killed} of them by SIGKILL`}${remaining === 0 ? '' : `; ${processes(remaining)} not ended`}.`,
    ...skips,
  ]
}
