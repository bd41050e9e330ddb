/**
 * `--help`: usage, what it does in one sentence, options in the order people need them, three examples that work as pasted, exit
 * codes. `leasehold` alone: the commands in groups and the first thing to try.
 */
import type { Command, Help, Option } from 'commander'
import { createTerminal, paint, type Terminal } from './terminal/style.ts'
import { textWidth, wrap } from './terminal/text.ts'

/** What the help of a command says beside its options. */
export interface HelpFacts {
  /** What it does, in one sentence or two. */
  readonly says: string
  readonly examples: readonly [string, string, string]
  /** As `0 done · 4 no such job`. */
  readonly exits: string
}

const facts = new WeakMap<Command, HelpFacts>()

/** Gives a command its help. */
export function documented(command: Command, given: HelpFacts): Command {
  facts.set(command, given)
  return command.description(given.says)
}

const HELP_GROUPS = ['Run', 'Jobs', 'Workers', 'Look after'] as const

/** Sentences wider than this are hard to read, however wide the terminal. */
const WIDTH_MAX = 80

/** The help of any command, for commander's `formatHelp`. */
export function formatHelp(command: Command, helper: Help): string {
  const terminal = createTerminal(process.stdout, process.env)
  if (command.parent === null) return programHelp(command, terminal)
  const verbs = command.commands.filter(isVisible)
  if (verbs.length > 0) return groupHelp(command, verbs, terminal)
  const known = facts.get(command)
  const options = helper
    .visibleOptions(command)
    .filter(({ long }) => long !== '--help')
    .map((option): [string, string] => [flagWords(option, terminal), optionWords(option)])
  return paragraphs([
    [usage(command, terminal)],
    wrap(command.description(), Math.min(terminal.width, WIDTH_MAX)),
    twoColumns(terminal, options),
    ...(known === undefined
      ? []
      : [
          [
            heading(terminal, 'Examples'),
            ...known.examples.flatMap((example) => example.split('\n').map((line) => `  ${line}`)),
          ],
          wrap(
            `Exit: ${terminal.unicode ? known.exits : known.exits.replaceAll('·', '|')}`,
            Math.min(terminal.width, WIDTH_MAX),
          ),
        ]),
  ])
}

function programHelp(program: Command, terminal: Terminal): string {
  const groups = HELP_GROUPS.map((group) => {
    const members = program.commands.filter(
      (command) => isVisible(command) && (command.helpGroup() || HELP_GROUPS[0]) === group,
    )
    const rows = members.map((command): [string, string] => {
      const verbs = command.commands.filter(isVisible)
      return verbs.length === 0
        ? [withArguments(command.name(), command, terminal), firstSentence(command)]
        : [command.name(), verbs.map((verb) => verb.name()).join(', ')]
    })
    return rows.length === 0 ? [] : [heading(terminal, group), ...twoColumns(terminal, rows)]
  })
  return paragraphs([
    [`${program.name()} COMMAND [options]`],
    wrap(program.description(), Math.min(terminal.width, WIDTH_MAX)),
    ...groups.filter((group) => group.length > 0),
    [
      heading(terminal, 'First'),
      '  leasehold worker handlers.ts',
      '  leasehold enqueue my.job \'{"n": 1}\' --handlers handlers.ts --wait',
    ],
    [`${program.name()} COMMAND --help has options and examples; --version says which this is.`],
  ])
}

function groupHelp(command: Command, verbs: readonly Command[], terminal: Terminal): string {
  const rows = verbs.map((verb): [string, string] => [
    withArguments(verb.name(), verb, terminal),
    firstSentence(verb),
  ])
  return paragraphs([
    [`${path(command)} COMMAND [options]`],
    wrap(command.description(), Math.min(terminal.width, WIDTH_MAX)),
    twoColumns(terminal, rows),
    [`${path(command)} COMMAND --help has options and examples.`],
  ])
}

function isVisible(command: Command): boolean {
  return command.name() !== 'help'
}

function path(command: Command): string {
  return command.parent === null ? command.name() : `${path(command.parent)} ${command.name()}`
}

function usage(command: Command, terminal: Terminal): string {
  return `${withArguments(path(command), command, terminal)} [options]`
}

/** `jobs cancel ID…` */
function withArguments(name: string, command: Command, terminal: Terminal): string {
  const words = command.registeredArguments.map((argument) => {
    const word = `${argument.name()}${argument.variadic ? ellipsis(terminal) : ''}`
    return argument.required ? word : `[${word}]`
  })
  return [name, ...words].join(' ')
}

/** `--state S…` of `--state <S...>` */
function flagWords({ flags }: Option, terminal: Terminal): string {
  return flags.replace(/[<>]/g, '').replace('...', ellipsis(terminal))
}

function optionWords(option: Option): string {
  const { description, defaultValue, defaultValueDescription } = option
  if (defaultValue === undefined) return description
  return `${description} (${defaultValueDescription ?? String(defaultValue)})`
}

function ellipsis(terminal: Terminal): string {
  return terminal.unicode ? '…' : '...'
}

function heading(terminal: Terminal, text: string): string {
  return paint(terminal, ['bold'], text)
}

function firstSentence(command: Command): string {
  const text = command.description()
  const sentence = /^(.*?[^.])\.(\s|$)/s.exec(text)?.[1] ?? text
  return sentence.charAt(0).toLowerCase() + sentence.slice(1)
}

/** Names on the left, words on the right, wrapped in their column. */
function twoColumns(terminal: Terminal, rows: readonly (readonly [string, string])[]): string[] {
  const left = Math.max(0, ...rows.map(([name]) => textWidth(name)).filter((width) => width <= 26))
  const room = Math.max(24, Math.min(terminal.width, WIDTH_MAX) - left - 4)
  return rows.flatMap(([name, words]) => {
    const [first = '', ...rest] = wrap(words, room)
    const indent = ' '.repeat(left + 4)
    const fits = textWidth(name) <= left
    return [
      ...(fits ? [`  ${name.padEnd(left)}  ${first}`] : [`  ${name}`, `${indent}${first}`]),
      ...rest.map((line) => `${indent}${line}`),
    ].map((line) => line.trimEnd())
  })
}

function paragraphs(all: readonly (readonly string[])[]): string {
  return `${all
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n')}\n`
}
