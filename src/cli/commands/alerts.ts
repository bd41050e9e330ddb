import { userInfo } from 'node:os'
import type { Command } from 'commander'
import type { Client } from '../../client/client.ts'
import { UsageError } from '../../errors.ts'
import { duration, wholeNumber } from '../arguments.ts'
import { documented } from '../help.ts'
import { didYouMean } from '../../domain/nearest.ts'
import { listDocument } from '../output.ts'
import { flagsOf, withSession } from '../session.ts'
import { renderAlertList, renderRules } from '../terminal/alerts-view.ts'
import { registerAlertsWebhooks } from './alerts-webhooks.ts'

/** `alerts …`: what somebody should look at, from when on, and who is told. */
export function registerAlerts(program: Command): void {
  const alerts = program
    .command('alerts')
    .description(
      'What somebody should look at. Raised once by a worker as it sweeps, resolved when it is over, raised again when it returns.',
    )
    .helpGroup('Look after')
  registerList(alerts)
  registerAck(alerts)
  registerRules(alerts)
  registerSet(alerts)
  registerAlertsWebhooks(alerts)
}

function registerList(alerts: Command): void {
  documented(alerts.command('list'), {
    says: 'Lists the alerts that are not over, newest first.',
    examples: [
      'leasehold alerts list',
      'leasehold alerts list --all',
      "leasehold alerts list --json | jq -r '.items[].message'",
    ],
    exits: '0 done, also when there is none',
  })
    .option('--all', 'also those that were resolved within 30 days')
    .action((_flags, command: Command) =>
      withSession(command, async ({ client, output }) => {
        const { all = false } = flagsOf<{ all?: boolean }>(command)
        const items = await client.alerts.list({ all })
        output.result(listDocument(items), (terminal) => renderAlertList(terminal, items))
      }),
    )
}

function registerAck(alerts: Command): void {
  documented(alerts.command('ack <ID...>'), {
    says: 'Says that you look at these alerts. They stay until what they are about is over.',
    examples: [
      'leasehold alerts ack a41c9e',
      'leasehold alerts ack a41c9e c07d11 --by ana',
      "leasehold alerts list --json | jq -r '.items[].id' | xargs leasehold alerts ack",
    ],
    exits: '0 done · 2 ambiguous id · 4 no such alert · 5 refused, it is over',
  })
    .option('--by <NAME>', 'who looks at it (you)')
    .action((ids: string[], _flags, command: Command) =>
      withSession(command, async ({ client, output }) => {
        const { by = userInfo().username } = flagsOf<{ by?: string }>(command)
        // All are found before one is acknowledged.
        const found = await Promise.all(ids.map((id) => client.alerts.get(id)))
        for (const { id } of found) await client.alerts.acknowledge(id, { by })
        const items = await Promise.all(found.map(({ id }) => client.alerts.get(id)))
        output.result(listDocument(items), (terminal) => ({
          ...renderAlertList(terminal, items),
          note: '',
        }))
      }),
    )
}

function registerRules(alerts: Command): void {
  documented(alerts.command('rules'), {
    says: 'Lists the rules that alerts are raised by, with their thresholds in this namespace.',
    examples: [
      'leasehold alerts rules',
      'leasehold alerts rules --namespace studio',
      "leasehold alerts rules --json | jq '.items[] | select(.changed)'",
    ],
    exits: '0 done',
  }).action((_flags, command: Command) =>
    withSession(command, async ({ client, output }) => {
      const items = await client.alerts.rules()
      output.result(listDocument(items), (terminal) => renderRules(terminal, items))
    }),
  )
}

interface SetFlags {
  readonly atLeast?: number
  readonly within?: number
  readonly for?: number
  readonly on?: boolean
  readonly off?: boolean
  readonly default?: boolean
}

function registerSet(alerts: Command): void {
  documented(alerts.command('set <RULE>'), {
    says: 'Changes a rule in this namespace. What is not given stays as it is.',
    examples: [
      'leasehold alerts set oldest_pending --for 2h',
      'leasehold alerts set crash_loop --at-least 5 --within 30m',
      'leasehold alerts set listen_degraded --off',
    ],
    exits: '0 done · 2 no such rule, or a wrong value',
  })
    .option(
      '--at-least <N>',
      'raised at so many …',
      wholeNumber('--at-least', { min: 1, max: 1_000 }),
    )
    .option('--within <D>', '… within so long', duration('--within'))
    .option('--for <D>', 'raised when it has lasted so long', duration('--for'))
    .option('--off', 'never raised')
    .option('--on', 'raised again')
    .option('--default', 'all as it was at first')
    .action((rule: string, _flags, command: Command) =>
      withSession(command, async ({ client, output }) => {
        const flags = flagsOf<SetFlags>(command)
        const known = (await client.alerts.rules()).map((one) => one.rule)
        const name = rule.replaceAll('-', '_')
        if (!known.includes(name)) {
          throw new UsageError(`there is no rule "${rule}".${didYouMean(name, known)}`, {
            hint: `The rules are ${known.join(', ')}.`,
          })
        }
        const changed = await client.alerts.set(name, settingsOf(flags))
        output.result(changed, (terminal) => renderRules(terminal, [changed]))
      }),
    )
}

function settingsOf(flags: SetFlags): Parameters<Client['alerts']['set']>[1] {
  const said = { atLeast: flags.atLeast, withinMs: flags.within, forMs: flags.for }
  const values = Object.values(said).filter((value) => value !== undefined).length
  const ways = [flags.on, flags.off, flags.default].filter((given) => given === true).length
  if (values + ways === 0) {
    throw new UsageError(
      'say what to change: --at-least, --within, --for, --on, --off or --default.',
    )
  }
  if (ways > 1 || (flags.default === true && values > 0)) {
    throw new UsageError('--on, --off and --default exclude each other, and --default goes alone.')
  }
  return {
    ...said,
    enabled: flags.on === true ? true : flags.off === true ? false : undefined,
    default: flags.default,
  }
}
