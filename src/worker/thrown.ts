/**
 * What a handler threw, or a step of a shutdown, as text. That may be anything: null, an object without a prototype, an error whose
 * message is the body of an answer or whose getters throw, a Proxy that refuses every look. Nothing here throws, whatever it is.
 */
import { inspect } from 'node:util'

export interface Thrown {
  readonly code: string
  readonly message: string
  readonly stack: string | undefined
}

type Class = abstract new (...args: never[]) => unknown

export function isA<Of extends Class>(value: unknown, of: Of): value is InstanceType<Of> {
  try {
    return value instanceof of
  } catch {
    return false
  }
}

export function readThrown(error: unknown): Thrown {
  if (!isA(error, Error))
    return { code: 'Error', message: `a handler threw ${textOf(error)}`, stack: undefined }
  const code = [read(error, 'code'), read(error, 'name')].find((text) => typeof text === 'string')
  const stack = read(error, 'stack')
  return {
    code: code ?? 'Error',
    message: messageOf(error),
    stack: typeof stack === 'string' ? stack : undefined,
  }
}

export function messageOf(error: unknown): string {
  return textOf(isA(error, Error) ? (read(error, 'message') ?? '') : error)
}

function read(error: Error, name: 'code' | 'name' | 'message' | 'stack'): unknown {
  try {
    return (error as { readonly [key in typeof name]?: unknown })[name]
  } catch {
    return undefined
  }
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value
  try {
    return inspect(value, { depth: 3 })
  } catch {
    return 'something that can not be read'
  }
}
