-- Asks jobs to stop. Answers, in order: cancelled (it waited and has ended) | cancelling (it runs; once this has been
-- answered the job will end cancelled) | the status of a job that has ended | not_found. Safe to repeat.
create or replace function cancel(p_namespace text, p_jobs uuid[], p_reason jsonb default '{}') returns text[]
language plpgsql security definer set search_path from current
as $$
declare
  v_waiting uuid[];
  v_running uuid[];
  v_asked uuid[];
  v_workers uuid[];
begin
  perform guard();
  perform 1 from job where id = any (p_jobs) and namespace = p_namespace order by id for no key update;
  -- In a new statement: what ended while this waited for a lock is not there any more.
  select array_agg(id) filter (where token is null),
         array_agg(id) filter (where token is not null),
         array_agg(id) filter (where token is not null and cancel_requested_at is null),
         array_agg(distinct worker) filter (where token is not null)
  into v_waiting, v_running, v_asked, v_workers
  from job
  where id = any (p_jobs) and namespace = p_namespace;
  update job set cancel_requested_at = clock() where id = any (v_asked);
  perform end_waiting(v_waiting, 'cancelled');
  update job_detail
  set cancel_requested_at = clock(),
      end_reason = jsonb_build_object('code', 'cancelled', 'message', 'cancel was asked') || p_reason
  where job_id = any (v_waiting || v_asked);
  insert into event (at, namespace, kind, job_ids, data)
  select clock(), p_namespace, case when id = any (v_asked) then 'job.cancelling' else 'job.cancelled' end, array[id], p_reason
  from unnest(v_waiting || v_asked) as id;
  perform hint(p_namespace, 'renew:' || w) from unnest(v_workers) as w;
  return array(
    select case when p.id = any (v_running) then 'cancelling' when p.id = any (v_waiting) then 'cancelled'
                else status_of(p_namespace, p.id) end
    from unnest(p_jobs) with ordinality as p (id, n)
    order by p.n
  );
end
$$;
