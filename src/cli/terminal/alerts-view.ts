/** What `alerts list`, `alerts rules` and `alerts webhooks list` print, from the JSON documents alone. */
import type { AlertDocument, AlertRuleDocument, WebhookDocument } from '../../client/documents.ts'
import { dash, formatDuration, formatId, formatTime, plural } from './format.ts'
import { type Mark, markedText } from './marks.ts'
import type { Rendered, Terminal } from './style.ts'
import { block, type Column, renderTable, renderTabs } from './table.ts'
import { plain } from './text.ts'

const ALERT_MARKS: Readonly<Record<AlertDocument['status'], Mark>> = {
  open: { mark: '▲', styles: ['red', 'bold'] },
  acknowledged: { mark: '△', styles: ['yellow'] },
  resolved: { mark: '✓', styles: ['dim'] },
}

/** The alerts, and for standard error how many want somebody. */
export function renderAlertList(
  terminal: Terminal,
  items: readonly AlertDocument[],
  now: Date = new Date(),
): Rendered {
  const open = items.filter(({ status }) => status === 'open')
  const acknowledged = items.filter(({ status }) => status === 'acknowledged')
  const note =
    items.length === 0
      ? 'No alert.\n'
      : `${open.length} open, ${acknowledged.length} acknowledged.${
          terminal.isTerminal && open[0] !== undefined
            ? ` To say that you look at one: leasehold alerts ack ${open[0].id.slice(-6)}`
            : ''
        }\n`
  if (!terminal.isTerminal) {
    const headings =
      'status id rule subject raised acknowledged acknowledgedBy resolved message'.split(' ')
    const rows = items.map((alert) => [
      alert.status,
      alert.id,
      alert.rule,
      alert.subject,
      alert.raisedAt,
      alert.acknowledgedAt ?? '',
      alert.acknowledgedBy ?? '',
      alert.resolvedAt ?? '',
      alert.message,
    ])
    return { output: block(renderTabs(headings, rows)), note }
  }
  if (items.length === 0) return { output: '', note }
  const columns: Column[] = [
    { heading: 'STATUS', widthMin: 14 },
    { heading: 'ALERT' },
    { heading: 'RULE' },
    { heading: 'RAISED', dropAt: 2 },
    { heading: 'BY', dropAt: 1 },
    { heading: 'WHAT', flexible: true },
  ]
  const rows = items.map((alert) => {
    const mark = ALERT_MARKS[alert.status]
    return [
      { text: markedText(terminal, mark, alert.status), styles: mark.styles },
      formatId(terminal, alert.id),
      alert.rule,
      formatTime(terminal, alert.raisedAt, now),
      plain(alert.acknowledgedBy ?? dash(terminal)),
      plain(alert.message),
    ]
  })
  return { output: block(renderTable(terminal, columns, rows)), note }
}

/** Rules and thresholds; what is not the default has a star. */
export function renderRules(terminal: Terminal, items: readonly AlertRuleDocument[]): Rendered {
  if (!terminal.isTerminal) {
    const headings = 'rule enabled atLeast withinMs forMs changed says'.split(' ')
    const rows = items.map((rule) =>
      [
        rule.rule,
        rule.enabled,
        rule.atLeast ?? '',
        rule.withinMs ?? '',
        rule.forMs ?? '',
        rule.changed,
        rule.says,
      ].map(String),
    )
    return { output: block(renderTabs(headings, rows)), note: '' }
  }
  const columns: Column[] = [
    { heading: 'RULE' },
    { heading: 'WHEN' },
    { heading: 'RAISED FOR', flexible: true },
  ]
  const rows = items.map((rule) => [
    rule.changed ? `${rule.rule} *` : rule.rule,
    whenWords(rule),
    plain(rule.says),
  ])
  return {
    output: block(renderTable(terminal, columns, rows)),
    note: items.some(({ changed }) => changed)
      ? '* is not the default. Back to that: leasehold alerts set RULE --default\n'
      : '',
  }
}

function whenWords({ enabled, atLeast, withinMs, forMs }: AlertRuleDocument): string {
  if (!enabled) return 'off'
  if (atLeast !== null && withinMs !== null) return `${atLeast} within ${formatDuration(withinMs)}`
  return forMs === null ? 'at once' : `for ${formatDuration(forMs)}`
}

/** The webhooks, and for standard error how many have something to come. */
export function renderWebhookList(
  terminal: Terminal,
  items: readonly WebhookDocument[],
  now: Date = new Date(),
): Rendered {
  const behind = items.filter(({ waiting }) => waiting > 0).length
  const note =
    items.length === 0
      ? 'No webhook. Add one: leasehold alerts webhooks add URL\n'
      : `${plural(items.length, 'webhook')}, ${behind === 0 ? 'none' : behind} behind.\n`
  if (!terminal.isTerminal) {
    const headings = 'id url rules waiting givenUp lastDelivered lastError'.split(' ')
    const rows = items.map((webhook) => [
      webhook.id,
      webhook.url,
      (webhook.rules ?? []).join(','),
      String(webhook.waiting),
      String(webhook.givenUp),
      webhook.lastDeliveredAt ?? '',
      webhook.lastError ?? '',
    ])
    return { output: block(renderTabs(headings, rows)), note }
  }
  if (items.length === 0) return { output: '', note }
  const columns: Column[] = [
    { heading: 'WEBHOOK' },
    { heading: 'RULES', dropAt: 2 },
    { heading: 'WAIT', align: 'right' },
    { heading: 'DELIVERED', dropAt: 1 },
    { heading: 'URL' },
    { heading: 'LAST ERROR', flexible: true },
  ]
  const rows = items.map((webhook) => [
    formatId(terminal, webhook.id),
    webhook.rules === null ? 'all' : webhook.rules.join(','),
    String(webhook.waiting),
    webhook.lastDeliveredAt === null ? 'never' : formatTime(terminal, webhook.lastDeliveredAt, now),
    plain(webhook.url),
    plain(webhook.lastError ?? ''),
  ])
  return { output: block(renderTable(terminal, columns, rows)), note }
}
