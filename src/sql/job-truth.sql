-- The one truth about jobs, computed when it is read. Shown as running only while a live lease holds it.
create or replace view job_truth as
select
  s.*,
  case
    when s.status = 'running' and (w.incarnation is null or w.ended_at is not null or w.until <= clock()) then 'lost'
    when s.status = 'running' and s.cancel_requested_at is not null then 'cancelling'
    when s.status = 'running' and s.options ? 'progressDeadlineMs'
      and greatest(s.started_at, case when p.attempt = s.attempt then p.at end, case when c.attempt = s.attempt then c.at end)
        + milliseconds((s.options ->> 'progressDeadlineMs')::double precision) < clock() then 'stalled'
    when s.status = 'pending' and s.failures > 0 then 'retrying'
    when s.status = 'pending' and s.run_at > clock() then 'scheduled'
    else s.status::text
  end as state,
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
from job_stored s
cross join tick
left join worker w on w.incarnation = s.worker
left join progress p on p.job_id = s.id
left join checkpoint c on c.job_id = s.id;
