-- Keeps the last progress of each job. Answers: stored | cancelling | lease_lost.
create or replace function progress(
  p_jobs uuid[],
  p_tokens uuid[],
  p_done double precision[],
  p_totals double precision[],
  p_messages text[]
) returns text[]
language plpgsql security definer set search_path from current set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
  v_answers text[];
begin
  perform guard();
  with fence as materialized (
    select * from fenced(p_jobs, p_tokens, 'progress')
  ),
  stored as (
    insert into progress as p (job_id, attempt, done, total, message, at)
    select distinct on (f.job_id) f.job_id, f.attempt, p_done[f.n], p_totals[f.n], p_messages[f.n], clock()
    from fence f
    where f.attempt is not null
    order by f.job_id, f.n desc
    on conflict (job_id) do update
    set attempt = excluded.attempt, done = excluded.done, total = excluded.total, message = excluded.message, at = excluded.at
  )
  select array_agg(answer order by n) into v_answers from fence;
  return coalesce(v_answers, '{}');
end
$$;
