-- An operator's new start for jobs that have ended or are held: clears cancel, budgets and poison; due now. Answers: retried |
-- the status of a job that can't be retried | not_found.
--
-- A job of a run that has ended goes on without it; but not before a run that cancels what it held is through with that.
create or replace function retry(p_namespace text, p_jobs uuid[]) returns text[]
language plpgsql security definer set search_path from current
as $$
declare
  v_retried uuid[];
  v_closed uuid[];
  v_runs uuid[];
  v_states text[];
begin
  perform guard();
  perform from run where id in (select run_id from job_detail where job_id = any (p_jobs)) order by id for key share;
  v_closed := array(
    select d.job_id from job_detail d join run r on r.id = d.run_id
    where d.job_id = any (p_jobs) and r.status <> 'active' and r.emptied_at is null and not r.keeps_rest
  );
  perform 1 from job where id = any (p_jobs) and namespace = p_namespace order by id for no key update;
  -- An ended job has no live row to lock, and two retries must not start it twice.
  perform 1 from job_detail where job_id = any (p_jobs) and namespace = p_namespace order by job_id for no key update;
  with held as (
    update job
    set standing = 'pending', run_at = clock(), lane = lane & ~1::bigint, place = null, failures = 0, lost = 0, interruptions = 0
    where id = any (p_jobs) and id <> all (v_closed) and namespace = p_namespace and standing = 'held'
    returning id
  ),
  ended as (
    select s.*, lane_of(s.namespace, s.queue, s.type, s.priority, s.run_id, s.target) as lane
    from job_stored s
    where s.id = any (p_jobs) and s.id <> all (v_closed) and s.namespace = p_namespace and s.finished_at is not null
  ),
  revived as (
    insert into job (id, lane, run_at, attempt, worker, started_at, max_attempts, max_lost, priority, on_worker_lost, namespace,
                     concurrency_key, run_id)
    select s.id, s.lane, clock(), s.attempt, s.worker, s.started_at, s.max_attempts, s.max_lost,
           s.priority, s.on_worker_lost, s.namespace, s.options ->> 'concurrencyKey', s.run_id
    from ended s
    order by s.id
    returning id
  )
  select array_agg(x.id), array_agg(x.run_id) filter (where x.run_id is not null), array_agg(x.status) filter (where x.run_id is not null)
  into v_retried, v_runs, v_states
  from (
    select h.id, null::uuid as run_id, null::text as status from held h
    union all
    select r.id, e.run_id, e.status::text from revived r join ended e on e.id = r.id
  ) as x;
  if v_runs is not null then
    perform tally_ended(v_runs, v_states, -1);
    update run set emptied_at = null, keeps_rest = true where id = any (v_runs) and status <> 'active';
    -- The lanes of a run that is through are gone.
    perform know_lane(s.lane, s.namespace, s.queue, s.type, s.priority, s.run_id, s.target)
    from (
      select distinct lane_of(d.namespace, d.queue, d.type, d.priority, d.run_id, d.target) as lane, d.namespace, d.queue, d.type, d.priority,
             d.run_id, d.target
      from job_detail d where d.job_id = any (v_retried) and d.run_id is not null
    ) as s;
  end if;
  -- A sweep forgets what an earlier life had at its leisure, and that says for how long the target was to be waited for then.
  delete from aim where job_id = any (v_retried);
  perform take_aim(p_namespace, array(select job_id from job_detail where job_id = any (v_retried) and target is not null));
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
