/**
 * What keeps the parts apart: which folder may import which, where SQL stands, who reads the environment and who ends the process.
 *
 * Every file of `src` is parsed, type-only imports and `import()` included, and so are threads that are started by `new URL(…)`. A
 * finding is one line: where, what, and how to repair it. `KNOWN` lists findings that wait for their repair, each with the reason; one
 * that is repaired must be taken off the list.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import ts from 'typescript'
import { expect, test } from 'vitest'

const ROOT = path.resolve(import.meta.dirname, '..', '..')

interface SourceFile {
  /** From the root, as `src/worker/worker.ts`. */
  readonly name: string
  readonly tree: ts.SourceFile
  readonly imports: readonly Import[]
}

interface Import {
  readonly line: number
  /** From the root when it is a file of ours, else the package. */
  readonly target: string
  readonly isOurs: boolean
}

const files = readFiles()

function readFiles(): SourceFile[] {
  const names = readdirSync(path.join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
  return names
    .filter((name) => /\.tsx?$/.test(name) && !/\.test\.tsx?$/.test(name))
    .map((name) => `src/${name.replaceAll(path.sep, '/')}`)
    .toSorted()
    .map((name) => {
      const text = readFileSync(path.join(ROOT, name), 'utf8')
      const tree = ts.createSourceFile(name, text, ts.ScriptTarget.Latest, true)
      return { name, tree, imports: importsOf(name, tree) }
    })
}

function visit(node: ts.Node, look: (node: ts.Node) => void): void {
  look(node)
  ts.forEachChild(node, (child) => visit(child, look))
}

function lineOf(tree: ts.SourceFile, node: ts.Node): number {
  return tree.getLineAndCharacterOfPosition(node.getStart(tree)).line + 1
}

function importsOf(name: string, tree: ts.SourceFile): Import[] {
  const found: Import[] = []
  const add = (node: ts.Node, specifier: string): void => {
    const isOurs = specifier.startsWith('.')
    const target = isOurs ? path.posix.join(path.posix.dirname(name), specifier) : specifier
    found.push({ line: lineOf(tree, node), target, isOurs })
  }
  visit(tree, (node) => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) {
      if (node.moduleSpecifier !== undefined && ts.isStringLiteral(node.moduleSpecifier))
        add(node, node.moduleSpecifier.text)
    } else if (ts.isImportTypeNode(node)) {
      if (ts.isLiteralTypeNode(node.argument) && ts.isStringLiteral(node.argument.literal))
        add(node, node.argument.literal.text)
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [specifier] = node.arguments
      if (specifier !== undefined && ts.isStringLiteral(specifier)) add(node, specifier.text)
    }
  })
  return found
}

/** The room that a file is in. */
function roomOf(name: string): string {
  const [, folder = '', ...rest] = name.split('/')
  return rest.length === 0 ? folder.replace(/\.ts$/, '') : folder
}

const BELOW_CLIENT = [
  'sql',
  'db',
  'domain',
  'clock',
  'errors',
  'config',
  'events',
  'version',
  'system',
]
const BELOW_INDEX = ['client', 'worker', 'sweep', ...BELOW_CLIENT]

/** What each room may import, beside itself. A room that is not here has no place yet. */
const DOORS: Readonly<Record<string, readonly string[]>> = {
  domain: [],
  version: [],
  system: ['domain'],
  errors: ['domain'],
  clock: ['errors', 'domain'],
  config: ['errors', 'domain'],
  events: ['errors', 'domain'],
  db: ['domain', 'clock', 'errors', 'config', 'events', 'version', 'system'],
  sql: ['db', 'domain', 'clock', 'errors', 'config', 'events'],
  client: BELOW_CLIENT,
  // The sweep runs in a worker's lifeline, and its witness reads process identities.
  worker: ['client', 'sweep', ...BELOW_CLIENT],
  sweep: ['client', 'worker', ...BELOW_CLIENT],
  index: BELOW_INDEX,
  server: ['index', ...BELOW_INDEX],
  cli: ['index', 'server', ...BELOW_INDEX],
  testing: ['index', ...BELOW_INDEX],
}

/** Findings that wait for their repair. */
const KNOWN: Readonly<Record<string, string>> = {
  'src/db/embedded-binaries.ts reads process.env':
    'the environment of the programs that it starts; cli should hand it over',
}

const seen = new Set<string>()

/** Findings that are not known, with their remedy. */
function report(findings: readonly { what: string; where?: string; remedy: string }[]): string[] {
  return [...new Map(findings.map((finding) => [finding.what, finding])).values()].flatMap(
    ({ what, where, remedy }) => {
      seen.add(what)
      return what in KNOWN ? [] : [`${where === undefined ? what : `${where}: ${what}`}. ${remedy}`]
    },
  )
}

