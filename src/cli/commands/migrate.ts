import type { Command } from 'commander'
import type { ConfirmedCopy, SchemaState } from '../../db/migrate.ts'
import { documented } from '../help.ts'
import { createOutput, lines } from '../output.ts'
import { connectOptions, namedFailure, reachServer } from '../ready-database.ts'
import { resolveTarget } from '../resolve.ts'
import { flagsOf } from '../session.ts'
import { plural } from '../terminal/format.ts'
import type { Rendered } from '../terminal/style.ts'

/** `migrate`: the schema up to date, or whether it is. */
export function registerMigrate(program: Command): void {
  documented(program.command('migrate'), {
    says: 'Brings the schema up to date, under a lock. Safe to repeat, and from several places at once.',
    examples: [
      'leasehold migrate',
      'leasehold migrate --check || leasehold migrate',
      'leasehold migrate --confirm-copy',
    ],
    exits: '0 current · 3 database unreachable · 5 not current, a copy, or made by a newer program',
  })
    .helpGroup('Look after')
    .option('--check', 'only say whether it is current, and whether the database is a copy')
    .option('--confirm-copy', 'this copy of a database may run its jobs')
    .action((_flags, command: Command) => migrateSchema(command))
}

const CHECK_WORDS: Readonly<Record<SchemaState, string>> = {
  current: 'is current',
  missing: 'is missing',
  outdated: 'is older than this program',
  newer: 'was made by a newer program than this one',
}

async function migrateSchema(command: Command): Promise<void> {
  const flags = flagsOf<{ check?: boolean; confirmCopy?: boolean }>(command)
  const output = createOutput(flags)
  const target = await reachServer(resolveTarget(flags), (text) => {
    if (output.noteTerminal.isTerminal) output.note(text)
  })
  const { confirmCopy, inspectSchema, migrate } = await import('../../db/migrate.ts')
  const { schema } = target
  try {
    if (flags.check === true) {
      const { state, server, copied } = await inspectSchema(connectOptions(target))
      output.result({ schema, state, server, copied }, () => ({
        output: lines(
          `The schema ${schema} ${CHECK_WORDS[state]} (PostgreSQL ${server}).`,
          ...(copied ? [COPIED] : []),
        ),
        note: copied
          ? lines('If it may run its jobs: leasehold migrate --confirm-copy')
          : state === 'current' || state === 'newer'
            ? ''
            : lines('Bring it up to date: leasehold migrate'),
      }))
      if (state !== 'current' || copied) process.exitCode = 5
      return
    }
    const { before, applied, server } = await migrate(connectOptions(target))
    if (flags.confirmCopy === true) {
      const confirmed = await confirmCopy(connectOptions(target))
      output.result({ schema, state: 'current', confirmed }, () => confirmedWords(confirmed))
      return
    }
    const did =
      before === 'current'
        ? 'was current'
        : `is current now, with ${plural(applied.length, 'migration')} applied`
    output.result({ schema, state: 'current', before, applied, server }, () => ({
      output: lines(`The schema ${schema} ${did} (PostgreSQL ${server}).`),
      note: '',
    }))
  } catch (error) {
    throw await namedFailure(error, target)
  }
}

const COPIED =
  'The database is a copy of another one: no worker takes its jobs until that is confirmed.'

function confirmedWords(confirmed: ConfirmedCopy | null): Rendered {
  if (confirmed === null) {
    return { output: lines('This database is no copy, so there is nothing to confirm.'), note: '' }
  }
  const { workersEnded, jobsReleased, webhooksRemoved, waiting } = confirmed
  const left = [
    ...(workersEnded > 0 ? [`${plural(workersEnded, 'worker')} of the origin ended here`] : []),
    ...(jobsReleased > 0 ? [`${plural(jobsReleased, 'job')} taken back`] : []),
    ...(webhooksRemoved > 0 ? [`${plural(webhooksRemoved, 'webhook')} removed`] : []),
  ]
  return {
    output: lines(
      'This copy is a database of its own now, and workers may run its jobs.',
      ...(left.length > 0 ? [`Left behind by the origin: ${left.join(', ')}.`] : []),
      ...waiting.map(
        ({ namespace, jobs }) =>
          `Namespace ${namespace}: ${plural(jobs, 'job')} will run once a worker is there.`,
      ),
    ),
    note: '',
  }
}
