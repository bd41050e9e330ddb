import type { Command } from 'commander'
import type { EmbeddedServer } from '../../db/embedded.ts'
import { NotFoundError } from '../../errors.ts'
import { documented } from '../help.ts'
import { createOutput, lines, type Output } from '../output.ts'
import { embeddedDir } from '../resolve.ts'
import { flagsOf } from '../session.ts'
import { formatDuration } from '../terminal/format.ts'
import { paint, type Terminal } from '../terminal/style.ts'

/** `db start`, `stop`, `status`, `url`: the embedded database of the working directory. */
export function registerDb(program: Command): void {
  const db = program
    .command('db')
    .description('The embedded PostgreSQL of this directory, in .leasehold/pg.')
    .helpGroup('Look after')
  documented(db.command('start'), {
    says: 'Starts the embedded database and leaves it running. Does nothing when it runs.',
    examples: [
      'leasehold db start',
      'leasehold db start && psql "$(leasehold db url)"',
      'leasehold db start --json | jq .port',
    ],
    exits: '0 it runs · 3 it can’t be started',
  }).action((_flags, command: Command) => start(command))
  documented(db.command('stop'), {
    says: 'Stops the embedded database. Its data stay, and it comes back at the same address.',
    examples: [
      'leasehold db stop',
      'leasehold db stop && leasehold db start',
      'leasehold db stop --json',
    ],
    exits: '0 it does not run · 3 it can’t be stopped',
  }).action((_flags, command: Command) => stop(command))
  documented(db.command('status'), {
    says: 'Says whether the embedded database runs, and where. Starts nothing.',
    examples: [
      'leasehold db status',
      'leasehold db status --json',
      'leasehold db status || leasehold db start',
    ],
    exits: '0 it runs · 4 it does not',
  }).action((_flags, command: Command) => status(command))
  documented(db.command('url'), {
    says: 'Prints the address of the embedded database, password included. Starts nothing.',
    examples: [
      'leasehold db url',
      'psql "$(leasehold db url)"',
      'export DATABASE_URL="$(leasehold db url)"',
    ],
    exits: '0 done · 4 it does not run',
  }).action((_flags, command: Command) => url(command))
}

async function start(command: Command): Promise<void> {
  const output = createOutput(flagsOf(command))
  const { startEmbedded } = await import('../../db/embedded.ts')
  const startedMs = performance.now()
  const server = await startEmbedded({ dataDir: embeddedDir() })
  const took = formatDuration(performance.now() - startedMs)
  const how = server.attached ? 'runs already' : `is ready after ${took}`
  output.result(statusDocument(server), (terminal) => ({
    output: lines(sentence(terminal, server, how)),
    note: '',
  }))
  warnOfOther(output)
}

async function stop(command: Command): Promise<void> {
  const output = createOutput(flagsOf(command))
  const { stopEmbedded } = await import('../../db/embedded.ts')
  const stopped = await stopEmbedded(embeddedDir())
  output.result({ ...statusDocument(null), stopped }, () => ({
    output: lines(stopped ? 'The embedded database has stopped.' : 'No embedded database ran.'),
    note: '',
  }))
}

async function status(command: Command): Promise<void> {
  const output = createOutput(flagsOf(command))
  const server = await find()
  output.result(statusDocument(server), (terminal) => ({
    output: lines(
      server === null ? 'The embedded database does not run.' : sentence(terminal, server, 'runs'),
    ),
    note: server === null ? lines('To start it: leasehold db start') : '',
  }))
  if (server === null) process.exitCode = 4
  warnOfOther(output)
}

async function url(command: Command): Promise<void> {
  const output = createOutput(flagsOf(command))
  const server = await find()
  if (server === null) {
    throw new NotFoundError('the embedded database of this directory does not run.', {
      hint: 'To start it: leasehold db start',
    })
  }
  output.result({ url: server.url }, () => ({ output: lines(server.url), note: '' }))
}

async function find(): Promise<EmbeddedServer | null> {
  const { findEmbedded } = await import('../../db/embedded.ts')
  return findEmbedded(embeddedDir())
}

function statusDocument(server: EmbeddedServer | null): Record<string, unknown> {
  return {
    running: server !== null,
    version: server?.version ?? null,
    port: server?.port ?? null,
    pid: server?.pid ?? null,
    dataDir: server?.dataDir ?? embeddedDir(),
  }
}

function sentence(terminal: Terminal, server: EmbeddedServer, how: string): string {
  const mark = terminal.isTerminal && terminal.unicode ? paint(terminal, ['green'], '✓ ') : ''
  return `${mark}PostgreSQL ${server.version} ${how}: port ${server.port}, pid ${server.pid}, data in .leasehold/pg`
}

function warnOfOther(output: Output): void {
  if (process.env['DATABASE_URL'])
    output.note('DATABASE_URL is set: other commands use that server, not this one.')
}
