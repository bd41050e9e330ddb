-- An operator's new start for jobs that have ended or are held: clears cancel, budgets and poison; due now. Answers: retried |
-- the status of a job that can't be retried | not_found.
create or replace function retry(p_namespace text, p_jobs uuid[]) returns text[]
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
  retried as (
    update job j
    set status = 'pending', run_at = clock(), failures = 0, lost = 0, interruptions = 0,
        cancel_requested_at = null, finished_at = null
    from target t
    where j.id = t.id and t.status in ('completed', 'failed', 'cancelled', 'held')
    returning j.id
  ),
  explained as (
    update job_detail d set end_reason = null from retried r where d.job_id = r.id
  ),
  recorded as (
    insert into event (at, namespace, kind, job_ids) select clock(), p_namespace, 'job.retried', array[id] from retried
  )
  select array_agg(coalesce(case when t.status in ('completed', 'failed', 'cancelled', 'held') then 'retried' else t.status::text end, 'not_found') order by p.n)
  into v_answers
  from unnest(p_jobs) with ordinality as p (id, n)
  left join target t on t.id = p.id;
  perform hint(p_namespace, 'pending:*');
  return coalesce(v_answers, '{}');
end
$$;
