/**
 * Who a process is, so that it is never taken for another: boot id, pid namespace, pid and start time together. A pid alone is
 * reused within minutes, and means nothing in another container; what can't be read is null and proves nothing.
 */
import { createHash } from 'node:crypto'
import { readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'
import type { ProcessIdentity } from '../sql/protocol.ts'
import { isAlive, statOf } from '../system.ts'

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

/** Start time of a process that has not ended, or null when it can't be read. */
export function processStarted(pid: number): string | null {
  const stat = statOf(pid)
  return stat === null || stat.state === 'Z' ? null : stat.started
}

/** The pid of a process's parent now, or null where that can't be read. */
export function parentPidOf(pid: number): number | null {
  return statOf(pid)?.parent ?? null
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
  if (!isAlive(identity.pid)) return true
  const stat = statOf(identity.pid)
  return (
    stat !== null && identity.processStarted !== null && stat.started !== identity.processStarted
  )
}

/** What has the pid of a registered process now. Only *same* is that process; what can't be read proves nothing. */
export function recognise(
  identity: Omit<ProcessIdentity, 'incarnation'>,
): 'same' | 'gone' | 'another' | 'unreadable' {
  if (identity.bootId === null || identity.bootId !== bootId()) return 'unreadable'
  if (identity.pidNamespace === null || identity.pidNamespace !== pidNamespace())
    return 'unreadable'
  const started = statOf(identity.pid)?.started
  if (identity.processStarted === null) return 'unreadable'
  if (started !== undefined && started !== identity.processStarted) return 'another'
  if (isGone(identity)) return 'gone'
  return started === undefined ? 'unreadable' : 'same'
}

function readOrNull(file: string): string | null {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return null // Missing or hidden; callers treat both as unknown.
  }
}
