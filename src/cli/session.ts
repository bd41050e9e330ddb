/** What a command that talks to the database works with, opened and closed around it. */
import type { Command } from 'commander'
import type { Client } from '../client/client.ts'
import { createOutput, type Output } from './output.ts'
import { namedFailure, readyDatabase, type ReadyTarget } from './ready-database.ts'
import { type CommonFlags, resolveTarget } from './resolve.ts'

export interface Session {
  readonly client: Client
  readonly output: Output
  readonly target: ReadyTarget
}

/** Flags of a command and the common ones, wherever they stood. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- commander takes the type from the caller too
export function flagsOf<Flags extends object>(command: Command): Flags & CommonFlags {
  return command.optsWithGlobals<Flags & CommonFlags>()
}

/** Commands that only look: they set nothing up, as the URL may well name another database than was meant. */
const READS: ReadonlySet<string> = new Set([
  'jobs list',
  'jobs show',
  'jobs why',
  'jobs events',
  'jobs logs',
  'runs list',
  'runs show',
  'runs wait',
  'workers list',
  'workers show',
  'machines list',
  'machines show',
  'supervisors list',
  'alerts list',
  'leasehold stats',
])

/** Runs `work` with a client; a lost connection is told with the server's name. */
export async function withSession(
  command: Command,
  work: (session: Session) => Promise<void>,
): Promise<void> {
  const flags = flagsOf(command)
  const output = createOutput(flags)
  const target = await readyDatabase(
    resolveTarget(flags),
    (text) => {
      if (output.noteTerminal.isTerminal) output.note(text)
    },
    { reads: READS.has(`${command.parent?.name()} ${command.name()}`) },
  )
  const { createClient } = await import('../client/client.ts')
  const { databaseUrl, namespace, schema } = target
  const client = createClient({ databaseUrl, namespace, schema })
  try {
    await work({ client, output, target })
  } catch (error) {
    throw await namedFailure(error, target)
  } finally {
    await client.close()
  }
}
