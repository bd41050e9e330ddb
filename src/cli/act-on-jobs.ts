/**
 * One action on several jobs, each by its id or a unique ending. Every id gets its turn, whatever became of the others: a list
 * that was made a moment ago may name a job that has ended since. The exit code is that of the first refusal.
 */
import type { Command } from 'commander'
import type { Client } from '../client/client.ts'
import type { JobDocument } from '../client/documents.ts'
import { JobTerminalError, LeaseholdError, StateRefusedError } from '../errors.ts'
import { listDocument } from './output.ts'
import { databaseNow } from './remedy.ts'
import { withSession } from './session.ts'
import { formatId, formatTime, idEnding, workerName } from './terminal/format.ts'
import { JOB_MARKS, marked } from './terminal/marks.ts'
import { renderError } from './terminal/render-error.ts'
import type { Rendered, Terminal } from './terminal/style.ts'
import { renderTabs } from './terminal/table.ts'
import { cut, pad, plain } from './terminal/text.ts'

export interface JobAction {
  /** As in "a completed job can't be cancelled". */
  readonly participle: string
  /** For actions whose answer does not tell a job that was acted on from one that was in the wanted status before. */
  accepts?(job: JobDocument): boolean
  act(client: Client, jobId: string): Promise<unknown>
}

export async function actOnJobs(
  command: Command,
  given: readonly string[],
  action: JobAction,
): Promise<void> {
  await withSession(command, async ({ client, output }) => {
    const done: JobDocument[] = []
    const refused: { id: string; error: LeaseholdError }[] = []
    for (const id of new Set(given)) {
      try {
        const jobId = await client.resolveJobId(id)
        await attempt(client, jobId, { action, terminal: output.noteTerminal })
        done.push(await client.get(jobId))
      } catch (error) {
        if (!(error instanceof LeaseholdError) || error.exitCode === 3 || given.length === 1)
          throw error
        refused.push({ id, error })
      }
    }
    const items = [
      ...done.map(({ id, type, state, why }) => ({ id, type, state, why })),
      ...refused.map(({ id, error: { code, message, hint } }) => ({
        id,
        error: { code, message, hint: hint ?? null },
      })),
    ]
    output.result(listDocument(items), (terminal) => renderActed(terminal, done))
    for (const { error } of refused)
      if (!output.json) process.stderr.write(renderError(output.noteTerminal, error, process.env))
    if (refused[0] !== undefined) process.exitCode = refused[0].error.exitCode
  })
}

async function attempt(
  client: Client,
  jobId: string,
  { action, terminal }: { action: JobAction; terminal: Terminal },
): Promise<void> {
  if (action.accepts !== undefined) {
    const job = await client.get(jobId)
    if (!action.accepts(job))
      throw refusal(new StateRefusedError(job.why), job, { action, terminal })
  }
  try {
    await action.act(client, jobId)
  } catch (error) {
    if (error instanceof JobTerminalError || error instanceof StateRefusedError)
      throw refusal(error, await client.get(jobId), { action, terminal })
    throw error
  }
}

/** The refusal with the job's type, when and where it ended, and what can be done. */
function refusal(
  error: LeaseholdError,
  job: JobDocument,
  { action, terminal }: { action: JobAction; terminal: Terminal },
): LeaseholdError {
  const on = job.workerId === null ? '' : ` on ${workerName(job.workerId)}`
  const ended =
    job.finishedAt === null
      ? job.why
      : `It ended at ${formatTime(terminal, job.finishedAt, databaseNow(job))}${on}.`
  const hint =
    job.finishedAt === null
      ? `More: leasehold jobs show ${idEnding(job.id)}`
      : `To run it again: leasehold jobs retry ${idEnding(job.id)}`
  const message =
    `${plain(job.type)} ${formatId(terminal, job.id)} is ${job.state}, ` +
    `and a ${job.state} job can't be ${action.participle}.\n${ended}`
  const Refusal = error instanceof JobTerminalError ? JobTerminalError : StateRefusedError
  return new Refusal(message, { hint, cause: error })
}

/** One line a job: its state now, which it is, and why. */
export function renderActed(terminal: Terminal, jobs: readonly JobDocument[]): Rendered {
  if (jobs.length === 0) return { output: '', note: '' }
  const rows = terminal.isTerminal
    ? jobs.map((job) => {
        const state = marked(terminal, JOB_MARKS[job.state], job.state)
        const name = `${plain(job.type)} ${formatId(terminal, job.id)}`
        return cut(terminal, `${pad(state, 12)}  ${name}  ${plain(job.why)}`, terminal.width)
      })
    : renderTabs(
        ['state', 'id', 'type', 'why'],
        jobs.map(({ state, id, type, why }) => [state, id, type, why]),
      )
  return { output: `${rows.join('\n')}\n`, note: '' }
}
