-- An operator's new start for jobs that have ended or are held: clears cancel, budgets and poison; due now. Answers: retried |
-- the status of a job that can't be retried | not_found.
create or replace function retry(p_namespace text, p_jobs uuid[]) returns text[]
language plpgsql security definer set search_path from current
as $$
declare
  v_retried uuid[];
begin
  perform guard();
  perform 1 from job where id = any (p_jobs) and namespace = p_namespace order by id for no key update;
  -- An ended job has no live row to lock, and two retries must not start it twice.
  perform 1 from job_detail where job_id = any (p_jobs) and namespace = p_namespace order by job_id for no key update;
  with held as (
    update job
    set status = 'pending', run_at = clock(), lane = lane & ~1::bigint, place = null, failures = 0, lost = 0, interruptions = 0
    where id = any (p_jobs) and namespace = p_namespace and status = 'held'
    returning id
  ),
  revived as (
    insert into job (id, lane, run_at, attempt, worker, started_at, max_attempts, max_lost, priority, on_worker_lost, namespace,
                     concurrency_key)
    select s.id, lane_of(s.namespace, s.queue, s.type, s.priority), clock(), s.attempt, s.worker, s.started_at, s.max_attempts, s.max_lost,
           s.priority, s.on_worker_lost, s.namespace, s.options ->> 'concurrencyKey'
    from job_stored s
    where s.id = any (p_jobs) and s.namespace = p_namespace and s.finished_at is not null
    order by s.id
    returning id
  )
  select array_agg(id) into v_retried from (select id from held union all select id from revived) as x;
  delete from job_end where job_id = any (v_retried);
  update job_detail set end_reason = null, cancel_requested_at = null where job_id = any (v_retried);
  insert into event (at, namespace, kind, job_ids) select clock(), p_namespace, 'job.retried', array[id] from unnest(v_retried) as id;
  perform hint(p_namespace, 'pending:*');
  return array(
    select case when p.id = any (v_retried) then 'retried' else status_of(p_namespace, p.id) end
    from unnest(p_jobs) with ordinality as p (id, n)
    order by p.n
  );
end
$$;
