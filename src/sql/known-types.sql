-- The job types that some live worker of the namespace runs.
create or replace function known_types(p_namespace text) returns text[]
language sql stable security definer set search_path from current
as $$
  select array(
    select distinct unnest(types) from worker_truth where namespace = p_namespace and status <> 'offline' order by 1
  )
$$;
