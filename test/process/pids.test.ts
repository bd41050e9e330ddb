/**
 * The same pid twice, as the kernel really hands it out: in a pid namespace of its own the next pid can be chosen, and the first process
 * of a container is pid 1 after every restart. Both need root and `unshare`; without them these tests are skipped.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { builtProgram, Scenario } from '../support/process.ts'
import type { FoundProcess } from '../../src/worker/reaper.ts'

builtProgram()

const OWN_PIDS = ['--pid', '--fork', '--mount-proc', '--kill-child']
const FORCE = 'echo 300 > /proc/sys/kernel/ns_last_pid'
const canForcePids = spawnSync('unshare', [...OWN_PIDS, 'sh', '-c', FORCE]).status === 0

function environment(s: Scenario): NodeJS.ProcessEnv {
  return {
    ...process.env,
    NODE: process.execPath,
    PROGRAM: builtProgram(),
    HANDLERS: s.handlers()[0],
    DATABASE_URL: s.databaseUrl,
    LEASEHOLD_SCHEMA: s.schemaName,
    LEASEHOLD_MACHINE_ID: 'machine-a',
    TEST_JOURNAL: s.journalFile,
  }
}

/** Runs a script as the first process of a pid namespace, and returns the last line that it prints. */
async function inOwnPids<Answer>(s: Scenario, script: string): Promise<Answer> {
  const file = path.join(s.directory, 'script.sh')
  writeFileSync(file, `set -e\n${script}`)
  const shell = spawn('unshare', [...OWN_PIDS, 'sh', file], {
    env: environment(s),
    cwd: s.directory,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let told = ''
  shell.stdout.on('data', (chunk: Buffer) => (told += chunk.toString()))
  shell.stderr.on('data', (chunk: Buffer) => (told += chunk.toString()))
  let code: number | null | undefined
  shell.once('close', (exitCode) => (code = exitCode))
  try {
    await s.until(`the end of the script\n${told}`, () => code !== undefined, 60_000)
  } finally {
    shell.kill('SIGKILL')
  }
  expect(code, told).toBe(0)
  return JSON.parse(told.trim().split('\n').at(-1) ?? '') as Answer
}

/** Starts a worker, waits for this word in its log, kills it, and makes its pid the next one. */
const killOne = (word: string): string => `
"$NODE" "$PROGRAM" worker "$HANDLERS" 2> first.log &
first=$!
until grep -q ${word} first.log; do sleep 0.1; done
kill -9 $first
wait $first || true
echo $((first - 1)) > /proc/sys/kernel/ns_last_pid
`

describe.skipIf(!canForcePids)('a pid that comes again', { concurrent: true }, () => {
  test('I2: is another process to the reaper, which leaves it alone', async (context) => {
    const s = await Scenario.open(context)
    const { pid, reaped } = await inOwnPids<{
      pid: number
      reaped: { items: readonly FoundProcess[] }
    }>(
      s,
      `${killOne('worker.started')}
sleep 60 &
stranger=$!
test $stranger -eq $first
"$NODE" "$PROGRAM" workers reap --force --grace 1s --json > reaped.json
kill -0 $stranger
echo "{\\"pid\\":$first,\\"reaped\\":$(cat reaped.json)}"
`,
    )
    expect(reaped.items).toMatchObject([{ pid, reason: 'pid_reused', action: 'none' }])
  })

  test('A3: a worker that gets it takes the jobs of its predecessor back at its registration', async (context) => {
    const s = await Scenario.open(context)
    const gate = s.gate('go')
    const jobId = await s.enqueue('wait', { gate: gate.file })
    const script = inOwnPids<{ first: number; second: number }>(
      s,
      `${killOne('job.picked_up')}
"$NODE" "$PROGRAM" worker "$HANDLERS" 2> second.log &
second=$!
until grep -q job.completed second.log; do sleep 0.1; done
kill $second
wait $second
echo "{\\"first\\":$first,\\"second\\":$second}"
`,
    )
    await s.journalLine('start', (line) => line.jobId === jobId && line.attempt === 2)
    const [before, after] = (await s.client.workers.list()).toSorted((one, other) =>
      one.startedAt.localeCompare(other.startedAt),
    )
    expect(before).toMatchObject({
      status: 'offline',
      reason: 'its pid belongs to another process now',
    })
    expect(after).toMatchObject({
      pid: before?.pid,
      hostname: before?.hostname,
      status: 'online',
    })
    gate.open()
    const { first, second } = await script
    expect(second).toBe(first)
    const job = await s.job(jobId)
    expect(job).toMatchObject({ status: 'completed', attempt: 2 })
    expect(job.attempts?.[0]).toMatchObject({ endedAs: 'lost', endReason: { layer: 2 } })
  })

  test('A3: a container that restarts, pid 1 again, gets back what it held before', async (context) => {
    const s = await Scenario.open(context)
    const jobId = await s.enqueue('wait', { gate: s.gate('never').file })
    const container = (): ChildProcess => {
      const started = spawn(
        'unshare',
        [...OWN_PIDS, process.execPath, builtProgram(), 'worker', ...s.handlers()],
        { env: environment(s), stdio: 'ignore' },
      )
      const ended = once(started, 'exit')
      context.onTestFinished(async () => {
        started.kill('SIGKILL')
        await ended
      })
      return started
    }
    const first = container()
    await s.journalLine('start')
    first.kill('SIGKILL')
    container()
    const again = await s.journalLine('start', (line) => line.attempt === 2)
    expect(again).toMatchObject({ jobId, pid: 1 })
    // Another pid namespace: nobody can see that the first one is gone, but its connection is.
    expect((await s.job(jobId)).attempts?.[0]).toMatchObject({
      endedAs: 'lost',
      endReason: { layer: 3 },
    })
  })
})
