/** What the tests of the documents share: reading a page, its tables and its code blocks. */
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'

export const ROOT = path.resolve(import.meta.dirname, '..', '..')

export function readPage(page: string): string {
  return readFileSync(path.join(ROOT, page), 'utf8')
}

/** The pages that users read, by their path from the root. */
export function allPages(): string[] {
  const docs = readdirSync(path.join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })
  return [
    'README.md',
    'CHANGELOG.md',
    'CONTRIBUTING.md',
    ...docs.filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`),
  ]
}

/** The part of a page under this heading, up to the next heading of the same level or a higher one. */
export function section(page: string, heading: string): string {
  const lines = page.split('\n')
  const start = lines.indexOf(heading)
  if (start === -1) throw new Error(`there is no heading "${heading}"`)
  const level = heading.indexOf(' ')
  const length = lines
    .slice(start + 1)
    .findIndex((line) => /^#+ /.test(line) && line.indexOf(' ') <= level)
  return lines.slice(start + 1, length === -1 ? undefined : start + 1 + length).join('\n')
}

/** The rows of all tables in this text whose first column has this heading, as cells by heading. */
export function tables(text: string, firstHeading: string): Record<string, string>[] {
  const rows: Record<string, string>[] = []
  let headings: string[] | null = null
  for (const line of text.split('\n')) {
    if (!line.startsWith('|')) {
      headings = null
      continue
    }
    const cells = line
      .slice(1, line.lastIndexOf('|'))
      .split(/(?<!\\)\|/)
      .map((cell) => cell.trim().replaceAll('\\|', '|'))
    if (headings === null) headings = cells
    else if (!cells.every((cell) => /^:?-+:?$/.test(cell)) && headings[0] === firstHeading)
      rows.push(Object.fromEntries(headings.map((heading, at) => [heading, cells[at] ?? ''])))
  }
  return rows
}

/** The text between the first pair of backticks, or the whole cell. */
export function code(cell: string | undefined): string {
  return /`([^`]+)`/.exec(cell ?? '')?.[1] ?? cell ?? ''
}

/** Everything between backticks. */
export function codes(cell: string | undefined): string[] {
  return [...(cell ?? '').matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '')
}

export interface CodeBlock {
  readonly page: string
  readonly line: number
  /** As in ```ts. */
  readonly language: string
  readonly text: string
}

export function codeBlocks(page: string): CodeBlock[] {
  const blocks: CodeBlock[] = []
  const pattern = /^```(\w+)\n([\s\S]*?)^```$/gm
  const text = readPage(page)
  for (const match of text.matchAll(pattern)) {
    blocks.push({
      page,
      line: text.slice(0, match.index).split('\n').length,
      language: match[1] ?? '',
      text: match[2] ?? '',
    })
  }
  return blocks
}

/** The files of `src` that end so, by their path from the root. */
export function sourceFiles(ending = '.ts'): string[] {
  return readdirSync(path.join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(ending) && !name.endsWith('.test.ts'))
    .map((name) => `src/${name.replaceAll(path.sep, '/')}`)
    .toSorted()
}
