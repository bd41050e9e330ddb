-- A job as the JSON that program, client and API show.
create or replace function job_document(t job_truth) returns jsonb
language sql stable
as $$
  select jsonb_build_object(
    'id', t.id, 'type', t.type, 'queue', t.queue, 'namespace', t.namespace, 'status', t.status, 'state', t.state,
    'priority', t.priority, 'input', t.input,
    'result', case when a.ended_as = 'completed' and t.status = 'completed' then a.value end,
    'error', case when t.status in ('failed', 'pending', 'held') and a.ended_as = 'failed' then a.value end,
    'runId', t.run_id, 'parentId', t.options -> 'parentId', 'key', t.options -> 'key', 'concurrencyKey', t.options -> 'concurrencyKey', 'target', t.target
  ) || jsonb_build_object(
    'attempt', t.attempt, 'failures', t.failures, 'lost', t.lost, 'interruptions', t.interruptions,
    'maxAttempts', t.max_attempts, 'maxLost', t.max_lost,
    'workerId', d.id, 'machineId', case when t.status = 'running' then t.machine_id else w.machine_id end,
    'heartbeatAt', case when t.status = 'running' then iso(t.heartbeat_at) end,
    'leaseExpiresAt', case when t.status = 'running' then iso(t.lease_expires_at) end,
    'leaseLeftMs', case when t.status = 'running' then milliseconds_between(clock(), t.lease_expires_at) end,
    'recoveryNotBefore', case when t.state = 'lost' then iso(t.judged_after) end,
    'databaseSilentSince', case when t.state = 'lost' then (select iso(at) from tick where gap_pending(tick)) end,
    'workerEndedAt', case when t.status = 'running' then iso(t.worker_ended_at) end,
    'cancelRequestedAt', iso(t.cancel_requested_at),
    'createdAt', iso(t.created_at), 'runAt', iso(t.run_at),
    'startedAt', iso(t.started_at), 'finishedAt', iso(t.finished_at),
    'progress', case when t.progress_at is not null then jsonb_build_object(
      'done', t.progress_done, 'total', t.progress_total, 'message', t.progress_message, 'at', iso(t.progress_at)) end,
    'checkpoint', t.checkpoint
  ) || jsonb_build_object(
    'endReason', whole_reason(coalesce(
      t.end_reason,
      case when t.status in ('completed', 'failed', 'cancelled', 'held') then a.end_reason end)),
    'previousEnd', case when t.attempt > 0 and t.status <> 'running' then
      jsonb_build_object('endedAs', a.ended_as, 'endReason', a.end_reason, 'endedAt', iso(a.ended_at)) end,
    'waitsBehind', case when t.parked then (
      select json_agg(r.id) from job r
      where r.namespace = t.namespace and r.concurrency_key = t.options ->> 'concurrencyKey' and r.holds_key) end,
    'aim', case when t.status = 'pending' and t.target is not null then aim_document(t) end,
    'runEnded', case when t.status = 'pending' and t.run_id is not null then (
      select r.status from run r where r.id = t.run_id and r.status <> 'active' and not r.keeps_rest) end,
    'workersForType', case when t.status = 'pending' then workers_for(t) end,
    'now', iso(clock())
  )
  from (select) x
  left join attempt a on a.job_id = t.id and a.attempt = t.attempt
  left join worker_detail d on d.incarnation = t.worker
  left join worker w on w.incarnation = t.worker
$$;

-- How many workers that could take such a job are online, draining or late, and when one was last seen.
create or replace function workers_for(t job_truth) returns jsonb
language sql stable
as $$
  select jsonb_build_object(
    'online', count(*) filter (where status in ('online', 'late')),
    'draining', count(*) filter (where status = 'draining'),
    'lastSeenAt', iso(max(seen_at)))
  from worker_truth w
  where w.namespace = t.namespace and t.type = any (w.types) and t.queue = any (w.queues)
    and (w.run_id is null or w.run_id = t.run_id)
    and (t.target is null or fits_target(row(w.*)::worker_truth, t.target))
$$;
