/**
 * Who a process is, so that it is never taken for another: boot id, pid namespace, pid and start time together. A pid alone is
 * reused within minutes, and means nothing in another container; what can't be read is null and proves nothing.
 */
import { createHash } from 'node:crypto'
import { readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'
import { statFields } from '../domain/process-stat.ts'
import type { ProcessIdentity } from '../sql/protocol.ts'

/** The machine's own id: its name and a digest of what the system keeps across restarts. */
export function ownMachineId(): string {
  const kept = readOrNull('/etc/machine-id') ?? readOrNull('/var/lib/dbus/machine-id')
  if (kept === null || kept === '') return hostname()
  return `${hostname()}-${createHash('sha256').update(kept).digest('hex').slice(0, 6)}`
}

export function ownIdentity(incarnation: string): ProcessIdentity {
  return {
    incarnation,
    pid: process.pid,
    bootId: bootId(),
    pidNamespace: pidNamespace(),
    processStarted: processStarted(process.pid),
  }
}

export function bootId(): string | null {
  return readOrNull('/proc/sys/kernel/random/boot_id')
}

export function pidNamespace(): string | null {
  try {
    return readlinkSync('/proc/self/ns/pid')
  } catch {
    return null // Not Linux, or hidden: layer 2 is then silent.
  }
}

/** Start time of a process in ticks since boot (field 22 of its stat), or null when it can't be read. */
export function processStarted(pid: number): string | null {
  const fields = fieldsOf(pid)
  return fields === null || fields[0] === 'Z' ? null : (fields[19] ?? null)
}

/** The pid of a process's parent now, or null where that can't be read. */
export function parentPidOf(pid: number): number | null {
  const parent = fieldsOf(pid)?.[1]
  return parent === undefined ? null : Number(parent)
}

/** The parent of a process and what tells it from others, or null where that can't be read. */
export function parentOf(
  pid: number,
): { readonly pid: number; readonly processStarted: string; readonly name: string } | null {
  const parent = parentPidOf(pid) ?? 0
  const started = parent > 0 ? processStarted(parent) : null
  const name = readOrNull(`/proc/${parent}/comm`)
  return started === null || name === null ? null : { pid: parent, processStarted: started, name }
}

/**
 * Whether a process of this machine, boot and pid namespace certainly no longer exists: its pid is free, is a zombie that only
 * waits to be reaped, or belongs to a process with another start time. Unreadable is no proof.
 */
export function isGone(identity: Pick<ProcessIdentity, 'pid' | 'processStarted'>): boolean {
  try {
    process.kill(identity.pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
  const fields = fieldsOf(identity.pid)
  if (fields === null) return false
  if (fields[0] === 'Z' || fields[0] === 'X') return true
  return (
    identity.processStarted !== null &&
    fields[19] !== undefined &&
    fields[19] !== identity.processStarted
  )
}

/** What has the pid of a registered process now. Only *same* is that process; what can't be read proves nothing. */
export function recognise(
  identity: Omit<ProcessIdentity, 'incarnation'>,
): 'same' | 'gone' | 'another' | 'unreadable' {
  if (identity.bootId === null || identity.bootId !== bootId()) return 'unreadable'
  if (identity.pidNamespace === null || identity.pidNamespace !== pidNamespace())
    return 'unreadable'
  const fields = fieldsOf(identity.pid)
  const started = fields?.[19]
  if (identity.processStarted === null) return 'unreadable'
  if (started !== undefined && started !== identity.processStarted) return 'another'
  if (isGone(identity)) return 'gone'
  return started === undefined ? 'unreadable' : 'same'
}

function fieldsOf(pid: number): string[] | null {
  const stat = readOrNull(`/proc/${pid}/stat`)
  return stat === null ? null : statFields(stat)
}

function readOrNull(file: string): string | null {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return null // Missing or hidden; callers treat both as unknown.
  }
}
