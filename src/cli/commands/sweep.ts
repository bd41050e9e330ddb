import type { Command } from 'commander'
import type { Client } from '../../client/client.ts'
import type { JobDocument } from '../../client/documents.ts'
import { documented } from '../help.ts'
import { lines } from '../output.ts'
import { databaseNow } from '../remedy.ts'
import { flagsOf, withSession } from '../session.ts'
import { formatDuration, plural } from '../terminal/format.ts'
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
}

/** A pass takes back 10,000 jobs; more passes than this would mean that jobs get lost faster than they come back. */
const PASSES_MAX = 1_000

/** `sweep`: one sweep now. */
export function registerSweep(program: Command): void {
  documented(program.command('sweep'), {
    says: 'Does one sweep now: marks lost workers offline and hands their jobs back. Live workers do this by themselves; safe beside them.',
    examples: [
      'leasehold sweep --dry-run',
      'leasehold sweep --json',
      "leasehold sweep --json | jq '.recovered | length'",
    ],
    exits: '0 done · 3 database unreachable',
  })
    .helpGroup('Look after')
    .option('--dry-run', 'only say which jobs are lost and due to be handed back')
    .action((_flags, command: Command) =>
      withSession(command, async ({ client, output }) => {
        const { dryRun = false } = flagsOf<{ dryRun?: boolean }>(command)
        const document = dryRun ? await foresee(client) : await sweep(client)
        output.result(document, (terminal) => renderSweep(terminal, document, dryRun))
      }),
    )
}

async function sweep(client: Client): Promise<SweepDocument> {
  const startedMs = performance.now()
  const ended = new Set<string>()
  const machines = new Set<string>()
  const back: { job: string; status: string }[] = []
  let more = true
  for (let pass = 0; more && pass < PASSES_MAX; pass += 1) {
    const swept = await client.sweep()
    for (const id of swept.ended) ended.add(id)
    for (const id of swept.machines) machines.add(id)
    back.push(...swept.recovered)
    more = swept.more
  }
  return {
    success: !more,
    markedOfflineCount: ended.size,
    affectedMachineIds: [...machines],
    recovered: back.filter(({ status }) => status !== 'failed').map(({ job }) => job),
    failed: back.filter(({ status }) => status === 'failed').map(({ job }) => job),
    durationMs: Math.round(performance.now() - startedMs),
  }
}

/** What the view and `judged_after` say, nothing written. Whether a lost job will be poison is not foreseen. */
async function foresee(client: Client): Promise<SweepDocument> {
  const startedMs = performance.now()
  const recovered: string[] = []
  const spared = new Set<string | null>()
  let after: string | undefined
  do {
    const page = await client.list({
      states: ['lost'],
      limit: 500,
      ...(after === undefined ? {} : { after }),
    })
    for (const job of page.items) {
      if (isDue(job)) recovered.push(job.id)
      else spared.add(job.workerId)
    }
    after = page.nextCursor ?? undefined
  } while (after !== undefined)
  const workers = await client.workers.list()
  const lapsed = workers.filter(
    ({ id, status, stoppedAt }) => status === 'offline' && stoppedAt === null && !spared.has(id),
  )
  return {
    success: true,
    markedOfflineCount: lapsed.length,
    affectedMachineIds: [...new Set(lapsed.map(({ machineId }) => machineId))],
    recovered,
    failed: [],
    durationMs: Math.round(performance.now() - startedMs),
  }
}

/** Its worker has ended or is unknown, or may be judged by now. */
function isDue(job: JobDocument): boolean {
  if (job.workerEndedAt !== null || job.recoveryNotBefore === null) return true
  return Date.parse(job.recoveryNotBefore) < databaseNow(job).getTime()
}

function renderSweep(terminal: Terminal, document: SweepDocument, dryRun: boolean): Rendered {
  const { markedOfflineCount, affectedMachineIds, recovered, failed, durationMs } = document
  if (!terminal.isTerminal) {
    const facts = Object.entries(document).map(([name, value]) => [name, String(value)] as const)
    return { output: block(renderFacts(facts)), note: '' }
  }
  const on =
    affectedMachineIds.length === 0 ? '' : ` on ${plural(affectedMachineIds.length, 'machine')}`
  const workers = `${plural(markedOfflineCount, 'worker')} marked offline${on}`
  const jobs = `${plural(recovered.length, 'job')} handed back`
  return dryRun
    ? {
        output: lines(`A sweep would find: ${workers}, ${jobs}.`),
        note: lines('Dry run: nothing was changed. To do it: leasehold sweep'),
      }
    : {
        output: lines(
          `${workers}, ${jobs}, ${failed.length} failed, in ${formatDuration(durationMs)}.`,
        ),
        note: document.success ? '' : lines('More are lost. Again: leasehold sweep'),
      }
}