test('imports point down, from room to room', () => {
  const findings = files.flatMap(({ name, imports }) => {
    const room = roomOf(name)
    const doors = DOORS[room]
    if (doors === undefined) {
      return [
        {
          what: `${name} is in a room without doors`,
          remedy: 'Move it to one of the folders of src, or give the new one a line in DOORS.',
        },
      ]
    }
    return imports
      .filter(({ isOurs, target }) => isOurs && target.startsWith('src/'))
      .filter(({ target }) => roomOf(target) !== room && !doors.includes(roomOf(target)))
      .map(({ line, target }) => ({
        where: `${name}:${line}`,
        what: `${name} imports ${target}`,
        remedy: `${room} may import ${doors.join(', ') || 'nothing'}: move what it needs down, or hand it in as a parameter.`,
      }))
  })
  expect(report(findings)).toEqual([])
})

test('what is imported exists', () => {
  const missing = files.flatMap(({ name, imports }) =>
    imports
      .filter(({ isOurs, target }) => isOurs && !existsSync(path.join(ROOT, target)))
      .map(({ line, target }) => `${name}:${line}: there is no ${target}.`),
  )
  expect(missing).toEqual([])
})

test('domain imports no package, so that it stays pure', () => {
  const findings = files
    .filter(({ name }) => roomOf(name) === 'domain')
    .flatMap(({ name, imports }) =>
      imports
        .filter(({ isOurs }) => !isOurs)
        .map(({ line, target }) => ({
          where: `${name}:${line}`,
          what: `${name} imports ${target}`,
          remedy: 'Take what it gives as a parameter.',
        })),
    )
  expect(report(findings)).toEqual([])
})

test('no file imports itself in a circle, types included', () => {
  const graph = new Map(
    files.map(({ name, imports }) => [
      name,
      [...new Set(imports.filter(({ isOurs }) => isOurs).map(({ target }) => target))],
    ]),
  )
  const findings = circles(graph).map((circle) => ({
    what: circle.join(' → '),
    remedy: 'Move what two of them share to a file that imports neither.',
  }))
  expect(report(findings)).toEqual([])
})

/** One circle for each edge that leads back, beginning with the name that comes first. */
function circles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const found = new Map<string, string[]>()
  const done = new Set<string>()
  const walk = (name: string, trail: readonly string[]): void => {
    const at = trail.indexOf(name)
    if (at !== -1) {
      const circle = trail.slice(at)
      const [first = name] = circle.toSorted()
      const start = circle.indexOf(first)
      const turned = [...circle.slice(start), ...circle.slice(0, start), first]
      found.set(turned.join(), turned)
      return
    }
    if (done.has(name)) return
    for (const next of graph.get(name) ?? []) walk(next, [...trail, name])
    done.add(name)
  }
  for (const name of graph.keys()) walk(name, [])
  return [...found.values()]
}

