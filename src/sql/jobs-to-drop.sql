-- The next jobs that drop_jobs should judge, in the order of their ids, which is that of their creation; nothing is changed. Looks at
-- most at 1,000 jobs after p_after, and no further than a job that is old enough can stand. Most of those that have ended so long ago
-- need not be kept: only the live ones are left out here, as judging twice would double the cost of dropping.
--
-- p_whole is for an archive hook: only jobs that need not be kept, with their ends and their documents, attempts and events included;
-- at most 100, and a new one only while they are smaller than 8 MiB together.
--
-- Answer: jobs and ends, as drop_jobs takes them; documents; after: where to go on, or null at the end.
create or replace function jobs_to_drop(p_namespace text, p_below uuid, p_after uuid default null, p_whole boolean default false) returns json
language plpgsql stable security definer set search_path from current set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_bitmapscan = off
as $$
declare
  v_recent timestamptz;
  v_old timestamptz;
  v_below uuid;
  v_looked uuid[];
  v_jobs uuid[];
  v_ends timestamptz[];
  v_after uuid;
  v_document jsonb;
  v_documents jsonb := '[]';
  v_bytes bigint := 0;
  v_given integer := 0;
begin
  select clock() - milliseconds(keep_min_ms()), clock() - milliseconds(keep_ms), case when keep_count is not null then p_below end
  into v_recent, v_old, v_below
  from retention
  where namespace = p_namespace;
  v_looked := array(
    select job_id from job_detail
    where job_id > coalesce(p_after, least_id_at('epoch'))
      and job_id <= greatest(least_id_at(v_old), v_below)
    order by job_id
    limit 1000
  );
  if cardinality(v_looked) = 1000 then
    v_after := v_looked[1000];
  end if;
  if p_whole then
    select array_agg(x.id order by x.id), array_agg(x.finished_at order by x.id)
    into v_jobs, v_ends
    from (
      select s.id, s.finished_at
      from job_stored s
      where s.id = any (v_looked) and s.namespace = p_namespace and is_over(s.id, s.finished_at, v_recent, v_old, v_below)
      order by s.id
      limit 101
    ) as x;
    for i in 1 .. coalesce(cardinality(v_jobs), 0) loop
      -- One that was dropped meanwhile has no document.
      v_document := get_jobs(p_namespace, v_jobs[i:i], true) -> 0;
      v_bytes := v_bytes + coalesce(octet_length(v_document::text), 0);
      exit when i > 100 or (i > 1 and v_bytes > 8388608);
      v_documents := v_documents || coalesce(v_document, '[]');
      v_given := i;
    end loop;
    if v_given < cardinality(v_jobs) then
      v_after := v_jobs[v_given];
    end if;
    v_jobs := v_jobs[:v_given];
    v_ends := v_ends[:v_given];
  else
    v_jobs := array(
      select d.job_id
      from job_detail d
      where d.job_id = any (v_looked) and d.namespace = p_namespace and not exists (select from job j where j.id = d.job_id)
      order by d.job_id
    );
  end if;
  return json_build_object('jobs', coalesce(v_jobs, '{}'), 'ends', coalesce(v_ends, '{}'), 'documents', v_documents, 'after', v_after);
end
$$;
