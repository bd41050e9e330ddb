-- Jobs of a namespace, newest first, at most p_limit older than p_before. Filters that are null do not filter; a type may end
-- in *. States are those of the view, so what is asked for is what is shown.
create or replace function list_jobs(
  p_namespace text,
  p_states text[] default null,
  p_type text default null,
  p_queue text default null,
  p_worker text default null,
  p_before uuid default null,
  p_limit integer default 50,
  p_run uuid default null
) returns jsonb
language sql stable security definer set search_path from current
as $$
  select coalesce(jsonb_agg(job_document(row(t.*)::job_truth) order by t.id desc), '[]')
  from (
    select *
    from job_truth
    where namespace = p_namespace
      and (p_before is null or id < p_before)
      and (p_states is null or state = any (p_states))
      and (p_type is null or type = p_type or (p_type like '%*' and starts_with(type, left(p_type, -1))))
      and (p_queue is null or queue = p_queue)
      -- The ends of the run bound the walk over ids: an old run is found as fast as a new one.
      and (p_run is null or run_id = p_run)
      and id >= coalesce((select job_id from job_detail where run_id = p_run order by job_id limit 1), '00000000-0000-0000-0000-000000000000')
      and id <= coalesce((select job_id from job_detail where run_id = p_run order by job_id desc limit 1), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
      and (p_worker is null or id in (select h.id from held_job h where h.holder = (select incarnation from worker_detail where id = p_worker)))
    order by id desc
    limit p_limit
  ) as t
$$;
