/**
 * What a worker or supervisor says, on standard error: text lines for a person at a terminal, JSON lines with a stable `event` field
 * for everything else. Payloads are never logged.
 */
import { pino } from 'pino'
import type { SupervisorEvent } from '../worker/supervisor.ts'
import { EVENT_LEVELS, type WorkerEventName, type WorkerEvents } from '../worker/worker-events.ts'
import type { LogLevel } from './resolve.ts'
import { supervisorSentence, workerSentence } from './terminal/event-sentences.ts'
import { createTerminal, paint, type Style, type Terminal } from './terminal/style.ts'
import { plain } from './terminal/text.ts'

export interface WorkerLog {
  worker<Name extends WorkerEventName>(name: Name, fields: WorkerEvents[Name]): void
  supervisor(event: SupervisorEvent): void
  say(level: 'info' | 'warn' | 'error', event: string, message: string): void
}

const RANK: Readonly<Record<LogLevel, number>> = Object.freeze({
  trace: 10,
  debug: 20,
  info: 30,
  warn: 40,
  error: 50,
  fatal: 60,
  silent: Infinity,
})

export function createWorkerLog(
  stream: NodeJS.WriteStream,
  env: NodeJS.ProcessEnv,
  level: LogLevel,
): WorkerLog {
  const terminal = createTerminal(stream, env)
  return terminal.isTerminal ? textLog(stream, terminal, level) : jsonLog(level)
}

function jsonLog(level: LogLevel): WorkerLog {
  // Synchronous, so that the last lines before a crash are not lost with it.
  const destination = pino.destination({ fd: 2, sync: true })
  // Whoever read our log may be gone (a supervisor that was killed): that must not end what we run.
  destination.on('error', () => undefined)
  const logger = pino(
    { level, base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime },
    { write: gatherLines((text) => destination.write(text)) },
  )
  return {
    worker: (name, fields) => logger[EVENT_LEVELS[name]]({ event: name, ...fields }),
    supervisor: (event) => {
      const { kind, ...fields } = event
      logger[supervisorLevel(event)]({ event: kind, ...fields })
    },
    say: (at, event, message) => logger[at]({ event }, message),
  }
}

/**
 * Writes the lines that one piece of code causes with one system call: at thousands of jobs a second, a call for each line costs more
 * than the job. What is gathered is written before any handler goes on, so a process that hangs or is killed has said what it was doing.
 */
function gatherLines(write: (text: string) => void): (line: string) => void {
  let gathered = ''
  const flush = (): void => {
    if (gathered === '') return
    const text = gathered
    gathered = ''
    write(text)
  }
  process.on('exit', flush)
  return (line) => {
    if (gathered === '') queueMicrotask(flush)
    gathered += line
  }
}

function textLog(stream: NodeJS.WriteStream, terminal: Terminal, level: LogLevel): WorkerLog {
  stream.on('error', () => undefined)
  const line = gatherLines((text) => stream.write(text))
  const write = (at: 'debug' | 'info' | 'warn' | 'error', text: string): void => {
    if (RANK[at] < RANK[level]) return
    const time = paint(terminal, ['dim'], new Date().toISOString().slice(11, 19))
    const styles: Style[] = at === 'error' ? ['red', 'bold'] : at === 'warn' ? ['yellow'] : []
    line(`${time}  ${paint(terminal, styles, plain(text))}\n`)
  }
  return {
    worker: (name, fields) => write(EVENT_LEVELS[name], workerSentence(terminal, name, fields)),
    supervisor: (event) => write(supervisorLevel(event), supervisorSentence(terminal, event)),
    say: (at, _event, message) => write(at, message),
  }
}

/** Of the events that are no mere information. */
const SUPERVISOR_LEVELS: Partial<Record<SupervisorEvent['kind'], 'warn' | 'error'>> = {
  'supervisor.waiting': 'warn',
  'supervisor.overtaken': 'error',
  'supervisor.unanswered': 'warn',
  'child.failed': 'error',
  'jobs.recovered': 'warn',
  'job.poisoned': 'error',
  'report.failed': 'warn',
  'roll.failed': 'error',
}

function supervisorLevel(event: SupervisorEvent): 'info' | 'warn' | 'error' {
  if (event.kind === 'child.exited' && !event.clean) return 'warn'
  return SUPERVISOR_LEVELS[event.kind] ?? 'info'
}
