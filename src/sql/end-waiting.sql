-- Ends jobs that do not run, which no attempt will say. The caller has locked their rows.
create or replace function end_waiting(p_jobs uuid[], p_status job_status) returns void
language sql
as $$
  with ended as (
    delete from job where id = any (p_jobs) and status <> 'running'
    returning id, failures, lost, interruptions, run_id
  ),
  tallied as (
    insert into run_tally (run_id, completed, failed, cancelled)
    select run_id, count(*) filter (where p_status = 'completed'), count(*) filter (where p_status = 'failed'),
           count(*) filter (where p_status = 'cancelled')
    from ended
    where run_id is not null
    group by run_id
  )
  insert into job_end (job_id, status, finished_at, failures, lost, interruptions)
  select id, p_status, clock(), failures, lost, interruptions from ended
$$;
