import type { Command } from 'commander'
import type { Client } from '../../client/client.ts'
import type { RunDocument } from '../../client/documents.ts'
import { sleep } from '../../clock.ts'
import { WaitTimeoutError } from '../../errors.ts'
import { duration, given } from '../arguments.ts'
import { documented } from '../help.ts'
import { untilInterrupted } from '../interrupt.ts'
import type { Output } from '../output.ts'
import { flagsOf, withSession } from '../session.ts'
import { createLiveRegion } from '../terminal/live.ts'
import { renderRunEnded, runProgressLine } from '../terminal/runs-view.ts'

const LOOK_EVERY_MS = 500

/** `runs wait`: follows a run to its end; the exit code says how it ended. */
export function registerRunsWait(runs: Command): void {
  documented(runs.command('wait <RUN>'), {
    says: 'Waits until a run has ended, with a progress bar on a terminal. Ctrl-C stops watching, not the run.',
    examples: [
      'leasehold runs wait nightly-eval',
      "leasehold runs wait nightly-eval --json | jq -r '.endReason.message'",
      'leasehold runs wait a41c9e --timeout 2h && echo completed',
    ],
    exits:
      '0 completed · 1 ended otherwise, or not within the time · 4 no such run · 130 interrupted',
  })
    .option('--timeout <D>', 'give up after so long; the run goes on', duration('--timeout'))
    .action((run: string, _flags, command: Command) =>
      withSession(command, async ({ client, output }) => {
        const { timeout } = flagsOf<{ timeout?: number }>(command)
        const { id } = await client.runs.get(run)
        let document = await follow(client, id, output, timeout)
        document ??= await client.runs.get(id)
        const ended = document
        output.result(ended, (terminal) => renderRunEnded(terminal, ended))
        if (process.exitCode !== 130) process.exitCode = ended.status === 'completed' ? 0 : 1
      }),
    )
}

/** The run once it has ended; null when the waiting was interrupted or took too long. */
async function follow(
  client: Client,
  id: string,
  output: Output,
  timeoutMs: number | undefined,
): Promise<RunDocument | null> {
  const region = createLiveRegion(output.noteTerminal, process.stderr)
  let ended: RunDocument | null = null
  try {
    await untilInterrupted(async (interrupted) => {
      const over = new AbortController()
      const shown = show(client, id, AbortSignal.any([interrupted, over.signal]), (run) => {
        if (!output.json) region.update([runProgressLine(output.noteTerminal, run)])
      })
      try {
        ended = await client.runs.wait(id, given({ timeoutMs, signal: interrupted }))
      } catch (error) {
        if (!interrupted.aborted && !(error instanceof WaitTimeoutError)) throw error
        if (!interrupted.aborted) output.note((error as Error).message)
      } finally {
        over.abort()
        await shown
      }
    })
  } finally {
    region.close()
  }
  return ended
}

async function show(
  client: Client,
  id: string,
  over: AbortSignal,
  update: (run: RunDocument) => void,
): Promise<void> {
  while (!over.aborted) {
    // What can't be read now is shown at the next look; whoever waits is told of a database that is gone.
    await client.runs.get(id).then(update, () => undefined)
    await sleep(LOOK_EVERY_MS, over)
  }
}
