-- Workers of a namespace, by machine: the live ones and those that ended within p_ended_within_ms.
create or replace function list_workers(p_namespace text, p_ended_within_ms bigint default 3600000) returns jsonb
language plpgsql stable security definer set search_path from current
as $$
begin
  perform ask_about_missing(p_namespace);
  return (
    select coalesce(jsonb_agg(worker_document(row(t.*)::worker_truth) order by t.machine_id, t.registered_at), '[]')
    from worker_truth t
    where t.namespace = p_namespace
      and (t.ended_at is null or t.ended_at > clock() - milliseconds(p_ended_within_ms))
  );
end
$$;

-- A worker as the JSON that program, client and API show.
create or replace function worker_document(t worker_truth) returns jsonb
language sql stable
as $$
  select jsonb_build_object(
    'id', t.id, 'machineId', t.machine_id, 'hostname', t.hostname, 'pid', t.pid, 'incarnation', t.incarnation,
    'type', t.kind, 'runId', t.run_id, 'status', t.status,
    'reason', case
      when t.ended_at is not null then coalesce(t.end_reason ->> 'message', 'ended')
      when t.status = 'offline' and t.lease_holds then 'its connection to the database is gone, and it was silent for a lease'
      when t.status = 'offline' then 'its lease lapsed'
      when t.connection_gone then 'its connection to the database is gone'
      when t.status = 'late' then 'silent for longer than two beats'
      when t.stuck = 'claims' then 'alive, but its claims are not answered'
      when t.stuck = 'event_loop' then 'alive, but its event loop is blocked, and by no handler'
      when t.drain_requested_at is not null then case
        when exists (select from machine m where m.namespace = t.namespace and m.id = t.machine_id and m.drain_requested_at is not null)
        then 'its machine was drained by an operator' else 'drained by an operator' end
      when t.status = 'draining' then 'shutting down'
      else 'renews on time' end,
    'concurrency', t.concurrency,
    'running', (select count(*) from held_job h where h.holder = t.incarnation and h.claim >= t.low_claim),
    'startedAt', iso(t.registered_at), 'lastSeenAt', iso(t.seen_at),
    'lastSeenAgoMs', milliseconds_between(t.seen_at, clock()),
    'leaseExpiresAt', case when t.ended_at is null then iso(t.lease_expires_at) end,
    'leaseLeftMs', case when t.ended_at is null then milliseconds_between(clock(), t.lease_expires_at) end,
    'stoppedAt', iso(t.ended_at), 'endReason', t.end_reason - 'shutdown',
    'shutdown', coalesce(t.end_reason -> 'shutdown', '{}') || jsonb_build_object('outcome', t.shutdown),
    'bootId', t.boot_id, 'parentPid', t.parent_pid, 'processStartedAt', iso(t.process_started_at), 'command', t.command,
    'version', t.version, 'queues', t.queues, 'types', t.types, 'labels', t.labels,
    'eventLoopLagMs', t.loop_lag_ms, 'spoolDepth', t.spool_depth, 'spoolAgeMs', t.spool_age_ms,
    'memoryBytes', t.memory_bytes, 'clockAheadMs', t.clock_ahead_ms
  )
$$;
