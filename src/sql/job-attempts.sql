-- All attempts of a job, ended and open, oldest first.
create or replace function job_attempts(p_job uuid) returns jsonb
language sql stable
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'attempt', a.attempt, 'workerId', d.id, 'machineId', w.machine_id,
    'startedAt', iso(a.started_at), 'endedAt', iso(a.ended_at), 'endedAs', a.ended_as,
    'fromCheckpoint', (
      select b.last_checkpoint from attempt b
      where b.job_id = p_job and b.attempt < a.attempt and b.last_checkpoint is not null
      order by b.attempt desc limit 1),
    'lastCheckpoint', a.last_checkpoint, 'lateResult', a.late_result, 'endReason', whole_reason(a.end_reason)
  ) order by a.attempt), '[]')
  from (
    select attempt, worker, started_at, ended_at, ended_as::text, last_checkpoint, late_result, end_reason
    from attempt where job_id = p_job
    union all
    select j.attempt, j.worker, j.started_at, null, null,
           (select c.value from checkpoint c where c.job_id = j.id and c.attempt = j.attempt), null, null
    from job j where j.id = p_job and j.token is not null
  ) as a
  left join worker w on w.incarnation = a.worker
  left join worker_detail d on d.incarnation = a.worker
$$;
