/** The program: its commands, what they share, and commander told to speak as we do. */
import { Command } from 'commander'
import { registerAlerts } from './commands/alerts.ts'
import { registerDb } from './commands/db.ts'
import { registerEnqueue } from './commands/enqueue.ts'
import { registerJobs } from './commands/jobs.ts'
import { registerMachines } from './commands/machines.ts'
import { registerMigrate } from './commands/migrate.ts'
import { registerRuns } from './commands/runs.ts'
import { registerRetention } from './commands/retention.ts'
import { registerStats } from './commands/stats.ts'
import { registerSupervisors } from './commands/supervisors.ts'
import { registerSweep } from './commands/sweep.ts'
import { registerWorker } from './commands/worker.ts'
import { registerWorkers } from './commands/workers.ts'
import { PROGRAM_VERSION } from '../version.ts'
import { formatHelp } from './help.ts'

/** What commander would print on standard error, which we print in our own form. */
export interface Captured {
  text: string
}

export function buildProgram(captured: Captured): Command {
  const program = new Command('leasehold')
    .description('Runs long, expensive jobs on PostgreSQL, and never lies about them.')
    .exitOverride()
    .configureHelp({ formatHelp })
    .configureOutput({
      writeOut: (text) => process.stdout.write(text),
      writeErr: (text) => (captured.text += text),
      outputError: () => undefined,
    })
    .helpOption('-h, --help', 'this text')
    .version(PROGRAM_VERSION, '-V, --version', 'the version of this program')
  commonOptions(program)
  registerWorker(program)
  registerEnqueue(program)
  registerJobs(program)
  registerRuns(program)
  registerWorkers(program)
  registerMachines(program)
  registerSupervisors(program)
  registerAlerts(program)
  registerDb(program)
  registerMigrate(program)
  registerSweep(program)
  registerRetention(program)
  registerStats(program)
  for (const command of leaves(program)) commonOptions(command)
  return program
}

/**
 * On every command, last, so that its help has them; and on the program, which takes them wherever they stand
 * (`optsWithGlobals` has both).
 */
function commonOptions(command: Command): void {
  const has = (long: string): boolean => command.options.some((option) => option.long === long)
  if (!has('--json')) command.option('--json', 'one JSON document')
  if (!has('--database')) {
    command.option('--database <URL>', 'DATABASE_URL, or the embedded database of this directory')
  }
  if (!has('--namespace')) command.option('--namespace <NAME>', 'LEASEHOLD_NAMESPACE, or default')
}

function leaves(command: Command): Command[] {
  return command.commands.flatMap((child) =>
    child.commands.length === 0 ? [child] : leaves(child),
  )
}
