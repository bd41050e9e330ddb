import type { Command } from 'commander'
import { unknownWebhook } from '../../client/alerts.ts'
import { documented } from '../help.ts'
import { lines, listDocument } from '../output.ts'
import { flagsOf, withSession } from '../session.ts'
import { renderWebhookList } from '../terminal/alerts-view.ts'
import { idEnding } from '../terminal/format.ts'

/** `alerts webhooks …`: who is told. */
export function registerAlertsWebhooks(alerts: Command): void {
  const webhooks = alerts
    .command('webhooks')
    .description('Who is told of alerts, by a signed POST that is repeated until it arrives.')
  registerAdd(webhooks)
  registerList(webhooks)
  registerTest(webhooks)
  registerRemove(webhooks)
}

function registerAdd(webhooks: Command): void {
  documented(webhooks.command('add <URL>'), {
    says: 'Adds a webhook and prints the secret that its deliveries are signed with. It is not shown again; the same URL once more gets a new one.',
    examples: [
      'leasehold alerts webhooks add https://example.com/hooks/leasehold',
      'leasehold alerts webhooks add https://example.com/oncall --rule crash_loop poison',
      'leasehold alerts webhooks add http://alerts.internal:9000/ --allow-private',
    ],
    exits: '0 done · 2 no URL that may be, or no such rule',
  })
    .option('--rule <RULE...>', 'only alerts of these rules (all)')
    .option('--allow-private', 'it is in a private network, or on this machine')
    .action((url: string, _flags, command: Command) =>
      withSession(command, async ({ client, output }) => {
        const { rule, allowPrivate = false } = flagsOf<{
          rule?: string[]
          allowPrivate?: boolean
        }>(command)
        const webhook = await client.alerts.webhooks.add(url, {
          allowPrivate,
          ...(rule === undefined ? {} : { rules: rule }),
        })
        output.result(webhook, () => ({
          output: lines(webhook.secret),
          note: lines(
            'This secret signs what is sent. It is not shown again.',
            `To try it: leasehold alerts webhooks test ${idEnding(webhook.id)}`,
          ),
        }))
      }),
    )
}

function registerList(webhooks: Command): void {
  documented(webhooks.command('list'), {
    says: 'Lists the webhooks, each with what it has not got yet and why.',
    examples: [
      'leasehold alerts webhooks list',
      'leasehold alerts webhooks list --namespace studio',
      "leasehold alerts webhooks list --json | jq '.items[] | select(.waiting > 0)'",
    ],
    exits: '0 done, also when there is none',
  }).action((_flags, command: Command) =>
    withSession(command, async ({ client, output }) => {
      const items = await client.alerts.webhooks.list()
      output.result(listDocument(items), (terminal) => renderWebhookList(terminal, items))
    }),
  )
}

function registerTest(webhooks: Command): void {
  documented(webhooks.command('test <ID>'), {
    says: 'Sends a test to a webhook, once, from this machine, and says what it answered. Alerts are sent by workers, from theirs.',
    examples: [
      'leasehold alerts webhooks test a41c9e',
      'leasehold alerts webhooks test a41c9e && echo it works',
      'leasehold alerts webhooks test a41c9e --json | jq .status',
    ],
    exits: '0 delivered · 1 not delivered · 4 no such webhook',
  }).action((id: string, _flags, command: Command) =>
    withSession(command, async ({ client, output, target }) => {
      const { id: webhookId } = await client.alerts.webhooks.get(id)
      const { openDatabase } = await import('../../db/connect.ts')
      const { settleDelivery, testWebhook } = await import('../../sql/alerts.ts')
      const { sendDelivery } = await import('../../sweep/webhook.ts')
      const { databaseUrl, schema, namespace } = target
      const db = openDatabase({ databaseUrl, schema, connectionsMax: 1 })
      try {
        const delivery = await testWebhook(db, namespace, webhookId)
        if (delivery === null) throw unknownWebhook(webhookId, namespace)
        const { status, error } = await sendDelivery(delivery)
        await settleDelivery(db, delivery, { status, error })
        output.result({ id: webhookId, delivered: error === null, status, error }, () => ({
          output: lines(
            error === null ? `Delivered: answered ${status}.` : `Not delivered: ${error}.`,
          ),
          note: '',
        }))
        if (error !== null) process.exitCode = 1
      } finally {
        await db.close()
      }
    }),
  )
}

function registerRemove(webhooks: Command): void {
  documented(webhooks.command('remove <ID>'), {
    says: 'Removes a webhook. What it has not got yet is not sent any more.',
    examples: [
      'leasehold alerts webhooks remove a41c9e',
      'leasehold alerts webhooks remove a41c9e --namespace studio',
      'leasehold alerts webhooks remove a41c9e --json | jq -r .id',
    ],
    exits: '0 done · 4 no such webhook',
  }).action((id: string, _flags, command: Command) =>
    withSession(command, async ({ client, output }) => {
      const { id: webhookId } = await client.alerts.webhooks.get(id)
      await client.alerts.webhooks.remove(webhookId)
      output.result({ id: webhookId, removed: true }, () => ({
        output: lines(`Webhook ${idEnding(webhookId)} is removed.`),
        note: '',
      }))
    }),
  )
}
