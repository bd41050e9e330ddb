-- Deletes jobs that need not be kept, with all that is kept about them, and frees their keys. Returns how many.
--
-- Judged here, under the lock that a retry takes too: a job that lives, or that its namespace keeps, is left alone, and so are one that
-- somebody holds and one that has ended anew since p_ends: it is not what an archive hook was given.
-- Nobody waits for this for longer than its lock_timeout: it locks ended jobs alone, and the wait for an attempt that a late outcome
-- is being written to ends it. Keys go last, as an enqueue with such a key waits for what becomes of it.
create or replace function drop_jobs(
  p_namespace text,
  p_jobs uuid[],
  p_ends timestamptz[],
  p_below uuid default null,
  p_archived boolean default false
) returns integer
language plpgsql security definer set search_path from current set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_bitmapscan = off set lock_timeout = '200ms'
as $$
declare
  v_retention retention;
  v_recent timestamptz;
  v_old timestamptz;
  v_below uuid;
  v_jobs uuid[];
  v_ends timestamptz[];
  v_keys text[];
begin
  perform guard();
  select * into v_retention from retention where namespace = p_namespace for no key update;
  if not found or (v_retention.archive and (not p_archived or cardinality(p_ends) is distinct from cardinality(p_jobs))) then
    return 0;
  end if;
  v_recent := clock() - milliseconds(keep_min_ms());
  v_old := clock() - milliseconds(v_retention.keep_ms);
  v_below := case when v_retention.keep_count is not null then p_below end;
  with locked as materialized (
    select d.job_id, p.ended_at, d.options ->> 'key' as key
    from unnest(p_jobs, p_ends) as p (job_id, ended_at)
    join job_detail d on d.job_id = p.job_id
    where d.namespace = p_namespace
    order by d.job_id
    for update of d skip locked
  )
  select array_agg(job_id), array_agg(ended_at), array_agg(key) filter (where key is not null) into v_jobs, v_ends, v_keys from locked;
  -- In a new statement, now that the rows are locked.
  v_jobs := array(
    select s.id
    from unnest(v_jobs, v_ends) as p (job_id, ended_at)
    join job_stored s on s.id = p.job_id
    where s.finished_at = coalesce(p.ended_at, s.finished_at) and is_over(s.id, s.finished_at, v_recent, v_old, v_below)
  );
  delete from attempt where job_id = any (v_jobs);
  delete from attempt_log where job_id = any (v_jobs);
  delete from attempt_cost where job_id = any (v_jobs);
  delete from checkpoint where job_id = any (v_jobs);
  delete from progress where job_id = any (v_jobs);
  delete from job_end where job_id = any (v_jobs);
  if v_keys is not null then
    delete from job_key where namespace = p_namespace and key = any (v_keys) and job_id = any (v_jobs);
  end if;
  delete from job_detail where job_id = any (v_jobs);
  update retention
  set dropped = dropped + cardinality(v_jobs), due_at = clock() + milliseconds(retention_lease_ms())
  where namespace = p_namespace;
  return cardinality(v_jobs);
end
$$;
