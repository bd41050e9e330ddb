/** docs/reference/errors.md says of every error class its code and exit code, and of nothing else. */
import { expect, test } from 'vitest'
import * as errors from '../../src/errors.ts'
import { code, readPage, sourceFiles, tables } from './documents.ts'

const page = readPage('docs/reference/errors.md')

/** All of them take a message; one takes its reason before that. */
function make(Class: unknown): errors.LeaseholdError {
  const error: unknown =
    typeof Class === 'function' ? Reflect.construct(Class, ['test', 'test']) : null
  if (error instanceof errors.LeaseholdError) return error
  throw new Error(`${String(Class)} is exported by errors.ts and is no error of Leasehold`)
}

function byName<T extends { name: string }>(items: T[]): T[] {
  return items.toSorted((a, b) => a.name.localeCompare(b.name))
}

/** Classes that are exported, but not the abstract one above them. */
function classes(): { name: string; code: string; exitCode: string }[] {
  return Object.entries(errors)
    .filter(([name]) => name !== 'LeaseholdError')
    .map(([name, Class]) => {
      const error = make(Class)
      return { name, code: error.code, exitCode: String(error.exitCode) }
    })
}

test('errors.md has each class once, with its code and exit code', () => {
  const documented = tables(page, 'Code')
    .filter((row) => row['Class'] !== undefined)
    .map((row) => ({
      name: code(row['Class']),
      code: code(row['Code']),
      exitCode: row['Exit code'],
    }))
  expect(byName(documented)).toEqual(byName(classes()))
})

test('no two classes share a code', () => {
  const all = classes().map((one) => one.code)
  expect(new Set(all).size).toBe(all.length)
})

/** A code that is given to an error, not one of Node's that is compared with. */
const GIVEN_CODE = /\bcode(?:: string)?\s*[:=]\s*'(ERR_[A-Z_]+)'/g

test('every code that the source gives is documented, and no other', () => {
  const used = new Set(
    sourceFiles().flatMap((file) =>
      [...readPage(file).matchAll(GIVEN_CODE)].map((match) => match[1] ?? ''),
    ),
  )
  const documented = new Set(
    tables(page, 'Code').flatMap((row) => {
      const name = code(row['Code'])
      return name.startsWith('ERR_') ? [name] : []
    }),
  )
  expect([...documented].toSorted()).toEqual([...used].toSorted())
})
