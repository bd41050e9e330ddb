/**
 * Imports handler modules and collects every job definition that they export, also in exported arrays and objects one level
 * deep. TypeScript is left to the runtime when it strips types itself, else to tsx, which is loaded only then.
 */
import { statSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { type AnyJobDefinition, isJobDefinition } from '../client/define-job.ts'
import type { Archive } from '../client/retention.ts'
import { HandlerModuleError } from '../errors.ts'

/**
 * The definitions of these files, each once, in the order found.
 *
 * @throws {HandlerModuleError} when a file is missing, throws, exports neither a definition nor an archive hook, or a type is defined
 * twice.
 */
export async function loadHandlers(
  files: readonly string[],
  workingDirectory: string = process.cwd(),
): Promise<AnyJobDefinition[]> {
  const found = new Map<AnyJobDefinition, string>()
  for (const file of files) {
    const module = await importModule(file, workingDirectory)
    const exported = definitionsOf(module)
    if (exported.length === 0 && archivesOf(module).length === 0) {
      throw new HandlerModuleError(`${file} exports no job definition.`, {
        hint: 'Export what defineJob returns: export const transcode = defineJob({ type: …, run })',
      })
    }
    for (const definition of exported) if (!found.has(definition)) found.set(definition, file)
  }
  refuseDoubles(found)
  return [...found.keys()]
}

/**
 * The archive hook that one of these files exports by the name `archive`, or null. What has that name and is no function is something
 * else.
 *
 * @throws {HandlerModuleError} when there are two.
 */
export async function loadArchive(
  files: readonly string[],
  workingDirectory: string = process.cwd(),
): Promise<Archive | null> {
  const found = new Map<Archive, string>()
  for (const file of files)
    for (const hook of archivesOf(await importModule(file, workingDirectory))) found.set(hook, file)
  if (found.size > 1) {
    throw new HandlerModuleError(
      `an archive hook is exported by ${[...found.values()].join(' and by ')}.`,
      {
        hint: 'A worker has one: export `archive` from one of them.',
      },
    )
  }
  return [...found.keys()][0] ?? null
}

const TYPESCRIPT = new Set(['.ts', '.mts', '.cts'])
const JAVASCRIPT = new Set(['.js', '.mjs', '.cjs'])

async function importModule(file: string, workingDirectory: string): Promise<object> {
  const absolute = path.resolve(workingDirectory, file)
  const found = statSync(absolute, { throwIfNoEntry: false })
  if (found === undefined) {
    throw new HandlerModuleError(`there is no handler module ${file}.`, {
      hint: `It was looked for at ${absolute}`,
    })
  }
  const extension = path.extname(absolute)
  if (!found.isFile() || !(TYPESCRIPT.has(extension) || JAVASCRIPT.has(extension))) {
    const what = found.isDirectory() ? 'a directory' : `a ${extension || 'nameless'} file`
    throw new HandlerModuleError(`${file} is ${what}; a handler module is a .ts, .js or .mjs file.`)
  }
  if (TYPESCRIPT.has(extension)) await readTypeScript()
  try {
    return await unlessNothingIsLeft(import(pathToFileURL(absolute).href) as Promise<object>, file)
  } catch (cause) {
    if (cause instanceof HandlerModuleError) throw cause
    throw new HandlerModuleError(`${file} throws when it is imported: ${told(cause)}`, {
      hint: 'It is imported before any job runs: what it needs must be there.',
      cause,
    })
  }
}

/**
 * A module that waits at its top for what never comes would end the process without a word, once nothing else is left to do. One that
 * keeps a timer or a connection meanwhile is not told from one that is slow.
 */
async function unlessNothingIsLeft<T>(loading: Promise<T>, file: string): Promise<T> {
  let end = (): void => undefined
  const nothingIsLeft = new Promise<never>((_resolve, reject) => {
    end = () =>
      reject(
        new HandlerModuleError(`${file} never finished loading.`, {
          hint: 'It waits at its top level (await) for something that nothing is left to bring about.',
        }),
      )
  })
  process.once('beforeExit', end)
  try {
    return await Promise.race([loading, nothingIsLeft])
  } finally {
    process.off('beforeExit', end)
  }
}

let typeScriptIsRead = false

/**
 * Not tsImport: it loads a second copy of everything, and errors of ours would be of two classes. The hooks for `require` are
 * for modules of CommonJS packages, which the others leave to it.
 */
async function readTypeScript(): Promise<void> {
  const typescript: unknown = Reflect.get(process.features, 'typescript')
  if (typeScriptIsRead || typescript) return
  typeScriptIsRead = true
  const [esm, commonJs] = await Promise.all([import('tsx/esm/api'), import('tsx/cjs/api')])
  commonJs.register()
  esm.register()
}

/** The message, and the first line of the stack that is not the runtime's own. */
function told(cause: unknown): string {
  if (!(cause instanceof Error)) return `it throws ${JSON.stringify(cause) ?? String(cause)}.`
  const at = (cause.stack ?? '')
    .split('\n')
    .find((line) => /^\s+at /.test(line) && !/node:|node_modules|load-handlers/.test(line))
  return at === undefined ? cause.message : `${cause.message}\n${at.trim()}`
}

/** A CommonJS module may show all that it exports only as its `default`. */
function definitionsOf(exported: object): AnyJobDefinition[] {
  const whole: unknown = 'default' in exported ? exported.default : null
  const inner: unknown[] = typeof whole === 'object' && whole !== null ? Object.values(whole) : []
  const values: unknown[] = [...Object.values(exported), ...inner]
  return values.flatMap((value) => {
    if (isJobDefinition(value)) return [value]
    if (typeof value !== 'object' || value === null) return []
    return Object.values(value).filter(isJobDefinition)
  })
}

function archivesOf(exported: object): Archive[] {
  const whole: unknown = 'default' in exported ? exported.default : null
  return [exported, whole].flatMap((place) =>
    typeof place === 'object' &&
    place !== null &&
    'archive' in place &&
    typeof place.archive === 'function'
      ? [place.archive as Archive]
      : [],
  )
}

function refuseDoubles(found: ReadonlyMap<AnyJobDefinition, string>): void {
  const files = new Map<string, string>()
  for (const [{ type }, file] of found) {
    const other = files.get(type)
    if (other !== undefined) {
      const where = other === file ? `twice in ${file}` : `in ${other} and in ${file}`
      throw new HandlerModuleError(`the job type ${type} is defined ${where}.`, {
        hint: 'A type has one definition; give one of them another `type`.',
      })
    }
    files.set(type, file)
  }
}
