/**
 * docs/reference/program.md: what stands under "# Commands" is made from the program itself, so every command, argument and flag is
 * there, and nothing that is not. After a change to the program: `npx vitest run test/docs/program.test.ts -u`.
 */
import path from 'node:path'
import type { Argument, Command, Option } from 'commander'
import { format, resolveConfig } from 'prettier'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { buildProgram } from '../../src/cli/program.ts'
import { code, readPage, ROOT, tables } from './documents.ts'

const FILE = path.join(ROOT, 'docs/reference/program.md')
const MARK = '## Commands\n'
const COMMON = ['--json', '--database', '--namespace']

// Help is made for the terminal that the environment describes.
beforeAll(() => {
  vi.stubEnv('LC_ALL', 'C.UTF-8')
  vi.stubEnv('FORCE_COLOR', '0')
})

interface Leaf {
  readonly path: string
  readonly command: Command
}

function leaves(command: Command, name: string): Leaf[] {
  return command.commands.flatMap((child) => {
    const full = `${name} ${child.name()}`
    return child.commands.length === 0 ? [{ path: full, command: child }] : leaves(child, full)
  })
}

const program = buildProgram({ text: '' })
const all = leaves(program, 'leasehold')

const argumentWord = (argument: Argument): string => {
  const word = `${argument.name()}${argument.variadic ? '…' : ''}`
  return argument.required ? word : `[${word}]`
}

const optionWords = ({ flags }: Option): string => flags.replace(/[<>]/g, '').replace('...', '…')

/** Text as it stands in a cell of a table. */
function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('*', '\\*')
}

function commandText({ path: name, command }: Leaf): string {
  const options = command.options.filter((option) => !COMMON.includes(option.long ?? ''))
  const help = command.helpInformation()
  const examples = /^Examples\n([\s\S]*?)\n\n/m.exec(help)?.[1] ?? ''
  const exits = (/^Exit: ([^]*)/m.exec(help)?.[1] ?? '').trim().replaceAll(/\s+/g, ' ')
  const rows = options.map((option) => {
    const preset =
      option.defaultValue === undefined
        ? ''
        : ` (${String(option.defaultValueDescription ?? option.defaultValue)})`
    return `| \`${optionWords(option)}\` | ${cell(option.description)}${preset} |`
  })
  return [
    `### ${name.replace(/^leasehold /, '')}`,
    `\`${[name, ...command.registeredArguments.map(argumentWord)].join(' ')}\``,
    command.description(),
    ...(rows.length === 0 ? [] : [['| Option | Meaning |', '| --- | --- |', ...rows].join('\n')]),
    ['```sh', ...examples.split('\n').map((line) => line.replace(/^ {2}/, '')), '```'].join('\n'),
    `Exit: ${exits}`,
  ].join('\n\n')
}

test('the commands, with arguments, flags, examples and exit codes, are those of the program', async () => {
  const page = readPage('docs/reference/program.md')
  expect(page, `program.md needs the heading "${MARK.trim()}"`).toContain(MARK)
  const head = page.slice(0, page.indexOf(MARK) + MARK.length)
  const body = all.map(commandText).join('\n\n')
  const options = await resolveConfig(FILE)
  const wanted = await format(`${head}\n${body}\n`, { ...options, parser: 'markdown' })
  await expect(wanted).toMatchFileSnapshot(FILE)
})

describe('what is written by hand', () => {
  const head = readPage('docs/reference/program.md').split(MARK)[0] ?? ''

  test('every command takes the common options, and each is described', () => {
    const described = tables(head, 'Option').map((row) => code(row['Option']).split(' ')[0] ?? '')
    expect(described.toSorted()).toEqual(COMMON.toSorted())
    for (const { path: name, command } of [...all, { path: 'leasehold', command: program }]) {
      const own = command.options.map((option) => option.long)
      expect(own, name).toEqual(expect.arrayContaining(COMMON))
    }
  })

  test('every exit code that a command names is described', () => {
    const described = new Set(tables(head, 'Exit code').map((row) => row['Exit code']))
    for (const leaf of all) {
      const exits = commandText(leaf).split('\nExit: ')[1] ?? ''
      expect(exits, `${leaf.path} states its exit codes`).toMatch(/^\d/)
      for (const part of exits.split(' · '))
        expect(described, leaf.path).toContain(/^\d+/.exec(part)?.[0])
    }
  })
})
