-- Jobs by id, in the order asked; those that are not in the namespace are left out. p_whole adds attempts and events.
create or replace function get_jobs(p_namespace text, p_jobs uuid[], p_whole boolean default false) returns jsonb
language sql stable security definer set search_path from current
as $$
  select coalesce(jsonb_agg(
    job_document(row(t.*)::job_truth)
    || case when p_whole then jsonb_build_object('attempts', job_attempts(t.id), 'events', job_events(t.id)) else '{}' end
    order by p.n), '[]')
  from unnest(p_jobs) with ordinality as p (id, n)
  join job_truth t on t.id = p.id and t.namespace = p_namespace
$$;
