/** What figures were measured on, as it is printed and kept with them. */
import { cpus, totalmem } from 'node:os'
import type { Server } from './server.ts'

export function describeServer({ version, origin, settings }: Server): string {
  const shown = Object.entries(settings).map(([name, value]) => `${name} ${value}`)
  return `PostgreSQL ${version}, ${origin}: ${shown.join(', ')}`
}

export function describeMachine(): string {
  const [cpu] = cpus()
  const gigabytes = Math.round(totalmem() / 1_024 ** 3)
  return `${cpus().length} × ${cpu?.model.trim() ?? 'CPU'}, ${gigabytes} GiB, ${process.platform} ${process.arch}`
}
