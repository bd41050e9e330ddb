-- Workers of a namespace, by machine: the live ones and those that ended within p_ended_within_ms.
create or replace function list_workers(p_namespace text, p_ended_within_ms bigint default 3600000) returns jsonb
language sql stable security definer set search_path from current
as $$
  select coalesce(jsonb_agg(worker_document(row(t.*)::worker_truth) order by t.machine_id, t.registered_at), '[]')
  from worker_truth t
  where t.namespace = p_namespace
    and (t.ended_at is null or t.ended_at > clock() - milliseconds(p_ended_within_ms))
$$;

-- A worker as the JSON that program, client and API show.
create or replace function worker_document(t worker_truth) returns jsonb
language sql stable
as $$
  select jsonb_build_object(
    'id', t.id, 'machineId', t.machine_id, 'hostname', t.hostname, 'pid', t.pid, 'incarnation', t.incarnation,
    'type', t.kind, 'runId', null, 'status', t.status,
    'reason', case
      when t.ended_at is not null then coalesce(t.end_reason ->> 'message', 'ended')
      when t.status = 'offline' then 'its lease lapsed'
      when t.status = 'late' then 'silent for longer than two beats'
      when t.stuck = 'claims' then 'alive, but its claims are not answered'
      when t.stuck = 'event_loop' then 'alive, but its event loop is blocked, and by no handler'
      when t.drain_requested_at is not null then 'drained by an operator'
      when t.status = 'draining' then 'shutting down'
      else 'renews on time' end,
    'concurrency', t.concurrency,
    'running', (select count(*) from job j where j.worker = t.incarnation and j.claim_number >= t.low_claim and j.status = 'running'),
    'startedAt', iso(t.registered_at), 'lastSeenAt', iso(t.seen_at),
    'lastSeenAgoMs', milliseconds_between(t.seen_at, clock()),
    'leaseExpiresAt', case when t.ended_at is null then iso(t.lease_expires_at) end,
    'leaseLeftMs', case when t.ended_at is null then milliseconds_between(clock(), t.lease_expires_at) end,
    'stoppedAt', iso(t.ended_at), 'endReason', t.end_reason - 'shutdown',
    'shutdown', coalesce(t.end_reason -> 'shutdown', '{}') || jsonb_build_object('outcome', t.shutdown),
    'version', t.version, 'queues', t.queues, 'types', t.types, 'labels', t.labels,
    'eventLoopLagMs', t.loop_lag_ms, 'spoolDepth', t.spool_depth
  )
$$;
