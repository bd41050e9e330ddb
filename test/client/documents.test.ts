/** Documents have the fields that their types declare, all of them and no other: the lists here are checked against the types. */
import { expect, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import type {
  AlertDocument,
  AttemptDocument,
  JobDocument,
  JobEventDocument,
  MachineDetailDocument,
  RunDocument,
  WebhookDocument,
  WorkerDocument,
} from '../../src/client/documents.ts'
import { checkInvariantsAfterEach, openProtocol } from '../support/protocol.ts'

checkInvariantsAfterEach()

type Fields<Document> = Readonly<Record<keyof Required<Document>, true>>

const JOB: Fields<JobDocument> = {
  id: true,
  type: true,
  queue: true,
  namespace: true,
  status: true,
  state: true,
  priority: true,
  input: true,
  result: true,
  error: true,
  runId: true,
  parentId: true,
  key: true,
  concurrencyKey: true,
  target: true,
  attempt: true,
  failures: true,
  lost: true,
  interruptions: true,
  maxAttempts: true,
  maxLost: true,
  workerId: true,
  machineId: true,
  heartbeatAt: true,
  leaseExpiresAt: true,
  leaseLeftMs: true,
  recoveryNotBefore: true,
  databaseSilentSince: true,
  workerEndedAt: true,
  cancelRequestedAt: true,
  createdAt: true,
  runAt: true,
  startedAt: true,
  finishedAt: true,
  progress: true,
  checkpoint: true,
  endReason: true,
  previousEnd: true,
  waitsBehind: true,
  aim: true,
  runEnded: true,
  workersForType: true,
  now: true,
  why: true,
  events: true,
  attempts: true,
}
const ATTEMPT: Fields<AttemptDocument> = {
  attempt: true,
  workerId: true,
  machineId: true,
  startedAt: true,
  endedAt: true,
  endedAs: true,
  fromCheckpoint: true,
  lastCheckpoint: true,
  lateResult: true,
  endReason: true,
}
const EVENT: Fields<JobEventDocument> = {
  id: true,
  at: true,
  kind: true,
  attempt: true,
  workerId: true,
  message: true,
  data: true,
}
const RUN: Fields<RunDocument> = {
  id: true,
  name: true,
  namespace: true,
  status: true,
  stage: true,
  criteria: true,
  target: true,
  counts: true,
  progress: true,
  cost: true,
  budget: true,
  rules: true,
  filled: true,
  lastFilledAt: true,
  createdAt: true,
  finishedAt: true,
  endReason: true,
  now: true,
}
const WORKER: Fields<WorkerDocument> = {
  id: true,
  machineId: true,
  hostname: true,
  pid: true,
  incarnation: true,
  type: true,
  runId: true,
  status: true,
  reason: true,
  concurrency: true,
  running: true,
  startedAt: true,
  lastSeenAt: true,
  leaseExpiresAt: true,
  stoppedAt: true,
  endReason: true,
  bootId: true,
  parentPid: true,
  processStartedAt: true,
  command: true,
  version: true,
  queues: true,
  types: true,
  labels: true,
  eventLoopLagMs: true,
  spoolDepth: true,
  spoolAgeMs: true,
  memoryBytes: true,
  clockAheadMs: true,
  lastSeenAgoMs: true,
  leaseLeftMs: true,
  shutdown: true,
}
const MACHINE: Fields<MachineDetailDocument> = {
  id: true,
  hostname: true,
  status: true,
  workersOnline: true,
  workersTotal: true,
  lastSeenAt: true,
  lastSeenAgoMs: true,
  drainRequestedAt: true,
  witnessContradictedAt: true,
  versions: true,
}
const ALERT: Fields<AlertDocument> = {
  id: true,
  namespace: true,
  rule: true,
  subject: true,
  status: true,
  message: true,
  data: true,
  raisedAt: true,
  acknowledgedAt: true,
  acknowledgedBy: true,
  resolvedAt: true,
}
const WEBHOOK: Fields<WebhookDocument> = {
  id: true,
  url: true,
  rules: true,
  allowPrivate: true,
  createdAt: true,
  waiting: true,
  givenUp: true,
  lastDeliveredAt: true,
  lastError: true,
}

test('each document has the fields of its type and no other', async () => {
  const p = await openProtocol()
  const { databaseUrl, schemaName: schema } = p.db
  await using client = createClient({ databaseUrl, schema, namespace: p.namespace })
  const { worker, ids } = await p.running(1)
  await p.register()
  await p.reportDeath({}, 1, [await p.register()])
  await p.passTime(5_001)
  await p.sweep()
  const job = await client.get(ids[0]!)
  const run = await client.runs.create({ name: 'nightly' })
  const webhook = await client.alerts.webhooks.add('https://example.com/')
  const documents: readonly (readonly [fields: object, document: object | undefined])[] = [
    [JOB, job],
    [ATTEMPT, job.attempts?.[0]],
    [EVENT, job.events?.[0]],
    [RUN, run],
    [WORKER, await client.workers.get(worker.id)],
    [MACHINE, await client.machines.get('machine-1')],
    [ALERT, (await client.alerts.list())[0]],
    [WEBHOOK, await client.alerts.webhooks.get(webhook.id)],
  ]
  for (const [fields, document] of documents)
    expect(Object.keys(document ?? {}).toSorted()).toEqual(Object.keys(fields).toSorted())
})
