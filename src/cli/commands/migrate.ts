import type { Command } from 'commander'
import type { SchemaState } from '../../db/migrate.ts'
import { documented } from '../help.ts'
import { createOutput, lines } from '../output.ts'
import { connectOptions, namedFailure, reachServer } from '../ready-database.ts'
import { resolveTarget } from '../resolve.ts'
import { flagsOf } from '../session.ts'
import { plural } from '../terminal/format.ts'

/** `migrate`: the schema up to date, or whether it is. */
export function registerMigrate(program: Command): void {
  documented(program.command('migrate'), {
    says: 'Brings the schema up to date, under a lock. Safe to repeat, and from several places at once.',
    examples: [
      'leasehold migrate',
      'leasehold migrate --check || leasehold migrate',
      'leasehold migrate --check --json | jq -r .state',
    ],
    exits: '0 current · 3 database unreachable · 5 not current, or made by a newer program',
  })
    .helpGroup('Look after')
    .option('--check', 'only say whether it is current')
    .action((_flags, command: Command) => migrateSchema(command))
}

const CHECK_WORDS: Readonly<Record<SchemaState, string>> = {
  current: 'is current',
  missing: 'is missing',
  outdated: 'is older than this program',
  newer: 'was made by a newer program than this one',
}

async function migrateSchema(command: Command): Promise<void> {
  const flags = flagsOf<{ check?: boolean }>(command)
  const output = createOutput(flags)
  const target = await reachServer(resolveTarget(flags), (text) => {
    if (output.noteTerminal.isTerminal) output.note(text)
  })
  const { inspectSchema, migrate } = await import('../../db/migrate.ts')
  const { schema } = target
  try {
    if (flags.check === true) {
      const { state, server } = await inspectSchema(connectOptions(target))
      output.result({ schema, state, server }, () => ({
        output: lines(`The schema ${schema} ${CHECK_WORDS[state]} (PostgreSQL ${server}).`),
        note:
          state === 'current' || state === 'newer'
            ? ''
            : lines('Bring it up to date: leasehold migrate'),
      }))
      if (state !== 'current') process.exitCode = 5
      return
    }
    const { before, applied, server } = await migrate(connectOptions(target))
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
