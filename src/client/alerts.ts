/**
 * Alerts from the client's side: what is open, who acknowledged it, thresholds, and webhooks. Alerts are raised, resolved and sent by
 * workers as they sweep; nothing here does that.
 */
import { NotFoundError, StateRefusedError, UsageError } from '../errors.ts'
import type { Database } from '../db/connect.ts'
import * as sql from '../sql/alerts.ts'
import type { AlertDocument, AlertRuleDocument, WebhookDocument } from './documents.ts'

const LIST_MAX = 500
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

export interface ClientAlerts {
  /** Newest first: those that are not over; with `all` also those that were resolved within 30 days. At most 500 of each. */
  list(options?: { all?: boolean }): Promise<AlertDocument[]>
  /** Says that somebody looks at it; who was first is kept. @throws {NotFoundError} @throws {StateRefusedError} when it is over. */
  acknowledge(alertId: string, options?: { by?: string }): Promise<void>
  /** The rules, with their thresholds in this namespace. */
  rules(): Promise<AlertRuleDocument[]>
  /** Changes what is given and leaves the rest. @throws {UsageError} for an unknown rule or value. */
  set(rule: string, settings: sql.AlertRuleSettings): Promise<AlertRuleDocument>
  readonly webhooks: {
    list(): Promise<WebhookDocument[]>
    /**
     * Resolves with the secret that deliveries are signed with, which can't be read again. The same URL again gets a new secret.
     * `allowPrivate`: the receiver may be in a private network, and may be named by `http:`.
     */
    add(
      url: string,
      options?: { rules?: readonly string[]; allowPrivate?: boolean },
    ): Promise<WebhookDocument & { secret: string }>
    /** @throws {NotFoundError} */
    remove(webhookId: string): Promise<void>
  }
}

export function openAlerts(db: Database, namespace: string): ClientAlerts {
  return {
    list: ({ all = false } = {}) => sql.listAlerts(db, namespace, all, LIST_MAX),
    async acknowledge(alertId, { by } = {}) {
      const [answer] = await sql.acknowledgeAlerts(db, namespace, [checkedId(alertId)], by ?? null)
      if (answer === 'acknowledged') return
      if (answer === 'resolved')
        throw new StateRefusedError(`alert ${alertId} is over and needs nobody any more.`)
      throw new NotFoundError(`no alert ${alertId} in namespace ${namespace}.`, {
        hint: 'See: leasehold alerts list --all',
      })
    },
    rules: () => sql.alertRules(db, namespace),
    set: (rule, settings) => sql.setAlertRule(db, namespace, rule, settings),
    webhooks: {
      list: () => sql.listWebhooks(db, namespace),
      async add(url, { rules, allowPrivate = false } = {}) {
        return sql.addWebhook(db, namespace, {
          url: checkedUrl(url, allowPrivate),
          rules: rules ?? null,
          allowPrivate,
        })
      },
      async remove(webhookId) {
        if (!(await sql.removeWebhook(db, namespace, checkedId(webhookId))))
          throw unknownWebhook(webhookId, namespace)
      },
    },
  }
}

export function unknownWebhook(webhookId: string, namespace: string): NotFoundError {
  return new NotFoundError(`no webhook ${webhookId} in namespace ${namespace}.`, {
    hint: 'See: leasehold alerts webhooks list',
  })
}

function checkedId(id: string): string {
  if (!UUID.test(id.toLowerCase())) throw new UsageError(`"${id}" is not an id.`)
  return id.toLowerCase()
}

function checkedUrl(text: string, allowPrivate: boolean): string {
  let url: URL
  try {
    url = new URL(text)
  } catch (cause) {
    throw new UsageError(`"${text}" is not a URL.`, {
      hint: 'It looks like https://example.com/hooks/leasehold',
      cause,
    })
  }
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && allowPrivate)) {
    throw new UsageError(`a webhook is an https URL, got ${url.protocol}//${url.host}.`, {
      hint: 'Plain http is for receivers in a private network: --allow-private',
    })
  }
  if (url.username !== '' || url.password !== '') {
    throw new UsageError('a webhook must not have a user or password in its URL.', {
      hint: 'Deliveries are signed: the receiver checks their signature.',
    })
  }
  url.hash = ''
  return url.href
}
