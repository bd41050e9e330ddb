/**
 * A worker process under a supervisor: tells it what it needs to know, does what it asks, and does not outlive it.
 *
 * The supervisor is gone when the channel to it closes, which the kernel does however it ended. A main thread that a handler keeps busy
 * hears of nothing: then the hard exit of this process is up to its lifeline, which is told whose child this is.
 */
import type { ChildMessage, ParentMessage } from '../worker/supervisor.ts'
import type { Worker } from '../worker/worker.ts'

const LOAD_EVERY_MS = 1_000

/** Whether a supervisor started this process. A process that a handler starts inherits the variable, but no channel. */
export function isSupervised(): boolean {
  return process.env['LEASEHOLD_SUPERVISED'] === '1' && process.send !== undefined
}

/** Says that there is nothing to do for this process, and for none in its stead; resolves when that is sent. */
export function leaveForGood(): Promise<void> {
  const message: ChildMessage = { type: 'stopped', done: true }
  return new Promise((resolve) => {
    if (process.connected) process.send?.(message, () => resolve())
    else resolve()
  })
}

/**
 * @param worker Of a guard with `endsWithParent`.
 * @param shutDown Begins a graceful stop of this process.
 */
export function answerSupervisor(
  worker: Worker,
  shutDown: (reason: string) => Promise<void>,
): void {
  const tell = (message: ChildMessage): void => {
    // A supervisor that is gone is noticed by `disconnect`.
    if (process.connected) process.send?.(message, () => undefined)
  }
  const leave = (): void => void shutDown('its supervisor is gone')
  process.once('disconnect', leave)
  if (!process.connected) leave()
  // Meant for the supervisor, but `pkill -USR2` reaches all of the family, and would end this process.
  process.on('SIGUSR2', () => undefined)
  worker.on('worker.started', ({ workerId, queues, types }) =>
    tell({
      type: 'registered',
      incarnation: worker.incarnation ?? '',
      id: workerId,
      queues,
      types,
    }),
  )
  let done = false
  worker.on('run.ended', () => (done = true))
  worker.on('worker.bound_reached', () => (done = true))
  worker.on('worker.stopped', () => tell({ type: 'stopped', done }))
  process.on('message', (message: ParentMessage) => {
    if (message.type !== 'leave_if_idle' || worker.running.length > 0) return
    tell({ type: 'leaving' })
    void shutDown('there is too little to do')
  })

  const { concurrency } = worker.settings
  let peak = 0
  let said = ''
  worker.on('job.picked_up', () => {
    if (peak < concurrency) peak = Math.max(peak, worker.running.length)
  })
  const timer = setInterval(() => {
    const load = { running: worker.running.length, peak, concurrency }
    peak = load.running
    const text = JSON.stringify(load)
    if (worker.state === 'starting' || text === said) return
    said = text
    tell({ type: 'load', ...load })
  }, LOAD_EVERY_MS)
  timer.unref()
}
