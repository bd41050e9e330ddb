-- Ends jobs that do not run, which no attempt will say. The caller has locked their rows.
create or replace function end_waiting(p_jobs uuid[], p_status job_status) returns void
language sql
as $$
  with ended as (
    delete from job where id = any (p_jobs) and token is null
    returning id, failures, lost, interruptions, run_id
  ),
  recorded as (
    insert into job_end (job_id, status, finished_at, failures, lost, interruptions)
    select id, p_status, clock(), failures, lost, interruptions from ended
  )
  select tally_ended(array_agg(run_id), array_agg(p_status::text)) from ended where run_id is not null having count(*) > 0
$$;
