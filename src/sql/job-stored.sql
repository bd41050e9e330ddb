-- Every job with its stored status: that of its live row, or what it ended as.
create or replace view job_stored as
select
  d.job_id as id,
  d.namespace,
  d.queue,
  d.type,
  case when j.token is not null then 'running' else coalesce(j.standing, e.status, a.job_status) end as status,
  d.priority,
  coalesce(j.run_at, d.run_at) as run_at,
  coalesce(j.attempt, a.attempt, 0) as attempt,
  coalesce(j.failures, e.failures, a.failures, 0::smallint) as failures,
  coalesce(j.lost, e.lost, a.lost, 0::smallint) as lost,
  coalesce(j.interruptions, e.interruptions, a.interruptions, 0::smallint) as interruptions,
  d.max_attempts,
  d.max_lost,
  d.on_worker_lost,
  j.token,
  coalesce(j.worker, a.worker) as worker,
  coalesce(j.started_at, a.started_at) as started_at,
  d.cancel_requested_at,
  case when j.id is null then coalesce(e.finished_at, a.ended_at) end as finished_at,
  coalesce(j.progressed, false) as progressed,
  coalesce(j.parked, false) as parked,
  d.created_at,
  d.input,
  d.options,
  d.end_reason,
  d.run_id,
  d.target
from job_detail d
left join job j on j.id = d.job_id
left join job_end e on e.job_id = d.job_id
left join lateral (
  select attempt, job_status, failures, lost, interruptions, worker, started_at, ended_at
  from attempt
  where attempt.job_id = d.job_id and j.id is null
  order by attempt desc
  limit 1
) as a on true;
