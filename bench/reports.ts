/**
 * What a handler tells the benchmark: one JSON line each on standard output, written before anything else happens.
 *
 * `atMs` is read from the system's monotonic clock, which all processes of a machine share, so a time taken by the benchmark just
 * before a kill and one taken by a handler in another process can be subtracted. How late the benchmark reads the line is no part
 * of any figure.
 */
import { writeSync } from 'node:fs'

/** What a handler did, and when. */
export interface Report {
  readonly event: 'started' | 'told' | 'thawed'
  readonly atMs: number
  readonly job: string
  readonly attempt: number
  readonly pid: number
  /** Of `told`: code of the abort. */
  readonly reason?: string
  /** Of `thawed`: whether the first look at the signal said that the lease was lost, and what each late write came to. */
  readonly toldFirst?: boolean
  readonly writes?: Readonly<Record<string, string>>
}

/** Tells the benchmark; synchronous, so that nothing comes in between. */
export function report(fields: Omit<Report, 'pid'>): void {
  writeSync(1, `${JSON.stringify({ ...fields, pid: process.pid })}\n`)
}

/** A line of a worker's standard output, or null when it is no report. */
export function parseReport(line: string): Report | null {
  if (!line.startsWith('{"event":')) return null
  const parsed: Report = JSON.parse(line)
  return parsed
}
