/**
 * Typed wrappers of the functions about alerts: what is open, thresholds, and who is told. Which conditions there are is written in
 * alert-settings.sql and alert-conditions.sql.
 */
import type { Database } from '../db/connect.ts'
import { call } from './call.ts'

/** An alert as JSON; the client's documents say what each field is. */
export interface AlertJson {
  readonly id: string
  readonly rule: string
  readonly subject: string
  readonly message: string
  readonly data: Readonly<Record<string, unknown>>
}

export interface AlertChange {
  readonly kind: 'alert.raised' | 'alert.resolved'
  readonly alert: AlertJson
}

export function listAlerts<T>(
  db: Database,
  namespace: string,
  all: boolean,
  limit: number,
): Promise<T[]> {
  return call(db, 'list_alerts', [namespace, all, limit])
}

export function findAlerts<T>(db: Database, namespace: string, ending: string): Promise<T[]> {
  return call(db, 'find_alerts', [namespace, ending])
}

/** acknowledged, resolved or not_found, in order. */
export function acknowledgeAlerts(
  db: Database,
  namespace: string,
  alertIds: readonly string[],
  by: string | null,
): Promise<string[]> {
  return call(db, 'acknowledge_alerts', [namespace, alertIds, by])
}

export function alertRules<T>(db: Database, namespace: string): Promise<T[]> {
  return call(db, 'alert_rules', [namespace])
}

export interface AlertRuleSettings {
  readonly enabled?: boolean | undefined
  readonly atLeast?: number | undefined
  readonly withinMs?: number | undefined
  readonly forMs?: number | undefined
  /** All of the defaults again. */
  readonly default?: boolean | undefined
}

export function setAlertRule<T>(
  db: Database,
  namespace: string,
  rule: string,
  settings: AlertRuleSettings,
): Promise<T> {
  return call(db, 'set_alert_rule', [namespace, rule, JSON.stringify(settings)])
}

export function listWebhooks<T>(db: Database, namespace: string): Promise<T[]> {
  return call(db, 'list_webhooks', [namespace])
}

export function findWebhooks<T>(db: Database, namespace: string, text: string): Promise<T[]> {
  return call(db, 'find_webhooks', [namespace, text])
}

export function addWebhook<T>(
  db: Database,
  namespace: string,
  webhook: { url: string; rules: readonly string[] | null; allowPrivate: boolean },
): Promise<T> {
  return call(db, 'add_webhook', [namespace, webhook.url, webhook.rules, webhook.allowPrivate])
}

export function removeWebhook(
  db: Database,
  namespace: string,
  webhookId: string,
): Promise<boolean> {
  return call(db, 'remove_webhook', [namespace, webhookId])
}

/** A delivery that was taken for one try. */
export interface Delivery {
  /** The same in every try: receivers drop repeats by it. */
  readonly id: string
  readonly token: string
  readonly url: string
  readonly allowPrivate: boolean
  readonly kind: string
  /** The exact bytes that are signed. */
  readonly body: string
  readonly tries: number
  /** Seconds since 1970 by the database's clock. */
  readonly timestamp: number
  readonly signature: string
}

export function takeDeliveries(
  db: Database,
  namespace: string,
  incarnation: string,
  limit: number,
): Promise<Delivery[]> {
  return call(db, 'take_deliveries', [namespace, incarnation, limit])
}

/** A delivery that only tests, taken at once, or null when there is no such webhook. */
export function testWebhook(
  db: Database,
  namespace: string,
  webhookId: string,
): Promise<Delivery | null> {
  return call(db, 'test_webhook', [namespace, webhookId])
}

export type DeliveryAnswer = 'delivered' | 'again' | 'given_up' | 'stale'

export function settleDelivery(
  db: Database,
  delivery: Pick<Delivery, 'id' | 'token'>,
  outcome: { status: number | null; error: string | null },
): Promise<DeliveryAnswer> {
  return call(db, 'settle_delivery', [delivery.id, delivery.token, outcome.status, outcome.error])
}
