-- The one truth about jobs, computed when it is read. Shown as running only while a live lease holds it.
create or replace view job_truth as
select
  j.id,
  j.namespace,
  j.queue,
  j.type,
  j.status,
  case
    when j.status = 'running' and (w.incarnation is null or w.ended_at is not null or w.until <= clock()) then 'lost'
    when j.status = 'running' and j.cancel_requested_at is not null then 'cancelling'
    when j.status = 'running' and d.options ? 'progressDeadlineMs'
      and greatest(j.started_at, case when p.attempt = j.attempt then p.at end, case when c.attempt = j.attempt then c.at end)
        + milliseconds((d.options ->> 'progressDeadlineMs')::double precision) < clock() then 'stalled'
    when j.status = 'pending' and j.failures > 0 then 'retrying'
    when j.status = 'pending' and j.run_at > clock() then 'scheduled'
    else j.status::text
  end as state,
  j.priority,
  j.run_at,
  j.attempt,
  j.failures,
  j.lost,
  j.interruptions,
  j.max_attempts,
  j.max_lost,
  j.on_worker_lost,
  j.worker,
  j.token,
  j.started_at,
  j.cancel_requested_at,
  j.finished_at,
  d.created_at,
  d.input,
  d.options,
  d.end_reason,
  p.done as progress_done,
  p.total as progress_total,
  p.message as progress_message,
  p.at as progress_at,
  c.value as checkpoint,
  c.at as checkpoint_at,
  w.machine_id,
  w.seen_at as heartbeat_at,
  w.ended_at as worker_ended_at,
  least(w.until, clock() + milliseconds(w.span_ms)) as lease_expires_at,
  judged_after(w.until, w.span_ms, w.writable_mark_ms, tick) as judged_after
from job j
join job_detail d on d.job_id = j.id
cross join tick
left join worker w on w.incarnation = j.worker
left join progress p on p.job_id = j.id
left join checkpoint c on c.job_id = j.id;
