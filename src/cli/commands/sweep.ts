import type { Command } from 'commander'
import type { Client } from '../../client/client.ts'
import { sleep } from '../../clock.ts'
import { documented } from '../help.ts'
import { untilInterrupted } from '../interrupt.ts'
import { lostJobs, NONE_LOST } from '../lost-jobs.ts'
import { lines, type Output } from '../output.ts'
import { flagsOf, withSession } from '../session.ts'
import { formatDuration, formatTime, plural } from '../terminal/format.ts'
import { createLiveRegion, NO_REGION } from '../terminal/live.ts'
import type { Rendered, Terminal } from '../terminal/style.ts'
import { block, renderFacts } from '../terminal/table.ts'

/** The document of a sweep; its fields are public and kept. */
interface SweepDocument {
  readonly success: boolean
  readonly markedOfflineCount: number
  readonly affectedMachineIds: readonly string[]
  /** Ids of the jobs that were taken back. */
  readonly recovered: readonly string[]
  /** Ids of the jobs that failed with their worker: poison, or `onWorkerLost: 'fail'`. */
  readonly failed: readonly string[]
  readonly durationMs: number
  /** Ids of the lost jobs that may not be judged yet, as an outage of the database may be why their worker is silent. */
  readonly waiting: readonly string[]
  /** When the last of them may be judged, if the sweep goes on until then. */
  readonly notBefore: string | null
  readonly dryRun: boolean
}

/** A pass takes back 10,000 jobs; more passes than this would mean that jobs get lost faster than they come back. */
const PASSES_MAX = 1_000
/** A pause between writes that the database counts as an outage is 5 s: well below it, and no more than any other sweep writes. */
const PASS_EVERY_MS = 1_000
/** Beyond what the first pass said: a server that is restarted meanwhile begins to count anew, and a cron job has to end. */
const WAIT_SLACK_MS = 5_000

/** `sweep`: one sweep now. */
export function registerSweep(program: Command): void {
  documented(program.command('sweep'), {
    says: 'Does one sweep now: marks lost workers offline and hands their jobs back. Live workers do this by themselves; safe beside them. After a pause in which nobody wrote to the database it goes on for about a lease, until an outage can be ruled out.',
    examples: [
      'leasehold sweep --dry-run',
      'leasehold sweep --json',
      "leasehold sweep --json | jq '.recovered | length'",
    ],
    exits: '0 done · 3 database unreachable · 130 interrupted',
  })
    .helpGroup('Look after')
    .option('--dry-run', 'only say which jobs are lost and due to be handed back')
    .action((_flags, command: Command) =>
      withSession(command, async ({ client, output }) => {
        const { dryRun = false } = flagsOf<{ dryRun?: boolean }>(command)
        const document = dryRun ? await foresee(client) : await sweep(client, output)
        output.result(document, (terminal) => renderSweep(terminal, document))
      }),
    )
}

/**
 * Passes until nothing that is lapsed is left. A lease that lapsed while nobody wrote is judged once writes have come for a whole lease
 * without a gap; where no worker lives, these passes are the only writes.
 */
async function sweep(client: Client, output: Output): Promise<SweepDocument> {
  const startedMs = performance.now()
  const passed = new Passes()
  const region = output.json ? NO_REGION : createLiveRegion(output.noteTerminal, process.stderr)
  let waits = false
  try {
    await untilInterrupted(async (interrupted) => {
      let untilMs = Infinity
      do {
        const { notBeforeMs } = await passed.pass(client)
        waits = notBeforeMs !== null
        if (notBeforeMs === null) break
        untilMs = Math.min(untilMs, performance.now() + notBeforeMs + WAIT_SLACK_MS)
        region.update([
          `Lost workers may be judged in ${formatDuration(notBeforeMs)}: nobody had written to the database, as in an outage.`,
        ])
        await sleep(Math.min(PASS_EVERY_MS, notBeforeMs + 1), interrupted)
      } while (!interrupted.aborted && performance.now() < untilMs)
    })
  } finally {
    region.close()
  }
  const { undue, notBefore } = waits ? await lostJobs(client) : NONE_LOST
  return {
    ...passed.told(),
    durationMs: Math.round(performance.now() - startedMs),
    waiting: undue.map(({ id }) => id),
    notBefore,
    dryRun: false,
  }
}

