/** Links between the documents lead somewhere, commands that they name exist, and the README stays short. */
import { existsSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { buildProgram } from '../../src/cli/program.ts'
import { allPages, codeBlocks, readPage, ROOT } from './documents.ts'

/** As GitHub makes them of headings. */
function anchors(page: string): string[] {
  return [...readPage(page).matchAll(/^#+ (.*)$/gm)].map((match) =>
    (match[1] ?? '')
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}

test('every relative link leads to a file, and to a heading of it', () => {
  const broken: string[] = []
  for (const page of allPages()) {
    for (const [, target = ''] of readPage(page).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      const [file = '', anchor] = target.split('#')
      const found = file === '' ? page : path.join(path.dirname(page), file)
      if (!existsSync(path.join(ROOT, found))) broken.push(`${page}: ${target}`)
      else if (anchor !== undefined && !anchors(found).includes(anchor))
        broken.push(`${page}: ${target} has no such heading`)
    }
  }
  expect(broken).toEqual([])
})

test('the README has at most 150 lines', () => {
  expect(readPage('README.md').trimEnd().split('\n').length).toBeLessThanOrEqual(150)
})

test('every page of docs is linked from the README', () => {
  const readme = readPage('README.md')
  expect(
    allPages().filter((page) => page !== 'README.md' && !readme.includes(`(${page})`)),
  ).toEqual([])
})

const shell = allPages().flatMap((page) =>
  codeBlocks(page)
    .filter((block) => block.language === 'sh')
    .flatMap((block) => block.text.split('\n').map((line) => ({ page, line }))),
)

test('every `npm run` in a document is a script of package.json, and its file exists', () => {
  const { scripts }: { scripts: Record<string, string> } = JSON.parse(readPage('package.json'))
  for (const { page, line } of shell) {
    const name = /^npm (?:run )?(test|demo|[a-z]+(?= |$))/.exec(line)?.[1]
    if (name === undefined || name === 'install' || name === 'ci') continue
    expect(scripts[name], `${page}: ${line}`).toBeDefined()
    const file = /node (scripts\/\S+)/.exec(scripts[name] ?? '')?.[1]
    if (file !== undefined) expect(existsSync(path.join(ROOT, file)), file).toBe(true)
  }
})

test('every `leasehold` command in a document is one, with its flags', () => {
  const program = buildProgram({ text: '' })
  const wrong: string[] = []
  for (const { page, line } of shell) {
    for (const [, words = ''] of line.matchAll(
      /(?:^|&& |\|\| |\| (?:xargs (?:-n1 )?)?|npx |[A-Z_]+=\S+ )leasehold ([^|#;&)]*)/g,
    )) {
      let command = program
      const rest = words.trim().split(/\s+/)
      for (const word of rest) {
        const next = command.commands.find((child) => child.name() === word)
        if (next === undefined) break
        command = next
      }
      const known = [...command.options, ...program.options].map((option) => option.long)
      const flags = rest.filter((word) => word.startsWith('--'))
      const isCommand = command !== program && command.commands.length === 0
      if (!isCommand || flags.some((flag) => flag !== '--help' && !known.includes(flag)))
        wrong.push(`${page}: leasehold ${words}`)
    }
  }
  expect(wrong).toEqual([])
})

test('guides do not call anything easy', () => {
  const words = /\b(just|simply|easily|obviously)\b/i
  const found = allPages().flatMap((page) =>
    readPage(page)
      .split('\n')
      .flatMap((line, at) => (words.test(line) ? [`${page}:${at + 1}: ${line.trim()}`] : [])),
  )
  expect(found).toEqual([])
})
