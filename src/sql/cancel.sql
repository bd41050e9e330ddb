-- Asks jobs to stop. Answers, in order: cancelled (it waited and has ended) | cancelling (it runs; once this has been
-- answered the job will end cancelled) | the status of a job that has ended | not_found. Safe to repeat.
create or replace function cancel(p_namespace text, p_jobs uuid[], p_reason jsonb default '{}') returns text[]
language plpgsql security definer set search_path from current
as $$
declare
  v_answers text[];
  v_workers uuid[];
begin
  perform guard();
  perform 1 from job where id = any (p_jobs) and namespace = p_namespace order by id for no key update;
  with target as materialized (
    select j.id, j.status, j.worker, j.cancel_requested_at
    from job j
    where j.id = any (p_jobs) and j.namespace = p_namespace
  ),
  cancelled as (
    update job j
    set status = case when j.status = 'running' then j.status else 'cancelled' end,
        cancel_requested_at = clock(),
        finished_at = case when j.status = 'running' then null else clock() end
    from target t
    where j.id = t.id and t.status not in ('completed', 'failed', 'cancelled') and t.cancel_requested_at is null
    returning j.id, j.status, j.worker
  ),
  explained as (
    update job_detail d
    set end_reason = jsonb_build_object('code', 'cancelled', 'message', 'cancel was asked') || p_reason
    from cancelled c
    where d.job_id = c.id
  ),
  recorded as (
    insert into event (at, namespace, kind, job_ids, data)
    select clock(), p_namespace, case when status = 'running' then 'job.cancelling' else 'job.cancelled' end, array[id], p_reason
    from cancelled
  ),
  answer as (
    select p.n, coalesce(case when t.status in ('pending', 'blocked', 'held') then 'cancelled'
                              when t.status = 'running' then 'cancelling' else t.status::text end, 'not_found') as answer,
           case when t.status = 'running' then t.worker end as worker
    from unnest(p_jobs) with ordinality as p (id, n)
    left join target t on t.id = p.id
  )
  select array_agg(answer order by n), array_agg(distinct worker) filter (where worker is not null)
  into v_answers, v_workers
  from answer;
  perform hint(p_namespace, 'renew:' || w) from unnest(v_workers) as w;
  return coalesce(v_answers, '{}');
end
$$;