/** What several passes did, told as one sweep. */
class Passes {
  readonly #ended = new Set<string>()
  readonly #machines = new Set<string>()
  readonly #back: { job: string; status: string }[] = []
  #more = false

  async pass(client: Client): Promise<{ notBeforeMs: number | null }> {
    for (let pass = 0; pass < PASSES_MAX; pass += 1) {
      const swept = await client.sweep()
      for (const id of swept.ended) this.#ended.add(id)
      for (const id of swept.machines) this.#machines.add(id)
      this.#back.push(...swept.recovered)
      this.#more = swept.more
      if (!swept.more) return swept
    }
    return { notBeforeMs: null }
  }

  told(): Omit<SweepDocument, 'durationMs' | 'waiting' | 'notBefore' | 'dryRun'> {
    return {
      success: !this.#more,
      markedOfflineCount: this.#ended.size,
      affectedMachineIds: [...this.#machines],
      recovered: this.#back.filter(({ status }) => status !== 'failed').map(({ job }) => job),
      failed: this.#back.filter(({ status }) => status === 'failed').map(({ job }) => job),
    }
  }
}

/** What the view and `judged_after` say, nothing written. Whether a lost job will be poison is not foreseen. */
async function foresee(client: Client): Promise<SweepDocument> {
  const startedMs = performance.now()
  const { due, undue, notBefore } = await lostJobs(client)
  const spared = new Set(undue.map(({ workerId }) => workerId))
  const workers = await client.workers.list()
  const lapsed = workers.filter(
    ({ id, status, stoppedAt }) => status === 'offline' && stoppedAt === null && !spared.has(id),
  )
  return {
    success: true,
    markedOfflineCount: lapsed.length,
    affectedMachineIds: [...new Set(lapsed.map(({ machineId }) => machineId))],
    recovered: due.map(({ id }) => id),
    failed: [],
    durationMs: Math.round(performance.now() - startedMs),
    waiting: undue.map(({ id }) => id),
    notBefore,
    dryRun: true,
  }
}

function renderSweep(terminal: Terminal, document: SweepDocument): Rendered {
  const { markedOfflineCount, affectedMachineIds, recovered, failed, durationMs, dryRun } = document
  if (!terminal.isTerminal) {
    const facts = Object.entries(document).map(
      ([name, value]) => [name, String(value ?? '')] as const,
    )
    return {
      output: block(renderFacts(facts)),
      note: dryRun ? lines(DRY_NOTE) : '',
    }
  }
  const on =
    affectedMachineIds.length === 0 ? '' : ` on ${plural(affectedMachineIds.length, 'machine')}`
  const workers = `${plural(markedOfflineCount, 'worker')} marked offline${on}`
  const jobs = `${plural(recovered.length, 'job')} handed back`
  const later = waitingWords(terminal, document)
  return dryRun
    ? {
        output: lines(`A sweep would find: ${workers}, ${jobs}.`, ...later),
        note: lines(DRY_NOTE),
      }
    : {
        output: lines(
          `${workers}, ${jobs}, ${failed.length} failed, in ${formatDuration(durationMs)}.`,
          ...later,
        ),
        note: document.success ? '' : lines('More are lost. Again: leasehold sweep'),
      }
}

const DRY_NOTE = 'Dry run: nothing was changed. To do it: leasehold sweep'

function waitingWords(
  terminal: Terminal,
  { waiting, notBefore, dryRun }: SweepDocument,
): readonly string[] {
  if (waiting.length === 0 || notBefore === null) return []
  const until = formatTime(terminal, notBefore, new Date())
  const then = dryRun
    ? `a sweep goes on until ${until} to hand them back`
    : `not judged before ${until}`
  return [
    `${plural(waiting.length, 'lost job')} ${waiting.length === 1 ? 'waits' : 'wait'}: an outage of the database may be the reason; ${then}.`,
  ]
}
