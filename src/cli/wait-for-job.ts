/**
 * `enqueue --wait`: follows a job on standard error until it ends.
 *
 * The exit code is the job's: 0 completed, 1 failed or cancelled. Ctrl-C stops watching, says so and exits with 130; it never
 * cancels. A database that is away is nobody's end: the display stops ticking and says how old it is, for up to 10 minutes.
 */
import type { Client } from '../client/client.ts'
import type { JobDocument } from '../client/documents.ts'
import { waitFor } from '../client/wait-for.ts'
import { isTerminal } from '../domain/states.ts'
import { untilInterrupted } from './interrupt.ts'
import type { Output } from './output.ts'
import { databaseNow } from './remedy.ts'
import { formatDuration, idEnding } from './terminal/format.ts'
import { createLiveRegion, type LiveRegion, NO_REGION } from './terminal/live.ts'
import { createWaitView } from './terminal/wait-view.ts'

/** Fast at first, because many jobs take a moment; then as often as a person reads. */
const LOOK_EVERY = { minMs: 100, maxMs: 500 }
/** Longer than a restart or a failover takes. */
const AWAY_MS_MAX = 600_000

export async function waitForJob(client: Client, jobId: string, output: Output): Promise<void> {
  // With --json nothing but the document is printed.
  const region = output.json ? NO_REGION : createLiveRegion(output.noteTerminal, process.stderr)
  let job: JobDocument | null = null
  try {
    await untilInterrupted(async (interrupted) => {
      job = await watch(client, jobId, { output, region, interrupted })
    })
  } finally {
    region.close()
  }
  finish(job, jobId, output)
}

async function watch(
  client: Client,
  jobId: string,
  { output, region, interrupted }: { output: Output; region: LiveRegion; interrupted: AbortSignal },
): Promise<JobDocument | null> {
  const view = createWaitView(output.noteTerminal)
  let job: JobDocument | null = null
  let live: string | null = null
  let away = false
  try {
    return await waitFor({
      what: `job ${jobId}`,
      pauses: LOOK_EVERY,
      signals: [interrupted],
      look: async () => {
        job = await client.get(jobId)
        const next = view.next(job, databaseNow(job))
        if (away && !output.noteTerminal.isTerminal) region.commit('connection is back')
        away = false
        live = next.live
        // First what is live now: a line of history is printed above it.
        region.update(live === null ? [] : [live])
        for (const line of next.history) region.commit(line)
        return isTerminal(job.status) ? { end: job } : { state: job.state }
      },
      away: (awayMs, error) => {
        if (awayMs > AWAY_MS_MAX) throw error
        if (!away && !output.noteTerminal.isTerminal)
          region.commit('connection lost; waiting for it')
        away = true
        const lost = `connection lost, what you see is ${formatDuration(awayMs)} old`
        region.update(live === null ? [lost] : [live, lost])
      },
    })
  } catch (error) {
    if (!interrupted.aborted) throw error
    return job
  }
}

function finish(job: JobDocument | null, jobId: string, output: Output): void {
  const over = job !== null && isTerminal(job.status)
  if (output.json) output.result(job ?? { id: jobId }, () => ({ output: '', note: '' }))
  if (over) {
    process.exitCode = job?.status === 'completed' ? 0 : 1
    return
  }
  const state = job?.state ?? 'there'
  output.note(`still ${state}; \`leasehold jobs cancel ${idEnding(jobId)}\` ends it`)
}
