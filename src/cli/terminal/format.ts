/**
 * Numbers, times and ids in the form that people read.
 *
 * Numbers and units are separated by a space. A missing value is a dash.
 */
import type { ProgressDocument } from '../../client/documents.ts'
import type { Terminal } from './style.ts'
import { ellipsis } from './text.ts'

export { formatDuration } from '../../domain/duration.ts'

/** `10:41:07 UTC`, with the date when that is not the day of `now`; ISO 8601 off a terminal. */
export function formatTime(terminal: Terminal, at: string, now: Date): string {
  const iso = new Date(at).toISOString()
  if (!terminal.isTerminal) return iso
  const date = iso.slice(0, 10) === now.toISOString().slice(0, 10) ? '' : `${iso.slice(0, 10)} `
  return `${date}${iso.slice(11, 19)} UTC`
}

/** `10:41:07.318`, for ledgers; ISO 8601 off a terminal. */
export function formatInstant(terminal: Terminal, atMs: number): string {
  const iso = new Date(atMs).toISOString()
  return terminal.isTerminal ? iso.slice(11, 23) : iso
}

/** `1,842` */
export function formatCount(count: number): string {
  return count.toLocaleString('en-US')
}

/** `512 B`, `1.5 kB`, `20 MB`: powers of 1,000, tenths below 10. */
export function formatSize(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let size = bytes
  let unit = 0
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000
    unit += 1
  }
  const tenths = Math.floor(size * 10) / 10
  return `${unit === 0 || size >= 10 ? formatCount(Math.floor(size)) : tenths.toFixed(1)} ${units[unit]}`
}

/** `…a41c9e`: UUIDv7 ids of one minute begin alike, so the end is shown. The full id off a terminal. */
export function formatId(terminal: Terminal, id: string): string {
  return terminal.isTerminal ? `${ellipsis(terminal)}${idEnding(id)}` : id
}

/** The last 6 characters of an id: what a person types into the next command. */
export function idEnding(id: string): string {
  return id.slice(-6)
}

const INCARNATION = /-(?:[0-9a-f]{8}|([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}))$/i

/** `render-b-2210`: host and pid of a worker id, without its incarnation. */
export function workerName(workerId: string): string {
  return workerId.replace(INCARNATION, '')
}

/** A worker id for a table: an incarnation that is a whole UUID is shown by its end. Full off a terminal. */
export function formatWorkerId(terminal: Terminal, workerId: string): string {
  const uuid = INCARNATION.exec(workerId)?.[1]
  if (uuid === undefined || !terminal.isTerminal) return workerId
  return `${workerName(workerId)}-${formatId(terminal, uuid)}`
}

/** `47/60`, `902` without a total, a dash without progress. */
export function formatProgress(terminal: Terminal, progress: ProgressDocument | null): string {
  if (progress === null) return dash(terminal)
  const done = String(progress.done)
  return progress.total === null ? done : `${done}/${progress.total}`
}

/** The sign for no value; empty off a terminal, where a column may be tested for it. */
export function dash(terminal: Terminal): string {
  if (!terminal.isTerminal) return ''
  return terminal.unicode ? '–' : '-'
}

/** `1 attempt`, `2 attempts`; with `many` for a noun that takes more than an s. */
export function plural(count: number, noun: string, many: string = `${noun}s`): string {
  return `${formatCount(count)} ${count === 1 ? noun : many}`
}
