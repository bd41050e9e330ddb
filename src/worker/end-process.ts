/**
 * The two ways in which a worker ends its process: with an exit code, where a handler that runs on would run beside its successor, and by
 * force, where this thread can't even be asked. The program itself apart, nothing else may.
 */
import { write } from 'node:fs'
import { isatty } from 'node:tty'

/** What the line that says why may take; as a rule a millisecond. Whoever should read it may hang. */
export const LAST_WORDS_MS = 50

let isEnding = false

export function endProcess(code: number): void {
  process.exit(code)
}

/**
 * Says why, and kills this process, from whichever thread. Nobody else could say it: the main thread may be spinning, and exit handlers
 * would run there. A line of the log as the program keeps it, JSON unless at a terminal, written beside the threads of JavaScript.
 */
export function endByForce(workerId: string, reason: string): void {
  const kill = (): void => void process.kill(process.pid, 'SIGKILL')
  if (isEnding) kill()
  isEnding = true
  const time = new Date().toISOString()
  const fields = { level: 60, time, pid: process.pid, event: 'worker.killed', workerId, reason }
  const text = `${time.slice(11, 19)}  this process is ended by force: ${reason}`
  setTimeout(kill, LAST_WORDS_MS)
  write(2, `${isatty(2) ? text : JSON.stringify(fields)}\n`, kill)
}
