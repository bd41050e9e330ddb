/**
 * Alerts from the client's side: what is open, who acknowledged it, thresholds, and webhooks. Alerts are raised, resolved and sent by
 * workers as they sweep; nothing here does that.
 */
import type { Database } from '../db/connect.ts'
import { type NotFoundError, StateRefusedError, UsageError } from '../errors.ts'
import * as sql from '../sql/alerts.ts'
import type { AlertDocument, AlertRuleDocument, WebhookDocument } from './documents.ts'
import { type Called, checkedEnding, notFound, onlyOne } from './only-one.ts'

const LIST_MAX = 500

export interface ClientAlerts {
  /** Newest first: those that are not over; with `all` also those that were resolved within 30 days. At most 500 of each. */
  list(options?: { all?: boolean }): Promise<AlertDocument[]>
  /** By its id or a unique ending of that (4 or more characters), over or not. @throws {NotFoundError} @throws {IdAmbiguousError} */
  get(alert: string): Promise<AlertDocument>
  /** Says that somebody looks at it; who was first is kept. @throws {NotFoundError} @throws {StateRefusedError} when it is over. */
  acknowledge(alert: string, options?: { by?: string }): Promise<void>
  /** The rules, with their thresholds in this namespace. */
  rules(): Promise<AlertRuleDocument[]>
  /** Changes what is given and leaves the rest. @throws {UsageError} for an unknown rule or value. */
  set(rule: string, settings: sql.AlertRuleSettings): Promise<AlertRuleDocument>
  readonly webhooks: {
    list(): Promise<WebhookDocument[]>
    /** By its id, a unique ending of that (4 or more characters), or its URL. @throws {NotFoundError} @throws {IdAmbiguousError} */
    get(webhook: string): Promise<WebhookDocument>
    /**
     * Resolves with the secret that deliveries are signed with, which can't be read again. The same URL again gets a new secret.
     * `allowPrivate`: the receiver may be in a private network, and may be named by `http:`.
     */
    add(
      url: string,
      options?: { rules?: readonly string[]; allowPrivate?: boolean },
    ): Promise<WebhookDocument & { secret: string }>
    /** @throws {NotFoundError} */
    remove(webhook: string): Promise<void>
  }
}

export function openAlerts(db: Database, namespace: string): ClientAlerts {
  const get = async (alert: string): Promise<AlertDocument> => {
    const ending = checkedEnding('alert', alert)
    const found = await sql.findAlerts<AlertDocument>(db, namespace, ending)
    return onlyOne(found, alertCalled(alert, namespace))
  }
  return {
    list: ({ all = false } = {}) => sql.listAlerts(db, namespace, all, LIST_MAX),
    get,
    async acknowledge(alert, { by } = {}) {
      const { id } = await get(alert)
      const [answer] = await sql.acknowledgeAlerts(db, namespace, [id], by ?? null)
      if (answer === 'acknowledged') return
      if (answer === 'resolved')
        throw new StateRefusedError(`alert ${id} is over and needs nobody any more.`)
      throw notFound(alertCalled(alert, namespace))
    },
    rules: () => sql.alertRules(db, namespace),
    set: (rule, settings) => sql.setAlertRule(db, namespace, rule, settings),
    webhooks: openWebhooks(db, namespace),
  }
}

function openWebhooks(db: Database, namespace: string): ClientAlerts['webhooks'] {
  const get = async (webhook: string): Promise<WebhookDocument> => {
    const text = /:\/\//.test(webhook) ? webhook : checkedEnding('webhook', webhook)
    const found = await sql.findWebhooks<WebhookDocument>(db, namespace, text)
    return onlyOne(found, webhookCalled(webhook, namespace))
  }
  return {
    list: () => sql.listWebhooks(db, namespace),
    get,
    async add(url, { rules, allowPrivate = false } = {}) {
      return sql.addWebhook(db, namespace, {
        url: checkedUrl(url, allowPrivate),
        rules: rules ?? null,
        allowPrivate,
      })
    },
    async remove(webhook) {
      const { id } = await get(webhook)
      if (!(await sql.removeWebhook(db, namespace, id))) throw unknownWebhook(webhook, namespace)
    },
  }
}

export function unknownWebhook(webhook: string, namespace: string): NotFoundError {
  return notFound(webhookCalled(webhook, namespace))
}

function webhookCalled(text: string, namespace: string): Called {
  return { what: 'webhook', text, namespace, hint: 'See: leasehold alerts webhooks list' }
}

function alertCalled(text: string, namespace: string): Called {
  return { what: 'alert', text, namespace, hint: 'See: leasehold alerts list --all' }
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
      hint: 'Plain http is for receivers in a private network: `allowPrivate`, or --allow-private of the program.',
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
