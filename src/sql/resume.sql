-- Lets held jobs go on, with their budgets of lost workers and interruptions cleared. Answers: resumed | the status of a job that is not
-- held | not_found.
create or replace function resume(p_namespace text, p_jobs uuid[]) returns text[]
language plpgsql security definer set search_path from current
as $$
declare
  v_answers text[];
begin
  perform guard();
  perform 1 from job where id = any (p_jobs) and namespace = p_namespace order by id for no key update;
  with target as materialized (
    select id, status from job where id = any (p_jobs) and namespace = p_namespace
  ),
  resumed as (
    update job j set status = 'pending', lost = 0, interruptions = 0
    from target t
    where j.id = t.id and t.status = 'held'
    returning j.id
  ),
  explained as (
    update job_detail d set end_reason = null from resumed r where d.job_id = r.id
  ),
  recorded as (
    insert into event (at, namespace, kind, job_ids) select clock(), p_namespace, 'job.resumed', array[id] from resumed
  )
  select array_agg(coalesce(case when t.status = 'held' then 'resumed' else t.status::text end, 'not_found') order by p.n)
  into v_answers
  from unnest(p_jobs) with ordinality as p (id, n)
  left join target t on t.id = p.id;
  perform hint(p_namespace, 'pending:*');
  return coalesce(v_answers, '{}');
end
$$;
