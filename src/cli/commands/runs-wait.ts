import type { Command } from 'commander'
import type { Client } from '../../client/client.ts'
import type { RunDocument } from '../../client/documents.ts'
import { elapsedMs, sleep } from '../../clock.ts'
import { mayAnswerAgain } from '../../db/connect.ts'
import { WaitTimeoutError } from '../../errors.ts'
import { duration, given } from '../arguments.ts'
import { documented } from '../help.ts'
import { untilInterrupted } from '../interrupt.ts'
import type { Output } from '../output.ts'
import { flagsOf, withSession } from '../session.ts'
import { formatDuration } from '../terminal/format.ts'
import { createLiveRegion, type LiveRegion } from '../terminal/live.ts'
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
  // With --json nothing but the document is printed.
  const region: LiveRegion = output.json
    ? { update: () => undefined, commit: () => undefined, close: () => undefined }
    : createLiveRegion(output.noteTerminal, process.stderr)
  let ended: RunDocument | null = null
  try {
    await untilInterrupted(async (interrupted) => {
      const over = new AbortController()
      const shown = show(client, id, { output, region, over: [interrupted, over.signal] })
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

/** What the run has come to, twice a second, until one of `over` aborts. A database that is away is waited for, as the wait itself does. */
async function show(
  client: Client,
  id: string,
  { output, region, over }: { output: Output; region: LiveRegion; over: readonly AbortSignal[] },
): Promise<void> {
  const { noteTerminal } = output
  const isOver = (): boolean => over.some((signal) => signal.aborted)
  let line: string | null = null
  let readMs = elapsedMs()
  let away = false
  while (!isOver()) {
    try {
      const run = await client.runs.get(id)
      if (away && !noteTerminal.isTerminal) region.commit('connection is back')
      away = false
      readMs = elapsedMs()
      line = runProgressLine(noteTerminal, run)
      region.update([line])
    } catch (error) {
      // Whoever waits is told of anything else.
      if (!mayAnswerAgain(error) || isOver()) return
      if (!away && !noteTerminal.isTerminal) region.commit('connection lost; waiting for it')
      away = true
      const lost = `connection lost, what you see is ${formatDuration(elapsedMs() - readMs)} old`
      region.update(line === null ? [lost] : [line, lost])
    }
    await sleep(LOOK_EVERY_MS, ...over)
  }
}