/** Beginnings of statements, in the lower case that SQL is written in here. English rarely begins so. */
const SQL =
  /^\s*(select\s+(?:\$|\d|\*|[\w."${}]+\s*(?:,|\(|from\b|as\b))|insert into |update \S+ set |delete from |with \w+ as |create (?:or replace |unlogged |temp )*(?:table|index|view|function|schema|role|type|sequence|database) |alter (?:table|role|system) |drop (?:table|view|schema|function|role|database) |(?:un)?listen\s+\S+$|notify \S|set local |grant \w+ on |begin isolation |truncate )/i

function linesWithSql({ tree }: SourceFile): number[] {
  const lines: number[] = []
  visit(tree, (node) => {
    if (
      (ts.isStringLiteralLike(node) && SQL.test(node.text)) ||
      (ts.isTemplateExpression(node) && SQL.test(node.getText(tree).slice(1)))
    )
      lines.push(lineOf(tree, node))
  })
  return lines
}

test('SQL stands in src/sql, migrations and src/db alone', () => {
  const findings = files
    .filter((file) => !['sql', 'db'].includes(roomOf(file.name)))
    .flatMap((file) =>
      linesWithSql(file).map((line) => ({
        where: `${file.name}:${line}`,
        what: `${file.name} contains SQL`,
        remedy: 'Make it a function in a file of src/sql, with a typed wrapper beside it.',
      })),
    )
  expect(report(findings)).toEqual([])
  // The search sees: it finds what stands where it may.
  const places = files.filter((file) => linesWithSql(file).length > 0).map(({ name }) => name)
  expect(places).toEqual(
    expect.arrayContaining(['src/db/connect.ts', 'src/db/migrate.ts', 'src/sql/call.ts']),
  )
})

test('the pattern for SQL finds statements and leaves sentences alone', () => {
  const statements = [
    'select id from job',
    'select pg_backend_pid() as pid',
    'insert into job (id) values ($1)',
    'update job set status = $1',
    'listen leasehold_1',
  ]
  const sentences = [
    'select a job first',
    'update the program',
    'with a worker',
    'drop it',
    'listen',
  ]
  expect(statements.filter((text) => !SQL.test(text))).toEqual([])
  expect(sentences.filter((text) => SQL.test(text))).toEqual([])
})

test('nothing in src has a default export', () => {
  const findings = files.flatMap(({ name, tree }) => {
    const lines: number[] = []
    visit(tree, (node) => {
      const isDefault =
        ts.canHaveModifiers(node) &&
        (ts.getModifiers(node) ?? []).some(({ kind }) => kind === ts.SyntaxKind.DefaultKeyword)
      const isNamedDefault = ts.isExportSpecifier(node) && node.name.text === 'default'
      if (ts.isExportAssignment(node) || isDefault || isNamedDefault) lines.push(lineOf(tree, node))
    })
    return lines.map((line) => ({
      where: `${name}:${line}`,
      what: `${name} has a default export`,
      remedy: 'Export it by its name, so that it has the same one everywhere.',
    }))
  })
  expect(report(findings)).toEqual([])
})

/** Uses of `process.name`, and of `process` as a whole by that name (`const { env } = process`). */
function usesOfProcess({ tree }: SourceFile, name: string): number[] {
  const lines: number[] = []
  visit(tree, (node) => {
    const isAccess =
      ts.isPropertyAccessExpression(node) &&
      node.name.text === name &&
      node.expression.getText(tree) === 'process'
    const isTaken =
      ts.isBindingElement(node) &&
      (node.propertyName ?? node.name).getText(tree) === name &&
      ts.isVariableDeclaration(node.parent.parent) &&
      node.parent.parent.initializer?.getText(tree) === 'process'
    if (isAccess || isTaken) lines.push(lineOf(tree, node))
  })
  return lines
}

test('the environment is read in src/cli and src/db/connect.ts alone', () => {
  const findings = files
    .filter(({ name }) => roomOf(name) !== 'cli' && name !== 'src/db/connect.ts')
    .flatMap((file) =>
      usesOfProcess(file, 'env').map((line) => ({
        where: `${file.name}:${line}`,
        what: `${file.name} reads process.env`,
        remedy: 'Read it in src/cli/resolve.ts and pass it on as an option.',
      })),
    )
  expect(report(findings)).toEqual([])
})

test('only the program and src/worker/end-process.ts end the process', () => {
  const findings = files
    .filter(({ name }) => roomOf(name) !== 'cli' && name !== 'src/worker/end-process.ts')
    .flatMap((file) =>
      ['exit', 'abort', 'reallyExit'].flatMap((name) =>
        usesOfProcess(file, name).map((line) => ({
          where: `${file.name}:${line}`,
          what: `${file.name} ends the process`,
          remedy: 'Throw, or ask endProcess where a handler would run beside its successor.',
        })),
      ),
    )
  expect(report(findings)).toEqual([])
})

test('each SQL file holds a function or view of its own name', () => {
  const directory = path.join(ROOT, 'src/sql')
  const wrong = readdirSync(directory)
    .filter((name) => name.endsWith('.sql') && !['grants.sql', 'constants.sql'].includes(name))
    .filter((name) => {
      const own = name.replace(/\.sql$/, '').replaceAll('-', '_')
      const text = readFileSync(path.join(directory, name), 'utf8')
      return !new RegExp(`^create or replace (function|view) ${own}\\b`, 'm').test(text)
    })
    .map((name) => `src/sql/${name}: name the file as its function, with - for _.`)
  expect(wrong).toEqual([])
})

test('migrations make every view before the functions that may take its rows', () => {
  const directory = path.join(ROOT, 'src/sql')
  const migrate = readFileSync(path.join(ROOT, 'src/db/migrate.ts'), 'utf8')
  const missing = readdirSync(directory)
    .filter((name) => name.endsWith('.sql'))
    .filter((name) =>
      /^create or replace view /m.test(readFileSync(path.join(directory, name), 'utf8')),
    )
    .filter((name) => !migrate.includes(`'${name}'`))
    .map((name) => `src/sql/${name}: put it into VIEWS of src/db/migrate.ts, behind what it reads.`)
  expect(missing).toEqual([])
})

test('a place is drawn in next_place alone, which takes a transaction id before', () => {
  const directory = path.join(ROOT, 'src/sql')
  const places = readdirSync(directory).filter((name) =>
    /nextval\s*\(\s*'job_place'/.test(readFileSync(path.join(directory, name), 'utf8')),
  )
  expect(places, 'Call next_place(): what claims know of places rests on it.').toEqual([
    'next-place.sql',
  ])
  const text = readFileSync(path.join(directory, 'next-place.sql'), 'utf8')
  expect(text).toContain("case when pg_current_xact_id() is not null then nextval('job_place') end")
})

test('what is known to be wrong still is: take off KNOWN what has been repaired', () => {
  expect(Object.keys(KNOWN).filter((what) => !seen.has(what))).toEqual([])
})
