/** docs/reference/events.md has every event of worker and client, with its fields and level, and no other. */
import ts from 'typescript'
import { expect, test } from 'vitest'
import { EVENT_NAMES } from '../../src/client/event-feed.ts'
import { EVENT_LEVELS } from '../../src/worker/worker-events.ts'
import { code, codes, readPage, section, sourceFiles, tables } from './documents.ts'

const page = readPage('docs/reference/events.md')
const rows = tables(section(page, '## Events of a worker'), 'Event')

/** Fields of each event, from the interface: types are gone at run time. */
function declaredFields(): Record<string, string[]> {
  const file = 'src/worker/worker-events.ts'
  const source = ts.createSourceFile(file, readPage(file), ts.ScriptTarget.Latest, true)
  const events = source.statements.find(
    (statement): statement is ts.InterfaceDeclaration =>
      ts.isInterfaceDeclaration(statement) && statement.name.text === 'WorkerEvents',
  )
  const fields: Record<string, string[]> = {}
  for (const member of events?.members ?? []) {
    if (!ts.isPropertySignature(member) || member.type === undefined) continue
    if (
      !ts.isTypeLiteralNode(member.type) ||
      !(ts.isStringLiteral(member.name) || ts.isIdentifier(member.name))
    )
      continue
    fields[member.name.text] = member.type.members.map((field) => field.name?.getText() ?? '')
  }
  return fields
}

test('every event of a worker has its row, with all its fields', () => {
  const documented = Object.fromEntries(
    rows.map((row) => [code(row['Event']), codes(row['Fields'])]),
  )
  expect(documented).toEqual(declaredFields())
  expect(Object.keys(documented).toSorted()).toEqual(Object.keys(EVENT_LEVELS).toSorted())
})

test('each is logged at the level that is stated', () => {
  expect(Object.fromEntries(rows.map((row) => [code(row['Event']), row['Level']]))).toEqual(
    EVENT_LEVELS,
  )
})

test('what is said not to be emitted yet is exactly what nothing emits', () => {
  const source = sourceFiles()
    .map((file) => readPage(file))
    .join('\n')
  const emitted = new Set(
    [...source.matchAll(/\b(?:emit|worker)\(\s*'([a-z_]+(?:\.[a-z_]+)?)'/g)].map(
      (match) => match[1],
    ),
  )
  const reserved = rows.filter((row) => row['When']?.startsWith('Reserved: not emitted yet'))
  expect(reserved.map((row) => code(row['Event'])).toSorted()).toEqual(
    Object.keys(EVENT_LEVELS)
      .filter((name) => !emitted.has(name))
      .toSorted(),
  )
})

test('every event of a client has its row', () => {
  const documented = tables(section(page, '## Events of a client'), 'Event')
  expect(documented.map((row) => code(row['Event']))).toEqual([...EVENT_NAMES])
})
