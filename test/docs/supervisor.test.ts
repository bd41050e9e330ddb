/** docs/supervisor.md and docs/reaping.md say of every event, reason and action what the code has, and nothing else. */
import ts from 'typescript'
import { expect, test } from 'vitest'
import { code, codes, readPage, section, tables } from './documents.ts'

function unionOf(file: string, name: string): ts.TypeNode[] {
  const source = ts.createSourceFile(file, readPage(file), ts.ScriptTarget.Latest, true)
  const alias = source.statements.find(
    (statement): statement is ts.TypeAliasDeclaration =>
      ts.isTypeAliasDeclaration(statement) && statement.name.text === name,
  )
  if (alias === undefined || !ts.isUnionTypeNode(alias.type))
    throw new Error(`${file} has no union ${name}`)
  return [...alias.type.types]
}

const text = (node: ts.Node): string => node.getText().replaceAll("'", '')

test('every event of a supervisor has its row, with its fields', () => {
  const declared = unionOf('src/worker/supervisor.ts', 'SupervisorEvent').map((node) => {
    const members = ts.isTypeLiteralNode(node) ? node.members.filter(ts.isPropertySignature) : []
    const kind = members.find((member) => member.name.getText() === 'kind')?.type
    const fields = members.map((member) => member.name.getText()).filter((name) => name !== 'kind')
    return { event: kind === undefined ? '' : text(kind), fields }
  })
  const rows = tables(section(readPage('docs/supervisor.md'), '## What it logs'), '`event`')
    .map((row) => ({ event: code(row['`event`']), fields: codes(row['Fields']) }))
    // Said by the program about itself, and not by its supervisor.
    .filter(({ event }) => event !== 'supervisor.runner_gone')
  const byEvent = (a: { event: string }, b: { event: string }): number =>
    a.event.localeCompare(b.event)
  expect(rows.toSorted(byEvent)).toEqual(declared.toSorted(byEvent))
})

test('every reason and action of the reaper has its row', () => {
  const page = readPage('docs/reaping.md')
  const documented = (heading: string): string[] =>
    tables(page, heading).flatMap((row) => (heading in row ? [code(row[heading])] : []))
  const declared = (name: string): string[] => unionOf('src/worker/reaper.ts', name).map(text)
  expect(documented('`reason`').toSorted()).toEqual(
    [...declared('ReapReason'), ...declared('SkipReason')].toSorted(),
  )
  expect(documented('`action`').toSorted()).toEqual(declared('ReapAction').toSorted())
})
